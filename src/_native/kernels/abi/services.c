/* The services of pa_host_api and of the interfaces: what a plugin calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance_private.h"

static int well_formed(const void *ptr, size_t len) {
    return ptr != NULL || len == 0;
}

static int is_name(pa_str text) {
    return text.ptr != NULL && text.len > 0 && text.len <= PA_MAX_NAME;
}

static pa_str cut(pa_str text) {
    if (!well_formed(text.ptr, text.len)) {
        return PA_STR("");
    }
    if (text.len > PA_MAX_TEXT) {
        text.len = PA_MAX_TEXT;
    }
    return text;
}

static void log_fault(pa_host *host, const char *what, const void *block, size_t size, size_t align,
                      pa_memory_report found) {
    char line[256];
    int length = 0;
    switch (found.fault) {
    case PA_MEMORY_OK:
    case PA_MEMORY_REFUSED:
        return;
    case PA_MEMORY_NOT_LIVE:
        length = snprintf(line, sizeof line,
                          "%s(%p, size %zu): not a live block; never allocated or freed already",
                          what, block, size);
        break;
    case PA_MEMORY_WRONG_SIZE:
        length = snprintf(line, sizeof line, "%s(%p, size %zu): the block was allocated with size %zu",
                          what, block, size, found.size);
        break;
    case PA_MEMORY_WRONG_ALIGN:
        length = snprintf(line, sizeof line,
                          "%s(%p, alignment %zu): the block was allocated with alignment %zu", what,
                          block, align, found.align);
        break;
    case PA_MEMORY_OVERRUN:
        length = snprintf(line, sizeof line,
                          "%s(%p): something wrote past the end of this block of %zu bytes", what,
                          block, found.size);
        break;
    }
    host->embedder.log(host->embedder.user, PA_LOG_ERROR, pa_str_make(line, (size_t)length));
}

static void *PA_CALL service_alloc(pa_host *host, size_t size, size_t align) {
    return pa_memory_alloc(&host->memory, size, align);
}

static void *PA_CALL service_realloc(pa_host *host, void *block, size_t old_size, size_t size,
                                     size_t align) {
    pa_memory_report report;
    void *const moved = pa_memory_realloc(&host->memory, block, old_size, size, align, &report);
    log_fault(host, "realloc", block, old_size, align, report);
    return moved;
}

static void PA_CALL service_free(pa_host *host, void *block, size_t size, size_t align) {
    log_fault(host, "free", block, size, align, pa_memory_free(&host->memory, block, size, align));
}

static pa_status PA_CALL service_out_write(pa_out *out, const void *data, size_t size) {
    return out == NULL ? PA_ERR_BAD_ARG : pa_sink_append(out, data, size);
}

static void PA_CALL service_set_error(pa_host *host, pa_status code, pa_str message) {
    pa_call *const call = pa_call_current(host);
    const pa_str text = cut(message);
    (void)code; /* The status that the callback returns decides; the text is about it. */
    if (call == NULL) {
        /* Outside of a call there is no error to explain, and the text must not be lost. */
        host->embedder.log(host->embedder.user, PA_LOG_ERROR, text);
        return;
    }
    if (text.len > 0) {
        memcpy(call->message, text.ptr, text.len);
    }
    call->message_len = text.len;
}

static void PA_CALL service_log(pa_host *host, int32_t level, pa_str message) {
    host->embedder.log(host->embedder.user, level, cut(message));
}

/* Return the running call if the context may be used in it. */
static pa_call *context_call(pa_host *host) {
    pa_call *const call = pa_call_current(host);
    pa_state state;
    if (call == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&host->lock);
    state = host->state;
    if (host->alone && (host->phase == PA_PHASE_CREATE || host->phase == PA_PHASE_DESTROY)) {
        state = PA_STATE_GONE;
    }
    pthread_mutex_unlock(&host->lock);
    return state == PA_STATE_GONE ? NULL : call;
}

/* Make a sink for bytes that the plugin borrows until the call returns; NULL without memory. */
static pa_out *lending(const pa_host *host, const pa_call *call) {
    pa_out *const lent = malloc(sizeof *lent);
    if (lent != NULL) {
        pa_sink_open(lent, host->out_limit - call->borrowed_bytes);
    }
    return lent;
}

/* Lend what was written into the sink, or release it when that failed. */
static pa_status lend(pa_call *call, pa_out *lent, pa_status status, pa_bytes *value) {
    if (lent->overflowed) {
        status = PA_ERR_LIMIT;
    }
    if (status != PA_OK) {
        pa_sink_close(lent);
        free(lent);
        return status;
    }
    lent->next = call->borrowed;
    call->borrowed = lent;
    call->borrowed_bytes += lent->len;
    *value = pa_bytes_make(lent->data, lent->len);
    return PA_OK;
}

