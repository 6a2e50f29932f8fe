"""The kit's folders: names that agree, no file that does not belong, links
that lead somewhere, figures that are drawn from their sources."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Iterable, List, Sequence, Set
from urllib.parse import unquote

from grader import figures
from grader.checkkit.handout import anchors, without_code
from grader.discover import find_labs, lab_folders
from grader.model import Kit, Lab

_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")

_EXERCISE = re.compile(r"`(lab\d+/\w+)`")


def findings(kit: Kit) -> List[str]:
    labs = find_labs(kit)
    return [*_names(kit, labs), *_unexpected(kit, labs), *_links(kit),
            *exercises(kit, labs), *figures.out_of_date(kit)]


def _names(kit: Kit, labs: Sequence[Lab]) -> List[str]:
    """One base name in labs/, solutions/ and handouts/."""
    found = []
    expected = {lab.id for lab in labs}
    for folder in lab_folders(kit.root / "labs").values():
        if folder.name not in expected:
            found.append(f"labs/{folder.name}/ has no lab.toml")
    solutions = {path.name for path in (kit.root / "solutions").iterdir()
                 if path.is_dir()}
    pages = {path.stem for path in (kit.root / "handouts").glob("lab*.md")}
    for what, have in (("solutions/{}/", solutions), ("handouts/{}.md", pages)):
        found += [f"{what.format(name)} is missing" for name in sorted(expected - have)]
        found += [f"{what.format(name)} belongs to no lab in labs/"
                  for name in sorted(have - expected)]
    return found


def _unexpected(kit: Kit, labs: Sequence[Lab]) -> List[str]:
    """Files that the layout has no place for."""
    patterns = ["handouts/README.md", "handouts/races.md", "handouts/security.md",
                "handouts/figures/*.dot", "handouts/figures/*.svg",
                "handouts/figures/bench.json",
                "common/*.[ch]", "common/judge/*.[ch]", "common/subject/*.[ch]",
                "common/bench/*.[ch]", "common/confine/*.c",
                "common/tests/*.h", "common/tests/*/*.[ch]", "common/tests/*.pml"]
    for lab in labs:
        home = f"labs/{lab.id}"
        patterns += [f"{home}/lab.toml", f"{home}/{lab.base}.h", f"{lab.handout}",
                     f"{home}/{lab.test_file.name}", f"{home}/{lab.demo_file.name}",
                     f"solutions/{lab.id}/mistakes/*.patch",
                     f"solutions/{lab.id}/alternates/*.c"]
        patterns += [f"{where}/{lab.id}/{name}" for name in lab.files
                     for where in ("labs", "solutions")]
    found = []
    for top in ("labs", "solutions", "handouts", "common"):
        for path in _walk(kit.root / top):
            name = path.relative_to(kit.root).as_posix()
            if not any(_matches(name, pattern) for pattern in patterns):
                found.append(f"{name} is not expected there: move or remove it")
    return found


def _matches(name: str, pattern: str) -> bool:
    """fnmatch in which * does not cross a slash."""
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


def _walk(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _links(kit: Kit) -> List[str]:
    """Every link to a file of the kit, and its anchor, must lead somewhere."""
    found = []
    pages = [*kit.root.glob("*.md"), *sorted((kit.root / "handouts").glob("*.md"))]
    for page in pages:
        name = page.relative_to(kit.root)
        for number, line in enumerate(without_code(page.read_text("utf-8")), 1):
            for target in _LINK.findall(re.sub(r"`[^`]*`", "", line)):
                problem = _dead(page, unquote(target))
                if problem:
                    found.append(f"{name}:{number}: {problem}")
    return found


def exercises(kit: Kit, labs: Sequence[Lab]) -> List[str]:
    """handouts/README.md names every group of every lab, and no other."""
    page = kit.root / "handouts" / "README.md"
    if not page.is_file():
        return ["handouts/README.md is missing"]
    named = set(_EXERCISE.findall(page.read_text("utf-8")))
    groups = {f"lab{lab.number}/{group.name}" for lab in labs for group in lab.groups}
    return [*(f"handouts/README.md: no lab has the exercise {name}"
              for name in sorted(named - groups)),
            *(f"handouts/README.md: its table lacks the exercise {name}"
              for name in sorted(groups - named))]


def _dead(page: Path, target: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return ""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"the link to {target} leads nowhere"
    if anchor and file.suffix == ".md" and anchor not in _anchors_of(file):
        return f"{file.name} has no anchor #{anchor}"
    return ""


def _anchors_of(file: Path) -> Set[str]:
    return anchors(file.read_text("utf-8"))

