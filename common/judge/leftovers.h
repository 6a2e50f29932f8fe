/* leftovers.h - what is left behind, in words (leftovers.c). */
#ifndef LEFTOVERS_H
#define LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>

/* Charges a thing to the student, once a test.  False: it was already. */
bool leftovers_charge(const char *kind, const char *line);
/* Says how much more there was than was named. */
void leftovers_end(void);
/* All that this test was charged for, a line each. */
void leftovers_words(char *buf, size_t size);

#endif
