/* subjects.h - scenarios, for the judge's other parts (subjects.c). */
#ifndef SUBJECTS_H
#define SUBJECTS_H

#include "judge.h"

/* The scenario has ended where more was expected: the test fails. */
_Noreturn void fail_ended(struct subject *s, const char *what);
void open_gate(struct subject *s, const char *name);
/* The newest told value of that name, or NULL; receives nothing. */
struct value *told_value(struct subject *s, const char *name);
void subject_forget_values(struct subject *s);
/* Waits for it: the test fails if it is not told. */
struct value *value_of(struct subject *s, const char *name);

#endif
