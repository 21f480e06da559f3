#include <stdio.h>

#include "bpf.h"

static const char *test_sign(uint16_t code) {
    switch (code & ~PA_BPF_X) {
    case PA_BPF_JEQ_K:
        return "jeq";
    case PA_BPF_JGT_K:
        return "jgt";
    case PA_BPF_JGE_K:
        return "jge";
    case PA_BPF_JSET_K:
        return "jset";
    default:
        return NULL;
    }
}

static const char *arithmetic_name(uint16_t code) {
    switch (code & ~PA_BPF_X) {
    case PA_BPF_ADD_K:
        return "add";
    case PA_BPF_SUB_K:
        return "sub";
    case PA_BPF_MUL_K:
        return "mul";
    case PA_BPF_DIV_K:
        return "div";
    case PA_BPF_OR_K:
        return "or";
    case PA_BPF_AND_K:
        return "and";
    case PA_BPF_LSH_K:
        return "lsh";
    case PA_BPF_RSH_K:
        return "rsh";
    case PA_BPF_XOR_K:
        return "xor";
    default:
        return NULL;
    }
}

/* SECCOMP_RET_* of <linux/seccomp.h>. */
static const char *action_name(uint32_t action) {
    switch (action & 0xffff0000u) {
    case 0x80000000u:
        return "KILL_PROCESS";
    case 0x00000000u:
        return "KILL_THREAD";
    case 0x00030000u:
        return "TRAP";
    case 0x00050000u:
        return "ERRNO";
    case 0x7fc00000u:
        return "USER_NOTIF";
    case 0x7ff00000u:
        return "TRACE";
    case 0x7ffc0000u:
        return "LOG";
    case 0x7fff0000u:
        return "ALLOW";
    default:
        return "unknown: KILL_PROCESS"; /* what the kernel makes of it */
    }
}

static void load_text(uint32_t k, char *text, size_t size) {
    if (k == PA_BPF_NUMBER) {
        (void)snprintf(text, size, "ld   nr");
    } else if (k == PA_BPF_ARCH) {
        (void)snprintf(text, size, "ld   arch");
    } else if (k < PA_BPF_ARGUMENTS) {
        (void)snprintf(text, size, "ld   ip[%u]", k - PA_BPF_POINTER);
    } else {
        (void)snprintf(text, size, "ld   args[%u][%u]", (k - PA_BPF_ARGUMENTS) / 8,
                       (k - PA_BPF_ARGUMENTS) % 8);
    }
}

void pa_bpf_text(const pa_bpf *program, size_t at, char *text, size_t size) {
    const pa_bpf *now = &program[at];
    const unsigned k = now->k;
    const char *name = test_sign(now->code);
    if (name != NULL) {
        const unsigned long yes = (unsigned long)at + 1 + now->on_true;
        const unsigned long no = (unsigned long)at + 1 + now->on_false;
        if (now->code & PA_BPF_X) {
            (void)snprintf(text, size, "%-4s x, %lu, %lu", name, yes, no);
        } else {
            (void)snprintf(text, size, "%-4s 0x%x, %lu, %lu", name, k, yes, no);
        }
        return;
    }
    switch (now->code) {
    case PA_BPF_LD_ABS:
        load_text(k, text, size);
        return;
    case PA_BPF_LD_IMM:
        (void)snprintf(text, size, "ld   0x%x", k);
        return;
    case PA_BPF_LDX_IMM:
        (void)snprintf(text, size, "ldx  0x%x", k);
        return;
    case PA_BPF_LD_LEN:
        (void)snprintf(text, size, "ld   size");
        return;
    case PA_BPF_LDX_LEN:
        (void)snprintf(text, size, "ldx  size");
        return;
    case PA_BPF_LD_MEM:
        (void)snprintf(text, size, "ld   mem[%u]", k);
        return;
    case PA_BPF_LDX_MEM:
        (void)snprintf(text, size, "ldx  mem[%u]", k);
        return;
    case PA_BPF_ST:
        (void)snprintf(text, size, "st   mem[%u]", k);
        return;
    case PA_BPF_STX:
        (void)snprintf(text, size, "stx  mem[%u]", k);
        return;
    case PA_BPF_TAX:
        (void)snprintf(text, size, "tax");
        return;
    case PA_BPF_TXA:
        (void)snprintf(text, size, "txa");
        return;
    case PA_BPF_NEG:
        (void)snprintf(text, size, "neg");
        return;
    case PA_BPF_JA:
        (void)snprintf(text, size, "ja   %lu", (unsigned long)at + 1 + k);
        return;
    case PA_BPF_RET_A:
        (void)snprintf(text, size, "ret  a");
        return;
    case PA_BPF_RET_K:
        (void)snprintf(text, size, k & 0xffff ? "ret  %s(%u)" : "ret  %s", action_name(k),
                       k & 0xffff);
        return;
    default:
        name = arithmetic_name(now->code);
        if (name == NULL) {
            (void)snprintf(text, size, ".word 0x%x, %u, %u, 0x%x", now->code, now->on_true,
                           now->on_false, k);
        } else if (now->code & PA_BPF_X) {
            (void)snprintf(text, size, "%-4s x", name);
        } else {
            (void)snprintf(text, size, "%-4s 0x%x", name, k);
        }
        return;
    }
}
