"""The one exception that means: the kit or the machine is at fault (exit 2).

A fault of the student's is never an exception: it is data in the report.
"""


class KitError(Exception):
    """A clear line for whoever can mend it: what, where, and what to do."""
