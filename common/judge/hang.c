/*
 * hang.c - explains a hang: for every process of the subject, what it is
 * blocked in, on which object, at which line, and who holds the other end.
 */
#include "judge.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>

#include "calls.h"

enum { MOST_FRAMES = 3 };

/* ---- the line in the student's file -------------------------------------------- */

static bool is_source(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;

    for (const char **s = options.sources; *s != NULL; s++)
        if (strcmp(*s, base) == 0)
            return true;
    return false;
}

/*
 * Reads eu-stack's output.  A frame is "#1  0x... function" and, on the next
 * line, "    /path/file.c:42:9"; a thread begins with "TID 71:".  The frames
 * in the student's files are kept, innermost first.
 */
static void parse_stack(FILE *f, pid_t tid, struct place *place)
{
    char line[512], function[128] = "";
    int current = 0, frames = 0;
    size_t at = 0;

    while (fgets(line, sizeof(line), f) != NULL) {
        char path[400];
        int number;

        if (sscanf(line, "TID %d", &current) == 1)
            continue;
        if (line[0] == '#') {
            function[0] = '\0';
            sscanf(line, "#%*d %*s %127s", function);
            continue;
        }
        if (current != tid || frames == MOST_FRAMES ||
            sscanf(line, " %399[^:]:%d", path, &number) != 2 ||
            !is_source(path))
            continue;

        const char *slash = strrchr(path, '/');
        const char *file = slash != NULL ? slash + 1 : path;

        if (frames == 0)
            snprintf(place->line, sizeof(place->line), "%.60s:%d", file,
                     number);
        if (at < sizeof(place->where))
            at += (size_t)snprintf(place->where + at, sizeof(place->where) - at,
                                   "%s%.60s (%.60s:%d)",
                                   frames == 0 ? "" : ", called by ", function,
                                   file, number);
        frames++;
    }
}

FILE *tool_begin(pid_t *tool, char *const argv[])
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) == -1)
        return NULL;
    *tool = fork();
    if (*tool == 0) {
        alarm(5);
        dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
        dup2(p[1], STDOUT_FILENO);
        dup2(STDIN_FILENO, STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(p[1]);
    processes_helper(*tool != -1 ? *tool : 0);

    FILE *output = fdopen(p[0], "r");

    REQUIRE(output != NULL);
    return output;
}

void tool_end(pid_t tool, FILE *output)
{
    fclose(output);
    while (tool != -1 && waitpid(tool, NULL, 0) == -1 && errno == EINTR)
        ;
    processes_helper(0);
}

void locate(pid_t pid, pid_t tid, struct place *place)
{
    char number[16];
    pid_t tool;
    FILE *output;

    *place = (struct place){.where = ""};
    if (options.valgrind) /* its stack is Valgrind's own */
        return;
    snprintf(number, sizeof(number), "%d", (int)pid);
    output = tool_begin(&tool, (char *[]){(char *)"eu-stack", (char *)"-s",
                                          (char *)"-p", number, NULL});
    if (output == NULL)
        return;
    parse_stack(output, tid, place);
    tool_end(tool, output);
}

/* ---- objects --------------------------------------------------------------------- */

static ssize_t fd_target(pid_t pid, int fd, char *buf, size_t size)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
    n = readlink(path, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

/* Writes "the pipe \"in\"" and the like. */
static void describe_target(struct text *out, const char *target)
{
    unsigned long long inode;
    const char *name;

    if (sscanf(target, "pipe:[%llu]", &inode) == 1 ||
        sscanf(target, "socket:[%llu]", &inode) == 1) {
        name = test_inode_name(inode);
        if (name != NULL)
            text_add(out, "the %.*s \"%s\"", target[0] == 'p' ? 4 : 6, target,
                     name);
        else
            text_add(out, "a %.*s", target[0] == 'p' ? 4 : 6, target);
    } else {
        text_add(out, "%s", target);
    }
}

struct holder_search {
    struct text *out;
    const char *target;
    int mode;      /* of the end looked for */
    pid_t blocked; /* who waits */
    unsigned found;
};

static void add_holder(struct holder_search *h, pid_t pid, int fd)
{
    text_add(h->out, "%s", h->found++ == 0 ? "" : ", ");
    if (pid == getpid())
        text_add(h->out, "the test itself");
    else if (pid == h->blocked)
        text_add(h->out, "pid %d itself (fd %d)", (int)pid, fd);
    else
        text_add(h->out, "pid %d (fd %d)", (int)pid, fd);
}

static void search_holder(struct holder_search *h, pid_t pid)
{
    char path[64], target[256];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name), mode;

        if (entry->d_name[0] == '.' ||
            fd_target(pid, fd, target, sizeof(target)) <= 0 ||
            strcmp(target, h->target) != 0)
            continue;
        mode = process_fd_mode(pid, fd);
        if (mode == h->mode || mode == O_RDWR)
            add_holder(h, pid, fd);
    }
    if (dir != NULL)
        closedir(dir);
}

