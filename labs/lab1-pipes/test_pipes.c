/*
 * test_pipes.c - the tests of lab 1.
 *
 * One group a row of the contract, in each from the plain case to the hard
 * one.  common/kit.h says how a test works: a SCENARIO calls the functions of
 * pipes.c in a process of its own, a TEST starts it, plays the other end of
 * the pipe and decides; a TOOL is a small program that pipes.c is to run.
 */
#include "kit.h"
#include "pipes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum {
    GUARD_BYTES = 64,    /* behind a buffer: must stay as it was */
    GUARD_BYTE = 0xA5,   /* what they hold */
    UNTOUCHED = -12345,  /* what an out-parameter holds before the call */
    MANY_INTERRUPTS = 3, /* EINTR this often in a row */
    PIPE_BYTES = 65536,  /* what a pipe holds unless told otherwise */
    ONE_PAGE = 4096,     /* what the smallest pipe holds, and PIPE_BUF */
    SPARE_FD = 20        /* one of the caller's that exec keeps */
};

/* ------------------------------------------------------------------------
 * Helpers of the scenarios
 */

/* A buffer with guard bytes behind it. */
HELPER unsigned char *new_buffer(size_t size)
{
    unsigned char *buf = malloc(size + GUARD_BYTES);

    if (buf == NULL)
        abort();
    memset(buf, 0, size);
    memset(buf + size, GUARD_BYTE, GUARD_BYTES);
    return buf;
}

/* Tells the first `used` bytes, and how many guard bytes behind `size` were
 * changed. */
HELPER void tell_buffer(const char *name, const unsigned char *buf, size_t used,
                        size_t size)
{
    char guard[32];
    int changed = 0;

    for (size_t i = 0; i < GUARD_BYTES; i++)
        changed += buf[size + i] != GUARD_BYTE;
    tell_bytes(name, buf, used < size ? used : size);
    snprintf(guard, sizeof(guard), "%s beyond", name);
    tell_int(guard, changed);
}

enum { LINE_PROGRAMS = 24 };

/* A line of programs: "copy|tag a|tag b".  A word with a slash is the path of
 * a program, one with a = before it a name to be found along PATH, other words
 * are tools of this file with their arguments. */
struct line {
    char text[512];
    char *words[LINE_PROGRAMS][8];
    char *const *argvs[LINE_PROGRAMS];
    size_t n;
};

HELPER void parse_line(struct line *l, const char *text)
{
    char *rest = l->text, *stage;

    snprintf(l->text, sizeof(l->text), "%s", text);
    for (l->n = 0; (stage = strsep(&rest, "|")) != NULL; l->n++) {
        size_t words = 0;
        if (stage[0] == '=') {
            stage++;
        } else if (strchr(stage, '/') == NULL) {
            l->words[l->n][words++] = tool_program();
            l->words[l->n][words++] = (char *)"--tool";
        }
        do
            l->words[l->n][words++] = strsep(&stage, " ");
        while (stage != NULL);
        l->words[l->n][words] = NULL;
        l->argvs[l->n] = l->words[l->n];
    }
}

/* Takes away this process's descriptors but for a few: pipe() and the like
 * give EMFILE when those are used up. */
enum { SCARCE_BELOW = 48 };

struct scarcity {
    struct rlimit old;
    int taken[SCARCE_BELOW];
    int n;
};

/* Those that are left are the lowest, or the highest, that can be had. */
HELPER void leave_few_descriptors(struct scarcity *sc, int few, bool lowest)
{
    struct rlimit low;
    int fd;

    getrlimit(RLIMIT_NOFILE, &sc->old);
    low = sc->old;
    low.rlim_cur = SCARCE_BELOW;
    setrlimit(RLIMIT_NOFILE, &low);
    sc->n = 0;
    while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) != -1)
        sc->taken[sc->n++] = fd;
    if (lowest && few <= sc->n) {
        for (int i = 0; i < few; i++)
            close(sc->taken[i]);
        memmove(sc->taken, sc->taken + few,
                (size_t)(sc->n - few) * sizeof(sc->taken[0]));
        sc->n -= few;
        few = 0;
    }
    while (few-- > 0)
        close(sc->taken[--sc->n]);
}

HELPER void give_descriptors_back(struct scarcity *sc)
{
    while (sc->n > 0)
        close(sc->taken[--sc->n]);
    setrlimit(RLIMIT_NOFILE, &sc->old);
}

HELPER bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

HELPER int count_open(void)
{
    int n = 0;

    for (int fd = 0; fd < SCARCE_BELOW; fd++)
        n += is_open(fd);
    return n;
}

/* How many children there are that nobody has waited for: those that have
 * ended, and one more when others still run. */
HELPER int count_children(void)
{
    int n = 0;
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        n++;
    return pid == 0 ? n + 1 : n;
}

/* Returns how many there were. */
HELPER int wait_for_children(void)
{
    int n = 0;

    while (waitpid(-1, NULL, 0) > 0)
        n++;
    return n;
}

enum { LAST_SIGNAL = 31 }; /* behind it are the real-time ones */

/* What a caller may have arranged for SIGPIPE. */
enum {
    SIGPIPE_DEFAULT,
    SIGPIPE_HANDLED,
    SIGPIPE_IGNORED,
    SIGPIPE_BLOCKED,
    SIGPIPE_PENDING, /* and blocked */
    SIGPIPE_CASES
};
static const char *const sigpipe_cases[SIGPIPE_CASES] = {
    "default", "handled", "ignored", "blocked", "pending"};
static volatile sig_atomic_t calls_of_handler[LAST_SIGNAL + 1];

HELPER void count_signal(int sig)
{
    calls_of_handler[sig]++;
}

HELPER void arrange_signal(int sig, void (*handler)(int))
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigemptyset(&a.sa_mask);
    sigaction(sig, &a, NULL);
}

/* A caller with one signal that is blocked and pending, one that is ignored,
 * one that is handled, and SIGPIPE as one of sigpipe_cases. */
HELPER void arrange_signals(int how)
{
    sigset_t set;

    sigemptyset(&set);
    arrange_signal(SIGPIPE, SIG_IGN); /* takes away what is pending */
    arrange_signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_SETMASK, &set, NULL);
    arrange_signal(SIGUSR1, SIG_DFL);
    arrange_signal(SIGUSR2, SIG_IGN);
    arrange_signal(SIGHUP, count_signal);
    arrange_signal(SIGCHLD, count_signal);
    arrange_signal(SIGPIPE, how == SIGPIPE_HANDLED   ? count_signal
                            : how == SIGPIPE_IGNORED ? SIG_IGN
                                                     : SIG_DFL);
    sigaddset(&set, SIGUSR1);
    if (how >= SIGPIPE_BLOCKED)
        sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    if (how == SIGPIPE_PENDING)
        raise(SIGPIPE);
    calls_of_handler[SIGPIPE] = 0;
}

/* As at the start of a scenario. */
HELPER void forget_signals(void)
{
    sigset_t none;

    arrange_signals(SIGPIPE_IGNORED);
    arrange_signal(SIGUSR1, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    arrange_signal(SIGPIPE, SIG_DFL);
    arrange_signal(SIGUSR1, SIG_DFL);
    arrange_signal(SIGUSR2, SIG_DFL);
    arrange_signal(SIGHUP, SIG_DFL);
    arrange_signal(SIGCHLD, SIG_DFL);
}

enum { BLOCKED = 1, PENDING = 2, IGNORED = 4, HANDLED = 8, STRANGE = 16 };

/* What this process has arranged for each signal. */
HELPER void tell_signals(const char *when, int how)
{
    unsigned char now[LAST_SIGNAL + 1] = {0};
    struct sigaction a = {.sa_handler = SIG_DFL};
    sigset_t blocked, pending;
    char name[48];

    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    for (int sig = 1; sig <= LAST_SIGNAL; sig++) {
        sigaction(sig, NULL, &a);
        now[sig] = (unsigned char)((sigismember(&blocked, sig) ? BLOCKED : 0) |
                                   (sigismember(&pending, sig) ? PENDING : 0) |
                                   (a.sa_handler == SIG_DFL        ? 0
                                    : a.sa_handler == SIG_IGN      ? IGNORED
                                    : a.sa_handler == count_signal ? HANDLED
                                                                   : STRANGE));
    }
    snprintf(name, sizeof(name), "signals %s %d", when, how);
    tell_bytes(name, now, sizeof(now));
    snprintf(name, sizeof(name), "SIGPIPEs %s %d", when, how);
    tell_int(name, calls_of_handler[SIGPIPE]);
}

/* What a program gets of its caller: "blocked SIGUSR1; ignored SIGUSR2; word".
 * The word is in the environment. */
HELPER void put_inheritance(char *text, size_t size)
{
    const char *word = getenv("KIT_WORD");
    struct sigaction a = {.sa_handler = SIG_DFL};
    sigset_t blocked;
    size_t n;

    sigprocmask(SIG_BLOCK, NULL, &blocked);
    n = (size_t)snprintf(text, size, "blocked");
    for (int sig = 1; sig <= LAST_SIGNAL; sig++)
        if (sigismember(&blocked, sig) && n < size)
            n += (size_t)snprintf(text + n, size - n, " %s", signal_name(sig));
    n += (size_t)snprintf(text + n, size - n, "; ignored");
    for (int sig = 1; sig <= LAST_SIGNAL; sig++) {
        sigaction(sig, NULL, &a);
        if (a.sa_handler == SIG_IGN && n < size)
            n += (size_t)snprintf(text + n, size - n, " %s", signal_name(sig));
    }
    snprintf(text + n, size - n, "; environment %s",
             word == NULL ? "lost" : word);
}

/* Descriptor 2 becomes what the test holds open ("hold"), and SIGTERM is
 * ignored; in the programs, too.  Returns what was 2. */
HELPER int begin_hold(void)
{
    int old = fcntl(2, F_DUPFD_CLOEXEC, 3);

    dup2(given_fd("hold"), 2);
    arrange_signal(SIGTERM, SIG_IGN);
    return old;
}

HELPER void end_hold(int old)
{
    dup2(old, 2);
    close(old);
    arrange_signal(SIGTERM, SIG_DFL);
}

/* Text in a buffer of stdio while a function runs: begin, call, end.  What
 * comes out of fd is to be the text, once. */
HELPER FILE *begin_text(int fd)
{
    FILE *f = fdopen(dup(fd), "w");

    if (f == NULL)
        abort();
    fputs("once", f);
    return f;
}

/* A child of the caller's own has ended and was not waited for yet. */
HELPER pid_t new_dead_child(void)
{
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(3);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == -1)
        ;
    return pid;
}

HELPER void tell_dead_child(pid_t pid)
{
    int status = UNTOUCHED;

    tell_int("waitpid for the caller's child", waitpid(pid, &status, 0) == pid);
    tell_int("status of the caller's child", status);
}

/* ------------------------------------------------------------------------
 * Helpers of the tests
 */

HELPER const char *status_text(int status)
{
    static char text[64];

    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exited with %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof(text), "ended by %s",
                 signal_name(WTERMSIG(status)));
    else
        snprintf(text, sizeof(text), "%d, which is no wait status", status);
    return text;
}

HELPER void expect_exit(struct subject *s, const char *name, int code)
{
    int status = (int)got_int(s, name);
    char expected[80];

    snprintf(expected, sizeof(expected), "%s says: exited with %d", name, code);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == code, expected, "%s",
           status_text(status));
}

HELPER void expect_death(struct subject *s, const char *name, int sig)
{
    int status = (int)got_int(s, name);
    char expected[80];

    snprintf(expected, sizeof(expected), "%s says: ended by %s", name,
             signal_name(sig));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == sig, expected, "%s",
           status_text(status));
}

/* Which descriptors the tool "fds" has seen, each with a space behind it.
 * Valgrind has descriptors of its own, which programs inherit: with it this is
 * not looked at. */
HELPER void expect_fds(const char *got, size_t size, const char *fds,
                       const char *expected)
{
    if (!under_valgrind())
        EXPECT(size == strlen(fds) && memcmp(got, fds, size) == 0, expected,
               "it has open: %.*s", (int)size, got);
}

HELPER void expect_own_child(struct subject *s, const char *function)
{
    EXPECT(got_int(s, "waitpid for the caller's child") == 1,
           "the caller can still wait for a child of its own",
           "%s has waited for it", function);
    expect_exit(s, "status of the caller's child", 3);
}

HELPER const char *signal_state(unsigned state)
{
    static char text[2][80];
    static int turn;
    char *to = text[turn ^= 1];

    snprintf(to, sizeof(text[0]), "%s%s%s", state & BLOCKED ? "blocked, " : "",
             state & PENDING ? "pending, " : "",
             state & IGNORED   ? "ignored"
             : state & HANDLED ? "with the caller's handler"
             : state & STRANGE ? "with a handler that is not the caller's"
                               : "at its default");
    return to;
}

/* After a call, all signals are to be as they were told before it. */
HELPER void expect_signals(struct subject *s, const char *after, int how)
{
    unsigned char was[LAST_SIGNAL + 1], is[LAST_SIGNAL + 1];
    char name[48], expected[160];

    snprintf(name, sizeof(name), "signals before %d", how);
    got_copy(s, name, was, sizeof(was));
    snprintf(name, sizeof(name), "signals %s %d", after, how);
    got_copy(s, name, is, sizeof(is));
    for (int sig = 1; sig <= LAST_SIGNAL; sig++) {
        snprintf(expected, sizeof(expected), "%s: %s is as before: %s", after,
                 signal_name(sig), signal_state(was[sig]));
        EXPECT(was[sig] == is[sig], expected, "%s is %s", signal_name(sig),
               signal_state(is[sig]));
    }
    snprintf(name, sizeof(name), "SIGPIPEs %s %d", after, how);
    snprintf(expected, sizeof(expected),
             "%s: the caller's handler for SIGPIPE is not called", after);
    EXPECT(got_int(s, name) == 0, expected, "it was called %lld times",
           got_int(s, name));
}

/* What a call that could have so few descriptors has left. */
HELPER void expect_nothing_left_of(struct subject *s, int few)
{
    char name[48], expected[96];

    snprintf(expected, sizeof(expected),
             "no descriptor is left open when %d could be had", few);
    snprintf(name, sizeof(name), "leaked %d", few);
    EXPECT(got_int(s, name) == 0, expected, "%lld more are open than before",
           got_int(s, name));
    snprintf(expected, sizeof(expected),
             "every child is waited for when %d descriptors could be had", few);
    snprintf(name, sizeof(name), "children %d", few);
    EXPECT(got_int(s, name) == 0, expected,
           "children that nobody has waited for: %lld", got_int(s, name));
}

