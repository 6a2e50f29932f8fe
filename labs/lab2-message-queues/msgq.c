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

int sysvq_create(key_t key)
{
    /* TODO(lab2): make a new queue for this user alone; fail if the key is
     * taken.  msgget(2). */
    errno = ENOSYS;
    return -1;
}

int sysvq_open(key_t key)
{
    /* TODO(lab2): find the queue that has the key, never make one.  What
     * does msgget(2) do when the key is IPC_PRIVATE? */
    errno = ENOSYS;
    return -1;
}

int sysvq_destroy(int qid)
{
    /* TODO(lab2): remove the queue.  msgctl(2). */
    errno = ENOSYS;
    return -1;
}

int sysvq_send(int qid, long type, const void *data, size_t size)
{
    /* TODO(lab2): put type and data into one structure and send it.  Which
     * bytes does msgsz count?  msgop(2). */
    errno = ENOSYS;
    return -1;
}

ssize_t sysvq_recv(int qid, long type, void *data, size_t cap, long *got_type)
{
    /* TODO(lab2): take a message of the type that is asked for and hand
     * over its data.  What becomes of one that does not fit?  msgop(2). */
    errno = ENOSYS;
    return -1;
}

int sysvq_call(int qid, const void *req, size_t req_size, void *rep, size_t cap,
               ssize_t *rep_len)
{
    /* TODO(lab2): send head and request with the type SYSVQ_REQUEST; take
     * the reply that has this process's id for its type and this call's
     * number in its head. */
    errno = ENOSYS;
    return -1;
}

int sysvq_serve(int qid,
                int (*handle)(const void *req, size_t size, void *rep,
                              size_t *rep_size),
                int n)
{
    /* TODO(lab2): n times: take a request, let `handle` work on it, send
     * the reply with the client's process id as its type. */
    errno = ENOSYS;
    return -1;
}

mqd_t jobq_create(const char *name, long maxmsg, long msgsize)
{
    /* TODO(lab2): make a new queue of these sizes for this user alone; fail
     * if the name is taken.  Does the kernel say EINVAL to each name that
     * is to be refused?  mq_open(3). */
    errno = ENOSYS;
    return (mqd_t)-1;
}

mqd_t jobq_open(const char *name)
{
    /* TODO(lab2): open the queue, never make one.  mq_open(3). */
    errno = ENOSYS;
    return (mqd_t)-1;
}

int jobq_destroy(const char *name)
{
    /* TODO(lab2): remove the name.  mq_unlink(3). */
    errno = ENOSYS;
    return -1;
}

int jobq_put(mqd_t q, const void *job, size_t size, unsigned prio,
             int deadline_ms)
{
    /* TODO(lab2): send the job; wait no longer than the deadline.  Which
     * clock does mq_timedsend read, and from when does it count?
     * mq_send(3). */
    errno = ENOSYS;
    return -1;
}

ssize_t jobq_get(mqd_t q, void *job, size_t cap, unsigned *prio,
                 int deadline_ms)
{
    /* TODO(lab2): take the job of the highest priority; wait no longer than
     * the deadline.  mq_receive(3). */
    errno = ENOSYS;
    return -1;
}

ssize_t jobq_drain(mqd_t q,
                   int (*each)(const void *job, size_t size, unsigned prio,
                               void *ctx),
                   void *ctx)
{
    /* TODO(lab2): ask how many jobs there are and how long one may be; take
     * them without waiting.  mq_getattr(3), mq_receive(3). */
    errno = ENOSYS;
    return -1;
}
