/*
 * sockets.c - connections, messages, a server and remote calls.  What each
 * function has to do is said in sockets.h.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int sock_listen_unix(const char *path, int backlog)
{
    /* TODO(lab3): bind to the path and listen.  When it is taken: does
     * anybody listen there?  unix(7), bind(2), listen(2). */
    (void)path;
    (void)backlog;
    errno = ENOSYS;
    return -1;
}

int sock_connect_unix(const char *path, int deadline_ms)
{
    /* TODO(lab3): connect, and try again while nobody listens.  What does
     * connect(2) do when the backlog is full? */
    (void)path;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int sock_listen_tcp(uint16_t *port)
{
    /* TODO(lab3): bind to the loopback address and listen; which port is
     * it?  ip(7), socket(7), getsockname(2). */
    (void)port;
    errno = ENOSYS;
    return -1;
}

int sock_connect_tcp(const char *host, uint16_t port, int deadline_ms)
{
    /* TODO(lab3): look the host up, try each of its addresses, and all
     * again while nobody listens.  How long may one connect(2) take?
     * getaddrinfo(3), connect(2) EINPROGRESS, poll(2). */
    (void)host;
    (void)port;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int sock_send_msg(int fd, const void *msg, uint32_t size)
{
    /* TODO(lab3): the size, then the bytes; all of them, however many
     * send(2) takes at a time, and however long it takes none. */
    (void)fd;
    (void)msg;
    (void)size;
    errno = ENOSYS;
    return -1;
}

ssize_t sock_recv_msg(int fd, void *msg, size_t cap, int deadline_ms)
{
    /* TODO(lab3): receive the size, then as many bytes.  What does recv(2)
     * return when fewer have come, when the stream has ended, when the time
     * is up?  recv(2), poll(2). */
    (void)fd;
    (void)msg;
    (void)cap;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int sock_serve(int listen_fd, sock_handler *handle, void *ctx, int stop_fd)
{
    /* TODO(lab3): one poll(2) over all: the one who stops you, the ones who
     * come, the ones who are here.  Each client has what it has sent of a
     * request, and what is left to send of a reply.  accept4(2). */
    (void)listen_fd;
    (void)handle;
    (void)ctx;
    (void)stop_fd;
    errno = ENOSYS;
    return -1;
}

int sock_send_fd(int fd, int fd_to_send)
{
    /* TODO(lab3): sendmsg(2) with one byte and a control message of the type
     * SCM_RIGHTS.  unix(7), cmsg(3). */
    (void)fd;
    (void)fd_to_send;
    errno = ENOSYS;
    return -1;
}

int sock_recv_fd(int fd)
{
    /* TODO(lab3): recvmsg(2) with room for a control message.  How many
     * descriptors may come in it, and what becomes of those that you do not
     * want?  unix(7), cmsg(3). */
    (void)fd;
    errno = ENOSYS;
    return -1;
}

int sock_peer(int fd, uid_t *uid, pid_t *pid)
{
    /* TODO(lab3): ask the kernel.  unix(7) SO_PEERCRED, socket(7) SO_DOMAIN.
     */
    (void)fd;
    (void)uid;
    (void)pid;
    errno = ENOSYS;
    return -1;
}

int rpc_call(int fd, uint32_t proc, const void *args, size_t args_size,
             void *res, size_t cap, size_t *res_len, int deadline_ms)
{
    /* TODO(lab3): a request with an id of its own; then replies until one
     * has this id.  htonl(3). */
    (void)fd;
    (void)proc;
    (void)args;
    (void)args_size;
    (void)res;
    (void)cap;
    (void)res_len;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int rpc_dispatch(const struct rpc_proc *procs, size_t n, const void *req,
                 size_t size, void *rep, size_t *rep_size)
{
    /* TODO(lab3): find the procedure, run it, and make the reply, also when
     * there is none or it has failed. */
    (void)procs;
    (void)n;
    (void)req;
    (void)size;
    (void)rep;
    (void)rep_size;
    errno = ENOSYS;
    return -1;
}
