"""The sentences of a report, whichever output they go to."""

from __future__ import annotations

import os
import re
from typing import Dict, List, Sequence, Tuple

from grader import text
from grader.model import (
    BROKEN, CRASHED, FAILED, GRADED, MISSING, NOT_BUILT, NOT_STARTED, PASSED,
    TIMED_OUT, GroupScore, Lab, LabScore, MemoryFault, Outcome, Report, TestSpec,
)
from grader.parse import split_message

Rows = List[Tuple[str, str]]  # label, text

STATUS_WORDS = {
    PASSED: "passed", FAILED: "failed", CRASHED: "crashed", TIMED_OUT: "timed out",
    NOT_BUILT: "not built", NOT_STARTED: "not started", BROKEN: "the kit's fault",
    GRADED: "graded", MISSING: "missing",
}
_ISOLATION = {
    "namespaces": "each lab ran in namespaces of its own",
    "uid": "each lab ran under a user id of its own, without namespaces",
    "none": "the labs ran under your own user id, without namespaces",
}
_MOST_NAMES = 4
# Labels of what the reader copies: a path or a command.
COPIED = ("again:", "read:", "replay:")
_SCHEDULE = re.compile(r"replay: (\w+:[a-z0-9:,]*)")


def isolation_line(report: Report) -> str:
    line = f"isolation: {report.isolation} ({_ISOLATION[report.isolation]})"
    return f"{line}; {report.isolation_why}" if report.isolation_why else line


def again(lab: Lab, test: TestSpec, origin: str) -> str:
    """The command that repeats one test alone."""
    return f"make lab{lab.number}{_from(origin)} TEST={test.name}"


def grade_command(lab: Lab, origin: str) -> str:
    return f"make grade LAB={lab.number}{_from(origin)}"


def _from(origin: str) -> str:
    if _is_labs(origin):
        return ""
    import shlex  # seldom, and slow to import

    return f" FROM={shlex.quote(text.one_line(origin))}"


def _is_labs(origin: str) -> bool:
    return os.path.basename(os.path.normpath(origin)) == "labs"


def handout(lab: Lab, test: TestSpec) -> str:
    return f"{lab.handout}#{test.handout}"


def status_words(outcome: Outcome) -> str:
    """The status; what did not end in time is a hang or a loop where that is
    known."""
    if outcome.status == TIMED_OUT:
        for mark, word in (("seen: a hang", "hangs"), ("seen: a busy loop", "loops")):
            if mark in outcome.message:
                return word
    return STATUS_WORDS[outcome.status]


def message_rows(outcome: Outcome) -> Rows:
    """What was expected, what was seen, what else is known."""
    expected, seen, others = split_message(outcome.message)
    rows: Rows = []
    if expected:
        rows.append(("expected", expected))
    if seen:
        rows.append(("seen", seen))
    rows += [("" if rows else "message", line) for line in others
             if not _SCHEDULE.fullmatch(line)]
    if not rows:
        rows.append(("message", STATUS_WORDS[outcome.status]))
    return rows


def failure_rows(lab: Lab, outcome: Outcome, origin: str) -> Rows:
    """All that helps with one test that did not pass."""
    rows = message_rows(outcome)
    if outcome.location:
        rows.append(("at", outcome.location))
    rows += leftover_rows([outcome], with_tests=False)
    if outcome.status != BROKEN:
        rows.append(("hint", outcome.test.hint))
        rows.append(("read", handout(lab, outcome.test)))
    rows.append(("again", again(lab, outcome.test, origin)))
    for match in map(_SCHEDULE.fullmatch, outcome.message.split("\n")):
        if match:
            rows.append(("replay", f"make replay LAB={lab.number}{_from(origin)} "
                         f"SCHEDULE={match.group(1)}"))
    return rows


def labelled(label: str) -> str:
    """expected -> expected:"""
    return label + ":" if label and ":" not in label else label


def printed_rows(outcome: Outcome) -> Rows:
    """What the student's program printed."""
    lines = outcome.output.rstrip("\n").split("\n") if outcome.output else []
    return [("printed" if number == 0 else "", "| " + line)
            for number, line in enumerate(lines)]


