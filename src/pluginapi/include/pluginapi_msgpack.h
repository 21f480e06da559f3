/* pluginapi_msgpack.h - read and write msgpack in a plugin: header only, bounds-checked, no heap.
 *
 * Hook values cross the ABI as msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md).
 * C99, and valid C++11 and later. Everything here is a static inline function: nothing to link.
 *
 * READING. A pa_mp_reader is two pointers into borrowed bytes; copy it to remember a place. No
 * function reads outside the bytes it was given, whatever they hold, and none recurses. On an error
 * the reader stays where it was.
 *     PA_ERR_BAD_ARG    truncated, the never-used byte 0xc1, or a count larger than the rest
 *     PA_ERR_NOT_FOUND  a value of another type than asked for, or no such key
 * Text is not checked to be UTF-8.
 *
 * WRITING. A pa_mp_writer appends to the pa_out of the running call and keeps its first error: write
 * everything, then return writer.status. It chooses the shortest encoding. The caller writes as
 * many values after pa_mp_write_array and pa_mp_write_map as announced.
 */
#ifndef PLUGINAPI_MSGPACK_H
#define PLUGINAPI_MSGPACK_H

#include <stdint.h>
#include <string.h>

#include "pluginapi.h"

/* ---------------------------------------------------------------------------------------------
 * Reading
 */

typedef struct pa_mp_reader {
    const uint8_t *at;
    const uint8_t *end;
} pa_mp_reader;

typedef enum pa_mp_type {
    PA_MP_NIL,
    PA_MP_BOOL,
    PA_MP_UINT, /* every integer >= 0, however it is encoded */
    PA_MP_INT,  /* integers < 0 only */
    PA_MP_FLOAT,
    PA_MP_STR,
    PA_MP_BIN,
    PA_MP_ARRAY,
    PA_MP_MAP,
    PA_MP_EXT
} pa_mp_type;

/* One value; of an array or a map only its head, the elements follow in the reader. */
typedef struct pa_mp_value {
    pa_mp_type type;
    int8_t ext_type; /* PA_MP_EXT */
    union {
        int boolean;    /* PA_MP_BOOL: 0 or 1 */
        uint64_t u;     /* PA_MP_UINT */
        int64_t i;      /* PA_MP_INT */
        double f;       /* PA_MP_FLOAT, 32-bit floats are widened */
        pa_str str;     /* PA_MP_STR */
        pa_bytes bytes; /* PA_MP_BIN, PA_MP_EXT */
        uint32_t count; /* PA_MP_ARRAY: elements, PA_MP_MAP: pairs */
    } as;
} pa_mp_value;

/* Start reading at the first byte. */
static inline pa_mp_reader pa_mp_reader_of(pa_bytes bytes) {
    static const uint8_t nothing[1] = {0};
    pa_mp_reader reader;
    reader.at = bytes.len == 0 ? nothing : bytes.ptr;
    reader.end = reader.at + bytes.len;
    return reader;
}

/* Return the number of bytes that are still to be read. */
static inline size_t pa_mp_left(const pa_mp_reader *reader) {
    return (size_t)(reader->end - reader->at);
}

/* Read an unsigned big-endian number of `width` bytes; the caller has checked that they are there. */
static inline uint64_t pa_mp_big_endian_(const uint8_t *at, size_t width) {
    uint64_t number = 0;
    size_t i;
    for (i = 0; i < width; i++) {
        number = (number << 8) | at[i];
    }
    return number;
}

