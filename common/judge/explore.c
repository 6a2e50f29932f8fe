/*
 * explore.c - every schedule of a small case, within bounds.
 *
 * The subject runs one schedule at a time and lists its steps
 * (subject/schedule.c).  A schedule is a list of choices: before this step,
 * that role goes on.  From each run follow the schedules that have one choice
 * more, later than its last one: so each is met once (Musuvathi and Qadeer,
 * "Iterative Context Bounding", 2007).  A choice that takes the turn from a
 * role that could go on is a preemption; others are free.
 *
 * Only where it can matter is a role preempted: before a step at something
 * that another role gets at as well, one of the two to change it.  Taken
 * before any other step, the turn could as well be taken at the next such one.
 * What is shared is known from the steps seen; where a later schedule shows
 * more of it, all begins anew.  From a wait for a condition a role may wake
 * before any call of another's: it has to take the mutex then.
 *
 * Schedules that differ only in the order of steps which have nothing to do
 * with each other (Mazurkiewicz, "Trace Theory", 1987) come to the same state:
 * from there on only the first one is followed, as long as it has not cost
 * more preemptions.
 */
#include "judge.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include "../mix.h"
#include "subjects.h"

enum {
    SPOTS = 1 << 13, /* a power of 2 */
    KNOWN = 64,
    COSTS = 8,
    STATES = 1 << 16, /* that are remembered */
    MOST_SCHEDULES = 20000,
    CELL_BYTES = 8,
    SHOWN_STEPS = 40,
    COLUMN = 22
};

struct plan {
    struct choice choices[CHOICES];
    uint32_t nchoices;
    uint8_t preemptions, deaths, wakes;
};

static const struct plan none;

/* Something that steps are made at: 8 bytes of memory, or an object. */
struct spot {
    bool used, asked; /* was it taken for unshared? */
    uint64_t object, number;
    uint8_t readers, writers; /* roles, as bits */
    uint32_t run;             /* whose steps the hashes below are of */
    uint64_t changed, looked; /* last change; the looks since, summed */
};

/* The state that a schedule has come to, and who goes on there. */
struct state {
    uint64_t hash; /* 0: unused */
    uint8_t preemptions;
};

struct stack {
    struct plan *plans;
    size_t n, room;
};

static struct exploring {
    struct subject *subject; /* NULL: nothing is explored now */
    const struct exploration *is;
    struct stack stacks[COSTS]; /* by what a plan costs */
    struct spot *spots;
    struct state *states; /* at most half of the places are used */
    size_t nstates, room;
    bool grown;       /* something asked about has turned out to be shared */
    struct plan plan; /* that runs now */
    uint64_t known[KNOWN][2];
    size_t nknown;
    uint64_t seed;
    bool buffered, newest_first;
} x;

static struct schedule *schedule(void)
{
    return &x.subject->area->schedule;
}

/* ---- what is shared ------------------------------------------------------ */

static uint64_t mix(uint64_t a, uint64_t b)
{
    return mixed((a ^ (b * 0x9e3779b97f4a7c15u)) + 0x632be59bd9b4e019u);
}

static struct spot *spot_at(uint64_t object, uint64_t number)
{
    size_t at = mix(object, number) % SPOTS;

    for (size_t k = 0; k < SPOTS; k++) {
        struct spot *p = &x.spots[(at + k) % SPOTS];

        if (!p->used)
            *p =
                (struct spot){.used = true, .object = object, .number = number};
        if (p->object == object && p->number == number)
            return p;
    }
    test_fail(FAILED, NULL,
              "expected: no more bytes of shared memory in use than a right "
              "solution has\nseen: more than the test can watch");
}

static bool is_shared(const struct spot *p)
{
    uint8_t all = p->readers | p->writers;

    return p->writers != 0 && (all & (all - 1)) != 0;
}

static bool step_changes(const struct step *s)
{
    return s->kind == STEP_CALL || event_stores(s->kind);
}

