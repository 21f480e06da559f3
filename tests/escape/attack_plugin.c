/* The attacks of attack.c, tried by a plugin: the hook "attack" takes a list of texts, the attack and
 * its arguments, and returns what the program would exit with. */
#define main attack
#include "attack.c"
#undef main

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

PA_MANIFEST({"name": "test.attack", "version": "1.0.0", "author": "Tests"});

#define MOST_ARGUMENTS 6
#define MOST_TEXT 512

typedef struct hostile {
    pa_plugin plugin;
    const pa_host_api *api;
    pa_host *host;
} hostile;

static pa_status on_attack(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    const hostile *self = user;
    pa_mp_reader reader = pa_mp_reader_of(in);
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    static char texts[MOST_ARGUMENTS][MOST_TEXT];
    char *argv[MOST_ARGUMENTS + 2] = {texts[0]};
    uint32_t count, i;
    (void)hook;
    if (pa_mp_read_array(&reader, &count) != PA_OK || count > MOST_ARGUMENTS) {
        return PA_ERR_BAD_ARG;
    }
    for (i = 0; i < count; i++) {
        pa_str text;
        if (pa_mp_read_str(&reader, &text) != PA_OK || text.len >= MOST_TEXT) {
            return PA_ERR_BAD_ARG;
        }
        memcpy(texts[i], text.ptr, text.len);
        texts[i][text.len] = '\0';
        argv[i + 1] = texts[i];
    }
    pa_mp_write_int(&writer, attack((int)count + 1, argv));
    return writer.status;
}

static pa_status register_hooks(void *instance) {
    hostile *self = instance;
    const pa_hooks_1 *hooks = self->api->get_interface(self->host, PA_STR(PA_HOOKS_1));
    return hooks->register_hook(self->host, PA_STR("attack"), PA_PRIORITY_NORMAL, on_attack, self);
}

static pa_status nothing(void *instance) {
    (void)instance;
    return PA_OK;
}

static void gone(void *instance) {
    (void)instance;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    static hostile self;
    (void)config;
    self.api = api;
    self.host = host;
    self.plugin.struct_size = sizeof self.plugin;
    self.plugin.abi_major = PA_ABI_MAJOR;
    self.plugin.abi_minor = PA_ABI_MINOR;
    self.plugin.name = PA_STR("test.attack");
    self.plugin.version = PA_STR("1.0.0");
    self.plugin.instance = &self;
    self.plugin.init = nothing;
    self.plugin.register_hooks = register_hooks;
    self.plugin.shutdown = nothing;
    self.plugin.destroy = gone;
    *plugin = &self.plugin;
    return PA_OK;
}
