/*
 * design.c - managers of shared memory, rounds, a ring without locks, and the
 * choice between copy and map.  What each function has to do is said in
 * design.h.
 */
#include "design.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// BEGIN SOLUTION
static int fail(int err)
{
    errno = err;
    return -1;
}

/* ---- deadlines ---- */

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

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec ||
           (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool has_passed(const struct timespec *until)
{
    struct timespec now = time_in(0);

    return !is_before(&now, until);
}

/* ---- memory of files ---- */

/* Pages for all of it; the number of an error, or 0. */
static int allocate(int fd, size_t size)
{
    int err;

    do
        err = posix_fallocate(fd, 0, (off_t)size);
    while (err == EINTR);
    return err;
}

/* ---- locks between processes ---- */

static int init_mutex(pthread_mutex_t *mutex, int robust)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, robust);

    int err = pthread_mutex_init(mutex, &attr);

    pthread_mutexattr_destroy(&attr);
    return err == 0 ? 0 : fail(err);
}

static int lock_robust(pthread_mutex_t *mutex)
{
    int err = pthread_mutex_lock(mutex);

    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(mutex);
    return err == 0 ? 0 : fail(err);
}

/* ---- the arena ---- */

/*
 * The blocks lie side by side, each with its head in front of it; they are
 * found by their sizes, from the first to the end.
 */
struct block {
    uint64_t size; /* head included, a multiple of ARENA_ALIGN */
    uint64_t used; /* 1: it is given away */
};

struct arena {
    pthread_mutex_t lock;
    uint64_t size;
};

#define FIRST_BLOCK ((sizeof(struct arena) + ARENA_ALIGN - 1) & ~(uint64_t)15)

_Static_assert(sizeof(struct arena) + sizeof(struct block) <= ARENA_HEAD,
               "the manager needs more than it may");

static struct block *block_at(void *seg, uint64_t offset)
{
    return (struct block *)((char *)seg + offset);
}

static bool is_in(const struct arena *a, uint64_t offset)
{
    return offset < a->size;
}

/* Joins a free block with the free ones behind it. */
static void join_next(void *seg, uint64_t offset)
{
    const struct arena *a = seg;
    struct block *b = block_at(seg, offset);

    while (is_in(a, offset + b->size) && !block_at(seg, offset + b->size)->used)
        b->size += block_at(seg, offset + b->size)->size;
}

/* Takes size bytes of a free block; what is left becomes one of its own. */
static void use_block(void *seg, uint64_t offset, uint64_t size)
{
    struct block *b = block_at(seg, offset);

    if (b->size - size > sizeof(struct block)) {
        *block_at(seg, offset + size) =
            (struct block){.size = b->size - size, .used = 0};
        b->size = size;
    }
    b->used = 1;
}

