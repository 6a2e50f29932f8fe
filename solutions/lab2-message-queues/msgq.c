/*
 * msgq.c - message queues: System V with types, POSIX with priorities.  What
 * each function has to do is said in msgq.h.
 */
#include "msgq.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

// BEGIN SOLUTION
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

// END SOLUTION
int sysvq_create(key_t key)
{
    // BEGIN SOLUTION
    return msgget(key, IPC_CREAT | IPC_EXCL | 0600);
    // STUB
    // /* TODO(lab2): make a new queue for this user alone; fail if the key is
    //  * taken.  msgget(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int sysvq_open(key_t key)
{
    // BEGIN SOLUTION
    if (key == IPC_PRIVATE) {
        errno = EINVAL;
        return -1;
    }
    return msgget(key, 0);
    // STUB
    // /* TODO(lab2): find the queue that has the key, never make one.  What
    //  * does msgget(2) do when the key is IPC_PRIVATE? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int sysvq_destroy(int qid)
{
    // BEGIN SOLUTION
    return msgctl(qid, IPC_RMID, NULL);
    // STUB
    // /* TODO(lab2): remove the queue.  msgctl(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int sysvq_send(int qid, long type, const void *data, size_t size)
{
    // BEGIN SOLUTION
    struct message m = {.type = type};

    if (size > SYSVQ_MAX_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    if (size > 0)
        memcpy(m.data, data, size);
    return send_message(qid, &m, size);
    // STUB
    // /* TODO(lab2): put type and data into one structure and send it.  Which
    //  * bytes does msgsz count?  msgop(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

ssize_t sysvq_recv(int qid, long type, void *data, size_t cap, long *got_type)
{
    // BEGIN SOLUTION
    struct message m;
    ssize_t size = take_message(
        qid, &m, cap < SYSVQ_MAX_BYTES ? cap : SYSVQ_MAX_BYTES, type);

    if (size == -1)
        return -1;
    memcpy(data, m.data, (size_t)size);
    if (got_type != NULL)
        *got_type = m.type;
    return size;
    // STUB
    // /* TODO(lab2): take a message of the type that is asked for and hand
    //  * over its data.  What becomes of one that does not fit?  msgop(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* The number of a new call, from the clock: a count would begin alike in
 * another process that had this id, and go on in a forked child. */
static uint32_t new_number(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)(now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
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

// END SOLUTION
int sysvq_call(int qid, const void *req, size_t req_size, void *rep, size_t cap,
               ssize_t *rep_len)
{
    // BEGIN SOLUTION
    struct request_head request = {.from = getpid(), .number = new_number()};
    struct reply_head reply;
    struct message m = {.type = SYSVQ_REQUEST};

    if (req_size > SYSVQ_CALL_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
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
    // STUB
    // /* TODO(lab2): send head and request with the type SYSVQ_REQUEST; take
    //  * the reply that has this process's id for its type and this call's
    //  * number in its head. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* A whole head, no more than a request may have, and a client whom a reply can
 * be sent to. */
static bool is_request(const struct message *m, ssize_t size)
{
    struct request_head head;

    if ((size_t)size < sizeof(head) ||
        (size_t)size > sizeof(head) + SYSVQ_CALL_BYTES)
        return false;
    memcpy(&head, m->data, sizeof(head));
    return head.from >= 1 && head.from < SYSVQ_REQUEST;
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

// END SOLUTION
int sysvq_serve(int qid,
                int (*handle)(const void *req, size_t size, void *rep,
                              size_t *rep_size),
                int n)
{
    // BEGIN SOLUTION
    struct message m;

    while (n > 0) {
        ssize_t size = take_message(qid, &m, sizeof(m.data), SYSVQ_REQUEST);

        if (size == -1)
            return -1;
        if (!is_request(&m, size))
            continue;
        if (answer(qid, &m, (size_t)size, handle) == -1)
            return -1;
        n--;
    }
    return 0;
    // STUB
    // /* TODO(lab2): n times: take a request, let `handle` work on it, send
    //  * the reply with the client's process id as its type. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Without this the kernel would say ENOENT to "/", and EACCES to "/a/b". */
static bool is_name(const char *name)
{
    return name[0] == '/' && name[1] != '\0' && strchr(name + 1, '/') == NULL;
}

// END SOLUTION
mqd_t jobq_create(const char *name, long maxmsg, long msgsize)
{
    // BEGIN SOLUTION
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};

    if (!is_name(name)) {
        errno = EINVAL;
        return (mqd_t)-1;
    }
    return mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    // STUB
    // /* TODO(lab2): make a new queue of these sizes for this user alone; fail
    //  * if the name is taken.  Does the kernel say EINVAL to each name that
    //  * is to be refused?  mq_open(3). */
    // errno = ENOSYS;
    // return (mqd_t)-1;
    // END SOLUTION
}

mqd_t jobq_open(const char *name)
{
    // BEGIN SOLUTION
    return mq_open(name, O_RDWR);
    // STUB
    // /* TODO(lab2): open the queue, never make one.  mq_open(3). */
    // errno = ENOSYS;
    // return (mqd_t)-1;
    // END SOLUTION
}

int jobq_destroy(const char *name)
{
    // BEGIN SOLUTION
    return mq_unlink(name);
    // STUB
    // /* TODO(lab2): remove the name.  mq_unlink(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* The clock's time in so many milliseconds: mq_timedsend and mq_timedreceive
 * want to know when to stop, not how long to wait. */
static struct timespec time_in(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

static int check_deadline(int deadline_ms)
{
    if (deadline_ms >= -1)
        return 0;
    errno = EINVAL;
    return -1;
}

// END SOLUTION
int jobq_put(mqd_t q, const void *job, size_t size, unsigned prio,
             int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    int ret;

    if (check_deadline(deadline_ms) == -1)
        return -1;
    do
        ret = deadline_ms == -1 ? mq_send(q, job, size, prio)
                                : mq_timedsend(q, job, size, prio, &until);
    while (ret == -1 && errno == EINTR);
    return ret;
    // STUB
    // /* TODO(lab2): send the job; wait no longer than the deadline.  Which
    //  * clock does mq_timedsend read, and from when does it count?
    //  * mq_send(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

ssize_t jobq_get(mqd_t q, void *job, size_t cap, unsigned *prio,
                 int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    ssize_t size;

    if (check_deadline(deadline_ms) == -1)
        return -1;
    do
        size = deadline_ms == -1 ? mq_receive(q, job, cap, prio)
                                 : mq_timedreceive(q, job, cap, prio, &until);
    while (size == -1 && errno == EINTR);
    return size;
    // STUB
    // /* TODO(lab2): take the job of the highest priority; wait no longer than
    //  * the deadline.  mq_receive(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Takes a job if there is one.  A deadline that has passed does not wait, and
 * leaves O_NONBLOCK alone, which every process that has this queue open in
 * common would see. */
static ssize_t take_now(mqd_t q, char *job, size_t cap, unsigned *prio)
{
    const struct timespec passed = {.tv_sec = 0};
    ssize_t size;

    do
        size = mq_timedreceive(q, job, cap, prio, &passed);
    while (size == -1 && errno == EINTR);
    return size;
}

// END SOLUTION
ssize_t jobq_drain(mqd_t q,
                   int (*each)(const void *job, size_t size, unsigned prio,
                               void *ctx),
                   void *ctx)
{
    // BEGIN SOLUTION
    struct mq_attr attr;
    ssize_t taken = 0;

    if (mq_getattr(q, &attr) == -1)
        return -1;

    char *job = malloc((size_t)attr.mq_msgsize);

    if (job == NULL)
        return -1;
    while (taken < attr.mq_curmsgs) {
        unsigned prio;
        ssize_t size = take_now(q, job, (size_t)attr.mq_msgsize, &prio);

        if (size == -1) {
            if (taken == 0 && errno != ETIMEDOUT && errno != EAGAIN)
                taken = -1;
            break;
        }
        taken++;
        if (each(job, (size_t)size, prio, ctx) != 0)
            break;
    }
    free(job);
    return taken;
    // STUB
    // /* TODO(lab2): ask how many jobs there are and how long one may be; take
    //  * them without waiting.  mq_getattr(3), mq_receive(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
