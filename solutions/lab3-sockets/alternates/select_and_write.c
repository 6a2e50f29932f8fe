/*
 * Another correct solution: write(2) with SIGPIPE blocked meanwhile, and the
 * server waits with select(2).
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
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

    int bound = bind(fd, (struct sockaddr *)&address, sizeof(address));

    if (bound == -1 && errno == EADDRINUSE) {
        if (is_stale(path, &address) && unlink(path) == 0)
            bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
        else
            errno = EADDRINUSE;
    }
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

/* Writes, and takes the SIGPIPE of it away if there was none before. */
static ssize_t write_quietly(int fd, const void *data, size_t size)
{
    const struct timespec now = {0};
    sigset_t pipe_only, before, pending;
    ssize_t n;
    int saved;

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    sigprocmask(SIG_BLOCK, &pipe_only, &before);
    n = write(fd, data, size);
    saved = errno;
    if (n == -1 && saved == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_only, NULL, &now);
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return n;
}

static int send_all(int fd, const char *at, size_t size, int64_t until)
{
    while (size > 0) {
        ssize_t n = write_quietly(fd, at, size);

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
        ssize_t n = recv(fd, (char *)buf + got, size - got,
                         until == -1 ? 0 : MSG_DONTWAIT);

        if (n == 0)
            break;
        if (n > 0)
            got += (size_t)n;
        else if (errno == EAGAIN) {
            if (await_fd(fd, POLLIN, until) == -1)
                return -1;
        } else if (errno != EINTR)
            return -1;
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

int sock_send_msg(int fd, const void *msg, uint32_t size)
{
    unsigned char head[4] = {size >> 24 & 255, size >> 16 & 255,
                             size >> 8 & 255, size & 255};

    if (size == 0)
        return fail(EINVAL);
    if (send_all(fd, (char *)head, sizeof(head), -1) == -1)
        return -1;
    return send_all(fd, msg, size, -1);
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
    bool ended;                 /* it will send no more */
    size_t in_size;             /* bytes that have come */
    size_t out_size, out_first; /* bytes of replies, and the first unsent */
    unsigned char in[HEAD_BYTES + SOCK_MSG_MAX];
    unsigned char out[HEAD_BYTES + SOCK_MSG_MAX];
};

struct server {
    sock_handler *handle;
    void *ctx;
    bool full; /* another client could not be had: not at once again */
    size_t n;
    struct client *clients[SOCK_CLIENTS_MAX];
};

static bool has_output(const struct client *c)
{
    return c->out_first < c->out_size;
}

/* Each of these returns -1 when the client is to be dropped. */

static int send_output(struct client *c)
{
    while (has_output(c)) {
        ssize_t n = write_quietly(c->fd, c->out + c->out_first,
                                  c->out_size - c->out_first);

        if (n == -1)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        c->out_first += (size_t)n;
    }
    return 0;
}

static int receive_input(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_size, sizeof(c->in) - c->in_size,
                     MSG_DONTWAIT);

    if (n == -1)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        c->ended = true;
    c->in_size += (size_t)n;
    return 0;
}

/* Answers the first request, if all of it is there: 1, or 0. */
static int answer_one(const struct server *s, struct client *c)
{
    size_t rep_size = SOCK_MSG_MAX;
    uint32_t head;

    if (c->in_size < HEAD_BYTES)
        return 0;
    memcpy(&head, c->in, HEAD_BYTES);

    size_t size = ntohl(head);

    if (size == 0 || size > SOCK_MSG_MAX)
        return -1;
    if (c->in_size < HEAD_BYTES + size)
        return 0;
    if (s->handle(s->ctx, c->in + HEAD_BYTES, size, c->out + HEAD_BYTES,
                  &rep_size) == -1)
        return -1;
    c->in_size -= HEAD_BYTES + size;
    memmove(c->in, c->in + HEAD_BYTES + size, c->in_size);
    head = htonl((uint32_t)rep_size);
    memcpy(c->out, &head, HEAD_BYTES);
    c->out_first = 0;
    c->out_size = rep_size == 0 ? 0 : HEAD_BYTES + rep_size;
    return 1;
}

static int serve_client(const struct server *s, struct client *c, short events)
{
    int answered = 1;

    if (has_output(c) && send_output(c) == -1)
        return -1;
    if (!has_output(c) && !c->ended && (events & ~POLLOUT) != 0 &&
        receive_input(c) == -1)
        return -1;
    while (!has_output(c) && answered == 1) {
        answered = answer_one(s, c);
        if (answered == -1 || send_output(c) == -1)
            return -1;
    }
    return c->ended && !has_output(c) ? -1 : 0;
}

static void drop_client(struct server *s, size_t i)
{
    close(s->clients[i]->fd);
    free(s->clients[i]);
    s->clients[i] = s->clients[--s->n];
}

static int accept_client(struct server *s, int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *c = fd == -1 ? NULL : malloc(sizeof(*c));

    if (c == NULL) {
        if (fd != -1)
            close(fd);
        if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK ||
            errno == EOPNOTSUPP)
            return -1;
        s->full = errno != EAGAIN && errno != ECONNABORTED && errno != EINTR;
        return 0;
    }
    c->fd = fd;
    c->ended = false;
    c->in_size = c->out_size = c->out_first = 0;
    s->clients[s->n++] = c;
    return 0;
}

