"""The example plugin json_guard, packed as its README says and loaded from the archive."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pluginapi import hooks, http
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.runtime.python import load_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOURCE = Path(__file__).parents[2] / "examples" / "plugins" / "json_guard"


class Scope:
    """Takes the registrations of the plugin."""

    def __init__(self) -> None:
        self.handlers: list[tuple[str, int, Any]] = []

    def register(self, name: str, priority: int, handler: Any) -> None:
        self.handlers.append((name, priority, handler))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    target = tmp_path / "json_guard.pyz"
    command = [sys.executable, "-m", "zipfile", "-c", str(target), "json_guard/"]
    subprocess.run(command, check=True, cwd=SOURCE)
    return target


@pytest.fixture
async def handler(archive: Path) -> AsyncIterator[Any]:
    file = PluginFile.open(archive)
    plugin = load_python(file, read_manifest(file))
    scope = Scope()
    await plugin.register_hooks(scope)
    (registration,) = scope.handlers
    assert registration[:2] == ("on_request", hooks.HookPriority.HIGH)
    yield registration[2]
    plugin.close()


def request(body: bytes, media_type: str = "application/json") -> Any:
    headers = (("Content-Type", media_type),)
    return http.HttpRequest(method="POST", path="/", headers=headers, body=body)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"a": 1, "a": 2}', 400, "'a' is given twice"),
        (b"[" * 33 + b"]" * 33, 400, "deeper than 32"),
        (b"[" * 100_000, 400, "deeper than 32"),
        (b'"' + b"a" * (1 << 20) + b'"', 413, "more than 1048576 bytes"),
        (b"NaN", 400, "NaN is not JSON"),
        (b"\xff", 400, "not JSON in UTF-8"),
        (b"{", 400, "not JSON in UTF-8"),
        (b"1" * 5000, 400, "not JSON in UTF-8"),
    ],
)
async def test_refuses(handler: Any, body: bytes, status: int, words: str) -> None:
    for media_type in ("application/json", "Application/Problem+JSON; charset=utf-8"):
        result = handler(request(body, media_type))
        assert isinstance(result, hooks.StopChain)
        response = result.value
        assert response.status == status
        assert words in json.loads(response.body)["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[" * 32 + b"]" * 32, b'{"a": {"a": 1}, "b": [{"a": 1}]}', b'"[[\\"[[[[[["'],
)
async def test_lets_sound_bodies_pass(handler: Any, body: bytes) -> None:
    assert handler(request(body)) is None


async def test_looks_at_json_only(handler: Any) -> None:
    assert handler(request(b"{", "text/plain")) is None
    assert handler(http.HttpRequest(method="GET", path="/", body=b"{")) is None
