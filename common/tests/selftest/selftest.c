/* selftest.c - see selftest.h. */
#include "selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

ssize_t good_read_full(int fd, void *buf, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, (char *)buf + done, size - done);

        if (n == 0)
            break;
        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0)
            done += (size_t)n;
    }
    return (ssize_t)done;
}

int good_write_all(int fd, const void *buf, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = write(fd, (const char *)buf + done, size - done);

        if (n == -1 && errno != EINTR)
            return -1;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int answer(int number)
{
    return number;
}

int refuse(int err)
{
    errno = err;
    return -1;
}

int not_written(void)
{
    errno = ENOSYS;
    return -1;
}

void *no_address(void)
{
    errno = ENOMEM;
    return NULL;
}

int make_segment(key_t key, size_t size_bytes)
{
    return shmget(key, size_bytes, IPC_CREAT | IPC_EXCL | 0600);
}

int shm_control(int id, int command)
{
    struct shmid_ds ds;

    return shmctl(id, command, &ds);
}

int make_segment_loudly(key_t key, size_t size_bytes)
{
    printf("making a segment\n");
    return make_segment(key, size_bytes);
}

/* ---- hangs -------------------------------------------------------------- */

int read_own_pipe(void)
{
    int p[2];
    char byte;

    if (pipe(p) == -1)
        return -1;
    return (int)read(p[0], &byte, 1);
}

int read_pipe_of_child(void)
{
    int p[2];
    char byte;

    if (pipe(p) == -1)
        return -1;
    if (fork() == 0) {
        pause();
        _exit(0);
    }
    close(p[1]);
    return (int)read(p[0], &byte, 1);
}

int write_full_pipe(void)
{
    static char data[1 << 20];
    int p[2];

    if (pipe(p) == -1)
        return -1;
    return (int)write(p[1], data, sizeof(data));
}

int wait_for_sleeping_child(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    return (int)waitpid(pid, NULL, 0);
}

int wait_on_semaphore_set(void)
{
    struct sembuf down = {.sem_op = -1};
    int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);

    return semop(id, &down, 1);
}

int receive_from_empty_queue(void)
{
    struct {
        long type;
        char text[8];
    } m;
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

    return (int)msgrcv(id, &m, sizeof(m.text), 5, 0);
}

int lock_mutex_twice(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&mutex);
    return pthread_mutex_lock(&mutex);
}

int lock_flock_twice(const char *path)
{
    int a = open(path, O_RDWR | O_CLOEXEC), b = open(path, O_RDWR | O_CLOEXEC);

    flock(a, LOCK_EX);
    return flock(b, LOCK_EX);
}

int stop_itself(void)
{
    return raise(SIGSTOP);
}

int close_everything(void)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    return 0;
}

int accept_nobody(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX,
                                  .sun_path = "nobody.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        listen(fd, 1) == -1)
        return -1;
    return accept(fd, NULL, NULL);
}

int receive_from_empty_posix_queue(const char *name)
{
    mqd_t q = mq_open(name, O_CREAT | O_EXCL | O_RDONLY, 0600, NULL);
    char buf[8192];

    return (int)mq_receive(q, buf, sizeof(buf), NULL);
}

int turn_for_ever(void)
{
    for (volatile int i = 0;; i++)
        ;
}

int take_memory(size_t bytes)
{
    char *memory = malloc(bytes);

    if (memory == NULL)
        return -1;
    memset(memory, 1, bytes);
    return turn_for_ever() + memory[0];
}

int nap_for_ever(int way)
{
    const struct timespec ms = {.tv_nsec = 1000000};

    for (;;) {
        struct timeval left = {.tv_usec = 1000};

        if (way == 0)
            usleep(1000);
        else if (way == 1)
            clock_nanosleep(CLOCK_MONOTONIC, 0, &ms, NULL);
        else if (way == 6)
            thrd_sleep(&ms, NULL);
        else if (way == 2)
            poll(NULL, 0, 1);
        else if (way == 3)
            ppoll(NULL, 0, &ms, NULL);
        else if (way == 4)
            select(0, NULL, NULL, NULL, &left);
        else
            pselect(0, NULL, NULL, NULL, &ms, NULL);
    }
}

/* ---- crashes and ends ---------------------------------------------------- */

int use_null(void)
{
    volatile int *p = NULL;

    return *p;
}

int use_failed_address(void)
{
    volatile char *p = shmat(-1, NULL, 0);

    return p[0];
}

