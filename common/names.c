/* names.c - the names that the field uses for numbers. */
#include <stdio.h>
#include <string.h>

#include "names.h"

static char *next_buffer(void)
{
    static char buffers[4][32];
    static unsigned turn;

    return buffers[turn++ % 4];
}

const char *errno_name(int err)
{
    const char *name = err == 0 ? "0" : strerrorname_np(err);
    char *buf = next_buffer();

    if (name != NULL)
        return name;
    snprintf(buf, 32, "errno %d", err);
    return buf;
}

const char *signal_name(int sig)
{
    const char *name = sigabbrev_np(sig);
    char *buf = next_buffer();

    if (name != NULL)
        snprintf(buf, 32, "SIG%s", name);
    else
        snprintf(buf, 32, "signal %d", sig);
    return buf;
}
