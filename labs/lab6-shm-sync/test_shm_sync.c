/*
 * test_shm_sync.c - the tests of lab 6.
 *
 * Each process of a test is a scenario of its own, and what they share is
 * memory of the judge's, which a *_init scenario has initialised.  The bodies
 * of critical sections are the test's: there a process tells that it is in,
 * and stays until the test lets it go.  So every schedule here is chosen, and
 * none is a matter of luck.
 */
#include "kit.h"
#include "shm_sync.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

/* ------------------------------------------------------------------------
 * Group account
 */

/* What a body of the account does. */
struct errand {
    int64_t amount;
    const char *stay; /* told and waited for when half is done; or NULL */
    int fails;        /* its errno, or 0 */
    struct overlap *overlap;
};

HELPER int run_errand(int64_t *balance, void *ctx)
{
    const struct errand *e = ctx;

    if (e->overlap != NULL)
        overlap_enter(e->overlap);
    tell_int("found", *balance);
    *balance += e->amount / 2;
    if (e->stay != NULL) {
        reached("inside");
        wait_for(e->stay);
    }
    *balance += e->amount - e->amount / 2;
    if (e->overlap != NULL)
        overlap_leave(e->overlap);
    errno = e->fails;
    return e->fails == 0 ? 0 : -1;
}

SCENARIO(init_account)
{
    CALL("init", account_init(given_shared("account", NULL)));
}

SCENARIO(update)
{
    struct errand e = {.amount = given_int("amount"),
                       .fails = (int)given_int("fails")};

    CALL("update",
         account_update(given_shared("account", NULL), run_errand, &e));
}

/* The process lives on after its update, so nothing gives up its lock. */
SCENARIO(update_and_stay)
{
    struct errand e = {.amount = given_int("amount"),
                       .fails = (int)given_int("fails")};

    CALL("update",
         account_update(given_shared("account", NULL), run_errand, &e));
    wait_for("end");
}

/* An update that stays in its body until it is let go. */
SCENARIO(update_slowly)
{
    struct errand e = {.amount = given_int("amount"), .stay = "leave"};

    CALL("update",
         account_update(given_shared("account", NULL), run_errand, &e));
}

SCENARIO(update_in_turn)
{
    struct errand e = {.amount = given_int("amount"),
                       .overlap = given_shared("overlap", NULL)};

    wait_for("go");
    CALL("update",
         account_update(given_shared("account", NULL), run_errand, &e));
}

HELPER struct account *new_account(void)
{
    struct account *a = new_shared(sizeof(*a));
    struct subject *s = START(init_account, SHARE("account", a));

    finish(s);
    expect_return(s, "init", 0);
    return a;
}

HELPER struct subject *start_update(struct account *a, long long amount)
{
    return START(update, SHARE("account", a), INT("amount", amount),
                 INT("fails", 0));
}

HELPER void expect_balance(const struct account *a, int64_t balance)
{
    EXPECT(a->balance == balance, "the right balance", "it is %lld, not %lld",
           (long long)a->balance, (long long)balance);
}

/* One more update, by a process of its own, finds that balance. */
HELPER void update_finds(struct account *a, int64_t balance)
{
    struct subject *s = start_update(a, 0);

    finish(s);
    expect_return(s, "update", 0);
    expect_int(s, "found", balance);
}

TEST(account, update_runs_the_body_on_the_balance)
{
    struct account *a = new_account();
    long long amount = 1 + random_below(100000);
    struct subject *s = start_update(a, amount);

    finish(s);
    expect_return(s, "update", 0);
    expect_balance(a, amount);
    expect_int(s, "found", 0);
    s = start_update(a, -5);
    finish(s);
    expect_return(s, "update", 0);
    expect_int(s, "found", amount);
    expect_balance(a, amount - 5);
}

TEST(account, bodies_run_one_at_a_time)
{
    struct account *a = new_account();
    struct overlap *o = new_shared(sizeof(*o));
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = START(update_in_turn, SHARE("account", a), SHARE("overlap", o),
                     INT("amount", 10));
    for (int i = 0; i < 3; i++)
        let_go(s[i], "go");
    expect_alone(o);
    for (int i = 0; i < 3; i++)
        finish(s[i]);
    expect_no_race();
    for (int i = 0; i < 3; i++)
        expect_return(s[i], "update", 0);
    expect_balance(a, 30);
}

TEST(account, who_waits_for_the_lock_is_woken)
{
    struct account *a = new_account();
    struct subject *first =
        START(update_slowly, SHARE("account", a), INT("amount", 100));

    await(first, "inside");
    struct subject *second = start_update(a, 1);
    await_blocked(second, "futex");
    let_go(first, "leave");
    finish(first);
    finish(second);
    expect_return(second, "update", 0);
    expect_int(second, "found", 100);
}

TEST(account, a_body_that_fails_changes_nothing)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    struct subject *s = START(update, SHARE("account", a), INT("amount", 70),
                              INT("fails", EDOM));
    finish(s);
    expect_error(s, "update", EDOM);
    expect_balance(a, 500);
}

TEST(account, a_body_that_fails_leaves_no_lock_behind)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    struct subject *s = START(update_and_stay, SHARE("account", a),
                              INT("amount", 70), INT("fails", EDOM));
    await(s, "update");
    expect_error(s, "update", EDOM);
    update_finds(a, 500);
    let_go(s, "end");
    finish(s);
}

/* A process dies in its body, half of its change made. */
HELPER void die_inside(struct account *a, long long amount)
{
    struct subject *s =
        START(update_slowly, SHARE("account", a), INT("amount", amount));

    await(s, "inside");
    kill_subject(s);
}

TEST(account, a_death_in_the_body_undoes_its_change)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    die_inside(a, 70);
    update_finds(a, 500);
}

TEST(account, after_a_death_everybody_goes_on)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    for (int i = 0; i < 3; i++) {
        die_inside(a, 70);
        update_finds(a, 500);
        update_finds(a, 500);
    }
}

TEST(account, who_waits_when_the_holder_dies_is_served)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    struct subject *dying =
        START(update_slowly, SHARE("account", a), INT("amount", 70));
    await(dying, "inside");
    struct subject *s = start_update(a, 1);
    await_blocked(s, "futex");
    kill_subject(dying);
    finish(s);
    expect_return(s, "update", 0);
    expect_int(s, "found", 500);
    update_finds(a, 501);
}

SCENARIO(take_lock_and_die)
{
    struct account *a = given_shared("account", NULL);

    tell_int("lock", pthread_mutex_lock(&a->lock));
    wait_for("never");
}

TEST(account, a_death_outside_of_an_update_undoes_nothing)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    finish(start_update(a, 70));
    struct subject *s = START(take_lock_and_die, SHARE("account", a));
    await(s, "lock");
    kill_subject(s);
    update_finds(a, 570);
    update_finds(a, 570);
}

/* Wherever it dies in an update by 70: the change is whole or not made. */
HELPER void die_at_store(int nth, int fails)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    struct subject *s =
        START(update, SHARE("account", a), INT("amount", 70),
              INT("fails", fails), HOLD("store", nth, "before a store"));
    await_asleep(s);
    if (!was_told(s, "before a store")) {
        finish(s);
        return;
    }
    kill_subject(s);
    s = start_update(a, 0);
    finish(s);
    expect_return(s, "update", 0);
    long long found = got_int(s, "found");
    EXPECT(found == 500 || (found == 570 && fails == 0),
           fails == 0 ? "500, or 570 if the update was complete"
                      : "500, since the body failed",
           "%lld, after a death just before store %d of an update by 70%s",
           found, nth, fails == 0 ? "" : " whose body fails");
    update_finds(a, found);
}

TEST(account, a_death_at_any_store_leaves_all_or_nothing)
{
    for (int nth = 1; nth <= 8 && witnessed(); nth++) {
        die_at_store(nth, 0);
        die_at_store(nth, EDOM);
    }
    if (!witnessed())
        update_finds(new_account(), 0);
}

/* The next owner dies as well, while it puts the data in order. */
TEST(account, a_death_while_undoing_leaves_all_or_nothing)
{
    for (int nth = 1; nth <= 8 && witnessed(); nth++) {
        struct account *a = new_account();

        finish(start_update(a, 500));
        die_inside(a, 70);
        struct subject *s =
            START(update, SHARE("account", a), INT("amount", 30),
                  INT("fails", 0), HOLD("store", nth, "before a store"));
        await_asleep(s);
        if (!was_told(s, "before a store")) {
            finish(s);
            break;
        }
        kill_subject(s);
        s = start_update(a, 0);
        finish(s);
        expect_return(s, "update", 0);
        long long found = got_int(s, "found");
        EXPECT(found == 500 || found == 530,
               "500, or 530 if the second update was complete",
               "%lld, after a death in an update by 70, and one just before "
               "store %d of the update by 30 that came next",
               found, nth);
    }
    if (!witnessed())
        update_finds(new_account(), 0);
}

