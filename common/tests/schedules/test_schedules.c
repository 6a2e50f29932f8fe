/* test_schedules.c - the scheduler on cases with a known answer. */
#include "kit.h"

#include "schedules.h"
#include "tests/fails.h"

/* Explores a case that is right, or fails with the words. */
HELPER void try_case(struct subject *s, const struct exploration *e, bool right,
                     const char *words)
{
    if (right) {
        explore(s, e);
        finish(s);
        return;
    }
    if (witnessed()) {
        FAILS(strstr(words, "seen: a ") ? TIMED_OUT : FAILED, explore(s, e));
        says(words);
        says("replay: ");
    }
    kill_subject(s);
}

/* ---- sums ----------------------------------------------------------------- */

HELPER struct sum *sum(void)
{
    return given_shared("sum", NULL);
}

HELPER void sum_prepare(void)
{
    memset(sum(), 0, sizeof(struct sum));
    sum_init(sum());
}

HELPER void sum_role_0(void)
{
    sum_add(sum(), (enum way)given_int("way"), 0, 1);
}

HELPER void sum_role_1(void)
{
    sum_add(sum(), (enum way)given_int("way"), 1, 10);
}

HELPER void sum_tell(void)
{
    tell_int("sum", sum()->total + sum()->atomic_total);
}

SCENARIO(sums)
{
    run_schedules(&(struct small_case){.prepare = sum_prepare,
                                       .roles = {sum_role_0, sum_role_1},
                                       .check = sum_tell});
}

HELPER void is_eleven(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "sum", 11);
}

HELPER struct subject *start_sums(enum way way)
{
    return START(sums, SHARE("sum", new_shared(sizeof(struct sum))),
                 INT("way", way));
}

TEST(sums, right_ways_have_no_wrong_schedule)
{
    for (enum way way = 0; way < FIRST_WRONG; way++)
        try_case(start_sums(way),
                 &(struct exploration){.preemptions = 1,
                                       .drawn = 5,
                                       .buffered = way == WITH_PETERSON ||
                                                   way == WITH_DEKKER,
                                       .check = is_eleven},
                 true, "");
}

TEST(sums, wrong_ways_are_found)
{
    for (enum way way = FIRST_WRONG; way < WAYS; way++)
        try_case(start_sums(way),
                 &(struct exploration){
                     .preemptions = 2, .buffered = true, .check = is_eleven},
                 false, "schedules.c:");
}

HELPER void counts_for_ever(void)
{
    sum_count_for_ever(sum());
}

SCENARIO(without_end)
{
    run_schedules(&(struct small_case){.prepare = sum_prepare,
                                       .roles = {sum_role_0, counts_for_ever}});
}

TEST(sums, one_that_goes_on_for_ever)
{
    try_case(START(without_end, SHARE("sum", new_shared(sizeof(struct sum))),
                   INT("way", WITH_ATOMIC_ADD)),
             &(struct exploration){.preemptions = 1}, false,
             "seen: a busy loop: more than");
}

/* ---- once ----------------------------------------------------------------- */

HELPER struct once_only *once_only(void)
{
    return given_shared("once", NULL);
}

HELPER void once_prepare(void)
{
    memset(once_only(), 0, sizeof(struct once_only));
    once_init(once_only());
}

HELPER void once_role_0(void)
{
    tell_int("first", once_get(once_only(), (enum once)given_int("how")));
}

HELPER void once_role_1(void)
{
    tell_int("second", once_get(once_only(), (enum once)given_int("how")));
}

SCENARIO(onces)
{
    run_schedules(&(struct small_case){.prepare = once_prepare,
                                       .roles = {once_role_0, once_role_1}});
}

HELPER void both_see_seven(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "first", 7);
    expect_int(s, "second", 7);
}

TEST(once, double_checked_initialisation)
{
    for (enum once how = ONCE_RIGHT; how <= ONCE_EARLY_FLAG; how++)
        try_case(
            START(onces, SHARE("once", new_shared(sizeof(struct once_only))),
                  INT("how", how)),
            &(struct exploration){.preemptions = 1, .check = both_see_seven},
            how == ONCE_RIGHT, "schedules.c:");
}

/* ---- conditions ----------------------------------------------------------- */

HELPER struct happening *happening(void)
{
    return given_shared("happening", NULL);
}

