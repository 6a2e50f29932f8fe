/*
 * wait_with_poll.c - another way: waits for POSIX queues with poll(2), which
 * Linux allows on their descriptors, and looks before it takes.
 */
#include "msgq.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* A message as msgsnd and msgrcv want it; size counts `data` alone. */
struct message {
    long type;
    char data[SYSVQ_MAX_BYTES];
};

static int send_message(int qid, const struct message *m, size_t size)
{
    int ret;

    do
        ret = msgsnd(qid, m, size, 0);
    while (ret == -1 && errno == EINTR);
    return ret;
}

static ssize_t take_message(int qid, struct message *m, size_t cap, long type)
{
    ssize_t size;

    do
        size = msgrcv(qid, m, cap, type, 0);
    while (size == -1 && errno == EINTR);
    return size;
}

int sysvq_create(key_t key)
{
    return msgget(key, IPC_CREAT | IPC_EXCL | 0600);
}

int sysvq_open(key_t key)
{
    if (key == IPC_PRIVATE) {
        errno = EINVAL;
        return -1;
    }
    return msgget(key, 0);
}

int sysvq_destroy(int qid)
{
    return msgctl(qid, IPC_RMID, NULL);
}

int sysvq_send(int qid, long type, const void *data, size_t size)
{
    struct message m = {.type = type};

    if (size > SYSVQ_MAX_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    if (size > 0)
        memcpy(m.data, data, size);
    return send_message(qid, &m, size);
}

ssize_t sysvq_recv(int qid, long type, void *data, size_t cap, long *got_type)
{
    struct message m;
    ssize_t size = take_message(
        qid, &m, cap < SYSVQ_MAX_BYTES ? cap : SYSVQ_MAX_BYTES, type);

    if (size == -1)
        return -1;
    memcpy(data, m.data, (size_t)size);
    if (got_type != NULL)
        *got_type = m.type;
    return size;
}

/* Takes replies until the one to this call comes; its size, head included. */
static ssize_t take_reply(int qid, struct message *m, uint32_t number)
{
    struct reply_head head;

    for (;;) {
        ssize_t size = take_message(qid, m, sizeof(m->data), getpid());

        if (size == -1)
            return -1;
        if ((size_t)size < sizeof(head) ||
            (size_t)size > sizeof(head) + SYSVQ_CALL_BYTES)
            continue;
        memcpy(&head, m->data, sizeof(head));
        if (head.number == number)
            return size;
    }
}

int sysvq_call(int qid, const void *req, size_t req_size, void *rep, size_t cap,
               ssize_t *rep_len)
{
    struct request_head request = {.from = getpid()};
    struct reply_head reply;
    struct message m = {.type = SYSVQ_REQUEST};

    if (req_size > SYSVQ_CALL_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    if (getrandom(&request.number, sizeof(request.number), 0) == -1)
        return -1;
    memcpy(m.data, &request, sizeof(request));
    if (req_size > 0)
        memcpy(m.data + sizeof(request), req, req_size);
    if (send_message(qid, &m, sizeof(request) + req_size) == -1)
        return -1;

    ssize_t size = take_reply(qid, &m, request.number);

    if (size == -1)
        return -1;
    memcpy(&reply, m.data, sizeof(reply));
    if (reply.err != 0) {
        errno = reply.err;
        return -1;
    }
    size -= (ssize_t)sizeof(reply);
    *rep_len = size;
    if ((size_t)size > cap) {
        errno = E2BIG;
        return -1;
    }
    memcpy(rep, m.data + sizeof(reply), (size_t)size);
    return 0;
}

/* Answers the request in m, which has `size` bytes, head included. */
static int answer(int qid, const struct message *m, size_t size,
                  int (*handle)(const void *req, size_t size, void *rep,
                                size_t *rep_size))
{
    struct request_head request;
    struct reply_head reply = {.err = 0};
    struct message out;
    size_t rep_size = SYSVQ_CALL_BYTES;

    memcpy(&request, m->data, sizeof(request));
    reply.number = request.number;
    errno = 0;
    if (handle(m->data + sizeof(request), size - sizeof(request),
               out.data + sizeof(reply), &rep_size) == -1) {
        reply.err = errno != 0 ? errno : EIO;
        rep_size = 0;
    }
    memcpy(out.data, &reply, sizeof(reply));
    out.type = request.from;
    return send_message(qid, &out, sizeof(reply) + rep_size);
}

int sysvq_serve(int qid,
                int (*handle)(const void *req, size_t size, void *rep,
                              size_t *rep_size),
                int n)
{
    struct message m;

    while (n > 0) {
        ssize_t size = take_message(qid, &m, sizeof(m.data), SYSVQ_REQUEST);

        if (size == -1)
            return -1;
        struct request_head head = {.from = 0};

        if ((size_t)size >= sizeof(head) &&
            (size_t)size <= sizeof(head) + SYSVQ_CALL_BYTES)
            memcpy(&head, m.data, sizeof(head));
        if (head.from < 1 || head.from >= SYSVQ_REQUEST)
            continue;
        if (answer(qid, &m, (size_t)size, handle) == -1)
            return -1;
        n--;
    }
    return 0;
}

mqd_t jobq_create(const char *name, long maxmsg, long msgsize)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};

    if (name[0] != '/' || strcspn(name + 1, "/") != strlen(name + 1) ||
        name[1] == '\0') {
        errno = EINVAL;
        return (mqd_t)-1;
    }
    return mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
}

