/*
 * design.h - how many segments, of what size, copied or mapped.
 *
 * Shared memory comes without an interface: the kernel gives pages and gets
 * out of the way.  What remains is design.  One large segment needs a manager
 * that gives parts of it away and takes them back; many small ones need a
 * queue of those that are free.  Data that is larger than the segment goes in
 * rounds, with a protocol that says how far each side has come.  Where two
 * processes exchange messages all the time, a ring without locks costs little
 * more than the caches need to move the bytes.  And what is worth mapping and
 * what is better copied is a question of size, to be measured.
 *
 * The rules of this interface:
 *  - Memory that is shared is mapped by several processes, at different
 *    addresses; it is page-aligned, and zero-filled before *_init(): no
 *    pointer may be stored in it.
 *  - A function that returns int returns 0, and -1 on failure, where nothing
 *    else is said; one that returns a pointer returns NULL on failure; errno
 *    then says why.  On failure nothing is changed, and nothing is left
 *    behind, where nothing else is said.
 *  - A size that comes with a message was written by another process: it is
 *    read once, then looked at, then used.
 *  - A signal that is caught (EINTR) is no failure.  SIGPIPE never comes.
 *  - deadline_ms is a time-out counted from the call, on CLOCK_MONOTONIC.
 *    0: don't wait.  -1: wait for ever.  Below -1: EINVAL, also where there is
 *    nothing to wait for.  When it has passed: ETIMEDOUT.
 *  - Who waits sleeps until it is woken.  In rounds it does so for 20
 *    milliseconds at most, then looks whether the other side is there; in the
 *    ring, which wakes nobody, it naps as long at most and looks again.  It
 *    never turns for long.
 *  - Where several errors apply, any one of them comes.
 *  - No function prints, exits, or keeps a descriptor or a child once it has
 *    returned.
 *
 * Errors beyond those in the tables come as the system call gave them.
 *
 * Read first: shm_overview(7), sem_overview(7), futex(7), memfd_create(2),
 * unix(7).
 */
#ifndef DESIGN_H
#define DESIGN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * One large segment and its manager
 */

#define ARENA_ALIGN 16 /* what each block begins at a multiple of */
/* Bytes that the manager may need once, and for each block in use beside its
 * size, rounded up to a multiple of ARENA_ALIGN. */
#define ARENA_HEAD  256
#define ARENA_BLOCK 32

/*
 * Makes a segment an arena of which nothing is in use.
 *
 * seg         shared memory
 * size_bytes  its size, 1024 or more, a multiple of ARENA_ALIGN.  One block of
 *             size_bytes - ARENA_HEAD - ARENA_BLOCK bytes can be had of it.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  size_bytes is no such size
 */
int arena_init(void *seg, size_t size_bytes);

/*
 * Gives a block away: of all places that are large enough the one that is
 * nearest to the beginning (first fit).  What it leaves of a place can be had,
 * if it has room for a block.  Any process may call it at any time.
 *
 * Returns the block's offset from seg, a multiple of ARENA_ALIGN; or 0 with
 * errno:
 *   EINVAL  size_bytes is 0
 *   ENOMEM  no place is large enough; smaller ones can still be had
 */
uint64_t arena_alloc(void *seg, size_t size_bytes);

/*
 * Takes a block back.  Free places that touch become one.
 *
 * offset  from arena_alloc(), of whichever process
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  no block in use begins there (it was freed already, or never was
 *           one)
 */
int arena_free(void *seg, uint64_t offset);

/* ------------------------------------------------------------------------
 * Many small segments, and a queue of those that are free
 */

#define POOL_MAX_SEGS 64

/* What a process has of a pool; the fields are yours. */
struct pool {
    char name[240];
    void *table; /* shared: which segments are free, and whose the others are */
    size_t nsegs;
    size_t seg_bytes;
    void *segs[POOL_MAX_SEGS]; /* where they are mapped; NULL: not yet */
};

/*
 * Makes a pool of regions of shm_open(3), mode 0600: one of its name for what
 * all have to know, and one for each segment, named NAME.0, NAME.1, ...
 *
 * p          becomes this process's handle
 * name       as for shm_open(3), at most 200 bytes
 * nsegs      1 to POOL_MAX_SEGS
 * seg_bytes  the size of each, 1 or more; zero-filled
 *
 * Returns 0, or -1 with errno; no region is left that was not there before:
 *   EINVAL  a number is out of range, or the name is longer
 *   EEXIST  the name, or that of a segment, is taken
 *
 * See shm_open(3), posix_fallocate(3).
 */
int pool_create(struct pool *p, const char *name, size_t nsegs,
                size_t seg_bytes);

/*
 * Opens a pool that another process has made.
 *
 * Returns 0, or -1 with errno:
 *   ENOENT  there is none, or it is not complete yet
 */
int pool_open(struct pool *p, const char *name);

