/*
 * test_sockets.c - the tests of lab 3.
 *
 * The judge is the other side: a client or a server that is slow, silent,
 * half closed or gone, just when it shows.  Unix sockets lie in a directory of
 * the test's own; TCP ports are those that the kernel has chosen.
 */
#include "kit.h"
#include "sockets.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

/* ------------------------------------------------------------------------
 * Group local: Unix sockets
 */

HELPER bool has_timeout(int fd, int option)
{
    struct timeval t = {0};
    socklen_t size = sizeof(t);

    return getsockopt(fd, SOL_SOCKET, option, &t, &size) == 0 &&
           (t.tv_sec != 0 || t.tv_usec != 0);
}

/* What is to be known of a descriptor that was made. */
HELPER void tell_flags(int fd)
{
    tell_int("cloexec", (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    tell_int("blocking", (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    tell_int("limited",
             has_timeout(fd, SO_SNDTIMEO) || has_timeout(fd, SO_RCVTIMEO));
}

/* Accepts one client with libc's functions and reads a byte of it. */
HELPER void accept_one(int fd)
{
    char byte = 0;
    int client = accept(fd, NULL, NULL);

    if (client == -1)
        return;
    if (read(client, &byte, 1) == 1)
        tell_int("byte", byte);
    close(client);
}

SCENARIO(listen_unix)
{
    int fd = CALL("listen", sock_listen_unix(given_str("path"), 5));

    if (fd == -1)
        return;
    tell_flags(fd);
    accept_one(fd);
    close(fd);
}

/* No client is waited for. */
SCENARIO(listen_unix_only)
{
    int fd = CALL("listen", sock_listen_unix(given_str("path"), 5));

    if (fd != -1)
        close(fd);
}

HELPER void use_connection(int fd)
{
    if (fd == -1)
        return;
    tell_flags(fd);
    if (write(fd, "y", 1) == 1)
        reached("written");
    close(fd);
}

SCENARIO(connect_unix)
{
    use_connection(
        CALL("connect",
             sock_connect_unix(given_str("path"), (int)given_int("deadline"))));
}

HELPER struct sockaddr_un unix_name(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    REQUIRE(strlen(path) < sizeof(name.sun_path));
    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    return name;
}

HELPER const char *path_in(const char *dir)
{
    static char path[108];

    snprintf(path, sizeof(path), "%s/s", dir);
    judges_name('f', path);
    return path;
}

HELPER int new_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    REQUIRE(fd != -1);
    return judges_fd(fd);
}

/* The judge listens at that path. */
HELPER int listen_with(int type, const char *path, int backlog)
{
    struct sockaddr_un name = unix_name(path);
    int fd = judges_fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));

    REQUIRE(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    REQUIRE(listen(fd, backlog) == 0);
    return fd;
}

HELPER int listen_at(const char *path, int backlog)
{
    return listen_with(SOCK_STREAM, path, backlog);
}

/* The judge connects to that path; the backlog has room. */
HELPER int connect_to(const char *path)
{
    struct sockaddr_un name = unix_name(path);
    int fd = new_socket(AF_UNIX);

    EXPECT(connect(fd, (struct sockaddr *)&name, sizeof(name)) == 0,
           "a server that can be connected to at its path", "connect gives %s",
           errno_name(errno));
    return fd;
}

/* A path at which a server has been that is no more. */
HELPER const char *stale_path(void)
{
    const char *path = path_in(new_dir());
    int fd = listen_at(path, 1);

    shut(&fd);
    return path;
}

/* Connects until nobody can any more. */
HELPER void fill_backlog(const char *path)
{
    struct sockaddr_un name = unix_name(path);

    for (int i = 0; i < 10; i++) {
        int fd = judges_fd(
            socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) == -1)
            return;
    }
    REQUIRE(!"a backlog that can be filled");
}

/* Accepts a client of the judge's listener and reads the byte that
 * use_connection() writes. */
HELPER void expect_client(struct subject *s, int listener)
{
    char byte = 0;
    int fd;

    await(s, "written");
    fd = accept(listener, NULL, NULL);
    REQUIRE(fd != -1);
    judges_fd(fd);
    EXPECT(peer_read(fd, &byte, 1) == 1 && byte == 'y', "a byte of the client",
           "none");
}

HELPER ino_t inode_of(const char *path)
{
    struct stat st;

    return lstat(path, &st) == -1 ? 0 : st.st_ino;
}

HELPER void expect_flags(struct subject *s)
{
    EXPECT(got_int(s, "cloexec") == 1, "a descriptor that is close-on-exec",
           "it stays open in programs that are executed");
    EXPECT(got_int(s, "blocking") == 1, "a descriptor in blocking mode",
           "it is O_NONBLOCK");
    EXPECT(got_int(s, "limited") == 0, "a descriptor without a time-out",
           "SO_SNDTIMEO or SO_RCVTIMEO is set: each later send or recv fails "
           "with EAGAIN after that time");
}

TEST(local, a_server_listens_at_its_path)
{
    const char *path = path_in(new_dir());
    struct subject *s = START(listen_unix, STR("path", path));

    await(s, "listen");
    expect_at_least(s, "listen", 0);
    int fd = connect_to(path);
    peer_write(fd, "x", 1);
    finish(s);
    expect_int(s, "byte", 'x');
    expect_flags(s);
}

TEST(local, a_path_that_nobody_listens_at_is_replaced)
{
    const char *path = stale_path();
    struct subject *s = START(listen_unix, STR("path", path));

    await(s, "listen");
    expect_at_least(s, "listen", 0);
    int fd = connect_to(path);
    peer_write(fd, "x", 1);
    finish(s);
    expect_int(s, "byte", 'x');
}

TEST(local, a_live_server_keeps_its_path)
{
    const char *path = path_in(new_dir());
    int live = listen_at(path, 5);
    ino_t inode = inode_of(path);
    struct subject *s = START(listen_unix_only, STR("path", path));

    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    EXPECT(inode_of(path) == inode, "the live server's socket at the path",
           "another one, or none: its clients can not find it any more");
    connect_to(path);
    EXPECT(accept(live, NULL, NULL) != -1, "a live server that still serves",
           "it does not");
    expect_nothing_left(s);
    path = path_in(new_dir());
    listen_with(SOCK_SEQPACKET, path, 5);
    inode = inode_of(path);
    s = START(listen_unix_only, STR("path", path));
    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    EXPECT(inode_of(path) == inode, "the live server's socket at the path",
           "another one, or none: connect says EPROTOTYPE for a server whose "
           "sockets are of another type (SOCK_SEQPACKET)");
}

TEST(local, a_busy_server_is_alive)
{
    const char *path = path_in(new_dir());

    listen_at(path, 0);
    fill_backlog(path);
    ino_t inode = inode_of(path);
    struct subject *s = START(listen_unix_only, STR("path", path));
    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    EXPECT(inode_of(path) == inode, "the live server's socket at the path",
           "another one, or none");
}

TEST(local, what_is_no_socket_stays)
{
    const char *path = new_file("precious", 8);
    struct subject *s = START(listen_unix_only, STR("path", path));
    struct stat st;

    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    EXPECT(lstat(path, &st) == 0 && st.st_size == 8, "the file as it was",
           "it is gone");
}

TEST(local, a_path_that_does_not_fit_is_refused)
{
    const char *dir = new_dir();
    char path[300];

    for (size_t size = 107; size <= 200; size += size == 107 ? 1 : 92) {
        snprintf(path, sizeof(path), "%s/", dir);
        memset(path + strlen(path), 'x', sizeof(path) - strlen(path));
        path[size] = '\0';
        judges_name('f', path);
        struct subject *s = START(listen_unix_only, STR("path", path));
        finish(s);
        if (size < 108)
            expect_at_least(s, "listen", 0);
        else
            expect_error(s, "listen", ENAMETOOLONG);
    }
    struct subject *s =
        START(connect_unix, STR("path", path), INT("deadline", -1));
    finish(s);
    expect_error(s, "connect", ENAMETOOLONG);
}

TEST(local, a_listen_that_fails_leaves_nothing)
{
    const char *path = path_in(new_dir());
    struct subject *s = START(listen_unix_only, STR("path", path),
                              FAIL("listen", 1, 1, ENOBUFS));

    finish(s);
    expect_error(s, "listen", ENOBUFS);
    EXPECT(inode_of(path) == 0, "no socket at the path",
           "one to which nobody listens");
    expect_nothing_left(s);
    s = START(listen_unix_only, STR("path", path), FAIL("bind", 1, 9, EACCES));
    finish(s);
    expect_error(s, "listen", EACCES);
    expect_nothing_left(s);
}

TEST(local, a_client_connects)
{
    const char *path = path_in(new_dir());
    int listener = listen_at(path, 5);

    for (int ms = 0; ms <= 600000; ms += 600000) {
        struct subject *s =
            START(connect_unix, STR("path", path), INT("deadline", ms));

        finish(s);
        expect_at_least(s, "connect", 0);
        expect_client(s, listener);
        expect_flags(s);
    }
}

TEST(local, a_client_may_be_first)
{
    const char *path = path_in(new_dir());

    for (int round = 0; round < 2; round++) { /* the second: a stale path */
        struct subject *s =
            START(connect_unix, STR("path", path), INT("deadline", -1));

        await_asleep(s);
        EXPECT(!was_told(s, "connect"), "a client that waits for its server",
               "sock_connect_unix returned %lld with errno %s",
               got_int(s, "connect"), errno_name(got_errno(s, "connect")));
        if (round == 1)
            unlink(path);
        int listener = listen_at(path, 5);
        finish(s);
        expect_at_least(s, "connect", 0);
        expect_client(s, listener);
        shut(&listener);
    }
}

TEST(local, a_client_gives_up_at_the_deadline)
{
    const char *path = path_in(new_dir());

    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s =
            START(connect_unix, STR("path", path), INT("deadline", ms));
        finish(s);
        expect_error(s, "connect", ENOENT);
        expect_nothing_left(s);
    }
    path = stale_path();
    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s =
            START(connect_unix, STR("path", path), INT("deadline", ms));
        finish(s);
        expect_error(s, "connect", ECONNREFUSED);
        expect_nothing_left(s);
    }
    struct subject *s = START(connect_unix, STR("path", path),
                              INT("deadline", BELOW_FOR_EVER_MS));
    finish(s);
    expect_error(s, "connect", EINVAL);
}

