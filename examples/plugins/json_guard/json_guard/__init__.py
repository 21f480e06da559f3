"""A plugin that refuses JSON bodies which parsers disagree about or choke on."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from pluginapi import ResourceLimits, make_plugin
from pluginapi.hooks import HookPriority, StopChain
from pluginapi.http import HttpRequest, HttpResponse

from .checks import Limits, find_problem

if TYPE_CHECKING:
    from pluginapi.hooks import HookScope


@make_plugin(
    name="example.json-guard",
    version="1.0.0",
    author="The pluginapi developers",
    description="Refuses JSON request bodies that are too large, too deep, or repeat a key.",
    resource_limits=ResourceLimits(max_heap_bytes=16 * 1024**2, max_cpu_time_ms=200),
)
class JsonGuard:
    """Answer 400 or 413 to bodies of ``application/json`` that break a limit."""

    def __init__(self) -> None:
        text = files(__name__).joinpath("limits.json").read_text(encoding="utf-8")
        self.limits = Limits(**json.loads(text))

    def register_hooks(self, hooks: HookScope) -> None:
        """Look at requests before plugins of the normal band do."""
        hooks.register("on_request", HookPriority.HIGH, self.on_request)

    def on_request(self, request: HttpRequest) -> StopChain[HttpResponse] | None:
        """Stop the chain with a response when the body breaks a limit; else change nothing."""
        if not request.body or not _is_json(request):
            return None
        problem = find_problem(request.body, self.limits)
        if problem is None:
            return None
        status, reason = problem
        body = json.dumps({"error": reason}).encode()
        headers = (("content-type", "application/json"),)
        return StopChain(HttpResponse(status=status, headers=headers, body=body, request=request))


def _is_json(request: HttpRequest) -> bool:
    """Tell whether the body is JSON by its media type, ``application/problem+json`` included."""
    for name, value in request.headers:
        if name.lower() == "content-type":
            media_type = value.partition(";")[0].strip().lower()
            return media_type == "application/json" or media_type.endswith("+json")
    return False
