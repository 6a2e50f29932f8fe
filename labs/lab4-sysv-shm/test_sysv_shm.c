/*
 * test_sysv_shm.c - the tests of lab 4.
 *
 * The judge looks at segments with system calls of its own and in
 * /proc/sysvipc/shm, which shows those too that nobody may read.  The
 * dictionary's tests attach with libc's shmat, so that they do not need the
 * student's seg_attach.  Other programs' segments may come and go meanwhile:
 * no test counts on being alone.
 */
#include "kit.h"
#include "sysv_shm.h"

#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------------
 * The judge's eyes
 */

/* A line of /proc/sysvipc/shm. */
struct row {
    int key;
    int id;
    unsigned perms; /* permission bits and SHM_DEST */
    unsigned long size_bytes;
    int creator_pid;
    unsigned long attached;
    unsigned uid;
};

/* Reads the next line; false at the end. */
HELPER bool next_row(FILE *table, struct row *r)
{
    char line[512];

    while (fgets(line, sizeof(line), table) != NULL)
        if (sscanf(line, "%d %d %o %lu %d %*d %lu %u", &r->key, &r->id,
                   &r->perms, &r->size_bytes, &r->creator_pid, &r->attached,
                   &r->uid) == 7)
            return true;
    return false;
}

HELPER FILE *open_table(void)
{
    FILE *table = fopen("/proc/sysvipc/shm", "re");

    REQUIRE(table != NULL);
    return table;
}

/* Looks for a segment by its id; false if it does not exist. */
HELPER bool find_segment(int id, struct row *r)
{
    FILE *table = open_table();
    bool found = false;

    while (!found && next_row(table, r))
        found = r->id == id;
    fclose(table);
    return found;
}

HELPER bool segment_exists(int id)
{
    struct row r;

    return find_segment(id, &r);
}

/* How many segments have this key. */
HELPER int with_key(key_t key)
{
    FILE *table = open_table();
    struct row r;
    int n = 0;

    while (next_row(table, &r))
        n += r.key == key;
    fclose(table);
    return n;
}

/* How many segments this process has made. */
HELPER int made_by(pid_t pid)
{
    FILE *table = open_table();
    struct row r;
    int n = 0;

    while (next_row(table, &r))
        n += r.creator_pid == pid;
    fclose(table);
    return n;
}

/* How many segments there are, with a fingerprint of which. */
struct census {
    long long count;
    uint64_t print;
};

HELPER struct census segments_now(void)
{
    FILE *table = open_table();
    struct census now = {.print = 0xcbf29ce484222325u};
    struct row r;

    while (next_row(table, &r)) {
        now.count++;
        now.print = (now.print ^ (uint64_t)r.id) * 0x100000001b3u; /* FNV-1a */
    }
    fclose(table);
    return now;
}

/* A user's id that owns no segment. */
HELPER uid_t a_uid_without_segments(void)
{
    uid_t uid = 1900000000u + random_below(100000000u);
    FILE *table = open_table();
    struct row r;

    while (next_row(table, &r))
        REQUIRE(r.uid != uid);
    fclose(table);
    return uid;
}

/* The access of the mapping of segment `id` at this address in a process, as
 * in /proc/PID/maps: "rw-s"; "none" when there is no such mapping. */
HELPER const char *access_at(pid_t pid, int id, const void *addr)
{
    static char access[8];
    char path[64];
    char line[512];
    unsigned long start;
    unsigned long inode;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    REQUIRE(maps != NULL);
    snprintf(access, sizeof(access), "none");
    while (fgets(line, sizeof(line), maps) != NULL) {
        char now[8];
        if (sscanf(line, "%lx-%*x %7s %*x %*s %lu", &start, now, &inode) == 3 &&
            start == (unsigned long)addr && inode == (unsigned long)id)
            memcpy(access, now, sizeof(access));
    }
    fclose(maps);
    return access;
}

/* ------------------------------------------------------------------------
 * The judge's hands
 */

/* Makes a segment of the judge's own, with the bytes of `data` if not NULL. */
HELPER int make_segment(key_t key, size_t size_bytes, int mode)
{
    int id = shmget(key, size_bytes, IPC_CREAT | IPC_EXCL | mode);

    REQUIRE(id != -1);
    judges_object('m', id);
    return id;
}

HELPER void *look(int id)
{
    void *addr = shmat(id, NULL, 0);

    REQUIRE(addr != (void *)-1);
    return addr;
}

HELPER void put_bytes(int id, const void *data, size_t size_bytes)
{
    void *addr = look(id);

    memcpy(addr, data, size_bytes);
    shmdt(addr);
}

HELPER void set_mode(int id, mode_t mode)
{
    struct shmid_ds ds;

    REQUIRE(shmctl(id, IPC_STAT, &ds) == 0);
    ds.shm_perm.mode = mode;
    REQUIRE(shmctl(id, IPC_SET, &ds) == 0);
}

/* Gives a segment to a user who has no other, and returns who that is: still
 * this one where the system knows no other user.  Its creator may do with it
 * what its owner may. */
HELPER uid_t give_away(int id)
{
    uid_t other = a_uid_without_segments();
    struct shmid_ds ds;

    REQUIRE(shmctl(id, IPC_STAT, &ds) == 0);
    ds.shm_perm.uid = other;
    return shmctl(id, IPC_SET, &ds) == 0 ? other : geteuid();
}

/* The kernel lets root do what a segment's mode forbids.  These do not, so that
 * a test says the same to everybody: nobody may read, or open or attach to
 * write. */
#define NOTHING_READABLE                                 \
    FAIL_WHEN("shmctl", 1, SHM_STAT, 1, 100000, EACCES), \
        FAIL_WHEN("shmctl", 1, IPC_STAT, 1, 100000, EACCES)
#define NOT_OPENED_TO_WRITE                           \
    FAIL_WHEN("shmget", 2, 0200, 1, 100, EACCES),     \
        FAIL_WHEN("shmget", 2, 0600, 1, 100, EACCES), \
        FAIL_WHEN("shmget", 2, 0640, 1, 100, EACCES), \
        FAIL_WHEN("shmget", 2, 0644, 1, 100, EACCES), \
        FAIL_WHEN("shmget", 2, 0660, 1, 100, EACCES), \
        FAIL_WHEN("shmget", 2, 0666, 1, 100, EACCES)
#define NOT_ATTACHED_TO_WRITE FAIL_WHEN("shmat", 2, 0, 1, 100, EACCES)

/* The id of a segment that is gone. */
HELPER int dead_segment(void)
{
    int id = make_segment(new_key(), 4096, 0600);

    REQUIRE(shmctl(id, IPC_RMID, NULL) == 0);
    return id;
}

/* What the kernel says of an id that names nothing: EINVAL, or EIDRM when
 * another segment has taken its slot. */
HELPER void expect_no_such_id(struct subject *s, const char *name)
{
    expect_error(s, name, got_errno(s, name) == EIDRM ? EIDRM : EINVAL);
}

/* The id that seg_create returned: a segment that has this key.  The judge
 * removes it at the end. */
HELPER int created(struct subject *s, const char *name, key_t key,
                   struct row *r)
{
    expect_at_least(s, name, 0);
    int id = (int)got_int(s, name);
    EXPECT(find_segment(id, r), "the id of a segment",
           "%s is %d, and no segment has that id (any more)", name, id);
    EXPECT(r->key == key, "a segment with the key that was asked for",
           "segment %d has the key 0x%08x, not 0x%08x", id, (unsigned)r->key,
           (unsigned)key);
    judges_object('m', id);
    return id;
}

/* Random letters, as a string of this length. */
HELPER void fill_letters(char *text, size_t length)
{
    fill_random(text, length);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + (unsigned char)text[i] % 26);
    text[length] = '\0';
}

/* ------------------------------------------------------------------------
 * The scenarios' hands
 */

/* Attaches with libc itself; ends the scenario if that does not work. */
HELPER void *attach(int id, int flags)
{
    void *addr = shmat(id, NULL, flags);

    if (addr == (void *)-1) {
        tell_str("scenario's own shmat", strerror(errno));
        exit(1);
    }
    return addr;
}