/*
 * Gives the caller a segment: the one that has been free longest (they go
 * round in a queue).  Waits while none is free.
 *
 * Returns its number, 0 to nsegs - 1; or -1 with errno:
 *   ETIMEDOUT  none became free
 *   EINVAL     deadline_ms is below -1
 */
int pool_acquire(struct pool *p, int deadline_ms);

/*
 * Where a segment is in this process; maps it the first time, if pool_create()
 * or pool_open() has not.
 *
 * Returns the address, the same at each call; or NULL with errno:
 *   EINVAL  seg is out of range
 */
void *pool_segment(struct pool *p, int seg);

/*
 * Hands a segment over: it now is that process's, as if it had acquired it.
 *
 * to  that process's id, above 0
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  seg is out of range or free
 */
int pool_give(struct pool *p, int seg, pid_t to);

/*
 * Takes a segment back, behind the others that are free.  Whoever has got the
 * data out of it calls this, the one who acquired it or another.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  seg is out of range or free
 */
int pool_release(struct pool *p, int seg);

/*
 * Takes back whatever belongs to a process that is dead (and was waited for).
 * Wherever it died, in one of these functions as well: each segment then is
 * free, and can be had, or is another process's.
 *
 * dead  its id, above 0
 *
 * Returns how many segments came back; or -1 with errno:
 *   EBUSY  the process lives, be it another user's
 *
 * See kill(2) with the signal 0.
 */
int pool_reclaim(struct pool *p, pid_t dead);

/* Unmaps all that this process has mapped of the pool. */
int pool_close(struct pool *p);

/* Removes the names of all regions of the pool, and closes it.  Processes that
 * have it open can go on with the segments that they have mapped. */
int pool_destroy(struct pool *p);

/* ------------------------------------------------------------------------
 * Rounds: data that is larger than the segment
 */

/* One sender and one receiver; struct rounds lies in ROUNDS_BYTES() bytes of
 * shared memory and is yours: declare it in design.c. */
struct rounds;

#define ROUNDS_MAX_SLOTS 64
#define ROUNDS_BYTES(slots, slot_bytes) \
    (4096 + (size_t)(slots) * (((size_t)(slot_bytes) + 127) / 64 * 64))

enum rounds_role { ROUNDS_SENDER, ROUNDS_RECEIVER };

/*
 * slots       how many rounds may be under way, 1 to ROUNDS_MAX_SLOTS
 * slot_bytes  how much goes in one, 1 or more
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  a number is out of range
 */
int rounds_init(struct rounds *r, size_t slots, size_t slot_bytes);

/*
 * Takes a role, up to rounds_leave() by the same thread; also that of one who
 * has died (and was waited for), who may have taken a slot along.
 *
 * Returns 0, or -1 with errno:
 *   EBUSY  a process that lives has it
 */
int rounds_join(struct rounds *r, enum rounds_role role);

/* Gives the role back: the other side is told by EPIPE. */
int rounds_leave(struct rounds *r, enum rounds_role role);

/*
 * Sends a message of any size, in as many rounds as it takes.  The sender goes
 * on while a slot is free: the receiver, who may come later, need not wait for
 * it nor it for the receiver at each round.  While it waits it looks after the
 * receiver every 20 ms.
 *
 * size  in bytes, from 0
 *
 * Returns 0 when all of it lies in slots, or -1 with errno:
 *   EPIPE      the receiver has left, or died, and no other one has come; or
 *              see ETIMEDOUT
 *   ETIMEDOUT  no slot became free.  If a part of the message is on its way,
 *              the receiver gets EPIPE once the sender has left, and the sender
 *              for all that it sends before it has left and joined again.
 *   EINVAL     deadline_ms is below -1
 */
int rounds_send(struct rounds *r, const void *data, size_t size,
                int deadline_ms);

/*
 * Receives a message; waits for it, and looks after the sender every 20 ms.
 * If another sender has come, what lies in slots of a message that the one
 * before has not sent to its end is dropped.
 *
 * Returns its size; or -1 with errno:
 *   EPIPE      the sender has left, or died, and there is no whole message
 *   EMSGSIZE   it is larger than cap; it was taken and dropped, all of it
 *   EBADMSG    a round of it says that it has more than slot_bytes; dropped too
 *   ETIMEDOUT  it did not come in time.  If a part of it was taken, only
 *              rounds_leave() is of use.
 *   EINVAL     deadline_ms is below -1
 */
ssize_t rounds_recv(struct rounds *r, void *buf, size_t cap, int deadline_ms);

/* ------------------------------------------------------------------------
 * The engineer's job: a ring without locks
 *
 * One producer and one consumer.  push and pop copy; reserve and commit, peek
 * and consume leave the message where it is (no copy at all).  Who waits looks
 * again at once for a short while, then after naps.
 */

/* In SPSC_BYTES() bytes of shared memory, and yours: declare it in design.c. */
struct spsc;

#define SPSC_BYTES(slots, slot_bytes) \
    (4096 + (size_t)(slots) * (((size_t)(slot_bytes) + 255) / 128 * 128))

