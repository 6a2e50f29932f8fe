"""The command line where the machine, the user or the place is awkward: the
right file scores 100 or the error is clear, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from grader import build, process, sandbox
from grader.tests import container
from grader.tests.conftest import FIXTURES, ROOT
from grader.tests.hostile import grading
from grader.tests.students import HONEST

USER = grading.FIRST_UID + 100 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="needs another user, or a mount")


@pytest.fixture
def place():
    """A folder that every user can read: pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="robust-"))
    folder.chmod(0o755)
    yield folder
    sandbox.process.remove_tree(str(folder))
    if AS_ROOT:
        grading.remove_traces(USER)


@pytest.fixture
def new_kit(place):
    return make_kit(place / "kit")


@pytest.fixture
def kit(new_kit, tiny_kit, tiny_lab):
    """One that has been used before."""
    build.build_kit_parts(tiny_kit, tiny_lab)
    grading.copy_cache(tiny_kit, new_kit / "build")
    return new_kit


def make_kit(root: Path) -> Path:
    """A kit with one tiny lab, and beside it a right file for it."""
    root.mkdir(parents=True)
    for name, source in (("common", ROOT / "common"), ("labs", FIXTURES / "labs"),
                         ("grader", ROOT / "grader")):
        shutil.copytree(source, root / name,
                        ignore=shutil.ignore_patterns("__pycache__", "tests"))
    submission(root.parent / "right", HONEST["right"].source)
    return root


