/*
 * measure.c - one mechanism, at one size of messages.
 *
 *   check        random messages there and back; every byte is compared
 *   round trips  the client sends, the server answers with a message of the
 *                same size; the clock is read once a round trip
 *   stream       the client sends, the server receives; from the first send
 *                to the last receive
 *
 * In the timed parts every message is made and used in the same way for all
 * mechanisms: the sender writes all of it, where the mechanism wants it made
 * (memset, and a stamp into each cache line), and the receiver compares each
 * line's stamp.  No two messages have the same stamps.  So all of its memory
 * goes from one core to the other, and what a copy costs is what comes on top.
 * (memset, for libc's way to write whole lines takes them from the other core
 * without waiting for what is in them.  A loop of stores waits: where the cores
 * lay far apart it took three times as long.)
 *
 * Before and after, a cache line goes to and fro for a moment.  Virtual machines
 * are moved from core to core: when the two have come to lie further apart, all
 * of it is slower, and whoever compares figures has to know.
 *
 * Each timed part is preceded by shorter ones of the same kind until they take
 * a quarter of its time: they warm caches and pages up and say how many
 * messages fill the time.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MAX_ROUND_TRIPS 20000
#define MIN_MESSAGES    10
#define PROBE_TURNS     500
#define CHECKED_BYTES   (4 << 20) /* about; in messages, see checked() */

struct work {
    const struct mechanism *m;
    const struct route *r;
    unsigned budget_ms;
};

enum result {
    ROUND_TRIP_P50,
    ROUND_TRIP_P99,
    TRIPS,
    SLEEPS,
    SENT,
    STREAM_NS,
    LINE_NS
};

/* ------------------------------------------------------------------------
 * Messages
 */

static void stamp(void *message, size_t size, uint64_t number)
{
    char *to = message;

    memset(to, (int)number, size);
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        uint64_t word = number + at;
        memcpy(to + at, &word, sizeof(word));
    }
}

static int compare_stamps(const void *message, size_t size, uint64_t number)
{
    const char *from = message;
    uint64_t differences = 0;

    for (size_t at = 0; at < size; at += LINE_BYTES) {
        uint64_t word;
        memcpy(&word, from + at, sizeof(word));
        differences |= word ^ (number + at);
    }
    if (differences == 0)
        return 0;
    return trouble(DAMAGED, pair->doing[side].call, 0,
                   "a message is not the one that was sent, seen after %s",
                   pair->doing[side].call);
}

/* The bytes of message `number`, other ones for each number. */
static void fill(void *message, size_t size, uint64_t number)
{
    uint64_t word = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
    char *to = message;

    for (size_t at = 0; at < size; at += sizeof(word)) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        memcpy(to + at, &word, sizeof(word));
    }
}

static int compare_bytes(const void *message, size_t size, uint64_t number)
{
    static char *wanted;
    const char *seen = message;

    if (!wanted)
        wanted = malloc(size);
    if (!wanted)
        return not_ready("malloc");
    fill(wanted, size, number);
    for (size_t at = 0; at < size; at++)
        if (seen[at] != wanted[at])
            return trouble(DAMAGED, pair->doing[side].call, 0,
                           "byte %zu of a message of %zu arrived changed, "
                           "seen after %s",
                           at, size, pair->doing[side].call);
    return 0;
}

static int send_one(const struct work *w, enum job_kind kind, uint64_t number)
{
    void *message = w->m->place(w->r);

    if (!message)
        return -1;
    if (kind == CHECK)
        fill(message, w->r->size, number);
    else
        stamp(message, w->r->size, number);
    return w->m->send(w->r);
}

static int receive_one(const struct work *w, enum job_kind kind,
                       uint64_t number)
{
    const void *message = w->m->receive(w->r);
    int result;

    if (!message)
        return -1;
    result = kind == CHECK ? compare_bytes(message, w->r->size, number)
                           : compare_stamps(message, w->r->size, number);
    return w->m->release(w->r) == -1 ? -1 : result;
}

