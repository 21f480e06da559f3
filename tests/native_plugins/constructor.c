/* A library whose constructor writes a file: it shows whether any of its code has run. */
#include <stdio.h>

#include "pluginapi.h"

#ifndef MARK_PATH
#error "compile with -DMARK_PATH='\"...\"'"
#endif

PA_MANIFEST({"name": "test.constructor", "version": "1.0.0", "author": "The probe authors"});

static void __attribute__((constructor)) leave_a_mark(void) {
    FILE *mark = fopen(MARK_PATH, "w");
    if (mark != NULL) {
        fputs("the constructor ran\n", mark);
        fclose(mark);
    }
}

static pa_status nothing(void *instance) {
    (void)instance;
    return PA_OK;
}

static void nothing_left(void *instance) {
    (void)instance;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    static const pa_plugin constant = {sizeof(pa_plugin),
                                       PA_ABI_MAJOR,
                                       PA_ABI_MINOR,
                                       PA_STR_INIT("test.constructor"),
                                       PA_STR_INIT("1.0.0"),
                                       PA_F_UNLOADABLE,
                                       NULL,
                                       nothing,
                                       NULL,
                                       nothing,
                                       nothing_left,
                                       NULL};
    (void)api, (void)host, (void)config;
    *plugin = &constant;
    return PA_OK;
}
