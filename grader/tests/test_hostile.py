"""The corpus of hostile submissions: no point more than the stub's, a whole
report, nothing left behind, with each kind of isolation.

Each trick is graded once with each kind, in one test of a lab; both change from
trick to trick and from kind to kind.  HOSTILE=all grades each in every lab, with
all of the lab's tests: that takes hours.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import List

import pytest

from grader import build, discover, sandbox
from grader.model import Lab
from grader.tests import hostile
from grader.tests.hostile import grading

CORPUS = hostile.corpus()
NAMES = sorted(CORPUS)
ALL = os.environ.get("HOSTILE") == "all"
ROOT = os.geteuid() == 0
KINDS = ("namespaces", "uid", "none") if ROOT else ("namespaces", "none")
LABS = 8
# What may fill a folder that is there for Valgrind alone, or forge its logs; what
# else a trick does under Valgrind is the same without.
FOR_VALGRIND = [name for name in NAMES
                if CORPUS[name].family in ("exhaustion", "forgery")]


def cells():
    for n, name in enumerate(NAMES):
        for k, kind in enumerate(KINDS):
            for lab in range(LABS) if ALL else [(n + 3 * k) % LABS]:
                yield pytest.param(name, kind, lab, id=f"{name}-{kind}-{lab + 1}")


@pytest.fixture(scope="module")
def graders(real_kit):
    """graders(name, kind): as root, or as an ordinary user of this worker's."""
    build.build_confine(real_kit)
    for lab in discover.find_labs(real_kit):
        build.build_kit_parts(real_kit, lab)  # once, for all workers
    root = Path(tempfile.mkdtemp(prefix="kit-for-all-"))
    grading.copy_kit(real_kit, root)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    user = grading.FIRST_UID + int(worker[2:]) if ROOT else None
    made = {}

    def get(name: str, kind: str) -> grading.Grader:
        # Namespaces are made by root and by ordinary users in turn.
        as_user = kind == "none" or kind == "namespaces" and NAMES.index(name) % 2 == 1
        uid = user if as_user else None
        if uid not in made:
            made[uid] = grading.Grader(real_kit, root, uid)
        return made[uid]

    yield get
    for grader in made.values():
        grader.close()
    shutil.rmtree(root)


@pytest.fixture
def submission():
    """A folder that every user can read."""
    folder = Path(tempfile.mkdtemp(prefix="submission-"))
    folder.chmod(0o755)
    yield folder
    sandbox.process.remove_tree(str(folder))


@pytest.mark.parametrize("name,kind,lab", cells())
def test_no_trick_pays(name, kind, lab, graders, submission):
    if kind == "none" and not ROOT and sandbox.lacking(sandbox.NONE):
        pytest.skip("it could end the tests")
    grader, trick = graders(name, kind), CORPUS[name]
    kit = discover.find_kit(grader.root)
    tested = discover.find_labs(kit)[lab]
    hostile.write(kit, tested, trick, submission)
    quick = not ALL and not is_for_valgrind(name, kind)
    graded = grader.grade(submission, kind, options_for(name, kind, tested), quick)
    assert faults(trick, graded, kind) == [], graded.out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", (
    "changes_limits_of_others", "fork_bomb", "kills_all_but_itself", "queues",
    "rewrites_the_kit", "stops_all", "writes_into_processes"))
def test_the_other_labs_keep_their_points(name, kind, graders, submission):
    """Graded beside it, by one grader and, without isolation, by one user."""
    if kind == "none" and not ROOT and sandbox.lacking(sandbox.NONE):
        pytest.skip("it could end the tests")
    if kind == "none" and name == "fork_bomb":
        pytest.skip("all programs of a user have so many processes together")
    grader = graders(name, kind)
    kit = discover.find_kit(grader.root)
    other, first = discover.find_labs(kit, [4, 5])
    hostile.write(kit, other, CORPUS[name], submission)
    shutil.copytree(kit.root / "solutions" / first.id, submission / first.id)
    names = [other.tests[0].name, *(test.name for test in first.tests[:8])]
    options = ["--lab", "4", "--lab", "5", "--jobs", "2", "--test", ",".join(names)]
    graded = grader.grade(submission, kind, options, quick=True)
    assert graded.report, graded.out
    cheat, right = graded.report["labs"]
    assert cheat["score"] == 0
    lost = [test["name"] for group in right["groups"] for test in group["tests"]
            if test["status"] != "passed"]
    assert lost == [], graded.out
    assert right["score"] == right["max"]


def is_for_valgrind(name: str, kind: str) -> bool:
    """With one kind of isolation, another one from trick to trick."""
    return name in FOR_VALGRIND and KINDS[FOR_VALGRIND.index(name) % len(KINDS)] == kind


def options_for(name: str, kind: str, lab: Lab) -> List[str]:
    options = ["--lab", str(lab.number), "--jobs", "1"]
    if ALL:
        return options
    n = 7 * NAMES.index(name) + KINDS.index(kind)
    return [*options, "--test", lab.tests[n % len(lab.tests)].name]


def faults(trick: hostile.Trick, graded: grading.Graded, kind: str) -> List[str]:
    """What must not be, of a submission's grading."""
    if graded.report is None or graded.status != 0:
        return [f"no report; status {graded.status}"]
    found = []
    lab = graded.report["labs"][0]
    passed = [test["name"] for group in lab["groups"] for test in group["tests"]
              if test["status"] == "passed"]
    if lab["score"] or passed:
        found.append(f"{lab['score']} points, for {passed}")
    if lab["status"] == "broken":
        found.append("the kit takes the fault upon itself")
    built = lab["status"] not in ("not_built", "missing")
    if built and not trick.builds:
        found.append("it was built")
    # A lab that rules one of its calls out has said that instead.
    said = " ".join(graded.out.split())
    if built or not trick.builds:
        found += [f"not said: {words}" for words in trick.says if words not in said]
    found += [f"in the report: {byte!r}" for byte in "\x1b\x07\u202e" if byte in graded.out]
    left = dict(graded.left)
    if kind == "none":  # which objects it made can't be told from its user's others
        left.pop("objects", None)
        left["files"] = [path for path in left.pop("files", ())
                         if not path.startswith(("/dev/shm/", "/dev/mqueue/"))]
    found += [f"left: {what}: {names[:5]}" for what, names in left.items() if names]
    return found