/* An object that each schedule makes anew has another number each time: it is
 * told by when it is met first. */
static uint64_t same_object(const struct step *s)
{
    for (size_t i = 0; i < x.nknown; i++)
        if (x.known[i][0] == s->space && x.known[i][1] == s->object)
            return i;
    if (x.nknown == KNOWN)
        return KNOWN;
    x.known[x.nknown][0] = s->space;
    x.known[x.nknown][1] = s->object;
    return x.nknown++;
}

/* Calls each(spot, step) for what the step is made at, until one is true. */
static bool at_each_spot(const struct step *s,
                         bool (*each)(struct spot *p, const struct step *s))
{
    uint64_t size = s->size_bytes > 0 ? s->size_bytes : 1;
    uint64_t object = same_object(s);

    if (s->kind == STEP_BEGIN || s->space == SPACE_PRIVATE)
        return false;
    for (uint64_t n = s->offset / CELL_BYTES;
         n <= (s->offset + size - 1) / CELL_BYTES; n++)
        if (each(spot_at(object, n), s))
            return true;
    return false;
}

static bool note_use(struct spot *p, const struct step *s)
{
    bool before = is_shared(p);
    uint8_t role = (uint8_t)(1u << s->role);

    if (step_changes(s))
        p->writers |= role;
    else
        p->readers |= role;
    if (p->asked && !before && is_shared(p))
        x.grown = true;
    return false;
}

static bool ask(struct spot *p, const struct step *s)
{
    (void)s;
    p->asked = true;
    return is_shared(p);
}

/* ---- states that have been met -------------------------------------------- */

/* The steps so far, whatever their order where that can't be told: a step's
 * hash is made from those of the steps that it depends on. */
static struct trace {
    uint32_t run;
    uint64_t sum, ends; /* of all steps; at the last end of a role */
    uint64_t roles[MOST_ROLES];
    uint64_t step;
} trace;

static void begin_trace(void)
{
    trace = (struct trace){.run = trace.run + 1};
}

static bool depend(struct spot *p, const struct step *s)
{
    if (p->run != trace.run) {
        p->run = trace.run;
        p->changed = p->looked = 0;
    }
    trace.step = mix(trace.step, mix(p->object, p->number));
    trace.step = mix(trace.step, p->changed);
    if (step_changes(s))
        trace.step = mix(trace.step, p->looked);
    return false;
}

static bool note_dependence(struct spot *p, const struct step *s)
{
    if (step_changes(s)) {
        p->changed = trace.step;
        p->looked = 0;
    } else {
        p->looked += mix(trace.step, 1);
    }
    return false;
}

/* At a role's end the kernel gives back what it holds: all depends on that. */
static void add_to_trace(const struct step *s, bool ends)
{
    trace.step = mix(trace.roles[s->role], trace.ends);
    trace.step = mix(trace.step, (uint64_t)s->kind << 8 | s->dies);
    at_each_spot(s, depend);
    at_each_spot(s, note_dependence);
    trace.roles[s->role] = trace.step;
    trace.sum += mix(trace.step, 2);
    if (ends || s->dies)
        trace.ends = mix(trace.sum, 3);
}

/* Its place, or an unused one. */
static struct state *state_at(uint64_t hash)
{
    size_t at = hash >> 40;

    while (x.states[at % x.room].hash != 0 &&
           x.states[at % x.room].hash != hash)
        at++;
    return &x.states[at % x.room];
}

/* Small at first: a page that is touched costs more than a step. */
static void grow_states(void)
{
    struct state *old = x.states;
    size_t n = x.room;

    x.room = n > 0 ? n * 2 : 512;
    x.states = calloc(x.room, sizeof(*x.states));
    REQUIRE(x.states != NULL);
    for (size_t i = 0; i < n; i++)
        if (old[i].hash != 0)
            *state_at(old[i].hash) = old[i];
    free(old);
}

static void forget_states(void)
{
    free(x.states);
    x.states = NULL;
    x.nstates = x.room = 0;
}

