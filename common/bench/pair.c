/*
 * pair.c - two processes on two cores, and a parent that outlives them.
 *
 * The parent runs no lab code, so that it can end a pair that hangs and remove
 * what it left.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "names.h"

/* After so many turns of a loop the other one may not be running at all. */
#define TURNS_BEFORE_YIELD 2000

struct pair *pair;
enum side side;
static bool one_core;

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(2);
}

void read_options(int argc, char *argv[], struct options *options)
{
    static const struct option known[] = {
        {"cores", required_argument, NULL, 'c'},
        {"ms", required_argument, NULL, 'm'},
        {"late-ms", required_argument, NULL, 'l'},
        {"out-fd", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    int option;

    *options = (struct options){{-1, -1}, 50, 5000, 1};
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'c')
            sscanf(optarg, "%d,%d", &options->cores[0], &options->cores[1]);
        else if (option == 'm')
            options->budget_ms = (unsigned)atoi(optarg);
        else if (option == 'l')
            options->late_ms = (unsigned)atoi(optarg);
        else if (option == 'o')
            options->out_fd = atoi(optarg);
        else
            exit(2);
    }
    one_core = options->cores[0] == options->cores[1];
}

void *shared_memory(size_t size_bytes)
{
    void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    return memory;
}

/* ------------------------------------------------------------------------
 * In the two processes
 */

void relax(unsigned long turn)
{
    if (one_core || turn % TURNS_BEFORE_YIELD == TURNS_BEFORE_YIELD - 1) {
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

void meet(void)
{
    unsigned wanted = 2 * ++pair->doing[side].meetings;

    atomic_fetch_add(&pair->arrived, 1);
    while (atomic_load(&pair->arrived) < wanted)
        sched_yield();
}

void pass_turn(unsigned turn)
{
    atomic_store_explicit(&pair->turn, turn, memory_order_release);
}

void wait_turn(unsigned turn)
{
    for (unsigned long i = 0;
         atomic_load_explicit(&pair->turn, memory_order_acquire) != turn; i++)
        relax(i);
}

int trouble(enum trouble_kind kind, const char *call, int err,
            const char *format, ...)
{
    struct trouble *t = &pair->trouble;
    int none = NO_TROUBLE;
    va_list args;

    if (!atomic_compare_exchange_strong(&t->kind, &none, (int)kind))
        return -1;
    t->call = call;
    t->err = err;
    va_start(args, format);
    vsnprintf(t->detail, sizeof(t->detail), format, args);
    va_end(args);
    return -1;
}

int not_ready(const char *call)
{
    return trouble(NOT_READY, call, errno, "%s failed", call);
}

int lab_failed(void)
{
    const char *call = pair->doing[side].call;

    return trouble(CALL_FAILED, call, errno, "%s failed with %s", call,
                   errno_name(errno));
}

int right_size(ssize_t n, size_t sent)
{
    const char *call = pair->doing[side].call;

    if (n == (ssize_t)sent)
        return 0;
    if (n == -1)
        return lab_failed();
    return trouble(DAMAGED, call, 0, "%s returned %zd; %zu bytes were sent",
                   call, n, sent);
}

int pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return sched_setaffinity(0, sizeof(set), &set);
}

_Noreturn static void be(enum side who, pid_t parent, int core,
                         int (*work)(void *arg), void *arg)
{
    int status;

    side = who;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (pin(core) == -1)
        _exit(not_ready("sched_setaffinity") == -1);
    status = work(arg) == -1;
    pair->doing[who].finished = true;
    _exit(status);
}

/* ------------------------------------------------------------------------
 * In the parent
 */

static pid_t start(struct pair *p, const struct options *options, enum side who,
                   int (*work)(void *arg), void *arg)
{
    pid_t parent = getpid();
    pid_t pid;

    pair = p;
    pid = fork();
    if (pid == -1)
        die("fork");
    if (pid == 0) {
        sigset_t none;

        close(options->out_fd);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        be(who, parent, options->cores[who], work, arg);
    }
    return pid;
}

/* One of the two has ended: is there anything to say about it? */
static bool ended_well(enum side who, int status)
{
    const char *name = who == CLIENT ? "client" : "server";
    const char *call = pair->doing[who].call;

    if (pair->doing[who].finished)
        return WEXITSTATUS(status) == 0;
    if (WIFSIGNALED(status))
        trouble(DIED, call, 0, "the %s was killed by %s in or after %s", name,
                signal_name(WTERMSIG(status)), call ? call : "its start");
    else
        trouble(DIED, call, 0, "the %s exited with status %d in or after %s",
                name, WEXITSTATUS(status), call ? call : "its start");
    return false;
}

static void say_late(unsigned late_ms)
{
    static const char *const jobs[] = {"opening", "the checked messages",
                                       "round trips", "a stream", "the probe"};
    const char *a = pair->doing[CLIENT].call, *b = pair->doing[SERVER].call;

    trouble(LATE, a, 0,
            "not done after %.1f s, in %s; last called: %s by the client, "
            "%s by the server",
            late_ms / 1000.0, jobs[pair->job.kind], a ? a : "nothing",
            b ? b : "nothing");
}

/* Until one of the signals (blocked) comes, and no longer than that: a parent
 * that woke up to look would take time from the two that are measured. */
static void wait_ns(const sigset_t *signals, uint64_t ns)
{
    struct timespec most = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    sigtimedwait(signals, NULL, &most);
}

/* Takes the ends of processes until both are gone; kills them at the first
 * trouble and at the deadline. */
static void wait_for(pid_t pids[2], unsigned late_ms)
{
    const uint64_t deadline = now_ns() + late_ms * UINT64_C(1000000);
    sigset_t child;
    int left = 2;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (left > 0) {
        uint64_t now = now_ns();
        bool kill_all = now >= deadline;

        if (kill_all)
            say_late(late_ms);
        for (int i = 0; i < 2; i++) {
            int status;
            if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) > 0) {
                kill_all = !ended_well((enum side)i, status) || kill_all;
                pids[i] = 0;
                left--;
            }
        }
        for (int i = 0; i < 2 && kill_all; i++)
            if (pids[i] > 0)
                kill(pids[i], SIGKILL);
        if (left > 0)
            wait_ns(&child, now < deadline ? deadline - now : 10000000);
    }
}

void run_pair(struct pair *p, const struct options *options,
              int (*work[2])(void *arg), void *arg)
{
    pid_t pids[2];
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    for (int who = CLIENT; who <= SERVER; who++)
        pids[who] = start(p, options, (enum side)who, work[who], arg);
    wait_for(pids, options->late_ms);
}

void print_trouble(FILE *out, const struct pair *p)
{
    static const char *const kinds[] = {"",     "call", "damaged",
                                        "late", "died", "not_ready"};
    const struct trouble *t = &p->trouble;

    fprintf(out, "\"error\": \"%s\", \"call\": \"%s\", \"errno\": \"%s\", ",
            kinds[t->kind], t->call ? t->call : "",
            t->err ? errno_name(t->err) : "");
    fprintf(out, "\"detail\": \"%s\"", t->detail);
}
