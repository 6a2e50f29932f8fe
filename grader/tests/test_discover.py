"""lab.toml: what is read, and that every mistake in one names its line."""

from __future__ import annotations

import pytest

from grader import discover
from grader.errors import KitError
from grader.tests.conftest import FIXTURES

TOML = (FIXTURES / "labs" / "lab1-tiny" / "lab.toml").read_text()


@pytest.fixture
def read(tmp_path):
    def read(text: str, name: str = "lab1-tiny"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "lab.toml").write_bytes(
            text if isinstance(text, bytes) else text.encode())
        return discover.read_lab(folder)
    return read


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(TOML.splitlines(), 1) if text in line)


def test_a_lab_is_read(read):
    lab = read(TOML)
    assert (lab.id, lab.number, lab.base) == ("lab1-tiny", 1, "tiny")
    assert lab.points == 100
    assert [group.name for group in lab.groups] == ["answer", "copy"]
    assert lab.tests[3].handout == "pitfall-end" and lab.tests[2].handout == "copy"
    assert lab.tests[0].title == "answers with the next number"
    assert lab.calls.forbidden == ("system",)


@pytest.mark.parametrize("old,new,at,says", (
    ("points = 20", "points = 21", "[points]", "add up to 104"),
    ("points = 20", "points = -1", "points = 20", "0 to 100"),
    ("points = 20", 'points = "20"', "points = 20", "whole number"),
    ("points = 20", "points = true", "points = 20", "whole number"),
    ("points = 20", "points = ", "points = 20", "Invalid value"),
    ("points = 20\n", "", '[[group.test]]', "'points' is missing"),
    ('name = "copy"', 'name = "answer"', 'name = "copy"', "two groups"),
    ('name = "copies_every_byte"', 'name = "refuses_a_negative_number"',
     'name = "copies_every_byte"', "two tests are called"),
    ('name = "copies_every_byte"', 'name = "Copies every byte"',
     'name = "copies_every_byte"', "small letters"),
    ('title = "Copy"', 'titel = "Copy"', 'title = "Copy"', "unknown key 'titel'"),
    ('files = ["tiny.c"]', 'files = ["../tiny.c"]', "files =", "plain name"),
    ('files = ["tiny.c"]', "files = []", "files =", "is empty"),
    ('at the end."', "at the end.", 'hint = "read returns', "Illegal character"),
    ('system = "no shell is needed here"', "", "forbidden", "no words for system"),
    ("points = 20", 'needs = "nothing"\npoints = 20', "points = 20",
     "'nothing' is no test of this lab"),
    ("[points]", "[points", "[points]", "Expected"),
))
def test_a_mistake_names_its_line(read, old, new, at, says):
    everywhere = -1 if new == "points = 21" else 1
    with pytest.raises(KitError) as caught:
        read(TOML.replace(old, new, everywhere))
    message = str(caught.value)
    assert f"lab.toml:{line_of(at)}:" in message
    assert says in message


def test_a_test_needs_one_that_stands_alone(read):
    first = 'name = "answers_with_the_next_number"\n'
    second = 'name = "refuses_a_negative_number"\n'
    needs = TOML.replace(second, second + 'needs = "answers_with_the_next_number"\n')
    assert read(needs).tests[1].needs == "answers_with_the_next_number"
    with pytest.raises(KitError, match="stands on its own"):
        read(needs.replace(first, first + 'needs = "refuses_a_negative_number"\n'))


def test_a_lab_without_groups(read):
    with pytest.raises(KitError, match="group"):
        read(TOML[:TOML.index("[[group]]")])


def test_bytes_that_are_not_utf8(read):
    with pytest.raises(KitError, match="not UTF-8"):
        read(b"title = \"\xff\"")


def test_no_lab_toml(tmp_path):
    (tmp_path / "lab1-x").mkdir()
    with pytest.raises(KitError, match="lab.toml: No such file"):
        discover.read_lab(tmp_path / "lab1-x")


def test_unknown_lab_number(tiny_kit):
    with pytest.raises(KitError, match="there is no lab 7; this kit has: 1"):
        discover.find_labs(tiny_kit, [7])


def test_two_labs_of_one_number(tmp_path):
    for name in ("lab1-a", "lab1-b"):
        (tmp_path / name).mkdir()
    with pytest.raises(KitError, match="have one number"):
        discover.lab_folders(tmp_path)


def test_no_kit(tmp_path):
    with pytest.raises(KitError, match="is not a lab kit"):
        discover.find_kit(tmp_path)
