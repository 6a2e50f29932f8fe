/*
 * expect.c - assertions, in the words of calls and errno names.
 */
#include "judge.h"

#include "leftovers.h"
#include "subjects.h"

/* A nap of a millisecond, and whatever comes near to it. */
enum { SHORT_WAIT_MS = 20 };

void note_place(const char *file, int line)
{
    const char *slash = strrchr(file, '/');

    test.file = slash != NULL ? slash + 1 : file;
    test.line = line;
}

void fail_expected(const char *file, int line, const char *expected,
                   const char *seen, ...)
{
    char text[2000];
    va_list args;

    note_place(file, line);
    va_start(args, seen);
    vsnprintf(text, sizeof(text), seen, args);
    va_end(args);
    test_fail(FAILED, NULL, "expected: %s\nseen: %s", expected, text);
}

/*
 * What the test itself does with the other end of a pipe or socket, or with a
 * queue, fails when the student's program is gone, has closed it, or has
 * removed it.
 */
static void fail_if_it_was_the_program(int error, const char *what)
{
    static const int errors[] = {EPIPE, ECONNRESET, ECONNREFUSED, ENOTCONN,
                                 EIDRM};
    static const struct kit_test *asked; /* what is asked may fail itself */
    bool of_other_end = false;

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        of_other_end = of_other_end || errors[i] == error;
    if (asked == test.is || !of_other_end || test.subjects == NULL)
        return;
    asked = test.is;
    for (struct subject *s = test.subjects; s != NULL; s = s->next) {
        if (s->inspected || s->done)
            continue;
        await_sleep_or_end(s); /* descriptors close before that is seen */
        if (s->ended && !s->done)
            fail_ended(s, "your program goes on while the test needs it");
    }
    test_fail(FAILED, NULL,
              "expected: the other end is there as long as the test uses it\n"
              "seen: your program has closed or removed it: %s (%s)",
              what, errno_name(error));
}

void fail_broken(const char *file, int line, const char *what)
{
    int error = errno;

    fail_if_it_was_the_program(error, what);
    errno = error;
    test_fail(BROKEN, NULL,
              "the kit or the machine is at fault, not your code: %s:%d: %s "
              "(%s)",
              file, line, what, errno_name(errno));
}

/* "seg_create(key, 0) returned -1 with errno EINVAL" */
static void add_call(struct text *t, const struct value *v)
{
    const struct record *r = &v->head;
    bool failed = r->value == (r->kind == RECORD_CALL ? -1 : 0);

    text_add(t, "%s returned ", r->text[0] != '\0' ? r->text : r->name);
    if (r->kind != RECORD_CALL_PTR)
        text_add(t, "%lld", (long long)r->value);
    else if (r->value == 0)
        text_add(t, "NULL");
    else if (r->value == -1)
        text_add(t, "(void *)-1");
    else
        text_add(t, "the address %#llx", (unsigned long long)r->value);
    if (failed)
        text_add(t, " with errno %s", errno_name(r->err));
}

/* Fails with what the call returned.  ENOSYS is what the stubs set. */
static _Noreturn void fail_call(const struct value *v, const char *expected)
{
    struct text seen = {0};
    bool stub = v->head.err == ENOSYS;
    static char kept[600];

    add_call(&seen, v);
    snprintf(kept, sizeof(kept), "%s", seen.at != NULL ? seen.at : "");
    text_free(&seen);
    test_fail(FAILED, NULL, "expected: %s\nseen: %s%s", expected, kept,
              stub ? ": it is still to be written" : "");
}

void fail_if_returned(const struct subject *s, const char *expected)
{
    const struct value *v = s->values;

    if (v != NULL &&
        (v->head.kind == RECORD_CALL || v->head.kind == RECORD_CALL_PTR))
        fail_call(v, expected);
}

void(expect_return)(struct subject *s, const char *name, long long value)
{
    const struct value *v = value_of(s, name);
    char expected[64];

    if (v->head.value == value && v->head.kind == RECORD_CALL)
        return;
    snprintf(expected, sizeof(expected), "%lld", value);
    fail_call(v, expected);
}

void(expect_at_least)(struct subject *s, const char *name, long long value)
{
    const struct value *v = value_of(s, name);
    char expected[64];

    if (v->head.value >= value)
        return;
    snprintf(expected, sizeof(expected), "%lld or more", value);
    fail_call(v, expected);
}

void(expect_error)(struct subject *s, const char *name, int err)
{
    const struct value *v = value_of(s, name);
    bool pointer = v->head.kind == RECORD_CALL_PTR;
    char expected[64];

    if (v->head.value == (pointer ? 0 : -1) && v->head.err == err)
        return;
    snprintf(expected, sizeof(expected), "%s with errno %s",
             pointer ? "NULL" : "-1", errno_name(err));
    fail_call(v, expected);
}

