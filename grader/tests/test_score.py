"""The rubric's walk: points for what passed, nothing for what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grader.model import (
    BROKEN, CRASHED, FAILED, GRADED, MISSING, NOT_BUILT, NOT_STARTED, PASSED,
    Leftover, MemoryCheck, MemoryFault, Outcome, Report,
)
from grader.pipeline import narrowed
from grader.score import score_lab, score_unbuilt


def outcomes(lab, **statuses):
    return {test.name: Outcome(test, statuses.get(test.name, PASSED))
            for test in lab.tests}


def all_ran(lab, *errors: MemoryFault) -> MemoryCheck:
    return MemoryCheck(errors, tuple(test.name for test in lab.tests))


def fault(*tests: str) -> MemoryFault:
    return MemoryFault("InvalidRead", "Invalid read", "reads", "tiny.c:3", 1, tests)


def test_all_passed_is_all_points(tiny_lab):
    score = score_lab(tiny_lab, outcomes(tiny_lab), all_ran(tiny_lab))
    assert (score.score, score.status) == (100, GRADED)


def test_nothing_passed_is_nothing(tiny_lab):
    statuses = {test.name: NOT_STARTED for test in tiny_lab.tests}
    score = score_lab(tiny_lab, outcomes(tiny_lab, **statuses),
                      MemoryCheck(not_run="no"))
    assert (score.score, score.status) == (0, NOT_STARTED)


def test_memory_and_cleanup_are_in_proportion_and_rounded_down(tiny_lab):
    first = tiny_lab.tests[0].name
    score = score_lab(tiny_lab, outcomes(tiny_lab, **{first: FAILED}), all_ran(tiny_lab))
    assert (score.memory_score, score.cleanup_score) == (7, 7)
    assert score.score == 60 + 7 + 7
    assert score.status == GRADED


def test_an_error_costs_the_tests_that_it_showed_in(tiny_lab):
    first, second, *_ = (test.name for test in tiny_lab.tests)
    memory = all_ran(tiny_lab, fault(first, second))
    assert score_lab(tiny_lab, outcomes(tiny_lab), memory).memory_score == 5
    # The same test twice, and one that failed anyway, cost nothing more.
    memory = all_ran(tiny_lab, fault(first), fault(first))
    score = score_lab(tiny_lab, outcomes(tiny_lab, **{first: CRASHED}), memory)
    assert score.memory_score == 7


def needing(lab, name: str, needed: str):
    """The lab, with a test that needs another one."""
    def changed(test):
        return replace(test, needs=needed) if test.name == name else test
    return replace(lab, groups=tuple(
        replace(group, tests=tuple(map(changed, group.tests)))
        for group in lab.groups))


def test_a_refusal_counts_beside_the_test_that_it_needs(tiny_lab):
    needed, refusal, *_ = (test.name for test in tiny_lab.tests)
    lab = needing(tiny_lab, refusal, needed)
    assert score_lab(lab, outcomes(lab), all_ran(lab)).score == 100
    score = score_lab(lab, outcomes(lab, **{needed: NOT_STARTED}), all_ran(lab))
    held = score.outcomes[1]
    assert (held.test.name, held.status) == (refusal, FAILED)
    assert needed in held.message
    assert held.test.hint == lab.tests[0].hint != lab.tests[1].hint
    assert score.score == 100 - 2 * 20 - 5 - 5
    # What it came to by itself is not made milder.
    score = score_lab(lab, outcomes(lab, **{needed: FAILED, refusal: CRASHED}),
                      all_ran(lab))
    assert score.outcomes[1].status == CRASHED
    # The machine's fault in the one is not the student's in the other.
    held = score_lab(lab, outcomes(lab, **{needed: BROKEN}), all_ran(lab)).outcomes[1]
    assert held.status == BROKEN and needed in held.message


def test_a_refusal_run_alone_stands(tiny_lab):
    needed, refusal, *_ = (test.name for test in tiny_lab.tests)
    alone = narrowed(needing(tiny_lab, refusal, needed), [refusal])
    assert score_lab(alone, outcomes(alone), all_ran(alone)).passed == 1


def test_an_error_without_a_test_costs_one(tiny_lab):
    score = score_lab(tiny_lab, outcomes(tiny_lab), all_ran(tiny_lab, fault()))
    assert score.memory_score == 7


def test_a_test_that_did_not_end_under_valgrind_earns_no_memory_points(tiny_lab):
    memory = MemoryCheck(ran=tuple(test.name for test in tiny_lab.tests[:2]))
    assert score_lab(tiny_lab, outcomes(tiny_lab), memory).memory_score == 5


def test_leftovers_cost_cleanup_points(tiny_lab):
    made = outcomes(tiny_lab)
    first = tiny_lab.tests[0]
    made[first.name] = Outcome(first, PASSED, leftovers=(Leftover("shm", "a segment"),))
    score = score_lab(tiny_lab, made, all_ran(tiny_lab))
    assert (score.cleanup_score, score.score) == (7, 97)


@pytest.mark.parametrize("status,of_tests", (
    (MISSING, NOT_BUILT), (NOT_BUILT, NOT_BUILT), (BROKEN, BROKEN)))
def test_an_unbuilt_lab_scores_nothing(tiny_lab, status, of_tests):
    score = score_unbuilt(tiny_lab, status, "why")
    assert (score.score, score.status, score.problem) == (0, status, "why")
    assert {outcome.status for outcome in score.outcomes} == {of_tests}


def test_a_broken_test_makes_the_report_broken(tiny_lab):
    first = tiny_lab.tests[0].name
    score = score_lab(tiny_lab, outcomes(tiny_lab, **{first: BROKEN}), all_ran(tiny_lab))
    assert score.status == BROKEN
    report = Report((score,), "none", "", "labs")
    assert report.broken
    assert (report.score, report.max) == (score.score, 100)
