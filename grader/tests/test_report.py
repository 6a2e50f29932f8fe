"""The reports: what is said, in every encoding and width; the JSON's schema."""

from __future__ import annotations

import io
import json

import pytest

from grader.errors import KitError
from grader.model import (
    CRASHED, FAILED, NOT_BUILT, NOT_STARTED, PASSED,
    Leftover, MemoryCheck, MemoryFault, Outcome, Report,
)
from grader.report import json_report, quick, style, terminal, words
from grader.score import score_lab, score_unbuilt

UTF8 = style.Style(True, False, 80, False)
ASCII = style.Style(False, False, 80, False)


@pytest.fixture
def report(tiny_lab) -> Report:
    """One of everything."""
    first, second, third, fourth = tiny_lab.tests
    outcomes = {
        first.name: Outcome(
            first, FAILED, "expected: 5\nseen: tiny_answer(4) returned 6\nand more",
            "tiny.c:9", 0.01, (Leftover("shm", "SysV segment id 3, 4096 bytes"),),
            "it printed\n[red]this[/red]"),
        second.name: Outcome(second, CRASHED, "seen: SIGSEGV", "tiny.c:10"),
        third.name: Outcome(third, PASSED, duration_s=0.5),
        fourth.name: Outcome(fourth, NOT_STARTED),
    }
    memory = MemoryCheck((MemoryFault(
        "InvalidRead", "Invalid read of size 1", "reads memory that is not its own",
        "tiny.c:12", 3, (third.name,)),), (third.name,))
    labs = (score_lab(tiny_lab, outcomes, memory),
            score_unbuilt(tiny_lab, NOT_BUILT, "the lab does not build",
                          ["tiny.c:3:1: error: expected ‘;’ before ‘}’"]))
    return Report(labs, "uid", "bubblewrap is not installed", "/home/ann/my labs")


def render(report: Report, look: style.Style) -> str:
    stream = io.StringIO()
    terminal.render(report, stream, look, "build/report.json")
    return stream.getvalue()


def test_the_terminal_report_says_everything(report):
    text = " ".join(render(report, UTF8).split())
    for part in (
            "lab1-tiny A tiny lab 22/100", "answer Answer 0/40",
            "✗ answers with the next number failed 0/20", "✓ copies every byte 20/20",
            "○ copies nothing from an empty pipe 0/20",
            "expected: 5", "seen: tiny_answer(4) returned 6", "and more", "at: tiny.c:9",
            "hint: What comes after a number?", "read: handouts/lab1-tiny.md#answer",
            "again: make lab1 FROM='/home/ann/my labs' TEST=answers_with_the_next_number",
            "printed: | it printed | [red]this[/red]",
            "left behind: SysV segment id 3, 4096 bytes",
            "tiny.c:12 reads memory that is not its own (3 times)",
            "Valgrind: Invalid read of size 1 [InvalidRead]", "in: copies_every_byte",
            "1 test not started; next: Copy, handouts/lab1-tiny.md#copy",
            "✗ the lab does not build", "tiny.c:3:1: error:",
            "not built", "total 22/200", "isolation: uid",
            "bubblewrap is not installed", "report: build/report.json"):
        assert part in text, part


def test_a_command_is_never_broken_into_two_lines(report):
    command = words.again(report.labs[0].lab, report.labs[0].lab.tests[0], report.origin)
    narrow = style.Style(True, False, 34, False)
    assert command in render(report, narrow)
    assert command in quick.render(report, narrow)


@pytest.mark.parametrize("width", (30, 40, 60, 80, 120))
def test_lines_keep_to_the_width(report, width):
    look = style.Style(True, False, width, False)
    for text in (render(report, look), quick.render(report, look)):
        for line in text.splitlines():
            copied = any(word in line for word in ("make ", "report:", "handouts/"))
            assert len(line) <= width or copied, line


def test_colours_only_where_wanted(report):
    assert "\x1b" not in render(report, UTF8) + quick.render(report, UTF8)
    coloured = style.Style(True, True, 80, True)
    assert "\x1b[" in render(report, coloured)
    assert "\x1b[" in quick.render(report, coloured)


@pytest.mark.parametrize("environment,encoding,unicode", (
    ({"LC_ALL": "C"}, "utf-8", False),
    ({"LC_ALL": "C.UTF-8"}, "utf-8", True),
    ({"LANG": "en_US.UTF-8"}, "ascii", False),
    ({"LANG": "POSIX"}, "utf-8", False),
    ({}, "utf-8", True),
))
def test_ascii_where_the_encoding_has_no_more(environment, encoding, unicode,
                                              monkeypatch, report):
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    look = style.style_of(stream)
    assert look.unicode is unicode
    terminal.render(report, stream, look)
    stream.write(quick.render(report, look))
    stream.flush()
    if not unicode:
        text = raw.getvalue().decode("ascii")
        assert "x answers with the next number" in text
        assert "expected ';' before '}'" in text


