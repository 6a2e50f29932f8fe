/*
 * demo_design.c - the parts of a design, from many terminals.
 *
 *     demo_design make /d               terminal 1: makes all and keeps it
 *     demo_design alloc /d 1000         a block of the arena ...
 *     demo_design free /d 64            ... and back
 *     demo_design borrow /d 20          a segment of the pool for 20 s: kill it
 *     demo_design reclaim /d PID        what a dead process had comes back
 *     demo_design send /d < FILE        all of the input, in rounds
 *     demo_design recv /d > FILE        and here it is
 *     demo_design produce /d            each line goes into the ring ...
 *     demo_design consume /d            ... and comes out here
 *     demo_design measure               what copying and mapping cost here
 *
 * It stands on your functions of design.h.  `make` removes everything at
 * Ctrl-C.
 */
#include "demo.h"
#include "design.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    ARENA = 1 << 16,
    ROUND_SLOTS = 4,
    ROUND_SLOT = 4096,
    RING_SLOTS = 8,
    RING_SLOT = 200
};

/* Where each part begins in the region; the size of all. */
#define ROUNDS_AT ((size_t)ARENA)
#define RING_AT   (ROUNDS_AT + (1 << 15))
#define ALL_BYTES (RING_AT + (1 << 15))

_Static_assert(ROUNDS_BYTES(ROUND_SLOTS, ROUND_SLOT) <= 1 << 15, "rounds");
_Static_assert(SPSC_BYTES(RING_SLOTS, RING_SLOT) <= 1 << 15, "ring");

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr,
            "usage:\n"
            "  %s make /NAME              make all that follows\n"
            "  %s alloc /NAME BYTES       a block of the arena\n"
            "  %s free /NAME OFFSET       give it back\n"
            "  %s borrow /NAME SECONDS    a segment of the pool\n"
            "  %s reclaim /NAME PID       take a dead process's back\n"
            "  %s send|recv /NAME         standard input to standard output\n"
            "  %s produce|consume /NAME   line by line through the ring\n"
            "  %s measure                 copy against map on this machine\n",
            name, name, name, name, name, name, name, name);
    exit(2);
}

static const char *pool_name(const char *name)
{
    static char text[200];

    snprintf(text, sizeof(text), "%.150s-pool", name);
    return text;
}

static char *map_all(int fd)
{
    void *at = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

/* Says what failed; a function that is still a stub costs its roles only. */
static void initialised(const char *call, int ret)
{
    if (ret == -1)
        fprintf(stderr, "%s: %s\n", call,
                errno == ENOSYS ? "not written yet, so its roles will not work"
                                : strerror(errno));
}

static void make(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    struct pool pool;
    sigset_t ends;
    char *at;
    int sig;
    bool have_pool;

    if (fd == -1)
        die_errno("shm_open (EEXIST: see ls /dev/shm)");
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    at = ftruncate(fd, (off_t)ALL_BYTES) == 0 ? map_all(fd) : NULL;
    if (at == NULL) {
        shm_unlink(name);
        die_errno("the shared memory");
    }
    initialised("arena_init", arena_init(at, ARENA));
    initialised("rounds_init", rounds_init((struct rounds *)(at + ROUNDS_AT),
                                           ROUND_SLOTS, ROUND_SLOT));
    initialised("spsc_init", spsc_init((struct spsc *)(at + RING_AT),
                                       RING_SLOTS, RING_SLOT));
    have_pool = pool_create(&pool, pool_name(name), 3, 4096) == 0;
    initialised("pool_create", have_pool ? 0 : -1);
    printf("process %d keeps %s and %s; Ctrl-C removes them\n", (int)getpid(),
           name, pool_name(name));
    fflush(stdout);
    sigwait(&ends, &sig);
    shm_unlink(name);
    if (have_pool && pool_destroy(&pool) == -1)
        die_errno("pool_destroy");
}

static char *find(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);
    struct stat st;
    char *at = NULL;

    if (fd != -1 && fstat(fd, &st) == 0 && st.st_size == (off_t)ALL_BYTES)
        at = map_all(fd);
    if (at == NULL)
        die_errno("shm_open (has `make` been started?)");
    close(fd);
    return at;
}

static void borrow(const char *name, const char *seconds)
{
    struct timespec left = {.tv_sec = number(seconds, 0, 0, 3600)};
    struct pool pool;
    int seg;

    if (pool_open(&pool, pool_name(name)) == -1)
        die_errno("pool_open (has `make` been started?)");
    seg = pool_acquire(&pool, 10000);
    if (seg == -1)
        die_errno("pool_acquire");
    printf("process %d has segment %d at %p; kill -9 %d\n", (int)getpid(), seg,
           pool_segment(&pool, seg), (int)getpid());
    fflush(stdout);
    while (nanosleep(&left, &left) == -1)
        ;
    if (pool_release(&pool, seg) == -1)
        die_errno("pool_release");
    printf("process %d has released it\n", (int)getpid());
}

static void reclaim(const char *name, const char *pid)
{
    struct pool pool;
    int n;

    if (pool_open(&pool, pool_name(name)) == -1)
        die_errno("pool_open (has `make` been started?)");
    n = pool_reclaim(&pool, (pid_t)number(pid, 0, 1, 1 << 30));
    if (n == -1)
        die_errno("pool_reclaim");
    printf("%d came back\n", n);
}

