/* Fuzz the filters for system calls: any bytes as a program, and any policy.
 *
 * Kernels: seccomp
 *
 * An even first byte: the rest is a program. What the check accepts must run to its end, on any
 * call, in as many steps as it has instructions at most, and what is constant must be so.
 *
 * An odd one: the rest is a policy. What is assembled must be accepted, and do what the policy says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "seccomp/policy.h"

#define MOST 256
#define MOST_CALLS 24
#define MOST_CLAUSES 4
#define MOST_CONDITIONS 3
#define MOST_VALUES 4
#define AUDIT 0xC000003Eu
#define KILL 0x80000000u

typedef struct input {
    const uint8_t *data;
    size_t size;
} input;

static uint32_t take(input *in, uint32_t below) {
    uint32_t value = 0;
    if (in->size > 0) {
        value = in->data[0];
        in->data++;
        in->size--;
    }
    return value % below;
}

/* Numbers near the borders of words, so that different parts of a policy meet. */
static uint64_t take_value(input *in, uint32_t width) {
    static const uint64_t near[] = {0,          1,          5,           38,         0x80,
                                    0xffffffff, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX};
    const uint64_t value = near[take(in, 9)] + take(in, 4) - 1 + ((uint64_t)take(in, 3) << 32);
    return width == 32 ? value & 0xffffffff : value;
}

static void look(const pa_bpf *program, size_t length, const uint32_t words[PA_BPF_WORDS]) {
    uint16_t *path = malloc(length * sizeof *path);
    uint32_t action = 0;
    uint32_t found;
    size_t steps = 0;
    size_t i;
    char text[PA_BPF_TEXT];
    if (path == NULL) {
        abort();
    }
    found = pa_bpf_run(program, length, words, path, &steps);
    if (steps == 0 || steps > length || path[0] != 0) {
        abort();
    }
    for (i = 1; i < steps; i++) {
        if (path[i] <= path[i - 1] || path[i] >= length) {
            abort();
        }
    }
    if (pa_bpf_constant(program, length, words[1], words[0], &action) && action != found) {
        abort();
    }
    for (i = 0; i < length; i++) {
        pa_bpf_text(program, i, text, sizeof text);
        if (memchr(text, 0, sizeof text) == NULL || text[0] == 0) {
            abort();
        }
    }
    free(path);
}

static void fuzz_program(const uint8_t *data, size_t size) {
    const size_t length = size / sizeof(pa_bpf) < MOST ? size / sizeof(pa_bpf) : MOST;
    /* Exactly as large as the program, so that a step beyond it is seen. */
    pa_bpf *program = calloc(length > 0 ? length : 1, sizeof *program);
    uint32_t words[PA_BPF_WORDS] = {39, AUDIT};
    size_t where = 0;
    size_t i;
    if (program == NULL) {
        abort();
    }
    if (length > 0) {
        memcpy(program, data, length * sizeof *program);
    }
    for (i = 0; i < length; i++) {
        char text[PA_BPF_TEXT];
        pa_bpf_text(program, i, text, sizeof text);
    }
    if (pa_bpf_check(program, length, &where) == PA_BPF_FINE) {
        look(program, length, words);
        for (i = 0; i < PA_BPF_WORDS; i++) {
            words[i] = (uint32_t)(0x9e3779b9u * (i + 1));
        }
        look(program, length, words);
    } else if (length > 0 && where >= length) {
        abort();
    }
    free(program);
}

typedef struct drawn {
    pa_seccomp_call calls[MOST_CALLS];
    pa_seccomp_clause clauses[MOST_CALLS][MOST_CLAUSES];
    pa_seccomp_condition conditions[MOST_CALLS][MOST_CLAUSES][MOST_CONDITIONS];
    uint64_t values[MOST_CALLS][MOST_CLAUSES][MOST_CONDITIONS][MOST_VALUES];
} drawn;

static void draw_condition(input *in, pa_seccomp_condition *condition, uint64_t *values) {
    size_t wanted = 1;
    condition->argument = take(in, 3);
    condition->width = take(in, 2) ? 64 : 32;
    condition->op = (pa_seccomp_op)take(in, PA_SECCOMP_LAST_OP + 1);
    condition->mask = take_value(in, condition->width);
    condition->values = values;
    condition->count = 0;
    if (condition->op == PA_SECCOMP_IN || condition->op == PA_SECCOMP_NOT_IN) {
        wanted = 1 + take(in, MOST_VALUES);
    }
    while (wanted-- > 0) {
        const uint64_t value = take_value(in, condition->width);
        if (condition->count == 0 || value > values[condition->count - 1]) {
            values[condition->count++] = value;
        }
    }
}

