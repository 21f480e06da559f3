/* The life of one plugin: who may call it when, and what its answers are worth. */
#include "instance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance_private.h"

/* The innermost call into any plugin on this thread; pa_call.outer leads to the others. */
static _Thread_local pa_call *innermost;

static const char *const state_names[] = {
    "loaded", "created", "initialised", "active", "failed", "stopping", "stopped", "gone"};

static const char *const phase_names[] = {"create_plugin", "init",     "register_hooks",
                                          "a handler",     "shutdown", "destroy"};

pa_call *pa_call_current(const pa_host *host) {
    pa_call *call = innermost;
    while (call != NULL && call->host != host) {
        call = call->outer;
    }
    return call;
}

static void begin(pa_call *call, pa_host *host) {
    call->status = PA_OK;
    call->refused = 0;
    call->flaw = PA_FLAW_NONE;
    call->message_len = 0;
    call->host = host;
    call->outer = NULL;
    call->borrowed = NULL;
    call->borrowed_bytes = 0;
    pa_sink_open(&call->out, host->out_limit);
}

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static pa_status refuse(pa_call *call, pa_status status, const char *format, ...) {
    va_list arguments;
    int length;
    va_start(arguments, format);
    length = vsnprintf(call->message, sizeof call->message, format, arguments);
    va_end(arguments);
    call->message_len = length < 0                              ? 0
                        : (size_t)length < sizeof call->message ? (size_t)length
                                                                : sizeof call->message - 1;
    call->refused = 1;
    call->status = status;
    return status;
}

/* Tell whether the life cycle allows this phase now. The lock is held. */
static int allowed(const pa_host *host, pa_phase phase) {
    switch (phase) {
    case PA_PHASE_CREATE:
        return host->state == PA_STATE_LOADED;
    case PA_PHASE_INIT:
        return host->state == PA_STATE_CREATED;
    case PA_PHASE_REGISTER:
        return host->state == PA_STATE_INITIALISED;
    case PA_PHASE_HANDLE:
        return host->state == PA_STATE_ACTIVE;
    case PA_PHASE_SHUTDOWN:
        return host->state == PA_STATE_ACTIVE || host->state == PA_STATE_INITIALISED;
    case PA_PHASE_DESTROY:
        return host->state == PA_STATE_CREATED || host->state == PA_STATE_FAILED ||
               host->state == PA_STATE_STOPPED;
    }
    return 0;
}

/* The gate: handlers pass it with one atomic operation each way. Whoever takes the lock closes it
 * and leaves a mark that it is wanted closed; who finds the mark when leaving goes by the lock. */

static uint64_t inside(const pa_host *host) {
    return atomic_load(&host->gate) & PA_GATE_INSIDE;
}

static int is_thread_safe(const pa_host *host) {
    return (host->plugin.flags & PA_F_THREAD_SAFE) != 0;
}

/* The lock is held. */
static void close_gate(pa_host *host) {
    atomic_fetch_or(&host->gate, PA_GATE_WANTED);
    atomic_fetch_and(&host->gate, ~PA_GATE_OPEN);
}

/* Open it if handlers may pass; else who leaves last does. The lock is held. */
static void open_gate(pa_host *host) {
    if (host->state == PA_STATE_ACTIVE && !host->alone && host->waiting == 0 &&
        (is_thread_safe(host) || (host->running == 0 && inside(host) == 0))) {
        atomic_fetch_and(&host->gate, ~PA_GATE_WANTED);
        atomic_fetch_or(&host->gate, PA_GATE_OPEN);
    }
}

/* Come in without the lock, if that is possible at once. */
static int pass_gate(pa_host *host) {
    uint64_t seen = PA_GATE_OPEN;
    if (!is_thread_safe(host)) {
        /* Alone: whoever comes next finds it closed. */
        return atomic_compare_exchange_strong(&host->gate, &seen, 1);
    }
    seen = atomic_load_explicit(&host->gate, memory_order_relaxed);
    while (seen & PA_GATE_OPEN) {
        if (atomic_compare_exchange_weak(&host->gate, &seen, seen + 1)) {
            return 1;
        }
    }
    return 0;
}