void(expect_pointer)(struct subject *s, const char *name)
{
    const struct value *v = value_of(s, name);

    if (v->head.value == 0 || v->head.value == -1)
        fail_call(v, "an address");
}

void(expect_int)(struct subject *s, const char *name, long long value)
{
    const struct value *v = value_of(s, name);

    if (v->head.kind == RECORD_CALL)
        (expect_return)(s, name, value);
    else if (v->head.value != value)
        test_fail(FAILED, NULL, "expected: %s is %lld\nseen: %lld", name, value,
                  (long long)v->head.value);
}

/* ---- bytes ------------------------------------------------------------------- */

enum { SHOWN_BYTES = 12 };

static void add_bytes(struct text *t, const unsigned char *data, size_t size,
                      size_t at)
{
    size_t end = size - at < SHOWN_BYTES ? size : at + SHOWN_BYTES;

    for (size_t i = at; i < end; i++)
        text_add(t, "%s%02x", i == at ? "" : " ", data[i]);
    if (end < size)
        text_add(t, " ...");
}

static _Noreturn void fail_bytes(const char *name, const unsigned char *seen,
                                 size_t seen_size,
                                 const unsigned char *expected,
                                 size_t expected_size, size_t at)
{
    struct text t = {0};
    static char kept[400];

    text_add(&t, "expected: %s: %zu bytes", name, expected_size);
    if (at < expected_size) {
        text_add(&t, ", at offset %zu: ", at);
        add_bytes(&t, expected, expected_size, at);
    }
    text_add(&t, "\nseen: %zu bytes", seen_size);
    if (at < seen_size) {
        text_add(&t, ", at offset %zu: ", at);
        add_bytes(&t, seen, seen_size, at);
    }
    snprintf(kept, sizeof(kept), "%s", t.at);
    text_free(&t);
    test_fail(FAILED, NULL, "%s", kept);
}

void(expect_bytes)(struct subject *s, const char *name, const void *data,
                   size_t size_bytes)
{
    size_t seen_size, at = 0;
    const unsigned char *seen = (got_bytes)(s, name, &seen_size);
    const unsigned char *expected = data;

    while (at < seen_size && at < size_bytes && seen[at] == expected[at])
        at++;
    if (at < size_bytes || seen_size != size_bytes)
        fail_bytes(name, seen, seen_size, expected, size_bytes, at);
}

/* The text with what is not printable made visible, and cut. */
static void add_quoted(struct text *t, const char *s)
{
    text_add(t, "\"");
    for (size_t i = 0; s[i] != '\0' && i < 200; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '\n')
            text_add(t, "\\n");
        else if (c < ' ' || c > '~')
            text_add(t, "\\x%02x", c);
        else
            text_add(t, "%c", c);
    }
    text_add(t, "\"%s", strlen(s) > 200 ? "..." : "");
}

void(expect_str)(struct subject *s, const char *name, const char *text)
{
    const char *seen = (got_str)(s, name);
    struct text t = {0};
    static char kept[1800];

    if (strcmp(seen, text) == 0)
        return;
    text_add(&t, "expected: %s is ", name);
    add_quoted(&t, text);
    text_add(&t, "\nseen: ");
    add_quoted(&t, seen);
    snprintf(kept, sizeof(kept), "%s", t.at);
    text_free(&t);
    test_fail(FAILED, NULL, "%s", kept);
}

/* ---- what is left, what was called, who was alone -------------------------------- */

void(expect_nothing_left)(struct subject *s)
{
    static char kept[1500];

    (finish)(s);
    leftovers_objects(false);
    if (test.leftovers.at == NULL)
        return;
    leftovers_words(kept, sizeof(kept));
    test_fail(FAILED, NULL, "expected: nothing is left behind\nseen: %s", kept);
}

void(expect_called)(struct subject *s, const char *call)
{
    if (calls_made(s, call) == 0)
        test_fail(FAILED, NULL,
                  "expected: your code calls %s()\nseen: it does not", call);
}

void(expect_not_called)(struct subject *s, const char *call)
{
    unsigned n = calls_made(s, call);

    if (n > 0)
        test_fail(FAILED, NULL,
                  "expected: your code does not call %s()\nseen: %u calls",
                  call, n);
}

void(expect_short_waits)(struct subject *s, const char *call)
{
    unsigned n = calls_made(s, call);

    for (unsigned i = 0; i < n; i++) {
        long long ns = (call_wait_ns)(s, call, i);

        if (ns > SHORT_WAIT_MS * 1000000LL)
            test_fail(FAILED, NULL,
                      "expected: waits of %d ms at most, then a look\n"
                      "seen: one of %lld ms in %s()",
                      SHORT_WAIT_MS, ns / 1000000, call);
    }
}

bool under_valgrind(void)
{
    return options.valgrind;
}
