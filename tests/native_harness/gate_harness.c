/* Many threads call the handlers of a plugin while it is shut down, under sanitizers.
 *
 * What must hold: handlers of a plugin that is not thread-safe never overlap; none runs after
 * shutdown has begun; nobody waits for ever; every call is answered. Exits 0 when it all held. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/instance.h"

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define THREADS 4
#define CALLS 3000
#define ROUNDS 20

static pa_host *host;
static pa_plugin plugin;
static atomic_int together;
static atomic_int stopped;
static atomic_int late;
static atomic_int overlaps;
static atomic_ullong handled;
static unsigned long long plain_count; /* a race shows unless handlers run alone */

static pa_status ok(void *instance) {
    (void)instance;
    return PA_OK;
}

static pa_status on_shutdown(void *instance) {
    (void)instance;
    if (atomic_load(&together) != 0) {
        atomic_fetch_add(&overlaps, 1);
    }
    atomic_store(&stopped, 1);
    return PA_OK;
}

static void on_destroy(void *instance) {
    (void)instance;
}

static pa_status create(const pa_host_api *api, pa_host *self, pa_bytes config,
                        const pa_plugin **made) {
    (void)api, (void)self, (void)config;
    *made = &plugin;
    return PA_OK;
}

static pa_status on_hook(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    if (atomic_fetch_add(&together, 1) > 0 && !(plugin.flags & PA_F_THREAD_SAFE)) {
        atomic_fetch_add(&overlaps, 1);
    }
    if (atomic_load(&stopped)) {
        atomic_fetch_add(&late, 1);
    }
    if (!(plugin.flags & PA_F_THREAD_SAFE)) {
        plain_count++;
    }
    atomic_fetch_add(&handled, 1);
    atomic_fetch_sub(&together, 1);
    return PA_OK;
}

static void *caller(void *argument) {
    const int now = *(const int *)argument;
    unsigned long long refused = 0;
    pa_call call;
    int n;
    for (n = 0; n < CALLS; n++) {
        const pa_bytes in = pa_bytes_make(NULL, 0);
        if (now && !pa_host_handle_now(host, on_hook, NULL, PA_STR("h"), in, &call)) {
            continue; /* Busy: nothing has happened, there is nothing to close. */
        }
        if (!now) {
            pa_host_handle(host, on_hook, NULL, PA_STR("h"), in, &call);
        }
        REQUIRE(call.status == PA_OK || call.status == PA_ERR_STATE);
        refused += call.status == PA_ERR_STATE;
        pa_call_close(&call);
        REQUIRE(refused == 0 || pa_host_state(host) != PA_STATE_ACTIVE);
    }
    return NULL;
}

static void on_log(void *user, int32_t level, pa_str message) {
    (void)user, (void)level, (void)message;
}

static void run(uint64_t flags, int round) {
    const pa_embedder embedder = {NULL, on_log, NULL, NULL, NULL, NULL, NULL};
    int kinds[THREADS];
    pthread_t threads[THREADS];
    pa_call call;
    int index;
    memset(&plugin, 0, sizeof plugin);
    plugin.struct_size = sizeof plugin;
    plugin.abi_major = PA_ABI_MAJOR;
    plugin.abi_minor = PA_ABI_MINOR;
    plugin.name = PA_STR("gate");
    plugin.version = PA_STR("1.0.0");
    plugin.flags = flags;
    plugin.init = ok;
    plugin.shutdown = on_shutdown;
    plugin.destroy = on_destroy;
    atomic_store(&stopped, 0);
    host = pa_host_open(&embedder, 1 << 20, 1 << 20);
    REQUIRE(host != NULL);
    REQUIRE(pa_host_create(host, create, pa_bytes_make(NULL, 0), PA_STR("gate"), PA_STR("1.0.0"),
                           &call) == PA_OK);
    pa_call_close(&call);
    REQUIRE(pa_host_init(host, &call) == PA_OK);
    pa_call_close(&call);
    REQUIRE(pa_host_handle(host, on_hook, NULL, PA_STR("h"), pa_bytes_make(NULL, 0), &call) ==
            PA_ERR_STATE);
    pa_call_close(&call);
    REQUIRE(pa_host_register_hooks(host, &call) == PA_OK);
    pa_call_close(&call);
    for (index = 0; index < THREADS; index++) {
        kinds[index] = index % 2;
        REQUIRE(pthread_create(&threads[index], NULL, caller, &kinds[index]) == 0);
    }
    if (round % 2) {
        /* In the middle of it; else after everybody is through. */
        REQUIRE(pa_host_shutdown(host, &call) == PA_OK);
        pa_call_close(&call);
    }
    for (index = 0; index < THREADS; index++) {
        REQUIRE(pthread_join(threads[index], NULL) == 0);
    }
    if (round % 2 == 0) {
        REQUIRE(pa_host_running(host) == 0);
        REQUIRE(pa_host_shutdown(host, &call) == PA_OK);
        pa_call_close(&call);
    }
    REQUIRE(pa_host_running(host) == 0);
    REQUIRE(pa_host_destroy(host, &call) == PA_OK);
    pa_call_close(&call);
    pa_host_close(host);
}

int main(void) {
    int round;
    for (round = 0; round < ROUNDS; round++) {
        run(0, round);
        run(PA_F_THREAD_SAFE, round);
    }
    REQUIRE(atomic_load(&overlaps) == 0);
    REQUIRE(atomic_load(&late) == 0);
    REQUIRE(atomic_load(&handled) > 1000);
    REQUIRE(plain_count > 0);
    puts("ok");
    return 0;
}
