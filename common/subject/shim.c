/*
 * shim.c - what stands between the student's object file and libc.
 *
 * The build renames the calls in the student's object (objcopy
 * --redefine-sym read=shim_read), so that they come here; libc's own calls
 * and the runtime's do not.  Each shim applies the faults that the test has
 * planned, makes the real call and logs it in the area, in this order.  Code
 * that goes round the shim (a function pointer from dlsym; syscall(), except
 * for futex(2), which has no function in libc) meets no fault and is not
 * logged: tests judge by effects and use the log to explain.
 *
 * A new call needs one line below.  Its family (see kit.h) makes a fault meet
 * every variant that a correct solution may use.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include <valgrind/memcheck.h>

#include "../kit.h"
#include "../mix.h"
#include "subject.h"

/* ---- faults and the log ----------------------------------------------- */

/* One call on its way through. */
struct passing {
    struct logged_call *log; /* NULL: the log is full, or there is none */
    size_t limit_bytes;      /* of a short transfer; SIZE_MAX: none */
    int err;                 /* the call fails with this; 0: it is made */
    const char *gate;        /* held there when the call is made; or NULL */
    const char *name, *family;
    const int64_t *args;
};

enum kind { PLAIN, MAY_BREAK, MAY_SHORTEN }; /* what CHAOS may do to it */

static bool is_meant(const char *fault, const char *name, const char *family)
{
    if (fault[0] == '=')
        return strcmp(fault + 1, name) == 0;
    return strcmp(fault, family) == 0 || strcmp(fault, name) == 0;
}

/* For the n-th call of a seeded plan. */
static uint64_t mix(uint64_t seed, uint64_t n)
{
    return mixed(seed + n * 0x9e3779b97f4a7c15u);
}

/* At most every second call is interrupted, so that a loop gets on. */
static void apply_chaos(struct passing *p, struct fault *f, enum kind kind)
{
    unsigned n = atomic_fetch_add(&f->seen, 1);
    uint64_t x = mix(f->seed, n);

    if (kind == PLAIN)
        return;
    if (n % 2 == 0 && x % 2 == 0)
        p->err = EINTR;
    else if (kind == MAY_SHORTEN && (x >> 8) % 2 == 0)
        p->limit_bytes = 1 + (x >> 16) % 13;
}

static bool counts(const struct fault *f, const char *name, const char *family,
                   const int64_t *args, unsigned nargs)
{
    if (!is_meant(f->call, name, family))
        return false;
    return f->argument < 0 || ((unsigned)f->argument < nargs &&
                               args[f->argument] == f->argument_value);
}

void shim_hold(const char *gate)
{
    tell_int(gate, 1);
    wait_for(gate);
}

static void apply_faults(struct passing *p, const char *name,
                         const char *family, enum kind kind,
                         const int64_t *args, unsigned nargs)
{
    struct area *a = scenario_state.area;

    for (uint32_t i = 0; i < a->nfaults && i < FAULTS; i++) {
        struct fault *f = &a->faults[i];

        if (strcmp(f->call, "*") == 0) {
            apply_chaos(p, f, kind);
        } else if (counts(f, name, family, args, nargs)) {
            unsigned n = atomic_fetch_add(&f->seen, 1) + 1;

            if (n < f->first || n - f->first >= f->count)
                continue;
            if (f->gate[0] != '\0' && f->after)
                p->gate = f->gate;
            else if (f->gate[0] != '\0')
                shim_hold(f->gate);
            else if (f->err != 0)
                p->err = f->err;
            else if (kind == MAY_SHORTEN)
                p->limit_bytes = f->limit_bytes;
        }
    }
}

static struct logged_call *new_log_line(void)
{
    unsigned n = atomic_fetch_add(&scenario_state.area->ncalls, 1);

    return n < LOGGED_CALLS ? &scenario_state.area->calls[n] : NULL;
}

/* Who polls nothing at all, for a time, naps. */
static const char *family_of_call(const char *name, const char *family,
                                  const int64_t *args)
{
    bool naps = false;

    if (strcmp(name, "poll") == 0)
        naps = args[1] == 0 && (int)args[2] >= 0;
    else if (strcmp(name, "ppoll") == 0)
        naps = args[1] == 0 && args[2] != 0;
    else if (strcmp(name, "select") == 0 || strcmp(name, "pselect") == 0)
        naps = args[0] == 0 && args[4] != 0;
    return naps ? "nanosleep" : family;
}

static struct passing enter(const char *name, const char *family,
                            enum kind kind, const int64_t *args, unsigned nargs,
                            const void *return_address)
{
    family = family_of_call(name, family, args);

    struct passing p = {
        .limit_bytes = SIZE_MAX, .name = name, .family = family, .args = args};
    int saved = errno;

    if (scenario_state.area == NULL) /* a constructor: before main */
        return p;
    p.log = new_log_line();
    if (p.log != NULL) {
        strncpy(p.log->name, name, NAME_BYTES - 1);
        strncpy(p.log->family, family, NAME_BYTES - 1);
        for (unsigned i = 0; i < nargs && i < LOGGED_ARGS; i++)
            p.log->args[i] = LOGGED(args[i]);
        p.log->nargs = nargs;
        p.log->wait_ns = clock_wait_ns(name, args);
        p.log->pid = getpid();
    }
    apply_faults(&p, name, family, kind, args, nargs);

    uint64_t place = witness_place(return_address);

    if (p.err == 0)
        schedule_enter(name, family, args, place);
    if (p.err == 0 || p.err == SPURIOUS_WAKEUP)
        witness_before(family, args, place);
    errno = p.err != 0 ? p.err : saved;
    return p;
}

const char *shim_stop(const char *name, const char *family, const int64_t *args,
                      unsigned nargs)
{
    struct passing p = {.gate = NULL};

    if (scenario_state.area->nfaults > 0)
        apply_faults(&p, name, family, PLAIN, args, nargs);
    return p.gate;
}

