"""The host's side of sandboxes: what is made ahead for them, and what each process takes of it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pluginapi.errors import PluginError, SandboxError
from pluginapi.process.nursery import Refusal, SpawnRequest
from pluginapi.process.wire import SpawnFlag
from pluginapi.sandbox.cells import Cell, CellPool, CellSpec
from pluginapi.sandbox.cgroups import Cgroup, CgroupManager
from pluginapi.sandbox.memory_files import memory_file
from pluginapi.sandbox.plan import Plan, step_failed
from pluginapi.sandbox.policy import CLONE_NEWUSER, Policy, is_privileged
from pluginapi.sandbox.program_filters import Program
from pluginapi.sandbox.user_ids import UserId

if TYPE_CHECKING:
    from pluginapi.process.nursery import Nursery
    from pluginapi.process.supervisor import Supervisor
    from pluginapi.sandbox.config import SandboxConfig
    from pluginapi.sandbox.network.broker import Door, NetworkBroker
    from pluginapi.sandbox.network.links import Link, Links

__all__ = ["Confinement", "Confiner"]

_MOST_POLICIES: Final = 64
_GROUP_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")

_log = logging.getLogger("pluginapi.sandbox")


class Confinement:
    """What one process is confined by; `Confiner.confine` makes it.

    Attributes:
        policy: What it comes from.
        uid: The user that the process is, or None when it is the host's.
        cgroup: Its control group, or None.
        cell: Holds its namespaces, or None.
        door: What it connects through, or None.
        plan: What it gives up.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        template: int | None,
        discard: Callable[[Cgroup], object],
        unlink: Callable[[Link], object],
        replace: Callable[[], object],
    ) -> None:
        self.policy = policy
        self._discard = discard
        self._unlink = unlink
        self._replace = replace
        self.uid: int | None = None
        self.cgroup: Cgroup | None = None
        self.cell: Cell | None = None
        self.door: Door | None = None
        self.plan = Plan()
        self._template = template
        self._user: UserId | None = None
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._released = False

    def request(self, *, spare: bool = False, command: bytes | None = None) -> SpawnRequest:
        """Return how its process is started; the descriptors are good until `started`."""
        policy = self.policy
        own: list[int] = []
        if self._template is not None:
            own.append(self._template)
        template = len(own) or None
        into, groups = self._open_groups()
        own += groups
        if self.door is not None:
            own.append(self.door.descriptor)
        door = None if self.door is None else len(own)
        self.plan, plan, opened = policy.plan(
            uid=self.uid if self.uid is not None else os.getuid(),
            cgroups=range((template or 0) + 1, (template or 0) + len(groups) + 1),
            template=template,
            first_descriptor=len(own) + 1,
            door=door,
        )
        for each in opened:
            self._stack.callback(os.close, each)
        own += opened
        lock = policy.lock()
        flags = SpawnFlag.PID if self.cell is not None and policy.in_pid_namespace else SpawnFlag(0)
        flags |= SpawnFlag.SHOWN if policy.shows_program else SpawnFlag(0)
        if policy.program == "native" and policy.is_strict:
            flags |= SpawnFlag.STRICT
        fds: list[int] = []
        given: tuple[tuple[SpawnFlag, int | None], ...] = (
            (SpawnFlag.PLAN, self._memory("plan", plan)),
            (SpawnFlag.COMMAND, self._memory("command", command)),
            (SpawnFlag.LOCKED, self._memory("lock", lock)),
            (SpawnFlag.CGROUP, into),
            (SpawnFlag.CELL, None if self.cell is None else self.cell.pidfd),
        )
        # They are in the order of the flags' bits, as the nursery takes them.
        for flag, fd in given:
            if fd is not None:
                flags |= flag
                fds.append(fd)
        return SpawnRequest((*fds, *own), flags, spare)

    def _memory(self, name: str, data: bytes | None) -> int | None:
        return None if data is None else self._stack.enter_context(memory_file(name, data))

    def _open_groups(self) -> tuple[int | None, list[int]]:
        """Return the directory of version 2, and what the process joins the others by."""
        if self.cgroup is None:
            return None, []
        into = self.cgroup.open_unified()
        if into is not None:
            self._stack.callback(os.close, into)
        joined = []
        for directory in self.cgroup.older_directories:
            # Not cgroup.procs, for which the kernel stops all forks of the machine for some 10 ms:
            # the process has one thread.
            joined.append(os.open(directory / "tasks", os.O_WRONLY | os.O_CLOEXEC))
            self._stack.callback(os.close, joined[-1])
        return into, joined

    def started(self) -> None:
        """Close what was needed for the start alone, and serve what it connects to.

        Raises:
            SandboxError: With code ``sandbox.failed`` when the process did not say how.
        """
        self._stack.close()
        if self.door is not None:
            self.door.started()
        self._replace()

    def rename(self, plugin: str) -> None:
        """Say whose it is: what was made ahead was nobody's yet."""
        if self.door is not None:
            self.door.plugin = plugin

    def failed(self, refusal: Refusal) -> SandboxError:
        """Return the error for what a nursery, or the process, could not do."""
        return step_failed(self.plan, refusal.step, refusal.call, refusal.errno)

    def kill(self) -> None:
        """End all processes of its PID namespace, now."""
        if self.cell is not None:
            self.cell.kill()

    def release(self) -> None:
        """End what is left, and give back all that it has; idempotent. Does not wait."""
        with self._lock:
            if self._released:
                return
            self._released = True
        self._stack.close()
        if self.cell is not None:
            self.cell.close()
            if self.cell.link is not None:
                self._unlink(self.cell.link)
        if self.door is not None:
            self.door.close()
        if self.cgroup is not None:
            self._discard(self.cgroup)
        if self._user is not None:
            self._user.release()
        self._replace()  # Where it was not started.

    def abandon(self) -> None:
        """Let go of it in a process that was forked from the host."""
        self._released = True
        self._stack.close()
        if self.cell is not None:
            self.cell.abandon()
        if self.door is not None:
            self.door.abandon()
        if self._user is not None:
            self._user.release()


