/*
 * test_semaphores.c - the tests of lab 7.
 *
 * The semaphores and queues that a test needs are the judge's, made with
 * libc's own functions, so that no test depends on another exercise; and the
 * judge reads their values from outside.
 */
#include "kit.h"
#include "semaphores.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <time.h>

/* ------------------------------------------------------------------------
 * Group binsem
 */

SCENARIO(create)
{
    sem_t *sem = CALL_PTR("create", binsem_create(given_str("name")));

    if (sem != NULL)
        sem_close(sem);
}

/* Opens with the student's function and takes 1 by libc's. */
SCENARIO(open_and_take)
{
    sem_t *sem = CALL_PTR("open", binsem_open(given_str("name")));

    if (sem == NULL)
        return;
    tell_int("took", sem_trywait(sem));
    sem_close(sem);
}

HELPER sem_t *open_by_name(void)
{
    sem_t *sem = sem_open(given_str("name"), 0);

    if (sem == SEM_FAILED)
        abort();
    return sem;
}

SCENARIO(lock)
{
    sem_t *sem = open_by_name();

    CALL("lock", binsem_lock(sem, (int)given_int("deadline")));
    sem_close(sem);
}

SCENARIO(unlock)
{
    sem_t *sem = open_by_name();

    CALL("unlock", binsem_unlock(sem));
    sem_close(sem);
}

SCENARIO(lock_in_turn)
{
    struct overlap *o = given_shared("overlap", NULL);
    sem_t *sem = open_by_name();

    wait_for("go");
    if (CALL("lock", binsem_lock(sem, -1)) == 0) {
        overlap_enter(o);
        overlap_leave(o);
        CALL("unlock", binsem_unlock(sem));
    }
    sem_close(sem);
}

SCENARIO(destroy)
{
    sem_t *sem = open_by_name();

    if (CALL("destroy", binsem_destroy(sem, given_str("name"))) == -1 &&
        errno == ENOSYS)
        sem_close(sem); /* not written yet: the mapping is the test's */
}

/* A named semaphore of the judge's. */
struct named {
    const char *name;
    sem_t *sem;
};

HELPER struct named new_semaphore(unsigned value)
{
    struct named n = {.name = new_name()};

    n.sem = sem_open(n.name, O_CREAT | O_EXCL, 0600, value);
    REQUIRE(n.sem != SEM_FAILED);
    judges_name('s', n.name);
    return n;
}

HELPER int value_of(sem_t *sem)
{
    int value = -1;

    REQUIRE(sem_getvalue(sem, &value) == 0);
    return value;
}

/* A semaphore that the subject is to have made, in the judge's hands. */
HELPER sem_t *open_made(const char *name)
{
    sem_t *sem = sem_open(name, 0);

    EXPECT(sem != SEM_FAILED, "a semaphore of this name",
           "sem_open(\"%s\") gives %s", name, errno_name(errno));
    return sem;
}

/* As labs make names on Linux: sem_overview(7). */
HELPER int stat_name(const char *name, struct stat *st)
{
    char path[300];

    snprintf(path, sizeof(path), "/dev/shm/sem.%s", name + 1);
    return stat(path, st);
}

#define START_LOCK(named_, ms, ...) \
    START(lock, STR("name", (named_).name), INT("deadline", ms), __VA_ARGS__)

/* A signal ends the first wait, and there it stands still. */
#define SIGNAL_AND_HOLD(call) \
    FAIL(call, 1, 1, EINTR), HOLD_AFTER(call, 1, "waits on")

/* One that has stood still for longer than its deadline, since another one,
 * which came later and waits as long, has given up meanwhile. */
HELPER void expect_over(struct subject *s, const char *name)
{
    if (was_told(s, "waits on"))
        let_go(s, "waits on");
    await_still(s);
    EXPECT(was_told(s, name), "a wait that ends: its time is over",
           "it waits on: after a signal (EINTR) its time began anew");
    expect_error(s, name, ETIMEDOUT);
}

/* It sleeps until it is woken. */
HELPER void expect_no_nap(struct subject *s)
{
    EXPECT(calls_made(s, "nanosleep") + calls_made(s, "poll") == 0,
           "one that sleeps until it is woken",
           "it naps, and looks again and again");
}

TEST(binsem, create_makes_one_that_is_unlocked)
{
    const char *name = new_name();
    struct subject *s = START(create, STR("name", name));
    struct stat st;

    judges_name('s', name);
    finish(s);
    expect_pointer(s, "create");
    int value = value_of(open_made(name));
    EXPECT(value == 1, "a value of 1: unlocked", "a value of %d", value);
    REQUIRE(stat_name(name, &st) == 0);
    EXPECT((st.st_mode & 0777) == 0600, "mode 0600", "mode %04o",
           (unsigned)st.st_mode & 0777);
}

TEST(binsem, create_refuses_a_name_that_is_taken)
{
    struct named n = new_semaphore(0);
    struct subject *s = START(create, STR("name", n.name));

    finish(s);
    expect_error(s, "create", EEXIST);
    EXPECT(value_of(n.sem) == 0, "the one that is there as it was",
           "another value");
}

TEST(binsem, open_finds_what_another_process_made)
{
    struct named n = new_semaphore(1);
    struct subject *s = START(open_and_take, STR("name", n.name));

    finish(s);
    expect_pointer(s, "open");
    EXPECT(value_of(n.sem) == 0, "the same semaphore in both processes",
           "another one: what one process took, the other does not miss");
}

TEST(binsem, open_makes_nothing)
{
    const char *name = new_name();
    struct stat st;
    struct subject *s = START(open_and_take, STR("name", name));

    judges_name('s', name);
    finish(s);
    expect_error(s, "open", ENOENT);
    EXPECT(stat_name(name, &st) == -1, "no semaphore made", "there is one");
}

TEST(binsem, a_locked_one_is_waited_for_and_unlock_wakes)
{
    struct named n = new_semaphore(1);
    struct subject *first = START_LOCK(n, -1, NOTHING);

    finish(first);
    expect_return(first, "lock", 0);
    EXPECT(value_of(n.sem) == 0, "a value of 0: locked", "a value of %d",
           value_of(n.sem));
    struct subject *second = START_LOCK(n, -1, NOTHING);
    await_blocked(second, "futex");
    struct subject *s = START(unlock, STR("name", n.name));
    finish(s);
    expect_return(s, "unlock", 0);
    finish(second);
    expect_return(second, "lock", 0);
    EXPECT(value_of(n.sem) == 0, "a value of 0: locked", "a value of %d",
           value_of(n.sem));
}

TEST(binsem, one_at_a_time)
{
    struct named n = new_semaphore(1);
    struct overlap *o = new_shared(sizeof(*o));
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = START(lock_in_turn, STR("name", n.name), SHARE("overlap", o));
    for (int i = 0; i < 3; i++)
        let_go(s[i], "go");
    expect_alone(o);
    for (int i = 0; i < 3; i++) {
        finish(s[i]);
        expect_return(s[i], "lock", 0);
        expect_return(s[i], "unlock", 0);
    }
    EXPECT(value_of(n.sem) == 1, "unlocked at the end", "a value of %d",
           value_of(n.sem));
}

TEST(binsem, a_signal_does_not_open_a_lock)
{
    for (int ms = -1; ms <= 600000; ms += 600001) {
        struct named n = new_semaphore(0);
        struct subject *s = START_LOCK(n, ms, FAIL("sem_wait", 1, 3, EINTR));

        await_still(s);
        EXPECT(!was_told(s, "lock"), "a lock that is still waited for",
               "binsem_lock returned %lld when a signal came (EINTR)",
               got_int(s, "lock"));
        sem_post(n.sem);
        finish(s);
        expect_return(s, "lock", 0);
        EXPECT(value_of(n.sem) == 0, "a value of 0: locked", "a value of %d",
               value_of(n.sem));
    }
}

TEST(binsem, lock_gives_up_at_the_deadline)
{
    struct named n = new_semaphore(0);
    struct subject *held[2];

    for (int i = 0; i < 2; i++) {
        held[i] = START_LOCK(n, 60, SIGNAL_AND_HOLD("sem_wait"));
        await_asleep(held[i]);
    }
    for (int ms = 0; ms <= 60; ms += 60) {
        struct subject *s = START_LOCK(n, ms, NOTHING);
        finish(s);
        expect_error(s, "lock", ETIMEDOUT);
    }
    for (int i = 0; i < 2; i++) {
        expect_over(held[i], "lock");
        finish(held[i]);
    }
    EXPECT(value_of(n.sem) == 0, "a value of 0, as it was", "a value of %d",
           value_of(n.sem));
}

TEST(binsem, an_unlocked_one_is_had_with_no_time_at_all)
{
    struct named n = new_semaphore(1);
    struct subject *s = START_LOCK(n, 0, NOTHING);

    finish(s);
    expect_return(s, "lock", 0);
}

/* Twice, since the sum of two nanoseconds is too large only mostly. */
TEST(binsem, a_deadline_far_off_is_waited_for)
{
    struct named n = new_semaphore(0);

    for (int i = 0; i < 2; i++) {
        struct subject *s = START_LOCK(n, 600999, NOTHING);

        await_still(s);
        expect_no_nap(s);
        await_blocked(s, "futex");
        sem_post(n.sem);
        finish(s);
        expect_return(s, "lock", 0);
    }
}

TEST(binsem, deadlines_are_on_the_monotonic_clock)
{
    struct named n = new_semaphore(0);
    struct subject *s = START_LOCK(n, 10, NOTHING);

    finish(s);
    expect_error(s, "lock", ETIMEDOUT);
    EXPECT(calls_made(s, "=sem_timedwait") == 0,
           "a deadline on CLOCK_MONOTONIC",
           "sem_timedwait, which measures on CLOCK_REALTIME: who sets the "
           "clock moves the deadline");
    for (unsigned i = 0; i < calls_made(s, "=sem_clockwait"); i++)
        EXPECT(call_argument(s, "=sem_clockwait", i, 1) == CLOCK_MONOTONIC,
               "a deadline on CLOCK_MONOTONIC", "another clock");
}

TEST(binsem, deadlines_below_for_ever_are_refused)
{
    struct named n = new_semaphore(1);
    struct subject *s = START_LOCK(n, BELOW_FOR_EVER_MS, NOTHING);

    finish(s);
    expect_error(s, "lock", EINVAL);
    EXPECT(value_of(n.sem) == 1, "a value of 1, as it was", "a value of %d",
           value_of(n.sem));
}

TEST(binsem, unlock_of_an_unlocked_one_is_refused)
{
    struct named n = new_semaphore(1);
    struct subject *s = START(unlock, STR("name", n.name));

    finish(s);
    expect_error(s, "unlock", EPERM);
    EXPECT(value_of(n.sem) == 1, "a value of 1", "a value of %d: %d may go in",
           value_of(n.sem), value_of(n.sem));
}

