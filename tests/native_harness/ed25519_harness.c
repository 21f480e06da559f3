/* Exercise kernels/ed25519 without Python, under sanitizers.
 *
 * Reads lines of words from standard input and writes one line for each. Words are hexadecimal
 * bytes, `-` for none; numbers stand with the least significant byte first. A message lies in a
 * block of exactly its size, so that a read beyond it is found.
 *
 *     verify KEY MESSAGE SIGNATURE      the statuses of every path: encoded and decoded key
 *     keep KEY MESSAGE SIGNATURE        remembers it for `batch`; says how many are remembered
 *     batch SEED DECODED                the statuses, one letter each from A on, and how many were
 *                                       combined, in lanes and one by one, of every path; keys are
 *                                       decoded beforehand where a bit of DECODED is 1
 *     decode POINT                      status, x and y of every path
 *     sha512 MESSAGE                    the digest of every path, fed in uneven pieces
 *     fe_mul A B and so on              see OPERATIONS; an A is five limbs of eight bytes
 *     sc_mul A B and so on              numbers of 32 bytes
 *     half K                            c, d and the sign
 *     recode A WIDTH                    128 digits, each a byte
 *
 * An element that comes out of a multiplication must be tight (field.h), or the program fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519/batch.h"
#include "ed25519/ed25519.h"
#include "ed25519/half.h"
#include "ed25519/point.h"
#include "ed25519/recode.h"

#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

#define WORDS 4
#define LINE 1048576

typedef struct word {
    uint8_t *bytes; /* a block of exactly `length` bytes */
    size_t length;
} word;

static int best;

