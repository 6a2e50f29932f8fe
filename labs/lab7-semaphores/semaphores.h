/*
 * semaphores.h - stop at 0, go at 1.
 *
 * A semaphore is a number that is never below 0, with two operations: wait
 * takes 1 from it, and sleeps while it is 0; post adds 1, and wakes one who
 * sleeps.  Nobody owns it: who posts need not be who has waited.  The same
 * thing comes in three dresses:
 *
 *   POSIX, named      sem_open(3): found by a name, gone when unlinked
 *   POSIX, in memory  sem_init(3): lies in memory that processes share
 *   System V          semget(2): a set with a key; several in one operation,
 *                     and what a process owes at its end can be given back
 *
 * and a message in a queue does what a post does: whoever receives it goes.
 *
 * The rules of this interface:
 *  - A function that returns int returns 0, and -1 on failure, where nothing
 *    else is said; one that returns a pointer returns NULL on failure; errno
 *    then says why.
 *  - On failure nothing is changed, where nothing else is said, and nothing
 *    that was taken is kept.
 *  - A signal that is caught (EINTR) is no failure: the wait goes on.
 *  - deadline_ms is a time-out counted from the call; for POSIX semaphores it
 *    is measured on CLOCK_MONOTONIC, so that nobody who sets the clock
 *    lengthens or shortens it, and no signal does either.  0: don't wait.
 *    -1: without a time-out.  Below -1: EINVAL.  When it has passed: ETIMEDOUT.
 *  - Who waits sleeps until it is woken.  (Only svsem_open(), while there is
 *    nobody yet who could wake it, may look again after a nap of a
 *    millisecond.)
 *  - All structs here lie in memory that several processes map, at different
 *    addresses, and that is zero-filled before *_init(): no pointer may be
 *    stored in them.  Their fields are yours to use, but for those that a
 *    comment calls fixed; who waits, waits for one of their semaphores.
 *  - No function prints, exits, or keeps a descriptor, memory or a child once
 *    it has returned; the mapping of a named semaphore, which its caller
 *    closes with sem_close(3), is the exception.
 *
 * Errors beyond those in the tables come as the system call gave them.
 *
 * Read first: sem_overview(7), sysvipc(7), semop(2), semget(2), msgop(2).
 */
#ifndef SEMAPHORES_H
#define SEMAPHORES_H

#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * A binary semaphore: 1 is unlocked, 0 is locked
 */

/*
 * Makes a named semaphore, unlocked, mode 0600.
 *
 * name  as for sem_open(3): "/lamp"
 *
 * Returns it, or NULL with errno:
 *   EEXIST  the name is taken
 *
 * See sem_open(3).
 */
sem_t *binsem_create(const char *name);

/*
 * Opens the one that somebody has made; makes none.
 *
 * Returns it, or NULL with errno:
 *   ENOENT  there is none of this name
 */
sem_t *binsem_open(const char *name);

/*
 * Locks it; waits while it is locked.
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  it stayed locked; an unlocked one is had whatever the deadline
 *   EINVAL     deadline_ms is below -1
 *
 * See sem_wait(3), sem_clockwait(3).
 */
int binsem_lock(sem_t *sem, int deadline_ms);

/*
 * Unlocks it and wakes one who waits.  Its value never becomes 2: to unlock
 * what is not locked is refused.  (Only who has locked it unlocks it; so
 * nobody else changes a locked one at the same moment.)
 *
 * Returns 0, or -1 with errno:
 *   EPERM  it is not locked
 *
 * See sem_post(3), sem_getvalue(3).
 */
int binsem_unlock(sem_t *sem);

/*
 * Closes it and removes its name.  Those who have it open can go on using it.
 *
 * sem   from binsem_create() or binsem_open(); closed also when the name
 *       could not be removed
 * name  its name
 *
 * Returns 0, or -1 with errno:
 *   ENOENT  the name was removed already
 *
 * See sem_close(3), sem_unlink(3).
 */
int binsem_destroy(sem_t *sem, const char *name);

