/* drive_sockets.c - lab 3: messages on a connection, which carries them both
 * ways; on this machine by a path, and by TCP over the loopback. */
#include "bench.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"

/* Both processes write a path of their own to /tmp, or where TMPDIR says. */
static char path[100];

static uint16_t *port; /* shared: the client listens, the server connects */
static int fd = -1, listener = -1;

static int prepare_unix(const struct route *r)
{
    const char *folder = getenv("TMPDIR");

    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "/tmp", r->name);
    return 0;
}

static int prepare_tcp(const struct route *r)
{
    (void)r;
    port = shared_memory(sizeof(*port));
    return 0;
}

/* The first message accepts: both processes open in turn, and a connection is
 * made before it is accepted. */
static int connection(void)
{
    if (fd == -1) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1)
            return not_ready("accept4");
        /* What the lab's connect asks of the other end; not of Unix sockets. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    return fd;
}

static int open_unix(const struct route *r)
{
    (void)r;
    if (side == CLIENT)
        listener = LAB(sock_listen_unix, path, 1);
    else
        fd = LAB(sock_connect_unix, path, -1);
    return fd == -1 && listener == -1 ? lab_failed() : 0;
}

static int open_tcp(const struct route *r)
{
    (void)r;
    if (side == CLIENT)
        listener = LAB(sock_listen_tcp, port);
    else
        fd = LAB(sock_connect_tcp, "127.0.0.1", *port, -1);
    return fd == -1 && listener == -1 ? lab_failed() : 0;
}

static int send_socket(const struct route *r)
{
    int to = connection();

    if (to == -1)
        return -1;
    if (LAB(sock_send_msg, to, own_place(r), (uint32_t)r->size) == -1)
        return lab_failed();
    return 0;
}

static const void *receive_socket(const struct route *r)
{
    int from = connection();
    ssize_t n;

    if (from == -1)
        return NULL;
    n = LAB(sock_recv_msg, from, own_room(r), r->size, -1);
    return right_size(n, r->size) == -1 ? NULL : own_room(r);
}

static void remove_unix(const struct route *r)
{
    (void)r;
    unlink(path);
}

static const struct mechanism unix_socket = {
    .name = "unix_socket",
    .prepare = prepare_unix,
    .open = open_unix,
    .place = own_place,
    .send = send_socket,
    .receive = receive_socket,
    .release = own_release,
    .remove = remove_unix,
};

static const struct mechanism tcp = {
    .name = "tcp",
    .prepare = prepare_tcp,
    .open = open_tcp,
    .place = own_place,
    .send = send_socket,
    .receive = receive_socket,
    .release = own_release,
};

const struct mechanism *const mechanisms[] = {&unix_socket, &tcp, NULL};
