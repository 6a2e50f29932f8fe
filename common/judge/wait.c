/*
 * wait.c - how the judge waits: never for good, and never by the clock where
 * the kernel can tell more.
 *
 * A wait ends early in two cases.  A hang: every process of the subject
 * sleeps in a call that does not end by itself, in several looks in a row,
 * and none has run in between; then nobody is left to wake them.  A busy
 * loop: the subject has used more processor time than any right code needs.
 * Neither depends on how loaded the machine is.  The deadline in wall time is
 * the last resort, for code that sleeps and looks in turn.
 */
#include "judge.h"

#include <time.h>

#include "subjects.h"

enum {
    LOOK_EVERY_MS = 20,
    LOOKS_FOR_A_HANG = 5,
    CPU_MS = 2000,
    SPIN_MS = 200,
    WALL_MS = 20000,
    VALGRIND_FACTOR = 10,    /* of processor time */
    VALGRIND_WALL_FACTOR = 3 /* of time that passes */
};

struct watch {
    struct timespec began;
    unsigned long long print; /* of the last look */
    unsigned same;            /* looks in a row with that fingerprint */
    unsigned long long cpu_at_start;
    bool looked;
};

static unsigned late_tests; /* that ended at the deadline, in this run */

static long elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 +
           (now.tv_nsec - since->tv_nsec) / 1000000;
}

static long wall_limit_ms(void)
{
    long limit = test.is->wall_ms != 0 ? (long)test.is->wall_ms : WALL_MS;

    if (late_tests >= 2) /* a file that is late everywhere: do not wait long */
        limit /= 8;
    return options.valgrind ? limit * VALGRIND_WALL_FACTOR : limit;
}

/* Has the code closed the channel that it did not open? */
static bool lost_channel(void)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (s->channel == -1 && !s->ended)
            return true;
    return false;
}

static _Noreturn void fail_waiting(const char *what, const char *seen)
{
    struct text report = {0};
    char location[160];

    if (lost_channel())
        seen = "your code has closed a descriptor that it did not open: the "
               "one by which the test hears of it";
    hang_report(&report, location, sizeof(location));

    static char kept[4000]; /* test_fail() does not come back */

    snprintf(kept, sizeof(kept), "%s", report.at != NULL ? report.at : "");
    text_free(&report);
    test_fail(TIMED_OUT, location, "expected: %s\nseen: %s\n%s", what, seen,
              kept);
}

static void look(struct watch *w, const char *what)
{
    unsigned long long print, cpu_ms;
    long cpu_limit = options.valgrind ? CPU_MS * VALGRIND_FACTOR : CPU_MS;
    bool asleep = processes_asleep(&print, &cpu_ms);

    if (!w->looked) {
        w->looked = true;
        w->cpu_at_start = cpu_ms;
    }
    w->same = asleep && print == w->print ? w->same + 1 : 0;
    w->print = print;
    if (w->same >= LOOKS_FOR_A_HANG)
        fail_waiting(what, "a hang: every process of your program sleeps, and "
                           "nobody is left to wake one");
    if (cpu_ms > w->cpu_at_start + (unsigned long)cpu_limit)
        fail_waiting(what, "a busy loop: your program has used 2 seconds of "
                           "processor time (20 under Valgrind) and goes on");
    if (elapsed_ms(&w->began) > wall_limit_ms()) {
        late_tests++;
        fail_waiting(what, "the time is up, and your program goes on");
    }
}

struct nap_search {
    unsigned long long print;
    unsigned same;
    struct timespec last;
};

static bool is_asleep(struct subject *s, void *arg)
{
    struct nap_search *n = arg;
    unsigned long long print, cpu_ms;

    if (s->done || s->ended)
        return true;
    if (elapsed_ms(&n->last) < 4)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &n->last);
    n->same = processes_asleep(&print, &cpu_ms) && print == n->print
                  ? n->same + 1
                  : 0;
    n->print = print;
    return n->same >= 2;
}

void(await_asleep)(struct subject *s)
{
    struct nap_search n = {.print = 0};

    wait_until(s, is_asleep, &n, NULL, true, "your program waits");
}

static bool is_entered(struct subject *s, void *arg)
{
    (void)s;
    return atomic_load(&((struct overlap *)arg)->inside) > 0 ||
           atomic_load(&((struct overlap *)arg)->entries) > 0;
}

/* The others sleep before the lock, or have turned before it for long. */
static bool are_held_off(struct watch *w)
{
    unsigned long long print, cpu_ms;
    bool asleep = processes_asleep(&print, &cpu_ms);

    if (!w->looked) {
        w->looked = true;
        w->cpu_at_start = cpu_ms;
    }
    w->same = asleep && print == w->print ? w->same + 1 : 0;
    w->print = print;
    return w->same >= LOOKS_FOR_A_HANG || cpu_ms > w->cpu_at_start + SPIN_MS ||
           elapsed_ms(&w->began) > wall_limit_ms();
}

void(expect_alone)(struct overlap *o)
{
    struct watch w = {.print = 0};

    wait_until(NULL, is_entered, o, NULL, false,
               "a process enters the critical section");
    clock_gettime(CLOCK_MONOTONIC, &w.began);
    while (atomic_load(&o->most) < 2 && !are_held_off(&w))
        subjects_receive(LOOK_EVERY_MS, NULL);
    if (atomic_load(&o->most) >= 2)
        test_fail(FAILED, NULL,
                  "expected: one process at a time in the critical section\n"
                  "seen: %u in it at once",
                  atomic_load(&o->most));
    overlap_release(o);
}

static bool all_ended(void)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (!s->ended && !s->done)
            return false;
    return true;
}

bool wait_until(struct subject *s, bool (*met)(struct subject *s, void *arg),
                void *arg, struct pollfd *extra, bool ended_ok,
                const char *what, ...)
{
    struct watch w = {.print = 0};
    char expected[300];
    va_list args;
    long next_look = LOOK_EVERY_MS;
    unsigned after_end = 0;

    va_start(args, what);
    vsnprintf(expected, sizeof(expected), what, args);
    va_end(args);
    clock_gettime(CLOCK_MONOTONIC, &w.began);
    for (;;) {
        subjects_receive(0, extra);
        if (met(s, arg))
            return true;
        /* What it told before its end has been received: one round more. */
        if ((s != NULL ? s->ended : all_ended()) && after_end++ >= 1) {
            if (ended_ok)
                return false;
            if (s == NULL)
                s = test.subjects;
            if (s != NULL)
                fail_ended(s, expected);
            test_fail(FAILED, NULL, "expected: %s\nseen: nothing of the kind",
                      expected);
        }
        if (after_end == 0)
            subjects_receive(options.debug ? 100 : 2, extra);
        if (met(s, arg))
            return true;
        if (!options.debug && elapsed_ms(&w.began) >= next_look) {
            look(&w, expected);
            next_look = elapsed_ms(&w.began) + LOOK_EVERY_MS;
        }
    }
}
