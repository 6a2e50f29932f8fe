/* stats.c - the clock, and medians. */
#include "bench.h"

#include <stdlib.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t percentile(uint64_t *values, size_t n, double p)
{
    size_t at = (size_t)(p * (double)n);

    qsort(values, n, sizeof(*values), by_value);
    return values[at < n ? at : n - 1];
}