static pa_status PA_CALL context_get(pa_host *host, pa_str key, pa_bytes *value) {
    pa_call *const call = context_call(host);
    pa_out *lent;
    if (call == NULL) {
        return PA_ERR_STATE;
    }
    if (value == NULL || !is_name(key)) {
        return PA_ERR_BAD_ARG;
    }
    lent = lending(host, call);
    if (lent == NULL) {
        return PA_ERR_LIMIT;
    }
    return lend(call, lent, host->embedder.context_get(host->embedder.user, key, lent), value);
}

static pa_status PA_CALL context_set(pa_host *host, pa_str key, pa_bytes value) {
    if (context_call(host) == NULL) {
        return PA_ERR_STATE;
    }
    if (!is_name(key) || !well_formed(value.ptr, value.len)) {
        return PA_ERR_BAD_ARG;
    }
    if (value.len > host->out_limit) {
        return PA_ERR_LIMIT;
    }
    return host->embedder.context_set(host->embedder.user, key, value);
}

static pa_status PA_CALL context_has(pa_host *host, pa_str key) {
    if (context_call(host) == NULL) {
        return PA_ERR_STATE;
    }
    if (!is_name(key)) {
        return PA_ERR_BAD_ARG;
    }
    return host->embedder.context_has(host->embedder.user, key);
}

static pa_status PA_CALL services_call(pa_host *host, pa_str service, pa_str method,
                                       pa_bytes arguments, pa_bytes *result) {
    static const uint8_t none[] = {0x80}; /* an empty map */
    pa_call *const call = context_call(host);
    pa_out *lent;
    if (call == NULL) {
        return PA_ERR_STATE;
    }
    if (result == NULL || !is_name(service) || !is_name(method) ||
        !well_formed(arguments.ptr, arguments.len)) {
        return PA_ERR_BAD_ARG;
    }
    if (arguments.len > host->out_limit) {
        return PA_ERR_LIMIT;
    }
    if (arguments.len == 0) {
        arguments = pa_bytes_make(none, sizeof none);
    }
    lent = lending(host, call);
    if (lent == NULL) {
        return PA_ERR_LIMIT;
    }
    return lend(call, lent,
                host->embedder.service_call(host->embedder.user, service, method, arguments, lent),
                result);
}

static pa_status PA_CALL register_hook(pa_host *host, pa_str hook, uint32_t priority, pa_hook_fn fn,
                                       void *user) {
    int registering;
    if (pa_call_current(host) == NULL) {
        return PA_ERR_STATE;
    }
    pthread_mutex_lock(&host->lock);
    registering = host->alone && host->phase == PA_PHASE_REGISTER;
    pthread_mutex_unlock(&host->lock);
    if (!registering) {
        return PA_ERR_STATE;
    }
    if (fn == NULL || !is_name(hook)) {
        return PA_ERR_BAD_ARG;
    }
    return host->embedder.register_hook(host->embedder.user, hook, priority, fn, user);
}

static const pa_context_1 context_interface = {sizeof(pa_context_1), 0, context_get, context_set,
                                               context_has};

static const pa_services_1 services_interface = {sizeof(pa_services_1), 0, services_call};

static const pa_hooks_1 hooks_interface = {sizeof(pa_hooks_1), 0, register_hook};

static const void *PA_CALL service_get_interface(pa_host *host, pa_str id) {
    static const struct {
        pa_str id;
        const void *interface;
    } known[] = {{PA_STR_INIT(PA_CONTEXT_1), &context_interface},
                 {PA_STR_INIT(PA_HOOKS_1), &hooks_interface},
                 {PA_STR_INIT(PA_SERVICES_1), &services_interface}};
    size_t i;
    (void)host;
    for (i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (id.len == known[i].id.len && id.ptr != NULL &&
            memcmp(id.ptr, known[i].id.ptr, id.len) == 0) {
            return known[i].interface;
        }
    }
    return NULL;
}

void pa_services_fill(pa_host_api *api) {
    api->struct_size = sizeof *api;
    api->abi_major = PA_ABI_MAJOR;
    api->abi_minor = PA_ABI_MINOR;
    api->alloc = service_alloc;
    api->realloc = service_realloc;
    api->free = service_free;
    api->out_write = service_out_write;
    api->set_error = service_set_error;
    api->log = service_log;
    api->get_interface = service_get_interface;
}
