/*
 * sockets.h - two ends of a channel, here or across machines.
 *
 * A socket is a descriptor that reads and writes.  What the kernel keeps for
 * it are two buffers, one a direction, and it has a name of its own kind: a
 * path for AF_UNIX, an address and a port for TCP.
 *
 * What flows through a stream socket is bytes.  One send(2) is not one
 * recv(2): what was sent at once may come in pieces, and what was sent in
 * pieces at once.  And the other side is a program of somebody else's: it may
 * be slow, silent, gone, or lie.
 *
 * The rules of this interface:
 *  - A function that returns int returns 0, and -1 on failure, where nothing
 *    else is said; errno then says why.  On failure nothing that out-parameters
 *    point to is changed, and no descriptor and no path is left behind.
 *  - Descriptors that a function makes are close-on-exec; those that it
 *    returns are blocking, with no time-out (SO_SNDTIMEO, SO_RCVTIMEO).  Those
 *    that the caller passes in stay open and keep their flags, which may be
 *    others during the call; a function that works on one works as said also
 *    when it is non-blocking (O_NONBLOCK).
 *  - A signal that is caught (EINTR) is no failure.  SIGPIPE never comes: who
 *    writes to a socket that nobody reads is told by EPIPE alone.  (On TCP it
 *    may be ECONNRESET, once: what was sent before was not read.)
 *  - deadline_ms is a time-out counted from the call, on CLOCK_MONOTONIC, for
 *    all that the function does.  0: don't wait.  -1: wait for ever.  Below
 *    -1: EINVAL.  When it has passed: ETIMEDOUT, where nothing else is said.
 *  - Who waits sleeps until it is woken.  (What wakes nobody may be looked at
 *    again after a nap of a millisecond or more: whether somebody listens yet,
 *    a full backlog has room, descriptors or memory are to be had again.)
 *  - No function prints or exits.
 *
 * Errors beyond those in the tables come as the system call gave them.
 *
 * Read first: socket(7), unix(7), tcp(7), poll(2), send(2), recv(2).
 */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * Names: who listens where
 */

/*
 * Listens at a path on this machine.
 *
 * path     of fewer than 108 bytes (struct sockaddr_un).  A socket that lies
 *          there and to which nobody listens any more is replaced; a server
 *          that is alive keeps its path, however busy it is and of whatever
 *          type its sockets are.
 * backlog  as for listen(2)
 *
 * Returns the listening socket, or -1 with errno:
 *   EADDRINUSE    a server listens at this path, or what lies there is no
 *                 socket; it stays
 *   ENAMETOOLONG  the path does not fit
 *
 * See unix(7), bind(2), listen(2), connect(2).
 */
int sock_listen_unix(const char *path, int backlog);

/*
 * Connects to the server at a path; waits until there is one, so that client
 * and server may be started in any order.
 *
 * Returns the connection, or -1 with errno:
 *   ENOENT, ECONNREFUSED  nobody listens there, up to the deadline
 *   ETIMEDOUT     somebody does, but its backlog stayed full
 *   ENAMETOOLONG  the path does not fit
 *   EINVAL        deadline_ms is below -1
 */
int sock_connect_unix(const char *path, int deadline_ms);

/*
 * Listens with TCP for this machine only: 127.0.0.1.
 *
 * port  in host byte order; 0: the kernel chooses, and *port becomes what it
 *       has chosen.  A server that was ended can be started again at the same
 *       port at once.
 *
 * Returns the listening socket, or -1 with errno:
 *   EADDRINUSE  a server listens at this port
 *
 * See ip(7), socket(7) SO_REUSEADDR, getsockname(2).
 */
int sock_listen_tcp(uint16_t *port);

