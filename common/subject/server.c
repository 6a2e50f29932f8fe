/*
 * server.c - the subject's main(): a fork server.
 *
 * The program is started once for a whole lab, natively or under Valgrind
 * (whose start takes longer than most tests).  For each scenario the judge sends
 * a request, and the server forks: every scenario has a fresh process.
 *
 * Under Valgrind, where a process costs ten times what a scenario does in it,
 * one that has left nothing of its scenario is a worker: it waits for the next
 * one (again.c), and the server forks only when no worker is idle.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../requests.h"
#include "subject.h"

static struct worker {
    pid_t pid; /* 0: there is none */
    int socket;
    bool idle;
    uint32_t number;               /* of its last request */
    char scenario[NAME_BYTES * 2]; /* its last one */
} workers[MOST_WORKERS];
static bool has_workers;

static void answer(int control, struct answer a)
{
    /* A judge that is gone is seen at the next receive. */
    (void)send(control, &a, sizeof(a), MSG_NOSIGNAL);
}

/* ---- workers ---------------------------------------------------------- */

/* An idle one; one that knows the scenario, whose code Valgrind has translated
 * there, before others. */
static struct worker *idle_worker(const char *scenario)
{
    struct worker *found = NULL;

    for (struct worker *w = workers; w < workers + MOST_WORKERS; w++)
        if (w->pid != 0 && w->idle &&
            (found == NULL || strcmp(w->scenario, scenario) == 0))
            found = w;
    return found;
}

static struct worker *free_place(void)
{
    for (struct worker *w = workers; w < workers + MOST_WORKERS; w++)
        if (has_workers && w->pid == 0)
            return w;
    return NULL;
}

static void forget_worker(pid_t pid)
{
    for (struct worker *w = workers; w < workers + MOST_WORKERS; w++)
        if (w->pid == pid) {
            close(w->socket);
            *w = (struct worker){.pid = 0};
        }
}

static void take(struct worker *w, pid_t pid, const struct request *req)
{
    w->pid = pid;
    w->idle = false;
    w->number = req->number;
    strcpy(w->scenario, req->scenario);
}

static bool give_to_worker(const struct request *req, const int *fds,
                           size_t nfds, pid_t *pid)
{
    struct worker *w = idle_worker(req->scenario);

    if (w == NULL || !request_send(w->socket, req, fds, nfds))
        return false;
    take(w, *pid = w->pid, req);
    return true;
}

/* A worker has said which request it has done, and is idle; one that says
 * anything else, or has closed its socket, gets no more. */
static void hear_worker(struct worker *w, int control)
{
    uint32_t done[2]; /* room to see what is too long */

    if (recv(w->socket, done, sizeof(done), MSG_DONTWAIT) == sizeof(done[0]) &&
        done[0] == w->number && !w->idle) {
        w->idle = true;
        answer(control, (struct answer){.pid = w->pid, .idle = 1});
    } else {
        forget_worker(w->pid);
    }
}

/* ---- requests --------------------------------------------------------- */

static pid_t start_process(const struct request *req, const int *fds,
                           int children)
{
    struct worker *w = free_place();
    int pair[2] = {-1, -1};

    if (w != NULL &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
        w = NULL;

    pid_t pid = fork();

    if (pid == 0) {
        close(children);
        for (struct worker *other = workers; other < workers + MOST_WORKERS;
             other++)
            if (other->pid != 0)
                close(other->socket);
        if (w != NULL)
            close(pair[0]);
        scenario_main(req, fds, pair[1]); /* closes control: it is low */
    }
    if (w != NULL) {
        close(pair[1]);
        if (pid == -1) {
            close(pair[0]);
        } else {
            w->socket = pair[0];
            take(w, pid, req);
        }
    }
    return pid;
}

static void serve_request(int control, int children)
{
    struct request req;
    int fds[REQUEST_FDS];
    size_t nfds;
    pid_t pid;

    if (!request_receive(control, &req, fds, &nfds))
        _exit(0);
    req.scenario[sizeof(req.scenario) - 1] = '\0';
    if (!give_to_worker(&req, fds, nfds, &pid))
        pid = start_process(&req, fds, children);
    answer(control, (struct answer){.started = 1,
                                    .pid = pid,
                                    .status = pid == -1 ? errno : 0,
                                    .number = req.number});
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
}

static void report_ended_children(int control, int children)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    (void)!read(children, &info, sizeof(info));
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        forget_worker(pid);
        answer(control, (struct answer){.pid = pid, .status = status});
    }
}

/*
 * Fills the low descriptors, so that what is opened from now on (by Valgrind
 * too: a log a process) lies above them.  A scenario closes them again, and
 * finds 3, 4, ... free whatever runs it.
 */
static void fill_low_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    while (null != -1 && null <= LAST_LOW_FD)
        null = fcntl(null, F_DUPFD_CLOEXEC, 0);
    if (null != -1)
        close(null);
}

static void serve(int control)
{
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    fill_low_descriptors();

    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd fds[2 + MOST_WORKERS] = {{.fd = control, .events = POLLIN},
                                           {.fd = children, .events = POLLIN}};

    for (;;) {
        for (size_t i = 0; i < MOST_WORKERS; i++)
            fds[2 + i] = (struct pollfd){
                .fd = workers[i].pid != 0 ? workers[i].socket : -1,
                .events = POLLIN};
        if (poll(fds, 2 + MOST_WORKERS, -1) == -1) {
            if (errno != EINTR)
                _exit(1);
            continue;
        }
        for (size_t i = 0; i < MOST_WORKERS; i++)
            if (fds[2 + i].revents != 0)
                hear_worker(&workers[i], control);
        if (fds[1].revents != 0)
            report_ended_children(control, children);
        if (fds[0].revents != 0)
            serve_request(control, children);
    }
}

int main(int argc, char **argv)
{
    tool_main(argc, argv);

    const char *control = getenv(ENV_CONTROL);

    if (control == NULL) {
        fprintf(stderr, "%s: started by the judge only: use make\n", argv[0]);
        return 2;
    }
    has_workers = getenv(ENV_VALGRIND) != NULL;
    if (has_workers) {
        again_prepare();
        scenario_rehearse(atoi(control));
    }
    serve(atoi(control));
}