/* Waits for something to do; what each descriptor has to say. */
static int look(struct server *s, int listen_fd, int stop_fd,
                struct pollfd *polls)
{
    bool room = s->n < SOCK_CLIENTS_MAX && !s->full;
    int most = stop_fd > listen_fd ? stop_fd : listen_fd;
    struct timeval soon = {.tv_usec = 5000};
    fd_set in, out;
    int ready;

    do {
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_SET(stop_fd, &in);
        if (room)
            FD_SET(listen_fd, &in);
        for (size_t i = 0; i < s->n; i++) {
            int fd = s->clients[i]->fd;

            FD_SET(fd, has_output(s->clients[i]) ? &out : &in);
            most = fd > most ? fd : most;
        }
        ready = select(most + 1, &in, &out, NULL, s->full ? &soon : NULL);
    } while (ready == -1 && errno == EINTR);
    if (ready == -1)
        return -1;
    s->full = false;
    polls[0].revents = FD_ISSET(stop_fd, &in) ? POLLIN : 0;
    polls[1].revents = room && FD_ISSET(listen_fd, &in) ? POLLIN : 0;
    for (size_t i = 0; i < s->n; i++) {
        int fd = s->clients[i]->fd;

        polls[2 + i].revents = FD_ISSET(fd, &in)    ? POLLIN
                               : FD_ISSET(fd, &out) ? POLLOUT
                                                    : 0;
    }
    return ready;
}

int sock_serve(int listen_fd, sock_handler *handle, void *ctx, int stop_fd)
{
    struct server s = {.handle = handle, .ctx = ctx};
    struct pollfd polls[2 + SOCK_CLIENTS_MAX];
    int flags = fcntl(listen_fd, F_GETFL);
    int ret = 0;

    if (flags == -1 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return -1;
    for (;;) {
        ret = look(&s, listen_fd, stop_fd, polls);
        if (ret == -1 || polls[0].revents != 0)
            break;
        for (size_t i = s.n;
             i-- > 0;) /* the last takes a dropped one's place */
            if (polls[2 + i].revents != 0 &&
                serve_client(&s, s.clients[i], polls[2 + i].revents) == -1)
                drop_client(&s, i);
        if (polls[1].revents != 0 && accept_client(&s, listen_fd) == -1) {
            ret = -1;
            break;
        }
    }

    int saved = errno;

    while (s.n > 0)
        drop_client(&s, s.n - 1);
    fcntl(listen_fd, F_SETFL, flags);
    errno = saved;
    return ret == -1 ? -1 : 0;
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

/* write() has no flag that keeps it from sleeping: the socket needs one. */
static int send_request(int fd, const void *msg, size_t size, int64_t until)
{
    unsigned char head[4] = {0, size >> 16 & 255, size >> 8 & 255, size & 255};
    int flags = fcntl(fd, F_GETFL);
    int ret, saved;

    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
        return -1;
    ret = send_all(fd, (char *)head, sizeof(head), until);
    if (ret == 0)
        ret = send_all(fd, msg, size, until);
    saved = errno;
    fcntl(fd, F_SETFL, flags);
    errno = saved;
    return ret;
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
    if (send_request(fd, buf, RPC_HEAD + args_size, until) == -1)
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
