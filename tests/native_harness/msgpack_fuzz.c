/* Feed the msgpack reader every input of up to two bytes, and mutations of real ones, under
 * sanitizers: exits 0 when no byte outside of the input was read. */
#include <stdio.h>
#include <string.h>

#include "msgpack_harness.c"

static uint8_t output[4096];

static void feed(const uint8_t *input, size_t size) {
    (void)reencode(input, size, output, sizeof output);
    (void)skip(input, size);
    (void)find(input, size, "path", 4);
    (void)typed(input, size);
}

int main(void) {
    static const uint8_t seeds[][24] = {
        {0x82, 0xa4, 'p', 'a', 't', 'h', 0xa1, '/', 0xa1, 'h', 0x91, 0x92, 0xa1, 'a', 0xd9, 1, 'b'},
        {0x94, 0xcb, 1, 2, 3, 4, 5, 6, 7, 8, 0xc7, 2, 0xff, 1, 2, 0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0},
        {0xde, 0, 2, 0xc4, 1, 9, 0xdb, 0, 0, 0, 1, 'x', 0xd8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2},
    };
    uint8_t input[24];
    unsigned random = 1;
    unsigned first;
    unsigned second;
    int round;
    feed(NULL, 0);
    for (first = 0; first < 256; first++) {
        input[0] = (uint8_t)first;
        feed(input, 1);
        for (second = 0; second < 256; second++) {
            input[1] = (uint8_t)second;
            feed(input, 2);
        }
    }
    for (round = 0; round < 300000; round++) {
        int change;
        random = random * 1664525u + 1013904223u;
        memcpy(input, seeds[(random >> 8) % 3], sizeof input);
        for (change = 0; change < 3; change++) {
            random = random * 1664525u + 1013904223u;
            input[(random >> 8) % sizeof input] = (uint8_t)(random >> 16 & 0xff);
        }
        feed(input, (random >> 24) % (sizeof input + 1));
    }
    puts("ok");
    return 0;
}
