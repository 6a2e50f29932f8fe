/*
 * test_posix_shm.c - the tests of lab 5.
 *
 * The judge looks at regions with shm_open, fstat and mmap of its own, and at
 * the subject's mappings in /proc/PID/maps, where a region is known by its
 * device and inode.  Scenarios that need a region which the judge has made
 * are given its name.
 */
#include "kit.h"
#include "posix_shm.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ------------------------------------------------------------------------
 * The judge's eyes and hands
 */

/* Makes a region of the judge's own with these bytes; size 0: an empty one.
 * Its descriptor stays open until the test ends. */
HELPER int make_region(const char *name, const void *data, size_t size)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

    REQUIRE(fd != -1);
    judges_name('m', name);
    REQUIRE(ftruncate(fd, (off_t)size) == 0);
    REQUIRE(size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size);
    return fd;
}

/* Opens a region that has to exist; the judge removes it at the end. */
HELPER int open_region(const char *name, struct stat *st)
{
    int fd = shm_open(name, O_RDWR, 0);

    EXPECT(fd != -1, "a region of that name",
           "shm_open(\"%s\") fails with %s: there is none", name,
           errno_name(errno));
    judges_name('m', name);
    REQUIRE(fstat(fd, st) == 0);
    return fd;
}

HELPER bool is_gone(const char *name)
{
    int fd = shm_open(name, O_RDONLY, 0);

    if (fd == -1)
        return errno == ENOENT;
    close(fd);
    judges_name('m', name);
    return false;
}

/* A process's mappings of a file. */
struct view {
    unsigned long bytes; /* of address space, whole pages */
    int mappings;
    char access[8]; /* of one of them: "rw-s" */
};

HELPER struct view view_of(pid_t pid, const struct stat *file)
{
    struct view v = {.access = "none"};
    char path[64];
    char line[512];
    char access[8];
    unsigned long from, to, inode;
    unsigned major_, minor_;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    REQUIRE(maps != NULL);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (sscanf(line, "%lx-%lx %7s %*x %x:%x %lu", &from, &to, access,
                   &major_, &minor_, &inode) == 6 &&
            inode == file->st_ino && major_ == major(file->st_dev) &&
            minor_ == minor(file->st_dev)) {
            v.bytes += to - from;
            v.mappings++;
            memcpy(v.access, access, sizeof(access));
        }
    fclose(maps);
    return v;
}

HELPER unsigned long whole_pages(unsigned long bytes)
{
    unsigned long page = (unsigned long)getpagesize();

    return (bytes + page - 1) / page * page;
}

HELPER void expect_mapped(struct subject *s, const struct stat *file,
                          unsigned long bytes)
{
    struct view v = view_of(subject_pid(s), file);

    EXPECT(v.bytes == whole_pages(bytes),
           bytes == 0 ? "no mapping of it in the process"
                      : "the whole of it mapped, once",
           "%lu bytes of it mapped in %d places, %lu needed", v.bytes,
           v.mappings, whole_pages(bytes));
}

HELPER void expect_reserved(const struct stat *st)
{
    EXPECT((unsigned long long)st->st_blocks * 512 >=
               (unsigned long long)st->st_size,
           "memory reserved for every byte",
           "%lld bytes, and memory for %lld of them: the rest is taken at the "
           "first store, and SIGBUS when there is none left then",
           (long long)st->st_size, (long long)st->st_blocks * 512);
}

HELPER void expect_zero(int fd, off_t from, off_t to)
{
    unsigned char byte = 0;

    for (off_t i = from; i < to; i++) {
        REQUIRE(pread(fd, &byte, 1, i) == 1);
        EXPECT(byte == 0, "every new byte 0", "byte %lld is 0x%02x",
               (long long)i, byte);
    }
}

/* What the region holds from its start. */
HELPER void expect_content(int fd, const void *data, size_t size)
{
    char *now = malloc(size);

    REQUIRE(now != NULL);
    bool read_all = pread(fd, now, size, 0) == (ssize_t)size;
    bool same = read_all && memcmp(now, data, size) == 0;
    free(now);
    EXPECT(read_all, "a region with all its bytes", "it has become shorter");
    EXPECT(same, "the bytes that were stored", "other bytes");
}

/* Memory can be reserved by several calls, of which a name here stands for
 * fallocate too; who writes zeros reserves as well. */
#define RESERVING(nth, n, error)                  \
    FAIL("posix_fallocate", (nth), (n), (error)), \
        FAIL("write", (nth), (n), (error)),       \
        FAIL("pwrite", (nth), (n), (error))
#define NO_MEMORY   RESERVING(1, 99, ENOSPC)
#define INTERRUPTED RESERVING(1, 2, EINTR)

/* ------------------------------------------------------------------------
 * Group create
 */

SCENARIO(create)
{
    size_t size;
    const void *data = given_bytes("data", &size);
    char *at = CALL_PTR(
        "create", region_create(given_str("name"), (size_t)given_int("size")));

    if (at != NULL)
        memcpy(at, data, size);
    reached("stored");
    wait_for("go");
    if (at != NULL)
        munmap(at, (size_t)given_int("size"));
}

TEST(create, create_makes_a_region_of_zeros_of_that_size)
{
    const char *name = new_name();
    size_t size = 5000 + random_below(1000);
    struct stat st;
    struct subject *s = START(create, STR("name", name), INT("size", size),
                              BYTES("data", "x", 1));

    await(s, "stored");
    expect_pointer(s, "create");
    int fd = open_region(name, &st);
    EXPECT(st.st_size == (off_t)size, "a region of exactly that size",
           "asked for %zu bytes, it has %lld", size, (long long)st.st_size);
    EXPECT((st.st_mode & 0777) == 0600, "mode 0600", "mode %04o",
           st.st_mode & 0777);
    expect_zero(fd, 1, st.st_size);
    let_go(s, "go");
    finish(s);
}

TEST(create, what_is_stored_can_be_seen_by_all)
{
    const char *name = new_name();
    unsigned char data[3000];
    struct stat st;

    fill_random(data, sizeof(data));
    struct subject *s = START(create, STR("name", name), INT("size", 8192),
                              BYTES("data", data, sizeof(data)));
    await(s, "stored");
    expect_pointer(s, "create");
    int fd = open_region(name, &st);
    EXPECT(strcmp(view_of(subject_pid(s), &st).access, "rw-s") == 0,
           "a mapping that can be read and written and is shared (rw-s)", "%s",
           view_of(subject_pid(s), &st).access);
    expect_mapped(s, &st, 8192);
    expect_content(fd, data, sizeof(data));
    let_go(s, "go");
    finish(s);
}

