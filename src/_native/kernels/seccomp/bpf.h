/* Classic BPF programs as seccomp(2) takes them: checked as the kernel does, run, and shown.
 *
 * Knows no Python and no operating system. Thread-safe: no state. */
#ifndef PLUGINAPI_SECCOMP_BPF_H
#define PLUGINAPI_SECCOMP_BPF_H

#include <stddef.h>
#include <stdint.h>

#define PA_BPF_MOST 4096 /* BPF_MAXINSNS */
#define PA_BPF_WORDS 16  /* of struct seccomp_data */
#define PA_BPF_TEXT 64   /* bytes that suffice for one line of the disassembly, with its zero */

/* struct sock_filter of <linux/filter.h>. */
typedef struct pa_bpf {
    uint16_t code;
    uint8_t on_true;
    uint8_t on_false;
    uint32_t k;
} pa_bpf;

/* Codes, of <linux/bpf_common.h>. */
enum {
    PA_BPF_LD_ABS = 0x20,
    PA_BPF_LD_IMM = 0x00,
    PA_BPF_LD_MEM = 0x60,
    PA_BPF_LD_LEN = 0x80,
    PA_BPF_LDX_IMM = 0x01,
    PA_BPF_LDX_MEM = 0x61,
    PA_BPF_LDX_LEN = 0x81,
    PA_BPF_ST = 0x02,
    PA_BPF_STX = 0x03,
    PA_BPF_ADD_K = 0x04,
    PA_BPF_SUB_K = 0x14,
    PA_BPF_MUL_K = 0x24,
    PA_BPF_DIV_K = 0x34,
    PA_BPF_OR_K = 0x44,
    PA_BPF_AND_K = 0x54,
    PA_BPF_LSH_K = 0x64,
    PA_BPF_RSH_K = 0x74,
    PA_BPF_XOR_K = 0xa4,
    PA_BPF_NEG = 0x84,
    PA_BPF_JA = 0x05,
    PA_BPF_JEQ_K = 0x15,
    PA_BPF_JGT_K = 0x25,
    PA_BPF_JGE_K = 0x35,
    PA_BPF_JSET_K = 0x45,
    PA_BPF_X = 0x08, /* added to one of the arithmetic or comparing codes: X in place of k */
    PA_BPF_RET_K = 0x06,
    PA_BPF_RET_A = 0x16,
    PA_BPF_TAX = 0x07,
    PA_BPF_TXA = 0x87
};

/* Offsets in struct seccomp_data of <linux/seccomp.h>. */
enum { PA_BPF_NUMBER = 0, PA_BPF_ARCH = 4, PA_BPF_POINTER = 8, PA_BPF_ARGUMENTS = 16 };

/* Why the kernel would refuse a program. */
typedef enum pa_bpf_fault {
    PA_BPF_FINE = 0,
    PA_BPF_EMPTY = 1,       /* no instruction at all */
    PA_BPF_LONG = 2,        /* more than PA_BPF_MOST */
    PA_BPF_CODE = 3,        /* a code that filters for system calls may not have */
    PA_BPF_OFFSET = 4,      /* a load that is not one of the words */
    PA_BPF_JUMP = 5,        /* a jump beyond the end */
    PA_BPF_NO_RETURN = 6,   /* the last instruction does not return */
    PA_BPF_ZERO = 7,        /* a division by the constant 0 */
    PA_BPF_SHIFT = 8,       /* a shift by 32 or more */
    PA_BPF_MEMORY = 9,      /* one of the 16 memory words that is not there */
    PA_BPF_UNSET = 10,      /* a memory word that may be read before it was written */
    PA_BPF_LAST_FAULT = PA_BPF_UNSET
} pa_bpf_fault;

/* Say whether the kernel accepts a program (bpf_check_classic and seccomp_check_filter); *where is
 * the instruction at fault. Takes any bytes. */
pa_bpf_fault pa_bpf_check(const pa_bpf *program, size_t length, size_t *where);

/* Run a checked program on the words of a struct seccomp_data; returns what it returns. *steps is
 * the number of instructions that ran, never more than `length`. With `path`, which has room for
 * `length` of them, their positions are stored. */
uint32_t pa_bpf_run(const pa_bpf *program, size_t length, const uint32_t words[PA_BPF_WORDS],
                    uint16_t *path, size_t *steps);

/* Whether the kernel finds that a system call always gets one action whatever its arguments are
 * (seccomp_is_const_allow): then it asks the program no more. Returns 1 with *action, or 0. */
int pa_bpf_constant(const pa_bpf *program, size_t length, uint32_t arch, uint32_t number,
                    uint32_t *action);

/* Write instruction `at` of a program as one line of text, cut to `size` bytes. Takes any bytes. */
void pa_bpf_text(const pa_bpf *program, size_t at, char *text, size_t size);

#endif
