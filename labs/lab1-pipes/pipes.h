/*
 * pipes.h - a stream of bytes from one process to another.
 *
 * A pipe is a buffer in the kernel (64 KiB by default) with two ends.  What is
 * written to the write end can be read from the read end, in the same order
 * and once.  It is a stream of bytes: where one write() ends and the next one
 * begins is not kept.  Two facts decide nearly everything in this lab:
 *
 *   - A reader sees the end of file when the buffer is empty and NO process
 *     has the write end open any more, the reader itself included.
 *   - A writer is told that nobody will read (SIGPIPE, then EPIPE) when NO
 *     process has the read end open any more, the writer itself included.
 *
 * fork() copies every descriptor, and exec keeps those that are not marked
 * close-on-exec.  So for each end that you make, know which processes hold a
 * copy, and close every copy that has no use.
 *
 * The rules of this interface, for every function here:
 *
 *   - Returns 0 or a count; on failure -1 with errno set.  On failure nothing
 *     that out-parameters point to is changed, unless the function says so.
 *   - Never prints and never exits.  The caller's signal dispositions and
 *     signal mask are as before when a function returns, and a SIGPIPE that
 *     the function's own writing caused never reaches the caller.
 *   - A signal that interrupts a system call (EINTR) is no error: the call is
 *     made again.  A read or write may transfer less than was asked for: the
 *     rest is transferred by further calls.
 *   - Nothing is left behind, on success and on failure: no descriptor that
 *     the caller did not have before, no child that nobody has waited for.
 *     Only children that a function started itself are waited for.
 *   - Descriptors that the caller passes in stay open and stay the caller's,
 *     with the flags they had.  They are in blocking mode (O_NONBLOCK is not
 *     set) unless the function says otherwise.
 *   - Where programs are run: descriptor 0, 1 or 2 may be closed in the caller.
 *     SIGCHLD is not ignored in it.  A program is found as execvp(3) does (a
 *     name without a slash along PATH), gets the caller's environment, signal
 *     mask and dispositions (those that exec keeps), and of the descriptors
 *     that are given to or made by the function it has open only those that
 *     are named for it, under the numbers named.  The caller's others are open
 *     in it as exec does it: all that are not close-on-exec.  What the caller
 *     has in a buffer of stdio stays there, once.
 *
 * Each function names its own errors.  Beside them, any function may fail with
 * what its system calls say: EBADF, EIO, and ENOMEM, and where it makes
 * descriptors EMFILE or ENFILE, and where it makes processes EAGAIN.
 *
 * Man pages for all of it: pipe(7), pipe(2), signal(7), fork(2).
 */
#ifndef PIPES_H
#define PIPES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * 1. Reading and writing all of it
 */

/*
 * Reads until `size` bytes have come or the end of file is reached.
 *
 *   fd    open for reading
 *   buf   room for size bytes
 *   size  in bytes, 0 to SSIZE_MAX; for 0 nothing is read, nothing waited for
 *         and nothing can fail
 *
 * Returns the bytes read: size, or fewer when the end of file came first (0
 * when it came at once).  Never takes more than size bytes out of the stream.
 *
 *   errno  as read(2) says.  Bytes that were read before the error are lost,
 *          and the content of buf is then unspecified.
 *
 * See read(2).
 */
ssize_t pipe_read_full(int fd, void *buf, size_t size);

/*
 * Writes all `size` bytes, waiting for room as often as is needed.
 *
 *   fd    open for writing: a pipe, a FIFO, a socket or a file
 *   size  in bytes, 0 to SSIZE_MAX; for 0 nothing is written and nothing can
 *         fail
 *
 * Returns 0.
 *
 *   EPIPE  no process has the read end open (any more).  The caller is told
 *          by this error alone: it does not die of SIGPIPE, a handler that it
 *          has installed for SIGPIPE is not called and is still installed
 *          afterwards, its signal mask is as before, no SIGPIPE is left
 *          pending that was not pending before, and one that was pending
 *          before still is.  (All this also when the caller has SIGPIPE
 *          blocked or ignored.)
 *   other  as write(2) says
 *
 * After an error some of the bytes may have been written.
 *
 * A thread's signal mask is its own, a signal's disposition belongs to all
 * threads of the process: in a program with threads only the first is yours
 * to change for a moment.  (The tests run one thread.)
 *
 * See write(2), pthread_sigmask(3), sigpending(2), sigtimedwait(2),
 * sigaction(2).
 */