/* ------------------------------------------------------------------------
 * System V: a set of semaphores, and what a dead process gives back
 */

/*
 * Makes a set of n semaphores, each with this value, mode 0600.  Nobody who
 * comes by svsem_open() sees it before all have it.
 *
 * Returns the id, or -1 with errno; no set is left behind then:
 *   EEXIST  the key is taken
 *   EINVAL  n is 0 or more than a set may have
 *   ERANGE  value is more than a semaphore may have
 *
 * See semget(2), semctl(2), semop(2).
 */
int svsem_create(key_t key, int n, unsigned short value);

/*
 * Finds the set and waits until it is initialised.  A new set is there before
 * its values are: what tells is sem_otime, 0 until the first semop(2), which
 * svsem_create() makes last.
 *
 * key  not IPC_PRIVATE, by which nothing can be found
 *
 * Returns the id, or -1 with errno:
 *   ENOENT     there is no set with this key
 *   ETIMEDOUT  it has not been initialised (has its creator died?)
 *   EINVAL     deadline_ms is below -1
 *   EIDRM      it was removed meanwhile (EINVAL, ENOENT are right as well)
 *
 * See semctl(2) IPC_STAT.
 */
int svsem_open(key_t key, int deadline_ms);

/*
 * Waits: takes 1 from semaphore num of the set, sleeps while it is 0.  When
 * the process ends, however it does, what it took with this function and has
 * not given back with svsem_post() is given back.
 *
 * num  0 to n - 1
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  it stayed 0
 *   EINVAL     deadline_ms is below -1
 *   EIDRM      the set was removed while this waited
 *
 * See semop(2) SEM_UNDO, semtimedop(2).
 */
int svsem_wait(int id, unsigned short num, int deadline_ms);

/*
 * Posts: gives back the 1 that svsem_wait() took.  (What a process gives and
 * has not taken may be gone again when it ends: SEM_UNDO.)
 */
int svsem_post(int id, unsigned short num);

/*
 * Takes 1 from each of two semaphores of a set, and sleeps while it can't
 * have both: at no moment does it hold one and wait for the other.  Each is
 * given back by svsem_post(), or at the process's end.
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  they were not to be had together
 *   EINVAL     a and b are the same, or deadline_ms is below -1
 *   EIDRM      the set was removed while this waited
 */
int svsem_take_two(int id, unsigned short a, unsigned short b, int deadline_ms);

/* Removes the set; who waits is told (EIDRM). */
int svsem_destroy(int id);

/* ------------------------------------------------------------------------
 * A bounded buffer out of three semaphores
 */

struct slot_item {
    int32_t from;
    uint32_t number;
    char text[56];
};

#define SLOTS_MAX 64

struct slots {
    sem_t empty; /* how many slots are free: who puts waits for it */
    sem_t full;  /* how many items there are: who gets waits for it */
    sem_t mutex; /* 1: nobody is at the fields below */
    uint32_t n, put_at, get_at;
    struct slot_item items[SLOTS_MAX];
};

/*
 * Makes an empty buffer, for any process that maps it.
 *
 * s  zero-filled shared memory
 * n  how many items it holds, 1 to SLOTS_MAX
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  n is out of range
 *
 * See sem_init(3).
 */
int slots_init(struct slots *s, size_t n);

/*
 * Puts a copy of an item, of all its bytes, behind the others; waits while all
 * slots are full.  Any number of processes may put and get at one time.
 *
 * deadline_ms  for the slot.  The mutex, which is held no longer than a copy
 *              takes, is waited for.
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  no slot became free
 *   EINVAL     deadline_ms is below -1
 */
int slots_put(struct slots *s, const struct slot_item *item, int deadline_ms);

/*
 * Takes the oldest item; waits while there is none.
 *
 * item  where it goes; on failure *item stays as it was
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  no item came
 *   EINVAL     deadline_ms is below -1
 */
int slots_get(struct slots *s, struct slot_item *item, int deadline_ms);

/* ------------------------------------------------------------------------
 * A lock out of a message queue: who has received the token has the turn
 */

