"""Makes hostile text harmless: what a student's program printed or named.

A control character or an escape sequence could recolour, overwrite or retitle
a terminal, forge lines of a report, or turn the reading order round.  Each is
shown as the escape that one would write in C or Python instead.  Length is
bounded, in lines and in characters.
"""

from __future__ import annotations

import unicodedata

TAB_WIDTH = 8
# Format characters (zero width, turned reading order), private use, lone
# surrogates, unassigned; line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def decode(data: bytes) -> str:
    """UTF-8; every byte that is not becomes a visible \\xNN."""
    return data.decode("utf-8", errors="backslashreplace")


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """The text with everything that a terminal would act on made visible."""
    if text.isascii() and text.isprintable():
        return text
    shown = []
    for line in text.replace("\r\n", "\n").split("\n"):
        line = line.expandtabs(TAB_WIDTH)
        shown.append("".join(
            _escape(c) if unicodedata.category(c) in _HIDDEN else c for c in line))
    return "\n".join(shown)


def bounded(text: str, max_chars: int = 4096, max_lines: int = 40) -> str:
    """At most so many characters and lines, and a word on what was cut."""
    lines = text.split("\n")
    cut_lines = len(lines) - max_lines
    if cut_lines > 0:
        text = "\n".join(lines[:max_lines])
    cut_chars = len(text) - max_chars
    if cut_chars > 0:
        text = text[:max_chars]
    if cut_lines > 0 or cut_chars > 0:
        what = (f"{cut_chars} more characters" if cut_chars > 0
                else f"{cut_lines} more lines")
        text += f"\n[{what} not shown]"
    return text


def clean(text: "str | bytes", max_chars: int = 4096, max_lines: int = 40) -> str:
    """Decoded, visible and bounded, without white space at the end."""
    if isinstance(text, bytes):
        text = decode(text[: 4 * max_chars + 4096])
    return bounded(visible(text[: 2 * max_chars + 4096]).rstrip(), max_chars, max_lines)


def one_line(text: "str | bytes", max_chars: int = 200) -> str:
    """The same for a name or a phrase: no line breaks at all."""
    line = clean(text, max_chars + 1, 10_000).split("\n[")[0].replace("\n", "\\n")
    return line if len(line) <= max_chars else line[:max_chars] + "..."
