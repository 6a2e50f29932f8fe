"""The stub generator, and check-kit's small readers."""

from __future__ import annotations

import pytest

from grader.checkkit import handout, mistakes
from grader.errors import KitError
from grader.stubs import generate

SOLUTION = """\
/* x.c - the concept. */
#include "x.h"

// BEGIN SOLUTION
static int helper(void)
{
    return 3;
}
// END SOLUTION

int x(int a)
{
    // BEGIN SOLUTION
    return a + helper();
    // STUB
    // /* TODO(lab1): add.
    //  * More. */
    //
    // errno = ENOSYS;
    // return -1;
    // END SOLUTION
}
"""
STUB = """\
/* x.c - the concept. */
#include "x.h"

int x(int a)
{
    /* TODO(lab1): add.
     * More. */

    errno = ENOSYS;
    return -1;
}
"""


def test_a_stub_is_made():
    assert generate(SOLUTION, "x.c") == STUB


def test_a_stub_of_a_stub_is_itself():
    assert generate(STUB, "x.c") == STUB


@pytest.mark.parametrize("source,says", (
    ("a\n// BEGIN SOLUTION\nb\n", "x.c:2: // BEGIN SOLUTION without // END SOLUTION"),
    ("// END SOLUTION\n", "x.c:1: // END SOLUTION without"),
    ("// STUB\n", "x.c:1: // STUB without"),
    ("// BEGIN SOLUTION\n// BEGIN SOLUTION\n", "x.c:2: // BEGIN SOLUTION within"),
    ("// BEGIN SOLUTION\n// STUB\nreturn;\n// END SOLUTION\n", "x.c:3: a line of a stub"),
))
def test_marks_that_do_not_match(source, says):
    with pytest.raises(KitError) as caught:
        generate(source, "x.c")
    assert says in str(caught.value)


@pytest.mark.parametrize("title,slug", (
    ("Goal", "goal"), ("The idea", "the-idea"),
    ("Pitfall: `shmat` does not return NULL!", "pitfall-shmat-does-not-return-null"),
    ("A *b* [c](d.md) -- e", "a-b-c----e"), ("Über 64 KiB", "über-64-kib"),
    ("snake_case (2)", "snake_case-2"),
))
def test_anchors_are_githubs(title, slug):
    assert handout.slug(title) == slug


def test_anchors_of_a_page():
    page = "# A\n\n## B\n```\n## not one\n```\n## B\n<a id=\"mine\"></a>\n"
    assert handout.anchors(page) == {"a", "b", "b-1", "mine"}


def write_page(kit_root, text):
    (kit_root / "handouts").mkdir(exist_ok=True)
    (kit_root / "handouts" / "lab1-tiny.md").write_text(text)


PAGE = """\
# Lab 1

## Goal
## The idea
## Read first
## What you write

| group | functions | what | points |
|---|---|---|---|
| `answer` | `tiny_answer` | the next number | 40 |
| `copy` | `tiny_copy` | copies | 40 |

## Try it
### Answer
### Copy
## Pitfalls
### Pitfall: end
## Look under the hood
## Questions
"""


@pytest.mark.parametrize("old,new,says", (
    ("", "", None),
    ("| copies | 40 |", "| copies | 30 |", "has 40 points in lab.toml and 30"),
    ("| `copy` |", "| `other` |", "has no row that begins with `copy`"),
    ("## Pitfalls\n", "", "its sections are"),
    ("### Pitfall: end\n", "", "has no anchor #pitfall-end"),
))
def test_a_page_agrees_with_lab_toml(old, new, says, tmp_path, tiny_lab):
    from grader.model import Kit
    write_page(tmp_path, PAGE.replace(old, new) if old else PAGE)
    found = handout.findings(Kit(tmp_path), tiny_lab)
    if says is None:
        assert found == []
    else:
        assert any(says in finding for finding in found), found


def test_a_mistakes_header(tmp_path):
    path = tmp_path / "m.patch"
    path.write_text("Misconception: it never fails\nFails: a, b\nFails: c\n"
                    "Shows: one\nShows: two words\nMemory: yes\n\n--- a/x.c\n")
    mistake = mistakes.read(path)
    assert mistake.fails == ("a", "b", "c")
    assert mistake.shows == ("one", "two words")
    assert mistake.memory


@pytest.mark.parametrize("text,says", (
    ("Misconception: x\nFails: a\n\n---", "no Shows: line"),
    ("Fails: a\nShows: b\n\n---", "no Misconception: line"),
    ("Misconception: x\nWhatever\n", "m.patch:2:"),
))
def test_a_bad_header(text, says, tmp_path):
    path = tmp_path / "m.patch"
    path.write_text(text)
    with pytest.raises(KitError) as caught:
        mistakes.read(path)
    assert says in str(caught.value)
