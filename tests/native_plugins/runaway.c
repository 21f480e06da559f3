/* A plugin that ends its process, or starts others and lets go of them. Never load it in-process. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

PA_MANIFEST({"name": "test.runaway", "version": "1.0.0", "author": "Tests"});

typedef struct runaway {
    const pa_host_api *api;
    pa_host *host;
    pa_plugin plugin;
} runaway;

static pa_status on_exit_now(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    _exit(7);
}

static pa_status on_crash(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    abort();
}

static void sleep_on(void) __attribute__((noreturn));
static void sleep_on(void) {
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    for (;;) {
        (void)sleep(600);
    }
}

static pa_status report(const runaway *self, pid_t pid, pa_out *out) {
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    pa_mp_write_int(&writer, pid);
    return writer.status;
}

static pa_status on_child(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const pid_t pid = fork();
    (void)hook, (void)in;
    if (pid == 0) {
        sleep_on();
    }
    return report(user, pid, out);
}

/* Fork twice with a session between, as daemons do. */
static pa_status on_daemon(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    int numbers[2];
    pid_t pid = 0;
    (void)hook, (void)in;
    if (pipe(numbers) != 0) {
        return PA_ERR_FAIL;
    }
    if (fork() == 0) {
        (void)setsid();
        pid = fork();
        if (pid == 0) {
            sleep_on();
        }
        _exit(write(numbers[1], &pid, sizeof pid) == (ssize_t)sizeof pid ? 0 : 1);
    }
    if (read(numbers[0], &pid, sizeof pid) != (ssize_t)sizeof pid) {
        return PA_ERR_FAIL;
    }
    (void)close(numbers[0]);
    (void)close(numbers[1]);
    return report(user, pid, out);
}

static pa_status runaway_init(void *instance) {
    (void)instance;
    return PA_OK;
}

static pa_status runaway_register_hooks(void *instance) {
    static const struct {
        const char *name;
        pa_hook_fn fn;
    } handlers[] = {
        {"exit", on_exit_now}, {"crash", on_crash}, {"child", on_child}, {"daemon", on_daemon}};
    runaway *const self = instance;
    const pa_hooks_1 *const hooks = self->api->get_interface(self->host, PA_STR(PA_HOOKS_1));
    size_t i;
    for (i = 0; hooks != NULL && i < sizeof handlers / sizeof *handlers; i++) {
        const pa_str name = pa_str_make(handlers[i].name, strlen(handlers[i].name));
        if (hooks->register_hook(self->host, name, 0, handlers[i].fn, self) != PA_OK) {
            return PA_ERR_FAIL;
        }
    }
    return PA_OK;
}

static pa_status runaway_shutdown(void *instance) {
    (void)instance;
    return PA_OK;
}

static void runaway_destroy(void *instance) {
    (void)instance;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    static runaway self;
    (void)config;
    self.api = api;
    self.host = host;
    self.plugin.struct_size = sizeof self.plugin;
    self.plugin.abi_major = PA_ABI_MAJOR;
    self.plugin.abi_minor = PA_ABI_MINOR;
    self.plugin.name = PA_STR("test.runaway");
    self.plugin.version = PA_STR("1.0.0");
    self.plugin.instance = &self;
    self.plugin.init = runaway_init;
    self.plugin.register_hooks = runaway_register_hooks;
    self.plugin.shutdown = runaway_shutdown;
    self.plugin.destroy = runaway_destroy;
    *plugin = &self.plugin;
    return PA_OK;
}
