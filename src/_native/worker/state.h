/* What the native worker knows: its channel, its plugin, and what is being served. */
#ifndef PLUGINAPI_WORKER_STATE_H
#define PLUGINAPI_WORKER_STATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "abi/instance.h"
#include "abi/library.h"
#include "channel/frame.h"
#include "channel/link.h"
#include "lock.h"

#define PA_WORKER_MOST_KEYS 256u

/* Exit statuses: the channel broke, it was never joined, or what was to lock the worker is no plan. */
enum {
    PA_WORKER_DONE = 0,
    PA_WORKER_NO_CHANNEL = 70,
    PA_WORKER_NOT_JOINED = 71,
    PA_WORKER_NOT_LOCKED = 72
};

typedef struct pa_handler {
    pa_hook_fn fn;
    void *user;
    char *hook;
    size_t hook_len;
    uint32_t priority;
} pa_handler;

typedef struct pa_names {
    pa_str *items;
    size_t count;
    char *text;
} pa_names;

/* A context key that the running call has written. */
typedef struct pa_change {
    size_t key; /* index into `write` */
    uint8_t *value;
    size_t len;
} pa_change;

/* A message that came while another one was being served. */
typedef struct pa_kept {
    struct pa_kept *next;
    pa_frame frame;
    uint8_t body[];
} pa_kept;

/* The host's call, or request, that is being served. */
typedef struct pa_serving {
    uint64_t call;
    int with_context; /* a hook call: what it writes goes back with the result */
    const uint8_t *context;
    size_t context_len;
    pa_change changes[PA_WORKER_MOST_KEYS];
    size_t changed;
} pa_serving;

typedef struct pa_worker {
    pa_link link;
    pthread_mutex_t sending; /* plugins log on any thread */
    pa_host *host;
    pa_library library;
    pa_str plugin, version;
    char *identity;
    pa_names write; /* context keys that may be changed with a result */
    pa_handler *handlers;
    size_t handler_count, handler_room;
    pa_serving *now;
    uint64_t last_request;
    pa_kept *first, **last;
    uint64_t calls, failures;
    pa_lock lock;
    int strict; /* strict.h */
    pid_t pid;
    int handoff;
    int stopping;
} pa_worker;

#endif
