/* The decision graph that a policy becomes before it is a program.
 *
 * A node tests one word of struct seccomp_data, or the bits of it under a mask, and leads to two
 * others; a leaf is what the filter returns. Equal nodes are one, and a test that makes no
 * difference is none. Children are made before their parents, so there is no way back. */
#ifndef PLUGINAPI_SECCOMP_GRAPH_H
#define PLUGINAPI_SECCOMP_GRAPH_H

#include "policy.h"

#define PA_GRAPH_MOST ((uint32_t)1 << 18) /* nodes; a program of PA_BPF_MOST has far fewer */

typedef uint32_t pa_node_id;

typedef enum pa_node_kind {
    PA_NODE_RETURN = 0,
    PA_NODE_EQUAL = PA_BPF_JEQ_K,
    PA_NODE_AT_LEAST = PA_BPF_JGE_K,
    PA_NODE_ANY_BIT = PA_BPF_JSET_K
} pa_node_kind;

/* A word, or what a mask leaves of it. */
typedef struct pa_word {
    uint32_t offset;
    uint32_t mask; /* UINT32_MAX for all of it */
} pa_word;

typedef struct pa_node {
    pa_node_kind kind;
    pa_word word; /* what is in the accumulator */
    uint32_t k;   /* what it is compared with; or what is returned */
    pa_node_id on_true;
    pa_node_id on_false;
} pa_node;

/* From this value of the word on, until the next case, this node. */
typedef struct pa_case {
    uint32_t start;
    pa_node_id node;
} pa_case;

typedef struct pa_graph {
    pa_node *nodes;
    uint32_t count;
    uint32_t capacity;
    pa_node_id *table;
    uint32_t table_size;
    pa_seccomp_status status; /* the first failure; what is made after it means nothing */
} pa_graph;

pa_seccomp_status pa_graph_open(pa_graph *graph);
void pa_graph_close(pa_graph *graph);

pa_node_id pa_graph_return(pa_graph *graph, uint32_t value);
pa_node_id pa_graph_test(pa_graph *graph, pa_node_kind kind, pa_word word, uint32_t k,
                         pa_node_id on_true, pa_node_id on_false);

/* A search among cases, the first of which starts at 0. Cases are changed. */
pa_node_id pa_graph_search(pa_graph *graph, pa_word word, pa_case *cases, size_t count);

/* How many instructions a node needs by itself, roughly: tests and loads below it, each once. */
size_t pa_graph_size(pa_graph *graph, pa_node_id root);

/* Write the program that starts at `root`. */
pa_seccomp_status pa_graph_emit(pa_graph *graph, pa_node_id root, pa_bpf *out, size_t *length);

#endif
