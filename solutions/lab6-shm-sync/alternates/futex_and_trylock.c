/*
 * Another correct solution: a lock is tried first and waited for if it is held,
 * those who wait at the board sleep on its count itself (futex(2)), and a nap
 * is a select(2) of nothing.
 */
#include "shm_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int fail(int err)
{
    errno = err;
    return -1;
}

/* These return the number of the error, as pthread functions do. */

static int init_mutex(pthread_mutex_t *m, int robust)
{
    pthread_mutexattr_t attr;
    int err = pthread_mutexattr_init(&attr);

    if (err != 0)
        return err;
    err = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (err == 0)
        err = pthread_mutexattr_setrobust(&attr, robust);
    if (err == 0)
        err = pthread_mutex_init(m, &attr);
    pthread_mutexattr_destroy(&attr);
    return err;
}

static int init_cond(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    int err = pthread_condattr_init(&attr);

    if (err != 0)
        return err;
    err = pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (err == 0)
        err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (err == 0)
        err = pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
    return err;
}

struct until {
    bool ever;
    struct timespec t;
};

static struct until until(int deadline_ms)
{
    struct until u = {.ever = deadline_ms == -1};

    if (!u.ever) {
        clock_gettime(CLOCK_MONOTONIC, &u.t);
        u.t.tv_sec += deadline_ms / 1000;
        u.t.tv_nsec += deadline_ms % 1000 * 1000000L;
        if (u.t.tv_nsec >= 1000000000L) {
            u.t.tv_nsec -= 1000000000L;
            u.t.tv_sec++;
        }
    }
    return u;
}

static bool over(const struct until *u)
{
    struct timespec now;

    if (u->ever)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > u->t.tv_sec ||
           (now.tv_sec == u->t.tv_sec && now.tv_nsec >= u->t.tv_nsec);
}

static int wait_on(pthread_cond_t *c, pthread_mutex_t *m, const struct until *u)
{
    return u->ever ? pthread_cond_wait(c, m)
                   : pthread_cond_timedwait(c, m, &u->t);
}

/* ------------------------------------------------------------------------ */

int account_init(struct account *a)
{
    int err = init_mutex(&a->lock, PTHREAD_MUTEX_ROBUST);

    return err == 0 ? 0 : fail(err);
}

/* For those who come after a death at this point: not for other processors. */
#define STORE_BEFORE() atomic_signal_fence(memory_order_seq_cst)

static void undo(struct account *a)
{
    a->balance = a->before;
    STORE_BEFORE();
    a->updating = 0;
}

static int lock_account(struct account *a)
{
    int err = pthread_mutex_trylock(&a->lock);

    if (err == EBUSY)
        err = pthread_mutex_lock(&a->lock);
    if (err != EOWNERDEAD)
        return err;
    if (a->updating)
        undo(a);
    return pthread_mutex_consistent(&a->lock);
}

int account_update(struct account *a, int (*body)(int64_t *balance, void *ctx),
                   void *ctx)
{
    int err = lock_account(a);

    if (err != 0)
        return fail(err);
    a->before = a->balance;
    STORE_BEFORE();
    a->updating = 1;
    STORE_BEFORE();

    int ret = body(&a->balance, ctx);
    int saved = errno;

    STORE_BEFORE();
    if (ret == 0)
        a->updating = 0;
    else
        undo(a);
    pthread_mutex_unlock(&a->lock);
    errno = saved;
    return ret == 0 ? 0 : -1;
}

/* ------------------------------------------------------------------------ */

static void nap(void)
{
    struct timeval a_moment = {.tv_usec = 1000};

    select(0, NULL, NULL, NULL, &a_moment);
}

static int init_board(struct board *b, int nprocs)
{
    int err = init_mutex(&b->lock, PTHREAD_MUTEX_STALLED);

    if (err != 0)
        return err;
    err = init_cond(&b->all_here);
    if (err != 0) {
        pthread_mutex_destroy(&b->lock);
        return err;
    }
    b->nprocs = (uint32_t)nprocs;
    b->joined = 0;
    atomic_store_explicit(&b->ready, 1, memory_order_release);
    return 0;
}

