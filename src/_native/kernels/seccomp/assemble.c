#include <stdlib.h>

#include "cases.h"

static pa_seccomp_status check_condition(const pa_seccomp_condition *condition) {
    const uint64_t most = condition->width == 32 ? UINT64_C(0xffffffff) : UINT64_MAX;
    const int masked =
        condition->op == PA_SECCOMP_MASKED_EQ || condition->op == PA_SECCOMP_MASKED_NE;
    const int set = condition->op == PA_SECCOMP_IN || condition->op == PA_SECCOMP_NOT_IN;
    size_t i;
    if (condition->argument > 5 || (condition->width != 32 && condition->width != 64) ||
        (int)condition->op < 0 || condition->op > PA_SECCOMP_LAST_OP || condition->count == 0 ||
        (condition->count > 1 && !set) || (masked && condition->mask > most)) {
        return PA_SECCOMP_BAD_CONDITION;
    }
    for (i = 0; i < condition->count; i++) {
        if (condition->values[i] > most ||
            (i > 0 && condition->values[i] <= condition->values[i - 1])) {
            return PA_SECCOMP_BAD_CONDITION;
        }
    }
    return PA_SECCOMP_OK;
}

static pa_seccomp_status check_arch(const pa_seccomp_arch *arch) {
    size_t i;
    size_t j;
    size_t k;
    for (i = 0; i < arch->count; i++) {
        const pa_seccomp_call *call = &arch->calls[i];
        if ((arch->end != 0 && call->number >= arch->end) ||
            (i > 0 && call->number <= arch->calls[i - 1].number)) {
            return PA_SECCOMP_BAD_CALL;
        }
        for (j = 0; j < call->count; j++) {
            for (k = 0; k < call->clauses[j].count; k++) {
                const pa_seccomp_status status = check_condition(&call->clauses[j].conditions[k]);
                if (status != PA_SECCOMP_OK) {
                    return status;
                }
            }
        }
    }
    return PA_SECCOMP_OK;
}

/* All numbers of an architecture as cases, and the search among them. */
static pa_node_id arch_node(pa_graph *graph, pa_cases *cases, const pa_seccomp_arch *arch) {
    static const pa_word number = {PA_BPF_NUMBER, UINT32_MAX};
    const pa_node_id fallback = pa_graph_return(graph, arch->fallback);
    /* Before, at and behind each call; and the end. */
    pa_case *all = malloc((2 * arch->count + 2) * sizeof *all);
    size_t count = 0;
    size_t i;
    uint32_t next = 0;
    pa_node_id node;
    if (all == NULL) {
        graph->status = PA_SECCOMP_MEMORY;
        return 0;
    }
    for (i = 0; i < arch->count; i++) {
        const pa_seccomp_call *call = &arch->calls[i];
        if (call->number > next) {
            all[count].start = next;
            all[count++].node = fallback;
        }
        all[count].start = call->number;
        all[count++].node =
            call->count > 0 && call->clauses[0].count == 0
                ? pa_graph_return(graph, call->clauses[0].action)
                : pa_cases_of(cases, graph, call, arch->big_endian, fallback);
        next = call->number + 1;
    }
    if ((next != 0 || arch->count == 0) && (arch->end == 0 || next < arch->end)) {
        all[count].start = next;
        all[count++].node = fallback;
    }
    if (arch->end != 0) {
        all[count].start = arch->end;
        all[count++].node = pa_graph_return(graph, arch->beyond);
    }
    node = pa_graph_search(graph, number, all, count);
    free(all);
    return node;
}

pa_seccomp_status pa_seccomp_assemble(const pa_seccomp_policy *policy, pa_bpf *out,
                                      size_t *length) {
    static const pa_word arch_word = {PA_BPF_ARCH, UINT32_MAX};
    pa_seccomp_status status;
    pa_graph graph;
    pa_cases *cases;
    pa_node_id root;
    size_t i;
    for (i = 0; i < policy->count; i++) {
        status = check_arch(&policy->archs[i]);
        if (status != PA_SECCOMP_OK) {
            return status;
        }
    }
    status = pa_graph_open(&graph);
    cases = pa_cases_open();
    if (status == PA_SECCOMP_OK && cases == NULL) {
        status = PA_SECCOMP_MEMORY;
    }
    if (status == PA_SECCOMP_OK) {
        root = pa_graph_return(&graph, policy->foreign);
        for (i = policy->count; i > 0; i--) {
            const pa_node_id node = arch_node(&graph, cases, &policy->archs[i - 1]);
            root = pa_graph_test(&graph, PA_NODE_EQUAL, arch_word, policy->archs[i - 1].audit,
                                 node, root);
        }
        status = pa_graph_emit(&graph, root, out, length);
    }
    pa_cases_close(cases);
    pa_graph_close(&graph);
    return status;
}
