/*
 * overlap.h - race control: does a lock exclude?
 *
 * The test owns the body of the critical section.  A struct overlap lies in
 * zero-filled memory that all who compete share (new_shared(), SHARE()).  The
 * body calls overlap_enter() first and overlap_leave() last.
 *
 * The first process to enter stays in the body until a second one has come
 * in as well, or until the judge (expect_alone() in kit.h) has seen that
 * nobody can: all others sleep, or turn in circles, before the lock.  So a
 * lock that does not exclude shows every time, however loaded the machine
 * is, and right code loses the moment that the judge needs to look, once.
 */
#ifndef OVERLAP_H
#define OVERLAP_H

#include <stdatomic.h>

struct overlap {
    atomic_uint inside;  /* processes that are in the body now */
    atomic_uint most;    /* the most that were ever in it at once */
    atomic_uint entries; /* how often the body was entered */
    atomic_uint over;    /* a futex; 1: the first one need not wait */
};

void overlap_enter(struct overlap *o);
void overlap_leave(struct overlap *o);

/* Ends the first one's stay. */
void overlap_release(struct overlap *o);

#endif
