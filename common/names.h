/* names.h - the names that the field uses for numbers. */
#ifndef NAMES_H
#define NAMES_H

/* "EINVAL", or "errno 4711" for a number that has no name.  The text is valid
 * until the fourth call after this one. */
const char *errno_name(int err);
/* "SIGPIPE", or "signal 77"; valid as above. */
const char *signal_name(int sig);

#endif