int divide_by(int zero)
{
    return 7 / zero;
}

int call_abort(void)
{
    abort();
}

int overflow_stack(int depth)
{
    volatile char room[4096];

    room[0] = (char)depth;
    if (depth == -1)
        return 0;
    return overflow_stack(depth + 1) + room[0];
}

int child_crashes(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(use_null());
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -1 : 0;
}

int end_process(int status, bool at_once)
{
    if (at_once)
        _exit(status);
    exit(status);
}

int write_to_nobody(int fd)
{
    return (int)write(fd, "x", 1);
}

int leave_alone(int fd, int how)
{
    if (how == LEAVE_BY_EXIT)
        _exit(7);
    if (how == LEAVE_BY_KILL)
        raise(SIGKILL);
    close(fd);
    for (;;)
        pause();
}

int forget_exit(void)
{
    pid_t pid = fork();

    if (pid > 0)
        return waitpid(pid, NULL, 0) == pid ? 0 : -1;
    return 0;
}

int kill_parent(void)
{
    return kill(getppid(), SIGKILL);
}

int kill_everybody(void)
{
    return kill(-1, SIGKILL);
}

/* ---- left behind ----------------------------------------------------------- */

int leave_descriptor(void)
{
    int p[2];

    if (pipe(p) == -1)
        return -1;
    close(p[0]);
    return 0;
}

int leave_zombie(void)
{
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

int leave_child(void)
{
    if (fork() == 0) {
        pause();
        _exit(0);
    }
    return 0;
}

int leave_daemon(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        pause();
        _exit(0);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

int leave_segment(void)
{
    return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
}

int leave_semaphores(void)
{
    return semget(IPC_PRIVATE, 2, IPC_CREAT | 0600);
}

int leave_queue(void)
{
    return msgget(IPC_PRIVATE, IPC_CREAT | 0600);
}

int leave_posix_memory(const char *name)
{
    return close(shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600));
}

int leave_posix_semaphore(const char *name)
{
    return sem_close(sem_open(name, O_CREAT | O_EXCL, 0600, 1));
}

int leave_posix_queue(const char *name)
{
    return mq_close(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
}

int leave_mapping(int id)
{
    return shmat(id, NULL, 0) == (void *)-1 ? -1 : 0;
}

int leave_file(const char *path)
{
    return close(open(path, O_CREAT | O_WRONLY, 0600));
}

int leave_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1)
        return -1;
    return close(fd);
}

int fork_for_ever(void)
{
    for (;;)
        fork();
}

/* ---- faults ------------------------------------------------------------------ */

ssize_t naive_read(int fd, void *buf, size_t size)
{
    return read(fd, buf, size);
}

int naive_write(int fd, const void *buf, size_t size)
{
    return write(fd, buf, size) == -1 ? -1 : 0;
}

struct pieces {
    struct iovec at[3];
    struct msghdr msg;
};

static void cut(struct pieces *p, char text[10])
{
    p->at[0] = (struct iovec){text, 3};
    p->at[1] = (struct iovec){text + 3, 4};
    p->at[2] = (struct iovec){text + 7, 3};
    p->msg = (struct msghdr){.msg_iov = p->at, .msg_iovlen = 3};
}

ssize_t read_pieces(int fd, char by, char text[10])
{
    struct pieces p;

    cut(&p, text);
    return by == 'v' ? readv(fd, p.at, 3) : recvmsg(fd, &p.msg, MSG_WAITALL);
}

ssize_t write_pieces(int fd, char by, const char text[10])
{
    struct pieces p;
    char copy[10];

    memcpy(copy, text, sizeof(copy));
    cut(&p, copy);
    return by == 'v' ? writev(fd, p.at, 3) : sendmsg(fd, &p.msg, MSG_NOSIGNAL);
}

int private_queue(void)
{
    int id = msgget(IPC_PRIVATE, 0600);

    return id == -1 ? -1 : msgctl(id, IPC_RMID, NULL);
}

int lock_and_sync(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *at;

    if (fd == -1 || lockf(fd, F_LOCK, 0) == -1 ||
        fallocate(fd, 0, 0, 8192) == -1 || fdatasync(fd) == -1)
        return -1;
    at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -1;
    at = mremap(at, 4096, 8192, MREMAP_MAYMOVE);
    if (at == MAP_FAILED)
        return -1;
    munmap(at, 8192);
    close(fd);
    return 0;
}

