/*
 * Another correct solution: the server waits with epoll and keeps one reply a
 * client in memory of its own; a message is sent out of one buffer; a path is
 * looked at before it is bound.
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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fail(int err)
{
    errno = err;
    return -1;
}

static int close_and_fail(int fd)
{
    int saved = errno;

    close(fd);
    return fail(saved);
}

/* ---- deadlines ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The point in time; -1: never. */
static int64_t until_of(int deadline_ms)
{
    return deadline_ms == -1 ? -1 : now_ms() + deadline_ms;
}

/* For poll(): -1 for ever, 0 when it has passed. */
static int left_of(int64_t until)
{
    int64_t left = until == -1 ? -1 : until - now_ms();

    return until != -1 && left < 0 ? 0 : (int)left;
}

static bool has_passed(int64_t until)
{
    return left_of(until) == 0;
}

static void nap(void)
{
    const struct timespec a_moment = {.tv_nsec = 1000000};

    nanosleep(&a_moment, NULL);
}

/* Waits until the descriptor can be read or written (or has an error, which
 * the call on it will say). */
static int await_fd(int fd, short events, int64_t until)
{
    struct pollfd p = {.fd = fd, .events = events};
    int ready;

    do
        ready = poll(&p, 1, left_of(until));
    while (ready == -1 && errno == EINTR);
    return ready == 0 ? fail(ETIMEDOUT) : ready == -1 ? -1 : 0;
}

static int set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags == -1 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* One attempt to connect; the socket, blocking. */
static int connect_once(int family, const void *address, socklen_t size,
                        int64_t until)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = 0;
    socklen_t err_size = sizeof(err);

    if (fd == -1)
        return -1;
    if (connect(fd, address, size) == -1) {
        if (errno != EINPROGRESS && errno != EINTR)
            return close_and_fail(fd);
        if (await_fd(fd, POLLOUT, until) == -1)
            return close_and_fail(fd);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_size) == -1)
            return close_and_fail(fd);
        errno = err;
        if (err != 0)
            return close_and_fail(fd);
    }
    if (set_blocking(fd) == -1)
        return close_and_fail(fd);
    return fd;
}

static int unix_address(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path))
        return fail(ENAMETOOLONG);
    strcpy(address->sun_path, path);
    return 0;
}

/* Is the path that of a socket to which nobody listens? */
static bool is_stale(const char *path, const struct sockaddr_un *address)
{
    struct stat st;
    int fd;

    if (lstat(path, &st) == -1 || !S_ISSOCK(st.st_mode))
        return false;
    fd = connect_once(AF_UNIX, address, sizeof(*address), now_ms());
    if (fd == -1)
        return errno == ECONNREFUSED;
    close(fd);
    return false;
}

int sock_listen_unix(const char *path, int backlog)
{
    struct sockaddr_un address;
    int fd;

    if (unix_address(path, &address) == -1)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;

    if (is_stale(path, &address))
        unlink(path);

    int bound = bind(fd, (struct sockaddr *)&address, sizeof(address));

    if (bound == -1)
        return close_and_fail(fd);
    if (listen(fd, backlog) == -1) {
        int saved = errno;

        unlink(path);
        errno = saved;
        return close_and_fail(fd);
    }
    return fd;
}

int sock_connect_unix(const char *path, int deadline_ms)
{
    struct sockaddr_un address;
    int64_t until = until_of(deadline_ms);

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (unix_address(path, &address) == -1)
        return -1;
    for (;;) {
        int fd = connect_once(AF_UNIX, &address, sizeof(address), until);

        if (fd != -1 ||
            (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN))
            return fd;
        if (has_passed(until))
            return errno == EAGAIN ? fail(ETIMEDOUT) : -1;
        nap();
    }
}

int sock_listen_tcp(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(*port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        listen(fd, SOMAXCONN) == -1 ||
        getsockname(fd, (struct sockaddr *)&address, &size) == -1)
        return close_and_fail(fd);
    *port = ntohs(address.sin_port);
    return fd;
}

/* An attempt at a port that nobody listens at can end at the caller itself,
 * when the kernel gives it that very port as its own. */
static bool is_own_end(int fd)
{
    struct sockaddr_storage own = {0}, other = {0};
    socklen_t own_size = sizeof(own), other_size = sizeof(other);

    return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 &&
           own_size == other_size && memcmp(&own, &other, own_size) == 0;
}

/* One attempt at each address of a host. */
static int connect_any(const struct addrinfo *list, int64_t until)
{
    const int on = 1;
    int fd = -1;

    for (const struct addrinfo *a = list; a != NULL && fd == -1; a = a->ai_next)
        fd = connect_once(a->ai_family, a->ai_addr, a->ai_addrlen, until);
    if (fd != -1 && is_own_end(fd)) {
        close(fd);
        return fail(ECONNREFUSED);
    }
    if (fd != -1 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1)
        return close_and_fail(fd);
    return fd;
}

