/*
 * Another correct solution: posix_spawnp() in place of fork and exec, SIGPIPE
 * ignored for the moment in place of blocked, select() in place of poll(), all
 * pipes of a line made before its first program.
 */
#include "pipes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void shut(int *fd)
{
    int saved = errno;

    if (*fd != -1)
        close(*fd);
    *fd = -1;
    errno = saved;
}

struct ignoring {
    struct sigaction old;
    bool was_pending;
};

static const struct sigaction ignore = {.sa_handler = SIG_IGN};

/* Throws away a SIGPIPE that is pending. */
static void ignore_sigpipe(struct ignoring *i)
{
    sigset_t pending;

    sigpending(&pending);
    i->was_pending = sigismember(&pending, SIGPIPE);
    sigaction(SIGPIPE, &ignore, &i->old);
}

/* A SIGPIPE that the caller has blocked was kept, though it is ignored: that is
 * thrown away, too. */
static void restore_sigpipe(const struct ignoring *i)
{
    int saved = errno;

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGPIPE, &i->old, NULL);
    if (i->was_pending)
        raise(SIGPIPE);
    errno = saved;
}

ssize_t pipe_read_full(int fd, void *buf, size_t size)
{
    size_t left = size;

    while (left > 0) {
        struct iovec v = {(char *)buf + (size - left), left};
        ssize_t n = readv(fd, &v, 1);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        if (n == 0)
            break;
        left -= (size_t)n;
    }
    return (ssize_t)(size - left);
}

static int write_all(int fd, const void *buf, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, buf, size);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -1;
        buf = (const char *)buf + n;
        size -= (size_t)n;
    }
    return 0;
}

int pipe_write_full(int fd, const void *buf, size_t size)
{
    struct ignoring old;

    ignore_sigpipe(&old);
    int result = write_all(fd, buf, size);
    restore_sigpipe(&old);
    return result;
}

int pipe_send(int fd, const void *msg, uint32_t size)
{
    unsigned char *frame;
    int result;

    if (size == 0) {
        errno = EINVAL;
        return -1;
    }
    frame = malloc(4 + (size_t)size);
    if (frame == NULL)
        return -1;
    for (int i = 0; i < 4; i++)
        frame[i] = (unsigned char)(size >> (24 - 8 * i));
    memcpy(frame + 4, msg, size);
    result = pipe_write_full(fd, frame, 4 + (size_t)size);
    int saved = errno;
    free(frame);
    errno = saved;
    return result;
}

ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    unsigned char b[4], byte;
    ssize_t n = pipe_read_full(fd, b, 4);

    if (n == 0)
        errno = 0;
    if (n <= 0)
        return n;
    uint32_t size = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
                    (uint32_t)b[2] << 8 | b[3];
    if (n < 4 || size == 0) {
        errno = EPROTO;
        return -1;
    }
    size_t keep = size < cap ? size : cap;
    n = pipe_read_full(fd, msg, keep);
    if (n == (ssize_t)keep)
        for (uint32_t i = (uint32_t)keep; i < size && n > 0; i++)
            n = pipe_read_full(fd, &byte, 1);
    if (n == -1)
        return -1;
    if (size > cap && n == 1) {
        errno = EMSGSIZE;
        return -1;
    }
    if (n < (ssize_t)keep || (size > cap && n == 0)) {
        errno = EPROTO;
        return -1;
    }
    return n;
}

/* ------------------------------------------------------------------------ */

