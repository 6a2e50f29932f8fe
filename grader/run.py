"""Third step: runs the judge, natively and then with the subject under Valgrind.

The native run gives the verdicts.  A judge that died on the way is run again
without the test that it died in, so that no test loses its points to another
one's fault.  Valgrind is run only where a test passed or crashed: before that
it has nothing to say.  Whatever happens, `sweep` leaves nothing of the run
behind; it touches only what belongs to the run.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, Dict, Iterable, List, Optional, Sequence, Tuple

from grader import parse, process, text
from grader.errors import KitError
from grader.model import CRASHED, PASSED, TIMED_OUT, Build, Lab, Log, Run
from grader.sandbox import (
    JUDGE, NAMESPACES, NONE, Isolation, Mount, Place, bubblewrap,
    candidates, dead_runs, processes_of,
)

# No checks of Valgrind by itself, and no calls into libc to free what is its own
# (nobody is shown what can still be reached): a third of the time of a scenario.
# Records of 64 threads, which each fork writes anew, and not of 500: a tenth.
VALGRIND = ("valgrind", "-q", "--sanity-level=0", "--run-libc-freeres=no",
            "--run-cxx-freeres=no", "--read-inline-info=no", "--leak-check=full",
            "--show-leak-kinds=definite,indirect,possible",
            "--errors-for-leak-kinds=definite,indirect,possible",
            "--child-silent-after-fork=no", "--num-callers=30", "--max-threads=64",
            "--fullpath-after=", "--vgdb=no", "--xml=yes")
# A judge that code of the same user kills, without namespaces, is run again
# for the other tests, as long as this lasts.
_MOST_RERUNS = 60
_NATIVE_S, _VALGRIND_S = 180, 300
_LOG_CAP = 16 << 20
_VALGRIND_FILE_CAP = 4 << 20
_VALGRIND_FILES = 2000
_OBJECTS_AT_ONCE = 1000  # in one command line
# Where the file system of POSIX queues is mounted, if it is.
_QUEUES = "/dev/mqueue"
# System V objects: the file in /proc/sysvipc, its column, the option of ipcrm.
SYSV = (("shm", "shmid", "-m"), ("msg", "msqid", "-q"), ("sem", "semid", "-s"))

# (lab, name of the test that ended) as a run goes on
Progress = Callable[[Lab, str], None]


# ----------------------------------------------------------------- isolation


def choose_isolation(wanted: str, memory: Optional[Path] = None) -> Isolation:
    """The best isolation that works here, and why it is not a better one.

    Trying takes 20 ms, which a student who waits for `make lab4` would feel:
    in the file `memory` it is kept that namespaces worked, until the machine
    starts anew or one of its settings changes.
    """
    end_dead_runs()
    known = memory and wanted in ("auto", NAMESPACES) and _fingerprint()
    if known and _read(memory) == known:
        return candidates(wanted)[0]
    reason = ""
    for isolation in candidates(wanted):
        if isolation.kind != NAMESPACES:
            return isolation if isolation.why else Isolation(isolation.kind, reason)
        found = why_no_namespaces(isolation)
        if not found:
            if known and not isolation.by_root:
                memory.parent.mkdir(parents=True, exist_ok=True)
                memory.write_text(known)
            return isolation
        reason = reason or found
    raise KitError(f"--isolation namespaces does not work here: {reason}")


def _fingerprint() -> str:
    """What namespaces depend on; another text, another answer."""
    bwrap = bubblewrap()
    if not bwrap:
        return ""
    settings = [_read(Path("/proc/sys") / name) for name in (
        "kernel/random/boot_id", "user/max_user_namespaces",
        "kernel/apparmor_restrict_unprivileged_userns",
        "kernel/unprivileged_userns_clone")]
    return " ".join([str(os.stat(bwrap).st_mtime_ns), str(os.geteuid()),
                     os.readlink("/proc/self/ns/user"), *settings]).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def why_no_namespaces(isolation: Isolation) -> str:
    """Tries bubblewrap; empty when it works."""
    if not bubblewrap():
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    place = Place(isolation)
    try:
        place.make("probe")
        argv = place.command(["true"], JUDGE, [Mount("probe")], "probe")
        done = process.run(argv, timeout_s=10, cwd="/", env=place.environment,
                           uid=place.start_as)
    finally:
        place.close()
    if done.status == 0:
        return ""
    words = text.one_line(done.stderr.split(b" See <")[0], 160)
    return words or f"bubblewrap ended with {done.status}"


# ----------------------------------------------------------------- the runs


@dataclass(frozen=True)
class _Plan:
    """What all runs of one lab have in common."""

    lab: Lab
    build: Build
    place: Place
    only: Tuple[str, ...]
    progress: Optional[Progress]


def run_lab(lab: Lab, build: Build, place: Place, *, quick: bool = False,
            only: Sequence[str] = (), progress: Optional[Progress] = None) -> Run:
    """Everything that a lab's verdicts are made from."""
    plan = _Plan(lab, build, place, tuple(only), progress)
    native = _run_until_whole(plan, ())
    if quick:
        return Run(native, memory_skipped="not run: quick")
    outcomes = parse.parse_outcomes(lab, Run(native)).values()
    if not any(o.status in (PASSED, CRASHED) for o in outcomes):
        return Run(native, memory_skipped="not run: no test has passed yet")
    if not shutil.which("valgrind"):
        raise KitError("Valgrind is not installed (apt-get install valgrind libc6-dbg)")
    # What did not end in time natively would not do so under Valgrind.
    late = tuple(o.test.name for o in outcomes if o.status == TIMED_OUT)
    folder = place.make("vg")
    logs = _run_until_whole(plan, late, valgrind=True)
    files = tuple(_read_xml(folder))
    _check_valgrind(logs[-1], files)
    return Run(native, logs, files)


