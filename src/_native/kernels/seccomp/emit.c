#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define FULL UINT32_MAX
#define MOST_JUMP 255
#define NOWHERE UINT32_MAX

/* Instructions are written backwards, children before their parents, so that every target is
 * known. A place is counted from the end of the program. */
typedef struct entry {
    uint32_t place; /* where the code is */
    uint32_t near;  /* where it can be got to from here: the code, or a jump to it */
} entry;

/* A node is entered before its load; or, when the accumulator holds the word already, behind it;
 * or behind the mask, when it holds that. The rest of the code is the same. */
enum { AT_LOAD, AT_MASK, AT_TEST, ENTRIES };

typedef struct emitted {
    entry entries[ENTRIES];
    uint32_t weight; /* of the code below, as if nothing were shared */
    uint8_t seen;
    uint8_t needs_load;
} emitted;

typedef struct emitter {
    const pa_graph *graph;
    emitted *nodes;
    pa_bpf *end; /* behind the last instruction */
    uint32_t count;
    pa_seccomp_status status;
} emitter;

/* What the accumulator holds behind a node's test. */
static int holds(const pa_node *node, const pa_node *next) {
    if (node->word.offset != next->word.offset) {
        return AT_LOAD;
    }
    if (node->word.mask == next->word.mask) {
        return AT_TEST;
    }
    return node->word.mask == FULL ? AT_MASK : AT_LOAD;
}

static void put(emitter *e, uint16_t code, uint32_t k, uint32_t on_true, uint32_t on_false) {
    pa_bpf *at;
    if (e->count == PA_BPF_MOST) {
        e->status = PA_SECCOMP_TOO_LONG;
        return;
    }
    e->count++;
    at = e->end - e->count;
    at->code = code;
    at->on_true = (uint8_t)on_true;
    at->on_false = (uint8_t)on_false;
    at->k = k;
}

/* Mark what is reachable, in post-order, and what must load. */
static uint32_t survey(emitter *e, pa_node_id id) {
    const pa_node *node = &e->graph->nodes[id];
    emitted *here = &e->nodes[id];
    pa_node_id children[2];
    uint32_t weight = 1;
    int i;
    if (here->seen) {
        return here->weight;
    }
    here->seen = 1;
    if (node->kind != PA_NODE_RETURN) {
        children[0] = node->on_true;
        children[1] = node->on_false;
        for (i = 0; i < 2; i++) {
            const uint32_t below = survey(e, children[i]);
            const pa_node *child = &e->graph->nodes[children[i]];
            if (child->kind != PA_NODE_RETURN && holds(node, child) == AT_LOAD) {
                e->nodes[children[i]].needs_load = 1;
            }
            weight = below > PA_BPF_MOST || weight > PA_BPF_MOST ? PA_BPF_MOST + 1 : weight + below;
        }
    }
    here->weight = weight;
    return weight;
}

static void emit(emitter *e, pa_node_id id);

/* The place to jump to for a child, no farther than a test can jump when `more` instructions are
 * put before the test besides. */
static uint32_t reach(emitter *e, const pa_node *node, pa_node_id id, uint32_t more) {
    const pa_node *child = &e->graph->nodes[id];
    emitted *there = &e->nodes[id];
    entry *target;
    if (child->kind == PA_NODE_RETURN) {
        target = &there->entries[AT_TEST];
        if (target->near == NOWHERE || e->count + more - target->near > MOST_JUMP) {
            put(e, PA_BPF_RET_K, child->k, 0, 0);
            target->near = e->count;
        }
        return target->near;
    }
    target = &there->entries[holds(node, child)];
    if (e->count + more - target->near > MOST_JUMP) {
        put(e, PA_BPF_JA, e->count - target->place, 0, 0);
        target->near = e->count;
    }
    return target->near;
}

static void set_entry(emitter *e, pa_node_id id, int which) {
    e->nodes[id].entries[which].place = e->count;
    e->nodes[id].entries[which].near = e->count;
}

