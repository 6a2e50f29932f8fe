/* subject.h - what the parts of the subject's runtime share. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "../proto.h"

/* What one scenario process works with; the same in what it forks. */
struct scenario_state {
    unsigned number; /* of this start, from 1 */
    uint64_t undo; /* not 0: semaphores change when the process ends (shim.c) */
    int channel;
    struct area *area;
    struct made *made;
    int journal;
    struct witness *witness;
    const unsigned char *parcel;
    size_t parcel_bytes;
    int shared_fds[PARCEL_FDS]; /* of what was handed over, by index */
};
extern struct scenario_state scenario_state;

/*
 * Runs the scenario in this process, with these descriptors (FIXED_FDS, then
 * nfds handed over ones), and ends the process.  next: a socket; where nothing
 * is left of the scenario, it sends the request's number there, and runs what it
 * receives (requests.h).  -1: there is none.
 */
_Noreturn void scenario_main(const struct request *req, const int *fds,
                             int next);

/* In a child that a scenario has forked: Valgrind writes a log for it, which is
 * this scenario's.  Nothing outside of one. */
void scenario_tell_of_child(void);

/* Unmaps and closes what the scenario was given, and its way to the judge. */
void scenario_forget_memory(void);

/* Goes once through what each scenario does, in the fork server itself, and
 * leaves it as it was, with `control` open.  Valgrind translates code when it
 * is met first: what the server has met, its children have translated. */
void scenario_rehearse(int control);

/* ---- a process that runs more than one scenario (again.c) ---- */

/* In the fork server: notes how each of its processes begins. */
void again_prepare(void);
/* Makes this process as one that has just been forked; false: the scenario has
 * left something by which the next one could differ, and nothing was done. */
bool again_begin(void);

/* ---- shared memory and synchronization (witness.c) ---- */

void witness_start(void);
/* Memory that others may see: of a file, or of an object of a space. */
void witness_map(const void *at, size_t size_bytes, uint64_t space,
                 uint64_t object, uint64_t offset);
void witness_map_file(const void *at, size_t size_bytes, int fd,
                      uint64_t offset);
void witness_map_segment(const void *at, int id); /* System V */
void witness_unmap(const void *at);
/* The mapping at `from` lies at `to` now (mremap), or has stayed where it was
 * when `to` is MAP_FAILED; returns `to`. */
void *witness_moved(const void *from, void *to, size_t size_bytes);
/* Of the mutex, condition, semaphore ... in memory that the first argument of a
 * call of this family points to; 0: of none. */
size_t witness_object_size(const char *family);
/* Around each call that passes the shim. */
void witness_before(const char *family, const int64_t *args, uint64_t place);
void witness_after(const char *family, const int64_t *args, int64_t result);
int witness_create(pthread_t *id, const pthread_attr_t *attr,
                   void *(*start)(void *), void *arg);
int witness_join(pthread_t id, void **result);

/* The place of a return address in the program, from its base; the object at an
 * address; the end of a child that was waited for. */
uint64_t witness_place(const void *return_address);
struct event witness_at(const volatile void *address);
void witness_joined(pid_t pid);
/* What lies at an address, of up to 8 bytes. */
uint64_t witness_peek(const volatile void *at, size_t size);

/* ---- schedules (schedule.c) ----
 * All do nothing in a process that takes no turns. */

/* Before an access to shared memory, and after it: `before` is what lay
 * there. */
void schedule_access(const struct event *e, const char *name);
void schedule_seen(const struct event *e, uint64_t before, bool changes);
/* Before a plain store, which is made after the hook. */
void schedule_will_store(const struct event *e, const volatile void *at,
                         size_t size);
/* Keeps an atomic store in the store buffer: true, it is not to be made now. */
bool schedule_defer(volatile void *at, unsigned size, uint64_t value,
                    int order);
/* What a load finds in the buffer; false: nothing. */
bool schedule_forwarded(const volatile void *at, unsigned size,
                        uint64_t *value);
void schedule_flush(void);
/* Around a call that passes the shim; schedule_call() makes it, if it is one
 * that could block: true, with its result and errno. */
void schedule_enter(const char *name, const char *family, const int64_t *args,
                    uint64_t place);
bool schedule_call(const char *name, const char *family, const int64_t *args,
                   int64_t *result);
void schedule_leave(const char *family, int64_t result);
void schedule_in_child(void);

/* ---- time (clock.c) ---- */

/* A point in time of the code's clocks in real time, where time_passes() has
 * moved them; and what a timer is set to, if that is a point in time.  NULL
 * stays NULL; what is returned holds up to the next call. */
const struct timespec *clock_real(const struct timespec *t);
const struct itimerspec *clock_real_timer(bool is_point,
                                          const struct itimerspec *t);
/* For how long a call may wait at most, by its time-out, in ns; -1: it has
 * none. */
int64_t clock_wait_ns(const char *call, const int64_t *args);

/* Ends the scenario: the test, or the machine, is at fault. */
_Noreturn void scenario_broken(const char *what);

/* Meets HOLD() of this name; returns the gate of a HOLD_AFTER, or NULL. */
const char *shim_stop(const char *name, const char *family, const int64_t *args,
                      unsigned nargs);
/* Stops here until the test opens the gate. */
void shim_hold(const char *gate);

/* Runs the tool argv[2], if argv[1] says so, and ends the process. */
void tool_main(int argc, char **argv);

#endif
