"""What the grader's tests share: a kit with one tiny lab and the real runtime,
and a check that nothing is left on the machine."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from grader import discover, run, sandbox
from grader.model import Kit, Lab
from grader.pipeline import Job, grade_lab
from grader.tests.hostile.grading import noted_traces

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).with_name("fixtures")
DATA = Path(__file__).with_name("data")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than ten seconds")


def pytest_collection_modifyitems(items):
    """Long tests are set apart: xdist gives neighbours to one worker."""
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if not item.get_closest_marker("long")]
    step = len(rest) // max(len(long), 1) + 1
    for n, item in enumerate(long):
        rest.insert(n * (step + 1), item)
    items[:] = rest


@pytest.fixture(scope="session")
def real_kit() -> Kit:
    return discover.find_kit(ROOT)


@pytest.fixture(scope="session")
def tiny_kit() -> Kit:
    """A kit of links; its cache is kept from one run of the tests to the next."""
    root = ROOT / "build" / "test-kit"
    (root / "build").mkdir(parents=True, exist_ok=True)
    for name, target in (("common", ROOT / "common"), ("labs", FIXTURES / "labs")):
        if not os.path.lexists(root / name):
            try:
                (root / name).symlink_to(target)
            except FileExistsError:  # another worker of pytest-xdist
                pass
    return discover.find_kit(root)


@pytest.fixture(scope="session")
def tiny_lab(tiny_kit: Kit) -> Lab:
    return discover.find_labs(tiny_kit)[0]


# Tricks that take all System V objects that there can be.
GREEDY = ("queues", "segments", "segments_of_memory", "semaphores")


@pytest.fixture(autouse=True)
def objects_of_the_machine(request):
    """Without an IPC namespace all runs share the machine's limits: whose trick
    takes everything waits for the others' runs, and they for it."""
    values = getattr(request.node, "callspec", None)
    values = values.params if values else {}
    if values.get("kind") not in (sandbox.UID, sandbox.NONE):
        yield
        return
    greedy = values.get("name") in GREEDY
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / ".objects-lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if greedy else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="session")
def isolation() -> sandbox.Isolation:
    return run.choose_isolation("auto")


@pytest.fixture
def submit(tiny_kit, tiny_lab, isolation, tmp_path):
    """submit(source) grades a student's file of the tiny lab."""
    def grade(source, *, quick=False, kind=None, only=(), notify=None):
        folder = tmp_path / "submission"
        folder.mkdir(exist_ok=True)
        data = source if isinstance(source, bytes) else source.encode()
        (folder / "tiny.c").write_bytes(data)
        chosen = run.choose_isolation(kind) if kind else isolation
        return grade_lab(Job(tiny_kit, tiny_lab, folder, chosen, quick, only), notify)
    return grade


@pytest.fixture
def left_behind():
    """left_behind() is what runs left on the machine since the test began."""
    with noted_traces() as traces:
        def result():
            assert traces.runs, "no run took place"
            return traces.left
        yield result
