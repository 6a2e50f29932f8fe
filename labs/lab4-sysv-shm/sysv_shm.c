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
    /* TODO(lab4): refuse a project whose low 8 bits are 0; make the key
     * and hand it over only if that worked.  ftok(3). */
    errno = ENOSYS;
    return -1;
}

int seg_create(key_t key, size_t size_bytes)
{
    /* TODO(lab4): make a new segment for this user alone; fail if the key
     * is taken.  shmget(2). */
    errno = ENOSYS;
    return -1;
}

int seg_open(key_t key, size_t min_size_bytes)
{
    /* TODO(lab4): find the segment that has the key, never make one.  What
     * does shmget(2) do when the key is IPC_PRIVATE? */
    errno = ENOSYS;
    return -1;
}

void *seg_attach(int id, bool read_only)
{
    /* TODO(lab4): map the segment, for reading alone if asked.  shmat(2);
     * mind what it returns on failure. */
    errno = ENOSYS;
    return NULL;
}

int seg_detach(const void *addr)
{
    /* TODO(lab4): end the mapping at this address.  shmdt, in shmat(2). */
    errno = ENOSYS;
    return -1;
}

int seg_destroy(int id)
{
    /* TODO(lab4): destroy the segment, or mark it if it is attached.
     * shmctl(2). */
    errno = ENOSYS;
    return -1;
}

int seg_info(int id, struct seg_info *info)
{
    /* TODO(lab4): ask the kernel and fill in every field.  shmctl(2) names
     * the fields; SHM_DEST is the mark. */
    errno = ENOSYS;
    return -1;
}

int dict_init(void *seg, size_t size_bytes)
{
    /* TODO(lab4): write the head of an empty dictionary.  Decide first what
     * an entry looks like: draw it, with offsets. */
    errno = ENOSYS;
    return -1;
}

int dict_put(void *seg, const char *key, const char *value)
{
    /* TODO(lab4): look for the key, make sure that there is room, and only
     * then change anything. */
    errno = ENOSYS;
    return -1;
}

const char *dict_get(const void *seg, const char *key)
{
    /* TODO(lab4): find the key; an offset becomes an address only now, by
     * adding it to seg. */
    errno = ENOSYS;
    return NULL;
}

ssize_t seg_list(struct seg_info *out, size_t cap)
{
    /* TODO(lab4): walk the kernel's table of segments; a slot of it may be
     * free.  shmctl(2): SHM_INFO, SHM_STAT_ANY. */
    errno = ENOSYS;
    return -1;
}

int seg_reap(uid_t owner)
{
    /* TODO(lab4): go through the segments as in seg_list, and destroy those
     * that are this user's and attached by nobody.  Count what you really
     * destroyed. */
    errno = ENOSYS;
    return -1;
}
