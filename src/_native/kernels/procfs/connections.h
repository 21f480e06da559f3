/* How many TCP connections processes have.
 *
 * Knows no Python. Linux 5.9 or newer. Not thread-safe: the owner has a lock.
 *
 * Of a few processes with few descriptors, each socket is looked at by itself, through
 * pidfd_getfd(2). Of many, one question to the kernel tells which connections this network has, and
 * only what was not known before is searched among their descriptors; connections that live in a
 * network of their own are looked at by themselves.
 *
 * A process that used no processor time since it was looked at opened and closed nothing: it has the
 * connections that it had, and when all are like that, nothing is asked. A connection that the other
 * side broke off counts until the process acts. */
#ifndef PLUGINAPI_PROCFS_CONNECTIONS_H
#define PLUGINAPI_PROCFS_CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "process.h"
#include "sockets.h"

typedef struct pa_connections {
    pa_sockets sockets;
    uint64_t network;   /* inode of this process's network; 0: not known yet */
    uint32_t searches;  /* so far */
    size_t unsearched;  /* processes that may have what was not there before */
    size_t next;        /* where the search for that goes on */
} pa_connections;

/* Count, for each of the processes that is measured and has descriptors. `all` and `of` are as
 * long; places without a process have the directory -1. What cannot be had is missing from known.
 * When more than 64 of them were busy, one that closed a connection and opened another one between
 * two looks may be found one short for as many looks as there are 64s of them. */
void pa_connections_count(pa_connections *self, pa_process *all, pa_usage *of, size_t count);

void pa_connections_free(pa_connections *self);

#endif