TEST(account, a_death_at_the_unlock_leaves_all_or_nothing)
{
    struct account *a = new_account();

    finish(start_update(a, 500));
    struct subject *s =
        START(update, SHARE("account", a), INT("amount", 70), INT("fails", 0),
              HOLD("pthread_mutex_unlock", 1, "unlocking"));
    await(s, "unlocking");
    kill_subject(s);
    s = start_update(a, 0);
    finish(s);
    expect_return(s, "update", 0);
    long long found = got_int(s, "found");
    EXPECT(found == 500 || found == 570,
           "500, or 570 if the update was complete", "%lld", found);
    update_finds(a, found);
}

TEST(account, a_lock_that_can_not_be_had_is_an_error)
{
    struct account *a = new_account();
    struct subject *s =
        START(update, SHARE("account", a), INT("amount", 70), INT("fails", 0),
              FAIL("pthread_mutex_lock", 1, 1, ENOTRECOVERABLE),
              FAIL("pthread_mutex_trylock", 1, 1, ENOTRECOVERABLE));

    finish(s);
    expect_error(s, "update", ENOTRECOVERABLE);
    EXPECT(!was_told(s, "found"), "a body that was not run", "it was run");
    update_finds(a, 0);
}

TEST(account, account_init_tells_why_it_failed)
{
    struct account *a = new_shared(sizeof(*a));
    struct subject *s = START(init_account, SHARE("account", a),
                              FAIL("pthread_mutex_init", 1, 1, ENOMEM));

    finish(s);
    expect_error(s, "init", ENOMEM);
}

/* Small cases, in every order of their steps. */

HELPER void prepare_account(void)
{
    struct account *a = given_shared("account", NULL);

    memset(a, 0, sizeof(*a));
    account_init(a);
}

HELPER int add_in_two_steps(int64_t *balance, void *ctx)
{
    *balance += 100;
    may_switch();
    *balance += *(const int64_t *)ctx - 100;
    return 0;
}

HELPER void add_1(void)
{
    account_update(given_shared("account", NULL), add_in_two_steps,
                   &(int64_t){1});
}

HELPER void add_10(void)
{
    account_update(given_shared("account", NULL), add_in_two_steps,
                   &(int64_t){10});
}

/* Who comes after all others finds what is to be judged. */
HELPER void tell_balance(void)
{
    struct errand e = {.amount = 0};

    CALL("update",
         account_update(given_shared("account", NULL), run_errand, &e));
}

SCENARIO(two_updates)
{
    run_schedules(&(struct small_case){.prepare = prepare_account,
                                       .roles = {add_1, add_10},
                                       .check = tell_balance});
}

HELPER void balance_is_right(struct subject *s, unsigned deaths)
{
    long long found;

    expect_return(s, "update", 0);
    found = got_int(s, "found");
    if (deaths == 0)
        expect_int(s, "found", 11);
    else
        EXPECT(found == 1 || found == 10 || found == 11,
               "each update whole or not made, and that of the one who lives "
               "made: 1, 10 or 11",
               "%lld", found);
}

TEST(account, updates_in_every_order_of_steps)
{
    struct subject *s = START(
        two_updates, SHARE("account", new_shared(sizeof(struct account))));

    explore(s,
            &(struct exploration){.preemptions = 2, .check = balance_is_right});
    finish(s);
}

TEST(account, a_death_at_every_step_of_every_order)
{
    struct subject *s = START(
        two_updates, SHARE("account", new_shared(sizeof(struct account))));

    explore(s, &(struct exploration){.deaths = 1, .check = balance_is_right});
    finish(s);
}

/* ------------------------------------------------------------------------
 * Group board
 */

SCENARIO(join)
{
    mode_t before = umask(0); /* the mode is the one that was asked for */
    struct board *b =
        CALL_PTR("join", board_join(given_str("name"), (int)given_int("nprocs"),
                                    (int)given_int("deadline")));

    umask(before);
    if (b == NULL)
        return;
    tell_bytes("at start", b->cells, sizeof(b->cells));
    reached("joined");
    wait_for("write");
    b->cells[given_int("cell")] = given_int("value");
    reached("written");
    wait_for("read");
    tell_bytes("cells", b->cells, sizeof(b->cells));
    munmap(b, sizeof(*b));
}

/* With more gives: faults, places to stop at, or NOTHING. */
#define START_JOIN(name_, nprocs_, cell_, ms, ...)          \
    START(join, STR("name", name_), INT("nprocs", nprocs_), \
          INT("cell", cell_), INT("value", (cell_) + 100),  \
          INT("deadline", ms), __VA_ARGS__)

/* Before its first wait for another one's doing. */
#define HOLD_WAIT                                  \
    HOLD("pthread_cond_wait", 1, "going to wait"), \
        HOLD("futex", 1, "going to wait")

/* Its first wait ends with nothing done, and there it stands still. */
#define WAIT_ENDS                                      \
    SPURIOUS(1, 1), FAIL("futex", 1, 1, EINTR),        \
        HOLD_AFTER("pthread_cond_wait", 1, "stopped"), \
        HOLD_AFTER("futex", 1, "stopped")

/* It has the mutex, and has not looked yet, and there it stands still. */
#define LOCK_IS_TAKEN                               \
    HOLD_AFTER("pthread_mutex_lock", 1, "stopped"), \
        HOLD_AFTER("pthread_mutex_trylock", 1, "stopped")

/* A deadline of a minute: far longer than a test, and soon over. */
#define A_MINUTE_MS 60000

/* While it stands still the rest of its time goes by: there is none left to
 * wait in.  (Who never stops waits in another way, and is not judged here.) */
HELPER void expect_over(struct subject *s, const char *returned,
                        unsigned rest_ms, const char *began_anew)
{
    await_asleep(s);
    if (was_told(s, "stopped")) {
        time_passes(s, rest_ms);
        let_go(s, "stopped");
        await_still(s);
        EXPECT(was_told(s, returned),
               "a time-out that is counted from the call: its time is over",
               "it waits on: its time began anew %s", began_anew);
        expect_error(s, returned, ETIMEDOUT);
    }
    kill_subject(s);
}

/* With the mutex held, when all is done that it is held for. */
#define HOLD_LOCKED                           \
    HOLD("pthread_cond_signal", 1, "waking"), \
        HOLD("pthread_mutex_unlock", 1, "unlocking")

/* A process that waits, by a deadline, and one with HOLD_LOCKED that does what
 * it waits for, and has the mutex.  True if the first one's time is over just
 * then: it waits for the mutex, to have its last look.  False if it was too
 * late for that; then the test is to give it more time. */
HELPER bool meet_at_the_last_moment(struct subject *waits,
                                    struct subject *comes, const char *returned)
{
    bool last = false;

    await_asleep(comes);
    if (was_told(comes, "waking") || was_told(comes, "unlocking")) {
        await_asleep(waits);
        last = !was_told(waits, returned);
    }
    let_go(comes, "waking");
    let_go(comes, "unlocking");
    return last;
}
#define FIRST_TRY_MS 30
#define LAST_TRY_MS  8000

/* All have met: they write and read. */
HELPER void use_board(struct subject *const *s, int n)
{
    int64_t cells[BOARD_CELLS];

    for (int i = 0; i < n; i++) {
        await(s[i], "join");
        expect_pointer(s[i], "join");
        await(s[i], "joined");
        let_go(s[i], "write");
    }
    for (int i = 0; i < n; i++)
        await(s[i], "written");
    for (int i = 0; i < n; i++) {
        let_go(s[i], "read");
        finish(s[i]);
        got_copy(s[i], "cells", cells, sizeof(cells));
        for (int cell = 0; cell < n; cell++)
            EXPECT(cells[cell] == cell + 100,
                   "one board: what each has written is seen by all",
                   "process %d sees %lld in cell %d", i, (long long)cells[cell],
                   cell);
    }
}

HELPER bool name_is_gone(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);

    if (fd == -1)
        return errno == ENOENT;
    close(fd);
    judges_name('m', name);
    return false;
}

HELPER bool name_is_there(const char *name, mode_t *mode)
{
    struct stat st = {.st_mode = 0};
    int fd = shm_open(name, O_RDWR, 0);

    if (fd == -1)
        return false;
    fstat(fd, &st);
    close(fd);
    *mode = st.st_mode & 0777;
    return true;
}

/* A name that the judge removes if it is still there at the end. */
HELPER const char *board_name(void)
{
    const char *name = new_name();

    judges_name('m', name);
    return name;
}

HELPER void expect_waits(struct subject *s, const char *why)
{
    await_asleep(s);
    EXPECT(!was_told(s, "join"), why, "it has returned");
}

TEST(board, all_meet_at_one_board)
{
    const char *name = board_name();
    struct subject *s[3];
    int64_t cells[BOARD_CELLS];
    mode_t mode = 0;

    for (int i = 0; i < 3; i++) {
        s[i] = START_JOIN(name, 3, i, -1, NOTHING);
        if (i < 2)
            expect_waits(s[i], "whoever is here waits until all are");
        if (i < 2)
            EXPECT(name_is_there(name, &mode) && mode == 0600,
                   "a region of that name, of mode 0600",
                   mode == 0 ? "none" : "mode %04o", mode);
    }
    await(s[0], "joined");
    got_copy(s[0], "at start", cells, sizeof(cells));
    EXPECT(cells[0] == 0 && cells[7] == 0, "cells of 0", "other values");
    use_board(s, 3);
}