TEST(local, a_full_backlog_is_not_waited_for_for_ever)
{
    const char *path = path_in(new_dir());

    listen_at(path, 0);
    fill_backlog(path);
    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s =
            START(connect_unix, STR("path", path), INT("deadline", ms));
        finish(s);
        expect_error(s, "connect", ETIMEDOUT);
        expect_nothing_left(s);
    }
}

/* ------------------------------------------------------------------------
 * Group tcp
 */

SCENARIO(listen_tcp)
{
    uint16_t port = (uint16_t)given_int("port");
    int fd = CALL("listen", sock_listen_tcp(&port));

    tell_int("port", port);
    if (fd == -1)
        return;
    tell_flags(fd);
    accept_one(fd);
    close(fd);
}

/* The server closes the connection first, which leaves its port in the state
 * TIME_WAIT. */
SCENARIO(listen_and_hang_up)
{
    uint16_t port = (uint16_t)given_int("port");
    int fd = CALL("listen", sock_listen_tcp(&port));

    tell_int("port", port);
    if (fd == -1)
        return;
    reached("listens");

    int client = accept(fd, NULL, NULL);

    close(client);
    close(fd);
}

SCENARIO(listen_tcp_only)
{
    uint16_t port = (uint16_t)given_int("port");
    int fd = CALL("listen", sock_listen_tcp(&port));

    tell_int("port", port);
    if (fd != -1)
        close(fd);
}

SCENARIO(connect_tcp)
{
    int fd = CALL("connect", sock_connect_tcp(given_str("host"),
                                              (uint16_t)given_int("port"),
                                              (int)given_int("deadline")));
    int on = -1;
    socklen_t size = sizeof(on);

    if (fd == -1)
        return;
    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size);
    tell_int("nodelay", on != 0);
    use_connection(fd);
}

/* Such a port shows nobody who forgets htons. */
HELPER bool is_the_same_in_either_order(int port)
{
    return port / 256 == port % 256;
}

/* A port of 127.0.0.1 that is the judge's; nobody listens yet. */
HELPER int new_port(uint16_t *port)
{
    struct sockaddr_in name;
    socklen_t size = sizeof(name);
    int fd;

    do { /* the last one stays bound, and is not given again */
        name = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        fd = new_socket(AF_INET);
        REQUIRE(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
        REQUIRE(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
        *port = ntohs(name.sin_port);
    } while (is_the_same_in_either_order(*port));
    return fd;
}

HELPER int listening_port(uint16_t *port, int backlog)
{
    int fd = new_port(port);

    REQUIRE(listen(fd, backlog) == 0);
    return fd;
}

/* The judge connects to 127.0.0.LAST; the error, or 0. */
HELPER int connect_to_port(int port, int last, int *fd)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr =
                                   htonl(0x7f000000u + (uint32_t)last)};

    *fd = new_socket(AF_INET);
    return connect(*fd, (struct sockaddr *)&name, sizeof(name)) == 0 ? 0
                                                                     : errno;
}

#define START_CONNECT(host_, port_, ms)                        \
    START(connect_tcp, STR("host", host_), INT("port", port_), \
          INT("deadline", ms))

TEST(tcp, a_server_listens_and_tells_its_port)
{
    int port, fd;

    do {
        struct subject *s = START(listen_tcp, INT("port", 0));

        await(s, "port");
        expect_at_least(s, "listen", 0);
        port = (int)got_int(s, "port");
        EXPECT(port > 0, "the port that the kernel has chosen, in *port", "%d",
               port);
        int err = connect_to_port(port, 1, &fd);
        EXPECT(err == 0, "a server at this port of 127.0.0.1",
               "connect to port %d gives %s", port, errno_name(err));
        peer_write(fd, "x", 1);
        finish(s);
        expect_int(s, "byte", 'x');
        expect_flags(s);
    } while (is_the_same_in_either_order(port));
}

TEST(tcp, it_listens_for_this_machine_only)
{
    struct subject *s = START(listen_tcp, INT("port", 0));
    int fd;

    await(s, "port");
    expect_at_least(s, "listen", 0);
    int port = (int)got_int(s, "port");
    EXPECT(connect_to_port(port, 2, &fd) != 0, "a server at 127.0.0.1 only",
           "it answers at 127.0.0.2 as well: it listens at every address of "
           "the machine, and anybody on the net can connect");
    REQUIRE(connect_to_port(port, 1, &fd) == 0);
    peer_write(fd, "x", 1);
    finish(s);
}

TEST(tcp, a_port_that_is_taken_is_refused)
{
    uint16_t port;

    listening_port(&port, 1);
    struct subject *s = START(listen_tcp_only, INT("port", port));
    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    expect_int(s, "port", port);
    expect_nothing_left(s);
    struct subject *first = START(listen_tcp, INT("port", 0));
    int fd, taken;
    await(first, "port");
    expect_at_least(first, "listen", 0);
    taken = (int)got_int(first, "port");
    s = START(listen_tcp_only, INT("port", taken));
    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    REQUIRE(connect_to_port(taken, 1, &fd) == 0);
    peer_write(fd, "x", 1);
    finish(first);
    s = START(listen_tcp_only, INT("port", 0),
              FAIL("listen", 1, 1, EADDRINUSE));
    finish(s);
    expect_error(s, "listen", EADDRINUSE);
    EXPECT(got_int(s, "port") == 0, "*port unchanged when listen(2) fails",
           "it is %lld", got_int(s, "port"));
    expect_nothing_left(s);
}

TEST(tcp, a_server_can_be_started_again_at_once)
{
    struct subject *s = START(listen_and_hang_up, INT("port", 0));
    int fd;

    await(s, "port");
    expect_at_least(s, "listen", 0);
    int port = (int)got_int(s, "port");
    REQUIRE(connect_to_port(port, 1, &fd) == 0);
    finish(s);
    peer_expect_eof(fd);
    shut(&fd);
    s = START(listen_tcp_only, INT("port", port));
    finish(s);
    expect_at_least(s, "listen", 0);
    expect_int(s, "port", port);
}

TEST(tcp, a_client_connects_by_address_and_by_name)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    uint16_t port;
    int listener = listening_port(&port, 5);
    struct addrinfo *list = NULL;
    bool localhost_is_in_etc_hosts =
        getaddrinfo("localhost", NULL, NULL, &list) == 0;

    REQUIRE(localhost_is_in_etc_hosts); /* or right code would fail */
    freeaddrinfo(list);
    for (int i = 0; i < 4; i++) {
        struct subject *s =
            START_CONNECT(hosts[i % 2], port, i < 2 ? 0 : 600000);
        finish(s);
        expect_at_least(s, "connect", 0);
        expect_client(s, listener);
        expect_flags(s);
    }
}

TEST(tcp, a_client_connects_by_ipv6)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6,
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t size = sizeof(name);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint16_t port = 0;

    if (fd != -1)
        judges_fd(fd);
    if (fd == -1 || bind(fd, (struct sockaddr *)&name, sizeof(name)) == -1) {
        fd = listening_port(&port, 5); /* a machine without IPv6 */
    } else {
        REQUIRE(listen(fd, 5) == 0);
        REQUIRE(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
    }
    struct subject *s = port != 0
                            ? START_CONNECT("127.0.0.1", port, 0)
                            : START_CONNECT("::1", ntohs(name.sin6_port), 0);
    finish(s);
    expect_at_least(s, "connect", 0);
    expect_client(s, fd);
}

TEST(tcp, a_client_waits_for_its_server)
{
    uint16_t port;
    int fd = new_port(&port);
    struct subject *s = START_CONNECT("127.0.0.1", port, -1);

    await_asleep(s);
    EXPECT(!was_told(s, "connect"), "a client that waits for its server",
           "sock_connect_tcp returned %lld with errno %s",
           got_int(s, "connect"), errno_name(got_errno(s, "connect")));
    REQUIRE(listen(fd, 5) == 0);
    finish(s);
    expect_at_least(s, "connect", 0);
    expect_client(s, fd);
}

TEST(tcp, a_client_gives_up)
{
    uint16_t port;

    new_port(&port);
    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s = START_CONNECT("127.0.0.1", port, ms);
        finish(s);
        expect_error(s, "connect", ECONNREFUSED);
        expect_nothing_left(s);
    }
    struct subject *s = START_CONNECT("127.0.0.1", port, BELOW_FOR_EVER_MS);
    finish(s);
    expect_error(s, "connect", EINVAL);
}

