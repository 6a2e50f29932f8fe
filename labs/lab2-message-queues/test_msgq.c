/*
 * test_msgq.c - the tests of lab 2.
 *
 * The judge plays the other process with msgsnd, msgrcv, mq_send and
 * mq_receive of its own, and looks at queues in /proc/sysvipc/msg and with
 * mq_getattr.  What a scenario has to send is made up by the judge at each
 * run.
 */
#include "kit.h"
#include "msgq.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

/* ------------------------------------------------------------------------
 * The judge's eyes and hands: System V
 */

/* A message with room for the longest. */
struct packet {
    long type;
    char data[SYSVQ_MAX_BYTES];
};

/* A line of /proc/sysvipc/msg. */
struct row {
    int key, id;
    unsigned perms;
    unsigned long messages;
};

HELPER bool find_queue(int id, struct row *r)
{
    FILE *table = fopen("/proc/sysvipc/msg", "re");
    char line[512];
    bool found = false;

    REQUIRE(table != NULL);
    while (!found && fgets(line, sizeof(line), table) != NULL)
        found = sscanf(line, "%d %d %o %*u %lu", &r->key, &r->id, &r->perms,
                       &r->messages) == 4 &&
                r->id == id;
    fclose(table);
    return found;
}

/* How many messages lie in the queue. */
HELPER unsigned long queued(int id)
{
    struct row r;

    REQUIRE(find_queue(id, &r));
    return r.messages;
}

HELPER void expect_queued(int id, unsigned long n)
{
    unsigned long seen = queued(id);

    EXPECT(seen == n,
           n == 0 ? "no message left in the queue"
                  : "the other messages left in the queue",
           "%lu messages in it, not %lu", seen, n);
}

/* A queue of the judge's own. */
HELPER int make_queue(key_t key)
{
    int id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);

    REQUIRE(id != -1);
    judges_object('q', id);
    return id;
}

HELPER void put(int id, long type, const void *data, size_t size)
{
    struct packet p = {.type = type};

    memcpy(p.data, data, size);
    REQUIRE(msgsnd(id, &p, size, IPC_NOWAIT) == 0);
}

/* Takes a message that must be there; its size. */
HELPER size_t take(int id, long type, struct packet *p)
{
    ssize_t size = msgrcv(id, p, sizeof(p->data), type, IPC_NOWAIT);

    EXPECT(size != -1, "a message in the queue, of the type that was meant",
           "none of type %ld; %lu messages of other types", type, queued(id));
    return (size_t)size;
}

/* No more room than for so many bytes. */
HELPER void narrow(int id, unsigned long bytes)
{
    struct msqid_ds ds;

    REQUIRE(msgctl(id, IPC_STAT, &ds) == 0);
    ds.msg_qbytes = bytes;
    REQUIRE(msgctl(id, IPC_SET, &ds) == 0);
}

/* Waits until it sleeps in that call.  Who naps and looks again waits, too:
 * where that is not enough, expect_sleep() says so. */
HELPER void await_wait(struct subject *s, const char *call)
{
    await_asleep(s);
    if (calls_made(s, "nanosleep") == 0)
        await_blocked(s, call);
}

HELPER void expect_no_naps(struct subject *s)
{
    EXPECT(calls_made(s, "nanosleep") == 0, "sleep until it is woken",
           "naps, after each of which it looks again");
}

HELPER void expect_sleep(struct subject *s, const char *call)
{
    await_wait(s, call);
    expect_no_naps(s);
}

/* ------------------------------------------------------------------------
 * Group queue
 */

SCENARIO(create)
{
    CALL("id", sysvq_create((key_t)given_int("key")));
    wait_for("go");
}

SCENARIO(open)
{
    CALL("id", sysvq_open((key_t)given_int("key")));
}

SCENARIO(destroy)
{
    CALL("destroy", sysvq_destroy((int)given_int("id")));
}

/* The queue that sysvq_create returned; the judge removes it. */
HELPER int created(struct subject *s, key_t key, struct row *r)
{
    expect_at_least(s, "id", 0);
    int id = (int)got_int(s, "id");
    EXPECT(find_queue(id, r), "the id of a queue",
           "sysvq_create returned %d, and no queue has that id", id);
    EXPECT(r->key == key, "a queue with the key that was asked for",
           "queue %d has the key 0x%08x, not 0x%08x", id, (unsigned)r->key,
           (unsigned)key);
    judges_object('q', id);
    return id;
}

TEST(queue, create_makes_an_empty_queue_with_this_key)
{
    key_t key = new_key();
    struct row r;
    struct subject *s = START(create, INT("key", key));

    await(s, "id");
    int id = created(s, key, &r);
    EXPECT(r.messages == 0, "an empty queue", "%lu messages in queue %d",
           r.messages, id);
    let_go(s, "go");
    finish(s);
}

TEST(queue, created_queue_is_its_owners_alone)
{
    key_t key = new_key();
    struct row r;
    struct subject *s = START(create, INT("key", key));

    await(s, "id");
    int id = created(s, key, &r);
    EXPECT((r.perms & 0777u) == 0600, "mode 0600", "queue %d has mode %04o", id,
           r.perms & 0777u);
    let_go(s, "go");
    finish(s);
}

TEST(queue, create_refuses_a_key_that_is_taken)
{
    key_t key = new_key();
    int id = make_queue(key);

    put(id, 1, "old", 3);
    struct subject *s = START(create, INT("key", key));
    let_go(s, "go");
    finish(s);
    expect_error(s, "id", EEXIST);
    expect_queued(id, 1);
}

TEST(queue, create_passes_on_why_the_kernel_refused)
{
    struct subject *s =
        START(create, INT("key", new_key()), FAIL("msgget", 1, 1, ENOSPC));

    let_go(s, "go");
    finish(s);
    expect_error(s, "id", ENOSPC);
}

TEST(queue, open_finds_the_queue_of_another_process)
{
    key_t key = new_key();
    int id = make_queue(key);
    struct subject *s = START(open, INT("key", key));

    finish(s);
    expect_return(s, "id", id);
}

TEST(queue, open_never_creates)
{
    key_t key = new_key();
    struct subject *s = START(open, INT("key", key));

    finish(s);
    expect_error(s, "id", ENOENT);
    EXPECT(msgget(key, 0) == -1 && errno == ENOENT, "no queue has that key",
           "there is one now");
}

TEST(queue, open_of_ipc_private_makes_no_queue)
{
    struct subject *s = START(open, INT("key", IPC_PRIVATE));

    finish(s);
    expect_error(s, "id", EINVAL);
    expect_nothing_left(s);
}

TEST(queue, destroy_removes_the_queue)
{
    struct row r;
    int id = make_queue(new_key());
    struct subject *s = START(destroy, INT("id", id));

    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(!find_queue(id, &r), "no queue with that id", "queue %d is there",
           id);
}

TEST(queue, destroying_what_is_gone_is_an_error)
{
    int id = make_queue(new_key());

    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    struct subject *s = START(destroy, INT("id", id));
    finish(s);
    expect_error(s, "destroy",
                 got_errno(s, "destroy") == EIDRM ? EIDRM : EINVAL);
}

/* ------------------------------------------------------------------------
 * Group types: sysvq_send and sysvq_recv
 */

/* The same bytes, with a page behind them that can't be read. */
HELPER const void *before_a_wall(const void *data, size_t size)
{
    size_t page = (size_t)getpagesize();
    size_t whole = (size + page - 1) / page * page;
    char *at = mmap(NULL, whole + page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED || mprotect(at + whole, page, PROT_NONE) == -1)
        exit(1);
    return memcpy(at + whole - size, data, size);
}

SCENARIO(send)
{
    size_t size;
    const void *given = given_bytes("data", &size);
    const void *data = size == 0 ? NULL : before_a_wall(given, size);

    CALL("send",
         sysvq_send((int)given_int("id"), (long)given_int("type"), data, size));
}

TEST(types, send_delivers_the_type_and_exactly_these_bytes)
{
    int id = make_queue(new_key());
    unsigned char data[300];
    struct packet p;
    long type = 1000 + random_below(1000000);

    fill_random(data, sizeof(data));
    struct subject *s =
        START(send, INT("id", id), INT("type", type), BYTES("data", data, 300));
    finish(s);
    expect_return(s, "send", 0);
    size_t size = take(id, 0, &p);
    EXPECT(size == 300, "a message of 300 bytes", "%zu bytes (a long has %zu)",
           size, sizeof(long));
    EXPECT(p.type == type, "its type as it was given", "%ld, not %ld", p.type,
           type);
    EXPECT(memcmp(p.data, data, 300) == 0, "the bytes that were given",
           "other bytes");
}