TEST(board, one_process_meets_itself)
{
    const char *name = board_name();
    struct subject *s = START_JOIN(name, 1, 0, -1, NOTHING);

    use_board(&s, 1);
    expect_nothing_left(s);
    s = START_JOIN(name, 1, 0, -1, FAIL("posix_fallocate", 1, 2, EINTR));
    use_board(&s, 1);
}

TEST(board, the_name_goes_when_all_are_here)
{
    const char *name = board_name();
    struct subject *s[2];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2; i++)
            s[i] = START_JOIN(name, 2, i, -1, NOTHING);
        await(s[0], "joined");
        await(s[1], "joined");
        EXPECT(name_is_gone(name), "no name left once all have met",
               "%s is still there", name);
        use_board(s, 2);
    }
}

/* One of two who have met removes the name; did the other one as well, it
 * would be that of the next two. */
TEST(board, the_name_is_removed_once)
{
    const char *name = board_name();
    struct subject *s[4];

    s[0] = START_JOIN(name, 2, 0, -1, HOLD("shm_unlink", 1, "removing"));
    expect_waits(s[0], "whoever is here waits until all are");
    s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    await_asleep(s[1]);
    await_asleep(s[0]);
    s[2] = START_JOIN(name, 2, 0, -1, NOTHING);
    await_asleep(s[2]);
    let_go(s[0], "removing");
    await_asleep(s[0]);
    await_asleep(s[2]);
    s[3] = START_JOIN(name, 2, 1, -1, NOTHING);
    await_asleep(s[3]);
    EXPECT(was_told(s[3], "join"), "the next two meet at a new board",
           "they do not: one of those who had met before has removed the name "
           "as well, by now that of the next board");
    use_board(s, 2);
    use_board(s + 2, 2);
}

/* The first is stopped on its way; the second comes meanwhile. */
struct stop {
    const char *call;
    bool after;
    const char *text;
};

static const struct stop stops[] KIT_UNUSED = {
    {"shm_open", true, "has made the region and given it no size"},
    {"mmap", false, "is about to map the region"},
    {"mmap", true, "has mapped the region"},
    {"pthread_mutex_init", false, "is about to initialise the mutex"},
    {"pthread_mutex_init", true, "has initialised the mutex"},
    {"pthread_cond_init", false, "is about to initialise the condition"},
    {"pthread_cond_init", true, "has initialised the condition"},
    {"=atomic_store", false, "is about to say that the board is ready"},
    {"pthread_mutex_lock", false, "is about to lock the mutex"}};
#define STOPS (sizeof(stops) / sizeof(stops[0]))

HELPER struct subject *start_stopped(const char *name, const struct stop *p)
{
    return p->after
               ? START_JOIN(name, 2, 0, -1, HOLD_AFTER(p->call, 1, "stopped"))
               : START_JOIN(name, 2, 0, -1, HOLD(p->call, 1, "stopped"));
}

HELPER unsigned inits_of(struct subject *s)
{
    return calls_made(s, "pthread_mutex_init") +
           calls_made(s, "pthread_cond_init");
}

TEST(board, exactly_one_initialises)
{
    for (size_t i = 0; i < STOPS; i += under_valgrind() ? 3 : 1) {
        const char *name = board_name();
        struct subject *s[2];

        s[0] = start_stopped(name, &stops[i]);
        await_asleep(s[0]);
        s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
        await_asleep(s[1]);
        let_go(s[0], "stopped");
        await_asleep(s[0]);
        EXPECT(inits_of(s[0]) == 0 || inits_of(s[1]) == 0,
               "one of the two initialises, the other does not",
               "both did, when the second came while the first %s",
               stops[i].text);
        use_board(s, 2);
    }
}

TEST(board, what_is_half_made_is_not_used)
{
    for (size_t i = 0; i + 1 < STOPS; i += under_valgrind() ? 3 : 1) {
        const char *name = board_name();
        struct subject *s[2];

        s[0] = start_stopped(name, &stops[i]);
        await_asleep(s[0]);
        if (!was_told(s[0], "stopped")) {
            if (was_told(s[0], "join"))
                expect_pointer(s[0], "join");
            kill_subject(s[0]);
            continue; /* it has no such place */
        }
        s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
        await_asleep(s[1]);
        EXPECT(
            calls_made(s[1], "pthread_mutex_lock") == 0 || inits_of(s[1]) > 0,
            "a mutex that is not used before the board is ready",
            "the second process locked it while the first %s", stops[i].text);
        /* That they go on, exactly_one_initialises sees. */
        kill_subject(s[0]);
        kill_subject(s[1]);
    }
}

/* Both are under way, so that nothing but the board itself orders them; then
 * the second goes on as soon as the first has said that it is ready. */
TEST(board, ready_is_said_and_seen_with_release_and_acquire)
{
    const char *name = board_name();
    struct subject *s[2];

    s[1] = START_JOIN(name, 2, 1, -1, HOLD("shm_open", 1, "coming"));
    await(s[1], "coming");
    s[0] = START_JOIN(name, 2, 0, -1, HOLD("pthread_mutex_lock", 1, "ready"));
    await_asleep(s[0]);
    let_go(s[1], "coming");
    await_asleep(s[1]);
    let_go(s[0], "ready");
    use_board(s, 2);
    expect_no_race();
}

TEST(board, who_is_here_does_not_leave_before_all_are)
{
    const char *name = board_name();
    struct subject *s[2];

    s[0] = START_JOIN(name, 2, 0, -1, SPURIOUS(1, 3));
    expect_waits(s[0], "a wait that ends without a signal is no news: not "
                       "all are here");
    s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    use_board(s, 2);
}

TEST(board, the_last_to_come_wakes_who_is_about_to_wait)
{
    const char *name = board_name();
    struct subject *s[2];

    s[0] = START_JOIN(name, 2, 0, -1, HOLD_WAIT);
    await_asleep(s[0]);
    s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    await_asleep(s[1]);
    let_go(s[0], "going to wait");
    use_board(s, 2);
}

TEST(board, the_last_to_come_wakes_all)
{
    const char *name = board_name();
    struct subject *s[4];

    for (int i = 0; i < 3; i++) {
        s[i] = START_JOIN(name, 4, i, -1, NOTHING);
        await_blocked(s[i], "futex");
    }
    s[3] = START_JOIN(name, 4, 3, -1, NOTHING);
    use_board(s, 4);
}

TEST(board, join_gives_up_at_the_deadline)
{
    const char *name = board_name();
    struct subject *s = START_JOIN(name, 2, 0, 40, NOTHING);
    struct subject *two[2];

    finish(s);
    expect_error(s, "join", ETIMEDOUT);
    expect_nothing_left(s);
    two[0] = START_JOIN(name, 2, 0, -1, NOTHING);
    expect_waits(two[0], "whoever is here waits until all are");
    two[1] = START_JOIN(name, 2, 1, 0, NOTHING); /* need not wait */
    await(two[1], "join");
    expect_pointer(two[1], "join");
    use_board(two, 2);
}

/* It looks again and again whether the board is made, and the clock says that
 * its time is over. */
HELPER void naps_end_by_the_clock(void)
{
    const char *name = board_name();
    struct subject *first =
        START_JOIN(name, 2, 0, -1, HOLD_AFTER("shm_open", 1, "made"));
    struct subject *s;
    unsigned naps;

    await_asleep(first);
    s = START_JOIN(name, 2, 1, A_MINUTE_MS, NOTHING);
    await_still(s);
    naps = calls_made(s, "nanosleep");
    time_passes(s, A_MINUTE_MS + 1000);
    await_still(s);
    if (was_told(s, "join"))
        expect_error(s, "join", ETIMEDOUT);
    else
        EXPECT(calls_made(s, "nanosleep") <= naps + 1,
               "a time-out on CLOCK_MONOTONIC: its time is over",
               "it naps on, and does not look at the clock");
    kill_subject(s);
    kill_subject(first);
}

/* Half of its time goes by before the first one is done with the board, or has
 * failed, and the rest before all are here. */
HELPER void both_waits_are_one(int err)
{
    const char *name = board_name();
    struct subject *first =
        START_JOIN(name, 3, 0, -1, HOLD_AFTER("shm_open", 1, "made"),
                   FAIL("pthread_cond_init", 1, 1, err));
    struct subject *s;

    await_asleep(first);
    s = START_JOIN(name, 3, 1, A_MINUTE_MS,
                   HOLD("pthread_cond_wait", 1, "stopped"),
                   HOLD("futex", 1, "stopped"));
    await_asleep(s);
    time_passes(s, A_MINUTE_MS / 2);
    let_go(first, "made");
    await_asleep(first);
    expect_over(s, "join", A_MINUTE_MS / 2 + 1000,
                err == 0 ? "when the board was ready"
                         : "when the first one had failed");
    kill_subject(first);
}