/* The server's queue is full: the kernel does not answer. */
TEST(tcp, a_server_that_does_not_answer_is_not_waited_for_for_ever)
{
    uint16_t port;

    listening_port(&port, 0);
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in name = {.sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = judges_fd(
            socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        connect(fd, (struct sockaddr *)&name, sizeof(name));
        if (i == 0)
            REQUIRE(poll(&p, 1, 1000) == 1);
        else
            REQUIRE(poll(&p, 1, 0) == 0);
    }
    struct subject *s = START_CONNECT("127.0.0.1", port, 60);
    finish(s);
    expect_error(s, "connect", ETIMEDOUT);
    expect_nothing_left(s);
}

TEST(tcp, a_host_that_does_not_exist_is_told)
{
    char host[100];

    memset(host, 'a', 70); /* a label has at most 63 bytes: RFC 1035 */
    snprintf(host + 70, sizeof(host) - 70, ".invalid");
    struct subject *s = START_CONNECT(host, 80, -1);
    finish(s);
    expect_error(s, "connect", EHOSTUNREACH);
    expect_nothing_left(s);
}

TEST(tcp, small_messages_go_at_once)
{
    uint16_t port;
    int listener = listening_port(&port, 5);
    struct subject *s = START_CONNECT("127.0.0.1", port, -1);

    finish(s);
    expect_at_least(s, "connect", 0);
    expect_client(s, listener);
    EXPECT(got_int(s, "nodelay") == 1, "TCP_NODELAY set",
           "it is not: a small message waits until the one before it is "
           "acknowledged");
}

/* ------------------------------------------------------------------------
 * Group msg
 */

SCENARIO(send_msg)
{
    int fd = given_fd("fd");
    size_t size;
    const void *data = given_bytes("data", &size);

    CALL("send", sock_send_msg(fd, data, (uint32_t)size));
    tell_int("nonblocking", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

/* A call that has failed before leaves its errno. */
#define CALL_AFTER_AN_ERROR(name, expr) \
    (errno = ENOENT, call_int((name), #expr, (long long)(expr)))

/* Receives n messages, or until it has to stop. */
SCENARIO(recv_msgs)
{
    static char buf[1 << 16];
    int fd = given_fd("fd");

    for (int i = 1; i <= given_int("n"); i++) {
        char name[32];
        ssize_t n;

        snprintf(name, sizeof(name), "recv %d", i);
        n = CALL_AFTER_AN_ERROR(name,
                                sock_recv_msg(fd, buf, (size_t)given_int("cap"),
                                              (int)given_int("deadline")));
        tell_int("nonblocking", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        if (n < 0 && errno == ENOSYS)
            return;
        snprintf(name, sizeof(name), "msg %d", i);
        if (n > 0)
            tell_bytes(name, buf, (size_t)n);
    }
}

/* Once more, when it is told to. */
SCENARIO(recv_again)
{
    char buf[100];
    int fd = given_fd("fd");

    CALL("recv 1", sock_recv_msg(fd, buf, sizeof(buf), 40));
    wait_for("again");
    if (CALL("recv 2", sock_recv_msg(fd, buf, sizeof(buf), -1)) > 0)
        tell_str("msg 2", buf);
}

struct pair {
    int judge, subject;
};

HELPER struct pair new_pair(void)
{
    int fds[2];

    new_socketpair(fds);
    return (struct pair){.judge = fds[0], .subject = fds[1]};
}

#define START_SEND(pair_, data_, size_, fault)                              \
    START(send_msg, FD("fd", (pair_).subject), BYTES("data", data_, size_), \
          fault)
#define START_RECV(pair_, n_, cap_, ms, ...)                  \
    START(recv_msgs, FD("fd", (pair_).subject), INT("n", n_), \
          INT("cap", cap_), INT("deadline", ms), __VA_ARGS__)

/* The judge writes a message as it is laid out in the header. */
HELPER void put_msg(int fd, const void *data, uint32_t size)
{
    uint32_t head = htonl(size);

    peer_write(fd, &head, sizeof(head));
    peer_write(fd, data, size);
}

/* Reads one message into a buffer of SOCK_MSG_MAX bytes; its size. */
HELPER size_t get_msg(int fd, void *data)
{
    uint32_t head = 0;

    EXPECT(peer_read(fd, &head, sizeof(head)) == sizeof(head), "a message",
           "the end of the stream");
    size_t size = ntohl(head);
    EXPECT(size >= 1 && size <= SOCK_MSG_MAX,
           "the message's size, in network byte order", "%#zx", size);
    EXPECT(peer_read(fd, data, size) == size, "a whole message",
           "the stream ended in it");
    return size;
}

HELPER void expect_msg(struct subject *s, int i, const void *data, size_t size)
{
    char name[32];

    snprintf(name, sizeof(name), "recv %d", i);
    expect_return(s, name, (long long)size);
    snprintf(name, sizeof(name), "msg %d", i);
    expect_bytes(s, name, data, size);
}

TEST(msg, a_message_goes_as_its_size_and_its_bytes)
{
    static char data[66000], got[66000];
    static const uint32_t sizes[] = {1, 300, 66000};

    for (size_t i = 0; i < 3; i++) {
        struct pair p = new_pair();
        uint32_t head = 0;

        fill_random(data, sizes[i]);
        struct subject *s = START_SEND(p, data, sizes[i], NOTHING);
        EXPECT(peer_read(p.judge, &head, 4) == 4, "a message",
               "the end of the stream");
        EXPECT(ntohl(head) == sizes[i], "the size in network byte order",
               "%#x for %u bytes", ntohl(head), sizes[i]);
        EXPECT(peer_read(p.judge, got, sizes[i]) == sizes[i] &&
                   memcmp(got, data, sizes[i]) == 0,
               "the message's bytes", "other bytes, or fewer");
        finish(s);
        expect_return(s, "send", 0);
        peer_expect_eof(p.judge);
    }
}

TEST(msg, an_empty_message_is_refused)
{
    struct pair p = new_pair();
    struct subject *s = START_SEND(p, "x", 0, NOTHING);

    finish(s);
    expect_error(s, "send", EINVAL);
    peer_expect_eof(p.judge);
}

TEST(msg, a_send_goes_on_where_it_stopped)
{
    struct pair p = new_pair();
    char data[5000], got[SOCK_MSG_MAX];

    fill_random(data, sizeof(data));
    struct subject *s =
        START(send_msg, FD("fd", p.subject), BYTES("data", data, sizeof(data)),
              FAIL("write", 3, 2, EINTR), SHORT("write", 1, 100000, 700));
    size_t size = get_msg(p.judge, got);
    EXPECT(size == sizeof(data) && memcmp(got, data, size) == 0,
           "the whole message", "a part, or other bytes");
    finish(s);
    expect_return(s, "send", 0);
    peer_expect_eof(p.judge);
}

TEST(msg, a_socket_without_room_is_waited_for)
{
    static char data[1 << 20], got[1 << 20];
    struct pair p = new_pair();
    uint32_t head;

    fill_random(data, sizeof(data));
    REQUIRE(fcntl(p.subject, F_SETFL, O_NONBLOCK) == 0);
    struct subject *s = START_SEND(p, data, sizeof(data), NOTHING);
    await_asleep(s);
    EXPECT(!was_told(s, "send"), "a send that waits for room",
           "sock_send_msg returned %lld with errno %s", got_int(s, "send"),
           errno_name(got_errno(s, "send")));
    EXPECT(peer_read(p.judge, &head, 4) == 4 && ntohl(head) == sizeof(data),
           "a message of 1 MiB", "something else");
    EXPECT(peer_read(p.judge, got, sizeof(got)) == sizeof(got) &&
               memcmp(got, data, sizeof(got)) == 0,
           "all of its bytes", "fewer, or other ones");
    finish(s);
    expect_return(s, "send", 0);
    EXPECT(got_int(s, "nonblocking") == 1, "a descriptor with its own flags",
           "it is not O_NONBLOCK any more");
}

TEST(msg, a_peer_that_is_gone_is_epipe_and_no_signal)
{
    struct pair p = new_pair();

    shut(&p.judge);
    struct subject *s = START_SEND(p, "hello", 5, NOTHING);
    finish(s);
    expect_error(s, "send", EPIPE);
}

TEST(msg, a_message_is_received)
{
    struct pair p = new_pair();
    char data[1000];

    fill_random(data, sizeof(data));
    put_msg(p.judge, data, sizeof(data));
    struct subject *s = START_RECV(p, 1, sizeof(data), -1, NOTHING);
    finish(s);
    expect_msg(s, 1, data, sizeof(data));
}

TEST(msg, a_message_may_come_byte_by_byte)
{
    struct pair p = new_pair();
    const char bytes[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    struct subject *s = START_RECV(p, 1, 100, -1, NOTHING);

    for (size_t i = 0; i < sizeof(bytes); i++) {
        await_asleep(s);
        EXPECT(!was_told(s, "recv 1"), "a wait for the whole message",
               "sock_recv_msg returned %lld when %zu bytes had come",
               got_int(s, "recv 1"), i);
        peer_write(p.judge, bytes + i, 1);
    }
    finish(s);
    expect_msg(s, 1, "hello", 5);
}

TEST(msg, messages_that_come_together_are_kept_apart)
{
    struct pair p = new_pair();
    const char bytes[] = {0,   0,   0, 1, 'a', 0, 0,   0,   2,
                          'b', 'b', 0, 0, 0,   3, 'c', 'c', 'c'};

    peer_write(p.judge, bytes, sizeof(bytes));
    struct subject *s = START_RECV(p, 3, 100, -1, NOTHING);
    finish(s);
    expect_msg(s, 1, "a", 1);
    expect_msg(s, 2, "bb", 2);
    expect_msg(s, 3, "ccc", 3);
}

TEST(msg, the_end_is_told_from_a_broken_message)
{
    static const struct {
        const char *bytes;
        size_t size;
    } broken[] = {{"\0\0", 2}, {"\0\0\0\5", 4}, {"\0\0\0\5hell", 8}};
    struct pair p = new_pair();

    put_msg(p.judge, "last", 4);
    shut(&p.judge);
    struct subject *s = START_RECV(p, 2, 100, -1, NOTHING);
    finish(s);
    expect_msg(s, 1, "last", 4);
    expect_return(s, "recv 2", 0);
    EXPECT(got_errno(s, "recv 2") == 0, "errno set to 0 at the end", "errno %s",
           errno_name(got_errno(s, "recv 2")));
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        p = new_pair();
        peer_write(p.judge, broken[i].bytes, broken[i].size);
        shut(&p.judge);
        s = START_RECV(p, 1, 100, -1, NOTHING);
        finish(s);
        expect_error(s, "recv 1", EPROTO);
    }
}

TEST(msg, a_message_of_no_bytes_is_broken)
{
    struct pair p = new_pair();

    peer_write(p.judge, "\0\0\0\0\0\0\0\1x", 9);
    struct subject *s = START_RECV(p, 1, 100, -1, NOTHING);
    finish(s);
    expect_error(s, "recv 1", EPROTO);
}

TEST(msg, one_that_is_too_large_is_dropped_whole)
{
    struct pair p = new_pair();
    char data[30000];

    fill_random(data, sizeof(data));
    put_msg(p.judge, data, sizeof(data));
    put_msg(p.judge, "next", 4);
    struct subject *s = START_RECV(p, 2, 10, -1, NOTHING);
    finish(s);
    expect_error(s, "recv 1", EMSGSIZE);
    expect_msg(s, 2, "next", 4);
}

TEST(msg, a_size_that_lies_asks_for_no_memory)
{
    struct pair p = new_pair();

    peer_write(p.judge, "\xff\xff\xff\xffxyz", 7);
    shut(&p.judge);
    struct subject *s = START_RECV(p, 1, 100, -1, NOTHING);
    finish(s);
    expect_error(s, "recv 1", EPROTO);
    EXPECT(calls_made(s, "mmap") == 0, "no memory asked for",
           "%u calls of mmap", calls_made(s, "mmap"));
}

TEST(msg, a_wait_ends_at_the_deadline)
{
    struct pair p = new_pair();
    struct subject *s = START(recv_again, FD("fd", p.subject));

    await(s, "recv 1");
    expect_error(s, "recv 1", ETIMEDOUT);
    put_msg(p.judge, "late", 5);
    let_go(s, "again");
    finish(s);
    expect_return(s, "recv 2", 5);
    expect_str(s, "msg 2", "late");
    p = new_pair();
    s = START_RECV(p, 1, 100, 0, NOTHING);
    finish(s);
    expect_error(s, "recv 1", ETIMEDOUT);
    p = new_pair();
    put_msg(p.judge, "there", 5);
    s = START_RECV(p, 2, 100, 0, NOTHING);
    finish(s);
    expect_msg(s, 1, "there", 5);
    expect_error(s, "recv 2", ETIMEDOUT);
    EXPECT(got_int(s, "nonblocking") == 0, "a descriptor with its own flags",
           "it is O_NONBLOCK, and was not");
    p = new_pair();
    put_msg(p.judge, "there", 5);
    s = START_RECV(p, 1, 100, BELOW_FOR_EVER_MS, NOTHING);
    finish(s);
    expect_error(s, "recv 1", EINVAL);
}

/* For a deadline to pass while the subject is stopped. */
HELPER void let_pass_ms(int ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000L};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        ;
}

/* The other side may have finished. */
HELPER void write_if_read(int fd, const void *data, size_t size_bytes)
{
    REQUIRE(send(fd, data, size_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != -1 ||
            errno == EPIPE || errno == ECONNRESET);
}

TEST(msg, the_deadline_is_for_the_whole_message)
{
    static const char part[] = "\0\0\0\5hel";

    for (size_t size = 1; size < sizeof(part) - 1; size += 3) {
        struct pair p = new_pair();
        struct subject *s = START_RECV(p, 1, 100, 60, NOTHING);

        peer_write(p.judge, part, size);
        finish(s);
        expect_error(s, "recv 1", ETIMEDOUT);
    }

    /* The size comes when the time is up, and gives no new time. */
    struct pair p = new_pair();
    struct subject *s = START_RECV(p, 1, 100, 40, NOTHING);

    await_still(s);
    freeze(s);
    let_pass_ms(50);
    peer_write(p.judge, part, 4);
    thaw(s);
    await_still(s);
    write_if_read(p.judge, "hello", 5);
    finish(s);
    expect_error(s, "recv 1", ETIMEDOUT);
}

TEST(msg, a_signal_ends_no_wait)
{
    for (int ms = -1; ms <= 600000; ms += 600001) {
        struct pair p = new_pair();
        struct subject *s =
            START_RECV(p, 1, 100, ms, FAIL("read", 1, 2, EINTR),
                       FAIL("read", 4, 1, EINTR), FAIL("poll", 1, 2, EINTR));

        await_still(s);
        peer_write(p.judge, "\0\0\0\2", 4);
        await_still(s);
        peer_write(p.judge, "ok", 2);
        finish(s);
        expect_msg(s, 1, "ok", 2);
    }
}

TEST(msg, a_non_blocking_socket_is_waited_for_as_well)
{
    struct pair p = new_pair();

    REQUIRE(fcntl(p.subject, F_SETFL, O_NONBLOCK) == 0);
    struct subject *s = START_RECV(p, 1, 100, -1, NOTHING);
    await_asleep(s);
    EXPECT(!was_told(s, "recv 1"), "a wait for a message",
           "sock_recv_msg returned %lld with errno %s", got_int(s, "recv 1"),
           errno_name(got_errno(s, "recv 1")));
    put_msg(p.judge, "at last", 7);
    finish(s);
    expect_msg(s, 1, "at last", 7);
    EXPECT(got_int(s, "nonblocking") == 1, "a descriptor with its own flags",
           "it is not O_NONBLOCK any more");
}

/* ------------------------------------------------------------------------
 * Group serve
 */

/* How many descriptors stay open in programs that are executed. */
HELPER int open_in_programs(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);

        n += flags != -1 && (flags & FD_CLOEXEC) == 0;
    }
    return n;
}

static int open_before; /* the server has begun */

/* The service: what it gets is given back behind its tag; but "d..." drops
 * the client, "q..." has no reply, and "L?" has one of SOCK_MSG_MAX bytes.  "x"
 * looks what the server's descriptors are like. */
HELPER int answer(void *ctx, const void *req, size_t size, void *rep,
                  size_t *rep_size)
{
    const char *text = req;

    if (text[0] == 'd')
        return -1;
    if (text[0] == 'x')
        tell_int("left to programs", open_in_programs() - open_before);
    if (text[0] == 'q') {
        *rep_size = 0;
        return 0;
    }
    if (text[0] == 'L') {
        memset(rep, text[size - 1], *rep_size);
        return 0;
    }
    if (size + 1 > *rep_size)
        size = *rep_size - 1;
    *(char *)rep = *(const char *)ctx;
    memcpy((char *)rep + 1, req, size);
    *rep_size = size + 1;
    return 0;
}

SCENARIO(serve)
{
    int listener = given_fd("listen");
    char tag = (char)given_int("tag");

    open_before = open_in_programs();
    CALL("serve", sock_serve(listener, answer, &tag, given_fd("stop")));
    tell_int("still open", fcntl(listener, F_GETFD) != -1);
    tell_int("blocking", (fcntl(listener, F_GETFL) & O_NONBLOCK) == 0);
}

/* There are a few descriptors left, and no more.  (The limit itself is not
 * small: it is one of poll(2)'s as well.) */
SCENARIO(serve_with_few_descriptors)
{
    enum { LIMIT = 256, LEFT = 8 };
    struct rlimit all, few;
    int taken[LIMIT], n = 0;
    char tag = (char)given_int("tag");

    getrlimit(RLIMIT_NOFILE, &all);
    few = all;
    few.rlim_cur = LIMIT;
    setrlimit(RLIMIT_NOFILE, &few);
    while (n < LIMIT &&
           (taken[n] = fcntl(given_fd("stop"), F_DUPFD_CLOEXEC, 0)) != -1)
        n++;
    for (int i = 0; i < LEFT && n > 0; i++)
        close(taken[--n]);
    CALL("serve",
         sock_serve(given_fd("listen"), answer, &tag, given_fd("stop")));
    while (n > 0)
        close(taken[--n]);
    setrlimit(RLIMIT_NOFILE, &all);
}

/* The client at the other end of "asks" has its next request there as soon as
 * it is answered, until somebody else is answered: the one at the end of
 * "other", who asks when the first request is. */
static unsigned asked_in_a_row;
#define ENOUGH_IN_A_ROW 20000

HELPER int answer_one_who_always_asks(void *ctx, const void *req, size_t size,
                                      void *rep, size_t *rep_size)
{
    static bool others;
    char replies[64];
    int fd = given_fd("asks");

    (void)size;
    (void)ctx;
    *(char *)rep = *(const char *)req;
    *rep_size = 1;
    if (*(const char *)req != 'a') {
        others = true;
        tell_int("in a row", asked_in_a_row);
    } else if (!others && ++asked_in_a_row < ENOUGH_IN_A_ROW) {
        if (asked_in_a_row == 1)
            send(given_fd("other"), "\0\0\0\1b", 5, MSG_NOSIGNAL);
        recv(fd, replies, sizeof(replies), MSG_DONTWAIT);
        send(fd, "\0\0\0\1a", 5, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return 0;
}

SCENARIO(serve_one_who_always_asks)
{
    CALL("serve", sock_serve(given_fd("listen"), answer_one_who_always_asks,
                             NULL, given_fd("stop")));
}

struct service {
    struct subject *s;
    const char *path;
    int listener; /* the judge's as well */
    struct ends stop;
    char tag;
};

#define NEW_SERVICE(fault) start_service((const struct give[]){fault, NOTHING})

HELPER struct service start_service(const struct give *fault)
{
    struct service v = {.path = path_in(new_dir()),
                        .stop = new_pipe(),
                        .tag = (char)('A' + random_below(26))};

    v.listener = listen_at(v.path, 200);
    v.s = START(serve, LEND_FD("listen", v.listener), LEND_FD("stop", v.stop.r),
                INT("tag", v.tag), fault[0]);
    return v;
}

/* A stub has returned at once. */
HELPER int new_client(const struct service *v)
{
    await_asleep(v->s);
    EXPECT(!was_told(v->s, "serve"), "a server that serves until it is stopped",
           "sock_serve returned %lld with errno %s", got_int(v->s, "serve"),
           errno_name(got_errno(v->s, "serve")));
    return connect_to(v->path);
}

HELPER void expect_reply(const struct service *v, int fd, const char *text)
{
    static char got[SOCK_MSG_MAX];
    size_t size = get_msg(fd, got);

    EXPECT(size == strlen(text) + 1 && got[0] == v->tag &&
               memcmp(got + 1, text, size - 1) == 0,
           "the reply to this request", "%zu other bytes", size);
}

HELPER void ask(const struct service *v, int fd, const char *text)
{
    put_msg(fd, text, (uint32_t)strlen(text));
    expect_reply(v, fd, text);
}

HELPER void stop_service(struct service *v)
{
    peer_write(v->stop.w, "s", 1);
    finish(v->s);
    expect_return(v->s, "serve", 0);
}

/* All in one write: whoever drops the client does so when all are there. */
HELPER void ask_for_large(int fd, const char *letters)
{
    char requests[100];
    size_t size = 0;

    for (; *letters != '\0'; letters++) {
        memcpy(requests + size, (char[]){0, 0, 0, 2, 'L', *letters}, 6);
        size += 6;
    }
    peer_write(fd, requests, size);
}

HELPER void expect_large_replies(int fd, const char *letters)
{
    static char got[SOCK_MSG_MAX];

    for (size_t i = 0; letters[i] != '\0'; i++) {
        size_t size = get_msg(fd, got);

        EXPECT(size == SOCK_MSG_MAX && got[0] == letters[i] &&
                   got[SOCK_MSG_MAX - 1] == letters[i],
               "the replies in the order of the requests, each whole",
               "reply %zu has %zu bytes of '%c'", i + 1, size, got[0]);
    }
}

HELPER int count_descriptors(struct subject *s)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)subject_pid(s));

    DIR *dir = opendir(path);

    REQUIRE(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Sleep of any kind, short naps as well.  Whoever connected has woken the
 * server, so that it does not sleep before it has done what is to be done. */
HELPER void expect_sleep(struct subject *s)
{
    char path[64], state = '?';
    unsigned long user, kernel, at_first = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)subject_pid(s));
    for (bool first = true; state != 'S'; first = false) {
        FILE *f = fopen(path, "re");
        bool read = f != NULL &&
                    fscanf(f,
                           "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u "
                           "%*u %*u %lu %lu",
                           &state, &user, &kernel) == 3;

        if (f != NULL)
            fclose(f);
        if (!read || state == 'Z')
            return; /* it has ended: the next verb says how */
        if (first)
            at_first = user + kernel;
        EXPECT(user + kernel - at_first < (unsigned long)sysconf(_SC_CLK_TCK),
               "a server that sleeps while no client can be accepted",
               "it has used a second of processor time: the listening socket "
               "stays readable, and poll returns at once");
        let_pass_ms(1);
    }
}

TEST(serve, a_client_is_answered)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    ask(&v, a, "hello");
    ask(&v, a, "again");
    stop_service(&v);
}

TEST(serve, requests_that_come_together_are_all_answered)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    peer_write(a, "\0\0\0\3one\0\0\0\3two\0\0\0\5quiet\0\0\0\5th", 29);
    expect_reply(&v, a, "one");
    expect_reply(&v, a, "two");
    peer_write(a, "ree", 3);
    expect_reply(&v, a, "three");
    stop_service(&v);
}

TEST(serve, a_request_may_come_byte_by_byte)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);
    const char bytes[] = {0, 0, 0, 3, 'o', 'n', 'e'};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        await_asleep(v.s);
        peer_write(a, bytes + i, 1);
    }
    expect_reply(&v, a, "one");
    stop_service(&v);
}