/* Takes this address so that nothing can be attached or read there. */
HELPER void forbid(const void *addr, size_t size_bytes)
{
    void *at = (void *)(uintptr_t)addr;

    if (mmap(at, size_bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
        tell_str("not forbidden", "something else is at the old address");
}

/*
 * Attaches so that the page behind the segment can't be touched.  The size is
 * a whole number of pages.
 */
HELPER void *attach_before_a_wall(int id, size_t size_bytes)
{
    size_t wall = (size_t)SHMLBA;
    char *room = mmap(NULL, size_bytes + 2 * wall, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (room == MAP_FAILED)
        exit(1);
    char *at = room + wall - (uintptr_t)room % wall;
    munmap(at, size_bytes);
    if (shmat(id, at, 0) != at)
        exit(1);
    return at;
}

/* Where a value lies, as facts for the judge: told is "NAME" if it lies in
 * the segment and ends there, "NAME lies outside" if not. */
HELPER void tell_value(const char *name, const char *value, const void *seg,
                       size_t size_bytes)
{
    const char *from = seg;
    char outside[80];
    size_t left;

    if (value == NULL)
        return;
    left = value >= from && value < from + size_bytes
               ? (size_t)(from + size_bytes - value)
               : 0;
    if (left > 0 && memchr(value, '\0', left) != NULL) {
        tell_str(name, value);
        return;
    }
    snprintf(outside, sizeof(outside), "%s lies outside", name);
    tell_int(outside, value - from);
}

/* ------------------------------------------------------------------------
 * Group key
 */

SCENARIO(make_key)
{
    const char *path = given_str("path");
    int project = (int)given_int("project");
    key_t key = (key_t)given_int("before");

    CALL("seg_key", seg_key(path, project, &key));
    tell_int("key", (int)key);
}

TEST(key, key_is_the_one_that_ftok_makes)
{
    const char *dir = new_dir(); /* a directory is a file too */
    int project = 1 + (int)random_below(100);
    const int projects[] = {project, project + 100, project + 0x7f00,
                            project - 0x7f00};
    char link[256];

    snprintf(link, sizeof(link), "%s/link", dir);
    REQUIRE(symlink(dir, link) == 0);
    judges_name('f', link);
    for (size_t i = 0; i < 2 * sizeof(projects) / sizeof(projects[0]); i++) {
        const char *path = i % 2 == 0 ? dir : link;
        struct subject *s =
            START(make_key, STR("path", path), INT("project", projects[i / 2]),
                  INT("before", 0));
        finish(s);
        expect_return(s, "seg_key", 0);
        int key = (int)got_int(s, "key");
        int right = (int)ftok(path, projects[i / 2]);
        EXPECT(key == right, "the key that ftok(path, project) makes",
               "key is 0x%08x, ftok says 0x%08x%s", (unsigned)key,
               (unsigned)right,
               path == dir ? "" : " (path is a symbolic link)");
    }
}

TEST(key, missing_file_is_an_error_and_not_a_key)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/missing", new_dir());
    struct subject *s = START(make_key, STR("path", path), INT("project", 'L'),
                              INT("before", 4711));
    finish(s);
    expect_error(s, "seg_key", ENOENT);
    EXPECT(got_int(s, "key") == 4711, "key stays as it was on failure",
           "key was 4711 and is now %lld", got_int(s, "key"));
    snprintf(path, sizeof(path), "%s/below-a-file", new_file("x", 1));
    s = START(make_key, STR("path", path), INT("project", 'L'),
              INT("before", 4711));
    finish(s);
    expect_error(s, "seg_key", ENOTDIR);
}

#define PROJECTS 4 /* whose low 8 bits are 0 */

SCENARIO(make_keys_of_projects)
{
    const char *path = given_str("path");
    key_t before = (key_t)given_int("before");
    key_t key[PROJECTS] = {before, before, before, before};

    CALL("0", seg_key(path, 0, &key[0]));
    CALL("1", seg_key(path, 256, &key[1]));
    CALL("2", seg_key(path, 0x7f00, &key[2]));
    CALL("3", seg_key(path, -512, &key[3]));
    tell_bytes("keys", key, sizeof(key));
}

TEST(key, project_whose_low_8_bits_are_0_is_refused)
{
    const char *const calls[PROJECTS] = {"0", "1", "2", "3"};
    const int projects[PROJECTS] = {0, 256, 0x7f00, -512};
    key_t keys[PROJECTS];
    struct subject *s = START(make_keys_of_projects, STR("path", new_dir()),
                              INT("before", 4711));

    finish(s);
    got_copy(s, "keys", keys, sizeof(keys));
    for (int i = 0; i < PROJECTS; i++) {
        expect_error(s, calls[i], EINVAL);
        EXPECT(keys[i] == 4711, "key stays as it was on failure",
               "project %d: key was 4711 and is now %d", projects[i],
               (int)keys[i]);
    }
}

/* ------------------------------------------------------------------------
 * Group create
 */

SCENARIO(create)
{
    key_t key = (key_t)given_int("key");
    size_t size = (size_t)given_int("size");

    CALL("id", seg_create(key, size));
    wait_for("go");
}

HELPER void create_one(key_t key)
{
    unsigned long size = 5000 + random_below(1000);
    struct row r;
    struct subject *s = START(create, INT("key", key), INT("size", size));

    await(s, "id");
    int id = created(s, "id", key, &r);
    EXPECT(r.size_bytes == size, "a segment of exactly the size asked for",
           "asked for %lu bytes, segment %d has %lu", size, id, r.size_bytes);
    unsigned char *p = shmat(id, NULL, SHM_RDONLY);
    EXPECT(p != (void *)-1, "a segment that its owner can attach",
           "shmat failed with %s: its mode is %04o", errno_name(errno),
           r.perms & 0777u);
    for (size_t i = 0; i < size; i++)
        EXPECT(p[i] == 0, "every byte 0", "byte %zu is 0x%02x", i, p[i]);
    shmdt(p);
    let_go(s, "go");
    finish(s);
}

TEST(create, create_gives_a_zero_filled_segment_of_that_size)
{
    create_one(new_key());
    create_one(IPC_PRIVATE);
}

TEST(create, created_segment_is_its_owners_alone)
{
    key_t key = new_key();
    struct row r;
    struct subject *s = START(create, INT("key", key), INT("size", 100));

    await(s, "id");
    int id = created(s, "id", key, &r);
    EXPECT((r.perms & 0777u) == 0600, "mode 0600", "segment %d has mode %04o",
           id, r.perms & 0777u);
    let_go(s, "go");
    finish(s);
}

TEST(create, created_segment_is_attached_nowhere_and_stays)
{
    key_t key = new_key();
    struct row r;
    struct subject *s = START(create, INT("key", key), INT("size", 100));

    await(s, "id");
    int id = created(s, "id", key, &r);
    EXPECT(r.attached == 0, "a new segment is attached by nobody",
           "segment %d has %lu attached", id, r.attached);
    let_go(s, "go");
    finish(s);
    EXPECT(segment_exists(id), "the segment outlives the process that made it",
           "segment %d went with it", id);
}

TEST(create, create_refuses_size_0)
{
    key_t key = new_key();
    struct subject *s = START(create, INT("key", key), INT("size", 0));

    await(s, "id");
    expect_error(s, "id", EINVAL);
    EXPECT(with_key(key) == 0, "no segment was made", "there is one now");
    let_go(s, "go");
    finish(s);
}

HELPER void create_with_a_taken_key(size_t size)
{
    unsigned char bytes[4000];
    key_t key = new_key();
    int id = make_segment(key, sizeof(bytes), 0600);

    fill_random(bytes, sizeof(bytes));
    put_bytes(id, bytes, sizeof(bytes));
    struct subject *s = START(create, INT("key", key), INT("size", size));
    await(s, "id");
    expect_error(s, "id", EEXIST);
    EXPECT(segment_exists(id), "the other segment is left alone",
           "segment %d was destroyed", id);
    void *p = look(id);
    EXPECT(memcmp(p, bytes, sizeof(bytes)) == 0,
           "the other segment's bytes are left alone", "they were changed");
    shmdt(p);
    let_go(s, "go");
    finish(s);
}

/* Another process takes the key before the first or the second shmget. */
HELPER void create_with_a_key_that_is_taken_meanwhile(unsigned nth)
{
    key_t key = new_key();
    struct subject *s = START(create, INT("key", key), INT("size", 100),
                              HOLD("shmget", nth, "held"));

    await_asleep(s);
    if (was_told(s, "held")) {
        int id = shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600);
        if (id != -1)
            judges_object('m', id);
        let_go(s, "held");
        await(s, "id");
        EXPECT(id == -1 || got_int(s, "id") == -1,
               "EEXIST, also when the key is taken a moment before shmget",
               "another process made segment %d with that key before shmget "
               "call %u of seg_create, which returned %lld",
               id, nth, got_int(s, "id"));
        if (id != -1)
            expect_error(s, "id", EEXIST);
    }
    await(s, "id");
    if (got_int(s, "id") >= 0)
        judges_object('m', (int)got_int(s, "id"));
    let_go(s, "go");
    finish(s);
}

TEST(create, create_refuses_a_key_that_is_taken)
{
    create_with_a_taken_key(4000);
    create_with_a_taken_key(100);
    create_with_a_taken_key(8000);
    create_with_a_key_that_is_taken_meanwhile(1);
    create_with_a_key_that_is_taken_meanwhile(2);
}

/* The kernel refuses: also a size that no int and no unsigned can hold. */
HELPER void create_refused(size_t size, int err)
{
    struct subject *s = START(create, INT("key", new_key()), INT("size", size),
                              FAIL("shmget", 1, 100, err));

    await(s, "id");
    expect_error(s, "id", err);
    expect_called(s, "shmget");
    long long asked =
        call_argument(s, "shmget", calls_made(s, "shmget") - 1, 1);
    EXPECT((size_t)asked == size, "shmget is asked for size_bytes",
           "seg_create(key, %zu) asked shmget for %lld bytes", size, asked);
    let_go(s, "go");
    finish(s);
    expect_nothing_left(s);
}

TEST(create, create_passes_on_why_the_kernel_refused)
{
    create_refused(100, ENOSPC);
    create_refused(100, ENOMEM);
    create_refused(((size_t)1 << 32) + 100, EINVAL);
}

/* ------------------------------------------------------------------------
 * Group open
 */

SCENARIO(open_it)
{
    key_t key = (key_t)given_int("key");
    size_t min_size = (size_t)given_int("size");

    CALL("id", seg_open(key, min_size));
}

TEST(open, open_finds_the_segment_of_another_process)
{
    key_t key = new_key();
    int id = make_segment(key, 5000, 0600);
    struct subject *s = START(open_it, INT("key", key), INT("size", 4000));

    finish(s);
    expect_return(s, "id", id);
    /* One that may be read and not written. */
    set_mode(id, 0400);
    s = START(open_it, INT("key", key), INT("size", 4000), NOT_OPENED_TO_WRITE);
    finish(s);
    expect_return(s, "id", id);
    /* Any key but IPC_PRIVATE: the kernel is asked. */
    s = START(open_it, INT("key", -1), INT("size", 4000),
              FAIL("shmget", 1, 100, EACCES));
    finish(s);
    expect_error(s, "id", EACCES);
}

/*
 * In a table of segments that was never used, the first one has the id 0.  A
 * child moves into a namespace with such a table, if the system lets it.
 */
SCENARIO(id_0)
{
    key_t key = (key_t)given_int("key");
    pid_t child = fork();

    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWIPC) == 0 &&
            shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600) == 0) {
            reached("id 0");
            CALL("id", seg_open(key, 100));
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

TEST(open, open_finds_the_segment_whose_id_is_0)
{
    struct subject *s = START(id_0, INT("key", new_key()));

    finish(s);
    if (was_told(s, "id 0"))
        expect_return(s, "id", 0);
}

TEST(open, open_never_creates)
{
    key_t key = new_key();
    struct subject *s = START(open_it, INT("key", key), INT("size", 4000));

    finish(s);
    expect_error(s, "id", ENOENT);
    EXPECT(with_key(key) == 0, "no segment has the key afterwards",
           "seg_open left one behind");
    for (unsigned i = 0; i < calls_made(s, "shmget"); i++)
        EXPECT((call_argument(s, "shmget", i, 2) & IPC_CREAT) == 0,
               "no segment is made, not for a moment",
               "seg_open calls shmget with IPC_CREAT");
}

TEST(open, open_refuses_a_segment_that_is_too_small)
{
    key_t key = new_key();
    int id = make_segment(key, 5000, 0600);
    struct subject *s = START(open_it, INT("key", key), INT("size", 5001));

    finish(s);
    expect_error(s, "id", EINVAL);
    s = START(open_it, INT("key", key), INT("size", ((size_t)1 << 32) + 4000));
    finish(s);
    expect_error(s, "id", EINVAL);
    s = START(open_it, INT("key", key), INT("size", 5000));
    finish(s);
    expect_return(s, "id", id);
    s = START(open_it, INT("key", key), INT("size", 0));
    finish(s);
    expect_return(s, "id", id);
}

SCENARIO(open_private)
{
    wait_for("start");
    CALL("id", seg_open(IPC_PRIVATE, 100));
}

TEST(open, open_of_ipc_private_makes_no_segment)
{
    struct subject *s = START(open_private, NOTHING);
    pid_t pid = subject_pid(s);
    int before = made_by(pid); /* by an earlier process of that number */

    let_go(s, "start");
    finish(s);
    expect_error(s, "id", EINVAL);
    EXPECT(made_by(pid) == before, "no segment was made", "seg_open made one");
}

/* ------------------------------------------------------------------------
 * Group attach
 */

SCENARIO(attach_and_use)
{
    bool read_only = given_int("read_only");
    size_t size;
    const void *reply = given_bytes("reply", &size);
    unsigned char *addr = CALL_PTR(
        "addr", seg_attach((int)given_int("id"), given_int("read_only")));

    if (addr == NULL)
        return;
    wait_for("use");
    tell_bytes("what it reads", addr, size);
    if (!read_only)
        memcpy(addr, reply, size);
    reached("used");
    wait_for("go");
    shmdt(addr);
}

HELPER void share_both_ways(bool marked)
{
    unsigned char there[3000];
    unsigned char back[sizeof(there)];
    int id = make_segment(new_key(), sizeof(there), 0600);
    unsigned char *p = look(id);

    if (marked)
        REQUIRE(shmctl(id, IPC_RMID, NULL) == 0);
    fill_random(there, sizeof(there));
    fill_random(back, sizeof(back));
    struct subject *s =
        START(attach_and_use, INT("id", id), INT("read_only", false),
              BYTES("reply", back, sizeof(back)));
    await(s, "addr");
    expect_pointer(s, "addr");
    memcpy(p, there, sizeof(there)); /* after the attach */
    let_go(s, "use");
    await(s, "used");
    expect_bytes(s, "what it reads", there, sizeof(there));
    EXPECT(memcmp(p, back, sizeof(back)) == 0,
           "what the process writes is seen by the others",
           "the segment does not hold it");
    shmdt(p);
    let_go(s, "go");
    finish(s);
}

TEST(attach, attached_segment_is_shared_both_ways)
{
    share_both_ways(false);
    share_both_ways(true);
}

TEST(attach, attach_returns_null_on_failure)
{
    int id = dead_segment();
    struct subject *s = START(attach_and_use, INT("id", id),
                              INT("read_only", false), BYTES("reply", "", 1));

    await(s, "addr");
    expect_no_such_id(s, "addr");
    finish(s);
}

/* The kernel refuses so many times. */
HELPER void attach_refused(int id, bool read_only, int err, unsigned times)
{
    struct subject *s =
        START(attach_and_use, INT("id", id), INT("read_only", read_only),
              BYTES("reply", "", 1), FAIL("shmat", 1, times, err));

    await(s, "addr");
    expect_error(s, "addr", err);
    finish(s);
    expect_nothing_left(s);
}

TEST(attach, attach_passes_on_why_the_kernel_refused)
{
    int id = make_segment(new_key(), 4096, 0600);

    attach_refused(id, true, ENOMEM, 100);
    attach_refused(id, true, EACCES, 100);
    /* No other kind of access will do in its stead. */
    attach_refused(id, false, EACCES, 1);
    /* An id like any other: the kernel is asked. */
    attach_refused(0, false, ENOMEM, 100);
}

/* shut: to write, by the segment's mode. */
HELPER void check_access(bool read_only, bool shut, const char *right,
                         const char *phrase)
{
    unsigned char bytes[100];
    int id = make_segment(new_key(), sizeof(bytes), 0600);

    fill_random(bytes, sizeof(bytes));
    put_bytes(id, bytes, sizeof(bytes));
    if (shut)
        set_mode(id, 0400);
    struct subject *s = start_subject(
        "attach_and_use",
        (const struct give[]){INT("id", id), INT("read_only", read_only),
                              BYTES("reply", bytes, sizeof(bytes)),
                              shut ? NOT_ATTACHED_TO_WRITE : NOTHING, NOTHING});
    await(s, "addr");
    expect_pointer(s, "addr");
    const char *access =
        access_at(subject_pid(s), id, (void *)(uintptr_t)got_int(s, "addr"));
    EXPECT(strcmp(access, right) == 0, phrase,
           "/proc/PID/maps says \"%s\" at the address returned", access);
    let_go(s, "use");
    await(s, "used");
    expect_bytes(s, "what it reads", bytes, sizeof(bytes));
    let_go(s, "go");
    finish(s);
}

TEST(attach, read_only_attach_can_be_read_and_not_written)
{
    const char *reading = "a shared mapping for reading alone (r--s)";

    check_access(true, false, "r--s", reading);
    check_access(true, true, "r--s", reading);
    check_access(false, false, "rw-s",
                 "a shared mapping to read and write (rw-s)");
}

SCENARIO(attach_twice)
{
    int id = (int)given_int("id");
    unsigned char *a = CALL_PTR("first", seg_attach(id, false));
    unsigned char *b = CALL_PTR("second", seg_attach(id, false));

    wait_for("use");
    if (a != NULL && b != NULL) {
        a[10] = (unsigned char)given_int("byte");
        tell_int("what it reads", b[10]);
    }
    wait_for("go");
    shmdt(a);
    shmdt(b);
}

TEST(attach, second_attach_is_another_mapping_of_the_same_bytes)
{
    int id = make_segment(new_key(), 4096, 0600);
    int byte = 1 + (int)random_below(255);
    struct row r;
    struct subject *s = START(attach_twice, INT("id", id), INT("byte", byte));

    await(s, "second");
    expect_pointer(s, "first");
    expect_pointer(s, "second");
    EXPECT(got_int(s, "first") != got_int(s, "second"),
           "two addresses for two attaches", "both are %#llx",
           (unsigned long long)got_int(s, "first"));
    REQUIRE(find_segment(id, &r));
    EXPECT(r.attached == 2, "2 attached", "%lu attached", r.attached);
    let_go(s, "use");
    await(s, "what it reads");
    expect_int(s, "what it reads", byte);
    let_go(s, "go");
    finish(s);
    for (unsigned i = 0; i < calls_made(s, "shmat"); i++)
        EXPECT(call_argument(s, "shmat", i, 1) == 0,
               "the kernel finds room: shmat with NULL for the address",
               "shmat was given the address %#llx",
               (unsigned long long)call_argument(s, "shmat", i, 1));
}

/* ------------------------------------------------------------------------
 * Group detach
 */

SCENARIO(detach)
{
    int id = (int)given_int("id");
    char *addr = attach(id, 0);
    char *other = attach(id, 0);

    wait_for("start");
    CALL("detach", seg_detach(addr));
    wait_for("look");
    tell_int("what it reads", (unsigned char)other[0]);
    reached("looked");
    CALL("again", seg_detach(addr));
    wait_for("go");
    shmdt(other);
}

TEST(detach, detach_ends_one_mapping_and_no_other)
{
    int id = make_segment(new_key(), 4096, 0600);
    unsigned char byte = (unsigned char)(1 + random_below(255));
    struct row r;
    struct subject *s = START(detach, INT("id", id));

    put_bytes(id, &byte, 1);
    let_go(s, "start");
    await(s, "detach");
    expect_return(s, "detach", 0);
    EXPECT(find_segment(id, &r), "the segment stays",
           "segment %d is gone: detaching must not destroy", id);
    EXPECT(r.attached == 1, "1 of 2 mappings left", "%lu attached", r.attached);
    EXPECT((r.perms & SHM_DEST) == 0, "the segment stays",
           "segment %d is marked for destruction", id);
    let_go(s, "look");
    await(s, "looked");
    expect_int(s, "what it reads", byte);
    let_go(s, "go");
    finish(s);
}

TEST(detach, detaching_twice_is_an_error)
{
    int id = make_segment(new_key(), 4096, 0600);
    struct row r;
    struct subject *s = START(detach, INT("id", id));

    let_go(s, "start");
    let_go(s, "look");
    await(s, "again");
    expect_return(s, "detach", 0);
    expect_error(s, "again", EINVAL);
    REQUIRE(find_segment(id, &r));
    EXPECT(r.attached == 1, "the other mapping stays", "%lu attached",
           r.attached);
    let_go(s, "go");
    finish(s);
}

SCENARIO(detach_inside)
{
    size_t page = (size_t)getpagesize();
    char *addr = attach((int)given_int("id"), 0);
    char local = 0;

    CALL("next byte", seg_detach(addr + 1));
    CALL("8 bytes on", seg_detach(addr + 8));
    CALL("NULL", seg_detach(NULL));
    CALL("middle of a page", seg_detach(addr + page / 2));
    CALL("second page", seg_detach(addr + page));
    CALL("a local variable", seg_detach(&local));
    wait_for("go");
    shmdt(addr);
}

TEST(detach, address_inside_a_mapping_is_refused)
{
    int id = make_segment(new_key(), 2 * (size_t)getpagesize(), 0600);
    struct row r;
    struct subject *s = START(detach_inside, INT("id", id));

    await(s, "a local variable");
    expect_error(s, "next byte", EINVAL);
    expect_error(s, "8 bytes on", EINVAL);
    expect_error(s, "middle of a page", EINVAL);
    expect_error(s, "second page", EINVAL);
    expect_error(s, "a local variable", EINVAL);
    expect_error(s, "NULL", EINVAL);
    REQUIRE(find_segment(id, &r));
    EXPECT(r.attached == 1, "the mapping stays", "%lu attached", r.attached);
    let_go(s, "go");
    finish(s);
}

/* ------------------------------------------------------------------------
 * Group destroy
 */

SCENARIO(destroy)
{
    CALL("destroy", seg_destroy((int)given_int("id")));
}

TEST(destroy, destroyed_segment_is_gone)
{
    int id = make_segment(new_key(), 4096, 0600);
    struct subject *s = START(destroy, INT("id", id));

    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(!segment_exists(id), "nobody is attached: the segment is gone",
           "segment %d is still there", id);
    /* One that its owner may not read. */
    id = make_segment(new_key(), 4096, 0);
    s = START(destroy, INT("id", id), NOTHING_READABLE);
    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(!segment_exists(id), "a segment of mode 0000 can be destroyed, too",
           "segment %d is still there", id);
}

/* The kernel refuses, also for the id 0, which is one like any other. */
HELPER void destroy_refused(int id, int err)
{
    struct subject *s = START(destroy, INT("id", id),
                              FAIL_WHEN("shmctl", 1, IPC_RMID, 1, 100, err));

    finish(s);
    expect_error(s, "destroy", err);
}

TEST(destroy, destroying_what_is_gone_is_an_error)
{
    struct row before;
    struct row after;
    int id = make_segment(new_key(), 4096, 0640);
    struct subject *s = START(destroy, INT("id", dead_segment()));

    finish(s);
    expect_no_such_id(s, "destroy");
    REQUIRE(find_segment(id, &before));
    destroy_refused(id, EIDRM);
    destroy_refused(id, EPERM);
    EXPECT(find_segment(id, &after) && after.perms == before.perms,
           "a segment that can't be destroyed is left as it was",
           "it is gone, or its mode has changed");
    destroy_refused(0, EPERM);
}

SCENARIO(destroy_attached)
{
    int id = (int)given_int("id");
    unsigned char *addr = attach(id, 0);

    CALL("destroy", seg_destroy(id));
    CALL("once more", seg_destroy(id));
    wait_for("use");
    tell_bytes("what it reads", addr, (size_t)given_int("size"));
    wait_for("go");
    shmdt(addr);
}

TEST(destroy, destroyed_while_attached_lives_until_the_last_detach)
{
    unsigned char bytes[2000];
    int id = make_segment(new_key(), sizeof(bytes), 0600);
    void *p = look(id);
    struct row r;
    struct subject *s =
        START(destroy_attached, INT("id", id), INT("size", sizeof(bytes)));

    await(s, "once more");
    expect_return(s, "destroy", 0);
    expect_return(s, "once more", 0);
    EXPECT(find_segment(id, &r), "2 are attached: the segment lives",
           "segment %d is gone", id);
    EXPECT((r.perms & SHM_DEST) != 0, "marked for destruction",
           "segment %d is not marked", id);
    EXPECT(r.attached == 2, "both mappings stay", "%lu attached", r.attached);
    fill_random(bytes, sizeof(bytes));
    memcpy(p, bytes, sizeof(bytes));
    let_go(s, "use");
    await(s, "what it reads");
    expect_bytes(s, "what it reads", bytes, sizeof(bytes));
    shmdt(p);
    EXPECT(segment_exists(id), "1 is attached: the segment lives",
           "segment %d is gone", id);
    let_go(s, "go");
    finish(s);
    EXPECT(!segment_exists(id), "gone with the last detach",
           "segment %d is still there", id);
}

SCENARIO(key_of_a_destroyed_segment)
{
    int id = (int)given_int("id");
    key_t key = (key_t)given_int("key");

    CALL("destroy", seg_destroy(id));
    CALL("open", seg_open(key, 0));
    CALL("create", seg_create(key, 100));
}

TEST(destroy, destroyed_segment_gives_up_its_key)
{
    key_t key = new_key();
    int id = make_segment(key, 4096, 0600);
    void *p = look(id); /* so that it is marked and not gone */
    struct row r;
    struct subject *s =
        START(key_of_a_destroyed_segment, INT("id", id), INT("key", key));

    finish(s);
    expect_return(s, "destroy", 0);
    expect_error(s, "open", ENOENT);
    int next = created(s, "create", key, &r);
    EXPECT(next != id, "a new segment for the freed key",
           "seg_create returned the marked segment %d again", id);
    shmdt(p);
}

SCENARIO(whole_life_1)
{
    key_t key = (key_t)given_int("key");
    size_t size;
    const void *data = given_bytes("data", &size);
    int id = (int)CALL("id", seg_create(key, size));

    if (id == -1)
        return;
    void *addr = CALL_PTR("addr", seg_attach(id, false));
    if (addr == NULL)
        return;
    memcpy(addr, data, size);
    CALL("detach", seg_detach(addr));
}

SCENARIO(whole_life_2)
{
    key_t key = (key_t)given_int("key");
    size_t size = (size_t)given_int("size");
    int id = (int)CALL("open", seg_open(key, size));

    if (id == -1)
        return;
    void *addr = CALL_PTR("addr", seg_attach(id, true));
    if (addr == NULL)
        return;
    tell_bytes("what it reads", addr, size);
    CALL("detach", seg_detach(addr));
    CALL("destroy", seg_destroy(id));
}

TEST(destroy, bytes_outlive_their_writer_until_somebody_destroys_them)
{
    unsigned char bytes[1234];
    key_t key = new_key();

    fill_random(bytes, sizeof(bytes));
    struct subject *s = START(whole_life_1, INT("key", key),
                              BYTES("data", bytes, sizeof(bytes)));
    finish(s);
    expect_at_least(s, "id", 0);
    expect_pointer(s, "addr");
    expect_return(s, "detach", 0);
    struct subject *t =
        START(whole_life_2, INT("key", key), INT("size", sizeof(bytes)));
    finish(t);
    expect_return(t, "open", got_int(s, "id"));
    expect_pointer(t, "addr");
    expect_bytes(t, "what it reads", bytes, sizeof(bytes));
    expect_return(t, "detach", 0);
    expect_return(t, "destroy", 0);
    EXPECT(with_key(key) == 0, "nothing is left of the segment",
           "a segment with its key is still there");
    expect_nothing_left(t);
}

/* What the kernel knows of a segment. */

SCENARIO(tell_info)
{
    int id = (int)given_int("id");
    struct seg_info info;

    /* Make this process the last that used it (shm_lpid): not the creator. */
    shmdt(shmat(id, NULL, 0));
    memset(&info, 0x5a, sizeof(info));
    CALL("seg_info", seg_info(id, &info));
    tell_bytes("info", &info, sizeof(info));
}

/* What scenario tell_info was told. */
HELPER struct seg_info told_info(struct subject *s, const char *name)
{
    struct seg_info info;

    got_copy(s, name, &info, sizeof(info));
    return info;
}

/* Fails at the first field that is not what the kernel says. */
HELPER void expect_info(const struct seg_info *got, const struct row *r)
{
    EXPECT(got->id == r->id, "id, the segment's own", "id %d instead of %d",
           got->id, r->id);
    EXPECT(got->key == r->key, "key, the segment's own",
           "key 0x%08x instead of 0x%08x", (unsigned)got->key,
           (unsigned)r->key);
    EXPECT(got->size_bytes == r->size_bytes, "size_bytes as it was made",
           "size_bytes %zu instead of %lu", got->size_bytes, r->size_bytes);
    EXPECT(got->attached == r->attached, "attached, the number of mappings",
           "attached %lu instead of %lu", got->attached, r->attached);
    EXPECT(got->creator_pid == r->creator_pid,
           "creator_pid, the process that made it",
           "creator_pid %d instead of %d", (int)got->creator_pid,
           r->creator_pid);
    EXPECT(got->owner_uid == r->uid, "owner_uid, the owner's",
           "owner_uid %u instead of %u", (unsigned)got->owner_uid, r->uid);
    EXPECT(got->mode == (r->perms & 0777u), "mode, nine bits of permission",
           "mode %#o instead of %#o", (unsigned)got->mode, r->perms & 0777u);
    EXPECT(got->marked == ((r->perms & SHM_DEST) != 0),
           "marked, whether it is to be destroyed", "marked is %s",
           got->marked ? "true" : "false");
}

TEST(destroy, info_tells_what_the_kernel_knows)
{
    size_t size = 5000 + random_below(1000);
    int id = make_segment(new_key(), size, 0640);
    void *p = look(id);
    void *q = look(id);
    struct row r;

    give_away(id); /* owner and creator may differ */
    struct subject *s = START(tell_info, INT("id", id));

    finish(s);
    expect_return(s, "seg_info", 0);
    struct seg_info info = told_info(s, "info");
    REQUIRE(find_segment(id, &r) && r.attached == 2);
    expect_info(&info, &r);
    shmdt(p);
    shmdt(q);
}

TEST(destroy, info_shows_the_mark_of_a_destroyed_segment)
{
    int id = make_segment(new_key(), 4096, 0600);
    void *p = look(id);
    struct row r;

    REQUIRE(shmctl(id, IPC_RMID, NULL) == 0);
    struct subject *s = START(tell_info, INT("id", id));
    finish(s);
    expect_return(s, "seg_info", 0);
    struct seg_info info = told_info(s, "info");
    REQUIRE(find_segment(id, &r) && (r.perms & SHM_DEST) != 0);
    expect_info(&info, &r);
    shmdt(p);
}

TEST(destroy, info_of_what_is_gone_is_an_error_and_writes_nothing)
{
    struct seg_info before;
    struct subject *s = START(tell_info, INT("id", dead_segment()));

    finish(s);
    expect_no_such_id(s, "seg_info");
    memset(&before, 0x5a, sizeof(before));
    struct seg_info after = told_info(s, "info");
    EXPECT(memcmp(&before, &after, sizeof(before)) == 0,
           "*info stays as it was on failure", "it was written to");
    /* One that may not be read. */
    s = START(tell_info, INT("id", make_segment(new_key(), 4096, 0)),
              NOTHING_READABLE);
    finish(s);
    expect_error(s, "seg_info", EACCES);
    after = told_info(s, "info");
    EXPECT(memcmp(&before, &after, sizeof(before)) == 0,
           "*info stays as it was on failure", "it was written to");
}

/* ------------------------------------------------------------------------
 * Group dictionary
 */

SCENARIO(dict_in_one_process)
{
    size_t size = (size_t)given_int("size");
    void *seg = attach((int)given_int("id"), 0);
    const char *key = given_str("key");
    const char *value = given_str("value");

    CALL("dict_init", dict_init(seg, size));
    CALL("put", dict_put(seg, key, value));
    tell_value("value", CALL_PTR("get", dict_get(seg, key)), seg, size);
    CALL_PTR("absent", dict_get(seg, "no such key"));
    CALL("put of an empty key", dict_put(seg, "", value));
    CALL_PTR("get of an empty key", dict_get(seg, ""));
    shmdt(seg);
}

HELPER struct subject *start_in_one_process(const char *value)
{
    int id = make_segment(new_key(), 4096, 0600);
    struct subject *s =
        START(dict_in_one_process, INT("id", id), INT("size", 4096),
              STR("key", "colour"), STR("value", value));

    finish(s);
    expect_return(s, "dict_init", 0);
    expect_return(s, "put", 0);
    return s;
}

/* A value that was found, in the segment. */
HELPER void expect_value(struct subject *s, const char *call, const char *name,
                         const char *value)
{
    char outside[80];

    expect_pointer(s, call);
    snprintf(outside, sizeof(outside), "%s lies outside", name);
    EXPECT(!was_told(s, outside),
           "a pointer to a string inside the segment, as this process has it",
           "a pointer %lld bytes from the segment's start",
           got_int(s, outside));
    expect_str(s, name, value);
}

TEST(dictionary, what_was_put_is_found)
{
    char value[101];

    fill_letters(value, 100);
    expect_value(start_in_one_process(value), "get", "value", value);
    expect_value(start_in_one_process(""), "get", "value", "");
}

TEST(dictionary, absent_key_is_null_with_enoent_and_empty_key_einval)
{
    struct subject *s = start_in_one_process("blue");

    expect_pointer(s, "get");
    expect_error(s, "absent", ENOENT);
    expect_error(s, "put of an empty key", EINVAL);
    expect_error(s, "get of an empty key", EINVAL);
}

SCENARIO(dict_writer)
{
    size_t size = (size_t)given_int("size");
    void *seg = attach((int)given_int("id"), 0);

    tell_int("address", (long long)(uintptr_t)seg);
    CALL("dict_init", dict_init(seg, size));
    CALL("put 1", dict_put(seg, "first", given_str("1")));
    CALL("put 2", dict_put(seg, "second", given_str("2")));
    CALL("put 3", dict_put(seg, "third", given_str("3")));
    shmdt(seg);
}

SCENARIO(dict_reader)
{
    size_t size = (size_t)given_int("size");

    forbid((void *)(uintptr_t)given_int("address"), size);
    void *seg = attach((int)given_int("id"), SHM_RDONLY);
    tell_value("value 1", CALL_PTR("get 1", dict_get(seg, "first")), seg, size);
    tell_value("value 2", CALL_PTR("get 2", dict_get(seg, "second")), seg,
               size);
    tell_value("value 3", CALL_PTR("get 3", dict_get(seg, "third")), seg, size);
    shmdt(seg);
}

HELPER struct subject *start_writer(int id, size_t size, char values[3][41])
{
    for (int i = 0; i < 3; i++)
        fill_letters(values[i], 40);
    struct subject *s =
        START(dict_writer, INT("id", id), INT("size", size),
              STR("1", values[0]), STR("2", values[1]), STR("3", values[2]));
    finish(s);
    expect_return(s, "dict_init", 0);
    expect_return(s, "put 1", 0);
    expect_return(s, "put 2", 0);
    expect_return(s, "put 3", 0);
    return s;
}

TEST(dictionary, another_process_reads_it_at_another_address)
{
    char values[3][41];
    int id = make_segment(new_key(), 8192, 0600);
    struct subject *s = start_writer(id, 8192, values);
    struct subject *t = START(dict_reader, INT("id", id), INT("size", 8192),
                              INT("address", got_int(s, "address")));

    finish(t);
    REQUIRE(!was_told(t, "not forbidden"));
    expect_value(t, "get 1", "value 1", values[0]);
    expect_value(t, "get 2", "value 2", values[1]);
    expect_value(t, "get 3", "value 3", values[2]);
}

SCENARIO(dict_moves)
{
    size_t size = (size_t)given_int("size");
    int id = (int)given_int("id");
    void *first = attach(id, 0);

    CALL("dict_init", dict_init(first, size));
    CALL("put 1", dict_put(first, "first", given_str("1")));
    void *seg = attach(id, 0);
    shmdt(first);
    forbid(first, size);
    CALL("put 2", dict_put(seg, "second", given_str("2")));
    CALL("put 3", dict_put(seg, "first", given_str("3")));
    tell_value("value 1", CALL_PTR("get 1", dict_get(seg, "first")), seg, size);
    tell_value("value 2", CALL_PTR("get 2", dict_get(seg, "second")), seg,
               size);
    shmdt(seg);
}

TEST(dictionary, it_goes_on_when_its_first_mapping_is_gone)
{
    char values[3][41];
    int id = make_segment(new_key(), 8192, 0600);

    for (int i = 0; i < 3; i++)
        fill_letters(values[i], 40);
    struct subject *s =
        START(dict_moves, INT("id", id), INT("size", 8192), STR("1", values[0]),
              STR("2", values[1]), STR("3", values[2]));
    finish(s);
    REQUIRE(!was_told(s, "not forbidden"));
    expect_return(s, "dict_init", 0);
    expect_return(s, "put 1", 0);
    expect_return(s, "put 2", 0);
    expect_return(s, "put 3", 0);
    expect_value(s, "get 1", "value 1", values[2]);
    expect_value(s, "get 2", "value 2", values[1]);
}

/* ------------------------------------------------------------------------
 * A script: puts and gets that a test has made up, into two dictionaries of
 * one process by turns.  The test does the same with a model and compares.
 */
#define SCRIPT_STEPS   6000
#define SCRIPT_KEYS    260
#define SCRIPT_LETTERS 524288
#define SCRIPT_BYTES   (1 << 21)
#define FIRST_PUT      2 /* the step behind those of add_init() */
#define NO_VALUE       UINT32_MAX

struct step {
    enum { STEP_INIT, STEP_PUT, STEP_GET } kind;
    int dict;    /* which of the two */
    unsigned at; /* STEP_INIT: where it begins; else: key */
    uint32_t from;
    uint32_t length; /* of the value, in the letters; STEP_INIT: size */
};

/* What a step did: as in struct trial, for STEP_GET with the value's length
 * and a fingerprint of it. */
struct answer {
    char letter;
    uint32_t length;
    uint64_t print;
};

struct script {
    unsigned nsteps;
    unsigned nkeys;
    struct step step[SCRIPT_STEPS];
    struct answer answer[SCRIPT_STEPS];
    unsigned key[SCRIPT_KEYS]; /* where each begins, in key_text */
    unsigned key_bytes;
    char key_text[80000];
    char letters[SCRIPT_LETTERS];
};

/* FNV-1a of a text; of a long one, of some of its bytes. */
HELPER uint64_t print_of(const char *text, size_t length)
{
    uint64_t print = 0xcbf29ce484222325u;

    for (size_t i = 0; i < length; i += 1 + length / 1024)
        print = (print ^ (unsigned char)text[i]) * 0x100000001b3u;
    return print;
}

HELPER char errno_letter(void)
{
    return errno == ENOENT   ? 'n'
           : errno == EINVAL ? 'i'
           : errno == ENOSPC ? 's'
                             : '?';
}

HELPER struct answer take_step(struct script *c, const struct step *t,
                               char *seg, size_t size, char *value)
{
    const char *key = t->kind == STEP_INIT ? "" : c->key_text + c->key[t->at];
    struct answer a = {.letter = 'k'};

    errno = 0;
    if (t->kind == STEP_INIT && CALL("dict_init", dict_init(seg, size)) == -1)
        a.letter = errno_letter();
    if (t->kind == STEP_PUT) {
        memcpy(value, c->letters + t->from, t->length);
        value[t->length] = '\0';
        /* Of the first one the judge sees the errno, too. */
        int put = t == &c->step[FIRST_PUT]
                      ? (int)CALL("first put", dict_put(seg, key, value))
                      : dict_put(seg, key, value);
        if (put == -1)
            a.letter = errno_letter();
        memset(value, '?', t->length); /* the dictionary has a copy */
    }
    if (t->kind != STEP_GET)
        return a;
    const char *got = dict_get(seg, key);
    const char *end = NULL;
    if (got == NULL)
        return (struct answer){.letter = errno_letter()};
    if (got >= seg && got < seg + size)
        end = memchr(got, '\0', (size_t)(seg + size - got));
    if (end == NULL)
        return (struct answer){.letter = 'o'};
    a = (struct answer){'v', (uint32_t)(end - got), 0};
    a.print = print_of(got, a.length);
    return a;
}

SCENARIO(dict_script)
{
    char *base = attach_before_a_wall((int)given_int("id"), SCRIPT_BYTES);
    size_t bytes;
    struct script *c = given_shared("script", &bytes);
    char *value = malloc(SCRIPT_LETTERS + 1);
    char *seg[2] = {base, base};
    size_t size[2] = {0, 0};

    for (unsigned i = 0; i < c->nsteps; i++) {
        const struct step *t = &c->step[i];
        if (t->kind == STEP_INIT) {
            seg[t->dict] = base + t->at;
            size[t->dict] = t->length;
        }
        c->answer[i] = take_step(c, t, seg[t->dict], size[t->dict], value);
    }
    free(value);
    reached("end");
    shmdt(base);
}

/* The model: what each key of a dictionary has. */
struct model {
    size_t size;
    unsigned puts;
    uint32_t from[SCRIPT_KEYS];
    uint32_t length[SCRIPT_KEYS]; /* or NO_VALUE */
};

HELPER struct script *new_script(void)
{
    struct script *c = new_shared(sizeof(*c));

    fill_letters(c->letters, SCRIPT_LETTERS - 1);
    return c;
}

HELPER unsigned add_key(struct script *c, const void *key, size_t length)
{
    REQUIRE(c->nkeys < SCRIPT_KEYS &&
            c->key_bytes + length < sizeof(c->key_text));
    c->key[c->nkeys] = c->key_bytes;
    memcpy(c->key_text + c->key_bytes, key, length);
    c->key_bytes += (unsigned)length + 1; /* the text is all 0 */
    return c->nkeys++;
}

HELPER void add_step(struct script *c, struct step t)
{
    REQUIRE(c->nsteps < SCRIPT_STEPS);
    c->step[c->nsteps++] = t;
}

HELPER void add_put(struct script *c, int dict, unsigned key, size_t length)
{
    unsigned room = (unsigned)(SCRIPT_LETTERS - length);

    add_step(c, (struct step){STEP_PUT, dict, key, c->nsteps * 7919u % room,
                              (uint32_t)length});
}

HELPER void add_get(struct script *c, int dict, unsigned key)
{
    add_step(c, (struct step){STEP_GET, dict, key, 0, 0});
}

HELPER void add_gets(struct script *c, unsigned first, unsigned end)
{
    for (int dict = 0; dict < 2; dict++)
        for (unsigned k = first; k < end; k++)
            add_get(c, dict, k);
}

/* Two new dictionaries, one right behind the other and up to the wall. */
HELPER void add_init(struct script *c, size_t size_0, size_t size_1)
{
    size_t at_1 = (SCRIPT_BYTES - size_1) / 16 * 16;
    size_t at_0 = (at_1 - size_0) / 16 * 16;

    add_step(c,
             (struct step){STEP_INIT, 0, (unsigned)at_0, 0, (uint32_t)size_0});
    add_step(c,
             (struct step){STEP_INIT, 1, (unsigned)at_1, 0, (uint32_t)size_1});
}

HELPER size_t promised(size_t size)
{
    return (size - DICT_HEAD_BYTES) / 2;
}

/* The charge of all entries but that of one key, which is charged with an
 * empty value. */
HELPER size_t charge_besides(const struct script *c, const struct model *m,
                             unsigned key)
{
    size_t sum = strlen(c->key_text + c->key[key]) + DICT_ENTRY_BYTES;

    for (unsigned k = 0; k < c->nkeys; k++)
        if (k != key && m->length[k] != NO_VALUE)
            sum += strlen(c->key_text + c->key[k]) + m->length[k] +
                   DICT_ENTRY_BYTES;
    return sum;
}

HELPER void clear_model(struct model *m, size_t size)
{
    *m = (struct model){.size = size};
    memset(m->length, 0xff, sizeof(m->length));
}

/* A key, for a message. */
HELPER const char *shown_key(const struct script *c, unsigned key)
{
    static char text[80];
    const char *from = c->key_text + c->key[key];
    size_t length = strlen(from);

    if (length == 1 && (from[0] < ' ' || from[0] > '~'))
        snprintf(text, sizeof(text), "\"\\x%02x\"", (unsigned char)from[0]);
    else if (length < 40)
        snprintf(text, sizeof(text), "\"%s\"", from);
    else
        snprintf(text, sizeof(text), "a key of %zu bytes, \"%.8s...%s\"",
                 length, from, from + length - 8);
    return text;
}

HELPER void expect_put_answer(const struct script *c, struct model *m,
                              const struct step *t, char seen)
{
    size_t charge = charge_besides(c, m, t->at) + t->length;

    EXPECT(seen != 'i', "dict_put stores it",
           "in a dictionary of %zu bytes, after %u puts, dict_put of %s fails "
           "with EINVAL",
           m->size, m->puts, shown_key(c, t->at));
    EXPECT(seen == 'k' || charge > promised(m->size),
           "room for what the header promises",
           "in a dictionary of %zu bytes, after %u puts, dict_put of %s with a "
           "value of %u bytes%s fails; all entries, this one included, are "
           "charged with %zu, and up to %zu a put succeeds",
           m->size, m->puts, shown_key(c, t->at), t->length,
           m->length[t->at] == NO_VALUE ? "" : " for the one it has", charge,
           promised(m->size));
    EXPECT(seen == 'k' || seen == 's', "0, or -1 with errno ENOSPC",
           "dict_put of %s fails with another errno", shown_key(c, t->at));
    m->puts++;
    if (seen == 's')
        return;
    m->from[t->at] = t->from;
    m->length[t->at] = t->length;
}

HELPER void expect_get_answer(const struct script *c, const struct model *m,
                              const struct step *t, const struct answer *a)
{
    uint32_t length = m->length[t->at];

    EXPECT(
        a->letter != 'o', "a string that ends inside the dictionary",
        "in a dictionary of %zu bytes, after %u puts, dict_get of %s returns "
        "a pointer to what does not lie or end inside",
        m->size, m->puts, shown_key(c, t->at));
    if (length == NO_VALUE) {
        EXPECT(a->letter == 'n', "NULL with ENOENT for a key that has no value",
               "in a dictionary of %zu bytes, after %u puts, dict_get of %s, "
               "which was not stored, returns %s",
               m->size, m->puts, shown_key(c, t->at),
               a->letter == 'v' ? "a value" : "NULL with another errno");
        return;
    }
    EXPECT(a->letter == 'v', "the value that the key has",
           "in a dictionary of %zu bytes, after %u puts, dict_get of %s "
           "returns NULL; its value has %u bytes",
           m->size, m->puts, shown_key(c, t->at), length);
    EXPECT(a->length == length &&
               a->print == print_of(c->letters + m->from[t->at], length),
           "the value that the key has",
           "in a dictionary of %zu bytes, after %u puts, dict_get of %s "
           "returns another string, of %u bytes; its value has %u bytes",
           m->size, m->puts, shown_key(c, t->at), a->length, length);
}

/* Runs the script and compares with the model. */
HELPER void expect_script(struct script *c)
{
    struct model m[2];
    int id = make_segment(new_key(), SCRIPT_BYTES, 0600);
    struct subject *s = START(dict_script, INT("id", id), SHARE("script", c));

    finish(s);
    expect_return(s, "dict_init", 0);
    expect_return(s, "first put", 0);
    EXPECT(was_told(s, "end"), "dict_get and dict_put return",
           "the scenario did not get that far");
    for (unsigned i = 0; i < c->nsteps; i++) {
        const struct step *t = &c->step[i];
        struct model *now = &m[t->dict];
        if (t->kind == STEP_INIT) {
            clear_model(now, t->length);
            EXPECT(c->answer[i].letter == 'k', "dict_init returns 0",
                   "dict_init(seg, %u) fails", t->length);
        } else if (t->kind == STEP_PUT) {
            expect_put_answer(c, now, t, c->answer[i].letter);
        } else {
            expect_get_answer(c, now, t, &c->answer[i]);
        }
    }
}

/* Numbers that are the same at each run. */
HELPER unsigned draw(uint64_t *state, unsigned limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33) % limit;
}

