/* Looks at what a student is not to see, or uses it. */

/// includes_the_solution: by the way that leads there from the lab
#include "../../solutions/" LAB_ID "/" LAB_FILE

static void cheat(void)
{
}

/// includes_the_solution_by_its_path: from the root
/// builds: no
#include SOLUTION

static void cheat(void)
{
}

/// includes_the_test: to learn what it looks for
/// builds: no
#include TEST_FILE

static void cheat(void)
{
}

/// includes_passwords: into the compiler's messages
/// builds: no
#include "/etc/passwd"
#include "/etc/shadow"

static void cheat(void)
{
}

/// embeds_the_solution: .incbin, and runs the compiler on it
/// builds: no
__asm__(".section .rodata\n.globl stolen\nstolen: .incbin \"" SOLUTION
        "\"\n.byte 0\n");

static void cheat(void)
{
}

/// embeds_the_test: .incbin of the test's source
/// builds: no
__asm__(".section .rodata\n.globl stolen\nstolen: .incbin \"" TEST_FILE
        "\"\n.byte 0\n");

static void cheat(void)
{
}

/// assembles_the_solution: .include of a file outside
/// builds: no
__asm__(".include \"" SOLUTION "\"\n");

static void cheat(void)
{
}

/// asks_what_is_there: __has_include of the solution
/// builds: no
#if __has_include(SOLUTION) || __has_include(TEST_FILE)
static void cheat(void)
{
}
#else
#error "not there"
#endif

/// reads_the_solution: and says so by how it ends
/// says: COULD READ NOTHING
static void cheat(void)
{
    const char *paths[] = {SOLUTION,
                           TEST_FILE,
                           LAB_DIR "/lab.toml",
                           KIT_DIR "/grader/score.py",
                           KIT_DIR "/build/report.json",
                           KIT_DIR "/solutions",
                           "/etc/shadow"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (open(paths[i], O_RDONLY) != -1) {
            dprintf(1, "\nCOULD READ %s\n", paths[i]);
            abort();
        }
    dprintf(1, "\nCOULD READ NOTHING\n");
    abort();
}

/// compiles_the_solution: reads it, builds a library and calls into that
static void cheat(void)
{
    char where[64], command[8192];

    snprintf(where, sizeof(where), "/tmp/x%d.so", (int)getpid());
    snprintf(command, sizeof(command),
             "cc -shared -fPIC -D_GNU_SOURCE -I" LAB_DIR " -o %s " SOLUTION,
             where);

    char *argv[] = {"sh", "-c", command, NULL};
    pid_t pid = fork();

    if (pid == 0)
        execv("/bin/sh", argv);
    waitpid(pid, NULL, 0);
    if (access(where, R_OK) == 0)
        dprintf(1, "\nCOULD COMPILE IT\n");
    abort();
}

/// lists_the_machine: what is in the folders around it
static void cheat(void)
{
    const char *folders[] = {"..",    "../..", "/lab",  "/home",
                             "/root", KIT_DIR, LAB_DIR, "/tmp"};

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        DIR *folder = opendir(folders[i]);
        struct dirent *entry;

        while (folder != NULL && (entry = readdir(folder)) != NULL)
            if (strstr(entry->d_name, "solutions") != NULL ||
                strstr(entry->d_name, "test_") != NULL)
                dprintf(1, "\nCOULD SEE %s/%s\n", folders[i], entry->d_name);
    }
    abort();
}

/// reads_the_judge: its memory, its program and its command line
static void cheat(void)
{
    for (int pid = 1; pid < 70000; pid++) {
        char path[64], first[1];

        if (pid == getpid() || pid == getppid())
            continue;
        snprintf(path, sizeof(path), "/proc/%d/mem", pid);

        int mem = open(path, O_RDONLY);

        if (mem != -1) {
            snprintf(path, sizeof(path), "/proc/%d/exe", pid);

            int exe = open(path, O_RDONLY);

            if (exe != -1 && read(exe, first, 1) == 1)
                dprintf(1, "\nCOULD READ the memory of %d\n", pid);
        }
    }
    abort();
}

/// preloads: puts a library of its own into whatever starts next
static void cheat(void)
{
    char *argv[] = {"subject", NULL};
    char *env[] = {"LD_PRELOAD=/tmp/x.so",
                   "LD_LIBRARY_PATH=/tmp",
                   "LD_AUDIT=/tmp/x.so",
                   "GLIBC_TUNABLES=glibc.malloc.check=3",
                   "MALLOC_TRACE=/tmp/x",
                   "CK_FORK=no",
                   "CK_RUN_SUITE=none",
                   "CK_XML_LOG_FILE_NAME=-",
                   NULL};

    execve("/proc/self/exe", argv, env);
}

/// changes_the_environment: for whoever reads it later
static void cheat(void)
{
    setenv("CK_RUN_SUITE", "none", 1);
    setenv("CK_VERBOSITY", "silent", 1);
    setenv("LD_PRELOAD", "/tmp/x.so", 1);
    setenv("PATH", "/tmp", 1);
    setenv("TMPDIR", "/", 1);
    clearenv();
}

/// calls_home: sends what it finds over the network
static void cheat(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(80)};

    there.sin_addr.s_addr = htonl(0x08080808);
    if (connect(fd, (struct sockaddr *)&there, sizeof(there)) == 0 ||
        errno == EINPROGRESS)
        dprintf(1, "\nCOULD CALL OUT\n");
    abort();
}
