"""Fourth step: reads what a run left, and says what each test came to.

Three sources.  Student code can write to neither of the first two: Check's
XML log (the verdict and the message) and the judge's events (the finer status,
the place, the duration, leftovers, output).  The third is Valgrind's XML, one
file a process, which the process itself writes: it costs points and never
gives any, and a test without it is not a clean one.  A log that is not whole
is a crash of what is missing; Check's TAP output is not read at all, since a
message in it can forge lines.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple
from xml.etree import ElementTree

from grader import text
from grader.model import (
    BROKEN, CRASHED, FAILED, NOT_STARTED, PASSED, TIMED_OUT,
    Lab, Leftover, Log, MemoryCheck, MemoryFault, Outcome, Run, TestSpec,
)

_STATUSES = {PASSED, FAILED, CRASHED, TIMED_OUT, NOT_STARTED, BROKEN}
_CHECK_NS = "{http://check.sourceforge.net/ns}"
# Character references that XML 1.0 does not allow and a log might hold.
_BAD_REFERENCE = re.compile(rb"&#(?:x0*([0-8bcefBCEF]|1[0-9a-fA-F])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));")
_BAD_BYTE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


# ---------------------------------------------------------- Check's XML log


@dataclass(frozen=True)
class Verdict:
    passed: bool
    message: str


def parse_check_xml(xml: bytes) -> Optional[Dict[str, Verdict]]:
    """Verdicts by test, or None where the log is not whole.  A test that is
    in the log more than once has passed only if it did so every time."""
    xml = _BAD_BYTE.sub(b"?", _BAD_REFERENCE.sub(b"?", xml))
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    verdicts: Dict[str, Verdict] = {}
    for node in root.iter(f"{_CHECK_NS}test"):
        name = node.findtext(f"{_CHECK_NS}id", "")
        passed = node.get("result") == "success"
        message = "" if passed else _message(node.findtext(f"{_CHECK_NS}message", ""))
        if name not in verdicts or verdicts[name].passed:
            verdicts[name] = Verdict(passed, message)
    return verdicts


def _bytes_joined(raw: str) -> str:
    """Check and the judge write a byte beyond ASCII as a character of its own:
    puts those of one character together again."""
    try:
        return text.decode(raw.encode("latin-1"))
    except UnicodeEncodeError:
        return raw


def _message(raw: str) -> str:
    return text.clean(_bytes_joined(raw), 6000, 60)


# ------------------------------------------------------- the judge's events


@dataclass(frozen=True)
class Ended:
    """A test's "end" event."""

    status: str
    location: Optional[str]
    duration_s: Optional[float]
    leftovers: Tuple[Leftover, ...]
    pids: Tuple[int, ...]  # of its scenarios' processes
    children: Tuple[int, ...]  # that those forked, as far as they are known
    output: str
    stub: str
    schedules: int


@dataclass(frozen=True)
class Events:
    started: Tuple[str, ...]  # in order
    ended: Dict[str, Ended]

    @property
    def open(self) -> Optional[str]:
        """The test that was running when the judge died."""
        for name in reversed(self.started):
            if name not in self.ended:
                return name
        return None


def parse_event(line: bytes) -> Dict[str, Any]:
    """One line of the event stream; {} where it is not one."""
    try:
        event = json.loads(text.decode(line))
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def parse_events(stream: bytes) -> Events:
    started: List[str] = []
    ended: Dict[str, Ended] = {}
    for line in stream.split(b"\n"):
        event = parse_event(line)
        name = event.get("test")
        if not isinstance(name, str):
            continue
        if event.get("event") == "start":
            started.append(name)
        elif event.get("event") == "end":
            ended[name] = _ended(event)
    return Events(tuple(started), ended)


def _numbers(value: Any) -> Tuple[int, ...]:
    return tuple(item for item in value or () if isinstance(item, int))


def _ended(event: Dict[str, Any]) -> Ended:
    status = event.get("status")
    location = event.get("location")
    duration = event.get("duration_s")
    schedules = event.get("schedules")
    return Ended(
        status if status in _STATUSES else BROKEN,
        text.one_line(location) if isinstance(location, str) and location else None,
        float(duration) if isinstance(duration, (int, float)) and duration >= 0 else None,
        tuple(Leftover(text.one_line(str(item.get("kind")), 40),
                       text.one_line(_bytes_joined(str(item.get("text"))), 300))
              for item in event.get("leftovers") or () if isinstance(item, dict)),
        _numbers(event.get("pids")),
        _numbers(event.get("children")),
        text.clean(_bytes_joined(str(event.get("output") or "")), 4096, 40),
        text.one_line(str(event.get("stub") or ""), 64),
        schedules if isinstance(schedules, int) and schedules >= 0 else 0,
    )


# ------------------------------------------------------------ native verdicts


def is_whole(log: Log) -> bool:
    """Did the judge reach its end and write all of its log?"""
    return log.exit_status == 0 and parse_check_xml(log.xml) is not None


