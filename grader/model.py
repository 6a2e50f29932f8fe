"""What the steps of the pipeline hand to each other.

Everything here is frozen: a step makes a new value and never changes one that
it was given.  All text that came from a student's program has been through
text.py before it is put into one of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Tuple

# A test's statuses, as in report.json.
PASSED = "passed"
FAILED = "failed"
CRASHED = "crashed"
TIMED_OUT = "timed_out"
NOT_BUILT = "not_built"
NOT_STARTED = "not_started"
BROKEN = "broken"
TEST_STATUSES = (
    PASSED, FAILED, CRASHED, TIMED_OUT, NOT_BUILT, NOT_STARTED, BROKEN,
)

# A lab's own statuses; it may also be NOT_BUILT, NOT_STARTED or BROKEN.
GRADED = "graded"
MISSING = "missing"
LAB_STATUSES = (GRADED, NOT_BUILT, NOT_STARTED, MISSING, BROKEN)


# ---------------------------------------------------------------- discover


@dataclass(frozen=True)
class Kit:
    """Where the kit lies and where it keeps what it generates."""

    root: Path
    build_dir: Path


@dataclass(frozen=True)
class TestSpec:
    """One test as lab.toml states it."""

    __test__ = False  # for pytest: this is no test class

    name: str
    group: str
    points: int
    hint: str
    handout: str  # anchor in the lab's handout
    needs: str = ""  # the test without which this one's pass proves nothing

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    handout: str
    tests: Tuple[TestSpec, ...]

    @property
    def points(self) -> int:
        return sum(test.points for test in self.tests)


@dataclass(frozen=True)
class CallRules:
    """Library calls that a lab asks for or rules out."""

    required: Tuple[str, ...] = ()
    forbidden: Tuple[str, ...] = ()
    why: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lab:
    id: str  # the folder's name: lab4-sysv-shm
    number: int
    dir: Path
    title: str
    summary: str
    files: Tuple[str, ...]  # what the student edits
    groups: Tuple[Group, ...]
    memory_points: int
    cleanup_points: int
    calls: CallRules
    witness: bool = False  # natively, accesses to shared memory are recorded

    @property
    def base(self) -> str:
        return self.files[0][: -len(".c")]

    @property
    def test_file(self) -> Path:
        return self.dir / f"test_{self.base}.c"

    @property
    def demo_file(self) -> Path:
        return self.dir / f"demo_{self.base}.c"

    @property
    def headers(self) -> Tuple[Path, ...]:
        return tuple(sorted(self.dir.glob("*.h")))

    @property
    def handout(self) -> str:
        return f"handouts/{self.id}.md"

    @property
    def tests(self) -> Tuple[TestSpec, ...]:
        return tuple(test for group in self.groups for test in group.tests)

    @property
    def points(self) -> int:
        return (sum(group.points for group in self.groups)
                + self.memory_points + self.cleanup_points)


@dataclass(frozen=True)
class SourceFile:
    name: str
    data: bytes


@dataclass(frozen=True)
class Submission:
    """A student's files for one lab, or why they can't be graded."""

    files: Tuple[SourceFile, ...]
    origin: str  # the folder, as the user named it
    status: Optional[str] = None  # MISSING or NOT_BUILT when there is a problem
    problem: str = ""


# ------------------------------------------------------------------- build


@dataclass(frozen=True)
class Build:
    """The lab's two programs, or why there is no second one."""

    judge: Path
    subject: Optional[Path]
    status: Optional[str] = None  # NOT_BUILT when the student's file did not build
    errors: Tuple[str, ...] = ()  # one a line, file:line first where there is one
    warnings: Tuple[str, ...] = ()
    missing_calls: Tuple[str, ...] = ()  # required ones, in sentences
    witness: Optional[Path] = None  # the subject whose accesses are recorded


# --------------------------------------------------------------------- run


@dataclass(frozen=True)
class Log:
    """What came out of one run of the judge, unread."""

    xml: bytes
    events: bytes
    errors: bytes  # the judge's standard error
    exit_status: Optional[int]  # negative: a signal; None: stopped by the grader
    wall_s: float
    skipped: Tuple[str, ...] = ()  # tests this run was told to leave out
    stopped: str = ""  # why; empty where it did not end in time


@dataclass(frozen=True)
class Run:
    native: Tuple[Log, ...]  # more than one where the judge died on the way
    valgrind: Tuple[Log, ...] = ()
    valgrind_xml: Tuple[bytes, ...] = ()
    memory_skipped: str = ""  # why Valgrind was not run


# ------------------------------------------------------------------- parse


@dataclass(frozen=True)
class Leftover:
    kind: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What one test came to, natively."""

    test: TestSpec
    status: str
    message: str = ""
    location: Optional[str] = None
    duration_s: Optional[float] = None
    leftovers: Tuple[Leftover, ...] = ()
    output: str = ""
    stub: str = ""  # of a test that is not started: the function to write
    schedules: int = 0  # in which the test has run a small case


@dataclass(frozen=True)
class MemoryFault:
    """One error that Valgrind saw in the student's file."""

    kind: str  # Valgrind's own name
    what: str  # Valgrind's sentence
    words: str  # ours
    location: str  # file:line
    count: int
    tests: Tuple[str, ...]


@dataclass(frozen=True)
class MemoryCheck:
    """What Valgrind came to."""

    errors: Tuple[MemoryFault, ...] = ()
    ran: Tuple[str, ...] = ()  # tests that went to their end under Valgrind
    not_run: str = ""  # why it was not run at all


# ------------------------------------------------------------------- score


@dataclass(frozen=True)
class TestScore:
    __test__ = False

    outcome: Outcome
    score: int


@dataclass(frozen=True)
class GroupScore:
    group: Group
    tests: Tuple[TestScore, ...]

    @property
    def score(self) -> int:
        return sum(test.score for test in self.tests)


@dataclass(frozen=True)
class LabScore:
    lab: Lab
    status: str
    groups: Tuple[GroupScore, ...]
    memory: MemoryCheck
    memory_score: int
    cleanup_score: int
    problem: str = ""  # why it was not built, is missing or broken
    build_errors: Tuple[str, ...] = ()
    build_warnings: Tuple[str, ...] = ()
    wall_s: float = 0.0

    @property
    def outcomes(self) -> Tuple[Outcome, ...]:
        return tuple(test.outcome for group in self.groups for test in group.tests)

    @property
    def score(self) -> int:
        return (sum(group.score for group in self.groups)
                + self.memory_score + self.cleanup_score)

    @property
    def passed(self) -> int:
        return sum(outcome.status == PASSED for outcome in self.outcomes)


@dataclass(frozen=True)
class Report:
    labs: Tuple[LabScore, ...]
    isolation: str  # namespaces, uid, none
    isolation_why: str  # why not namespaces; empty when it is
    origin: str  # the folder that was graded

    @property
    def score(self) -> int:
        return sum(lab.score for lab in self.labs)

    @property
    def max(self) -> int:
        return sum(lab.lab.points for lab in self.labs)

    @property
    def broken(self) -> bool:
        return any(lab.status == BROKEN or
                   any(o.status == BROKEN for o in lab.outcomes)
                   for lab in self.labs)
