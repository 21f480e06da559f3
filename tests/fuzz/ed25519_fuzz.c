/* Judge signatures that the fuzzer makes on every level, one by one and as a batch, and compare.
 *
 * Kernels: cpu ed25519
 *
 * The input chooses how many signatures there are and, for each, key, nonce, message, small-order
 * parts of both points, and what is changed afterwards. Often nothing is changed, or one signature:
 * a fuzzer that had to find the 64 bytes itself would never see the equation hold. Keys, signatures and messages lie
 * in blocks of exactly their size, so that a read beyond them is found. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519/batch.h"
#include "ed25519/lanes.h"
#include "ed25519/point.h"

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            abort();                                                            \
        }                                                                       \
    } while (0)

#define KEYS 5
#define LONGEST 200
#define MOST 48
#define UNKNOWN (-1)

/* Around the thresholds of lanes.h, the widths of the vectors, and their multiples. */
static const size_t COUNTS[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, MOST};

typedef struct input {
    const uint8_t *data;
    size_t size, at;
} input;

/* The next byte; after the end the input begins anew, changed, so that a short one does not repeat
 * the same signature. */
static uint8_t next_byte(input *self) {
    const size_t at = self->at++;
    return (uint8_t)(self->data[at % self->size] ^ at / self->size * 0x9d);
}

static size_t next_below(input *self, size_t bound) {
    const size_t high = next_byte(self);
    return (high << 8 | next_byte(self)) % bound;
}

/* --- making signatures: RFC 8032, 5.1.6, with scalars and torsion chosen at will ------------- */

static const pa_sc ONE = {{1, 0, 0, 0}};
static pa_point_niels base_powers[256]; /* 2^i B */
static pa_point_niels torsion[8];       /* the multiples of a point of order 8 */
static uint8_t small_order[8][32];

static void add(pa_point *sum, const pa_point_niels *term) {
    pa_point_completed completed;
    pa_point_add(&completed, sum, term, 0);
    pa_point_complete(sum, &completed);
}

static void prepare_tables(void) {
    static const pa_point_affine ORDER_8 = {
        {{UINT64_C(0x14646c545d14a), UINT64_C(0x6027cbc471bd4), UINT64_C(0x3792aed7064f1),
          UINT64_C(0x5147499cc991c), UINT64_C(0x1fd5b9a006394)}},
        {{UINT64_C(0x04d3d706a17c7), UINT64_C(0x1aec1679749fb), UINT64_C(0x14c80a83d9c40),
          UINT64_C(0x3a763661c967d), UINT64_C(0x7a03ac9277fdc)}}};
    pa_point point;
    pa_point_niels generator;
    size_t i;
    pa_point_from_affine(&point, &PA_BASE_POINT);
    for (i = 0; i < 256; i++) {
        pa_point_prepare(&base_powers[i], &point);
        add(&point, &base_powers[i]);
    }
    pa_point_from_affine(&point, &ORDER_8);
    pa_point_prepare(&generator, &point);
    pa_point_identity(&point);
    for (i = 0; i < 8; i++) {
        pa_point_prepare(&torsion[i], &point);
        pa_point_encode(small_order[i], &point);
        REQUIRE(pa_point_is_identity(&point) == (i == 0));
        add(&point, &generator);
    }
    REQUIRE(pa_point_is_identity(&point));
}

/* Write scalar * B + torsion[t]. */
static void encode_multiple(uint8_t out[32], const pa_sc *scalar, size_t t) {
    pa_point sum;
    size_t i;
    pa_point_identity(&sum);
    for (i = 0; i < 256; i++) {
        if ((scalar->v[i / 64] >> (i % 64) & 1) != 0) {
            add(&sum, &base_powers[i]);
        }
    }
    add(&sum, &torsion[t]);
    pa_point_encode(out, &sum);
}

static void hash_of(uint8_t digest[64], const uint8_t *data, size_t size, size_t number) {
    pa_sha512 hash;
    uint8_t bytes[8];
    pa_store64(bytes, number);
    pa_sha512_init(&hash);
    pa_sha512_update(&hash, pa_sha512_blocks_portable, bytes, sizeof bytes);
    pa_sha512_update(&hash, pa_sha512_blocks_portable, data, size);
    pa_sha512_final(&hash, pa_sha512_blocks_portable, digest);
}

/* A scalar that is not 0: any, small, close below L, or a power of two. */
static pa_sc next_scalar(input *self) {
    const size_t kind = next_byte(self) % 8;
    pa_sc scalar = {{0, 0, 0, 0}};
    if (kind < 5) {
        uint8_t digest[64], seed[2];
        seed[0] = next_byte(self);
        seed[1] = next_byte(self);
        hash_of(digest, seed, sizeof seed, kind);
        pa_sc_reduce512(&scalar, digest);
    } else if (kind == 7) {
        const size_t bit = next_below(self, 252);
        scalar.v[bit / 64] = UINT64_C(1) << bit % 64;
    } else {
        scalar.v[0] = (uint64_t)next_byte(self) + 1;
        if (kind == 6) {
            pa_sc_neg(&scalar, &scalar);
        }
    }
    return pa_sc_is_zero(&scalar) ? ONE : scalar;
}