/* Names every descriptor, in the subject and in the judge, that is the other
 * end of the pipe.  Returns how many; *own says whether the blocked process
 * holds one. */
static unsigned add_holders(struct text *out, pid_t blocked, const char *target,
                            int mode, bool *own)
{
    struct holder_search h = {
        .out = out, .target = target, .mode = mode, .blocked = blocked};
    struct process *list;
    size_t n = processes_list(&list);

    search_holder(&h, blocked);
    *own = h.found > 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].pid != blocked)
            search_holder(&h, list[i].pid);
    search_holder(&h, getpid());
    free(list);
    return h.found;
}

static void explain_pipe(struct text *out, pid_t pid, const char *target,
                         bool reads)
{
    struct text holders = {0};
    bool own;
    unsigned n =
        add_holders(&holders, pid, target, reads ? O_WRONLY : O_RDONLY, &own);

    if (n == 0)
        text_add(out, "\n  nobody holds the other end");
    else if (reads)
        text_add(out, "\n  the write end of that pipe is still open in %s%s",
                 holders.at,
                 own ? ": it waits for an end of file that it prevents "
                       "itself; close the write end before reading"
                     : "; there is no end of file before all are closed");
    else
        text_add(out, "\n  the pipe is full; its read end is open in %s%s",
                 holders.at,
                 own ? ": it waits for room that only a reader makes" : "");
    text_free(&holders);
}

static void explain_fd(struct text *out, pid_t pid, const struct blocked *b)
{
    int fd = (int)b->args[0];
    char target[256];

    if (fd_target(pid, fd, target, sizeof(target)) <= 0) {
        text_add(out, "%s(fd %d)", call_name(b->number), fd);
        return;
    }
    text_add(out, "%s(fd %d, ", call_name(b->number), fd);
    describe_target(out, target);
    text_add(out, ")");
}

struct mapping {
    char path[200];
    unsigned long long offset; /* of the address in the object */
};

static bool find_mapping(pid_t pid, unsigned long long address,
                         struct mapping *m)
{
    char path[64], line[512];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    f = fopen(path, "re");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        unsigned long long from, to, offset;

        m->path[0] = '\0';
        if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %199[^\n]", &from, &to,
                   &offset, m->path) < 3)
            continue;
        found = address >= from && address < to;
        m->offset = address - from + offset;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

bool waits_for_judge(pid_t pid, const struct blocked *b)
{
    struct mapping m;

    return b->number == SYS_futex && find_mapping(pid, b->args[0], &m) &&
           strstr(m.path, "memfd:kit-area") != NULL;
}

static void explain_futex(struct text *out, pid_t pid, const struct blocked *b)
{
    struct mapping m;

    if (waits_for_judge(pid, b)) {
        text_add(out, "the test's next step");
        return;
    }
    text_add(out, "futex (a mutex, condition or semaphore at %#llx",
             b->args[0]);
    if (find_mapping(pid, b->args[0], &m) && m.path[0] != '\0')
        text_add(out, ", offset %llu of %s", m.offset, m.path);
    text_add(out, ")");
    if ((b->args[1] & 128) != 0) /* FUTEX_PRIVATE_FLAG */
        text_add(out, "\n  it is private to one process: the other one's post "
                      "or unlock does not wake it");
}

static void explain_semop(struct text *out, const struct blocked *b)
{
    struct semid_ds ds;
    int id = (int)b->args[0];

    text_add(out, "semop(set %d)", id);
    if (semctl(id, 0, IPC_STAT, &ds) == -1)
        return;
    text_add(out, "\n  its values:");
    for (int i = 0; i < (int)ds.sem_nsems && i < 8; i++)
        text_add(out, " %d (last operation by pid %d)", semctl(id, i, GETVAL),
                 semctl(id, i, GETPID));
}

