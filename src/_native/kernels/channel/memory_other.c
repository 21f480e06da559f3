#include <errno.h>

#include "memory.h"

/* Without seals a peer could truncate the file under us: the socket alone is used instead. */

pa_channel_status pa_memory_make(size_t size, int *fd, int *error) {
    (void)size, (void)fd;
    *error = ENOSYS;
    return PA_CHANNEL_IO;
}

pa_channel_status pa_memory_map(int fd, size_t size, void **memory, int *error) {
    (void)fd, (void)size, (void)memory;
    *error = ENOSYS;
    return PA_CHANNEL_IO;
}

void pa_memory_unmap(void *memory, size_t size) {
    (void)memory, (void)size;
}