TEST(types, send_takes_an_empty_message_and_the_longest)
{
    int id = make_queue(new_key());
    char data[SYSVQ_MAX_BYTES];
    struct packet p;

    fill_random(data, sizeof(data));
    struct subject *s =
        START(send, INT("id", id), INT("type", 5), BYTES("data", "", 0));
    finish(s);
    expect_return(s, "send", 0);
    EXPECT(take(id, 5, &p) == 0, "a message of 0 bytes", "a longer one");
    s = START(send, INT("id", id), INT("type", LONG_MAX),
              BYTES("data", data, sizeof(data)));
    finish(s);
    expect_return(s, "send", 0);
    size_t size = take(id, 0, &p);
    EXPECT(size == sizeof(data), "a message of 8192 bytes", "%zu bytes", size);
    EXPECT(memcmp(p.data, data, size) == 0, "the bytes that were given",
           "other bytes");
}

TEST(types, send_refuses_a_type_below_1)
{
    int id = make_queue(new_key());

    for (int type = 0; type >= -1; type--) {
        struct subject *s = START(send, INT("id", id), INT("type", type),
                                  BYTES("data", "news", 4));
        finish(s);
        expect_error(s, "send", EINVAL);
        expect_queued(id, 0);
    }
}

TEST(types, send_refuses_a_message_that_is_too_long)
{
    int id = make_queue(new_key());
    static char data[SYSVQ_MAX_BYTES + 1];
    struct subject *s = START(send, INT("id", id), INT("type", 1),
                              BYTES("data", data, sizeof(data)));

    finish(s);
    expect_error(s, "send", EMSGSIZE);
    expect_queued(id, 0);
}

TEST(types, send_waits_while_the_queue_is_full)
{
    int id = make_queue(new_key());
    struct packet p;

    narrow(id, 100);
    put(id, 3, "01234567890123456789012345678901234567890123456789", 50);
    struct subject *s = START(send, INT("id", id), INT("type", 4),
                              BYTES("data",
                                    "abcdefghijklmnopqrstuvwxyz"
                                    "abcdefghijklmnopqrstuvwxyz",
                                    52));
    expect_sleep(s, "msgsnd");
    take(id, 3, &p);
    finish(s);
    expect_return(s, "send", 0);
    EXPECT(take(id, 4, &p) == 52, "the message that waited", "another one");
}

TEST(types, send_survives_signals)
{
    int id = make_queue(new_key());
    struct packet p;
    struct subject *s =
        START(send, INT("id", id), INT("type", 4), BYTES("data", "news", 4),
              FAIL("msgsnd", 1, 2, EINTR));

    finish(s);
    expect_return(s, "send", 0);
    EXPECT(take(id, 4, &p) == 4, "the message", "another one");
    expect_queued(id, 0);
}

#define ROOM 200

SCENARIO(receive)
{
    unsigned char buf[ROOM];
    long type = -1;
    long *type_or_null = given_int("null") == 1 ? NULL : &type;
    size_t cap = (size_t)given_int("cap");

    memset(buf, 0x5a, sizeof(buf));
    ssize_t n =
        CALL("recv", sysvq_recv((int)given_int("id"), (long)given_int("type"),
                                buf, cap, type_or_null));
    tell_int("type", type);
    tell_bytes("data", buf, n > 0 && n <= ROOM ? (size_t)n : 0);
    tell_int("behind", n >= 0 && n < ROOM ? buf[n] : 0x5a);
}

HELPER struct subject *start_receive(int id, long type, size_t cap)
{
    return START(receive, INT("id", id), INT("type", type), INT("cap", cap),
                 INT("null", 0));
}

/* The next message for this type has that type and text. */
HELPER void expect_next(int id, long asked, long type, const char *text)
{
    struct subject *s = start_receive(id, asked, ROOM);

    finish(s);
    expect_return(s, "recv", (long long)strlen(text));
    EXPECT(got_int(s, "type") == type,
           "the message of the type whose turn it is",
           "for type %ld came one of type %lld, not %ld", asked,
           got_int(s, "type"), type);
    expect_bytes(s, "data", text, strlen(text));
}

/* Random letters behind a first one. */
HELPER const char *a_text(char *text, char first)
{
    text[0] = first;
    for (int i = 1; i < 12; i++)
        text[i] = (char)('a' + random_below(26));
    text[12] = '\0';
    return text;
}

/* Four messages, of types 5, 9, 3, 5. */
struct four {
    char text[4][16];
};

HELPER int queue_of_four(struct four *f)
{
    const long types[4] = {5, 9, 3, 5};
    int id = make_queue(new_key());

    for (int i = 0; i < 4; i++) {
        a_text(f->text[i], (char)('A' + i));
        put(id, types[i], f->text[i], 12);
    }
    return id;
}

TEST(types, recv_takes_the_oldest_when_any_type_will_do)
{
    struct four f;
    int id = queue_of_four(&f);

    expect_next(id, 0, 5, f.text[0]);
    expect_next(id, 0, 9, f.text[1]);
    expect_next(id, 0, 3, f.text[2]);
    expect_next(id, 0, 5, f.text[3]);
}

TEST(types, recv_takes_the_oldest_of_one_type)
{
    struct four f;
    int id = queue_of_four(&f);

    expect_next(id, 9, 9, f.text[1]);
    expect_next(id, 5, 5, f.text[0]);
    expect_next(id, 5, 5, f.text[3]);
    expect_queued(id, 1);
}

TEST(types, recv_takes_the_lowest_type_up_to_a_limit)
{
    struct four f;
    int id = queue_of_four(&f);

    expect_next(id, -5, 3, f.text[2]);
    expect_next(id, -5, 5, f.text[0]);
    expect_next(id, -5, 5, f.text[3]);
    expect_queued(id, 1);
}

TEST(types, recv_waits_for_its_type_beside_others)
{
    struct four f;
    char text[16];
    int id = queue_of_four(&f);
    struct subject *s = start_receive(id, 4, ROOM);

    expect_sleep(s, "msgrcv");
    a_text(text, 'E');
    put(id, 4, text, 12);
    finish(s);
    expect_return(s, "recv", 12);
    expect_bytes(s, "data", text, 12);
    expect_queued(id, 4);
}

TEST(types, recv_leaves_a_message_that_does_not_fit)
{
    struct four f;
    int id = queue_of_four(&f);
    struct subject *s = start_receive(id, 9, 11);

    finish(s);
    expect_error(s, "recv", E2BIG);
    EXPECT(got_int(s, "type") == -1, "got_type as it was: no message was taken",
           "it was written, with %lld", got_int(s, "type"));
    expect_queued(id, 4);
    s = start_receive(id, 9, 12);
    finish(s);
    expect_return(s, "recv", 12);
    expect_bytes(s, "data", f.text[1], 12);
}

TEST(types, recv_writes_the_message_and_nothing_behind_it)
{
    struct four f;
    int id = queue_of_four(&f);
    struct subject *s = START(receive, INT("id", id), INT("type", 9),
                              INT("cap", ROOM), INT("null", 1));

    finish(s);
    expect_return(s, "recv", 12);
    expect_bytes(s, "data", f.text[1], 12);
    EXPECT(got_int(s, "behind") == 0x5a,
           "the bytes behind the message as they were",
           "the byte behind it was written");
}

TEST(types, recv_survives_signals)
{
    struct four f;
    int id = queue_of_four(&f);
    struct subject *s =
        START(receive, INT("id", id), INT("type", 9), INT("cap", ROOM),
              INT("null", 0), FAIL("msgrcv", 1, 2, EINTR));

    finish(s);
    expect_return(s, "recv", 12);
    expect_bytes(s, "data", f.text[1], 12);
    expect_queued(id, 3);
}

TEST(types, a_removed_queue_wakes_who_waits)
{
    int id = make_queue(new_key());

    narrow(id, 10);
    put(id, 3, "0123456789", 10);
    struct subject *s =
        START(send, INT("id", id), INT("type", 4), BYTES("data", "news", 4));
    await_wait(s, "msgsnd");
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    finish(s);
    expect_error(s, "send", EIDRM);
    id = make_queue(new_key());
    s = start_receive(id, 4, ROOM);
    await_wait(s, "msgrcv");
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    finish(s);
    expect_error(s, "recv", EIDRM);
}

/* ------------------------------------------------------------------------
 * Group call: sysvq_call and sysvq_serve
 */

#define QUESTION 40 /* bytes */

