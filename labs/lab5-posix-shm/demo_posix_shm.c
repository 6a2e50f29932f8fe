/*
 * demo_posix_shm.c - a notice board in a region, and files used as memory.
 *
 *     demo_posix_shm board /notes              terminal 1: makes the board
 *     demo_posix_shm write /notes "soup"       terminal 2: writes on it
 *     demo_posix_shm visit visits              adds 1 to a counter's file
 *     demo_posix_shm count /etc/services e     how often is there an e
 *
 * It stands on your functions of posix_shm.h.  `board` shows what is written
 * until Ctrl-C and then unlinks the region.  One process writes at a time.
 */
#include "demo.h"
#include "posix_shm.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES    100
#define LOOK_EVERY_NS 200000000L /* nanoseconds, 200 ms */

/* What lies in the region.  All 0 is a board on which nothing was written. */
struct board {
    atomic_uint sequence;  /* one more for each text, stored after it */
    char text[TEXT_BYTES]; /* cut and closed by a 0 */
};

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr, "usage:\n");
    fprintf(stderr, "  %s board /NAME        make a region, show its text\n",
            name);
    fprintf(stderr, "  %s write /NAME WORDS  put a text into it\n", name);
    fprintf(stderr, "  %s visit FILE         add 1 to a counter\n", name);
    fprintf(stderr, "  %s count FILE CHAR    how often is it in the file\n",
            name);
    exit(2);
}

/* Says who sees what where. */
static void show(const char *name, const void *at, size_t size)
{
    printf("region %s  ->  %zu bytes at %p in process %d\n", name, size, at,
           (int)getpid());
    fflush(stdout);
}

/* Makes the region; explains a name that is taken. */
static struct board *make_board(const char *name)
{
    struct board *b = region_create(name, sizeof(*b));

    if (b == NULL && errno == EEXIST) {
        fprintf(stderr,
                "%s: region %s exists already: either another `board` is "
                "running,\nor one was killed and left it behind. Look with "
                "`ls -l /dev/shm`, remove it with `rm /dev/shm%s`.\n",
                program_invocation_short_name, name, name);
        exit(1);
    }
    if (b == NULL)
        die_errno(name);
    return b;
}

/* Prints each new text until one of the signals comes. */
static void watch(const struct board *b, const sigset_t *ends)
{
    const struct timespec pause = {0, LOOK_EVERY_NS};
    unsigned seen = 0;

    while (sigtimedwait(ends, NULL, &pause) == -1) {
        unsigned now = atomic_load(&b->sequence);

        if (now == seen)
            continue;
        seen = now;
        printf("text %u: %.*s\n", now, TEXT_BYTES, b->text);
        fflush(stdout);
    }
}

static void board(const char *name)
{
    sigset_t ends;

    /* Blocked from the start, so that no moment is left in which Ctrl-C would
     * leave the region behind. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);

    struct board *b = make_board(name);

    show(name, b, sizeof(*b));
    printf("Ctrl-C ends this and unlinks it.\n");
    fflush(stdout);
    watch(b, &ends);
    if (region_unlink(name) == -1)
        die_errno("region_unlink");
    if (region_close(b, sizeof(*b)) == -1)
        die_errno("region_close");
    printf("\nRegion %s has no name any more.\n", name);
}

static void write_text(const char *name, const char *words)
{
    size_t size;
    struct board *b = region_open(name, false, &size);

    if (b == NULL)
        die_errno(name);
    show(name, b, size);
    if (size < sizeof(*b)) {
        errno = EINVAL;
        die_errno("it is too small for a board");
    }
    snprintf(b->text, sizeof(b->text), "%s", words);
    atomic_fetch_add(&b->sequence, 1);
    if (region_close(b, size) == -1)
        die_errno("region_close");
}

static void visit(const char *file)
{
    uint64_t total;

    if (counter_add(file, 1, &total) == -1)
        die_errno(file);
    printf("visit %llu\n", (unsigned long long)total);
}

static void count(const char *file, char c)
{
    ssize_t n = file_count(file, (unsigned char)c);

    if (n == -1)
        die_errno(file);
    printf("%zd times '%c' in %s\n", n, c, file);
}

int main(int argc, char *argv[])
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "board") == 0 && argc == 3)
        board(argv[2]);
    else if (strcmp(role, "write") == 0 && argc == 4)
        write_text(argv[2], argv[3]);
    else if (strcmp(role, "visit") == 0 && argc == 3)
        visit(argv[2]);
    else if (strcmp(role, "count") == 0 && argc == 4 && strlen(argv[3]) == 1)
        count(argv[2], argv[3][0]);
    else
        usage();
    return 0;
}