TEST(create, memory_is_reserved_when_the_region_is_made)
{
    const char *name = new_name();
    struct stat st;
    struct subject *s = START(create, STR("name", name), INT("size", 100000),
                              BYTES("data", "", 0));

    await(s, "stored");
    expect_pointer(s, "create");
    open_region(name, &st);
    expect_reserved(&st);
    let_go(s, "go");
    finish(s);
}

TEST(create, create_refuses_a_name_that_is_taken)
{
    const char *name = new_name();
    int fd = make_region(name, "old", 3);
    struct stat st;
    struct subject *s = START(create, STR("name", name), INT("size", 4096),
                              BYTES("data", "new", 3));

    let_go(s, "go");
    finish(s);
    expect_error(s, "create", EEXIST);
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == 3, "the other region as it was",
           "it had 3 bytes and has %lld", (long long)st.st_size);
    EXPECT(!is_gone(name), "the other region as it was", "its name is gone");
    expect_content(fd, "old", 3);
}

/* A name that nobody uses, of a slash and so many bytes. */
HELPER const char *name_of_bytes(size_t bytes)
{
    static char name[300];

    memset(name, 'x', sizeof(name));
    memcpy(name, new_name(), strlen(new_name()));
    name[1 + bytes] = '\0';
    return name;
}

#define LONGEST_NAME_BYTES 254

/* Bad names for all that take one. */
static const char *const no_names[] KIT_UNUSED = {"kit-stock", "", "/",
                                                  "/kit/stock", NULL};
#define NO_NAMES (sizeof(no_names) / sizeof(no_names[0]))

HELPER const char *no_name(size_t i)
{
    return no_names[i] != NULL ? no_names[i]
                               : name_of_bytes(LONGEST_NAME_BYTES + 1);
}

TEST(create, create_refuses_size_0_and_what_is_no_name)
{
    const char *name = new_name();
    struct subject *s =
        START(create, STR("name", name), INT("size", 0), BYTES("data", "", 0));

    let_go(s, "go");
    finish(s);
    expect_error(s, "create", EINVAL);
    EXPECT(is_gone(name), "no region of that name", "there is one");
    for (size_t i = 0; i < NO_NAMES; i++) {
        name = no_name(i);
        s = START(create, STR("name", name), INT("size", 100),
                  BYTES("data", "", 0));
        await(s, "stored");
        if (got_int(s, "create") != 0)
            shm_unlink(name);
        let_go(s, "go");
        finish(s);
        expect_error(s, "create", EINVAL);
    }
    name = name_of_bytes(LONGEST_NAME_BYTES);
    s = START(create, STR("name", name), INT("size", 100),
              BYTES("data", "", 0));
    await(s, "stored");
    shm_unlink(name);
    let_go(s, "go");
    finish(s);
    EXPECT(got_int(s, "create") != 0,
           "a region: a name may have 254 bytes behind its slash",
           "NULL with errno %s", errno_name(got_errno(s, "create")));
}

/* A failure after the region was made. */
HELPER void create_fails(struct subject *s, const char *name, int err)
{
    let_go(s, "go");
    finish(s);
    expect_error(s, "create", err);
    EXPECT(is_gone(name), "no region of that name is left after a failure",
           "there is one: who tries again gets EEXIST");
    expect_nothing_left(s);
}

TEST(create, without_memory_nothing_is_made)
{
    const char *name = new_name();

    create_fails(START(create, STR("name", name), INT("size", 8192),
                       BYTES("data", "x", 1), NO_MEMORY),
                 name, ENOSPC);

    /* the name goes while it is about to be removed: removing it fails */
    name = new_name();
    struct subject *s = START(create, STR("name", name), INT("size", 8192),
                              BYTES("data", "x", 1), NO_MEMORY,
                              HOLD("shm_unlink", 1, "undoing"));
    await_asleep(s);
    if (was_told(s, "undoing"))
        REQUIRE(shm_unlink(name) == 0);
    let_go(s, "undoing");
    create_fails(s, name, ENOSPC);
}

TEST(create, null_when_it_can_not_be_mapped_and_nothing_is_made)
{
    const char *name = new_name();

    create_fails(START(create, STR("name", name), INT("size", 8192),
                       BYTES("data", "x", 1), FAIL("mmap", 1, 9, ENOMEM)),
                 name, ENOMEM);
}

TEST(create, the_descriptor_is_closed_and_the_mapping_stays)
{
    const char *name = new_name();
    struct stat st;
    struct subject *s = START(create, STR("name", name), INT("size", 4096),
                              BYTES("data", "abc", 3));

    await(s, "stored");
    expect_pointer(s, "create");
    int fd = open_region(name, &st);
    expect_content(fd, "abc", 3);
    unsigned opened = calls_made(s, "shm_open");
    unsigned closed = calls_made(s, "=close");
    EXPECT(closed >= opened,
           "every descriptor closed: a mapping does not need it",
           "%u opened, %u closed", opened, closed);
    let_go(s, "go");
    finish(s);
}

TEST(create, create_survives_signals)
{
    const char *name = new_name();
    struct stat st;
    struct subject *s = START(create, STR("name", name), INT("size", 8192),
                              BYTES("data", "x", 1), INTERRUPTED);

    await(s, "stored");
    expect_pointer(s, "create");
    open_region(name, &st);
    EXPECT(st.st_size == 8192, "8192 bytes", "%lld", (long long)st.st_size);
    let_go(s, "go");
    finish(s);
}

/* ------------------------------------------------------------------------
 * Group open: region_open, region_close, region_unlink
 */

SCENARIO(open)
{
    size_t size = 4711;
    char *at = CALL_PTR(
        "open", region_open(given_str("name"), given_int("read_only"), &size));

    tell_int("size", (long long)size);
    if (at != NULL) {
        tell_bytes("data", at, size);
        tell_int("made writable",
                 mprotect(at, size, PROT_READ | PROT_WRITE) == 0);
        if (given_int("store") == 1)
            at[size - 1] ^= 1;
    }
    reached("looked");
    wait_for("go");
    if (at != NULL)
        munmap(at, size);
}

HELPER struct subject *start_open(const char *name, bool read_only, bool store)
{
    return START(open, STR("name", name), INT("read_only", read_only),
                 INT("store", store));
}

TEST(open, open_maps_the_whole_region_and_tells_its_size)
{
    const char *name = new_name();
    size_t size = 9000 + random_below(1000);
    unsigned char data[10000];
    struct stat st;

    fill_random(data, sizeof(data));
    int fd = make_region(name, data, size);
    REQUIRE(fstat(fd, &st) == 0);
    struct subject *s = start_open(name, false, true);
    await(s, "looked");
    expect_pointer(s, "open");
    expect_int(s, "size", (long long)size);
    expect_bytes(s, "data", data, size);
    expect_mapped(s, &st, size);
    data[size - 1] ^= 1;
    expect_content(fd, data, size);
    let_go(s, "go");
    finish(s);
}

