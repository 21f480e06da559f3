/* Fuzz what a hostile plugin can hand to the broker: addresses, and which destinations it asks for.
 * A libFuzzer target; the kernels alone, without Python.
 *
 * Kernels: broker
 *
 * The first byte chooses: even an address as connect(2) takes it, odd a row of decisions. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/replace.h"
#include "broker/verdicts.h"

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static void read_address(const uint8_t *data, size_t size) {
    static const uint8_t nothing[16] = {0};
    pa_endpoint at;
    /* Exactly as long as it is, for the sanitizer to see what is read beyond it. */
    uint8_t *const copy = malloc(size + 1);
    require(copy != NULL);
    memcpy(copy, data, size);
    if (pa_endpoint_read(copy, (uint32_t)size, &at) == 0) {
        require(at.family == 4 || at.family == 6);
        require(at.family == 6 || memcmp(at.address + 4, nothing, 12) == 0);
    }
    free(copy);
}

/* Eight bytes each: what is done, for whom, to where. What is found is what was put last. */
static void decide(const uint8_t *data, size_t size) {
    pa_verdicts table;
    uint32_t last[4][16];
    uint64_t now = 1;
    size_t at;
    memset(&table, 0, sizeof table);
    memset(last, 0, sizeof last);
    for (at = 0; at + 4 <= size; at += 4) {
        const uint64_t plugin = data[at + 1] & 3u;
        const unsigned place = data[at + 2] & 15u;
        pa_verdict made;
        const pa_verdict *found;
        memset(&made, 0, sizeof made);
        made.plugin = plugin + 1;
        made.wanted.family = 4;
        made.wanted.address[0] = (uint8_t)place;
        switch (data[at] & 3u) {
        case 0:
            made.count = 1;
            made.expires = now + 1000;
            made.to[0].port = data[at + 3];
            require(pa_verdicts_put(&table, &made, now) == 0);
            last[plugin][place] = data[at + 3] + 1u;
            break;
        case 1:
            pa_verdicts_forget(&table, plugin + 1);
            memset(last[plugin], 0, sizeof last[plugin]);
            break;
        case 2:
            /* All of them expire. */
            now += 2000;
            memset(last, 0, sizeof last);
            break;
        default:
            found = pa_verdicts_find(&table, plugin + 1, &made.wanted, now);
            require((found != NULL) == (last[plugin][place] != 0));
            require(found == NULL || found->to[0].port + 1u == last[plugin][place]);
            break;
        }
    }
    pa_verdicts_clear(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size != 0 && size < 4096) {
        (data[0] & 1 ? decide : read_address)(data + 1, size - 1);
    }
    return 0;
}