SCENARIO(call)
{
    char rep[ROOM];
    ssize_t len = -7;
    size_t size, cap = (size_t)given_int("cap");
    const void *req = given_bytes("req", &size);

    memset(rep, 0x5a, sizeof(rep));
    tell_int("pid", getpid());
    CALL("call", sysvq_call((int)given_int("id"), req, size, rep, cap, &len));
    tell_int("len", len);
    tell_bytes("rep", rep, sizeof(rep));
}

HELPER struct subject *start_call(int id, const void *req, size_t size,
                                  size_t cap)
{
    return START(call, INT("id", id), BYTES("req", req, size), INT("cap", cap));
}

/* The judge as the server: waits for a request and takes it; the number of
 * the call. */
HELPER uint32_t take_request(struct subject *s, int id, const void *req,
                             size_t size)
{
    struct packet p;
    struct request_head head;

    await_asleep(s);
    if (was_told(s, "call")) /* refused, or an earlier one */
        expect_return(s, "call", 0);
    await_wait(s, "msgrcv");
    size_t got = take(id, SYSVQ_REQUEST, &p);
    EXPECT(got == sizeof(head) + size, "a request: its head, then its bytes",
           "%zu bytes, not %zu + %zu", got, sizeof(head), size);
    memcpy(&head, p.data, sizeof(head));
    EXPECT(head.from == (int32_t)got_int(s, "pid"),
           "the client's process id in the head", "from is %d, its id is %lld",
           (int)head.from, got_int(s, "pid"));
    EXPECT(memcmp(p.data + sizeof(head), req, size) == 0, "the request's bytes",
           "other bytes");
    return head.number;
}

HELPER void put_reply(int id, long to, int err, uint32_t number,
                      const void *rep, size_t size)
{
    struct reply_head head = {.err = err, .number = number};
    char data[SYSVQ_MAX_BYTES];

    memcpy(data, &head, sizeof(head));
    memcpy(data + sizeof(head), rep, size);
    put(id, to, data, sizeof(head) + size);
}

TEST(call, call_sends_a_request_and_takes_its_reply)
{
    int id = make_queue(new_key());
    unsigned char req[QUESTION], rep[60], seen[ROOM];

    fill_random(req, sizeof(req));
    fill_random(rep, sizeof(rep));
    struct subject *s = start_call(id, req, sizeof(req), ROOM);
    uint32_t number = take_request(s, id, req, sizeof(req));
    put_reply(id, (long)got_int(s, "pid"), 0, number, rep, sizeof(rep));
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "len", sizeof(rep));
    got_copy(s, "rep", seen, sizeof(seen));
    EXPECT(memcmp(seen, rep, sizeof(rep)) == 0, "the reply's bytes",
           "other bytes");
    EXPECT(seen[sizeof(rep)] == 0x5a, "nothing written behind the reply",
           "the byte behind it was written");
    expect_queued(id, 0);
}

TEST(call, call_leaves_what_is_for_others)
{
    int id = make_queue(new_key());
    char req[QUESTION];

    fill_random(req, sizeof(req));
    struct subject *s = start_call(id, req, sizeof(req), ROOM);
    uint32_t number = take_request(s, id, req, sizeof(req));
    long pid = (long)got_int(s, "pid");
    put_reply(id, pid + 1, 0, number, "for another", 11);
    put_reply(id, 1, 0, number, "for process 1", 13);
    put(id, SYSVQ_REQUEST, "a request of another", 20);
    expect_sleep(s, "msgrcv");
    put_reply(id, pid, 0, number, "for you", 7);
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "len", 7);
    expect_queued(id, 3);
}

TEST(call, call_drops_the_answer_to_an_older_call)
{
    int id = make_queue(new_key());
    char req[QUESTION], seen[ROOM];

    fill_random(req, sizeof(req));
    struct subject *s = start_call(id, req, sizeof(req), ROOM);
    uint32_t number = take_request(s, id, req, sizeof(req));
    long pid = (long)got_int(s, "pid");
    put_reply(id, pid, 0, number - 1, "stale", 5);
    put_reply(id, pid, EDOM, number + 1, "", 0);
    put_reply(id, pid, 0, number, "fresh", 5);
    finish(s);
    expect_return(s, "call", 0);
    got_copy(s, "rep", seen, sizeof(seen));
    EXPECT(memcmp(seen, "fresh", 5) == 0, "the reply with this call's number",
           "%.5s", seen);
    expect_queued(id, 0);
}

/* The short ones end in the head, where a buffer that is used again still has
 * the number of this call. */
TEST(call, call_drops_what_is_no_reply)
{
    int id = make_queue(new_key());
    static const char longest[SYSVQ_CALL_BYTES + 1];
    char seen[ROOM];
    struct subject *s = start_call(id, "?", 1, ROOM);
    uint32_t number = take_request(s, id, "?", 1);
    long pid = (long)got_int(s, "pid");

    put(id, pid, "", 0);
    put(id, pid, longest, sizeof(int32_t));
    put_reply(id, pid, 0, number - 1, longest, sizeof(longest));
    put_reply(id, pid, 0, number, "fresh", 5);
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "len", 5);
    got_copy(s, "rep", seen, sizeof(seen));
    EXPECT(memcmp(seen, "fresh", 5) == 0, "the bytes of the one whole reply",
           "other bytes");
    expect_queued(id, 0);
}

SCENARIO(call_twice)
{
    char rep[ROOM];
    ssize_t len;
    int id = (int)given_int("id");

    tell_int("pid", getpid());
    CALL("first", sysvq_call(id, "1", 1, rep, sizeof(rep), &len));
    CALL("call", sysvq_call(id, "2", 1, rep, sizeof(rep), &len));
}

TEST(call, each_call_has_a_number_of_its_own)
{
    int id = make_queue(new_key());
    struct subject *s = START(call_twice, INT("id", id));
    uint32_t first = take_request(s, id, "1", 1);

    put_reply(id, (long)got_int(s, "pid"), 0, first, "", 0);
    await(s, "first");
    uint32_t second = take_request(s, id, "2", 1);
    EXPECT(first != second, "another number in the second call", "both have %u",
           second);
    put_reply(id, (long)got_int(s, "pid"), 0, second, "", 0);
    finish(s);
    expect_return(s, "first", 0);
    expect_return(s, "call", 0);
}

/* Two programs that have one process id: the second is executed by the first,
 * which is how an id comes again at once. */
TOOL(call_once)
{
    char rep[ROOM];
    ssize_t len;

    return sysvq_call(atoi(argv[1]), "2", 1, rep, sizeof(rep), &len) == 0 ? 0
                                                                          : 1;
}

SCENARIO(call_and_execute)
{
    char rep[ROOM], id[16];
    ssize_t len;
    int status = 0;

    snprintf(id, sizeof(id), "%d", (int)given_int("id"));
    pid_t child = fork();
    if (child == 0) {
        tell_int("pid", getpid());
        CALL("call", sysvq_call(atoi(id), "1", 1, rep, sizeof(rep), &len));
        execv(tool_program(), TOOL_ARGV((char *)"call_once", id));
        _exit(127);
    }
    waitpid(child, &status, 0);
    tell_int("status", status);
}

TEST(call, each_process_begins_with_another_number)
{
    int id = make_queue(new_key());
    struct subject *s = START(call_and_execute, INT("id", id));
    uint32_t first = take_request(s, id, "1", 1);

    put_reply(id, (long)got_int(s, "pid"), 0, first, "", 0);
    await(s, "call");
    uint32_t second = take_request(s, id, "2", 1);
    EXPECT(first != second, "another number in another process's first call",
           "two processes that have the same id, one after the other, both "
           "begin with %u: had the first one died, the second would take the "
           "first one's reply",
           first);
    put_reply(id, (long)got_int(s, "pid"), 0, second, "", 0);
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "status", 0);
}

