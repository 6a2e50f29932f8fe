/*
 * Another correct solution: a process for every job.  A child of its own feeds
 * the filter in pipe_converse(); sigprocmask() holds SIGPIPE; every end is
 * closed by hand, with no close-on-exec but for the report of a failed exec.
 */
#include "pipes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int minus_one(int err)
{
    errno = err;
    return -1;
}

ssize_t pipe_read_full(int fd, void *buf, size_t size)
{
    ssize_t n;

    if (size == 0)
        return 0;
    do
        n = read(fd, buf, size);
    while (n == -1 && errno == EINTR);
    if (n <= 0 || (size_t)n == size)
        return n;
    ssize_t more = pipe_read_full(fd, (char *)buf + n, size - (size_t)n);
    return more == -1 ? -1 : n + more;
}

/* Writes once or until all is written, and takes away its own SIGPIPE. */
static int write_held(int fd, const char *buf, size_t size)
{
    sigset_t pipe_set, old, pending;
    size_t done = 0;
    int err = 0, sig;

    sigpending(&pending);
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_set, &old);
    while (done < size && err == 0) {
        struct iovec v = {(void *)(buf + done), size - done};
        ssize_t n = writev(fd, &v, 1);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            err = errno;
    }
    if (err == EPIPE && !sigismember(&pending, SIGPIPE)) {
        sigpending(&pending);
        if (sigismember(&pending, SIGPIPE))
            sigwait(&pipe_set, &sig);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return err == 0 ? 0 : minus_one(err);
}

int pipe_write_full(int fd, const void *buf, size_t size)
{
    return write_held(fd, buf, size);
}

int pipe_send(int fd, const void *msg, uint32_t size)
{
    uint32_t length = htonl(size);

    if (size == 0)
        return minus_one(EINVAL);
    if (write_held(fd, (const char *)&length, 4) == -1)
        return -1;
    return write_held(fd, msg, size);
}

ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    uint32_t length;
    char scrap[1024];
    ssize_t n = pipe_read_full(fd, &length, 4);

    if (n == 0)
        errno = 0;
    if (n <= 0)
        return n;
    if (n < 4 || length == 0)
        return minus_one(EPROTO);
    size_t size = ntohl(length), left = size > cap ? size : 0;
    if (left == 0) {
        n = pipe_read_full(fd, msg, size);
        return n == -1 || (size_t)n == size ? n : minus_one(EPROTO);
    }
    while (left > 0) {
        size_t want = left < sizeof(scrap) ? left : sizeof(scrap);
        n = pipe_read_full(fd, scrap, want);
        if (n == -1)
            return -1;
        if ((size_t)n < want)
            return minus_one(EPROTO);
        left -= want;
    }
    return minus_one(EMSGSIZE);
}

/* ------------------------------------------------------------------------ */

static int wait_for_child(pid_t pid, int *status)
{
    int saved = errno;

    while (waitpid(pid, status, 0) == -1)
        if (errno != EINTR)
            return -1;
    errno = saved;
    return 0;
}

static void shut(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

static void end_child(pid_t pid)
{
    int saved = errno;

    kill(pid, SIGKILL);
    wait_for_child(pid, NULL);
    errno = saved;
}

/* Ends above 2 and not close-on-exec. */
static int pipe_up(int ends[2])
{
    int low[2], result = 0;

    if (pipe(low) == -1)
        return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = low[i];
        if (low[i] < 3) {
            ends[i] = fcntl(low[i], F_DUPFD, 3);
            shut(low[i]);
        }
        if (ends[i] == -1)
            result = -1;
    }
    for (int i = 0; result == -1 && i < 2; i++)
        if (ends[i] != -1)
            shut(ends[i]);
    return result;
}

/* In a child: in and out (above 2, or -1) become 0 and 1, all of shut[] is
 * closed, argv runs; or exec's errno goes to report (or -1). */
_Noreturn static void become(char *const argv[], int in, int out,
                             const int *others, int n, int report)
{
    if (in != -1)
        dup2(in, 0);
    if (out != -1)
        dup2(out, 1);
    for (int i = 0; i < n; i++)
        if (others[i] > 2)
            close(others[i]);
    execvp(argv[0], argv);
    int err = errno;
    if (report != -1)
        write_held(report, (const char *)&err, sizeof(err));
    _exit(127);
}

