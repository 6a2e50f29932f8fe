"""What keeps a program in its place: confine, limits of space, user ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from grader import build, sandbox
from grader.sandbox import NAMESPACES, NONE, UID, Isolation, Mount
from grader.tests.conftest import ROOT


@pytest.fixture
def place():
    made = sandbox.Place(Isolation(NONE))
    yield made
    made.close()


@pytest.fixture
def confine(tiny_kit, place):
    build.add_confine(tiny_kit, place)
    return str(place.folder / "bin" / sandbox.CONFINE)


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False)


PYTHON = [sys.executable, "-c"]
SYSTEM = ["--read", "/usr", "--read", "/lib", "--read", "/lib64", "--read", "/bin",
          "--read", "/etc/ld.so.cache"]
needs_landlock = pytest.mark.skipif(sandbox._landlock_abi() == 0,
                                    reason="this kernel has no Landlock")
needs_signals = pytest.mark.skipif(
    sandbox._landlock_abi() < sandbox._ABI_OF_SIGNALS,
    reason="this kernel's Landlock does not know signals")


@needs_landlock
def test_only_what_is_named_can_be_read_or_written(confine, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "file").write_text("seen")
    (tmp_path / "secret").write_text("hidden")
    script = (f"cat {tmp_path}/open/file; cat {tmp_path}/secret; "
              f"echo new > {tmp_path}/open/made; echo x > {tmp_path}/secret; "
              f"rm {tmp_path}/secret; mv {tmp_path}/secret {tmp_path}/open")
    done = run(confine, *SYSTEM, "--read", str(tmp_path / "open"),
               "--write", str(tmp_path / "open"), "--", "sh", "-c", script)
    assert done.stdout == "seen", done.stderr
    assert (tmp_path / "open" / "made").read_text() == "new\n"
    assert (tmp_path / "secret").read_text() == "hidden"
    done = run(confine, *SYSTEM, "--read", str(tmp_path / "open"), "--", "sh", "-c",
               f"echo x > {tmp_path}/open/file")
    assert done.returncode != 0 and (tmp_path / "open" / "file").read_text() == "seen"


def test_a_path_that_is_not_there_is_left_out(confine):
    done = run(confine, *SYSTEM, "--read", "/no/such/path", "--", "echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n")


@needs_signals
def test_processes_outside_get_no_signal(confine):
    with subprocess.Popen(["sleep", "60"]) as other:
        done = run(confine, "--", "sh", "-c",
                   f"kill -9 {other.pid}; kill -9 {os.getpid()}; sleep 60 & kill $!; "
                   "wait $!; echo $?")
        assert done.stdout == f"{128 + signal.SIGTERM}\n"  # its own child did
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("call", (
    "resource.prlimit(pid, resource.RLIMIT_NOFILE, (9, 9))",
    "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "os.setpriority(os.PRIO_USER, 0, 19)",
    "os.sched_setaffinity(pid, {0})",
    "os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))",
    "os.kill(-1, 0)",
))
def test_calls_that_concern_others_are_refused(confine, call):
    """Of the same user: nothing else would keep them from it."""
    script = f"import os, resource; pid = {os.getpid()}; {call}"
    done = run(confine, "--", *PYTHON, script)
    assert done.returncode == 1
    assert "PermissionError: [Errno 1]" in done.stderr


@pytest.mark.parametrize("call", (
    "resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
    "os.setpriority(os.PRIO_PROCESS, 0, 19)",
    "os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "os.kill(os.getpid(), 0)",
    "os.kill(0, 0)",
))
def test_calls_that_concern_itself_are_not(confine, call):
    assert run(confine, "--", *PYTHON, f"import os, resource; {call}").returncode == 0


def test_no_program_gains_privileges(confine):
    done = run(confine, "--", "grep", "NoNewPrivs", "/proc/self/status")
    assert done.stdout.split() == ["NoNewPrivs:", "1"]


def test_what_is_wrong_with_the_command_is_said(confine):
    done = run(confine, "--read", "/usr")
    assert done.returncode == 126 and "usage: confine" in done.stderr
    done = run(confine, "--", "no-such-program")
    assert done.returncode == 127
    assert "cannot run no-such-program: No such file or directory" in done.stderr


@pytest.mark.parametrize("abi,mounted,kind,says", (
    (0, True, UID, "this kernel has no Landlock"),
    (7, False, UID, "mount -t mqueue none /dev/mqueue"),
    (7, True, UID, ""),
    (7, True, NONE, ""),
    (3, True, UID, ""),
    (3, True, NONE, "a program can end the grader (Linux 6.12"),
))
def test_what_this_machine_lacks_is_said(abi, mounted, kind, says, monkeypatch):
    monkeypatch.setattr(sandbox, "_landlock_abi", lambda: abi)
    monkeypatch.setattr(sandbox, "_hides_files", lambda: abi > 0 and mounted)
    assert says in sandbox.lacking(kind)
    assert bool(says) == bool(sandbox.lacking(kind))
    assert Isolation(kind, "asked for").limits.startswith("asked for")
    assert Isolation(NAMESPACES).limits == ""


def test_without_the_means_files_are_not_hidden_in_vain(place, monkeypatch):
    """Else no queue could be opened where queues are not mounted."""
    monkeypatch.setattr(sandbox, "_hides_files", lambda: False)
    assert place.confined(["program"], [Mount("out")])[1:] == ["--", "program"]


# ------------------------------------------------------------------------ space


def test_a_run_may_fill_so_much_and_no_more(place):
    tmp = place.make("tmp")
    assert place.overfull() == ""
    with (tmp / "hole").open("wb") as file:
        file.truncate(1 << 40)
    assert place.overfull() == ""  # nothing of it is on the disk
    with (tmp / "full").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, sandbox._MOST_BYTES + (1 << 20))
    assert "files took more than 256 MB" in place.overfull()
    place.clear(lambda path: False)
    assert place.overfull() == "" and list(tmp.iterdir()) == []


def test_a_run_may_make_so_many_files_and_no_more(place, monkeypatch):
    monkeypatch.setattr(sandbox, "_MOST_FILES", 30)
    deep = place.make("vg") / "a" / "b"
    deep.mkdir(parents=True)
    for n in range(40):
        (deep / str(n)).symlink_to("/")
    assert "more than 30 files" in place.overfull()
    (place.folder / "vg" / "kept").touch()
    place.clear(lambda path: path.endswith("kept"))
    assert [path.name for path in (place.folder / "vg").iterdir()] == ["kept"]


# --------------------------------------------------------------------- processes

# A command inside that forks until it may not, and says how often it could.
_FORKS = """\
import os, signal
def fork():
    made = 0
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except BlockingIOError:
            return made
        made += 1
