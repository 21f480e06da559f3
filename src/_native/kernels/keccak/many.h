/* SHA3-512 of many messages at once, each in a lane of a wide register.
 *
 * The engine asks a source for messages. A lane is given the next message as soon as its own has
 * ended; when no more come and lanes fall idle, the work moves to narrower kernels. A source that
 * gives long messages first keeps all lanes busy for longest.
 *
 * Several threads may run the engine over sources that share their messages. */
#ifndef PLUGINAPI_KECCAK_MANY_H
#define PLUGINAPI_KECCAK_MANY_H

#include "keccak.h"

typedef enum pa_sha3_piece {
    PA_SHA3_PIECE = 0,   /* *data and *length are the next bytes; none are allowed */
    PA_SHA3_END,         /* the message is complete */
    PA_SHA3_ABANDON      /* the message cannot be read: it gets no digest */
} pa_sha3_piece;

/* Where messages come from. A slot, below PA_KECCAK_MAX_WIDTH, names the lane that holds one. */
typedef struct pa_sha3_source {
    void *context;
    /* Put the next message into the slot. Returns 0 when there is none left. */
    int (*next)(void *context, size_t slot);
    /* Give the next piece of the slot's message; its bytes must stay until the next call for the
     * same slot. */
    pa_sha3_piece (*read)(void *context, size_t slot, const uint8_t **data, size_t *length);
    /* Take the result of the slot's message: the digest, or NULL when it was abandoned. */
    void (*done)(void *context, size_t slot, const uint8_t *digest);
} pa_sha3_source;

/* Hash until the source has no more, over at most `lanes` lanes (1 to PA_KECCAK_MAX_WIDTH). */
void pa_sha3_512_many(const pa_keccak_kernels *kernels, const pa_sha3_source *source,
                      size_t lanes);

#endif
