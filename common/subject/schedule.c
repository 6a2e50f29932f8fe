/*
 * schedule.c - a small case, run in one schedule after another.
 *
 * The roles of a case are processes that take turns: one of them runs, until
 * it comes to its next step, an access to shared memory or a call by which
 * processes synchronize.  There the one whose turn it is decides, by the list
 * of choices that the judge has written, who goes on; so the same list gives
 * the same run.  Who has no choice to follow goes on itself; at a call that
 * would block it is the next one that can.
 *
 * No role ever blocks in the kernel.  A call that would is made in the variant
 * that gives up instead (trylock, IPC_NOWAIT ...); the role then waits for its
 * turn, and is out of the game until another one has done something to the
 * object.  Conditions and barriers, of which no such variant exists, are
 * kept here.  Who looks at the same thing again and again, or sleeps for a
 * while, lets the others go first.
 *
 * With `buffered`, an atomic store that is weaker than memory_order_seq_cst
 * stays in the role's store buffer, where only the role itself sees it, until
 * something forces it out: what processors do, and what C11 allows.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kit.h"
#include "../mix.h"
#include "subject.h"

enum { MOST_IDLE_ROUNDS = 200, SAME_LOOKS = 3, LOOKS = 16, BUFFERED = 16 };

static _Thread_local int me = NOBODY;

static struct schedule *schedule(void)
{
    return &scenario_state.area->schedule;
}

/* ---- turns -------------------------------------------------------------- */

