/*
 * Another correct solution: the list is read from /proc/sysvipc/shm, and the
 * dictionary is a table of offsets, sorted by key, that grows from the head,
 * with the strings growing towards it from the end.
 */
#include "sysv_shm.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static int refuse(int err)
{
    errno = err;
    return -1;
}

int seg_key(const char *path, int project, key_t *key)
{
    if (project % 256 == 0)
        return refuse(EINVAL);
    key_t made = ftok(path, project);
    if (made == -1)
        return -1;
    *key = made;
    return 0;
}

int seg_create(key_t key, size_t size_bytes)
{
    return shmget(key, size_bytes,
                  IPC_CREAT | IPC_EXCL | SHM_R | SHM_W); /* 0: the kernel's */
}

int seg_open(key_t key, size_t min_size_bytes)
{
    return key == IPC_PRIVATE ? refuse(EINVAL)
                              : shmget(key, min_size_bytes, 0400);
}

void *seg_attach(int id, bool read_only)
{
    void *addr = shmat(id, NULL, read_only ? SHM_RDONLY : 0);

    if (addr == (void *)-1)
        addr = NULL;
    return addr;
}

int seg_detach(const void *addr)
{
    return shmdt(addr);
}

int seg_destroy(int id)
{
    struct shmid_ds ds;

    return shmctl(id, IPC_RMID, &ds);
}

/* ---- the table of the kernel ------------------------------------------ */

static bool next_segment(FILE *table, struct seg_info *info)
{
    char line[512];

    while (fgets(line, sizeof(line), table) != NULL) {
        struct seg_info i = {0};
        unsigned perms;

        if (sscanf(line, "%d %d %o %zu %d %*d %lu %u", &i.key, &i.id, &perms,
                   &i.size_bytes, &i.creator_pid, &i.attached,
                   &i.owner_uid) != 7)
            continue; /* the headline */
        i.mode = perms & 0777;
        i.marked = perms & SHM_DEST;
        *info = i;
        return true;
    }
    return false;
}

int seg_info(int id, struct seg_info *info)
{
    struct shmid_ds ds;

    if (shmctl(id, IPC_STAT, &ds) == -1)
        return -1;
    memset(info, 0, sizeof(*info));
    info->id = id;
    info->key = ds.shm_perm.__key;
    info->size_bytes = ds.shm_segsz;
    info->attached = ds.shm_nattch;
    info->creator_pid = ds.shm_cpid;
    info->owner_uid = ds.shm_perm.uid;
    info->mode = ds.shm_perm.mode & 0777;
    info->marked = ds.shm_perm.mode & SHM_DEST;
    return 0;
}

ssize_t seg_list(struct seg_info *out, size_t cap)
{
    FILE *table = fopen("/proc/sysvipc/shm", "re");
    struct seg_info info;
    size_t n = 0;

    if (table == NULL)
        return -1;
    for (; next_segment(table, &info); n++)
        if (n < cap)
            out[n] = info;
    fclose(table);
    return (ssize_t)n;
}

int seg_reap(uid_t owner)
{
    FILE *table = fopen("/proc/sysvipc/shm", "re");
    struct seg_info info;
    int reaped = 0;

    if (table == NULL)
        return -1;
    while (next_segment(table, &info))
        if (info.owner_uid == owner && info.attached == 0 &&
            seg_destroy(info.id) == 0)
            reaped++;
    fclose(table);
    return reaped;
}

/* ---- the dictionary ---------------------------------------------------- */

#define MAGIC 0x736f7274u

struct head {
    uint32_t magic;
    uint32_t size_bytes;
    uint32_t count;  /* of entries in the table */
    uint32_t bottom; /* offset of the lowest string */
};

/* An entry is the offset of "key\0value\0". */
static uint32_t *table_of(const struct head *h)
{
    return (uint32_t *)(h + 1);
}

