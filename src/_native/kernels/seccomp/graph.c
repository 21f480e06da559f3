#include "graph.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_NODES ((uint32_t)512)
#define FULL UINT32_MAX

/* Values that are tested one after the other; more are halved by one more comparison. */
#define MOST_IN_A_ROW 6

pa_seccomp_status pa_graph_open(pa_graph *graph) {
    memset(graph, 0, sizeof *graph);
    graph->capacity = FIRST_NODES;
    graph->table_size = 2 * FIRST_NODES;
    graph->nodes = malloc(graph->capacity * sizeof *graph->nodes);
    graph->table = calloc(graph->table_size, sizeof *graph->table);
    /* Node 0 is none: what failures give, and an empty place of the table. */
    graph->count = 1;
    if (graph->nodes == NULL || graph->table == NULL) {
        graph->status = PA_SECCOMP_MEMORY;
    } else {
        memset(&graph->nodes[0], 0, sizeof graph->nodes[0]);
    }
    return graph->status;
}

void pa_graph_close(pa_graph *graph) {
    free(graph->nodes);
    free(graph->table);
    graph->nodes = NULL;
    graph->table = NULL;
}

static uint32_t hash_of(const pa_node *node) {
    uint64_t hash = (uint64_t)node->kind << 40 | (uint64_t)node->word.offset << 32 | node->k;
    hash = (hash ^ node->word.mask) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    hash = (hash ^ ((uint64_t)node->on_true << 32 | node->on_false)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(hash >> 32);
}

static int same(const pa_node *a, const pa_node *b) {
    return a->kind == b->kind && a->word.offset == b->word.offset &&
           a->word.mask == b->word.mask && a->k == b->k && a->on_true == b->on_true &&
           a->on_false == b->on_false;
}

static uint32_t place_of(const pa_graph *graph, const pa_node *node) {
    uint32_t place = hash_of(node) & (graph->table_size - 1);
    while (graph->table[place] != 0 && !same(&graph->nodes[graph->table[place]], node)) {
        place = (place + 1) & (graph->table_size - 1);
    }
    return place;
}

static int grow(pa_graph *graph) {
    const uint32_t capacity = graph->capacity * 2;
    pa_node *nodes;
    pa_node_id *table;
    uint32_t i;
    if (graph->capacity >= PA_GRAPH_MOST) {
        graph->status = PA_SECCOMP_TOO_LONG;
        return 0;
    }
    nodes = realloc(graph->nodes, capacity * sizeof *nodes);
    if (nodes == NULL) {
        graph->status = PA_SECCOMP_MEMORY;
        return 0;
    }
    graph->nodes = nodes;
    table = calloc((size_t)2 * capacity, sizeof *table);
    if (table == NULL) {
        graph->status = PA_SECCOMP_MEMORY;
        return 0;
    }
    free(graph->table);
    graph->table = table;
    graph->table_size = 2 * capacity;
    graph->capacity = capacity;
    for (i = 1; i < graph->count; i++) {
        graph->table[place_of(graph, &graph->nodes[i])] = i;
    }
    return 1;
}

static pa_node_id intern(pa_graph *graph, const pa_node *node) {
    uint32_t place;
    if (graph->status != PA_SECCOMP_OK) {
        return 0;
    }
    place = place_of(graph, node);
    if (graph->table[place] != 0) {
        return graph->table[place];
    }
    if (graph->count == graph->capacity) {
        if (!grow(graph)) {
            return 0;
        }
        place = place_of(graph, node);
    }
    graph->nodes[graph->count] = *node;
    graph->table[place] = graph->count;
    return graph->count++;
}

pa_node_id pa_graph_return(pa_graph *graph, uint32_t value) {
    const pa_node node = {PA_NODE_RETURN, {0, 0}, value, 0, 0};
    return intern(graph, &node);
}

pa_node_id pa_graph_test(pa_graph *graph, pa_node_kind kind, pa_word word, uint32_t k,
                         pa_node_id on_true, pa_node_id on_false) {
    const pa_node node = {kind, word, k, on_true, on_false};
    return on_true == on_false ? on_true : intern(graph, &node);
}

/* One after the other that are equal become one. */
static size_t join(pa_case *cases, size_t count) {
    size_t kept = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        if (kept == 0 || cases[i].node != cases[kept - 1].node) {
            cases[kept++] = cases[i];
        }
    }
    return kept;
}

static pa_node_id node_at(const pa_case *cases, size_t count, uint32_t value) {
    size_t i = count;
    while (cases[i - 1].start > value) {
        i--;
    }
    return cases[i - 1].node;
}

/* What a search is made of: ranges told apart by AT_LEAST, and single values in them. */
typedef struct search {
    pa_graph *graph;
    pa_word word;
    const pa_case *ranges;
    const pa_case *singles;
} search;

static pa_node_id search_singles(const search *s, pa_node_id otherwise, size_t from, size_t to) {
    pa_node_id node = otherwise;
    if (to - from > MOST_IN_A_ROW) {
        const size_t middle = from + (to - from) / 2;
        const pa_node_id high = search_singles(s, otherwise, middle, to);
        const pa_node_id low = search_singles(s, otherwise, from, middle);
        return pa_graph_test(s->graph, PA_NODE_AT_LEAST, s->word, s->singles[middle].start, high,
                             low);
    }
    while (to > from) {
        to--;
        node = pa_graph_test(s->graph, PA_NODE_EQUAL, s->word, s->singles[to].start,
                             s->singles[to].node, node);
    }
    return node;
}

