/* drive_design.c - lab 8: memory that both processes see; nothing is passed
 * through the kernel but the wish to sleep and to be woken. */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "design.h"

/* Larger than one processor's own caches, so that a slot comes from the cache
 * that all share and is not pulled out of the other processor's; small enough
 * for that shared cache. Enough slots that neither side waits for the other at
 * each message. */
#define RING_BYTES   (4 << 20)
#define MIN_SLOTS    4
#define MAX_SLOTS    64
#define ROUND_SLOTS  16
#define ROUND_BYTES  16384
#define ROUNDS_SPACE ROUNDS_BYTES(ROUND_SLOTS, ROUND_BYTES)

/* ways[CLIENT] is where the client sends. */
static void *ways[2];
static size_t way_bytes;

static size_t slots_for(size_t size)
{
    size_t slots = MAX_SLOTS;

    while (slots > MIN_SLOTS && slots * size > RING_BYTES)
        slots /= 2;
    return slots;
}

static int map_ways(size_t size_bytes)
{
    way_bytes = size_bytes;
    for (int way = CLIENT; way <= SERVER; way++)
        ways[way] = shared_memory(size_bytes);
    return 0;
}

static void unmap_ways(const struct route *r)
{
    (void)r;
    for (int way = CLIENT; way <= SERVER; way++)
        munmap(ways[way], way_bytes);
}

/* ------------------------------------------------------------------------
 * The ring, copied and mapped
 */

static int prepare_rings(const struct route *r)
{
    return map_ways(SPSC_BYTES(slots_for(r->size), r->size));
}

static int open_rings(const struct route *r)
{
    for (int way = CLIENT; way <= SERVER && side == CLIENT; way++)
        if (LAB(spsc_init, ways[way], slots_for(r->size), r->size) == -1)
            return lab_failed();
    return 0;
}

static int send_copied(const struct route *r)
{
    if (LAB(spsc_push, ways[side], own_place(r), r->size, -1) == -1)
        return lab_failed();
    return 0;
}

static const void *receive_copied(const struct route *r)
{
    ssize_t n = LAB(spsc_pop, ways[!side], own_room(r), r->size, -1);

    return right_size(n, r->size) == -1 ? NULL : own_room(r);
}

static void *place_mapped(const struct route *r)
{
    void *place = LAB(spsc_reserve, ways[side], -1);

    (void)r;
    if (!place)
        lab_failed();
    return place;
}

static int send_mapped(const struct route *r)
{
    if (LAB(spsc_commit, ways[side], r->size) == -1)
        return lab_failed();
    return 0;
}

static const void *receive_mapped(const struct route *r)
{
    size_t size = 0;
    const void *message = LAB(spsc_peek, ways[!side], &size, -1);

    if (!message) {
        lab_failed();
        return NULL;
    }
    return right_size((ssize_t)size, r->size) == -1 ? NULL : message;
}

static int release_mapped(const struct route *r)
{
    (void)r;
    if (LAB(spsc_consume, ways[!side]) == -1)
        return lab_failed();
    return 0;
}

static const struct mechanism ring_copied = {
    .name = "ring_copied",
    .prepare = prepare_rings,
    .open = open_rings,
    .place = own_place,
    .send = send_copied,
    .receive = receive_copied,
    .release = own_release,
    .remove = unmap_ways,
};

static const struct mechanism ring_mapped = {
    .name = "ring_mapped",
    .prepare = prepare_rings,
    .open = open_rings,
    .place = place_mapped,
    .send = send_mapped,
    .receive = receive_mapped,
    .release = release_mapped,
    .remove = unmap_ways,
};

/* ------------------------------------------------------------------------
 * Rounds
 */

static size_t round_bytes(void)
{
    return ROUND_BYTES;
}

static int prepare_rounds(const struct route *r)
{
    (void)r;
    return map_ways(ROUNDS_SPACE);
}

static int open_rounds(const struct route *r)
{
    (void)r;
    for (int way = CLIENT; way <= SERVER && side == CLIENT; way++)
        if (LAB(rounds_init, ways[way], ROUND_SLOTS, ROUND_BYTES) == -1)
            return lab_failed();
    if (LAB(rounds_join, ways[side], ROUNDS_SENDER) == -1 ||
        LAB(rounds_join, ways[!side], ROUNDS_RECEIVER) == -1)
        return lab_failed();
    return 0;
}

static int send_rounds(const struct route *r)
{
    if (LAB(rounds_send, ways[side], own_place(r), r->size, -1) == -1)
        return lab_failed();
    return 0;
}

static const void *receive_rounds(const struct route *r)
{
    ssize_t n = LAB(rounds_recv, ways[!side], own_room(r), r->size, -1);

    return right_size(n, r->size) == -1 ? NULL : own_room(r);
}

static int close_rounds(const struct route *r)
{
    (void)r;
    if (LAB(rounds_leave, ways[side], ROUNDS_SENDER) == -1 ||
        LAB(rounds_leave, ways[!side], ROUNDS_RECEIVER) == -1)
        return lab_failed();
    return 0;
}

static const struct mechanism rounds = {
    .name = "rounds",
    .largest = round_bytes,
    .prepare = prepare_rounds,
    .open = open_rounds,
    .place = own_place,
    .send = send_rounds,
    .receive = receive_rounds,
    .release = own_release,
    .close = close_rounds,
    .remove = unmap_ways,
};

const struct mechanism *const mechanisms[] = {&rounds, &ring_copied,
                                              &ring_mapped, NULL};