static uint32_t table_end(const struct head *h)
{
    return (uint32_t)(sizeof(*h) + h->count * sizeof(uint32_t));
}

/* The key of an entry, with the size of both strings; NULL if damaged. */
static const char *key_at(const struct head *h, uint32_t i, uint32_t *size)
{
    uint32_t offset = table_of(h)[i];

    if (offset < h->bottom || offset >= h->size_bytes)
        return NULL;
    const char *key = (const char *)h + offset;
    const char *end = (const char *)h + h->size_bytes;
    const char *key_end = memchr(key, 0, (size_t)(end - key));
    if (key_end == NULL || key_end + 1 == end)
        return NULL;
    const char *value_end = memchr(key_end + 1, 0, (size_t)(end - key_end) - 1);
    if (value_end == NULL)
        return NULL;
    *size = (uint32_t)(value_end + 1 - key);
    return key;
}

/* Where the key is or belongs. -1: damaged, 0: not there, 1: there. */
static int search(const struct head *h, const char *key, uint32_t *at,
                  uint32_t *size)
{
    uint32_t low = 0;
    uint32_t high = h->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *there = key_at(h, middle, size);
        if (there == NULL)
            return refuse(EINVAL);
        int order = strcmp(key, there);
        *at = middle;
        if (order == 0)
            return 1;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    *at = low;
    *size = 0;
    return 0;
}

static struct head *head_of(const void *seg, const char *key)
{
    struct head *h = (struct head *)(uintptr_t)seg;

    if (h->magic != MAGIC || key[0] == 0 || h->bottom > h->size_bytes ||
        h->count > h->size_bytes / sizeof(uint32_t) ||
        table_end(h) > h->bottom) {
        errno = EINVAL;
        return NULL;
    }
    return h;
}

int dict_init(void *seg, size_t size_bytes)
{
    struct head *h = seg;

    if (size_bytes < DICT_MIN_BYTES)
        return refuse(EINVAL);
    if (size_bytes > UINT32_MAX)
        size_bytes = UINT32_MAX;
    *h = (struct head){MAGIC, (uint32_t)size_bytes, 0, (uint32_t)size_bytes};
    return 0;
}

/* Takes the strings of entry `at` out and closes the gap. */
static void take_out(struct head *h, uint32_t at, uint32_t size)
{
    char *base = (char *)h;
    uint32_t *table = table_of(h);
    uint32_t gone = table[at];

    memmove(base + h->bottom + size, base + h->bottom, gone - h->bottom);
    for (uint32_t i = 0; i < h->count; i++)
        if (table[i] < gone)
            table[i] += size;
    h->bottom += size;
}

int dict_put(void *seg, const char *key, const char *value)
{
    struct head *h = head_of(seg, key);
    uint32_t at;
    uint32_t old;

    if (h == NULL)
        return -1;
    int found = search(h, key, &at, &old);
    if (found == -1)
        return -1;
    size_t size = strlen(key) + strlen(value) + 2;
    if (size + (found ? 0 : sizeof(uint32_t)) >
        (size_t)h->bottom - table_end(h) + old)
        return refuse(ENOSPC);
    uint32_t *table = table_of(h);
    if (found) {
        take_out(h, at, old);
    } else {
        memmove(table + at + 1, table + at, (h->count - at) * sizeof(uint32_t));
        h->count++;
    }
    h->bottom -= (uint32_t)size;
    table[at] = h->bottom;
    char *to = (char *)h + h->bottom;
    strcpy(to, key);
    strcpy(to + strlen(key) + 1, value);
    return 0;
}

const char *dict_get(const void *seg, const char *key)
{
    const struct head *h = head_of(seg, key);
    uint32_t at;
    uint32_t size;

    if (h == NULL)
        return NULL;
    int found = search(h, key, &at, &size);
    if (found == 0)
        errno = ENOENT;
    if (found != 1)
        return NULL;
    return (const char *)h + table_of(h)[at] + strlen(key) + 1;
}
