/* A policy for system calls, and the assembler that makes a filter program of it.
 *
 * A policy says for each architecture what is done with each system call: an ordered list of
 * clauses, of which the first whose conditions all hold decides. The program is classic BPF as
 * seccomp(2) takes it. It refuses foreign architectures first, finds the number by a binary search
 * over ranges, and compares arguments as unsigned numbers of 32 or 64 bits.
 *
 * Knows no Python and no operating system. Thread-safe: no state. */
#ifndef PLUGINAPI_SECCOMP_POLICY_H
#define PLUGINAPI_SECCOMP_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "bpf.h"

/* The result of every function of kernels/seccomp that can fail. */
typedef enum pa_seccomp_status {
    PA_SECCOMP_OK = 0,
    PA_SECCOMP_MEMORY = -1,        /* no memory */
    PA_SECCOMP_TOO_LONG = -2,      /* more than PA_BPF_MOST instructions */
    PA_SECCOMP_BAD_CONDITION = -3, /* an argument, width, value or mask that cannot be */
    PA_SECCOMP_BAD_CALL = -4       /* a number that is there twice, or is the architecture's end */
} pa_seccomp_status;

/* What an argument is compared with. All comparisons are unsigned. */
typedef enum pa_seccomp_op {
    PA_SECCOMP_IN = 0,        /* one of the values */
    PA_SECCOMP_NOT_IN = 1,    /* none of the values */
    PA_SECCOMP_LT = 2,        /* less than the first value */
    PA_SECCOMP_GE = 3,        /* not less than it */
    PA_SECCOMP_LE = 4,        /* not more than it */
    PA_SECCOMP_GT = 5,        /* more than it */
    PA_SECCOMP_MASKED_EQ = 6, /* argument & mask is the first value */
    PA_SECCOMP_MASKED_NE = 7, /* and is not */
    PA_SECCOMP_LAST_OP = PA_SECCOMP_MASKED_NE
} pa_seccomp_op;

typedef struct pa_seccomp_condition {
    uint32_t argument;      /* 0 to 5 */
    uint32_t width;         /* 32: the low half alone, as the kernel takes an int; or 64 */
    pa_seccomp_op op;
    uint64_t mask;          /* of the masked comparisons */
    const uint64_t *values; /* ascending and without doubles */
    size_t count;           /* at least 1; exactly 1 but for IN and NOT_IN */
} pa_seccomp_condition;

/* When all conditions hold, the filter returns `action`, a SECCOMP_RET_* value with its data. */
typedef struct pa_seccomp_clause {
    const pa_seccomp_condition *conditions;
    size_t count;
    uint32_t action;
} pa_seccomp_clause;

/* When no clause holds, it is as if the call were not listed. */
typedef struct pa_seccomp_call {
    uint32_t number;
    const pa_seccomp_clause *clauses;
    size_t count;
} pa_seccomp_call;

typedef struct pa_seccomp_arch {
    uint32_t audit;        /* AUDIT_ARCH_* */
    int big_endian;        /* how the kernel of this architecture stores arguments */
    uint32_t fallback;     /* the action for numbers that are not listed */
    uint32_t end;          /* numbers from here on are another ABI's (x32); 0 when there is none */
    uint32_t beyond;       /* the action for those */
    const pa_seccomp_call *calls; /* ascending by number */
    size_t count;
} pa_seccomp_arch;

typedef struct pa_seccomp_policy {
    const pa_seccomp_arch *archs;
    size_t count;
    uint32_t foreign; /* the action for every other architecture */
} pa_seccomp_policy;

/* Make the program of a policy. `out` has room for PA_BPF_MOST instructions; *length is how many
 * there are. The time is bounded by the size of the policy. */
pa_seccomp_status pa_seccomp_assemble(const pa_seccomp_policy *policy, pa_bpf *out, size_t *length);

#endif