def test_no_color(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    def color() -> bool:
        return style.style_of(Terminal(io.BytesIO(), encoding="utf-8"), 80).color

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert color()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not color()


def test_quick_shows_three_failures_and_what_is_next(report):
    text = quick.render(report, UTF8)
    assert "✗ answers with the next number (failed)" in text
    assert "next: make grade LAB=1 FROM='/home/ann/my labs'" in text
    assert "1 of 4 tests pass" in text
    assert "SysV segment id 3" in text


def test_quick_says_how_many_failures_it_leaves_out(tiny_lab):
    outcomes = {t.name: Outcome(t, FAILED, "seen: no") for t in tiny_lab.tests}
    report = Report((score_lab(tiny_lab, outcomes, MemoryCheck()),), "none", "", "labs")
    text = quick.render(report, ASCII)
    assert text.count("(failed)") == 3 and "... and 1 more" in text
    assert "TEST=answers_with_the_next_number" in text and "FROM" not in text


def test_the_json_report_keeps_the_schema(report):
    document = json.loads(json_report.dumps(report))
    assert json_report.schema_errors(document) == []
    assert document["total"] == {"score": report.score, "max": 200}
    lab = document["labs"][0]
    assert lab["groups"][0]["tests"][0]["status"] == "failed"
    assert lab["memory"][0]["location"] == "tiny.c:12"
    assert lab["leftovers"][0]["test"] == "answers_with_the_next_number"
    assert document["labs"][1]["build"]["errors"]


def test_the_schema_refuses_what_is_wrong(report):
    document = json_report.as_dict(report)
    document["labs"][0]["groups"][0]["tests"][0]["status"] = "splendid"
    document["extra"] = 1
    assert len(json_report.schema_errors(document)) == 2


def test_the_json_report_is_written_whole(report, tmp_path):
    path = tmp_path / "new" / "report.json"
    json_report.write(report, path)
    json_report.write(report, path)
    assert json.loads(path.read_text())["schema"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]
    with pytest.raises(KitError, match="can't write"):
        json_report.write(report, path / "below-a-file" / "report.json")


def report_with(tiny_lab, **fields) -> Report:
    outcomes = {test.name: Outcome(test, PASSED) for test in tiny_lab.tests}
    first = tiny_lab.tests[0]
    outcomes[first.name] = Outcome(first, **fields)
    return Report((score_lab(tiny_lab, outcomes, MemoryCheck((), ())),), "none", "", "labs")


def test_a_schedule_is_shown_and_can_be_run_again(tiny_lab):
    report = report_with(
        tiny_lab, status=FAILED, schedules=1204,
        message="expected: 2\nseen: 1\nthe schedule, one process a column:\n"
        "A  tiny.c:3  load\n                      B  tiny.c:3  load\n"
        "replay: answers_with_the_next_number:3:1,7:0x")
    for text in (render(report, UTF8), quick.render(report, UTF8)):
        lines = text.splitlines()
        columns = [line.index(word) for word in ("A  tiny.c:3", "B  tiny.c:3")
                   for line in lines if word in line]
        assert columns[1] - columns[0] == 22
        assert any(line.split(":", 1)[1].strip() == "make replay LAB=1 SCHEDULE="
                   "answers_with_the_next_number:3:1,7:0x"
                   for line in lines if "replay:" in line)
    assert "1,204 schedules" in render(report, UTF8)
    test = json_report.as_dict(report)["labs"][0]["groups"][0]["tests"][0]
    assert test["schedules"] == 1204


def test_what_only_looks_like_a_schedule_is_no_command(tiny_lab):
    report = report_with(tiny_lab, status=FAILED,
                         message="seen: 1\nreplay: x:1:2; rm -rf *\nreplay: $(x):")
    assert "make replay" not in render(report, UTF8)


def test_a_group_that_is_not_started_has_one_line(tiny_lab):
    outcomes = {test.name: Outcome(test, NOT_STARTED) for test in tiny_lab.tests}
    report = Report((score_lab(tiny_lab, outcomes, MemoryCheck((), ())),), "none", "", "labs")
    text = render(report, UTF8)
    assert text.count("2 tests not started") == 2
    assert tiny_lab.tests[0].title not in text


def test_what_passes_and_does_not_end_under_valgrind_is_named(tiny_lab):
    first = tiny_lab.tests[0].name
    outcomes = {test.name: Outcome(test, PASSED) for test in tiny_lab.tests}
    ran = tuple(test.name for test in tiny_lab.tests[1:])
    score = score_lab(tiny_lab, outcomes, MemoryCheck((), ran))
    report = Report((score,), "none", "", "labs")
    why = f"under Valgrind, where all is slower, {first} did not come to an end"
    text = " ".join(render(report, style.Style(True, False, 200, False)).split())
    assert f"Valgrind: no error in your file; {why}" in text
    assert why in json_report.as_dict(report)["labs"][0]["memory_not_run"]
