"""A lab against its rubric: the tests are those of lab.toml, the stub scores
nothing, the reference and every other solution score all there is."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Tuple

from grader import build, run, stubs
from grader.checkkit import handout
from grader.model import BROKEN, NOT_STARTED, PASSED, CallRules, Kit, Lab, LabScore, Report
from grader.pipeline import Job, grade_lab
from grader.report import json_report, words
from grader.sandbox import Isolation

Find = Callable[[], List[str]]


def checks(kit: Kit, lab: Lab, isolation: Isolation,
           repeat: int) -> List[Tuple[str, Find]]:
    made: List[Tuple[str, Find]] = [
        ("lab.toml", lambda: _tests(kit, lab)),
        ("handout", lambda: handout.findings(kit, lab)),
        ("stub", lambda: _stub(kit, lab, isolation)),
        ("functions that refuse everything",
         lambda: _refusals(kit, lab, isolation)),
        ("reference", lambda: _full_score(
            Job(kit, lab, kit.root / "solutions", isolation), repeat)),
    ]
    for path in sorted((stubs.solution_folder(kit, lab) / "alternates").glob("*.c")):
        made.append((f"alternate {path.stem}", lambda path=path: _alternate(
            kit, lab, path, isolation, repeat)))
    return made


def _tests(kit: Kit, lab: Lab) -> List[str]:
    """lab.toml's tests against the test file's."""
    listed = run.list_tests(build.build_kit_parts(kit, lab).judge)
    wanted = [(test.group, test.name) for test in lab.tests]
    test_file = lab.test_file.name
    found = [f"lab.toml has {name} in group {group}; {test_file} does not"
             for group, name in wanted if (group, name) not in listed]
    found += [f"{test_file} has TEST({group}, {name}); lab.toml does not"
              for group, name in listed if (group, name) not in wanted]
    return found


def _stub(kit: Kit, lab: Lab, isolation: Isolation) -> List[str]:
    found = stubs.out_of_date(kit, lab)
    score = grade_lab(Job(kit, lab, kit.root / "labs", isolation))
    if score.score != 0:
        found.append(f"the stub scores {score.score}; 0 is wanted")
    found += [f"the stub's {outcome.test.name} is {words.STATUS_WORDS[outcome.status]}, "
              f"not \"not started\": {_in_one_line(outcome.message)}"
              for outcome in score.outcomes if outcome.status != NOT_STARTED]
    return found + _report_findings(score, isolation)


def _refusals(kit: Kit, lab: Lab, isolation: Isolation) -> List[str]:
    """Functions that do nothing but return an error the header names, or say
    that all went well, score nothing."""
    headers = "".join(path.read_text("utf-8") for path in lab.headers)
    answers = {name: f"errno = {name};"
               for name in sorted(set(re.findall(r"\bE[A-Z0-9]+\b", headers)))
               if hasattr(errno, name) and name != "ENOSYS"}
    answers["0"] = "return 0;"
    lab = replace(lab, calls=CallRules())
    found = []
    for name, answer in answers.items():
        with tempfile.TemporaryDirectory(prefix="kit-refusal-") as folder:
            for file in lab.files:
                stub = (lab.dir / file).read_text("utf-8")
                Path(folder, file).write_text(_answering(stub, answer), "utf-8")
            score = grade_lab(Job(kit, lab, Path(folder), isolation, quick=True))
        if score.score:
            passed = [o.test.name for o in score.outcomes if o.status == PASSED]
            found.append(f"a stub that answers {name} to everything scores "
                         f"{score.score}: {', '.join(passed)}"
                         "; give each a \"needs\" in lab.toml")
        if score.problem:
            found.append(f"a stub that answers {name} to everything: {score.problem}")
    return found


def _answering(stub: str, answer: str) -> str:
    """Every function of the stub says this."""
    if answer.startswith("errno"):
        return stub.replace("errno = ENOSYS;", answer)
    return re.sub(r"errno = ENOSYS;\s*return -1;", answer, stub)


def _full_score(job: Job, repeat: int) -> List[str]:
    for attempt in range(1, repeat + 1):
        score = grade_lab(job)
        found = lost(score) + _report_findings(score, job.isolation)
        if found:
            suffix = f" (run {attempt} of {repeat})" if repeat > 1 else ""
            return [finding + suffix for finding in found]
    return []


def lost(score: LabScore) -> List[str]:
    """Where a solution lost points."""
    if score.score == score.lab.points and not score.problem:
        return []
    found = [f"scores {score.score}/{score.lab.points}"]
    if score.problem:
        found.append("; ".join([score.problem, *score.build_errors]))
    found += [f"{o.test.name} {words.STATUS_WORDS[o.status]}: {_in_one_line(o.message)}"
              for o in score.outcomes if o.status != PASSED and not score.problem]
    found += [f"{fault.location}: {fault.words} ({fault.kind}, in "
              f"{words.names(fault.tests)})" for fault in score.memory.errors]
    found += [f"left behind in {outcome.test.name}: {leftover.text}"
              for outcome in score.outcomes for leftover in outcome.leftovers]
    if not found[1:]:
        missing = set(test.name for test in score.lab.tests) - set(score.memory.ran)
        found.append("did not end under Valgrind: " + words.names(sorted(missing))
                     if missing else score.memory.not_run)
    return found


def _in_one_line(message: str) -> str:
    return " / ".join(message.split("\n"))[:300]


def _report_findings(score: LabScore, isolation: Isolation) -> List[str]:
    """The JSON report of it keeps the schema."""
    document = json_report.as_dict(
        Report((score,), isolation.kind, isolation.why, "labs"))
    found = [f"report.json breaks its schema: {error}"
             for error in json_report.schema_errors(document)]
    if score.status == BROKEN:
        found.append("the report says that the kit is at fault")
    return found


def _alternate(kit: Kit, lab: Lab, path: Path, isolation: Isolation,
               repeat: int) -> List[str]:
    """Another correct solution, in one file: graded as if it were handed in."""
    if len(lab.files) != 1:
        return [f"{path.name}: a lab of several files can't have alternates yet"]
    folder = Path(tempfile.mkdtemp(prefix="kit-alternate-"))
    try:
        shutil.copyfile(path, folder / lab.files[0])
        return _full_score(Job(kit, lab, folder, isolation), repeat)
    finally:
        shutil.rmtree(folder)
