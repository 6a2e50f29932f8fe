"""What is generated (stubs, figures), and check-kit's small readers."""

from __future__ import annotations

import shutil

import pytest

from grader import figures
from grader.checkkit import files, handout, mistakes
from grader.errors import KitError
from grader.model import Kit
from grader.stubs import generate
from grader.tests.conftest import ROOT

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
Caught by `copies_nothing_from_an_empty_pipe`.
## Look under the hood
## Questions
"""


@pytest.mark.parametrize("old,new,says", (
    ("", "", None),
    ("| copies | 40 |", "| copies | 30 |", "has 40 points in lab.toml and 30"),
    ("| `copy` |", "| `other` |", "has no row that begins with `copy`"),
    ("## Pitfalls\n", "", "its sections are"),
    ("### Pitfall: end\n", "", "has no anchor #pitfall-end"),
    ("`copies_nothing_from_an_empty_pipe`", "a test",
     "#pitfall-end does not name copies_nothing_from_an_empty_pipe"),
))
def test_a_page_agrees_with_lab_toml(old, new, says, tmp_path, tiny_lab):
    write_page(tmp_path, PAGE.replace(old, new) if old else PAGE)
    found = handout.findings(Kit(tmp_path, tmp_path / "build"), tiny_lab)
    if says is None:
        assert found == []
    else:
        assert any(says in finding for finding in found), found


@pytest.mark.parametrize("table,says", (
    ("`lab1/answer` `lab1/copy`", ""),
    ("`lab1/answer`", "its table lacks the exercise lab1/copy"),
    ("`lab1/answer` `lab1/copy` `lab2/copy`", "no lab has the exercise lab2/copy"),
    (None, "handouts/README.md is missing"),
))
def test_the_table_of_exercises_is_whole(table, says, tmp_path, tiny_lab):
    (tmp_path / "handouts").mkdir()
    if table is not None:
        (tmp_path / "handouts" / "README.md").write_text(f"| a | {table} | b |\n")
    found = files.exercises(Kit(tmp_path, tmp_path / "build"), [tiny_lab])
    assert [finding.split(": ")[-1] for finding in found] == ([says] if says else [])


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


@pytest.mark.skipif(not shutil.which("dot"), reason="no Graphviz")
def test_figures_are_drawn_and_go_out_of_date(tmp_path):
    kit = Kit(tmp_path, tmp_path / "build")
    folder = tmp_path / "handouts" / "figures"
    folder.mkdir(parents=True)
    (folder / "a.dot").write_text("digraph { writer -> pipe -> reader }")
    assert "a.svg is not drawn" in figures.out_of_date(kit)[0]
    assert figures.main(kit, check=True) == 1
    assert figures.main(kit, check=False) == 0
    lines = (folder / "a.svg").read_text().splitlines()
    assert lines[0].startswith("<?xml") and "sha256 of the source: " in lines[1]
    assert figures.out_of_date(kit) == []
    (folder / "a.dot").write_text("digraph { writer -> reader }")
    assert len(figures.out_of_date(kit)) == 1
    (folder / "a.dot").rename(folder / "b.dot")
    assert any("a.svg has no source" in finding for finding in figures.out_of_date(kit))
    (folder / "b.dot").write_text("digraph {")
    with pytest.raises(KitError, match="b.dot"):
        figures.draw(folder / "b.dot")


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="no gnuplot")
def test_the_plot_and_the_table_of_a_run_of_make_bench(tmp_path):
    kit = Kit(tmp_path, tmp_path / "build")
    folder = tmp_path / "handouts" / "figures"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "handouts" / "figures" / "bench.json", folder)
    page = (ROOT / "README.md").read_text("utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(page.replace("ring, mapped     0    0", "ring, mapped     7    7"),
                      "utf-8")
    assert ["bench.svg" in figures.out_of_date(kit)[0],
            "its table is not" in figures.out_of_date(kit)[1]] == [True, True]
    assert figures.main(kit, check=False) == 0
    assert readme.read_text("utf-8") == page
    assert figures.out_of_date(kit) == []
    assert sorted(path.name for path in folder.iterdir()) == ["bench.json", "bench.svg"]


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "handouts").mkdir()
    (tmp_path / "README.md").write_text(
        "[good](handouts/a.md#part-two) [web](https://x.org) `[code](no)`\n"
        "```\n[not](a-link)\n```\n[dead](gone.md) [anchor](handouts/a.md#part-nine)\n")
    (tmp_path / "handouts" / "a.md").write_text("# A\n## Part two\n[up](../README.md)\n")
    found = files._links(Kit(tmp_path, tmp_path / "build"))
    assert found == ["README.md:5: the link to gone.md leads nowhere",
                     "README.md:5: a.md has no anchor #part-nine"]
