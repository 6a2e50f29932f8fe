/* A program with memory errors, in itself and in a child: see README.md. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void uses_unset(void)
{
    int unset;
    volatile int *p = &unset;

    if (*p == 12345)
        puts("unlikely");
}

static void writes_past_the_end(void)
{
    char *p = malloc(10);

    p[10] = 1;
    free(p);
}

static void loses_memory(void)
{
    *(volatile char *)malloc(16) = 1;
}

int main(void)
{
    uses_unset();
    if (fork() == 0) {
        writes_past_the_end();
        loses_memory();
        exit(0);
    }
    wait(NULL);
    if (fork() == 0) {
        writes_past_the_end();
        kill(getpid(), SIGKILL);
    }
    wait(NULL);
    return 0;
}
