/* A plugin whose handlers each do one thing that the host must cope with.
 *
 * Defects are compiled in: -DPROBE_FLAGS=..., -DPROBE_STRUCT_SIZE=..., -DPROBE_ABI_MAJOR=...,
 * -DPROBE_NAME=..., -DPROBE_VERSION=..., -DPROBE_WITHOUT_INIT=1, -DPROBE_WITHOUT_PLUGIN=1,
 * -DPROBE_LARGER. -DPROBE_DECLARES: the manifest has requirements. Others come from the configuration: {"fail": "create" | "init" | ...}. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

#ifndef PROBE_FLAGS
#define PROBE_FLAGS 0
#endif
#ifndef PROBE_STRUCT_SIZE
#define PROBE_STRUCT_SIZE sizeof(pa_plugin)
#endif
#ifndef PROBE_ABI_MAJOR
#define PROBE_ABI_MAJOR PA_ABI_MAJOR
#endif
#ifndef PROBE_WITHOUT_INIT
#define PROBE_WITHOUT_INIT 0
#endif
#ifndef PROBE_WITHOUT_PLUGIN
#define PROBE_WITHOUT_PLUGIN 0
#endif
#ifndef PROBE_NAME
#define PROBE_NAME "test.probe"
#endif
#ifndef PROBE_VERSION
#define PROBE_VERSION "1.2.3"
#endif

#ifdef PROBE_DECLARES
PA_MANIFEST({
    "name": "test.probe",
    "version": "1.2.3",
    "author": "Tests",
    "requirements": {
        "context_read": ["acme.tenant", "acme.count"],
        "context_write": ["acme.count"],
        "services": ["database.fetch", "database.slow", "database.broken", "database.blob",
                     "database.wrong", "database.forbidden", "database.absent", "database.nested",
                     "database.refuse", "database.hang"]
    }
});
#else
PA_MANIFEST({
    "name": "test.probe",
    "version": "1.2.3",
    "author": "The \"probe\" authors, \u00e9\\",
    "resource_limits": {"max_heap_bytes": 65536}
});
#endif

typedef struct probe {
    const pa_host_api *api;
    pa_host *host;
    const pa_context_1 *context;
    const pa_hooks_1 *hooks;
    const pa_services_1 *services;
    char fail[32];
    uint64_t fd; /* a blocking callback waits for a byte here */
    void *kept;  /* a block that `keep` allocated */
    size_t kept_size;
    atomic_int inside;
    atomic_int most_inside;
    pa_plugin plugin;
#ifdef PROBE_LARGER
    char future[64]; /* what a later minor version appends to pa_plugin */
#endif
} probe;

static int fails(const probe *self, const char *where) {
    return strcmp(self->fail, where) == 0;
}

static pa_status failed(const probe *self, const char *text) {
    self->api->set_error(self->host, PA_ERR_FAIL, pa_str_make(text, strlen(text)));
    return PA_ERR_FAIL;
}

static void wait_for_byte(int fd) {
    char byte;
    while (read(fd, &byte, 1) < 0) {
    }
}

static pa_status on_echo(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    (void)hook;
    return self->api->out_write(out, in.ptr, in.len);
}

static pa_status on_name(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    (void)in;
    pa_mp_write_str(&writer, hook);
    return writer.status;
}

static pa_status on_unchanged(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    return PA_OK;
}

static pa_status on_stop(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const pa_status status = on_echo(user, hook, in, out);
    return status == PA_OK ? PA_STOP : status;
}

static pa_status on_stop_bare(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    return PA_STOP;
}

