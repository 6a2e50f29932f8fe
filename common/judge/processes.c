/*
 * processes.c - the subject's processes as the kernel shows them in /proc
 * (proc(5)).
 */
#include "judge.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "calls.h"
#include "server.h"

static pid_t helper;

void processes_helper(pid_t pid)
{
    helper = pid;
}

/* ---- reading /proc ---------------------------------------------------------- */

static bool read_file(char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool read_file(char *buf, size_t size, const char *format, ...)
{
    char path[64];
    va_list args;
    FILE *f;

    va_start(args, format);
    vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    f = fopen(path, "re");
    if (f == NULL)
        return false;

    size_t n = fread(buf, 1, size - 1, f);

    fclose(f);
    buf[n] = '\0';
    return n > 0;
}

/* The name in parentheses may hold anything: look from its end. */
static bool read_stat(pid_t pid, struct process *p)
{
    char buf[1024], *rest;
    unsigned long long utime, stime, pages;
    int ppid;

    if (!read_file(buf, sizeof(buf), "/proc/%d/stat", (int)pid) ||
        (rest = strrchr(buf, ')')) == NULL)
        return false;
    if (sscanf(rest + 1,
               " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu "
               "%*d %*d %*d %*d %*d %*d %*u %*u %llu",
               &p->state, &ppid, &utime, &stime, &pages) != 5)
        return false;
    p->pid = pid;
    p->ppid = ppid;
    p->cpu_ms = (utime + stime) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
    p->memory_kb = pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
    return true;
}

int process_fd_mode(pid_t pid, int fd)
{
    char buf[512];
    const char *line;
    unsigned flags;

    if (!read_file(buf, sizeof(buf), "/proc/%d/fdinfo/%d", (int)pid, fd) ||
        (line = strstr(buf, "flags:")) == NULL ||
        sscanf(line, "flags: %o", &flags) != 1)
        return -1;
    return (int)(flags & O_ACCMODE);
}

char process_state(pid_t pid)
{
    struct process p;

    return read_stat(pid, &p) ? p.state : '?';
}

static size_t list_all(struct process **list)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    size_t n = 0, room = 64;

    REQUIRE(dir != NULL);
    *list = malloc(room * sizeof(**list));
    REQUIRE(*list != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (n == room) {
            room *= 2;
            *list = realloc(*list, room * sizeof(**list));
            REQUIRE(*list != NULL);
        }
        if (read_stat((pid_t)atoi(entry->d_name), &(*list)[n]))
            n++;
    }
    closedir(dir);
    return n;
}

static const struct process *find(const struct process *list, size_t n,
                                  pid_t pid)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].pid == pid)
            return &list[i];
    return NULL;
}

/* As process_is_below, over a whole listing. */
static bool descends(const struct process *list, size_t n, pid_t pid,
                     pid_t root)
{
    const struct process *p = find(list, n, pid);

    for (size_t depth = 0; p != NULL && depth < n; depth++) {
        if (p->pid == root)
            return true;
        p = find(list, n, p->ppid);
    }
    return false;
}

size_t processes_list(struct process **list)
{
    struct process *all;
    size_t n = list_all(&all), kept = 0;

    *list = malloc((n + 1) * sizeof(**list));
    REQUIRE(*list != NULL);
    for (size_t i = 0; i < n; i++) {
        pid_t pid = all[i].pid;

        if (pid == getpid() || pid == server_pid() || pid == helper ||
            server_has_idle(pid))
            continue;
        if (descends(all, n, pid, getpid()) &&
            (helper == 0 || !descends(all, n, pid, helper)))
            (*list)[kept++] = all[i];
    }
    free(all);
    return kept;
}

bool process_is_below(const struct process *list, size_t n, pid_t pid,
                      pid_t root)
{
    return root == getpid() ? find(list, n, pid) != NULL
                            : descends(list, n, pid, root);
}

/* ---- threads and what they wait in -------------------------------------------- */

