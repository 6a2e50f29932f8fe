/* leftovers.h - what is left behind, in words (leftovers.c). */
#ifndef LEFTOVERS_H
#define LEFTOVERS_H

#include <stddef.h>

/* All that this test was charged for, a line each. */
void leftovers_words(char *buf, size_t size);

#endif