HELPER void happening_prepare(void)
{
    memset(happening(), 0, sizeof(struct happening));
    happening_init(happening());
}

HELPER void happening_role_0(void)
{
    tell_int("happened",
             happening_wait(happening(), (enum event_way)given_int("way")));
}

HELPER void happening_role_1(void)
{
    happening_set(happening(), (enum event_way)given_int("way"));
}

SCENARIO(happenings)
{
    run_schedules(
        &(struct small_case){.prepare = happening_prepare,
                             .roles = {happening_role_0, happening_role_1}});
}

TEST(conditions, lost_wakeups)
{
    const enum event_way ways[] = {EVENT_RIGHT, EVENT_NO_MUTEX,
                                   EVENT_SIGNAL_FIRST};

    for (size_t i = 0; i < 3; i++) {
        try_case(START(happenings,
                       SHARE("happening", new_shared(sizeof(struct happening))),
                       INT("way", ways[i])),
                 &(struct exploration){.preemptions = 2},
                 ways[i] == EVENT_RIGHT, "seen: a hang: in this one");
        if (ways[i] != EVENT_RIGHT && witnessed())
            says("cond_wait, waits");
    }
}

HELPER void futex_role_0(void)
{
    futex_wait(happening(), (enum futex_way)given_int("way"));
}

HELPER void futex_role_1(void)
{
    futex_set(happening(), (enum futex_way)given_int("way"));
}

SCENARIO(futexes)
{
    run_schedules(&(struct small_case){.prepare = happening_prepare,
                                       .roles = {futex_role_0, futex_role_1}});
}

TEST(conditions, futexes)
{
    const enum futex_way ways[] = {FUTEX_RIGHT, FUTEX_OF_A_LATE_LOOK,
                                   FUTEX_OF_ONE_PROCESS};

    for (size_t i = 0; i < 3; i++) {
        try_case(START(futexes,
                       SHARE("happening", new_shared(sizeof(struct happening))),
                       INT("way", ways[i])),
                 &(struct exploration){.preemptions = 1, .wakes = 1},
                 ways[i] == FUTEX_RIGHT, "seen: a hang: in this one");
        if (ways[i] != FUTEX_RIGHT && witnessed())
            says("futex, waits");
    }
}

HELPER void it_has_happened(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "happened", 1);
}

/* One waits and one signals: only a wait that ends without a signal shows it. */
TEST(conditions, wakes_without_a_signal)
{
    const enum event_way ways[] = {EVENT_RIGHT, EVENT_IF};

    for (size_t i = 0; i < 2; i++)
        for (unsigned wakes = 0; wakes < 2; wakes++)
            try_case(
                START(happenings,
                      SHARE("happening", new_shared(sizeof(struct happening))),
                      INT("way", ways[i])),
                &(struct exploration){
                    .preemptions = 1, .wakes = wakes, .check = it_has_happened},
                ways[i] == EVENT_RIGHT || wakes == 0, "wakes without a signal");
}

HELPER void token_taker(void)
{
    CALL("left", token_take(happening(), given_int("loop")));
}

HELPER void token_putter(void)
{
    token_put(happening());
    token_put(happening());
}

HELPER void tell_tokens(void)
{
    tell_int("tokens", happening()->tokens);
}

SCENARIO(tokens)
{
    run_schedules(
        &(struct small_case){.prepare = happening_prepare,
                             .roles = {token_taker, token_taker, token_putter},
                             .check = tell_tokens});
}

HELPER void none_missing(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_at_least(s, "left", 0);
    expect_int(s, "tokens", 0);
}

TEST(conditions, if_for_while)
{
    for (int loop = 0; loop < 2; loop++)
        try_case(START(tokens,
                       SHARE("happening", new_shared(sizeof(struct happening))),
                       INT("loop", loop)),
                 &(struct exploration){.preemptions = loop ? 0 : 1,
                                       .check = none_missing},
                 loop, "token_take(happening()");
}

/* ---- two locks ------------------------------------------------------------ */

HELPER struct pair *pair(void)
{
    return given_shared("pair", NULL);
}

HELPER void pair_prepare(void)
{
    memset(pair(), 0, sizeof(struct pair));
    pair_init(pair());
}

HELPER void pair_role_0(void)
{
    pair_add(pair(), false);
}

HELPER void pair_role_1(void)
{
    pair_add(pair(), given_int("crosswise"));
}