class Confiner:
    """Make sandboxes for the processes of one host. Thread-safe.

    Args:
        nursery: Returns the native nursery, which makes namespaces.
        supervisor: Says when it is time to make more ahead.
        cells: How many sets of namespaces are kept ready.
    """

    def __init__(
        self, nursery: Callable[[], Nursery], supervisor: Supervisor, *, cells: int = 2
    ) -> None:
        self.privileged = is_privileged()
        self._lock = threading.Lock()
        self._nursery = nursery
        self._with_rights: weakref.WeakSet[Nursery] = weakref.WeakSet()
        self._cells = CellPool(
            self.native,
            supervisor,
            cells,
            link=lambda pidfd, allowed: self.links().make(pidfd, allowed),
        )
        self._groups: CgroupManager | None = None
        self._broker: NetworkBroker | None = None
        self._links: Links | None = None
        self._templates: dict[object, int] = {}
        # By what nothing has to be compared for; each keeps its configuration alive.
        self._policies: dict[tuple[int, Program], Policy] = {}
        self._removing: list[threading.Thread] = []

    # ---- Those who start processes ----

    def native(self) -> Nursery:
        """Return the native nursery, in a user namespace where that is needed for the rights."""
        nursery = self._nursery()
        self._enter(nursery, None)
        return nursery

    def prepare(self, nursery: Nursery, policy: Policy) -> None:
        """Let a nursery start processes of a policy."""
        if not policy.needs_user_namespace:
            return
        native = self._nursery()
        self._enter(native, None)
        if nursery is not native:
            self._enter(nursery, native)

    def _enter(self, nursery: Nursery, other: Nursery | None) -> None:
        """Give a nursery the rights that it needs, in a user namespace of its own or another's."""
        if self.privileged:
            return
        with self._lock:
            if nursery in self._with_rights:
                return
            plan = Plan()
            fds: tuple[int, ...] = ()
            if other is None:
                plan.new_user_namespace(os.getuid(), os.getgid())
            else:
                plan.enter_namespaces(0, CLONE_NEWUSER)
                fds = (other.pidfd,)
            try:
                with memory_file("plan", plan.build(len(fds))) as fd:
                    nursery.apply((fd, *fds))
            except Refusal as err:
                raise step_failed(plan, err.step, err.call, err.errno) from err
            self._with_rights.add(nursery)

    # ---- Sandboxes ----

    def policy(self, config: SandboxConfig, program: Program) -> Policy:
        """Return what a configuration comes to.

        Raises:
            SandboxUnavailable: When it cannot be had; the message names the layer and the remedy.
        """
        known = self._policies.get((id(config), program))
        if known is None or known.config is not config:
            known = Policy(config, program, self.privileged)
            if len(self._policies) >= _MOST_POLICIES:
                self._policies.clear()
            self._policies[id(config), program] = known
        return known

    def confine(self, name: str, policy: Policy) -> Confinement:
        """Make what a process of a policy is confined by; the caller releases it.

        Args:
            name: The plugin.
            policy: What it comes from.

        Raises:
            SandboxError: When a layer could not be made; the message says which and why.
        """
        made = Confinement(
            policy,
            template=self._template(policy),
            discard=self._discard,
            unlink=self._unlink,
            replace=self._cells.fill_later,
        )
        config = policy.config
        try:
            if self.privileged:
                made._user = UserId(name, *config.user_ids)  # noqa: SLF001 - it is made here
                made.uid = made._user.uid  # noqa: SLF001
            if config.cgroup is not None:
                made.cgroup = self._group(name, policy)
            if policy.cell_namespaces:
                nested = policy.cell_namespaces & CLONE_NEWUSER
                uid = made.uid if made.uid is not None else os.getuid()
                plan, data = policy.cell_plan()
                spec = CellSpec(
                    policy.cell_namespaces,
                    data,
                    uid if nested else 0,
                    named=policy.is_brokered,
                    linked=config.network if config.network.link else None,
                )
                made.cell = self._cells.take(spec, plan)
            if policy.is_brokered:
                assert made.cell is not None  # noqa: S101 - it has a network of its own
                made.door = self.network().open(name, config.network, made.cell.take_name_server())
        except BaseException:
            made.release()
            raise
        return made

    def network(self) -> NetworkBroker:
        """Return what connects for the plugins, which only hosts have that let some connect.

        Raises:
            SandboxUnavailable: When the kernel is too old.
        """
        from pluginapi.sandbox.network.broker import NetworkBroker  # noqa: PLC0415

        with self._lock:
            if self._broker is None:
                self._broker = NetworkBroker()
            return self._broker

    def links(self) -> Links:
        """Return what leads out of the networks of plugins, where some have links.

        Raises:
            SandboxUnavailable: When the host is not root in its network, or has no nf_tables.
        """
        from pluginapi.sandbox.network.links import Links  # noqa: PLC0415

        with self._lock:
            if self._links is None:
                self._links = Links()
            return self._links

    def fill(self) -> None:
        """Make ahead what may be, now."""
        self._cells.fill()

    def stop(self) -> None:
        """Make nothing ahead any more; idempotent."""
        self._cells.close()

    def close(self) -> None:
        """Give back all that was made ahead; idempotent."""
        self.stop()
        while self._removing:
            self._removing.pop().join()
        with self._lock:
            for fd in self._templates.values():
                os.close(fd)
            self._templates.clear()
            groups, self._groups = self._groups, None
            broker, self._broker = self._broker, None
            links, self._links = self._links, None
        if links is not None:
            links.close()
        if broker is not None:
            broker.close()
        if groups is not None:
            try:
                groups.close()
            except (PluginError, OSError) as err:
                _log.error("control groups of plugins stay: %s", err)

    def abandon(self) -> None:
        """Let go of everything in a process that was forked from the host."""
        self._lock = threading.Lock()
        self._cells.abandon()
        for fd in self._templates.values():
            os.close(fd)
        self._templates = {}
        self._groups = None
        if self._broker is not None:
            self._broker.abandon()
            self._broker = None
        if self._links is not None:
            self._links.close()
            self._links = None

    def _discard(self, group: Cgroup) -> None:
        """Remove a control group, once its processes have ended; whoever calls need not wait."""

        def remove() -> None:
            try:
                group.remove()
            except (PluginError, OSError) as err:
                _log.error("the control group of a plugin stays: %s", err)

        self._later(remove)

    def _unlink(self, link: Link) -> None:
        """Forget what may pass a link, which goes with its network; nobody need wait for it."""
        links = self._links
        if links is not None:
            self._later(lambda: links.forbid(link))

    def _later(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(
            target=self._do, args=(work,), name="pluginapi-clean-up", daemon=True
        )
        thread.start()
        self._removing.append(thread)

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            # `close` may have taken it already.
            with contextlib.suppress(ValueError):
                self._removing.remove(threading.current_thread())

    def _group(self, name: str, policy: Policy) -> Cgroup:
        assert policy.config.cgroup is not None  # noqa: S101 - the caller has looked
        with self._lock:
            if self._groups is None:
                self._groups = CgroupManager()
            groups = self._groups
        plain = _GROUP_NAME.sub("-", name)[:40].lstrip("-._") or "plugin"
        return groups.create(plain, policy.config.cgroup)

    def _template(self, policy: Policy) -> int | None:
        """Return the mount namespace with the tree of files, made once for each configuration."""
        if not policy.has_template:
            return None
        key = (
            policy.config.filesystem,
            policy.shown,
            policy.shows_program,
            policy.config.enable_pid_namespace,
        )
        with self._lock:
            known = self._templates.get(key)
        if known is not None:
            return known
        plan = Plan()
        descriptors = policy.root(plan, 0)
        try:
            with memory_file("template", plan.build(len(descriptors))) as fd:
                made = self.native().make_template((fd, *descriptors))
        except Refusal as err:
            raise step_failed(plan, err.step, err.call, err.errno) from err
        finally:
            for each in descriptors:
                os.close(each)
        with self._lock:
            first = self._templates.setdefault(key, made)
        if first != made:
            os.close(made)
        return first
