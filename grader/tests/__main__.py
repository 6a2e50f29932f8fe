"""`python3 -m grader.tests`: pytest, with two workers a processor where xdist is
there: many tests wait for a time-out."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = ["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    if importlib.util.find_spec("xdist"):
        options += ["-n", str(2 * len(os.sched_getaffinity(0)))]
    return pytest.main(["--rootdir", str(ROOT), *options, *sys.argv[1:]])


sys.exit(main())