static unsigned digit_of(char c) {
    REQUIRE((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static word word_of(const char *text) {
    word result;
    size_t i;
    result.length = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
    result.bytes = malloc(result.length > 0 ? result.length : 1);
    REQUIRE(result.bytes != NULL);
    for (i = 0; i < result.length; i++) {
        result.bytes[i] = (uint8_t)(digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
    }
    return result;
}

static void print_bytes(const uint8_t *bytes, size_t length) {
    size_t i;
    for (i = 0; i < length; i++) {
        printf("%02x", bytes[i]);
    }
    putchar(' ');
}

static void print_scalar(const pa_sc *a) {
    uint8_t bytes[32];
    pa_sc_to_bytes(bytes, a);
    print_bytes(bytes, sizeof bytes);
}

static pa_sc scalar_of(const word *w) {
    pa_sc a;
    REQUIRE(w->length == 32);
    pa_sc_from_bytes(&a, w->bytes);
    return a;
}

static pa_fe element_of(const word *w) {
    pa_fe a;
    int i;
    REQUIRE(w->length == 40);
    for (i = 0; i < 5; i++) {
        a.v[i] = pa_load64(w->bytes + 8 * i);
    }
    return a;
}

static void print_element(const pa_fe *a) {
    uint8_t bytes[32];
    pa_fe_to_bytes(bytes, a);
    print_bytes(bytes, sizeof bytes);
}

static void require_below(const pa_fe *a, uint64_t bound) {
    int i;
    for (i = 0; i < 5; i++) {
        REQUIRE(a->v[i] < bound);
    }
}

#define TIGHT ((UINT64_C(1) << 51) + (UINT64_C(1) << 16))
#define LOOSE (UINT64_C(1) << 54)

static void do_verify(const word *w) {
    int level;
    REQUIRE(w[0].length == 32 && w[2].length == 64);
    for (level = 0; level <= best; level++) {
        const pa_ed25519_kernels *const kernels = pa_ed25519_kernels_of(level);
        const pa_ed25519_status encoded =
            kernels->verify_encoded(w[0].bytes, w[1].bytes, w[1].length, w[2].bytes);
        pa_ed25519_key key;
        pa_ed25519_status decoded = pa_ed25519_key_decode(kernels, &key, w[0].bytes);
        if (decoded == PA_ED25519_OK) {
            decoded = kernels->verify(&key, w[1].bytes, w[1].length, w[2].bytes);
        }
        printf("%d %d ", (int)encoded, (int)decoded);
    }
}

/* What was kept, in blocks of exactly its size. */
static pa_ed25519_signed *kept;
static word (*kept_words)[3];
static size_t kept_count;

static word copy_of(const word *w) {
    word result;
    result.length = w->length;
    result.bytes = malloc(w->length > 0 ? w->length : 1);
    REQUIRE(result.bytes != NULL);
    memcpy(result.bytes, w->bytes, w->length);
    return result;
}

static void do_keep(const word *w) {
    size_t i;
    REQUIRE(w[0].length == 32 && w[2].length == 64);
    kept = realloc(kept, (kept_count + 1) * sizeof *kept);
    kept_words = realloc(kept_words, (kept_count + 1) * sizeof *kept_words);
    REQUIRE(kept != NULL && kept_words != NULL);
    for (i = 0; i < 3; i++) {
        kept_words[kept_count][i] = copy_of(&w[i]);
    }
    printf("%zu", ++kept_count);
}

static void forget(void) {
    size_t i, j;
    for (i = 0; i < kept_count; i++) {
        for (j = 0; j < 3; j++) {
            free(kept_words[i][j].bytes);
        }
    }
    free(kept);
    free(kept_words);
    kept = NULL;
    kept_words = NULL;
    kept_count = 0;
}

static void do_batch(const word *w) {
    const size_t random_size = PA_BATCH_SEED + PA_BATCH_RANDOM * kept_count;
    uint8_t *const random = malloc(random_size);
    pa_ed25519_status *const statuses = malloc((kept_count + 1) * sizeof *statuses);
    pa_ed25519_key *const keys = malloc((kept_count + 1) * sizeof *keys);
    uint64_t state = 0;
    size_t i;
    int level;
    REQUIRE(random != NULL && statuses != NULL && keys != NULL);
    REQUIRE(w[0].length == 8 && w[1].length == (kept_count + 7) / 8);
    memcpy(&state, w[0].bytes, sizeof state);
    for (i = 0; i < random_size; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        random[i] = (uint8_t)(state >> 56);
    }
    for (level = 0; level <= best; level++) {
        const pa_ed25519_kernels *const kernels = pa_ed25519_kernels_of(level);
        pa_ed25519_batch_counts counts;
        for (i = 0; i < kept_count; i++) {
            const word *const words = kept_words[i];
            const int decoded = (w[1].bytes[i / 8] >> (i % 8) & 1) != 0 &&
                pa_ed25519_key_decode(kernels, &keys[i], words[0].bytes) == PA_ED25519_OK;
            kept[i].key = decoded ? &keys[i] : NULL;
            kept[i].encoded_key = decoded ? keys[i].encoded : words[0].bytes;
            kept[i].message = words[1].bytes;
            kept[i].length = words[1].length;
            kept[i].signature = words[2].bytes;
        }
        REQUIRE(pa_ed25519_verify_batch(kernels, kept, kept_count, random, statuses, &counts) == 0);
        for (i = 0; i < kept_count; i++) {
            putchar('A' + (int)statuses[i]);
        }
        printf("- %zu %zu %zu ", counts.combined, counts.each, counts.one);
    }
    free(random);
    free(statuses);
    free(keys);
    forget();
}

static void do_decode(const word *w) {
    int level;
    REQUIRE(w[0].length == 32);
    for (level = -1; level <= best; level++) {
        pa_point_affine point;
        const pa_ed25519_status status =
            level < 0 ? pa_point_decode(&point, w[0].bytes)
                      : pa_ed25519_kernels_of(level)->decode(&point, w[0].bytes);
        printf("%d ", (int)status);
        if (status == PA_ED25519_OK) {
            pa_point extended;
            uint8_t again[32];
            require_below(&point.x, TIGHT);
            require_below(&point.y, TIGHT);
            print_element(&point.x);
            print_element(&point.y);
            pa_point_from_affine(&extended, &point);
            pa_point_encode(again, &extended);
            REQUIRE(memcmp(again, w[0].bytes, sizeof again) == 0);
        }
    }
}

static void do_sha512(const word *w) {
    int level;
    for (level = 0; level <= best; level++) {
        pa_sha512_blocks_fn *const blocks = pa_ed25519_kernels_of(level)->sha512;
        uint8_t digest[PA_SHA512_DIGEST];
        pa_sha512 hash;
        size_t at = 0, piece = 0;
        pa_sha512_init(&hash);
        while (at < w->length) {
            pa_sha512_update(&hash, blocks, w->bytes + at, piece);
            at += piece;
            piece = (piece * 7 + 1) % 301;
            piece = piece < w->length - at ? piece : w->length - at;
        }
        pa_sha512_final(&hash, blocks, digest);
        print_bytes(digest, sizeof digest);
    }
}

static void do_half(const word *w) {
    const pa_sc k = scalar_of(w);
    pa_half half;
    pa_sc part = {{0}};
    pa_half_of(&half, &k);
    part.v[0] = half.c[0];
    part.v[1] = half.c[1];
    print_scalar(&part);
    part.v[0] = half.d[0];
    part.v[1] = half.d[1];
    print_scalar(&part);
    printf("%d ", half.negative);
}

static void do_recode(const word *w) {
    const pa_sc a = scalar_of(&w[0]);
    const uint64_t scalar[2] = {a.v[0], a.v[1]};
    int8_t digits[PA_RECODE_DIGITS] = {0};
    uint8_t bytes[PA_RECODE_DIGITS];
    REQUIRE(w[1].length == 1);
    pa_recode(digits, 1, scalar, w[1].bytes[0], 1);
    memcpy(bytes, digits, sizeof bytes);
    print_bytes(bytes, sizeof bytes);
}

static void do_sc_mul(const word *w) {
    const pa_sc a = scalar_of(&w[0]), b = scalar_of(&w[1]);
    pa_sc out;
    pa_sc_mul(&out, &a, &b);
    print_scalar(&out);
}

static void do_sc_add(const word *w) {
    const pa_sc a = scalar_of(&w[0]), b = scalar_of(&w[1]);
    pa_sc out;
    pa_sc_add(&out, &a, &b);
    print_scalar(&out);
}

static void do_sc_neg(const word *w) {
    const pa_sc a = scalar_of(w);
    pa_sc out;
    pa_sc_neg(&out, &a);
    print_scalar(&out);
}

static void do_sc_reduce512(const word *w) {
    pa_sc out;
    REQUIRE(w->length == 64);
    pa_sc_reduce512(&out, w->bytes);
    print_scalar(&out);
}

static void do_sc_is_canonical(const word *w) {
    REQUIRE(w->length == 32);
    printf("%d ", pa_sc_is_canonical(w->bytes));
}

static void do_fe_mul(const word *w) {
    const pa_fe a = element_of(&w[0]), b = element_of(&w[1]);
    pa_fe out;
    require_below(&a, LOOSE);
    require_below(&b, LOOSE);
    pa_fe_mul(&out, &a, &b);
    require_below(&out, TIGHT);
    print_element(&out);
}

/* The operations on tight elements whose results are loose. */
static void do_fe_sums(const word *w) {
    const pa_fe a = element_of(&w[0]), b = element_of(&w[1]);
    pa_fe out;
    require_below(&a, TIGHT);
    require_below(&b, TIGHT);
    pa_fe_add(&out, &a, &b);
    require_below(&out, LOOSE);
    print_element(&out);
    pa_fe_sub(&out, &a, &b);
    require_below(&out, LOOSE);
    print_element(&out);
    pa_fe_neg(&out, &a);
    require_below(&out, LOOSE);
    print_element(&out);
    printf("%d ", pa_fe_equal(&a, &b));
}

/* The operations on one loose element. */
static void do_fe_powers(const word *w) {
    const pa_fe a = element_of(w);
    pa_fe out, pair[2];
    require_below(&a, LOOSE);
    pa_fe_sqr(&out, &a);
    require_below(&out, TIGHT);
    print_element(&out);
    pa_fe_sqr_n(&out, &a, 9);
    print_element(&out);
    pa_fe_invert(&out, &a);
    print_element(&out);
    pa_fe_pow22523(&out, &a);
    print_element(&out);
    pair[0] = a;
    pair[1] = out;
    pa_fe_pow22523_pair(pair, pair);
    REQUIRE(pa_fe_equal(&pair[0], &out));
    print_element(&pair[1]);
    pa_fe_carry(&out, &a);
    require_below(&out, TIGHT);
    print_element(&out);
    print_element(&a);
    printf("%d %d ", pa_fe_is_zero(&a), pa_fe_is_negative(&a));
}

static void do_fe_from_bytes(const word *w) {
    pa_fe out;
    int below;
    REQUIRE(w->length == 32);
    below = pa_fe_from_bytes_checked(&out, w->bytes);
    require_below(&out, TIGHT);
    print_element(&out);
    printf("%d ", below);
}

static void do_wide(const word *w) {
    uint8_t bytes[16];
    pa_wide product;
    REQUIRE(w[0].length == 8 && w[1].length == 8 && w[2].length == 8);
    product = pa_wide_mul(pa_load64(w[0].bytes), pa_load64(w[1].bytes));
    product = pa_wide_add(product, pa_load64(w[2].bytes));
    pa_store64(bytes, pa_wide_low(product));
    pa_store64(bytes + 8, pa_wide_high(product));
    print_bytes(bytes, sizeof bytes);
}

static const struct {
    const char *name;
    void (*run)(const word *words);
    int words;
} OPERATIONS[] = {
    {"verify", do_verify, 3},
    {"keep", do_keep, 3},
    {"batch", do_batch, 2},
    {"decode", do_decode, 1},
    {"sha512", do_sha512, 1},
    {"half", do_half, 1},
    {"recode", do_recode, 2},
    {"sc_mul", do_sc_mul, 2},
    {"sc_add", do_sc_add, 2},
    {"sc_neg", do_sc_neg, 1},
    {"sc_reduce512", do_sc_reduce512, 1},
    {"sc_is_canonical", do_sc_is_canonical, 1},
    {"fe_mul", do_fe_mul, 2},
    {"fe_sums", do_fe_sums, 2},
    {"fe_powers", do_fe_powers, 1},
    {"fe_from_bytes", do_fe_from_bytes, 1},
    {"wide", do_wide, 3},
};

static void run_line(char *line) {
    const char *const name = strtok(line, " \n");
    word words[WORDS];
    int count = 0;
    size_t i;
    const char *text;
    REQUIRE(name != NULL);
    while ((text = strtok(NULL, " \n")) != NULL) {
        REQUIRE(count < WORDS);
        words[count++] = word_of(text);
    }
    for (i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++) {
        if (strcmp(OPERATIONS[i].name, name) == 0) {
            REQUIRE(OPERATIONS[i].words == count);
            OPERATIONS[i].run(words);
            break;
        }
    }
    REQUIRE(i < sizeof OPERATIONS / sizeof OPERATIONS[0]);
    putchar('\n');
    fflush(stdout);
    while (count > 0) {
        free(words[--count].bytes);
    }
}

int main(void) {
    static char line[LINE];
    best = (int)pa_cpu_level_of(pa_cpu_features());
    REQUIRE(pa_ed25519_kernels_of(-1) == NULL && pa_ed25519_kernels_of(PA_CPU_LEVELS) == NULL);
    while (fgets(line, sizeof line, stdin) != NULL) {
        REQUIRE(strchr(line, '\n') != NULL);
        run_line(line);
    }
    return 0;
}
