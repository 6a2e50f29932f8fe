/*
 * leftovers.c - what a scenario leaves behind: named, charged, removed.
 *
 * What one process holds (descriptors, mappings, children) is compared before
 * and after the scenario, from outside, while it waits for the judge.  What
 * the system holds (System V and POSIX objects) is compared before and after
 * the test.  Only what the run itself made is charged or removed: a new
 * object of this uid, where the uid or the IPC namespace is the run's own;
 * elsewhere (--shared) only one that the shim has seen being made.
 */
#include "judge.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>

#include "leftovers.h"
#include "server.h"

/* ---- sets of lines --------------------------------------------------------------- */

struct table {
    char **lines;
    size_t n;
};

static void table_add(struct table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void table_add(struct table *t, const char *format, ...)
{
    va_list args;

    t->lines = realloc(t->lines, (t->n + 1) * sizeof(*t->lines));
    REQUIRE(t->lines != NULL);
    va_start(args, format);
    REQUIRE(vasprintf(&t->lines[t->n], format, args) != -1);
    va_end(args);
    t->n++;
}

static bool table_has(const struct table *t, const char *line)
{
    for (size_t i = 0; t != NULL && i < t->n; i++)
        if (strcmp(t->lines[i], line) == 0)
            return true;
    return false;
}

static struct table *table_new(void)
{
    struct table *t = calloc(1, sizeof(*t));

    REQUIRE(t != NULL);
    return t;
}

void table_free(struct table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->lines[i]);
    free(t->lines);
    free(t);
}

/* ---- one process ------------------------------------------------------------------ */

static const char *end_of_pipe(pid_t pid, const char *fd)
{
    switch (process_fd_mode(pid, atoi(fd))) {
    case O_RDONLY:
        return " (the read end)";
    case O_WRONLY:
        return " (the write end)";
    default:
        return "";
    }
}

/* Lines such as "descriptor 5: a pipe (the write end)"; two lines are equal
 * only when number and object are. */
struct table *table_of_fds(pid_t pid)
{
    struct table *t = table_new();
    char path[320], target[256];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        table_add(t, "descriptor %s: %s%s", entry->d_name, target,
                  strncmp(target, "pipe:", 5) == 0
                      ? end_of_pipe(pid, entry->d_name)
                      : "");
    }
    if (dir != NULL)
        closedir(dir);
    return t;
}

/* Shared mappings of IPC objects and files, less the runtime's own. */
struct table *table_of_maps(pid_t pid)
{
    struct table *t = table_new();
    char path[64], line[512];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned long long from, to, inode;
        char mode[8], object[300] = "";

        if (sscanf(line, "%llx-%llx %7s %*s %*s %llu %299[^\n]", &from, &to,
                   mode, &inode, object) < 4 ||
            mode[3] != 's' || strstr(object, "memfd:kit-") != NULL)
            continue;
        if (strncmp(object, "/SYSV", 5) == 0)
            table_add(t, "mapping of SysV segment id %llu, %llu bytes at %#llx",
                      inode, to - from, from);
        else
            table_add(t, "mapping of %s, %llu bytes at %#llx",
                      object[0] != '\0' ? object : "shared memory", to - from,
                      from);
    }
    if (f != NULL)
        fclose(f);
    return t;
}

/* Lines of this test, each charged once.  Beyond some there is no more to
 * learn; the rest is counted and removed all the same. */
enum { MOST_CHARGED = 40 };
static struct table charged;
static unsigned uncharged;

bool leftovers_charge(const char *kind, const char *line)
{
    if (charged.n >= MOST_CHARGED) {
        uncharged++;
        return true;
    }
    if (table_has(&charged, line))
        return false;
    table_add(&charged, "%s", line);
    test_left(kind, line);
    return true;
}

void leftovers_end(void)
{
    char line[64];

    if (uncharged == 0)
        return;
    snprintf(line, sizeof(line), "and %u things more", uncharged);
    test_left("file", line);
    uncharged = 0;
}

static unsigned charge_new(const char *kind, const struct table *before,
                           struct table *after)
{
    unsigned count = 0;

    for (size_t i = 0; i < after->n; i++)
        if (!table_has(before, after->lines[i])) {
            leftovers_charge(kind, after->lines[i]);
            count++;
        }
    table_free(after);
    return count;
}

static void charge_process(const struct process *p)
{
    char line[200];

    if (p->state == 'Z')
        snprintf(line, sizeof(line),
                 "child pid %d: it has ended, and nobody has waited for it",
                 (int)p->pid);
    else
        snprintf(line, sizeof(line),
                 "process %d: it still runs after the function has returned",
                 (int)p->pid);
    leftovers_charge(p->state == 'Z' ? "zombie" : "process", line);
}

static unsigned charge_children(struct subject *s)
{
    struct process *list;
    size_t n = processes_list(&list);
    unsigned count = 0;

    for (size_t i = 0; i < n; i++)
        if (list[i].pid != s->pid &&
            process_is_below(list, n, list[i].pid, s->pid)) {
            charge_process(&list[i]);
            count++;
        }
    free(list);
    return count;
}

