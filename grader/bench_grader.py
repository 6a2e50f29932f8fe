"""`make bench-grader`: what the grader costs over the bare commands.

Three comparisons, measured in turn (bare, grader, bare, grader, ...) so that a
change in the machine's load meets both; medians of ten:

    make labN   after an edit, against cc, objcopy, link and run of the same
                programs: at most 1.5 times
    make grade  of all labs, against compile, run and Valgrind of each, one
                command after the other: less
    isolation   make grade of all labs as on this machine by default, against
                ISOLATION=none: at most 1.1 times
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

from grader import build, discover
from grader.model import Kit, Lab
from grader.run import VALGRIND

_LAB_LIMIT, _GRADE_LIMIT, _ISOLATION_LIMIT = 1.5, 1.0, 1.1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m grader.bench_grader",
                                     description="Times the grader.")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    kit = discover.find_kit()
    labs = discover.find_labs(kit)
    rows = []
    with tempfile.TemporaryDirectory(prefix="kit-bench-") as name:
        submission = Path(name)
        bares = {lab.id: Bare(kit, lab, submission / lab.id) for lab in labs}
        for lab in labs:
            bare = bares[lab.id]
            rows.append((f"make lab{lab.number}", *_compare(
                rounds, bare.build_and_run,
                lambda bare=bare, lab=lab: _make(kit, f"lab{lab.number}", bare.folder),
                bare.edit), _LAB_LIMIT))

        def all_bare() -> None:
            for bare in bares.values():
                bare.build_and_run()
                bare.run_valgrind()

        def edit() -> None:
            for bare in bares.values():
                bare.edit()

        def grade(*options: str) -> None:
            _make(kit, "grade", submission, *options)

        rows.append(("make grade",
                     *_compare(rounds, all_bare, grade, edit), _GRADE_LIMIT))
        rows.append(("isolation", *_compare(
            rounds, lambda: grade("ISOLATION=none"), grade, edit), _ISOLATION_LIMIT))
    return _print(rows, rounds)


class Bare:
    """The commands that one would type for a lab without the grader."""

    def __init__(self, kit: Kit, lab: Lab, folder: Path) -> None:
        self.folder = folder
        self._edits = 0
        folder.mkdir()
        self._names = lab.files
        for name in lab.files:
            source = kit.root / "solutions" / lab.id / name
            (folder / name).write_bytes(source.read_bytes())
        parts = build.build_kit_parts(kit, lab)
        api = folder / "api"
        api.write_text("".join(f"{name}\n" for name in parts.api))
        flags = " ".join(build.STUDENT_FLAGS)
        cc, libraries = build.compiler(), " ".join(build.LIBRARIES)
        objects = " ".join(f"{name}.o" for name in lab.files)
        self._build = [f"{cc} {flags} -I{shlex.quote(str(lab.dir))} -c {name} -o {name}.o"
                       for name in lab.files]
        self._build += [
            f"ld -r -o student.o {objects}" if len(lab.files) > 1
            else f"cp {objects} student.o",
            f"objcopy --keep-global-symbols=api "
            f"--redefine-syms={shlex.quote(str(parts.shims))} student.o linked.o",
            f"{cc} -o subject {shlex.quote(str(parts.subject))} linked.o {libraries}"]
        sources = " ".join(f"--source {name}" for name in lab.files)
        judge = f"{shlex.quote(str(parts.judge))} --shared {sources} --xml bare.xml"
        self._run = f"{judge} -- ./subject"
        self._valgrind = (f"{judge} --valgrind -- {' '.join(VALGRIND)} "
                          "--xml-file=vg.%p.xml ./subject")

    def edit(self) -> None:
        """What a student does before make: the file changes."""
        self._edits += 1
        path = self.folder / self._names[0]
        text = path.read_text().split("\n/* edit ")[0]
        path.write_text(f"{text}\n/* edit {self._edits} */\n")

    def build_and_run(self) -> None:
        for command in [*self._build, self._run]:
            self._do(command)

    def run_valgrind(self) -> None:
        self._do(self._valgrind)
        for path in self.folder.glob("vg.*.xml"):
            path.unlink()

    def _do(self, command: str) -> None:
        subprocess.run(shlex.split(command), cwd=self.folder, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


def _make(kit: Kit, goal: str, folder: Path, *options: str) -> None:
    subprocess.run(["make", "--no-print-directory", goal, f"FROM={folder}",
                    f"JSON={folder}/report.json", f"PYTHON={sys.executable}", *options],
                   cwd=kit.root, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "MAKEFLAGS": ""})


def _compare(rounds: int, bare: Callable[[], None], ours: Callable[[], None],
             before: Callable[[], object]) -> Tuple[float, float]:
    """Medians in seconds; one round more is not counted (caches)."""
    times: Dict[str, List[float]] = {"bare": [], "ours": []}
    for _ in range(rounds + 1):
        for name, work in (("bare", bare), ("ours", ours)):
            before()
            start = time.monotonic()
            work()
            times[name].append(time.monotonic() - start)
    return (statistics.median(times["bare"][1:]), statistics.median(times["ours"][1:]))


def _print(rows: Sequence[Tuple[str, float, float, float]], rounds: int) -> int:
    print(f"medians of {rounds}, in ms; bare: the same programs without the grader, and "
          "for isolation the grader without it")
    print(f"{'command':14}{'bare':>8}{'grader':>8}{'ratio':>8}{'limit':>8}")
    good = True
    for name, bare, ours, limit in rows:
        ratio = ours / bare
        good = good and ratio <= limit
        print(f"{name:14}{bare * 1000:8.0f}{ours * 1000:8.0f}{ratio:8.2f}{limit:8.2f}"
              + ("" if ratio <= limit else "  over the limit"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