def _run_until_whole(plan: _Plan, skip: Tuple[str, ...],
                     valgrind: bool = False) -> Tuple[Log, ...]:
    """Runs the judge, and again without the tests that it died in."""
    logs: List[Log] = []
    left_s = _VALGRIND_S if valgrind else _NATIVE_S
    for _ in range(1 + _MOST_RERUNS):
        log = _run_judge(plan, skip, valgrind, left_s)
        sweep(plan.place)
        plan.place.clear(_is_valgrinds)
        logs.append(log)
        died_in = parse.parse_events(log.events).open
        left_s -= log.wall_s
        if parse.is_whole(log) or not died_in or died_in in skip or left_s <= 0:
            break
        skip += (died_in,)
    return tuple(logs)


def _run_judge(plan: _Plan, skip: Tuple[str, ...], valgrind: bool,
               timeout_s: float) -> Log:
    def on_line(pipe: str, line: bytes) -> None:
        if plan.progress and pipe == "events":
            event = parse.parse_event(line)
            if event.get("event") == "end":
                plan.progress(plan.lab, text.one_line(str(event.get("test"))))

    mounts = [Mount("bin"), Mount("out")]
    if valgrind:
        mounts.append(Mount("vg", writable=True))
    place = plan.place
    done = process.run(
        lambda pipes: place.command(
            _judge_argv(plan, pipes, skip, valgrind, mounts[1:]), JUDGE, mounts, "out"),
        timeout_s=timeout_s, watch=place.overfull, cwd=place.start_dir("out"),
        env=place.environment, uid=place.start_as, pipes=("events", "xml"),
        pipes_of=place.uid, cap=_LOG_CAP, on_line=on_line)
    return Log(done.out["xml"], done.out["events"], done.stderr[:4096], done.status,
               done.wall_s, skip, done.stopped)


def _judge_argv(plan: _Plan, pipes: Dict[str, int], skip: Sequence[str],
                valgrind: bool, seen: Sequence[Mount]) -> List[str]:
    place = plan.place
    argv = [place.path(f"bin/{plan.build.judge.name}"),
            "--events-fd", str(pipes["events"]), "--xml", f"/dev/fd/{pipes['xml']}"]
    for option, names in (("--only", plan.only), ("--skip", skip),
                          ("--source", plan.lab.files)):
        for name in names:
            argv += [option, name]
    if place.isolation.kind == NONE:
        # With the user's own objects and processes: what was made here is noted.
        argv += ["--shared", "--journal", str(_begin_journal(place.folder))]
    subject = [place.path("out/subject")]
    if plan.build.witness and not valgrind:
        argv.append("--witness")
        subject = [place.path("out/witness")]
    if valgrind:
        argv.append("--valgrind")
        subject[:0] = [*VALGRIND, f"--xml-file={place.path('vg')}/vg.%p.xml"]
    return [*argv, "--", *place.confined(subject, seen)]


