/*
 * demo_sysv_shm.c - a notice board in shared memory, for two terminals.
 *
 *     demo_sysv_shm serve board.key            terminal 1: makes the board
 *     demo_sysv_shm put board.key lunch soup   terminal 2: writes on it
 *     demo_sysv_shm get board.key lunch        terminal 2: reads from it
 *     demo_sysv_shm list                       what ipcs -m shows
 *
 * It stands on your functions of sysv_shm.c.  board.key is any existing file.
 * `serve` keeps the segment until Ctrl-C and then destroys it.
 */
#include "demo.h"
#include "sysv_shm.h"

#include <signal.h>
#include <sys/ipc.h>
#include <unistd.h>

#define PROJECT     'D'
#define BOARD_BYTES 16384

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr, "usage:\n");
    fprintf(stderr, "  %s serve KEYFILE          make a board and keep it\n",
            name);
    fprintf(stderr, "  %s put KEYFILE KEY VALUE  write on it\n", name);
    fprintf(stderr, "  %s get KEYFILE KEY        read from it\n", name);
    fprintf(stderr, "  %s list                   what ipcs -m shows\n", name);
    fprintf(stderr, "KEYFILE is any existing file, the same one for all.\n");
    exit(2);
}

static key_t key_of(const char *file)
{
    key_t key;

    if (seg_key(file, PROJECT, &key) == -1)
        die_errno(file);
    return key;
}

/* Says who sees what where. */
static void show(key_t key, int id, const void *board)
{
    printf("key 0x%08x  ->  id %d  ->  address %p in process %d\n",
           (unsigned)key, id, board, (int)getpid());
}

static void list(void)
{
    struct seg_info all[256];
    ssize_t n = seg_list(all, 256);

    if (n == -1)
        die_errno("seg_list");
    printf("%-10s %8s %8s %6s %8s %8s %8s\n", "key", "id", "owner", "mode",
           "bytes", "attached", "creator");
    for (ssize_t i = 0; i < n && i < 256; i++)
        printf("0x%08x %8d %8u %6o %8zu %8lu %8d%s\n", (unsigned)all[i].key,
               all[i].id, (unsigned)all[i].owner_uid, (unsigned)all[i].mode,
               all[i].size_bytes, all[i].attached, (int)all[i].creator_pid,
               all[i].marked          ? "  marked"
               : all[i].attached == 0 ? "  orphan?"
                                      : "");
    printf("%zd segment%s\n", n, n == 1 ? "" : "s");
}

/* Makes the segment; explains a key that is taken. */
static int make_board(key_t key)
{
    int id = seg_create(key, BOARD_BYTES);

    if (id == -1 && errno == EEXIST) {
        fprintf(stderr,
                "%s: a segment with key 0x%08x exists already: either another "
                "`serve` is running,\nor one was killed and left it behind. "
                "Look with `ipcs -m`, remove it with `ipcrm -M 0x%08x`.\n",
                program_invocation_short_name, (unsigned)key, (unsigned)key);
        exit(1);
    }
    if (id == -1)
        die_errno("seg_create");
    return id;
}

/* Destroys the segment, or says how to do it by hand. */
static void take_away(int id)
{
    if (seg_destroy(id) == 0)
        return;
    fprintf(stderr, "segment %d is left behind; remove it: ipcrm -m %d\n", id,
            id);
    die_errno("seg_destroy");
}

/* Attaches and formats a new segment, or takes it away again. */
static void *format_board(int id)
{
    void *board = seg_attach(id, false);

    if (board == NULL || dict_init(board, BOARD_BYTES) == -1 ||
        dict_put(board, "greeting", "hello from the maker") == -1) {
        int saved = errno;
        take_away(id);
        errno = saved;
        die_errno("preparing the board");
    }
    return board;
}

static void wait_for_the_end(const sigset_t *ends)
{
    int sig;

    printf("on the board: greeting.  Ctrl-C ends this and destroys it.\n");
    fflush(stdout);
    sigwait(ends, &sig);
    printf("\n%s.  ", strsignal(sig));
}

static void serve(const char *file)
{
    sigset_t ends;

    /* Blocked from the start, so that no moment is left in which Ctrl-C would
     * leave the segment behind. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);

    key_t key = key_of(file);
    int id = make_board(key);
    void *board = format_board(id);
    show(key, id, board);
    wait_for_the_end(&ends);
    take_away(id);
    if (seg_detach(board) == -1)
        die_errno("seg_detach");
    printf("Segment %d is destroyed.\n", id);
}

/* Finds the board that another process has made. */
static void *join(const char *file, bool read_only)
{
    key_t key = key_of(file);
    int id = seg_open(key, BOARD_BYTES);

    if (id == -1)
        die_errno(errno == ENOENT ? "no board has that key; is `serve` running?"
                                  : "seg_open");
    void *board = seg_attach(id, read_only);
    if (board == NULL)
        die_errno("seg_attach");
    show(key, id, board);
    return board;
}

static void put(const char *file, const char *key, const char *value)
{
    void *board = join(file, false);

    if (dict_put(board, key, value) == -1)
        die_errno("dict_put");
    const char *copy = dict_get(board, key);
    printf("stored \"%s\" %td bytes into the segment\n", key,
           copy == NULL ? 0 : copy - (const char *)board);
    if (seg_detach(board) == -1)
        die_errno("seg_detach");
}

static void get(const char *file, const char *key)
{
    void *board = join(file, true);
    const char *value = dict_get(board, key);

    if (value == NULL)
        die_errno(errno == ENOENT ? "no such key on the board" : "dict_get");
    printf("%s: %s   (%td bytes into the segment)\n", key, value,
           value - (const char *)board);
    if (seg_detach(board) == -1)
        die_errno("seg_detach");
}

int main(int argc, char *argv[])
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "serve") == 0 && argc == 3)
        serve(argv[2]);
    else if (strcmp(role, "put") == 0 && argc == 5)
        put(argv[2], argv[3], argv[4]);
    else if (strcmp(role, "get") == 0 && argc == 4)
        get(argv[2], argv[3]);
    else if (strcmp(role, "list") == 0 && argc == 2)
        list();
    else
        usage();
    return 0;
}
