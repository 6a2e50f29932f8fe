/*
 * proto.h - what the judge and the subject say to each other.
 *
 * Four things connect them, and nothing else does:
 *  - the control socket (SOCK_SEQPACKET, one a subject program): the judge
 *    sends a request, with descriptors, for each scenario to start; the fork
 *    server answers with the pid of its process and, later, its wait status;
 *  - the channel (SOCK_SEQPACKET, one a scenario): records from the
 *    scenario's processes to the judge, one packet each, so that records of
 *    several processes never mix;
 *  - the area (a memfd mapped by both, one a scenario): gates that the judge
 *    opens, faults that it has planned, and the log of the calls made;
 *  - the list of objects made (a memfd, one a run), and its journal, a file that
 *    only grows, for who cleans up after a judge that was killed;
 *  - the list of accesses to shared memory (a memfd, one a run, emptied for
 *    each test).
 * All of it can be forged by the student's code.  The judge therefore checks
 * every length that comes from there, and believes no more than kit.h says.
 */
#ifndef PROTO_H
#define PROTO_H

#include <stdatomic.h>
#include <stdint.h>

#define ENV_CONTROL  "KIT_CONTROL"  /* descriptor of the control socket */
#define ENV_SUBJECT  "KIT_SUBJECT"  /* path of the subject program */
#define ENV_VALGRIND "KIT_VALGRIND" /* set under Valgrind */

enum {
    NAME_BYTES = 32,     /* a name, with its null byte */
    TEXT_BYTES = 200,    /* the text of a call, with its null byte */
    CHUNK_BYTES = 32768, /* the payload of one record */
    PARCEL_FDS = 16,     /* descriptors handed over by a test at most */
    FIXED_FDS = 7,       /* first: channel, area, parcel, output, made, witness,
                    * journal */
    FIRST_GIVEN_FD = 3,  /* where handed over descriptors appear */
    LAST_LOW_FD = 63,    /* below: kept free for the scenario */
    FIRST_KIT_FD = 500,  /* the runtime's own descriptors live above this */
    GATES = 64,
    FAULTS = 16,
    OBJECT_BYTES = 48, /* the name of an IPC object, with its null byte */
    LOGGED_CALLS = 4096,
    LOGGED_ARGS = 6,
    MADE_OBJECTS = 4096,
    WITNESSED_EVENTS = 1 << 17,
    MOST_WORKERS = 16, /* processes that wait for another scenario */
    CHOICES = 12,      /* in a schedule */
    STEPS = 1500
};

/* Judge to fork server, with FIXED_FDS + nfds descriptors. */
struct request {
    char scenario[NAME_BYTES * 2];
    char dir[128];   /* working directory */
    uint32_t number; /* of the start, for the answer */
    uint32_t nfds;
    uint32_t parcel_bytes;
};

/* Fork server to judge. */
struct answer {
    int32_t started; /* 1: pid runs now; 0: pid ended with status */
    int32_t pid;     /* -1: fork failed, status is errno */
    int32_t status;
    uint32_t number; /* the request's, where started is 1 */
    uint32_t idle;   /* 1: its scenario has ended, and it waits for another */
};

/*
 * One thing handed over, in the parcel (a memfd); its data follows, padded to
 * 8 bytes.  Kinds: 'f' descriptor, 'm' shared memory, 'i' integer, 's' string
 * (with its null byte), 'b' bytes.
 */
struct parcel_item {
    char name[NAME_BYTES];
    int64_t number; /* integer, or index among the descriptors of the request */
    uint64_t size_bytes;
    uint32_t kind;
    uint32_t pad;
};

enum record_kind {
    RECORD_READY, /* about to run; waits for GATE_RUN */
    RECORD_INT,   /* value */
    RECORD_STR,   /* payload */
    RECORD_BYTES, /* payload at offset of a value of size total bytes */
    RECORD_CALL,  /* value and err of the call in text */
    RECORD_CALL_PTR,
    RECORD_DONE,  /* the scenario returned; waits for GATE_END */
    RECORD_CHILD, /* under Valgrind: the process is one that was forked */
    RECORD_CRASH, /* signal value at address offset; stopped by SIGSTOP */
    RECORD_BROKEN /* the test is at fault: text, about the thing called name */
};