/* What SEM_UNDO of semop(2) adds up to: 0, where nothing is left to undo. */
static void note_undo(const int64_t *args)
{
    const struct sembuf *ops = (const void *)(intptr_t)args[1];

    for (size_t i = 0; i < (size_t)args[2]; i++)
        if ((ops[i].sem_flg & SEM_UNDO) != 0)
            scenario_state.undo += (uint64_t)ops[i].sem_op *
                                   mix((uint64_t)args[0] + 1, ops[i].sem_num);
}

static void leave(const struct passing *p, int64_t result, bool failed)
{
    int saved = errno;

    if (p->err == 0 && !failed && strcmp(p->family, "semop") == 0)
        note_undo(p->args);

    if (p->log != NULL) {
        p->log->result = LOGGED(result);
        p->log->err = failed ? saved : 0;
        atomic_store(&p->log->complete, 1);
    }
    if (p->err == 0 || p->err == SPURIOUS_WAKEUP)
        witness_after(p->family, p->args, result);
    if (p->err == 0)
        schedule_leave(p->family, result);
    if (p->gate != NULL)
        shim_hold(p->gate);
    errno = saved;
}

static size_t shortened(const struct passing *p, size_t size)
{
    return size < p->limit_bytes ? size : p->limit_bytes;
}

/* ---- points in time: clock.c ------------------------------------------- */

/* The calls that wait until a point in time; the shims below call these. */
#define pthread_cond_timedwait(a, b, t) \
    (pthread_cond_timedwait)(a, b, clock_real(t))
#define pthread_cond_clockwait(a, b, c, t) \
    (pthread_cond_clockwait)(a, b, c, clock_real(t))
#define pthread_mutex_timedlock(a, t) \
    (pthread_mutex_timedlock)(a, clock_real(t))
#define pthread_mutex_clocklock(a, c, t) \
    (pthread_mutex_clocklock)(a, c, clock_real(t))
#define pthread_rwlock_timedrdlock(a, t) \
    (pthread_rwlock_timedrdlock)(a, clock_real(t))
#define pthread_rwlock_clockrdlock(a, c, t) \
    (pthread_rwlock_clockrdlock)(a, c, clock_real(t))
#define pthread_rwlock_timedwrlock(a, t) \
    (pthread_rwlock_timedwrlock)(a, clock_real(t))
#define pthread_rwlock_clockwrlock(a, c, t) \
    (pthread_rwlock_clockwrlock)(a, c, clock_real(t))
#define sem_timedwait(a, t)         (sem_timedwait)(a, clock_real(t))
#define sem_clockwait(a, c, t)      (sem_clockwait)(a, c, clock_real(t))
#define mq_timedsend(a, b, n, p, t) (mq_timedsend)(a, b, n, p, clock_real(t))
#define mq_timedreceive(a, b, n, p, t) \
    (mq_timedreceive)(a, b, n, p, clock_real(t))
#define clock_nanosleep(c, flags, t, left)                                     \
    (clock_nanosleep)(c, flags, ((flags)&TIMER_ABSTIME) ? clock_real(t) : (t), \
                      left)
#define timer_settime(a, flags, t, old) \
    (timer_settime)(a, flags, clock_real_timer((flags)&TIMER_ABSTIME, t), old)
#define timerfd_settime(a, flags, t, old) \
    (timerfd_settime)(a, flags,           \
                      clock_real_timer((flags)&TFD_TIMER_ABSTIME, t), old)

/* ---- ordinary calls: one line each ------------------------------------ */

#define ARG(x) ((int64_t)(intptr_t)(x))
#define HERE   __builtin_return_address(0)

/* Does the schedule make the call? Then its result is there. */
static bool is_scheduled(const struct passing *p, int64_t *result)
{
    return schedule_call(p->name, p->family, p->args, result);
}

/* The body of a shim; `expr` is the real call, with p in scope. */
#define PASS(type, name, family, kind, expr, ...)                   \
    int64_t args[] = {__VA_ARGS__}, made = -1;                      \
    struct passing p = enter(#name, #family, kind, args,            \
                             sizeof(args) / sizeof(args[0]), HERE); \
    type result = p.err != 0                ? (type)-1              \
                  : is_scheduled(&p, &made) ? (type)made            \
                                            : (expr);               \
    leave(&p, ARG(result), result == (type)-1);                     \
    return result

#define SHIM0(type, name, family, kind)            \
    type shim_##name(void);                        \
    type shim_##name(void)                         \
    {                                              \
        PASS(type, name, family, kind, name(), 0); \
    }
#define SHIM1(type, name, family, kind, A)               \
    type shim_##name(A a);                               \
    type shim_##name(A a)                                \
    {                                                    \
        PASS(type, name, family, kind, name(a), ARG(a)); \
    }
#define SHIM2(type, name, family, kind, A, B)                       \
    type shim_##name(A a, B b);                                     \
    type shim_##name(A a, B b)                                      \
    {                                                               \
        PASS(type, name, family, kind, name(a, b), ARG(a), ARG(b)); \
    }
#define SHIM3(type, name, family, kind, A, B, C)                               \
    type shim_##name(A a, B b, C c);                                           \
    type shim_##name(A a, B b, C c)                                            \
    {                                                                          \
        PASS(type, name, family, kind, name(a, b, c), ARG(a), ARG(b), ARG(c)); \
    }
#define SHIM4(type, name, family, kind, A, B, C, D)                      \
    type shim_##name(A a, B b, C c, D d);                                \
    type shim_##name(A a, B b, C c, D d)                                 \
    {                                                                    \
        PASS(type, name, family, kind, name(a, b, c, d), ARG(a), ARG(b), \
             ARG(c), ARG(d));                                            \
    }