int sock_connect_tcp(const char *host, uint16_t port, int deadline_ms)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV};
    int64_t until = until_of(deadline_ms);
    struct addrinfo *list;
    char service[8];
    int fd;

    if (deadline_ms < -1)
        return fail(EINVAL);
    snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0)
        return fail(EHOSTUNREACH);
    while ((fd = connect_any(list, until)) == -1 && errno == ECONNREFUSED &&
           !has_passed(until))
        nap();

    int saved = errno;

    freeaddrinfo(list);
    errno = saved;
    return fd;
}

static int send_all(int fd, const char *at, size_t size, int64_t until)
{
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n == -1 && errno == EAGAIN)
            n = await_fd(fd, POLLOUT, until);
        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* Receives size bytes, or fewer at the end of the stream: how many. */
static ssize_t receive_all(int fd, void *buf, size_t size, int64_t until)
{
    size_t got = 0;

    while (got < size) {
        if (await_fd(fd, POLLIN, until) == -1)
            return -1;

        ssize_t n = read(fd, (char *)buf + got, size - got);

        if (n == 0)
            break;
        if (n == -1 && errno != EINTR && errno != EAGAIN)
            return -1;
        if (n > 0)
            got += (size_t)n;
    }
    return (ssize_t)got;
}

/* Receives and drops; as receive_all(). */
static ssize_t drop(int fd, size_t size, int64_t until)
{
    char buf[4096];
    size_t dropped = 0;

    while (dropped < size) {
        size_t piece =
            size - dropped < sizeof(buf) ? size - dropped : sizeof(buf);
        ssize_t n = receive_all(fd, buf, piece, until);

        if (n == -1)
            return -1;
        dropped += (size_t)n;
        if ((size_t)n < piece)
            break;
    }
    return (ssize_t)dropped;
}

static int send_msg_until(int fd, const void *msg, uint32_t size, int64_t until)
{
    uint32_t head = htonl(size);
    char *all;
    int ret, saved;

    all = malloc(sizeof(head) + (size_t)size);
    if (all == NULL)
        return -1;
    memcpy(all, &head, sizeof(head));
    memcpy(all + sizeof(head), msg, size);
    ret = send_all(fd, all, sizeof(head) + (size_t)size, until);
    saved = errno;
    free(all);
    errno = saved;
    return ret;
}

int sock_send_msg(int fd, const void *msg, uint32_t size)
{
    return size == 0 ? fail(EINVAL) : send_msg_until(fd, msg, size, -1);
}

ssize_t sock_recv_msg(int fd, void *msg, size_t cap, int deadline_ms)
{
    int64_t until = until_of(deadline_ms);
    uint32_t head;
    ssize_t n;

    if (deadline_ms < -1)
        return fail(EINVAL);
    n = receive_all(fd, &head, sizeof(head), until);
    if (n == 0)
        errno = 0;
    if (n <= 0)
        return n;

    uint32_t size = ntohl(head);

    if (n < (ssize_t)sizeof(head) || size == 0)
        return fail(EPROTO);
    if (size > cap)
        n = drop(fd, size, until);
    else
        n = receive_all(fd, msg, size, until);
    if (n == -1)
        return -1;
    if (n < (ssize_t)size)
        return fail(EPROTO);
    return size > cap ? fail(EMSGSIZE) : n;
}

#define HEAD_BYTES 4

struct client {
    int fd;
    size_t in_size;             /* bytes that have come */
    size_t out_size, out_first; /* bytes of replies, and the first unsent */
    unsigned char in[HEAD_BYTES + SOCK_MSG_MAX];
    unsigned char out[HEAD_BYTES + SOCK_MSG_MAX];
};

static bool has_output(const struct client *c)
{
    return c->out_first < c->out_size;
}

static int send_output(struct client *c)
{
    while (has_output(c)) {
        ssize_t n = send(c->fd, c->out + c->out_first,
                         c->out_size - c->out_first, MSG_NOSIGNAL);

        if (n == -1 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n == -1)
            return -1;
        c->out_first += (size_t)n;
    }
    return 0;
}

/* What can be done for a client now, up to one reply: then it is the others'
 * turn.  -1 when the client is to be dropped. */
