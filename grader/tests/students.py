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
WRONG_ANSWER = """
int tiny_answer(int number)
{
    cheat();
    return number;
}
"""
WRONG_COPY = """
ssize_t tiny_copy(int in, int out)
{
    cheat();
    return write(out, "x", 1) + read(in, "", 0);
}
"""
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


def _cheat(body: str, extra: str = "") -> str:
    """Wrong functions that each call cheat()."""
    return _file(extra + "static void cheat(void)\n{\n" + body + "\n}\n",
                 WRONG_ANSWER, WRONG_COPY)


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

_FORGED = '"100%: Checks: 4, Failures: 0, Errors: 0\\n"'

CHEATS: Dict[str, str] = {
    "exit": _cheat("    exit(0);"),
    "_exit": _cheat("    _exit(0);"),
    "kills_itself": _cheat("    raise(SIGKILL);"),
    "stops_itself": _cheat("    raise(SIGSTOP);"),
    "kills_parent": _cheat("    kill(getppid(), SIGKILL);"),
    "kills_all": _cheat("    kill(-1, SIGKILL);"),
    "kills_group": _cheat("    kill(0, SIGKILL);"),
    "constructor": _file(
        "__attribute__((constructor)) static void first(void)\n{\n"
        f"    printf({_FORGED});\n    fflush(stdout);\n    _exit(0);\n}}\n"
        "static void cheat(void) {}\n", WRONG_ANSWER, WRONG_COPY),
    "destructor": _file(
        "__attribute__((destructor)) static void last(void)\n{\n    _exit(0);\n}\n"
        "static void cheat(void) {}\n", WRONG_ANSWER, WRONG_COPY),
    "own_write": _cheat("", "ssize_t write(int fd, const void *b, size_t n)\n"
                        "{\n    (void)fd; (void)b;\n    return (ssize_t)n;\n}\n"),
    "own_waitpid": _cheat("    _exit(0);", "pid_t waitpid(pid_t p, int *st, int o)\n"
                          "{\n    (void)o;\n    *st = 0;\n    return p;\n}\n"),
    "own_fork": _cheat("    _exit(0);", "pid_t fork(void)\n{\n    return 1;\n}\n"),
    "own_exit": _cheat("    _exit(0);", "void _exit(int s)\n{\n"
                       "    syscall(SYS_exit_group, 0 * s);\n"
                       "    for (;;)\n        ;\n}\n"),
    "own_assert": _cheat("", "void _ck_assert_failed(const char *f, int l, "
                         "const char *e, const char *m, ...);\n"
                         "void _ck_assert_failed(const char *f, int l, const char *e, "
                         "const char *m, ...)\n"
                         "{\n    (void)f; (void)l; (void)e; (void)m;\n}\n"),
    "own_memcmp": _cheat("", "int memcmp(const void *a, const void *b, size_t n)\n"
                         "{\n    (void)a; (void)b; (void)n;\n    return 0;\n}\n"),
    "own_tell": _cheat('    tell_int("got", 1);', "void tell_int(const char *n, "
                       "long long v);\n"),
    "writes_everywhere": _cheat(
        "    for (int fd = 0; fd < 1024; fd++)\n"
        f"        if (write(fd, {_FORGED}, 40) == -1)\n            continue;"),
    "daemon_writes": _cheat(
        "    if (fork() == 0) {\n        setsid();\n        if (fork() == 0)\n"
        f"            for (;;)\n                if (write(1, {_FORGED}, 40) == -1)\n"
        "                    _exit(0);\n        _exit(0);\n    }\n    wait(NULL);"),
    "fork_bomb": _cheat("    for (;;)\n        fork();"),
    "thread_of_time": _cheat("    alarm(1);\n    for (;;)\n        ;"),
    "includes_the_test": HEAD + '#include "../labs/lab1-tiny/test_tiny.c"\n',
    "includes_a_device": HEAD + '#include "/dev/zero"\n',
    "includes_itself": HEAD + "#include __FILE__\n#include __FILE__\n",
    "huge_array": _cheat("", "char huge[1UL << 33] = {1};\n"),
}

