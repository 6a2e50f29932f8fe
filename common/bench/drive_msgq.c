/* drive_msgq.c - lab 2: messages in queues, System V and POSIX.  A message
 * that is longer than a queue takes goes in parts. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>

#include "msgq.h"

#define MOST_BYTES 8192 /* in one message: what Linux allows if not told more */
#define MOST_MSGS  10   /* in one POSIX queue */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t limit_of(const char *file)
{
    FILE *f = fopen(file, "r");
    size_t limit = MOST_BYTES;

    if (f) {
        if (fscanf(f, "%zu", &limit) != 1)
            limit = MOST_BYTES;
        fclose(f);
    }
    return smaller(limit, MOST_BYTES);
}

/* ------------------------------------------------------------------------
 * System V: one queue, and a type for each way
 */

static key_t key; /* the parent's choice, so that it can remove the queue */
static int qid = -1;

static size_t largest_sysv(void)
{
    static size_t largest;

    if (largest == 0)
        largest = limit_of("/proc/sys/kernel/msgmax");
    return largest;
}

static int prepare_sysv(const struct route *r)
{
    (void)r;
    do
        if (getrandom(&key, sizeof(key), 0) == -1)
            return not_ready("getrandom");
    while (key == IPC_PRIVATE || msgget(key, 0) != -1 || errno != ENOENT);
    return 0;
}

static int open_sysv(const struct route *r)
{
    (void)r;
    qid = side == CLIENT ? LAB(sysvq_create, key) : LAB(sysvq_open, key);
    return qid == -1 ? lab_failed() : 0;
}

static int send_sysv(const struct route *r)
{
    const char *from = own_place(r);

    for (size_t at = 0; at < r->size; at += largest_sysv()) {
        size_t part = smaller(largest_sysv(), r->size - at);
        if (LAB(sysvq_send, qid, side + 1, from + at, part) == -1)
            return lab_failed();
    }
    return 0;
}

static const void *receive_sysv(const struct route *r)
{
    char *to = own_room(r);

    for (size_t at = 0; at < r->size; at += largest_sysv()) {
        size_t part = smaller(largest_sysv(), r->size - at);
        long type;
        ssize_t n = LAB(sysvq_recv, qid, !side + 1, to + at, part, &type);
        if (right_size(n, part) == -1)
            return NULL;
    }
    return to;
}

static int close_sysv(const struct route *r)
{
    (void)r;
    if (side == CLIENT && LAB(sysvq_destroy, qid) == -1)
        return lab_failed();
    return 0;
}

static void remove_sysv(const struct route *r)
{
    int left = msgget(key, 0);

    (void)r;
    if (left != -1)
        msgctl(left, IPC_RMID, NULL);
}

static const struct mechanism sysv = {
    .name = "sysv_queue",
    .largest = largest_sysv,
    .prepare = prepare_sysv,
    .open = open_sysv,
    .place = own_place,
    .send = send_sysv,
    .receive = receive_sysv,
    .release = own_release,
    .close = close_sysv,
    .remove = remove_sysv,
};

/* ------------------------------------------------------------------------
 * POSIX: a queue for each way
 */

static char names[2][80];
static mqd_t queues[2];

static size_t largest_posix(void)
{
    static size_t largest;

    if (largest == 0)
        largest = limit_of("/proc/sys/fs/mqueue/msgsize_max");
    return largest;
}

static int prepare_posix(const struct route *r)
{
    for (int way = CLIENT; way <= SERVER; way++)
        snprintf(names[way], sizeof(names[way]), "/%s-%d", r->name, way);
    return 0;
}

static int open_posix(const struct route *r)
{
    long size = (long)smaller(largest_posix(), r->size);

    for (int way = CLIENT; way <= SERVER; way++) {
        queues[way] = side == CLIENT
                          ? LAB(jobq_create, names[way], MOST_MSGS, size)
                          : LAB(jobq_open, names[way]);
        if (queues[way] == (mqd_t)-1)
            return lab_failed();
    }
    return 0;
}

static int send_posix(const struct route *r)
{
    const char *from = own_place(r);

    for (size_t at = 0; at < r->size; at += largest_posix()) {
        size_t part = smaller(largest_posix(), r->size - at);
        if (LAB(jobq_put, queues[side], from + at, part, 0, -1) == -1)
            return lab_failed();
    }
    return 0;
}

static const void *receive_posix(const struct route *r)
{
    char *to = own_room(r);
    size_t part = smaller(largest_posix(), r->size);

    for (size_t at = 0; at < r->size; at += part) {
        unsigned prio;
        ssize_t n = LAB(jobq_get, queues[!side], to + at, part, &prio, -1);
        if (right_size(n, part) == -1)
            return NULL;
    }
    return to;
}

static int close_posix(const struct route *r)
{
    (void)r;
    for (int way = CLIENT; way <= SERVER; way++) {
        mq_close(queues[way]);
        if (side == CLIENT && LAB(jobq_destroy, names[way]) == -1)
            return lab_failed();
    }
    return 0;
}

static void remove_posix(const struct route *r)
{
    (void)r;
    for (int way = CLIENT; way <= SERVER; way++)
        mq_unlink(names[way]);
}

static const struct mechanism posix = {
    .name = "posix_queue",
    .largest = largest_posix,
    .prepare = prepare_posix,
    .open = open_posix,
    .place = own_place,
    .send = send_posix,
    .receive = receive_posix,
    .release = own_release,
    .close = close_posix,
    .remove = remove_posix,
};

const struct mechanism *const mechanisms[] = {&sysv, &posix, NULL};
