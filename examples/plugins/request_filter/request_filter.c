/* request-filter: refuse requests that no honest client sends.
 *
 * Handles on_request. Refused requests are answered at once (PA_STOP) and reach no later plugin
 * and no application:
 *     400  path traversal, however it is encoded; malformed or repeated percent-encoding
 *     403  a path, a user agent or a client on the deny list
 *     431  too many headers, or too large ones
 * What was counted is logged at shutdown and written to the context key request_filter.counts.
 *
 * Build:  cc -shared -fPIC -O2 -I"$(pluginapi include)" -o request_filter.so request_filter.c
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

PA_MANIFEST({
    "name": "request-filter",
    "version": "1.0.0",
    "author": "The pluginapi developers",
    "description": "Refuses path traversal, oversized headers and what is on a deny list.",
    "resource_limits": {"max_heap_bytes": 1048576, "max_cpu_time_ms": 100},
    "requirements": {"context_write": ["request_filter.counts"]}
});

#define MAX_DECODINGS 3 /* "%25252e" is an attack, not a file name */

typedef enum verdict {
    ALLOWED,
    TRAVERSAL,
    BAD_PATH,
    DENIED_PATH,
    DENIED_AGENT,
    DENIED_CLIENT,
    TOO_MANY_HEADERS,
    HEADER_TOO_LARGE,
    HEADERS_TOO_LARGE,
    VERDICTS
} verdict;

static const struct {
    const char *reason;
    unsigned status;
} answers[VERDICTS] = {
    {"allowed", 200},        {"path-traversal", 400},   {"malformed-path", 400},
    {"denied-path", 403},    {"denied-agent", 403},     {"denied-client", 403},
    {"too-many-headers", 431}, {"header-too-large", 431}, {"headers-too-large", 431},
};

/* The members of an on_request value that are looked at. Borrowed. */
typedef struct request {
    pa_str path;
    pa_str client;
    pa_mp_reader headers; /* stands at the array */
} request;

typedef struct filter {
    const pa_host_api *api;
    pa_host *host;
    const pa_hooks_1 *hooks;
    const pa_context_1 *context;
    uint8_t *config; /* our copy; the deny lists are read from it on every request */
    size_t config_size;
    pa_mp_reader deny_paths; /* each stands at an array of texts in config */
    pa_mp_reader deny_agents;
    pa_mp_reader deny_clients;
    uint64_t max_path_bytes;
    uint64_t max_headers;
    uint64_t max_header_bytes;
    uint64_t max_total_header_bytes;
    char *scratch; /* max_path_bytes: the path while it is decoded */
    uint64_t counts[VERDICTS];
    pa_plugin plugin;
} filter;

static pa_status explain(const filter *self, pa_status status, const char *text) {
    self->api->set_error(self->host, status, pa_str_make(text, strlen(text)));
    return status;
}

/* ---- Paths ---------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undo one level of percent-encoding in place. Returns how many bytes were encoded; -1 for a NUL
 * byte, and when `strict` for a percent sign without two digits, which otherwise stays text. */
static int decode_once(char *path, size_t *length, int strict) {
    size_t from = 0;
    size_t to = 0;
    int decoded = 0;
    while (from < *length) {
        char c = path[from];
        if (c == '%') {
            const int high = from + 2 < *length ? hex_digit(path[from + 1]) : -1;
            const int low = high < 0 ? -1 : hex_digit(path[from + 2]);
            if (low >= 0) {
                c = (char)(high * 16 + low);
                from += 2;
                decoded++;
            } else if (strict) {
                return -1;
            }
        }
        if (c == '\0') {
            return -1;
        }
        path[to++] = c;
        from++;
    }
    *length = to;
    return decoded;
}

/* Whether a segment is ".."; servers that know path parameters read "..;x" as ".." too. */
static int climbs(const char *segment, size_t length) {
    return length >= 2 && segment[0] == '.' && segment[1] == '.' &&
           (length == 2 || segment[2] == ';');
}

static int has_climbing_segment(const char *path, size_t length) {
    size_t start = 0;
    size_t i;
    for (i = 0; i <= length; i++) {
        if (i == length || path[i] == '/' || path[i] == '\\') {
            if (climbs(path + start, i - start)) {
                return 1;
            }
            start = i + 1;
        }
    }
    return 0;
}

