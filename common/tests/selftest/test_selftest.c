/*
 * test_selftest.c - the judge's own tests: what kit.h promises, held against
 * functions that each do one thing wrong.
 *
 * See fails.h for FAILS().
 */
#include "kit.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "selftest.h"
#include "tests/fails.h"

/* ---- values ---------------------------------------------------------------- */

SCENARIO(tell_everything)
{
    tell_int("int", -7);
    tell_str("str", "a \"text\"");
    tell_bytes("none", "", 0);
    CALL("answer", answer(42));
    CALL("refused", refuse(ENOSPC));
    CALL_PTR("address", no_address());
    tell_int("int", 8);
}

TEST(values, told_values_arrive_and_the_last_one_counts)
{
    struct subject *s = START(tell_everything, NOTHING);
    size_t size;

    finish(s);
    expect_int(s, "int", 8);
    expect_str(s, "str", "a \"text\"");
    got_bytes(s, "none", &size);
    EXPECT(size == 0, "no bytes", "%zu", size);
    got_copy(s, "none", &size, 0);
    FAILS(FAILED, got_copy(s, "none", &size, sizeof(size)));
    says("expected: none, 8 bytes");
    says("seen: 0 bytes");
    expect_return(s, "answer", 42);
    expect_at_least(s, "answer", 42);
    expect_error(s, "refused", ENOSPC);
    expect_error(s, "address", ENOMEM);
    expect_nothing_left(s);
}

TEST(values, a_wrong_value_is_said_in_the_words_of_the_call)
{
    struct subject *s = START(tell_everything, NOTHING);

    finish(s);
    FAILS(FAILED, expect_return(s, "answer", 41));
    says("expected: 41");
    says("seen: answer(42) returned 42");
    FAILS(FAILED, expect_error(s, "refused", EINVAL));
    says("expected: -1 with errno EINVAL");
    says("seen: refuse(ENOSPC) returned -1 with errno ENOSPC");
    FAILS(FAILED, expect_pointer(s, "address"));
    says("no_address() returned NULL with errno ENOMEM");
    FAILS(FAILED, expect_int(s, "int", -7));
    says("expected: int is -7\nseen: 8");
    FAILS(FAILED, expect_str(s, "str", "b\n"));
    says("expected: str is \"b\\n\"");
    FAILS(FAILED, expect_int(s, "nothing", 1));
    says("gets to the point \"nothing\"");
}

SCENARIO(call_with_what_was_given)
{
    CALL("number", answer((int)given_int("number")));
    CALL("descriptor", answer(given_fd("end")));
    CALL("text", answer((int)strlen(given_str("a text"))));
    CALL("long", answer((int)strlen(given_str("long"))));
    CALL("memory", answer(*(int *)given_shared("memory", NULL)));
    CALL("two", answer((given_int("number") > 0 ? 1 : 2) + *"given_int"));
}

TEST(values, a_call_is_shown_with_what_it_was_given)
{
    char text[300] = "";
    struct subject *s;

    memset(text, 'x', sizeof(text) - 1);
    s = START(call_with_what_was_given, INT("number", -3),
              FD("end", new_pipe().r), STR("a text", "a \"b\""),
              STR("long", text), SHARE("memory", new_shared(sizeof(int))));
    finish(s);
    FAILS(FAILED, expect_return(s, "number", 0));
    says("seen: answer(-3) returned -3");
    FAILS(FAILED, expect_return(s, "descriptor", 0));
    says("seen: answer(3) returned 3");
    FAILS(FAILED, expect_return(s, "text", 0));
    says("seen: answer((int)strlen(\"a \"b\"\")) returned 5");
    FAILS(FAILED, expect_return(s, "long", 0));
    says("xxxxxxxx returned 299");
    FAILS(FAILED, expect_return(s, "memory", 1));
    says("seen: answer(*memory) returned 0");
    FAILS(FAILED, expect_return(s, "two", 0));
    says("seen: answer((-3 > 0 ? 1 : 2) + *\"given_int\") returned 105");
}

SCENARIO(echo_bytes)
{
    size_t size;
    const void *data = given_bytes("data", &size);

    tell_bytes("data", data, size);
}

TEST(values, a_megabyte_comes_back_whole)
{
    static unsigned char data[1 << 20];

    fill_random(data, sizeof(data));

    struct subject *s = START(echo_bytes, BYTES("data", data, sizeof(data)));

    finish(s);
    expect_bytes(s, "data", data, sizeof(data));
    data[70000] ^= 1;
    FAILS(FAILED, expect_bytes(s, "data", data, sizeof(data)));
    says("at offset 70000");
}

SCENARIO(call_stub)
{
    CALL("ret", not_written());
}

TEST(values, what_a_stub_returns_is_not_started)
{
    struct subject *s = START(call_stub, NOTHING);

    finish(s);
    FAILS(NOT_STARTED, expect_return(s, "ret", 0));
    says("it is still to be written");
}

SCENARIO(ask_for_what_is_not_there)
{
    given_int("nothing");
}

TEST(values, a_test_that_hands_over_too_little_fails)
{
    FAILS(FAILED, {
        struct subject *s = START(ask_for_what_is_not_there, NOTHING);
        finish(s);
    });
    says("the test did not hand over \"nothing\"");
}

/* ---- descriptors and steps ---------------------------------------------------- */

SCENARIO(copy_in)
{
    char buf[100] = "";

    CALL("got", good_read_full(given_fd("in"), buf, sizeof(buf)));
    tell_bytes("data", buf, sizeof(buf));
    tell_int("in", given_fd("in"));
    tell_int("out", given_fd("out"));
}

TEST(steps, the_judge_plays_the_peer_in_steps)
{
    struct ends in = new_pipe(), out = new_pipe();
    char data[100];
    struct subject *s = START(copy_in, FD("in", in.r), FD("out", out.w));

    fill_random(data, sizeof(data));
    peer_write(in.w, data, 40);
    await_blocked(s, "read");
    peer_write(in.w, data + 40, 60);
    finish(s);
    expect_return(s, "got", 100);
    expect_bytes(s, "data", data, 100);
    expect_int(s, "in", 3);
    expect_int(s, "out", 4);
    peer_expect_eof(out.r);
}

SCENARIO(pass_gates)
{
    reached("first");
    wait_for("go");
    reached("second");
    if (fork() == 0) {
        wait_for("child");
        reached("third");
        _exit(0);
    }
    wait_for("end");
    while (wait(NULL) > 0)
        ;
}

TEST(steps, a_process_that_waits_in_any_call_is_seen_asleep)
{
    struct ends in = new_pipe(), out = new_pipe();
    struct subject *s = START(copy_in, FD("in", in.r), FD("out", out.w));
    struct subject *gate = START(pass_gates, NOTHING);

    await_asleep(s);
    await_asleep(gate);
    EXPECT(was_told(gate, "first"), "it got that far", "it did not");
    shut(&in.w);
    let_go(gate, "go");
    let_go(gate, "child");
    let_go(gate, "end");
    finish(s);
    finish(gate);
    await_asleep(s);
}

