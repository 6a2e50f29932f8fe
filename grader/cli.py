"""The command line: `python3 -m grader COMMAND`.

Exit statuses: 0 graded; 1 points were lost and --strict was given, check-kit
found something, or a lab of `grade --quick` does not build; 2 the kit or the
machine is at fault.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import List, Optional, Sequence

from grader.errors import KitError

EXIT_OK, EXIT_LOST, EXIT_FAULT, EXIT_INTERRUPTED = 0, 1, 2, 130

_MODULES = {"rich": "python3-rich", "jsonschema": "python3-jsonschema",
            "tomli": "python3-tomli"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    if threading.current_thread() is threading.main_thread():  # no other one may
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda signum, _: sys.exit(128 + signum))
    try:
        options = _parser().parse_args(argv)
        return options.command(options)
    except KitError as error:
        sys.stdout.flush()
        print(f"grader: {error}", file=sys.stderr)
        return EXIT_FAULT
    except ModuleNotFoundError as error:
        if error.name not in _MODULES:
            raise
        print(f"grader: Python's {error.name} is not installed "
              f"(apt-get install {_MODULES[error.name]})", file=sys.stderr)
        return EXIT_FAULT
    except KeyboardInterrupt:
        print("\ngrader: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m grader", description="Grades the labs of the IPC lab kit.")
    parser.add_argument("--kit", type=Path, metavar="DIR",
                        help="the kit's folder (default: the one this is part of)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    _add_grade(commands)
    _add_check_kit(commands)
    _add_bench(commands)
    _add(commands, "doctor", _doctor, "say what this machine can and cannot do")
    for name, command, what in (
            ("stubs", _stubs, "make the stubs in labs/ from solutions/"),
            ("figures", _figures, "draw the handouts' figures")):
        _add(commands, name, command, what).add_argument(
            "--check", action="store_true", help="only say which are out of date")
    debug = _add(commands, "debug", _debug,
                 "run one test with a debugger in the process that runs your code")
    debug.add_argument("--lab", type=lab_number, metavar="N")
    debug.add_argument("--test", metavar="NAME")
    _add_from(debug)
    replay = _add(commands, "replay", _replay,
                  "run one schedule of a small case again, and show its steps")
    replay.add_argument("--lab", type=lab_number, metavar="N")
    replay.add_argument("--schedule", metavar="TEST:CHOICES",
                        help="as the report of the failed test has it")
    replay.add_argument("--gdb", action="store_true", help="in the debugger")
    _add_from(replay)
    demo = _add(commands, "demo", _demo, "build a lab's demo program")
    demo.add_argument("--lab", type=lab_number, required=True, metavar="N")
    _add_from(demo)
    return parser


def _add(commands, name: str, command, what: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(command=command)
    return parser


def _add_from(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR",
                        help="the files to use in place of labs/")


def _add_labs_and_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lab", type=lab_number, action="append", default=[], metavar="N",
                        help="this lab only (may be given more than once)")
    parser.add_argument("--jobs", type=_positive, metavar="N",
                        help="so many at a time (default: one more than there are "
                             "processors)")
    _add_isolation(parser)


def _add_isolation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--isolation", default="auto",
                        choices=("auto", "namespaces", "uid", "none"),
                        help="how labs are kept apart from the machine")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _add_grade(commands) -> None:
    parser = _add(commands, "grade", _grade, "build, run and score labs")
    _add_from(parser)
    _add_labs_and_jobs(parser)
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="where report.json goes (default: build/report.json)")
    parser.add_argument("--strict", action="store_true",
                        help="exit 1 when points were lost")
    parser.add_argument("--quick", action="store_true",
                        help="natively only, and a short report")
    parser.add_argument("--test", action="append", default=[], metavar="NAME",
                        help="this test only, by its name or as a report prints it; "
                        "several with commas, or given more than once")
    parser.add_argument("--width", type=_positive, metavar="COLUMNS",
                        help="columns of the report (default: the terminal's, or 80)")


def _add_check_kit(commands) -> None:
    parser = _add(commands, "check-kit", _check_kit,
                  "check that solutions, stubs, mistakes and handouts keep the rules")
    _add_labs_and_jobs(parser)
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N",
                        help="grade each solution and mistake so many times")


def _add_bench(commands) -> None:
    parser = _add(commands, "bench", _bench,
                  "measure messages against shared memory through the labs' code")
    _add_from(parser)
    parser.add_argument("--quick", action="store_true", help="under 10 s, and rougher")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="where the figures go, with the plot beside them "
                        "(default: build/bench.json)")
    _add_isolation(parser)


# ---------------------------------------------------------------- commands


def lab_number(text: str) -> int:
    """4, or lab4 as the Makefile's targets are called."""
    return int(text[len("lab"):] if text.startswith("lab") else text)