TEST(binsem, destroy_removes_the_name_and_the_mapping)
{
    struct named n = new_semaphore(1);
    struct stat st;
    struct subject *s = START(destroy, STR("name", n.name));

    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(stat_name(n.name, &st) == -1, "no semaphore of this name",
           "it is still there");
    expect_nothing_left(s);
    EXPECT(sem_post(n.sem) == 0 && value_of(n.sem) == 2,
           "a semaphore that the others can still use", "it is gone");
}

TEST(binsem, destroy_tells_that_the_name_is_gone)
{
    static const int errors[] = {ENOENT, EACCES};
    struct named n = new_semaphore(1);

    for (int i = 0; i < 2; i++) {
        struct subject *s = START(destroy, STR("name", n.name),
                                  FAIL("sem_unlink", 1, 1, errors[i]));

        finish(s);
        expect_error(s, "destroy", errors[i]);
        expect_nothing_left(s);
    }
}

/* ------------------------------------------------------------------------
 * Group svsem
 */

SCENARIO(sv_create)
{
    CALL("create", svsem_create((key_t)given_int("key"), (int)given_int("n"),
                                (unsigned short)given_int("value")));
}

SCENARIO(sv_open)
{
    CALL("open",
         svsem_open((key_t)given_int("key"), (int)given_int("deadline")));
}

SCENARIO(sv_wait)
{
    CALL("wait",
         svsem_wait((int)given_int("id"), 1, (int)given_int("deadline")));
    wait_for("end");
}

SCENARIO(sv_post)
{
    CALL("post", svsem_post((int)given_int("id"), 1));
    wait_for("end");
}

SCENARIO(sv_wait_and_post)
{
    int id = (int)given_int("id");

    if (CALL("wait", svsem_wait(id, 1, -1)) == 0)
        CALL("post", svsem_post(id, 1));
}

SCENARIO(sv_take_two)
{
    CALL("take",
         svsem_take_two((int)given_int("id"), (unsigned short)given_int("a"),
                        (unsigned short)given_int("b"),
                        (int)given_int("deadline")));
    wait_for("end");
}

SCENARIO(sv_destroy)
{
    CALL("destroy", svsem_destroy((int)given_int("id")));
}

