# What _hooks.pyx uses of hook_loop.h and kernels/clock.
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "clock/clock.h" nogil:
    int pa_clock_uses_counter
    uint64_t pa_clock_slow_ticks
    void pa_clock_open()
    uint64_t pa_clock_now()
    uint64_t pa_clock_ticks_of(double)
    double pa_clock_ns(uint64_t)

cdef extern from "hook_loop.h":
    int HK_NAMES_MAX
    int HK_BUCKETS
    ctypedef enum hk_mode:
        HK_CHAIN
        HK_NOTIFY
        HK_COLLECT
        HK_FIRST
        HK_VETO
        HK_SINGLE
    ctypedef enum hk_kind:
        HK_FUNCTION
        HK_METHOD
        HK_OTHER
        HK_NAMED
        HK_VALUE_AND_NAMED
        HK_NATIVE
        HK_REST
    ctypedef enum hk_state:
        HK_RAISED
        HK_DONE
        HK_SUSPENDED
    ctypedef struct hk_counts:
        uint64_t calls
        uint64_t errors
        uint64_t ticks
        uint64_t waited
        uint64_t wall_ns
        uint64_t cpu_ns
        uint64_t took[38]
    ctypedef struct hk_entry:
        hk_kind kind
        int deadline
        uint32_t account
        PyObject *callable
        PyObject *extra
        hk_counts *counts
    ctypedef struct hk_meter:
        uint64_t cold_ticks
        uint64_t floor_ns
        PyObject *observer
    ctypedef struct hk_plan:
        Py_ssize_t count
        hk_entry *entries
        hk_mode mode
        int timed
        int takes_all
        int returns_all
        PyTypeObject *takes_one
        PyTypeObject *plain
        PyObject *takes
        PyObject *returns
        hk_meter *meter
    ctypedef struct hk_run:
        PyObject *value
        PyObject *answer
        PyObject *errors
        PyObject *awaiting
        PyObject *yielded
        PyObject *timer
        int single
        Py_ssize_t next
        uint64_t last
        uint64_t op_wall
    ctypedef struct hk_cold_table "struct hk_cold":
        int (*failed)(PyObject *, hk_run *, Py_ssize_t) except -1
        void (*unwanted)(PyObject *, PyObject *) except *
        void (*group)(PyObject *, hk_run *) except *
        void (*refused)(PyObject *, Py_ssize_t, PyObject *) except *
        int (*object)(PyObject *, hk_run *, Py_ssize_t, PyObject *) except -1
        void (*observe)(PyObject *, Py_ssize_t, uint64_t) noexcept
        void (*disarm)(PyObject *, hk_run *, Py_ssize_t, int) noexcept
        object (*native)(PyObject *, PyObject *)
        PyTypeObject *stop
        PyObject *allowed
    hk_cold_table hk_cold
    uint32_t (*hk_heap_enter)(uint32_t) noexcept nogil
    uint32_t hk_work_for(const hk_entry *)
    void hk_work_on(uint32_t)
    object hk_take_exception()
    void hk_put_exception(object)
    void hk_open(hk_run *, object)
    void hk_close(hk_run *)
    PyObject *hk_finish(object, const hk_plan *, hk_run *) noexcept
    PyObject *hk_call(object, const hk_plan *, hk_run *, object, int *) noexcept
    void hk_wakes(const hk_plan *, hk_run *)
    void hk_sleeps(object, const hk_plan *, hk_run *)
    hk_state hk_advance(object, const hk_plan *, hk_run *, Py_ssize_t) noexcept
    hk_state hk_go_on(object, const hk_plan *, hk_run *, PyObject *, Py_ssize_t) noexcept
    hk_state hk_send(
        object, const hk_plan *, hk_run *, PyObject *, Py_ssize_t, PyObject **
    ) noexcept
    void hk_raise_stop(object)