#define SHIM5(type, name, family, kind, A, B, C, D, E)                      \
    type shim_##name(A a, B b, C c, D d, E e);                              \
    type shim_##name(A a, B b, C c, D d, E e)                               \
    {                                                                       \
        PASS(type, name, family, kind, name(a, b, c, d, e), ARG(a), ARG(b), \
             ARG(c), ARG(d), ARG(e));                                       \
    }
#define SHIM6(type, name, family, kind, A, B, C, D, E, F)                      \
    type shim_##name(A a, B b, C c, D d, E e, F f);                            \
    type shim_##name(A a, B b, C c, D d, E e, F f)                             \
    {                                                                          \
        PASS(type, name, family, kind, name(a, b, c, d, e, f), ARG(a), ARG(b), \
             ARG(c), ARG(d), ARG(e), ARG(f));                                  \
    }
/* Calls that move size bytes; `size` names the parameter. */
#define TRANSFER3(type, name, family, A, B, C)                              \
    type shim_##name(A a, B b, C c);                                        \
    type shim_##name(A a, B b, C c)                                         \
    {                                                                       \
        PASS(type, name, family, MAY_SHORTEN, name(a, b, shortened(&p, c)), \
             ARG(a), ARG(b), ARG(c));                                       \
    }
#define TRANSFER4(type, name, family, A, B, C, D)                              \
    type shim_##name(A a, B b, C c, D d);                                      \
    type shim_##name(A a, B b, C c, D d)                                       \
    {                                                                          \
        PASS(type, name, family, MAY_SHORTEN, name(a, b, shortened(&p, c), d), \
             ARG(a), ARG(b), ARG(c), ARG(d));                                  \
    }
#define TRANSFER6(type, name, family, A, B, C, D, E, F)                     \
    type shim_##name(A a, B b, C c, D d, E e, F f);                         \
    type shim_##name(A a, B b, C c, D d, E e, F f)                          \
    {                                                                       \
        PASS(type, name, family, MAY_SHORTEN,                               \
             name(a, b, shortened(&p, c), d, e, f), ARG(a), ARG(b), ARG(c), \
             ARG(d), ARG(e), ARG(f));                                       \
    }

TRANSFER3(ssize_t, read, read, int, void *, size_t)
TRANSFER4(ssize_t, recv, read, int, void *, size_t, int)
TRANSFER6(ssize_t, recvfrom, read, int, void *, size_t, int, struct sockaddr *,
          socklen_t *)
TRANSFER3(ssize_t, write, write, int, const void *, size_t)
TRANSFER4(ssize_t, send, write, int, const void *, size_t, int)
TRANSFER6(ssize_t, sendto, write, int, const void *, size_t, int,
          const struct sockaddr *, socklen_t)
TRANSFER4(ssize_t, pread, pread, int, void *, size_t, off_t)
TRANSFER4(ssize_t, pwrite, pwrite, int, const void *, size_t, off_t)

/* ---- transfers of several pieces ---------------------------------------- */

/* The pieces of a transfer that is to be short: as many as have so many bytes,
 * and at most this many. */
struct pieces {
    struct iovec at[16];
    size_t n;
};

static struct pieces cut(const struct passing *p, const struct iovec *from,
                         size_t n)
{
    struct pieces to = {.n = 0};
    size_t left = p->limit_bytes;

    while (to.n < n && to.n < 16 && left > 0) {
        struct iovec piece = from[to.n];

        piece.iov_len = piece.iov_len < left ? piece.iov_len : left;
        left -= piece.iov_len;
        to.at[to.n++] = piece;
    }
    return to;
}

static ssize_t short_readv(const struct passing *p, int fd,
                           const struct iovec *from, int n)
{
    if (p->limit_bytes == SIZE_MAX || n <= 0)
        return readv(fd, from, n);

    struct pieces to = cut(p, from, (size_t)n);

    return readv(fd, to.at, (int)to.n);
}

static ssize_t short_writev(const struct passing *p, int fd,
                            const struct iovec *from, int n)
{
    if (p->limit_bytes == SIZE_MAX || n <= 0)
        return writev(fd, from, n);

    struct pieces to = cut(p, from, (size_t)n);

    return writev(fd, to.at, (int)to.n);
}

static ssize_t short_recvmsg(const struct passing *p, int fd,
                             struct msghdr *msg, int flags)
{
    if (p->limit_bytes == SIZE_MAX)
        return recvmsg(fd, msg, flags);

    struct msghdr whole = *msg;
    struct pieces to = cut(p, msg->msg_iov, msg->msg_iovlen);

    msg->msg_iov = to.at;
    msg->msg_iovlen = to.n;

    ssize_t got = recvmsg(fd, msg, flags);

    msg->msg_iov = whole.msg_iov;
    msg->msg_iovlen = whole.msg_iovlen;
    return got;
}

static ssize_t short_sendmsg(const struct passing *p, int fd,
                             const struct msghdr *msg, int flags)
{
    if (p->limit_bytes == SIZE_MAX)
        return sendmsg(fd, msg, flags);

    struct msghdr part = *msg;
    struct pieces to = cut(p, msg->msg_iov, msg->msg_iovlen);

    part.msg_iov = to.at;
    part.msg_iovlen = to.n;
    return sendmsg(fd, &part, flags);
}

#define TRANSFER_PIECES(name, family, A, B)                                  \
    ssize_t shim_##name(int fd, A a, B b);                                   \
    ssize_t shim_##name(int fd, A a, B b)                                    \
    {                                                                        \
        PASS(ssize_t, name, family, MAY_SHORTEN, short_##name(&p, fd, a, b), \
             fd, ARG(a), ARG(b));                                            \
    }

TRANSFER_PIECES(readv, read, const struct iovec *, int)
TRANSFER_PIECES(writev, write, const struct iovec *, int)
TRANSFER_PIECES(recvmsg, read, struct msghdr *, int)
TRANSFER_PIECES(sendmsg, write, const struct msghdr *, int)

/* ---- and all others --------------------------------------------------------- */

