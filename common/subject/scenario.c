/*
 * scenario.c - one scenario in its process: what kit.h gives to SCENARIO().
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../kit.h"
#include "../requests.h"
#include "subject.h"

extern const struct kit_scenario *const __start_kit_scenarios[];
extern const struct kit_scenario *const __stop_kit_scenarios[];

struct scenario_state scenario_state;

/* ---- records ---------------------------------------------------------- */

/* Sends one packet.  Safe in a signal handler; errno is as before. */
static void send_record(struct record r, const char *name, const char *text,
                        const void *payload)
{
    struct iovec parts[] = {
        {.iov_base = &r, .iov_len = sizeof(r)},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = r.payload_bytes}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    int saved = errno;

    r.pid = getpid();
    strncpy(r.name, name, sizeof(r.name) - 1);
    strncpy(r.text, text, sizeof(r.text) - 1);
    while (sendmsg(scenario_state.channel, &msg, MSG_NOSIGNAL) == -1 &&
           errno == EINTR)
        ;
    errno = saved;
}

void tell_int(const char *name, long long value)
{
    send_record((struct record){.kind = RECORD_INT, .value = value}, name, "",
                NULL);
}

static void tell_payload(enum record_kind kind, const char *name,
                         const void *data, size_t size)
{
    size_t done = 0;

    do {
        size_t n = size - done < CHUNK_BYTES ? size - done : CHUNK_BYTES;

        send_record((struct record){.kind = kind,
                                    .total_bytes = size,
                                    .offset = done,
                                    .payload_bytes = (uint32_t)n},
                    name, "", (const char *)data + done);
        done += n;
    } while (done < size);
}

void tell_str(const char *name, const char *text)
{
    tell_payload(RECORD_STR, name, text, strlen(text));
}

void tell_bytes(const char *name, const void *data, size_t size_bytes)
{
    tell_payload(RECORD_BYTES, name, data, size_bytes);
}

/* ---- gates ------------------------------------------------------------ */

static bool gate_is_open(unsigned open, const char *name)
{
    const struct area *a = scenario_state.area;

    for (unsigned i = 0; i < open && i < GATES; i++)
        if (strcmp(a->gates[i], name) == 0)
            return true;
    return false;
}

void wait_for(const char *name)
{
    struct area *a = scenario_state.area;
    int saved = errno;
    unsigned open;

    while (!gate_is_open(open = atomic_load(&a->gates_open), name))
        syscall(SYS_futex, &a->gates_open, FUTEX_WAIT, open, NULL, NULL, 0);
    errno = saved;
}

/* ---- what was handed over --------------------------------------------- */

static _Noreturn void broken(const char *what, const char *name)
{
    char text[TEXT_BYTES];

    snprintf(text, sizeof(text), "%s \"%s\"", what, name);
    send_record((struct record){.kind = RECORD_BROKEN}, name, text, NULL);
    _exit(2);
}

void scenario_broken(const char *what)
{
    broken(what, "");
}

/* The item at offset *at of the parcel, and *at moved on; NULL at its end. */
static const struct parcel_item *next_item(size_t *at)
{
    const struct parcel_item *item =
        (const void *)(scenario_state.parcel + *at);

    if (*at + sizeof(*item) > scenario_state.parcel_bytes)
        return NULL;
    *at += sizeof(*item) + ((item->size_bytes + 7) & ~(size_t)7);
    return item;
}

/* NULL if the test has not handed it over. */
static const struct parcel_item *look_up(const char *name, unsigned kind)
{
    const struct parcel_item *item;
    size_t at = 0;

    while ((item = next_item(&at)) != NULL)
        if (strcmp(item->name, name) == 0 && item->kind == kind)
            return item;
    return NULL;
}

static const struct parcel_item *find_given(const char *name, unsigned kind)
{
    const struct parcel_item *item = look_up(name, kind);

    if (item == NULL)
        broken("the test did not hand over", name);
    return item;
}

int given_fd(const char *name)
{
    return FIRST_GIVEN_FD + (int)find_given(name, 'f')->number;
}

long long given_int(const char *name)
{
    return find_given(name, 'i')->number;
}

const void *given_bytes(const char *name, size_t *size_bytes)
{
    const struct parcel_item *item = find_given(name, 'b');

    *size_bytes = item->size_bytes;
    return item + 1;
}

