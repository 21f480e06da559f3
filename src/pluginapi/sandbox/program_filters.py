"""Filters of system calls for the time until a program has started, and for what is no plugin."""

from __future__ import annotations

import errno as error
from functools import cache
from typing import Final, Literal, TypeAlias

import msgspec

from pluginapi.sandbox.seccomp import (
    ALLOW,
    KILL_PROCESS,
    Action,
    Condition,
    Rule,
    SeccompFilter,
    SeccompMode,
    errno,
)

__all__ = [
    "HOLDER_FILTER",
    "STRICT_NATIVE_FILTER",
    "STRICT_PYTHON_FILTER",
    "Program",
    "brokered",
    "starting_filter",
]

Program: TypeAlias = Literal["python", "native", "command"]
"""What is confined: a worker of either kind, or any program."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WAITING: Final = _names(
    """
    read exit exit_group prctl fcntl dup2 dup3 close close_range write rt_sigreturn restart_syscall
    """
)
_EXEC: Final = _names("execve execveat")
# Programs start programs; a plugin, which has its host, does not.
_CHILDREN: Final = _names("fork vfork wait4 waitid setpgid getpgid getpgrp rt_sigsuspend")
# What starting a dynamically linked program takes, and the native worker until it has its plugin.
_START: Final = _EXEC + _names(
    """
    openat read pread64 close fstat newfstatat statx access faccessat faccessat2 mmap munmap
    mprotect brk arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom readlink
    readlinkat futex recvmsg sendmsg recvfrom sendto poll ppoll rt_sigaction rt_sigprocmask fcntl
    getpid gettid getuid geteuid getgid getegid ioctl lseek exit_group madvise write mremap prctl
    seccomp sched_getaffinity sysinfo uname getcwd clock_gettime memfd_create ftruncate getsockopt
    setsockopt eventfd2 socketpair exit
    """
)

HOLDER_FILTER: Final = SeccompFilter((Rule(_WAITING, ALLOW),), default=KILL_PROCESS)
"""For the init of a PID namespace, which waits and ends."""

# <asm-generic/socket.h>
_SOL_SOCKET: Final = 1
_SO_RCVTIMEO: Final = 20
STRICT_PYTHON_FILTER: Final = SeccompMode.STRICT.filter("python").replacing(
    Rule(
        ("setsockopt",),
        ALLOW,
        (
            Condition.eq(1, _SOL_SOCKET, width=32),
            Condition.eq(2, _SO_RCVTIMEO, width=32),
        ),
    )
)
"""The strict filter, and how long the Python worker waits on its channel."""

STRICT_NATIVE_FILTER: Final = SeccompMode.STRICT.filter("native").replacing(
    Rule(("brk", "mmap", "mremap"), errno(error.ENOMEM))
)
"""The strict filter. A plugin that takes more memory than was taken ahead gets none: it goes on."""


# <sys/socket.h>, <netinet/in.h>
_INET: Final = (2, 10)  # AF_INET, AF_INET6
_SOCK_TYPE_MASK: Final = 0xF
_STREAM: Final = 1
_DGRAM: Final = 2
_PROTOCOLS: Final = (0, 6, 17)  # the default, TCP, UDP; not MPTCP
_MSG_FASTOPEN: Final = 0x2000_0000
# <linux/sockios.h>: all requests of ioctl for sockets, netdevice(7) among them.
_REQUEST_MASK: Final = 0xFF00
_NETWORK_REQUESTS: Final = 0x8900


def brokered(wanted: SeccompFilter, asked: Action, *, serves: bool = False) -> SeccompFilter:
    """Return a filter under which a plugin connects through the broker, and by nothing else.

    It makes TCP and UDP sockets, in a network in which there is nothing. What would connect a
    socket that the broker has put in the place of one, and does not stop there, is not allowed:
    sending with MSG_FASTOPEN.

    Args:
        wanted: What the plugin may do besides.
        asked: What becomes of connect, bind and listen: USER_NOTIF in the filter that has the
            listener.
        serves: Whether there are ports on which it may be connected to.
    """
    fast = [(name, number) for name, number in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3))]
    made = (
        Condition.is_in(0, _INET, width=32),
        Condition.is_in(2, _PROTOCOLS, width=32),
    )
    found = wanted.replacing(
        Rule(("connect", "bind", "listen"), asked),
        Rule(("accept", "accept4"), ALLOW if serves else errno(error.EPERM)),
        *(
            Rule(
                ("socket",),
                ALLOW,
                (*made, Condition.masked_eq(1, _SOCK_TYPE_MASK, kind, width=32)),
            )
            for kind in (_STREAM, _DGRAM)
        ),
        Rule(("socket",), errno(error.EAFNOSUPPORT), (Condition.not_in(0, _INET, width=32),)),
        Rule(
            ("socket",),
            errno(error.EPROTONOSUPPORT),
            (Condition.not_in(2, _PROTOCOLS, width=32),),
        ),
        Rule(
            ("recvmmsg", "getpeername", "getsockname", "getsockopt", "setsockopt", "shutdown"),
            ALLOW,
        ),
        *(
            Rule((name,), ALLOW, (Condition.masked_eq(at, _MSG_FASTOPEN, 0, width=32),))
            for name, at in fast
        ),
        *(
            Rule(
                (name,),
                errno(error.EOPNOTSUPP),
                (Condition.masked_eq(at, _MSG_FASTOPEN, _MSG_FASTOPEN, width=32),),
            )
            for name, at in fast
        ),
    )
    # Sockets that the broker gives it are of the host's network, whose interfaces, addresses and
    # neighbours these tell. Of rules that hold the strictest counts.
    tells = Rule(
        ("ioctl",),
        errno(error.EPERM),
        (Condition.masked_eq(1, _REQUEST_MASK, _NETWORK_REQUESTS, width=32),),
    )
    return msgspec.structs.replace(found, rules=(*found.rules, tells))


@cache
def starting_filter(wanted: SeccompMode | SeccompFilter, program: Program) -> SeccompFilter:
    """Return a filter under which a program can be started that gets another one, or keeps it.

    A native worker locks itself further when its plugin is loaded. Any other program stays with
    this one; it may start programs, and they have it too.

    Args:
        wanted: What the program is to have, once it runs.
        program: What is started.
    """
    if not isinstance(wanted, SeccompMode):
        return wanted.replacing(Rule(_START if program == "native" else _EXEC, ALLOW))
    loads = wanted in (SeccompMode.STRICT, SeccompMode.BASIC)
    base = (SeccompMode.MODERATE if loads else wanted).filter("python")
    if program == "command":
        return base.replacing(Rule(_EXEC + _CHILDREN, ALLOW))
    return base.replacing(Rule((*_EXEC, "prctl", "seccomp"), ALLOW))
