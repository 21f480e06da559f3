/* Open a shared library. The platform's part is in library_posix.c. */
#ifndef PLUGINAPI_ABI_LIBRARY_H
#define PLUGINAPI_ABI_LIBRARY_H

#include <stddef.h>

typedef struct pa_library {
    void *handle; /* NULL: not open */
} pa_library;

typedef void (*pa_symbol)(void);

/* Load a library and run its constructors. Every symbol is resolved now, none becomes visible to
 * other libraries. Returns 0; or -1 with the linker's message, NUL-ended, in error[capacity].
 *
 * A path below /proc/self/fd is given a name of its own every time: the linker knows libraries by
 * the name they were opened with, and would hand out the one that had this descriptor before. */
int pa_library_open(pa_library *library, const char *path, char *error, size_t capacity);

/* Return the address of an exported function, or NULL. */
pa_symbol pa_library_find(const pa_library *library, const char *name);

/* Run the library's destructors and unmap it. No code or data of it may be used afterwards. */
void pa_library_close(pa_library *library);

#endif