HELPER bool has_failed(struct subject *s, const char *call, unsigned nth)
{
    return calls_made(s, call) >= nth && call_result(s, call, nth - 1) == -1;
}

/* Lets the programs go that wait for the end of file from *hold, unless the nth
 * call was made to fail: then they are to be ended.  Returns whether it was. */
HELPER bool finish_held(struct subject *s, int *hold, const char *call,
                        unsigned nth)
{
    await_asleep(s);
    if (!has_failed(s, call, nth))
        shut(hold);
    finish(s);
    return has_failed(s, call, nth);
}

/* Bytes that came through a pipe against those that should have. */
HELPER void expect_same(const void *got, size_t got_size, const void *data,
                        size_t size)
{
    const unsigned char *a = got, *b = data;
    char expected[64];
    size_t i = 0;

    snprintf(expected, sizeof(expected), "%zu bytes come out of the pipe",
             size);
    EXPECT(got_size == size, expected, "%zu bytes", got_size);
    while (i < size && a[i] == b[i])
        i++;
    EXPECT(i == size, "the bytes that were sent", "another byte at offset %zu",
           i);
}

HELPER void expect_guard(struct subject *s, const char *name, size_t size)
{
    char guard[32], expected[64];

    snprintf(guard, sizeof(guard), "%s beyond", name);
    snprintf(expected, sizeof(expected),
             "nothing is written beyond the %zu bytes of the buffer", size);
    EXPECT(got_int(s, guard) == 0, expected, "%lld bytes beyond it changed",
           got_int(s, guard));
}

/* Text of hex digits, unlike at any other run. */
HELPER void random_text(char *text, size_t digits)
{
    for (size_t i = 0; i < digits; i++)
        text[i] = "0123456789abcdef"[random_below(16)];
    text[digits] = '\0';
}

HELPER unsigned char *new_random(size_t size)
{
    unsigned char *data = malloc(size);

    REQUIRE(data != NULL);
    fill_random(data, size);
    return data;
}

/* A pipe of one page: 4096 bytes are in it, or it blocks. */
HELPER struct ends new_small_pipe(void)
{
    struct ends p = new_pipe();

    REQUIRE(fcntl(p.w, F_SETPIPE_SZ, ONE_PAGE) == ONE_PAGE);
    return p;
}

/* A pipe that holds four times as much, where that can be had. */
HELPER struct ends new_wide_pipe(void)
{
    struct ends p = new_pipe();

    (void)fcntl(p.w, F_SETPIPE_SZ, 4 * PIPE_BYTES);
    return p;
}

/* The read end of a pipe that is at its end already. */
HELPER int new_empty_input(void)
{
    struct ends p = new_pipe();

    shut(&p.w);
    return p.r;
}

HELPER int bytes_waiting(int fd)
{
    int n = -1;

    REQUIRE(ioctl(fd, FIONREAD, &n) == 0);
    return n;
}

/* ------------------------------------------------------------------------
 * Tools: the programs that pipes.c runs
 */

HELPER void put(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n == -1)
            _exit(1);
        done += (size_t)n;
    }
}

HELPER void copy_all(void)
{
    char buf[4096];
    ssize_t n;

    while ((n = read(0, buf, sizeof(buf))) > 0)
        put(1, buf, (size_t)n);
}

/* repeat TEXT N: prints TEXT N times. */
TOOL(repeat)
{
    for (long i = 0; i < atol(argv[2]); i++)
        put(1, argv[1], strlen(argv[1]));
    return 0;
}

/* exit N */
TOOL(exit)
{
    return atoi(argv[1]);
}

/* die N: dies by signal N. */
TOOL(die)
{
    raise(atoi(argv[1]));
    return 0;
}

/* What waits for the end of file on 2, which the test holds open. */
HELPER void wait_for_the_test(void)
{
    char byte;

    while (read(2, &byte, 1) > 0)
        ;
}

/* hold N TEXT: prints TEXT, waits for the test, exits with N. */
TOOL(hold)
{
    put(1, argv[2], strlen(argv[2]));
    wait_for_the_test();
    return atoi(argv[1]);
}

/* quiet N: closes its input and output, waits for the test, exits with N. */
TOOL(quiet)
{
    close(0);
    close(1);
    wait_for_the_test();
    return atoi(argv[1]);
}

/* stop N: closes its input and output, stops itself, and exits with N once it
 * goes on. */
TOOL(stop)
{
    close(0);
    close(1);
    raise(SIGSTOP);
    return atoi(argv[1]);
}

/* inherit: prints what it has got of its caller, then copies. */
TOOL(inherit)
{
    char text[512];

    put_inheritance(text, sizeof(text) - 32);
    if (!is_open(SPARE_FD))
        strcat(text, "; the caller's other descriptor lost");
    strcat(text, "\n");
    put(1, text, strlen(text));
    copy_all();
    return 0;
}

/* fds [and copy]: prints which descriptors it has open, then copies. */
TOOL(fds)
{
    char text[512] = "";
    size_t used = 0;

    for (int fd = 0; fd < 1024 && used < sizeof(text) - 8; fd++)
        if (is_open(fd))
            used +=
                (size_t)snprintf(text + used, sizeof(text) - used, "%d ", fd);
    put(1, text, used);
    if (argc > 1) {
        put(1, "| ", 2);
        copy_all();
    }
    return 0;
}

/* copy */
TOOL(copy)
{
    copy_all();
    return 0;
}

/* narrow: copies, with pipes of 4 KiB. */
TOOL(narrow)
{
    fcntl(0, F_SETPIPE_SZ, ONE_PAGE);
    fcntl(1, F_SETPIPE_SZ, ONE_PAGE);
    copy_all();
    return 0;
}

/* tag TEXT: copies, then adds TEXT. */
TOOL(tag)
{
    copy_all();
    put(1, argv[1], strlen(argv[1]));
    return 0;
}

/* sum: prints length and a hash (FNV-1a) of what it reads. */
HELPER uint64_t hash_add(uint64_t hash, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    return hash;
}

#define HASH_START 0xcbf29ce484222325u

TOOL(sum)
{
    char buf[4096];
    unsigned long long size = 0;
    uint64_t hash = HASH_START;
    ssize_t n;

    while ((n = read(0, buf, sizeof(buf))) > 0) {
        hash = hash_add(hash, buf, (size_t)n);
        size += (size_t)n;
    }
    n = snprintf(buf, sizeof(buf), "%llu %llx", size, (unsigned long long)hash);
    put(1, buf, (size_t)n);
    return 0;
}

/* forever: prints until nobody reads. */
TOOL(forever)
{
    for (;;)
        put(1, "again and again\n", 16);
    return 0;
}

/* head N: copies N bytes and ends. */
TOOL(head)
{
    char byte;

    for (long i = 0; i < atol(argv[1]) && read(0, &byte, 1) == 1; i++)
        put(1, &byte, 1);
    return 0;
}

/* deaf TEXT: closes its input without reading, then prints. */
TOOL(deaf)
{
    close(0);
    put(1, argv[1], strlen(argv[1]));
    return 0;
}

/* mute N: closes its output, then reads; 0 when N bytes came. */
TOOL(mute)
{
    char buf[4096];
    long got = 0;
    ssize_t n;

    close(1);
    while ((n = read(0, buf, sizeof(buf))) > 0)
        got += n;
    return got == atol(argv[1]) ? 0 : 1;
}

/* first TEXT N: prints TEXT N times before it reads, then copies. */
TOOL(first)
{
    for (long i = 0; i < atol(argv[2]); i++)
        put(1, argv[1], strlen(argv[1]));
    copy_all();
    return 0;
}

/* broken: writes to a pipe that nobody reads; 7 when it lives on. */
TOOL(broken)
{
    int p[2];

    if (pipe(p) == -1)
        return 8;
    close(p[0]);
    (void)!write(p[1], "x", 1);
    return 7;
}

/* ------------------------------------------------------------------------
 * read: pipe_read_full()
 */

/* Reads once: what lies behind the bytes asked for stays in the pipe. */
SCENARIO(read_once)
{
    int fd = given_fd("in");
    size_t size = (size_t)given_int("size");
    unsigned char *buf = new_buffer(size);

    CALL("read", pipe_read_full(fd, buf, size));
    tell_buffer("buf", buf, size, size);
    free(buf);
}

SCENARIO(read_nothing)
{
    int fd = given_fd("in");
    char buf[1];

    CALL("read", pipe_read_full(fd, buf, 0));
}

/* Reads, and then again. */
SCENARIO(read_twice)
{
    int fd = given_fd("in");
    size_t size = (size_t)given_int("size");
    unsigned char *buf = new_buffer(size);

    CALL("read", pipe_read_full(fd, buf, size));
    tell_buffer("buf", buf, size, size);
    CALL("again", pipe_read_full(fd, buf, size));
    free(buf);
}

/* Reads nothing where each read() would fail. */
HELPER void expect_nothing_read(void)
{
    struct ends p = new_pipe();
    struct subject *s =
        START(read_nothing, FD("in", p.r), FAIL("read", 1, 1000, EIO));

    finish(s);
    expect_return(s, "read", 0);
}

TEST(read, read_takes_all_that_was_asked_for_and_no_more)
{
    unsigned char data[300], rest[300];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    peer_write(p.w, data, 300);
    struct subject *s = START(read_twice, LEND_FD("in", p.r), INT("size", 100));
    finish(s);
    expect_return(s, "read", 100);
    expect_bytes(s, "buf", data, 100);
    expect_guard(s, "buf", 100);
    expect_return(s, "again", 100);
    EXPECT(peer_read_now(p.r, rest, sizeof(rest)) == 100,
           "100 of 300 bytes are left after two reads of 100",
           "more or fewer are left");
    expect_same(rest, 100, data + 200, 100);
    expect_nothing_read();
}

TEST(read, read_goes_on_after_a_short_read)
{
    unsigned char data[100];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    struct subject *s = START(read_once, FD("in", p.r), INT("size", 100));
    peer_write(p.w, data, 40);
    await_asleep(s);
    peer_write(p.w, data + 40, 40);
    await_asleep(s);
    peer_write(p.w, data + 80, 20);
    shut(&p.w);
    finish(s);
    expect_return(s, "read", 100);
    expect_bytes(s, "buf", data, 100);
}

/* 60 bytes are missing and 100 are there: a read() of 100 takes 40 too many,
 * and fewer than there are guard bytes. */
TEST(read, read_takes_only_the_rest_after_a_short_read)
{
    unsigned char data[140], rest[140];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    struct subject *s = START(read_once, LEND_FD("in", p.r), INT("size", 100));
    peer_write(p.w, data, 40);
    await_asleep(s);
    peer_write(p.w, data + 40, 100);
    finish(s);
    int left = bytes_waiting(p.r);
    EXPECT(left == 40, "of 140 bytes a read of 100 leaves 40 in the pipe",
           "%d are left", left);
    expect_return(s, "read", 100);
    expect_bytes(s, "buf", data, 100);
    expect_guard(s, "buf", 100);
    expect_same(rest, peer_read_now(p.r, rest, sizeof(rest)), data + 100, 40);
}

TEST(read, read_stops_at_end_of_file_and_says_how_much_came)
{
    unsigned char data[70], buf[100];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    struct subject *s = START(read_twice, FD("in", p.r), INT("size", 100));
    peer_write(p.w, data, 70);
    shut(&p.w);
    finish(s);
    expect_return(s, "read", 70);
    got_copy(s, "buf", buf, sizeof(buf));
    EXPECT(memcmp(buf, data, sizeof(data)) == 0,
           "the 70 bytes that were written", "other bytes");
    expect_return(s, "again", 0);
}

TEST(read, read_survives_signals)
{
    size_t size = 3000;
    unsigned char *data = new_random(size);
    struct ends p = new_pipe();

    peer_write(p.w, data, size);
    shut(&p.w);
    struct subject *s =
        START(read_once, FD("in", p.r), INT("size", 3000),
              FAIL("read", 1, MANY_INTERRUPTS, EINTR), SHORT("read", 5, 100, 7),
              CHAOS(random_below(1000)));
    finish(s);
    expect_return(s, "read", (long long)size);
    expect_bytes(s, "buf", data, size);
    free(data);
}

TEST(read, read_reports_a_real_error)
{
    struct ends p = new_pipe();
    unsigned char data[50] = {0};

    struct subject *s = START(read_once, FD("in", p.w), INT("size", 10));
    finish(s);
    expect_error(s, "read", EBADF);

    p = new_pipe();
    peer_write(p.w, data, 50);
    s = START(read_once, FD("in", p.r), INT("size", 50),
              SHORT("read", 1, 1, 20), FAIL("read", 2, 1000, EIO));
    finish(s);
    expect_at_least(s, "read", -1);
    if (calls_made(s, "read") > 1 && call_result(s, "read", 0) == 20)
        expect_error(s, "read", EIO); /* else the fault was not met */
}

/* ------------------------------------------------------------------------
 * write: pipe_write_full()
 */

SCENARIO(write_full)
{
    int fd = given_fd("out");
    size_t size;
    const void *data = given_bytes("data", &size);

    CALL("write", pipe_write_full(fd, data, size));
}

SCENARIO(write_nothing)
{
    int fd = given_fd("out");

    CALL("write", pipe_write_full(fd, "", 0));
}

static volatile sig_atomic_t sigpipes;

HELPER void count_sigpipe(int sig)
{
    (void)sig;
    sigpipes++;
}

/* Tells what became of SIGPIPE after a write that nobody read. */
HELPER void tell_sigpipe(const char *when)
{
    char name[32];
    struct sigaction now;
    sigset_t blocked, pending;

    sigaction(SIGPIPE, NULL, &now);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    snprintf(name, sizeof(name), "SIGPIPE %s", when);
    tell_str(name, sigismember(&blocked, SIGPIPE)   ? "blocked"
                   : sigismember(&pending, SIGPIPE) ? "pending"
                   : now.sa_handler == SIG_DFL      ? "the default"
                   : now.sa_handler == SIG_IGN      ? "ignored"
                   : now.sa_handler == count_sigpipe
                       ? "the caller's handler"
                       : "a handler that the caller did not install");
}

/* A function that writes, for each of sigpipe_cases: one call that works, one
 * that nobody reads. */
#define WRITING_WITH_SIGNALS(scenario, function)                       \
    SCENARIO(scenario)                                                 \
    {                                                                  \
        int good = given_fd("good"), broken = given_fd("broken");      \
        char name[48];                                                 \
                                                                       \
        for (int how = (int)given_int("from"); how <= given_int("to"); \
             how++) {                                                  \
            arrange_signals(how);                                      \
            tell_signals("before", how);                               \
            snprintf(name, sizeof(name), "good, SIGPIPE %s",           \
                     sigpipe_cases[how]);                              \
            CALL(name, function(good, "x", 1));                        \
            tell_signals("after a write", how);                        \
            snprintf(name, sizeof(name), "broken, SIGPIPE %s",         \
                     sigpipe_cases[how]);                              \
            CALL(name, function(broken, "x", 1));                      \
            tell_signals("after EPIPE", how);                          \
        }                                                              \
        forget_signals();                                              \
    }