const char *given_str(const char *name)
{
    return (const char *)(find_given(name, 's') + 1);
}

/* Processes of one fork server have the same holes in their address space, and
 * would map memory at the same address.  So each takes another part of a hole
 * that is large enough. */
static void *map_elsewhere(int fd, size_t size_bytes)
{
    const size_t step_bytes = 1 << 16, steps = 251;
    size_t offset = (1 + scenario_state.number % steps) * step_bytes;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages_bytes = (size_bytes + page - 1) / page * page;
    size_t hole_bytes = (steps + 2) * step_bytes + pages_bytes;
    char *hole =
        mmap(NULL, hole_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *at;

    if (hole == MAP_FAILED)
        return MAP_FAILED;
    at = mmap(hole + offset, size_bytes, PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_FIXED, fd, 0);
    munmap(hole, offset);
    munmap(hole + offset + pages_bytes, hole_bytes - offset - pages_bytes);
    return at;
}

static void *mapped[PARCEL_FDS]; /* what was shared, by index */

void *given_shared(const char *name, size_t *size_bytes)
{
    int64_t number = find_given(name, 'm')->number;
    int fd = scenario_state.shared_fds[number];
    struct stat st;

    if (fstat(fd, &st) == -1)
        broken("cannot map the shared memory", name);
    if (mapped[number] == NULL) {
        mapped[number] = map_elsewhere(fd, (size_t)st.st_size);
        if (mapped[number] == MAP_FAILED)
            broken("cannot map the shared memory", name);
        witness_map_file(mapped[number], (size_t)st.st_size, fd, 0);
    }
    if (size_bytes != NULL)
        *size_bytes = (size_t)st.st_size;
    return mapped[number];
}

/* ---- calls ------------------------------------------------------------ */

/*
 * Adds to the text of a call, of `n` bytes so far, what the test handed over: a
 * number or a string as it is, memory by its name.  A cast before it goes.
 * Returns how long the text is then.
 */
static size_t add_given(char to[TEXT_BYTES], size_t n,
                        const struct parcel_item *item)
{
    char *at;
    size_t room;

    if (n > 0 && to[n - 1] == ')')
        while (to[--n] != '(')
            ;
    at = to + n;
    room = TEXT_BYTES - n;
    if (item->kind == 'i')
        snprintf(at, room, "%lld", (long long)item->number);
    else if (item->kind == 'f')
        snprintf(at, room, "%d", FIRST_GIVEN_FD + (int)item->number);
    else if (item->kind == 's')
        snprintf(at, room, "\"%s\"", (const char *)(item + 1));
    else
        snprintf(at, room, "%s", item->name);
    return n + strlen(at);
}

/* The text of a call as the test wrote it, with values for given_int("n"). */
static void write_call(char to[TEXT_BYTES], const char *text)
{
    size_t n = 0;

    while (*text != '\0' && n < TEXT_BYTES - 1) {
        const struct parcel_item *item = NULL;
        char kind[8], name[NAME_BYTES];
        int used = 0;

        if (strncmp(text, "given_", 6) == 0 &&
            sscanf(text, "given_%7[a-z](\"%31[^\"]\"%n", kind, name, &used) ==
                2 &&
            used > 0)
            item = look_up(name, strcmp(kind, "shared") == 0
                                     ? 'm'
                                     : (unsigned char)kind[0]);
        if (item == NULL) {
            to[n++] = *text++;
        } else {
            n = add_given(to, n, item);
            text = strchr(text + used, ')') + 1;
        }
    }
    to[n] = '\0';
}

static void tell_call(struct record r, const char *name, const char *text)
{
    char call[TEXT_BYTES];

    write_call(call, text);
    send_record(r, name, call, NULL);
    errno = r.err;
}

long long call_int(const char *name, const char *text, long long value)
{
    tell_call(
        (struct record){.kind = RECORD_CALL, .value = value, .err = errno},
        name, text);
    return value;
}

void *call_ptr(const char *name, const char *text, const void *value)
{
    tell_call((struct record){.kind = RECORD_CALL_PTR,
                              .value = (int64_t)(intptr_t)value,
                              .err = errno},
              name, text);
    return (void *)(uintptr_t)value;
}

/* ---- the process ------------------------------------------------------ */

/* Moves a descriptor to where the runtime keeps its own. */
static int keep_high(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_KIT_FD);

    if (high == -1)
        _exit(3);
    close(fd);
    return high;
}

