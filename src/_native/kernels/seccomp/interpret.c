#include <string.h>

#include "bpf.h"

#define MEMORY_WORDS 16u

static int is_return(uint16_t code) { return code == PA_BPF_RET_K || code == PA_BPF_RET_A; }

static int is_test(uint16_t code) {
    switch (code & ~PA_BPF_X) {
    case PA_BPF_JEQ_K:
    case PA_BPF_JGT_K:
    case PA_BPF_JGE_K:
    case PA_BPF_JSET_K:
        return 1;
    default:
        return 0;
    }
}

/* What one instruction may be, wherever it stands. */
static pa_bpf_fault check_one(const pa_bpf *at, size_t left) {
    if (is_test(at->code)) {
        return at->on_true >= left || at->on_false >= left ? PA_BPF_JUMP : PA_BPF_FINE;
    }
    switch (at->code) {
    case PA_BPF_LD_ABS:
        return at->k >= 4 * PA_BPF_WORDS || at->k % 4 != 0 ? PA_BPF_OFFSET : PA_BPF_FINE;
    case PA_BPF_LD_MEM:
    case PA_BPF_LDX_MEM:
    case PA_BPF_ST:
    case PA_BPF_STX:
        return at->k >= MEMORY_WORDS ? PA_BPF_MEMORY : PA_BPF_FINE;
    case PA_BPF_DIV_K:
        return at->k == 0 ? PA_BPF_ZERO : PA_BPF_FINE;
    case PA_BPF_LSH_K:
    case PA_BPF_RSH_K:
        return at->k >= 32 ? PA_BPF_SHIFT : PA_BPF_FINE;
    case PA_BPF_JA:
        return at->k >= left ? PA_BPF_JUMP : PA_BPF_FINE;
    case PA_BPF_LD_IMM:
    case PA_BPF_LD_LEN:
    case PA_BPF_LDX_IMM:
    case PA_BPF_LDX_LEN:
    case PA_BPF_NEG:
    case PA_BPF_ADD_K:
    case PA_BPF_SUB_K:
    case PA_BPF_MUL_K:
    case PA_BPF_OR_K:
    case PA_BPF_AND_K:
    case PA_BPF_XOR_K:
    case PA_BPF_ADD_K | PA_BPF_X:
    case PA_BPF_SUB_K | PA_BPF_X:
    case PA_BPF_MUL_K | PA_BPF_X:
    case PA_BPF_DIV_K | PA_BPF_X:
    case PA_BPF_OR_K | PA_BPF_X:
    case PA_BPF_AND_K | PA_BPF_X:
    case PA_BPF_LSH_K | PA_BPF_X:
    case PA_BPF_RSH_K | PA_BPF_X:
    case PA_BPF_XOR_K | PA_BPF_X:
    case PA_BPF_RET_K:
    case PA_BPF_RET_A:
    case PA_BPF_TAX:
    case PA_BPF_TXA:
        return PA_BPF_FINE;
    default:
        return PA_BPF_CODE;
    }
}

/* Every memory word that is read was written on every way there (check_load_and_stores). */
static pa_bpf_fault check_memory(const pa_bpf *program, size_t length, size_t *where) {
    uint16_t there[PA_BPF_MOST];
    uint16_t valid = 0;
    size_t at;
    memset(there, 0xff, length * sizeof *there);
    for (at = 0; at < length; at++) {
        const pa_bpf *now = &program[at];
        valid &= there[at];
        if (now->code == PA_BPF_ST || now->code == PA_BPF_STX) {
            valid |= (uint16_t)(1u << now->k);
        } else if (now->code == PA_BPF_LD_MEM || now->code == PA_BPF_LDX_MEM) {
            if ((valid & 1u << now->k) == 0) {
                *where = at;
                return PA_BPF_UNSET;
            }
        } else if (now->code == PA_BPF_JA) {
            there[at + 1 + now->k] &= valid;
            valid = 0xffff;
        } else if (is_test(now->code)) {
            there[at + 1 + now->on_true] &= valid;
            there[at + 1 + now->on_false] &= valid;
            valid = 0xffff;
        }
    }
    return PA_BPF_FINE;
}

pa_bpf_fault pa_bpf_check(const pa_bpf *program, size_t length, size_t *where) {
    size_t at;
    *where = 0;
    if (length == 0) {
        return PA_BPF_EMPTY;
    }
    if (length > PA_BPF_MOST) {
        return PA_BPF_LONG;
    }
    for (at = 0; at < length; at++) {
        const pa_bpf_fault fault = check_one(&program[at], length - at - 1);
        if (fault != PA_BPF_FINE) {
            *where = at;
            return fault;
        }
    }
    if (!is_return(program[length - 1].code)) {
        *where = length - 1;
        return PA_BPF_NO_RETURN;
    }
    return check_memory(program, length, where);
}