TEST(serve, the_largest_request_and_reply_fit)
{
    static char text[SOCK_MSG_MAX];
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    memset(text, 'L', sizeof(text));
    text[sizeof(text) - 1] = 'z';
    put_msg(a, text, sizeof(text));
    expect_large_replies(a, "z");
    stop_service(&v);
}

TEST(serve, many_clients_at_once)
{
    struct service v = NEW_SERVICE(NOTHING);
    int clients[SOCK_CLIENTS_MAX + 2];
    int n = under_valgrind() ? 20 : 100;

    clients[0] = new_client(&v);
    for (int i = 1; i < n; i++)
        clients[i] = connect_to(v.path);
    for (int i = n - 1; i >= 0; i--)
        ask(&v, clients[i], "me");
    for (int i = 0; i < n; i++)
        ask(&v, clients[i], "and me again");
    stop_service(&v);
    if (under_valgrind())
        return;

    /* As many as said, and no more. */
    char byte;

    v = NEW_SERVICE(NOTHING);
    clients[0] = new_client(&v);
    for (int i = 1; i < SOCK_CLIENTS_MAX + 2; i++)
        clients[i] = connect_to(v.path);
    for (int i = 0; i < SOCK_CLIENTS_MAX; i++)
        ask(&v, clients[i], "me");
    for (int i = SOCK_CLIENTS_MAX; i < SOCK_CLIENTS_MAX + 2; i++)
        put_msg(clients[i], "later", 5);
    expect_sleep(v.s);
    EXPECT(peer_read_now(clients[SOCK_CLIENTS_MAX], &byte, 1) == 0,
           "the client after the 128th (SOCK_CLIENTS_MAX) in the backlog",
           "it is served as well");
    for (int i = 0; i < 2; i++) {
        shut(&clients[i]);
        expect_reply(&v, clients[SOCK_CLIENTS_MAX + i], "later");
    }
    stop_service(&v);
}

