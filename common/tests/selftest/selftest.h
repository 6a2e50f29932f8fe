/*
 * selftest.h - what the judge's own tests run in the place of a student's
 * code: functions that do well, and functions that each do one thing wrong.
 */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct overlap;

/* Well done. */
ssize_t good_read_full(int fd, void *buf, size_t size);
int good_write_all(int fd, const void *buf, size_t size);
int answer(int number);
int refuse(int err);
int not_written(void);
void *no_address(void);
int make_segment(key_t key, size_t size_bytes);
int shm_control(int id, int command); /* shmctl, with an information block */
int make_segment_loudly(key_t key, size_t size_bytes);

/* Ten bytes in three pieces by one call: 'v' readv or writev, 'm' recvmsg or
 * sendmsg. */
ssize_t read_pieces(int fd, char by, char text[10]);
ssize_t write_pieces(int fd, char by, const char text[10]);
int private_queue(void);             /* makes one and removes it */
int lock_and_sync(const char *path); /* lockf, fdatasync, fallocate, mremap */
int nap_in_poll(int ms);

/* Hangs, each in another call. */
int read_own_pipe(void);      /* holds the write end itself */
int read_pipe_of_child(void); /* a child holds the write end */
int write_full_pipe(void);    /* nobody reads */
int wait_for_sleeping_child(void);
int wait_on_semaphore_set(void);
int receive_from_empty_queue(void);
int lock_mutex_twice(void);
int lock_flock_twice(const char *path);
int stop_itself(void);
int close_everything(void);
int accept_nobody(void);
int receive_from_empty_posix_queue(const char *name);

/* Waits until a minute from now, by one call or another: returns what the call
 * did, 0 where it ends well.  `name`: of a queue to be made. */
enum until {
    UNTIL_COND_TIMEDWAIT,
    UNTIL_COND_CLOCKWAIT,
    UNTIL_MUTEX_TIMEDLOCK,
    UNTIL_MUTEX_CLOCKLOCK,
    UNTIL_RDLOCK_TIMED,
    UNTIL_RDLOCK_CLOCK,
    UNTIL_WRLOCK_TIMED,
    UNTIL_WRLOCK_CLOCK,
    UNTIL_SEM_TIMEDWAIT,
    UNTIL_SEM_CLOCKWAIT,
    UNTIL_MQ_TIMEDRECEIVE,
    UNTIL_MQ_TIMEDSEND,
    UNTIL_NANOSLEEP,
    UNTIL_FUTEX,
    UNTIL_TIMER,
    UNTIL_TIMERFD,
    UNTIL_END
};
int wait_a_minute_by(enum until call, const char *name);
/* What a clock says, in seconds. */
enum { CLOCK_WAYS = 5 };
long long read_clock(int way);

/* Neither ends nor sleeps for good. */
int turn_for_ever(void);
int take_memory(size_t bytes); /* ... and turn for ever */
enum { NAP_WAYS = 7 };
int nap_for_ever(int way);

/* Crashes and ends. */
int use_null(void);
int use_failed_address(void);
int divide_by(int zero);
int call_abort(void);
int overflow_stack(int depth);
int child_crashes(void);
int end_process(int status, bool at_once);
int write_to_nobody(int fd);
enum { LEAVE_BY_EXIT, LEAVE_BY_KILL, LEAVE_BY_CLOSE };
int leave_alone(int fd, int how);
int forget_exit(void); /* its child returns as well */
int kill_parent(void);
int kill_everybody(void);

/* Leaves things behind. */
int leave_descriptor(void);
int leave_zombie(void);
int leave_child(void);
int leave_daemon(void);
int leave_segment(void);
int leave_semaphores(void);
int leave_queue(void);
int leave_posix_memory(const char *name);
int leave_posix_semaphore(const char *name);
int leave_posix_queue(const char *name);
int leave_mapping(int id);
int leave_file(const char *path);
int leave_socket(const char *path);
int fork_for_ever(void);

/* Faults: the naive ones do not look. */
ssize_t naive_read(int fd, void *buf, size_t size);
int naive_write(int fd, const void *buf, size_t size);

/* Locks around body(arg), by the lock that lies in `lock`. */
enum lock_kind { LOCK_SEM, LOCK_SPIN, LOCK_NONE, LOCK_PRIVATE, LOCK_EARLY };
int with_lock(enum lock_kind kind, void *lock, void (*body)(void *arg),
              void *arg);

/* A flag with a condition, in shared memory.  Waits with `if` or `while`;
 * sets with the mutex or without. */
struct flag {
    pthread_mutex_t lock;
    pthread_cond_t set;
    int is_set;
};
int flag_init(struct flag *f);
int flag_wait(struct flag *f, bool in_a_loop); /* returns is_set */
int flag_set(struct flag *f, bool with_lock);

/* A note in shared memory, handed over in one of these ways. */
enum order {
    ORDER_RIGHT,
    ORDER_RELAXED_STORE,
    ORDER_RELAXED_LOAD,
    ORDER_FENCES,
    ORDER_PLAIN,
    ORDER_LATE /* it is written after it was said to be there */
};
struct note {
    char text[24];
    int plain_ready;
    _Atomic int ready;
};
int note_write(struct note *n, enum order order, const char *text);
int note_read(struct note *n, enum order order, char *text);

/* A mutex that one process makes and another one takes. */
struct latch {
    pthread_mutex_t mutex;
    _Atomic int ready;
};
int latch_make(struct latch *l, bool releases);
int latch_use(struct latch *l);
int latch_destroy(struct latch *l);

/* Adds to what lies behind the mutex of the flag, one way or the other. */
enum guard { GUARD_SHARED, GUARD_NONE, GUARD_PRIVATE, GUARD_EARLY };
int flag_add(struct flag *f, enum guard guard, int number);
/* Hands a number to a child or a thread, and takes it back from there. */
int add_in_child(int *shared, int number);
int add_in_thread(int *shared, int number, bool join_first);

/*
 * Under Valgrind a process that has left nothing of its scenario runs the next
 * one.  Each of these leaves something, or does what a test could tell by.
 */
enum left_in_process {
    LEFT_NOTHING,
    LEFT_BLOCK, /* allocated, and not freed */
    LEFT_ERROR, /* Valgrind's */
    LEFT_MAPPING,
    LEFT_DESCRIPTOR,
    LEFT_CHILD,
    LEFT_THREAD,
    LEFT_LOCK, /* of a robust mutex */
    LEFT_UNDO, /* of a semaphore */
    LEFT_ALARM,
    LEFT_SIGNAL, /* blocked, and pending */
    LEFT_MASK,   /* umask(2) */
    LEFT_LIMIT,
    LEFT_NUMBER, /* of the process, which was asked for */
    LEFT_END
};
/* id: of a set of semaphores.  Returns 0. */
int leave_in_process(enum left_in_process what, int id, pthread_mutex_t *lock);
/* How many times it was called in this process, by three variables. */
int times_called(void);
/* A child that is waited for. */
int fork_and_wait(void);

/* Output. */
int print_text(const char *text);
int print_for_ever(void);
int write_into_all_descriptors(void);

#endif
