/* Exercise kernels/keccak without Python, under sanitizers: exits 0 when everything held.
 *
 * Usage: keccak_harness DIRECTORY. Runs the levels that the processor has, or all of them when it
 * is built with emulated intrinsics, and says how many. Every message lies in a block of exactly its size, so that a
 * read beyond it is found. Digests are compared with the portable path's, which the Python tests
 * compare with the published vectors. With PA_NO_SYSTEM, for a machine without an operating system
 * (tests/machine), there are neither threads nor files, and no directory. */
#ifndef PA_NO_SYSTEM
#include <pthread.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keccak/buffers.h"
#include "keccak/files.h"
#include "keccak/many.h"
#include "keccak/sha3_512.h"

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

#define MESSAGES 61
#define LONGEST 1500

static uint64_t random_state = 88172645463325252u;

static size_t random_below(size_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % bound);
}

typedef struct message {
    uint8_t *data;
    size_t length;
    uint8_t digest[PA_SHA3_512_DIGEST];
} message;

static message messages[MESSAGES];

static void make_messages(void) {
    size_t i, j;
    for (i = 0; i < MESSAGES; i++) {
        message *const m = &messages[i];
        m->length = i < 5 ? i * 36 : random_below(LONGEST);
        m->data = malloc(m->length > 0 ? m->length : 1);
        REQUIRE(m->data != NULL);
        for (j = 0; j < m->length; j++) {
            m->data[j] = (uint8_t)random_below(256);
        }
        pa_sha3_512_of(pa_keccak_kernels_of(0), m->data, m->length, m->digest);
    }
}

static void check_known_answer(void) {
    /* FIPS 202 example: the beginning of SHA3-512("abc"). */
    static const uint8_t EXPECTED[8] = {0xb7, 0x51, 0x85, 0x0b, 0x1a, 0x57, 0x16, 0x8a};
    uint8_t digest[PA_SHA3_512_DIGEST];
    pa_sha3_512_of(pa_keccak_kernels_of(0), (const uint8_t *)"abc", 3, digest);
    REQUIRE(memcmp(digest, EXPECTED, sizeof EXPECTED) == 0);
}

static void check_one(const pa_keccak_kernels *kernels) {
    uint8_t digest[PA_SHA3_512_DIGEST];
    size_t i;
    for (i = 0; i < MESSAGES; i++) {
        pa_sha3_512 hash;
        size_t at = 0;
        pa_sha3_512_init(&hash);
        while (at < messages[i].length) {
            size_t piece = random_below(200);
            piece = piece < messages[i].length - at ? piece : messages[i].length - at;
            pa_sha3_512_update(&hash, kernels, messages[i].data + at, piece);
            at += piece;
        }
        pa_sha3_512_digest(&hash, kernels, digest);
        REQUIRE(memcmp(digest, messages[i].digest, sizeof digest) == 0);
    }
}

/* A source that gives its messages in pieces of every size, none included, and abandons some. */
typedef struct pieces {
    size_t next;
    size_t finished;
    size_t abandoned;
    size_t current[PA_KECCAK_MAX_WIDTH];
    size_t at[PA_KECCAK_MAX_WIDTH];
    uint8_t *copy[PA_KECCAK_MAX_WIDTH];
} pieces;

static int next_message(void *context, size_t slot) {
    pieces *const self = context;
    if (self->next == MESSAGES) {
        return 0;
    }
    self->current[slot] = self->next++;
    self->at[slot] = 0;
    return 1;
}

static pa_sha3_piece read_message(void *context, size_t slot, const uint8_t **data,
                                  size_t *length) {
    pieces *const self = context;
    const message *const m = &messages[self->current[slot]];
    const size_t left = m->length - self->at[slot];
    size_t size = random_below(8) == 0 ? 0 : random_below(300);
    free(self->copy[slot]); /* the engine is done with the last piece */
    self->copy[slot] = NULL;
    if (self->current[slot] % 7 == 3 && (left == 0 || random_below(3) == 0)) {
        return PA_SHA3_ABANDON;
    }
    if (left == 0) {
        return PA_SHA3_END;
    }
    size = size < left ? size : left;
    self->copy[slot] = malloc(size > 0 ? size : 1);
    REQUIRE(self->copy[slot] != NULL);
    memcpy(self->copy[slot], m->data + self->at[slot], size);
    self->at[slot] += size;
    *data = self->copy[slot];
    *length = size;
    return PA_SHA3_PIECE;
}

static void message_done(void *context, size_t slot, const uint8_t *digest) {
    pieces *const self = context;
    const message *const m = &messages[self->current[slot]];
    if (self->current[slot] % 7 == 3) {
        REQUIRE(digest == NULL);
        self->abandoned++;
    } else {
        REQUIRE(digest != NULL && memcmp(digest, m->digest, PA_SHA3_512_DIGEST) == 0);
    }
    self->finished++;
}

