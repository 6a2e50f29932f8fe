/*
 * sysv_shm.h - System V shared memory: segments that live until destroyed.
 *
 * Two processes that share a segment read and write the same physical pages.
 * The kernel is needed to set the sharing up and to end it; in between, a
 * store by one process is seen by a load of the other, with no system call
 * and no copy.
 *
 * Three things name a segment, and they are easily confused:
 *
 *   key      a number on which programs agree beforehand, usually made from
 *            a file's name.  It leads to the segment while nobody has
 *            destroyed it.  seg_key() makes one.
 *   id       the kernel's number for one segment, the same in every process,
 *            never below 0; 0 is an id like any other.  seg_create() and
 *            seg_open() turn a key into an id.
 *   address  where one process sees the segment.  Another process, or a
 *            second attach in the same process, has another address for the
 *            same bytes.  seg_attach() turns an id into an address.
 *
 * The life of a segment:
 *
 *   seg_create --> exists <--> attached by 1, 2, 3 ... processes
 *                    |             |
 *                seg_destroy   seg_destroy
 *                    |             |
 *                    v             v
 *                  gone <------- marked: no longer found by its key, used on
 *                   last detach  by those who are attached
 *
 * A segment belongs to the system and to no process.  When its creator ends,
 * it stays, with its bytes, until somebody destroys it or the machine is
 * restarted.  A process that ends is detached, never more than that.
 *
 * The rules of this interface:
 *  - A function that returns int or ssize_t returns -1 on failure and one
 *    that returns a pointer returns NULL; errno then says why.  On success
 *    errno means nothing.
 *  - On failure nothing is changed: no segment made or destroyed, nothing
 *    attached or detached, no out-parameter written (seg_list says its own).
 *  - No function prints, exits, or keeps a descriptor, a mapping, memory or
 *    a child once it has returned; the mapping of seg_attach() is the one
 *    thing that the caller gets, and gives back with seg_detach().
 *  - No function waits or locks.  Programs that write to a segment at one
 *    time must agree on whose turn it is (labs 6 and 7).
 *  - Strings are C strings.  No pointer is NULL unless a comment allows it.
 *
 * Errors beyond those in the tables come as the system call gave them.
 *
 * Read first: sysvipc(7), shmget(2), shmat(2), shmctl(2), ftok(3).
 */
#ifndef SYSV_SHM_H
#define SYSV_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * Keys
 */

/*
 * Makes the key that ftok(3) makes of a file and a project number: any two
 * programs that name the same file and project get the same key.
 *
 * path     an existing file; only its device and inode count, not its
 *          contents and not which of its names is used (a symbolic link
 *          stands for its target)
 * project  only the low 8 bits count, and they must not all be 0
 * key      where the key goes; on failure *key stays as it was
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  the low 8 bits of project are 0
 *   ENOENT  there is no such file (and others of stat(2): EACCES, ENOTDIR...)
 *
 * See ftok(3).
 */
int seg_key(const char *path, int project, key_t *key);

/* ------------------------------------------------------------------------
 * Segments
 */

/*
 * Makes a new segment: exactly this many bytes by the kernel's account, all
 * 0, attached by nobody, readable and writable by its owner and by no other
 * user (mode 0600).  Further flags of shmget(2) are yours to choose, as long
 * as all this holds.
 *
 * key         a key that no segment has, or IPC_PRIVATE for a segment without
 *             a key (others then need its id)
 * size_bytes  1 or more
 *
 * Returns the new segment's id.  Somebody has to seg_destroy() it one day.
 * Returns -1 with errno:
 *   EINVAL  size_bytes is 0, or more than the system allows
 *   EEXIST  a segment with that key exists; it is left alone
 *   ENOSPC  the system has as many segments, or as much shared memory, as it
 *           allows (ipcs -l)
 *   ENOMEM  no memory for it
 *
 * See shmget(2).
 */
int seg_create(key_t key, size_t size_bytes);

