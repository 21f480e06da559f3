"""Ready-made filters in four strengths.

The sets of calls were found by tracing CPython on glibc at what each mode is for, and are proven by
the tests: the work of a mode is done with every other call set to kill the process.
"""

from __future__ import annotations

import errno as error
from enum import Enum
from typing import Final, Literal, TypeAlias

from pluginapi.errors import InvalidSeccompFilter
from pluginapi.sandbox.seccomp.actions import ALLOW, KILL_PROCESS, errno
from pluginapi.sandbox.seccomp.conditions import Condition, Rule
from pluginapi.sandbox.seccomp.filter import SeccompFilter

__all__ = ["SeccompMode", "WorkerKind"]

WorkerKind: TypeAlias = Literal["python", "native"]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# What SECCOMP_MODE_STRICT of the kernel allows.
_NATIVE_STRICT: Final = _names("read write exit rt_sigreturn")

_STRICT: Final = _names(
    """
    read write close futex mmap munmap mprotect madvise mremap brk recvfrom recvmsg sendto sendmsg
    poll ppoll epoll_wait epoll_pwait epoll_ctl rt_sigaction rt_sigprocmask rt_sigreturn
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrandom getpid gettid
    exit exit_group sched_yield restart_syscall fstat newfstatat lseek getrusage
    """
)
_BASIC: Final = _names(
    """
    set_robust_list rseq sigaltstack epoll_create1 eventfd2 getsockname getpeername getsockopt
    setsockopt shutdown pipe2 pselect6 select memfd_create ftruncate prlimit64 sched_getaffinity
    getppid getuid geteuid getgid getegid sysinfo uname readlink readlinkat getcwd tgkill kill
    membarrier set_tid_address getgroups epoll_create eventfd pipe
    """
)
_MODERATE: Final = _names(
    """
    openat getdents64 access faccessat faccessat2 statx stat lstat pread64 pwrite64 preadv preadv2
    pwritev pwritev2 writev readv fsync fdatasync truncate unlink unlinkat mkdir mkdirat rmdir
    rename renameat renameat2 symlink symlinkat link linkat chmod fchmod fchmodat fchmodat2
    utimensat statfs fstatfs sendfile copy_file_range flock fallocate umask dup dup2 dup3
    close_range chdir fchdir timerfd_create timerfd_settime timerfd_gettime signalfd4 setitimer
    getitimer alarm inotify_init1 inotify_add_watch inotify_rm_watch fchown arch_prctl
    open creat getdents utime utimes futimesat inotify_init signalfd
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    """
)
_PERMISSIVE: Final = _names(
    """
    connect bind listen accept4 accept sendmmsg recvmmsg execve vfork wait4 waitid setsid setpgid
    getpgrp getpgid pidfd_open pidfd_send_signal rt_sigtimedwait rt_sigsuspend rt_sigpending tee
    splice vmsplice mlock munlock sched_setaffinity sched_getparam sched_getscheduler getpriority
    times getresuid getresgid capget pause mincore msync fadvise64 sync_file_range
    timer_create timer_settime timer_delete timer_gettime timer_getoverrun shmget shmat shmdt shmctl
    """
)

# Calls that open, look for or change files fail as they would without permission: an interpreter
# that formats a traceback or imports late goes on without the file.
_FILES: Final = _names(
    """
    open openat openat2 creat access faccessat faccessat2 stat lstat statx readlink readlinkat
    getdents getdents64 getcwd chdir unlink unlinkat mkdir mkdirat rmdir rename renameat renameat2
    symlink symlinkat link linkat chmod fchmodat fchmodat2 chown lchown fchownat truncate utimensat
    statfs mknod mknodat execve execveat
    """
)

# No honest plugin loads kernels: whoever calls these is ended.
_HOSTILE: Final = _names(
    """
    kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff iopl
    ioperm pivot_root acct
    """
)

# What programs try first and go on without when the kernel is too old. io_uring does the work of
# other calls where no filter looks; the flags of clone3 are behind a pointer, where none can look.
_NEWER: Final = _names("clone3 io_uring_setup io_uring_enter io_uring_register")

# Every flag of clone for a new namespace: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER,
# NEWPID and NEWNET.
_NEW_NAMESPACES: Final = 0x7E02_0080

# Requests of ioctl that put input into a terminal, or make the kernel signal other processes:
# TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN and SIOCSPGRP.
_IOCTLS: Final = (0x5412, 0x541C, 0x5452, 0x8901, 0x8902)

# Commands of fcntl that make the kernel signal, or hold up, other processes: F_SETOWN, F_SETSIG,
# F_SETOWN_EX, F_SETLEASE and F_NOTIFY.
_FCNTLS: Final = (8, 10, 15, 1024, 1026)

# Options of prctl: PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS and PR_SET_VMA.
_PRCTLS: Final = (3, 15, 16, 21, 23, 38, 39, 0x5356_4D41)

