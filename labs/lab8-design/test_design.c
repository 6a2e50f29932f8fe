/*
 * test_design.c - the tests of lab 8.
 *
 * What lies in shared memory is the student's own: the tests look at what
 * comes out of the functions, in several processes that map the memory at
 * different addresses, and at what the witness has seen.
 */
#include "design.h"
#include "kit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

/* ------------------------------------------------------------------------
 * Group arena
 */

enum { ARENA_BYTES = 8192, MOST_BLOCKS = 600 };

SCENARIO(init_arena)
{
    CALL("init",
         arena_init(given_shared("arena", NULL), (size_t)given_int("size")));
}

/*
 * Does what the string says, for a list of blocks that begins with the ones
 * given: "a100" allocates a block of 100 bytes, fills it with its number in
 * the list (from 1) and puts it there; "f2" frees the block with that number;
 * "x64" frees what begins at the offset 64.
 */
SCENARIO(manage)
{
    char *arena = given_shared("arena", NULL);
    size_t given_bytes_n;
    const uint64_t *known = given_bytes("blocks", &given_bytes_n);
    uint64_t blocks[MOST_BLOCKS + 1] = {0};
    int n = (int)(given_bytes_n / sizeof(*known));
    const char *at = given_str("do");

    memcpy(blocks + 1, known, given_bytes_n);
    for (int i = 1; *at != '\0'; i++) {
        char what = *at++;
        char name[32], *end;
        unsigned long long number = strtoull(at, &end, 10);

        at = *end == ' ' ? end + 1 : end;
        snprintf(name, sizeof(name), "%d", i);
        if (what == 'a') {
            uint64_t offset = (uint64_t)CALL(name, arena_alloc(arena, number));

            if (offset != 0) {
                blocks[++n] = offset;
                memset(arena + offset, n, number);
            }
        } else if (what == 'f') {
            CALL(name, arena_free(arena, blocks[number]));
        } else {
            CALL(name, arena_free(arena, number));
        }
    }
}

/* Allocates until nothing is left, frees in the order that the seed gives, and
 * tells how many there were. */
SCENARIO(fill_and_empty)
{
    char *arena = given_shared("arena", NULL);
    uint64_t blocks[MOST_BLOCKS];
    unsigned seed = (unsigned)given_int("seed");
    int n = 0, failed = 0;

    while (n < MOST_BLOCKS) {
        size_t size = 16 + (seed >> (n % 13)) % 200;

        blocks[n] = arena_alloc(arena, size);
        if (blocks[n] == 0) {
            CALL("full", arena_alloc(arena, size));
            break;
        }
        memset(arena + blocks[n++], 0xff, size);
    }
    tell_int("blocks", n);
    for (int left = n; left > 0; left--) {
        int i = (int)((seed = seed * 1103515245u + 12345u) >> 16) % left;

        failed += arena_free(arena, blocks[i]) == -1;
        blocks[i] = blocks[left - 1];
    }
    tell_int("failed", failed);
}

SCENARIO(allocate_in_turn)
{
    char *arena = given_shared("arena", NULL);
    uint64_t offset;

    wait_for("go");
    offset = (uint64_t)CALL("block", arena_alloc(arena, 64));
    wait_for("free");
    if (offset != 0)
        CALL("free", arena_free(arena, offset));
    wait_for("again");
    if (offset != 0)
        CALL("again", arena_alloc(arena, 64));
}

HELPER char *new_arena(size_t size)
{
    char *arena = new_shared(size);
    struct subject *s =
        START(init_arena, SHARE("arena", arena), INT("size", size));

    finish(s);
    expect_return(s, "init", 0);
    return arena;
}

/* Runs manage() to its end, with the blocks that are known already. */
HELPER struct subject *do_with(char *arena, const uint64_t *blocks, size_t n,
                               const char *what)
{
    struct subject *s = START(manage, SHARE("arena", arena), STR("do", what),
                              BYTES("blocks", blocks, n * sizeof(*blocks)));

    finish(s);
    return s;
}

#define DO(arena, what) do_with(arena, NULL, 0, what)

/* The block that step i has given. */
HELPER uint64_t block_of(struct subject *s, int i)
{
    char name[32];

    snprintf(name, sizeof(name), "%d", i);
    expect_at_least(s, name, 1);
    return (uint64_t)got_int(s, name);
}

HELPER void expect_done(struct subject *s, int i)
{
    char name[32];

    snprintf(name, sizeof(name), "%d", i);
    expect_return(s, name, 0);
}

/* That step has given no block, with this errno. */
HELPER void expect_no_block(struct subject *s, const char *name, int err)
{
    if (got_errno(s, name) == ENOSYS)
        expect_at_least(s, name, 1);
    EXPECT(got_int(s, name) == 0, "no block", "one at the offset %lld",
           got_int(s, name));
    EXPECT(got_errno(s, name) == err, errno_name(err), "%s",
           errno_name(got_errno(s, name)));
}

HELPER void expect_refused(struct subject *s, int i)
{
    char name[32];

    snprintf(name, sizeof(name), "%d", i);
    expect_error(s, name, EINVAL);
}

TEST(arena, blocks_are_apart_and_keep_what_is_written)
{
    char *arena = new_arena(ARENA_BYTES);
    static const size_t sizes[] = {1, 100, 16, 333, 1000, 7};
    struct subject *s = DO(arena, "a1 a100 a16 a333 a1000 a7");

    for (int i = 0; i < 6; i++) {
        uint64_t at = block_of(s, i + 1);

        EXPECT(at >= 1 && at + sizes[i] <= ARENA_BYTES,
               "a block in the segment", "one of %zu bytes at %llu", sizes[i],
               (unsigned long long)at);
        for (size_t k = 0; k < sizes[i]; k++)
            EXPECT(arena[at + k] == i + 1, "each block with its own bytes",
                   "byte %zu of block %d was written by another", k, i + 1);
    }
}

TEST(arena, blocks_are_aligned)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s = DO(arena, "a1 a7 a17 a16 a33 a5");

    for (int i = 1; i <= 6; i++)
        EXPECT(block_of(s, i) % ARENA_ALIGN == 0, "offsets at multiples of 16",
               "block %d at %llu", i, (unsigned long long)block_of(s, i));
}

TEST(arena, it_works_at_any_address)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s = DO(arena, "a500 a500 a500");
    uint64_t blocks[3];

    for (int i = 0; i < 3; i++)
        blocks[i] = block_of(s, i + 1);
    s = do_with(arena, blocks, 3, "f2 a400 f1 f4");
    expect_done(s, 1);
    EXPECT(block_of(s, 2) == blocks[1],
           "the place that another process's "
           "block has left",
           "%lld", got_int(s, "2"));
    expect_done(s, 3);
    expect_done(s, 4);
}

TEST(arena, the_first_place_that_fits_is_taken)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s =
        DO(arena, "a300 a32 a800 a32 a200 a32 f1 f3 f5 a160 a600 a250");

    block_of(s, 1);
    EXPECT(block_of(s, 10) == block_of(s, 1),
           "160 bytes in the first place, of 300", "at %lld and not at %lld",
           got_int(s, "10"), got_int(s, "1"));
    EXPECT(block_of(s, 11) == block_of(s, 3),
           "600 bytes in the second place, of 800", "at %lld and not at %lld",
           got_int(s, "11"), got_int(s, "3"));
    EXPECT(block_of(s, 12) > block_of(s, 6),
           "250 bytes behind all: no place before has as many", "at %lld",
           got_int(s, "12"));
}

TEST(arena, what_is_left_of_a_place_is_used)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s = DO(arena, "a1000 a32 f1 a300 a300 a200");

    for (int i = 4; i <= 6; i++)
        EXPECT(block_of(s, i) < block_of(s, 2),
               "three blocks in the place that one has left",
               "block %d is at %lld, behind it", i - 3,
               (long long)block_of(s, i));
    /* 48 bytes are left: a block of 16, with what the manager may need. */
    s = DO(new_arena(ARENA_BYTES), "a1008 a32 f1 a960 a16");
    block_of(s, 4);
    EXPECT(block_of(s, 5) < block_of(s, 2),
           "16 bytes in what 960 leave of a place of 1008",
           "they are at %lld, behind it", (long long)block_of(s, 5));
}

TEST(arena, free_places_that_touch_become_one)
{
    static const char *const orders[] = {"f1 f2 f3", "f3 f2 f1", "f1 f3 f2",
                                         "f2 f1 f3", "f2 f3 f1", "f3 f1 f2"};

    for (int i = 0; i < 6; i++) {
        char *arena = new_arena(ARENA_BYTES);
        char what[64];

        snprintf(what, sizeof(what), "a400 a400 a400 a32 %s a1200", orders[i]);
        struct subject *s = DO(arena, what);
        EXPECT(block_of(s, 8) == block_of(s, 1),
               "one place out of three that touch",
               "freed as %s, they have no room for 1200 bytes: the block is "
               "at %lld",
               orders[i], (long long)block_of(s, 8));
    }
}

TEST(arena, all_of_it_comes_back)
{
    char *arena = new_arena(ARENA_BYTES);
    char what[64];

    for (int i = 0; i < 3; i++) {
        struct subject *s = START(fill_and_empty, SHARE("arena", arena),
                                  INT("seed", random_below(1u << 30)));
        finish(s);
        expect_no_block(s, "full", ENOMEM);
        expect_int(s, "failed", 0);
        EXPECT(got_int(s, "blocks") * (216 + ARENA_BLOCK) >=
                   ARENA_BYTES - ARENA_HEAD - 216 - ARENA_BLOCK,
               "an arena that is filled", "%lld blocks only",
               got_int(s, "blocks"));
        snprintf(what, sizeof(what), "a%d f1",
                 ARENA_BYTES - ARENA_HEAD - ARENA_BLOCK);
        s = DO(arena, what);
        block_of(s, 1);
        expect_done(s, 2);
    }
}

TEST(arena, a_block_that_does_not_fit_changes_nothing)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s = DO(arena, "a5000 a5000 a2000 f1 a5000");

    block_of(s, 1);
    expect_no_block(s, "2", ENOMEM);
    block_of(s, 3);
    expect_done(s, 4);
    block_of(s, 5);
    s = DO(arena, "a18446744073709551615 a18446744073709551600 a100");
    expect_no_block(s, "1", ENOMEM);
    expect_no_block(s, "2", ENOMEM);
    block_of(s, 3);
}

TEST(arena, a_block_of_no_bytes_is_refused)
{
    struct subject *s = DO(new_arena(ARENA_BYTES), "a0 a16");

    expect_no_block(s, "1", EINVAL);
    block_of(s, 2);
}

TEST(arena, a_block_is_freed_once)
{
    struct subject *s =
        DO(new_arena(ARENA_BYTES), "a100 a100 f1 f1 a100 a100 f2 f2");

    expect_done(s, 3);
    expect_refused(s, 4);
    EXPECT(block_of(s, 5) != block_of(s, 6), "two blocks apart",
           "the same one given away twice");
    expect_done(s, 7);
    expect_refused(s, 8);
}

/* Whatever lies in a block may look like the manager's own data. */
TEST(arena, what_is_no_block_is_not_freed)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s = DO(arena, "a100 a400 a100");
    uint64_t blocks[3];
    char what[200];

    for (int i = 0; i < 3; i++)
        blocks[i] = block_of(s, i + 1);
    memcpy(arena + blocks[1] + 64, arena + blocks[1] - 64, 64);
    snprintf(what, sizeof(what), "x0 x%llu x%llu x%llu x%d x%llu x1 f2 f1 f3",
             (unsigned long long)blocks[1] + 128,
             (unsigned long long)blocks[1] + 16,
             (unsigned long long)blocks[1] + 1, ARENA_BYTES, ~0ull - 15);
    s = do_with(arena, blocks, 3, what);
    for (int i = 1; i <= 7; i++)
        expect_refused(s, i);
    for (int i = 8; i <= 10; i++)
        expect_done(s, i);
}

TEST(arena, init_refuses_sizes_that_do_not_work)
{
    static const long long sizes[] = {0, 16, 1008, 4095, 4097};

    for (int i = 0; i < 5; i++) {
        struct subject *s = START(init_arena, SHARE("arena", new_shared(8192)),
                                  INT("size", sizes[i]));
        finish(s);
        expect_error(s, "init", EINVAL);
    }
}

/* A small case, in every order of its steps: two blocks, and one goes back. */

HELPER void prepare_arena(void)
{
    size_t size;
    char *arena = given_shared("arena", &size);

    memset(arena, 0, size);
    arena_init(arena, size);
}

HELPER void allocate_and_free(void)
{
    char *arena = given_shared("arena", NULL);
    uint64_t block = arena_alloc(arena, 100);

    tell_int("first", (long long)block);
    CALL("free", arena_free(arena, block));
}