WRITING_WITH_SIGNALS(write_with_signals, pipe_write_full)
WRITING_WITH_SIGNALS(log_with_signals, pipe_log)

/* What one of the two scenarios above has told. */
HELPER void expect_epipe_alone(struct subject *s, int from, int to)
{
    char name[48];

    for (int how = from; how <= to; how++) {
        snprintf(name, sizeof(name), "good, SIGPIPE %s", sigpipe_cases[how]);
        expect_return(s, name, 0);
        expect_signals(s, "after a write", how);
        snprintf(name, sizeof(name), "broken, SIGPIPE %s", sigpipe_cases[how]);
        expect_error(s, name, EPIPE);
        expect_signals(s, "after EPIPE", how);
    }
}

/* One write that works, one that nobody reads, with the default and then with
 * a handler of the caller's. */
SCENARIO(write_with_sigpipe)
{
    struct sigaction handler = {.sa_handler = count_sigpipe};
    int good = given_fd("good"), broken = given_fd("broken");

    CALL("write", pipe_write_full(good, "x", 1));
    CALL("default", pipe_write_full(broken, "x", 1));
    tell_sigpipe("1");
    sigaction(SIGPIPE, &handler, NULL);
    CALL("write 2", pipe_write_full(good, "y", 1));
    CALL("handler", pipe_write_full(broken, "y", 1));
    tell_sigpipe("2");
    tell_int("handler called", sigpipes);
}

TEST(write, write_delivers_every_byte_to_a_slow_reader)
{
    size_t size = under_valgrind() ? 2 * PIPE_BYTES : 1 << 20;
    unsigned char *data = new_random(size), *got = malloc(size);
    struct ends p = new_pipe();
    struct subject *s =
        START(write_full, FD("out", p.w), BYTES("data", data, size));
    size_t n = 0, more;

    do {
        more = peer_read(p.r, got + n, size - n < 9999 ? size - n : 9999);
        n += more;
    } while (more > 0);
    finish(s);
    expect_return(s, "write", 0);
    expect_same(got, n, data, size);
    peer_expect_eof(p.r);
    p = new_pipe(); /* nothing to write where each write() would fail */
    s = START(write_nothing, FD("out", p.w), FAIL("write", 1, 1000, EIO));
    finish(s);
    expect_return(s, "write", 0);
    free(data);
    free(got);
}

TEST(write, write_goes_on_after_a_short_write)
{
    unsigned char data[1000], got[1001];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    struct subject *s =
        START(write_full, FD("out", p.w), BYTES("data", data, 1000),
              SHORT("write", 1, 100000, 300));
    finish(s);
    expect_return(s, "write", 0);
    expect_same(got, peer_read(p.r, got, sizeof(got)), data, 1000);

    /* What comes after the short write may fail. */
    p = new_pipe();
    s = START(write_full, LEND_FD("out", p.w), BYTES("data", data, 1000),
              SHORT("write", 1, 1, 300), FAIL("write", 2, 1000, ENOSPC));
    finish(s);
    if (calls_made(s, "write") > 1)
        expect_error(s, "write", ENOSPC);
    s = START(write_full, FD("out", p.r), BYTES("data", data, 1000));
    finish(s);
    expect_error(s, "write", EBADF); /* a read end */
}

TEST(write, write_survives_signals)
{
    unsigned char data[3000], got[3001];
    struct ends p = new_pipe();

    fill_random(data, sizeof(data));
    struct subject *s = START(
        write_full, FD("out", p.w), BYTES("data", data, 3000),
        FAIL("write", 1, MANY_INTERRUPTS, EINTR), CHAOS(random_below(1000)));
    finish(s);
    expect_return(s, "write", 0);
    expect_same(got, peer_read(p.r, got, sizeof(got)), data, 3000);
}

TEST(write, write_says_epipe_when_nobody_reads)
{
    struct ends p = new_pipe();

    shut(&p.r);
    struct subject *s =
        START(write_full, FD("out", p.w), BYTES("data", "hello", 5));
    finish(s);
    expect_error(s, "write", EPIPE);
}

TEST(write, write_says_epipe_when_the_reader_leaves_midway)
{
    size_t size = 4 * PIPE_BYTES;
    unsigned char *data = new_random(size);
    struct ends p = new_pipe();
    struct subject *s =
        START(write_full, FD("out", p.w), BYTES("data", data, size));

    await_asleep(s);
    shut(&p.r);
    finish(s);
    expect_error(s, "write", EPIPE);
    free(data);
}

TEST(write, write_leaves_the_callers_sigpipe_as_it_was)
{
    struct ends good = new_pipe(), broken = new_pipe();

    shut(&broken.r);
    struct subject *s =
        START(write_with_sigpipe, FD("good", good.w), FD("broken", broken.w));
    finish(s);
    expect_return(s, "write", 0);
    expect_error(s, "default", EPIPE);
    EXPECT(strcmp(got_str(s, "SIGPIPE 1"), "the default") == 0,
           "afterwards SIGPIPE is what it was: the default", "%s",
           got_str(s, "SIGPIPE 1"));
    expect_error(s, "handler", EPIPE);
    EXPECT(strcmp(got_str(s, "SIGPIPE 2"), "the caller's handler") == 0,
           "afterwards SIGPIPE is what it was: the caller's handler", "%s",
           got_str(s, "SIGPIPE 2"));
    EXPECT(got_int(s, "handler called") == 0,
           "the caller's handler for SIGPIPE is not called",
           "it was called %lld times", got_int(s, "handler called"));

    /* A pending SIGPIPE comes last: it kills who unblocks it. */
    for (int from = 0; from < SIGPIPE_CASES; from += SIGPIPE_CASES - 1) {
        int to = from == 0 ? SIGPIPE_CASES - 2 : from;
        good = new_pipe();
        broken = new_pipe();
        shut(&broken.r);
        s = START(write_with_signals, FD("good", good.w),
                  FD("broken", broken.w), INT("from", from), INT("to", to));
        finish(s);
        expect_epipe_alone(s, from, to);
    }
}

/* ------------------------------------------------------------------------
 * messages: pipe_send() and pipe_recv()
 */

SCENARIO(send)
{
    int fd = given_fd("out");
    size_t size;
    const void *msg = given_bytes("msg", &size);

    CALL("send", pipe_send(fd, msg, (uint32_t)size));
}

/* A message of so many bytes of 0. */
SCENARIO(send_much)
{
    int fd = given_fd("out");
    uint32_t size = (uint32_t)given_int("size");
    void *msg = calloc(1, size);

    if (msg != NULL)
        CALL("send", pipe_send(fd, msg, size));
    free(msg);
}

/* Receives `calls` times.  `text` is the call as a report shows it. */
HELPER void receive(const char *text, int errno_before)
{
    int fd = given_fd("in");
    size_t cap = (size_t)given_int("cap");
    char name[32];

    for (int i = 1; i <= given_int("calls"); i++) {
        unsigned char *msg = new_buffer(cap);
        snprintf(name, sizeof(name), "recv %d", i);
        errno = errno_before;
        ssize_t n = pipe_recv(fd, msg, cap);
        call_int(name, text, n);
        snprintf(name, sizeof(name), "msg %d", i);
        tell_buffer(name, msg, n > 0 ? (size_t)n : 0, cap);
        free(msg);
    }
}

SCENARIO(recv)
{
    receive("pipe_recv(fd, msg, cap)", 0);
}

SCENARIO(recv_at_an_end)
{
    receive(given_str("text"), (int)given_int("errno"));
}

/* The same in a process that may not take much memory. */
SCENARIO(recv_with_little_memory)
{
    struct rlimit limit;

    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1 << 28;
    setrlimit(RLIMIT_AS, &limit);
    scenario_recv();
}

HELPER size_t put_frame(unsigned char *to, const void *msg, uint32_t size)
{
    uint32_t length = htonl(size);

    memcpy(to, &length, 4);
    memcpy(to + 4, msg, size);
    return 4 + size;
}

/* Expects that pipe_recv(), from a stream of these bytes and then its end,
 * returns 0 with errno 0 (`clean`), or fails with EPROTO. */
HELPER void expect_end(const char *where, const void *stream, size_t size,
                       bool clean)
{
    struct ends p = new_pipe();
    char text[80];

    snprintf(text, sizeof(text), "pipe_recv(fd, msg, cap) at %s", where);
    peer_write(p.w, stream, size);
    shut(&p.w);
    struct subject *s =
        START(recv_at_an_end, FD("in", p.r), INT("cap", 100), INT("calls", 1),
              STR("text", text), INT("errno", clean ? EXDEV : 0));
    finish(s);
    if (!clean) {
        expect_error(s, "recv 1", EPROTO);
        return;
    }
    expect_return(s, "recv 1", 0);
    int err = got_errno(s, "recv 1");
    EXPECT(err == 0, "errno is 0 at a clean end", "errno is %s%s",
           errno_name(err), err == EXDEV ? ", as it was before the call" : "");
}

TEST(messages, send_puts_the_length_first_in_network_order)
{
    uint32_t size = 300 + random_below(300);
    unsigned char *msg = new_random(size), frame[604], got[700];
    struct ends p = new_pipe();
    struct subject *s = START(send, FD("out", p.w), BYTES("msg", msg, size));

    finish(s);
    expect_return(s, "send", 0);
    size_t n = peer_read(p.r, got, sizeof(got));
    size_t frame_size = put_frame(frame, msg, size);
    char expected[80];
    snprintf(expected, sizeof(expected), "the length %u as 00 00 %02x %02x",
             size, size >> 8, size & 255);
    EXPECT(n >= 4 && memcmp(got, frame, 4) == 0, expected,
           "%zu bytes, the first four are %02x %02x %02x %02x", n, got[0],
           got[1], got[2], got[3]);
    expect_same(got, n, frame, frame_size);

    /* Signals and short writes, also in the length. */
    p = new_pipe();
    s = START(send, FD("out", p.w), BYTES("msg", msg, size),
              FAIL("write", 1, MANY_INTERRUPTS, EINTR),
              SHORT("write", 4, 1000, 3));
    finish(s);
    expect_return(s, "send", 0);
    expect_same(got, peer_read(p.r, got, sizeof(got)), frame, frame_size);
    free(msg);

    /* All four bytes of the length count.  Of the message only what the pipe
     * holds is sent: then nobody reads. */
    p = new_pipe();
    size = (1u << 24) + 0x20304 + random_below(100);
    s = START(send_much, FD("out", p.w), INT("size", size));
    n = peer_read(p.r, got, 4);
    shut(&p.r);
    finish(s);
    expect_error(s, "send", EPIPE);
    snprintf(expected, sizeof(expected), "the length %u as 01 02 03 %02x", size,
             size & 255);
    size = htonl(size);
    EXPECT(n == 4 && memcmp(got, &size, 4) == 0, expected,
           "%zu bytes, %02x %02x %02x %02x", n, got[0], got[1], got[2], got[3]);

    p = new_pipe();
    shut(&p.r);
    s = START(send, FD("out", p.w), BYTES("msg", "hello", 5));
    finish(s);
    expect_error(s, "send", EPIPE);
}

TEST(messages, send_refuses_an_empty_message)
{
    struct ends p = new_pipe();
    struct subject *s = START(send, FD("out", p.w), BYTES("msg", "", 0));

    finish(s);
    expect_error(s, "send", EINVAL);
    peer_expect_eof(p.r);
}

TEST(messages, recv_gives_one_message_at_a_time)
{
    unsigned char msgs[3][100], stream[400];
    uint32_t sizes[3];
    struct ends p = new_pipe();
    size_t n = 0;
    char name[32];

    fill_random(msgs, sizeof(msgs));
    for (int i = 0; i < 3; i++) {
        sizes[i] = 1 + random_below(100);
        n += put_frame(stream + n, msgs[i], sizes[i]);
    }
    peer_write(p.w, stream, n);
    struct subject *s =
        START(recv, FD("in", p.r), INT("cap", 100), INT("calls", 3));
    finish(s);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "recv %d", i + 1);
        expect_return(s, name, sizes[i]);
        snprintf(name, sizeof(name), "msg %d", i + 1);
        expect_bytes(s, name, msgs[i], sizes[i]);
        expect_guard(s, name, 100);
    }

    uint32_t big = 66000 + random_below(1000); /* over 64 KiB */
    unsigned char *msg = new_random(big), *frame = malloc(big + 4);
    REQUIRE(frame != NULL);
    p = new_wide_pipe();
    s = START(recv, FD("in", p.r), INT("cap", big), INT("calls", 1));
    peer_write(p.w, frame, put_frame(frame, msg, big));
    finish(s);
    expect_return(s, "recv 1", big);
    expect_bytes(s, "msg 1", msg, big);
    free(msg);
    free(frame);
}

TEST(messages, recv_joins_a_length_that_comes_in_pieces)
{
    unsigned char msg[80], frame[84];
    struct ends p = new_pipe();

    fill_random(msg, sizeof(msg));
    put_frame(frame, msg, 80);
    struct subject *s =
        START(recv, FD("in", p.r), INT("cap", 100), INT("calls", 1));
    for (size_t i = 0; i < 4; i++) {
        peer_write(p.w, frame + i, 1);
        await_asleep(s);
    }
    peer_write(p.w, frame + 4, 30);
    await_asleep(s);
    peer_write(p.w, frame + 34, 50);
    finish(s);
    expect_return(s, "recv 1", 80);
    expect_bytes(s, "msg 1", msg, 80);
}

TEST(messages, recv_tells_a_clean_end_from_a_broken_message)
{
    unsigned char msg[50], frame[54];

    fill_random(msg, sizeof(msg));
    put_frame(frame, msg, 50);
    expect_end("an end before a frame", frame, 0, true);
    expect_end("an end after 3 bytes of a length", frame, 3, false);
    expect_end("an end after a length of 50", frame, 4, false);
    expect_end("an end after 26 of 50 bytes", frame, 30, false);
    expect_end("a length of 0", "\0\0\0\0rest", 8, false);

    /* An error of read() is neither. */
    struct ends p = new_pipe();
    peer_write(p.w, frame, sizeof(frame));
    struct subject *s = START(recv, FD("in", p.r), INT("cap", 100),
                              INT("calls", 1), FAIL("read", 1, 1000, EIO));
    finish(s);
    expect_error(s, "recv 1", EIO);
}

