/*
 * shm_sync.h - threads' mutexes and conditions, between processes.
 *
 * Memory that two processes share is memory that two processes write at one
 * time.  What POSIX has for threads works between processes as well, if three
 * things are seen to:
 *
 *   where     the mutex or condition itself lies in the shared memory
 *   how       it was initialised, once, with the attribute
 *             PTHREAD_PROCESS_SHARED; without it a process sleeps where no
 *             other process can wake it
 *   who died  a signal that kills takes all threads of a process at once,
 *             but not those of other processes: they wait on, unless the
 *             mutex is robust.  Then the next one gets it, with EOWNERDEAD,
 *             and has to put the data in order
 *
 * A condition is not a fact.  pthread_cond_wait(3) may return without a
 * signal, and another process may have been faster: look again after each
 * wait, with the mutex held.  Who changes what others wait for does so with
 * the mutex held, or the change falls between a waiter's look and its sleep.
 *
 * The rules of this interface:
 *  - All structs here lie in memory that several processes map, at different
 *    addresses, and that is zero-filled before *_init(): no pointer may be
 *    stored in them.  Their fields are yours to use; those that a comment
 *    calls fixed are read by others.
 *  - A function that returns int returns 0, and -1 on failure; one that
 *    returns a pointer returns NULL on failure; errno then says why.  (The
 *    pthread functions return the number of the error and leave errno alone.)
 *  - Only the account outlives the death of a process in one of these
 *    functions.  (A condition may be left unusable by the death of one who
 *    waits for it; no attribute makes it robust.)
 *  - On failure nothing is changed, and no lock is held when a function has
 *    returned, whatever it returns.
 *  - deadline_ms is a time-out counted from the call; it is measured on
 *    CLOCK_MONOTONIC, so that nobody who sets the clock lengthens or shortens
 *    it.  0: don't wait.  -1: wait for ever.  Below -1: EINVAL.  When it has
 *    passed: ETIMEDOUT, unless a last look finds what was waited for.  (A wait
 *    for a mutex need not end by it, since nobody holds one for long.)
 *  - Who waits sleeps until it is woken.  (Only where there is nobody yet who
 *    could wake it, before a board is ready, may a process look again after a
 *    nap of a millisecond.)
 *  - A signal that is caught (EINTR) is no failure.
 *  - No function prints, exits, or keeps a descriptor, memory or a child once
 *    it has returned.
 *
 * Errors beyond those in the tables come as the call gave them, that of a lock
 * that can not be had among them.
 *
 * Read first: pthreads(7), pthread_mutexattr_setpshared(3),
 * pthread_mutexattr_setrobust(3), pthread_cond_wait(3),
 * pthread_condattr_setclock(3), shm_open(3).
 */
#ifndef SHM_SYNC_H
#define SHM_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------------
 * An account: one process at a time, also when one dies
 */

struct account {
    pthread_mutex_t lock;
    int64_t balance;  /* fixed: what the account holds */
    int64_t before;   /* the journal: the balance as it was, ... */
    int64_t updating; /* ... and 1 while it is being changed */
};

/*
 * Makes an account with the balance 0, for any process that maps it.
 *
 * a  zero-filled shared memory
 *
 * Returns 0, or -1 with errno (ENOMEM, ...).
 *
 * See pthread_mutex_init(3), pthread_mutexattr_setpshared(3),
 * pthread_mutexattr_setrobust(3).
 */
int account_init(struct account *a);

/*
 * Changes the balance.  `body` runs alone: no other process or thread is in a
 * body of the same account meanwhile.
 *
 * The change is whole or not made at all.  When a process dies in an update,
 * the next caller finds the balance as it was before that update (or, if the
 * body had returned 0, perhaps as it was after it), and everybody goes on.
 *
 * a     an account
 * body  changes *balance and returns 0; or returns -1 with errno: then the
 *       balance is as it was.  It may change *balance more than once.  What it
 *       is given is a->balance itself, or a copy that is stored afterwards.
 * ctx   handed to body
 *
 * Returns 0, or -1 with errno:
 *   what body set  body returned -1
 *   ENOTRECOVERABLE  (and others of pthread_mutex_lock(3)); body was not run
 *
 * See pthread_mutex_lock(3), pthread_mutex_consistent(3).
 */
int account_update(struct account *a, int (*body)(int64_t *balance, void *ctx),
                   void *ctx);

/* ------------------------------------------------------------------------
 * A board: how processes meet that were started by nobody in common
 */

#define BOARD_CELLS 8

struct board {
    atomic_uint ready; /* not 0: all that follows is initialised */
    uint32_t nprocs;   /* how many are to meet */
    uint32_t joined;   /* how many are here */
    pthread_mutex_t lock;
    pthread_cond_t all_here;
    int64_t cells[BOARD_CELLS]; /* fixed: 0 at the start; the callers' own */
};