HELPER void allocate_as_well(void)
{
    tell_int("other", (long long)arena_alloc(given_shared("arena", NULL), 100));
}

/* All that is left is one block, if it is one. */
HELPER void allocate_the_rest(void)
{
    char *arena = given_shared("arena", NULL);

    CALL("rest", (long long)arena_alloc(arena, ARENA_BYTES / 2));
}

SCENARIO(two_blocks)
{
    run_schedules(
        &(struct small_case){.prepare = prepare_arena,
                             .roles = {allocate_and_free, allocate_as_well},
                             .check = allocate_the_rest});
}

HELPER void blocks_are_whole(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "free", 0);
    EXPECT(got_int(s, "first") > 0 && got_int(s, "other") > 0, "two blocks",
           "%lld and %lld", got_int(s, "first"), got_int(s, "other"));
    expect_at_least(s, "rest", 1);
}

HELPER void explore_arena(void)
{
    struct subject *s =
        START(two_blocks, SHARE("arena", new_shared(ARENA_BYTES)));

    explore(s,
            &(struct exploration){.preemptions = 1, .check = blocks_are_whole});
    finish(s);
}

TEST(arena, two_processes_may_use_it_at_once)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s[2];

    for (int i = 0; i < 2; i++)
        s[i] = START(allocate_in_turn, SHARE("arena", arena),
                     HOLD("store", 2, "in the middle"));
    let_go(s[0], "go");
    await_asleep(s[0]);
    let_go(s[1], "go");
    await_asleep(s[1]);
    for (int i = 0; i < 2; i++)
        let_go(s[i], "in the middle");
    for (int i = 0; i < 2; i++)
        await_asleep(s[i]);
    /* One after the other: what a lock orders is then ordered by it alone. */
    for (int i = 0; i < 2; i++) {
        let_go(s[i], "free");
        await_asleep(s[i]);
    }
    for (int i = 0; i < 2; i++)
        let_go(s[i], "again");
    for (int i = 0; i < 2; i++)
        finish(s[i]);
    expect_no_race();
    for (int i = 0; i < 2; i++) {
        expect_at_least(s[i], "block", 1);
        expect_return(s[i], "free", 0);
        expect_at_least(s[i], "again", 1);
    }
    EXPECT(got_int(s[0], "again") != got_int(s[1], "again"), "two blocks apart",
           "the same one given to both");
    explore_arena();
}

TEST(arena, who_waits_for_the_lock_is_woken)
{
    char *arena = new_arena(ARENA_BYTES);
    struct subject *s[2];

    s[0] = START(allocate_in_turn, SHARE("arena", arena),
                 HOLD("pthread_mutex_unlock", 1, "unlocking"),
                 HOLD("sem_post", 1, "unlocking"));
    s[1] = START(allocate_in_turn, SHARE("arena", arena));
    let_go(s[0], "go");
    await_asleep(s[0]);
    let_go(s[1], "go");
    await_asleep(s[1]);
    let_go(s[0], "unlocking");
    for (int i = 0; i < 2; i++) {
        let_go(s[i], "free");
        let_go(s[i], "again");
    }
    for (int i = 0; i < 2; i++) {
        finish(s[i]);
        expect_at_least(s[i], "again", 1);
    }
}

/* ------------------------------------------------------------------------
 * Group pool
 */

SCENARIO(create_pool)
{
    struct pool p;

    if (CALL("create",
             pool_create(&p, given_str("name"), (size_t)given_int("nsegs"),
                         (size_t)given_int("size"))) == 0)
        CALL("close", pool_close(&p));
}

SCENARIO(create_and_destroy)
{
    struct pool p;

    if (CALL("create",
             pool_create(&p, given_str("name"), (size_t)given_int("nsegs"),
                         (size_t)given_int("size"))) == 0)
        CALL("destroy", pool_destroy(&p));
}

/* Knows nothing of the pool but what it finds. */
SCENARIO(open_later)
{
    struct pool p;

    wait_for("open");
    if (CALL("open", pool_open(&p, given_str("name"))) == -1)
        return;
    CALL("acquire", pool_acquire(&p, 0));
    CALL("close", pool_close(&p));
}

SCENARIO(open_pool)
{
    struct pool p;

    if (CALL("open", pool_open(&p, given_str("name"))) == 0)
        CALL("close", pool_close(&p));
}

/*
 * Opens the pool and does what the string says: "a" acquires, "r2" releases
 * segment 2, "g2" gives it to the process `to`, "s2" says where it is, "w2"
 * writes the process's byte all over it, "c" reclaims what is of `to`; "." is
 * a point at which it waits for the test.
 */
SCENARIO(use_pool)
{
    struct pool p;
    const char *at = given_str("do");
    int stops = 0;

    if (CALL("open", pool_open(&p, given_str("name"))) == -1)
        return;
    for (int i = 1; *at != '\0'; i++) {
        char what = *at++, name[32], *end;
        int seg = (int)strtol(at, &end, 10);
        void *where;

        at = *end == ' ' ? end + 1 : end;
        snprintf(name, sizeof(name), "%d", i);
        switch (what) {
        case 'a':
            CALL(name, pool_acquire(&p, (int)given_int("deadline")));
            break;
        case 'r':
            CALL(name, pool_release(&p, seg));
            break;
        case 'g':
            CALL(name, pool_give(&p, seg, (pid_t)given_int("to")));
            break;
        case 'c':
            CALL(name, pool_reclaim(&p, (pid_t)given_int("to")));
            break;
        case '.':
            snprintf(name, sizeof(name), "stop %d", ++stops);
            wait_for(name);
            break;
        default:
            where = CALL_PTR(name, pool_segment(&p, seg));
            if (what == 'w' && where != NULL)
                memset(where, (int)given_int("byte"), p.seg_bytes);
            if (what == 'b' && where != NULL) {
                snprintf(name, sizeof(name), "byte %d", i);
                tell_int(name, ((unsigned char *)where)[p.seg_bytes - 1]);
            }
        }
    }
    CALL("close", pool_close(&p));
}

SCENARIO(destroy_pool)
{
    struct pool p;

    if (CALL("open", pool_open(&p, given_str("name"))) == 0)
        CALL("destroy", pool_destroy(&p));
}

HELPER const char *segment_name(const char *name, int seg)
{
    static char names[4][64];
    static int next;
    char *text = names[next++ % 4];

    if (seg == -1)
        snprintf(text, 64, "%s", name);
    else
        snprintf(text, 64, "%s.%d", name, seg);
    return text;
}

/* The region's size; -1: there is none. */
HELPER long long region_size(const char *name, int seg)
{
    int fd = shm_open(segment_name(name, seg), O_RDWR, 0);
    struct stat st;

    if (fd == -1)
        return -1;
    REQUIRE(fstat(fd, &st) == 0);
    close(fd);
    return (long long)st.st_size;
}

/* A name of which the judge removes all regions. */
HELPER const char *pool_name(void)
{
    const char *name = new_name();

    for (int seg = -1; seg < 5; seg++)
        judges_name('m', segment_name(name, seg));
    return name;
}

HELPER const char *new_pool(int nsegs, int size)
{
    const char *name = pool_name();
    struct subject *s = START(create_pool, STR("name", name),
                              INT("nsegs", nsegs), INT("size", size));

    finish(s);
    expect_return(s, "create", 0);
    return name;
}

#define START_POOL(name_, what, ms, to_)                                      \
    START(use_pool, STR("name", name_), STR("do", what), INT("deadline", ms), \
          INT("to", to_), INT("byte", 0x41))

/* Runs it to its end. */
HELPER struct subject *pool_does(const char *name, const char *what)
{
    struct subject *s = START_POOL(name, what, 0, 0);

    finish(s);
    expect_return(s, "open", 0);
    return s;
}

/* A deadline of a minute: far longer than a test, and soon over. */
#define A_MINUTE_MS 60000

/* Waits of these calls are over after 20 ms, or have no time-out (a lock). */
HELPER void expect_looks(struct subject *s)
{
    static const char *const calls[] = {
        "sem_wait", "pthread_cond_wait", "futex", "nanosleep", "poll", "semop"};

    for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++)
        expect_short_waits(s, calls[k]);
}

/* All of its time is over, and it has looked at the clock since, or waits on
 * without.  Then the process is ended. */
HELPER void expect_over(struct subject *s, const char *returned,
                        const char *anew)
{
    for (int i = 0; i < 10 && !was_told(s, returned); i++)
        await_still(s);
    EXPECT(was_told(s, returned),
           "a time-out that is counted from the call: its time is over",
           "it waits on: its time began anew %s", anew);
    expect_error(s, returned, ETIMEDOUT);
    kill_subject(s);
}

/* A deadline does not move when somebody sets the clock. */
HELPER void expect_monotonic(struct subject *s)
{
    EXPECT(calls_made(s, "=sem_timedwait") == 0,
           "a deadline on CLOCK_MONOTONIC",
           "sem_timedwait, which measures on CLOCK_REALTIME: who sets the "
           "clock moves the deadline");
    for (unsigned i = 0; i < calls_made(s, "=sem_clockwait"); i++)
        EXPECT(call_argument(s, "=sem_clockwait", i, 1) == CLOCK_MONOTONIC,
               "a deadline on CLOCK_MONOTONIC", "another clock");
}

HELPER void expect_step(struct subject *s, int i, long long value)
{
    char name[32];

    snprintf(name, sizeof(name), "%d", i);
    expect_return(s, name, value);
}

HELPER void expect_step_error(struct subject *s, int i, int err)
{
    char name[32];

    snprintf(name, sizeof(name), "%d", i);
    expect_error(s, name, err);
}

TEST(pool, create_makes_a_region_for_each_segment)
{
    const char *name = new_pool(3, 5000);
    struct stat st;

    EXPECT(region_size(name, -1) > 0, "a region of the pool's own name",
           "none");
    for (int seg = 0; seg < 3; seg++) {
        int fd = shm_open(segment_name(name, seg), O_RDWR, 0);
        char *at;

        EXPECT(fd != -1, "a region for each segment: NAME.0, NAME.1, ...",
               "none for segment %d", seg);
        REQUIRE(fstat(fd, &st) == 0);
        EXPECT((st.st_mode & 0777) == 0600, "mode 0600", "mode %04o",
               (unsigned)st.st_mode & 0777);
        EXPECT(st.st_size == 5000, "5000 bytes each", "%lld",
               (long long)st.st_size);
        at = mmap(NULL, 5000, PROT_READ, MAP_SHARED, fd, 0);
        REQUIRE(at != MAP_FAILED);
        EXPECT(at[0] == 0 && at[4999] == 0, "bytes of 0", "other ones");
        munmap(at, 5000);
        close(fd);
    }
    EXPECT(region_size(name, 3) == -1, "3 segments", "a fourth one");
}

/* As many segments as there may be, by the longest name, and signals on the
 * way. */
TEST(pool, create_goes_to_its_limits)
{
    const char *begins = new_name();
    char name[201], region[210];
    struct subject *s;

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    memcpy(name, begins, strlen(begins));
    s = START(create_and_destroy, STR("name", name),
              INT("nsegs", POOL_MAX_SEGS), INT("size", 1));
    finish(s);
    for (int seg = -1; seg < POOL_MAX_SEGS; seg++) {
        snprintf(region, sizeof(region), seg < 0 ? "%s" : "%s.%d", name, seg);
        shm_unlink(region);
    }
    expect_return(s, "create", 0);
    s = START(create_pool, STR("name", pool_name()), INT("nsegs", 3),
              INT("size", 100), FAIL("posix_fallocate", 1, 2, EINTR));
    finish(s);
    expect_return(s, "create", 0);
}

TEST(pool, create_refuses_numbers_that_do_not_work)
{
    static const int numbers[][2] = {
        {0, 100}, {POOL_MAX_SEGS + 1, 100}, {2, 0}};

    for (int i = 0; i < 3; i++) {
        const char *name = pool_name();
        struct subject *s =
            START(create_pool, STR("name", name), INT("nsegs", numbers[i][0]),
                  INT("size", numbers[i][1]));
        finish(s);
        expect_error(s, "create", EINVAL);
        EXPECT(region_size(name, -1) == -1, "nothing made", "a region");
    }
}

