/*
 * Another correct solution: threads.  A thread of its own does the writing,
 * with SIGPIPE blocked; what is pending for a thread ends with it.  Output is
 * read by stdio.
 */
#include "pipes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct writing {
    int fd;
    const char *from;
    size_t left;
    bool once;  /* one write, or as many as are needed */
    bool close; /* fd, at the end */
    int err;
};

static void *write_it(void *arg)
{
    struct writing *w = arg;

    while (w->left > 0) {
        ssize_t n = write(w->fd, w->from, w->left);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1) {
            w->err = errno;
            break;
        }
        w->from += n;
        w->left -= (size_t)n;
        if (w->once)
            break;
    }
    if (w->close)
        close(w->fd);
    return NULL;
}

/* Starts a thread that has all signals blocked. */
static int start_writing(pthread_t *t, struct writing *w)
{
    sigset_t all, old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    err = pthread_create(t, NULL, write_it, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

static int write_in_thread(int fd, const void *buf, size_t size, bool once)
{
    struct writing w = {.fd = fd, .from = buf, .left = size, .once = once};
    pthread_t t;

    if (size == 0)
        return 0;
    int err = start_writing(&t, &w);
    if (err == 0) {
        pthread_join(t, NULL);
        err = w.err; /* the thread's own, once it has ended */
    }
    errno = err;
    return err == 0 ? 0 : -1;
}

ssize_t pipe_read_full(int fd, void *buf, size_t size)
{
    char *p = buf, *end = p + size;

    while (p < end) {
        ssize_t n = TEMP_FAILURE_RETRY(read(fd, p, (size_t)(end - p)));
        if (n == -1)
            return -1;
        if (n == 0)
            break;
        p += n;
    }
    return p - (char *)buf;
}

int pipe_write_full(int fd, const void *buf, size_t size)
{
    return write_in_thread(fd, buf, size, false);
}

int pipe_send(int fd, const void *msg, uint32_t size)
{
    uint32_t length = htonl(size);

    if (size == 0) {
        errno = EINVAL;
        return -1;
    }
    return pipe_write_full(fd, &length, 4) == -1 ||
                   pipe_write_full(fd, msg, size) == -1
               ? -1
               : 0;
}

ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    char scrap[100];
    uint32_t length = 0;
    ssize_t n = pipe_read_full(fd, &length, 4);

    if (n <= 0) {
        errno = n == 0 ? 0 : errno;
        return n;
    }
    size_t left = ntohl(length), size = left;
    int err = n < 4 || size == 0 ? EPROTO : 0;
    while (err == 0 && left > 0) {
        size_t some = size <= cap ? left : sizeof(scrap);
        if (some > left)
            some = left;
        n = pipe_read_full(fd, size <= cap ? msg : scrap, some);
        if (n == -1)
            return -1;
        left -= (size_t)n;
        if ((size_t)n < some)
            err = EPROTO;
    }
    if (err == 0 && size > cap)
        err = EMSGSIZE;
    errno = err;
    return err == 0 ? (ssize_t)size : -1;
}

/* ------------------------------------------------------------------------ */

/* Closes up to three pipes' ends, those that are not -1. */
static void close_all(int *fds, int n)
{
    int saved = errno;

    for (int i = 0; i < n; i++)
        if (fds[i] != -1)
            close(fds[i]);
    errno = saved;
}

/* Fills the gaps at 0, 1 and 2, so that no pipe lies there.  What exec keeps
 * is as it was: the fillers are close-on-exec. */
static int fill_gaps(int gaps[3])
{
    gaps[0] = gaps[1] = gaps[2] = -1;
    for (int i = 0;; i++) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd == -1 || fd > 2) {
            if (fd == -1)
                close_all(gaps, 3);
            else
                close(fd);
            return fd == -1 ? -1 : 0;
        }
        gaps[i] = fd;
    }
}

static pid_t run(char *const argv[], int in, int out)
{
    int report[2], err = 0;

    if (pipe2(report, O_CLOEXEC) == -1)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        if ((in == -1 || dup2(in, 0) == 0) && (out == -1 || dup2(out, 1) == 1))
            execvp(argv[0], argv);
        err = errno;
        (void)!TEMP_FAILURE_RETRY(write(report[1], &err, sizeof(err)));
        _exit(127);
    }
    int saved = errno;
    close(report[1]);
    errno = saved;
    ssize_t n = pid == -1 ? 0 : pipe_read_full(report[0], &err, sizeof(err));
    if (n != 0) {
        saved = n == -1 ? errno : err;
        kill(pid, SIGKILL);
        (void)TEMP_FAILURE_RETRY(waitpid(pid, NULL, 0));
        errno = saved;
        pid = -1;
    }
    close_all(report, 1);
    return pid;
}

/* Reads to the end of file by stdio, and closes.  Returns 0 or an errno.  A
 * signal is an error of stdio's. */
static int drain(FILE *f, char *out, size_t cap, size_t *got)
{
    char scrap[4096];
    int err = 0;

    *got = 0;
    while (err == 0 && !feof(f)) {
        clearerr(f);
        if (*got < cap)
            *got += fread(out + *got, 1, cap - *got, f);
        else
            *got += fread(scrap, 1, sizeof(scrap), f);
        if (ferror(f) && errno != EINTR)
            err = errno;
    }
    fclose(f);
    return err;
}

