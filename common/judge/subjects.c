/*
 * subjects.c - scenarios: start, records from them, told values, end.
 */
#include "judge.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "server.h"
#include "subjects.h"

/* Bounds on what code that floods the channel can cost. */
enum {
    MOST_VALUE_BYTES = 64 << 20,
    MOST_VALUES = 20000,
    MOST_CRASHES = 4,
    RECORDS_AT_ONCE = 256,
    SLACK_BYTES = 65536 /* after a value: a test may look past a short one */
};

/* ---- records --------------------------------------------------------------- */

static void add_value(struct subject *s, const struct record *r)
{
    struct value *v;

    if (s->nvalues++ >= MOST_VALUES)
        return;
    v = calloc(1, sizeof(*v));
    REQUIRE(v != NULL);
    v->head = *r;
    v->head.name[NAME_BYTES - 1] = v->head.text[TEXT_BYTES - 1] = '\0';
    v->next = s->values;
    s->values = v;
    if (r->kind != RECORD_STR && r->kind != RECORD_BYTES)
        return;
    if (r->total_bytes > MOST_VALUE_BYTES - s->value_bytes)
        return;
    v->data = calloc(1, r->total_bytes + SLACK_BYTES);
    REQUIRE(v->data != NULL);
    v->size = r->total_bytes;
    s->value_bytes += v->size;
}

/* A part of a long value: it belongs to the newest value of that name. */
static void add_payload(struct subject *s, const struct record *r,
                        const unsigned char *payload)
{
    struct value *v = s->values;

    while (v != NULL && (strncmp(v->head.name, r->name, NAME_BYTES) != 0 ||
                         v->head.pid != r->pid))
        v = v->next;
    if (v == NULL || v->data == NULL || r->offset > v->size ||
        r->payload_bytes > v->size - r->offset)
        return;
    memcpy(v->data + r->offset, payload, r->payload_bytes);
    v->got += r->payload_bytes;
}

/* Waits until the process has stopped itself, as it does after the record;
 * else SIGCONT would come too early. */
static void wait_for_stop(pid_t pid)
{
    struct timespec nap = {.tv_nsec = 1000000};

    for (int round = 0; round < 1000 && process_state(pid) != 'T'; round++)
        nanosleep(&nap, NULL);
}

static void note_crash(struct subject *s, const struct record *r)
{
    struct process *list;
    size_t n = processes_list(&list);
    struct place place;
    bool ours = process_is_below(list, n, r->pid, getpid());

    free(list);
    if (!ours || s->ncrashes++ >= MOST_CRASHES)
        return;
    wait_for_stop(r->pid);
    locate(r->pid, r->pid, &place);
    if (place.line[0] != '\0' && test.location[0] == '\0')
        snprintf(test.location, sizeof(test.location), "%s", place.line);
    text_add(&test.notes, "%spid %d met %s", test.notes.at != NULL ? "\n" : "",
             (int)r->pid, signal_name((int)r->value));
    if (r->value == SIGSEGV || r->value == SIGBUS)
        text_add(&test.notes, " at address %#llx",
                 (unsigned long long)r->offset);
    if (place.where[0] != '\0')
        text_add(&test.notes, " in %s", place.where);
    if (r->value == SIGSEGV && r->offset >= (uint64_t)-4096)
        text_add(&test.notes,
                 ": that is (void *)-1, which a failed shmat or mmap returns");
    else if (r->value == SIGSEGV && r->offset < 4096)
        text_add(&test.notes, ": a null pointer was used");
    kill(r->pid, SIGCONT);
}

/*
 * The student's code can send this record, too.  Once it may have run, it is
 * not believed that the kit is at fault: a test that is shows so with the
 * reference solution.
 */
static _Noreturn void fail_as_told(struct subject *s, const struct record *r)
{
    if (!s->ready)
        fail_broken(s->scenario, 0, r->text);
    test_fail(FAILED, NULL,
              "expected: the scenario gets what it asks the test for\n"
              "seen: %s\n"
              "if the reference solution passes this test, your code has "
              "written into a descriptor that it did not open",
              r->text);
}

