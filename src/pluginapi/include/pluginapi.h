/* pluginapi.h - the C ABI between pluginapi and its native plugins, version 1.0.
 *
 * A plugin is one shared library. It needs this header and nothing else: there is no library to
 * link. C99, and valid C++11 and later.
 *
 *     cc -shared -fPIC -O2 -I"$(pluginapi include)" -o my_plugin.so my_plugin.c
 *
 * WHAT A PLUGIN CONTAINS
 *     1. PA_MANIFEST({...}): its metadata, put into the library's data where the host finds it
 *        without running any of the library.
 *     2. create_plugin: the one exported function. It receives the services of the host and hands
 *        out a pa_plugin: name, version and callbacks.
 *
 * THE LIFE OF A PLUGIN: state, and the callback that leads to the next one
 *     loaded -- create_plugin --> created -- init --> initialised -- register_hooks --> active
 *     active -- shutdown --> stopped -- destroy --> gone
 *     Hook handlers run in `active` only, never after shutdown has been called. When init or
 *     register_hooks fails, destroy is the next and last call. When create_plugin fails, no
 *     other callback is called, so it cleans up what it made.
 *
 * THREADS
 *     Callbacks of one plugin are called from one thread at a time, though not always from the
 *     same thread, unless the plugin sets PA_F_THREAD_SAFE: then hook handlers run concurrently,
 *     and init, register_hooks, shutdown and destroy still run alone. A service is marked
 *         [any thread]  callable from every thread, from create_plugin until destroy returns;
 *         [in call]     callable only on a thread that the host is calling the plugin on, until
 *                       that call returns; elsewhere it gives PA_ERR_STATE.
 *     A plugin that starts threads joins them in shutdown: no thread of it may run later.
 *     A service that calls this same plugin again, on the same thread, gives PA_ERR_STATE unless
 *     the plugin sets PA_F_THREAD_SAFE.
 *
 * OWNERSHIP
 *     Nothing owned crosses the boundary. Everything that a plugin is given is BORROWED: valid
 *     until the function that it was given to returns (pa_context_1 values: until the running
 *     callback returns). Everything that a plugin gives is copied before the service returns.
 *     Results are written into a pa_out, which the host owns.
 *
 * ERRORS
 *     Every function that can fail returns a pa_status. A plugin says more with set_error. No C++
 *     exception, no panic and no longjmp may leave a plugin.
 *
 * VERSIONS
 *     Structures only grow at the end and begin with their size in bytes. Read a member only when
 *     struct_size covers it (PA_HAS); a member past the end is absent. The host loads plugins of
 *     its own major version and any minor version. What is new otherwise is an interface with a
 *     new id, asked for by get_interface.
 */
#ifndef PLUGINAPI_H
#define PLUGINAPI_H

#include <stddef.h>
#include <stdint.h>

#define PA_ABI_MAJOR 1
#define PA_ABI_MINOR 0

#if defined(_WIN32)
#define PA_CALL __cdecl
#define PA_VISIBLE_ __declspec(dllexport)
#else
#define PA_CALL
#define PA_VISIBLE_ __attribute__((visibility("default")))
#endif

#if defined(__GNUC__) || defined(__clang__)
#define PA_USED_ __attribute__((used))
#else
#define PA_USED_ /* MSVC keeps what is exported. */
#endif

/* PA_EXPORT marks create_plugin: exported under its plain name, whatever -fvisibility says. */
#if defined(__cplusplus)
#define PA_EXPORT extern "C" PA_VISIBLE_
#define PA_EXTERN_ extern "C" PA_VISIBLE_
#else
#define PA_EXPORT PA_VISIBLE_
#define PA_EXTERN_ extern PA_VISIBLE_
#endif

/* PA_HAS(api, member): whether the structure that `api` points to is long enough for `member`. */
#define PA_HAS(pointer, member)                                                                    \
    ((size_t)(pointer)->struct_size >=                                                             \
     (size_t)((const char *)(&(pointer)->member + 1) - (const char *)(pointer)))

#if defined(__cplusplus)
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Values
 */

/* Bytes, BORROWED. ptr may be NULL when len is 0. */
typedef struct pa_bytes {
    const uint8_t *ptr;
    size_t len; /* bytes */
} pa_bytes;

/* Text, BORROWED: UTF-8, counted, NOT ended by a NUL byte. ptr may be NULL when len is 0. */
typedef struct pa_str {
    const char *ptr;
    size_t len; /* bytes */
} pa_str;

/* Initialise a pa_str from a string literal, in a static initialiser or in code. */
#define PA_STR_INIT(literal)                                                                       \
    {                                                                                              \
        "" literal, sizeof("" literal) - 1                                                         \
    }
#define PA_STR(literal) pa_str_make("" literal, sizeof("" literal) - 1)

