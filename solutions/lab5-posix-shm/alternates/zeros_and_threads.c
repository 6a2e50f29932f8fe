/*
 * Another correct solution: memory is reserved in three ways.  A region with a
 * name is reserved first and gets its size in one step, so that nobody opens
 * half of it; one without a name, which is nobody else's yet, is filled with
 * zeros; what others may have grown is reserved with posix_fallocate.  A file
 * is counted by two threads with a window each, and the counter's file is
 * mapped before it has a size.
 */
#include "posix_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 254 /* the most behind a name's slash */

static void close_quietly(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

static void unmap_quietly(void *addr, size_t size_bytes)
{
    int saved = errno;

    munmap(addr, size_bytes);
    errno = saved;
}

static bool is_name(const char *name)
{
    return name[0] == '/' && strchr(name + 1, '/') == NULL &&
           strlen(name + 1) >= 1 && strlen(name + 1) <= NAME_BYTES;
}

static void *map_shared(int fd, size_t size_bytes, int access)
{
    void *addr = mmap(NULL, size_bytes, access, MAP_SHARED, fd, 0);

    return addr == MAP_FAILED ? NULL : addr;
}

/* Memory behind bytes of a file that others may make larger meanwhile. */
static int reserve(int fd, size_t from, size_t to)
{
    int err = 0;

    if (from == to)
        return 0;
    do
        err = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
    while (err == EINTR);
    if (err != 0)
        errno = err;
    return err == 0 ? 0 : -1;
}

/* The same for a file that nobody else changes: first memory, then a size. */
static int reserve_at_once(int fd, size_t size_bytes)
{
    int ret;

    do
        ret = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes);
    while (ret == -1 && errno == EINTR);
    if (ret == -1)
        return -1;
    do
        ret = ftruncate(fd, (off_t)size_bytes);
    while (ret == -1 && errno == EINTR);
    return ret;
}

/* The same for a file that nobody else has: what was written has memory. */
static int fill_with_zeros(int fd, size_t size_bytes)
{
    static const char zeros[4096];
    size_t done = 0;

    while (done < size_bytes) {
        size_t left = size_bytes - done;
        ssize_t n =
            pwrite(fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros),
                   (off_t)done);

        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

void *region_create(const char *name, size_t size_bytes)
{
    if (!is_name(name) || size_bytes == 0) {
        errno = EINVAL;
        return NULL;
    }

    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    void *addr = NULL;

    if (fd == -1)
        return NULL;
    if (reserve_at_once(fd, size_bytes) == 0)
        addr = map_shared(fd, size_bytes, PROT_READ | PROT_WRITE);
    if (addr == NULL) {
        int saved = errno;

        shm_unlink(name);
        errno = saved;
    }
    close_quietly(fd);
    return addr;
}

void *region_open(const char *name, bool read_only, size_t *size_bytes)
{
    if (!is_name(name)) {
        errno = EINVAL;
        return NULL;
    }

    int fd = shm_open(name, read_only ? O_RDONLY : O_RDWR, 0);
    void *addr = NULL;
    struct stat st;

    if (fd == -1)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size == 0)
        errno = EAGAIN;
    else
        addr = map_shared(fd, (size_t)st.st_size,
                          PROT_READ | (read_only ? 0 : PROT_WRITE));
    close_quietly(fd);
    if (addr != NULL)
        *size_bytes = (size_t)st.st_size;
    return addr;
}

int region_close(void *addr, size_t size_bytes)
{
    return munmap(addr, size_bytes);
}

int region_unlink(const char *name)
{
    if (is_name(name))
        return shm_unlink(name);
    errno = EINVAL;
    return -1;
}

void *region_grow(const char *name, void *addr, size_t old_bytes,
                  size_t new_bytes)
{
    if (!is_name(name) || new_bytes < old_bytes) {
        errno = EINVAL;
        return NULL;
    }

    int fd = shm_open(name, O_RDWR, 0);

    if (fd == -1)
        return NULL;

    void *grown = map_shared(fd, new_bytes, PROT_READ | PROT_WRITE);

    if (grown != NULL && reserve(fd, old_bytes, new_bytes) == -1) {
        unmap_quietly(grown, new_bytes);
        grown = NULL;
    }
    close_quietly(fd);
    if (grown != NULL)
        munmap(addr, old_bytes);
    return grown;
}

