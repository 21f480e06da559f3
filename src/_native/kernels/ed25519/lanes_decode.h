/* Decode points (RFC 8032, section 5.1.3), one in each lane: a template like lanes_point.h.
 *
 * The encodings are canonical and not of small order; `pa_point_flaw` has seen to that. */
#ifndef PLUGINAPI_ED25519_LANES_DECODE_H
#define PLUGINAPI_ED25519_LANES_DECODE_H

/* out = a b and a^(2^times), compiled once. */
VEC_FUNCTION void vec_multiply(vec_fe *out, const vec_fe *a, const vec_fe *b) {
    *out = vec_mul(a, b);
}

VEC_FUNCTION void vec_power(vec_fe *out, const vec_fe *a, int times) {
    vec_fe power = *a;
    for (; times > 0; times--) {
        power = vec_sqr(&power);
    }
    *out = power;
}

/* out = a^((p - 5) / 8) = a^(2^252 - 3). A name says how many ones the exponent has in binary. */
VEC_FUNCTION void vec_pow22523(vec_fe *out, const vec_fe *a) {
    vec_fe a2, a9, t, five, ten, twenty, fifty, hundred;
    vec_power(&a2, a, 1);
    vec_power(&t, &a2, 2);
    vec_multiply(&a9, &t, a);
    vec_multiply(&t, &a9, &a2);
    vec_power(&t, &t, 1);
    vec_multiply(&five, &t, &a9); /* 2^5 - 1 = 2 * 11 + 9 */
    vec_power(&t, &five, 5);
    vec_multiply(&ten, &t, &five);
    vec_power(&t, &ten, 10);
    vec_multiply(&twenty, &t, &ten);
    vec_power(&t, &twenty, 20);
    vec_multiply(&t, &t, &twenty);
    vec_power(&t, &t, 10);
    vec_multiply(&fifty, &t, &ten);
    vec_power(&t, &fifty, 50);
    vec_multiply(&hundred, &t, &fifty);
    vec_power(&t, &hundred, 100);
    vec_multiply(&t, &t, &hundred);
    vec_power(&t, &t, 50);
    vec_multiply(&t, &t, &fifty);
    vec_power(&t, &t, 2);
    vec_multiply(out, &t, a);
}

/* Read 255 bits from each of four or eight encodings as limbs. */
VEC_INLINE vec_fe lanes_load_encoded(const uint8_t *const encoded[VEC_LANES], vec_int *sign) {
    uint64_t limbs[5][VEC_LANES];
    uint64_t signs[VEC_LANES];
    size_t lane;
    for (lane = 0; lane < VEC_LANES; lane++) {
        const uint64_t w[4] = {pa_load64(encoded[lane]), pa_load64(encoded[lane] + 8),
                               pa_load64(encoded[lane] + 16), pa_load64(encoded[lane] + 24)};
        limbs[0][lane] = w[0] & VEC_LIMB_MASK;
        limbs[1][lane] = (w[0] >> 51 | w[1] << 13) & VEC_LIMB_MASK;
        limbs[2][lane] = (w[1] >> 38 | w[2] << 26) & VEC_LIMB_MASK;
        limbs[3][lane] = (w[2] >> 25 | w[3] << 39) & VEC_LIMB_MASK;
        limbs[4][lane] = (w[3] >> 12) & VEC_LIMB_MASK;
        signs[lane] = w[3] >> 63;
    }
    *sign = vec_int_load(signs);
    return vec_load(limbs);
}

/* out = the niels form of (x, y). */
VEC_FUNCTION void lanes_niels_of(lanes_niels *out, const vec_fe *x, const vec_fe *y) {
    const vec_fe two_d = vec_2d();
    const vec_fe minus = vec_sub(y, x), plus = vec_add(y, x);
    vec_fe product;
    vec_multiply(&product, x, y);
    vec_multiply(&out->xy2d, &product, &two_d);
    out->y_minus_x = vec_tighten(&minus);
    out->y_plus_x = vec_tighten(&plus);
}

/* Decode one point in each lane; the result has a bit for each lane that is on the curve.
 *
 * x = (u / v)^((p + 3) / 8) = u v^3 (u v^7)^((p - 5) / 8) with u = y^2 - 1 and v = d y^2 + 1: a
 * root of u / v, or of -u / v, where it is one of any. */
