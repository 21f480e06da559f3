/* One native plugin: its life, its calls, and the services that it gets.
 *
 * Knows no Python. Whoever embeds it (the Python extension, the worker program) supplies a
 * pa_embedder: plain functions for the services that need the outside world.
 *
 * Thread-safe, except pa_host_open and pa_host_close. Calls into one plugin wait for each other
 * unless it sets PA_F_THREAD_SAFE; init, register_hooks, shutdown and destroy always run alone. */
#ifndef PLUGINAPI_ABI_INSTANCE_H
#define PLUGINAPI_ABI_INSTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"
#include "pluginapi.h"
#include "sink.h"

/* Services of the embedder. Called without any lock held, on the thread of the plugin's call;
 * `log` on any thread. Arguments are borrowed for the call and come from the plugin unchecked:
 * only pointers and lengths are known to fit together. */
typedef struct pa_embedder {
    void *user;
    void (*log)(void *user, int32_t level, pa_str message);
    pa_status (*context_get)(void *user, pa_str key, pa_out *value); /* pa_sink_append to value */
    pa_status (*context_set)(void *user, pa_str key, pa_bytes value);
    pa_status (*context_has)(void *user, pa_str key);
    pa_status (*register_hook)(void *user, pa_str hook, uint32_t priority, pa_hook_fn fn,
                               void *fn_user);
    pa_status (*service_call)(void *user, pa_str service, pa_str method, pa_bytes arguments,
                              pa_out *result);
} pa_embedder;

typedef enum pa_state {
    PA_STATE_LOADED = 0,
    PA_STATE_CREATED,
    PA_STATE_INITIALISED,
    PA_STATE_ACTIVE,
    PA_STATE_FAILED,   /* init or register_hooks failed: only destroy is left */
    PA_STATE_STOPPING, /* shutdown waits or runs: new calls are refused */
    PA_STATE_STOPPED,
    PA_STATE_GONE /* destroyed, or never created */
} pa_state;

/* What is wrong with the pa_plugin that create_plugin handed out. */
typedef enum pa_flaw {
    PA_FLAW_NONE = 0,
    PA_FLAW_NO_PLUGIN, /* no structure was handed out */
    PA_FLAW_SIZE,      /* struct_size does not cover version 1.0 */
    PA_FLAW_ABI,       /* another abi_major */
    PA_FLAW_NAME,      /* not the manifest's name */
    PA_FLAW_VERSION,   /* not the manifest's version */
    PA_FLAW_CALLBACK   /* a required callback is NULL */
} pa_flaw;

/* One call into the plugin: made by the embedder, usually on its stack; filled in by the call. */
typedef struct pa_call {
    pa_status status;
    int refused; /* the status is the host's: the plugin did not run, or its answer is invalid */
    pa_flaw flaw; /* pa_host_create only */
    pa_out out;   /* the result; complete only when status >= 0 */
    size_t message_len;
    char message[PA_MAX_TEXT]; /* why it failed; from the plugin: any bytes, not NUL-ended */

    /* Private: */
    pa_host *host;
    struct pa_call *outer; /* the call on this thread that led to this one */
    pa_out *borrowed;      /* context values that the plugin was lent */
    size_t borrowed_bytes;
} pa_call;

typedef pa_status(PA_CALL *pa_create_fn)(const pa_host_api *, pa_host *, pa_bytes,
                                         const pa_plugin **);

/* Make the host side of one plugin, in state LOADED. NULL without memory. */
pa_host *pa_host_open(const pa_embedder *embedder, uint64_t heap_limit, size_t out_limit);

/* Release it. Only in state LOADED or GONE. */
void pa_host_close(pa_host *host);

/* Call create_plugin and check what it hands out against the ABI and the manifest. */
pa_status pa_host_create(pa_host *host, pa_create_fn create, pa_bytes config, pa_str name,
                         pa_str version, pa_call *call);

/* Call the plugin's init, register_hooks or shutdown. */
pa_status pa_host_init(pa_host *host, pa_call *call);
pa_status pa_host_register_hooks(pa_host *host, pa_call *call);
pa_status pa_host_shutdown(pa_host *host, pa_call *call);

/* Call a hook handler of the plugin: PA_OK, PA_STOP or an error. */
pa_status pa_host_handle(pa_host *host, pa_hook_fn fn, void *user, pa_str hook, pa_bytes in,
                         pa_call *call);

/* As pa_host_handle, but when it would have to wait for another call, return 0 at once; nothing
 * has happened then. For an embedder that holds a lock which that other call may need. */
int pa_host_handle_now(pa_host *host, pa_hook_fn fn, void *user, pa_str hook, pa_bytes in,
                       pa_call *call);

/* Call the plugin's destroy and release what it still holds of its heap. Does not wait: while a
 * call is running, or before shutdown of an initialised plugin, it gives PA_ERR_STATE. */
pa_status pa_host_destroy(pa_host *host, pa_call *call);

/* Release what a call holds: its result, message and borrowed values. After every call above. */
void pa_call_close(pa_call *call);

/* Queries, in any state. */
pa_state pa_host_state(pa_host *host);
uint32_t pa_host_running(pa_host *host); /* calls that are running */
uint64_t pa_host_flags(pa_host *host);   /* PA_F_* of the plugin, 0 before create */
pa_memory_stats pa_host_heap(pa_host *host);

#endif