def parse_outcomes(lab: Lab, run: Run) -> Dict[str, Outcome]:
    """What every test of lab.toml came to in the native run.  Where the judge
    died, the last log is of a run without the tests that it died in."""
    last = run.native[-1]
    verdicts = parse_check_xml(last.xml) if is_whole(last) else None
    events = parse_events(last.events)
    died_in = died_tests(run.native)
    outcomes = {}
    for test in lab.tests:
        if test.name in died_in:
            log = died_in[test.name]
            outcomes[test.name] = _died(test, log)
        elif verdicts is None:
            outcomes[test.name] = _unfinished(test, events, last)
        else:
            outcomes[test.name] = _outcome(test, verdicts.get(test.name),
                                           events.ended.get(test.name))
    return outcomes


def died_tests(logs: Iterable[Log]) -> Dict[str, Log]:
    """The tests in which the judge itself ended, with the log of that run."""
    died = {}
    for log in logs:
        if not is_whole(log):
            name = parse_events(log.events).open
            if name:
                died[name] = log
    return died


def judge_end(log: Log) -> str:
    """How a judge that died came to its end, and its last words."""
    if log.exit_status is None:
        how = log.stopped or "the judge did not end in time and was stopped"
    elif log.exit_status < 0:
        how = f"the judge was ended by signal {-log.exit_status}"
    else:
        how = f"the judge ended with status {log.exit_status} and no whole log"
    words = text.clean(log.errors, 1000, 8)
    return f"{how}: {words}" if words else how


def _died(test: TestSpec, log: Log) -> Outcome:
    status = TIMED_OUT if log.exit_status is None else CRASHED
    return Outcome(test, status, f"expected: the test ends\nseen: {judge_end(log)}")


def _unfinished(test: TestSpec, events: Events, log: Log) -> Outcome:
    """No whole log even of the last run: without any start it is the kit's
    fault, else what is missing crashed."""
    if not events.started:
        return Outcome(test, BROKEN, judge_end(log))
    ended = events.ended.get(test.name)
    if ended and ended.status != PASSED:
        return _with_event(Outcome(test, ended.status, judge_end(log)), ended)
    return Outcome(test, CRASHED, judge_end(log))


def _outcome(test: TestSpec, verdict: Optional[Verdict],
             ended: Optional[Ended]) -> Outcome:
    """Passed only where the log and the event both say so."""
    if verdict is None and ended is None:
        return Outcome(test, BROKEN, "lab.toml names this test and the test file "
                       "does not have it")
    if verdict is None:
        return _with_event(Outcome(test, BROKEN, "the test is not in Check's log"), ended)
    if ended is None:
        status = BROKEN if verdict.passed else FAILED
        return Outcome(test, status, verdict.message or "the judge sent no event for it")
    status = ended.status
    if status == PASSED and not verdict.passed:
        status = FAILED
    message = verdict.message
    if status != PASSED and not message:
        message = "seen: the judge's event says " + status.replace("_", " ")
    return _with_event(Outcome(test, status, message), ended)


def _with_event(outcome: Outcome, ended: Optional[Ended]) -> Outcome:
    if ended is None:
        return outcome
    return replace(outcome, location=ended.location, duration_s=ended.duration_s,
                   leftovers=ended.leftovers, output=ended.output,
                   stub=ended.stub, schedules=ended.schedules)


def split_message(message: str) -> Tuple[str, str, Tuple[str, ...]]:
    """(expected, seen, the other lines) of a test's message."""
    expected = seen = ""
    others = []
    for line in message.split("\n"):
        if line.startswith("expected: ") and not expected:
            expected = line[len("expected: "):]
        elif line.startswith("seen: ") and not seen:
            seen = line[len("seen: "):]
        elif line.strip():
            others.append(line)
    return expected, seen, tuple(others)


# ------------------------------------------------------------------ Valgrind

KIND_WORDS = {
    "InvalidRead": "reads memory that is not its own (out of bounds, freed or unmapped)",
    "InvalidWrite": "writes memory that is not its own (out of bounds, freed or unmapped)",
    "InvalidJump": "jumps to an address that is no code",
    "InvalidFree": "frees memory that was not allocated, or frees it twice",
    "MismatchedFree": "frees memory with the wrong function",
    "InvalidMemPool": "uses a memory pool wrongly",
    "Overlap": "copies between areas that overlap",
    "UninitCondition": "decides on a value that was never set",
    "UninitValue": "uses a value that was never set",
    "SyscallParam": "passes bytes that were never set, or memory that is not its own, to a system call",
    "ClientCheck": "uses memory that is not its own",
    "FishyValue": "passes a size that is probably negative",
    "ReallocSizeZero": "calls realloc with size 0",
    "BadAlign": "asks for memory with a wrong alignment",
    "BadSize": "passes a wrong size",
    "CoreMemError": "was stopped by a memory error",
    "Leak_DefinitelyLost": "allocates memory and loses it (never freed)",
    "Leak_IndirectlyLost": "loses memory that only lost memory points to",
    "Leak_PossiblyLost": "allocates memory and keeps no pointer to its start (never freed)",
    "Leak_StillReachable": "does not free memory",
}
_PIDS = re.compile(rb"<pid>(\d{1,9})</pid>\s*<ppid>(\d{1,9})</ppid>")
# What the parser may raise on bytes that are no log of Valgrind's: an encoding
# that is unknown or of several bytes is a LookupError or a ValueError.
_NOT_XML = (ElementTree.ParseError, ValueError, LookupError, RecursionError)


