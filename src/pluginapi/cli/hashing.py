"""`pluginapi hash`: the SHA3-512 of files, or of the plugins in a directory."""

from __future__ import annotations

from pathlib import Path

import click

from pluginapi.cli._output import Output, json_option
from pluginapi.errors import NotFound, PluginError
from pluginapi.registry import find_plugin_files
from pluginapi.security import hash_files

__all__ = ["hash_command"]


@click.command(
    "hash",
    epilog="Example: pluginapi hash plugins/ > SHA3-512SUMS && sha3sum -a 512 -c SHA3-512SUMS",
)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@json_option
def hash_command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Print the SHA3-512 (FIPS 202) of each file, 128 hexadecimal digits and the path.

    A directory stands for the plugin files that lie directly in it.
    """
    output = Output(as_json=as_json)
    files = [file for path in paths for file in _expand(path)]
    with output.progress("hashing", sum(map(_size, files)), is_bytes=True) as advance:
        results = hash_files(files, progress=advance)
    hashes = [(_digest(result), file) for result, file in zip(results, files, strict=True)]
    output.result({"files": [{"path": str(file), "sha3_512": digest} for digest, file in hashes]})
    for digest, file in hashes:
        output.text(f"{digest}  {file}")


def _digest(result: str | PluginError) -> str:
    if isinstance(result, PluginError):
        raise result
    return result


def _expand(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = find_plugin_files(path)
    if not files:
        raise NotFound(
            f"directory {path} holds no plugin file",
            code="file.none_found",
            hint="plugins end in .so, .dll, .dylib, .py or .pyz",
            path=str(path),
        )
    return files


def _size(path: Path) -> int:
    """Return the size for the progress bar; what is wrong with the file is said when it is read."""
    return path.stat().st_size if path.is_file() else 0
