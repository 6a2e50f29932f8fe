"""A lab's page against its lab.toml: sections, anchors, the table of points."""

from __future__ import annotations

import re
from typing import Dict, List, Set

from grader.model import Kit, Lab

SECTIONS = ("Goal", "The idea", "Read first", "What you write", "Try it", "Pitfalls",
            "Look under the hood", "Questions")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_FENCE = re.compile(r"^\s{0,3}(```+|~~~+)")


def findings(kit: Kit, lab: Lab) -> List[str]:
    page = kit.root / lab.handout
    if not page.is_file():
        return [f"{lab.handout} is missing"]
    text = page.read_text("utf-8")
    return [*_sections(lab, text), *_hint_anchors(lab, text), *_points(lab, text),
            *_pitfalls(lab, text)]


def without_code(text: str) -> List[str]:
    """The page's lines, those of code blocks empty (so that line numbers stay),
    and without the code within a line."""
    lines = []
    fence = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match and not fence:
            fence = match.group(1)[:3]
            lines.append("")
        elif match and match.group(1).startswith(fence):
            fence = ""
            lines.append("")
        else:
            lines.append("" if fence else line)
    return lines


def headings(text: str) -> List[tuple]:
    """(level, title) of each heading."""
    found = []
    for line in without_code(text):
        match = _HEADING.match(line)
        if match:
            found.append((len(match.group(1)), match.group(2)))
    return found


def slug(title: str) -> str:
    """A heading's anchor, by GitHub's rules."""
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)  # links: their text
    title = re.sub(r"<[^>]+>", "", title).strip().lower()
    return re.sub(r"[^\w\- ]", "", title).replace(" ", "-")


def anchors(text: str) -> Set[str]:
    """All anchors of a page; a heading that comes again gets -1, -2, ..."""
    found: Set[str] = set(_ANCHOR.findall("\n".join(without_code(text))))
    counts: Dict[str, int] = {}
    for _, title in headings(text):
        base = slug(title)
        number = counts.get(base, 0)
        counts[base] = number + 1
        found.add(f"{base}-{number}" if number else base)
    return found


def _sections(lab: Lab, text: str) -> List[str]:
    have = [title for level, title in headings(text) if level == 2]
    if have == list(SECTIONS):
        return []
    return [f"{lab.handout}: its sections are {', '.join(have) or 'none'}; wanted, in "
            f"this order: {', '.join(SECTIONS)}"]


def _hint_anchors(lab: Lab, text: str) -> List[str]:
    have = anchors(text)
    wanted = {group.handout: f"group {group.name}" for group in lab.groups}
    wanted.update({test.handout: f"test {test.name}" for test in lab.tests
                   if test.handout not in wanted})
    return [f"{lab.handout} has no anchor #{anchor}, where {who} of lab.toml points"
            for anchor, who in wanted.items() if anchor not in have]


def _pitfalls(lab: Lab, text: str) -> List[str]:
    """A pitfall says which tests catch it: those that point there, at least."""
    below: Dict[str, str] = {}
    section = ""
    for line, prose in zip(text.splitlines(), without_code(text)):
        match = _HEADING.match(prose)
        section = slug(match.group(2)) if match else section
        below[section] = below.get(section, "") + line
    return [f"{lab.handout}: #{test.handout} does not name {test.name}, which points there"
            for test in lab.tests if test.handout.startswith("pitfall-")
            and test.handout in below and f"`{test.name}`" not in below[test.handout]]


def _points(lab: Lab, text: str) -> List[str]:
    """The table of "What you write": a row a group, points as in lab.toml."""
    table = _table(text)
    found = []
    for group in lab.groups:
        points = table.pop(group.name, None)
        if points is None:
            found.append(f"{lab.handout}: the table of \"What you write\" has no row "
                         f"that begins with `{group.name}`")
        elif points != group.points:
            found.append(f"{lab.handout}: group {group.name} has {group.points} points "
                         f"in lab.toml and {points} in the table")
    for name, most in (("memory", lab.memory_points), ("cleanup", lab.cleanup_points)):
        points = table.pop(name, most)
        if points != most:
            found.append(f"{lab.handout}: {name} has {most} points in lab.toml and "
                         f"{points} in the table")
    found += [f"{lab.handout}: the table has a row `{name}` that is no group of lab.toml"
              for name in table]
    return found


def _table(text: str) -> Dict[str, int]:
    """Points by group name, from rows like: | `create` | ... | 12 |"""
    rows: Dict[str, int] = {}
    inside = False
    for line in without_code(text):
        match = _HEADING.match(line)
        if match:
            inside = match.group(2) == "What you write" or (
                inside and len(match.group(1)) > 2)
        row = re.match(r"^\s*\|\s*`([a-z0-9_]+)`\s*\|.*\|\s*\**(\d+)\**\s*\|\s*$", line)
        if inside and row:
            rows[row.group(1)] = int(row.group(2))
    return rows

