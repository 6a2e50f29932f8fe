/* Leaves something behind. */

/// daemon: two forks and a session of its own
static void cheat(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            for (;;)
                pause();
        _exit(0);
    }
    wait(NULL);
}

/// daemon_that_hides: no descriptor, no signal, another name, in /
static void cheat(void)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    for (int number = 1; number < 65; number++)
        signal(number, SIG_IGN);
    syscall(SYS_close_range, 0u, ~0u, 0u);
    prctl(PR_SET_NAME, "kworker/0:1");
    (void)!chdir("/");
    for (;;)
        pause();
}

/// daemon_that_runs_away: a new process every moment, and the old one ends
static void cheat(void)
{
    if (fork() != 0)
        return;
    setsid();
    for (;;)
        if (fork() != 0)
            _exit(0);
}

/// daemon_that_is_another_program: sleep(1)
static void cheat(void)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    execl("/bin/sleep", "sleep", "100000", (char *)NULL);
}

/// stopped_child: a child that waits for SIGCONT
static void cheat(void)
{
    if (fork() == 0)
        raise(SIGSTOP);
}

/// thread_goes_on: a thread that outlives the call
static void *goes_on(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void cheat(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, goes_on, NULL);
}

/// objects: one of each kind, System V and POSIX
static void cheat(void)
{
    char name[64];
    char byte = 1;

    shmget(IPC_PRIVATE, 4096, 0666);
    semget(IPC_PRIVATE, 1, 0666);
    msgget(IPC_PRIVATE, 0666);
    snprintf(name, sizeof(name), "/left.%d", (int)getpid());
    shm_open(name, O_CREAT | O_RDWR, 0666);
    sem_open(name, O_CREAT, 0666, 1);
    mq_open(name, O_CREAT | O_RDWR, 0666, NULL);
    syscall(SYS_add_key, "user", name, &byte, 1, -4);
}

/// objects_by_system_call: where no function of libc is called
static void cheat(void)
{
    syscall(SYS_shmget, IPC_PRIVATE, 4096, 0600);
    syscall(SYS_semget, IPC_PRIVATE, 1, 0600);
    syscall(SYS_msgget, IPC_PRIVATE, 0600);
}

/// objects_given_away: with another owner and no permissions
static void cheat(void)
{
    struct shmid_ds info;
    int id = shmget(IPC_PRIVATE, 4096, 0);

    if (shmctl(id, IPC_STAT, &info) == 0) {
        info.shm_perm.uid = 65534;
        info.shm_perm.mode = 0;
        shmctl(id, IPC_SET, &info);
    }
}

/// files: in every folder that all may write to
static void cheat(void)
{
    const char *folders[] = {"/tmp",      "/var/tmp",    "/dev/shm",
                             "/run/lock", "/dev/mqueue", ".",
                             "/var/crash"};
    char path[64];

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, sizeof(path), "%s/left.%d", folders[i], (int)getpid());
        close(open(path, O_CREAT | O_WRONLY, 0777));
        chmod(path, 06777);
        snprintf(path, sizeof(path), "%s/left.%d.d", folders[i], (int)getpid());
        mkdir(path, 0);
        snprintf(path, sizeof(path), "%s/left.%d.l", folders[i], (int)getpid());
        (void)!symlink("/etc/passwd", path);
        snprintf(path, sizeof(path), "%s/left.%d.f", folders[i], (int)getpid());
        mkfifo(path, 0666);
    }
}

/// sockets: a listening one with a name in /tmp, one without a path
static void cheat(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(name.sun_path, sizeof(name.sun_path), "/tmp/left.%d.s",
             (int)getpid());
    bind(fd, (struct sockaddr *)&name, sizeof(name));
    for (int uid = 59000; uid < 60000; uid++) {
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        memset(name.sun_path, 0, sizeof(name.sun_path));

        int n = snprintf(name.sun_path + 1, 64, "ipc-lab-kit-uid-%d", uid);

        bind(fd, (struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
    }
    if (fork() == 0)
        for (;;)
            pause();
}

/// jobs: cron's and at's, and a shell's start files
static void cheat(void)
{
    const char *commands[] = {
        "echo '* * * * * true' | crontab - 2>/dev/null",
        "echo true | at now 2>/dev/null",
        "echo true >> ~/.bashrc; echo true >> ~/.profile",
        "mkdir -p ~/.config/autostart; touch ~/.config/autostart/x",
    };

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char *argv[] = {"sh", "-c", (char *)commands[i], NULL};
        pid_t pid = fork();

        if (pid == 0)
            execv("/bin/sh", argv);
        waitpid(pid, NULL, 0);
    }
}