/* Make backslashes slashes, and drop empty segments and "." in place. */
static size_t normalise(char *path, size_t length) {
    size_t to = 0;
    size_t start = 0;
    size_t i;
    for (i = 0; i <= length; i++) {
        if (i == length || path[i] == '/' || path[i] == '\\') {
            const size_t size = i - start;
            if (size > 0 && !(size == 1 && path[start] == '.')) {
                const size_t slash = start > 0 || to > 0 ? 1 : 0;
                if (slash) {
                    path[to++] = '/';
                }
                memmove(path + to, path + start, size);
                to += size;
            }
            start = i + 1;
        }
    }
    return to;
}

static verdict check_path(filter *self, pa_str path) {
    size_t length = path.len;
    int round;
    if (length > self->max_path_bytes) {
        return BAD_PATH;
    }
    if (length > 0) {
        memcpy(self->scratch, path.ptr, length);
    }
    for (round = 0;; round++) {
        int decoded;
        if (has_climbing_segment(self->scratch, length)) {
            return TRAVERSAL;
        }
        /* A percent sign that was itself encoded is text: only the first round is strict. */
        decoded = decode_once(self->scratch, &length, round == 0);
        if (decoded < 0 || (decoded > 0 && round == MAX_DECODINGS)) {
            return BAD_PATH;
        }
        if (decoded == 0) {
            break;
        }
    }
    {
        pa_mp_reader list = self->deny_paths;
        uint32_t entries = 0;
        pa_str prefix;
        length = normalise(self->scratch, length);
        (void)pa_mp_read_array(&list, &entries);
        while (entries-- > 0 && pa_mp_read_str(&list, &prefix) == PA_OK) {
            /* "/admin" covers "/admin" and "/admin/x", and not "/administrators". */
            if (prefix.len <= length && memcmp(self->scratch, prefix.ptr, prefix.len) == 0 &&
                (prefix.len == length || self->scratch[prefix.len] == '/')) {
                return DENIED_PATH;
            }
        }
    }
    return ALLOWED;
}

/* ---- Clients and headers -------------------------------------------------------------------- */

/* Read "192.0.2.1" or "2001:db8::1"; returns the number of address bytes, 0 when it is neither.
 * "::ffff:192.0.2.1" is 192.0.2.1: how a socket for both families names its IPv4 clients. */
static size_t parse_address(const char *text, size_t length, uint8_t address[16]) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char copy[INET6_ADDRSTRLEN];
    if (length >= sizeof copy) {
        return 0;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (inet_pton(AF_INET, copy, address) == 1) {
        return 4;
    }
    if (inet_pton(AF_INET6, copy, address) != 1) {
        return 0;
    }
    if (memcmp(address, mapped, sizeof mapped) == 0) {
        memcpy(address, address + sizeof mapped, 4);
        return 4;
    }
    return 16;
}

/* Read "address" or "address/bits"; returns 0 when it is malformed. */
static size_t parse_network(pa_str text, uint8_t address[16], unsigned *bits) {
    const char *const slash = text.len == 0 ? NULL : memchr(text.ptr, '/', text.len);
    const size_t length = slash == NULL ? text.len : (size_t)(slash - text.ptr);
    const size_t size = text.len == 0 ? 0 : parse_address(text.ptr, length, address);
    size_t i;
    *bits = (unsigned)size * 8;
    if (slash != NULL) {
        *bits = 0;
        if (length + 1 == text.len || text.len - length > 4) {
            return 0;
        }
        for (i = length + 1; i < text.len; i++) {
            if (text.ptr[i] < '0' || text.ptr[i] > '9') {
                return 0;
            }
            *bits = *bits * 10 + (unsigned)(text.ptr[i] - '0');
        }
    }
    return *bits <= size * 8 ? size : 0;
}

