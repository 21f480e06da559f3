/* Where a thread of another process is, many times a second: perf_event_open(2), by the clock of its
 * processor time, so that one that sleeps has no samples. Of its own code alone, not the kernel's. */
#ifndef PLUGINAPI_PROFILE_PROFILE_H
#define PLUGINAPI_PROFILE_PROFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The deepest stack that the kernel follows unless it was told otherwise. */
#define PA_PROFILE_DEPTH 127

typedef struct pa_profile pa_profile;

/* Begin: 0 or an errno. It takes the right to look into the process, as ptrace(2) does. */
int pa_profile_open(pid_t thread, unsigned rate, pa_profile **made);

/* The next sample: its addresses, the innermost first, and how many; 0 when there is none now. */
size_t pa_profile_next(pa_profile *profile, uint64_t frames[PA_PROFILE_DEPTH]);

/* Samples that nobody took in time. */
uint64_t pa_profile_lost(const pa_profile *profile);

void pa_profile_close(pa_profile *profile);

#endif
