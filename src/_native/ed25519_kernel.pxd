# What kernels/ed25519 offers to the faces.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef extern from "ed25519/ed25519.h" nogil:
    enum:
        PA_ED25519_KEY_BYTES
        PA_ED25519_SIGNATURE_BYTES

    ctypedef enum pa_ed25519_status:
        PA_ED25519_OK
        PA_ED25519_S_NOT_CANONICAL
        PA_ED25519_KEY_NOT_CANONICAL
        PA_ED25519_KEY_SMALL_ORDER
        PA_ED25519_KEY_NOT_ON_CURVE
        PA_ED25519_R_NOT_CANONICAL
        PA_ED25519_R_SMALL_ORDER
        PA_ED25519_R_NOT_ON_CURVE
        PA_ED25519_MISMATCH

    ctypedef struct pa_ed25519_key:
        uint8_t encoded[32]

    ctypedef pa_ed25519_status pa_ed25519_verify_fn(
        const pa_ed25519_key *key, const uint8_t *message, size_t length,
        const uint8_t *signature)
    ctypedef pa_ed25519_status pa_ed25519_verify_encoded_fn(
        const uint8_t *key, const uint8_t *message, size_t length, const uint8_t *signature)

    ctypedef struct pa_ed25519_kernels:
        pa_ed25519_verify_fn *verify
        pa_ed25519_verify_encoded_fn *verify_encoded
        const char *name

    const pa_ed25519_kernels *pa_ed25519_kernels_of(int level)
    pa_ed25519_status pa_ed25519_key_decode(
        const pa_ed25519_kernels *kernels, pa_ed25519_key *key, const uint8_t *encoded)


cdef extern from "ed25519/batch.h" nogil:
    enum:
        PA_BATCH_RANDOM
        PA_BATCH_SEED

    ctypedef struct pa_ed25519_signed:
        const pa_ed25519_key *key
        const uint8_t *encoded_key
        const uint8_t *message
        size_t length
        const uint8_t *signature

    ctypedef struct pa_ed25519_batch_counts:
        size_t combined
        size_t each
        size_t one

    int pa_ed25519_verify_batch(
        const pa_ed25519_kernels *kernels, const pa_ed25519_signed *items, size_t count,
        const uint8_t *random, pa_ed25519_status *statuses, pa_ed25519_batch_counts *counts)