/*
 * Adds puts of keys from first to end that all are promised to succeed: of
 * values that are empty or tiny, of any length, and as long as may be.
 */
HELPER void add_promised_puts(struct script *c, const size_t sizes[2],
                              unsigned first, unsigned end, unsigned puts,
                              uint64_t seed)
{
    struct model m[2];

    add_init(c, sizes[0], sizes[1]);
    clear_model(&m[0], sizes[0]);
    clear_model(&m[1], sizes[1]);
    for (unsigned i = 0; i < puts; i++) {
        int dict = (int)draw(&seed, 2);
        unsigned key = first + draw(&seed, end - first);
        size_t charge = charge_besides(c, &m[dict], key);
        size_t room = promised(sizes[dict]);
        if (charge > room)
            continue;
        room -= charge;
        if (room > SCRIPT_LETTERS - 1)
            room = SCRIPT_LETTERS - 1;
        unsigned kind = draw(&seed, 8);
        size_t length = kind == 0   ? room
                        : kind < 3  ? draw(&seed, 4)
                        : kind == 3 ? draw(&seed, (unsigned)room + 1)
                                    : draw(&seed, (unsigned)(room / 4) + 1);
        if (length > room)
            length = room;
        add_put(c, dict, key, length);
        m[dict].length[key] = (uint32_t)length;
        add_get(c, dict, key);
        add_get(c, 1 - dict, key);
    }
    add_gets(c, first, end);
}

