"""`make debug` and `make demoN`: a lab's programs in the student's own hands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Optional, Sequence

from grader import build as build_step
from grader import pipeline, process, run, sandbox, text
from grader.errors import KitError
from grader.model import Kit, Lab
from grader.submission import check_folder, read_submission


def debug(kit: Kit, lab: Lab, folder: Path, test: str,
          schedule: Optional[str] = None, gdb: bool = True) -> int:
    """Builds, then runs one test with gdb in the process that runs the
    student's code: no namespaces, no other user, this terminal.  With a
    schedule, the test's small case is run in that one alone, and it is shown."""
    check_folder(folder)
    pipeline.check_test_names([lab], [test])
    submission = read_submission(lab, folder)
    if submission.status:
        return _not_built(submission.problem, ())
    place = sandbox.Place(sandbox.Isolation(sandbox.NONE))
    try:
        built = build_step.build(kit, lab, submission, place)
        if built.status:
            return _not_built("the lab does not build", built.errors)
        return run.debug(lab, built, place, test, schedule, gdb)
    finally:
        run.sweep(place)
        place.close()


def demo(kit: Kit, lab: Lab, folder: Path) -> int:
    """Builds build/demo/demo_X from the demo and the student's file, and says
    how to run it."""
    check_folder(folder)
    submission = read_submission(lab, folder)
    if submission.status:
        return _not_built(submission.problem, ())
    if not lab.demo_file.is_file():
        raise KitError(f"{lab.demo_file} is missing")
    out = kit.build_dir / "demo"
    source = out / lab.id
    source.mkdir(parents=True, exist_ok=True)
    for file in submission.files:
        (source / file.name).write_bytes(file.data)
    program = out / lab.demo_file.stem
    argv = [build_step.compiler(), *build_step.STUDENT_FLAGS,
            f"-I{kit.root / 'common'}", f"-I{lab.dir}", *lab.files, str(lab.demo_file),
            "-o", str(program), *build_step.LIBRARIES]
    done = process.run(argv, timeout_s=60, cwd=str(source))
    words = text.clean(done.stderr, 8000, 60)
    if words:
        print(words, file=sys.stderr)
    if done.status != 0:
        return 1
    return _show_usage(program)


def _show_usage(program: Path) -> int:
    """A demo without arguments prints the commands of its two roles."""
    try:
        shown = str(program.relative_to(Path.cwd()))
    except ValueError:
        shown = str(program)
    done = process.run([shown if "/" in shown else f"./{shown}"], timeout_s=10)
    print(f"built {shlex.quote(shown)}")
    usage = text.clean(done.stdout + done.stderr, 4000, 40)
    # As one has to type it here.
    print(usage.replace(shown, program.name).replace(program.name, shlex.quote(shown)))
    return 0


def _not_built(problem: str, errors: Sequence[str]) -> int:
    print(problem)
    for error in errors:
        print(f"  {error}")
    return 1