static int holds(uint16_t code, uint32_t a, uint32_t b) {
    switch (code & ~PA_BPF_X) {
    case PA_BPF_JEQ_K:
        return a == b;
    case PA_BPF_JGT_K:
        return a > b;
    case PA_BPF_JGE_K:
        return a >= b;
    default:
        return (a & b) != 0;
    }
}

/* Arithmetic as the kernel does it: shifts by register take five bits. */
static uint32_t computed(uint16_t code, uint32_t a, uint32_t b) {
    switch (code & ~PA_BPF_X) {
    case PA_BPF_ADD_K:
        return a + b;
    case PA_BPF_SUB_K:
        return a - b;
    case PA_BPF_MUL_K:
        return a * b;
    case PA_BPF_DIV_K:
        return a / b;
    case PA_BPF_OR_K:
        return a | b;
    case PA_BPF_AND_K:
        return a & b;
    case PA_BPF_LSH_K:
        return a << (b & 31);
    case PA_BPF_RSH_K:
        return a >> (b & 31);
    default:
        return a ^ b;
    }
}

uint32_t pa_bpf_run(const pa_bpf *program, size_t length, const uint32_t words[PA_BPF_WORDS],
                    uint16_t *path, size_t *steps) {
    uint32_t memory[MEMORY_WORDS] = {0};
    uint32_t a = 0;
    uint32_t x = 0;
    size_t ran = 0;
    size_t at = 0;
    uint32_t result = 0;
    while (at < length) {
        const pa_bpf *now = &program[at];
        const uint32_t b = now->code & PA_BPF_X ? x : now->k;
        if (path != NULL) {
            path[ran] = (uint16_t)at;
        }
        ran++;
        at++;
        if (is_test(now->code)) {
            at += holds(now->code, a, b) ? now->on_true : now->on_false;
            continue;
        }
        switch (now->code) {
        case PA_BPF_LD_ABS:
            a = words[now->k / 4];
            break;
        case PA_BPF_LD_IMM:
            a = now->k;
            break;
        case PA_BPF_LDX_IMM:
            x = now->k;
            break;
        case PA_BPF_LD_LEN:
            a = 4 * PA_BPF_WORDS;
            break;
        case PA_BPF_LDX_LEN:
            x = 4 * PA_BPF_WORDS;
            break;
        case PA_BPF_LD_MEM:
            a = memory[now->k];
            break;
        case PA_BPF_LDX_MEM:
            x = memory[now->k];
            break;
        case PA_BPF_ST:
            memory[now->k] = a;
            break;
        case PA_BPF_STX:
            memory[now->k] = x;
            break;
        case PA_BPF_TAX:
            x = a;
            break;
        case PA_BPF_TXA:
            a = x;
            break;
        case PA_BPF_NEG:
            a = 0u - a;
            break;
        case PA_BPF_JA:
            at += now->k;
            break;
        case PA_BPF_RET_K:
            result = now->k;
            at = length;
            break;
        case PA_BPF_RET_A:
            result = a;
            at = length;
            break;
        case PA_BPF_DIV_K | PA_BPF_X:
            if (x == 0) {
                at = length; /* the kernel ends the filter with 0, which is KILL_THREAD */
                break;
            }
            a = a / x;
            break;
        default:
            a = computed(now->code, a, b);
            break;
        }
    }
    *steps = ran;
    return result;
}

int pa_bpf_constant(const pa_bpf *program, size_t length, uint32_t arch, uint32_t number,
                    uint32_t *action) {
    uint32_t a = 0;
    size_t at = 0;
    while (at < length) {
        const pa_bpf *now = &program[at++];
        switch (now->code) {
        case PA_BPF_LD_ABS:
            if (now->k != PA_BPF_NUMBER && now->k != PA_BPF_ARCH) {
                return 0;
            }
            a = now->k == PA_BPF_NUMBER ? number : arch;
            break;
        case PA_BPF_RET_K:
            *action = now->k;
            return 1;
        case PA_BPF_JA:
            at += now->k;
            break;
        case PA_BPF_JEQ_K:
        case PA_BPF_JGT_K:
        case PA_BPF_JGE_K:
        case PA_BPF_JSET_K:
            at += holds(now->code, a, now->k) ? now->on_true : now->on_false;
            break;
        case PA_BPF_AND_K:
            a &= now->k;
            break;
        default:
            return 0;
        }
    }
    return 0;
}
