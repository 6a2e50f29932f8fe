/*
 * demo.h - what the demo programs share.
 */
#ifndef DEMO_H
#define DEMO_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prints the process and what it does, at once also into a pipe. */
#define SAY(...)                              \
    do {                                      \
        printf("process %d ", (int)getpid()); \
        printf(__VA_ARGS__);                  \
        putchar('\n');                        \
        fflush(stdout);                       \
    } while (0)

/*
 * Ends a program because a call failed: prints the program's name, what was
 * tried and the text of errno to standard error, and exits with 1.
 *
 *   what  the call, and what it was for when that helps: "shmat", "open log"
 *
 * For main() and the functions of a demo alone.  Functions of a lab return -1
 * and leave errno to their caller.
 */
_Noreturn static inline void die_errno(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
            strerror(errno));
    exit(1);
}

/*
 * An argument that is a number from least to most; base as for strtol(3).
 * Ends the program with 2 where it is none, and says so.
 */
static inline long number(const char *text, int base, long least, long most)
{
    char *end;

    errno = 0;
    long n = strtol(text, &end, base);
    if (*text == '\0' || *end != '\0' || errno != 0 || n < least || n > most) {
        fprintf(stderr, "%s: \"%s\" is no number from %ld to %ld\n",
                program_invocation_short_name, text, least, most);
        exit(2);
    }
    return n;
}

#endif
