/*
 * wait.c - how the judge waits: never for good, and never by the clock where
 * the kernel can tell more.
 *
 * A wait ends early in three cases.  A hang: every process of the subject
 * sleeps in a call that does not end by itself, in several looks in a row,
 * and none has run in between; then nobody is left to wake them.  A busy
 * loop, or a growing one: the subject has used more processor time, or taken
 * more memory, than any right code needs.
 * Neither depends on how loaded the machine is.  The deadline is the last
 * resort, for code that sleeps and looks in turn; it leaves out the time in
 * which a process of the subject waits for a processor.
 */
#include "judge.h"

#include <sys/stat.h>
#include <time.h>

#include "subjects.h"

enum {
    LOOK_EVERY_MS = 20,
    NAP_LOOK_EVERY_MS = 4, /* where sleep is what is waited for */
    LOOKS_FOR_A_HANG = 5,
    NAPS = 3, /* that are taken for waiting */
    CPU_MS = 2000,
    SPIN_MS = 200,
    MEMORY_MB = 128, /* right code takes under 10, under Valgrind under 200 */
    MUCH_MEMORY_MB = 32, /* for code that has used up its processor time */
    OUTPUT_MB = 16,
    WALL_MS = 20000,
    SLOW_RUN_MS = 90000,  /* of 180000, see run.py */
    STARVED_FACTOR = 4,   /* a deadline for all, however starved */
    VALGRIND_FACTOR = 10, /* of processor time */
    VALGRIND_MEMORY_FACTOR = 8,
    VALGRIND_WALL_FACTOR = 3 /* of time that passes */
};

struct watch {
    struct timespec began;
    unsigned looks;
    struct look last;
    unsigned naps_at_start;
    unsigned same; /* looks in a row that found all asleep, as the one before */
    unsigned still; /* the same, where waits with a time-out count as sleep */
    unsigned long long cpu_at_start;
    unsigned long long segments_at_start;
    long last_ms; /* of the last look, since began */
    long idle_ms; /* time in which none was kept from running */
};

static unsigned late_tests; /* that ended at the deadline, in this run */
static struct timespec run_began;

static long elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000 +
           (now.tv_nsec - since->tv_nsec) / 1000000;
}

static unsigned times_valgrind(unsigned most, unsigned factor)
{
    return options.valgrind ? most * factor : most;
}

static long wall_limit_ms(void)
{
    unsigned limit = test.is->wall_ms != 0 ? test.is->wall_ms : WALL_MS;

    /* A file that is late, or slow, everywhere: do not wait long. */
    if (late_tests >= 2 || elapsed_ms(&run_began) > SLOW_RUN_MS)
        limit /= 8;
    return (long)times_valgrind(limit, VALGRIND_WALL_FACTOR);
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
    add_race(&report);

    static char kept[4000]; /* test_fail() does not come back */

    snprintf(kept, sizeof(kept), "%s", report.at != NULL ? report.at : "");
    text_free(&report);
    test_fail(TIMED_OUT, location, "expected: %s\nseen: %s\n%s", what, seen,
              kept);
}

static void watch_begin(struct watch *w)
{
    *w = (struct watch){.looks = 0};
    clock_gettime(CLOCK_MONOTONIC, &w->began);
}

static void watch_look(struct watch *w)
{
    struct look now = processes_look();
    long now_ms = elapsed_ms(&w->began);

    if (w->looks++ == 0) {
        w->cpu_at_start = now.cpu_ms;
        w->segments_at_start = now.segments_kb;
    }
    w->same = now.asleep && now.print == w->last.print ? w->same + 1 : 0;
    w->still = now.still && now.print == w->last.print ? w->still + 1 : 0;
    if (!now.runnable)
        w->idle_ms += now_ms - w->last_ms;
    w->last = now;
    w->last_ms = now_ms;
}

/* Has it used more than ms of processor time since the first look? */
static bool has_used(const struct watch *w, unsigned ms)
{
    return w->last.cpu_ms > w->cpu_at_start + ms;
}

/* What its processes have, and what segments have grown since the first look. */
static unsigned memory_mb(const struct watch *w)
{
    unsigned long long kb = w->last.memory_kb, before = w->segments_at_start;

    if (w->last.segments_kb > before)
        kb += w->last.segments_kb - before;
    return (unsigned)(kb / 1024);
}

/* The kernel may take long to give a page: the processor time is up first. */
static bool takes_memory(const struct watch *w, bool cpu_is_up)
{
    return memory_mb(w) > times_valgrind(cpu_is_up ? MUCH_MEMORY_MB : MEMORY_MB,
                                         VALGRIND_MEMORY_FACTOR);
}

/* What all of them have printed. */
static unsigned output_mb(void)
{
    off_t sum = 0;
    struct stat file;

    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (fstat(s->output, &file) == 0)
            sum += file.st_size;
    return (unsigned)(sum >> 20);
}

