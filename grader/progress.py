"""How far a grading is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Sequence

from grader.model import Lab, LabScore
from grader.report import words
from grader.report.style import Style


class PlainProgress:
    """A line when a lab is done."""

    def __init__(self, style: Style) -> None:
        self._style = style

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: tuple) -> None:
        if event[0] == "lab":
            print(finished_line(event[1]), flush=True)


class BarProgress:
    """A bar over all tests; each counts twice, natively and under Valgrind."""

    def __init__(self, labs: Sequence[Lab], style: Style) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        from grader.report.terminal import console_for
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False),
            console=console_for(sys.stdout, style), transient=True)
        self._tasks = {lab.id: self._bar.add_task(lab.id, total=2 * len(lab.tests))
                       for lab in labs}

    def __enter__(self) -> "BarProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: tuple) -> None:
        if event[0] == "lab":
            task = self._tasks[event[1].lab.id]
            self._bar.update(task, completed=2 * len(event[1].lab.tests))
        else:
            self._bar.advance(self._tasks[event[0]])


def finished_line(score: LabScore) -> str:
    return (f"{score.lab.id}: {words.STATUS_WORDS[score.status]}, "
            f"{score.score}/{score.lab.points}")


def progress_of(labs: Sequence[Lab], style: Style):
    if style.terminal and style.color:
        return BarProgress(labs, style)
    return PlainProgress(style)