/* Has this state been met, with `role` to go on, at no more preemptions?  If
 * not, now it has. */
static bool is_known(const struct step *s, int role, unsigned preemptions)
{
    uint64_t hash = mix(mix(trace.sum, s->ready), (uint64_t)role) | 1;
    struct state *k;

    if (x.buffered)
        return false; /* when a buffer is written out is no step */
    if (x.nstates == x.room / 2)
        grow_states();
    k = state_at(hash);
    if (k->hash == hash && k->preemptions <= preemptions)
        return true;
    if (k->hash == 0 && x.nstates == STATES)
        return false;
    x.nstates += k->hash == 0;
    *k = (struct state){hash, (uint8_t)preemptions};
    return false;
}

/* ---- one schedule --------------------------------------------------------- */

/* How many there are to read; the subject can change the number meanwhile. */
static uint32_t steps_made(void)
{
    uint32_t n = *(volatile uint32_t *)&schedule()->nsteps;

    return n < STEPS ? n : STEPS;
}

/* A copy, up to the first one that is of no role. */
static uint32_t read_steps(struct step *steps)
{
    uint32_t n = steps_made();

    memcpy(steps, schedule()->steps, n * sizeof(*steps));
    for (uint32_t i = 0; i < n; i++)
        if (steps[i].role < 0 || steps[i].role >= MOST_ROLES)
            return i;
    return n;
}

