/* What any number of processes use, in one call.
 *
 * Knows no Python. Linux 5.9 or newer. Thread-safe: a pass takes milliseconds for thousands of
 * processes, and additions and removals wait for it; results are read while it runs, and change all
 * at once at its end. Functions that return int return 0 or an errno value. */
#ifndef PLUGINAPI_PROCFS_SAMPLER_H
#define PLUGINAPI_PROCFS_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "process.h"

typedef struct pa_sampler pa_sampler;

typedef struct pa_sampler_facts {
    uint32_t processes;
    uint32_t kept;        /* how many of them are read through descriptors that are kept open */
    uint32_t descriptors; /* that it holds */
    uint64_t passes;
    uint64_t pass_ns; /* how long the latest pass took */
} pa_sampler_facts;

/* Make one that holds about `keep` descriptors open to be quick, besides one for each process. */
int pa_sampler_new(uint32_t keep, pa_sampler **out);

void pa_sampler_free(pa_sampler *self);

/* Add the process that has this number now. *place is where it is, from 0; places that become free
 * are used again. *start_ticks is when it started, since the machine did. */
int pa_sampler_add(pa_sampler *self, int32_t pid, uint32_t *place, uint64_t *start_ticks);

/* Measure the control group of what is there too; the descriptors are the sampler's from now on,
 * also when nothing is there: ESRCH. */
int pa_sampler_attach(pa_sampler *self, uint32_t place, const pa_group *group);

/* Say what the process at a place may use; ESRCH when nothing is there. */
int pa_sampler_bound(pa_sampler *self, uint32_t place, const pa_bounds *bounds);

void pa_sampler_remove(pa_sampler *self, uint32_t place);

/* Measure every process: PA_USAGE_*. One of two calls at the same time waits for the other. */
void pa_sampler_pass(pa_sampler *self, unsigned what);

/* Measure one, all of `what` but the connections; ESRCH when nothing is there. */
int pa_sampler_one(pa_sampler *self, uint32_t place, unsigned what);

/* Find the next place, from this one on, of something that the latest pass found above a bound.
 * Returns whether there is one. */
int pa_sampler_next_over(pa_sampler *self, uint32_t *place);

/* Read what the latest pass found, or that there was none since it was added: known is 0 then. */
void pa_sampler_read(pa_sampler *self, uint32_t place, pa_usage *out);

void pa_sampler_tell(pa_sampler *self, pa_sampler_facts *out);

#endif
