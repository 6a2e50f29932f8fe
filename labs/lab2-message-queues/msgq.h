/*
 * msgq.h - message queues: the kernel keeps messages apart and in order.
 *
 * A pipe carries bytes; where one message ends and the next begins is the
 * programs' business.  A queue carries messages: one send is one receive, and
 * each message has a mark by which a receiver can choose.
 *
 *   System V   a queue has a key and an id, as a segment has (lab 4).  The
 *              mark is the message's type, a long above 0.  A receiver asks
 *              for any type, for one, or for the lowest up to a limit.
 *   POSIX      a queue has a name, "/jobs", and a descriptor.  The mark is a
 *              priority, an unsigned; the highest comes out first.
 *
 * Both live in the kernel and belong to no process: a queue and the messages
 * in it stay when every program has ended, until somebody removes the queue.
 *
 * The rules of this interface:
 *  - A function returns -1 on failure, and errno says why.  On success errno
 *    means nothing.
 *  - On failure nothing is changed: no queue made or removed, no message sent
 *    or taken, no out-parameter written (where it is otherwise, the comment
 *    says so).
 *  - A signal that is handled ends no wait: what waits goes on, and a
 *    deadline stays where it was.
 *  - Who waits sleeps in the kernel until it is woken.
 *  - A queue that is removed while a function sleeps in it is EIDRM.  Where it
 *    is removed between two system calls (at a signal, or between a request
 *    and its reply) the second one says EINVAL, and so may the function.
 *  - No function prints, exits, or keeps a descriptor, memory or a child once
 *    it has returned; jobq_create() and jobq_open() return a descriptor, which
 *    the caller closes with mq_close(3).
 *  - No pointer is NULL unless a comment allows it.
 *
 * Errors beyond those in the tables come as the system call gave them.
 *
 * Read first: sysvipc(7), msgget(2), msgop(2), msgctl(2), mq_overview(7).
 */
#ifndef MSGQ_H
#define MSGQ_H

#include <mqueue.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * System V: a queue and its life
 */

/*
 * Makes a new, empty queue, for its owner alone (mode 0600).
 *
 * key  a key that no queue has, or IPC_PRIVATE for a queue without a key
 *
 * Returns the queue's id.  Somebody has to sysvq_destroy() it one day.
 * Returns -1 with errno:
 *   EEXIST  a queue with that key exists; it is left alone
 *   ENOSPC  the system has as many queues as it allows (ipcs -l)
 *
 * See msgget(2).
 */
int sysvq_create(key_t key);

/*
 * Finds the queue that has this key.  Never makes one, whatever the key.
 *
 * Returns its id.
 * Returns -1 with errno:
 *   ENOENT  no queue has that key
 *   EINVAL  key is IPC_PRIVATE, which names no queue
 *   EACCES  the queue is another user's and shut to this one
 *
 * See msgget(2).
 */
int sysvq_open(key_t key);

/*
 * Removes the queue and the messages in it, at once: who waits in it is woken
 * with EIDRM.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL or EIDRM  there is no queue with this id (any more)
 *   EPERM            the queue is another user's
 *
 * See msgctl(2).
 */
int sysvq_destroy(int qid);

/* ------------------------------------------------------------------------
 * System V: messages and their types
 */

/* The longest message, in bytes of data: the kernel's own default. */
#define SYSVQ_MAX_BYTES 8192

/*
 * Sends one message.  Waits while the queue is full.
 *
 * type  1 or more
 * data  may be NULL when size is 0
 * size  bytes of data, the type not counted: 0 to SYSVQ_MAX_BYTES
 *
 * Returns 0, or -1 with errno:
 *   EINVAL    type is below 1, or there is no such queue
 *   EMSGSIZE  size is over SYSVQ_MAX_BYTES
 *   EIDRM     the queue was removed while this waited
 *
 * See msgop(2).
 */
int sysvq_send(int qid, long type, const void *data, size_t size);

