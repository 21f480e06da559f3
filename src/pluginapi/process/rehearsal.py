"""What the zygote does before it forks: start and end plugins of its own, the way workers do.

A forked worker pays for every page of memory that it is the first to write to, and for every piece
of code that it is the first to run: caches are filled, bytecode is specialised, type descriptions
are made. What was rehearsed is there already, and shared.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import traceback
from typing import Final

import msgspec

from pluginapi.ipc.channel import IpcChannel
from pluginapi.ipc.protocol import GetMetrics, Initialize, Metrics, Ping, Ready, Shutdown, Success
from pluginapi.metadata import read_manifest
from pluginapi.plugin_file import PluginFile
from pluginapi.process.source import plugin_source
from pluginapi.process.worker import PluginWorker, serve_plugin

__all__ = ["load_and_forget", "rehearse"]

# The interpreter specialises code that ran eight times (CPython 3.11 to 3.13).
_ROUNDS: Final = 12
_TIMEOUT: Final = 20.0
_SOURCE: Final = """
from pluginapi import Plugin, make_plugin

@make_plugin(name="pluginapi.rehearsal", version="1.0.0", author="pluginapi")
class Rehearsal(Plugin):
    {asynchronous}def init(self, context):
        self.context = context

    def register_hooks(self, hooks):
        hooks.register("on_start", 200, self.plain)
        hooks.register("on_request", 200, self.typed)

    def plain(self, value):
        return value

    def typed(self, value: dict[str, str]) -> dict[str, str]:
        return value
"""


def _plugin(*, asynchronous: bool) -> tuple[PluginFile, Initialize]:
    text = _SOURCE.format(asynchronous="async " if asynchronous else "")
    file = PluginFile.from_bytes("rehearsal.py", text.encode())
    manifest = read_manifest(file)
    message = Initialize(
        manifest.name,
        str(manifest.version),
        write=("cart",),
        config=msgspec.msgpack.encode({}),
        source=plugin_source(file.path.name, manifest),
    )
    return file, message


_PLUGINS: Final = {flag: _plugin(asynchronous=flag) for flag in (False, True)}


def rehearse() -> None:
    """Start and end plugins in this process, with a child of it as their host.

    Nothing of them stays: no descriptor, module, thread or process.

    Raises:
        RuntimeError: When the child did not see what a host should.
    """
    pairs = [(IpcChannel.pair(), socket.socketpair()) for _ in range(_ROUNDS)]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for number, ((ours, theirs), (giver, taker)) in enumerate(pairs):
                theirs.close()
                taker.close()
                _be_host(ours, giver, asynchronous=bool(number % 2))
            status = 0
        except BaseException:  # noqa: BLE001 - there is nobody above
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(status)
    for (ours, theirs), (giver, taker) in pairs:
        ours.close()
        giver.close()
        _be_worker(theirs, taker)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"the rehearsal of a plugin's start failed: wait status {status:#x}")


def load_and_forget(channel: IpcChannel) -> None:
    """Load such a plugin as the worker on this channel, without a word to the host."""
    file, message = _PLUGINS[False]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        PluginWorker(channel, theirs).load_and_forget(message, file.data)


def _be_host(sock: socket.socket, handoff: socket.socket, *, asynchronous: bool) -> None:
    """Do what a host does, from the greeting to the end."""
    file, message = _PLUGINS[asynchronous]
    with IpcChannel.accept(sock, timeout=_TIMEOUT) as channel, file.sealed_copy() as copy:
        channel.request(Ping(), Success, timeout=_TIMEOUT)
        with handoff:
            socket.send_fds(handoff, [b"p"], [copy.fileno()])
        ready = channel.request(message, Ready, timeout=_TIMEOUT)
        for spec in ready.handlers:
            channel.call(spec.id, msgspec.msgpack.encode({"a": "b"}), timeout=_TIMEOUT)
        channel.request(GetMetrics(), Metrics, timeout=_TIMEOUT)
        channel.request(Shutdown(), Success, timeout=_TIMEOUT)


def _be_worker(sock: socket.socket, handoff: socket.socket) -> None:
    """Do what a worker does, and put back what it changes of the process."""
    root = logging.getLogger()
    kept = sys.stdout, sys.stderr, root.level, root.handlers[:]
    channel = IpcChannel.join(sock, timeout=_TIMEOUT)
    try:
        serve_plugin(channel, handoff).close()
    finally:
        sys.stdout, sys.stderr, level, root.handlers[:] = kept
        root.setLevel(level)
        channel.close()
        handoff.close()
