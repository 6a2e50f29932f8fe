/* requests.c - what is sent with descriptors: requests for scenarios. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "requests.h"

union descriptors {
    char bytes[CMSG_SPACE(REQUEST_FDS * sizeof(int))];
    struct cmsghdr align;
};

bool request_send(int socket, const struct request *req, const int *fds,
                  size_t nfds)
{
    union descriptors room;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)req,
                        .iov_len = sizeof(*req)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room.bytes,
                         .msg_controllen = CMSG_SPACE(nfds * sizeof(int))};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    memset(&room, 0, sizeof(room));
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
    return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(*req);
}

bool request_receive(int socket, struct request *req, int *fds, size_t *nfds)
{
    union descriptors room;
    struct iovec iov = {.iov_base = req, .iov_len = sizeof(*req)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room.bytes,
                         .msg_controllen = sizeof(room.bytes)};
    ssize_t got;

    do
        got = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
    while (got == -1 && errno == EINTR);
    if (got != sizeof(*req))
        return false;

    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    *nfds = 0;
    if (cmsg != NULL && cmsg->cmsg_type == SCM_RIGHTS) {
        *nfds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(cmsg), *nfds * sizeof(int));
    }
    return *nfds == FIXED_FDS + req->nfds;
}