union semctl_argument {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

/* A set of the judge's that is not initialised: sem_otime is 0. */
HELPER int new_raw_set(key_t key, int n)
{
    int id = semget(key, n, IPC_CREAT | IPC_EXCL | 0600);

    REQUIRE(id != -1);
    judges_object('s', id);
    return id;
}

HELPER void set_value(int id, int num, int value)
{
    REQUIRE(semctl(id, num, SETVAL, (union semctl_argument){.val = value}) ==
            0);
}

/* Gives or takes without SEM_UNDO, by the judge. */
HELPER void change(int id, unsigned short num, short by)
{
    struct sembuf op = {.sem_num = num, .sem_op = by, .sem_flg = IPC_NOWAIT};

    REQUIRE(semop(id, &op, 1) == 0);
}

/* A set of three, of the judge's, with these values. */
HELPER int new_set(int a, int b, int c)
{
    int id = new_raw_set(IPC_PRIVATE, 3);

    set_value(id, 0, a);
    set_value(id, 1, b);
    set_value(id, 2, c);
    return id;
}

HELPER int value_in(int id, int num)
{
    return semctl(id, num, GETVAL);
}

HELPER void expect_values(int id, int a, int b, int c, const char *when)
{
    EXPECT(value_in(id, 0) == a && value_in(id, 1) == b && value_in(id, 2) == c,
           "semaphores with the right values",
           "%s the values are %d, %d, %d and not %d, %d, %d", when,
           value_in(id, 0), value_in(id, 1), value_in(id, 2), a, b, c);
}

HELPER bool has_no_set(key_t key)
{
    return semget(key, 0, 0) == -1 && errno == ENOENT;
}

HELPER int made_set(key_t key)
{
    int id = semget(key, 0, 0);

    EXPECT(id != -1, "a set with this key", "semget gives %s",
           errno_name(errno));
    judges_object('s', id);
    return id;
}

/* Ends a scenario that has told what it had to. */
HELPER void end(struct subject *s)
{
    let_go(s, "end");
    finish(s);
}

#define START_WAIT(id_, ms, ...) \
    START(sv_wait, INT("id", id_), INT("deadline", ms), __VA_ARGS__)
#define START_CREATE(key_, n_, value_, fault)                              \
    START(sv_create, INT("key", key_), INT("n", n_), INT("value", value_), \
          fault)
#define START_OPEN(key_, ms, ...) \
    START(sv_open, INT("key", key_), INT("deadline", ms), __VA_ARGS__)

TEST(svsem, create_makes_a_set_with_these_values)
{
    for (int value = 0; value <= 32767; value += value == 0 ? 5 : 32762) {
        key_t key = new_key();
        struct subject *s = START_CREATE(key, 3, value, NOTHING);
        struct semid_ds ds;

        finish(s);
        int id = (int)got_int(s, "create");
        EXPECT(id != -1 || got_errno(s, "create") != ENOSYS, "the id of a set",
               "-1");
        int made = made_set(key);
        EXPECT(id == made, "its id returned", "%d and not %d", id, made);
        expect_values(id, value, value, value, "when its creator has ended");
        REQUIRE(semctl(id, 0, IPC_STAT, (union semctl_argument){.buf = &ds}) ==
                0);
        EXPECT(ds.sem_nsems == 3, "3 semaphores", "%lu",
               (unsigned long)ds.sem_nsems);
        EXPECT((ds.sem_perm.mode & 0777) == 0600, "mode 0600", "mode %04o",
               ds.sem_perm.mode & 0777u);
        EXPECT(ds.sem_otime != 0,
               "a first semop, which says that the set is initialised",
               "sem_otime is 0: who opens the set waits for ever");
    }
}

TEST(svsem, create_refuses_a_key_that_is_taken)
{
    key_t key = new_key();
    int id = new_raw_set(key, 2);

    set_value(id, 1, 4);
    struct subject *s = START_CREATE(key, 2, 1, NOTHING);
    finish(s);
    expect_error(s, "create", EEXIST);
    EXPECT(value_in(id, 0) == 0 && value_in(id, 1) == 4,
           "the set that is there as it was", "other values");
}

TEST(svsem, create_that_fails_leaves_nothing)
{
    key_t key = new_key();
    struct subject *s = START_CREATE(key, 0, 1, NOTHING);

    finish(s);
    expect_error(s, "create", EINVAL);
    s = START_CREATE(key, 2, 40000, NOTHING);
    finish(s);
    expect_error(s, "create", ERANGE);
    EXPECT(has_no_set(key), "no set left", "there is one");
    s = START_CREATE(key, 2, 1, FAIL("semop", 1, 1, ENOMEM));
    finish(s);
    expect_error(s, "create", ENOMEM);
    EXPECT(has_no_set(key), "no set left when semop fails", "there is one");
}

TEST(svsem, open_finds_a_set_that_is_in_use)
{
    key_t key = new_key();
    int id = new_raw_set(key, 2);

    change(id, 0, 1);
    struct subject *s = START_OPEN(key, 0, NOTHING);
    finish(s);
    expect_return(s, "open", id);
}

TEST(svsem, open_of_no_set_makes_none)
{
    key_t key = new_key();
    struct subject *s = START_OPEN(key, 0, NOTHING);

    finish(s);
    expect_error(s, "open", ENOENT);
    EXPECT(has_no_set(key), "no set made", "there is one");
}

/* A nap that a signal has ended has not lasted a millisecond. */
HELPER void open_goes_by_the_clock(void)
{
    key_t key = new_key();
    int id = new_raw_set(key, 2);
    struct subject *s =
        START_OPEN(key, 1000, FAIL("nanosleep", 1, 1009, EINTR),
                   HOLD("nanosleep", 1010, "naps on"),
                   FAIL("poll", 1, 1009, EINTR), HOLD("poll", 1010, "naps on"));

    while (!was_told(s, "open") && !was_told(s, "naps on"))
        await_asleep(s);
    EXPECT(!was_told(s, "open"), "a wait of 1000 ms by the clock",
           "it gave up sooner, after so many naps, which signals had cut "
           "short");
    change(id, 0, 1);
    let_go(s, "naps on");
    finish(s);
    expect_return(s, "open", id);
}

TEST(svsem, open_waits_until_the_set_is_initialised)
{
    key_t key = new_key();
    int id = new_raw_set(key, 2);
    struct subject *s = START_OPEN(key, -1, NOTHING);

    await_asleep(s);
    EXPECT(!was_told(s, "open"), "a wait until the set is initialised",
           "it has returned as soon as there was a set");
    set_value(id, 0, 1);
    set_value(id, 1, 1);
    await_asleep(s);
    EXPECT(!was_told(s, "open"), "a wait for the first semop",
           "it has returned though sem_otime is still 0");
    change(id, 0, 1);
    finish(s);
    expect_return(s, "open", id);
    if (!under_valgrind()) /* a nap is to take less than a millisecond */
        open_goes_by_the_clock();
}

TEST(svsem, open_gives_up_on_a_creator_that_died)
{
    key_t key = new_key();
    int id = new_raw_set(key, 2);

    for (int ms = 0; ms <= 40; ms += 40) {
        struct subject *s = START_OPEN(key, ms, NOTHING);
        finish(s);
        expect_error(s, "open", ETIMEDOUT);
    }

    /* Nobody will initialise what has been removed. */
    struct subject *s = START_OPEN(key, -1, NOTHING);
    await_asleep(s);
    expect_short_waits(s, "nanosleep");
    REQUIRE(semctl(id, 0, IPC_RMID) == 0);
    await_asleep(s);
    EXPECT(was_told(s, "open"), "a wait that ends when the set is removed",
           "it naps on, and looks at a set that is not there");
    finish(s);
    EXPECT(got_int(s, "open") == -1 && (got_errno(s, "open") == EIDRM ||
                                        got_errno(s, "open") == EINVAL ||
                                        got_errno(s, "open") == ENOENT),
           "-1 with EIDRM, EINVAL or ENOENT", "%lld with %s",
           got_int(s, "open"), errno_name(got_errno(s, "open")));

    key = new_key();
    change(new_raw_set(key, 2), 0, 1);
    s = START_OPEN(key, BELOW_FOR_EVER_MS, NOTHING);
    finish(s);
    expect_error(s, "open", EINVAL);
}

/* Small cases, in every order of their steps: one makes a set and one opens it;
 * two take a semaphore, or the same two, in turn, and one may die. */

HELPER void make_set(void)
{
    CALL("create", svsem_create((key_t)given_int("key"), 3, 2));
}

HELPER void tell_values(int id)
{
    unsigned short values[3] = {0};
    char text[32];

    semctl(id, 0, GETALL, (union semctl_argument){.array = values});
    snprintf(text, sizeof(text), "%u, %u, %u", values[0], values[1], values[2]);
    tell_str("values", text);
}

HELPER void find_set(void)
{
    int id = svsem_open((key_t)given_int("key"), -1);

    call_int("open", "svsem_open(key, -1)", id);
    if (id != -1)
        tell_values(id);
}

HELPER void remove_set_of_key(void)
{
    semctl(semget((key_t)given_int("key"), 0, 0), 0, IPC_RMID);
}

SCENARIO(one_makes_one_opens)
{
    run_schedules(&(struct small_case){.roles = {make_set, find_set},
                                       .check = remove_set_of_key});
}

HELPER void made_before_it_is_opened(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_at_least(s, "create", 0);
    if (got_int(s, "open") == -1)
        expect_error(s, "open", ENOENT);
    else
        expect_str(s, "values", "2, 2, 2");
}

HELPER void fill_set(void)
{
    unsigned short values[3] = {1, 1, 1};

    semctl((int)given_int("id"), 0, SETALL,
           (union semctl_argument){.array = values});
    *(int *)given_shared("sum", NULL) = 0;
}

HELPER void add_one(void)
{
    int *sum = given_shared("sum", NULL), found = *sum;

    may_switch();
    *sum = found + 1;
}

HELPER void add_behind_semaphore(void)
{
    int id = (int)given_int("id");

    CALL("wait", svsem_wait(id, 1, -1));
    add_one();
    CALL("post", svsem_post(id, 1));
}

HELPER void take_two_and_post(unsigned short a, unsigned short b)
{
    int id = (int)given_int("id");

    CALL("take", svsem_take_two(id, a, b, -1));
    add_one();
    CALL("post", svsem_post(id, a));
    CALL("post", svsem_post(id, b));
}

HELPER void take_0_and_1(void)
{
    take_two_and_post(0, 1);
}

HELPER void take_1_and_0(void)
{
    take_two_and_post(1, 0);
}

HELPER void tell_set(void)
{
    tell_values((int)given_int("id"));
    tell_int("sum", *(int *)given_shared("sum", NULL));
}

SCENARIO(two_behind_a_semaphore)
{
    run_schedules(&(struct small_case){
        .prepare = fill_set,
        .roles = {add_behind_semaphore, add_behind_semaphore},
        .check = tell_set});
}

SCENARIO(two_want_two)
{
    run_schedules(&(struct small_case){.prepare = fill_set,
                                       .roles = {take_0_and_1, take_1_and_0},
                                       .check = tell_set});
}

HELPER void one_at_a_time_and_all_given_back(struct subject *s, unsigned deaths)
{
    expect_str(s, "values", "1, 1, 1");
    if (deaths > 0)
        return;
    expect_return(s, "post", 0);
    expect_int(s, "sum", 2);
}

#define START_SMALL(scenario)                    \
    START(scenario, INT("id", new_set(1, 1, 1)), \
          SHARE("sum", new_shared(sizeof(int))))

/* The creator is stopped at every place; whenever somebody can open the set,
 * its values are right. */
TEST(svsem, a_set_that_can_be_opened_has_its_values)
{
    static const char *const calls[] = {"semget", "semctl", "semop"};

    for (int i = 0; i < 24; i += under_valgrind() ? 7 : 1) {
        key_t key = new_key();
        const char *call = calls[i % 3];
        unsigned nth = 1 + (unsigned)i / 6;
        struct subject *c =
            START_CREATE(key, 3, 2,
                         i / 3 % 2 == 0 ? HOLD(call, nth, "stopped")
                                        : HOLD_AFTER(call, nth, "stopped"));

        await_asleep(c);
        if (!was_told(c, "stopped")) {
            finish(c);
            expect_at_least(c, "create", 0);
            judges_object('s', (int)got_int(c, "create"));
            continue; /* it has no such place */
        }

        struct subject *o = START_OPEN(key, -1, NOTHING);
        await_asleep(o);
        if (was_told(o, "open") && got_int(o, "open") != -1)
            expect_values((int)got_int(o, "open"), 2, 2, 2,
                          "for one who has opened the set already");
        let_go(c, "stopped");
        finish(c);
        expect_at_least(c, "create", 0);
        int id = made_set(key);
        finish(o);
        if (!was_told(o, "open") || got_int(o, "open") == -1)
            expect_error(o, "open", ENOENT);
        expect_values(id, 2, 2, 2, "at the end");
    }

    struct subject *s = START(one_makes_one_opens, INT("key", new_key()));
    explore(s, &(struct exploration){.preemptions = 2,
                                     .check = made_before_it_is_opened});
    finish(s);
}

TEST(svsem, wait_takes_and_post_gives)
{
    int id = new_set(9, 2, 9);
    struct subject *s = START_WAIT(id, -1, NOTHING);

    await(s, "wait");
    expect_return(s, "wait", 0);
    expect_values(id, 9, 1, 9, "after svsem_wait");
    end(s);
    s = START(sv_post, INT("id", id));
    await(s, "post");
    expect_return(s, "post", 0);
    expect_values(id, 9, 3, 9, "after svsem_post");
    end(s);
}

TEST(svsem, wait_sleeps_at_0_until_a_post)
{
    int id = new_set(9, 0, 9);
    struct subject *s = START_WAIT(id, -1, NOTHING);

    await_blocked(s, "semop");
    struct subject *p = START(sv_post, INT("id", id));
    await(p, "post");
    expect_return(p, "post", 0);
    await(s, "wait");
    expect_return(s, "wait", 0);
    expect_values(id, 9, 0, 9, "after a post and a wait");
    end(s);
    end(p);
}

TEST(svsem, a_signal_lets_nobody_through)
{
    for (int ms = -1; ms <= 600999; ms += 601000) {
        int id = new_set(9, 0, 9);
        struct subject *s = START_WAIT(id, ms, FAIL("semop", 1, 3, EINTR));

        await_still(s);
        EXPECT(!was_told(s, "wait"), "a semaphore that is still waited for",
               "svsem_wait returned %lld when a signal came (EINTR)",
               got_int(s, "wait"));
        expect_no_nap(s);
        change(id, 1, 1);
        await(s, "wait");
        expect_return(s, "wait", 0);
        end(s);
    }
}

TEST(svsem, wait_gives_up_at_the_deadline)
{
    int id = new_set(9, 0, 9);
    struct subject *held[2];

    for (int i = 0; i < 2; i++) {
        held[i] = START_WAIT(id, 60, SIGNAL_AND_HOLD("semop"));
        await_asleep(held[i]);
    }
    for (int ms = 0; ms <= 60; ms += 60) {
        struct subject *s = START_WAIT(id, ms, NOTHING);
        await(s, "wait");
        expect_error(s, "wait", ETIMEDOUT);
        end(s);
    }
    for (int i = 0; i < 2; i++) {
        expect_over(held[i], "wait");
        end(held[i]);
    }
    struct subject *s = START_WAIT(id, BELOW_FOR_EVER_MS, NOTHING);
    await(s, "wait");
    expect_error(s, "wait", EINVAL);
    end(s);
    expect_values(id, 9, 0, 9, "after waits that failed");
}

TEST(svsem, what_a_dead_process_held_comes_back)
{
    int id = new_set(9, 1, 9);
    struct subject *dying = START_WAIT(id, -1, NOTHING);

    await(dying, "wait");
    expect_return(dying, "wait", 0);
    struct subject *s = START_WAIT(id, -1, NOTHING);
    await_blocked(s, "semop");
    kill_subject(dying);
    await(s, "wait");
    expect_return(s, "wait", 0);
    end(s);
    s = START_SMALL(two_behind_a_semaphore);
    explore(s,
            &(struct exploration){.preemptions = 1,
                                  .deaths = 1,
                                  .check = one_at_a_time_and_all_given_back});
    finish(s);
}

TEST(svsem, who_has_given_back_owes_nothing)
{
    int id = new_set(9, 1, 9);
    struct subject *s = START(sv_wait_and_post, INT("id", id));

    finish(s);
    expect_return(s, "wait", 0);
    expect_return(s, "post", 0);
    expect_values(id, 9, 1, 9, "when a process that took and gave has ended,");
}

TEST(svsem, destroy_removes_the_set_and_tells_who_waits)
{
    int id = new_set(9, 0, 9);
    struct semid_ds ds;
    struct subject *w = START_WAIT(id, -1, NOTHING);

    await_blocked(w, "semop");
    struct subject *s = START(sv_destroy, INT("id", id));
    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(semctl(id, 0, IPC_STAT, (union semctl_argument){.buf = &ds}) == -1,
           "no set any more", "it is still there");
    await(w, "wait");
    expect_error(w, "wait", EIDRM);
    end(w);
}

/* ------------------------------------------------------------------------
 * Group two
 */

#define START_TAKE(id_, a_, b_, ms, ...)                           \
    START(sv_take_two, INT("id", id_), INT("a", a_), INT("b", b_), \
          INT("deadline", ms), __VA_ARGS__)

TEST(two, takes_both)
{
    int id = new_set(1, 3, 1);
    struct subject *s = START_TAKE(id, 0, 2, -1, NOTHING);

    await(s, "take");
    expect_return(s, "take", 0);
    expect_values(id, 0, 3, 0, "after svsem_take_two of 0 and 2");
    end(s);
}

TEST(two, who_waits_for_one_does_not_hold_the_other)
{
    for (int first = 0; first <= 2; first += 2) {
        int id = new_set(first == 0, 3, first == 2);
        struct subject *s = START_TAKE(id, 0, 2, -1, NOTHING);

        await_asleep(s);
        EXPECT(!was_told(s, "take"), "a wait for both", "%s",
               got_int(s, "take") == 0 ? "it has returned, with one" : "-1");
        expect_values(id, first == 0, 3, first == 2,
                      "while it waits for the other one");
        change(id, first == 0 ? 2 : 0, 1);
        await(s, "take");
        expect_return(s, "take", 0);
        expect_values(id, 0, 3, 0, "when it has both");
        end(s);
    }
}

/* Stopped before a second operation, it holds nothing. */
TEST(two, both_are_taken_in_one_step)
{
    int id = new_set(1, 1, 1);
    struct subject *s =
        START_TAKE(id, 0, 2, -1, HOLD("semop", 2, "has made one semop"));

    await_asleep(s);
    if (was_told(s, "has made one semop")) {
        expect_values(id, 1, 1, 1, "between two semops");
        let_go(s, "has made one semop");
    }
    await(s, "take");
    expect_return(s, "take", 0);
    expect_values(id, 0, 1, 0, "at the end");
    end(s);
}

/* Three philosophers, three forks; each has made its first step. */
TEST(two, neighbours_in_a_ring_do_not_deadlock)
{
    int id = new_set(1, 1, 1);
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] =
            START_TAKE(id, i, (i + 1) % 3, -1, HOLD_AFTER("semop", 1, "one"));
    for (int i = 0; i < 3; i++)
        await_asleep(s[i]);
    for (int i = 0; i < 3; i++)
        let_go(s[i], "one");
    for (int n = 0; n < 3; n++) {
        int eats = -1;

        for (int i = 0; i < 3 && eats == -1; i++)
            if (s[i] != NULL) {
                await_asleep(s[i]);
                if (was_told(s[i], "take"))
                    eats = i;
            }
        EXPECT(eats != -1, "at any time one who has both forks",
               "all wait: each holds one that another one needs");
        expect_return(s[eats], "take", 0);
        end(s[eats]);
        s[eats] = NULL;
        for (int i = 0; i < 3; i++)
            if (s[i] != NULL && n == 1)
                await(s[i], "take");
    }
    expect_values(id, 1, 1, 1, "when all have eaten");
}