SCENARIO(call_and_fork)
{
    char rep[ROOM];
    ssize_t len;
    int id = (int)given_int("id");

    tell_int("pid", getpid());
    CALL("parent", sysvq_call(id, "1", 1, rep, sizeof(rep), &len));
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();

        if (child == 0) {
            tell_int("pid", getpid());
            reached(i == 0 ? "forked" : "forked again");
            CALL("call", sysvq_call(id, "2", 1, rep, sizeof(rep), &len));
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

TEST(call, a_forked_child_calls_under_its_own_id)
{
    int id = make_queue(new_key());
    struct subject *s = START(call_and_fork, INT("id", id));
    uint32_t number = take_request(s, id, "1", 1), numbers[2];

    put_reply(id, (long)got_int(s, "pid"), 0, number, "", 0);
    for (int i = 0; i < 2; i++) {
        await(s, i == 0 ? "forked" : "forked again");
        numbers[i] = take_request(s, id, "2", 1);
        put_reply(id, (long)got_int(s, "pid"), 0, numbers[i], "", 0);
    }
    finish(s);
    expect_return(s, "parent", 0);
    expect_return(s, "call", 0);
    EXPECT(numbers[0] != numbers[1],
           "another number in the first call of each forked child",
           "both begin with %u, whose parent's first call had %u: the parent's "
           "count went on in both",
           numbers[0], number);
}

TEST(call, call_fails_with_the_handlers_errno)
{
    int id = make_queue(new_key());
    char req[QUESTION];

    fill_random(req, sizeof(req));
    struct subject *s = start_call(id, req, sizeof(req), ROOM);
    uint32_t number = take_request(s, id, req, sizeof(req));
    put_reply(id, (long)got_int(s, "pid"), EDOM, number, "", 0);
    finish(s);
    expect_error(s, "call", EDOM);
    EXPECT(got_int(s, "len") == -7,
           "*rep_len as it was: the handler has made no reply",
           "it was written, with %lld", got_int(s, "len"));
    expect_queued(id, 0);
}

TEST(call, call_takes_a_reply_that_does_not_fit_and_says_so)
{
    int id = make_queue(new_key());
    char req[QUESTION], rep[60] = "", seen[ROOM];

    fill_random(req, sizeof(req));
    struct subject *s = start_call(id, req, sizeof(req), 59);
    uint32_t number = take_request(s, id, req, sizeof(req));
    put_reply(id, (long)got_int(s, "pid"), 0, number, rep, sizeof(rep));
    finish(s);
    expect_error(s, "call", E2BIG);
    expect_int(s, "len", 60);
    got_copy(s, "rep", seen, sizeof(seen));
    for (size_t i = 0; i < sizeof(seen); i++)
        EXPECT(seen[i] == 0x5a, "the caller's buffer as it was",
               "byte %zu was written", i);
    expect_queued(id, 0);
}

TEST(call, call_refuses_a_request_that_is_too_long)
{
    static char req[SYSVQ_CALL_BYTES + 1];
    int id = make_queue(new_key());
    struct subject *s = start_call(id, req, sizeof(req), ROOM);

    finish(s);
    expect_error(s, "call", EMSGSIZE);
    expect_queued(id, 0);
}

SCENARIO(call_with_the_longest)
{
    static char rep[SYSVQ_CALL_BYTES];
    ssize_t len = -7;
    size_t size;
    const void *req = given_bytes("req", &size);

    tell_int("pid", getpid());
    CALL("call", sysvq_call((int)given_int("id"), req, size, rep,
                            SYSVQ_CALL_BYTES, &len));
    tell_int("len", len);
    tell_bytes("rep", rep, sizeof(rep));
}

TEST(call, call_takes_the_longest_request_and_reply)
{
    static char req[SYSVQ_CALL_BYTES], rep[SYSVQ_CALL_BYTES],
        seen[SYSVQ_CALL_BYTES];
    int id = make_queue(new_key());

    fill_random(req, sizeof(req));
    fill_random(rep, sizeof(rep));
    struct subject *s = START(call_with_the_longest, INT("id", id),
                              BYTES("req", req, sizeof(req)));
    uint32_t number = take_request(s, id, req, sizeof(req));
    put_reply(id, (long)got_int(s, "pid"), 0, number, rep, sizeof(rep));
    finish(s);
    expect_return(s, "call", 0);
    expect_int(s, "len", SYSVQ_CALL_BYTES);
    got_copy(s, "rep", seen, sizeof(seen));
    EXPECT(memcmp(seen, rep, sizeof(rep)) == 0, "the reply's bytes",
           "other bytes");
    expect_queued(id, 0);
}

/* Where the queue is removed while nobody sleeps in it. */
HELPER void expect_removed(struct subject *s, const char *name)
{
    expect_error(s, name, got_errno(s, name) == EINVAL ? EINVAL : EIDRM);
}

/* While it sleeps, and before it does. */
TEST(call, call_ends_when_the_queue_is_removed)
{
    int id = make_queue(new_key());
    struct subject *s = start_call(id, "?", 1, ROOM);

    take_request(s, id, "?", 1);
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    finish(s);
    expect_error(s, "call", EIDRM);
    id = make_queue(new_key());
    s = START(call, INT("id", id), BYTES("req", "?", 1), INT("cap", ROOM),
              HOLD("msgrcv", 1, "about to wait"));
    await(s, "about to wait");
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    let_go(s, "about to wait");
    finish(s);
    expect_removed(s, "call");
}

/* Answers with the request's bytes, turned round; "no" is refused. */
HELPER int turn_round(const void *req, size_t size, void *rep, size_t *rep_size)
{
    const char *from = req;
    char *to = rep;

    if (size == 2 && memcmp(req, "no", 2) == 0) {
        errno = ERANGE;
        return -1;
    }
    if (*rep_size < size) {
        errno = ENOBUFS;
        return -1;
    }
    for (size_t i = 0; i < size; i++)
        to[i] = from[size - 1 - i];
    *rep_size = size;
    return 0;
}

SCENARIO(serve)
{
    CALL("serve",
         sysvq_serve((int)given_int("id"), turn_round, (int)given_int("n")));
}

/* A client that exists: another process than the judge, which is one too. */
SCENARIO(exist)
{
    wait_for("go");
}

/* The judge as a client, whatever its process id. */
HELPER void put_request(int id, int32_t from, uint32_t number, const void *req,
                        size_t size)
{
    struct request_head head = {.from = from, .number = number};
    struct packet p = {.type = SYSVQ_REQUEST};

    memcpy(p.data, &head, sizeof(head));
    memcpy(p.data + sizeof(head), req, size);
    REQUIRE(msgsnd(id, &p, sizeof(head) + size, IPC_NOWAIT) == 0);
}

HELPER void expect_reply(int id, int32_t to, int err, uint32_t number,
                         const void *rep, size_t size)
{
    struct packet p;
    struct reply_head head;
    size_t got = take(id, to, &p);

    EXPECT(got == sizeof(head) + size, "a reply: its head, then its bytes",
           "%zu bytes, not %zu + %zu", got, sizeof(head), size);
    memcpy(&head, p.data, sizeof(head));
    EXPECT(head.err == err,
           err == 0 ? "err 0 in the head of the reply"
                    : "the handler's errno in the head",
           "err is %d (%s)", (int)head.err, errno_name(head.err));
    EXPECT(head.number == number, "the number of the call that it answers",
           "%u, not %u", head.number, number);
    EXPECT(memcmp(p.data + sizeof(head), rep, size) == 0,
           "the bytes that the handler made", "other bytes");
}

TEST(serve, serve_answers_each_client_under_its_own_id)
{
    int id = make_queue(new_key());
    struct subject *other = START(exist, NOTHING);
    int32_t a = getpid(), b = subject_pid(other);
    uint32_t number;

    fill_random(&number, sizeof(number));
    put_request(id, a, number, "abc", 3);
    put_request(id, b, number, "defgh", 5);
    put_request(id, a, number + 1, "", 0);
    struct subject *s = START(serve, INT("id", id), INT("n", 3));
    finish(s);
    expect_return(s, "serve", 0);
    expect_reply(id, b, 0, number, "hgfed", 5);
    expect_reply(id, a, 0, number, "cba", 3);
    expect_reply(id, a, 0, number + 1, "", 0);
    expect_queued(id, 0);
    let_go(other, "go");
    finish(other);
}

TEST(serve, serve_sends_the_handlers_errno_back)
{
    int id = make_queue(new_key());

    put_request(id, getpid(), 7, "no", 2);
    put_request(id, getpid(), 8, "yes", 3);
    struct subject *s = START(serve, INT("id", id), INT("n", 2));
    finish(s);
    expect_return(s, "serve", 0);
    expect_reply(id, getpid(), ERANGE, 7, "", 0);
    expect_reply(id, getpid(), 0, 8, "sey", 3);
}

TEST(serve, serve_takes_the_longest_request_and_reply)
{
    static char req[SYSVQ_CALL_BYTES], rep[SYSVQ_CALL_BYTES];
    int id = make_queue(new_key());

    fill_random(req, sizeof(req));
    for (size_t i = 0; i < sizeof(req); i++)
        rep[i] = req[sizeof(req) - 1 - i];
    put_request(id, getpid(), 7, req, sizeof(req));
    struct subject *s = START(serve, INT("id", id), INT("n", 1));
    finish(s);
    expect_return(s, "serve", 0);
    expect_reply(id, getpid(), 0, 7, rep, sizeof(rep));
}

TEST(serve, serve_leaves_replies_and_drops_what_is_no_request)
{
    static const char too_long[SYSVQ_CALL_BYTES + 1];
    static const struct {
        const char *what;
        int32_t from; /* 0: the judge */
        size_t size;  /* after the head */
    } none[] = {
        {"one that is longer than a request may be", 0, SYSVQ_CALL_BYTES + 1},
        {"one with a `from` below 1", -1, 3},
        {"one with SYSVQ_REQUEST as its `from`", SYSVQ_REQUEST, 3}};

    for (int i = 0; i < 3; i++) {
        int id = make_queue(new_key());
        struct packet p;

        put(id, 5, "a reply for process 5", 21);
        put(id, SYSVQ_REQUEST, "x", 1);
        put_request(id, 0, 5, "abc", 3);
        put_request(id, none[i].from != 0 ? none[i].from : getpid(), 6,
                    too_long, none[i].size);
        put_request(id, getpid(), 7, "abc", 3);
        struct subject *s = START(serve, INT("id", id), INT("n", 1));
        finish(s);
        expect_return(s, "serve", 0);
        EXPECT(msgrcv(id, &p, sizeof(p.data), SYSVQ_REQUEST, IPC_NOWAIT) == -1,
               "what is no request dropped, and the request behind it answered",
               "%s was answered, or counted", none[i].what);
        expect_reply(id, getpid(), 0, 7, "cba", 3);
        expect_queued(id, 1);
    }
}

TEST(serve, serve_waits_for_requests_and_takes_n)
{
    int id = make_queue(new_key());
    struct subject *s = START(serve, INT("id", id), INT("n", 2));

    expect_sleep(s, "msgrcv");
    put_request(id, getpid(), 1, "ab", 2);
    put_request(id, getpid(), 2, "cd", 2);
    put_request(id, getpid(), 3, "ef", 2);
    finish(s);
    expect_return(s, "serve", 0);
    expect_reply(id, getpid(), 0, 1, "ba", 2);
    expect_reply(id, getpid(), 0, 2, "dc", 2);
    expect_queued(id, 1);
}

/* One more answered than asked for would wait here for ever. */
TEST(serve, serve_of_nothing_takes_nothing)
{
    int id = make_queue(new_key());

    put_request(id, getpid(), 1, "ab", 2);
    struct subject *s = START(serve, INT("id", id), INT("n", 0));
    struct packet p;
    finish(s);
    expect_return(s, "serve", 0);
    take(id, SYSVQ_REQUEST, &p);
}

TEST(serve, serve_ends_when_the_queue_is_removed)
{
    int id = make_queue(new_key());
    struct subject *s = START(serve, INT("id", id), INT("n", 2));

    await_wait(s, "msgrcv");
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    finish(s);
    expect_error(s, "serve", EIDRM);
    id = make_queue(new_key());
    put_request(id, getpid(), 7, "abc", 3);
    s = START(serve, INT("id", id), INT("n", 1),
              HOLD("msgsnd", 1, "about to reply"));
    await(s, "about to reply");
    REQUIRE(msgctl(id, IPC_RMID, NULL) == 0);
    let_go(s, "about to reply");
    finish(s);
    expect_removed(s, "serve");
}

/* The room that the request gave up is taken before the reply is sent. */
TEST(serve, serve_waits_for_room_for_its_reply)
{
    char filler[100] = "";
    struct packet p;
    int id = make_queue(new_key());

    narrow(id, sizeof(filler));
    put_request(id, getpid(), 7, "abc", 3);
    struct subject *s = START(serve, INT("id", id), INT("n", 1),
                              HOLD("msgsnd", 1, "about to reply"));
    await(s, "about to reply");
    put(id, 5, filler, sizeof(filler));
    let_go(s, "about to reply");
    expect_sleep(s, "msgsnd");
    take(id, 5, &p);
    finish(s);
    expect_return(s, "serve", 0);
    expect_reply(id, getpid(), 0, 7, "cba", 3);
}

#define CLIENTS 3
#define CALLS   20
#define ASKED   16 /* bytes of a request */

/* Asks CALLS times, and tells all the replies in a row. */
SCENARIO(ask_often)
{
    int id = (int)given_int("id");
    size_t size;
    const char *req = given_bytes("req", &size);
    char rep[CALLS * ASKED];
    ssize_t len = 0;

    memset(rep, 0, sizeof(rep));
    for (int i = 0; i < CALLS; i++, req += ASKED)
        if (CALL("call", sysvq_call(id, req, ASKED, rep + i * ASKED, ASKED,
                                    &len)) == -1 ||
            len != ASKED)
            break;
    tell_int("len", len);
    tell_bytes("replies", rep, sizeof(rep));
}

TEST(serve, replies_of_many_clients_never_cross)
{
    int id = make_queue(new_key());
    unsigned char req[CLIENTS][CALLS * ASKED], rep[CALLS * ASKED];
    struct subject *clients[CLIENTS];
    struct subject *server =
        START(serve, INT("id", id), INT("n", CLIENTS * CALLS), CHAOS(7));

    fill_random(req, sizeof(req));
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = START(ask_often, INT("id", id),
                           BYTES("req", req[i], sizeof(req[i])), CHAOS(11 + i));
    for (int i = 0; i < CLIENTS; i++) {
        finish(clients[i]);
        expect_return(clients[i], "call", 0);
        expect_int(clients[i], "len", ASKED);
        got_copy(clients[i], "replies", rep, sizeof(rep));
        for (int k = 0; k < CALLS * ASKED; k++)
            EXPECT(rep[k] == req[i][k / ASKED * ASKED + ASKED - 1 - k % ASKED],
                   "each client's replies are those to its own requests",
                   "client %d, call %d: the reply to another request", i + 1,
                   k / ASKED + 1);
    }
    finish(server);
    expect_return(server, "serve", 0);
    expect_queued(id, 0);
}

/* ------------------------------------------------------------------------
 * Group jobs: jobq_create, jobq_open, jobq_destroy
 */

/* A POSIX queue of the judge's own, and its name. */
HELPER mqd_t make_jobq(const char **name, long maxmsg, long msgsize)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};

    *name = new_name();
    mqd_t q =
        mq_open(*name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
    REQUIRE(q != (mqd_t)-1);
    judges_name('q', *name);
    return q;
}

HELPER long jobs_in(mqd_t q)
{
    struct mq_attr attr;

    REQUIRE(mq_getattr(q, &attr) == 0);
    return attr.mq_curmsgs;
}

HELPER void expect_jobs(mqd_t q, long n)
{
    EXPECT(jobs_in(q) == n,
           n == 0 ? "no job left in the queue" : "the other jobs left in it",
           "%ld jobs in it, not %ld", jobs_in(q), n);
}

SCENARIO(create_jobs)
{
    mqd_t q = (mqd_t)CALL("q", jobq_create(given_str("name"),
                                           (long)given_int("maxmsg"),
                                           (long)given_int("msgsize")));

    wait_for("go");
    if (q != (mqd_t)-1) {
        tell_int("sent", mq_send(q, "x", 1, 0));
        tell_int("received", mq_receive(q, (char[64]){0}, 64, NULL));
        mq_close(q);
    }
}

SCENARIO(open_jobs)
{
    mqd_t q = (mqd_t)CALL("q", jobq_open(given_str("name")));

    if (q != (mqd_t)-1) {
        tell_int("sent", mq_send(q, "x", 1, 0));
        tell_int("received", mq_receive(q, (char[64]){0}, 64, NULL));
        mq_close(q);
    }
}

SCENARIO(destroy_jobs)
{
    CALL("destroy", jobq_destroy(given_str("name")));
}

TEST(jobs, created_jobq_has_the_sizes_asked_for)
{
    const char *name = new_name();
    struct mq_attr attr;
    struct stat st;

    judges_name('q', name);
    struct subject *s = START(create_jobs, STR("name", name), INT("maxmsg", 3),
                              INT("msgsize", 64));
    await(s, "q");
    expect_at_least(s, "q", 0);
    mqd_t q = mq_open(name, O_RDONLY);
    EXPECT(q != (mqd_t)-1, "a queue of that name", "mq_open says %s",
           errno_name(errno));
    REQUIRE(mq_getattr(q, &attr) == 0 && fstat(q, &st) == 0);
    mq_close(q);
    EXPECT(attr.mq_maxmsg == 3 && attr.mq_msgsize == 64,
           "room for 3 jobs of 64 bytes", "for %ld of %ld bytes",
           attr.mq_maxmsg, attr.mq_msgsize);
    EXPECT(attr.mq_curmsgs == 0, "an empty queue", "%ld jobs in it",
           attr.mq_curmsgs);
    EXPECT((st.st_mode & 0777u) == 0600, "mode 0600", "mode %04o",
           st.st_mode & 0777u);
    let_go(s, "go");
    finish(s);
    expect_int(s, "sent", 0);
    expect_int(s, "received", 1);
}

TEST(jobs, create_refuses_a_name_that_is_taken)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, 64);

    REQUIRE(mq_send(q, "old", 3, 1) == 0);
    struct subject *s = START(create_jobs, STR("name", name), INT("maxmsg", 3),
                              INT("msgsize", 64));
    let_go(s, "go");
    finish(s);
    expect_error(s, "q", EEXIST);
    expect_jobs(q, 1);
    mq_close(q);
}

