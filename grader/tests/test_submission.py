"""A student's files of every bad kind end in a sentence, never in an error."""

from __future__ import annotations

import os
import socket

import pytest

from grader import submission
from grader.errors import KitError
from grader.model import MISSING, NOT_BUILT
from grader.tests.students import HONEST

RIGHT = HONEST["right"].source


@pytest.mark.parametrize("where", ("tiny.c", "lab1/tiny.c", "lab1-tiny/tiny.c"))
def test_flat_or_in_lab_folders(where, tmp_path, tiny_lab):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    path.write_text(RIGHT)
    read = submission.read_submission(tiny_lab, tmp_path)
    assert read.status is None
    assert read.files[0].data == RIGHT.encode()


def test_the_labs_own_folder_is_looked_at_first(tmp_path, tiny_lab):
    (tmp_path / "lab1-tiny").mkdir()
    (tmp_path / "lab1-tiny" / "tiny.c").write_text("/* this */")
    (tmp_path / "tiny.c").write_text("/* that */")
    assert submission.read_submission(tiny_lab, tmp_path).files[0].data == b"/* this */"


def make_directory(path):
    path.mkdir()


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    holder = socket.socket(socket.AF_UNIX)
    holder.bind(str(path))
    holder.close()


def make_huge(path):
    with path.open("wb") as file:
        file.truncate(10 << 30)


BAD = {
    "a folder": (make_directory, "a folder; a C file is wanted"),
    "a FIFO": (make_fifo, "not a regular file"),
    "a socket": (make_socket, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "outside of the submission"),
    "a link out": (lambda path: path.symlink_to("/etc/passwd"),
                   "outside of the submission"),
    "a link to itself": (lambda path: path.symlink_to(path), "leads nowhere"),
    "a dead link": (lambda path: path.symlink_to("gone.c"), "leads nowhere"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "blank": (lambda path: path.write_bytes(b" \n\n"), "the file is empty"),
    "binary": (lambda path: path.write_bytes(b"\x7fELF\n\0\0"), "a NUL byte in line 2"),
    "too large": (lambda path: path.write_bytes(b"/" * ((1 << 20) + 1)), "at most"),
    "huge": (make_huge, "at most"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files(kind, tmp_path, tiny_lab):
    make, says = BAD[kind]
    make(tmp_path / "tiny.c")
    read = submission.read_submission(tiny_lab, tmp_path)
    assert read.status == NOT_BUILT
    assert read.problem.startswith("tiny.c: ") and says in read.problem


def test_a_link_within_the_submission_is_followed(tmp_path, tiny_lab):
    (tmp_path / "real.c").write_text(RIGHT)
    (tmp_path / "tiny.c").symlink_to("real.c")
    assert submission.read_submission(tiny_lab, tmp_path).files


def test_an_unreadable_file(tmp_path, tiny_lab, monkeypatch):
    (tmp_path / "tiny.c").write_text(RIGHT)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(submission.os, "open", refuse)
    read = submission.read_submission(tiny_lab, tmp_path)
    assert read.status == NOT_BUILT
    assert read.problem == "tiny.c: can't be read: Permission denied"


def test_a_missing_file_says_what_is_there(tmp_path, tiny_lab):
    read = submission.read_submission(tiny_lab, tmp_path)
    assert read.status == MISSING and "was not found" in read.problem
    (tmp_path / "Tiny.C").write_text(RIGHT)
    (tmp_path / "evil\x1b[2J.c").write_text(RIGHT)
    read = submission.read_submission(tiny_lab, tmp_path)
    assert "Tiny.C" in read.problem and "\x1b" not in read.problem


def test_bytes_that_are_no_utf8_are_source_all_the_same(submit):
    assert submit(RIGHT.encode() + b"/* \xff\xfe */\n", quick=True).passed == 4


@pytest.mark.parametrize("name,says", (
    ("gone", "no such folder"), ("file.c", "is a file; a folder is wanted")))
def test_a_bad_folder_is_the_callers_fault(name, says, tmp_path):
    (tmp_path / "file.c").write_text("")
    with pytest.raises(KitError, match=says):
        submission.check_folder(tmp_path / name)
