"""First step: finds the labs and reads each one's lab.toml.

A lab is a folder labs/labN-name with a lab.toml; the number lives only in the
folder's name.  Anything wrong with a lab.toml is the kit's fault and raises a
KitError that names the file and the line.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from grader.errors import KitError
from grader.model import CallRules, Group, Kit, Lab, TestSpec
from grader.toml import Lines, load

LAB_FOLDER = re.compile(r"lab([1-9][0-9]*)-([a-z0-9]+(?:-[a-z0-9]+)*)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FULL_SCORE = 100


def find_kit(root: Optional[Path] = None) -> Kit:
    """The kit that this package belongs to, or the one at root."""
    root = (root or Path(__file__).resolve().parent.parent).resolve()
    for part in ("labs", "common"):
        if not (root / part).is_dir():
            raise KitError(f"{root} is not a lab kit: it has no folder {part}/")
    return Kit(root, _build_dir(root))


def cache_name(root: Path) -> str:
    """A kit's folder in a cache that it shares with other kits."""
    return f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


def _build_dir(root: Path) -> Path:
    """Where generated files go: build/ in the kit, and where that can't be
    written to, a folder of this user's cache, one a kit."""
    inside = root / "build"
    if os.access(inside if inside.exists() else root, os.W_OK | os.X_OK):
        return inside
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    bases = [Path(home) / "ipc-lab-kit"] if os.path.isabs(home) else []
    bases.append(Path(tempfile.gettempdir()) / f"ipc-lab-kit-cache-{os.geteuid()}")
    for base in bases:
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        # In /tmp it may be somebody else's: he could put programs there.
        if os.lstat(base).st_uid == os.geteuid() and os.access(base, os.W_OK | os.X_OK):
            return base / cache_name(root)
    raise KitError(f"can't write to {inside}, nor to a cache in {home} or "
                   f"{tempfile.gettempdir()}: set XDG_CACHE_HOME to a folder of yours")


def find_labs(kit: Kit, numbers: Sequence[int] = ()) -> Tuple[Lab, ...]:
    """The labs asked for, or all, in order of their numbers."""
    folders = lab_folders(kit.root / "labs")
    if not folders:
        raise KitError(f"no lab in {kit.root / 'labs'}: a lab is a folder "
                       "labN-name with a lab.toml")
    unknown = sorted(set(numbers) - set(folders))
    if unknown:
        have = ", ".join(str(number) for number in folders)
        raise KitError(f"there is no lab {unknown[0]}; this kit has: {have}")
    return tuple(read_lab(folders[number]) for number in folders
                 if not numbers or number in numbers)


def lab_folders(parent: Path) -> Dict[int, Path]:
    """labN-name folders by number, in that order."""
    found: Dict[int, Path] = {}
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        match = LAB_FOLDER.fullmatch(folder.name)
        if not match or not folder.is_dir():
            continue
        number = int(match.group(1))
        if number in found:
            raise KitError(f"{found[number]} and {folder.name} have one number")
        found[number] = folder
    return dict(sorted(found.items()))


def read_lab(folder: Path) -> Lab:
    """One lab's lab.toml, checked."""
    match = LAB_FOLDER.fullmatch(folder.name)
    if not match:
        raise KitError(f"{folder}: a lab's folder is called labN-name")
    path = folder / "lab.toml"
    data = load(path)
    table = _Table(path, Lines(path.read_text(encoding="utf-8")), "", data)
    table.only("title", "summary", "files", "points", "calls", "witness",
               "group")
    files = table.names("files", required=True)
    for name in files:
        if not re.fullmatch(r"[a-z][a-z0-9_]*\.c", name):
            raise table.error("files", f"{name!r}: a C file's plain name is "
                              "wanted, like \"pipes.c\"")
    points = table.table("points", {"memory": 10, "cleanup": 10})
    points.only("memory", "cleanup")
    lab = Lab(
        id=folder.name, number=int(match.group(1)), dir=folder,
        title=table.text("title"), summary=table.text("summary", ""),
        files=files, groups=_read_groups(table),
        memory_points=points.points("memory", 10),
        cleanup_points=points.points("cleanup", 10),
        calls=_read_calls(table), witness=table.flag("witness"),
    )
    if lab.points != _FULL_SCORE:
        raise points.error("", f"the groups' {sum(g.points for g in lab.groups)} "
                           f"points, memory {lab.memory_points} and cleanup "
                           f"{lab.cleanup_points} add up to {lab.points}; a lab "
                           f"has {_FULL_SCORE}")
    return lab


