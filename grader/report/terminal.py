"""`make grade`: the whole report on a terminal, with rich.

What came from a student's program is only ever put into rich as Text, never as
markup.
"""

from __future__ import annotations

import io
from typing import Iterable, List, Optional, Sequence, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from grader.model import (
    GRADED, NOT_STARTED, PASSED, GroupScore, LabScore, Report,
    TestScore,
)
from grader.report import words
from grader.report.quick import mark_of
from grader.report.style import Style

_LABEL_WIDTH = len("left behind:")
_INDENT = 4


def console_for(stream: TextIO, style: Style) -> Console:
    return Console(file=stream, width=style.width, no_color=not style.color,
                   force_terminal=style.terminal and style.color, highlight=False,
                   markup=False, emoji=False, legacy_windows=False)


def render(report: Report, stream: TextIO, style: Style,
           written_to: Optional[str] = None) -> None:
    """The report, then the table of labs and the total."""
    if style.color:
        _render(report, console_for(stream, style), style, written_to)
        return
    page = io.StringIO()
    _render(report, console_for(page, style), style, written_to)
    for line in page.getvalue().splitlines():
        stream.write(line.rstrip() + "\n")


def _render(report: Report, console: Console, style: Style,
            written_to: Optional[str]) -> None:
    for score in report.labs:
        _lab(console, score, report.origin, style)
    _summary(console, report, style)
    console.print(Text(words.isolation_line(report), style="dim"))
    if written_to:
        console.print(Text(f"report: {written_to}", style="dim"), soft_wrap=True)


def _lab(console: Console, score: LabScore, origin: str, style: Style) -> None:
    lab = score.lab
    console.print(Rule(characters="─" if style.unicode else "-", style="dim"))
    console.print(_with_points(Text(f"{lab.id}  {lab.title}", style="bold"),
                               score.score, lab.points))
    if score.problem:
        _problem(console, score, style)
        return
    for group in score.groups:
        console.print(_group(group, style))
    extra = Table.grid(expand=True, padding=(0, 1))
    extra.add_column(ratio=1)
    extra.add_column(justify="right", no_wrap=True)
    for name, line, got, most in (
            ("memory", words.memory_line(score), score.memory_score, lab.memory_points),
            ("cleanup", words.cleanup_line(score), score.cleanup_score,
             lab.cleanup_points)):
        if most:
            extra.add_row(Text.assemble((f"  {name}  ", "bold"), line),
                          _points(got, most))
    console.print(extra)
    _warnings(console, score)
    _failures(console, score, origin, style)
    _memory(console, score)
    _leftovers(console, score)
    start = words.start_here(score)
    if start:
        console.print()
        console.print(Padding(Text.assemble((style.not_started + " ", "yellow"), start),
                              (0, 0, 0, 2)))
    console.print()


def _problem(console: Console, score: LabScore, style: Style) -> None:
    console.print(Padding(Text(f"{style.failed} {score.problem}", style="red"),
                          (0, 0, 0, 2)))
    for error in score.build_errors:
        console.print(Padding(Text(error), (0, 0, 0, _INDENT)))
    console.print()


def _with_points(title: Text, got: int, most: int) -> Table:
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(title, _points(got, most))
    return row


def _points(got: int, most: int) -> Text:
    color = "green" if got == most else "red" if got == 0 else "yellow"
    return Text(f"{got}/{most}", style=color)


def _group(group: GroupScore, style: Style) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(width=3, justify="right")
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    heading = Text.assemble((group.group.name, "bold"), "  ", group.group.title)
    outer = Table.grid(expand=True)
    outer.add_column(ratio=1)
    outer.add_row(Padding(_with_points(heading, group.score, group.group.points),
                          (0, 0, 0, 2)))
    untouched = words.untouched(group)
    if untouched:
        table.add_row(Text(style.not_started, style="yellow"), Text(untouched, style="dim"))
    for test in group.tests if not untouched else ():
        table.add_row(*_test_row(test, style))
    outer.add_row(table)
    return outer


