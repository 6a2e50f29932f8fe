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

sem_t *binsem_create(const char *name)
{
    /* TODO(lab7): make a new one or none; which value is unlocked?
     * sem_open(3). */
    (void)name;
    errno = ENOSYS;
    return NULL;
}

sem_t *binsem_open(const char *name)
{
    /* TODO(lab7): open the one that is there.  sem_open(3). */
    (void)name;
    errno = ENOSYS;
    return NULL;
}

int binsem_lock(sem_t *sem, int deadline_ms)
{
    /* TODO(lab7): wait for ever, or until a point in time on
     * CLOCK_MONOTONIC; what if a signal comes?  sem_wait(3),
     * sem_clockwait(3). */
    (void)sem;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int binsem_unlock(sem_t *sem)
{
    /* TODO(lab7): post, unless it is not locked.  sem_post(3),
     * sem_getvalue(3). */
    (void)sem;
    errno = ENOSYS;
    return -1;
}

int binsem_destroy(sem_t *sem, const char *name)
{
    /* TODO(lab7): this process's mapping goes, and the name.  sem_close(3),
     * sem_unlink(3). */
    (void)sem;
    (void)name;
    errno = ENOSYS;
    return -1;
}

int svsem_create(key_t key, int n, unsigned short value)
{
    /* TODO(lab7): a new set or none; then its values; then the first
     * semop(), by which others see that it is ready.  semget(2), semctl(2),
     * semop(2). */
    (void)key;
    (void)n;
    (void)value;
    errno = ENOSYS;
    return -1;
}

int svsem_open(key_t key, int deadline_ms)
{
    /* TODO(lab7): find it, and wait until it has been used for the first
     * time: semid_ds.sem_otime.  semget(2), semctl(2) IPC_STAT. */
    (void)key;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int svsem_wait(int id, unsigned short num, int deadline_ms)
{
    /* TODO(lab7): take 1; which flag gives it back when the process dies?
     * semop(2), semtimedop(2). */
    (void)id;
    (void)num;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int svsem_post(int id, unsigned short num)
{
    /* TODO(lab7): give 1 back; and what the kernel has noted for your end?
     * semop(2). */
    (void)id;
    (void)num;
    errno = ENOSYS;
    return -1;
}

int svsem_take_two(int id, unsigned short a, unsigned short b, int deadline_ms)
{
    /* TODO(lab7): both or neither.  What is it that semop() takes an array
     * for?  semop(2). */
    (void)id;
    (void)a;
    (void)b;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int svsem_destroy(int id)
{
    /* TODO(lab7): remove the set.  semctl(2). */
    (void)id;
    errno = ENOSYS;
    return -1;
}

int slots_init(struct slots *s, size_t n)
{
    /* TODO(lab7): three semaphores for processes; with which values does an
     * empty buffer start?  sem_init(3). */
    (void)s;
    (void)n;
    errno = ENOSYS;
    return -1;
}

int slots_put(struct slots *s, const struct slot_item *item, int deadline_ms)
{
    /* TODO(lab7): which of the semaphores do you wait for first, and which
     * do you post when?  sem_wait(3), sem_post(3). */
    (void)s;
    (void)item;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int slots_get(struct slots *s, struct slot_item *item, int deadline_ms)
{
    /* TODO(lab7): the mirror image of slots_put(). */
    (void)s;
    (void)item;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int turn_init(int *qid)
{
    /* TODO(lab7): a queue, and the token in it.  What keeps a second one
     * out?  msgget(2), msgop(2), msgctl(2). */
    (void)qid;
    errno = ENOSYS;
    return -1;
}

int turn_take(int qid)
{
    /* TODO(lab7): receive the token.  msgop(2). */
    (void)qid;
    errno = ENOSYS;
    return -1;
}

int turn_try(int qid)
{
    /* TODO(lab7): receive it without waiting; which errno says that there
     * is none?  msgop(2). */
    (void)qid;
    errno = ENOSYS;
    return -1;
}

int turn_pass(int qid)
{
    /* TODO(lab7): send it back, unless it lies there.  msgop(2). */
    (void)qid;
    errno = ENOSYS;
    return -1;
}

int turn_destroy(int qid)
{
    /* TODO(lab7): remove the queue.  msgctl(2). */
    (void)qid;
    errno = ENOSYS;
    return -1;
}

int handshake_write(struct mailbox *m, int qid, const void *data, size_t size)
{
    /* TODO(lab7): first the data, then the word of it; then wait for the
     * answer, and for no other message.  msgop(2). */
    (void)m;
    (void)qid;
    (void)data;
    (void)size;
    errno = ENOSYS;
    return -1;
}

ssize_t handshake_read(struct mailbox *m, int qid, void *buf, size_t cap)
{
    /* TODO(lab7): wait for the word, copy, and only then answer.  msgop(2).
     */
    (void)m;
    (void)qid;
    (void)buf;
    (void)cap;
    errno = ENOSYS;
    return -1;
}

int rendezvous_init(struct rendezvous *r)
{
    /* TODO(lab7): three semaphores; with which values?  sem_init(3). */
    (void)r;
    errno = ENOSYS;
    return -1;
}

int meet(struct rendezvous *r, int deadline_ms)
{
    /* TODO(lab7): the first to come waits, the second wakes it.  What keeps
     * one who comes again from taking the other one's wakeup?  And who
     * gives up? */
    (void)r;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}