TEST(steps, a_frozen_process_goes_on_when_it_is_thawed)
{
    struct ends in = new_pipe(), out = new_pipe();
    struct subject *s = START(copy_in, FD("in", in.r), FD("out", out.w));

    await_blocked(s, "read");
    freeze(s);
    shut(&in.w);
    await_asleep(s);
    EXPECT(!was_told(s, "got"), "it stands still", "it has read");
    thaw(s);
    finish(s);
    expect_return(s, "got", 0);
}

TEST(steps, gates_hold_every_process_until_they_are_opened)
{
    struct subject *s = START(pass_gates, NOTHING);

    await(s, "first");
    EXPECT(!was_told(s, "second"), "the gate holds", "it does not");
    let_go(s, "go");
    await(s, "second");
    EXPECT(!was_told(s, "third"), "the gate holds", "it does not");
    let_go(s, "child");
    await(s, "third");
    let_go(s, "end");
    finish(s);
    expect_nothing_left(s);
}

SCENARIO(write_shared)
{
    size_t size;
    int *shared = given_shared("area", &size);

    shared[0] = 7;
    tell_int("size", (long long)size);
    tell_int("fd", given_fd("in"));
}

TEST(steps, shared_memory_is_shared_and_takes_no_number)
{
    struct ends in = new_pipe();
    int *shared = new_shared(8192);
    struct subject *s =
        START(write_shared, SHARE("area", shared), FD("in", in.r));

    finish(s);
    EXPECT(shared[0] == 7, "7", "%d", shared[0]);
    expect_int(s, "size", 8192);
    expect_int(s, "fd", 3);
}

SCENARIO(tell_address)
{
    wait_for("go");
    tell_int("at", (long long)(uintptr_t)given_shared("area", NULL));
}

/* Also when one has ended before the other begins. */
TEST(steps, shared_memory_is_at_another_address_in_each_process)
{
    void *shared = new_shared(8192);
    struct subject *s[3];

    for (int i = 0; i < 3; i++) {
        s[i] = START(tell_address, SHARE("area", shared));
        let_go(s[i], "go");
        if (i > 0)
            finish(s[i]);
    }
    finish(s[0]);
    for (int i = 0; i < 3; i++)
        EXPECT(got_int(s[i], "at") != got_int(s[(i + 1) % 3], "at"),
               "three addresses", "twice the same one");
}

SCENARIO(die_in_between)
{
    char byte;

    (void)!read(given_fd("fd"), &byte, 1);
    call_abort();
}

TEST(steps, a_stream_that_ends_with_its_process_is_told_as_that)
{
    static char much[1 << 20];
    int fds[2];

    for (int reads = 0; reads <= 1; reads++) {
        new_socketpair(fds);
        struct subject *s = START(die_in_between, FD("fd", fds[1]));
        if (reads) {
            peer_write(fds[0], "x", 1);
            FAILS(CRASHED, peer_read(fds[0], much, 10));
            says("expected: your program writes 10 bytes");
        } else {
            FAILS(CRASHED, peer_write(fds[0], much, sizeof(much)));
            says("expected: your program reads 1048576 bytes");
        }
        says("SIGABRT");
        finish_by_signal(s);
    }
}

SCENARIO(refuse_and_wait)
{
    if (CALL("refused", refuse(ENOSPC)) == 0)
        reached("later");
    wait_for("go");
}

TEST(steps, a_wait_behind_a_call_that_failed_says_what_it_returned)
{
    struct subject *s = START(refuse_and_wait, NOTHING);

    FAILS(FAILED, await(s, "later"));
    says("refuse(ENOSPC) returned -1 with errno ENOSPC");
    let_go(s, "go");
    finish(s);
}

SCENARIO(wait_a_minute)
{
    nap_in_poll(60000);
}

/* No hang, since it ends by itself; await_asleep would wait for its end. */
TEST(steps, a_wait_with_a_time_out_is_still)
{
    struct subject *s = START(wait_a_minute, NOTHING);

    await_still(s);
    EXPECT(!was_told(s, "later"), "it waits", "it has returned");
    kill_subject(s);
}

SCENARIO(wait_by)
{
    CALL("wait",
         wait_a_minute_by((enum until)given_int("call"), given_str("name")));
}

/* Held once it has read the clock and is about to wait. */
static const char *const until_calls[] KIT_UNUSED = {
    [UNTIL_COND_TIMEDWAIT] = "pthread_cond_timedwait",
    [UNTIL_COND_CLOCKWAIT] = "pthread_cond_clockwait",
    [UNTIL_MUTEX_TIMEDLOCK] = "pthread_mutex_timedlock",
    [UNTIL_MUTEX_CLOCKLOCK] = "pthread_mutex_clocklock",
    [UNTIL_RDLOCK_TIMED] = "pthread_rwlock_timedrdlock",
    [UNTIL_RDLOCK_CLOCK] = "pthread_rwlock_clockrdlock",
    [UNTIL_WRLOCK_TIMED] = "pthread_rwlock_timedwrlock",
    [UNTIL_WRLOCK_CLOCK] = "pthread_rwlock_clockwrlock",
    [UNTIL_SEM_TIMEDWAIT] = "sem_timedwait",
    [UNTIL_SEM_CLOCKWAIT] = "sem_clockwait",
    [UNTIL_MQ_TIMEDRECEIVE] = "mq_timedreceive",
    [UNTIL_MQ_TIMEDSEND] = "mq_timedsend",
    [UNTIL_NANOSLEEP] = "clock_nanosleep",
    [UNTIL_FUTEX] = "futex",
    [UNTIL_TIMER] = "timer_settime",
    [UNTIL_TIMERFD] = "timerfd_settime"};

HELPER struct subject *start_to_wait(int call, unsigned passes_ms)
{
    char member[40];
    struct subject *s;

    snprintf(member, sizeof(member), "=%s", until_calls[call]);
    s = START(wait_by, INT("call", call), STR("name", new_name()),
              HOLD(member, 1, "held"));
    await(s, "held");
    if (call < UNTIL_TIMER) {
        long long ns = call_wait_ns(s, member, 0);

        EXPECT(ns > 0 && ns <= 60 * 1000000000LL, "a minute, or less by now",
               "%lld ns of %s", ns, until_calls[call]);
        FAILS(FAILED, expect_short_waits(s, member));
        says("waits of 20 ms at most, then a look");
    }
    time_passes(s, passes_ms);
    let_go(s, "held");
    return s;
}

TEST(steps, time_that_passes_ends_a_wait_until_a_point_in_time)
{
    for (int call = 0; call < UNTIL_END; call++) {
        struct subject *s = start_to_wait(call, 60001);

        finish(s);
        expect_return(s, "wait",
                      call < UNTIL_NANOSLEEP || call == UNTIL_FUTEX ? ETIMEDOUT
                                                                    : 0);
    }
    for (int call = 0; call < UNTIL_NANOSLEEP; call += 4) {
        struct subject *s = start_to_wait(call, 30000);

        await_still(s);
        EXPECT(!was_told(s, "wait"), "it waits", "it has returned");
        kill_subject(s);
    }
}

