/*
 * witness.c - what the student's code does in shared memory, as the compiler
 * tells it.
 *
 * For a lab with `witness = true` the student's file is compiled with
 * -fsanitize=thread, which puts a call before every load and store and in the
 * place of every atomic operation.  Those calls (__tsan_*, as in LLVM's
 * compiler-rt, tsan_interface.h) end here and not in ThreadSanitizer, which
 * knows threads of one process only.  Each access to shared memory becomes an
 * event, and so does each synchronization call that passes the shim.  The
 * judge (races.c) works out whether something orders them.
 *
 * The events of all processes lie in one list, in an order that agrees with
 * who read from whom: a store or a release is noted before it is made, a load
 * or an acquire after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kit.h"
#include "subject.h"

enum { MOST_MAPPINGS = 64 };

/* Memory that others may see, as it lies in this process. */
struct mapping {
    uintptr_t from, to; /* to 0: a free entry */
    uint64_t space, object, offset;
};
static struct mapping mappings[MOST_MAPPINGS];
static size_t nmappings; /* no entry from here on is used */

static bool instrumented; /* the student's object says so at its start */
/* 0: not asked for yet, in this process or thread; a system call for each
 * access would cost more than all else. */
static pid_t process;
static _Thread_local int32_t task;

static pid_t this_process(void)
{
    if (process == 0)
        process = getpid();
    return process;
}

void __tsan_init(void);

void __tsan_init(void)
{
    instrumented = true;
}

static bool is_on(void)
{
    return instrumented && scenario_state.witness != NULL;
}

/* ---- which memory ------------------------------------------------------- */

void witness_map(const void *at, size_t size_bytes, uint64_t space,
                 uint64_t object, uint64_t offset)
{
    for (size_t i = 0; i < MOST_MAPPINGS && is_on(); i++)
        if (mappings[i].to == 0) {
            mappings[i] = (struct mapping){.from = (uintptr_t)at,
                                           .to = (uintptr_t)at + size_bytes,
                                           .space = space,
                                           .object = object,
                                           .offset = offset};
            if (nmappings < i + 1)
                nmappings = i + 1;
            return;
        }
    if (is_on())
        atomic_store(&scenario_state.witness->unwatched, 1);
}

void witness_map_file(const void *at, size_t size_bytes, int fd,
                      uint64_t offset)
{
    struct stat st;
    int saved = errno;

    if (is_on() && fstat(fd, &st) == 0)
        witness_map(at, size_bytes, st.st_dev, st.st_ino, offset);
    errno = saved;
}

void witness_map_segment(const void *at, int id)
{
    struct shmid_ds ds;
    int saved = errno;

    if (is_on() && shmctl(id, IPC_STAT, &ds) == 0)
        witness_map(at, ds.shm_segsz, SPACE_SYSV_SHM, (uint64_t)id, 0);
    errno = saved;
}

/* Whole mappings only: who unmaps a part goes on to use the rest. */
void witness_unmap(const void *at)
{
    for (size_t i = 0; i < nmappings; i++)
        if (mappings[i].from == (uintptr_t)at)
            mappings[i].to = 0;
}

void *witness_moved(const void *from, void *to, size_t size_bytes)
{
    for (size_t i = 0; i < nmappings && to != MAP_FAILED; i++)
        if (mappings[i].to != 0 && mappings[i].from == (uintptr_t)from) {
            mappings[i].from = (uintptr_t)to;
            mappings[i].to = (uintptr_t)to + size_bytes;
        }
    return to;
}

static const struct mapping *mapping_of(uintptr_t at)
{
    for (size_t i = 0; i < nmappings; i++)
        if (at >= mappings[i].from && at < mappings[i].to)
            return &mappings[i];
    return NULL;
}

/* ---- events ------------------------------------------------------------- */

static unsigned add_event(struct event e)
{
    struct witness *w = scenario_state.witness;
    unsigned n = atomic_fetch_add(&w->n, 1);

    if (task == 0)
        task = (int32_t)syscall(SYS_gettid);
    if (n >= WITNESSED_EVENTS)
        return n;
    e.task = task;
    e.pid = this_process();
    w->events[n] = e;
    atomic_store(&w->events[n].complete, 1);
    return n;
}