mqd_t jobq_open(const char *name)
{
    return mq_open(name, O_RDWR);
}

int jobq_destroy(const char *name)
{
    return mq_unlink(name);
}

/* Milliseconds since some point in time. */
static long long clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Waits until the descriptor is ready, or for ever with until_ms -1. */
static int wait_ready(mqd_t q, short event, long long until_ms)
{
    struct pollfd p = {.fd = q, .events = event};
    int n;

    do {
        long long left = until_ms == -1 ? -1 : until_ms - clock_ms();

        if (until_ms != -1 && left < 0)
            left = 0;
        n = poll(&p, 1, (int)left);
        if (n == 0 && until_ms != -1 && clock_ms() >= until_ms) {
            errno = ETIMEDOUT;
            return -1;
        }
    } while (n == 0 || (n == -1 && errno == EINTR));
    return n == -1 ? -1 : 0;
}

static int begin_wait(int deadline_ms, long long *until_ms)
{
    if (deadline_ms < -1) {
        errno = EINVAL;
        return -1;
    }
    *until_ms =
        deadline_ms == -1 ? -1 : clock_ms() + deadline_ms + (deadline_ms > 0);
    return 0;
}

static const struct timespec passed = {.tv_sec = 0};

int jobq_put(mqd_t q, const void *job, size_t size, unsigned prio,
             int deadline_ms)
{
    long long until;

    if (begin_wait(deadline_ms, &until) == -1)
        return -1;
    while (mq_timedsend(q, job, size, prio, &passed) == -1) {
        if (errno != ETIMEDOUT && errno != EAGAIN && errno != EINTR)
            return -1;
        if (wait_ready(q, POLLOUT, until) == -1)
            return -1;
    }
    return 0;
}

ssize_t jobq_get(mqd_t q, void *job, size_t cap, unsigned *prio,
                 int deadline_ms)
{
    long long until;
    ssize_t size;

    if (begin_wait(deadline_ms, &until) == -1)
        return -1;
    while ((size = mq_timedreceive(q, job, cap, prio, &passed)) == -1) {
        if (errno != ETIMEDOUT && errno != EAGAIN && errno != EINTR)
            return -1;
        if (wait_ready(q, POLLIN, until) == -1)
            return -1;
    }
    return size;
}

ssize_t jobq_drain(mqd_t q,
                   int (*each)(const void *job, size_t size, unsigned prio,
                               void *ctx),
                   void *ctx)
{
    struct mq_attr attr;
    long taken = 0;

    if (mq_getattr(q, &attr) == -1)
        return -1;

    size_t room = (size_t)attr.mq_msgsize;
    char *job = malloc(room);

    if (job == NULL)
        return -1;
    for (bool more = true; more && taken < attr.mq_curmsgs;) {
        struct pollfd p = {.fd = q, .events = POLLIN};
        unsigned prio;
        ssize_t size;

        if (poll(&p, 1, 0) == 0)
            break;
        size = mq_timedreceive(q, job, room, &prio, &passed);
        if (size == -1 && errno == EINTR)
            continue;
        if (size == -1 && taken == 0 && errno != ETIMEDOUT && errno != EAGAIN)
            taken = -1;
        if (size == -1)
            break;
        taken++;
        more = each(job, (size_t)size, prio, ctx) == 0;
    }
    free(job);
    return taken;
}
