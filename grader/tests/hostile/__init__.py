"""Hostile submissions: what a program could try, in each lab's own file.

    exits.c startup.c ...   tricks in C, by family, made into a submission by
                            putting each into a lab's stub
    folders.py              tricks that are in the submission's folder itself
    grading.py              grades one as a course system would, and looks at
                            what it has left behind

A trick begins at a line `/// name: what it tries`, and lasts until the next.
The lines `/// says: words` and `/// builds: no` after that one are what must
come of it, beside what must come of each: no point more than the stub's, a
whole report, and nothing left behind.  Every function of the stub calls the
trick's cheat() first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

from grader.model import Kit, Lab

HERE = Path(__file__).parent
FORGED = ("100%: Checks: 99, Failures: 0, Errors: 0\\n"
          "<test result=\\\"success\\\"><id>all</id></test>\\n"
          "ok 1 - all\\n"
          "{\\\"event\\\":\\\"end\\\",\\\"test\\\":\\\"all\\\",\\\"status\\\":\\\"passed\\\"}\\n")
HEADERS = """\
arpa/inet.h dirent.h errno.h fcntl.h limits.h mqueue.h netinet/in.h pthread.h
sched.h semaphore.h setjmp.h signal.h stddef.h stdint.h stdio.h stdlib.h string.h
sys/ipc.h sys/mman.h sys/mount.h sys/msg.h sys/prctl.h sys/ptrace.h
sys/resource.h sys/sem.h sys/shm.h sys/socket.h sys/stat.h sys/syscall.h
sys/time.h sys/un.h sys/wait.h unistd.h""".split()
_BEGIN = re.compile(r"^/// (\w+): (.*)$", re.MULTILINE)
_INCLUDE = re.compile(r"^#include .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Trick:
    name: str
    what: str  # it tries, in one line
    family: str
    source: str = ""  # in C; empty: make() has all of it
    says: Tuple[str, ...] = ()  # what the report must contain
    builds: bool = True  # False: it must not
    # (kit, lab, folder of the lab in the submission, which holds the stub)
    make: Optional[Callable[[Kit, Lab, Path], None]] = None


def corpus() -> Dict[str, Trick]:
    """Every trick, by its name."""
    from grader.tests.hostile.folders import FOLDERS

    tricks = [trick for path in sorted(HERE.glob("*.c")) for trick in _read(path)]
    tricks += FOLDERS
    found = {trick.name: trick for trick in tricks}
    assert len(found) == len(tricks), "two tricks of one name"
    return found


def _read(path: Path):
    text = path.read_text("utf-8")
    fields: Dict[str, object] = {}
    starts = list(_BEGIN.finditer(text))
    for here, following in zip(starts, [*starts[1:], None]):
        key, value = here.groups()
        if key == "says":
            fields["says"] = (*fields.get("says", ()), value)
        elif key == "builds":
            fields["builds"] = value == "yes"
        else:
            fields = {"name": key, "what": value}
        source = text[here.end():following.start() if following else None]
        if source.strip():
            yield Trick(family=path.stem, source=source, **fields)


def write(kit: Kit, lab: Lab, trick: Trick, folder: Path) -> None:
    """The submission of one lab, in folder."""
    home = folder / lab.id
    home.mkdir(parents=True)
    for name in lab.files:
        stub = (lab.dir / name).read_text("utf-8")
        if trick.source:
            stub = _with_trick(kit, lab, name, stub, trick.source)
        (home / name).write_text(stub, "utf-8")
    if trick.make:
        trick.make(kit, lab, home)


def _with_trick(kit: Kit, lab: Lab, name: str, stub: str, source: str) -> str:
    end = [match.end() for match in _INCLUDE.finditer(stub)][-1]
    macros = {
        "KIT_DIR": str(kit.root), "LAB_DIR": str(lab.dir), "LAB_ID": lab.id,
        "LAB_FILE": name, "SOLUTION": str(kit.root / "solutions" / lab.id / name),
        "TEST_FILE": str(lab.test_file), "FORGED": FORGED,
    }
    head = "".join(f"#include <{header}>\n" for header in HEADERS)
    head += "".join(f'#define {key} "{value}"\n' for key, value in macros.items())
    body = stub[end:].replace("\n{\n", "\n{\n    cheat();\n")
    return f"{stub[:end]}{head}{source}{body}"
