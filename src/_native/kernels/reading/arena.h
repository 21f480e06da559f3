/* Memory for the bytes of some files, one behind the other, that is used again and again. */
#ifndef PLUGINAPI_READING_ARENA_H
#define PLUGINAPI_READING_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct pa_arena {
    uint8_t *data; /* moves when it grows: keep offsets */
    size_t capacity;
    size_t used;
} pa_arena;

/* Forget what is there. More than `keep` bytes of memory are given back. */
void pa_arena_reset(pa_arena *arena, size_t keep);

/* Make room for `size` bytes behind what is used, and begin them at a cache line. Returns where
 * they begin, in `*offset`; nothing is used yet. Returns 0, or ENOMEM. */
int pa_arena_room(pa_arena *arena, size_t size, size_t *offset);

#endif
