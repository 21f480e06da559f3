"""What `pluginapi top` shows of a host's answer: rows of a table, and one plugin in detail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["HEADINGS", "SORTS", "chosen", "detail", "hook_rows", "rows", "summary"]

HEADINGS: Final = (
    *("PLUGIN", "STATUS", "CPU", "HEAP", "OF LIMIT", "THREADS", "FDS", "CONN"),
    *("CALLS/S", "ERRORS", "VIOLATIONS"),
)

Plugin = Mapping[str, Any]


def _number(name: str) -> Callable[[Plugin], float]:
    # What is not known comes last.
    return lambda plugin: -1.0 if plugin.get(name) is None else float(plugin[name])


SORTS: Final[dict[str, Callable[[Plugin], float]]] = {
    "cpu": _number("cpu_percent"),
    "heap": _number("heap_bytes"),
    "calls": _number("calls_per_second"),
    "errors": _number("errors"),
    "violations": _number("violation_count"),
    "threads": _number("thread_count"),
    "fds": _number("fd_count"),
    "connections": _number("connection_count"),
}
"""The most first, but for ``name``."""

_BAR: Final = 24
_RESOURCES: Final = {
    "max_heap_bytes": ("heap", "heap_bytes"),
    "max_threads": ("threads", "thread_count"),
    "max_file_descriptors": ("descriptors", "fd_count"),
    "max_connections": ("connections", "connection_count"),
}


def chosen(plugins: Iterable[Plugin], sort: str, text: str) -> list[Plugin]:
    """Return the plugins whose names hold a text, in an order."""
    found = sorted(
        (plugin for plugin in plugins if text.lower() in plugin["name"].lower()),
        key=lambda plugin: str(plugin["name"]),
    )
    return found if sort == "name" else sorted(found, key=SORTS[sort], reverse=True)


def summary(answer: Mapping[str, Any]) -> str:
    """Say in a line what the host is and has."""
    plugins = answer["plugins"]
    heaps = [each["heap_bytes"] for each in plugins if each["heap_bytes"] is not None]
    cpu = sum(each["cpu_percent"] or 0 for each in plugins)
    line = (
        f"host {answer['host']['pid']}, pluginapi {answer['host']['pluginapi']}: "
        f"{len(plugins)} plugins, CPU {cpu:.1f} %, heap {size(sum(heaps))} in {len(heaps)} measured"
    )
    if answer["pass_ms"] is not None:
        line += f", measured in {answer['pass_ms']:.2f} ms"
    if answer["quarantine"]:
        line += f"; in quarantine: {', '.join(each['name'] for each in answer['quarantine'])}"
    return line


def rows(plugins: Sequence[Plugin]) -> list[list[str]]:
    """Return a row for each plugin; ``-`` is what is not known."""
    return [
        [
            plugin["name"],
            plugin["status"],
            _shown(plugin["cpu_percent"], "{:.1f} %"),
            "-" if plugin["heap_bytes"] is None else size(plugin["heap_bytes"]),
            _share(plugin["heap_bytes"], plugin["limits"].get("max_heap_bytes")),
            *(_shown(plugin[name]) for name in ("thread_count", "fd_count", "connection_count")),
            _shown(plugin["calls_per_second"], "{:,.0f}"),
            f"{plugin['errors']:,}",
            f"{plugin['violation_count']} of {plugin['violation_threshold']}",
        ]
        for plugin in plugins
    ]


def detail(plugin: Plugin) -> list[str]:
    """Describe one plugin: its process, its limits as bars, its latest violations."""
    pid = "in the host's process" if plugin["pid"] is None else f"process {plugin['pid']}"
    uptime = plugin["uptime_seconds"]
    cpu = _shown(plugin["cpu_percent"], "{:.1f} %")
    lines = [
        f"{plugin['name']} {plugin['version']}  {plugin['status']}  {pid}"
        + ("" if uptime is None else f", up {uptime:.0f} s, {plugin['restarts']} restarts"),
        f"   CPU {cpu}, {_shown(plugin['cpu_time_ms'], '{:,.0f} ms')} so far",
        "",
        "limits",
    ]
    kept = {each["resource"]: each for each in plugin["limits_in_force"]}
    for resource, limit in plugin["limits"].items():
        how = kept.get(resource, {}).get("mechanism", "")
        if resource not in _RESOURCES:
            lines.append(f"   {'CPU a call':12} {'':{_BAR + 2}} {limit} ms  ({how})")
            continue
        name, field = _RESOURCES[resource]
        used = plugin[field]
        show = size if resource == "max_heap_bytes" else str
        amount = "not known" if used is None else f"{show(used)} of {show(limit)}"
        lines.append(f"   {name:12} {bar(used, limit)} {amount}  ({how})")
    lines += ["", f"violations: {plugin['violation_count']} of {plugin['violation_threshold']}"]
    for each in plugin["violations"][-10:]:
        at = datetime.fromtimestamp(each["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(
            f"   {at}  {each['type']}: {each['used']} {each['unit']}, limit {each['limit']} "
            f"({each['source']})"
        )
    return lines


def hook_rows(plugin: Plugin) -> list[list[str]]:
    """Return a row for each hook of a plugin, what took longest first."""
    hooks = sorted(plugin["hooks"], key=lambda hook: float(hook["wall_time_ms"]), reverse=True)
    return [
        [
            hook["hook"],
            f"{hook['calls']:,}",
            f"{hook['errors']:,}",
            f"{hook['wall_time_ms']:,.1f} ms",
            f"{hook['wall_time_ms'] * 1000 / hook['calls']:,.1f} µs" if hook["calls"] else "-",
            _shown(hook["latency"]["p99_ms"], "{:.3g} ms"),
        ]
        for hook in hooks
    ]


def bar(used: int | None, limit: int) -> str:
    """Draw how much of a limit is used; it is full, and ends in ``!``, above it."""
    if used is None:
        return f"[{'':{_BAR}}]"
    filled = _BAR if used >= limit else used * _BAR // limit
    return f"[{'#' * filled:{_BAR}}{'!' if used > limit else ']'}"


def size(count: float) -> str:
    """Return bytes in the unit in which they are easily read."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - of the units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _shown(value: float | None, form: str = "{}") -> str:
    return "-" if value is None else form.format(value)


def _share(used: int | None, limit: int | None) -> str:
    return "-" if used is None or not limit else f"{used * 100 / limit:.0f} %"