// END SOLUTION
int arena_init(void *seg, size_t size_bytes)
{
    // BEGIN SOLUTION
    struct arena *a = seg;

    if (size_bytes < 1024 || size_bytes % ARENA_ALIGN != 0)
        return fail(EINVAL);
    a->size = size_bytes;
    *block_at(seg, FIRST_BLOCK) =
        (struct block){.size = size_bytes - FIRST_BLOCK, .used = 0};
    return init_mutex(&a->lock, PTHREAD_MUTEX_STALLED);
    // STUB
    // /* TODO(lab8): a lock for processes, and one free block.  What does each
    //  * block have to say of itself, so that its neighbour is found? */
    // (void)seg;
    // (void)size_bytes;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

uint64_t arena_alloc(void *seg, size_t size_bytes)
{
    // BEGIN SOLUTION
    struct arena *a = seg;
    uint64_t found = 0;

    if (size_bytes == 0 || size_bytes > a->size) {
        errno = size_bytes == 0 ? EINVAL : ENOMEM;
        return 0;
    }

    uint64_t size = (size_bytes + sizeof(struct block) + ARENA_ALIGN - 1) /
                    ARENA_ALIGN * ARENA_ALIGN;

    pthread_mutex_lock(&a->lock);
    for (uint64_t at = FIRST_BLOCK; is_in(a, at) && found == 0;
         at += block_at(seg, at)->size)
        if (!block_at(seg, at)->used && block_at(seg, at)->size >= size)
            found = at;
    if (found != 0)
        use_block(seg, found, size);
    pthread_mutex_unlock(&a->lock);
    if (found == 0) {
        errno = ENOMEM;
        return 0;
    }
    return found + sizeof(struct block);
    // STUB
    // /* TODO(lab8): the first free block that is large enough; what becomes of
    //  * the rest of it? */
    // (void)seg;
    // (void)size_bytes;
    // errno = ENOSYS;
    // return 0;
    // END SOLUTION
}

int arena_free(void *seg, uint64_t offset)
{
    // BEGIN SOLUTION
    struct arena *a = seg;
    uint64_t at = FIRST_BLOCK, before = 0;
    int ret = -1;

    pthread_mutex_lock(&a->lock);
    while (is_in(a, at) && at + sizeof(struct block) != offset) {
        before = block_at(seg, at)->used ? 0 : at;
        at += block_at(seg, at)->size;
    }
    if (is_in(a, at) && block_at(seg, at)->used) {
        block_at(seg, at)->used = 0;
        join_next(seg, before != 0 ? before : at);
        ret = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return ret == 0 ? 0 : fail(EINVAL);
    // STUB
    // /* TODO(lab8): is it a block in use?  Then it is free, and one with its
    //  * free neighbours. */
    // (void)seg;
    // (void)offset;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* ---- the pool ---- */

struct table {
    atomic_uint ready; /* not 0: all that follows is initialised */
    uint32_t nsegs;
    uint64_t seg_bytes;
    pthread_mutex_t lock; /* robust: a process may die with it */
    sem_t freed;          /* posted for who has found none: look again */
    /* A process may die between any two stores.  So one word alone says whether
     * a segment is free; what else there is can be behind it. */
    pid_t owner[POOL_MAX_SEGS];     /* 0: it is free */
    uint64_t number[POOL_MAX_SEGS]; /* of a free one: the lower, the longer */
    uint64_t numbers;               /* given so far */
};

/* The region of segment seg, or (-1) of the table. */
static const char *region_name(const struct pool *p, int seg, char *name,
                               size_t size)
{
    if (seg == -1)
        snprintf(name, size, "%s", p->name);
    else
        snprintf(name, size, "%s.%d", p->name, seg);
    return name;
}

/* Maps a region, a new one or one that is there; size 0: as large as it is. */
static void *map_region(const struct pool *p, int seg, int flags, size_t size)
{
    char name[256];
    struct stat st;
    void *at = NULL;
    int err;
    int fd =
        shm_open(region_name(p, seg, name, sizeof(name)), O_RDWR | flags, 0600);

    if (fd == -1)
        return NULL;
    if ((flags & O_CREAT) != 0)
        err = allocate(fd, size);
    else
        err = fstat(fd, &st) == -1          ? errno
              : (uint64_t)st.st_size < size ? ENOENT
                                            : 0;
    if (err == 0) {
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) {
            at = NULL;
            err = errno;
        }
    }
    close(fd);
    if (at == NULL && (flags & O_CREAT) != 0)
        shm_unlink(name);
    errno = err;
    return at;
}

/* Removes the table and the first n segments. */
static void remove_regions(const struct pool *p, int n)
{
    char name[256];
    int saved = errno;

    for (int seg = -1; seg < n; seg++)
        shm_unlink(region_name(p, seg, name, sizeof(name)));
    errno = saved;
}

static int fill_table(struct table *t, size_t nsegs, size_t seg_bytes)
{
    t->nsegs = (uint32_t)nsegs;
    t->seg_bytes = seg_bytes;
    for (uint32_t i = 0; i < nsegs; i++)
        t->number[i] = ++t->numbers;
    if (init_mutex(&t->lock, PTHREAD_MUTEX_ROBUST) == -1)
        return -1;
    return sem_init(&t->freed, 1, 0);
}

// END SOLUTION
int pool_create(struct pool *p, const char *name, size_t nsegs,
                size_t seg_bytes)
{
    // BEGIN SOLUTION
    struct pool made = {.nsegs = nsegs, .seg_bytes = seg_bytes};

    if (nsegs < 1 || nsegs > POOL_MAX_SEGS || seg_bytes < 1 ||
        strlen(name) > 200)
        return fail(EINVAL);
    snprintf(made.name, sizeof(made.name), "%s", name);
    made.table = map_region(&made, -1, O_CREAT | O_EXCL, sizeof(struct table));
    if (made.table == NULL)
        return -1;
    for (int seg = 0; seg < (int)nsegs; seg++) {
        made.segs[seg] = map_region(&made, seg, O_CREAT | O_EXCL, seg_bytes);
        if (made.segs[seg] == NULL) {
            remove_regions(&made, seg);
            goto out;
        }
    }
    if (fill_table(made.table, nsegs, seg_bytes) == -1) {
        remove_regions(&made, (int)nsegs);
        goto out;
    }
    atomic_store_explicit(&((struct table *)made.table)->ready, 1,
                          memory_order_release);
    *p = made;
    return 0;
out:;
    int saved = errno;

    pool_close(&made);
    return fail(saved);
    // STUB
    // /* TODO(lab8): the table, then each segment; what if the third can't be
    //  * made?  shm_open(3), posix_fallocate(3), mmap(2). */
    // (void)p;
    // (void)name;
    // (void)nsegs;
    // (void)seg_bytes;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pool_open(struct pool *p, const char *name)
{
    // BEGIN SOLUTION
    struct pool opened = {.nsegs = 0};
    struct table *t;

    if (strlen(name) > 200)
        return fail(ENOENT);
    snprintf(opened.name, sizeof(opened.name), "%s", name);
    t = map_region(&opened, -1, 0, sizeof(struct table));
    if (t == NULL)
        return -1;
    if (atomic_load_explicit(&t->ready, memory_order_acquire) == 0 ||
        t->nsegs < 1 || t->nsegs > POOL_MAX_SEGS) {
        munmap(t, sizeof(*t));
        return fail(ENOENT);
    }
    opened.table = t;
    opened.nsegs = t->nsegs;
    opened.seg_bytes = t->seg_bytes;
    *p = opened;
    return 0;
    // STUB
    // /* TODO(lab8): map the table; is it complete? */
    // (void)p;
    // (void)name;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
static int wait_for(sem_t *sem, int deadline_ms, const struct timespec *until)
{
    int ret;

    do
        ret = deadline_ms == -1 ? sem_wait(sem)
                                : sem_clockwait(sem, CLOCK_MONOTONIC, until);
    while (ret == -1 && errno == EINTR);
    return ret;
}

/* With the lock held: a segment in use becomes free. */
static void put_back(struct table *t, uint32_t seg)
{
    t->number[seg] = ++t->numbers;
    t->owner[seg] = 0;
}

/* With the lock held: the one that has been free longest takes an owner; -1:
 * none is free. */
static int take_first(struct table *t, pid_t owner)
{
    int first = -1;

    for (int i = 0; i < (int)t->nsegs; i++)
        if (t->owner[i] == 0 &&
            (first == -1 || t->number[i] < t->number[first]))
            first = i;
    if (first != -1)
        t->owner[first] = owner;
    return first;
}

/* One post too many is no harm: who is woken looks. */
static void tell_of_free_ones(struct table *t)
{
    int value = 0;

    sem_getvalue(&t->freed, &value);
    if (value < (int)t->nsegs)
        sem_post(&t->freed);
}

static bool is_in_use(const struct pool *p, int seg)
{
    const struct table *t = p->table;

    return seg >= 0 && (size_t)seg < p->nsegs && t->owner[seg] != 0;
}

// END SOLUTION
int pool_acquire(struct pool *p, int deadline_ms)
{
    // BEGIN SOLUTION
    struct table *t = p->table;
    struct timespec until = time_in(deadline_ms);

    if (deadline_ms < -1)
        return fail(EINVAL);
    for (;;) {
        int seg;

        if (lock_robust(&t->lock) == -1)
            return -1;
        seg = take_first(t, getpid());
        pthread_mutex_unlock(&t->lock);
        if (seg != -1)
            return seg;
        if (wait_for(&t->freed, deadline_ms, &until) == -1)
            return -1;
    }
    // STUB
    // /* TODO(lab8): wait for a free one, take the one that has been free
    //  * longest, and note whose it is.  What if this process dies on the
    //  * way? */
    // (void)p;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void *pool_segment(struct pool *p, int seg)
{
    // BEGIN SOLUTION
    if (seg < 0 || (size_t)seg >= p->nsegs) {
        errno = EINVAL;
        return NULL;
    }
    if (p->segs[seg] == NULL)
        p->segs[seg] = map_region(p, seg, 0, p->seg_bytes);
    return p->segs[seg];
    // STUB
    // /* TODO(lab8): map it, or say where it is mapped.  mmap(2). */
    // (void)p;
    // (void)seg;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int pool_give(struct pool *p, int seg, pid_t to)
{
    // BEGIN SOLUTION
    struct table *t = p->table;
    int ret = 0;

    if (lock_robust(&t->lock) == -1)
        return -1;
    if (is_in_use(p, seg))
        t->owner[seg] = to;
    else
        ret = fail(EINVAL);
    pthread_mutex_unlock(&t->lock);
    return ret;
    // STUB
    // /* TODO(lab8): note whose it is now. */
    // (void)p;
    // (void)seg;
    // (void)to;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pool_release(struct pool *p, int seg)
{
    // BEGIN SOLUTION
    struct table *t = p->table;
    int ret = 0;

    if (lock_robust(&t->lock) == -1)
        return -1;
    if (is_in_use(p, seg))
        put_back(t, (uint32_t)seg);
    else
        ret = fail(EINVAL);
    pthread_mutex_unlock(&t->lock);
    if (ret == 0)
        tell_of_free_ones(t);
    return ret;
    // STUB
    // /* TODO(lab8): is it in use?  Then it goes behind the others. */
    // (void)p;
    // (void)seg;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pool_reclaim(struct pool *p, pid_t dead)
{
    // BEGIN SOLUTION
    struct table *t = p->table;
    int n = 0;

    if (kill(dead, 0) == 0 || errno == EPERM)
        return fail(EBUSY);
    if (lock_robust(&t->lock) == -1)
        return -1;
    for (uint32_t seg = 0; seg < p->nsegs; seg++)
        if (t->owner[seg] == dead) {
            put_back(t, seg);
            n++;
        }
    pthread_mutex_unlock(&t->lock);
    /* It may have died before it told of one, or have been woken in vain. */
    for (uint32_t seg = 0; seg < p->nsegs; seg++)
        tell_of_free_ones(t);
    return n;
    // STUB
    // /* TODO(lab8): is it dead?  Then all that is its own comes back, and who
    //  * waits is told, whatever it was doing when it died.  kill(2). */
    // (void)p;
    // (void)dead;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pool_close(struct pool *p)
{
    // BEGIN SOLUTION
    for (size_t seg = 0; seg < p->nsegs; seg++)
        if (p->segs[seg] != NULL) {
            munmap(p->segs[seg], p->seg_bytes);
            p->segs[seg] = NULL;
        }
    return munmap(p->table, sizeof(struct table));
    // STUB
    // /* TODO(lab8): what has this process mapped?  munmap(2). */
    // (void)p;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int pool_destroy(struct pool *p)
{
    // BEGIN SOLUTION
    remove_regions(p, (int)p->nsegs);
    return pool_close(p);
    // STUB
    // /* TODO(lab8): all names go, then the mappings.  shm_unlink(3). */
    // (void)p;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* ---- rounds ---- */

enum { NOT_YET, PRESENT, GONE };

struct rounds {
    uint64_t slots;
    uint64_t slot_bytes;
    pthread_mutex_t alive[2]; /* robust; who has the role holds it */
    atomic_int state[2];
    pthread_mutex_t looking; /* robust; for a look whether somebody holds one */
    sem_t freed, filled;     /* posted for who waits: look again */
    /* A process may die between any two stores.  So two numbers alone say which
     * slots hold a round: how many were sent, and how many taken out. */
    _Atomic uint64_t sent, taken;
    uint64_t cut_off; /* the sender's: not 0, a message has no end */
};

/* What lies in front of each round's bytes. */
struct round {
    uint32_t size;
    uint16_t is_first, is_last; /* of its message */
};

#define FIRST_ROUND 2048

static struct round *round_at(struct rounds *r, uint64_t n)
{
    uint64_t stride = (r->slot_bytes + 127) / 64 * 64;

    return (struct round *)((char *)r + FIRST_ROUND + n % r->slots * stride);
}

static void *bytes_of(struct round *round)
{
    return round + 1;
}

/* Has the other side been there, and is no more?  -1 with errno. */
static int is_gone(struct rounds *r, enum rounds_role role)
{
    if (atomic_load(&r->state[role]) == PRESENT) {
        if (lock_robust(&r->looking) == -1)
            return -1;

        int err = pthread_mutex_trylock(&r->alive[role]);

        if (err == EOWNERDEAD) {
            pthread_mutex_consistent(&r->alive[role]);
            atomic_store(&r->state[role], GONE);
        }
        if (err == 0 || err == EOWNERDEAD)
            pthread_mutex_unlock(&r->alive[role]);
        pthread_mutex_unlock(&r->looking);
    }
    return atomic_load(&r->state[role]) == GONE;
}

/* Waits until a number of the other side's is not the one known, with a look
 * after that side now and then. */
static int await_round(struct rounds *r, enum rounds_role other, uint64_t known,
                       int deadline_ms, const struct timespec *until)
{
    _Atomic uint64_t *number = other == ROUNDS_SENDER ? &r->sent : &r->taken;
    sem_t *told = other == ROUNDS_SENDER ? &r->filled : &r->freed;

    while (atomic_load_explicit(number, memory_order_acquire) == known) {
        struct timespec soon = time_in(20);
        bool last = deadline_ms != -1 && !is_before(&soon, until);
        int gone;

        if (wait_for(told, 0, last ? until : &soon) == 0)
            continue;
        if (errno != ETIMEDOUT)
            return -1;
        gone = is_gone(r, other);
        if (gone == -1)
            return -1;
        if (atomic_load_explicit(number, memory_order_acquire) != known)
            break;
        if (gone == 1)
            return fail(EPIPE);
        if (last)
            return fail(ETIMEDOUT);
    }
    sem_trywait(told); /* told of it, if it was there at once */
    return 0;
}

// END SOLUTION
int rounds_init(struct rounds *r, size_t slots, size_t slot_bytes)
{
    // BEGIN SOLUTION
    if (slots < 1 || slots > ROUNDS_MAX_SLOTS || slot_bytes < 1)
        return fail(EINVAL);
    r->slots = slots;
    r->slot_bytes = slot_bytes;
    r->cut_off = 0;
    atomic_store(&r->sent, 0);
    atomic_store(&r->taken, 0);
    for (int role = 0; role < 2; role++) {
        atomic_store(&r->state[role], NOT_YET);
        if (init_mutex(&r->alive[role], PTHREAD_MUTEX_ROBUST) == -1)
            return -1;
    }
    if (init_mutex(&r->looking, PTHREAD_MUTEX_ROBUST) == -1 ||
        sem_init(&r->freed, 1, 0) == -1)
        return -1;
    return sem_init(&r->filled, 1, 0);
    // STUB
    // /* TODO(lab8): declare struct rounds; how far has each side come, and who
    //  * waits for what? */
    // (void)r;
    // (void)slots;
    // (void)slot_bytes;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rounds_join(struct rounds *r, enum rounds_role role)
{
    // BEGIN SOLUTION
    int err;

    if (lock_robust(&r->looking) == -1)
        return -1;
    err = pthread_mutex_trylock(&r->alive[role]);
    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&r->alive[role]);
    if (err == 0) {
        if (role == ROUNDS_SENDER)
            r->cut_off = 0;
        atomic_store(&r->state[role], PRESENT);
    }
    pthread_mutex_unlock(&r->looking);
    return err == 0 ? 0 : fail(err);
    // STUB
    // /* TODO(lab8): what tells that a process that has a role is alive?  A
    //  * robust mutex does; so does a pid. */
    // (void)r;
    // (void)role;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rounds_leave(struct rounds *r, enum rounds_role role)
{
    // BEGIN SOLUTION
    int err;

    atomic_store(&r->state[role], GONE);
    err = pthread_mutex_unlock(&r->alive[role]);
    return err == 0 ? 0 : fail(err);
    // STUB
    // /* TODO(lab8): say that nobody has the role any more. */
    // (void)r;
    // (void)role;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int rounds_send(struct rounds *r, const void *data, size_t size,
                int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    uint64_t sent = atomic_load_explicit(&r->sent, memory_order_relaxed);
    const char *at = data;
    int gone;

    if (deadline_ms < -1)
        return fail(EINVAL);
    gone = is_gone(r, ROUNDS_RECEIVER);
    if (gone == -1)
        return -1;
    if (gone == 1 || r->cut_off)
        return fail(EPIPE);
    for (bool first = true;; first = false) {
        uint32_t piece =
            (uint32_t)(size < r->slot_bytes ? size : r->slot_bytes);

        if (await_round(r, ROUNDS_RECEIVER, sent - r->slots, deadline_ms,
                        &until) == -1) {
            r->cut_off = !first && errno == ETIMEDOUT;
            return -1;
        }

        struct round *round = round_at(r, sent);

        memcpy(bytes_of(round), at, piece);
        round->size = piece;
        round->is_first = first;
        round->is_last = piece == size;
        atomic_store_explicit(&r->sent, ++sent, memory_order_release);
        sem_post(&r->filled);
        if (piece == size)
            return 0;
        at += piece;
        size -= piece;
    }
    // STUB
    // /* TODO(lab8): as many rounds as it takes, each into the next free slot.
    //  * How does the receiver know which is the last, also of a message that
    //  * fills its slots exactly, and of an empty one? */
    // (void)r;
    // (void)data;
    // (void)size;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

ssize_t rounds_recv(struct rounds *r, void *buf, size_t cap, int deadline_ms)
{
    // BEGIN SOLUTION
    struct timespec until = time_in(deadline_ms);
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    size_t size = 0;
    bool begun = false, last = false;
    int err = 0;

    if (deadline_ms < -1)
        return fail(EINVAL);
    while (!last) {
        if (await_round(r, ROUNDS_SENDER, taken, deadline_ms, &until) == -1)
            return -1;

        struct round *round = round_at(r, taken);
        struct round now = *(volatile struct round *)round;

        if (now.is_first) {
            begun = true;
            size = 0;
            err = 0;
        }
        /* What has no beginning is the rest of a message that has no end. */
        if (begun && err == 0) {
            if (now.size > r->slot_bytes)
                err = EBADMSG;
            else if (now.size > cap - size)
                err = EMSGSIZE;
            else
                memcpy((char *)buf + size, bytes_of(round), now.size);
            size += err == 0 ? now.size : 0;
        }
        last = begun && now.is_last;
        atomic_store_explicit(&r->taken, ++taken, memory_order_release);
        sem_post(&r->freed);
    }
    return err == 0 ? (ssize_t)size : fail(err);
    // STUB
    // /* TODO(lab8): round after round, until the last of the message. */
    // (void)r;
    // (void)buf;
    // (void)cap;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* ---- the ring ---- */

/*
 * Each slot says in `turn` whose it is: 2n when message n may be put there, 2n
 * + 1 when it lies there.  So both sides look at the slot that they need anyway,
 * and share no other cache line: what is below is each side's own.
 */
struct spsc {
    uint64_t slots;
    uint64_t slot_bytes;
    uint64_t stride;
    alignas(128) uint32_t put_at; /* the producer's */
    uint32_t reserved;
    alignas(128) uint32_t get_at; /* the consumer's */
    uint32_t peeked;
};

struct slot {
    _Atomic uint32_t turn;
    uint32_t size;
    char bytes[];
};

#define FIRST_SLOT 2048

static struct slot *slot_at(struct spsc *q, uint32_t n)
{
    return (struct slot *)((char *)q + FIRST_SLOT +
                           (n & (q->slots - 1)) * q->stride);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Waits until it is this turn in the slot: at once for a while, since the
 * other side is about to come; then with naps that become longer. */
static int await_turn(struct slot *s, uint32_t turn, int deadline_ms)
{
    struct timespec until, nap = {.tv_nsec = 20000};

    for (int i = 0; i < 4000; i++) {
        if (atomic_load_explicit(&s->turn, memory_order_acquire) == turn)
            return 0;
        if (deadline_ms == 0)
            return fail(ETIMEDOUT);
        relax();
    }
    until = time_in(deadline_ms);
    while (atomic_load_explicit(&s->turn, memory_order_acquire) != turn) {
        if (deadline_ms != -1 && has_passed(&until))
            return fail(ETIMEDOUT);
        nanosleep(&nap, NULL);
        if (nap.tv_nsec < 1000000)
            nap.tv_nsec *= 2;
    }
    return 0;
}

// END SOLUTION
int spsc_init(struct spsc *q, size_t slots, size_t slot_bytes)
{
    // BEGIN SOLUTION
    if (slots < 1 || slots > 65536 || (slots & (slots - 1)) != 0 ||
        slot_bytes < 1)
        return fail(EINVAL);
    q->slots = slots;
    q->slot_bytes = slot_bytes;
    q->stride = (slot_bytes + sizeof(struct slot) + 127) / 128 * 128;
    q->put_at = q->get_at = 0;
    q->reserved = q->peeked = 0;
    for (uint32_t i = 0; i < slots; i++)
        atomic_store_explicit(&slot_at(q, i)->turn, 2 * i,
                              memory_order_relaxed);
    return 0;
    // STUB
    // /* TODO(lab8): declare struct spsc; what do both sides read and write,
    //  * and on which cache lines? */
    // (void)q;
    // (void)slots;
    // (void)slot_bytes;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void *spsc_reserve(struct spsc *q, int deadline_ms)
{
    // BEGIN SOLUTION
    struct slot *s = slot_at(q, q->put_at);

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (await_turn(s, 2 * q->put_at, deadline_ms) == -1)
        return NULL;
    q->reserved = 1;
    return s->bytes;
    // STUB
    // /* TODO(lab8): wait until the next slot is free.  Which memory order lets
    //  * you see that the consumer is done with it?  C11 7.17.3. */
    // (void)q;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int spsc_commit(struct spsc *q, size_t size)
{
    // BEGIN SOLUTION
    struct slot *s = slot_at(q, q->put_at);

    if (!q->reserved)
        return fail(EINVAL);
    if (size > q->slot_bytes)
        return fail(EMSGSIZE);
    s->size = (uint32_t)size;
    q->reserved = 0;
    atomic_store_explicit(&s->turn, 2 * q->put_at + 1, memory_order_release);
    q->put_at++;
    return 0;
    // STUB
    // /* TODO(lab8): say that it is there.  Which memory order makes the bytes
    //  * visible to whoever sees that?  C11 7.17.3. */
    // (void)q;
    // (void)size;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

const void *spsc_peek(struct spsc *q, size_t *size, int deadline_ms)
{
    // BEGIN SOLUTION
    struct slot *s = slot_at(q, q->get_at);

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (await_turn(s, 2 * q->get_at + 1, deadline_ms) == -1)
        return NULL;

    uint32_t said = *(volatile uint32_t *)&s->size;

    if (said > q->slot_bytes) {
        errno = EBADMSG;
        return NULL;
    }
    q->peeked = 1;
    *size = said;
    return s->bytes;
    // STUB
    // /* TODO(lab8): wait until the oldest message is there. */
    // (void)q;
    // (void)size;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int spsc_consume(struct spsc *q)
{
    // BEGIN SOLUTION
    struct slot *s = slot_at(q, q->get_at);

    if (!q->peeked)
        return fail(EINVAL);
    q->peeked = 0;
    atomic_store_explicit(&s->turn, 2 * (q->get_at + (uint32_t)q->slots),
                          memory_order_release);
    q->get_at++;
    return 0;
    // STUB
    // /* TODO(lab8): the slot is the producer's again, once all is read. */
    // (void)q;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int spsc_push(struct spsc *q, const void *data, size_t size, int deadline_ms)
{
    // BEGIN SOLUTION
    void *place;

    if (size > q->slot_bytes)
        return fail(EMSGSIZE);
    place = spsc_reserve(q, deadline_ms);
    if (place == NULL)
        return -1;
    if (size > 0)
        memcpy(place, data, size);
    return spsc_commit(q, size);
    // STUB
    // /* TODO(lab8): reserve, copy, commit. */
    // (void)q;
    // (void)data;
    // (void)size;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

ssize_t spsc_pop(struct spsc *q, void *buf, size_t cap, int deadline_ms)
{
    // BEGIN SOLUTION
    size_t size;
    const void *place = spsc_peek(q, &size, deadline_ms);

    if (place == NULL)
        return -1;
    if (size > cap)
        return fail(EMSGSIZE);
    if (size > 0)
        memcpy(buf, place, size);
    spsc_consume(q);
    return (ssize_t)size;
    // STUB
    // /* TODO(lab8): peek, copy, consume. */
    // (void)q;
    // (void)buf;
    // (void)cap;
    // (void)deadline_ms;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

enum channel_kind channel_choose(size_t size,
                                 const struct channel_costs *measured)
{
    // BEGIN SOLUTION
    double kib = (double)size / 1024;
    double copy =
        (double)measured->copy_ns + kib * (double)measured->copy_ns_per_kib;
    double map =
        (double)measured->map_ns + kib * (double)measured->map_ns_per_kib;

    return size > CHANNEL_COPY_MAX || map < copy ? CHANNEL_MAP : CHANNEL_COPY;
    // STUB
    // /* TODO(lab8): what does each way cost for so many bytes? */
    // (void)size;
    // (void)measured;
    // errno = ENOSYS;
    // return CHANNEL_COPY;
    // END SOLUTION
}

// BEGIN SOLUTION
/* ---- copy or map ---- */

static int send_all(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);

        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* Sends the head with a descriptor (or none: -1) at its first byte. */
static int send_head(int fd, const struct channel_head *head, int memory)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec data = {.iov_base = (void *)(uintptr_t)head,
                         .iov_len = sizeof(*head)};
    struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1};
    ssize_t n;

    if (memory != -1) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &memory, sizeof(int));
    }
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return -1;
    return send_all(fd, (const char *)head + n, sizeof(*head) - (size_t)n);
}

/* A memory file with these bytes that nobody can change. */
static int sealed_copy(const void *data, size_t size)
{
    int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *at;
    int err;

    if (fd == -1)
        return -1;
    err = allocate(fd, size);
    if (err == 0) {
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) {
            memcpy(at, data, size);
            munmap(at, size);
        }
        if (at == MAP_FAILED ||
            fcntl(fd, F_ADD_SEALS,
                  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) == -1)
            err = errno;
    }
    if (err == 0)
        return fd;
    close(fd);
    return fail(err);
}

// END SOLUTION
int channel_send(int fd, enum channel_kind kind, const void *data, size_t size)
{
    // BEGIN SOLUTION
    struct channel_head head = {.size = size, .kind = (uint32_t)kind};
    int memory, ret, saved;

    if (size == 0 || (kind != CHANNEL_COPY && kind != CHANNEL_MAP))
        return fail(EINVAL);
    if (kind == CHANNEL_COPY) {
        if (size > CHANNEL_COPY_MAX)
            return fail(EMSGSIZE);
        if (send_head(fd, &head, -1) == -1)
            return -1;
        return send_all(fd, data, size);
    }
    memory = sealed_copy(data, size);
    if (memory == -1)
        return -1;
    ret = send_head(fd, &head, memory);
    saved = errno;
    close(memory);
    errno = saved;
    return ret;
    // STUB
    // /* TODO(lab8): the head, then the bytes, or a descriptor with it.
    //  * memfd_create(2), fcntl(2) F_ADD_SEALS, unix(7). */
    // (void)fd;
    // (void)kind;
    // (void)data;
    // (void)size;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Receives size bytes, or fewer at the end of the stream: how many. */
static ssize_t receive_all(int fd, void *buf, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = recv(fd, (char *)buf + got, size - got, 0);

        if (n == 0)
            break;
        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0)
            got += (size_t)n;
    }
    return (ssize_t)got;
}

/* Takes the descriptors that came; returns how many, the first in *first.  The
 * others are closed. */
static size_t take_descriptors(struct msghdr *msg, int *first)
{
    size_t taken = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
         c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (taken++ == 0)
                *first = fd;
            else
                close(fd);
        }
    }
    return taken;
}

/* Receives a head, and how many descriptors came with its first bytes: bytes
 * of it. */
static ssize_t receive_head(int fd, struct channel_head *head, int *memory,
                            size_t *taken)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control;
    struct iovec data = {.iov_base = head, .iov_len = sizeof(*head)};
    struct msghdr msg = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n, rest;

    do
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    while (n == -1 && errno == EINTR);
    if (n <= 0)
        return n;
    *taken = take_descriptors(&msg, memory);
    if ((msg.msg_flags & MSG_CTRUNC) != 0)
        *taken = 2;
    rest = receive_all(fd, (char *)head + n, sizeof(*head) - (size_t)n);
    return rest == -1 ? -1 : n + rest;
}

/* Is the memory file as large as is said, and does it stay so? */
static bool is_sealed(int memory, size_t size)
{
    const int needed = F_SEAL_WRITE | F_SEAL_SHRINK;
    int seals = fcntl(memory, F_GET_SEALS);
    struct stat st;

    return seals != -1 && (seals & needed) == needed &&
           fstat(memory, &st) == 0 && (uint64_t)st.st_size >= size;
}

static int receive_copy(int fd, struct channel_message *m, size_t size)
{
    void *room = malloc(size);
    ssize_t n = room == NULL ? -1 : receive_all(fd, room, size);

    if (n == (ssize_t)size) {
        *m = (struct channel_message){CHANNEL_COPY, room, size};
        return 1;
    }

    int saved = n == -1 ? errno : EPROTO;

    free(room);
    return fail(saved);
}

static int map_message(int memory, struct channel_message *m, size_t size)
{
    void *at;

    if (!is_sealed(memory, size))
        return fail(EBADMSG);
    at = mmap(NULL, size, PROT_READ, MAP_SHARED, memory, 0);
    if (at == MAP_FAILED)
        return -1;
    *m = (struct channel_message){CHANNEL_MAP, at, size};
    return 1;
}

// END SOLUTION
int channel_recv(int fd, struct channel_message *m)
{
    // BEGIN SOLUTION
    struct channel_head head;
    size_t taken = 0;
    int memory = -1, ret;
    ssize_t n = receive_head(fd, &head, &memory, &taken);

    if (n == 0)
        return 0;
    if (n == -1)
        ret = -1;
    else if (n < (ssize_t)sizeof(head))
        ret = fail(EPROTO);
    else if (head.kind == CHANNEL_COPY && taken == 0 && head.size > 0 &&
             head.size <= CHANNEL_COPY_MAX)
        ret = receive_copy(fd, m, head.size);
    else if (head.kind == CHANNEL_MAP && taken == 1 && head.size > 0)
        ret = map_message(memory, m, head.size);
    else
        ret = fail(EBADMSG);
    if (taken > 0) {
        int saved = errno;

        close(memory);
        errno = saved;
    }
    return ret;
    // STUB
    // /* TODO(lab8): the head, and what came with it; believe nothing that you
    //  * have not looked at.  recvmsg(2), fcntl(2) F_GET_SEALS, fstat(2). */
    // (void)fd;
    // (void)m;
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void channel_release(struct channel_message *m)
{
    // BEGIN SOLUTION
    if (m->kind == CHANNEL_MAP)
        munmap((void *)(uintptr_t)m->data, m->size);
    else
        free((void *)(uintptr_t)m->data);
    m->data = NULL;
    // STUB
    // /* TODO(lab8): allocated, or mapped? */
    // (void)m;
    // END SOLUTION
}
