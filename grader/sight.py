"""What the witness would not see of a student's code.

The compiler tells the witness (common/subject/witness.c) of each access to
memory, but for some that code can hide: no_sanitize, inline assembly, raw
system calls.  They are looked for in what the preprocessor makes of the file,
since a macro may spell them; a file none of whose words could become one of
them needs no preprocessor.
The scheduler (common/subject/schedule.c) sees no threads and processes but the
test's own.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import Collection, Iterable, List, Tuple

from grader import text

# Names of the compiler's own calls; nobody else's.
HOOK = "__tsan_"

# `##` pastes words out of pieces; the rest are its other spellings.
_MAY_HIDE = re.compile(rb"asm|sanitize|syscall(?!\.h)|##|%:%:|\?\?=")
_SPLICED = re.compile(rb"(?:\\|\?\?/)[ \t]*\r?\n")
# `#line 7` or `# 7 "other.c"`: what comes after it would be another file's.
_DIRECTIVE = re.compile(rb"^[ \t]*(?:/\*[^*\n]*\*/[ \t]*)*(?:#|%:|\?\?=)[ \t]*"
                        rb"(?:/\*[^*\n]*\*/[ \t]*)*(?:line\b|[0-9])", re.MULTILINE)
_MARKER = re.compile(r'# (\d+) "(?:[^"\\]|\\.)*"((?: \d)*)')
_NO_SANITIZE = re.compile(r"\b(no_sanitize\w*|__no_sanitize\w*|disable_sanitizer\w*)\b")
_ASSEMBLY = re.compile(r"\b(asm|__asm|__asm__)\b")
# futex(2), whose number the preprocessor has put in, has no other function.
_FUTEX = "202" if os.uname().machine == "x86_64" else "98"
_SYSCALL = re.compile(rf"\bsyscall\s*\((?!\s*{_FUTEX}\s*,)")


def may_hide(source: bytes) -> bool:
    """Has the file to be preprocessed and looked at?"""
    return _MAY_HIDE.search(_SPLICED.sub(b"", source)) is not None


def names_lines(file: str, source: bytes) -> List[str]:
    """Errors: directives that give lines another file's name or another number."""
    found = _DIRECTIVE.search(source) or _DIRECTIVE.search(_SPLICED.sub(b"", source))
    if not found:
        return []
    number = found.string.count(b"\n", 0, found.start()) + 1
    return [f"{file}:{number}: a line directive: the tests of this lab tell your lines by "
            "their own numbers (remove it)"]


def names_hooks(symbols: Iterable[Tuple[str, str]]) -> List[str]:
    """Errors, for the (kind, name) of what an object defines."""
    return [f"{name} is a name that the compiler keeps for itself: choose another"
            for kind, name in symbols if kind not in "Uw" and name.startswith(HOOK)]


_STARTERS = ("pthread_create", "thrd_create", "fork", "vfork", "clone", "posix_spawn",
             "posix_spawnp")


def takes_no_turns(where: str, called: Collection[str]) -> List[str]:
    """Warnings: threads and processes that the code starts, by what it calls."""
    return [f"{where} calls {call}: what it starts takes no turns in the small cases, "
            "whose schedules are not all there are then"
            for call in _STARTERS if call in called]


def hidden(file: str, preprocessed: Iterable[bytes]) -> Tuple[List[str], List[str]]:
    """(errors, warnings) for one file, from the preprocessor's lines."""
    errors, warnings = [], []
    own = own_lines(map(text.decode, preprocessed))
    # A system header's macro is put in on a line of its own, of the same number.
    for number, pieces in itertools.groupby(own, lambda numbered: numbered[0]):
        line = " ".join(piece.rstrip("\n") for _, piece in pieces)
        if _NO_SANITIZE.search(line):
            errors.append(f"{file}:{number}: no_sanitize: the tests of this lab have to see "
                          "every access to shared memory")
        elif _ASSEMBLY.search(line):
            warnings.append(f"{file}:{number}: inline assembly: the tests do not see what "
                            "it does in shared memory; C11 atomics they do")
        elif _SYSCALL.search(line):
            warnings.append(f"{file}:{number}: syscall(): the tests do not see what it does "
                            "in shared memory; the call's own function they do")
    return errors, warnings


def own_lines(preprocessed: Iterable[str]) -> Iterable[Tuple[int, str]]:
    """(number, line) of those that no #include has brought."""
    number, depth = 0, 0
    for line in preprocessed:
        marker = _MARKER.match(line)
        if not marker:
            if depth == 0:
                yield number, line
            number += 1
            continue
        number = int(marker.group(1))
        flags = marker.group(2).split()
        depth += ("1" in flags) - ("2" in flags)