TEST(pool, create_takes_no_name_that_is_taken)
{
    for (int taken = -1; taken <= 1; taken++) {
        const char *name = pool_name();
        int fd = shm_open(segment_name(name, taken), O_RDWR | O_CREAT | O_EXCL,
                          0600);

        REQUIRE(fd != -1 && ftruncate(fd, 77) == 0);
        close(fd);
        struct subject *s = START(create_pool, STR("name", name),
                                  INT("nsegs", 3), INT("size", 100));
        finish(s);
        expect_error(s, "create", EEXIST);
        for (int seg = -1; seg < 3; seg++)
            EXPECT(region_size(name, seg) == (seg == taken ? 77 : -1),
                   "what was there as it was, and nothing else",
                   "region \"%s\" has %lld bytes (-1: it is gone)",
                   segment_name(name, seg), region_size(name, seg));
        expect_nothing_left(s);
    }
}

TEST(pool, create_that_fails_leaves_nothing)
{
    static const struct {
        const char *call;
        int nth;
    } faults[] = {{"shm_open", 1},
                  {"shm_open", 3},
                  {"mmap", 1},
                  {"mmap", 2},
                  {"mmap", 3}};

    for (int i = 0; i < 5; i++) {
        const char *name = pool_name();
        struct subject *s = START(
            create_pool, STR("name", name), INT("nsegs", 3), INT("size", 100),
            FAIL(faults[i].call, faults[i].nth, 1, ENFILE));
        finish(s);
        if (calls_made(s, faults[i].call) < (unsigned)faults[i].nth) {
            expect_return(s, "create", 0);
            continue; /* it maps a segment when it is asked for it */
        }
        EXPECT(got_int(s, "create") == -1, "a pool_create that fails",
               "it returned 0, though its %s() number %d has failed",
               faults[i].call, faults[i].nth);
        expect_error(s, "create", ENFILE);
        for (int seg = -1; seg < 3; seg++)
            EXPECT(region_size(name, seg) == -1,
                   "nothing left of a pool that could not be made",
                   "region \"%s\" is, when %s() number %d fails",
                   segment_name(name, seg), faults[i].call, faults[i].nth);
        expect_nothing_left(s);
    }
}

TEST(pool, open_finds_it_and_makes_none)
{
    const char *name = new_pool(2, 64);
    struct subject *s = START(open_pool, STR("name", name));

    finish(s);
    expect_return(s, "open", 0);
    name = pool_name();
    s = START(open_pool, STR("name", name));
    finish(s);
    expect_error(s, "open", ENOENT);
    EXPECT(region_size(name, -1) == -1, "nothing made", "a region");
    expect_nothing_left(s);
}

/* The creator is stopped; what is not complete is not there. */
TEST(pool, what_is_half_made_can_not_be_opened)
{
    static const char *const calls[] = {"shm_open", "mmap",
                                        "pthread_mutex_init", "sem_init"};

    for (int i = 0; i < 12; i += under_valgrind() ? 5 : 1) {
        const char *name = pool_name();
        struct subject *c = START(
            create_pool, STR("name", name), INT("nsegs", 3), INT("size", 100),
            HOLD_AFTER(calls[i % 4], 1 + (unsigned)i / 4, "stopped"));

        await_asleep(c);
        if (was_told(c, "stopped") && !was_told(c, "create")) {
            struct subject *s = START(open_pool, STR("name", name));
            finish(s);
            expect_error(s, "open", ENOENT);
            expect_nothing_left(s);
        }
        let_go(c, "stopped");
        finish(c);
        expect_return(c, "create", 0);
        struct subject *s = START(open_pool, STR("name", name));
        finish(s);
        expect_return(s, "open", 0);
    }

    /* What it finds is ordered by that it is complete, and by nothing else. */
    const char *name = pool_name();
    struct subject *s = START(open_later, STR("name", name));
    struct subject *c = START(create_pool, STR("name", name), INT("nsegs", 3),
                              INT("size", 100));
    finish(c);
    expect_return(c, "create", 0);
    let_go(s, "open");
    finish(s);
    expect_no_race();
    expect_return(s, "open", 0);
    expect_return(s, "acquire", 0);
}

TEST(pool, each_segment_is_given_once)
{
    const char *name = new_pool(4, 64);
    struct subject *s = pool_does(name, "a a a a a");
    int seen[4] = {0};

    for (int i = 1; i <= 4; i++) {
        char step[8];
        long long seg;

        snprintf(step, sizeof(step), "%d", i);
        expect_at_least(s, step, 0);
        seg = got_int(s, step);
        EXPECT(seg < 4 && seen[seg]++ == 0, "the numbers 0 to 3, each once",
               "%lld, for the second time or out of range", seg);
    }
    expect_step_error(s, 5, ETIMEDOUT);
}

TEST(pool, free_segments_go_round_in_a_queue)
{
    const char *name = new_pool(3, 64);
    struct subject *s = pool_does(name, "a a a r2 r0 r1 a a a");

    expect_step(s, 4, 0);
    expect_step(s, 7, 2);
    expect_step(s, 8, 0);
    expect_step(s, 9, 1);
}

TEST(pool, who_waits_for_a_segment_is_woken)
{
    const char *name = new_pool(1, 64);

    expect_step(pool_does(name, "a"), 1, 0);
    struct subject *w =
        START(use_pool, STR("name", name), STR("do", "a"), INT("deadline", -1),
              INT("to", 0), INT("byte", 0), FAIL("sem_wait", 1, 2, EINTR));
    await_asleep(w);
    if (was_told(w, "1"))
        expect_step(w, 1, 0); /* says what it has returned */
    await_blocked(w, "futex");
    expect_step(pool_does(name, "r0"), 1, 0);
    finish(w);
    expect_step(w, 1, 0);
}

/* ... with nothing done, and there it stands still. */
#define FIRST_WAIT_ENDS                                                        \
    FAIL("sem_wait", 1, 1, EINTR), SPURIOUS(1, 1), FAIL("futex", 1, 1, EINTR), \
        HOLD_AFTER("sem_wait", 1, "stopped"),                                  \
        HOLD_AFTER("pthread_cond_wait", 1, "stopped"),                         \
        HOLD_AFTER("futex", 1, "stopped")

/* (Who waits in another way never stops, and is not judged by that.) */
TEST(pool, acquire_gives_up_at_the_deadline)
{
    const char *name = new_pool(1, 64);

    expect_step(pool_does(name, "a"), 1, 0);
    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s = START_POOL(name, "a", ms, 0);
        finish(s);
        expect_step_error(s, 1, ETIMEDOUT);
        expect_monotonic(s);
    }
    struct subject *s = START_POOL(name, "a r0 a", BELOW_FOR_EVER_MS, 0);
    finish(s);
    expect_step_error(s, 1, EINVAL);
    expect_step(s, 2, 0);
    expect_step_error(s, 3, EINVAL);
    s = pool_does(name, "a a");
    expect_step(s, 1, 0);
    expect_step_error(s, 2, ETIMEDOUT);
    s = START(use_pool, STR("name", name), STR("do", "a"),
              INT("deadline", A_MINUTE_MS), INT("to", 0), INT("byte", 0),
              FIRST_WAIT_ENDS);
    await_asleep(s);
    if (was_told(s, "open") && was_told(s, "stopped")) {
        time_passes(s, A_MINUTE_MS + 1000);
        let_go(s, "stopped");
        expect_over(s, "1", "when a signal had ended its wait");
    }
}

TEST(pool, a_segment_is_the_same_in_all_processes)
{
    const char *name = new_pool(3, 5000);
    struct subject *s = pool_does(name, "w1 s1 s1 s0 s3 s-1");

    expect_pointer(s, "1");
    EXPECT(got_int(s, "2") == got_int(s, "1") &&
               got_int(s, "3") == got_int(s, "1"),
           "the same address each time", "another one: it is mapped again");
    EXPECT(got_int(s, "4") != got_int(s, "1"), "another segment elsewhere",
           "at the same address");
    expect_step_error(s, 5, EINVAL);
    expect_step_error(s, 6, EINVAL);
    expect_nothing_left(s);
    s = pool_does(name, "b1 b0");
    expect_int(s, "byte 1", 0x41);
    expect_int(s, "byte 2", 0);
}

TEST(pool, a_segment_is_released_once)
{
    const char *name = new_pool(2, 64);
    struct subject *s = pool_does(name, "a a r1 r1 r2 r-1 a a");

    expect_step(s, 3, 0);
    for (int i = 4; i <= 6; i++)
        expect_step_error(s, i, EINVAL);
    expect_step(s, 7, 1);
    expect_step_error(s, 8, ETIMEDOUT);
}

TEST(pool, another_process_may_release_it)
{
    const char *name = new_pool(1, 64);

    expect_step(pool_does(name, "a"), 1, 0);
    expect_step(pool_does(name, "r0"), 1, 0);
    expect_step(pool_does(name, "a"), 1, 0);
}

/*
 * A small case: two want the one segment, which is in use at first, and one of
 * them may die, wherever it is; who knows of its end takes back what it
 * had.
 */
struct region {
    void *at, *before; /* as it is, and a copy of how each schedule finds it */
    size_t size;
};

struct table_of_two {
    struct pool pool;
    pid_t first;
    struct region regions[2]; /* all of the pool */
};

HELPER struct table_of_two *small_pool(void)
{
    return given_shared("small", NULL);
}

HELPER void keep_region(const char *name, struct region *r)
{
    int fd = shm_open(name, O_RDWR, 0);
    struct stat st = {.st_size = 0};

    fstat(fd, &st);
    r->size = (size_t)st.st_size;
    r->at = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    r->before = malloc(r->size);
    memcpy(r->before, r->at, r->size);
    close(fd);
}

HELPER void prepare_pool(void)
{
    for (int i = 0; i < 2; i++) {
        struct region *r = &small_pool()->regions[i];

        memcpy(r->at, r->before, r->size);
    }
    small_pool()->first = 0;
}

HELPER void borrow(const char *acquired, const char *released)
{
    struct pool *p = &small_pool()->pool;

    CALL(acquired, pool_acquire(p, -1));
    CALL(released, pool_release(p, 0));
}

HELPER void borrow_first(void)
{
    small_pool()->first = getpid();
    borrow("first", "released first");
}

HELPER void borrow_as_well(void)
{
    borrow("other", "released");
}

HELPER void release_and_reclaim(void)
{
    pid_t first;

    CALL("released before", pool_release(&small_pool()->pool, 0));
    while ((first = small_pool()->first) == 0 || kill(first, 0) == 0)
        stand_back();
    CALL("reclaim", pool_reclaim(&small_pool()->pool, first));
}

HELPER void is_there(void)
{
    CALL("at the end", pool_acquire(&small_pool()->pool, 0));
}

SCENARIO(two_and_one_segment)
{
    struct pool *p = &small_pool()->pool;
    struct region *regions = small_pool()->regions;
    char segment[64];

    if (CALL("create", pool_create(p, given_str("name"), 1, 64)) == -1 ||
        CALL("before", pool_acquire(p, 0)) == -1)
        return;
    snprintf(segment, sizeof(segment), "%s.0", given_str("name"));
    keep_region(given_str("name"), &regions[0]);
    keep_region(segment, &regions[1]);
    run_schedules(&(struct small_case){
        .prepare = prepare_pool,
        .roles = {borrow_first, borrow_as_well, release_and_reclaim},
        .check = is_there});
    for (int i = 0; i < 2; i++) {
        munmap(regions[i].at, regions[i].size);
        free(regions[i].before);
    }
    pool_close(p);
}

HELPER void both_had_it(struct subject *s, unsigned deaths)
{
    expect_return(s, "other", 0);
    expect_return(s, "released", 0);
    expect_return(s, "at the end", 0);
    if (deaths > 0) {
        expect_at_least(s, "reclaim", 0);
        return;
    }
    expect_return(s, "first", 0);
    expect_return(s, "released first", 0);
    expect_return(s, "reclaim", 0);
}

HELPER void explore_pool(void)
{
    struct subject *s =
        START(two_and_one_segment, STR("name", pool_name()),
              SHARE("small", new_shared(sizeof(struct table_of_two))));

    explore(s, &(struct exploration){.deaths = 1,
                                     .spared = 1 << 1 | 1 << 2,
                                     .check = both_had_it});
    finish(s);
}

TEST(pool, a_dead_ones_segments_come_back)
{
    const char *name = new_pool(4, 64);
    struct subject *dying = START_POOL(name, "a a .", 0, 0);

    await_asleep(dying);
    expect_step(dying, 1, 0);
    expect_step(dying, 2, 1);
    struct subject *other = START_POOL(name, "a .", 0, 0);
    await_asleep(other);
    expect_step(other, 1, 2);
    long long pid = subject_pid(dying);
    struct subject *s = START_POOL(name, "c", 0, pid);
    finish(s);
    expect_step_error(s, 1, EBUSY);
    /* As for a process of another user's: it lives, and must not be told. */
    s = START(use_pool, STR("name", name), STR("do", "c"), INT("deadline", 0),
              INT("to", pid), INT("byte", 0), FAIL("kill", 1, 1, EPERM));
    finish(s);
    expect_step_error(s, 1, EBUSY);
    kill_subject(dying);
    s = START_POOL(name, "c c a a a a", 0, pid);
    finish(s);
    expect_step(s, 1, 2);
    expect_step(s, 2, 0);
    expect_step(s, 3, 3);
    expect_step(s, 4, 0);
    expect_step(s, 5, 1);
    expect_step_error(s, 6, ETIMEDOUT);
    let_go(other, "stop 1");
    finish(other);
    explore_pool();
}

