/*
 * demo_shm_sync.c - a small bank: an account, a queue and a list of prices in
 * shared memory, for many terminals.
 *
 *     demo_shm_sync keep /bank            terminal 1: makes it and keeps it
 *     demo_shm_sync deposit /bank 70 20   takes 20 s in the middle: kill it
 *     demo_shm_sync produce /bank         each line is an item ...
 *     demo_shm_sync consume /bank         ... printed here
 *     demo_shm_sync close /bank           no more items
 *     demo_shm_sync write /bank 5 10      all prices become 5, in 10 s
 *     demo_shm_sync read /bank            are all prices the same?
 *     demo_shm_sync meet /lunch 3         waits until 3 processes are here
 *
 * It stands on your functions of shm_sync.h.  `keep` removes the shared memory
 * at Ctrl-C, `meet` its board.
 */
#include "demo.h"
#include "shm_sync.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOTS    3
#define ROUND_MS 500 /* so often is looked whether Ctrl-C was pressed */
#define MOST_S   3600

/* What lies in the shared memory that `keep` makes. */
struct bank {
    struct account account;
    struct ring queue;
    struct shared_table prices;
};

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr,
            "usage:\n"
            "  %s keep /NAME                     make the shared memory\n"
            "  %s deposit /NAME AMOUNT [SECONDS] one update of the account\n"
            "  %s produce /NAME                  each line of input, an item\n"
            "  %s consume /NAME                  print items as they come\n"
            "  %s close /NAME                    no items will come any more\n"
            "  %s write /NAME PRICE [SECONDS]    change all prices\n"
            "  %s read /NAME [SECONDS]           compare all prices\n"
            "  %s meet /OTHER-NAME N             wait until N are here\n"
            "SECONDS is how long it stays in the critical section (0).\n",
            name, name, name, name, name, name, name, name);
    exit(2);
}

/* ------------------------------------------------------------------------
 * Ctrl-C: blocked, and asked for where it does no harm
 */

static sigset_t ends;

static void block_signals(void)
{
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
}

/* Sleeps; true when one of the signals came, which ends the sleep. */
static bool interrupted_within(long seconds)
{
    const struct timespec t = {.tv_sec = seconds};

    return sigtimedwait(&ends, NULL, &t) != -1;
}

/* ------------------------------------------------------------------------
 * The shared memory of the bank
 */

/* Says what failed; a function that is still a stub costs its roles only. */
static void initialised(const char *call, int ret)
{
    if (ret == 0)
        return;
    if (errno != ENOSYS)
        die_errno(call);
    fprintf(stderr, "%s: not written yet, so its roles will not work\n", call);
}

/* Gives the file its name, or ends the program. */
static void publish(int fd, const char *name)
{
    char from[32], to[300];

    snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
    snprintf(to, sizeof(to), "/dev/shm/%s", name + 1);
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0)
        return;
    if (errno != EEXIST)
        die_errno(name);
    fprintf(stderr,
            "%s: %s exists already: either another `keep` is running,\nor one "
            "was killed and left it behind. Look with `ls -l /dev/shm`, remove "
            "it with `rm %s`.\n",
            program_invocation_short_name, name, to);
    exit(1);
}

/* Makes the bank.  It gets its name last of all, when everything in it is
 * initialised: so nobody can find it half made. */
static struct bank *make_bank(const char *name)
{
    int fd = open("/dev/shm", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    struct bank *b;
    int err;

    if (fd == -1)
        die_errno("/dev/shm");
    if ((err = posix_fallocate(fd, 0, sizeof(*b))) != 0) {
        errno = err;
        die_errno("posix_fallocate");
    }
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (b == MAP_FAILED)
        die_errno("mmap");
    initialised("account_init", account_init(&b->account));
    initialised("ring_init", ring_init(&b->queue, SLOTS));
    initialised("rw_init", rw_init(&b->prices));
    publish(fd, name);
    close(fd);
    return b;
}

static struct bank *open_bank(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);
    struct stat st;
    struct bank *b;

    if (fd == -1 && errno == ENOENT) {
        fprintf(stderr, "%s: no %s; start `%s keep %s` in another terminal\n",
                program_invocation_short_name, name,
                program_invocation_short_name, name);
        exit(1);
    }
    if (fd == -1 || fstat(fd, &st) == -1)
        die_errno(name);
    if (st.st_size != sizeof(*b)) {
        fprintf(stderr, "%s: %s is no bank: `keep` did not make it\n",
                program_invocation_short_name, name);
        exit(1);
    }
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (b == MAP_FAILED)
        die_errno("mmap");
    close(fd);
    return b;
}

