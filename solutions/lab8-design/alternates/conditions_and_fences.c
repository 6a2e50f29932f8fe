/*
 * Another way: an arena that joins its free blocks when it looks for one; a
 * pool whose free segments are a linked list, which is made anew when a process
 * has died with the lock; rounds under one robust mutex with a condition; a ring
 * with flags and fences.
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

static void lock_arena(struct arena *a)
{
    if (pthread_mutex_lock(&a->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&a->lock);
}

int arena_init(void *seg, size_t size_bytes)
{
    struct arena *a = seg;

    if (size_bytes < 1024 || size_bytes % ARENA_ALIGN != 0)
        return fail(EINVAL);
    a->size = size_bytes;
    *block_at(seg, FIRST_BLOCK) =
        (struct block){.size = size_bytes - FIRST_BLOCK, .used = 0};
    return init_mutex(&a->lock, PTHREAD_MUTEX_ROBUST);
}

uint64_t arena_alloc(void *seg, size_t size_bytes)
{
    struct arena *a = seg;
    uint64_t at, size = sizeof(struct block);

    if (size_bytes == 0) {
        errno = EINVAL;
        return 0;
    }
    if (size_bytes > a->size) {
        errno = ENOMEM;
        return 0;
    }
    while (size < size_bytes + sizeof(struct block))
        size += ARENA_ALIGN;
    lock_arena(a);
    for (at = FIRST_BLOCK; is_in(a, at); at += block_at(seg, at)->size) {
        struct block *b = block_at(seg, at);

        if (b->used)
            continue;
        join_next(seg, at);
        if (b->size < size)
            continue;
        if (b->size > size) {
            uint64_t rest = b->size - size;

            block_at(seg, at + size)->size = rest;
            block_at(seg, at + size)->used = 0;
            b->size = size;
        }
        b->used = 1;
        break;
    }

    bool found = is_in(a, at);

    pthread_mutex_unlock(&a->lock);
    if (!found) {
        errno = ENOMEM;
        return 0;
    }
    return at + sizeof(struct block);
}

int arena_free(void *seg, uint64_t offset)
{
    struct arena *a = seg;
    uint64_t at;
    bool found = false;

    lock_arena(a);
    for (at = FIRST_BLOCK; is_in(a, at); at += block_at(seg, at)->size)
        if (at == offset - sizeof(struct block)) {
            found = block_at(seg, at)->used != 0;
            block_at(seg, at)->used = 0;
            break;
        }
    pthread_mutex_unlock(&a->lock);
    return found ? 0 : fail(EINVAL);
}

/* ---- the pool ---- */

struct table {
    atomic_uint ready;
    uint32_t nsegs;
    uint64_t seg_bytes;
    pthread_mutex_t lock;        /* robust */
    sem_t freed;                 /* for who finds none: look again */
    int32_t first, last;         /* of the list of free ones; -1: none */
    int32_t next[POOL_MAX_SEGS]; /* of a free one: the next; else IN_USE */
    pid_t owner[POOL_MAX_SEGS];  /* decides, where a death has left the list
                                  * half changed */
};

enum { IN_USE = -2 };

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
    for (int32_t i = 0; i < (int32_t)nsegs; i++)
        t->next[i] = i + 1 < (int32_t)nsegs ? i + 1 : -1;
    t->first = 0;
    t->last = (int32_t)nsegs - 1;
    if (sem_init(&t->freed, 1, 0) == -1)
        return -1;
    return init_mutex(&t->lock, PTHREAD_MUTEX_ROBUST);
}

int pool_create(struct pool *p, const char *name, size_t nsegs,
                size_t seg_bytes)
{
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
}

int pool_open(struct pool *p, const char *name)
{
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
}

static void add_to_list(struct table *t, int32_t seg)
{
    t->next[seg] = -1;
    if (t->first == -1)
        t->first = seg;
    else
        t->next[t->last] = seg;
    t->last = seg;
}

/* The list anew, from what the owners say. */
static void repair(struct table *t)
{
    t->first = -1;
    for (int32_t seg = 0; seg < (int32_t)t->nsegs; seg++)
        if (t->owner[seg] == 0)
            add_to_list(t, seg);
        else
            t->next[seg] = IN_USE;
}

static int lock_table(struct table *t)
{
    int err = pthread_mutex_lock(&t->lock);

    if (err == EOWNERDEAD) {
        repair(t);
        err = pthread_mutex_consistent(&t->lock);
    }
    return err == 0 ? 0 : fail(err);
}