/* Return the status that the value names, after writing something that must be thrown away. */
static pa_status on_status(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_value value;
    (void)hook;
    if (pa_mp_read(&reader, &value) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    self->api->out_write(out, "\xc3", 1);
    return value.type == PA_MP_INT ? (pa_status)value.as.i : (pa_status)value.as.u;
}

/* The value is the text of the error. */
static pa_status on_fail(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_value value;
    (void)hook, (void)out;
    if (pa_mp_read(&reader, &value) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    self->api->set_error(self->host, PA_ERR_FAIL,
                         value.type == PA_MP_STR
                             ? value.as.str
                             : pa_str_make((const char *)value.as.bytes.ptr, value.as.bytes.len));
    return PA_ERR_FAIL;
}

/* Write as many bytes as the value says, ignoring every refusal. */
static pa_status on_big(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    uint8_t chunk[1000];
    uint64_t size = 0;
    (void)hook;
    memset(chunk, 'x', sizeof chunk);
    if (pa_mp_read_uint(&reader, &size) != PA_OK || size > UINT32_MAX) {
        return PA_ERR_BAD_ARG;
    }
    {
        const uint8_t head[5] = {0xc6, (uint8_t)(size >> 24 & 0xff), (uint8_t)(size >> 16 & 0xff),
                                 (uint8_t)(size >> 8 & 0xff), (uint8_t)(size & 0xff)};
        self->api->out_write(out, head, sizeof head);
    }
    while (size > 0) {
        const size_t part = size < sizeof chunk ? (size_t)size : sizeof chunk;
        self->api->out_write(out, chunk, part);
        size -= part;
    }
    return PA_OK;
}

static pa_status on_garbage(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    (void)hook, (void)in;
    return self->api->out_write(out, "\xc1", 1);
}

/* Allocate [size, align]: true if it was granted; it is freed again. */
static pa_status on_alloc(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    uint64_t size = 0;
    uint64_t align = 0;
    uint32_t count = 0;
    void *block;
    (void)hook;
    if (pa_mp_read_array(&reader, &count) != PA_OK || count != 2 ||
        pa_mp_read_uint(&reader, &size) != PA_OK || pa_mp_read_uint(&reader, &align) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    block = self->api->alloc(self->host, (size_t)size, (size_t)align);
    pa_mp_write_bool(&writer, block != NULL);
    if (block != NULL) {
        if (align != 0 && (uintptr_t)block % align != 0) {
            return failed(self, "not aligned");
        }
        memset(block, 0xa5, (size_t)size);
        self->api->free(self->host, block, (size_t)size, (size_t)align);
    }
    return writer.status;
}

/* Keep a block of as many bytes as the value says, resizing the one that is kept; 0 frees it. */
static pa_status on_keep(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    uint64_t size = 0;
    void *moved;
    (void)hook;
    if (pa_mp_read_uint(&reader, &size) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    if (size == 0) {
        self->api->free(self->host, self->kept, self->kept_size, 0);
        self->kept = NULL;
        self->kept_size = 0;
        pa_mp_write_bool(&writer, 1);
        return writer.status;
    }
    moved = self->api->realloc(self->host, self->kept, self->kept_size, (size_t)size, 0);
    if (moved != NULL) {
        self->kept = moved;
        self->kept_size = (size_t)size;
    }
    pa_mp_write_bool(&writer, moved != NULL);
    return writer.status;
}

/* Misuse the kept block in the way that the value names. */
static pa_status on_misuse(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_str how;
    char byte = 0;
    (void)hook, (void)out;
    if (pa_mp_read_str(&reader, &how) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    if (pa_str_equal(how, PA_STR("size"))) {
        self->api->free(self->host, self->kept, self->kept_size + 1, 0);
    } else if (pa_str_equal(how, PA_STR("align"))) {
        self->api->free(self->host, self->kept, self->kept_size, 64);
    } else if (pa_str_equal(how, PA_STR("wild"))) {
        self->api->free(self->host, &byte, 1, 0);
    } else if (pa_str_equal(how, PA_STR("resize"))) {
        if (self->api->realloc(self->host, self->kept, self->kept_size + 1, 10, 0) != NULL) {
            return failed(self, "a resize with the wrong old size succeeded");
        }
    } else if (pa_str_equal(how, PA_STR("overrun"))) {
        ((char *)self->kept)[self->kept_size] ^= 1;
        self->api->free(self->host, self->kept, self->kept_size, 0);
    } else if (pa_str_equal(how, PA_STR("twice"))) {
        void *const block = self->kept;
        self->api->free(self->host, block, self->kept_size, 0);
        self->api->free(self->host, block, self->kept_size, 0);
        self->kept = NULL;
        self->kept_size = 0;
    }
    return PA_OK;
}

static pa_status on_context_get(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_bytes value;
    pa_str key;
    pa_status status;
    (void)hook;
    if (pa_mp_read_str(&reader, &key) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    status = self->context->get(self->host, key, &value);
    return status == PA_OK ? self->api->out_write(out, value.ptr, value.len) : status;
}

/* {key: value} stores the value. */
static pa_status on_context_set(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    uint32_t pairs = 0;
    pa_bytes value;
    pa_str key;
    (void)hook, (void)out;
    if (pa_mp_read_map(&reader, &pairs) != PA_OK || pairs != 1 ||
        pa_mp_read_str(&reader, &key) != PA_OK || pa_mp_skip(&reader, &value) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    return self->context->set(self->host, key, value);
}

static pa_status on_context_has(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    pa_str key;
    (void)hook;
    if (pa_mp_read_str(&reader, &key) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    pa_mp_write_int(&writer, self->context->has(self->host, key));
    return writer.status;
}

/* [service, method, arguments] is called: [status, result or nil]. */
static pa_status on_service(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    pa_bytes arguments, result;
    pa_str service, method;
    uint32_t count;
    pa_status status;
    (void)hook;
    if (pa_mp_read_array(&reader, &count) != PA_OK || count != 3 ||
        pa_mp_read_str(&reader, &service) != PA_OK || pa_mp_read_str(&reader, &method) != PA_OK ||
        pa_mp_skip(&reader, &arguments) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    status = self->services->call(self->host, service, method, arguments, &result);
    pa_mp_write_array(&writer, 2);
    pa_mp_write_int(&writer, status);
    if (status == PA_OK) {
        pa_mp_write_raw(&writer, result);
    } else {
        pa_mp_write_nil(&writer);
    }
    return writer.status;
}

/* [level, text] is logged. */
static pa_status on_log(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    uint32_t count = 0;
    uint64_t level = 0;
    pa_str text;
    (void)hook, (void)out;
    if (pa_mp_read_array(&reader, &count) != PA_OK || pa_mp_read_uint(&reader, &level) != PA_OK ||
        pa_mp_read_str(&reader, &text) != PA_OK) {
        return PA_ERR_BAD_ARG;
    }
    self->api->log(self->host, (int32_t)level, text);
    return PA_OK;
}

/* [ready, go]: write a byte to ready, wait for one from go. */
static pa_status on_block(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    pa_mp_reader reader = pa_mp_reader_of(in);
    uint32_t count = 0;
    uint64_t ready = 0;
    uint64_t go = 0;
    (void)user, (void)hook, (void)out;
    if (pa_mp_read_array(&reader, &count) != PA_OK || pa_mp_read_uint(&reader, &ready) != PA_OK ||
        pa_mp_read_uint(&reader, &go) != PA_OK || write((int)ready, "r", 1) != 1) {
        return PA_ERR_BAD_ARG;
    }
    wait_for_byte((int)go);
    return PA_OK;
}

/* Return the largest number of threads that were in this handler together. */
static pa_status on_crowd(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    probe *self = user;
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    const int inside = atomic_fetch_add(&self->inside, 1) + 1;
    int most = atomic_load(&self->most_inside);
    (void)hook, (void)in;
    while (inside > most && !atomic_compare_exchange_weak(&self->most_inside, &most, inside)) {
    }
    usleep(200);
    atomic_fetch_sub(&self->inside, 1);
    pa_mp_write_int(&writer, atomic_load(&self->most_inside));
    return writer.status;
}

typedef struct elsewhere {
    const probe *self;
    pa_status status;
} elsewhere;

static void *use_services_elsewhere(void *argument) {
    elsewhere *job = argument;
    pa_bytes value;
    job->self->api->log(job->self->host, PA_LOG_INFO, PA_STR("from another thread"));
    job->self->api->set_error(job->self->host, PA_ERR_FAIL, PA_STR("nobody asked"));
    job->status = job->self->context->get(job->self->host, PA_STR("key"), &value);
    return NULL;
}

/* Return the status that the context gives on a thread that the host did not call. */
static pa_status on_thread(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    elsewhere job = {self, PA_OK};
    pthread_t thread;
    (void)hook, (void)in;
    if (pthread_create(&thread, NULL, use_services_elsewhere, &job) != 0) {
        return PA_ERR_IO;
    }
    pthread_join(thread, NULL);
    pa_mp_write_int(&writer, job.status);
    return writer.status;
}

/* Register a hook when it is too late. */
static pa_status on_register(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const probe *self = user;
    (void)in, (void)out;
    return self->hooks->register_hook(self->host, hook, 0, on_echo, user);
}

static const struct {
    const char *name;
    pa_hook_fn fn;
} handlers[] = {
    {"echo", on_echo},
    {"name", on_name},
    {"unchanged", on_unchanged},
    {"stop", on_stop},
    {"stop_bare", on_stop_bare},
    {"status", on_status},
    {"fail", on_fail},
    {"big", on_big},
    {"garbage", on_garbage},
    {"alloc", on_alloc},
    {"keep", on_keep},
    {"misuse", on_misuse},
    {"context_get", on_context_get},
    {"context_set", on_context_set},
    {"context_has", on_context_has},
    {"service", on_service},
    {"log", on_log},
    {"block", on_block},
    {"crowd", on_crowd},
    {"thread", on_thread},
    {"register", on_register},
};

static pa_status probe_init(void *instance) {
    probe *self = instance;
    pa_bytes value;
    if (fails(self, "init")) {
        return failed(self, "no disk in the drive\n\x1b[2J");
    }
    if (fails(self, "init-block")) {
        wait_for_byte((int)self->fd);
    }
    if (fails(self, "init-context")) {
        return self->context->get(self->host, PA_STR("absent"), &value);
    }
    return PA_OK;
}

static pa_status probe_register_hooks(void *instance) {
    probe *self = instance;
    size_t i;
    if (fails(self, "register-block")) {
        wait_for_byte((int)self->fd);
    }
    for (i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        const pa_str name = pa_str_make(handlers[i].name, strlen(handlers[i].name));
        const pa_status status = self->hooks->register_hook(
            self->host, name, PA_PRIORITY_NORMAL + (uint32_t)i, handlers[i].fn, self);
        if (status != PA_OK) {
            return status;
        }
    }
    if (fails(self, "register")) {
        return self->hooks->register_hook(self->host, PA_STR("no such hook"), 0, on_echo, self);
    }
    if (fails(self, "register-null")) {
        return self->hooks->register_hook(self->host, PA_STR("echo"), 0, NULL, self);
    }
    return PA_OK;
}

static pa_status probe_shutdown(void *instance) {
    probe *self = instance;
    if (fails(self, "shutdown-block")) {
        wait_for_byte((int)self->fd);
    }
    return fails(self, "shutdown") ? failed(self, "the queue is not empty") : PA_OK;
}

static void probe_destroy(void *instance) {
    probe *self = instance;
    self->api->log(self->host, PA_LOG_DEBUG, PA_STR("destroyed"));
    if (!fails(self, "destroy")) {
        self->api->free(self->host, self->kept, self->kept_size, 0);
    }
    free(self);
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    probe *self = calloc(1, sizeof *self);
    pa_mp_reader value;
    pa_str fail;
    pa_bytes lent;
    if (self == NULL) {
        return PA_ERR_LIMIT;
    }
    self->api = api;
    self->host = host;
    self->context = api->get_interface(host, PA_STR(PA_CONTEXT_1));
    self->hooks = api->get_interface(host, PA_STR(PA_HOOKS_1));
    self->services = api->get_interface(host, PA_STR(PA_SERVICES_1));
    if (self->context == NULL || self->services == NULL || self->hooks == NULL ||
        api->get_interface(host, PA_STR("pa.nothing/1")) != NULL) {
        free(self);
        return PA_ERR_UNSUPPORTED;
    }
    if (pa_mp_find(pa_mp_reader_of(config), PA_STR("fail"), &value) == PA_OK &&
        pa_mp_read_str(&value, &fail) == PA_OK && fail.len < sizeof self->fail) {
        memcpy(self->fail, fail.ptr, fail.len);
    }
    if (pa_mp_find(pa_mp_reader_of(config), PA_STR("fd"), &value) == PA_OK) {
        (void)pa_mp_read_uint(&value, &self->fd);
    }
    if (fails(self, "create-block")) {
        wait_for_byte((int)self->fd);
    }
    if (fails(self, "create") ||
        self->context->get(host, PA_STR("key"), &lent) != PA_ERR_STATE ||
        self->hooks->register_hook(host, PA_STR("echo"), 0, on_echo, self) != PA_ERR_STATE) {
        free(self);
        api->set_error(host, PA_ERR_FAIL, PA_STR("create refused"));
        return PA_ERR_FAIL;
    }
    self->plugin.struct_size = PROBE_STRUCT_SIZE;
#ifdef PROBE_LARGER
    self->plugin.struct_size += (uint32_t)sizeof self->future;
    memset(self->future, 0xff, sizeof self->future);
#endif
    self->plugin.abi_major = PROBE_ABI_MAJOR;
    self->plugin.abi_minor = PA_ABI_MINOR;
    self->plugin.name = PA_STR(PROBE_NAME);
    self->plugin.version = PA_STR(PROBE_VERSION);
    self->plugin.flags = PROBE_FLAGS;
    self->plugin.instance = self;
    self->plugin.init = PROBE_WITHOUT_INIT ? NULL : probe_init;
    self->plugin.register_hooks = probe_register_hooks;
    self->plugin.shutdown = probe_shutdown;
    self->plugin.destroy = probe_destroy;
    *plugin = PROBE_WITHOUT_PLUGIN ? NULL : &self->plugin;
    return PA_OK;
}