static void take_record(struct subject *s, const struct record *r,
                        const unsigned char *payload)
{
    switch (r->kind) {
    case RECORD_READY:
        s->ready = true;
        break;
    case RECORD_DONE:
        if (r->pid == s->pid)
            s->done = true;
        else
            text_add(&test.notes,
                     "%spid %d, which your code forked, has returned from it "
                     "as well: two copies of the program go on; a child ends "
                     "with _exit()",
                     test.notes.at != NULL ? "\n" : "", (int)r->pid);
        break;
    case RECORD_CHILD:
        if (s->nchildren < MOST_CHILDREN)
            s->children[s->nchildren++] = (pid_t)r->pid;
        break;
    case RECORD_CRASH:
        note_crash(s, r);
        break;
    case RECORD_BROKEN:
        fail_as_told(s, r);
    default:
        if (r->offset == 0)
            add_value(s, r);
        if (r->payload_bytes > 0)
            add_payload(s, r, payload);
    }
}

/* Returns false when nothing more is there. */
static bool receive_record(struct subject *s)
{
    static struct {
        struct record head;
        unsigned char payload[CHUNK_BYTES];
    } packet;
    ssize_t n = recv(s->channel, &packet, sizeof(packet), MSG_DONTWAIT);

    if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
        close(s->channel);
        s->channel = -1;
    }
    if (n <= 0)
        return false;
    packet.head.name[NAME_BYTES - 1] = packet.head.text[TEXT_BYTES - 1] = '\0';
    if (n >= (ssize_t)sizeof(packet.head) &&
        packet.head.payload_bytes == (size_t)n - sizeof(packet.head))
        take_record(s, &packet.head, packet.payload);
    return true;
}

/* ---- what ends --------------------------------------------------------------- */

static void process_has_ended(pid_t pid, int status)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (s->pid == pid && !s->ended) {
            s->ended = true;
            s->status = status;
        }
}

static void receive_answers(void)
{
    struct answer a;

    while (server_control() != -1 &&
           recv(server_control(), &a, sizeof(a), MSG_DONTWAIT) == sizeof(a)) {
        server_note_worker(a.pid, a.started == 0 && a.idle != 0);
        if (a.started == 0) {
            process_has_ended(a.pid, a.status);
        } else if (test.subjects != NULL && test.subjects->pid == 0 &&
                   test.subjects->number == a.number) {
            /* Not of one that has been given up before it was answered for. */
            test.subjects->pid = a.pid;
            if (a.pid == -1)
                fail_broken(__FILE__, __LINE__, "fork for the scenario");
        }
    }
}

/* Orphans of the scenarios come to the judge, and so do the scenarios when
 * the student's code has ended the fork server. */
static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        debug_ended(pid);
        server_note_worker(pid, false);
        if (pid == server_pid())
            server_has_ended(status);
        else
            process_has_ended(pid, status);
    }
}

void subjects_receive(int timeout_ms, struct pollfd *extra)
{
    struct pollfd fds[66];
    nfds_t n = 0;

    if (extra != NULL)
        fds[n++] = *extra;
    fds[n++] = (struct pollfd){.fd = server_control(), .events = POLLIN};
    for (struct subject *s = test.subjects; s != NULL && n < 66; s = s->next)
        fds[n++] = (struct pollfd){.fd = s->channel, .events = POLLIN};
    if (poll(fds, n, timeout_ms) > 0 && extra != NULL)
        extra->revents = fds[0].revents;
    receive_answers();
    reap();
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        for (int i = 0; i < RECORDS_AT_ONCE && s->channel != -1; i++)
            if (!receive_record(s))
                break;
}

/* ---- what the run has made ------------------------------------------------------- */

static int made_fd = -1;
static struct made *made;

struct made *objects_made(void)
{
    if (made == NULL)
        made = sealed_memory("kit-made", sizeof(*made), &made_fd);
    return made;
}

static int journal_fd = -1;