static void wake_explorer(void)
{
    atomic_store(&schedule()->go, 1);
    syscall(SYS_futex, &schedule()->go, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static bool schedule_has_ended(struct subject *s, void *arg)
{
    const struct value *v = told_value(s, SCHEDULE_ENDED);

    return s->ncrashes > 0 || (v != NULL && v->head.value == *(long long *)arg);
}

static void run_schedule(const struct plan *p, uint64_t seed)
{
    static uint32_t number;
    struct schedule *s = schedule();
    long long ended = ++number;

    x.plan = *p;
    x.nknown = 0;
    x.seed = seed;
    subject_forget_values(x.subject);
    witness_reset();
    s->number = number;
    s->nsteps = 0;
    s->nchoices = p->nchoices;
    memcpy(s->choices, p->choices, sizeof(s->choices));
    s->seed = seed;
    s->buffered = x.buffered;
    s->newest_first = x.newest_first;
    s->at_once = !witnessed();
    s->too_long = s->stuck = s->diverged = 0;
    s->idle_rounds = s->tickets = 0;
    s->effects = 0;
    wake_explorer();
    wait_until(x.subject, schedule_has_ended, &ended, NULL, false,
               "the processes of a small case end");
}

static bool is_in_the_body(const struct step *s)
{
    return s->kind == STEP_CALL && s->space == SPACE_NAMES &&
           strncmp(s->name, IN_THE_BODY, NAME_BYTES) == 0;
}

/* A mutex is held for short: who waits for one is not counted as one who waits. */
static bool waits_long(const struct step *s)
{
    return s->waits && strncmp(s->name, "pthread_mutex_", 14) != 0;
}

/* How often others have been in the body while a role waited to get there, or to
 * end. */
static unsigned longest_wait(void)
{
    static struct step steps[STEPS];
    uint32_t n = read_steps(steps), last[MOST_ROLES] = {0};
    unsigned passed[MOST_ROLES] = {0}, most = 0;
    bool waits[MOST_ROLES] = {false};

    for (uint32_t i = 0; i < n; i++)
        last[steps[i].role] = i;
    for (uint32_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        bool in_body = is_in_the_body(s);

        if (in_body || !waits[s->role])
            passed[s->role] = 0;
        waits[s->role] =
            (waits[s->role] || waits_long(s)) && !in_body && i < last[s->role];
        for (int role = 0; in_body && role < MOST_ROLES; role++)
            if (waits[role] && ++passed[role] > most)
                most = passed[role];
    }
    return most;
}

static void judge_patience(void)
{
    unsigned most = x.is->patience, passed = longest_wait();

    if (passed > most)
        test_fail(
            FAILED, NULL,
            "expected: one that waits is passed by others %u time%s at most\n"
            "seen: in this order of steps it is passed %u times: it starves",
            most, most == 1 ? "" : "s", passed);
}

static void judge_schedule(unsigned deaths)
{
    struct schedule *s = schedule();

    if (x.subject->ncrashes > 0)
        test_fail(CRASHED, test.location,
                  "expected: in every order of steps, each process gets on\n"
                  "seen: in this one, a process crashed");
    if (s->too_long)
        test_fail(TIMED_OUT, NULL,
                  "expected: the processes of a small case end\n"
                  "seen: a busy loop: more than %d steps, and they go on",
                  STEPS);
    if (s->stuck)
        test_fail(TIMED_OUT, NULL,
                  "expected: in every order of steps, each process gets on\n"
                  "seen: a hang: in this one, each that is left waits, and "
                  "nobody is left to wake one");
    if (!x.buffered)
        (expect_no_race)();
    if (x.is->patience != 0)
        judge_patience();
    if (x.is->check != NULL)
        x.is->check(x.subject, deaths);
}

/* ---- which ones ----------------------------------------------------------- */

static void push(struct plan p)
{
    unsigned cost = p.preemptions + p.deaths + p.wakes;
    struct stack *k = &x.stacks[cost < COSTS ? cost : COSTS - 1];

    if (k->n == k->room) {
        k->room = k->room * 2 + 64;
        k->plans = realloc(k->plans, k->room * sizeof(*k->plans));
        REQUIRE(k->plans != NULL);
    }
    k->plans[k->n++] = p;
}

/* The cheapest first: what is found is as simple as can be. */
static bool pop(struct plan *p)
{
    for (unsigned cost = 0; cost < COSTS; cost++)
        if (x.stacks[cost].n > 0) {
            *p = x.stacks[cost].plans[--x.stacks[cost].n];
            return true;
        }
    return false;
}

/* The plan with one choice more, if that is within the bounds and does not lead
 * to where another one has led already. */
static void push_longer(struct plan p, uint32_t i, const struct step *s,
                        int role)
{
    if (p.nchoices == CHOICES)
        return;
    p.choices[p.nchoices++] = (struct choice){.step = i, .role = role};
    if (role & ROLE_DIES)
        p.deaths++;
    else if (role & ROLE_WAKES)
        p.wakes++;
    else if (!s->free)
        p.preemptions++;
    if (p.preemptions <= x.is->preemptions && p.deaths <= x.is->deaths &&
        p.wakes <= x.is->wakes && !is_known(s, role, p.preemptions))
        push(p);
}

/* At a step that p has no choice for yet. */
static void push_others_at(const struct plan *p, uint32_t i,
                           const struct step *s)
{
    bool matters = at_each_spot(s, ask);

    for (int role = 0; role < MOST_ROLES; role++) {
        if ((s->free || matters) && role != s->role &&
            (s->ready >> role & 1) != 0)
            push_longer(*p, i, s, role);
        if ((s->free || s->kind == STEP_CALL) && (s->asleep >> role & 1) != 0)
            push_longer(*p, i, s, role | ROLE_WAKES);
    }
    if (matters && s->kind != STEP_BEGIN && (x.is->spared >> s->role & 1) == 0)
        push_longer(*p, i, s, s->role | ROLE_DIES);
}

static void push_others(const struct plan *p, const struct step *steps,
                        uint32_t nsteps)
{
    uint32_t first = p->nchoices > 0 ? p->choices[p->nchoices - 1].step + 1 : 0;
    uint32_t last[MOST_ROLES] = {0};

    for (uint32_t i = 0; i < nsteps; i++)
        last[steps[i].role] = i;
    begin_trace();
    for (uint32_t i = 0; i < nsteps; i++) {
        const struct step *s = &steps[i];

        if (i >= first) {
            if (is_known(s, s->role, p->preemptions))
                break;
            push_others_at(p, i, s);
        }
        add_to_trace(s, i == last[s->role]);
    }
}

static void explore_all(void)
{
    static struct step steps[STEPS];

    struct plan p;

    for (unsigned cost = 0; cost < COSTS; cost++)
        x.stacks[cost].n = 0;
    x.grown = false;
    forget_states();
    push(none);
    while (pop(&p)) {
        struct schedule *s = schedule();

        test.schedules++;
        run_schedule(&p, 0);

        uint32_t nsteps = read_steps(steps);

        for (uint32_t i = 0; i < nsteps; i++)
            at_each_spot(&steps[i], note_use);
        judge_schedule(p.deaths);
        if (test.schedules > MOST_SCHEDULES)
            test_fail(FAILED, NULL,
                      "expected: a small case of few steps\n"
                      "seen: more than %d schedules",
                      MOST_SCHEDULES);
        if (!s->diverged)
            push_others(&p, steps, nsteps);
    }
}

static void run_and_judge(const struct plan *p, uint64_t seed)
{
    run_schedule(p, seed);
    judge_schedule(p->deaths);
}

static void explore_drawn(void)
{
    for (uint64_t seed = 1; seed <= x.is->drawn; seed++) {
        test.schedules++;
        run_and_judge(&none, seed);
    }
}

static void explore_mode(bool buffered, bool newest_first)
{
    unsigned before = test.schedules;

    x.buffered = buffered;
    x.newest_first = newest_first;
    free(x.spots);
    x.spots = calloc(SPOTS, sizeof(*x.spots));
    REQUIRE(x.spots != NULL);
    do {
        test.schedules = before;
        explore_all();
    } while (x.grown);
    explore_drawn();
}

void explore_forget(void)
{
    for (unsigned cost = 0; cost < COSTS; cost++)
        free(x.stacks[cost].plans);
    free(x.spots);
    forget_states();
    x = (struct exploring){.subject = NULL};
}

static bool is_prepared(struct subject *s, void *arg)
{
    (void)arg;
    return told_value(s, SCHEDULE_ENDED) != NULL;
}

/* The choices of add_choices(), without the test's name. */
static void read_choices(const char *at)
{
    struct plan p = none;
    unsigned long long seed = 0;

    x.buffered = *at == 'b';
    x.newest_first = *at == 'n';
    at += x.buffered || x.newest_first;
    if (sscanf(at, "seed%llu", &seed) == 1)
        at = "";
    while (p.nchoices < CHOICES && *at != '\0') {
        struct choice *c = &p.choices[p.nchoices];
        int used = 0;

        if (sscanf(at, "%u:%d%n", &c->step, &c->role, &used) != 2)
            test_fail(BROKEN, NULL, "no schedule: \"%s\"", options.schedule);
        at += used;
        c->role &= ROLE_NUMBER;
        if (*at == 'x') {
            c->role |= ROLE_DIES;
            p.deaths++;
        } else if (*at == 'w') {
            c->role |= ROLE_WAKES;
        }
        at += *at == 'x' || *at == 'w';
        at += *at == ',';
        p.nchoices++;
    }
    x.plan = p;
    x.seed = seed;
}

/* One schedule alone, shown whether or not it is right. */
static void replay(void)
{
    struct text shown = {0};
    struct plan p;

    read_choices(options.schedule);
    p = x.plan;
    run_schedule(&p, x.seed);
    if (schedule()->diverged)
        printf("(the program did other steps than the schedule names)\n");
    judge_schedule(p.deaths);
    explore_add_schedule(&shown);
    printf("nothing is wrong with it%s\n", shown.at != NULL ? shown.at : "");
    text_free(&shown);
}

static void explore_within_bounds(void)
{
    if (!witnessed()) {
        run_and_judge(&none, 0);
        return;
    }
    explore_mode(false, false);
    if (x.is->buffered)
        explore_mode(true, false);
    if (x.is->newest_first)
        explore_mode(false, true);
}

void(explore)(struct subject *s, const struct exploration *e)
{
    explore_forget();
    x = (struct exploring){.subject = s, .is = e};
    wait_until(s, is_prepared, NULL, NULL, false, "the scenario begins");
    if (options.schedule != NULL) {
        if (options.debug)
            debug_scenario(s);
        replay();
    } else {
        explore_within_bounds();
    }
    subject_forget_values(s);
    schedule()->number = 0;
    wake_explorer();
    explore_forget();
}

const char *explore_role_name(pid_t pid)
{
    static const char names[MOST_ROLES][2] = {"A", "B", "C", "D"};

    for (int role = 0; role < MOST_ROLES && x.subject != NULL; role++)
        if (schedule()->roles[role].pid == (int32_t)pid)
            return names[role];
    return "";
}

/* ---- the report ------------------------------------------------------------ */

/* "name:3:1,7:0x,9:1w": before step 3 role 1 goes on, before step 7 role 0 dies,
 * before step 9 role 1 wakes; behind the colon, b or n for the mode. */
static void add_choices(struct text *t)
{
    const char *comma = "";

    text_add(t, "%s:%s", test.name,
             x.buffered       ? "b"
             : x.newest_first ? "n"
                              : "");
    if (x.seed != 0)
        text_add(t, "seed%llu", (unsigned long long)x.seed);
    for (uint32_t i = 0; i < x.plan.nchoices; i++) {
        int role = x.plan.choices[i].role;

        text_add(t, "%s%u:%d%s", comma, x.plan.choices[i].step,
                 role & ROLE_NUMBER,
                 role & ROLE_DIES    ? "x"
                 : role & ROLE_WAKES ? "w"
                                     : "");
        comma = ",";
    }
}

static const char *short_name(const char *name)
{
    return strncmp(name, "pthread_", 8) == 0 ? name + 8 : name;
}

static void add_step(struct text *t, const struct step *s, const char *line)
{
    text_add(t, "\n%*s%c  %s%s%.*s%s%s%s", s->role * COLUMN, "", 'A' + s->role,
             s->place != 0 ? line : "", s->place != 0 ? "  " : "",
             NAME_BYTES - 1, short_name(s->name),
             s->wakes ? ", wakes without a signal" : "",
             s->waits ? ", waits" : "", s->dies ? ": dies here" : "");
}

/* Is it shown with the one before it, a step of the same role? */
static bool is_same_again(const struct step *s, const char *line,
                          const struct step *before, const char *line_before)
{
    return s->role == before->role && strcmp(line, line_before) == 0 &&
           strncmp(s->name, before->name, NAME_BYTES) == 0 &&
           s->waits == before->waits && !s->dies && !s->wakes;
}

/* The steps as lines, a role a column; of many the last ones, in which it goes
 * wrong. */
void explore_add_schedule(struct text *t)
{
    static char lines[STEPS][LINE_BYTES];
    static struct step steps[STEPS];
    static uint32_t shown[STEPS];
    uint32_t n, nshown = 0, first;

    if (x.subject == NULL)
        return;
    n = read_steps(steps);
    if (n == 0)
        return;
    lines_of(steps, n, lines);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t last = nshown > 0 ? shown[nshown - 1] : 0;

        if (steps[i].kind != STEP_BEGIN &&
            (nshown == 0 ||
             !is_same_again(&steps[i], lines[i], &steps[last], lines[last])))
            shown[nshown++] = i;
    }
    text_add(t, "\nthe schedule, one process a column:");
    first = nshown > SHOWN_STEPS ? nshown - SHOWN_STEPS : 0;
    if (first > 0)
        text_add(t, "\n(%u steps before these)", first);
    for (uint32_t i = first; i < nshown; i++)
        add_step(t, &steps[shown[i]], lines[shown[i]]);
    text_add(t, "\nreplay: ");
    add_choices(t);
}
