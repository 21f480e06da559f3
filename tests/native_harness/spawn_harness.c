/* Exercise kernels/spawn without Python, under sanitizers: prints "ok" when everything held. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "spawn/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static char sh[] = "sh", minus_c[] = "-c", variable[] = "NAME=value";
static char *const environment[] = {variable, NULL};

static int open_descriptors(void) {
    DIR *const directory = opendir("/proc/self/fd");
    int count = 0;
    REQUIRE(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count;
}

static int no_children(void) {
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

static siginfo_t wait_for(int pidfd) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    REQUIRE(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) == 0);
    return info;
}

static int ends_within(int pidfd, int milliseconds) {
    struct pollfd wait = {pidfd, POLLIN, 0};
    return poll(&wait, 1, milliseconds) == 1;
}

/* A step writes to memory that it shares with this process: what it saw can be looked at. */
typedef struct seen {
    int number; /* in which place it ran */
    int result; /* what it returns */
    pid_t pid, session;
    int first_fd, second_fd, other_fd; /* errno of a look at 0, at 1, and at one beyond */
    int handled;                       /* whether SIGUSR1 has a handler */
    int blocked;                       /* whether it is blocked */
    char directory[16];
} seen;

static int steps_run; /* of the latest spawn */

static int flaw_of(int fd) {
    return fcntl(fd, F_GETFD) < 0 ? errno : 0;
}

static int look(void *user) {
    seen *const self = user;
    struct sigaction action;
    sigset_t mask;
    self->number = ++steps_run;
    self->pid = getpid();
    self->session = getsid(0);
    self->first_fd = flaw_of(0);
    self->second_fd = flaw_of(1);
    self->other_fd = flaw_of(2);
    self->handled = sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
    self->blocked = sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1) == 1;
    if (getcwd(self->directory, sizeof self->directory) == NULL) {
        return errno;
    }
    return self->result;
}

static void handler(int number) {
    (void)number;
}

static pa_spawn_request shell(char *const *argv, const int *fds, size_t count) {
    const pa_spawn_request request = {
        .path = "/bin/sh", .argv = argv, .envp = environment, .fds = fds, .fd_count = count};
    return request;
}

static void starts_a_program(void) {
    static char script[] = "read line; printf '%s %s' \"$line\" \"$NAME\"; exit 7";
    char *const argv[] = {sh, minus_c, script, NULL};
    int in[2], out[2], fds[2];
    char answer[64] = "";
    pa_spawned spawned;
    pa_spawn_request request;
    siginfo_t info;
    int status;
    REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    fds[0] = in[0];
    fds[1] = out[1];
    request = shell(argv, fds, 2);
    REQUIRE(pa_spawn(&request, &spawned) == 0);
    REQUIRE(spawned.pid > 0 && spawned.pidfd >= 0 && spawned.failed == NULL);
    REQUIRE(fcntl(spawned.pidfd, F_GETFD) == FD_CLOEXEC);
    status = pa_spawn_ended(spawned.pidfd, &status);
    REQUIRE(status == EAGAIN || status == ENOTSUP);
    (void)close(in[0]);
    (void)close(out[1]);
    REQUIRE(write(in[1], "line\n", 5) == 5);
    REQUIRE(read(out[0], answer, sizeof answer - 1) == 10);
    REQUIRE(strcmp(answer, "line value") == 0);
    info = wait_for(spawned.pidfd);
    REQUIRE(info.si_code == CLD_EXITED && info.si_status == 7);
    if (pa_spawn_ended(spawned.pidfd, &status) == 0) {
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    (void)close(spawned.pidfd);
    (void)close(in[1]);
    (void)close(out[0]);
}

/* The positive control of all that follows: steps that succeed, in order, in the new process. */
static void steps_run_in_order_in_the_new_process(void) {
    static char script[] = "exit 0";
    char *const argv[] = {sh, minus_c, script, NULL};
    const int fds[] = {-1, -1};
    seen first = {.result = 0}, second = {.result = 0};
    const pa_spawn_step steps[] = {{"first", look, &first}, {"second", look, &second}};
    pa_spawn_request request = shell(argv, fds, 2);
    pa_spawned spawned;
    siginfo_t info;
    sigset_t mask, before;
    request.steps = steps;
    request.step_count = 2;
    steps_run = 0;
    (void)signal(SIGUSR1, handler);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &mask, &before);
    REQUIRE(pa_spawn(&request, &spawned) == 0);
    REQUIRE(sigprocmask(SIG_SETMASK, &before, &mask) == 0 && sigismember(&mask, SIGUSR1) == 1);
    (void)signal(SIGUSR1, SIG_DFL);
    REQUIRE(first.number == 1 && second.number == 2 && steps_run == 2);
    REQUIRE(first.pid == spawned.pid && second.pid == spawned.pid && first.session == spawned.pid);
    REQUIRE(first.first_fd == 0 && first.second_fd == 0 && first.other_fd == EBADF);
    REQUIRE(!first.handled && !first.blocked && strcmp(first.directory, "/") == 0);
    info = wait_for(spawned.pidfd);
    REQUIRE(info.si_code == CLD_EXITED && info.si_status == 0);
    (void)close(spawned.pidfd);
}

