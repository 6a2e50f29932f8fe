/*
 * main.c - the program that measures the mechanisms of one lab.
 *
 *     bench --cores A,B --ms N --late-ms N --out-fd N MECHANISM SIZE...
 *
 * A line of JSON a size, as soon as it is measured.  After a size that hung,
 * the larger ones are left out: they would cost as much time again.
 */
#include "bench.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mechanism *find(const char *name)
{
    for (size_t i = 0; mechanisms[i]; i++)
        if (strcmp(mechanisms[i]->name, name) == 0)
            return mechanisms[i];
    fprintf(stderr, "bench: no mechanism is called %s here\n", name);
    exit(2);
}

int main(int argc, char *argv[])
{
    struct options options;
    const struct mechanism *m;
    FILE *out;

    read_options(argc, argv, &options);
    out = fdopen(options.out_fd, "w");
    if (!out || argc - optind < 2) {
        fprintf(stderr, "bench: see the comment in main.c\n");
        return 2;
    }
    m = find(argv[optind]);
    for (int i = optind + 1; i < argc; i++) {
        struct route r = {(size_t)atol(argv[i]), NULL};
        char name[64];
        snprintf(name, sizeof(name), "kit-bench-%d-%zu", (int)getpid(), r.size);
        r.name = name;
        if (measure(m, &r, &options, out) == LATE)
            break;
    }
    return 0;
}
