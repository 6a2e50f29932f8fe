"""build/bench.svg and build/bench.png, drawn by gnuplot from the document."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from grader import process, text
from grader.measure.document import on_the_way, where_it_is_one
from grader.measure.mechanisms import SIZE_NAMES, SIZES
from grader.measure.table import size_words
from grader.report.json_report import write_text

PACKAGE = "gnuplot-nox"
_TERMINALS = {
    "svg": 'svg size 1000,520 font "sans-serif,13" noenhanced background rgb "white"',
    "png": 'pngcairo size 1500,780 font "sans-serif,13" fontscale 1.35 linewidth 1.5 '
           'pointscale 1.4 noenhanced background rgb "white"',
}
# Through the kernel thin and cool, shared memory thick and warm; they differ
# in their marks too.
_STYLES = {
    "pipe": 'lc rgb "#5b8ff9" lw 1.6 pt 6',
    "sysv_queue": 'lc rgb "#0f8a8a" lw 1.6 pt 4',
    "posix_queue": 'lc rgb "#5ad8a6" lw 1.6 pt 8',
    "unix_socket": 'lc rgb "#6b5fc7" lw 1.6 pt 10',
    "tcp": 'lc rgb "#8a94a6" lw 1.6 pt 12',
    "rounds": 'lc rgb "#e8a33d" lw 2.4 pt 5',
    "ring_copied": 'lc rgb "#e8684a" lw 2.4 pt 7',
    "ring_mapped": 'lc rgb "#a3123a" lw 2.8 pt 9',
}


def draw(data: Dict[str, Any], folder: Path) -> str:
    """Writes bench.svg and bench.png; why it did not, where it did not."""
    for kind in _TERMINALS:
        new = folder / f".bench-new.{kind}"
        problem = draw_one(data, kind, new)
        if problem:
            return problem
        new.replace(folder / f"bench.{kind}")
    return ""


def draw_one(data: Dict[str, Any], kind: str, out: Path) -> str:
    """Draws into out, kind is svg or png; why it did not, where it did not."""
    if not shutil.which("gnuplot"):
        return ("no plot: gnuplot is not installed (make setup bench, or "
                f"apt-get install {PACKAGE})")
    source = out.with_name("bench.gnuplot")
    write_text(script(data, _TERMINALS[kind], out), source)
    done = process.run(["gnuplot", str(source)], timeout_s=60)
    if done.status != 0 or not out.is_file() or not out.stat().st_size:
        out.unlink(missing_ok=True)
        return f"no plot: gnuplot failed: {text.one_line(done.stderr.strip(), 200)}"
    source.unlink()
    return ""


def script(data: Dict[str, Any], terminal: str, out: Path) -> str:
    rows = [row for row in data["mechanisms"]
            if any(cell["round_trip"] for cell in row["sizes"])]
    lines = [f"set terminal {terminal}", f"set output {_quoted(str(out))}"]
    lines += _blocks(data, rows)
    ticks = ", ".join(f'"{SIZE_NAMES[size]}" {size}' for size in SIZES)
    lines += [
        f"set multiplot title {_quoted(_title(data))}",
        "set logscale xy", f"set xtics ({ticks})", "set xrange [48:1600000]",
        'set xlabel "size of a message"', "set grid xtics ytics lt 1 lw 0.6 lc rgb '#d8d8d8'",
        "set style textbox opaque noborder margins 0.3,0.2",
        "set border 3 lc rgb '#777777'", "set tics nomirror textcolor rgb '#333333'",
        "set tmargin at screen 0.84", "set bmargin at screen 0.28",
        'set format y "%g"', "set key off",
        *_panel("a round trip, in us (less is better)", 0.07, 0.48),
        _plot([_curve(row, "2") for row in rows]),
        *_panel("one way, in GB a second (more is better)", 0.57, 0.98),
        "set key at screen 0.5, screen 0.02 center bottom vertical maxrows 3 samplen 2",
    ]
    lines += _mapping(data)
    lines.append(_plot([
        _between(data), *(_curve(row, "3") for row in rows),
        '$memcpy using 1:2 with lines dt 2 lw 1.5 lc rgb "#000000" '
        'title "memcpy"']))
    return "\n".join([*filter(None, lines), "unset multiplot"]) + "\n"


def _panel(title: str, left: float, right: float) -> List[str]:
    return [f'set title "{title}"', f"set lmargin at screen {left}",
            f"set rmargin at screen {right}"]


def _plot(curves: Sequence[Optional[str]]) -> str:
    shown = [curve for curve in curves if curve]
    return "plot " + ", ".join(shown) if shown else ""


def _title(data: Dict[str, Any]) -> str:
    machine = data["machine"]
    return (f"Messages against shared memory: {machine['processor']}, "
            f"{machine['kernel']}, {machine['cores_words']}")


def _quoted(words: str) -> str:
    """A gnuplot string in which nothing is special but '' for '."""
    plain = "".join(char if char.isprintable() else " " for char in words)
    return "'" + plain.replace("'", "''") + "'"


