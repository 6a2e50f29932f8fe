"""`make check-kit`: does the kit keep its own promises?

    files.py     the folders: names, unexpected files, links, figures
    handout.py   a lab's page: sections, anchors, the table of points
    mistakes.py  the classic mistakes: each caught, in the words it names
    labs.py      a lab: tests, stub, reference, other solutions

Each finding is one line that says what is wrong and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from grader.checkkit import files, labs, mistakes
from grader.discover import find_labs
from grader.model import Kit, Lab
from grader.parallel import run_all
from grader.sandbox import Isolation
from grader.stubs import require_solutions


@dataclass(frozen=True)
class Check:
    """One thing to check; all are independent of each other."""

    name: str
    find: Callable[[], List[str]]


def checks_of_kit(kit: Kit) -> List[Check]:
    """What belongs to no single lab."""
    return [Check("folders and links", lambda: files.findings(kit))]


def checks_of_lab(kit: Kit, lab: Lab, isolation: Isolation,
                  repeat: int = 1) -> List[Check]:
    """Everything that is checked of one lab."""
    checks = [Check(f"{lab.id}: {name}", find)
              for name, find in labs.checks(kit, lab, isolation, repeat)]
    for path in mistakes.patches(kit, lab):
        checks.append(Check(
            f"{lab.id}: mistake {path.stem}",
            lambda path=path: mistakes.findings(kit, lab, path, isolation, repeat)))
    return checks


def run_checks(checks: Sequence[Check], jobs: int,
               on_event: Optional[Callable[[Tuple[str, List[str]]], None]] = None
               ) -> List[str]:
    """All findings, in the checks' order."""
    def work(check: Check, emit) -> List[str]:
        found = [f"{check.name}: {finding}" for finding in check.find()]
        emit((check.name, found))
        return found

    results = run_all(checks, work, jobs, on_event)
    return [finding for found in results for finding in found]


def main(kit: Kit, numbers: Sequence[int], isolation: Isolation, jobs: int,
         repeat: int) -> int:
    from grader.report.style import stdout_style

    require_solutions(kit)
    style = stdout_style()
    checks = [] if numbers else checks_of_kit(kit)
    for lab in find_labs(kit, numbers):
        checks += checks_of_lab(kit, lab, isolation, repeat)
    done = 0

    def show(event: Tuple[str, List[str]]) -> None:
        nonlocal done
        done += 1
        name, found = event
        mark = style.failed if found else style.passed
        print(f"[{done}/{len(checks)}] {mark} {name}", flush=True)
        for finding in found:
            print(f"    {finding}", flush=True)

    findings = run_checks(checks, jobs, show)
    print(f"{len(checks)} checks, {len(findings)} findings")
    return 1 if findings else 0