static int talk(char *const argv[], struct writing *w, char *out, size_t cap,
                size_t *len, int *status)
{
    int gaps[3], ends[4] = {-1, -1, -1, -1}, st = 0;
    size_t got = 0;
    pthread_t t;
    pid_t pid = -1;
    FILE *f = NULL;

    if (fill_gaps(gaps) == -1)
        return -1;
    if (pipe2(ends, O_CLOEXEC) == 0 &&
        (w == NULL || pipe2(ends + 2, O_CLOEXEC) == 0))
        f = fdopen(ends[0], "r");
    if (f != NULL)
        pid = run(argv, w == NULL ? -1 : ends[2], ends[1]);
    close_all(gaps, 3);
    close_all(ends + 1, 2);
    if (pid == -1) {
        int saved = errno;
        if (f != NULL)
            fclose(f);
        else
            close_all(ends, 1);
        close_all(ends + 3, 1);
        errno = saved;
        return -1;
    }
    int err = 0;
    if (w != NULL) {
        w->fd = ends[3];
        w->close = true;
        err = start_writing(&t, w);
    }
    int drained = drain(f, out, cap, &got);
    if (w != NULL && err == 0)
        pthread_join(t, NULL);
    if (err == 0)
        err = drained;
    if (err == 0 && w != NULL && w->err != EPIPE)
        err = w->err;
    if (err != 0)
        kill(pid, SIGKILL);
    if (TEMP_FAILURE_RETRY(waitpid(pid, &st, 0)) == -1 && err == 0)
        err = errno;
    errno = err;
    if (err != 0)
        return -1;
    *len = got;
    *status = st;
    return 0;
}

int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status)
{
    return talk(argv, NULL, out, cap, len, status);
}

int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status)
{
    struct writing w = {.from = in, .left = in_size};

    return talk(argv, &w, out, cap, out_len, status);
}

/* ------------------------------------------------------------------------ */

/* The line from right to left; mine[] are copies of in and out above 2. */
static size_t start_line(char *const *const argvs[], size_t n,
                         const int caller[], int mine[2], pid_t pids[])
{
    size_t started = 0;

    for (size_t i = n; i-- > 0;) {
        int ends[2] = {mine[0], -1}, in_of_next = -1;
        if (i > 0) {
            if (pipe2(ends, O_CLOEXEC) == -1)
                break;
            in_of_next = ends[1];
        }
        pid_t pid = fork();
        if (pid == 0) {
            dup2(ends[0], 0);
            dup2(mine[1], 1);
            for (int j = 0; j < 2; j++)
                if (caller[j] > 2)
                    close(caller[j]);
            execvp(argvs[i][0], argvs[i]);
            _exit(127);
        }
        int saved = errno;
        close(ends[0]);
        close(mine[1]);
        if (i == 0)
            mine[0] = -1;
        mine[1] = in_of_next;
        errno = saved;
        if (pid == -1)
            break;
        pids[i] = pid;
        started++;
    }
    return started;
}

static void end_line(size_t n, size_t started, pid_t pids[], int statuses[])
{
    for (size_t i = n - started; i < n; i++) {
        int status = 0;
        if (started < n)
            kill(pids[i], SIGKILL);
        while (waitpid(pids[i], &status, 0) == -1 && errno == EINTR)
            ;
        if (started == n)
            statuses[i] = status;
    }
}

int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[])
{
    const int caller[2] = {in_fd, out_fd};
    int gaps[3], mine[2] = {-1, -1};

    if (n == 0) {
        errno = EINVAL;
        return -1;
    }
    mine[0] = fcntl(in_fd, F_DUPFD_CLOEXEC, 3);
    mine[1] = fcntl(out_fd, F_DUPFD_CLOEXEC, 3);
    pid_t *pids = calloc(n, sizeof(*pids));
    size_t started = 0;
    if (mine[0] != -1 && mine[1] != -1 && pids != NULL &&
        fill_gaps(gaps) == 0) {
        started = start_line(argvs, n, caller, mine, pids);
        close_all(gaps, 3);
    }
    close_all(mine, 2);
    int saved = errno;
    if (started > 0)
        end_line(n, started, pids, statuses);
    free(pids);
    errno = saved;
    return started == n ? 0 : -1;
}

int pipe_log(int fd, const void *rec, size_t size)
{
    if (size > PIPE_BUF) {
        errno = EMSGSIZE;
        return -1;
    }
    return write_in_thread(fd, rec, size, true);
}

/* ------------------------------------------------------------------------ */

int pipe_gate_init(struct pipe_gate *g)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) == -1)
        return -1;
    g->read_fd = fds[0];
    g->write_fd = fds[1];
    return 0;
}

int pipe_gate_open(struct pipe_gate *g)
{
    int fds[2] = {g->read_fd, g->write_fd};

    if (fds[0] == -1) {
        errno = EINVAL;
        return -1;
    }
    g->read_fd = g->write_fd = -1;
    close_all(fds, 2);
    return 0;
}

/* A pipe with no writer left is a POLLHUP. */
int pipe_gate_wait(struct pipe_gate *g)
{
    struct pollfd p = {.fd = g->read_fd};
    int n;

    if (g->write_fd == -1) {
        errno = EINVAL;
        return -1;
    }
    close(g->write_fd);
    g->write_fd = -1;
    n = TEMP_FAILURE_RETRY(poll(&p, 1, -1));
    close_all(&p.fd, 1);
    g->read_fd = -1;
    return n == -1 ? -1 : 0;
}
