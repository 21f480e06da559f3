#define _POSIX_C_SOURCE 200809L
#include "clock.h"

#include <stdatomic.h>
#include <time.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

/* Reading both clocks is off by some 50 ns: over these times 0.05 % and 0.0025 %. */
#define FIRST_LOOK_NS 100000u
#define CALIBRATION_NS 2000000u
/* From here on the rate is exact to less than a millionth, and measured no more. */
#define SETTLED_NS 100000000u

int pa_clock_uses_counter;
uint64_t pa_clock_mark_ticks;
uint64_t pa_clock_slow_ticks;

static struct {
    uint64_t ticks;
    uint64_t ns;
} origin;

static _Atomic double settled_rate; /* 0 until it is known */

static _Thread_local pa_thread_clock this_thread;

static uint64_t read_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t pa_clock_monotonic_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t pa_clock_thread_ns(void) {
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Tell whether the counter runs at one rate, whatever the processor's frequency and sleep. */
static int counter_is_steady(void) {
#if defined(PA_CLOCK_PORTABLE)
    return 0; /* For tests of what other processors do. */
#elif defined(__x86_64__) && defined(__GNUC__)
    unsigned int a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8)) != 0;
#elif defined(__aarch64__) && defined(__GNUC__)
    return 1; /* The architecture says so. */
#else
    return 0;
#endif
}

/* Nanoseconds per tick, measured from the origin until now. */
static double rate(uint64_t at_least_ns) {
    const double settled = atomic_load_explicit(&settled_rate, memory_order_relaxed);
    uint64_t ticks, ns;
    if (settled > 0) {
        return settled;
    }
    do {
        ticks = pa_clock_now() - origin.ticks;
        ns = pa_clock_monotonic_ns() - origin.ns;
    } while (ns < at_least_ns);
    if (ns >= SETTLED_NS) {
        atomic_store_explicit(&settled_rate, (double)ns / (double)ticks, memory_order_relaxed);
    }
    return (double)ns / (double)(ticks == 0 ? 1 : ticks);
}

void pa_clock_open(void) {
    if (origin.ns != 0) {
        return;
    }
    pa_clock_uses_counter = counter_is_steady();
    origin.ticks = pa_clock_now();
    origin.ns = pa_clock_monotonic_ns();
    pa_clock_mark_ticks = PA_CLOCK_MARK_NS;
    pa_clock_slow_ticks = PA_CLOCK_SLOW_NS;
    if (pa_clock_uses_counter) {
        const double ns_per_tick = rate(FIRST_LOOK_NS);
        pa_clock_mark_ticks = (uint64_t)(PA_CLOCK_MARK_NS / ns_per_tick);
        pa_clock_slow_ticks = (uint64_t)(PA_CLOCK_SLOW_NS / ns_per_tick);
    }
}

double pa_clock_ns(uint64_t ticks) {
    return pa_clock_uses_counter ? (double)ticks * rate(CALIBRATION_NS) : (double)ticks;
}

uint64_t pa_clock_ticks_of(double ns) {
    return (uint64_t)(pa_clock_uses_counter ? ns / rate(CALIBRATION_NS) : ns);
}

pa_thread_clock *pa_clock_thread(void) {
    return &this_thread;
}

void pa_clock_mark(pa_thread_clock *thread, uint64_t now) {
    thread->mark.cpu_ns = pa_clock_thread_ns();
    thread->mark.ticks = now;
}

uint64_t pa_clock_cpu_of(pa_thread_clock *thread, pa_cpu_mark mark, uint64_t began,
                         uint64_t ended) {
    double cpu, wall;
    pa_clock_mark(thread, ended);
    wall = pa_clock_ns(ended - began);
    cpu = (double)(thread->mark.cpu_ns - mark.cpu_ns);
    if (began > mark.ticks) {
        cpu -= pa_clock_ns(began - mark.ticks);
    }
    return (uint64_t)(cpu < 0 ? 0 : cpu > wall ? wall : cpu);
}
