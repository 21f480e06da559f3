#include "many.h"

#include <string.h>

#include "sha3_512.h"

/* One message on its way through the engine. */
typedef struct lane {
    size_t slot;
    const uint8_t *data; /* what is left of the piece */
    size_t length;
    const uint8_t *run; /* the blocks that are absorbed next */
    size_t blocks;
    size_t filled; /* bytes in `block`, fewer than the rate */
    int last;      /* `run` is the padded block: the digest follows */
    uint8_t block[PA_SHA3_512_RATE];
} lane;

typedef struct engine {
    const pa_keccak_kernels *kernels;
    const pa_sha3_source *source;
    size_t width;                     /* streams in `state` */
    size_t active;                    /* streams in use: the first ones */
    lane *streams[PA_KECCAK_MAX_WIDTH]; /* the lane whose state is stream i */
    lane lanes[PA_KECCAK_MAX_WIDTH];
    int exhausted; /* the source has no more messages */
    uint64_t state[PA_KECCAK_STATE_LANES * PA_KECCAK_MAX_WIDTH];
} engine;

/* The narrowest width with a kernel that takes so many streams, or the widest there is. */
static size_t width_for(const pa_keccak_kernels *kernels, size_t streams) {
    size_t width = 1;
    size_t i;
    for (i = 0; i < 3 && width < streams; i++) {
        width = kernels->many[i] != NULL ? (size_t)2 << i : width;
    }
    return width;
}

static pa_keccak_absorb_many_fn *kernel_of(const engine *e) {
    return e->kernels->many[e->width == 2 ? 0 : e->width == 4 ? 1 : 2];
}

/* Choose the blocks that the lane absorbs next. Returns 0 when its message was abandoned. */
static int prepare(const engine *e, lane *l) {
    for (;;) {
        size_t taken;
        if (l->filled == 0 && l->length >= PA_SHA3_512_RATE) {
            l->run = l->data;
            l->blocks = l->length / PA_SHA3_512_RATE;
            l->data += l->blocks * PA_SHA3_512_RATE;
            l->length -= l->blocks * PA_SHA3_512_RATE;
            return 1;
        }
        if (l->length > 0) {
            taken = PA_SHA3_512_RATE - l->filled;
            taken = l->length < taken ? l->length : taken;
            memcpy(l->block + l->filled, l->data, taken);
            l->filled += taken;
            l->data += taken;
            l->length -= taken;
        }
        if (l->filled == PA_SHA3_512_RATE) {
            l->run = l->block;
            l->blocks = 1;
            l->filled = 0;
            return 1;
        }
        if (l->length > 0) {
            continue;
        }
        switch (e->source->read(e->source->context, l->slot, &l->data, &l->length)) {
        case PA_SHA3_PIECE:
            break;
        case PA_SHA3_END:
            pa_sha3_512_pad(l->block, l->filled);
            l->run = l->block;
            l->blocks = 1;
            l->last = 1;
            return 1;
        default:
            return 0;
        }
    }
}

/* Put the next message that can be begun into a stream. Returns 0 when there is none. */
static int refill(engine *e, size_t index) {
    lane *const l = e->streams[index];
    size_t i;
    while (!e->exhausted) {
        if (!e->source->next(e->source->context, l->slot)) {
            e->exhausted = 1;
            break;
        }
        l->length = 0;
        l->filled = 0;
        l->last = 0;
        if (prepare(e, l)) {
            for (i = 0; i < PA_KECCAK_STATE_LANES; i++) {
                e->state[i * e->width + index] = 0;
            }
            return 1;
        }
        e->source->done(e->source->context, l->slot, NULL);
    }
    return 0;
}

/* Go on with a stream whose run is absorbed. Returns 0 when it has nothing more to do. */
static int advance(engine *e, size_t index) {
    lane *const l = e->streams[index];
    uint8_t digest[PA_SHA3_512_DIGEST];
    if (l->last) {
        pa_sha3_512_squeeze(e->state, e->width, index, digest);
        e->source->done(e->source->context, l->slot, digest);
    } else if (prepare(e, l)) {
        return 1;
    } else {
        e->source->done(e->source->context, l->slot, NULL);
    }
    return refill(e, index);
}

/* Take an idle stream out; the last active one takes its place. */
static void retire(engine *e, size_t index) {
    const size_t last = --e->active;
    lane *const idle = e->streams[index];
    size_t i;
    e->streams[index] = e->streams[last];
    e->streams[last] = idle;
    for (i = 0; i < PA_KECCAK_STATE_LANES; i++) {
        e->state[i * e->width + index] = e->state[i * e->width + last];
    }
}

/* Move to the narrowest kernel that takes the active streams. */
static void narrow(engine *e) {
    const size_t width = width_for(e->kernels, e->active);
    size_t i, j;
    if (width >= e->width) {
        return;
    }
    /* In place: a stream's new place is never behind one that is still to be read. */
    for (i = 0; i < PA_KECCAK_STATE_LANES; i++) {
        for (j = 0; j < e->active; j++) {
            e->state[i * width + j] = e->state[i * e->width + j];
        }
    }
    e->width = width;
}

/* Absorb from every active stream as many blocks as all of them have ready. */
static void absorb(engine *e) {
    const uint8_t *runs[PA_KECCAK_MAX_WIDTH];
    size_t blocks = e->streams[0]->blocks;
    size_t i;
    for (i = 0; i < e->width; i++) {
        /* A stream that is not in use repeats the first one's work; nobody reads its state. */
        const lane *const l = e->streams[i < e->active ? i : 0];
        runs[i] = l->run;
        blocks = l->blocks < blocks ? l->blocks : blocks;
    }
    if (e->width == 1) {
        e->kernels->one(e->state, runs[0], blocks);
    } else {
        kernel_of(e)(e->state, runs, blocks);
    }
    for (i = 0; i < e->active; i++) {
        e->streams[i]->run += blocks * PA_SHA3_512_RATE;
        e->streams[i]->blocks -= blocks;
    }
}

void pa_sha3_512_many(const pa_keccak_kernels *kernels, const pa_sha3_source *source,
                      size_t lanes) {
    engine e;
    size_t i;
    e.kernels = kernels;
    e.source = source;
    e.width = width_for(kernels, lanes);
    e.exhausted = 0;
    memset(e.state, 0, sizeof e.state);
    for (i = 0; i < e.width; i++) {
        e.lanes[i].slot = i;
        e.streams[i] = &e.lanes[i];
    }
    for (e.active = 0; e.active < e.width && refill(&e, e.active); e.active++) {
    }
    while (e.active > 0) {
        narrow(&e);
        absorb(&e);
        for (i = 0; i < e.active;) {
            if (e.streams[i]->blocks > 0 || advance(&e, i)) {
                i++;
            } else {
                retire(&e, i);
            }
        }
    }
}
