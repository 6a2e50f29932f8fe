"""`make lab4`: what one wants to see after an edit, at once.

A line a test, the first three failures with the message, the hint and the
command to repeat one, and a last line that says what is next.  Written without
rich, whose import alone would take a third of the time of a run.
"""

from __future__ import annotations

import textwrap
from typing import List, Sequence, Tuple

from grader.model import (
    NOT_STARTED, PASSED, GroupScore, LabScore, Outcome, Report,
)
from grader.report import words
from grader.report.style import Style

MOST_FAILURES = 3
_NARROW = 50  # columns
_COLORS = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}


def render(report: Report, style: Style) -> str:
    """The whole of it, as text."""
    parts = [_lab(score, report.origin, style) for score in report.labs]
    return "\n".join(parts)


def _lab(score: LabScore, origin: str, style: Style) -> str:
    lab = score.lab
    lines = [_paint(f"{lab.id} {style.dot} {lab.title}", "bold", style)]
    if score.problem:
        lines += _problem(score, style)
    else:
        for group in score.groups:
            lines += _group(group, style)
        for warning in score.build_warnings:
            lines += _wrapped(warning, 2, style.width)
        if len(score.outcomes) <= MOST_FAILURES:  # asked for by name
            for outcome in score.outcomes:
                if outcome.status == PASSED:
                    lines += rows_as_lines(words.printed_rows(outcome), style)
        shown = words.failures(score)
        for outcome in shown[:MOST_FAILURES]:
            lines += ["", *_failure(score, outcome, origin, style)]
        more = len(shown) - MOST_FAILURES
        if more > 0:
            lines += ["", f"... and {more} more: make lab{lab.number} TEST=name for one, "
                      "make grade for all"]
        lines += _leftovers(score, style)
    lines += ["", *_last_lines(score, origin, style)]
    return "\n".join(lines) + "\n"


def _problem(score: LabScore, style: Style) -> List[str]:
    lines = _wrapped(f"{style.failed} {score.problem}", 0, style.width)
    for error in score.build_errors:
        lines += _wrapped(error, 2, style.width)
    return lines


def _leftovers(score: LabScore, style: Style) -> List[str]:
    rows = words.leftover_rows(score.outcomes)
    if not rows:
        return []
    lines = ["", *_wrapped("left behind, which costs cleanup points:", 0, style.width)]
    for _, text in rows[:MOST_FAILURES]:
        lines += _wrapped(text, 2, style.width)
    more = len(rows) - MOST_FAILURES
    return lines + ([f"  ... and {more} more"] if more > 0 else [])


def _group(group: GroupScore, style: Style) -> List[str]:
    untouched = words.untouched(group)
    if untouched:
        text = f"{group.group.title}: {untouched}"
        return [_marked(style.not_started, "yellow", text, style)]
    return [_marked(*mark_of(test.outcome, style), test.outcome.test.title, style)
            for test in group.tests]


def _marked(mark: str, color: str, title: str, style: Style) -> str:
    room = style.width - 2
    if len(title) > room:
        title = title[: room - 3] + "..."
    return f"{_paint(mark, color, style)} {title}"


def mark_of(outcome: Outcome, style: Style) -> Tuple[str, str]:
    """(mark, colour)"""
    if outcome.status == PASSED:
        return style.passed, "green"
    if outcome.status == NOT_STARTED:
        return style.not_started, "yellow"
    return style.failed, "red"


def _failure(score: LabScore, outcome: Outcome, origin: str, style: Style) -> List[str]:
    status = words.status_words(outcome)
    lines = _wrapped(f"{style.failed} {outcome.test.title} ({status})", 0, style.width)
    lines[0] = lines[0].replace(style.failed, _paint(style.failed, "red", style), 1)
    rows = words.failure_rows(score.lab, outcome, origin) + words.printed_rows(outcome)
    return lines + rows_as_lines(rows, style)


def rows_as_lines(rows: Sequence[Tuple[str, str]], style: Style) -> List[str]:
    """Labels in a column, text beside them; below them where it is narrow."""
    rows = [(words.labelled(label), text) for label, text in rows]
    column = max((len(label) for label, _ in rows), default=0) + 2
    narrow = style.width < _NARROW
    lines = []
    for label, text in rows:
        # What is to be copied is never broken into two lines.
        width = 10_000 if label in words.COPIED else style.width
        wrapped = _wrapped(text, 4 if narrow else 2 + column, width)
        if not narrow:
            wrapped[0] = "  " + label.ljust(column) + wrapped[0][2 + column:]
        elif label:
            wrapped.insert(0, "  " + label)
        lines += wrapped
    return lines


def _wrapped(text: str, indent: int, width: int) -> List[str]:
    pad = " " * indent
    return textwrap.wrap(text, max(width, indent + 20), initial_indent=pad,
                         subsequent_indent=pad, break_on_hyphens=False) or [pad]


def _last_lines(score: LabScore, origin: str, style: Style) -> List[str]:
    if score.problem:
        return [f"0 of {len(score.outcomes)} tests pass"]
    lines = []
    hint = words.start_here(score)
    if hint and not words.failures(score):
        lines += _wrapped(hint, 0, style.width)
    passed = f"{score.passed} of {len(score.outcomes)} tests pass"
    color = "green" if score.passed == len(score.outcomes) else "bold"
    command = words.grade_command(score.lab, origin)
    lines.append(f"{_paint(passed, color, style)} {style.dot} next: {command}")
    return lines


def _paint(text: str, color: str, style: Style) -> str:
    return f"\033[{_COLORS[color]}m{text}\033[0m" if style.color else text
