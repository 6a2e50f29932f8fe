"""The parsers, on real output of Check and Valgrind (see data/README.md)."""

from __future__ import annotations

import json

import pytest

from grader import parse
from grader.model import (
    BROKEN, CRASHED, FAILED, PASSED, TIMED_OUT, Log, Run,
)
from grader.tests.conftest import DATA

CHECK = (DATA / "check_sample.xml").read_bytes()
VALGRIND = [(DATA / f"valgrind_{i}.xml").read_bytes() for i in (1, 2, 3)]
SAMPLE = ("valgrind_sample.c",)


def xml_of(**tests: str) -> bytes:
    """A log in Check's form; a test's message, or "" where it passed."""
    rows = "".join(
        f'<test result="{"failure" if message else "success"}"><id>{name}</id>'
        f"<message>{message or 'Passed'}</message></test>"
        for name, message in tests.items())
    return ('<?xml version="1.0"?>\n<testsuites xmlns="http://check.sourceforge.net/ns">'
            f"<suite>{rows}</suite></testsuites>").encode()


def events_of(*events: dict) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def start(name: str) -> dict:
    return {"event": "start", "test": name}


def end(name: str, status: str = PASSED, **more) -> dict:
    return {"event": "end", "test": name, "group": "g", "status": status,
            "duration_s": 0.01, "location": None, "leftovers": [], "pids": [],
            "output": "", **more}


def log(xml: bytes = b"", events: bytes = b"", status=0, errors: bytes = b"") -> Log:
    return Log(xml, events, errors, status, 0.1)


def whole(lab) -> dict:
    return {test.name: "" for test in lab.tests}


# ---------------------------------------------------------------- Check's log


def test_check_log_has_verdicts_and_messages():
    verdicts = parse.parse_check_xml(CHECK)
    assert verdicts["passes"].passed
    failed = verdicts["fails_with_markup_and_bytes"]
    assert not failed.passed
    expected, seen, _ = parse.split_message(failed.message)
    assert expected == "caf <x> & \"q\" 'r'"  # Check drops what is not ASCII
    assert seen.startswith("[31m")
    assert "\\x7f" in seen and "\x7f" not in seen
    assert seen.endswith("]]>")


def test_check_log_names_a_loop_test_more_than_once():
    assert not parse.parse_check_xml(CHECK)["fails_in_one_of_two_rounds"].passed