/* Read the next value. */
static inline pa_status pa_mp_read(pa_mp_reader *reader, pa_mp_value *value) {
    /* For 0xc4 to 0xdf: bytes of the length or number that follows the tag. */
    static const uint8_t widths[28] = {1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2,
                                       4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    const size_t left = pa_mp_left(reader);
    uint8_t tag;
    size_t head = 1;
    uint64_t number = 0;
    uint64_t payload = 0;
    pa_mp_value found;

    if (left == 0) {
        return PA_ERR_BAD_ARG;
    }
    tag = reader->at[0];
    memset(&found, 0, sizeof found);

    if (tag >= 0xc4 && tag <= 0xdf) {
        const size_t width = widths[tag - 0xc4];
        if (left - 1 < width) {
            return PA_ERR_BAD_ARG;
        }
        number = pa_mp_big_endian_(reader->at + 1, width);
        head += width;
    }

    if (tag <= 0x7f) {
        found.type = PA_MP_UINT;
        found.as.u = tag;
    } else if (tag >= 0xe0) {
        found.type = PA_MP_INT;
        found.as.i = (int64_t)tag - 256;
    } else if (tag <= 0x8f) {
        found.type = PA_MP_MAP;
        number = tag & 0x0fu;
    } else if (tag <= 0x9f) {
        found.type = PA_MP_ARRAY;
        number = tag & 0x0fu;
    } else if (tag <= 0xbf) {
        found.type = PA_MP_STR;
        payload = tag & 0x1fu;
    } else {
        switch (tag) {
        case 0xc0:
            found.type = PA_MP_NIL;
            break;
        case 0xc2:
        case 0xc3:
            found.type = PA_MP_BOOL;
            found.as.boolean = tag == 0xc3;
            break;
        case 0xc4:
        case 0xc5:
        case 0xc6:
            found.type = PA_MP_BIN;
            payload = number;
            break;
        case 0xc7:
        case 0xc8:
        case 0xc9:
            found.type = PA_MP_EXT;
            payload = number;
            break;
        case 0xd4:
        case 0xd5:
        case 0xd6:
        case 0xd7:
        case 0xd8:
            found.type = PA_MP_EXT;
            payload = (uint64_t)1 << (tag - 0xd4);
            break;
        case 0xca: {
            const uint32_t bits = (uint32_t)number;
            float single;
            memcpy(&single, &bits, sizeof single);
            found.type = PA_MP_FLOAT;
            found.as.f = (double)single;
            break;
        }
        case 0xcb:
            found.type = PA_MP_FLOAT;
            memcpy(&found.as.f, &number, sizeof found.as.f);
            break;
        case 0xcc:
        case 0xcd:
        case 0xce:
        case 0xcf:
            found.type = PA_MP_UINT;
            found.as.u = number;
            break;
        case 0xd0:
        case 0xd1:
        case 0xd2:
        case 0xd3: {
            const unsigned bits = 8u << (tag - 0xd0);
            if (number >> (bits - 1) == 0) {
                found.type = PA_MP_UINT;
                found.as.u = number;
            } else {
                /* Two's complement without a conversion that C leaves to the compiler. */
                const uint64_t magnitude_less_1 =
                    ~number & (bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1);
                found.type = PA_MP_INT;
                found.as.i = -(int64_t)magnitude_less_1 - 1;
            }
            break;
        }
        case 0xd9:
        case 0xda:
        case 0xdb:
            found.type = PA_MP_STR;
            payload = number;
            break;
        case 0xdc:
        case 0xdd:
            found.type = PA_MP_ARRAY;
            break;
        case 0xde:
        case 0xdf:
            found.type = PA_MP_MAP;
            break;
        default: /* 0xc1 is never used. */
            return PA_ERR_BAD_ARG;
        }
    }

    if (found.type == PA_MP_EXT) {
        if (left - head < 1) {
            return PA_ERR_BAD_ARG;
        }
        found.ext_type = (int8_t)(reader->at[head] < 128 ? reader->at[head]
                                                         : (int)reader->at[head] - 256);
        head += 1;
    }
    if (payload > left - head) {
        return PA_ERR_BAD_ARG;
    }
    switch (found.type) {
    case PA_MP_STR:
        found.as.str.ptr = (const char *)(reader->at + head);
        found.as.str.len = (size_t)payload;
        break;
    case PA_MP_BIN:
    case PA_MP_EXT:
        found.as.bytes.ptr = reader->at + head;
        found.as.bytes.len = (size_t)payload;
        break;
    case PA_MP_ARRAY:
    case PA_MP_MAP:
        /* Every element takes a byte at least: whoever allocates by the count is safe. */
        if (number * (found.type == PA_MP_MAP ? 2u : 1u) > left - head) {
            return PA_ERR_BAD_ARG;
        }
        found.as.count = (uint32_t)number;
        break;
    default:
        break;
    }
    reader->at += head + (size_t)payload;
    *value = found;
    return PA_OK;
}

/* Step over one value with everything inside it; *raw, unless NULL, receives its bytes. */
static inline pa_status pa_mp_skip(pa_mp_reader *reader, pa_bytes *raw) {
    pa_mp_reader ahead = *reader;
    uint64_t open = 1; /* values still to be read */
    while (open > 0) {
        pa_mp_value value;
        const pa_status status = pa_mp_read(&ahead, &value);
        if (status != PA_OK) {
            return status;
        }
        open -= 1;
        if (value.type == PA_MP_ARRAY) {
            open += value.as.count;
        } else if (value.type == PA_MP_MAP) {
            open += (uint64_t)value.as.count * 2;
        }
        if (open > pa_mp_left(&ahead)) {
            return PA_ERR_BAD_ARG;
        }
    }
    if (raw != NULL) {
        *raw = pa_bytes_make(reader->at, (size_t)(ahead.at - reader->at));
    }
    *reader = ahead;
    return PA_OK;
}

/* Read a value of one type; PA_ERR_NOT_FOUND, and nothing is consumed, when it is of another. */
static inline pa_status pa_mp_expect_(pa_mp_reader *reader, pa_mp_type type, pa_mp_value *value) {
    pa_mp_reader ahead = *reader;
    const pa_status status = pa_mp_read(&ahead, value);
    if (status != PA_OK) {
        return status;
    }
    if (value->type != type) {
        return PA_ERR_NOT_FOUND;
    }
    *reader = ahead;
    return PA_OK;
}

/* Read the head of a map: *pairs keys and values follow. */
static inline pa_status pa_mp_read_map(pa_mp_reader *reader, uint32_t *pairs) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_MAP, &value);
    if (status == PA_OK) {
        *pairs = value.as.count;
    }
    return status;
}

