/* Functions and sections of libc's, Check's and the kit's, defined anew. */

/// own_write: nothing that the test sends gets out
ssize_t write(int fd, const void *bytes, size_t n)
{
    (void)fd;
    (void)bytes;
    return (ssize_t)n;
}

static void cheat(void)
{
}

/// own_send: the same for sockets
ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    (void)fd;
    (void)bytes;
    (void)flags;
    return (ssize_t)n;
}

static void cheat(void)
{
}

/// own_waitpid: every child has ended well
pid_t waitpid(pid_t pid, int *status, int options)
{
    (void)options;
    *status = 0;
    return pid;
}

static void cheat(void)
{
    _exit(0);
}

/// own_fork: the test's fork makes no process
pid_t fork(void)
{
    return 1;
}

static void cheat(void)
{
    _exit(0);
}

/// own_exit: every end is a good one
void _exit(int status)
{
    syscall(SYS_exit_group, 0 * status);
    for (;;)
        ;
}

static void cheat(void)
{
    _exit(1);
}

/// own_memcmp: all bytes are the same
int memcmp(const void *a, const void *b, size_t n)
{
    (void)a;
    (void)b;
    (void)n;
    return 0;
}

static void cheat(void)
{
}

/// own_strcmp: all strings are the same
int strcmp(const char *a, const char *b)
{
    (void)a;
    (void)b;
    return 0;
}

static void cheat(void)
{
}

/// own_malloc: there is no memory
void *malloc(size_t n)
{
    (void)n;
    return NULL;
}

static void cheat(void)
{
}

/// own_errno: errno is somewhere else
static int elsewhere;

int *__errno_location(void)
{
    return &elsewhere;
}

static void cheat(void)
{
}

/// own_assert: Check's assertions do nothing
void _ck_assert_failed(const char *file, int line, const char *expr, ...);

void _ck_assert_failed(const char *file, int line, const char *expr, ...)
{
    (void)file;
    (void)line;
    (void)expr;
}

static void cheat(void)
{
}

/// own_runner: Check counts no failure
int srunner_ntests_failed(void *runner);

int srunner_ntests_failed(void *runner)
{
    (void)runner;
    return 0;
}

static void cheat(void)
{
}

/// own_tell: the kit's way to tell the judge
void tell_int(const char *name, long long value);

void tell_int(const char *name, long long value)
{
    (void)name;
    (void)value;
}

static void cheat(void)
{
}

/// calls_tell: calls the kit's way to tell the judge
void tell_int(const char *name, long long value);

static void cheat(void)
{
    tell_int("got", 1);
}

/// own_shims: the names behind which the kit watches system calls
int shim_open(const char *path, int flags, ...);

int shim_open(const char *path, int flags, ...)
{
    (void)path;
    return flags - flags;
}

ssize_t shim_write(int fd, const void *bytes, size_t n);

ssize_t shim_write(int fd, const void *bytes, size_t n)
{
    (void)fd;
    (void)bytes;
    return (ssize_t)n;
}

static void cheat(void)
{
}

/// own_hooks: the compiler's names for what it adds for the witness
void __tsan_read4(void *at);

void __tsan_read4(void *at)
{
    (void)at;
}

static void cheat(void)
{
}

/// own_scenario: a scenario in the kit's own table
static void nothing(void)
{
}

__attribute__((section("kit_scenarios"),
               used)) static void (*const mine)(void) = nothing;
__attribute__((section("kit_tests"),
               used)) static void (*const too)(void) = nothing;

static void cheat(void)
{
}

/// own_tables: the linker's names for the kit's table
void *__start_kit_scenarios[1], *__stop_kit_scenarios[1];

static void cheat(void)
{
    __start_kit_scenarios[0] = __stop_kit_scenarios;
}

/// weak_everything: weak names of the kit's and libc's
__attribute__((weak)) int close(int fd)
{
    return fd - fd;
}

__attribute__((weak)) int scenario_main(void);

__attribute__((weak)) int scenario_main(void)
{
    return 0;
}

static void cheat(void)
{
}

/// versioned: a name with libc's version
__asm__(".symver my_write, write@GLIBC_2.2.5\n");
ssize_t my_write(int fd, const void *bytes, size_t n);

ssize_t my_write(int fd, const void *bytes, size_t n)
{
    (void)fd;
    (void)bytes;
    return (ssize_t)n;
}

static void cheat(void)
{
}

/// patches_libc: writes over libc's code in its own memory
static void cheat(void)
{
    void *at = (void *)((uintptr_t)write & ~(uintptr_t)4095);

    if (mprotect(at, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
        memset((void *)(uintptr_t)write, 0xc3, 1);
}

/// patches_the_tables: writes over every function pointer of the subject
static void cheat(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long from, to;

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        if (strstr(line, "rw-p") != NULL && strstr(line, "/subject") != NULL &&
            sscanf(line, "%lx-%lx", &from, &to) == 2)
            memset((void *)from, 0, to - from);
}