TEST(messages, recv_drops_what_does_not_fit_and_stays_in_step)
{
    uint32_t big = 40000 + (under_valgrind() ? 0 : 60000) + random_below(1000);
    unsigned char *msg = new_random(big), *frame = malloc(big + 4);
    struct ends p = new_wide_pipe();
    struct subject *s =
        START(recv, FD("in", p.r), INT("cap", 100), INT("calls", 3),
              FAIL("read", 2, MANY_INTERRUPTS, EINTR));

    peer_write(p.w, frame, put_frame(frame, msg, big));
    peer_write(p.w, frame, put_frame(frame, msg + 7, 101));
    peer_write(p.w, frame, put_frame(frame, msg + 99, 100));
    finish(s);
    expect_error(s, "recv 1", EMSGSIZE);
    expect_guard(s, "msg 1", 100);
    expect_error(s, "recv 2", EMSGSIZE);
    expect_guard(s, "msg 2", 100);
    expect_return(s, "recv 3", 100);
    expect_bytes(s, "msg 3", msg + 99, 100);

    /* A message that cannot be dropped is not dropped. */
    p = new_pipe();
    peer_write(p.w, frame, put_frame(frame, msg, 1000));
    s = START(recv, FD("in", p.r), INT("cap", 100), INT("calls", 1),
              FAIL("read", 2, 1000, EIO));
    finish(s);
    if (calls_made(s, "read") > 1)
        expect_error(s, "recv 1", EIO);
    free(msg);
    free(frame);
}

TEST(messages, recv_takes_no_memory_because_a_length_says_so)
{
    unsigned char rest[100 + GUARD_BYTES - 10] = {0}; /* over cap */
    struct ends p = new_pipe();

    peer_write(p.w, "\xff\xff\xff\xf0", 4);
    peer_write(p.w, rest, sizeof(rest));
    shut(&p.w);
    struct subject *s =
        under_valgrind()
            ? START(recv, FD("in", p.r), INT("cap", 100), INT("calls", 1))
            : START(recv_with_little_memory, FD("in", p.r), INT("cap", 100),
                    INT("calls", 1));
    finish(s);
    expect_error(s, "recv 1", EPROTO);
    expect_guard(s, "msg 1", 100);
}

/* ------------------------------------------------------------------------
 * capture: pipe_capture()
 */

/* With cap 0 out is NULL. */
HELPER void call_capture(const char *name, char *const argv[], size_t cap)
{
    unsigned char *out = new_buffer(cap);
    char *to = cap == 0 ? NULL : (char *)out;
    size_t len = (size_t)UNTOUCHED;
    int status = UNTOUCHED;

    CALL(name, pipe_capture(argv, to, cap, &len, &status));
    tell_int("len", (long long)len);
    tell_int("status", status);
    tell_buffer("out", out, len, cap);
    free(out);
}

SCENARIO(capture)
{
    struct line l;

    parse_line(&l, given_str("program"));
    call_capture("capture", l.words[0], (size_t)given_int("cap"));
}

SCENARIO(capture_echo)
{
    char *argv[] = {(char *)"echo", (char *)"-n", (char *)given_str("text"),
                    NULL};

    call_capture("capture", argv, 100);
}

SCENARIO(capture_beside_a_child)
{
    struct line l;
    pid_t pid = new_dead_child();

    parse_line(&l, "exit 5");
    call_capture("capture", l.words[0], 100);
    tell_dead_child(pid);
}

SCENARIO(capture_held)
{
    struct line l;

    int old = begin_hold();

    parse_line(&l, given_str("program"));
    call_capture("capture", l.words[0], 100);
    end_hold(old);
}

/* waitpid() is made to fail: the scenario waits in its place. */
SCENARIO(capture_that_cannot_wait)
{
    scenario_capture();
    wait_for_children();
}

/* With text in a buffer of stdio. */
SCENARIO(capture_with_text)
{
    FILE *f = begin_text(given_fd("text"));

    scenario_capture();
    fclose(f);
}

/* For each of sigpipe_cases, a program that tells what it gets of its caller,
 * and one that is missing. */
SCENARIO(capture_with_signals)
{
    char **argv = TOOL_ARGV((char *)"inherit");
    char *missing[] = {(char *)"/no/such/program", NULL};
    char name[48], text[512];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setenv("KIT_WORD", given_str("word"), 1);
    dup2(null, 0);
    dup2(null, SPARE_FD);
    for (int how = 0; how < SIGPIPE_CASES; how++) {
        size_t len = 0;
        int status;
        arrange_signals(how);
        put_inheritance(text, sizeof(text));
        snprintf(name, sizeof(name), "caller %d", how);
        tell_str(name, text);
        tell_signals("before", how);
        snprintf(name, sizeof(name), "SIGPIPE %s", sigpipe_cases[how]);
        CALL(name, pipe_capture(argv, text, sizeof(text), &len, &status));
        tell_signals("after the call", how);
        snprintf(name, sizeof(name), "program %d", how);
        tell_bytes(name, text, len < sizeof(text) ? len : 0);
        snprintf(name, sizeof(name), "missing, SIGPIPE %s", sigpipe_cases[how]);
        CALL(name, pipe_capture(missing, text, sizeof(text), &len, &status));
        tell_signals("after a failure", how);
    }
    forget_signals();
    unsetenv("KIT_WORD");
    close(SPARE_FD);
    close(null);
}

/* Descriptors 0, 1, 2 are closed where `mask` has a bit. */
SCENARIO(capture_without_standard_fds)
{
    struct line l;

    parse_line(&l, given_str("program"));
    for (int fd = 0; fd < 3; fd++)
        if (given_int("mask") >> fd & 1)
            close(fd);
    call_capture("capture", l.words[0], 100);
    tell_int("open", is_open(0) | is_open(1) << 1 | is_open(2) << 2);
}

/* Calls with 0, 1, 2, ... descriptors left; tells what each call returned and
 * left behind. */
SCENARIO(capture_with_few_descriptors)
{
    struct scarcity sc;
    struct line l;
    char name[32];

    parse_line(&l, given_str("program"));
    if (given_int("lowest") == 1) {
        close(0);
        close(1);
    }
    for (int few = 0; few <= given_int("most"); few++) {
        leave_few_descriptors(&sc, few, given_int("lowest") == 1);
        snprintf(name, sizeof(name), "with %d left", few);
        call_capture(name, l.words[0], 100);
        snprintf(name, sizeof(name), "leaked %d", few);
        tell_int(name, count_open() - (SCARCE_BELOW - few));
        snprintf(name, sizeof(name), "children %d", few);
        tell_int(name, count_children());
        give_descriptors_back(&sc);
    }
}

/* What a program has told that has to have what its caller has. */
HELPER void expect_inheritance(const char *which, const char *got, size_t size,
                               const char *caller)
{
    char expected[640];
    size_t n = strlen(caller);

    snprintf(expected, sizeof(expected), "%s has of its caller: %s", which,
             caller);
    EXPECT(size == n + 1 && memcmp(got, caller, n) == 0, expected, "%.*s",
           (int)size - (size > 0), got);
}

/* Checks what capture_with_signals and converse_with_signals told. */
HELPER void expect_callers_signals(struct subject *s)
{
    char name[48];

    for (int how = 0; how < SIGPIPE_CASES; how++) {
        snprintf(name, sizeof(name), "SIGPIPE %s", sigpipe_cases[how]);
        expect_return(s, name, 0);
        expect_signals(s, "after the call", how);
        size_t n;
        snprintf(name, sizeof(name), "program %d", how);
        const char *got = got_bytes(s, name, &n);
        snprintf(name, sizeof(name), "caller %d", how);
        expect_inheritance("the program", got, n, got_str(s, name));
        snprintf(name, sizeof(name), "missing, SIGPIPE %s", sigpipe_cases[how]);
        expect_error(s, name, ENOENT);
        expect_signals(s, "after a failure", how);
    }
}

/* The text of begin_text() is to have come out once. */
HELPER void expect_text_once(int fd)
{
    char got[64];
    size_t n = peer_read(fd, got, sizeof(got));

    EXPECT(n == 4 && memcmp(got, "once", 4) == 0,
           "what the caller has in a buffer of stdio is written once, by the "
           "caller",
           "%.*s: the child has written it, too (exit() does that)", (int)n,
           got);
}

/* Checks what a *_with_few_descriptors scenario told. */
HELPER void expect_emfile_or_success(struct subject *s, int most)
{
    char name[32];

    for (int few = 0; few <= most; few++) {
        snprintf(name, sizeof(name), "with %d left", few);
        if (few == most || got_int(s, name) != -1)
            expect_return(s, name, 0);
        else
            expect_error(s, name, EMFILE);
        expect_nothing_left_of(s, few);
    }
}

HELPER struct subject *finish_capture(const char *program, size_t cap)
{
    struct subject *s =
        START(capture, STR("program", program), INT("cap", (long long)cap));

    finish(s);
    return s;
}

/* TEXT repeated n times. */
HELPER char *repeated(const char *text, size_t n)
{
    size_t size = strlen(text);
    char *all = malloc(size * n + 1);

    REQUIRE(all != NULL);
    for (size_t i = 0; i < n; i++)
        memcpy(all + i * size, text, size);
    return all;
}

TEST(capture, capture_collects_what_a_program_prints)
{
    char text[33], program[64];

    random_text(text, 32);
    snprintf(program, sizeof(program), "repeat %s 2", text);
    struct subject *s = finish_capture(program, 100);
    expect_return(s, "capture", 0);
    expect_int(s, "len", 64);
    char *all = repeated(text, 2);
    expect_bytes(s, "out", all, 64);
    expect_exit(s, "status", 0);
    free(all);

    s = START(capture_echo, STR("text", text)); /* found along PATH */
    finish(s);
    expect_return(s, "capture", 0);
    expect_bytes(s, "out", text, 32);
}

TEST(capture, capture_gives_the_programs_wait_status)
{
    struct subject *s = finish_capture("exit 7", 100);

    expect_return(s, "capture", 0);
    expect_exit(s, "status", 7);
    expect_int(s, "len", 0);
    s = finish_capture("exit 127", 100); /* it did run */
    expect_return(s, "capture", 0);
    expect_exit(s, "status", 127);
    s = finish_capture("die 15", 100);
    expect_return(s, "capture", 0);
    expect_death(s, "status", SIGTERM);

    /* Its output is at the end long before the program is. */
    struct ends hold = new_pipe();
    s = START(capture_held, STR("program", "quiet 5"), FD("hold", hold.r));
    await_asleep(s);
    shut(&hold.w);
    finish(s);
    expect_return(s, "capture", 0);
    expect_exit(s, "status", 5);

    /* A program that is stopped has not ended. */
    s = START(capture, STR("program", "stop 6"), INT("cap", 100));
    await_asleep(s);
    thaw(s);
    finish(s);
    expect_return(s, "capture", 0);
    expect_exit(s, "status", 6);
}

TEST(capture, capture_reads_on_however_much_comes)
{
    size_t n = under_valgrind() ? 3000 : 8000; /* times 32 bytes */
    char text[33], program[64];

    random_text(text, 32);
    snprintf(program, sizeof(program), "repeat %s %zu", text, n);
    struct subject *s = finish_capture(program, n * 32);
    expect_return(s, "capture", 0);
    expect_int(s, "len", (long long)n * 32);
    char *all = repeated(text, n);
    expect_bytes(s, "out", all, n * 32);
    expect_exit(s, "status", 0);
    free(all);
}

TEST(capture, capture_drops_what_is_over_cap_but_counts_it)
{
    char text[33], program[64];

    random_text(text, 32);
    snprintf(program, sizeof(program), "repeat %s 5000", text);
    struct subject *s = finish_capture(program, 50);
    expect_return(s, "capture", 0);
    expect_int(s, "len", 5000 * 32);
    char *all = repeated(text, 2);
    expect_bytes(s, "out", all, 50);
    expect_guard(s, "out", 50);
    expect_exit(s, "status", 0); /* no SIGPIPE: it was read to its end */
    free(all);

    s = finish_capture(program, 0); /* and out is NULL */
    expect_return(s, "capture", 0);
    expect_int(s, "len", 5000 * 32);
    expect_exit(s, "status", 0);
}

TEST(capture, capture_says_why_a_program_cannot_run)
{
    const char *dir = new_dir();
    struct subject *s = finish_capture("/there/is/no/such/program", 100);

    expect_error(s, "capture", ENOENT);
    expect_int(s, "len", UNTOUCHED);
    expect_int(s, "status", UNTOUCHED);
    s = finish_capture(dir, 100); /* a directory is not executable */
    expect_error(s, "capture", EACCES);
    s = finish_capture("/dev/null/program", 100);
    expect_error(s, "capture", ENOTDIR);

    struct ends text = new_pipe();
    s = START(capture_with_text, STR("program", "/no/such/program"),
              INT("cap", 100), FD("text", text.w),
              HOLD_AFTER("read", 1, "has read"));
    await_asleep(s); /* the child has done all that it does */
    if (was_told(s, "has read"))
        let_go(s, "has read");
    finish(s);
    expect_error(s, "capture", ENOENT);
    expect_text_once(text.r);
}

TEST(capture, capture_survives_signals_and_short_reads)
{
    char text[33], program[64];

    random_text(text, 32);
    snprintf(program, sizeof(program), "repeat %s 20", text);
    struct subject *s = START(capture, STR("program", program), INT("cap", 300),
                              FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR),
                              FAIL("read", 1, MANY_INTERRUPTS, EINTR),
                              CHAOS(random_below(1000)));
    finish(s);
    expect_return(s, "capture", 0);
    expect_int(s, "len", 640);
    char *all = repeated(text, 20);
    expect_bytes(s, "out", all, 300);
    expect_exit(s, "status", 0);
    free(all);
    s = START(capture, STR("program", "/no/such/program"), INT("cap", 300),
              CHAOS(random_below(1000)));
    finish(s);
    expect_error(s, "capture", ENOENT);
}

TEST(capture, capture_waits_for_its_own_child_only)
{
    struct subject *s = START(capture_beside_a_child, NOTHING);

    finish(s);
    expect_return(s, "capture", 0);
    expect_exit(s, "status", 5);
    expect_own_child(s, "pipe_capture");
}

TEST(capture, capture_gives_the_program_what_the_caller_has)
{
    char word[17];

    random_text(word, 16);
    struct subject *s = START(capture_with_signals, STR("word", word));
    finish(s);
    expect_callers_signals(s);
}

/* The nth read() fails; the program has printed something before, or not.  It
 * does not end by itself, nor by SIGTERM. */
