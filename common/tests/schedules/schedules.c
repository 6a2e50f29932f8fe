/* schedules.c - see schedules.h. */
#include "schedules.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void init_mutex(pthread_mutex_t *m, bool robust)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (robust)
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(m, &attr);
    pthread_mutexattr_destroy(&attr);
}

/* ---- a sum ---------------------------------------------------------------- */

int sum_init(struct sum *s)
{
    init_mutex(&s->mutex, false);
    return sem_init(&s->semaphore, 1, 1);
}

static void peterson_lock(struct sum *s, int role, memory_order store,
                          memory_order load)
{
    atomic_store_explicit(&s->wants[role], 1, store);
    atomic_store_explicit(&s->turn, 1 - role, store);
    while (atomic_load_explicit(&s->wants[1 - role], load) &&
           atomic_load_explicit(&s->turn, load) == 1 - role)
        ;
}

static void dekker_lock(struct sum *s, int role, memory_order store,
                        memory_order load)
{
    atomic_store_explicit(&s->wants[role], 1, store);
    while (atomic_load_explicit(&s->wants[1 - role], load)) {
        if (atomic_load_explicit(&s->turn, load) == role)
            continue;
        atomic_store_explicit(&s->wants[role], 0, store);
        while (atomic_load_explicit(&s->turn, load) != role)
            ;
        atomic_store_explicit(&s->wants[role], 1, store);
    }
}

static void lock(struct sum *s, enum way way, int role)
{
    static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;

    switch (way) {
    case WITH_MUTEX:
    case WITH_EARLY_UNLOCK:
        pthread_mutex_lock(&s->mutex);
        break;
    case WITH_PRIVATE_MUTEX:
        pthread_mutex_lock(&own);
        break;
    case WITH_SEMAPHORE:
        sem_wait(&s->semaphore);
        break;
    case WITH_PETERSON:
        peterson_lock(s, role, memory_order_seq_cst, memory_order_seq_cst);
        break;
    case WITH_WEAK_PETERSON:
        peterson_lock(s, role, memory_order_release, memory_order_acquire);
        break;
    case WITH_DEKKER:
        dekker_lock(s, role, memory_order_seq_cst, memory_order_seq_cst);
        break;
    case WITH_WEAK_DEKKER:
        dekker_lock(s, role, memory_order_release, memory_order_acquire);
        break;
    case WITH_SPIN_LOCK:
        while (atomic_exchange_explicit(&s->taken, 1, memory_order_acquire))
            ;
        break;
    case WITH_RELAXED_SPIN_LOCK:
        while (atomic_exchange_explicit(&s->taken, 1, memory_order_relaxed))
            ;
        break;
    case WITH_CHECKED_FLAG:
        while (atomic_load(&s->taken))
            ;
        atomic_store(&s->taken, 1);
        break;
    default:
        break;
    }
}

static void unlock(struct sum *s, enum way way, int role)
{
    switch (way) {
    case WITH_MUTEX:
        pthread_mutex_unlock(&s->mutex);
        break;
    case WITH_SEMAPHORE:
        sem_post(&s->semaphore);
        break;
    case WITH_PETERSON:
        atomic_store(&s->wants[role], 0);
        break;
    case WITH_WEAK_PETERSON:
        atomic_store_explicit(&s->wants[role], 0, memory_order_release);
        break;
    case WITH_DEKKER:
    case WITH_WEAK_DEKKER:
        atomic_store_explicit(&s->turn, 1 - role, memory_order_release);
        atomic_store_explicit(&s->wants[role], 0, memory_order_release);
        break;
    case WITH_SPIN_LOCK:
    case WITH_CHECKED_FLAG:
        atomic_store_explicit(&s->taken, 0, memory_order_release);
        break;
    case WITH_RELAXED_SPIN_LOCK:
        atomic_store_explicit(&s->taken, 0, memory_order_relaxed);
        break;
    default:
        break;
    }
}