SCENARIO(create_jobs_wrongly)
{
    const char *name = given_str("name");

    CALL("maxmsg 0", jobq_create(name, 0, 64));
    CALL("msgsize 0", jobq_create(name, 3, 0));
    CALL("no slash", jobq_create(name + 1, 3, 64));
    CALL("only a slash", jobq_create("/", 3, 64));
    CALL("two slashes", jobq_create("/shop/jobs", 3, 64));
}

TEST(jobs, create_refuses_sizes_and_names_that_do_not_work)
{
    struct subject *s = START(create_jobs_wrongly, STR("name", new_name()));

    finish(s);
    expect_error(s, "maxmsg 0", EINVAL);
    expect_error(s, "msgsize 0", EINVAL);
    expect_error(s, "no slash", EINVAL);
    expect_error(s, "only a slash", EINVAL);
    expect_error(s, "two slashes", EINVAL);
    expect_nothing_left(s);
}

TEST(jobs, opened_jobq_can_be_read_and_written)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, 64);
    struct subject *s = START(open_jobs, STR("name", name));

    finish(s);
    expect_at_least(s, "q", 0);
    expect_int(s, "sent", 0);
    expect_int(s, "received", 1);
    mq_close(q);
}

TEST(jobs, open_never_makes_a_jobq)
{
    const char *name = new_name();
    struct subject *s = START(open_jobs, STR("name", name));

    finish(s);
    expect_error(s, "q", ENOENT);
    expect_nothing_left(s);
}

