/*
 * design.c - managers of shared memory, rounds, a ring without locks, and the
 * choice between copy and map.  What each function has to do is said in
 * design.h.
 */
#include "design.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int arena_init(void *seg, size_t size_bytes)
{
    /* TODO(lab8): a lock for processes, and one free block.  What does each
     * block have to say of itself, so that its neighbour is found? */
    (void)seg;
    (void)size_bytes;
    errno = ENOSYS;
    return -1;
}

uint64_t arena_alloc(void *seg, size_t size_bytes)
{
    /* TODO(lab8): the first free block that is large enough; what becomes of
     * the rest of it? */
    (void)seg;
    (void)size_bytes;
    errno = ENOSYS;
    return 0;
}

int arena_free(void *seg, uint64_t offset)
{
    /* TODO(lab8): is it a block in use?  Then it is free, and one with its
     * free neighbours. */
    (void)seg;
    (void)offset;
    errno = ENOSYS;
    return -1;
}

int pool_create(struct pool *p, const char *name, size_t nsegs,
                size_t seg_bytes)
{
    /* TODO(lab8): the table, then each segment; what if the third can't be
     * made?  shm_open(3), posix_fallocate(3), mmap(2). */
    (void)p;
    (void)name;
    (void)nsegs;
    (void)seg_bytes;
    errno = ENOSYS;
    return -1;
}

int pool_open(struct pool *p, const char *name)
{
    /* TODO(lab8): map the table; is it complete? */
    (void)p;
    (void)name;
    errno = ENOSYS;
    return -1;
}

int pool_acquire(struct pool *p, int deadline_ms)
{
    /* TODO(lab8): wait for a free one, take the one that has been free
     * longest, and note whose it is.  What if this process dies on the
     * way? */
    (void)p;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

void *pool_segment(struct pool *p, int seg)
{
    /* TODO(lab8): map it, or say where it is mapped.  mmap(2). */
    (void)p;
    (void)seg;
    errno = ENOSYS;
    return NULL;
}

int pool_give(struct pool *p, int seg, pid_t to)
{
    /* TODO(lab8): note whose it is now. */
    (void)p;
    (void)seg;
    (void)to;
    errno = ENOSYS;
    return -1;
}

int pool_release(struct pool *p, int seg)
{
    /* TODO(lab8): is it in use?  Then it goes behind the others. */
    (void)p;
    (void)seg;
    errno = ENOSYS;
    return -1;
}

int pool_reclaim(struct pool *p, pid_t dead)
{
    /* TODO(lab8): is it dead?  Then all that is its own comes back, and who
     * waits is told, whatever it was doing when it died.  kill(2). */
    (void)p;
    (void)dead;
    errno = ENOSYS;
    return -1;
}

int pool_close(struct pool *p)
{
    /* TODO(lab8): what has this process mapped?  munmap(2). */
    (void)p;
    errno = ENOSYS;
    return -1;
}

int pool_destroy(struct pool *p)
{
    /* TODO(lab8): all names go, then the mappings.  shm_unlink(3). */
    (void)p;
    errno = ENOSYS;
    return -1;
}

int rounds_init(struct rounds *r, size_t slots, size_t slot_bytes)
{
    /* TODO(lab8): declare struct rounds; how far has each side come, and who
     * waits for what? */
    (void)r;
    (void)slots;
    (void)slot_bytes;
    errno = ENOSYS;
    return -1;
}

int rounds_join(struct rounds *r, enum rounds_role role)
{
    /* TODO(lab8): what tells that a process that has a role is alive?  A
     * robust mutex does; so does a pid. */
    (void)r;
    (void)role;
    errno = ENOSYS;
    return -1;
}

int rounds_leave(struct rounds *r, enum rounds_role role)
{
    /* TODO(lab8): say that nobody has the role any more. */
    (void)r;
    (void)role;
    errno = ENOSYS;
    return -1;
}

int rounds_send(struct rounds *r, const void *data, size_t size,
                int deadline_ms)
{
    /* TODO(lab8): as many rounds as it takes, each into the next free slot.
     * How does the receiver know which is the last, also of a message that
     * fills its slots exactly, and of an empty one? */
    (void)r;
    (void)data;
    (void)size;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

ssize_t rounds_recv(struct rounds *r, void *buf, size_t cap, int deadline_ms)
{
    /* TODO(lab8): round after round, until the last of the message. */
    (void)r;
    (void)buf;
    (void)cap;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

int spsc_init(struct spsc *q, size_t slots, size_t slot_bytes)
{
    /* TODO(lab8): declare struct spsc; what do both sides read and write,
     * and on which cache lines? */
    (void)q;
    (void)slots;
    (void)slot_bytes;
    errno = ENOSYS;
    return -1;
}

void *spsc_reserve(struct spsc *q, int deadline_ms)
{
    /* TODO(lab8): wait until the next slot is free.  Which memory order lets
     * you see that the consumer is done with it?  C11 7.17.3. */
    (void)q;
    (void)deadline_ms;
    errno = ENOSYS;
    return NULL;
}

int spsc_commit(struct spsc *q, size_t size)
{
    /* TODO(lab8): say that it is there.  Which memory order makes the bytes
     * visible to whoever sees that?  C11 7.17.3. */
    (void)q;
    (void)size;
    errno = ENOSYS;
    return -1;
}

const void *spsc_peek(struct spsc *q, size_t *size, int deadline_ms)
{
    /* TODO(lab8): wait until the oldest message is there. */
    (void)q;
    (void)size;
    (void)deadline_ms;
    errno = ENOSYS;
    return NULL;
}

int spsc_consume(struct spsc *q)
{
    /* TODO(lab8): the slot is the producer's again, once all is read. */
    (void)q;
    errno = ENOSYS;
    return -1;
}

int spsc_push(struct spsc *q, const void *data, size_t size, int deadline_ms)
{
    /* TODO(lab8): reserve, copy, commit. */
    (void)q;
    (void)data;
    (void)size;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

ssize_t spsc_pop(struct spsc *q, void *buf, size_t cap, int deadline_ms)
{
    /* TODO(lab8): peek, copy, consume. */
    (void)q;
    (void)buf;
    (void)cap;
    (void)deadline_ms;
    errno = ENOSYS;
    return -1;
}

enum channel_kind channel_choose(size_t size,
                                 const struct channel_costs *measured)
{
    /* TODO(lab8): what does each way cost for so many bytes? */
    (void)size;
    (void)measured;
    errno = ENOSYS;
    return CHANNEL_COPY;
}

int channel_send(int fd, enum channel_kind kind, const void *data, size_t size)
{
    /* TODO(lab8): the head, then the bytes, or a descriptor with it.
     * memfd_create(2), fcntl(2) F_ADD_SEALS, unix(7). */
    (void)fd;
    (void)kind;
    (void)data;
    (void)size;
    errno = ENOSYS;
    return -1;
}

int channel_recv(int fd, struct channel_message *m)
{
    /* TODO(lab8): the head, and what came with it; believe nothing that you
     * have not looked at.  recvmsg(2), fcntl(2) F_GET_SEALS, fstat(2). */
    (void)fd;
    (void)m;
    errno = ENOSYS;
    return -1;
}

void channel_release(struct channel_message *m)
{
    /* TODO(lab8): allocated, or mapped? */
    (void)m;
}
