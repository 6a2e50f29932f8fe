"""Hostile text comes out harmless."""

from __future__ import annotations

import pytest

from grader import text


@pytest.mark.parametrize("raw,shown", (
    (b"plain", "plain"),
    (b"a\x1b[31mred", "a\\x1b[31mred"),
    (b"bell\x07 back\x08 del\x7f nul\x00", "bell\\x07 back\\x08 del\\x7f nul\\x00"),
    (b"title \x9b\xc2\x9b", "title \\x9b\\x9b"),
    (b"bad \xff\xfe", "bad \\xff\\xfe"),
    ("caf\u00e9 \u4e2d".encode(), "caf\u00e9 \u4e2d"),
    ("rtl \u202e zero\u200b bom\ufeff".encode(), "rtl \\u202e zero\\u200b bom\\ufeff"),
    ("sep\u2028x".encode(), "sep\\u2028x"),
    ("tag \U000e0041".encode(), "tag \\U000e0041"),
    (b"one\r\ntwo\rthree", "one\ntwo\\x0dthree"),
    (b"tab\tx", "tab     x"),
))
def test_control_characters_are_shown(raw, shown):
    assert text.clean(raw) == shown


def test_length_is_bounded_and_said():
    long = text.clean("x" * 100_000, max_chars=100)
    assert len(long) < 200 and "more characters not shown" in long
    many = text.clean("line\n" * 1000, max_lines=10)
    assert many.count("line") < 13 and "more lines not shown" in many


def test_one_line_has_no_line_break():
    assert text.one_line("a\nb\x1b") == "a\\nb\\x1b"
    assert text.one_line("x" * 500, 10) == "x" * 10 + "..."


def test_markup_is_not_interpreted():
    assert text.clean("[bold]x[/bold] &amp; <b>") == "[bold]x[/bold] &amp; <b>"