static _Noreturn void fail_busy(const struct watch *w, const char *what,
                                bool cpu_is_up)
{
    char seen[200];

    if (takes_memory(w, cpu_is_up))
        snprintf(seen, sizeof(seen),
                 "memory without end: your program has taken %u MB of it, and "
                 "goes on",
                 memory_mb(w));
    else
        snprintf(seen, sizeof(seen),
                 "a busy loop: your program has used %u seconds of processor "
                 "time, and goes on",
                 times_valgrind(CPU_MS, VALGRIND_FACTOR) / 1000);
    fail_waiting(what, seen);
}

static bool is_late(const struct watch *w)
{
    return w->idle_ms > wall_limit_ms() ||
           w->last_ms > STARVED_FACTOR * wall_limit_ms();
}

/* Looks, and fails the test where there is no more to wait for. */
static void look_or_fail(struct watch *w, const struct subject *s,
                         const char *what)
{
    watch_look(w);
    if (w->same >= LOOKS_FOR_A_HANG && s != NULL && process_is_at_rest(s))
        fail_if_returned(s, what);
    if (w->same >= LOOKS_FOR_A_HANG)
        fail_waiting(what, "a hang: every process of your program sleeps, and "
                           "nobody is left to wake one");
    if (output_mb() >= OUTPUT_MB)
        fail_waiting(what,
                     "output without end: your program has printed 16 MB, "
                     "and goes on");

    bool cpu_is_up = has_used(w, times_valgrind(CPU_MS, VALGRIND_FACTOR));

    if (cpu_is_up || takes_memory(w, false))
        fail_busy(w, what, cpu_is_up);
    if (is_late(w)) {
        late_tests++;
        fail_waiting(what, "the time is up, and your program goes on");
    }
}

/* Short sleeps, as of one who looks again and again. */
static unsigned naps_of(struct subject *s)
{
    return calls_made(s, "nanosleep");
}

static bool is_asleep(struct subject *s, void *arg)
{
    struct watch *w = arg;

    if (s->done || s->ended || naps_of(s) >= w->naps_at_start + NAPS)
        return true;
    if (elapsed_ms(&w->began) - w->last_ms >= NAP_LOOK_EVERY_MS)
        watch_look(w);
    return w->same >= 2;
}

static bool is_still(struct subject *s, void *arg)
{
    struct watch *w = arg;

    return is_asleep(s, w) || w->still >= 2;
}

static void wait_for_sleep(struct subject *s,
                           bool (*met)(struct subject *s, void *arg))
{
    struct watch w;

    watch_begin(&w);
    w.naps_at_start = naps_of(s);
    wait_until(s, met, &w, NULL, true, "your program waits");
}

/* One that has ended otherwise than by its return does not wait. */
static void fail_if_it_died(struct subject *s)
{
    subjects_receive(0, NULL); /* what it told before its end */
    if (s->ended && !s->done && !s->inspected)
        fail_ended(s, "your program waits, or returns");
}

void await_sleep_or_end(struct subject *s)
{
    wait_for_sleep(s, is_asleep);
}

void(await_asleep)(struct subject *s)
{
    await_sleep_or_end(s);
    fail_if_it_died(s);
}

void(await_still)(struct subject *s)
{
    wait_for_sleep(s, is_still);
    fail_if_it_died(s);
}

/* Descriptors are closed before the end of their process can be seen. */
void fail_if_ended(const char *what, ...)
{
    char expected[300];
    va_list args;

    va_start(args, what);
    vsnprintf(expected, sizeof(expected), what, args);
    va_end(args);
    for (struct subject *s = test.subjects; s != NULL; s = s->next) {
        if (s->inspected || s->done)
            continue;
        await_sleep_or_end(s);
        if (s->ended && !s->done && WIFSIGNALED(s->status))
            fail_ended(s, expected);
    }
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
    watch_look(w);
    return w->same >= LOOKS_FOR_A_HANG || has_used(w, SPIN_MS) || is_late(w);
}

void(expect_alone)(struct overlap *o)
{
    struct watch w;

    wait_until(NULL, is_entered, o, NULL, false,
               "a process enters the critical section");
    watch_begin(&w);
    while (atomic_load(&o->most) < 2 && !are_held_off(&w))
        subjects_receive(NAP_LOOK_EVERY_MS, NULL);
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
    struct watch w;
    char expected[300];
    va_list args;
    long next_look = LOOK_EVERY_MS;
    unsigned after_end = 0;

    va_start(args, what);
    vsnprintf(expected, sizeof(expected), what, args);
    va_end(args);
    watch_begin(&w);
    if (run_began.tv_sec == 0)
        run_began = w.began;
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
            look_or_fail(&w, s, expected);
            next_look = elapsed_ms(&w.began) + LOOK_EVERY_MS;
        }
    }
}
