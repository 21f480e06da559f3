/* Sample real threads without Python, under sanitizers. Prints "ok", or why it may not. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "profile/profile.h"

static volatile unsigned long sum;

__attribute__((noinline, noreturn)) static void spin(void) {
    for (;;) {
        sum++;
    }
}

static pid_t child(int spins) {
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (spins) {
            spin();
        }
        for (;;) {
            pause();
        }
    }
    assert(pid > 0);
    return pid;
}

static void ms(long count) {
    const struct timespec pause_ = {count / 1000, count % 1000 * 1000000};
    nanosleep(&pause_, NULL);
}

static void end(pid_t pid) {
    kill(pid, SIGKILL);
    assert(waitpid(pid, NULL, 0) == pid);
}

int main(void) {
    static uint64_t frames[PA_PROFILE_DEPTH];
    const pid_t busy = child(1), idle = child(0);
    pa_profile *spinning, *sleeping;
    size_t samples = 0, within = 0;
    const uintptr_t function = (uintptr_t)&spin;
    int error = pa_profile_open(busy, 200, &spinning);
    if (error == EACCES || error == EPERM || error == ENOENT) {
        printf("not allowed: %s\n", strerror(error));
        end(busy);
        end(idle);
        return 0;
    }
    assert(error == 0);
    assert(pa_profile_open(idle, 200, &sleeping) == 0);
    for (int turn = 0; turn < 200 && samples < 20; turn++) {
        size_t depth;
        ms(50);
        while ((depth = pa_profile_next(spinning, frames)) > 0) {
            samples++;
            assert(depth <= PA_PROFILE_DEPTH);
            within += frames[0] >= function && frames[0] < function + 256;
        }
    }
    assert(samples >= 20 && within >= samples / 2);
    assert(pa_profile_next(sleeping, frames) == 0);
    pa_profile_close(sleeping);
    /* Nobody takes them: the ring is full, and says so once there is room again. */
    pa_profile_close(spinning);
    assert(pa_profile_open(busy, 10000, &spinning) == 0);
    for (int turn = 0; turn < 100 && pa_profile_lost(spinning) == 0; turn++) {
        ms(1500);
        while (pa_profile_next(spinning, frames) > 0) {
        }
        ms(50);
        while (pa_profile_next(spinning, frames) > 0) {
        }
    }
    assert(pa_profile_lost(spinning) > 0);
    end(busy);
    assert(pa_profile_open(busy, 100, &sleeping) == ESRCH);
    pa_profile_close(spinning);
    end(idle);
    puts("ok");
    return 0;
}