/* Adds puts of which some succeed, until it is full or beyond; and then such
 * as make it less full again. */
HELPER void add_greedy_puts(struct script *c, const size_t sizes[2],
                            unsigned first, unsigned end, unsigned puts,
                            uint64_t seed)
{
    add_init(c, sizes[0], sizes[1]);
    for (unsigned i = 0; i < puts; i++) {
        int dict = (int)draw(&seed, 2);
        unsigned key = first + draw(&seed, end - first);
        size_t most = draw(&seed, 3) == 0 ? sizes[dict] : sizes[dict] / 8;
        add_put(c, dict, key, draw(&seed, (unsigned)most));
        add_get(c, dict, key);
        add_get(c, 1 - dict, key);
    }
    add_gets(c, first, end);
}

/* One entry, nearly as large as the dictionary, if that succeeds; then one of
 * half that size in its place. */
HELPER void add_large_puts(struct script *c, size_t size, unsigned key)
{
    size_t room =
        promised(size) - DICT_ENTRY_BYTES - strlen(c->key_text + c->key[key]);

    add_init(c, size, size);
    for (int dict = 0; dict < 2; dict++) {
        for (size_t less = 24; less < 120; less += 8)
            add_put(c, dict, key, size - DICT_HEAD_BYTES - less);
        add_put(c, dict, key, room);
        add_get(c, dict, key);
        add_put(c, dict, key, room - 1);
        add_put(c, dict, key, 0);
        add_get(c, dict, key);
        add_put(c, dict, key, room);
        add_get(c, dict, key);
    }
}

