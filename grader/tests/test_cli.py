"""The command line: exit statuses, messages, and what is written where."""

from __future__ import annotations

import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from grader.cli import main
from grader.report import json_report
from grader.tests.conftest import FIXTURES, ROOT
from grader.tests.students import HONEST


@pytest.fixture
def grade(tiny_kit, tmp_path, capfd):
    """grade(source or None, *options) -> (exit status, stdout, stderr)"""
    def grade(source, *options):
        folder = tmp_path / "sub mission"
        folder.mkdir(exist_ok=True)
        if source is not None:
            (folder / "tiny.c").write_text(source)
        status = main(["--kit", str(tiny_kit.root), "grade", "--from", str(folder),
                       "--json", str(tmp_path / "report.json"), *options])
        out, err = capfd.readouterr()
        return status, out, err
    return grade


def test_graded(grade, tmp_path):
    status, out, err = grade(HONEST["right"].source, "--strict")
    assert (status, err) == (0, "")
    assert "100/100" in out
    document = json.loads((tmp_path / "report.json").read_text())
    assert json_report.schema_errors(document) == []
    assert document["total"] == {"score": 100, "max": 100}


def test_lost_points_are_no_error_unless_strict(grade):
    assert grade(HONEST["fails"].source)[0] == 0
    assert grade(HONEST["fails"].source, "--strict")[0] == 1


@pytest.mark.parametrize("source,says", (
    (None, "was not found"), ("", "the file is empty"), ("int x = ;", "error:")))
def test_files_that_can_not_be_graded(source, says, grade):
    status, out, _ = grade(source)
    assert status == 0 and says in out and "0/100" in out
    assert grade(source, "--quick")[0] == 1


def test_quick_ends_well_though_tests_fail_unless_strict(grade):
    status, out, _ = grade(HONEST["fails"].source, "--quick")
    assert status == 0 and "3 of 4 tests pass" in out
    assert grade(HONEST["fails"].source, "--quick", "--strict")[0] == 1
    assert grade(HONEST["right"].source, "--quick", "--strict")[0] == 0


def test_one_test(grade):
    status, out, _ = grade(HONEST["crashes"].source, "--quick", "--test",
                           "copies_every_byte")
    assert status == 0 and "1 of 1 tests pass" in out


@pytest.mark.parametrize("options,says", (
    (("--test", "copies_every_bite"), "did you mean copies_every_byte?"),
    (("--lab", "9"), "there is no lab 9"),
))
def test_what_the_caller_got_wrong(options, says, grade):
    status, _, err = grade(HONEST["right"].source, *options)
    assert status == 2 and says in err and err.count("\n") == 1


@pytest.mark.parametrize("options", ((), ("--lab", "1"), ("--schedule", "x:1:0")))
def test_replay_says_what_it_needs(options, tiny_kit, capfd):
    assert main(["--kit", str(tiny_kit.root), "replay", *options]) == 2
    assert "make replay LAB=6 SCHEDULE=test:3:1" in capfd.readouterr().err


def test_a_bad_from(tiny_kit, tmp_path, capfd):
    for name in ("gone", "file"):
        (tmp_path / "file").write_text("")
        assert main(["--kit", str(tiny_kit.root), "grade", "--from",
                     str(tmp_path / name)]) == 2
        assert "--from" in capfd.readouterr().err


def test_a_bad_lab_toml_names_its_line(tmp_path, capfd):
    (tmp_path / "common").mkdir()
    lab = tmp_path / "labs" / "lab1-tiny"
    lab.mkdir(parents=True)
    toml = (FIXTURES / "labs" / "lab1-tiny" / "lab.toml").read_text()
    (lab / "lab.toml").write_text(toml.replace("points = 20", "points =", 1))
    assert main(["--kit", str(tmp_path), "grade"]) == 2
    line = toml.splitlines().index("points = 20") + 1
    assert f"lab.toml:{line}:" in capfd.readouterr().err


@pytest.mark.parametrize("gone,package", (
    ("valgrind", "valgrind"), ("cc", "gcc"), ("bwrap", "bubblewrap")))
