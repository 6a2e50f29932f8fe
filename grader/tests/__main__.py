"""`python3 -m grader.tests`: pytest, on two processors where xdist is there."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = ["-q", "-p", "no:cacheprovider", str(Path(__file__).parent)]
    if importlib.util.find_spec("xdist"):
        import xdist
        options += ["-n", "2"]
        # The last long tests are shared out as well (since 3.0).
        if not xdist.__version__.startswith(("1.", "2.")):
            options += ["--dist", "worksteal"]
    return pytest.main(["--rootdir", str(ROOT), *options, *sys.argv[1:]])


sys.exit(main())
