#include "message.h"

#include <string.h>

#include "abi/instance_private.h"

#define LONGEST (UINT32_C(1) << 28)

static const pa_host_api *writing(void) {
    static pa_host_api api;
    if (api.struct_size == 0) {
        pa_services_fill(&api);
    }
    return &api;
}

void pa_draft_open(pa_draft *draft) {
    pa_sink_open(&draft->out, LONGEST);
    draft->writer = pa_mp_writer_of(writing(), &draft->out);
}

void pa_draft_close(pa_draft *draft) {
    pa_sink_close(&draft->out);
}

/* The size of the UTF-8 sequence at `at`, or 0 when there is none (RFC 3629, table in section 4). */
static size_t sequence(const uint8_t *at, size_t left) {
    const uint8_t first = at[0];
    size_t size, i;
    uint8_t low = 0x80, high = 0xBF;
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xC2 || first > 0xF4) {
        return 0;
    }
    size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : low;
    high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : high;
    if (size > left || at[1] < low || at[1] > high) {
        return 0;
    }
    for (i = 2; i < size; i++) {
        if (at[i] < 0x80 || at[i] > 0xBF) {
            return 0;
        }
    }
    return size;
}

void pa_write_text(pa_mp_writer *writer, pa_str text, size_t most) {
    char clean[PA_MAX_TEXT];
    size_t from = 0, to = 0;
    most = most < sizeof clean ? most : sizeof clean;
    while (from < text.len) {
        const size_t size = sequence((const uint8_t *)text.ptr + from, text.len - from);
        if (to + (size == 0 ? 1 : size) > most) {
            break;
        }
        if (size == 0) {
            clean[to++] = '?';
            from++;
        } else {
            memcpy(clean + to, text.ptr + from, size);
            to += size;
            from += size;
        }
    }
    pa_mp_write_str(writer, pa_str_make(clean, to));
}

void pa_write_name(pa_mp_writer *writer, const char *text) {
    pa_mp_write_str(writer, pa_str_make(text, strlen(text)));
}

void pa_write_error(pa_mp_writer *writer, const char *code, pa_str message, int32_t status) {
    pa_mp_write_array(writer, 6);
    pa_write_name(writer, "error");
    pa_write_name(writer, code);
    pa_write_text(writer, message, PA_MAX_TEXT);
    pa_write_name(writer, "");
    pa_write_name(writer, "");
    pa_mp_write_int(writer, status);
}

pa_status pa_read_tag(pa_mp_reader *reader, pa_str *tag, uint32_t *members) {
    pa_status status = pa_mp_read_array(reader, members);
    if (status == PA_OK && *members == 0) {
        status = PA_ERR_BAD_ARG;
    }
    if (status == PA_OK) {
        status = pa_mp_read_str(reader, tag);
    }
    if (status == PA_OK) {
        (*members)--;
    }
    return status;
}

static uint64_t limit(pa_mp_reader limits, const char *name, uint64_t otherwise) {
    pa_mp_reader value;
    uint64_t number = otherwise;
    if (pa_mp_find(limits, pa_str_make(name, strlen(name)), &value) == PA_OK &&
        pa_mp_read_uint(&value, &number) != PA_OK) {
        return otherwise;
    }
    return number;
}

pa_status pa_read_initialize(pa_mp_reader *reader, uint32_t members, pa_initialize *message) {
    pa_mp_reader limits;
    pa_status status;
    if (members < 8) {
        return PA_ERR_BAD_ARG;
    }
    status = pa_mp_read_str(reader, &message->plugin);
    if (status == PA_OK) {
        status = pa_mp_read_str(reader, &message->version);
    }
    if (status == PA_OK) {
        status = pa_mp_skip(reader, NULL); /* hooks */
    }
    if (status == PA_OK) {
        status = pa_mp_skip(reader, NULL); /* push: what is pushed comes with its names */
    }
    message->write = *reader;
    if (status == PA_OK) {
        status = pa_mp_skip(reader, NULL);
    }
    if (status == PA_OK) {
        status = pa_mp_skip(reader, NULL); /* services */
    }
    if (status == PA_OK) {
        status = pa_mp_read_bin(reader, &message->config);
    }
    limits = *reader;
    if (status == PA_OK) {
        status = pa_mp_skip(reader, NULL);
    }
    if (status == PA_OK) {
        message->heap_bytes = limit(limits, "max_heap_bytes", UINT64_C(50) << 20);
        message->result_bytes = limit(limits, "max_result_bytes", UINT64_C(15) << 20);
    }
    return status;
}