static int holds(const pa_seccomp_condition *condition, const uint64_t arguments[6]) {
    uint64_t value = arguments[condition->argument];
    int in = 0;
    size_t i;
    if (condition->width == 32) {
        value &= 0xffffffff;
    }
    for (i = 0; i < condition->count; i++) {
        in |= condition->values[i] == value;
    }
    switch (condition->op) {
    case PA_SECCOMP_IN:
        return in;
    case PA_SECCOMP_NOT_IN:
        return !in;
    case PA_SECCOMP_LT:
        return value < condition->values[0];
    case PA_SECCOMP_GE:
        return value >= condition->values[0];
    case PA_SECCOMP_LE:
        return value <= condition->values[0];
    case PA_SECCOMP_GT:
        return value > condition->values[0];
    case PA_SECCOMP_MASKED_EQ:
        return (value & condition->mask) == condition->values[0];
    default:
        return (value & condition->mask) != condition->values[0];
    }
}

static uint32_t decide(const pa_seccomp_arch *arch, uint32_t number, const uint64_t arguments[6]) {
    size_t i;
    size_t j;
    size_t k;
    for (i = 0; i < arch->count; i++) {
        const pa_seccomp_call *call = &arch->calls[i];
        for (j = 0; call->number == number && j < call->count; j++) {
            for (k = 0; k < call->clauses[j].count; k++) {
                if (!holds(&call->clauses[j].conditions[k], arguments)) {
                    break;
                }
            }
            if (k == call->clauses[j].count) {
                return call->clauses[j].action;
            }
        }
    }
    return arch->fallback;
}

static void fuzz_policy(input *in) {
    static drawn d;
    static pa_bpf program[PA_BPF_MOST];
    pa_seccomp_arch arch = {AUDIT, 0, 0x50001, 0x40000000, KILL, d.calls, 0};
    const pa_seccomp_policy policy = {&arch, 1, KILL};
    uint32_t number = 0;
    size_t length = 0;
    size_t where = 0;
    size_t i;
    size_t j;
    size_t k;
    int round;
    arch.big_endian = (int)take(in, 2);
    while (arch.count < MOST_CALLS && in->size > 0) {
        pa_seccomp_call *call = &d.calls[arch.count];
        number += take(in, 3) == 0 ? 1 + take(in, 30) : 1;
        call->number = number;
        call->clauses = d.clauses[arch.count];
        call->count = take(in, MOST_CLAUSES + 1);
        for (j = 0; j < call->count; j++) {
            pa_seccomp_clause *clause = &d.clauses[arch.count][j];
            clause->action = 0x50000u | take(in, 4);
            clause->conditions = d.conditions[arch.count][j];
            clause->count = take(in, MOST_CONDITIONS + 1);
            for (k = 0; k < clause->count; k++) {
                draw_condition(in, &d.conditions[arch.count][j][k], d.values[arch.count][j][k]);
            }
        }
        arch.count++;
    }
    if (pa_seccomp_assemble(&policy, program, &length) != PA_SECCOMP_OK ||
        pa_bpf_check(program, length, &where) != PA_BPF_FINE) {
        abort();
    }
    for (round = 0; round < 8; round++) {
        uint64_t arguments[6];
        for (i = 0; i < 6; i++) {
            /* What some condition compares with, and what is beside it. */
            const size_t of = (i + (size_t)round) % MOST_CALLS;
            arguments[i] = d.values[of][round % MOST_CLAUSES][i % MOST_CONDITIONS][0] +
                           (uint64_t)(round % 3) - 1;
        }
        for (i = 0; i < arch.count + 2; i++) {
            uint32_t words[PA_BPF_WORDS] = {0};
            size_t steps = 0;
            words[0] = i < arch.count ? d.calls[i].number : number + (uint32_t)(i - arch.count) + 1;
            words[1] = AUDIT;
            for (j = 0; j < 6; j++) {
                const uint32_t low = (uint32_t)arguments[j];
                const uint32_t high = (uint32_t)(arguments[j] >> 32);
                words[4 + 2 * j] = arch.big_endian ? high : low;
                words[5 + 2 * j] = arch.big_endian ? low : high;
            }
            if (pa_bpf_run(program, length, words, NULL, &steps) !=
                decide(&arch, words[0], arguments)) {
                abort();
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0 && data[0] % 2 == 0) {
        fuzz_program(data + 1, size - 1);
    } else if (size > 0) {
        input in = {data + 1, size - 1};
        fuzz_policy(&in);
    }
    return 0;
}