int nap_in_poll(int ms)
{
    return poll(NULL, 0, ms);
}

/* ---- time --------------------------------------------------------------------- */

static struct timespec in_a_minute(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    t.tv_sec += 60;
    return t;
}

static int wait_for_condition(bool by_clock)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    struct timespec t =
        in_a_minute(by_clock ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    int err;

    pthread_mutex_lock(&lock);
    err = by_clock ? pthread_cond_clockwait(&cond, &lock, CLOCK_MONOTONIC, &t)
                   : pthread_cond_timedwait(&cond, &lock, &t);
    pthread_mutex_unlock(&lock);
    return err;
}

static int wait_for_mutex(bool by_clock)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct timespec t =
        in_a_minute(by_clock ? CLOCK_MONOTONIC : CLOCK_REALTIME);

    pthread_mutex_lock(&lock);
    return by_clock ? pthread_mutex_clocklock(&lock, CLOCK_MONOTONIC, &t)
                    : pthread_mutex_timedlock(&lock, &t);
}

static void *hold_rwlock(void *lock)
{
    pthread_rwlock_wrlock(lock);
    return NULL;
}

static int wait_for_rwlock(bool to_write, bool by_clock)
{
    pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    struct timespec t =
        in_a_minute(by_clock ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    pthread_t holder;

    pthread_create(&holder, NULL, hold_rwlock, &lock);
    pthread_join(holder, NULL);
    if (to_write)
        return by_clock ? pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &t)
                        : pthread_rwlock_timedwrlock(&lock, &t);
    return by_clock ? pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &t)
                    : pthread_rwlock_timedrdlock(&lock, &t);
}

static int wait_for_semaphore(bool by_clock)
{
    struct timespec t =
        in_a_minute(by_clock ? CLOCK_MONOTONIC : CLOCK_REALTIME);
    sem_t sem;
    int ret;

    sem_init(&sem, 0, 0);
    ret = by_clock ? sem_clockwait(&sem, CLOCK_MONOTONIC, &t)
                   : sem_timedwait(&sem, &t);
    return ret == -1 ? errno : 0;
}

static int wait_for_queue(bool to_send, const char *name)
{
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    struct timespec t = in_a_minute(CLOCK_REALTIME);
    char buf[8];
    int ret, err;

    mq_unlink(name);
    if (to_send) {
        mq_send(q, "full", 4, 0);
        ret = mq_timedsend(q, "more", 4, 0, &t);
    } else {
        ret = (int)mq_timedreceive(q, buf, sizeof(buf), NULL, &t);
    }
    err = errno;
    mq_close(q);
    return ret == -1 ? err : 0;
}

static int wait_in_futex(void)
{
    static uint32_t word;
    struct timespec t = in_a_minute(CLOCK_MONOTONIC);
    long ret = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &t, NULL,
                       FUTEX_BITSET_MATCH_ANY);

    return ret == -1 ? errno : 0;
}

static int wait_for_timer(void)
{
    struct itimerspec at = {.it_value = in_a_minute(CLOCK_MONOTONIC)};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = SIGALRM};
    timer_t timer;
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, TIMER_ABSTIME, &at, NULL);
    sigwait(&set, &sig);
    timer_delete(timer);
    return sig == SIGALRM ? 0 : -1;
}

static int wait_for_timerfd(void)
{
    struct itimerspec at = {.it_value = in_a_minute(CLOCK_MONOTONIC)};
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    uint64_t times = 0;

    timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
    read(fd, &times, sizeof(times));
    close(fd);
    return times == 1 ? 0 : -1;
}

