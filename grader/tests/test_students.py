"""Every kind of student's file, end to end on the real runtime: the status and
the score that must come of it, and nothing left on the machine."""

from __future__ import annotations

import io
import os

import pytest

from grader import run, sandbox
from grader.build import link_errors
from grader.model import NOT_BUILT, NOT_STARTED, PASSED, Report
from grader.pipeline import Job, grade_lab
from grader.report import json_report, terminal
from grader.report.style import Style
from grader.tests.conftest import FIXTURES
from grader.tests.students import HONEST


def report_of(score, isolation) -> str:
    stream = io.StringIO()
    report = Report((score,), isolation.kind, isolation.why, "labs")
    assert json_report.schema_errors(json_report.as_dict(report)) == []
    terminal.render(report, stream, Style(True, False, 120, False))
    return " ".join(stream.getvalue().split())


@pytest.mark.parametrize("name", HONEST)
def test_honest_files(name, submit, isolation, left_behind):
    student = HONEST[name]
    score = submit(student.source)
    statuses = {o.test.name: o.status for o in score.outcomes if o.status != PASSED}
    if student.statuses is None:
        assert score.status == NOT_BUILT
        assert set(statuses.values()) == {NOT_BUILT}
    else:
        assert statuses == student.statuses, [o.message for o in score.outcomes]
    assert score.score == student.score
    text = report_of(score, isolation)
    for words in student.says:
        assert " ".join(words.split()) in text
    assert "\x1b" not in text and "\u202e" not in text
    assert left_behind() == {}


def test_the_stub_is_not_started(submit, isolation):
    score = submit((FIXTURES / "labs" / "lab1-tiny" / "tiny.c").read_bytes())
    assert score.status == NOT_STARTED
    assert score.score == 0
    assert {outcome.status for outcome in score.outcomes} == {NOT_STARTED}
    text = report_of(score, isolation)
    assert "4 tests not started; next: tiny_answer (Answer)" in text


def test_quick_runs_no_valgrind(submit):
    score = submit(HONEST["leaks_memory"].source, quick=True)
    assert score.memory.not_run
    assert score.memory_score == 0


def test_one_test_alone(submit):
    only = ("copies_every_byte",)
    score = submit(HONEST["crashes"].source, quick=True, only=only)
    status = {outcome.test.name: outcome.status for outcome in score.outcomes}
    assert status["copies_every_byte"] == PASSED


def test_every_test_is_announced_as_it_ends(submit):
    events = []
    submit(HONEST["right"].source, quick=True, notify=events.append)
    assert [name for _, name in events] == [
        "answers_with_the_next_number", "refuses_a_negative_number",
        "copies_every_byte", "copies_nothing_from_an_empty_pipe"]


KINDS = ("uid", "none") if os.geteuid() == 0 else ("none",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ("right", "fails", "crashes", "hangs",
                                  "leaks_segment", "daemon"))
def test_without_namespaces(kind, name, submit, left_behind):
    student = HONEST[name]
    score = submit(student.source, kind=kind)
    statuses = {o.test.name: o.status for o in score.outcomes if o.status != PASSED}
    assert statuses == student.statuses
    assert score.score == student.score
    assert left_behind() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make them without a "
                    "user namespace")
@pytest.mark.parametrize("name", ("right", "hangs", "leaks_memory"))
def test_namespaces_made_by_root(name, tiny_kit, tiny_lab, tmp_path, left_behind):
    """For machines that refuse user namespaces, as Ubuntu 24.04 does."""
    isolation = sandbox.Isolation(sandbox.NAMESPACES, by_root=True)
    if run.why_no_namespaces(isolation):
        pytest.skip("this root may not make namespaces")
    student = HONEST[name]
    (tmp_path / "tiny.c").write_text(student.source)
    score = grade_lab(Job(tiny_kit, tiny_lab, tmp_path, isolation))
    assert score.score == student.score, score.build_errors
    assert left_behind() == {}


def test_nothing_but_the_labs_own_can_be_seen(submit, isolation):
    """The compiler and the subject see no other file of the kit."""
    if isolation.kind != sandbox.NAMESPACES:
        pytest.skip("without namespaces the machine's files are visible")
    source = HONEST["right"].source.replace(
        "#include <errno.h>", "#include <errno.h>\n#include <dirent.h>").replace(
        "    if (number < 0) {", """\
    DIR *d = opendir("/lab");
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        printf("%s ", e->d_name);
    closedir(d);
    printf("| %d %d %d", access("/root", F_OK), access("/home", F_OK),
           open("/etc/mine", O_CREAT | O_WRONLY, 0600));
    fflush(stdout);
    if (number >= 0)
        return -7;
    if (number < 0) {""")
    score = submit(source, quick=True)
    printed = score.outcomes[0].output
    words, _, rest = printed.partition("|")
    assert sorted(words.split()) == [".", "..", "bin", "out"], score.build_errors
    assert rest.split() == ["-1", "-1", "-1"]


@pytest.mark.parametrize("where", ("tiny.c:16:", "tiny.c:16:(.text+0x15):"))
def test_ld_of_any_age_is_understood(where):
    said = ("/usr/bin/ld: /lab/obj/tiny.o: in function `tiny_answer':\n"
            f"/lab/src/{where} undefined reference to `shim_getpidd'\n"
            "collect2: error: ld returned 1 exit status")
    assert link_errors(said) == ["tiny.c:16: getpidd is defined nowhere (is it misspelled?)"]