TEST(two, take_gives_up_with_neither)
{
    int id = new_set(1, 1, 0);
    struct subject *held[2], *s;

    for (int i = 0; i < 2; i++) {
        held[i] = START_TAKE(id, 0, 2, 60, SIGNAL_AND_HOLD("semop"));
        await_asleep(held[i]);
    }
    for (int ms = 0; ms <= 60; ms += 60) {
        s = START_TAKE(id, 0, 2, ms, NOTHING);
        await(s, "take");
        expect_error(s, "take", ETIMEDOUT);
        expect_values(id, 1, 1, 0, "when it has given up");
        end(s);
    }
    for (int i = 0; i < 2; i++) {
        expect_over(held[i], "take");
        expect_values(id, 1, 1, 0, "when it has given up");
        end(held[i]);
    }
    s = START_TAKE(id, 0, 1, BELOW_FOR_EVER_MS, NOTHING);
    await(s, "take");
    expect_error(s, "take", EINVAL);
    expect_values(id, 1, 1, 0, "after a deadline that is refused");
    end(s);

    s = START_TAKE(id, 0, 2, -1, NOTHING);
    await_asleep(s);
    REQUIRE(semctl(id, 0, IPC_RMID) == 0);
    await(s, "take");
    expect_error(s, "take", EIDRM);
    end(s);
}

TEST(two, a_signal_gives_neither)
{
    for (int ms = -1; ms <= 600999; ms += 601000) {
        int id = new_set(1, 1, 0);
        struct subject *s =
            START_TAKE(id, 0, 2, ms, FAIL("semop", 1, 3, EINTR));

        await_still(s);
        EXPECT(!was_told(s, "take"), "a wait that goes on",
               "svsem_take_two returned %lld when a signal came (EINTR)",
               got_int(s, "take"));
        expect_no_nap(s);
        change(id, 2, 1);
        await(s, "take");
        expect_return(s, "take", 0);
        end(s);
    }
}

TEST(two, both_come_back_from_a_dead_process)
{
    int id = new_set(1, 1, 1);
    struct subject *s = START_TAKE(id, 0, 2, -1, NOTHING);

    await(s, "take");
    expect_return(s, "take", 0);
    kill_subject(s);
    expect_values(id, 1, 1, 1, "when the one who had two was killed");

    s = START_SMALL(two_want_two);
    explore(s,
            &(struct exploration){.preemptions = 1,
                                  .deaths = 1,
                                  .check = one_at_a_time_and_all_given_back});
    finish(s);
}

TEST(two, the_same_twice_is_refused)
{
    int id = new_set(2, 2, 2);
    struct subject *s = START_TAKE(id, 1, 1, -1, NOTHING);

    await(s, "take");
    expect_error(s, "take", EINVAL);
    expect_values(id, 2, 2, 2, "after that");
    end(s);
}

/* ------------------------------------------------------------------------
 * Group slots
 */

SCENARIO(init_slots)
{
    CALL("init",
         slots_init(given_shared("slots", NULL), (size_t)given_int("n")));
}

/* The text of an item, and something else behind its end. */
HELPER void fill_text(char text[56], int from, unsigned number)
{
    memset(text, 'a' + (int)(number % 26), 56);
    snprintf(text, 40, "%d.%u", from, number);
}

/* Puts n items, numbered from `number`. */
SCENARIO(put)
{
    struct slots *s = given_shared("slots", NULL);
    int from = (int)given_int("from");
    struct slot_item item = {.from = from};

    for (long long i = 0; i < given_int("n"); i++) {
        char name[32];

        item.number = (uint32_t)(given_int("number") + i);
        fill_text(item.text, from, item.number);
        snprintf(name, sizeof(name), "put %lld", i + 1);
        CALL(name, slots_put(s, &item, (int)given_int("deadline")));
    }
}

/* Takes n items and tells them all; stops at a failure. */
SCENARIO(get)
{
    struct slots *s = given_shared("slots", NULL);
    struct slot_item items[SLOTS_MAX + 1];
    long long n = 0;

    memset(items, 0x5a, sizeof(items));
    while (n < given_int("n")) {
        char name[32];

        snprintf(name, sizeof(name), "get %lld", n + 1);
        if (CALL(name, slots_get(s, &items[n], (int)given_int("deadline"))) ==
            -1)
            break;
        n++;
    }
    tell_bytes("items", items, (size_t)n * sizeof(items[0]));
    tell_bytes("behind", &items[n], sizeof(items[0]));
}

HELPER struct slots *new_slots(size_t n)
{
    struct slots *q = new_shared(sizeof(*q));
    struct subject *s = START(init_slots, SHARE("slots", q), INT("n", n));

    finish(s);
    expect_return(s, "init", 0);
    return q;
}

#define START_PUT(q_, from_, number_, n_, ms, fault)                           \
    START(put, SHARE("slots", q_), INT("from", from_), INT("number", number_), \
          INT("n", n_), INT("deadline", ms), fault)
#define START_GET(q_, n_, ms, fault) \
    START(get, SHARE("slots", q_), INT("n", n_), INT("deadline", ms), fault)

/* The items got are these of one producer, in order. */
HELPER void expect_items(struct subject *s, int from, unsigned number,
                         unsigned n)
{
    struct slot_item items[SLOTS_MAX];
    char text[56];

    got_copy(s, "items", items, n * sizeof(items[0]));
    for (unsigned i = 0; i < n; i++) {
        EXPECT(items[i].from == from && items[i].number == number + i,
               "the items in the order in which they were put",
               "item %u is number %u of %d, not %u of %d", i + 1,
               items[i].number, items[i].from, number + i, from);
        fill_text(text, from, number + i);
        EXPECT(strcmp(items[i].text, text) == 0,
               "the text of the item that was put", "the text of another one");
    }
}

HELPER void put_now(struct slots *q, unsigned number, unsigned n)
{
    struct subject *s = START_PUT(q, 1, number, n, 0, NOTHING);
    char name[32];

    finish(s);
    for (unsigned i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "put %u", i);
        expect_return(s, name, 0);
    }
}

HELPER void get_now(struct slots *q, unsigned number, unsigned n)
{
    struct subject *s = START_GET(q, n, 0, NOTHING);
    char name[32];

    finish(s);
    for (unsigned i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "get %u", i);
        expect_return(s, name, 0);
    }
    expect_items(s, 1, number, n);
}

TEST(slots, items_come_out_in_order_round_and_round)
{
    struct slots *q = new_slots(3);

    for (unsigned i = 0; i < 4; i++) {
        put_now(q, 10 * i, 2);
        get_now(q, 10 * i, 2);
    }
}

TEST(slots, every_slot_is_used_and_no_more)
{
    for (unsigned n = 1; n <= 3; n++) {
        struct slots *q = new_slots(n);

        put_now(q, 1, n);
        struct subject *s = START_PUT(q, 1, 99, 1, 0, NOTHING);
        finish(s);
        expect_error(s, "put 1", ETIMEDOUT);
        get_now(q, 1, n);
        s = START_GET(q, 1, 0, NOTHING);
        finish(s);
        expect_error(s, "get 1", ETIMEDOUT);
    }
}

TEST(slots, init_refuses_sizes_that_do_not_work)
{
    static const size_t sizes[] = {0, SLOTS_MAX + 1, (size_t)1 << 32};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct slots *q = new_shared(sizeof(*q));
        struct subject *s =
            START(init_slots, SHARE("slots", q), INT("n", (long long)sizes[i]));

        finish(s);
        expect_error(s, "init", EINVAL);
    }

    struct slots *q = new_slots(SLOTS_MAX);
    put_now(q, 1, SLOTS_MAX);
    get_now(q, 1, SLOTS_MAX);
}

/* The next two leave aside whether the one who sleeps is woken; the two after
 * them look at that. */
TEST(slots, a_full_buffer_keeps_no_consumer_out)
{
    struct slots *q = new_slots(1);

    put_now(q, 1, 1);
    struct subject *p = START_PUT(q, 1, 2, 1, -1, NOTHING);
    await_blocked(p, "futex");
    struct subject *g = START_GET(q, 1, -1, NOTHING);
    await_asleep(g);
    EXPECT(was_told(g, "get 1"),
           "a consumer that gets an item of a full buffer",
           "it waits as well: the producer sleeps with the mutex held, and "
           "only this consumer could make room");
    finish(g);
    expect_return(g, "get 1", 0);
    kill_subject(p);
}

TEST(slots, an_empty_buffer_keeps_no_producer_out)
{
    struct slots *q = new_slots(1);
    struct subject *g = START_GET(q, 1, -1, NOTHING);

    await_blocked(g, "futex");
    struct subject *p = START_PUT(q, 1, 2, 1, -1, NOTHING);
    await_asleep(p);
    EXPECT(was_told(p, "put 1"), "a producer that puts into an empty buffer",
           "it waits as well: the consumer sleeps with the mutex held, and "
           "only this producer could bring an item");
    finish(p);
    expect_return(p, "put 1", 0);
    kill_subject(g);
}

/* From now on another process, the judge, is at the fields. */
HELPER void take_mutex(struct slots *q)
{
    EXPECT(sem_trywait(&q->mutex) == 0, "the mutex free, at 1",
           "nobody is at the fields, and it is not");
}

HELPER void expect_wait_for_mutex(struct subject *s, const char *name)
{
    await_asleep(s);
    EXPECT(!was_told(s, name), "a wait until the mutex is free", "%s",
           got_int(s, name) == 0
               ? "it has been at the fields while another process had it"
               : "it gave up when it had what the deadline is for");
}

/* The judge gives it back to one who waits for it. */
HELPER void give_mutex(struct slots *q, struct subject *s, const char *name)
{
    expect_wait_for_mutex(s, name);
    REQUIRE(sem_post(&q->mutex) == 0);
    await_asleep(s);
    EXPECT(was_told(s, name), "one who is woken when the mutex is free",
           "it sleeps on: its mutex is not shared with other processes");
    finish(s);
    expect_return(s, name, 0);
}