static void futex(atomic_uint *word, int op, unsigned value,
                  const struct timespec *timeout)
{
    syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static void signal_word(atomic_uint *word)
{
    atomic_store(word, 1);
    futex(word, FUTEX_WAKE, 1, NULL);
}

static void await_word(atomic_uint *word)
{
    while (atomic_exchange(word, 0) == 0)
        futex(word, FUTEX_WAIT, 0, NULL);
}

static void give_turn(int role)
{
    if (role == NOBODY)
        signal_word(&schedule()->explorer);
    else
        signal_word(&schedule()->roles[role].turn);
}

static bool is_ready(const struct role *r)
{
    return r->state == ROLE_READY;
}

static bool is_waiting(const struct role *r)
{
    return r->state == ROLE_BLOCKED || r->state == ROLE_TIMED;
}

static bool is_asleep(const struct role *r)
{
    return r->may_wake && is_waiting(r);
}

/* The next one after `from` of that state, itself the last; or NOBODY. */
static int next_in(enum role_state state, int from)
{
    struct schedule *s = schedule();

    for (int k = 1; k <= (int)s->nroles; k++) {
        int role = (from + k) % (int)s->nroles;

        if (s->roles[role].state == (int32_t)state)
            return role;
    }
    return NOBODY;
}

/* One in four steps goes to somebody else, as the seed says. */
static int drawn(const struct schedule *s, int otherwise)
{
    uint64_t x = mixed(s->seed * 0x9e3779b97f4a7c15u + s->nsteps);

    if (x % 4 != 0 && is_ready(&s->roles[otherwise]))
        return otherwise;
    return next_in(ROLE_READY, (int)(x >> 8) % (int)s->nroles);
}

static bool can_go_on(int role, bool wakes)
{
    struct role *r = &schedule()->roles[role];

    if (wakes && is_asleep(r))
        r->state = ROLE_READY;
    return is_ready(r);
}

/* Who makes the next step; with ROLE_DIES, who dies before it; with ROLE_WAKES,
 * who wakes without a signal. */
static int chosen(int otherwise)
{
    struct schedule *s = schedule();

    if (s->seed != 0)
        return drawn(s, otherwise);
    for (uint32_t i = 0; i < s->nchoices && i < CHOICES; i++)
        if (s->choices[i].step == s->nsteps) {
            int choice = s->choices[i].role, role = choice & ROLE_NUMBER;

            if (role < (int)s->nroles &&
                can_go_on(role, (choice & ROLE_WAKES) != 0))
                return choice;
            s->diverged = 1;
        }
    return otherwise;
}

/* Who is next when the role `from` can't go on; NOBODY: none can. */
static int pick(int from)
{
    struct schedule *s = schedule();
    int role = next_in(ROLE_READY, from);

    if (role == NOBODY && next_in(ROLE_YIELDED, from) != NOBODY &&
        s->idle_rounds++ < MOST_IDLE_ROUNDS) {
        for (uint32_t i = 0; i < s->nroles; i++)
            if (s->roles[i].state == ROLE_YIELDED)
                s->roles[i].state = ROLE_READY;
        role = next_in(ROLE_READY, from);
    }
    if (role == NOBODY && (role = next_in(ROLE_TIMED, from)) != NOBODY) {
        s->roles[role].timed_out = 1;
        s->roles[role].state = ROLE_READY;
    }
    return role != NOBODY ? chosen(role) & ROLE_NUMBER : NOBODY;
}

static void hand_over(int role)
{
    if (role == me)
        return;
    give_turn(role);
    await_word(&schedule()->roles[me].turn);
}

static void die(void)
{
    struct schedule *s = schedule();

    s->roles[me].state = ROLE_DEAD;
    s->roles[me].to_write = 0;
    give_turn(NOBODY); /* who then waits for this process' end */
    kill(getpid(), SIGKILL);
}

static unsigned roles_that(bool (*are)(const struct role *r))
{
    unsigned bits = 0;

    for (uint32_t i = 0; i < schedule()->nroles; i++)
        bits |= are(&schedule()->roles[i]) ? 1u << i : 0;
    return bits;
}

static void record(struct step step)
{
    struct schedule *s = schedule();
    int last = s->nsteps > 0 ? s->steps[s->nsteps - 1].role : NOBODY;

    step.role = (int8_t)me;
    step.ready = (uint8_t)roles_that(is_ready);
    step.asleep = (uint8_t)roles_that(is_asleep);
    step.free = last == NOBODY || !is_ready(&s->roles[last]);
    s->steps[s->nsteps++] = step;
}

/* Comes back when it is this role's turn to make the step. */
static void take_step(struct step step)
{
    struct schedule *s = schedule();

    for (;;) {
        if (s->nsteps >= STEPS) {
            s->too_long = 1;
            hand_over(NOBODY);
        }

        int next = chosen(me);

        if (next == (me | ROLE_DIES)) {
            step.dies = 1;
            record(step);
            die();
        }
        step.wakes = (next & ROLE_WAKES) != 0;
        if ((next & ROLE_NUMBER) == me)
            break;
        hand_over(next & ROLE_NUMBER);
    }
    record(step);
}

/* The call that is being made. */
static struct step call_step;

/* ---- what others may wait for ------------------------------------------- */

struct key {
    uint64_t space, object, offset;
};

static bool is_same(struct key a, struct key b)
{
    return a.space == b.space && a.object == b.object && a.offset == b.offset;
}

static struct key key_of_role(const struct role *r)
{
    return (struct key){r->space, r->object, r->offset};
}

/* Something has changed: who turns or naps looks again. */
static void note_effect(void)
{
    struct schedule *s = schedule();

    s->idle_rounds = 0;
    s->effects++;
    for (uint32_t i = 0; i < s->nroles; i++)
        if (s->roles[i].state == ROLE_YIELDED)
            s->roles[i].state = ROLE_READY;
}

static void wake(struct key key)
{
    struct schedule *s = schedule();

    note_effect();
    for (uint32_t i = 0; i < s->nroles; i++)
        if (is_waiting(&s->roles[i]) && is_same(key_of_role(&s->roles[i]), key))
            s->roles[i].state = ROLE_READY;
}

/* The one that has waited longest, or least long; all, for -1.  Returns how
 * many. */
static int wake_waiters(struct key key, int most)
{
    struct schedule *s = schedule();
    int n = 0;

    note_effect();
    for (; n != most; n++) {
        struct role *first = NULL;

        for (uint32_t i = 0; i < s->nroles; i++) {
            struct role *r = &s->roles[i];

            if (is_waiting(r) && is_same(key_of_role(r), key) &&
                (first == NULL ||
                 (r->ticket < first->ticket) != (s->newest_first != 0)))
                first = r;
        }
        if (first == NULL)
            break;
        first->state = ROLE_READY;
    }
    return n;
}

/* For how long, and whether only a call of another role's ends it: what waits
 * for a lock may look again at any time, what waits for a condition may not. */
enum patience {
    FOR_EVER,
    FOR_TIME,
    FOR_ALL, /* at a barrier */
    FOR_A_SIGNAL,
    FOR_A_SIGNAL_OR_TIME
};

/* Waits until another role has done something to the object; false: the time
 * is up, which it is once nobody else can go on. */
static bool block(struct key key, enum patience patience)
{
    struct schedule *s = schedule();
    struct role *r = &s->roles[me];

    r->space = key.space;
    r->object = key.object;
    r->offset = key.offset;
    r->ticket = ++s->tickets;
    r->timed_out = 0;
    r->kept = patience >= FOR_ALL;
    r->may_wake = patience >= FOR_A_SIGNAL;
    r->to_write = strstr(call_step.name, "wrlock") != NULL;
    r->state = patience == FOR_TIME || patience == FOR_A_SIGNAL_OR_TIME
                   ? ROLE_TIMED
                   : ROLE_BLOCKED;
    s->steps[s->nsteps - 1].waits = 1;
    hand_over(pick(me));
    return !r->timed_out;
}

/* Lets all others go first. */
static void yield(void)
{
    schedule()->roles[me].state = ROLE_YIELDED;
    hand_over(pick(me));
}

/* ---- who looks again and again ------------------------------------------ */

static struct look {
    uint64_t place, offset, value;
    unsigned times;
} looks[LOOKS];
static unsigned nlooks;
static unsigned long long looked_after; /* so many effects */

static void note_look(uint64_t place, uint64_t offset, uint64_t value)
{
    if (looked_after != schedule()->effects)
        nlooks = 0;
    looked_after = schedule()->effects;
    for (unsigned i = 0; i < nlooks; i++) {
        struct look *l = &looks[i];

        if (l->place != place || l->offset != offset || l->value != value)
            continue;
        if (++l->times < SAME_LOOKS)
            return;
        nlooks = 0;
        schedule_flush();
        yield();
        return;
    }
    if (nlooks < LOOKS)
        looks[nlooks++] = (struct look){place, offset, value, 1};
}

/* A plain store is made after its hook: whether it has changed anything is seen
 * at the next one. */
static struct {
    const volatile void *at; /* NULL: none */
    size_t size;
    uint64_t before, place, offset;
} stored;

void schedule_will_store(const struct event *e, const volatile void *at,
                         size_t size)
{
    if (me == NOBODY)
        return;
    stored.at = at;
    stored.size = size;
    stored.before = witness_peek(at, size);
    stored.place = e->place;
    stored.offset = e->offset;
}

static void settle_store(void)
{
    const volatile void *at = stored.at;

    stored.at = NULL;
    if (at == NULL)
        return;
    if (stored.size > sizeof(stored.before) ||
        witness_peek(at, stored.size) != stored.before)
        note_effect();
    else
        note_look(stored.place, stored.offset, stored.before);
}

/* ---- accesses ----------------------------------------------------------- */

static struct step step_of(const struct event *e, const char *name)
{
    struct step step = {.kind = e->kind,
                        .order = e->order,
                        .space = e->space,
                        .object = e->object,
                        .offset = e->offset,
                        .size_bytes = e->size_bytes,
                        .place = e->place};

    strncpy(step.name, name, NAME_BYTES - 1);
    return step;
}

static struct buffered {
    volatile void *at;
    unsigned size;
    uint64_t value;
} buffer[BUFFERED];
static unsigned nbuffered;

static void write_out(const struct buffered *b)
{
    switch (b->size) {
    case 1:
        __atomic_store_n((volatile uint8_t *)b->at, (uint8_t)b->value,
                         __ATOMIC_SEQ_CST);
        break;
    case 2:
        __atomic_store_n((volatile uint16_t *)b->at, (uint16_t)b->value,
                         __ATOMIC_SEQ_CST);
        break;
    case 4:
        __atomic_store_n((volatile uint32_t *)b->at, (uint32_t)b->value,
                         __ATOMIC_SEQ_CST);
        break;
    default:
        __atomic_store_n((volatile uint64_t *)b->at, b->value,
                         __ATOMIC_SEQ_CST);
    }
}

void schedule_flush(void)
{
    if (me == NOBODY || nbuffered == 0)
        return;
    for (unsigned i = 0; i < nbuffered; i++)
        write_out(&buffer[i]);
    nbuffered = 0;
    note_effect();
}

bool schedule_defer(volatile void *at, unsigned size, uint64_t value, int order)
{
    if (me == NOBODY || !schedule()->buffered || order == __ATOMIC_SEQ_CST)
        return false;
    if (nbuffered == BUFFERED)
        schedule_flush();
    buffer[nbuffered++] = (struct buffered){at, size, value};
    return true;
}

bool schedule_forwarded(const volatile void *at, unsigned size, uint64_t *value)
{
    for (unsigned i = nbuffered; me != NOBODY && i-- > 0;) {
        uintptr_t a = (uintptr_t)buffer[i].at, b = (uintptr_t)at;

        if (a == b && buffer[i].size == size) {
            *value = buffer[i].value;
            return true;
        }
        if (a < b + size && b < a + buffer[i].size) {
            schedule_flush();
            return false;
        }
    }
    return false;
}

/* A load may be made while earlier stores wait; nothing else may. */
static bool passes_stores(const struct event *e)
{
    return e->kind == EVENT_LOAD ||
           (e->kind == EVENT_ATOMIC_LOAD && e->order != __ATOMIC_SEQ_CST) ||
           (e->kind == EVENT_ATOMIC_STORE && e->order != __ATOMIC_SEQ_CST);
}

void schedule_access(const struct event *e, const char *name)
{
    if (me == NOBODY)
        return;
    settle_store();
    if (!passes_stores(e) && nbuffered > 0 && schedule()->buffered)
        schedule_flush();
    take_step(step_of(e, name));
}

void schedule_seen(const struct event *e, uint64_t before, bool changes)
{
    if (me == NOBODY)
        return;
    if (changes)
        note_effect();
    else
        note_look(e->place, e->offset, before);
}

void may_switch(void)
{
    if (me == NOBODY)
        return;
    take_step((struct step){.kind = STEP_CALL,
                            .space = SPACE_NAMES,
                            .object = 1,
                            .size_bytes = 1,
                            .name = IN_THE_BODY});
    note_effect();
}

void stand_back(void)
{
    if (me == NOBODY)
        sched_yield();
    else
        yield();
}

/* ---- calls -------------------------------------------------------------- */

enum meaning {
    NO_STEP,
    STEP,    /* something that others can see */
    LETS_GO, /* and that others may wait for */
    NAPS
};

static struct key at_object(uint64_t space, int64_t object)
{
    return (struct key){space, (uint64_t)object, 0};
}

static struct key at_memory(int64_t address)
{
    struct event e = witness_at((const void *)(intptr_t)address);

    return (struct key){e.space, e.object, e.offset};
}

static struct key at_fd(int64_t fd)
{
    struct stat st;

    if (fstat((int)fd, &st) == -1)
        return at_object(SPACE_PRIVATE, fd);
    return (struct key){st.st_dev, st.st_ino, UINT64_MAX};
}

/* The arguments of futex(2): word, operation, value, time ... */
static int futex_operation(const int64_t *args)
{
    return (int)args[1] & FUTEX_CMD_MASK;
}

static bool is_futex_wait(const int64_t *args)
{
    return futex_operation(args) == FUTEX_WAIT ||
           futex_operation(args) == FUTEX_WAIT_BITSET;
}

static bool is_futex_wake(const int64_t *args)
{
    return futex_operation(args) == FUTEX_WAKE ||
           futex_operation(args) == FUTEX_WAKE_BITSET;
}

/* A private one is woken by its own process only. */
static struct key at_futex(const int64_t *args)
{
    if ((args[1] & FUTEX_PRIVATE_FLAG) != 0)
        return (struct key){SPACE_PRIVATE, (uint64_t)getpid(),
                            (uint64_t)args[0]};
    return at_memory(args[0]);
}

static bool starts_with(const char *family, const char *with)
{
    return strncmp(family, with, strlen(with)) == 0;
}

static bool is_one_of(const char *family, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(family, *names) == 0)
            return true;
    return false;
}

