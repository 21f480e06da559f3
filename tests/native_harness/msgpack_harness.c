/* A shared library that walks msgpack with pluginapi_msgpack.h, for ctypes.
 *
 * reencode() reads every value of the input and writes it again; the result must be what another
 * implementation makes of the same input. */
#include <stdlib.h>
#include <string.h>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

/* The writer needs one service: a sink over the caller's buffer. */
struct pa_out {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

static pa_status append(pa_out *out, const void *data, size_t size) {
    if (size > out->capacity - out->size) {
        return PA_ERR_LIMIT;
    }
    memcpy(out->data + out->size, data, size);
    out->size += size;
    return PA_OK;
}

static void write_value(pa_mp_writer *writer, const pa_mp_value *value) {
    switch (value->type) {
    case PA_MP_NIL:
        pa_mp_write_nil(writer);
        break;
    case PA_MP_BOOL:
        pa_mp_write_bool(writer, value->as.boolean);
        break;
    case PA_MP_UINT:
        pa_mp_write_uint(writer, value->as.u);
        break;
    case PA_MP_INT:
        pa_mp_write_int(writer, value->as.i);
        break;
    case PA_MP_FLOAT:
        pa_mp_write_float(writer, value->as.f);
        break;
    case PA_MP_STR:
        pa_mp_write_str(writer, value->as.str);
        break;
    case PA_MP_BIN:
        pa_mp_write_bin(writer, value->as.bytes);
        break;
    case PA_MP_ARRAY:
        pa_mp_write_array(writer, value->as.count);
        break;
    case PA_MP_MAP:
        pa_mp_write_map(writer, value->as.count);
        break;
    case PA_MP_EXT:
        pa_mp_write_ext(writer, value->ext_type, value->as.bytes);
        break;
    }
}

/* Returns the bytes written, or a negative status. The input is copied into a block of exactly its
 * size, so that a sanitizer sees every byte read outside of it. */
PA_EXPORT long reencode(const uint8_t *input, size_t size, uint8_t *output, size_t capacity) {
    uint8_t *const exact = malloc(size == 0 ? 1 : size);
    pa_host_api api;
    pa_out out;
    pa_mp_writer writer;
    pa_mp_reader reader;
    long result;
    if (exact == NULL) {
        return PA_ERR_LIMIT;
    }
    if (size > 0) {
        memcpy(exact, input, size);
    }
    memset(&api, 0, sizeof api);
    api.out_write = append;
    out.data = output;
    out.size = 0;
    out.capacity = capacity;
    writer = pa_mp_writer_of(&api, &out);
    reader = pa_mp_reader_of(pa_bytes_make(exact, size));
    result = PA_OK;
    while (result == PA_OK && pa_mp_left(&reader) > 0) {
        pa_mp_value value;
        result = pa_mp_read(&reader, &value);
        if (result == PA_OK) {
            write_value(&writer, &value);
            result = writer.status;
        }
    }
    free(exact);
    return result == PA_OK ? (long)out.size : result;
}

/* Returns the size of the first value with everything in it, or a negative status. */
PA_EXPORT long skip(const uint8_t *input, size_t size) {
    uint8_t *const exact = malloc(size == 0 ? 1 : size);
    pa_mp_reader reader;
    pa_bytes raw;
    pa_status status;
    if (exact == NULL) {
        return PA_ERR_LIMIT;
    }
    if (size > 0) {
        memcpy(exact, input, size);
    }
    reader = pa_mp_reader_of(pa_bytes_make(exact, size));
    status = pa_mp_skip(&reader, &raw);
    free(exact);
    return status == PA_OK ? (long)raw.len : status;
}

/* Returns where the value of a key of a map starts, or a negative status. */
PA_EXPORT long find(const uint8_t *input, size_t size, const char *key, size_t key_size) {
    const pa_mp_reader reader = pa_mp_reader_of(pa_bytes_make(input, size));
    pa_mp_reader value;
    const pa_status status = pa_mp_find(reader, pa_str_make(key, key_size), &value);
    return status == PA_OK ? (long)(value.at - reader.at) : status;
}

/* Reads with every typed function in turn; returns a bit for each that succeeded. No failure may
 * move the reader. */
PA_EXPORT long typed(const uint8_t *input, size_t size) {
    const pa_mp_reader start = pa_mp_reader_of(pa_bytes_make(input, size));
    pa_mp_reader at[6] = {start, start, start, start, start, start};
    uint32_t count;
    uint64_t number;
    int boolean;
    pa_str str;
    pa_bytes bin;
    const pa_status status[6] = {
        pa_mp_read_map(&at[0], &count),   pa_mp_read_array(&at[1], &count),
        pa_mp_read_str(&at[2], &str),     pa_mp_read_bin(&at[3], &bin),
        pa_mp_read_uint(&at[4], &number), pa_mp_read_bool(&at[5], &boolean),
    };
    long bits = 0;
    int i;
    for (i = 0; i < 6; i++) {
        if (status[i] == PA_OK) {
            bits |= 1L << i;
        } else if (at[i].at != start.at) {
            return -1000;
        }
    }
    return bits;
}
