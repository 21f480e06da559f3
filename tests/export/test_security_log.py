"""The log of security: what is in it, and that nothing else can be."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluginapi import Violation, ViolationType
from pluginapi.errors import IoError, PluginError
from pluginapi.export.security_log import SecurityLog
from support import Forge
from tiny_disk import run_on_tiny_disk

SHOUT = """
def register_hooks(self, hooks):
    hooks.register("shout", 200, lambda text: text + "!")
"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


async def test_the_life_of_a_plugin_is_in_it(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    log = SecurityLog(tmp_path / "security.log")
    registry = forge.registry(violation_threshold=1, security_log=log)
    bad = forge.plugin("acme.stranger", SHOUT, trust=False)
    with pytest.raises(PluginError):
        await registry.load_plugin(bad)
    path = forge.plugin("acme.shout", SHOUT)
    await registry.load_plugin(path, isolation="process")
    await registry.report_violation(
        "acme.shout", Violation.now(ViolationType.THREADS, 9, 4, "test")
    )
    with pytest.raises(PluginError):
        await registry.load_plugin(path)
    await asyncio.to_thread(registry.loader.close)
    log.close()
    found = lines(log.path)
    assert [(each["event"], each["plugin"]) for each in found] == [
        ("refuse", "acme.stranger"),
        ("load", "acme.shout"),
        ("grant", "acme.shout"),
        ("violation", "acme.shout"),
        ("unmount", "acme.shout"),
        ("unload", "acme.shout"),
        ("quarantine", "acme.shout"),
        ("refuse", "acme.shout"),
    ]
    refused, loaded, granted, violated, unmounted, _, quarantined, again = found
    assert refused["code"] == "trust.not_listed"
    assert refused["message"]
    assert len(loaded["sha3_512"]) == 128
    assert loaded["version"] == "1.0.0"
    assert any("max_file_descriptors 32: rlimit" in each for each in loaded["limits"])
    assert (granted["context_read"], granted["services"]) == ([], [])
    assert (violated["type"], violated["used"], violated["limit"]) == ("max_threads", 9, 4)
    assert (violated["source"], violated["action"]) == ("test", "unmount")
    assert "reached the threshold 1" in unmounted["why"]
    assert quarantined["seconds"] == 60
    assert again["code"] == "limits.quarantined"
    times = [datetime.fromisoformat(each["time"]) for each in found]
    assert times == sorted(times)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


async def test_a_process_that_is_killed_is_in_it(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    log = SecurityLog(tmp_path / "security.log")
    registry = forge.registry(security_log=log)
    await registry.load_plugin(forge.plugin("acme.shout", SHOUT), isolation="process")
    process = registry.loader.processes.get("acme.shout")
    assert process is not None
    process.kill("for a test")
    async with asyncio.timeout(10):
        while process.last_end is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    await registry.unload_all()
    await asyncio.to_thread(registry.loader.close)
    log.close()
    (killed,) = (each for each in lines(log.path) if each["event"] == "kill")
    assert killed["reason"] == "manual"
    assert "SIGKILL" in killed["detail"]
    assert "for a test" in killed["detail"]


@given(text=st.text(), plugin=st.text())
def test_nothing_that_a_plugin_says_ends_a_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, plugin: str
) -> None:
    log = SecurityLog(tmp_path_factory.mktemp("log") / "security.log")
    log.record("kill", plugin, {"detail": text})
    log.record("kill", "last")
    log.close()
    first, last = lines(log.path)
    assert (first["plugin"], first["detail"], last["plugin"]) == (plugin, text, "last")
    raw = log.path.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in raw)
    assert raw.count(b"\n") == 2


def test_files_are_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    log = SecurityLog(tmp_path / "security.log", max_bytes=1000, backups=2)
    for number in range(60):
        log.record("kill", f"acme.{number:04}", {"detail": "x" * 50})
    log.close()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["security.log", "security.log.1", "security.log.2"]
    assert all(each.stat().st_size <= 1000 for each in tmp_path.iterdir())
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in tmp_path.iterdir())
    kept = [
        each["plugin"]
        for name in ("security.log.2", "security.log.1", "security.log")
        for each in lines(tmp_path / name)
    ]
    assert kept == [f"acme.{number:04}" for number in range(60 - len(kept), 60)]
    assert log.lost == 0


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    log = SecurityLog(tmp_path / "security.log", max_bytes=20_000, backups=99)

    def write() -> None:
        for _ in range(200):
            log.record("kill", "acme", {"x": 1})

    work = [threading.Thread(target=write) for _ in range(4)]
    for each in work:
        each.start()
    for each in work:
        each.join()
    log.close()
    assert sum(len(lines(each)) for each in tmp_path.iterdir()) == 800


def test_what_is_no_event_is_refused(tmp_path: Path) -> None:
    log = SecurityLog(tmp_path / "security.log")
    with pytest.raises(ValueError, match="no event"):
        log.record("party", "acme")
    log.close()


def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(IoError) as caught:
        SecurityLog(tmp_path / "missing" / "security.log")
    assert "security_log" in (caught.value.hint or "")


FULL = """
import logging, sys
from pathlib import Path
from pluginapi.export.security_log import SecurityLog
logging.basicConfig(stream=sys.stdout, format="%(message).60s")
log = SecurityLog(Path(sys.argv[1]) / "security.log")
for _ in range(30):
    log.record("kill", "acme", {"detail": "x" * 4000})
print(log.lost > 0)
"""


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    told = run_on_tiny_disk(disk, FULL, str(disk))
    assert told[-1] == "True"
    assert any(line.startswith("an event could not be written") for line in told)