int wait_a_minute_by(enum until call, const char *name)
{
    struct timespec t;

    switch (call) {
    case UNTIL_COND_TIMEDWAIT:
    case UNTIL_COND_CLOCKWAIT:
        return wait_for_condition(call == UNTIL_COND_CLOCKWAIT);
    case UNTIL_MUTEX_TIMEDLOCK:
    case UNTIL_MUTEX_CLOCKLOCK:
        return wait_for_mutex(call == UNTIL_MUTEX_CLOCKLOCK);
    case UNTIL_RDLOCK_TIMED:
    case UNTIL_RDLOCK_CLOCK:
        return wait_for_rwlock(false, call == UNTIL_RDLOCK_CLOCK);
    case UNTIL_WRLOCK_TIMED:
    case UNTIL_WRLOCK_CLOCK:
        return wait_for_rwlock(true, call == UNTIL_WRLOCK_CLOCK);
    case UNTIL_SEM_TIMEDWAIT:
    case UNTIL_SEM_CLOCKWAIT:
        return wait_for_semaphore(call == UNTIL_SEM_CLOCKWAIT);
    case UNTIL_MQ_TIMEDRECEIVE:
    case UNTIL_MQ_TIMEDSEND:
        return wait_for_queue(call == UNTIL_MQ_TIMEDSEND, name);
    case UNTIL_NANOSLEEP:
        t = in_a_minute(CLOCK_MONOTONIC);
        return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    case UNTIL_FUTEX:
        return wait_in_futex();
    case UNTIL_TIMER:
        return wait_for_timer();
    default:
        return wait_for_timerfd();
    }
}

long long read_clock(int way)
{
    struct timespec t;
    struct timeval tv;

    switch (way) {
    case 0:
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec;
    case 1:
        clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec;
    case 2:
        timespec_get(&t, TIME_UTC);
        return t.tv_sec;
    case 3:
        gettimeofday(&tv, NULL);
        return tv.tv_sec;
    default:
        return time(NULL);
    }
}

/* ---- locks -------------------------------------------------------------------- */

static sem_t private_lock;

static void lock_by(enum lock_kind kind, void *lock)
{
    if (kind == LOCK_SPIN)
        while (atomic_exchange((atomic_int *)lock, 1) == 1)
            ;
    else if (kind == LOCK_PRIVATE)
        sem_wait(&private_lock);
    else if (kind != LOCK_NONE)
        sem_wait(lock);
}

static void unlock_by(enum lock_kind kind, void *lock)
{
    if (kind == LOCK_SPIN)
        atomic_store((atomic_int *)lock, 0);
    else if (kind == LOCK_PRIVATE)
        sem_post(&private_lock);
    else if (kind != LOCK_NONE)
        sem_post(lock);
}

int with_lock(enum lock_kind kind, void *lock, void (*body)(void *arg),
              void *arg)
{
    sem_init(&private_lock, 0, 1);
    lock_by(kind, lock);
    if (kind == LOCK_EARLY)
        unlock_by(kind, lock);
    body(arg);
    if (kind != LOCK_EARLY)
        unlock_by(kind, lock);
    return 0;
}

int flag_init(struct flag *f)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;

    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    pthread_condattr_init(&cond);
    pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&f->lock, &mutex);
    pthread_cond_init(&f->set, &cond);
    f->is_set = 0;
    return 0;
}

int flag_wait(struct flag *f, bool in_a_loop)
{
    int is_set;

    pthread_mutex_lock(&f->lock);
    if (!in_a_loop && !f->is_set)
        pthread_cond_wait(&f->set, &f->lock);
    while (in_a_loop && !f->is_set)
        pthread_cond_wait(&f->set, &f->lock);
    is_set = f->is_set;
    pthread_mutex_unlock(&f->lock);
    return is_set;
}

int flag_set(struct flag *f, bool with_lock)
{
    if (with_lock)
        pthread_mutex_lock(&f->lock);
    f->is_set = 1;
    pthread_cond_signal(&f->set);
    if (with_lock)
        pthread_mutex_unlock(&f->lock);
    return 0;
}

int note_write(struct note *n, enum order order, const char *text)
{
    if (order != ORDER_LATE)
        memcpy(n->text, text, strlen(text) + 1);
    if (order == ORDER_PLAIN)
        n->plain_ready = 1;
    else if (order == ORDER_RELAXED_STORE)
        atomic_store_explicit(&n->ready, 1, memory_order_relaxed);
    else if (order == ORDER_FENCES) {
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&n->ready, 1, memory_order_relaxed);
    } else
        atomic_store_explicit(&n->ready, 1, memory_order_release);
    if (order == ORDER_LATE)
        memcpy(n->text, text, strlen(text) + 1);
    return 0;
}

static int note_is_ready(struct note *n, enum order order)
{
    if (order == ORDER_PLAIN)
        return n->plain_ready;
    if (order == ORDER_RELAXED_LOAD || order == ORDER_FENCES)
        return atomic_load_explicit(&n->ready, memory_order_relaxed);
    return atomic_load_explicit(&n->ready, memory_order_acquire);
}

