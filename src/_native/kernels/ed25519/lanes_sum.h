/* Sums of many points, each times a scalar, by Pippenger's bucket method: a template like
 * lanes_point.h.
 *
 * A scalar is written with signed digits of `bits` bits, its windows. A point is added to the
 * bucket that its digit names; at the end the bucket of digit d counts d times, which running sums
 * do without a multiplication, and the windows' sums are put together by doublings.
 *
 * Each lane has the buckets of another window. So every step adds one point to VEC_LANES buckets,
 * all of different sums: no two lanes ever want the same bucket, and nothing has to be merged. */
#ifndef PLUGINAPI_ED25519_LANES_SUM_H
#define PLUGINAPI_ED25519_LANES_SUM_H

enum {
    LANES_LONG_BITS = 253,
    LANES_SHORT_BITS = 128,
    LANES_ROW_WORDS = 20, /* a point in extended coordinates */
    LANES_MIN_BITS = 4,
    LANES_MAX_BITS = 9
};

typedef struct lanes_plan {
    unsigned bits;       /* of a digit */
    size_t buckets;      /* of a window; bucket 0 takes what counts for nothing */
    size_t long_passes;  /* over VEC_LANES windows each */
    size_t short_passes; /* the passes in which the short scalars have digits */
} lanes_plan;

/* The passes that digits of so many bits need; signed digits may carry one bit out at the top. */
VEC_INLINE size_t lanes_passes(unsigned bits, size_t scalar_bits) {
    const size_t windows = (scalar_bits + bits) / bits;
    return (windows + VEC_LANES - 1) / VEC_LANES;
}

/* Choose the width of the digits: the fewest additions, of which those that add up the buckets are
 * two for each bucket and pass. */
VEC_FUNCTION lanes_plan lanes_make_plan(size_t long_count, size_t short_count) {
    lanes_plan best = {0, 0, 0, 0};
    size_t least = SIZE_MAX;
    unsigned bits;
    for (bits = LANES_MIN_BITS; bits <= LANES_MAX_BITS; bits++) {
        lanes_plan plan;
        size_t additions;
        plan.bits = bits;
        plan.buckets = ((size_t)1 << (bits - 1)) + 1;
        plan.long_passes = long_count > 0 ? lanes_passes(bits, LANES_LONG_BITS) : 0;
        plan.short_passes = short_count > 0 ? lanes_passes(bits, LANES_SHORT_BITS) : 0;
        if (plan.long_passes < plan.short_passes) {
            plan.long_passes = plan.short_passes;
        }
        additions =
            plan.long_passes * (long_count + 3 * plan.buckets) + plan.short_passes * short_count;
        if (additions < least) {
            least = additions;
            best = plan;
        }
    }
    return best;
}

/* The digits of one pass for one point: an index of a bucket and whether to subtract. */
typedef struct lanes_digits {
    uint16_t bucket[VEC_LANES];
    uint64_t negative; /* one bit for each lane */
} lanes_digits;

#define LANES_ALIGN(bytes) (((bytes) + 63) / 64 * 64)

VEC_FUNCTION size_t lanes_bucket_memory(const lanes_plan *plan) {
    return LANES_ALIGN(VEC_LANES * plan->buckets * LANES_ROW_WORDS * sizeof(uint64_t));
}

VEC_FUNCTION size_t lanes_digit_memory(const lanes_plan *plan, size_t long_count,
                                       size_t short_count) {
    return LANES_ALIGN((plan->long_passes * long_count + plan->short_passes * short_count) *
                       sizeof(lanes_digits));
}

VEC_FUNCTION size_t lanes_sum_memory(size_t long_count, size_t short_count) {
    const lanes_plan plan = lanes_make_plan(long_count, short_count);
    return lanes_bucket_memory(&plan) + lanes_digit_memory(&plan, long_count, short_count);
}