/* Families whose first argument is a descriptor, and those that name things. */
static const char *const of_descriptors[] = {
    "read",  "write", "pread",   "pwrite",     "ftruncate", "flock",
    "lockf", "fcntl", "mq_send", "mq_receive", "close",     NULL};
static const char *const of_names[] = {
    "shm_open",  "shm_unlink", "sem_open", "sem_unlink", "mq_open",
    "mq_unlink", "shmget",     "semget",   "msgget",     "shmctl",
    "open",      "unlink",     "mkfifo",   NULL};
/* Taking, or what is kept here: it lets nobody else go on. */
static const char *const quiet[] = {"pthread_mutex_lock",
                                    "pthread_mutex_trylock",
                                    "pthread_rwlock_rdlock",
                                    "pthread_rwlock_wrlock",
                                    "pthread_cond_wait",
                                    "pthread_cond_signal",
                                    "pthread_barrier_wait",
                                    "sem_wait",
                                    "sem_trywait",
                                    "sem_getvalue",
                                    NULL};

/* What a call is to the others, and the object that it is made on. */
static enum meaning meaning_of(const char *family, const int64_t *args,
                               struct key *key)
{
    *key = at_object(SPACE_NAMES, 0);
    if (is_one_of(family, of_names))
        return STEP;
    if (is_one_of(family, of_descriptors)) {
        *key = at_fd(args[0]);
        return LETS_GO;
    }
    if (strcmp(family, "semop") == 0 || strcmp(family, "semctl") == 0) {
        *key = at_object(SPACE_SYSV_SEM, args[0]);
        return LETS_GO;
    }
    if (strcmp(family, "msgsnd") == 0 || strcmp(family, "msgrcv") == 0 ||
        strcmp(family, "msgctl") == 0) {
        *key = at_object(SPACE_SYSV_QUEUE, args[0]);
        return LETS_GO;
    }
    if (strcmp(family, "futex") == 0) {
        *key = at_futex(args);
        return is_futex_wait(args) || is_futex_wake(args) ? STEP : NO_STEP;
    }
    if (strcmp(family, "nanosleep") == 0 ||
        strcmp(family, "sched_yield") == 0) {
        *key = at_object(SPACE_PRIVATE, getpid());
        return NAPS;
    }
    if (witness_object_size(family) > 0) {
        *key = at_memory(args[0]);
        return is_one_of(family, quiet) ? STEP : LETS_GO;
    }
    return NO_STEP;
}