/*
 * Finds the segment that has this key, also one that the caller may read and
 * not write.  Never makes one, not for a moment, whatever the key.
 *
 * key             any key, as -1; IPC_PRIVATE alone names no segment and can't
 *                 be found
 * min_size_bytes  the least size that will do; 0: any
 *
 * Returns its id, the same that seg_create() returned.
 * Returns -1 with errno:
 *   ENOENT  no segment has that key (never made, destroyed, or marked)
 *   EINVAL  the segment is smaller than min_size_bytes, or key is
 *           IPC_PRIVATE
 *   EACCES  the segment is another user's and shut to this one
 *
 * See shmget(2).
 */
int seg_open(key_t key, size_t min_size_bytes);

/*
 * Maps a segment into the calling process, where the kernel finds room.
 * Each call makes another mapping with an address of its own.
 *
 * id         a segment's id; one that is marked can still be attached by it
 * read_only  true: loads work and a store ends the process with SIGSEGV, and
 *            permission to read will do; false: both work, or it fails
 *
 * Returns the address of the first byte, aligned to a page.  The caller gives
 * the mapping back with seg_detach().
 * Returns NULL with errno (never the (void *)-1 of shmat):
 *   EINVAL, EIDRM  no segment has that id
 *   EACCES         no permission for that kind of access
 *   ENOMEM         no room for the mapping
 *
 * See shmat(2).
 */
void *seg_attach(int id, bool read_only);

/*
 * Ends one mapping.  The segment and its bytes stay, and so do other mappings
 * of it.
 *
 * addr  what seg_attach() returned; any other address is refused, one inside
 *       a mapping too, and NULL
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  no segment is attached at exactly that address
 *
 * See shmdt (in shmat(2)).
 */
int seg_detach(const void *addr);

/*
 * Destroys a segment.  If nobody is attached, it is gone at once.  Otherwise
 * it is marked: it can't be found by its key any more (the key is free for a
 * new segment), those who are attached go on using it, and the kernel frees
 * it when the last of them detaches or ends.  Does not wait for that.  To
 * destroy a marked segment once more changes nothing and is a success.
 *
 * id  a segment's id; no permission to read or write it is needed
 *
 * Returns 0, or -1 with errno:
 *   EINVAL, EIDRM  no segment has that id
 *   EPERM          the caller is neither its owner nor its creator
 *
 * See shmctl(2), IPC_RMID.
 */
int seg_destroy(int id);

/* What is known of a segment. */
struct seg_info {
    int id;
    key_t key;              /* IPC_PRIVATE (0) if it has none, and once it is
                               marked */
    size_t size_bytes;      /* as asked for at its creation, not rounded up */
    unsigned long attached; /* mappings of it now, in all processes */
    pid_t creator_pid;      /* the process that made it, perhaps long gone */
    uid_t owner_uid;        /* the user that owns it */
    mode_t mode;            /* the nine permission bits alone: 0600 */
    bool marked;            /* destroyed, lives until the last detach */
};

/*
 * Tells what is known of a segment.
 *
 * id    a segment's id
 * info  where it goes; on failure *info stays as it was
 *
 * Returns 0, or -1 with errno:
 *   EINVAL, EIDRM  no segment has that id
 *   EACCES         its mode does not let the caller read it
 *
 * See shmctl(2), IPC_STAT.
 */
int seg_info(int id, struct seg_info *info);

/* ------------------------------------------------------------------------
 * A dictionary inside a segment
 *
 * Keys and values are strings; a key has one value.  Whatever the dictionary
 * needs lies inside the bytes given to dict_init(), so that any process that
 * maps them, at whatever address, can use it.  An address that was stored
 * there would be right in one process only: store offsets from the start of
 * the dictionary.
 *
 * How the bytes are used is up to you, with these rules:
 *  - Nothing outside the size_bytes of dict_init() is read or written, ever.
 *  - The first DICT_HEAD_BYTES are for what describes the whole dictionary (a
 *    magic number by which it is known, its size, ...).  They may be trusted
 *    once the magic number is right.
 *  - Behind them, trust nothing: another process may have written there.
 *    Offsets and lengths found there are checked before they are followed,
 *    strings are looked at only as far as the dictionary goes, and no damage
 *    makes a function run for ever.  (Damage that makes sense, such as another
 *    letter in a key or a value, can't be noticed.)
 *  - Room: charge each entry with strlen(key) + strlen(value) +
 *    DICT_ENTRY_BYTES.  As long as the charges of all entries, the new one
 *    included, come to at most (size_bytes - DICT_HEAD_BYTES) / 2, a put
 *    succeeds.  (It may succeed beyond that; being twice as roomy as needed
 *    leaves you the choice of a table, a list, or records in a row.)
 *  - A put that replaces a value gives the old value's room back, now or when
 *    it is needed.
 */