static struct board *map(int fd)
{
    return mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED,
                fd, 0);
}

/* Makes the board behind fd.  Returns an error. */
static int make_board(int fd, int nprocs, struct board **out)
{
    struct board *b;
    int err;

    do
        err = posix_fallocate(fd, 0, sizeof(*b));
    while (err == EINTR);
    if (err != 0)
        return err;
    b = map(fd);
    if (b == MAP_FAILED)
        return errno;
    err = init_board(b, nprocs);
    if (err != 0) {
        munmap(b, sizeof(*b));
        return err;
    }
    *out = b;
    return 0;
}

/* Waits until the board behind fd is ready.  ENOENT: it has been given up. */
static int find_board(int fd, const struct until *u, struct board **out)
{
    struct board *b = MAP_FAILED;
    int err = 0;

    for (;;) {
        struct stat st;

        if (fstat(fd, &st) == -1) {
            err = errno;
            break;
        }
        if (b == MAP_FAILED && st.st_size >= (off_t)sizeof(*b)) {
            b = map(fd);
            if (b == MAP_FAILED) {
                err = errno;
                break;
            }
        }
        if (b != MAP_FAILED &&
            atomic_load_explicit(&b->ready, memory_order_acquire) != 0)
            break;
        if (st.st_nlink == 0) {
            err = ENOENT;
            break;
        }
        if (over(u)) {
            err = ETIMEDOUT;
            break;
        }
        nap();
    }
    if (err == 0)
        *out = b;
    else if (b != MAP_FAILED)
        munmap(b, sizeof(*b));
    return err;
}

/* Sleeps while *word is that; who has changed it wakes all. */
static int sleep_while(uint32_t *word, uint32_t is, const struct until *u)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, is, u->ever ? NULL : &u->t,
                NULL, FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    return errno;
}

/* Counts in and waits.  EAGAIN: the others have met without this one. */
static int meet(struct board *b, const char *name, int nprocs,
                const struct until *u)
{
    int err = pthread_mutex_lock(&b->lock);

    if (err != 0)
        return err;
    if (b->joined == b->nprocs) {
        err = EAGAIN;
    } else if (b->nprocs != (uint32_t)nprocs) {
        err = EINVAL;
    } else if (b->joined + 1 == b->nprocs) {
        if (shm_unlink(name) == -1 && errno != ENOENT) {
            err = errno;
        } else {
            __atomic_store_n(&b->joined, b->nprocs, __ATOMIC_SEQ_CST);
            syscall(SYS_futex, &b->joined, FUTEX_WAKE, INT32_MAX, NULL, NULL,
                    0);
        }
    } else {
        __atomic_store_n(&b->joined, b->joined + 1, __ATOMIC_SEQ_CST);
        for (;;) {
            uint32_t now = b->joined;

            if (now == b->nprocs) {
                err = 0;
                break;
            }
            if (err == ETIMEDOUT) {
                __atomic_store_n(&b->joined, now - 1, __ATOMIC_SEQ_CST);
                break;
            }
            pthread_mutex_unlock(&b->lock);
            err = sleep_while(&b->joined, now, u);
            pthread_mutex_lock(&b->lock);
        }
    }
    pthread_mutex_unlock(&b->lock);
    return err;
}

struct board *board_join(const char *name, int nprocs, int deadline_ms)
{
    struct until u;

