/* What a control group uses, by the files of its controllers, which are kept open: cgroups(7).
 *
 * Knows no Python. Not thread-safe: the owner has a lock. */
#ifndef PLUGINAPI_PROCFS_GROUP_H
#define PLUGINAPI_PROCFS_GROUP_H

#include <stdint.h>

/* Descriptors that belong to it; -1: there is none. Each file begins with a number, or with one
 * word and a number. */
typedef struct pa_group {
    int memory; /* memory.current, memory.usage_in_bytes: bytes */
    int cpu;    /* cpu.stat: microseconds; cpuacct.usage: nanoseconds */
    int tasks;  /* pids.current: processes and threads */
    int stat;   /* memory.stat */
    uint32_t cpu_unit; /* nanoseconds of what the file counts in */
    /* Of the latest reading. */
    uint64_t charge, cached;
} pa_group;

/* Make it hold nothing. */
void pa_group_none(pa_group *self);

void pa_group_close(pa_group *self);

uint32_t pa_group_descriptors(const pa_group *self);

/* Read the memory that it is charged with, less the files that the kernel keeps for it and would
 * take back. Returns 0 or an errno value: ENODEV when the group was removed. */
int pa_group_memory(pa_group *self, uint64_t *out);

/* Read one of its other files. Returns 0 or an errno value: ENODEV when the group was removed. */
int pa_group_read(int file, uint64_t *out);

#endif