/* A close-on-exec copy above 2. */
static int high_copy(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int high_pipe(int ends[2])
{
    int p[2];

    ends[0] = ends[1] = -1;
    if (pipe2(p, O_CLOEXEC) == -1)
        return -1;
    if (p[0] > 2 && p[1] > 2) {
        memcpy(ends, p, sizeof(p));
        return 0;
    }
    ends[0] = high_copy(p[0]);
    if (ends[0] != -1)
        ends[1] = high_copy(p[1]);
    shut(&p[0]);
    shut(&p[1]);
    if (ends[1] != -1)
        return 0;
    shut(&ends[0]);
    return -1;
}

/* in and out: above 2, or -1; drop: not to be open in the program, or -1 */
static int run(pid_t *pid, char *const argv[], int in, int out, int drop1,
               int drop2)
{
    posix_spawn_file_actions_t a;
    int err;

    posix_spawn_file_actions_init(&a);
    if (in != -1)
        posix_spawn_file_actions_adddup2(&a, in, 0);
    if (out != -1)
        posix_spawn_file_actions_adddup2(&a, out, 1);
    if (drop1 > 2)
        posix_spawn_file_actions_addclose(&a, drop1);
    if (drop2 > 2 && drop2 != drop1)
        posix_spawn_file_actions_addclose(&a, drop2);
    err = posix_spawnp(pid, argv[0], &a, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&a);
    errno = err;
    return err == 0 ? 0 : -1;
}

static int await_end(pid_t pid, int *status)
{
    int st;

    while (waitpid(pid, &st, 0) == -1)
        if (errno != EINTR)
            return -1;
    if (status != NULL)
        *status = st;
    return 0;
}

/* Returns as read() does; what does not fit is counted only. */
static ssize_t take(int fd, char *out, size_t cap, size_t *got)
{
    char rest[512];
    ssize_t n;

    do {
        if (*got < cap)
            n = read(fd, out + *got, cap - *got);
        else
            n = read(fd, rest, sizeof(rest));
    } while (n == -1 && errno == EINTR);
    if (n > 0)
        *got += (size_t)n;
    return n;
}

int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status)
{
    int p[2];
    pid_t pid;
    size_t got = 0;
    ssize_t n;

    if (high_pipe(p) == -1)
        return -1;
    int result = run(&pid, argv, -1, p[1], -1, -1);
    shut(&p[1]);
    if (result == -1) {
        shut(&p[0]);
        return -1;
    }
    while ((n = take(p[0], out, cap, &got)) > 0)
        ;
    shut(&p[0]);
    if (n == -1) {
        int saved = errno;
        kill(pid, SIGKILL);
        await_end(pid, NULL);
        errno = saved;
        return -1;
    }
    if (await_end(pid, status) == -1)
        return -1;
    *len = got;
    return 0;
}

/* ------------------------------------------------------------------------ */

/* fds: what program i reads and writes, 2 * i and 2 * i + 1 */
static int wire(int fds[], size_t n, int in_fd, int out_fd)
{
    for (size_t i = 0; i < 2 * n; i++)
        fds[i] = -1;
    fds[0] = high_copy(in_fd);
    fds[2 * n - 1] = high_copy(out_fd);
    if (fds[0] == -1 || fds[2 * n - 1] == -1)
        return -1;
    for (size_t i = 0; i + 1 < n; i++) {
        int p[2];
        if (high_pipe(p) == -1)
            return -1;
        fds[2 * i + 1] = p[1];
        fds[2 * i + 2] = p[0];
    }
    return 0;
}

int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[])
{
    if (n == 0) {
        errno = EINVAL;
        return -1;
    }
    int *fds = malloc(2 * n * sizeof(*fds));
    pid_t *pids = calloc(n, sizeof(*pids)); /* 0: could not be executed */
    bool failed = fds == NULL || pids == NULL;
    size_t started = 0;

    if (!failed)
        failed = wire(fds, n, in_fd, out_fd) == -1;
    for (; !failed && started < n; started++) {
        int *mine = fds + 2 * started;
        if (run(&pids[started], argvs[started], mine[0], mine[1], in_fd,
                out_fd) == -1) {
            pids[started] = 0;
            failed = errno == EAGAIN || errno == ENOMEM;
            if (failed)
                break;
        }
    }
    int saved = errno;
    for (size_t i = 0; fds != NULL && i < 2 * n; i++)
        shut(&fds[i]);
    for (size_t i = 0; i < started; i++) {
        int status = 127 << 8;
        if (failed && pids[i] != 0)
            kill(pids[i], SIGKILL);
        if (pids[i] != 0)
            await_end(pids[i], &status);
        if (!failed)
            statuses[i] = status;
    }
    free(fds);
    free(pids);
    errno = saved;
    return failed ? -1 : 0;
}

