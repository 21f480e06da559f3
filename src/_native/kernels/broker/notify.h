/* System calls that a filter hands to another process: take them, read what they point to, answer.
 *
 * A filter that returns SECCOMP_RET_USER_NOTIF for a call stops the thread that makes it until the
 * holder of the filter's listener answers; seccomp_unotify(2). What the thread's pointers lead to
 * may change at any time: it is copied once, and the call is never let go on by itself, which would
 * read it again.
 *
 * Knows no Python. Linux 5.14 or newer. Thread-safe: no state. Functions return 0 or an errno value;
 * ENOENT when whoever made the call is gone. */
#ifndef PLUGINAPI_BROKER_NOTIFY_H
#define PLUGINAPI_BROKER_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

typedef struct pa_notify_call {
    uint64_t id;
    int32_t thread; /* as this PID namespace numbers it; 0 when it is none of this one */
    int32_t number; /* of the system call */
    uint64_t arguments[6];
} pa_notify_call;

/* Say that who makes a call and who answers it take turns, which the scheduler can use: Linux 6.6,
 * and nothing before. */
void pa_notify_take_turns(int listener);

/* Take the next call; EAGAIN when there is none any more. Does not wait. */
int pa_notify_take(int listener, pa_notify_call *out);

/* Whether whoever made a call still waits for its answer: 0, or ENOENT. What was read from the
 * process with this number before is its own only then. */
int pa_notify_waits(int listener, uint64_t id);

/* Copy bytes of the process; EFAULT when they are not all there. To be confirmed by
 * pa_notify_waits. */
int pa_notify_copy(const pa_notify_call *call, uint64_t address, void *out, size_t size);

/* A process that made a call, kept for its next ones; zeros are none. */
typedef struct pa_notify_who {
    int32_t number;
    int pidfd; /* as long as it lives, the number is its own */
} pa_notify_who;

/* Get a descriptor of the process as one of this one's, the caller's to close. To be confirmed by
 * pa_notify_waits. Keeps in *latest who it was. */
int pa_notify_borrow(pa_notify_who *latest, const pa_notify_call *call, int number, int *out);

/* Let go of who is kept. */
void pa_notify_forget(pa_notify_who *latest);

/* Put a file in the place of one of the process's descriptors, closed on exec. */
int pa_notify_replace(int listener, uint64_t id, int file, int number);

/* End the call: with an error, or with 0. */
int pa_notify_finish(int listener, uint64_t id, int error);

#endif