TEST(serve, a_client_that_always_asks_keeps_nobody_waiting)
{
    const char *path = path_in(new_dir());
    int listener = listen_at(path, 5);
    int asks = connect_to(path), other = connect_to(path);
    struct ends stop = new_pipe();
    char reply[5];
    struct subject *s = START(serve_one_who_always_asks, FD("listen", listener),
                              LEND_FD("stop", stop.r), LEND_FD("asks", asks),
                              LEND_FD("other", other));

    await_asleep(s);
    peer_write(asks, "\0\0\0\1a", 5);
    EXPECT(peer_read(other, reply, 5) == 5 && reply[4] == 'b',
           "the reply to this request", "another one, or none");
    EXPECT(got_int(s, "in a row") < ENOUGH_IN_A_ROW,
           "one client's request answered while another one asks again and "
           "again",
           "%lld requests of the other one were answered before: each time "
           "the next one was there",
           got_int(s, "in a row"));
    peer_write(stop.w, "s", 1);
    finish(s);
    expect_return(s, "serve", 0);
}

TEST(serve, a_silent_client_keeps_nobody_waiting)
{
    struct service v = NEW_SERVICE(NOTHING);

    new_client(&v);
    int half = new_client(&v);
    peer_write(half, "\0\0\0\7hal", 7);
    int b = new_client(&v);
    ask(&v, b, "hello");
    peer_write(half, "fway", 4);
    expect_reply(&v, half, "halfway");
    stop_service(&v);
}

