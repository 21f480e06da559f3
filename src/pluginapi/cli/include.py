"""`pluginapi include`: where `pluginapi.h` is."""

from __future__ import annotations

import click

from pluginapi import get_include
from pluginapi.cli._output import Output, json_option

__all__ = ["include_command"]


@click.command(
    "include",
    epilog='Example: cc -shared -fPIC -O2 -I"$(pluginapi include)" -o filter.so filter.c',
)
@json_option
def include_command(as_json: bool) -> None:
    """Print the directory of pluginapi.h, for the -I option of a C compiler."""
    output = Output(as_json=as_json)
    output.result({"include": str(get_include())})
    output.text(str(get_include()))
