/* Two ways lead from clauses to nodes; the shorter result is taken.
 *
 * A diagram decides words in one fixed order, whatever the order of the clauses is: no word is
 * looked at twice, and equal parts are one. It can grow beyond all bounds when many clauses look at
 * many arguments, so it is given up beyond some size. A chain tests one clause after the other: its
 * size is that of the policy. */
#include "cases.h"

#include <stdlib.h>
#include <string.h>

#define FULL UINT32_MAX
#define MOST_DIAGRAMS ((uint32_t)4096)
#define MOST_CASES ((uint32_t)32768)
#define MOST_WORK ((uint32_t)65536)
#define BUCKETS ((uint32_t)4096)
#define KEPT ((uint32_t)1024)

/* A diagram is the number of one; or, with this bit, a leaf: a node of the graph, or NOTHING, where
 * no clause so far holds. */
#define LEAF ((uint32_t)1 << 31)
#define NOTHING FULL

/* The cases of one word. */
typedef struct diagram {
    uint64_t order; /* of the word among all */
    pa_word word;
    uint32_t first; /* of its cases */
    uint32_t count;
    uint32_t next; /* in its bucket */
    pa_node_id node; /* of the graph, once it was made */
} diagram;

typedef struct remembered {
    uint32_t a, b, result;
    uint8_t both;
} remembered;

struct pa_cases {
    pa_graph *graph;
    int big_endian;
    int given_up;
    diagram diagrams[MOST_DIAGRAMS];
    uint32_t diagram_count;
    pa_case cases[MOST_CASES];
    uint32_t case_count;
    pa_case stack[MOST_CASES];
    uint32_t stack_count;
    uint32_t work;
    uint32_t buckets[BUCKETS];
    remembered results[KEPT];
    /* Room for the pieces of one condition. */
    uint64_t *starts;
    pa_case *high;
    pa_case *low;
    size_t room;
};

pa_cases *pa_cases_open(void) {
    pa_cases *c = malloc(sizeof *c);
    if (c != NULL) {
        c->starts = NULL;
        c->high = NULL;
        c->low = NULL;
        c->room = 0;
    }
    return c;
}

void pa_cases_close(pa_cases *c) {
    if (c != NULL) {
        free(c->starts);
        free(c->high);
        free(c->low);
        free(c);
    }
}

/* One half of an argument. */
static pa_word half_of(const pa_cases *c, uint32_t argument, int high, uint32_t mask) {
    const int second = c->big_endian ? !high : high;
    const pa_word word = {PA_BPF_ARGUMENTS + 8 * argument + (second ? 4u : 0u), mask};
    return word;
}

/* Arguments in order, the high half first, then the whole before its bits. */
static uint64_t order_of(const pa_cases *c, pa_word word) {
    const uint32_t at = word.offset - PA_BPF_ARGUMENTS;
    const uint32_t low = (at / 4 % 2 != 0) == (c->big_endian != 0);
    return (uint64_t)(at / 8 * 2 + low) << 32 | (uint32_t)~word.mask;
}

/* How cases become a diagram, or a node of the graph. */
typedef uint32_t (*maker)(pa_cases *c, pa_word word, pa_case *cases, size_t count);

static uint32_t make_node(pa_cases *c, pa_word word, pa_case *cases, size_t count) {
    return pa_graph_search(c->graph, word, cases, count);
}

static uint32_t make_diagram(pa_cases *c, pa_word word, pa_case *cases, size_t count) {
    uint64_t hash = order_of(c, word) * UINT64_C(0x9e3779b97f4a7c15);
    diagram *made;
    size_t kept = 0;
    size_t i;
    uint32_t *bucket;
    uint32_t id;
    for (i = 0; i < count; i++) {
        if (kept == 0 || cases[i].node != cases[kept - 1].node) {
            cases[kept++] = cases[i];
        }
    }
    if (kept == 1 || c->given_up) {
        return cases[0].node;
    }
    for (i = 0; i < kept; i++) {
        hash = (hash ^ ((uint64_t)cases[i].start << 32 | cases[i].node)) *
               UINT64_C(0xbf58476d1ce4e5b9);
        hash ^= hash >> 31;
    }
    bucket = &c->buckets[hash % BUCKETS];
    for (id = *bucket; id != NOTHING; id = c->diagrams[id].next) {
        const diagram *there = &c->diagrams[id];
        if (there->count == kept && there->word.offset == word.offset &&
            there->word.mask == word.mask &&
            memcmp(&c->cases[there->first], cases, kept * sizeof *cases) == 0) {
            return id;
        }
    }
    if (c->diagram_count == MOST_DIAGRAMS || kept > MOST_CASES - c->case_count) {
        c->given_up = 1;
        return cases[0].node;
    }
    id = c->diagram_count++;
    made = &c->diagrams[id];
    made->order = order_of(c, word);
    made->word = word;
    made->first = c->case_count;
    made->count = (uint32_t)kept;
    made->next = *bucket;
    made->node = 0;
    *bucket = id;
    memcpy(&c->cases[c->case_count], cases, kept * sizeof *cases);
    c->case_count += (uint32_t)kept;
    return id;
}

