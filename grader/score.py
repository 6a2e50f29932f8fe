"""Fifth step: walks the rubric of lab.toml and gives points.

The walk is over the tests that lab.toml expects, never over the ones that a
log mentions: a test that is missing from the log is lost, not skipped.  Memory
and cleanup points are earned in proportion to the tests that passed, so that
an untouched stub scores 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Sequence

from grader.model import (
    BROKEN, FAILED, GRADED, NOT_BUILT, NOT_STARTED, PASSED,
    GroupScore, Lab, LabScore, MemoryCheck, Outcome, TestScore,
)


def score_lab(lab: Lab, outcomes: Dict[str, Outcome], memory: MemoryCheck,
              wall_s: float = 0.0) -> LabScore:
    """Points for a lab whose tests ran."""
    outcomes = hold_back(outcomes)
    groups = tuple(
        GroupScore(group, tuple(_score_test(outcomes[test.name])
                                for test in group.tests))
        for group in lab.groups)
    ordered = [outcomes[test.name] for test in lab.tests]
    return LabScore(lab, _lab_status(ordered), groups, memory,
                    _memory_score(lab, ordered, memory),
                    _cleanup_score(lab, ordered), wall_s=wall_s)


def hold_back(outcomes: Dict[str, Outcome]) -> Dict[str, Outcome]:
    """A test of a refusal passes with a function that refuses everything.  It
    counts only where the test that it needs, of the same function at its work,
    has passed as well, and until then shows the hint of that one.  (Where that
    one was not run, as with --test, the pass stands.)"""
    def held(outcome: Outcome) -> Outcome:
        needed = outcomes.get(outcome.test.needs)
        if outcome.status != PASSED or needed is None or needed.status == PASSED:
            return outcome
        if needed.status == BROKEN:
            return replace(outcome, status=BROKEN, message=(
                f"{needed.test.name}, without which this proves nothing, could not be run"))
        spec = replace(outcome.test, hint=needed.test.hint,
                       handout=needed.test.handout)
        return replace(outcome, test=spec, status=FAILED, message=(
            f"expected: this, and {needed.test.name} passes too\n"
            f"seen: {needed.test.name} does not pass yet\n"
            "A function that refuses everything would pass here as well: these "
            "points come together with that test."))

    return {name: held(outcome) for name, outcome in outcomes.items()}


def score_unbuilt(lab: Lab, status: str, problem: str,
                  errors: Sequence[str] = ()) -> LabScore:
    """No points: the lab's file is missing, does not build, or the kit broke."""
    of_tests = BROKEN if status == BROKEN else NOT_BUILT
    groups = tuple(
        GroupScore(group, tuple(TestScore(Outcome(test, of_tests), 0)
                                for test in group.tests))
        for group in lab.groups)
    return LabScore(lab, status, groups, MemoryCheck(not_run="nothing was run"),
                    0, 0, problem, tuple(errors))


def _score_test(outcome: Outcome) -> TestScore:
    points = outcome.test.points if outcome.status == PASSED else 0
    return TestScore(outcome, points)


def _lab_status(outcomes: Sequence[Outcome]) -> str:
    if any(outcome.status == BROKEN for outcome in outcomes):
        return BROKEN
    if all(outcome.status == NOT_STARTED for outcome in outcomes):
        return NOT_STARTED
    return GRADED


def _memory_score(lab: Lab, outcomes: Sequence[Outcome], memory: MemoryCheck) -> int:
    """Tests that passed, ran under Valgrind, and showed no error there.  An
    error that no test can be named for costs as much as one test."""
    faulty = {name for error in memory.errors for name in error.tests}
    clean = sum(outcome.status == PASSED and outcome.test.name in memory.ran
                and outcome.test.name not in faulty for outcome in outcomes)
    nameless = sum(not error.tests for error in memory.errors)
    return lab.memory_points * max(0, clean - nameless) // len(outcomes)


def _cleanup_score(lab: Lab, outcomes: Sequence[Outcome]) -> int:
    clean = sum(outcome.status == PASSED and not outcome.leftovers
                for outcome in outcomes)
    return lab.cleanup_points * clean // len(outcomes)