static struct step step_of_call(const char *name, struct key key,
                                uint64_t place)
{
    struct step step = {.kind = STEP_CALL,
                        .space = key.space,
                        .object = key.object,
                        .offset = key.offset,
                        .size_bytes = 1,
                        .place = place};

    strncpy(step.name, name, NAME_BYTES - 1);
    return step;
}

static enum meaning call_meaning;

void schedule_enter(const char *name, const char *family, const int64_t *args,
                    uint64_t place)
{
    struct key key;

    if (me == NOBODY)
        return;
    call_meaning = meaning_of(family, args, &key);
    if (call_meaning == NO_STEP)
        return;
    settle_store();
    schedule_flush();
    call_step = step_of_call(name, key, place);
    take_step(call_step);
}

static bool has_failed(const char *family, int64_t result)
{
    if (starts_with(family, "pthread_"))
        return result != 0 && result != EOWNERDEAD &&
               result != PTHREAD_BARRIER_SERIAL_THREAD;
    return result == -1;
}

void schedule_leave(const char *family, int64_t result)
{
    enum meaning meaning = call_meaning;

    call_meaning = NO_STEP;
    if (me == NOBODY || meaning == NO_STEP)
        return;
    if (meaning == NAPS)
        yield();
    else if (has_failed(family, result))
        note_look(call_step.place, call_step.offset, (uint64_t)result);
    else if (meaning == LETS_GO)
        wake((struct key){call_step.space, call_step.object, call_step.offset});
    else
        note_effect();
}