void witness_joined(pid_t pid)
{
    if (is_on())
        add_event((struct event){.kind = EVENT_JOIN, .offset = (uint64_t)pid});
}

static struct event at_mapping(struct event e, const struct mapping *m,
                               uintptr_t at)
{
    e.space = m->space;
    e.object = m->object;
    e.offset = at - m->from + m->offset;
    return e;
}

/* Fills in the object that lies at this address; private memory is one of
 * this process's own. */
static struct event at_address(struct event e, const volatile void *address)
{
    uintptr_t at = (uintptr_t)address;
    const struct mapping *m = mapping_of(at);

    if (m != NULL)
        return at_mapping(e, m, at);
    e.space = SPACE_PRIVATE;
    e.object = (uint64_t)this_process();
    e.offset = at;
    return e;
}

struct event witness_at(const volatile void *address)
{
    return at_address((struct event){.kind = EVENT_LOAD}, address);
}

/* ---- loads, stores, atomics ---------------------------------------------- */

uint64_t witness_place(const void *return_address)
{
    extern const char __executable_start[];

    return (uint64_t)((const char *)return_address - __executable_start) - 1;
}

/* What HOLD() calls an access. */
static const struct {
    const char *name, *family;
} names[] = {[EVENT_LOAD] = {"load", "load"},
             [EVENT_STORE] = {"store", "store"},
             [EVENT_ATOMIC_LOAD] = {"atomic_load", "atomic"},
             [EVENT_ATOMIC_STORE] = {"atomic_store", "atomic"},
             [EVENT_ATOMIC_RMW] = {"atomic_rmw", "atomic"}};

struct access {
    struct event event;
    const char *gate; /* of HOLD_AFTER */
    bool shared;
};

static struct access begin(const volatile void *at, size_t size, int kind,
                           int order, const void *return_address)
{
    struct access a = {.shared = false};
    const struct mapping *m = is_on() ? mapping_of((uintptr_t)at) : NULL;
    int saved = errno;

    if (m == NULL)
        return a;
    a.shared = true;
    a.event = at_mapping((struct event){.size_bytes = (uint32_t)size,
                                        .kind = (uint8_t)kind,
                                        .order = (uint8_t)order,
                                        .place = witness_place(return_address)},
                         m, (uintptr_t)at);

    int64_t args[] = {(int64_t)a.event.offset, (int64_t)size};

    schedule_access(&a.event, names[kind].name);
    a.gate = shim_stop(names[kind].name, names[kind].family, args, 2);
    if (event_stores(kind))
        add_event(a.event);
    errno = saved;
    return a;
}

/*
 * A load is noted once it is made.  One that is made again and again, and
 * finds what it found, is noted once: a loop that turns would fill the list.
 */
static void note_load(const struct event *e, uint64_t value)
{
    static _Thread_local struct event last;
    static _Thread_local uint64_t last_value;
    static _Thread_local unsigned last_n;
    unsigned n = atomic_load(&scenario_state.witness->n);

    if (n == last_n && value == last_value && e->place == last.place &&
        e->offset == last.offset && e->kind == last.kind)
        return;
    add_event(*e);
    last = *e;
    last_value = value;
    last_n = n + 1;
}

static void end(struct access *a, uint64_t value, bool changed)
{
    int saved = errno;

    if (!a->shared)
        return;
    if (a->event.kind != EVENT_STORE)
        schedule_seen(&a->event, value, changed);
    if (!event_stores(a->event.kind))
        note_load(&a->event, value);
    if (a->gate != NULL)
        shim_hold(a->gate);
    errno = saved;
}

uint64_t witness_peek(const volatile void *at, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size && i < sizeof(value); i++)
        value = value << 8 | ((const volatile unsigned char *)at)[i];
    return value;
}

/* A plain access: it is made after this call. */
static void plain(const volatile void *at, size_t size, int kind,
                  const void *return_address)
{
    struct access a = begin(at, size, kind, 0, return_address);

    if (a.shared && kind == EVENT_STORE)
        schedule_will_store(&a.event, at, size);
    end(&a, a.shared ? witness_peek(at, size) : 0, false);
}

#define HERE __builtin_return_address(0)

