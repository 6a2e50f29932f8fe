"""The programs that measure: one a lab, and one for the machine's limits.

The kit's half (loops, clock, the lab's driver) is compiled once and cached; the
student's file is compiled as for grading, where nothing but it and the lab's
headers can be seen, but with -O2.  Neither half can call or replace a function
of the other's but the lab's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from grader import build, text
from grader.model import Kit, Lab
from grader.sandbox import Mount, Place
from grader.submission import read_submission

FLAGS = tuple("-O2" if flag == "-O0" else flag for flag in build.STUDENT_FLAGS
              if flag != "-fno-omit-frame-pointer")
_LIMITS = ("limits.c", "pair.c", "stats.c")
_SHARED = ("main.c", "measure.c", "pair.c", "stats.c")


@dataclass(frozen=True)
class Program:
    """A program in its place, or why there is none."""

    place: Place
    error: str = ""

    @property
    def path(self) -> str:
        return self.place.path("out/bench")


def build_limits(kit: Kit, place: Place) -> Program:
    cc = build.compiler()
    program = _cached_part(kit, cc, "limits", _LIMITS, None) / "bench"
    place.add(program, "out", 0o750)
    return Program(place)


def build_program(kit: Kit, lab: Lab, folder: Path, place: Place) -> Program:
    """Compiles the student's files of a lab and links them with its driver."""
    submission = read_submission(lab, folder)
    if submission.status:
        return Program(place, submission.problem)
    cc = build.compiler()
    part = _cached_part(kit, cc, lab.base, (*_SHARED, f"drive_{lab.base}.c"), lab)
    build.place_sources(lab, submission, place)
    for name in ("bench.o", "api"):
        place.add(part / name, "kit")
    return Program(place, _compile(lab, place, cc, (part / "api").read_text().split()))


def has_driver(kit: Kit, base: str) -> bool:
    return (_home(kit) / f"drive_{base}.c").is_file()


def _home(kit: Kit) -> Path:
    return kit.root / "common" / "bench"


def _cached_part(kit: Kit, cc: str, name: str, files: Sequence[str],
                 lab: Optional[Lab]) -> Path:
    """build/cache/bench-…: the program `bench`, or bench.o with the names that
    it wants of the student's object where there is one."""
    home = _home(kit)
    sources = [home / file for file in files] + [kit.root / "common" / "names.c"]
    headers = [home / "bench.h", kit.root / "common" / "names.h"]
    contents = build.named(kit.root, [*sources, *headers])
    contents += build.named(lab.dir, lab.headers) if lab else []
    contents += build.named(Path(__file__).parent, [Path(__file__)])

    def make(folder: Path) -> None:
        includes = [f"-I{kit.root / 'common'}"] + ([f"-I{lab.dir}"] if lab else [])
        objects = []
        for source in sources:
            objects.append(f"{source.stem}.o")
            build.tool([cc, *FLAGS, *includes, "-c", str(source), "-o", objects[-1]],
                       folder, str(source))
        if not lab:
            build.tool([cc, "-o", "bench", *objects, *build.LIBRARIES], folder, name)
            return
        build.tool(["ld", "-r", "-o", "bench.o", *objects], folder, name)
        build.tool(["objcopy", "--keep-global-symbol=main", "bench.o"], folder, name)
        wanted = build.missing_names(cc, folder, "bench.o")
        (folder / "api").write_text("".join(f"{function}\n" for function in wanted))

    return build.cached(kit, f"bench-{name}-{build.key_of(cc, contents)}", make)


def _compile(lab: Lab, place: Place, cc: str, api: List[str]) -> str:
    """The error, or nothing."""
    place.make("obj")
    place.make("out")
    kit, obj, out = place.path("kit"), place.path("obj"), place.path("out")
    done = build.in_place(
        place, "\n".join([*build.object_lines(lab, place, "student", (*FLAGS, "-w")),
                          " ".join(build.symbols_of(f"'{obj}/student.o'"))]),
        "src", [Mount("src"), Mount("obj", writable=True)])
    diagnostics = text.clean(done.stderr, 60_000, 2000)
    if done.status != 0:
        return "does not build: " + build.compile_errors(lab, done, diagnostics)[0]
    defined = {symbol for kind, symbol in build.parse_symbols(done.stdout) if kind in "TW"}
    missing = [name for name in api if name not in defined]
    if missing:
        return f"{missing[0]} is not defined in {' or '.join(lab.files)}"
    script = (
        f"objcopy --keep-global-symbols='{kit}/api' '{obj}/student.o' '{obj}/linked.o'\n"
        f"'{cc}' -o '{out}/bench' '{kit}/bench.o' '{obj}/linked.o' "
        + " ".join(build.LIBRARIES))
    done = build.in_place(place, script, "obj", [
        Mount("kit"), Mount("obj", writable=True), Mount("out", writable=True)])
    if done.status == 0:
        return ""
    return "does not link: " + build.link_errors(text.clean(done.stderr, 20_000, 400))[0]