/* ---- calls that would block --------------------------------------------- */

/* One try of a call: true with its result and errno, or false when it would
 * block. */
struct attempt {
    const char *name;
    const int64_t *args;
    int64_t result;
};

static bool is_timed(const char *name)
{
    return strstr(name, "timed") != NULL || strstr(name, "clock") != NULL;
}

static void *pointer(int64_t argument)
{
    return (void *)(intptr_t)argument;
}

/* An error-checking mutex refuses its owner a second time. */
static bool is_own_checked(const pthread_mutex_t *m)
{
    return (m->__data.__kind & 3) == PTHREAD_MUTEX_ERRORCHECK_NP &&
           m->__data.__owner == (int)syscall(SYS_gettid);
}

/* glibc's trylock keeps what it says is not recoverable; its lock does not. */
static void let_go_of_unrecoverable(pthread_mutex_t *m)
{
    if (((unsigned)m->__data.__lock & FUTEX_TID_MASK) ==
        (unsigned)syscall(SYS_gettid))
        __atomic_store_n(&m->__data.__lock, 0, __ATOMIC_SEQ_CST);
}

static bool try_mutex(struct attempt *a, pthread_mutex_t *m)
{
    a->result = pthread_mutex_trylock(m);
    if (a->result == EBUSY && is_own_checked(m))
        a->result = EDEADLK;
    if (a->result == ENOTRECOVERABLE)
        let_go_of_unrecoverable(m);
    return a->result != EBUSY;
}

static bool try_lock(struct attempt *a)
{
    return try_mutex(a, pointer(a->args[0]));
}