TEST(slots, get_waits_for_an_item)
{
    struct slots *q = new_slots(2);
    struct subject *s = START_GET(q, 1, -1, NOTHING);

    await_blocked(s, "futex");
    put_now(q, 7, 1);
    finish(s);
    expect_return(s, "get 1", 0);
    expect_items(s, 1, 7, 1);
    take_mutex(q);
    give_mutex(q, START_PUT(q, 1, 8, 1, -1, NOTHING), "put 1");
    take_mutex(q);
    s = START_GET(q, 1, -1, NOTHING);
    give_mutex(q, s, "get 1");
    expect_items(s, 1, 8, 1);
}

TEST(slots, put_waits_for_a_slot)
{
    struct slots *q = new_slots(1);

    put_now(q, 1, 1);
    struct subject *s = START_PUT(q, 1, 2, 1, -1, NOTHING);
    await_blocked(s, "futex");
    get_now(q, 1, 1);
    finish(s);
    expect_return(s, "put 1", 0);
    get_now(q, 2, 1);
}

/* The producer is stopped after each of its posts. */
TEST(slots, an_item_is_there_before_it_is_announced)
{
    for (unsigned nth = 1; nth <= 3; nth++) {
        struct slots *q = new_slots(2);
        struct subject *p =
            START_PUT(q, 1, 5, 1, -1, HOLD_AFTER("sem_post", nth, "posted"));

        await_asleep(p);
        struct subject *g = START_GET(q, 1, -1, NOTHING);
        await_asleep(g);
        if (was_told(g, "get 1")) {
            finish(g);
            expect_return(g, "get 1", 0);
            expect_items(g, 1, 5, 1);
            g = NULL;
        }
        if (was_told(p, "posted"))
            let_go(p, "posted");
        finish(p);
        expect_return(p, "put 1", 0);
        if (g != NULL) {
            finish(g);
            expect_items(g, 1, 5, 1);
        }
    }
}

/* The consumer is stopped after each of its posts. */
TEST(slots, a_slot_is_empty_before_it_is_given_away)
{
    for (unsigned nth = 1; nth <= 3; nth++) {
        struct slots *q = new_slots(1);

        put_now(q, 5, 1);
        struct subject *g =
            START_GET(q, 1, -1, HOLD_AFTER("sem_post", nth, "posted"));
        await_asleep(g);
        struct subject *p = START_PUT(q, 1, 6, 1, -1, NOTHING);
        await_asleep(p);
        if (was_told(g, "posted"))
            let_go(g, "posted");
        finish(g);
        expect_return(g, "get 1", 0);
        expect_items(g, 1, 5, 1);
        finish(p);
        expect_return(p, "put 1", 0);
        get_now(q, 6, 1);
    }
}

/* Whichever wait the signal meets. */
TEST(slots, a_signal_is_no_item_and_no_slot)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct slots *q = new_slots(1);
        struct subject *s =
            START_PUT(q, 1, 1, 1, -1, FAIL("sem_wait", nth, 2, EINTR));

        finish(s);
        expect_return(s, "put 1", 0);
        int mutex = value_of(&q->mutex);
        EXPECT(mutex == 1, "the mutex free again, at 1",
               "a value of %d: after EINTR it was not held, and was posted",
               mutex);
        s = START_PUT(q, 1, 2, 1, -1, FAIL("sem_wait", nth, 2, EINTR));
        await_asleep(s);
        EXPECT(!was_told(s, "put 1"), "a wait for a slot that goes on",
               "slots_put returned %lld when a signal came (EINTR)",
               got_int(s, "put 1"));
        struct subject *g =
            START_GET(q, 1, -1, FAIL("sem_wait", nth, 2, EINTR));
        finish(g);
        expect_items(g, 1, 1, 1);
        finish(s);
        get_now(q, 2, 1);
        g = START_GET(q, 1, -1, FAIL("sem_wait", nth, 2, EINTR));
        await_asleep(g);
        EXPECT(!was_told(g, "get 1"), "a wait for an item that goes on",
               "slots_get returned %lld when a signal came (EINTR)",
               got_int(g, "get 1"));
        put_now(q, 3, 1);
        finish(g);
        expect_items(g, 1, 3, 1);
    }
}

TEST(slots, put_and_get_give_up_at_the_deadline)
{
    struct slots *q = new_slots(1);
    struct slot_item behind;

    for (int ms = BELOW_FOR_EVER_MS; ms <= 40; ms += ms < 0 ? -ms : 40) {
        struct subject *s = START_GET(q, 1, ms, NOTHING);
        finish(s);
        expect_error(s, "get 1", ms < 0 ? EINVAL : ETIMEDOUT);
        got_copy(s, "behind", &behind, sizeof(behind));
        EXPECT(behind.number == 0x5a5a5a5au, "*item as it was on failure",
               "it was written");
    }
    put_now(q, 1, 1);
    for (int ms = BELOW_FOR_EVER_MS; ms <= 40; ms += ms < 0 ? -ms : 40) {
        struct subject *s = START_PUT(q, 1, 2, 1, ms, NOTHING);
        finish(s);
        expect_error(s, "put 1", ms < 0 ? EINVAL : ETIMEDOUT);
    }
    get_now(q, 1, 1);
    put_now(q, 3, 1);
    get_now(q, 3, 1);

    /* There is a slot in time, and the mutex afterwards. */
    for (int i = 0; i < 2; i++) {
        q = new_slots(1);
        if (i == 1)
            put_now(q, 4, 1);
        take_mutex(q);
        struct subject *s = i == 0 ? START_PUT(q, 1, 4, 1, 20, NOTHING)
                                   : START_GET(q, 1, 20, NOTHING);
        expect_wait_for_mutex(s, i == 0 ? "put 1" : "get 1");
        kill_subject(s);
    }
}

/* Two of a kind are under way at one time, and nothing but the buffer orders
 * them. */
HELPER void two_at_a_time(struct subject *a, struct subject *b)
{
    await_asleep(a);
    await_asleep(b);
    let_go(a, "go");
    let_go(b, "go");
    finish(a);
    finish(b);
}

TEST(slots, what_is_shared_is_touched_with_the_mutex)
{
    struct slots *q = new_slots(3);
    struct subject *s[4];

    for (int i = 0; i < 2; i++)
        s[i] = START_PUT(q, i, 0, 1, -1, HOLD("sem_wait", 1, "go"));
    two_at_a_time(s[0], s[1]);
    for (int i = 2; i < 4; i++)
        s[i] = START_GET(q, 1, -1, HOLD("sem_wait", 1, "go"));
    two_at_a_time(s[2], s[3]);
    expect_no_race();
    expect_return(s[0], "put 1", 0);
    expect_return(s[1], "put 1", 0);
    expect_return(s[2], "get 1", 0);
    expect_return(s[3], "get 1", 0);
}

/* Small cases, in every order of their steps: two items through one slot, and
 * two producers and two consumers with a slot for each. */

HELPER void prepare_slots(void)
{
    struct slots *s = given_shared("slots", NULL);

    memset(s, 0, sizeof(*s));
    slots_init(s, (size_t)given_int("n"));
}

HELPER void put_number(unsigned number)
{
    struct slot_item item = {.number = number};

    CALL("put", slots_put(given_shared("slots", NULL), &item, -1));
}

HELPER void put_one(void)
{
    put_number(1);
}

HELPER void put_another(void)
{
    put_number(2);
}

HELPER void put_two(void)
{
    put_one();
    put_another();
}

