# What _broker.pyx uses of kernels/broker: C declarations only.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "broker/verdicts.h" nogil:
    unsigned PA_VERDICT_ADDRESSES
    ctypedef struct pa_endpoint:
        uint8_t address[16]
        uint16_t port
        uint8_t family
        uint8_t udp
    ctypedef struct pa_verdict:
        uint64_t plugin
        pa_endpoint wanted
        uint64_t expires
        uint32_t count
        uint32_t next
        uint32_t own
        pa_endpoint to[8]

cdef extern from "broker/broker.h" nogil:
    ctypedef struct pa_broker:
        pass
    ctypedef enum pa_broker_kind:
        PA_BROKER_WOKEN
        PA_BROKER_ASKED
        PA_BROKER_FULL
        PA_BROKER_READABLE
        PA_BROKER_GONE
        PA_BROKER_BINDS
    ctypedef struct pa_broker_event:
        pa_broker_kind kind
        uint64_t plugin
        uint64_t token
        pa_endpoint wanted
    ctypedef struct pa_broker_counts:
        uint64_t connected
        uint64_t failed
        uint64_t refused
    int pa_broker_new(pa_broker **)
    void pa_broker_free(pa_broker *)
    int pa_broker_add(pa_broker *, int, uint32_t, uint64_t *)
    void pa_broker_remove(pa_broker *, uint64_t)
    int pa_broker_watch(pa_broker *, int, uint64_t)
    void pa_broker_unwatch(pa_broker *, int)
    void pa_broker_forget(pa_broker *, uint64_t)
    int pa_broker_answer(pa_broker *, uint64_t, int, const pa_verdict *)
    int pa_broker_give(pa_broker *, uint64_t, int, int)
    uint32_t pa_broker_sockets(pa_broker *, uint64_t, uint64_t *, uint32_t)
    void pa_broker_closed(pa_broker *, uint64_t, uint64_t)
    int pa_broker_count(pa_broker *, uint64_t, pa_broker_counts *)
    int pa_broker_run(pa_broker *, pa_broker_event *)
    void pa_broker_wake(pa_broker *)
