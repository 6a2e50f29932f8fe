/*
 * posix_shm.c - POSIX shared memory and mapped files.  What each function has
 * to do is said in posix_shm.h.
 */
#include "posix_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// BEGIN SOLUTION
/* Closes without a change of errno. */
static void close_quietly(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

static bool is_name(const char *name)
{
    size_t bytes = strlen(name);

    if (bytes >= 2 && bytes <= 1 + 254 && strrchr(name, '/') == name)
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

// END SOLUTION
void *region_create(const char *name, size_t size_bytes)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab5): make a new region, reserve its memory, map it, close the
    //  * descriptor.  What has to be undone when the second or third step
    //  * fails?  shm_open(3), posix_fallocate(3), mmap(2). */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

void *region_open(const char *name, bool read_only, size_t *size_bytes)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab5): open, ask for the size, map the whole, close the
    //  * descriptor.  shm_open(3), fstat(2), mmap(2). */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int region_close(void *addr, size_t size_bytes)
{
    // BEGIN SOLUTION
    return munmap(addr, size_bytes);
    // STUB
    // /* TODO(lab5): end the mapping, all of it.  munmap(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int region_unlink(const char *name)
{
    // BEGIN SOLUTION
    return is_name(name) ? shm_unlink(name) : -1;
    // STUB
    // /* TODO(lab5): remove the name.  shm_unlink(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void *region_grow(const char *name, void *addr, size_t old_bytes,
                  size_t new_bytes)
{
    // BEGIN SOLUTION
    void *grown;

    if (new_bytes < old_bytes)
        errno = EINVAL;
    if (new_bytes < old_bytes || !is_name(name))
        return NULL;

    int fd = shm_open(name, O_RDWR, 0);

    if (fd == -1)
        return NULL;
    /* First what can be undone: others see at once that the region is larger,
     * and then it has to stay so. */
    grown = map_shared(fd, new_bytes, PROT_READ | PROT_WRITE);
    /* fallocate never makes a file smaller, whoever grows it meanwhile */
    if (grown != NULL && reserve(fd, new_bytes) == -1) {
        int saved = errno;

        munmap(grown, new_bytes);
        errno = saved;
        grown = NULL;
    }
    close_quietly(fd);
    if (grown != NULL)
        munmap(addr, old_bytes);
    return grown;
    // STUB
    // /* TODO(lab5): make the region larger, never smaller, and the mapping
    //  * too.  Which of the two can be undone, and so comes first?  What does
    //  * ftruncate(2) do if another process was faster?  posix_fallocate(3),
    //  * mmap(2) or mremap(2). */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int region_anon(size_t size_bytes)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab5): a file in memory without a name, of this size, that
    //  * nobody can shrink.  memfd_create(2), fcntl(2) F_ADD_SEALS. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void *region_map_fd(int fd, size_t *size_bytes)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab5): refuse what is not sealed; then ask for the size and map.
    //  * Why in this order?  fcntl(2) F_GET_SEALS. */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Counts in one window of a file, which begins on a page boundary. */
static ssize_t count_window(int fd, off_t from, size_t size_bytes, int byte)
{
    unsigned char *window =
        mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, from);
    ssize_t n = 0;

    if (window == MAP_FAILED)
        return -1;
    for (size_t i = 0; i < size_bytes; i++)
        n += window[i] == byte;
    munmap(window, size_bytes);
    return n;
}

static ssize_t count_all(int fd, off_t size, int byte)
{
    ssize_t total = 0;

    for (off_t from = 0; from < size; from += FILE_WINDOW_BYTES) {
        off_t left = size - from;
        size_t window =
            left < (off_t)FILE_WINDOW_BYTES ? (size_t)left : FILE_WINDOW_BYTES;
        ssize_t n = count_window(fd, from, window, byte);

        if (n == -1)
            return -1;
        total += n;
    }
    return total;
}

// END SOLUTION
ssize_t file_count(const char *path, int byte)
{
    // BEGIN SOLUTION
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
    // STUB
    // /* TODO(lab5): map one window after the other and look through it.  What
    //  * must the offset of a mapping be a multiple of?  mmap(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/* Waits until nobody else has the counter.  The lock goes with the descriptor
 * and so with the process, however it ends. */
static int lock_counter(int fd)
{
    int ret;

    do
        ret = flock(fd, LOCK_EX);
    while (ret == -1 && errno == EINTR);
    return ret;
}

/* A new counter gets its 8 bytes; another size is no counter. */
static int check_counter(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == -1)
        return -1;
    if (st.st_size == COUNTER_BYTES)
        return 0;
    if (st.st_size == 0)
        return reserve(fd, COUNTER_BYTES);
    errno = EINVAL;
    return -1;
}

/* Adds to the counter, which is locked. */
static int add_locked(int fd, uint64_t n, uint64_t *total)
{
    if (check_counter(fd) == -1)
        return -1;

    uint64_t *counter = map_shared(fd, COUNTER_BYTES, PROT_READ | PROT_WRITE);
    int ret = -1;

    if (counter == NULL)
        return -1;
    if (*counter + n < n) {
        errno = EOVERFLOW;
    } else {
        uint64_t sum = *counter += n;

        ret = msync(counter, COUNTER_BYTES, MS_SYNC);
        if (ret == 0 && total != NULL)
            *total = sum;
    }
    munmap(counter, COUNTER_BYTES);
    return ret;
}

// END SOLUTION
int counter_add(const char *path, uint64_t n, uint64_t *total)
{
    // BEGIN SOLUTION
    int ret = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return -1;
    if (lock_counter(fd) == 0)
        ret = add_locked(fd, n, total);
    close_quietly(fd); /* and the lock with it */
    return ret;
    // STUB
    // /* TODO(lab5): open or make the file; under a lock: look at its size,
    //  * map it, add, write it through.  flock(2), mmap(2), msync(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