/*
 * Takes one message.  Waits until there is one to take.
 *
 * type      0: the oldest message, whatever its type
 *           above 0: the oldest of this type
 *           below 0: the oldest of the lowest type that is at most -type
 * data      where its bytes go; behind them nothing is written
 * cap       room there, in bytes
 * got_type  where its type goes; may be NULL
 *
 * Returns the message's size in bytes, which may be 0.
 * Returns -1 with errno:
 *   E2BIG   the message has more than cap bytes: it stays in the queue, first
 *           in line, and can be taken whole with more room
 *   EIDRM   the queue was removed while this waited
 *   EINVAL  there is no such queue
 *
 * See msgop(2).
 */
ssize_t sysvq_recv(int qid, long type, void *data, size_t cap, long *got_type);

/* ------------------------------------------------------------------------
 * System V: requests and replies over one queue
 */

/*
 * Many clients and a server share one queue.  A request goes out with a type
 * that no process id can be; the reply comes back with the client's process id
 * as its type, so that each client takes its own and nobody else's.
 *
 * The data of a request is a struct request_head and then the request's bytes;
 * the data of a reply is a struct reply_head and then the reply's bytes.
 * `number` tells calls apart: it is the request's, and another one in each
 * call of a process.  Process ids come again, so a process does not begin with
 * the number that others began with, and a count does not go on in a forked
 * child; the time in nanoseconds is a start.  A reply with another number is
 * an answer to a call that the client gave up (or to a dead process that had
 * the same id): it is dropped.  So is one that is shorter than its head, or
 * longer than a reply may be.
 *
 * A queue holds 16384 bytes (msgmnb), requests and replies together.  When
 * clients fill it with requests, there is no room for a reply, and everybody
 * waits: have no more clients than fit.
 */
#define SYSVQ_REQUEST 0x40000000L /* process ids are at most 4194304 */

struct request_head {
    int32_t from;    /* the client's process id, in a fork the child's */
    uint32_t number; /* of this call */
};

struct reply_head {
    int32_t err;     /* 0, or the errno with which the handler failed */
    uint32_t number; /* of the call that it answers */
};

/* The longest request and the longest reply, in bytes after the head. */
#define SYSVQ_CALL_BYTES 4096

/*
 * Sends a request and waits for its reply.
 *
 * req, req_size  the request: 0 to SYSVQ_CALL_BYTES bytes
 * rep, cap       where the reply goes, and the room there in bytes
 * rep_len        where the reply's whole size in bytes goes
 *
 * Returns 0, or -1 with errno:
 *   EMSGSIZE  req_size is over SYSVQ_CALL_BYTES; nothing was sent
 *   E2BIG     the reply has more than cap bytes.  It has been taken from the
 *             queue, *rep_len is its size, rep is as it was
 *   EIDRM     the queue was removed meanwhile (or EINVAL: see above)
 *   what the handler's errno was, when the handler failed
 */
int sysvq_call(int qid, const void *req, size_t req_size, void *rep, size_t cap,
               ssize_t *rep_len);

/*
 * Answers n requests, in the order in which they came.
 *
 * handle  gets a request of `size` bytes; *rep_size is the room at rep
 *         (SYSVQ_CALL_BYTES), and becomes the reply's size, which is no more.
 *         It returns 0, or -1 with errno (not 0), which then is what the
 *         client's call fails with.
 * n       how many requests; 0: none
 *
 * Messages of other types stay in the queue.  One that is no request is
 * dropped and not counted: it is shorter than its head or longer than a request
 * may be, or `from` is no process id (below 1, or SYSVQ_REQUEST and above,
 * where the reply would be the next request).  The reply waits for room while
 * the queue is full.  Whether a client that does not exist any more is sent one
 * is left to you.
 *
 * Returns 0, or -1 with errno:
 *   EIDRM   the queue was removed meanwhile (or EINVAL: see above)
 *   EINVAL  there is no such queue
 */
int sysvq_serve(int qid,
                int (*handle)(const void *req, size_t size, void *rep,
                              size_t *rep_size),
                int n);

/* ------------------------------------------------------------------------
 * POSIX: a queue of jobs
 */

