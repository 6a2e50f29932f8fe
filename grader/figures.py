"""Draws the handouts' figures: handouts/figures/NAME.dot -> NAME.svg, and the
plot of a run of `make bench`, bench.json -> bench.svg, whose table goes into
README.md.

All are committed, so that a page can be read without Graphviz and gnuplot.  An
SVG carries the sha256 of its source: that is what --check compares, since
another version of Graphviz draws another SVG of the same source.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import List

from grader import process, text
from grader.errors import KitError
from grader.model import Kit
from grader.report.json_report import write_text

_STAMP = "<!-- sha256 of the source: {} -->"
_STAMPED = re.compile(r"<!-- sha256 of the source: ([0-9a-f]{64}) -->")
_BEGIN = "<!-- make figures: the table of handouts/figures/bench.json -->\n"
_END = "<!-- end of the table -->\n"


def _sources(kit: Kit) -> List[Path]:
    folder = kit.root / "handouts" / "figures"
    return [*sorted(folder.glob("*.dot")), *folder.glob("bench.json")]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_current(source: Path) -> bool:
    svg = source.with_suffix(".svg")
    if not svg.is_file():
        return False
    match = _STAMPED.search(svg.read_text(encoding="utf-8")[:1000])
    return bool(match) and match.group(1) == _sha256(source)


def out_of_date(kit: Kit) -> List[str]:
    folder = kit.root / "handouts" / "figures"
    findings = [f"handouts/figures/{source.with_suffix('.svg').name} is not drawn from "
                f"{source.name} as it is now: run make figures"
                for source in _sources(kit) if not _is_current(source)]
    drawn = {source.with_suffix(".svg") for source in _sources(kit)}
    findings += [f"handouts/figures/{svg.name} has no source: add it or remove the figure"
                 for svg in sorted(folder.glob("*.svg")) if svg not in drawn]
    if _with_table(kit) != _readme(kit):
        findings.append("README.md: its table is not that of handouts/figures/bench.json: "
                        "run make figures")
    return findings


def _readme(kit: Kit) -> str:
    page = kit.root / "README.md"
    return page.read_text("utf-8") if page.is_file() else ""


def _with_table(kit: Kit) -> str:
    """README.md with the table of bench.json between its two marks."""
    from grader.measure import table
    from grader.report.style import Style

    page, source = _readme(kit), kit.root / "handouts" / "figures" / "bench.json"
    if not source.is_file() or _BEGIN not in page or _END not in page:
        return page
    head, _, rest = page.partition(_BEGIN)
    shown = table.render(json.loads(source.read_text("utf-8")),
                         Style(unicode=True, color=False, width=80, terminal=False))
    lines = "".join(f"    {line}".rstrip() + "\n" for line in shown.splitlines())
    return f"{head}{_BEGIN}\n{lines}\n{_END}{rest.partition(_END)[2]}"


def draw(source: Path) -> None:
    if source.suffix == ".json":
        from grader.measure import plot
        new = source.with_suffix(".svg")
        problem = plot.draw_one(json.loads(source.read_text("utf-8")), "svg", new)
        if problem:
            raise KitError(problem)
        _write_stamped(new.read_text("utf-8"), source)
        return
    try:
        done = process.run(["dot", "-Tsvg", str(source)], timeout_s=60, cap=8 << 20)
    except FileNotFoundError:
        raise KitError("Graphviz is not installed (apt-get install graphviz)") from None
    if done.status != 0:
        raise KitError(f"{source}: {text.clean(done.stderr, 500, 5)}")
    _write_stamped(done.stdout.decode("utf-8"), source)


def _write_stamped(svg: str, source: Path) -> None:
    header, _, rest = svg.partition("\n")
    stamp = _STAMP.format(_sha256(source))
    write_text(f"{header}\n{stamp}\n{rest}", source.with_suffix(".svg"))


def main(kit: Kit, check: bool) -> int:
    if check:
        findings = out_of_date(kit)
        for finding in findings:
            print(finding)
        return 1 if findings else 0
    for source in _sources(kit):
        if not _is_current(source):
            draw(source)
            print(f"drew {source.with_suffix('.svg').relative_to(kit.root)}")
    if _with_table(kit) != _readme(kit):
        write_text(_with_table(kit), kit.root / "README.md")
        print("wrote the table in README.md")
    return 0
