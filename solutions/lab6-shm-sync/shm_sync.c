/*
 * shm_sync.c - mutexes and conditions between processes.  What each function
 * has to do is said in shm_sync.h.
 */
#include "shm_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// BEGIN SOLUTION
/* The pthread functions return the error; ours set errno. */
static int set_errno(int err)
{
    if (err == 0)
        return 0;
    errno = err;
    return -1;
}

static int init_mutex(pthread_mutex_t *mutex, int robust)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, robust);

    int err = pthread_mutex_init(mutex, &attr);

    pthread_mutexattr_destroy(&attr);
    return set_errno(err);
}

static int init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);

    int err = pthread_cond_init(cond, &attr);

    pthread_condattr_destroy(&attr);
    return set_errno(err);
}

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

static bool has_passed(const struct timespec *until)
{
    struct timespec now = time_in(0);

    return now.tv_sec > until->tv_sec ||
           (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

/* One wait for a condition; what it returns is 0 or ETIMEDOUT. */
static int wait_until(pthread_cond_t *cond, pthread_mutex_t *lock,
                      int deadline_ms, const struct timespec *until)
{
    return deadline_ms == -1 ? pthread_cond_wait(cond, lock)
                             : pthread_cond_timedwait(cond, lock, until);
}

// END SOLUTION
int account_init(struct account *a)
{
    // BEGIN SOLUTION
    a->balance = 0;
    a->before = 0;
    a->updating = 0;
    return init_mutex(&a->lock, PTHREAD_MUTEX_ROBUST);
    // STUB
    // /* TODO(lab6): initialise the mutex with two attributes: for processes,
    //  * and robust.  pthread_mutexattr_setpshared(3),
    //  * pthread_mutexattr_setrobust(3). */
    // (void)a;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Undoes what a process that died, or a body that failed, has begun. */
static void roll_back(struct account *a)
{
    if (a->updating)
        a->balance = a->before;
    atomic_signal_fence(memory_order_seq_cst); /* a death may come between */
    a->updating = 0;
}

static int lock_account(struct account *a)
{
    int err = pthread_mutex_lock(&a->lock);

    if (err != EOWNERDEAD)
        return set_errno(err);
    roll_back(a);
    return set_errno(pthread_mutex_consistent(&a->lock));
}

// END SOLUTION
int account_update(struct account *a, int (*body)(int64_t *balance, void *ctx),
                   void *ctx)
{
    // BEGIN SOLUTION
    int saved = 0;

    if (lock_account(a) == -1)
        return -1;
    a->before = a->balance;
    atomic_signal_fence(memory_order_seq_cst); /* a death may come between */
    a->updating = 1;

    int ret = body(&a->balance, ctx);

    if (ret == 0)
        a->updating = 0;
    else
        saved = errno;
    roll_back(a);
    pthread_mutex_unlock(&a->lock);
    return ret == 0 ? 0 : set_errno(saved);
    // STUB
    // /* TODO(lab6): lock; what if the last owner died?  Note in the journal
    //  * what was, run the body, take the note back, unlock on every way out.
    //  * pthread_mutex_lock(3), pthread_mutex_consistent(3). */
    // (void)a;
    // (void)body;
    // (void)ctx;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
static void nap(void)
{
    const struct timespec a_moment = {.tv_nsec = 1000000};

    nanosleep(&a_moment, NULL);
}

/* Maps the board; NULL when it could not be. */
static struct board *map_board(int fd)
{
    void *at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

/* For the first: gives the region its size and initialises what is in it. */
static struct board *make_board(int fd, int nprocs)
{
    struct board *b;
    int err;

    do
        err = posix_fallocate(fd, 0, sizeof(*b));
    while (err == EINTR);
    if (err != 0) {
        errno = err;
        return NULL;
    }
    b = map_board(fd);
    if (b == NULL)
        return NULL;
    b->nprocs = (uint32_t)nprocs;
    if (init_mutex(&b->lock, PTHREAD_MUTEX_STALLED) == -1 ||
        init_cond(&b->all_here) == -1) {
        munmap(b, sizeof(*b));
        return NULL;
    }
    atomic_store_explicit(&b->ready, 1, memory_order_release);
    return b;
}

/* For the others: waits until there is something to map, and until it is
 * ready.  ENOENT: its name is gone and it is not ready, so never will be. */
static struct board *await_board(int fd, int deadline_ms,
                                 const struct timespec *until)
{
    struct board *b = NULL;
    struct stat st;
    int err;

    for (;;) {
        if (fstat(fd, &st) == -1) {
            err = errno;
            break;
        }
        if (b == NULL && st.st_size >= (off_t)sizeof(*b)) {
            b = map_board(fd);
            if (b == NULL)
                return NULL;
        }
        if (b != NULL &&
            atomic_load_explicit(&b->ready, memory_order_acquire) != 0)
            return b;
        if (st.st_nlink == 0) {
            err = ENOENT;
            break;
        }
        if (deadline_ms != -1 && has_passed(until)) {
            err = ETIMEDOUT;
            break;
        }
        nap();
    }
    if (b != NULL)
        munmap(b, sizeof(*b));
    errno = err;
    return NULL;
}

/* Makes the board or finds it.  ENOENT: it was there and is gone again. */
static struct board *open_board(const char *name, int nprocs, int deadline_ms,
                                const struct timespec *until)
{
    struct board *b;
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd != -1) {
        b = make_board(fd, nprocs);
        if (b == NULL)
            shm_unlink(name); /* errno stays that of the failure */
        close(fd);
        return b;
    }
    if (errno == EEXIST)
        fd = shm_open(name, O_RDWR, 0);
    if (fd == -1)
        return NULL;
    b = await_board(fd, deadline_ms, until);
    close(fd);
    return b;
}

/* Counts the caller in and waits for the others; an errno, or 0.  EAGAIN: they
 * have met without the caller, who opened the board a moment too late. */
static int meet(struct board *b, const char *name, int nprocs, int deadline_ms,
                const struct timespec *until)
{
    int err = pthread_mutex_lock(&b->lock);

    if (err != 0)
        return err;
    if (b->joined == b->nprocs || b->nprocs != (uint32_t)nprocs) {
        err = b->joined == b->nprocs ? EAGAIN : EINVAL;
        pthread_mutex_unlock(&b->lock);
        return err;
    }
    b->joined++;
    if (b->joined == b->nprocs) {
        shm_unlink(name);
        pthread_cond_broadcast(&b->all_here);
    }
    while (b->joined < b->nprocs && err == 0)
        err = wait_until(&b->all_here, &b->lock, deadline_ms, until);
    if (b->joined == b->nprocs)
        err = 0;
    else
        b->joined--;
    pthread_mutex_unlock(&b->lock);
    return err;
}

// END SOLUTION
struct board *board_join(const char *name, int nprocs, int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);

    if (nprocs < 1 || deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }

    for (;;) {
        struct board *b = open_board(name, nprocs, deadline_ms, &until);

        if (b == NULL && errno == ENOENT)
            continue;
        if (b == NULL)
            return NULL;

        int err = meet(b, name, nprocs, deadline_ms, &until);

        if (err == 0)
            return b;
        munmap(b, sizeof(*b));
        if (err != EAGAIN) {
            errno = err;
            return NULL;
        }
    }
    // STUB
    // /* TODO(lab6): make the region or, if somebody has, open it; who has made
    //  * it initialises and then says so in `ready`; the others wait for that.
    //  * Then count in, and wait until all are here.  shm_open(3),
    //  * pthread_cond_timedwait(3). */
    // (void)name;
    // (void)nprocs;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int ring_init(struct ring *r, size_t slots)
{
    // BEGIN SOLUTION
    if (slots < 1 || slots > RING_MAX_SLOTS) {
        errno = EINVAL;
        return -1;
    }
    r->slots = (uint32_t)slots;
    r->first = 0;
    r->count = 0;
    r->closed = 0;
    if (init_mutex(&r->lock, PTHREAD_MUTEX_STALLED) == -1 ||
        init_cond(&r->not_empty) == -1 || init_cond(&r->not_full) == -1)
        return -1;
    return 0;
    // STUB
    // /* TODO(lab6): a mutex and two conditions for processes; which clock do
    //  * the conditions measure on?  pthread_condattr_setclock(3). */
    // (void)r;
    // (void)slots;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int ring_put(struct ring *r, const struct item *it, int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    int err;

    if (deadline_ms < -1)
        return set_errno(EINVAL);
    err = pthread_mutex_lock(&r->lock);
    if (err != 0)
        return set_errno(err);
    while (r->count == r->slots && !r->closed && err == 0)
        err = wait_until(&r->not_full, &r->lock, deadline_ms, &until);
    if (r->closed) {
        err = EPIPE;
    } else if (r->count < r->slots) {
        err = 0;
        r->items[(r->first + r->count) % r->slots] = *it;
        r->count++;
        pthread_cond_signal(&r->not_empty);
    }
    pthread_mutex_unlock(&r->lock);
    return set_errno(err);
    // STUB
    // /* TODO(lab6): wait, in a loop, while it is full and open; copy the item
    //  * behind the others; tell a consumer.  pthread_cond_timedwait(3). */
    // (void)r;
    // (void)it;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int ring_get(struct ring *r, struct item *it, int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    int err;

    if (deadline_ms < -1)
        return set_errno(EINVAL);
    err = pthread_mutex_lock(&r->lock);
    if (err != 0)
        return set_errno(err);
    while (r->count == 0 && !r->closed && err == 0)
        err = wait_until(&r->not_empty, &r->lock, deadline_ms, &until);
    if (r->count > 0) {
        err = 0;
        *it = r->items[r->first];
        r->first = (r->first + 1) % r->slots;
        r->count--;
        pthread_cond_signal(&r->not_full);
    } else if (r->closed) {
        err = EPIPE;
    }
    pthread_mutex_unlock(&r->lock);
    return set_errno(err);
    // STUB
    // /* TODO(lab6): wait, in a loop, while it is empty and open; take the
    //  * oldest item; tell a producer. */
    // (void)r;
    // (void)it;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int ring_close(struct ring *r)
{
    // BEGIN SOLUTION
    int err = pthread_mutex_lock(&r->lock);

    if (err != 0)
        return set_errno(err);
    r->closed = 1;
    pthread_cond_broadcast(&r->not_empty);
    pthread_cond_broadcast(&r->not_full);
    pthread_mutex_unlock(&r->lock);
    return 0;
    // STUB
    // /* TODO(lab6): note that it is closed, and wake everybody who waits.
    //  * pthread_cond_broadcast(3). */
    // (void)r;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rw_init(struct shared_table *t)
{
    // BEGIN SOLUTION
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_rwlockattr_setkind_np(&attr,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);

    int err = pthread_rwlock_init(&t->rwlock, &attr);

    pthread_rwlockattr_destroy(&attr);
    return set_errno(err);
    // STUB
    // /* TODO(lab6): choose a way; whichever it is, it is for processes.  Whom
    //  * does a pthread_rwlock_t prefer if nothing is said?
    //  * pthread_rwlockattr_setkind_np(3). */
    // (void)t;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rw_read(struct shared_table *t,
            int (*body)(const int64_t *cells, void *ctx), void *ctx)
{
    // BEGIN SOLUTION
    int err = pthread_rwlock_rdlock(&t->rwlock);

    if (err != 0)
        return set_errno(err);

    int ret = body(t->cells, ctx);
    int saved = errno;

    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
    // STUB
    // /* TODO(lab6): run the body beside other readers, never beside a writer;
    //  * a writer that waits goes first. */
    // (void)t;
    // (void)body;
    // (void)ctx;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rw_write(struct shared_table *t, int (*body)(int64_t *cells, void *ctx),
             void *ctx)
{
    // BEGIN SOLUTION
    int err = pthread_rwlock_wrlock(&t->rwlock);

    if (err != 0)
        return set_errno(err);

    int ret = body(t->cells, ctx);
    int saved = errno;

    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
    // STUB
    // /* TODO(lab6): run the body while nobody else reads or writes. */
    // (void)t;
    // (void)body;
    // (void)ctx;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
