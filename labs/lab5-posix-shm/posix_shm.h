/*
 * posix_shm.h - POSIX shared memory: regions that are opened like files.
 *
 * A region is a file in a file system that lives in memory (/dev/shm).  Three
 * things belong to it, and each has a life of its own:
 *
 *   name        leads to the region from any process, until region_unlink()
 *   descriptor  a handle that shm_open(3) gives; needed to set the size and to
 *               map, and for nothing after that
 *   mapping     where one process sees the bytes, until region_close()
 *
 * The memory itself is freed when all three are gone: no name, no descriptor,
 * no mapping.
 *
 *   region_create --> name + mapping       region_open --> one more mapping
 *   region_unlink --> no name; those who have it mapped go on using it
 *   region_close  --> one mapping less
 *
 * A mapping may be larger than what lies behind it.  A load or a store there
 * does not fail with an errno: it ends the process with SIGBUS.  So memory is
 * reserved before it is mapped, and what others can shrink is not mapped at
 * all.
 *
 * The rules of this interface:
 *  - A function that returns int or ssize_t returns -1 on failure and one
 *    that returns a pointer returns NULL (never MAP_FAILED); errno then says
 *    why.  On success errno means nothing.
 *  - On failure nothing is changed: no region or file made, removed, grown or
 *    written, nothing mapped or unmapped, no out-parameter written.  (Two
 *    exceptions are named at counter_add().)
 *  - No function prints, exits, or keeps a descriptor, memory or a child once
 *    it has returned.  What the caller gets is a mapping, which is given back
 *    with region_close(), or the descriptor of region_anon().
 *  - A signal that is handled meanwhile ends no call with EINTR.
 *  - No pointer is NULL unless a comment allows it.
 *
 * Errors beyond those in the tables come as the system call gave them; so does
 * that of a size which no file can have (EFBIG, EINVAL or ENOMEM).
 *
 * Read first: shm_overview(7), shm_open(3), mmap(2), posix_fallocate(3).
 */
#ifndef POSIX_SHM_H
#define POSIX_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------------
 * Regions with a name
 *
 * A name is a slash and 1 to 254 bytes without a slash: "/stock".  (glibc also
 * takes names without the slash at the front, and with 255 bytes behind it;
 * other systems do not, so these functions refuse them.)
 */

/*
 * Makes a new region and maps it for reading and writing: all bytes 0, of
 * exactly this size, readable and writable by its owner and by no other user
 * (mode 0600).  The memory is reserved now: a store into the region can't
 * meet a full file system later.
 *
 * name        a name that no region has
 * size_bytes  1 or more
 *
 * Returns the address of the first byte, aligned to a page.  Somebody has to
 * region_unlink() the name one day.
 * Returns NULL with errno, and no region of that name is made:
 *   EINVAL  size_bytes is 0, or the name is none
 *   EEXIST  a region with that name exists; it is left alone
 *   ENOSPC  not so much memory is left (or ENOMEM)
 *
 * See shm_open(3), posix_fallocate(3), mmap(2).
 */
void *region_create(const char *name, size_t size_bytes);

/*
 * Maps a region that somebody has made, the whole of it.  Never makes one.
 *
 * name        its name
 * read_only   true: it is opened for reading alone, so that a user who may
 *             only read it can; a store ends the process with SIGSEGV, and
 *             mprotect(2) can't change that.  false: loads and stores work.
 * size_bytes  where its size goes: not rounded up to pages
 *
 * Returns the address of the first byte.
 * Returns NULL with errno:
 *   EINVAL  the name is none
 *   ENOENT  no region has that name
 *   EAGAIN  the region is half made: its creator has not given it a size yet.
 *           Try again later.
 *
 * See shm_open(3), fstat(2), mmap(2).
 */
void *region_open(const char *name, bool read_only, size_t *size_bytes);

/*
 * Ends one mapping, the whole of it.  The region, its name and other mappings
 * of it stay.
 *
 * addr        what region_create(), region_open(), region_grow() or
 *             region_map_fd() returned
 * size_bytes  the size of that mapping
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  addr is not the start of a page, or size_bytes is 0
 *
 * See munmap(2).
 */
int region_close(void *addr, size_t size_bytes);

/*
 * Removes a region's name.  Nobody can open it any more and the name is free
 * for a new region; those who have it mapped go on using it, and the memory
 * is freed when the last of them has closed it.
 *
 * name  its name
 *
 * Returns 0, or -1 with errno:
 *   EINVAL  the name is none
 *   ENOENT  no region has that name
 *
 * See shm_unlink(3).
 */
int region_unlink(const char *name);

