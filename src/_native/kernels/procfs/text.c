#include "text.h"

#include <errno.h>
#include <string.h>

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_spaces(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t')) {
        c->at++;
    }
}

static void skip_word(cursor *c) {
    skip_spaces(c);
    while (c->at < c->end && *c->at != ' ' && *c->at != '\t' && *c->at != '\n') {
        c->at++;
    }
}

/* Read a number without a sign; numbers beyond 64 bits are no numbers. */
static int take_number(cursor *c, uint64_t *out) {
    uint64_t value = 0;
    const char *first;
    skip_spaces(c);
    first = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        const uint64_t digit = (uint64_t)(*c->at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return EBADMSG;
        }
        value = value * 10 + digit;
        c->at++;
    }
    if (c->at == first) {
        return EBADMSG;
    }
    *out = value;
    return 0;
}

int pa_text_statm(const char *text, size_t size, uint64_t *resident) {
    cursor c = {text, text + size};
    uint64_t total;
    return take_number(&c, &total) != 0 ? EBADMSG : take_number(&c, resident);
}

int pa_text_first_number(const char *text, size_t size, uint64_t *out) {
    cursor c = {text, text + size};
    if (take_number(&c, out) == 0) {
        return 0;
    }
    c.at = text;
    skip_word(&c);
    return take_number(&c, out);
}

int pa_text_stat(const char *text, size_t size, pa_text_of_stat *out) {
    cursor c = {text, text + size};
    uint64_t flags;
    int i;
    /* The name may hold anything but a 0, ") R" too: the last parenthesis ends it. */
    const char *close = NULL;
    for (const char *p = c.end; p > c.at; p--) {
        if (p[-1] == ')') {
            close = p;
            break;
        }
    }
    if (close == NULL) {
        return EBADMSG;
    }
    c.at = close;
    skip_spaces(&c);
    if (c.at == c.end || *c.at < 'A' || *c.at > 'z') {
        return EBADMSG;
    }
    out->state = *c.at++;
    /* ppid, pgrp, session, tty and tpgid, which may be negative; then flags. */
    for (i = 0; i < 5; i++) {
        skip_word(&c);
    }
    if (take_number(&c, &flags) != 0) {
        return EBADMSG;
    }
    out->flags = (uint32_t)flags;
    /* Fields 10 to 21; some may be negative. */
    for (i = 0; i < 12; i++) {
        skip_word(&c);
    }
    return take_number(&c, &out->start_ticks);
}

static int begins(const char *line, const char *end, const char *name) {
    const size_t size = strlen(name);
    return (size_t)(end - line) > size && memcmp(line, name, size) == 0;
}

void pa_text_status(const char *text, size_t size, pa_text_of_status *out) {
    const char *at = text, *const end = text + size;
    int found_voluntary = 0, found_involuntary = 0;
    memset(out, 0, sizeof *out);
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        cursor c;
        if (stop == NULL) {
            break; /* Cut: what it says may be half of a number. */
        }
        /* Line breaks in a program's name are written as \n: each line begins with its own. */
        c.end = stop;
        if (begins(at, stop, "VmHWM:")) {
            c.at = at + sizeof "VmHWM:" - 1;
            out->has_peak = take_number(&c, &out->peak_kib) == 0;
        } else if (begins(at, stop, "voluntary_ctxt_switches:")) {
            c.at = at + sizeof "voluntary_ctxt_switches:" - 1;
            found_voluntary = take_number(&c, &out->voluntary) == 0;
        } else if (begins(at, stop, "nonvoluntary_ctxt_switches:")) {
            c.at = at + sizeof "nonvoluntary_ctxt_switches:" - 1;
            found_involuntary = take_number(&c, &out->involuntary) == 0;
        }
        at = stop + 1;
    }
    out->has_switches = found_voluntary && found_involuntary;
}

static int value_of(const char *line, const char *end, const char *name, uint64_t *out) {
    cursor c;
    if (!begins(line, end, name)) {
        return 0;
    }
    c.at = line + strlen(name);
    c.end = end;
    return take_number(&c, out) == 0;
}

uint64_t pa_text_cached(const char *text, size_t size) {
    /* Version 1 says both for the group alone, too; with those below it is what counts. */
    uint64_t cache = 0, shared = 0, file = 0, shmem = 0;
    int older = 0;
    const char *at = text, *const end = text + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) {
            break;
        }
        older |= value_of(at, stop, "total_cache ", &cache);
        older |= value_of(at, stop, "total_shmem ", &shared);
        (void)value_of(at, stop, "file ", &file);
        (void)value_of(at, stop, "shmem ", &shmem);
        at = stop + 1;
    }
    if (older) {
        file = cache;
        shmem = shared;
    }
    return file > shmem ? file - shmem : 0;
}
