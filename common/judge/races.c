/*
 * races.c - are the accesses to shared memory ordered?
 *
 * The subject's runtime has listed what the student's code did
 * (subject/witness.c).  Here each task, a thread of a process, gets a vector
 * clock (Mattern, "Virtual Time and Global States of Distributed Systems",
 * 1989): the last event of every other task that is known to lie before its
 * own.  A release leaves the releaser's clock at the object, an acquire takes
 * it from there.  Two accesses to a byte, at least one of them a store and at
 * least one not atomic, of which neither lies before the other, are a data
 * race (C11, 5.1.2.4 paragraph 25).
 *
 * Memory is looked at in cells of 8 bytes, each of which remembers its latest
 * accesses.  An atomic load is taken to read the latest store in the list.
 */
#include "judge.h"

enum {
    TASKS = 48,
    OBJECTS = 1 << 14, /* places in the tables at most, powers of 2 */
    CELLS = 1 << 18,
    PAST_ACCESSES = 8,
    CELL_BYTES = 8
};

struct clock {
    uint32_t of[TASKS];
};

struct task {
    int32_t id, pid;
    struct clock now;
    struct clock loaded; /* by relaxed loads, for an acquire fence */
    struct clock fenced; /* at the last release fence */
    bool has_fenced;
    struct clock unreleased; /* what loads would have acquired, had the stores
                              * released it */
};

struct object {
    bool used;
    uint64_t space, object, offset;
    struct clock released;
    struct clock unreleased; /* by a relaxed store */
    int last;                /* task that acquired or stored last; -1: none */
};

struct past {
    uint8_t bytes; /* of the cell, as bits; 0: none */
    bool stores, atomic;
    uint8_t task;
    uint32_t time;
    uint32_t event;
};

struct cell {
    bool used;
    uint64_t space, object, number;
    unsigned next; /* in past[], to be overwritten */
    struct past past[PAST_ACCESSES];
};

/* What is known while the list is read. */
struct reading {
    struct event *list; /* a copy: the subject can write to the other one */
    struct task tasks[TASKS];
    int ntasks;
    struct object *objects;
    struct cell *cells;
    size_t nobjects, ncells;
    size_t object_places, cell_places;
    const struct event *first, *second; /* the race found */
    const char *why;                    /* which order is too weak, or NULL */
};

/* ---- clocks ------------------------------------------------------------- */

static void join(struct clock *a, const struct clock *b)
{
    for (int i = 0; i < TASKS; i++)
        if (b->of[i] > a->of[i])
            a->of[i] = b->of[i];
}

static _Noreturn void fail_full(const char *what)
{
    test_fail(FAILED, NULL,
              "expected: no more %s than a right solution has\n"
              "seen: more than the test can watch: does a loop turn for long?",
              what);
}

static int task_of(struct reading *r, const struct event *e)
{
    for (int i = 0; i < r->ntasks; i++)
        if (r->tasks[i].id == e->task)
            return i;
    if (r->ntasks == TASKS)
        fail_full("threads and processes");
    r->tasks[r->ntasks] = (struct task){.id = e->task, .pid = e->pid};
    r->tasks[r->ntasks].now.of[r->ntasks] = 1;
    return r->ntasks++;
}

/* ---- tables ------------------------------------------------------------- */

static size_t hash(uint64_t a, uint64_t b, uint64_t c, size_t places)
{
    uint64_t x = (a * 31 + b) * 0x9e3779b97f4a7c15u + c;

    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    return (size_t)(x ^ (x >> 29)) & (places - 1);
}

/* A table is never more than 3/4 full: the search ends soon. */
static struct object *object_of(struct reading *r, const struct event *e)
{
    size_t at = hash(e->space, e->object, e->offset, r->object_places);
    struct object *o = &r->objects[at];

    while (o->used && (o->space != e->space || o->object != e->object ||
                       o->offset != e->offset))
        o = &r->objects[++at & (r->object_places - 1)];
    if (!o->used) {
        if (r->nobjects++ == OBJECTS / 4 * 3)
            fail_full("locks and atomic variables");
        *o = (struct object){.used = true,
                             .space = e->space,
                             .object = e->object,
                             .offset = e->offset,
                             .last = -1};
    }
    return o;
}

