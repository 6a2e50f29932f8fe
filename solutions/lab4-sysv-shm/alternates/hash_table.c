/*
 * Another correct solution: the dictionary is a hash table of chains, rebuilt
 * when dead records fill it; the list comes from SHM_STAT and, for segments
 * that may not be read, SHM_STAT_ANY; seg_open compares the sizes itself.
 */
#include "sysv_shm.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

int seg_key(const char *path, int project, key_t *key)
{
    struct stat st;

    if ((unsigned char)project == 0) {
        errno = EINVAL;
        return -1;
    }
    if (stat(path, &st) == -1)
        return -1;
    *key = (key_t)(((unsigned)project & 0xff) << 24 |
                   ((unsigned)st.st_dev & 0xff) << 16 |
                   ((unsigned)st.st_ino & 0xffff));
    return 0;
}

int seg_create(key_t key, size_t size_bytes)
{
    if (size_bytes > 0)
        return shmget(key, size_bytes, IPC_CREAT | IPC_EXCL | 0600);
    errno = EINVAL;
    return -1;
}

int seg_open(key_t key, size_t min_size_bytes)
{
    struct shmid_ds ds;
    int id = -1;

    if (key == IPC_PRIVATE)
        errno = EINVAL;
    else
        id = shmget(key, 0, 0);
    if (id == -1 || shmctl(id, IPC_STAT, &ds) == -1)
        return -1;
    if (ds.shm_segsz >= min_size_bytes)
        return id;
    errno = EINVAL;
    return -1;
}

void *seg_attach(int id, bool read_only)
{
    void *addr = shmat(id, NULL, SHM_RDONLY * read_only);

    return (intptr_t)addr == -1 ? NULL : addr;
}

int seg_detach(const void *addr)
{
    return shmdt(addr);
}

int seg_destroy(int id)
{
    return shmctl(id, IPC_RMID, NULL);
}

static void copy_info(struct seg_info *i, int id, struct shmid_ds *ds)
{
    memset(i, 0, sizeof(*i));
    i->id = id;
    i->key = ds->shm_perm.__key;
    i->size_bytes = ds->shm_segsz;
    i->attached = ds->shm_nattch;
    i->creator_pid = ds->shm_cpid;
    i->owner_uid = ds->shm_perm.uid;
    i->mode = ds->shm_perm.mode & 0777;
    i->marked = (ds->shm_perm.mode & SHM_DEST) == SHM_DEST;
}

int seg_info(int id, struct seg_info *info)
{
    struct shmid_ds ds;

    if (shmctl(id, IPC_STAT, &ds) == -1)
        return -1;
    copy_info(info, id, &ds);
    return 0;
}

ssize_t seg_list(struct seg_info *out, size_t cap)
{
    struct shm_info totals;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&totals);
    size_t n = 0;

    if (last == -1)
        return -1;
    for (int slot = 0; slot <= last; slot++) {
        struct shmid_ds ds;
        int id = shmctl(slot, SHM_STAT, &ds);
        if (id == -1 && errno == EACCES)
            id = shmctl(slot, SHM_STAT_ANY, &ds);
        if (id == -1 && errno != EINVAL && errno != EIDRM)
            return -1;
        if (id == -1)
            continue;
        if (n < cap)
            copy_info(&out[n], id, &ds);
        n++;
    }
    return (ssize_t)n;
}

int seg_reap(uid_t owner)
{
    ssize_t room = seg_list(NULL, 0);
    int reaped = 0;

    if (room == -1)
        return -1;
    struct seg_info *all = calloc((size_t)room + 1, sizeof(*all));
    if (all == NULL)
        return -1;
    ssize_t n = seg_list(all, (size_t)room);
    for (ssize_t i = 0; i < n && i < room; i++)
        if (all[i].owner_uid == owner && all[i].attached == 0)
            reaped += shmctl(all[i].id, IPC_RMID, NULL) == 0;
    free(all);
    return n == -1 ? -1 : reaped;
}

/* ---- the dictionary ---------------------------------------------------- */

#define MAGIC 0x68617368u

struct head {
    uint32_t magic;
    uint32_t buckets;
    uint64_t size;
    uint64_t used; /* up to the first byte that was never used */
    uint64_t live; /* bytes of the records that are in a chain */
};

struct record {
    uint64_t next; /* an older record, so at a lower offset; 0: none */
    uint64_t key_bytes;
    uint64_t size; /* of the whole record */
};

static uint64_t *buckets_of(const struct head *h)
{
    return (uint64_t *)((char *)(uintptr_t)h + DICT_HEAD_BYTES);
}

static uint64_t first_record(const struct head *h)
{
    return DICT_HEAD_BYTES + h->buckets * sizeof(uint64_t);
}

static uint64_t *chain_of(const struct head *h, const char *key)
{
    uint64_t hash = 5381;

    while (*key != '\0')
        hash = hash * 33 + (unsigned char)*key++;
    return &buckets_of(h)[hash % h->buckets];
}