SCENARIO(read_clocks_twice)
{
    long long before[CLOCK_WAYS];
    char name[20];

    for (int way = 0; way < CLOCK_WAYS; way++)
        before[way] = read_clock(way);
    wait_for("later");
    for (int way = 0; way < CLOCK_WAYS; way++) {
        snprintf(name, sizeof(name), "clock %d", way);
        tell_int(name, read_clock(way) - before[way]);
    }
}

TEST(steps, time_passes_on_every_clock)
{
    struct subject *s = START(read_clocks_twice, NOTHING);
    struct subject *other = START(read_clocks_twice, NOTHING);
    char name[20];

    await_asleep(s);
    await_asleep(other);
    time_passes(s, 99999500);
    time_passes(s, 500);
    let_go(s, "later");
    let_go(other, "later");
    finish(s);
    finish(other);
    for (int way = 0; way < CLOCK_WAYS; way++) {
        snprintf(name, sizeof(name), "clock %d", way);
        expect_at_least(s, name, 100000);
        EXPECT(got_int(other, name) < 100000, "the time of one scenario alone",
               "that of another one, too");
    }
}

TOOL(add_arguments)
{
    printf("%s=%d\n", argv[0], atoi(argv[1]) + atoi(argv[2]));
    return 3;
}

SCENARIO(run_tool)
{
    char **words = TOOL_ARGV("add_arguments", (char *)"40", (char *)"2");

    fflush(NULL);
    dup2(given_fd("out"), STDOUT_FILENO);
    execv(words[0], words);
}

TEST(steps, a_tool_is_a_program_of_its_own)
{
    struct ends out = new_pipe();
    char buf[64] = "";
    struct subject *s = START(run_tool, FD("out", out.w));

    peer_read(out.r, buf, sizeof(buf) - 1);
    EXPECT(strcmp(buf, "add_arguments=42\n") == 0, "42", "%s", buf);
    FAILS(CRASHED, finish(s));
    says("exit status 3");
}

/* ---- hangs ------------------------------------------------------------------------ */

SCENARIO(hang)
{
    switch (given_int("how")) {
    case 0:
        read_own_pipe();
        break;
    case 1:
        read_pipe_of_child();
        break;
    case 2:
        write_full_pipe();
        break;
    case 3:
        wait_for_sleeping_child();
        break;
    case 4:
        wait_on_semaphore_set();
        break;
    case 5:
        receive_from_empty_queue();
        break;
    case 6:
        lock_mutex_twice();
        break;
    case 7:
        stop_itself();
        break;
    case 8:
        accept_nobody();
        break;
    }
}

HELPER void hangs(int how)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(hang, INT("how", how));
        finish(s);
    });
    says("a hang");
}

#ifdef KIT_JUDGE
/* Words that the judge finds in the process itself: not under Valgrind, whose
 * own the stack and the signals are. */
HELPER void says_native(const char *words)
{
    if (!under_valgrind())
        says(words);
}
#else
HELPER void says_native(const char *words)
{
    (void)words;
}
#endif

TEST(hangs, a_reader_that_holds_the_write_end_is_told_so)
{
    hangs(0);
    says("is blocked in read(fd 3, a pipe)");
    says_native("in read_own_pipe (selftest.c:");
    says("the write end of that pipe is still open in pid");
    says("itself (fd 4)");
    says("close the write end before reading");
}

TEST(hangs, the_child_that_holds_the_write_end_is_named)
{
    hangs(1);
    says("is blocked in read(fd 3, a pipe)");
    says_native("in read_pipe_of_child (selftest.c:");
    says("there is no end of file before all are closed");
    says("is blocked in pause");
}

TEST(hangs, a_full_pipe_that_nobody_reads_is_told)
{
    hangs(2);
    says("is blocked in write(fd 4, a pipe)");
    says("the pipe is full");
}

TEST(hangs, a_wait_for_a_child_names_the_child)
{
    hangs(3);
    says("is blocked in wait4 for its child pid");
    says_native("in wait_for_sleeping_child (selftest.c:");
}

TEST(hangs, a_semaphore_set_is_named_with_its_values)
{
    hangs(4);
    says("is blocked in semop(set ");
    says("its values: 0");
}

TEST(hangs, an_empty_queue_is_named_with_the_type_waited_for)
{
    hangs(5);
    says("msgrcv(queue ");
    says("type 5");
    says("0 messages");
}

TEST(hangs, a_mutex_is_named)
{
    hangs(6);
    says("futex (a mutex, condition or semaphore");
    says_native("in lock_mutex_twice (selftest.c:");
}

TEST(hangs, a_process_that_stopped_itself_is_told)
{
    hangs(7);
    says("is stopped (SIGSTOP)");
}

TEST(hangs, a_server_that_nobody_calls_is_told)
{
    hangs(8);
    says("is blocked in accept");
}

SCENARIO(read_in)
{
    char byte;

    CALL("got", good_read_full(given_fd("in"), &byte, 1));
}

TEST(hangs, the_pipe_is_called_as_the_test_called_it)
{
    struct ends in = new_pipe();
    struct subject *s = START(read_in, FD("in", in.r));

    FAILS(TIMED_OUT, finish(s));
    says("read(fd 3, the pipe \"in\")");
    says("the test itself");
}

SCENARIO(turn)
{
    turn_for_ever();
}

TEST(hangs, a_busy_loop_is_told_by_its_processor_time)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(turn, NOTHING);
        finish(s);
    });
    says("a busy loop");
    says_native("in turn_for_ever (selftest.c:");
}

SCENARIO(take)
{
    take_memory(64 << 20);
}

TEST(hangs, a_busy_loop_that_holds_much_memory_is_told_by_that)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(take, NOTHING);
        finish(s);
    });
    says_native("memory without end: your program has taken 6");
}

SCENARIO(nap)
{
    nap_for_ever((int)given_int("way"));
}

TEST(hangs, code_that_looks_and_sleeps_is_asleep)
{
    for (int way = 0; way < NAP_WAYS; way++) {
        struct subject *s = START(nap, INT("way", way));

        await_asleep(s);
        EXPECT(call_wait_ns(s, "nanosleep", 0) == 1000000, "1000000 ns",
               "%lld in way %d", call_wait_ns(s, "nanosleep", 0), way);
        expect_short_waits(s, "nanosleep");
        kill_subject(s);
    }
}

TEST_WITHIN(hangs, code_that_looks_and_sleeps_ends_at_the_deadline, 300)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(nap, INT("way", 0));
        finish(s);
    });
    says("the time is up");
}

/* ---- crashes and ends ----------------------------------------------------------------- */