static pa_node_id search_ranges(const search *s, size_t from, size_t to, size_t first_single,
                                size_t end_single) {
    const size_t weight = (to - from) + (end_single - first_single);
    size_t best = from + 1;
    size_t best_single = first_single;
    size_t best_weight = SIZE_MAX;
    size_t middle;
    size_t single = first_single;
    pa_node_id high;
    pa_node_id low;
    if (to - from == 1) {
        return search_singles(s, s->ranges[from].node, first_single, end_single);
    }
    for (middle = from + 1; middle < to; middle++) {
        size_t left;
        size_t larger;
        while (single < end_single && s->singles[single].start < s->ranges[middle].start) {
            single++;
        }
        left = (middle - from) + (single - first_single);
        larger = left > weight - left ? left : weight - left;
        if (larger < best_weight) {
            best_weight = larger;
            best = middle;
            best_single = single;
        }
    }
    high = search_ranges(s, best, to, best_single, end_single);
    low = search_ranges(s, from, best, first_single, best_single);
    return pa_graph_test(s->graph, PA_NODE_AT_LEAST, s->word, s->ranges[best].start, high, low);
}

/* How far back a kept case is looked for: between it and this one are single values only. */
#define MOST_BACK 64
#define FROM_NONE SIZE_MAX

/* Choose which single values are tested by themselves, so that there are as few tests as possible:
 * a value costs one, and so does each border between two ranges that then lie side by side. Fills
 * keep[i]. Returns the number of tests. */
static void choose(const pa_case *cases, size_t count, size_t *cost, size_t *back, uint8_t *keep) {
    size_t best = SIZE_MAX;
    size_t at = 0;
    size_t i;
    size_t alone = 0; /* single values at the end of cases[0..i) */
    for (i = 0; i < count; i++) {
        size_t j;
        cost[i] = SIZE_MAX;
        back[i] = FROM_NONE;
        if (alone == i) {
            cost[i] = i; /* everything before is a single value that is tested by itself */
        }
        for (j = i; j > 0 && i - j <= alone && i - j < MOST_BACK; j--) {
            const size_t border = cases[j - 1].node != cases[i].node;
            const size_t now = cost[j - 1] + (i - j) + border;
            if (now <= cost[i] && (now < cost[i] || back[i] == FROM_NONE)) {
                cost[i] = now;
                back[i] = j - 1;
            }
        }
        alone = i + 1 < count && cases[i + 1].start - cases[i].start == 1 ? alone + 1 : 0;
    }
    /* What follows the last range that is kept are single values too. */
    alone = 0;
    for (i = count; i > 0; i--) {
        const size_t now = cost[i - 1] + alone;
        if (now < best) {
            best = now;
            at = i - 1;
        }
        if (i == count ? cases[i - 1].start != FULL : cases[i].start - cases[i - 1].start != 1) {
            break;
        }
        alone++;
    }
    memset(keep, 0, count);
    for (i = at; i != FROM_NONE; i = back[i]) {
        keep[i] = 1;
    }
}

static pa_node_id search_sorted(pa_graph *graph, pa_word word, const pa_case *cases, size_t count,
                                void *scratch) {
    pa_case *ranges = scratch;
    pa_case *singles = ranges + count;
    size_t *cost = (size_t *)(void *)(singles + count);
    size_t *back = cost + count;
    uint8_t *keep = (uint8_t *)(back + count);
    search s = {graph, word, ranges, singles};
    size_t range_count = 0;
    size_t single_count = 0;
    size_t i;
    choose(cases, count, cost, back, keep);
    for (i = 0; i < count; i++) {
        if (!keep[i]) {
            singles[single_count++] = cases[i];
        } else if (range_count == 0 || ranges[range_count - 1].node != cases[i].node) {
            ranges[range_count++] = cases[i];
        }
    }
    ranges[0].start = 0;
    return search_ranges(&s, 0, range_count, 0, single_count);
}

pa_node_id pa_graph_search(pa_graph *graph, pa_word word, pa_case *cases, size_t count) {
    const size_t each = 2 * sizeof(pa_case) + 2 * sizeof(size_t) + 1;
    uint64_t small[64];
    void *scratch = small;
    pa_node_id node;
    if (graph->status != PA_SECCOMP_OK) {
        return 0;
    }
    count = join(cases, count);
    if (count > 1 && word.mask != FULL) {
        const uint32_t lowest = word.mask & (0u - word.mask);
        if (word.mask == lowest) {
            /* One bit: only two values can be. */
            cases[1].node = node_at(cases, count, lowest);
            cases[1].start = 1;
            count = 2;
        }
        while (count > 1 && cases[count - 1].start > word.mask) {
            count--;
        }
        count = join(cases, count);
        if (count == 2 && cases[1].start <= lowest) {
            const pa_word whole = {word.offset, FULL};
            return pa_graph_test(graph, PA_NODE_ANY_BIT, whole, word.mask, cases[1].node,
                                 cases[0].node);
        }
    }
    if (count == 1) {
        return cases[0].node;
    }
    if (count * each > sizeof small) {
        scratch = malloc(count * each);
        if (scratch == NULL) {
            graph->status = PA_SECCOMP_MEMORY;
            return 0;
        }
    }
    node = search_sorted(graph, word, cases, count, scratch);
    if (scratch != small) {
        free(scratch);
    }
    return node;
}
