/* The clock of kernels/clock: with the processor's counter, and with -DPA_CLOCK_PORTABLE without. */
#define _POSIX_C_SOURCE 200809L
#include "clock/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void rest(long ns) {
    const struct timespec time = {0, ns};
    nanosleep(&time, NULL);
}

static void work(uint64_t ns) {
    const uint64_t end = pa_clock_thread_ns() + ns;
    while (pa_clock_thread_ns() < end) {
        continue;
    }
}

/* The CPU time that the clock gives for something, by a mark from just before. */
static double cpu_of(void (*work_or_rest)(uint64_t), uint64_t ns, double *wall) {
    pa_thread_clock *const thread = pa_clock_thread();
    pa_cpu_mark mark;
    uint64_t began, ended;
    pa_clock_mark(thread, pa_clock_now());
    mark = thread->mark;
    began = pa_clock_now();
    work_or_rest(ns);
    ended = pa_clock_now();
    *wall = pa_clock_ns(ended - began);
    return (double)pa_clock_cpu_of(thread, mark, began, ended);
}

static void rest_for(uint64_t ns) {
    rest((long)ns);
}

int main(void) {
    uint64_t ticks, ns, last;
    double wall, cpu;
    int n;
    pa_clock_open();
    pa_clock_open();
    ticks = pa_clock_now();
    ns = pa_clock_monotonic_ns();
    rest(20000000);
    ticks = pa_clock_now() - ticks;
    ns = pa_clock_monotonic_ns() - ns;
    /* Both clocks saw the same time, give or take one switch of the processor. */
    REQUIRE(ns >= 20000000);
    REQUIRE(pa_clock_ns(ticks) > (double)ns * 0.9 - 5e6);
    REQUIRE(pa_clock_ns(ticks) < (double)ns * 1.1 + 5e6);
    REQUIRE(pa_clock_ns(pa_clock_ticks_of(1e9)) > 0.99e9);
    REQUIRE(pa_clock_ns(pa_clock_ticks_of(1e9)) < 1.01e9);
    REQUIRE(pa_clock_slow_ticks > 0 && pa_clock_slow_ticks < pa_clock_mark_ticks);
    last = pa_clock_now();
    for (n = 0; n < 100000; n++) {
        const uint64_t now = pa_clock_now();
        REQUIRE((int64_t)(now - last) > -1000000);
        last = now;
    }
    cpu = cpu_of(work, 10000000, &wall);
    REQUIRE(cpu > 9.5e6 && cpu <= wall);
    cpu = cpu_of(rest_for, 10000000, &wall);
    REQUIRE(wall > 9.5e6 && cpu < 2e6);
    puts(pa_clock_uses_counter ? "counter" : "portable");
    return 0;
}