/* Scenario to judge; payload_bytes of payload follow in the same packet. */
struct record {
    uint32_t kind;
    int32_t err;
    int64_t value;
    uint64_t total_bytes;
    uint64_t offset;
    int32_t pid;
    uint32_t payload_bytes; /* at most CHUNK_BYTES */
    char name[NAME_BYTES];
    char text[TEXT_BYTES];
};

#define GATE_RUN "kit:run"
#define GATE_END "kit:end"
/* Open before GATE_END: nothing is left, another scenario may follow. */
#define GATE_AGAIN "kit:again"

/* Written by the judge before the start; `seen` counts in the subject. */
struct fault {
    char call[NAME_BYTES]; /* family, "=member", or "*" for a seeded plan */
    uint64_t limit_bytes;  /* of a short transfer */
    uint64_t seed;
    uint32_t first; /* calls first .. first + count - 1 */
    uint32_t count;
    int32_t err;            /* 0: a short transfer */
    int32_t argument;       /* counts only calls whose argument of this */
    int64_t argument_value; /* number has this value; -1: all calls */
    char gate[NAME_BYTES];  /* not "": holds the process there instead */
    int32_t after;          /* 1: when the call has been made */
    atomic_uint seen;
};

/* Arguments and results are logged with their bits turned: Valgrind would
 * take an address in the log for a way to reach the block. */
#define LOGGED(x) (~(int64_t)(x))

struct logged_call {
    char name[NAME_BYTES];
    char family[NAME_BYTES];
    char object[OBJECT_BYTES]; /* "/name", of shm_open and the like */
    int64_t args[LOGGED_ARGS]; /* LOGGED() */
    int64_t result;            /* LOGGED() */
    int64_t wait_ns;           /* its time-out; -1: none */
    int32_t err;               /* errno when it failed, else 0 */
    int32_t pid;
    atomic_uint complete; /* 1 once result and err are there */
    uint32_t nargs;
};

/*
 * A schedule of a small case: the judge writes who is to make which step, and
 * the roles, processes that take turns, follow it and list their steps
 * (subject/schedule.c, judge/explore.c).
 */
enum {
    NOBODY = -1,
    MOST_ROLES = 4,
    /* With a role's number in a choice: */
    ROLE_DIES = 0x100,
    ROLE_WAKES = 0x200, /* from a wait for a condition, without a signal */
    ROLE_NUMBER = 0xff
};
#define SCHEDULE_ENDED "kit:schedule" /* told, with its number */

struct choice {
    uint32_t step; /* before this one, counted from 0 ... */
    int32_t role;  /* ... this role goes on, or what is added to it */
};

/* Kinds of steps, beside those of events up to EVENT_ATOMIC_RMW. */
enum { STEP_CALL = 100, STEP_BEGIN };
#define IN_THE_BODY "in the body" /* a scenario's own step, may_switch() */

struct step {
    uint64_t space, object, offset, place; /* as of an event */
    uint32_t size_bytes;
    int8_t role;
    uint8_t kind, order;
    uint8_t ready;  /* roles that could have made a step instead, as bits */
    uint8_t asleep; /* roles in a wait for a condition, as bits */
    uint8_t free;   /* the role of the step before could not have gone on */
    uint8_t waits;  /* the call would have blocked */
    uint8_t dies, wakes;
    char name[NAME_BYTES];
};

enum role_state {
    ROLE_READY,
    ROLE_BLOCKED,
    ROLE_TIMED,   /* blocked in a call with a time-out */
    ROLE_YIELDED, /* until somebody else has changed something */
    ROLE_DONE,
    ROLE_DEAD
};

struct role {
    atomic_uint turn; /* a futex; 1: go on */
    int32_t state, pid;
    uint64_t space, object, offset; /* what it waits for */
    uint32_t ticket;                /* the order of those who wait */
    uint8_t kept;     /* nothing but another role's call ends the wait ... */
    uint8_t may_wake; /* ... or nothing at all: it is one for a condition */
    uint8_t timed_out;
    uint8_t to_write; /* it is, or was until now, one for a rwlock, to write */
};

struct schedule {
    /* by the judge */
    atomic_uint go;  /* a futex; 1: run this one */
    uint32_t number; /* of the schedule; 0: no more */
    uint32_t nchoices;
    struct choice choices[CHOICES];
    uint64_t seed;         /* not 0: in place of choices */
    uint32_t at_once;      /* no turns: the code is not instrumented */
    uint32_t buffered;     /* stores weaker than seq_cst wait in a buffer */
    uint32_t newest_first; /* a signal wakes who came last */
    /* by the subject, whose code can write here: no number is believed */
    atomic_uint explorer; /* a futex; 1: it has the turn */
    uint32_t nroles, nsteps, idle_rounds, tickets;
    uint32_t stuck, too_long, diverged;
    uint64_t effects;
    struct role roles[MOST_ROLES];
    struct step steps[STEPS];
};

