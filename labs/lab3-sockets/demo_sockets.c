/*
 * demo_sockets.c - servers and clients, from many terminals.
 *
 *     demo_sockets serve ./shop             terminal 1: at a path ...
 *     demo_sockets serve 0                  ... or a TCP port, which it tells
 *     demo_sockets ask ./shop               each line is a request
 *     demo_sockets ask localhost:40123      the same by TCP
 *     demo_sockets rpc ./calc               a server with procedures
 *     demo_sockets call ./calc add 30 12    calls one of them
 *     demo_sockets lend ./desk README.md    sends an open file to who comes
 *     demo_sockets borrow ./desk            receives it and reads it
 *
 * It stands on your functions of sockets.h.  Servers remove their paths at
 * Ctrl-C.
 */
#include "demo.h"
#include "sockets.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr,
            "usage:\n"
            "  %s serve PATH|PORT          answer lines in capitals\n"
            "  %s ask PATH|HOST:PORT       send lines, print the answers\n"
            "  %s rpc PATH|PORT            serve remote procedure calls\n"
            "  %s call PATH|HOST:PORT PROC [ARGUMENTS]\n"
            "                              PROC: add A B, time, fail, or a "
            "number\n"
            "  %s lend PATH FILE           send an open file\n"
            "  %s borrow PATH              receive and print it\n"
            "A path has a slash in it; the port 0 is chosen by the kernel.\n",
            name, name, name, name, name, name);
    exit(2);
}

/* ------------------------------------------------------------------------
 * Names
 */

static bool is_path(const char *where)
{
    return strchr(where, '/') != NULL;
}

static int listen_at(const char *where)
{
    uint16_t port;
    int fd;

    if (is_path(where)) {
        fd = sock_listen_unix(where, 50);
        if (fd == -1)
            die_errno(where);
        printf("process %d listens at %s\n", (int)getpid(), where);
    } else {
        port = (uint16_t)number(where, 10, 0, 65535);
        fd = sock_listen_tcp(&port);
        if (fd == -1)
            die_errno("sock_listen_tcp");
        printf("process %d listens at localhost:%u\n", (int)getpid(), port);
    }
    fflush(stdout);
    return fd;
}

static int connect_to(const char *where)
{
    char host[200];
    const char *colon = strrchr(where, ':');
    int fd;

    if (is_path(where)) {
        fd = sock_connect_unix(where, 10000);
    } else {
        if (colon == NULL)
            usage();
        snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
        fd = sock_connect_tcp(host, (uint16_t)number(colon + 1, 10, 0, 65535),
                              10000);
    }
    if (fd == -1)
        die_errno(where);
    return fd;
}

/* ------------------------------------------------------------------------
 * Servers: Ctrl-C comes as a readable descriptor
 */

static int end_of_program(void)
{
    sigset_t ends;
    int fd;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (fd == -1)
        die_errno("signalfd");
    return fd;
}

static void serve_all(const char *where, sock_handler *handle)
{
    int stop = end_of_program();
    int fd = listen_at(where);
    int served = 0;

    int ret = sock_serve(fd, handle, &served, stop);
    int saved = errno;

    if (is_path(where))
        unlink(where);
    errno = saved;
    if (ret == -1)
        die_errno("sock_serve");
    printf("stopped after %d requests\n", served);
}

static int capitals(void *ctx, const void *req, size_t size, void *rep,
                    size_t *rep_size)
{
    const char *from = req;
    char *to = rep;

    ++*(int *)ctx;
    for (size_t i = 0; i < size; i++)
        to[i] = (char)toupper((unsigned char)from[i]);
    *rep_size = size;
    return 0;
}

static void ask(const char *where)
{
    char line[1000], answer[SOCK_MSG_MAX];
    int fd = connect_to(where);
    uid_t uid;
    pid_t pid;

    if (sock_peer(fd, &uid, &pid) == 0)
        printf("connected to process %d of user %u\n", (int)pid, uid);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t size = strcspn(line, "\n");

        if (size == 0)
            continue;
        if (sock_send_msg(fd, line, (uint32_t)size) == -1)
            die_errno("sock_send_msg");

        ssize_t n = sock_recv_msg(fd, answer, sizeof(answer), 10000);

        if (n == -1)
            die_errno("sock_recv_msg");
        if (n == 0) {
            fprintf(stderr, "the server has closed the connection\n");
            exit(1);
        }
        printf("%.*s\n", (int)n, answer);
        fflush(stdout);
    }
    close(fd);
}

