#define _GNU_SOURCE
#include "budget.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "shared.h"

/* So long after the last call it goes on to look: waking a thread costs as much as 30 looks. */
#define LINGER_TICKS 33u
/* Events that nobody took; what is beyond is told with the next one. */
#define MOST_EVENTS 256u

typedef struct watched {
    pa_watched_calls *calls;
    uint64_t budget_ns, number;
    int32_t pid;
    /* What the thread knows. */
    int running;         /* whether base_ns holds */
    uint64_t base_ns;    /* clock of the process at that moment */
    uint64_t seen_ended; /* calls that had ended then */
    uint64_t told;       /* how often its budget was used up since */
    uint64_t next_look;  /* nothing can be used up before */
} watched;

struct pa_budget {
    pa_budget_shared *shared;
    watched *all;
    size_t count, room;
    pa_budget_event events[MOST_EVENTS];
    size_t first, waiting;
    int bell, stop;
    long processors;
    pthread_t thread;
};

static uint64_t now_ns(clockid_t clock, int *error) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        *error = errno;
        return 0;
    }
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static void tell(pa_budget *self, const watched *it, uint64_t used, uint32_t calls) {
    pa_budget_event *event;
    if (self->waiting == MOST_EVENTS) {
        return;
    }
    event = &self->events[(self->first + self->waiting) % MOST_EVENTS];
    event->number = it->number;
    event->used_ns = used;
    event->budget_ns = it->budget_ns;
    event->calls = calls;
    self->waiting++;
    (void)eventfd_write(self->bell, 1);
}

/* Look at one process; returns whether it has calls. */
static int look(pa_budget *self, watched *it, uint64_t now) {
    const uint32_t calls = atomic_load_explicit(&it->calls->running, memory_order_acquire);
    const uint64_t ended = atomic_load_explicit(&it->calls->ended, memory_order_relaxed);
    uint64_t clock, used, allowed, left;
    uint32_t sharing = 1;
    int error = 0;
    if (calls == 0) {
        it->running = 0;
        return 0;
    }
    if (it->running && it->seen_ended == ended && now < it->next_look) {
        return 1;
    }
    clock = now_ns((clockid_t)((~(unsigned)it->pid << 3) | 2u), &error);
    if (error != 0) {
        it->running = 0; /* It has ended: its calls do so too. */
        return 1;
    }
    if (!it->running || it->seen_ended != ended) {
        it->running = 1;
        it->base_ns = clock;
        it->seen_ended = ended;
        it->told = 0;
    }
    used = clock - it->base_ns;
    if (atomic_load_explicit(&it->calls->concurrent, memory_order_relaxed)) {
        sharing = calls;
    }
    allowed = it->budget_ns * sharing * (it->told + 1);
    if (used > allowed) {
        tell(self, it, used, calls);
        it->told++;
        it->next_look = now;
        return 1;
    }
    /* All processors at once could use up the rest by then. */
    left = (allowed - used) / (uint64_t)self->processors;
    it->next_look = now + left;
    return 1;
}

static void rest(pa_budget *self, uint64_t until) {
    struct timespec when;
    when.tv_sec = (time_t)(until / UINT64_C(1000000000));
    when.tv_nsec = (long)(until % UINT64_C(1000000000));
    (void)pthread_cond_timedwait(&self->shared->wanted, &self->shared->lock, &when);
}

static int any_calls(const pa_budget *self) {
    for (size_t i = 0; i < self->count; i++) {
        if (atomic_load(&self->all[i].calls->running) != 0) {
            return 1;
        }
    }
    return 0;
}

static void *watch_all(void *self_) {
    pa_budget *self = self_;
    pa_budget_shared *shared = self->shared;
    unsigned quiet = 0;
    int error = 0;
    pthread_mutex_lock(&shared->lock);
    while (!self->stop) {
        uint64_t now = now_ns(CLOCK_MONOTONIC, &error);
        int busy = 0;
        for (size_t i = 0; i < self->count; i++) {
            busy |= look(self, &self->all[i], now);
        }
        quiet = busy ? 0 : quiet + 1;
        if (quiet < LINGER_TICKS) {
            rest(self, now + PA_BUDGET_TICK_NS);
            continue;
        }
        /* Who begins a call stores that first and looks at `awake` then; here it is the other way
         * round: one of the two sees the other. */
        atomic_store(&shared->awake, 0);
        while (!self->stop && !any_calls(self)) {
            pthread_cond_wait(&shared->wanted, &shared->lock);
        }
        atomic_store(&shared->awake, 1);
        quiet = 0;
    }
    pthread_mutex_unlock(&shared->lock);
    return NULL;
}