SHIM1(int, pipe, pipe, PLAIN, int *)
SHIM2(int, pipe2, pipe, PLAIN, int *, int)
SHIM1(int, close, close, PLAIN, int)
SHIM1(int, dup, dup, PLAIN, int)
SHIM2(int, dup2, dup, PLAIN, int, int)
SHIM3(int, dup3, dup, PLAIN, int, int, int)
SHIM2(int, ftruncate, ftruncate, MAY_BREAK, int, off_t)
SHIM2(int, fstat, fstat, PLAIN, int, struct stat *)
SHIM1(int, fsync, fsync, PLAIN, int)
SHIM1(int, fdatasync, fsync, PLAIN, int)
SHIM4(int, fallocate, posix_fallocate, MAY_BREAK, int, int, off_t, off_t)
SHIM2(int, flock, flock, MAY_BREAK, int, int)
SHIM3(int, lockf, lockf, MAY_BREAK, int, int, off_t)
SHIM1(int, unlink, unlink, PLAIN, const char *)
SHIM2(int, mkfifo, mkfifo, PLAIN, const char *, mode_t)

SHIM3(int, poll, poll, MAY_BREAK, struct pollfd *, nfds_t, int)
SHIM4(int, ppoll, poll, MAY_BREAK, struct pollfd *, nfds_t,
      const struct timespec *, const sigset_t *)
SHIM5(int, select, poll, MAY_BREAK, int, fd_set *, fd_set *, fd_set *,
      struct timeval *)
SHIM6(int, pselect, poll, MAY_BREAK, int, fd_set *, fd_set *, fd_set *,
      const struct timespec *, const sigset_t *)
SHIM4(int, epoll_wait, poll, MAY_BREAK, int, struct epoll_event *, int, int)

SHIM2(int, nanosleep, nanosleep, MAY_BREAK, const struct timespec *,
      struct timespec *)
SHIM2(int, thrd_sleep, nanosleep, MAY_BREAK, const struct timespec *,
      struct timespec *)
SHIM1(int, usleep, nanosleep, PLAIN, useconds_t)
SHIM1(unsigned, sleep, nanosleep, PLAIN, unsigned)
SHIM0(int, sched_yield, sched_yield, PLAIN)
SHIM0(pid_t, getpid, getpid, PLAIN)

SHIM0(pid_t, fork, fork, PLAIN)
SHIM1(pid_t, wait, waitpid, MAY_BREAK, int *)
SHIM3(pid_t, waitpid, waitpid, MAY_BREAK, pid_t, int *, int)
SHIM4(pid_t, wait4, waitpid, MAY_BREAK, pid_t, int *, int, struct rusage *)
SHIM4(int, waitid, waitpid, MAY_BREAK, idtype_t, id_t, siginfo_t *, int)
SHIM3(int, execve, exec, PLAIN, const char *, char *const *, char *const *)
SHIM2(int, execv, exec, PLAIN, const char *, char *const *)
SHIM2(int, execvp, exec, PLAIN, const char *, char *const *)
SHIM3(int, execvpe, exec, PLAIN, const char *, char *const *, char *const *)
SHIM3(int, sigaction, sigaction, PLAIN, int, const struct sigaction *,
      struct sigaction *)
SHIM3(int, sigprocmask, sigmask, PLAIN, int, const sigset_t *, sigset_t *)

SHIM2(key_t, ftok, ftok, PLAIN, const char *, int)
SHIM3(int, semop, semop, MAY_BREAK, int, struct sembuf *, size_t)
SHIM4(int, semtimedop, semop, MAY_BREAK, int, struct sembuf *, size_t,
      const struct timespec *)
SHIM4(int, msgsnd, msgsnd, MAY_BREAK, int, const void *, size_t, int)
SHIM5(ssize_t, msgrcv, msgrcv, MAY_BREAK, int, void *, size_t, long, int)

SHIM1(int, shm_unlink, shm_unlink, PLAIN, const char *)
SHIM3(int, msync, msync, PLAIN, void *, size_t, int)
SHIM2(int, memfd_create, memfd_create, PLAIN, const char *, unsigned)

SHIM3(int, socket, socket, PLAIN, int, int, int)
SHIM4(int, socketpair, socketpair, PLAIN, int, int, int, int *)
SHIM3(int, bind, bind, PLAIN, int, const struct sockaddr *, socklen_t)
SHIM2(int, listen, listen, PLAIN, int, int)
SHIM3(int, accept, accept, MAY_BREAK, int, struct sockaddr *, socklen_t *)
SHIM4(int, accept4, accept, MAY_BREAK, int, struct sockaddr *, socklen_t *, int)
SHIM3(int, connect, connect, MAY_BREAK, int, const struct sockaddr *, socklen_t)
SHIM2(int, shutdown, shutdown, PLAIN, int, int)

SHIM4(int, mq_send, mq_send, MAY_BREAK, mqd_t, const char *, size_t, unsigned)
SHIM5(int, mq_timedsend, mq_send, MAY_BREAK, mqd_t, const char *, size_t,
      unsigned, const struct timespec *)
SHIM4(ssize_t, mq_receive, mq_receive, MAY_BREAK, mqd_t, char *, size_t,
      unsigned *)
SHIM5(ssize_t, mq_timedreceive, mq_receive, MAY_BREAK, mqd_t, char *, size_t,
      unsigned *, const struct timespec *)
SHIM2(int, mq_getattr, mq_getattr, PLAIN, mqd_t, struct mq_attr *)
SHIM3(int, mq_setattr, mq_setattr, PLAIN, mqd_t, const struct mq_attr *,
      struct mq_attr *)