TEST(pool, what_is_handed_over_is_the_others)
{
    const char *name = new_pool(2, 64);
    struct subject *receiver = START_POOL(name, ".", 0, 0);
    long long to;

    await_asleep(receiver);
    to = subject_pid(receiver);
    struct subject *sender = START_POOL(name, "a g0 g1 g2 .", 0, to);
    await_asleep(sender);
    expect_step(sender, 1, 0);
    expect_step(sender, 2, 0);
    expect_step_error(sender, 3, EINVAL);
    expect_step_error(sender, 4, EINVAL);
    long long from = subject_pid(sender);
    kill_subject(sender);
    struct subject *s = START_POOL(name, "c", 0, from);
    finish(s);
    expect_step(s, 1, 0);
    kill_subject(receiver);
    s = START_POOL(name, "c", 0, to);
    finish(s);
    expect_step(s, 1, 1);
}

TEST(pool, close_and_destroy_leave_nothing)
{
    const char *name = new_pool(3, 5000);
    struct subject *s = pool_does(name, "w0 w2");

    expect_return(s, "close", 0);
    expect_nothing_left(s);
    struct subject *user = START_POOL(name, "a . b0 r0", 0, 0);
    await_asleep(user);
    s = START(destroy_pool, STR("name", name));
    finish(s);
    expect_return(s, "destroy", 0);
    for (int seg = -1; seg < 3; seg++)
        EXPECT(region_size(name, seg) == -1, "no region of the pool left",
               "\"%s\" is", segment_name(name, seg));
    expect_nothing_left(s);
    let_go(user, "stop 1");
    finish(user);
    expect_step(user, 4, 0);
}

/* ------------------------------------------------------------------------
 * Group rounds
 */

enum { SLOT = 100 };

SCENARIO(init_rounds)
{
    CALL("init",
         rounds_init(given_shared("rounds", NULL), (size_t)given_int("slots"),
                     (size_t)given_int("slot")));
}

/* Sends n messages: from the bytes given, `size` each time. */
SCENARIO(send_rounds)
{
    struct rounds *r = given_shared("rounds", NULL);
    size_t size;
    const void *data = given_bytes("data", &size);

    if (CALL("join", rounds_join(r, ROUNDS_SENDER)) == -1)
        return;
    wait_for("send");
    for (int i = 1; i <= given_int("n"); i++) {
        char name[32];

        snprintf(name, sizeof(name), "send %d", i);
        CALL(name, rounds_send(r, data, size, (int)given_int("deadline")));
    }
    wait_for("leave");
    CALL("leave", rounds_leave(r, ROUNDS_SENDER));
}

SCENARIO(recv_rounds)
{
    static char buf[8192];
    struct rounds *r = given_shared("rounds", NULL);

    if (CALL("join", rounds_join(r, ROUNDS_RECEIVER)) == -1)
        return;
    wait_for("recv");
    for (int i = 1; i <= given_int("n"); i++) {
        char name[32];

        snprintf(name, sizeof(name), "recv %d", i);
        memset(buf, 0x5a, sizeof(buf));
        CALL(name, rounds_recv(r, buf, (size_t)given_int("cap"),
                               (int)given_int("deadline")));
        snprintf(name, sizeof(name), "data %d", i);
        tell_bytes(name, buf, sizeof(buf));
    }
    wait_for("leave");
    CALL("leave", rounds_leave(r, ROUNDS_RECEIVER));
}

HELPER void *new_rounds(size_t slots)
{
    void *r = new_shared(ROUNDS_BYTES(slots, SLOT));
    struct subject *s = START(init_rounds, SHARE("rounds", r),
                              INT("slots", slots), INT("slot", SLOT));

    finish(s);
    expect_return(s, "init", 0);
    return r;
}

/* A sender or receiver that has joined; it goes on at "send" or "recv". */
HELPER struct subject *new_sender(void *r, const void *data, size_t size, int n,
                                  int ms)
{
    struct subject *s =
        START(send_rounds, SHARE("rounds", r), BYTES("data", data, size),
              INT("n", n), INT("deadline", ms));

    await(s, "join");
    expect_return(s, "join", 0);
    return s;
}

HELPER struct subject *new_receiver(void *r, size_t cap, int n, int ms)
{
    struct subject *s = START(recv_rounds, SHARE("rounds", r), INT("cap", cap),
                              INT("n", n), INT("deadline", ms));

    await(s, "join");
    expect_return(s, "join", 0);
    return s;
}

HELPER void leave(struct subject *s)
{
    let_go(s, "leave");
    finish(s);
    expect_return(s, "leave", 0);
}

HELPER void expect_message(struct subject *s, int i, const void *data,
                           size_t size)
{
    char name[32];
    const char *got;
    size_t told;

    snprintf(name, sizeof(name), "recv %d", i);
    await(s, name);
    expect_return(s, name, (long long)size);
    snprintf(name, sizeof(name), "data %d", i);
    await(s, name);
    got = got_bytes(s, name, &told);
    EXPECT(memcmp(got, data, size) == 0, "the bytes that were sent",
           "other ones, in a message of %zu bytes", size);
    EXPECT(size == told || got[size] == 0x5a,
           "no byte written behind the message", "one was");
}

#define WITHIN 8000 /* ms; who waits here looks again and again */

/* A sender comes after one that did not send all of its message.  What that one
 * has left is no part of the new one's.  The receiver: one that has joined, or
 * (NULL) another. */
HELPER void the_next_is_whole(void *r, struct subject *receiver)
{
    char data[2 * SLOT + 7]; /* more than that one has left */

    fill_random(data, sizeof(data));
    struct subject *s = new_sender(r, data, sizeof(data), 1, -1);
    struct subject *v =
        receiver != NULL ? receiver : new_receiver(r, 4000, 1, -1);

    let_go(v, "recv");
    let_go(s, "send");
    expect_message(v, 1, data, sizeof(data));
    await(s, "send 1");
    expect_return(s, "send 1", 0);
    leave(s);
    leave(v);
}

/* Small cases, in every order of their steps: a message in two rounds; and a
 * sender that may die, wherever it is. */

enum { SMALL_SLOT = 8, SMALL_MESSAGE = 12 };

HELPER void prepare_rounds(void)
{
    size_t size;
    void *r = given_shared("rounds", &size);

    memset(r, 0, size);
    rounds_init(r, (size_t)given_int("slots"), SMALL_SLOT);
    atomic_store((atomic_int *)given_shared("joined", NULL), 0);
}

HELPER void send_small(void)
{
    void *r = given_shared("rounds", NULL);

    CALL("join", rounds_join(r, ROUNDS_SENDER));
    atomic_store((atomic_int *)given_shared("joined", NULL), 1);
    CALL("send", rounds_send(r, "twelve bytes", SMALL_MESSAGE, -1));
    CALL("leave", rounds_leave(r, ROUNDS_SENDER));
}

HELPER void recv_small(void)
{
    void *r = given_shared("rounds", NULL);
    char got[SMALL_MESSAGE];

    CALL("joined", rounds_join(r, ROUNDS_RECEIVER));
    CALL("recv", rounds_recv(r, got, sizeof(got), -1));
    tell_bytes("got", got, sizeof(got));
    CALL("left", rounds_leave(r, ROUNDS_RECEIVER));
}

/* Whoever comes to it before the sender would wait for one to come. */
HELPER void recv_from_one_who_has_come(void)
{
    if (atomic_load((atomic_int *)given_shared("joined", NULL)) == 1)
        recv_small();
}

SCENARIO(one_message)
{
    run_schedules(&(struct small_case){.prepare = prepare_rounds,
                                       .roles = {send_small, recv_small}});
}

SCENARIO(one_message_and_a_death)
{
    run_schedules(&(struct small_case){
        .prepare = prepare_rounds,
        .roles = {send_small, recv_from_one_who_has_come}});
}

HELPER void it_is_whole(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "send", 0);
    expect_return(s, "leave", 0);
    expect_return(s, "recv", SMALL_MESSAGE);
    expect_bytes(s, "got", "twelve bytes", SMALL_MESSAGE);
    expect_return(s, "left", 0);
}

HELPER void it_is_whole_or_none(struct subject *s, unsigned deaths)
{
    if (!was_told(s, "recv"))
        return;
    if (deaths > 0 && got_int(s, "recv") == -1) {
        expect_error(s, "recv", EPIPE);
        return;
    }
    expect_return(s, "recv", SMALL_MESSAGE);
    expect_bytes(s, "got", "twelve bytes", SMALL_MESSAGE);
}

#define START_SMALL(scenario, slots_)                               \
    START(scenario, INT("slots", slots_),                           \
          SHARE("rounds", new_shared(ROUNDS_BYTES(2, SMALL_SLOT))), \
          SHARE("joined", new_shared(sizeof(atomic_int))))

/* Sends two messages of one round. */
SCENARIO(send_one_after_the_other)
{
    static const char *const names[] = {"first", "second"};
    struct rounds *r = given_shared("rounds", NULL);

    if (CALL("join", rounds_join(r, ROUNDS_SENDER)) == -1)
        return;
    for (int i = 0; i < 2; i++) {
        size_t size;
        const void *data = given_bytes(names[i], &size);

        wait_for(names[i]);
        CALL(names[i], rounds_send(r, data, size, 0));
    }
    CALL("leave", rounds_leave(r, ROUNDS_SENDER));
}

/*
 * The receiver is stopped after one of its steps, and the sender sends again,
 * if it may: what is being read stays as it is, up to the last byte.  False:
 * there is no such step.
 */
HELPER bool receiver_stopped_after(const char *step, unsigned nth)
{
    char data[2][SLOT];
    void *r = new_rounds(1);
    struct subject *s, *v;
    bool stopped;

    fill_random(data, sizeof(data));
    s = START(send_one_after_the_other, SHARE("rounds", r),
              BYTES("first", data[0], SLOT), BYTES("second", data[1], SLOT));
    let_go(s, "first");
    await(s, "first");
    expect_return(s, "first", 0);
    v = START(recv_rounds, SHARE("rounds", r), INT("cap", 4000), INT("n", 1),
              INT("deadline", -1), HOLD_AFTER(step, nth, "stopped"));
    let_go(v, "recv");
    await_still(v);
    stopped = was_told(v, "stopped") && !was_told(v, "recv 1");
    let_go(s, "second");
    await_still(s);
    let_go(v, "stopped");
    let_go(v, "leave");
    finish(v);
    finish(s);
    expect_no_race();
    expect_message(v, 1, data[0], SLOT);
    return stopped;
}

/* Stopped after its first steps of a kind, one in each run. */
HELPER void what_is_read_stays(const char *step, unsigned most)
{
    for (unsigned nth = 1; nth <= most; nth++)
        if (!receiver_stopped_after(step, nth))
            break;
}

TEST_WITHIN(rounds, a_message_of_any_size_arrives, WITHIN)
{
    static const size_t sizes[] = {1,        SLOT - 1,     SLOT, SLOT + 1,
                                   2 * SLOT, 2 * SLOT + 1, 1234, 0};
    char data[1234];

    what_is_read_stays("atomic", 6);
    fill_random(data, sizeof(data));
    for (size_t slots = under_valgrind() ? 3 : 1; slots <= 3; slots++)
        for (size_t i = 0; i < 8; i++) {
            void *r = new_rounds(slots);
            struct subject *s = new_sender(r, data, sizes[i], 1, -1);
            struct subject *v = new_receiver(r, 4000, 1, -1);

            let_go(s, "send");
            let_go(v, "recv");
            expect_message(v, 1, data, sizes[i]);
            leave(s);
            expect_return(s, "send 1", 0);
            leave(v);
        }

    struct subject *s = START_SMALL(one_message, 1);
    explore(s, &(struct exploration){.preemptions = 1, .check = it_is_whole});
    finish(s);
}

TEST_WITHIN(rounds, messages_are_kept_apart_and_in_order, WITHIN)
{
    void *r = new_rounds(2);
    char data[2 * SLOT];

    fill_random(data, sizeof(data));
    struct subject *s = new_sender(r, data, sizeof(data), 3, -1);
    struct subject *v = new_receiver(r, 4000, 3, -1);
    let_go(s, "send");
    let_go(v, "recv");
    for (int i = 1; i <= 3; i++)
        expect_message(v, i, data, sizeof(data));
    leave(s);
    leave(v);
}