/* Tells what it got as the digits of a number. */
HELPER void get_numbers(const char *name, int n)
{
    struct slot_item item = {.number = 0};
    int got = 0;

    for (int i = 0; i < n; i++)
        if (CALL("get", slots_get(given_shared("slots", NULL), &item, -1)) == 0)
            got = 10 * got + (int)item.number;
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

SCENARIO(two_through_one_slot)
{
    run_schedules(&(struct small_case){.prepare = prepare_slots,
                                       .roles = {put_two, get_two}});
}

SCENARIO(two_at_either_end)
{
    run_schedules(&(struct small_case){
        .prepare = prepare_slots,
        .roles = {put_one, put_another, get_one, get_another}});
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
    expect_return(s, "put", 0);
    expect_return(s, "get", 0);
    EXPECT(got + other == 3 && got * other == 2,
           "items 1 and 2, one for each consumer", "%lld and %lld", got, other);
}

#define EXPLORE_SLOTS(scenario, slots_, check_, preemptions_)              \
    do {                                                                   \
        struct subject *s_ =                                               \
            START(scenario, INT("n", slots_),                              \
                  SHARE("slots", new_shared(sizeof(struct slots))));       \
        explore(s_, &(struct exploration){.check = (check_),               \
                                          .preemptions = (preemptions_)}); \
        finish(s_);                                                        \
    } while (0)

/*
 * In small first, in every order of the steps, so that the verdict doesn't hang
 * on the one that happens; then two producers and two consumers at large, on
 * all processors.
 */
TEST(slots, nothing_is_lost_or_got_twice)
{
    struct slots *q = new_slots(3);
    struct slot_item items[SLOTS_MAX];
    struct subject *s[4];
    unsigned seen[2][20] = {{0}};
    char text[56];

    EXPLORE_SLOTS(two_through_one_slot, 1, both_in_order, 1);
    EXPLORE_SLOTS(two_at_either_end, 2, each_got_one, 0);
    for (int i = 0; i < 2; i++)
        s[i] = START_GET(q, 20, -1, NOTHING);
    for (int i = 0; i < 2; i++)
        s[2 + i] = START_PUT(q, i, 0, 20, -1, NOTHING);
    for (int i = 3; i >= 0; i--)
        finish(s[i]);
    int mutex = value_of(&q->mutex);
    EXPECT(mutex == 1, "the mutex at 1 when nobody has it",
           "a value of %d: so many could be in at once", mutex);
    expect_no_race();
    for (int i = 0; i < 2; i++) {
        got_copy(s[i], "items", items, 20 * sizeof(items[0]));
        for (int n = 0; n < 20; n++) {
            EXPECT((items[n].from == 0 || items[n].from == 1) &&
                       items[n].number < 20,
                   "items that somebody has put", "number %u of %d",
                   items[n].number, items[n].from);
            seen[items[n].from][items[n].number]++;
            fill_text(text, items[n].from, items[n].number);
            EXPECT(memcmp(items[n].text, text, sizeof(text)) == 0,
                   "an item with all its bytes, as it was put",
                   "other bytes in its text, or behind the end of that");
        }
    }
    for (int n = 0; n < 40; n++)
        EXPECT(seen[n / 20][n % 20] == 1, "each item got once",
               "item %d of producer %d got %u times", n % 20, n / 20,
               seen[n / 20][n % 20]);
}

/* ------------------------------------------------------------------------
 * Group turn
 */

SCENARIO(init_turn)
{
    int qid = -77;

    CALL("init", turn_init(&qid));
    tell_int("qid", qid);
    wait_for("end"); /* the queue is the judge's by then */
}

SCENARIO(take_turn)
{
    CALL("take", turn_take((int)given_int("qid")));
}

SCENARIO(try_turn)
{
    CALL("try", turn_try((int)given_int("qid")));
}

SCENARIO(pass_turn)
{
    CALL("pass", turn_pass((int)given_int("qid")));
}

SCENARIO(turn_in_turn)
{
    struct overlap *o = given_shared("overlap", NULL);

    wait_for("go");
    if (CALL("take", turn_take((int)given_int("qid"))) == 0) {
        overlap_enter(o);
        overlap_leave(o);
        CALL("pass", turn_pass((int)given_int("qid")));
    }
}

SCENARIO(destroy_turn)
{
    CALL("destroy", turn_destroy((int)given_int("qid")));
}

HELPER int new_turn(void)
{
    struct subject *s = START(init_turn, NOTHING);

    await(s, "qid");
    expect_return(s, "init", 0);
    int qid = (int)got_int(s, "qid");
    judges_object('q', qid);
    end(s);
    return qid;
}

HELPER unsigned long messages_in(int qid)
{
    struct msqid_ds ds;

    EXPECT(msgctl(qid, IPC_STAT, &ds) == 0, "a queue with this id",
           "msgctl gives %s", errno_name(errno));
    return (unsigned long)ds.msg_qnum;
}

HELPER void expect_tokens(int qid, unsigned long n, const char *when)
{
    unsigned long there = messages_in(qid);

    EXPECT(there == n, n == 1 ? "one token in the queue" : "no token there",
           "%s there are %lu", when, there);
}

TEST(turn, the_token_is_there_at_the_start)
{
    int qid = new_turn();
    struct msqid_ds ds;

    expect_tokens(qid, 1, "after turn_init");
    REQUIRE(msgctl(qid, IPC_STAT, &ds) == 0);
    EXPECT((ds.msg_perm.mode & 0777) == 0600, "mode 0600", "mode %04o",
           ds.msg_perm.mode & 0777u);
}

TEST(turn, an_init_that_fails_leaves_no_queue)
{
    struct subject *s = START(init_turn, FAIL("msgsnd", 1, 1, ENOMEM));

    await(s, "qid");
    end(s);
    expect_error(s, "init", ENOMEM);
    expect_int(s, "qid", -77);
    expect_nothing_left(s);

    s = START(init_turn, FAIL_WHEN("msgctl", 1, IPC_SET, 1, 1, EPERM));
    await(s, "qid");
    if (got_int(s, "init") == 0) { /* it has another way */
        judges_object('q', (int)got_int(s, "qid"));
        end(s);
        return;
    }
    end(s);
    expect_error(s, "init", EPERM);
    expect_int(s, "qid", -77);
    expect_nothing_left(s);
}

TEST(turn, take_and_pass)
{
    int qid = new_turn();

    for (int i = 0; i < 3; i++) {
        struct subject *s = START(take_turn, INT("qid", qid));
        finish(s);
        expect_return(s, "take", 0);
        expect_tokens(qid, 0, "after turn_take");
        s = START(pass_turn, INT("qid", qid));
        finish(s);
        expect_return(s, "pass", 0);
        expect_tokens(qid, 1, "after turn_pass");
    }
}

TEST(turn, who_waits_is_woken_by_pass)
{
    int qid = new_turn();
    struct subject *s = START(take_turn, INT("qid", qid));

    finish(s);
    expect_return(s, "take", 0);
    struct subject *second = START(take_turn, INT("qid", qid));
    await_blocked(second, "msgrcv");
    s = START(pass_turn, INT("qid", qid));
    finish(s);
    expect_return(s, "pass", 0);
    finish(second);
    expect_return(second, "take", 0);
}

TEST(turn, one_at_a_time_by_message)
{
    int qid = new_turn();
    struct overlap *o = new_shared(sizeof(*o));
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = START(turn_in_turn, INT("qid", qid), SHARE("overlap", o));
    for (int i = 0; i < 3; i++)
        let_go(s[i], "go");
    expect_alone(o);
    for (int i = 0; i < 3; i++) {
        finish(s[i]);
        expect_return(s[i], "take", 0);
        expect_return(s[i], "pass", 0);
    }
    expect_tokens(qid, 1, "at the end");
}

TEST(turn, a_signal_gives_nobody_the_turn)
{
    int qid = new_turn();
    struct subject *first = START(take_turn, INT("qid", qid));

    finish(first);
    expect_return(first, "take", 0);
    struct subject *s =
        START(take_turn, INT("qid", qid), FAIL("msgrcv", 1, 3, EINTR));
    await_asleep(s);
    EXPECT(!was_told(s, "take"), "a wait that goes on",
           "turn_take returned %lld when a signal came (EINTR)",
           got_int(s, "take"));
    first = START(pass_turn, INT("qid", qid));
    finish(first);
    finish(s);
    expect_return(s, "take", 0);
}

HELPER int removed_queue(void)
{
    int qid = new_turn();

    REQUIRE(msgctl(qid, IPC_RMID, NULL) == 0);
    return qid;
}

/* There is no queue of that id: the system call's errno says so. */
HELPER void expect_no_queue(struct subject *s, const char *name,
                            const char *instead)
{
    if (got_int(s, name) == -1 && got_errno(s, name) == EIDRM)
        return;
    EXPECT(got_int(s, name) != -1 || got_errno(s, name) == EINVAL,
           "-1 with what the system call says of a queue that was removed: "
           "EINVAL or EIDRM",
           "%s", instead);
    expect_error(s, name, EINVAL);
}

TEST(turn, try_does_not_wait)
{
    int qid = new_turn();
    struct subject *s = START(try_turn, INT("qid", qid));

    finish(s);
    expect_return(s, "try", 0);
    expect_tokens(qid, 0, "after turn_try");
    s = START(try_turn, INT("qid", qid));
    finish(s);
    expect_error(s, "try", EAGAIN);
    s = START(try_turn, INT("qid", removed_queue()));
    finish(s);
    expect_no_queue(s, "try", "EAGAIN: somebody has the token");
}

TEST(turn, pass_without_the_turn_is_refused)
{
    int qid = new_turn();
    struct subject *s = START(pass_turn, INT("qid", qid));

    finish(s);
    expect_error(s, "pass", EPERM);
    expect_tokens(qid, 1, "after a pass of what nobody had");
    s = START(pass_turn, INT("qid", removed_queue()));
    finish(s);
    expect_no_queue(s, "pass", "EPERM: nobody has the token");
}

/* Between a look and what is done about it another process may do the same. */
/* Small cases, in every order of their steps: two take the token and pass it
 * on; two pass it at one time. */

HELPER void prepare_turn(void)
{
    turn_init(given_shared("qid", NULL));
}

HELPER int turn_id(void)
{
    return *(int *)given_shared("qid", NULL);
}

HELPER void add_in_turn(void)
{
    int *sum = given_shared("sum", NULL), found;

    CALL("take", turn_take(turn_id()));
    found = *sum;
    may_switch();
    *sum = found + 1;
    CALL("pass", turn_pass(turn_id()));
}

HELPER void prepare_taken_turn(void)
{
    prepare_turn();
    turn_take(turn_id());
}

HELPER void pass_as_well(void)
{
    CALL("pass as well", turn_pass(turn_id()));
}

HELPER void pass_it(void)
{
    CALL("pass", turn_pass(turn_id()));
}

HELPER void end_turn(void)
{
    int *sum = given_shared("sum", NULL);
    struct msqid_ds ds = {.msg_qnum = 0};

    msgctl(turn_id(), IPC_STAT, &ds);
    tell_int("tokens", (long long)ds.msg_qnum);
    tell_int("sum", *sum);
    *sum = 0;
    turn_destroy(turn_id());
}

SCENARIO(two_in_turn)
{
    run_schedules(&(struct small_case){.prepare = prepare_turn,
                                       .roles = {add_in_turn, add_in_turn},
                                       .check = end_turn});
}

SCENARIO(two_that_pass)
{
    run_schedules(&(struct small_case){.prepare = prepare_taken_turn,
                                       .roles = {pass_it, pass_as_well},
                                       .check = end_turn});
}

HELPER void one_after_the_other(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "sum", 2);
    expect_int(s, "tokens", 1);
}

HELPER void one_is_refused(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "tokens", 1);
    EXPECT((got_int(s, "pass") == 0) + (got_int(s, "pass as well") == 0) == 1,
           "one of two that pass at one time succeeds", "another number");
}

HELPER void explore_turn(void)
{
    struct subject *s =
        START(two_in_turn, SHARE("qid", new_shared(sizeof(int))),
              SHARE("sum", new_shared(sizeof(int))));

    explore(s, &(struct exploration){.preemptions = 2,
                                     .check = one_after_the_other});
    finish(s);
    s = START(two_that_pass, SHARE("qid", new_shared(sizeof(int))),
              SHARE("sum", new_shared(sizeof(int))));
    explore(s,
            &(struct exploration){.preemptions = 2, .check = one_is_refused});
    finish(s);
}

TEST(turn, there_are_never_two_tokens)
{
    int qid = new_turn();
    struct subject *s = START(take_turn, INT("qid", qid));

    finish(s);
    expect_return(s, "take", 0);
    struct subject *slow =
        START(pass_turn, INT("qid", qid), HOLD("msgsnd", 1, "about to send"));
    await(slow, "about to send");
    struct subject *fast = START(pass_turn, INT("qid", qid));
    await_asleep(fast);
    let_go(slow, "about to send");
    finish(slow);
    finish(fast);
    expect_tokens(qid, 1, "when two processes have passed it at one time");
    EXPECT((got_int(slow, "pass") == 0) + (got_int(fast, "pass") == 0) == 1,
           "one of two that pass at one time succeeds", "%d do",
           (got_int(slow, "pass") == 0) + (got_int(fast, "pass") == 0));
    expect_error(got_int(slow, "pass") == 0 ? fast : slow, "pass", EPERM);
    explore_turn();
}

TEST(turn, destroy_tells_who_waits)
{
    int qid = new_turn();
    struct subject *s = START(take_turn, INT("qid", qid));

    finish(s);
    expect_return(s, "take", 0);
    struct subject *w = START(take_turn, INT("qid", qid));
    await_blocked(w, "msgrcv");
    s = START(destroy_turn, INT("qid", qid));
    finish(s);
    expect_return(s, "destroy", 0);
    finish(w);
    expect_error(w, "take", EIDRM);
}

/* ------------------------------------------------------------------------
 * Group handshake
 */

SCENARIO(write_mail)
{
    struct mailbox *m = given_shared("mailbox", NULL);
    size_t size;
    const void *data = given_bytes("data", &size);

    CALL("write", handshake_write(m, (int)given_int("qid"), data, size));
}

SCENARIO(read_mail)
{
    struct mailbox *m = given_shared("mailbox", NULL);
    char buf[MAILBOX_BYTES + 16];

    memset(buf, 0x5a, sizeof(buf));
    CALL("read", handshake_read(m, (int)given_int("qid"), buf,
                                (size_t)given_int("cap")));
    tell_bytes("buf", buf, sizeof(buf));
}