int sum_add(struct sum *s, enum way way, int role, int number)
{
    if (way == WITH_ATOMIC_ADD)
        return atomic_fetch_add(&s->atomic_total, number);
    if (way == WITH_LOAD_AND_STORE) {
        atomic_store(&s->atomic_total, atomic_load(&s->atomic_total) + number);
        return 0;
    }
    lock(s, way, role);

    int total = s->total;

    if (way == WITH_EARLY_UNLOCK)
        pthread_mutex_unlock(&s->mutex);
    s->total = total + number;
    unlock(s, way, role);
    return 0;
}

void sum_count_for_ever(struct sum *s)
{
    for (;;)
        atomic_fetch_add(&s->atomic_total, 1);
}

/* ---- once ----------------------------------------------------------------- */

int once_init(struct once_only *o)
{
    init_mutex(&o->mutex, false);
    return 0;
}

static int is_ready(struct once_only *o, enum once how)
{
    if (how == ONCE_PLAIN_FLAG)
        return o->plain_ready;
    return atomic_load_explicit(&o->ready, how == ONCE_RELAXED_FLAG
                                               ? memory_order_relaxed
                                               : memory_order_acquire);
}

static void make_ready(struct once_only *o, enum once how)
{
    if (how == ONCE_PLAIN_FLAG)
        o->plain_ready = 1;
    else
        atomic_store_explicit(&o->ready, 1,
                              how == ONCE_RELAXED_FLAG ? memory_order_relaxed
                                                       : memory_order_release);
}

int once_get(struct once_only *o, enum once how)
{
    if (!is_ready(o, how)) {
        pthread_mutex_lock(&o->mutex);
        if (!is_ready(o, how)) {
            if (how == ONCE_EARLY_FLAG)
                make_ready(o, how);
            o->value = 7;
            if (how != ONCE_EARLY_FLAG)
                make_ready(o, how);
        }
        pthread_mutex_unlock(&o->mutex);
    }
    return o->value;
}

/* ---- a condition ---------------------------------------------------------- */

static int init_condition(pthread_mutex_t *mutex, pthread_cond_t *changed)
{
    pthread_condattr_t attr;

    init_mutex(mutex, false);
    pthread_condattr_init(&attr);
    pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(changed, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

int happening_init(struct happening *h)
{
    return init_condition(&h->mutex, &h->changed);
}

int happening_wait(struct happening *h, enum event_way way)
{
    pthread_mutex_lock(&h->mutex);
    if (way == EVENT_IF) {
        if (!h->happened)
            pthread_cond_wait(&h->changed, &h->mutex);
    } else {
        while (!h->happened)
            pthread_cond_wait(&h->changed, &h->mutex);
    }
    pthread_mutex_unlock(&h->mutex);
    return h->happened;
}

int happening_set(struct happening *h, enum event_way way)
{
    if (way == EVENT_NO_MUTEX) {
        h->happened = 1;
        pthread_cond_signal(&h->changed);
        return 0;
    }
    if (way == EVENT_SIGNAL_FIRST)
        pthread_cond_signal(&h->changed);
    pthread_mutex_lock(&h->mutex);
    h->happened = 1;
    if (way != EVENT_SIGNAL_FIRST)
        pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->mutex);
    return 0;
}

int futex_wait(struct happening *h, enum futex_way way)
{
    int op = way == FUTEX_OF_ONE_PROCESS ? FUTEX_WAIT_PRIVATE : FUTEX_WAIT;

    while (!atomic_load(&h->happened)) {
        int is = way == FUTEX_OF_A_LATE_LOOK ? atomic_load(&h->happened) : 0;

        syscall(SYS_futex, &h->happened, op, is, NULL);
    }
    return 1;
}

int futex_set(struct happening *h, enum futex_way way)
{
    int op = way == FUTEX_OF_ONE_PROCESS ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE;

    atomic_store(&h->happened, 1);
    return (int)syscall(SYS_futex, &h->happened, op, INT_MAX);
}

int token_take(struct happening *h, bool in_a_loop)
{
    int left;

    pthread_mutex_lock(&h->mutex);
    if (in_a_loop)
        while (h->tokens == 0)
            pthread_cond_wait(&h->changed, &h->mutex);
    else if (h->tokens == 0)
        pthread_cond_wait(&h->changed, &h->mutex);
    left = --h->tokens;
    pthread_mutex_unlock(&h->mutex);
    return left;
}

int token_put(struct happening *h)
{
    pthread_mutex_lock(&h->mutex);
    h->tokens++;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mutex);
    return 0;
}