static void a_step_that_fails_is_named(int place) {
    static char script[] = "exit 0";
    char *const argv[] = {sh, minus_c, script, NULL};
    const int fds[] = {-1, -1};
    static const char *const names[] = {"namespaces", "landlock", "seccomp"};
    seen looks[3];
    pa_spawn_step steps[3];
    pa_spawn_request request = shell(argv, fds, 2);
    pa_spawned spawned;
    const int before = open_descriptors();
    int i;
    memset(looks, 0, sizeof looks);
    for (i = 0; i < 3; i++) {
        looks[i].result = i == place ? EPERM + i : 0;
        steps[i] = (pa_spawn_step){names[i], look, &looks[i]};
    }
    request.steps = steps;
    request.step_count = 3;
    steps_run = 0;
    REQUIRE(pa_spawn(&request, &spawned) == EPERM + place);
    REQUIRE(strcmp(spawned.failed, names[place]) == 0);
    REQUIRE(spawned.pid == -1 && spawned.pidfd == -1);
    /* Those before it ran, none after it did, and the program was not begun. */
    REQUIRE(steps_run == place + 1);
    REQUIRE(kill(looks[0].pid, 0) == -1 && errno == ESRCH);
    REQUIRE(no_children() && open_descriptors() == before);
}

static void what_cannot_be_is_named(void) {
    static char script[] = "exit 0";
    char *const argv[] = {sh, minus_c, script, NULL};
    static const int none[] = {-1}, closed[] = {-1, 1000};
    static const int many[PA_SPAWN_MOST_FDS + 1];
    pa_spawn_request request = shell(argv, none, 1);
    pa_spawned spawned;
    const int before = open_descriptors();
    request.path = "/nowhere/at/all";
    REQUIRE(pa_spawn(&request, &spawned) == ENOENT && strcmp(spawned.failed, "execve") == 0);
    request = shell(argv, closed, 2);
    REQUIRE(pa_spawn(&request, &spawned) == EBADF && strcmp(spawned.failed, "descriptors") == 0);
    request = shell(argv, many, PA_SPAWN_MOST_FDS + 1);
    REQUIRE(pa_spawn(&request, &spawned) == EINVAL && strcmp(spawned.failed, "descriptors") == 0);
    REQUIRE(no_children() && open_descriptors() == before);
}

