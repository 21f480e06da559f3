/* From the clauses of one system call to nodes of the graph. */
#ifndef PLUGINAPI_SECCOMP_CASES_H
#define PLUGINAPI_SECCOMP_CASES_H

#include "graph.h"

typedef struct pa_cases pa_cases;

/* What is kept from one call to the next, or NULL when there is no memory. */
pa_cases *pa_cases_open(void);
void pa_cases_close(pa_cases *cases);

/* The node that decides a call: the action of the first clause whose conditions all hold, and
 * `otherwise` when there is none. A failure is left in the graph. */
pa_node_id pa_cases_of(pa_cases *cases, pa_graph *graph, const pa_seccomp_call *call,
                       int big_endian, pa_node_id otherwise);

#endif
