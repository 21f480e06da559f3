/* One round of Keccak-f[1600] (FIPS 202, section 3.2), written once for every register width.
 *
 * A file that includes this defines `lane_t` (a register that holds the same lane of one or more
 * states) and the operations
 *
 *     XOR(a, b)  ROL(a, n)  CHI(a, b, c) = a ^ (~b & c)  BROADCAST(x)
 *
 * and, where the processor has an exclusive or of three operands, XOR3(a, b, c) with
 * PA_KECCAK_HAS_XOR3 defined. Lane i of a state stands at x = i % 5, y = i / 5.
 *
 * A round reads the names A0..A24 and writes E0..E24; the next one goes the other way. The pi step
 * is then a choice of names and costs nothing. */
#ifndef PLUGINAPI_KECCAK_ROUND_H
#define PLUGINAPI_KECCAK_ROUND_H

#include <stdint.h>

#define PA_KECCAK_ROUNDS 24
#define PA_KECCAK_LANES 25

/* The constants of the iota step. */
static const uint64_t PA_KECCAK_IOTA[PA_KECCAK_ROUNDS] = {
    UINT64_C(0x0000000000000001), UINT64_C(0x0000000000008082), UINT64_C(0x800000000000808a),
    UINT64_C(0x8000000080008000), UINT64_C(0x000000000000808b), UINT64_C(0x0000000080000001),
    UINT64_C(0x8000000080008081), UINT64_C(0x8000000000008009), UINT64_C(0x000000000000008a),
    UINT64_C(0x0000000000000088), UINT64_C(0x0000000080008009), UINT64_C(0x000000008000000a),
    UINT64_C(0x000000008000808b), UINT64_C(0x800000000000008b), UINT64_C(0x8000000000008089),
    UINT64_C(0x8000000000008003), UINT64_C(0x8000000000008002), UINT64_C(0x8000000000000080),
    UINT64_C(0x000000000000800a), UINT64_C(0x800000008000000a), UINT64_C(0x8000000080008081),
    UINT64_C(0x8000000000008080), UINT64_C(0x0000000080000001), UINT64_C(0x8000000080008008),
};

/* theta. With XOR3 the two parities of a column are mixed into each lane in one operation; without
 * it their sum is made first. T is the column's right neighbour, rotated by one. */
#ifdef PA_KECCAK_HAS_XOR3
#define PA_KECCAK_PARITY(a, b, c, d, e) XOR3(XOR3(a, b, c), d, e)
#define PA_KECCAK_THETA_COLUMN(x, left, right) const lane_t T##x = ROL(P##right, 1);
#define PA_KECCAK_MIX(lane, x, left) XOR3(lane, P##left, T##x)
#else
#define PA_KECCAK_PARITY(a, b, c, d, e) XOR(XOR(XOR(a, b), XOR(c, d)), e)
#define PA_KECCAK_THETA_COLUMN(x, left, right) const lane_t T##x = XOR(P##left, ROL(P##right, 1));
#define PA_KECCAK_MIX(lane, x, left) XOR(lane, T##x)
#endif

/* rho, pi and chi for one row of the result: five lanes in, five out. */
#define PA_KECCAK_CHI_ROW(E, e0, e1, e2, e3, e4) \
    E##e0 = CHI(B0, B1, B2);                     \
    E##e1 = CHI(B1, B2, B3);                     \
    E##e2 = CHI(B2, B3, B4);                     \
    E##e3 = CHI(B3, B4, B0);                     \
    E##e4 = CHI(B4, B0, B1);