SCENARIO(crash)
{
    switch (given_int("how")) {
    case 0:
        use_null();
        break;
    case 1:
        use_failed_address();
        break;
    case 2:
        divide_by(0);
        break;
    case 3:
        call_abort();
        break;
    case 4:
        overflow_stack(0);
        break;
    case 5:
        child_crashes();
        break;
    case 6:
        end_process(0, false);
        break;
    case 7:
        end_process(0, true);
        break;
    case 8:
        kill_parent();
        pause();
        break;
    case 9:
        CALL("ret", kill_everybody());
        break;
    }
}

HELPER void crashes(int how)
{
    FAILS(CRASHED, {
        struct subject *s = START(crash, INT("how", how));
        finish(s);
    });
}

TEST(crashes, a_null_pointer_is_told_with_its_place)
{
    crashes(0);
    says("SIGSEGV");
    says_native("a null pointer was used");
    says_native("in use_null (selftest.c:");
}

TEST(crashes, the_address_of_a_failed_shmat_is_recognised)
{
    crashes(1);
    says_native("(void *)-1");
    says_native("in use_failed_address (selftest.c:");
}

TEST(crashes, other_signals_are_named)
{
    crashes(2);
    says("SIGFPE");
    crashes(3);
    says("SIGABRT");
    says_native("in call_abort (selftest.c:");
    crashes(4);
    says("SIGSEGV");
}

TEST(crashes, exit_in_the_function_is_no_success)
{
    crashes(6);
    says("your code ended the process itself, with exit status 0");
    crashes(7);
    says("exit status 0");
}

TEST(crashes, what_has_died_is_not_taken_for_what_waits)
{
    FAILS(CRASHED, await_asleep(START(crash, INT("how", 3))));
    says("expected: your program waits, or returns");
    says("SIGABRT");
    FAILS(CRASHED, await_still(START(crash, INT("how", 7))));
    says("exit status 0");

    struct subject *s = START(nap, INT("way", 0));
    kill_subject(s);
    await_asleep(s); /* the test has ended it */
}

TEST(crashes, a_child_that_crashes_is_noted)
{
    struct subject *s = START(crash, INT("how", 5));

    finish(s);
    FAILS(FAILED, EXPECT(false, "a note", "none"));
    says_native("met SIGSEGV at address 0");
}

SCENARIO(return_twice)
{
    CALL("ret", forget_exit());
}

TEST(crashes, a_child_that_returns_from_the_function_is_told)
{
    struct subject *s = START(return_twice, NOTHING);

    await_asleep(s);
    FAILS(FAILED, EXPECT(false, "a note", "none"));
    says("has returned from it as well: two copies of the program go on");
}

TEST(crashes, a_killed_parent_costs_this_test_only)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(crash, INT("how", 8));
        finish(s);
    });

    struct subject *again = START(tell_everything, NOTHING);

    finish(again);
    expect_return(again, "answer", 42);
}

TEST(crashes, kill_of_everybody_is_refused)
{
    struct subject *s = START(crash, INT("how", 9));

    finish(s);
    expect_error(s, "ret", EPERM);
}

SCENARIO(write_out)
{
    CALL("ret", write_to_nobody(given_fd("out")));
}

TEST(crashes, sigpipe_is_explained)
{
    struct ends out = new_pipe();

    shut(&out.r);

    struct subject *s = START(write_out, FD("out", out.w));

    FAILS(CRASHED, finish(s));
    says("SIGPIPE");
    says("nobody reads any more");

    struct ends again = new_pipe();

    shut(&again.r);
    s = START(write_out, FD("out", again.w));

    int sig = finish_by_signal(s);

    EXPECT(sig == SIGPIPE, "SIGPIPE", "%s", signal_name(sig));
}

/* ---- left behind -------------------------------------------------------------------------- */

SCENARIO(leave)
{
    switch (given_int("what")) {
    case 0:
        leave_descriptor();
        break;
    case 1:
        leave_zombie();
        break;
    case 2:
        leave_child();
        break;
    case 3:
        leave_daemon();
        break;
    case 4:
        leave_segment();
        break;
    case 5:
        leave_semaphores();
        break;
    case 6:
        leave_queue();
        break;
    case 7:
        leave_posix_memory(given_str("name"));
        break;
    case 8:
        leave_posix_semaphore(given_str("name"));
        break;
    case 9:
        leave_posix_queue(given_str("name"));
        break;
    case 10:
        leave_mapping((int)given_int("id"));
        break;
    }
}

HELPER void leaves(int what, const char *words)
{
    struct subject *s =
        START(leave, INT("what", what), STR("name", new_name()));

    finish(s);
    FAILS(FAILED, expect_nothing_left(s));
    says(words);
    left(words);
}

TEST(leftovers, a_descriptor_is_named)
{
    leaves(0, "descriptor 4: pipe:[");
    says("(the write end)");
}

TEST(leftovers, a_zombie_and_a_child_are_named)
{
    leaves(1, "nobody has waited for it");
    leaves(2, "it still runs after the function has returned");
}

TEST(leftovers, system_v_objects_are_named)
{
    leaves(4, "SysV segment id ");
    leaves(5, "SysV semaphore set id ");
    leaves(6, "SysV message queue id ");
}

TEST(leftovers, posix_objects_are_named)
{
#ifdef KIT_JUDGE
    if (access("/dev/shm", W_OK) == -1)
        return; /* a machine without POSIX shared memory has none to leave */
#endif
    leaves(7, "POSIX shared memory /kit-");
    leaves(8, "POSIX semaphore /kit-");
}

SCENARIO(leave_files)
{
    leave_file("left.txt");
    leave_socket("left.sock");
    leave_file(given_str("path"));
}

TEST(leftovers, files_and_sockets_are_named_and_removed)
{
#ifdef KIT_JUDGE
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/tmp%s", new_name());

    struct subject *s = START(leave_files, STR("path", path));

    finish(s);
    if (options.shared) { /* /tmp is not the run's own: nothing is removed */
        unlink(path);
        return;
    }
    FAILS(FAILED, expect_nothing_left(s));
    says("temporary file /tmp/kit-");
    leftovers_objects(true);
    EXPECT(stat(path, &st) == -1, "it is removed", "it stays");
#endif
}

SCENARIO(close_all)
{
    close_everything();
}

TEST(hangs, code_that_closes_the_descriptors_of_others_is_told_so)
{
    FAILS(TIMED_OUT, {
        struct subject *s = START(close_all, NOTHING);
        finish(s);
    });
    says("has closed a descriptor that it did not open");
}

TEST(leftovers, a_mapping_is_named)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

    REQUIRE(id != -1);
    judges_object('m', id);

    struct subject *s = START(leave, INT("what", 10), INT("id", id));

    finish(s);
    FAILS(FAILED, expect_nothing_left(s));
    says("mapping of SysV segment id ");
}

