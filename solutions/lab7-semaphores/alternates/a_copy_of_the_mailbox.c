/*
 * Naps to a point in time, the mailbox copied whole before it is looked at, and
 * a rendezvous in which a deadline of 0 is a look, and who gives up looks for
 * its 1 with the mutex in hand.
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <time.h>

/* semctl's last argument; programs have to declare it themselves, says
 * semctl(2). */
union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

/* The time on CLOCK_MONOTONIC in so many milliseconds. */
static struct timespec time_in(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

/* What is left until then; 0 when it has passed. */
static struct timespec time_left(const struct timespec *until)
{
    struct timespec now = time_in(0);
    struct timespec left = {.tv_sec = until->tv_sec - now.tv_sec,
                            .tv_nsec = until->tv_nsec - now.tv_nsec};

    if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += 1000000000L;
    }
    return left.tv_sec < 0 ? (struct timespec){0} : left;
}

/* One wait, whatever signals come. */
static int wait_posix(sem_t *sem, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    int ret;

    if (deadline_ms < -1) {
        errno = EINVAL;
        return -1;
    }
    do
        ret = deadline_ms == -1 ? sem_wait(sem)
                                : sem_clockwait(sem, CLOCK_MONOTONIC, &until);
    while (ret == -1 && errno == EINTR);
    return ret;
}

sem_t *binsem_create(const char *name)
{
    sem_t *sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);

    return sem == SEM_FAILED ? NULL : sem;
}

sem_t *binsem_open(const char *name)
{
    sem_t *sem = sem_open(name, 0);

    return sem == SEM_FAILED ? NULL : sem;
}

int binsem_lock(sem_t *sem, int deadline_ms)
{
    return wait_posix(sem, deadline_ms);
}

int binsem_unlock(sem_t *sem)
{
    int value;

    if (sem_getvalue(sem, &value) == -1)
        return -1;
    if (value > 0) {
        errno = EPERM;
        return -1;
    }
    return sem_post(sem);
}

int binsem_destroy(sem_t *sem, const char *name)
{
    int ret = sem_unlink(name), saved = errno;

    if (sem_close(sem) == -1)
        return -1;
    errno = saved;
    return ret;
}

/* Several operations as one, whatever signals come. */
static int operate(int id, struct sembuf *ops, size_t n, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    struct timespec left;
    int ret;

    if (deadline_ms < -1) {
        errno = EINVAL;
        return -1;
    }
    do {
        left = time_left(&until);
        ret = semtimedop(id, ops, n, deadline_ms == -1 ? NULL : &left);
    } while (ret == -1 && errno == EINTR);
    if (ret == -1 && errno == EAGAIN)
        errno = ETIMEDOUT;
    return ret;
}

static void remove_set(int id)
{
    int saved = errno;

    semctl(id, 0, IPC_RMID);
    errno = saved;
}

int svsem_create(key_t key, int n, unsigned short value)
{
    int id = semget(key, n, IPC_CREAT | IPC_EXCL | 0600);

    if (id == -1)
        return -1;
    for (int i = 0; i < n; i++)
        if (semctl(id, i, SETVAL, (union semun){.val = value}) == -1) {
            remove_set(id);
            return -1;
        }

    /* Changes nothing; but from now on sem_otime is not 0. */
    short step = value > 0 ? -1 : 1;
    struct sembuf first[2] = {{.sem_op = step}, {.sem_op = (short)-step}};

    if (semop(id, first, 2) == -1) {
        remove_set(id);
        return -1;
    }
    return id;
}

int svsem_open(key_t key, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms), next;
    struct semid_ds ds;

    if (deadline_ms < -1) {
        errno = EINVAL;
        return -1;
    }

    int id = semget(key, 0, 0);

    if (id == -1)
        return -1;
    for (;;) {
        if (semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}) == -1)
            return -1;
        if (ds.sem_otime != 0)
            return id;

        struct timespec left = time_left(&until);

        if (deadline_ms != -1 && left.tv_sec == 0 && left.tv_nsec == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        next = time_in(1);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) ==
               EINTR)
            ;
    }
}

int svsem_wait(int id, unsigned short num, int deadline_ms)
{
    struct sembuf take = {.sem_num = num, .sem_op = -1, .sem_flg = SEM_UNDO};

    return operate(id, &take, 1, deadline_ms);
}

int svsem_post(int id, unsigned short num)
{
    struct sembuf give = {.sem_num = num, .sem_op = 1, .sem_flg = SEM_UNDO};

    return operate(id, &give, 1, -1);
}

int svsem_take_two(int id, unsigned short a, unsigned short b, int deadline_ms)
{
    struct sembuf both[2] = {{.sem_num = a, .sem_op = -1, .sem_flg = SEM_UNDO},
                             {.sem_num = b, .sem_op = -1, .sem_flg = SEM_UNDO}};

    if (a == b) {
        errno = EINVAL;
        return -1;
    }
    return operate(id, both, 2, deadline_ms);
}

int svsem_destroy(int id)
{
    return semctl(id, 0, IPC_RMID);
}