/* To the kernel nobody waits: a lock that prefers writers has to be told. */
static bool lets_writers_first(const pthread_rwlock_t *lock, struct key key)
{
    const struct schedule *s = schedule();

    if (lock->__data.__flags != PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
        return false;
    for (uint32_t i = 0; i < s->nroles; i++)
        if (s->roles[i].to_write && is_same(key_of_role(&s->roles[i]), key))
            return true;
    return false;
}

static bool try_rdlock(struct attempt *a)
{
    if (lets_writers_first(pointer(a->args[0]), at_memory(a->args[0])))
        return false;
    a->result = pthread_rwlock_tryrdlock(pointer(a->args[0]));
    return a->result != EBUSY;
}

static bool try_wrlock(struct attempt *a)
{
    a->result = pthread_rwlock_trywrlock(pointer(a->args[0]));
    return a->result != EBUSY;
}

static bool try_sem(struct attempt *a)
{
    a->result = sem_trywait(pointer(a->args[0]));
    return a->result != -1 || errno != EAGAIN;
}

static bool try_semop(struct attempt *a)
{
    const struct sembuf *from = pointer(a->args[1]);
    size_t n = (size_t)a->args[2];
    struct sembuf ops[16];
    bool waits = true;

    for (size_t i = 0; i < n && i < 16; i++) {
        ops[i] = from[i];
        waits = waits && (from[i].sem_flg & IPC_NOWAIT) == 0;
        ops[i].sem_flg |= IPC_NOWAIT;
    }
    a->result = n <= 16 ? semop((int)a->args[0], ops, n)
                        : semop((int)a->args[0], pointer(a->args[1]), n);
    return a->result != -1 || errno != EAGAIN || !waits;
}

static bool try_msgsnd(struct attempt *a)
{
    a->result = msgsnd((int)a->args[0], pointer(a->args[1]), (size_t)a->args[2],
                       (int)a->args[3] | IPC_NOWAIT);
    return a->result != -1 || errno != EAGAIN || (a->args[3] & IPC_NOWAIT);
}

static bool try_msgrcv(struct attempt *a)
{
    a->result = msgrcv((int)a->args[0], pointer(a->args[1]), (size_t)a->args[2],
                       a->args[3], (int)a->args[4] | IPC_NOWAIT);
    if (a->result != -1 || errno != ENOMSG)
        return true;
    return (a->args[4] & IPC_NOWAIT) != 0;
}

static const struct timespec long_ago = {.tv_sec = 1};

static bool try_mq_send(struct attempt *a)
{
    a->result =
        mq_timedsend((mqd_t)a->args[0], pointer(a->args[1]), (size_t)a->args[2],
                     (unsigned)a->args[3], &long_ago);
    return a->result != -1 || errno != ETIMEDOUT;
}

static bool try_mq_receive(struct attempt *a)
{
    a->result =
        mq_timedreceive((mqd_t)a->args[0], pointer(a->args[1]),
                        (size_t)a->args[2], pointer(a->args[3]), &long_ago);
    return a->result != -1 || errno != ETIMEDOUT;
}

static bool try_flock(struct attempt *a)
{
    a->result = flock((int)a->args[0], (int)a->args[1] | LOCK_NB);
    return a->result != -1 || errno != EWOULDBLOCK || (a->args[1] & LOCK_NB);
}

static bool try_lockf(struct attempt *a)
{
    if (a->args[1] != F_LOCK) {
        a->result = lockf((int)a->args[0], (int)a->args[1], a->args[2]);
        return true;
    }
    a->result = lockf((int)a->args[0], F_TLOCK, a->args[2]);
    return a->result != -1 || (errno != EAGAIN && errno != EACCES);
}

static bool try_fcntl(struct attempt *a)
{
    int command = (int)a->args[1] == F_SETLKW       ? F_SETLK
                  : (int)a->args[1] == F_OFD_SETLKW ? F_OFD_SETLK
                                                    : (int)a->args[1];

    a->result = fcntl((int)a->args[0], command, pointer(a->args[2]));
    return a->result != -1 || command == (int)a->args[1] ||
           (errno != EAGAIN && errno != EACCES);
}

static const struct {
    const char *family;
    bool (*attempt)(struct attempt *a);
} blocking[] = {{"pthread_mutex_lock", try_lock},
                {"pthread_rwlock_rdlock", try_rdlock},
                {"pthread_rwlock_wrlock", try_wrlock},
                {"sem_wait", try_sem},
                {"semop", try_semop},
                {"msgsnd", try_msgsnd},
                {"msgrcv", try_msgrcv},
                {"mq_send", try_mq_send},
                {"mq_receive", try_mq_receive},
                {"flock", try_flock},
                {"lockf", try_lockf},
                {"fcntl", try_fcntl}};

static void set_timed_out(struct attempt *a)
{
    bool value = starts_with(a->name, "pthread_");

    a->result = value ? ETIMEDOUT : -1;
    errno = starts_with(a->name, "semtimed") ? EAGAIN : ETIMEDOUT;
}

/* A step for each attempt: the first one has been taken. */
static void attempt_until_done(struct attempt *a, struct key key,
                               bool (*attempt)(struct attempt *a))
{
    struct step again = call_step;
    struct role *r = &schedule()->roles[me];

    while (!attempt(a)) {
        if (!block(key, is_timed(a->name) ? FOR_TIME : FOR_EVER)) {
            set_timed_out(a);
            if (r->to_write)
                wake(key); /* readers that let it go first */
            break;
        }
        take_step(again);
    }
    r->to_write = 0;
}

static void wait_for_condition(struct attempt *a)
{
    struct key condition = at_memory(a->args[0]);
    pthread_mutex_t *m = pointer(a->args[1]);
    struct key mutex = at_memory(a->args[1]);
    struct step again = call_step;

    a->result = pthread_mutex_unlock(m);
    if (a->result != 0)
        return;
    wake(mutex);

    bool signalled = block(condition, is_timed(a->name) ? FOR_A_SIGNAL_OR_TIME
                                                        : FOR_A_SIGNAL);

    take_step(again);
    while (!try_mutex(a, m)) {
        block(mutex, FOR_EVER);
        take_step(again);
    }
    if (!signalled && a->result == 0)
        a->result = ETIMEDOUT;
}

/* What glibc keeps in the first words of a barrier. */
struct barrier_words {
    unsigned in, round, count;
};

static void wait_at_barrier(struct attempt *a)
{
    struct schedule *s = schedule();
    struct barrier_words words;
    struct key key = at_memory(a->args[0]);
    unsigned waiting = 0;

    memcpy(&words, pointer(a->args[0]), sizeof(words));
    for (uint32_t i = 0; i < s->nroles; i++)
        if (s->roles[i].state == ROLE_BLOCKED &&
            is_same(key_of_role(&s->roles[i]), key))
            waiting++;
    if (waiting + 1 >= words.count) {
        wake_waiters(key, -1);
        a->result = PTHREAD_BARRIER_SERIAL_THREAD;
        return;
    }

    struct step again = call_step;

    block(key, FOR_ALL);
    take_step(again);
    a->result = 0;
}

static void wait_for_futex(struct attempt *a, struct key key)
{
    struct step again = call_step;
    const int *word = pointer(a->args[0]);

    a->result = -1;
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != (int)a->args[2]) {
        errno = EAGAIN;
        return;
    }

    bool woken =
        block(key, a->args[3] != 0 ? FOR_A_SIGNAL_OR_TIME : FOR_A_SIGNAL);

    take_step(again);
    if (woken)
        a->result = 0;
    else
        errno = ETIMEDOUT;
}