static void check_pieces(const pa_keccak_kernels *kernels, size_t lanes) {
    pieces self;
    pa_sha3_source source;
    size_t i;
    memset(&self, 0, sizeof self);
    source.context = &self;
    source.next = next_message;
    source.read = read_message;
    source.done = message_done;
    pa_sha3_512_many(kernels, &source, lanes);
    REQUIRE(self.finished == MESSAGES && self.abandoned == (MESSAGES + 3) / 7);
    for (i = 0; i < PA_KECCAK_MAX_WIDTH; i++) {
        free(self.copy[i]);
    }
}

typedef struct work {
    const pa_keccak_kernels *kernels;
    pa_sha3_buffers *buffers;
    pa_sha3_files *files;
    size_t lanes;
} work;

static void *hash_buffers(void *argument) {
    const work *const self = argument;
    pa_sha3_512_buffers(self->kernels, self->buffers, self->lanes);
    return NULL;
}

static void in_two_threads(void *(*run)(void *), work *self) {
#ifdef PA_NO_SYSTEM
    run(self);
    run(self);
#else
    pthread_t other;
    REQUIRE(pthread_create(&other, NULL, run, self) == 0);
    run(self);
    REQUIRE(pthread_join(other, NULL) == 0);
#endif
}

static void check_buffers(const pa_keccak_kernels *kernels, size_t lanes, size_t count) {
    pa_sha3_buffer jobs[MESSAGES];
    pa_sha3_buffer *order[MESSAGES];
    pa_sha3_buffers batch;
    work self = {kernels, &batch, NULL, lanes};
    size_t i;
    memset(&batch, 0, sizeof batch);
    batch.order = order;
    batch.count = count;
    for (i = 0; i < count; i++) {
        jobs[i].data = messages[i].length > 0 ? messages[i].data : NULL;
        jobs[i].length = messages[i].length;
        order[i] = &jobs[i];
    }
    pa_sha3_512_sort_buffers(&batch);
    in_two_threads(hash_buffers, &self);
    for (i = 0; i < count; i++) {
        REQUIRE(memcmp(jobs[i].digest, messages[i].digest, PA_SHA3_512_DIGEST) == 0);
        REQUIRE(i == 0 || order[i - 1]->length >= order[i]->length);
    }
}

#ifndef PA_NO_SYSTEM

static void *hash_files(void *argument) {
    const work *const self = argument;
    REQUIRE(pa_sha3_512_files(self->kernels, self->files, self->lanes) == 0);
    return NULL;
}

static void check_files(const pa_keccak_kernels *kernels, size_t lanes, const char *directory) {
    enum { FILES = MESSAGES + 2 };
    static char paths[FILES][512];
    pa_sha3_file jobs[FILES];
    pa_sha3_file *order[FILES];
    pa_sha3_files batch;
    work self = {kernels, NULL, &batch, lanes};
    size_t i;
    memset(jobs, 0, sizeof jobs);
    memset(&batch, 0, sizeof batch);
    batch.order = order;
    batch.count = FILES;
    for (i = 0; i < FILES; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%zu", directory, i);
        jobs[i].path = i == MESSAGES ? directory : paths[i];
        order[i] = &jobs[i];
        if (i < MESSAGES) {
            FILE *const file = fopen(paths[i], "wb");
            REQUIRE(file != NULL);
            REQUIRE(fwrite(messages[i].data, 1, messages[i].length, file) == messages[i].length);
            REQUIRE(fclose(file) == 0);
        }
    }
    (void)pa_sha3_512_look_at_files(&batch);
    in_two_threads(hash_files, &self);
    for (i = 0; i < MESSAGES; i++) {
        REQUIRE(jobs[i].status == PA_SHA3_FILE_HASHED);
        REQUIRE(memcmp(jobs[i].digest, messages[i].digest, PA_SHA3_512_DIGEST) == 0);
    }
    REQUIRE(jobs[MESSAGES].status == PA_SHA3_FILE_NOT_REGULAR);
    REQUIRE(jobs[MESSAGES + 1].status == PA_SHA3_FILE_REFUSED);
}

#endif

int main(int argc, char **argv) {
    const int best = (int)pa_cpu_level_of(pa_cpu_features());
    int level;
    size_t i, lanes;
#ifdef PA_NO_SYSTEM
    (void)argc, (void)argv;
#else
    REQUIRE(argc == 2);
#endif
    check_known_answer();
    make_messages();
    REQUIRE(pa_keccak_kernels_of(-1) == NULL && pa_keccak_kernels_of(PA_CPU_LEVELS) == NULL);
    for (level = 0; level <= best; level++) {
        const pa_keccak_kernels *const kernels = pa_keccak_kernels_of(level);
        REQUIRE(kernels != NULL);
        check_one(kernels);
        for (lanes = 1; lanes <= PA_KECCAK_MAX_WIDTH; lanes++) {
            check_pieces(kernels, lanes);
            check_buffers(kernels, lanes, MESSAGES);
            check_buffers(kernels, lanes, lanes);
        }
        check_buffers(kernels, 8, 0);
#ifndef PA_NO_SYSTEM
        check_files(kernels, 8, argv[1]);
#endif
    }
    for (i = 0; i < MESSAGES; i++) {
        free(messages[i].data);
    }
    printf("%d levels ok\n", best + 1);
    return 0;
}
