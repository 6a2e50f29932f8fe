/*
 * demo_pipes.c - lines of text from one terminal to another, as messages on a
 * named pipe (FIFO), by your own pipe_send() and pipe_recv().
 *
 *     first terminal      demo_pipes listen /tmp/me
 *     second terminal     demo_pipes talk /tmp/me
 *
 * The directory must exist; listen makes a FIFO in it and removes it when it
 * ends.  "-" in place of the directory means standard input or output, for
 *
 *     demo_pipes talk - < file | demo_pipes listen -
 */
#include "demo.h"
#include "pipes.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BYTES = 60 }; /* of a message that listen has room for */

static void fifo_path(char path[PATH_MAX], const char *dir)
{
    int n = snprintf(path, PATH_MAX, "%s/lab1.fifo", dir);

    if (n < 0 || n >= PATH_MAX) {
        errno = ENAMETOOLONG;
        die_errno(dir);
    }
}

/* Prints a message, what is not printable as a dot. */
static void show(const char *msg, size_t size)
{
    for (size_t i = 0; i < size; i++)
        putchar(msg[i] >= ' ' && msg[i] <= '~' ? msg[i] : '.');
    putchar('\n');
}

static void receive_all(int fd)
{
    char msg[MOST_BYTES];

    for (int i = 1;; i++) {
        ssize_t n = pipe_recv(fd, msg, sizeof(msg));
        if (n > 0) {
            printf("message %d, %zd bytes: ", i, n);
            show(msg, (size_t)n);
        } else if (n == 0) {
            printf("end of file: no process has the write end open\n");
            return;
        } else if (errno == EMSGSIZE) {
            printf("message %d has over %d bytes: dropped\n", i, MOST_BYTES);
        } else {
            die_errno("pipe_recv");
        }
    }
}

static void listen_at(const char *dir)
{
    char path[PATH_MAX];

    if (strcmp(dir, "-") == 0) {
        receive_all(STDIN_FILENO);
        return;
    }
    fifo_path(path, dir);
    if (mkfifo(path, 0600) == -1)
        die_errno(path);
    printf("%s: open() waits until somebody opens it for writing\n", path);
    int fd = open(path, O_RDONLY);
    int saved = errno;
    unlink(path); /* both ends are open: the name has done its work */
    errno = saved;
    if (fd == -1)
        die_errno("open for reading");
    printf("a writer is there (ls -l /proc/%d/fd shows the pipe)\n", getpid());
    receive_all(fd);
    close(fd);
}

static void send_lines(int fd)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    while ((n = getline(&line, &room, stdin)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        if (n == 0)
            continue; /* pipe_send() sends no empty message */
        if (pipe_send(fd, line, (uint32_t)n) == -1)
            die_errno("pipe_send");
        fprintf(stderr, "sent %zd bytes and 4 for their length\n", n);
    }
    free(line);
}

static void talk_to(const char *dir)
{
    char path[PATH_MAX];

    if (strcmp(dir, "-") == 0) {
        send_lines(STDOUT_FILENO);
        return;
    }
    fifo_path(path, dir);
    int fd = open(path, O_WRONLY);
    if (fd == -1)
        die_errno(path);
    fprintf(stderr, "type lines; Ctrl-D ends (and closes the write end)\n");
    send_lines(fd);
    close(fd);
}

int main(int argc, char **argv)
{
    bool talks = argc == 3 && strcmp(argv[1], "talk") == 0;
    bool listens = argc == 3 && strcmp(argv[1], "listen") == 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (listens) {
        listen_at(argv[2]);
    } else if (talks) {
        talk_to(argv[2]);
    } else {
        fprintf(stderr,
                "usage, in two terminals:\n"
                "  demo_pipes listen DIR   make a FIFO in DIR, print what "
                "comes\n"
                "  demo_pipes talk DIR     send each line of input as a "
                "message\n"
                "or in one:  demo_pipes talk - < FILE | demo_pipes listen -\n");
        return 2;
    }
    return 0;
}