/* Read the head of an array: *elements values follow. */
static inline pa_status pa_mp_read_array(pa_mp_reader *reader, uint32_t *elements) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_ARRAY, &value);
    if (status == PA_OK) {
        *elements = value.as.count;
    }
    return status;
}

/* Read text. BORROWED from the bytes that are read. */
static inline pa_status pa_mp_read_str(pa_mp_reader *reader, pa_str *text) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_STR, &value);
    if (status == PA_OK) {
        *text = value.as.str;
    }
    return status;
}

/* Read binary data. BORROWED from the bytes that are read. */
static inline pa_status pa_mp_read_bin(pa_mp_reader *reader, pa_bytes *bytes) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_BIN, &value);
    if (status == PA_OK) {
        *bytes = value.as.bytes;
    }
    return status;
}

/* Read an integer >= 0. */
static inline pa_status pa_mp_read_uint(pa_mp_reader *reader, uint64_t *number) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_UINT, &value);
    if (status == PA_OK) {
        *number = value.as.u;
    }
    return status;
}

/* Read true (1) or false (0). */
static inline pa_status pa_mp_read_bool(pa_mp_reader *reader, int *boolean) {
    pa_mp_value value;
    const pa_status status = pa_mp_expect_(reader, PA_MP_BOOL, &value);
    if (status == PA_OK) {
        *boolean = value.as.boolean;
    }
    return status;
}