int pipe_write_full(int fd, const void *buf, size_t size);

/* ------------------------------------------------------------------------
 * 2. Messages on a stream of bytes
 *
 * A frame is the message's size in bytes as an unsigned 32-bit number in
 * network byte order (most significant byte first), then the message.
 */

/*
 * Writes one message as a frame.
 *
 *   fd    as for pipe_write_full()
 *   msg   the message
 *   size  in bytes, 1 to UINT32_MAX
 *
 * Returns 0.
 *
 *   EINVAL  size is 0; nothing is written.  (pipe_recv() could not tell an
 *           empty message from the end of the stream.)
 *   EPIPE   as for pipe_write_full()
 *
 * One sender at a time: frames of several processes may mix on one pipe.
 *
 * See htonl(3).
 */
int pipe_send(int fd, const void *msg, uint32_t size);

/*
 * Reads one frame and gives the message in it.
 *
 *   fd   as for pipe_read_full()
 *   msg  room for cap bytes; nothing beyond them is ever written to
 *   cap  in bytes, 1 to SSIZE_MAX
 *
 * Returns the message's size in bytes, 1 to cap; or 0 with errno set to 0 when
 * the stream ended before a first byte of a frame (a clean end).
 *
 *   EPROTO    the stream ended inside a frame (in its length or in its
 *             message), or a frame announced a message of 0 bytes
 *   EMSGSIZE  the message has more than cap bytes.  It was read and dropped,
 *             all of it: the next call gets the next message.  A frame may
 *             announce up to 4 GiB, so no memory is taken for it.  (When the
 *             stream ends inside such a frame: EPROTO.)
 *
 * After an error the content of msg is unspecified.
 *
 * See ntohl(3), read(2).
 */
ssize_t pipe_recv(int fd, void *msg, size_t cap);

/* ------------------------------------------------------------------------
 * 3. Running a program and collecting what it prints
 */

/*
 * Runs a program and collects its standard output to the end of file, then
 * waits for it.
 *
 *   argv    argv[0] the program, then its arguments, then NULL.  It runs with
 *           the caller's descriptors 0 and 2, and a pipe as its descriptor 1.
 *   out     room for cap bytes (cap 0: may be NULL); not terminated by a 0
 *   cap     in bytes; output beyond the first cap bytes is read and dropped,
 *           so that the program never waits for a reader
 *   len     gets the bytes that the program wrote in whole, also when that is
 *           more than cap
 *   status  gets the program's wait status, as waitpid(2) gives it: also when
 *           it exited with a status other than 0, or by a signal
 *
 * Returns 0.
 *
 *   ENOENT, EACCES, …  exec's own errno when the program can't be executed.
 *           (The child that tried it is waited for.)  A program that runs and
 *           exits with 127 is no such failure.
 *   EAGAIN, EMFILE, …  no process or no pipe could be made
 *   EIO, …  a pipe could not be read
 *
 * On failure *len and *status are as before, the content of out is
 * unspecified, and a program that was already running is ended (SIGKILL) and
 * waited for.
 *
 * See pipe2(2), fork(2), dup2(2), execvp(3), waitpid(2), fcntl(2) for
 * FD_CLOEXEC, posix_spawn(3).
 */
int pipe_capture(char *const argv[], char *out, size_t cap, size_t *len,
                 int *status);

/* ------------------------------------------------------------------------
 * 4. a | b | c
 */

/*
 * Runs n programs side by side, joined by pipes, and waits for all of them.
 *
 *   argvs     n argument vectors, each as for pipe_capture()
 *   n         1 or more
 *   in_fd     the first program's standard input
 *   out_fd    the last program's standard output.  in_fd and out_fd may be any
 *             descriptors, 0, 1 and 2 included: in_fd may be 1 and out_fd 0,
 *             and both may be the same one.
 *   statuses  gets n wait statuses (waitpid(2)), in the order of argvs.  A
 *             program that can't be executed counts as one that exited with
 *             127; the others run on.
 *
 * Each program has open: 0 and 1 as the line says, 2 as in the caller (unless
 * it is close-on-exec there, also when in_fd or out_fd is 2), and no other end
 * of the line's pipes.  in_fd and out_fd are open in no program but as its 0
 * or 1 (or 2, when that is their number).
 *
 * Returns 0 when all n programs have ended.
 *
 *   EINVAL  n is 0
 *   EBADF   in_fd or out_fd is not an open descriptor; nothing is started
 *   EAGAIN, EMFILE, …  a process or a pipe could not be made.  Programs that
 *           were already started are ended (SIGKILL) and waited for, whatever
 *           they are waiting for.
 *
 * On failure statuses[] is as before.
 *
 * See pipe2(2), fork(2), dup2(2), execvp(3), waitpid(2), kill(2).
 */
