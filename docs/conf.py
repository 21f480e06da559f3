"""Configuration of the documentation: MyST pages, furo, warnings are errors (`make docs`)."""

from __future__ import annotations

import sys
from importlib.metadata import version as _version
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.addnodes import pending_xref

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pluginapi"
author = "The pluginapi developers"
release = _version("pluginapi")

extensions = [
    "generated_pages",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"pluginapi {release}"

# Docstrings put names of parameters and files into single quotes too: a link where there is one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_use_ivar = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = False


def _unlink_type(_app: Sphinx, doctree: nodes.document) -> None:
    """Leave the built-in ``type`` of annotations alone: attributes of that name would match."""
    for reference in list(doctree.findall(pending_xref)):
        if reference.get("reftarget") == "type":
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.connect("doctree-read", _unlink_type)
