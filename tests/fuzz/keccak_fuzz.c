/* Hash what the fuzzer gives on every level, in every way, and compare with FIPS 202 read literally.
 *
 * Kernels: cpu keccak
 *
 * The input is a number of lanes, a number of messages, a length for each and decisions; messages
 * repeat its bytes. Each lies in a block of exactly its size, so that a read beyond it is found. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keccak/buffers.h"
#include "keccak/many.h"
#include "keccak/sha3_512.h"

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            abort();                                                            \
        }                                                                       \
    } while (0)

#define MESSAGES 12
#define LONGEST 300

/* FIPS 202, algorithms 1 to 7 on lanes[x][y], step by step and nothing shared with the kernels. */
static uint64_t rotated(uint64_t lane, unsigned by) {
    return by % 64 == 0 ? lane : lane << by % 64 | lane >> (64 - by % 64);
}

static void permute(uint64_t lanes[5][5]) {
    unsigned lfsr = 1; /* rc(t), algorithm 5 */
    int round, x, y, t;
    for (round = 0; round < 24; round++) {
        uint64_t parity[5], before[5][5], lane;
        for (x = 0; x < 5; x++) {
            parity[x] = lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4];
        }
        for (x = 0; x < 5; x++) {
            for (y = 0; y < 5; y++) {
                lanes[x][y] ^= parity[(x + 4) % 5] ^ rotated(parity[(x + 1) % 5], 1);
            }
        }
        for (x = 1, y = 0, t = 0; t < 24; t++) {
            const int next = (2 * x + 3 * y) % 5;
            lanes[x][y] = rotated(lanes[x][y], (unsigned)((t + 1) * (t + 2) / 2));
            x = y;
            y = next;
        }
        memcpy(before, lanes, sizeof before);
        for (x = 0; x < 5; x++) {
            for (y = 0; y < 5; y++) {
                lanes[x][y] = before[(x + 3 * y) % 5][x];
            }
        }
        memcpy(before, lanes, sizeof before);
        for (x = 0; x < 5; x++) {
            for (y = 0; y < 5; y++) {
                lanes[x][y] = before[x][y] ^ (~before[(x + 1) % 5][y] & before[(x + 2) % 5][y]);
            }
        }
        for (lane = 0, t = 0; t <= 6; t++) {
            lane |= (uint64_t)(lfsr & 1) << ((1 << t) - 1);
            lfsr = lfsr << 1 ^ (lfsr >> 7) * 0x171;
        }
        lanes[0][0] ^= lane;
    }
}

static void reference(const uint8_t *data, size_t length, uint8_t *digest) {
    uint64_t lanes[5][5];
    size_t i, at = 0;
    memset(lanes, 0, sizeof lanes);
    for (i = 0; i < length; i++) {
        lanes[at / 8 % 5][at / 40] ^= (uint64_t)data[i] << 8 * (at % 8);
        if (++at == PA_SHA3_512_RATE) {
            permute(lanes);
            at = 0;
        }
    }
    lanes[at / 8 % 5][at / 40] ^= (uint64_t)0x06 << 8 * (at % 8);
    lanes[3][1] ^= UINT64_C(1) << 63; /* the last bit of the block */
    permute(lanes);
    for (i = 0; i < PA_SHA3_512_DIGEST; i++) {
        digest[i] = (uint8_t)(lanes[i / 8 % 5][i / 40] >> 8 * (i % 8));
    }
}

typedef struct input {
    const uint8_t *data;
    size_t size, at;
} input;

/* The next byte; after the end the input begins anew. */
static uint8_t next_byte(input *self) {
    return self->data[self->at++ % self->size];
}

static size_t next_below(input *self, size_t bound) {
    const size_t high = next_byte(self);
    return (high << 8 | next_byte(self)) % bound;
}

typedef struct message {
    uint8_t *data;
    size_t length, at;
    int abandoned, done;
    uint8_t digest[PA_SHA3_512_DIGEST];
} message;

typedef struct run {
    input decisions;
    message *messages;
    size_t count, next, finished;
    message *of[PA_KECCAK_MAX_WIDTH];
    uint8_t *piece[PA_KECCAK_MAX_WIDTH];
} run;

static void check_pieces(const pa_keccak_kernels *kernels, input decisions, const message *m) {
    uint8_t digest[PA_SHA3_512_DIGEST];
    pa_sha3_512 hash;
    size_t at = 0;
    pa_sha3_512_init(&hash);
    while (at < m->length) {
        const size_t wanted = next_below(&decisions, 2 * PA_SHA3_512_RATE + 2);
        const size_t size = wanted < m->length - at ? wanted : m->length - at;
        pa_sha3_512_update(&hash, kernels, m->data + at, size > 0 ? size : 1);
        at += size > 0 ? size : 1;
    }
    pa_sha3_512_digest(&hash, kernels, digest);
    REQUIRE(memcmp(digest, m->digest, sizeof digest) == 0);
    pa_sha3_512_of(kernels, m->data, m->length, digest);
    REQUIRE(memcmp(digest, m->digest, sizeof digest) == 0);
}