    if (nprocs < 1 || deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    u = until(deadline_ms);
    for (;;) {
        struct board *b = NULL;
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        int err;

        if (fd != -1) {
            err = make_board(fd, nprocs, &b);
            if (err != 0)
                shm_unlink(name);
            close(fd);
        } else if (errno == EEXIST) {
            fd = shm_open(name, O_RDWR, 0);
            if (fd == -1 && errno == ENOENT)
                continue;
            if (fd == -1)
                return NULL;
            err = find_board(fd, &u, &b);
            close(fd);
            if (err == ENOENT)
                continue;
        } else {
            return NULL;
        }
        if (err == 0) {
            err = meet(b, name, nprocs, &u);
            if (err == 0)
                return b;
            munmap(b, sizeof(*b));
            if (err == EAGAIN)
                continue;
        }
        errno = err;
        return NULL;
    }
}

/* ------------------------------------------------------------------------ */

int ring_init(struct ring *r, size_t slots)
{
    int err;

    if (slots < 1 || slots > RING_MAX_SLOTS)
        return fail(EINVAL);
    err = init_mutex(&r->lock, PTHREAD_MUTEX_STALLED);
    if (err != 0)
        return fail(err);
    err = init_cond(&r->not_empty);
    if (err != 0)
        goto no_not_empty;
    err = init_cond(&r->not_full);
    if (err != 0)
        goto no_not_full;
    r->slots = (uint32_t)slots;
    r->first = r->count = r->closed = 0;
    return 0;
no_not_full:
    pthread_cond_destroy(&r->not_empty);
no_not_empty:
    pthread_mutex_destroy(&r->lock);
    return fail(err);
}

int ring_put(struct ring *r, const struct item *it, int deadline_ms)
{
    struct until u;
    int err;

    if (deadline_ms < -1)
        return fail(EINVAL);
    u = until(deadline_ms);
    err = pthread_mutex_lock(&r->lock);
    if (err != 0)
        return fail(err);
    while (err == 0 && r->count == r->slots && !r->closed)
        err = wait_on(&r->not_full, &r->lock, &u);
    if (r->closed) {
        err = EPIPE;
    } else if (r->count < r->slots) {
        err = 0;
        r->items[(r->first + r->count) % r->slots] = *it;
        r->count++;
        pthread_cond_signal(&r->not_empty);
    }
    pthread_mutex_unlock(&r->lock);
    return err == 0 ? 0 : fail(err);
}

int ring_get(struct ring *r, struct item *it, int deadline_ms)
{
    struct until u;
    int err;

    if (deadline_ms < -1)
        return fail(EINVAL);
    u = until(deadline_ms);
    err = pthread_mutex_lock(&r->lock);
    if (err != 0)
        return fail(err);
    while (err == 0 && r->count == 0 && !r->closed)
        err = wait_on(&r->not_empty, &r->lock, &u);
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
    return err == 0 ? 0 : fail(err);
}

int ring_close(struct ring *r)
{
    int err = pthread_mutex_lock(&r->lock);

    if (err != 0)
        return fail(err);
    r->closed = 1;
    pthread_cond_broadcast(&r->not_empty);
    pthread_cond_broadcast(&r->not_full);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* ------------------------------------------------------------------------ */

int rw_init(struct shared_table *t)
{
    pthread_rwlockattr_t attr;
    int err = pthread_rwlockattr_init(&attr);

    if (err != 0)
        return fail(err);
    err = pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (err == 0)
        err = pthread_rwlockattr_setkind_np(
            &attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    if (err == 0)
        err = pthread_rwlock_init(&t->rwlock, &attr);
    pthread_rwlockattr_destroy(&attr);
    return err == 0 ? 0 : fail(err);
}

int rw_read(struct shared_table *t,
            int (*body)(const int64_t *cells, void *ctx), void *ctx)
{
    int err = pthread_rwlock_rdlock(&t->rwlock);
    int ret, saved;

    if (err != 0)
        return fail(err);
    ret = body(t->cells, ctx);
    saved = errno;
    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
}

int rw_write(struct shared_table *t, int (*body)(int64_t *cells, void *ctx),
             void *ctx)
{
    int err = pthread_rwlock_wrlock(&t->rwlock);
    int ret, saved;

    if (err != 0)
        return fail(err);
    ret = body(t->cells, ctx);
    saved = errno;
    pthread_rwlock_unlock(&t->rwlock);
    errno = saved;
    return ret;
}
