"""`make bench`: messages against shared memory, measured through the labs' code.

    programs   the student's files and the kit's loops, one program a lab
    runs       each mechanism in turn, round after round
    document   medians, the note's model, the machine: build/bench.json
    table      on the terminal
    plot       build/bench.svg, build/bench.png
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Optional, Tuple

from grader import build, discover, pipeline
from grader.measure import document, plot, programs, runs, table
from grader.measure.mechanisms import MECHANISMS
from grader.measure.progress import progress_of
from grader.model import Kit, Lab
from grader.report.json_report import write_text
from grader.report.style import Style
from grader.sandbox import Isolation, Place
from grader.submission import check_folder


def main(kit: Kit, folder: Path, json: Optional[Path], quick: bool,
         isolation: Isolation, style: Style) -> int:
    check_folder(folder)
    plan = runs.QUICK if quick else runs.FULL
    cores = runs.choose_cores()
    labs = {lab.base: lab for lab in discover.find_labs(kit)}
    with ExitStack() as places, progress_of(style) as progress:
        built, problems, limits = _build(kit, labs, folder, isolation, places)
        mechanisms = [m for m in MECHANISMS if m.base in built]
        progress.begin(plan.rounds * (len(mechanisms) + 1))
        figures = runs.measure(built, mechanisms, limits, plan, cores, progress.step)
    data = document.document(figures, problems, cores, _shown(folder), quick)
    path = json or kit.build_dir / "bench.json"
    write_text(document.dumps(data), path)
    print(table.render(data, style))
    print(_written(path, plot.draw(data, path.parent)))
    return 0


def _build(kit: Kit, labs: Dict[str, Lab], folder: Path, isolation: Isolation,
           places: ExitStack
           ) -> Tuple[Dict[str, programs.Program], Dict[str, str], programs.Program]:
    """(programs by the lab's base, why there is none by the base, the limits).
    The programs' places are closed with `places`."""
    bases = list(dict.fromkeys(m.base for m in MECHANISMS))
    known = [base for base in bases if base in labs and programs.has_driver(kit, base)]
    problems = {base: f"no lab of this kit has {base}.c" for base in bases
                if base not in known}
    built: Dict[str, programs.Program] = {}

    def place() -> Place:
        new = Place(isolation)
        places.callback(new.close)
        build.add_confine(kit, new)
        return new

    limits = programs.build_limits(kit, place())
    with ThreadPoolExecutor(pipeline.cores()) as pool:
        results = pool.map(lambda base: programs.build_program(
            kit, labs[base], folder, place()), known)
        for base, program in zip(known, results):
            if program.error:
                problems[base] = program.error
            else:
                built[base] = program
    return built, problems, limits


def _shown(folder: Path) -> str:
    shown = os.path.relpath(folder)
    return str(folder) if shown.startswith("..") else f"{shown}/"


def _written(path: Path, no_plot: str) -> str:
    shown = os.path.relpath(path)
    if no_plot:
        return f"figures: {shown}\n{no_plot}"
    base = shown[: -len(path.suffix)] if path.suffix else shown
    parent = os.path.dirname(base)
    drawn = ", ".join(os.path.join(parent, f"bench.{kind}") for kind in ("svg", "png"))
    return f"figures: {shown}; plot: {drawn}"