_AF_UNIX: Final = 1
_DOMAINS: Final = (_AF_UNIX, 2, 10)  # and AF_INET, AF_INET6
_IPPROTO_MPTCP: Final = 262  # past Landlock's rules for TCP


def _always() -> tuple[Rule, ...]:
    """Return the rules that every mode has."""
    return (
        Rule(_NEWER, errno(error.ENOSYS)),
        Rule(_HOSTILE, KILL_PROCESS),
        Rule(("fcntl",), ALLOW, (Condition.not_in(1, _FCNTLS, width=32),)),
    )


def _threads() -> tuple[Rule, ...]:
    """Return the rules for calls that need a look at their arguments, from basic on."""
    return (
        Rule(("clone",), ALLOW, (Condition.masked_eq(0, _NEW_NAMESPACES, 0, width=32),)),
        Rule(("ioctl",), ALLOW, (Condition.not_in(1, _IOCTLS, width=32),)),
        Rule(("socketpair",), ALLOW, (Condition.eq(0, _AF_UNIX, width=32),)),
        Rule(
            ("socketpair",),
            errno(error.EAFNOSUPPORT),
            (Condition.ne(0, _AF_UNIX, width=32),),
        ),
    )


def _network() -> tuple[Rule, ...]:
    return (
        Rule(
            ("socket",),
            ALLOW,
            (
                Condition.is_in(0, _DOMAINS, width=32),
                Condition.ne(2, _IPPROTO_MPTCP, width=32),
            ),
        ),
        Rule(("socket",), errno(error.EAFNOSUPPORT), (Condition.not_in(0, _DOMAINS, width=32),)),
        Rule(
            ("socket",),
            errno(error.EPROTONOSUPPORT),
            (Condition.eq(2, _IPPROTO_MPTCP, width=32),),
        ),
        Rule(("prctl",), ALLOW, (Condition.is_in(0, _PRCTLS, width=32),)),
    )


def _made(allowed: tuple[str, ...], *more: Rule) -> SeccompFilter:
    given = frozenset(allowed)
    files = tuple(name for name in _FILES if name not in given)
    return SeccompFilter(
        (
            Rule(allowed, ALLOW),
            Rule(files, errno(error.EACCES)),
            *_always(),
            *more,
        ),
        default=errno(error.EPERM),
        unknown=errno(error.ENOSYS),
    )


class SeccompMode(Enum):
    """How much of the kernel a plugin's process may use.

    ``STRICT``
        Compute, and talk over descriptors that are open already: one thread, no files.
    ``BASIC``
        Threads, event loops and pipes besides.
    ``MODERATE``
        Files besides, as far as the other layers let them be seen.
    ``PERMISSIVE``
        Sockets of the domains UNIX, INET and INET6, and programs besides.

    In all of them clone3 and io_uring fail with ENOSYS, so that programs use older calls; new
    namespaces, requests of ioctl that type into terminals and signals at others through fcntl are
    refused; calls that only somebody hostile makes end the process; numbers that no kernel had when
    the library was made fail with ENOSYS, and the rest with EPERM, files with EACCES.
    """

    STRICT = "strict"
    BASIC = "basic"
    MODERATE = "moderate"
    PERMISSIVE = "permissive"

    def filter(self, worker: WorkerKind = "python") -> SeccompFilter:
        """Return the filter of this mode.

        Args:
            worker: For which kind of worker. The two differ in ``STRICT`` alone: the native worker
                needs no more than read, write, exit and the return from signal handlers, and
                everything else ends it.

        Raises:
            InvalidSeccompFilter: There is no such worker.
        """
        try:
            return _FILTERS[self, worker]
        except KeyError:
            raise InvalidSeccompFilter(
                f"there is no worker of the kind {worker!r}", hint="write 'python' or 'native'"
            ) from None


def _filters() -> dict[tuple[SeccompMode, str], SeccompFilter]:
    python = {
        SeccompMode.STRICT: _made(_STRICT),
        SeccompMode.BASIC: _made(_STRICT + _BASIC, *_threads()),
        SeccompMode.MODERATE: _made(_STRICT + _BASIC + _MODERATE, *_threads()),
        SeccompMode.PERMISSIVE: _made(
            _STRICT + _BASIC + _MODERATE + _PERMISSIVE, *_threads(), *_network()
        ),
    }
    native = {
        **python,
        SeccompMode.STRICT: SeccompFilter(
            (
                Rule(_NATIVE_STRICT, ALLOW),
                Rule(_NEWER, errno(error.ENOSYS)),
            ),
            default=KILL_PROCESS,
            unknown=errno(error.ENOSYS),
        ),
    }
    return {
        **{(mode, "python"): made for mode, made in python.items()},
        **{(mode, "native"): made for mode, made in native.items()},
    }


_FILTERS: Final = _filters()
