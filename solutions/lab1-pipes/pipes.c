/*
 * pipes.c - a stream of bytes from one process to another.
 *
 * pipes.h says what each function promises, handouts/lab1-pipes.md why.  Two
 * questions to ask at every fork() and at every return:
 *
 *   - Which processes hold a copy of which end now?
 *   - Which ends and which children did I make, and who closes and waits for
 *     them on this path?
 */
#include "pipes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------
 * 1. Reading and writing all of it
 */

// BEGIN SOLUTION
/* What sigpipe_hold() found, for sigpipe_release(). */
struct sigpipe {
    sigset_t set;     /* SIGPIPE alone */
    sigset_t old;     /* the thread's mask as it was */
    bool was_pending; /* a SIGPIPE that is the caller's business */
};

/*
 * From here on a write to a pipe that nobody reads gives EPIPE and a pending
 * SIGPIPE.  Only this thread's mask is changed.
 */
static void sigpipe_hold(struct sigpipe *s)
{
    sigset_t pending;

    sigemptyset(&s->set);
    sigaddset(&s->set, SIGPIPE);
    sigpending(&pending);
    s->was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &s->set, &s->old);
}

/*
 * Takes away the SIGPIPE that an EPIPE of ours left pending (`broken`), before
 * the mask is as it was: after that it would kill.  Keeps errno.
 */
static void sigpipe_release(const struct sigpipe *s, bool broken)
{
    const struct timespec now = {0, 0};
    int saved = errno;

    if (broken && !s->was_pending)
        while (sigtimedwait(&s->set, NULL, &now) == -1 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &s->old, NULL);
    errno = saved;
}

