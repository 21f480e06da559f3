/* Fuzz what is read of /proc: any bytes as what a file says.
 *
 * Kernels: procfs
 *
 * The first byte chooses the file. Whatever is read lies within the bytes: the input is a copy of
 * exactly its size. A text that was made of known numbers gives them back, whatever the name. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procfs/text.h"

static void read_any(unsigned which, const char *text, size_t size) {
    uint64_t number = 0;
    pa_text_of_stat stat;
    pa_text_of_status status;
    switch (which) {
    case 0:
        (void)pa_text_statm(text, size, &number);
        break;
    case 1:
        (void)pa_text_stat(text, size, &stat);
        break;
    case 2:
        pa_text_status(text, size, &status);
        break;
    case 3:
        (void)pa_text_first_number(text, size, &number);
        break;
    default:
        (void)pa_text_cached(text, size);
    }
}

/* A name is up to 15 bytes, any but 0; the kernel writes line breaks in status as \n. */
static void read_own(const uint8_t *data, size_t size) {
    char name[16], text[512];
    pa_text_of_stat stat;
    const uint64_t start = size > 8 ? data[0] * UINT64_C(0x123456789abcd) : 7;
    const size_t length = size < 15 ? size : 15;
    int made;
    memcpy(name, data, length);
    name[length] = 0;
    made = snprintf(text, sizeof text,
                    "12 (%s) Z 1 -1 5 0 -1 2097152 1 2 3 4 5 6 7 8 20 0 1 0 %llu 99 0\n", name,
                    (unsigned long long)start);
    assert(made > 0 && (size_t)made < sizeof text);
    assert(pa_text_stat(text, (size_t)made, &stat) == 0);
    assert(stat.state == 'Z' && stat.flags == 2097152 && stat.start_ticks == start);
    /* Cut anywhere before the number, it says nothing. */
    assert(pa_text_stat(text, (size_t)made / 8, &stat) == EBADMSG || length > 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy;
    if (size == 0) {
        return 0;
    }
    copy = malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data + 1, size - 1);
    read_any(data[0] % 5, copy, size - 1);
    free(copy);
    read_own(data + 1, size - 1);
    return 0;
}