os.write(1, b"%d\\n" % fork())
signal.pause()
"""
_TWO_RUNS = """\
import subprocess, sys
from grader import sandbox
argv = [sys.executable, "-c", sys.argv[1]]
for _ in range(2):
    place = sandbox.Place(sandbox.Isolation(sandbox.NAMESPACES))
    place.make("out")
    command = place.command(argv, sandbox.Limits(processes=20), [sandbox.Mount("out")],
                            "out")
    run = subprocess.Popen(command, stdout=subprocess.PIPE, env=place.environment,
                           start_new_session=True)
    print(run.stdout.readline().decode(), end="", flush=True)
    place.close()
"""


@pytest.mark.skipif(not sandbox._counts_by_namespace(), reason="Linux before 5.14")
def test_a_run_full_of_processes_takes_none_from_another_one(isolation):
    """Of an ordinary user, who has both; the first is full all the time, and both
    end with this one's own end."""
    if isolation.kind != NAMESPACES:
        pytest.skip("no namespaces here")
    user = {"user": 60999, "group": 60999, "extra_groups": []} if os.geteuid() == 0 else {}
    if subprocess.run(["test", "-r", ROOT / "grader"], check=False, **user).returncode:
        pytest.skip("the kit lies where no other user can read it")
    done = subprocess.run([sys.executable, "-B", "-c", _TWO_RUNS, _FORKS], cwd=ROOT,
                          capture_output=True, text=True, check=False, **user)
    assert done.stdout.split() == ["19", "19"], done.stderr


# ---------------------------------------------------------------------- user ids


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_no_two_runs_have_one_user_id():
    places = [sandbox.Place(Isolation(UID)) for _ in range(5)]
    uids = [made.uid for made in places]
    assert len(set(uids)) == 5 and all(uid in sandbox._UIDS for uid in uids)
    assert [made.folder.name for made in places] == list(map(str, uids))
    for made in places:
        made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_user_id_with_a_process_is_not_taken():
    first = sandbox.Place(Isolation(UID))
    uid = first.uid
    with subprocess.Popen(["sleep", "60"], user=uid) as stray:
        first.close()
        second = sandbox.Place(Isolation(UID))
        assert second.uid != uid
        second.close()
        stray.kill()
