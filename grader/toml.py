"""TOML with line numbers: the standard library's reader forgets where it was.

`load` reads a file; `Lines` finds the line of a table or a key afterwards, so
that an error in lab.toml can name it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

from grader.errors import KitError

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    try:
        import tomli as tomllib  # type: ignore[no-redef]
    except ModuleNotFoundError:
        raise KitError("Python before 3.11 needs tomli to read lab.toml: "
                       "apt-get install python3-tomli") from None

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")


def load(path: Path) -> Dict[str, Any]:
    """The file's content; a syntax error says `file:line: what`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        where = _AT_LINE.search(str(error))
        line = f":{where.group(1)}" if where else ""
        what = _AT_LINE.sub("", str(error)).strip()
        raise KitError(f"{path}{line}: {what}") from None
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}") from None


class Lines:
    """Line numbers of a TOML file's tables and keys, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: Dict[tuple, int] = {}
        counts: Dict[str, int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            header = _HEADER.match(line)
            if header:
                name = header.group(2)
                if header.group(1) == "[[":
                    counts[name] = counts.get(name, -1) + 1
                    name = f"{name}#{counts[name]}"
                table = name
                self._lines.setdefault((table, ""), number)
                continue
            key = _KEY.match(line)
            if key:
                self._lines.setdefault((table, key.group(1)), number)

    def of(self, table: str, key: str = "") -> int:
        """The line of a key, or of its table's header where it has none.
        Tables of an array are `name#0`, `name#1`, counted over the file."""
        return self._lines.get((table, key)) or self._lines.get((table, ""), 1)