/* Write the digits of a scalar for every pass; those of pass i stand at i * stride. */
VEC_INLINE void lanes_recode(lanes_digits *out, size_t stride, size_t passes, const pa_sc *scalar,
                             unsigned bits) {
    const uint32_t half = UINT32_C(1) << (bits - 1);
    const uint32_t mask = 2 * half - 1;
    uint32_t carry = 0;
    size_t at = 0, pass, lane;
    for (pass = 0; pass < passes; pass++) {
        lanes_digits digits;
        digits.negative = 0;
        for (lane = 0; lane < VEC_LANES; lane++, at += bits) {
            const size_t word = at / 64;
            const unsigned shift = (unsigned)(at % 64);
            uint64_t window = word < 4 ? scalar->v[word] >> shift : 0;
            uint32_t digit;
            if (shift + bits > 64 && word < 3) {
                window |= scalar->v[word + 1] << (64 - shift);
            }
            digit = ((uint32_t)window & mask) + carry;
            carry = digit > half;
            digits.bucket[lane] = (uint16_t)(carry ? mask + 1 - digit : digit);
            digits.negative |= (uint64_t)carry << lane;
        }
        out[pass * stride] = digits;
    }
}

/* Add terms first to first + count - 1 to their buckets in one pass. */
VEC_FUNCTION void lanes_fill(uint64_t *buckets, size_t bucket_count, const pa_lanes_niels *points,
                             const lanes_digits *digits, size_t count) {
    size_t i, lane;
    for (i = 0; i < count; i++) {
        uint64_t *rows[VEC_LANES];
        const vec_mask negative = vec_mask_of_bits((unsigned)digits[i].negative);
        const vec_fe y_minus_x = vec_broadcast(points[i].words);
        const vec_fe y_plus_x = vec_broadcast(points[i].words + 5);
        const vec_fe xy2d = vec_broadcast(points[i].words + 10);
        const vec_fe minus_xy2d = vec_neg(&xy2d);
        lanes_point sum;
        lanes_niels signed_point;
        for (lane = 0; lane < VEC_LANES; lane++) {
            rows[lane] = buckets + (lane * bucket_count + digits[i].bucket[lane]) * LANES_ROW_WORDS;
        }
        signed_point.y_minus_x = vec_select(negative, &y_plus_x, &y_minus_x);
        signed_point.y_plus_x = vec_select(negative, &y_minus_x, &y_plus_x);
        signed_point.xy2d = vec_select(negative, &minus_xy2d, &xy2d);
        vec_load_rows(sum.c, (const uint64_t *const *)rows);
        lanes_add_niels(&sum, &sum, &signed_point);
        vec_store_rows(rows, sum.c);
    }
}

/* out = the sum of d times bucket d, in each lane. */
VEC_FUNCTION void lanes_add_up(lanes_point *out, const uint64_t *buckets, size_t bucket_count) {
    lanes_point running;
    size_t d, lane;
    lanes_identity(&running);
    lanes_identity(out);
    for (d = bucket_count - 1; d > 0; d--) {
        const uint64_t *rows[VEC_LANES];
        lanes_point bucket;
        lanes_cached cached;
        for (lane = 0; lane < VEC_LANES; lane++) {
            rows[lane] = buckets + (lane * bucket_count + d) * LANES_ROW_WORDS;
        }
        vec_load_rows(bucket.c, rows);
        lanes_cache(&cached, &bucket);
        lanes_add_cached(&running, &running, &cached);
        lanes_cache(&cached, &running);
        lanes_add_cached(out, out, &cached);
    }
}