static void explain_queue(struct text *out, const struct blocked *b)
{
    struct msqid_ds ds;
    int id = (int)b->args[0];

    text_add(out, "%s(queue %d", call_name(b->number), id);
    if (b->number == SYS_msgrcv)
        text_add(out, ", type %ld", (long)b->args[3]);
    text_add(out, ")");
    if (msgctl(id, IPC_STAT, &ds) == 0)
        text_add(out, "\n  %lu messages of %lu bytes in all are in the queue",
                 (unsigned long)ds.msg_qnum, (unsigned long)ds.__msg_cbytes);
}

static void explain_wait(struct text *out, const struct blocked *b)
{
    pid_t child = (pid_t)b->args[b->number == SYS_waitid ? 1 : 0];

    if (child > 0)
        text_add(out, "%s for its child pid %d", call_name(b->number),
                 (int)child);
    else
        text_add(out, "%s for any child", call_name(b->number));
}

static void explain_call(struct text *out, pid_t pid, const struct blocked *b)
{
    switch (b->number) {
    case SYS_wait4:
    case SYS_waitid:
        explain_wait(out, b);
        break;
    case SYS_futex:
        explain_futex(out, pid, b);
        break;
    case SYS_semop:
    case SYS_semtimedop:
        explain_semop(out, b);
        break;
    case SYS_msgrcv:
    case SYS_msgsnd:
        explain_queue(out, b);
        break;
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_flock:
    case SYS_fcntl:
    case SYS_mq_timedsend:
    case SYS_mq_timedreceive:
        explain_fd(out, pid, b);
        break;
    default:
        if (call_name(b->number) != NULL)
            text_add(out, "%s", call_name(b->number));
        else
            text_add(out, "system call %ld", b->number);
    }
}

/* ---- the report -------------------------------------------------------------------- */

enum { MOST_THREADS = 12 };

struct report {
    struct text *out;
    size_t threads; /* told, and left out beyond MOST_THREADS */
    char *location;
    size_t location_size;
    bool with_program; /* name the program: it is not the subject's */
};

static void add_program(struct text *out, pid_t pid)
{
    char path[64], name[32] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(name, sizeof(name), f) != NULL)
            name[strcspn(name, "\n")] = '\0';
        fclose(f);
    }
    for (char *c = name; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (strcmp(name, options.witness ? "witness" : "subject") != 0 &&
        !options.valgrind)
        text_add(out, " (%s)", name);
}

static void explain_other_end(struct text *out, pid_t pid,
                              const struct blocked *b)
{
    char target[256];
    bool reads = b->number == SYS_read || b->number == SYS_readv;

    if ((reads || b->number == SYS_write || b->number == SYS_writev) &&
        fd_target(pid, (int)b->args[0], target, sizeof(target)) > 0 &&
        strncmp(target, "pipe:", 5) == 0)
        explain_pipe(out, pid, target, reads);
}

static bool report_thread(pid_t pid, pid_t tid, void *arg)
{
    struct report *r = arg;
    struct place place;
    struct blocked b;

    if (++r->threads > MOST_THREADS)
        return true;
    text_add(r->out, "%spid %d", r->out->at != NULL ? "\n" : "", (int)pid);
    add_program(r->out, pid);
    if (tid != pid)
        text_add(r->out, ", thread %d,", (int)tid);
    if (!process_blocked(pid, tid, &b)) {
        text_add(r->out, " runs");
    } else {
        text_add(r->out, " is blocked in ");
        explain_call(r->out, pid, &b);
    }
    locate(pid, tid, &place);
    if (place.where[0] != '\0')
        text_add(r->out, " in %s", place.where);
    if (r->location[0] == '\0')
        snprintf(r->location, r->location_size, "%s", place.line);
    if (b.number != -1)
        explain_other_end(r->out, pid, &b);
    return true;
}

void hang_report(struct text *out, char *location, size_t location_size)
{
    struct report r = {
        .out = out, .location = location, .location_size = location_size};
    struct process *list;
    size_t n = processes_list(&list);

    location[0] = '\0';
    for (size_t i = 0; i < n && i < MOST_THREADS; i++) {
        if (list[i].state == 'Z')
            text_add(out, "%spid %d has ended and nobody has waited for it",
                     out->at != NULL ? "\n" : "", (int)list[i].pid);
        else if (list[i].state == 'T')
            text_add(out, "%spid %d is stopped (SIGSTOP)",
                     out->at != NULL ? "\n" : "", (int)list[i].pid);
        else
            process_threads(list[i].pid, report_thread, &r);
    }
    if (r.threads > MOST_THREADS)
        text_add(out, "\nand %zu threads more", r.threads - MOST_THREADS);
    if (n > MOST_THREADS)
        text_add(out, "\nand %zu processes more", n - MOST_THREADS);
    free(list);
}