def test_names(given: Sequence[str]) -> List[str]:
    """Reports print a test's name as a sentence: both forms are understood."""
    names = [name.strip() for option in given for name in option.split(",")]
    return ["_".join(name.split()) for name in names if name]


def _grade(options: argparse.Namespace) -> int:
    from grader import discover, pipeline, run, submission
    from grader.report.style import stdout_style

    kit = discover.find_kit(options.kit)
    labs = list(discover.find_labs(kit, options.lab))
    folder = options.folder if options.folder is not None else kit.root / "labs"
    submission.check_folder(folder)
    options.test = test_names(options.test)
    if options.test:
        pipeline.check_test_names(labs, options.test)
        labs = [pipeline.narrowed(lab, options.test) for lab in labs]
        labs = [lab for lab in labs if lab.groups]
    isolation = run.choose_isolation(
        options.isolation, kit.build_dir / "isolation" if options.quick else None)
    jobs = [pipeline.Job(kit, lab, folder, isolation, options.quick,
                         tuple(test.name for test in lab.tests) if options.test else ())
            for lab in labs]
    style = stdout_style(options.width)
    at_once = options.jobs or pipeline.labs_at_once()
    if options.quick:
        return _quick(pipeline.grade(jobs, at_once), style, options.strict)
    return _full(options, kit, labs, jobs, at_once, style)


def _quick(report, style, strict: bool) -> int:
    from grader.model import MISSING, NOT_BUILT, PASSED
    from grader.report import quick

    print(quick.render(report, style), end="")
    if report.broken:
        print("grader: the kit or the machine is at fault, not you; try make doctor",
              file=sys.stderr)
        return EXIT_FAULT
    unbuilt = any(lab.status in (NOT_BUILT, MISSING) for lab in report.labs)
    lost = any(o.status != PASSED for lab in report.labs for o in lab.outcomes)
    return EXIT_LOST if unbuilt or (strict and lost) else EXIT_OK


def _full(options: argparse.Namespace, kit, labs: List, jobs: List, at_once: int,
          style) -> int:
    from grader import pipeline, progress
    from grader.report import json_report, terminal

    with progress.progress_of(labs, style) as notify:
        report = pipeline.grade(jobs, at_once, notify)
    path = options.json or kit.build_dir / "report.json"
    json_report.write(report, path)
    terminal.render(report, sys.stdout, style, os.path.relpath(path))
    if report.broken:
        return EXIT_FAULT
    return EXIT_LOST if options.strict and report.score < report.max else EXIT_OK


def _check_kit(options: argparse.Namespace) -> int:
    from grader import checkkit, discover, pipeline, run

    kit = discover.find_kit(options.kit)
    return checkkit.main(kit, options.lab, run.choose_isolation(options.isolation),
                         options.jobs or pipeline.labs_at_once(), options.repeat)


def _bench(options: argparse.Namespace) -> int:
    from grader import discover, measure, run
    from grader.report.style import stdout_style

    kit = discover.find_kit(options.kit)
    folder = options.folder if options.folder is not None else kit.root / "labs"
    return measure.main(kit, folder, options.json, options.quick,
                        run.choose_isolation(options.isolation), stdout_style())


def _doctor(options: argparse.Namespace) -> int:
    from grader import doctor
    return doctor.main()


def _stubs(options: argparse.Namespace) -> int:
    from grader import discover, stubs
    return stubs.main(discover.find_kit(options.kit), options.check)


def _figures(options: argparse.Namespace) -> int:
    from grader import discover, figures
    return figures.main(discover.find_kit(options.kit), options.check)


def _debug(options: argparse.Namespace) -> int:
    from grader import debug, discover
    if options.lab is None or not options.test:
        raise KitError("say which test to run: make debug LAB=4 TEST=name")
    kit = discover.find_kit(options.kit)
    lab = discover.find_labs(kit, [options.lab])[0]
    return debug.debug(kit, lab, options.folder or kit.root / "labs",
                       *test_names([options.test])[:1])


def _replay(options: argparse.Namespace) -> int:
    from grader import debug, discover
    test, _, choices = (options.schedule or "").partition(":")
    if options.lab is None or not test:
        raise KitError("say which schedule to run, as the report has it: "
                       "make replay LAB=6 SCHEDULE=test:3:1")
    kit = discover.find_kit(options.kit)
    lab = discover.find_labs(kit, [options.lab])[0]
    return debug.debug(kit, lab, options.folder or kit.root / "labs",
                       *test_names([test])[:1], schedule=choices, gdb=options.gdb)


def _demo(options: argparse.Namespace) -> int:
    from grader import debug, discover
    kit = discover.find_kit(options.kit)
    lab = discover.find_labs(kit, [options.lab])[0]
    return debug.demo(kit, lab, options.folder or kit.root / "labs")