/* With the lock held: a segment in use goes behind the others. */
static void put_back(struct table *t, int32_t seg)
{
    t->owner[seg] = 0;
    add_to_list(t, seg);
    sem_post(&t->freed);
}

static bool is_in_use(const struct pool *p, int seg)
{
    const struct table *t = p->table;

    return seg >= 0 && (size_t)seg < p->nsegs && t->next[seg] == IN_USE;
}

int pool_acquire(struct pool *p, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    struct table *t = p->table;
    int32_t seg;
    int ret;

    if (deadline_ms < -1)
        return fail(EINVAL);
    while (lock_table(t) == 0) {
        seg = t->first;
        if (seg != -1) {
            t->owner[seg] = getpid();
            t->first = t->next[seg];
            t->next[seg] = IN_USE;
        }
        pthread_mutex_unlock(&t->lock);
        if (seg != -1)
            return seg;
        do
            ret = deadline_ms == -1
                      ? sem_wait(&t->freed)
                      : sem_clockwait(&t->freed, CLOCK_MONOTONIC, &until);
        while (ret == -1 && errno == EINTR);
        if (ret == -1)
            return -1;
    }
    return -1;
}

void *pool_segment(struct pool *p, int seg)
{
    if (seg < 0 || (size_t)seg >= p->nsegs) {
        errno = EINVAL;
        return NULL;
    }
    if (p->segs[seg] == NULL)
        p->segs[seg] = map_region(p, seg, 0, p->seg_bytes);
    return p->segs[seg];
}

int pool_give(struct pool *p, int seg, pid_t to)
{
    struct table *t = p->table;
    int ret = 0;

    if (lock_table(t) == -1)
        return -1;
    if (is_in_use(p, seg))
        t->owner[seg] = to;
    else
        ret = fail(EINVAL);
    pthread_mutex_unlock(&t->lock);
    return ret;
}

int pool_release(struct pool *p, int seg)
{
    struct table *t = p->table;
    int ret = 0;

    if (lock_table(t) == -1)
        return -1;
    if (is_in_use(p, seg))
        put_back(t, seg);
    else
        ret = fail(EINVAL);
    pthread_mutex_unlock(&t->lock);
    return ret;
}

int pool_reclaim(struct pool *p, pid_t dead)
{
    struct table *t = p->table;
    int n = 0;

    if (kill(dead, 0) == 0 || errno == EPERM)
        return fail(EBUSY);
    if (lock_table(t) == -1)
        return -1;
    for (uint32_t seg = 0; seg < p->nsegs; seg++)
        if (t->next[seg] == IN_USE && t->owner[seg] == dead) {
            put_back(t, (int32_t)seg);
            n++;
        }
    pthread_mutex_unlock(&t->lock);
    /* The dead one may have been woken in another one's place. */
    for (uint32_t seg = 0; seg < p->nsegs; seg++)
        sem_post(&t->freed);
    return n;
}

int pool_close(struct pool *p)
{
    for (size_t seg = 0; seg < p->nsegs; seg++)
        if (p->segs[seg] != NULL) {
            munmap(p->segs[seg], p->seg_bytes);
            p->segs[seg] = NULL;
        }
    return munmap(p->table, sizeof(struct table));
}

int pool_destroy(struct pool *p)
{
    remove_regions(p, (int)p->nsegs);
    return pool_close(p);
}

/* ---- rounds ---- */

struct rounds {
    uint64_t slots;
    uint64_t slot_bytes;
    pthread_mutex_t lock; /* robust: for all that follows */
    pthread_cond_t changed;
    pid_t holder[2]; /* 0: nobody yet; LEFT */
    uint64_t put_at, get_at;
    bool cut_off; /* a message has no end */
};

enum { LEFT = -1 };

/* What lies in front of each round's bytes. */
struct round {
    uint64_t size;
    uint64_t before, left; /* of its message, before and behind this round */
};

static struct round *round_at(struct rounds *r, uint64_t n)
{
    uint64_t stride = (r->slot_bytes + sizeof(struct round) + 15) / 16 * 16;

    return (struct round *)((char *)r + 512 + n % r->slots * stride);
}

static int lock_rounds(struct rounds *r)
{
    int err = pthread_mutex_lock(&r->lock);

    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&r->lock);
    return err == 0 ? 0 : fail(err);
}