def _check_valgrind(last: Log, files: Sequence[bytes]) -> None:
    """A Valgrind that can't start is the machine's fault, not the student's;
    one that starts, but has left no log, ran code that removed it."""
    if any(b"<status>" in xml for xml in files):
        return
    trial = process.run([*VALGRIND, "--xml-file=/dev/null", "true"], timeout_s=60)
    if b"must-be-redirected" in trial.stderr or b"redirection" in trial.stderr:
        raise KitError("Valgrind needs libc's debug symbols here "
                       "(apt-get install libc6-dbg)")
    if trial.status != 0:
        raise KitError("Valgrind does not start: "
                       + (text.one_line(trial.stderr, 300) or parse.judge_end(last)))


def _is_valgrinds(path: str) -> bool:
    return (re.fullmatch(r"vg\.[0-9]+\.xml", os.path.basename(path)) is not None
            and os.lstat(path).st_size <= _VALGRIND_FILE_CAP)


def _read_xml(folder: Path) -> Iterable[bytes]:
    paths = sorted(folder.glob("vg.*.xml"))[:_VALGRIND_FILES]
    for path in paths:
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            yield file.read(_VALGRIND_FILE_CAP)


def list_tests(judge: Path) -> List[Tuple[str, str]]:
    """(group, name) of every test that the test file has."""
    done = process.run([str(judge), "--list"], timeout_s=10)
    if done.status != 0:
        raise KitError(f"{judge} --list: {text.clean(done.stderr, 500, 5)}")
    pairs = (line.split() for line in text.decode(done.stdout).splitlines())
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


# ------------------------------------------------------------------- debug


def debug(lab: Lab, build: Build, place: Place, test: str,
          schedule: Optional[str] = None, gdb: bool = True) -> int:
    """The judge on this terminal, with --debug, for one test."""
    argv = [str(build.judge), "--xml", "/dev/null", "--only", test, "--shared"]
    if gdb:
        argv.append("--debug")
    if schedule is not None:
        argv += ["--schedule", schedule]
    for name in lab.files:
        argv += ["--source", name]
    if build.witness:
        argv.append("--witness")
    argv += ["--", str(build.witness or build.subject)]
    env = {**os.environ, **place.environment, "TERM": os.environ.get("TERM", "dumb"),
           "HOME": os.environ.get("HOME", "/tmp")}
    return process.run_on_terminal(argv, str(place.folder / "out"), env)


# ------------------------------------------------------------------- sweep


def adopt_orphans() -> None:
    """Makes this process the one that orphans below it come back to, and that
    programs of the same user can't look into."""
    pr_set_dumpable, pr_set_child_subreaper = 4, 36
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    libc.prctl(pr_set_dumpable, 0, 0, 0, 0)


def sweep(place: Place) -> None:
    """Ends and removes what a run left, by its user id or its parent."""
    if place.uid is not None:
        _sweep_uid(place.uid, place.isolation.kind == NAMESPACES)
    elif place.isolation.kind == NONE:
        _sweep_children()
        _remove_noted_objects(place.folder)


def end_dead_runs() -> None:
    """Ends and removes what runs have left whose grader was killed."""
    for folder in dead_runs():
        _end_programs_of(f"{folder.path}/")
        if folder.uid is not None:
            _sweep_uid(folder.uid)
        _remove_noted_objects(folder.path)
        folder.remove()


