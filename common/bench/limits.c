/*
 * limits.c - what the machine itself takes: the least that any mechanism on
 * it could take.
 *
 *     limits --cores A,B --ms N --late-ms N --out-fd N SIZE...
 *
 *   system call  into the kernel and back, with nothing to do there
 *   clock        one reading; each measured round trip contains one
 *   line         a cache line to the other core and back, both spinning
 *   wake         the same with both asleep in turn: futex(2)
 *   memcpy       within one core's own cache, for each size
 *   fetch        memcpy of what the other core has written the moment before
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH       1000
#define MAX_SAMPLES 20000
#define MAX_SIZE    (1 << 20)
#define MAX_SIZES   8

/* Not to be inlined, and not to be left out. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

struct shared {
    _Alignas(LINE_BYTES) atomic_bool stop;
    _Alignas(4096) char written[MAX_SIZE];
};

static struct shared *shared;
static uint64_t samples[MAX_SAMPLES];
static unsigned budget_ms;
static size_t sizes[MAX_SIZES], nsizes;

/* ------------------------------------------------------------------------
 * On one core
 */

static void one_system_call(size_t size)
{
    (void)size;
    syscall(SYS_getppid);
}

static void one_clock(size_t size)
{
    (void)size;
    now_ns();
}

static void one_memcpy(size_t size)
{
    static char from[MAX_SIZE], to[MAX_SIZE];

    copy(to, from, size);
}

/* Median over batches, for one call, in units of 1/1000 ns. */
static uint64_t one_core(void (*call)(size_t), size_t size)
{
    uint64_t end = now_ns() + budget_ms * UINT64_C(1000000);
    unsigned batch = size > 4096 ? 1 + (MAX_SIZE >> 1) / (unsigned)size : BATCH;
    size_t n = 0;

    call(size); /* its pages are there */
    while (n < MAX_SAMPLES) {
        uint64_t start = now_ns(), stop;
        for (unsigned i = 0; i < batch; i++)
            call(size);
        stop = now_ns();
        samples[n++] = (stop - start) * 1000 / batch;
        if (stop >= end)
            break;
    }
    return percentile(samples, n, 0.5);
}

/* ------------------------------------------------------------------------
 * Between two
 */

static void wait_asleep(unsigned turn)
{
    unsigned seen;

    while ((seen = atomic_load(&pair->turn)) != turn)
        syscall(SYS_futex, &pair->turn, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void pass_asleep(unsigned turn)
{
    atomic_store(&pair->turn, turn);
    syscall(SYS_futex, &pair->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* A way to wait for a turn and to pass it on, and what the server does in its
 * turn and the client in its own. */
struct game {
    void (*wait)(unsigned turn);
    void (*pass)(unsigned turn);
    size_t size; /* 0: nothing is written and fetched */
};

static int play_client(void *arg)
{
    const struct game *g = arg;
    static char to[MAX_SIZE];
    uint64_t end = now_ns() + budget_ms * UINT64_C(1000000), now = 0;
    size_t n = 0;

    memset(to, 1, sizeof(to));
    for (unsigned turn = 0; n < MAX_SAMPLES && now < end; turn += 2) {
        uint64_t start = now_ns();
        g->pass(turn + 1);
        g->wait(turn + 2);
        if (g->size) {
            start = now_ns();
            copy(to, shared->written, g->size);
        }
        now = now_ns();
        samples[n++] = now - start;
        if (n == MAX_SAMPLES || now >= end)
            atomic_store(&shared->stop, true);
    }
    g->pass(2 * (unsigned)n + 1);
    pair->result[0] = percentile(samples, n, 0.5);
    return 0;
}

static int play_server(void *arg)
{
    const struct game *g = arg;

    for (unsigned turn = 1;; turn += 2) {
        g->wait(turn);
        if (atomic_load(&shared->stop))
            return 0;
        if (g->size)
            memset(shared->written, (int)turn, g->size);
        g->pass(turn + 1);
    }
}

/* Median of a round trip, in ns; 0 when something is wrong. */
static uint64_t two_cores(const struct options *options, struct game game)
{
    struct pair *p = shared_memory(sizeof(*p));
    uint64_t result = 0;

    atomic_store(&shared->stop, false);
    run_pair(p, options, (int (*[2])(void *)){play_client, play_server}, &game);
    if (p->trouble.kind == NO_TROUBLE)
        result = p->result[0];
    else
        fprintf(stderr, "limits: %s\n", p->trouble.detail);
    munmap(p, sizeof(*p));
    return result;
}

/* ------------------------------------------------------------------------ */

static void say(FILE *out, const char *name, size_t size, uint64_t ps)
{
    fprintf(out, "{\"limit\": \"%s\", \"size\": %zu, \"ps\": %ju}\n", name,
            size, (uintmax_t)ps);
    fflush(out);
}

static void one_core_limits(const struct options *options, FILE *out)
{
    if (pin(options->cores[CLIENT]) == -1)
        fprintf(stderr, "limits: not pinned: %s\n", strerror(errno));
    say(out, "system_call", 0, one_core(one_system_call, 0));
    say(out, "clock", 0, one_core(one_clock, 0));
    for (size_t i = 0; i < nsizes; i++)
        say(out, "memcpy", sizes[i], one_core(one_memcpy, sizes[i]));
}

static void two_core_limits(const struct options *options, FILE *out)
{
    struct game line = {wait_turn, pass_turn, 0};
    struct game wake = {wait_asleep, pass_asleep, 0};

    say(out, "line", 0, 1000 * two_cores(options, line));
    say(out, "wake", 0, 1000 * two_cores(options, wake));
    for (size_t i = 0; i < nsizes; i++) {
        line.size = sizes[i];
        say(out, "fetch", sizes[i], 1000 * two_cores(options, line));
    }
}

int main(int argc, char *argv[])
{
    struct options options;
    FILE *out;

    read_options(argc, argv, &options);
    out = fdopen(options.out_fd, "w");
    if (!out || argc == optind || argc - optind > MAX_SIZES) {
        fprintf(stderr, "limits: see the comment in limits.c\n");
        return 2;
    }
    budget_ms = options.budget_ms;
    for (int i = optind; i < argc; i++)
        sizes[nsizes++] = (size_t)atol(argv[i]);
    shared = shared_memory(sizeof(*shared));
    one_core_limits(&options, out);
    two_core_limits(&options, out);
    return 0;
}