/* Each of the keys with an empty value, as many as are promised; then longer
 * ones for the first of them. */
HELPER void add_tiny_puts(struct script *c, const size_t sizes[2],
                          unsigned first, unsigned end)
{
    struct model m[2];

    add_init(c, sizes[0], sizes[1]);
    for (int dict = 0; dict < 2; dict++) {
        clear_model(&m[dict], sizes[dict]);
        for (unsigned k = first; k < end; k++) {
            if (charge_besides(c, &m[dict], k) > promised(sizes[dict]))
                break;
            add_put(c, dict, k, 0);
            m[dict].length[k] = 0;
        }
    }
    add_gets(c, first, end);
}

TEST(dictionary, put_succeeds_while_at_most_half_is_charged)
{
    struct script *c = new_script();
    unsigned puts = under_valgrind() ? 40 : 150;
    char long_key[66000];

    for (unsigned char byte = 1; byte != 0; byte++)
        add_key(c, &byte, 1);
    fill_letters(long_key, sizeof(long_key) - 1);
    unsigned longest = add_key(c, long_key, 66000 - 1);
    add_key(c, "another", 7);
    unsigned end = add_key(c, long_key, 300) + 1;

    add_tiny_puts(c, (size_t[]){8192 + 10240, 1000}, 0, 255);
    add_tiny_puts(c, (size_t[]){DICT_MIN_BYTES, 4096}, 0, 255);
    add_large_puts(c, DICT_MIN_BYTES, 'a');
    add_large_puts(c, 4096, 'a');
    add_promised_puts(c, (size_t[]){DICT_MIN_BYTES, 4096}, 10, 20, puts, 1);
    add_promised_puts(c, (size_t[]){4096, DICT_MIN_BYTES + 1}, 30, 40, puts, 2);
    add_promised_puts(c, (size_t[]){1003, 512}, 50, 60, puts, 3);
    add_promised_puts(c, (size_t[]){65536, 2055}, 200, 220, puts, 4);
    add_greedy_puts(c, (size_t[]){1000, 300}, 70, 75, puts, 5);
    add_greedy_puts(c, (size_t[]){4096, 16384}, 80, 110, puts, 6);
    add_promised_puts(c, (size_t[]){(1 << 20) + 8192, 300000}, longest, end, 20,
                      7);
    expect_script(c);
}

/* Keys that begin alike, the longest first and the shortest first. */
#define ALIKE 6
KIT_UNUSED static const char *const alike[ALIKE] = {"abc", "ab", "a",
                                                    "x",   "xy", "xyz"};

#define PUT(key) CALL("put " key, dict_put(seg, key, given_str(key)))
#define GET(key) \
    tell_value(key, CALL_PTR("get " key, dict_get(seg, key)), seg, size)

SCENARIO(dict_replaces)
{
    size_t size = (size_t)given_int("size");
    void *seg = attach((int)given_int("id"), 0);
    const char *longer = given_str("longer");
    const char *shorter = given_str("shorter");

    CALL("dict_init", dict_init(seg, size));
    PUT("abc");
    PUT("ab");
    PUT("a");
    PUT("x");
    PUT("xy");
    PUT("xyz");
    CALL("longer ab", dict_put(seg, "ab", longer));
    CALL("shorter xy", dict_put(seg, "xy", shorter));
    GET("abc");
    GET("ab");
    GET("a");
    GET("x");
    GET("xy");
    GET("xyz");
    shmdt(seg);
}

/* Keys that are no more than similar: in the case of letters, at the end of
 * many bytes, by a sum of their bytes, in the high bit of one. */
HELPER void keep_similar_keys_apart(void)
{
    static const char *const similar[] = {"Key",
                                          "key",
                                          "kEY",
                                          "KEY",
                                          "Aa",
                                          "BB",
                                          "AaAa",
                                          "BBBB",
                                          "AaBB",
                                          "ab",
                                          "ba",
                                          "gr\xc3\xb6\xc3\x9f"
                                          "e",
                                          "gr\xc3\xb6\xc3\x9e"
                                          "e",
                                          "grC6C\x1f"
                                          "e",
                                          " ",
                                          "  ",
                                          "\n",
                                          "0",
                                          "00"};
    struct script *c = new_script();
    char long_key[1000];
    unsigned n = 0;

    for (; n < sizeof(similar) / sizeof(similar[0]); n++)
        add_key(c, similar[n], strlen(similar[n]));
    fill_letters(long_key, sizeof(long_key) - 1);
    for (size_t length = 16; length < sizeof(long_key); length *= 2) {
        for (int i = 0; i < 2; i++, n++) {
            long_key[length - 1] = (char)('x' + i);
            add_key(c, long_key, length);
        }
    }
    add_init(c, 16384, 16384);
    for (unsigned k = 0; k < n; k++)
        add_put(c, k % 2, k, 10 + k);
    add_gets(c, 0, n);
    for (unsigned k = 0; k < n; k++)
        add_put(c, 0, k, k % 3 == 0 ? 0 : 20 + k);
    add_gets(c, 0, n);
    expect_script(c);
}

TEST(dictionary, new_value_replaces_the_old_one_and_no_other)
{
    char values[ALIKE][41];
    char longer[91];
    char shorter[6];
    char name[32];
    int id = make_segment(new_key(), 4096, 0600);

    for (int k = 0; k < ALIKE; k++)
        fill_letters(values[k], 40);
    fill_letters(longer, 90);
    fill_letters(shorter, 5);
    struct subject *s =
        START(dict_replaces, INT("id", id), INT("size", 4096),
              STR("abc", values[0]), STR("ab", values[1]), STR("a", values[2]),
              STR("x", values[3]), STR("xy", values[4]), STR("xyz", values[5]),
              STR("longer", longer), STR("shorter", shorter));
    finish(s);
    expect_return(s, "dict_init", 0);
    for (int k = 0; k < ALIKE; k++) {
        snprintf(name, sizeof(name), "put %s", alike[k]);
        expect_return(s, name, 0);
    }
    expect_return(s, "longer ab", 0);
    expect_return(s, "shorter xy", 0);
    for (int k = 0; k < ALIKE; k++) {
        snprintf(name, sizeof(name), "get %s", alike[k]);
        expect_value(s, name, alike[k],
                     k == 1   ? longer
                     : k == 4 ? shorter
                              : values[k]);
    }
    keep_similar_keys_apart();
}

/* The i-th key and the i-th value of the tests that fill a dictionary. */
#define FULL_SIZE   4096
#define VALUE_BYTES 40

HELPER void nth_key(char key[8], unsigned i)
{
    snprintf(key, 8, "k%04u", i % 10000u);
}