TEST_WITHIN(rounds, the_sender_runs_ahead_by_its_slots, WITHIN)
{
    void *r = new_rounds(3);
    char data[3 * SLOT];

    fill_random(data, sizeof(data));
    struct subject *s = new_sender(r, data, sizeof(data), 2, 0);
    let_go(s, "send");
    await(s, "send 1");
    expect_return(s, "send 1", 0);
    await(s, "send 2");
    expect_error(s, "send 2", ETIMEDOUT);
    struct subject *v = new_receiver(r, 4000, 1, -1);
    let_go(v, "recv");
    expect_message(v, 1, data, sizeof(data));
    leave(v);
    leave(s);
}

TEST_WITHIN(rounds, who_waits_is_woken, WITHIN)
{
    void *r = new_rounds(1);
    char data[3 * SLOT];

    fill_random(data, sizeof(data));
    struct subject *v =
        START(recv_rounds, SHARE("rounds", r), INT("cap", 4000), INT("n", 1),
              INT("deadline", -1), FAIL("sem_wait", 1, 1, EINTR));
    let_go(v, "recv");
    await_still(v);
    EXPECT(!was_told(v, "recv 1"), "a receiver that waits for a message",
           "it has returned %lld, errno %s", got_int(v, "recv 1"),
           errno_name(got_errno(v, "recv 1")));
    expect_looks(v);
    struct subject *s =
        START(send_rounds, SHARE("rounds", r), BYTES("data", data, 3 * SLOT),
              INT("n", 1), INT("deadline", -1), FAIL("sem_wait", 1, 1, EINTR));
    let_go(s, "send");
    expect_message(v, 1, data, sizeof(data));
    leave(v);
    leave(s);
    expect_return(s, "send 1", 0);
    s = new_sender(r, data, sizeof(data), 1, -1);
    let_go(s, "send");
    await_still(s);
    expect_looks(s);
    kill_subject(s);
}

TEST_WITHIN(rounds, a_receiver_that_leaves_is_told_by_epipe, WITHIN)
{
    void *r = new_rounds(1);
    char data[3 * SLOT] = {0};
    struct subject *s = new_sender(r, data, sizeof(data), 2, -1);
    struct subject *v = new_receiver(r, 4000, 0, -1);

    let_go(v, "recv");
    let_go(s, "send");
    await_still(s);
    leave(v);
    await(s, "send 1");
    expect_error(s, "send 1", EPIPE);
    await(s, "send 2");
    expect_error(s, "send 2", EPIPE);
    leave(s);

    r = new_rounds(3); /* slots are free, and nobody is there */
    v = new_receiver(r, 4000, 0, -1);
    let_go(v, "recv");
    leave(v);
    s = new_sender(r, data, SLOT, 1, -1);
    let_go(s, "send");
    await(s, "send 1");
    expect_error(s, "send 1", EPIPE);
    leave(s);
}

TEST_WITHIN(rounds, a_receiver_that_dies_is_told_by_epipe, WITHIN)
{
    void *r = new_rounds(1);
    char data[3 * SLOT] = {0};
    struct subject *s = new_sender(r, data, sizeof(data), 1, -1);
    struct subject *v = new_receiver(r, 4000, 0, -1);

    let_go(s, "send");
    await_still(s);
    EXPECT(!was_told(s, "send 1"), "a sender that waits for a slot",
           "it has returned");
    kill_subject(v);
    await(s, "send 1");
    expect_error(s, "send 1", EPIPE);
    leave(s);
}

TEST_WITHIN(rounds, what_was_sent_can_be_received_when_the_sender_has_left,
            WITHIN)
{
    void *r = new_rounds(3);
    char data[2 * SLOT];

    fill_random(data, sizeof(data));
    struct subject *s = new_sender(r, data, sizeof(data), 1, -1);
    let_go(s, "send");
    await(s, "send 1");
    leave(s);
    struct subject *v = new_receiver(r, 4000, 2, -1);
    let_go(v, "recv");
    expect_message(v, 1, data, sizeof(data));
    await(v, "recv 2");
    expect_error(v, "recv 2", EPIPE);
    leave(v);
}

TEST_WITHIN(rounds, a_sender_that_dies_in_a_message_is_told_by_epipe, WITHIN)
{
    void *r = new_rounds(2);
    char data[5 * SLOT] = {0};
    struct subject *s = new_sender(r, data, sizeof(data), 1, -1);

    let_go(s, "send");
    await_still(s);
    struct subject *v = new_receiver(r, 4000, 1, -1);
    kill_subject(s);
    let_go(v, "recv");
    await(v, "recv 1");
    expect_error(v, "recv 1", EPIPE);
    leave(v);

    /* One that dies when it waits no more: who waits for a condition and dies
     * may take it along. */
    r = new_rounds(2);
    s = new_sender(r, data, sizeof(data), 1, 0);
    let_go(s, "send");
    await(s, "send 1");
    expect_error(s, "send 1", ETIMEDOUT);
    v = new_receiver(r, 4000, 1, -1);
    kill_subject(s);
    the_next_is_whole(r, v);

    struct subject *both = START_SMALL(one_message_and_a_death, 2);
    explore(both, &(struct exploration){.deaths = 1,
                                        .spared = 1 << 1,
                                        .check = it_is_whole_or_none});
    finish(both);
}

TEST_WITHIN(rounds, one_that_is_too_large_is_dropped_whole, WITHIN)
{
    void *r = new_rounds(2);
    char data[3 * SLOT];

    fill_random(data, sizeof(data));
    for (size_t cap = 0; cap <= 250; cap += 50) {
        struct subject *s = new_sender(r, data, sizeof(data), 1, -1);
        struct subject *v = new_receiver(r, cap, 1, -1);
        let_go(s, "send");
        let_go(v, "recv");
        await(v, "recv 1");
        expect_error(v, "recv 1", EMSGSIZE);
        leave(s);
        leave(v);
    }
    struct subject *s = new_sender(r, data, 7, 1, -1);
    struct subject *v = new_receiver(r, 7, 1, -1);
    let_go(s, "send");
    let_go(v, "recv");
    expect_message(v, 1, data, 7);
    leave(s);
    leave(v);
}

TEST_WITHIN(rounds, who_waits_gives_up_at_the_deadline, WITHIN)
{
    for (int ms = BELOW_FOR_EVER_MS; ms <= 60; ms += ms < 0 ? -ms : 60) {
        void *r = new_rounds(1);
        char data[2 * SLOT] = {0};
        int err = ms < 0 ? EINVAL : ETIMEDOUT;
        struct subject *v = new_receiver(r, 4000, 1, ms);

        let_go(v, "recv");
        await(v, "recv 1");
        expect_error(v, "recv 1", err);
        expect_monotonic(v);
        struct subject *s = new_sender(r, data, sizeof(data), 2, ms);
        let_go(s, "send");
        await(s, "send 1");
        expect_error(s, "send 1", err);
        expect_monotonic(s);
        await(s, "send 2"); /* a part of the first is on its way */
        expect_error(s, "send 2", ms < 0 ? EINVAL : EPIPE);
        leave(s);
        leave(v);
        the_next_is_whole(r, NULL);
    }
}

enum rounds_comes { NONE_COMES, ONE_COMES };

/* While s stands still, another one, without a deadline to wait in, makes one
 * round.  False: s stands still with a lock that the other one needs. */
HELPER bool makes_a_round(struct subject *s, struct subject *other,
                          const char *goes_on, const char *returned)
{
    bool made;

    freeze(s);
    let_go(other, goes_on);
    await_still(other);
    made = was_told(other, returned);
    thaw(s);
    return made;
}

/* A sender (or receiver) waits for one round, or for two, of which one comes in
 * half of its time and the other one never. */
HELPER void time_is_over_in_rounds(bool sends, enum rounds_comes comes)
{
    char data[3 * SLOT] = {0};
    bool ready = false;

    for (int i = 0; i < 20 && !ready; i++) {
        void *r = new_rounds(1);
        struct subject *v =
            new_receiver(r, sizeof(data), 1, sends ? 0 : A_MINUTE_MS);
        struct subject *s =
            new_sender(r, data, sizeof(data), 1, sends ? A_MINUTE_MS : 0);
        struct subject *waits = sends ? s : v;

        let_go(waits, sends ? "send" : "recv");
        await_still(waits);
        expect_looks(waits); /* or it would not look for long */
        time_passes(waits, A_MINUTE_MS / 2);
        if (comes == NONE_COMES)
            ready = true;
        else if (sends)
            ready = makes_a_round(s, v, "recv", "recv 1");
        else
            ready = makes_a_round(v, s, "send", "send 1");
        if (ready) {
            await_still(waits);
            time_passes(waits, A_MINUTE_MS / 2 + 1000);
            expect_over(waits, sends ? "send 1" : "recv 1",
                        comes == ONE_COMES ? "with a round"
                                           : "when it had looked around");
        }
        kill_subject(s);
        kill_subject(v);
    }
}

TEST_WITHIN(rounds, the_deadline_is_for_all_rounds, WITHIN)
{
    time_is_over_in_rounds(true, NONE_COMES);
    time_is_over_in_rounds(true, ONE_COMES);
    time_is_over_in_rounds(false, NONE_COMES);
    time_is_over_in_rounds(false, ONE_COMES);
}

TEST_WITHIN(rounds, a_role_is_taken_by_one, WITHIN)
{
    void *r = new_rounds(1);
    struct subject *s = new_sender(r, "x", 1, 0, -1);
    struct subject *second =
        START(send_rounds, SHARE("rounds", r), BYTES("data", "x", 1),
              INT("n", 0), INT("deadline", -1));

    await(second, "join");
    expect_error(second, "join", EBUSY);
    finish(second);
    kill_subject(s);
    s = new_sender(r, "x", 1, 1, -1); /* the dead one's place */
    let_go(s, "send");
    struct subject *v = new_receiver(r, 10, 1, -1);
    let_go(v, "recv");
    expect_message(v, 1, "x", 1);
    leave(s);
    leave(v);
    s = new_sender(r, "x", 1, 0, -1);
    let_go(s, "send");
    leave(s);
}

TEST(rounds, init_refuses_numbers_of_rounds_that_do_not_work)
{
    static const long long numbers[][2] = {
        {0, 100}, {ROUNDS_MAX_SLOTS + 1, 100}, {2, 0}};

    for (int i = 0; i < 3; i++) {
        struct subject *s = START(
            init_rounds, SHARE("rounds", new_shared(ROUNDS_BYTES(70, 100))),
            INT("slots", numbers[i][0]), INT("slot", numbers[i][1]));
        finish(s);
        expect_error(s, "init", EINVAL);
    }
    struct subject *s =
        START(init_rounds, SHARE("rounds", new_shared(ROUNDS_BYTES(64, 1))),
              INT("slots", ROUNDS_MAX_SLOTS), INT("slot", 1));
    finish(s);
    expect_return(s, "init", 0);
}

/* What a round says of its size is changed, wherever it is written. */
TEST_WITHIN(rounds, a_round_that_says_too_much_is_not_believed, WITHIN)
{
    enum { SAID = 83, MORE = 3 * SLOT };
    uint32_t *words = new_rounds(2);
    char data[SAID];

    memset(data, 0x11, sizeof(data));
    struct subject *s = new_sender(words, data, sizeof(data), 1, -1);
    let_go(s, "send");
    await(s, "send 1");
    expect_return(s, "send 1", 0);
    leave(s);
    for (size_t i = 0; i < ROUNDS_BYTES(2, SLOT) / sizeof(*words); i++)
        if (words[i] == SAID)
            words[i] = MORE;
    struct subject *v = new_receiver(words, 4000, 1, -1);
    let_go(v, "recv");
    await(v, "recv 1");
    EXPECT(got_int(v, "recv 1") != MORE,
           "no more of a round than fits in a slot",
           "rounds_recv returned %d bytes of a slot of %d: the round says that "
           "it has as many, and another process has written that",
           MORE, SLOT);
    if (got_int(v, "recv 1") != SAID) /* where that stands in no such word */
        expect_error(v, "recv 1", EBADMSG);
    leave(v);
}

/*
 * The first who says that a round is there, or that a slot is free, is stopped
 * when he has said so, and the other one acts on it at once.
 */
