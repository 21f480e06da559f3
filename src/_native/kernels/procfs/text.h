/* What the kernel writes into /proc/PID/{stat,statm,status} and in memory.stat: proc(5), cgroups(7).
 *
 * Knows no Python. The text is taken as hostile: a program chooses its own name, which stands in
 * stat and status. Nothing is read beyond `size`. Thread-safe: no state. Functions that return int
 * return 0, or EBADMSG when the text is not what proc(5) describes. */
#ifndef PLUGINAPI_PROCFS_TEXT_H
#define PLUGINAPI_PROCFS_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Resident pages: the second number of statm. */
int pa_text_statm(const char *text, size_t size, uint64_t *resident);

/* The number that a text begins with, or that follows its first word. */
int pa_text_first_number(const char *text, size_t size, uint64_t *out);

typedef struct pa_text_of_stat {
    char state;           /* R, S, D, Z, T, t, X, I */
    uint32_t flags;       /* PF_*: 0x200000 is a thread of the kernel */
    uint64_t start_ticks; /* when it started, in ticks of the clock since the machine did */
} pa_text_of_stat;

int pa_text_stat(const char *text, size_t size, pa_text_of_stat *out);

typedef struct pa_text_of_status {
    uint64_t peak_kib; /* VmHWM; 0 of what has no memory of its own */
    uint64_t voluntary, involuntary;
    int has_peak, has_switches;
} pa_text_of_status;

void pa_text_status(const char *text, size_t size, pa_text_of_status *out);

/* What memory.stat of a control group says of either version: bytes of files that are kept for the
 * next read, which the kernel takes back when it needs them; those in memory alone are not. */
uint64_t pa_text_cached(const char *text, size_t size);

#endif
