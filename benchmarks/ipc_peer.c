/* What the machine allows: ping-pong between two processes in C, over a Unix stream socket and
 * over shared memory. Prints the median and the 99th percentile of the round trips in nanoseconds.
 *
 * Usage: ipc_peer stream|memory BYTES ROUNDS CPU_A CPU_B GAP_NS
 *     GAP_NS: how long the caller keeps busy between two calls, so that the other side falls
 *     asleep; 0 calls at once. `stream` always sleeps in recv(), `memory` always spins. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct shared {
    _Alignas(128) _Atomic uint64_t ping;
    _Alignas(128) _Atomic uint64_t pong;
    _Alignas(128) char request[1 << 20];
    _Alignas(128) char answer[1 << 20];
} shared;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static void move(int fd, char *data, size_t size, int sending) {
    while (size > 0) {
        const ssize_t done = sending ? send(fd, data, size, MSG_NOSIGNAL) : recv(fd, data, size, 0);
        if (done <= 0) {
            exit(0);
        }
        data += done;
        size -= (size_t)done;
    }
}

static int compare(const void *left, const void *right) {
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    const int stream = argc == 7 && strcmp(argv[1], "stream") == 0;
    const size_t size = argc == 7 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t rounds = argc == 7 ? strtoul(argv[3], NULL, 10) : 0;
    uint64_t gap;
    uint64_t *times;
    shared *memory;
    char *buffer;
    int ends[2];
    pid_t child;
    size_t i;
    if (size == 0 || size > sizeof memory->request || rounds == 0) {
        fprintf(stderr, "usage: ipc_peer stream|memory BYTES ROUNDS CPU_A CPU_B GAP_NS\n");
        return 2;
    }
    gap = strtoull(argv[6], NULL, 10);
    times = calloc(rounds, sizeof *times);
    buffer = calloc(1, size);
    memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (times == NULL || buffer == NULL || memory == MAP_FAILED ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        perror("ipc_peer");
        return 1;
    }
    child = fork();
    if (child == 0) {
        pin(atoi(argv[5]));
        close(ends[0]);
        for (i = 1;; i++) {
            if (stream) {
                move(ends[1], buffer, size, 0);
                move(ends[1], buffer, size, 1);
                continue;
            }
            while (atomic_load_explicit(&memory->ping, memory_order_acquire) != i) {
                __builtin_ia32_pause();
            }
            memcpy(buffer, memory->request, size);
            memcpy(memory->answer, buffer, size);
            atomic_store_explicit(&memory->pong, i, memory_order_release);
            if (i == rounds) {
                _exit(0);
            }
        }
    }
    pin(atoi(argv[4]));
    close(ends[1]);
    for (i = 1; i <= rounds; i++) {
        const uint64_t began = now();
        if (stream) {
            move(ends[0], buffer, size, 1);
            move(ends[0], buffer, size, 0);
        } else {
            memcpy(memory->request, buffer, size);
            atomic_store_explicit(&memory->ping, i, memory_order_release);
            while (atomic_load_explicit(&memory->pong, memory_order_acquire) != i) {
                __builtin_ia32_pause();
            }
            memcpy(buffer, memory->answer, size);
        }
        times[i - 1] = now() - began;
        if (gap != 0) {
            const uint64_t until = now() + gap;
            while (now() < until) {
            }
        }
    }
    close(ends[0]);
    waitpid(child, NULL, 0);
    qsort(times, rounds, sizeof *times, compare);
    printf("%llu %llu\n", (unsigned long long)times[rounds / 2],
           (unsigned long long)times[rounds * 99 / 100]);
    return 0;
}
