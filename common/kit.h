/*
 * kit.h - what a test file of a lab may use.
 *
 * A test file is compiled twice.  With KIT_JUDGE it becomes half of the
 * judge: the program that decides.  With KIT_SUBJECT it becomes half of the
 * subject: the program that the student's code is linked into.  The two meet
 * over a socket only, so that nothing the student's code does (exit, a
 * constructor, a function of its own that is called write) can decide a test.
 *
 *     SCENARIO(copy_all)                      runs in the subject
 *     {
 *         char buf[100];
 *         CALL("got", pipe_read_full(given_fd("in"), buf, sizeof(buf)));
 *         tell_bytes("data", buf, sizeof(buf));
 *     }
 *
 *     TEST(read_full, goes_on_after_a_short_read)    runs in the judge
 *     {
 *         struct ends p = new_pipe();
 *         struct subject *s = START(copy_all, FD("in", p.r));
 *         peer_write(p.w, data, 40);
 *         await_blocked(s, "read");
 *         peer_write(p.w, data + 40, 60);
 *         finish(s);
 *         expect_return(s, "got", 100);
 *         expect_bytes(s, "data", data, 100);
 *     }
 *
 * The rules:
 *  - A scenario calls the student's functions and tells what they returned.
 *    It judges nothing and holds no expected value.
 *  - A test calls no function of the student's.  It believes what it can see
 *    from outside: bytes that came through a channel, the kernel's state, and
 *    told values, checked against data made up after the subject had started.
 *  - A test never sleeps and never blocks for good: every verb below that
 *    waits ends when the value came, when the subject ended, when all its
 *    processes are asleep with nobody left to wake them (a hang: the report
 *    says who waits for what), when it has used up its processor time (a busy
 *    loop), or at the deadline.  In the last four cases the test fails.
 *  - What a test opens with the verbs below is closed when the test ends.
 *    What the subject leaves behind is named, charged and removed.
 */
#ifndef KIT_H
#define KIT_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "names.h"   /* both halves: errno_name(), signal_name() */
#include "overlap.h" /* both halves: race control */

#if defined(KIT_JUDGE) == defined(KIT_SUBJECT)
#error "compile a test file with exactly one of KIT_JUDGE and KIT_SUBJECT"
#endif

/* ------------------------------------------------------------------------
 * The subject's half: inside SCENARIO(name) { ... }
 */

/* What the test handed over, by name.  An unknown name ends the scenario, and
 * the test fails. */
int given_fd(const char *name);
long long given_int(const char *name);
const char *given_str(const char *name);
const void *given_bytes(const char *name, size_t *size_bytes);
/* The memory of SHARE(), at an address of this process's own. */
void *given_shared(const char *name, size_t *size_bytes);

/* Tells the judge a value.  Any process of the scenario may, forked ones
 * too.  Of several values with one name the judge sees the last. */
void tell_int(const char *name, long long value);
void tell_str(const char *name, const char *text);
void tell_bytes(const char *name, const void *data, size_t size_bytes);
#define reached(name) tell_int((name), 1)

/*
 * Calls a function of the student's and tells what it returned, the errno it
 * left and the text of the call, in which given_int("n") and its like stand as
 * their values.  The value of the whole is what the function returned.  CALL is
 * for integers, CALL_PTR for pointers.
 */
#define CALL(name, expr)     (errno = 0, call_int((name), #expr, (long long)(expr)))
#define CALL_PTR(name, expr) (errno = 0, call_ptr((name), #expr, (expr)))
long long call_int(const char *name, const char *text, long long value);
void *call_ptr(const char *name, const char *text, const void *value);

/* Blocks until the test says let_go(s, name). */
void wait_for(const char *name);

/*
 * A small case for explore(): processes that do little, to be run in every
 * order of their steps.  run_schedules() is the scenario's last call.
 */
struct small_case {
    void (*prepare)(void);  /* before each schedule; NULL: nothing to do */
    void (*roles[4])(void); /* up to four, each in a process of its own */
    void (*check)(void);    /* after each: tells what is to be judged */
};
void run_schedules(const struct small_case *c);
/* A step of the scenario's own, as in the body of a critical section: another
 * role may go on here. */
void may_switch(void);
/* Lets all others go first, for a scenario that looks again and again. */
void stand_back(void);