TEST(open, a_read_only_region_can_not_be_written)
{
    const char *name = new_name();

    make_region(name, "old news", 8);
    struct subject *s = start_open(name, true, false);
    await(s, "looked");
    expect_pointer(s, "open");
    expect_bytes(s, "data", "old news", 8);
    EXPECT(got_int(s, "made writable") == 0,
           "a region that was opened for reading alone",
           "mprotect could make the mapping writable: the descriptor was "
           "opened for writing, too");
    let_go(s, "go");
    finish(s);
}

SCENARIO(store_read_only)
{
    size_t size;
    char *at = CALL_PTR("open", region_open(given_str("name"), true, &size));

    if (at != NULL)
        at[0] = 'x';
    reached("stored");
}

TEST(open, a_store_into_a_read_only_region_is_sigsegv)
{
    const char *name = new_name();
    int fd = make_region(name, "old news", 8);
    struct subject *s = START(store_read_only, STR("name", name));
    int sig = finish_by_signal(s);

    expect_pointer(s, "open");
    EXPECT(sig == SIGSEGV, "SIGSEGV at the store", "%s",
           sig == 0 ? "the store worked" : signal_name(sig));
    expect_content(fd, "old news", 8);
}

TEST(open, open_never_makes_a_region)
{
    const char *name = new_name();
    struct subject *s = start_open(name, false, false);

    let_go(s, "go");
    finish(s);
    expect_error(s, "open", ENOENT);
    expect_int(s, "size", 4711);
    EXPECT(is_gone(name), "no region of that name", "there is one now");
}

TEST(open, a_half_made_region_is_eagain)
{
    const char *name = new_name();

    make_region(name, "", 0);
    struct subject *s = start_open(name, false, false);
    let_go(s, "go");
    finish(s);
    expect_error(s, "open", EAGAIN);
    expect_int(s, "size", 4711);
    expect_nothing_left(s);
}

TEST(open, open_gives_null_when_it_can_not_be_mapped)
{
    const char *name = new_name();

    make_region(name, "abc", 3);
    struct subject *s = START(open, STR("name", name), INT("read_only", 0),
                              INT("store", 0), FAIL("mmap", 1, 9, ENOMEM));
    let_go(s, "go");
    finish(s);
    expect_error(s, "open", ENOMEM);
    expect_int(s, "size", 4711);
    expect_nothing_left(s);
}

SCENARIO(use_and_close)
{
    size_t size;
    char *at = CALL_PTR("open", region_open(given_str("name"), false, &size));
    char *other =
        CALL_PTR("again", region_open(given_str("name"), false, &size));

    if (at == NULL || other == NULL)
        return;
    reached("opened");
    wait_for("close");
    CALL("close", region_close(at, size));
    tell_bytes("data", other, size);
    CALL("none", region_close(other + 1, size));
    CALL("size 0", region_close(other, 0));
    reached("closed");
    wait_for("go");
    CALL("other", region_close(other, size));
}

TEST(open, close_ends_one_mapping_the_whole_of_it)
{
    const char *name = new_name();
    unsigned char data[9000];
    struct stat st;

    fill_random(data, sizeof(data));
    int fd = make_region(name, data, sizeof(data));
    REQUIRE(fstat(fd, &st) == 0);
    struct subject *s = START(use_and_close, STR("name", name));
    await(s, "opened");
    let_go(s, "close");
    await(s, "closed");
    expect_return(s, "close", 0);
    expect_mapped(s, &st, sizeof(data));
    expect_bytes(s, "data", data, sizeof(data));
    expect_error(s, "none", EINVAL);
    expect_error(s, "size 0", EINVAL);
    EXPECT(!is_gone(name), "the region stays", "its name is gone");
    let_go(s, "go");
    finish(s);
    expect_return(s, "other", 0);
    expect_nothing_left(s);
}

SCENARIO(unlink_mapped)
{
    size_t size;
    char *at = CALL_PTR("open", region_open(given_str("name"), false, &size));

    CALL("unlink", region_unlink(given_str("name")));
    reached("unlinked");
    wait_for("go");
    tell_bytes("data", at, at != NULL ? size : 0);
    if (at != NULL)
        munmap(at, size);
}

TEST(open, unlink_removes_the_name_and_nothing_else)
{
    const char *name = new_name();
    int fd = make_region(name, "old times", 9);
    struct subject *s = START(unlink_mapped, STR("name", name));

    await(s, "unlinked");
    expect_return(s, "unlink", 0);
    EXPECT(is_gone(name), "no region of that name", "it is still there");
    REQUIRE(pwrite(fd, "new", 3, 0) == 3);
    let_go(s, "go");
    finish(s);
    expect_bytes(s, "data", "new times", 9);
}

SCENARIO(use_no_name)
{
    size_t size = 4711;

    CALL_PTR("open", region_open(given_str("name"), false, &size));
    CALL("unlink", region_unlink(given_str("name")));
    tell_int("size", (long long)size);
}

TEST(open, what_is_no_name_is_refused)
{
    for (size_t i = 0; i < NO_NAMES; i++) {
        struct subject *s = START(use_no_name, STR("name", no_name(i)));

        finish(s);
        expect_error(s, "open", EINVAL);
        expect_error(s, "unlink", EINVAL);
    }
    struct subject *s =
        START(use_no_name, STR("name", name_of_bytes(LONGEST_NAME_BYTES)));
    finish(s);
    EXPECT(got_errno(s, "open") == ENOENT && got_errno(s, "unlink") == ENOENT,
           "ENOENT: a name may have 254 bytes behind its slash, and no region "
           "has this one",
           "region_open: %s, region_unlink: %s",
           errno_name(got_errno(s, "open")),
           errno_name(got_errno(s, "unlink")));
}

TEST(open, unlinking_what_is_gone_is_an_error)
{
    struct subject *s = START(use_no_name, STR("name", new_name()));

    finish(s);
    expect_error(s, "unlink", ENOENT);
}

/* ------------------------------------------------------------------------
 * Group grow
 */

SCENARIO(grow)
{
    size_t want = (size_t)given_int("want");
    int fd = shm_open(given_str("name"), O_RDWR, 0);
    size_t size = (size_t)lseek(fd, 0, SEEK_END);
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    close(fd);
    if (at == MAP_FAILED)
        exit(1);
    reached("opened");
    wait_for("grow");
    char *grown =
        CALL_PTR("grow", region_grow(given_str("name"), at, size, want));
    if (grown != NULL) {
        tell_bytes("data", grown, want);
        grown[want - 1] = 'z';
    } else {
        tell_bytes("data", at, size);
    }
    reached("grown");
    wait_for("go");
    munmap(grown != NULL ? grown : at, grown != NULL ? want : size);
}