struct post {
    struct mailbox *m;
    int qid;
};

HELPER struct post new_post(void)
{
    struct post p = {.m = new_shared(sizeof(*p.m)),
                     .qid = msgget(IPC_PRIVATE, IPC_CREAT | 0600)};

    REQUIRE(p.qid != -1);
    judges_object('q', p.qid);
    return p;
}

#define START_WRITE(p, data_, size_, fault)                         \
    START(write_mail, SHARE("mailbox", (p).m), INT("qid", (p).qid), \
          BYTES("data", data_, size_), fault)
#define START_READ(p, cap_, fault)                                 \
    START(read_mail, SHARE("mailbox", (p).m), INT("qid", (p).qid), \
          INT("cap", cap_), fault)

HELPER void send_word(struct post p, long type)
{
    REQUIRE(msgsnd(p.qid, &type, 0, IPC_NOWAIT) == 0);
}

/* Takes a message of that type, which has to be there. */
HELPER void take_word(struct post p, long type, const char *what)
{
    long word;

    EXPECT(msgrcv(p.qid, &word, 0, type, IPC_NOWAIT | MSG_NOERROR) == 0, what,
           "none is in the queue");
}

HELPER void expect_read(struct subject *s, const void *data, size_t size)
{
    size_t told;
    const char *buf;

    expect_return(s, "read", (long long)size);
    buf = got_bytes(s, "buf", &told);
    EXPECT(memcmp(buf, data, size) == 0, "the bytes that were written",
           "other bytes");
    for (size_t i = size; i < told; i++)
        EXPECT(buf[i] == 0x5a, "no byte written behind the data",
               "byte %zu was", i);
}

/* A small case, in every order of its steps: two messages, one after the
 * other. */

HELPER void write_twice(void)
{
    struct mailbox *m = given_shared("mailbox", NULL);
    int qid = (int)given_int("qid");

    CALL("write", handshake_write(m, qid, "one", 3));
    CALL("write", handshake_write(m, qid, "three", 5));
}

HELPER void read_twice(void)
{
    struct mailbox *m = given_shared("mailbox", NULL);
    int qid = (int)given_int("qid");
    char text[16] = "";

    if (CALL("first", handshake_read(m, qid, text, 8)) == 3)
        CALL("second", handshake_read(m, qid, text + 3, 8));
    tell_str("text", text);
}

SCENARIO(two_messages)
{
    run_schedules(&(struct small_case){.roles = {write_twice, read_twice}});
}

HELPER void both_arrive(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "write", 0);
    expect_return(s, "second", 5);
    expect_str(s, "text", "onethree");
}

HELPER void explore_handshake(void)
{
    struct post p = new_post();
    struct subject *s =
        START(two_messages, SHARE("mailbox", p.m), INT("qid", p.qid));

    explore(s, &(struct exploration){.preemptions = 1, .check = both_arrive});
    finish(s);
}

TEST(handshake, what_is_written_is_read)
{
    static const size_t sizes[] = {1, 0, MAILBOX_BYTES, 100};
    struct post p = new_post();
    char data[MAILBOX_BYTES];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fill_random(data, sizeof(data));
        struct subject *w = START_WRITE(p, data, sizes[i], NOTHING);
        struct subject *r = START_READ(p, MAILBOX_BYTES, NOTHING);
        finish(r);
        finish(w);
        expect_no_race();
        expect_return(w, "write", 0);
        expect_read(r, data, sizes[i]);
        EXPECT(messages_in(p.qid) == 0, "no message left in the queue",
               "%lu are", messages_in(p.qid));
    }
    explore_handshake();
}

TEST(handshake, the_writer_waits_for_ok)
{
    struct post p = new_post();
    struct subject *w = START_WRITE(p, "hello", 5, NOTHING);

    await_asleep(w);
    EXPECT(!was_told(w, "write"), "a writer that waits until it was read",
           "it has returned: who writes again overwrites what is unread");
    await_blocked(w, "msgrcv");
    EXPECT(messages_in(p.qid) == 1, "one message in the queue, MAIL_READY",
           "%lu messages", messages_in(p.qid));
    take_word(p, MAIL_READY, "a message of the type MAIL_READY");
    EXPECT(p.m->size == 5 && memcmp(p.m->data, "hello", 5) == 0,
           "the data in the mailbox", "other data");
    send_word(p, MAIL_OK);
    finish(w);
    expect_return(w, "write", 0);
}

TEST(handshake, the_writer_does_not_take_its_own_word)
{
    struct post p = new_post();
    struct subject *w = START_WRITE(p, "hello", 5, NOTHING);

    await_asleep(w);
    EXPECT(messages_in(p.qid) == 1, "a word that waits for the reader",
           "%lu in the queue: the writer has received its own",
           messages_in(p.qid));
    EXPECT(!was_told(w, "write"), "a writer that waits until it was read",
           "it has returned, and nobody has read");
    take_word(p, MAIL_READY, "a message of the type MAIL_READY");
    send_word(p, MAIL_OK);
    finish(w);
    expect_return(w, "write", 0);
}

TEST(handshake, the_reader_does_not_take_its_own_word)
{
    struct post p = new_post();

    p.m->size = 3;
    memcpy(p.m->data, "abc", 3);
    send_word(p, MAIL_READY);
    struct subject *r = START_READ(p, 10, NOTHING);
    finish(r);
    expect_read(r, "abc", 3);
    EXPECT(messages_in(p.qid) == 1, "one message in the queue, MAIL_OK",
           "%lu messages", messages_in(p.qid));
    r = START_READ(p, 10, NOTHING);
    await_blocked(r, "msgrcv");
    take_word(p, MAIL_OK, "a message of the type MAIL_OK");
    send_word(p, MAIL_READY);
    finish(r);
    expect_read(r, "abc", 3);
}

TEST(handshake, data_is_there_before_ready_is_said)
{
    struct post p = new_post();
    struct subject *w =
        START_WRITE(p, "first", 5, HOLD_AFTER("msgsnd", 1, "said"));
    struct subject *r = START_READ(p, 10, NOTHING);

    await_asleep(w);
    await_asleep(r);
    if (was_told(r, "read"))
        expect_read(r, "first", 5);
    if (was_told(w, "said"))
        let_go(w, "said");
    finish(r);
    finish(w);
    expect_return(w, "write", 0);
    expect_read(r, "first", 5);
}

TEST(handshake, ok_is_said_when_the_data_is_copied)
{
    struct post p = new_post();
    struct subject *w = START_WRITE(p, "first", 5, NOTHING);
    struct subject *r = START_READ(p, 10, HOLD_AFTER("msgsnd", 1, "said ok"));

    await_asleep(r);
    await_asleep(w);
    struct subject *next = START_WRITE(p, "second", 6, NOTHING);
    await_asleep(next);
    if (was_told(r, "said ok"))
        let_go(r, "said ok");
    finish(r);
    expect_read(r, "first", 5);
    finish(w);
    r = START_READ(p, 10, NOTHING);
    finish(r);
    expect_read(r, "second", 6);
    finish(next);
    expect_return(next, "write", 0);
}

TEST(handshake, the_reader_waits_for_ready)
{
    struct post p = new_post();

    p.m->size = 3;
    memcpy(p.m->data, "old", 3);
    struct subject *r = START_READ(p, 10, NOTHING);
    await_blocked(r, "msgrcv");
    struct subject *w = START_WRITE(p, "new", 3, NOTHING);
    finish(r);
    finish(w);
    expect_return(w, "write", 0);
    expect_read(r, "new", 3);
}

TEST(handshake, too_much_is_refused_and_nothing_is_said)
{
    struct post p = new_post();
    char data[MAILBOX_BYTES + 1];

    p.m->size = 77;
    p.m->data[0] = 'x';
    fill_random(data, sizeof(data));
    data[0] = 'y';
    struct subject *w = START_WRITE(p, data, sizeof(data), NOTHING);
    finish(w);
    expect_error(w, "write", EMSGSIZE);
    EXPECT(messages_in(p.qid) == 0, "no message sent", "%lu messages",
           messages_in(p.qid));
    EXPECT(p.m->size == 77 && p.m->data[0] == 'x', "the mailbox as it was",
           "it was written");
}

TEST(handshake, a_buffer_that_is_too_small_loses_nothing)
{
    struct post p = new_post();
    struct subject *w = START_WRITE(p, "hello", 5, NOTHING);
    struct subject *r = START_READ(p, 4, NOTHING);
    const char *buf;
    size_t size;

    finish(r);
    expect_error(r, "read", EMSGSIZE);
    buf = got_bytes(r, "buf", &size);
    EXPECT(buf[0] == 0x5a, "buf as it was on failure", "it was written");
    await_asleep(w);
    EXPECT(!was_told(w, "write"), "a writer that waits: nobody has read it",
           "it was told MAIL_OK");
    r = START_READ(p, 5, NOTHING);
    await_asleep(r);
    EXPECT(was_told(r, "read"), "a read with more room that gets the data",
           "it waits for a MAIL_READY that does not come again");
    finish(r);
    expect_read(r, "hello", 5);
    finish(w);
    expect_return(w, "write", 0);
}

/* It was 5 and became 100, and there is room for 10. */
HELPER void expect_size_read_once(struct subject *r)
{
    static const char twice[] =
        "the size was 5 when the reader looked, and 100 when it copied";
    size_t told;
    const char *buf = got_bytes(r, "buf", &told);
    size_t most = got_int(r, "read") == 5 ? 5 : 0;

    EXPECT(got_int(r, "read") <= 5, "a size that is read once",
           "%lld bytes read with room for 10: %s", got_int(r, "read"), twice);
    for (size_t i = most; i < told; i++)
        EXPECT(buf[i] == 0x5a, "a size that is read once",
               "byte %zu of a buffer for 10 written: %s", i, twice);
    if (got_int(r, "read") != 5)
        expect_error(r, "read", EMSGSIZE);
}

TEST(handshake, a_size_that_can_not_be_is_not_believed)
{
    struct post p = new_post();
    long word;

    p.m->size = UINT64_MAX - 3;
    send_word(p, MAIL_READY);
    struct subject *r = START_READ(p, MAILBOX_BYTES, NOTHING);
    finish(r);
    expect_error(r, "read", EBADMSG);
    take_word(p, MAIL_READY, "a mailbox that stays as it is, with its word");

    /* The writer changes it while the reader is between two of its looks. */
    for (unsigned nth = 1; nth <= 4; nth++) {
        p.m->size = 5;
        send_word(p, MAIL_READY);
        r = START_READ(p, 10, HOLD("load", nth, "looks"));
        await_asleep(r);
        p.m->size = 100;
        if (was_told(r, "looks"))
            let_go(r, "looks");
        finish(r);
        expect_size_read_once(r);
        while (msgrcv(p.qid, &word, 0, 0, IPC_NOWAIT | MSG_NOERROR) == 0)
            ;
    }
}