SCENARIO(pairs)
{
    run_schedules(&(struct small_case){.prepare = pair_prepare,
                                       .roles = {pair_role_0, pair_role_1}});
}

TEST(locks, taken_crosswise)
{
    for (int crosswise = 0; crosswise < 2; crosswise++) {
        try_case(START(pairs, SHARE("pair", new_shared(sizeof(struct pair))),
                       INT("crosswise", crosswise)),
                 &(struct exploration){.preemptions = 2}, !crosswise,
                 "seen: a hang: in this one");
        if (crosswise && witnessed())
            says("mutex_lock, waits");
    }
}

/* ---- rings ---------------------------------------------------------------- */

HELPER struct ring *ring(void)
{
    return given_shared("ring", NULL);
}

HELPER enum ring_way ring_way(void)
{
    return (enum ring_way)given_int("way");
}

HELPER void ring_prepare(void)
{
    memset(ring(), 0, sizeof(struct ring));
}

HELPER void ring_producer(void)
{
    for (int i = 1; i <= 3; i++)
        ring_put(ring(), ring_way(), i);
}

HELPER void ring_consumer(void)
{
    int all = 0;

    for (int i = 1; i <= 3; i++)
        all = 10 * all + ring_get(ring(), ring_way());
    tell_int("all", all);
}

SCENARIO(rings)
{
    run_schedules(&(struct small_case){
        .prepare = ring_prepare, .roles = {ring_producer, ring_consumer}});
}

HELPER void all_in_order(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "all", 123);
}

TEST(rings, of_one_producer_and_one_consumer)
{
    for (enum ring_way way = RING_RIGHT; way <= RING_RELAXED_FREE; way++)
        try_case(START(rings, SHARE("ring", new_shared(sizeof(struct ring))),
                       INT("way", way)),
                 &(struct exploration){.preemptions = 1, .check = all_in_order},
                 way == RING_RIGHT, "schedules.c:");
}

HELPER struct queue *queue(void)
{
    return given_shared("queue", NULL);
}

HELPER void queue_prepare(void)
{
    memset(queue(), 0, sizeof(struct queue));
    queue_init(queue());
}

HELPER void queue_producer(void)
{
    queue_put(queue(), ring_way(), 5);
}

HELPER void queue_producer_of_two(void)
{
    queue_put(queue(), ring_way(), 7);
    queue_put(queue(), ring_way(), 7);
}

HELPER void queue_consumer(void)
{
    int all = 0;

    for (int i = 0; i < 3; i++)
        all += queue_get(queue(), ring_way());
    tell_int("all", all);
}

SCENARIO(queues)
{
    run_schedules(&(struct small_case){
        .prepare = queue_prepare,
        .roles = {queue_producer, queue_producer_of_two, queue_consumer}});
}

HELPER void all_there(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "all", 19);
}

TEST(rings, of_many_producers_and_consumers)
{
    for (enum ring_way way = RING_RIGHT; way <= RING_RELAXED_FREE; way++)
        try_case(START(queues, SHARE("queue", new_shared(sizeof(struct queue))),
                       INT("way", way)),
                 &(struct exploration){.check = all_there}, way == RING_RIGHT,
                 "schedules.c:");
}

/* ---- readers and a writer ------------------------------------------------- */

HELPER struct rw *rw(void)
{
    return given_shared("rw", NULL);
}

HELPER void rw_prepare(void)
{
    memset(rw(), 0, sizeof(struct rw));
}

HELPER void rw_reader(void)
{
    tell_int("difference", rw_read(rw(), given_int("right")));
}

HELPER void rw_writer(void)
{
    rw_write(rw(), given_int("right"));
}

SCENARIO(rws)
{
    run_schedules(&(struct small_case){.prepare = rw_prepare,
                                       .roles = {rw_reader, rw_writer}});
}

HELPER void no_difference(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "difference", 0);
}

TEST(locks, readers_that_let_a_writer_in)
{
    for (int right = 0; right < 2; right++)
        try_case(
            START(rws, SHARE("rw", new_shared(sizeof(struct rw))),
                  INT("right", right)),
            &(struct exploration){.preemptions = 1, .check = no_difference},
            right, "schedules.c:");
}

/* ---- readers that keep coming --------------------------------------------- */

HELPER struct visits *visits(void)
{
    return given_shared("visits", NULL);
}

HELPER void visits_prepare(void)
{
    memset(visits(), 0, sizeof(struct visits));
    visits_init(visits());
}

