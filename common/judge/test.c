/*
 * test.c - the test that runs now: its verdict, what it notes on the way, and
 * the events that the grader reads.
 */
#include "judge.h"

#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include "leftovers.h"

struct test test;
struct expected_failure expected_failure;

/* ---- texts ------------------------------------------------------------- */

static void text_vadd(struct text *t, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);

    int n = vsnprintf(NULL, 0, format, again);

    va_end(again);
    if (n < 0)
        return;

    char *at = realloc(t->at, t->size + (size_t)n + 1);

    if (at == NULL)
        return;
    vsnprintf(at + t->size, (size_t)n + 1, format, args);
    t->at = at;
    t->size += (size_t)n;
}

void text_add(struct text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_vadd(t, format, args);
    va_end(args);
}

void text_free(struct text *t)
{
    free(t->at);
    *t = (struct text){0};
}

/* A JSON string; bytes that are not printable ASCII become \u00XX. */
static void text_add_json(struct text *t, const char *s, size_t size)
{
    text_add(t, "\"");
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            text_add(t, "\\%c", c);
        else if (c < ' ' || c > '~')
            text_add(t, "\\u%04x", c);
        else
            text_add(t, "%c", c);
    }
    text_add(t, "\"");
}

/* ---- events ------------------------------------------------------------ */

