/*
 * clock.c - the time that the student's code sees, and the time that it waits.
 *
 * What time_passes() has added stands on each clock that the code reads, and
 * so in each point in time that it makes of it; from there it is taken off
 * before the real call.  To read a clock is no step, and is not logged.
 */
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "subject.h"

enum { NS_PER_S = 1000000000 };

static int64_t ahead_ns(void)
{
    return scenario_state.area == NULL
               ? 0
               : atomic_load(&scenario_state.area->ahead_ns);
}

static struct timespec plus(struct timespec t, int64_t ns)
{
    t.tv_sec += ns / NS_PER_S;
    t.tv_nsec += ns % NS_PER_S;
    if (t.tv_nsec >= NS_PER_S) {
        t.tv_nsec -= NS_PER_S;
        t.tv_sec++;
    } else if (t.tv_nsec < 0) {
        t.tv_nsec += NS_PER_S;
        t.tv_sec--;
    }
    return t;
}

/* Not a clock of processor time, whose numbers are these and negative ones. */
static bool goes_by_itself(clockid_t clock)
{
    return clock >= 0 && clock != CLOCK_PROCESS_CPUTIME_ID &&
           clock != CLOCK_THREAD_CPUTIME_ID;
}

int shim_clock_gettime(clockid_t clock, struct timespec *t);
int shim_clock_gettime(clockid_t clock, struct timespec *t)
{
    int ret = clock_gettime(clock, t);

    if (ret == 0 && goes_by_itself(clock))
        *t = plus(*t, ahead_ns());
    return ret;
}

int shim_timespec_get(struct timespec *t, int base);
int shim_timespec_get(struct timespec *t, int base)
{
    int ret = timespec_get(t, base);

    if (ret == TIME_UTC)
        *t = plus(*t, ahead_ns());
    return ret;
}

int shim_gettimeofday(struct timeval *t, void *zone);
int shim_gettimeofday(struct timeval *t, void *zone)
{
    int ret = gettimeofday(t, zone);

    if (ret == 0 && t != NULL) {
        struct timespec later =
            plus((struct timespec){t->tv_sec, t->tv_usec * 1000}, ahead_ns());

        t->tv_sec = later.tv_sec;
        t->tv_usec = later.tv_nsec / 1000;
    }
    return ret;
}

time_t shim_time(time_t *t);
time_t shim_time(time_t *t)
{
    struct timespec now = {.tv_sec = 0};

    shim_clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL)
        *t = now.tv_sec;
    return now.tv_sec;
}

/* ---- points in time ------------------------------------------------------ */

/* The real point in time; what is none stays what it is. */
static struct timespec real_time(struct timespec t)
{
    if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= NS_PER_S)
        return t;
    t = plus(t, -ahead_ns());
    return t.tv_sec < 0 ? (struct timespec){.tv_sec = 0} : t;
}

const struct timespec *clock_real(const struct timespec *t)
{
    static _Thread_local struct timespec changed;

    if (t == NULL || ahead_ns() == 0)
        return t;
    changed = real_time(*t);
    return &changed;
}

/* Of a timer, where it is set to a point in time. */
const struct itimerspec *clock_real_timer(bool is_point,
                                          const struct itimerspec *t)
{
    static _Thread_local struct itimerspec changed;
    bool is_armed =
        t != NULL && (t->it_value.tv_sec != 0 || t->it_value.tv_nsec != 0);

    if (!is_point || !is_armed || ahead_ns() == 0)
        return t;
    changed = *t;
    changed.it_value = real_time(t->it_value);
    if (changed.it_value.tv_sec == 0 && changed.it_value.tv_nsec == 0)
        changed.it_value.tv_nsec = 1; /* 0 would disarm it */
    return &changed;
}

/* ---- time-outs ------------------------------------------------------------ */

static int64_t ns_of(const struct timespec *t)
{
    return t == NULL ? -1
                     : (int64_t)((uint64_t)t->tv_sec * NS_PER_S +
                                 (uint64_t)t->tv_nsec);
}

static int64_t ns_until(const struct timespec *t, clockid_t clock)
{
    struct timespec now = {.tv_sec = 0};

    if (t == NULL)
        return -1;
    shim_clock_gettime(clock, &now);
    return ns_of(t) - ns_of(&now);
}

