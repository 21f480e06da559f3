/* plugin-worker: hosts native plugins outside of the process that uses them, with no interpreter.
 *
 *     plugin-worker nursery HOST-PID   descriptor 3: the control socket
 *     plugin-worker worker             descriptor 3: the channel; 4: where the plugin is handed over
 *     plugin-worker worker locked      and 5: the plan that is run when the plugin is loaded
 *     plugin-worker worker strict      the same; it can read, write and end afterwards
 *
 * Started by the library alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nursery.h"
#include "worker.h"

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "worker") == 0) {
        return pa_worker_run(3, 4, -1, 0);
    }
    if (argc == 3 && strcmp(argv[1], "worker") == 0) {
        const int strict = strcmp(argv[2], "strict") == 0;
        if (strict || strcmp(argv[2], "locked") == 0) {
            return pa_worker_run(3, 4, 5, strict);
        }
    }
    if (argc == 3 && strcmp(argv[1], "nursery") == 0) {
        return pa_nursery_run(3, (pid_t)strtol(argv[2], NULL, 10), "/proc/self/exe");
    }
    (void)fputs("plugin-worker is started by the pluginapi library, not by hand\n", stderr);
    return 2;
}