int note_read(struct note *n, enum order order, char *text)
{
    while (!note_is_ready(n, order))
        sched_yield();
    if (order == ORDER_FENCES)
        atomic_thread_fence(memory_order_acquire);
    memcpy(text, n->text, sizeof(n->text));
    return 0;
}

int latch_make(struct latch *l, bool releases)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&l->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    if (releases)
        atomic_store_explicit(&l->ready, 1, memory_order_release);
    else
        atomic_store_explicit(&l->ready, 1, memory_order_relaxed);
    return 0;
}

int latch_use(struct latch *l)
{
    while (!atomic_load_explicit(&l->ready, memory_order_acquire))
        sched_yield();
    pthread_mutex_lock(&l->mutex);
    pthread_mutex_unlock(&l->mutex);
    return 0;
}

int latch_destroy(struct latch *l)
{
    return pthread_mutex_destroy(&l->mutex);
}

int flag_add(struct flag *f, enum guard guard, int number)
{
    static pthread_mutex_t private_mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_t *m = guard == GUARD_PRIVATE ? &private_mutex : &f->lock;

    if (guard != GUARD_NONE)
        pthread_mutex_lock(m);
    if (guard == GUARD_EARLY)
        pthread_mutex_unlock(m);
    f->is_set += number;
    if (guard != GUARD_NONE && guard != GUARD_EARLY)
        pthread_mutex_unlock(m);
    return 0;
}

int add_in_child(int *shared, int number)
{
    pid_t child;

    *shared = number;
    child = fork();
    if (child == 0) {
        *shared += number;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return *shared;
}

static void *add_to_itself(void *shared)
{
    *(int *)shared += *(int *)shared;
    return NULL;
}

int add_in_thread(int *shared, int number, bool join_first)
{
    pthread_t thread;
    int seen = 0;

    *shared = number;
    pthread_create(&thread, NULL, add_to_itself, shared);
    if (!join_first)
        seen = *shared;
    pthread_join(thread, NULL);
    return join_first ? *shared : seen;
}

/* ---- output --------------------------------------------------------------------- */

int print_text(const char *text)
{
    return printf("%s\n", text);
}

int print_for_ever(void)
{
    for (;;)
        printf("0123456789012345678901234567890123456789012345678901234567890"
               "\n");
}

int write_into_all_descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++)
        (void)!write(fd, "100%: Checks: 1, Failures: 0, Errors: 0\n", 40);
    return 0;
}

/* ---- what is left in a process -------------------------------------------- */

static void *wait_for_ever(void *arg)
{
    pause();
    return arg;
}

static int leave_memory_error(void)
{
    int *volatile number = malloc(sizeof(*number)); /* nothing is known of it */
    int seen = 0;

    if (number != NULL && *number == 4711) /* never set */
        seen = 1;
    free(number);
    return seen;
}

static int leave_pending_signal(void)
{
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    return raise(SIGUSR1);
}

static int leave_low_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NPROC, &limit) == -1)
        return -1;
    limit.rlim_cur = 100;
    return setrlimit(RLIMIT_NPROC, &limit);
}

int leave_in_process(enum left_in_process what, int id, pthread_mutex_t *lock)
{
    static void *block;
    struct sembuf down = {.sem_op = -1, .sem_flg = SEM_UNDO};
    pthread_t thread;

    switch (what) {
    case LEFT_BLOCK:
        return (block = malloc(10)) == NULL;
    case LEFT_ERROR:
        return leave_memory_error();
    case LEFT_MAPPING:
        return mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) ==
               MAP_FAILED;
    case LEFT_DESCRIPTOR:
        return leave_descriptor();
    case LEFT_CHILD:
        return leave_child();
    case LEFT_THREAD:
        return pthread_create(&thread, NULL, wait_for_ever, NULL);
    case LEFT_LOCK:
        return pthread_mutex_lock(lock);
    case LEFT_UNDO:
        return semop(id, &down, 1);
    case LEFT_ALARM:
        return (int)alarm(1000);
    case LEFT_SIGNAL:
        return leave_pending_signal();
    case LEFT_MASK:
        return umask(0) == 0;
    case LEFT_LIMIT:
        return leave_low_limit();
    case LEFT_NUMBER:
        return getpid() < 1;
    default:
        return 0;
    }
}

int times_called(void)
{
    static int first = 10, second;
    static _Thread_local int third;

    return ++first == 11 && ++second == 1 ? ++third : -1;
}

int fork_and_wait(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}
