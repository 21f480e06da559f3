# What _budget.pyx alone uses of kernels/budget, which is of Linux: C declarations only.
from budget_kernel cimport pa_watched_calls
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from "budget/budget.h" nogil:
    uint64_t PA_BUDGET_TICK_NS
    ctypedef struct pa_budget:
        pass
    ctypedef struct pa_budget_event:
        uint64_t number
        uint64_t used_ns
        uint64_t budget_ns
        uint32_t calls
    int pa_budget_new(pa_budget **)
    void pa_budget_free(pa_budget *)
    int pa_budget_bell(const pa_budget *)
    int pa_budget_watch(pa_budget *, int32_t, uint64_t, uint64_t, pa_watched_calls **)
    void pa_budget_forget(pa_budget *, pa_watched_calls *)
    int pa_budget_next(pa_budget *, pa_budget_event *)

cdef extern from *:
    """
    static void pa_calls_allow(pa_watched_calls *calls, int concurrent) {
        atomic_store_explicit(&calls->concurrent, (uint32_t)concurrent, memory_order_relaxed);
    }
    """
    void pa_calls_allow(pa_watched_calls *, int)
