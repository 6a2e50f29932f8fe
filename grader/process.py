"""Runs one program with bounds on everything that comes out of it.

The only place of the grader that starts processes.  Output is read as it
comes and kept up to a cap, so that a flood costs nothing; the end of the
program is its exit and not the end of its output, which a process that it left
behind may hold open; a program that is late is killed with its whole session.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

CHUNK = 1 << 16
DEFAULT_CAP = 1 << 18
# Where the operating system can't wake us at a process's exit.
_POLL_S = 0.02
_LOOK_S = 2.0
_WATCH_S = 0.2
_MOST_END_S = 5.0  # a process with much memory takes its time

Argv = Union[Sequence[str], Callable[[Dict[str, int]], Sequence[str]]]


@dataclass(frozen=True)
class Finished:
    status: Optional[int]  # negative: a signal; None: killed by us
    out: Dict[str, bytes]  # "stdout", "stderr" and the extra pipes, by name
    wall_s: float
    stopped: str = ""  # watch's words, where it was killed for these

    @property
    def stdout(self) -> bytes:
        return self.out["stdout"]

    @property
    def stderr(self) -> bytes:
        return self.out["stderr"]


class _Reader:
    """The read end of one pipe, and what came through it."""

    def __init__(self, descriptor: int, cap: int,
                 on_line: Optional[Callable[[bytes], None]]) -> None:
        self.descriptor, self.cap, self.on_line = descriptor, cap, on_line
        self.data = bytearray()
        self.line = b""
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Takes what is there; False at the end of the pipe."""
        while True:
            try:
                chunk = os.read(self.descriptor, CHUNK)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self.data += chunk[: max(0, self.cap - len(self.data))]
            if self.on_line:
                self._lines(chunk)
            if len(chunk) < CHUNK:
                return True

    def _lines(self, chunk: bytes) -> None:
        *lines, rest = (self.line + chunk).split(b"\n")
        self.line = rest[-self.cap:]
        for line in lines:
            self.on_line(line)


def run(argv: Argv, *, timeout_s: float, cwd: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None, uid: Optional[int] = None,
        pipes: Sequence[str] = (), pipes_of: Optional[int] = None, cap: int = DEFAULT_CAP,
        on_line: Optional[Callable[[str, bytes], None]] = None,
        watch: Optional[Callable[[], str]] = None) -> Finished:
    """Runs a program to its end.

    argv may be a function of the extra pipes' descriptor numbers.  pipes_of is
    the user who can open them again through /dev/fd.  on_line is called with
    the pipe's name and each line of an extra pipe as it comes.  watch is asked
    again and again; when it says why, the program is killed.
    A program that can't be started raises OSError.
    """
    readers: Dict[str, _Reader] = {}
    writers: Dict[str, int] = {}
    proc = None
    start = time.monotonic()
    try:
        for name in pipes:
            read_end, writers[name] = os.pipe()
            if pipes_of is not None:
                os.fchown(writers[name], pipes_of, pipes_of)
            hook = (lambda line, name=name: on_line(name, line)) if on_line else None
            readers[name] = _Reader(read_end, cap, hook)
        command = list(argv(writers) if callable(argv) else argv)
        proc = _start(command, cwd, env, uid, list(writers.values()))
        while writers:
            os.close(writers.popitem()[1])
        for name, pipe in (("stdout", proc.stdout), ("stderr", proc.stderr)):
            readers[name] = _Reader(os.dup(pipe.fileno()), cap, None)
            pipe.close()
        stopped = _pump(proc, readers, start + timeout_s, watch)
        if stopped is not None:
            kill_session(proc)
        for reader in readers.values():
            reader.read()
        status = None if stopped is not None else proc.returncode
        return Finished(status, {name: bytes(reader.data)
                                 for name, reader in readers.items()},
                        time.monotonic() - start, stopped or "")
    finally:
        if proc and proc.poll() is None:
            kill_session(proc)
        for descriptor in [*writers.values(),
                           *(reader.descriptor for reader in readers.values())]:
            os.close(descriptor)


def _start(command: List[str], cwd: Optional[str], env: Optional[Mapping[str, str]],
           uid: Optional[int], pass_fds: List[int]) -> subprocess.Popen:
    ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, bufsize=0, cwd=cwd, env=env, pass_fds=pass_fds,
        start_new_session=True, umask=0o022, **ids)


def _pump(proc: subprocess.Popen, readers: Dict[str, _Reader], deadline: float,
          watch: Optional[Callable[[], str]]) -> Optional[str]:
    """Reads until the process has ended: None.  Else why it has to be: "" when it
    is late."""
    look_s = _WATCH_S if watch else _LOOK_S
    look_next = 0.0
    with selectors.DefaultSelector() as selector:
        exit_fd = _exit_descriptor(proc.pid)
        if exit_fd is not None:
            selector.register(exit_fd, selectors.EVENT_READ, None)
        for reader in readers.values():
            selector.register(reader.descriptor, selectors.EVENT_READ, reader)
        try:
            while proc.poll() is None:
                now = time.monotonic()
                if now >= look_next:  # not each time that a flood wakes us
                    look_next = now + _WATCH_S
                    why = watch() if watch else ""
                    if why or _is_stopped(proc.pid):
                        return why
                if now >= deadline:
                    return ""
                wait = min(deadline - now, look_s if exit_fd is not None else _POLL_S)
                for key, _ in selector.select(wait):
                    if key.data and not key.data.read():
                        selector.unregister(key.fd)
            return None
        finally:
            if exit_fd is not None:
                os.close(exit_fd)


def _is_stopped(pid: int) -> bool:
    """Has it been stopped, as a student's program of the same user may do?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"T"]
    except OSError:
        return False


def _exit_descriptor(pid: int) -> Optional[int]:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def kill_session(proc: subprocess.Popen) -> None:
    """Ends a program that was started in a session of its own, and waits for its
    children as well: with the first process of a PID namespace all others end."""
    children = _children_by_parent().get(proc.pid, ())
    try:
        os.killpg(proc.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    proc.kill()
    proc.wait()
    deadline = time.monotonic() + _MOST_END_S
    while any(map(_is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.005)


def descendants(root: int) -> List[int]:
    """Every process below one, its children first."""
    children = _children_by_parent()
    found: List[int] = []
    todo = children.get(root, [])
    while todo:
        found += todo
        todo = [child for pid in todo for child in children.get(pid, ())]
    return found


def _children_by_parent() -> Dict[int, List[int]]:
    children: Dict[int, List[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    return children


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] != [b"Z"]
    except OSError:
        return False


def remove_tree(path: str) -> None:
    """Removes a folder that a student's program may have filled."""
    try:
        shutil.rmtree(path, ignore_errors=True)
    except RecursionError:
        pass
    if os.path.lexists(path):  # too deep, or folders that may not be entered
        run(["chmod", "-R", "u+rwx", "--", path], timeout_s=60)
        run(["rm", "-rf", "--", path], timeout_s=60)


def run_on_terminal(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> int:
    """Runs a program that talks to whoever sits at the terminal."""
    return subprocess.run(argv, cwd=cwd, env=env, check=False).returncode


class FileLock:
    """Held while a piece of build/cache is made, so that it is made once."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