/* Descriptors that stand in each other's places: 0 and 1 change places. */
static void descriptors_change_places(void) {
    static char script[] = "read line <&1; printf '%s' \"$line\" >&0";
    char *const argv[] = {sh, minus_c, script, NULL};
    const int kept[2] = {fcntl(0, F_DUPFD_CLOEXEC, 10), fcntl(1, F_DUPFD_CLOEXEC, 10)};
    const int fds[2] = {1, 0};
    int in[2], out[2];
    char answer[16] = "";
    pa_spawned spawned;
    pa_spawn_request request = shell(argv, fds, 2);
    REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    REQUIRE(dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1);
    REQUIRE(write(in[1], "swapped\n", 8) == 8);
    REQUIRE(pa_spawn(&request, &spawned) == 0);
    REQUIRE(wait_for(spawned.pidfd).si_status == 0);
    REQUIRE(read(out[0], answer, sizeof answer - 1) == 7 && strcmp(answer, "swapped") == 0);
    REQUIRE(dup2(kept[0], 0) == 0 && dup2(kept[1], 1) == 1);
    (void)close(kept[0]);
    (void)close(kept[1]);
    (void)close(spawned.pidfd);
    (void)close(in[0]);
    (void)close(in[1]);
    (void)close(out[0]);
    (void)close(out[1]);
}

typedef struct sleeper {
    int dies_with_thread;
    int error;
    pa_spawned spawned;
} sleeper;

static void *spawn_sleeper(void *user) {
    sleeper *const self = user;
    static char script[] = "exec sleep 600";
    char *const argv[] = {sh, minus_c, script, NULL};
    static const int none[] = {-1, -1, -1};
    pa_spawn_request request = shell(argv, none, 3);
    static char path[] = "PATH=/usr/bin:/bin";
    static char *const with_path[] = {path, NULL};
    request.envp = with_path;
    request.dies_with_thread = self->dies_with_thread;
    self->error = pa_spawn(&request, &self->spawned);
    return NULL;
}

static void a_thread_that_ends_takes_what_shall_die_with_it(void) {
    sleeper dies = {.dies_with_thread = 1}, lives = {.dies_with_thread = 0};
    pthread_t thread;
    siginfo_t info;
    REQUIRE(pthread_create(&thread, NULL, spawn_sleeper, &dies) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0 && dies.error == 0);
    REQUIRE(pthread_create(&thread, NULL, spawn_sleeper, &lives) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0 && lives.error == 0);
    REQUIRE(ends_within(dies.spawned.pidfd, 5000));
    info = wait_for(dies.spawned.pidfd);
    REQUIRE(info.si_code == CLD_KILLED && info.si_status == SIGKILL);
    REQUIRE(!ends_within(lives.spawned.pidfd, 200));
    REQUIRE(kill(lives.spawned.pid, SIGKILL) == 0);
    info = wait_for(lives.spawned.pidfd);
    REQUIRE(info.si_status == SIGKILL);
    (void)close(dies.spawned.pidfd);
    (void)close(lives.spawned.pidfd);
}

static void *spawn_many(void *user) {
    static char script[] = "exit 3";
    char *const argv[] = {sh, minus_c, script, NULL};
    static const int none[] = {-1, -1, -1};
    int i;
    for (i = 0; i < 50; i++) {
        seen mine = {.result = i % 5 == 0 ? EACCES : 0};
        const pa_spawn_step step = {"mine", look, &mine};
        pa_spawn_request request = shell(argv, none, 3);
        pa_spawned spawned;
        int error;
        request.steps = &step;
        request.step_count = 1;
        error = pa_spawn(&request, &spawned);
        REQUIRE(error == mine.result);
        if (error == 0) {
            REQUIRE(mine.pid == spawned.pid && wait_for(spawned.pidfd).si_status == 3);
            (void)close(spawned.pidfd);
        } else {
            REQUIRE(strcmp(spawned.failed, "mine") == 0);
        }
    }
    return user;
}

static void threads_spawn_at_the_same_time(void) {
    pthread_t threads[4];
    size_t i;
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, spawn_many, NULL) == 0);
    }
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
}

int main(void) {
    const int before = open_descriptors();
    int place;
    starts_a_program();
    steps_run_in_order_in_the_new_process();
    for (place = 0; place < 3; place++) {
        a_step_that_fails_is_named(place);
    }
    what_cannot_be_is_named();
    descriptors_change_places();
    a_thread_that_ends_takes_what_shall_die_with_it();
    threads_spawn_at_the_same_time();
    REQUIRE(no_children() && open_descriptors() == before);
    (void)puts("ok");
    return 0;
}
