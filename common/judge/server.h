/* server.h - the subject program as the judge sees it (server.c). */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "../proto.h"

/* Starts the subject program if it does not run.  Where it has failed to
 * start several times, the test fails. */
void server_need(void);
/* A scenario is ready: the program starts as it should. */
void server_started(void);
/* Sends a request; false: the program has ended, or does not read. */
bool server_send(const struct request *req, const int *fds, size_t nfds);
int server_control(void); /* -1: not running */
void server_has_ended(int status);

/*
 * A worker, a process that has left nothing of its scenario, is idle until it
 * gets the next one (under Valgrind only; subject/server.c).  It is then none of
 * the subject's processes.
 */
void server_note_worker(pid_t pid, bool idle);
bool server_has_idle(pid_t pid);
/* Those that do not sleep are not what they say, and count again. */
void server_check_workers(void);

const char *server_why(void);

#endif
