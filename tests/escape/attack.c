/* What a hostile program tries. `attack NAME [ARGUMENTS]` exits with 0 when it got what it wanted, and
 * with 1 when it did not; then it prints the errno value. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

static int done(int got) {
    if (!got) {
        printf("%d\n", errno);
    }
    return got ? 0 : 1;
}

static int opens(const char *path, int flags) {
    const int fd = open(path, flags);
    return done(fd >= 0);
}

/* A descriptor beyond the standard ones that leads anywhere. */
static int finds_descriptors(void) {
    int fd;
    for (fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            printf("descriptor %d\n", fd);
            return 0;
        }
    }
    errno = EBADF;
    return done(0);
}

static int enters(const char *path) {
    const int fd = open(path, O_RDONLY);
    return done(fd >= 0 && setns(fd, 0) == 0);
}

/* With a high bit that the kernel ignores, which a comparison of 64 bits takes for another request. */
static int types(void) {
    int master, slave;
    const char byte = 'x';
    if (openpty(&master, &slave, NULL, NULL, NULL) != 0) {
        slave = 0;
    }
    (void)setsid();
    (void)ioctl(slave, TIOCSCTTY, 0);
    return done(syscall(SYS_ioctl, slave, (unsigned long)TIOCSTI | (1ul << 32), &byte) == 0);
}

static int reads_key(const char *name) {
    char value[64];
    const long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", name, 0);
    return done(key >= 0 && syscall(SYS_keyctl, KEYCTL_READ, key, value, sizeof value) >= 0);
}

static int sets_up_ring(void) {
    uint32_t parameters[30];
    memset(parameters, 0, sizeof parameters);
    return done(syscall(SYS_io_uring_setup, 4, parameters) >= 0);
}

#if defined(__x86_64__)
/* getpid by the gate of 32-bit programs, whose numbers are others. */
static int calls_by_the_old_gate(void) {
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? (int)-result : 0;
    return done(result > 0);
}
#endif

static int new_namespaces(int flags) {
    return done(unshare(flags) == 0);
}

static int clones_into(uint64_t flags) {
    uint64_t arguments[11];
    long pid;
    memset(arguments, 0, sizeof arguments);
    arguments[0] = flags;
    arguments[4] = SIGCHLD;
    pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0) {
        _exit(0);
    }
    return done(pid > 0);
}

static int mounts(const char *kind, const char *where) {
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0) {
        return done(0);
    }
    (void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return done(mount(kind, where, kind, 0, NULL) == 0);
}

static int traces(pid_t pid) {
    return done(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
}

static int reads_memory(pid_t pid, unsigned long address) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)address, 1};
    return done(process_vm_readv(pid, &here, 1, &there, 1, 0) == 1);
}

static int signals(pid_t pid) {
    return done(kill(pid, 0) == 0);
}

static int dumps_core(void) {
    struct rlimit limit;
    errno = 0;
    return done(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max != 1);
}

static int connects_unix(const char *name, int abstract) {
    struct sockaddr_un address;
    const int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
    if (sock < 0) {
        return done(0);
    }
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path + abstract, name, sizeof address.sun_path - 2);
    return done(connect(sock, (struct sockaddr *)&address, size) == 0);
}

static int opens_socket(int domain, int type, int protocol) {
    return done(socket(domain, type, protocol) >= 0);
}

static int sends_datagram(int port) {
    struct sockaddr_in address;
    const int sock = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return done(sock >= 0 &&
                sendto(sock, "x", 1, 0, (struct sockaddr *)&address, sizeof address) == 1);
}

static int connects_tcp(int port, int flags) {
    struct sockaddr_in address;
    const int sock = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (flags != 0) {
        return done(sock >= 0 && sendto(sock, "x", 1, flags, (struct sockaddr *)&address,
                                        sizeof address) == 1);
    }
    return done(sock >= 0 && connect(sock, (struct sockaddr *)&address, sizeof address) == 0);
}

static int takes_memory(size_t megabytes) {
    size_t i;
    for (i = 0; i < megabytes; i++) {
        char *const block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) {
            return done(0);
        }
        memset(block, 1, 1 << 20);
    }
    return 0;
}

static int fills(const char *path, size_t megabytes) {
    static char block[1 << 20];
    size_t i;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (i = 0; fd >= 0 && i < megabytes; i++) {
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block) {
            return done(0);
        }
    }
    return done(fd >= 0);
}

/* Bounded by itself: where nothing else bounds it, the machine goes on. */
static int forks(int count) {
    int i;
    for (i = 0; i < count; i++) {
        const pid_t pid = fork();
        if (pid < 0) {
            const int error = errno;
            kill(0, SIGCONT);
            errno = error;
            return done(0);
        }
        if (pid == 0) {
            sleep(5);
            _exit(0);
        }
    }
    return 0;
}

/* Leave children behind that do not want to be found, and end. */
static int daemonises(int count) {
    int i;
    for (i = 0; i < count; i++) {
        const pid_t pid = fork();
        if (pid < 0) {
            return done(0);
        }
        if (pid == 0) {
            (void)setsid();
            (void)signal(SIGTERM, SIG_IGN);
            (void)signal(SIGHUP, SIG_IGN);
            if (fork() == 0) {
                close(0);
                close(1);
                close(2);
                sleep(600);
            }
            _exit(0);
        }
    }
    return 0;
}

