#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "lanes.h"

/* What a chunk is worked on in: one block of memory, every part on cache lines of its own.
 *
 * Live items are those without a flaw so far; `live` has their indices. Each has a key, one of
 * key_count different ones. `points` has the keys, then the base point, then the R of each live
 * item: the order in which a sum wants them. */
typedef struct workspace {
    const pa_lanes_kernels *lanes;
    void *memory;
    size_t *live, *key_of, *first_of;
    size_t live_count, key_count;
    size_t *slots; /* of the hash table of keys; 0 is empty, else the key's number + 1 */
    size_t slot_mask;
    const uint8_t **encoded;
    const pa_point_affine **decoded;
    uint8_t *flags;         /* by what was decoded last, or by equation */
    uint8_t *key_is_point;  /* by key */
    pa_sc *challenges;      /* by live item */
    pa_lanes_niels *points;
    pa_lanes_niels **imported, **made; /* where the points of `decoded` and `encoded` go */
    pa_sc *scalars;         /* by point */
    pa_lanes_equation *equations;
    void *sum_memory;
} workspace;

static size_t on_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Lay the parts out from `base` on and return how many bytes they take; with NULL only that. */
static size_t lay_out(workspace *self, uint8_t *base, size_t count) {
    const size_t points = 2 * count + 1;
    size_t size = 0;
#define PART(field, items)                                    \
    do {                                                      \
        if (base != NULL) {                                   \
            self->field = (void *)(base + size);              \
        }                                                     \
        size += on_lines((items) * sizeof *self->field);      \
    } while (0)
    PART(live, count);
    PART(key_of, count);
    PART(first_of, count);
    PART(slots, self->slot_mask + 1);
    PART(encoded, count);
    PART(decoded, count);
    PART(flags, count);
    PART(key_is_point, count);
    PART(challenges, count);
    PART(points, points);
    PART(imported, count);
    PART(made, count);
    PART(scalars, points);
    PART(equations, count);
#undef PART
    if (base != NULL) {
        self->sum_memory = base + size;
    }
    return size + self->lanes->sum_memory(count + 1, count);
}

static int workspace_init(workspace *self, const pa_lanes_kernels *lanes, size_t count) {
    size_t size;
    uint8_t *first_line;
    memset(self, 0, sizeof *self);
    self->lanes = lanes;
    self->slot_mask = 15;
    while (self->slot_mask < 2 * count) {
        self->slot_mask = 2 * self->slot_mask + 1;
    }
    size = lay_out(self, NULL, count);
    self->memory = malloc(size + 64);
    if (self->memory == NULL) {
        return -1;
    }
    first_line = (uint8_t *)self->memory + (64 - (uintptr_t)self->memory % 64) % 64;
    (void)lay_out(self, first_line, count);
    return 0;
}

static pa_ed25519_status verify_one(const pa_ed25519_kernels *kernels,
                                    const pa_ed25519_signed *item) {
    if (item->key != NULL) {
        return kernels->verify(item->key, item->message, item->length, item->signature);
    }
    return kernels->verify_encoded(item->encoded_key, item->message, item->length, item->signature);
}

/* Take the items whose encodings have no flaw into `live`. */
static void find_live(workspace *self, const pa_ed25519_kernels *kernels,
                      const pa_ed25519_signed *items, size_t count, pa_ed25519_status *statuses) {
    size_t i;
    self->live_count = 0;
    for (i = 0; i < count; i++) {
        const pa_ed25519_signed *const item = &items[i];
        if (!pa_sc_is_canonical(item->signature + 32)) {
            statuses[i] = PA_ED25519_S_NOT_CANONICAL;
            continue;
        }
        statuses[i] = item->key != NULL ? PA_ED25519_OK : pa_point_flaw(item->encoded_key);
        if (statuses[i] != PA_ED25519_OK) {
            continue;
        }
        if (pa_point_flaw(item->signature) != PA_ED25519_OK) {
            /* A flaw of the key would come first, and whether it is a point is not known yet. */
            statuses[i] = verify_one(kernels, item);
            continue;
        }
        self->live[self->live_count++] = i;
    }
}

static uint64_t word_of(const uint8_t *bytes, size_t index) {
    uint64_t word;
    memcpy(&word, bytes + 8 * index, sizeof word);
    return word;
}

/* Return the slot to begin with. The seed is secret: nobody can make keys that all begin with the
 * same. */