static int make_room(pa_cases *c, size_t pieces) {
    uint64_t *starts;
    pa_case *high;
    pa_case *low;
    if (pieces <= c->room) {
        return 1;
    }
    starts = realloc(c->starts, pieces * sizeof *starts);
    c->starts = starts == NULL ? c->starts : starts;
    high = realloc(c->high, pieces * sizeof *high);
    c->high = high == NULL ? c->high : high;
    low = realloc(c->low, pieces * sizeof *low);
    c->low = low == NULL ? c->low : low;
    if (starts == NULL || high == NULL || low == NULL) {
        c->graph->status = PA_SECCOMP_MEMORY;
        return 0;
    }
    c->room = pieces;
    return 1;
}

/* The pieces of the numbers from 0 to `most`: where each starts; they are outside and inside of the
 * set by turns. Returns how many there are, and in *inside whether the first one is inside. */
static size_t pieces_of(pa_cases *c, const pa_seccomp_condition *condition, uint64_t most,
                        int *inside) {
    const uint64_t value = condition->values[0];
    size_t count = 0;
    size_t i;
    *inside = 0;
    c->starts[count++] = 0;
    switch (condition->op) {
    case PA_SECCOMP_LT:
    case PA_SECCOMP_GE:
    case PA_SECCOMP_LE:
    case PA_SECCOMP_GT: {
        const int or_equal = condition->op == PA_SECCOMP_LE || condition->op == PA_SECCOMP_GT;
        *inside = condition->op == PA_SECCOMP_LT || condition->op == PA_SECCOMP_LE;
        if (or_equal && value == most) {
            break; /* all of it is not more */
        }
        if (!or_equal && value == 0) {
            *inside = !*inside; /* none of it is less */
            break;
        }
        c->starts[count++] = value + (or_equal ? 1 : 0);
        break;
    }
    default: /* IN, NOT_IN */
        *inside = condition->op == PA_SECCOMP_NOT_IN;
        for (i = 0; i < condition->count; i++) {
            const uint64_t next = condition->values[i];
            if (next == c->starts[count - 1]) {
                /* Directly behind the one before, or 0: the piece that began here is none. */
                count--;
                if (count == 0) {
                    *inside = !*inside;
                    c->starts[count++] = 0;
                }
            } else {
                c->starts[count++] = next;
            }
            if (next != most) {
                c->starts[count++] = next + 1;
            }
        }
        break;
    }
    return count;
}

/* A comparison of 64 bits: first the high half, then the low one where that does not decide. */
static uint32_t make_wide(pa_cases *c, uint32_t argument, size_t pieces, const uint32_t nodes[2],
                          maker make) {
    const pa_word low_word = half_of(c, argument, 0, FULL);
    size_t high_count = 0;
    size_t low_count = 0;
    size_t i;
    for (i = 0; i < pieces; i++) {
        const uint64_t start = c->starts[i];
        const uint64_t end = i + 1 < pieces ? c->starts[i + 1] - 1 : UINT64_MAX;
        const uint32_t first = (uint32_t)(start >> 32);
        const uint32_t last = (uint32_t)(end >> 32);
        const uint32_t node = nodes[i % 2];
        const int whole_last = (uint32_t)end == FULL;
        c->low[low_count].start = (uint32_t)start;
        c->low[low_count++].node = node;
        if (first == last && !whole_last) {
            continue;
        }
        c->high[high_count].start = first;
        c->high[high_count++].node = make(c, low_word, c->low, low_count);
        low_count = 0;
        if (first == last) {
            continue;
        }
        if (last - first > 1 || whole_last) {
            c->high[high_count].start = first + 1;
            c->high[high_count++].node = node;
        }
        if (!whole_last) {
            c->low[low_count].start = 0;
            c->low[low_count++].node = node;
        }
    }
    return make(c, half_of(c, argument, 1, FULL), c->high, high_count);
}

