/* drive_pipes.c - lab 1: messages on a pair of pipes, one for each way. */
#include "bench.h"

#include <errno.h>
#include <unistd.h>

#include "pipes.h"

/* ways[CLIENT] carries what the client sends: read end, write end. */
static int ways[2][2] = {{-1, -1}, {-1, -1}};

static int prepare_pipes(const struct route *r)
{
    (void)r;
    for (int way = CLIENT; way <= SERVER; way++)
        if (pipe(ways[way]) == -1)
            return not_ready("pipe");
    return 0;
}

/* Each process keeps one end of each pipe, so that it sees the other go. */
static int open_pipes(const struct route *r)
{
    (void)r;
    close(ways[side][0]);
    close(ways[!side][1]);
    return 0;
}

static int send_pipe(const struct route *r)
{
    if (LAB(pipe_send, ways[side][1], own_place(r), (uint32_t)r->size) == -1)
        return lab_failed();
    return 0;
}

static const void *receive_pipe(const struct route *r)
{
    ssize_t n = LAB(pipe_recv, ways[!side][0], own_room(r), r->size);

    return right_size(n, r->size) == -1 ? NULL : own_room(r);
}

static void remove_pipes(const struct route *r)
{
    (void)r;
    for (int i = 0; i < 4; i++) {
        close(ways[i / 2][i % 2]);
        ways[i / 2][i % 2] = -1;
    }
}

static const struct mechanism pipes = {
    .name = "pipe",
    .prepare = prepare_pipes,
    .open = open_pipes,
    .place = own_place,
    .send = send_pipe,
    .receive = receive_pipe,
    .release = own_release,
    .remove = remove_pipes,
};

const struct mechanism *const mechanisms[] = {&pipes, NULL};
