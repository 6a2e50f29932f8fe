"""How far a measurement is: a bar on a terminal, lines elsewhere.

Drawn between two runs only, and by no thread of its own: it would take time
from what is measured.
"""

from __future__ import annotations

import sys

from grader.report.style import Style


class PlainProgress:
    """A line a run would be noise in a log: one at the start."""

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, steps: int) -> None:
        print(f"{steps} runs ...", flush=True)

    def step(self, _: str) -> None:
        pass


class BarProgress:
    def __init__(self, style: Style) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        from grader.report.terminal import console_for
        self._bar = Progress(
            TextColumn("{task.description:12}", markup=False), BarColumn(),
            MofNCompleteColumn(), console=console_for(sys.stdout, style),
            transient=True, auto_refresh=False)
        self._task = self._bar.add_task("compiling", total=None)

    def __enter__(self) -> "BarProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, steps: int) -> None:
        self._bar.update(self._task, description="", total=steps, refresh=True)

    def step(self, what: str) -> None:
        self._bar.update(self._task, description=what, advance=1, refresh=True)


def progress_of(style: Style):
    if style.terminal and style.color:
        return BarProgress(style)
    return PlainProgress()
