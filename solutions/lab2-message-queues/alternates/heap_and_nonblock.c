/*
 * heap_and_nonblock.c - another way: messages on the heap, deadlines by
 * dividing nanoseconds, and a draining that sets O_NONBLOCK for as long as it
 * takes and puts it back.
 */
#include "msgq.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

static int fail(int err)
{
    errno = err;
    return -1;
}

int sysvq_create(key_t key)
{
    return msgget(key, 0600 | IPC_EXCL | IPC_CREAT);
}

int sysvq_open(key_t key)
{
    return key == IPC_PRIVATE ? fail(EINVAL) : msgget(key, 0600);
}

int sysvq_destroy(int qid)
{
    struct msqid_ds ds;

    return msgctl(qid, IPC_RMID, &ds);
}

int sysvq_send(int qid, long type, const void *data, size_t size)
{
    if (type < 1)
        return fail(EINVAL);
    if (size > SYSVQ_MAX_BYTES)
        return fail(EMSGSIZE);

    long *message = malloc(sizeof(long) + size);

    if (message == NULL)
        return -1;
    message[0] = type;
    if (size != 0)
        memcpy(message + 1, data, size);
    while (msgsnd(qid, message, size, 0) == -1) {
        if (errno == EINTR)
            continue;

        int err = errno;

        free(message);
        return fail(err);
    }
    free(message);
    return 0;
}

ssize_t sysvq_recv(int qid, long type, void *data, size_t cap, long *got_type)
{
    long *message = malloc(sizeof(long) + cap);
    ssize_t n;

    if (message == NULL)
        return -1;
    do {
        n = msgrcv(qid, message, cap, type, 0);
    } while (n < 0 && errno == EINTR);

    int err = errno;

    if (n >= 0) {
        memcpy(data, message + 1, (size_t)n);
        if (got_type)
            *got_type = message[0];
    }
    free(message);
    errno = err;
    return n;
}

/* The same numbers for nobody else: they begin with the time, and anew in a
 * forked child. */
static uint32_t next_number(void)
{
    static uint32_t number;
    static pid_t owner;
    struct timespec t;

    if (owner != getpid()) {
        owner = getpid();
        clock_gettime(CLOCK_MONOTONIC, &t);
        number = (uint32_t)t.tv_nsec;
    }
    return number++;
}

int sysvq_call(int qid, const void *req, size_t req_size, void *rep, size_t cap,
               ssize_t *rep_len)
{
    char buf[SYSVQ_MAX_BYTES]; /* any message can be taken */
    struct request_head ask = {.from = getpid(), .number = next_number()};
    struct reply_head told;

    if (req_size > SYSVQ_CALL_BYTES)
        return fail(EMSGSIZE);
    memcpy(buf, &ask, sizeof(ask));
    if (req_size != 0)
        memcpy(buf + sizeof(ask), req, req_size);
    if (sysvq_send(qid, SYSVQ_REQUEST, buf, sizeof(ask) + req_size) == -1)
        return -1;
    for (;;) {
        ssize_t n = sysvq_recv(qid, getpid(), buf, sizeof(buf), NULL);

        if (n == -1)
            return -1;
        if (n < (ssize_t)sizeof(told) ||
            n > (ssize_t)sizeof(told) + SYSVQ_CALL_BYTES)
            continue;
        memcpy(&told, buf, sizeof(told));
        if (told.number != ask.number)
            continue;
        if (told.err != 0)
            return fail(told.err);
        *rep_len = n - (ssize_t)sizeof(told);
        if ((size_t)*rep_len > cap)
            return fail(E2BIG);
        memcpy(rep, buf + sizeof(told), (size_t)*rep_len);
        return 0;
    }
}