static inline pa_str pa_str_make(const char *ptr, size_t len) {
    pa_str text;
    text.ptr = ptr;
    text.len = len;
    return text;
}

static inline pa_bytes pa_bytes_make(const void *ptr, size_t len) {
    pa_bytes bytes;
    bytes.ptr = (const uint8_t *)ptr;
    bytes.len = len;
    return bytes;
}

/* Zero is success, positive values are success that says more, negative values are errors. A
 * negative value that is not listed here counts as PA_ERR_FAIL. */
typedef int32_t pa_status;
#define PA_OK ((pa_status)0)
#define PA_STOP ((pa_status)1)              /* hook handler: this result is final */
#define PA_ERR_FAIL ((pa_status)-1)         /* failed; set_error says why */
#define PA_ERR_BAD_ARG ((pa_status)-2)      /* an argument is invalid or malformed */
#define PA_ERR_UNSUPPORTED ((pa_status)-3)  /* not available here */
#define PA_ERR_DENIED ((pa_status)-4)       /* the operator has not granted this */
#define PA_ERR_LIMIT ((pa_status)-5)        /* a limit of memory or of size was reached */
#define PA_ERR_TIMEOUT ((pa_status)-6)      /* the time ran out */
#define PA_ERR_CANCELLED ((pa_status)-7)    /* the caller gave up */
#define PA_ERR_STATE ((pa_status)-8)        /* not in this state or on this thread */
#define PA_ERR_ABI ((pa_status)-9)          /* the other side breaks this ABI */
#define PA_ERR_IO ((pa_status)-10)          /* the operating system refused */
#define PA_ERR_NOT_FOUND ((pa_status)-11)   /* no such key, hook or interface */
#define PA_ERR_AGAIN ((pa_status)-12)       /* try again later */

/* The host's view of one plugin. Opaque: pass it back to the services of pa_host_api. */
typedef struct pa_host pa_host;

/* A sink for the result of one call. Opaque, HOST-OWNED, valid until the call returns. */
typedef struct pa_out pa_out;

/* ---------------------------------------------------------------------------------------------
 * Services of the host
 */

#define PA_LOG_DEBUG 10
#define PA_LOG_INFO 20
#define PA_LOG_WARNING 30
#define PA_LOG_ERROR 40

#define PA_MAX_TEXT 4096   /* bytes of an error message or log line; the rest is cut off */
#define PA_MAX_NAME 256    /* bytes of the name of a hook or of a context key */
#define PA_MAX_ALIGN 4096  /* the largest alignment that alloc grants */

typedef struct pa_host_api {
    uint32_t struct_size; /* bytes of this structure in the host that runs the plugin */
    uint16_t abi_major;
    uint16_t abi_minor;

    /* Allocate `size` > 0 bytes aligned to `align`, which is 0 (suits every C type) or a power of
     * two up to PA_MAX_ALIGN. The contents are undefined. [any thread]
     * The memory counts towards the plugin's heap limit with its size and 48 bytes of
     * administration. Returns NULL, and changes nothing, when the limit would be exceeded, the
     * arguments are invalid or the system has no more memory. A plugin may use its own malloc
     * too; what it takes here is measured, limited, and released when it is unloaded. */
    void *(PA_CALL *alloc)(pa_host *host, size_t size, size_t align);

    /* Change a block to `size` > 0 bytes; the contents are kept up to the smaller size. [any thread]
     * `block` is NULL (then this is alloc) or was returned with exactly `old_size` and `align`.
     * Returns the new address; or NULL, and the old block stays as it is. */
    void *(PA_CALL *realloc)(pa_host *host, void *block, size_t old_size, size_t size, size_t align);

    /* Release a block, given the size and alignment it was allocated with. NULL is ignored.
     * [any thread] A block that is not live, or whose size, alignment or end marker is wrong, is
     * logged as an error, counted, and stays allocated until the plugin is unloaded. */
    void(PA_CALL *free)(pa_host *host, void *block, size_t size, size_t align);

    /* Append bytes to the result. [in call, only on the pa_out of this call]
     * PA_ERR_LIMIT when the result would be larger than the host allows (16 MiB by default); the
     * call as a whole then fails with PA_ERR_LIMIT, whatever the plugin returns. */
    pa_status(PA_CALL *out_write)(pa_out *out, const void *data, size_t size);

    /* Say why the running callback is about to return an error. [in call]
     * Copied, cut to PA_MAX_TEXT bytes; the last message of a call counts. It is shown only when
     * the callback returns a negative status. `code` is the status that the message is about. */
    void(PA_CALL *set_error)(pa_host *host, pa_status code, pa_str message);

    /* Write one line to the host's log. [any thread] level is one of PA_LOG_*. */
    void(PA_CALL *log)(pa_host *host, int32_t level, pa_str message);

    /* Return the interface with this id, for example "pa.context/1", or NULL when the host has
     * none. [any thread] The structure lives as long as the plugin does. */
    const void *(PA_CALL *get_interface)(pa_host *host, pa_str id);
} pa_host_api;