def _read_calls(top: "_Table") -> CallRules:
    calls = top.table("calls", {})
    calls.only("required", "forbidden", "why")
    why = calls.table("why", {})
    rules = CallRules(calls.names("required"), calls.names("forbidden"),
                      {key: why.text(key) for key in why.data})
    for call in rules.forbidden:
        if call not in rules.why:
            raise calls.error("forbidden", f"no words for {call} in [calls.why]: "
                              "a student must be told why")
    return rules


def _read_groups(top: "_Table") -> Tuple[Group, ...]:
    groups: List[Group] = []
    seen: Dict[str, str] = {}
    number_of_tests = 0
    for index, data in enumerate(top.tables("group")):
        table = _Table(top.path, top.lines, f"group#{index}", data)
        table.only("name", "title", "handout", "test")
        name = table.name("name")
        if any(group.name == name for group in groups):
            raise table.error("name", f"two groups are called {name}")
        anchor = table.text("handout")
        tests = []
        for test_data in table.tables("test"):
            test = _Table(top.path, top.lines,
                          f"group.test#{number_of_tests}", test_data)
            number_of_tests += 1
            tests.append(_read_test(test, name, anchor, seen))
        groups.append(Group(name, table.text("title"), anchor, tuple(tests)))
    _check_needs(top, groups)
    return tuple(groups)


def _check_needs(top: "_Table", groups: Sequence[Group]) -> None:
    """A test needs one that stands on its own, so that there is no circle."""
    tests = [test for group in groups for test in group.tests]
    alone = {test.name for test in tests if not test.needs}
    for index, test in enumerate(tests):
        if test.needs and test.needs not in alone:
            table = _Table(top.path, top.lines, f"group.test#{index}", {})
            raise table.error("needs", f"{test.needs!r} is no test of this lab that "
                              "stands on its own (has no \"needs\" itself)")


def _read_test(table: "_Table", group: str, anchor: str,
               seen: Dict[str, str]) -> TestSpec:
    table.only("name", "points", "hint", "handout", "needs")
    name = table.name("name")
    if name in seen:
        raise table.error("name", f"two tests are called {name} (the other one is "
                          f"in group {seen[name]})")
    seen[name] = group
    return TestSpec(name, group, table.points("points"), table.text("hint"),
                    table.text("handout", anchor),
                    table.name("needs") if "needs" in table.data else "")


class _Table:
    """A table of lab.toml that knows its lines: every complaint names one."""

    def __init__(self, path: Path, lines: Lines, name: str,
                 data: Dict[str, Any]) -> None:
        self.path, self.lines, self.name_, self.data = path, lines, name, data

    def error(self, key: str, what: str) -> KitError:
        line = self.lines.of(self.name_, key)
        return KitError(f"{self.path}:{line}: {what}")

    def only(self, *known: str) -> None:
        for key in self.data:
            if key not in known:
                raise self.error(key, f"unknown key {key!r}; known here: "
                                 + ", ".join(known))

    def _get(self, key: str, kind: type, default: Any, what: str) -> Any:
        if key not in self.data:
            if default is not None:
                return default
            raise self.error("", f"{key!r} is missing ({what})")
        value = self.data[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, f"{key!r} must be {what}")
        return value

    def text(self, key: str, default: Optional[str] = None) -> str:
        text = self._get(key, str, default, "a text")
        if not text.strip() and default is None:
            raise self.error(key, f"{key!r} is empty")
        return " ".join(text.split())

    def name(self, key: str) -> str:
        name = self._get(key, str, None, "a name")
        if not _NAME.fullmatch(name):
            raise self.error(key, f"{name!r}: small letters, digits and _ are wanted")
        return name

    def points(self, key: str, default: Optional[int] = None) -> int:
        points = self._get(key, int, default, "a whole number of points")
        if not 0 <= points <= _FULL_SCORE:
            raise self.error(key, f"{points} points: 0 to {_FULL_SCORE} are possible")
        return points

    def flag(self, key: str) -> bool:
        value = self.data.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"{key!r} must be true or false")
        return value

    def names(self, key: str, required: bool = False) -> Tuple[str, ...]:
        names = self._get(key, list, None if required else [], "a list of names")
        if not all(isinstance(name, str) for name in names):
            raise self.error(key, f"{key!r} must be a list of names")
        if required and not names:
            raise self.error(key, f"{key!r} is empty")
        return tuple(names)

    def table(self, key: str, default: Dict[str, Any]) -> "_Table":
        data = self._get(key, dict, default, "a table")
        name = f"{self.name_}.{key}" if self.name_ else key
        return _Table(self.path, self.lines, name, data)

    def tables(self, key: str) -> Iterable[Dict[str, Any]]:
        tables = self._get(key, list, None, f"at least one [[{key}]]")
        if not tables or not all(isinstance(table, dict) for table in tables):
            raise self.error(key, f"at least one [[{key}]] is wanted")
        return tables
