/*
 * Another correct solution: the board is initialised under a lock on its file,
 * and waits say their clock themselves (pthread_cond_clockwait).
 */
#include "shm_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

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
    if (deadline_ms == -1)
        return pthread_cond_wait(cond, lock);
    return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, until);
}

int account_init(struct account *a)
{
    a->balance = 0;
    a->before = 0;
    a->updating = 0;
    return init_mutex(&a->lock, PTHREAD_MUTEX_ROBUST);
}

/* Undoes what a process that died, or a body that failed, has begun. */
static void roll_back(struct account *a)
{
    if (a->updating)
        a->balance = a->before;
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

int account_update(struct account *a, int (*body)(int64_t *balance, void *ctx),
                   void *ctx)
{
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
}

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

static int get_lock(int fd, int deadline_ms, const struct timespec *until)
{
    while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -1;
        if (deadline_ms != -1 && has_passed(until))
            return set_errno(ETIMEDOUT);
        nap();
    }
    return 0;
}

/* With the file locked: initialises the board if nobody has. */
static int prepare(struct board *b, int nprocs)
{
    if (atomic_load(&b->ready))
        return 0;
    b->nprocs = (uint32_t)nprocs;
    b->joined = 0;
    if (init_mutex(&b->lock, PTHREAD_MUTEX_ROBUST) == -1 ||
        init_cond(&b->all_here) == -1)
        return -1;
    atomic_store(&b->ready, 1);
    return 0;
}

/* The region's file is locked by whoever initialises, so that a process that
 * dies in the middle leaves the work to the next. */
static struct board *open_board(const char *name, int nprocs, int deadline_ms,
                                const struct timespec *until)
{
    struct board *b = NULL;
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);

    if (fd == -1)
        return NULL;
    if (get_lock(fd, deadline_ms, until) == 0 && ftruncate(fd, sizeof(*b)) == 0)
        b = map_board(fd);
    if (b != NULL && prepare(b, nprocs) == -1) {
        munmap(b, sizeof(*b));
        b = NULL;
    }
    int saved = errno;
    flock(fd, LOCK_UN); /* the mapping would keep it */
    close(fd);
    errno = saved;
    return b;
}

/* Counts the caller in and waits for the others; an errno, or 0.  EAGAIN: they
 * have met without the caller, who opened the board a moment too late. */
static int meet(struct board *b, const char *name, int nprocs, int deadline_ms,
                const struct timespec *until)
{
    int err = pthread_mutex_lock(&b->lock);

    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&b->lock);
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

struct board *board_join(const char *name, int nprocs, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);

    if (nprocs < 1 || deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }

    for (;;) {
        struct board *b = open_board(name, nprocs, deadline_ms, &until);

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
}

int ring_init(struct ring *r, size_t slots)
{
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
}

int ring_put(struct ring *r, const struct item *it, int deadline_ms)
{
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
}

int ring_get(struct ring *r, struct item *it, int deadline_ms)
{
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
}

int ring_close(struct ring *r)
{
    int err = pthread_mutex_lock(&r->lock);

    if (err != 0)
        return set_errno(err);
    r->closed = 1;
    pthread_cond_broadcast(&r->not_empty);
    pthread_cond_broadcast(&r->not_full);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

int rw_init(struct shared_table *t)
{
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_rwlockattr_setkind_np(&attr,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);

    int err = pthread_rwlock_init(&t->rwlock, &attr);

    pthread_rwlockattr_destroy(&attr);
    return set_errno(err);
}

int rw_read(struct shared_table *t,
            int (*body)(const int64_t *cells, void *ctx), void *ctx)
{
    int err = pthread_rwlock_rdlock(&t->rwlock);

    if (err != 0)
        return set_errno(err);

    int ret = body(t->cells, ctx);
    int saved = errno;

    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
}

int rw_write(struct shared_table *t, int (*body)(int64_t *cells, void *ctx),
             void *ctx)
{
    int err = pthread_rwlock_wrlock(&t->rwlock);

    if (err != 0)
        return set_errno(err);

    int ret = body(t->cells, ctx);
    int saved = errno;

    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
}
