"""What `make bench` prints: the note's count next to what was measured."""

from __future__ import annotations

import textwrap
from typing import Any, Dict, List, Optional, Sequence

from grader.measure.document import FAILED, MEASURED, NO_LAB, NOT_WRITTEN
from grader.measure.mechanisms import SIZE_NAMES, SIZES
from grader.report.style import Style

_TITLE, _COUNT, _CELL = 13, 5, 14
_KINDS_OF_RATE = ("million messages a second", "GB a second")


def render(data: Dict[str, Any], style: Style) -> str:
    blocks = [_heading(data, style), _limits(data, style), _round_trips(data, style),
              _streams(data, style), _mapping(data), _notes(data)]
    lines: List[str] = []
    for block in filter(None, blocks):
        lines += [*block, ""]
    return "\n".join(line.rstrip() for line in lines)


def _bold(words: str, style: Style) -> str:
    return f"\033[1m{words}\033[0m" if style.color else words


def _heading(data: Dict[str, Any], style: Style) -> List[str]:
    machine = data["machine"]
    return [
        _bold(f"Messages against shared memory {style.dot} {data['files']}", style),
        *textwrap.wrap(f"{machine['processor']}, {machine['kernel']}", 80),
        *textwrap.wrap(f"{machine['compiler']}; {machine['cores_words']}; "
                       f"{data['rounds']} rounds, medians", 80),
    ]


# ------------------------------------------------------------------- limits


def _limits(data: Dict[str, Any], style: Style) -> List[str]:
    limits = data["limits"]
    one_core = len(set(data["machine"]["cores"])) == 1
    lines = [_bold("What this machine takes, in us", style)]
    for key, words in (
            ("system_call_ns", "one system call"),
            ("line_round_trip_ns", "a cache line to the other core and back"),
            ("wake_round_trip_ns", "the same, each asleep until it is woken"),
            ("clock_ns", "reading the clock (once in each round trip below)")):
        if one_core:
            words = words.replace("a cache line to the other core and back",
                                  "to the other process and back, by sched_yield")
        lines.append(f"  {words:50}{_us(limits[key]):>10}")
    lines.append(_row("", ("", ""), [SIZE_NAMES[size] for size in SIZES]))
    for key, words in (("memcpy", "memcpy, GB a second"),
                       ("fetch", "from the other core")):
        lines.append(f"  {words:{_TITLE + 2 * _COUNT - 2}}" + "".join(
            f"{_gb(entry['size'], entry['ns']):>{_CELL}}" for entry in limits[key]))
    return lines


def _us(ns: Optional[float]) -> str:
    return "-" if ns is None else _number(ns / 1000)


def _gb(size: int, ns: Optional[float]) -> str:
    return "-" if not ns else _number(size / ns)


def _number(value: float) -> str:
    """Three digits that count, and no more than four characters or five."""
    if value >= 9999.5:
        return f"{value / 1000:.0f}k"
    if value >= 99.95:
        return f"{value:.0f}"
    if value >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}"


# ----------------------------------------------------------------- mechanisms


def _row(title: str, counts: Sequence[str], cells: Sequence[str]) -> str:
    return (f"{title:{_TITLE}}" + "".join(f"{count:>{_COUNT}}" for count in counts)
            + "".join(f"{cell:>{_CELL}}" for cell in cells))


def _round_trips(data: Dict[str, Any], style: Style) -> List[str]:
    lines = [
        _bold("Round trip in us: median (99th percentile)", style),
        _row("", ("cros-", "cop-"), ()),
        _row("", ("sings", "ies"), [SIZE_NAMES[size] for size in SIZES])]
    for row in data["mechanisms"]:
        model = row["model"]
        counts = [str(2 * model["crossings"]), str(2 * model["copies"])]
        lines.append(_whole_row(row, counts) or _row(
            row["title"], counts, [_round_trip(cell) for cell in row["sizes"]]))
    return lines


def _round_trip(cell: Dict[str, Any]) -> str:
    trip = cell["round_trip"]
    if not trip:
        return "see below" if cell["error"] else "-"
    return f"{_mark(cell)}{_us(trip['median_ns'])} ({_us(trip['p99_ns'])})"


def _mark(cell: Dict[str, Any]) -> str:
    return ("~" if cell["apart"] else "") + ("*" if cell["parts"] > 1 else "")


def _streams(data: Dict[str, Any], style: Style) -> List[str]:
    pair = "".join(f"{word:>{_CELL // 2}}" for word in ("note", "seen"))
    lines = [
        _bold("One way, as many as go: by the note's count, and seen", style),
        " " * (_TITLE + 2 * _COUNT) + "".join(
            f"{words:>{2 * _CELL}}" for words in _KINDS_OF_RATE),
        _row("", ("cros-", "cop-"), [SIZE_NAMES[size] for size in SIZES]),
        _row("", ("sings", "ies"), [pair] * len(SIZES))]
    for row in data["mechanisms"]:
        model = row["model"]
        counts = [str(model["crossings"]), str(model["copies"])]
        lines.append(_whole_row(row, counts) or _row(
            row["title"], counts, [_stream(cell) for cell in row["sizes"]]))
    return lines