/* ---- two locks ------------------------------------------------------------ */

int pair_init(struct pair *p)
{
    init_mutex(&p->first, false);
    init_mutex(&p->second, false);
    return 0;
}

int pair_add(struct pair *p, bool second_first)
{
    pthread_mutex_lock(second_first ? &p->second : &p->first);
    pthread_mutex_lock(second_first ? &p->first : &p->second);
    p->total++;
    pthread_mutex_unlock(&p->first);
    pthread_mutex_unlock(&p->second);
    return 0;
}

/* ---- rings ---------------------------------------------------------------- */

int ring_put(struct ring *r, enum ring_way way, int value)
{
    unsigned head = atomic_load_explicit(&r->head, memory_order_relaxed);
    memory_order take =
        way == RING_RELAXED_FREE ? memory_order_relaxed : memory_order_acquire;

    while (head - atomic_load_explicit(&r->tail, take) == 2)
        ;
    if (way == RING_EARLY_PUBLISH)
        atomic_store_explicit(&r->head, head + 1, memory_order_release);
    r->slots[head % 2] = value;
    if (way != RING_EARLY_PUBLISH)
        atomic_store_explicit(&r->head, head + 1,
                              way == RING_RELAXED_PUBLISH
                                  ? memory_order_relaxed
                                  : memory_order_release);
    return 0;
}

int ring_get(struct ring *r, enum ring_way way)
{
    unsigned tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    while (atomic_load_explicit(&r->head, memory_order_acquire) == tail)
        ;

    int value = r->slots[tail % 2];

    atomic_store_explicit(&r->tail, tail + 1,
                          way == RING_RELAXED_FREE ? memory_order_relaxed
                                                   : memory_order_release);
    return value;
}

int queue_init(struct queue *q)
{
    for (unsigned i = 0; i < 2; i++)
        atomic_init(&q->slots[i].number, i);
    return 0;
}

int queue_put(struct queue *q, enum ring_way way, int value)
{
    unsigned at = atomic_fetch_add_explicit(&q->in, 1, memory_order_relaxed);

    while (atomic_load_explicit(&q->slots[at % 2].number,
                                memory_order_acquire) != at)
        ;
    if (way == RING_EARLY_PUBLISH)
        atomic_store_explicit(&q->slots[at % 2].number, at + 1,
                              memory_order_release);
    q->slots[at % 2].value = value;
    if (way != RING_EARLY_PUBLISH)
        atomic_store_explicit(&q->slots[at % 2].number, at + 1,
                              way == RING_RELAXED_PUBLISH
                                  ? memory_order_relaxed
                                  : memory_order_release);
    return 0;
}

int queue_get(struct queue *q, enum ring_way way)
{
    unsigned at = atomic_fetch_add_explicit(&q->out, 1, memory_order_relaxed);

    while (atomic_load_explicit(&q->slots[at % 2].number,
                                memory_order_acquire) != at + 1)
        ;

    int value = q->slots[at % 2].value;

    atomic_store_explicit(&q->slots[at % 2].number, at + 2,
                          way == RING_RELAXED_FREE ? memory_order_relaxed
                                                   : memory_order_release);
    return value;
}

/* ---- readers and a writer ------------------------------------------------- */

int rw_read(struct rw *l, bool right)
{
    for (;;) {
        while (atomic_load(&l->writing))
            ;
        atomic_fetch_add(&l->readers, 1);
        if (!right || !atomic_load(&l->writing))
            break;
        atomic_fetch_sub(&l->readers, 1);
    }

    int difference = l->a - l->b;

    atomic_fetch_sub(&l->readers, 1);
    return difference;
}

