"""Tricks that are in the submission's folder: what lies there, and as what."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Callable

from grader.model import Kit, Lab
from grader.tests.hostile import FORGED, Trick

FOLDERS = []
_CHEAT = "cp -r / . ; touch owned"


def _trick(what: str, *says: str, builds: bool = True):
    def note(make: Callable[[Kit, Lab, Path], None]):
        FOLDERS.append(Trick(make.__name__, what, "folders", says=says, builds=builds,
                             make=make))
        return make
    return note


def _file(lab: Lab, home: Path) -> Path:
    """The student's file, taken away."""
    path = home / lab.files[0]
    path.unlink()
    return path


# -------------------------------------------------- the file is something else


@_trick("a link to the solution", "a link to a file outside of the submission",
        builds=False)
def link_to_the_solution(kit, lab, home):
    _file(lab, home).symlink_to(kit.root / "solutions" / lab.id / lab.files[0])


@_trick("a link to the solution by way of another one",
        "a link to a file outside of the submission", builds=False)
def link_to_a_link(kit, lab, home):
    (home / "other.c").symlink_to(kit.root / "solutions" / lab.id / lab.files[0])
    _file(lab, home).symlink_to("other.c")


@_trick("the lab's folder is a link to the solutions", builds=False)
def folder_that_is_a_link(kit, lab, home):
    _file(lab, home)
    home.rmdir()
    home.symlink_to(kit.root / "solutions" / lab.id)


@_trick("a link to itself", "a link that leads nowhere", builds=False)
def link_to_itself(kit, lab, home):
    _file(lab, home).symlink_to(lab.files[0])


@_trick("a link to a secret file", "a link to a file outside of the submission",
        builds=False)
def link_to_a_secret(kit, lab, home):
    _file(lab, home).symlink_to("/etc/shadow")


@_trick("a link to a device", builds=False)
def link_to_a_device(kit, lab, home):
    _file(lab, home).symlink_to("/dev/zero")


@_trick("a FIFO that nobody writes to", "not a regular file", builds=False)
def fifo(kit, lab, home):
    os.mkfifo(_file(lab, home))


