/*
 * Another way: an arena with a list of free places in the order of their
 * offsets, under a semaphore; a pool with a condition, that takes the segment
 * with the oldest mark, and whose creator maps the table alone; rounds in which
 * a process id says who is there; a ring with two counters, of which each side
 * keeps a copy of the other one's.
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
 * Free places are in a list, from the first to the last.  A block in use has a
 * mark of its own offset, so that what was freed or never given is found out;
 * and that all heads up to it are heads is looked at as well.
 */
struct place {
    uint64_t size; /* head included */
    uint64_t next; /* free: offset of the next free one, 0: none; else USED */
};

#define USED UINT64_MAX

struct arena {
    sem_t lock;
    uint64_t size;
    uint64_t first_free; /* 0: none */
};

#define FIRST_PLACE                                                     \
    ((uint64_t)(sizeof(struct arena) + ARENA_ALIGN - 1) / ARENA_ALIGN * \
     ARENA_ALIGN)

static struct place *place_at(void *seg, uint64_t offset)
{
    return (struct place *)((char *)seg + offset);
}

static void lock_arena(struct arena *a)
{
    while (sem_wait(&a->lock) == -1)
        ;
}

int arena_init(void *seg, size_t size_bytes)
{
    struct arena *a = seg;

    if (size_bytes < 1024 || size_bytes % ARENA_ALIGN != 0)
        return fail(EINVAL);
    a->size = size_bytes;
    a->first_free = FIRST_PLACE;
    place_at(seg, FIRST_PLACE)->size = size_bytes - FIRST_PLACE;
    place_at(seg, FIRST_PLACE)->next = 0;
    return sem_init(&a->lock, 1, 1);
}

uint64_t arena_alloc(void *seg, size_t size_bytes)
{
    struct arena *a = seg;
    uint64_t *link, found = 0;

    if (size_bytes == 0) {
        errno = EINVAL;
        return 0;
    }
    if (size_bytes >= a->size) {
        errno = ENOMEM;
        return 0;
    }

    uint64_t size = (size_bytes + sizeof(struct place) + ARENA_ALIGN - 1) &
                    ~(uint64_t)(ARENA_ALIGN - 1);

    lock_arena(a);
    for (link = &a->first_free; *link != 0;
         link = &place_at(seg, *link)->next) {
        struct place *p = place_at(seg, *link);

        if (p->size < size)
            continue;
        found = *link;
        if (p->size >= size + 2 * sizeof(struct place)) {
            struct place *rest = place_at(seg, found + size);

            rest->size = p->size - size;
            rest->next = p->next;
            *link = found + size;
            p->size = size;
        } else {
            *link = p->next;
        }
        p->next = USED;
        break;
    }
    sem_post(&a->lock);
    if (found == 0) {
        errno = ENOMEM;
        return 0;
    }
    return found + sizeof(struct place);
}

/* Is this the offset of a place in use?  Whoever asks has the lock. */
static bool is_used_place(void *seg, uint64_t offset)
{
    const struct arena *a = seg;
    uint64_t at = FIRST_PLACE;

    while (at < a->size && at < offset)
        at += place_at(seg, at)->size;
    return at == offset && at < a->size && place_at(seg, at)->next == USED;
}

int arena_free(void *seg, uint64_t offset)
{
    struct arena *a = seg;
    uint64_t own = offset - sizeof(struct place), before = 0, after;

    lock_arena(a);
    if (offset < sizeof(struct place) || !is_used_place(seg, own)) {
        sem_post(&a->lock);
        return fail(EINVAL);
    }
    for (after = a->first_free; after != 0 && after < own;
         after = place_at(seg, after)->next)
        before = after;

    struct place *p = place_at(seg, own);

    p->next = after;
    if (after == own + p->size) {
        p->size += place_at(seg, after)->size;
        p->next = place_at(seg, after)->next;
    }
    if (before == 0) {
        a->first_free = own;
    } else if (before + place_at(seg, before)->size == own) {
        place_at(seg, before)->size += p->size;
        place_at(seg, before)->next = p->next;
    } else {
        place_at(seg, before)->next = own;
    }
    sem_post(&a->lock);
    return 0;
}

/* ---- the pool ---- */

