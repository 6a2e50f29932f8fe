/*
 * Another correct solution: the counter is changed by an atomic operation on
 * the mapped file, so that adding needs no lock; only a new file is made under
 * one (lockf).  Files are read through one window that is mapped over itself
 * with MAP_FIXED, and a growing region is extended in place if there is room.
 */
#include "posix_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Closes without a change of errno. */
static void close_quietly(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

static bool is_name(const char *name)
{
    size_t bytes = strcspn(name + (name[0] == '/'), "/");

    if (name[0] == '/' && bytes >= 1 && bytes <= 254 && name[1 + bytes] == '\0')
        return true;
    errno = EINVAL;
    return false;
}

/* Makes a file at least this large, with memory behind every byte. */
static int reserve(int fd, size_t size_bytes)
{
    int err;

    do
        err = posix_fallocate(fd, 0, (off_t)size_bytes);
    while (err == EINTR);
    if (err == 0)
        return 0;
    errno = err;
    return -1;
}

static void *map_shared(int fd, size_t size_bytes, int access)
{
    void *addr = mmap(NULL, size_bytes, access, MAP_SHARED, fd, 0);

    return addr == MAP_FAILED ? NULL : addr;
}

void *region_create(const char *name, size_t size_bytes)
{
    void *addr = NULL;

    if (size_bytes == 0)
        errno = EINVAL;
    if (size_bytes == 0 || !is_name(name))
        return NULL;

    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd == -1)
        return NULL;
    if (reserve(fd, size_bytes) == 0)
        addr = map_shared(fd, size_bytes, PROT_READ | PROT_WRITE);
    close_quietly(fd);
    if (addr == NULL) {
        int saved = errno;

        shm_unlink(name);
        errno = saved;
    }
    return addr;
}

void *region_open(const char *name, bool read_only, size_t *size_bytes)
{
    struct stat st;
    void *addr = NULL;

    if (!is_name(name))
        return NULL;

    int fd = shm_open(name, read_only ? O_RDONLY : O_RDWR, 0);

    if (fd == -1)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size == 0)
        errno = EAGAIN;
    else
        addr = map_shared(fd, (size_t)st.st_size,
                          read_only ? PROT_READ : PROT_READ | PROT_WRITE);
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
    return is_name(name) ? shm_unlink(name) : -1;
}

/* In place if there is room, elsewhere if not: the old one stays then. */
static void *grow_mapping(int fd, void *addr, size_t old, size_t new)
{
    void *grown = mremap(addr, old, new, 0);

    return grown != MAP_FAILED ? grown
                               : map_shared(fd, new, PROT_READ | PROT_WRITE);
}

/* The mapping as it was, without a change of errno. */
static void take_back(void *grown, void *addr, size_t old, size_t new)
{
    int saved = errno;

    if (grown == addr)
        mremap(addr, new, old, 0);
    else
        munmap(grown, new);
    errno = saved;
}

void *region_grow(const char *name, void *addr, size_t old_bytes,
                  size_t new_bytes)
{
    void *grown;

    if (new_bytes < old_bytes)
        errno = EINVAL;
    if (new_bytes < old_bytes || !is_name(name))
        return NULL;

    int fd = shm_open(name, O_RDWR, 0);

    if (fd == -1)
        return NULL;
    /* a mapping can be taken back, a region that others see as larger can't */
    grown = grow_mapping(fd, addr, old_bytes, new_bytes);
    if (grown != NULL && reserve(fd, new_bytes) == -1) {
        take_back(grown, addr, old_bytes, new_bytes);
        grown = NULL;
    }
    close_quietly(fd);
    if (grown != NULL && grown != addr)
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
    if (reserve(fd, size_bytes) == -1 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == -1) {
        close_quietly(fd);
        return -1;
    }
    return fd;
}

void *region_map_fd(int fd, size_t *size_bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals == -1 && errno == EBADF)
        return NULL;
    if (seals == -1 || (seals & F_SEAL_SHRINK) == 0) {
        errno = EPERM;
        return NULL;
    }
    if (fstat(fd, &st) == -1) /* now it can only grow */
        return NULL;

    void *addr = map_shared(fd, (size_t)st.st_size, PROT_READ | PROT_WRITE);

    if (addr != NULL)
        *size_bytes = (size_t)st.st_size;
    return addr;
}

/* Each window is laid over the one before. */
static ssize_t count_all(int fd, off_t size, int byte)
{
    const size_t most = FILE_WINDOW_BYTES / 2;
    unsigned char *window = NULL;
    ssize_t n = 0;

    for (off_t from = 0; from < size && n != -1; from += (off_t)most) {
        size_t bytes = size - from < (off_t)most ? (size_t)(size - from) : most;
        void *next =
            mmap(window, bytes, PROT_READ,
                 MAP_SHARED | (window != NULL ? MAP_FIXED : 0), fd, from);

        if (next != MAP_FAILED)
            window = next;
        for (size_t i = 0; i < bytes && next != MAP_FAILED; i++)
            n += window[i] == byte;
        if (next == MAP_FAILED)
            n = -1;
    }
    int saved = errno;
    if (window != NULL)
        munmap(window, size < (off_t)most ? (size_t)size : most);
    errno = saved;
    return n;
}

ssize_t file_count(const char *path, int byte)
{
    struct stat st;
    ssize_t n = -1;

    if (byte < 0 || byte > 255) {
        errno = EINVAL;
        return -1;
    }

    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        errno = EISDIR;
    else
        n = count_all(fd, st.st_size, byte);
    close_quietly(fd);
    return n;
}

/* Under a lock: a new counter gets its 8 bytes. */
static int check_counter(int fd)
{
    struct stat st;
    int ret;

    do
        ret = lockf(fd, F_LOCK, 0);
    while (ret == -1 && errno == EINTR);
    if (ret == -1 || fstat(fd, &st) == -1)
        return -1;
    if (st.st_size == 0 && reserve(fd, COUNTER_BYTES) == -1)
        return -1;
    lockf(fd, F_ULOCK, 0);
    if (st.st_size == 0 || st.st_size == COUNTER_BYTES)
        return 0;
    errno = EINVAL;
    return -1;
}

static int add_atomically(_Atomic uint64_t *counter, uint64_t n, uint64_t *sum)
{
    uint64_t old = atomic_load(counter);

    do {
        *sum = old + n;
        if (*sum < n) {
            errno = EOVERFLOW;
            return -1;
        }
    } while (!atomic_compare_exchange_weak(counter, &old, *sum));
    return msync((void *)counter, COUNTER_BYTES, MS_SYNC);
}

int counter_add(const char *path, uint64_t n, uint64_t *total)
{
    _Atomic uint64_t *counter = NULL;
    uint64_t sum = 0;
    int ret = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return -1;
    if (check_counter(fd) == 0)
        counter = map_shared(fd, COUNTER_BYTES, PROT_READ | PROT_WRITE);
    if (counter != NULL) {
        ret = add_atomically(counter, n, &sum);
        munmap((void *)counter, COUNTER_BYTES);
    }
    if (ret == 0 && total != NULL)
        *total = sum;
    close_quietly(fd);
    return ret;
}
