/* requests.h - what is sent with descriptors: requests for scenarios. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto.h"

enum { REQUEST_FDS = FIXED_FDS + PARCEL_FDS }; /* descriptors at most */

/*
 * Sends the request and copies of its nfds descriptors over a socket
 * (SOCK_SEQPACKET), as one packet (sendmsg(2), unix(7)); does not wait.
 * Returns false with errno where it can't be sent: then nothing is.
 */
bool request_send(int socket, const struct request *req, const int *fds,
                  size_t nfds);

/*
 * Waits for a request.  fds[], which has room for REQUEST_FDS, gets its
 * descriptors, close-on-exec, and *nfds their number.  Returns false where the
 * other end is closed, or what came is no request.
 */
bool request_receive(int socket, struct request *req, int *fds, size_t *nfds);

#endif