static struct record *record_at(const struct head *h, uint64_t offset,
                                uint64_t below)
{
    if (offset < first_record(h) || offset >= below || offset % 8 != 0 ||
        below - offset < sizeof(struct record) + 3)
        return NULL;
    struct record *r = (struct record *)((char *)(uintptr_t)h + offset);
    if (r->size > h->used - offset || r->size < sizeof(*r) + 3 ||
        r->key_bytes < 2 || r->key_bytes > r->size - sizeof(*r) - 1)
        return NULL;
    const char *key = (const char *)(r + 1);
    const char *value = key + r->key_bytes;
    if (value[-1] != '\0' ||
        memchr(value, '\0', r->size - sizeof(*r) - r->key_bytes) == NULL)
        return NULL;
    return r;
}

/* The place that leads to the key's record, with the record (NULL: there is
 * none); NULL if the chain is damaged. */
static uint64_t *find(const struct head *h, const char *key,
                      struct record **found)
{
    uint64_t *link = chain_of(h, key);
    uint64_t below = h->used;

    *found = NULL;
    while (*link != 0) {
        struct record *r = record_at(h, *link, below);
        if (r == NULL) {
            errno = EINVAL;
            return NULL;
        }
        if (strcmp((const char *)(r + 1), key) == 0) {
            *found = r;
            return link;
        }
        below = *link;
        link = &r->next;
    }
    return link;
}

static struct head *head_of(const void *seg, const char *key)
{
    struct head *h = (struct head *)(uintptr_t)seg;

    if (h->magic == MAGIC && h->buckets > 0 && h->used <= h->size &&
        key[0] != '\0')
        return h;
    errno = EINVAL;
    return NULL;
}

int dict_init(void *seg, size_t size_bytes)
{
    struct head *h = seg;

    if (size_bytes < DICT_MIN_BYTES) {
        errno = EINVAL;
        return -1;
    }
    memset(h, 0, sizeof(*h));
    h->buckets = (uint32_t)(size_bytes / 256 < 1024 ? size_bytes / 256 : 1024);
    h->size = size_bytes - size_bytes % 8;
    h->used = first_record(h);
    memset(buckets_of(h), 0, h->buckets * sizeof(uint64_t));
    h->magic = MAGIC;
    return 0;
}

static uint64_t record_size(const char *key, const char *value)
{
    return (sizeof(struct record) + strlen(key) + strlen(value) + 2 + 7) / 8 *
           8;
}

static void append(struct head *h, const char *key, const char *value)
{
    struct record *r = (struct record *)((char *)h + h->used);
    uint64_t *chain = chain_of(h, key);

    r->next = *chain;
    r->key_bytes = strlen(key) + 1;
    r->size = record_size(key, value);
    strcpy((char *)(r + 1), key);
    strcpy((char *)(r + 1) + r->key_bytes, value);
    *chain = h->used;
    h->used += r->size;
    h->live += r->size;
}

/* Copies every live record from `from`; false if one is damaged. */
static bool copy_all(struct head *h, const struct head *from)
{
    for (uint32_t b = 0; b < from->buckets; b++) {
        uint64_t below = from->used;
        uint64_t offset = buckets_of(from)[b];
        while (offset != 0) {
            struct record *r = record_at(from, offset, below);
            if (r == NULL)
                return false;
            const char *key = (const char *)(r + 1);
            if (record_size(key, key + r->key_bytes) > h->size - h->used)
                return false;
            append(h, key, key + r->key_bytes);
            below = offset;
            offset = r->next;
        }
    }
    return true;
}

/* Leaves out the dead records. */
static int rebuild(struct head *h)
{
    struct head *old = malloc(h->used);

    if (old == NULL)
        return -1;
    memcpy(old, h, h->used);
    dict_init(h, h->size);
    bool whole = copy_all(h, old);
    if (!whole) {
        memcpy(h, old, old->used);
        errno = EINVAL;
    }
    free(old);
    return whole ? 0 : -1;
}

int dict_put(void *seg, const char *key, const char *value)
{
    struct head *h = head_of(seg, key);
    struct record *old;

    if (h == NULL || find(h, key, &old) == NULL)
        return -1;
    uint64_t size = record_size(key, value);
    uint64_t freed = old == NULL ? 0 : old->size;
    uint64_t others = first_record(h) + h->live - freed;
    if (others > h->size || size > h->size - others) {
        errno = ENOSPC;
        return -1;
    }
    if (old != NULL) {
        uint64_t *link = find(h, key, &old);
        uint64_t dead = *link;
        *link = old->next;
        h->live -= freed;
        if (size > h->size - h->used && rebuild(h) == -1) {
            *link = dead;
            h->live += freed;
            return -1;
        }
    } else if (size > h->size - h->used && rebuild(h) == -1) {
        return -1;
    }
    append(h, key, value);
    return 0;
}

const char *dict_get(const void *seg, const char *key)
{
    const struct head *h = head_of(seg, key);
    struct record *r;

    if (h == NULL || find(h, key, &r) == NULL)
        return NULL;
    if (r == NULL) {
        errno = ENOENT;
        return NULL;
    }
    return (const char *)(r + 1) + r->key_bytes;
}