HELPER void exchange_held(enum rounds_role held)
{
    enum { FIRST = 1, NEVER = 1000 };
    void *r = new_rounds(2);
    char data[7 * SLOT];
    struct subject *side[2];

    fill_random(data, sizeof(data));
    side[ROUNDS_SENDER] = START(
        send_rounds, SHARE("rounds", r), BYTES("data", data, sizeof(data)),
        INT("n", 1), INT("deadline", -1),
        HOLD_AFTER("sem_post", held == ROUNDS_SENDER ? FIRST : NEVER, "said"));
    side[ROUNDS_RECEIVER] = START(
        recv_rounds, SHARE("rounds", r), INT("cap", 4000), INT("n", 1),
        INT("deadline", -1),
        HOLD_AFTER("sem_post", held == ROUNDS_SENDER ? NEVER : FIRST, "said"));
    for (int role = ROUNDS_SENDER; role <= ROUNDS_RECEIVER; role++) {
        await(side[role], "join");
        expect_return(side[role], "join", 0);
    }
    let_go(side[!held], held == ROUNDS_SENDER ? "recv" : "send");
    await_still(side[!held]);
    let_go(side[held], held == ROUNDS_SENDER ? "send" : "recv");
    await_still(side[held]);
    await_still(side[!held]);
    let_go(side[held], "said");
    for (int role = ROUNDS_SENDER; role <= ROUNDS_RECEIVER; role++) {
        let_go(side[role], "leave");
        finish(side[role]);
    }
    expect_no_race();
    expect_message(side[ROUNDS_RECEIVER], 1, data, sizeof(data));
}

TEST_WITHIN(rounds, each_round_is_ordered_before_it_is_read, WITHIN)
{
    what_is_read_stays("atomic", 6);
    what_is_read_stays("pthread_mutex_unlock", 3);
    what_is_read_stays("sem_post", 1);
    exchange_held(ROUNDS_SENDER);
    exchange_held(ROUNDS_RECEIVER);
}

/* ------------------------------------------------------------------------
 * Group ring
 */

SCENARIO(init_ring)
{
    CALL("init",
         spsc_init(given_shared("ring", NULL), (size_t)given_int("slots"),
                   (size_t)given_int("slot")));
}

/* Message number i, as the tests make it: its size and its bytes. */
HELPER size_t make_message(unsigned char *msg, unsigned i, size_t most)
{
    size_t size = (i * 37) % (most + 1);

    for (size_t k = 0; k < size; k++)
        msg[k] = (unsigned char)(i * 7 + k);
    return size;
}

/* Puts n messages from number `first`, by push or (map: 1) in place. */
SCENARIO(produce)
{
    struct spsc *q = given_shared("ring", NULL);
    size_t most = (size_t)given_int("slot");
    int ms = (int)given_int("deadline");
    unsigned first = (unsigned)given_int("first");
    unsigned char msg[256];

    for (unsigned i = first; i < first + (unsigned)given_int("n"); i++) {
        char name[32];
        size_t size = make_message(msg, i, most);

        snprintf(name, sizeof(name), "put %u", i - first + 1);
        if (given_int("map") == 1) {
            void *place = CALL_PTR("reserve", spsc_reserve(q, ms));

            if (place == NULL)
                return;
            memcpy(place, msg, size);
            CALL(name, spsc_commit(q, size));
        } else {
            CALL(name, spsc_push(q, msg, size, ms));
        }
    }
}

/* Gets n messages and tells how many were right. */
SCENARIO(consume)
{
    struct spsc *q = given_shared("ring", NULL);
    size_t most = (size_t)given_int("slot");
    int ms = (int)given_int("deadline");
    unsigned first = (unsigned)given_int("first");
    unsigned right = 0;

    for (unsigned i = first; i < first + (unsigned)given_int("n"); i++) {
        unsigned char msg[256], got[256];
        char name[32];
        size_t size = make_message(msg, i, most), n = 0;
        const void *from = got;

        snprintf(name, sizeof(name), "get %u", i - first + 1);
        if (given_int("map") == 1) {
            from = CALL_PTR("peek", spsc_peek(q, &n, ms));
            if (from == NULL)
                break;
            right += n == size && memcmp(from, msg, size) == 0;
            CALL(name, spsc_consume(q));
            continue;
        }

        long long size_got = CALL(name, spsc_pop(q, got, sizeof(got), ms));

        if (size_got == -1)
            break;
        right += (size_t)size_got == size && memcmp(got, msg, size) == 0;
    }
    tell_int("right", right);
}

SCENARIO(produce_in_steps)
{
    struct spsc *q = given_shared("ring", NULL);
    char *first = CALL_PTR("reserve", spsc_reserve(q, 0));
    char *again = first == NULL ? NULL : spsc_reserve(q, 0);

    if (first == NULL)
        return;
    tell_int("same", first == again);
    tell_int("aligned", (uintptr_t)first % 8 == 0);
    memset(first, 'm', (size_t)given_int("slot"));
    reached("written");
    wait_for("commit");
    CALL("too large", spsc_commit(q, (size_t)given_int("slot") + 1));
    CALL("commit", spsc_commit(q, 3));
    CALL("twice", spsc_commit(q, 3));
}

SCENARIO(consume_in_steps)
{
    struct spsc *q = given_shared("ring", NULL);
    size_t size = 777, again = 0;
    const char *first;

    CALL("too early", spsc_consume(q));
    first = CALL_PTR("peek", spsc_peek(q, &size, (int)given_int("deadline")));
    tell_int("size", (long long)size);
    if (first == NULL)
        return;
    tell_int("same", spsc_peek(q, &again, 0) == first && again == size);
    tell_bytes("message", first, size);
    CALL("consume", spsc_consume(q));
    CALL("twice", spsc_consume(q));
}

SCENARIO(pop_large)
{
    char buf[300];
    struct spsc *q = given_shared("ring", NULL);
    long long n;
    int untouched = 1;

    memset(buf, 0x5a, sizeof(buf));
    n = CALL("pop", spsc_pop(q, buf, sizeof(buf), 0));
    for (size_t i = n < 0 ? 0 : (size_t)n; i < sizeof(buf); i++)
        untouched &= buf[i] == 0x5a;
    tell_int("untouched", untouched);
}

SCENARIO(pop_small)
{
    char buf[64];
    struct spsc *q = given_shared("ring", NULL);

    memset(buf, 0x5a, sizeof(buf));
    CALL("small", spsc_pop(q, buf, 3, 0));
    tell_int("untouched", buf[0] == 0x5a);
    CALL("large", spsc_pop(q, buf, sizeof(buf), 0));
}

HELPER void *new_ring(size_t slots, size_t slot)
{
    void *q = new_shared(SPSC_BYTES(slots, slot));
    struct subject *s = START(init_ring, SHARE("ring", q), INT("slots", slots),
                              INT("slot", slot));

    finish(s);
    expect_return(s, "init", 0);
    return q;
}

#define START_RING(scenario, q_, slot_, first_, n_, map_, ms, ...) \
    START(scenario, SHARE("ring", q_), INT("slot", slot_),         \
          INT("first", first_), INT("n", n_), INT("map", map_),    \
          INT("deadline", ms), __VA_ARGS__)

HELPER void produce_now(void *q, int slot, int first, int n, int map)
{
    struct subject *s = START_RING(produce, q, slot, first, n, map, 0, NOTHING);
    char name[32];

    finish(s);
    for (int i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "put %d", i);
        if (map == 1)
            expect_pointer(s, "reserve");
        expect_return(s, name, 0);
    }
}

HELPER void consume_now(void *q, int slot, int first, int n, int map)
{
    struct subject *s = START_RING(consume, q, slot, first, n, map, 0, NOTHING);

    finish(s);
    if (map == 1)
        expect_pointer(s, "peek");
    else
        expect_at_least(s, "get 1", 0);
    expect_int(s, "right", n);
}

TEST(ring, messages_come_out_as_they_went_in)
{
    void *q = new_ring(4, 200);

    for (int i = 0; i < 5; i++) {
        produce_now(q, 200, 10 * i, 3, 0);
        consume_now(q, 200, 10 * i, 3, 0);
    }
}

TEST(ring, every_slot_is_used_and_no_more)
{
    for (int slots = under_valgrind() ? 8 : 1; slots <= 8; slots *= 2) {
        void *q = new_ring((size_t)slots, 50);

        for (int round = under_valgrind(); round < 3; round++) {
            produce_now(q, 50, 0, slots, 0);
            struct subject *s = START_RING(produce, q, 50, 9, 1, 0, 0, NOTHING);
            finish(s);
            expect_error(s, "put 1", ETIMEDOUT);
            consume_now(q, 50, 0, slots, 0);
            s = START_RING(consume, q, 50, 0, 1, 0, 0, NOTHING);
            finish(s);
            expect_error(s, "get 1", ETIMEDOUT);
        }
    }
}

TEST(ring, a_message_can_be_made_and_read_in_its_place)
{
    void *q = new_ring(2, 40);
    struct subject *s =
        START(produce_in_steps, SHARE("ring", q), INT("slot", 40));

    await(s, "written");
    expect_pointer(s, "reserve");
    expect_int(s, "same", 1);
    expect_int(s, "aligned", 1);
    struct subject *c =
        START(consume_in_steps, SHARE("ring", q), INT("deadline", 0));
    finish(c);
    expect_error(c, "too early", EINVAL);
    expect_error(c, "peek", ETIMEDOUT);
    expect_int(c, "size", 777);
    let_go(s, "commit");
    finish(s);
    expect_error(s, "too large", EMSGSIZE);
    expect_return(s, "commit", 0);
    expect_error(s, "twice", EINVAL);
    c = START(consume_in_steps, SHARE("ring", q), INT("deadline", 0));
    finish(c);
    expect_error(c, "too early", EINVAL);
    expect_pointer(c, "peek");
    expect_int(c, "same", 1);
    expect_bytes(c, "message", "mmm", 3);
    expect_return(c, "consume", 0);
    expect_error(c, "twice", EINVAL);
    for (int i = 0; i < 3; i++) {
        produce_now(q, 40, i, 2, 1);
        consume_now(q, 40, i, 2, 1);
    }
}

TEST(ring, a_message_that_is_too_large_is_refused)
{
    void *q = new_ring(2, 30);
    struct subject *s =
        START_RING(produce, q, 200, 2, 1, 0, 0, NOTHING); /* 74 bytes */

    finish(s);
    expect_error(s, "put 1", EMSGSIZE);
    s = START_RING(consume, q, 30, 0, 1, 0, 0, NOTHING);
    finish(s);
    expect_error(s, "get 1", ETIMEDOUT);
}

TEST(ring, one_that_does_not_fit_the_buffer_stays)
{
    void *q = new_ring(2, 30);

    produce_now(q, 30, 4, 1, 0); /* 148 % 31 = 24 bytes */
    struct subject *s = START(pop_small, SHARE("ring", q));
    finish(s);
    expect_error(s, "small", EMSGSIZE);
    expect_int(s, "untouched", 1);
    expect_return(s, "large", 24);
}

/* The size becomes another one just before the consumer's nth look at the
 * ring.  False: it has no such look. */
HELPER bool size_changed_at(unsigned nth)
{
    uint32_t *words = new_ring(2, 250);
    struct subject *s;
    bool stopped;

    produce_now(words, 250, 6, 1, 0);
    s = START(pop_large, SHARE("ring", words), HOLD("load", nth, "stopped"));
    await_asleep(s);
    stopped = was_told(s, "stopped") && !was_told(s, "pop");
    for (size_t i = 0; i < SPSC_BYTES(2, 250) / sizeof(*words); i++)
        if (stopped && words[i] == 222)
            words[i] = 270;
    let_go(s, "stopped");
    finish(s);
    if (got_int(s, "pop") == -1)
        expect_error(s, "pop", EBADMSG);
    else
        expect_return(s, "pop", 222);
    EXPECT(got_int(s, "untouched") == 1,
           "as many bytes written to buf as spsc_pop returned",
           "more: the size was read, found right, and read again when it had "
           "become another one");
    return stopped;
}

TEST(ring, a_size_that_can_not_be_is_not_believed)
{
    void *q = new_ring(2, 250);
    uint32_t *words = q;
    struct subject *s;

    produce_now(q, 250, 6, 1, 0); /* a message of 6 * 37 = 222 bytes */
    for (size_t i = 0; i < SPSC_BYTES(2, 250) / sizeof(*words); i++)
        if (words[i] == 222)
            words[i] = 0x7fffff00u;
    s = START_RING(consume, q, 250, 0, 1, 0, 0, NOTHING);
    finish(s);
    expect_error(s, "get 1", EBADMSG);
    for (unsigned nth = 1; nth <= 12; nth++)
        if (!size_changed_at(nth))
            break;
}

