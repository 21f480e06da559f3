#include "context.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"

int pa_worker_read_names(pa_mp_reader reader, pa_names *list) {
    uint32_t count;
    size_t bytes = 0, i;
    pa_mp_reader again;
    pa_str name;
    char *text;
    if (pa_mp_read_array(&reader, &count) != PA_OK || count > PA_WORKER_MOST_KEYS) {
        return 0;
    }
    for (again = reader, i = 0; i < count; i++) {
        if (pa_mp_read_str(&again, &name) != PA_OK) {
            return 0;
        }
        bytes += name.len;
    }
    list->items = calloc(count + 1, sizeof *list->items);
    list->text = text = malloc(bytes + 1);
    if (list->items == NULL || text == NULL) {
        return 0;
    }
    for (i = 0; i < count && pa_mp_read_str(&reader, &name) == PA_OK; i++) {
        memcpy(text, name.ptr, name.len);
        list->items[i] = pa_str_make(text, name.len);
        text += name.len;
    }
    list->count = count;
    return 1;
}

static int index_of(const pa_names *list, pa_str name, size_t *index) {
    size_t i;
    for (i = 0; i < list->count; i++) {
        if (pa_str_equal(list->items[i], name)) {
            *index = i;
            return 1;
        }
    }
    return 0;
}

/* Find a key among what the running call has written, and what came with it. */
static int known_value(pa_worker *self, pa_str key, pa_bytes *value) {
    pa_serving *const now = self->now;
    size_t index, i;
    if (index_of(&self->write, key, &index)) {
        for (i = 0; i < now->changed; i++) {
            if (now->changes[i].key == index) {
                *value = pa_bytes_make(now->changes[i].value, now->changes[i].len);
                return 1;
            }
        }
    }
    if (now->context != NULL) {
        pa_mp_reader found;
        return pa_mp_find(pa_mp_reader_of(pa_bytes_make(now->context, now->context_len)), key,
                          &found) == PA_OK &&
               pa_mp_skip(&found, value) == PA_OK;
    }
    return 0;
}

pa_status pa_worker_context_get(void *user, pa_str key, pa_out *value) {
    pa_worker *const self = user;
    pa_bytes found;
    uint8_t *answer = NULL;
    pa_status status = PA_OK;
    if (!known_value(self, key, &found)) {
        status = pa_worker_ask_value(self, "context_get", key, &answer, &found);
    }
    if (status == PA_OK) {
        status = pa_sink_append(value, found.ptr, found.len);
    }
    free(answer);
    return status;
}

pa_status pa_worker_context_has(void *user, pa_str key) {
    pa_worker *const self = user;
    pa_bytes found;
    uint8_t *answer = NULL;
    pa_status status;
    if (known_value(self, key, &found)) {
        return PA_OK;
    }
    status = pa_worker_ask_value(self, "context_has", key, &answer, &found);
    if (status == PA_OK && (found.len != 1 || found.ptr[0] != 0xc3)) {
        status = PA_ERR_NOT_FOUND; /* 0xc3 is true */
    }
    free(answer);
    return status;
}

static pa_status write_locally(pa_serving *now, size_t key, pa_bytes value) {
    pa_mp_reader reader = pa_mp_reader_of(value);
    uint8_t *const copy = malloc(value.len + 1);
    size_t i;
    /* It is put into a message as it is: it must be one value. */
    if (copy == NULL || pa_mp_skip(&reader, NULL) != PA_OK || pa_mp_left(&reader) != 0) {
        free(copy);
        return copy == NULL ? PA_ERR_LIMIT : PA_ERR_BAD_ARG;
    }
    memcpy(copy, value.ptr, value.len);
    for (i = 0; i < now->changed && now->changes[i].key != key; i++) {
    }
    if (i == now->changed) {
        now->changes[now->changed++].key = key;
    } else {
        free(now->changes[i].value);
    }
    now->changes[i].value = copy;
    now->changes[i].len = value.len;
    return PA_OK;
}

pa_status pa_worker_context_set(void *user, pa_str key, pa_bytes value) {
    pa_worker *const self = user;
    uint8_t *answer = NULL;
    size_t index, len;
    pa_draft draft;
    pa_status status;
    if (self->now->with_context && index_of(&self->write, key, &index)) {
        return write_locally(self->now, index, value);
    }
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 3);
    pa_write_name(&draft.writer, "context_set");
    pa_write_text(&draft.writer, key, PA_MAX_NAME);
    pa_mp_write_bin(&draft.writer, value);
    status = pa_worker_ask(self, &draft, &answer, &len);
    pa_draft_close(&draft);
    free(answer);
    return status;
}

void pa_worker_write_changes(const pa_worker *self, pa_mp_writer *writer, const pa_serving *now) {
    size_t i;
    pa_mp_write_array(writer, 2);
    pa_mp_write_map(writer, (uint32_t)now->changed);
    for (i = 0; i < now->changed; i++) {
        pa_mp_write_str(writer, self->write.items[now->changes[i].key]);
        pa_mp_write_raw(writer, pa_bytes_make(now->changes[i].value, now->changes[i].len));
    }
    pa_mp_write_array(writer, 0);
}

pa_serving *pa_worker_serve_begin(pa_worker *self, pa_serving *now, uint64_t call) {
    pa_serving *const before = self->now;
    /* Not the array of changes: it is large, and most calls change nothing. */
    now->call = call;
    now->with_context = 0;
    now->context = NULL;
    now->context_len = 0;
    now->changed = 0;
    self->now = now;
    return before;
}

void pa_worker_serve_end(pa_worker *self, pa_serving *now, pa_serving *before) {
    size_t i;
    for (i = 0; i < now->changed; i++) {
        free(now->changes[i].value);
    }
    self->now = before;
}
