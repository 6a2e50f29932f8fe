/*
 * sysv_shm.c - System V shared memory: segments, a dictionary in a segment,
 * and a small ipcs.  What each function has to do is said in sysv_shm.h.
 */
#include "sysv_shm.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

int seg_key(const char *path, int project, key_t *key)
{
    // BEGIN SOLUTION
    if ((project & 0xff) == 0) {
        errno = EINVAL;
        return -1;
    }
    key_t made = ftok(path, project);
    if (made == (key_t)-1)
        return -1;
    *key = made;
    return 0;
    // STUB
    // /* TODO(lab4): refuse a project whose low 8 bits are 0; make the key
    //  * and hand it over only if that worked.  ftok(3). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int seg_create(key_t key, size_t size_bytes)
{
    // BEGIN SOLUTION
    if (size_bytes == 0) {
        errno = EINVAL;
        return -1;
    }
    return shmget(key, size_bytes, IPC_CREAT | IPC_EXCL | 0600);
    // STUB
    // /* TODO(lab4): make a new segment for this user alone; fail if the key
    //  * is taken.  shmget(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int seg_open(key_t key, size_t min_size_bytes)
{
    // BEGIN SOLUTION
    if (key == IPC_PRIVATE) {
        errno = EINVAL;
        return -1;
    }
    return shmget(key, min_size_bytes, 0);
    // STUB
    // /* TODO(lab4): find the segment that has the key, never make one.  What
    //  * does shmget(2) do when the key is IPC_PRIVATE? */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

void *seg_attach(int id, bool read_only)
{
    // BEGIN SOLUTION
    void *addr = shmat(id, NULL, read_only ? SHM_RDONLY : 0);
    return addr == (void *)-1 ? NULL : addr;
    // STUB
    // /* TODO(lab4): map the segment, for reading alone if asked.  shmat(2);
    //  * mind what it returns on failure. */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

int seg_detach(const void *addr)
{
    // BEGIN SOLUTION
    return shmdt(addr);
    // STUB
    // /* TODO(lab4): end the mapping at this address.  shmdt, in shmat(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int seg_destroy(int id)
{
    // BEGIN SOLUTION
    return shmctl(id, IPC_RMID, NULL);
    // STUB
    // /* TODO(lab4): destroy the segment, or mark it if it is attached.
    //  * shmctl(2). */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
static void fill_info(struct seg_info *info, int id, const struct shmid_ds *ds)
{
    *info = (struct seg_info){
        .id = id,
        .key = ds->shm_perm.__key,
        .size_bytes = ds->shm_segsz,
        .attached = ds->shm_nattch,
        .creator_pid = ds->shm_cpid,
        .owner_uid = ds->shm_perm.uid,
        .mode = ds->shm_perm.mode & 0777,
        .marked = (ds->shm_perm.mode & SHM_DEST) != 0,
    };
}

// END SOLUTION
int seg_info(int id, struct seg_info *info)
{
    // BEGIN SOLUTION
    struct shmid_ds ds;

    if (shmctl(id, IPC_STAT, &ds) == -1)
        return -1;
    fill_info(info, id, &ds);
    return 0;
    // STUB
    // /* TODO(lab4): ask the kernel and fill in every field.  shmctl(2) names
    //  * the fields; SHM_DEST is the mark. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

// BEGIN SOLUTION
/*
 * The dictionary: a head, then records in a row.  A record is its two lengths
 * (each counts the string's last 0), the key, the value, and padding to a
 * multiple of 8.  A value is replaced by closing the gap that the old record
 * leaves and appending the new one.
 */
#define DICT_MAGIC 0x34544349444d4853u /* "SHMDICT4" */

struct dict {
    uint64_t magic;
    uint64_t size_bytes; /* of the whole, this head included */
    uint64_t used_bytes; /* from the start of the head to the first free byte */
};

struct record {
    uint64_t key_bytes;
    uint64_t value_bytes;
};

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

static char *at(const struct dict *d, uint64_t offset)
{
    return (char *)(uintptr_t)d + offset;
}

/* The dictionary at seg, or NULL if there is none. */
static struct dict *dict_at(const void *seg, const char *key)
{
    struct dict *d = (struct dict *)(uintptr_t)seg;

    if (d->magic != DICT_MAGIC || d->used_bytes < sizeof(*d) ||
        d->used_bytes > d->size_bytes || key[0] == '\0') {
        errno = EINVAL;
        return NULL;
    }
    return d;
}

/*
 * Copies the lengths of the record at offset.  Returns the bytes that it takes
 * up, or 0 if what lies there can't be a record.  The sums are written so that
 * no length, however large, makes one of them wrap round.
 */
static uint64_t read_record(const struct dict *d, uint64_t offset,
                            struct record *r)
{
    uint64_t room = d->used_bytes - offset;

    if (room < sizeof(*r))
        return 0;
    memcpy(r, at(d, offset), sizeof(*r));
    room -= sizeof(*r);
    if (r->key_bytes < 2 || r->key_bytes > room)
        return 0;
    room -= r->key_bytes;
    if (r->value_bytes < 1 || r->value_bytes > room)
        return 0;
    const char *key = at(d, offset + sizeof(*r));
    const char *value = key + r->key_bytes;
    if (key[r->key_bytes - 1] != '\0' || value[r->value_bytes - 1] != '\0')
        return 0;
    return padded(sizeof(*r) + r->key_bytes + r->value_bytes);
}

/*
 * Finds the record of a key.  Returns its size in bytes, with its offset and
 * lengths; 0 if there is none, with errno ENOENT, or EINVAL if the dictionary
 * is damaged.
 */
static uint64_t find(const struct dict *d, const char *key, uint64_t *offset,
                     struct record *r)
{
    uint64_t size = 0;

    for (*offset = sizeof(*d); *offset < d->used_bytes; *offset += size) {
        size = read_record(d, *offset, r);
        if (size == 0) {
            errno = EINVAL;
            return 0;
        }
        if (strcmp(at(d, *offset + sizeof(*r)), key) == 0)
            return size;
    }
    errno = ENOENT;
    return 0;
}

/* Appends a record; the caller has seen to it that it fits. */
static void append(struct dict *d, const char *key, const char *value)
{
    struct record r = {strlen(key) + 1, strlen(value) + 1};
    char *to = at(d, d->used_bytes);

    memcpy(to, &r, sizeof(r));
    memcpy(to + sizeof(r), key, r.key_bytes);
    memcpy(to + sizeof(r) + r.key_bytes, value, r.value_bytes);
    d->used_bytes += padded(sizeof(r) + r.key_bytes + r.value_bytes);
}

// END SOLUTION
int dict_init(void *seg, size_t size_bytes)
{
    // BEGIN SOLUTION
    if (size_bytes < DICT_MIN_BYTES) {
        errno = EINVAL;
        return -1;
    }
    /* A whole number of 8 bytes, so that padding never passes the end. */
    *(struct dict *)seg = (struct dict){
        .magic = DICT_MAGIC,
        .size_bytes = size_bytes & ~(size_t)7,
        .used_bytes = sizeof(struct dict),
    };
    return 0;
    // STUB
    // /* TODO(lab4): write the head of an empty dictionary.  Decide first what
    //  * an entry looks like: draw it, with offsets. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int dict_put(void *seg, const char *key, const char *value)
{
    // BEGIN SOLUTION
    struct dict *d = dict_at(seg, key);
    struct record old;
    uint64_t offset;

    if (d == NULL)
        return -1;
    uint64_t old_size = find(d, key, &offset, &old);
    if (old_size == 0 && errno != ENOENT)
        return -1;

    uint64_t new_size =
        padded(sizeof(old) + strlen(key) + 1 + strlen(value) + 1);
    if (new_size > d->size_bytes - (d->used_bytes - old_size)) {
        errno = ENOSPC;
        return -1;
    }
    memmove(at(d, offset), at(d, offset + old_size),
            d->used_bytes - offset - old_size);
    d->used_bytes -= old_size;
    append(d, key, value);
    return 0;
    // STUB
    // /* TODO(lab4): look for the key, make sure that there is room, and only
    //  * then change anything. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

const char *dict_get(const void *seg, const char *key)
{
    // BEGIN SOLUTION
    const struct dict *d = dict_at(seg, key);
    struct record r;
    uint64_t offset;

    if (d == NULL || find(d, key, &offset, &r) == 0)
        return NULL;
    return at(d, offset + sizeof(r) + r.key_bytes);
    // STUB
    // /* TODO(lab4): find the key; an offset becomes an address only now, by
    //  * adding it to seg. */
    // errno = ENOSYS;
    // return NULL;
    // END SOLUTION
}

// BEGIN SOLUTION
/* The highest slot in use of the kernel's table of segments. */
static int last_slot(void)
{
    struct shm_info totals;

    return shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&totals);
}

/*
 * Looks into one slot.  Returns 1 with its segment, or 0 if the slot is free
 * (it may have been in use a moment ago); -1 on any other error.  SHM_STAT_ANY
 * asks for no read permission, SHM_STAT does.
 */
static int look_into(int slot, struct seg_info *info)
{
    struct shmid_ds ds;
    int id = shmctl(slot, SHM_STAT_ANY, &ds);

    if (id == -1)
        return errno == EINVAL || errno == EIDRM ? 0 : -1;
    fill_info(info, id, &ds);
    return 1;
}

// END SOLUTION
ssize_t seg_list(struct seg_info *out, size_t cap)
{
    // BEGIN SOLUTION
    size_t count = 0;
    int last = last_slot();

    if (last == -1)
        return -1;
    for (int slot = 0; slot <= last; slot++) {
        struct seg_info info;
        int found = look_into(slot, &info);
        if (found == -1)
            return -1;
        if (found == 0)
            continue;
        if (count < cap)
            out[count] = info;
        count++;
    }
    return (ssize_t)count;
    // STUB
    // /* TODO(lab4): walk the kernel's table of segments; a slot of it may be
    //  * free.  shmctl(2): SHM_INFO, SHM_STAT_ANY. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}

int seg_reap(uid_t owner)
{
    // BEGIN SOLUTION
    int reaped = 0;
    int last = last_slot();

    if (last == -1)
        return -1;
    for (int slot = 0; slot <= last; slot++) {
        struct seg_info info;
        int found = look_into(slot, &info);
        if (found == -1)
            return -1;
        if (found == 0 || info.owner_uid != owner || info.attached > 0)
            continue;
        /* Gone or forbidden is no error: it was not ours to destroy. */
        if (shmctl(info.id, IPC_RMID, NULL) == 0)
            reaped++;
    }
    return reaped;
    // STUB
    // /* TODO(lab4): go through the segments as in seg_list, and destroy those
    //  * that are this user's and attached by nobody.  Count what you really
    //  * destroyed. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