static int executes_from_memory(void) {
    char *const argv[] = {(char *)"true", NULL};
    char block[65536];
    const int from = open("/proc/self/exe", O_RDONLY);
    const int fd = (int)syscall(SYS_memfd_create, "x", 0);
    pid_t pid;
    ssize_t got;
    int status = -1;
    if (fd < 0 || from < 0) {
        return done(0);
    }
    while ((got = read(from, block, sizeof block)) > 0) {
        (void)write(fd, block, (size_t)got);
    }
    pid = fork();
    if (pid == 0) {
        (void)syscall(SYS_execveat, fd, "", argv, argv + 1, 0x1000);
        _exit(errno);
    }
    (void)waitpid(pid, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return done(status == 0x200);
}

static int changes_mode(const char *path) {
    return done(chmod(path, 0755) == 0);
}

static int is_root(void) {
    errno = 0;
    return done(geteuid() == 0);
}

static int sees(pid_t pid) {
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return done(access(path, F_OK) == 0);
}

/* Of the file that was opened, not of this descriptor: whoever else has it open waits no more. */
static int stops_waiting(void) {
    return done(fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK) == 0);
}

/* Take all instances of inotify that a user may have, and keep them until the input ends. */
static int takes_watches(void) {
    char byte;
    int taken = 0;
    while (inotify_init1(0) >= 0) {
        taken++;
    }
    printf("%d\n", taken);
    (void)fflush(stdout);
    (void)read(STDIN_FILENO, &byte, 1);
    return 0;
}

static int watches(void) {
    return done(inotify_init1(0) >= 0);
}

/* A child that shares its parent's memory becomes another user: the parent cannot be dumped, or
 * looked at by its own user, any more. */
static int hides_its_parent(void) {
    const pid_t pid = vfork();
    if (pid == 0) {
        _exit(setresuid(65534, 65534, 65534) == 0 ? 0 : 1);
    }
    (void)waitpid(pid, NULL, 0);
    return done(prctl(PR_GET_DUMPABLE) != 1);
}

static int number(char **argv, int at) {
    return argv[at] == NULL ? 0 : (int)strtol(argv[at], NULL, 0);
}

int main(int argc, char **argv) {
    const char *const name = argc > 1 ? argv[1] : "";
    const char *const text = argc > 2 ? argv[2] : "";
    const struct {
        const char *name;
        int (*run)(void);
    } plain[] = {
        {"descriptors", finds_descriptors}, {"type", types},   {"ring", sets_up_ring},
        {"core", dumps_core},               {"root", is_root}, {"memory-exec", executes_from_memory},
        {"nonblock", stops_waiting},        {"watch", watches}, {"watch-all", takes_watches},
        {"hide", hides_its_parent},
#if defined(__x86_64__)
        {"old-gate", calls_by_the_old_gate},
#endif
    };
    size_t i;
    for (i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (strcmp(name, plain[i].name) == 0) {
            return plain[i].run();
        }
    }
    if (strcmp(name, "read") == 0) {
        return opens(text, O_RDONLY);
    }
    if (strcmp(name, "write") == 0) {
        return opens(text, O_WRONLY);
    }
    if (strcmp(name, "create") == 0) {
        return opens(text, O_WRONLY | O_CREAT);
    }
    if (strcmp(name, "call") == 0) {
        return done(syscall(number(argv, 2), 0, 0, 0, 0, 0, 0) != -1 || errno != number(argv, 3));
    }
    if (strcmp(name, "enter") == 0) {
        return enters(text);
    }
    if (strcmp(name, "key") == 0) {
        return reads_key(text);
    }
    if (strcmp(name, "unshare") == 0) {
        return new_namespaces(number(argv, 2));
    }
    if (strcmp(name, "clone3") == 0) {
        return clones_into((uint64_t)number(argv, 2));
    }
    if (strcmp(name, "mount") == 0) {
        return mounts(text, argv[3]);
    }
    if (strcmp(name, "trace") == 0) {
        return traces(number(argv, 2));
    }
    if (strcmp(name, "peek") == 0) {
        return reads_memory(number(argv, 2), strtoul(argv[3], NULL, 0));
    }
    if (strcmp(name, "signal") == 0) {
        return signals(number(argv, 2));
    }
    if (strcmp(name, "see") == 0) {
        return sees(number(argv, 2));
    }
    if (strcmp(name, "unix") == 0) {
        return connects_unix(text, 0);
    }
    if (strcmp(name, "abstract") == 0) {
        return connects_unix(text, 1);
    }
    if (strcmp(name, "socket") == 0) {
        return opens_socket(number(argv, 2), number(argv, 3), number(argv, 4));
    }
    if (strcmp(name, "datagram") == 0) {
        return sends_datagram(number(argv, 2));
    }
    if (strcmp(name, "tcp") == 0) {
        return connects_tcp(number(argv, 2), number(argv, 3));
    }
    if (strcmp(name, "memory") == 0) {
        return takes_memory((size_t)number(argv, 2));
    }
    if (strcmp(name, "fill") == 0) {
        return fills(text, (size_t)number(argv, 3));
    }
    if (strcmp(name, "fork") == 0) {
        return forks(number(argv, 2));
    }
    if (strcmp(name, "daemonise") == 0) {
        return daemonises(number(argv, 2));
    }
    if (strcmp(name, "chmod") == 0) {
        return changes_mode(text);
    }
    (void)fprintf(stderr, "there is no attack %s\n", name);
    return 2;
}
