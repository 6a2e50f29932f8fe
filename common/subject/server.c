/*
 * server.c - the subject's main(): a fork server.
 *
 * The program is started once for a whole lab, natively or under Valgrind
 * (whose start takes a third of a second).  For each scenario the judge sends
 * a request, and the server forks: every scenario has a fresh process.
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

#include "subject.h"

enum { MOST_FDS = FIXED_FDS + PARCEL_FDS };

/* Receives one request; fds[] gets its descriptors.  Returns false when the
 * judge has closed the socket. */
static bool receive_request(int control, struct request *req, int *fds,
                            size_t *nfds)
{
    union {
        char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
        struct cmsghdr align;
    } room;
    struct iovec iov = {.iov_base = req, .iov_len = sizeof(*req)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room.bytes,
                         .msg_controllen = sizeof(room.bytes)};
    ssize_t got;

    do
        got = recvmsg(control, &msg, MSG_CMSG_CLOEXEC);
    while (got == -1 && errno == EINTR);
    if (got != sizeof(*req))
        return false;

    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    *nfds = 0;
    if (cmsg != NULL && cmsg->cmsg_type == SCM_RIGHTS) {
        *nfds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(cmsg), *nfds * sizeof(int));
    }
    return *nfds == FIXED_FDS + req->nfds;
}

static void answer(int control, struct answer a)
{
    /* A judge that is gone is seen at the next receive. */
    (void)send(control, &a, sizeof(a), MSG_NOSIGNAL);
}

static void serve_request(int control, int children)
{
    struct request req;
    int fds[MOST_FDS];
    size_t nfds;

    if (!receive_request(control, &req, fds, &nfds))
        _exit(0);

    scenario_state.number++;

    pid_t pid = fork();

    if (pid == 0) {
        close(children);
        scenario_main(&req, fds); /* closes control as well: it is low */
    }
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
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        answer(control, (struct answer){.pid = pid, .status = status});
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
    struct pollfd fds[] = {{.fd = control, .events = POLLIN},
                           {.fd = children, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) == -1 && errno != EINTR)
            _exit(1);
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
    if (getenv(ENV_VALGRIND) != NULL)
        scenario_rehearse(atoi(control));
    serve(atoi(control));
}