def submission(folder: Path, source: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.c").write_text(source)
    return folder


def start(kit: Path, *options, folder: Path = None, env=None, uid=None, before=(), **rest):
    ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "grader", "grade", "--from",
         str(folder or kit.parent / "right"), "--json", "report.json", *options],
        cwd=rest.pop("cwd", str(kit.parent)), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env={"PATH": sandbox.ENVIRONMENT["PATH"], "PYTHONPATH": str(kit),
             "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}, **ids, **rest)


def finish(proc):
    out, _ = proc.communicate(timeout=300)
    return proc.returncode, out.decode("utf-8")


def score(kit: Path, *options, **rest) -> int:
    status, out = finish(start(kit, *options, **rest))
    assert status == 0, out
    assert "100/100" in out
    cwd = Path(rest.get("cwd", kit.parent))
    return json.loads((cwd / "report.json").read_text("utf-8"))["total"]["score"]


def writable(folder: Path, uid: int) -> str:
    folder.mkdir(exist_ok=True)
    os.chown(folder, uid, uid)
    return str(folder)


# --------------------------------------------------------------------- places


def test_a_path_with_spaces_and_other_letters(place):
    kit = make_kit(place / "ein Kit für $HOME's \"Übung\"")
    folder = submission(place / "Zoë  Łukasz; rm -rf *", HONEST["right"].source)
    for kind in ("auto", "none"):
        assert score(kit, "--isolation", kind, folder=folder) == 100


@needs_root
def test_a_kit_that_may_not_be_written_to(new_kit, place):
    """As one for everybody: what is generated goes to the user's cache."""
    before = sorted(new_kit.rglob("*"))
    home = writable(place / "home", USER)
    assert score(new_kit, uid=USER, env={"HOME": home}, cwd=home) == 100
    assert sorted(new_kit.rglob("*")) == before
    assert len(list((place / "home" / ".cache" / "ipc-lab-kit").iterdir())) == 1


@needs_root
def test_no_home_and_no_name(new_kit, place):
    """A user id without an account, as containers have them."""
    cache = Path(f"/tmp/ipc-lab-kit-cache-{USER}")
    try:
        cwd = writable(place / "work", USER)
        assert score(new_kit, uid=USER, cwd=cwd) == 100
        assert cache.is_dir() and cache.stat().st_mode & 0o077 == 0
    finally:
        shutil.rmtree(cache, ignore_errors=True)


@needs_root
def test_a_cache_that_somebody_else_has_made_is_not_used(kit, place):
    cache = Path(f"/tmp/ipc-lab-kit-cache-{USER}")
    try:
        cache.mkdir(mode=0o777)
        cache.chmod(0o777)
        status, out = finish(start(kit, uid=USER, cwd=writable(place / "work", USER)))
        assert status == 2
        assert "set XDG_CACHE_HOME to a folder of yours" in out
    finally:
        shutil.rmtree(cache, ignore_errors=True)


# ---------------------------------------------------------------- environments


@pytest.mark.parametrize("kind", ("auto", "uid", "none") if AS_ROOT else ("auto", "none"))
def test_a_umask_that_hides_everything(new_kit, kind):
    assert score(new_kit, "--isolation", kind, umask=0o077) == 100


@pytest.mark.parametrize("env", (
    {}, {"LC_ALL": "C"}, {"LANG": "xx_YY.nowhere"}, {"TERM": "nonsense"},
    {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "1"}, {"COLUMNS": "no"}, {"CC": "gcc"},
    {"TMPDIR": "/nowhere"}))
def test_odd_environments(kit, env):
    status, out = finish(start(kit, env=env))
    assert status == 0, out
    report = json.loads((kit.parent / "report.json").read_text("utf-8"))
    assert report["total"]["score"] == 100


def test_output_that_nobody_reads(kit):
    proc = start(kit)
    proc.stdout.close()
    assert proc.wait(timeout=300) in (0, 130)


# -------------------------------------------------------------- several at once


def test_graders_at_once_on_a_new_kit(new_kit, place):
    """Each makes the cache, or waits for it; none takes another's user id."""
    procs = []
    for n in range(4):
        (place / str(n)).mkdir()
        procs.append(start(new_kit, cwd=str(place / str(n))))
    for n, proc in enumerate(procs):
        status, out = finish(proc)
        assert status == 0, out
        report = json.loads((place / str(n) / "report.json").read_text("utf-8"))
        assert report["total"]["score"] == 100


# ------------------------------------------------------------------- no space


def _on_small_disk(folder: Path, size: str):
    """A command prefix: the folder is a file system of that size, for it alone."""
    script = f'mount -t tmpfs -o size={size},mode=1777 none "$0" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, str(folder))


@needs_root
@pytest.mark.parametrize("where", ("build", "tmp"))
def test_a_full_disk_is_a_clear_error(new_kit, where):
    folder = new_kit / "build" if where == "build" else Path("/tmp/.")
    folder.mkdir(exist_ok=True)
    if where == "tmp":
        kit_elsewhere = Path("/var/tmp") / f"robust-{os.getpid()}"
        try:
            moved = make_kit(kit_elsewhere / "kit")
            status, out = finish(start(moved, before=_on_small_disk(folder, "64k")))
        finally:
            shutil.rmtree(kit_elsewhere, ignore_errors=True)
    else:
        status, out = finish(start(new_kit, before=_on_small_disk(folder, "64k")))
    assert status == 2, out
    assert "No space left on device" in out or "no space left" in out.lower()
    assert "Traceback" not in out
    assert out.strip().splitlines()[-1].startswith("grader: ")


@needs_root
def test_a_report_that_finds_no_space_leaves_the_old_one(kit, place):
    small = place / "small"
    small.mkdir()
    script = ('mount -t tmpfs -o size=16k,mode=1777 none "$0" && cd "$0" && '
              'echo old > report.json && { head -c 100000 /dev/zero > fill; true; } '
              '2>/dev/null && { "$@"; status=$?; cat report.json; exit $status; }')
    status, out = finish(start(kit, before=("unshare", "--mount", "sh", "-c", script,
                                            str(small))))
    assert status == 2, out
    assert "can't write report.json: No space left on device" in out
    assert out.endswith("old\n")


# ------------------------------------------------------------------- containers


@pytest.mark.skipif(not container.supported(), reason="needs root, on x86-64")
@pytest.mark.parametrize("how,says", (
    ("docker", "No permissions to create new namespace"),
    ("no-user-namespaces", "Creating new namespace failed")))
@pytest.mark.parametrize("kind", ("uid", "none"))
def test_where_namespaces_are_refused_the_next_best_is_taken(kit, tiny_kit, place, how,
                                                             says, kind):
    uid = USER if kind == "none" else None
    before = [sys.executable, str(ROOT / "grader" / "tests" / "container.py"), how]
    if uid is not None:
        before += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    home = writable(place / "home", uid or 0)
    if uid is not None:
        grading.give_cache(tiny_kit, kit, place / "home", uid)
    wrong = submission(place / "wrong", HONEST["crashes"].source)
    env = {"HOME": home, "XDG_CACHE_HOME": home}
    assert score(kit, before=before, cwd=home, env=env) == 100
    report = json.loads((place / "home" / "report.json").read_text("utf-8"))
    assert report["isolation"] == kind
    assert says in report["isolation_why"]
    status, out = finish(start(kit, before=before, cwd=home, env=env, folder=wrong))
    assert status == 0 and "tiny.c:" in out, out
    left = {} if uid is None else grading.traces_of(uid, set(), {home})
    assert left == {}


# ---------------------------------------------------------------- interruptions


def wait_for(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def judges_of(proc) -> list:
    """The judge's processes below a grader."""
    found = []
    for pid in process.descendants(proc.pid):
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("/bin/judge"):
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", ("auto", "uid", "none") if AS_ROOT else ("auto", "none"))
@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                                    signal.SIGKILL))
def test_an_interrupted_grader_leaves_nothing(kit, place, kind, number):
    """Of SIGKILL, nothing after the next run."""
    size = random.SystemRandom().randrange(1 << 20, 1 << 24)  # its name, as it were
    hangs = submission(place / "hangs", "#include <sys/shm.h>\n" + HONEST[
        "daemon"].source.replace("wait(NULL);", "wait(NULL); "
        f"shmget(IPC_PRIVATE, {size}, 0600); for (;;) usleep(1000);"))
    # What was started with & by a shell has SIGINT ignored, and so what it starts.
    proc = start(kit, "--isolation", kind, folder=hangs,
                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for(lambda: judges_of(proc))
    wait_for(lambda: kind == "auto" or has_segment(size))
    folder = folder_of_run(proc)
    (folder / "mark").touch()
    below = process.descendants(proc.pid)
    proc.send_signal(number)
    status, out = finish(proc)
    if number == signal.SIGKILL:
        assert score(kit, "--isolation", kind) == 100
    else:
        assert status == (130 if number == signal.SIGINT else 128 + number), out
        assert "Traceback" not in out
    wait_for(lambda: not any(is_alive(pid) for pid in below))
    # Another run may have the user id by now, and so the name and the inode.
    wait_for(lambda: not (folder / "mark").exists())
    assert not has_segment(size)


def has_segment(size: int) -> bool:
    return f" {size} " in Path("/proc/sysvipc/shm").read_text()


def folder_of_run(proc) -> Path:
    """By the lock that this grader holds: the folder has the name of its file."""
    held = {line.split()[5].rpartition(":")[2]
            for line in Path("/proc/locks").read_text().splitlines()
            if line.split()[1] == "FLOCK" and line.split()[4] == str(proc.pid)}
    found = []
    for locks in Path("/tmp").glob(f"ipc-lab-kit-{os.geteuid()}*/.locks"):
        with contextlib.suppress(FileNotFoundError):  # the last run of it has ended
            found += [locks.parent / entry.name for entry in os.scandir(locks)
                      if str(entry.inode()) in held]
    [folder] = found
    return folder


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