/*
 * A program to be executed by the student's code (pipe_capture and the like):
 *     TOOL(upper) { ... read(0), write(1); return 0; }
 * is run by executing TOOL_ARGV("upper", "argument"), an array of strings for
 * execv.  In the tool, argv[0] is its name and argv[1] the first argument.
 */
#define TOOL_ARGV(...) \
    ((char *[]){tool_program(), (char *)"--tool", __VA_ARGS__, NULL})
char *tool_program(void);

/* ------------------------------------------------------------------------
 * The judge's half: inside TEST(group, name) { ... }
 */

/* A process of the subject that runs a scenario. */
struct subject;

/* One thing to hand over at the start; made by the macros below. */
struct give {
    enum {
        GIVE_END,
        GIVE_FD,      /* the judge's copy is closed */
        GIVE_LENT_FD, /* the judge keeps its copy */
        GIVE_INT,
        GIVE_STR,
        GIVE_BYTES,
        GIVE_SHARED,
        GIVE_FAULT
    } kind;
    const char *name;
    long long number; /* descriptor, integer, or first call of a fault */
    const void *data;
    size_t size_bytes;
    unsigned count; /* of a fault: how many calls in a row */
    int err;        /* of a fault: errno, or 0 for a short transfer */
    bool after;     /* of HOLD_AFTER */
    int argument;   /* of FAIL_WHEN: its number, from 1; 0: none */
    long long argument_value;
};

/*
 * Starts a scenario in a process of its own; it runs at once.
 *     START(copy_all, FD("in", p.r), INT("size", 100))
 *     START(create, NOTHING)
 */