@pytest.mark.parametrize("cut", (0, 1, len(CHECK) // 2, len(CHECK) - 5))
def test_check_log_that_is_cut_short_is_not_whole(cut):
    assert parse.parse_check_xml(CHECK[:cut]) is None


def test_check_log_with_characters_that_xml_does_not_allow():
    xml = xml_of(a="x&#x1b;y&#0;z\x01")
    assert parse.parse_check_xml(xml)["a"].message == "x?y?z?"


def test_check_log_with_a_byte_a_character_is_put_together():
    xml = xml_of(a="caf&#xC3;&#xA9; &#xFF;")
    assert parse.parse_check_xml(xml)["a"].message == "café \\xff"


def test_a_message_is_split():
    message = "expected: -1 with errno EINVAL\nseen: it returned 3\npid 71 is\nblocked"
    assert parse.split_message(message) == (
        "-1 with errno EINVAL", "it returned 3", ("pid 71 is", "blocked"))


# -------------------------------------------------------------------- events


def test_events_are_read_and_nonsense_is_passed_over():
    stream = events_of(start("a"), end("a", leftovers=[
        {"kind": "shm", "text": "SysV segment id 3"}], pids=[12, 13],
        location="x.c:4", output="hi\x1b[0m"))
    events = parse.parse_events(stream + b'{"event":"start","test":"b"}\n{"ev\n[1]\n7\n')
    assert events.started == ("a", "b")
    assert events.open == "b"
    ended = events.ended["a"]
    assert ended.status == PASSED and ended.location == "x.c:4"
    assert ended.pids == (12, 13)
    assert ended.leftovers[0].text == "SysV segment id 3"
    assert ended.output == "hi\\x1b[0m"


def test_an_unknown_status_is_the_kits_fault():
    events = parse.parse_events(events_of(end("a", "splendid")))
    assert events.ended["a"].status == BROKEN


# ------------------------------------------------------------------ outcomes


def outcomes_of(lab, *logs: Log):
    return {name: outcome.status
            for name, outcome in parse.parse_outcomes(lab, Run(logs)).items()}


def all_ends(lab, **statuses: str) -> bytes:
    return events_of(*[event for test in lab.tests for event in (
        start(test.name), end(test.name, statuses.get(test.name, PASSED)))])


def test_passed_takes_both_the_log_and_the_event(tiny_lab):
    first, second, third, fourth = (test.name for test in tiny_lab.tests)
    tests = {**whole(tiny_lab), first: "expected: 1\nseen: 2"}
    statuses = outcomes_of(tiny_lab, log(xml_of(**tests),
                                         all_ends(tiny_lab, **{second: CRASHED})))
    assert statuses == {first: FAILED, second: CRASHED, third: PASSED, fourth: PASSED}


def test_a_test_that_the_judge_does_not_have_is_the_kits_fault(tiny_lab):
    first = tiny_lab.tests[0].name
    tests = whole(tiny_lab)
    del tests[first]
    events = all_ends(tiny_lab).split(b"\n", 2)[2]
    statuses = outcomes_of(tiny_lab, log(xml_of(**tests), events))
    assert statuses[first] == BROKEN
    assert list(statuses.values()).count(PASSED) == 3


def test_a_pass_without_an_event_is_no_pass(tiny_lab):
    statuses = outcomes_of(tiny_lab, log(xml_of(**whole(tiny_lab))))
    assert set(statuses.values()) == {BROKEN}


def test_the_test_that_the_judge_died_in_crashed_and_no_other(tiny_lab):
    first, second, *_ = (test.name for test in tiny_lab.tests)
    died = log(b"", events_of(start(first), end(first), start(second)), -9)
    tests = whole(tiny_lab)
    del tests[second]
    again = log(xml_of(**tests), all_ends(tiny_lab))
    statuses = outcomes_of(tiny_lab, died, again)
    assert statuses[second] == CRASHED
    assert list(statuses.values()).count(PASSED) == 3


def test_a_judge_stopped_at_the_time_out_is_a_time_out(tiny_lab):
    first = tiny_lab.tests[0].name
    tests = whole(tiny_lab)
    del tests[first]
    stopped = log(b"", events_of(start(first)), None)
    statuses = outcomes_of(tiny_lab, stopped, log(xml_of(**tests), all_ends(tiny_lab)))
    assert statuses[first] == TIMED_OUT


def test_a_judge_that_never_starts_is_the_kits_fault(tiny_lab):
    outcomes = parse.parse_outcomes(tiny_lab, Run((log(status=2, errors=b"judge: no\n"),)))
    assert {outcome.status for outcome in outcomes.values()} == {BROKEN}
    assert "judge: no" in outcomes[tiny_lab.tests[0].name].message


def test_a_judge_that_dies_for_good_loses_what_is_missing(tiny_lab):
    names = [test.name for test in tiny_lab.tests]
    logs = [log(b"", events_of(start(name)), -9) for name in names[:4]]
    assert set(outcomes_of(tiny_lab, *logs).values()) == {CRASHED}


# ------------------------------------------------------------------ Valgrind


def test_valgrind_errors_are_at_the_students_line():
    seen = [error for xml in VALGRIND for error in parse.parse_valgrind_xml(xml, SAMPLE)]
    lines = (DATA / "valgrind_sample.c").read_text().splitlines()

    def line_of(text: str) -> str:
        return f"valgrind_sample.c:{lines.index(text) + 1}"

    assert [(error.kind, error.location) for error in seen] == [
        ("UninitCondition", line_of("    if (*p == 12345)")),
        ("InvalidWrite", line_of("    p[10] = 1;")),
        ("Leak_DefinitelyLost", line_of("    *(volatile char *)malloc(16) = 1;")),
        ("InvalidWrite", line_of("    p[10] = 1;")),
    ]
    assert seen[2].what == "16 bytes in 1 blocks are definitely lost"


def test_valgrind_errors_of_other_files_are_not_the_students():
    assert [e for xml in VALGRIND for e in parse.parse_valgrind_xml(xml, ("x.c",))] == []


@pytest.mark.parametrize("kind,obj,charged", (
    ("Leak_PossiblyLost", "/usr/lib/x86_64-linux-gnu/libc.so.6", False),
    ("Leak_PossiblyLost", "/lib64/ld-linux-x86-64.so.2", False),
    ("Leak_PossiblyLost", "/lab/vs", True),
    ("Leak_PossiblyLost", "/usr/lib/libcrypt.so.1", True),
    ("Leak_DefinitelyLost", "/usr/lib/x86_64-linux-gnu/libc.so.6", True),
))
def test_what_libc_has_taken_for_itself_is_not_charged(kind, obj, charged):
    frames = "".join(f"<frame><obj>{o}</obj>{rest}</frame>" for o, rest in (
        ("/usr/libexec/valgrind/vgpreload_memcheck.so", "<fn>malloc</fn>"), (obj, ""),
        ("/lab/vs", "<file>x.c</file><line>7</line>")))
    xml = (f"<valgrindoutput><pid>7</pid><ppid>2</ppid><error><kind>{kind}</kind>"
           f"<what>w</what><stack>{frames}</stack></error></valgrindoutput>").encode()
    assert [e.location for e in parse.parse_valgrind_xml(xml, ("x.c",))] == (
        ["x.c:7"] if charged else [])


def test_valgrind_file_that_ends_in_the_middle():
    whole_xml = VALGRIND[1]
    cut = whole_xml.index(b"</error>") + len(b"</error>") + 30
    assert [e.kind for e in parse.parse_valgrind_xml(whole_xml[:cut], SAMPLE)] == [
        "InvalidWrite"]
    assert parse.parse_valgrind_xml(whole_xml[:200], SAMPLE) == []
    assert parse.parse_valgrind_xml(b"<error> & no", SAMPLE) == []


def test_valgrind_errors_are_once_each_with_their_tests(tiny_lab):
    from dataclasses import replace
    lab = replace(tiny_lab, files=SAMPLE)
    pids = [parse._PIDS.search(xml).group(1).decode() for xml in VALGRIND]
    first, second, *_ = (test.name for test in lab.tests)
    # The parent is the first test's process, its second child the second's; the
    # first child is found by the process that forked it.
    # The third test's process left no file: it did not run under Valgrind.
    events = events_of(end(first, pids=[int(pids[0])]), end(second, pids=[int(pids[2])]),
                       end(lab.tests[2].name, pids=[1]))
    memory = parse.parse_memory(lab, Run((log(),), (log(events=events),), tuple(VALGRIND)))
    found = {error.kind: error for error in memory.errors}
    assert set(found) == {"UninitCondition", "InvalidWrite", "Leak_DefinitelyLost"}
    assert found["InvalidWrite"].tests == (first, second)
    assert found["InvalidWrite"].count == 2
    assert found["Leak_DefinitelyLost"].tests == (first,)
    assert memory.ran == (first, second)
    assert "never freed" in found["Leak_DefinitelyLost"].words


@pytest.mark.parametrize("xml", (
    b"<pid>abc</pid><error></error>",
    b"<?xml version='1.0' encoding='utf-32'?><pid>1</pid><ppid>1</ppid><error></error>",
    b"<?xml version='1.0' encoding='nonsense'?><pid>1</pid><ppid>1</ppid><error></error>",
    b"<!DOCTYPE a [<!ENTITY b 'cc'>]><pid>1</pid><ppid>1</ppid><a><error>&b;</error></a>",
    b"<pid>" + b"9" * 5000 + b"</pid><ppid>1</ppid><error></error>",
    b"<pid>1</pid><ppid>1</ppid>" + b"<error>" * 100_000))
def test_a_forged_valgrind_file_is_no_log(xml):
    assert parse.parse_valgrind_xml(xml, SAMPLE) == []


def test_memory_is_clean_only_where_the_test_ended_and_left_its_logs(tiny_lab):
    clean = (b"<?xml version='1.0'?>\n<valgrindoutput><pid>7</pid><ppid>2</ppid>\n"
             b"<status>running</status></valgrindoutput>\n")
    name = tiny_lab.tests[0].name

    def ran(xml, **changes):
        events = events_of(end(name, **{"pids": [7], **changes}))
        return parse.parse_memory(
            tiny_lab, Run((log(),), (log(events=events),), tuple(xml))).ran

    assert ran([clean]) == (name,)
    assert ran([]) == ()
    assert ran([clean[:80]]) == (name,)  # the test ended the process itself
    assert ran([clean], pids=[7, 8]) == ()
    assert ran([clean], status="failed") == (name,)
    assert ran([clean], status="crashed") == ()


def test_valgrind_not_run_says_why(tiny_lab):
    run = Run((log(),), memory_skipped="not run: no test has passed yet")
    assert parse.parse_memory(tiny_lab, run).not_run == "not run: no test has passed yet"
