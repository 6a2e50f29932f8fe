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

ssize_t pipe_read_full(int fd, void *buf, size_t size)
{
    /* TODO(lab1): read until size bytes have come or the stream ends.  How
     * does read(2) tell the two apart?  Which error is no error? */
    errno = ENOSYS;
    return -1;
}

int pipe_write_full(int fd, const void *buf, size_t size)
{
    /* TODO(lab1): write(2) until all is written.  SIGPIPE must not reach
     * the caller: pthread_sigmask(3), sigpending(2), sigtimedwait(2). */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 2. Messages on a stream of bytes
 */

int pipe_send(int fd, const void *msg, uint32_t size)
{
    /* TODO(lab1): the length in network byte order (htonl(3)), then the
     * message. */
    errno = ENOSYS;
    return -1;
}

ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    /* TODO(lab1): read the length (ntohl(3)), then the message.  Where can
     * the stream end, and what is each end called?  What must happen to a
     * message that does not fit, so that the next call finds a length? */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 3. Running a program and collecting what it prints
 */

int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status)
{
    /* TODO(lab1): pipe2(2), fork(2), dup2(2), execvp(3); read to the end of
     * file; waitpid(2).  Which end must this process close before it reads?
     * How does exec's errno come back to it? */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 4. a | b | c
 */

int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[])
{
    /* TODO(lab1): start all n programs, then wait for all n.  Draw the
     * table of descriptors of each process for n = 3 first: who holds which
     * end after each fork(2)? */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 5. A log that many processes write to
 */

int pipe_log(int fd, const void *rec, size_t size)
{
    /* TODO(lab1): what does pipe(7) promise for writes of up to PIPE_BUF
     * bytes, and what for longer ones? */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 6. A gate: n processes start together
 */

int pipe_gate_init(struct pipe_gate *g)
{
    /* TODO(lab1): pipe2(2) with O_CLOEXEC. */
    errno = ENOSYS;
    return -1;
}

int pipe_gate_wait(struct pipe_gate *g)
{
    /* TODO(lab1): wait for the end of file with read(2).  Which end must
     * this process close first? */
    errno = ENOSYS;
    return -1;
}

int pipe_gate_open(struct pipe_gate *g)
{
    /* TODO(lab1): close(2).  What do the waiting processes see then? */
    errno = ENOSYS;
    return -1;
}

/* ------------------------------------------------------------------------
 * 7. A conversation with a filter
 */

int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status)
{
    /* TODO(lab1): two pipes, one program, and poll(2) on both at once.  What
     * does a write(2) of more than there is room for do, and what with
     * O_NONBLOCK (fcntl(2))?  When must the program see the end of file? */
    errno = ENOSYS;
    return -1;
}
