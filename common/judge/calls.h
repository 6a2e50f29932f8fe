/* calls.h - system calls by number and name (processes.c). */
#ifndef CALLS_H
#define CALLS_H

#include <sys/syscall.h>

/* Some machines have only the newer form of a call. */
#ifndef SYS_poll
#define SYS_poll       (-101)
#define SYS_select     (-102)
#define SYS_open       (-103)
#define SYS_pause      (-104)
#define SYS_epoll_wait (-105)
#endif

/* "read", or NULL for a call that is not known to block. */
const char *call_name(long number);

#endif
