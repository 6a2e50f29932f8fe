/*
 * debug.c - gdb in the process that runs the student's code (--debug).
 */
#include "judge.h"

#include <sys/wait.h>

static pid_t gdb;

static bool is_traced(pid_t pid)
{
    char path[64], line[128];
    int tracer = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        sscanf(line, "TracerPid: %d", &tracer);
    if (f != NULL)
        fclose(f);
    return tracer != 0;
}

/* When a role has ended, the others go on: gdb would stay with the dead one. */
static const char after_an_end[] =
    "python gdb.events.exited.connect(lambda e: e.inferior.num != 1 and "
    "gdb.post_event(lambda: (gdb.execute('inferior 1', False, True), "
    "gdb.execute('continue'))))";

static _Noreturn void exec_gdb(const struct subject *s)
{
    char pid[16], stop[96];

    snprintf(pid, sizeof(pid), "%d", (int)s->pid);
    snprintf(stop, sizeof(stop), "break scenario_%s", s->scenario);
    if (options.schedule != NULL) /* the roles are its children */
        execlp("gdb", "gdb", "-q", "-p", pid, "-ex", "set detach-on-fork off",
               "-ex", "set schedule-multiple on", "-ex", after_an_end,
               (char *)NULL);
    else
        execlp("gdb", "gdb", "-q", "-p", pid, "-ex", stop, "-ex", "continue",
               (char *)NULL);
    perror("judge: gdb");
    _exit(127);
}

void debug_scenario(struct subject *s)
{
    if (gdb != 0) /* one terminal, one gdb: the test's first scenario */
        return;
    signal(SIGINT, SIG_IGN); /* Ctrl-C is gdb's */
    if (options.schedule != NULL)
        printf("gdb holds the process that will start those of the case: "
               "\"break file.c:line\", then \"continue\".\n");
    else
        printf("gdb stops where scenario \"%s\" begins; "
               "step into your function from there.\n",
               s->scenario);
    fflush(stdout);
    gdb = fork();
    if (gdb == 0) {
        signal(SIGINT, SIG_DFL);
        exec_gdb(s);
    }
    processes_helper(gdb);
    while (gdb > 0 && !is_traced(s->pid) && kill(gdb, 0) == 0)
        subjects_receive(20, NULL);
}

void debug_ended(pid_t pid)
{
    if (pid == gdb) {
        gdb = -1;
        processes_helper(0);
    }
}

void debug_wait(void)
{
    while (gdb > 0)
        subjects_receive(100, NULL);
}