TEST(leftovers, a_daemon_in_a_session_of_its_own_is_found)
{
    struct subject *s = START(leave, INT("what", 3));

    finish(s);
#ifdef KIT_JUDGE
    processes_end_all(true);
    left("it still runs after the function has returned");
#endif
}

TEST(leftovers, what_is_the_judges_own_is_not_charged)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

    REQUIRE(id != -1);
    judges_object('m', id);

    struct subject *s = START(tell_everything, NOTHING);

    finish(s);
    expect_nothing_left(s);

    for (int what = 7; what <= 8; what++) {
        const char *name = new_name();

        judges_name(what == 7 ? 'm' : 's', name);
        s = START(leave, INT("what", what), STR("name", name));
        finish(s);
        expect_nothing_left(s);
    }
}

TEST(leftovers, what_the_test_has_opened_is_not_charged)
{
#ifdef KIT_JUDGE
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = judges_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/own.sock",
             new_dir());
    REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    judges_name('f', address.sun_path);
#endif
    struct subject *s = START(tell_everything, NOTHING);
    finish(s);
    expect_nothing_left(s);
}

SCENARIO(make_private_queue)
{
    CALL("made", private_queue());
}

/* Looking for it would make one more. */
TEST(leftovers, a_private_object_is_made_once)
{
#ifdef KIT_JUDGE
    struct msginfo before, after;

    if (options.shared)
        return; /* others make queues as well */
    REQUIRE(msgctl(0, MSG_INFO, (struct msqid_ds *)&before) != -1);
    struct subject *s = START(make_private_queue, NOTHING);
    finish(s);
    expect_return(s, "made", 0);
    expect_nothing_left(s);
    REQUIRE(msgctl(0, MSG_INFO, (struct msqid_ds *)&after) != -1);
    EXPECT(before.msgpool == after.msgpool, "as many queues as before",
           "%d, not %d", after.msgpool, before.msgpool);
#endif
}

SCENARIO(bomb)
{
    fork_for_ever();
}

TEST(leftovers, a_fork_bomb_is_ended)
{
#ifdef KIT_JUDGE
    struct process *list;

    FAILS(TIMED_OUT, {
        struct subject *s = START(bomb, NOTHING);
        finish(s);
    });
    processes_end_all(false);

    size_t n = processes_list(&list);

    free(list);
    EXPECT(n == 0, "no process", "%zu", n);
#endif
}

/* ---- faults and calls -------------------------------------------------------------------- */

SCENARIO(read_100)
{
    char buf[100];

    CALL("good", good_read_full(given_fd("in"), buf, sizeof(buf)));
    tell_bytes("data", buf, sizeof(buf));
    CALL("naive", naive_read(given_fd("in"), buf, sizeof(buf)));
}

HELPER struct subject *read_with(struct give fault)
{
    struct ends in = new_pipe();
    char data[200];
    struct subject *s = START(read_100, FD("in", in.r), fault);

    fill_random(data, sizeof(data));
    peer_write(in.w, data, sizeof(data));
    finish(s);
    expect_return(s, "good", 100);
    expect_bytes(s, "data", data, 100);
    return s;
}

TEST(faults, short_and_interrupted_reads_show_the_missing_loop)
{
    expect_return(read_with(SHORT("read", 1, 1000, 7)), "naive", 7);
    expect_error(read_with(FAIL("read", 2, 1, EINTR)), "naive", EINTR);
    expect_return(read_with(FAIL("read", 9, 1, EINTR)), "naive", 100);
    expect_error(read_with(FAIL("=read", 2, 1, EIO)), "naive", EIO);
    expect_return(read_with(FAIL("=recv", 2, 1, EIO)), "naive", 100);
}

SCENARIO(read_and_write_pieces)
{
    char by = (char)given_int("by");
    char text[10];

    CALL("written", write_pieces(given_fd("fd"), by, "0123456789"));
    memset(text, '.', sizeof(text));
    CALL("read", read_pieces(given_fd("fd"), by, text));
    tell_bytes("text", text, sizeof(text));
}

/* A transfer ends in the middle of a piece. */
TEST(faults, a_transfer_of_pieces_can_be_short)
{
    static const char by[] = {'v', 'm'};
    char got[10];
    int fds[2];

    for (int i = 0; i < 2; i++) {
        new_socketpair(fds);
        struct subject *s =
            START(read_and_write_pieces, FD("fd", fds[1]), INT("by", by[i]),
                  SHORT("write", 1, 1, 5), SHORT("read", 1, 1, 8));
        EXPECT(peer_read(fds[0], got, 5) == 5 && memcmp(got, "01234", 5) == 0,
               "the first five bytes", "others");
        peer_write(fds[0], "abcdefghij", 10);
        finish(s);
        expect_return(s, "written", 5);
        expect_return(s, "read", 8);
        expect_bytes(s, "text", "abcdefgh..", 10);
        EXPECT(peer_read_now(fds[0], got, 1) == 0, "no more bytes", "some");
    }
}

SCENARIO(lock_and_sync)
{
    CALL("done", lock_and_sync(given_str("path")));
}

TEST(faults, calls_on_files_are_recorded_and_can_fail)
{
    static const char *const calls[] = {"lockf", "=fallocate", "=fdatasync",
                                        "mremap"};
    char path[200];

    snprintf(path, sizeof(path), "%s/file", new_dir());
    judges_name('f', path);
    for (int i = -1; i < 4; i++) {
        struct subject *s = i == -1 ? START(lock_and_sync, STR("path", path))
                                    : START(lock_and_sync, STR("path", path),
                                            FAIL(calls[i], 1, 1, ENOLCK));
        finish(s);
        if (i == -1)
            expect_return(s, "done", 0);
        else
            expect_error(s, "done", ENOLCK);
    }
}

TEST(faults, a_seeded_plan_is_met_by_right_code_for_every_seed)
{
    for (int seed = 1; seed <= 5; seed++)
        read_with(CHAOS(seed));
}

SCENARIO(make_segments)
{
    CALL("first", make_segment((key_t)given_int("key"), 4096));
    CALL("second", make_segment_loudly((key_t)given_int("key"), 4096));
}

TEST(faults, calls_are_recorded_with_arguments_and_results)
{
    key_t key = new_key();
    struct subject *s = START(make_segments, INT("key", key));

    finish(s);
    expect_at_least(s, "first", 0);
    expect_error(s, "second", EEXIST);
    judges_object('m', (int)got_int(s, "first"));
    EXPECT(calls_made(s, "shmget") == 2, "2 calls", "%u",
           calls_made(s, "shmget"));
    EXPECT(call_argument(s, "shmget", 1, 0) == key, "the key", "another");
    EXPECT(call_argument(s, "shmget", 1, 1) == 4096, "4096", "another");
    EXPECT(call_result(s, "shmget", 0) == got_int(s, "first"), "the id",
           "another");
    EXPECT(calls_made(s, "write") == 0, "stdio is not the student's", "%u",
           calls_made(s, "write"));
    expect_called(s, "shmget");
    expect_not_called(s, "mmap");
    FAILS(FAILED, expect_not_called(s, "shmget"));
    FAILS(FAILED, expect_called(s, "mmap"));
}