unsigned leftovers_of(struct subject *s)
{
    return charge_new("descriptor", s->fds, table_of_fds(s->pid)) +
           charge_new("mapping", s->maps, table_of_maps(s->pid)) +
           charge_children(s);
}

/* ---- the system's objects ----------------------------------------------------------- */

struct sysv {
    char kind; /* 'm', 's', 'q' */
    int id;
    uid_t uid;
    pid_t creator; /* 0: the kernel does not say */
    char words[120];
};

/* One line of /proc/sysvipc/shm, sem or msg; see proc(5). */
static bool parse_sysv(char kind, const char *line, struct sysv *o)
{
    unsigned long long size, nattch;
    unsigned perms;
    int creator = 0, key;

    *o = (struct sysv){.kind = kind};
    if (kind == 'm' &&
        sscanf(line, "%d %d %o %llu %d %*d %llu %u", &key, &o->id, &perms,
               &size, &creator, &nattch, &o->uid) == 7)
        snprintf(o->words, sizeof(o->words),
                 "SysV segment id %d, %llu bytes, %llu attached", o->id, size,
                 nattch);
    else if (kind == 's' && sscanf(line, "%d %d %o %llu %u", &key, &o->id,
                                   &perms, &size, &o->uid) == 5)
        snprintf(o->words, sizeof(o->words),
                 "SysV semaphore set id %d, %llu semaphores", o->id, size);
    else if (kind == 'q' &&
             sscanf(line, "%d %d %o %llu %llu %*d %*d %u", &key, &o->id, &perms,
                    &size, &nattch, &o->uid) == 6)
        snprintf(o->words, sizeof(o->words),
                 "SysV message queue id %d, %llu messages", o->id, nattch);
    else
        return false;
    o->creator = creator;
    return true;
}

static void each_sysv(char kind, void (*each)(const struct sysv *o, void *arg),
                      void *arg)
{
    const char *path = kind == 'm'   ? "/proc/sysvipc/shm"
                       : kind == 's' ? "/proc/sysvipc/sem"
                                     : "/proc/sysvipc/msg";
    FILE *f = fopen(path, "re");
    char line[400];
    struct sysv o;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (parse_sysv(kind, line, &o) && o.uid == geteuid())
            each(&o, arg);
    if (f != NULL)
        fclose(f);
}

static void
each_file(const char *path,
          void (*each)(const char *dir, const char *name, void *arg), void *arg)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat st;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_uid == geteuid())
            each(path, entry->d_name, arg);
    if (dir != NULL)
        closedir(dir);
}

static struct table before; /* objects when the test began */

static void note_sysv(const struct sysv *o, void *arg)
{
    (void)arg;
    table_add(&before, "%c %d", o->kind, o->id);
}

static void note_file(const char *dir, const char *name, void *arg)
{
    (void)arg;
    table_add(&before, "%s/%s", dir, name);
}

static void clear(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->lines[i]);
    free(t->lines);
    *t = (struct table){0};
}

void leftovers_begin(void)
{
    clear(&before);
    clear(&charged);
    each_sysv('m', note_sysv, NULL);
    each_sysv('s', note_sysv, NULL);
    each_sysv('q', note_sysv, NULL);
    each_file("/dev/shm", note_file, NULL);
    each_file("/dev/mqueue", note_file, NULL);
    if (!options.shared)
        each_file("/tmp", note_file, NULL);
}

static bool sysv_is_ours(const struct sysv *o)
{
    char line[32];

    snprintf(line, sizeof(line), "%c %d", o->kind, o->id);
    if (table_has(&before, line) || things_own_object(o->kind, o->id))
        return false;
    return !options.shared || made_has(objects_made(), o->kind, o->id);
}

/* Does the log of calls show an object of this name being opened? */
static bool is_logged(const char *call, const char *object)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next) {
        unsigned n = atomic_load(&s->area->ncalls);

        for (unsigned i = 0; i < n && i < LOGGED_CALLS; i++) {
            const struct logged_call *c = &s->area->calls[i];

            if (strncmp(c->name, call, NAME_BYTES) == 0 && c->err == 0 &&
                strncmp(c->object, object, OBJECT_BYTES) == 0)
                return true;
        }
    }
    return false;
}

struct sweep {
    bool remove;
    unsigned count;
};

static void remove_sysv(const struct sysv *o)
{
    if (o->kind == 'm')
        shmctl(o->id, IPC_RMID, NULL);
    else if (o->kind == 's')
        semctl(o->id, 0, IPC_RMID);
    else
        msgctl(o->id, IPC_RMID, NULL);
}

static void sweep_sysv(const struct sysv *o, void *arg)
{
    struct sweep *sweep = arg;

    if (!sysv_is_ours(o))
        return;
    sweep->count++;
    leftovers_charge(o->kind == 'm'   ? "shm"
                     : o->kind == 's' ? "sem"
                                      : "queue",
                     o->words);
    if (sweep->remove)
        remove_sysv(o);
}