TEST(capture, capture_ends_the_program_when_it_cannot_go_on)
{
    static const struct {
        unsigned nth;
        const char *program;
    } cases[] = {
        {1, "hold 0 "}, {2, "hold 0 "}, {2, "hold 0 text"}, {3, "hold 0 text"}};
    struct subject *s;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ends hold = new_pipe();
        s = START(capture_held, STR("program", cases[i].program),
                  FD("hold", hold.r), FAIL("read", cases[i].nth, 1, EIO),
                  FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR));
        if (!finish_held(s, &hold.w, "read", cases[i].nth)) {
            expect_return(s, "capture", 0);
            continue;
        }
        expect_error(s, "capture", EIO);
        expect_int(s, "len", UNTOUCHED);
        expect_int(s, "status", UNTOUCHED);
        expect_nothing_left(s);
    }

    s = START(capture_that_cannot_wait, STR("program", "exit 0"),
              INT("cap", 100), FAIL("waitpid", 1, 1, ECHILD));
    finish(s);
    if (got_int(s, "capture") == -1) {
        expect_int(s, "len", UNTOUCHED);
        expect_int(s, "status", UNTOUCHED);
    }
}

TEST(capture, capture_leaks_no_descriptor_into_the_program)
{
    struct subject *s = finish_capture("fds", 100);

    expect_return(s, "capture", 0);
    size_t n;
    const char *fds = got_bytes(s, "out", &n);
    expect_fds(fds, n, "0 1 2 ", "the program has open: 0 1 2");
}

TEST(capture, capture_works_when_0_1_and_2_are_closed)
{
    /* bit 0: descriptor 0 is closed, and so on; what the program has then */
    static const struct {
        int closed;
        const char *fds;
    } cases[] = {{1, "1 2 "}, {2, "0 1 2 "}, {3, "1 2 "}, {7, "1 "}};

    for (size_t i = 0; i < 4; i++) {
        struct subject *s =
            START(capture_without_standard_fds, STR("program", "fds"),
                  INT("mask", cases[i].closed));
        finish(s);
        expect_return(s, "capture", 0);
        size_t n;
        const char *fds = got_bytes(s, "out", &n);
        char expected[100];
        snprintf(expected, sizeof(expected),
                 "with %s%s%sclosed in the caller the program has open: %s",
                 cases[i].closed & 1 ? "0 " : "",
                 cases[i].closed & 2 ? "1 " : "",
                 cases[i].closed & 4 ? "2 " : "", cases[i].fds);
        expect_fds(fds, n, cases[i].fds, expected);
        expect_exit(s, "status", 0);
        EXPECT(under_valgrind() || /* which opens files of its own there */
                   got_int(s, "open") == (~cases[i].closed & 7),
               "0, 1 and 2 are open or closed in the caller as before",
               "now open:%s%s%s", got_int(s, "open") & 1 ? " 0" : "",
               got_int(s, "open") & 2 ? " 1" : "",
               got_int(s, "open") & 4 ? " 2" : "");
    }
}

TEST(capture, capture_leaves_nothing_open_and_no_child)
{
    struct subject *s = finish_capture("repeat hello 20", 50);

    expect_return(s, "capture", 0);
    expect_nothing_left(s);
}

TEST(capture, capture_leaves_nothing_behind_when_it_cannot_start)
{
    struct subject *s =
        START(capture_with_few_descriptors, STR("program", "exit 0"),
              INT("most", 8), INT("lowest", 0));

    finish(s);
    expect_emfile_or_success(s, 8);
    s = START(capture_with_few_descriptors, STR("program", "exit 0"),
              INT("most", 10), INT("lowest", 1)); /* 0 and 1 among them */
    finish(s);
    expect_emfile_or_success(s, 10);

    s = finish_capture("/there/is/no/such/program", 100);
    expect_error(s, "capture", ENOENT);
    expect_nothing_left(s);

    s = START(capture, STR("program", "exit 0"), INT("cap", 10),
              FAIL("fork", 1, 1, EAGAIN));
    finish(s);
    if (calls_made(s, "fork") > 0)
        expect_error(s, "capture", EAGAIN);
    expect_nothing_left(s);
}

/* ------------------------------------------------------------------------
 * pipeline: pipe_pipeline()
 */

HELPER int call_pipeline(const char *name, struct line *l, int in, int out)
{
    int statuses[LINE_PROGRAMS], result, touched = 0;
    char status[48];

    for (int i = 0; i < LINE_PROGRAMS; i++)
        statuses[i] = UNTOUCHED;
    result = (int)CALL(name, pipe_pipeline(l->argvs, l->n, in, out, statuses));
    for (size_t i = 0; i < LINE_PROGRAMS; i++) {
        touched += statuses[i] != UNTOUCHED;
        if (i > l->n)
            continue;
        snprintf(status, sizeof(status), "statuses[%zu]", i);
        tell_int(status, statuses[i]);
    }
    snprintf(status, sizeof(status), "statuses set %s", name);
    tell_int(status, touched);
    return result;
}

HELPER void tell_flags(const char *when, int in, int out)
{
    char name[32];

    snprintf(name, sizeof(name), "in %s", when);
    tell_int(name, fcntl(in, F_GETFL) << 1 | fcntl(in, F_GETFD));
    snprintf(name, sizeof(name), "out %s", when);
    tell_int(name, fcntl(out, F_GETFL) << 1 | fcntl(out, F_GETFD));
}

SCENARIO(pipeline)
{
    struct line l;
    int in = given_fd("in"), out = given_fd("out");

    parse_line(&l, given_str("line"));
    tell_flags("before", in, out);
    call_pipeline("pipeline", &l, in, out);
    tell_flags("after", in, out);
}

/* in_fd and out_fd have the numbers in_at and out_at; 0, 1 and 2 are closed
 * where they are neither. */
SCENARIO(pipeline_at)
{
    struct line l;
    int in = fcntl(given_fd("in"), F_DUPFD, 20);
    int out = fcntl(given_fd("out"), F_DUPFD, 20);
    int in_at = (int)given_int("in_at"), out_at = (int)given_int("out_at");

    parse_line(&l, given_str("line"));
    for (int fd = 0; fd < 20; fd++)
        close(fd);
    dup2(in, in_at);
    dup2(out, out_at);
    close(in);
    close(out);
    call_pipeline("pipeline", &l, in_at, out_at);
    tell_int("still open", is_open(in_at) + is_open(out_at));
    close(in_at);
    close(out_at);
}

SCENARIO(pipeline_in_and_out_are_one)
{
    struct line l;
    int fd = given_fd("both");

    parse_line(&l, given_str("line"));
    call_pipeline("pipeline", &l, fd, fd);
}

SCENARIO(pipeline_mistaken)
{
    struct line l;
    int in = given_fd("in"), out = given_fd("out");
    int closed = fcntl(in, F_DUPFD, 30);

    close(closed);
    parse_line(&l, "tag x|tag y");
    call_pipeline("bad in_fd", &l, closed, out);
    call_pipeline("bad out_fd", &l, in, closed);
    l.n = 0;
    call_pipeline("n is 0", &l, in, out);
}

/* Calls with 0, 1, 2, ... descriptors left, until one works. */
SCENARIO(pipeline_with_few_descriptors)
{
    struct scarcity sc;
    struct line l;
    char name[32];
    int in = given_fd("in"), out = given_fd("out"), result = -1;
    bool lowest = given_int("lowest") == 1;
    int old = begin_hold();

    parse_line(&l, given_str("line"));
    if (lowest) {
        close(0);
        close(1);
    }
    tell_flags("before", in, out);
    for (int few = 0; few <= given_int("most") && result == -1; few++) {
        leave_few_descriptors(&sc, few, lowest);
        snprintf(name, sizeof(name), "with %d left", few);
        result = call_pipeline(name, &l, in, out);
        snprintf(name, sizeof(name), "leaked %d", few);
        tell_int(name, count_open() - (SCARCE_BELOW - few));
        snprintf(name, sizeof(name), "children %d", few);
        tell_int(name, count_children());
        snprintf(name, sizeof(name), "after %d", few);
        tell_flags(name, in, out);
        give_descriptors_back(&sc);
        tell_int("tried", few);
    }
    end_hold(old);
}

SCENARIO(pipeline_held)
{
    int old = begin_hold();

    scenario_pipeline();
    end_hold(old);
}

SCENARIO(pipeline_with_text)
{
    FILE *f = begin_text(given_fd("text"));

    scenario_pipeline();
    fclose(f);
}

SCENARIO(pipeline_beside_a_child)
{
    pid_t pid = new_dead_child();

    scenario_pipeline();
    tell_dead_child(pid);
}

/* waitpid() is made to fail: the scenario waits in its place. */
SCENARIO(pipeline_that_cannot_wait)
{
    scenario_pipeline();
    tell_int("children", wait_for_children());
}

/* For each of sigpipe_cases, two programs that tell what they get of their
 * caller, and a call that fails. */
SCENARIO(pipeline_with_signals)
{
    struct line l;
    char name[48], text[512];
    int in = given_fd("in"), out = given_fd("out"), statuses[2];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int closed = fcntl(in, F_DUPFD, 30);

    close(closed);
    setenv("KIT_WORD", given_str("word"), 1);
    dup2(null, SPARE_FD);
    parse_line(&l, "inherit|inherit");
    for (int how = 0; how < SIGPIPE_CASES; how++) {
        arrange_signals(how);
        put_inheritance(text, sizeof(text));
        snprintf(name, sizeof(name), "caller %d", how);
        tell_str(name, text);
        tell_signals("before", how);
        snprintf(name, sizeof(name), "SIGPIPE %s", sigpipe_cases[how]);
        CALL(name, pipe_pipeline(l.argvs, l.n, in, out, statuses));
        tell_signals("after the call", how);
        snprintf(name, sizeof(name), "bad in_fd, SIGPIPE %s",
                 sigpipe_cases[how]);
        CALL(name, pipe_pipeline(l.argvs, l.n, closed, out, statuses));
        tell_signals("after a failure", how);
    }
    forget_signals();
    unsetenv("KIT_WORD");
    close(SPARE_FD);
    close(null);
}

/* Runs a line between two pipes, with `size` bytes of input that fit into one;
 * *got is what came out.  Expects the call to return 0. */
HELPER struct subject *run_line(const char *line, const void *data, size_t size,
                                void *got, size_t *got_size)
{
    struct ends in = new_pipe(), out = new_pipe();

    peer_write(in.w, data, size);
    shut(&in.w);
    struct subject *s =
        START(pipeline, STR("line", line), FD("in", in.r), FD("out", out.w));
    finish(s);
    expect_return(s, "pipeline", 0);
    *got_size = peer_read(out.r, got, *got_size);
    return s;
}

TEST(pipeline, pipeline_of_one_runs_between_in_and_out)
{
    unsigned char data[1000], got[1001];
    size_t n = sizeof(got);

    fill_random(data, sizeof(data));
    struct subject *s = run_line("copy", data, 1000, got, &n);
    expect_exit(s, "statuses[0]", 0);
    expect_same(got, n, data, 1000);
}

TEST(pipeline, pipeline_joins_programs_in_order)
{
    unsigned char data[1003], got[1004];
    size_t n = sizeof(got);

    fill_random(data, 1000);
    memcpy(data + 1000, "abc", 3);
    struct subject *s = run_line("tag a|tag b|tag c", data, 1000, got, &n);
    expect_exit(s, "statuses[0]", 0);
    expect_exit(s, "statuses[1]", 0);
    expect_exit(s, "statuses[2]", 0);
    expect_same(got, n, data, 1003);

    n = sizeof(got); /* cat is found along PATH */
    s = run_line("tag a|=cat|tag b|tag c", data, 1000, got, &n);
    expect_exit(s, "statuses[1]", 0);
    expect_same(got, n, data, 1003);

    /* As many as one likes. */
    char line[LINE_PROGRAMS * 8] = "tag a", letters[LINE_PROGRAMS] = "a";
    for (int i = 1; i < LINE_PROGRAMS - 2; i++) {
        letters[i] = (char)('a' + i);
        snprintf(line + strlen(line), 8, "|tag %c", letters[i]);
    }
    n = sizeof(got);
    s = run_line(line, "", 0, got, &n);
    expect_exit(s, "statuses[21]", 0);
    expect_int(s, "statuses[22]", UNTOUCHED);
    expect_same(got, n, letters, LINE_PROGRAMS - 2);
}

TEST(pipeline, pipeline_gives_each_program_its_own_status)
{
    char got[100];
    size_t n = sizeof(got);

    /* The first ends long after the last. */
    struct ends hold = new_pipe();
    struct subject *s = START(pipeline_held, STR("line", "quiet 5|exit 9"),
                              FD("in", new_empty_input()),
                              LEND_FD("out", hold.r), FD("hold", hold.r));
    await_asleep(s);
    shut(&hold.w);
    finish(s);
    expect_return(s, "pipeline", 0);
    expect_exit(s, "statuses[0]", 5);
    expect_exit(s, "statuses[1]", 9);

    s = run_line("exit 3|die 15|exit 0|exit 9", "", 0, got, &n);
    expect_exit(s, "statuses[0]", 3);
    expect_death(s, "statuses[1]", SIGTERM);
    expect_exit(s, "statuses[2]", 0);
    expect_exit(s, "statuses[3]", 9);
    expect_int(s, "statuses[4]", UNTOUCHED);

    /* A program that is stopped has not ended. */
    hold = new_pipe();
    s = START(pipeline, STR("line", "stop 6|exit 4"), FD("in", hold.r),
              FD("out", hold.w));
    await_asleep(s);
    thaw(s);
    finish(s);
    expect_return(s, "pipeline", 0);
    expect_exit(s, "statuses[0]", 6);
    expect_exit(s, "statuses[1]", 4);

    s = START(pipeline_beside_a_child, STR("line", "exit 1|exit 2"),
              FD("in", new_empty_input()), FD("out", new_empty_input()));
    finish(s);
    expect_return(s, "pipeline", 0);
    expect_exit(s, "statuses[0]", 1);
    expect_exit(s, "statuses[1]", 2);
    expect_own_child(s, "pipe_pipeline");
}

