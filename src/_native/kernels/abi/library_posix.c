#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* RTLD_NOLOAD */
#endif
#include "library.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FD_PREFIX "/proc/self/fd/"
#define ALIAS_BITS 32

static atomic_uint_fast32_t next_alias;

/* Spell a path below /proc/self/fd differently for every number: each bit is "/." or "//.". */
static void spell(char *name, size_t capacity, const char *descriptor, uint_fast32_t number) {
    size_t used = (size_t)snprintf(name, capacity, "/proc/self");
    int bit;
    for (bit = 0; bit < ALIAS_BITS; bit++) {
        used += (size_t)snprintf(name + used, capacity - used, "%s",
                                 (number >> bit & 1) != 0 ? "//." : "/.");
    }
    (void)snprintf(name + used, capacity - used, "/fd/%s", descriptor);
}

static void describe(char *error, size_t capacity, const char *text) {
    (void)snprintf(error, capacity, "%s", text == NULL ? "the linker gives no reason" : text);
}

int pa_library_open(pa_library *library, const char *path, char *error, size_t capacity) {
    char alias[sizeof "/proc/self/fd/" + 3 * ALIAS_BITS + 32];
    const char *name = path;
    library->handle = NULL;
    if (strncmp(path, FD_PREFIX, sizeof FD_PREFIX - 1) == 0) {
        const char *const descriptor = path + sizeof FD_PREFIX - 1;
        if (strlen(descriptor) > 10 || strchr(descriptor, '/') != NULL) {
            describe(error, capacity, "not a path of a descriptor");
            return -1;
        }
        spell(alias, sizeof alias, descriptor, atomic_fetch_add(&next_alias, 1));
        name = alias;
    }
    /* A library of this name, or with this name as its SONAME, would be taken for ours. */
    library->handle = dlopen(name, RTLD_NOLOAD | RTLD_NOW | RTLD_LOCAL);
    if (library->handle != NULL) {
        (void)dlclose(library->handle);
        library->handle = NULL;
        describe(error, capacity, "another library is loaded under this name");
        return -1;
    }
    (void)dlerror();
    library->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library->handle == NULL) {
        describe(error, capacity, dlerror());
        return -1;
    }
    return 0;
}

pa_symbol pa_library_find(const pa_library *library, const char *name) {
    /* POSIX lets dlsym return functions through void *; C does not have the conversion. */
    void *const address = dlsym(library->handle, name);
    pa_symbol symbol = NULL;
    memcpy(&symbol, &address, sizeof symbol);
    return symbol;
}

void pa_library_close(pa_library *library) {
    if (library->handle != NULL) {
        (void)dlclose(library->handle);
        library->handle = NULL;
    }
}