def _test_row(test: TestScore, style: Style) -> List[Text]:
    mark, color = mark_of(test.outcome, style)
    status = test.outcome.status
    title = Text(test.outcome.test.title)
    if status not in (PASSED, NOT_STARTED):
        title.append(f"  {words.status_words(test.outcome)}", style="red")
    if test.outcome.schedules:
        plural = "" if test.outcome.schedules == 1 else "s"
        title.append(f"  {test.outcome.schedules:,} schedule{plural}", style="dim")
    return [Text(mark, style=color), title, _points(test.score, test.outcome.test.points)]


def _rows(rows: Iterable[Sequence[str]], label_width: int = _LABEL_WIDTH) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=label_width, no_wrap=True)
    table.add_column(overflow="fold")
    for label, content in rows:
        table.add_row(Text(words.labelled(label), style="dim"), Text(content))
    return table


def _failures(console: Console, score: LabScore, origin: str, style: Style) -> None:
    for outcome in words.failures(score):
        console.print()
        status = words.status_words(outcome)
        console.print(Padding(
            Text.assemble((f"{style.failed} ", "red"), (outcome.test.title, "bold"),
                          f"  {status}"), (0, 0, 0, 2)))
        rows = words.failure_rows(score.lab, outcome, origin)
        console.print(Padding(_rows(row for row in rows if not _is_copied(row)),
                              (0, 0, 0, _INDENT)))
        _copied(console, rows)
        printed = words.printed_rows(outcome)
        if printed:
            console.print(Padding(_rows(printed), (0, 0, 0, _INDENT)))


def _is_copied(row: Sequence[str]) -> bool:
    return words.labelled(row[0]) in words.COPIED


def _copied(console: Console, rows: words.Rows) -> None:
    """What is to be copied is never broken into two lines."""
    for row in filter(_is_copied, rows):
        start = " " * _INDENT + words.labelled(row[0]).ljust(_LABEL_WIDTH + 2)
        line = Text(start, style="dim")
        line.append(row[1], style="not dim cyan")
        console.print(line, soft_wrap=True)


def _warnings(console: Console, score: LabScore) -> None:
    if score.build_warnings:
        console.print()
        console.print(Padding(Text("compiler's warnings", style="bold"), (0, 0, 0, 2)))
        for warning in score.build_warnings:
            console.print(Padding(Text(warning), (0, 0, 0, _INDENT)))


def _memory(console: Console, score: LabScore) -> None:
    if score.memory.errors:
        console.print()
        console.print(Padding(Text("memory", style="bold"), (0, 0, 0, 2)))
        rows = words.memory_rows(score.memory.errors)
        width = min(24, max(len(label) for label, _ in rows))
        console.print(Padding(_rows(rows, width), (0, 0, 0, _INDENT)))


def _leftovers(console: Console, score: LabScore) -> None:
    rows = words.leftover_rows(score.outcomes)
    if rows:
        console.print()
        console.print(Padding(Text("left behind (removed now)", style="bold"),
                              (0, 0, 0, 2)))
        for _, line in rows:
            console.print(Padding(Text(line), (0, 0, 0, _INDENT)))


def _summary(console: Console, report: Report, style: Style) -> None:
    console.print(Rule(characters="─" if style.unicode else "-", style="dim"))
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for score in report.labs:
        color = {GRADED: "", NOT_STARTED: "yellow"}.get(score.status, "red")
        done = f"{score.passed} of {len(score.outcomes)} tests"
        status = words.STATUS_WORDS[score.status]
        if score.status == GRADED:
            status = done
        table.add_row(Text(score.lab.id), Text(status, style=color),
                      _points(score.score, score.lab.points))
    if len(report.labs) > 1:
        table.add_row(Text("total", style="bold"), Text(""),
                      _points(report.score, report.max))
    console.print(table)
    if report.broken:
        console.print(Text(
            f"{style.failed} The kit or the machine is at fault in a part of this, not "
            "the student: see \"the kit's fault\" above, and try make doctor.",
            style="red"))


