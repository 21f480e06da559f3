/* Count blocks over an allocator that gives awkward addresses, under sanitizers. Prints "ok". */
#include <assert.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap/accounts.h"
#include "heap/edges.h"
#include "heap/owned.h"

#define PAGE 4096u

/* Blocks begin on a page, or just before the next one, as often as elsewhere; nothing is before the
 * former that may be read. */
static size_t held, failing, asked;
static unsigned turn;

static void *give(void *context, size_t size) {
    static const size_t shifts[] = {0, PAGE - 16, 16, PAGE - 32, 64};
    const size_t shift = shifts[turn++ % (sizeof shifts / sizeof shifts[0])];
    char *memory;
    (void)context;
    asked = size;
    if (failing != 0 && --failing == 0) {
        return NULL;
    }
    memory = aligned_alloc(PAGE, (shift + size + PAGE) / PAGE * PAGE);
    assert(memory != NULL);
    held++;
    return memset(memory + shift, 0xA5, size);
}

static char *memory_of(void *given) {
    /* Every shift is less than a page, and memory begins on one. */
    return (char *)((uintptr_t)given / PAGE * PAGE);
}

static void *give_zeroed(void *context, size_t count, size_t size) {
    void *const given = give(context, count * size);
    return given == NULL ? NULL : memset(given, 0, count * size);
}

static void take_back(void *context, void *given) {
    (void)context;
    if (given != NULL) {
        held--;
        free(memory_of(given));
    }
}

static void *give_more(void *context, void *given, size_t size) {
    void *const more = give(context, size);
    if (more != NULL && given != NULL) {
        const size_t shift = (size_t)((char *)given - memory_of(given));
        const size_t before = malloc_usable_size(memory_of(given)) - shift;
        memcpy(more, given, before < size ? before : size);
        take_back(context, given);
    }
    return more;
}

static pa_heap_below below = {NULL, give, give_zeroed, give_more, take_back};

static pa_heap_usage usage(uint32_t account) {
    pa_heap_usage now;
    pa_heap_read(account, &now);
    return now;
}

static void fill(unsigned char *at, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++) {
        at[i] = (unsigned char)(seed + i * 7);
    }
}

static void check(const unsigned char *at, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++) {
        assert(at[i] == (unsigned char)(seed + i * 7));
    }
}

static size_t kept(size_t size) {
    return size == 0 ? 1 : size;
}

/* Where a block ends another one may begin: no two have the same address. */
static void nothing(void) {
    const uint32_t account = pa_heap_open(0);
    void *made, *cleared;
    pa_heap_enter(account);
    made = pa_owned_allocate(&below, 0);
    assert(made != NULL && asked > 16);
    cleared = pa_owned_zeroed(&below, 0, 8);
    assert(cleared != NULL && asked > 16);
    made = pa_owned_resize(&below, made, 5);
    made = pa_owned_resize(&below, made, 0);
    assert(made != NULL && asked > 16);
    pa_owned_release(&below, made);
    pa_owned_release(&below, cleared);
    pa_heap_enter(0);
    assert(usage(account).bytes == 0 && held == 0);
    pa_heap_close(account);
}

static void blocks_of_two_and_of_nobody(void) {
    enum { BLOCKS = 300, STEPS = 20000 };
    static struct {
        unsigned char *at;
        size_t size;
        uint32_t owner;
        unsigned seed;
    } blocks[BLOCKS];
    const uint32_t accounts[] = {0, pa_heap_open(0), pa_heap_open(0)};
    int64_t bytes[3] = {0};
    unsigned random = 12345;
    assert(accounts[1] != 0 && accounts[2] != 0 && accounts[1] != accounts[2]);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned who, slot;
        size_t size;
        random = random * 1103515245u + 12345u;
        slot = random / 65536u % BLOCKS;
        random = random * 1103515245u + 12345u;
        who = random / 65536u % 3;
        random = random * 1103515245u + 12345u;
        size = random / 65536u % 900;
        pa_heap_enter(accounts[who]);
        if (blocks[slot].at == NULL) {
            blocks[slot].at = step % 2 ? pa_owned_allocate(&below, size)
                                       : pa_owned_zeroed(&below, 1, size);
            assert(blocks[slot].at != NULL);
            for (size_t i = 0; step % 2 == 0 && i < size; i++) {
                assert(blocks[slot].at[i] == 0);
            }
            blocks[slot].owner = who;
            bytes[who] += (int64_t)kept(size) + 16;
        } else {
            const uint32_t owner = blocks[slot].owner;
            check(blocks[slot].at, blocks[slot].size, blocks[slot].seed);
            if (step % 3 == 0) {
                pa_owned_release(&below, blocks[slot].at);
                blocks[slot].at = NULL;
                bytes[owner] -= (int64_t)kept(blocks[slot].size) + 16;
                continue;
            }
            blocks[slot].at = pa_owned_resize(&below, blocks[slot].at, size);
            assert(blocks[slot].at != NULL);
            check(blocks[slot].at, size < blocks[slot].size ? size : blocks[slot].size,
                  blocks[slot].seed);
            bytes[owner] += (int64_t)kept(size) - (int64_t)kept(blocks[slot].size);
        }
        blocks[slot].size = size;
        blocks[slot].seed = step;
        fill(blocks[slot].at, size, step);
        for (unsigned account = 1; account < 3; account++) {
            const pa_heap_usage now = usage(accounts[account]);
            assert(now.bytes == bytes[account]);
            assert(now.peak >= now.bytes && now.refused == 0);
        }
    }
    for (unsigned slot = 0; slot < BLOCKS; slot++) {
        pa_owned_release(&below, blocks[slot].at);
    }
    pa_heap_enter(0);
    for (unsigned account = 1; account < 3; account++) {
        assert(usage(accounts[account]).bytes == 0);
        pa_heap_close(accounts[account]);
    }
    assert(held == 0);
}