/* Leave, having come in without the lock. */
static void leave_gate(pa_host *host) {
    uint64_t seen = 1;
    if (is_thread_safe(host)) {
        if (!(atomic_fetch_sub(&host->gate, 1) & PA_GATE_WANTED)) {
            return;
        }
        pthread_mutex_lock(&host->lock);
    } else {
        if (atomic_compare_exchange_strong(&host->gate, &seen, PA_GATE_OPEN)) {
            return;
        }
        pthread_mutex_lock(&host->lock);
        atomic_fetch_sub(&host->gate, 1);
    }
    if (host->waiting > 0) {
        pthread_cond_broadcast(&host->changed);
    } else {
        open_gate(host);
    }
    pthread_mutex_unlock(&host->lock);
}

/* Get the right to call the plugin, waiting for calls that tolerate no other beside them. With
 * `busy`, which is where to say so, give up instead of waiting. */
static pa_status enter(pa_host *host, pa_phase phase, pa_call *call, int *busy) {
    const int alone = phase != PA_PHASE_HANDLE || !is_thread_safe(host);
    int possible;
    pa_state state;

    begin(call, host);
    if (alone && pa_call_current(host) != NULL) {
        return refuse(call, PA_ERR_STATE,
                      "%s was called from inside a call of the same plugin on the same thread",
                      phase_names[phase]);
    }
    pthread_mutex_lock(&host->lock);
    close_gate(host);
    possible = allowed(host, phase);
    if (possible && phase == PA_PHASE_SHUTDOWN) {
        host->state = PA_STATE_STOPPING;
    }
    if (possible && phase == PA_PHASE_DESTROY && (host->running > 0 || inside(host) > 0)) {
        open_gate(host);
        pthread_mutex_unlock(&host->lock);
        return refuse(call, PA_ERR_STATE, "destroy was refused: a call of the plugin is running");
    }
    while (possible && (host->alone || (alone && (host->running > 0 || inside(host) > 0)))) {
        if (busy != NULL) {
            open_gate(host);
            pthread_mutex_unlock(&host->lock);
            *busy = 1;
            return PA_ERR_AGAIN;
        }
        host->waiting++;
        pthread_cond_wait(&host->changed, &host->lock);
        host->waiting--;
        /* Shutdown has claimed its state already; the others look again. */
        possible = phase == PA_PHASE_SHUTDOWN || allowed(host, phase);
    }
    state = host->state;
    if (possible) {
        host->running++;
        host->alone = alone;
        host->phase = phase;
    } else {
        open_gate(host);
    }
    pthread_mutex_unlock(&host->lock);
    if (!possible) {
        return refuse(call, PA_ERR_STATE, "%s was refused: the plugin is %s", phase_names[phase],
                      state_names[state]);
    }
    call->outer = innermost;
    innermost = call;
    return PA_OK;
}

/* Give the right back; the plugin is in `next` unless that is negative. */
static void leave(pa_host *host, pa_call *call, int next) {
    innermost = call->outer;
    pthread_mutex_lock(&host->lock);
    host->running--;
    host->alone = 0;
    if (next >= 0) {
        host->state = (pa_state)next;
    }
    if (host->waiting > 0) {
        pthread_cond_broadcast(&host->changed);
    } else {
        open_gate(host);
    }
    pthread_mutex_unlock(&host->lock);
}

/* Take the status that a callback returned, unless it is none of this ABI. */
static pa_status settle(pa_call *call, pa_status status, pa_status highest) {
    if (status < PA_ERR_AGAIN) {
        status = PA_ERR_FAIL;
    }
    call->status = status;
    if (status > highest) {
        return refuse(call, PA_ERR_ABI, "the plugin returned the status %ld, which does not exist here",
                      (long)status);
    }
    if (call->out.overflowed && (status >= 0 || (status == PA_ERR_LIMIT && call->message_len == 0))) {
        return refuse(call, PA_ERR_LIMIT, "the result is larger than %zu bytes", call->out.limit);
    }
    return status;
}