def _blocks(data: Dict[str, Any], rows: Sequence[Dict[str, Any]]) -> List[str]:
    """$name: size, round trip in us, GB a second."""
    lines: List[str] = []
    for row in rows:
        lines.append(f"${row['name']} << EOD")
        lines += [f"{cell['size']} {cell['round_trip']['median_ns'] / 1000:.6g} "
                  f"{cell['stream']['bytes_per_s'] / 1e9:.6g}"
                  for cell in row["sizes"] if cell["round_trip"]]
        lines.append("EOD")
    lines.append("$memcpy << EOD")
    lines += [f"{entry['size']} {entry['size'] / entry['ns']:.6g}"
              for entry in data["limits"]["memcpy"] if entry["ns"]]
    lines.append("EOD")
    pairs = _pairs(data)
    if pairs:
        lines += ["$between << EOD", *(f"{size:.6g} {copied:.6g} {best:.6g}"
                                       for size, copied, best in _won(pairs)), "EOD"]
    return lines


def _won(pairs: Sequence[Tuple[int, float, float]]) -> Iterator[Tuple[float, float, float]]:
    """(size, copied, the better of both), and the points where the curves cross:
    gnuplot would look for those as if the scales were linear."""
    for left, right in zip(pairs, pairs[1:]):
        (low, copied, mapped), (high, copied_high, mapped_high) = left, right
        yield low, copied, max(copied, mapped)
        if (mapped > copied) != (mapped_high > copied_high) and mapped != copied:
            part = where_it_is_one(mapped / copied, mapped_high / copied_high)
            both = on_the_way(copied, copied_high, part)
            yield on_the_way(low, high, part), both, both
    size, copied, mapped = pairs[-1]
    yield size, copied, max(copied, mapped)


def _pairs(data: Dict[str, Any]) -> List[Tuple[int, float, float]]:
    """(size, copied, mapped) of the ring, in GB a second."""
    rows = {row["name"]: row for row in data["mechanisms"]}
    return [(copied["size"], copied["stream"]["bytes_per_s"] / 1e9,
             mapped["stream"]["bytes_per_s"] / 1e9)
            for copied, mapped in zip(rows["ring_copied"]["sizes"],
                                      rows["ring_mapped"]["sizes"])
            if copied["stream"] and mapped["stream"]]


def _curve(row: Dict[str, Any], column: str) -> str:
    return (f"${row['name']} using 1:{column} with linespoints {_STYLES[row['name']]} "
            f"title '{row['title']}'")


def _between(data: Dict[str, Any]) -> Optional[str]:
    """Where the mapped ring is above the copied one."""
    if len(_pairs(data)) < 2:
        return None
    return ("$between using 1:2:3 with filledcurves fc rgb '#a3123a' "
            "fs transparent solid 0.13 title 'mapping wins'")


def _mapping(data: Dict[str, Any]) -> List[str]:
    """By how much mapping wins or loses, and a line where it begins to win."""
    found = data["mapping"]
    if not found:
        return []
    rates = {size: max(copied, mapped) for size, copied, mapped in _pairs(data)}
    lines = [f"set label '{entry['faster']:.1f}x' at {entry['size']},{rates[entry['size']]}"
             f" {'left' if entry['size'] == SIZES[0] else 'center'} offset 0,1 boxed front"
             " tc rgb '#a3123a'" for entry in found["ratios"]]
    size = found["wins_from_bytes"]
    if size is None or size <= SIZES[0]:
        return lines
    side = "left offset 0.6,0" if size < 4096 else "right offset -0.6,0"
    return lines + [
        f"set arrow 1 from {size}, graph 0 to {size}, graph 1 nohead dt 3 lc rgb '#a3123a'",
        f"set label 99 'mapping wins from {size_words(size)}' at {size}, graph 0.04 "
        f"{side} tc rgb '#a3123a'"]