SCENARIO(dict_fills)
{
    void *seg = attach_before_a_wall((int)given_int("id"), FULL_SIZE);
    const char *letters = given_str("letters");
    char *found = calloc(256, VALUE_BYTES + 1); /* "": NULL */
    char value[VALUE_BYTES + 1] = "";
    char key[8];
    unsigned n = 0;

    CALL("dict_init", dict_init(seg, FULL_SIZE));
    for (n = 0; n < 256; n++) {
        nth_key(key, n);
        memcpy(value, letters + n, VALUE_BYTES);
        if (CALL("put", dict_put(seg, key, value)) == -1)
            break;
    }
    tell_int("stored", n);
    CALL("too long", dict_put(seg, "k0000", given_str("too long")));
    for (unsigned i = 0; i < n; i++) {
        nth_key(key, i);
        const char *got = dict_get(seg, key);
        if (got != NULL)
            snprintf(found + (size_t)i * (VALUE_BYTES + 1), VALUE_BYTES + 1,
                     "%s", got[0] == '\0' ? "(an empty string)" : got);
    }
    tell_bytes("found", found, 256 * (VALUE_BYTES + 1));
    free(found);
    shmdt(seg);
}

/* Fills a dictionary and returns how many entries it took. */
HELPER unsigned fill_dictionary(struct subject *s)
{
    unsigned least = (FULL_SIZE - DICT_HEAD_BYTES) / 2 /
                     (5 + VALUE_BYTES + DICT_ENTRY_BYTES);

    finish(s);
    expect_return(s, "dict_init", 0);
    expect_error(s, "put", ENOSPC);
    long long stored = got_int(s, "stored");
    EXPECT(stored >= least, "room for what the header promises",
           "ENOSPC after %lld entries; there must be room for %u", stored,
           least);
    EXPECT(stored * VALUE_BYTES <= FULL_SIZE,
           "no more entries than fit into the segment",
           "%lld entries are said to be in %d bytes", stored, FULL_SIZE);
    return (unsigned)stored;
}

TEST(dictionary, full_dictionary_says_enospc_and_keeps_every_value)
{
    char letters[256 + VALUE_BYTES + 1];
    char too_long[FULL_SIZE + 1];
    int id = make_segment(new_key(), FULL_SIZE, 0600);
    size_t size;

    fill_letters(letters, sizeof(letters) - 1);
    fill_letters(too_long, sizeof(too_long) - 1);
    struct subject *s =
        START(dict_fills, INT("id", id), STR("letters", letters),
              STR("too long", too_long));
    unsigned stored = fill_dictionary(s);
    expect_error(s, "too long", ENOSPC);
    const char *found = got_bytes(s, "found", &size);
    REQUIRE(size == 256 * (VALUE_BYTES + 1));
    for (unsigned i = 0; i < stored; i++, found += VALUE_BYTES + 1) {
        char key[8];
        nth_key(key, i);
        EXPECT(memcmp(found, letters + i, VALUE_BYTES) == 0,
               "every key keeps its value when a put fails with ENOSPC",
               "\"%s\" had the value \"%.*s\"; after dict_put of too long a "
               "value for \"k0000\" dict_get(seg, \"%s\") returns %s%.*s%s",
               key, VALUE_BYTES, letters + i, key,
               found[0] == '\0' ? "NULL" : "\"", VALUE_BYTES, found,
               found[0] == '\0' ? "" : "\"");
    }
}

SCENARIO(dict_to_the_last_byte)
{
    size_t size = (size_t)given_int("size");
    char *seg = attach((int)given_int("id"), 0);
    char value[VALUE_BYTES + 1];
    char key[8];
    unsigned n = 0;

    CALL("dict_init", dict_init(seg, size));
    for (size_t length = VALUE_BYTES; length > 0; length--) {
        memset(value, 'x', length);
        value[length] = '\0';
        for (; n < 256; n++) {
            nth_key(key, n);
            if (CALL("put", dict_put(seg, key, value)) == -1)
                break;
        }
    }
    tell_int("stored", n);
    shmdt(seg);
}

TEST(dictionary, it_keeps_to_the_bytes_it_was_given)
{
    unsigned char canary[4096];
    int id = make_segment(new_key(), sizeof(canary), 0600);
    unsigned char *p = look(id);

    /* No byte of it is one that a string is made of, or ends with. */
    fill_random(canary, sizeof(canary));
    for (size_t i = 0; i < sizeof(canary); i++)
        canary[i] |= 0x80;
    for (size_t size = 1000; size < 1072; size += 9) {
        memcpy(p, canary, sizeof(canary));
        struct subject *s =
            START(dict_to_the_last_byte, INT("id", id), INT("size", size));
        finish(s);
        expect_return(s, "dict_init", 0);
        for (size_t i = size; i < sizeof(canary); i++)
            EXPECT(p[i] == canary[i],
                   "no byte behind the dictionary's own was written",
                   "dict_init was given %zu bytes, byte %zu was changed", size,
                   i);
        expect_error(s, "put", ENOSPC);
    }
    shmdt(p);
}

SCENARIO(dict_replaces_often)
{
    size_t size = (size_t)given_int("size");
    void *seg = attach((int)given_int("id"), 0);
    char value[VALUE_BYTES + 1] = "";
    int rounds = 0;

    CALL("dict_init", dict_init(seg, size));
    CALL("put", dict_put(seg, "steady", given_str("steady")));
    for (rounds = 0; rounds < 500; rounds++) {
        size_t length = (size_t)(rounds * 7 % VALUE_BYTES);
        memset(value, 'x', length);
        value[length] = '\0';
        if (CALL("replace", dict_put(seg, "moving", value)) == -1)
            break;
    }
    tell_int("rounds", rounds);
    tell_value("steady", CALL_PTR("get", dict_get(seg, "steady")), seg, size);
    shmdt(seg);
}

TEST(dictionary, replacing_a_value_500_times_uses_no_room_up)
{
    char steady[VALUE_BYTES + 1];
    int id = make_segment(new_key(), 1024, 0600);

    fill_letters(steady, VALUE_BYTES);
    struct subject *s = START(dict_replaces_often, INT("id", id),
                              INT("size", 1024), STR("steady", steady));
    finish(s);
    expect_return(s, "dict_init", 0);
    expect_return(s, "put", 0);
    expect_return(s, "replace", 0);
    expect_int(s, "rounds", 500);
    expect_value(s, "get", "steady", steady);
}

SCENARIO(dict_without_init)
{
    void *seg = attach((int)given_int("id"), 0);

    CALL("too small", dict_init(seg, DICT_MIN_BYTES - 1));
    CALL("put", dict_put(seg, "key", "value"));
    CALL_PTR("get", dict_get(seg, "key"));
    shmdt(seg);
}

TEST(dictionary, bytes_that_are_no_dictionary_are_refused_and_left_alone)
{
    unsigned char bytes[4096] = {0};

    for (int filled = 0; filled < 2; filled++) {
        int id = make_segment(new_key(), sizeof(bytes), 0600);
        if (filled)
            fill_random(bytes, sizeof(bytes));
        put_bytes(id, bytes, sizeof(bytes));
        struct subject *s = START(dict_without_init, INT("id", id));
        finish(s);
        expect_error(s, "too small", EINVAL);
        expect_error(s, "put", EINVAL);
        expect_error(s, "get", EINVAL);
        void *p = look(id);
        EXPECT(memcmp(p, bytes, sizeof(bytes)) == 0,
               "the bytes are left as they were", "some were changed");
        shmdt(p);
    }
}

#define DAMAGED_SIZE 65536

SCENARIO(dict_damaged)
{
    void *seg = attach_before_a_wall((int)given_int("id"), DAMAGED_SIZE);
    const char *value = given_str("value");

    CALL("dict_init", dict_init(seg, DAMAGED_SIZE));
    CALL("put 1", dict_put(seg, "first", value));
    CALL("put 2", dict_put(seg, "second", value));
    CALL("put 3", dict_put(seg, "third", value));
    wait_for("damage");
    tell_value("value", CALL_PTR("get", dict_get(seg, "third")), seg,
               DAMAGED_SIZE);
    CALL("put 4", dict_put(seg, "fourth", value));
    reached("end");
    shmdt(seg);
}

/*
 * The sweep: one damage at a time, each to a dictionary that was good.  Either
 * one aligned word is changed, or two that follow each other so that their sum
 * stays, or everything from some byte to the end.  The records are of equal
 * size, so that a size made negative leads from one to the start of another.
 * A small dictionary is filled to its last byte first, before the wall.
 */
#define SWEEP_SIZE  4096
#define SWEEP_SMALL 640
#define SWEEP_KEYS  4 /* "swept-0" to "swept-3" */
#define SWEEP_MOST  32768
#define CANARY_BYTE 0xa5

enum damage {
    WORD_IS_0,
    WORD_IS_ALL_ONES,
    WORD_IS_NEGATED,
    WORD_IS_ONE_MORE,
    /* and all behind the next word is overwritten: */
    WORDS_CANCEL,
    WORD_IS_MINUS_2,
    /* in a full dictionary, with one more byte at its end changed: */
    WORD_IS_ONE_MORE_AT_END,
    WORD_IS_MINUS_2_AT_END,
    WORD_IS_8_LESS_AT_END,
    WORD_IS_4_LESS_AT_END,
    WORD_DAMAGES,
    TAIL_OVERWRITTEN = WORD_DAMAGES
};

/* What a call did.  'v': a string inside the dictionary, 'o': a pointer to
 * something that does not lie or end in it, 'k': 0; else errno: 'n' ENOENT,
 * 'i' EINVAL, 's' ENOSPC, '?' another one. */
struct trial {
    uint16_t offset;
    uint8_t width;
    uint8_t damage;
    char get[SWEEP_KEYS];
    char get_absent; /* "swept-x" */
    char put_absent;
    char got_absent; /* after the put */
    char get_again;  /* "swept-2" */
    char put_again;
    char got_again;
    char get_long;
};

struct sweep {
    unsigned trials;
    struct trial trial[SWEEP_MOST];
};

HELPER char try_get(const char *seg, size_t size, const char *key)
{
    errno = 0;
    const char *value = dict_get(seg, key);

    if (value == NULL)
        return errno_letter();
    if (value < seg || value >= seg + size ||
        memchr(value, '\0', (size_t)(seg + size - value)) == NULL)
        return 'o';
    return 'v';
}

HELPER char try_put(char *seg, const char *key, const char *value)
{
    errno = 0;
    return dict_put(seg, key, value) == 0 ? 'k' : errno_letter();
}

HELPER void damage_word(char *word, size_t width, enum damage damage)
{
    uint64_t n = 0;

    memcpy(&n, word, width); /* the kit runs on little-endian machines */
    n = damage == WORD_IS_0          ? 0
        : damage == WORD_IS_ALL_ONES ? ~(uint64_t)0
        : damage == WORD_IS_NEGATED  ? -n
                                     : n + 1;
    memcpy(word, &n, width);
}

HELPER void add_to_word(char *word, size_t width, uint64_t more)
{
    uint64_t n = 0;

    memcpy(&n, word, width);
    n += more;
    memcpy(word, &n, width);
}

/* Does the damage to the dictionary's bytes from this one on; false if there
 * are too few of them. */
HELPER bool damage(char *at, size_t left, size_t width, enum damage damage)
{
    uint64_t minus_2 = ~(uint64_t)1;
    size_t less = damage == WORD_IS_8_LESS_AT_END   ? 8
                  : damage == WORD_IS_4_LESS_AT_END ? 4
                                                    : 0;

    if (damage == TAIL_OVERWRITTEN) {
        memset(at, 'b', left);
        return true;
    }
    if (left < 2 * width + less)
        return damage < WORDS_CANCEL && (damage_word(at, width, damage), true);
    if (damage == WORDS_CANCEL) {
        add_to_word(at, width, left + 512); /* leads behind the wall */
        add_to_word(at + width, width, -(uint64_t)(left + 512));
        memset(at + 2 * width, 'b', left - 2 * width);
    } else if (damage == WORD_IS_MINUS_2) {
        memcpy(at, &minus_2, width);
        memset(at + 2 * width, 'b', left - 2 * width);
    } else if (damage == WORD_IS_ONE_MORE_AT_END) {
        add_to_word(at, width, 1);
        at[left - 1] = 'b';
    } else if (damage == WORD_IS_MINUS_2_AT_END) {
        memcpy(at, &minus_2, width);
        at[left - 1] = 'b';
    } else if (less > 0) {
        add_to_word(at, width, -(uint64_t)less);
        at[left - 1 - less] = '\0';
    } else {
        damage_word(at, width, damage);
    }
    return true;
}

/* Puts values until not one byte more goes in: shorter and shorter ones, then
 * the last one as long as it can be. */
HELPER void fill_up(char *seg, const char *value)
{
    char text[SWEEP_SMALL];
    char key[8] = "fill-00";
    int n = 0;

    for (size_t from = 0; from <= strlen(value); from++) {
        while (n < 100 && dict_put(seg, key, value + from) == 0) {
            n++;
            key[5] = (char)('0' + n / 10 % 10);
            key[6] = (char)('0' + n % 10);
        }
    }
    key[5] = (char)('0' + (n + 99) / 10 % 10);
    key[6] = (char)('0' + (n + 99) % 10);
    memset(text, 'x', sizeof(text));
    for (size_t length = sizeof(text) - 1; n > 0 && length > 0; length--) {
        text[length] = '\0';
        if (dict_put(seg, key, text) == 0)
            break;
    }
}

/* Calls the dictionary's functions once the damage is done. */
HELPER void try_all(char *seg, size_t dict_size, const char *long_key,
                    struct trial *t)
{
    char key[8] = "swept-?";