TEST(pipeline, pipeline_gives_its_programs_what_the_caller_has)
{
    struct ends out = new_pipe();
    char word[17], name[48], got[8192], *at = got;

    random_text(word, 16);
    struct subject *s =
        START(pipeline_with_signals, FD("in", new_empty_input()),
              FD("out", out.w), STR("word", word));
    finish(s);
    size_t left = peer_read(out.r, got, sizeof(got));
    for (int how = 0; how < SIGPIPE_CASES; how++) {
        snprintf(name, sizeof(name), "SIGPIPE %s", sigpipe_cases[how]);
        expect_return(s, name, 0);
        expect_signals(s, "after the call", how);
        for (int i = 0; i < 2; i++) {
            char *end = memchr(at, '\n', left);
            size_t n = end == NULL ? left : (size_t)(end + 1 - at);
            snprintf(name, sizeof(name), "caller %d", how);
            expect_inheritance(i == 0 ? "the last program"
                                      : "the first program",
                               at, n, got_str(s, name));
            at += n;
            left -= n;
        }
        snprintf(name, sizeof(name), "bad in_fd, SIGPIPE %s",
                 sigpipe_cases[how]);
        expect_error(s, name, EBADF);
        expect_signals(s, "after a failure", how);
    }
}

TEST(pipeline, pipeline_runs_its_programs_side_by_side)
{
    enum { TIMES = 12000 }; /* of 32 bytes: several pipes full */
    char text[33], line[100], expected[64], got[64];
    size_t n = sizeof(got);
    uint64_t hash = HASH_START;

    random_text(text, 32);
    snprintf(line, sizeof(line), "repeat %s %d|copy|copy|sum", text, TIMES);
    struct subject *s = run_line(line, "", 0, got, &n);
    for (int i = 0; i < TIMES; i++)
        hash = hash_add(hash, text, 32);
    snprintf(expected, sizeof(expected), "%d %llx", TIMES * 32,
             (unsigned long long)hash);
    EXPECT(n == strlen(expected) && memcmp(got, expected, n) == 0,
           "all 384000 bytes come to the last program (length, hash)",
           "%.*s, not %s", (int)n, got, expected);
    expect_exit(s, "statuses[0]", 0);
    expect_exit(s, "statuses[3]", 0);
}

TEST(pipeline, pipeline_leaves_no_end_open_in_any_program)
{
    char got[100];
    size_t n = sizeof(got);

    run_line("fds and copy|fds and copy|fds and copy", "", 0, got, &n);
    expect_fds(got, n, "0 1 2 | 0 1 2 | 0 1 2 | ",
               "each program has open, from the last to the first: "
               "0 1 2 | 0 1 2 | 0 1 2 |");
}

TEST(pipeline, pipeline_ends_the_first_when_the_last_has_enough)
{
    char got[200];
    size_t n = sizeof(got);
    struct subject *s = run_line("forever|head 160", "", 0, got, &n);

    EXPECT(n == 160, "160 bytes come out", "%zu bytes", n);
    expect_death(s, "statuses[0]", SIGPIPE);
    expect_exit(s, "statuses[1]", 0);
}

TEST(pipeline, pipeline_counts_a_missing_program_as_127)
{
    char got[100];
    size_t n = sizeof(got);
    struct subject *s =
        run_line("tag a|/there/is/no/such/program|tag z", "x", 1, got, &n);

    expect_exit(s, "statuses[1]", 127);
    expect_exit(s, "statuses[2]", 0);
    EXPECT(n == 1 && got[0] == 'z', "the last program runs, and sees no input",
           "%zu bytes came out", n);

    /* Whatever exec says; and nothing is printed on 2. */
    struct ends out = new_pipe(), err = new_pipe();
    char line[256];
    snprintf(line, sizeof(line), "%s|/dev/null/program|/no/such/program",
             new_dir());
    s = START(pipeline_held, STR("line", line), FD("in", new_empty_input()),
              FD("out", out.w), FD("hold", err.w));
    finish(s);
    expect_return(s, "pipeline", 0);
    expect_exit(s, "statuses[0]", 127);
    expect_exit(s, "statuses[1]", 127);
    expect_exit(s, "statuses[2]", 127);
    n = peer_read_now(err.r, got, sizeof(got));
    EXPECT(n == 0, "your function prints nothing, and nor does its child",
           "on descriptor 2 comes: %.*s", (int)n, got);

    struct ends text = new_pipe();
    out = new_pipe();
    s = START(pipeline_with_text, STR("line", "/no/such/program"),
              FD("in", new_empty_input()), FD("out", out.w),
              FD("text", text.w));
    finish(s);
    expect_exit(s, "statuses[0]", 127);
    expect_text_once(text.r);
}

TEST(pipeline, pipeline_works_whatever_numbers_in_and_out_have)
{
    static const int at[][2] = {{0, 1}, {1, 0}, {1, 1}, {0, 0}, {5, 6}, {0, 2}};
    static const char *const lines[] = {"tag y", "tag x|tag y|tag z"};
    static const char *const tags[] = {"y", "xyz"};
    char text[21], expected[32], got[64];

    for (size_t i = 0; i < 2 * sizeof(at) / sizeof(at[0]); i++) {
        const int *fds = at[i / 2];
        struct ends in = new_pipe(), out = new_pipe();
        int both[2];
        struct subject *s;

        random_text(text, 20);
        if (fds[0] == fds[1]) { /* one descriptor: a socket is both */
            new_socketpair(both);
            in.w = out.r = both[1];
            in.r = both[0];
            out.w = fcntl(both[0], F_DUPFD_CLOEXEC, 0);
        }
        peer_write(in.w, text, 20);
        if (fds[0] != fds[1])
            shut(&in.w);
        else
            REQUIRE(shutdown(in.w, SHUT_WR) == 0);
        s = START(pipeline_at, STR("line", lines[i % 2]), FD("in", in.r),
                  FD("out", out.w), INT("in_at", fds[0]),
                  INT("out_at", fds[1]));
        finish(s);
        expect_return(s, "pipeline", 0);
        size_t n = peer_read(out.r, got, sizeof(got));
        snprintf(expected, sizeof(expected), "%s%s", text, tags[i % 2]);
        char phrase[80];
        snprintf(phrase, sizeof(phrase),
                 "in_fd %d, out_fd %d: %zu bytes come out", fds[0], fds[1],
                 strlen(expected));
        EXPECT(n == strlen(expected) && memcmp(got, expected, n) == 0, phrase,
               "%zu bytes", n);
        expect_exit(s, "statuses[0]", 0);
        EXPECT(got_int(s, "still open") == 2,
               "in_fd and out_fd are still open in the caller",
               "one of them is closed");
    }

    /* 2 is open in each program, also when it is in_fd or out_fd. */
    for (int i = 0; i < 2; i++) {
        struct ends out = new_pipe();
        struct subject *s =
            START(pipeline_at, STR("line", "fds and copy|fds and copy"),
                  FD("in", new_empty_input()), FD("out", out.w),
                  INT("in_at", i == 0 ? 2 : 0), INT("out_at", i == 0 ? 1 : 2));
        finish(s);
        expect_return(s, "pipeline", 0);
        size_t n = peer_read(out.r, got, sizeof(got));
        expect_fds(got, n, "0 1 2 | 0 1 2 | ",
                   i == 0 ? "in_fd 2, out_fd 1: each program has open 0 1 2 |"
                          : "in_fd 0, out_fd 2: each program has open 0 1 2 |");
    }
}

TEST(pipeline, pipeline_leaves_the_callers_descriptors_alone)
{
    struct ends in = new_pipe(), out = new_pipe();
    char got[10];

    shut(&in.w);
    struct subject *s = START(pipeline, STR("line", "tag a|tag b"),
                              FD("in", in.r), FD("out", out.w));
    finish(s);
    expect_return(s, "pipeline", 0);
    EXPECT(got_int(s, "in after") == got_int(s, "in before"),
           "in_fd is open, with its flags as before", "they have changed");
    EXPECT(got_int(s, "out after") == got_int(s, "out before"),
           "out_fd is open, with its flags as before", "they have changed");

    out = new_pipe();
    s = START(pipeline_mistaken, FD("in", new_empty_input()), FD("out", out.w));
    finish(s);
    expect_error(s, "bad in_fd", EBADF);
    expect_error(s, "bad out_fd", EBADF);
    expect_error(s, "n is 0", EINVAL);
    EXPECT(peer_read(out.r, got, sizeof(got)) == 0, "nothing was started",
           "a program has written to out_fd");
    EXPECT(calls_made(s, "fork") == 0,
           "nothing is started when in_fd or out_fd is not open",
           "%u processes were", calls_made(s, "fork"));
}

TEST(pipeline, pipeline_leaves_nothing_open_and_no_child)
{
    char got[10];
    size_t n = sizeof(got);
    struct subject *s = run_line("tag a|tag b|tag c", "", 0, got, &n);

    expect_nothing_left(s);
    n = sizeof(got);
    s = run_line("tag a|/there/is/no/such/program|tag c", "", 0, got, &n);
    expect_nothing_left(s);
}

/* A line that lives until the test lets it go, with 0, 1, 2, ... descriptors
 * to be had; what the last program prints has gone through all of them. */
HELPER void expect_end_of_line(bool lowest)
{
    enum { MOST = 16 };
    struct ends hold = new_pipe(), out = new_pipe();
    char name[48];
    struct subject *s = START(
        pipeline_with_few_descriptors, STR("line", "hold 0 text|copy|copy"),
        FD("in", new_empty_input()), FD("out", out.w), FD("hold", hold.r),
        INT("most", MOST), INT("lowest", lowest));

    await_asleep(s);
    if (bytes_waiting(out.r) > 0) /* all three run */
        shut(&hold.w);
    finish(s);
    int tried = (int)got_int(s, "tried");
    for (int few = 0; few <= tried; few++) {
        snprintf(name, sizeof(name), "with %d left", few);
        if (few == MOST || got_int(s, name) != -1) {
            expect_return(s, name, 0);
        } else {
            expect_error(s, name, EMFILE);
            snprintf(name, sizeof(name), "statuses set with %d left", few);
            EXPECT(got_int(s, name) == 0, "statuses[] is as before",
                   "%lld of them are not", got_int(s, name));
        }
        expect_nothing_left_of(s, few);
        snprintf(name, sizeof(name), "in after %d", few);
        EXPECT(got_int(s, name) == got_int(s, "in before"),
               "in_fd has its flags as before", "they have changed");
        snprintf(name, sizeof(name), "out after %d", few);
        EXPECT(got_int(s, name) == got_int(s, "out before"),
               "out_fd has its flags as before", "they have changed");
    }
}

TEST(pipeline, pipeline_ends_what_it_started_when_it_cannot_go_on)
{
    struct subject *s;

    expect_end_of_line(false);
    expect_end_of_line(true); /* 0 and 1 among them */

    for (unsigned nth = 1; nth <= 3; nth++) {
        struct ends hold = new_pipe(), out = new_pipe();
        s = START(pipeline_held, STR("line", "hold 0 |hold 0 |hold 0 "),
                  FD("in", new_empty_input()), FD("out", out.w),
                  FD("hold", hold.r), FAIL("fork", nth, 1, EAGAIN),
                  FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR));
        if (finish_held(s, &hold.w, "fork", nth)) {
            expect_error(s, "pipeline", EAGAIN);
            EXPECT(got_int(s, "statuses set pipeline") == 0,
                   "statuses[] is as before", "%lld of them are not",
                   got_int(s, "statuses set pipeline"));
        }
        expect_nothing_left(s);
    }

    s = START(pipeline_that_cannot_wait, STR("line", "exit 0|exit 0|exit 0"),
              FD("in", new_empty_input()), FD("out", new_empty_input()),
              FAIL("waitpid", 1, 1, ECHILD));
    finish(s);
    if (got_int(s, "pipeline") == -1) {
        EXPECT(got_int(s, "statuses set pipeline") == 0,
               "when a wait fails statuses[] is as before",
               "%lld of them are not", got_int(s, "statuses set pipeline"));
        EXPECT(got_int(s, "children") <= 1,
               "when one wait fails the other programs are waited for",
               "children that nobody has waited for: %lld",
               got_int(s, "children"));
    }
}

TEST(pipeline, pipeline_survives_signals)
{
    struct ends in = new_pipe(), out = new_pipe();
    char text[33], expected[40], got[64];

    random_text(text, 32);
    snprintf(expected, sizeof(expected), "%sab", text);
    peer_write(in.w, text, 32);
    shut(&in.w);
    struct subject *s = START(
        pipeline, STR("line", "tag a|tag b"), FD("in", in.r), FD("out", out.w),
        FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR), CHAOS(random_below(1000)));
    finish(s);
    expect_return(s, "pipeline", 0);
    expect_exit(s, "statuses[0]", 0);
    expect_exit(s, "statuses[1]", 0);
    expect_same(got, peer_read(out.r, got, sizeof(got)), expected, 34);
}

/* ------------------------------------------------------------------------
 * log: pipe_log()
 */

SCENARIO(log)
{
    int fd = given_fd("out");
    size_t size;
    const void *rec = given_bytes("rec", &size);

    CALL("log", pipe_log(fd, rec, size));
}

SCENARIO(log_nothing)
{
    int fd = given_fd("out");

    CALL("log", pipe_log(fd, "", 0));
}

/* A record of the test: writer, number, size, and bytes that follow from them
 * and from a key. */
enum { WRITERS = 4, RECORDS = 60, RECORD_HEAD = 6, KEY_BYTES = 256 };

HELPER size_t record_size(const unsigned char *key, unsigned writer,
                          unsigned number)
{
    unsigned x = key[(writer * 61 + number) % KEY_BYTES] * 16u;

    return number % 4 == 0 ? PIPE_BUF : RECORD_HEAD + x % 4000;
}

HELPER void make_record(unsigned char *rec, size_t size,
                        const unsigned char *key, unsigned writer,
                        unsigned number)
{
    for (size_t i = 0; i < size; i++)
        rec[i] = key[(i * 7 + writer * 31 + number * 13) % KEY_BYTES];
    rec[0] = (unsigned char)writer;
    rec[1] = 0;
    rec[2] = (unsigned char)number;
    rec[3] = 0;
    rec[4] = (unsigned char)(size >> 8);
    rec[5] = (unsigned char)size;
}

SCENARIO(log_writers)
{
    int fd = given_fd("out"), records = (int)given_int("records");
    size_t key_size;
    const unsigned char *key = given_bytes("key", &key_size);
    unsigned char rec[PIPE_BUF];

    if (CALL("log nothing", pipe_log(fd, rec, 0)) == -1)
        return;
    for (unsigned w = 0; w < WRITERS; w++) {
        if (fork() != 0)
            continue;
        for (unsigned i = 0; i < (unsigned)records; i++) {
            size_t size = record_size(key, w, i);
            make_record(rec, size, key, w, i);
            int result = pipe_log(fd, rec, size);
            if (result != 0)
                call_int("a record", "pipe_log(fd, rec, size)", result);
        }
        _exit(0);
    }
    wait_for_children();
}

