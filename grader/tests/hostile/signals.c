/* Signals, and looks into other processes. */

/// kills_its_parent: the server of the tests
static void cheat(void)
{
    kill(getppid(), SIGKILL);
}

/// kills_the_group: kill(0)
static void cheat(void)
{
    kill(0, SIGKILL);
}

/// kills_all: everything that it may reach
static void cheat(void)
{
    kill(-1, SIGKILL);
}

/// kills_all_but_itself: every process by its number
static void cheat(void)
{
    for (int pid = 1; pid < 70000; pid++)
        if (pid != getpid())
            kill(pid, SIGKILL);
}

/// kills_its_ancestors: parent by parent
static pid_t parent_of(pid_t pid)
{
    char path[64], stat[512] = "";
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY);

    if (fd == -1 || read(fd, stat, sizeof(stat) - 1) < 1)
        return 0;
    sscanf(strrchr(stat, ')') + 1, " %*c %d", &parent);
    return parent;
}

static void cheat(void)
{
    for (pid_t pid = getppid(); pid > 0; pid = parent_of(pid))
        kill(pid, SIGKILL);
}

/// stops_its_ancestors: SIGSTOP to each
static void cheat(void)
{
    char path[64], stat[512];
    int pid = getppid();

    while (pid > 0) {
        kill(pid, SIGSTOP);
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        int fd = open(path, O_RDONLY);

        memset(stat, 0, sizeof(stat));
        if (fd == -1 || read(fd, stat, sizeof(stat) - 1) < 1)
            break;
        sscanf(strrchr(stat, ')') + 1, " %*c %d", &pid);
    }
}

/// stops_all: SIGSTOP to everything
static void cheat(void)
{
    kill(-1, SIGSTOP);
}

/// floods_with_signals: a child that never stops to send them
static void cheat(void)
{
    if (fork() == 0)
        for (;;) {
            kill(getppid(), SIGCHLD);
            kill(getppid(), SIGUSR1);
        }
}

/// hangs_up_all: SIGHUP, SIGINT, SIGTERM and SIGPIPE to everything
static void cheat(void)
{
    kill(-1, SIGHUP);
    kill(-1, SIGINT);
    kill(-1, SIGTERM);
    kill(-1, SIGPIPE);
}

/// ignores_all: nothing but SIGKILL ends it
static void cheat(void)
{
    for (int number = 1; number < 65; number++)
        signal(number, SIG_IGN);
    if (fork() == 0)
        for (;;)
            pause();
    for (;;)
        pause();
}

/// traces_its_parent: ptrace(2) of whoever may be traced
static void cheat(void)
{
    for (int pid = 1; pid < 70000; pid++)
        if (pid != getpid() && ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0) {
            waitpid(pid, NULL, __WALL);
            ptrace(PTRACE_KILL, pid, NULL, NULL);
        }
}

/// writes_into_processes: zeroes over the code of every other process
static void cheat(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        char path[300], line[512];
        unsigned long from, to;

        if (atoi(entry->d_name) == 0 || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof(path), "/proc/%s/maps", entry->d_name);

        FILE *maps = fopen(path, "r");

        snprintf(path, sizeof(path), "/proc/%s/mem", entry->d_name);

        int mem = open(path, O_RDWR);

        while (maps != NULL && mem != -1 &&
               fgets(line, sizeof(line), maps) != NULL)
            if (strstr(line, "r-xp") != NULL &&
                sscanf(line, "%lx-%lx", &from, &to) == 2 && to > from)
                (void)!pwrite(mem, "\0\0\0\0\0\0\0\0", 8, (off_t)from);
        if (maps != NULL)
            fclose(maps);
        if (mem != -1)
            close(mem);
    }
}

/// takes_descriptors: pidfd_getfd(2) of every other process, and writes there
static void cheat(void)
{
    for (int pid = 1; pid < 70000; pid++) {
        int process =
            pid == getpid() ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);

        for (int fd = 0; process != -1 && fd < 32; fd++) {
            int mine = (int)syscall(SYS_pidfd_getfd, process, fd, 0);

            if (mine != -1) {
                (void)!write(mine, FORGED, strlen(FORGED));
                shutdown(mine, SHUT_RDWR);
                close(mine);
            }
        }
        if (process != -1)
            close(process);
    }
}

/// changes_limits_of_others: prlimit(2) on every process
static void cheat(void)
{
    struct rlimit none = {0, 0};

    for (int pid = 1; pid < 70000; pid++)
        if (pid != getpid()) {
            prlimit(pid, RLIMIT_NOFILE, &none, NULL);
            prlimit(pid, RLIMIT_CPU, &none, NULL);
        }
}

/// lowers_priorities: setpriority(2) on everything of this user
static void cheat(void)
{
    setpriority(PRIO_USER, 0, 19);
    setpriority(PRIO_PROCESS, getppid(), 19);
}

/// takes_back_its_rights: setuid(0), capabilities, namespaces of its own
static void cheat(void)
{
    (void)!setuid(0);
    (void)!setgid(0);
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC);
    (void)!setuid(0);
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    mount("tmpfs", "/usr", "tmpfs", 0, NULL);
    umount2("/tmp", MNT_DETACH);
    umount2("/proc", MNT_DETACH);
    kill(1, SIGKILL);
    _exit(0);
}

/// raises_its_limits: as many processes and bytes as there are
static void cheat(void)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

    for (int what = 0; what < 16; what++)
        setrlimit(what, &all);
    _exit(0);
}

/// adopts_orphans: becomes the reaper of what the tests start
static void cheat(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, 0);
    if (fork() == 0 && fork() == 0)
        for (;;)
            pause();
    for (;;)
        pause();
}