TEST(faults, a_planned_failure_does_nothing)
{
    struct subject *s = START(make_segments, INT("key", new_key()),
                              FAIL("shmget", 1, 2, ENOSPC));

    finish(s);
    expect_error(s, "first", ENOSPC);
    expect_error(s, "second", ENOSPC);
    expect_nothing_left(s);
}

SCENARIO(remove_segment)
{
    int id = (int)given_int("id");

    CALL("info", shm_control(id, IPC_STAT));
    CALL("removed", shm_control(id, IPC_RMID));
}

TEST(faults, a_fault_can_mean_one_command_of_a_call)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

    REQUIRE(id != -1);
    judges_object('m', id);

    struct subject *s = START(remove_segment, INT("id", id),
                              FAIL_WHEN("shmctl", 1, IPC_RMID, 1, 1, EINVAL));

    finish(s);
    expect_return(s, "info", 0);
    expect_error(s, "removed", EINVAL);
}

TEST(faults, an_object_that_the_run_did_not_make_stays)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    struct shmid_ds ds;

    REQUIRE(id != -1);

    struct subject *s = START(remove_segment, INT("id", id));

    finish(s);

    bool stays = shmctl(id, IPC_STAT, &ds) == 0;

    shmctl(id, IPC_RMID, NULL);
    expect_error(s, "removed", EPERM);
    EXPECT(stays, "the segment stays", "it is gone");
}

/* ---- race control ------------------------------------------------------------------------- */

struct arena {
    struct overlap overlap;
    sem_t lock;
};

HELPER void body(void *arg)
{
    overlap_enter(arg);
    overlap_leave(arg);
}

SCENARIO(compete)
{
    struct arena *a = given_shared("arena", NULL);

    CALL("ret", with_lock((enum lock_kind)given_int("kind"), &a->lock, body,
                          &a->overlap));
}

HELPER struct arena *compete_for(enum lock_kind kind, struct subject *s[2])
{
    struct arena *a = new_shared(sizeof(*a));

    if (kind != LOCK_SPIN)
        REQUIRE(sem_init(&a->lock, 1, 1) == 0);
    for (int i = 0; i < 2; i++)
        s[i] = START(compete, SHARE("arena", a), INT("kind", kind));
    return a;
}

TEST(races, right_locks_are_seen_to_exclude)
{
    for (enum lock_kind kind = LOCK_SEM; kind <= LOCK_SPIN; kind++) {
        struct subject *s[2];
        struct arena *a = compete_for(kind, s);

        expect_alone(&a->overlap);
        finish(s[0]);
        finish(s[1]);
        EXPECT(atomic_load(&a->overlap.most) == 1, "1", "more");
        EXPECT(atomic_load(&a->overlap.entries) == 2, "2", "other");
    }
}

TEST(races, wrong_locks_are_seen_to_overlap)
{
    for (enum lock_kind kind = LOCK_NONE; kind <= LOCK_EARLY; kind++) {
        struct subject *s[2];
        struct arena *a = compete_for(kind, s);

        FAILS(FAILED, expect_alone(&a->overlap));
        says("2 in it at once");
        finish(s[0]);
        finish(s[1]);
    }
}

/* ---- schedules ---------------------------------------------------------------------------- */

SCENARIO(write_words)
{
    CALL("written", good_write_all(given_fd("out"), "words", 5));
}

TEST(schedules, a_process_is_held_before_a_call_and_after_it)
{
    struct ends p = new_pipe();
    char buf[5];
    struct subject *s =
        START(write_words, LEND_FD("out", p.w), HOLD("write", 1, "before"),
              HOLD_AFTER("write", 1, "after"));

    await(s, "before");
    await_asleep(s);
    EXPECT(peer_read_now(p.r, buf, sizeof(buf)) == 0, "nothing yet", "bytes");
    let_go(s, "before");
    await(s, "after");
    EXPECT(peer_read_now(p.r, buf, sizeof(buf)) == 5, "5 bytes", "others");
    EXPECT(!was_told(s, "written"), "no result yet", "a result");
    let_go(s, "after");
    finish(s);
    expect_return(s, "written", 0);
}

SCENARIO(init_flag)
{
    flag_init(given_shared("flag", NULL));
}

SCENARIO(wait_flag)
{
    CALL("wait", flag_wait(given_shared("flag", NULL), given_int("loop") == 1));
}

SCENARIO(set_flag)
{
    CALL("set", flag_set(given_shared("flag", NULL), given_int("lock") == 1));
}

HELPER struct flag *new_flag(void)
{
    struct flag *f = new_shared(sizeof(*f));

    finish(START(init_flag, SHARE("flag", f)));
    return f;
}

/* The one who waits has looked, and is held before it sleeps. */
HELPER struct subject *set_meanwhile(bool with_lock)
{
    struct flag *f = new_flag();
    struct subject *s = START(wait_flag, SHARE("flag", f), INT("loop", 1),
                              HOLD("pthread_cond_wait", 1, "about to wait"));

    await(s, "about to wait");
    await_asleep(START(set_flag, SHARE("flag", f), INT("lock", with_lock)));
    let_go(s, "about to wait");
    return s;
}

TEST(schedules, a_lost_wakeup_shows_every_time)
{
    struct subject *s = set_meanwhile(false);

    FAILS(TIMED_OUT, finish(s));
    says("a hang");
}

TEST(schedules, a_wakeup_under_the_mutex_is_not_lost)
{
    struct subject *s = set_meanwhile(true);

    finish(s);
    expect_return(s, "wait", 1);
}

TEST(schedules, a_wait_may_end_without_a_signal)
{
    struct flag *f = new_flag();
    struct subject *s =
        START(wait_flag, SHARE("flag", f), INT("loop", 0), SPURIOUS(1, 1));

    finish(s);
    expect_return(s, "wait", 0);
    s = START(wait_flag, SHARE("flag", f), INT("loop", 1), SPURIOUS(1, 2));
    await_blocked(s, "futex");
    EXPECT(calls_made(s, "pthread_cond_wait") == 3, "3 waits", "%u",
           calls_made(s, "pthread_cond_wait"));
    EXPECT(call_wait_ns(s, "pthread_cond_wait", 2) == -1, "no time-out",
           "one of %lld ns", call_wait_ns(s, "pthread_cond_wait", 2));
    finish(START(set_flag, SHARE("flag", f), INT("lock", 1)));
    finish(s);
    expect_return(s, "wait", 1);
}

/* ---- what orders two accesses -------------------------------------------------------------- */

SCENARIO(write_note)
{
    struct note *n = given_shared("note", NULL);

    wait_for("go");
    CALL("write", note_write(n, (enum order)given_int("order"), "news"));
}

