"""`python3 -m grader.tests`: pytest, on two processors where xdist is there."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = ["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    if importlib.util.find_spec("xdist"):
        options += ["-n", "2"]
    return pytest.main(["--rootdir", str(ROOT), *options, *sys.argv[1:]])


sys.exit(main())
