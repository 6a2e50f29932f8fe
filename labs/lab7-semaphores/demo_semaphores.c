/*
 * demo_semaphores.c - semaphores of all kinds, from many terminals.
 *
 *     demo_semaphores lamp /lamp            terminal 1: makes it and keeps it
 *     demo_semaphores hold /lamp 10         locks it for 10 s
 *     demo_semaphores forks 0x4711 3        makes a set of 3 and keeps it
 *     demo_semaphores eat 0x4711 0 1 20     takes two for 20 s: kill it
 *     demo_semaphores token                 makes a token and keeps its queue
 *     demo_semaphores turn QID 10           has the turn for 10 s
 *     demo_semaphores keep /post            a buffer, a mailbox, a place to meet
 *     demo_semaphores produce /post         each line of input is an item ...
 *     demo_semaphores consume /post         ... printed here
 *     demo_semaphores write /post           each line goes into the mailbox
 *     demo_semaphores read /post            and is read here
 *     demo_semaphores meet /post            waits for another one
 *
 * It stands on your functions of semaphores.h.  What makes something removes
 * it at Ctrl-C.
 */
#include "demo.h"
#include "semaphores.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What lies in the shared memory that `keep` makes. */
struct post {
    struct slots slots;
    struct mailbox mailbox;
    struct rendezvous place;
    int qid; /* the mailbox's queue */
};

static void usage(void)
{
    const char *name = program_invocation_short_name;

    fprintf(stderr,
            "usage:\n"
            "  %s lamp /NAME              make a binary semaphore\n"
            "  %s hold /NAME SECONDS      lock it for so long\n"
            "  %s forks KEY N             make a set of N semaphores\n"
            "  %s eat KEY A B SECONDS     take two of them for so long\n"
            "  %s token                   make a queue with a token\n"
            "  %s turn QID SECONDS        have it for so long\n"
            "  %s keep /NAME              make the memory for what follows\n"
            "  %s produce|consume /NAME   a bounded buffer, a line an item\n"
            "  %s write|read /NAME        a mailbox, a line a message\n"
            "  %s meet /NAME              wait for one other\n",
            name, name, name, name, name, name, name, name, name, name);
    exit(2);
}

static void stay(const char *seconds)
{
    struct timespec left = {.tv_sec = number(seconds, 0, 0, 3600)};

    while (nanosleep(&left, &left) == -1)
        ;
}

/* The signals that end a program; blocked before anything is made, so that it
 * can be removed. */
static sigset_t ends;

static void block_ends(void)
{
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
}

static void wait_for_an_end(const char *what)
{
    int sig;

    SAY("keeps %s; Ctrl-C removes it", what);
    sigwait(&ends, &sig);
}

/* ------------------------------------------------------------------------
 * A lamp, forks, a token
 */

static void lamp(const char *name)
{
    sem_t *sem;

    block_ends();
    sem = binsem_create(name);
    if (sem == NULL)
        die_errno("binsem_create (EEXIST: see ls /dev/shm/sem.*)");
    wait_for_an_end(name);
    if (binsem_destroy(sem, name) == -1)
        die_errno("binsem_destroy");
}

static void hold(const char *name, const char *seconds)
{
    sem_t *sem = binsem_open(name);

    if (sem == NULL)
        die_errno("binsem_open (has `lamp` been started?)");
    SAY("waits for %s", name);
    if (binsem_lock(sem, -1) == -1)
        die_errno("binsem_lock");
    SAY("has it");
    stay(seconds);
    if (binsem_unlock(sem) == -1)
        die_errno("binsem_unlock");
    SAY("has given it back");
}

static void forks(const char *key, const char *n)
{
    int id;

    block_ends();
    id = svsem_create((key_t)number(key, 0, 1, 0x7fffffff),
                      (int)number(n, 0, 2, 100), 1);
    if (id == -1)
        die_errno("svsem_create (EEXIST: see ipcs -s)");
    wait_for_an_end("the forks");
    if (svsem_destroy(id) == -1)
        die_errno("svsem_destroy");
}

static void eat(const char *key, const char *a, const char *b,
                const char *seconds)
{
    unsigned short left = (unsigned short)number(a, 0, 0, 99);
    unsigned short right = (unsigned short)number(b, 0, 0, 99);
    int id = svsem_open((key_t)number(key, 0, 1, 0x7fffffff), 1000);

    if (id == -1)
        die_errno("svsem_open (has `forks` been started?)");
    SAY("waits for the forks %u and %u", left, right);
    if (svsem_take_two(id, left, right, -1) == -1)
        die_errno("svsem_take_two");
    SAY("eats; kill -9 %d", (int)getpid());
    stay(seconds);
    if (svsem_post(id, left) == -1 || svsem_post(id, right) == -1)
        die_errno("svsem_post");
    SAY("has put both back");
}