static void limits(void) {
    const uint32_t account = pa_heap_open(1000);
    void *first, *second, *others;
    others = pa_owned_allocate(&below, 5000);
    assert(pa_heap_enter(account) == 0);
    first = pa_owned_allocate(&below, 484);
    second = pa_owned_allocate(&below, 484);
    assert(first != NULL && second != NULL && usage(account).bytes == 1000);
    assert(pa_owned_allocate(&below, 0) == NULL);
    assert(pa_owned_zeroed(&below, 1, 1) == NULL);
    assert(pa_owned_resize(&below, first, 485) == NULL);
    assert(usage(account).refused == 3 && usage(account).bytes == 1000);
    /* What it only changes is the host's. */
    others = pa_owned_resize(&below, others, 9000);
    assert(others != NULL && usage(account).bytes == 1000);
    pa_owned_release(&below, others);
    first = pa_owned_resize(&below, first, 100);
    assert(first != NULL && usage(account).bytes == 616);
    /* Nothing is allocated at all, and nothing stays charged. */
    failing = 1;
    assert(pa_owned_allocate(&below, 10) == NULL);
    failing = 1;
    assert(pa_owned_resize(&below, first, 200) == NULL);
    assert(usage(account).bytes == 616 && usage(account).refused == 3);
    assert(pa_owned_zeroed(&below, SIZE_MAX / 2, 3) == NULL);
    assert(pa_owned_allocate(&below, SIZE_MAX - 8) == NULL);
    assert(pa_owned_resize(&below, first, SIZE_MAX - 8) == NULL);
    assert(pa_heap_enter(0) == account);
    /* Closed, it is not opened again while a block is left. */
    pa_heap_close(account);
    pa_heap_enter(account);
    second = pa_owned_resize(&below, second, 4000);
    assert(second != NULL);
    pa_heap_enter(0);
    for (unsigned times = 0; times < 2 * PA_HEAP_ACCOUNTS; times++) {
        const uint32_t other = pa_heap_open(1);
        assert(other != 0 && other != account);
        pa_heap_close(other);
    }
    pa_owned_release(&below, first);
    pa_owned_release(&below, second);
    pa_owned_release(&below, NULL);
    assert(usage(account).bytes == 0 && held == 0);
}

/* Against a plain array, with many that want the same place. */
static void edges(void) {
    enum { MOST = 3000 };
    static unsigned char there[MOST];
    unsigned random = 99, count = 0;
    assert(!pa_edges_have(PAGE));
    for (unsigned step = 0; step < 200000; step++) {
        const unsigned most = step < 100000 ? MOST : 40;
        unsigned which;
        uintptr_t address;
        random = random * 1103515245u + 12345u;
        which = random / 65536u % most;
        address = ((uintptr_t)which % 7 << 40 | (which + 1)) * PAGE;
        assert(pa_edges_have(address) == there[which]);
        if (there[which]) {
            pa_edges_remove(address);
            count--;
        } else {
            assert(pa_edges_reserve() == 0);
            pa_edges_add(address);
            count++;
        }
        there[which] = !there[which];
    }
    for (unsigned which = 0; which < MOST; which++) {
        const uintptr_t address = ((uintptr_t)which % 7 << 40 | (which + 1)) * PAGE;
        assert(pa_edges_have(address) == there[which]);
        if (there[which]) {
            pa_edges_remove(address);
            count--;
        }
    }
    assert(count == 0 && !pa_edges_have(PAGE));
}

static void all_accounts(void) {
    uint32_t count = 0;
    while (pa_heap_open(0) != 0) {
        count++;
    }
    assert(count == PA_HEAP_ACCOUNTS - 1);
}

int main(void) {
    pa_owned_mark(0x0123456789abcdefull);
    nothing();
    blocks_of_two_and_of_nobody();
    limits();
    edges();
    all_accounts();
    puts("ok");
    return 0;
}
