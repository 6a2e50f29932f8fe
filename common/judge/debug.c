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

static _Noreturn void exec_gdb(const struct subject *s)
{
    char pid[16], stop[96];

    snprintf(pid, sizeof(pid), "%d", (int)s->pid);
    snprintf(stop, sizeof(stop), "break scenario_%s", s->scenario);
    if (options.schedule != NULL) /* the roles are its children */
        execlp("gdb", "gdb", "-q", "-p", pid, "-ex", "set detach-on-fork off",
               "-ex", "set schedule-multiple on", "-ex", stop, "-ex",
               "continue", (char *)NULL);
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
