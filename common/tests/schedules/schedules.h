/* schedules.h - known cases of synchronization, right and wrong, that the
 * scheduler is tried on.  All structures lie in shared memory, zero-filled at
 * first. */
#ifndef SCHEDULES_H
#define SCHEDULES_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A number that two roles add to, each in one of these ways. */
enum way {
    WITH_MUTEX,
    WITH_SEMAPHORE,
    WITH_PETERSON,   /* G. L. Peterson, 1981; all seq_cst */
    WITH_DEKKER,     /* in E. W. Dijkstra, 1965; all seq_cst */
    WITH_SPIN_LOCK,  /* exchange with acquire, store with release */
    WITH_ATOMIC_ADD, /* no lock needed */
    FIRST_WRONG,
    WITH_NOTHING = FIRST_WRONG,
    WITH_LOAD_AND_STORE, /* atomic, but two steps */
    WITH_EARLY_UNLOCK,   /* the sum is stored after it */
    WITH_PRIVATE_MUTEX,  /* each role has its own */
    WITH_WEAK_PETERSON,  /* acquire and release only */
    WITH_WEAK_DEKKER,
    WITH_RELAXED_SPIN_LOCK,
    WITH_CHECKED_FLAG, /* looks at a flag, then sets it */
    WAYS
};
struct sum {
    pthread_mutex_t mutex;
    sem_t semaphore;
    atomic_int wants[2], turn, taken, atomic_total;
    int total;
};
int sum_init(struct sum *s);
int sum_add(struct sum *s, enum way way, int role, int number);
/* Adds 1 to the atomic total again and again; does not come back. */
void sum_count_for_ever(struct sum *s);

/* Something that is made once, by whoever comes first. */
enum once { ONCE_RIGHT, ONCE_PLAIN_FLAG, ONCE_RELAXED_FLAG, ONCE_EARLY_FLAG };
struct once_only {
    pthread_mutex_t mutex;
    atomic_int ready;
    int plain_ready;
    int value;
};
int once_init(struct once_only *o);
int once_get(struct once_only *o, enum once how); /* the value, 7 */

/* A wait for an event. */
enum event_way {
    EVENT_RIGHT,
    EVENT_IF,          /* looks once */
    EVENT_NO_MUTEX,    /* the flag is set without it: the wakeup gets lost */
    EVENT_SIGNAL_FIRST /* and the flag is set after that */
};
struct happening {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_int happened;
    int tokens;
};
int happening_init(struct happening *h);
int happening_wait(struct happening *h, enum event_way way);
int happening_set(struct happening *h, enum event_way way);
/* The same with a futex(2) for the flag. */
enum futex_way {
    FUTEX_RIGHT,
    FUTEX_OF_A_LATE_LOOK, /* waits while the flag is what it is by then */
    FUTEX_OF_ONE_PROCESS
};
int futex_wait(struct happening *h, enum futex_way way);
int futex_set(struct happening *h, enum futex_way way);
/* Takes a token, of which one is put at a time: two wait, both are woken. */
int token_take(struct happening *h, bool in_a_loop); /* how many are left */
int token_put(struct happening *h);

/* Two locks. */
struct pair {
    pthread_mutex_t first, second;
    int total;
};
int pair_init(struct pair *p);
int pair_add(struct pair *p, bool second_first);

/* A ring of one producer and one consumer, of 2 slots. */
enum ring_way {
    RING_RIGHT,
    RING_RELAXED_PUBLISH,
    RING_EARLY_PUBLISH,
    RING_RELAXED_FREE
};
struct ring {
    atomic_uint head, tail;
    int slots[2];
};
int ring_put(struct ring *r, enum ring_way way, int value); /* waits for room */
int ring_get(struct ring *r, enum ring_way way);

/* A queue of many of both (D. Vyukov's, with a number for each slot). */
struct queue {
    atomic_uint in, out;
    struct {
        atomic_uint number;
        int value;
    } slots[2];
};
int queue_init(struct queue *q);
int queue_put(struct queue *q, enum ring_way way, int value);
int queue_get(struct queue *q, enum ring_way way);

/* A lock for many readers or one writer, with a condition. */
struct visits {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int readers, writing, writers_waiting;
};
int visits_init(struct visits *v);
enum visits_way {
    VISITS_RIGHT,
    VISITS_GREEDY,   /* a reader doesn't let a writer go first that waits */
    VISITS_OF_SIGNAL /* the last one wakes one, whoever that is */
};
int visits_read(struct visits *v, enum visits_way way, void (*body)(void));
int visits_write(struct visits *v, void (*body)(void));

/* A lock for many readers or one writer, of two words. */
struct rw {
    atomic_int readers, writing;
    int a, b; /* written as a pair */
};
int rw_read(struct rw *l, bool right);  /* a - b */
int rw_write(struct rw *l, bool right); /* adds 1 to both */

/* A free list of 3 blocks: without a count of changes, it falls to ABA. */
struct list {
    atomic_ulong head; /* block + 1, in the low 32 bits; changes above */
    atomic_uint next[3];
    atomic_int owners[3];
};
int list_init(struct list *l);
int list_take(struct list *l, bool counted); /* the block, or -1 */
int list_give(struct list *l, bool counted, int block);

/* Money behind a robust mutex, whose holder may die. */
struct account {
    pthread_mutex_t mutex;
    int from, to;
};
int account_init(struct account *a);
int account_move(struct account *a, bool repairs, int amount);

/* What the compiler's hooks do not see. */
int hidden_add(int *shared);

#endif
