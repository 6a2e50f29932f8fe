"""Strings the steps together: one lab, and all labs side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple

from grader import build as build_step
from grader import parse, run, score
from grader.errors import KitError
from grader.model import (
    NOT_BUILT, NOT_STARTED, Group, Kit, Lab, LabScore, Report,
)
from grader.parallel import run_all
from grader.sandbox import NONE, Isolation, Place
from grader.submission import read_submission


@dataclass(frozen=True)
class Job:
    """One lab of one submission, to be graded."""

    kit: Kit
    lab: Lab
    folder: Path  # of the submission
    isolation: Isolation
    quick: bool = False  # natively only
    only: Tuple[str, ...] = ()  # these tests alone


# (lab's id, test's name) when a test has ended; ("lab", score) at a lab's end
Notify = Callable[[tuple], None]


def grade_lab(job: Job, notify: Optional[Notify] = None) -> LabScore:
    """discover (the student's files) -> build -> run -> parse -> score."""
    lab = job.lab
    submission = read_submission(lab, job.folder)
    if submission.status:
        return score.score_unbuilt(lab, submission.status, submission.problem)
    place = Place(job.isolation)
    if job.isolation.kind == NONE:
        run.adopt_orphans()
    try:
        built = build_step.build(job.kit, lab, submission, place, job.quick)
        if built.status:
            return score.score_unbuilt(lab, built.status, "the lab does not build",
                                       built.errors)
        progress = (lambda lab, test: notify((lab.id, test))) if notify else None
        ran = run.run_lab(lab, built, place, quick=job.quick, only=job.only,
                          progress=progress)
    finally:
        run.sweep(place)
        place.close()
    outcomes = parse.parse_outcomes(lab, ran)
    if built.missing_calls and not job.only and not any(
            outcome.status == NOT_STARTED for outcome in outcomes.values()):
        # Asked only of a lab that has no untouched stub left in it.
        return score.score_unbuilt(lab, NOT_BUILT, "the lab breaks its rules",
                                   built.missing_calls)
    memory = parse.parse_memory(lab, ran)
    wall_s = sum(log.wall_s for log in ran.native + ran.valgrind)
    return replace(score.score_lab(lab, outcomes, memory, wall_s),
                   build_warnings=built.warnings)


def grade(jobs: Sequence[Job], side_by_side: int,
          notify: Optional[Notify] = None) -> Report:
    """All labs of one submission."""
    def work(job: Job, emit: Notify) -> LabScore:
        result = grade_lab(job, emit)
        emit(("lab", result))
        return result

    # The longest first, which go through schedules or have many tests: those that
    # end the run are to be short ones.
    by_work = sorted(jobs, reverse=True,
                     key=lambda job: (job.lab.witness, len(job.lab.tests)))
    done = dict(zip((job.lab.id for job in by_work),
                    run_all(by_work, work, side_by_side, notify)))
    labs = [done[job.lab.id] for job in jobs]
    return Report(tuple(labs), jobs[0].isolation.kind, jobs[0].isolation.limits,
                  str(jobs[0].folder))


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def labs_at_once() -> int:
    """So many labs side by side: one more than there are processors, since a lab
    waits for a third of its time (for who sleeps, for a deadline, for its turn)."""
    return cores() + 1


def narrowed(lab: Lab, names: Sequence[str]) -> Lab:
    """The lab with these tests only, and no points but theirs."""
    groups = []
    for group in lab.groups:
        tests = tuple(test for test in group.tests if test.name in names)
        if tests:
            groups.append(Group(group.name, group.title, group.handout, tests))
    return replace(lab, groups=tuple(groups), memory_points=0, cleanup_points=0)


def check_test_names(labs: Sequence[Lab], names: Sequence[str]) -> None:
    """An unknown test is a clear error that knows the nearest name."""
    known = [test.name for lab in labs for test in lab.tests]
    for name in names:
        if name not in known:
            import difflib
            near = difflib.get_close_matches(name, known, 1, 0.4)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise KitError(f"no test is called {name}{guess}")
