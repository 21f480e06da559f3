/* Run a fuzz target on random inputs where there is no libFuzzer: in the machine of tests/machine,
 * and with any compiler. Prints how many inputs there were, and the best level they ran on. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cpu/cpu.h"

#ifndef INPUTS
#error "define INPUTS as their number"
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(void) {
    uint64_t state = 88172645463325252u;
    int number;
    for (number = 0; number < INPUTS; number++) {
        uint8_t input[512];
        const size_t size = sizeof input / 2 + (size_t)(number % 7) * 31;
        size_t i;
        for (i = 0; i < size; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            input[i] = (uint8_t)(state >> 32);
        }
        /* What a target chooses first, all of its values one after the other. */
        input[0] = (uint8_t)(INPUTS - 1 - number);
        (void)LLVMFuzzerTestOneInput(input, size);
    }
    printf("%d inputs up to %s: ok\n", number,
           pa_cpu_level_name((int)pa_cpu_level_of(pa_cpu_features())));
    return 0;
}
