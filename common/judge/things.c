/*
 * things.c - what a test makes to hand over (descriptors, files, keys,
 * memory), and the judge as the peer process.
 */
#include "judge.h"

#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { MOST_THINGS = 256 };

struct thing {
    enum {
        NO_THING,
        THING_FD,
        THING_MEMORY,
        THING_OBJECT,
        THING_NAME,
        THING_FILE
    } kind;
    int number;  /* descriptor or object id */
    char object; /* 'm', 's', 'q' */
    void *memory;
    size_t size_bytes;
    unsigned long long inode;
    char text[128]; /* path, or name of a POSIX object */
};
static struct thing things[MOST_THINGS];
static size_t nthings;

static struct thing *new_thing(struct thing t)
{
    REQUIRE(nthings < MOST_THINGS);
    things[nthings] = t;
    return &things[nthings++];
}

static void release(struct thing *t)
{
    if (t->kind == THING_FD && t->number != -1)
        close(t->number);
    if (t->kind == THING_MEMORY) {
        munmap(t->memory, t->size_bytes);
        close(t->number);
    }
    if (t->kind == THING_OBJECT && t->object == 'm')
        shmctl(t->number, IPC_RMID, NULL);
    if (t->kind == THING_OBJECT && t->object == 's')
        semctl(t->number, 0, IPC_RMID);
    if (t->kind == THING_OBJECT && t->object == 'q')
        msgctl(t->number, IPC_RMID, NULL);
    if (t->kind == THING_NAME && t->object == 'm')
        shm_unlink(t->text);
    if (t->kind == THING_NAME && t->object == 's')
        sem_unlink(t->text);
    if (t->kind == THING_NAME && t->object == 'q')
        mq_unlink(t->text);
}

void things_release(void)
{
    for (size_t i = 0; i < nthings; i++)
        release(&things[i]);
    nthings = 0;
}

/* ---- descriptors --------------------------------------------------------- */

static unsigned long long inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

int judges_fd(int fd)
{
    new_thing(
        (struct thing){.kind = THING_FD, .number = fd, .inode = inode_of(fd)});
    return fd;
}

struct ends new_pipe(void)
{
    int p[2];

    REQUIRE(pipe2(p, O_CLOEXEC) == 0);
    return (struct ends){.r = judges_fd(p[0]), .w = judges_fd(p[1])};
}

void new_socketpair(int pair[2])
{
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    judges_fd(pair[0]);
    judges_fd(pair[1]);
}

void shut(int *fd)
{
    for (size_t i = 0; i < nthings; i++)
        if (things[i].kind == THING_FD && things[i].number == *fd)
            things[i].number = -1;
    close(*fd);
    *fd = -1;
}

static bool has_inode(const struct thing *t, unsigned long long inode)
{
    return (t->kind == THING_FD || t->kind == THING_MEMORY) &&
           t->inode == inode;
}

void test_name_inode(unsigned long long inode, const char *name)
{
    for (size_t i = 0; i < nthings; i++)
        if (has_inode(&things[i], inode))
            snprintf(things[i].text, sizeof(things[i].text), "%s", name);
}

const char *test_inode_name(unsigned long long inode)
{
    for (size_t i = 0; i < nthings; i++)
        if (has_inode(&things[i], inode) && things[i].text[0] != '\0')
            return things[i].text;
    return NULL;
}

/* ---- files, keys, names, memory ------------------------------------------ */

const char *new_dir(void)
{
    struct thing *t = new_thing((struct thing){.kind = THING_FILE});

    snprintf(t->text, sizeof(t->text), "%s/dir-XXXXXX", test.dir);
    REQUIRE(mkdtemp(t->text) != NULL);
    return t->text;
}

