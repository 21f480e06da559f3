from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pluginapi.cli._top_views import SORTS, bar, chosen, detail, rows, size
from pluginapi.control.server import ControlServer

from .harness import Cli, on_terminal


def hook(name: str, calls: int, took: float) -> dict[str, Any]:
    return {
        "hook": name,
        "calls": calls,
        "errors": 0,
        "wall_time_ms": took,
        "cpu_time_ms": 1.0,
        "latency": {"p99_ms": took / calls * 2},
    }


def plugin(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.2.3",
        "status": "active",
        "pid": 4711,
        "uptime_seconds": 12.0,
        "restarts": 0,
        "cpu_percent": 1.5,
        "cpu_time_ms": 1234.5,
        "heap_bytes": 25 << 20,
        "thread_count": 2,
        "fd_count": 3,
        "connection_count": 1,
        "calls_per_second": 1200.0,
        "errors": 0,
        "violation_count": 1,
        "violation_threshold": 10,
        "limits": {
            "max_heap_bytes": 50 << 20,
            "max_cpu_time_ms": 1000,
            "max_threads": 4,
            "max_file_descriptors": 32,
            "max_connections": 10,
        },
        "limits_in_force": [
            {"resource": "max_heap_bytes", "mechanism": "cgroup"},
            {"resource": "max_cpu_time_ms", "mechanism": "cpu-clock"},
        ],
        "violations": [
            {
                "type": "max_threads",
                "used": 9,
                "limit": 4,
                "unit": "threads",
                "at": 0.0,
                "source": "monitor",
            }
        ],
        "hooks": [hook("cheap", 1000, 1.0), hook("dear", 10, 50.0)],
        **facts,
    }


UNKNOWN = {
    "pid": None,
    "uptime_seconds": None,
    "restarts": None,
    "cpu_percent": None,
    "heap_bytes": None,
    "thread_count": None,
    "fd_count": None,
    "connection_count": None,
    "calls_per_second": None,
}
ANSWER: dict[str, Any] = {
    "host": {"pid": 1, "pluginapi": "0", "time": 0.0},
    "plugins": [plugin("acme.one"), plugin("acme.two", **UNKNOWN), plugin("other", errors=5)],
    "quarantine": [{"name": "acme.bad"}],
    "pass_ms": 0.125,
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "run" / "control.sock"
    with ControlServer(path, {"snapshot": lambda _: ANSWER}):
        yield path


# ---- Views ----


@pytest.mark.parametrize("sort", ["name", *SORTS])
def test_orders_are_whole_and_what_is_not_known_comes_last(sort: str) -> None:
    found = [each["name"] for each in chosen(ANSWER["plugins"], sort, "")]
    assert sorted(found) == ["acme.one", "acme.two", "other"]
    if sort not in ("name", "errors", "violations"):
        assert found[-1] == "acme.two"
    if sort == "errors":
        assert found[0] == "other"


def test_a_filter_leaves_names_that_hold_it() -> None:
    found = chosen(ANSWER["plugins"], "name", "ACME")
    assert [each["name"] for each in found] == ["acme.one", "acme.two"]


def test_what_is_not_known_is_no_number() -> None:
    (row,) = rows([plugin("acme.two", **UNKNOWN)])
    assert row[2:9] == ["-"] * 7
    text = "\n".join(detail(plugin("acme.two", **UNKNOWN)))
    assert "in the host's process" in text
    assert text.count("not known") == 4


@pytest.mark.parametrize(
    ("used", "limit", "shown"),
    [
        (0, 10, "[                        ]"),
        (5, 10, "[############            ]"),
        (10, 10, "[########################]"),
        (11, 10, "[########################!"),
        (0, 0, "[########################]"),
        (None, 10, "[                        ]"),
    ],
)
def test_bars(used: int | None, limit: int, shown: str) -> None:
    assert bar(used, limit) == shown


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30, 5 << 40)] == [
        *("0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB", "5120.0 GiB"),
    ]


# ---- The command ----


def test_once_shows_a_row_for_each_plugin(cli: Cli, host: Path) -> None:
    done = cli("top", "--socket", host, "--once", "--sort", "name")
    assert done.code == 0
    first, heading, *lines = done.out.splitlines()
    assert "3 plugins" in first
    assert "in quarantine: acme.bad" in first
    assert heading.split()[:4] == ["PLUGIN", "STATUS", "CPU", "HEAP"]
    assert [line.split()[0] for line in lines] == ["acme.one", "acme.two", "other"]
    assert "25.0 MiB" in lines[0]
    assert "50 %" in lines[0]


def test_json_is_what_the_host_answers(cli: Cli, host: Path) -> None:
    done = cli("top", "--socket", host, "--json", "--filter", "acme", "--sort", "name")
    assert done.code == 0
    assert done.json() == json.loads(json.dumps({**ANSWER, "plugins": ANSWER["plugins"][:2]}))


def test_one_plugin_in_detail(cli: Cli, host: Path) -> None:
    done = cli("top", "--socket", host, "--once", "--plugin", "acme.one")
    assert done.code == 0
    assert "heap         [############            ] 25.0 MiB of 50.0 MiB  (cgroup)" in done.out
    assert "1970-01-01 00:00:00  max_threads: 9 threads, limit 4 (monitor)" in done.out
    # What took longest stands first.
    assert done.out.index("dear") < done.out.index("cheap")
    assert cli("top", "--socket", host, "--plugin", "acme.one", "--json").json()["plugins"] == [
        json.loads(json.dumps(plugin("acme.one")))
    ]


def test_a_plugin_that_is_not_there_is_an_error_with_those_that_are(cli: Cli, host: Path) -> None:
    error = cli("top", "--socket", host, "--plugin", "acme.three", "--json").error()
    assert error["code"] == "registry.not_loaded"
    assert "acme.one, acme.two, other" in error["hint"]


def test_without_a_host_it_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    error = cli("top", "--socket", tmp_path / "none.sock", "--json").error()
    assert error["code"] == "control.unreachable"
    assert "control_socket" in error["hint"]


def test_the_socket_is_where_the_configuration_says(cli: Cli, host: Path, tmp_path: Path) -> None:
    config = tmp_path / "pluginapi.toml"
    config.write_text(f'[monitoring]\ncontrol_socket = "{host}"\n')
    assert cli("top", "--config", config, "--once").code == 0
    config.write_text("")
    error = cli("top", "--config", config, "--json").error()
    assert "control_socket" in error["hint"]


@pytest.mark.parametrize("arguments", [[], ["--socket", "a", "--config", "b"]])
def test_one_of_both_is_needed(cli: Cli, arguments: list[str]) -> None:
    done = cli("top", *arguments)
    assert done.code == 2
    assert "--config or --socket" in done.err


def test_on_a_terminal_it_goes_on_until_q(host: Path) -> None:
    shown = on_terminal(
        *("top", "--socket", host, "--interval", "0.2"),
        presses=[("sorted by cpu", "s"), ("sorted by heap", "q")],
    )
    assert shown.code == 0
    assert "acme.one" in shown.out


def test_names_cannot_steer_a_terminal(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "run" / "other.sock"
    answer = {**ANSWER, "plugins": [plugin("evil\x1b[2J\nfake")]}
    with ControlServer(path, {"snapshot": lambda _: answer}):
        done = cli("top", "--socket", path, "--once")
    assert "\x1b" not in done.out
    assert "evil\\x1b[2J\\x0afake" in done.out