TEST_WITHIN(ring, a_consumer_waits_without_turning, WITHIN)
{
    void *q = new_ring(2, 100);
    struct subject *s = START_RING(consume, q, 100, 3, 1, 0, -1, NOTHING);

    await_asleep(s);
    EXPECT(!was_told(s, "get 1"), "a consumer that waits", "it has returned");
    for (int i = 0; i < 8; i++)
        await_asleep(s); /* naps that become longer do so to 20 ms at most */
    expect_looks(s);
    produce_now(q, 100, 3, 1, 0);
    finish(s);
    expect_int(s, "right", 1);
}

TEST_WITHIN(ring, a_producer_waits_without_turning, WITHIN)
{
    void *q = new_ring(1, 100);

    produce_now(q, 100, 3, 1, 0);
    struct subject *s = START_RING(produce, q, 100, 4, 1, 0, -1, NOTHING);
    await_asleep(s);
    EXPECT(!was_told(s, "put 1"), "a producer that waits", "it has returned");
    expect_looks(s);
    consume_now(q, 100, 3, 1, 0);
    finish(s);
    expect_return(s, "put 1", 0);
    consume_now(q, 100, 4, 1, 0);
}

TEST_WITHIN(ring, who_waits_for_a_slot_gives_up_at_the_deadline, WITHIN)
{
    void *q = new_ring(1, 100);

    for (int ms = BELOW_FOR_EVER_MS; ms <= 40; ms += ms < 0 ? -ms : 40)
        for (int map = 0; map <= 1; map++) {
            struct subject *s =
                START_RING(consume, q, 100, 0, 1, map, ms, NOTHING);
            finish(s);
            expect_error(s, map == 1 ? "peek" : "get 1",
                         ms < 0 ? EINVAL : ETIMEDOUT);
        }
    for (int map = 0; map <= 1; map++) { /* nor is there anything to wait for */
        struct subject *s =
            START_RING(produce, q, 100, 0, 1, map, BELOW_FOR_EVER_MS, NOTHING);
        finish(s);
        expect_error(s, map == 1 ? "reserve" : "put 1", EINVAL);
    }
    produce_now(q, 100, 1, 1, 0);
    for (int map = 0; map <= 1; map++) {
        struct subject *s =
            START_RING(consume, q, 100, 0, 1, map, BELOW_FOR_EVER_MS, NOTHING);
        finish(s);
        expect_error(s, map == 1 ? "peek" : "get 1", EINVAL);
    }
    for (int ms = BELOW_FOR_EVER_MS; ms <= 40; ms += ms < 0 ? -ms : 40)
        for (int map = 0; map <= 1; map++) {
            struct subject *s =
                START_RING(produce, q, 100, 0, 1, map, ms, NOTHING);
            finish(s);
            expect_error(s, map == 1 ? "reserve" : "put 1",
                         ms < 0 ? EINVAL : ETIMEDOUT);
        }
    consume_now(q, 100, 1, 1, 0);
}

HELPER void naps_are_over(struct subject *s, const char *returned)
{
    await_still(s);
    expect_looks(s);
    time_passes(s, A_MINUTE_MS + 1000);
    expect_over(s, returned, "with a nap, or it counts naps");
}

TEST_WITHIN(ring, naps_end_by_the_clock, WITHIN)
{
    void *q = new_ring(1, 100);

    for (int map = 0; map <= 1; map++)
        naps_are_over(
            START_RING(consume, q, 100, 1, 1, map, A_MINUTE_MS, NOTHING),
            map == 1 ? "peek" : "get 1");
    produce_now(q, 100, 1, 1, 0);
    for (int map = 0; map <= 1; map++)
        naps_are_over(
            START_RING(produce, q, 100, 2, 1, map, A_MINUTE_MS, NOTHING),
            map == 1 ? "reserve" : "put 1");
    consume_now(q, 100, 1, 1, 0);
}

TEST(ring, init_refuses_numbers_of_slots_that_do_not_work)
{
    static const long long numbers[][2] = {
        {0, 64}, {3, 64}, {131072, 64}, {100, 64}, {4, 0}};

    for (int i = 0; i < 5; i++) {
        struct subject *s =
            START(init_ring, SHARE("ring", new_shared(SPSC_BYTES(128, 64))),
                  INT("slots", numbers[i][0]), INT("slot", numbers[i][1]));
        finish(s);
        expect_error(s, "init", EINVAL);
    }
    if (!under_valgrind())
        new_ring(65536, 1);
}

/* The consumer is under way first: what it finds is ordered by the ring. */
TEST_WITHIN(ring, the_bytes_are_ordered_before_the_word_that_they_are_there,
            WITHIN)
{
    for (int map = 0; map <= 1; map++) {
        void *q = new_ring(4, 100);
        struct subject *c = START_RING(consume, q, 100, 1, 3, map, -1, NOTHING);

        await_asleep(c);
        struct subject *p = START_RING(produce, q, 100, 1, 3, map, -1, NOTHING);
        finish(p);
        finish(c);
        expect_no_race();
        expect_int(c, "right", 3);
    }
}

/* The producer is under way first, and waits for what the consumer reads. */
TEST_WITHIN(ring, what_is_read_is_ordered_before_it_is_overwritten, WITHIN)
{
    for (int map = 0; map <= 1; map++) {
        void *q = new_ring(2, 100);
        struct subject *p = START_RING(produce, q, 100, 1, 6, map, -1, NOTHING);

        await_asleep(p);
        struct subject *c = START_RING(consume, q, 100, 1, 6, map, -1, NOTHING);
        finish(p);
        finish(c);
        expect_no_race();
        expect_int(c, "right", 6);
    }
}

/* The producer is stopped before each of its steps. */
TEST_WITHIN(ring, what_is_half_made_is_not_seen, WITHIN)
{
    static const char *const steps[] = {"store", "atomic"};

    for (int i = 0; i < 16; i += under_valgrind() ? 5 : 1) {
        void *q = new_ring(2, 100);
        struct subject *p =
            START_RING(produce, q, 100, 2, 1, 0, -1,
                       HOLD(steps[i % 2], 1 + (unsigned)i / 2, "stopped"));

        await_asleep(p);
        if (!was_told(p, "stopped") || was_told(p, "put 1")) {
            let_go(p, "stopped");
            finish(p);
            expect_return(p, "put 1", 0);
            continue; /* it has no such step */
        }
        struct subject *c = START_RING(consume, q, 100, 2, 1, 0, 0, NOTHING);
        finish(c);
        if (got_int(c, "get 1") == -1)
            expect_error(c, "get 1", ETIMEDOUT);
        else
            expect_int(c, "right", 1);
        bool got = got_int(c, "get 1") != -1;
        let_go(p, "stopped");
        finish(p);
        expect_return(p, "put 1", 0);
        if (!got)
            consume_now(q, 100, 2, 1, 0);
    }
}

/* A small case, in every order of its steps: three messages through two
 * slots, copied or in place. */

HELPER void prepare_spsc(void)
{
    size_t size;
    void *ring = given_shared("ring", &size);

    memset(ring, 0, size);
    spsc_init(ring, 2, 8);
}

HELPER void push_three(void)
{
    struct spsc *q = given_shared("ring", NULL);

    for (char c = 'a'; c <= 'c'; c++) {
        if (given_int("map") == 0) {
            CALL("push", spsc_push(q, &c, 1, -1));
            continue;
        }

        char *place = spsc_reserve(q, -1);

        if (place != NULL)
            *place = c;
        CALL("push", spsc_commit(q, 1));
    }
}

HELPER void pop_three(void)
{
    struct spsc *q = given_shared("ring", NULL);
    char got[4] = "";

    for (int i = 0; i < 3; i++) {
        size_t size = 0;
        const char *from;

        if (given_int("map") == 0) {
            CALL("pop", spsc_pop(q, &got[i], 1, -1));
            continue;
        }
        from = spsc_peek(q, &size, -1);
        if (from != NULL)
            got[i] = *from;
        CALL("pop", spsc_consume(q) == 0 ? (long long)size : -1);
    }
    tell_str("got", got);
}

SCENARIO(three_through_two)
{
    run_schedules(&(struct small_case){.prepare = prepare_spsc,
                                       .roles = {push_three, pop_three}});
}

HELPER void all_three(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "push", 0);
    expect_return(s, "pop", 1);
    expect_str(s, "got", "abc");
}

HELPER void explore_ring(int map)
{
    struct subject *s =
        START(three_through_two, SHARE("ring", new_shared(SPSC_BYTES(2, 8))),
              INT("map", map));

    explore(s, &(struct exploration){.preemptions = 1, .check = all_three});
    finish(s);
}

/*
 * In small first, in every order of the steps, so that the verdict doesn't hang
 * on the one that happens; then at large, on two processors.
 */
TEST_WITHIN(ring, nothing_is_lost_or_got_twice, WITHIN)
{
    int n = under_valgrind() ? 40 : 400;

    for (int map = 0; map <= 1; map++)
        explore_ring(map);
    for (int map = 0; map <= 1; map++) {
        void *q = new_ring(2, 250);
        struct subject *c = START_RING(consume, q, 250, 0, n, map, -1, NOTHING);
        struct subject *p = START_RING(produce, q, 250, 0, n, map, -1, NOTHING);

        finish(p);
        finish(c);
        expect_int(c, "right", n);
    }
}

/* ------------------------------------------------------------------------
 * Group channel
 */

SCENARIO(choose)
{
    struct channel_costs costs = {
        .copy_ns = (uint64_t)given_int("copy"),
        .copy_ns_per_kib = (uint64_t)given_int("copy per KiB"),
        .map_ns = (uint64_t)given_int("map"),
        .map_ns_per_kib = (uint64_t)given_int("map per KiB")};

    size_t size = (size_t)given_int("size");
    enum channel_kind kind;

    errno = 0;
    kind = channel_choose(size, &costs);
    call_int("choose",
             "channel_choose(given_int(\"size\"), {given_int(\"copy\"), "
             "given_int(\"copy per KiB\"), given_int(\"map\"), "
             "given_int(\"map per KiB\")})",
             errno == ENOSYS ? -1 : (long long)kind);
}

SCENARIO(send_channel)
{
    size_t size;
    const void *data = given_bytes("data", &size);

    CALL("send",
         channel_send(given_fd("fd"), (enum channel_kind)given_int("kind"),
                      data, size));
}

SCENARIO(recv_channel)
{
    for (int i = 1; i <= given_int("n"); i++) {
        struct channel_message m = {.data = NULL};
        char name[32];

        snprintf(name, sizeof(name), "recv %d", i);
        if (CALL(name, channel_recv(given_fd("fd"), &m)) != 1)
            continue;
        snprintf(name, sizeof(name), "data %d", i);
        tell_bytes(name, m.data, m.size);
        snprintf(name, sizeof(name), "kind %d", i);
        tell_int(name, m.kind);
        channel_release(&m);
    }
}

HELPER void expect_choice(long long size, long long copy, long long copy_kib,
                          long long map, long long map_kib,
                          enum channel_kind kind)
{
    struct subject *s = START(choose, INT("size", size), INT("copy", copy),
                              INT("copy per KiB", copy_kib), INT("map", map),
                              INT("map per KiB", map_kib));

    finish(s);
    expect_return(s, "choose", kind);
}

/* The judge sends bytes with what is given of descriptors. */
HELPER void send_with(int to, void *bytes, size_t size, const int *fds,
                      size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec data = {.iov_base = bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1};

    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));

        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    REQUIRE(sendmsg(to, &msg, MSG_NOSIGNAL) == (ssize_t)size);
}

/* The judge sends a head with what is given of descriptors. */
HELPER void send_head(int to, uint64_t size, uint32_t kind, const int *fds,
                      size_t n)
{
    struct channel_head head = {.size = size, .kind = kind};

    send_with(to, &head, sizeof(head), fds, n);
}