static struct cell *cell_of(struct reading *r, const struct event *e,
                            uint64_t number)
{
    size_t at = hash(e->space, e->object, number, r->cell_places);
    struct cell *c = &r->cells[at];

    while (c->used && (c->space != e->space || c->object != e->object ||
                       c->number != number))
        c = &r->cells[++at & (r->cell_places - 1)];
    if (!c->used) {
        if (r->ncells++ == CELLS / 4 * 3)
            fail_full("bytes of shared memory in use");
        *c = (struct cell){.used = true,
                           .space = e->space,
                           .object = e->object,
                           .number = number};
    }
    return c;
}

/* ---- accesses ----------------------------------------------------------- */

static bool conflicts(const struct reading *r, const struct past *old,
                      const struct past *now)
{
    return (old->bytes & now->bytes) != 0 && old->task != now->task &&
           (old->stores || now->stores) && !(old->atomic && now->atomic) &&
           r->tasks[now->task].now.of[old->task] < old->time;
}

/* Which atomic operation would have ordered them, were it not relaxed. */
static const char *why_not_ordered(const struct task *t, const struct past *old)
{
    if (t->loaded.of[old->task] >= old->time)
        return "An atomic load has seen that the first was over, but it is "
               "memory_order_relaxed: it does not acquire.";
    if (t->unreleased.of[old->task] >= old->time)
        return "An atomic store after the first has told the other one, but it "
               "is memory_order_relaxed: it does not release.";
    return NULL;
}

static void remember(struct cell *c, struct past now)
{
    for (unsigned i = 0; i < PAST_ACCESSES; i++) {
        struct past *p = &c->past[i];

        if (p->bytes == 0 ||
            (p->task == now.task && p->bytes == now.bytes &&
             p->stores == now.stores && p->atomic == now.atomic)) {
            *p = now;
            return;
        }
    }
    c->past[c->next++ % PAST_ACCESSES] = now;
}

static void access_cell(struct reading *r, const struct event *e,
                        uint64_t number, struct past now)
{
    struct cell *c = cell_of(r, e, number);

    for (unsigned i = 0; i < PAST_ACCESSES && r->second == NULL; i++)
        if (conflicts(r, &c->past[i], &now)) {
            r->first = &r->list[c->past[i].event];
            r->second = e;
            r->why = why_not_ordered(&r->tasks[now.task], &c->past[i]);
        }
    remember(c, now);
}

static void access_memory(struct reading *r, const struct event *e, int task)
{
    uint64_t end = e->offset + e->size_bytes;
    struct past now = {.stores = event_stores(e->kind),
                       .atomic = event_is_atomic(e->kind),
                       .task = (uint8_t)task,
                       .time = r->tasks[task].now.of[task],
                       .event = (uint32_t)(e - r->list)};

    for (uint64_t at = e->offset; at < end && r->second == NULL;) {
        uint64_t cell = at / CELL_BYTES;
        uint64_t to =
            (cell + 1) * CELL_BYTES < end ? (cell + 1) * CELL_BYTES : end;

        now.bytes =
            (uint8_t)((0xffu >> (CELL_BYTES - (to - at))) << at % CELL_BYTES);
        access_cell(r, e, cell, now);
        at = to;
    }
}

/* ---- order -------------------------------------------------------------- */

static bool acquires(int order)
{
    return order == __ATOMIC_CONSUME || order == __ATOMIC_ACQUIRE ||
           order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL ||
           order == __ATOMIC_SEQ_CST;
}

static void tick(struct reading *r, int task)
{
    r->tasks[task].now.of[task]++;
}

static void acquire(struct task *t, const struct object *o, int order)
{
    join(acquires(order) ? &t->now : &t->loaded, &o->released);
    join(&t->unreleased, &o->unreleased);
}

/* A store begins a new release sequence, or, relaxed and another task's,
 * ends the one that was; a read-modify-write goes on with it. */
static void release(struct reading *r, int task, struct object *o, int order,
                    bool goes_on)
{
    struct task *t = &r->tasks[task];

    if (!goes_on && (releases(order) || o->last != task))
        o->released = (struct clock){{0}};
    if (releases(order))
        join(&o->released, &t->now);
    else if (t->has_fenced)
        join(&o->released, &t->fenced);
    else
        join(&o->unreleased, &t->now);
    o->last = task;
    tick(r, task);
}

static void fence(struct reading *r, int task, int order)
{
    struct task *t = &r->tasks[task];

    if (acquires(order))
        join(&t->now, &t->loaded);
    if (releases(order)) {
        t->fenced = t->now;
        t->has_fenced = true;
        tick(r, task);
    }
}

