"""Students' files for the tiny lab, each of a kind that the grader must bear.

A file is made of the two functions that the lab asks for and of whatever else
the student thought of; `right` versions are used where a case names none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional

from grader.model import CRASHED, FAILED, TIMED_OUT

ANSWER = """
int tiny_answer(int number)
{
    if (number < 0) {
        errno = EINVAL;
        return -1;
    }
    return number + 1;
}
"""
COPY = """
ssize_t tiny_copy(int in, int out)
{
    char buf[256];
    ssize_t n, all = 0;

    while ((n = read(in, buf, sizeof(buf))) > 0) {
        if (write(out, buf, (size_t)n) != n)
            return -1;
        all += n;
    }
    return n == 0 ? all : -1;
}
"""
# Both functions wrong: a cheat's file must score nothing.
HEAD = """\
#include "tiny.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
"""

TESTS = ("answers_with_the_next_number", "refuses_a_negative_number",
         "copies_every_byte", "copies_nothing_from_an_empty_pipe")


@dataclass(frozen=True)
class Student:
    source: str
    statuses: Optional[Dict[str, str]] = None  # of the tests that don't pass
    score: Optional[int] = None  # None: any
    says: tuple = field(default=())  # words that the report must have


def _file(extra: str = "", answer: str = ANSWER, copy: str = COPY) -> str:
    return HEAD + extra + answer + copy


def _answer(first: str) -> str:
    """A right tiny_answer that does something else first."""
    return ANSWER.replace("{\n    if", "{\n    " + first + "\n    if", 1)


_ANSWERS = TESTS[:2]


def _both(status: str) -> Dict[str, str]:
    return {name: status for name in _ANSWERS}


HONEST: Dict[str, Student] = {
    "right": Student(_file(), {}, 100),
    "fails": Student(
        _file(answer=ANSWER.replace("number + 1", "number + 2")),
        {TESTS[0]: FAILED}, 60 + 7 + 7,
        ("expected:", "tiny_answer(", "What comes after a number?",
         "handouts/lab1-tiny.md#answer", "make lab1",
         "TEST=answers_with_the_next_number")),
    "crashes": Student(
        _file(answer=_answer("*(volatile int *)NULL = number;")),
        _both(CRASHED), 40 + 5 + 5, ("SIGSEGV", "at: tiny.c:")),
    "aborts": Student(_file(answer=_answer("abort();")), _both(CRASHED), 50,
                      ("SIGABRT",)),
    "hangs": Student(_file(answer=_answer("pause();")), _both(TIMED_OUT), 50,
                     ("tiny.c:",)),
    "busy_loop": Student(
        _file(answer=_answer("for (volatile int i = 0; number != -7; i++)\n        ;")),
        _both(TIMED_OUT), 50),
    "leaks_descriptor": Student(
        _file(answer=_answer('open("/dev/null", O_RDONLY);')), {},
        80 + 10 + 5, ("left behind", "/dev/null")),
    "leaks_segment": Student(
        _file(answer=_answer("shmget(IPC_PRIVATE, 4096, 0600);")), {},
        80 + 10 + 5, ("left behind", "segment")),
    "leaks_memory": Student(
        _file(answer=_answer("*(char *)malloc(16) = (char)number;")), {},
        80 + 5 + 10, ("allocates memory and loses it", "Leak_DefinitelyLost", "tiny.c:")),
    "uninitialised": Student(
        _file(answer=_answer("int unset; volatile int *p = &unset; "
                             "if (*p == 12345) getppid();")), {},
        80 + 5 + 10, ("decides on a value that was never set", "tiny.c:")),
    "daemon": Student(
        _file(answer=_answer("if (fork() == 0) { setsid(); if (fork() == 0) "
                             "pause(); _exit(0); } wait(NULL);")), {},
        80 + 10 + 5, ("left behind",)),
    "flood": Student(
        _file(answer=_answer(r"""for (int i = 0; i < 20000; i++)
        printf("%0100d\n", i);
    fflush(stdout); number++;""")),
        {TESTS[0]: FAILED}, 74, ("printed: |",)),
    "escapes": Student(
        _file(answer=_answer(r"""printf("\033]0;owned\007\033[2J[red]m\377\xe2\x80\xae\n");
    fflush(stdout); number++;""")),
        {TESTS[0]: FAILED}, 74, ("\\x1b]0;owned", "[red]m", "\\xff", "\\u202e")),
    "not_whole": Student(
        _file(answer="", copy=COPY), None, 0,
        ("tiny_answer is not defined in tiny.c",)),
    "static": Student(
        _file(answer="static " + ANSWER.lstrip()).replace('#include "tiny.h"\n', ""),
        None, 0, ("tiny_answer is static in tiny.c",)),
    "does_not_compile": Student(
        _file(answer="int tiny_answer(int number) { return number + ; }\n"),
        None, 0, ("tiny.c:13:", "error:")),
    "misspelled_call": Student(
        _file(answer=_answer("getpidd();")), None, 0,
        ("getpidd is defined nowhere",)),
    "forbidden_call": Student(
        _file(answer=_answer('if (system("true")) return 0;')), None, 0,
        ("calls system, which this lab rules out", "no shell is needed here")),
    "lacks_a_call": Student(
        _file(copy=COPY.replace("write(out, buf, (size_t)n) != n",
                                "syscall(SYS_write, out, buf, (size_t)n) != n")),
        None, 0, ("never calls write", "made with write")),
}
