"""Processes that hold namespaces open for plugins: made ahead, each used once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pluginapi.errors import PluginError
from pluginapi.process.nursery import Refusal
from pluginapi.sandbox.memory_files import memory_file
from pluginapi.sandbox.network.descriptors import receive_descriptor
from pluginapi.sandbox.plan import Plan, step_failed

if TYPE_CHECKING:
    from pluginapi.process.nursery import Nursery
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.config import NetworkConfig
    from pluginapi.sandbox.network.links import Link

__all__ = ["Cell", "CellPool", "CellSpec"]

_REFILL_DELAY: Final = 0.02

_log = logging.getLogger("pluginapi.sandbox")


@dataclass(frozen=True, slots=True)
class CellSpec:
    """What a cell holds.

    Attributes:
        namespaces: CLONE_NEW*.
        plan: What it gives up, as bytes.
        uid: The user and group that its user namespace maps, 0 without one.
        named: Whether its network has a name server, whose socket the plan sends.
        linked: What the link of its network lets pass, or None without a link.
    """

    namespaces: int
    plan: bytes
    uid: int = 0
    named: bool = False
    linked: NetworkConfig | None = None


class Cell:
    """A process that holds namespaces open; its end is that of all processes in its PID namespace.

    It ends with the host too, however that ends. Thread-safe.

    Attributes:
        name_server: The socket of its network's name server, which is whoever's takes it; or -1.
        link: What leads out of its network, or None.
    """

    def __init__(self, pidfd: int, keep: int, name_server: int = -1) -> None:
        self.pidfd = pidfd
        self.name_server = name_server
        self.link: Link | None = None
        self._keep = keep
        self._lock = threading.Lock()

    def kill(self) -> None:
        """End it and all in it, now."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def take_name_server(self) -> int:
        """Return the socket of the name server, which is the caller's."""
        taken, self.name_server = self.name_server, -1
        return taken

    def close(self) -> None:
        """End it and let go of it; idempotent."""
        self.kill()
        with self._lock:
            self.abandon()

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the host; takes no lock."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            os.close(self._keep)
            self.pidfd = self._keep = -1
        if self.name_server >= 0:
            os.close(self.take_name_server())


class CellPool:
    """Make cells, and keep some of each kind that was asked for ready. Thread-safe.

    Making one takes most of the time of a confined start, and nearly all of it for its network
    namespace. Those that a user namespace is part of are made when they are asked for.

    Args:
        nursery: Makes them.
        supervisor: Says when it is time to make more.
        size: How many of each kind are kept.
        link: Makes a link into the network of a process, given its pidfd and what may pass.
    """

    def __init__(
        self,
        nursery: Callable[[], Nursery],
        supervisor: Supervisor,
        size: int = 2,
        *,
        link: Callable[[int, NetworkConfig], Link],
    ) -> None:
        self._nursery = nursery
        self._link = link
        self._supervisor = supervisor
        self._size = size
        self._lock = threading.Lock()
        self._ready: dict[CellSpec, list[Cell]] = {}
        self._refilling = False
        self._refiller: threading.Thread | None = None
        self._closed = False

    def take(self, spec: CellSpec, plan: Plan) -> Cell:
        """Return a cell, which is the caller's.

        Args:
            spec: What it holds.
            plan: Its plan, for messages.

        Raises:
            SandboxError: With code ``sandbox.step``, naming what failed.
        """
        with self._lock:
            ready = self._ready.setdefault(spec, []) if not spec.uid else []
            cell = ready.pop() if ready else None
        return self._make(spec, plan) if cell is None else cell

    def fill_later(self) -> None:
        """Make those that are missing, soon: not while whoever took one needs the processor."""
        with self._lock:
            missing = any(len(ready) < self._size for ready in self._ready.values())
            if self._refilling or self._closed or not missing:
                return
            self._refilling = True
        self._supervisor.call_later(_REFILL_DELAY, self._begin_refill)

    def fill(self) -> None:
        """Make those that are missing, now."""
        while True:
            with self._lock:
                missing = [
                    spec
                    for spec, ready in self._ready.items()
                    if len(ready) < self._size and not self._closed
                ]
            if not missing:
                return
            cell = self._make(missing[0], None)
            with self._lock:
                kept = not self._closed
                if kept:
                    self._ready[missing[0]].append(cell)
            if not kept:
                cell.close()

    def close(self) -> None:
        """End those that nobody has taken; idempotent. Waits for one that is being made."""
        with self._lock:
            self._closed = True
            refiller = self._refiller
        if refiller is not None and refiller is not threading.current_thread():
            refiller.join()
        with self._lock:
            cells = [cell for ready in self._ready.values() for cell in ready]
            self._ready.clear()
        for cell in cells:
            cell.close()

    def abandon(self) -> None:
        """Let go of them in a process that was forked from the host."""
        self._closed = True
        for ready in self._ready.values():
            for cell in ready:
                cell.abandon()
        self._ready = {}

    def _begin_refill(self) -> None:
        thread = threading.Thread(target=self._refill, name="pluginapi-cells", daemon=True)
        with self._lock:
            if self._closed:
                return
            thread.start()
            self._refiller = thread

    def _refill(self) -> None:
        try:
            self.fill()
        except PluginError as err:
            if not self._closed:
                _log.warning("no namespaces could be made ahead: %s", err)
        finally:
            self._refilling = False

    def _make(self, spec: CellSpec, plan: Plan | None) -> Cell:
        waits, keep = os.pipe2(os.O_CLOEXEC)
        pair: tuple[socket.socket, ...] = ()
        try:
            if spec.named:
                pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with memory_file("cell", spec.plan) as plan_fd:
                pidfd = self._nursery().make_cell(
                    spec.namespaces,
                    (spec.uid, spec.uid),
                    (waits, plan_fd, *(each.fileno() for each in pair[1:])),
                )
            cell = Cell(pidfd, keep)
            try:
                if pair:
                    cell.name_server = receive_descriptor(pair[0], "the socket of a name server")
                if spec.linked is not None:
                    cell.link = self._link(pidfd, spec.linked)
            except BaseException:
                keep = -1
                cell.close()
                raise
            return cell
        except Refusal as err:
            os.close(keep)
            raise step_failed(plan, err.step, err.call, err.errno) from err
        except BaseException:
            if keep >= 0:
                os.close(keep)
            raise
        finally:
            os.close(waits)
            for each in pair:
                each.close()