static void emit(emitter *e, pa_node_id id) {
    const pa_node *node = &e->graph->nodes[id];
    emitted *here = &e->nodes[id];
    pa_node_id first;
    pa_node_id second;
    uint32_t on_true;
    uint32_t on_false;
    int swapped;
    if (here->entries[AT_TEST].place != NOWHERE || node->kind == PA_NODE_RETURN) {
        return;
    }
    /* The larger part first, so that the jump over the other is short. */
    swapped = e->nodes[node->on_true].weight < e->nodes[node->on_false].weight;
    first = swapped ? node->on_false : node->on_true;
    second = swapped ? node->on_true : node->on_false;
    emit(e, first);
    emit(e, second);
    on_true = reach(e, node, node->on_true, 1);
    on_false = reach(e, node, node->on_false, 0);
    put(e, (uint16_t)node->kind, node->k, e->count - on_true, e->count - on_false);
    set_entry(e, id, AT_TEST);
    if (node->word.mask != FULL) {
        put(e, PA_BPF_AND_K, node->word.mask, 0, 0);
        set_entry(e, id, AT_MASK);
    }
    if (here->needs_load) {
        put(e, PA_BPF_LD_ABS, node->word.offset, 0, 0);
        set_entry(e, id, AT_LOAD);
    }
}

pa_seccomp_status pa_graph_emit(pa_graph *graph, pa_node_id root, pa_bpf *out, size_t *length) {
    emitter e = {graph, NULL, out + PA_BPF_MOST, 0, PA_SECCOMP_OK};
    uint32_t i;
    if (graph->status != PA_SECCOMP_OK) {
        return graph->status;
    }
    if (pa_graph_size(graph, root) > PA_BPF_MOST) {
        return graph->status != PA_SECCOMP_OK ? graph->status : PA_SECCOMP_TOO_LONG;
    }
    e.nodes = malloc(graph->count * sizeof *e.nodes);
    if (e.nodes == NULL) {
        return PA_SECCOMP_MEMORY;
    }
    for (i = 0; i < graph->count; i++) {
        static const entry nowhere = {NOWHERE, NOWHERE};
        const emitted fresh = {{nowhere, nowhere, nowhere}, 0, 0, 0};
        e.nodes[i] = fresh;
    }
    (void)survey(&e, root);
    e.nodes[root].needs_load = 1;
    if (graph->nodes[root].kind == PA_NODE_RETURN) {
        put(&e, PA_BPF_RET_K, graph->nodes[root].k, 0, 0);
    } else {
        emit(&e, root);
    }
    free(e.nodes);
    if (e.status == PA_SECCOMP_OK) {
        memmove(out, e.end - e.count, e.count * sizeof *out);
        *length = e.count;
    }
    return e.status;
}

/* Instructions of the nodes below one, each counted once; loads as if every node were entered from
 * elsewhere but from a test of the same word. Children have smaller numbers than their parents. */
size_t pa_graph_size(pa_graph *graph, pa_node_id root) {
    uint8_t *reached;
    size_t size = 0;
    pa_node_id id;
    if (graph->status != PA_SECCOMP_OK) {
        return 0;
    }
    reached = calloc((size_t)root + 1, 1);
    if (reached == NULL) {
        graph->status = PA_SECCOMP_MEMORY;
        return 0;
    }
    reached[root] = 2; /* 1: from a test of the same word; 2: from elsewhere, so with a load */
    for (id = root; id > 0; id--) {
        const pa_node *node = &graph->nodes[id];
        pa_node_id children[2];
        int i;
        if (reached[id] == 0) {
            continue;
        }
        if (node->kind == PA_NODE_RETURN) {
            size++;
            continue;
        }
        size += (reached[id] == 2 ? 2u : 1u) + (node->word.mask != FULL ? 1u : 0u);
        children[0] = node->on_true;
        children[1] = node->on_false;
        for (i = 0; i < 2; i++) {
            const pa_node *child = &graph->nodes[children[i]];
            const int way = child->kind == PA_NODE_RETURN || holds(node, child) == AT_LOAD ? 2 : 1;
            if (reached[children[i]] < way) {
                reached[children[i]] = (uint8_t)way;
            }
        }
    }
    free(reached);
    return size;
}
