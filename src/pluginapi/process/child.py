"""A worker process, as the host holds it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from pluginapi.errors import IpcClosed
from pluginapi.ipc.channel import IpcChannel
from pluginapi.process.nursery import Refusal, SpawnRequest

if TYPE_CHECKING:
    from pluginapi.process.nursery import Nursery
    from pluginapi.process.settings import ProcessSettings
    from pluginapi.sandbox.confinement import Confinement
    from pluginapi.sealed_copy import SealedCopy

__all__ = ["Worker"]


class Worker:
    """A worker process that has joined its channel, with or without a plugin in it.

    Making one blocks for the time of a fork and a handshake; any thread may.

    Args:
        nursery: Starts it.
        settings: The bounds.
        spare: Nobody waits for it: it may prepare itself for any plugin.
        confinement: What confines it, or None. It is released with the worker, and when there is
            none after all.

    Raises:
        PluginProcessError: When no process could be started.
        SandboxError: When a layer of its sandbox could not be made; nothing of a plugin ran.
        IpcError: When it does not join its channel, or is not the process that was started.
    """

    def __init__(
        self,
        nursery: Nursery,
        settings: ProcessSettings,
        *,
        spare: bool = False,
        confinement: Confinement | None = None,
    ) -> None:
        try:
            self._begin(nursery, settings, spare=spare, confinement=confinement)
        except BaseException:
            if confinement is not None:
                confinement.release()
            raise

    def _begin(
        self,
        nursery: Nursery,
        settings: ProcessSettings,
        *,
        spare: bool,
        confinement: Confinement | None,
    ) -> None:
        self.nursery = nursery
        self.confinement = confinement
        self.started = time.monotonic()
        self.output = -1
        self._released = False
        # A descriptor that was closed may be another process's by the time of its use.
        self._lock = threading.Lock()
        ours, theirs = IpcChannel.pair()
        self.handoff, given = socket.socketpair()
        self.output, written = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                fds = (theirs.fileno(), given.fileno(), written)
                spawned = nursery.spawn(fds, self._request(spare=spare))
            except Refusal as err:
                raise self._refused(err) from err
            finally:
                theirs.close()
                given.close()
                os.close(written)
            self.id, self.pid, self.pidfd = spawned
            try:
                self.channel = IpcChannel.accept(
                    ours,
                    pidfd=self.pidfd,
                    settings=settings.channel,
                    timeout=settings.start_timeout,
                )
                self._confined()
            except BaseException as err:
                refusal = nursery.refusal(self.id)
                nursery.forget(self.id)
                self.kill()
                os.close(self.pidfd)
                if refusal is not None:
                    raise self._refused(refusal) from err
                raise
        except BaseException:
            ours.close()
            self.handoff.close()
            os.close(self.output)
            raise

    def _confined(self) -> None:
        if self.confinement is None:
            return
        try:
            self.confinement.started()
        except BaseException:
            self.channel.close()
            raise

    def _request(self, *, spare: bool) -> SpawnRequest:
        if self.confinement is None:
            return SpawnRequest(spare=spare)
        return self.confinement.request(spare=spare)

    def _refused(self, refusal: Refusal) -> Exception:
        return refusal if self.confinement is None else self.confinement.failed(refusal)

    def hand_over(self, plugin: SealedCopy) -> None:
        """Give it the plugin: its own descriptor of the sealed memory file."""
        try:
            with self.handoff:
                socket.send_fds(self.handoff, [b"p"], [plugin.fileno()])
        except OSError as err:
            raise IpcClosed(
                f"the worker ended before it was handed its plugin: {err}",
                code="ipc.disconnected",
                hint="the reason why its process ended says more",
            ) from err

    def terminate(self) -> None:
        """Ask it to end by SIGTERM; one that has ended already is passed over."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._released:
                signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """End it now; one that has ended already is passed over."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._released:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if self.confinement is not None:
            self.confinement.kill()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; tell whether it has."""
        poll = select.poll()
        with self._lock:
            if self._released:
                return True
            pidfd = os.dup(self.pidfd)
        try:
            poll.register(pidfd, select.POLLIN)
            return bool(poll.poll(max(0.0, timeout) * 1000))
        finally:
            os.close(pidfd)

    def release(self) -> None:
        """Give back what this process holds of it; idempotent."""
        with self._lock:
            if self._released:
                return
            self._released = True
            os.close(self.pidfd)
        self.channel.close()
        self.handoff.close()
        if self.confinement is not None:
            self.confinement.release()

    def abandon(self, plugin: str) -> None:
        """Let go of it in a process that was forked from the one that it belongs to.

        Takes no lock: whoever held one is not in this process.
        """
        if self._released:
            return
        self._released = True
        with contextlib.suppress(OSError):
            # Whatever is done with the channel from now on reaches nobody.
            dead, other = socket.socketpair()
            with dead, other:
                os.dup2(dead.fileno(), self.channel.fileno(), inheritable=False)
        self.channel.close(
            IpcClosed(
                f"plugin {plugin} belongs to the process that this one was forked from",
                plugin=plugin,
                hint="start the plugins in the process that uses them",
            )
        )
        os.close(self.pidfd)
        self.handoff.close()
        if self.confinement is not None:
            self.confinement.abandon()
        if self.output >= 0:
            os.close(self.output)