@_trick("a socket", "not a regular file", builds=False)
def socket_file(kit, lab, home):
    path = _file(lab, home)
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(home, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


@_trick("a folder", "a folder; a C file is wanted", builds=False)
def folder(kit, lab, home):
    _file(lab, home).mkdir()


@_trick("a file that may not be read", builds=False)
def unreadable(kit, lab, home):
    path = _file(lab, home)
    path.write_bytes(b"")
    path.chmod(0)


@_trick("an empty file", "the file is empty", builds=False)
def empty(kit, lab, home):
    _file(lab, home).write_bytes(b"")


@_trick("no file", builds=False)
def nothing_at_all(kit, lab, home):
    _file(lab, home)


@_trick("a program in place of its source", "a binary file", builds=False)
def binary(kit, lab, home):
    _file(lab, home).write_bytes(Path("/bin/true").read_bytes())


@_trick("a source of 100 MB", "at most 1048576 are read", builds=False)
def hundred_megabytes(kit, lab, home):
    with _file(lab, home).open("wb") as file:
        file.write(b"int x;\n")
        file.truncate(100 << 20)


@_trick("a file of a terabyte that is all hole", "at most 1048576 are read",
        builds=False)
def terabyte(kit, lab, home):
    with _file(lab, home).open("wb") as file:
        file.truncate(1 << 40)


@_trick("one line of a megabyte")
def long_line(kit, lab, home):
    path = home / lab.files[0]
    text = path.read_text("utf-8")
    path.write_text(f"{text}/*{'x' * ((1 << 20) - len(text.encode()) - 5)}*/\n", "utf-8")


@_trick("a million brackets", builds=False)
def brackets(kit, lab, home):
    _file(lab, home).write_bytes(b"int x = " + b"(" * 1_000_000 + b"1;\n")


@_trick("bytes that are no text", builds=False)
def noise(kit, lab, home):
    _file(lab, home).write_bytes(bytes(range(1, 256)) * 3000)


@_trick("deep nesting of blocks", builds=False)
def deep_blocks(kit, lab, home):
    path = home / lab.files[0]
    path.write_text(f"{path.read_text('utf-8')}void f(void);\nvoid f(void)\n"
                    f"{'{' * 200_000}\n", "utf-8")


# ------------------------------------------------------- others lie beside it


def _beside(home: Path, files: dict) -> None:
    for name, words in files.items():
        (home / name).write_text(words)
        (home.parent / name).write_text(words)


@_trick("start files of tools")
def start_files(kit, lab, home):
    _beside(home, {
        ".gdbinit": f"shell {_CHEAT}\n", ".valgrindrc": "--error-exitcode=0 --quiet\n",
        ".bashrc": _CHEAT, ".profile": _CHEAT, ".clang-format": "Language: None\n",
        "specs": "*cc1:\n-DOWNED\n", ".rpath": "/tmp", ".gitattributes": "* text\n",
        "pyvenv.cfg": "home = /tmp\n"})


@_trick("build files")
def build_files(kit, lab, home):
    make = f"all:\n\t{_CHEAT}\n.DEFAULT:\n\t{_CHEAT}\n"
    _beside(home, {"Makefile": make, "GNUmakefile": make, "makefile": make,
                   "CMakeLists.txt": "execute_process(COMMAND touch owned)\n",
                   "compile_flags.txt": "-DOWNED\n"})


@_trick("files of Python's and of the kit's grader")
def python_files(kit, lab, home):
    code = "import os\nos._exit(0)\n"
    _beside(home, {name: code for name in (
        "conftest.py", "sitecustomize.py", "usercustomize.py", "grader.py", "json.py",
        "subprocess.py", "score.py", "__init__.py")})
    _beside(home, {"pytest.ini": "[pytest]\naddopts = --collect-only\n",
                   "setup.cfg": "[tool:pytest]\n", "pyproject.toml": "[project]\n"})


@_trick("a rubric, tests and headers of its own")
def own_lab(kit, lab, home):
    rubric = (lab.dir / "lab.toml").read_text("utf-8")
    _beside(home, {
        "lab.toml": rubric.replace("required", "forbidden"),
        lab.test_file.name: '#include "kit.h"\nTEST(all, all)\n{\n}\n',
        "kit.h": "#define TEST(a, b) void b(void)\n",
        "stdio.h": "#error owned\n", "errno.h": "#define ENOSYS 0\n",
        lab.headers[0].name: "#define _exit(n) exit(n)\n"})


@_trick("objects and libraries under the names that the build uses")
def own_objects(kit, lab, home):
    true = Path("/bin/true").read_bytes()
    for name in ("judge", "subject", "subject.o", "student.o", f"{lab.files[0]}.o",
                 "libcheck.so", "libc.so.6", "cc", "ld", "nm", "objcopy", "valgrind"):
        (home / name).write_bytes(true)
        (home / name).chmod(0o755)


@_trick("reports that are there already")
def own_reports(kit, lab, home):
    build = home / "build"
    build.mkdir()
    for name in ("report.json", "results.json", "build/report.json", "vg.1.xml",
                 "check.xml", "events"):
        (home / name).write_text(FORGED)


@_trick("files whose names are commands, options and control sequences")
def odd_names(kit, lab, home):
    for name in ("-o", "-fplugin=x.so", "@file", "$(touch owned).c", "`id`.c", "a b.c",
                 "\033[2J.c", "new\nline.c", "ü.c", "'.c", '".c', ";.c"):
        (home / name).write_text("#error owned\n")
    (Path(os.fsdecode(os.fsencode(home) + b"/\xff\xfe.c"))).write_text("#error owned\n")


@_trick("loops and links to everything around")
def links_around(kit, lab, home):
    (home / "self").symlink_to(".")
    (home / "up").symlink_to("..")
    (home / "root").symlink_to("/")
    (home / "kit").symlink_to(kit.root)
    (home / "zero").symlink_to("/dev/zero")
    os.mkfifo(home / "pipe.c")


@_trick("two files that differ by their case, and a folder that is not asked for")
def doubles(kit, lab, home):
    source = (home / lab.files[0]).read_text("utf-8")
    (home / lab.files[0].upper()).write_text(source)
    (home.parent / lab.files[0]).write_text("#error owned\n")
    (home.parent / f"lab{lab.number}").mkdir()
    (home.parent / f"lab{lab.number}" / lab.files[0]).write_text("#error owned\n")


@_trick("a folder so deep that its path is too long")
def deep(kit, lab, home):
    before = os.getcwd()
    try:
        os.chdir(home)
        for _ in range(300):
            os.mkdir("deep" * 10)
            os.chdir("deep" * 10)
    finally:
        os.chdir(before)