VEC_FUNCTION unsigned lanes_decode_niels(lanes_niels *out,
                                         const uint8_t *const encoded[VEC_LANES]) {
    const vec_fe one = vec_one(), d = vec_d(), root = vec_root_of_minus_one();
    vec_int sign;
    const vec_fe y = lanes_load_encoded(encoded, &sign);
    vec_fe u, v, v3, x, t, difference, sum, turned, negative;
    vec_mask is_root, is_other;
    vec_power(&t, &y, 1);
    u = vec_sub(&t, &one);
    u = vec_tighten(&u);
    vec_multiply(&v, &t, &d);
    v = vec_add(&v, &one);
    v = vec_tighten(&v);
    vec_power(&t, &v, 1);
    vec_multiply(&v3, &t, &v);
    vec_power(&t, &v3, 1);
    vec_multiply(&t, &t, &v);
    vec_multiply(&t, &t, &u);
    vec_pow22523(&t, &t);
    vec_multiply(&x, &u, &v3);
    vec_multiply(&x, &x, &t);
    vec_power(&t, &x, 1);
    vec_multiply(&t, &t, &v);
    difference = vec_sub(&t, &u);
    sum = vec_add(&t, &u);
    is_root = vec_is_zero(&difference);
    is_other = vec_is_zero(&sum);
    vec_multiply(&turned, &x, &root);
    x = vec_select(is_other, &turned, &x);
    negative = vec_neg(&x);
    x = vec_select(vec_mask_xor(vec_mask_odd(vec_canonical(&x).v[0]), vec_mask_odd(sign)),
                   &negative, &x);
    lanes_niels_of(out, &x, &y);
    return vec_mask_bits(vec_mask_or(is_root, is_other));
}

/* Write a point of each lane to that lane's niels words. */
VEC_INLINE void lanes_store_niels(pa_lanes_niels *const out[VEC_LANES], const lanes_niels *in) {
    uint64_t words[15][VEC_LANES];
    size_t lane, i;
    vec_store_words(words, &in->y_minus_x);
    vec_store_words(words + 5, &in->y_plus_x);
    vec_store_words(words + 10, &in->xy2d);
    for (lane = 0; lane < VEC_LANES; lane++) {
        for (i = 0; i < 15; i++) {
            out[lane]->words[i] = words[i][lane];
        }
    }
}

VEC_FUNCTION void lanes_decode(const uint8_t *const *encoded, size_t count,
                               pa_lanes_niels *const *out, uint8_t *on_curve) {
    const vec_state state = vec_begin();
    size_t at, lane;
    for (at = 0; at < count; at += VEC_LANES) {
        const uint8_t *in[VEC_LANES];
        pa_lanes_niels *rows[VEC_LANES];
        pa_lanes_niels unused;
        lanes_niels points;
        unsigned good;
        for (lane = 0; lane < VEC_LANES; lane++) {
            /* A lane beyond the end repeats the last point. */
            in[lane] = encoded[at + lane < count ? at + lane : count - 1];
            rows[lane] = at + lane < count ? out[at + lane] : &unused;
        }
        good = lanes_decode_niels(&points, in);
        lanes_store_niels(rows, &points);
        for (lane = 0; lane < VEC_LANES && at + lane < count; lane++) {
            on_curve[at + lane] = (uint8_t)(good >> lane & 1);
        }
    }
    vec_end(state);
}

/* Make niels words of points whose affine coordinates are known. */
VEC_FUNCTION void lanes_import(const pa_point_affine *const *points, size_t count,
                               pa_lanes_niels *const *out) {
    const vec_state state = vec_begin();
    size_t at, lane, i;
    for (at = 0; at < count; at += VEC_LANES) {
        uint64_t xs[5][VEC_LANES], ys[5][VEC_LANES];
        pa_lanes_niels *rows[VEC_LANES];
        pa_lanes_niels unused;
        lanes_niels niels;
        vec_fe x, y;
        for (lane = 0; lane < VEC_LANES; lane++) {
            const pa_point_affine *const point = points[at + lane < count ? at + lane : count - 1];
            rows[lane] = at + lane < count ? out[at + lane] : &unused;
            for (i = 0; i < 5; i++) {
                xs[i][lane] = point->x.v[i];
                ys[i][lane] = point->y.v[i];
            }
        }
        x = vec_load(xs);
        y = vec_load(ys);
        lanes_niels_of(&niels, &x, &y);
        lanes_store_niels(rows, &niels);
    }
    vec_end(state);
}

#endif