typedef struct item {
    uint8_t *key, *signature, *message;
    size_t length;
    int expected; /* a status, or UNKNOWN */
} item;

static void *block_of(size_t size) {
    void *const block = malloc(size > 0 ? size : 1);
    REQUIRE(block != NULL);
    return block;
}

static void add_to_s(item *self, const pa_sc *more) {
    pa_sc s;
    pa_sc_from_bytes(&s, self->signature + 32);
    pa_sc_add(&s, &s, more);
    pa_sc_to_bytes(self->signature + 32, &s);
    self->expected = PA_ED25519_MISMATCH;
}

/* S + L, S + 2 L and so on, as far as they fit. */
static void lift_s(item *self, size_t times) {
    do {
        uint64_t carry = 0;
        uint8_t lifted[32];
        size_t i;
        for (i = 0; i < 4; i++) {
            const uint64_t word = pa_load64(self->signature + 32 + 8 * i);
            const uint64_t sum = word + PA_SC_L.v[i];
            pa_store64(lifted + 8 * i, sum + carry);
            carry = (uint64_t)(sum < word) | (uint64_t)(sum + carry < sum);
        }
        if (carry != 0) {
            return;
        }
        memcpy(self->signature + 32, lifted, sizeof lifted);
        self->expected = PA_ED25519_S_NOT_CANONICAL;
    } while (times-- > 0);
}

/* Bytes that are often no point: of small order, y >= p, or any. */
static void odd_point(input *source, uint8_t out[32]) {
    const size_t kind = next_byte(source) % 4;
    size_t i;
    if (kind < 2) {
        memcpy(out, small_order[next_byte(source) % 8], 32);
    } else if (kind == 2) {
        memset(out, 0xff, 32);
        out[0] = (uint8_t)(0xed + next_byte(source) % 19);
        out[31] = 0x7f;
    } else {
        for (i = 0; i < 32; i++) {
            out[i] = next_byte(source);
        }
    }
    out[31] = (uint8_t)(out[31] ^ (next_byte(source) & 0x80));
}

/* `before` is the item made last, or NULL. */
static void change(item *self, item *before, input *source) {
    const uint8_t kind = next_byte(source) % 8;
    pa_sc more = ONE;
    size_t bit;
    switch (kind) {
    case 0:
        bit = next_below(source, 512);
        self->signature[bit / 8] = (uint8_t)(self->signature[bit / 8] ^ 1u << bit % 8);
        self->expected = UNKNOWN;
        break;
    case 1:
        bit = next_below(source, 256);
        self->key[bit / 8] = (uint8_t)(self->key[bit / 8] ^ 1u << bit % 8);
        self->expected = UNKNOWN;
        break;
    case 2:
        if (self->length > 0) {
            bit = next_below(source, 8 * self->length);
            self->message[bit / 8] = (uint8_t)(self->message[bit / 8] ^ 1u << bit % 8);
            self->expected = PA_ED25519_MISMATCH;
        }
        break;
    case 3:
        lift_s(self, next_byte(source) % 16);
        break;
    case 4:
        odd_point(source, self->key);
        self->expected = UNKNOWN;
        break;
    case 5:
        odd_point(source, self->signature);
        self->expected = UNKNOWN;
        break;
    case 6:
        more = next_scalar(source);
        add_to_s(self, &more);
        break;
    case 7:
        /* Two wrong signatures whose errors cancel out: only the random factors find them. */
        if (before != NULL && before->expected == PA_ED25519_OK) {
            more = next_scalar(source);
            add_to_s(self, &more);
            pa_sc_neg(&more, &more);
            add_to_s(before, &more);
        }
        break;
    default:
        break;
    }
}

typedef struct signer {
    pa_sc secret;
    uint8_t encoded[32];
} signer;

static void make(item *self, const signer *with, input *source) {
    const pa_sc nonce = next_scalar(source);
    pa_sc k, s;
    size_t i;
    self->length = next_below(source, LONGEST + 1);
    self->key = block_of(32);
    self->signature = block_of(64);
    self->message = block_of(self->length);
    for (i = 0; i < self->length; i++) {
        self->message[i] = next_byte(source);
    }
    memcpy(self->key, with->encoded, 32);
    encode_multiple(self->signature, &nonce, next_byte(source) % 8);
    pa_ed25519_challenge(pa_sha512_blocks_portable, &k, self->signature, self->key, self->message,
                         self->length);
    pa_sc_mul(&s, &k, &with->secret);
    pa_sc_add(&s, &s, &nonce);
    pa_sc_to_bytes(self->signature + 32, &s);
    self->expected = PA_ED25519_OK;
}

/* --- judging them ------------------------------------------------------------------------------ */