static uint32_t make_masked_half(pa_cases *c, pa_word word, uint32_t value, uint32_t equal,
                                 uint32_t other, maker make) {
    pa_case cases[3];
    size_t count = 0;
    if (word.mask == 0) {
        return equal;
    }
    if (value != 0) {
        cases[count].start = 0;
        cases[count++].node = other;
    }
    cases[count].start = value;
    cases[count++].node = equal;
    if (value != FULL) {
        cases[count].start = value + 1;
        cases[count++].node = other;
    }
    return make(c, word, cases, count);
}

/* What leads to `yes` where the condition holds, and to `no` where it does not. */
static uint32_t make_condition(pa_cases *c, const pa_seccomp_condition *condition, uint32_t yes,
                               uint32_t no, maker make) {
    const uint64_t most = condition->width == 32 ? UINT64_C(0xffffffff) : UINT64_MAX;
    uint32_t nodes[2];
    size_t pieces;
    size_t i;
    int inside;
    if (condition->op == PA_SECCOMP_MASKED_EQ || condition->op == PA_SECCOMP_MASKED_NE) {
        const int equal = condition->op == PA_SECCOMP_MASKED_EQ;
        const uint64_t value = condition->values[0];
        const uint32_t same = equal ? yes : no;
        const uint32_t other = equal ? no : yes;
        uint32_t low;
        if ((value & ~condition->mask) != 0) {
            return other;
        }
        low = make_masked_half(
            c, half_of(c, condition->argument, 0, (uint32_t)condition->mask), (uint32_t)value,
            same, other, make);
        return make_masked_half(
            c, half_of(c, condition->argument, 1, (uint32_t)(condition->mask >> 32)),
            (uint32_t)(value >> 32), low, other, make);
    }
    /* Two borders for each value, and each border may divide a high half in three. */
    if (condition->count > PA_GRAPH_MOST) {
        c->graph->status = PA_SECCOMP_TOO_LONG;
        return 0;
    }
    if (!make_room(c, 4 * condition->count + 4)) {
        return 0;
    }
    pieces = pieces_of(c, condition, most, &inside);
    nodes[0] = inside ? yes : no;
    nodes[1] = inside ? no : yes;
    if (condition->width == 64) {
        return make_wide(c, condition->argument, pieces, nodes, make);
    }
    for (i = 0; i < pieces; i++) {
        c->low[i].start = (uint32_t)c->starts[i];
        c->low[i].node = nodes[i % 2];
    }
    return make(c, half_of(c, condition->argument, 0, FULL), c->low, pieces);
}

static pa_node_id chain_of(pa_cases *c, const pa_seccomp_call *call, pa_node_id otherwise) {
    pa_node_id node = otherwise;
    size_t i = call->count;
    while (i > 0) {
        const pa_seccomp_clause *clause = &call->clauses[--i];
        pa_node_id yes = pa_graph_return(c->graph, clause->action);
        size_t j = clause->count;
        while (j > 0) {
            yes = make_condition(c, &clause->conditions[--j], yes, node, make_node);
        }
        node = yes;
    }
    return node;
}

/* Put two diagrams together. `both`: what holds in both, with the leaves of `b`. Otherwise: `a`,
 * and where nothing of it holds, `b`. */