/* ---------------------------------------------------------------------------------------------
 * "pa.hooks/1": take part in the host's hooks
 */

#define PA_HOOKS_1 "pa.hooks/1"

/* Lower runs first. Any value is allowed; these are the starts of the named bands. */
#define PA_PRIORITY_CRITICAL ((uint32_t)0)
#define PA_PRIORITY_HIGH ((uint32_t)100)
#define PA_PRIORITY_NORMAL ((uint32_t)200)
#define PA_PRIORITY_LOW ((uint32_t)300)
#define PA_PRIORITY_CLEANUP ((uint32_t)400)

/* A hook handler. `user` is what was registered with it, `hook` the hook's name, `in` the value
 * as msgpack (see pluginapi_msgpack.h), both BORROWED until the handler returns.
 *     PA_OK, nothing written   the value is unchanged
 *     PA_OK, something written it is the new value, as msgpack, and goes to the next handler
 *     PA_STOP                  the result is final: later handlers do not run. What was written
 *                              is the result; if nothing was, the value as it came in
 *     negative                 the handler failed; what it wrote is thrown away */
typedef pa_status(PA_CALL *pa_hook_fn)(void *user, pa_str hook, pa_bytes in, pa_out *out);

typedef struct pa_hooks_1 {
    uint32_t struct_size;
    uint32_t reserved;

    /* Register a handler. [in call, during register_hooks only; elsewhere PA_ERR_STATE]
     * A host may define a hook after its handlers were registered, so a name that it does not know
     * yet is accepted; PA_ERR_NOT_FOUND when it takes no handlers under this name. Handlers are
     * removed when the plugin is unloaded; there is nothing to unregister. */
    pa_status(PA_CALL *register_hook)(pa_host *host, pa_str hook, uint32_t priority, pa_hook_fn fn,
                                      void *user);
} pa_hooks_1;

/* ---------------------------------------------------------------------------------------------
 * "pa.context/1": values that host and plugins share by name
 *
 * Values are msgpack. A key that the operator has not granted looks like one that does not exist.
 */

#define PA_CONTEXT_1 "pa.context/1"

typedef struct pa_context_1 {
    uint32_t struct_size;
    uint32_t reserved;

    /* Read a value. [in call, from init on; not in create_plugin or destroy]
     * *value is BORROWED until the running callback returns. PA_ERR_NOT_FOUND without the key;
     * PA_ERR_LIMIT when the values read during one call exceed the host's bound on results. */
    pa_status(PA_CALL *get)(pa_host *host, pa_str key, pa_bytes *value);

    /* Store a value, copied. [as get] PA_ERR_DENIED when the key is not writable for the plugin,
     * PA_ERR_BAD_ARG when the value is not msgpack of the key's type. */
    pa_status(PA_CALL *set)(pa_host *host, pa_str key, pa_bytes value);

    /* PA_OK when the key has a value that the plugin may read, else PA_ERR_NOT_FOUND. [as get] */
    pa_status(PA_CALL *has)(pa_host *host, pa_str key);
} pa_context_1;

/* ---------------------------------------------------------------------------------------------
 * "pa.services/1": methods of live objects of the host, such as a database pool
 *
 * A method that the operator has not granted looks like one that does not exist.
 */

#define PA_SERVICES_1 "pa.services/1"

typedef struct pa_services_1 {
    uint32_t struct_size;
    uint32_t reserved;

    /* Call a method and wait for its result. [in call, from init on; not in create_plugin or destroy]
     * `arguments` is a msgpack map by name, copied; of length 0 it stands for an empty map. *result
     * is msgpack, BORROWED until the running callback returns.
     *     PA_ERR_NOT_FOUND    no such method for this plugin
     *     PA_ERR_BAD_ARG      the arguments do not fit the method, or a name is malformed
     *     PA_ERR_LIMIT        arguments or result are too large, or what was read in this call is
     *     PA_ERR_TIMEOUT      the time of the call that this one was made in ran out
     *     PA_ERR_UNSUPPORTED  the method would have to wait for the very thread that calls it: an
     *                         async method, called in the host's process on its event loop
     *     PA_ERR_FAIL         the method failed; the host's log says why */
    pa_status(PA_CALL *call)(pa_host *host, pa_str service, pa_str method, pa_bytes arguments,
                             pa_bytes *result);
} pa_services_1;

/* ---------------------------------------------------------------------------------------------
 * The plugin
 */

#define PA_F_THREAD_SAFE ((uint64_t)1 << 0) /* handlers may run concurrently and re-enter */
#define PA_F_UNLOADABLE ((uint64_t)1 << 1)  /* dlclose is safe after destroy: no threads, no TLS
                                               destructors, no atexit handlers of the plugin stay */