def memory_rows(faults: Sequence[MemoryFault]) -> Rows:
    """One Valgrind error: place, plain words, Valgrind's words, tests."""
    rows: Rows = []
    for fault in faults:
        times = f" ({fault.count} times)" if fault.count > 1 else ""
        rows.append((fault.location, f"{fault.words}{times}"))
        rows.append(("", f"Valgrind: {fault.what} [{fault.kind}]"))
        if fault.tests:
            rows.append(("", f"in: {names(fault.tests)}"))
    return rows


def leftover_rows(outcomes: Sequence[Outcome], with_tests: bool = True) -> Rows:
    """Each thing left behind, once, with the tests that it was seen in."""
    seen: Dict[str, List[str]] = {}
    for outcome in outcomes:
        if outcome.status == NOT_STARTED:
            continue  # it could not be cleaned up: that function is a stub
        for leftover in outcome.leftovers:
            seen.setdefault(leftover.text, []).append(outcome.test.name)
    return [("left behind", f"{text} (in: {names(tests)})" if with_tests else text)
            for text, tests in seen.items()]


def names(tests: Sequence[str]) -> str:
    unique = list(dict.fromkeys(tests))
    more = len(unique) - _MOST_NAMES
    return ", ".join(unique[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def memory_not_run(score: LabScore) -> str:
    """Why Valgrind was not run, or what it did not see to its end."""
    unseen = [o.test.name for o in score.outcomes
              if o.status == PASSED and o.test.name not in score.memory.ran]
    if score.memory.not_run or not unseen:
        return score.memory.not_run
    return (f"under Valgrind, where all is slower, {names(unseen)} did not come to an end: "
            "does your code pass by luck?")


def memory_line(score: LabScore) -> str:
    if score.memory.not_run:
        return score.memory.not_run
    if score.memory.errors:
        line = "Valgrind: " + _count(len(score.memory.errors), "error") + " in your file"
    else:
        line = "Valgrind: no error in your file" + _in_proportion(score)
    unseen = memory_not_run(score)
    return f"{line}; {unseen}" if unseen else line


def cleanup_line(score: LabScore) -> str:
    tests = sum(bool(outcome.leftovers) for outcome in score.outcomes)
    if tests:
        return f"something was left behind in {_count(tests, 'test')}"
    return "nothing was left behind" + _in_proportion(score)


def _in_proportion(score: LabScore) -> str:
    """Why these points are not all there though nothing is wrong."""
    if score.passed == len(score.outcomes):
        return ""
    return "; points come with the tests that pass"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def failures(score: LabScore) -> List[Outcome]:
    """Tests to explain: all that were lost but the untouched ones."""
    return [outcome for outcome in score.outcomes
            if outcome.status not in (PASSED, NOT_STARTED, NOT_BUILT)]


def not_started(score: LabScore) -> List[Outcome]:
    return [o for o in score.outcomes if o.status == NOT_STARTED]


def untouched(group: GroupScore) -> str:
    """In place of a line a test, where none of several has been started."""
    outcomes = [test.outcome for test in group.tests]
    if len(outcomes) < 2 or any(o.status != NOT_STARTED for o in outcomes):
        return ""
    return f"{len(outcomes)} tests not started"


def start_here(score: LabScore) -> str:
    """For a lab with untouched functions: which they are, and where to go on."""
    left = not_started(score)
    if not left:
        return ""
    group = next(g for g in score.groups if g.group.name == left[0].test.group)
    stubs = list(dict.fromkeys(o.stub for o in left if o.stub))
    still = ""
    if stubs and len(left) < len(score.outcomes):
        verb = "answers" if len(stubs) == 1 else "answer"
        still = (f" ({names(stubs)} still {verb} ENOSYS, as the stub does: are its last "
                 "lines left in a function that you wrote?)")
    what = f"{left[0].stub} ({group.group.title})" if left[0].stub else group.group.title
    return (f"{_count(len(left), 'test')} not started{still}; next: {what}, "
            f"{score.lab.handout}#{group.group.handout}")
