"""What the status codes of native plugins mean, wherever the plugin runs."""

from __future__ import annotations

from typing import Final, NamedTuple

from pluginapi.errors import AbiIncompatible, InvalidState, PluginError, ResourceViolation

__all__ = ["native_failure", "printable"]


class _Status(NamedTuple):
    """What one pa_status means to Python; without an error the operation's own class is raised."""

    name: str
    error: type[PluginError] | None = None
    code: str | None = None
    hint: str | None = None


_STATUSES: Final[dict[int, _Status]] = {
    -1: _Status("PA_ERR_FAIL"),
    -2: _Status("PA_ERR_BAD_ARG"),
    -3: _Status("PA_ERR_UNSUPPORTED"),
    -4: _Status("PA_ERR_DENIED"),
    -5: _Status(
        "PA_ERR_LIMIT",
        ResourceViolation,
        "limits.exceeded",
        "raise max_heap_bytes for this plugin, or let it produce smaller results",
    ),
    -6: _Status("PA_ERR_TIMEOUT"),
    -7: _Status("PA_ERR_CANCELLED"),
    -8: _Status(
        "PA_ERR_STATE",
        InvalidState,
        "abi.call_state",
        "call the plugin between load and unload only, and not from inside its own calls",
    ),
    -9: _Status(
        "PA_ERR_ABI",
        AbiIncompatible,
        "abi.incompatible",
        "the plugin breaks the rules of pluginapi.h: report this to its author",
    ),
    -10: _Status("PA_ERR_IO"),
    -11: _Status("PA_ERR_NOT_FOUND"),
    -12: _Status("PA_ERR_AGAIN"),
}


def native_failure(  # noqa: PLR0917 - all of them, always
    plugin: str, what: str, error: type[PluginError], code: str, number: int, message: str
) -> PluginError:
    """Make the exception for a call of a native plugin that returned a negative status.

    Args:
        plugin: Name of the plugin.
        what: The call.
        error: The class of the exception, unless the status has one of its own.
        code: The code, unless the status has one of its own.
        number: The pa_status.
        message: What the plugin says about it.
    """
    status = _STATUSES.get(number, _STATUSES[-1])
    text = printable(message) or "the plugin gives no reason"
    return (status.error or error)(
        f"{what} failed in plugin {plugin} with {status.name}: {text}",
        code=status.code or code,
        plugin=plugin,
        hint=status.hint or "read the plugin's log, or ask its author",
        status=status.name,
    )


def printable(text: str) -> str:
    """Escape what could forge log lines or move a terminal's cursor."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
