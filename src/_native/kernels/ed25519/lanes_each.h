/* Independent verifications, one signature in each lane: a template like lanes_point.h.
 *
 * half.h says what is asked: whether [8](c A + d R - e B) = 0, with e = d S modulo L. Scalars c and
 * d are written with signed digits of 4 bits and e, in two halves of 127 bits for B and 2^127 B,
 * with digits of 8 bits. All lanes double and add in step. */
#ifndef PLUGINAPI_ED25519_LANES_EACH_H
#define PLUGINAPI_ED25519_LANES_EACH_H

enum {
    LANES_EACH_WINDOWS = 32, /* of 4 bits: 127 and the carry of signed digits */
    LANES_EACH_MULTIPLES = 9 /* 0 to 8 times a point */
};

/* The multiples of a point, one table in each lane's row. */
typedef struct lanes_table {
    _Alignas(64) uint64_t rows[LANES_EACH_MULTIPLES][VEC_LANES][LANES_ROW_WORDS + 4];
} lanes_table;

VEC_INLINE void lanes_table_put(lanes_table *table, size_t multiple, const lanes_cached *point) {
    uint64_t *rows[VEC_LANES];
    vec_fe coordinates[4];
    size_t lane;
    for (lane = 0; lane < VEC_LANES; lane++) {
        rows[lane] = table->rows[multiple][lane];
    }
    coordinates[0] = point->y_minus_x;
    coordinates[1] = point->y_plus_x;
    coordinates[2] = point->t2d;
    coordinates[3] = point->z;
    vec_store_rows(rows, coordinates);
}

/* Fill in 0, P, 2P, ... 8P. */
VEC_FUNCTION void lanes_table_fill(lanes_table *table, const lanes_niels *point) {
    lanes_point multiple;
    lanes_cached cached;
    size_t i;
    lanes_identity(&multiple);
    for (i = 0; i < LANES_EACH_MULTIPLES; i++) {
        lanes_cache(&cached, &multiple);
        lanes_table_put(table, i, &cached);
        lanes_add_niels(&multiple, &multiple, point);
    }
}

/* p += digit times the table's point, in each lane. */
VEC_FUNCTION void lanes_add_multiple(lanes_point *p, const lanes_table *table,
                                     const int8_t digits[VEC_LANES]) {
    const uint64_t *rows[VEC_LANES];
    unsigned negative = 0;
    vec_fe c[4], minus_t2d;
    lanes_cached point;
    vec_mask mask;
    size_t lane;
    for (lane = 0; lane < VEC_LANES; lane++) {
        const int digit = digits[lane];
        rows[lane] = table->rows[digit < 0 ? -digit : digit][lane];
        negative |= (unsigned)(digit < 0) << lane;
    }
    mask = vec_mask_of_bits(negative);
    vec_load_rows(c, rows);
    minus_t2d = vec_neg(&c[2]);
    point.y_minus_x = vec_select(mask, &c[1], &c[0]);
    point.y_plus_x = vec_select(mask, &c[0], &c[1]);
    point.t2d = vec_select(mask, &minus_t2d, &c[2]);
    point.z = c[3];
    lanes_add_cached(p, p, &point);
}

/* p += digit times B or 2^127 B, in each lane. */
VEC_FUNCTION void lanes_add_base(lanes_point *p, size_t which, const int16_t digits[VEC_LANES]) {
    static const pa_point_niels_affine IDENTITY = {{{{1, 0, 0, 0, 0}}, {{1, 0, 0, 0, 0}}},
                                                   {{0, 0, 0, 0, 0}}};
    uint64_t minus[5][VEC_LANES], plus[5][VEC_LANES], product[5][VEC_LANES];
    unsigned negative = 0;
    lanes_niels point;
    vec_fe xy2d, minus_xy2d;
    size_t lane, i;
    for (lane = 0; lane < VEC_LANES; lane++) {
        const int digit = digits[lane];
        const int is_negative = digit < 0;
        const pa_point_niels_affine *const multiple =
            digit == 0 ? &IDENTITY : &PA_BASE_TABLE[which][(is_negative ? -digit : digit) - 1];
        for (i = 0; i < 5; i++) {
            plus[i][lane] = multiple->sums[is_negative].v[i];
            minus[i][lane] = multiple->sums[!is_negative].v[i];
            product[i][lane] = multiple->xy2d.v[i];
        }
        negative |= (unsigned)is_negative << lane;
    }
    point.y_minus_x = vec_load(minus);
    point.y_plus_x = vec_load(plus);
    xy2d = vec_load(product);
    minus_xy2d = vec_neg(&xy2d);
    point.xy2d = vec_select(vec_mask_of_bits(negative), &minus_xy2d, &xy2d);
    lanes_add_niels(p, p, &point);
}

/* The digits of one group of signatures, in step. */
typedef struct lanes_each_digits {
    int8_t key[LANES_EACH_WINDOWS][VEC_LANES];
    int8_t r[LANES_EACH_WINDOWS][VEC_LANES];
    int16_t base[2][LANES_EACH_WINDOWS / 2][VEC_LANES];
} lanes_each_digits;