HELPER struct subject *start_grow(const char *name, size_t want)
{
    struct subject *s = START(grow, STR("name", name), INT("want", want));

    await(s, "opened");
    return s;
}

TEST(grow, grow_keeps_the_bytes_and_adds_zeros)
{
    const char *name = new_name();
    unsigned char data[20000] = {0};
    struct stat st;

    fill_random(data, 5000);
    int fd = make_region(name, data, 5000);
    struct subject *s = start_grow(name, sizeof(data));
    let_go(s, "grow");
    await(s, "grown");
    expect_pointer(s, "grow");
    expect_bytes(s, "data", data, sizeof(data));
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == (off_t)sizeof(data), "a region of 20000 bytes", "%lld",
           (long long)st.st_size);
    data[sizeof(data) - 1] = 'z';
    expect_content(fd, data, sizeof(data));
    expect_reserved(&st);
    let_go(s, "go");
    finish(s);
}

TEST(grow, grow_leaves_one_mapping_of_the_new_size)
{
    const char *name = new_name();
    struct stat st;
    int fd = make_region(name, "abc", 3);
    struct subject *s = start_grow(name, 300000);

    let_go(s, "grow");
    await(s, "grown");
    expect_pointer(s, "grow");
    REQUIRE(fstat(fd, &st) == 0);
    expect_mapped(s, &st, 300000);
    EXPECT(strcmp(view_of(subject_pid(s), &st).access, "rw-s") == 0,
           "a mapping that can be read and written and is shared (rw-s)", "%s",
           view_of(subject_pid(s), &st).access);
    let_go(s, "go");
    finish(s);
}

TEST(grow, a_region_that_others_made_larger_is_not_cut)
{
    const char *name = new_name();
    unsigned char data[50000];
    struct stat st;

    fill_random(data, sizeof(data));
    int fd = make_region(name, data, 4096);
    struct subject *s = start_grow(name, 20000);
    REQUIRE(pwrite(fd, data, sizeof(data), 0) == (ssize_t)sizeof(data));
    let_go(s, "grow");
    await(s, "grown");
    expect_pointer(s, "grow");
    expect_bytes(s, "data", data, 20000);
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == (off_t)sizeof(data),
           "50000 bytes, as another process had made it",
           "%lld: that process gets SIGBUS", (long long)st.st_size);
    let_go(s, "go");
    finish(s);
}

/* Another one grows the region between two steps of this one. */
HELPER void grow_between(struct give held, const char *text)
{
    const char *name = new_name();
    int fd = make_region(name, "abc", 3);
    struct stat st;
    struct subject *s =
        START(grow, STR("name", name), INT("want", 20000), held);

    await(s, "opened");
    let_go(s, "grow");
    await_asleep(s);
    REQUIRE(ftruncate(fd, 50000) == 0);
    let_go(s, "held");
    await(s, "grown");
    REQUIRE(fstat(fd, &st) == 0);
    expect_pointer(s, "grow");
    EXPECT(st.st_size == 50000,
           "50000 bytes, as another process had made it meanwhile",
           "%lld: that process gets SIGBUS (it came when this one %s)",
           (long long)st.st_size, text);
    let_go(s, "go");
    finish(s);
}

TEST(grow, two_may_grow_at_one_time)
{
    grow_between(HOLD_AFTER("fstat", 1, "held"),
                 "had asked for the region's size");
    grow_between(HOLD("ftruncate", 1, "held"), "was about to call ftruncate");
}

SCENARIO(grow_by_name)
{
    int fd = shm_open(given_str("region"), O_RDWR, 0);
    char *at = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    close(fd);
    if (at == MAP_FAILED)
        exit(1);
    char *grown =
        CALL_PTR("grow", region_grow(given_str("name"), at, 3, 20000));
    reached("grown");
    wait_for("go");
    munmap(grown != NULL ? grown : at, grown != NULL ? 20000 : 3);
}

HELPER void expect_not_grown(const char *region, const char *name, int fd,
                             int err)
{
    struct stat st;
    struct subject *s =
        START(grow_by_name, STR("region", region), STR("name", name));

    await(s, "grown");
    expect_error(s, "grow", err);
    REQUIRE(fstat(fd, &st) == 0);
    expect_mapped(s, &st, 3);
    EXPECT(st.st_size == 3, "a region of 3 bytes, as before", "%lld bytes",
           (long long)st.st_size);
    let_go(s, "go");
    finish(s);
}

TEST(grow, grow_refuses_to_shrink_and_what_is_no_name)
{
    const char *name = new_name();
    unsigned char data[20000];
    struct stat st;

    fill_random(data, sizeof(data));
    int fd = make_region(name, data, sizeof(data));
    struct subject *s = start_grow(name, 5000);
    let_go(s, "grow");
    await(s, "grown");
    expect_error(s, "grow", EINVAL);
    REQUIRE(fstat(fd, &st) == 0);
    expect_mapped(s, &st, sizeof(data));
    expect_content(fd, data, sizeof(data));
    let_go(s, "go");
    finish(s);

    name = new_name();
    fd = make_region(name, "abc", 3);
    expect_not_grown(name, name + 1, fd, EINVAL); /* glibc takes this one */
    for (size_t i = 0; i < NO_NAMES; i++)
        expect_not_grown(name, no_name(i), fd, EINVAL);
    const char *none = new_name();
    expect_not_grown(name, none, fd, ENOENT);
    EXPECT(is_gone(none), "no region of that name", "there is one now");
}

HELPER void grow_fails(struct subject *s, int fd, int err)
{
    struct stat st;

    await(s, "opened");
    let_go(s, "grow");
    await(s, "grown");
    expect_error(s, "grow", err);
    REQUIRE(fstat(fd, &st) == 0);
    expect_mapped(s, &st, 3);
    expect_bytes(s, "data", "abc", 3);
    EXPECT(st.st_size == 3, "a region of 3 bytes, as before",
           "%lld bytes: other processes see that, and it can't be undone",
           (long long)st.st_size);
    let_go(s, "go");
    finish(s);
    EXPECT(calls_made(s, "=close") >= calls_made(s, "shm_open"),
           "every descriptor closed", "%u opened, %u closed",
           calls_made(s, "shm_open"), calls_made(s, "=close"));
}

TEST(grow, without_memory_all_is_as_before)
{
    const char *name = new_name();
    int fd = make_region(name, "abc", 3);

    grow_fails(START(grow, STR("name", name), INT("want", 20000), NO_MEMORY),
               fd, ENOSPC);
}

