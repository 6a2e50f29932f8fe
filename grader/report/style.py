"""What the output stream can show: encoding, colours, width.

In the C locale, or where the encoding has no room for it, marks are ASCII and
everything else that is not becomes its nearest ASCII spelling.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Optional, TextIO

_NEAREST = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...",
            "→": "->", "×": "x", "·": "-", "•": "*", "≤": "<=", "≥": ">=", "≠": "!=",
            "✓": "+", "✗": "x", "○": "o", "\u00a0": " "}


@dataclass(frozen=True)
class Style:
    unicode: bool
    color: bool
    width: int
    terminal: bool

    @property
    def passed(self) -> str:
        return "✓" if self.unicode else "+"

    @property
    def failed(self) -> str:
        return "✗" if self.unicode else "x"

    @property
    def not_started(self) -> str:
        return "○" if self.unicode else "o"

    @property
    def dot(self) -> str:
        return "·" if self.unicode else "-"


def style_of(stream: TextIO, width: Optional[int] = None) -> Style:
    """Looks at a stream and the environment, and makes the stream safe to
    write any text to."""
    unicode = _can_unicode(stream)
    if not unicode:
        codecs.register_error("kit-nearest", _nearest)
        stream.reconfigure(encoding="ascii", errors="kit-nearest")
    elif hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    terminal = stream.isatty()
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get(
        "TERM", "dumb") != "dumb"
    return Style(unicode, color, _width(width, terminal), terminal)


def _can_unicode(stream: TextIO) -> bool:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = os.environ.get(name)
        if value:
            if value in ("C", "POSIX"):
                return False
            break
    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    return encoding.replace("_", "-") in ("utf-8", "utf8")


def _width(width: Optional[int], terminal: bool) -> int:
    if width is None:
        width = shutil.get_terminal_size((80, 24)).columns if terminal else 80
    return max(30, min(width, 120))


def _nearest(error: UnicodeError):
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start:error.end]
    return "".join(_NEAREST.get(c, c.encode("ascii", "backslashreplace").decode())
                   for c in part), error.end


def stdout_style(width: Optional[int] = None) -> Style:
    return style_of(sys.stdout, width)