/*
 * Connects with TCP; waits until there is a server.  Small messages go at
 * once (TCP_NODELAY).
 *
 * host  a name or an address, IPv4 or IPv6.  A name may have several
 *       addresses: each is tried, in the order in which they are given.  One
 *       that does not answer may use up the time.
 * port  in host byte order
 *
 * Returns the connection, or -1 with errno:
 *   ECONNREFUSED  nobody listens there, up to the deadline
 *   ETIMEDOUT     nobody answered
 *   EHOSTUNREACH  there is no such host, says getaddrinfo(3)
 *   EINVAL        deadline_ms is below -1
 *
 * See getaddrinfo(3), connect(2) EINPROGRESS, poll(2), tcp(7).
 */
int sock_connect_tcp(const char *host, uint16_t port, int deadline_ms);

/* ------------------------------------------------------------------------
 * Messages on a stream
 *
 * A message goes as its size in bytes, an unsigned 32-bit number in network
 * byte order, and then its bytes, as in lab 1.
 */

/*
 * Sends one message; waits for room as often as is needed.
 *
 * size  in bytes, 1 to UINT32_MAX
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  size is 0; nothing was sent
 *   EPIPE   nobody reads (any more)
 *
 * See send(2) MSG_NOSIGNAL, poll(2), htonl(3).
 */
int sock_send_msg(int fd, const void *msg, uint32_t size);

/*
 * Receives one message, and no byte of the next.
 *
 * msg  room for cap bytes; on failure its content is unspecified
 * cap  in bytes, 1 to SSIZE_MAX
 *
 * Returns the message's size in bytes; or 0 with errno set to 0 when the
 * stream ended where a message would begin.  Or -1 with errno:
 *   EPROTO     the stream ended inside of a message, or a size of 0 was said
 *   EMSGSIZE   the message has more than cap bytes.  It was received and
 *              dropped: the next call gets the next one.
 *   ETIMEDOUT  it did not come in time.  If a part of it had come, the stream
 *              is of no more use.
 *   EINVAL     deadline_ms is below -1
 */
ssize_t sock_recv_msg(int fd, void *msg, size_t cap, int deadline_ms);

/* ------------------------------------------------------------------------
 * The engineer's job: one process that serves many clients
 */

#define SOCK_MSG_MAX     65536 /* bytes of a request or a reply */
#define SOCK_CLIENTS_MAX 128   /* that are served at one time */

/*
 * Answers one request.
 *
 * req   the message, size bytes
 * rep   room for *rep_size bytes (SOCK_MSG_MAX)
 *
 * Returns 0 when *rep_size bytes in rep are the reply, SOCK_MSG_MAX at most; 0
 * bytes: there is none.
 * Returns -1 when this client is to be dropped.
 */
typedef int sock_handler(void *ctx, const void *req, size_t size, void *rep,
                         size_t *rep_size);

/*
 * Serves all who connect, in one process without threads, until stop_fd is
 * readable.  Requests and replies are messages as above.  The requests of a
 * client are answered in their order; a client that is slow, silent, asks
 * without end, does not read its replies, lies or dies never keeps another one
 * waiting.
 *
 *  - A client that has shut down its side (shutdown(2) SHUT_WR) after its
 *    requests still gets the replies to them.
 *  - One that says a size of 0 or above SOCK_MSG_MAX is dropped.
 *  - While replies wait to be read by a client, no more requests are taken
 *    from it: memory stays bounded.
 *  - Once the requests that a client has sent so far are answered, or earlier,
 *    it is the others' turn.
 *  - More than SOCK_CLIENTS_MAX wait in the backlog until one has gone.
 *
 * listen_fd  a listening socket, Unix or TCP; stays open
 * stop_fd    readable, or at its end: serving ends; it is not read
 *
 * Returns 0 when it was stopped (replies that wait are not sent any more), or
 * -1 with errno when it can't go on, as when listen_fd is no listening socket
 * (accept(2) EINVAL); with all clients' connections closed.  That one client
 * can't be accepted (ECONNABORTED, EMFILE, ...), or that another process has
 * accepted it, is no reason to stop, nor to sleep in accept(2).
 *
 * See poll(2), accept4(2), shutdown(2).
 */
int sock_serve(int listen_fd, sock_handler *handle, void *ctx, int stop_fd);