/* others: every end that the program is not to have open by itself */
static pid_t run(char *const argv[], int in, int out, const int *others, int n)
{
    int report[2], err;

    if (pipe_up(report) == -1)
        return -1;
    fcntl(report[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        become(argv, in, out, others, n, report[1]);
    }
    shut(report[1]);
    ssize_t got = pid == -1 ? 0 : pipe_read_full(report[0], &err, sizeof(err));
    if (got > 0)
        errno = err;
    if (got != 0) {
        end_child(pid);
        pid = -1;
    }
    shut(report[0]);
    return pid;
}

/* A child that writes `in` to fd and exits with the errno of that; it closes
 * other.  A reader that left is no error. */
static pid_t feed(int fd, int other, const void *in, size_t size)
{
    pid_t pid = fork();

    if (pid == 0) {
        close(other);
        if (write_held(fd, in, size) == -1 && errno != EPIPE)
            _exit(errno);
        _exit(0);
    }
    return pid;
}

static ssize_t gather(int fd, char *out, size_t cap)
{
    char scrap[4096];
    size_t got = 0;
    ssize_t n;

    do {
        if (got < cap)
            n = read(fd, out + got, cap - got);
        else
            n = read(fd, scrap, sizeof(scrap));
        if (n > 0)
            got += (size_t)n;
    } while (n > 0 || (n == -1 && errno == EINTR));
    return n == -1 ? -1 : (ssize_t)got;
}

int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status)
{
    int ends[2], st;

    if (pipe_up(ends) == -1)
        return -1;
    pid_t pid = run(argv, -1, ends[1], ends, 2);
    shut(ends[1]);
    ssize_t n = pid == -1 ? -1 : gather(ends[0], out, cap);
    shut(ends[0]);
    if (pid != -1 && n == -1)
        end_child(pid);
    if (n == -1 || wait_for_child(pid, &st) == -1)
        return -1;
    *len = (size_t)n;
    *status = st;
    return 0;
}

int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status)
{
    int ends[4], st, fed = 0;
    ssize_t n = -1;

    if (pipe_up(ends) == -1)
        return -1;
    if (pipe_up(ends + 2) == -1) {
        shut(ends[0]);
        shut(ends[1]);
        return -1;
    }
    pid_t pid = run(argv, ends[0], ends[3], ends, 4);
    shut(ends[0]);
    shut(ends[3]);
    pid_t feeder = pid == -1 ? -1 : feed(ends[1], ends[2], in, in_size);
    shut(ends[1]);
    if (feeder != -1)
        n = gather(ends[2], out, cap);
    shut(ends[2]);
    if (pid != -1 && n == -1)
        end_child(pid);
    if (feeder != -1)
        wait_for_child(feeder, &fed);
    if (n != -1 && fed != 0) {
        errno = WIFEXITED(fed) ? WEXITSTATUS(fed) : EINTR;
        end_child(pid);
        return -1;
    }
    if (n == -1 || wait_for_child(pid, &st) == -1)
        return -1;
    *out_len = (size_t)n;
    *status = st;
    return 0;
}

/* ------------------------------------------------------------------------ */

int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[])
{
    int in = -1, out = -1, ends[2] = {-1, -1};
    size_t i = 0;

    if (n == 0)
        return minus_one(EINVAL);
    pid_t *pids = malloc(n * sizeof(*pids));
    if (pids == NULL)
        return -1;
    if ((in = fcntl(in_fd, F_DUPFD, 3)) == -1)
        goto out;
    if ((out = fcntl(out_fd, F_DUPFD, 3)) == -1)
        goto out;
    for (; i < n; i++) {
        ends[0] = -1;
        ends[1] = out;
        if (i + 1 < n && pipe_up(ends) == -1) {
            ends[1] = -1;
            break;
        }
        const int all[] = {in, out, ends[0], ends[1], in_fd, out_fd};
        pids[i] = fork();
        if (pids[i] == 0)
            become(argvs[i], in, ends[1], all, 6, -1);
        shut(in);
        if (ends[1] != out)
            shut(ends[1]);
        in = ends[0];
        if (pids[i] == -1)
            break;
    }
out:
    if (in != -1)
        shut(in);
    if (out != -1)
        shut(out);
    int saved = errno, status;
    for (size_t j = 0; j < i; j++) {
        if (i < n)
            kill(pids[j], SIGKILL);
        wait_for_child(pids[j], &status);
        if (i == n)
            statuses[j] = status;
    }
    free(pids);
    errno = saved;
    return i == n ? 0 : -1;
}

int pipe_log(int fd, const void *rec, size_t size)
{
    return size > PIPE_BUF ? minus_one(EMSGSIZE) : write_held(fd, rec, size);
}

/* ------------------------------------------------------------------------ */

int pipe_gate_init(struct pipe_gate *g)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) == -1)
        return -1;
    g->read_fd = ends[0];
    g->write_fd = ends[1];
    return 0;
}

static int leave_gate(struct pipe_gate *g, int result)
{
    shut(g->read_fd);
    g->read_fd = g->write_fd = -1;
    return result;
}

int pipe_gate_open(struct pipe_gate *g)
{
    if (g->write_fd == -1)
        return minus_one(EINVAL);
    shut(g->write_fd);
    return leave_gate(g, 0);
}

int pipe_gate_wait(struct pipe_gate *g)
{
    char bytes[16];

    if (g->write_fd == -1)
        return minus_one(EINVAL);
    shut(g->write_fd);
    return leave_gate(g,
                      gather(g->read_fd, bytes, sizeof(bytes)) == -1 ? -1 : 0);
}
