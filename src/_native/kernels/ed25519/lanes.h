/* Many points at once, each in a lane of a vector register: what the batch builds on.
 *
 * lanes_point.h, lanes_decode.h, lanes_sum.h and lanes_each.h are templates over a field of
 * VEC_LANES elements (vec_fma4.h, vec_ifma.h); lanes_avx2.c and lanes_ifma.c instantiate them. */
#ifndef PLUGINAPI_ED25519_LANES_H
#define PLUGINAPI_ED25519_LANES_H

#include "ed25519.h"
#include "half.h"
#include "point.h"

#define PA_LANES_MAX_WIDTH 8

/* An affine point ready to be added, in the words of the field that made it: y - x, y + x and 2dxy,
 * five limbs each. The last word is not used; it fills two cache lines. */
typedef struct pa_lanes_niels {
    uint64_t words[16];
} pa_lanes_niels;

/* A sum of points, each times a scalar. */
typedef struct pa_lanes_terms {
    const pa_lanes_niels *points; /* those with long scalars come first */
    const pa_sc *scalars;
    size_t long_count;  /* terms whose scalars are below 2^253 */
    size_t short_count; /* terms whose scalars are below 2^128 */
} pa_lanes_terms;

/* One signature to be judged by itself: the rule as half.h puts it. */
typedef struct pa_lanes_equation {
    const pa_lanes_niels *key, *r;
    pa_half half;
    pa_sc base; /* d S modulo L */
} pa_lanes_equation;

typedef struct pa_lanes_kernels {
    size_t width;
    size_t lanes_from;   /* fewer signatures are faster one by one */
    size_t combine_from; /* fewer are faster each in a lane */
    /* Decode canonical encodings of points that are not of small order (`pa_point_flaw`), and say
     * for each whether it is on the curve; where it is not, the point is none. */
    void (*decode)(const uint8_t *const *encoded, size_t count, pa_lanes_niels *const *points,
                   uint8_t *on_curve);
    /* Make the same of points that are decoded. */
    void (*import)(const pa_point_affine *const *decoded, size_t count,
                   pa_lanes_niels *const *points);
    /* How much memory `sum` wants for so many terms, a multiple of 64 bytes. */
    size_t (*sum_memory)(size_t long_count, size_t short_count);
    /* Add up; `memory` is aligned to 64 bytes. */
    void (*sum)(pa_point *out, const pa_lanes_terms *terms, void *memory);
    /* Say for each equation whether it holds. NULL where the kernel for one is as fast. */
    void (*each)(const pa_lanes_equation *equations, size_t count, uint8_t *holds);
} pa_lanes_kernels;

extern const pa_lanes_kernels PA_LANES_PORTABLE;
#if PA_CPU_X86_64
extern const pa_lanes_kernels PA_LANES_BMI2, PA_LANES_AVX2, PA_LANES_IFMA;
#endif

#endif
