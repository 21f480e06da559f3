/* The memory file that both ends of a channel map. */
#ifndef PLUGINAPI_CHANNEL_MEMORY_H
#define PLUGINAPI_CHANNEL_MEMORY_H

#include <stddef.h>

#include "frame.h"

/* Whether this platform has them; without, making and mapping give IO with ENOSYS. */
#ifdef __linux__
#define PA_MEMORY_SEALED 1
#else
#define PA_MEMORY_SEALED 0
#endif

/* Make a memory file of this size, sealed so that nobody can change its size ever again: no access
 * to it can fault. The descriptor is close-on-exec. *error is an errno value when it is IO. */
pa_channel_status pa_memory_make(size_t size, int *fd, int *error);

/* Map a memory file that somebody else made, after checking its seals and its size: BAD_AREA when
 * it could be truncated or is too small. The descriptor stays the caller's. */
pa_channel_status pa_memory_map(int fd, size_t size, void **memory, int *error);

void pa_memory_unmap(void *memory, size_t size);

#endif