TEST(serve, a_client_that_does_not_read_keeps_nobody_waiting)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    ask_for_large(a, "abcdefgh");
    int b = new_client(&v);
    ask(&v, b, "hello");
    expect_large_replies(a, "abcdefgh");
    ask(&v, a, "small");
    stop_service(&v);
}

TEST(serve, half_a_close_is_no_close)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    put_msg(a, "last words", 10);
    REQUIRE(shutdown(a, SHUT_WR) == 0);
    expect_reply(&v, a, "last words");
    peer_expect_eof(a);

    int b = new_client(&v);
    ask_for_large(b, "abcdefgh");
    REQUIRE(shutdown(b, SHUT_WR) == 0);
    await_asleep(v.s);
    expect_large_replies(b, "abcdefgh");
    peer_expect_eof(b);
    stop_service(&v);
}

TEST(serve, a_client_that_lies_about_a_size_is_dropped)
{
    static const char *const heads[] = {"\xff\xff\xff\xff", "\0\0\0\0",
                                        "\0\1\0\1"};
    struct service v = NEW_SERVICE(NOTHING);

    for (int i = 0; i < 3; i++) {
        int a = new_client(&v);
        int b = connect_to(v.path);

        peer_write(a, heads[i], 4);
        peer_expect_eof(a);
        ask(&v, b, "hello");
    }
    stop_service(&v);
}

TEST(serve, a_client_that_dies_is_forgotten)
{
    struct service v = NEW_SERVICE(NOTHING);
    int b = new_client(&v);

    ask(&v, b, "hello");
    int before = count_descriptors(v.s);
    for (int i = 0; i < 4; i++) {
        int a = new_client(&v);

        if (i % 2 == 0)
            peer_write(a, "\0\0\0\7hal", 7);
        ask(&v, b, "meanwhile");
        shut(&a);
        ask(&v, b, "later");
    }
    await_asleep(v.s);
    EXPECT(count_descriptors(v.s) == before,
           "the descriptors of clients that are gone closed",
           "%d are still open", count_descriptors(v.s) - before);
    stop_service(&v);
}

TEST(serve, a_reply_to_nobody_is_no_signal)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);
    int b = new_client(&v);

    ask_for_large(a, "abcdefgh");
    await_asleep(v.s);
    shut(&a);
    ask(&v, b, "hello");
    stop_service(&v);
}

TEST(serve, the_handler_drops_and_keeps_silent)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);
    int b = connect_to(v.path);

    put_msg(a, "quiet", 5);
    ask(&v, a, "hello");
    put_msg(a, "drop me", 7);
    peer_expect_eof(a);
    ask(&v, b, "and me?");
    stop_service(&v);
}

TEST(serve, stop_closes_all_and_returns)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);
    int b = new_client(&v);
    char byte;

    ask(&v, a, "hello");
    ask(&v, b, "x");
    EXPECT(got_int(v.s, "left to programs") == 0,
           "descriptors of the server that are close-on-exec",
           "%lld of them stay open in programs that are executed",
           got_int(v.s, "left to programs"));
    stop_service(&v);
    peer_expect_eof(a);
    peer_expect_eof(b);
    expect_int(v.s, "still open", 1);
    EXPECT(got_int(v.s, "blocking") == 1, "listen_fd with its own flags",
           "it is O_NONBLOCK, and was not");
    EXPECT(peer_read_now(v.stop.r, &byte, 1) == 1, "stop_fd not read",
           "the byte in it is gone");
    expect_nothing_left(v.s);
    v = NEW_SERVICE(NOTHING);
    new_client(&v);
    shut(&v.stop.w); /* its end is a reason to stop as well */
    finish(v.s);
    expect_return(v.s, "serve", 0);
    /* accept says that it is no listening socket any more */
    v = NEW_SERVICE(FAIL("accept", 2, 1000000, EINVAL));
    a = new_client(&v);
    connect_to(v.path);
    finish(v.s);
    expect_error(v.s, "serve", EINVAL);
    peer_expect_eof(a);
    expect_nothing_left(v.s);
}

TEST(serve, one_that_can_not_be_accepted_is_no_reason_to_stop)
{
    static const int errors[] = {ECONNABORTED, EMFILE, EINTR};

    for (int i = 0; i < 3; i++) {
        struct service v = NEW_SERVICE(FAIL("accept", 1, 2, errors[i]));
        int a = new_client(&v);

        ask(&v, a, "hello");
        stop_service(&v);
    }

    /* Another process that listens here takes the client. */
    struct service v = NEW_SERVICE(HOLD("accept", 1, "accepting"));

    new_client(&v);
    await(v.s, "accepting");
    int taken = accept(v.listener, NULL, NULL);
    REQUIRE(taken != -1);
    judges_fd(taken);
    let_go(v.s, "accepting");
    await_asleep(v.s);
    stop_service(&v);

    /* For a while there are descriptors for a few clients only. */
    int clients[12];

    v.stop = new_pipe();
    v.s = START(serve_with_few_descriptors, LEND_FD("listen", v.listener),
                LEND_FD("stop", v.stop.r), INT("tag", v.tag));
    clients[0] = new_client(&v);
    for (int i = 1; i < 12; i++)
        clients[i] = connect_to(v.path);
    expect_sleep(v.s);
    ask(&v, clients[0], "meanwhile");
    for (int i = 0; i < 12; i++)
        shut(&clients[i]);
    ask(&v, connect_to(v.path), "afterwards");
    stop_service(&v);
}

TEST(serve, it_sleeps_while_there_is_nothing_to_do)
{
    struct service v = NEW_SERVICE(NOTHING);
    int a = new_client(&v);

    await_blocked(v.s, "poll");
    ask_for_large(a, "abcdefgh");
    REQUIRE(shutdown(a, SHUT_WR) == 0);
    await_blocked(v.s, "poll");
    expect_large_replies(a, "abcdefgh");
    stop_service(&v);
}

TEST(serve, a_signal_does_not_end_it)
{
    struct service v = NEW_SERVICE(FAIL("poll", 1, 3, EINTR));
    int a = new_client(&v);

    ask(&v, a, "hello");
    stop_service(&v);
}

/* ------------------------------------------------------------------------
 * Group pass: descriptors and credentials
 */

SCENARIO(send_fd)
{
    int thing = given_fd("thing");

    CALL("send", sock_send_fd(given_fd("fd"), thing));
    tell_int("still open", fcntl(thing, F_GETFD) != -1);
}

/* Receives n descriptors and tells which they are. */
SCENARIO(recv_fds)
{
    struct rlimit all, few;

    getrlimit(RLIMIT_NOFILE, &all);
    if (given_int("room") == 1) { /* for one descriptor more */
        int next = dup(given_fd("fd"));

        close(next);
        few = all;
        few.rlim_cur = (rlim_t)next + 1;
        setrlimit(RLIMIT_NOFILE, &few);
    }
    for (int i = 1; i <= given_int("n"); i++) {
        char name[32];
        struct stat st;
        int got;

        snprintf(name, sizeof(name), "recv %d", i);
        got = CALL(name, sock_recv_fd(given_fd("fd")));
        if (got == -1)
            continue;
        tell_int("cloexec", (fcntl(got, F_GETFD) & FD_CLOEXEC) != 0);
        snprintf(name, sizeof(name), "inode %d", i);
        tell_int(name, fstat(got, &st) == 0 ? (long long)st.st_ino : -1);
        close(got);
    }
    setrlimit(RLIMIT_NOFILE, &all);
}

SCENARIO(peer)
{
    uid_t uid = (uid_t)-7;
    pid_t pid = -7;

    CALL("peer", sock_peer(given_fd("fd"), &uid, &pid));
    tell_int("uid", (int)uid);
    tell_int("pid", pid);
}

#define START_RECV_FDS(pair_, n_, ...) \
    START(recv_fds, FD("fd", (pair_).subject), INT("n", n_), __VA_ARGS__)

/* Writes until there is no room for a byte more; the flags stay. */
HELPER void fill(int fd)
{
    static const char bytes[4096];

    for (size_t size = sizeof(bytes); size > 0; size /= 64)
        while (send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
}

HELPER void drain(int fd)
{
    static char bytes[4096];

    while (peer_read_now(fd, bytes, sizeof(bytes)) > 0)
        ;
}

HELPER long long inode_of_fd(int fd)
{
    struct stat st;

    REQUIRE(fstat(fd, &st) == 0);
    return (long long)st.st_ino;
}

#define MOST_FDS 40

/* The judge sends a byte with n descriptors (n may be 0). */
HELPER void send_fds(int to, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } control = {.bytes = {0}};
    char byte = 'x';
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1};

    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    REQUIRE(sendmsg(to, &msg, MSG_NOSIGNAL) == 1);
}