TEST(board, the_deadline_is_one_for_all_waits)
{
    const char *name = board_name();
    struct subject *first;

    expect_over(START_JOIN(name, 2, 0, A_MINUTE_MS, WAIT_ENDS), "join",
                A_MINUTE_MS + 1000, "when a wait ended without a signal");
    name = board_name();
    first = START_JOIN(name, 3, 0, -1, NOTHING);
    await_asleep(first);
    expect_over(START_JOIN(name, 3, 1, A_MINUTE_MS, LOCK_IS_TAKEN), "join",
                A_MINUTE_MS + 1000, "when it had the mutex");
    kill_subject(first);
    naps_end_by_the_clock();
    both_waits_are_one(0);
    both_waits_are_one(ENOMEM);
}

TEST(board, who_comes_at_the_last_moment_is_here)
{
    struct subject *nobody = START_JOIN(board_name(), 2, 0, 0, NOTHING);

    finish(nobody);
    expect_error(nobody, "join", ETIMEDOUT);
    for (int ms = FIRST_TRY_MS; ms < LAST_TRY_MS; ms *= 4) {
        const char *name = board_name();
        struct subject *s[2];

        s[0] = START_JOIN(name, 2, 0, ms, NOTHING);
        await_still(s[0]);
        s[1] = START_JOIN(name, 2, 1, -1, HOLD_LOCKED);
        if (meet_at_the_last_moment(s[0], s[1], "join")) {
            use_board(s, 2);
            return;
        }
        kill_subject(s[0]);
        kill_subject(s[1]);
    }
}

TEST(board, who_gave_up_does_not_count)
{
    const char *name = board_name();
    struct subject *s[2];

    s[0] = START_JOIN(name, 2, 0, 0, NOTHING);
    finish(s[0]);
    expect_error(s[0], "join", ETIMEDOUT);
    s[0] = START_JOIN(name, 2, 0, -1, NOTHING);
    expect_waits(s[0], "the one who came in time waits for another: who has "
                       "given up is not here");
    s[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    use_board(s, 2);

    struct subject *three[3];
    mode_t mode;
    three[0] = START_JOIN(name, 3, 0, -1, NOTHING);
    expect_waits(three[0], "whoever is here waits until all are");
    three[1] = START_JOIN(name, 3, 1, 0, NOTHING);
    finish(three[1]);
    expect_error(three[1], "join", ETIMEDOUT);
    EXPECT(name_is_there(name, &mode),
           "the name stays, for those who may still come", "it is gone");
    three[1] = START_JOIN(name, 3, 1, -1, NOTHING);
    three[2] = START_JOIN(name, 3, 2, -1, NOTHING);
    use_board(three, 3);
}

TEST(board, a_board_that_is_never_made_is_not_waited_for_for_ever)
{
    const char *name = board_name();
    struct subject *dead =
        START_JOIN(name, 2, 0, -1, HOLD("pthread_mutex_init", 1, "stopped"));

    await(dead, "stopped");
    kill_subject(dead);
    struct subject *s = START_JOIN(name, 2, 1, 60, NOTHING);
    finish(s);
    expect_error(s, "join", ETIMEDOUT);
    expect_short_waits(s, "nanosleep");
}

/* The first one has the name, and can not make the board, or not lock it;
 * another one waits for it already, or comes later. */
TEST(board, a_first_one_that_fails_leaves_the_board_to_others)
{
    static const struct {
        const char *call, *or_else;
        int err;
    } faults[] = {{"posix_fallocate", "ftruncate", ENOSPC},
                  {"mmap", "mmap", ENOMEM},
                  {"pthread_mutex_init", "pthread_mutex_init", ENOMEM},
                  {"pthread_cond_init", "pthread_cond_init", ENOMEM},
                  {"pthread_mutex_lock", "pthread_mutex_trylock", EDEADLK}};

    for (size_t i = 0; i < 10; i += under_valgrind() ? 3 : 1) {
        const char *name = board_name();
        bool waits = i % 2 == 1;
        struct subject *s[3];

        s[0] = START_JOIN(name, 2, 0, -1, HOLD_AFTER("shm_open", 1, "made"),
                          FAIL(faults[i / 2].call, 1, 1, faults[i / 2].err),
                          FAIL(faults[i / 2].or_else, 1, 1, faults[i / 2].err));
        await_asleep(s[0]);
        if (waits) {
            s[1] = START_JOIN(name, 2, 0, -1, NOTHING);
            await_asleep(s[1]);
        }
        let_go(s[0], "made");
        await_asleep(s[0]);
        if (waits && was_told(s[1], "join")) { /* it was the first itself */
            kill_subject(s[0]);
            kill_subject(s[1]);
            continue;
        }
        finish(s[0]);
        expect_error(s[0], "join", faults[i / 2].err);
        expect_nothing_left(s[0]);
        if (!waits)
            s[1] = START_JOIN(name, 2, 0, -1, NOTHING);
        await_asleep(s[1]);
        freeze(s[1]); /* does it nap still? Then it would keep us awake */
        s[2] = START_JOIN(name, 2, 1, -1, NOTHING);
        await_asleep(s[2]);
        EXPECT(was_told(s[2], "join"),
               waits ? "who waits for the first one begins anew when that fails"
                     : "when the first one has failed, one of those who come "
                       "later is the first",
               "it is waited for still");
        thaw(s[1]);
        use_board(s + 1, 2);
    }
}

/* A third process is on its way to the board, and stopped, when two complete
 * it.  Two of the three meet, whichever; the third waits for a fourth. */
HELPER void come_too_late(struct give stop)
{
    const char *name = board_name();
    struct subject *s[4];
    struct subject *pair[2];
    struct subject *alone = NULL;
    int met = 0;

    s[0] = START_JOIN(name, 2, 0, -1, NOTHING);
    await_blocked(s[0], "futex");
    s[1] = START_JOIN(name, 2, 0, -1, stop);
    await_asleep(s[1]);
    s[2] = START_JOIN(name, 2, 1, -1, NOTHING);
    await_asleep(s[2]);
    let_go(s[1], "stopped");
    await_asleep(s[1]);
    await_asleep(s[2]);
    for (int i = 0; i < 3; i++) {
        if (was_told(s[i], "join"))
            expect_pointer(s[i], "join");
        if (!was_told(s[i], "join"))
            alone = s[i];
        else if (met++ < 2)
            pair[met - 1] = s[i];
    }
    EXPECT(met == 2 && alone != NULL,
           "two of three meet, and the third waits for somebody else",
           "%d have returned: one had opened the board of two who met without "
           "it",
           met);
    for (int i = 0; i < 2; i++)
        let_go(pair[i], "write");
    for (int i = 0; i < 2; i++) {
        await(pair[i], "written");
        let_go(pair[i], "read");
        finish(pair[i]);
    }
    s[3] = START_JOIN(name, 2, 1, -1, NOTHING);
    await(alone, "join");
    await(s[3], "join");
    expect_pointer(alone, "join");
    expect_pointer(s[3], "join");
    for (int i = 0; i < 2; i++) {
        struct subject *last = i == 0 ? alone : s[3];

        let_go(last, "write");
        let_go(last, "read");
        finish(last);
    }
}

/* The same, and who comes too late wants to meet another number. */
HELPER void come_too_late_for_another_number(void)
{
    const char *name = board_name();
    struct subject *two[2];
    struct subject *late;

    two[0] = START_JOIN(name, 2, 0, -1, NOTHING);
    await_asleep(two[0]);
    late = START_JOIN(name, 1, 0, -1, HOLD_AFTER("mmap", 1, "stopped"));
    await_asleep(late);
    two[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    await_asleep(two[1]);
    if (was_told(two[1], "join")) {
        let_go(late, "stopped");
        use_board(&late, 1);
        use_board(two, 2);
    } else { /* who opens it keeps others out; so it is in time */
        kill_subject(late);
        kill_subject(two[0]);
        kill_subject(two[1]);
    }
}

TEST(board, who_comes_too_late_meets_others)
{
    come_too_late(HOLD_AFTER("mmap", 1, "stopped"));
    come_too_late(HOLD("shm_open", 2, "stopped"));
    come_too_late_for_another_number();
}

/* A small case, in every order of its steps: two meet. */

HELPER void nobody_is_here(void)
{
    shm_unlink(given_str("name"));
}

HELPER void join_first(void)
{
    CALL_PTR("first", board_join(given_str("name"), 2, -1));
}

HELPER void join_second(void)
{
    CALL_PTR("second", board_join(given_str("name"), 2, -1));
}

HELPER void tell_name(void)
{
    tell_int("names left", shm_unlink(given_str("name")) == 0);
}

SCENARIO(two_that_join)
{
    run_schedules(&(struct small_case){.prepare = nobody_is_here,
                                       .roles = {join_first, join_second},
                                       .check = tell_name});
}

HELPER void both_are_here(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_pointer(s, "first");
    expect_pointer(s, "second");
    expect_int(s, "names left", 0);
}

TEST(board, two_meet_in_every_order_of_steps)
{
    const struct exploration bounds[] = {
        {.preemptions = 1, .check = both_are_here},
        {.wakes = 1, .check = both_are_here}};

    for (size_t i = 0; i < 2; i++) {
        struct subject *s = START(two_that_join, STR("name", board_name()));

        explore(s, &bounds[i]);
        finish(s);
    }
}

TEST(board, numbers_that_make_no_sense_are_refused)
{
    const char *name = board_name();
    struct subject *s = START_JOIN(name, 0, 0, -1, NOTHING);

    finish(s);
    expect_error(s, "join", EINVAL);
    s = START_JOIN(name, 2, 0, BELOW_FOR_EVER_MS, NOTHING);
    finish(s);
    expect_error(s, "join", EINVAL);
    EXPECT(name_is_gone(name), "nothing made", "there is a region");
    struct subject *two[2];
    two[0] = START_JOIN(name, 2, 0, -1, NOTHING);
    await_blocked(two[0], "futex");
    s = START_JOIN(name, 3, 0, -1, NOTHING);
    finish(s);
    expect_error(s, "join", EINVAL);
    two[1] = START_JOIN(name, 2, 1, -1, NOTHING);
    use_board(two, 2);
}

/* ------------------------------------------------------------------------
 * Group ring
 */

SCENARIO(init_ring)
{
    CALL("init",
         ring_init(given_shared("ring", NULL), (size_t)given_int("slots")));
}

/* Puts n items, numbered from `from`. */
SCENARIO(put)
{
    struct ring *r = given_shared("ring", NULL);
    int from = (int)given_int("from");
    struct item it = {.from = from};

    for (long long i = 0; i < given_int("n"); i++) {
        char name[32];

        it.number = (uint32_t)(given_int("number") + i);
        snprintf(it.text, sizeof(it.text), "%d.%u", from, it.number);
        snprintf(name, sizeof(name), "put %lld", i + 1);
        CALL(name, ring_put(r, &it, (int)given_int("deadline")));
    }
}

/* Takes n items and tells them all; stops at a failure. */
SCENARIO(get)
{
    struct ring *r = given_shared("ring", NULL);
    struct item items[RING_MAX_SLOTS];
    long long n = 0;

    memset(items, 0x5a, sizeof(items));
    while (n < given_int("n")) {
        char name[32];

        snprintf(name, sizeof(name), "get %lld", n + 1);
        if (CALL(name, ring_get(r, &items[n], (int)given_int("deadline"))) ==
            -1)
            break;
        n++;
    }
    tell_bytes("items", items, (size_t)n * sizeof(items[0]));
    tell_bytes("behind", &items[n], sizeof(items[0]));
}

SCENARIO(close_ring)
{
    CALL("close", ring_close(given_shared("ring", NULL)));
    CALL("again", ring_close(given_shared("ring", NULL)));
}

HELPER struct ring *new_ring(size_t slots)
{
    struct ring *r = new_shared(sizeof(*r));
    struct subject *s = START(init_ring, SHARE("ring", r), INT("slots", slots));

    finish(s);
    expect_return(s, "init", 0);
    return r;
}

#define START_PUT(ring_, from_, number_, n_, ms, ...)                \
    START(put, SHARE("ring", ring_), INT("from", from_),             \
          INT("number", number_), INT("n", n_), INT("deadline", ms), \
          __VA_ARGS__)
#define START_GET(ring_, n_, ms, ...)                                   \
    START(get, SHARE("ring", ring_), INT("n", n_), INT("deadline", ms), \
          __VA_ARGS__)

/* The items got are these of one producer, in order. */
HELPER void expect_items(struct subject *s, int from, unsigned number,
                         unsigned n)
{
    struct item items[RING_MAX_SLOTS];
    char text[56];

    got_copy(s, "items", items, n * sizeof(items[0]));
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%d.%u", from, number + i);
        EXPECT(items[i].from == from && items[i].number == number + i &&
                   strcmp(items[i].text, text) == 0,
               "the items in the order in which they were put",
               "item %u is number %u of %d, not %u of %d", i + 1,
               items[i].number, items[i].from, number + i, from);
    }
}

HELPER void put_now(struct ring *r, unsigned number, unsigned n)
{
    struct subject *s = START_PUT(r, 1, number, n, 0, NOTHING);
    char name[32];

    finish(s);
    for (unsigned i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "put %u", i);
        expect_return(s, name, 0);
    }
}