/* Messages of one process's memory. */
void *own_place(const struct route *r)
{
    static void *place;

    if (!place && (errno = posix_memalign(&place, 4096, r->size)) != 0)
        not_ready("posix_memalign");
    return place;
}

void *own_room(const struct route *r)
{
    static void *room;

    if (!room && (errno = posix_memalign(&room, 4096, r->size)) != 0)
        not_ready("posix_memalign");
    return room;
}

int own_release(const struct route *r)
{
    (void)r;
    return 0;
}

/* ------------------------------------------------------------------------
 * Jobs, as each side does them.  Message i of a job has the numbers 2 i (from
 * the client) and 2 i + 1 (from the server), above those of other jobs.
 */

static uint64_t first_number(void)
{
    return (uint64_t)pair->doing[side].meetings << 48;
}

static unsigned long sleeps_so_far(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (unsigned long)usage.ru_nvcsw;
}

static int client_job(const struct work *w, uint64_t *times)
{
    struct job *job = &pair->job;
    uint64_t number = first_number();

    job->start_ns = now_ns();
    for (unsigned long i = 0; i < job->messages; i++, number += 2) {
        if (times)
            times[i] = now_ns();
        if (send_one(w, job->kind, number) == -1)
            return -1;
        if (job->kind != STREAM && receive_one(w, job->kind, number + 1) == -1)
            return -1;
    }
    if (times)
        times[job->messages] = now_ns();
    return 0;
}

static int server_job(const struct work *w)
{
    struct job *job = &pair->job;
    uint64_t number = first_number();

    for (unsigned long i = 0; i < job->messages; i++, number += 2) {
        if (receive_one(w, job->kind, number) == -1)
            return -1;
        if (job->kind != STREAM && send_one(w, job->kind, number + 1) == -1)
            return -1;
    }
    job->end_ns = now_ns();
    return 0;
}

static void answer_probe(void)
{
    for (unsigned i = 0; i < 2 * PROBE_TURNS; i += 2) {
        wait_turn(i + 1);
        pass_turn(i + 2);
    }
}

static int server(void *arg)
{
    const struct work *w = arg;

    meet(); /* the client's half of the channel is there */
    if (w->m->open(w->r) == -1)
        return -1;
    meet();
    for (;;) {
        unsigned long sleeps;
        meet(); /* the job is there */
        if (pair->job.kind == STOP)
            break;
        sleeps = sleeps_so_far();
        if (pair->job.kind == PROBE)
            answer_probe();
        else if (server_job(w) == -1)
            return -1;
        pair->doing[SERVER].sleeps = sleeps_so_far() - sleeps;
        meet();
    }
    if (w->m->close && w->m->close(w->r) == -1)
        return -1;
    meet();
    return 0;
}

/* ------------------------------------------------------------------------
 * The client leads
 */

static int hand_out(const struct work *w, enum job_kind kind,
                    unsigned long messages, uint64_t *times)
{
    unsigned long sleeps;

    pair->job.kind = kind;
    pair->job.messages = messages;
    meet();
    sleeps = sleeps_so_far();
    if (client_job(w, times) == -1)
        return -1;
    pair->doing[CLIENT].sleeps = sleeps_so_far() - sleeps;
    meet();
    return 0;
}

/* Keeps the longer of two medians. */
static void probe(void)
{
    uint64_t times[PROBE_TURNS], median;

    pair->job.kind = PROBE;
    atomic_store(&pair->turn, 0);
    meet();
    for (unsigned i = 0; i < PROBE_TURNS; i++) {
        uint64_t start = now_ns();
        pass_turn(2 * i + 1);
        wait_turn(2 * i + 2);
        times[i] = now_ns() - start;
    }
    meet();
    median = percentile(times, PROBE_TURNS, 0.5);
    if (median > pair->result[LINE_NS])
        pair->result[LINE_NS] = median;
}

/* Shorter jobs of that kind, as said above.  How many messages fill the
 * budget; 0 after an error. */