/* A memory file of the judge's. */
HELPER int new_memory(const void *data, size_t size, int seals)
{
    int fd = memfd_create("kit", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    REQUIRE(fd != -1 && write(fd, data, size) == (ssize_t)size);
    REQUIRE(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return judges_fd(fd);
}

#define ALL_SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

#define START_CHANNEL_SEND(fd_, kind_, data_, size_)       \
    START(send_channel, FD("fd", fd_), INT("kind", kind_), \
          BYTES("data", data_, size_))

TEST(channel, the_cheaper_way_is_chosen)
{
    expect_choice(1024, 1000, 100, 5000, 10, CHANNEL_COPY);
    expect_choice(100 * 1024, 1000, 100, 5000, 10, CHANNEL_MAP);
    expect_choice(40 * 1024, 1000, 100, 5000, 0, CHANNEL_COPY); /* the same */
    expect_choice(40 * 1024 + 512, 1000, 100, 5000, 0, CHANNEL_MAP);
    expect_choice(0, 0, 0, 0, 0, CHANNEL_COPY);
    expect_choice(100, 9000, 0, 10, 0, CHANNEL_MAP);
    expect_choice(CHANNEL_COPY_MAX, 1, 1, 5000, 10, CHANNEL_COPY);
    expect_choice(CHANNEL_COPY_MAX + 1, 1, 1, 5000, 10, CHANNEL_MAP);
}

TEST(channel, a_copy_goes_as_head_and_bytes)
{
    int fds[2];
    struct channel_head head = {.size = 0};
    char data[20000], got[20000];

    new_socketpair(fds);
    fill_random(data, sizeof(data));
    struct subject *s =
        START_CHANNEL_SEND(fds[1], CHANNEL_COPY, data, sizeof(data));
    EXPECT(peer_read(fds[0], &head, sizeof(head)) == sizeof(head), "a head",
           "the end of the stream");
    EXPECT(head.size == sizeof(data) && head.kind == CHANNEL_COPY &&
               head.zero == 0,
           "the size, CHANNEL_COPY and a zero in it", "other numbers");
    EXPECT(peer_read(fds[0], got, sizeof(got)) == sizeof(got) &&
               memcmp(got, data, sizeof(got)) == 0,
           "the bytes behind it", "other ones, or fewer");
    finish(s);
    expect_return(s, "send", 0);
    peer_expect_eof(fds[0]);
}

TEST(channel, a_map_goes_as_head_and_sealed_memory)
{
    int fds[2], memory = -1;
    struct channel_head head = {.size = 0};
    char data[20000], got[20000];
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    struct iovec room = {.iov_base = &head, .iov_len = sizeof(head)};
    struct msghdr msg = {.msg_iov = &room,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};

    new_socketpair(fds);
    fill_random(data, sizeof(data));
    struct subject *s =
        START_CHANNEL_SEND(fds[1], CHANNEL_MAP, data, sizeof(data));
    finish(s);
    expect_return(s, "send", 0);
    expect_nothing_left(s);
    EXPECT(recvmsg(fds[0], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) ==
               sizeof(head),
           "a head", "something else");
    EXPECT(head.size == sizeof(data) && head.kind == CHANNEL_MAP &&
               head.zero == 0,
           "the size, CHANNEL_MAP and a zero in it", "other numbers");
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    EXPECT(c != NULL && c->cmsg_len == CMSG_LEN(sizeof(int)),
           "one descriptor with it", "none, or more");
    memcpy(&memory, CMSG_DATA(c), sizeof(int));
    judges_fd(memory);
    EXPECT(pread(memory, got, sizeof(got), 0) == sizeof(got) &&
               memcmp(got, data, sizeof(got)) == 0,
           "the bytes in the memory file", "other ones, or fewer");
    int seals = fcntl(memory, F_GET_SEALS);
    EXPECT(seals != -1 && (seals & ALL_SEALS) == ALL_SEALS,
           "a memory file that can not be changed any more",
           "the sender can still write to it, or take it away");
    char byte;
    EXPECT(peer_read_now(fds[0], &byte, 1) == 0,
           "no byte behind the head: the kernel copies none", "there are some");
}

TEST(channel, both_kinds_are_received)
{
    int fds[2];
    char data[9000];

    new_socketpair(fds);
    fill_random(data, sizeof(data));
    struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 3));
    send_head(fds[0], 1000, CHANNEL_COPY, NULL, 0);
    await_asleep(s);
    peer_write(fds[0], data, 1000);
    int memory = new_memory(data, sizeof(data), ALL_SEALS);
    send_head(fds[0], sizeof(data), CHANNEL_MAP, &memory, 1);
    send_head(fds[0], 5, CHANNEL_COPY, NULL, 0);
    peer_write(fds[0], data + 50, 5);
    finish(s);
    expect_return(s, "recv 1", 1);
    expect_bytes(s, "data 1", data, 1000);
    expect_int(s, "kind 1", CHANNEL_COPY);
    expect_return(s, "recv 2", 1);
    expect_bytes(s, "data 2", data, sizeof(data));
    expect_int(s, "kind 2", CHANNEL_MAP);
    expect_return(s, "recv 3", 1);
    expect_bytes(s, "data 3", data + 50, 5);
    expect_nothing_left(s);
}

/* The sender takes the bytes away, then seals: just before the receiver asks
 * for the seals, which it finds. */
HELPER void shrunk_before_it_is_sealed(void)
{
    char data[5000] = {0};
    int fds[2], memory = new_memory(data, sizeof(data), 0);

    new_socketpair(fds);
    send_head(fds[0], sizeof(data), CHANNEL_MAP, &memory, 1);
    struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 1),
                              HOLD("fcntl", 1, "asking"));
    await_asleep(s);
    REQUIRE(ftruncate(memory, 0) == 0);
    REQUIRE(fcntl(memory, F_ADD_SEALS, ALL_SEALS) == 0);
    let_go(s, "asking");
    await_asleep(s);
    EXPECT(!was_told(s, "recv 1") || got_int(s, "recv 1") == -1,
           "memory refused that was shrunk before it was sealed",
           "it was taken: its size was asked for before its seals");
    finish(s);
    expect_error(s, "recv 1", EBADMSG);
    expect_nothing_left(s);
}

TEST(channel, memory_that_can_be_taken_away_is_refused)
{
    /* With the fourth, who has mapped it before still writes to it. */
    static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_WRITE,
                                F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, ALL_SEALS};
    char data[5000] = {0};

    for (int i = 0; i < 5; i++) {
        int fds[2], memory = new_memory(data, sizeof(data), seals[i]);

        new_socketpair(fds);
        send_head(fds[0], i < 4 ? sizeof(data) : sizeof(data) + 1, CHANNEL_MAP,
                  &memory, 1);
        struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 1));
        finish(s);
        expect_error(s, "recv 1", EBADMSG);
        expect_nothing_left(s);
    }
    int fds[2], no_memory;
    new_socketpair(fds);
    no_memory = fds[0];
    send_head(fds[0], 100, CHANNEL_MAP, &no_memory, 1);
    struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 1));
    finish(s);
    expect_error(s, "recv 1", EBADMSG);
    expect_nothing_left(s);
    shrunk_before_it_is_sealed();
}

TEST(channel, what_is_no_message_is_refused)
{
    char data[5000] = {0};
    int memory = new_memory(data, sizeof(data), ALL_SEALS);
    const struct {
        uint64_t size;
        uint32_t kind;
        size_t descriptors;
    } heads[] = {{5000, CHANNEL_MAP, 0},
                 {5000, CHANNEL_MAP, 2},
                 {10, CHANNEL_COPY, 1},
                 {0, CHANNEL_COPY, 0},
                 {0, CHANNEL_MAP, 1},
                 {5000, 7, 1},
                 {CHANNEL_COPY_MAX + 1, CHANNEL_COPY, 0},
                 {UINT64_MAX, CHANNEL_COPY, 0}};

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        int fds[2], two[2] = {memory, memory};

        new_socketpair(fds);
        send_head(fds[0], heads[i].size, heads[i].kind, two,
                  heads[i].descriptors);
        struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 1));
        finish(s);
        expect_error(s, "recv 1", EBADMSG);
        expect_nothing_left(s);
    }

    /* Descriptors that come later: whatever becomes of it, they are not kept.
     */
    int fds[2];
    new_socketpair(fds);
    send_head(fds[0], 10, CHANNEL_COPY, NULL, 0);
    send_with(fds[0], data, 10, &memory, 1);
    struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 1));
    finish(s);
    if (got_int(s, "recv 1") != 1)
        expect_error(s, "recv 1", EBADMSG);
    expect_nothing_left(s);
}

TEST(channel, the_end_is_told_from_a_broken_message)
{
    int fds[2];

    new_socketpair(fds);
    send_head(fds[0], 1, CHANNEL_COPY, NULL, 0);
    peer_write(fds[0], "x", 1);
    shut(&fds[0]);
    struct subject *s = START(recv_channel, FD("fd", fds[1]), INT("n", 2));
    finish(s);
    expect_return(s, "recv 1", 1);
    expect_return(s, "recv 2", 0);
    for (int i = 0; i < 3; i++) {
        new_socketpair(fds);
        if (i == 0)
            peer_write(fds[0], "1234567", 7);
        else
            send_head(fds[0], i == 1 ? 10 : CHANNEL_COPY_MAX, CHANNEL_COPY,
                      NULL, 0);
        shut(&fds[0]);
        s = START(recv_channel, FD("fd", fds[1]), INT("n", 1));
        finish(s);
        expect_error(s, "recv 1", EPROTO);
    }
}

TEST(channel, what_can_not_be_sent_is_refused)
{
    static char large[CHANNEL_COPY_MAX + 1];
    static const struct {
        int kind;
        size_t size;
        int err;
    } wrong[] = {{CHANNEL_COPY, sizeof(large), EMSGSIZE},
                 {CHANNEL_COPY, 0, EINVAL},
                 {CHANNEL_MAP, 0, EINVAL},
                 {7, 10, EINVAL}};
    int fds[2];

    for (int i = 0; i < 4; i++) {
        new_socketpair(fds);
        struct subject *s =
            START_CHANNEL_SEND(fds[1], wrong[i].kind, large, wrong[i].size);
        finish(s);
        expect_error(s, "send", wrong[i].err);
        peer_expect_eof(fds[0]);
    }
    for (int kind = CHANNEL_COPY; kind <= CHANNEL_MAP; kind++) {
        new_socketpair(fds);
        shut(&fds[0]);
        struct subject *s = START_CHANNEL_SEND(fds[1], kind, large, 10);
        finish(s);
        expect_error(s, "send", EPIPE);
        expect_nothing_left(s);
    }

    /* It goes when a part of the largest copy is under way. */
    new_socketpair(fds);
    struct subject *s =
        START_CHANNEL_SEND(fds[1], CHANNEL_COPY, large, CHANNEL_COPY_MAX);
    await_asleep(s);
    REQUIRE(shutdown(fds[0], SHUT_RD) == 0);
    finish(s);
    expect_error(s, "send", EPIPE);
}

/* Receives a head in as many parts as it was sent in.  How many descriptors
 * came with it; 0: there was none with the first byte. */
HELPER unsigned descriptors_of_head(int from, struct channel_head *head)
{
    unsigned n = 0;

    for (size_t got = 0; got < sizeof(*head);) {
        union {
            struct cmsghdr align;
            char bytes[256];
        } control;
        struct iovec room = {.iov_base = (char *)head + got,
                             .iov_len = sizeof(*head) - got};
        struct msghdr msg = {.msg_iov = &room,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
        ssize_t more = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        EXPECT(more > 0, "a whole head", "%zu bytes of it", got);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL;
             c = CMSG_NXTHDR(&msg, c)) {
            int fd;

            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
            judges_fd(fd);
            n += (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        }
        if (got == 0 && n == 0)
            return 0;
        got += (size_t)more;
    }
    return n;
}

TEST(channel, a_signal_ends_no_message)
{
    int fds[2];
    char data[3000], got[3000];
    struct channel_head head;

    fill_random(data, sizeof(data));
    new_socketpair(fds);
    struct subject *s =
        START(send_channel, FD("fd", fds[1]), INT("kind", CHANNEL_COPY),
              BYTES("data", data, sizeof(data)), FAIL("write", 1, 2, EINTR),
              SHORT("write", 3, 1000, 70));
    peer_read(fds[0], &head, sizeof(head));
    EXPECT(peer_read(fds[0], got, sizeof(got)) == sizeof(got) &&
               memcmp(got, data, sizeof(got)) == 0,
           "all of the message", "a part, or other bytes");
    finish(s);
    expect_return(s, "send", 0);

    new_socketpair(fds);
    s = START(send_channel, FD("fd", fds[1]), INT("kind", CHANNEL_MAP),
              BYTES("data", data, sizeof(data)),
              FAIL("posix_fallocate", 1, 1, EINTR), FAIL("write", 1, 2, EINTR),
              SHORT("write", 3, 1000, 7));
    finish(s);
    expect_return(s, "send", 0);
    EXPECT(descriptors_of_head(fds[0], &head) == 1,
           "one descriptor, with the first byte of the head",
           "none there, or more with the bytes behind it");
    EXPECT(head.size == sizeof(data) && head.kind == CHANNEL_MAP,
           "the size and CHANNEL_MAP in the head", "other numbers");

    new_socketpair(fds);
    s = START(recv_channel, FD("fd", fds[1]), INT("n", 1),
              FAIL("read", 1, 2, EINTR), SHORT("read", 3, 1000, 7));
    send_head(fds[0], sizeof(data), CHANNEL_COPY, NULL, 0);
    peer_write(fds[0], data, sizeof(data));
    finish(s);
    expect_return(s, "recv 1", 1);
    expect_bytes(s, "data 1", data, sizeof(data));
}
