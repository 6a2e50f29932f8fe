"""The classic mistakes: each is caught, by the tests and in the words it names.

solutions/labN-X/mistakes/NAME.patch is a unified diff against the reference:

    Misconception: one sentence in the student's words
    Fails: test_name[, test_name...]
    Shows: words that the report must contain      (as often as needed)
    Memory: yes                                    (only if Valgrind must see it)

    --- a/file.c
    +++ b/file.c

Run are the tests that it names, and they alone: others may fail as well.  All
of them are run, and with Valgrind, for `Memory: yes`, and all of them where
`Fails` is left out: then the mistake costs memory or cleanup points alone.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Tuple

from grader import process, text
from grader.errors import KitError
from grader.model import (
    CRASHED, FAILED, NOT_BUILT, TIMED_OUT, Kit, Lab, LabScore, Report,
)
from grader.pipeline import Job, grade_lab, narrowed
from grader.report import words
from grader.report.style import Style
from grader.sandbox import Isolation
from grader.stubs import solution_folder

_FIELD = re.compile(r"^([A-Z][a-z]+):\s*(.*)$")
_LOST = (FAILED, CRASHED, TIMED_OUT)


@dataclass(frozen=True)
class Mistake:
    path: Path
    misconception: str
    fails: Tuple[str, ...]
    shows: Tuple[str, ...]
    memory: bool


def patches(kit: Kit, lab: Lab) -> List[Path]:
    return sorted((solution_folder(kit, lab) / "mistakes").glob("*.patch"))


def read(path: Path) -> Mistake:
    """The patch's header; a KitError names the line that is wrong."""
    fields: Dict[str, List[str]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("--- "):
            break
        match = _FIELD.match(line)
        if not match or match.group(1) not in ("Misconception", "Fails", "Shows",
                                               "Memory"):
            raise KitError(f"{path}:{number}: a line of the header is Misconception:, "
                           "Fails:, Shows: or Memory:")
        fields.setdefault(match.group(1), []).append(match.group(2).strip())
    for name in ("Misconception", "Shows"):
        if not any(fields.get(name, ())):
            raise KitError(f"{path}: the header has no {name}: line")
    fails = tuple(name for line in fields.get("Fails", ())
                  for name in re.split(r"[,\s]+", line) if name)
    return Mistake(path, fields["Misconception"][0], fails, tuple(fields["Shows"]),
                   fields.get("Memory", ["no"])[0] == "yes")


def findings(kit: Kit, lab: Lab, path: Path, isolation: Isolation,
             repeat: int = 1) -> List[str]:
    """What is wrong with one mistake, or with how it is caught."""
    try:
        mistake = read(path)
    except KitError as error:
        return [str(error)]
    unknown = set(mistake.fails) - {test.name for test in lab.tests}
    if unknown:
        return [f"Fails: names no test of lab.toml: {', '.join(sorted(unknown))}"]
    folder = Path(tempfile.mkdtemp(prefix="kit-mistake-"))
    try:
        problem = apply(kit, lab, path, folder)
        if problem:
            return [problem]
        job = Job(kit, lab, folder, isolation, quick=not mistake.memory)
        if mistake.fails and not mistake.memory:
            job = replace(job, lab=narrowed(lab, mistake.fails), only=mistake.fails)
        for attempt in range(1, repeat + 1):
            found = _judge(mistake, grade_lab(job), isolation)
            if found:
                suffix = f" (run {attempt} of {repeat})" if repeat > 1 else ""
                return [finding + suffix for finding in found]
        return []
    finally:
        shutil.rmtree(folder)


def apply(kit: Kit, lab: Lab, path: Path, folder: Path) -> str:
    """The patched reference in folder; what is wrong where it does not apply."""
    for name in lab.files:
        shutil.copyfile(solution_folder(kit, lab) / name, folder / name)
    try:
        done = process.run(["patch", "-p1", "-s", "-F0", "--no-backup-if-mismatch",
                            "-i", str(path)], timeout_s=30, cwd=str(folder))
    except FileNotFoundError:
        raise KitError("patch is not installed (apt-get install patch)") from None
    if done.status != 0:
        return ("does not apply to the reference: "
                + text.one_line(done.stdout + done.stderr, 200))
    return ""


def _judge(mistake: Mistake, score: LabScore, isolation: Isolation) -> List[str]:
    if score.status == NOT_BUILT:
        return ["does not compile: " + "; ".join(score.build_errors)]
    status = {outcome.test.name: outcome.status for outcome in score.outcomes}
    found = [f"{name} {words.STATUS_WORDS[status[name]]} with this mistake; it must fail"
             for name in mistake.fails if status[name] not in _LOST]
    report = folded(rendered(score, isolation))
    found += [f"the report does not say: {shown}" for shown in mistake.shows
              if folded(shown) not in report]
    if not _costs_points(mistake, score):
        found.append("costs no points")
    if found:
        lost = [f"{name} {words.STATUS_WORDS[s]}" for name, s in status.items()
                if s in _LOST]
        found.append("what failed: " + (", ".join(lost) or "nothing"))
    return found


def _costs_points(mistake: Mistake, score: LabScore) -> bool:
    """Without Valgrind a run has no memory points to lose."""
    most = score.lab.points - (0 if mistake.memory else score.lab.memory_points)
    return score.score < most


def rendered(score: LabScore, isolation: Isolation) -> str:
    """What a student is shown."""
    from grader.report import terminal

    stream = io.StringIO()
    style = Style(unicode=True, color=False, width=120, terminal=False)
    terminal.render(Report((score,), isolation.kind, isolation.why, "labs"),
                    stream, style)
    return stream.getvalue()


def folded(words_: str) -> str:
    return " ".join(words_.split())
