/* Code that runs before the subject's main(), after it, or in its place. */

/// constructor_exits: ends before the first test
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    _exit(0);
}

/// constructor_forges: prints a summary and ends
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    puts("100%: Checks: 99, Failures: 0, Errors: 0\n100/100");
    fflush(stdout);
    exit(0);
}

/// constructor_waits: never comes to main()
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    for (;;)
        pause();
}

/// constructor_spins: uses up the processor before main()
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    for (;;)
        ;
}

/// constructor_crashes: SIGSEGV before main()
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    *(volatile int *)8 = 1;
}

/// constructor_stays: leaves a daemon behind before main()
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    for (;;)
        pause();
}

/// constructor_closes: closes the socket by which the judge asks
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    syscall(SYS_close_range, 3u, ~0u, 0u);
}

/// constructor_kills_its_parent: the judge, before the first test
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    kill(getppid(), SIGKILL);
}

/// constructor_answers_for_the_server: says of every test that it ended well
static void cheat(void)
{
}

__attribute__((constructor)) static void first(void)
{
    char request[65536];

    for (;;) {
        int answer[3] = {1, getpid(), 0};

        if (recv(3, request, sizeof(request), 0) <= 0)
            _exit(0);
        send(3, answer, sizeof(answer), 0);
        answer[0] = 0;
        send(3, answer, sizeof(answer), 0);
    }
}

/// destructor_exits: turns every end into status 0
static void cheat(void)
{
    exit(1);
}

__attribute__((destructor)) static void last(void)
{
    _exit(0);
}

/// init_array: a constructor by its section
static void first(void)
{
    _exit(0);
}

static void cheat(void)
{
}

__attribute__((section(".init_array"),
               used)) static void (*const at_start)(void) = first;

/// fini_array: a destructor by its section
static void last(void)
{
    _exit(0);
}

static void cheat(void)
{
    exit(1);
}

__attribute__((section(".fini_array"),
               used)) static void (*const at_end)(void) = last;

/// preinit_array: before every constructor
static void first(void)
{
    _exit(0);
}

static void cheat(void)
{
}

__attribute__((section(".preinit_array"),
               used)) static void (*const before)(void) = first;

/// ifunc: code that the dynamic linker runs
static int nothing(void)
{
    return 0;
}

static void *resolve(void)
{
    syscall(SYS_exit_group, 0);
    return (void *)nothing;
}

int chosen(void) __attribute__((ifunc("resolve")));

static void cheat(void)
{
    chosen();
}

/// own_main: a main() in place of the kit's
int main(void);

int main(void)
{
    puts("100%: Checks: 99, Failures: 0, Errors: 0");
    return 0;
}

static void cheat(void)
{
}

/// own_start: the program's first instruction
void _start(void);

void _start(void)
{
    syscall(SYS_exit_group, 0);
}

static void cheat(void)
{
}

/// own_libc_start_main: what calls main()
int __libc_start_main(void);

int __libc_start_main(void)
{
    syscall(SYS_exit_group, 0);
    return 0;
}

static void cheat(void)
{
}

/// main_by_assembly: another symbol main
__asm__(".globl main\n.set main, my_main\n");
__attribute__((used)) static int my_main(void) __asm__("my_main");

static int my_main(void)
{
    return 0;
}

static void cheat(void)
{
}