/* Write the points of all lanes with the limbs of field.h. */
VEC_FUNCTION void lanes_export(pa_point out[VEC_LANES], const lanes_point *in) {
    uint64_t limbs[4][5][VEC_LANES];
    size_t c, lane, i;
    for (c = 0; c < 4; c++) {
        const vec_wide positive = vec_positive(&in->c[c]);
        for (i = 0; i < 5; i++) {
            vec_int_store(limbs[c][i], positive.v[i]);
        }
    }
    for (lane = 0; lane < VEC_LANES; lane++) {
        for (i = 0; i < 5; i++) {
            out[lane].X.v[i] = limbs[LANES_X][i][lane];
            out[lane].Y.v[i] = limbs[LANES_Y][i][lane];
            out[lane].Z.v[i] = limbs[LANES_Z][i][lane];
            out[lane].T.v[i] = limbs[LANES_T][i][lane];
        }
        pa_fe_carry(&out[lane].X, &out[lane].X);
        pa_fe_carry(&out[lane].Y, &out[lane].Y);
        pa_fe_carry(&out[lane].Z, &out[lane].Z);
        pa_fe_carry(&out[lane].T, &out[lane].T);
    }
}

/* Put an identity into every bucket. */
VEC_FUNCTION void lanes_empty(uint64_t *buckets, size_t count) {
    uint64_t words[LANES_ROW_WORDS][VEC_LANES];
    uint64_t row[LANES_ROW_WORDS];
    lanes_point identity;
    size_t i;
    lanes_identity(&identity);
    for (i = 0; i < 4; i++) {
        vec_store_words(words + 5 * i, &identity.c[i]);
    }
    for (i = 0; i < LANES_ROW_WORDS; i++) {
        row[i] = words[i][0];
    }
    for (i = 0; i < count; i++) {
        memcpy(buckets + i * LANES_ROW_WORDS, row, sizeof row);
    }
}

/* acc = 2^bits acc + windows. */
static void lanes_append_window(pa_point *acc, const pa_point *window, unsigned bits) {
    pa_point_completed completed;
    pa_point_niels niels;
    unsigned i;
    for (i = 0; i < bits; i++) {
        pa_point_double(&completed, acc);
        if (i + 1 < bits) {
            pa_point_complete_xyz(acc, &completed);
        } else {
            pa_point_complete(acc, &completed);
        }
    }
    pa_point_prepare(&niels, window);
    pa_point_add(&completed, acc, &niels, 0);
    pa_point_complete(acc, &completed);
}

VEC_FUNCTION void lanes_sum(pa_point *out, const pa_lanes_terms *terms, void *memory) {
    const size_t long_count = terms->long_count, short_count = terms->short_count;
    const lanes_plan plan = lanes_make_plan(long_count, short_count);
    uint64_t *const buckets = memory;
    lanes_digits *const long_digits = (void *)((uint8_t *)memory + lanes_bucket_memory(&plan));
    lanes_digits *const short_digits = long_digits + plan.long_passes * long_count;
    const vec_state state = vec_begin();
    size_t pass, i;
    for (i = 0; i < long_count; i++) {
        lanes_recode(long_digits + i, long_count, plan.long_passes, &terms->scalars[i], plan.bits);
    }
    for (i = 0; i < short_count; i++) {
        lanes_recode(short_digits + i, short_count, plan.short_passes,
                     &terms->scalars[long_count + i], plan.bits);
    }
    pa_point_identity(out);
    for (pass = plan.long_passes; pass-- > 0;) {
        pa_point windows[VEC_LANES];
        lanes_point sums;
        size_t lane;
        lanes_empty(buckets, VEC_LANES * plan.buckets);
        lanes_fill(buckets, plan.buckets, terms->points, long_digits + pass * long_count,
                   long_count);
        if (pass < plan.short_passes) {
            lanes_fill(buckets, plan.buckets, terms->points + long_count,
                       short_digits + pass * short_count, short_count);
        }
        lanes_add_up(&sums, buckets, plan.buckets);
        lanes_export(windows, &sums);
        for (lane = VEC_LANES; lane-- > 0;) {
            lanes_append_window(out, &windows[lane], plan.bits);
        }
    }
    vec_end(state);
}

#endif
