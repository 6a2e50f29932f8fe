"""The kit itself: the judge's own tests, check-kit for every lab, and the form
of every file (compilers, clang-format, shellcheck)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from grader import build, checkkit, discover, parse, run
from grader.measure.mechanisms import MECHANISMS
from grader.model import CallRules, Group, Lab, PASSED, Run, TestSpec
from grader.pipeline import Job, grade_lab
from grader.tests.conftest import ROOT

KIT = discover.find_kit(ROOT)
LABS = discover.find_labs(KIT)
HAS_SOLUTIONS = (ROOT / "solutions").is_dir()
needs_solutions = pytest.mark.skipif(not HAS_SOLUTIONS, reason="a kit without solutions/")


def c_files() -> List[Path]:
    """All but what is wrong on purpose (data/), and drivers of `make bench` for
    a lab that this kit is without."""
    without = {f"drive_{m.base}.c" for m in MECHANISMS} - {
        f"drive_{lab.base}.c" for lab in LABS}
    return sorted(path for top in ("common", "labs", "solutions", "grader")
                  for path in (ROOT / top).rglob("*.[ch]")
                  if "data" not in path.parts and path.name not in without)


def named(paths) -> List[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def run_tool(*argv: str) -> subprocess.CompletedProcess:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


# ------------------------------------------------------- the judge's own tests


def selftest_lab(name: str) -> Lab:
    """A folder of common/tests as a lab: its files are the "student's"."""
    folder = ROOT / "common" / "tests" / name
    bare = Lab(f"lab0-{name}", 0, folder, "The judge's own tests", "",
               (f"{name}.c",), (), 0, 0, CallRules())
    listed = run.list_tests(build.build_kit_parts(KIT, bare).judge)
    groups = {}
    for group, name in listed:
        groups.setdefault(group, []).append(TestSpec(name, group, 1, "none", "none"))
    return replace(bare, groups=tuple(Group(name, name, "none", tuple(tests))
                                      for name, tests in groups.items()))


@pytest.mark.long
@pytest.mark.skipif(not (ROOT / "common" / "tests").is_dir(), reason="no common/tests")
@pytest.mark.parametrize("name,way", (
    *(("selftest", way) for way in ("native", "witness", "clang", "valgrind")),
    *(("schedules", way) for way in ("native", "witness", "clang", "optimised"))))
def test_the_judges_own_tests(name, way, isolation, monkeypatch):
    if way == "clang":
        monkeypatch.setenv("CC", shutil.which("clang") or pytest.skip("no clang"))
    if way == "optimised":
        monkeypatch.setattr(build, "STUDENT_FLAGS", (*build.STUDENT_FLAGS, "-O2"))
    lab = replace(selftest_lab(name), witness=way not in ("native", "valgrind"))
    runs: List[Run] = []
    really_run = run.run_lab

    def run_lab(*args, **options):
        runs.append(really_run(*args, **options))
        return runs[-1]

    monkeypatch.setattr(run, "run_lab", run_lab)
    score = grade_lab(Job(KIT, lab, lab.dir, isolation, quick=way != "valgrind"))
    outcomes = list(score.outcomes)
    if runs and way == "valgrind":
        outcomes += parse.parse_outcomes(lab, Run(runs[0].valgrind)).values()
    failed = [f"{o.test.name} {o.status}: {o.message}"
              for o in outcomes if o.status != PASSED]
    assert failed == [] and not score.problem, score.build_errors
    assert lab.tests


@needs_solutions
@pytest.mark.skipif(not (ROOT / "labs" / "lab6-shm-sync").is_dir(), reason="no lab 6")
@pytest.mark.parametrize("choices,says", (
    ("", "nothing is wrong with it"), ("4:1", "nothing is wrong with it"),
    ("bseed3", "nothing is wrong with it"), ("n4:1", "nothing is wrong with it"),
    ("x", 'no schedule: "x"')))
def test_replay(choices, says):
    schedule = f"updates_in_every_order_of_steps:{choices}"
    done = run_tool(sys.executable, "-m", "grader", "replay", "--lab", "6", "--from",
                    "solutions", "--schedule", schedule)
    assert says in done.stdout, done.stdout + done.stderr
    if not says.startswith("no"):
        assert re.search(r"^ {22}B  shm_sync\.c:\d+  mutex_lock", done.stdout, re.MULTILINE)


# ----------------------------------------------------- the ring of lab 8, by model


@pytest.mark.skipif(not shutil.which("spin"), reason="no spin")
@pytest.mark.parametrize("slots,wrong", (
    (1, 0), (2, 0), (4, 0), *((slots, wrong) for slots in (1, 2) for wrong in range(1, 5)),
    (2, 5), (2, 6)))
def test_every_order_of_the_rings_steps(slots, wrong, tmp_path):
    """The right ring has no error in any order, and each wrong one has."""
    model = ROOT / "common" / "tests" / "spsc.pml"
    for argv in (["spin", "-a", f"-DSLOTS={slots}", f"-DWRONG={wrong}", str(model)],
                 ["gcc", "-w", "-o", "pan", "pan.c"]):
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    said = subprocess.run(["./pan"], cwd=tmp_path, check=True, capture_output=True,
                          text=True).stdout
    assert "full statespace search" in said.lower() and "errors: " in said, said
    assert ("errors: 0" in said) == (wrong == 0), said


# ------------------------------------------------------------------ check-kit


@needs_solutions
def test_check_kit_folders(isolation):
    assert checkkit.run_checks(checkkit.checks_of_kit(KIT), 1) == []


@pytest.mark.long
@needs_solutions
@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.id)
def test_check_kit(lab, isolation):
    """Much of it is waiting: more checks at a time than processors."""
    assert checkkit.run_checks(checkkit.checks_of_lab(KIT, lab, isolation), 3) == []


# The lecture's headings, that the labs follow.
LECTURE = (
    "Inter-Process Communication", "Inter-Process Communication (IPC)",
    "Message Passing (IPC)",
    "Message Passing Types (Pipes, Message Queues, Sockets)", "Pipes",
    "Message Queues", "Sockets", "Shared Memory (IPC)", "Messages vs Shared Memory",
    "System V (System 5) Shared Memory Overview", "System V API", "POSIX API",
    "Shared Memory and Synchronization", "Pthreads for IPC",
    "Other IPC Synchronization", "Linux IPC Command Line Tools",
    "Shared Memory Design Considerations")


def test_every_heading_of_the_lecture_is_taught():
    """That what the table names is there, check-kit sees."""
    page = (ROOT / "handouts" / "README.md").read_text("utf-8")
    rows = {cells[1].split(":")[0].strip(): cells[2:4]
            for cells in (line.split("|") for line in page.splitlines())
            if len(cells) == 5}
    assert [heading for heading in LECTURE
            if not all(cell.strip() for cell in rows.get(heading, [""]))] == []


# ----------------------------------------------------------------------- form


@pytest.mark.parametrize("compiler", ("gcc", "clang"))
def test_c_compiles_without_a_warning(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    # gcc finds some of what it warns of only when it makes code.
    goal = ["-fsyntax-only"] if compiler == "clang" else ["-c", "-o", str(tmp_path / "x.o")]
    failed = []
    for path in (path for path in c_files() if path.suffix == ".c"
                 and path.parent.name != "hostile"):  # these hold several programs
        for half in halves_of(path):
            done = run_tool(compiler, *build.FLAGS, "-Werror", *extra_flags(path),
                            *half, "-Icommon", *includes_of(path), *goal, str(path))
            if done.returncode != 0:
                failed.append(f"{path.relative_to(ROOT)}: {done.stderr[:1000]}")
    assert failed == []


def halves_of(path: Path):
    """A test file and common/*.c are compiled twice."""
    name = path.relative_to(ROOT).as_posix()
    judge, subject = ["-DKIT_JUDGE"], ["-DKIT_SUBJECT"]
    if name.startswith("common/judge/"):
        return [judge]
    if name.startswith("common/subject/"):
        return [subject]
    if path.name.startswith("test_") or path.parent == ROOT / "common":
        return [judge, subject]
    return [[]]


def extra_flags(path: Path) -> List[str]:
    """Stubs and students' files leave parameters unused."""
    if "test" in path.name or path.is_relative_to(ROOT / "common"):
        return []
    return ["-Wno-unused-parameter"]


def includes_of(path: Path) -> List[str]:
    parts = path.relative_to(ROOT).parts
    home = ["-I" + str(path.parent)]
    if path.parent == ROOT / "common" / "bench":
        return home + [f"-I{lab.dir}" for lab in LABS]
    return home + ["-Ilabs/" + parts[1]] if parts[0] == "solutions" else home


def formats_as_the_kit_does() -> bool:
    """Each version of clang-format breaks some lines in its own way."""
    return bool(shutil.which("clang-format")) and \
        " version 14." in run_tool("clang-format", "--version").stdout


@pytest.mark.skipif(not formats_as_the_kit_does(), reason="no clang-format 14")
def test_c_is_formatted():
    done = run_tool("clang-format", "--dry-run", "-Werror", *named(c_files()))
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_shell_scripts_are_clean():
    scripts = [*(ROOT / "grader").rglob("*.sh")]
    if (ROOT / ".ci" / "run").is_file():
        scripts.append(ROOT / ".ci" / "run")
    done = run_tool("shellcheck", *named(scripts))
    assert done.returncode == 0, done.stdout[:3000]


def test_every_module_says_what_it_is_for():
    import ast
    silent = [str(path.relative_to(ROOT))
              for path in (ROOT / "grader").rglob("*.py")
              if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_only_process_py_starts_processes():
    """The pipeline's rule: one helper, used by build and run."""
    users = {str(path.relative_to(ROOT / "grader"))
             for path in (ROOT / "grader").rglob("*.py")
             if "tests" not in path.parts and "import subprocess" in path.read_text()}
    assert users <= {"process.py", "bench_grader.py"}


def test_the_schema_is_a_schema():
    import jsonschema
    from grader.report import json_report
    schema = json.loads(json_report.SCHEMA_FILE.read_text())
    jsonschema.Draft7Validator.check_schema(schema)


# ------------------------------------------------------------------- Makefile


def make(*arguments: str) -> subprocess.CompletedProcess:
    return run_tool("make", "--no-print-directory", *arguments)


def test_bare_make_is_help():
    bare, asked = make(), make("help")
    assert bare.returncode == 0 and bare.stdout == asked.stdout
    for name in ("setup", "labN", "demoN", "grade", "check-kit", "bench-grader"):
        assert name in bare.stdout


@pytest.mark.parametrize("goals", (("setup", "grade"), ("-j", "setup", "test"),
                                   ("-j4", "grade", "setup")))
def test_setup_comes_first(goals):
    lines = make("-n", *goals).stdout.splitlines()
    assert "setup.sh" in lines[0] and len(lines) > 1


def test_options_reach_the_grader():
    line = make("-n", "grade", "LAB=1", "FROM=my labs", "STRICT=1", "JSON=a b.json",
                "JOBS=3", "ISOLATION=uid").stdout
    for words in ("--lab 1", '--from "my labs"', "--strict", '--json "a b.json"',
                  "--jobs 3", "--isolation uid"):
        assert words in line


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.id)
def test_every_lab_has_its_commands(lab):
    assert f"--quick --lab {lab.number}" in make("-n", f"lab{lab.number}").stdout
    assert f"demo --lab {lab.number}" in make("-n", f"demo{lab.number}").stdout