static void check_single(const pa_ed25519_kernels *kernels, const item *it) {
    pa_ed25519_key key;
    pa_ed25519_status status =
        kernels->verify_encoded(it->key, it->message, it->length, it->signature);
    REQUIRE((int)status == it->expected);
    status = pa_ed25519_key_decode(kernels, &key, it->key);
    if (status == PA_ED25519_OK) {
        status = kernels->verify(&key, it->message, it->length, it->signature);
        REQUIRE((int)status == it->expected);
    } else {
        /* S is looked at before the key. */
        REQUIRE((int)status == it->expected || it->expected == PA_ED25519_S_NOT_CANONICAL);
    }
}

static void check_batch(const pa_ed25519_kernels *kernels, const item *items, size_t count,
                        const uint8_t *random, input decisions) {
    pa_ed25519_signed batch[MOST];
    pa_ed25519_key keys[MOST];
    pa_ed25519_status statuses[MOST];
    pa_ed25519_batch_counts counts;
    size_t i, good = 0, wrong = 0;
    for (i = 0; i < count; i++) {
        const int decoded = next_byte(&decisions) % 2 == 0 &&
                            pa_ed25519_key_decode(kernels, &keys[i], items[i].key) == PA_ED25519_OK;
        batch[i].key = decoded ? &keys[i] : NULL;
        batch[i].encoded_key = decoded ? keys[i].encoded : items[i].key;
        batch[i].message = items[i].message;
        batch[i].length = items[i].length;
        batch[i].signature = items[i].signature;
        good += items[i].expected == PA_ED25519_OK;
        wrong += items[i].expected == PA_ED25519_MISMATCH;
    }
    REQUIRE(pa_ed25519_verify_batch(kernels, batch, count, random, statuses, &counts) == 0);
    for (i = 0; i < count; i++) {
        REQUIRE((int)statuses[i] == items[i].expected);
    }
    if (count < kernels->lanes->lanes_from) {
        REQUIRE(counts.one == count && counts.each == 0 && counts.combined == 0);
    } else if (good + wrong >= kernels->lanes->combine_from && wrong == 0) {
        REQUIRE(counts.combined == good && counts.each == 0 && counts.one == 0);
    } else {
        REQUIRE(counts.combined == 0 && counts.each + counts.one == good + wrong);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int best = (int)pa_cpu_level_of(pa_cpu_features());
    static int prepared;
    uint8_t random[PA_BATCH_SEED + PA_BATCH_RANDOM * MOST];
    input source = {data, size, 0};
    signer signers[KEYS];
    item items[MOST];
    size_t i, count, share, place, part = 0;
    int level;
    if (!prepared) {
        prepare_tables();
        prepared = 1;
    }
    if (size == 0) {
        return 0;
    }
    count = COUNTS[next_byte(&source) % (sizeof COUNTS / sizeof *COUNTS)];
    /* How many are changed: none, one at this place, all, or each with one chance in two. */
    share = next_byte(&source) % 4;
    place = next_below(&source, count);
    for (i = 0; i < KEYS - 1; i++) {
        signers[i].secret = next_scalar(&source);
        part = next_byte(&source) % 8;
        encode_multiple(signers[i].encoded, &signers[i].secret, part);
    }
    /* The last is the negative of the one before: their encodings differ in a single bit. */
    pa_sc_neg(&signers[KEYS - 1].secret, &signers[KEYS - 2].secret);
    encode_multiple(signers[KEYS - 1].encoded, &signers[KEYS - 1].secret, (8 - part) % 8);
    for (i = 0; i < count; i++) {
        make(&items[i], &signers[next_byte(&source) % KEYS], &source);
        if ((share == 1 && i == place) || share == 2 ||
            (share == 3 && next_byte(&source) % 2 == 0)) {
            change(&items[i], i > 0 ? &items[i - 1] : NULL, &source);
        }
    }
    /* Not the input's own bytes: whoever knows the factors can make wrong signatures cancel out. */
    for (i = 0; i < sizeof random; i += 64) {
        uint8_t digest[64];
        hash_of(digest, data, size, i);
        memcpy(random + i, digest, sizeof random - i < 64 ? sizeof random - i : 64);
    }
    for (i = 0; i < count; i++) {
        if (items[i].expected == UNKNOWN) {
            items[i].expected = (int)pa_ed25519_verify_encoded_portable(
                items[i].key, items[i].message, items[i].length, items[i].signature);
        }
    }
    for (level = 0; level <= best; level++) {
        const pa_ed25519_kernels *const kernels = pa_ed25519_kernels_of(level);
        REQUIRE(kernels != NULL);
        for (i = 0; i < count; i++) {
            check_single(kernels, &items[i]);
        }
        check_batch(kernels, items, count, random, source);
    }
    for (i = 0; i < count; i++) {
        free(items[i].key);
        free(items[i].signature);
        free(items[i].message);
    }
    return 0;
}
