/* One stream in standard C: any 64-bit machine, any byte order, any compiler. */
#include "absorb_scalar.h"
#include "keccak.h"

void pa_keccak_absorb_portable(uint64_t *state, const uint8_t *data, size_t blocks) {
    PA_KECCAK_ABSORB_SCALAR_BODY
}