static void *map_whole(int fd, size_t size, int prot, int flags)
{
    void *at = mmap(NULL, size, prot, flags, fd, 0);

    if (at == MAP_FAILED)
        _exit(3);
    return at;
}

/* Does descriptor number i of the request stand for shared memory? */
static bool is_shared(unsigned i)
{
    const struct parcel_item *item;
    size_t at = 0;

    while ((item = next_item(&at)) != NULL)
        if (item->kind == 'm' && item->number == i)
            return true;
    return false;
}

/*
 * Standard input is empty, output goes to the file that the judge gave, what
 * was handed over lies at 3, 4, ..., and the runtime's own descriptors, those
 * of shared memory among them, lie high.
 */
static void place_descriptors(const struct request *req, const int *fds)
{
    int high[FIXED_FDS + PARCEL_FDS];

    for (unsigned i = 0; i < FIXED_FDS + req->nfds; i++)
        high[i] = keep_high(fds[i]);
    for (int fd = FIRST_GIVEN_FD; fd <= LAST_LOW_FD; fd++)
        close(fd);
    scenario_state.channel = high[0];
    scenario_state.area = map_whole(high[1], sizeof(struct area),
                                    PROT_READ | PROT_WRITE, MAP_SHARED);
    scenario_state.parcel_bytes = req->parcel_bytes;
    if (req->parcel_bytes > 0)
        scenario_state.parcel =
            map_whole(high[2], req->parcel_bytes, PROT_READ, MAP_PRIVATE);
    scenario_state.made = map_whole(high[4], sizeof(struct made),
                                    PROT_READ | PROT_WRITE, MAP_SHARED);
    scenario_state.witness = map_whole(high[5], sizeof(struct witness),
                                       PROT_READ | PROT_WRITE, MAP_SHARED);
    scenario_state.journal = high[6];
    dup2(high[3], STDOUT_FILENO);
    dup2(high[3], STDERR_FILENO);
    for (unsigned i = 1; i < FIXED_FDS; i++)
        if (high[i] != scenario_state.journal)
            close(high[i]);
    for (unsigned i = 0; i < req->nfds; i++) {
        if (is_shared(i)) {
            scenario_state.shared_fds[i] = high[FIXED_FDS + i];
        } else {
            dup2(high[FIXED_FDS + i], FIRST_GIVEN_FD + (int)i);
            close(high[FIXED_FDS + i]);
        }
    }
}

/*
 * A crash stops the process, so that the judge can look where it is; then it
 * dies by the same signal.
 */
static void on_crash(int sig, siginfo_t *info, void *context)
{
    (void)context;
    send_record((struct record){.kind = RECORD_CRASH,
                                .value = sig,
                                .offset = (uint64_t)(uintptr_t)info->si_addr},
                "", "", NULL);
    signal(sig, SIG_DFL);
    kill(getpid(), SIGSTOP);
    if (info->si_code <= 0) /* sent by kill() or abort(): not met again */
        raise(sig);
}

static void catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack_memory[16384];
    stack_t stack = {.ss_sp = stack_memory, .ss_size = sizeof(stack_memory)};
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}

static void fresh_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (getenv(ENV_VALGRIND) == NULL) /* which explains a crash itself */
        catch_crashes();
}

static const struct kit_scenario *find_scenario(const char *name, bool tool)
{
    for (const struct kit_scenario *const *s = __start_kit_scenarios;
         s < __stop_kit_scenarios; s++)
        if (((*s)->tool != NULL) == tool && strcmp((*s)->name, name) == 0)
            return *s;
    return NULL;
}

/*
 * Overwrites what the function left in the dead part of the stack: an address
 * that lies there would make a leaked block look reachable to Valgrind.
 */
static __attribute__((noinline)) void scrub_stack(void)
{
    char dead[65536];

    explicit_bzero(dead, sizeof(dead));
}

static void perform(const struct request *req, const int *fds)
{
    const struct kit_scenario *s = find_scenario(req->scenario, false);

    scenario_state.number = req->number;
    setsid();
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    place_descriptors(req, fds);
    if (s == NULL)
        broken("there is no scenario", req->scenario);
    if (chdir(req->dir) == -1)
        broken("cannot enter the working directory", req->dir);
    fresh_signals();
    witness_start();
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    send_record((struct record){.kind = RECORD_READY}, "", "", NULL);
    wait_for(GATE_RUN);
    errno = 0;
    s->run();
    scrub_stack();
    fflush(NULL);
    send_record((struct record){.kind = RECORD_DONE}, "", "", NULL);
    wait_for(GATE_END);
}

