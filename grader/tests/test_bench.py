"""`make bench`: the figures' document, the table, the plot, and runs from end to
end with code that is right, unwritten, wrong or does not end.  No test asks how
fast anything is."""

from __future__ import annotations

import json
import shutil
import pytest

from grader import discover, process, run
from grader.cli import main
from grader.measure import document, plot, runs, table
from grader.measure.mechanisms import MECHANISMS, SIZES
from grader.report.style import Style
from grader.tests.conftest import ROOT

PLAIN = Style(unicode=False, color=False, width=80, terminal=False)
CORES = runs.Cores(0, 1, "two cores (0 and 1)")


# ------------------------------------------------------------ canned figures


def line(mechanism, size, ns, **more):
    return {"mechanism": mechanism, "size": size, "parts": 1, "round_trip_p50_ns": ns,
            "round_trip_p99_ns": 2 * ns, "round_trips": 1000, "sleeps": 2000,
            "messages": 1000, "stream_ns": 500 * ns, "line_ns": 80, **more}


def limits(line_ns=80):
    found = [{"limit": name, "size": 0, "ps": 1000 * ns} for name, ns in (
        ("system_call", 100), ("clock", 20), ("line", line_ns), ("wake", 30_000))]
    return found + [{"limit": name, "size": size, "ps": 1000 * (size // 50 + 2)}
                    for name in ("memcpy", "fetch") for size in SIZES]


NS = {"pipe": 30_000, "sysv_queue": 31_000, "posix_queue": 32_000, "unix_socket": 33_000,
      "tcp": 40_000, "rounds": 500, "ring_copied": 250, "ring_mapped": 240}


@pytest.fixture
def figures():
    """Three rounds of everything; 64 KiB and more go in parts through queues."""
    found = runs.Figures(rounds=3, limits=[limits(), limits(), limits()])
    for name, ns in NS.items():
        for size in SIZES:
            parts = max(1, size // 8192) if "queue" in name else 1
            found.sizes[name, size] = [
                line(name, size, ns + size // 10 + more, parts=parts)
                for more in (0, 10, 1000)]
    return found


def made(figures, problems=None):
    data = document.document(figures, problems or {}, CORES, "solutions/", False)
    assert document.schema_errors(data) == []
    assert json.loads(document.dumps(data)) == data
    return data


def row(data, name):
    return next(row for row in data["mechanisms"] if row["name"] == name)


def test_medians_over_rounds(figures):
    cell = row(made(figures), "pipe")["sizes"][0]
    assert cell["round_trip"]["median_ns"] == 30_016
    assert cell["round_trip"]["of_rounds_ns"] == [30_006, 30_016, 31_006]
    assert cell["rounds"] == 3 and cell["left_out"] == 0 and not cell["apart"]
    assert cell["stream"]["bytes_per_s"] == pytest.approx(
        64 * cell["stream"]["messages_per_s"], rel=1e-4)


def test_the_notes_count_is_priced(figures):
    data = made(figures)
    copies = 2 * (SIZES[0] // 50 + 2)
    assert row(data, "pipe")["sizes"][0]["model_ns"] == 2 * 100 + copies
    assert row(data, "ring_copied")["sizes"][0]["model_ns"] == copies
    assert row(data, "ring_mapped")["sizes"][0]["model_ns"] == 0
    # Each part crosses.
    assert row(data, "posix_queue")["sizes"][3]["model_ns"] == pytest.approx(
        2 * 128 * 100 + 2 * ((1 << 20) // 50 + 2))


def test_rounds_with_the_cores_apart_are_left_out(figures):
    for found in figures.sizes.values():
        found[2].update(line_ns=300, round_trip_p50_ns=10 ** 6)
    figures.limits[2] = limits(line_ns=300)
    data = made(figures)
    cell = row(data, "pipe")["sizes"][0]
    assert cell["left_out"] == 1 and cell["round_trip"]["median_ns"] == 30_011
    assert data["limits"]["line_round_trip_ns"] == 80
    assert figures.enough(MECHANISMS)
    assert "32 of 96 measurements are left out" in table.render(data, PLAIN)


def test_what_was_measured_with_the_cores_apart_is_not_compared(figures):
    for each in figures.sizes["ring_copied", 1024]:
        each["line_ns"] = 300
    found = made(figures)["mapping"]["ratios"]
    assert [entry["size"] for entry in found] == [64, 65536, 1 << 20]


def test_figures_from_cores_apart_alone_are_marked(figures):
    for each in figures.sizes["tcp", 1024]:
        each["line_ns"] = 300
    assert not figures.enough(MECHANISMS)
    data = made(figures)
    assert row(data, "tcp")["sizes"][1]["apart"]
    shown = table.render(data, PLAIN)
    assert "~40.1 (80.2)" in shown and "not to be compared" in " ".join(shown.split())


@pytest.mark.parametrize("ratios,size", (
    ([(64, 1.2), (1024, 1.5)], 64),
    ([(64, 0.5), (1024, 2.0)], 256),
    ([(64, 2.0), (1024, 0.5), (65536, 2.0)], 8192),
    ([(64, 1.0), (1024, 4.0)], 64),
    ([(64, 2.0), (1024, 0.9)], None),
))
def test_where_mapping_begins_to_win(ratios, size):
    assert document.crossover(ratios) == size


def test_the_plot_fills_only_where_mapping_wins():
    pairs = [(64, 1.0, 4.0), (1024, 4.0, 1.0), (65536, 4.0, 4.0)]
    low, cross, middle, end = plot._won(pairs)
    assert low == (64, 1.0, 4.0) and middle == (1024, 4.0, 4.0)
    assert cross == (pytest.approx(256), pytest.approx(2.0), pytest.approx(2.0))
    assert end == (65536, 4.0, 4.0)


# --------------------------------------------------------------------- table


def test_the_table(figures):
    data = made(figures)
    data["machine"]["compiler"] = "cc (Ubuntu 13.3.0-6ubuntu2~24.04.1) 13.3.0"
    shown = table.render(data, PLAIN)
    lines = shown.splitlines()
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    trips = [line.split() for line in lines if line.startswith("pipe ")]
    assert trips[0][1:3] == ["4", "4"] and trips[0][3:5] == ["30.0", "(60.0)"]
    assert trips[1][1:3] == ["2", "2"]
    mapped = [line.split() for line in lines if line.startswith("ring, mapped")]
    assert mapped[0][2:4] == ["0", "0"] and mapped[1][4] == "-"
    words = " ".join(shown.split())
    assert "SysV queue 64 KiB in 8, 1 MiB in 128" in words
    assert "*37.6" in shown
    assert "Mapping beats copying through the same ring at every size" in words
    assert "a cache line to the other core and back 0.08" in words
    assert "\033" not in shown and shown.isascii()


@pytest.mark.parametrize("faster,words", (
    ((0.5, 2.0, 2.0, 2.0), "the same ring from 256 B on: 0.5 times as fast at 64 B,"),
    ((1.8, 0.5, 2.0, 2.0), "the same ring at 64 B, and from 8 KiB on: 1.8 times"),
    ((1.8, 0.5, 2.0, 0.9), "does not beat copying through the same ring at the largest"),
))
def test_where_mapping_wins_is_told(figures, faster, words):
    data = made(figures)
    ratios = list(zip(SIZES, faster))
    data["mapping"] = {
        "wins_from_bytes": document.crossover(ratios),
        "ratios": [{"size": size, "faster": ratio} for size, ratio in ratios]}
    assert words in " ".join(table.render(data, PLAIN).split())


def test_what_is_missing_is_said(figures):
    for name in ("rounds", "ring_copied", "tcp", "pipe"):
        for size in SIZES:
            del figures.sizes[name, size]
            call = f"{name}_call"
            if name == "tcp":
                continue
            figures.errors[name, size] = {
                "size": size, "error": "call", "call": call,
                "errno": "ENOSYS" if name == "rounds" else "EIO",
                "detail": f"{call} failed with EIO"}
    del figures.sizes["posix_queue", 1 << 20]
    figures.errors["posix_queue", 1 << 20] = {
        "size": 1 << 20, "error": "late", "call": "", "errno": "",
        "detail": "not done after 3.0 s"}
    data = made(figures, {"sockets": "does not build: sockets.c:3: error"})
    statuses = {r["name"]: r["status"] for r in data["mechanisms"]}
    assert statuses == {
        "pipe": "failed", "sysv_queue": "measured", "posix_queue": "partly",
        "unix_socket": "failed", "tcp": "failed", "rounds": "not_written",
        "ring_copied": "failed", "ring_mapped": "measured"}
    assert data["mapping"] is None
    shown = " ".join(table.render(data, PLAIN).split())
    assert "shm, rounds 0 4 not written yet: rounds_call" in shown
    assert "TCP loopback: does not build: sockets.c:3: error" in shown
    assert "POSIX queue: at 1 MiB, not done after 3.0 s" in shown
    assert "pipe: at 64 B, pipe_call failed with EIO" in shown


@pytest.mark.parametrize("value,shown", (
    (0.0234, "0.02"), (9.996, "10.0"), (12.34, "12.3"), (99.96, "100"), (9999.2, "9999"),
    (14673.0, "15k"), (1234567.0, "1235k")))
def test_numbers_fit(value, shown):
    assert table._number(value) == shown


def test_nothing_measured_at_all():
    data = made(runs.Figures(), {m.base: "no lab of this kit has it" for m in MECHANISMS})
    assert {r["status"] for r in data["mechanisms"]} == {"no_lab"}
    assert "no lab of this kit" in table.render(data, PLAIN)


@pytest.mark.parametrize("text,good", (
    (json.dumps(line("pipe", 64, 5)), True),
    (json.dumps({"limit": "line", "size": 0, "ps": 7}), True),
    (json.dumps({"limit": "line", "size": 0}), False),
    (json.dumps(line("pipe", 63, 5)), False),
    (json.dumps(line("pipe", 64, -5)), False),
    (json.dumps(line("pipe", 64, 5, other=1)), False),
    (json.dumps(line("pipe", 64, "5")), False),
    ("[1]", False), ("hello", False), ("\xff{", False), ("", False),
))
def test_a_line_that_student_code_wrote_is_no_figure(text, good):
    assert (runs.parse_line(text.encode("latin-1")) is not None) == good


# ---------------------------------------------------------------------- plot


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="no gnuplot")
@pytest.mark.parametrize("missing", ((), ("ring_copied",), tuple(NS)))
def test_the_plot(figures, missing, tmp_path):
    for name in missing:
        for size in SIZES:
            del figures.sizes[name, size]
    data = made(figures)
    data["machine"]["processor"] = "a 'quoted' \"name\" `date` $x @y\n"
    assert plot.draw(data, tmp_path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.png", "bench.svg"]
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "bench.svg").read_text()
    assert "<svg" in svg and "`date`" in svg
    for row in data["mechanisms"]:
        assert (row["title"] in svg) == (row["name"] not in missing)


def test_without_gnuplot_a_line_says_so(figures, tmp_path, monkeypatch):
    data = made(figures)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get install gnuplot-nox" in plot.draw(data, tmp_path)
    packages = (ROOT / "grader" / "packages.txt").read_text().split()
    assert plot.PACKAGE in packages


def test_gnuplot_that_fails_leaves_no_plot(figures, tmp_path, monkeypatch):
    data = made(figures)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(process, "run", lambda *_, **__: process.Finished(
        1, {"stdout": b"", "stderr": b"cannot open display\n"}, 0.1))
    assert "cannot open display" in plot.draw(data, tmp_path)
    assert not list(tmp_path.glob("bench.*g"))


# ----------------------------------------------------------------- real runs

RIGHT = """
#include <errno.h>
#include <unistd.h>
#include "pipes.h"

static int put(int fd, const char *at, size_t size)
{
    for (ssize_t n; size > 0; at += n, size -= (size_t)n)
        if ((n = write(fd, at, size)) <= 0)
            return -1;
    return 0;
}

static int get(int fd, char *at, size_t size)
{
    for (ssize_t n; size > 0; at += n, size -= (size_t)n)
        if ((n = read(fd, at, size)) <= 0)
            return -1;
    return 0;
}

int pipe_send(int fd, const void *msg, uint32_t size)
{
    if (put(fd, (const char *)&size, sizeof(size)) == -1)
        return -1;
    return put(fd, msg, size);
}

ssize_t pipe_recv(int fd, void *msg, size_t cap)
{
    uint32_t size;

    if (get(fd, (char *)&size, sizeof(size)) == -1 || size > cap ||
        get(fd, msg, size) == -1)
        return -1;
    TROUBLE
    return size;
}
"""

BODIES = {
    "hangs": "if (size == 1024) for (;;) pause();",
    "spins": "if (size == 1024) for (;;) ;",
    "damages": "((char *)msg)[size / 2]++;",
    "crashes": "if (size == 65536) *(volatile int *)8 = 1;",
    "exits": "_exit(0);",
    "size": "return size - 1;",
    "error": "errno = EIO; return -1;",
    "stub": "errno = ENOSYS; return -1;",
}
# Whoever hangs costs so long; whoever does not must be done by then, whatever
# else runs here.
SHORT = runs.Plan(rounds=1, budget_ms=1, late_ms=2000, total_s=5)
PATIENT = runs.Plan(rounds=1, budget_ms=1, late_ms=30_000, total_s=5)


@pytest.fixture
def bench(tmp_path, monkeypatch, capfd, left_behind):
    """bench({"pipes.c": source}, kind) -> (status, document, what was printed).
    The kit is this one's labs that are measured, with a build of its own."""
    root = ROOT / "build" / "test-kit-bench"
    (root / "build").mkdir(parents=True, exist_ok=True)
    (root / "labs").mkdir(exist_ok=True)
    bases = {m.base for m in MECHANISMS}
    links = [(root / "common", ROOT / "common")]
    links += [(root / "labs" / folder.name, folder)
              for folder in discover.lab_folders(ROOT / "labs").values()
              if (folder / "lab.toml").is_file()
              and discover.read_lab(folder).base in bases]
    for link, target in links:
        try:
            link.symlink_to(target)
        except FileExistsError:  # from another worker, or the last time
            pass
    folder = tmp_path / "submission"
    folder.mkdir()

    def bench(sources, kind="auto", plan=SHORT):
        monkeypatch.setattr(runs, "QUICK", plan)
        for name, source in sources.items():
            (folder / name).write_text(source)
        path = tmp_path / "out" / "bench.json"
        status = main(["--kit", str(root), "bench", "--from", str(folder), "--quick",
                       "--json", str(path), "--isolation", kind])
        out, err = capfd.readouterr()
        assert left_behind() == {} and err == ""
        data = json.loads(path.read_text())
        assert document.schema_errors(data) == []
        return status, data, " ".join(out.split())
    return bench


def pipes(body=""):
    return {"pipes.c": RIGHT.replace("TROUBLE", body)}


def test_a_quick_run(bench):
    status, data, shown = bench(pipes(), plan=PATIENT)
    found = row(data, "pipe")
    assert status == 0 and found["status"] == "measured" and found["message"] == ""
    for cell in found["sizes"]:
        assert cell["round_trip"]["samples"] >= 10 and cell["stream"]["messages"] >= 10
        # One more where the cores had come to lie apart in the first.
        assert cell["rounds"] in (1, 2)
    assert all(data["limits"][name] for name in ("system_call_ns", "clock_ns",
                                                 "line_round_trip_ns",
                                                 "wake_round_trip_ns"))
    assert all(entry["ns"] for name in ("memcpy", "fetch")
               for entry in data["limits"][name])
    assert "bench.json" in shown


@pytest.mark.parametrize("kind", ("uid", "none"))
def test_with_less_isolation(bench, kind):
    try:
        run.choose_isolation(kind)
    except Exception:
        pytest.skip("needs root")
    assert row(bench(pipes(), kind, PATIENT)[1], "pipe")["status"] == "measured"


@pytest.mark.parametrize("what,good,says", (
    ("hangs", 1, "pipe_recv by the server"),
    ("spins", 1, "not done after 2.0 s"),
    ("damages", 0, "byte 32 of a message of 64 arrived changed, seen after pipe_recv"),
    ("crashes", 2, "killed by SIGSEGV in or after pipe_recv"),
    ("exits", 0, "the server exited with status 0 in or after pipe_recv"),
    ("size", 0, "pipe_recv returned 63; 64 bytes were sent"),
    ("error", 0, "pipe_recv failed with EIO"),
))
def test_code_that_is_wrong(bench, what, good, says):
    status, data, shown = bench(pipes(BODIES[what]))
    found = row(data, "pipe")
    assert [bool(cell["round_trip"]) for cell in found["sizes"]].count(True) >= good
    assert found["status"] == ("partly" if good else "failed")
    assert status == 0
    assert any(says in cell["error"] for cell in found["sizes"]), found["sizes"]
    assert says in shown


def test_a_stub_is_not_written_yet(bench):
    status, data, shown = bench(pipes(BODIES["stub"]))
    found = row(data, "pipe")
    assert (found["status"], found["message"]) == ("not_written", "pipe_recv")
    assert status == 0 and "not written yet: pipe_recv" in shown


@pytest.mark.parametrize("source,says", (
    ("int x = ;", "does not build: pipes.c:1:9: error"),
    ("int pipe_send;", "pipe_recv is not defined in pipes.c"),
    ("", "the file is empty"),
))
def test_code_that_is_no_program(bench, source, says):
    status, data, shown = bench({"pipes.c": source})
    assert row(data, "pipe")["status"] == "failed" and status == 0
    assert says in row(data, "pipe")["message"] and says in shown


def test_the_students_names_are_his_own(bench):
    more = """
int measure(void) { return 1; }
int main(void) { return 1; }
int sched_yield(void) { _exit(3); }
uint64_t now_ns(void) { return 7; }
struct pair *pair;
"""
    sources = {"pipes.c": pipes()["pipes.c"] + more}
    assert row(bench(sources, plan=PATIENT)[1], "pipe")["status"] == "measured"


def test_the_labs_stubs(bench):
    labs = [discover.read_lab(folder)
            for folder in discover.lab_folders(ROOT / "labs").values()
            if (folder / "lab.toml").is_file()]
    bases = {m.base: m.name for m in MECHANISMS}
    _, data, _ = bench({name: (lab.dir / name).read_text()
                        for lab in labs if lab.base in bases for name in lab.files})
    for lab in labs:
        if lab.base in bases:
            assert row(data, bases[lab.base])["status"] == "not_written", lab.id


@pytest.mark.skipif(not (ROOT / "solutions").is_dir(), reason="a kit without solutions/")
def test_the_solutions(bench):
    files = [path for path in (ROOT / "solutions").glob("lab*/*.c")
             if path.stem in {m.base for m in MECHANISMS}
             and list((ROOT / "labs" / path.parent.name).glob("lab.toml"))]
    _, data, shown = bench({path.name: path.read_text() for path in files},
                           plan=PATIENT)
    for found in data["mechanisms"]:
        if f"{found['lab']}.c" in {path.name for path in files}:
            assert (found["status"], found["message"]) == ("measured", ""), shown