/* ------------------------------------------------------------------------
 * What only a Unix socket can: descriptors and credentials
 */

/*
 * Sends a descriptor, with one byte of data, which any descriptor needs that
 * goes through a stream.  The caller's stays open.
 *
 * Returns 0, or -1 with errno:
 *   EPIPE  nobody reads (any more)
 *   EBADF  fd_to_send is none
 *
 * See unix(7) SCM_RIGHTS, cmsg(3).
 */
int sock_send_fd(int fd, int fd_to_send);

/*
 * Receives one descriptor; waits for it.
 *
 * Returns it, close-on-exec, or -1 with errno; no descriptor that came is left
 * open then:
 *   EBADMSG     a byte came with no descriptor, or with more than one
 *   ECONNRESET  the stream has ended
 *
 * See recvmsg(2) MSG_CMSG_CLOEXEC and MSG_CTRUNC.
 */
int sock_recv_fd(int fd);

/*
 * Who is at the other end, as the kernel says.
 *
 * Returns 0 with *uid and *pid of the process that connected (or listened), or
 * -1 with errno:
 *   EOPNOTSUPP  fd is a socket, and no Unix socket
 *   ENOTCONN    it is not connected
 *
 * See unix(7) SO_PEERCRED.
 */
int sock_peer(int fd, uid_t *uid, pid_t *pid);

/* ------------------------------------------------------------------------
 * Remote procedure calls
 *
 * A request is a message of two unsigned 32-bit numbers in network byte order,
 * the call's id and the procedure's number, and then the arguments; a reply is
 * the call's id, a status, and then the result.  How arguments and results
 * are laid out is between caller and procedure.
 */

#define RPC_OK      0u
#define RPC_NO_PROC 1u /* no procedure has this number */
#define RPC_FAILED  2u /* it was run, and has failed */

#define RPC_MAX     (SOCK_MSG_MAX - 8) /* bytes of arguments or of a result */

/*
 * Calls a procedure and waits for its result.  A reply to another call (one
 * that was given up earlier) is skipped.  The call's id is one that no other
 * call on this connection has had, also when those were another process's.
 *
 * fd      a connection, used by no other call at the same time
 * args    args_size bytes, 0 to RPC_MAX
 * res     room for cap bytes; *res_len becomes how many came
 *
 * Returns 0, or -1 with errno; res and *res_len are unchanged then:
 *   EOPNOTSUPP  there is no such procedure
 *   EREMOTEIO   it has failed
 *   EMSGSIZE    args_size is above RPC_MAX (nothing was sent), or the result
 *               has more than cap bytes
 *   EBADMSG     the reply is too short to be one, or has an unknown status
 *   ECONNRESET  the connection ended before the whole reply had come, or
 *               nobody reads the request any more
 *   ETIMEDOUT   no reply came in time; the connection can still be used, unless
 *               only a part of the request had gone or only a part of a reply
 *               had come
 *   EINVAL      deadline_ms is below -1
 */
int rpc_call(int fd, uint32_t proc, const void *args, size_t args_size,
             void *res, size_t cap, size_t *res_len, int deadline_ms);

/*
 * A procedure: args of size bytes; room for *res_size bytes of result, which
 * becomes how many there are.  Returns 0, or -1 when it has failed.
 */
typedef int rpc_fn(const void *args, size_t size, void *res, size_t *res_size);

struct rpc_proc {
    uint32_t number;
    rpc_fn *fn;
};

/*
 * The server's half: runs the procedure that a request asks for and makes the
 * reply.  An unknown procedure and one that fails are replies as well.
 *
 * req       the request, size bytes
 * rep       room for *rep_size bytes, 8 or more; *rep_size becomes the
 *           reply's size
 *
 * Returns 0, or -1 with errno; no procedure was run and *rep_size is unchanged
 * then:
 *   EBADMSG  the request is too short to be one
 */
int rpc_dispatch(const struct rpc_proc *procs, size_t n, const void *req,
                 size_t size, void *rep, size_t *rep_size);

#endif
