"""Draws the handouts' figures: handouts/figures/NAME.dot -> NAME.svg.

Both are committed, so that a page can be read without Graphviz.  The SVG
carries the sha256 of its source: that is what --check compares, since another
version of Graphviz draws another SVG of the same source.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import List

from grader import process, text
from grader.errors import KitError
from grader.model import Kit
from grader.report.json_report import write_text

_STAMP = "<!-- sha256 of the .dot: {} -->"
_STAMPED = re.compile(r"<!-- sha256 of the \.dot: ([0-9a-f]{64}) -->")


def _sources(kit: Kit) -> List[Path]:
    return sorted((kit.root / "handouts" / "figures").glob("*.dot"))


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
    findings += [f"handouts/figures/{svg.name} has no .dot: add its source or remove it"
                 for svg in sorted(folder.glob("*.svg"))
                 if not svg.with_suffix(".dot").is_file()]
    return findings


def draw(source: Path) -> None:
    try:
        done = process.run(["dot", "-Tsvg", str(source)], timeout_s=60, cap=8 << 20)
    except FileNotFoundError:
        raise KitError("Graphviz is not installed (apt-get install graphviz)") from None
    if done.status != 0:
        raise KitError(f"{source}: {text.clean(done.stderr, 500, 5)}")
    header, _, rest = done.stdout.decode("utf-8").partition("\n")
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
    return 0