struct table {
    atomic_uint ready;
    uint32_t nsegs;
    uint64_t seg_bytes;
    pthread_mutex_t lock; /* robust */
    pthread_cond_t freed;
    uint64_t marks;               /* given so far */
    uint64_t mark[POOL_MAX_SEGS]; /* when it became free: a higher one later */
    pid_t owner[POOL_MAX_SEGS];   /* 0: it is free */
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

/* Makes the region of a segment; it is mapped by who asks for it. */
static int make_region(const struct pool *p, int seg, size_t size)
{
    char name[256];
    int err;
    int fd = shm_open(region_name(p, seg, name, sizeof(name)),
                      O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd == -1)
        return -1;
    err = allocate(fd, size);
    close(fd);
    if (err != 0)
        shm_unlink(name);
    return err == 0 ? 0 : fail(err);
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
    pthread_condattr_t attr;
    int err;

    t->nsegs = (uint32_t)nsegs;
    t->seg_bytes = seg_bytes;
    for (uint32_t i = 0; i < nsegs; i++)
        t->mark[i] = ++t->marks;
    if (init_mutex(&t->lock, PTHREAD_MUTEX_ROBUST) == -1)
        return -1;
    pthread_condattr_init(&attr);
    pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    err = pthread_cond_init(&t->freed, &attr);
    pthread_condattr_destroy(&attr);
    return err == 0 ? 0 : fail(err);
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
        if (make_region(&made, seg, seg_bytes) == -1) {
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

static int lock_table(struct table *t)
{
    int err = pthread_mutex_lock(&t->lock);

    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&t->lock);
    return err == 0 ? 0 : fail(err);
}

/* With the lock held: a segment in use becomes free. */
static void put_back(struct table *t, uint32_t seg)
{
    t->mark[seg] = ++t->marks;
    t->owner[seg] = 0;
    pthread_cond_signal(&t->freed);
}

/* The one that is free longest, or -1. */
static int oldest_free(const struct table *t)
{
    int best = -1;

    for (int i = 0; i < (int)t->nsegs; i++)
        if (t->owner[i] == 0 && (best == -1 || t->mark[i] < t->mark[best]))
            best = i;
    return best;
}

static bool is_in_use(const struct pool *p, int seg)
{
    const struct table *t = p->table;

    return seg >= 0 && (size_t)seg < p->nsegs && t->owner[seg] != 0;
}

int pool_acquire(struct pool *p, int deadline_ms)
{
    struct table *t = p->table;
    struct timespec until = time_in(deadline_ms);
    int seg, err = 0;

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (lock_table(t) == -1)
        return -1;
    while ((seg = oldest_free(t)) == -1 && err == 0) {
        if (deadline_ms == 0)
            err = ETIMEDOUT;
        else if (deadline_ms == -1)
            err = pthread_cond_wait(&t->freed, &t->lock);
        else
            err = pthread_cond_timedwait(&t->freed, &t->lock, &until);
        if (err == EOWNERDEAD)
            err = pthread_mutex_consistent(&t->lock);
    }
    if (seg != -1)
        t->owner[seg] = getpid();
    pthread_mutex_unlock(&t->lock);
    return seg == -1 ? fail(err) : seg;
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
        put_back(t, (uint32_t)seg);
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
        if (t->owner[seg] == dead) {
            put_back(t, seg);
            n++;
        }
    /* The dead one may have been the one that was told. */
    pthread_cond_broadcast(&t->freed);
    pthread_mutex_unlock(&t->lock);
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
    atomic_int holder[2]; /* a process's id; 0: nobody yet; LEFT */
    sem_t empty, full;
    uint64_t put_at, get_at; /* the sender's, the receiver's */
    int cut_off;             /* the sender's: a message has no end */
};

#define LEFT (-1)

struct round {
    uint64_t size_and_place; /* size * 4, and of a message ... */
};

enum { LAST = 1, FIRST = 2 };

#define FIRST_ROUND 1024

static struct round *round_at(struct rounds *r, uint64_t n)
{
    uint64_t stride = (r->slot_bytes + sizeof(struct round) + 7) / 8 * 8;

    return (struct round *)((char *)r + FIRST_ROUND + n % r->slots * stride);
}

static void *bytes_of(struct round *round)
{
    return round + 1;
}

static bool is_alive(pid_t pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

static bool is_gone(struct rounds *r, enum rounds_role role)
{
    int holder = atomic_load(&r->holder[role]);

    return holder == LEFT || (holder > 0 && !is_alive(holder));
}

static int wait_for(sem_t *sem, const struct timespec *until)
{
    int ret;

    do
        ret = sem_clockwait(sem, CLOCK_MONOTONIC, until);
    while (ret == -1 && errno == EINTR);
    return ret;
}

static int await_round(struct rounds *r, sem_t *sem, enum rounds_role other,
                       int deadline_ms, const struct timespec *until)
{
    for (;;) {
        struct timespec soon = time_in(20);
        bool last = deadline_ms != -1 && !is_before(&soon, until);

        if (wait_for(sem, last ? until : &soon) == 0)
            return 0;
        if (errno != ETIMEDOUT)
            return -1;
        if (is_gone(r, other))
            return sem_trywait(sem) == 0 ? 0 : fail(EPIPE);
        if (last)
            return fail(ETIMEDOUT);
    }
}

int rounds_init(struct rounds *r, size_t slots, size_t slot_bytes)
{
    if (slots < 1 || slots > ROUNDS_MAX_SLOTS || slot_bytes < 1)
        return fail(EINVAL);
    memset(r, 0, sizeof(*r));
    r->slots = slots;
    r->slot_bytes = slot_bytes;
    if (sem_init(&r->empty, 1, (unsigned)slots) == -1)
        return -1;
    return sem_init(&r->full, 1, 0);
}

int rounds_join(struct rounds *r, enum rounds_role role)
{
    int holder = atomic_load(&r->holder[role]);

    do {
        if (holder > 0 && is_alive(holder))
            return fail(EBUSY);
    } while (!atomic_compare_exchange_strong(&r->holder[role], &holder,
                                             (int)getpid()));
    if (role == ROUNDS_SENDER)
        r->cut_off = 0;
    return 0;
}

int rounds_leave(struct rounds *r, enum rounds_role role)
{
    if (atomic_load(&r->holder[role]) != getpid())
        return fail(EPERM);
    atomic_store(&r->holder[role], LEFT);
    return 0;
}

int rounds_send(struct rounds *r, const void *data, size_t size,
                int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    const char *at = data;

    if (deadline_ms < -1)
        return fail(EINVAL);
    if (r->cut_off || is_gone(r, ROUNDS_RECEIVER))
        return fail(EPIPE);
    for (uint64_t first = FIRST;; first = 0) {
        uint32_t piece =
            (uint32_t)(size < r->slot_bytes ? size : r->slot_bytes);

        if (await_round(r, &r->empty, ROUNDS_RECEIVER, deadline_ms, &until) ==
            -1) {
            r->cut_off = first == 0 && errno == ETIMEDOUT;
            return -1;
        }

        struct round *round = round_at(r, r->put_at);

        memcpy(bytes_of(round), at, piece);
        round->size_and_place =
            4 * (uint64_t)piece + first + (piece == size ? LAST : 0);
        r->put_at++;
        sem_post(&r->full);
        if (piece == size)
            return 0;
        at += piece;
        size -= piece;
    }
}

ssize_t rounds_recv(struct rounds *r, void *buf, size_t cap, int deadline_ms)
{
    struct timespec until = time_in(deadline_ms);
    size_t size = 0;
    uint64_t place = 0;
    bool begun = false;
    int err = 0;

    if (deadline_ms < -1)
        return fail(EINVAL);
    while (!begun || (place & LAST) == 0) {
        if (await_round(r, &r->full, ROUNDS_SENDER, deadline_ms, &until) == -1)
            return -1;

        struct round *round = round_at(r, r->get_at);
        uint64_t said = *(volatile uint64_t *)&round->size_and_place;
        uint64_t n = said / 4;

        place = said % 4;
        if ((place & FIRST) != 0) {
            begun = true;
            size = 0;
            err = n > r->slot_bytes ? EBADMSG : 0;
        }
        if (begun && err == 0 && n <= r->slot_bytes && n <= cap - size) {
            memcpy((char *)buf + size, bytes_of(round), n);
            size += n;
        } else if (begun && err == 0) {
            err = n > r->slot_bytes ? EBADMSG : EMSGSIZE;
        }
        r->get_at++;
        sem_post(&r->empty);
    }
    return err == 0 ? (ssize_t)size : fail(err);
}

/* ---- the ring ---- */

/*
 * Two counters say how many messages were ever put and got.  Each side writes
 * its own and reads the other one's, and that only when its copy of it says
 * that there is no room, or nothing to get.
 */
struct spsc {
    uint64_t slots;
    uint64_t slot_bytes;
    alignas(64) _Atomic uint64_t put; /* by the producer */
    uint64_t got_copy;
    bool reserved;
    alignas(64) _Atomic uint64_t got; /* by the consumer */
    uint64_t put_copy;
    bool peeked;
};

struct slot {
    uint64_t size;
    char bytes[];
};

static struct slot *slot_at(struct spsc *q, uint64_t n)
{
    uint64_t stride = (q->slot_bytes + sizeof(struct slot) + 63) / 64 * 64;

    return (struct slot *)((char *)q + 1024 + n % q->slots * stride);
}

/* Waits until a counter is above a number; *copy becomes what it is. */
static int await_above(_Atomic uint64_t *counter, uint64_t number,
                       uint64_t *copy, int deadline_ms)
{
    const struct timespec a_moment = {.tv_nsec = 100000};
    struct timespec until = time_in(deadline_ms);
    int looks = 0;

    while (*copy <= number) {
        *copy = atomic_load_explicit(counter, memory_order_acquire);
        if (*copy > number)
            break;
        if (deadline_ms != -1 && has_passed(&until))
            return fail(ETIMEDOUT);
        if (++looks > 1000)
            nanosleep(&a_moment, NULL);
    }
    return 0;
}

int spsc_init(struct spsc *q, size_t slots, size_t slot_bytes)
{
    if (slots < 1 || slots > 65536 || (slots & (slots - 1)) != 0 ||
        slot_bytes < 1)
        return fail(EINVAL);
    memset(q, 0, sizeof(*q));
    q->slots = slots;
    q->slot_bytes = slot_bytes;
    return 0;
}

void *spsc_reserve(struct spsc *q, int deadline_ms)
{
    uint64_t put = atomic_load_explicit(&q->put, memory_order_relaxed);

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (q->got_copy + q->slots <= put) {
        uint64_t got = q->got_copy;

        if (await_above(&q->got, put - q->slots, &got, deadline_ms) == -1)
            return NULL;
        q->got_copy = got;
    }
    q->reserved = true;
    return slot_at(q, put)->bytes;
}

int spsc_commit(struct spsc *q, size_t size)
{
    uint64_t put = atomic_load_explicit(&q->put, memory_order_relaxed);

    if (!q->reserved)
        return fail(EINVAL);
    if (size > q->slot_bytes)
        return fail(EMSGSIZE);
    q->reserved = false;
    slot_at(q, put)->size = size;
    atomic_store_explicit(&q->put, put + 1, memory_order_release);
    return 0;
}

const void *spsc_peek(struct spsc *q, size_t *size, int deadline_ms)
{
    uint64_t got = atomic_load_explicit(&q->got, memory_order_relaxed), said;

    if (deadline_ms < -1) {
        errno = EINVAL;
        return NULL;
    }
    if (await_above(&q->put, got, &q->put_copy, deadline_ms) == -1)
        return NULL;
    said = *(volatile uint64_t *)&slot_at(q, got)->size;
    if (said > q->slot_bytes) {
        errno = EBADMSG;
        return NULL;
    }
    q->peeked = true;
    *size = said;
    return slot_at(q, got)->bytes;
}

int spsc_consume(struct spsc *q)
{
    if (!q->peeked)
        return fail(EINVAL);
    q->peeked = false;
    atomic_fetch_add_explicit(&q->got, 1, memory_order_release);
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
    int fd = memfd_create("", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t written = 0;

    if (fd == -1)
        return -1;
    while (written < size) {
        ssize_t n = write(fd, (const char *)data + written, size - written);

        if (n == -1 && errno != EINTR)
            break;
        if (n > 0)
            written += (size_t)n;
    }
    if (written == size &&
        fcntl(fd, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0)
        return fd;

    int saved = errno;

    close(fd);
    return fail(saved);
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
    at = mmap(NULL, size, PROT_READ, MAP_PRIVATE, memory, 0);
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