#define PLAIN_ACCESS(name, size, kind) \
    void __tsan_##name(void *at);      \
    void __tsan_##name(void *at)       \
    {                                  \
        plain(at, size, kind, HERE);   \
    }
#define PLAIN_ACCESSES(size)                             \
    PLAIN_ACCESS(read##size, size, EVENT_LOAD)           \
    PLAIN_ACCESS(write##size, size, EVENT_STORE)         \
    PLAIN_ACCESS(unaligned_read##size, size, EVENT_LOAD) \
    PLAIN_ACCESS(unaligned_write##size, size, EVENT_STORE)

PLAIN_ACCESSES(1)
PLAIN_ACCESSES(2)
PLAIN_ACCESSES(4)
PLAIN_ACCESSES(8)
PLAIN_ACCESSES(16)

void __tsan_read_range(void *at, size_t size);
void __tsan_read_range(void *at, size_t size)
{
    plain(at, size, EVENT_LOAD, HERE);
}

void __tsan_write_range(void *at, size_t size);
void __tsan_write_range(void *at, size_t size)
{
    plain(at, size, EVENT_STORE, HERE);
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

/* The order of an atomic operation only says what it promises to others; the
 * operation itself is made with the strongest. */
#define ATOMICS(bits, type)                                                    \
    type __tsan_atomic##bits##_load(const volatile type *at, int order);       \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)        \
    {                                                                          \
        struct access a =                                                      \
            begin(at, sizeof(type), EVENT_ATOMIC_LOAD, order, HERE);           \
        uint64_t own;                                                          \
        type value = schedule_forwarded(at, sizeof(type), &own)                \
                         ? (type)own                                           \
                         : __atomic_load_n(at, __ATOMIC_SEQ_CST);              \
                                                                               \
        end(&a, value, false);                                                 \
        return value;                                                          \
    }                                                                          \
    void __tsan_atomic##bits##_store(volatile type *at, type value,            \
                                     int order);                               \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order) \
    {                                                                          \
        struct access a =                                                      \
            begin(at, sizeof(type), EVENT_ATOMIC_STORE, order, HERE);          \
                                                                               \
        type before =                                                          \
            a.shared ? __atomic_load_n(at, __ATOMIC_SEQ_CST) : value;          \
        bool waits =                                                           \
            a.shared && schedule_defer(at, sizeof(type), value, order);        \
                                                                               \
        if (!waits)                                                            \
            __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                     \
        end(&a, before, !waits && before != value);                            \
    }                                                                          \
    ATOMIC_RMW(bits, type, exchange, exchange_n)                               \
    ATOMIC_RMW(bits, type, fetch_add, fetch_add)                               \
    ATOMIC_RMW(bits, type, fetch_sub, fetch_sub)                               \
    ATOMIC_RMW(bits, type, fetch_and, fetch_and)                               \
    ATOMIC_RMW(bits, type, fetch_or, fetch_or)                                 \
    ATOMIC_RMW(bits, type, fetch_xor, fetch_xor)                               \
    ATOMIC_RMW(bits, type, fetch_nand, fetch_nand)                             \
    ATOMIC_CAS(bits, type, strong)                                             \
    ATOMIC_CAS(bits, type, weak)                                               \
    type __tsan_atomic##bits##_compare_exchange_val(                           \
        volatile type *at, type expected, type value, int order, int failed);  \
    type __tsan_atomic##bits##_compare_exchange_val(                           \
        volatile type *at, type expected, type value, int order, int failed)   \
    {                                                                          \
        struct access a =                                                      \
            begin(at, sizeof(type), EVENT_ATOMIC_RMW, order, HERE);            \
                                                                               \
        (void)failed;                                                          \
        bool done = __atomic_compare_exchange_n(                               \
            at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
        end(&a, expected, done);                                               \
        return expected;                                                       \
    }

#define ATOMIC_RMW(bits, type, name, builtin)                          \
    type __tsan_atomic##bits##_##name(volatile type *at, type value,   \
                                      int order);                      \
    type __tsan_atomic##bits##_##name(volatile type *at, type value,   \
                                      int order)                       \
    {                                                                  \
        struct access a =                                              \
            begin(at, sizeof(type), EVENT_ATOMIC_RMW, order, HERE);    \
        type before = __atomic_##builtin(at, value, __ATOMIC_SEQ_CST); \
                                                                       \
        end(&a, before, before != *at);                                \
        return before;                                                 \
    }