static void lock(struct reading *r, int task, const struct event *e)
{
    struct object *o = object_of(r, e);

    join(&r->tasks[task].now, &o->released);
    /* All that a dead holder did lies before the lock is handed on. */
    if (e->owner_died && o->last != -1)
        join(&r->tasks[task].now, &r->tasks[o->last].now);
    o->last = task;
}

static void unlock(struct reading *r, int task, const struct event *e)
{
    join(&object_of(r, e)->released, &r->tasks[task].now);
    tick(r, task);
}

/* pid -1: everybody's. */
static void join_tasks(struct reading *r, int task, int32_t pid)
{
    for (int i = 0; i < r->ntasks; i++)
        if (i != task && (pid == -1 || r->tasks[i].pid == pid)) {
            join(&r->tasks[task].now, &r->tasks[i].now);
            tick(r, i);
        }
}

static void read_event(struct reading *r, const struct event *e)
{
    int task = task_of(r, e);

    switch (e->kind) {
    case EVENT_ATOMIC_LOAD:
        acquire(&r->tasks[task], object_of(r, e), e->order);
        access_memory(r, e, task);
        break;
    case EVENT_ATOMIC_STORE:
        access_memory(r, e, task);
        release(r, task, object_of(r, e), e->order, false);
        break;
    case EVENT_ATOMIC_RMW:
        acquire(&r->tasks[task], object_of(r, e), e->order);
        access_memory(r, e, task);
        release(r, task, object_of(r, e), e->order, true);
        break;
    case EVENT_LOAD:
    case EVENT_STORE:
    case EVENT_INIT:
    case EVENT_DESTROY:
    case EVENT_USE:
        access_memory(r, e, task);
        break;
    case EVENT_FENCE:
        fence(r, task, e->order);
        break;
    case EVENT_ACQUIRE:
        lock(r, task, e);
        break;
    case EVENT_RELEASE:
        unlock(r, task, e);
        break;
    case EVENT_JOIN:
        join_tasks(r, task, (int32_t)e->offset);
        break;
    case EVENT_START:
        join_tasks(r, task, -1);
        break;
    default: /* the student's code can write there: no event of ours */
        break;
    }
}

/* ---- the report --------------------------------------------------------- */

/* A line of eu-addr2line's, "path:line:column" or "??:0". */
static void read_line(FILE *output, char line[LINE_BYTES])
{
    char path[400], rest[400];
    int number;

    if (fscanf(output, "%399[^:\n]:%d", path, &number) == 2 && number > 0) {
        const char *slash = strrchr(path, '/');

        snprintf(line, LINE_BYTES, "%.40s:%d", slash != NULL ? slash + 1 : path,
                 number);
    }
    if (fgets(rest, sizeof(rest), output) == NULL)
        return;
}

void lines_of(const struct step *steps, size_t n, char lines[][LINE_BYTES])
{
    char **subject = options.command, **argv = calloc(n + 4, sizeof(*argv));
    pid_t tool;

    while (subject[1] != NULL)
        subject++;
    REQUIRE(argv != NULL);
    argv[0] = (char *)"eu-addr2line";
    argv[1] = (char *)"-e";
    argv[2] = *subject;
    for (size_t i = 0; i < n; i++) {
        REQUIRE(asprintf(&argv[3 + i], "0x%llx",
                         (unsigned long long)steps[i].place) != -1);
        snprintf(lines[i], LINE_BYTES, "an unknown line");
    }

    FILE *output = tool_begin(&tool, argv);

    for (size_t i = 0; i < n && output != NULL; i++)
        read_line(output, lines[i]);
    if (output != NULL)
        tool_end(tool, output);
    for (size_t i = 0; i < n; i++)
        free(argv[3 + i]);
    free(argv);
}

static void line_of(const struct event *e, char line[LINE_BYTES])
{
    struct step step = {.place = e->place};

    lines_of(&step, 1, (char(*)[LINE_BYTES])line);
}

static void add_memory(struct text *t, const struct event *e)
{
    const char *name = test_inode_name(e->object);

    text_add(t, "bytes %llu to %llu of ", (unsigned long long)e->offset,
             (unsigned long long)(e->offset + e->size_bytes - 1));
    if (name != NULL)
        text_add(t, "\"%s\"", name);
    else
        text_add(t, "shared memory");
}

