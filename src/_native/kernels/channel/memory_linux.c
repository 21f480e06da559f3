#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3: nothing can be started from it */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

pa_channel_status pa_memory_make(size_t size, int *fd, int *error) {
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int made = memfd_create("pluginapi-channel", flags | MFD_NOEXEC_SEAL);
    if (made < 0 && errno == EINVAL) {
        made = memfd_create("pluginapi-channel", flags);
    }
    if (made < 0 || ftruncate(made, (off_t)size) != 0 || fcntl(made, F_ADD_SEALS, SEALS) != 0) {
        *error = errno;
        if (made >= 0) {
            (void)close(made);
        }
        return PA_CHANNEL_IO;
    }
    *fd = made;
    return PA_CHANNEL_OK;
}

pa_channel_status pa_memory_map(int fd, size_t size, void **memory, int *error) {
    struct stat about;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &about) != 0) {
        *error = errno;
        return PA_CHANNEL_BAD_AREA; /* not a memory file: it has no seals */
    }
    if ((seals & SEALS) != SEALS || about.st_size < 0 || (size_t)about.st_size < size) {
        *error = EINVAL;
        return PA_CHANNEL_BAD_AREA;
    }
    *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*memory == MAP_FAILED) {
        *error = errno;
        *memory = NULL;
        return PA_CHANNEL_IO;
    }
    return PA_CHANNEL_OK;
}

void pa_memory_unmap(void *memory, size_t size) {
    (void)munmap(memory, size);
}
