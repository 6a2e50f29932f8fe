/* Ways to end, or to stop, before the test has seen what it came for. */

/// exit_0: ends as if all were well
static void cheat(void)
{
    exit(0);
}

/// exit_0_at_once: the same without what atexit(3) has noted
static void cheat(void)
{
    _exit(0);
}

/// exit_by_system_call: the same past every function of libc
static void cheat(void)
{
    syscall(SYS_exit_group, 0);
}

/// exit_in_the_end: atexit(3), and then exit
static void last(void)
{
    puts("100%: Checks: 99, Failures: 0, Errors: 0");
    fflush(stdout);
    _exit(0);
}

static void cheat(void)
{
    atexit(last);
    exit(1);
}

/// exit_of_the_thread: the main thread ends, another one goes on and exits
static void *goes_on(void *arg)
{
    usleep(1000);
    exit(0);
    return arg;
}

static void cheat(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, goes_on, NULL);
    pthread_exit(NULL);
}

/// exit_later: a thread that ends the process once the function has returned
static void *ends_it(void *arg)
{
    _exit(0);
    return arg;
}

static void cheat(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, ends_it, NULL);
    pthread_detach(thread);
}

/// quick_exit: C11's other exit
static void cheat(void)
{
    quick_exit(0);
}

/// aborts: abort(3)
/// says: SIGABRT
static void cheat(void)
{
    abort();
}

/// crashes: writes where nothing is
/// says: SIGSEGV
static void cheat(void)
{
    *(volatile int *)8 = 1;
}

/// divides_by_zero: SIGFPE
static void cheat(void)
{
    volatile int zero = 0;

    zero = 1 / zero;
}

/// catches_its_crash: goes on in a handler as if nothing had been
static sigjmp_buf back;

static void caught(int number)
{
    siglongjmp(back, number);
}

static void cheat(void)
{
    signal(SIGSEGV, caught);
    if (sigsetjmp(back, 1) == 0)
        *(volatile int *)8 = 1;
    _exit(0);
}

/// exits_in_its_crash: the handler ends the process with status 0
static void caught(int number)
{
    _exit(number - number);
}

static void cheat(void)
{
    signal(SIGSEGV, caught);
    *(volatile int *)8 = 1;
}

/// kills_itself: SIGKILL
/// says: SIGKILL
static void cheat(void)
{
    raise(SIGKILL);
}

/// terminates_itself: SIGTERM
/// says: SIGTERM
static void cheat(void)
{
    raise(SIGTERM);
}

/// stops_itself: SIGSTOP, as long as nobody sends SIGCONT
static void cheat(void)
{
    raise(SIGSTOP);
}

/// jumps_up_the_stack: longjmp(3) to a frame that is gone
static jmp_buf gone;

static void leave_it(void)
{
    if (setjmp(gone) != 0)
        _exit(0);
}

static void cheat(void)
{
    leave_it();
    longjmp(gone, 1);
}

/// becomes_true: execs a program that always succeeds
static void cheat(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

/// becomes_itself: execs the subject once more, in the test's process
static void cheat(void)
{
    extern char **environ;
    char *argv[] = {"subject", NULL};

    execve("/proc/self/exe", argv, environ);
}

/// returns_twice: both sides of a fork come back to the test
static void cheat(void)
{
    fork();
}

/// child_returns: the parent is gone, its child comes back to the test
static void cheat(void)
{
    if (fork() > 0)
        _exit(0);
}

/// vfork_returns: the child of a vfork comes back in its parent's stack
static void cheat(void)
{
    if (vfork() == 0)
        _exit(0);
}

/// recurses: until the stack is used up
static int deeper(volatile char *above)
{
    volatile char here[4096];

    here[0] = above[0];
    return deeper(here) + here[1];
}

static void cheat(void)
{
    char none[1] = {0};

    deeper(none);
}

/// alarm_ends_it: a timer whose signal ends the process
static void cheat(void)
{
    signal(SIGALRM, SIG_DFL);
    ualarm(1000, 0);
}

/// runs_out_of_time: lowers its own limit of processor time
static void cheat(void)
{
    struct rlimit limit = {0, 0};

    setrlimit(RLIMIT_CPU, &limit);
    for (;;)
        ;
}

/// no_descriptors_left: lowers its own limit of open files
static void cheat(void)
{
    struct rlimit limit = {0, 0};

    setrlimit(RLIMIT_NOFILE, &limit);
}

/// closes_everything: every descriptor, the test's own among them
static void cheat(void)
{
    syscall(SYS_close_range, 0u, ~0u, 0u);
}

/// points_all_at_null: every descriptor becomes /dev/null
static void cheat(void)
{
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd < 256; fd++)
        dup2(null, fd);
}

/// unmaps_the_stack: takes away what it stands on
static void cheat(void)
{
    char here;

    munmap((void *)((uintptr_t)&here & ~(uintptr_t)4095), 4096);
}

/// smashes_the_stack: writes over the frames of those who called it
static void cheat(void)
{
    volatile char here[16];

    for (int i = 0; i < 4096; i++)
        here[i] = 0;
}