HELPER void visits_reader(void)
{
    for (int i = 0; i < 3; i++)
        visits_read(visits(), (enum visits_way)given_int("way"), may_switch);
}

HELPER void visits_reader_of_one(void)
{
    visits_read(visits(), (enum visits_way)given_int("way"), may_switch);
}

HELPER void visits_writer(void)
{
    visits_write(visits(), may_switch);
}

SCENARIO(visits_of_two)
{
    run_schedules(&(struct small_case){
        .prepare = visits_prepare, .roles = {visits_reader, visits_writer}});
}

TEST(locks, a_writer_that_starves)
{
    for (int way = VISITS_RIGHT; way <= VISITS_GREEDY; way++)
        try_case(START(visits_of_two,
                       SHARE("visits", new_shared(sizeof(struct visits))),
                       INT("way", way)),
                 &(struct exploration){.preemptions = 1, .patience = 1},
                 way == VISITS_RIGHT, "it starves");
}

SCENARIO(visits_of_three)
{
    run_schedules(&(struct small_case){
        .prepare = visits_prepare,
        .roles = {visits_reader_of_one, visits_writer, visits_reader_of_one}});
}

/* The writer has always waited longer than a reader. */
TEST(locks, a_signal_that_wakes_another)
{
    for (int newest = 0; newest < 2; newest++)
        for (int way = VISITS_RIGHT; way <= VISITS_OF_SIGNAL; way++)
            try_case(
                START(visits_of_three,
                      SHARE("visits", new_shared(sizeof(struct visits))),
                      INT("way", way)),
                &(struct exploration){.preemptions = 1, .newest_first = newest},
                way != VISITS_OF_SIGNAL || !newest,
                "seen: a hang: in this one");
}

/* ---- a free list ---------------------------------------------------------- */

HELPER struct list *list(void)
{
    return given_shared("list", NULL);
}

HELPER void list_prepare(void)
{
    memset(list(), 0, sizeof(struct list));
    list_init(list());
}

HELPER void list_role_0(void)
{
    list_take(list(), given_int("counted"));
    list_take(list(), given_int("counted"));
}

HELPER void list_role_1(void)
{
    int first = list_take(list(), given_int("counted"));

    list_take(list(), given_int("counted"));
    list_give(list(), given_int("counted"), first);
}

HELPER void tell_owners(void)
{
    int most = 0;

    for (int i = 0; i < 3; i++)
        if (list()->owners[i] > most)
            most = list()->owners[i];
    tell_int("most", most);
}

SCENARIO(lists)
{
    run_schedules(&(struct small_case){.prepare = list_prepare,
                                       .roles = {list_role_0, list_role_1},
                                       .check = tell_owners});
}

HELPER void one_owner(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "most", 1);
}

TEST(lists, a_head_that_is_the_same_again)
{
    for (int counted = 0; counted < 2; counted++)
        try_case(START(lists, SHARE("list", new_shared(sizeof(struct list))),
                       INT("counted", counted)),
                 &(struct exploration){.preemptions = 1, .check = one_owner},
                 counted, "schedules.c:");
}

/* ---- deaths --------------------------------------------------------------- */

HELPER struct account *account(void)
{
    return given_shared("account", NULL);
}

HELPER void account_prepare(void)
{
    memset(account(), 0, sizeof(struct account));
    account_init(account());
}

HELPER void account_mover(void)
{
    account_move(account(), given_int("repairs"), 5);
}

/* Who comes after the dead repairs what they left. */
HELPER void tell_account(void)
{
    account_move(account(), given_int("repairs"), 0);
    tell_int("all", account()->from + account()->to);
}

SCENARIO(accounts)
{
    run_schedules(&(struct small_case){.prepare = account_prepare,
                                       .roles = {account_mover, account_mover},
                                       .check = tell_account});
}

HELPER void nothing_lost(struct subject *s, unsigned deaths)
{
    (void)deaths;
    expect_int(s, "all", 100);
}

TEST(deaths, of_a_holder_at_every_step)
{
    for (int repairs = 0; repairs < 2; repairs++)
        try_case(START(accounts,
                       SHARE("account", new_shared(sizeof(struct account))),
                       INT("repairs", repairs)),
                 &(struct exploration){.deaths = 1, .check = nothing_lost},
                 repairs, "dies here");
}
