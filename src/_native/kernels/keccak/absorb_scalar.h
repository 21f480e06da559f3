/* The body of a kernel for one stream in general registers, shared by the files that compile it
 * for different processors. They include this inside of the function, after lane_t and the
 * operations of round.h. */
#ifndef PLUGINAPI_KECCAK_ABSORB_SCALAR_H
#define PLUGINAPI_KECCAK_ABSORB_SCALAR_H

#include <stdint.h>

typedef uint64_t lane_t;

#define XOR(a, b) ((a) ^ (b))
#define ROL(a, n) (((a) << (n)) | ((a) >> (64 - (n))))
#define CHI(a, b, c) ((a) ^ (~(b) & (c)))
#define BROADCAST(x) (x)

#include "round.h"

/* Eight bytes in the order of FIPS 202, whatever the machine's; compilers make one load of it. */
#define LOAD_LANE(p)                                                                    \
    ((uint64_t)(p)[0] | (uint64_t)(p)[1] << 8 | (uint64_t)(p)[2] << 16 |                \
     (uint64_t)(p)[3] << 24 | (uint64_t)(p)[4] << 32 | (uint64_t)(p)[5] << 40 |         \
     (uint64_t)(p)[6] << 48 | (uint64_t)(p)[7] << 56)

#define DECLARE(i) lane_t A##i = state[i], E##i;
#define STORE(i) state[i] = A##i;
#define ABSORB(i) A##i ^= LOAD_LANE(data + 8 * (i));

#define PA_KECCAK_ABSORB_SCALAR_BODY                                                       \
    PA_KECCAK_EACH_LANE(DECLARE)                                                           \
    for (; blocks > 0; blocks--, data += PA_SHA3_512_RATE) {                               \
        ABSORB(0) ABSORB(1) ABSORB(2) ABSORB(3) ABSORB(4) ABSORB(5) ABSORB(6) ABSORB(7)    \
        ABSORB(8)                                                                          \
        PA_KECCAK_PERMUTE();                                                               \
    }                                                                                      \
    PA_KECCAK_EACH_LANE(STORE)

#endif