bool process_threads(pid_t pid, bool (*each)(pid_t pid, pid_t tid, void *arg),
                     void *arg)
{
    char path[64];
    struct dirent *entry;
    bool go_on = true;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return true;
    while (go_on && (entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            go_on = each(pid, (pid_t)atoi(entry->d_name), arg);
    closedir(dir);
    return go_on;
}

bool process_blocked(pid_t pid, pid_t tid, struct blocked *b)
{
    char buf[256];

    b->number = -1;
    if (!read_file(buf, sizeof(buf), "/proc/%d/task/%d/syscall", (int)pid,
                   (int)tid))
        return false;
    return sscanf(buf, "%ld %llx %llx %llx %llx %llx %llx", &b->number,
                  &b->args[0], &b->args[1], &b->args[2], &b->args[3],
                  &b->args[4], &b->args[5]) == 7;
}

static char thread_state(pid_t pid, pid_t tid)
{
    char buf[512], *rest;

    if (!read_file(buf, sizeof(buf), "/proc/%d/task/%d/stat", (int)pid,
                   (int)tid) ||
        (rest = strrchr(buf, ')')) == NULL)
        return '?';
    return rest[2];
}

/* How often the thread gave up the processor or lost it: grows when it runs. */
static unsigned long long switches(pid_t pid, pid_t tid)
{
    char buf[4096], *at;
    unsigned long long a = 0, b = 0;

    if (!read_file(buf, sizeof(buf), "/proc/%d/task/%d/status", (int)pid,
                   (int)tid))
        return 0;
    if ((at = strstr(buf, "\nvoluntary_ctxt_switches:")) != NULL)
        sscanf(at + 25, "%llu", &a);
    if ((at = strstr(buf, "\nnonvoluntary_ctxt_switches:")) != NULL)
        sscanf(at + 28, "%llu", &b);
    return a + b;
}

/* Does the call end by itself after a time? */
static bool has_timeout(const struct blocked *b)
{
    switch (b->number) {
    case SYS_poll:
    case SYS_epoll_wait:
        return (int)b->args[b->number == SYS_poll ? 2 : 3] >= 0;
    case SYS_epoll_pwait:
        return (int)b->args[3] >= 0;
    case SYS_ppoll:
        return b->args[2] != 0;
    case SYS_select:
    case SYS_pselect6:
        return b->args[4] != 0;
    case SYS_futex:
    case SYS_semtimedop:
    case SYS_mq_timedsend:
    case SYS_mq_timedreceive:
        return b->args[b->number == SYS_mq_timedsend ||
                               b->number == SYS_mq_timedreceive
                           ? 4
                           : 3] != 0;
    case SYS_rt_sigtimedwait:
        return b->args[2] != 0;
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_restart_syscall:
        return true;
    default:
        return false;
    }
}

static bool is_nap(const struct blocked *b)
{
    return b->number == SYS_nanosleep || b->number == SYS_clock_nanosleep ||
           b->number == SYS_restart_syscall;
}

static void add_print(struct look *l, unsigned long long x)
{
    l->print = (l->print ^ x) * 0x100000001b3u; /* FNV-1a */
}

static bool look_at_thread(pid_t pid, pid_t tid, void *arg)
{
    struct look *l = arg;
    struct blocked b;
    char state = thread_state(pid, tid);

    add_print(l, (unsigned long long)tid);
    if (state == 'Z' || state == 'X')
        return true;
    if (state != 'T' && state != 't') {
        if (state != 'S' || !process_blocked(pid, tid, &b))
            l->asleep = l->still = false;
        else if (has_timeout(&b)) {
            l->asleep = false;
            l->still = l->still && !is_nap(&b);
        }
        l->runnable = l->runnable || state == 'R' || state == 'D';
    }
    add_print(l, switches(pid, tid));
    return true;
}

static bool timer_is_armed(void)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (atomic_load(&s->area->timers) != 0)
            return true;
    return false;
}

/* A segment keeps its pages when nobody has it attached. */
static unsigned long long segments_kb(void)
{
    unsigned long long bytes, sum = 0;
    char line[512];
    FILE *f = fopen("/proc/sysvipc/shm", "re");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line,
                   "%*d %*d %*o %*u %*d %*d %*u %*u %*u %*u %*u %*u %*u %*u "
                   "%llu",
                   &bytes) == 1)
            sum += bytes / 1024;
    if (f != NULL)
        fclose(f);
    return sum;
}

/*
 * The fork server counts for sleep: while it runs it may be about to report
 * an end, or (before the scenario is ready) run the student's code in a
 * constructor.  Its processor time counts only then.
 */
struct look processes_look(void)
{
    struct look l = {.asleep = !timer_is_armed(),
                     .still = true,
                     .segments_kb = segments_kb(),
                     .print = 0xcbf29ce484222325u};
    struct process *list, server;
    size_t n = processes_list(&list);