/* ---- from one scenario to the next ------------------------------------ */

void scenario_tell_of_child(void)
{
    if (scenario_state.area != NULL)
        send_record((struct record){.kind = RECORD_CHILD}, "", "", NULL);
}

void scenario_forget_memory(void)
{
    munmap(scenario_state.area, sizeof(struct area));
    munmap((void *)(uintptr_t)scenario_state.parcel,
           scenario_state.parcel_bytes);
    munmap(scenario_state.made, sizeof(struct made));
    munmap(scenario_state.witness, sizeof(struct witness));
    for (int i = 0; i < PARCEL_FDS; i++) {
        struct stat st;

        if (mapped[i] != NULL && fstat(scenario_state.shared_fds[i], &st) == 0)
            munmap(mapped[i], (size_t)st.st_size);
        if (scenario_state.shared_fds[i] > 0)
            close(scenario_state.shared_fds[i]);
    }
    close(scenario_state.channel);
    close(scenario_state.journal);
}

void scenario_main(const struct request *first, const int *first_fds, int next)
{
    struct request req = *first;
    int fds[REQUEST_FDS];
    size_t nfds;
    pid_t me = getpid();

    memcpy(fds, first_fds, (FIXED_FDS + req.nfds) * sizeof(fds[0]));
    if (next != -1)
        next = keep_high(next);
    do {
        perform(&req, fds);
        if (next == -1 || getpid() != me ||
            !gate_is_open(atomic_load(&scenario_state.area->gates_open),
                          GATE_AGAIN) ||
            !again_begin())
            break;
    } while (write(next, &req.number, sizeof(req.number)) ==
                 sizeof(req.number) &&
             request_receive(next, &req, fds, &nfds));
    _exit(0);
}

/* ---- rehearsal -------------------------------------------------------- */

int shim_close(int fd);

SCENARIO(rehearsal)
{
    tell_int("number", given_int("number"));
    tell_str("text", "");
    CALL("closed", shim_close(dup(STDOUT_FILENO)));
}

static int memory_file(const void *start, size_t start_bytes, size_t size_bytes)
{
    int fd = memfd_create("kit-rehearsal", MFD_CLOEXEC);

    if (fd == -1 || ftruncate(fd, (off_t)size_bytes) == -1 ||
        pwrite(fd, start, start_bytes, 0) != (ssize_t)start_bytes)
        _exit(3);
    return fd;
}

void scenario_rehearse(int control)
{
    /* how an area begins */
    static const struct {
        unsigned open;
        char gates[2][NAME_BYTES];
    } start = {2, {GATE_RUN, GATE_END}};
    static const struct parcel_item item = {.name = "number", .kind = 'i'};
    static const struct request req = {
        .scenario = "rehearsal", .dir = ".", .parcel_bytes = sizeof(item)};
    int control_kept, ends[2], heard;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1)
        _exit(3);
    heard = keep_high(ends[1]); /* nobody reads what is told */
    control_kept = keep_high(control);

    int fds[FIXED_FDS] = {
        ends[0],
        memory_file(&start, sizeof(start), sizeof(struct area)),
        memory_file(&item, sizeof(item), sizeof(item)),
        dup(STDOUT_FILENO), /* stays what it is; stderr is the same file */
        memory_file("", 0, sizeof(struct made)),
        memory_file("", 0, sizeof(struct witness)),
        open("/dev/null", O_WRONLY | O_CLOEXEC),
    };
    perform(&req, fds);
    scenario_forget_memory();
    scenario_state = (struct scenario_state){.number = 0};
    close(heard);
    dup2(control_kept, control);
    close(control_kept);
}

/* ---- tools ------------------------------------------------------------ */

char *tool_program(void)
{
    return getenv(ENV_SUBJECT);
}

void tool_main(int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[1], "--tool") != 0)
        return;

    const struct kit_scenario *s = find_scenario(argv[2], true);

    if (s == NULL) {
        fprintf(stderr, "there is no tool \"%s\"\n", argv[2]);
        exit(127);
    }
    exit(s->tool(argc - 2, argv + 2));
}