HELPER void get_now(struct ring *r, unsigned number, unsigned n)
{
    struct subject *s = START_GET(r, n, 0, NOTHING);
    char name[32];

    finish(s);
    for (unsigned i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "get %u", i);
        expect_return(s, name, 0);
    }
    expect_items(s, 1, number, n);
}

TEST(ring, items_come_out_in_order_round_and_round)
{
    struct ring *r = new_ring(5);

    for (unsigned round = 0; round < 4; round++) {
        put_now(r, round * 3, 3);
        get_now(r, round * 3, 3);
    }
}

TEST(ring, every_slot_is_used_and_no_more)
{
    static const unsigned sizes[] = {1, 3, RING_MAX_SLOTS};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ring *r = new_ring(sizes[i]);

        put_now(r, 10, sizes[i]);
        struct subject *s = START_PUT(r, 2, 99, 1, 0, NOTHING);
        finish(s);
        expect_error(s, "put 1", ETIMEDOUT);
        get_now(r, 10, sizes[i]);
    }
}

TEST(ring, init_refuses_sizes_that_do_not_work)
{
    static const size_t sizes[] = {0, RING_MAX_SLOTS + 1, SIZE_MAX};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ring *r = new_shared(sizeof(*r));
        struct subject *s = START(init_ring, SHARE("ring", r),
                                  INT("slots", (long long)sizes[i]));

        finish(s);
        expect_error(s, "init", EINVAL);
    }
}

TEST(ring, get_waits_for_an_item)
{
    struct ring *r = new_ring(2);
    struct subject *s = START_GET(r, 1, -1, NOTHING);

    await_blocked(s, "futex");
    put_now(r, 7, 1);
    finish(s);
    expect_return(s, "get 1", 0);
    expect_items(s, 1, 7, 1);
}

TEST(ring, put_waits_for_room)
{
    struct ring *r = new_ring(2);

    put_now(r, 1, 2);
    struct subject *s = START_PUT(r, 1, 3, 1, -1, NOTHING);
    await_blocked(s, "futex");
    get_now(r, 1, 2);
    finish(s);
    expect_return(s, "put 1", 0);
    get_now(r, 3, 1);
}

TEST(ring, get_looks_again_after_each_wait)
{
    struct ring *r = new_ring(2);
    struct subject *s = START_GET(r, 1, -1, SPURIOUS(1, 3));

    await_asleep(s);
    EXPECT(!was_told(s, "get 1"),
           "a consumer that goes on waiting while the buffer is empty",
           "its wait ended without a signal, and it took an item that is "
           "none");
    put_now(r, 7, 1);
    finish(s);
    expect_return(s, "get 1", 0);
    expect_items(s, 1, 7, 1);
}

TEST(ring, put_looks_again_after_each_wait)
{
    struct ring *r = new_ring(2);

    put_now(r, 1, 2);
    struct subject *s = START_PUT(r, 1, 3, 1, -1, SPURIOUS(1, 3));
    await_asleep(s);
    EXPECT(!was_told(s, "put 1"),
           "a producer that goes on waiting while the buffer is full",
           "its wait ended without a signal, and it put an item over one "
           "that nobody has taken");
    get_now(r, 1, 2);
    finish(s);
    get_now(r, 3, 1);
}

TEST(ring, a_put_wakes_who_is_about_to_wait)
{
    struct ring *r = new_ring(2);
    struct subject *c = START_GET(r, 1, -1, HOLD_WAIT);

    await_asleep(c);
    struct subject *p = START_PUT(r, 1, 7, 1, -1, NOTHING);
    await_asleep(p);
    let_go(c, "going to wait");
    finish(c);
    finish(p);
    expect_items(c, 1, 7, 1);
}

TEST(ring, a_get_wakes_who_is_about_to_wait)
{
    struct ring *r = new_ring(1);

    put_now(r, 1, 1);
    struct subject *p = START_PUT(r, 1, 2, 1, -1, HOLD_WAIT);
    await_asleep(p);
    struct subject *c = START_GET(r, 1, -1, NOTHING);
    await_asleep(c);
    let_go(p, "going to wait");
    finish(p);
    finish(c);
    expect_items(c, 1, 1, 1);
    get_now(r, 2, 1);
}

TEST(ring, each_item_wakes_a_consumer)
{
    struct ring *r = new_ring(4);
    struct subject *c[3];

    for (int i = 0; i < 3; i++) {
        c[i] = START_GET(r, 1, -1, NOTHING);
        await_blocked(c[i], "futex");
        freeze(c[i]); /* takes nothing before all three are there */
    }
    put_now(r, 1, 3);
    for (int i = 0; i < 3; i++)
        thaw(c[i]);
    for (int i = 0; i < 3; i++) {
        finish(c[i]);
        expect_return(c[i], "get 1", 0);
    }
}