    for (size_t i = 0; i < n; i++) {
        l.cpu_ms += list[i].cpu_ms;
        l.memory_kb += list[i].memory_kb;
        process_threads(list[i].pid, look_at_thread, &l);
    }
    free(list);
    if (server_pid() != 0 && read_stat(server_pid(), &server)) {
        if (test.subjects != NULL && test.subjects->pid == 0)
            l.cpu_ms += server.cpu_ms;
        process_threads(server.pid, look_at_thread, &l);
    }
    return l;
}

/* ---- who sleeps in which call -------------------------------------------------- */

static const struct {
    const char *name;
    const char *family;
    long number;
} calls[] = {{"read", "read", SYS_read},
             {"readv", "read", SYS_readv},
             {"recvfrom", "read", SYS_recvfrom},
             {"recvmsg", "read", SYS_recvmsg},
             {"write", "write", SYS_write},
             {"writev", "write", SYS_writev},
             {"sendto", "write", SYS_sendto},
             {"sendmsg", "write", SYS_sendmsg},
             {"wait4", "waitpid", SYS_wait4},
             {"waitid", "waitpid", SYS_waitid},
             {"poll", "poll", SYS_poll},
             {"ppoll", "poll", SYS_ppoll},
             {"select", "poll", SYS_select},
             {"pselect6", "poll", SYS_pselect6},
             {"epoll_wait", "poll", SYS_epoll_wait},
             {"epoll_pwait", "poll", SYS_epoll_pwait},
             {"futex", "futex", SYS_futex},
             {"semop", "semop", SYS_semop},
             {"semtimedop", "semop", SYS_semtimedop},
             {"msgsnd", "msgsnd", SYS_msgsnd},
             {"msgrcv", "msgrcv", SYS_msgrcv},
             {"mq_timedsend", "mq_send", SYS_mq_timedsend},
             {"mq_timedreceive", "mq_receive", SYS_mq_timedreceive},
             {"accept", "accept", SYS_accept},
             {"accept4", "accept", SYS_accept4},
             {"connect", "connect", SYS_connect},
             {"flock", "flock", SYS_flock},
             {"fcntl", "fcntl", SYS_fcntl},
             {"open", "open", SYS_open},
             {"openat", "open", SYS_openat},
             {"pause", "pause", SYS_pause},
             {"rt_sigsuspend", "pause", SYS_rt_sigsuspend},
             {"rt_sigtimedwait", "sigwait", SYS_rt_sigtimedwait},
             {"nanosleep", "nanosleep", SYS_nanosleep},
             {"clock_nanosleep", "nanosleep", SYS_clock_nanosleep}};

const char *call_name(long number)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].number == number)
            return calls[i].name;
    return NULL;
}

static bool is_call(long number, const char *call)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].number == number)
            return strcmp(calls[i].name, call) == 0 ||
                   strcmp(calls[i].family, call) == 0;
    return false;
}

static bool thread_sleeps_elsewhere(pid_t pid, pid_t tid, void *call)
{
    struct blocked b;

    return !(thread_state(pid, tid) == 'S' && process_blocked(pid, tid, &b) &&
             is_call(b.number, call) && !waits_for_judge(pid, &b));
}

static bool thread_is_at_rest(pid_t pid, pid_t tid, void *arg)
{
    struct blocked b;

    (void)arg;
    return process_blocked(pid, tid, &b) && waits_for_judge(pid, &b);
}

bool process_is_at_rest(const struct subject *s)
{
    struct process *list;
    size_t n = processes_list(&list);
    bool at_rest = true;

    for (size_t i = 0; i < n && at_rest; i++)
        if (process_is_below(list, n, list[i].pid, s->pid))
            at_rest = process_threads(list[i].pid, thread_is_at_rest, NULL);
    free(list);
    return at_rest;
}

bool process_sleeps_in(const struct subject *s, const char *call)
{
    struct process *list;
    size_t n = processes_list(&list);
    bool found = false;

    for (size_t i = 0; i < n && !found; i++)
        if (process_is_below(list, n, list[i].pid, s->pid))
            found = !process_threads(list[i].pid, thread_sleeps_elsewhere,
                                     (void *)(uintptr_t)call);
    free(list);
    return found;
}