#define START(scenario, ...) \
    start_subject(#scenario, (const struct give[]){__VA_ARGS__, NOTHING})
#define NOTHING        GIVEN(GIVE_END, NULL, .number = 0)
#define FD(n, fd)      GIVEN(GIVE_FD, n, .number = (fd))
#define LEND_FD(n, fd) GIVEN(GIVE_LENT_FD, n, .number = (fd))
#define INT(n, v)      GIVEN(GIVE_INT, n, .number = (v))
#define STR(n, s)      GIVEN(GIVE_STR, n, .data = (s))
#define BYTES(n, p, size) \
    GIVEN(GIVE_BYTES, n, .data = (p), .size_bytes = (size))
#define SHARE(n, p) GIVEN(GIVE_SHARED, n, .data = (p)) /* of new_shared() */
#define GIVEN(kind_, name_, ...) \
    ((struct give){.kind = (kind_), .name = (name_), __VA_ARGS__})

/*
 * Faults, at the calls that the student's object file makes (and nobody
 * else's).  Calls are counted from 1 over all processes of the scenario.
 *     FAIL("read", 1, 1, EINTR)    the 1st read() returns -1 with EINTR and
 *                                  has done nothing
 *     FAIL("shmget", 2, 1, ENOSPC) the 2nd shmget() fails
 *     FAIL_WHEN("shmctl", 1, IPC_RMID, 2, 1, EPERM)    only calls whose
 *                                  argument 1 (the second) is IPC_RMID count
 *     SHORT("write", 1, 100, 7)    calls 1 to 100 transfer at most 7 bytes
 *     CHAOS(seed)                  every call that may be short or interrupted
 *                                  is so, or not, as the seed says
 * A name stands for its family, so that any correct solution meets the fault:
 * "read" is read, readv, recv, recvfrom, recvmsg; "write" is write, writev,
 * send, sendto, sendmsg; "pipe" is pipe, pipe2; "fork" is fork, posix_spawn,
 * posix_spawnp; "waitpid" is wait, waitpid, wait4, waitid; "poll" is poll,
 * ppoll, select, pselect, epoll_wait; "open" is open, openat, creat; "dup" is
 * dup, dup2, dup3; "mmap", "accept", "semop" take in their variants.  To mean
 * one member only, write "=write".  Of pthreads: "pthread_mutex_lock",
 * "pthread_rwlock_rdlock", "pthread_rwlock_wrlock" and "pthread_cond_wait"
 * take in the variants with a time-out, "pthread_cond_signal" is signal and
 * broadcast, "sem_wait" takes in the variants with a time-out; functions that
 * return the number of the error do so.
 *
 * And places to stop at, by which a test runs two processes in the order that
 * shows a race, every time:
 *     HOLD("msgsnd", 1, "sending")         before the 1st msgsnd(): the
 *                                  process says await(s, "sending") and goes
 *                                  on once the test says let_go(s, "sending")
 *     HOLD_AFTER("shm_open", 1, "made")    the same, when the call has been
 *                                  made and before the code sees its result
 *     HOLD("store", 3, "half")     before its 3rd store to shared memory, in
 *                                  a lab with a witness (below); "load" and
 *                                  "atomic" likewise, of which "=atomic_load",
 *                                  "=atomic_store" and "=atomic_rmw" are
 *                                  members
 *     SPURIOUS(1, 2)               the 1st and 2nd wait for a condition end
 *                                  without a signal, as POSIX allows
 */
#define FAIL(call, nth, n, error) \
    GIVEN(GIVE_FAULT, call, .number = (nth), .count = (n), .err = (error))
#define FAIL_WHEN(call, argument_, value, nth, n, error)                   \
    GIVEN(GIVE_FAULT, call, .number = (nth), .count = (n), .err = (error), \
          .argument = (argument_) + 1, .argument_value = (value))
#define SHORT(call, nth, n, most_bytes)                    \
    GIVEN(GIVE_FAULT, call, .number = (nth), .count = (n), \
          .size_bytes = (most_bytes))
#define HOLD(call, nth, gate) \
    GIVEN(GIVE_FAULT, call, .number = (nth), .count = 1, .data = (gate))
#define HOLD_AFTER(call, nth, gate)                                      \
    GIVEN(GIVE_FAULT, call, .number = (nth), .count = 1, .data = (gate), \
          .after = true)
#define SPURIOUS(nth, n)                                                  \
    GIVEN(GIVE_FAULT, "pthread_cond_wait", .number = (nth), .count = (n), \
          .err = SPURIOUS_WAKEUP)
#define SPURIOUS_WAKEUP (-1)
#define CHAOS(seed)     GIVEN(GIVE_FAULT, "*", .number = (seed))

/* A deadline that is to be refused, EINVAL: less than -1, for ever.  Of whole
 * seconds: who adds it to the time has one that is over, never one whose
 * nanoseconds are below 0, for which the C library says EINVAL in his stead. */
#define BELOW_FOR_EVER_MS (-2000)

struct subject *start_subject(const char *scenario, const struct give *gives);
pid_t subject_pid(const struct subject *s);

/* Waits for the scenario's end.  A crash, a hang, or an end by exit() instead
 * of a return fails the test, and the message says which and where.  (Under
 * Valgrind a process that holds nothing may wait for its next scenario then.) */
void finish(struct subject *s);
/* The same for a scenario that is to end by a signal, which is returned (0 if
 * it returned normally). */
int finish_by_signal(struct subject *s);
/* Ends the scenario's process and every process it started, by SIGKILL. */
void kill_subject(struct subject *s);

/* Stops every process of the scenario (SIGSTOP), and lets them go on.  Whoever
 * is woken in between, as by pthread_cond_signal(), is off the queue of those
 * who wait, and acts on it only then. */
void freeze(struct subject *s);
void thaw(struct subject *s);

/* So many milliseconds pass at once, on every clock that the student's code
 * reads in this scenario; its deadlines are over so much sooner.  A wait that
 * has begun is as long as it was: see to it that another one comes. */
void time_passes(struct subject *s, unsigned ms);

/* Waits until a value of that name was told. */
void await(struct subject *s, const char *name);
/* Waits until a process of the scenario sleeps in that system call
 * ("read", "semop", "wait4"); where the kernel has several names for one
 * call, any of them is meant. */
void await_blocked(struct subject *s, const char *call);
/* Waits until all processes of the scenario sleep (in wait_for, too), or it has
 * returned, or the test has ended it, or it has napped several times since
 * (nanosleep(2) and the like, a poll(2) or select(2) of nothing), as one does
 * who looks again and again.  Fails when its code has ended the process. */
void await_asleep(struct subject *s);
/* The same, where a wait with a time-out counts as sleep: for one that is to
 * end long after the test. */
void await_still(struct subject *s);
/* Ends the scenario's wait_for(name). */
void let_go(struct subject *s, const char *name);

/* Told values.  A name that was never told fails the test. */
bool was_told(struct subject *s, const char *name);
long long got_int(struct subject *s, const char *name);
const char *got_str(struct subject *s, const char *name);
const void *got_bytes(struct subject *s, const char *name, size_t *size_bytes);
/* Copies a value that has this very size; another size fails the test. */
void got_copy(struct subject *s, const char *name, void *buf,
              size_t size_bytes);
int got_errno(struct subject *s, const char *name);

/*
 * Assertions.  Each fails the test with two lines, "expected: ..." and
 * "seen: ...", in the words of the call: the text of CALL, the value, the
 * name of the errno.
 */
void expect_return(struct subject *s, const char *name, long long value);
void expect_at_least(struct subject *s, const char *name, long long value);
/* -1 (for CALL_PTR: NULL) with this errno */
void expect_error(struct subject *s, const char *name, int err);
void expect_pointer(struct subject *s, const char *name); /* not NULL */
void expect_int(struct subject *s, const char *name, long long value);
void expect_str(struct subject *s, const char *name, const char *text);
void expect_bytes(struct subject *s, const char *name, const void *data,
                  size_t size_bytes);

/*
 * Any other fact.  `expected` is a phrase; the rest is a printf format for
 * what was seen.
 *     EXPECT(ds.shm_nattch == 1, "1 process attached", "%lu attached",
 *            (unsigned long)ds.shm_nattch);
 */
#define EXPECT(condition, expected, ...)                                \
    do {                                                                \
        if (!(condition))                                               \
            fail_expected(__FILE__, __LINE__, (expected), __VA_ARGS__); \
    } while (0)
_Noreturn void fail_expected(const char *file, int line, const char *expected,
                             const char *seen, ...)
    __attribute__((format(printf, 4, 5)));
/* The machine or the test is at fault, not the student ("broken"). */
#define REQUIRE(condition)                               \
    do {                                                 \
        if (!(condition))                                \
            fail_broken(__FILE__, __LINE__, #condition); \
    } while (0)
_Noreturn void fail_broken(const char *file, int line, const char *what);

/* Fails when the finished scenario left a descriptor, a child, a mapping, an
 * IPC object or a file behind.  (All are charged to the cleanup points in any
 * case; this makes it a test's verdict.) */
void expect_nothing_left(struct subject *s);

/*
 * The calls that the student's object file made, in order.  `call` is a
 * family, or one member of it ("=shmat"), as with FAIL.  Arguments and calls
 * are numbered from 0; arguments are given as integers.
 */
unsigned calls_made(struct subject *s, const char *call);
long long call_argument(struct subject *s, const char *call, unsigned nth,
                        unsigned argument);
long long call_result(struct subject *s, const char *call, unsigned nth);
/* For how long it may wait at most, in ns, as its time-out says, or the point in
 * time (not above 0: that is over).  -1: there is none. */
long long call_wait_ns(struct subject *s, const char *call, unsigned nth);
/* Each of these calls so far may wait for 20 ms at most, or has no time-out: who
 * looks again by itself soon sees what has happened meanwhile. */
void expect_short_waits(struct subject *s, const char *call);
void expect_called(struct subject *s, const char *call);
void expect_not_called(struct subject *s, const char *call);

/* Waits until one process is in the body and the others have come in as well
 * (the test fails) or are held off; then lets it go on.  Call it once all who
 * compete were started. */
void expect_alone(struct overlap *o);

/*
 * In a lab whose lab.toml says `witness = true`, every load, store and atomic
 * operation of the student's code in shared memory is recorded, except under
 * Valgrind: witnessed() says whether.  Fails when two processes or threads
 * have got at the same bytes, at least one to write, and nothing orders the
 * two: no lock, semaphore, message, fork or wait, and no release that the
 * other acquired.  One schedule shows it, whatever the processor did: run the
 * writer, then the reader, and ask.  What was done before a scenario's START
 * is ordered before it, so start those that compete before they do.
 * (Lamport, "Time, Clocks, and the Ordering of Events", 1978; C11 5.1.2.4.)
 */
bool witnessed(void);
void expect_no_race(void);

/*
 * Runs the small case of the scenario s, which calls run_schedules(), in every
 * schedule of at most so many preemptions: the steps are the accesses of the
 * student's code to shared memory and its calls that synchronize.  In none may
 * there be a race, a wait without end, or what check() finds wrong with the
 * values that were told.  A failure comes with the schedule.  Where the code
 * has no witness, the processes run at once, in no order and one time.
 */
struct exploration {
    unsigned preemptions; /* of a role that could have gone on */
    unsigned deaths;      /* of roles, by SIGKILL before any of their steps */
    unsigned spared;      /* by that: roles, as bits */
    unsigned wakes;       /* from waits for a condition, without a signal */
    unsigned drawn;       /* further schedules, without that bound, by seed */
    unsigned patience;    /* while one waits, for more than a mutex, others are
                           * in the body (may_switch) so often at most; 0: no
                           * bound */
    bool buffered; /* all once more, where stores weaker than seq_cst wait */
    bool newest_first; /* all once more, where a signal wakes who came last of
                        * those who wait, not first: POSIX promises neither */
    void (*check)(struct subject *s, unsigned deaths); /* or NULL */
};
void explore(struct subject *s, const struct exploration *e);

/*
 * Things to hand over.  All are the judge's, closed or removed at the end of
 * the test.  Descriptors are close-on-exec.
 */
struct ends {
    int r; /* read end */
    int w; /* write end */
};
struct ends new_pipe(void);
void new_socketpair(int pair[2]); /* AF_UNIX, SOCK_STREAM */
/* An empty directory for this test alone; ends with no slash. */
const char *new_dir(void);
/* A file with this content in a directory of its own; its path.  Not charged
 * when it is still there at the end. */
const char *new_file(const void *data, size_t size_bytes);
/* A System V key that no object uses, another at each call. */
key_t new_key(void);
/* A name for shm_open, sem_open, mq_open that nobody uses: "/kit-..." */
const char *new_name(void);
/* Zero-filled memory for SHARE(). */
void *new_shared(size_t size_bytes);
/*
 * Says that the judge made this System V object, or takes it over: removed at
 * the end and not charged to the student.  kind is 'm' shm, 's' sem, 'q'
 * queue.  The student's code can remove only what this run has made: IPC_RMID
 * of another object, such as one that a program of the user's own uses, gives
 * EPERM.
 */
void judges_object(char kind, int id);
/* The same for a POSIX object by its name: 'm' shm_open, 's' sem_open, 'q'
 * mq_open.  It is unlinked at the end and not charged.  And for 'f': a file or
 * socket in new_dir(), by its path. */
void judges_name(char kind, const char *name);
/* The same for a descriptor that the test has opened itself: closed at the end,
 * unless FD() hands it over.  Returns it. */
int judges_fd(int fd);
/* Unpredictable bytes, other ones at each run. */
void fill_random(void *buf, size_t size_bytes);
unsigned random_below(unsigned limit);

/* Closes a descriptor of new_pipe() or new_socketpair() early: *fd becomes
 * -1. */
void shut(int *fd);

/* The judge as the peer: with the deadlines of the rules above. */
void peer_write(int fd, const void *data, size_t size_bytes);
/* Reads until size or end of file; returns the bytes read. */
size_t peer_read(int fd, void *buf, size_t size_bytes);
/* Fails unless the next thing to come is the end of file. */
void peer_expect_eof(int fd);
/* What can be read now without waiting. */
size_t peer_read_now(int fd, void *buf, size_t size_bytes);

/* True when the subject runs under Valgrind: take smaller sizes then. */
bool under_valgrind(void);

/* Each verb that can fail notes where it stands, for the report. */
void note_place(const char *file, int line);
#define KIT_HERE(call)          (note_place(__FILE__, __LINE__), call)
#define start_subject(...)      KIT_HERE((start_subject)(__VA_ARGS__))
#define finish(s)               KIT_HERE((finish)(s))
#define finish_by_signal(s)     KIT_HERE((finish_by_signal)(s))
#define kill_subject(s)         KIT_HERE((kill_subject)(s))
#define freeze(s)               KIT_HERE((freeze)(s))
#define await(...)              KIT_HERE((await)(__VA_ARGS__))
#define await_blocked(...)      KIT_HERE((await_blocked)(__VA_ARGS__))
#define await_asleep(s)         KIT_HERE((await_asleep)(s))
#define await_still(s)          KIT_HERE((await_still)(s))
#define got_int(...)            KIT_HERE((got_int)(__VA_ARGS__))
#define got_str(...)            KIT_HERE((got_str)(__VA_ARGS__))
#define got_bytes(...)          KIT_HERE((got_bytes)(__VA_ARGS__))
#define got_copy(...)           KIT_HERE((got_copy)(__VA_ARGS__))
#define got_errno(...)          KIT_HERE((got_errno)(__VA_ARGS__))
#define expect_return(...)      KIT_HERE((expect_return)(__VA_ARGS__))
#define expect_at_least(...)    KIT_HERE((expect_at_least)(__VA_ARGS__))
#define expect_error(...)       KIT_HERE((expect_error)(__VA_ARGS__))
#define expect_pointer(...)     KIT_HERE((expect_pointer)(__VA_ARGS__))
#define expect_int(...)         KIT_HERE((expect_int)(__VA_ARGS__))
#define expect_str(...)         KIT_HERE((expect_str)(__VA_ARGS__))
#define expect_bytes(...)       KIT_HERE((expect_bytes)(__VA_ARGS__))
#define expect_nothing_left(s)  KIT_HERE((expect_nothing_left)(s))
#define expect_called(...)      KIT_HERE((expect_called)(__VA_ARGS__))
#define expect_not_called(...)  KIT_HERE((expect_not_called)(__VA_ARGS__))
#define expect_short_waits(...) KIT_HERE((expect_short_waits)(__VA_ARGS__))
#define expect_alone(o)         KIT_HERE((expect_alone)(o))
#define expect_no_race()        KIT_HERE((expect_no_race)())
#define explore(...)            KIT_HERE((explore)(__VA_ARGS__))
#define call_argument(...)      KIT_HERE((call_argument)(__VA_ARGS__))
#define call_result(...)        KIT_HERE((call_result)(__VA_ARGS__))
#define call_wait_ns(...)       KIT_HERE((call_wait_ns)(__VA_ARGS__))
#define peer_write(...)         KIT_HERE((peer_write)(__VA_ARGS__))
#define peer_read(...)          KIT_HERE((peer_read)(__VA_ARGS__))
#define peer_expect_eof(fd)     KIT_HERE((peer_expect_eof)(fd))

/* ------------------------------------------------------------------------
 * The macros that make one file two programs: in each, the other one's
 * functions are inline and unused, and so are checked but not compiled in.
 */
#define KIT_UNUSED __attribute__((unused))
/* Before a test file's own functions, whichever half uses them. */
#define HELPER KIT_UNUSED static inline

#ifdef KIT_JUDGE
#include <check.h>

struct kit_test {
    const char *group;
    const TTest *const *test;
    unsigned wall_ms; /* 0: the runtime's own */
};

/*
 * A test.  Its group is a group of lab.toml, its name a sentence.
 * TEST_WITHIN states a deadline of its own in milliseconds of wall time: the
 * last resort, for a test that waits long by design.
 */
#define TEST_WITHIN(group_, name_, wall_ms_)                             \
    static const TTest *name_;                                           \
    static const struct kit_test kit_test_##name_ = {#group_, &name_,    \
                                                     wall_ms_};          \
    static const struct kit_test *const kit_test_ptr_##name_             \
        __attribute__((used, section("kit_tests"))) = &kit_test_##name_; \
    START_TEST(name_)
#define TEST(group, name) TEST_WITHIN(group, name, 0)
#define SCENARIO(name)    HELPER void scenario_##name(void)
#define TOOL(name) \
    HELPER int tool_##name(KIT_UNUSED int argc, KIT_UNUSED char **argv)
#else
struct kit_scenario {
    const char *name;
    void (*run)(void);
    int (*tool)(int argc, char **argv);
};
#define TEST_WITHIN(group, name, wall_ms) HELPER void test_##name(void)
#define TEST(group, name)                 TEST_WITHIN(group, name, 0)
#define KIT_REGISTER(kind_, name_, member_)                           \
    static const struct kit_scenario kit_##kind_##_##name_ = {        \
        .name = #name_, .member_ = kind_##_##name_};                  \
    static const struct kit_scenario *const kit_##kind_##_ptr_##name_ \
        __attribute__((used, section("kit_scenarios"))) =             \
            &kit_##kind_##_##name_;
#define SCENARIO(name)                 \
    static void scenario_##name(void); \
    KIT_REGISTER(scenario, name, run)  \
    static void scenario_##name(void)
#define TOOL(name)                                 \
    static int tool_##name(int argc, char **argv); \
    KIT_REGISTER(tool, name, tool)                 \
    static int tool_##name(KIT_UNUSED int argc, KIT_UNUSED char **argv)
#endif

#endif