static uint32_t combine(pa_cases *c, int both, uint32_t a, uint32_t b) {
    const uint32_t base = c->stack_count;
    remembered *kept;
    uint64_t order_a;
    uint64_t order_b;
    pa_word word;
    uint32_t i = 0;
    uint32_t j = 0;
    uint32_t count_a;
    uint32_t count_b;
    uint32_t start = 0;
    uint32_t result;
    if (c->given_up || a == b) {
        return a;
    }
    if (a == NOTHING || b == NOTHING) {
        return both ? NOTHING : (a == NOTHING ? b : a);
    }
    if (a & LEAF) {
        return both ? b : a;
    }
    if (both && (b & LEAF)) {
        return a;
    }
    kept = &c->results[(a * 31 + b * 17 + (uint32_t)both) % KEPT];
    if (kept->a == a && kept->b == b && kept->both == (uint8_t)both) {
        return kept->result;
    }
    if (++c->work > MOST_WORK) {
        c->given_up = 1;
        return a;
    }
    order_a = c->diagrams[a].order;
    order_b = b & LEAF ? UINT64_MAX : c->diagrams[b].order;
    word = c->diagrams[order_a <= order_b ? a : b].word;
    count_a = order_a <= order_b ? c->diagrams[a].count : 1;
    count_b = order_b <= order_a ? c->diagrams[b].count : 1;
    for (;;) {
        const pa_case *case_a = order_a <= order_b ? &c->cases[c->diagrams[a].first + i] : NULL;
        const pa_case *case_b = order_b <= order_a ? &c->cases[c->diagrams[b].first + j] : NULL;
        const uint64_t next_a = i + 1 < count_a ? case_a[1].start : UINT64_MAX;
        const uint64_t next_b = j + 1 < count_b ? case_b[1].start : UINT64_MAX;
        const uint32_t node =
            combine(c, both, case_a != NULL ? case_a->node : a, case_b != NULL ? case_b->node : b);
        if (c->given_up || c->stack_count == MOST_CASES) {
            c->given_up = 1;
            c->stack_count = base;
            return a;
        }
        c->stack[c->stack_count].start = start;
        c->stack[c->stack_count++].node = node;
        if (next_a == UINT64_MAX && next_b == UINT64_MAX) {
            break;
        }
        start = (uint32_t)(next_a < next_b ? next_a : next_b);
        i += next_a == start;
        j += next_b == start;
    }
    result = make_diagram(c, word, &c->stack[base], c->stack_count - base);
    c->stack_count = base;
    kept->a = a;
    kept->b = b;
    kept->both = (uint8_t)both;
    kept->result = result;
    return result;
}

static pa_node_id node_of(pa_cases *c, uint32_t id) {
    const uint32_t base = c->stack_count;
    diagram *of;
    uint32_t i;
    if (id & LEAF) {
        return id & ~LEAF;
    }
    of = &c->diagrams[id];
    if (of->node == 0) {
        if (of->count > MOST_CASES - base) {
            c->given_up = 1;
            return 0;
        }
        c->stack_count += of->count;
        for (i = 0; i < of->count; i++) {
            c->stack[base + i].start = c->cases[of->first + i].start;
            c->stack[base + i].node = node_of(c, c->cases[of->first + i].node);
        }
        of->node = pa_graph_search(c->graph, of->word, &c->stack[base], of->count);
        c->stack_count = base;
    }
    return of->node;
}

/* Returns 0 when the diagram would be too large. */
static pa_node_id diagram_of(pa_cases *c, const pa_seccomp_call *call, pa_node_id otherwise) {
    uint32_t all = LEAF | otherwise;
    size_t i = call->count;
    c->given_up = 0;
    c->diagram_count = 0;
    c->case_count = 0;
    c->stack_count = 0;
    c->work = 0;
    memset(c->buckets, 0xff, sizeof c->buckets);
    memset(c->results, 0xff, sizeof c->results);
    while (i > 0 && !c->given_up && c->graph->status == PA_SECCOMP_OK) {
        const pa_seccomp_clause *clause = &call->clauses[--i];
        const uint32_t action = LEAF | pa_graph_return(c->graph, clause->action);
        uint32_t holds = action;
        size_t j;
        for (j = 0; j < clause->count && !c->given_up; j++) {
            const uint32_t one =
                make_condition(c, &clause->conditions[j], action, NOTHING, make_diagram);
            holds = combine(c, 1, holds, one);
        }
        all = combine(c, 0, holds, all);
    }
    return c->given_up ? 0 : node_of(c, all);
}

pa_node_id pa_cases_of(pa_cases *c, pa_graph *graph, const pa_seccomp_call *call, int big_endian,
                       pa_node_id otherwise) {
    pa_node_id chain;
    pa_node_id ordered;
    c->graph = graph;
    c->big_endian = big_endian;
    chain = chain_of(c, call, otherwise);
    if (call->count == 1 && call->clauses[0].count <= 1) {
        return chain; /* the two ways are the same */
    }
    ordered = diagram_of(c, call, otherwise);
    if (ordered == 0 || graph->status != PA_SECCOMP_OK) {
        return chain;
    }
    return pa_graph_size(graph, ordered) <= pa_graph_size(graph, chain) ? ordered : chain;
}
