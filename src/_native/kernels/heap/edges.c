#include "heap/edges.h"

#include <stddef.h>
#include <stdlib.h>

/* Open addressing, linear; less than half full. It never shrinks: a 4096th of the memory that was
 * once held is little. */
#define SMALLEST 64u

static uintptr_t *slots; /* 0 is free */
static size_t mask, held;

static size_t place_of(uintptr_t address) {
    return (size_t)((uint64_t)(address / PA_HEAP_PAGE) * 0x9e3779b97f4a7c15ull >> 20) & mask;
}

/* Where it is, or the free slot where it would be. */
static size_t find(uintptr_t address) {
    size_t place = place_of(address);
    while (slots[place] != 0 && slots[place] != address) {
        place = (place + 1) & mask;
    }
    return place;
}

static int grow(void) {
    const size_t before = slots == NULL ? 0 : mask + 1;
    const size_t count = before == 0 ? SMALLEST : 2 * before;
    uintptr_t *const old = slots;
    uintptr_t *const made = calloc(count, sizeof *made);
    if (made == NULL) {
        return -1;
    }
    slots = made;
    mask = count - 1;
    for (size_t place = 0; place < before; place++) {
        if (old[place] != 0) {
            slots[find(old[place])] = old[place];
        }
    }
    free(old);
    return 0;
}

int pa_edges_reserve(void) {
    return slots != NULL && 2 * (held + 1) <= mask ? 0 : grow();
}

void pa_edges_add(uintptr_t address) {
    slots[find(address)] = address;
    held++;
}

int pa_edges_have(uintptr_t address) {
    return held != 0 && slots[find(address)] == address;
}

void pa_edges_remove(uintptr_t address) {
    size_t hole = find(address);
    size_t place = hole;
    held--;
    /* What was put behind it because it was there moves up, so that it is found. */
    for (;;) {
        size_t wanted;
        place = (place + 1) & mask;
        if (slots[place] == 0) {
            break;
        }
        wanted = place_of(slots[place]);
        if (((place - wanted) & mask) >= ((place - hole) & mask)) {
            slots[hole] = slots[place];
            hole = place;
        }
    }
    slots[hole] = 0;
}