static void keep(const char *name)
{
    int sig;

    block_signals();

    struct bank *b = make_bank(name);

    SAY("keeps %s: %zu bytes at %p", name, sizeof(*b), (void *)b);
    printf("Ctrl-C ends this and unlinks it.\n");
    fflush(stdout);
    sigwait(&ends, &sig);
    if (shm_unlink(name) == -1)
        die_errno("shm_unlink");
    printf("\n%s has no name any more.\n", name);
}

/* ------------------------------------------------------------------------
 * The account.  Ctrl-C and kill -9 may come at any time: the mutex is robust.
 */

struct deposit {
    long amount;
    long seconds;
};

static int deposit_body(int64_t *balance, void *ctx)
{
    const struct deposit *d = ctx;

    SAY("finds %lld", (long long)*balance);
    *balance += d->amount / 2;
    if (d->seconds > 0) {
        SAY("has stored %lld, half of its change; kill -9 %d",
            (long long)*balance, (int)getpid());
        sleep((unsigned)d->seconds);
    }
    *balance += d->amount - d->amount / 2;
    if (*balance < 0) {
        errno = ERANGE;
        return -1;
    }
    SAY("leaves %lld", (long long)*balance);
    return 0;
}

static void deposit(const char *name, long amount, long seconds)
{
    struct deposit d = {.amount = amount, .seconds = seconds};
    struct bank *b = open_bank(name);

    SAY("waits for the account");
    if (account_update(&b->account, deposit_body, &d) == -1)
        die_errno("account_update, nothing is changed");
}

/* ------------------------------------------------------------------------
 * The queue.  Nobody waits for longer than a round, so that Ctrl-C never ends
 * a process that has the mutex or waits for the condition.
 */

/* Puts one item; false at the end. */
static bool put_item(struct ring *r, const struct item *it)
{
    bool told = false;

    while (ring_put(r, it, told ? ROUND_MS : 0) == -1) {
        if (errno == EPIPE) {
            SAY("is told that it is closed");
            return false;
        }
        if (errno != ETIMEDOUT)
            die_errno("ring_put");
        if (!told)
            SAY("waits: all %d slots are taken", SLOTS);
        told = true;
        if (interrupted_within(0))
            return false;
    }
    return true;
}

static void produce(const char *name)
{
    struct bank *b = open_bank(name);
    struct item it = {.from = getpid()};
    bool more = true;

    /* Blocked only while an item is put: Ctrl-C ends the read of a line. */
    while (more && fgets(it.text, sizeof(it.text), stdin) != NULL) {
        it.text[strcspn(it.text, "\n")] = '\0';
        it.number++;
        block_signals();
        more = put_item(&b->queue, &it);
        if (more)
            SAY("has put number %u", it.number);
        sigprocmask(SIG_UNBLOCK, &ends, NULL);
    }
}

static void consume(const char *name)
{
    struct bank *b = open_bank(name);
    struct item it;

    block_signals();
    while (!interrupted_within(0)) {
        if (ring_get(&b->queue, &it, ROUND_MS) == 0) {
            printf("%u from process %d: %s\n", it.number, (int)it.from,
                   it.text);
            fflush(stdout);
        } else if (errno == EPIPE) {
            SAY("is told that no more will come");
            return;
        } else if (errno != ETIMEDOUT) {
            die_errno("ring_get");
        }
    }
}

static void close_queue(const char *name)
{
    if (ring_close(&open_bank(name)->queue) == -1)
        die_errno("ring_close");
}

/* ------------------------------------------------------------------------
 * The prices.  A pthread_rwlock_t does not notice a death, so Ctrl-C only ends
 * the stay and the body runs to its end; kill -9 leaves the lock held.
 */

struct visit {
    long price;
    long seconds;
};

static int write_body(int64_t *cells, void *ctx)
{
    const struct visit *v = ctx;

    SAY("writes %ld", v->price);
    for (int i = 0; i < TABLE_CELLS; i++) {
        cells[i] = v->price;
        if (i == TABLE_CELLS / 2)
            interrupted_within(v->seconds);
    }
    SAY("has written");
    return 0;
}

