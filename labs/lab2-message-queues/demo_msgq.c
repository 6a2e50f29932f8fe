/*
 * demo_msgq.c - a print shop on two queues, for two terminals.
 *
 *     demo_msgq work /shop            terminal 1: makes the queue, takes jobs
 *     demo_msgq put /shop 5 letter    terminal 2: puts a job, priority 5
 *     demo_msgq serve shop.key        terminal 1: answers requests
 *     demo_msgq ask shop.key hello    terminal 2: asks, and gets a reply
 *
 * It stands on your functions of msgq.h.  shop.key is any existing file.
 * `work` and `serve` go on until Ctrl-C and then remove their queue.
 */
#include "demo.h"
#include "msgq.h"

#include <ctype.h>
#include <signal.h>
#include <sys/ipc.h>
#include <unistd.h>

#define MAX_JOBS  8
#define JOB_BYTES 256

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
    (void)sig;
    stopped = 1;
}

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr, "usage:\n");
    fprintf(stderr, "  %s work /NAME           make a queue, take jobs\n",
            name);
    fprintf(stderr, "  %s put /NAME PRIO JOB   put a job into it\n", name);
    fprintf(stderr, "  %s serve KEYFILE        answer requests\n", name);
    fprintf(stderr, "  %s ask KEYFILE WORDS    send one, show the reply\n",
            name);
    exit(2);
}

/* Takes a job every two seconds, so that jobs pile up and overtake. */
static void work(const char *name)
{
    mqd_t q = jobq_create(name, MAX_JOBS, JOB_BYTES);

    if (q == (mqd_t)-1)
        die_errno(name);
    printf("queue %s: at most %d jobs.  Ctrl-C ends this and removes it.\n",
           name, MAX_JOBS);
    while (!stopped) {
        char job[JOB_BYTES];
        unsigned prio;
        ssize_t n = jobq_get(q, job, sizeof(job), &prio, 500);

        if (n == -1 && errno != ETIMEDOUT)
            die_errno("jobq_get");
        if (n == -1)
            continue;
        printf("priority %5u: %.*s\n", prio, (int)n, job);
        fflush(stdout);
        sleep(2);
    }
    mq_close(q);
    if (jobq_destroy(name) == -1)
        die_errno(name);
}

static void put(const char *name, unsigned prio, const char *job)
{
    mqd_t q = jobq_open(name);

    if (q == (mqd_t)-1)
        die_errno(name);
    if (jobq_put(q, job, strlen(job), prio, 3000) == -1)
        die_errno("jobq_put");
    mq_close(q);
}

static key_t key_of(const char *file)
{
    key_t key = ftok(file, 'Q');

    if (key == (key_t)-1)
        die_errno(file);
    return key;
}

static int shout(const void *req, size_t size, void *rep, size_t *rep_size)
{
    const char *from = req;
    char *to = rep;

    printf("a request: %.*s\n", (int)size, from);
    fflush(stdout);
    for (size_t i = 0; i < size; i++)
        to[i] = (char)toupper((unsigned char)from[i]);
    *rep_size = size;
    return 0;
}

static int served; /* the queue that Ctrl-C removes */

static void remove_served(int sig)
{
    (void)sig;
    sysvq_destroy(served); /* msgctl(2) is a system call and no more */
}

static void serve(const char *file)
{
    served = sysvq_create(key_of(file));
    if (served == -1)
        die_errno(file);
    signal(SIGINT, remove_served);
    printf("queue id %d (ipcs -q).  Ctrl-C removes it.\n", served);
    fflush(stdout);
    while (sysvq_serve(served, shout, 1) == 0)
        ;
    if (errno != EIDRM && errno != EINVAL)
        die_errno("sysvq_serve");
}

static void ask(const char *file, const char *words)
{
    char reply[SYSVQ_CALL_BYTES];
    ssize_t n;
    int id = sysvq_open(key_of(file));

    if (id == -1)
        die_errno(file);
    if (sysvq_call(id, words, strlen(words), reply, sizeof(reply), &n) == -1)
        die_errno("sysvq_call");
    printf("%.*s\n", (int)n, reply);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        usage();
    signal(SIGINT, stop);
    if (strcmp(argv[1], "work") == 0 && argc == 3)
        work(argv[2]);
    else if (strcmp(argv[1], "put") == 0 && argc == 5)
        put(argv[2], (unsigned)atoi(argv[3]), argv[4]);
    else if (strcmp(argv[1], "serve") == 0 && argc == 3)
        serve(argv[2]);
    else if (strcmp(argv[1], "ask") == 0 && argc == 4)
        ask(argv[2], argv[3]);
    else
        usage();
    return 0;
}