static size_t slot_of(const workspace *self, const uint8_t key[32],
                      const uint8_t seed[PA_BATCH_SEED]) {
    uint64_t hash = 0;
    size_t i;
    for (i = 0; i < 4; i++) {
        hash = (hash ^ word_of(key, i) ^ word_of(seed, i)) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (size_t)(hash >> 20) & self->slot_mask;
}

/* Number the different keys of the live items. */
static void number_keys(workspace *self, const pa_ed25519_signed *items,
                        const uint8_t seed[PA_BATCH_SEED]) {
    size_t i;
    memset(self->slots, 0, (self->slot_mask + 1) * sizeof *self->slots);
    self->key_count = 0;
    for (i = 0; i < self->live_count; i++) {
        const size_t item = self->live[i];
        const uint8_t *const key = items[item].encoded_key;
        size_t slot = slot_of(self, key, seed);
        while (self->slots[slot] != 0 &&
               memcmp(items[self->first_of[self->slots[slot] - 1]].encoded_key, key, 32) != 0) {
            slot = (slot + 1) & self->slot_mask;
        }
        if (self->slots[slot] == 0) {
            self->first_of[self->key_count++] = item;
            self->slots[slot] = self->key_count;
        }
        self->key_of[i] = self->slots[slot] - 1;
    }
}

/* Make points of the keys: import those that are decoded, decode the others. */
static void prepare_keys(workspace *self, const pa_ed25519_signed *items) {
    size_t i, known = 0, unknown = 0;
    for (i = 0; i < self->key_count; i++) {
        const pa_ed25519_signed *const item = &items[self->first_of[i]];
        if (item->key != NULL) {
            self->decoded[known] = &item->key->point;
            self->imported[known++] = &self->points[i];
        } else {
            self->encoded[unknown] = item->encoded_key;
            self->made[unknown++] = &self->points[i];
        }
    }
    self->lanes->import(self->decoded, known, self->imported);
    self->lanes->decode(self->encoded, unknown, self->made, self->flags);
    unknown = 0;
    for (i = 0; i < self->key_count; i++) {
        const int is_decoded = items[self->first_of[i]].key != NULL;
        self->key_is_point[i] = is_decoded ? 1 : self->flags[unknown++];
    }
}

/* Decode the R of every live item behind the keys and the base point, and drop the items of which
 * R or the key is no point. */
static void prepare_rs(workspace *self, const pa_ed25519_signed *items,
                       pa_ed25519_status *statuses) {
    pa_lanes_niels *const rs = self->points + self->key_count + 1;
    size_t i, kept = 0;
    for (i = 0; i < self->live_count; i++) {
        self->encoded[i] = items[self->live[i]].signature;
        self->made[i] = &rs[i];
    }
    self->lanes->decode(self->encoded, self->live_count, self->made, self->flags);
    for (i = 0; i < self->live_count; i++) {
        if (!self->key_is_point[self->key_of[i]]) {
            statuses[self->live[i]] = PA_ED25519_KEY_NOT_ON_CURVE;
        } else if (!self->flags[i]) {
            statuses[self->live[i]] = PA_ED25519_R_NOT_ON_CURVE;
        } else {
            if (kept != i) {
                self->live[kept] = self->live[i];
                self->key_of[kept] = self->key_of[i];
                rs[kept] = rs[i];
            }
            kept++;
        }
    }
    self->live_count = kept;
}

/* Check all live items as one random linear combination. Keys that are no points have no live item,
 * and so the scalar 0. */
static int combination_holds(workspace *self, const pa_ed25519_signed *items,
                             const uint8_t *random) {
    pa_sc *const key_scalars = self->scalars;
    pa_sc *const base_scalar = self->scalars + self->key_count;
    pa_sc *const r_scalars = base_scalar + 1;
    const pa_point_affine *const base = &PA_BASE_POINT;
    pa_lanes_niels *base_place = self->points + self->key_count;
    pa_lanes_terms terms;
    pa_point sum;
    pa_point_completed doubled;
    size_t i;
    memset(self->scalars, 0, (self->key_count + 1) * sizeof *self->scalars);
    for (i = 0; i < self->live_count; i++) {
        pa_sc *const z = &r_scalars[i];
        pa_sc *const key_scalar = &key_scalars[self->key_of[i]];
        pa_sc product;
        uint8_t bytes[32] = {0};
        memcpy(bytes, random + i * PA_BATCH_RANDOM, PA_BATCH_RANDOM);
        pa_sc_from_bytes(z, bytes);
        pa_sc_mul(&product, z, &self->challenges[i]);
        pa_sc_add(key_scalar, key_scalar, &product);
        pa_sc_from_bytes(&product, items[self->live[i]].signature + 32);
        pa_sc_mul(&product, z, &product);
        pa_sc_add(base_scalar, base_scalar, &product);
    }
    pa_sc_neg(base_scalar, base_scalar);
    self->lanes->import(&base, 1, &base_place);
    terms.points = self->points;
    terms.scalars = self->scalars;
    terms.long_count = self->key_count + 1;
    terms.short_count = self->live_count;
    self->lanes->sum(&sum, &terms, self->sum_memory);
    for (i = 0; i < 3; i++) {
        pa_point_double(&doubled, &sum);
        pa_point_complete_xyz(&sum, &doubled);
    }
    return pa_point_is_identity(&sum);
}

/* Check every live item by itself, in lanes. */
static void check_each(workspace *self, const pa_ed25519_signed *items,
                       pa_ed25519_status *statuses) {
    const pa_lanes_niels *const rs = self->points + self->key_count + 1;
    size_t i;
    for (i = 0; i < self->live_count; i++) {
        pa_lanes_equation *const equation = &self->equations[i];
        pa_sc d = {{0, 0, 0, 0}};
        equation->key = &self->points[self->key_of[i]];
        equation->r = &rs[i];
        pa_half_of(&equation->half, &self->challenges[i]);
        d.v[0] = equation->half.d[0];
        d.v[1] = equation->half.d[1];
        pa_sc_from_bytes(&equation->base, items[self->live[i]].signature + 32);
        pa_sc_mul(&equation->base, &d, &equation->base);
    }
    self->lanes->each(self->equations, self->live_count, self->flags);
    for (i = 0; i < self->live_count; i++) {
        statuses[self->live[i]] = self->flags[i] ? PA_ED25519_OK : PA_ED25519_MISMATCH;
    }
}

static void verify_chunk(workspace *self, const pa_ed25519_kernels *kernels,
                         const pa_ed25519_signed *items, size_t count, const uint8_t *seed,
                         const uint8_t *random, pa_ed25519_status *statuses,
                         pa_ed25519_batch_counts *counts) {
    size_t i;
    find_live(self, kernels, items, count, statuses);
    number_keys(self, items, seed);
    prepare_keys(self, items);
    prepare_rs(self, items, statuses);
    for (i = 0; i < self->live_count; i++) {
        const pa_ed25519_signed *const item = &items[self->live[i]];
        pa_ed25519_challenge(kernels->sha512, &self->challenges[i], item->signature,
                             item->encoded_key, item->message, item->length);
    }
    if (self->live_count >= self->lanes->combine_from && combination_holds(self, items, random)) {
        counts->combined += self->live_count;
        return; /* find_live has set their statuses to PA_ED25519_OK */
    }
    if (self->lanes->each != NULL) {
        counts->each += self->live_count;
        check_each(self, items, statuses);
        return;
    }
    counts->one += self->live_count;
    for (i = 0; i < self->live_count; i++) {
        statuses[self->live[i]] = verify_one(kernels, &items[self->live[i]]);
    }
}

int pa_ed25519_verify_batch(const pa_ed25519_kernels *kernels, const pa_ed25519_signed *items,
                            size_t count, const uint8_t *random, pa_ed25519_status *statuses,
                            pa_ed25519_batch_counts *counts) {
    const size_t largest = count < PA_BATCH_CHUNK ? count : PA_BATCH_CHUNK;
    workspace work;
    size_t i;
    memset(counts, 0, sizeof *counts);
    if (count < kernels->lanes->lanes_from) {
        for (i = 0; i < count; i++) {
            statuses[i] = verify_one(kernels, &items[i]);
        }
        counts->one = count;
        return 0;
    }
    if (workspace_init(&work, kernels->lanes, largest) != 0) {
        return -1;
    }
    for (i = 0; i < count; i += largest) {
        const size_t size = count - i < largest ? count - i : largest;
        verify_chunk(&work, kernels, items + i, size, random,
                     random + PA_BATCH_SEED + i * PA_BATCH_RANDOM, statuses + i, counts);
    }
    free(work.memory);
    return 0;
}
