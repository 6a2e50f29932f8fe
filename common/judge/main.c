/*
 * main.c - the judge: a Check runner over the tests of one test file.
 *
 * It links no code of the student's and runs none: see kit.h.  Check runs in
 * no-fork mode, so that this process is the parent of everything the subject
 * starts (it is a child subreaper, or process 1 of a namespace) and nothing
 * that ends escapes it.
 */
#include "judge.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern const struct kit_test *const __start_kit_tests[];
extern const struct kit_test *const __stop_kit_tests[];

struct options options;

struct selection {
    const char **only;
    const char **skip;
};

static size_t ntests(void)
{
    return (size_t)(__stop_kit_tests - __start_kit_tests);
}

static const char *test_name(size_t i)
{
    return (*__start_kit_tests[i]->test)->name;
}

/* What Check calls for every test; i is its index. */
static void run_test(int i)
{
    const struct kit_test *is = __start_kit_tests[i];

    test_begin(is);
    (*is->test)->fn(0);
    test.status = PASSED;
}

/* Check calls this after each test, failed or not. */
static void after_test(void)
{
    test_end();
}

static bool is_in(const char *const *names, const char *name)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static bool is_selected(const struct selection *sel, const char *name)
{
    if (sel->only[0] != NULL && !is_in(sel->only, name))
        return false;
    return !is_in(sel->skip, name);
}

/* The test case of a group, made at its first test. */
static TCase *case_of(Suite *suite, const char *group)
{
    static struct {
        const char *group;
        TCase *tcase;
    } cases[64];
    size_t i = 0;

    while (i < 63 && cases[i].tcase != NULL &&
           strcmp(cases[i].group, group) != 0)
        i++;
    if (cases[i].tcase == NULL) {
        cases[i].group = group;
        cases[i].tcase = tcase_create(group);
        tcase_add_checked_fixture(cases[i].tcase, NULL, after_test);
        suite_add_tcase(suite, cases[i].tcase);
    }
    return cases[i].tcase;
}

/* Check passes a loop test its index: so run_test knows which one it is. */
static void add_tests(Suite *suite, const struct selection *sel)
{
    static TTest wrapped[512];

    for (size_t i = 0; i < ntests() && i < 512; i++) {
        if (!is_selected(sel, test_name(i)))
            continue;
        wrapped[i] = **__start_kit_tests[i]->test;
        wrapped[i].fn = run_test;
        tcase_add_loop_test(case_of(suite, __start_kit_tests[i]->group),
                            &wrapped[i], (int)i, (int)i + 1);
    }
}

static void list_tests(void)
{
    for (size_t i = 0; i < ntests(); i++)
        printf("%s %s\n", __start_kit_tests[i]->group, test_name(i));
}

static _Noreturn void usage(const char *why)
{
    fprintf(stderr,
            "judge: %s\n"
            "usage: judge --list\n"
            "       judge --events-fd N --xml PATH [--only TEST]... "
            "[--skip TEST]...\n"
            "             [--source FILE]... [--shared] [--journal FILE] "
            "[--valgrind]\n"
            "             [--witness] [--debug] [--schedule CHOICES]\n"
            "             -- COMMAND... SUBJECT\n",
            why);
    exit(2);
}

static void check_names(const char *const *names)
{
    for (; *names != NULL; names++) {
        bool known = false;

        for (size_t i = 0; i < ntests(); i++)
            known = known || strcmp(*names, test_name(i)) == 0;
        if (!known) {
            fprintf(stderr, "judge: there is no test %s\n", *names);
            exit(2);
        }
    }
}

static const char *read_options(int argc, char **argv, struct selection *sel)
{
    enum {
        EVENTS,
        XML,
        ONLY,
        SKIP,
        SOURCE,
        SHARED,
        JOURNAL,
        VALGRIND,
        WITNESS,
        DEBUG,
        SCHEDULE,
        LIST
    };
    static const struct option names[] = {
        {"events-fd", required_argument, NULL, EVENTS},
        {"xml", required_argument, NULL, XML},
        {"only", required_argument, NULL, ONLY},
        {"skip", required_argument, NULL, SKIP},
        {"source", required_argument, NULL, SOURCE},
        {"shared", no_argument, NULL, SHARED},
        {"journal", required_argument, NULL, JOURNAL},
        {"valgrind", no_argument, NULL, VALGRIND},
        {"witness", no_argument, NULL, WITNESS},
        {"debug", no_argument, NULL, DEBUG},
        {"schedule", required_argument, NULL, SCHEDULE},
        {"list", no_argument, NULL, LIST},
        {NULL, 0, NULL, 0}};
    const char *xml = NULL;
    size_t only = 0, skip = 0, source = 0;
    int c;

    options.events_fd = -1;
    while ((c = getopt_long(argc, argv, "+", names, NULL)) != -1) {
        switch (c) {
        case EVENTS:
            options.events_fd = atoi(optarg);
            break;
        case XML:
            xml = optarg;
            break;
        case ONLY:
            sel->only[only++] = optarg;
            break;
        case SKIP:
            sel->skip[skip++] = optarg;
            break;
        case SOURCE:
            options.sources[source++] = optarg;
            break;
        case SHARED:
            options.shared = true;
            break;
        case JOURNAL:
            options.journal = optarg;
            break;
        case VALGRIND:
            options.valgrind = true;
            break;
        case WITNESS:
            options.witness = true;
            break;
        case DEBUG:
            options.debug = true;
            break;
        case SCHEDULE:
            options.schedule = optarg;
            break;
        case LIST:
            list_tests();
            exit(0);
        default:
            usage("unknown option");
        }
    }
    if (optind == argc)
        usage("the command that starts the subject is missing");
    options.command = argv + optind;
    check_names(sel->only);
    check_names(sel->skip);
    return xml;
}

/* No process of the subject can look into this one or be lost to it. */
static void protect(void)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    if (!options.debug)
        prctl(PR_SET_DUMPABLE, 0);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) == -1) {
        perror("judge: prctl(PR_SET_CHILD_SUBREAPER)");
        exit(2);
    }
    signal(SIGPIPE, SIG_IGN);
    if (options.events_fd != -1 &&
        fcntl(options.events_fd, F_SETFD, FD_CLOEXEC) == -1) {
        perror("judge: --events-fd");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    size_t most = (size_t)argc + 1;
    struct selection sel = {.only = calloc(most, sizeof(char *)),
                            .skip = calloc(most, sizeof(char *))};

    options.sources = calloc(most, sizeof(char *));
    if (sel.only == NULL || sel.skip == NULL || options.sources == NULL)
        return 2;

    const char *xml = read_options(argc, argv, &sel);
    Suite *suite = suite_create("lab");
    SRunner *runner = srunner_create(suite);

    add_tests(suite, &sel);
    srunner_set_fork_status(runner, CK_NOFORK);
    /* Check ends the whole program at a longer message. */
    check_set_max_msg_size(2 * sizeof(expected_failure.message));
    if (xml != NULL)
        srunner_set_xml(runner, xml);
    protect();
    srunner_run_all(runner, CK_SILENT);
    srunner_free(runner);
    server_stop();
    free(sel.only);
    free(sel.skip);
    free(options.sources);
    return 0;
}