int pipe_log(int fd, const void *rec, size_t size)
{
    struct ignoring old;
    ssize_t n;

    if (size > PIPE_BUF) {
        errno = EMSGSIZE;
        return -1;
    }
    if (size == 0)
        return 0;
    ignore_sigpipe(&old);
    do
        n = write(fd, rec, size);
    while (n == -1 && errno == EINTR);
    restore_sigpipe(&old);
    return n == -1 ? -1 : 0;
}

/* ------------------------------------------------------------------------ */

int pipe_gate_init(struct pipe_gate *g)
{
    int p[2];

    if (pipe(p) == -1)
        return -1;
    fcntl(p[0], F_SETFD, FD_CLOEXEC);
    fcntl(p[1], F_SETFD, FD_CLOEXEC);
    *g = (struct pipe_gate){p[0], p[1]};
    return 0;
}

int pipe_gate_open(struct pipe_gate *g)
{
    if (g->read_fd < 0 || g->write_fd < 0) {
        errno = EINVAL;
        return -1;
    }
    shut(&g->read_fd);
    shut(&g->write_fd);
    return 0;
}

int pipe_gate_wait(struct pipe_gate *g)
{
    fd_set set;
    int n;

    if (g->read_fd < 0 || g->write_fd < 0) {
        errno = EINVAL;
        return -1;
    }
    shut(&g->write_fd);
    do {
        FD_ZERO(&set);
        FD_SET(g->read_fd, &set);
        n = select(g->read_fd + 1, &set, NULL, NULL, NULL);
    } while (n == -1 && errno == EINTR);
    shut(&g->read_fd);
    return n == -1 ? -1 : 0;
}

/* ------------------------------------------------------------------------ */

/* Both directions, until both are closed. */
static int exchange(int *to, int *from, const char *in, size_t left, char *out,
                    size_t cap, size_t *got)
{
    fcntl(*to, F_SETFL, O_NONBLOCK);
    while (*to != -1 || *from != -1) {
        fd_set r, w;
        FD_ZERO(&r);
        FD_ZERO(&w);
        if (left == 0)
            shut(to);
        if (*to != -1)
            FD_SET(*to, &w);
        if (*from != -1)
            FD_SET(*from, &r);
        if (*to == -1 && *from == -1)
            break;
        int most = *to > *from ? *to : *from;
        if (select(most + 1, &r, &w, NULL, NULL) == -1) {
            if (errno != EINTR)
                return -1;
            continue;
        }
        if (*from != -1 && FD_ISSET(*from, &r)) {
            ssize_t n = take(*from, out, cap, got);
            if (n == -1)
                return -1;
            if (n == 0)
                shut(from);
        }
        if (*to != -1 && FD_ISSET(*to, &w)) {
            ssize_t n = write(*to, in, left);
            if (n >= 0) {
                in += n;
                left -= (size_t)n;
            } else if (errno == EPIPE) {
                shut(to);
            } else if (errno != EAGAIN && errno != EINTR) {
                return -1;
            }
        }
    }
    return 0;
}

int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    struct ignoring old;
    size_t got = 0;
    pid_t pid;
    int result = -1;

    if (high_pipe(to) == 0 && high_pipe(from) == 0)
        result = run(&pid, argv, to[0], from[1], -1, -1);
    shut(&to[0]);
    shut(&from[1]);
    if (result == 0) {
        ignore_sigpipe(&old);
        result = exchange(&to[1], &from[0], in, in_size, out, cap, &got);
        restore_sigpipe(&old);
        int saved = errno;
        if (result == -1)
            kill(pid, SIGKILL);
        shut(&to[1]);
        shut(&from[0]);
        await_end(pid, result == 0 ? status : NULL);
        errno = saved;
    }
    shut(&to[1]);
    shut(&from[0]);
    if (result == 0)
        *out_len = got;
    return result;
}