static int read_body(const int64_t *cells, void *ctx)
{
    const struct visit *v = ctx;
    int same = 1;

    SAY("reads");
    interrupted_within(v->seconds);
    for (int i = 1; i < TABLE_CELLS; i++)
        same += cells[i] == cells[0];
    SAY("has read %lld in %d of %d cells", (long long)cells[0], same,
        TABLE_CELLS);
    return 0;
}

static void visit(const char *name, bool write, long price, long seconds)
{
    struct visit v = {.price = price, .seconds = seconds};
    struct bank *b = open_bank(name);

    block_signals();
    SAY("waits for the prices (if it never gets them: kill -9 %d)",
        (int)getpid());
    if (write ? rw_write(&b->prices, write_body, &v) == -1
              : rw_read(&b->prices, read_body, &v) == -1)
        die_errno(write ? "rw_write" : "rw_read");
}

/* ------------------------------------------------------------------------
 * The board.  Each joins for a round at a time and counts itself out between
 * them, so that a Ctrl-C leaves nobody counted in.
 */

static struct board *join_in_rounds(const char *name, int n)
{
    struct board *b;

    while ((b = board_join(name, n, ROUND_MS)) == NULL && errno == ETIMEDOUT)
        if (interrupted_within(0)) {
            if (shm_unlink(name) == 0)
                printf("\n%s is removed; who still waits makes a new one.\n",
                       name);
            exit(1);
        }
    return b;
}

/* So that Ctrl-C removes a board and not something else. */
static void check_board(const char *name)
{
    int fd = shm_open(name, O_RDONLY, 0);
    struct stat st;

    if (fd == -1)
        return;
    if (fstat(fd, &st) == 0 && st.st_size != 0 &&
        st.st_size != sizeof(struct board)) {
        fprintf(stderr, "%s: %s is no board; take another name\n",
                program_invocation_short_name, name);
        exit(1);
    }
    close(fd);
}

static void meet(const char *name, int n)
{
    block_signals();
    check_board(name);
    SAY("waits at %s until %d are here", name, n);

    struct board *b = join_in_rounds(name, n);

    if (b == NULL && errno == EINVAL)
        die_errno("others at this board want to meet another number");
    if (b == NULL)
        die_errno("board_join");

    /* Several do this at once: one atomic step for each. */
    int64_t place = __atomic_add_fetch(&b->cells[0], 1, __ATOMIC_SEQ_CST);

    SAY("is number %lld of %d, at %p", (long long)place, n, (void *)b);
    munmap(b, sizeof(*b));
}

/* A name as shm_open(3) wants it: one slash, at its front. */
static void check_name(const char *name)
{
    if (name[0] == '/' && name[1] != '\0' && strchr(name + 1, '/') == NULL &&
        strlen(name) < 250)
        return;
    fprintf(stderr,
            "%s: \"%s\" is no name: it begins with its only slash, as "
            "in /bank\n",
            program_invocation_short_name, name);
    exit(2);
}

int main(int argc, char *argv[])
{
    const char *role = argc > 2 ? argv[1] : "";
    const char *name = argc > 2 ? argv[2] : "";

    if (argc > 2)
        check_name(name);
    if (strcmp(role, "keep") == 0 && argc == 3)
        keep(name);
    else if (strcmp(role, "deposit") == 0 && (argc == 4 || argc == 5))
        deposit(name, number(argv[3], 10, -1000000, 1000000),
                argc == 5 ? number(argv[4], 10, 0, MOST_S) : 0);
    else if (strcmp(role, "produce") == 0 && argc == 3)
        produce(name);
    else if (strcmp(role, "consume") == 0 && argc == 3)
        consume(name);
    else if (strcmp(role, "close") == 0 && argc == 3)
        close_queue(name);
    else if (strcmp(role, "write") == 0 && (argc == 4 || argc == 5))
        visit(name, true, number(argv[3], 10, -1000000, 1000000),
              argc == 5 ? number(argv[4], 10, 0, MOST_S) : 0);
    else if (strcmp(role, "read") == 0 && (argc == 3 || argc == 4))
        visit(name, false, 0, argc == 4 ? number(argv[3], 10, 0, MOST_S) : 0);
    else if (strcmp(role, "meet") == 0 && argc == 4)
        meet(name, (int)number(argv[3], 10, 1, 1000));
    else
        usage();
    return 0;
}