static int serve_client(struct client *c, sock_handler *handle, void *ctx)
{
    for (;;) {
        uint32_t head = 0;
        size_t size, rep_size = SOCK_MSG_MAX;

        if (send_output(c) == -1)
            return -1;
        if (has_output(c))
            return 0;
        if (c->in_size >= HEAD_BYTES)
            memcpy(&head, c->in, HEAD_BYTES);
        size = ntohl(head);
        if (c->in_size >= HEAD_BYTES && (size == 0 || size > SOCK_MSG_MAX))
            return -1;
        if (c->in_size < HEAD_BYTES || c->in_size < HEAD_BYTES + size) {
            size_t wanted =
                (c->in_size < HEAD_BYTES ? HEAD_BYTES : HEAD_BYTES + size) -
                c->in_size;
            ssize_t n = recv(c->fd, c->in + c->in_size, wanted, 0);

            if (n == 0)
                return -1;
            if (n == -1 && errno == EINTR)
                continue;
            if (n == -1)
                return errno == EAGAIN ? 0 : -1;
            c->in_size += (size_t)n;
            continue;
        }
        if (handle(ctx, c->in + HEAD_BYTES, size, c->out + HEAD_BYTES,
                   &rep_size) == -1)
            return -1;
        c->in_size = 0;
        head = htonl((uint32_t)rep_size);
        memcpy(c->out, &head, HEAD_BYTES);
        c->out_first = 0;
        c->out_size = rep_size == 0 ? 0 : HEAD_BYTES + rep_size;
        return send_output(c);
    }
}

/* Does not sleep, also when the client that was there has gone. */
static int accept_now(int listen_fd)
{
    int flags = fcntl(listen_fd, F_GETFL);
    int fd, saved;

    if (flags == -1 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return -1;
    fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    saved = errno;
    fcntl(listen_fd, F_SETFL, flags);
    errno = saved;
    return fd;
}

static int watch(int poll_fd, int op, int fd, uint32_t events, void *who)
{
    struct epoll_event e = {.events = events, .data.ptr = who};

    return epoll_ctl(poll_fd, op, fd, &e);
}

int sock_serve(int listen_fd, sock_handler *handle, void *ctx, int stop_fd)
{
    struct client *clients[SOCK_CLIENTS_MAX], *done;
    int listener, stop; /* only their addresses count */
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e;
    size_t n = 0;
    bool listening = true, stopped = false;
    int saved;

    if (poll_fd == -1)
        return -1;
    if (watch(poll_fd, EPOLL_CTL_ADD, listen_fd, EPOLLIN, &listener) == -1 ||
        watch(poll_fd, EPOLL_CTL_ADD, stop_fd, EPOLLIN, &stop) == -1)
        return close_and_fail(poll_fd);
    errno = 0;
    while (!stopped) {
        int ready = epoll_wait(poll_fd, &e, 1, listening ? -1 : 20);

        done = NULL;
        if (ready == -1 && errno != EINTR)
            break;
        if (ready == 1 && e.data.ptr == &stop) {
            stopped = true;
        } else if (ready == 1 && e.data.ptr == &listener) {
            int fd = n == SOCK_CLIENTS_MAX ? -1 : accept_now(listen_fd);
            struct client *c = fd == -1 ? NULL : calloc(1, sizeof(*c));

            if (c != NULL) {
                c->fd = fd;
                clients[n++] = c;
                if (watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, c) == -1)
                    done = c;
            } else if (fd != -1) {
                close(fd);
            } else if (n < SOCK_CLIENTS_MAX &&
                       (errno == EBADF || errno == EINVAL)) {
                break;
            } else {
                watch(poll_fd, EPOLL_CTL_MOD, listen_fd, 0, &listener);
                listening = false;
            }
        } else if (ready == 1) {
            struct client *c = e.data.ptr;

            if (serve_client(c, handle, ctx) == -1 ||
                watch(poll_fd, EPOLL_CTL_MOD, c->fd,
                      has_output(c) ? EPOLLOUT : EPOLLIN, c) == -1)
                done = c;
        }
        for (size_t i = 0; i < n && done != NULL; i++)
            if (clients[i] == done) {
                close(done->fd);
                free(done);
                clients[i] = clients[--n];
                break;
            }
        if (!listening && (ready == 0 || done != NULL) &&
            n < SOCK_CLIENTS_MAX) {
            watch(poll_fd, EPOLL_CTL_MOD, listen_fd, EPOLLIN, &listener);
            listening = true;
        }
    }
    saved = errno;
    for (size_t i = 0; i < n; i++) {
        close(clients[i]->fd);
        free(clients[i]);
    }
    close(poll_fd);
    errno = saved;
    return stopped ? 0 : -1;
}

int sock_send_fd(int fd, int fd_to_send)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    char byte = 'F';
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd_to_send, sizeof(int));
    while (sendmsg(fd, &msg, MSG_NOSIGNAL) == -1) {
        if (errno == EAGAIN && await_fd(fd, POLLOUT, -1) == -1)
            return -1;
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
    return 0;
}

/* Takes the descriptors out of a message; returns how many, the first in
 * *first.  The others are closed. */