static void add_process(struct text *t, const struct event *e)
{
    const char *role = explore_role_name(e->pid);

    if (role[0] != '\0')
        text_add(t, "process %s", role);
    else
        text_add(t, "pid %d", (int)e->pid);
}

static const char *verb_of(const struct event *e)
{
    switch (e->kind) {
    case EVENT_INIT:
        return "initialises";
    case EVENT_DESTROY:
        return "destroys";
    case EVENT_USE:
        return "uses";
    default:
        return event_stores(e->kind) ? "writes" : "reads";
    }
}

static void add_accesses(struct text *t, const struct event *a,
                         const struct event *b)
{
    char first[LINE_BYTES], second[LINE_BYTES];

    line_of(a, first);
    line_of(b, second);
    text_add(t, "nothing orders these two: %s in ", first);
    add_process(t, a);
    text_add(t, " %s ", verb_of(a));
    add_memory(t, a);
    text_add(t, "; %s in %s", second,
             a->pid == b->pid ? "another thread of " : "");
    add_process(t, b);
    text_add(t, " %s %s", verb_of(b),
             a->offset == b->offset && a->size_bytes == b->size_bytes
                 ? "them"
                 : "some of them");
}

static _Noreturn void fail_race(const struct reading *r)
{
    char second[LINE_BYTES];
    struct text t = {0};
    static char kept[1000];

    line_of(r->second, second);
    add_accesses(&t, r->first, r->second);
    snprintf(kept, sizeof(kept), "%s", t.at);
    text_free(&t);
    test_fail(FAILED, second,
              "expected: what two processes do to the same bytes of shared "
              "memory is ordered\n"
              "seen: %s\n"
              "%s",
              kept,
              r->why != NULL
                  ? r->why
                  : "What orders them: one mutex or semaphore around both, a "
                    "message sent after the first and received before the "
                    "second, or a release store after the first that an "
                    "acquire load before the second has read.");
}

/* The events that are whole.  A process that was killed leaves one that is
 * not. */
static size_t copy_events(struct reading *r)
{
    struct witness *w = witnessed_events();
    unsigned n = atomic_load(&w->n);
    size_t copied = 0;

    if (atomic_load(&w->unwatched))
        fail_full("mappings of shared memory");
    if (n > WITNESSED_EVENTS)
        fail_full("accesses to shared memory");
    r->list = malloc((n + 1) * sizeof(*r->list));
    REQUIRE(r->list != NULL);
    for (unsigned i = 0; i < n; i++)
        if (atomic_load(&w->events[i].complete) == 1)
            r->list[copied++] = w->events[i];
    return copied;
}

/* Places for so many things: a small list is read in small tables, as a page
 * that is touched for the first time costs more than an event. */
static size_t places_for(size_t things, size_t most)
{
    size_t places = 64;

    while (places < most && places / 2 < things)
        places *= 2;
    return places;
}

static void read_list(struct reading *r)
{
    size_t n = copy_events(r), cells = 0;

    for (size_t i = 0; i < n && cells < CELLS; i++)
        cells += r->list[i].size_bytes / CELL_BYTES + 2;
    r->object_places = places_for(n, OBJECTS);
    r->cell_places = places_for(cells, CELLS);
    r->objects = calloc(r->object_places, sizeof(*r->objects));
    r->cells = calloc(r->cell_places, sizeof(*r->cells));
    REQUIRE(r->objects != NULL && r->cells != NULL);
    for (size_t i = 0; i < n && r->second == NULL; i++)
        read_event(r, &r->list[i]);
}

static void forget(struct reading *r)
{
    free(r->list);
    free(r->objects);
    free(r->cells);
    *r = (struct reading){.list = NULL};
}

bool witnessed(void)
{
    return options.witness;
}

void(expect_no_race)(void)
{
    static struct reading r;

    if (!options.witness)
        return;
    forget(&r); /* of a test that failed */
    read_list(&r);
    if (r.second != NULL)
        fail_race(&r);
    forget(&r);
}

static bool is_one_killed(void)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (s->ended && WIFSIGNALED(s->status))
            return true;
    return false;
}

void add_race(struct text *out)
{
    static struct reading r;

    if (!options.witness || is_one_killed() ||
        atomic_load(&witnessed_events()->n) > WITNESSED_EVENTS)
        return;
    forget(&r);
    read_list(&r);
    if (r.second != NULL) {
        text_add(out, "%s", out->at != NULL ? "\n" : "");
        add_accesses(out, r.first, r.second);
    }
    forget(&r);
}