/* Tell whether two texts are the same bytes. */
static inline int pa_str_equal(pa_str a, pa_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Find a key in the map that `map` stands at; *value then stands at its value.
 * The value itself is not looked at: reading it may fail. PA_ERR_NOT_FOUND without the key or when
 * there is no map. Of equal keys the first counts. Takes time in proportion to the map: walk the
 * map instead to read many keys. */
static inline pa_status pa_mp_find(pa_mp_reader map, pa_str key, pa_mp_reader *value) {
    uint32_t pairs;
    pa_status status = pa_mp_read_map(&map, &pairs);
    while (status == PA_OK && pairs-- > 0) {
        pa_str name;
        pa_mp_reader at = map;
        if (pa_mp_read_str(&at, &name) == PA_OK && pa_str_equal(name, key)) {
            *value = at;
            return PA_OK;
        }
        status = pa_mp_skip(&map, NULL);
        if (status == PA_OK) {
            status = pa_mp_skip(&map, NULL);
        }
    }
    return status == PA_OK ? PA_ERR_NOT_FOUND : status;
}

/* ---------------------------------------------------------------------------------------------
 * Writing
 */

typedef struct pa_mp_writer {
    const pa_host_api *api;
    pa_out *out;
    pa_status status; /* PA_OK or the first error */
} pa_mp_writer;

/* Start writing to the result of the running call. */
static inline pa_mp_writer pa_mp_writer_of(const pa_host_api *api, pa_out *out) {
    pa_mp_writer writer;
    writer.api = api;
    writer.out = out;
    writer.status = PA_OK;
    return writer;
}

/* Append bytes that are msgpack already, for example from pa_mp_skip. */
static inline void pa_mp_write_raw(pa_mp_writer *writer, pa_bytes raw) {
    if (writer->status == PA_OK && raw.len > 0) {
        writer->status = writer->api->out_write(writer->out, raw.ptr, raw.len);
    }
}

/* Append a tag and a number of `width` bytes, big-endian. */
static inline void pa_mp_write_tag_(pa_mp_writer *writer, unsigned tag, uint64_t number,
                                    size_t width) {
    uint8_t bytes[9];
    size_t i;
    bytes[0] = (uint8_t)tag;
    for (i = 0; i < width; i++) {
        bytes[1 + i] = (uint8_t)(number >> (8 * (width - 1 - i)) & 0xff);
    }
    pa_mp_write_raw(writer, pa_bytes_make(bytes, 1 + width));
}

static inline void pa_mp_write_nil(pa_mp_writer *writer) {
    pa_mp_write_tag_(writer, 0xc0, 0, 0);
}

static inline void pa_mp_write_bool(pa_mp_writer *writer, int boolean) {
    pa_mp_write_tag_(writer, boolean ? 0xc3 : 0xc2, 0, 0);
}

static inline void pa_mp_write_uint(pa_mp_writer *writer, uint64_t number) {
    if (number <= 0x7f) {
        pa_mp_write_tag_(writer, (unsigned)number, 0, 0);
    } else if (number <= UINT8_MAX) {
        pa_mp_write_tag_(writer, 0xcc, number, 1);
    } else if (number <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xcd, number, 2);
    } else if (number <= UINT32_MAX) {
        pa_mp_write_tag_(writer, 0xce, number, 4);
    } else {
        pa_mp_write_tag_(writer, 0xcf, number, 8);
    }
}

static inline void pa_mp_write_int(pa_mp_writer *writer, int64_t number) {
    const uint64_t bits = (uint64_t)number;
    if (number >= 0) {
        pa_mp_write_uint(writer, bits);
    } else if (number >= -32) {
        pa_mp_write_tag_(writer, (unsigned)(bits & 0xff), 0, 0);
    } else if (number >= INT8_MIN) {
        pa_mp_write_tag_(writer, 0xd0, bits & 0xff, 1);
    } else if (number >= INT16_MIN) {
        pa_mp_write_tag_(writer, 0xd1, bits & 0xffff, 2);
    } else if (number >= INT32_MIN) {
        pa_mp_write_tag_(writer, 0xd2, bits & 0xffffffff, 4);
    } else {
        pa_mp_write_tag_(writer, 0xd3, bits, 8);
    }
}

