#define _GNU_SOURCE
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "call.h"
#include "context.h"
#include "services.h"
#include "strict.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* Take the plugin that is handed over: a memory file that nobody can change any more. */
static int take_plugin(pa_worker *self) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr in;
    struct cmsghdr *header;
    int fd = -1, seals;
    memset(&in, 0, sizeof in);
    in.msg_iov = &part;
    in.msg_iovlen = 1;
    in.msg_control = &control;
    in.msg_controllen = sizeof control.space;
    while (recvmsg(self->handoff, &in, MSG_CMSG_CLOEXEC) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    header = CMSG_FIRSTHDR(&in);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    }
    (void)close(self->handoff);
    self->handoff = -1;
    if (fd >= 0) {
        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & SEALS) != SEALS) {
            (void)close(fd);
            return -1;
        }
    }
    return fd;
}

static int refuse(pa_refusal *why, const char *code, const char *text, size_t len, int32_t status) {
    why->code = code;
    why->len = len < sizeof why->text ? len : sizeof why->text;
    memcpy(why->text, text, why->len);
    why->status = status;
    return 0;
}

static int refuse_call(pa_refusal *why, const char *code, pa_call *call) {
    static const char *const flaws[] = {NULL,           "abi.plugin_struct", "abi.plugin_struct",
                                        "abi.incompatible", "abi.identity",  "abi.identity",
                                        "abi.plugin_struct"};
    if (call->flaw != PA_FLAW_NONE) {
        (void)refuse(why, flaws[call->flaw], call->message, call->message_len, 0);
    } else {
        (void)refuse(why, code, call->message, call->message_len, call->status);
    }
    pa_call_close(call);
    return 0;
}

/* Nothing of the plugin runs when the lock does not close: the process may have it in part. */
static int refuse_lock(pa_refusal *why, const pa_plan_result *result) {
    char text[160];
    const int length =
        snprintf(text, sizeof text, "step %zu of the lock of the worker failed: %s: %s",
                 result->done, result->call, strerror(result->error));
    return refuse(why, "sandbox.step", text, (size_t)length, result->error);
}

static pa_create_fn constructor(const pa_library *library) {
    const pa_symbol symbol = pa_library_find(library, "create_plugin");
    return (pa_create_fn)symbol;
}

int pa_worker_bring_up(pa_worker *self, const pa_initialize *message, pa_refusal *why) {
    const pa_embedder embedder = {self,
                                  pa_worker_log,
                                  pa_worker_context_get,
                                  pa_worker_context_set,
                                  pa_worker_context_has,
                                  pa_worker_register_hook,
                                  pa_worker_service_call};
    char path[64], error[1024];
    pa_plan_result locked;
    pa_create_fn create;
    pa_call call;
    int fd, failed;
    if (self->host != NULL) {
        return refuse(why, "load.failed", "a plugin is loaded already", 26, 0);
    }
    self->identity = malloc(message->plugin.len + message->version.len + 1);
    self->host = pa_host_open(&embedder, message->heap_bytes, (size_t)message->result_bytes);
    if (self->identity == NULL || self->host == NULL ||
        !pa_worker_read_names(message->write, &self->write)) {
        return refuse(why, "load.failed", "no memory, or a malformed request", 33, 0);
    }
    memcpy(self->identity, message->plugin.ptr, message->plugin.len);
    memcpy(self->identity + message->plugin.len, message->version.ptr, message->version.len);
    self->plugin = pa_str_make(self->identity, message->plugin.len);
    self->version = pa_str_make(self->identity + message->plugin.len, message->version.len);
    fd = take_plugin(self);
    if (fd < 0) {
        return refuse(why, "load.failed", "no sealed memory file was handed over", 37, 0);
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    failed = pa_library_open(&self->library, path, error, sizeof error);
    (void)close(fd);
    if (failed != 0) {
        return refuse(why, "abi.load_failed", error, strlen(error), 0);
    }
    create = constructor(&self->library);
    if (create == NULL) {
        return refuse(why, "abi.symbol_missing", "the library does not export create_plugin", 41,
                      0);
    }
    if (self->strict) {
        failed = pa_strict_prepare(self, (size_t)message->heap_bytes, (size_t)message->result_bytes);
        if (failed != 0) {
            const int length = snprintf(error, sizeof error,
                                        "the memory of the plugin and its messages cannot be taken "
                                        "ahead: %s", strerror(failed));
            return refuse(why, "sandbox.step", error, (size_t)length, failed);
        }
    }
    if (pa_lock_close(&self->lock, &locked) != 0) {
        return refuse_lock(why, &locked);
    }
    if (pa_host_create(self->host, create, message->config, self->plugin, self->version, &call) !=
        PA_OK) {
        return refuse_call(why, "abi.create_failed", &call);
    }
    pa_call_close(&call);
    if (pa_host_init(self->host, &call) != PA_OK ||
        (pa_call_close(&call), pa_host_register_hooks(self->host, &call) != PA_OK)) {
        (void)refuse_call(why, "lifecycle.init_failed", &call);
        (void)pa_host_destroy(self->host, &call);
        pa_call_close(&call);
        return 0;
    }
    pa_call_close(&call);
    return 1;
}

int pa_worker_shut_down(pa_worker *self, pa_refusal *why) {
    pa_call call;
    int clean;
    if (self->host == NULL || pa_host_state(self->host) == PA_STATE_LOADED ||
        pa_host_state(self->host) == PA_STATE_GONE) {
        return 1;
    }
    clean = pa_host_shutdown(self->host, &call) == PA_OK;
    if (!clean) {
        (void)refuse(why, "lifecycle.shutdown_failed", call.message, call.message_len,
                     call.status);
    }
    pa_call_close(&call);
    (void)pa_host_destroy(self->host, &call);
    pa_call_close(&call);
    return clean;
}
