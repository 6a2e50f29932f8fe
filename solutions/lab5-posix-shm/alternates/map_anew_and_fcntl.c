/*
 * Another correct solution: sizes by lseek, a region that grows is mapped
 * anew, files are seen through small windows, and the counter is locked with
 * an open file description lock and written through with fsync.
 */
#include "posix_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(int err)
{
    errno = err;
    return -1;
}

/* Closes fd, removes the name if there is one, and sets errno. */
static void *give_up(int fd, const char *made, int err)
{
    close(fd);
    if (made != NULL)
        shm_unlink(made);
    errno = err;
    return NULL;
}

static int bad_name(const char *name)
{
    size_t length = strlen(name);

    return length < 2 || length > 255 || strrchr(name, '/') != name;
}

static int enlarge(int fd, size_t size)
{
    while (fallocate(fd, 0, 0, (off_t)size) == -1)
        if (errno != EINTR)
            return -1;
    return 0;
}

static void *map(int fd, size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

    return p != MAP_FAILED ? p : NULL;
}

void *region_create(const char *name, size_t size_bytes)
{
    if (size_bytes == 0 || bad_name(name)) {
        errno = EINVAL;
        return NULL;
    }
    int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return NULL;
    if (enlarge(fd, size_bytes) == -1)
        return give_up(fd, name, errno);
    void *at = map(fd, size_bytes, PROT_WRITE | PROT_READ);
    if (at == NULL)
        return give_up(fd, name, errno);
    close(fd);
    return at;
}

void *region_open(const char *name, bool read_only, size_t *size_bytes)
{
    if (bad_name(name)) {
        errno = EINVAL;
        return NULL;
    }
    int fd = shm_open(name, read_only ? O_RDONLY : O_RDWR, 0);
    if (fd < 0)
        return NULL;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0)
        return give_up(fd, NULL, size == 0 ? EAGAIN : errno);
    void *at =
        map(fd, (size_t)size, read_only ? PROT_READ : PROT_READ | PROT_WRITE);
    if (at == NULL)
        return give_up(fd, NULL, errno);
    close(fd);
    *size_bytes = (size_t)size;
    return at;
}

int region_close(void *addr, size_t size_bytes)
{
    return munmap(addr, size_bytes);
}

int region_unlink(const char *name)
{
    return bad_name(name) ? fail(EINVAL) : shm_unlink(name);
}

void *region_grow(const char *name, void *addr, size_t old_bytes,
                  size_t new_bytes)
{
    if (bad_name(name) || new_bytes < old_bytes) {
        errno = EINVAL;
        return NULL;
    }
    int fd = shm_open(name, O_RDWR, 0);
    if (fd < 0)
        return NULL;
    void *at = map(fd, new_bytes, PROT_READ | PROT_WRITE);
    if (at == NULL)
        return give_up(fd, NULL, errno);
    if (enlarge(fd, new_bytes) == -1) {
        int err = errno;

        munmap(at, new_bytes);
        return give_up(fd, NULL, err);
    }
    close(fd);
    munmap(addr, old_bytes);
    return at;
}

int region_anon(size_t size_bytes)
{
    if (size_bytes == 0)
        return fail(EINVAL);
    int fd = memfd_create("anonymous", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (enlarge(fd, size_bytes) == -1 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ==
            -1) {
        int err = errno;

        close(fd);
        return fail(err);
    }
    return fd;
}

void *region_map_fd(int fd, size_t *size_bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals == -1 && errno != EINVAL)
        return NULL;
    if (seals == -1 || !(seals & F_SEAL_SHRINK)) {
        errno = EPERM;
        return NULL;
    }
    if (fstat(fd, &st) == -1)
        return NULL;
    void *at = map(fd, (size_t)st.st_size, PROT_READ | PROT_WRITE);
    if (at != NULL)
        *size_bytes = (size_t)st.st_size;
    return at;
}

ssize_t file_count(const char *path, int byte)
{
    const size_t window = 16 * (size_t)sysconf(_SC_PAGESIZE);
    ssize_t n = 0;
    struct stat st;
    int fd;

    if (byte != (unsigned char)byte)
        return fail(EINVAL);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == -1 || S_ISDIR(st.st_mode)) {
        close(fd);
        return fail(EISDIR);
    }
    for (size_t done = 0; done < (size_t)st.st_size;) {
        size_t size = (size_t)st.st_size - done;

        if (size > window)
            size = window;
        char *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, (off_t)done);
        if (p == MAP_FAILED) {
            give_up(fd, NULL, errno);
            return -1;
        }
        for (char *q = p; (q = memchr(q, byte, size - (size_t)(q - p)));) {
            n++;
            if (++q == p + size)
                break;
        }
        munmap(p, size);
        done += size;
    }
    close(fd);
    return n;
}

/* The work under the lock. */
static int add(int fd, uint64_t n, uint64_t *total)
{
    off_t size = lseek(fd, 0, SEEK_END);

    if (size != 0 && size != COUNTER_BYTES)
        return fail(EINVAL);
    if (size == 0 && enlarge(fd, COUNTER_BYTES) == -1)
        return -1;
    uint64_t *p = map(fd, COUNTER_BYTES, PROT_READ | PROT_WRITE);
    if (p == NULL)
        return -1;
    uint64_t old = *p;
    if (n > UINT64_MAX - old) {
        munmap(p, COUNTER_BYTES);
        return fail(EOVERFLOW);
    }
    *p = old + n;
    munmap(p, COUNTER_BYTES);
    if (fsync(fd) == -1)
        return -1;
    if (total != NULL)
        *total = old + n;
    return 0;
}

int counter_add(const char *path, uint64_t n, uint64_t *total)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int ret;

    if (fd < 0)
        return -1;
    do
        ret = fcntl(fd, F_OFD_SETLKW, &all);
    while (ret == -1 && errno == EINTR);
    if (ret == 0)
        ret = add(fd, n, total);
    int err = errno;
    all.l_type = F_UNLCK;
    fcntl(fd, F_OFD_SETLK, &all);
    close(fd);
    errno = err;
    return ret;
}