/* Handlers return within microseconds and wait for nothing: no lock that another thread may hold,
 * no input or output, no sleep. The host then calls them without letting go of its own locks, which
 * saves over a third of the time of a short call. A handler that waits all the same stops the whole host,
 * for ever if what it waits for needs a service of the host. */
#define PA_F_NEVER_WAITS ((uint64_t)1 << 2)

typedef struct pa_plugin {
    uint32_t struct_size; /* sizeof(pa_plugin) as the plugin was compiled */
    uint16_t abi_major;   /* PA_ABI_MAJOR */
    uint16_t abi_minor;   /* PA_ABI_MINOR */
    pa_str name;          /* equal to "name" in the manifest */
    pa_str version;       /* equal to "version" in the manifest */
    uint64_t flags;       /* PA_F_*; bits that the host does not know are ignored */
    void *instance;       /* handed to every callback, for the plugin's own use */

    /* Prepare for work: read the configuration and the context, take resources. Required. */
    pa_status(PA_CALL *init)(void *instance);

    /* Register hook handlers through "pa.hooks/1". Optional: NULL for a plugin without hooks. */
    pa_status(PA_CALL *register_hooks)(void *instance);

    /* Stop working: flush, join threads. No handler is running and none will. Required. */
    pa_status(PA_CALL *shutdown)(void *instance);

    /* Release the instance and everything it holds. Called once, last. Required. */
    void(PA_CALL *destroy)(void *instance);

    /* Return an interface of the plugin by id, or NULL. Optional: may be NULL. */
    const void *(PA_CALL *get_interface)(void *instance, pa_str id);
} pa_plugin;

#if defined(__cplusplus)
} /* extern "C" */
#endif

/* The constructor, exported by every plugin; called once per load, alone, and before any callback.
 *
 * `api`, `host` stay valid until destroy returns. `config` is the operator's configuration of this
 * plugin as msgpack, BORROWED until create_plugin returns; without one it is an empty map.
 * On PA_OK *plugin points to a structure that the plugin owns and keeps unchanged until destroy
 * returns. On a negative status *plugin is not read. Services allowed here: alloc, realloc, free,
 * set_error, log, get_interface. */
PA_EXTERN_ pa_status PA_CALL create_plugin(const pa_host_api *api, pa_host *host, pa_bytes config,
                                           const pa_plugin **plugin);

/* ---------------------------------------------------------------------------------------------
 * PA_MANIFEST({"name": "acme.filter", "version": "1.0.0", "author": "Acme"});
 *
 * Put the plugin's metadata into the library's data. Use it once, at file scope, in one source file,
 * and write the JSON as it is: the preprocessor turns it into text. Keys: name, version, author,
 * description, resource_limits {max_heap_bytes, max_cpu_time_ms, max_threads,
 * max_file_descriptors, max_connections}, requirements, dependencies. At most 64 KiB. Compilers
 * with -pedantic warn above 4095 characters.
 *
 * Layout, byte by byte, so that it is the same in ELF, PE and Mach-O: 16 bytes of magic, format 1,
 * ABI major, ABI minor, 0, length of the JSON as 32-bit little-endian, the JSON, 8 bytes of end
 * marker. (The NUL byte that ends the C string follows the end marker and belongs to nothing.)
 */
#define PA_MANIFEST(...) PA_MANIFEST_BLOB_(#__VA_ARGS__)

#define PA_MANIFEST_BYTE_(json, shift) ((uint8_t)(((sizeof(json) - 1) >> (shift)) & 0xff))

#define PA_MANIFEST_BLOB_(json)                                                                    \
    struct pa_manifest_blob {                                                                      \
        uint8_t magic[16];                                                                         \
        uint8_t header[4];                                                                         \
        uint8_t length[4];                                                                         \
        char text[sizeof(json "\x1aPLGEND\n")];                                                    \
    };                                                                                             \
    PA_EXTERN_ const struct pa_manifest_blob pluginapi_manifest;                                   \
    PA_USED_ const struct pa_manifest_blob pluginapi_manifest = {                                  \
        {0x89, 'P', 'L', 'U', 'G', 'I', 'N', 'A', 'P', 'I', '-', 'M', 'A', 'N', '\r', '\n'},       \
        {1, PA_ABI_MAJOR, PA_ABI_MINOR, 0},                                                        \
        {PA_MANIFEST_BYTE_(json, 0), PA_MANIFEST_BYTE_(json, 8), PA_MANIFEST_BYTE_(json, 16),      \
         PA_MANIFEST_BYTE_(json, 24)},                                                             \
        json "\x1aPLGEND\n"}

#endif /* PLUGINAPI_H */
