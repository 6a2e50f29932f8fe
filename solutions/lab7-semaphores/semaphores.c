/*
 * semaphores.c - semaphores of three kinds, and messages that do the same.
 * What each function has to do is said in semaphores.h.
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

// BEGIN SOLUTION
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

// END SOLUTION
sem_t *binsem_create(const char *name)
{
    // BEGIN SOLUTION
    sem_t *sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);

    return sem == SEM_FAILED ? NULL : sem;
    // STUB
    // /* TODO(lab7): make a new one or none; which value is unlocked?
    //  * sem_open(3). */
    // (void)name;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

sem_t *binsem_open(const char *name)
{
    // BEGIN SOLUTION
    sem_t *sem = sem_open(name, 0);

    return sem == SEM_FAILED ? NULL : sem;
    // STUB
    // /* TODO(lab7): open the one that is there.  sem_open(3). */
    // (void)name;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int binsem_lock(sem_t *sem, int deadline_ms)
{
    // BEGIN SOLUTION
    return wait_posix(sem, deadline_ms);
    // STUB
    // /* TODO(lab7): wait for ever, or until a point in time on
    //  * CLOCK_MONOTONIC; what if a signal comes?  sem_wait(3),
    //  * sem_clockwait(3). */
    // (void)sem;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int binsem_unlock(sem_t *sem)
{
    // BEGIN SOLUTION
    int value;

    if (sem_getvalue(sem, &value) == -1)
        return -1;
    if (value > 0) {
        errno = EPERM;
        return -1;
    }
    return sem_post(sem);
    // STUB
    // /* TODO(lab7): post, unless it is not locked.  sem_post(3),
    //  * sem_getvalue(3). */
    // (void)sem;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int binsem_destroy(sem_t *sem, const char *name)
{
    // BEGIN SOLUTION
    if (sem_close(sem) == -1)
        return -1;
    return sem_unlink(name);
    // STUB
    // /* TODO(lab7): this process's mapping goes, and the name.  sem_close(3),
    //  * sem_unlink(3). */
    // (void)sem;
    // (void)name;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
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

// END SOLUTION
int svsem_create(key_t key, int n, unsigned short value)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab7): a new set or none; then its values; then the first
    //  * semop(), by which others see that it is ready.  semget(2), semctl(2),
    //  * semop(2). */
    // (void)key;
    // (void)n;
    // (void)value;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int svsem_open(key_t key, int deadline_ms)
{
    // BEGIN SOLUTION
    const struct timespec a_moment = {.tv_nsec = 1000000};
    struct timespec until = time_in(deadline_ms);
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
        nanosleep(&a_moment, NULL);
    }
    // STUB
    // /* TODO(lab7): find it, and wait until it has been used for the first
    //  * time: semid_ds.sem_otime.  semget(2), semctl(2) IPC_STAT. */
    // (void)key;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int svsem_wait(int id, unsigned short num, int deadline_ms)
{
    // BEGIN SOLUTION
    struct sembuf take = {.sem_num = num, .sem_op = -1, .sem_flg = SEM_UNDO};

    return operate(id, &take, 1, deadline_ms);
    // STUB
    // /* TODO(lab7): take 1; which flag gives it back when the process dies?
    //  * semop(2), semtimedop(2). */
    // (void)id;
    // (void)num;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int svsem_post(int id, unsigned short num)
{
    // BEGIN SOLUTION
    struct sembuf give = {.sem_num = num, .sem_op = 1, .sem_flg = SEM_UNDO};

    return operate(id, &give, 1, -1);
    // STUB
    // /* TODO(lab7): give 1 back; and what the kernel has noted for your end?
    //  * semop(2). */
    // (void)id;
    // (void)num;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int svsem_take_two(int id, unsigned short a, unsigned short b, int deadline_ms)
{
    // BEGIN SOLUTION
    struct sembuf both[2] = {{.sem_num = a, .sem_op = -1, .sem_flg = SEM_UNDO},
                             {.sem_num = b, .sem_op = -1, .sem_flg = SEM_UNDO}};

    if (a == b) {
        errno = EINVAL;
        return -1;
    }
    return operate(id, both, 2, deadline_ms);
    // STUB
    // /* TODO(lab7): both or neither.  What is it that semop() takes an array
    //  * for?  semop(2). */
    // (void)id;
    // (void)a;
    // (void)b;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int svsem_destroy(int id)
{
    // BEGIN SOLUTION
    return semctl(id, 0, IPC_RMID);
    // STUB
    // /* TODO(lab7): remove the set.  semctl(2). */
    // (void)id;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int slots_init(struct slots *s, size_t n)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab7): three semaphores for processes; with which values does an
    //  * empty buffer start?  sem_init(3). */
    // (void)s;
    // (void)n;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int slots_put(struct slots *s, const struct slot_item *item, int deadline_ms)
{
    // BEGIN SOLUTION
    if (wait_posix(&s->empty, deadline_ms) == -1)
        return -1;
    wait_posix(&s->mutex, -1);
    s->items[s->put_at] = *item;
    s->put_at = (s->put_at + 1) % s->n;
    sem_post(&s->mutex);
    return sem_post(&s->full);
    // STUB
    // /* TODO(lab7): which of the semaphores do you wait for first, and which
    //  * do you post when?  sem_wait(3), sem_post(3). */
    // (void)s;
    // (void)item;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int slots_get(struct slots *s, struct slot_item *item, int deadline_ms)
{
    // BEGIN SOLUTION
    if (wait_posix(&s->full, deadline_ms) == -1)
        return -1;
    wait_posix(&s->mutex, -1);
    *item = s->items[s->get_at];
    s->get_at = (s->get_at + 1) % s->n;
    sem_post(&s->mutex);
    return sem_post(&s->empty);
    // STUB
    // /* TODO(lab7): the mirror image of slots_put(). */
    // (void)s;
    // (void)item;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
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

// END SOLUTION
int turn_init(int *qid)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab7): a queue, and the token in it.  What keeps a second one
    //  * out?  msgget(2), msgop(2), msgctl(2). */
    // (void)qid;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int turn_take(int qid)
{
    // BEGIN SOLUTION
    return receive(qid, TOKEN, 1, 0);
    // STUB
    // /* TODO(lab7): receive the token.  msgop(2). */
    // (void)qid;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int turn_try(int qid)
{
    // BEGIN SOLUTION
    int ret = receive(qid, TOKEN, 1, IPC_NOWAIT);

    if (ret == -1 && errno == ENOMSG)
        errno = EAGAIN;
    return ret;
    // STUB
    // /* TODO(lab7): receive it without waiting; which errno says that there
    //  * is none?  msgop(2). */
    // (void)qid;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int turn_pass(int qid)
{
    // BEGIN SOLUTION
    int ret = send(qid, TOKEN, 1, IPC_NOWAIT);

    if (ret == -1 && errno == EAGAIN)
        errno = EPERM;
    return ret;
    // STUB
    // /* TODO(lab7): send it back, unless it lies there.  msgop(2). */
    // (void)qid;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int turn_destroy(int qid)
{
    // BEGIN SOLUTION
    return msgctl(qid, IPC_RMID, NULL);
    // STUB
    // /* TODO(lab7): remove the queue.  msgctl(2). */
    // (void)qid;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int handshake_write(struct mailbox *m, int qid, const void *data, size_t size)
{
    // BEGIN SOLUTION
    if (size > MAILBOX_BYTES) {
        errno = EMSGSIZE;
        return -1;
    }
    memcpy(m->data, data, size);
    m->size = size;
    if (send(qid, MAIL_READY, 0, 0) == -1)
        return -1;
    return receive(qid, MAIL_OK, 0, 0);
    // STUB
    // /* TODO(lab7): first the data, then the word of it; then wait for the
    //  * answer, and for no other message.  msgop(2). */
    // (void)m;
    // (void)qid;
    // (void)data;
    // (void)size;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

ssize_t handshake_read(struct mailbox *m, int qid, void *buf, size_t cap)
{
    // BEGIN SOLUTION
    if (receive(qid, MAIL_READY, 0, 0) == -1)
        return -1;

    uint64_t size = *(volatile uint64_t *)&m->size; /* once: it may change */

    if (size > MAILBOX_BYTES || size > cap) {
        int err = size > MAILBOX_BYTES ? EBADMSG : EMSGSIZE;

        if (send(qid, MAIL_READY, 0, 0) == 0)
            errno = err;
        return -1;
    }
    memcpy(buf, m->data, size);
    if (send(qid, MAIL_OK, 0, 0) == -1)
        return -1;
    return (ssize_t)size;
    // STUB
    // /* TODO(lab7): wait for the word, copy, and only then answer.  msgop(2).
    //  */
    // (void)m;
    // (void)qid;
    // (void)buf;
    // (void)cap;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rendezvous_init(struct rendezvous *r)
{
    // BEGIN SOLUTION
    r->round = 0;
    r->waits = 0;
    if (sem_init(&r->mutex, 1, 1) == -1 || sem_init(&r->here[0], 1, 0) == -1 ||
        sem_init(&r->here[1], 1, 0) == -1)
        return -1;
    return 0;
    // STUB
    // /* TODO(lab7): three semaphores; with which values?  sem_init(3). */
    // (void)r;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int meet(struct rendezvous *r, int deadline_ms)
{
    // BEGIN SOLUTION
    int ret = 0;

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
    r->waits = 1;

    uint32_t round = r->round;

    sem_post(&r->mutex);
    if (wait_posix(here, deadline_ms) == 0)
        return 0;
    wait_posix(&r->mutex, -1);
    if (r->round == round) { /* nobody came: undo it */
        r->waits = 0;
        errno = ETIMEDOUT;
        ret = -1;
    } else { /* at the last moment; its post is there */
        wait_posix(here, -1);
    }
    sem_post(&r->mutex);
    return ret;
    // STUB
    // /* TODO(lab7): the first to come waits, the second wakes it.  What keeps
    //  * one who comes again from taking the other one's wakeup?  And who
    //  * gives up? */
    // (void)r;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
