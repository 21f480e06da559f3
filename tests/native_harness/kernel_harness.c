/* Exercise kernels/abi without Python, under sanitizers: exits 0 when everything held.
 *
 * Usage: kernel_harness PROBE.so */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/instance.h"
#include "abi/library.h"

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define MOST_HOOKS 64
#define LIMIT ((uint64_t)1 << 16)

typedef struct world {
    struct {
        char name[PA_MAX_NAME];
        pa_hook_fn fn;
        void *user;
    } hooks[MOST_HOOKS];
    size_t hook_count;
    int logged;
} world;

static void on_log(void *user, int32_t level, pa_str message) {
    world *const self = user;
    (void)level, (void)message;
    self->logged++;
}

static pa_status on_get(void *user, pa_str key, pa_out *value) {
    (void)user;
    return key.len == 3 && memcmp(key.ptr, "key", 3) == 0 ? pa_sink_append(value, "\xa5value", 6)
                                                          : PA_ERR_NOT_FOUND;
}

static pa_status on_set(void *user, pa_str key, pa_bytes value) {
    (void)user, (void)key, (void)value;
    return PA_ERR_DENIED;
}

static pa_status on_has(void *user, pa_str key) {
    (void)user, (void)key;
    return PA_ERR_NOT_FOUND;
}

/* Give the arguments back, if they are those of this method. */
static pa_status on_service(void *user, pa_str service, pa_str method, pa_bytes arguments,
                            pa_out *result) {
    (void)user, (void)method;
    return service.len == 4 && memcmp(service.ptr, "echo", 4) == 0
               ? pa_sink_append(result, arguments.ptr, arguments.len)
               : PA_ERR_NOT_FOUND;
}

static pa_status on_register(void *user, pa_str hook, uint32_t priority, pa_hook_fn fn,
                             void *fn_user) {
    world *const self = user;
    (void)priority;
    REQUIRE(self->hook_count < MOST_HOOKS && hook.len < PA_MAX_NAME);
    memcpy(self->hooks[self->hook_count].name, hook.ptr, hook.len);
    self->hooks[self->hook_count].fn = fn;
    self->hooks[self->hook_count].user = fn_user;
    self->hook_count++;
    return PA_OK;
}

static pa_status call(const world *self, pa_host *host, const char *hook, const char *in,
                      size_t size, pa_call *made) {
    size_t i;
    for (i = 0; i < self->hook_count; i++) {
        if (strcmp(self->hooks[i].name, hook) == 0) {
            return pa_host_handle(host, self->hooks[i].fn, self->hooks[i].user,
                                  pa_str_make(hook, strlen(hook)), pa_bytes_make(in, size), made);
        }
    }
    REQUIRE(!"the probe registers this hook");
    return PA_ERR_FAIL;
}

/* The same steps against the heap and against a table of what must be live. */
static void exercise_memory(void) {
    enum { BLOCKS = 400 };
    static struct {
        unsigned char *at;
        size_t size;
        size_t align;
    } live[BLOCKS];
    pa_memory memory;
    pa_memory_report report;
    uint64_t expected = 0;
    unsigned random = 1;
    int step;
    REQUIRE(pa_memory_open(&memory, LIMIT) == 0);
    for (step = 0; step < 200000; step++) {
        size_t slot;
        size_t size;
        random = random * 1664525u + 1013904223u;
        slot = (random >> 8) % BLOCKS;
        size = 1 + (random >> 16) % 500;
        if (live[slot].at == NULL) {
            const size_t align = (random & 3) == 0 ? (size_t)1 << (random >> 4 & 7) : 0;
            live[slot].at = pa_memory_alloc(&memory, size, align);
            if (live[slot].at == NULL) {
                REQUIRE(expected + size + PA_MEMORY_BLOCK_COST > LIMIT);
                continue;
            }
            REQUIRE(align == 0 || (uintptr_t)live[slot].at % align == 0);
            live[slot].size = size;
            live[slot].align = align;
            expected += size + PA_MEMORY_BLOCK_COST;
        } else if ((random & 1) != 0) {
            unsigned char *const moved = pa_memory_realloc(&memory, live[slot].at, live[slot].size,
                                                           size, live[slot].align, &report);
            if (moved == NULL) {
                REQUIRE(report.fault == PA_MEMORY_REFUSED);
                REQUIRE(expected - live[slot].size + size > LIMIT);
                continue;
            }
            REQUIRE(moved[0] == (unsigned char)slot);
            REQUIRE(size < live[slot].size || moved[live[slot].size - 1] == (unsigned char)slot);
            expected = expected - live[slot].size + size;
            live[slot].at = moved;
            live[slot].size = size;
        } else {
            report = pa_memory_free(&memory, live[slot].at, live[slot].size + 1, live[slot].align);
            REQUIRE(report.fault == PA_MEMORY_WRONG_SIZE && report.size == live[slot].size);
            report = pa_memory_free(&memory, live[slot].at, live[slot].size, live[slot].align);
            REQUIRE(report.fault == PA_MEMORY_OK);
            expected -= live[slot].size + PA_MEMORY_BLOCK_COST;
            live[slot].at = NULL;
            continue;
        }
        memset(live[slot].at, (int)(slot & 0xff), live[slot].size);
        REQUIRE(pa_memory_read_stats(&memory).live_bytes == expected);
    }
    REQUIRE(pa_memory_read_stats(&memory).peak_bytes <= LIMIT);
    REQUIRE(pa_memory_clear(&memory) > 0);
    REQUIRE(pa_memory_read_stats(&memory).live_bytes == 0);
    REQUIRE(pa_memory_alloc(&memory, 1, 0) == NULL);
    pa_memory_close(&memory);
}