static void send_all(struct rounds *r)
{
    static char data[1 << 24];
    size_t size = fread(data, 1, sizeof(data), stdin);

    if (rounds_join(r, ROUNDS_SENDER) == -1)
        die_errno("rounds_join");
    if (rounds_send(r, data, size, -1) == -1)
        die_errno("rounds_send");
    fprintf(stderr, "%zu bytes lie in slots or are received\n", size);
    rounds_leave(r, ROUNDS_SENDER);
}

static void receive_all(struct rounds *r)
{
    static char data[1 << 24];
    ssize_t n;

    if (rounds_join(r, ROUNDS_RECEIVER) == -1)
        die_errno("rounds_join");
    n = rounds_recv(r, data, sizeof(data), -1);
    if (n == -1)
        die_errno("rounds_recv");
    fwrite(data, 1, (size_t)n, stdout);
    fprintf(stderr, "%zd bytes, in rounds of %d\n", n, ROUND_SLOT);
    rounds_leave(r, ROUNDS_RECEIVER);
}

static void produce(struct spsc *q)
{
    char line[RING_SLOT];

    while (fgets(line, sizeof(line), stdin) != NULL)
        if (spsc_push(q, line, strlen(line), -1) == -1)
            die_errno("spsc_push");
}

static void consume(struct spsc *q)
{
    char line[RING_SLOT];
    ssize_t n;

    while ((n = spsc_pop(q, line, sizeof(line), -1)) != -1) {
        fwrite(line, 1, (size_t)n, stdout);
        fflush(stdout);
    }
    die_errno("spsc_pop");
}

/* ------------------------------------------------------------------------
 * Copy against map
 */

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Receives for ever, reads each message once and says so. */
static void answer(int fd)
{
    struct channel_message m;
    unsigned long sum = 0;

    while (channel_recv(fd, &m) == 1) {
        for (size_t i = 0; i < m.size; i += 64)
            sum += ((const unsigned char *)m.data)[i];
        channel_release(&m);
        if (write(fd, sum % 2 ? "1" : "0", 1) != 1)
            break;
    }
    _exit(0);
}

/* The best of some rounds, for one message there and its answer. */
static double cost_ns(int fd, enum channel_kind kind, size_t size)
{
    static char data[CHANNEL_COPY_MAX];
    double best = 1e18;
    char byte;

    for (int i = 0; i < 50; i++) {
        double began = now_ns();

        if (channel_send(fd, kind, data, size) == -1)
            die_errno("channel_send");
        if (read(fd, &byte, 1) != 1)
            die_errno("channel_recv");
        if (now_ns() - began < best)
            best = now_ns() - began;
    }
    return best;
}

static void measure(void)
{
    static const size_t sizes[] = {1024, 16384, 65536, 262144, 1048576};
    struct channel_costs c;
    double cost[2][2];
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == -1)
        die_errno("socketpair");
    if (fork() == 0) {
        close(fds[0]);
        answer(fds[1]);
    }
    close(fds[1]);
    for (int kind = CHANNEL_COPY; kind <= CHANNEL_MAP; kind++) {
        cost[kind][0] = cost_ns(fds[0], (enum channel_kind)kind, 1024);
        cost[kind][1] = (cost_ns(fds[0], (enum channel_kind)kind, 1 << 20) -
                         cost[kind][0]) /
                        1023;
        if (cost[kind][1] < 0)
            cost[kind][1] = 0;
    }
    c = (struct channel_costs){
        .copy_ns = (uint64_t)cost[CHANNEL_COPY][0],
        .copy_ns_per_kib = (uint64_t)cost[CHANNEL_COPY][1],
        .map_ns = (uint64_t)cost[CHANNEL_MAP][0],
        .map_ns_per_kib = (uint64_t)cost[CHANNEL_MAP][1]};
    printf("      bytes   copied    mapped   channel_choose says\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        printf("%11zu %7.1f us %7.1f us   %s\n", sizes[i],
               cost_ns(fds[0], CHANNEL_COPY, sizes[i]) / 1000,
               cost_ns(fds[0], CHANNEL_MAP, sizes[i]) / 1000,
               channel_choose(sizes[i], &c) == CHANNEL_MAP ? "map" : "copy");
    close(fds[0]);
    wait(NULL);
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "measure") == 0 && argc == 2)
        measure();
    else if (strcmp(role, "make") == 0 && argc == 3)
        make(argv[2]);
    else if (strcmp(role, "alloc") == 0 && argc == 4) {
        uint64_t at =
            arena_alloc(find(argv[2]), (size_t)number(argv[3], 0, 1, ARENA));

        if (at == 0)
            die_errno("arena_alloc");
        printf("at %llu\n", (unsigned long long)at);
    } else if (strcmp(role, "free") == 0 && argc == 4) {
        if (arena_free(find(argv[2]), (uint64_t)number(argv[3], 0, 0, ARENA)) ==
            -1)
            die_errno("arena_free");
    } else if (strcmp(role, "borrow") == 0 && argc == 4)
        borrow(argv[2], argv[3]);
    else if (strcmp(role, "reclaim") == 0 && argc == 4)
        reclaim(argv[2], argv[3]);
    else if (strcmp(role, "send") == 0 && argc == 3)
        send_all((struct rounds *)(find(argv[2]) + ROUNDS_AT));
    else if (strcmp(role, "recv") == 0 && argc == 3)
        receive_all((struct rounds *)(find(argv[2]) + ROUNDS_AT));
    else if (strcmp(role, "produce") == 0 && argc == 3)
        produce((struct spsc *)(find(argv[2]) + RING_AT));
    else if (strcmp(role, "consume") == 0 && argc == 3)
        consume((struct spsc *)(find(argv[2]) + RING_AT));
    else
        usage();
    return 0;
}