static void send_event(struct text *t)
{
    size_t done = 0;

    text_add(t, "\n");
    while (options.events_fd != -1 && done < t->size) {
        ssize_t n = write(options.events_fd, t->at + done, t->size - done);

        if (n == -1 && errno != EINTR)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    text_free(t);
}

static void send_start(void)
{
    struct text t = {0};

    text_add(&t, "{\"event\":\"start\",\"test\":\"%s\"}", test.name);
    send_event(&t);
}

static double seconds_since(const struct timespec *began)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) +
           (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

/* What the scenarios printed, in the order they were started. */
static void add_output(struct text *t, struct subject *s, size_t *room)
{
    char buf[4096];
    ssize_t n;

    if (s == NULL)
        return;
    add_output(t, s->next, room);
    n = pread(s->output, buf, *room < sizeof(buf) ? *room : sizeof(buf), 0);
    if (n > 0) {
        text_add(t, "%.*s", (int)n, buf);
        *room -= (size_t)n;
    }
}

static void add_pid(struct text *t, const char **comma, pid_t pid)
{
    text_add(t, "%s%d", *comma, (int)pid);
    *comma = ",";
}

static void add_pids(struct text *t)
{
    const char *comma = "";

    text_add(t, ",\"pids\":[");
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        if (s->pid > 0)
            add_pid(t, &comma, s->pid);
    text_add(t, "],\"children\":[");
    comma = "";
    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        for (unsigned i = 0; i < s->nchildren; i++)
            add_pid(t, &comma, s->children[i]);
    text_add(t, "]");
}

static void send_end(const struct text *output)
{
    static const char *const words[] = {"passed",    "failed",      "crashed",
                                        "timed_out", "not_started", "broken"};
    struct text t = {0};

    text_add(&t,
             "{\"event\":\"end\",\"test\":\"%s\",\"group\":\"%s\","
             "\"status\":\"%s\",\"duration_s\":%.6f,\"location\":",
             test.name, test.is->group, words[test.status],
             seconds_since(&test.began));
    if (test.location[0] != '\0')
        text_add_json(&t, test.location, strlen(test.location));
    else
        text_add(&t, "null");
    text_add(&t, ",\"stub\":");
    text_add_json(&t, test.stub, strlen(test.stub));
    text_add(&t, ",\"leftovers\":[%s]",
             test.leftovers.at != NULL ? test.leftovers.at : "");
    text_add(&t, ",\"schedules\":%u", test.schedules);
    add_pids(&t);
    text_add(&t, ",\"output\":");
    text_add_json(&t, output->at != NULL ? output->at : "", output->size);
    text_add(&t, "}");
    send_event(&t);
}

/* ---- begin and end ------------------------------------------------------ */

static void make_scratch(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(test.dir, sizeof(test.dir), "%.40s/kit-XXXXXX",
             base != NULL && base[0] == '/' ? base : "/tmp");
    if (mkdtemp(test.dir) == NULL) {
        test.dir[0] = '\0';
        fail_broken(__FILE__, __LINE__, "mkdtemp for the scratch directory");
    }
}

void test_begin(const struct kit_test *is)
{
    memset(&test, 0, sizeof(test));
    test.is = is;
    test.name = (*is->test)->name;
    test.status = FAILED;
    clock_gettime(CLOCK_MONOTONIC, &test.began);
    send_start();
    leftovers_begin();
    witness_reset();
    make_scratch();
}

static int remove_entry(const char *path, const struct stat *st, int type,
                        struct FTW *at)
{
    char line[320];

    (void)at;
    if (type == FTW_D || type == FTW_DP || type == FTW_DNR)
        return rmdir(path);
    snprintf(line, sizeof(line), "%s in the working directory",
             path + strlen(test.dir) + 1);
    if (!things_own_file(path))
        leftovers_charge(S_ISSOCK(st->st_mode) ? "socket" : "file", line);
    return unlink(path);
}

void test_end(void)
{
    struct text output = {0};
    size_t room = 4096;

    if (options.debug)
        debug_wait();
    explore_forget();
    processes_end_all(true);
    leftovers_objects(true);
    if (test.dir[0] != '\0')
        nftw(test.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    leftovers_end();
    add_output(&output, test.subjects, &room);
    send_end(&output);
    subjects_end_all();
    things_release();
    text_free(&output);
    text_free(&test.leftovers);
    text_free(&test.notes);
}

/* ---- verdicts ------------------------------------------------------------ */

/* The first call of a scenario that returned what a stub returns, or NULL. */
static const struct value *met_stub(void)
{
    const struct value *first = NULL;

    for (struct subject *s = test.subjects; s != NULL; s = s->next)
        for (struct value *v = s->values; v != NULL; v = v->next)
            if (v->head.err == ENOSYS &&
                ((v->head.kind == RECORD_CALL && v->head.value == -1) ||
                 (v->head.kind == RECORD_CALL_PTR && v->head.value == 0)))
                first = v;
    return first;
}

/* "seg_create" of "seg_create(key, 4096)" */
static void note_stub(const struct value *v)
{
    size_t n = strcspn(v->head.text, "( ");

    snprintf(test.stub, sizeof(test.stub), "%.*s", (int)n, v->head.text);
}

/* Check's XML log drops what is not ASCII: make it visible. */
static void copy_ascii(char *to, size_t size, const char *from)
{
    size_t at = 0;

    for (; *from != '\0' && at + 5 < size; from++) {
        unsigned char c = (unsigned char)*from;

        if ((c >= ' ' && c <= '~') || c == '\n')
            to[at++] = (char)c;
        else
            at += (size_t)snprintf(to + at, size - at, "\\x%02x", c);
    }
    to[at] = '\0';
}

void test_fail(enum status status, const char *location, const char *format,
               ...)
{
    struct text message = {0};
    va_list args;

    va_start(args, format);
    text_vadd(&message, format, args);
    va_end(args);
    if (test.notes.at != NULL)
        text_add(&message, "\n%s", test.notes.at);
    explore_add_schedule(&message);

    static char kept[sizeof(expected_failure.message)]; /* jumped away from */

    copy_ascii(kept, sizeof(kept), message.at != NULL ? message.at : "");
    text_free(&message);
    if (options.schedule != NULL)
        printf("%s\n", kept);
    if (status != BROKEN && met_stub() != NULL) {
        note_stub(met_stub());
        status = NOT_STARTED;
    }
    if (expected_failure.armed) {
        memcpy(expected_failure.message, kept, sizeof(kept));
        expected_failure.status = status;
        longjmp(expected_failure.back, 1);
    }
    test.status = status;
    if (location == NULL || location[0] == '\0') {
        if (test.file != NULL)
            snprintf(test.location, sizeof(test.location), "%s:%d", test.file,
                     test.line);
    } else if (location != test.location) { /* else it is there, of a crash */
        snprintf(test.location, sizeof(test.location), "%s", location);
    }
    ck_abort_msg("%s", kept);
    abort(); /* not reached: Check has jumped */
}

void test_left(const char *kind, const char *what)
{
    text_add(&test.leftovers, "%s{\"kind\":\"%s\",\"text\":",
             test.leftovers.at != NULL ? "," : "", kind);
    text_add_json(&test.leftovers, what, strlen(what));
    text_add(&test.leftovers, "}");
}