int slots_init(struct slots *s, size_t n)
{
    if (n < 1 || n > SLOTS_MAX) {
        errno = EINVAL;
        return -1;
    }
    s->n = (uint32_t)n;
    s->put_at = 0;
    s->get_at = 0;
    if (sem_init(&s->empty, 1, (unsigned)n) == -1 ||
        sem_init(&s->full, 1, 0) == -1 || sem_init(&s->mutex, 1, 1) == -1)
        return -1;
    return 0;
}

int slots_put(struct slots *s, const struct slot_item *item, int deadline_ms)
{
    if (wait_posix(&s->empty, deadline_ms) == -1)
        return -1;
    wait_posix(&s->mutex, -1);
    s->items[s->put_at] = *item;
    s->put_at = (s->put_at + 1) % s->n;
    sem_post(&s->mutex);
    return sem_post(&s->full);
}

int slots_get(struct slots *s, struct slot_item *item, int deadline_ms)
{
    if (wait_posix(&s->full, deadline_ms) == -1)
        return -1;
    wait_posix(&s->mutex, -1);
    *item = s->items[s->get_at];
    s->get_at = (s->get_at + 1) % s->n;
    sem_post(&s->mutex);
    return sem_post(&s->empty);
}

struct message {
    long type;
    char text[1];
};

#define TOKEN 1L

/* Receives one message of this type and this size, whatever signals come. */
static int receive(int qid, long type, size_t size, int flags)
{
    struct message message;
    ssize_t got;

    do
        got = msgrcv(qid, &message, size, type, flags);
    while (got == -1 && errno == EINTR);
    return got == -1 ? -1 : 0;
}

static int send(int qid, long type, size_t size, int flags)
{
    struct message message = {.type = type};
    int ret;

    do
        ret = msgsnd(qid, &message, size, flags);
    while (ret == -1 && errno == EINTR);
    return ret;
}

/* Makes the queue so small that a second token finds no room. */
static int limit_to_a_token(int qid)
{
    struct msqid_ds ds;

    if (msgctl(qid, IPC_STAT, &ds) == -1)
        return -1;
    ds.msg_qbytes = 1;
    return msgctl(qid, IPC_SET, &ds);
}

int turn_init(int *qid)
{
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

    if (id == -1)
        return -1;
    if (limit_to_a_token(id) == -1 || send(id, TOKEN, 1, IPC_NOWAIT) == -1) {
        int saved = errno;

        msgctl(id, IPC_RMID, NULL);
        errno = saved;
        return -1;
    }
    *qid = id;
    return 0;
}

int turn_take(int qid)
{
    return receive(qid, TOKEN, 1, 0);
}

int turn_try(int qid)
{
    int ret = receive(qid, TOKEN, 1, IPC_NOWAIT);

    if (ret == -1 && errno == ENOMSG)
        errno = EAGAIN;
    return ret;
}

int turn_pass(int qid)
{
    int ret = send(qid, TOKEN, 1, IPC_NOWAIT);

    if (ret == -1 && errno == EAGAIN)
        errno = EPERM;
    return ret;
}

int turn_destroy(int qid)
{
    return msgctl(qid, IPC_RMID, NULL);
}

int handshake_write(struct mailbox *m, int qid, const void *data, size_t size)
{
    if (size > MAILBOX_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    m->size = size;
    memmove(m->data, data, size);
    if (send(qid, MAIL_READY, 0, 0) == -1)
        return -1;
    return receive(qid, MAIL_OK, 0, 0);
}

ssize_t handshake_read(struct mailbox *m, int qid, void *buf, size_t cap)
{
    if (receive(qid, MAIL_READY, 0, 0) == -1)
        return -1;

    struct mailbox copy; /* nobody changes this one */

    memcpy(&copy, m, sizeof(copy));
    if (copy.size > MAILBOX_BYTES || copy.size > cap) {
        int err = copy.size > MAILBOX_BYTES ? EBADMSG : EMSGSIZE;

        if (send(qid, MAIL_READY, 0, 0) == 0)
            errno = err;
        return -1;
    }
    if (send(qid, MAIL_OK, 0, 0) == -1)
        return -1;
    memcpy(buf, copy.data, copy.size);
    return (ssize_t)copy.size;
}

int rendezvous_init(struct rendezvous *r)
{
    r->round = 0;
    r->waits = 0;
    if (sem_init(&r->mutex, 1, 1) == -1 || sem_init(&r->here[0], 1, 0) == -1 ||
        sem_init(&r->here[1], 1, 0) == -1)
        return -1;
    return 0;
}

int meet(struct rendezvous *r, int deadline_ms)
{
    if (deadline_ms < -1) {
        errno = EINVAL;
        return -1;
    }
    wait_posix(&r->mutex, -1);

    sem_t *here = &r->here[r->round % 2];

    if (r->waits) { /* the other one is here */
        r->waits = 0;
        r->round++;
        sem_post(here);
        sem_post(&r->mutex);
        return 0;
    }
    if (deadline_ms == 0) {
        sem_post(&r->mutex);
        errno = ETIMEDOUT;
        return -1;
    }
    r->waits = 1;
    sem_post(&r->mutex);
    if (wait_posix(here, deadline_ms) == 0)
        return 0;
    wait_posix(&r->mutex, -1);

    int ret = sem_trywait(here);

    if (ret == -1) {
        r->waits = 0;
        errno = ETIMEDOUT;
    }
    sem_post(&r->mutex);
    return ret;
}
