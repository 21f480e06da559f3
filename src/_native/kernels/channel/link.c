#define _GNU_SOURCE
#include "link.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "link_private.h"
#include "memory.h"

#if defined(__x86_64__) || defined(__i386__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ __volatile__("yield")
#else
#define RELAX() atomic_signal_fence(memory_order_seq_cst)
#endif

#define LOOKS_PER_CLOCK 32     /* polls of the index between two looks at the clock */
#define MOST_LOSSES 12         /* 2^12 receives without spinning, then one that tries again */
#define PROBES 4               /* how much longer a spin is that tries again */
#define QUIET_NS UINT64_C(10000000) /* after a sleep of 10 ms the past does not count */
#define MOST_EMPTY_BELLS 4096u /* an honest peer rings once for a frame, or for room */

uint64_t pa_link_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

pa_channel_status pa_link_open(pa_link *link, int fd, uint32_t max_len, uint64_t spin_ns) {
    memset(link, 0, sizeof *link);
    link->fd = fd;
    link->max_len = max_len;
    link->spin_ns = spin_ns;
    link->slice_ms = UINT32_MAX; /* not known yet */
    atomic_init(&link->hung_up, 0);
#ifdef SO_NOSIGPIPE
    {
        const int yes = 1;
        (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
    }
#endif
    return PA_CHANNEL_OK;
}

void pa_link_close(pa_link *link) {
    if (link->memory != NULL) {
        pa_memory_unmap(link->memory, link->memory_size);
        link->memory = NULL;
    }
    if (link->fd >= 0) {
        (void)close(link->fd);
        link->fd = -1;
    }
    pa_buffer_close(&link->body);
    pa_buffer_close(&link->stream);
    pa_buffer_close(&link->unsent);
}

void pa_link_hang_up(pa_link *link) {
    atomic_store(&link->hung_up, 1);
    (void)shutdown(link->fd, SHUT_RDWR);
}

pa_channel_status pa_link_share(pa_link *link, void *memory, size_t capacity, size_t area_capacity,
                                int is_host) {
    const size_t size = pa_ring_bytes(capacity, area_capacity);
    if (size == 0 || link->shared) {
        return PA_CHANNEL_REFUSED;
    }
    if (link->low != link->high || link->in_partial) {
        return PA_CHANNEL_BAD_KIND; /* the peer went on talking where it has to listen */
    }
    link->memory = memory;
    link->memory_size = size;
    pa_ring_open(&link->out, &link->in, memory, capacity, area_capacity, is_host);
    link->shared = 1;
    return PA_CHANNEL_OK;
}

pa_channel_status pa_link_plain(pa_link *link) {
    if (link->shared || link->unsent_low != link->unsent_high) {
        return PA_CHANNEL_REFUSED;
    }
    link->spin_ns = 0;
    link->losses = 0;
    link->asleep_at = 0;
    return pa_socket_plain(link);
}

size_t pa_link_most(const pa_link *link) {
    const size_t ring = link->shared ? pa_ring_most(&link->out) : link->max_len;
    return ring < link->max_len ? ring : link->max_len;
}

/* ---- Sending ---- */

pa_channel_status pa_link_wake(pa_link *link) {
    _Atomic uint32_t *sleeping;
    if (!link->shared) {
        return PA_CHANNEL_OK;
    }
    sleeping = &link->out.shared->sleeping;
    if (atomic_load_explicit(sleeping, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(sleeping, 0, memory_order_seq_cst) != 0) {
        return pa_socket_ring(link);
    }
    return PA_CHANNEL_OK;
}

pa_channel_status pa_link_send_quietly(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                       size_t count) {
    pa_channel_status status;
    if (atomic_load_explicit(&link->hung_up, memory_order_relaxed)) {
        return PA_CHANNEL_CLOSED;
    }
    if (frame->len > pa_link_most(link)) {
        return PA_CHANNEL_REFUSED;
    }
    if (!link->shared) {
        status = pa_socket_send(link, frame, parts, count);
    } else {
        status = pa_ring_push(&link->out, frame, parts, count);
        if (status == PA_CHANNEL_AGAIN) {
            /* Ask for a bell when there is room, then look again: it may be there by now. */
            atomic_store_explicit(&link->out.shared->starved, 1, memory_order_seq_cst);
            status = pa_ring_push(&link->out, frame, parts, count);
            if (status == PA_CHANNEL_AGAIN) {
                const pa_channel_status woken = pa_link_wake(link);
                status = woken < 0 ? woken : status;
            }
        }
    }
    if (status == PA_CHANNEL_OK) {
        link->stats.sent++;
    } else if (status == PA_CHANNEL_AGAIN) {
        link->stats.full++;
    }
    return status;
}

pa_channel_status pa_link_send(pa_link *link, const pa_frame *frame, const pa_part *parts,
                               size_t count) {
    const pa_channel_status status = pa_link_send_quietly(link, frame, parts, count);
    return status == PA_CHANNEL_OK ? pa_link_wake(link) : status;
}

pa_channel_status pa_link_flush(pa_link *link) {
    return link->shared ? PA_CHANNEL_OK : pa_socket_flush(link);
}

pa_channel_status pa_link_deliver(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                  size_t count) {
    pa_channel_status status;
    size_t bells;
    for (;;) {
        status = pa_link_send(link, frame, parts, count);
        if (status == PA_CHANNEL_OK && !link->shared) {
            while ((status = pa_socket_flush(link)) == PA_CHANNEL_AGAIN) {
                status = pa_socket_wait(link, 1, PA_LINK_NEVER);
                if (status < 0) {
                    return status;
                }
            }
            return status;
        }
        if (status != PA_CHANNEL_AGAIN) {
            return status;
        }
        /* In socket mode input may wait meanwhile: only room ends this wait. */
        status = link->shared ? pa_socket_drain(link, 1, PA_LINK_NEVER, &bells)
                              : pa_socket_wait(link, 1, PA_LINK_NEVER);
        if (status < 0) {
            return status;
        }
    }
}

/* ---- Receiving ---- */

pa_channel_status pa_link_poll(pa_link *link, pa_message *message) {
    pa_channel_status status;
    if (!link->shared) {
        status = pa_socket_poll(link, message);
    } else {
        status = pa_ring_pull(&link->in, &message->frame, &link->body, link->max_len);
        message->body = link->body.data;
        if (status == PA_CHANNEL_OK &&
            atomic_load_explicit(&link->in.shared->starved, memory_order_seq_cst) != 0 &&
            atomic_exchange_explicit(&link->in.shared->starved, 0, memory_order_seq_cst) != 0) {
            /* A peer that is gone is noticed by whoever waits next: this frame still counts. */
            (void)pa_socket_ring(link);
        }
    }
    if (status == PA_CHANNEL_OK) {
        link->stats.received++;
        link->empty_bells = 0;
    }
    return status;
}

int pa_link_ready(pa_link *link) {
    return link->shared ? pa_ring_ready(&link->in) : pa_socket_has_frame(link);
}

pa_channel_status pa_link_spin(pa_link *link, pa_message *message, uint64_t ns) {
    pa_channel_status status = pa_link_poll(link, message);
    uint64_t until;
    if (status != PA_CHANNEL_AGAIN || ns == 0) {
        return status;
    }
    until = pa_link_now() + ns;
    do {
        int looks;
        if (!link->shared) {
            RELAX();
            status = pa_socket_poll(link, message);
            if (status != PA_CHANNEL_AGAIN) {
                link->stats.received += status == PA_CHANNEL_OK;
                return status;
            }
            continue;
        }
        for (looks = 0; looks < LOOKS_PER_CLOCK; looks++) {
            if (pa_ring_ready(&link->in)) {
                return pa_link_poll(link, message);
            }
            RELAX();
        }
    } while (pa_link_now() < until);
    return PA_CHANNEL_AGAIN;
}

uint64_t pa_link_spin_budget(pa_link *link) {
    if (link->skip != 0) {
        link->skip--;
        return 0;
    }
    return link->losses == 0 ? link->spin_ns : PROBES * link->spin_ns;
}

void pa_link_spun(pa_link *link, int won) {
    if (won) {
        link->stats.spins_won++;
        link->losses = 0;
        return;
    }
    link->stats.spins_lost++;
    if (link->losses < MOST_LOSSES) {
        link->losses++;
    }
    link->skip = (uint32_t)1 << link->losses;
}

pa_channel_status pa_link_arm(pa_link *link) {
    if (!link->shared) {
        if (pa_socket_has_frame(link)) {
            return PA_CHANNEL_AGAIN;
        }
        link->asleep_at = link->losses != 0 ? pa_link_now() : 0;
        return PA_CHANNEL_OK;
    }
    atomic_store_explicit(&link->in.shared->sleeping, 1, memory_order_seq_cst);
    if (pa_ring_ready(&link->in)) {
        pa_link_disarm(link);
        return PA_CHANNEL_AGAIN;
    }
    link->asleep_at = link->losses != 0 ? pa_link_now() : 0;
    return PA_CHANNEL_OK;
}

void pa_link_disarm(pa_link *link) {
    if (link->shared) {
        atomic_store_explicit(&link->in.shared->sleeping, 0, memory_order_release);
    }
    if (link->asleep_at != 0) {
        if (pa_link_now() - link->asleep_at > QUIET_NS) {
            link->losses = 0;
            link->skip = 0;
        }
        link->asleep_at = 0;
    }
}

/* Bells that bring no frame are counted: an endless row of them is an attack on our time. */
static pa_channel_status count_bells(pa_link *link, size_t count) {
    if (count != 0 && !pa_ring_ready(&link->in)) {
        link->empty_bells += (uint32_t)count;
        if (link->empty_bells > MOST_EMPTY_BELLS) {
            return PA_CHANNEL_BAD_BELL;
        }
    }
    return PA_CHANNEL_OK;
}

pa_channel_status pa_link_answer_bell(pa_link *link) {
    size_t count = 0;
    pa_channel_status status;
    pa_link_disarm(link);
    if (!link->shared) {
        return PA_CHANNEL_OK;
    }
    status = pa_socket_drain(link, 0, 0, &count);
    if (status == PA_CHANNEL_AGAIN || status == PA_CHANNEL_INTERRUPTED) {
        return PA_CHANNEL_OK;
    }
    return status == PA_CHANNEL_OK ? count_bells(link, count) : status;
}

pa_channel_status pa_link_park(pa_link *link, uint64_t timeout_ns) {
    pa_channel_status status;
    size_t count = 0;
    link->stats.parks++;
    if (pa_link_arm(link) == PA_CHANNEL_AGAIN) {
        return PA_CHANNEL_OK;
    }
    if (!link->shared) {
        status = link->unsent_low != link->unsent_high ? pa_socket_wait(link, 1, timeout_ns)
                                                       : pa_socket_fill(link, timeout_ns);
        pa_link_disarm(link);
        return status;
    }
    status = pa_socket_drain(link, 1, timeout_ns, &count);
    pa_link_disarm(link);
    if (status == PA_CHANNEL_OK) {
        return count_bells(link, count);
    }
    /* What it sent before it ended is still received. */
    return status < 0 && pa_ring_ready(&link->in) ? PA_CHANNEL_OK : status;
}

pa_channel_status pa_link_receive(pa_link *link, pa_message *message, uint64_t timeout_ns) {
    const uint64_t until = timeout_ns == PA_LINK_NEVER ? 0 : pa_link_now() + timeout_ns;
    const uint64_t budget = pa_link_spin_budget(link);
    pa_channel_status status = pa_link_spin(link, message, budget);
    if (budget != 0 && status >= 0) {
        pa_link_spun(link, status == PA_CHANNEL_OK);
    }
    while (status == PA_CHANNEL_AGAIN) {
        uint64_t left = PA_LINK_NEVER;
        if (timeout_ns != PA_LINK_NEVER) {
            const uint64_t now = pa_link_now();
            if (now >= until) {
                return PA_CHANNEL_TIMEOUT;
            }
            left = until - now;
        }
        status = pa_link_park(link, left);
        if (status == PA_CHANNEL_OK) {
            status = pa_link_poll(link, message);
        }
    }
    return status;
}

/* ---- Bodies that outlive the next receive ---- */

int pa_link_owns_body(const pa_link *link, const pa_message *message) {
    return message->body != NULL && message->body == link->body.data;
}

pa_buffer pa_link_take_body(pa_link *link) {
    const pa_buffer taken = link->body;
    link->body.data = NULL;
    link->body.capacity = 0;
    return taken;
}

void pa_link_give_body(pa_link *link, pa_buffer buffer) {
    if (buffer.capacity > link->body.capacity && !link->in_partial) {
        const pa_buffer smaller = link->body;
        link->body = buffer;
        buffer = smaller;
    }
    pa_buffer_close(&buffer);
}
