/* The numbered entries of a directory of /proc: threads below task, descriptors below fd.
 *
 * Knows no Python. Thread-safe: no state. Functions that return int return 0 or an errno value. */
#ifndef PLUGINAPI_PROCFS_TASKS_H
#define PLUGINAPI_PROCFS_TASKS_H

#include <stdint.h>

/* Called with each number; ends the reading when it returns other than 0. */
typedef int (*pa_tasks_visit)(void *self, int32_t number);

/* Visit the entries of an open directory whose names are numbers, from its beginning. */
int pa_tasks_each(int directory, pa_tasks_visit visit, void *self);

/* Count them. */
int pa_tasks_count(int directory, uint32_t *out);

/* Return a thread other than the first that has not ended, or 0. `process` is /proc/PID. */
int32_t pa_tasks_other(int process, int32_t first);

/* Add up the context switches of all threads. */
int pa_tasks_switches(int process, uint64_t *voluntary, uint64_t *involuntary);

#endif
