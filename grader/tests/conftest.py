"""What the grader's tests share: a kit with one tiny lab and the real runtime,
and a check that nothing is left on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List

import pytest

from grader import discover, run, sandbox
from grader.model import Kit, Lab
from grader.pipeline import Job, grade_lab

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = Path(__file__).with_name("fixtures")
DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def real_kit() -> Kit:
    return discover.find_kit(ROOT)


@pytest.fixture(scope="session")
def tiny_kit() -> Kit:
    """A kit of links; its cache is kept from one run of the tests to the next."""
    root = ROOT / "build" / "test-kit"
    root.mkdir(parents=True, exist_ok=True)
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
    """left_behind() is what the grader left on the machine since the test began.

    Other programs, and other workers of pytest, come and go meanwhile: what
    counts is what belongs to this process's runs.
    """
    places: List[sandbox.Place] = []
    make = sandbox.Place.__init__

    def remembered(place, *args):
        make(place, *args)
        places.append(place)

    sandbox.Place.__init__ = remembered  # type: ignore[method-assign]
    try:
        yield lambda: _traces(places)
    finally:
        sandbox.Place.__init__ = make  # type: ignore[method-assign]


def _traces(places: List[sandbox.Place]) -> Dict[str, List[str]]:
    """By user id and folder of each run: processes, IPC objects, files."""
    uids = {place.uid for place in places if place.uid is not None}
    found: Dict[str, List[str]] = {
        "processes": [str(pid) for uid in uids for pid in sandbox.processes_of(uid)],
        "children": [str(pid) for pid in run._descendants(os.getpid())],
        "folders": [str(place.folder) for place in places if place.folder.exists()],
        "objects": [f"{kind} {key}" for uid in uids
                    for kind, column in (("shm", "shmid"), ("sem", "semid"),
                                         ("msg", "msqid"))
                    for key in run._sysv_objects(kind, column, uid)],
        "files": [entry.path for folder in ("/tmp", "/dev/shm", "/dev/mqueue")
                  if os.path.isdir(folder) for entry in os.scandir(folder)
                  if entry.stat(follow_symlinks=False).st_uid in uids],
    }
    assert places, "no run took place"
    return {what: names for what, names in found.items() if names}
