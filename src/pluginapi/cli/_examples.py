"""Where the examples are: inside the installed package, or beside it in a source tree."""

from __future__ import annotations

from pathlib import Path

import pluginapi
from pluginapi.errors import NotFound

__all__ = ["examples_directory"]


def examples_directory() -> Path:
    """Return the directory of the examples.

    A wheel carries them as ``pluginapi/_examples``; an editable install runs from the source
    tree, where they are ``examples`` beside ``src``.

    Raises:
        NotFound: When neither is there.
    """
    package = Path(pluginapi.__file__).parent
    places = (package / "_examples", package.parents[1] / "examples")
    for place in places:
        if (place / "data").is_dir():
            return place
    raise NotFound(
        f"the examples are neither in {places[0]} nor in {places[1]}",
        code="demo.no_examples",
        hint="reinstall pluginapi",
    )
