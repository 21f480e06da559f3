"""Draw stacks as a flame graph: SVG without scripts, which is safe to open whatever is in it."""

from __future__ import annotations

import html
import zlib
from dataclasses import dataclass, field
from typing import Final

from pluginapi.profiling.stacks import Stacks

__all__ = ["flame_graph"]

_WIDTH: Final = 1200
_MARGIN: Final = 10
_ROW: Final = 17
_HEADER: Final = 46
_CHAR: Final = 6.7
_LEAST_WIDTH: Final = 0.2
_LEAST_CHARS: Final = 3


@dataclass(slots=True)
class _Frame:
    name: str
    samples: int = 0
    below: dict[str, _Frame] = field(default_factory=dict)


def flame_graph(stacks: Stacks, title: str, subtitle: str = "") -> str:
    """Return an SVG: the outermost functions at the bottom, as wide as they have samples.

    Each frame tells its samples where the mouse rests on it. Frames of one function have the same
    colour in every graph.
    """
    root = _Frame("all")
    for stack, count in stacks.counts.items():
        root.samples += count
        frame = root
        for name in stack:
            frame = frame.below.setdefault(name, _Frame(name))
            frame.samples += count
    depth = 1 + max((len(stack) for stack in stacks.counts), default=0)
    height = _HEADER + depth * _ROW + _MARGIN
    middle = f'x="{_WIDTH / 2:g}" text-anchor="middle"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" ',
        f'viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="11">\n',
        "<style>g:hover rect{stroke:#000;stroke-width:0.6}</style>\n",
        '<rect width="100%" height="100%" fill="#fdfdf8"/>\n',
        f'<text {middle} y="20" font-size="15">{html.escape(title)}</text>\n',
        f'<text {middle} y="37" fill="#555">{html.escape(subtitle)}</text>\n',
    ]
    if root.samples:
        scale = (_WIDTH - 2 * _MARGIN) / root.samples
        # Not by recursion: a stack may be deep.
        waiting = [(root, float(_MARGIN), 0)]
        while waiting:
            frame, left, level = waiting.pop()
            width = frame.samples * scale
            if width < _LEAST_WIDTH:
                continue
            top = height - _MARGIN - (level + 1) * _ROW
            parts.append(_drawn(frame, left, top, width, root.samples))
            for name in sorted(frame.below):
                waiting.append((frame.below[name], left, level + 1))
                left += frame.below[name].samples * scale
    parts.append("</svg>\n")
    return "".join(parts)


def _drawn(frame: _Frame, left: float, top: int, width: float, all_samples: int) -> str:
    name = frame.name
    room = int((width - 4) / _CHAR)
    text = name if len(name) <= room else name[: room - 1] + "…"
    label = (
        f'<text x="{left + 2:.1f}" y="{top + 12}">{html.escape(text)}</text>'
        if room >= _LEAST_CHARS
        else ""
    )
    share = 100 * frame.samples / all_samples
    return (
        f"<g><title>{html.escape(name)} ({frame.samples} samples, {share:.1f} %)</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.3, 0.1):.1f}" '
        f'height="{_ROW - 1}" fill="{_colour(name)}"/>{label}</g>\n'
    )


def _colour(name: str) -> str:
    number = zlib.crc32(name.encode("utf-8", "replace"))
    return f"rgb({205 + number % 50},{80 + number // 50 % 130},{number // 6500 % 55})"
