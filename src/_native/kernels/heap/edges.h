/* A set of addresses at the beginning of pages. Calls are serialised by the caller. */
#ifndef PLUGINAPI_HEAP_EDGES_H
#define PLUGINAPI_HEAP_EDGES_H

#include <stdint.h>

/* The smallest page that there is; on larger ones there are a few more such addresses. */
#define PA_HEAP_PAGE 4096u

/* Make room for one more: 0, or -1 without memory. */
int pa_edges_reserve(void);
/* There is room for it, and it is not there. */
void pa_edges_add(uintptr_t address);
int pa_edges_have(uintptr_t address);
/* It is there. */
void pa_edges_remove(uintptr_t address);

#endif