/* ------------------------------------------------------------------------
 * Remote procedure calls.  The stubs: how numbers lie in arguments and
 * results is known to these four functions only.
 */

enum { ADD = 1, TIME = 2, FAIL = 3 };

static int do_add(const void *args, size_t size, void *res, size_t *res_size)
{
    uint32_t n[2];

    if (size != sizeof(n))
        return -1;
    memcpy(n, args, sizeof(n));
    n[0] = htonl(ntohl(n[0]) + ntohl(n[1]));
    memcpy(res, n, sizeof(n[0]));
    *res_size = sizeof(n[0]);
    return 0;
}

static int do_time(const void *args, size_t size, void *res, size_t *res_size)
{
    (void)args;
    (void)size;
    *res_size =
        (size_t)snprintf(res, *res_size, "server process %d", (int)getpid());
    return 0;
}

static int do_fail(const void *args, size_t size, void *res, size_t *res_size)
{
    (void)args;
    (void)size;
    (void)res;
    (void)res_size;
    return -1;
}

static int dispatch(void *ctx, const void *req, size_t size, void *rep,
                    size_t *rep_size)
{
    static const struct rpc_proc procs[] = {
        {ADD, do_add}, {TIME, do_time}, {FAIL, do_fail}};

    ++*(int *)ctx;
    return rpc_dispatch(procs, 3, req, size, rep, rep_size);
}

static void call(const char *where, int argc, char **argv)
{
    const char *proc = argv[0];
    unsigned char res[1000];
    uint32_t n[2] = {0, 0};
    size_t args_size = 0, len = 0;
    uint32_t which = strcmp(proc, "add") == 0    ? ADD
                     : strcmp(proc, "time") == 0 ? TIME
                     : strcmp(proc, "fail") == 0
                         ? FAIL
                         : (uint32_t)number(proc, 10, 0, 1000000);
    int fd = connect_to(where);

    if (which == ADD) {
        if (argc != 3)
            usage();
        n[0] = htonl((uint32_t)number(argv[1], 10, 0, 0x7fffffff));
        n[1] = htonl((uint32_t)number(argv[2], 10, 0, 0x7fffffff));
        args_size = sizeof(n);
    }
    if (rpc_call(fd, which, n, args_size, res, sizeof(res), &len, 5000) == -1)
        die_errno("rpc_call");
    if (which == ADD && len == sizeof(n[0])) {
        memcpy(n, res, sizeof(n[0]));
        printf("%u\n", ntohl(n[0]));
    } else {
        printf("%.*s\n", (int)len, (char *)res);
    }
    close(fd);
}

/* ------------------------------------------------------------------------
 * An open file goes from one process to another
 */

static void lend(const char *where, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int listener = fd == -1 ? -1 : listen_at(where);

    if (fd == -1)
        die_errno(file);

    int client = accept(listener, NULL, NULL);
    uid_t uid;
    pid_t pid;

    unlink(where);
    if (client == -1 || sock_send_fd(client, fd) == -1)
        die_errno("sock_send_fd");
    if (sock_peer(client, &uid, &pid) == 0)
        printf("lent to process %d of user %u\n", (int)pid, uid);
}

static void borrow(const char *where)
{
    char bytes[4096];
    ssize_t n;
    int fd = sock_recv_fd(connect_to(where));

    if (fd == -1)
        die_errno("sock_recv_fd");
    printf("received as descriptor %d:\n", fd);
    fflush(stdout);
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        if (write(1, bytes, (size_t)n) != n)
            die_errno("write");
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "serve") == 0 && argc == 3)
        serve_all(argv[2], capitals);
    else if (strcmp(role, "ask") == 0 && argc == 3)
        ask(argv[2]);
    else if (strcmp(role, "rpc") == 0 && argc == 3)
        serve_all(argv[2], dispatch);
    else if (strcmp(role, "call") == 0 && argc >= 4)
        call(argv[2], argc - 3, argv + 3);
    else if (strcmp(role, "lend") == 0 && argc == 4)
        lend(argv[2], argv[3]);
    else if (strcmp(role, "borrow") == 0 && argc == 3)
        borrow(argv[2]);
    else
        usage();
    return 0;
}
