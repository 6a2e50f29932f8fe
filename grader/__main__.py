"""`python3 -m grader`: see cli.py."""

import sys

from grader.cli import main

sys.exit(main())