/*
 * Makes a new, empty queue, for its owner alone, and opens it to read and
 * write.
 *
 * name     "/" and a name without a slash, not empty
 * maxmsg   so many jobs fit: 1 to what the system allows (10 by default)
 * msgsize  the longest job, in bytes: 1 to what the system allows (8192)
 *
 * Returns a descriptor, or (mqd_t)-1 with errno:
 *   EEXIST  there is a queue of that name; it is left alone
 *   EINVAL  maxmsg, msgsize or the name is not as above.  (Look at the name:
 *           the kernel has other errnos for some of these.)
 *   EMFILE  this user's queues hold as many bytes as the system allows
 *           (RLIMIT_MSGQUEUE in getrlimit(2))
 *
 * See mq_open(3), mq_overview(7).
 */
mqd_t jobq_create(const char *name, long maxmsg, long msgsize);

/*
 * Opens the queue of that name to read and write.  Never makes one.
 *
 * Returns a descriptor, or (mqd_t)-1 with errno:
 *   ENOENT  there is none
 *   EACCES  it is another user's and shut to this one
 *
 * See mq_open(3).
 */
mqd_t jobq_open(const char *name);

/*
 * Removes the name.  Who has the queue open can go on using it; when the last
 * descriptor is closed it is gone, with the jobs in it.
 *
 * Returns 0, or -1 with errno ENOENT: there is no queue of that name.
 *
 * See mq_unlink(3).
 */
int jobq_destroy(const char *name);

/* ------------------------------------------------------------------------
 * POSIX: jobs and their priorities
 */

/*
 * deadline_ms, in both functions: how long to wait at most, in milliseconds
 * from the call on.  -1: for ever; 0: not at all; a job or a place that is
 * there at once is taken, whatever the deadline.  O_NONBLOCK is not set on q.
 */

/*
 * Puts a job into the queue.  Waits while the queue is full.
 *
 * size  0 to the queue's msgsize, in bytes
 * prio  0 (lowest) to 32767
 *
 * Returns 0, or -1 with errno:
 *   EMSGSIZE   size is over the queue's msgsize
 *   EINVAL     prio is over 32767, or deadline_ms below -1
 *   ETIMEDOUT  the queue was full until the deadline
 *
 * See mq_send(3).
 */
int jobq_put(mqd_t q, const void *job, size_t size, unsigned prio,
             int deadline_ms);

/*
 * Takes the job of the highest priority, of several the oldest.  Waits while
 * the queue is empty.
 *
 * job   where its bytes go
 * cap   room there, in bytes: the queue's msgsize or more
 * prio  where its priority goes; may be NULL
 *
 * Returns the job's size in bytes, which may be 0.
 * Returns -1 with errno:
 *   EMSGSIZE   cap is less than the queue's msgsize (however long the jobs in
 *              it are)
 *   EINVAL     deadline_ms is below -1
 *   ETIMEDOUT  the queue was empty until the deadline
 *
 * See mq_receive(3).
 */
ssize_t jobq_get(mqd_t q, void *job, size_t cap, unsigned *prio,
                 int deadline_ms);

/*
 * Takes the jobs that are there now, in jobq_get()'s order, and hands each to
 * a function.  Never waits.  Ends when the queue is empty, and at the latest
 * when it has taken as many jobs as were there at the call: who puts in new
 * ones meanwhile can't keep it busy for ever.
 *
 * each  gets a job, its size in bytes, its priority and ctx.  It returns 0 to
 *       go on; anything else ends the draining (this job is taken and counts).
 *       It may use the queue itself.
 *
 * The queue's flags (O_NONBLOCK in mq_getattr(3)) are as before whenever each
 * is called, and however this ends.
 *
 * Returns how many jobs were handed out, 0 or more; so, too, when an error
 * comes after the first of them.
 * Returns -1 with errno when an error comes before it, such as:
 *   EBADF   q is no queue
 *   ENOMEM  no memory for one job
 */
ssize_t jobq_drain(mqd_t q,
                   int (*each)(const void *job, size_t size, unsigned prio,
                               void *ctx),
                   void *ctx);

#endif