TEST(pass, a_descriptor_is_sent_with_a_byte)
{
    struct pair p = new_pair();
    struct ends thing = new_pipe();
    long long inode = inode_of_fd(thing.r);
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    char bytes[16];
    struct iovec data = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr msg = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    int got;

    struct subject *s =
        START(send_fd, FD("fd", p.subject), FD("thing", thing.r));
    finish(s);
    expect_return(s, "send", 0);
    expect_int(s, "still open", 1);
    ssize_t n = recvmsg(p.judge, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    EXPECT(n == 1, "one byte of data, to carry the descriptor",
           "%zd bytes: on a stream, no descriptor arrives without", n);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    EXPECT(c != NULL && c->cmsg_type == SCM_RIGHTS &&
               c->cmsg_len == CMSG_LEN(sizeof(int)),
           "one descriptor in a control message SCM_RIGHTS", "none, or more");
    memcpy(&got, CMSG_DATA(c), sizeof(int));
    judges_fd(got);
    EXPECT(inode_of_fd(got) == inode, "the descriptor that was to be sent",
           "another one");
}

TEST(pass, a_descriptor_is_received)
{
    struct pair p = new_pair();
    struct ends thing = new_pipe();
    struct subject *s = START_RECV_FDS(p, 1, INT("room", 0));

    await_asleep(s);
    send_fds(p.judge, &thing.w, 1);
    finish(s);
    expect_at_least(s, "recv 1", 0);
    expect_int(s, "inode 1", inode_of_fd(thing.w));
    EXPECT(got_int(s, "cloexec") == 1, "a descriptor that is close-on-exec",
           "it stays open in programs that are executed");
}

TEST(pass, one_is_received_at_a_time)
{
    struct pair p = new_pair();
    struct ends things[2] = {new_pipe(), new_pipe()};

    for (int i = 0; i < 2; i++)
        send_fds(p.judge, &things[i].r, 1);
    struct subject *s = START_RECV_FDS(p, 2, INT("room", 0));
    finish(s);
    expect_at_least(s, "recv 1", 0);
    expect_at_least(s, "recv 2", 0);
    expect_int(s, "inode 1", inode_of_fd(things[0].r));
    expect_int(s, "inode 2", inode_of_fd(things[1].r));
}

TEST(pass, more_than_one_is_refused_and_none_is_kept)
{
    static const size_t counts[] = {2, 3, MOST_FDS};
    struct ends thing = new_pipe();
    int fds[MOST_FDS];

    for (size_t i = 0; i < MOST_FDS; i++)
        fds[i] = i % 2 == 0 ? thing.r : thing.w;
    for (int i = 0; i < 3; i++) {
        struct pair p = new_pair();

        send_fds(p.judge, fds, counts[i]);
        struct subject *s = START_RECV_FDS(p, 1, INT("room", 0));
        finish(s);
        expect_error(s, "recv 1", EBADMSG);
        expect_nothing_left(s);
    }
    if (under_valgrind()) /* which keeps descriptors of its own */
        return;

    struct pair p = new_pair();

    send_fds(p.judge, fds, 2); /* the second one finds no room */
    struct subject *s = START_RECV_FDS(p, 1, INT("room", 1));
    finish(s);
    expect_error(s, "recv 1", EBADMSG);
    expect_nothing_left(s);
}

TEST(pass, a_byte_with_no_descriptor_is_told)
{
    struct pair p = new_pair();

    send_fds(p.judge, NULL, 0);
    struct subject *s = START_RECV_FDS(p, 1, INT("room", 0));
    finish(s);
    expect_error(s, "recv 1", EBADMSG);
}

TEST(pass, the_end_of_the_stream_is_told)
{
    struct pair p = new_pair();

    shut(&p.judge);
    struct subject *s = START_RECV_FDS(p, 1, INT("room", 0));
    finish(s);
    expect_error(s, "recv 1", ECONNRESET);
    p = new_pair();
    shut(&p.judge);
    struct ends thing = new_pipe();
    s = START(send_fd, FD("fd", p.subject), FD("thing", thing.r));
    finish(s);
    expect_error(s, "send", EPIPE);
}

TEST(pass, a_signal_ends_no_transfer)
{
    struct pair p = new_pair();
    struct ends thing = new_pipe();
    long long inode = inode_of_fd(thing.r);

    REQUIRE(fcntl(p.subject, F_SETFL, O_NONBLOCK) == 0);
    struct subject *s =
        START_RECV_FDS(p, 1, INT("room", 0), FAIL("read", 1, 2, EINTR));
    await_asleep(s);
    send_fds(p.judge, &thing.r, 1);
    finish(s);
    expect_at_least(s, "recv 1", 0);
    expect_int(s, "inode 1", inode);
    p = new_pair();
    s = START(send_fd, FD("fd", p.subject), FD("thing", thing.r),
              FAIL("write", 1, 2, EINTR));
    finish(s);
    expect_return(s, "send", 0);
}

TEST(pass, room_for_a_descriptor_is_waited_for)
{
    struct pair p = new_pair();
    struct ends thing = new_pipe();

    fill(p.subject);
    REQUIRE(fcntl(p.subject, F_SETFL, O_NONBLOCK) == 0);
    struct subject *s =
        START(send_fd, FD("fd", p.subject), FD("thing", thing.r));
    await_asleep(s);
    EXPECT(!was_told(s, "send"), "a wait for room",
           "sock_send_fd returned %lld with errno %s", got_int(s, "send"),
           errno_name(got_errno(s, "send")));
    drain(p.judge);
    finish(s);
    expect_return(s, "send", 0);
}

TEST(pass, the_kernel_says_who_is_there)
{
    struct pair p = new_pair();
    struct subject *s = START(peer, FD("fd", p.subject));

    finish(s);
    expect_return(s, "peer", 0);
    expect_int(s, "uid", (int)geteuid());
    expect_int(s, "pid", getpid());
}

TEST(pass, who_is_there_is_known_of_unix_sockets_only)
{
    uint16_t port;
    int fd;

    listening_port(&port, 1);
    REQUIRE(connect_to_port(port, 1, &fd) == 0);
    struct subject *s = START(peer, FD("fd", fd));
    finish(s);
    expect_error(s, "peer", EOPNOTSUPP);
    expect_int(s, "pid", -7);
    s = START(peer, FD("fd", new_socket(AF_UNIX)));
    finish(s);
    expect_error(s, "peer", ENOTCONN);
    expect_int(s, "pid", -7);
}

/* ------------------------------------------------------------------------
 * Group rpc
 */

HELPER void call_once(const char *name, int ms)
{
    char res[64];
    size_t args_size, len = 777;
    const void *args = given_bytes("args", &args_size);
    char value[32];

    memset(res, 0x5a, sizeof(res));
    CALL(name, rpc_call(given_fd("fd"), (uint32_t)given_int("proc"), args,
                        args_size, res, (size_t)given_int("cap"), &len, ms));
    snprintf(value, sizeof(value), "%s's length", name);
    tell_int(value, (long long)len);
    snprintf(value, sizeof(value), "%s's result", name);
    tell_bytes(value, res, sizeof(res));
}

SCENARIO(call)
{
    call_once("call", (int)given_int("deadline"));
}

SCENARIO(call_twice)
{
    call_once("call 1", (int)given_int("deadline"));
    wait_for("again");
    call_once("call 2", -1);
}

#define START_CALL(scenario, pair_, proc_, args_, size_, cap_, ms) \
    START(scenario, FD("fd", (pair_).subject), INT("proc", proc_), \
          BYTES("args", args_, size_), INT("cap", cap_), INT("deadline", ms))

/* A request or a reply as it goes over the line. */
struct rpc {
    uint32_t id;
    uint32_t number; /* procedure or status */
    size_t size;
    char data[SOCK_MSG_MAX];
};

/* The judge is the server: it takes a request ... */
HELPER const struct rpc *take_request(int fd)
{
    static struct rpc r;
    static char msg[SOCK_MSG_MAX];
    size_t size = get_msg(fd, msg);
    uint32_t head[2];

    EXPECT(size >= 8, "a request of 8 bytes or more", "%zu bytes", size);
    memcpy(head, msg, 8);
    r.id = ntohl(head[0]);
    r.number = ntohl(head[1]);
    r.size = size - 8;
    memcpy(r.data, msg + 8, r.size);
    return &r;
}

/* ... and replies. */
HELPER void reply(int fd, uint32_t id, uint32_t status, const char *data,
                  size_t size)
{
    static char msg[SOCK_MSG_MAX];
    uint32_t head[2] = {htonl(id), htonl(status)};

    memcpy(msg, head, 8);
    memcpy(msg + 8, data, size);
    put_msg(fd, msg, (uint32_t)(8 + size));
}

HELPER void expect_result(struct subject *s, const char *name, const char *text)
{
    char value[32];
    size_t size;

    expect_return(s, name, 0);
    snprintf(value, sizeof(value), "%s's length", name);
    expect_int(s, value, (long long)strlen(text));
    snprintf(value, sizeof(value), "%s's result", name);
    const char *res = got_bytes(s, value, &size);
    EXPECT(memcmp(res, text, strlen(text)) == 0, "the result that was sent",
           "other bytes");
    EXPECT(res[strlen(text)] == 0x5a, "no byte written behind the result",
           "one was");
}

TEST(rpc, a_call_sends_a_request_and_gets_its_result)
{
    struct pair p = new_pair();
    uint32_t proc = 0x01020304u + random_below(100);
    struct subject *s = START_CALL(call, p, proc, "arguments", 9, 60, -1);
    const struct rpc *r = take_request(p.judge);

    EXPECT(r->number == proc, "the procedure's number in network byte order",
           "%#x instead of %#x", r->number, proc);
    EXPECT(r->size == 9 && memcmp(r->data, "arguments", 9) == 0,
           "the arguments behind it", "other bytes, or %zu", r->size);
    reply(p.judge, r->id, RPC_OK, "a result", 8);
    finish(s);
    expect_result(s, "call", "a result");
}

TEST(rpc, arguments_and_results_may_be_empty)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, "", 0, 0, -1);
    const struct rpc *r = take_request(p.judge);

    EXPECT(r->size == 0, "no arguments", "%zu bytes", r->size);
    reply(p.judge, r->id, RPC_OK, "", 0);
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "call's length", 0);
}