static verdict check_client(const filter *self, pa_str client) {
    uint8_t address[16];
    const size_t size = client.len == 0 ? 0 : parse_address(client.ptr, client.len, address);
    pa_mp_reader list = self->deny_clients;
    uint32_t entries = 0;
    pa_str entry;
    (void)pa_mp_read_array(&list, &entries);
    while (size > 0 && entries-- > 0 && pa_mp_read_str(&list, &entry) == PA_OK) {
        uint8_t network[16];
        unsigned bits;
        const size_t network_size = parse_network(entry, network, &bits);
        const size_t whole = bits / 8;
        const uint8_t mask = (uint8_t)(0xff00u >> (bits % 8) & 0xff);
        if (network_size == size && memcmp(address, network, whole) == 0 &&
            (mask == 0 || (address[whole] & mask) == (network[whole] & mask))) {
            return DENIED_CLIENT;
        }
    }
    return ALLOWED;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int same_ignoring_case(const char *a, const char *b, size_t length) {
    size_t i;
    for (i = 0; i < length && lower(a[i]) == lower(b[i]); i++) {
    }
    return i == length;
}

static int contains_ignoring_case(pa_str text, pa_str part) {
    size_t i;
    for (i = 0; part.len <= text.len && i <= text.len - part.len; i++) {
        if (same_ignoring_case(text.ptr + i, part.ptr, part.len)) {
            return 1;
        }
    }
    return 0;
}

static verdict check_agent(const filter *self, pa_str agent) {
    pa_mp_reader list = self->deny_agents;
    uint32_t entries = 0;
    pa_str part;
    (void)pa_mp_read_array(&list, &entries);
    while (entries-- > 0 && pa_mp_read_str(&list, &part) == PA_OK) {
        if (contains_ignoring_case(agent, part)) {
            return DENIED_AGENT;
        }
    }
    return ALLOWED;
}

static pa_status check_headers(const filter *self, pa_mp_reader headers, verdict *result) {
    uint32_t count;
    uint64_t total = 0;
    pa_status status = pa_mp_read_array(&headers, &count);
    *result = ALLOWED;
    if (status == PA_OK && count > self->max_headers) {
        *result = TOO_MANY_HEADERS;
        return PA_OK;
    }
    while (status == PA_OK && count-- > 0) {
        uint32_t two;
        pa_str name;
        pa_str value;
        if (pa_mp_read_array(&headers, &two) != PA_OK || two != 2 ||
            pa_mp_read_str(&headers, &name) != PA_OK ||
            pa_mp_read_str(&headers, &value) != PA_OK) {
            return PA_ERR_BAD_ARG;
        }
        total += name.len + value.len;
        if (name.len + value.len > self->max_header_bytes) {
            *result = HEADER_TOO_LARGE;
            return PA_OK;
        }
        if (total > self->max_total_header_bytes) {
            *result = HEADERS_TOO_LARGE;
            return PA_OK;
        }
        if (name.len == 10 && same_ignoring_case(name.ptr, "user-agent", 10)) {
            *result = check_agent(self, value);
            if (*result != ALLOWED) {
                return PA_OK;
            }
        }
    }
    return status;
}

/* ---- The hook ------------------------------------------------------------------------------- */

static pa_status read_request(pa_bytes in, request *found) {
    pa_mp_reader reader = pa_mp_reader_of(in);
    uint32_t pairs;
    pa_status status = pa_mp_read_map(&reader, &pairs);
    memset(found, 0, sizeof *found);
    found->headers = pa_mp_reader_of(pa_bytes_make("\x90", 1)); /* without any: an empty array */
    while (status == PA_OK && pairs-- > 0) {
        pa_str key;
        status = pa_mp_read_str(&reader, &key);
        if (status != PA_OK) {
            break;
        }
        if (pa_str_equal(key, PA_STR("path"))) {
            status = pa_mp_read_str(&reader, &found->path);
        } else if (pa_str_equal(key, PA_STR("client"))) {
            status = pa_mp_read_str(&reader, &found->client);
        } else {
            if (pa_str_equal(key, PA_STR("headers"))) {
                found->headers = reader;
            }
            status = pa_mp_skip(&reader, NULL);
        }
    }
    return status;
}

static void write_header(pa_mp_writer *writer, const char *name, const char *value) {
    pa_mp_write_array(writer, 2);
    pa_mp_write_str(writer, pa_str_make(name, strlen(name)));
    pa_mp_write_str(writer, pa_str_make(value, strlen(value)));
}

static pa_status answer(const filter *self, verdict why, pa_out *out) {
    pa_mp_writer writer = pa_mp_writer_of(self->api, out);
    pa_mp_write_map(&writer, 4);
    pa_mp_write_str(&writer, PA_STR("type"));
    pa_mp_write_str(&writer, PA_STR("response"));
    pa_mp_write_str(&writer, PA_STR("status"));
    pa_mp_write_uint(&writer, answers[why].status);
    pa_mp_write_str(&writer, PA_STR("headers"));
    pa_mp_write_array(&writer, 2);
    write_header(&writer, "content-type", "text/plain; charset=utf-8");
    write_header(&writer, "x-request-filter", answers[why].reason);
    pa_mp_write_str(&writer, PA_STR("body"));
    pa_mp_write_bin(&writer, pa_bytes_make("request refused\n", 16));
    return writer.status == PA_OK ? PA_STOP : writer.status;
}

static pa_status on_request(void *user, pa_str hook, pa_bytes in, pa_out *out) {
    filter *const self = user;
    request found;
    verdict result = ALLOWED;
    pa_status status = read_request(in, &found);
    (void)hook;
    if (status == PA_OK) {
        result = check_client(self, found.client);
    }
    if (status == PA_OK && result == ALLOWED) {
        result = check_path(self, found.path);
    }
    if (status == PA_OK && result == ALLOWED) {
        status = check_headers(self, found.headers, &result);
    }
    if (status != PA_OK) {
        return explain(self, PA_ERR_BAD_ARG, "the value of on_request is not an HttpRequest");
    }
    self->counts[result]++;
    return result == ALLOWED ? PA_OK : answer(self, result, out);
}

/* ---- Life cycle ----------------------------------------------------------------------------- */

static pa_status filter_init(void *instance) {
    filter *const self = instance;
    self->scratch = self->api->alloc(self->host, (size_t)self->max_path_bytes, 0);
    return self->scratch != NULL ? PA_OK
                                 : explain(self, PA_ERR_LIMIT, "no memory for max_path_bytes");
}

static pa_status filter_register_hooks(void *instance) {
    filter *const self = instance;
    return self->hooks->register_hook(self->host, PA_STR("on_request"), PA_PRIORITY_CRITICAL,
                                      on_request, self);
}

/* Append [reason: count, ...] to a msgpack map and to a line of text. */
static pa_status filter_shutdown(void *instance) {
    const filter *const self = instance;
    uint8_t map[VERDICTS * 32];
    char line[VERDICTS * 48];
    size_t size = 0;
    size_t length = 0;
    unsigned i;
    map[size++] = (uint8_t)(0x80 | VERDICTS); /* fixmap: VERDICTS is below 16 */
    for (i = 0; i < VERDICTS; i++) {
        const size_t name = strlen(answers[i].reason);
        unsigned byte;
        map[size++] = (uint8_t)(0xa0 | name); /* fixstr: the reasons are below 32 bytes */
        memcpy(map + size, answers[i].reason, name);
        size += name;
        map[size++] = 0xcf;
        for (byte = 0; byte < 8; byte++) {
            map[size++] = (uint8_t)(self->counts[i] >> (56 - 8 * byte) & 0xff);
        }
        length += (size_t)snprintf(line + length, sizeof line - length, "%s%s %llu",
                                   i == 0 ? "" : ", ", answers[i].reason,
                                   (unsigned long long)self->counts[i]);
    }
    self->api->log(self->host, PA_LOG_INFO, pa_str_make(line, length));
    if (self->context->set(self->host, PA_STR("request_filter.counts"),
                           pa_bytes_make(map, size)) != PA_OK) {
        self->api->log(self->host, PA_LOG_DEBUG, PA_STR("request_filter.counts was not granted"));
    }
    return PA_OK;
}

static void filter_destroy(void *instance) {
    filter *const self = instance;
    const pa_host_api *const api = self->api;
    pa_host *const host = self->host;
    api->free(host, self->scratch, (size_t)self->max_path_bytes, 0);
    api->free(host, self->config, self->config_size, 0);
    api->free(host, self, sizeof *self, 0);
}

/* ---- Configuration -------------------------------------------------------------------------- */

/* Accept an array of texts; every client must be an address or a network. */
static int read_list(pa_mp_reader *reader, pa_mp_reader *list, int of_clients) {
    uint32_t entries;
    uint8_t address[16];
    unsigned bits;
    pa_str entry;
    *list = *reader;
    if (pa_mp_read_array(reader, &entries) != PA_OK) {
        return 0;
    }
    while (entries-- > 0) {
        if (pa_mp_read_str(reader, &entry) != PA_OK || entry.len == 0 ||
            (of_clients && parse_network(entry, address, &bits) == 0)) {
            return 0;
        }
    }
    return 1;
}

static int read_number(pa_mp_reader *reader, uint64_t *number) {
    return pa_mp_read_uint(reader, number) == PA_OK && *number > 0 && *number <= UINT32_MAX;
}

/* Read the value of one key; 0 when there is no such key or the value is wrong. */
static int read_setting(filter *self, pa_str key, pa_mp_reader *value) {
    const struct {
        pa_str key;
        pa_mp_reader *list;
        uint64_t *number;
    } settings[] = {
        {PA_STR_INIT("deny_paths"), &self->deny_paths, NULL},
        {PA_STR_INIT("deny_agents"), &self->deny_agents, NULL},
        {PA_STR_INIT("deny_clients"), &self->deny_clients, NULL},
        {PA_STR_INIT("max_path_bytes"), NULL, &self->max_path_bytes},
        {PA_STR_INIT("max_headers"), NULL, &self->max_headers},
        {PA_STR_INIT("max_header_bytes"), NULL, &self->max_header_bytes},
        {PA_STR_INIT("max_total_header_bytes"), NULL, &self->max_total_header_bytes},
    };
    size_t i;
    for (i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (pa_str_equal(settings[i].key, key)) {
            return settings[i].list == NULL
                       ? read_number(value, settings[i].number)
                       : read_list(value, settings[i].list,
                                   settings[i].list == &self->deny_clients);
        }
    }
    return 0;
}

static pa_status read_config(filter *self) {
    pa_mp_reader reader = pa_mp_reader_of(pa_bytes_make(self->config, self->config_size));
    uint32_t pairs = 0;
    if (pa_mp_read_map(&reader, &pairs) != PA_OK) {
        return explain(self, PA_ERR_BAD_ARG, "the configuration is not a map");
    }
    while (pairs-- > 0) {
        pa_str key = {NULL, 0};
        if (pa_mp_read_str(&reader, &key) != PA_OK || !read_setting(self, key, &reader)) {
            char text[128];
            const int length = snprintf(
                text, sizeof text, "the configuration has an unknown key or a wrong value: %.*s",
                key.len > 40 ? 40 : (int)key.len, key.ptr == NULL ? "" : key.ptr);
            self->api->set_error(self->host, PA_ERR_BAD_ARG, pa_str_make(text, (size_t)length));
            return PA_ERR_BAD_ARG;
        }
    }
    return PA_OK;
}

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                  const pa_plugin **plugin) {
    filter *const self = api->alloc(host, sizeof *self, 0);
    pa_status status;
    if (self == NULL) {
        return PA_ERR_LIMIT;
    }
    memset(self, 0, sizeof *self);
    self->api = api;
    self->host = host;
    self->hooks = api->get_interface(host, PA_STR(PA_HOOKS_1));
    self->context = api->get_interface(host, PA_STR(PA_CONTEXT_1));
    self->deny_paths = pa_mp_reader_of(pa_bytes_make(NULL, 0));
    self->deny_agents = self->deny_paths;
    self->deny_clients = self->deny_paths;
    self->max_path_bytes = 8192;
    self->max_headers = 100;
    self->max_header_bytes = 8192;
    self->max_total_header_bytes = 32768;
    /* The configuration is borrowed until create_plugin returns; the deny lists live longer. */
    self->config_size = config.len;
    self->config = api->alloc(host, config.len, 0);
    if (self->hooks == NULL || self->context == NULL) {
        status = explain(self, PA_ERR_UNSUPPORTED, "the host lacks pa.hooks/1 or pa.context/1");
    } else if (self->config == NULL) {
        status = PA_ERR_LIMIT;
    } else {
        memcpy(self->config, config.ptr, config.len);
        status = read_config(self);
    }
    if (status != PA_OK) {
        filter_destroy(self);
        return status;
    }
    self->plugin.struct_size = sizeof self->plugin;
    self->plugin.abi_major = PA_ABI_MAJOR;
    self->plugin.abi_minor = PA_ABI_MINOR;
    self->plugin.name = PA_STR("request-filter");
    self->plugin.version = PA_STR("1.0.0");
    self->plugin.flags = PA_F_UNLOADABLE;
    self->plugin.instance = self;
    self->plugin.init = filter_init;
    self->plugin.register_hooks = filter_register_hooks;
    self->plugin.shutdown = filter_shutdown;
    self->plugin.destroy = filter_destroy;
    *plugin = &self->plugin;
    return PA_OK;
}
