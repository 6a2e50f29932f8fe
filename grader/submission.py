"""Finds and reads a student's files, whatever they turn out to be.

A submission is any folder: the lab's own folder (labs/, solutions/), folders
called lab4-sysv-shm or lab4, or all files flat.  Only the files that lab.toml
names are ever read from it; tests, headers and rubric come from the kit.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Optional, Tuple

from grader import text
from grader.errors import KitError
from grader.model import MISSING, NOT_BUILT, Lab, SourceFile, Submission

MAX_BYTES = 1 << 20


class _Unusable(Exception):
    """What is wrong with a student's file, in a sentence for the student."""


def check_folder(folder: Path) -> None:
    """--from must be a folder that can be listed."""
    try:
        os.listdir(folder)
    except NotADirectoryError:
        raise KitError(f"--from {folder} is a file; a folder is wanted "
                       f"(try --from {folder.parent})") from None
    except FileNotFoundError:
        raise KitError(f"--from {folder}: there is no such folder") from None
    except OSError as error:
        raise KitError(f"--from {folder}: {error.strerror}") from None


def read_submission(lab: Lab, folder: Path) -> Submission:
    """The student's files of one lab; a problem with one is not an error."""
    origin = str(folder)
    files = []
    for name in lab.files:
        path = _locate(lab, folder, name)
        if path is None:
            return Submission((), origin, MISSING, _missing(lab, folder, name))
        try:
            files.append(SourceFile(name, _read(path, folder)))
        except _Unusable as problem:
            shown = text.one_line(os.path.relpath(path, folder))
            return Submission((), origin, NOT_BUILT, f"{shown}: {problem}")
    return Submission(tuple(files), origin)


def _candidates(lab: Lab, folder: Path) -> Tuple[Path, ...]:
    return (folder / lab.id, folder / f"lab{lab.number}", folder)


def _locate(lab: Lab, folder: Path, name: str) -> Optional[Path]:
    for parent in _candidates(lab, folder):
        if os.path.lexists(parent / name):
            return parent / name
    return None


def _missing(lab: Lab, folder: Path, name: str) -> str:
    """Where the file was looked for, and what was there in its place."""
    found = set()
    for parent in _candidates(lab, folder):
        try:
            found.update(entry for entry in os.listdir(parent)
                         if entry.lower().endswith((".c", ".c.txt", ".cpp")))
        except OSError:
            continue
    where = f"{name} was not found: not in {lab.id}/, lab{lab.number}/ or the folder itself"
    if not found:
        return where
    names = ", ".join(text.one_line(entry, 40) for entry in sorted(found)[:5])
    return f"{where} (there is: {names})"


def _read(path: Path, folder: Path) -> bytes:
    """The file's bytes.  Never follows a link out of the submission, never
    blocks on a FIFO and never reads a device."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise _Unusable("a link that leads nowhere") from None
    # A link may be any part of the path: labs/lab4-x -> solutions/lab4-x.
    if not real.is_relative_to(folder.resolve()):
        raise _Unusable("a link to a file outside of the submission")
    if real.is_dir():
        raise _Unusable("a folder; a C file is wanted")
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
                             | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _Unusable("not a regular file (a socket or a device)") from None
        raise _Unusable(f"can't be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise _Unusable("not a regular file (a FIFO or a device)")
        if info.st_size > MAX_BYTES:
            raise _Unusable(f"{info.st_size} bytes; at most {MAX_BYTES} are read")
        data = file.read(MAX_BYTES + 1)
    return _checked(data)


def _checked(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise _Unusable(f"more than {MAX_BYTES} bytes")
    if not data.strip():
        raise _Unusable("the file is empty")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise _Unusable(f"a binary file (a NUL byte in line {line}); C source is wanted")
    return data