bool schedule_call(const char *name, const char *family, const int64_t *args,
                   int64_t *result)
{
    struct attempt a = {.name = name, .args = args};
    struct key key;

    if (me == NOBODY || call_meaning == NO_STEP)
        return false;
    key = (struct key){call_step.space, call_step.object, call_step.offset};
    if (strcmp(family, "pthread_cond_wait") == 0) {
        wait_for_condition(&a);
    } else if (strcmp(family, "pthread_cond_signal") == 0) {
        wake_waiters(key, strcmp(name, "pthread_cond_signal") == 0 ? 1 : -1);
        a.result = 0;
    } else if (strcmp(family, "futex") == 0 && is_futex_wait(args)) {
        wait_for_futex(&a, key);
    } else if (strcmp(family, "futex") == 0) {
        a.result = wake_waiters(key, (int)args[2]);
    } else if (strcmp(family, "pthread_barrier_wait") == 0) {
        wait_at_barrier(&a);
    } else if (call_meaning == NAPS) {
        a.result = 0; /* see schedule_leave() */
    } else {
        size_t i = 0, n = sizeof(blocking) / sizeof(blocking[0]);

        while (i < n && strcmp(family, blocking[i].family) != 0)
            i++;
        if (i == n)
            return false;
        attempt_until_done(&a, key, blocking[i].attempt);
    }
    *result = a.result;
    return true;
}

/* ---- the explorer ------------------------------------------------------- */

/* A child of a role's takes no turns. */
void schedule_in_child(void)
{
    me = NOBODY;
}

/* The role's end, by its return or by exit(). */
static void end_role(void)
{
    if (me == NOBODY)
        return;
    settle_store();
    schedule_flush();
    schedule()->roles[me].state = ROLE_DONE;
    give_turn(NOBODY);
}

static _Noreturn void run_role(int role, void (*run)(void))
{
    struct schedule *s = schedule();

    if (s->at_once) {
        run();
        fflush(NULL);
        _exit(0);
    }
    me = role;
    nlooks = 0;
    nbuffered = 0;
    stored.at = NULL;
    atexit(end_role);
    await_word(&s->roles[me].turn);
    record((struct step){.kind = STEP_BEGIN, .space = SPACE_PRIVATE});
    run();
    fflush(NULL);
    end_role();
    _exit(0);
}

static void start_roles(const struct small_case *c, pid_t *pids)
{
    struct schedule *s = schedule();

    for (uint32_t i = 0; i < s->nroles; i++) {
        s->roles[i] = (struct role){.state = ROLE_READY};
        fflush(NULL);
        pids[i] = fork();
        if (pids[i] == 0)
            run_role((int)i, c->roles[i]);
        if (pids[i] == -1)
            scenario_broken("cannot start a process for the role");
        s->roles[i].pid = pids[i];
    }
}

static int role_of(const pid_t *pids, pid_t pid)
{
    for (uint32_t i = 0; i < schedule()->nroles; i++)
        if (pids[i] == pid)
            return (int)i;
    return NOBODY;
}

/* Until the role that has given its turn back is seen to have ended: what the
 * kernel does then (robust mutexes, SEM_UNDO, locks of files) has been done. */