SCENARIO(read_note)
{
    struct note *n = given_shared("note", NULL);
    char text[sizeof(n->text)];

    wait_for("go");
    CALL("read", note_read(n, (enum order)given_int("order"), text));
    tell_str("text", text);
}

/* One writes, then the other one reads. */
HELPER void pass_note(enum order order)
{
    struct note *n = new_shared(sizeof(*n));
    struct subject *w =
        START(write_note, SHARE("note", n), INT("order", order));
    struct subject *r = START(read_note, SHARE("note", n), INT("order", order));

    let_go(w, "go");
    finish(w);
    let_go(r, "go");
    finish(r);
    expect_str(r, "text", "news");
}

TEST(order, a_release_that_was_acquired_orders)
{
    pass_note(ORDER_RIGHT);
    expect_no_race();
}

TEST(order, fences_order_relaxed_accesses)
{
    pass_note(ORDER_FENCES);
    expect_no_race();
}

TEST(order, weak_orders_are_told_by_name)
{
    const struct {
        enum order order;
        const char *says;
    } cases[] = {
        {ORDER_RELAXED_STORE, "memory_order_relaxed: it does not release"},
        {ORDER_RELAXED_LOAD, "memory_order_relaxed: it does not acquire"},
        {ORDER_PLAIN, "nothing orders these two: selftest.c:"},
        {ORDER_LATE, "nothing orders these two: selftest.c:"}};

    for (size_t i = 0; i < 4 && witnessed(); i++) {
        pass_note(cases[i].order);
        FAILS(FAILED, expect_no_race());
        says(cases[i].says);
        says("of \"note\"; selftest.c:");
#ifdef KIT_JUDGE
        witness_reset();
#endif
    }
}

SCENARIO(make_latch)
{
    wait_for("go");
    CALL("make",
         latch_make(given_shared("latch", NULL), given_int("releases")));
}

SCENARIO(use_latch)
{
    wait_for("go");
    CALL("use", latch_use(given_shared("latch", NULL)));
}

SCENARIO(destroy_latch)
{
    wait_for("go");
    CALL("destroy", latch_destroy(given_shared("latch", NULL)));
}

/* One makes it, then another one uses it and, where they are to, a third
 * destroys it. */
HELPER void make_and_use_latch(bool releases, bool destroy)
{
    struct latch *l = new_shared(sizeof(*l));
    struct subject *s[] = {
        START(make_latch, SHARE("latch", l), INT("releases", releases)),
        START(use_latch, SHARE("latch", l)),
        START(destroy_latch, SHARE("latch", l))};

    for (int i = 0; i < (destroy ? 3 : 2); i++) {
        let_go(s[i], "go");
        finish(s[i]);
    }
    if (!destroy)
        kill_subject(s[2]);
}

TEST(order, a_mutex_is_initialised_before_it_is_used)
{
    const struct {
        bool releases, destroy;
        const char *says[2];
    } cases[] = {{true, false, {NULL, NULL}},
                 {false, false, {"initialises bytes 0 to ", "uses them"}},
                 {true, true, {"initialises bytes 0 to ", "destroys them"}}};

    for (size_t i = 0; i < 3 && witnessed(); i++) {
        make_and_use_latch(cases[i].releases, cases[i].destroy);
        if (cases[i].says[0] == NULL) {
            expect_no_race();
        } else {
            FAILS(FAILED, expect_no_race());
            says(cases[i].says[0]);
            says(cases[i].says[1]);
        }
#ifdef KIT_JUDGE
        witness_reset();
#endif
    }
}

SCENARIO(add_twice)
{
    struct flag *f = given_shared("flag", NULL);

    wait_for("go");
    CALL("add", flag_add(f, (enum guard)given_int("guard"), 7));
}

HELPER void add_one_after_the_other(enum guard guard)
{
    struct flag *f = new_flag();
    struct subject *s[2];

    for (int i = 0; i < 2; i++)
        s[i] = START(add_twice, SHARE("flag", f), INT("guard", guard));
    for (int i = 0; i < 2; i++) {
        let_go(s[i], "go");
        finish(s[i]);
    }
    EXPECT(f->is_set == 14, "14", "%d", f->is_set);
}

TEST(order, a_shared_mutex_orders)
{
    add_one_after_the_other(GUARD_SHARED);
    expect_no_race();
}

TEST(order, what_is_no_lock_for_both_does_not_order)
{
    for (enum guard g = GUARD_NONE; g <= GUARD_EARLY && witnessed(); g++) {
        add_one_after_the_other(g);
        FAILS(FAILED, expect_no_race());
        says("writes");
        says("of \"flag\"");
#ifdef KIT_JUDGE
        witness_reset();
#endif
    }
}

SCENARIO(add_and_hang)
{
    struct flag *f = given_shared("flag", NULL);

    wait_for("go");
    CALL("add", flag_add(f, (enum guard)given_int("guard"), 7));
    read_own_pipe();
}

/* What is behind a hang may be a race, of which chance has made a hang. */
TEST(order, a_hang_is_told_with_its_race)
{
    for (enum guard g = GUARD_SHARED; g <= GUARD_NONE; g++) {
        struct flag *f = new_flag();
        struct subject *s[2];

        for (int i = 0; i < 2; i++)
            s[i] = START(add_and_hang, SHARE("flag", f), INT("guard", g));
        for (int i = 0; i < 2; i++)
            let_go(s[i], "go");
        for (int i = 0; i < 2; i++)
            await(s[i], "add");
        FAILS(TIMED_OUT, finish(s[0]));
        says("is blocked in read");
        if (g == GUARD_NONE && witnessed())
            says("\nnothing orders these two: ");
#ifdef KIT_JUDGE
        else
            EXPECT(strstr(expected_failure.message, "nothing orders") == NULL,
                   "no race", "one");
#endif
    }
}

SCENARIO(add_elsewhere)
{
    int *n = given_shared("n", NULL);

    CALL("child", add_in_child(n, 21));
    CALL("thread", add_in_thread(n, 21, true));
    if (given_int("race") == 1)
        add_in_thread(n, 21, false);
}

TEST(order, fork_wait_create_and_join_order)
{
    struct subject *s = START(
        add_elsewhere, SHARE("n", new_shared(sizeof(int))), INT("race", 0));

    finish(s);
    expect_return(s, "child", 42);
    expect_return(s, "thread", 42);
    expect_no_race();
}

TEST(order, a_thread_that_was_not_joined_is_not_ordered)
{
    struct subject *s = START(
        add_elsewhere, SHARE("n", new_shared(sizeof(int))), INT("race", 1));

    finish(s);
    if (!witnessed())
        return;
    FAILS(FAILED, expect_no_race());
    says("another thread of pid");
}

SCENARIO(store_note)
{
    note_write(given_shared("note", NULL), ORDER_RIGHT, "news");
}