int rw_write(struct rw *l, bool right)
{
    (void)right;
    while (atomic_exchange(&l->writing, 1))
        ;
    while (atomic_load(&l->readers))
        ;
    l->a++;
    l->b++;
    atomic_store(&l->writing, 0);
    return 0;
}

/* ---- readers that keep coming --------------------------------------------- */

int visits_init(struct visits *v)
{
    return init_condition(&v->mutex, &v->changed);
}

int visits_read(struct visits *v, enum visits_way way, void (*body)(void))
{
    pthread_mutex_lock(&v->mutex);
    while (v->writing || (way != VISITS_GREEDY && v->writers_waiting > 0))
        pthread_cond_wait(&v->changed, &v->mutex);
    v->readers++;
    pthread_mutex_unlock(&v->mutex);
    body();
    pthread_mutex_lock(&v->mutex);
    v->readers--;
    if (way != VISITS_OF_SIGNAL)
        pthread_cond_broadcast(&v->changed);
    else if (v->readers == 0)
        pthread_cond_signal(&v->changed);
    return pthread_mutex_unlock(&v->mutex);
}

int visits_write(struct visits *v, void (*body)(void))
{
    pthread_mutex_lock(&v->mutex);
    v->writers_waiting++;
    while (v->writing || v->readers > 0)
        pthread_cond_wait(&v->changed, &v->mutex);
    v->writers_waiting--;
    v->writing = 1;
    pthread_mutex_unlock(&v->mutex);
    body();
    pthread_mutex_lock(&v->mutex);
    v->writing = 0;
    pthread_cond_broadcast(&v->changed);
    return pthread_mutex_unlock(&v->mutex);
}

/* ---- a free list ---------------------------------------------------------- */

int list_init(struct list *l)
{
    for (unsigned i = 0; i < 3; i++) {
        atomic_init(&l->next[i], i < 2 ? i + 2 : 0);
        atomic_init(&l->owners[i], 0);
    }
    atomic_init(&l->head, 1);
    return 0;
}

static unsigned long changed(unsigned long head, bool counted)
{
    return counted ? (head & ~0xfffffffful) + (1ul << 32) : 0;
}

int list_take(struct list *l, bool counted)
{
    unsigned long head = atomic_load(&l->head);

    for (;;) {
        unsigned block = (unsigned)head;

        if (block == 0)
            return -1;

        unsigned next = atomic_load(&l->next[block - 1]);

        if (atomic_compare_exchange_strong(&l->head, &head,
                                           changed(head, counted) | next)) {
            atomic_fetch_add(&l->owners[block - 1], 1);
            return (int)block - 1;
        }
    }
}

int list_give(struct list *l, bool counted, int block)
{
    unsigned long head = atomic_load(&l->head);

    atomic_fetch_sub(&l->owners[block], 1);
    do
        atomic_store(&l->next[block], (unsigned)head);
    while (!atomic_compare_exchange_strong(
        &l->head, &head, changed(head, counted) | (unsigned)(block + 1)));
    return 0;
}

/* ---- a holder that dies --------------------------------------------------- */

int account_init(struct account *a)
{
    init_mutex(&a->mutex, true);
    a->from = 100;
    return 0;
}

int account_move(struct account *a, bool repairs, int amount)
{
    int err = pthread_mutex_lock(&a->mutex);

    if (err == EOWNERDEAD) {
        if (repairs)
            a->to = 100 - a->from;
        pthread_mutex_consistent(&a->mutex);
    } else if (err != 0) {
        return -1;
    }
    a->from -= amount;
    a->to += amount;
    pthread_mutex_unlock(&a->mutex);
    return 0;
}

/* ---- out of sight --------------------------------------------------------- */

int hidden_add(int *shared)
{
    __asm__ volatile("lock; incl %0" : "+m"(*shared));
    return 0;
}
