"""What goes wrong before the command runs."""

from __future__ import annotations

from collections.abc import Sequence


class MachineError(Exception):
    """The virtual machine cannot be made or started.

    Args:
        message: What is wrong.
        packages: Debian's packages that help.
    """

    def __init__(self, message: str, *, packages: Sequence[str] = ()) -> None:
        if packages:
            message += (
                "\nDebian, Ubuntu:  sudo apt-get install --no-install-recommends "
                + " ".join(packages)
            )
        super().__init__(message)