/* Signed digits of 4 bits of a scalar below 2^127, times `sign`: from -8 to 8. */
VEC_INLINE void lanes_recode_4(int8_t (*out)[VEC_LANES], size_t lane, const uint64_t scalar[2],
                               int sign) {
    int carry = 0;
    size_t i;
    for (i = 0; i < LANES_EACH_WINDOWS; i++) {
        const int digit = (int)(scalar[i / 16] >> (4 * (i % 16)) & 15) + carry;
        carry = digit > 8;
        out[i][lane] = (int8_t)(sign * (digit - 16 * carry));
    }
}

/* Signed digits of 8 bits of a scalar below 2^127, negated: from -128 to 128. */
VEC_INLINE void lanes_recode_8(int16_t (*out)[VEC_LANES], size_t lane, const uint64_t scalar[2]) {
    int carry = 0;
    size_t i;
    for (i = 0; i < LANES_EACH_WINDOWS / 2; i++) {
        const int digit = (int)(scalar[i / 8] >> (8 * (i % 8)) & 255) + carry;
        carry = digit > 128;
        out[i][lane] = (int16_t)(256 * carry - digit);
    }
}

VEC_INLINE void lanes_each_recode(lanes_each_digits *digits, size_t lane,
                                  const pa_lanes_equation *equation) {
    const pa_sc *const e = &equation->base;
    const uint64_t low[2] = {e->v[0], e->v[1] & (UINT64_MAX >> 1)};
    const uint64_t high[2] = {e->v[1] >> 63 | e->v[2] << 1, e->v[2] >> 63 | e->v[3] << 1};
    lanes_recode_4(digits->key, lane, equation->half.c, equation->half.negative ? -1 : 1);
    lanes_recode_4(digits->r, lane, equation->half.d, 1);
    lanes_recode_8(digits->base[0], lane, low);
    lanes_recode_8(digits->base[1], lane, high);
}

VEC_INLINE lanes_niels lanes_gather_niels(const pa_lanes_niels *const points[VEC_LANES]) {
    uint64_t words[15][VEC_LANES];
    lanes_niels out;
    size_t lane, i;
    for (lane = 0; lane < VEC_LANES; lane++) {
        for (i = 0; i < 15; i++) {
            words[i][lane] = points[lane]->words[i];
        }
    }
    out.y_minus_x = vec_load_words(words);
    out.y_plus_x = vec_load_words((words + 5));
    out.xy2d = vec_load_words((words + 10));
    return out;
}

VEC_FUNCTION void lanes_double_once(lanes_point *p) { lanes_double(p, p, 0); }

/* p = 16 p. */
VEC_FUNCTION void lanes_double_four_times(lanes_point *p) {
    lanes_double_once(p);
    lanes_double_once(p);
    lanes_double_once(p);
    lanes_double(p, p, 1);
}

/* Judge VEC_LANES equations; the result has a bit for each that holds. */
VEC_FUNCTION unsigned lanes_each_group(const pa_lanes_equation *const group[VEC_LANES]) {
    const pa_lanes_niels *keys[VEC_LANES], *rs[VEC_LANES];
    lanes_table key_table, r_table;
    lanes_each_digits digits;
    lanes_niels point;
    lanes_point sum;
    vec_fe difference;
    size_t lane, i;
    unsigned x_is_zero, y_is_z;
    for (lane = 0; lane < VEC_LANES; lane++) {
        keys[lane] = group[lane]->key;
        rs[lane] = group[lane]->r;
        lanes_each_recode(&digits, lane, group[lane]);
    }
    point = lanes_gather_niels(keys);
    lanes_table_fill(&key_table, &point);
    point = lanes_gather_niels(rs);
    lanes_table_fill(&r_table, &point);
    lanes_identity(&sum);
    for (i = LANES_EACH_WINDOWS; i-- > 0;) {
        lanes_double_four_times(&sum);
        lanes_add_multiple(&sum, &key_table, digits.key[i]);
        lanes_add_multiple(&sum, &r_table, digits.r[i]);
        if (i % 2 == 0) {
            lanes_add_base(&sum, 0, digits.base[0][i / 2]);
            lanes_add_base(&sum, 1, digits.base[1][i / 2]);
        }
    }
    for (i = 0; i < 3; i++) {
        lanes_double_once(&sum);
    }
    difference = vec_sub(&sum.c[LANES_Y], &sum.c[LANES_Z]);
    x_is_zero = vec_mask_bits(vec_is_zero(&sum.c[LANES_X]));
    y_is_z = vec_mask_bits(vec_is_zero(&difference));
    return x_is_zero & y_is_z;
}

VEC_FUNCTION void lanes_each(const pa_lanes_equation *equations, size_t count, uint8_t *holds) {
    const vec_state state = vec_begin();
    size_t at, lane;
    for (at = 0; at < count; at += VEC_LANES) {
        const pa_lanes_equation *group[VEC_LANES];
        unsigned good;
        for (lane = 0; lane < VEC_LANES; lane++) {
            /* A lane beyond the end repeats the last equation. */
            group[lane] = &equations[at + lane < count ? at + lane : count - 1];
        }
        good = lanes_each_group(group);
        for (lane = 0; lane < VEC_LANES && at + lane < count; lane++) {
            holds[at + lane] = (uint8_t)(good >> lane & 1);
        }
    }
    vec_end(state);
}

#endif