TEST(grow, without_room_all_is_as_before)
{
    const char *name = new_name();
    int fd = make_region(name, "abc", 3);

    grow_fails(START(grow, STR("name", name), INT("want", 20000),
                     FAIL("mmap", 1, 9, ENOMEM), FAIL("mremap", 1, 9, ENOMEM)),
               fd, ENOMEM);
}

TEST(grow, grow_survives_signals)
{
    const char *name = new_name();
    int fd = make_region(name, "abc", 3);
    struct stat st;
    struct subject *s =
        START(grow, STR("name", name), INT("want", 20000), INTERRUPTED);

    await(s, "opened");
    let_go(s, "grow");
    await(s, "grown");
    expect_pointer(s, "grow");
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == 20000, "a region of 20000 bytes", "%lld",
           (long long)st.st_size);
    let_go(s, "go");
    finish(s);
}

/* ------------------------------------------------------------------------
 * Group anon: region_anon and region_map_fd
 */

SCENARIO(anon)
{
    int fd = (int)CALL("fd", region_anon((size_t)given_int("size")));

    reached("made");
    wait_for("go");
    if (fd >= 0)
        close(fd);
}

/* The judge's own descriptor of a file that the subject has open. */
HELPER int look_at_fd(struct subject *s, const char *name)
{
    char path[64];

    expect_at_least(s, name, 0);
    snprintf(path, sizeof(path), "/proc/%d/fd/%lld", (int)subject_pid(s),
             got_int(s, name));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    EXPECT(fd != -1, "a descriptor of a region",
           "%s is %lld, which can't be opened for reading and writing: %s",
           name, got_int(s, name), errno_name(errno));
    return fd;
}

TEST(anon, anon_makes_a_region_that_nobody_can_shrink)
{
    size_t size = 5000 + random_below(1000);
    struct stat st;
    struct subject *s = START(anon, INT("size", size));

    await(s, "made");
    int fd = look_at_fd(s, "fd");
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == (off_t)size, "a region of exactly that size",
           "asked for %zu bytes, it has %lld", size, (long long)st.st_size);
    int seals = fcntl(fd, F_GET_SEALS);
    EXPECT(seals != -1 && (seals & F_SEAL_SHRINK) != 0,
           "sealed with F_SEAL_SHRINK", "seals 0x%x", (unsigned)seals);
    EXPECT((seals & F_SEAL_WRITE) == 0, "a region that can be written",
           "it is sealed with F_SEAL_WRITE");
    EXPECT((seals & F_SEAL_FUTURE_WRITE) == 0,
           "a region that can be mapped for writing",
           "it is sealed with F_SEAL_FUTURE_WRITE");
    expect_zero(fd, 0, st.st_size);
    expect_reserved(&st);
    let_go(s, "go");
    finish(s);
    close(fd);
}

TEST(anon, anon_is_closed_at_exec)
{
    struct subject *s = START(anon, INT("size", 100));
    char path[64];
    char line[128];
    unsigned flags = 0;

    await(s, "made");
    expect_at_least(s, "fd", 0);
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%lld", (int)subject_pid(s),
             got_int(s, "fd"));
    FILE *info = fopen(path, "re");
    REQUIRE(info != NULL);
    while (fgets(line, sizeof(line), info) != NULL)
        if (sscanf(line, "flags: %o", &flags) == 1)
            break;
    fclose(info);
    EXPECT((flags & O_CLOEXEC) != 0, "close-on-exec",
           "a program executed later would inherit it");
    let_go(s, "go");
    finish(s);
}

TEST(anon, anon_refuses_size_0)
{
    struct subject *s = START(anon, INT("size", 0));

    let_go(s, "go");
    finish(s);
    expect_error(s, "fd", EINVAL);
}

TEST(anon, a_failing_anon_leaves_no_descriptor)
{
    struct subject *s = START(anon, INT("size", 100), NO_MEMORY);

    let_go(s, "go");
    finish(s);
    expect_error(s, "fd", ENOSPC);
    expect_nothing_left(s);
    s = START(anon, INT("size", 100),
              FAIL_WHEN("fcntl", 1, F_ADD_SEALS, 1, 9, ENOMEM));
    let_go(s, "go");
    finish(s);
    expect_error(s, "fd", ENOMEM);
    expect_nothing_left(s);
}

TEST(anon, anon_survives_signals)
{
    struct stat st;
    struct subject *s = START(anon, INT("size", 100), INTERRUPTED);

    await(s, "made");
    int fd = look_at_fd(s, "fd");
    REQUIRE(fstat(fd, &st) == 0);
    EXPECT(st.st_size == 100, "100 bytes", "%lld", (long long)st.st_size);
    let_go(s, "go");
    finish(s);
    close(fd);
}

SCENARIO(map_fd)
{
    size_t size = 4711;
    int fd = given_int("bad") == 1 ? 999 : given_fd("fd");
    char *at = CALL_PTR("map", region_map_fd(fd, &size));

    tell_int("size", (long long)size);
    if (at != NULL && size != 0 && given_int("touch") == 1) {
        tell_int("first", at[0]);
        at[size - 1] = 'z';
    }
    reached("mapped");
    wait_for("go");
    tell_int("open", fcntl(fd, F_GETFD) != -1);
    if (at != NULL && size != 0)
        munmap(at, size);
}