TEST(jobs, destroy_removes_the_name_and_nothing_else)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, 64);
    struct subject *s = START(destroy_jobs, STR("name", name));

    finish(s);
    expect_return(s, "destroy", 0);
    EXPECT(mq_open(name, O_RDONLY) == (mqd_t)-1 && errno == ENOENT,
           "no queue of that name", "there is one");
    EXPECT(mq_send(q, "x", 1, 0) == 0, "who has it open goes on using it",
           "mq_send says %s", errno_name(errno));
    mq_close(q);
    s = START(destroy_jobs, STR("name", name));
    finish(s);
    expect_error(s, "destroy", ENOENT);
}

/* ------------------------------------------------------------------------
 * Group put_get: jobq_put and jobq_get
 */

/* Opens the judge's queue; the kit's own descriptor. */
HELPER mqd_t given_jobq(void)
{
    mqd_t q = mq_open(given_str("name"), O_RDWR);

    if (q == (mqd_t)-1)
        exit(1);
    return q;
}

HELPER long long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

SCENARIO(put_job)
{
    mqd_t q = given_jobq();
    size_t size;
    const void *job = given_bytes("job", &size);
    long long began = now_ms();

    CALL("put", jobq_put(q, job, size, (unsigned)given_int("prio"),
                         (int)given_int("deadline")));
    tell_int("took", now_ms() - began);
    mq_close(q);
}

HELPER struct subject *start_put(const char *name, const void *job, size_t size,
                                 long long prio, int deadline)
{
    return START(put_job, STR("name", name), BYTES("job", job, size),
                 INT("prio", prio), INT("deadline", deadline));
}

#define JOB 64 /* the queues' msgsize, in bytes */

SCENARIO(get_job)
{
    mqd_t q = given_jobq();
    char job[JOB];
    unsigned prio = 4711;
    unsigned *prio_or_null = given_int("null") == 1 ? NULL : &prio;
    long long began = now_ms();
    ssize_t n = CALL("get", jobq_get(q, job, (size_t)given_int("cap"),
                                     prio_or_null, (int)given_int("deadline")));

    tell_int("took", now_ms() - began);
    tell_int("prio", prio);
    tell_bytes("job", job, n > 0 && n <= JOB ? (size_t)n : 0);
    mq_close(q);
}

HELPER struct subject *start_get(const char *name, size_t cap, int deadline)
{
    return START(get_job, STR("name", name), INT("cap", cap), INT("null", 0),
                 INT("deadline", deadline));
}

/* It waited at least so long.  Asked twice, where that is all: one that gives
 * up at once, and is kept from the processor meanwhile, looks as if it had. */
HELPER void expect_waited(struct subject *s, long long ms)
{
    EXPECT(got_int(s, "took") >= ms - 1,
           "a wait until the deadline, so many milliseconds from the call on",
           "it gave up after %lld ms, not %lld", got_int(s, "took"), ms);
}

TEST(put_get, put_delivers_the_job_with_its_priority)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    unsigned char job[JOB], seen[JOB];
    unsigned prio, given = 1 + random_below(32767);

    fill_random(job, sizeof(job));
    struct subject *s = start_put(name, job, sizeof(job), given, -1);
    finish(s);
    expect_return(s, "put", 0);
    ssize_t size = mq_receive(q, (char *)seen, JOB, &prio);
    EXPECT(size == JOB, "a job of 64 bytes in the queue", "%zd", size);
    EXPECT(prio == given, "its priority as it was given", "%u, not %u", prio,
           given);
    EXPECT(memcmp(seen, job, JOB) == 0, "the job's bytes", "other bytes");
    s = start_put(name, "", 0, 0, 0);
    finish(s);
    expect_return(s, "put", 0);
    EXPECT(mq_receive(q, (char *)seen, JOB, &prio) == 0,
           "an empty job in the queue", "none, or a longer one");
    s = start_put(name, "top", 3, 32767, 0);
    finish(s);
    expect_return(s, "put", 0);
    EXPECT(mq_receive(q, (char *)seen, JOB, &prio) == 3 && prio == 32767,
           "a job of the highest priority, 32767", "another one");
    mq_close(q);
}

TEST(put_get, put_refuses_what_is_too_long_or_too_urgent)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    char job[JOB + 1] = "";
    struct subject *s = start_put(name, job, sizeof(job), 1, -1);

    finish(s);
    expect_error(s, "put", EMSGSIZE);
    s = start_put(name, job, 1, 32768, -1);
    finish(s);
    expect_error(s, "put", EINVAL);
    s = start_put(name, job, 1, 1, BELOW_FOR_EVER_MS);
    finish(s);
    expect_error(s, "put", EINVAL);
    expect_jobs(q, 0);
    mq_close(q);
}

TEST(put_get, get_takes_the_most_urgent_and_of_these_the_oldest)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    char text[4][16];
    const unsigned prios[4] = {2, 9, 9, 30000};
    const int order[4] = {3, 1, 2, 0};

    for (int i = 0; i < 4; i++) {
        a_text(text[i], (char)('A' + i));
        REQUIRE(mq_send(q, text[i], 12, prios[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        struct subject *s = start_get(name, JOB, i % 2 == 0 ? -1 : 1000);
        finish(s);
        expect_return(s, "get", 12);
        expect_bytes(s, "job", text[order[i]], 12);
        expect_int(s, "prio", prios[order[i]]);
    }
    mq_close(q);
}

TEST(put_get, get_may_leave_the_priority_out)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s = START(get_job, STR("name", name), INT("cap", JOB),
                              INT("null", 1), INT("deadline", -1));
    finish(s);
    expect_return(s, "get", 3);
    expect_bytes(s, "job", "job", 3);
    mq_close(q);
}

TEST(put_get, get_with_little_room_takes_nothing)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s = start_get(name, JOB - 1, -1);
    finish(s);
    expect_error(s, "get", EMSGSIZE);
    expect_int(s, "prio", 4711);
    expect_jobs(q, 1);
    mq_close(q);
}

enum { FAR_OFF_MS = 600000 };

/* The call is not over: it sleeps in the queue, or in poll(2) and the like for
 * it. */
HELPER void expect_wait(struct subject *s, const char *name)
{
    await_still(s);
    if (was_told(s, name))
        EXPECT(false, "a wait until there is a job, or room",
               "it has returned %lld (%s)", got_int(s, name),
               errno_name(got_errno(s, name)));
}

