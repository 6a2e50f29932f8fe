/* fails.h - FAILS() runs a piece of a test that is to fail, and gives the message
 * that a student would be shown; the test then looks for its words. */
#ifndef FAILS_H
#define FAILS_H

#include <setjmp.h>

#include "kit.h"

#ifdef KIT_JUDGE
#include "judge/judge.h"

/* The piece has to fail with this status; the message is in expected_failure.
 */
#define FAILS(status_, piece)                                              \
    do {                                                                   \
        expected_failure.armed = true;                                     \
        if (setjmp(expected_failure.back) == 0) {                          \
            piece;                                                         \
            expected_failure.armed = false;                                \
            EXPECT(false, "a failure of " #piece, "none, in %u schedules", \
                   test.schedules);                                        \
        }                                                                  \
        expected_failure.armed = false;                                    \
        EXPECT(expected_failure.status == (status_), #status_, "%d: %s",   \
               (int)expected_failure.status, expected_failure.message);    \
    } while (0)

HELPER void says(const char *words)
{
    EXPECT(strstr(expected_failure.message, words) != NULL, words, "%s",
           expected_failure.message);
}

HELPER void left(const char *words)
{
    const char *all = test.leftovers.at != NULL ? test.leftovers.at : "";

    EXPECT(strstr(all, words) != NULL, words, "%s", all);
}
#else
#define FAILS(status, piece) piece
HELPER void says(const char *words)
{
    (void)words;
}
HELPER void left(const char *words)
{
    (void)words;
}
#endif

#endif