static bool is_alive(pid_t pid)
{
    return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

static bool is_gone(const struct rounds *r, enum rounds_role role)
{
    return r->holder[role] != 0 && !is_alive(r->holder[role]);
}

int rounds_init(struct rounds *r, size_t slots, size_t slot_bytes)
{
    pthread_condattr_t attr;
    int err;

    if (slots < 1 || slots > ROUNDS_MAX_SLOTS || slot_bytes < 1)
        return fail(EINVAL);
    memset(r, 0, sizeof(*r));
    r->slots = slots;
    r->slot_bytes = slot_bytes;
    if (init_mutex(&r->lock, PTHREAD_MUTEX_ROBUST) == -1)
        return -1;
    pthread_condattr_init(&attr);
    pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    err = pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    return err == 0 ? 0 : fail(err);
}

int rounds_join(struct rounds *r, enum rounds_role role)
{
    int ret = 0;

    if (lock_rounds(r) == -1)
        return -1;
    if (is_alive(r->holder[role]))
        ret = fail(EBUSY);
    else
        r->holder[role] = getpid();
    if (ret == 0 && role == ROUNDS_SENDER)
        r->cut_off = false;
    pthread_mutex_unlock(&r->lock);
    return ret;
}

int rounds_leave(struct rounds *r, enum rounds_role role)
{
    if (lock_rounds(r) == -1)
        return -1;
    r->holder[role] = LEFT;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* Is there a slot to fill (for the sender) or one to empty? */
static bool is_there(const struct rounds *r, enum rounds_role role)
{
    return role == ROUNDS_SENDER ? r->put_at - r->get_at < r->slots
                                 : r->put_at != r->get_at;
}

/* With the lock held: waits for a slot; -1 with errno, and the lock is held
 * all the same. */
static int await_slot(struct rounds *r, enum rounds_role role, int deadline_ms,
                      const struct timespec *until)
{
    enum rounds_role other =
        role == ROUNDS_SENDER ? ROUNDS_RECEIVER : ROUNDS_SENDER;

    while (!is_there(r, role)) {
        struct timespec soon = time_in(20);
        int err;

        if (is_gone(r, other))
            return fail(EPIPE);
        if (deadline_ms != -1 && has_passed(until))
            return fail(ETIMEDOUT);
        if (deadline_ms != -1 && is_before(until, &soon))
            soon = *until;
        err = pthread_cond_timedwait(&r->changed, &r->lock, &soon);
        if (err == EOWNERDEAD)
            pthread_mutex_consistent(&r->lock);
    }
    return 0;
}

int rounds_send(struct rounds *r, const void *data, size_t size,
                int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    const char *at = data;
    bool last = false;

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (lock_rounds(r) == -1)
        return -1;
    if (r->cut_off || is_gone(r, ROUNDS_RECEIVER)) {
        pthread_mutex_unlock(&r->lock);
        return fail(EPIPE);
    }
    while (!last) {
        uint64_t piece = size < r->slot_bytes ? size : r->slot_bytes;
        struct round *round = round_at(r, r->put_at);

        if (await_slot(r, ROUNDS_SENDER, deadline_ms, &until) == -1) {
            int saved = errno;

            r->cut_off = at != data && saved == ETIMEDOUT;
            pthread_mutex_unlock(&r->lock);
            return fail(saved);
        }
        size -= piece;
        round->size = piece;
        round->before = (uint64_t)(at - (const char *)data);
        round->left = size;
        memcpy(round + 1, at, piece);
        at += piece;
        r->put_at++;
        pthread_cond_broadcast(&r->changed);
        last = size == 0;
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

ssize_t rounds_recv(struct rounds *r, void *buf, size_t cap, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    size_t size = 0;
    bool whole = false, last = false;
    int err = 0;

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (lock_rounds(r) == -1)
        return -1;
    while (!last) {
        if (await_slot(r, ROUNDS_RECEIVER, deadline_ms, &until) == -1) {
            int saved = errno;

            pthread_mutex_unlock(&r->lock);
            return fail(saved);
        }

        struct round *round = round_at(r, r->get_at);
        uint64_t n = *(volatile uint64_t *)&round->size;

        if (round->before == 0) {
            whole = true;
            size = 0;
            err = 0;
        }
        if (n > r->slot_bytes)
            err = EBADMSG;
        else if (err == 0 && n > cap - size)
            err = EMSGSIZE;
        if (whole && err == 0) {
            memcpy((char *)buf + size, round + 1, n);
            size += n;
        }
        last = whole && round->left == 0;
        r->get_at++;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return err == 0 ? (ssize_t)size : fail(err);
}

/* ---- the ring ---- */

/*
 * Each slot has a flag: a message lies in it, or none does.  Fences order what
 * is in it.
 */
struct spsc {
    uint64_t slots;
    uint64_t slot_bytes;
    alignas(64) uint64_t put_at; /* the producer's */
    int reserved;
    alignas(64) uint64_t get_at; /* the consumer's */
    int peeked;
};

struct slot {
    atomic_int is_full;
    uint32_t size;
    char bytes[];
};

#define FIRST_SLOT 2048

static struct slot *slot_at(struct spsc *q, uint64_t n)
{
    uint64_t stride = (q->slot_bytes + sizeof(struct slot) + 63) / 64 * 64;

    return (struct slot *)((char *)q + FIRST_SLOT + n % q->slots * stride);
}

static int await_flag(struct slot *s, int is_full, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);

    for (int i = 0;
         atomic_load_explicit(&s->is_full, memory_order_relaxed) != is_full;
         i++) {
        const struct timespec a_moment = {.tv_nsec = 200000};

        if (deadline_ms != -1 && has_passed(&until))
            return fail(ETIMEDOUT);
        if (i > 500)
            nanosleep(&a_moment, NULL);
    }
    atomic_thread_fence(memory_order_acquire);
    return 0;
}

static void set_flag(struct slot *s, int is_full)
{
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&s->is_full, is_full, memory_order_relaxed);
}

int spsc_init(struct spsc *q, size_t slots, size_t slot_bytes)
{
    if (slots < 1 || slots > 65536 || (slots & (slots - 1)) != 0 ||
        slot_bytes < 1)
        return fail(EINVAL);
    q->slots = slots;
    q->slot_bytes = slot_bytes;
    q->put_at = q->get_at = 0;
    q->reserved = q->peeked = 0;
    for (uint64_t i = 0; i < slots; i++)
        atomic_init(&slot_at(q, i)->is_full, 0);
    return 0;
}

void *spsc_reserve(struct spsc *q, int deadline_ms)
{
    struct slot *s = slot_at(q, q->put_at);

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (!q->reserved && await_flag(s, 0, deadline_ms) == -1)
        return NULL;
    q->reserved = 1;
    return s->bytes;
}

int spsc_commit(struct spsc *q, size_t size)
{
    struct slot *s = slot_at(q, q->put_at);

    if (!q->reserved)
        return fail(EINVAL);
    if (size > q->slot_bytes)
        return fail(EMSGSIZE);
    s->size = (uint32_t)size;
    set_flag(s, 1);
    q->put_at++;
    q->reserved = 0;
    return 0;
}

const void *spsc_peek(struct spsc *q, size_t *size, int deadline_ms)
{
    struct slot *s = slot_at(q, q->get_at);
    uint32_t said;

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (await_flag(s, 1, deadline_ms) == -1)
        return NULL;
    said = *(volatile uint32_t *)&s->size;
    if (said > q->slot_bytes) {
        errno = EBADMSG;
        return NULL;
    }
    q->peeked = 1;
    *size = said;
    return s->bytes;
}

int spsc_consume(struct spsc *q)
{
    if (!q->peeked)
        return fail(EINVAL);
    set_flag(slot_at(q, q->get_at), 0);
    q->get_at++;
    q->peeked = 0;
    return 0;
}

int spsc_push(struct spsc *q, const void *data, size_t size, int deadline_ms)
{
    void *place;

    if (size > q->slot_bytes)
        return fail(EMSGSIZE);
    place = spsc_reserve(q, deadline_ms);
    if (place == NULL)
        return -1;
    if (size > 0)
        memcpy(place, data, size);
    return spsc_commit(q, size);
}

ssize_t spsc_pop(struct spsc *q, void *buf, size_t cap, int deadline_ms)
{
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
}

enum channel_kind channel_choose(size_t size,
                                 const struct channel_costs *measured)
{
    double kib = (double)size / 1024;
    double copy =
        (double)measured->copy_ns + kib * (double)measured->copy_ns_per_kib;
    double map =
        (double)measured->map_ns + kib * (double)measured->map_ns_per_kib;

    return size > CHANNEL_COPY_MAX || map < copy ? CHANNEL_MAP : CHANNEL_COPY;
}

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

int channel_send(int fd, enum channel_kind kind, const void *data, size_t size)
{
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
}

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

int channel_recv(int fd, struct channel_message *m)
{
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
}

void channel_release(struct channel_message *m)
{
    if (m->kind == CHANNEL_MAP)
        munmap((void *)(uintptr_t)m->data, m->size);
    else
        free((void *)(uintptr_t)m->data);
    m->data = NULL;
}
