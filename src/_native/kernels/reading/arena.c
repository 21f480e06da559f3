#include "arena.h"

#include <errno.h>
#include <stdlib.h>

#define LINE ((size_t)64)

void pa_arena_reset(pa_arena *arena, size_t keep) {
    arena->used = 0;
    if (arena->capacity > keep) {
        free(arena->data);
        arena->data = NULL;
        arena->capacity = 0;
    }
}

int pa_arena_room(pa_arena *arena, size_t size, size_t *offset) {
    const size_t begin = (arena->used + LINE - 1) / LINE * LINE;
    size_t wanted = arena->capacity;
    uint8_t *grown;
    if (begin < arena->used || size > SIZE_MAX - begin) {
        return ENOMEM;
    }
    *offset = begin;
    if (arena->data != NULL && size <= arena->capacity && begin <= arena->capacity - size) {
        return 0;
    }
    /* Half as much again, so that growing by many small files moves each byte a few times. */
    wanted = wanted > SIZE_MAX - wanted / 2 ? SIZE_MAX : wanted + wanted / 2;
    wanted = wanted < begin + size ? begin + size : wanted;
    grown = realloc(arena->data, wanted > 0 ? wanted : 1);
    if (grown == NULL) {
        return ENOMEM;
    }
    arena->data = grown;
    arena->capacity = wanted;
    return 0;
}
