/* Watch over the processor time that processes take for single calls: one thread for all of them.
 *
 * Knows no Python. Linux. Who makes calls says when one begins and ends, which costs two stores; the
 * thread looks every few milliseconds which processes have calls that do not end, and reads the
 * clock of those alone. While nobody makes calls it sleeps.
 *
 * What counts against the budget is the processor time of the process since a call ended the last
 * time, or since the thread first saw one: that is never more than the calls that are running took,
 * and up to PA_BUDGET_TICK_NS less. Where several calls may run at the same time, each of them has
 * the budget.
 *
 * Thread-safe. Functions that return int return 0 or an errno value. */
#ifndef PLUGINAPI_BUDGET_H
#define PLUGINAPI_BUDGET_H

#include <stdint.h>

#include "calls.h"

#define PA_BUDGET_TICK_NS UINT64_C(3000000)

typedef struct pa_budget pa_budget;

typedef struct pa_budget_event {
    uint64_t number;  /* of the process, as it was given */
    uint64_t used_ns; /* by the calls that are running */
    uint64_t budget_ns;
    uint32_t calls;   /* that are running */
} pa_budget_event;

int pa_budget_new(pa_budget **out);

/* End the thread; processes that others hold stay valid. */
void pa_budget_free(pa_budget *self);

/* A descriptor that is readable while there are events. */
int pa_budget_bell(const pa_budget *self);

/* Watch a process. The caller holds *out. */
int pa_budget_watch(pa_budget *self, int32_t pid, uint64_t budget_ns, uint64_t number,
                    pa_watched_calls **out);

/* Watch it no more; to be called before its number may be another process's. */
void pa_budget_forget(pa_budget *self, pa_watched_calls *calls);

/* Take the next event: 0, or EAGAIN when there is none. One follows each time that a budget is used
 * up again while no call ends. */
int pa_budget_next(pa_budget *self, pa_budget_event *out);

#endif