static int journal(void)
{
    if (journal_fd == -1)
        journal_fd =
            open(options.journal != NULL ? options.journal : "/dev/null",
                 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    REQUIRE(journal_fd != -1);
    return journal_fd;
}

void journal_add(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vdprintf(journal(), format, args);
    va_end(args);
}

static int witness_fd = -1;
static struct witness *witness;

struct witness *witnessed_events(void)
{
    if (witness == NULL)
        witness = sealed_memory("kit-witness", sizeof(*witness), &witness_fd);
    return witness;
}

void witness_reset(void)
{
    unsigned n = witness != NULL ? atomic_load(&witness->n) : 0;

    for (unsigned i = 0; i < n && i < WITNESSED_EVENTS; i++)
        atomic_store(&witness->events[i].complete, 0);
    if (n > 0)
        atomic_store(&witness->n, 0);
    if (witness != NULL)
        atomic_store(&witness->unwatched, 0);
}

/* What was done before a scenario is started is ordered before it. */
static void witness_birth(const struct subject *s)
{
    struct witness *w = witnessed_events();
    unsigned n = atomic_fetch_add(&w->n, 1);

    if (n >= WITNESSED_EVENTS)
        return;
    w->events[n] = (struct event){
        .kind = EVENT_START, .task = (int32_t)s->pid, .pid = (int32_t)s->pid};
    atomic_store(&w->events[n].complete, 1);
}

/* ---- start -------------------------------------------------------------------- */

struct parcel {
    unsigned char *at;
    size_t size;
    int fds[FIXED_FDS + PARCEL_FDS];
    size_t nfds;
};

static void add_item(struct parcel *p, const char *name, char kind,
                     long long number, const void *data, size_t size)
{
    struct parcel_item item = {
        .number = number, .size_bytes = size, .kind = (uint32_t)kind};
    size_t padded = (size + 7) & ~(size_t)7;
    unsigned char *at = realloc(p->at, p->size + sizeof(item) + padded);

    REQUIRE(at != NULL && strlen(name) < NAME_BYTES);
    strcpy(item.name, name);
    memcpy(at + p->size, &item, sizeof(item));
    memset(at + p->size + sizeof(item), 0, padded);
    if (size > 0)
        memcpy(at + p->size + sizeof(item), data, size);
    p->at = at;
    p->size += sizeof(item) + padded;
}

static void add_fd(struct parcel *p, const char *name, char kind, int fd)
{
    struct stat st;

    REQUIRE(fd >= 0 && p->nfds < FIXED_FDS + PARCEL_FDS);
    REQUIRE(fstat(fd, &st) == 0);
    test_name_inode(st.st_ino, name);
    add_item(p, name, kind, (long long)(p->nfds - FIXED_FDS), NULL, 0);
    p->fds[p->nfds++] = fd;
}

static void add_fault(struct area *a, const struct give *g)
{
    struct fault *f = &a->faults[a->nfaults++];

    REQUIRE(a->nfaults <= FAULTS && strlen(g->name) < NAME_BYTES);
    strcpy(f->call, g->name);
    f->limit_bytes = g->size_bytes;
    f->seed = (uint64_t)g->number;
    f->first = (uint32_t)g->number;
    f->count = g->count;
    f->err = g->err;
    f->argument = g->argument - 1;
    f->argument_value = g->argument_value;
    f->after = g->after;
    if (g->data != NULL) {
        REQUIRE(strlen(g->data) < NAME_BYTES);
        strcpy(f->gate, g->data);
    }
}

static void add_give(struct parcel *p, struct area *a, const struct give *g)
{
    switch (g->kind) {
    case GIVE_FD:
    case GIVE_LENT_FD:
        add_fd(p, g->name, 'f', (int)g->number);
        break;
    case GIVE_INT:
        add_item(p, g->name, 'i', g->number, NULL, 0);
        break;
    case GIVE_STR:
        add_item(p, g->name, 's', 0, g->data, strlen(g->data) + 1);
        break;
    case GIVE_BYTES:
        add_item(p, g->name, 'b', 0, g->data, g->size_bytes);
        break;
    case GIVE_FAULT:
        add_fault(a, g);
        break;
    case GIVE_SHARED: /* the last ones, see pack() */
    case GIVE_END:
        break;
    }
}

/* Descriptors of shared memory come after the others, so that those lie at
 * 3, 4, ... in the scenario. */
static void pack(struct parcel *p, struct area *a, const struct give *gives)
{
    p->nfds = FIXED_FDS;
    for (const struct give *g = gives; g->kind != GIVE_END; g++)
        add_give(p, a, g);
    for (const struct give *g = gives; g->kind != GIVE_END; g++)
        if (g->kind == GIVE_SHARED)
            add_fd(p, g->name, 'm', things_shared_fd(g->data));
}

/* A memory file that keeps its size: else the student's code could cut it off
 * under the judge, which would die of SIGBUS. */
void *sealed_memory(const char *name, size_t size, int *fd)
{
    void *at;

    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(*fd != -1 && ftruncate(*fd, (off_t)size) == 0);
    REQUIRE(fcntl(*fd, F_ADD_SEALS,
                  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    REQUIRE(at != MAP_FAILED);
    return at;
}

static int memory_file(const char *name, const void *data, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    REQUIRE(fd != -1 && (size == 0 || write(fd, data, size) == (ssize_t)size));
    return fd;
}

static struct subject *new_subject(const char *scenario, int *area_fd)
{
    static uint32_t number;
    struct subject *s = calloc(1, sizeof(*s));

    REQUIRE(s != NULL);
    s->number = ++number;
    objects_made();
    witnessed_events();
    s->area = sealed_memory("kit-area", sizeof(*s->area), area_fd);
    s->output = memory_file("kit-output", NULL, 0);
    s->channel = -1;
    snprintf(s->scenario, sizeof(s->scenario), "%s", scenario);
    s->next = test.subjects;
    test.subjects = s;
    return s;
}

/* Asks the fork server for the scenario; it may have to be started anew. */
static void request_start(struct subject *s, struct parcel *p, int area_fd)
{
    struct request req = {.number = s->number,
                          .nfds = (uint32_t)(p->nfds - FIXED_FDS),
                          .parcel_bytes = (uint32_t)p->size};
    int pair[2];

    snprintf(req.scenario, sizeof(req.scenario), "%s", s->scenario);
    snprintf(req.dir, sizeof(req.dir), "%s", test.dir);
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    s->channel = pair[0];
    p->fds[0] = pair[1];
    p->fds[1] = area_fd;
    p->fds[2] = memory_file("kit-parcel", p->at, p->size);
    p->fds[3] = s->output;
    p->fds[4] = made_fd;
    p->fds[5] = witness_fd;
    p->fds[6] = journal();
    server_need();
    if (!server_send(&req, p->fds, p->nfds)) {
        server_stop();
        server_need();
        REQUIRE(server_send(&req, p->fds, p->nfds));
    }
    close(p->fds[0]);
    close(p->fds[1]);
    close(p->fds[2]);
    free(p->at);
}

static bool is_ready(struct subject *s, void *arg)
{
    (void)arg;
    return s->ready && s->pid > 0;
}

static bool is_ready_or_lost(struct subject *s, void *arg)
{
    return is_ready(s, arg) || server_pid() == 0;
}

void open_gate(struct subject *s, const char *name)
{
    REQUIRE(s->gates < GATES && strlen(name) < NAME_BYTES);
    strcpy(s->area->gates[s->gates++], name);
    atomic_store(&s->area->gates_open, s->gates);
    syscall(SYS_futex, &s->area->gates_open, FUTEX_WAKE, INT_MAX, NULL, NULL,
            0);
}

struct subject *(start_subject)(const char *scenario, const struct give *gives)
{
    struct parcel p = {0};
    int area_fd;
    struct subject *s = new_subject(scenario, &area_fd);

    pack(&p, s->area, gives);
    request_start(s, &p, area_fd);
    for (const struct give *g = gives; g->kind != GIVE_END; g++)
        if (g->kind == GIVE_FD) {
            int fd = (int)g->number;

            shut(&fd);
        }
    wait_until(s, is_ready_or_lost, NULL, NULL, false,
               "the program starts (before the test calls your function)");
    if (!is_ready(s, NULL))
        test_fail(CRASHED, NULL,
                  "expected: the program starts and waits for the test\n"
                  "seen: %s\n"
                  "does your file have a constructor?",
                  server_why());
    server_started();
    s->fds = table_of_fds(s->pid);
    s->maps = table_of_maps(s->pid);
    if (options.debug && options.schedule == NULL)
        debug_scenario(s);
    witness_birth(s);
    open_gate(s, GATE_RUN);
    return s;
}

pid_t subject_pid(const struct subject *s)
{
    return s->pid;
}

/* ---- end ----------------------------------------------------------------------- */

static bool is_done(struct subject *s, void *arg)
{
    (void)arg;
    return s->done;
}

static bool is_ended(struct subject *s, void *arg)
{
    (void)arg;
    return s->ended;
}

static void let_end(struct subject *s)
{
    bool again = leftovers_of(s) == 0 && options.valgrind;

    s->inspected = true;
    if (again)
        open_gate(s, GATE_AGAIN);
    open_gate(s, GATE_END);
    wait_until(s, is_ended, NULL, NULL, true, "the process ends");
}

void fail_ended(struct subject *s, const char *what)
{
    int sig = WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;

    if (s->done)
        test_fail(FAILED, NULL, "expected: %s\nseen: the scenario has ended",
                  what);
    if (sig == SIGKILL || sig == SIGTERM)
        test_fail(CRASHED, test.location,
                  "expected: %s\nseen: your program was ended by %s", what,
                  signal_name(sig));
    if (sig == SIGPIPE)
        test_fail(CRASHED, test.location,
                  "expected: %s\n"
                  "seen: your program was ended by SIGPIPE: it wrote where "
                  "nobody reads any more",
                  what);
    if (sig == SIGXFSZ)
        test_fail(CRASHED, test.location,
                  "expected: %s\n"
                  "seen: your program was ended by SIGXFSZ: it wrote more than "
                  "a file may hold here",
                  what);
    if (sig != 0)
        test_fail(CRASHED, test.location,
                  "expected: %s\nseen: your program crashed: %s", what,
                  signal_name(sig));
    test_fail(CRASHED, test.location,
              "expected: %s\n"
              "seen: your code ended the process itself, with exit status %d "
              "(exit, _exit, or a child that did not stop where the child's "
              "part ends?)",
              what, WEXITSTATUS(s->status));
}

void(finish)(struct subject *s)
{
    if (s->inspected)
        return;
    wait_until(s, is_done, NULL, NULL, false, "your function returns");
    let_end(s);
}

int(finish_by_signal)(struct subject *s)
{
    if (wait_until(s, is_done, NULL, NULL, true, "your program ends"))
        let_end(s);
    return WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
}

static void signal_subject(const struct subject *s, int sig)
{
    struct process *list;
    size_t n = processes_list(&list);

    for (size_t i = 0; i < n; i++)
        if (process_is_below(list, n, list[i].pid, s->pid))
            kill(list[i].pid, sig);
    free(list);
}

void(kill_subject)(struct subject *s)
{
    signal_subject(s, SIGKILL);
    wait_until(s, is_ended, NULL, NULL, true, "the process ends");
    s->inspected = true;
}

static bool is_frozen(struct subject *s, void *arg)
{
    struct process *list;
    size_t n = processes_list(&list), running = 0;

    (void)arg;
    for (size_t i = 0; i < n; i++)
        if (process_is_below(list, n, list[i].pid, s->pid))
            running += list[i].state != 'T' && list[i].state != 'Z';
    free(list);
    return running == 0;
}

void(freeze)(struct subject *s)
{
    signal_subject(s, SIGSTOP);
    wait_until(s, is_frozen, NULL, NULL, true, "the process stops");
}

void thaw(struct subject *s)
{
    signal_subject(s, SIGCONT);
}

void time_passes(struct subject *s, unsigned ms)
{
    atomic_fetch_add(&s->area->ahead_ns, (int64_t)ms * 1000000);
}

static void free_subject(struct subject *s)
{
    subject_forget_values(s);
    if (s->channel != -1)
        close(s->channel);
    close(s->output);
    munmap(s->area, sizeof(*s->area));
    table_free(s->fds);
    table_free(s->maps);
    free(s);
}

void subjects_end_all(void)
{
    while (test.subjects != NULL) {
        struct subject *s = test.subjects;

        test.subjects = s->next;
        free_subject(s);
    }
}

/* ---- told values ------------------------------------------------------------------ */

struct value *told_value(struct subject *s, const char *name)
{
    struct value *v = s->values;

    while (v != NULL && strcmp(v->head.name, name) != 0)
        v = v->next;
    return v;
}

static bool is_told(struct subject *s, void *name)
{
    return told_value(s, name) != NULL;
}

void subject_forget_values(struct subject *s)
{
    while (s->values != NULL) {
        struct value *v = s->values;

        s->values = v->next;
        free(v->data);
        free(v);
    }
    s->nvalues = 0;
    s->value_bytes = 0;
}

void(await)(struct subject *s, const char *name)
{
    wait_until(s, is_told, (void *)(uintptr_t)name, NULL, false,
               "your program gets to the point \"%s\" of the test", name);
}

static bool sleeps_in(struct subject *s, void *call)
{
    return process_sleeps_in(s, call);
}

void(await_blocked)(struct subject *s, const char *call)
{
    wait_until(s, sleeps_in, (void *)(uintptr_t)call, NULL, false,
               "your program waits in %s()", call);
}

void let_go(struct subject *s, const char *name)
{
    open_gate(s, name);
}

bool was_told(struct subject *s, const char *name)
{
    subjects_receive(0, NULL);
    return told_value(s, name) != NULL;
}

struct value *value_of(struct subject *s, const char *name)
{
    struct value *v;

    subjects_receive(0, NULL);
    v = told_value(s, name);
    if (v == NULL)
        test_fail(FAILED, NULL,
                  "expected: your program gets to the point \"%s\" of the "
                  "test\n"
                  "seen: it has not",
                  name);
    return v;
}

long long(got_int)(struct subject *s, const char *name)
{
    return value_of(s, name)->head.value;
}

const char *(got_str)(struct subject *s, const char *name)
{
    struct value *v = value_of(s, name);

    return v->data != NULL ? (const char *)v->data : "";
}

const void *(got_bytes)(struct subject *s, const char *name, size_t *size_bytes)
{
    struct value *v = value_of(s, name);

    if (v->data == NULL || v->got < v->size)
        test_fail(FAILED, NULL,
                  "expected: %s, whole\nseen: no bytes, or a part", name);
    *size_bytes = v->size;
    return v->data;
}

void(got_copy)(struct subject *s, const char *name, void *buf,
               size_t size_bytes)
{
    size_t told;
    const void *data = (got_bytes)(s, name, &told);

    if (told != size_bytes)
        test_fail(FAILED, NULL, "expected: %s, %zu bytes\nseen: %zu bytes",
                  name, size_bytes, told);
    memcpy(buf, data, size_bytes);
}

int(got_errno)(struct subject *s, const char *name)
{
    return value_of(s, name)->head.err;
}

/* ---- the log of calls ---------------------------------------------------------------- */

static bool is_meant(const struct logged_call *c, const char *call)
{
    if (call[0] == '=')
        return strncmp(c->name, call + 1, NAME_BYTES) == 0;
    return strncmp(c->family, call, NAME_BYTES) == 0 ||
           strncmp(c->name, call, NAME_BYTES) == 0;
}

static unsigned logged(const struct subject *s)
{
    unsigned n = atomic_load(&s->area->ncalls);

    return n < LOGGED_CALLS ? n : LOGGED_CALLS;
}

unsigned calls_made(struct subject *s, const char *call)
{
    unsigned count = 0;

    for (unsigned i = 0; i < logged(s); i++)
        count += is_meant(&s->area->calls[i], call);
    return count;
}

static const struct logged_call *nth_call(struct subject *s, const char *call,
                                          unsigned nth)
{
    unsigned left = nth;

    for (unsigned i = 0; i < logged(s); i++)
        if (is_meant(&s->area->calls[i], call) && left-- == 0)
            return &s->area->calls[i];
    test_fail(FAILED, NULL,
              "expected: your code calls %s() at least %u times\n"
              "seen: %u calls of it",
              call, nth + 1, calls_made(s, call));
}

long long(call_argument)(struct subject *s, const char *call, unsigned nth,
                         unsigned argument)
{
    REQUIRE(argument < LOGGED_ARGS);
    return LOGGED(nth_call(s, call, nth)->args[argument]);
}

long long(call_wait_ns)(struct subject *s, const char *call, unsigned nth)
{
    return nth_call(s, call, nth)->wait_ns;
}

long long(call_result)(struct subject *s, const char *call, unsigned nth)
{
    return LOGGED(nth_call(s, call, nth)->result);
}