/* A memfd of the judge's own. */
HELPER int make_memfd(const void *data, size_t size, int seals)
{
    int fd = memfd_create("kit", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    REQUIRE(fd != -1);
    REQUIRE(ftruncate(fd, (off_t)size) == 0);
    REQUIRE(size == 0 || pwrite(fd, data, size, 0) == (ssize_t)size);
    REQUIRE(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

HELPER struct subject *start_map_fd(int fd)
{
    return START(map_fd, LEND_FD("fd", fd), INT("bad", 0), INT("touch", 1));
}

TEST(anon, map_fd_maps_a_sealed_region_for_both)
{
    unsigned char data[9000];
    struct stat st;

    fill_random(data, sizeof(data));
    data[0] = 'q';
    int fd = make_memfd(data, sizeof(data), F_SEAL_SHRINK);
    REQUIRE(fstat(fd, &st) == 0);
    struct subject *s = start_map_fd(fd);
    await(s, "mapped");
    expect_pointer(s, "map");
    expect_int(s, "size", sizeof(data));
    expect_int(s, "first", 'q');
    expect_mapped(s, &st, sizeof(data));
    data[sizeof(data) - 1] = 'z';
    expect_content(fd, data, sizeof(data));
    let_go(s, "go");
    finish(s);
    expect_int(s, "open", 1);
    close(fd);
}

HELPER void expect_not_mapped(int fd, int err)
{
    struct subject *s = start_map_fd(fd);

    let_go(s, "go");
    finish(s);
    expect_error(s, "map", err);
    expect_int(s, "size", 4711);
    expect_int(s, "open", 1);
    expect_nothing_left(s);
}

TEST(anon, map_fd_refuses_what_others_can_shrink)
{
    int fd = make_memfd("abc", 3, 0);

    expect_not_mapped(fd, EPERM);
    EXPECT(fcntl(fd, F_GET_SEALS) == 0, "no seal added to another's region",
           "seals 0x%x", (unsigned)fcntl(fd, F_GET_SEALS));
    close(fd);
    fd = make_memfd("abc", 3, F_SEAL_GROW);
    expect_not_mapped(fd, EPERM);
    close(fd);
}

TEST(anon, map_fd_refuses_what_can_not_be_sealed)
{
    struct ends p = new_pipe();
    int fd = open(new_file("abc", 3), O_RDWR | O_CLOEXEC);

    REQUIRE(fd != -1);
    expect_not_mapped(fd, EPERM);
    close(fd);
    expect_not_mapped(p.r, EPERM);
    struct subject *s = START(map_fd, INT("bad", 1), INT("touch", 1));
    let_go(s, "go");
    finish(s);
    expect_error(s, "map", EBADF);
}

TEST(anon, map_fd_refuses_a_region_of_size_0)
{
    int fd = make_memfd("", 0, F_SEAL_SHRINK);

    expect_not_mapped(fd, EINVAL);
    close(fd);
}

TEST(anon, map_fd_gives_null_when_it_can_not_be_mapped)
{
    int fd = make_memfd("abc", 3, F_SEAL_SHRINK);
    struct subject *s = START(map_fd, LEND_FD("fd", fd), INT("bad", 0),
                              INT("touch", 1), FAIL("mmap", 1, 9, ENOMEM));

    let_go(s, "go");
    finish(s);
    expect_error(s, "map", ENOMEM);
    close(fd);
}

/* The peer shrinks the region and seals it while this process is held. */
HELPER void shrink_between(struct give held)
{
    static char data[20000];
    int fd = make_memfd(data, sizeof(data), 0);
    struct subject *s =
        START(map_fd, LEND_FD("fd", fd), INT("bad", 0), INT("touch", 0), held);

    await_asleep(s);
    REQUIRE(ftruncate(fd, 100) == 0);
    REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    let_go(s, "held");
    await(s, "mapped");
    if (got_int(s, "map") == 0)
        expect_error(s, "map", EPERM);
    long long size = got_int(s, "size");
    EXPECT(size != (long long)sizeof(data),
           "the size asked for once the region is known to be sealed",
           "asked before: 20000 bytes are mapped of which 100 exist (the peer "
           "shrank the region, then sealed it); the rest is SIGBUS");
    let_go(s, "go");
    finish(s);
    close(fd);
}

TEST(anon, map_fd_asks_for_the_size_when_it_can_not_shrink_any_more)
{
    shrink_between(HOLD_AFTER("fstat", 1, "held"));
    /* whichever call has told the size by then */
    shrink_between(GIVEN(GIVE_FAULT, "fcntl", .number = 1, .count = 1,
                         .data = "held", .argument = 2,
                         .argument_value = F_GET_SEALS));
}

/* ------------------------------------------------------------------------
 * Group count
 */

SCENARIO(count)
{
    CALL("count", file_count(given_str("path"), (int)given_int("byte")));
}

HELPER struct subject *start_count(const char *path, int byte)
{
    return START(count, STR("path", path), INT("byte", byte));
}

HELPER long long occurrences(const unsigned char *data, size_t size, int byte)
{
    long long n = 0;

    for (size_t i = 0; i < size; i++)
        n += data[i] == byte;
    return n;
}

TEST(count, count_finds_every_one_of_a_byte)
{
    unsigned char data[10000];

    fill_random(data, sizeof(data));
    const char *path = new_file(data, sizeof(data));
    for (int byte = 0; byte <= 255; byte += 85) { /* 0, 85, 170, 255 */
        struct subject *s = start_count(path, byte);

        finish(s);
        expect_return(s, "count", occurrences(data, sizeof(data), byte));
        expect_called(s, "mmap");
    }
}

TEST(count, count_of_an_empty_file_is_0)
{
    struct subject *s = start_count(new_file("", 0), 0);

    finish(s);
    expect_return(s, "count", 0);
}

#define LARGE_BYTES (5 * FILE_WINDOW_BYTES / 2 + 12345)

HELPER unsigned char *large(size_t size)
{
    unsigned char *data = malloc(size);

    REQUIRE(data != NULL);
    fill_random(data, size);
    return data;
}

TEST(count, count_goes_through_a_large_file)
{
    unsigned char *data = large(LARGE_BYTES);
    const char *path = new_file(data, LARGE_BYTES);
    long long right = occurrences(data, LARGE_BYTES, 'k');

    free(data);
    struct subject *s = start_count(path, 'k');
    finish(s);
    expect_return(s, "count", right);
}

TEST(count, count_of_whole_windows)
{
    unsigned char *data = large(2 * FILE_WINDOW_BYTES);
    const char *path = new_file(data, 2 * FILE_WINDOW_BYTES);
    long long right = occurrences(data, 2 * FILE_WINDOW_BYTES, 0);

    free(data);
    struct subject *s = start_count(path, 0);
    finish(s);
    expect_return(s, "count", right);
}

TEST(count, no_more_than_a_window_is_mapped)
{
    unsigned char *data = large(LARGE_BYTES);
    const char *path = new_file(data, LARGE_BYTES);
    struct stat st;

    free(data);
    REQUIRE(stat(path, &st) == 0);
    struct subject *s = START(count, STR("path", path), INT("byte", 'k'),
                              HOLD_AFTER("mmap", 3, "third"));
    await_asleep(s);
    EXPECT(was_told(s, "third"),
           "a file of 2.5 MiB seen through windows of 1 MiB at most",
           "%u mappings were made in all", calls_made(s, "mmap"));
    struct view v = view_of(subject_pid(s), &st);
    EXPECT(v.bytes <= FILE_WINDOW_BYTES, "at most 1 MiB of it mapped",
           "%lu bytes in %d mappings", v.bytes, v.mappings);
    EXPECT(v.bytes > 0, "windows onto the file", "what is mapped is not it");
    let_go(s, "third");
    finish(s);
    expect_nothing_left(s);
}

TEST(count, count_fails_when_a_window_can_not_be_mapped)
{
    unsigned char *data = large(LARGE_BYTES);
    const char *path = new_file(data, LARGE_BYTES);

    free(data);
    struct subject *s = START(count, STR("path", path), INT("byte", 'k'),
                              FAIL("mmap", 2, 9, ENOMEM));
    finish(s);
    expect_error(s, "count", ENOMEM);
    expect_nothing_left(s);
}

TEST(count, count_refuses_what_it_can_not_count)
{
    char path[300];
    const char *file = new_file("abc", 3);
    struct subject *s = start_count(new_dir(), 'k');

    finish(s);
    expect_error(s, "count", EISDIR);
    snprintf(path, sizeof(path), "%s/missing", new_dir());
    s = start_count(path, 'k');
    finish(s);
    expect_error(s, "count", ENOENT);
    for (int byte = -1; byte <= 256; byte += 257) {
        s = start_count(file, byte);
        finish(s);
        expect_error(s, "count", EINVAL);
    }
}

/* ------------------------------------------------------------------------
 * Group counter
 */

SCENARIO(add)
{
    const char *path = given_str("path");
    uint64_t n = (uint64_t)given_int("n");
    uint64_t total = 4711;
    uint64_t *total_or_null = given_int("null") == 1 ? NULL : &total;

    CALL("add", counter_add(path, n, total_or_null));
    tell_bytes("total", &total, sizeof(total));
}

HELPER struct subject *start_add(const char *path, uint64_t n)
{
    return START(add, STR("path", path), INT("n", (long long)n),
                 INT("null", 0));
}

HELPER uint64_t told_total(struct subject *s)
{
    uint64_t total;

    got_copy(s, "total", &total, sizeof(total));
    return total;
}

HELPER void expect_total(struct subject *s, uint64_t total)
{
    uint64_t told = told_total(s);

    EXPECT(told == total, "the total after the addition",
           "it is %llu, and %llu was told", (unsigned long long)total,
           (unsigned long long)told);
}

/* The counter as it stands in the file. */
HELPER void expect_counter(const char *path, uint64_t total)
{
    uint64_t now[2] = {0, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    EXPECT(fd != -1, "the counter's file", "open: %s", errno_name(errno));
    ssize_t size = read(fd, now, sizeof(now));
    close(fd);
    EXPECT(size == COUNTER_BYTES, "a file of 8 bytes", "%zd bytes", size);
    EXPECT(now[0] == total, "a counter of the right value",
           "the file says %llu, not %llu", (unsigned long long)now[0],
           (unsigned long long)total);
}

/* What its 8 bytes are; 0 for an empty file. */
HELPER uint64_t counter_now(const char *path)
{
    uint64_t now = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    REQUIRE(fd != -1);
    REQUIRE(read(fd, &now, sizeof(now)) >= 0);
    close(fd);
    return now;
}

HELPER const char *counter_path(char path[300])
{
    snprintf(path, 300, "%s/counter", new_dir());
    judges_name('f', path);
    return path;
}

HELPER const char *new_counter(uint64_t total)
{
    return new_file(&total, sizeof(total));
}

TEST(counter, a_new_counter_is_made)
{
    char path[300];
    struct stat st;
    struct subject *s = start_add(counter_path(path), 7);

    finish(s);
    expect_return(s, "add", 0);
    expect_total(s, 7);
    expect_counter(path, 7);
    REQUIRE(stat(path, &st) == 0);
    EXPECT((st.st_mode & 0777) == 0600, "mode 0600", "mode %04o",
           st.st_mode & 0777);
}

/* A size without room is no reservation; who sets none has not got to it. */
TEST(counter, without_room_there_is_no_new_counter)
{
    char path[300];
    struct stat st;
    struct subject *s = START(add, STR("path", counter_path(path)), INT("n", 7),
                              INT("null", 0), NO_MEMORY);

    finish(s);
    if (got_int(s, "add") == 0)
        EXPECT(calls_made(s, "ftruncate") == 0,
               "room reserved before the counter is mapped",
               "a size set with ftruncate: on a full device the store that "
               "follows ends the process with SIGBUS");
    else
        expect_error(s, "add", ENOSPC);
    if (got_int(s, "add") == -1) {
        EXPECT(told_total(s) == 4711, "total stays as it was on failure",
               "it was written");
        EXPECT(stat(path, &st) == -1 || st.st_size == 0,
               "no file, or one of size 0", "one of %lld bytes",
               (long long)st.st_size);
    }
}

TEST(counter, a_counter_goes_on_where_it_was)
{
    uint64_t before = ((uint64_t)random_below(1000000) << 32) + 99;
    const char *path = new_counter(before);
    struct subject *s = start_add(path, 1000);

    finish(s);
    expect_return(s, "add", 0);
    expect_total(s, before + 1000);
    expect_counter(path, before + 1000);
    expect_called(s, "mmap");
    s = START(add, STR("path", path), INT("n", 0), INT("null", 1));
    finish(s);
    expect_return(s, "add", 0);
    expect_counter(path, before + 1000);
    expect_nothing_left(s);
}

TEST(counter, an_empty_file_is_a_new_counter)
{
    const char *path = new_file("", 0);
    struct subject *s = start_add(path, 5);

    finish(s);
    expect_return(s, "add", 0);
    expect_total(s, 5);
    expect_counter(path, 5);
}

TEST(counter, another_file_is_left_as_it_is)
{
    static const size_t sizes[] = {3, 7, 9, 5000};
    unsigned char data[5000];
    unsigned char now[5001];

    fill_random(data, sizeof(data));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const char *path = new_file(data, sizes[i]);
        struct subject *s = start_add(path, 5);

        finish(s);
        expect_error(s, "add", EINVAL);
        EXPECT(told_total(s) == 4711, "total stays as it was on failure",
               "it was written");
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        REQUIRE(fd != -1);
        ssize_t size = read(fd, now, sizeof(now));
        close(fd);
        EXPECT(size == (ssize_t)sizes[i] && memcmp(now, data, sizes[i]) == 0,
               "a file that is no counter as it was",
               "%zd bytes, %zu before, or other ones", size, sizes[i]);
    }
}

TEST(counter, a_total_that_does_not_fit_is_refused)
{
    const char *path = new_counter(UINT64_MAX - 10);
    struct subject *s = start_add(path, 11);

    finish(s);
    expect_error(s, "add", EOVERFLOW);
    EXPECT(told_total(s) == 4711, "total stays as it was on failure",
           "it was written");
    expect_counter(path, UINT64_MAX - 10);
    s = start_add(path, 10);
    finish(s);
    expect_return(s, "add", 0);
    expect_counter(path, UINT64_MAX);
}

TEST(counter, the_total_is_written_through)
{
    const char *path = new_counter(1);
    struct subject *s = start_add(path, 1);
    bool through = false;

    finish(s);
    expect_return(s, "add", 0);
    expect_counter(path, 2);
    for (unsigned i = 0; i < calls_made(s, "msync"); i++)
        through |= (call_argument(s, "msync", i, 2) & MS_SYNC) != 0;
    EXPECT(through || calls_made(s, "fsync") > 0,
           "msync with MS_SYNC, or fsync, before the function returns",
           "neither: what the kernel has not written yet is lost when the "
           "machine stops");

    /* what stands in the file when the last of them begins */
    unsigned nth = calls_made(s, "msync"), files = calls_made(s, "fsync");
    s = START(add, STR("path", path), INT("n", 40), INT("null", 0),
              nth > 0 && through ? HOLD("msync", nth, "writing")
                                 : HOLD("fsync", files, "writing"));
    await_asleep(s);
    EXPECT(counter_now(path) == 42,
           "the new total stored before it is written through",
           "msync, or fsync, is called first: what is stored behind it is "
           "lost when the machine stops");
    let_go(s, "writing");
    finish(s);
    expect_return(s, "add", 0);
}

TEST(counter, a_device_that_fails_is_told)
{
    struct subject *s =
        START(add, STR("path", new_counter(1)), INT("n", 1), INT("null", 0),
              FAIL("msync", 1, 9, EIO), FAIL("fsync", 1, 9, EIO));

    finish(s);
    expect_error(s, "add", EIO);
    EXPECT(told_total(s) == 4711, "total stays as it was on failure",
           "it was written");
    expect_nothing_left(s);
}

/*
 * One process is stopped at a place inside counter_add, another one adds
 * meanwhile (or waits for the lock), then the first goes on.
 */
struct place {
    const char *call;
    unsigned nth;
    bool after;
    const char *text;
};

/* Those behind the lock come first: there is no waiting there, and no luck. */
static const struct place places[] KIT_UNUSED = {
    {"flock", 2, true, "has given its lock back"},
    {"lockf", 2, true, "has given its lock back"},
    {"fcntl", 2, true, "has given its lock back"},
    {"=close", 1, true, "has closed the file, and the lock is gone with it"},
    {"open", 1, true, "has opened the file"},
    {"fstat", 1, true, "has asked for the file's size"},
    {"mmap", 1, true, "has mapped the file"},
    {"load", 1, false, "is about to read the counter"},
    {"store", 1, false, "has read the counter and is about to write it"},
    {"store", 2, false, "has written a part of the counter"},
    {"=atomic_rmw", 1, false, "is about to change the counter"},
    {"msync", 1, false, "has changed the counter"}};
#define PLACES (sizeof(places) / sizeof(places[0]))

HELPER struct subject *start_held(const char *path, uint64_t n,
                                  const struct place *p)
{
    struct give held = HOLD(p->call, p->nth, "held");

    held.after = p->after;
    return START(add, STR("path", path), INT("n", (long long)n), INT("null", 0),
                 held);
}

/* Two add, the first one held at this place; before: the file's total, and
 * existed: whether there was a file. */
HELPER void add_between(const char *path, uint64_t before,
                        const struct place *p)
{
    struct subject *a = start_held(path, 1000, p);
    await_asleep(a);
    struct subject *b = start_add(path, 7);
    await_asleep(b);
    let_go(a, "held");
    finish(a);
    finish(b);
    expect_return(a, "add", 0);
    expect_return(b, "add", 0);

    uint64_t sum = before + 1007;
    uint64_t told_a = told_total(a), told_b = told_total(b);
    uint64_t now = counter_now(path);

    EXPECT(now == sum, "both additions in the counter",
           "one process, which adds 1000, %s; another one adds 7 meanwhile, "
           "then the first goes on: %llu becomes %llu",
           p->text, (unsigned long long)before, (unsigned long long)now);
    EXPECT((told_a == sum && told_b == before + 7) ||
               (told_b == sum && told_a == before + 1000),
           "each is told the total after its own addition",
           "one process, which adds 1000 to %llu, %s; another one adds 7 "
           "meanwhile, then the first goes on: it is told %llu, the other %llu",
           (unsigned long long)before, p->text, (unsigned long long)told_a,
           (unsigned long long)told_b);
}

TEST(counter, no_addition_is_lost_wherever_another_comes_between)
{
    for (size_t i = 0; i < PLACES; i++)
        add_between(new_counter(500), 500, &places[i]);
}

TEST(counter, no_addition_is_lost_when_both_make_the_counter)
{
    char path[300];

    for (size_t i = 0; i < PLACES; i++)
        add_between(counter_path(path), 0, &places[i]);
}

/* Both halves of the total change. */
#define ALMOST_2_TO_32 ((UINT64_C(1) << 32) - 500)

TEST(counter, who_dies_in_the_middle_holds_nobody_up)
{
    for (size_t i = 0; i < PLACES; i++) {
        uint64_t before = ALMOST_2_TO_32;
        const char *path = new_counter(before);
        struct subject *dead = start_held(path, 1000, &places[i]);

        await_asleep(dead);
        kill_subject(dead);
        struct subject *s = start_add(path, 7);
        finish(s);
        expect_return(s, "add", 0);
        uint64_t total = told_total(s);
        EXPECT(total == before + 7 || total == before + 1007,
               "everything added, or nothing, by one that dies",
               "0x%llx + 1000, by a process that %s and was killed; then + 7: "
               "the total is 0x%llx",
               (unsigned long long)before, places[i].text,
               (unsigned long long)total);
        expect_counter(path, total);
    }
}

TEST(counter, counter_survives_signals)
{
    char path[300];
    struct subject *s =
        START(add, STR("path", new_counter(500)), INT("n", 5), INT("null", 0),
              FAIL("flock", 1, 2, EINTR), FAIL("lockf", 1, 2, EINTR),
              FAIL_WHEN("fcntl", 1, F_SETLKW, 1, 2, EINTR),
              FAIL_WHEN("fcntl", 1, F_OFD_SETLKW, 1, 2, EINTR));

    finish(s);
    expect_return(s, "add", 0);
    expect_total(s, 505);
    s = START(add, STR("path", counter_path(path)), INT("n", 5), INT("null", 0),
              INTERRUPTED);
    finish(s);
    expect_return(s, "add", 0);
    expect_counter(path, 5);
}

SCENARIO(add_often)
{
    wait_for("go");
    for (int i = 0; i < 20; i++)
        if (CALL("add", counter_add(given_str("path"), 1, NULL)) == -1)
            break;
}

TEST(counter, the_lock_orders_what_the_processes_do)
{
    const char *path = new_counter(0);
    struct subject *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = START(add_often, STR("path", path));
    for (int i = 0; i < 3; i++)
        let_go(s[i], "go");
    for (int i = 0; i < 3; i++)
        finish(s[i]);
    expect_no_race();
    for (int i = 0; i < 3; i++)
        expect_return(s[i], "add", 0);
    expect_counter(path, 60);
}