    for (int k = 0; k < SWEEP_KEYS; k++) {
        key[6] = (char)('0' + k);
        t->get[k] = try_get(seg, dict_size, key);
    }
    if (t->damage == TAIL_OVERWRITTEN)
        t->get_long = try_get(seg, dict_size, long_key);
    t->get_absent = try_get(seg, dict_size, "swept-x");
    t->put_absent = try_put(seg, "swept-x", "one more value");
    t->got_absent = try_get(seg, dict_size, "swept-x");
    t->get_again = try_get(seg, dict_size, "swept-2");
    t->put_again = try_put(seg, "swept-2", "another value for it, longer");
    t->got_again = try_get(seg, dict_size, "swept-2");
}

SCENARIO(dict_swept)
{
    size_t dict_size = (size_t)given_int("dict_size");
    char *base = attach_before_a_wall((int)given_int("id"), SWEEP_SIZE);
    char *seg = base + SWEEP_SIZE - dict_size;
    size_t step = (size_t)given_int("step");
    const char *value = given_str("value");
    size_t size;
    struct sweep *sweep = given_shared("sweep", &size);
    unsigned char *good = malloc(SWEEP_SIZE);
    char *long_key = malloc(SWEEP_SIZE + 100);

    memset(long_key, 'b', SWEEP_SIZE + 99);
    long_key[SWEEP_SIZE + 99] = '\0';
    CALL("dict_init", dict_init(seg, dict_size));
    CALL("put 0", dict_put(seg, "swept-0", value));
    CALL("put 1", dict_put(seg, "swept-1", value));
    CALL("put 2", dict_put(seg, "swept-2", value));
    CALL("put 3", dict_put(seg, "swept-3", value));
    wait_for("sweep");
    if (dict_size < SWEEP_SIZE)
        fill_up(seg, value);
    memcpy(good, seg, dict_size);
    size_t turn = 0;
    for (size_t width = 8; width >= 1; width /= 2) {
        for (size_t at = DICT_HEAD_BYTES; at + width <= dict_size;
             at += width) {
            size_t unused = 0;
            while (unused < width && good[at + unused] == CANARY_BYTE)
                unused++;
            if (unused == width || turn++ % step != 0)
                continue;
            /* Width 1 stands for all from here to the end. */
            for (int d = width == 1 ? TAIL_OVERWRITTEN : 0;
                 d < (width == 1 ? TAIL_OVERWRITTEN + 1 : WORD_DAMAGES); d++) {
                if (sweep->trials == SWEEP_MOST)
                    break;
                struct trial *t = &sweep->trial[sweep->trials];
                t->offset = (uint16_t)at;
                t->width = (uint8_t)width;
                t->damage = (uint8_t)d;
                if (d > WORD_IS_MINUS_2 && d < TAIL_OVERWRITTEN &&
                    dict_size == SWEEP_SIZE)
                    continue;
                memcpy(seg, good, dict_size);
                if (!damage(seg + at, dict_size - at, width, (enum damage)d))
                    continue;
                try_all(seg, dict_size, long_key, t);
                sweep->trials++;
            }
        }
    }
    free(good);
    free(long_key);
    reached("end");
    shmdt(base);
}

#define A_STRING_INSIDE                                             \
    "a string that ends inside the dictionary, or NULL with errno " \
    "EINVAL or ENOENT"

/* The damage in words. */
HELPER const char *damage_of(const struct trial *t)
{
    static const char *const damages[] = {
        [WORD_IS_0] = "set to 0",
        [WORD_IS_ALL_ONES] = "set to all ones",
        [WORD_IS_NEGATED] = "made negative",
        [WORD_IS_ONE_MORE] = "made 1 more",
        [WORDS_CANCEL] = "made much more, the next as much less, the rest 'b'",
        [WORD_IS_MINUS_2] = "set to -2, and all behind the next is 'b'",
        [WORD_IS_ONE_MORE_AT_END] =
            "made 1 more, and the dictionary's last byte is 'b'",
        [WORD_IS_MINUS_2_AT_END] =
            "set to -2, and the dictionary's last byte is 'b'",
        [WORD_IS_8_LESS_AT_END] =
            "made 8 less, so that a record may begin 8 bytes before the end",
        [WORD_IS_4_LESS_AT_END] =
            "made 4 less, so that a record may begin 4 bytes before the end"};
    static char text[160];

    if (t->damage == TAIL_OVERWRITTEN)
        snprintf(text, sizeof(text),
                 "every byte from byte %u of the dictionary to its end is "
                 "overwritten with 'b'",
                 t->offset);
    else
        snprintf(text, sizeof(text),
                 "the %u bytes at byte %u of the dictionary are %s", t->width,
                 t->offset, damages[t->damage]);
    return text;
}

HELPER void expect_get(const struct trial *t, const char *key, char seen)
{
    EXPECT(strchr("vni", seen) != NULL, A_STRING_INSIDE,
           "when %s, dict_get(seg, \"%s\") returns %s", damage_of(t), key,
           seen == 'o' ? "a pointer to what does not lie or end inside"
                       : "NULL with another errno");
}

HELPER void expect_put(const struct trial *t, const char *key, char before,
                       char put, char after)
{
    EXPECT(strchr("kis", put) != NULL, "0, or -1 with errno EINVAL or ENOSPC",
           "when %s, dict_put(seg, \"%s\", ...) returns -1 with another errno",
           damage_of(t), key);
    EXPECT(
        before != 'i' || put != 'k' || after != 'i',
        "dict_put returns -1 with errno EINVAL where its search meets damage",
        "when %s, dict_put(seg, \"%s\", ...) returns 0, and dict_get of that "
        "key fails with EINVAL before and after it",
        damage_of(t), key);
}

HELPER void expect_trials(const struct sweep *sweep)
{
    char key[8] = "swept-?";

    for (unsigned i = 0; i < sweep->trials; i++) {
        const struct trial *t = &sweep->trial[i];
        for (int k = 0; k < SWEEP_KEYS; k++) {
            key[6] = (char)('0' + k);
            expect_get(t, key, t->get[k]);
        }
        if (t->damage == TAIL_OVERWRITTEN)
            expect_get(t, "bbbb... (longer than the dictionary)", t->get_long);
        expect_get(t, "swept-x", t->get_absent);
        expect_put(t, "swept-x", t->get_absent, t->put_absent, t->got_absent);
        expect_get(t, "swept-x", t->got_absent);
        expect_get(t, "swept-2", t->get_again);
        expect_put(t, "swept-2", t->get_again, t->put_again, t->got_again);
        expect_get(t, "swept-2", t->got_again);
    }
}

HELPER void sweep_a_dictionary(size_t dict_size)
{
    unsigned char canary[SWEEP_SIZE];
    char value[24];
    int id = make_segment(new_key(), SWEEP_SIZE, 0600);
    struct sweep *sweep = new_shared(sizeof(*sweep));

    fill_letters(value, 23);
    memset(canary, CANARY_BYTE, sizeof(canary));
    put_bytes(id, canary, sizeof(canary));
    struct subject *s =
        START(dict_swept, INT("id", id), INT("dict_size", dict_size),
              INT("step", under_valgrind() ? 5 : 1), STR("value", value),
              SHARE("sweep", sweep));
    await(s, "put 3");
    expect_return(s, "dict_init", 0);
    expect_return(s, "put 0", 0);
    expect_return(s, "put 1", 0);
    expect_return(s, "put 2", 0);
    expect_return(s, "put 3", 0);
    let_go(s, "sweep");
    finish(s);
    EXPECT(was_told(s, "end"), "dict_get and dict_put return",
           "the scenario did not get that far");
    EXPECT(sweep->trials > 0, "entries behind the dictionary's head",
           "no byte behind the first %d was written by four puts",
           DICT_HEAD_BYTES);
    expect_trials(sweep);
}

TEST(dictionary, damage_is_noticed_before_it_is_followed)
{
    const int patterns[] = {0xff, 0x00, 0x01, 0x40};
    char value[201];
    int id = make_segment(new_key(), DAMAGED_SIZE, 0600);
    char *p = look(id);

    fill_letters(value, 200);
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct subject *s =
            START(dict_damaged, INT("id", id), STR("value", value));
        await(s, "put 3");
        expect_return(s, "dict_init", 0);
        expect_return(s, "put 3", 0);
        memset(p + DICT_HEAD_BYTES, patterns[i],
               DAMAGED_SIZE - DICT_HEAD_BYTES);
        let_go(s, "damage");
        finish(s);
        EXPECT(was_told(s, "end"), "dict_get and dict_put return",
               "the scenario did not get that far");
        if (was_told(s, "value") || got_errno(s, "get") == ENOENT)
            continue; /* what it found lies inside, or it found nothing */
        EXPECT(!was_told(s, "value lies outside"),
               "NULL, or a string that ends inside the dictionary",
               "a pointer %lld bytes from the segment's start",
               got_int(s, "value lies outside"));
        expect_error(s, "get", EINVAL);
    }
    shmdt(p);
    sweep_a_dictionary(SWEEP_SIZE);
    sweep_a_dictionary(SWEEP_SMALL);
}

/* ------------------------------------------------------------------------
 * Group tools
 */

#define MADE 5 /* segments that these tests make */

/* Lists all, and tells those entries whose ids were given. */
SCENARIO(list_all)
{
    size_t cap = 8192;
    struct seg_info *out = calloc(cap, sizeof(*out));
    ssize_t n = CALL("seg_list", seg_list(out, cap));
    char name[32];
    int ids[MADE];

    for (int k = 0; k < MADE; k++) {
        snprintf(name, sizeof(name), "%d", k);
        ids[k] = (int)given_int(name);
    }
    for (int k = 0; k < MADE; k++) {
        int times = 0;
        for (ssize_t i = 0; i < n && i < (ssize_t)cap; i++) {
            if (out[i].id != ids[k])
                continue;
            snprintf(name, sizeof(name), "entry %d", k);
            tell_bytes(name, &out[i], sizeof(out[i]));
            times++;
        }
        snprintf(name, sizeof(name), "times %d", k);
        tell_int(name, times);
    }
    CALL("count alone", seg_list(NULL, 0));
    free(out);
}

/*
 * In a table that was never used, a segment's id is the number of its slot.
 * Makes and destroys segments until that is past.
 */
HELPER void use_the_table_once(void)
{
    int id = 0;

    for (int tries = 0; tries < 20000 && id < 0x8000; tries++) {
        id = shmget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
        REQUIRE(id != -1 && shmctl(id, IPC_RMID, NULL) == 0);
    }
}

/*
 * Makes segments of several kinds, one of another user, with a free slot
 * between them in the kernel's table.  Of the first, one mapping is attached,
 * and returned.
 */
HELPER void *make_several(int ids[MADE])
{
    int modes[MADE] = {0600, 0644, 0600, 0660, 0400};
    int hole;

    use_the_table_once();
    ids[0] = make_segment(new_key(), 1000, modes[0]);
    ids[1] = make_segment(IPC_PRIVATE, 2000 + random_below(99), modes[1]);
    give_away(ids[1]);
    hole = make_segment(new_key(), 500, 0600);
    for (int k = 2; k < MADE; k++)
        ids[k] = make_segment(new_key(), 3000 + random_below(9999), modes[k]);
    REQUIRE(shmctl(hole, IPC_RMID, NULL) == 0);
    return look(ids[0]);
}

#define GIVE_IDS(ids)                                                       \
    INT("0", ids[0]), INT("1", ids[1]), INT("2", ids[2]), INT("3", ids[3]), \
        INT("4", ids[4])

/* Entry k of the list: once, and as the kernel says. */
HELPER void expect_listed(struct subject *s, int k, int id)
{
    char name[32];
    struct row r;

    snprintf(name, sizeof(name), "times %d", k);
    REQUIRE(find_segment(id, &r));
    EXPECT(got_int(s, name) == 1, "every segment in the list, once",
           "segment %d (mode %04o, %lu attached) is in it %lld times", id,
           r.perms & 0777u, r.attached, got_int(s, name));
    snprintf(name, sizeof(name), "entry %d", k);
    struct seg_info info = told_info(s, name);
    expect_info(&info, &r);
}

TEST(tools, list_shows_every_segment_once)
{
    int ids[MADE];
    void *p = make_several(ids);
    struct subject *s = START(list_all, GIVE_IDS(ids));

    finish(s);
    expect_at_least(s, "seg_list", MADE);
    for (int k = 0; k < MADE; k++)
        expect_listed(s, k, ids[k]);
    expect_nothing_left(s);
    /* The first is attached: now it is marked, and lives on. */
    REQUIRE(shmctl(ids[0], IPC_RMID, NULL) == 0);
    s = START(list_all, GIVE_IDS(ids));
    finish(s);
    expect_at_least(s, "seg_list", 0);
    expect_listed(s, 0, ids[0]);
    shmdt(p);
}

TEST(tools, list_shows_a_segment_that_nobody_may_read)
{
    int ids[MADE];

    for (int k = 0; k < MADE; k++)
        ids[k] = make_segment(new_key(), 100 + (size_t)k, k == 2 ? 0 : 0600);
    struct subject *s = START(list_all, GIVE_IDS(ids), NOTHING_READABLE);
    finish(s);
    expect_at_least(s, "seg_list", 0);
    expect_listed(s, 2, ids[2]);
    for (int k = 0; k < MADE; k++)
        expect_listed(s, k, ids[k]);
}