TEST(ring, each_free_slot_wakes_a_producer)
{
    struct ring *r = new_ring(3);
    struct subject *p[3];

    put_now(r, 1, 3);
    for (int i = 0; i < 3; i++) {
        p[i] = START_PUT(r, 2, (unsigned)i, 1, -1, NOTHING);
        await_blocked(p[i], "futex");
        freeze(p[i]);
    }
    get_now(r, 1, 3);
    for (int i = 0; i < 3; i++)
        thaw(p[i]);
    for (int i = 0; i < 3; i++) {
        finish(p[i]);
        expect_return(p[i], "put 1", 0);
    }
}

TEST(ring, put_and_get_give_up_at_the_deadline)
{
    struct ring *r = new_ring(1);
    struct item behind;

    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s = START_GET(r, 1, ms, NOTHING);
        finish(s);
        expect_error(s, "get 1", ETIMEDOUT);
        got_copy(s, "behind", &behind, sizeof(behind));
        EXPECT(behind.number == 0x5a5a5a5au, "*it as it was on failure",
               "it was written");
    }
    put_now(r, 1, 1);
    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s = START_PUT(r, 1, 2, 1, ms, NOTHING);
        finish(s);
        expect_error(s, "put 1", ETIMEDOUT);
    }
    get_now(r, 1, 1);
    struct subject *s = START_GET(r, 1, 0, NOTHING);
    finish(s);
    expect_error(s, "get 1", ETIMEDOUT);
}

TEST(ring, the_deadline_is_counted_from_the_call)
{
    struct ring *r = new_ring(1);

    expect_over(START_GET(r, 1, A_MINUTE_MS, WAIT_ENDS), "get 1",
                A_MINUTE_MS + 1000, "when a wait ended without a signal");
    expect_over(START_GET(r, 1, A_MINUTE_MS, LOCK_IS_TAKEN), "get 1",
                A_MINUTE_MS + 1000, "when it had the mutex");
    r = new_ring(1);
    put_now(r, 1, 1);
    expect_over(START_PUT(r, 1, 2, 1, A_MINUTE_MS, WAIT_ENDS), "put 1",
                A_MINUTE_MS + 1000, "when a wait ended without a signal");
    expect_over(START_PUT(r, 1, 2, 1, A_MINUTE_MS, LOCK_IS_TAKEN), "put 1",
                A_MINUTE_MS + 1000, "when it had the mutex");
}

TEST(ring, what_comes_at_the_last_moment_is_had)
{
    bool last = false;

    for (int ms = FIRST_TRY_MS; ms < LAST_TRY_MS && !last; ms *= 4) {
        struct ring *r = new_ring(1);
        struct subject *c = START_GET(r, 1, ms, NOTHING);

        await_still(c);
        struct subject *p = START_PUT(r, 1, 7, 1, -1, HOLD_LOCKED);
        last = meet_at_the_last_moment(c, p, "get 1");
        finish(p);
        finish(c);
        if (last)
            expect_return(c, "get 1", 0);
    }
    last = false;
    for (int ms = FIRST_TRY_MS; ms < LAST_TRY_MS && !last; ms *= 4) {
        struct ring *r = new_ring(1);

        put_now(r, 1, 1);
        struct subject *p = START_PUT(r, 1, 2, 1, ms, NOTHING);
        await_still(p);
        struct subject *c = START_GET(r, 1, -1, HOLD_LOCKED);
        last = meet_at_the_last_moment(p, c, "put 1");
        finish(c);
        finish(p);
        if (last)
            expect_return(p, "put 1", 0);
    }
}

TEST(ring, a_deadline_far_off_is_waited_for)
{
    struct ring *r = new_ring(1);
    struct subject *s = START_GET(r, 1, 600999, NOTHING);

    await_blocked(s, "futex");
    put_now(r, 1, 1);
    finish(s);
    expect_return(s, "get 1", 0);
    put_now(r, 2, 1);
    s = START_PUT(r, 1, 3, 1, 600999, NOTHING);
    await_blocked(s, "futex");
    get_now(r, 2, 1);
    finish(s);
    expect_return(s, "put 1", 0);
}

/* Which clock the first timed wait of this scenario is on, as far as it can
 * be seen: setclock on the condition's attribute, or clockwait. */
TEST(ring, deadlines_are_on_the_monotonic_clock)
{
    struct ring *r = new_shared(sizeof(*r));
    struct subject *init = START(init_ring, SHARE("ring", r), INT("slots", 1));
    struct subject *s;
    unsigned monotonic = 0;

    finish(init);
    expect_return(init, "init", 0);
    s = START_GET(r, 1, 10, NOTHING);
    finish(s);
    for (unsigned i = 0; i < calls_made(init, "pthread_condattr_setclock"); i++)
        monotonic += call_argument(init, "pthread_condattr_setclock", i, 1) ==
                     CLOCK_MONOTONIC;
    for (unsigned i = 0; i < calls_made(s, "=pthread_cond_clockwait"); i++)
        monotonic += call_argument(s, "=pthread_cond_clockwait", i, 2) ==
                     CLOCK_MONOTONIC;
    EXPECT(monotonic > 0 || calls_made(s, "pthread_cond_wait") == 0,
           "conditions that measure on CLOCK_MONOTONIC",
           "nobody said so: it is CLOCK_REALTIME then, which a user can set");
    expect_error(s, "get 1", ETIMEDOUT);
}

TEST(ring, deadlines_below_for_ever_are_refused)
{
    struct ring *r = new_ring(1);
    struct subject *s = START_PUT(r, 1, 1, 1, BELOW_FOR_EVER_MS, NOTHING);

    finish(s);
    expect_error(s, "put 1", EINVAL);
    put_now(r, 1, 1);
    s = START_GET(r, 1, BELOW_FOR_EVER_MS, NOTHING);
    finish(s);
    expect_error(s, "get 1", EINVAL);
    get_now(r, 1, 1);
}

HELPER void close_now(struct ring *r)
{
    struct subject *s = START(close_ring, SHARE("ring", r));

    finish(s);
    expect_return(s, "close", 0);
    expect_return(s, "again", 0);
}

TEST(ring, close_lets_consumers_drain_and_then_says_epipe)
{
    struct ring *r = new_ring(3);

    put_now(r, 1, 2);
    close_now(r);
    get_now(r, 1, 2);
    struct subject *s = START_GET(r, 1, -1, NOTHING);
    finish(s);
    expect_error(s, "get 1", EPIPE);
}

TEST(ring, put_into_a_closed_ring_is_epipe)
{
    struct ring *r = new_ring(3);

    put_now(r, 1, 1);
    close_now(r);
    struct subject *s = START_PUT(r, 1, 2, 1, -1, NOTHING);
    finish(s);
    expect_error(s, "put 1", EPIPE);
    get_now(r, 1, 1);
}

TEST(ring, close_wakes_every_consumer)
{
    struct ring *r = new_ring(3);
    struct subject *c[3];

    for (int i = 0; i < 3; i++) {
        c[i] = START_GET(r, 1, -1, NOTHING);
        await_blocked(c[i], "futex");
    }
    close_now(r);
    for (int i = 0; i < 3; i++) {
        finish(c[i]);
        expect_error(c[i], "get 1", EPIPE);
    }
}

TEST(ring, close_wakes_every_producer)
{
    struct ring *r = new_ring(1);
    struct subject *p[3];

    put_now(r, 1, 1);
    for (int i = 0; i < 3; i++) {
        p[i] = START_PUT(r, 2, 1, 1, -1, NOTHING);
        await_blocked(p[i], "futex");
    }
    close_now(r);
    for (int i = 0; i < 3; i++) {
        finish(p[i]);
        expect_error(p[i], "put 1", EPIPE);
    }
    get_now(r, 1, 1);
}

TEST(ring, close_wakes_who_is_about_to_wait)
{
    struct ring *r = new_ring(1);
    struct subject *c = START_GET(r, 1, -1, HOLD_WAIT);

    await_asleep(c);
    struct subject *s = START(close_ring, SHARE("ring", r));
    await_asleep(s);
    let_go(c, "going to wait");
    finish(c);
    finish(s);
    expect_error(c, "get 1", EPIPE);
}

#define NO_MUTEX                               \
    FAIL("pthread_mutex_lock", 1, 1, EDEADLK), \
        FAIL("pthread_mutex_trylock", 1, 1, EDEADLK)

TEST(ring, a_ring_lock_that_can_not_be_had_is_an_error)
{
    struct ring *r = new_ring(3);
    struct subject *s;

    put_now(r, 7, 1);
    s = START_PUT(r, 1, 8, 1, 0, NO_MUTEX);
    finish(s);
    expect_error(s, "put 1", EDEADLK);
    s = START_GET(r, 1, 0, NO_MUTEX);
    finish(s);
    expect_error(s, "get 1", EDEADLK);
    get_now(r, 7, 1);
    s = START(close_ring, SHARE("ring", r), NO_MUTEX);
    finish(s);
    expect_error(s, "close", EDEADLK);
}

