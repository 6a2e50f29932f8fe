/* Takes all that there is of something. */

/// fork_bomb: every process makes processes
static void cheat(void)
{
    for (;;)
        fork();
}

/// fork_bomb_of_sessions: each with a session of its own, ignoring signals
static void cheat(void)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (;;)
        if (fork() == 0)
            setsid();
}

/// thread_bomb: threads without end
static void *waits(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void cheat(void)
{
    pthread_t thread;

    for (;;)
        pthread_create(&thread, NULL, waits, NULL);
}

/// memory_bomb: takes memory and writes to it
/// says: memory without end
static void cheat(void)
{
    for (;;) {
        char *more = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (more != MAP_FAILED)
            memset(more, 1, 16 << 20);
    }
}

/// memory_bomb_in_many: several processes, each with as much as it may have
static void cheat(void)
{
    for (int i = 0; i < 6; i++)
        if (fork() == 0)
            break;
    for (;;) {
        char *more = malloc(1 << 20);

        if (more != NULL)
            memset(more, 1, 1 << 20);
        else
            pause();
    }
}

/// memory_in_files: memfd_create(2), which no process maps
static void cheat(void)
{
    static char bytes[1 << 20];

    memset(bytes, 1, sizeof(bytes));
    for (int i = 0; i < 512; i++) {
        int fd = memfd_create("x", 0);

        for (int n = 0; fd != -1 && n < 64; n++)
            if (write(fd, bytes, sizeof(bytes)) == -1)
                break;
    }
    abort();
}

/// disk_filler: files in every folder that can be written to
static void fill(const char *folder)
{
    static char bytes[1 << 20];
    char path[512];

    for (int i = 0; i < 64; i++) {
        snprintf(path, sizeof(path), "%s/fill.%d.%d", folder, (int)getpid(), i);

        int fd = open(path, O_CREAT | O_WRONLY, 0600);

        if (fd == -1)
            return;
        for (int n = 0; n < 64; n++)
            if (write(fd, bytes, sizeof(bytes)) == -1)
                break;
        close(fd);
    }
}

static void cheat(void)
{
    signal(SIGXFSZ, SIG_IGN);
    fill(".");
    fill("../vg");
    fill("../tmp");
    fill("/tmp");
    fill("/var/tmp");
    fill(KIT_DIR "/build");
    abort();
}

/// shm_filler: /dev/shm
static void cheat(void)
{
    static char bytes[1 << 20];
    char name[64];

    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "/fill.%d.%d", (int)getpid(), i);

        int fd = shm_open(name, O_CREAT | O_RDWR, 0600);

        for (int n = 0; fd != -1 && n < 64; n++)
            if (write(fd, bytes, sizeof(bytes)) == -1)
                break;
        close(fd);
    }
    abort();
}

/// file_filler: as many files and folders as there can be
static void cheat(void)
{
    char name[64];

    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "/tmp/many.%d.%d", (int)getpid(), i);

        int fd = open(name, O_CREAT | O_WRONLY, 0600);

        if (fd == -1)
            break;
        close(fd);
    }
    abort();
}

/// deep_folders: deeper than a path may be long, not to be entered
static void cheat(void)
{
    if (chdir("/tmp") == -1)
        abort();
    for (int i = 0; i < 3000; i++)
        if (mkdir("deep", 0700) == -1 || chdir("deep") == -1)
            break;
    chmod(".", 0);
    abort();
}

/// segments: as many System V segments as there can be
static void cheat(void)
{
    for (int i = 0; i < 5000; i++)
        if (shmget(IPC_PRIVATE, 4096, 0600) == -1)
            break;
    abort();
}

/// segments_of_memory: System V segments, written to and left
static void cheat(void)
{
    for (int i = 0; i < 256; i++) {
        int id = shmget(IPC_PRIVATE, 64 << 20, 0600);
        char *at = id == -1 ? NULL : shmat(id, NULL, 0);

        if (at == NULL || at == (char *)-1)
            break;
        memset(at, 1, 64 << 20);
        shmdt(at);
    }
    abort();
}

/// semaphores: as many sets as there can be
static void cheat(void)
{
    for (int i = 0; i < 33000; i++)
        if (semget(IPC_PRIVATE, 250, 0600) == -1)
            break;
    abort();
}

/// queues: as many queues as there can be, full of messages
static void cheat(void)
{
    struct {
        long type;
        char bytes[4096];
    } message = {.type = 1};

    for (int i = 0; i < 33000; i++) {
        int id = msgget(IPC_PRIVATE, 0600);

        if (id == -1)
            break;
        while (msgsnd(id, &message, sizeof(message.bytes), IPC_NOWAIT) == 0)
            ;
    }
    abort();
}

/// posix_queues: as many as the limit lets it
static void cheat(void)
{
    char name[64];

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "/fill.%d.%d", (int)getpid(), i);
        if (mq_open(name, O_CREAT | O_RDWR, 0600, NULL) == (mqd_t)-1)
            break;
    }
    abort();
}

/// descriptors: all, and each of a pipe that is full
static void cheat(void)
{
    static char bytes[65536];
    int ends[2];

    while (pipe2(ends, O_NONBLOCK) == 0)
        (void)!write(ends[1], bytes, sizeof(bytes));
    abort();
}

/// output_flood: prints without end
static void cheat(void)
{
    for (;;)
        puts(
            "0123456789012345678901234567890123456789012345678901234567890123");
}

/// error_flood: prints one line without end on standard error
static void cheat(void)
{
    for (;;)
        (void)!write(2, "aaaaaaaaaaaaaaaa", 16);
}

/// message_flood: sends to the judge without end
static void cheat(void)
{
    static char bytes[4096];

    for (;;)
        for (int fd = 3; fd < 64; fd++)
            send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// busy_loop: computes for ever
/// says: a busy loop
static void cheat(void)
{
    for (;;)
        ;
}

/// busy_loops: on every processor
static void cheat(void)
{
    for (int i = 0; i < 8; i++)
        if (fork() == 0)
            break;
    for (;;)
        ;
}

/// sleeps: for ever
static void cheat(void)
{
    for (;;)
        sleep(1000000);
}

/// naps: wakes up again and again, to look busy and not to be caught
static void cheat(void)
{
    for (;;)
        usleep(1000);
}

/// waits_for_itself: holds a mutex and takes it again
static void cheat(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
}

/// locks_memory: mlockall(2) and realtime priority
static void cheat(void)
{
    struct sched_param most = {.sched_priority = 99};

    mlockall(MCL_CURRENT | MCL_FUTURE);
    sched_setscheduler(0, SCHED_FIFO, &most);
    nice(-20);
    for (;;)
        ;
}

/// timers: a signal every microsecond
static void ticked(int number)
{
    (void)number;
}

static void cheat(void)
{
    struct itimerval often = {{0, 1}, {0, 1}};

    signal(SIGALRM, ticked);
    setitimer(ITIMER_REAL, &often, NULL);
    for (;;)
        pause();
}
