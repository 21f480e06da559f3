# What _channel.pyx uses of kernels/channel: C declarations only.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "channel/frame.h" nogil:
    ctypedef enum pa_channel_status:
        PA_CHANNEL_OK
        PA_CHANNEL_AGAIN
        PA_CHANNEL_TIMEOUT
        PA_CHANNEL_INTERRUPTED
        PA_CHANNEL_REFUSED
        PA_CHANNEL_CLOSED
        PA_CHANNEL_IO
        PA_CHANNEL_MEMORY
        PA_CHANNEL_BAD_LENGTH
        PA_CHANNEL_BAD_KIND
        PA_CHANNEL_BAD_FLAGS
        PA_CHANNEL_BAD_CALL
        PA_CHANNEL_BAD_INDEX
        PA_CHANNEL_BAD_AREA
        PA_CHANNEL_BAD_BELL
        PA_CHANNEL_BAD_PAYLOAD
    int PA_FRAME_HELLO
    int PA_FRAME_REQUEST
    int PA_FRAME_RESPONSE
    int PA_FRAME_CALL
    int PA_FRAME_RESULT
    int PA_FRAME_ERROR
    int PA_FRAME_CANCEL
    int PA_FRAME_LOG
    int PA_F_FRAME_STOP
    int PA_F_FRAME_UNCHANGED
    size_t PA_FRAME_MOST_PREFIX
    ctypedef struct pa_frame:
        uint32_t len
        uint8_t kind
        uint8_t flags
        uint16_t hook
        uint64_t call
    ctypedef struct pa_body:
        uint64_t deadline_ns
        uint64_t parent
        const uint8_t *context
        size_t context_len
        const uint8_t *payload
        size_t payload_len
    pa_channel_status pa_frame_split(const pa_frame *, const uint8_t *, pa_body *)
    size_t pa_frame_prefix(pa_frame *, uint8_t *, const pa_body *)
    const char *pa_channel_explain(pa_channel_status)

cdef extern from "channel/ring.h" nogil:
    ctypedef struct pa_part:
        const void *data
        size_t size
    ctypedef struct pa_buffer:
        uint8_t *data
        size_t capacity
    void pa_buffer_close(pa_buffer *)
    size_t pa_ring_bytes(size_t, size_t)

cdef extern from "channel/scan.h" nogil:
    ctypedef struct pa_scan_limits:
        uint32_t depth
        uint32_t containers
        uint32_t items
    uint32_t PA_SCAN_MOST_DEPTH
    pa_channel_status pa_scan(const uint8_t *, size_t, const pa_scan_limits *)

cdef extern from "channel/memory.h" nogil:
    int PA_MEMORY_SEALED
    pa_channel_status pa_memory_make(size_t, int *, int *)
    pa_channel_status pa_memory_map(int, size_t, void **, int *)
    void pa_memory_unmap(void *, size_t)

cdef extern from "channel/link.h" nogil:
    uint64_t PA_LINK_NEVER
    ctypedef struct pa_link_stats:
        uint64_t received
        uint64_t sent
        uint64_t parks
        uint64_t bells
        uint64_t spins_won
        uint64_t spins_lost
        uint64_t full
    ctypedef struct pa_message:
        pa_frame frame
        uint8_t *body
    ctypedef struct pa_link:
        int fd
        int error
        int shared
        uint32_t max_len
        size_t unsent_low
        size_t unsent_high
        uint64_t spin_ns
        pa_buffer body
        pa_link_stats stats
    pa_channel_status pa_link_open(pa_link *, int, uint32_t, uint64_t)
    void pa_link_close(pa_link *)
    void pa_link_hang_up(pa_link *)
    pa_channel_status pa_link_share(pa_link *, void *, size_t, size_t, int)
    size_t pa_link_most(const pa_link *)
    pa_channel_status pa_link_send(pa_link *, const pa_frame *, const pa_part *, size_t)
    pa_channel_status pa_link_send_quietly(pa_link *, const pa_frame *, const pa_part *, size_t)
    pa_channel_status pa_link_wake(pa_link *)
    pa_channel_status pa_link_flush(pa_link *)
    pa_channel_status pa_link_poll(pa_link *, pa_message *)
    int pa_link_ready(pa_link *)
    pa_channel_status pa_link_spin(pa_link *, pa_message *, uint64_t)
    uint64_t pa_link_spin_budget(pa_link *)
    void pa_link_spun(pa_link *, int)
    pa_channel_status pa_link_arm(pa_link *)
    void pa_link_disarm(pa_link *)
    pa_channel_status pa_link_answer_bell(pa_link *)
    pa_channel_status pa_link_park(pa_link *, uint64_t)
    int pa_link_owns_body(const pa_link *, const pa_message *)
    pa_buffer pa_link_take_body(pa_link *)
    void pa_link_give_body(pa_link *, pa_buffer)
    uint64_t pa_link_now()

cdef extern from "channel/join.h" nogil:
    int PA_JOIN_VERSION
    uint32_t PA_JOIN_MAGIC
    uint32_t PA_JOIN_SHARED
    pa_channel_status pa_join(pa_link *, int, uint32_t, uint64_t, int *)