static size_t take_descriptors(struct msghdr *msg, int *first)
{
    size_t taken = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
         c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;

        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (taken++ == 0)
                *first = fd;
            else
                close(fd);
        }
    }
    return taken;
}

int sock_recv_fd(int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control;
    char byte;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg;
    int first = -1;
    ssize_t n;

    for (;;) {
        msg = (struct msghdr){.msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes)};
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
        if (n >= 0)
            break;
        if (errno == EAGAIN && await_fd(fd, POLLIN, -1) == -1)
            return -1;
        if (errno != EINTR && errno != EAGAIN)
            return -1;
    }

    size_t taken = take_descriptors(&msg, &first);

    if (n > 0 && taken == 1 && (msg.msg_flags & MSG_CTRUNC) == 0)
        return first;
    if (taken > 0)
        close(first);
    return fail(n == 0 ? ECONNRESET : EBADMSG);
}

int sock_peer(int fd, uid_t *uid, pid_t *pid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    int domain;
    socklen_t domain_size = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) == -1)
        return -1;
    if (domain != AF_UNIX)
        return fail(EOPNOTSUPP);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == -1)
        return -1;
    if (peer.pid == 0)
        return fail(ENOTCONN);
    *uid = peer.uid;
    *pid = peer.pid;
    return 0;
}

#define RPC_HEAD 8

static void put_head(unsigned char *to, uint32_t id, uint32_t number)
{
    uint32_t head[2] = {htonl(id), htonl(number)};

    memcpy(to, head, RPC_HEAD);
}

static void get_head(const void *from, uint32_t *id, uint32_t *number)
{
    uint32_t head[2];

    memcpy(head, from, RPC_HEAD);
    *id = ntohl(head[0]);
    *number = ntohl(head[1]);
}

/* Of another process, too, that uses the connection before or after. */
static uint32_t new_id(void)
{
    static uint32_t calls;

    return (uint32_t)getpid() * 0x9e3779b1u + ++calls;
}

/* Receives the reply to call `id`; its size. */
static ssize_t await_reply(int fd, uint32_t id, void *reply, int64_t until)
{
    for (;;) {
        uint32_t reply_id, status;
        ssize_t n = sock_recv_msg(fd, reply, SOCK_MSG_MAX, left_of(until));

        if (n == 0)
            return fail(ECONNRESET);
        if (n == -1)
            return errno == EPROTO ? fail(ECONNRESET) : -1;
        if (n < RPC_HEAD)
            return fail(EBADMSG);
        get_head(reply, &reply_id, &status);
        if (reply_id == id)
            return n;
    }
}

int rpc_call(int fd, uint32_t proc, const void *args, size_t args_size,
             void *res, size_t cap, size_t *res_len, int deadline_ms)
{
    unsigned char buf[SOCK_MSG_MAX];
    int64_t until = until_of(deadline_ms);
    uint32_t id, status;
    ssize_t n;

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (args_size > RPC_MAX)
        return fail(EMSGSIZE);
    id = new_id();
    put_head(buf, id, proc);
    if (args_size > 0)
        memcpy(buf + RPC_HEAD, args, args_size);
    if (send_msg_until(fd, buf, (uint32_t)(RPC_HEAD + args_size), until) == -1)
        return errno == EPIPE ? fail(ECONNRESET) : -1;
    n = await_reply(fd, id, buf, until);
    if (n == -1)
        return -1;
    get_head(buf, &id, &status);
    if (status != RPC_OK)
        return fail(status == RPC_NO_PROC  ? EOPNOTSUPP
                    : status == RPC_FAILED ? EREMOTEIO
                                           : EBADMSG);

    size_t size = (size_t)n - RPC_HEAD;

    if (size > cap)
        return fail(EMSGSIZE);
    if (size > 0)
        memcpy(res, buf + RPC_HEAD, size);
    *res_len = size;
    return 0;
}

int rpc_dispatch(const struct rpc_proc *procs, size_t n, const void *req,
                 size_t size, void *rep, size_t *rep_size)
{
    uint32_t id, number, status = RPC_NO_PROC;
    size_t res_size = *rep_size - RPC_HEAD;

    if (size < RPC_HEAD)
        return fail(EBADMSG);
    get_head(req, &id, &number);
    for (size_t i = 0; i < n && status == RPC_NO_PROC; i++)
        if (procs[i].number == number)
            status = procs[i].fn((const char *)req + RPC_HEAD, size - RPC_HEAD,
                                 (char *)rep + RPC_HEAD, &res_size) == 0
                         ? RPC_OK
                         : RPC_FAILED;
    put_head(rep, id, status);
    *rep_size = RPC_HEAD + (status == RPC_OK ? res_size : 0);
    return 0;
}