static bool reap(pid_t *pids)
{
    struct schedule *s = schedule();
    bool found = false;

    for (uint32_t i = 0; i < s->nroles; i++)
        if (pids[i] > 0 && (s->roles[i].state == ROLE_DONE ||
                            s->roles[i].state == ROLE_DEAD)) {
            waitpid(pids[i], NULL, 0);
            witness_joined(pids[i]);
            pids[i] = 0;
            found = true;
        }
    return found;
}

/* A role that ended without a word, as by _exit(). */
static bool reap_others(pid_t *pids)
{
    bool found = false;
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        int role = role_of(pids, pid);

        if (role == NOBODY)
            continue;
        pids[role] = 0;
        schedule()->roles[role].state = ROLE_DEAD;
        witness_joined(pid);
        found = true;
    }
    return found;
}

/* Waits until a role gives its turn back, or has ended: true. */
static bool await_end(pid_t *pids)
{
    static const struct timespec look_every = {.tv_nsec = 20000000};
    struct schedule *s = schedule();

    while (atomic_exchange(&s->explorer, 0) == 0) {
        futex(&s->explorer, FUTEX_WAIT, 0, &look_every);
        if (atomic_load(&s->explorer) == 0 && reap_others(pids))
            return true;
    }
    return reap(pids);
}

/* Whoever is blocked looks again: the dead may have let something go. */
static void wake_all(void)
{
    struct schedule *s = schedule();

    note_effect();
    for (uint32_t i = 0; i < s->nroles; i++)
        if (is_waiting(&s->roles[i]) && !s->roles[i].kept)
            s->roles[i].state = ROLE_READY;
}

static void end_all(pid_t *pids)
{
    struct schedule *s = schedule();

    for (uint32_t i = 0; i < s->nroles; i++)
        if (pids[i] > 0 && s->roles[i].state != ROLE_DONE) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
            witness_joined(pids[i]);
        }
}

static void take_turns(pid_t *pids)
{
    struct schedule *s = schedule();
    int last = NOBODY;

    for (;;) {
        int next = pick(last == NOBODY ? (int)s->nroles - 1 : last);

        if (next == NOBODY || s->too_long)
            break;
        give_turn(next);
        if (await_end(pids))
            wake_all();
        if (s->too_long)
            break;
        last = s->nsteps > 0 ? s->steps[s->nsteps - 1].role : next;
    }
}

static void run_at_once(const pid_t *pids)
{
    for (uint32_t i = 0; i < schedule()->nroles; i++) {
        waitpid(pids[i], NULL, 0);
        schedule()->roles[i].state = ROLE_DONE;
    }
}

static void run_one(const struct small_case *c)
{
    struct schedule *s = schedule();
    pid_t pids[MOST_ROLES] = {0};

    if (c->prepare != NULL)
        c->prepare();
    atomic_store(&s->explorer, 0);
    start_roles(c, pids);
    if (s->at_once)
        run_at_once(pids);
    else
        take_turns(pids);
    s->stuck = 0;
    for (uint32_t i = 0; i < s->nroles; i++)
        if (s->roles[i].state != ROLE_DONE && s->roles[i].state != ROLE_DEAD)
            s->stuck = 1;
    end_all(pids);
    if (!s->stuck && !s->too_long && c->check != NULL)
        c->check();
}

static void forget_calls(void)
{
    struct area *a = scenario_state.area;
    unsigned n = atomic_exchange(&a->ncalls, 0);

    for (unsigned i = 0; i < n && i < LOGGED_CALLS; i++)
        atomic_store(&a->calls[i].complete, 0);
}

/* Only one role runs at a time: to hand the turn to another processor takes
 * longer than to one that waits for this one.  The next schedule may be run
 * elsewhere. */
static void run_on_one_processor(const struct small_case *c)
{
    cpu_set_t all, here;
    int cpu = sched_getcpu();
    bool known = sched_getaffinity(0, sizeof(all), &all) == 0 && cpu >= 0;

    if (known) {
        CPU_ZERO(&here);
        CPU_SET(cpu, &here);
        sched_setaffinity(0, sizeof(here), &here);
    }
    run_one(c);
    if (known)
        sched_setaffinity(0, sizeof(all), &all);
}

void run_schedules(const struct small_case *c)
{
    struct schedule *s = schedule();

    s->nroles = 0;
    while (s->nroles < MOST_ROLES && c->roles[s->nroles] != NULL)
        s->nroles++;
    tell_int(SCHEDULE_ENDED, -1); /* the first one can begin */
    for (;;) {
        await_word(&s->go);
        if (s->number == 0)
            return;
        forget_calls();
        if (s->at_once)
            run_one(c);
        else
            run_on_one_processor(c);
        tell_int(SCHEDULE_ENDED, s->number);
    }
}