def test_a_missing_tool_names_its_package(gone, package, grade, monkeypatch):
    import shutil
    which = shutil.which
    monkeypatch.setattr(shutil, "which",
                        lambda name, *a, **k: None if name == gone else which(name))
    monkeypatch.delenv("CC", raising=False)
    status, out, err = grade(HONEST["right"].source, *(
        ("--isolation", "namespaces") if gone == "bwrap" else ()))
    assert status == 2
    assert f"apt-get install {package}" in err


def test_without_bubblewrap_the_report_says_so(grade, monkeypatch, tmp_path):
    from grader import run
    monkeypatch.setattr(run, "bubblewrap", lambda: None)
    status, out, _ = grade(HONEST["right"].source)
    assert status == 0
    assert "bubblewrap is not installed" in " ".join(out.split())
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["isolation"] == ("uid" if os.geteuid() == 0 else "none")
    assert "bubblewrap" in report["isolation_why"]
    assert report["total"]["score"] == 100


def test_a_missing_check_names_its_package(tiny_lab, tmp_path, monkeypatch, capfd):
    for name, target in (("common", ROOT / "common"), ("labs", FIXTURES / "labs")):
        (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("PKG_CONFIG_LIBDIR", str(tmp_path))
    from grader import build
    monkeypatch.setattr(build, "ENVIRONMENT", {**build.ENVIRONMENT,
                                               "PKG_CONFIG_LIBDIR": str(tmp_path)})
    assert main(["--kit", str(tmp_path), "grade", "--quick"]) == 2
    assert "apt-get install check" in capfd.readouterr().err


def test_a_missing_module_names_its_package(grade, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"
                 or name == "grader.report.terminal"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delattr("grader.report.terminal", raising=False)

    class Gone:
        @staticmethod
        def find_spec(name, *_):
            if name.split(".")[0] == "rich":
                raise ModuleNotFoundError("No module named 'rich'", name="rich")
    monkeypatch.setattr(sys, "meta_path", [Gone, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "rich.console")
    status, _, err = grade(HONEST["right"].source)
    assert status == 2 and "apt-get install python3-rich" in err
    assert grade(HONEST["right"].source, "--quick")[0] == 0


def test_a_test_may_be_named_as_the_report_prints_it():
    from grader.cli import test_names as names
    assert names(["copies every  byte", "a_b, c d,", ""]) == ["copies_every_byte", "a_b",
                                                               "c_d"]


def test_what_a_program_printed_is_shown_when_its_test_is_asked_for(grade):
    source = HONEST["right"].source.replace("    if (number < 0) {",
                                            '    printf("number is %d\\n", number);\n'
                                            "    if (number < 0) {")
    status, out, _ = grade("#include <stdio.h>\n" + source, "--quick", "--test",
                           "answers with the next number")
    assert status == 0 and "printed:  | number is" in out
    assert "printed:" not in grade("#include <stdio.h>\n" + source, "--quick")[1]


def test_a_kit_without_solutions_says_so(tiny_kit, capfd):
    for command in ("stubs", "check-kit"):
        assert main(["--kit", str(tiny_kit.root), command]) == 2
        assert "came without solutions/" in capfd.readouterr().err


def test_doctor(capfd):
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    for word in ("python", "valgrind", "bubblewrap", "in force", "shmmax", "queues_max"):
        assert word in out


def test_doctor_misses_the_address_of_localhost(capfd, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert main(["doctor"]) == 2
    assert "127.0.0.1 localhost" in capfd.readouterr().out


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
def test_stopped_in_the_middle_leaves_nothing(number, tiny_kit, tmp_path):
    (tmp_path / "tiny.c").write_text(HONEST["busy_loop"].source)
    proc = subprocess.Popen(
        [sys.executable, "-m", "grader", "--kit", str(tiny_kit.root), "grade", "--from",
         str(tmp_path), "--json", str(tmp_path / "r.json")], cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        # A shell's background job, as CI may be, ignores SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    time.sleep(1.2)
    proc.send_signal(number)
    assert proc.wait(timeout=20) != 0
    time.sleep(0.3)
    mine = [path for path in glob.glob("/tmp/ipc-lab-kit-*/*/src/tiny.c")
            if "i++" in open(path).read()]
    assert mine == []
    assert not (tmp_path / "r.json").exists()