TEST(log, log_writes_a_record_as_it_is)
{
    unsigned char rec[PIPE_BUF], got[PIPE_BUF + 1];
    static const size_t sizes[] = {1, 100, PIPE_BUF};

    fill_random(rec, sizeof(rec));
    for (int i = 0; i < 3; i++) {
        struct ends p = new_pipe();
        struct subject *s =
            START(log, FD("out", p.w), BYTES("rec", rec, sizes[i]),
                  FAIL("write", 1, MANY_INTERRUPTS, EINTR));
        finish(s);
        expect_return(s, "log", 0);
        expect_same(got, peer_read(p.r, got, sizeof(got)), rec, sizes[i]);
    }

    struct ends p = new_pipe(); /* nothing, where each write() would fail */
    struct subject *s =
        START(log_nothing, FD("out", p.w), FAIL("write", 1, 1000, EIO));
    finish(s);
    expect_return(s, "log", 0);
}

TEST(log, log_refuses_a_record_over_pipe_buf)
{
    unsigned char rec[PIPE_BUF + 1] = {0};
    struct ends p = new_pipe();
    struct subject *s =
        START(log, FD("out", p.w), BYTES("rec", rec, PIPE_BUF + 1));

    finish(s);
    expect_error(s, "log", EMSGSIZE);
    EXPECT(bytes_waiting(p.r) == 0, "nothing is written", "%d bytes are",
           bytes_waiting(p.r));
}

TEST(log, log_says_epipe_when_nobody_reads)
{
    struct ends p = new_pipe();

    shut(&p.r);
    struct subject *s = START(log, FD("out", p.w), BYTES("rec", "hello", 5));
    finish(s);
    expect_error(s, "log", EPIPE);

    struct ends good = new_pipe(), broken = new_pipe();
    shut(&broken.r);
    s = START(log_with_signals, FD("good", good.w), FD("broken", broken.w),
              INT("from", 0), INT("to", SIGPIPE_CASES - 1));
    finish(s);
    expect_epipe_alone(s, 0, SIGPIPE_CASES - 1);
}

TEST(log, log_shows_nothing_of_a_record_until_all_of_it_fits)
{
    unsigned char filler[3000] = {0}, rec[2000], got[2001];
    struct ends p = new_small_pipe();

    fill_random(rec, sizeof(rec));
    peer_write(p.w, filler, sizeof(filler));
    struct subject *s =
        START(log, LEND_FD("out", p.w), BYTES("rec", rec, sizeof(rec)));
    await_asleep(s);
    int waiting = bytes_waiting(p.r);
    EXPECT(waiting == (int)sizeof(filler),
           "no byte of a record of 2000 while the pipe has room for 1096",
           "%d bytes of it", waiting - (int)sizeof(filler));
    peer_read(p.r, filler, sizeof(filler));
    finish(s);
    expect_return(s, "log", 0);
    shut(&p.w);
    expect_same(got, peer_read(p.r, got, sizeof(got)), rec, sizeof(rec));

    /* In non-blocking mode there is nothing to wait for. */
    p = new_small_pipe();
    peer_write(p.w, filler, sizeof(filler));
    REQUIRE(fcntl(p.w, F_SETFL, O_WRONLY | O_NONBLOCK) == 0);
    s = START(log, LEND_FD("out", p.w), BYTES("rec", rec, sizeof(rec)));
    finish(s);
    expect_error(s, "log", EAGAIN);
    EXPECT((fcntl(p.w, F_GETFL) & O_NONBLOCK) != 0,
           "the caller's descriptor is in non-blocking mode as before",
           "it is in blocking mode");
    waiting = bytes_waiting(p.r);
    EXPECT(waiting == (int)sizeof(filler), "nothing is written when EAGAIN is",
           "%d bytes are", waiting - (int)sizeof(filler));
}

TEST(log, log_keeps_the_records_of_many_writers_whole)
{
    unsigned char key[KEY_BYTES], got[PIPE_BUF], rec[PIPE_BUF];
    unsigned records = under_valgrind() ? 12 : RECORDS;
    unsigned next[WRITERS] = {0};
    struct ends p = new_small_pipe();

    fill_random(key, sizeof(key));
    struct subject *s =
        START(log_writers, FD("out", p.w), BYTES("key", key, KEY_BYTES),
              INT("records", records));
    await(s, "log nothing");
    expect_return(s, "log nothing", 0);
    for (unsigned n = 0; n < WRITERS * records; n++) {
        size_t head = peer_read(p.r, got, RECORD_HEAD);
        if (head == 0)
            finish(s);
        if (head == 0 && was_told(s, "a record"))
            expect_return(s, "a record", 0);
        EXPECT(head == RECORD_HEAD && got[0] < WRITERS && got[1] == 0 &&
                   got[3] == 0 && got[2] == next[got[0]],
               "a record begins where another one ended",
               "after %u records something else came: records are mixed or "
               "missing",
               n);
        size_t size = record_size(key, got[0], got[2]);
        make_record(rec, size, key, got[0], got[2]);
        size_t more = peer_read(p.r, got + head, size - head);
        EXPECT(more == size - head && memcmp(got, rec, size) == 0,
               "every record in one piece",
               "record %u of writer %u has bytes of another one in it", got[2],
               got[0]);
        next[got[0]]++;
    }
    finish(s);
    peer_expect_eof(p.r);
    if (was_told(s, "a record"))
        expect_return(s, "a record", 0);
}

/* ------------------------------------------------------------------------
 * gate: pipe_gate_init(), pipe_gate_wait(), pipe_gate_open()
 */

/* Forks a process that waits at the gate and tells what came of it. */
HELPER void fork_waiter(struct pipe_gate *g, atomic_uint *passed, int i)
{
    char name[32];

    if (fork() != 0)
        return;
    snprintf(name, sizeof(name), "wait %d", i);
    CALL(name, pipe_gate_wait(g));
    if (passed != NULL)
        atomic_fetch_add(passed, 1);
    _exit(0);
}

SCENARIO(gate)
{
    int waiters = (int)given_int("waiters");
    atomic_uint *passed = given_shared("passed", NULL);
    struct pipe_gate g;

    if (CALL("init", pipe_gate_init(&g)) == -1)
        return;
    for (int i = 0; i < waiters; i++)
        fork_waiter(&g, passed, i);
    wait_for("open");
    CALL("open", pipe_gate_open(&g));
    wait_for_children();
}

/* The gate is opened before the second process comes to it. */
SCENARIO(gate_with_a_late_comer)
{
    atomic_uint *passed = given_shared("passed", NULL);
    struct pipe_gate g;

    if (CALL("init", pipe_gate_init(&g)) == -1)
        return;
    fork_waiter(&g, passed, 0);
    if (fork() == 0) {
        wait_for("come");
        CALL("wait 1", pipe_gate_wait(&g));
        _exit(0);
    }
    CALL("open", pipe_gate_open(&g));
    wait_for_children();
}

/* While the gate is closed the process that made it runs a program, which
 * still runs when the gate opens. */
SCENARIO(gate_while_a_program_runs)
{
    struct pipe_gate g;
    struct line l;
    int input[2];

    parse_line(&l, "copy");
    if (CALL("init", pipe_gate_init(&g)) == -1 || pipe(input) == -1)
        return;
    pid_t program = fork();
    if (program == 0) {
        dup2(input[0], 0);
        close(input[0]);
        close(input[1]);
        execv(l.words[0][0], l.words[0]);
        _exit(127);
    }
    close(input[0]);
    pid_t waiter = fork();
    if (waiter == 0) {
        CALL("wait 0", pipe_gate_wait(&g));
        _exit(0);
    }
    CALL("open", pipe_gate_open(&g));
    waitpid(waiter, NULL, 0);
    reached("the waiter has passed");
    close(input[1]);
    waitpid(program, NULL, 0);
}

HELPER void tell_gate(const char *who, const struct pipe_gate *g,
                      const struct pipe_gate *before)
{
    char name[32];

    snprintf(name, sizeof(name), "%s fields", who);
    tell_int(name, g->read_fd == -1 && g->write_fd == -1);
    snprintf(name, sizeof(name), "%s open", who);
    tell_int(name, is_open(before->read_fd) + is_open(before->write_fd));
}

/* With "low" the ends can be 0 and 1. */
SCENARIO(gate_used_twice)
{
    struct pipe_gate g, before;

    if (given_int("low") == 1) {
        close(0);
        close(1);
    }
    if (CALL("init", pipe_gate_init(&g)) == -1)
        return;
    before = g;
    tell_int("close-on-exec", (fcntl(g.read_fd, F_GETFD) & FD_CLOEXEC) &&
                                  (fcntl(g.write_fd, F_GETFD) & FD_CLOEXEC));
    if (fork() == 0) {
        CALL("wait", pipe_gate_wait(&g));
        tell_gate("waiter", &g, &before);
        CALL("wait again", pipe_gate_wait(&g));
        _exit(0);
    }
    CALL("open", pipe_gate_open(&g));
    tell_gate("opener", &g, &before);
    CALL("open again", pipe_gate_open(&g));
    wait_for_children();
}

SCENARIO(gate_with_few_descriptors)
{
    struct pipe_gate g = {UNTOUCHED, UNTOUCHED};
    struct scarcity sc;

    leave_few_descriptors(&sc, 1, false);
    CALL("init", pipe_gate_init(&g));
    tell_int("read_fd", g.read_fd);
    tell_int("leaked", count_open() - (SCARCE_BELOW - 1));
    give_descriptors_back(&sc);
}

TEST(gate, gate_holds_everybody_until_it_is_opened)
{
    atomic_uint *passed = new_shared(sizeof(*passed));
    struct subject *s = START(gate, INT("waiters", 3), SHARE("passed", passed));

    await(s, "init");
    expect_return(s, "init", 0);
    await_asleep(s);
    unsigned early = atomic_load(passed);
    if (early > 0 || was_told(s, "wait 0"))
        expect_return(s, "wait 0", 0);
    EXPECT(early == 0, "nobody passes a closed gate", "%u of 3 passed", early);
    let_go(s, "open");
    finish(s);
    expect_return(s, "open", 0);
    expect_return(s, "wait 0", 0);
    expect_return(s, "wait 1", 0);
    expect_return(s, "wait 2", 0);
}

TEST(gate, gate_opens_for_a_reader_that_had_the_write_end)
{
    atomic_uint *passed = new_shared(sizeof(*passed));
    struct subject *s = START(gate, INT("waiters", 1), SHARE("passed", passed),
                              FAIL("read", 1, MANY_INTERRUPTS, EINTR));

    let_go(s, "open");
    finish(s);
    expect_return(s, "init", 0);
    expect_return(s, "wait 0", 0);
    expect_return(s, "open", 0);
}

TEST(gate, gate_lets_nobody_go_before_the_last_has_come)
{
    atomic_uint *passed = new_shared(sizeof(*passed));
    struct subject *s = START(gate_with_a_late_comer, SHARE("passed", passed));

    await(s, "init");
    expect_return(s, "init", 0);
    await(s, "open");
    expect_return(s, "open", 0);
    await_asleep(s);
    if (was_told(s, "wait 0"))
        expect_return(s, "wait 0", 0);
    EXPECT(atomic_load(passed) == 0,
           "nobody passes while a process that has the gate is still to come",
           "the first one passed alone");
    let_go(s, "come");
    finish(s);
    expect_return(s, "wait 0", 0);
    expect_return(s, "wait 1", 0);
}

TEST(gate, gate_is_not_held_by_a_program_that_runs_meanwhile)
{
    struct subject *s = START(gate_while_a_program_runs, NOTHING);

    finish(s);
    expect_return(s, "init", 0);
    expect_return(s, "wait 0", 0);
    expect_return(s, "open", 0);
    s = START(gate_used_twice, INT("low", 0));
    finish(s);
    EXPECT(got_int(s, "close-on-exec") == 1, "both ends are close-on-exec",
           "one of them is not");
}

/* What gate_used_twice told of the ends and the fields. */
HELPER void expect_closed_ends(struct subject *s)
{
    EXPECT(got_int(s, "waiter open") == 0,
           "both ends are closed in the process that waited",
           "%lld are still open", got_int(s, "waiter open"));
    EXPECT(got_int(s, "opener open") == 0,
           "both ends are closed in the process that opened",
           "%lld are still open", got_int(s, "opener open"));
    EXPECT(got_int(s, "waiter fields") == 1 && got_int(s, "opener fields") == 1,
           "read_fd and write_fd are -1 afterwards", "another value");
    expect_error(s, "wait again", EINVAL);
    expect_error(s, "open again", EINVAL);
    expect_nothing_left(s);
}

TEST(gate, gate_closes_both_ends_in_every_process)
{
    static const int errors[] = {EIO, ENOMEM};
    struct subject *s;

    for (int low = 0; low < 2; low++) {
        s = START(gate_used_twice, INT("low", low));
        finish(s);
        expect_return(s, "init", 0);
        expect_return(s, "wait", 0);
        expect_return(s, "open", 0);
        expect_closed_ends(s);
    }
    for (int i = 0; i < 2; i++) { /* also after an error of read() */
        s = START(gate_used_twice, INT("low", 0),
                  FAIL("read", 1, 1, errors[i]));
        finish(s);
        if (calls_made(s, "read") > 0)
            expect_error(s, "wait", errors[i]);
        expect_closed_ends(s);
    }

    s = START(gate_with_few_descriptors, NOTHING);
    finish(s);
    expect_error(s, "init", EMFILE);
    expect_int(s, "read_fd", UNTOUCHED);
    expect_int(s, "leaked", 0);
}

/* ------------------------------------------------------------------------
 * converse: pipe_converse()
 */

/* With cap 0 out is NULL, with in_size 0 in. */
HELPER void call_converse(const char *name, char *const argv[], const void *in,
                          size_t in_size, size_t cap)
{
    unsigned char *out = new_buffer(cap), *to = cap == 0 ? NULL : out;
    size_t out_len = (size_t)UNTOUCHED;
    int status = UNTOUCHED;

    if (in_size == 0)
        in = NULL;
    CALL(name, pipe_converse(argv, in, in_size, to, cap, &out_len, &status));
    tell_int("out_len", (long long)out_len);
    tell_int("status", status);
    tell_buffer("out", out, out_len, cap);
    free(out);
}

SCENARIO(converse)
{
    struct line l;
    size_t in_size;
    const void *in = given_bytes("in", &in_size);

    parse_line(&l, given_str("program"));
    call_converse("converse", l.words[0], in, in_size,
                  (size_t)given_int("cap"));
}