static inline void pa_mp_write_float(pa_mp_writer *writer, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    pa_mp_write_tag_(writer, 0xcb, bits, 8);
}

/* Append text; longer than 4 GiB - 1 bytes is PA_ERR_LIMIT. */
static inline void pa_mp_write_str(pa_mp_writer *writer, pa_str text) {
    if (text.len <= 31) {
        pa_mp_write_tag_(writer, 0xa0u | (unsigned)text.len, 0, 0);
    } else if (text.len <= UINT8_MAX) {
        pa_mp_write_tag_(writer, 0xd9, text.len, 1);
    } else if (text.len <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xda, text.len, 2);
    } else if ((uint64_t)text.len <= UINT32_MAX) {
        pa_mp_write_tag_(writer, 0xdb, text.len, 4);
    } else if (writer->status == PA_OK) {
        writer->status = PA_ERR_LIMIT;
    }
    pa_mp_write_raw(writer, pa_bytes_make(text.ptr, text.len));
}

/* Append binary data; longer than 4 GiB - 1 bytes is PA_ERR_LIMIT. */
static inline void pa_mp_write_bin(pa_mp_writer *writer, pa_bytes bytes) {
    if (bytes.len <= UINT8_MAX) {
        pa_mp_write_tag_(writer, 0xc4, bytes.len, 1);
    } else if (bytes.len <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xc5, bytes.len, 2);
    } else if ((uint64_t)bytes.len <= UINT32_MAX) {
        pa_mp_write_tag_(writer, 0xc6, bytes.len, 4);
    } else if (writer->status == PA_OK) {
        writer->status = PA_ERR_LIMIT;
    }
    pa_mp_write_raw(writer, bytes);
}

/* Announce an array; the caller writes `elements` values next. */
static inline void pa_mp_write_array(pa_mp_writer *writer, uint32_t elements) {
    if (elements <= 15) {
        pa_mp_write_tag_(writer, 0x90u | elements, 0, 0);
    } else if (elements <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xdc, elements, 2);
    } else {
        pa_mp_write_tag_(writer, 0xdd, elements, 4);
    }
}

/* Announce a map; the caller writes `pairs` keys, each followed by its value, next. */
static inline void pa_mp_write_map(pa_mp_writer *writer, uint32_t pairs) {
    if (pairs <= 15) {
        pa_mp_write_tag_(writer, 0x80u | pairs, 0, 0);
    } else if (pairs <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xde, pairs, 2);
    } else {
        pa_mp_write_tag_(writer, 0xdf, pairs, 4);
    }
}

/* Append an extension value; longer than 4 GiB - 1 bytes is PA_ERR_LIMIT. */
static inline void pa_mp_write_ext(pa_mp_writer *writer, int8_t type, pa_bytes bytes) {
    const uint8_t type_byte = (uint8_t)(type & 0xff);
    if (bytes.len == 1 || bytes.len == 2 || bytes.len == 4 || bytes.len == 8 || bytes.len == 16) {
        unsigned tag = 0xd4;
        while (((size_t)1 << (tag - 0xd4)) < bytes.len) {
            tag++;
        }
        pa_mp_write_tag_(writer, tag, 0, 0);
    } else if (bytes.len <= UINT8_MAX) {
        pa_mp_write_tag_(writer, 0xc7, bytes.len, 1);
    } else if (bytes.len <= UINT16_MAX) {
        pa_mp_write_tag_(writer, 0xc8, bytes.len, 2);
    } else if ((uint64_t)bytes.len <= UINT32_MAX) {
        pa_mp_write_tag_(writer, 0xc9, bytes.len, 4);
    } else if (writer->status == PA_OK) {
        writer->status = PA_ERR_LIMIT;
    }
    pa_mp_write_raw(writer, pa_bytes_make(&type_byte, 1));
    pa_mp_write_raw(writer, bytes);
}

#endif /* PLUGINAPI_MSGPACK_H */