/*
 * Makes a System V queue (mode 0600) in which the token lies.
 *
 * qid  where the queue's id goes; any process may use it
 *
 * Returns 0, or -1 with errno; no queue is left behind then.
 *
 * See msgget(2), msgctl(2), msgop(2).
 */
int turn_init(int *qid);

/*
 * Takes the token; waits until it is there.
 *
 * Returns 0, or -1 with errno:
 *   EIDRM  the queue was removed while this waited
 */
int turn_take(int qid);

/*
 * Takes the token if it is there.
 *
 * Returns 0, or -1 with errno:
 *   EAGAIN  somebody has it
 */
int turn_try(int qid);

/*
 * Passes the token on.  There is never more than one: also when two processes
 * pass it at the same moment, one is refused.
 *
 * Returns 0, or -1 with errno:
 *   EPERM  nobody has it: it lies in the queue
 *
 * See msgop(2) on msg_qbytes and IPC_NOWAIT, msgctl(2) IPC_SET.
 */
int turn_pass(int qid);

/* Removes the queue; who waits is told (EIDRM). */
int turn_destroy(int qid);

/* ------------------------------------------------------------------------
 * ready and ok: data in shared memory, word of it in a queue
 */

#define MAILBOX_BYTES 4096

struct mailbox {
    uint64_t size;            /* fixed: bytes of data that are valid */
    char data[MAILBOX_BYTES]; /* fixed */
};

/* What goes through the queue, both empty (a size of 0 bytes): */
#define MAIL_READY 1L /* the writer's: there is data */
#define MAIL_OK    2L /* the reader's: it may be overwritten */

/*
 * Writes: puts the data into the mailbox, sends MAIL_READY, and waits for
 * MAIL_OK.  A mailbox has one writer and one reader.
 *
 * m     shared memory
 * qid   a System V queue for this mailbox alone
 * size  0 to MAILBOX_BYTES
 *
 * Returns 0 when the reader has got it, or -1 with errno:
 *   EMSGSIZE  size is too large; mailbox and queue are as they were
 *   EIDRM     the queue was removed while this waited; what had been written
 *             into the mailbox stays there
 *
 * See msgop(2), and "Passing of data" in the lab's handout.
 */
int handshake_write(struct mailbox *m, int qid, const void *data, size_t size);

/*
 * Reads: waits for MAIL_READY, copies the data, sends MAIL_OK.  The size in the
 * mailbox is read once: a writer may change it at any time.
 *
 * buf  where the data goes, cap bytes; when MAIL_OK can't be sent, it may have
 *      been written
 *
 * Returns the bytes read, or -1 with errno:
 *   EMSGSIZE  it has more than cap bytes; it stays where it is, and a read
 *             with more room gets it.  buf is as it was.
 *   EBADMSG   the mailbox says that it has more than MAILBOX_BYTES; it stays
 *             where it is
 *   EIDRM     the queue was removed while this waited
 */
ssize_t handshake_read(struct mailbox *m, int qid, void *buf, size_t cap);

/* ------------------------------------------------------------------------
 * A rendezvous: two go on together
 */

struct rendezvous {
    sem_t mutex;   /* 1: nobody is at the fields below */
    sem_t here[2]; /* one for even rounds and one for odd ones */
    uint32_t round;
    uint32_t waits; /* 1: one is here and waits */
};

/*
 * Makes a place to meet, for any process that maps it.
 *
 * r  zero-filled shared memory
 *
 * Returns 0, or -1 with errno.
 */
int rendezvous_init(struct rendezvous *r);

/*
 * Waits until the other one calls this as well; then both go on.  Two
 * processes may meet as often as they like: one that is fast and comes again
 * waits for the other one to come again, and does not take what woke it.  Both
 * have met or neither has, however late one comes.  (Whether one whose deadline
 * is 0 can be met, is yours to decide.)
 *
 * Returns 0, or -1 with errno:
 *   ETIMEDOUT  the other one did not come; the caller does not count as here
 *   EINVAL     deadline_ms is below -1
 */
int meet(struct rendezvous *r, int deadline_ms);

#endif