int region_anon(size_t size_bytes)
{
    if (size_bytes == 0) {
        errno = EINVAL;
        return -1;
    }

    int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd == -1)
        return -1;
    if (fill_with_zeros(fd, size_bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        return fd;
    close_quietly(fd);
    return -1;
}

/* Looks at the size twice: of an empty region nothing more need be known, and
 * of another one the size holds only from the seal on. */
void *region_map_fd(int fd, size_t *size_bytes)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return NULL;
    if (S_ISREG(st.st_mode) && st.st_size == 0) {
        errno = EINVAL;
        return NULL;
    }

    int seals = fcntl(fd, F_GET_SEALS);

    if (seals == -1 || (seals & F_SEAL_SHRINK) == 0) {
        errno = EPERM;
        return NULL;
    }
    if (fstat(fd, &st) == -1)
        return NULL;

    void *addr = map_shared(fd, (size_t)st.st_size, PROT_READ | PROT_WRITE);

    if (addr != NULL)
        *size_bytes = (size_t)st.st_size;
    return addr;
}

#define HALF_WINDOW (FILE_WINDOW_BYTES / 2)

/* Every second half window of a file, from the first or the second on. */
struct share {
    int fd, byte, err;
    off_t from, size;
    ssize_t n;
};

static void *count_share(void *arg)
{
    struct share *s = arg;

    for (off_t at = s->from; at < s->size; at += FILE_WINDOW_BYTES) {
        off_t left = s->size - at;
        size_t bytes = left < HALF_WINDOW ? (size_t)left : HALF_WINDOW;
        const unsigned char *window =
            mmap(NULL, bytes, PROT_READ, MAP_SHARED, s->fd, at);

        if (window == MAP_FAILED) {
            s->err = errno;
            break;
        }
        for (size_t i = 0; i < bytes; i++)
            s->n += window[i] == s->byte;
        munmap((void *)window, bytes);
    }
    return NULL;
}

static ssize_t count_in_two(int fd, off_t size, int byte)
{
    struct share a = {.fd = fd, .byte = byte, .size = size};
    struct share b = a;
    pthread_t thread;

    b.from = HALF_WINDOW;

    bool two = size > HALF_WINDOW &&
               pthread_create(&thread, NULL, count_share, &b) == 0;

    count_share(&a);
    if (two)
        pthread_join(thread, NULL);
    else
        count_share(&b);
    if (a.err == 0 && b.err == 0)
        return a.n + b.n;
    errno = a.err != 0 ? a.err : b.err;
    return -1;
}

ssize_t file_count(const char *path, int byte)
{
    if (byte < 0 || byte > 255) {
        errno = EINVAL;
        return -1;
    }

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    struct stat st;

    if (fd == -1)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        errno = EISDIR;
    else
        n = count_in_two(fd, st.st_size, byte);
    close_quietly(fd);
    return n;
}

/* Adds to the counter, which has its 8 bytes and is locked. */
static int add_mapped(int fd, uint64_t *counter, uint64_t n, uint64_t *total)
{
    uint64_t sum;

    if (__builtin_add_overflow(*counter, n, &sum)) {
        errno = EOVERFLOW;
        return -1;
    }
    *counter = sum;
    if (fdatasync(fd) == -1)
        return -1;
    if (total != NULL)
        *total = sum;
    return 0;
}

static int add_locked(int fd, uint64_t n, uint64_t *total)
{
    struct stat st;
    int ret = -1;

    if (fstat(fd, &st) == -1)
        return -1;
    if (st.st_size != 0 && st.st_size != COUNTER_BYTES) {
        errno = EINVAL;
        return -1;
    }

    uint64_t *counter = map_shared(fd, COUNTER_BYTES, PROT_READ | PROT_WRITE);

    if (counter == NULL)
        return -1;
    if (reserve(fd, (size_t)st.st_size, COUNTER_BYTES) == 0)
        ret = add_mapped(fd, counter, n, total);
    unmap_quietly(counter, COUNTER_BYTES);
    return ret;
}

int counter_add(const char *path, uint64_t n, uint64_t *total)
{
    int ret;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return -1;
    do
        ret = lockf(fd, F_LOCK, 0);
    while (ret == -1 && errno == EINTR);
    if (ret == 0)
        ret = add_locked(fd, n, total);
    close_quietly(fd);
    return ret;
}