#define DICT_HEAD_BYTES  64  /* bytes */
#define DICT_ENTRY_BYTES 32  /* bytes */
#define DICT_MIN_BYTES   256 /* bytes, the least that dict_init() accepts */

/*
 * Makes an empty dictionary of these bytes, whatever they held before.
 *
 * seg         the first byte, aligned to 16; usually from seg_attach()
 * size_bytes  DICT_MIN_BYTES or more
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  size_bytes is less than DICT_MIN_BYTES; no byte was written
 */
int dict_init(void *seg, size_t size_bytes);

/*
 * Stores a copy of value under a copy of key; a value that the key had is
 * replaced.
 *
 * seg    a dictionary, at whatever address this process maps it
 * key    at least 1 byte long, of any bytes; keys are equal when every byte
 *        is
 * value  may be empty, which is not the same as none
 *        (neither lies in the dictionary itself)
 *
 * Returns 0.  Pointers that dict_get() returned earlier are no longer valid.
 * Returns -1 with errno, and every key has the value that it had:
 *   EINVAL  key is empty; or seg holds no dictionary; or it is damaged and
 *           the damage was met; what dict_get() of this key meets is met
 *           here, too, unless the put does away with it
 *   ENOSPC  no room
 */
int dict_put(void *seg, const char *key, const char *value);

/*
 * Finds the value of a key.
 *
 * seg  a dictionary, perhaps mapped read-only
 * key  as for dict_put()
 *
 * Returns the value where it lies in the dictionary: a pointer into this
 * process's mapping to a string that ends inside the dictionary.  It is valid
 * until the next dict_put() or dict_init(), or the detach.  Nobody frees it.
 * Returns NULL with errno:
 *   ENOENT  there is no such key
 *   EINVAL  key is empty; or seg holds no dictionary; or it is damaged and
 *           the damage was met
 */
const char *dict_get(const void *seg, const char *key);

/* ------------------------------------------------------------------------
 * The engineer's job: a small ipcs -m, and an ipcrm for what was left behind
 */

/*
 * Lists the segments of the system, whoever owns them, in any order, each
 * once: also those whose mode forbids the caller to read them.  A segment
 * that comes or goes during the call may be in the list or not.
 *
 * out  room for cap segments; may be NULL if cap is 0
 * cap  how many of them to write at most
 *
 * Returns how many segments there are, which may be more than cap: some cap of
 * them, each once, are in out.  The rest of out is left as it was.
 * Returns -1 with errno as the system gave it, also when it can't look at one
 * segment for any other reason than that there is none (any more); what is in
 * out is then undefined.
 *
 * See shmctl(2): SHM_INFO, SHM_STAT, SHM_STAT_ANY; or proc(5),
 * /proc/sysvipc/shm.
 */
ssize_t seg_list(struct seg_info *out, size_t cap);

/*
 * Destroys the orphans of one user: segments with this owner that nobody
 * is attached to, whoever made them and whether that process still runs.
 * Touches no other segment.  One that is gone in the meantime, or that the
 * caller may not destroy, is passed over.
 *
 * owner  the user's id; need not be the caller's own
 *
 * Returns how many segments it destroyed, 0 if none.
 * Returns -1 with errno as the system gave it when the segments can't be
 * listed.  Where it can't look at a single one, it may pass it over or return
 * -1 as seg_list() does; what it has destroyed by then is gone.
 */
int seg_reap(uid_t owner);

#endif
