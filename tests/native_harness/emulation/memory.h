/* Loads, stores, gathers and scatters. Pointers are taken as void: what a typed pointer promises
 * about alignment is not asked of an unaligned access. */
#ifndef PLUGINAPI_EMULATION_MEMORY_H
#define PLUGINAPI_EMULATION_MEMORY_H

#include "registers.h"

/* VMOVDQU64, VMOVDQA64: the aligned forms fault on an address that is not a multiple of the size;
 * UndefinedBehaviorSanitizer reports it here. */
#define EMU_MEMORY(prefix, bits)                                                               \
    EMU __m##bits##i prefix##loadu_si##bits(const void *from) {                                \
        __m##bits##i r;                                                                        \
        memcpy(&r, from, sizeof r);                                                            \
        return r;                                                                              \
    }                                                                                          \
    EMU __m##bits##i prefix##load_si##bits(const void *from) {                                 \
        return *(const __m##bits##i *)from;                                                    \
    }                                                                                          \
    EMU void prefix##storeu_si##bits(void *to, __m##bits##i x) { memcpy(to, &x, sizeof x); }   \
    EMU void prefix##store_si##bits(void *to, __m##bits##i x) { *(__m##bits##i *)to = x; }     \
    EMU __m##bits##i prefix##loadu_epi64(const void *from) {                                   \
        return prefix##loadu_si##bits(from);                                                   \
    }                                                                                          \
    EMU __m##bits##i prefix##load_epi64(const void *from) {                                    \
        return prefix##load_si##bits(from);                                                    \
    }                                                                                          \
    EMU void prefix##storeu_epi64(void *to, __m##bits##i x) { prefix##storeu_si##bits(to, x); } \
    EMU void prefix##store_epi64(void *to, __m##bits##i x) { prefix##store_si##bits(to, x); }
EMU_MEMORY(_mm_, 128)
EMU_MEMORY(_mm256_, 256)
EMU_MEMORY(_mm512_, 512)

/* The same under a mask: lanes whose bit is 0 are not accessed and cannot fault. */
#define EMU_MEMORY_MASKED(prefix, bits)                                                        \
    EMU __m##bits##i prefix##mask_loadu_epi64(__m##bits##i w, __mmask8 k, const void *from) {  \
        size_t i;                                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                                             \
            if ((k >> i) & 1) {                                                                \
                memcpy(&w.q[i], (const uint8_t *)from + 8 * i, 8);                             \
            }                                                                                  \
        }                                                                                      \
        return w;                                                                              \
    }                                                                                          \
    EMU __m##bits##i prefix##maskz_loadu_epi64(__mmask8 k, const void *from) {                 \
        __m##bits##i zero;                                                                     \
        memset(&zero, 0, sizeof zero);                                                         \
        return prefix##mask_loadu_epi64(zero, k, from);                                        \
    }                                                                                          \
    EMU void prefix##mask_storeu_epi64(void *to, __mmask8 k, __m##bits##i x) {                 \
        size_t i;                                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                                             \
            if ((k >> i) & 1) {                                                                \
                memcpy((uint8_t *)to + 8 * i, &x.q[i], 8);                                     \
            }                                                                                  \
        }                                                                                      \
    }
EMU_MEMORY_MASKED(_mm_, 128)
EMU_MEMORY_MASKED(_mm256_, 256)
EMU_MEMORY_MASKED(_mm512_, 512)

/* VPGATHERQQ, VPSCATTERQQ: at the base plus the signed index times the scale, in bytes. Lanes of a
 * scatter that meet at one address are written from the lowest up, so that the highest stays. */
EMU void *emu_at(const void *base, uint64_t index, int scale) {
    return (void *)((uintptr_t)base + (uintptr_t)(index * (uint64_t)(unsigned)scale));
}
#define EMU_GATHER(bits, name)                                                                 \
    EMU __m##bits##i name(__m##bits##i w, __mmask8 k, __m##bits##i index, const void *base,    \
                          int scale) {                                                         \
        size_t i;                                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                                             \
            if ((k >> i) & 1) {                                                                \
                memcpy(&w.q[i], emu_at(base, index.q[i], scale), 8);                           \
            }                                                                                  \
        }                                                                                      \
        return w;                                                                              \
    }
EMU_GATHER(512, _mm512_mask_i64gather_epi64)
EMU_GATHER(256, _mm256_mmask_i64gather_epi64)
EMU __m512i _mm512_i64gather_epi64(__m512i index, const void *base, int scale) {
    return _mm512_mask_i64gather_epi64(index, 0xff, index, base, scale);
}
EMU __m256i _mm256_i64gather_epi64(const void *base, __m256i index, int scale) {
    return _mm256_mmask_i64gather_epi64(index, 0x0f, index, base, scale);
}

#define EMU_SCATTER(prefix, bits)                                                              \
    EMU void prefix##mask_i64scatter_epi64(void *base, __mmask8 k, __m##bits##i index,         \
                                           __m##bits##i x, int scale) {                        \
        size_t i;                                                                              \
        for (i = 0; i < EMU_COUNT(bits, q); i++) {                                             \
            if ((k >> i) & 1) {                                                                \
                memcpy(emu_at(base, index.q[i], scale), &x.q[i], 8);                           \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
    EMU void prefix##i64scatter_epi64(void *base, __m##bits##i index, __m##bits##i x,          \
                                      int scale) {                                             \
        prefix##mask_i64scatter_epi64(base, 0xff, index, x, scale);                            \
    }
EMU_SCATTER(_mm256_, 256)
EMU_SCATTER(_mm512_, 512)

/* MOVQ: the low half; a load clears the upper one. */
EMU __m128i _mm_loadl_epi64(const void *from) {
    __m128i r = {{0, 0}};
    memcpy(&r.q[0], from, 8);
    return r;
}
EMU void _mm_storel_epi64(void *to, __m128i x) { memcpy(to, &x.q[0], 8); }

/* PREFETCHh: a hint; never faults. */
#define _MM_HINT_T0 3
#define _MM_HINT_T1 2
#define _MM_HINT_T2 1
#define _MM_HINT_NTA 0
EMU void _mm_prefetch(const void *at, int hint) {
    (void)at;
    (void)hint;
}

#endif
