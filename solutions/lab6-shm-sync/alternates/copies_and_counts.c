/*
 * Another correct solution: an update works on a copy of the balance, one
 * condition serves producers and consumers, and the table has a mutex, a
 * condition and counts.
 */
#include "shm_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

int account_init(struct account *a)
{
    a->balance = 0;
    a->before = 0;
    a->updating = 0;
    return init_mutex(&a->lock, PTHREAD_MUTEX_ROBUST);
}

/* The change is made to a copy; the balance itself changes in one store, which
 * a death leaves made or not made.  So there is nothing to undo. */
int account_update(struct account *a, int (*body)(int64_t *balance, void *ctx),
                   void *ctx)
{
    int err = pthread_mutex_lock(&a->lock);

    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&a->lock);
    if (err != 0)
        return set_errno(err);

    int64_t copy = a->balance;
    int ret = body(&copy, ctx);

    err = errno;
    if (ret == 0)
        a->balance = copy;
    pthread_mutex_unlock(&a->lock);
    return ret == 0 ? 0 : set_errno(err);
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

struct board *board_join(const char *name, int nprocs, int deadline_ms)
{
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
        init_cond(&r->not_empty) == -1)
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
        err = wait_until(&r->not_empty, &r->lock, deadline_ms, &until);
    if (r->closed) {
        err = EPIPE;
    } else if (r->count < r->slots) {
        err = 0;
        r->items[(r->first + r->count) % r->slots] = *it;
        r->count++;
        pthread_cond_broadcast(&r->not_empty);
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
        pthread_cond_broadcast(&r->not_empty);
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
    pthread_mutex_unlock(&r->lock);
    return 0;
}

int rw_init(struct shared_table *t)
{
    return init_mutex(&t->lock, PTHREAD_MUTEX_STALLED) == -1
               ? -1
               : init_cond(&t->changed);
}

int rw_read(struct shared_table *t,
            int (*body)(const int64_t *cells, void *ctx), void *ctx)
{
    int err = pthread_mutex_lock(&t->lock);

    if (err != 0)
        return set_errno(err);
    while (t->writing || t->writers > 0)
        pthread_cond_wait(&t->changed, &t->lock);
    t->readers++;
    pthread_mutex_unlock(&t->lock);

    int ret = body(t->cells, ctx);

    err = errno;
    pthread_mutex_lock(&t->lock);
    if (--t->readers == 0)
        pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    errno = err;
    return ret;
}

int rw_write(struct shared_table *t, int (*body)(int64_t *cells, void *ctx),
             void *ctx)
{
    int err = pthread_mutex_lock(&t->lock);

    if (err != 0)
        return set_errno(err);
    t->writers++;
    while (t->writing || t->readers > 0)
        pthread_cond_wait(&t->changed, &t->lock);
    t->writers--;
    t->writing = 1;
    pthread_mutex_unlock(&t->lock);

    int ret = body(t->cells, ctx);

    err = errno;
    pthread_mutex_lock(&t->lock);
    t->writing = 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    errno = err;
    return ret;
}