/*
 * Joins the board of that name and waits until nprocs processes have.  All of
 * them call this, in any order and at any time; none needs to be the first.
 * Whoever is the first makes the board (a region of shm_open(3) under this very
 * name, mode 0600) and initialises it; the others wait until that is done and
 * use nothing of it before.  If the first one fails at that, who waits and who
 * comes later begin anew, and one of them is the first.  When all are here, one
 * of them removes the name before any returns: whoever comes later meets others
 * at a new board, also if it had opened the old one already, and whatever its
 * nprocs.
 *
 * name         as for shm_open(3): "/board"
 * nprocs       1 or more, the same for all
 * deadline_ms  see above; one for all waits together.  (Who completes the board
 *              has nothing to wait for, also with 0.)
 *
 * Returns the board; all who met have the same one.  The caller unmaps it
 * (munmap(2), sizeof(struct board) bytes).
 * Returns NULL with errno; the caller does not count as one who is here, and
 * nothing is mapped:
 *   EINVAL     nprocs is below 1, or not what the first one said; or
 *              deadline_ms is below -1
 *   ETIMEDOUT  not all came in time, or whoever was to initialise the board
 *              has not done so.  The name stays, for those who may still come.
 *
 * See shm_open(3) O_EXCL, C11 atomic_store and atomic_load,
 * pthread_cond_timedwait(3), nanosleep(2).
 */
struct board *board_join(const char *name, int nprocs, int deadline_ms);

/* ------------------------------------------------------------------------
 * A bounded buffer: many producers, many consumers
 */

struct item {
    int32_t from;
    uint32_t number;
    char text[56];
};

#define RING_MAX_SLOTS 64

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    uint32_t slots; /* how many may be used, all of them */
    uint32_t first; /* the oldest item */
    uint32_t count; /* how many there are */
    uint32_t closed;
    struct item items[RING_MAX_SLOTS];
};

/*
 * Makes an empty buffer, for any process that maps it.
 *
 * r      zero-filled shared memory
 * slots  how many items it holds, 1 to RING_MAX_SLOTS
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  slots is out of range
 *
 * See pthread_cond_init(3), pthread_condattr_setpshared(3),
 * pthread_condattr_setclock(3).
 */
int ring_init(struct ring *r, size_t slots);

/*
 * Puts a copy of an item behind the others; waits while the buffer is full.
 *
 * Returns 0, or -1 with errno:
 *   EPIPE      the buffer is closed, or was while this waited
 *   ETIMEDOUT  it stayed full
 *   EINVAL     deadline_ms is below -1
 *
 * See pthread_cond_timedwait(3).
 */
int ring_put(struct ring *r, const struct item *it, int deadline_ms);

/*
 * Takes the oldest item; waits while the buffer is empty and open.
 *
 * it  where it goes; on failure *it stays as it was
 *
 * Returns 0, or -1 with errno:
 *   EPIPE      the buffer is closed and empty
 *   ETIMEDOUT  it stayed empty
 *   EINVAL     deadline_ms is below -1
 */
int ring_get(struct ring *r, struct item *it, int deadline_ms);

/*
 * Closes the buffer: nobody can put any more, and whoever waits to is told.
 * What is in it can still be taken; whoever waits for more is told.
 *
 * Returns 0, also when it is closed already; or -1 with errno.
 */
int ring_close(struct ring *r);

/* ------------------------------------------------------------------------
 * The engineer's job: a table that is read often and written seldom
 */

#define TABLE_CELLS 8

/* There are two ways: one pthread_rwlock_t, or a mutex, a condition and some
 * counts.  Use the fields of yours and leave the others. */
struct shared_table {
    pthread_rwlock_t rwlock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t readers;           /* that are reading */
    uint32_t writers;           /* that wait */
    uint32_t writing;           /* 1: one is */
    int64_t cells[TABLE_CELLS]; /* fixed */
};

/*
 * Makes a table of zeros, for any process that maps it.
 *
 * t  zero-filled shared memory
 *
 * Returns 0, or -1 with errno (ENOMEM, ...).
 */
int rw_init(struct shared_table *t);

/*
 * Reads the table: `body` may run in any number of readers at once, but never
 * beside a writer.  A reader that comes while a writer waits lets the writer
 * go first, so that no stream of readers keeps it out.  (So a body must not
 * call rw_read() of the same table.)
 *
 * body  is given t->cells, and what it returns is returned; errno is the
 *       body's as well
 *
 * Returns what body returned; or -1 with errno, body not run.
 *
 * See pthread_rwlock_rdlock(3), pthread_rwlockattr_setkind_np(3).
 */
int rw_read(struct shared_table *t,
            int (*body)(const int64_t *cells, void *ctx), void *ctx);

/*
 * Writes the table: `body` runs while nobody else reads or writes.
 *
 * Returns what body returned (errno is the body's as well); or -1 with errno,
 * body not run.
 */
int rw_write(struct shared_table *t, int (*body)(int64_t *cells, void *ctx),
             void *ctx);

#endif