static int start_thread(pa_budget *self) {
    sigset_t all, before;
    int error;
    /* Signals are for the threads of whoever this is part of. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&self->thread, NULL, watch_all, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int pa_budget_new(pa_budget **out) {
    pa_budget *self = calloc(1, sizeof *self);
    pa_budget_shared *shared = calloc(1, sizeof *shared);
    pthread_condattr_t by_monotonic;
    int error;
    if (self == NULL || shared == NULL) {
        free(self);
        free(shared);
        return ENOMEM;
    }
    pthread_mutex_init(&shared->lock, NULL);
    pthread_condattr_init(&by_monotonic);
    pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&shared->wanted, &by_monotonic);
    pthread_condattr_destroy(&by_monotonic);
    shared->awake = 1;
    shared->holders = 1;
    self->shared = shared;
    self->processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (self->processors < 1) {
        self->processors = 1;
    }
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = self->bell < 0 ? errno : start_thread(self);
    if (error != 0) {
        if (self->bell >= 0) {
            close(self->bell);
        }
        pa_budget_let_go(shared);
        free(self);
        return error;
    }
    *out = self;
    return 0;
}

void pa_budget_free(pa_budget *self) {
    pthread_mutex_lock(&self->shared->lock);
    self->stop = 1;
    pthread_cond_signal(&self->shared->wanted);
    pthread_mutex_unlock(&self->shared->lock);
    pthread_join(self->thread, NULL);
    for (size_t i = 0; i < self->count; i++) {
        pa_calls_release(self->all[i].calls);
    }
    close(self->bell);
    pa_budget_let_go(self->shared);
    free(self->all);
    free(self);
}

int pa_budget_bell(const pa_budget *self) {
    return self->bell;
}

int pa_budget_watch(pa_budget *self, int32_t pid, uint64_t budget_ns, uint64_t number,
                    pa_watched_calls **out) {
    pa_budget_held *made = calloc(1, sizeof *made);
    watched *it;
    int error = 0;
    if (made == NULL) {
        return ENOMEM;
    }
    pthread_mutex_lock(&self->shared->lock);
    if (self->count == self->room) {
        const size_t room = self->room == 0 ? 16 : self->room * 2;
        watched *grown = realloc(self->all, room * sizeof *grown);
        if (grown == NULL) {
            error = ENOMEM;
        } else {
            self->all = grown;
            self->room = room;
        }
    }
    if (error == 0) {
        made->shared = self->shared;
        made->calls.awake = &self->shared->awake;
        /* The watcher's, and the caller's. */
        made->calls.holders = 2;
        atomic_fetch_add(&self->shared->holders, 1);
        it = &self->all[self->count++];
        memset(it, 0, sizeof *it);
        it->calls = &made->calls;
        it->pid = pid;
        it->budget_ns = budget_ns;
        it->number = number;
        *out = &made->calls;
    }
    pthread_mutex_unlock(&self->shared->lock);
    if (error != 0) {
        free(made);
    }
    return error;
}

void pa_budget_forget(pa_budget *self, pa_watched_calls *calls) {
    int found = 0;
    pthread_mutex_lock(&self->shared->lock);
    for (size_t i = 0; i < self->count && !found; i++) {
        if (self->all[i].calls == calls) {
            self->all[i] = self->all[--self->count];
            found = 1;
        }
    }
    pthread_mutex_unlock(&self->shared->lock);
    if (found) {
        pa_calls_release(calls);
    }
}

int pa_budget_next(pa_budget *self, pa_budget_event *out) {
    eventfd_t told;
    int error = EAGAIN;
    pthread_mutex_lock(&self->shared->lock);
    if (self->waiting > 0) {
        *out = self->events[self->first];
        self->first = (self->first + 1) % MOST_EVENTS;
        self->waiting--;
        error = 0;
    }
    if (self->waiting == 0) {
        (void)eventfd_read(self->bell, &told);
    }
    pthread_mutex_unlock(&self->shared->lock);
    return error;
}
