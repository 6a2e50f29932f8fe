"""Grades hostile submissions by the grader's own command line, and looks at
what each has left on the machine.

Each is graded in a process of its own user, started once for many of them: what
a submission may do to whoever grades it is not done to the tests, and what that
user has afterwards was left by it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Collection, Dict, List, Optional, Sequence

from grader import cli, discover, pipeline, process, run, sandbox
from grader.model import Kit

# A user id that no account and no run has.
FIRST_UID = 61000
_LONGEST_S = 900
# Folders that every user can write to.
_PUBLIC = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")


@dataclass(frozen=True)
class Graded:
    status: int  # of the command
    out: str  # what it printed
    report: Optional[dict]
    left: Dict[str, List[str]]
    wall_s: float


def copy_kit(kit: Kit, root: Path) -> None:
    """The kit as it is installed for everybody to read: without build/."""
    for name in ("common", "labs", "solutions", "grader", "handouts"):
        if (kit.root / name).is_dir():
            shutil.copytree(kit.root / name, root / name, symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__", "build"))
    shutil.copyfile(kit.root / "Makefile", root / "Makefile")
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    copy_cache(kit, root / "build")


def copy_cache(kit: Kit, build: Path, uid: Optional[int] = None) -> None:
    """What has been compiled already: the same for each copy of the kit."""
    cache = kit.build_dir / "cache"
    for entry in sorted(cache.iterdir()) if cache.is_dir() else ():
        if not entry.name.startswith("."):
            with contextlib.suppress(OSError, shutil.Error):  # pruned meanwhile
                shutil.copytree(entry, build / "cache" / entry.name)
    if uid is not None and build.is_dir():
        for path in (build, *build.rglob("*")):
            os.chown(path, uid, uid)


def give_cache(kit: Kit, root: Path, home: Path, uid: int) -> None:
    """To a user whose XDG_CACHE_HOME home is, for the kit in root."""
    copy_cache(kit, home / "ipc-lab-kit" / discover.cache_name(root), uid)
    for path in (home, home / "ipc-lab-kit"):
        path.mkdir(exist_ok=True)
        os.chown(path, uid, uid)


class Grader:
    """A process that grades, as a user id or, for None, as this one."""

    def __init__(self, kit: Kit, root: Path, uid: Optional[int] = None) -> None:
        self.root, self.uid = root, uid
        self.home = Path(tempfile.mkdtemp(prefix="home-"))
        if uid is not None:
            give_cache(kit, root, self.home, uid)
        # What a test that was killed has left is not of a submission's.
        self._known = {path for folder in _PUBLIC for path in files_of(folder, uid)}
        self._start()

    def _start(self) -> None:
        uid = [] if self.uid is None else [str(self.uid)]
        self._grader = subprocess.Popen(
            [sys.executable, "-m", "grader.tests.hostile.grading", *uid],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(self.root),
            env={"PATH": sandbox.ENVIRONMENT["PATH"], "HOME": str(self.home),
                 "XDG_CACHE_HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C",
                 **{name: os.environ[name] for name in ("CC",) if name in os.environ}},
            start_new_session=True)

    def grade(self, folder: Path, isolation: str, options: Sequence[str] = (),
              quick: bool = False) -> Graded:
        """`grade --from folder`, for `quick` without Valgrind.  A grader that does
        not answer is a failure of its own: the report has to come."""
        job = {"quick": quick, "argv": [
            "grade", "--from", str(folder), "--isolation", isolation, "--width", "120",
            "--json", str(self.home / "report.json"), *options],
            "report": str(self.home / "report.json")}
        try:
            self._grader.stdin.write(json.dumps(job).encode() + b"\n")
            self._grader.stdin.flush()
            line = self._grader.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            status = self._grader.wait()
            self._start()
            return Graded(status, "the grader itself was ended", None, {}, 0.0)
        answer = json.loads(line)
        if self.uid is not None:
            answer["left"].update(traces_of(self.uid, {self._grader.pid}, self._known))
            remove_traces(self.uid)
        return Graded(**answer)

    def close(self) -> None:
        self._grader.stdin.close()
        self._grader.wait(timeout=_LONGEST_S)
        self._grader.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)


# ------------------------------------------------------------ what was left


def traces_of(uid: int, known_pids: set, known_paths: Collection[str] = ()
              ) -> Dict[str, List[str]]:
    """Processes, IPC objects and files of a user id."""
    found = {
        "processes": [f"{pid} {_command(pid)}" for pid in sandbox.processes_of(uid)
                      if pid not in known_pids],
        "objects": [f"{kind} {key}" for kind, column, _ in run.SYSV
                    for key in run.sysv_objects(kind, column, uid)],
        "files": [path for folder in _PUBLIC
                  for path in files_of(folder, uid) if path not in known_paths],
    }
    return {what: names for what, names in found.items() if names}


def remove_traces(uid: int) -> None:
    """IPC objects and files that a user id of ours has left: without isolation a
    run can't tell which of its user's were made by it, and leaves them."""
    for kind, column, option in run.SYSV:
        run.remove_objects(option, run.sysv_objects(kind, column, uid))
    for folder in ("/dev/shm", "/dev/mqueue"):
        run.remove_files_of(Path(folder), uid)
    run.remove_unseen_queues(uid)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def files_of(folder: str, uid: Optional[int]) -> List[str]:
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = f"{folder}/{name}"
        try:
            if os.lstat(path).st_uid == uid:
                found.append(path)
        except FileNotFoundError:
            continue
    return found


@dataclass
class Traces:
    runs: int
    left: Dict[str, List[str]]


@contextlib.contextmanager
def noted_traces():
    """What each run in this process has left when it gives its user id back:
    another grader may take that the moment after.  What was there when it took
    the id was left by another one."""
    traces = Traces(0, {})
    before = set(process.descendants(os.getpid()))
    make, close = sandbox.Place.__init__, sandbox.Place.close
    found: Dict[Path, Dict[str, List[str]]] = {}

    def traces_in(place: sandbox.Place) -> Dict[str, List[str]]:
        return {} if place.uid is None else traces_of(place.uid, set(),
                                                      {str(place.folder)})

    def noted(place: sandbox.Place, isolation: sandbox.Isolation) -> None:
        make(place, isolation)
        found[place.folder] = traces_in(place)

    def looked_at(place: sandbox.Place) -> None:
        known = found.get(place.folder, {})
        seen = {what: [name for name in names if name not in known.get(what, ())]
                for what, names in traces_in(place).items()}
        seen["children"] = [f"{pid} {_command(pid)}"
                            for pid in process.descendants(os.getpid()) if pid not in before]
        # As close() does it, and before another run can take the name.
        process.remove_tree(str(place.folder))
        seen["folders"] = [str(place.folder)] if place.folder.exists() else []
        close(place)
        traces.runs += 1
        for what, names in seen.items():
            if names:
                traces.left.setdefault(what, []).extend(names)

    sandbox.Place.__init__, sandbox.Place.close = noted, looked_at
    try:
        yield traces
    finally:
        sandbox.Place.__init__, sandbox.Place.close = make, close


# -------------------------------------------------------- the process itself


@contextlib.contextmanager
def _without_valgrind():
    """With the whole report, which `grade --quick` does not make."""
    job = pipeline.Job
    pipeline.Job = lambda *args, **options: replace(job(*args, **options), quick=True)
    try:
        yield
    finally:
        pipeline.Job = job


def _grade(job: dict) -> dict:
    import time

    out, report = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), None
    Path(job["report"]).unlink(missing_ok=True)
    start = time.monotonic()
    with contextlib.ExitStack() as stack, noted_traces() as traces, \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            if job["quick"]:
                stack.enter_context(_without_valgrind())
            status = cli.main(job["argv"])
        except SystemExit as end:
            status = end.code
        except BaseException:  # noqa: a traceback is no report
            import traceback
            traceback.print_exc()
            status = -1
    try:
        report = json.loads(Path(job["report"]).read_text("utf-8"))
    except (OSError, ValueError):
        pass
    out.flush()
    text = out.buffer.getvalue().decode(out.encoding)
    return {"status": status, "out": text, "report": report, "left": traces.left,
            "wall_s": time.monotonic() - start}


def _mount_queues() -> None:
    """For this process alone: where they are not mounted, Landlock can't be
    used, and queues that were left can't be seen."""
    if os.geteuid() != 0 or sandbox._hides_files():
        return
    sandbox._hides_files.cache_clear()
    Path("/dev/mqueue").mkdir(exist_ok=True)
    script = 'mount -t mqueue none /dev/mqueue && exec "$@"'
    argv = [sys.executable, "-m", "grader.tests.hostile.grading", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "sh", *argv])


def main() -> None:
    _mount_queues()
    for uid in map(int, sys.argv[1:]):
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        os.write(answers, json.dumps(_grade(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