pa_host *pa_host_open(const pa_embedder *embedder, uint64_t heap_limit, size_t out_limit) {
    pa_host *const host = calloc(1, sizeof *host);
    if (host == NULL) {
        return NULL;
    }
    host->embedder = *embedder;
    host->out_limit = out_limit;
    host->state = PA_STATE_LOADED;
    pa_services_fill(&host->api);
    if (pa_memory_open(&host->memory, heap_limit) != 0) {
        free(host);
        return NULL;
    }
    if (pthread_mutex_init(&host->lock, NULL) != 0) {
        pa_memory_close(&host->memory);
        free(host);
        return NULL;
    }
    if (pthread_cond_init(&host->changed, NULL) != 0) {
        pthread_mutex_destroy(&host->lock);
        pa_memory_close(&host->memory);
        free(host);
        return NULL;
    }
    return host;
}

void pa_host_close(pa_host *host) {
    pthread_cond_destroy(&host->changed);
    pthread_mutex_destroy(&host->lock);
    pa_memory_close(&host->memory);
    free(host);
}

static int same(pa_str a, pa_str b) {
    return a.len == b.len && a.ptr != NULL && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* Quote at most 80 bytes of the plugin's text in a message. */
static int shown(pa_str text) {
    return text.ptr == NULL ? 0 : text.len > 80 ? 80 : (int)text.len;
}

static pa_status check_identity(const char *what, pa_flaw flaw, pa_str reported, pa_str expected,
                                pa_call *call) {
    if (same(reported, expected)) {
        return PA_OK;
    }
    call->flaw = flaw;
    return refuse(call, PA_ERR_ABI, "%s: the plugin reports '%.*s', its manifest says '%.*s'", what,
                  shown(reported), reported.ptr == NULL ? "" : reported.ptr, shown(expected),
                  expected.ptr);
}

/* Copy the known part of the plugin's structure; check every member the host will use. */
static pa_status inspect(pa_host *host, const pa_plugin *found, pa_str name, pa_str version,
                         pa_call *call) {
    /* Everything up to get_interface, the last member of 1.0. */
    const size_t known = sizeof(pa_plugin);
    const char *missing;
    pa_status status;

    if (found == NULL) {
        call->flaw = PA_FLAW_NO_PLUGIN;
        return refuse(call, PA_ERR_ABI, "create_plugin returned PA_OK but handed out no plugin");
    }
    if (found->struct_size < known) {
        call->flaw = PA_FLAW_SIZE;
        return refuse(call, PA_ERR_ABI,
                      "struct_size: pa_plugin has %lu bytes, ABI 1.0 needs at least %zu",
                      (unsigned long)found->struct_size, known);
    }
    if (found->abi_major != PA_ABI_MAJOR) {
        call->flaw = PA_FLAW_ABI;
        return refuse(call, PA_ERR_ABI, "abi_major: the plugin was built for ABI %u.%u, the host has %u.%u",
                      (unsigned)found->abi_major, (unsigned)found->abi_minor,
                      (unsigned)PA_ABI_MAJOR, (unsigned)PA_ABI_MINOR);
    }
    memcpy(&host->plugin, found, known);
    status = check_identity("name", PA_FLAW_NAME, host->plugin.name, name, call);
    if (status == PA_OK) {
        status = check_identity("version", PA_FLAW_VERSION, host->plugin.version, version, call);
    }
    if (status != PA_OK) {
        return status;
    }
    missing = host->plugin.init == NULL       ? "init"
              : host->plugin.shutdown == NULL ? "shutdown"
              : host->plugin.destroy == NULL  ? "destroy"
                                              : NULL;
    if (missing != NULL) {
        call->flaw = PA_FLAW_CALLBACK;
        return refuse(call, PA_ERR_ABI, "%s: this callback is required and is NULL", missing);
    }
    return PA_OK;
}

pa_status pa_host_create(pa_host *host, pa_create_fn create, pa_bytes config, pa_str name,
                         pa_str version, pa_call *call) {
    const pa_plugin *found = NULL;
    pa_status status = enter(host, PA_PHASE_CREATE, call, NULL);
    if (status != PA_OK) {
        return status;
    }
    status = settle(call, create(&host->api, host, config, &found), PA_OK);
    if (status == PA_OK) {
        status = inspect(host, found, name, version, call);
        if (status != PA_OK && host->plugin.destroy != NULL) {
            host->plugin.destroy(host->plugin.instance);
        }
    }
    if (status != PA_OK) {
        memset(&host->plugin, 0, sizeof host->plugin);
    }
    leave(host, call, status == PA_OK ? PA_STATE_CREATED : PA_STATE_GONE);
    return status;
}

pa_status pa_host_init(pa_host *host, pa_call *call) {
    pa_status status = enter(host, PA_PHASE_INIT, call, NULL);
    if (status != PA_OK) {
        return status;
    }
    status = settle(call, host->plugin.init(host->plugin.instance), PA_OK);
    leave(host, call, status == PA_OK ? PA_STATE_INITIALISED : PA_STATE_FAILED);
    return status;
}

pa_status pa_host_register_hooks(pa_host *host, pa_call *call) {
    pa_status status = enter(host, PA_PHASE_REGISTER, call, NULL);
    if (status != PA_OK) {
        return status;
    }
    if (host->plugin.register_hooks != NULL) {
        status = settle(call, host->plugin.register_hooks(host->plugin.instance), PA_OK);
    }
    leave(host, call, status == PA_OK ? PA_STATE_ACTIVE : PA_STATE_FAILED);
    return status;
}

pa_status pa_host_shutdown(pa_host *host, pa_call *call) {
    pa_status status = enter(host, PA_PHASE_SHUTDOWN, call, NULL);
    if (status != PA_OK) {
        return status;
    }
    status = settle(call, host->plugin.shutdown(host->plugin.instance), PA_OK);
    leave(host, call, PA_STATE_STOPPED);
    return status;
}

static pa_status handle(pa_host *host, pa_hook_fn fn, void *user, pa_str hook, pa_bytes in,
                        pa_call *call, int *busy) {
    pa_status status;
    if (pass_gate(host)) {
        begin(call, host);
        call->outer = innermost;
        innermost = call;
        status = settle(call, fn(user, hook, in, &call->out), PA_STOP);
        innermost = call->outer;
        leave_gate(host);
        return status;
    }
    status = enter(host, PA_PHASE_HANDLE, call, busy);
    if (status != PA_OK) {
        return status;
    }
    status = settle(call, fn(user, hook, in, &call->out), PA_STOP);
    leave(host, call, -1);
    return status;
}

pa_status pa_host_handle(pa_host *host, pa_hook_fn fn, void *user, pa_str hook, pa_bytes in,
                         pa_call *call) {
    return handle(host, fn, user, hook, in, call, NULL);
}

int pa_host_handle_now(pa_host *host, pa_hook_fn fn, void *user, pa_str hook, pa_bytes in,
                       pa_call *call) {
    int busy = 0;
    handle(host, fn, user, hook, in, call, &busy);
    return !busy;
}

pa_status pa_host_destroy(pa_host *host, pa_call *call) {
    const pa_status status = enter(host, PA_PHASE_DESTROY, call, NULL);
    uint64_t left;
    if (status != PA_OK) {
        return status;
    }
    host->plugin.destroy(host->plugin.instance);
    left = pa_memory_clear(&host->memory);
    leave(host, call, PA_STATE_GONE);
    if (left > 0) {
        char line[128];
        const int length = snprintf(line, sizeof line,
                                    "destroy left %llu blocks of the host's memory allocated; released",
                                    (unsigned long long)left);
        host->embedder.log(host->embedder.user, PA_LOG_WARNING, pa_str_make(line, (size_t)length));
    }
    return PA_OK;
}

void pa_call_close(pa_call *call) {
    while (call->borrowed != NULL) {
        pa_out *const lent = call->borrowed;
        call->borrowed = lent->next;
        pa_sink_close(lent);
        free(lent);
    }
    pa_sink_close(&call->out);
}

pa_state pa_host_state(pa_host *host) {
    pa_state state;
    pthread_mutex_lock(&host->lock);
    state = host->state;
    pthread_mutex_unlock(&host->lock);
    return state;
}

uint32_t pa_host_running(pa_host *host) {
    uint32_t running;
    pthread_mutex_lock(&host->lock);
    running = host->running + (uint32_t)inside(host);
    pthread_mutex_unlock(&host->lock);
    return running;
}

uint64_t pa_host_flags(pa_host *host) {
    return host->plugin.flags;
}

pa_memory_stats pa_host_heap(pa_host *host) {
    return pa_memory_read_stats(&host->memory);
}
