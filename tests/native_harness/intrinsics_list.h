/* Calls of every emulated intrinsic. A file that includes this defines
 *
 *     REGISTER(level, bits, id, call)    the result is a register
 *     NUMBER(level, bits, id, call)      the result is a number
 *
 * In a call a, b and c are registers of that many bits, `low` is the low 128 bits of b, k is a
 * mask, p are 64 readable bytes and w are 64 writable ones, both of them aligned to 64. The id is
 * different for each. Levels: AVX2, AVX512 and IFMA. */

/* AVX2: 128 and 256 bits. */
#define VEX_2(name)                                                                  \
    REGISTER(AVX2, 128, vex_##name##_128, _mm_##name(a, b))                          \
    REGISTER(AVX2, 256, vex_##name##_256, _mm256_##name(a, b))
#define VEX_1N(name, n)                                                              \
    REGISTER(AVX2, 128, vex_##name##_128_##n, _mm_##name(a, n))                      \
    REGISTER(AVX2, 256, vex_##name##_256_##n, _mm256_##name(a, n))

/* AVX-512: plain, merging and zeroing, in one width or in all. */
#define EVEX_1(bits, prefix, name)                                                             \
    REGISTER(AVX512, bits, plain##prefix##name, prefix##name(a))                               \
    REGISTER(AVX512, bits, mask##prefix##name, prefix##mask_##name(c, k, a))                   \
    REGISTER(AVX512, bits, maskz##prefix##name, prefix##maskz_##name(k, a))
#define EVEX_1N(bits, prefix, name, n)                                                         \
    REGISTER(AVX512, bits, plain##prefix##name##n, prefix##name(a, n))                         \
    REGISTER(AVX512, bits, mask##prefix##name##n, prefix##mask_##name(c, k, a, n))             \
    REGISTER(AVX512, bits, maskz##prefix##name##n, prefix##maskz_##name(k, a, n))
#define EVEX_2(bits, prefix, name)                                                             \
    REGISTER(AVX512, bits, plain##prefix##name, prefix##name(a, b))                            \
    EVEX_2_MASKED(bits, prefix, name)
#define EVEX_2_MASKED(bits, prefix, name)                                                      \
    REGISTER(AVX512, bits, mask##prefix##name, prefix##mask_##name(c, k, a, b))                \
    REGISTER(AVX512, bits, maskz##prefix##name, prefix##maskz_##name(k, a, b))
#define EVEX_2N(bits, prefix, name, n)                                                         \
    REGISTER(AVX512, bits, plain##prefix##name##n, prefix##name(a, b, n))                      \
    REGISTER(AVX512, bits, mask##prefix##name##n, prefix##mask_##name(c, k, a, b, n))          \
    REGISTER(AVX512, bits, maskz##prefix##name##n, prefix##maskz_##name(k, a, b, n))
#define EVEX_3(level, bits, prefix, name)                                                      \
    REGISTER(level, bits, plain##prefix##name, prefix##name(a, b, c))                          \
    REGISTER(level, bits, mask##prefix##name, prefix##mask_##name(a, k, b, c))                 \
    REGISTER(level, bits, maskz##prefix##name, prefix##maskz_##name(k, a, b, c))
#define EVEX_3N(bits, prefix, name, n)                                                         \
    REGISTER(AVX512, bits, plain##prefix##name##n, prefix##name(a, b, c, n))                   \
    REGISTER(AVX512, bits, mask##prefix##name##n, prefix##mask_##name(a, k, b, c, n))          \
    REGISTER(AVX512, bits, maskz##prefix##name##n, prefix##maskz_##name(k, a, b, c, n))
#define TEST(bits, prefix, name)                                                               \
    NUMBER(AVX512, bits, plain##prefix##name, prefix##name(a, b))                              \
    NUMBER(AVX512, bits, mask##prefix##name, prefix##mask_##name(k, a, b))
#define TESTN(bits, prefix, name, n)                                                           \
    NUMBER(AVX512, bits, plain##prefix##name##n, prefix##name(a, b, n))                        \
    NUMBER(AVX512, bits, mask##prefix##name##n, prefix##mask_##name(k, a, b, n))
#define EACH_1N(name, n)                                                             \
    EVEX_1N(128, _mm_, name, n) EVEX_1N(256, _mm256_, name, n) EVEX_1N(512, _mm512_, name, n)
#define EACH_2(name) EVEX_2(128, _mm_, name) EVEX_2(256, _mm256_, name) EVEX_2(512, _mm512_, name)
#define EACH_2N(name, n)                                                             \
    EVEX_2N(128, _mm_, name, n) EVEX_2N(256, _mm256_, name, n) EVEX_2N(512, _mm512_, name, n)
#define EACH_3(level, name)                                                          \
    EVEX_3(level, 128, _mm_, name)                                                   \
    EVEX_3(level, 256, _mm256_, name)                                                \
    EVEX_3(level, 512, _mm512_, name)
#define EACH_3N(name, n)                                                             \
    EVEX_3N(128, _mm_, name, n) EVEX_3N(256, _mm256_, name, n) EVEX_3N(512, _mm512_, name, n)
#define EACH_TEST(name) TEST(128, _mm_, name) TEST(256, _mm256_, name) TEST(512, _mm512_, name)
#define EACH_TESTN(name, n)                                                          \
    TESTN(128, _mm_, name, n) TESTN(256, _mm256_, name, n) TESTN(512, _mm512_, name, n)

/* Arithmetic */
VEX_2(add_epi64) VEX_2(add_epi32) VEX_2(sub_epi64) VEX_2(sub_epi32)
VEX_2(mul_epu32) VEX_2(mul_epi32) VEX_2(mullo_epi32) VEX_2(min_epu32) VEX_2(max_epu32)
EACH_2(add_epi64) EACH_2(add_epi32) EACH_2(sub_epi64) EACH_2(sub_epi32)
EACH_2(mul_epu32) EACH_2(mul_epi32) EACH_2(mullo_epi64) EACH_2(mullo_epi32)
EACH_2(min_epu64) EACH_2(max_epu64) EACH_2(min_epu32) EACH_2(max_epu32)
EACH_3(IFMA, madd52lo_epu64) EACH_3(IFMA, madd52hi_epu64)

/* Logic */
#define LOGIC(name)                                                                  \
    REGISTER(AVX2, 128, vex_##name##_128, _mm_##name##_si128(a, b))                  \
    REGISTER(AVX2, 256, vex_##name##_256, _mm256_##name##_si256(a, b))               \
    REGISTER(AVX512, 512, name##_512, _mm512_##name##_si512(a, b))                   \
    EVEX_2(512, _mm512_, name##_epi64)                                               \
    EVEX_2(512, _mm512_, name##_epi32)                                               \
    EVEX_2_MASKED(256, _mm256_, name##_epi64)                                        \
    EVEX_2_MASKED(128, _mm_, name##_epi64)                                           \
    EVEX_2_MASKED(256, _mm256_, name##_epi32)                                        \
    EVEX_2_MASKED(128, _mm_, name##_epi32)
LOGIC(and) LOGIC(andnot) LOGIC(or) LOGIC(xor)
#define TERNARY(n) EACH_3N(ternarylogic_epi64, n) EACH_3N(ternarylogic_epi32, n)
TERNARY(0x01) TERNARY(0x02) TERNARY(0x04) TERNARY(0x08) TERNARY(0x10) TERNARY(0x20)
TERNARY(0x40) TERNARY(0x80) TERNARY(0x00) TERNARY(0xff) TERNARY(0x96) TERNARY(0xd2)
TERNARY(0xca) TERNARY(0xe8)

/* Shifts and rotations. 65 and not 64: Bochs 2.7, unlike processors, shifts right by 64 as by 0 in
 * VPSRLQ and VPSRAQ. */
VEX_1N(slli_epi64, 0) VEX_1N(slli_epi64, 1) VEX_1N(slli_epi64, 63) VEX_1N(slli_epi64, 65)
VEX_1N(srli_epi64, 0) VEX_1N(srli_epi64, 1) VEX_1N(srli_epi64, 63) VEX_1N(srli_epi64, 65)
VEX_1N(slli_epi32, 0) VEX_1N(slli_epi32, 31) VEX_1N(slli_epi32, 32)
VEX_1N(srli_epi32, 0) VEX_1N(srli_epi32, 31) VEX_1N(srli_epi32, 32)
VEX_2(sllv_epi64) VEX_2(srlv_epi64)
EACH_1N(rol_epi64, 0) EACH_1N(rol_epi64, 1) EACH_1N(rol_epi64, 44) EACH_1N(rol_epi64, 63)
EACH_1N(ror_epi64, 0) EACH_1N(ror_epi64, 1) EACH_1N(ror_epi64, 44) EACH_1N(ror_epi64, 63)
EACH_1N(slli_epi64, 0) EACH_1N(slli_epi64, 52) EACH_1N(slli_epi64, 63) EACH_1N(slli_epi64, 65)
EACH_1N(srli_epi64, 0) EACH_1N(srli_epi64, 52) EACH_1N(srli_epi64, 63) EACH_1N(srli_epi64, 65)
EACH_1N(srai_epi64, 0) EACH_1N(srai_epi64, 52) EACH_1N(srai_epi64, 63) EACH_1N(srai_epi64, 65)
EACH_1N(slli_epi32, 1) EACH_1N(slli_epi32, 32) EACH_1N(srli_epi32, 1) EACH_1N(srli_epi32, 32)
EACH_2(rolv_epi64) EACH_2(rorv_epi64) EACH_2(sllv_epi64) EACH_2(srlv_epi64) EACH_2(srav_epi64)

/* Comparisons */
VEX_2(cmpeq_epi64) VEX_2(cmpeq_epi32) VEX_2(cmpgt_epi64) VEX_2(cmpgt_epi32)
EACH_TEST(cmpeq_epu64_mask) EACH_TEST(cmpneq_epu64_mask) EACH_TEST(cmplt_epu64_mask)
EACH_TEST(cmple_epu64_mask) EACH_TEST(cmpgt_epu64_mask) EACH_TEST(cmpge_epu64_mask)
EACH_TEST(cmpeq_epi64_mask) EACH_TEST(cmpneq_epi64_mask) EACH_TEST(cmplt_epi64_mask)
EACH_TEST(cmple_epi64_mask) EACH_TEST(cmpgt_epi64_mask) EACH_TEST(cmpge_epi64_mask)
EACH_TEST(test_epi64_mask) EACH_TEST(testn_epi64_mask)
#define PREDICATE(n) EACH_TESTN(cmp_epu64_mask, n) EACH_TESTN(cmp_epi64_mask, n)
PREDICATE(0) PREDICATE(1) PREDICATE(2) PREDICATE(4) PREDICATE(5) PREDICATE(6)
NUMBER(AVX2, 256, testz_256, _mm256_testz_si256(a, b))

/* Shuffles */
VEX_2(unpacklo_epi64) VEX_2(unpackhi_epi64) VEX_2(unpacklo_epi32) VEX_2(unpackhi_epi32)
VEX_2(shuffle_epi8) VEX_1N(shuffle_epi32, 0x1b) VEX_1N(shuffle_epi32, 0xb1)
EACH_2(unpacklo_epi64) EACH_2(unpackhi_epi64) EACH_2(unpacklo_epi32) EACH_2(unpackhi_epi32)
REGISTER(AVX512, 512, shuffle_epi8_512, _mm512_shuffle_epi8(a, b))
EVEX_1N(256, _mm256_, permutex_epi64, 0x1b) EVEX_1N(512, _mm512_, permutex_epi64, 0x1b)
EVEX_1N(256, _mm256_, permutex_epi64, 0xb1) EVEX_1N(512, _mm512_, permutex_epi64, 0xb1)
EVEX_2N(256, _mm256_, shuffle_i64x2, 0) EVEX_2N(256, _mm256_, shuffle_i64x2, 1)
EVEX_2N(256, _mm256_, shuffle_i64x2, 2) EVEX_2N(256, _mm256_, shuffle_i64x2, 3)
EVEX_2N(512, _mm512_, shuffle_i64x2, 0x88) EVEX_2N(512, _mm512_, shuffle_i64x2, 0xdd)
EVEX_2N(512, _mm512_, shuffle_i64x2, 0x1b) EVEX_2N(512, _mm512_, shuffle_i64x2, 0xe4)
EVEX_2(256, _mm256_, permutexvar_epi64) EVEX_2(512, _mm512_, permutexvar_epi64)
EACH_3(AVX512, permutex2var_epi64)
EACH_2N(alignr_epi64, 0) EACH_2N(alignr_epi64, 1) EVEX_2N(256, _mm256_, alignr_epi64, 3)
EVEX_2N(512, _mm512_, alignr_epi64, 3) EVEX_2N(512, _mm512_, alignr_epi64, 7)
REGISTER(AVX2, 256, permute4x64_1b, _mm256_permute4x64_epi64(a, 0x1b))
REGISTER(AVX2, 256, permute4x64_d8, _mm256_permute4x64_epi64(a, 0xd8))
REGISTER(AVX2, 256, permutevar8x32, _mm256_permutevar8x32_epi32(a, b))
REGISTER(AVX2, 256, permute2x128_20, _mm256_permute2x128_si256(a, b, 0x20))
REGISTER(AVX2, 256, permute2x128_31, _mm256_permute2x128_si256(a, b, 0x31))
REGISTER(AVX2, 256, permute2x128_08, _mm256_permute2x128_si256(a, b, 0x08))
REGISTER(AVX2, 256, permute2x128_81, _mm256_permute2x128_si256(a, b, 0x81))
REGISTER(AVX2, 128, blend_epi32_128, _mm_blend_epi32(a, b, 0x6))
REGISTER(AVX2, 256, blend_epi32_256, _mm256_blend_epi32(a, b, 0x6a))
#define BLEND(bits, prefix)                                                          \
    REGISTER(AVX512, bits, mask_blend_##bits, prefix##mask_blend_epi64(k, a, b))     \
    REGISTER(AVX512, bits, mask_mov_##bits, prefix##mask_mov_epi64(a, k, b))         \
    REGISTER(AVX512, bits, maskz_mov_##bits, prefix##maskz_mov_epi64(k, a))
BLEND(128, _mm_) BLEND(256, _mm256_) BLEND(512, _mm512_)

/* Memory */
#define TYPED(bits) (const __m##bits##i *)(const void *)
#define MEMORY(bits, prefix)                                                                     \
    REGISTER(AVX512, bits, loadu_epi64_##bits, prefix##loadu_epi64(p + 3))                       \
    REGISTER(AVX512, bits, load_epi64_##bits, prefix##load_epi64(p))                             \
    REGISTER(AVX512, bits, mask_loadu_##bits, prefix##mask_loadu_epi64(a, k, p + 3))             \
    REGISTER(AVX512, bits, maskz_loadu_##bits, prefix##maskz_loadu_epi64(k, p + 3))              \
    NUMBER(AVX512, bits, storeu_epi64_##bits, (prefix##storeu_epi64(w + 3, a), 0))               \
    NUMBER(AVX512, bits, store_epi64_##bits, (prefix##store_epi64(w, a), 0))                     \
    NUMBER(AVX512, bits, mask_storeu_##bits, (prefix##mask_storeu_epi64(w + 3, k, a), 0))
MEMORY(128, _mm_) MEMORY(256, _mm256_) MEMORY(512, _mm512_)
REGISTER(AVX2, 128, loadu_128, _mm_loadu_si128(TYPED(128)(p + 3)))
REGISTER(AVX2, 128, load_128, _mm_load_si128(TYPED(128)p))
REGISTER(AVX2, 128, loadl, _mm_loadl_epi64(TYPED(128)(p + 3)))
REGISTER(AVX2, 256, loadu_256, _mm256_loadu_si256(TYPED(256)(p + 3)))
REGISTER(AVX2, 256, load_256, _mm256_load_si256(TYPED(256)p))
REGISTER(AVX512, 512, loadu_512, _mm512_loadu_si512(p + 3))
REGISTER(AVX512, 512, load_512, _mm512_load_si512(p))
NUMBER(AVX2, 128, storeu_128, (_mm_storeu_si128((__m128i *)(void *)(w + 3), a), 0))
NUMBER(AVX2, 128, store_128, (_mm_store_si128((__m128i *)(void *)w, a), 0))
NUMBER(AVX2, 128, storel, (_mm_storel_epi64((__m128i *)(void *)(w + 3), a), 0))
NUMBER(AVX2, 256, storeu_256, (_mm256_storeu_si256((__m256i *)(void *)(w + 3), a), 0))
NUMBER(AVX2, 256, store_256, (_mm256_store_si256((__m256i *)(void *)w, a), 0))
NUMBER(AVX512, 512, storeu_512, (_mm512_storeu_si512(w + 3, a), 0))
NUMBER(AVX512, 512, store_512, (_mm512_store_si512(w, a), 0))
/* Indices 0 to 7 in any order, some of them twice: the low bits of the lanes. */
#define INDEX(bits, prefix, and, set1) prefix##and(b, prefix##set1(7))
#define INDEX512 INDEX(512, _mm512_, and_si512, set1_epi64)
#define INDEX256 INDEX(256, _mm256_, and_si256, set1_epi64x)
REGISTER(AVX512, 512, gather_512, _mm512_i64gather_epi64(INDEX512, p, 8))
REGISTER(AVX512, 512, mask_gather_512, _mm512_mask_i64gather_epi64(a, k, INDEX512, p, 4))
REGISTER(AVX2, 256, gather_256,
         _mm256_i64gather_epi64((const long long *)(const void *)p, INDEX256, 8))
REGISTER(AVX512, 256, mask_gather_256, _mm256_mmask_i64gather_epi64(a, k, INDEX256, p, 1))
NUMBER(AVX512, 512, scatter_512, (_mm512_i64scatter_epi64(w, INDEX512, a, 8), 0))
NUMBER(AVX512, 512, mask_scatter_512, (_mm512_mask_i64scatter_epi64(w, k, INDEX512, a, 4), 0))
NUMBER(AVX512, 256, scatter_256, (_mm256_i64scatter_epi64(w, INDEX256, a, 8), 0))
NUMBER(AVX512, 256, mask_scatter_256, (_mm256_mask_i64scatter_epi64(w, k, INDEX256, a, 2), 0))

/* Constants */
#define WORD ((long long)_mm_cvtsi128_si64(low))
REGISTER(AVX2, 128, setzero_128, _mm_setzero_si128())
REGISTER(AVX2, 256, setzero_256, _mm256_setzero_si256())
REGISTER(AVX512, 512, setzero_512, _mm512_setzero_si512())
REGISTER(AVX2, 128, set1_64_128, _mm_set1_epi64x(WORD))
REGISTER(AVX2, 256, set1_64_256, _mm256_set1_epi64x(WORD))
REGISTER(AVX512, 512, set1_64_512, _mm512_set1_epi64(WORD))
REGISTER(AVX2, 128, set1_32_128, _mm_set1_epi32((int)WORD))
REGISTER(AVX2, 256, set1_32_256, _mm256_set1_epi32((int)WORD))
REGISTER(AVX512, 512, set1_32_512, _mm512_set1_epi32((int)WORD))
REGISTER(AVX2, 128, set1_8_128, _mm_set1_epi8((char)WORD))
REGISTER(AVX2, 256, set1_8_256, _mm256_set1_epi8((char)WORD))
REGISTER(AVX512, 512, set1_8_512, _mm512_set1_epi8((char)WORD))
REGISTER(AVX512, 512, mask_set1_512, _mm512_mask_set1_epi64(a, k, WORD))
REGISTER(AVX512, 512, maskz_set1_512, _mm512_maskz_set1_epi64(k, WORD))
REGISTER(AVX512, 256, mask_set1_256, _mm256_mask_set1_epi64(a, k, WORD))
REGISTER(AVX512, 256, maskz_set1_256, _mm256_maskz_set1_epi64(k, WORD))
REGISTER(AVX512, 128, mask_set1_128, _mm_mask_set1_epi64(a, k, WORD))
REGISTER(AVX512, 128, maskz_set1_128, _mm_maskz_set1_epi64(k, WORD))
REGISTER(AVX2, 128, broadcastq_128, _mm_broadcastq_epi64(low))
REGISTER(AVX2, 256, broadcastq_256, _mm256_broadcastq_epi64(low))
REGISTER(AVX512, 512, broadcastq_512, _mm512_broadcastq_epi64(low))
REGISTER(AVX2, 128, set_64_128, _mm_set_epi64x(1, -2))
REGISTER(AVX2, 256, set_64_256, _mm256_set_epi64x(1, -2, WORD, 4))
REGISTER(AVX2, 256, setr_64_256, _mm256_setr_epi64x(1, -2, WORD, 4))
REGISTER(AVX512, 512, set_64_512, _mm512_set_epi64(1, -2, WORD, 4, 5, 6, 7, 8))
REGISTER(AVX512, 512, setr_64_512, _mm512_setr_epi64(1, -2, WORD, 4, 5, 6, 7, 8))
REGISTER(AVX2, 128, set_32_128, _mm_set_epi32(1, -2, 3, 4))
REGISTER(AVX2, 128, setr_32_128, _mm_setr_epi32(1, -2, 3, 4))
REGISTER(AVX2, 256, set_32_256, _mm256_set_epi32(1, -2, 3, 4, 5, 6, 7, 8))
REGISTER(AVX2, 256, setr_32_256, _mm256_setr_epi32(1, -2, 3, 4, 5, 6, 7, 8))
REGISTER(AVX2, 128, set_8, _mm_set_epi8(1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
REGISTER(AVX2, 128, setr_8, _mm_setr_epi8(1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))

/* Parts */
REGISTER(AVX2, 256, zext_128_256, _mm256_zextsi128_si256(low))
REGISTER(AVX512, 512, zext_128_512, _mm512_zextsi128_si512(low))
REGISTER(AVX512, 512, zext_256_512, _mm512_zextsi256_si512(_mm512_castsi512_si256(b)))
REGISTER(AVX2, 256, cast_128_256, _mm256_inserti128_si256(_mm256_castsi128_si256(low), low, 1))
REGISTER(AVX512, 512, cast_256_512,
         _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_castsi512_si256(b)),
                            _mm512_extracti64x4_epi64(a, 1), 1))
NUMBER(AVX512, 512, cast_512_128, _mm_cvtsi128_si64(_mm512_castsi512_si128(a)))
NUMBER(AVX512, 512, cast_128_512, _mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_castsi128_si512(low))))
NUMBER(AVX2, 256, cast_256_128, _mm_cvtsi128_si64(_mm256_castsi256_si128(a)))
REGISTER(AVX2, 256, insert_128_0, _mm256_inserti128_si256(a, low, 0))
REGISTER(AVX2, 256, insert_128_1, _mm256_inserti128_si256(a, low, 1))
REGISTER(AVX2, 256, extract_128, _mm256_broadcastsi128_si256(_mm256_extracti128_si256(a, 1)))
REGISTER(AVX2, 256, set_m128i, _mm256_set_m128i(low, _mm256_castsi256_si128(a)))
REGISTER(AVX512, 512, insert_64x2, _mm512_inserti64x2(a, low, 3))
REGISTER(AVX512, 512, extract_64x2, _mm512_inserti64x2(a, _mm512_extracti64x2_epi64(b, 2), 1))
REGISTER(AVX512, 512, insert_64x4, _mm512_inserti64x4(a, _mm512_extracti64x4_epi64(b, 1), 0))
REGISTER(AVX512, 512, broadcast_64x4, _mm512_broadcast_i64x4(_mm512_castsi512_si256(a)))
REGISTER(AVX2, 128, cvtsi64, _mm_cvtsi64_si128(WORD))
NUMBER(AVX2, 128, extract_64, _mm_extract_epi64(a, 1))
NUMBER(AVX2, 256, extract_256, _mm256_extract_epi64(a, 3))
REGISTER(AVX2, 128, insert_64, _mm_insert_epi64(a, WORD, 1))
REGISTER(AVX2, 256, insert_256, _mm256_insert_epi64(a, WORD, 2))
REGISTER(AVX512, 512, cvt_64_32, _mm512_zextsi256_si512(_mm512_cvtepi64_epi32(a)))
REGISTER(AVX512, 512, cvt_32_64, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(a)))
REGISTER(AVX2, 256, cvt_32_64_256, _mm256_cvtepu32_epi64(low))

/* Reductions, masks, general registers */
NUMBER(AVX512, 512, reduce_add, _mm512_reduce_add_epi64(a))
NUMBER(AVX512, 512, reduce_and, _mm512_reduce_and_epi64(_mm512_or_si512(a, b)))
NUMBER(AVX512, 512, reduce_or, _mm512_reduce_or_epi64(a))
NUMBER(AVX512, 128, movepi64_128, _mm_movepi64_mask(a))
NUMBER(AVX512, 256, movepi64_256, _mm256_movepi64_mask(a))
NUMBER(AVX512, 512, movepi64_512, _mm512_movepi64_mask(a))
REGISTER(AVX512, 128, movm_128, _mm_movm_epi64(k))
REGISTER(AVX512, 256, movm_256, _mm256_movm_epi64(k))
REGISTER(AVX512, 512, movm_512, _mm512_movm_epi64(k))
NUMBER(AVX2, 128, movemask_128, _mm_movemask_epi8(a))
NUMBER(AVX2, 256, movemask_256, _mm256_movemask_epi8(a))
NUMBER(AVX512, 128, kand, _kand_mask8(k, (__mmask8)WORD))
NUMBER(AVX512, 128, kor, _kor_mask8(k, (__mmask8)WORD))
NUMBER(AVX512, 128, kxor, _kxor_mask8(k, (__mmask8)WORD))
NUMBER(AVX512, 128, knot, _knot_mask8(k))
NUMBER(AVX512, 128, kortestz, _kortestz_mask8_u8(k, (__mmask8)(WORD & 1)))
NUMBER(AVX512, 128, cvtmask, _cvtmask8_u32(_cvtu32_mask8((unsigned)WORD)))
#define OTHER ((unsigned long long)_mm_cvtsi128_si64(_mm_unpackhi_epi64(low, low)))
#define OUT ((unsigned long long *)(void *)w)
NUMBER(AVX2, 128, mulx, _mulx_u64((unsigned long long)WORD, OTHER, OUT))
NUMBER(AVX2, 128, addcarry, _addcarry_u64((unsigned char)(k & 1), (unsigned long long)WORD, OTHER, OUT))
NUMBER(AVX2, 128, addcarry_2, _addcarry_u64(k, (unsigned long long)WORD, OTHER, OUT))
NUMBER(AVX2, 128, subborrow,
       _subborrow_u64((unsigned char)(k & 1), (unsigned long long)WORD, OTHER, OUT))

/* Doubles: any sign, and exponents that keep a product finite; their bits are the result. */
#define DOUBLES(x)                                                                              \
    _mm256_castsi256_pd(                                                                        \
        _mm256_or_si256(_mm256_and_si256(x, _mm256_set1_epi64x((long long)0x83ffffffffffffff)), \
                        _mm256_set1_epi64x(0x4000000000000000)))
#define DOUBLE(id, call) REGISTER(AVX2, 256, double_##id, _mm256_castpd_si256(call))
DOUBLE(add, _mm256_add_pd(DOUBLES(a), DOUBLES(b)))
DOUBLE(sub, _mm256_sub_pd(DOUBLES(a), DOUBLES(b)))
DOUBLE(fmadd, _mm256_fmadd_pd(DOUBLES(a), DOUBLES(b), DOUBLES(c)))
DOUBLE(setzero, _mm256_setzero_pd())
DOUBLE(set1, _mm256_set1_pd(-0x1.8p52))
DOUBLE(setr, _mm256_setr_pd(1, -2, 3, -4))
DOUBLE(blendv, _mm256_blendv_pd(DOUBLES(a), DOUBLES(b), DOUBLES(c)))
NUMBER(AVX2, 256, double_movemask, _mm256_movemask_pd(DOUBLES(a)))
DOUBLE(unpacklo, _mm256_unpacklo_pd(DOUBLES(a), DOUBLES(b)))
DOUBLE(unpackhi, _mm256_unpackhi_pd(DOUBLES(a), DOUBLES(b)))
DOUBLE(permute2f128_20, _mm256_permute2f128_pd(DOUBLES(a), DOUBLES(b), 0x20))
DOUBLE(permute2f128_31, _mm256_permute2f128_pd(DOUBLES(a), DOUBLES(b), 0x31))
DOUBLE(permute2f128_83, _mm256_permute2f128_pd(DOUBLES(a), DOUBLES(b), 0x83))
DOUBLE(permute_0, _mm256_permute4x64_pd(DOUBLES(a), 0x00))
DOUBLE(permute_b1, _mm256_permute4x64_pd(DOUBLES(a), 0xb1))
DOUBLE(permute_27, _mm256_permute4x64_pd(DOUBLES(a), 0x27))
DOUBLE(loadu, _mm256_loadu_pd((const double *)(const void *)p))
DOUBLE(load, _mm256_load_pd((const double *)(const void *)p))
DOUBLE(storeu, (_mm256_storeu_pd((double *)(void *)w, DOUBLES(a)), _mm256_loadu_pd((const double *)(const void *)w)))
DOUBLE(store, (_mm256_store_pd((double *)(void *)w, DOUBLES(a)), _mm256_load_pd((const double *)(const void *)w)))