SHIM2(int, mq_notify, mq_notify, PLAIN, mqd_t, const struct sigevent *)
SHIM1(int, mq_close, mq_close, PLAIN, mqd_t)
SHIM1(int, mq_unlink, mq_unlink, PLAIN, const char *)
SHIM1(int, sem_wait, sem_wait, MAY_BREAK, sem_t *)
SHIM2(int, sem_timedwait, sem_wait, MAY_BREAK, sem_t *, const struct timespec *)
SHIM3(int, sem_clockwait, sem_wait, MAY_BREAK, sem_t *, clockid_t,
      const struct timespec *)
SHIM1(int, sem_trywait, sem_trywait, PLAIN, sem_t *)
SHIM1(int, sem_post, sem_post, PLAIN, sem_t *)
SHIM2(int, sem_getvalue, sem_getvalue, PLAIN, sem_t *, int *)
SHIM1(int, sem_close, sem_close, PLAIN, sem_t *)
SHIM1(int, sem_destroy, sem_destroy, PLAIN, sem_t *)
SHIM3(int, sem_init, sem_init, PLAIN, sem_t *, int, unsigned)
SHIM1(int, sem_unlink, sem_unlink, PLAIN, const char *)

/* ---- calls that return the error instead of setting errno ------------- */

/* The body of such a shim: `value` is what it returns, with p in scope; errno
 * stays as it was. */
#define PASS_VALUE(name, family, kind, value, ...)                  \
    int64_t args[] = {__VA_ARGS__}, made = 0;                       \
    int saved = errno;                                              \
    struct passing p = enter(#name, #family, kind, args,            \
                             sizeof(args) / sizeof(args[0]), HERE); \
    errno = saved;                                                  \
    int err = (value);                                              \
    leave(&p, err, false);                                          \
    return err
#define PASS_ERR(name, family, kind, expr, ...)      \
    PASS_VALUE(name, family, kind,                   \
               p.err != 0                ? p.err     \
               : is_scheduled(&p, &made) ? (int)made \
                                         : (expr),   \
               __VA_ARGS__)

#define ERR1(name, family, A)                           \
    int shim_##name(A a);                               \
    int shim_##name(A a)                                \
    {                                                   \
        PASS_ERR(name, family, PLAIN, name(a), ARG(a)); \
    }
#define ERR2(name, family, A, B)                                   \
    int shim_##name(A a, B b);                                     \
    int shim_##name(A a, B b)                                      \
    {                                                              \
        PASS_ERR(name, family, PLAIN, name(a, b), ARG(a), ARG(b)); \
    }
#define ERR3(name, family, A, B, C)                                           \
    int shim_##name(A a, B b, C c);                                           \
    int shim_##name(A a, B b, C c)                                            \
    {                                                                         \
        PASS_ERR(name, family, PLAIN, name(a, b, c), ARG(a), ARG(b), ARG(c)); \
    }
#define ERR4(name, family, A, B, C, D)                                  \
    int shim_##name(A a, B b, C c, D d);                                \
    int shim_##name(A a, B b, C c, D d)                                 \
    {                                                                   \
        PASS_ERR(name, family, PLAIN, name(a, b, c, d), ARG(a), ARG(b), \
                 ARG(c), ARG(d));                                       \
    }

#define SPAWN(name)                                                    \
    int shim_##name(pid_t *pid, const char *path,                      \
                    const posix_spawn_file_actions_t *actions,         \
                    const posix_spawnattr_t *attr, char *const argv[], \
                    char *const envp[]);                               \
    int shim_##name(pid_t *pid, const char *path,                      \
                    const posix_spawn_file_actions_t *actions,         \
                    const posix_spawnattr_t *attr, char *const argv[], \
                    char *const envp[])                                \
    {                                                                  \
        PASS_ERR(name, fork, PLAIN,                                    \
                 name(pid, path, actions, attr, argv, envp), ARG(pid), \
                 ARG(path));                                           \
    }

SPAWN(posix_spawn)
SPAWN(posix_spawnp)
ERR3(posix_fallocate, posix_fallocate, int, off_t, off_t)

ERR2(pthread_mutex_init, pthread_mutex_init, pthread_mutex_t *,
     const pthread_mutexattr_t *)
ERR1(pthread_mutex_destroy, pthread_mutex_destroy, pthread_mutex_t *)
ERR1(pthread_mutex_lock, pthread_mutex_lock, pthread_mutex_t *)
ERR2(pthread_mutex_timedlock, pthread_mutex_lock, pthread_mutex_t *,
     const struct timespec *)
ERR3(pthread_mutex_clocklock, pthread_mutex_lock, pthread_mutex_t *, clockid_t,
     const struct timespec *)
ERR1(pthread_mutex_trylock, pthread_mutex_trylock, pthread_mutex_t *)
ERR1(pthread_mutex_unlock, pthread_mutex_unlock, pthread_mutex_t *)
ERR1(pthread_mutex_consistent, pthread_mutex_consistent, pthread_mutex_t *)
ERR2(pthread_mutexattr_setpshared, pthread_mutexattr_setpshared,
     pthread_mutexattr_t *, int)
ERR2(pthread_mutexattr_setrobust, pthread_mutexattr_setrobust,
     pthread_mutexattr_t *, int)
ERR2(pthread_cond_init, pthread_cond_init, pthread_cond_t *,
     const pthread_condattr_t *)
ERR1(pthread_cond_destroy, pthread_cond_destroy, pthread_cond_t *)
ERR1(pthread_cond_signal, pthread_cond_signal, pthread_cond_t *)
ERR1(pthread_cond_broadcast, pthread_cond_signal, pthread_cond_t *)
ERR2(pthread_condattr_setpshared, pthread_condattr_setpshared,
     pthread_condattr_t *, int)
ERR2(pthread_condattr_setclock, pthread_condattr_setclock, pthread_condattr_t *,
     clockid_t)
ERR2(pthread_rwlock_init, pthread_rwlock_init, pthread_rwlock_t *,
     const pthread_rwlockattr_t *)
