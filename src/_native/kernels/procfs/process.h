/* What one process uses, from /proc and its CPU clock, by handles that are bound to the process.
 *
 * Knows no Python. Linux 5.9 or newer. Not thread-safe: the owner has a lock. Functions that return
 * int return 0 or an errno value.
 *
 * A handle on /proc/PID goes on meaning the process that it was opened for: when that is gone and
 * another one has its number, reads fail. The CPU clock is found by number alone; it is read first,
 * and belongs to the process if a read by handle succeeds after it. */
#ifndef PLUGINAPI_PROCFS_PROCESS_H
#define PLUGINAPI_PROCFS_PROCESS_H

#include <stdint.h>

#include "group.h"

enum { /* What is known of a usage, and what is asked for. */
    PA_USAGE_MEMORY = 1,
    PA_USAGE_CPU = 2,
    PA_USAGE_THREADS = 4,
    PA_USAGE_DESCRIPTORS = 8,
    PA_USAGE_CONNECTIONS = 16,
    PA_USAGE_PEAK = 32,
    PA_USAGE_SWITCHES = 64,
    /* Asked for alone: begin anew with the peak, so that the next one is that since this one. */
    PA_USAGE_RESET_PEAK = 128,
    /* Of its control group, if it was given one; always measured then. */
    PA_USAGE_GROUP_MEMORY = 256,
    PA_USAGE_GROUP_CPU = 512,
    PA_USAGE_GROUP_TASKS = 1024
};

typedef enum pa_process_state {
    PA_PROCESS_LIVE,
    PA_PROCESS_ZOMBIE,      /* it has ended, and nobody waited for it yet */
    PA_PROCESS_LEADER_GONE, /* its first thread has ended, others go on: /proc/PID looks empty */
    PA_PROCESS_GONE
} pa_process_state;

typedef struct pa_usage {
    uint64_t memory; /* resident bytes */
    uint64_t cpu_ns; /* user and system time of all threads, those that ended too */
    uint64_t peak;   /* most resident bytes so far, or since the peak was begun anew */
    uint64_t voluntary, involuntary; /* context switches of the threads that are there */
    uint64_t group_memory, group_cpu_ns, group_tasks; /* of all processes of its group */
    uint32_t threads, descriptors, connections;
    uint32_t known; /* PA_USAGE_* of the above that hold */
    uint32_t over;  /* PA_USAGE_* of what is above its bound */
    uint32_t state; /* pa_process_state */
    int32_t error;  /* why something is not known: an errno value, or 0 */
} pa_usage;

/* What a process may use above what it used at the beginning. Memory and threads are those of its
 * control group where that is measured. */
typedef struct pa_bounds {
    uint64_t memory_before, memory;
    uint32_t threads_before, threads;
    uint32_t descriptors_before, descriptors;
    uint32_t connections;
    int32_t set; /* 0: it may use anything */
} pa_bounds;

typedef struct pa_process {
    int32_t pid;
    int directory; /* /proc/PID; -1: none */
    /* Kept open when there are enough descriptors, else -1. */
    int statm, descriptors, tasks;
    pa_group group;       /* it is the owner of its descriptors */
    pa_bounds bounds;
    int32_t peak_begun;         /* whether its peak was begun anew */
    uint64_t peak_begun_cpu_ns; /* its processor time then */
    uint64_t start_ticks; /* ticks of the clock from the start of the machine to its own */
    /* For connections.c: what was found of it the last time. */
    uint32_t search;          /* the one in which its descriptors were searched; 0: none */
    int32_t apart;            /* whether its sockets were looked at one by one */
    uint32_t had_descriptors; /* how many they were then */
    uint64_t had_cpu_ns;      /* its processor time then */
    uint32_t own_connections; /* those that are not among its host's */
    uint32_t connections;     /* in all */
    int32_t unsearched;       /* why they could not be searched: an errno value, or 0 */
} pa_process;

/* How many descriptors an open process takes: lean, or with all that make it quick. */
#define PA_PROCESS_LEAN 1u
#define PA_PROCESS_KEPT 4u

/* Whether this kernel tells the number of descriptors as the size of /proc/PID/fd: Linux 6.2.
 * Looked up once. */
int pa_process_sizes(void);

/* Open what has this number now; ESRCH when nothing has. With `keep`, PA_PROCESS_KEPT descriptors. */
int pa_process_open(pa_process *self, int32_t pid, int keep);

/* Make it hold nothing. */
void pa_process_none(pa_process *self);

void pa_process_close(pa_process *self);

/* Measure, all of `what` but the connections. Whatever cannot be had is missing from out->known. */
void pa_process_measure(pa_process *self, unsigned what, pa_usage *out);

/* Compare with the bounds: out->over. What is not known is not above. */
void pa_process_compare(const pa_process *self, pa_usage *out);

#endif
