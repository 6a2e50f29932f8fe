/* judge.h - what the parts of the judge share. */
#ifndef JUDGE_H
#define JUDGE_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "../kit.h"
#include "../proto.h"

/* ---- options (main.c) -------------------------------------------------- */

struct options {
    char **command;       /* starts the subject; its last word is the path */
    const char **sources; /* base names of the student's files, then NULL */
    int events_fd;
    bool valgrind;
    bool witness;         /* the student's object is instrumented */
    bool debug;           /* no deadlines; gdb in the scenario's process */
    const char *schedule; /* to be run alone and shown; or NULL */
    bool shared;          /* objects of this uid may be somebody else's */
    const char *journal;  /* file for the IPC objects that the run makes, a line
                          * each: "m 5" (or s, q), "/name"; or NULL */
};
extern struct options options;

/* ---- one test (test.c) ------------------------------------------------- */

enum status { PASSED, FAILED, CRASHED, TIMED_OUT, NOT_STARTED, BROKEN };

/* A text that grows. */
struct text {
    char *at; /* a string, or NULL while empty */
    size_t size;
};
void text_add(struct text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);

/* The test that runs now. */
struct test {
    const struct kit_test *is;
    const char *name;
    enum status status;
    char location[160]; /* "pipes.c:42", or "" */
    char stub[64];      /* the function still to be written, or "" */
    unsigned schedules; /* explored */
    char dir[64];       /* scratch directory, the scenarios' working one */
    const char *file;   /* of the verb that runs, for location */
    int line;
    struct subject *subjects; /* newest first */
    struct text leftovers;    /* JSON objects, separated by commas */
    struct text notes;        /* lines for the end of a failure's message */
    struct timespec began;
};
extern struct test test;

void test_begin(const struct kit_test *is);
void test_end(void);

/* The judge's own tests look at failures that are to come (test.c). */
struct expected_failure {
    bool armed;
    jmp_buf back;
    enum status status;
    char message[6000];
};
extern struct expected_failure expected_failure;