static void token(void)
{
    char what[60];
    int qid;

    block_ends();
    if (turn_init(&qid) == -1)
        die_errno("turn_init");
    snprintf(what, sizeof(what), "the token in queue %d", qid);
    wait_for_an_end(what);
    if (turn_destroy(qid) == -1)
        die_errno("turn_destroy");
}

static void turn(const char *queue, const char *seconds)
{
    int qid = (int)number(queue, 0, 0, 0x7fffffff);

    SAY("waits for its turn");
    if (turn_take(qid) == -1)
        die_errno("turn_take (has `token` been started?)");
    SAY("has the token");
    stay(seconds);
    if (turn_pass(qid) == -1)
        die_errno("turn_pass");
    SAY("has passed it on");
}

/* ------------------------------------------------------------------------
 * A post office in shared memory
 */

static void keep(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    struct post *p = MAP_FAILED;

    if (fd == -1)
        die_errno("shm_open (EEXIST: see ls /dev/shm)");
    block_ends();
    if (ftruncate(fd, sizeof(*p)) == 0)
        p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        shm_unlink(name);
        die_errno("the shared memory");
    }
    p->qid = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (slots_init(&p->slots, 3) == -1)
        perror("slots_init");
    if (rendezvous_init(&p->place) == -1)
        perror("rendezvous_init");
    wait_for_an_end(name);
    shm_unlink(name);
    msgctl(p->qid, IPC_RMID, NULL);
}

static struct post *find(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);
    struct post *p = MAP_FAILED;
    struct stat st;

    if (fd != -1 && fstat(fd, &st) == 0 && st.st_size == sizeof(*p))
        p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        die_errno("shm_open (has `keep` been started?)");
    close(fd);
    return p;
}

/* A line of input without its end; false when there are no more. */
static bool next_line(char *line, size_t size)
{
    if (fgets(line, (int)size, stdin) == NULL)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

static void produce(struct post *p)
{
    struct slot_item item = {.from = getpid()};

    while (next_line(item.text, sizeof(item.text))) {
        item.number++;
        if (slots_put(&p->slots, &item, -1) == -1)
            die_errno("slots_put");
        SAY("has put number %u", item.number);
    }
}

static void consume(struct post *p)
{
    struct slot_item item;

    while (slots_get(&p->slots, &item, -1) == 0) {
        printf("%u from process %d: %.55s\n", item.number, item.from,
               item.text);
        fflush(stdout);
    }
    die_errno("slots_get");
}

static void write_mail(struct post *p)
{
    char line[200];

    while (next_line(line, sizeof(line))) {
        if (handshake_write(&p->mailbox, p->qid, line, strlen(line)) == -1)
            die_errno("handshake_write");
        SAY("knows that it was read");
    }
}

static void read_mail(struct post *p)
{
    char text[MAILBOX_BYTES];
    ssize_t n;

    while ((n = handshake_read(&p->mailbox, p->qid, text, sizeof(text))) != -1)
        SAY("has read %zd bytes: %.*s", n, (int)n, text);
    die_errno("handshake_read");
}

static void meet_one(struct post *p)
{
    SAY("is here");
    if (meet(&p->place, -1) == -1)
        die_errno("meet");
    SAY("goes on");
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "lamp") == 0 && argc == 3)
        lamp(argv[2]);
    else if (strcmp(role, "hold") == 0 && argc == 4)
        hold(argv[2], argv[3]);
    else if (strcmp(role, "forks") == 0 && argc == 4)
        forks(argv[2], argv[3]);
    else if (strcmp(role, "eat") == 0 && argc == 6)
        eat(argv[2], argv[3], argv[4], argv[5]);
    else if (strcmp(role, "token") == 0 && argc == 2)
        token();
    else if (strcmp(role, "turn") == 0 && argc == 4)
        turn(argv[2], argv[3]);
    else if (strcmp(role, "keep") == 0 && argc == 3)
        keep(argv[2]);
    else if (strcmp(role, "produce") == 0 && argc == 3)
        produce(find(argv[2]));
    else if (strcmp(role, "consume") == 0 && argc == 3)
        consume(find(argv[2]));
    else if (strcmp(role, "write") == 0 && argc == 3)
        write_mail(find(argv[2]));
    else if (strcmp(role, "read") == 0 && argc == 3)
        read_mail(find(argv[2]));
    else if (strcmp(role, "meet") == 0 && argc == 3)
        meet_one(find(argv[2]));
    else
        usage();
    return 0;
}
