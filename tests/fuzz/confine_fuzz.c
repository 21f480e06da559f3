/* Fuzz the check of plans: whatever it accepts can be run without reading beyond it. A libFuzzer
 * target; the kernels alone, without Python.
 *
 * Kernels: confine */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "confine/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t step, padded;
    uint8_t *plan;
    uint32_t header[4] = {PA_PLAN_MAGIC, 0, 0, 0};
    if (size < 2) {
        return 0;
    }
    /* As it is, and behind a header that is right, since that is hard to guess. */
    plan = malloc(size);
    if (plan == NULL) {
        return 0;
    }
    memcpy(plan, data, size);
    (void)pa_plan_check(plan, size, 1, &step);
    free(plan);
    padded = sizeof header + (size - 2) / 8 * 8;
    header[1] = (uint32_t)padded;
    header[2] = data[0];
    plan = malloc(padded);
    if (plan == NULL) {
        return 0;
    }
    memcpy(plan, header, sizeof header);
    memcpy(plan + sizeof header, data + 2, padded - sizeof header);
    if (pa_plan_check(plan, padded, data[1], &step) == PA_PLAN_OK && step != data[0]) {
        abort();
    }
    free(plan);
    return 0;
}
