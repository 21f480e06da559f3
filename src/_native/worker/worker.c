#define _GNU_SOURCE
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "call.h"
#include "channel/join.h"
#include "control.h"
#include "strict.h"

#define HANDSHAKE_NS UINT64_C(30000000000)

int pa_worker_serve(pa_worker *self, const pa_frame *frame, const uint8_t *body) {
    pa_body parts;
    if (pa_frame_split(frame, body, &parts) != PA_CHANNEL_OK) {
        return 0;
    }
    if (frame->kind == PA_FRAME_CALL) {
        return pa_worker_serve_call(self, frame, &parts);
    }
    /* A cancelled call is answered all the same: one thread cannot be asked to stop. */
    return frame->kind == PA_FRAME_REQUEST ? pa_worker_serve_request(self, frame, &parts) : 1;
}

/* Serve a received message. Its body would not outlive what is received in its course. */
static int serve_received(pa_worker *self, pa_message *message, uint8_t **buffer, size_t *room) {
    int going;
    if (pa_link_owns_body(&self->link, message)) {
        uint8_t *const body = message->body;
        const pa_frame frame = message->frame;
        const pa_buffer taken = pa_link_take_body(&self->link);
        going = pa_worker_serve(self, &frame, body);
        pa_link_give_body(&self->link, taken);
        return going;
    }
    if (message->frame.len > *room) {
        uint8_t *const more = realloc(*buffer, message->frame.len);
        if (more == NULL) {
            return 0;
        }
        *buffer = more;
        *room = message->frame.len;
    }
    if (message->frame.len > 0) {
        memcpy(*buffer, message->body, message->frame.len);
    }
    return pa_worker_serve(self, &message->frame, *buffer);
}

/* Serve until the end; returns the exit status. */
static int serve(pa_worker *self) {
    pa_message message;
    uint8_t *buffer = NULL;
    size_t room = 0;
    while (!self->stopping) {
        pa_channel_status status;
        if (self->first != NULL) {
            pa_kept *const next = self->first;
            int going;
            self->first = next->next;
            if (self->first == NULL) {
                self->last = &self->first;
            }
            going = pa_worker_serve(self, &next->frame, next->body);
            free(next);
            if (!going) {
                return PA_WORKER_NO_CHANNEL;
            }
            continue;
        }
        status = pa_link_receive(&self->link, &message, PA_LINK_NEVER);
        if (status == PA_CHANNEL_INTERRUPTED) {
            continue;
        }
        if (status == PA_CHANNEL_CLOSED) {
            return PA_WORKER_DONE;
        }
        if (status != PA_CHANNEL_OK || !serve_received(self, &message, &buffer, &room)) {
            return PA_WORKER_NO_CHANNEL;
        }
    }
    free(buffer);
    return PA_WORKER_DONE;
}

int pa_worker_run(int channel, int handoff, int lock, int strict) {
    static pa_worker self;
    /* Rings are waited at with more than read. */
    const uint32_t features = strict ? 0 : PA_JOIN_SHARED;
    int error, status;
    if (lock >= 0 && !pa_lock_read(lock, &self.lock)) {
        return PA_WORKER_NOT_LOCKED;
    }
    self.handoff = handoff;
    self.last = &self.first;
    self.strict = strict;
    self.pid = getpid();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fcntl(channel, F_SETFD, FD_CLOEXEC);
    (void)fcntl(handoff, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_NAME, "plugin-worker");
    if (pthread_mutex_init(&self.sending, NULL) != 0 ||
        pa_join(&self.link, channel, features, HANDSHAKE_NS, &error) != PA_CHANNEL_OK) {
        return PA_WORKER_NOT_JOINED;
    }
    status = strict && pa_link_plain(&self.link) != PA_CHANNEL_OK ? PA_WORKER_NOT_JOINED
                                                                  : serve(&self);
    if (strict) {
        pa_strict_exit(status);
    }
    return status;
}
