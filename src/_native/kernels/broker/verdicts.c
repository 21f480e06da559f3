#include "verdicts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_ROOM ((size_t)64)

static size_t place(uint64_t plugin, const pa_endpoint *at, size_t room) {
    uint64_t words[3] = {0, 0, 0};
    uint64_t hash = plugin * UINT64_C(0x9e3779b97f4a7c15);
    size_t i;
    memcpy(words, at, sizeof *at);
    for (i = 0; i < 3; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return (size_t)hash & (room - 1);
}

static int is_of(const pa_verdict *slot, uint64_t plugin, const pa_endpoint *wanted) {
    return slot->count != 0 && slot->plugin == plugin &&
           memcmp(&slot->wanted, wanted, sizeof *wanted) == 0;
}

pa_verdict *pa_verdicts_find(pa_verdicts *self, uint64_t plugin, const pa_endpoint *wanted,
                             uint64_t now) {
    size_t at;
    if (self->room == 0) {
        return NULL;
    }
    at = place(plugin, wanted, self->room);
    while (self->slots[at].count != 0) {
        if (is_of(&self->slots[at], plugin, wanted)) {
            return self->slots[at].expires > now ? &self->slots[at] : NULL;
        }
        at = (at + 1) & (self->room - 1);
    }
    return NULL;
}

static void insert(pa_verdicts *self, const pa_verdict *made) {
    size_t at = place(made->plugin, &made->wanted, self->room);
    while (self->slots[at].count != 0 && !is_of(&self->slots[at], made->plugin, &made->wanted)) {
        at = (at + 1) & (self->room - 1);
    }
    if (self->slots[at].count == 0) {
        self->used++;
    }
    self->slots[at] = *made;
}

/* Make the table anew, without what has expired or is of a plugin; 0 keeps those of all. */
static int remake(pa_verdicts *self, size_t room, uint64_t now, uint64_t without) {
    pa_verdicts fresh = {calloc(room, sizeof *fresh.slots), room, 0};
    size_t i;
    if (fresh.slots == NULL) {
        return ENOMEM;
    }
    for (i = 0; i < self->room; i++) {
        const pa_verdict *slot = &self->slots[i];
        if (slot->count != 0 && slot->expires > now && slot->plugin != without) {
            insert(&fresh, slot);
        }
    }
    free(self->slots);
    *self = fresh;
    return 0;
}

int pa_verdicts_put(pa_verdicts *self, const pa_verdict *made, uint64_t now) {
    if ((self->used + 1) * 2 > self->room) {
        size_t live = 1, room = LEAST_ROOM, i;
        for (i = 0; i < self->room; i++) {
            live += self->slots[i].count != 0 && self->slots[i].expires > now;
        }
        while (room < live * 4) {
            room *= 2;
        }
        if (remake(self, room, now, 0) != 0) {
            return ENOMEM;
        }
    }
    insert(self, made);
    return 0;
}

void pa_verdicts_forget(pa_verdicts *self, uint64_t plugin) {
    size_t i;
    if (self->room == 0 || remake(self, self->room, 0, plugin) == 0) {
        return;
    }
    /* Without memory they stay where they are, and hold no more. */
    for (i = 0; i < self->room; i++) {
        if (self->slots[i].plugin == plugin) {
            self->slots[i].expires = 0;
        }
    }
}

void pa_verdicts_clear(pa_verdicts *self) {
    free(self->slots);
    memset(self, 0, sizeof *self);
}
