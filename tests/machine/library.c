/* What the harnesses need of the C library, on a machine without an operating system: memory, a
 * little of stdio on the serial port, and an end. A program that needs more does not link. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL 0x3f8
#define BOCHS_SHUTDOWN 0x8900 /* the port that ends Bochs when it is told "Shutdown" */
#define HEAP_SIZE (32u << 20)

int main(int argc, char **argv);

extern uint8_t machine_bss[], machine_bss_end[];

/* Only told apart by address. */
FILE *stdout, *stderr;

static void out(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(int c) {
    while ((in(SERIAL + 5) & 0x20) == 0) {
    }
    out(SERIAL, (uint8_t)c);
}

_Noreturn void exit(int status) {
    const char *word = "Shutdown";
    printf("exit %d\n", status);
    while ((in(SERIAL + 5) & 0x40) == 0) {
    }
    for (; *word != '\0'; word++) {
        out(BOCHS_SHUTDOWN, (uint8_t)*word);
    }
    for (;;) {
        __asm__ volatile("hlt");
    }
}

_Noreturn void abort(void) { exit(134); }

__attribute__((section(".text.machine_start"))) _Noreturn void machine_start(void) {
    static char name[] = "harness";
    char *arguments[] = {name, NULL};
    out(SERIAL + 3, 0x03); /* eight bits, no parity, one stop bit */
    memset(machine_bss, 0, (size_t)(machine_bss_end - machine_bss));
    exit(main(1, arguments));
}

/* --- memory ------------------------------------------------------------------------------- */

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    void *const result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return result;
}

void *memset(void *to, int value, size_t size) {
    void *const result = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
    return result;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *const t = to;
    const uint8_t *const f = from;
    size_t i;
    if (t <= f || t >= f + size) {
        return memcpy(to, from, size);
    }
    for (i = size; i > 0; i--) {
        *(volatile uint8_t *)(t + i - 1) = f[i - 1];
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t size) {
    const volatile uint8_t *const l = left, *const r = right;
    size_t i;
    for (i = 0; i < size; i++) {
        if (l[i] != r[i]) {
            return l[i] < r[i] ? -1 : 1;
        }
    }
    return 0;
}

int strcmp(const char *left, const char *right) {
    for (; *left != '\0' && *left == *right; left++, right++) {
    }
    return (unsigned char)*left - (unsigned char)*right;
}

size_t strlen(const char *text) {
    const volatile char *end = text;
    while (*end != '\0') {
        end++;
    }
    return (size_t)(end - text);
}

/* Blocks are never used again: the whole machine is gone in a minute. */
void *malloc(size_t size) {
    static _Alignas(64) uint8_t heap[HEAP_SIZE];
    static size_t used;
    void *const block = heap + used;
    size = (size + 63) & ~(size_t)63;
    if (size > HEAP_SIZE - used) {
        return NULL;
    }
    used += size;
    return block;
}

void *calloc(size_t count, size_t size) {
    void *const block = size != 0 && count > SIZE_MAX / size ? NULL : malloc(count * size);
    return block != NULL ? memset(block, 0, count * size) : NULL;
}

void free(void *block) { (void)block; }

void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *)) {
    uint8_t *const items = base;
    size_t i, j, k;
    for (i = 1; i < count; i++) {
        for (j = i; j > 0 && compare(items + (j - 1) * size, items + j * size) > 0; j--) {
            for (k = 0; k < size; k++) {
                const uint8_t kept = items[j * size + k];
                items[j * size + k] = items[(j - 1) * size + k];
                items[(j - 1) * size + k] = kept;
            }
        }
    }
}

/* --- arithmetic: the emulated intrinsics of doubles want it ------------------------------------ */

double fma(double x, double y, double z);

double fma(double x, double y, double z) {
    __asm__("vfmadd213sd %2, %1, %0" : "+x"(x) : "x"(y), "x"(z)); /* x = y x + z, rounded once */
    return x;
}

/* --- output ------------------------------------------------------------------------------- */

int fputs(const char *restrict text, FILE *restrict stream) {
    (void)stream;
    for (; *text != '\0'; text++) {
        put(*text);
    }
    return 0;
}

int puts(const char *text) { return fputs(text, stdout) + fputs("\n", stdout); }
int putchar(int c) { put(c); return c; }
int fputc(int c, FILE *stream) { (void)stream; put(c); return c; }

size_t fwrite(const void *restrict data, size_t size, size_t count, FILE *restrict stream) {
    const char *const bytes = data;
    size_t i;
    (void)stream;
    for (i = 0; i < size * count; i++) {
        put(bytes[i]);
    }
    return count;
}

static void number(uint64_t value, unsigned base, int width, char fill) {
    char digits[24];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    for (; width > count; width--) {
        put(fill);
    }
    while (count > 0) {
        put(digits[--count]);
    }
}

/* %s %c %d %i %u %x %% with a width, and the lengths of long, long long, size_t. */
int vfprintf(FILE *restrict stream, const char *restrict format, va_list arguments) {
    for (; *format != '\0'; format++) {
        int width = 0, wide = 0;
        char fill = ' ';
        if (*format != '%') {
            put(*format);
            continue;
        }
        format++;
        if (*format == '0') {
            fill = '0';
        }
        for (; *format >= '0' && *format <= '9'; format++) {
            width = 10 * width + (*format - '0');
        }
        for (; *format == 'l' || *format == 'z'; format++) {
            wide = 1;
        }
        switch (*format) {
        case 's':
            fputs(va_arg(arguments, const char *), stream);
            break;
        case 'c':
            put(va_arg(arguments, int));
            break;
        case 'd':
        case 'i': {
            const int64_t value = wide ? va_arg(arguments, long) : va_arg(arguments, int);
            if (value < 0) {
                put('-');
            }
            number(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, width, fill);
            break;
        }
        case 'u':
        case 'x': {
            const uint64_t value =
                wide ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            number(value, *format == 'x' ? 16 : 10, width, fill);
            break;
        }
        case '%':
            put('%');
            break;
        default:
            fputs("printf: unknown conversion\n", stream);
            abort();
        }
    }
    return 0;
}

int fprintf(FILE *restrict stream, const char *restrict format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stream, format, arguments);
    va_end(arguments);
    return 0;
}

int printf(const char *restrict format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stdout, format, arguments);
    va_end(arguments);
    return 0;
}
