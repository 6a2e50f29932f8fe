/*
 * Another correct solution: the dictionary is a log in which the last record
 * of a key counts; dead records are squeezed out when the log is full.  A
 * record is two 32-bit lengths and the strings, at any alignment.
 */
#include "sysv_shm.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int seg_key(const char *path, int project, key_t *key)
{
    key_t made = ftok(path, project);

    if (made != -1 && (project & 255) != 0) {
        *key = made;
        return 0;
    }
    if (made != -1)
        errno = EINVAL;
    return -1;
}

int seg_create(key_t key, size_t size_bytes)
{
    return shmget(key, size_bytes, 0600 | IPC_CREAT | IPC_EXCL);
}

int seg_open(key_t key, size_t min_size_bytes)
{
    if (key != IPC_PRIVATE)
        return shmget(key, min_size_bytes, 0400);
    errno = EINVAL;
    return -1;
}

void *seg_attach(int id, bool read_only)
{
    int flags = 0;

    if (read_only)
        flags |= SHM_RDONLY;
    void *addr = shmat(id, NULL, flags);
    if (addr != (void *)-1)
        return addr;
    return NULL;
}

int seg_detach(const void *addr)
{
    if (shmdt(addr) == 0)
        return 0;
    return -1;
}

int seg_destroy(int id)
{
    return shmctl(id, IPC_RMID, NULL);
}

static struct seg_info info_of(int id, struct shmid_ds ds)
{
    struct seg_info info;

    memset(&info, 0, sizeof(info));
    info.id = id;
    info.key = ds.shm_perm.__key;
    info.size_bytes = ds.shm_segsz;
    info.attached = ds.shm_nattch;
    info.creator_pid = ds.shm_cpid;
    info.owner_uid = ds.shm_perm.uid;
    info.mode = ds.shm_perm.mode & 0777;
    info.marked = (ds.shm_perm.mode & SHM_DEST) > 0;
    return info;
}

int seg_info(int id, struct seg_info *info)
{
    struct shmid_ds ds;

    if (shmctl(id, IPC_STAT, &ds) != 0)
        return -1;
    *info = info_of(id, ds);
    return 0;
}

/* Calls each() for every segment; the sum of what it returns, or -1. */
static ssize_t for_each(size_t (*each)(struct seg_info *info, void *ctx),
                        void *ctx)
{
    struct shminfo limits;
    struct shm_info used;
    ssize_t sum = 0;

    if (shmctl(0, IPC_INFO, (struct shmid_ds *)(void *)&limits) == -1)
        return -1;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&used);
    if (last == -1)
        return -1;
    for (int slot = last; slot >= 0; slot--) {
        struct shmid_ds ds;
        int id = shmctl(slot, SHM_STAT_ANY, &ds);
        if (id != -1) {
            struct seg_info info = info_of(id, ds);
            sum += (ssize_t)each(&info, ctx);
        } else if (errno != EINVAL && errno != EIDRM) {
            return -1;
        }
    }
    return sum;
}

struct array {
    struct seg_info *out;
    size_t left;
};

static size_t store(struct seg_info *info, void *ctx)
{
    struct array *a = ctx;

    if (a->left > 0) {
        *a->out++ = *info;
        a->left--;
    }
    return 1;
}

ssize_t seg_list(struct seg_info *out, size_t cap)
{
    return for_each(store, &(struct array){out, cap});
}

static size_t reap(struct seg_info *info, void *ctx)
{
    if (info->owner_uid != *(uid_t *)ctx || info->attached != 0)
        return 0;
    return shmctl(info->id, IPC_RMID, NULL) == 0;
}

int seg_reap(uid_t owner)
{
    return (int)for_each(reap, &owner);
}

/* ---- the dictionary ---------------------------------------------------- */

struct head {
    char magic[8];
    size_t size;
    size_t used;
};

struct lengths {
    uint32_t key;
    uint32_t value;
};

static const char magic[8] = "applog1";

static char *byte(const void *seg, size_t offset)
{
    return (char *)(uintptr_t)seg + offset;
}