static void exercise_sink(void) {
    static const char text[700] = "text";
    pa_out out;
    size_t written = 0;
    pa_sink_open(&out, 10000);
    while (pa_sink_append(&out, text, sizeof text) == PA_OK) {
        written += sizeof text;
        REQUIRE(memcmp(out.data + written - sizeof text, text, sizeof text) == 0);
    }
    REQUIRE(written == 9800 && out.len == 9800 && out.overflowed);
    /* Incomplete stays incomplete. */
    REQUIRE(pa_sink_append(&out, "", 0) == PA_ERR_LIMIT);
    pa_sink_close(&out);
    pa_sink_open(&out, SIZE_MAX);
    REQUIRE(pa_sink_append(&out, NULL, 0) == PA_OK && out.data == NULL);
    REQUIRE(pa_sink_append(&out, NULL, 1) == PA_ERR_BAD_ARG);
    pa_sink_close(&out);
}

typedef struct crowd {
    const world *world;
    pa_host *host;
} crowd;

static void *join_crowd(void *argument) {
    const crowd *const self = argument;
    int i;
    for (i = 0; i < 50; i++) {
        pa_call made;
        const pa_status status = call(self->world, self->host, "crowd", "", 0, &made);
        /* Of a plugin whose calls wait for each other the answer is always one. */
        REQUIRE(status == PA_OK || status == PA_ERR_STATE);
        REQUIRE(status != PA_OK || (made.out.len == 1 && made.out.data[0] == 1));
        pa_call_close(&made);
    }
    return NULL;
}

static void exercise_plugin(const char *path) {
    world self;
    pa_embedder embedder = {&self, on_log, on_get, on_set, on_has, on_register, on_service};
    pa_library library;
    pa_symbol symbol;
    pa_create_fn create;
    pa_call made;
    pa_host *host;
    pthread_t threads[4];
    crowd group;
    char error[256];
    size_t i;
    memset(&self, 0, sizeof self);

    REQUIRE(pa_library_open(&library, "/nowhere/plugin.so", error, sizeof error) == -1);
    REQUIRE(strstr(error, "/nowhere/plugin.so") != NULL);
    REQUIRE(pa_library_open(&library, "/proc/self/fd/1/2", error, sizeof error) == -1);
    REQUIRE(pa_library_open(&library, path, error, sizeof error) == 0);
    REQUIRE(pa_library_find(&library, "no_such_symbol") == NULL);
    symbol = pa_library_find(&library, "create_plugin");
    REQUIRE(symbol != NULL);
    create = (pa_create_fn)symbol;

    host = pa_host_open(&embedder, LIMIT, 1000);
    REQUIRE(host != NULL && pa_host_state(host) == PA_STATE_LOADED);
    REQUIRE(pa_host_init(host, &made) == PA_ERR_STATE && made.refused);
    pa_call_close(&made);
    REQUIRE(pa_host_create(host, create, pa_bytes_make("\x80", 1), PA_STR("test.probe"),
                           PA_STR("1.2.3"), &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(pa_host_init(host, &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(pa_host_register_hooks(host, &made) == PA_OK && self.hook_count > 10);
    pa_call_close(&made);

    REQUIRE(call(&self, host, "echo", "\x01\x02", 2, &made) == PA_OK);
    REQUIRE(made.out.len == 2 && memcmp(made.out.data, "\x01\x02", 2) == 0);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "stop", "\x01", 1, &made) == PA_STOP);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "fail", "\xa2no", 3, &made) == PA_ERR_FAIL);
    REQUIRE(!made.refused && made.message_len == 2 && memcmp(made.message, "no", 2) == 0);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "big", "\xcd\x03\xe3", 3, &made) == PA_OK && made.out.len == 1000);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "big", "\xcd\x03\xe4", 3, &made) == PA_ERR_LIMIT && made.refused);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "context_get", "\xa3key", 4, &made) == PA_OK);
    REQUIRE(made.out.len == 6 && made.borrowed_bytes == 6);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "service", "\x93\xa4" "echo\xa1m\x07", 9, &made) == PA_OK);
    REQUIRE(made.out.len == 3 && memcmp(made.out.data, "\x92\x00\x07", 3) == 0);
    REQUIRE(made.borrowed_bytes == 1);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "service", "\x93\xa1" "e\xa1m\x07", 6, &made) == PA_OK);
    REQUIRE(made.out.len == 3 && memcmp(made.out.data, "\x92\xf5\xc0", 3) == 0);
    REQUIRE(made.borrowed_bytes == 0);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "thread", "", 0, &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "keep", "\x64", 1, &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(call(&self, host, "misuse", "\xa4size", 5, &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(pa_host_heap(host).faults == 1);
    REQUIRE(pa_host_heap(host).live_bytes == 100 + PA_MEMORY_BLOCK_COST);

    group.world = &self;
    group.host = host;
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, join_crowd, &group) == 0);
    }
    REQUIRE(pa_host_shutdown(host, &made) == PA_OK);
    pa_call_close(&made);
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    REQUIRE(pa_host_running(host) == 0);
    REQUIRE(pa_host_destroy(host, &made) == PA_OK);
    pa_call_close(&made);
    REQUIRE(pa_host_destroy(host, &made) == PA_ERR_STATE);
    pa_call_close(&made);
    REQUIRE(pa_host_state(host) == PA_STATE_GONE && pa_host_heap(host).live_bytes == 0);
    REQUIRE(self.logged >= 3);
    pa_host_close(host);
    pa_library_close(&library);
}

int main(int argc, char **argv) {
    REQUIRE(argc == 2);
    exercise_memory();
    exercise_sink();
    exercise_plugin(argv[1]);
    puts("ok");
    return 0;
}