/* Small cases, in every order of their steps. */

HELPER void prepare_ring(void)
{
    struct ring *r = given_shared("ring", NULL);

    memset(r, 0, sizeof(*r));
    ring_init(r, (size_t)given_int("slots"));
}

HELPER void put_numbers(int from, unsigned n)
{
    struct item it = {.from = from};

    for (it.number = 1; it.number <= n; it.number++)
        CALL("put", ring_put(given_shared("ring", NULL), &it, -1));
}

HELPER void put_two(void)
{
    put_numbers(0, 2);
}

HELPER void put_one(void)
{
    put_numbers(1, 1);
}

/* Tells what it got as the digits of a number. */
HELPER void get_numbers(const char *name, int n)
{
    struct item it = {.number = 0};
    int got = 0;

    for (int i = 0; i < n; i++)
        if (CALL("get", ring_get(given_shared("ring", NULL), &it, -1)) == 0)
            got = got * 10 + (int)it.number;
    tell_int(name, got);
}

HELPER void get_two(void)
{
    get_numbers("got", 2);
}

HELPER void get_one(void)
{
    get_numbers("got", 1);
}

HELPER void get_another(void)
{
    get_numbers("got as well", 1);
}

HELPER void close_it(void)
{
    CALL("close", ring_close(given_shared("ring", NULL)));
}

SCENARIO(two_through_one_slot)
{
    run_schedules(&(struct small_case){.prepare = prepare_ring,
                                       .roles = {put_two, get_two}});
}

SCENARIO(two_consumers)
{
    run_schedules(&(struct small_case){
        .prepare = prepare_ring, .roles = {get_one, get_another, put_two}});
}

SCENARIO(get_and_close)
{
    run_schedules(&(struct small_case){.prepare = prepare_ring,
                                       .roles = {get_one, close_it}});
}

SCENARIO(two_producers)
{
    run_schedules(&(struct small_case){.prepare = prepare_ring,
                                       .roles = {put_one, put_one, get_two}});
}

HELPER void both_in_order(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "put", 0);
    expect_return(s, "get", 0);
    expect_int(s, "got", 12);
}

HELPER void each_got_one(struct subject *s, unsigned deaths)
{
    long long got = got_int(s, "got"), other = got_int(s, "got as well");

    (void)deaths;
    expect_return(s, "get", 0);
    EXPECT(got + other == 3 && got * other == 2,
           "items 1 and 2, one for each consumer", "%lld and %lld", got, other);
}

HELPER void one_of_each(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "get", 0);
    expect_int(s, "got", 11);
}

HELPER void get_is_refused(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "close", 0);
    expect_error(s, "get", EPIPE);
}

#define EXPLORE_RING(scenario, check_, ...)                                 \
    do {                                                                    \
        struct subject *s_ =                                                \
            START(scenario, INT("slots", 1),                                \
                  SHARE("ring", new_shared(sizeof(struct ring))));          \
        explore(s_, &(struct exploration){.check = (check_), __VA_ARGS__}); \
        finish(s_);                                                         \
    } while (0)

TEST(ring, puts_and_gets_in_every_order_of_steps)
{
    EXPLORE_RING(two_through_one_slot, both_in_order, .preemptions = 1);
    EXPLORE_RING(two_through_one_slot, both_in_order, .wakes = 1);
    EXPLORE_RING(get_and_close, get_is_refused, .preemptions = 2);
}

HELPER void explore_many(void)
{
    EXPLORE_RING(two_consumers, each_got_one, .preemptions = 0);
    EXPLORE_RING(two_producers, one_of_each, .preemptions = 0);
}

TEST(ring, many_at_either_end_in_every_order_of_steps)
{
    explore_many();
}

/*
 * In small first, in every order of the steps, so that the verdict doesn't hang
 * on the one that happens; then two producers and two consumers at large, on
 * all processors, where what each does is ordered by the lock.
 */
TEST(ring, nothing_is_lost_or_got_twice)
{
    struct ring *r = new_ring(3);
    struct item items[RING_MAX_SLOTS];
    struct subject *s[4];
    unsigned seen[2][20] = {{0}};

    EXPLORE_RING(two_through_one_slot, both_in_order, .wakes = 1);
    explore_many();
    for (int i = 0; i < 2; i++)
        s[i] = START_GET(r, 20, -1, NOTHING);
    for (int i = 0; i < 2; i++)
        s[2 + i] = START_PUT(r, i, 0, 20, -1, NOTHING);
    for (int i = 3; i >= 0; i--)
        finish(s[i]);
    expect_no_race();
    for (int i = 0; i < 2; i++) {
        got_copy(s[i], "items", items, 20 * sizeof(items[0]));
        for (int n = 0; n < 20; n++) {
            EXPECT((items[n].from == 0 || items[n].from == 1) &&
                       items[n].number < 20,
                   "items that somebody has put", "number %u of %d",
                   items[n].number, items[n].from);
            seen[items[n].from][items[n].number]++;
        }
    }
    for (int n = 0; n < 40; n++)
        EXPECT(seen[n / 20][n % 20] == 1, "each item got once",
               "item %d of producer %d got %u times", n % 20, n / 20,
               seen[n / 20][n % 20]);
}

/* ------------------------------------------------------------------------
 * Group table
 */

struct visit {
    const char *stay; /* told "inside" and waited for; or NULL */
    struct overlap *overlap;
    int64_t value;
    int ret;
};

HELPER void stay_inside(const struct visit *v)
{
    if (v->overlap != NULL) {
        overlap_enter(v->overlap);
        overlap_leave(v->overlap);
    }
    if (v->stay != NULL) {
        reached("inside");
        wait_for(v->stay);
    }
    errno = v->ret == -1 ? EDOM : 0;
}

HELPER int read_body(const int64_t *cells, void *ctx)
{
    const struct visit *v = ctx;

    tell_int("first", cells[0]);
    stay_inside(v);
    tell_int("last", cells[TABLE_CELLS - 1]);
    return v->ret;
}

HELPER int write_body(int64_t *cells, void *ctx)
{
    const struct visit *v = ctx;

    cells[0] = v->value;
    stay_inside(v);
    cells[TABLE_CELLS - 1] = v->value;
    return v->ret;
}

SCENARIO(init_table)
{
    CALL("init", rw_init(given_shared("table", NULL)));
}

SCENARIO(visit)
{
    struct shared_table *t = given_shared("table", NULL);
    struct visit v = {.stay = given_int("stay") == 1 ? "leave" : NULL,
                      .value = given_int("value"),
                      .ret = (int)given_int("ret")};

    if (given_int("write") == 1)
        CALL("write", rw_write(t, write_body, &v));
    else
        CALL("read", rw_read(t, read_body, &v));
}

SCENARIO(write_in_turn)
{
    struct visit v = {.overlap = given_shared("overlap", NULL)};

    wait_for("go");
    CALL("write", rw_write(given_shared("table", NULL), write_body, &v));
}

HELPER struct shared_table *new_table(void)
{
    struct shared_table *t = new_shared(sizeof(*t));
    struct subject *s = START(init_table, SHARE("table", t));

    finish(s);
    expect_return(s, "init", 0);
    return t;
}

/* With more gives, as START_JOIN. */
#define START_VISIT(t_, write_, stay_, value_, ...)                            \
    START(visit, SHARE("table", t_), INT("write", write_), INT("stay", stay_), \
          INT("value", value_), INT("ret", 0), __VA_ARGS__)

HELPER struct subject *start_visit(struct shared_table *t, bool write,
                                   bool stay, int value)
{
    return START_VISIT(t, write, stay, value, NOTHING);
}

TEST(table, what_is_written_can_be_read)
{
    struct shared_table *t = new_table();
    int value = 1 + (int)random_below(100000);
    struct subject *s = start_visit(t, false, false, 0);

    finish(s);
    expect_return(s, "read", 0);
    expect_int(s, "first", 0);
    s = start_visit(t, true, false, value);
    finish(s);
    expect_return(s, "write", 0);
    EXPECT(t->cells[0] == value, "what was written, in t->cells",
           "other values");
    s = start_visit(t, false, false, 0);
    finish(s);
    expect_int(s, "first", value);
    expect_int(s, "last", value);
}

TEST(table, what_the_body_returns_is_returned)
{
    for (int write = 0; write <= 1; write++)
        for (int ret = -1; ret <= 7; ret += 8) {
            const char *name = write ? "write" : "read";
            struct shared_table *t = new_table();
            struct subject *s =
                START(visit, SHARE("table", t), INT("write", write),
                      INT("stay", 0), INT("value", 5), INT("ret", ret));

            finish(s);
            if (ret == -1)
                expect_error(s, name, EDOM);
            else
                expect_return(s, name, ret);
            s = start_visit(t, true, false, 6);
            finish(s);
            expect_return(s, "write", 0);
        }
}

