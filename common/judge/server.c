/*
 * server.c - the subject program as the judge sees it: started once, asked
 * for scenarios, started again when the student's code has ended it.
 */
#include "judge.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../requests.h"
#include "server.h"

static struct {
    pid_t pid; /* 0: not started */
    int control;
    int output; /* memfd: what is printed before main() */
    unsigned failed_starts;
    char why[400]; /* of the last failed start */
    pid_t idle[MOST_WORKERS];
    size_t nidle;
} server = {.control = -1, .output = -1};

pid_t server_pid(void)
{
    return server.pid;
}

int server_control(void)
{
    return server.control;
}

static void exec_subject(int control)
{
    char *path = NULL, number[16];
    char *tmp = getenv("TMPDIR") != NULL ? strdup(getenv("TMPDIR")) : NULL;
    struct rlimit none = {0, 0};

    for (char **word = options.command; *word != NULL; word++)
        path = *word;
    path = realpath(path, NULL);
    setsid();
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(server.output, STDOUT_FILENO);
    dup2(server.output, STDERR_FILENO);
    control = dup2(control, 3);
    close_range(4, ~0u, 0);
    snprintf(number, sizeof(number), "%d", control);
    clearenv();
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    if (tmp != NULL)
        setenv("TMPDIR", tmp, 1);
    setenv(ENV_CONTROL, number, 1);
    setenv(ENV_SUBJECT, path != NULL ? path : "", 1);
    if (options.valgrind)
        setenv(ENV_VALGRIND, "1", 1);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGPIPE, SIG_DFL);
    execvp(options.command[0], options.command);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", options.command[0],
            strerror(errno));
    _exit(127);
}

static void start(void)
{
    int pair[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    if (server.output != -1)
        close(server.output);
    server.output = memfd_create("kit-output", MFD_CLOEXEC);
    REQUIRE(server.output != -1);
    server.pid = fork();
    if (server.pid == 0)
        exec_subject(pair[1]);
    close(pair[1]);
    if (server.pid == -1) {
        server.pid = 0; /* no kill() must ever get the -1 */
        close(pair[0]);
        fail_broken(__FILE__, __LINE__, "fork for the subject");
    }
    server.control = pair[0];
}

static void forget(void)
{
    close(server.control);
    server.control = -1;
    server.pid = 0;
    server.nidle = 0; /* its workers see that it is gone, and end */
}

/* The server's wait status has come. */
void server_has_ended(int status)
{
    char printed[200] = "";
    ssize_t n = pread(server.output, printed, sizeof(printed) - 1, 0);

    printed[n > 0 ? n : 0] = '\0';
    if (WIFSIGNALED(status))
        snprintf(server.why, sizeof(server.why),
                 "the program was ended by %s before or outside a test",
                 signal_name(WTERMSIG(status)));
    else
        snprintf(server.why, sizeof(server.why),
                 "the program ended with exit status %d before or outside a "
                 "test%s%s",
                 WEXITSTATUS(status), n > 0 ? "; it printed: " : "", printed);
    forget();
}

void server_stop(void)
{
    if (server.pid == 0)
        return;
    kill(server.pid, SIGKILL);
    while (waitpid(server.pid, NULL, 0) == -1 && errno == EINTR)
        ;
    forget();
}

static _Noreturn void fail_start(void)
{
    test_fail(CRASHED, NULL,
              "expected: the program starts and waits for the test\n"
              "seen: %s\n"
              "a constructor, a main() or a signal handler of your file may "
              "have run",
              server.why);
}

const char *server_why(void)
{
    return server.why;
}

void server_started(void)
{
    server.failed_starts = 0;
}

/* Tries a few times only: a constructor that never returns would cost every
 * test its processor time. */
void server_need(void)
{
    if (server.failed_starts >= 3)
        fail_start();
    if (server.pid == 0)
        start();
    server.failed_starts++;
}

bool server_send(const struct request *req, const int *fds, size_t nfds)
{
    return request_send(server.control, req, fds, nfds);
}

/* ---- workers --------------------------------------------------------------- */

void server_note_worker(pid_t pid, bool idle)
{
    size_t i = 0;

    while (i < server.nidle && server.idle[i] != pid)
        i++;
    if (i < server.nidle && !idle)
        server.idle[i] = server.idle[--server.nidle];
    else if (i == server.nidle && idle && i < MOST_WORKERS)
        server.idle[server.nidle++] = pid;
}

bool server_has_idle(pid_t pid)
{
    for (size_t i = 0; i < server.nidle; i++)
        if (server.idle[i] == pid)
            return true;
    return false;
}

/* It has said that it is idle a moment before it waits. */
static bool waits(pid_t pid)
{
    struct timespec nap = {.tv_nsec = 1000000};

    for (int round = 0; round < 20; round++) {
        if (process_state(pid) == 'S')
            return true;
        nanosleep(&nap, NULL);
    }
    return false;
}

void server_check_workers(void)
{
    for (size_t i = server.nidle; i-- > 0;)
        if (!waits(server.idle[i]))
            server_note_worker(server.idle[i], false);
}