/* Each end's word stays unread until the other one takes it. */
TEST(handshake, a_signal_is_no_word)
{
    struct post p = new_post();
    struct subject *r = START_READ(p, 10, FAIL("msgrcv", 1, 3, EINTR));

    await_asleep(r);
    EXPECT(!was_told(r, "read"), "a reader that waits on",
           "handshake_read returned %lld when a signal came (EINTR)",
           got_int(r, "read"));
    struct subject *w = START_WRITE(p, "hello", 5, FAIL("msgrcv", 1, 3, EINTR));
    finish(r);
    finish(w);
    expect_return(w, "write", 0);
    expect_read(r, "hello", 5);

    /* And what is no signal ends the wait. */
    w = START_WRITE(p, "hello", 5, NOTHING);
    await_blocked(w, "msgrcv");
    REQUIRE(msgctl(p.qid, IPC_RMID, NULL) == 0);
    finish(w);
    expect_error(w, "write", EIDRM);
    p = new_post();
    r = START_READ(p, 10, NOTHING);
    await_blocked(r, "msgrcv");
    REQUIRE(msgctl(p.qid, IPC_RMID, NULL) == 0);
    finish(r);
    expect_error(r, "read", EIDRM);
}

/* ------------------------------------------------------------------------
 * Group meet
 */

SCENARIO(init_meet)
{
    CALL("init", rendezvous_init(given_shared("place", NULL)));
}

SCENARIO(meet_once)
{
    CALL("meet 1",
         meet(given_shared("place", NULL), (int)given_int("deadline")));
}

/* Meets twice, the second time when it is told to. */
SCENARIO(meet_twice)
{
    struct rendezvous *r = given_shared("place", NULL);

    CALL("meet 1", meet(r, -1));
    wait_for("again");
    CALL("meet 2", meet(r, -1));
}

SCENARIO(meet_often)
{
    struct rendezvous *r = given_shared("place", NULL);

    for (int i = 0; i < 50; i++)
        if (CALL("meet", meet(r, -1)) == -1)
            break;
}

HELPER struct rendezvous *new_place(void)
{
    struct rendezvous *r = new_shared(sizeof(*r));
    struct subject *s = START(init_meet, SHARE("place", r));

    finish(s);
    expect_return(s, "init", 0);
    return r;
}

#define START_MEET(r_, ms, ...) \
    START(meet_once, SHARE("place", r_), INT("deadline", ms), __VA_ARGS__)

/* Two rounds of which each is as it should be. */
HELPER void meet_now(struct rendezvous *r)
{
    for (int round = 0; round < 2; round++) {
        struct subject *a = START_MEET(r, -1, NOTHING);
        await_asleep(a);
        EXPECT(!was_told(a, "meet 1"), "a wait for another one",
               "it has returned, woken by a post that an earlier meeting left "
               "behind");
        struct subject *b = START_MEET(r, -1, NOTHING);
        finish(a);
        finish(b);
        expect_return(a, "meet 1", 0);
        expect_return(b, "meet 1", 0);
    }
}

TEST(meet, the_first_waits_for_the_second)
{
    struct rendezvous *r = new_place();

    for (int round = 0; round < 3; round++) {
        struct subject *a = START_MEET(r, -1, NOTHING);
        await_blocked(a, "futex");
        struct subject *b = START_MEET(r, -1, NOTHING);
        finish(a);
        finish(b);
        expect_return(a, "meet 1", 0);
        expect_return(b, "meet 1", 0);
    }
}

/* A small case, in every order of its steps: two meetings. */

HELPER void prepare_place(void)
{
    struct rendezvous *r = given_shared("place", NULL);

    memset(r, 0, sizeof(*r));
    rendezvous_init(r);
}

/* *met counts the calls that have begun: when the nth has returned, both
 * have begun n. */
HELPER void meet_two_times(const char *name)
{
    atomic_int *begun = given_shared("begun", NULL);
    int fewest = 100;

    for (int i = 1; i <= 2; i++) {
        atomic_fetch_add(begun, 1);
        CALL("meet", meet(given_shared("place", NULL), -1));
        if (atomic_load(begun) - 2 * i < fewest)
            fewest = atomic_load(begun) - 2 * i;
    }
    tell_int(name, fewest);
}

HELPER void meet_as_a(void)
{
    meet_two_times("a");
}

HELPER void meet_as_b(void)
{
    meet_two_times("b");
}

HELPER void forget_meetings(void)
{
    atomic_store((atomic_int *)given_shared("begun", NULL), 0);
}

SCENARIO(two_meetings)
{
    run_schedules(&(struct small_case){.prepare = prepare_place,
                                       .roles = {meet_as_a, meet_as_b},
                                       .check = forget_meetings});
}

HELPER void both_were_here(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_return(s, "meet", 0);
    EXPECT(got_int(s, "a") >= 0 && got_int(s, "b") >= 0,
           "nobody goes on before the other one is here", "one does");
}

HELPER void explore_meetings(void)
{
    struct subject *s = START(
        two_meetings, SHARE("place", new_shared(sizeof(struct rendezvous))),
        SHARE("begun", new_shared(sizeof(atomic_int))));

    explore(s,
            &(struct exploration){.preemptions = 1, .check = both_were_here});
    finish(s);
}

TEST(meet, two_meet_again_and_again)
{
    struct rendezvous *r = new_place();
    struct subject *a = START(meet_often, SHARE("place", r));
    struct subject *b = START(meet_often, SHARE("place", r));

    finish(a);
    finish(b);
    expect_no_race();
    expect_return(a, "meet", 0);
    expect_return(b, "meet", 0);
    explore_meetings();
}

/* One is stopped on its way to sleep, or as it is woken; the other one comes
 * again. */
TEST(meet, who_is_fast_does_not_take_the_others_wakeup)
{
    for (unsigned nth = 1; nth <= 3; nth++) {
        struct rendezvous *r = new_place();
        struct subject *slow = START(meet_twice, SHARE("place", r),
                                     HOLD("sem_wait", nth, "stopped"));

        await_asleep(slow);
        struct subject *fast = START(meet_twice, SHARE("place", r));
        let_go(fast, "again");
        await_asleep(fast);
        EXPECT(!was_told(fast, "meet 2"),
               "a second time that waits for the other one's second time",
               "it took the wakeup that was the other one's");
        let_go(slow, "stopped");
        await(slow, "meet 1");
        expect_return(slow, "meet 1", 0);
        await_asleep(fast);
        EXPECT(!was_told(fast, "meet 2"),
               "a second time that waits for the other one's second time",
               "it has returned, and the other one has not come again");
        let_go(slow, "again");
        finish(slow);
        finish(fast);
        expect_return(slow, "meet 2", 0);
        expect_return(fast, "meet 2", 0);
    }
}

/* Two that meet as late as can be: a gives up after that time, and stands still
 * when it has waited so often; now b comes, and comes again. */
struct late {
    struct subject *a, *b;
};

HELPER struct late meet_late(struct rendezvous *r, int ms, unsigned nth,
                             struct give fault)
{
    struct late l;

    l.a = START_MEET(r, ms, HOLD_AFTER("sem_wait", nth, "has waited"), fault);
    await_asleep(l.a);
    if (!was_told(l.a, "has waited"))
        await(l.a, "meet 1");
    l.b = START(meet_twice, SHARE("place", r));
    let_go(l.b, "again");
    await_asleep(l.b);
    if (was_told(l.a, "has waited"))
        let_go(l.a, "has waited");
    finish(l.a);
    await_asleep(l.b);
    return l;
}

/* Others come until b has met twice; then all is as at the start. */
HELPER void end_late(struct rendezvous *r, struct late l)
{
    for (int i = was_told(l.b, "meet 1"); i < 2; i++) {
        struct subject *c = START_MEET(r, -1, NOTHING);
        finish(c);
        expect_return(c, "meet 1", 0);
    }
    finish(l.b);
    expect_return(l.b, "meet 1", 0);
    expect_return(l.b, "meet 2", 0);
    meet_now(r);
}

TEST(meet, a_signal_is_nobody)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct rendezvous *r = new_place();
        struct subject *a = START_MEET(r, -1, FAIL("sem_wait", nth, 2, EINTR));

        await_asleep(a);
        EXPECT(!was_told(a, "meet 1"), "a wait that goes on",
               "meet returned %lld when a signal came (EINTR)",
               got_int(a, "meet 1"));
        struct subject *b = START_MEET(r, -1, NOTHING);
        finish(a);
        finish(b);
        expect_return(a, "meet 1", 0);
        expect_return(b, "meet 1", 0);
        meet_now(r);
    }
    for (unsigned nth = 3; nth <= 4; nth++) {
        struct rendezvous *r = new_place();

        struct late l = meet_late(r, 10, 2, FAIL("sem_wait", nth, 2, EINTR));
        EXPECT(got_int(l.a, "meet 1") == 0 ||
                   got_errno(l.a, "meet 1") == ETIMEDOUT,
               "a wait that goes on",
               "meet returned -1 when a signal came (%s)",
               errno_name(got_errno(l.a, "meet 1")));
        int mutex = value_of(&r->mutex);
        EXPECT(mutex <= 1, "the mutex at 1 when nobody has it",
               "a value of %d: after EINTR it was not held, and was posted",
               mutex);
        if (got_int(l.a, "meet 1") == 0)
            end_late(r, l);
        else /* whether that is right, another test looks at */
            kill_subject(l.b);
    }
}

TEST(meet, who_gave_up_is_not_here)
{
    struct rendezvous *r = new_place();

    for (int ms = BELOW_FOR_EVER_MS; ms <= 40; ms += ms < 0 ? -ms : 40) {
        struct subject *a = START_MEET(r, ms, NOTHING);
        finish(a);
        expect_error(a, "meet 1", ms < 0 ? EINVAL : ETIMEDOUT);
    }
    struct subject *b = START_MEET(r, -1, NOTHING);
    await_asleep(b);
    EXPECT(!was_told(b, "meet 1"), "a wait for another one",
           "it has met one who has given up");
    struct subject *c = START_MEET(r, -1, NOTHING);
    finish(b);
    finish(c);
    expect_return(b, "meet 1", 0);
    expect_return(c, "meet 1", 0);
    meet_now(r);
}

/* One gives up while the other one comes. */
TEST(meet, who_is_found_at_the_last_moment_has_met)
{
    for (int i = 0; i < 4; i++) {
        struct rendezvous *r = new_place();

        struct late l = meet_late(r, i % 2 * 10, 2 + (unsigned)i / 2, NOTHING);
        bool met = was_told(l.b, "meet 1");
        EXPECT((got_int(l.a, "meet 1") == 0) == met,
               "both have met, or neither",
               met ? "one has met, and the other one returned ETIMEDOUT"
                   : "one has met, and the other one waits");
        end_late(r, l);
    }
}