/* What a wait was for has come: it was woken by that. */
HELPER void expect_woken(struct subject *s, const char *name, long long value)
{
    finish(s);
    expect_return(s, name, value);
    expect_no_naps(s);
}

TEST(put_get, put_waits_for_room_and_get_for_a_job)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    for (int deadline = -1; deadline <= FAR_OFF_MS;
         deadline += FAR_OFF_MS + 1) {
        struct subject *s = start_get(name, JOB, deadline);

        expect_wait(s, "get");
        REQUIRE(mq_send(q, "first", 5, 1) == 0);
        expect_woken(s, "get", 5);
        REQUIRE(mq_send(q, "second", 6, 1) == 0);
        s = start_put(name, "third", 5, 2, deadline);
        expect_wait(s, "put");
        REQUIRE(mq_receive(q, (char[JOB]){0}, JOB, NULL) == 6);
        expect_woken(s, "put", 0);
        expect_jobs(q, 1);
        REQUIRE(mq_receive(q, (char[JOB]){0}, JOB, NULL) == 5);
    }
    mq_close(q);
}

/* A signal every 20 ms.  The first one that finds the call under way does what
 * the call waits for: it takes a job from a full queue, or puts one into an
 * empty one. */
enum { HELP_US = 20000 };

static KIT_UNUSED struct {
    mqd_t q; /* in non-blocking mode */
    volatile sig_atomic_t is_under_way;
    volatile sig_atomic_t is_full;
} help;

HELPER void on_help(int sig)
{
    int saved = errno;
    char job[JOB];

    (void)sig;
    if (help.is_under_way && help.is_full)
        mq_receive(help.q, job, sizeof(job), NULL);
    else if (help.is_under_way)
        mq_send(help.q, "helped", 6, 1);
    help.is_under_way = 0;
    errno = saved;
}

SCENARIO(wait_long)
{
    mqd_t q = given_jobq();
    const struct sigaction action = {.sa_handler = on_help};
    const struct itimerval on = {{0, HELP_US}, {0, HELP_US}};
    const struct itimerval off = {{0, 0}, {0, 0}};
    char job[JOB];

    help.q = mq_open(given_str("name"), O_RDWR | O_NONBLOCK);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &on, NULL);
    help.is_under_way = 1;
    CALL("get", jobq_get(q, job, sizeof(job), NULL, FAR_OFF_MS));
    help.is_under_way = 0;
    while (mq_send(help.q, "full", 4, 1) == 0)
        ;
    help.is_full = 1;
    help.is_under_way = 1;
    CALL("put", jobq_put(q, "more", 4, 2, FAR_OFF_MS));
    help.is_under_way = 0;
    setitimer(ITIMER_REAL, &off, NULL);
    mq_close(help.q);
    mq_close(q);
}

TEST(put_get, a_deadline_far_off_is_waited_for)
{
    const char *name;
    mqd_t q = make_jobq(&name, 2, JOB);
    struct subject *s = START(wait_long, STR("name", name));

    finish(s);
    expect_return(s, "get", 6);
    expect_return(s, "put", 0);
    expect_jobs(q, 2);
    mq_close(q);
}

TEST(put_get, put_gives_up_at_the_deadline)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    REQUIRE(mq_send(q, "full", 4, 1) == 0);
    for (int i = 0; i < 2; i++) {
        struct subject *s = start_put(name, "more", 4, 9, 60);

        finish(s);
        expect_error(s, "put", ETIMEDOUT);
        expect_waited(s, 60);
    }
    expect_jobs(q, 1);
    mq_close(q);
}

TEST(put_get, get_gives_up_at_the_deadline)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    for (int i = 0; i < 2; i++) {
        struct subject *s = start_get(name, JOB, 60);

        finish(s);
        expect_error(s, "get", ETIMEDOUT);
        expect_waited(s, 60);
    }
    mq_close(q);
}

TEST(put_get, deadline_0_takes_what_is_there_and_waits_for_nothing)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);
    struct subject *s = start_get(name, JOB, 0);

    finish(s);
    expect_error(s, "get", ETIMEDOUT);
    s = start_put(name, "one", 3, 1, 0);
    finish(s);
    expect_return(s, "put", 0);
    s = start_put(name, "two", 3, 1, 0);
    finish(s);
    expect_error(s, "put", ETIMEDOUT);
    s = start_get(name, JOB, 0);
    finish(s);
    expect_return(s, "get", 3);
    expect_bytes(s, "job", "one", 3);
    mq_close(q);
}

/* Calls with 999 ms when the clock's second is not quite new: the sum of the
 * nanoseconds is over a second. */
SCENARIO(get_over_the_second)
{
    mqd_t q = given_jobq();
    struct timespec t;
    char job[JOB];

    do
        clock_gettime(CLOCK_REALTIME, &t);
    while (t.tv_nsec < 2000000 || t.tv_nsec > 900000000);
    CALL("get", jobq_get(q, job, sizeof(job), NULL, 999));
    CALL("put", jobq_put(q, "x", 1, 0, 999));
    mq_close(q);
}

TEST(put_get, a_deadline_may_lie_in_the_next_second)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s = START(get_over_the_second, STR("name", name));
    finish(s);
    expect_return(s, "get", 3);
    expect_return(s, "put", 0);
    mq_close(q);
}

TEST(put_get, put_and_get_survive_signals)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    for (int deadline = -1; deadline <= 100000; deadline += 100001) {
        struct subject *s = START(
            put_job, STR("name", name), BYTES("job", "news", 4), INT("prio", 1),
            INT("deadline", deadline), FAIL("mq_send", 1, 2, EINTR));
        finish(s);
        expect_return(s, "put", 0);
        s = START(get_job, STR("name", name), INT("cap", JOB), INT("null", 0),
                  INT("deadline", deadline), FAIL("mq_receive", 1, 2, EINTR));
        finish(s);
        expect_return(s, "get", 4);
    }
    mq_close(q);
}

/* A signal every 10 ms, 150 of them at most.  While they last, a wait of
 * 80 ms that begins anew at each of them does not end. */
enum { TICK_US = 10000, MOST_TICKS = 150, TICKING_MS = 80 };

static KIT_UNUSED volatile sig_atomic_t ticks;

HELPER void on_tick(int sig)
{
    const struct itimerval off = {{0, 0}, {0, 0}};

    (void)sig;
    if (++ticks == MOST_TICKS)
        setitimer(ITIMER_REAL, &off, NULL);
}

SCENARIO(wait_while_signals_come)
{
    mqd_t q = given_jobq();
    const struct sigaction action = {.sa_handler = on_tick};
    const struct itimerval on = {{0, TICK_US}, {0, TICK_US}};
    const struct itimerval off = {{0, 0}, {0, 0}};
    char job[JOB];
    long long began = now_ms();

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &on, NULL);
    if (given_int("full") == 1)
        CALL("wait", jobq_put(q, "more", 4, 1, TICKING_MS));
    else
        CALL("wait", jobq_get(q, job, sizeof(job), NULL, TICKING_MS));
    setitimer(ITIMER_REAL, &off, NULL);
    tell_int("took", now_ms() - began);
    tell_int("signals", ticks);
    mq_close(q);
}

TEST(put_get, signals_do_not_put_the_deadline_off)
{
    const char *name;
    mqd_t q = make_jobq(&name, 1, JOB);

    for (int full = 0; full <= 1; full++) {
        if (full)
            REQUIRE(mq_send(q, "full", 4, 1) == 0);
        struct subject *s = START(wait_while_signals_come, STR("name", name),
                                  INT("full", full));
        finish(s);
        expect_error(s, "wait", ETIMEDOUT);
        expect_waited(s, TICKING_MS);
        EXPECT(got_int(s, "signals") < MOST_TICKS,
               full ? "jobq_put's wait of 80 ms ends, though a signal comes "
                      "every 10 ms"
                    : "jobq_get's wait of 80 ms ends, though a signal comes "
                      "every 10 ms",
               "it ended only when the %d signals were over", MOST_TICKS);
    }
    mq_close(q);
}

/* ------------------------------------------------------------------------
 * Group drain: jobq_drain
 */

/* What `each` is told to do, and what it has seen. */
struct drained {
    mqd_t q;
    int stop_after, stop_with;
    bool puts_more, nonblock_seen, block_seen;
    int n;
    size_t sizes[16];
    unsigned prios[16];
    char texts[16][16];
};

HELPER long flags_of(mqd_t q)
{
    struct mq_attr attr;

    return mq_getattr(q, &attr) == 0 ? attr.mq_flags & O_NONBLOCK : -1;
}

