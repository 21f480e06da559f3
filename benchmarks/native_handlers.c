/* Handlers that do nothing, or hand back what they got: what is measured is the way to them. */
#include "pluginapi.h"

#ifndef FLAGS
#define FLAGS 0
#endif

PA_MANIFEST({"name": "bench.native", "version": "1.0.0", "author": "Benchmarks"});

static const pa_host_api *api;
static pa_host *host;

static pa_status PA_CALL on_same(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user;
    (void)hook;
    (void)in;
    (void)out;
    return PA_OK;
}

static pa_status PA_CALL on_echo(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    (void)user;
    (void)hook;
    return api->out_write(out, in.ptr, in.len);
}

static pa_status PA_CALL nothing(void *instance) {
    (void)instance;
    return PA_OK;
}

static void PA_CALL destroy(void *instance) {
    (void)instance;
}

static pa_status PA_CALL register_hooks(void *instance) {
    const pa_hooks_1 *const hooks =
        (const pa_hooks_1 *)api->get_interface(host, PA_STR(PA_HOOKS_1));
    pa_status status = hooks->register_hook(host, PA_STR("same"), 200, on_same, instance);
    if (status == PA_OK) {
        status = hooks->register_hook(host, PA_STR("echo"), 200, on_echo, instance);
    }
    if (status == PA_OK) {
        status = hooks->register_hook(host, PA_STR("same_int"), 200, on_same, instance);
    }
    if (status == PA_OK) {
        status = hooks->register_hook(host, PA_STR("echo_int"), 200, on_echo, instance);
    }
    return status;
}

static const pa_plugin plugin = {
    sizeof(pa_plugin), PA_ABI_MAJOR, PA_ABI_MINOR, PA_STR_INIT("bench.native"),
    PA_STR_INIT("1.0.0"), FLAGS, NULL, nothing, register_hooks, nothing, destroy, NULL};

PA_EXPORT pa_status PA_CALL create_plugin(const pa_host_api *services, pa_host *self,
                                          pa_bytes config, const pa_plugin **made) {
    (void)config;
    api = services;
    host = self;
    *made = &plugin;
    return PA_OK;
}