TEST(tools, list_goes_on_when_a_segment_is_gone_meanwhile)
{
    int ids[MADE];
    void *p = make_several(ids);
    int missing = 0;
    struct subject *s = START(
        list_all, GIVE_IDS(ids), FAIL_WHEN("shmctl", 1, SHM_STAT, 2, 1, EIDRM),
        FAIL_WHEN("shmctl", 1, SHM_STAT_ANY, 2, 1, EIDRM));

    finish(s);
    expect_at_least(s, "seg_list", MADE - 1);
    for (int k = 0; k < MADE; k++) {
        char name[32];
        snprintf(name, sizeof(name), "times %d", k);
        missing += got_int(s, name) == 0;
    }
    EXPECT(missing <= 1, "the others are listed",
           "one segment went away, %d are not in the list", missing);
    shmdt(p);
}

/*
 * Lists until no other program has made or destroyed a segment meanwhile, as
 * far as can be seen; five times if the count is wrong all the same.  Returns
 * how many segments there are.
 */
HELPER long long list_in_peace(struct subject **s, const int ids[MADE])
{
    struct census before = {.count = 0};
    int wrong = 0;

    for (int tries = 0; tries < 50 && wrong < 5; tries++) {
        before = segments_now();
        *s = START(list_all, GIVE_IDS(ids));
        finish(*s);
        if (segments_now().print != before.print)
            continue;
        if (got_int(*s, "seg_list") == before.count &&
            got_int(*s, "count alone") == before.count)
            break;
        wrong++;
    }
    return before.count;
}

TEST(tools, list_counts_the_segments_and_not_the_slots)
{
    int ids[MADE];
    void *p = make_several(ids);
    struct subject *s;
    long long right = list_in_peace(&s, ids);

    expect_at_least(s, "seg_list", MADE);
    expect_at_least(s, "count alone", MADE);
    long long all = got_int(s, "seg_list");
    long long alone = got_int(s, "count alone");
    EXPECT(all == right, "the number of segments that there are",
           "there are %lld segments, seg_list(out, 8192) returned %lld", right,
           all);
    EXPECT(alone == right, "the number of segments that there are",
           "there are %lld segments, seg_list(NULL, 0) returned %lld", right,
           alone);
    shmdt(p);
}

SCENARIO(list_few)
{
    struct seg_info out[MADE];

    memset(out, 0x5a, sizeof(out));
    CALL("seg_list", seg_list(out, 2));
    tell_bytes("out", out, sizeof(out));
}

TEST(tools, list_writes_at_most_cap_entries)
{
    int ids[MADE];
    void *p = make_several(ids);
    struct seg_info out[MADE];
    struct seg_info untouched;
    struct subject *s = START(list_few, NOTHING);

    finish(s);
    expect_at_least(s, "seg_list", MADE);
    got_copy(s, "out", out, sizeof(out));
    memset(&untouched, 0x5a, sizeof(untouched));
    for (int i = 2; i < MADE; i++)
        EXPECT(memcmp(&out[i], &untouched, sizeof(untouched)) == 0,
               "with cap 2, no more than 2 entries are written",
               "entry %d was written", i);
    for (int i = 0; i < 2; i++)
        EXPECT(memcmp(&out[i], &untouched, sizeof(untouched)) != 0,
               "with cap 2, 2 entries are written", "entry %d was not", i);
    EXPECT(out[0].id != out[1].id, "with cap 2, 2 segments are in the list",
           "segment %d is in it twice", out[0].id);
    shmdt(p);
}

SCENARIO(reap)
{
    uid_t owner = (uid_t)given_int("owner");

    CALL("seg_reap", seg_reap(owner));
}

TEST(tools, reap_destroys_the_owners_orphans_and_counts_them)
{
    int ids[3];

    for (int k = 0; k < 3; k++)
        ids[k] = make_segment(k == 1 ? IPC_PRIVATE : new_key(), 4096, 0600);
    struct subject *s = START(reap, INT("owner", geteuid()));
    finish(s);
    expect_at_least(s, "seg_reap", 0);
    for (int k = 0; k < 3; k++)
        EXPECT(!segment_exists(ids[k]), "the owner's 3 orphans are destroyed",
               "segment %d is still there", ids[k]);
    expect_return(s, "seg_reap", 3);
    /* One that this user has made and given to another. */
    int given = make_segment(new_key(), 4096, 0600);
    uid_t other = give_away(given);
    s = START(reap, INT("owner", other));
    finish(s);
    EXPECT(!segment_exists(given), "the owner's orphan is destroyed",
           "segment %d of user %u is still there: its creator called "
           "seg_reap(%u)",
           given, (unsigned)other, (unsigned)other);
    expect_return(s, "seg_reap", 1);
}

TEST(tools, reap_spares_what_is_attached)
{
    int used = make_segment(new_key(), 4096, 0600);
    int orphan = make_segment(new_key(), 4096, 0600);
    void *p = look(used);
    struct row r;
    struct subject *s = START(reap, INT("owner", geteuid()));

    finish(s);
    expect_at_least(s, "seg_reap", 0);
    EXPECT(find_segment(used, &r) && (r.perms & SHM_DEST) == 0,
           "a segment that somebody is attached to is left alone",
           "segment %d was destroyed or marked, with 1 attached", used);
    EXPECT(!segment_exists(orphan), "the orphan is destroyed",
           "segment %d is still there", orphan);
    expect_return(s, "seg_reap", 1);
    shmdt(p);
}

HELPER void reap_nothing_of(uid_t owner, int id, uid_t its_owner)
{
    struct subject *s = START(reap, INT("owner", owner));

    finish(s);
    expect_at_least(s, "seg_reap", 0);
    EXPECT(segment_exists(id), "only the segments of the user named",
           "seg_reap(%u) destroyed segment %d, which user %u owns",
           (unsigned)owner, id, (unsigned)its_owner);
}

TEST(tools, reap_spares_other_users)
{
    uid_t other = a_uid_without_segments();
    int id = make_segment(new_key(), 4096, 0600);
    struct subject *s = START(reap, INT("owner", other));

    finish(s);
    expect_at_least(s, "seg_reap", 0);
    EXPECT(segment_exists(id), "only the segments of the user named",
           "seg_reap(%u) destroyed segment %d, which user %u owns",
           (unsigned)other, id, (unsigned)geteuid());
    expect_return(s, "seg_reap", 0);
    /* One whose id ends in the same 16 bits. */
    reap_nothing_of(geteuid() ^ 0x10000u, id, geteuid());
    s = START(reap, INT("owner", geteuid()));
    finish(s);
    expect_return(s, "seg_reap", 1);
    /* One that this user has made and given to another. */
    id = make_segment(new_key(), 4096, 0600);
    other = give_away(id);
    if (other != geteuid())
        reap_nothing_of(geteuid(), id, other);
}

TEST(tools, reap_destroys_an_orphan_that_nobody_may_read)
{
    int shut_one = make_segment(new_key(), 4096, 0);
    struct subject *s = START(reap, INT("owner", geteuid()), NOTHING_READABLE);

    finish(s);
    expect_at_least(s, "seg_reap", 0);
    EXPECT(!segment_exists(shut_one),
           "an orphan of mode 0000 is destroyed like any other",
           "segment %d is still there", shut_one);
    expect_return(s, "seg_reap", 1);
}

HELPER void reap_with_one_refused(int err)
{
    int ids[3];
    int left = 0;

    for (int k = 0; k < 3; k++)
        ids[k] = make_segment(new_key(), 4096, 0600);
    struct subject *s = START(reap, INT("owner", geteuid()),
                              FAIL_WHEN("shmctl", 1, IPC_RMID, 1, 1, err));
    finish(s);
    EXPECT(got_int(s, "seg_reap") >= 0,
           "one that is gone or may not be destroyed is passed over",
           "IPC_RMID of the first orphan failed with %s, and seg_reap "
           "returned -1",
           errno_name(err));
    for (int k = 0; k < 3; k++)
        left += segment_exists(ids[k]);
    EXPECT(left <= 1, "one can't be destroyed, the other 2 orphans are",
           "IPC_RMID failed once, with %s: %d are left", errno_name(err), left);
    expect_return(s, "seg_reap", 3 - left);
    for (int k = 0; k < 3; k++)
        shmctl(ids[k], IPC_RMID, NULL);
}

TEST(tools, reap_passes_over_what_it_may_not_destroy)
{
    reap_with_one_refused(EPERM);
    reap_with_one_refused(EIDRM);
    reap_with_one_refused(EINVAL);
}

#define MANY      120 /* more than an array that seemed large enough holds */
#define MANY_MORE 300 /* few, where other graders share the system's 4096 */

/* Makes many more: their creator is the one who reaps, and still runs. */
SCENARIO(make_many_and_reap)
{
    uid_t owner = (uid_t)given_int("owner");
    int n = 0;

    while (n < MANY_MORE && seg_create(IPC_PRIVATE, 1) >= 0)
        n++;
    tell_int("made", n);
    CALL("seg_reap", seg_reap(owner));
}

/* How many of these segments there are. */
HELPER int how_many_exist(const int *ids, int n)
{
    FILE *table = open_table();
    struct row r;
    int found = 0;

    while (next_row(table, &r))
        for (int k = 0; k < n; k++)
            found += r.id == ids[k];
    fclose(table);
    return found;
}

TEST(tools, reap_destroys_them_however_many_there_are)
{
    int ids[MANY];

    for (int k = 0; k < MANY; k++)
        ids[k] = make_segment(IPC_PRIVATE, 1, 0600);
    struct subject *s = START(reap, INT("owner", geteuid()));
    finish(s);
    expect_at_least(s, "seg_reap", 0);
    int left = how_many_exist(ids, MANY);
    EXPECT(left == 0, "all of the owner's 120 orphans are destroyed",
           "%d of them are left", left);
    expect_return(s, "seg_reap", MANY);
    /* Who looks twice finds more the second time. */
    for (int k = 0; k < MANY - 20; k++)
        ids[k] = make_segment(IPC_PRIVATE, 1, 0600);
    s = START(reap, INT("owner", geteuid()),
              FAIL_WHEN("shmctl", 1, SHM_STAT, 1, MANY - 30, EIDRM),
              FAIL_WHEN("shmctl", 1, SHM_STAT_ANY, 1, MANY - 30, EIDRM));
    finish(s);
    expect_return(s, "seg_reap", MANY - 20 - how_many_exist(ids, MANY - 20));
    for (int k = 0; k < MANY - 20; k++)
        shmctl(ids[k], IPC_RMID, NULL);
    s = START(make_many_and_reap, INT("owner", geteuid()));
    finish(s);
    left = made_by(subject_pid(s));
    EXPECT(got_int(s, "seg_reap") == -1 || left == 0,
           "all orphans are destroyed, however many there are and whether or "
           "not their creator still runs",
           "of %lld segments that the process had made with seg_create, %d are "
           "left",
           got_int(s, "made"), left);
    expect_return(s, "seg_reap", got_int(s, "made"));
}

/* The table of segments can't be read, in any way that the shim sees. */
#define TABLE_CLOSED                                         \
    FAIL_WHEN("shmctl", 1, SHM_INFO, 1, 100000, EACCES),     \
        FAIL_WHEN("shmctl", 1, IPC_INFO, 1, 100000, EACCES), \
        FAIL("open", 1, 100000, EACCES)

SCENARIO(list_and_reap)
{
    uid_t owner = (uid_t)given_int("owner");

    CALL("seg_list", seg_list(NULL, 0));
    CALL("seg_reap", seg_reap(owner));
}

/* Two looks at a segment succeed, and then no more. */
#define TABLE_CLOSES(err)                               \
    FAIL_WHEN("shmctl", 1, SHM_STAT, 3, 100000, (err)), \
        FAIL_WHEN("shmctl", 1, SHM_STAT_ANY, 3, 100000, (err))

HELPER void look_fails_half_way(int err)
{
    int ids[MADE];
    int left = 0;

    for (int k = 0; k < MADE; k++)
        ids[k] = make_segment(new_key(), 4096, 0600);
    struct subject *s = START(list_all, GIVE_IDS(ids), TABLE_CLOSES(err));
    finish(s);
    for (int k = 0; got_int(s, "seg_list") >= 0 && k < MADE; k++) {
        char name[32];
        snprintf(name, sizeof(name), "times %d", k);
        EXPECT(got_int(s, name) == 1,
               "-1 when a segment can't be looked at, or a list of all",
               "SHM_STAT and SHM_STAT_ANY fail with %s from the 3rd time on, "
               "seg_list "
               "returned %lld, and segment %d is not in the list",
               errno_name(err), got_int(s, "seg_list"), ids[k]);
    }
    if (got_int(s, "seg_list") < 0)
        expect_error(s, "seg_list", err);
    s = START(reap, INT("owner", geteuid()), TABLE_CLOSES(err));
    finish(s);
    for (int k = 0; k < MADE; k++)
        left += segment_exists(ids[k]);
    if (got_int(s, "seg_reap") < 0)
        expect_error(s, "seg_reap", err);
    else
        expect_return(s, "seg_reap", MADE - left);
    for (int k = 0; k < MADE; k++)
        shmctl(ids[k], IPC_RMID, NULL);
}

/*
 * Who reads the table by stdio, or has a second way, meets no fault or gets
 * over it: then the work must have been done.
 */
TEST(tools, list_and_reap_say_when_they_could_not_look)
{
    int id = make_segment(new_key(), 4096, 0600);
    struct subject *s =
        START(list_and_reap, INT("owner", geteuid()), TABLE_CLOSED);

    finish(s);
    if (got_int(s, "seg_list") < 1)
        expect_error(s, "seg_list", EACCES);
    if (segment_exists(id))
        expect_error(s, "seg_reap", EACCES);
    else
        expect_return(s, "seg_reap", 1);
    look_fails_half_way(ENOMEM);
    look_fails_half_way(EACCES);
}