struct area {
    atomic_uint gates_open; /* a futex; gates[0 .. gates_open - 1] are open */
    char gates[GATES][NAME_BYTES];
    uint32_t nfaults;
    struct fault faults[FAULTS];
    atomic_uint timers; /* 1 once a timer was armed: sleep is no hang then */
    _Atomic int64_t ahead_ns; /* of the real time, on the code's clocks */
    atomic_uint ncalls; /* may exceed LOGGED_CALLS: the rest is not logged */
    struct logged_call calls[LOGGED_CALLS];
    struct schedule schedule;
};

/* What the student's code did in shared memory, or to an object by which
 * processes synchronize (subject/witness.c, judge/races.c). */
enum event_kind {
    EVENT_LOAD,
    EVENT_STORE,
    EVENT_ATOMIC_LOAD,
    EVENT_ATOMIC_STORE,
    EVENT_ATOMIC_RMW,
    EVENT_FENCE,
    EVENT_ACQUIRE,
    EVENT_RELEASE,
    EVENT_JOIN,  /* offset: the process that was waited for */
    EVENT_START, /* by the judge: task begins now */
    /* Of a mutex, condition, semaphore ... as bytes in memory: */
    EVENT_INIT,
    EVENT_DESTROY,
    EVENT_USE
};

static inline int event_stores(int kind)
{
    return kind == EVENT_STORE || kind == EVENT_ATOMIC_STORE ||
           kind == EVENT_ATOMIC_RMW || kind == EVENT_INIT ||
           kind == EVENT_DESTROY;
}

static inline int event_is_atomic(int kind)
{
    return kind >= EVENT_ATOMIC_LOAD && kind <= EVENT_ATOMIC_RMW;
}

/* What `space` is where it is not a file system's device number; no device
 * number has the high bit. */
#define SPACE_PRIVATE    0x8000000000000001u /* object: the process */
#define SPACE_SYSV_SHM   0x8000000000000002u
#define SPACE_SYSV_SEM   0x8000000000000003u
#define SPACE_SYSV_QUEUE 0x8000000000000004u
#define SPACE_ANONYMOUS  0x8000000000000005u
#define SPACE_BIRTH      0x8000000000000006u /* of a child or a thread */
#define SPACE_NAMES      0x8000000000000007u /* what a name or key stands for */

struct event {
    uint64_t space, object, offset; /* of shared memory: device, inode */
    uint64_t place;                 /* in the program, from its base */
    uint32_t size_bytes;
    int32_t task; /* thread */
    int32_t pid;
    uint8_t kind;
    uint8_t order;      /* of an atomic: __ATOMIC_RELAXED ... */
    uint8_t owner_died; /* of a lock */
    uint8_t pad;
    atomic_uint complete; /* 1 once all of it is there */
};

struct witness {
    atomic_uint n; /* may exceed WITNESSED_EVENTS: the rest is not there */
    atomic_uint unwatched; /* 1: there were more mappings than can be watched */
    struct event events[WITNESSED_EVENTS];
};

/*
 * The System V objects that this run has made: the shim adds those of the
 * student's code, the judge its own.  One for all scenarios of a run.  An
 * object that is not here is somebody else's, and is not removed.
 */
struct made {
    atomic_uint n;
    _Atomic int64_t objects[MADE_OBJECTS]; /* MADE_OBJECT(kind, id) */
};
#define MADE_OBJECT(kind, id) ((int64_t)(kind) << 32 | (uint32_t)(id))

static inline int made_has(const struct made *m, int kind, int id)
{
    unsigned n = atomic_load(&m->n);

    for (unsigned i = 0; i < n && i < MADE_OBJECTS; i++)
        if (atomic_load(&m->objects[i]) == MADE_OBJECT(kind, id))
            return 1;
    return 0;
}

static inline void made_add(struct made *m, int kind, int id)
{
    unsigned i = atomic_fetch_add(&m->n, 1);

    if (i < MADE_OBJECTS)
        atomic_store(&m->objects[i], MADE_OBJECT(kind, id));
}

#endif