static int next_message(void *context, size_t slot) {
    run *const self = context;
    if (self->next == self->count) {
        return 0;
    }
    self->of[slot] = &self->messages[self->next++];
    self->of[slot]->at = 0;
    self->of[slot]->abandoned = 0;
    self->of[slot]->done = 0;
    return 1;
}

static pa_sha3_piece read_message(void *context, size_t slot, const uint8_t **data,
                                  size_t *length) {
    run *const self = context;
    message *const m = self->of[slot];
    const size_t left = m->length - m->at;
    const uint8_t decision = next_byte(&self->decisions);
    size_t size = decision % 8 == 1 ? 0 : next_below(&self->decisions, 4 * PA_SHA3_512_RATE) + 1;
    free(self->piece[slot]);
    self->piece[slot] = NULL;
    if (decision == 0xee) {
        m->abandoned = 1;
        return PA_SHA3_ABANDON;
    }
    if (left == 0) {
        return PA_SHA3_END;
    }
    /* Pieces without bytes come now and then, but not for ever. */
    size = size == 0 && self->decisions.at % 5 == 0 ? 1 : size;
    size = size < left ? size : left;
    self->piece[slot] = malloc(size > 0 ? size : 1);
    REQUIRE(self->piece[slot] != NULL);
    memcpy(self->piece[slot], m->data + m->at, size);
    m->at += size;
    *data = self->piece[slot];
    *length = size;
    return PA_SHA3_PIECE;
}

static void message_done(void *context, size_t slot, const uint8_t *digest) {
    run *const self = context;
    message *const m = self->of[slot];
    REQUIRE(!m->done && (digest == NULL) == m->abandoned);
    REQUIRE(digest == NULL || memcmp(digest, m->digest, PA_SHA3_512_DIGEST) == 0);
    m->done = 1;
    self->finished++;
}

static void check_many(const pa_keccak_kernels *kernels, input decisions, message *messages,
                       size_t count, size_t lanes) {
    run self;
    pa_sha3_source source = {&self, next_message, read_message, message_done};
    size_t i;
    memset(&self, 0, sizeof self);
    self.decisions = decisions;
    self.messages = messages;
    self.count = count;
    pa_sha3_512_many(kernels, &source, lanes);
    REQUIRE(self.finished == count);
    for (i = 0; i < PA_KECCAK_MAX_WIDTH; i++) {
        free(self.piece[i]);
    }
}

static void check_buffers(const pa_keccak_kernels *kernels, const message *messages, size_t count,
                          size_t lanes) {
    pa_sha3_buffer jobs[MESSAGES];
    pa_sha3_buffer *order[MESSAGES];
    pa_sha3_buffers batch;
    size_t i;
    memset(&batch, 0, sizeof batch);
    batch.order = order;
    batch.count = count;
    for (i = 0; i < count; i++) {
        jobs[i].data = messages[i].data;
        jobs[i].length = messages[i].length;
        order[i] = &jobs[i];
    }
    pa_sha3_512_sort_buffers(&batch);
    pa_sha3_512_buffers(kernels, &batch, lanes);
    for (i = 0; i < count; i++) {
        REQUIRE(memcmp(jobs[i].digest, messages[i].digest, PA_SHA3_512_DIGEST) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int best = (int)pa_cpu_level_of(pa_cpu_features());
    message messages[MESSAGES];
    input source = {data, size, 0};
    size_t i, j, count, lanes;
    int level;
    if (size == 0) {
        return 0;
    }
    lanes = next_below(&source, PA_KECCAK_MAX_WIDTH) + 1;
    count = next_below(&source, MESSAGES) + 1;
    for (i = 0; i < count; i++) {
        message *const m = &messages[i];
        m->length = next_below(&source, LONGEST + 1);
        m->data = malloc(m->length > 0 ? m->length : 1);
        REQUIRE(m->data != NULL);
        for (j = 0; j < m->length; j++) {
            m->data[j] = next_byte(&source);
        }
        reference(m->data, m->length, m->digest);
    }
    for (level = 0; level <= best; level++) {
        const pa_keccak_kernels *const kernels = pa_keccak_kernels_of(level);
        REQUIRE(kernels != NULL);
        check_pieces(kernels, source, &messages[0]);
        check_many(kernels, source, messages, count, lanes);
        check_buffers(kernels, messages, count, lanes);
    }
    for (i = 0; i < count; i++) {
        free(messages[i].data);
    }
    return 0;
}
