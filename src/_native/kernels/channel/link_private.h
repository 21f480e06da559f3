/* What the files of the link share: the two ways frames travel. */
#ifndef PLUGINAPI_CHANNEL_LINK_PRIVATE_H
#define PLUGINAPI_CHANNEL_LINK_PRIVATE_H

#include "link.h"

/* socket_posix.c: frames over the socket. */
pa_channel_status pa_socket_send(pa_link *link, const pa_frame *frame, const pa_part *parts,
                                 size_t count);
pa_channel_status pa_socket_flush(pa_link *link);
pa_channel_status pa_socket_poll(pa_link *link, pa_message *message);

/* Whether polling would get on without another byte of the socket. */
int pa_socket_has_frame(const pa_link *link);

/* Sleep until the socket can be read, or written if `write` is set. OK may be a false alarm. */
pa_channel_status pa_socket_wait(pa_link *link, int write, uint64_t timeout_ns);

/* Wait for bytes and throw them away: bells. *count is how many there were; with `wait` OK and none
 * is a false alarm, without it none is AGAIN. */
pa_channel_status pa_socket_drain(pa_link *link, int wait, uint64_t timeout_ns, size_t *count);

/* Wait for bytes of frames and keep them. OK may be a false alarm. */
pa_channel_status pa_socket_fill(pa_link *link, uint64_t timeout_ns);

/* Make ready what pa_link_plain promises. */
pa_channel_status pa_socket_plain(pa_link *link);

/* Send one byte. A socket that is full of bells will wake the peer anyway. */
pa_channel_status pa_socket_ring(pa_link *link);

#endif