def _stream(cell: Dict[str, Any]) -> str:
    if not cell["stream"]:
        return "see below" if cell["error"] else "-"
    seen = cell["stream"]["messages_per_s"]
    note = 1e9 / cell["model_ns"] if cell["model_ns"] else None
    rates = [_rate(cell["size"], note), _rate(cell["size"], seen)]
    return "".join(f"{rate:>{_CELL // 2}}" for rate in rates)


def _rate(size: int, per_s: Optional[float]) -> str:
    if per_s is None:
        return "-"
    return _number(per_s * size / 1e9 if size >= 4096 else per_s / 1e6)


def _whole_row(row: Dict[str, Any], counts: Sequence[str]) -> str:
    """Where nothing was measured."""
    start = _row(row["title"], counts, ())
    if row["status"] == NOT_WRITTEN:
        return f"{start}  not written yet: {row['message']}"
    if row["status"] == NO_LAB:
        return f"{start}  {row['message']}"
    if row["status"] == FAILED:
        return f"{start}  see below"
    return ""


# ---------------------------------------------------------------------- words


def _mapping(data: Dict[str, Any]) -> List[str]:
    found = data["mapping"]
    if not found:
        return []
    from_bytes = found["wins_from_bytes"]
    if from_bytes is None:
        words = "Mapping does not beat copying through the same ring at the largest size"
    elif from_bytes <= SIZES[0]:
        words = "Mapping beats copying through the same ring at every size"
    else:
        below = [SIZE_NAMES[entry["size"]] for entry in found["ratios"]
                 if entry["size"] < from_bytes and entry["faster"] > 1]
        words = "".join(["Mapping beats copying through the same ring ",
                         *(f"at {size}, " for size in below), "and " if below else "",
                         f"from {size_words(from_bytes)} on"])
    ratios = [f"{entry['faster']:.1f} {{}}at {SIZE_NAMES[entry['size']]}"
              for entry in found["ratios"]]
    first, *others = ratios
    shown = ", ".join([first.format("times as fast "), *(r.format("") for r in others)])
    return _wrapped(" ".join([f"{words}: {shown}.", *_against_the_kernel(data)]))


def _against_the_kernel(data: Dict[str, Any]) -> List[str]:
    """The mapped ring and the fastest way through the kernel, largest size."""
    rows = {row["name"]: row for row in data["mechanisms"]}
    cells = [(row["sizes"][-1]["stream"]["messages_per_s"], row["title"])
             for row in rows.values()
             if row["model"]["crossings"] and row["sizes"][-1]["stream"]]
    mapped = rows["ring_mapped"]["sizes"][-1]["stream"]
    if not cells or not mapped:
        return []
    rate, title = max(cells)
    return [f"At {SIZE_NAMES[SIZES[-1]]} the mapped ring is {mapped['messages_per_s'] / rate:.1f} times "
            f"as fast as the fastest way through the kernel ({title})."]


def size_words(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            number = size / unit
            return f"{number:.0f} {name}" if number >= 10 else f"{number:.2g} {name}"
    return f"{size} B"


def _notes(data: Dict[str, Any]) -> List[str]:
    lines: List[str] = []
    split = _split(data)
    if split:
        lines += _wrapped(f"* a message goes in parts: {split}. Each part is counted in "
                          "the note's figure.")
    lines += _apart(data)
    for row in data["mechanisms"]:
        for words in _problems(row):
            lines += _wrapped(f"{row['title']}: {words}")
    lines += _wrapped(
        "The note's count is priced with this machine's system call and memcpy. It has "
        f"no price for waking a sleeper, {_us(data['limits']['wake_round_trip_ns'])} us of "
        "each round trip in which both fall asleep. Within the measured time the sender writes "
        "each message whole and stamps its cache lines, and the receiver compares the "
        "stamps; before that, messages of random bytes were compared byte by byte.")
    return lines


def _apart(data: Dict[str, Any]) -> List[str]:
    cells = [cell for row in data["mechanisms"] for cell in row["sizes"]]
    left_out = sum(cell["left_out"] for cell in cells)
    lines: List[str] = []
    if left_out:
        lines += _wrapped(
            f"{left_out} of {left_out + sum(cell['rounds'] for cell in cells)} "
            "measurements are left out: a cache line took half as long again or more "
            "between the two cores then (a virtual machine's cores are moved).")
    if any(cell["apart"] for cell in cells):
        lines += _wrapped("~ measured only while the two cores lay further apart: not "
                          "to be compared with the others.")
    return lines


def _split(data: Dict[str, Any]) -> str:
    found = []
    for row in data["mechanisms"]:
        parts = [f"{SIZE_NAMES[cell['size']]} in {cell['parts']}"
                 for cell in row["sizes"] if cell["parts"] > 1 and cell["round_trip"]]
        if parts:
            found.append(f"{row['title']} {', '.join(parts)}")
    return "; ".join(found)


def _problems(row: Dict[str, Any]) -> List[str]:
    if row["status"] in (NOT_WRITTEN, NO_LAB):
        return []
    found = [f"at {SIZE_NAMES[cell['size']]}, {cell['error']}"
             for cell in row["sizes"] if cell["error"]]
    if not found and row["status"] != MEASURED:
        found = [row["message"]]
    return found


def _wrapped(words: str) -> List[str]:
    return textwrap.wrap(words, 78, subsequent_indent="  ")
