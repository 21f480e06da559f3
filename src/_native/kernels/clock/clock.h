/* Cheap clocks: ticks of the fastest steady counter, and CPU time of threads with few system calls.
 *
 * Knows no Python. The processor's counter costs about 10 ns; clock_gettime(CLOCK_MONOTONIC) 30 ns;
 * the CPU time of a thread is a system call, up to 700 ns on virtual machines. */
#ifndef PLUGINAPI_CLOCK_H
#define PLUGINAPI_CLOCK_H

#include <stdint.h>

/* The CPU time of a thread is read no more often than this, unless something took long. */
#define PA_CLOCK_MARK_NS 250000
/* What takes less than this between two looks counts as CPU time as a whole. */
#define PA_CLOCK_SLOW_NS 50000

/* What is known of one thread's CPU time. */
typedef struct pa_cpu_mark {
    uint64_t ticks;  /* when cpu_ns was read */
    uint64_t cpu_ns; /* CPU time of the thread at that moment */
} pa_cpu_mark;

/* One per thread. */
typedef struct pa_thread_clock {
    pa_cpu_mark mark;
    uint64_t charged; /* ticks of work on this thread that somebody was charged with */
} pa_thread_clock;

extern int pa_clock_uses_counter;  /* whether ticks come from the processor's counter */
extern uint64_t pa_clock_mark_ticks; /* PA_CLOCK_MARK_NS in ticks */
extern uint64_t pa_clock_slow_ticks; /* PA_CLOCK_SLOW_NS in ticks */

/* Choose the counter and look at its rate, which takes 0.1 ms. Idempotent; call it once before
 * anything else here, from one thread. */
void pa_clock_open(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t pa_clock_monotonic_ns(void);

/* CPU time of the calling thread in nanoseconds: a system call. */
uint64_t pa_clock_thread_ns(void);

/* Convert a difference of ticks. In the first 2 ms after pa_clock_open these wait for them to pass;
 * after a tenth of a second the rate of the counter is settled. */
double pa_clock_ns(uint64_t ticks);
uint64_t pa_clock_ticks_of(double ns);

/* The calling thread's part. */
pa_thread_clock *pa_clock_thread(void);

/* Read the thread's CPU time into its mark; `now` is the current tick. */
void pa_clock_mark(pa_thread_clock *thread, uint64_t now);

/* Return the CPU time in ns of work from `began` to `ended` (now) on this thread, given a mark that
 * was taken before it began. What the thread did between mark and beginning is taken to be CPU
 * time, so the answer is at most PA_CLOCK_MARK_NS too low and never above the wall time. */
uint64_t pa_clock_cpu_of(pa_thread_clock *thread, pa_cpu_mark mark, uint64_t began, uint64_t ended);

/* The current tick. Ticks of two processors may differ by less than a cache miss. */
static inline uint64_t pa_clock_now(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (pa_clock_uses_counter) {
        return __builtin_ia32_rdtsc();
    }
#elif defined(__aarch64__) && defined(__GNUC__)
    if (pa_clock_uses_counter) {
        uint64_t ticks;
        __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
        return ticks;
    }
#endif
    return pa_clock_monotonic_ns();
}

#endif