#define ATOMIC_CAS(bits, type, strength)                                       \
    int __tsan_atomic##bits##_compare_exchange_##strength(                     \
        volatile type *at, type *expected, type value, int order, int failed); \
    int __tsan_atomic##bits##_compare_exchange_##strength(                     \
        volatile type *at, type *expected, type value, int order, int failed)  \
    {                                                                          \
        struct access a =                                                      \
            begin(at, sizeof(type), EVENT_ATOMIC_RMW, order, HERE);            \
                                                                               \
        (void)failed;                                                          \
        int done = __atomic_compare_exchange_n(                                \
            at, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);   \
        end(&a, *expected, done);                                              \
        return done;                                                           \
    }

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    if (order == __ATOMIC_SEQ_CST)
        schedule_flush();
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (is_on())
        add_event((struct event){.kind = EVENT_FENCE,
                                 .order = (uint8_t)order,
                                 .place = witness_place(HERE)});
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

/* ---- functions that move bytes -------------------------------------------- */

/* The instrumented object's calls of NAME come to witness_NAME; clang calls
 * some of them __tsan_NAME. */

void *witness_memcpy(void *to, const void *from, size_t size);
void *witness_memcpy(void *to, const void *from, size_t size)
{
    plain(from, size, EVENT_LOAD, HERE);
    plain(to, size, EVENT_STORE, HERE);
    return memcpy(to, from, size);
}

void *witness_memmove(void *to, const void *from, size_t size);
void *witness_memmove(void *to, const void *from, size_t size)
{
    plain(from, size, EVENT_LOAD, HERE);
    plain(to, size, EVENT_STORE, HERE);
    return memmove(to, from, size);
}

void *witness_memset(void *to, int byte, size_t size);
void *witness_memset(void *to, int byte, size_t size)
{
    plain(to, size, EVENT_STORE, HERE);
    return memset(to, byte, size);
}

char *witness_strcpy(char *to, const char *from);
char *witness_strcpy(char *to, const char *from)
{
    plain(from, strlen(from) + 1, EVENT_LOAD, HERE);
    plain(to, strlen(from) + 1, EVENT_STORE, HERE);
    return strcpy(to, from);
}

char *witness_strncpy(char *to, const char *from, size_t size);
char *witness_strncpy(char *to, const char *from, size_t size)
{
    plain(from, strnlen(from, size), EVENT_LOAD, HERE);
    plain(to, size, EVENT_STORE, HERE);
    return strncpy(to, from, size);
}

size_t witness_strlen(const char *text);
size_t witness_strlen(const char *text)
{
    size_t length = strlen(text);

    plain(text, length + 1, EVENT_LOAD, HERE);
    return length;
}

void *__tsan_memcpy(void *to, const void *from, size_t size)
    __attribute__((alias("witness_memcpy")));
void *__tsan_memmove(void *to, const void *from, size_t size)
    __attribute__((alias("witness_memmove")));
void *__tsan_memset(void *to, int byte, size_t size)
    __attribute__((alias("witness_memset")));

int witness_memcmp(const void *a, const void *b, size_t size);
int witness_memcmp(const void *a, const void *b, size_t size)
{
    plain(a, size, EVENT_LOAD, HERE);
    plain(b, size, EVENT_LOAD, HERE);
    return memcmp(a, b, size);
}

/* ---- synchronization calls -------------------------------------------------- */

enum effect { ACQUIRES = 1, RELEASES = 2 };

/* What a call does to the object that its first argument points to. */
static unsigned effect_of(const char *family)
{
    static const struct {
        const char *family;
        unsigned effect;
    } effects[] = {{"pthread_mutex_lock", ACQUIRES},
                   {"pthread_mutex_trylock", ACQUIRES},
                   {"pthread_mutex_unlock", RELEASES},
                   {"pthread_rwlock_rdlock", ACQUIRES},
                   {"pthread_rwlock_tryrdlock", ACQUIRES},
                   {"pthread_rwlock_wrlock", ACQUIRES},
                   {"pthread_rwlock_trywrlock", ACQUIRES},
                   {"pthread_rwlock_unlock", RELEASES},
                   {"pthread_barrier_wait", ACQUIRES | RELEASES},
                   {"sem_wait", ACQUIRES},
                   {"sem_trywait", ACQUIRES},
                   {"sem_post", RELEASES}};

    for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++)
        if (strcmp(effects[i].family, family) == 0)
            return effects[i].effect;
    return 0;
}

