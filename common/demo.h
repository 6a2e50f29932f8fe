/*
 * demo.h - what the demo programs share.
 */
#ifndef DEMO_H
#define DEMO_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#endif