#define PA_KECCAK_ROUND(A, E, iota)                                        \
    do {                                                                   \
        const lane_t P0 = PA_KECCAK_PARITY(A##0, A##5, A##10, A##15, A##20); \
        const lane_t P1 = PA_KECCAK_PARITY(A##1, A##6, A##11, A##16, A##21); \
        const lane_t P2 = PA_KECCAK_PARITY(A##2, A##7, A##12, A##17, A##22); \
        const lane_t P3 = PA_KECCAK_PARITY(A##3, A##8, A##13, A##18, A##23); \
        const lane_t P4 = PA_KECCAK_PARITY(A##4, A##9, A##14, A##19, A##24); \
        lane_t B0, B1, B2, B3, B4;                                         \
        PA_KECCAK_THETA_COLUMN(0, 4, 1)                                    \
        PA_KECCAK_THETA_COLUMN(1, 0, 2)                                    \
        PA_KECCAK_THETA_COLUMN(2, 1, 3)                                    \
        PA_KECCAK_THETA_COLUMN(3, 2, 4)                                    \
        PA_KECCAK_THETA_COLUMN(4, 3, 0)                                    \
        B0 = PA_KECCAK_MIX(A##0, 0, 4);                                    \
        B1 = ROL(PA_KECCAK_MIX(A##6, 1, 0), 44);                           \
        B2 = ROL(PA_KECCAK_MIX(A##12, 2, 1), 43);                          \
        B3 = ROL(PA_KECCAK_MIX(A##18, 3, 2), 21);                          \
        B4 = ROL(PA_KECCAK_MIX(A##24, 4, 3), 14);                          \
        PA_KECCAK_CHI_ROW(E, 0, 1, 2, 3, 4)                                \
        E##0 = XOR(E##0, BROADCAST(iota));                                 \
        B0 = ROL(PA_KECCAK_MIX(A##3, 3, 2), 28);                           \
        B1 = ROL(PA_KECCAK_MIX(A##9, 4, 3), 20);                           \
        B2 = ROL(PA_KECCAK_MIX(A##10, 0, 4), 3);                           \
        B3 = ROL(PA_KECCAK_MIX(A##16, 1, 0), 45);                          \
        B4 = ROL(PA_KECCAK_MIX(A##22, 2, 1), 61);                          \
        PA_KECCAK_CHI_ROW(E, 5, 6, 7, 8, 9)                                \
        B0 = ROL(PA_KECCAK_MIX(A##1, 1, 0), 1);                            \
        B1 = ROL(PA_KECCAK_MIX(A##7, 2, 1), 6);                            \
        B2 = ROL(PA_KECCAK_MIX(A##13, 3, 2), 25);                          \
        B3 = ROL(PA_KECCAK_MIX(A##19, 4, 3), 8);                           \
        B4 = ROL(PA_KECCAK_MIX(A##20, 0, 4), 18);                          \
        PA_KECCAK_CHI_ROW(E, 10, 11, 12, 13, 14)                           \
        B0 = ROL(PA_KECCAK_MIX(A##4, 4, 3), 27);                           \
        B1 = ROL(PA_KECCAK_MIX(A##5, 0, 4), 36);                           \
        B2 = ROL(PA_KECCAK_MIX(A##11, 1, 0), 10);                          \
        B3 = ROL(PA_KECCAK_MIX(A##17, 2, 1), 15);                          \
        B4 = ROL(PA_KECCAK_MIX(A##23, 3, 2), 56);                          \
        PA_KECCAK_CHI_ROW(E, 15, 16, 17, 18, 19)                           \
        B0 = ROL(PA_KECCAK_MIX(A##2, 2, 1), 62);                           \
        B1 = ROL(PA_KECCAK_MIX(A##8, 3, 2), 55);                           \
        B2 = ROL(PA_KECCAK_MIX(A##14, 4, 3), 39);                          \
        B3 = ROL(PA_KECCAK_MIX(A##15, 0, 4), 41);                          \
        B4 = ROL(PA_KECCAK_MIX(A##21, 1, 0), 2);                           \
        PA_KECCAK_CHI_ROW(E, 20, 21, 22, 23, 24)                           \
    } while (0)

/* Keccak-f[1600] on A0..A24; E0..E24 are scratch. Two rounds a turn: unrolling further gains
 * nothing and leaves the instruction cache. */
#define PA_KECCAK_PERMUTE()                                 \
    do {                                                    \
        int round;                                          \
        for (round = 0; round < PA_KECCAK_ROUNDS; round += 2) { \
            PA_KECCAK_ROUND(A, E, PA_KECCAK_IOTA[round]);   \
            PA_KECCAK_ROUND(E, A, PA_KECCAK_IOTA[round + 1]); \
        }                                                   \
    } while (0)

/* The same for each of the 25 lanes: declarations, loads and stores. */
#define PA_KECCAK_EACH_LANE(DO)                                                          \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12)     \
    DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23) DO(24)

#endif