static void sync_event(struct event e, unsigned effect)
{
    e.kind = effect == ACQUIRES ? EVENT_ACQUIRE : EVENT_RELEASE;
    add_event(e);
}

static const void *pointer(int64_t argument)
{
    return (const void *)(intptr_t)argument;
}

static void sync_address(const void *at, unsigned effect, bool owner_died)
{
    sync_event(at_address((struct event){.owner_died = owner_died}, at),
               effect);
}

static void sync_object(uint64_t space, uint64_t object, uint64_t offset,
                        unsigned effect)
{
    sync_event(
        (struct event){.space = space, .object = object, .offset = offset},
        effect);
}

static void sync_fd(int fd, unsigned effect)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        sync_object(st.st_dev, st.st_ino, UINT64_MAX, effect);
}

/* Adding to a semaphore releases, taking and waiting for 0 acquires. */
static void sync_semop(const int64_t *args, unsigned effect)
{
    const struct sembuf *ops = pointer(args[1]);

    for (int64_t i = 0; i < args[2]; i++)
        if ((ops[i].sem_op > 0) == (effect == RELEASES))
            sync_object(SPACE_SYSV_SEM, (uint64_t)args[0], ops[i].sem_num,
                        effect);
}

static bool is_lock_command(int64_t command)
{
    return command == F_SETLK || command == F_SETLKW ||
           command == F_OFD_SETLK || command == F_OFD_SETLKW;
}

/* One side of a call; false when the family is none of these. */
static bool sync_other(const char *family, const int64_t *args, int64_t result,
                       unsigned effect)
{
    if (strcmp(family, "semop") == 0)
        sync_semop(args, effect);
    else if (strcmp(family, "pthread_cond_wait") == 0)
        sync_address(pointer(args[1]), effect, result == EOWNERDEAD);
    else if (strcmp(family, "msgsnd") == 0 && effect == RELEASES)
        sync_object(SPACE_SYSV_QUEUE, (uint64_t)args[0], 0, effect);
    else if (strcmp(family, "msgrcv") == 0 && effect == ACQUIRES)
        sync_object(SPACE_SYSV_QUEUE, (uint64_t)args[0], 0, effect);
    else if ((strcmp(family, "mq_send") == 0 || strcmp(family, "write") == 0) &&
             effect == RELEASES)
        sync_fd((int)args[0], effect);
    else if ((strcmp(family, "mq_receive") == 0 ||
              strcmp(family, "read") == 0) &&
             effect == ACQUIRES)
        sync_fd((int)args[0], effect);
    else if (strcmp(family, "flock") == 0 &&
             ((args[1] & LOCK_UN) != 0) == (effect == RELEASES))
        sync_fd((int)args[0], effect);
    else if (strcmp(family, "lockf") == 0 &&
             (args[1] == F_ULOCK) == (effect == RELEASES))
        sync_fd((int)args[0], effect);
    else if (strcmp(family, "close") == 0 && effect == RELEASES)
        sync_fd((int)args[0], effect); /* gives its locks up, ends a stream */
    else if (strcmp(family, "fcntl") == 0 && is_lock_command(args[1]) &&
             (((const struct flock *)pointer(args[2]))->l_type == F_UNLCK) ==
                 (effect == RELEASES))
        sync_fd((int)args[0], effect);
    else
        return false;
    return true;
}