TEST(table, readers_read_together)
{
    struct shared_table *t = new_table();
    struct subject *r[3];

    for (int i = 0; i < 3; i++) {
        r[i] = start_visit(t, false, true, 0);
        await(r[i], "inside");
    }
    for (int i = 0; i < 3; i++) {
        let_go(r[i], "leave");
        finish(r[i]);
        expect_return(r[i], "read", 0);
    }
}

/* The second comes while the first is inside, and must stay outside, also when
 * its wait ends without a signal. */
HELPER void one_after_the_other(bool first_writes, bool second_writes)
{
    struct shared_table *t = new_table();
    struct subject *first = start_visit(t, first_writes, true, 11);

    await(first, "inside");
    struct subject *second =
        START_VISIT(t, second_writes, true, 12, SPURIOUS(1, 3));
    await_asleep(second);
    EXPECT(!was_told(second, "inside"),
           "nobody beside a writer, and no writer beside anybody",
           "a %s is in its body while a %s is in its own",
           second_writes ? "writer" : "reader",
           first_writes ? "writer" : "reader");
    let_go(first, "leave");
    finish(first);
    await(second, "inside");
    let_go(second, "leave");
    finish(second);
    if (!second_writes) {
        expect_int(second, "first", 11);
        expect_int(second, "last", 11);
    }
}

TEST(table, a_writer_waits_for_the_readers)
{
    one_after_the_other(false, true);
}

TEST(table, a_reader_waits_for_the_writer)
{
    one_after_the_other(true, false);
}

/* Two wait for a reader, and are woken together. */
HELPER void one_of_two_writers_is_next(void)
{
    struct shared_table *t = new_table();
    struct subject *r = start_visit(t, false, true, 0);
    struct subject *w[2];

    await(r, "inside");
    for (int i = 0; i < 2; i++) {
        w[i] = start_visit(t, true, true, 13);
        await_blocked(w[i], "futex");
    }
    let_go(r, "leave");
    finish(r);
    for (int i = 0; i < 2; i++)
        await_asleep(w[i]);
    EXPECT(!was_told(w[0], "inside") || !was_told(w[1], "inside"),
           "of two writers who wait for a reader, one is next",
           "both are in their bodies at once");
    for (int i = 0; i < 2; i++)
        let_go(w[i], "leave");
    for (int i = 0; i < 2; i++)
        finish(w[i]);
}

TEST(table, writers_write_one_at_a_time)
{
    one_after_the_other(true, true);
    one_of_two_writers_is_next();

    struct shared_table *t = new_table();
    struct overlap *o = new_shared(sizeof(*o));
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = START(write_in_turn, SHARE("table", t), SHARE("overlap", o));
    for (int i = 0; i < 3; i++)
        let_go(s[i], "go");
    expect_alone(o);
    for (int i = 0; i < 3; i++)
        finish(s[i]);
    expect_no_race();
}

TEST(table, the_last_reader_lets_the_writer_in)
{
    struct shared_table *t = new_table();
    struct subject *r[2];

    for (int i = 0; i < 2; i++) {
        r[i] = start_visit(t, false, true, 0);
        await(r[i], "inside");
    }
    struct subject *w = start_visit(t, true, false, 9);
    await_blocked(w, "futex");
    let_go(r[0], "leave");
    finish(r[0]);
    await_asleep(w);
    EXPECT(!was_told(w, "write"), "a writer that waits for every reader",
           "it did not wait for the second one");
    let_go(r[1], "leave");
    finish(r[1]);
    finish(w);
    expect_return(w, "write", 0);
}

TEST(table, new_readers_do_not_keep_a_writer_out)
{
    struct shared_table *t = new_table();
    struct subject *first = start_visit(t, false, true, 0);

    await(first, "inside");
    struct subject *w = start_visit(t, true, false, 9);
    await_blocked(w, "futex");
    struct subject *late = START_VISIT(t, false, true, 0, SPURIOUS(1, 3));
    await_asleep(late);
    EXPECT(!was_told(late, "inside"),
           "a reader that comes while a writer waits lets it go first",
           "it has overtaken the writer: as long as readers keep coming, the "
           "writer waits");
    let_go(first, "leave");
    finish(first);
    finish(w);
    await(late, "inside");
    expect_int(late, "first", 9);
    let_go(late, "leave");
    finish(late);
}

TEST(table, all_who_waited_for_the_writer_come_in)
{
    struct shared_table *t = new_table();
    struct subject *w = start_visit(t, true, true, 4);
    struct subject *r[3];

    await(w, "inside");
    for (int i = 0; i < 3; i++) {
        r[i] = start_visit(t, false, true, 0);
        await_blocked(r[i], "futex");
    }
    let_go(w, "leave");
    for (int i = 0; i < 3; i++)
        await(r[i], "inside");
    for (int i = 0; i < 3; i++) {
        let_go(r[i], "leave");
        finish(r[i]);
    }
    finish(w);
}

/* Of either way of making a table. */
#define NO_TABLE_LOCK                                    \
    FAIL("pthread_rwlock_rdlock", 1, 1, EDEADLK),        \
        FAIL("pthread_rwlock_tryrdlock", 1, 1, EDEADLK), \
        FAIL("pthread_rwlock_wrlock", 1, 1, EDEADLK),    \
        FAIL("pthread_rwlock_trywrlock", 1, 1, EDEADLK), NO_MUTEX

TEST(table, a_table_lock_that_can_not_be_had_is_an_error)
{
    struct shared_table *t = new_table();
    struct subject *s = START_VISIT(t, false, false, 0, NO_TABLE_LOCK);

    finish(s);
    expect_error(s, "read", EDEADLK);
    EXPECT(!was_told(s, "first"), "a body that was not run", "it was run");
    s = START_VISIT(t, true, false, 5, NO_TABLE_LOCK);
    finish(s);
    expect_error(s, "write", EDEADLK);
    EXPECT(t->cells[0] == 0, "a body that was not run", "it was run");
    s = start_visit(t, true, false, 6);
    finish(s);
    expect_return(s, "write", 0);
}

TEST(table, table_init_tells_why_it_failed)
{
    struct shared_table *t = new_shared(sizeof(*t));
    struct subject *s = START(init_table, SHARE("table", t),
                              FAIL("pthread_rwlock_init", 1, 9, ENOMEM),
                              FAIL("pthread_mutex_init", 1, 9, ENOMEM));

    finish(s);
    expect_error(s, "init", ENOMEM);
}

/* Small cases, in every order of their steps. */

HELPER void prepare_table(void)
{
    struct shared_table *t = given_shared("table", NULL);

    memset(t, 0, sizeof(*t));
    rw_init(t);
}

HELPER int look_at_both(const int64_t *cells, void *ctx)
{
    int64_t first = cells[0];

    (void)ctx;
    may_switch();
    tell_int("difference", cells[1] - first);
    return 0;
}

HELPER int add_to_both(int64_t *cells, void *ctx)
{
    (void)ctx;
    cells[0]++;
    may_switch();
    cells[1]++;
    return 0;
}

HELPER void read_table(void)
{
    CALL("read", rw_read(given_shared("table", NULL), look_at_both, NULL));
}

HELPER void write_table(void)
{
    CALL("write", rw_write(given_shared("table", NULL), add_to_both, NULL));
}

HELPER void tell_table(void)
{
    tell_int("sum",
             ((struct shared_table *)given_shared("table", NULL))->cells[1]);
}

SCENARIO(a_reader_and_two_writers)
{
    run_schedules(
        &(struct small_case){.prepare = prepare_table,
                             .roles = {read_table, write_table, write_table},
                             .check = tell_table});
}

/* When one reader leaves, who waits is a writer and, behind it, a reader. */
SCENARIO(two_readers_and_a_writer)
{
    run_schedules(
        &(struct small_case){.prepare = prepare_table,
                             .roles = {read_table, read_table, write_table},
                             .check = tell_table});
}

HELPER void read_again_and_again(void)
{
    for (int i = 0; i < 3; i++)
        read_table();
}

SCENARIO(a_reader_that_comes_again)
{
    run_schedules(
        &(struct small_case){.prepare = prepare_table,
                             .roles = {read_again_and_again, write_table},
                             .check = tell_table});
}

HELPER void one_has_written(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "write", 0);
    expect_int(s, "sum", 1);
}

HELPER void table_is_whole(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "read", 0);
    expect_return(s, "write", 0);
    expect_int(s, "difference", 0);
    expect_int(s, "sum", 2);
}

TEST(table, visits_in_every_order_of_steps)
{
    struct subject *s =
        START(a_reader_and_two_writers,
              SHARE("table", new_shared(sizeof(struct shared_table))));

    explore(s,
            &(struct exploration){.preemptions = 1, .check = table_is_whole});
    finish(s);
    s = START(two_readers_and_a_writer,
              SHARE("table", new_shared(sizeof(struct shared_table))));
    explore(s, &(struct exploration){.preemptions = 1,
                                     .newest_first = true,
                                     .check = one_has_written});
    finish(s);
    s = START(a_reader_that_comes_again,
              SHARE("table", new_shared(sizeof(struct shared_table))));
    explore(s, &(struct exploration){
                   .preemptions = 1, .patience = 1, .check = one_has_written});
    finish(s);
}