def _end_programs_of(folder: str) -> None:
    """By the file that a process executes: in namespaces they have ended with
    their grader, and elsewhere they may have children of any user id."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/exe").startswith(folder):
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue


def _sweep_uid(uid: int, in_namespaces: bool = False) -> None:
    if not in_namespaces:  # even if none is seen: they may do no more than fork and exit
        _end_processes_of(uid)
    deadline = time.monotonic() + 10
    while processes_of(uid) and time.monotonic() < deadline:
        _end_processes_of(uid)
    for kind, column, option in SYSV:
        remove_objects(option, sysv_objects(kind, column, uid), uid)
    for folder in ("/dev/shm", _QUEUES, "/tmp", "/var/tmp", "/run/lock"):
        remove_files_of(Path(folder), uid)
    if not in_namespaces:
        remove_unseen_queues(uid)


def _end_processes_of(uid: int) -> None:
    # As that user: reaches every process of his at one stroke, and no other.
    process.run(["sh", "-c", "kill -KILL -1"], timeout_s=5, cwd="/", uid=uid)
    time.sleep(0.01)
    for pid in processes_of(uid):  # an orphan that came back to us
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass


def remove_unseen_queues(uid: int) -> None:
    """The user's POSIX queues where their file system is not mounted: root looks
    at it in a mount namespace, where one can be made."""
    if not os.path.ismount(_QUEUES):
        script = 'mount -t mqueue none /tmp && find /tmp -mindepth 1 -user "$0" -delete'
        process.run(["unshare", "--mount", "sh", "-c", script, str(uid)], timeout_s=10,
                    cwd="/")


def sysv_objects(kind: str, column: str, uid: int) -> List[str]:
    try:
        lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
    except OSError:
        return []
    if not lines:
        return []
    names = lines[0].split()
    owner, maker, ident = (names.index(n) for n in ("uid", "cuid", column))
    rows = (line.split() for line in lines[1:])
    return [row[ident] for row in rows if str(uid) in (row[owner], row[maker])]


def remove_objects(option: str, ids: Sequence[str], uid: Optional[int] = None) -> None:
    for at in range(0, len(ids), _OBJECTS_AT_ONCE):
        words = [word for object_id in ids[at:at + _OBJECTS_AT_ONCE]
                 for word in (option, object_id)]
        process.run(["ipcrm", *words], timeout_s=60, cwd="/", uid=uid)


# The judge's and the subject's notes of the IPC objects that they have made, for
# a run that can't be told from others of its user.  Identifiers mean nothing
# after the machine has been started anew.
_JOURNAL, _LONGEST_JOURNAL = "journal", 1 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _begin_journal(folder: Path) -> Path:
    path = folder / _JOURNAL
    if not path.exists():
        path.write_bytes(_BOOT.read_bytes())
    return path


def _remove_noted_objects(folder: Path) -> None:
    """Those that are still there, and this user's."""
    try:
        with open(folder / _JOURNAL, encoding="ascii", errors="replace") as journal:
            boot, *notes = journal.read(_LONGEST_JOURNAL).splitlines()
    except (OSError, ValueError):
        return
    if boot != _BOOT.read_text("ascii").strip():
        return
    noted = set(notes)
    for kind, column, option in SYSV:
        found = sysv_objects(kind, column, os.geteuid())
        remove_objects(option, [i for i in found if f"{option[1]} {i}" in noted])
    names = {note[1:] for note in noted if note[:1] == "/"}
    if not os.path.ismount(_QUEUES):
        for name in names:
            ctypes.CDLL(None).mq_unlink(f"/{name}".encode())
    names |= {f"sem.{name}" for name in names}
    for shared in ("/dev/shm", _QUEUES) if names else ():
        remove_files_of(Path(shared), os.geteuid(), names)


def remove_files_of(folder: Path, uid: int, names: Collection[str] = ()) -> None:
    """The user's; with names, those alone."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.stat(follow_symlinks=False).st_uid != uid:
                continue
            if names and entry.name not in names:
                continue
            if entry.is_dir(follow_symlinks=False):
                process.remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        except OSError:
            continue


def _sweep_children() -> None:
    """Ends every process below this one: no live program of ours is left by
    now, so what there is came back to us as an orphan.  First all are stopped,
    until no new one turns up; a fork bomb outruns plain killing."""
    stopped: set = set()
    for _ in range(200):
        found = set(process.descendants(os.getpid())) - stopped
        if not found:
            break
        _signal_all(found, signal.SIGSTOP)
        stopped |= found
    _signal_all(stopped, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while stopped and time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
        except ChildProcessError:
            break


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue
