/* The loop of a hook call: what Cython cannot say, or not without reference counting that costs.
 *
 * A plan is a compiled, immutable snapshot of a hook's handlers. A run is one call of it: on the
 * stack while nothing suspends, else moved into a PendingCall. All of it needs the interpreter
 * lock. What is rare (failures, odd results, observers) leaves through the functions of hk_cold,
 * which _hooks.pyx fills in; there the decisions of pluginapi.hooks are asked for. */
#ifndef PLUGINAPI_HOOK_LOOP_H
#define PLUGINAPI_HOOK_LOOP_H

#include <Python.h>
#include <stdint.h>

#include "clock/clock.h"

#if defined(__GNUC__)
#define HK_RARE(condition) __builtin_expect(!!(condition), 0)
#else
#define HK_RARE(condition) (condition)
#endif

/* The most attributes of a value that one handler may take as parameters. */
#define HK_NAMES_MAX 32

typedef enum hk_mode { HK_CHAIN, HK_NOTIFY, HK_COLLECT, HK_FIRST, HK_VETO, HK_SINGLE } hk_mode;

typedef enum hk_kind {
    HK_FUNCTION,        /* a Python function, called with the value */
    HK_METHOD,          /* a bound method of one, taken apart: saves unpacking it each time */
    HK_OTHER,           /* any other callable */
    HK_NAMED,           /* keyword-only parameters: attributes of the value */
    HK_VALUE_AND_NAMED, /* the value, then keyword-only parameters */
    HK_NATIVE,          /* a C function of a native plugin */
    HK_REST             /* a wrapper, called with the value and the plan of the rest */
} hk_kind;

typedef enum hk_state { HK_RAISED = -1, HK_DONE = 0, HK_SUSPENDED = 1 } hk_state;

/* How long calls took: bucket k counts those of at least 2^(k-1) and less than 2^k ticks, the last
 * one longer ones too. With ticks of a third of a nanosecond it begins at 45 seconds. */
#define HK_BUCKETS 38

/* What one handler did. Times of quick steps are ticks; of the others, nanoseconds. */
typedef struct hk_counts {
    uint64_t calls;
    uint64_t errors;
    uint64_t ticks;  /* of quick steps, which count as CPU time as a whole */
    uint64_t waited; /* ticks while suspended */
    uint64_t wall_ns;
    uint64_t cpu_ns;
    uint64_t took[HK_BUCKETS]; /* calls that were timed, waiting included */
} hk_counts;

/* Borrows from the plan's handlers, which the plan keeps alive. */
typedef struct hk_entry {
    hk_kind kind;
    int deadline;        /* whether a suspension arms a timer */
    uint32_t account;    /* of kernels/heap: whose memory it is that the handler asks for */
    PyObject *callable;
    PyObject *extra;     /* HK_METHOD: its object. HK_*NAMED: the names. HK_REST: the rest */
    hk_counts *counts;
} hk_entry;

/* Who hears of CPU time; one per registry. */
typedef struct hk_meter {
    uint64_t cold_ticks;  /* steps from here on are looked at closely */
    uint64_t floor_ns;    /* operations from here on are told */
    PyObject *observer;   /* owned by the Meter; NULL for none */
} hk_meter;

typedef struct hk_plan {
    Py_ssize_t count;
    hk_entry *entries;
    hk_mode mode;
    int timed;
    int takes_all;           /* the input is not checked */
    int returns_all;         /* results are not checked */
    PyTypeObject *takes_one; /* the input's class where it is one class, else NULL */
    PyTypeObject *plain;     /* results of exactly this class are good, and never final */
    PyObject *takes;         /* tuples of classes */
    PyObject *returns;
    hk_meter *meter;
} hk_plan;

typedef struct hk_run {
    PyObject *value;    /* what the next handler is given */
    PyObject *answer;   /* collect: the list; first, veto, single: the answer; NULL while none */
    PyObject *errors;   /* what failed under COLLECT, or NULL */
    PyObject *awaiting; /* steps of the handler that is suspended, or NULL */
    PyObject *yielded;  /* what it yielded last and nobody took yet, or NULL */
    PyObject *timer;    /* armed deadline, or NULL */
    int single;         /* one handler alone: no error policy */
    Py_ssize_t next;    /* entry after the current one */
    uint64_t began;     /* tick at which this run last got hold of the thread */
    uint64_t last;      /* tick at which the current step began */
    uint64_t charged;   /* what was charged to others when the current step began */
    uint64_t op_wall;   /* ns of the suspended handler so far */
    uint64_t op_cpu;
    uint64_t op_waited; /* ticks that it was suspended */
    pa_cpu_mark mark;
    pa_thread_clock *thread;
} hk_run;

/* The way out of the loop. `plan` is the Plan object; index that of the entry in question. */
struct hk_cold {
    /* An exception is set. Count it and apply the error policy: 0 go on, 1 the call is over and
     * run->answer is set, -1 raise (an exception is set). */
    int (*failed)(PyObject *plan, hk_run *run, Py_ssize_t index);
    /* Raise what tells that the hook does not take this value. */
    void (*unwanted)(PyObject *plan, PyObject *value);
    /* Raise the exceptions that COLLECT gathered, as one. */
    void (*group)(PyObject *plan, hk_run *run);
    /* Raise what tells that this result, borrowed, is not of the hook's type. */
    void (*refused)(PyObject *plan, Py_ssize_t index, PyObject *result);
    /* Take an objection to run->answer: 0, or -1 with an exception set. */
    int (*object)(PyObject *plan, hk_run *run, Py_ssize_t index, PyObject *result);
    /* Tell the observer of an operation's CPU time; an exception may be set and stays. */
    void (*observe)(PyObject *plan, Py_ssize_t index, uint64_t cpu_ns);
    /* Disarm run->timer; `failed` when an exception is set, which may be replaced. */
    void (*disarm)(PyObject *plan, hk_run *run, Py_ssize_t index, int failed);
    PyObject *(*native)(PyObject *handler, PyObject *value);
    PyTypeObject *stop; /* StopChain */
    PyObject *allowed;  /* the answer of a veto hook to which nobody objected */
};

static struct hk_cold hk_cold;

/* pa_heap_enter, which is in another module; NULL while nobody's memory is counted. */
static uint32_t (*hk_heap_enter)(uint32_t);

#define HK_UNCOUNTED UINT32_MAX

/* Let this thread work for a handler's owner; give the answer to hk_work_on afterwards. */
static inline uint32_t hk_work_for(const hk_entry *entry) {
    return HK_RARE(hk_heap_enter != NULL) ? hk_heap_enter(entry->account) : HK_UNCOUNTED;
}

static inline void hk_work_on(uint32_t outer) {
    if (HK_RARE(outer != HK_UNCOUNTED)) {
        (void)hk_heap_enter(outer);
    }
}

/* Exceptions as one object, whatever the version. */
static inline PyObject *hk_take_exception(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Raise it as it is, without a new context. */
static inline void hk_put_exception(PyObject *error) {
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(Py_NewRef(error));
#else
    PyErr_Restore(Py_NewRef(Py_TYPE(error)), Py_NewRef(error), PyException_GetTraceback(error));
#endif
}

/* Calling */

static PyObject *hk_call_named(const hk_entry *entry, PyObject *value) {
    PyObject *args[HK_NAMES_MAX + 2];
    const Py_ssize_t given = entry->kind == HK_VALUE_AND_NAMED;
    const Py_ssize_t names = PyTuple_GET_SIZE(entry->extra);
    PyObject *result = NULL;
    Py_ssize_t index = 0;
    args[1] = value;
    while (index < names) {
        PyObject *found = PyObject_GetAttr(value, PyTuple_GET_ITEM(entry->extra, index));
        if (found == NULL) {
            break;
        }
        args[1 + given + index++] = found;
    }
    if (index == names) {
        result = PyObject_Vectorcall(entry->callable, args + 1,
                                     (size_t)given | PY_VECTORCALL_ARGUMENTS_OFFSET, entry->extra);
    }
    while (index > 0) {
        Py_DECREF(args[given + index--]);
    }
    return result;
}

static inline Py_ALWAYS_INLINE PyObject *hk_enter(const hk_entry *entry, PyObject *value) {
    PyObject *args[3];
    args[1] = value;
    switch (entry->kind) {
    case HK_FUNCTION:
        return ((PyFunctionObject *)entry->callable)
            ->vectorcall(entry->callable, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    case HK_METHOD:
        args[1] = entry->extra;
        args[2] = value;
        return ((PyFunctionObject *)entry->callable)
            ->vectorcall(entry->callable, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    case HK_NAMED:
    case HK_VALUE_AND_NAMED:
        return hk_call_named(entry, value);
    case HK_NATIVE:
        return hk_cold.native(entry->callable, value);
    case HK_REST:
        args[2] = entry->extra;
        return PyObject_Vectorcall(entry->callable, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                   NULL);
    case HK_OTHER:
        break;
    }
    return PyObject_Vectorcall(entry->callable, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* Time. Only plans that are timed come here. */

static inline void hk_step_begins(hk_run *run) {
    pa_thread_clock *const thread = pa_clock_thread();
    const uint64_t now = pa_clock_now();
    if (HK_RARE(now - thread->mark.ticks >= pa_clock_mark_ticks)) {
        pa_clock_mark(thread, now);
    }
    run->thread = thread;
    run->mark = thread->mark;
    run->began = run->last = now;
    run->charged = thread->charged;
}

static inline void hk_run_leaves(hk_run *run) {
    /* What was charged within this run is part of its time: replaced, not added to. */
    run->thread->charged = run->charged + (run->last - run->began);
}

static inline void hk_took(hk_counts *counts, uint64_t ticks) {
    /* The number of bits: 0 of 0. */
    unsigned bucket = ticks == 0 ? 0 : 64u - (unsigned)__builtin_clzll(ticks);
    if (HK_RARE(bucket >= HK_BUCKETS)) {
        bucket = HK_BUCKETS - 1;
    }
    counts->took[bucket]++;
}

/* Account a step that is slow, one of several, or watched. */
static void hk_account(PyObject *owner, const hk_plan *plan, hk_run *run, Py_ssize_t index,
                       uint64_t now, int ended) {
    const hk_entry *const entry = &plan->entries[index];
    uint64_t elapsed = now - run->last;
    uint64_t wall, cpu, others = 0;
    if ((int64_t)elapsed < 0) {
        elapsed = 0; /* Another processor, whose counter is a little behind. */
    }
    wall = cpu = (uint64_t)pa_clock_ns(elapsed);
    if (elapsed >= pa_clock_slow_ticks) {
        cpu = pa_clock_cpu_of(run->thread, run->mark, now - elapsed, now);
        run->mark = run->thread->mark;
    }
    if (entry->kind == HK_REST) {
        others = run->thread->charged - run->charged;
        others = others > elapsed ? elapsed : others;
        others = (uint64_t)pa_clock_ns(others);
        wall -= others > wall ? wall : others;
        cpu -= others > cpu ? cpu : others;
    }
    run->op_wall += wall;
    run->op_cpu += cpu;
    if (ended) {
        const uint64_t total = run->op_cpu;
        entry->counts->wall_ns += run->op_wall;
        entry->counts->cpu_ns += total;
        hk_took(entry->counts, pa_clock_ticks_of((double)run->op_wall) + run->op_waited);
        run->op_wall = run->op_cpu = run->op_waited = 0;
        if (plan->meter->observer != NULL && total >= plan->meter->floor_ns) {
            hk_cold.observe(owner, index, total);
        }
    }
}

/* Awaiting */

static int hk_is_iterable_coroutine(PyObject *generator) {
#if PY_VERSION_HEX >= 0x030C0000
    PyCodeObject *const code = PyGen_GetCode((PyGenObject *)generator);
    const int found = (code->co_flags & CO_ITERABLE_COROUTINE) != 0;
    Py_DECREF(code);
    return found;
#else
    return (((PyGenObject *)generator)->gi_code->co_flags & CO_ITERABLE_COROUTINE) != 0;
#endif
}

static inline int hk_is_awaitable(PyObject *object) {
    const PyAsyncMethods *const methods = Py_TYPE(object)->tp_as_async;
    if (PyCoro_CheckExact(object)) {
        return 1;
    }
    if (methods != NULL && methods->am_await != NULL) {
        return 1;
    }
    /* types.coroutine makes generators that are awaited. */
    return PyGen_CheckExact(object) && hk_is_iterable_coroutine(object);
}

/* Take an awaitable and run its first step: NULL with an exception or, if *suspended, what it
 * yielded; else its result. */
static PyObject *hk_first_step(hk_run *run, PyObject *awaitable, int *suspended) {
    PyObject *steps = awaitable;
    PyObject *result = NULL;
    PySendResult how;
    *suspended = 0;
    if (PyCoro_CheckExact(awaitable)) {
        /* What PyIter_Send would do, without the ways for other kinds. */
        how = PyCoro_Type.tp_as_async->am_send(awaitable, Py_None, &result);
        if (how == PYGEN_NEXT) {
            *suspended = 1;
            run->awaiting = awaitable;
            return result;
        }
        Py_DECREF(awaitable);
        return how == PYGEN_RETURN ? result : NULL;
    }
    if (!PyGen_CheckExact(awaitable)) {
        steps = Py_TYPE(awaitable)->tp_as_async->am_await(awaitable);
        Py_DECREF(awaitable);
        if (steps == NULL) {
            return NULL;
        }
        if (!PyIter_Check(steps)) {
            PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                         Py_TYPE(steps)->tp_name);
            Py_DECREF(steps);
            return NULL;
        }
    }
    how = PyIter_Send(steps, Py_None, &result);
    if (how == PYGEN_NEXT) {
        *suspended = 1;
        run->awaiting = steps;
        return result;
    }
    Py_DECREF(steps);
    return how == PYGEN_RETURN ? result : NULL;
}

/* Results */

/* Take a result, not None, that is out of the ordinary; steals it. 0 go on, 1 over, -1 raised. */
static int hk_take_odd(PyObject *owner, const hk_plan *plan, hk_run *run, Py_ssize_t index,
                       PyObject *result) {
    int final = 0, good;
    if (PyObject_TypeCheck(result, hk_cold.stop)) {
        PyObject *inside = PyObject_GetAttrString(result, "value");
        Py_DECREF(result);
        if (inside == NULL) {
            return -1;
        }
        result = inside;
        final = 1;
    }
    if (result == Py_None || plan->mode == HK_NOTIFY) {
        Py_DECREF(result);
        return final;
    }
    if (plan->mode == HK_VETO) {
        if (result == Py_True) {
            Py_DECREF(result);
            return final;
        }
        good = hk_cold.object(owner, run, index, result);
        Py_DECREF(result);
        return good < 0 ? -1 : 1;
    }
    good = plan->returns_all ? 1 : PyObject_IsInstance(result, plan->returns);
    if (good <= 0) {
        if (good == 0) {
            hk_cold.refused(owner, index, result);
        }
        Py_DECREF(result);
        return -1;
    }
    if (plan->mode == HK_COLLECT) {
        good = PyList_Append(run->answer, result);
        Py_DECREF(result);
        return good < 0 ? -1 : final;
    }
    if (plan->mode == HK_FIRST) {
        Py_XSETREF(run->answer, result);
        return 1;
    }
    good = plan->takes_all ? 1 : PyObject_IsInstance(result, plan->takes);
    Py_SETREF(run->value, result);
    return good < 0 ? -1 : final || !good;
}

/* Take the answer of the rest from a wrapper: it ends the call. Steals it. */
static int hk_take_rest(PyObject *owner, const hk_plan *plan, hk_run *run, Py_ssize_t index,
                        PyObject *result) {
    PyObject *done;
    if (PyObject_TypeCheck(result, hk_cold.stop)) {
        const int over = hk_take_odd(owner, plan, run, index, result);
        return over < 0 ? -1 : 1;
    }
    switch (plan->mode) {
    case HK_COLLECT:
        if (!PyList_Check(result)) {
            break;
        }
        done = PyObject_CallMethod(run->answer, "extend", "O", result);
        Py_DECREF(result);
        Py_XDECREF(done);
        return done == NULL ? -1 : 1;
    case HK_VETO:
        if (hk_cold.object(owner, run, index, result) < 0) {
            Py_DECREF(result);
            return -1;
        }
        Py_DECREF(result);
        return 1;
    default: {
        const int over = hk_take_odd(owner, plan, run, index, result);
        return over < 0 ? -1 : 1;
    }
    }
    hk_cold.refused(owner, index, result);
    Py_DECREF(result);
    return -1;
}

/* The loop */

static inline void hk_open(hk_run *run, PyObject *value) {
    /* Times and marks are set when a step begins. */
    run->value = Py_NewRef(value);
    run->answer = run->errors = run->awaiting = run->yielded = run->timer = NULL;
    run->single = 0;
    run->next = 0;
    run->op_wall = run->op_cpu = run->op_waited = 0;
}

static void hk_close(hk_run *run) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* What is freed here may run code. */
    Py_CLEAR(run->value);
    Py_CLEAR(run->answer);
    Py_CLEAR(run->errors);
    Py_CLEAR(run->awaiting);
    Py_CLEAR(run->yielded);
    Py_CLEAR(run->timer);
    PyErr_Restore(type, value, traceback);
}

/* Return the answer of a run that is over; NULL when it is an exception. Closes the run. */
static PyObject *hk_finish(PyObject *owner, const hk_plan *plan, hk_run *run) {
    PyObject *answer = NULL;
    if (HK_RARE(run->errors != NULL)) {
        hk_cold.group(owner, run);
        hk_close(run);
        return NULL;
    }
    switch (plan->mode) {
    case HK_CHAIN:
        answer = run->value;
        run->value = NULL;
        return answer;
    case HK_NOTIFY:
        answer = Py_NewRef(Py_None);
        break;
    case HK_VETO:
        answer = Py_NewRef(run->answer == NULL ? hk_cold.allowed : run->answer);
        break;
    case HK_COLLECT:
    case HK_FIRST:
    case HK_SINGLE:
        answer = Py_NewRef(run->answer == NULL ? Py_None : run->answer);
        break;
    }
    Py_CLEAR(run->value);
    Py_CLEAR(run->answer);
    return answer;
}

/* Run handlers from run->next to `end`. With `resumed`, first take `result` (NULL: an exception is
 * set) as that of the entry before run->next, which was suspended. `mode` and `timed` are those of
 * the plan, as constants. */
static inline Py_ALWAYS_INLINE hk_state hk_loop(PyObject *owner, const hk_plan *plan, hk_run *run,
                                                Py_ssize_t end, int resumed, PyObject *result,
                                                const hk_mode mode, const int timed) {
    Py_ssize_t index = run->next;
    const hk_entry *entry;
    int over;
    if (resumed) {
        index--;
        entry = &plan->entries[index];
        goto ended;
    }
    for (; index < end; index++) {
        uint32_t outer;
        entry = &plan->entries[index];
        if (HK_RARE(entry->kind == HK_REST) && timed) {
            run->thread->charged = run->charged;
        }
        outer = hk_work_for(entry);
        result = hk_enter(entry, run->value);
        if (result != NULL && result != Py_None && HK_RARE(hk_is_awaitable(result))) {
            int suspended;
            result = hk_first_step(run, result, &suspended);
            if (suspended) {
                hk_work_on(outer);
                run->yielded = result;
                run->next = index + 1;
                if (timed) {
                    const uint64_t now = pa_clock_now();
                    hk_account(owner, plan, run, index, now, 0);
                    run->last = now;
                    hk_run_leaves(run);
                }
                return HK_SUSPENDED;
            }
        }
        hk_work_on(outer);
    ended:
        entry->counts->calls++;
        if (timed) {
            const uint64_t now = pa_clock_now();
            const uint64_t elapsed = now - run->last;
            if (HK_RARE(elapsed >= plan->meter->cold_ticks || resumed || entry->kind == HK_REST)) {
                hk_account(owner, plan, run, index, now, 1);
            } else {
                entry->counts->ticks += elapsed;
                hk_took(entry->counts, elapsed);
            }
            run->last = now;
        }
        if (HK_RARE(resumed)) {
            resumed = 0;
            if (run->timer != NULL) {
                hk_cold.disarm(owner, run, index, result == NULL);
                if (PyErr_Occurred()) {
                    Py_CLEAR(result);
                }
            }
        }
        if (HK_RARE(result == NULL)) {
            over = hk_cold.failed(owner, run, index);
        } else if (mode == HK_SINGLE) {
            Py_XSETREF(run->answer, result);
            over = 1;
        } else if (result == Py_None) {
            Py_DECREF(result);
            over = HK_RARE(entry->kind == HK_REST);
        } else if (HK_RARE(entry->kind == HK_REST)) {
            over = hk_take_rest(owner, plan, run, index, result);
            if (over < 0) {
                over = hk_cold.failed(owner, run, index);
            }
        } else if (mode == HK_NOTIFY && !PyObject_TypeCheck(result, hk_cold.stop)) {
            Py_DECREF(result);
            continue;
        } else if (mode == HK_CHAIN && Py_TYPE(result) == plan->plain) {
            Py_SETREF(run->value, result);
            continue;
        } else {
            over = hk_take_odd(owner, plan, run, index, result);
            if (over < 0) {
                over = hk_cold.failed(owner, run, index);
            }
        }
        if (HK_RARE(over != 0)) {
            run->next = index + 1;
            if (timed) {
                hk_run_leaves(run);
            }
            return over < 0 ? HK_RAISED : HK_DONE;
        }
    }
    run->next = index;
    if (timed) {
        hk_run_leaves(run);
    }
    return HK_DONE;
}

/* The common plans have a loop of their own; the mode of the others is looked at as they run. */
static hk_state hk_advance(PyObject *owner, const hk_plan *plan, hk_run *run, Py_ssize_t end) {
    if (plan->timed) {
        hk_step_begins(run);
        switch (plan->mode) {
        case HK_CHAIN:
            return hk_loop(owner, plan, run, end, 0, NULL, HK_CHAIN, 1);
        case HK_NOTIFY:
            return hk_loop(owner, plan, run, end, 0, NULL, HK_NOTIFY, 1);
        default:
            return hk_loop(owner, plan, run, end, 0, NULL, plan->mode, 1);
        }
    }
    switch (plan->mode) {
    case HK_CHAIN:
        return hk_loop(owner, plan, run, end, 0, NULL, HK_CHAIN, 0);
    case HK_NOTIFY:
        return hk_loop(owner, plan, run, end, 0, NULL, HK_NOTIFY, 0);
    default:
        return hk_loop(owner, plan, run, end, 0, NULL, plan->mode, 0);
    }
}

/* Call a plan. NULL: an exception is set, or *suspended and the run is to be kept. */
static inline PyObject *hk_call(PyObject *owner, const hk_plan *plan, hk_run *run, PyObject *value,
                                int *suspended) {
    hk_state state;
    *suspended = 0;
    if (!plan->takes_all && Py_TYPE(value) != plan->takes_one) {
        const int good = PyObject_IsInstance(value, plan->takes);
        if (good <= 0) {
            if (good == 0) {
                hk_cold.unwanted(owner, value);
            }
            return NULL;
        }
    }
    hk_open(run, value);
    if (plan->mode == HK_COLLECT) {
        run->answer = PyList_New(0);
        if (run->answer == NULL) {
            Py_CLEAR(run->value);
            return NULL;
        }
    }
    state = hk_advance(owner, plan, run, plan->count);
    if (state == HK_DONE) {
        return hk_finish(owner, plan, run);
    }
    if (state == HK_SUSPENDED) {
        *suspended = 1;
    } else {
        hk_close(run);
    }
    return NULL;
}

/* A suspended run gets the thread again: what passed meanwhile was waiting. */
static void hk_wakes(const hk_plan *plan, hk_run *run) {
    if (plan->timed) {
        const uint64_t left = run->last;
        hk_step_begins(run);
        if (run->last > left) {
            plan->entries[run->next - 1].counts->waited += run->last - left;
            run->op_waited += run->last - left;
        }
    }
}

/* The suspended handler has yielded once more; takes what it yielded. */
static void hk_sleeps(PyObject *owner, const hk_plan *plan, hk_run *run) {
    if (plan->timed) {
        const uint64_t now = pa_clock_now();
        hk_account(owner, plan, run, run->next - 1, now, 0);
        run->last = now;
        hk_run_leaves(run);
    }
}

/* The suspended handler has ended, with `result` or an exception: run what is left. */
static hk_state hk_go_on(PyObject *owner, const hk_plan *plan, hk_run *run, PyObject *result,
                         Py_ssize_t end) {
    Py_CLEAR(run->awaiting);
    if (plan->timed) {
        return hk_loop(owner, plan, run, end, 1, result, plan->mode, 1);
    }
    return hk_loop(owner, plan, run, end, 1, result, plan->mode, 0);
}

/* Send into the suspended handler and go on from there. HK_SUSPENDED: *out was yielded. */
static hk_state hk_send(PyObject *owner, const hk_plan *plan, hk_run *run, PyObject *sent,
                        Py_ssize_t end, PyObject **out) {
    PyObject *result = NULL;
    PySendResult how;
    uint32_t outer;
    hk_state state;
    hk_wakes(plan, run);
    outer = hk_work_for(&plan->entries[run->next - 1]);
    how = PyIter_Send(run->awaiting, sent, &result);
    hk_work_on(outer);
    switch (how) {
    case PYGEN_NEXT:
        hk_sleeps(owner, plan, run);
        *out = result;
        return HK_SUSPENDED;
    case PYGEN_RETURN:
        break;
    case PYGEN_ERROR:
        result = NULL;
        break;
    }
    state = hk_go_on(owner, plan, run, result, end);
    if (state == HK_SUSPENDED) {
        *out = run->yielded;
        run->yielded = NULL;
    }
    return state;
}

/* Raise StopIteration with a value that may be a tuple or an exception itself. */
static void hk_raise_stop(PyObject *value) {
    if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    } else {
        PyErr_SetObject(PyExc_StopIteration, value);
    }
}

#endif
