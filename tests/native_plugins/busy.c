/* A plugin that uses its processor, in functions of known names. */
#include <time.h>

#include "pluginapi.h"

PA_MANIFEST({"name": "test.busy", "version": "1.0.0", "author": "Tests"});

typedef struct busy {
    const pa_host_api *api;
    pa_host *host;
    pa_plugin plugin;
} busy;

static volatile unsigned long sum;

__attribute__((noinline)) static void busy_inner(unsigned long turns) {
    for (unsigned long i = 0; i < turns; i++) {
        sum += i * i;
    }
}

/* Compilers leave out the frame of what calls nothing, and with it its caller in stacks: here this. */
__attribute__((noinline)) static void busy_turn(void) {
    busy_inner(100000);
    sum++;
}

__attribute__((noinline)) static void busy_outer(void) {
    struct timespec begun, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        busy_turn();
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begun.tv_sec < 3);
}

static pa_status on_shout(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user, (void)hook, (void)in, (void)out;
    busy_outer();
    return PA_OK;
}

static pa_status busy_init(void *instance) {
    (void)instance;
    return PA_OK;
}

static pa_status busy_register_hooks(void *instance) {
    busy *const self = instance;
    const pa_hooks_1 *const hooks = self->api->get_interface(self->host, PA_STR(PA_HOOKS_1));
    return hooks->register_hook(self->host, PA_STR("shout"), 0, on_shout, self);
}

static pa_status busy_shutdown(void *instance) {
    (void)instance;
    return PA_OK;
}

static void busy_destroy(void *instance) {
    (void)instance;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    static busy self;
    (void)config;
    self.api = api;
    self.host = host;
    self.plugin.struct_size = sizeof self.plugin;
    self.plugin.abi_major = PA_ABI_MAJOR;
    self.plugin.abi_minor = PA_ABI_MINOR;
    self.plugin.name = PA_STR("test.busy");
    self.plugin.version = PA_STR("1.0.0");
    self.plugin.instance = &self;
    self.plugin.init = busy_init;
    self.plugin.register_hooks = busy_register_hooks;
    self.plugin.shutdown = busy_shutdown;
    self.plugin.destroy = busy_destroy;
    *plugin = &self.plugin;
    return PA_OK;
}