ERR1(pthread_rwlock_destroy, pthread_rwlock_destroy, pthread_rwlock_t *)
ERR1(pthread_rwlock_rdlock, pthread_rwlock_rdlock, pthread_rwlock_t *)
ERR2(pthread_rwlock_timedrdlock, pthread_rwlock_rdlock, pthread_rwlock_t *,
     const struct timespec *)
ERR3(pthread_rwlock_clockrdlock, pthread_rwlock_rdlock, pthread_rwlock_t *,
     clockid_t, const struct timespec *)
ERR1(pthread_rwlock_tryrdlock, pthread_rwlock_tryrdlock, pthread_rwlock_t *)
ERR1(pthread_rwlock_wrlock, pthread_rwlock_wrlock, pthread_rwlock_t *)
ERR2(pthread_rwlock_timedwrlock, pthread_rwlock_wrlock, pthread_rwlock_t *,
     const struct timespec *)
ERR3(pthread_rwlock_clockwrlock, pthread_rwlock_wrlock, pthread_rwlock_t *,
     clockid_t, const struct timespec *)
ERR1(pthread_rwlock_trywrlock, pthread_rwlock_trywrlock, pthread_rwlock_t *)
ERR1(pthread_rwlock_unlock, pthread_rwlock_unlock, pthread_rwlock_t *)
ERR2(pthread_rwlockattr_setpshared, pthread_rwlockattr_setpshared,
     pthread_rwlockattr_t *, int)
ERR3(pthread_barrier_init, pthread_barrier_init, pthread_barrier_t *,
     const pthread_barrierattr_t *, unsigned)
ERR1(pthread_barrier_destroy, pthread_barrier_destroy, pthread_barrier_t *)
ERR1(pthread_barrier_wait, pthread_barrier_wait, pthread_barrier_t *)
ERR2(pthread_barrierattr_setpshared, pthread_barrierattr_setpshared,
     pthread_barrierattr_t *, int)
ERR4(clock_nanosleep, nanosleep, clockid_t, int, const struct timespec *,
     struct timespec *)

int shim_pthread_create(pthread_t *id, const pthread_attr_t *attr,
                        void *(*start)(void *), void *arg);
int shim_pthread_create(pthread_t *id, const pthread_attr_t *attr,
                        void *(*start)(void *), void *arg)
{
    PASS_ERR(pthread_create, pthread_create, PLAIN,
             witness_create(id, attr, start, arg), ARG(id), ARG(attr));
}

int shim_pthread_join(pthread_t id, void **result);
int shim_pthread_join(pthread_t id, void **result)
{
    PASS_ERR(pthread_join, pthread_join, PLAIN, witness_join(id, result),
             ARG(id), ARG(result));
}

/* A wait that ends without a signal has given the mutex up meanwhile. */
static int wake_without_signal(pthread_mutex_t *mutex)
{
    int err = pthread_mutex_unlock(mutex);

    return err != 0 ? err : pthread_mutex_lock(mutex);
}

#define PASS_WAIT(name, expr, ...)                                \
    PASS_VALUE(name, pthread_cond_wait, PLAIN,                    \
               p.err == SPURIOUS_WAKEUP  ? wake_without_signal(b) \
               : p.err != 0              ? p.err                  \
               : is_scheduled(&p, &made) ? (int)made              \
                                         : (expr),                \
               __VA_ARGS__)

int shim_pthread_cond_wait(pthread_cond_t *a, pthread_mutex_t *b);
int shim_pthread_cond_wait(pthread_cond_t *a, pthread_mutex_t *b)
{
    PASS_WAIT(pthread_cond_wait, pthread_cond_wait(a, b), ARG(a), ARG(b));
}

int shim_pthread_cond_timedwait(pthread_cond_t *a, pthread_mutex_t *b,
                                const struct timespec *c);
int shim_pthread_cond_timedwait(pthread_cond_t *a, pthread_mutex_t *b,
                                const struct timespec *c)
{
    PASS_WAIT(pthread_cond_timedwait, pthread_cond_timedwait(a, b, c), ARG(a),
              ARG(b), ARG(c));
}

int shim_pthread_cond_clockwait(pthread_cond_t *a, pthread_mutex_t *b,
                                clockid_t c, const struct timespec *d);
int shim_pthread_cond_clockwait(pthread_cond_t *a, pthread_mutex_t *b,
                                clockid_t c, const struct timespec *d)
{
    PASS_WAIT(pthread_cond_clockwait, pthread_cond_clockwait(a, b, c, d),
              ARG(a), ARG(b), ARG(c), ARG(d));
}

/* ---- calls with a varying last argument ------------------------------- */

/* One more argument, whatever its type: every ABI that Linux runs on passes
 * an int, a long and a pointer in the same place. */
static long last_argument(va_list rest)
{
    return va_arg(rest, long);
}

#define SHIM_VARARG(name, family, kind, A, B, last)                           \
    int shim_##name(A a, B b, ...);                                           \
    int shim_##name(A a, B b, ...)                                            \
    {                                                                         \
        va_list rest;                                                         \
                                                                              \
        va_start(rest, b);                                                    \
                                                                              \
        long c = last_argument(rest);                                         \
                                                                              \
        va_end(rest);                                                         \
        PASS(int, name, family, kind, name(a, b, last c), ARG(a), ARG(b), c); \
    }

SHIM_VARARG(open, open, PLAIN, const char *, int, (mode_t))
SHIM_VARARG(fcntl, fcntl, PLAIN, int, int, )

int shim_openat(int dir, const char *path, int flags, ...);
int shim_openat(int dir, const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);

    long mode = last_argument(rest);

    va_end(rest);
    PASS(int, openat, open, PLAIN, openat(dir, path, flags, (mode_t)mode), dir,
         ARG(path), flags, mode);
}

/* ---- calls that name an object ---------------------------------------- */

static void name_object(const struct passing *p, const char *name)
{
    if (p->log != NULL && name != NULL)
        strncpy(p->log->object, name, OBJECT_BYTES - 1);
}