size_t witness_object_size(const char *family)
{
    static const struct {
        const char *prefix;
        size_t size_bytes;
    } kinds[] = {{"pthread_mutex_", sizeof(pthread_mutex_t)},
                 {"pthread_cond_", sizeof(pthread_cond_t)},
                 {"pthread_rwlock_", sizeof(pthread_rwlock_t)},
                 {"pthread_barrier_", sizeof(pthread_barrier_t)},
                 {"sem_", sizeof(sem_t)}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strncmp(family, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            return kinds[i].size_bytes;
    return 0;
}

/* The bytes of a mutex and the like, which have to be initialised before any
 * call uses them, and may not be destroyed before the last one has. */
static void note_object(const char *family, const void *at, uint64_t place)
{
    size_t size = witness_object_size(family);

    if (size == 0 || mapping_of((uintptr_t)at) == NULL)
        return;

    const char *what = strrchr(family, '_') + 1;
    struct event e = at_address((struct event){.kind = EVENT_USE,
                                               .size_bytes = (uint32_t)size,
                                               .place = place},
                                at);

    if (strcmp(what, "init") == 0 || strcmp(what, "destroy") == 0) {
        e.kind = what[0] == 'i' ? EVENT_INIT : EVENT_DESTROY;
        add_event(e);
    } else {
        note_load(&e, 0);
    }
}

void witness_before(const char *family, const int64_t *args, uint64_t place)
{
    if (!is_on())
        return;
    note_object(family, pointer(args[0]), place);
    if (strcmp(family, "pthread_cond_wait") == 0)
        note_object("pthread_mutex_", pointer(args[1]), place);
    if (effect_of(family) & RELEASES)
        sync_address(pointer(args[0]), RELEASES, false);
    else
        sync_other(family, args, 0, RELEASES);
}

void witness_after(const char *family, const int64_t *args, int64_t result)
{
    if (!is_on() || result == -1)
        return;
    if (strcmp(family, "waitpid") == 0) {
        if (result > 0)
            witness_joined((pid_t)result);
    } else if (effect_of(family) & ACQUIRES) {
        if (result == 0 || result == EOWNERDEAD ||
            result == PTHREAD_BARRIER_SERIAL_THREAD)
            sync_address(pointer(args[0]), ACQUIRES, result == EOWNERDEAD);
    } else {
        sync_other(family, args, result, ACQUIRES);
    }
}

/* ---- processes and threads ---------------------------------------------------- */

static _Atomic uint64_t births; /* a number for each child and thread */

static void sync_birth(uint64_t number, pid_t parent, unsigned effect)
{
    sync_object(SPACE_BIRTH, (uint64_t)parent, number, effect);
}

static void before_fork(void)
{
    if (is_on())
        sync_birth(atomic_fetch_add(&births, 1) + 1, getpid(), RELEASES);
}

static void in_child(void)
{
    task = 0;
    process = 0;
    schedule_in_child();
    if (is_on())
        sync_birth(atomic_load(&births), getppid(), ACQUIRES);
}

void witness_start(void)
{
    if (instrumented)
        pthread_atfork(before_fork, NULL, in_child);
}

/* A thread of the student's; its end is noted for who joins it. */
struct thread {
    void *(*start)(void *);
    void *arg;
    uint64_t number;
    pthread_t id;
    struct thread *next;
};
static struct thread *threads;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    void *result;

    sync_birth(t->number, getpid(), ACQUIRES);
    result = t->start(t->arg);
    sync_birth(t->number, getpid(), RELEASES);
    return result;
}

int witness_create(pthread_t *id, const pthread_attr_t *attr,
                   void *(*start)(void *), void *arg)
{
    struct thread *t = is_on() ? calloc(1, sizeof(*t)) : NULL;
    int err;

    if (t == NULL)
        return pthread_create(id, attr, start, arg);
    t->start = start;
    t->arg = arg;
    t->number = atomic_fetch_add(&births, 1) + 1;
    sync_birth(t->number, getpid(), RELEASES);
    err = pthread_create(id, attr, run_thread, t);
    pthread_mutex_lock(&threads_lock);
    t->id = *id;
    t->next = threads;
    threads = t;
    pthread_mutex_unlock(&threads_lock);
    return err;
}

int witness_join(pthread_t id, void **result)
{
    int err = pthread_join(id, result);

    if (err != 0 || !is_on())
        return err;
    pthread_mutex_lock(&threads_lock);
    for (struct thread *t = threads; t != NULL; t = t->next)
        if (pthread_equal(t->id, id)) {
            sync_birth(t->number, getpid(), ACQUIRES);
            break; /* the newest of that id */
        }
    pthread_mutex_unlock(&threads_lock);
    return err;
}
