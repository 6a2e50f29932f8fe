/*
 * bench.h - how `make bench` measures a mechanism through a lab's functions.
 *
 *     parent   reads the options, starts each pair, bounds its time, prints a
 *              line a size, removes what a pair left.  Runs no lab code.
 *     client   on one core: makes messages, sends them, reads the clock
 *     server   on the other core: receives, and answers or counts
 *
 * A driver (drive_NAME.c) puts one lab's functions behind `struct mechanism`;
 * the same loops then measure every mechanism.  How they do it is said in
 * measure.c.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum side { CLIENT, SERVER };

/* Every message size is a multiple of it. */
#define LINE_BYTES 64

/* ------------------------------------------------------------------------
 * 1. What the parent and its pair share (pair.c)
 */

enum trouble_kind {
    NO_TROUBLE,
    CALL_FAILED, /* a lab's function: call, err; ENOSYS is an untouched stub */
    DAMAGED,     /* a message did not arrive as it was sent */
    LATE,        /* the pair was ended at its deadline */
    DIED,        /* one of the two ended by itself */
    NOT_READY,   /* a call of the driver's own failed: call, err */
};

struct trouble {
    atomic_int kind; /* the first one is kept */
    const char *call;
    int err;
    char detail[160];
};

/* What one process of the pair is doing; on a cache line of its own. */
struct activity {
    _Alignas(LINE_BYTES) const char *call; /* the lab's function it is in */
    bool finished;
    unsigned meetings;
    unsigned long sleeps; /* voluntary context switches in the last job */
};

/* The work that the client hands out, the server takes part in. */
enum job_kind { STOP, CHECK, ROUND_TRIPS, STREAM, PROBE };

struct job {
    enum job_kind kind;
    unsigned long messages;
    uint64_t start_ns; /* before the client's first send */
    uint64_t end_ns;   /* when the server had the last one */
};

struct pair {
    struct trouble trouble;
    _Alignas(LINE_BYTES) atomic_uint arrived;
    _Alignas(LINE_BYTES) atomic_uint turn;
    struct activity doing[2];
    struct job job;
    uint64_t result[8]; /* what the client found out */
};

/* The pair of this process and who it is in it; NULL in the parent. */
extern struct pair *pair;
extern enum side side;

struct options {
    int cores[2];       /* the same one twice where there is only one */
    unsigned budget_ms; /* of each timed part */
    unsigned late_ms;   /* a pair that takes longer is ended */
    int out_fd;
};

/* Reads --cores A,B --ms N --late-ms N --out-fd N; what follows them begins at
 * argv[optind].  Ends the program with status 2 when they are wrong. */
void read_options(int argc, char *argv[], struct options *options);

/* Keeps this process on one core; -1 when that is refused. */
int pin(int core);

/* Memory that this process and its later children share, zero-filled, aligned
 * to a page.  Ends the program when there is none. */
void *shared_memory(size_t size_bytes);

/*
 * Starts client(arg) and server(arg), each in a process on its core, and waits
 * until both have returned, or one of them is in trouble, or it is late.  Both
 * have ended when this returns.  `p` is zero-filled shared memory.
 */
void run_pair(struct pair *p, const struct options *options,
              int (*work[2])(void *arg), void *arg);

/* Waits until the other process has come here as often as this one. */
void meet(void);

/* A cache line that goes from one to the other: whose turn it is. */
void pass_turn(unsigned turn);
void wait_turn(unsigned turn);

/* While waiting in a loop for what the other process does. */
void relax(unsigned long turn);

/* A driver's own call failed: -1, with the call and errno kept. */
int not_ready(const char *call);
int trouble(enum trouble_kind kind, const char *call, int err,
            const char *format, ...) __attribute__((format(printf, 4, 5)));

/* {"error": …} or nothing, for the line of a size. */
void print_trouble(FILE *out, const struct pair *p);

/* ------------------------------------------------------------------------
 * 2. Mechanisms (drive_NAME.c)
 */

/* What both processes know about the way that they are to open between them. */
struct route {
    size_t size;      /* of the messages, in bytes */
    const char *name; /* a file's name that no other route has */
};

/*
 * Functions that return int give 0, or -1 after trouble() or not_ready() or a
 * LAB() that failed.  `place`, `send`, `receive` and `release` work on messages
 * of the route's size and wait as long as need be.
 */
struct mechanism {
    const char *name;
    /* The largest message that it carries whole, in bytes; NULL: any. */
    size_t (*largest)(void);
    /* In the parent: what both are to inherit. */
    int (*prepare)(const struct route *r);
    /* In each process, the client first. */
    int (*open)(const struct route *r);
    /* Where to make the next message: memory of this process, or the place
     * that the other one will read.  NULL after an error. */
    void *(*place)(const struct route *r);
    /* Sends what was made there. */
    int (*send)(const struct route *r);
    /* The next message, good until release(); NULL after an error. */
    const void *(*receive)(const struct route *r);
    int (*release)(const struct route *r);
    /* In each process, the server first.  May be NULL. */
    int (*close)(const struct route *r);
    /* In the parent: removes whatever is left, and runs no lab code.  May be
     * NULL. */
    void (*remove)(const struct route *r);
};

/* A driver's mechanisms, with a NULL behind the last. */
extern const struct mechanism *const mechanisms[];

/*
 * Calls a lab's function and gives its result.  The name is kept, so that a
 * hang can be reported with it.
 */
#define LAB(function, ...) \
    (pair->doing[side].call = #function, function(__VA_ARGS__))

/* LAB's result is -1: trouble with the function's name and errno; -1. */
int lab_failed(void);

/* A lab's function said that it received n bytes, or -1: 0 when that is what was
 * sent, else trouble and -1. */
int right_size(ssize_t n, size_t sent);

/* ------------------------------------------------------------------------
 * 3. Measuring (measure.c, stats.c)
 */

/* Measures one mechanism at one size and prints its line; what went wrong. */
enum trouble_kind measure(const struct mechanism *m, const struct route *r,
                          const struct options *options, FILE *out);

/* For drivers of mechanisms that copy: room for a message to send and for one
 * that came, in memory of this process; made at the first call. */
void *own_place(const struct route *r);
void *own_room(const struct route *r);
int own_release(const struct route *r);

uint64_t now_ns(void);

/* The p-th part (0.5: the median) of n values; sorts them. */
uint64_t percentile(uint64_t *values, size_t n, double p);

#endif