static int remove_entry(const char *path, const struct stat *st, int type,
                        struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Where /tmp or the uid is the run's own, what is new there is the run's. */
static void sweep_temporary(const char *dir, const char *name, void *arg)
{
    struct sweep *sweep = arg;
    char path[320], line[400];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (table_has(&before, path) || strcmp(path, test.dir) == 0 ||
        lstat(path, &st) == -1)
        return;
    sweep->count++;
    snprintf(line, sizeof(line), "%s %s",
             S_ISSOCK(st.st_mode) ? "socket" : "temporary file", path);
    leftovers_charge(S_ISSOCK(st.st_mode) ? "socket" : "file", line);
    if (sweep->remove)
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* What lies in /dev/shm and /dev/mqueue. */
struct posix_kind {
    char letter; /* as in judges_name() */
    const char *call, *kind, *words;
};

static const struct posix_kind *posix_kind_of(const char *dir, const char *name)
{
    static const struct posix_kind queue = {'q', "mq_open", "posix-queue",
                                            "POSIX message queue"},
                                   semaphore = {'s', "sem_open", "posix-sem",
                                                "POSIX semaphore"},
                                   memory = {'m', "shm_open", "posix-shm",
                                             "POSIX shared memory"};

    if (strcmp(dir, "/dev/mqueue") == 0)
        return &queue;
    return strncmp(name, "sem.", 4) == 0 ? &semaphore : &memory;
}

static void sweep_file(const char *dir, const char *name, void *arg)
{
    struct sweep *sweep = arg;
    const struct posix_kind *k = posix_kind_of(dir, name);
    char path[320], object[OBJECT_BYTES], line[400];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    snprintf(object, sizeof(object), "/%.40s",
             name + (k->letter == 's' ? 4 : 0));
    if (table_has(&before, path) || things_own_name(k->letter, object) ||
        (options.shared && !is_logged(k->call, object)))
        return;
    sweep->count++;
    snprintf(line, sizeof(line), "%s %s", k->words, object);
    leftovers_charge(k->kind, line);
    if (sweep->remove)
        unlink(path);
}

unsigned leftovers_objects(bool remove)
{
    struct sweep sweep = {.remove = remove};

    each_sysv('m', sweep_sysv, &sweep);
    each_sysv('s', sweep_sysv, &sweep);
    each_sysv('q', sweep_sysv, &sweep);
    each_file("/dev/shm", sweep_file, &sweep);
    each_file("/dev/mqueue", sweep_file, &sweep);
    if (!options.shared)
        each_file("/tmp", sweep_temporary, &sweep);
    return sweep.count;
}

void leftovers_words(char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < charged.n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s",
                               i == 0 ? "" : "\n      ", charged.lines[i]);
}

/* ---- processes ------------------------------------------------------------------------ */

static bool is_a_scenario(pid_t pid)
{
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (s->pid == pid)
            return true;
    return false;
}

/* Those that do not belong to a scenario that the test itself broke off. */
static void charge_strays(const struct process *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool broken_off = false;

        for (struct subject *s = test.subjects; s != NULL; s = s->next)
            if (!s->ended && process_is_below(list, n, list[i].pid, s->pid))
                broken_off = true;
        if (!broken_off && list[i].state != 'Z' && !is_a_scenario(list[i].pid))
            charge_process(&list[i]);
    }
}

static size_t signal_all(int sig)
{
    struct process *list;
    size_t n = processes_list(&list), alive = 0;

    for (size_t i = 0; i < n; i++)
        if (list[i].state != 'Z') {
            kill(list[i].pid, sig);
            alive++;
        }
    free(list);
    return alive;
}

/* Stops them all, until there are no new ones, before killing any: processes
 * that fork faster than they are killed would win otherwise. */
static void kill_all(void)
{
    size_t last = 0, now;

    for (int round = 0; round < 100; round++) {
        now = signal_all(SIGSTOP);
        if (now == last)
            break;
        last = now;
    }
    signal_all(SIGKILL);
}

void processes_end_all(bool charge)
{
    struct process *list;
    struct timespec nap = {.tv_nsec = 1000000};

    server_check_workers();

    size_t n = processes_list(&list);

    if (charge)
        charge_strays(list, n);
    free(list);
    for (int round = 0; n > 0 && round < 500; round++) {
        kill_all();
        subjects_receive(0, NULL);
        n = processes_list(&list);
        free(list);
        if (n > 0)
            nanosleep(&nap, NULL);
        if (round == 400) /* a fork server that does not wait for them */
            server_stop();
    }
    /* What the student's code may have done to the fork server ends here. */
    if (test.status != PASSED && test.status != NOT_STARTED)
        server_stop();
    else if (server_pid() != 0 && process_state(server_pid()) == 'T')
        server_stop();
}