int sysvq_serve(int qid,
                int (*handle)(const void *req, size_t size, void *rep,
                              size_t *rep_size),
                int n)
{
    char in[SYSVQ_MAX_BYTES];
    char out[sizeof(struct reply_head) + SYSVQ_CALL_BYTES];

    for (int done = 0; done < n;) {
        struct request_head ask;
        struct reply_head tell = {0};
        size_t size = SYSVQ_CALL_BYTES;
        ssize_t got = sysvq_recv(qid, SYSVQ_REQUEST, in, sizeof(in), NULL);

        if (got == -1)
            return -1;
        if (got < (ssize_t)sizeof(ask) ||
            got > (ssize_t)sizeof(ask) + SYSVQ_CALL_BYTES)
            continue;
        memcpy(&ask, in, sizeof(ask));
        if (ask.from < 1 || ask.from >= SYSVQ_REQUEST)
            continue;
        if (handle(in + sizeof(ask), (size_t)got - sizeof(ask),
                   out + sizeof(tell), &size) == -1) {
            tell.err = errno;
            size = 0;
        }
        tell.number = ask.number;
        memcpy(out, &tell, sizeof(tell));
        if (sysvq_send(qid, ask.from, out, sizeof(tell) + size) == -1)
            return -1;
        done++;
    }
    return 0;
}

mqd_t jobq_create(const char *name, long maxmsg, long msgsize)
{
    struct mq_attr attr;

    if (strrchr(name, '/') != name || strlen(name) == 1)
        return (mqd_t)fail(EINVAL);
    memset(&attr, 0, sizeof(attr));
    attr.mq_maxmsg = maxmsg;
    attr.mq_msgsize = msgsize;
    return mq_open(name, O_CREAT | O_EXCL | O_RDWR, S_IRUSR | S_IWUSR, &attr);
}

mqd_t jobq_open(const char *name)
{
    return mq_open(name, O_RDWR);
}

int jobq_destroy(const char *name)
{
    return mq_unlink(name);
}

/* A deadline that is never met stands for -1. */
static int point_in_time(int ms, struct timespec *t)
{
    long long ns;

    if (ms < -1)
        return fail(EINVAL);
    clock_gettime(CLOCK_REALTIME, t);
    ns = t->tv_nsec + (ms == -1 ? 0 : ms) * 1000000LL;
    t->tv_sec += ns / 1000000000LL + (ms == -1 ? 1000000000L : 0);
    t->tv_nsec = ns % 1000000000LL;
    return 0;
}

int jobq_put(mqd_t q, const void *job, size_t size, unsigned prio,
             int deadline_ms)
{
    struct timespec t;

    if (point_in_time(deadline_ms, &t) == -1)
        return -1;
    while (mq_timedsend(q, job, size, prio, &t) == -1)
        if (errno != EINTR)
            return -1;
    return 0;
}

ssize_t jobq_get(mqd_t q, void *job, size_t cap, unsigned *prio,
                 int deadline_ms)
{
    struct timespec t;
    ssize_t n;

    if (point_in_time(deadline_ms, &t) == -1)
        return -1;
    while ((n = mq_timedreceive(q, job, cap, prio, &t)) == -1)
        if (errno != EINTR)
            return -1;
    return n;
}

/* Not blocking while it takes one job, and no longer: each may wait. */
static ssize_t take_now(mqd_t q, char *job, size_t cap, unsigned *prio)
{
    const struct mq_attr nonblock = {.mq_flags = O_NONBLOCK};
    struct mq_attr before;
    ssize_t size;

    if (mq_setattr(q, &nonblock, &before) == -1)
        return -1;
    while ((size = mq_receive(q, job, cap, prio)) == -1 && errno == EINTR)
        ;

    int err = errno;

    mq_setattr(q, &before, NULL);
    errno = err;
    return size;
}

ssize_t jobq_drain(mqd_t q,
                   int (*each)(const void *job, size_t size, unsigned prio,
                               void *ctx),
                   void *ctx)
{
    struct mq_attr attr;
    ssize_t n = 0;
    char *job;

    if (mq_getattr(q, &attr) == -1)
        return -1;
    job = malloc((size_t)attr.mq_msgsize);
    if (job == NULL)
        return -1;
    for (long left = attr.mq_curmsgs; left > 0; left--) {
        unsigned prio;
        ssize_t size = take_now(q, job, (size_t)attr.mq_msgsize, &prio);

        if (size == -1 && n == 0 && errno != EAGAIN)
            n = -1;
        if (size == -1)
            break;
        n++;
        if (each(job, (size_t)size, prio, ctx))
            break;
    }
    free(job);
    return n;
}
