/* Run a libFuzzer target without libFuzzer: seeded random inputs, mutated from sound ones.
 *
 * Usage: driver ROUNDS */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 1;

static uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

int main(int argc, char **argv) {
    static uint8_t input[2048];
    const unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    unsigned long round;
    for (round = 0; round < rounds; round++) {
        const size_t size = next() % sizeof input;
        size_t i;
        for (i = 0; i < size; i++) {
            /* Small numbers are what lengths, kinds and flags are made of. */
            input[i] = (uint8_t)(next() % 4 == 0 ? next() : next() % 9);
        }
        if (size != 0) {
            input[0] = (uint8_t)round;
        }
        (void)LLVMFuzzerTestOneInput(input, size);
    }
    puts("ok");
    return 0;
}