int shim_shm_open(const char *name, int flags, mode_t mode);
int shim_shm_open(const char *name, int flags, mode_t mode)
{
    PASS(int, shm_open, shm_open, PLAIN,
         (name_object(&p, name), shm_open(name, flags, mode)), ARG(name), flags,
         mode);
}

mqd_t shim_mq_open(const char *name, int flags, ...);
mqd_t shim_mq_open(const char *name, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);

    mode_t mode = va_arg(rest, mode_t);
    struct mq_attr *attr = va_arg(rest, struct mq_attr *);

    va_end(rest);
    PASS(mqd_t, mq_open, mq_open, PLAIN,
         (name_object(&p, name), mq_open(name, flags, mode, attr)), ARG(name),
         flags, mode, ARG(attr));
}

sem_t *shim_sem_open(const char *name, int flags, ...);
sem_t *shim_sem_open(const char *name, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);

    mode_t mode = va_arg(rest, mode_t);
    unsigned value = va_arg(rest, unsigned);

    va_end(rest);

    int64_t args[] = {ARG(name), flags, mode, value};
    struct passing p = enter("sem_open", "sem_open", PLAIN, args, 4, HERE);
    sem_t *sem = SEM_FAILED;

    name_object(&p, name);
    if (p.err == 0)
        sem = sem_open(name, flags, mode, value);
    leave(&p, ARG(sem), sem == SEM_FAILED);
    return sem;
}

/* ---- calls that map shared memory --------------------------------------- */

static void *mapped(void *at, size_t size, int flags, int fd, off_t offset)
{
    static _Atomic uint64_t anonymous;

    if (at == MAP_FAILED || (flags & MAP_TYPE) == MAP_PRIVATE)
        return at;
    if (flags & MAP_ANONYMOUS)
        witness_map(at, size, SPACE_ANONYMOUS, (uint64_t)getpid(),
                    atomic_fetch_add(&anonymous, 1) << 40);
    else
        witness_map_file(at, size, fd, (uint64_t)offset);
    return at;
}

static void *attached(int id, void *at)
{
    if (at != (void *)-1)
        witness_map_segment(at, id);
    return at;
}

void *shim_mmap(void *at, size_t size, int prot, int flags, int fd, off_t off);
void *shim_mmap(void *at, size_t size, int prot, int flags, int fd, off_t off)
{
    PASS(void *, mmap, mmap, PLAIN,
         mapped(mmap(at, size, prot, flags, fd, off), size, flags, fd, off),
         ARG(at), ARG(size), prot, flags, fd, off);
}

void *shim_mremap(void *at, size_t from, size_t to, int flags, ...);
void *shim_mremap(void *at, size_t from, size_t to, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);

    void *where = (void *)last_argument(rest);

    va_end(rest);
    PASS(void *, mremap, mremap, PLAIN,
         witness_moved(at, mremap(at, from, to, flags, where), to), ARG(at),
         ARG(from), ARG(to), flags, ARG(where));
}

int shim_munmap(void *at, size_t size);
int shim_munmap(void *at, size_t size)
{
    PASS(int, munmap, munmap, PLAIN, (witness_unmap(at), munmap(at, size)),
         ARG(at), ARG(size));
}

void *shim_shmat(int id, const void *at, int flags);
void *shim_shmat(int id, const void *at, int flags)
{
    PASS(void *, shmat, shmat, PLAIN, attached(id, shmat(id, at, flags)), id,
         ARG(at), flags);
}

int shim_shmdt(const void *at);
int shim_shmdt(const void *at)
{
    PASS(int, shmdt, shmdt, PLAIN, (witness_unmap(at), shmdt(at)), ARG(at));
}

/* ---- calls with a rule of their own ----------------------------------- */

/*
 * System V objects: what the code makes is listed, and only what is listed
 * can be removed.  An object is made by a call with IPC_PRIVATE, or by one
 * with IPC_CREAT for a key that had none.
 */
static void list_made(int kind, int id, bool is_new)
{
    int err = errno;

    if (id == -1 || !is_new || scenario_state.made == NULL)
        return;
    made_add(scenario_state.made, kind, id);
    dprintf(scenario_state.journal, "%c %d\n", kind, id);
    errno = err;
}

static bool may_remove(int kind, int id, int cmd)
{
    if (cmd != IPC_RMID || scenario_state.made == NULL ||
        made_has(scenario_state.made, kind, id))
        return true;
    errno = EPERM;
    return false;
}

/* found: what a look for the key gives; no look for IPC_PRIVATE, since
 * msgget() makes a queue then, whatever the flags. */
static bool makes_new(key_t key, int flags, int found)
{
    return found == -1 && (key == IPC_PRIVATE || (flags & IPC_CREAT) != 0);
}

static int listed_shmget(key_t key, size_t size, int flags)
{
    bool is_new =
        makes_new(key, flags, key == IPC_PRIVATE ? -1 : shmget(key, 0, 0));
    int id = shmget(key, size, flags);

    list_made('m', id, is_new);
    return id;
}

static int listed_semget(key_t key, int n, int flags)
{
    bool is_new =
        makes_new(key, flags, key == IPC_PRIVATE ? -1 : semget(key, 0, 0));
    int id = semget(key, n, flags);

    list_made('s', id, is_new);
    return id;
}

static int listed_msgget(key_t key, int flags)
{
    bool is_new =
        makes_new(key, flags, key == IPC_PRIVATE ? -1 : msgget(key, 0));
    int id = msgget(key, flags);

    list_made('q', id, is_new);
    return id;
}

int shim_shmget(key_t key, size_t size, int flags);
int shim_shmget(key_t key, size_t size, int flags)
{
    PASS(int, shmget, shmget, PLAIN, listed_shmget(key, size, flags), key,
         ARG(size), flags);
}