/*
 * Makes a region larger, and the caller's mapping with it.  The old bytes
 * stay, the new ones are 0 and reserved.  Other processes keep the mapping
 * that they have; they see the new size when they open the region again.
 * A region never gets smaller: if another process has made it larger than
 * new_bytes already, it stays so.
 *
 * name       the region's name
 * addr       the caller's mapping of it, for reading and writing
 * old_bytes  the size of that mapping
 * new_bytes  the size that it shall have; old_bytes or more
 *
 * Returns where the mapping is now; it has new_bytes.  If that is not addr,
 * nothing is mapped at addr any more.
 * Returns NULL with errno, and region and mapping are as before.  (Others see
 * at once that a region is larger, so that can't be undone: it comes last of
 * what can fail.)
 *   EINVAL  new_bytes is less than old_bytes, or the name is none
 *   ENOENT  no region has that name
 *   ENOSPC  not so much memory is left (or ENOMEM)
 *
 * See posix_fallocate(3), mmap(2), mremap(2).
 */
void *region_grow(const char *name, void *addr, size_t old_bytes,
                  size_t new_bytes);

/* ------------------------------------------------------------------------
 * Regions without a name, to be handed to another process as a descriptor
 * (over a Unix socket, lab 3, or through fork)
 */

/*
 * Makes a region that has no name: all bytes 0, of exactly this size,
 * reserved, and sealed with F_SEAL_SHRINK, so that nobody can ever make it
 * smaller.  It can be mapped for reading and writing; seals that leave it so
 * may be there as well.
 *
 * size_bytes  1 or more
 *
 * Returns a descriptor, which a program executed later does not inherit
 * (close-on-exec).  The caller closes it.
 * Returns -1 with errno:
 *   EINVAL  size_bytes is 0
 *   ENOSPC  not so much memory is left (or ENOMEM)
 *   EMFILE  the process has as many descriptors open as it may
 *
 * See memfd_create(2), fcntl(2) F_ADD_SEALS.
 */
int region_anon(size_t size_bytes);

/*
 * Maps a region that came as a descriptor, perhaps from a process that is not
 * to be trusted, for reading and writing.  The mapping is as large as the
 * region is once nobody can shrink it.
 *
 * fd          the descriptor; it stays open and stays the caller's
 * size_bytes  where the size goes
 *
 * Returns the address of the first byte.
 * Returns NULL with errno:
 *   EPERM   it is not sealed against shrinking, or is something that can't be
 *           sealed.  (Whoever holds it could make it smaller and so end the
 *           caller with SIGBUS.)  A seal is not added here.
 *   EINVAL  it has no bytes (if it is not sealed either: this or EPERM)
 *   EBADF   fd is not open
 *
 * See fcntl(2) F_GET_SEALS, fstat(2), mmap(2).
 */
void *region_map_fd(int fd, size_t *size_bytes);

/* ------------------------------------------------------------------------
 * The engineer's job: files that are used as memory
 */

#define FILE_WINDOW_BYTES (1u << 20) /* bytes, a file's most that is mapped */

/*
 * Counts how often a byte occurs in a file, by mapping it.  The file may be of
 * any size, far larger than the address space: at no time are more than
 * FILE_WINDOW_BYTES of it mapped.
 *
 * path  a file that nobody changes meanwhile
 * byte  0 to 255
 *
 * Returns how often it occurs; 0 for an empty file.
 * Returns -1 with errno:
 *   EINVAL  byte is not 0 to 255
 *   EISDIR  path is a directory
 *   ENOENT  there is no such file (and others of open(2), mmap(2))
 *
 * See mmap(2), sysconf(3) _SC_PAGESIZE.
 */
ssize_t file_count(const char *path, int byte);

/* A counter's file: the total, one uint64_t as this machine stores it. */
#define COUNTER_BYTES 8 /* bytes */

/*
 * Adds to a counter that lives in a mapped file and so outlives the process.
 * The file is made if there is none (mode 0600, total 0).  Any number of
 * processes may do this at one time: no addition is lost, and each is told a
 * total of its own.  A process that dies in the middle has added everything
 * or nothing, and holds nobody up.  When the function returns, the new total
 * has been written through to the file's device, so that it outlives a crash
 * of the machine as well.  (That is the file: the name of one just made is in
 * its directory, and may be lost.)  The room for a new counter is reserved
 * before it is mapped; a file of 8 bytes is taken as it is.
 *
 * path   the counter's file
 * n      what to add; 0 asks for the total
 * total  where the total after the addition goes; may be NULL
 *
 * Returns 0, or -1 with errno; a file of size 0 may have been made:
 *   EINVAL     the file has a size other than 0 or COUNTER_BYTES: it is no
 *              counter, and is left as it is.  (A file of size 0 is a counter
 *              that nobody has added to.)
 *   EOVERFLOW  the total would not fit into 64 bits; it stays as it was
 *   ENOSPC     no room for a new counter
 *   EIO        the device failed; whether n was added is not known
 *
 * See open(2), flock(2) or fcntl(2) F_OFD_SETLKW, mmap(2), msync(2).
 */
int counter_add(const char *path, uint64_t n, uint64_t *total);

#endif