TEST(order, a_process_is_held_at_a_store)
{
    struct note *n = new_shared(sizeof(*n));

    if (!witnessed())
        return;

    struct subject *s = START(store_note, SHARE("note", n),
                              HOLD("=atomic_store", 1, "written, not said"));

    await(s, "written, not said");
    EXPECT(strcmp(n->text, "news") == 0, "the text", "none");
    EXPECT(atomic_load(&n->ready) == 0, "not said", "said");
    let_go(s, "written, not said");
    finish(s);
    EXPECT(atomic_load(&n->ready) == 1, "said", "not said");
}

/* ---- hostile -------------------------------------------------------------------------------- */

SCENARIO(forge)
{
    write_into_all_descriptors();
}

TEST(hostile, junk_in_every_descriptor_is_no_verdict)
{
    struct subject *s = START(forge, NOTHING);

    finish(s);
    FAILS(FAILED, expect_return(s, "ret", 0));
}

SCENARIO(fine)
{
}

SCENARIO(leave_the_test_alone)
{
    CALL("ret", leave_alone(given_fd("fd"), (int)given_int("how")));
}

#ifdef KIT_JUDGE
static void require_the_other_end(int how, enum status status)
{
    int fds[2];
    struct subject *s;

    new_socketpair(fds);
    s = START(leave_the_test_alone, FD("fd", fds[1]), INT("how", how));
    if (how == LEAVE_BY_CLOSE)
        await_still(s);
    else
        FAILS(CRASHED, await_still(s));
    FAILS(status, REQUIRE(send(fds[0], "x", 1, MSG_NOSIGNAL) == 1));
}
#endif

TEST(hostile, an_other_end_that_has_exited_is_not_the_kits_fault)
{
#ifdef KIT_JUDGE
    require_the_other_end(LEAVE_BY_EXIT, CRASHED);
    says("expected: your program goes on while the test needs it");
    says("with exit status 7");
#endif
}

TEST(hostile, an_other_end_that_was_killed_is_not_the_kits_fault)
{
#ifdef KIT_JUDGE
    require_the_other_end(LEAVE_BY_KILL, CRASHED);
    says("ended by SIGKILL");
#endif
}

TEST(hostile, an_other_end_that_was_closed_is_not_the_kits_fault)
{
#ifdef KIT_JUDGE
    require_the_other_end(LEAVE_BY_CLOSE, FAILED);
    says("seen: your program has closed or removed it: send(");
    says("(EPIPE)");
    FAILS(BROKEN, REQUIRE(chdir("/no/such/folder") == 0));
#endif
}

TEST(hostile, a_scenario_that_is_not_there_is_the_kits_fault)
{
#ifdef KIT_JUDGE
    FAILS(BROKEN, (start_subject)("missing", (struct give[]){NOTHING}));
    says("there is no scenario \"missing\"");
#endif
    finish(START(fine, NOTHING));
}

SCENARIO(flood)
{
    print_for_ever();
}

TEST(hostile, a_flood_of_output_ends)
{
    struct subject *s = START(flood, NOTHING);

    FAILS(TIMED_OUT, finish(s));
    says("output without end");
}

TEST(hostile, a_flood_of_output_ends_at_the_limit_of_a_file)
{
#ifdef KIT_JUDGE
    struct rlimit small = {1 << 20, 1 << 20};
    struct subject *s;

    /* The grader sets this limit for the whole run: lower it for this test. */
    s = START(flood, NOTHING);
    REQUIRE(prlimit(subject_pid(s), RLIMIT_FSIZE, &small, NULL) == 0);
    FAILS(CRASHED, finish(s));
    says("SIGXFSZ");
#endif
}

/* ---- one process, several scenarios ------------------------------------------------------- */

SCENARIO(leave_in)
{
    pthread_mutex_t *lock = given_shared("lock", NULL);

    CALL("left", leave_in_process((enum left_in_process)given_int("what"),
                                  (int)given_int("set"), lock));
    CALL("times", times_called());
}

#ifdef KIT_JUDGE

static bool is_there(struct subject *s)
{
    return process_state(subject_pid(s)) != '?';
}

static pthread_mutex_t *new_robust_lock(void)
{
    pthread_mutex_t *lock = new_shared(sizeof(*lock));
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    REQUIRE(pthread_mutex_init(lock, &attr) == 0);
    return lock;
}

static int new_set_of_one(void)
{
    int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);

    REQUIRE(id != -1 && semctl(id, 0, SETVAL, 1) == 0);
    judges_object('s', id);
    return id;
}

#endif

TEST(workers, what_has_left_something_ends)
{
#ifdef KIT_JUDGE
    int set = new_set_of_one();

    for (int what = LEFT_NOTHING; what < LEFT_END; what++) {
        struct subject *s = START(leave_in, INT("what", what), INT("set", set),
                                  SHARE("lock", new_robust_lock()));

        finish(s);
        expect_return(s, "left", 0);
        expect_return(s, "times", 1);
        EXPECT(is_there(s) == (under_valgrind() && what == LEFT_NOTHING),
               "only what has left nothing stays, under Valgrind", "%d: %d",
               what, is_there(s));
    }
    REQUIRE(semctl(set, 0, GETVAL) == 1);
#endif
}

SCENARIO(count_again)
{
    CALL("times", times_called());
    CALL("forked", fork_and_wait());
    CALL("left", leave_in_process(LEFT_NOTHING, 0, NULL));
}

TEST(workers, a_process_that_has_left_nothing_runs_the_next_scenario)
{
#ifdef KIT_JUDGE
    struct subject *first = START(count_again, NOTHING);
    pid_t pid = subject_pid(first);

    finish(first);
    for (int i = 0; i < 5; i++) {
        struct subject *s = START(count_again, NOTHING);

        finish(s);
        expect_return(s, "times", 1);
        expect_return(s, "forked", 0);
        EXPECT((subject_pid(s) == pid) == under_valgrind(),
               "the same process, under Valgrind", "%d and %d", (int)pid,
               (int)subject_pid(s));
        EXPECT(!under_valgrind() || s->nchildren == 1, "its child is known",
               "%u", s->nchildren);
    }
#endif
}

TEST(workers, two_at_a_time_are_two)
{
    struct subject *a = START(count_again, NOTHING);
    struct subject *b = START(count_again, NOTHING);

    EXPECT(subject_pid(a) != subject_pid(b), "two processes", "%d twice",
           (int)subject_pid(a));
    finish(b);
    finish(a);
}

TEST(workers, one_that_does_not_sleep_counts_again)
{
#ifdef KIT_JUDGE
    struct subject *s = START(count_again, NOTHING);

    finish(s);
    if (under_valgrind()) {
        struct process *list;

        REQUIRE(processes_list(&list) == 0);
        free(list);
        REQUIRE(kill(subject_pid(s), SIGSTOP) == 0);
        while (process_state(subject_pid(s)) == 'S')
            sched_yield();
        processes_end_all(false);
        EXPECT(!is_there(s), "it has been ended", "it is there");
    }
    finish(START(count_again, NOTHING));
#endif
}
