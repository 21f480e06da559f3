/* A plugin that connects: its one handler takes "host port" and returns what answered there to a
 * request, or the name of the error. Knows nothing of sandboxes. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

PA_MANIFEST({"name": "test.networked", "version": "1.0.0", "author": "Tests"});

typedef struct networked {
    const pa_host_api *api;
    pa_host *host;
    pa_plugin plugin;
} networked;

static int reach(const char *name, const char *port, char *told, size_t room) {
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found, *each;
    ssize_t got;
    size_t used = 0;
    int fd = -1, error = EHOSTUNREACH;
    if (getaddrinfo(name, port, &wanted, &found) != 0) {
        return error;
    }
    for (each = found; each != NULL && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
            error = errno;
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0) {
        return error;
    }
    (void)dprintf(fd, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name);
    while (used + 1 < room && (got = read(fd, told + used, room - used - 1)) > 0) {
        used += (size_t)got;
    }
    told[used] = '\0';
    (void)close(fd);
    return 0;
}

static pa_status on_shout(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const networked *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    char name[128], port[8], text[160], told[4096];
    const char *said = told;
    pa_str wanted;
    int error;
    (void)hook;
    if (pa_mp_read_str(&reader, &wanted) != PA_OK || wanted.len >= sizeof text) {
        return PA_ERR_BAD_ARG;
    }
    memcpy(text, wanted.ptr, wanted.len);
    text[wanted.len] = '\0';
    if (sscanf(text, "%127s %7s", name, port) != 2) {
        return PA_ERR_BAD_ARG;
    }
    if ((error = reach(name, port, told, sizeof told)) != 0) {
        said = strerrorname_np(error);
    }
    pa_mp_write_str(&writer, pa_str_make(said, strlen(said)));
    return writer.status;
}

static pa_status networked_register_hooks(void *instance) {
    networked *const self = instance;
    const pa_hooks_1 *const hooks = self->api->get_interface(self->host, PA_STR(PA_HOOKS_1));
    return hooks == NULL
               ? PA_ERR_FAIL
               : hooks->register_hook(self->host, PA_STR("shout"), 0, on_shout, self);
}

static pa_status nothing(void *instance) {
    (void)instance;
    return PA_OK;
}

static void networked_destroy(void *instance) {
    (void)instance;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    static networked self;
    (void)config;
    self.api = api;
    self.host = host;
    self.plugin.struct_size = sizeof self.plugin;
    self.plugin.abi_major = PA_ABI_MAJOR;
    self.plugin.abi_minor = PA_ABI_MINOR;
    self.plugin.name = PA_STR("test.networked");
    self.plugin.version = PA_STR("1.0.0");
    self.plugin.instance = &self;
    self.plugin.init = nothing;
    self.plugin.register_hooks = networked_register_hooks;
    self.plugin.shutdown = nothing;
    self.plugin.destroy = networked_destroy;
    *plugin = &self.plugin;
    return PA_OK;
}