/* Ends the test.  The message is what text_add makes of the rest. */
_Noreturn void test_fail(enum status status, const char *location,
                         const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts what is left behind into the test's event. */
void test_left(const char *kind, const char *what);

/* Names of what the test handed over ("in"), by inode, for hang reports. */
void test_name_inode(unsigned long long inode, const char *name);
const char *test_inode_name(unsigned long long inode);

/* Things the judge made; closed or removed at the end (things.c). */
void things_release(void);
bool things_own_object(char kind, int id);
bool things_own_name(char kind, const char *name);
bool things_own_file(const char *path);
int things_shared_fd(const void *memory); /* -1: not of new_shared() */

/* ---- scenarios (subjects.c) --------------------------------------------- */

struct value {
    struct value *next;
    struct record head;
    unsigned char *data; /* of RECORD_STR and RECORD_BYTES */
    size_t size;
    size_t got;
};

enum { MOST_CHILDREN = 64 };

struct subject {
    struct subject *next;
    char scenario[NAME_BYTES * 2];
    uint32_t number;
    pid_t pid;   /* 0: not yet known */
    int channel; /* -1 once closed */
    int output;  /* memfd with what it printed */
    struct area *area;
    unsigned gates;       /* how many are open; the area's count is forgeable */
    struct value *values; /* newest first */
    size_t value_bytes;
    unsigned nvalues, ncrashes;
    pid_t children[MOST_CHILDREN]; /* that it forked, under Valgrind */
    unsigned nchildren;
    bool ready, done, ended;
    int status; /* wait status, once ended */
    bool inspected;
    struct table *fds; /* before the scenario ran */
    struct table *maps;
};

/* Receives what there is, for at most timeout_ms; `extra` is polled as well
 * (may be NULL). */
void subjects_receive(int timeout_ms, struct pollfd *extra);
/* Ends and forgets all scenarios, and every process they started. */
void subjects_end_all(void);
/* A memory file of that size for good, mapped; zero-filled. */
void *sealed_memory(const char *name, size_t size, int *fd);
/* The System V objects that this run has made. */
struct made *objects_made(void);
/* Notes an object by its id, or a name that a POSIX object may get. */
void journal_add(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The accesses to shared memory in this test. */
struct witness *witnessed_events(void);
/* A line for the report of a hang, if a race is behind it perhaps (races.c). */
void add_race(struct text *out);
void witness_reset(void);

/* ---- schedules (explore.c) ---- */

/* For a failed test: the schedule that runs now, if one does. */
void explore_add_schedule(struct text *t);
void explore_forget(void);
/* "A", "B" ... for a process that is a role of it, else "". */
const char *explore_role_name(pid_t pid);
/* The lines "shm_sync.c:41" of steps (races.c). */
enum { LINE_BYTES = 64 };
void lines_of(const struct step *steps, size_t n, char lines[][LINE_BYTES]);
void server_stop(void);
pid_t server_pid(void);

/* ---- gdb (debug.c) -------------------------------------------------------- */

void debug_scenario(struct subject *s);
void debug_ended(pid_t pid);
/* Waits until the user has left gdb. */
void debug_wait(void);

/* ---- waiting (wait.c) ---------------------------------------------------- */

/*
 * Waits until met(s, arg) holds.  Where the scenario has ended, hangs, is
 * busy or late, the test fails; `what` says what was waited for.  With
 * ended_ok, returns false when the scenario has ended instead.
 */
bool wait_until(struct subject *s, bool (*met)(struct subject *s, void *arg),
                void *arg, struct pollfd *extra, bool ended_ok,
                const char *what, ...) __attribute__((format(printf, 6, 7)));

/* After the end of a stream that the subject had open: was a process ended by a
 * signal?  Then the test fails with that; what is as for wait_until(). */
void fail_if_ended(const char *what, ...) __attribute__((format(printf, 1, 2)));
/* await_asleep() for one that may have ended, however. */
void await_sleep_or_end(struct subject *s);

/* Fails, if the last thing that the scenario told is what a function of the
 * student's returned, with that (expect.c). */
void fail_if_returned(const struct subject *s, const char *expected);

/* ---- the kernel's view (processes.c, hang.c) ----------------------------- */

struct process {
    pid_t pid;
    pid_t ppid;
    char state; /* as in /proc/PID/stat */
    unsigned long long cpu_ms;
    unsigned long long memory_kb; /* what lies in memory of it */
};

/* All processes of the subject: every descendant of the judge but the fork
 * server, its idle workers and the judge's own helpers.  Returns how many; *list
 * is to be freed. */
size_t processes_list(struct process **list);
char process_state(pid_t pid); /* '?': there is none */
/* O_RDONLY, O_WRONLY or O_RDWR; -1 when it can't be told. */
int process_fd_mode(pid_t pid, int fd);
/* Are `pid` or any of its ancestors below the judge equal to `root`? */
bool process_is_below(const struct process *list, size_t n, pid_t pid,
                      pid_t root);
void processes_helper(pid_t pid); /* 0: no helper now */

/* What a thread of a process does. */
struct blocked {
    long number; /* of the system call; -1: none (it runs) */
    unsigned long long args[6];
};
bool process_blocked(pid_t pid, pid_t tid, struct blocked *b);
/* Is it a wait of the runtime's for the judge? */
bool waits_for_judge(pid_t pid, const struct blocked *b);
/* Calls each(tid, arg) for every thread until one returns false. */
bool process_threads(pid_t pid, bool (*each)(pid_t pid, pid_t tid, void *arg),
                     void *arg);

/* A look at all processes of the subject. */
struct look {
    bool asleep;   /* they sleep, and nobody but the judge can wake one */
    bool still;    /* the same, or in a wait with a time-out (no nap) */
    bool runnable; /* one runs, or would if it got a processor */
    unsigned long long cpu_ms; /* the processor time they have used */
    unsigned long long memory_kb;
    unsigned long long segments_kb; /* in all of System V's, others' as well */
    unsigned long long print; /* the same in two looks: nobody ran in between */
};
struct look processes_look(void);

/* Is a thread of the scenario asleep in this system call (or its family)? */
bool process_sleeps_in(const struct subject *s, const char *call);

/* Does all of the scenario wait for the judge, none of it in another call? */
bool process_is_at_rest(const struct subject *s);

/* Lines that say what each process of the subject waits for. */
void hang_report(struct text *out, char *location, size_t location_size);
/* Where a thread is in the student's files; both "" when it can't be told. */
struct place {
    char where[420]; /* "pipe_send (pipes.c:42), called by ..." */
    char line[80];   /* "pipes.c:42" */
};
void locate(pid_t pid, pid_t tid, struct place *place);
/* Runs a program whose output is wanted; NULL where that does not work. */
FILE *tool_begin(pid_t *tool, char *const argv[]);
void tool_end(pid_t tool, FILE *output);

/* ---- leftovers (leftovers.c) --------------------------------------------- */

/* A set of lines, such as what /proc/PID/fd holds. */
struct table *table_of_fds(pid_t pid);
struct table *table_of_maps(pid_t pid);
void table_free(struct table *t);

void leftovers_begin(void);
/* Names and charges what the finished scenario holds that it did not at its
 * start.  Returns how many. */
unsigned leftovers_of(struct subject *s);
/* Names and charges the objects that are new since leftovers_begin(), removes
 * them if told to, and returns how many there are. */
unsigned leftovers_objects(bool remove);

/* Ends every process of the subject (see processes_list): stops all, then kills
 * all.  Strays are charged if told to. */
void processes_end_all(bool charge);

#endif