TEST(rpc, errors_come_back_as_errors)
{
    static const struct {
        uint32_t status;
        int err;
    } errors[] = {
        {RPC_NO_PROC, EOPNOTSUPP}, {RPC_FAILED, EREMOTEIO}, {77, EBADMSG}};

    for (int i = 0; i < 3; i++) {
        struct pair p = new_pair();
        struct subject *s = START_CALL(call, p, 7, "x", 1, 60, -1);

        reply(p.judge, take_request(p.judge)->id, errors[i].status, "", 0);
        finish(s);
        expect_error(s, "call", errors[i].err);
        expect_int(s, "call's length", 777);
    }
}

TEST(rpc, each_call_has_an_id_of_its_own)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call_twice, p, 7, "x", 1, 60, -1);
    uint32_t first = take_request(p.judge)->id;

    reply(p.judge, first, RPC_OK, "one", 3);
    let_go(s, "again");
    uint32_t second = take_request(p.judge)->id;
    EXPECT(first != second, "another id for another call", "%u again", first);
    reply(p.judge, second, RPC_OK, "two", 3);
    finish(s);
    expect_result(s, "call 1", "one");
    expect_result(s, "call 2", "two");
}

TEST(rpc, a_reply_to_another_call_is_skipped)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, "x", 1, 60, -1);
    uint32_t id = take_request(p.judge)->id;

    reply(p.judge, id + 1000, RPC_OK, "not yours", 9);
    reply(p.judge, id - 1000, RPC_NO_PROC, "", 0);
    reply(p.judge, id, RPC_OK, "yours", 5);
    finish(s);
    expect_result(s, "call", "yours");
}

TEST(rpc, a_late_reply_does_not_answer_the_next_call)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call_twice, p, 7, "x", 1, 60, 40);
    uint32_t first = take_request(p.judge)->id;

    await(s, "call 1");
    expect_error(s, "call 1", ETIMEDOUT);
    reply(p.judge, first, RPC_OK, "late", 4);
    let_go(s, "again");
    reply(p.judge, take_request(p.judge)->id, RPC_OK, "right", 5);
    finish(s);
    expect_result(s, "call 2", "right");

    /* The next call is another process's, on the same connection. */
    p = new_pair();
    for (int i = 0; i < 2; i++) {
        struct subject *one =
            START(call, LEND_FD("fd", p.subject), INT("proc", 7),
                  BYTES("args", "x", 1), INT("cap", 60),
                  INT("deadline", i == 0 ? 0 : -1));
        uint32_t id = take_request(p.judge)->id;

        if (i == 0) {
            first = id;
            finish(one);
            expect_error(one, "call", ETIMEDOUT);
            reply(p.judge, first, RPC_OK, "late", 4);
            continue;
        }
        EXPECT(id != first, "an id that no call of another process has had",
               "%u again: the late reply to that call is taken for this one's",
               first);
        reply(p.judge, id, RPC_OK, "right", 5);
        finish(one);
        expect_result(one, "call", "right");
    }
}

TEST(rpc, other_replies_do_not_put_the_deadline_off)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, "x", 1, 60, 60);
    uint32_t id = take_request(p.judge)->id;

    for (uint32_t i = 1; i <= 20; i++)
        reply(p.judge, id + i, RPC_OK, "no", 2);
    finish(s);
    expect_error(s, "call", ETIMEDOUT);

    /* One that comes when the time is up gives no new time. */
    p = new_pair();
    s = START_CALL(call, p, 7, "x", 1, 60, 40);
    id = take_request(p.judge)->id;
    await_still(s);
    freeze(s);
    let_pass_ms(50);
    reply(p.judge, id + 1, RPC_OK, "no", 2);
    thaw(s);
    await_still(s);
    uint32_t late[3] = {htonl(8), htonl(id), htonl(RPC_OK)};
    write_if_read(p.judge, late, sizeof(late));
    finish(s);
    expect_error(s, "call", ETIMEDOUT);
    p = new_pair();
    s = START_CALL(call, p, 7, "x", 1, 60, BELOW_FOR_EVER_MS);
    finish(s);
    expect_error(s, "call", EINVAL);
}

TEST(rpc, the_deadline_is_for_the_request_as_well)
{
    struct pair p = new_pair();

    fill(p.subject);
    struct subject *s = START_CALL(call, p, 7, "x", 1, 60, 40);
    finish(s);
    expect_error(s, "call", ETIMEDOUT);
}

TEST(rpc, a_connection_that_ends_is_told)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, "x", 1, 60, -1);

    take_request(p.judge);
    shut(&p.judge);
    finish(s);
    expect_error(s, "call", ECONNRESET);

    /* In the middle of the result. */
    size_t size;

    p = new_pair();
    s = START_CALL(call, p, 7, "x", 1, 60, -1);
    uint32_t part[4] = {htonl(16), htonl(take_request(p.judge)->id),
                        htonl(RPC_OK), 0};
    peer_write(p.judge, part, sizeof(part));
    shut(&p.judge);
    finish(s);
    expect_error(s, "call", ECONNRESET);
    expect_int(s, "call's length", 777);
    const char *res = got_bytes(s, "call's result", &size);
    EXPECT(res[0] == 0x5a, "res unchanged by a call that fails",
           "a part of the result is there");
}

TEST(rpc, what_does_not_fit_is_refused)
{
    static char args[RPC_MAX + 1];
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, args, sizeof(args), 60, -1);

    finish(s);
    expect_error(s, "call", EMSGSIZE);
    peer_expect_eof(p.judge);
    p = new_pair();
    s = START_CALL(call, p, 7, args, RPC_MAX, 4, -1);
    const struct rpc *r = take_request(p.judge);
    EXPECT(r->size == RPC_MAX, "all arguments", "%zu bytes", r->size);
    reply(p.judge, r->id, RPC_OK, "five!", 5);
    finish(s);
    expect_error(s, "call", EMSGSIZE);
    expect_int(s, "call's length", 777);
}

TEST(rpc, a_reply_that_is_too_short_is_told)
{
    struct pair p = new_pair();
    struct subject *s = START_CALL(call, p, 7, "x", 1, 60, -1);

    take_request(p.judge);
    put_msg(p.judge, "1234567", 7);
    finish(s);
    expect_error(s, "call", EBADMSG);
}

/* The server's half. */

HELPER int add_up(const void *args, size_t size, void *res, size_t *res_size)
{
    const unsigned char *bytes = args;
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    tell_int("room", (long long)*res_size);
    *res_size = (size_t)snprintf(res, *res_size, "%u", sum);
    return 0;
}

HELPER int refuse(const void *args, size_t size, void *res, size_t *res_size)
{
    (void)args;
    (void)size;
    memset(res, 'r', 4);
    *res_size = 4;
    return -1;
}

SCENARIO(dispatch)
{
    static const struct rpc_proc procs[] = {
        {0x01020304, add_up}, {9, refuse}, {10, add_up}};
    static char rep[1000];
    size_t size, rep_size = 108;
    const void *req = given_bytes("request", &size);

    memset(rep, 0x5a, sizeof(rep));
    CALL("dispatch", rpc_dispatch(procs, 3, req, size, rep, &rep_size));
    tell_int("size", (long long)rep_size);
    tell_bytes("reply", rep, 200);
}

HELPER void dispatches(uint32_t number, const char *args, uint32_t status,
                       const char *result)
{
    char req[100], rep[200];
    uint32_t head[2] = {htonl(0x0a0b0c0du + number), htonl(number)};
    uint32_t wanted[2] = {head[0], htonl(status)};

    memcpy(req, head, 8);
    memcpy(req + 8, args, strlen(args));
    struct subject *s =
        START(dispatch, BYTES("request", req, 8 + strlen(args)));
    finish(s);
    expect_return(s, "dispatch", 0);
    got_copy(s, "reply", rep, sizeof(rep));
    EXPECT(memcmp(rep, wanted, 4) == 0, "the call's id in the reply",
           "another number, or in another byte order");
    EXPECT(memcmp(rep + 4, wanted + 1, 4) == 0, "the right status behind it",
           "another number");
    expect_int(s, "size", (long long)(8 + strlen(result)));
    EXPECT(memcmp(rep + 8, result, strlen(result)) == 0, "the result",
           "other bytes");
    if (status == RPC_OK)
        expect_int(s, "room", 100);
}

TEST(rpc, dispatch_runs_the_procedure)
{
    dispatches(0x01020304, "abc", RPC_OK, "294");
    dispatches(10, "", RPC_OK, "0");
}

TEST(rpc, dispatch_answers_for_an_unknown_procedure)
{
    dispatches(4711, "abc", RPC_NO_PROC, "");
}

TEST(rpc, dispatch_answers_for_one_that_fails)
{
    dispatches(9, "abc", RPC_FAILED, "");
}

TEST(rpc, dispatch_refuses_what_is_no_request)
{
    struct subject *s = START(dispatch, BYTES("request", "1234567", 7));

    finish(s);
    expect_error(s, "dispatch", EBADMSG);
    expect_int(s, "size", 108);
}
