"""Makes the stubs in labs/ from the reference solutions.

A solution marks what the student writes:

    // BEGIN SOLUTION
    ...the reference...
    // STUB
    // /* TODO(lab4): what to do, which calls; never how. */
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION

The stub has what follows `// STUB`, with the comment marks taken off, in place
of the region; a region without `// STUB` vanishes.  All else is shared.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import List, Tuple

from grader.discover import find_labs
from grader.errors import KitError
from grader.model import Kit, Lab
from grader.report.json_report import write_text

_BEGIN, _STUB, _END = "// BEGIN SOLUTION", "// STUB", "// END SOLUTION"
_COMMENT = re.compile(r"^(\s*)//(?: (.*)|)$")


def generate(source: str, name: str) -> str:
    """The stub of a solution; name is for messages."""
    out: List[str] = []
    region = ""  # the marker that we are behind
    begun = 0
    for number, line in enumerate(source.splitlines(), 1):
        marker = line.strip()
        where = f"{name}:{number}"
        if marker == _BEGIN:
            if region:
                raise KitError(f"{where}: {_BEGIN} within the region of line {begun}")
            region, begun = _BEGIN, number
        elif marker == _STUB:
            if region != _BEGIN:
                raise KitError(f"{where}: {_STUB} without {_BEGIN}")
            region = _STUB
        elif marker == _END:
            if not region:
                raise KitError(f"{where}: {_END} without {_BEGIN}")
            region = ""
        elif region == _STUB:
            out.append(_uncommented(line, where))
        elif not region:
            out.append(line)
    if region:
        raise KitError(f"{name}:{begun}: {_BEGIN} without {_END}")
    return "\n".join(_without_double_blanks(out)) + "\n"


def _uncommented(line: str, where: str) -> str:
    match = _COMMENT.match(line)
    if not match:
        raise KitError(f"{where}: a line of a stub begins with //")
    return (match.group(1) + (match.group(2) or "")).rstrip()


def _without_double_blanks(lines: List[str]) -> List[str]:
    """A region that vanished leaves no gap behind."""
    kept: List[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def solution_folder(kit: Kit, lab: Lab) -> Path:
    return kit.root / "solutions" / lab.id


def require_solutions(kit: Kit) -> None:
    if not (kit.root / "solutions").is_dir():
        raise KitError("this kit came without solutions/: stubs can't be made or "
                       "checked (grading needs neither)")


def stubs_of(kit: Kit, lab: Lab) -> List[Tuple[Path, str]]:
    """(the stub's path, what it must contain)"""
    made = []
    for name in lab.files:
        path = solution_folder(kit, lab) / name
        try:
            source = path.read_text(encoding="utf-8")
        except OSError as error:
            raise KitError(f"{path}: {error.strerror}") from None
        made.append((lab.dir / name,
                     generate(source, str(path.relative_to(kit.root)))))
    return made


def out_of_date(kit: Kit, lab: Lab) -> List[str]:
    """Stubs that are not what the solution makes of them."""
    found = []
    for path, content in stubs_of(kit, lab):
        have = path.read_text(encoding="utf-8") if path.is_file() else None
        if have != content:
            what = "is missing" if have is None else "is not what the solution makes"
            found.append(f"{path.relative_to(kit.root)} {what}: run make stubs")
    return found


def _keep(kit: Kit, path: Path) -> str:
    """Puts what a stub replaces into build/replaced/: it may be somebody's work."""
    if not path.is_file():
        return ""
    folder = kit.build_dir / "replaced"
    folder.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in folder.glob(f"{path.name}.*")) + 1
    kept = folder / f"{path.name}.{number}"
    shutil.copyfile(path, kept)
    return f"; what was there is now {kept.relative_to(kit.root)}"


def main(kit: Kit, check: bool) -> int:
    require_solutions(kit)
    findings = []
    for lab in find_labs(kit):
        if check:
            findings += out_of_date(kit, lab)
            continue
        for path, content in stubs_of(kit, lab):
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                print(f"made {path.relative_to(kit.root)}{_keep(kit, path)}")
                write_text(content, path)
    for finding in findings:
        print(finding)
    return 1 if findings else 0