SCENARIO(converse_with_few_descriptors)
{
    struct scarcity sc;
    struct line l;
    char name[32];

    parse_line(&l, "copy");
    if (given_int("lowest") == 1) {
        close(0);
        close(1);
    }
    for (int few = 0; few <= given_int("most"); few++) {
        leave_few_descriptors(&sc, few, given_int("lowest") == 1);
        snprintf(name, sizeof(name), "with %d left", few);
        call_converse(name, l.words[0], "hello", 5, 100);
        snprintf(name, sizeof(name), "leaked %d", few);
        tell_int(name, count_open() - (SCARCE_BELOW - few));
        snprintf(name, sizeof(name), "children %d", few);
        tell_int(name, count_children());
        give_descriptors_back(&sc);
    }
}

SCENARIO(converse_beside_a_child)
{
    pid_t pid = new_dead_child();

    scenario_converse();
    tell_dead_child(pid);
}

SCENARIO(converse_held)
{
    int old = begin_hold();

    scenario_converse();
    end_hold(old);
}

/* waitpid() is made to fail: the scenario waits in its place. */
SCENARIO(converse_that_cannot_wait)
{
    scenario_converse();
    wait_for_children();
}

/* Descriptors 0, 1, 2 are closed where `mask` has a bit. */
SCENARIO(converse_without_standard_fds)
{
    struct line l;

    parse_line(&l, given_str("program"));
    for (int fd = 0; fd < 3; fd++)
        if (given_int("mask") >> fd & 1)
            close(fd);
    call_converse("converse", l.words[0], "text", 4, 100);
    tell_int("open", is_open(0) | is_open(1) << 1 | is_open(2) << 2);
}

/* As capture_with_signals, and with a program that closes its input before it
 * has got more than a pipe holds. */
SCENARIO(converse_with_signals)
{
    static char in[2 * PIPE_BYTES];
    char **argv = TOOL_ARGV((char *)"inherit");
    char **deaf = TOOL_ARGV((char *)"deaf", (char *)"text");
    char *missing[] = {(char *)"/no/such/program", NULL};
    char name[48], text[512];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setenv("KIT_WORD", given_str("word"), 1);
    dup2(null, SPARE_FD);
    for (int how = 0; how < SIGPIPE_CASES; how++) {
        size_t len = 0;
        int status;
        arrange_signals(how);
        put_inheritance(text, sizeof(text));
        snprintf(name, sizeof(name), "caller %d", how);
        tell_str(name, text);
        tell_signals("before", how);
        snprintf(name, sizeof(name), "SIGPIPE %s", sigpipe_cases[how]);
        CALL(name,
             pipe_converse(argv, NULL, 0, text, sizeof(text), &len, &status));
        tell_signals("after the call", how);
        snprintf(name, sizeof(name), "program %d", how);
        tell_bytes(name, text, len < sizeof(text) ? len : 0);
        snprintf(name, sizeof(name), "deaf, SIGPIPE %s", sigpipe_cases[how]);
        CALL(name, pipe_converse(deaf, in, sizeof(in), text, sizeof(text), &len,
                                 &status));
        tell_signals("after a broken input", how);
        snprintf(name, sizeof(name), "missing, SIGPIPE %s", sigpipe_cases[how]);
        CALL(name, pipe_converse(missing, in, sizeof(in), text, sizeof(text),
                                 &len, &status));
        tell_signals("after a failure", how);
    }
    forget_signals();
    unsetenv("KIT_WORD");
    close(SPARE_FD);
    close(null);
}

HELPER struct subject *finish_converse(const char *program, const void *in,
                                       size_t in_size, size_t cap)
{
    struct subject *s =
        START(converse, STR("program", program), BYTES("in", in, in_size),
              INT("cap", (long long)cap));

    finish(s);
    return s;
}

TEST(converse, converse_feeds_a_filter_and_collects_its_answer)
{
    unsigned char data[1004];

    fill_random(data, sizeof(data));
    memcpy(data + 1000, "tail", 4);
    struct subject *s = finish_converse("tag tail", data, 1000, 2000);
    expect_return(s, "converse", 0);
    expect_int(s, "out_len", 1004);
    expect_bytes(s, "out", data, 1004);
    expect_exit(s, "status", 0);
    s = finish_converse("tag tail", "", 0, 2000); /* no input at all */
    expect_return(s, "converse", 0);
    expect_bytes(s, "out", "tail", 4);
}

TEST(converse, converse_moves_a_megabyte_both_ways_at_once)
{
    size_t size = under_valgrind() ? 6 * PIPE_BYTES : 1 << 20;
    unsigned char *data = new_random(size);
    struct subject *s = finish_converse("copy", data, size, size);

    expect_return(s, "converse", 0);
    expect_int(s, "out_len", (long long)size);
    expect_bytes(s, "out", data, size);
    expect_exit(s, "status", 0);
    s = finish_converse("narrow", data, 3 * PIPE_BYTES, size);
    expect_return(s, "converse", 0);
    expect_bytes(s, "out", data, 3 * PIPE_BYTES);
    free(data);
}

TEST(converse, converse_lets_the_program_talk_before_it_listens)
{
    size_t n = 8000, size = 3 * PIPE_BYTES;
    unsigned char *data = new_random(size);
    char text[33], program[64];

    random_text(text, 32);
    snprintf(program, sizeof(program), "first %s %zu", text, n);
    struct subject *s = finish_converse(program, data, size, n * 32 + size);
    expect_return(s, "converse", 0);
    expect_int(s, "out_len", (long long)(n * 32 + size));
    char *all = realloc(repeated(text, n), n * 32 + size);
    REQUIRE(all != NULL);
    memcpy(all + n * 32, data, size);
    expect_bytes(s, "out", all, n * 32 + size);
    free(all);
    free(data);
}

TEST(converse, converse_goes_on_when_the_program_stops_listening)
{
    size_t size = 4 * PIPE_BYTES;
    unsigned char *data = new_random(size);
    struct subject *s = finish_converse("deaf answer", data, size, 100);

    expect_return(s, "converse", 0);
    expect_bytes(s, "out", "answer", 6);
    expect_exit(s, "status", 0);
    s = finish_converse("head 10", data, size, 100);
    expect_return(s, "converse", 0);
    expect_bytes(s, "out", data, 10);
    expect_exit(s, "status", 0);
    free(data);
}

TEST(converse, converse_feeds_a_program_that_closed_its_output)
{
    size_t size = 4 * PIPE_BYTES;
    unsigned char *data = new_random(size);
    char program[64];

    snprintf(program, sizeof(program), "mute %zu", size);
    struct subject *s = finish_converse(program, data, size, 100);
    expect_return(s, "converse", 0);
    expect_int(s, "out_len", 0);
    expect_exit(s, "status", 0); /* 1 when bytes are missing */
    free(data);

    /* Both its sides are closed long before it ends. */
    struct ends hold = new_pipe();
    s = START(converse_held, STR("program", "quiet 5"), FD("hold", hold.r),
              BYTES("in", "input", 5), INT("cap", 100));
    await_asleep(s);
    shut(&hold.w);
    finish(s);
    expect_return(s, "converse", 0);
    expect_exit(s, "status", 5);
}

TEST(converse, converse_drops_what_is_over_cap_but_counts_it)
{
    size_t size = 4 * PIPE_BYTES;
    unsigned char *data = new_random(size);
    struct subject *s = finish_converse("copy", data, size, 1000);

    expect_return(s, "converse", 0);
    expect_int(s, "out_len", (long long)size);
    expect_bytes(s, "out", data, 1000);
    expect_guard(s, "out", 1000);
    expect_exit(s, "status", 0);

    s = finish_converse("copy", data, size, 0); /* and out is NULL */
    expect_return(s, "converse", 0);
    expect_int(s, "out_len", (long long)size);
    expect_exit(s, "status", 0);
    free(data);
}

TEST(converse, converse_gives_the_program_the_callers_signals)
{
    struct subject *s = finish_converse("broken", "x", 1, 100);

    expect_return(s, "converse", 0);
    expect_death(s, "status", SIGPIPE);
    s = finish_converse("fds", "", 0, 100);
    expect_return(s, "converse", 0);
    size_t n;
    const char *fds = got_bytes(s, "out", &n);
    expect_fds(fds, n, "0 1 2 ", "the program has open: 0 1 2");

    char word[17], name[48];
    random_text(word, 16);
    s = START(converse_with_signals, STR("word", word));
    finish(s);
    expect_callers_signals(s);
    for (int how = 0; how < SIGPIPE_CASES; how++) {
        snprintf(name, sizeof(name), "deaf, SIGPIPE %s", sigpipe_cases[how]);
        expect_return(s, name, 0);
        expect_signals(s, "after a broken input", how);
    }
}

TEST(converse, converse_works_when_0_1_and_2_are_closed)
{
    /* bit 0: descriptor 0 is closed, and so on; what the program has then */
    static const struct {
        int closed;
        const char *fds, *expected;
    } cases[] = {
        {1, "0 1 2 ", "with 0 closed in the caller the program has: 0 1 2"},
        {2, "0 1 2 ", "with 1 closed in the caller the program has: 0 1 2"},
        {3, "0 1 2 ", "with 0 and 1 closed in the caller it has: 0 1 2"},
        {4, "0 1 ", "with 2 closed in the caller the program has: 0 1"},
        {7, "0 1 ", "with 0, 1 and 2 closed in the caller it has: 0 1"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct subject *s =
            START(converse_without_standard_fds, STR("program", "fds and copy"),
                  INT("mask", cases[i].closed));
        finish(s);
        expect_return(s, "converse", 0);
        size_t n;
        const char *out = got_bytes(s, "out", &n);
        EXPECT(n > 6 && memcmp(out + n - 6, "| text", 6) == 0,
               "the program copies its input", "%.*s", (int)n, out);
        expect_fds(out, n - 6, cases[i].fds, cases[i].expected);
        expect_exit(s, "status", 0);
        EXPECT(under_valgrind() || /* which opens files of its own there */
                   got_int(s, "open") == (~cases[i].closed & 7),
               "0, 1 and 2 are open or closed in the caller as before",
               "now open:%s%s%s", got_int(s, "open") & 1 ? " 0" : "",
               got_int(s, "open") & 2 ? " 1" : "",
               got_int(s, "open") & 4 ? " 2" : "");
    }
}

/* A call that fails, the nth of its kind, in a conversation with a program
 * that does not end by itself, nor by SIGTERM. */
HELPER void expect_end_of_talk(const char *program, const char *call,
                               unsigned nth, int err)
{
    struct ends hold = new_pipe();
    struct subject *s =
        START(converse_held, STR("program", program), FD("hold", hold.r),
              BYTES("in", "input", 5), INT("cap", 100), FAIL(call, nth, 1, err),
              FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR));
    if (!finish_held(s, &hold.w, call, nth)) {
        expect_return(s, "converse", 0);
        return;
    }
    expect_error(s, "converse", err);
    expect_int(s, "out_len", UNTOUCHED);
    expect_int(s, "status", UNTOUCHED);
    expect_nothing_left(s);
}

TEST(converse, converse_ends_the_program_when_it_cannot_go_on)
{
    expect_end_of_talk("hold 0 ", "read", 1, EIO);
    expect_end_of_talk("hold 0 ", "poll", 1, ENOMEM);
    expect_end_of_talk("hold 0 ", "poll", 2, ENOMEM);
    expect_end_of_talk("hold 0 text", "read", 2, EIO);
    expect_end_of_talk("hold 0 text", "read", 3, EIO);

    /* Input that cannot be written is not dropped in silence: the second write
     * fails, where one does not wait until all is written. */
    unsigned char *data = new_random(2 * PIPE_BYTES);
    struct subject *s = START(converse, STR("program", "copy"),
                              BYTES("in", data, 2 * PIPE_BYTES),
                              INT("cap", 100), FAIL("write", 2, 100000, EIO));
    finish(s);
    if (calls_made(s, "write") > 1) {
        expect_error(s, "converse", EIO);
        expect_int(s, "out_len", UNTOUCHED);
        expect_int(s, "status", UNTOUCHED);
    }
    free(data);
    expect_nothing_left(s);

    for (unsigned nth = 1; nth <= 2; nth++) {
        s = START(converse_that_cannot_wait, STR("program", "copy"),
                  BYTES("in", "input", 5), INT("cap", 100),
                  FAIL("waitpid", nth, 1, ECHILD));
        finish(s);
        if (got_int(s, "converse") == -1) {
            expect_int(s, "out_len", UNTOUCHED);
            expect_int(s, "status", UNTOUCHED);
        }
    }
}

TEST(converse, converse_survives_signals_and_short_transfers)
{
    size_t size = 4000;
    unsigned char *data = new_random(size);
    struct subject *s = START(
        converse, STR("program", "copy"), BYTES("in", data, size),
        INT("cap", 4000), FAIL("poll", 1, MANY_INTERRUPTS, EINTR),
        FAIL("write", 1, MANY_INTERRUPTS, EINTR),
        FAIL("read", 1, MANY_INTERRUPTS, EINTR),
        FAIL("waitpid", 1, MANY_INTERRUPTS, EINTR), CHAOS(random_below(1000)));

    finish(s);
    expect_return(s, "converse", 0);
    expect_int(s, "out_len", (long long)size);
    expect_bytes(s, "out", data, size);
    expect_exit(s, "status", 0);
    free(data);
}

TEST(converse, converse_leaves_nothing_open_and_no_child)
{
    struct subject *s = finish_converse("copy", "hello", 5, 100);

    expect_return(s, "converse", 0);
    expect_nothing_left(s);
    s = finish_converse("deaf answer", "hello", 5, 100);
    expect_return(s, "converse", 0);
    expect_nothing_left(s);

    s = START(converse_beside_a_child, STR("program", "copy"),
              BYTES("in", "hello", 5), INT("cap", 100));
    finish(s);
    expect_return(s, "converse", 0);
    expect_own_child(s, "pipe_converse");
}

TEST(converse, converse_leaves_nothing_behind_when_it_cannot_start)
{
    struct subject *s = finish_converse("/no/such/program", "hello", 5, 100);

    expect_error(s, "converse", ENOENT);
    expect_int(s, "out_len", UNTOUCHED);
    expect_int(s, "status", UNTOUCHED);
    expect_nothing_left(s);

    s = START(converse_with_few_descriptors, INT("most", 12), INT("lowest", 0));
    finish(s);
    expect_emfile_or_success(s, 12);
    s = START(converse_with_few_descriptors, INT("most", 14),
              INT("lowest", 1)); /* 0 and 1 among them */
    finish(s);
    expect_emfile_or_success(s, 14);

    s = START(converse, STR("program", "copy"), BYTES("in", "hello", 5),
              INT("cap", 10), FAIL("fork", 1, 1, EAGAIN));
    finish(s);
    if (calls_made(s, "fork") > 0)
        expect_error(s, "converse", EAGAIN);
    expect_nothing_left(s);
}