static unsigned long warm_up(const struct work *w, enum job_kind kind)
{
    const uint64_t budget_ns = w->budget_ms * UINT64_C(1000000);
    unsigned long messages = 4;

    for (;;) {
        uint64_t start = now_ns(), took;
        if (hand_out(w, kind, messages, NULL) == -1)
            return 0;
        took = now_ns() - start;
        if (took >= budget_ns / 4) {
            messages = (unsigned long)(messages * (double)budget_ns / took);
            return messages < MIN_MESSAGES ? MIN_MESSAGES : messages;
        }
        messages *= 2;
    }
}

static int round_trips(const struct work *w)
{
    static uint64_t times[MAX_ROUND_TRIPS + 1];
    uint64_t *result = pair->result;
    unsigned long n = warm_up(w, ROUND_TRIPS);

    if (n == 0)
        return -1;
    if (n > MAX_ROUND_TRIPS)
        n = MAX_ROUND_TRIPS;
    memset(times, 1, sizeof(times)); /* its pages are there */
    if (hand_out(w, ROUND_TRIPS, n, times) == -1)
        return -1;
    for (unsigned long i = 0; i < n; i++)
        times[i] = times[i + 1] - times[i];
    result[ROUND_TRIP_P50] = percentile(times, n, 0.50);
    result[ROUND_TRIP_P99] = percentile(times, n, 0.99);
    result[TRIPS] = n;
    result[SLEEPS] = pair->doing[CLIENT].sleeps + pair->doing[SERVER].sleeps;
    return 0;
}

static int stream(const struct work *w)
{
    unsigned long n = warm_up(w, STREAM);

    if (n == 0 || hand_out(w, STREAM, n, NULL) == -1)
        return -1;
    pair->result[SENT] = n;
    pair->result[STREAM_NS] = pair->job.end_ns - pair->job.start_ns;
    return 0;
}

/* Enough to go through every place of a route that has several. */
static int checked(const struct work *w)
{
    unsigned long n = CHECKED_BYTES / w->r->size;

    n = n < 8 ? 8 : n > 200 ? 200 : n;
    return hand_out(w, CHECK, n, NULL);
}

static int client(void *arg)
{
    const struct work *w = arg;

    if (w->m->open(w->r) == -1)
        return -1;
    meet();
    meet(); /* the server's half is there */
    probe();
    if (checked(w) == -1 || round_trips(w) == -1 || stream(w) == -1)
        return -1;
    probe();
    pair->job.kind = STOP;
    meet();
    meet(); /* the server has closed */
    return w->m->close ? w->m->close(w->r) : 0;
}

static void print_result(FILE *out, const struct pair *p)
{
    const uint64_t *r = p->result;

    fprintf(out,
            "\"round_trip_p50_ns\": %ju, \"round_trip_p99_ns\": %ju, "
            "\"round_trips\": %ju, \"sleeps\": %ju, "
            "\"messages\": %ju, \"stream_ns\": %ju, \"line_ns\": %ju",
            (uintmax_t)r[ROUND_TRIP_P50], (uintmax_t)r[ROUND_TRIP_P99],
            (uintmax_t)r[TRIPS], (uintmax_t)r[SLEEPS], (uintmax_t)r[SENT],
            (uintmax_t)r[STREAM_NS], (uintmax_t)r[LINE_NS]);
}

enum trouble_kind measure(const struct mechanism *m, const struct route *r,
                          const struct options *options, FILE *out)
{
    struct work w = {m, r, options->budget_ms};
    struct pair *p = shared_memory(sizeof(*p));
    size_t largest = m->largest ? m->largest() : r->size;
    enum trouble_kind kind;

    pair = p;
    if (!m->prepare || m->prepare(r) == 0)
        run_pair(p, options, (int (*[2])(void *)){client, server}, &w);
    if (m->remove)
        m->remove(r);
    fprintf(out, "{\"mechanism\": \"%s\", \"size\": %zu, \"parts\": %zu, ",
            m->name, r->size, (r->size + largest - 1) / largest);
    kind = (enum trouble_kind)atomic_load(&p->trouble.kind);
    if (kind == NO_TROUBLE)
        print_result(out, p);
    else
        print_trouble(out, p);
    fprintf(out, "}\n");
    fflush(out);
    munmap(p, sizeof(*p));
    return kind;
}