int pipe_pipeline(char *const *const argvs[], size_t n, int in_fd, int out_fd,
                  int statuses[]);

/* ------------------------------------------------------------------------
 * 5. A log that many processes write to
 */

/*
 * Writes a record to a pipe that other processes write records to at the same
 * time.  The record appears in the stream in one piece, whole or not at all.
 *
 *   fd    the write end of a pipe or FIFO.  It may be in non-blocking mode.
 *   size  in bytes, 0 to PIPE_BUF (4096 on Linux, <limits.h>); for 0 nothing
 *         is written and nothing can fail
 *
 * Returns 0.
 *
 *   EMSGSIZE  size is over PIPE_BUF; nothing is written
 *   EPIPE     as for pipe_write_full()
 *   EAGAIN    fd is in non-blocking mode and there is no room for the whole
 *             record now; nothing is written
 *
 * See pipe(7), "PIPE_BUF".
 */
int pipe_log(int fd, const void *rec, size_t size);

/* ------------------------------------------------------------------------
 * 6. A gate: n processes start together
 *
 * The end of file is a broadcast: every reader of a pipe sees it.  A gate is a
 * pipe that no byte is ever written to.
 *
 *     pipe_gate_init(&g);
 *     fork() n times, each child: pipe_gate_wait(&g); ...go...
 *     pipe_gate_open(&g);
 *
 * Nobody passes before the gate was opened AND every process that has a copy
 * of it has come to pipe_gate_wait() (or has ended): the last one to arrive
 * lets all go.  Who comes to wait at a gate that has been opened passes when
 * the same holds.
 */
struct pipe_gate {
    int read_fd;  /* -1 once this process has waited or opened */
    int write_fd; /* the same */
};

/*
 * Makes a closed gate, before the processes that are to wait at it are forked.
 * Both ends are close-on-exec: a program that is executed meanwhile does not
 * hold the gate.
 *
 * Returns 0.  On failure (EMFILE, ENFILE) *g is as before.
 *
 * See pipe2(2).
 */
int pipe_gate_init(struct pipe_gate *g);

/*
 * Waits in a forked process until the gate opens.  When it returns, both ends
 * are closed in this process and both fields of *g are -1, also after an
 * error of read(2).
 *
 * Returns 0.
 *
 *   EINVAL  this process has already waited at or opened the gate
 *
 * See read(2), close(2).
 */
int pipe_gate_wait(struct pipe_gate *g);

/*
 * Opens the gate, in the process that made it.  Does not wait.  Both ends are
 * closed in this process and both fields of *g are -1.
 *
 * Returns 0.
 *
 *   EINVAL  this process has already waited at or opened the gate
 *
 * See close(2).
 */
int pipe_gate_open(struct pipe_gate *g);

/* ------------------------------------------------------------------------
 * 7. A conversation with a filter
 */

/*
 * Runs a program, feeds it `in` on its standard input and collects its
 * standard output at the same time, to the end of file, then waits for it.
 * Input and output may each be larger than a pipe holds, and the program may
 * read and write in any order: neither side ever waits for the other for good.
 *
 *   argv     as for pipe_capture(); it runs with a pipe as its descriptor 0, a
 *            pipe as its descriptor 1, and the caller's descriptor 2
 *   in       the input; after its last byte the program sees the end of file
 *   in_size  in bytes; 0 (in may be NULL): the end of file at once
 *   out, cap, out_len, status   as out, cap, len, status of pipe_capture()
 *
 * A program that closes its standard input or ends before it has read
 * everything is no error: the rest of the input is dropped, its output is
 * still collected, and the caller sees neither SIGPIPE nor EPIPE.
 *
 * Returns 0.  Errors, and what is left unchanged by them, as for
 * pipe_capture(); and EIO, … when input could not be written for another
 * reason than EPIPE.
 *
 * See poll(2), fcntl(2) for O_NONBLOCK, and pipe_capture().
 */
int pipe_converse(char *const argv[], const void *in, size_t in_size, void *out,
                  size_t cap, size_t *out_len, int *status);

#endif