HELPER int note_job(const void *job, size_t size, unsigned prio, void *ctx)
{
    struct drained *d = ctx;

    if (d->n < 16) {
        d->sizes[d->n] = size;
        d->prios[d->n] = prio;
        memcpy(d->texts[d->n], job, size < 16 ? size : 16);
    }
    d->n++;
    *(flags_of(d->q) == 0 ? &d->block_seen : &d->nonblock_seen) = true;
    if (d->puts_more && d->n < 100)
        mq_send(d->q, "another one", 11, 1);
    return d->n == d->stop_after ? d->stop_with : 0;
}

SCENARIO(drain)
{
    mqd_t q = given_jobq();
    struct mq_attr attr = {.mq_flags = given_int("nonblock") ? O_NONBLOCK : 0};
    struct drained d = {.q = q,
                        .stop_after = abs((int)given_int("stop")),
                        .stop_with = given_int("stop") < 0 ? -1 : 1,
                        .puts_more = given_int("more") == 1};

    mq_setattr(q, &attr, NULL);
    CALL("drain", jobq_drain(q, note_job, &d));
    tell_int("seen", d.n);
    tell_bytes("drained", &d, sizeof(d));
    tell_int("flags", flags_of(q));
    mq_close(q);
}

/* stop  after so many jobs, as `each` says by 1; below 0: by -1; 0: never */
HELPER struct subject *start_drain(const char *name, int stop, int more,
                                   int nonblock)
{
    return START(drain, STR("name", name), INT("stop", stop), INT("more", more),
                 INT("nonblock", nonblock));
}

TEST(drain, drain_hands_out_every_job_in_order)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    char text[4][16];
    const unsigned prios[4] = {2, 9, 9, 30000};
    const int order[4] = {3, 1, 2, 0};
    struct drained d;

    for (int i = 0; i < 4; i++) {
        a_text(text[i], (char)('A' + i));
        REQUIRE(mq_send(q, text[i], (size_t)(9 + i), prios[i]) == 0);
    }
    struct subject *s = start_drain(name, 0, 0, 0);
    finish(s);
    expect_return(s, "drain", 4);
    expect_int(s, "seen", 4);
    got_copy(s, "drained", &d, sizeof(d));
    for (int i = 0; i < 4; i++)
        EXPECT(d.prios[i] == prios[order[i]] &&
                   d.sizes[i] == (size_t)(9 + order[i]) &&
                   memcmp(d.texts[i], text[order[i]], d.sizes[i]) == 0,
               "the most urgent job first, of these the oldest",
               "job %d has priority %u and %zu bytes, not %u and %d", i + 1,
               d.prios[i], d.sizes[i], prios[order[i]], 9 + order[i]);
    expect_jobs(q, 0);
    mq_close(q);
}

TEST(drain, drain_of_an_empty_queue_is_0_at_once)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    struct subject *s = start_drain(name, 0, 0, 0);

    finish(s);
    expect_return(s, "drain", 0);
    expect_int(s, "seen", 0);
    mq_close(q);
}

TEST(drain, drain_stops_when_it_is_told_to)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    for (int i = 0; i < 5; i++)
        REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s = start_drain(name, 2, 0, 0);
    finish(s);
    expect_return(s, "drain", 2);
    expect_jobs(q, 3);
    expect_int(s, "flags", 0);
    s = start_drain(name, -1, 0, 0);
    finish(s);
    expect_return(s, "drain", 1);
    expect_jobs(q, 2);
    mq_close(q);
}

TEST(drain, drain_leaves_the_flags_as_they_were)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);
    struct drained d;

    for (int nonblock = 0; nonblock <= 1; nonblock++) {
        REQUIRE(mq_send(q, "job", 3, 1) == 0);
        struct subject *s = start_drain(name, 0, 0, nonblock);
        finish(s);
        expect_return(s, "drain", 1);
        EXPECT((got_int(s, "flags") != 0) == (nonblock == 1),
               "O_NONBLOCK as it was before",
               nonblock ? "it was set and is not" : "it was not set and is");
        got_copy(s, "drained", &d, sizeof(d));
        EXPECT(nonblock ? !d.block_seen : !d.nonblock_seen,
               "O_NONBLOCK as it was before, whenever `each` is called",
               nonblock ? "it was set and is not" : "it was not set and is");
    }
    mq_close(q);
}

TEST(drain, drain_ends_although_jobs_keep_coming)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    for (int i = 0; i < 3; i++)
        REQUIRE(mq_send(q, "job", 3, 9) == 0);
    struct subject *s = start_drain(name, 0, 1, 0);
    finish(s);
    expect_return(s, "drain", 3);
    expect_jobs(q, 3);
    mq_close(q);
}

TEST(drain, drain_does_not_wait_for_a_job_that_another_took)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    for (int i = 0; i < 2; i++)
        REQUIRE(mq_send(q, "job", 3, 9) == 0);
    struct subject *s =
        START(drain, STR("name", name), INT("stop", 0), INT("more", 0),
              INT("nonblock", 0), HOLD("mq_receive", 2, "about to take"));
    await(s, "about to take");
    REQUIRE(mq_receive(q, (char[JOB]){0}, JOB, NULL) == 3);
    let_go(s, "about to take");
    finish(s);
    expect_return(s, "drain", 1);
    expect_int(s, "seen", 1);
    mq_close(q);
}

TEST(drain, drain_has_room_for_the_longest_job)
{
    const char *name;
    mqd_t q = make_jobq(&name, 2, 8192);
    static char job[8192];
    struct drained d;

    REQUIRE(mq_send(q, job, sizeof(job), 1) == 0);
    struct subject *s = start_drain(name, 0, 0, 0);
    finish(s);
    expect_return(s, "drain", 1);
    got_copy(s, "drained", &d, sizeof(d));
    EXPECT(d.sizes[0] == sizeof(job), "a job of 8192 bytes", "%zu", d.sizes[0]);
    mq_close(q);
}

TEST(drain, drain_survives_signals)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    for (int i = 0; i < 3; i++)
        REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s =
        START(drain, STR("name", name), INT("stop", 0), INT("more", 0),
              INT("nonblock", 0), FAIL("mq_receive", 2, 2, EINTR));
    finish(s);
    expect_return(s, "drain", 3);
    expect_jobs(q, 0);
    mq_close(q);
}

SCENARIO(drain_no_queue)
{
    struct drained d = {.q = (mqd_t)-1};

    CALL("drain", jobq_drain((mqd_t)-1, note_job, &d));
}

/* It can't take the job of that number, nor a later one. */
HELPER struct subject *start_failing_drain(const char *name, int number)
{
    return START(drain, STR("name", name), INT("stop", 0), INT("more", 0),
                 INT("nonblock", 0), FAIL("mq_receive", number, 99, EBADF));
}

/* In a process that may have no more memory than it has; a heap that has been
 * used up has no room for a job. */
SCENARIO(drain_without_memory)
{
    mqd_t q = given_jobq();
    struct drained d = {.q = q};
    void **first = NULL, **block;
    struct rlimit before, none;

    getrlimit(RLIMIT_AS, &before);
    none = before;
    none.rlim_cur = 0;
    if (setrlimit(RLIMIT_AS, &none) == -1)
        exit(1);
    for (size_t size = 1 << 16; size >= sizeof(*block); size /= 2)
        while ((block = malloc(size)) != NULL) {
            *block = first;
            first = block;
        }
    errno = 0;
    ssize_t n = jobq_drain(q, note_job, &d);
    int err = errno;
    while (first != NULL) {
        block = first;
        first = *block;
        free(block);
    }
    setrlimit(RLIMIT_AS, &before);
    errno = err;
    call_int("drain", "jobq_drain(q, note_job, &d)", n);
    mq_close(q);
}

TEST(drain, drain_says_when_it_could_not_begin)
{
    const char *name;
    mqd_t q = make_jobq(&name, 5, JOB);

    for (int i = 0; i < 3; i++)
        REQUIRE(mq_send(q, "job", 3, 1) == 0);
    struct subject *s = START(drain_no_queue, NOTHING);
    finish(s);
    expect_error(s, "drain", EBADF);
    s = start_failing_drain(name, 1);
    finish(s);
    expect_error(s, "drain", EBADF);
    expect_jobs(q, 3);
    s = start_failing_drain(name, 2);
    finish(s);
    expect_return(s, "drain", 1);
    expect_jobs(q, 2);
    if (!under_valgrind()) {
        s = START(drain_without_memory, STR("name", name));
        finish(s);
        if (got_int(s, "drain") != 2)
            expect_error(s, "drain", ENOMEM);
    }
    mq_close(q);
}