const char *new_file(const void *data, size_t size_bytes)
{
    const char *dir = new_dir();
    struct thing *t = new_thing((struct thing){.kind = THING_FILE});

    snprintf(t->text, sizeof(t->text), "%.100s/file", dir);

    int fd = open(t->text, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

    REQUIRE(fd != -1);
    REQUIRE(size_bytes == 0 ||
            write(fd, data, size_bytes) == (ssize_t)size_bytes);
    close(fd);
    return t->text;
}

bool things_own_file(const char *path)
{
    for (size_t i = 0; i < nthings; i++)
        if (things[i].kind == THING_FILE && strcmp(things[i].text, path) == 0)
            return true;
    return false;
}

void fill_random(void *buf, size_t size_bytes)
{
    size_t done = 0;

    while (done < size_bytes) {
        ssize_t n = getrandom((char *)buf + done, size_bytes - done, 0);

        REQUIRE(n > 0 || errno == EINTR);
        if (n > 0)
            done += (size_t)n;
    }
}

unsigned random_below(unsigned limit)
{
    unsigned x;

    fill_random(&x, sizeof(x));
    return x % limit;
}

static bool key_is_free(key_t key)
{
    return shmget(key, 0, 0) == -1 && errno == ENOENT &&
           semget(key, 0, 0) == -1 && errno == ENOENT && msgget(key, 0) == -1 &&
           errno == ENOENT;
}

key_t new_key(void)
{
    key_t key;

    do
        fill_random(&key, sizeof(key));
    while (key == IPC_PRIVATE || key == (key_t)-1 || !key_is_free(key));
    return key;
}

const char *new_name(void)
{
    struct thing *t = new_thing((struct thing){.kind = NO_THING});
    unsigned long long x;

    fill_random(&x, sizeof(x));
    snprintf(t->text, sizeof(t->text), "/kit-%016llx", x);
    journal_add("%s\n", t->text);
    return t->text;
}

void *new_shared(size_t size_bytes)
{
    int fd;
    void *at = sealed_memory("kit-shared", size_bytes, &fd);

    new_thing((struct thing){.kind = THING_MEMORY,
                             .number = fd,
                             .memory = at,
                             .inode = inode_of(fd),
                             .size_bytes = size_bytes});
    return at;
}

int things_shared_fd(const void *memory)
{
    for (size_t i = 0; i < nthings; i++)
        if (things[i].kind == THING_MEMORY && things[i].memory == memory)
            return things[i].number;
    return -1;
}

void judges_object(char kind, int id)
{
    new_thing(
        (struct thing){.kind = THING_OBJECT, .object = kind, .number = id});
    if (!made_has(objects_made(), kind, id))
        made_add(objects_made(), kind, id);
    journal_add("%c %d\n", kind, id);
}

void judges_name(char kind, const char *name)
{
    struct thing *t = new_thing((struct thing){
        .kind = kind == 'f' ? THING_FILE : THING_NAME, .object = kind});

    snprintf(t->text, sizeof(t->text), "%s", name);
}

bool things_own_name(char kind, const char *name)
{
    for (size_t i = 0; i < nthings; i++)
        if (things[i].kind == THING_NAME && things[i].object == kind &&
            strcmp(things[i].text, name) == 0)
            return true;
    return false;
}

bool things_own_object(char kind, int id)
{
    for (size_t i = 0; i < nthings; i++)
        if (things[i].kind == THING_OBJECT && things[i].object == kind &&
            things[i].number == id)
            return true;
    return false;
}

/* ---- the judge as the peer ------------------------------------------------ */

/* The judge waits by poll, and moves no more at once than fits: it never
 * blocks in the call itself. */
enum { PEER_CHUNK = 4096 };

static bool is_ready(struct subject *s, void *arg)
{
    (void)s;
    return ((struct pollfd *)arg)->revents != 0;
}

static ssize_t write_some(int fd, const char *data, size_t size)
{
    ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n == -1 && errno == ENOTSOCK)
        n = write(fd, data, size < PEER_CHUNK ? size : PEER_CHUNK);
    return n;
}

void(peer_write)(int fd, const void *data, size_t size_bytes)
{
    size_t done = 0;

    while (done < size_bytes) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        wait_until(NULL, is_ready, &p, &p, false,
                   "your program reads %zu bytes (it has read at most %zu)",
                   size_bytes, done);

        ssize_t n =
            write_some(fd, (const char *)data + done, size_bytes - done);

        if (n == -1 && (errno == EPIPE || errno == ECONNRESET)) {
            fail_if_ended("your program reads %zu bytes", size_bytes);
            test_fail(FAILED, NULL,
                      "expected: your program reads %zu bytes\n"
                      "seen: it closed its end after at most %zu",
                      size_bytes, done);
        }
        REQUIRE(n != -1 || errno == EAGAIN || errno == EINTR);
        if (n > 0)
            done += (size_t)n;
    }
}

size_t(peer_read)(int fd, void *buf, size_t size_bytes)
{
    size_t done = 0;

    while (done < size_bytes) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        wait_until(NULL, is_ready, &p, &p, false,
                   "%zu bytes or the end of file from your program (%zu bytes "
                   "have come)",
                   size_bytes, done);

        ssize_t n = read(fd, (char *)buf + done, size_bytes - done);

        if (n == 0 || (n == -1 && errno == ECONNRESET)) {
            fail_if_ended("your program writes %zu bytes", size_bytes);
            break;
        }
        REQUIRE(n != -1 || errno == EAGAIN || errno == EINTR);
        if (n > 0)
            done += (size_t)n;
    }
    return done;
}

void(peer_expect_eof)(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;

    wait_until(NULL, is_ready, &p, &p, false,
               "the end of file (every write end closed)");

    ssize_t n = read(fd, &byte, 1);

    if (n == 1)
        test_fail(FAILED, NULL,
                  "expected: the end of file\nseen: one more byte, 0x%02x",
                  (unsigned char)byte);
}

size_t peer_read_now(int fd, void *buf, size_t size_bytes)
{
    size_t done = 0;

    while (done < size_bytes) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (poll(&p, 1, 0) != 1)
            break;

        ssize_t n = read(fd, (char *)buf + done, size_bytes - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}