/* Of a condition, which alone knows its clock: the nearer one. */
static int64_t ns_until_by_any(const struct timespec *t)
{
    int64_t real = ns_until(t, CLOCK_REALTIME);
    int64_t monotonic = ns_until(t, CLOCK_MONOTONIC);

    return llabs(real) < llabs(monotonic) ? real : monotonic;
}

/* The time-outs of calls, by number of the argument. */
static const struct time_out {
    const char *call;
    unsigned argument;
    enum {
        FOR_S,
        FOR_MS,
        FOR_US,
        FOR_TIMESPEC,
        FOR_TIMEVAL,
        UNTIL,
        UNTIL_ON
    } is;
} time_outs[] = {{"sleep", 0, FOR_S},
                 {"usleep", 0, FOR_US},
                 {"nanosleep", 0, FOR_TIMESPEC},
                 {"thrd_sleep", 0, FOR_TIMESPEC},
                 {"poll", 2, FOR_MS},
                 {"epoll_wait", 3, FOR_MS},
                 {"ppoll", 2, FOR_TIMESPEC},
                 {"select", 4, FOR_TIMEVAL},
                 {"pselect", 4, FOR_TIMESPEC},
                 {"semtimedop", 3, FOR_TIMESPEC},
                 {"sem_timedwait", 1, UNTIL},
                 {"sem_clockwait", 2, UNTIL_ON},
                 {"mq_timedsend", 4, UNTIL},
                 {"mq_timedreceive", 4, UNTIL},
                 {"pthread_cond_timedwait", 2, UNTIL},
                 {"pthread_cond_clockwait", 3, UNTIL_ON},
                 {"pthread_mutex_timedlock", 1, UNTIL},
                 {"pthread_mutex_clocklock", 2, UNTIL_ON},
                 {"pthread_rwlock_timedrdlock", 1, UNTIL},
                 {"pthread_rwlock_clockrdlock", 2, UNTIL_ON},
                 {"pthread_rwlock_timedwrlock", 1, UNTIL},
                 {"pthread_rwlock_clockwrlock", 2, UNTIL_ON}};

static int64_t futex_wait_ns(const int64_t *args)
{
    const struct timespec *t = (const void *)(intptr_t)args[3];
    int op = (int)args[1] & FUTEX_CMD_MASK;

    if (op == FUTEX_WAIT)
        return ns_of(t);
    return op == FUTEX_WAIT_BITSET ? ns_until_by_any(t) : -1;
}

static int64_t time_out_ns(const struct time_out *t, const int64_t *args)
{
    int64_t arg = args[t->argument];
    const void *at = (const void *)(intptr_t)arg;
    const struct timeval *tv = at;

    switch (t->is) {
    case FOR_S:
        return arg * NS_PER_S;
    case FOR_MS:
        return (int)arg < 0 ? -1 : (int64_t)(int)arg * 1000000;
    case FOR_US:
        return arg * 1000;
    case FOR_TIMESPEC:
        return ns_of(at);
    case FOR_TIMEVAL:
        return tv == NULL ? -1 : tv->tv_sec * NS_PER_S + tv->tv_usec * 1000;
    case UNTIL:
        return ns_until_by_any(at);
    case UNTIL_ON:
        return ns_until(at, (clockid_t)args[t->argument - 1]);
    }
    return -1;
}

/* For how long it waits at most; -1: no call that says so. */
int64_t clock_wait_ns(const char *name, const int64_t *args)
{
    if (strcmp(name, "futex") == 0)
        return futex_wait_ns(args);
    if (strcmp(name, "clock_nanosleep") == 0)
        return (args[1] & TIMER_ABSTIME) != 0
                   ? ns_until((const void *)(intptr_t)args[2],
                              (clockid_t)args[0])
                   : ns_of((const void *)(intptr_t)args[2]);
    for (size_t i = 0; i < sizeof(time_outs) / sizeof(time_outs[0]); i++)
        if (strcmp(name, time_outs[i].call) == 0)
            return time_out_ns(&time_outs[i], args);
    return -1;
}