@dataclass(frozen=True)
class _Seen:
    """One <error> of one process."""

    pid: int
    kind: str
    what: str
    location: str


def parse_valgrind_xml(xml: bytes, files: Sequence[str]) -> List[_Seen]:
    """Errors with a frame in one of the student's files.  The file of a
    process that was killed ends in the middle: what is whole of it counts."""
    pids = _PIDS.search(xml, 0, 4096)
    if b"<error>" not in xml or not pids or b"<!DOCTYPE" in xml:
        return []
    parser = ElementTree.XMLPullParser(["end"])
    try:
        parser.feed(xml)
        parser.close()
    except _NOT_XML:
        pass
    seen: List[_Seen] = []
    try:
        for _, node in parser.read_events():
            location = _location(node, files) if node.tag == "error" else ""
            if location:
                kind = text.one_line(node.findtext("kind", "?"), 40)
                seen.append(_Seen(int(pids.group(1)), kind, _what(node), location))
    except _NOT_XML:
        pass
    return seen


def _what(error: ElementTree.Element) -> str:
    what = error.findtext("what") or error.findtext("xwhat/text") or ""
    # "in loss record 3 of 7" differs from process to process.
    return text.one_line(re.sub(r" in loss record \d+ of \d+", "", what))


def _location(error: ElementTree.Element, files: Sequence[str]) -> str:
    if _is_libcs_own(error):
        return ""
    for frame in error.iterfind("stack/frame"):
        if frame.findtext("file") in files and frame.findtext("line", "").isdigit():
            return f"{frame.findtext('file')}:{frame.findtext('line')}"
    return ""


_LIBC = re.compile(r"/(libc|ld-linux[^/]*|ld)[.-][^/]*$")


def _is_libcs_own(error: ElementTree.Element) -> bool:
    """Memory that libc has taken for itself, as getaddrinfo(3) does, and finds
    by a pointer into it.  (What it has given to the student's code and they lose
    is lost for good: Leak_DefinitelyLost.)"""
    if error.findtext("kind") not in ("Leak_PossiblyLost", "Leak_IndirectlyLost"):
        return False
    frames = error.findall("stack/frame")  # the first: malloc, calloc ...
    return len(frames) > 1 and bool(_LIBC.search(frames[1].findtext("obj", "")))


def parse_memory(lab: Lab, run: Run) -> MemoryCheck:
    """Valgrind's errors, each once, with the tests that it showed in."""
    if run.memory_skipped:
        return MemoryCheck(not_run=run.memory_skipped)
    parents = _parents(run.valgrind_xml)
    ran: Set[str] = set()
    owner: Dict[int, str] = {}
    for log in run.valgrind:
        for name, ended in parse_events(log.events).ended.items():
            # It was under Valgrind only if it went to its end there and every
            # process has left its log.  It need not have passed: Valgrind makes
            # a fork of posix_spawn's vfork, and a failed exec goes unseen.
            if (ended.status in (PASSED, FAILED)
                    and parents.keys() >= set(ended.pids)):
                ran.add(name)
            # One that is used for several tests has errors of the last one only.
            owner.update((pid, name) for pid in ended.pids + ended.children)
    errors: Dict[Tuple[str, str], MemoryFault] = {}
    for xml in run.valgrind_xml:
        for seen in parse_valgrind_xml(xml, lab.files):
            test = _owner_of(seen.pid, owner, parents)
            key = (seen.kind, seen.location)
            errors[key] = _add(errors.get(key), seen, test)
    order = {test.name: index for index, test in enumerate(lab.tests)}
    return MemoryCheck(
        tuple(replace(error, tests=tuple(sorted(error.tests, key=lambda t: order.get(t, 0))))
              for error in errors.values()),
        tuple(sorted(ran, key=lambda t: order.get(t, 0))))


def _add(error: Optional[MemoryFault], seen: _Seen, test: str) -> MemoryFault:
    tests = {test} if test else set()
    if error is None:
        words = KIND_WORDS.get(seen.kind, seen.what)
        return MemoryFault(seen.kind, seen.what, words, seen.location, 1, tuple(tests))
    return replace(error, count=error.count + 1,
                   tests=tuple(tests.union(error.tests)))


def _parents(files: Iterable[bytes]) -> Dict[int, int]:
    parents = {}
    for xml in files:
        match = _PIDS.search(xml, 0, 4096)
        if match:
            parents[int(match.group(1))] = int(match.group(2))
    return parents


def _owner_of(pid: int, owner: Dict[int, str], parents: Dict[int, int]) -> str:
    """The test whose process this is, or whose process forked it."""
    for _ in range(64):
        if pid in owner:
            return owner[pid]
        if pid not in parents:
            break
        pid = parents[pid]
    return ""