/*
 * slots       messages that fit, a power of 2, 1 to 65536
 * slot_bytes  how large each may be, 1 or more
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  a number is out of range
 */
int spsc_init(struct spsc *q, size_t slots, size_t slot_bytes);

/*
 * Copies a message into the ring.
 *
 * size  in bytes, 0 to slot_bytes
 *
 * Returns 0, or -1 with errno:
 *   EMSGSIZE   size is above slot_bytes
 *   ETIMEDOUT  the ring stayed full
 *   EINVAL     deadline_ms is below -1
 */
int spsc_push(struct spsc *q, const void *data, size_t size, int deadline_ms);

/*
 * Copies the oldest message out of the ring.
 *
 * Returns its size; or -1 with errno:
 *   EMSGSIZE   it is larger than cap; it stays
 *   EBADMSG    it says that it is larger than slot_bytes; it stays, and the
 *              ring is of no use any more
 *   ETIMEDOUT  the ring stayed empty
 *   EINVAL     deadline_ms is below -1
 */
ssize_t spsc_pop(struct spsc *q, void *buf, size_t cap, int deadline_ms);

/*
 * The place of the next message, slot_bytes bytes at a multiple of 8; the same
 * again until it is committed.
 *
 * Returns it, or NULL with errno:
 *   ETIMEDOUT, EINVAL  as for spsc_push()
 */
void *spsc_reserve(struct spsc *q, int deadline_ms);

/*
 * What lies in the place is the message: the consumer may see it.
 *
 * Returns 0, or -1 with errno:
 *   EMSGSIZE  size is above slot_bytes
 *   EINVAL    there is no place reserved
 */
int spsc_commit(struct spsc *q, size_t size);

/*
 * The oldest message, where it lies; the same again until it is consumed.
 *
 * Returns its first byte, with *size; or NULL with errno:
 *   EBADMSG, ETIMEDOUT, EINVAL  as for spsc_pop()
 */
const void *spsc_peek(struct spsc *q, size_t *size, int deadline_ms);

/*
 * The oldest message is done with: its place is the producer's again.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  none was peeked at
 */
int spsc_consume(struct spsc *q);

/* ------------------------------------------------------------------------
 * To copy or to map
 */

enum channel_kind { CHANNEL_COPY, CHANNEL_MAP };

/* What was measured, on this machine: so much for a message, and so much more
 * for each KiB of it, in proportion: half of it for half a KiB. */
struct channel_costs {
    uint64_t copy_ns, copy_ns_per_kib;
    uint64_t map_ns, map_ns_per_kib;
};

#define CHANNEL_COPY_MAX (1 << 20) /* bytes of a message that is copied */

/*
 * The cheaper way for a message of so many bytes, which may be none or more
 * than memory holds; where both cost the same, or nothing is cheaper, to copy.
 * What is above CHANNEL_COPY_MAX is mapped.
 */
enum channel_kind channel_choose(size_t size,
                                 const struct channel_costs *measured);

/* What precedes each message on the socket, in the machine's own byte order:
 * both ends are on this machine. */
struct channel_head {
    uint64_t size;
    uint32_t kind; /* enum channel_kind */
    uint32_t zero; /* to be sent as 0; another number may be EBADMSG */
};

/*
 * Sends a message on a connected Unix stream socket.  CHANNEL_COPY: the head,
 * then the bytes.  CHANNEL_MAP: the head, and with its first byte the
 * descriptor of a memory file (memfd_create(2)) that holds the bytes and can
 * neither be written any more nor shrunk or grown (F_SEAL_WRITE, F_SEAL_SHRINK,
 * F_SEAL_GROW).
 *
 * size  in bytes, from 1
 *
 * Returns 0, or -1 with errno:
 *   EINVAL    size is 0, or kind is none
 *   EMSGSIZE  it is to be copied and size is above CHANNEL_COPY_MAX
 *   EPIPE     nobody reads (any more).  Who has closed the socket with bytes
 *             unread may give ECONNRESET.
 *
 * See memfd_create(2), fcntl(2) F_ADD_SEALS, unix(7) SCM_RIGHTS.
 */
int channel_send(int fd, enum channel_kind kind, const void *data, size_t size);

struct channel_message {
    enum channel_kind kind;
    const void *data; /* allocated or mapped, up to channel_release() */
    size_t size;
};

/*
 * Receives a message; waits for it.
 *
 * Returns 1 with *m; 0 when the stream ended where a message would begin; -1
 * with errno:
 *   EBADMSG  what came is no message: a head with a wrong size or kind; no
 *            descriptor or more than one with the first byte of a message that
 *            is to be mapped, or one with that of another; a memory file that
 *            is smaller than is said, or can still be written (by a mapping
 *            that is there already, too) or shrunk.  Descriptors that come
 *            later are not kept.
 *   EPROTO   the stream ended inside of a message
 */
int channel_recv(int fd, struct channel_message *m);

/* Gives the message's memory back. */
void channel_release(struct channel_message *m);

#endif