/* close() on the way out of a failure: keeps errno. */
static void close_quietly(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

// END SOLUTION
ssize_t pipe_read_full(int fd, void *buf, size_t size)
{
    // BEGIN SOLUTION
    char *to = buf;
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, to + done, size - done);
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)done;
    // STUB
    // /* TODO(lab1): read until size bytes have come or the stream ends.  How
    //  * does read(2) tell the two apart?  Which error is no error? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pipe_write_full(int fd, const void *buf, size_t size)
{
    // BEGIN SOLUTION
    const char *from = buf;
    struct sigpipe sp;
    ssize_t n = 0;

    sigpipe_hold(&sp);
    while (size > 0) {
        n = write(fd, from, size);
        if (n >= 0) {
            from += n;
            size -= (size_t)n;
        } else if (errno != EINTR) {
            break;
        }
    }
    sigpipe_release(&sp, n == -1 && errno == EPIPE);
    return size == 0 ? 0 : -1;
    // STUB
    // /* TODO(lab1): write(2) until all is written.  SIGPIPE must not reach
    //  * the caller: pthread_sigmask(3), sigpending(2), sigtimedwait(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 2. Messages on a stream of bytes
 */

int pipe_send(int fd, const void *msg, uint32_t size)
{
    // BEGIN SOLUTION
    uint32_t length = htonl(size);

    if (size == 0) {
        errno = EINVAL;
        return -1;
    }
    if (pipe_write_full(fd, &length, sizeof(length)) == -1)
        return -1;
    return pipe_write_full(fd, msg, size);
    // STUB
    // /* TODO(lab1): the length in network byte order (htonl(3)), then the
    //  * message. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Reads and drops size bytes, or those before the end of file.  Returns the
 * bytes dropped, or -1. */
static ssize_t drop(int fd, size_t size)
{
    char scrap[4096];
    size_t done = 0;

    while (done < size) {
        size_t some = size - done;
        if (some > sizeof(scrap))
            some = sizeof(scrap);
        ssize_t n = pipe_read_full(fd, scrap, some);
        if (n == -1)
            return -1;
        done += (size_t)n;
        if ((size_t)n < some)
            break;
    }
    return (ssize_t)done;
}

static int fail(int err)
{
    errno = err;
    return -1;
}

// END SOLUTION
ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    // BEGIN SOLUTION
    uint32_t length;
    ssize_t n = pipe_read_full(fd, &length, sizeof(length));

    if (n == -1)
        return -1;
    if (n == 0) {
        errno = 0;
        return 0;
    }
    if ((size_t)n < sizeof(length) || length == 0)
        return fail(EPROTO);
    size_t size = ntohl(length);
    n = size <= cap ? pipe_read_full(fd, msg, size) : drop(fd, size);
    if (n == -1)
        return -1;
    if ((size_t)n < size)
        return fail(EPROTO);
    if (size > cap)
        return fail(EMSGSIZE);
    return n;
    // STUB
    // /* TODO(lab1): read the length (ntohl(3)), then the message.  Where can
    //  * the stream end, and what is each end called?  What must happen to a
    //  * message that does not fit, so that the next call finds a length? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 3. Running a program and collecting what it prints
 */

// BEGIN SOLUTION
/*
 * A pipe whose ends are close-on-exec and none of 0, 1 and 2.  (When the
 * caller has one of these closed, pipe() gives it to us, and a dup2() onto it
 * in the child would be in the way of itself.)
 */
static int make_pipe(int ends[2])
{
    int low[2];

    if (pipe2(low, O_CLOEXEC) == -1)
        return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = low[i];
        if (low[i] > STDERR_FILENO)
            continue;
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close_quietly(low[i]);
        if (ends[i] == -1) {
            close_quietly(i == 0 ? low[1] : ends[0]);
            return -1;
        }
    }
    return 0;
}

/* How a child is to be set up.  -1 for a descriptor that is not wanted. */
struct wiring {
    int in;      /* becomes 0 */
    int out;     /* becomes 1 */
    int report;  /* gets exec's errno as an int; close-on-exec */
    int shut[2]; /* the caller's own, not to be open in the program */
};

/* Makes `from` the descriptor `to`, which exec is to keep. */
static int place(int from, int to)
{
    if (from == -1)
        return 0;
    if (from == to)
        return fcntl(to, F_SETFD, 0);
    return dup2(from, to);
}

/* The child, from fork to exec: only async-signal-safe calls. */
_Noreturn static void become(char *const argv[], const struct wiring *w)
{
    int out = w->out;

    if (w->out == STDIN_FILENO && w->in != STDIN_FILENO)
        out = fcntl(w->out, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if ((out != -1 || w->out == -1) && place(w->in, STDIN_FILENO) != -1 &&
        place(out, STDOUT_FILENO) != -1) {
        for (int i = 0; i < 2; i++)
            if (w->shut[i] > STDERR_FILENO)
                close(w->shut[i]);
        execvp(argv[0], argv);
    }
    int err = errno;
    if (w->report != -1)
        pipe_write_full(w->report, &err, sizeof(err));
    _exit(127);
}

/* Forks a child that becomes argv.  Returns its pid, or -1. */
static pid_t start(char *const argv[], const struct wiring *w)
{
    pid_t pid = fork();

    if (pid == 0)
        become(argv, w);
    return pid;
}

/* Waits for one child.  Keeps errno when it returns 0. */
static int reap(pid_t pid, int *status)
{
    int saved = errno;
    pid_t got;

    do
        got = waitpid(pid, status, 0);
    while (got == -1 && errno == EINTR);
    if (got == -1)
        return -1;
    errno = saved;
    return 0;
}

/* Ends a child, whatever it does, and waits for it.  Keeps errno. */
static void end_child(pid_t pid)
{
    int saved = errno;
    int status;

    kill(pid, SIGKILL);
    reap(pid, &status);
    errno = saved;
}

/* Waits until the child's exec has worked: returns pid; or has not: ends the
 * child and returns -1 with exec's errno. */
static pid_t await_exec(pid_t pid, int report)
{
    int err;
    ssize_t n = pipe_read_full(report, &err, sizeof(err));

    if (n == 0)
        return pid;
    if (n == (ssize_t)sizeof(err))
        errno = err;
    end_child(pid);
    return -1;
}

/*
 * Runs argv with the descriptors in and out (-1: the caller's) as its 0 and 1.
 * Returns its pid once exec has worked, or -1.  The report pipe is
 * close-on-exec, so an exec that works closes its last write end: end of file
 * is good news.
 */
static pid_t spawn(char *const argv[], int in, int out)
{
    int report[2];

    if (make_pipe(report) == -1)
        return -1;
    struct wiring w = {in, out, report[1], {-1, -1}};
    pid_t pid = start(argv, &w);
    close_quietly(report[1]);
    if (pid != -1)
        pid = await_exec(pid, report[0]);
    close_quietly(report[0]);
    return pid;
}

/* Where output goes: the first cap bytes are kept, all are counted. */
struct sink {
    char *out;
    size_t cap;
    size_t len;
};

/* One read() into the sink.  Returns as read() does, but never EINTR. */
static ssize_t sink_read(struct sink *s, int fd)
{
    char scrap[4096];
    ssize_t n;

    do {
        if (s->len < s->cap)
            n = read(fd, s->out + s->len, s->cap - s->len);
        else
            n = read(fd, scrap, sizeof(scrap));
    } while (n == -1 && errno == EINTR);
    if (n > 0)
        s->len += (size_t)n;
    return n;
}

/*
 * The end of a program whose output was read: waits for it, and gives length
 * and status to the caller.  `failed`: errno says why; the program is ended.
 */
static int conclude(pid_t pid, bool failed, size_t got, size_t *len,
                    int *status)
{
    int st;

    if (failed) {
        end_child(pid);
        return -1;
    }
    if (reap(pid, &st) == -1)
        return -1;
    *len = got;
    *status = st;
    return 0;
}

// END SOLUTION
int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status)
{
    // BEGIN SOLUTION
    struct sink s = {out, cap, 0};
    int ends[2];
    ssize_t n;

    if (make_pipe(ends) == -1)
        return -1;
    pid_t pid = spawn(argv, -1, ends[1]);
    close_quietly(ends[1]);
    if (pid == -1) {
        close_quietly(ends[0]);
        return -1;
    }
    do
        n = sink_read(&s, ends[0]);
    while (n > 0);
    close_quietly(ends[0]);
    return conclude(pid, n == -1, s.len, len, status);
    // STUB
    // /* TODO(lab1): pipe2(2), fork(2), dup2(2), execvp(3); read to the end of
    //  * file; waitpid(2).  Which end must this process close before it reads?
    //  * How does exec's errno come back to it? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 4. a | b | c
 */

// BEGIN SOLUTION
struct stage {
    pid_t pid;
    int status;
};

/* Starts the stages from left to right.  Returns how many run: fewer than n,
 * with errno set, when a pipe or a process could not be made. */
static size_t start_stages(char *const *const argvs[], size_t n, int in_fd,
                           int out_fd, struct stage *stages)
{
    int from = in_fd; /* what the next stage reads */
    size_t i;

    for (i = 0; i < n; i++) {
        int ends[2] = {-1, out_fd};
        if (i + 1 < n && make_pipe(ends) == -1)
            break;
        struct wiring w = {from, ends[1], -1, {in_fd, out_fd}};
        stages[i].pid = start(argvs[i], &w);
        if (i > 0)
            close_quietly(from);
        if (i + 1 < n)
            close_quietly(ends[1]);
        from = ends[0];
        if (stages[i].pid == -1)
            break;
    }
    if (i < n && from != in_fd && from != -1)
        close_quietly(from);
    return i;
}

/* Waits for all, even when one wait fails. */
static int reap_stages(struct stage *stages, size_t n)
{
    int result = 0;

    for (size_t i = 0; i < n; i++)
        if (reap(stages[i].pid, &stages[i].status) == -1)
            result = -1;
    return result;
}

// END SOLUTION
int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[])
{
    // BEGIN SOLUTION
    int result = -1;

    if (n == 0)
        return fail(EINVAL);
    if (fcntl(in_fd, F_GETFD) == -1 || fcntl(out_fd, F_GETFD) == -1)
        return -1;
    struct stage *stages = calloc(n, sizeof(*stages));
    if (stages == NULL)
        return -1;
    size_t running = start_stages(argvs, n, in_fd, out_fd, stages);
    if (running == n)
        result = reap_stages(stages, n);
    else
        for (size_t i = 0; i < running; i++)
            end_child(stages[i].pid);
    for (size_t i = 0; result == 0 && i < n; i++)
        statuses[i] = stages[i].status;
    free(stages);
    return result;
    // STUB
    // /* TODO(lab1): start all n programs, then wait for all n.  Draw the
    //  * table of descriptors of each process for n = 3 first: who holds which
    //  * end after each fork(2)? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 5. A log that many processes write to
 */

int pipe_log(int fd, const void *rec, size_t size)
{
    // BEGIN SOLUTION
    if (size > PIPE_BUF)
        return fail(EMSGSIZE);
    /* Up to PIPE_BUF bytes the kernel writes all or nothing, so this makes one
     * write(), and more only after an EINTR that has written nothing. */
    return pipe_write_full(fd, rec, size);
    // STUB
    // /* TODO(lab1): what does pipe(7) promise for writes of up to PIPE_BUF
    //  * bytes, and what for longer ones? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 6. A gate: n processes start together
 */

int pipe_gate_init(struct pipe_gate *g)
{
    // BEGIN SOLUTION
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) == -1)
        return -1;
    g->read_fd = ends[0];
    g->write_fd = ends[1];
    return 0;
    // STUB
    // /* TODO(lab1): pipe2(2) with O_CLOEXEC. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pipe_gate_wait(struct pipe_gate *g)
{
    // BEGIN SOLUTION
    char byte;

    if (g->read_fd == -1)
        return fail(EINVAL);
    close(g->write_fd);
    ssize_t n = pipe_read_full(g->read_fd, &byte, 1);
    close_quietly(g->read_fd);
    g->read_fd = g->write_fd = -1;
    return n == -1 ? -1 : 0;
    // STUB
    // /* TODO(lab1): wait for the end of file with read(2).  Which end must
    //  * this process close first? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pipe_gate_open(struct pipe_gate *g)
{
    // BEGIN SOLUTION
    if (g->read_fd == -1)
        return fail(EINVAL);
    close(g->write_fd);
    close(g->read_fd);
    g->read_fd = g->write_fd = -1;
    return 0;
    // STUB
    // /* TODO(lab1): close(2).  What do the waiting processes see then? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

/* ------------------------------------------------------------------------
 * 7. A conversation with a filter
 */

// BEGIN SOLUTION
enum { TO, FROM, SIDES };

/* A conversation.  The poll entries' descriptors are -1 once they are closed,
 * which is also how poll() is told to pass over an entry. */
struct talk {
    struct pollfd fds[SIDES];
    const char *in;
    size_t left;
    struct sink sink;
    bool broken; /* the program closed its input */
};

static void hang_up(struct talk *t, int side)
{
    close_quietly(t->fds[side].fd);
    t->fds[side].fd = -1;
}

/* Writes what there is room for; hangs up after the last byte, and when the
 * program does not read on, which is no error. */
static int feed(struct talk *t)
{
    ssize_t n = write(t->fds[TO].fd, t->in, t->left);

    if (n >= 0) {
        t->in += n;
        t->left -= (size_t)n;
    } else if (errno == EPIPE) {
        t->broken = true;
    } else if (errno != EINTR && errno != EAGAIN) {
        return -1;
    }
    if (t->left == 0 || t->broken)
        hang_up(t, TO);
    return 0;
}

/* One wait, and the step or two that it allows. */
static int talk_step(struct talk *t)
{
    if (poll(t->fds, SIDES, -1) == -1)
        return errno == EINTR ? 0 : -1;
    if (t->fds[TO].fd != -1 && t->fds[TO].revents != 0 && feed(t) == -1)
        return -1;
    if (t->fds[FROM].fd != -1 && t->fds[FROM].revents != 0) {
        ssize_t n = sink_read(&t->sink, t->fds[FROM].fd);
        if (n == -1)
            return -1;
        if (n == 0)
            hang_up(t, FROM);
    }
    return 0;
}

/* Feeds and reads until both sides are closed, also after a failure. */
static int talk(struct talk *t)
{
    struct sigpipe sp;
    int result = 0;

    sigpipe_hold(&sp);
    if (t->left == 0)
        hang_up(t, TO);
    else /* a blocking write() would wait for room for all of it */
        result = fcntl(t->fds[TO].fd, F_SETFL, O_WRONLY | O_NONBLOCK);
    while (result != -1 && (t->fds[TO].fd != -1 || t->fds[FROM].fd != -1))
        result = talk_step(t);
    for (int side = 0; side < SIDES; side++)
        if (t->fds[side].fd != -1)
            hang_up(t, side);
    sigpipe_release(&sp, t->broken);
    return result;
}

/* Starts argv between two new pipes.  ends: what to write to, what to read
 * from. */
static pid_t spawn_filter(char *const argv[], int ends[2])
{
    int to[2], from[2];

    if (make_pipe(to) == -1)
        return -1;
    if (make_pipe(from) == -1) {
        close_quietly(to[0]);
        close_quietly(to[1]);
        return -1;
    }
    pid_t pid = spawn(argv, to[0], from[1]);
    close_quietly(to[0]);
    close_quietly(from[1]);
    if (pid == -1) {
        close_quietly(to[1]);
        close_quietly(from[0]);
    }
    ends[0] = to[1];
    ends[1] = from[0];
    return pid;
}

// END SOLUTION
int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status)
{
    // BEGIN SOLUTION
    struct talk t = {.in = in, .left = in_size, .sink = {out, cap, 0}};
    int ends[2];
    pid_t pid = spawn_filter(argv, ends);

    if (pid == -1)
        return -1;
    t.fds[TO] = (struct pollfd){.fd = ends[0], .events = POLLOUT};
    t.fds[FROM] = (struct pollfd){.fd = ends[1], .events = POLLIN};
    bool failed = talk(&t) == -1;
    return conclude(pid, failed, t.sink.len, out_len, status);
    // STUB
    // /* TODO(lab1): two pipes, one program, and poll(2) on both at once.  What
    //  * does a write(2) of more than there is room for do, and what with
    //  * O_NONBLOCK (fcntl(2))?  When must the program see the end of file? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