/* The record at offset: its size, or 0 if it is damaged. */
static size_t record(const struct head *h, size_t offset, const char **key,
                     const char **value)
{
    struct lengths n;
    size_t room = h->used - offset;

    if (room < sizeof(n) + 3)
        return 0;
    memcpy(&n, byte(h, offset), sizeof(n));
    size_t size = sizeof(n) + (size_t)n.key + (size_t)n.value + 2;
    if (n.key == 0 || size > room)
        return 0;
    *key = byte(h, offset + sizeof(n));
    *value = *key + n.key + 1;
    return (*key)[n.key] == '\0' && (*value)[n.value] == '\0' ? size : 0;
}

static bool is_dict(const struct head *h, const char *key)
{
    if (memcmp(h->magic, magic, 8) == 0 && *key != '\0')
        return true;
    errno = EINVAL;
    return false;
}

/* The value of the last record of a key at or behind offset. */
static const char *last_value(const struct head *h, size_t offset,
                              const char *wanted, size_t *size)
{
    const char *found = NULL;
    const char *key;
    const char *value;

    errno = ENOENT;
    while (offset < h->used) {
        size_t n = record(h, offset, &key, &value);
        if (n == 0) {
            errno = EINVAL;
            return NULL;
        }
        if (strcmp(key, wanted) == 0) {
            found = value;
            *size = n;
        }
        offset += n;
    }
    return found;
}

/* Takes out the records that a later one replaces, and all of `key`. */
static void squeeze(struct head *h, const char *key)
{
    size_t to = sizeof(*h);
    size_t from = to;
    size_t n;

    for (; from < h->used; from += n) {
        const char *k;
        const char *v;
        size_t unused;
        n = record(h, from, &k, &v);
        if (n == 0)
            break; /* can't be: dict_put has walked over all of them */
        if (strcmp(k, key) == 0 || last_value(h, from + n, k, &unused) != NULL)
            continue;
        memmove(byte(h, to), byte(h, from), n);
        to += n;
    }
    h->used = to;
}

/* The bytes that squeeze() would leave. */
static size_t live_bytes(const struct head *h, const char *key)
{
    size_t sum = sizeof(*h);
    size_t n;

    for (size_t at = sizeof(*h); at < h->used; at += n) {
        const char *k;
        const char *v;
        size_t unused;
        n = record(h, at, &k, &v);
        if (n == 0)
            return SIZE_MAX;
        if (strcmp(k, key) != 0 && last_value(h, at + n, k, &unused) == NULL)
            sum += n;
    }
    return sum;
}

int dict_init(void *seg, size_t size_bytes)
{
    struct head h = {.size = size_bytes, .used = sizeof(h)};

    if (size_bytes < DICT_MIN_BYTES) {
        errno = EINVAL;
        return -1;
    }
    memcpy(h.magic, magic, 8);
    memcpy(seg, &h, sizeof(h));
    return 0;
}

int dict_put(void *seg, const char *key, const char *value)
{
    struct head *h = seg;
    struct lengths n = {(uint32_t)strlen(key), (uint32_t)strlen(value)};
    size_t size = sizeof(n) + strlen(key) + strlen(value) + 2;
    size_t unused;

    if (!is_dict(h, key))
        return -1;
    if (last_value(h, sizeof(*h), key, &unused) == NULL && errno == EINVAL)
        return -1;
    if (size > h->size - h->used) {
        size_t live = live_bytes(h, key);
        if (live > h->size || size > h->size - live) {
            errno = ENOSPC;
            return -1;
        }
        squeeze(h, key);
    }
    memcpy(byte(h, h->used), &n, sizeof(n));
    memcpy(byte(h, h->used + sizeof(n)), key, n.key + 1);
    memcpy(byte(h, h->used + sizeof(n) + n.key + 1), value, n.value + 1);
    h->used += size;
    return 0;
}

const char *dict_get(const void *seg, const char *key)
{
    size_t unused;

    if (!is_dict(seg, key))
        return NULL;
    return last_value(seg, sizeof(struct head), key, &unused);
}
