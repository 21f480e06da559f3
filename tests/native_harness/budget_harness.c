/* Watch real processes without Python, under sanitizers. Prints "ok". */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "budget/budget.h"

#define BUDGET UINT64_C(30000000)

static pid_t child(int spins) {
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            if (!spins) {
                pause();
            }
        }
    }
    assert(pid > 0);
    return pid;
}

static int rings(pa_budget *budget, int milliseconds) {
    struct pollfd bell = {pa_budget_bell(budget), POLLIN, 0};
    return poll(&bell, 1, milliseconds);
}

static void ms(long count) {
    const struct timespec pause_ = {count / 1000, count % 1000 * 1000000};
    nanosleep(&pause_, NULL);
}

static void budgets(pa_budget *budget) {
    const pid_t busy = child(1), idle = child(0);
    pa_watched_calls *spinning, *waiting;
    pa_budget_event event;
    assert(pa_budget_watch(budget, busy, BUDGET, 1, &spinning) == 0);
    assert(pa_budget_watch(budget, idle, BUDGET, 2, &waiting) == 0);
    /* Nobody calls: nothing is used up, whatever it does. */
    assert(rings(budget, 150) == 0);
    pa_call_begins(waiting);
    assert(rings(budget, 150) == 0);
    pa_call_begins(spinning);
    for (uint64_t times = 1; times <= 3; times++) {
        assert(rings(budget, 20000) == 1);
        assert(pa_budget_next(budget, &event) == 0);
        assert(event.number == 1 && event.budget_ns == BUDGET && event.calls == 1);
        assert(event.used_ns > BUDGET * times);
        assert(pa_budget_next(budget, &event) == EAGAIN);
    }
    pa_calls_end(spinning, 1);
    while (pa_budget_next(budget, &event) == 0) {
    }
    /* Calls that end within their time, over and over. */
    for (int i = 0; i < 40; i++) {
        pa_call_begins(spinning);
        ms(5);
        pa_calls_end(spinning, 1);
    }
    assert(rings(budget, 0) == 0);
    /* Three that may run at the same time have three budgets. */
    atomic_store(&spinning->concurrent, 1);
    for (int i = 0; i < 3; i++) {
        pa_call_begins(spinning);
    }
    assert(rings(budget, 20000) == 1 && pa_budget_next(budget, &event) == 0);
    assert(event.used_ns > 3 * BUDGET && event.calls == 3);
    pa_budget_forget(budget, spinning);
    while (pa_budget_next(budget, &event) == 0) {
    }
    assert(rings(budget, 100) == 0);
    pa_calls_end(spinning, 3);
    pa_calls_end(spinning, 5); /* More than there are. */
    assert(atomic_load(&spinning->running) == 0);
    pa_calls_release(spinning);
    kill(busy, SIGKILL);
    kill(idle, SIGKILL);
    assert(waitpid(busy, NULL, 0) == busy && waitpid(idle, NULL, 0) == idle);
    /* It has ended, and its call goes on. */
    assert(rings(budget, 30) == 0);
    pa_budget_forget(budget, waiting);
    pa_calls_release(waiting);
}

static void *calls(void *watched) {
    for (int i = 0; i < 20000; i++) {
        pa_call_begins(watched);
        pa_calls_end(watched, 1);
        if (i % 4000 == 0) {
            ms(130); /* So long that the thread falls asleep. */
        }
    }
    return NULL;
}

static void many(pa_budget *budget) {
    pa_watched_calls *watched[4];
    pthread_t threads[4];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            assert(pa_budget_watch(budget, getpid(), BUDGET * 1000, 9, &watched[i]) == 0);
            pthread_create(&threads[i], NULL, calls, watched[i]);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            pa_budget_forget(budget, watched[i]);
            pa_budget_forget(budget, watched[i]);
            pa_calls_release(watched[i]);
        }
    }
}

int main(void) {
    pa_budget *budget;
    pa_watched_calls *left;
    const pid_t idle = child(0);
    assert(pa_budget_new(&budget) == 0);
    budgets(budget);
    many(budget);
    /* Held longer than the watcher. */
    assert(pa_budget_watch(budget, idle, BUDGET, 3, &left) == 0);
    ms(130);
    pa_budget_free(budget);
    pa_call_begins(left);
    pa_calls_end(left, 1);
    pa_calls_release(left);
    kill(idle, SIGKILL);
    assert(waitpid(idle, NULL, 0) == idle);
    puts("ok");
    return 0;
}