int shim_semget(key_t key, int n, int flags);
int shim_semget(key_t key, int n, int flags)
{
    PASS(int, semget, semget, PLAIN, listed_semget(key, n, flags), key, n,
         flags);
}

int shim_msgget(key_t key, int flags);
int shim_msgget(key_t key, int flags)
{
    PASS(int, msgget, msgget, PLAIN, listed_msgget(key, flags), key, flags);
}

/* Valgrind 3.19 does not know that these commands fill their argument
 * (SHM_STAT_ANY came with Linux 4.17), and would blame the student. */
static void mark_filled(int cmd, void *out)
{
    if (cmd == SHM_STAT || cmd == SHM_STAT_ANY)
        VALGRIND_MAKE_MEM_DEFINED(out, sizeof(struct shmid_ds));
    else if (cmd == SHM_INFO)
        VALGRIND_MAKE_MEM_DEFINED(out, sizeof(struct shm_info));
    else if (cmd == IPC_INFO)
        VALGRIND_MAKE_MEM_DEFINED(out, sizeof(struct shminfo));
}

static int guarded_shmctl(int id, int cmd, struct shmid_ds *ds)
{
    int ret = may_remove('m', id, cmd) ? shmctl(id, cmd, ds) : -1;

    if (ret != -1)
        mark_filled(cmd, ds);
    return ret;
}

int shim_shmctl(int id, int cmd, struct shmid_ds *ds);
int shim_shmctl(int id, int cmd, struct shmid_ds *ds)
{
    PASS(int, shmctl, shmctl, PLAIN, guarded_shmctl(id, cmd, ds), id, cmd,
         ARG(ds));
}

int shim_msgctl(int id, int cmd, struct msqid_ds *ds);
int shim_msgctl(int id, int cmd, struct msqid_ds *ds)
{
    PASS(int, msgctl, msgctl, PLAIN,
         may_remove('q', id, cmd) ? msgctl(id, cmd, ds) : -1, id, cmd, ARG(ds));
}

int shim_semctl(int id, int num, int cmd, ...);
int shim_semctl(int id, int num, int cmd, ...)
{
    va_list rest;

    va_start(rest, cmd);

    long last = last_argument(rest);

    va_end(rest);
    PASS(int, semctl, semctl, PLAIN,
         may_remove('s', id, cmd) ? semctl(id, num, cmd, last) : -1, id, num,
         cmd, last);
}

/* kill(-1) ends every process that the user may end: after a failed fork()
 * an honest kill(pid, SIGTERM) means just that. */
static int guarded_kill(pid_t pid, int sig)
{
    if (pid == -1) {
        errno = EPERM;
        return -1;
    }
    return kill(pid, sig);
}

int shim_kill(pid_t pid, int sig);
int shim_kill(pid_t pid, int sig)
{
    PASS(int, kill, kill, PLAIN, guarded_kill(pid, sig), pid, sig);
}

/* FUTEX_WAIT alone waits for a time, the others until a point in time. */
static const struct timespec *futex_time(int op, const struct timespec *t)
{
    return op == FUTEX_WAIT_BITSET || op == FUTEX_LOCK_PI ? clock_real(t) : t;
}

static long shim_futex(long a, long b, long c, long d, long e, long f)
{
    int op = (int)b & FUTEX_CMD_MASK;
    enum kind kind =
        op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET ? MAY_BREAK : PLAIN;

    PASS(long, futex, futex, kind,
         syscall(SYS_futex, a, b, c, futex_time(op, (const void *)d), e, f), a,
         b, c, d, e, f);
}

long shim_syscall(long number, ...);
long shim_syscall(long number, ...)
{
    long a[6];
    va_list rest;

    va_start(rest, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_futex)
        return shim_futex(a[0], a[1], a[2], a[3], a[4], a[5]);
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* With a timer armed, a process that sleeps may yet be woken. */
static void note_timer(void)
{
    if (scenario_state.area != NULL)
        atomic_store(&scenario_state.area->timers, 1);
}

unsigned shim_alarm(unsigned seconds);
unsigned shim_alarm(unsigned seconds)
{
    note_timer();
    return alarm(seconds);
}

int shim_setitimer(__itimer_which_t which, const struct itimerval *value,
                   struct itimerval *old);
int shim_setitimer(__itimer_which_t which, const struct itimerval *value,
                   struct itimerval *old)
{
    note_timer();
    PASS(int, setitimer, setitimer, PLAIN, setitimer(which, value, old), which,
         ARG(value), ARG(old));
}

int shim_timerfd_create(clockid_t clock, int flags);
int shim_timerfd_create(clockid_t clock, int flags)
{
    note_timer();
    PASS(int, timerfd_create, timerfd_create, PLAIN,
         timerfd_create(clock, flags), clock, flags);
}

SHIM4(int, timerfd_settime, timerfd_settime, PLAIN, int, int,
      const struct itimerspec *, struct itimerspec *)

int shim_setsockopt(int fd, int level, int name, const void *value,
                    socklen_t size);
int shim_setsockopt(int fd, int level, int name, const void *value,
                    socklen_t size)
{
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        note_timer();
    PASS(int, setsockopt, setsockopt, PLAIN,
         setsockopt(fd, level, name, value, size), fd, level, name, ARG(value),
         size);
}

int shim_timer_settime(timer_t timer, int flags, const struct itimerspec *t,
                       struct itimerspec *old);
int shim_timer_settime(timer_t timer, int flags, const struct itimerspec *t,
                       struct itimerspec *old)
{
    PASS(int, timer_settime, timer_settime, PLAIN,
         timer_settime(timer, flags, t, old), ARG(timer), flags, ARG(t),
         ARG(old));
}

int shim_timer_create(clockid_t clock, struct sigevent *event, timer_t *timer);
int shim_timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
    note_timer();
    PASS(int, timer_create, timer_create, PLAIN,
         timer_create(clock, event, timer), clock, ARG(event), ARG(timer));
}
