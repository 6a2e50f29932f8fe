/*
 * confine.c - runs a program that sees and reaches less than its user may:
 *
 *     confine [--read PATH]... [--write PATH]... -- COMMAND [ARG]...
 *
 * Where there are no namespaces, a student's program is kept by Landlock from
 * every file but those below the paths given, from looking into processes
 * that are not confined with it (ptrace(2), /proc/PID/mem), and from sending
 * them signals.  It needs no privilege.  A path that does not exist is left
 * out; without any path, files are as they are for its user.  No program that
 * it starts gains privileges (set-user-ID).
 *
 * What Landlock leaves open between processes of one user is closed by a
 * filter of system calls: limits, priorities and processors of others, and
 * signals to all.
 *
 * A kernel without Landlock runs COMMAND all the same, and one before 6.12
 * does not hold back signals: the grader says so in its report.  Status 126 and
 * a line on standard error where the kernel has it and it fails, 127 where
 * COMMAND can't be run.
 *
 * See landlock(7), seccomp(2), prctl(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/landlock.h of an older system lacks the later fields: these are the
 * kernel's ABI, the same on every machine. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif

struct ruleset {
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

enum {
    CREATE_RULESET_VERSION = 1 << 0,
    RULE_PATH_BENEATH = 1,
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_MAKE_CHAR = 1 << 6, /* root's alone: a rule set must have some right */
    FS_TRUNCATE = 1 << 14, /* the last one of ABI 3 */
    FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,
    SCOPE_SIGNAL = 1 << 1,
    ABI_OF_SIGNALS = 6
};

static int abi(void)
{
    long found =
        syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

    return found > 0 ? (int)found : 0;
}

/* All rights to files that this ABI knows. */
static uint64_t all_rights(int version)
{
    unsigned rights = version >= 3 ? 15 : version == 2 ? 14 : 13;

    return (UINT64_C(1) << rights) - 1;
}

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH_ is this? linux/audit.h"
#endif

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "confine: %s: %s\n", what, strerror(errno));
    exit(126);
}

static void allow(int rules, const char *path, uint64_t rights)
{
    struct stat info;
    int fd = rules == -1 ? -1 : open(path, O_PATH | O_CLOEXEC);

    if (fd == -1)
        return;
    if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode))
        rights &= FS_OF_FILES;

    struct path_beneath rule = {.allowed = rights, .parent_fd = fd};

    if (syscall(SYS_landlock_add_rule, rules, RULE_PATH_BENEATH, &rule, 0) ==
        -1)
        fail(path);
    close(fd);
}

/*
 * Calls that concern another process are refused (EPERM): each rule allows one
 * value of one argument, or with `but` all except that one.
 */
static const struct call_rule {
    uint32_t number;
    uint32_t argument;
    uint32_t value;
    bool but;
} call_rules[] = {
    {SYS_kill, 0, (uint32_t)-1, true},
    {SYS_prlimit64, 0, 0, false},
    {SYS_sched_setaffinity, 0, 0, false},
    {SYS_sched_setscheduler, 0, 0, false},
    {SYS_sched_setparam, 0, 0, false},
    {SYS_sched_setattr, 0, 0, false},
    {SYS_setpriority, 0, PRIO_PROCESS, false},
    {SYS_setpriority, 1, 0, false},
    {SYS_ioprio_set, 0, 1 /* IOPRIO_WHO_PROCESS */, false},
    {SYS_ioprio_set, 1, 0, false},
    {SYS_migrate_pages, 0, 0, false},
    {SYS_move_pages, 0, 0, false},
};

enum { NRULES = sizeof(call_rules) / sizeof(call_rules[0]), RULE_LENGTH = 5 };

/* In five instructions: another call, the next rule; else compare and refuse,
 * or load the number again for the next rule. */
static void add_rule(struct sock_filter *at, const struct call_rule *rule)
{
    const uint32_t low = (uint32_t)offsetof(struct seccomp_data, args) +
                         rule->argument * (uint32_t)sizeof(uint64_t);

    at[0] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                         rule->number, 0, RULE_LENGTH - 1);
    at[1] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low);
    at[2] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->value,
                                         rule->but ? 0 : 1, rule->but ? 1 : 0);
    at[3] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                         SECCOMP_RET_ERRNO | EPERM);
    at[4] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                         offsetof(struct seccomp_data, nr));
}

static void filter_calls(void)
{
    struct sock_filter code[NRULES * RULE_LENGTH + 6];
    struct sock_fprog program = {.filter = code};
    size_t n = 0;

    code[n++] = (struct sock_filter)BPF_STMT(
        BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                             ARCHITECTURE, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                             SECCOMP_RET_ERRNO | EPERM);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < NRULES; i++, n += RULE_LENGTH)
        add_rule(code + n, &call_rules[i]);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = (unsigned short)n;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == -1 &&
        errno != EINVAL) /* a kernel without */
        fail("a filter of system calls");
}

/* Adds the rules of the command line; returns where COMMAND begins. */
static char **read_paths(int argc, char **argv, int rules, uint64_t rights)
{
    int i = 1;

    for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        if (strcmp(argv[i], "--read") == 0)
            allow(rules, argv[i + 1], rights & FS_READ);
        else if (strcmp(argv[i], "--write") == 0)
            allow(rules, argv[i + 1], rights & ~(uint64_t)FS_EXECUTE);
        else
            break;
    }
    if (i + 1 >= argc || strcmp(argv[i], "--") != 0) {
        fprintf(stderr, "usage: confine [--read PATH]... [--write PATH]... "
                        "-- COMMAND [ARG]...\n");
        exit(126);
    }
    return argv + i + 1;
}

int main(int argc, char **argv)
{
    int version = abi(), rules = -1;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        fail("no new privileges");

    bool any_path = argc > 1 && strcmp(argv[1], "--") != 0;
    struct ruleset set = {
        .handled_fs = any_path ? all_rights(version) : FS_MAKE_CHAR,
        .scoped = version >= ABI_OF_SIGNALS ? SCOPE_SIGNAL : 0};
    size_t size = version >= ABI_OF_SIGNALS ? sizeof(set) : sizeof(uint64_t);

    if (version > 0) {
        rules = (int)syscall(SYS_landlock_create_ruleset, &set, size, 0);
        if (rules == -1)
            fail("Landlock");
    }

    char **command =
        read_paths(argc, argv, rules, version > 0 ? set.handled_fs : 0);

    if (rules != -1) {
        if (syscall(SYS_landlock_restrict_self, rules, 0) == -1)
            fail("Landlock");
        close(rules);
    }
    filter_calls();
    execvp(command[0], command);
    fprintf(stderr, "cannot run %s: %s\n", command[0], strerror(errno));
    return 127;
}
