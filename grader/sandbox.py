"""Command lines, limits, a user id and a folder for a student's program.

Three kinds of isolation, best first:

    namespaces  bubblewrap: user, PID, IPC, network, UTS and mount namespaces of
                its own; the judge is process 1 there, so that nothing inside
                can end it, and everything inside ends with it.  A root grader
                drops to an unprivileged user id first.
    uid         a root grader without namespaces: an unprivileged user id that
                nobody else uses, held for the run.
    none        an ordinary user without namespaces.

No student's program is started here: build.py and run.py do that with the
command lines made here.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from grader import process
from grader.errors import KitError

NAMESPACES, UID, NONE = "namespaces", "uid", "none"
KINDS = (NAMESPACES, UID, NONE)

# Where the run's folder is inside the namespaces.
INSIDE = "/lab"
# The upper end of Debian's range for ordinary accounts; inside of the 65536
# ids that a container has.
_UIDS = range(59000, 60000)

ENVIRONMENT: Dict[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/tmp", "TMPDIR": "/tmp", "LC_ALL": "C",
}


@dataclass(frozen=True)
class Limits:
    processes: int = 128
    cpu_s: Optional[int] = None
    memory_bytes: Optional[int] = None
    file_bytes: int = 64 << 20
    descriptors: int = 1024


COMPILER = Limits(cpu_s=20, memory_bytes=2 << 30)
JUDGE = Limits()  # no memory limit: Valgrind


@dataclass(frozen=True)
class Isolation:
    kind: str
    why: str = ""  # why it is not namespaces
    # Namespaces made by root without a user namespace, where these are refused.
    by_root: bool = False


@dataclass(frozen=True)
class Mount:
    """A folder of the run that a command may see."""

    folder: str  # below the run's folder
    writable: bool = False


def is_root() -> bool:
    return os.geteuid() == 0


def candidates(wanted: str) -> Tuple[Isolation, ...]:
    """The isolations to try for --isolation, best first."""
    with_namespaces = (Isolation(NAMESPACES),)
    if is_root():
        with_namespaces += (Isolation(NAMESPACES, by_root=True),)
    without = Isolation(UID if is_root() else NONE)
    if wanted == "auto":
        return with_namespaces + (without,)
    if wanted == NAMESPACES:
        return with_namespaces
    if wanted == UID and not is_root():
        raise KitError("--isolation uid needs root: only root can run a program "
                       "as another user")
    return (Isolation(wanted, "asked for with --isolation"),)


def bubblewrap() -> Optional[str]:
    return shutil.which("bwrap")


class RunFolder:
    """A run's folder, and a lock on a file beside it that goes with its grader.

    They lie in a folder of this user's own, into which no program of a run can
    write, nor open the locks.  So what a killed grader has left is known for
    that to the next one (`dead_runs`), and nothing else can be taken for it.
    """

    def __init__(self) -> None:
        # A short path: names of sockets have 108 bytes.
        base = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
        self._lock = -1
        while self._lock == -1:
            try:
                root = _own_folder(Path(base) / _runs_name(), 0o711)
                locks = root and _own_folder(root / ".locks", 0o700)
                if not root or not locks:  # somebody else has the name
                    self.path = Path(tempfile.mkdtemp(prefix="kit-", dir=base))
                    return
                descriptor, name = tempfile.mkstemp(prefix="", dir=locks)
            except FileNotFoundError:  # another run, the last one, has ended
                continue
            self._lock_path = Path(name)
            self._lock = _locked(self._lock_path, descriptor)
        self.path = root / self._lock_path.name
        self.path.mkdir(mode=0o700)

    @classmethod
    def of_dead_run(cls, path: Path, lock_path: Path, lock: int) -> "RunFolder":
        folder = cls.__new__(cls)
        folder.path, folder._lock_path, folder._lock = path, lock_path, lock
        return folder

    @property
    def uid(self) -> Optional[int]:
        """The user id of the run; None where it had none of its own."""
        try:
            group = os.lstat(self.path).st_gid
        except OSError:
            return None
        return group if group in _UIDS and is_root() else None

    def remove(self) -> None:
        process.remove_tree(str(self.path))
        if self._lock == -1:
            return
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)
        try:
            self._lock_path.parent.rmdir()  # if it was the last run
            self.path.parent.rmdir()
        except OSError:
            pass


def _runs_name() -> str:
    return f"ipc-lab-kit-{os.geteuid()}"


def _own_folder(path: Path, mode: int) -> Optional[Path]:
    """Makes it where it is missing; None where it is not ours alone."""
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)  # whatever the umask
    except FileExistsError:
        pass
    found = os.lstat(path)
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return path if mine and not found.st_mode & 0o022 else None


def _locked(path: Path, descriptor: int) -> int:
    """The descriptor with the lock; -1, and it is closed, where another grader
    holds the lock or has removed the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return -1


def dead_runs() -> Iterator[RunFolder]:
    """The folders of this user's runs whose grader has been killed."""
    for root in {Path("/tmp"), Path(tempfile.gettempdir())}:
        locks = root / _runs_name() / ".locks"
        try:
            names = os.listdir(locks)
        except OSError:
            continue
        for name in names:
            path = locks / name
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            descriptor = _locked(path, descriptor)
            if descriptor != -1:
                yield RunFolder.of_dead_run(locks.parent / name, path, descriptor)


class Place:
    """A folder, and a user id when the grader is root, for one lab's run.

    Of the folder's own folders, the ones that commands write to (`make`) are
    the run's user's; what is copied in (`add`, `write`) he can read only.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self._hold = None
        self.uid: Optional[int] = None
        if is_root() and isolation.kind != NONE:
            self.uid, self._hold = _take_uid()
        self._run = RunFolder()
        self.folder = self._run.path
        self._readable(self.folder, 0o750)

    def close(self) -> None:
        self._run.remove()
        if self._hold:
            self._hold.close()

    def make(self, name: str) -> Path:
        """A folder that commands may write to."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)
        return path

    def add(self, path: Path, folder: str, mode: int = 0o640) -> Path:
        """A copy of a file, to be read by commands."""
        target = self._input_folder(folder) / path.name
        shutil.copyfile(path, target)
        return self._readable(target, mode)

    def write(self, folder: str, name: str, data: bytes) -> Path:
        target = self._input_folder(folder) / name
        target.write_bytes(data)
        return self._readable(target, 0o640)

    def _input_folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return self._readable(path, 0o750)

    def _readable(self, path: Path, mode: int) -> Path:
        path.chmod(mode)
        if self.uid is not None:
            os.chown(path, 0, self.uid)
        return path

    def path(self, relative: str) -> str:
        """A path of the run's folder as a command inside sees it."""
        if self.isolation.kind == NAMESPACES:
            return f"{INSIDE}/{relative}"
        return str(self.folder / relative)

    @property
    def start_as(self) -> Optional[int]:
        """The user id to start a command with."""
        return None if self.isolation.by_root else self.uid

    @property
    def environment(self) -> Dict[str, str]:
        """For commands.  Their temporary files are in the run's folder where
        /tmp is the machine's own."""
        if self.isolation.kind == NAMESPACES:
            return dict(ENVIRONMENT)
        return {**ENVIRONMENT, "TMPDIR": str(self.make("tmp"))}

    def command(self, argv: Sequence[str], limits: Limits, mounts: Sequence[Mount],
                cwd: str) -> List[str]:
        """The command line that runs argv in here, in the folder cwd."""
        limited = _prlimit(limits, self.uid is None)
        if self.isolation.kind == NAMESPACES:
            return limited + self._bwrap(mounts, cwd) + list(argv)
        # Without a PID namespace: die when the grader does.
        return ["setpriv", "--pdeathsig", "KILL", *limited, *argv]

    def start_dir(self, cwd: str) -> str:
        """The folder to start command() in."""
        return "/" if self.isolation.kind == NAMESPACES else self.path(cwd)

    def _bwrap(self, mounts: Sequence[Mount], cwd: str) -> List[str]:
        argv = [bubblewrap() or "bwrap", "--unshare-pid", "--unshare-ipc",
                "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
                "--die-with-parent", "--new-session", "--as-pid-1"]
        if self.isolation.by_root:
            argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            argv += ["--unshare-user"]
        argv += [*_system_mounts(), "--perms", "0755", "--dir", INSIDE]
        for mount in mounts:
            argv += ["--bind" if mount.writable else "--ro-bind",
                     str(self.folder / mount.folder), f"{INSIDE}/{mount.folder}"]
        # The root itself is a tmpfs: nothing is to be added to it.
        argv += ["--remount-ro", "/", "--chdir", self.path(cwd), "--"]
        if self.isolation.by_root:
            argv += ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}",
                     "--clear-groups", "--inh-caps=-all", "--"]
        return argv


def _system_mounts() -> List[str]:
    argv = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = f"/{name}"
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            argv += ["--ro-bind", path, path]
    argv += ["--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives",
                 "passwd", "group", "nsswitch.conf", "hosts", "localtime"):
        argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return argv + ["--proc", "/proc", "--dev", "/dev", "--mqueue", "/dev/mqueue",
                   "--perms", "1777", "--tmpfs", "/tmp",
                   "--perms", "1777", "--tmpfs", "/dev/shm"]


def _prlimit(limits: Limits, same_user: bool) -> List[str]:
    # The kernel counts all processes of the user: ours too where it is the same.
    processes = limits.processes + (_tasks_of(os.getuid()) if same_user else 0)
    argv = ["prlimit", f"--nproc={processes}", "--core=0",
            f"--nofile={limits.descriptors}", f"--fsize={limits.file_bytes}"]
    if limits.cpu_s is not None:
        argv.append(f"--cpu={limits.cpu_s}")
    if limits.memory_bytes is not None:
        argv.append(f"--as={limits.memory_bytes}")
    return argv


# ----------------------------------------------------------------- user ids


def processes_of(uid: int) -> List[int]:
    """The processes whose (effective) user that is."""
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                if entry.stat().st_uid == uid:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _tasks_of(uid: int) -> int:
    count = 0
    for pid in processes_of(uid):
        try:
            count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return count


def _take_uid():
    """A user id that no account and no process has, and the socket that holds
    it against other graders: an abstract name goes when its holder does."""
    for uid in _UIDS:
        holder = hold_uid(uid)
        if holder and (_has_account(uid) or processes_of(uid)):
            holder.close()
        elif holder:
            return uid, holder
    raise KitError(f"no user id in {_UIDS.start}..{_UIDS.stop - 1} is free for a run")


def hold_uid(uid: int):
    """The socket, or None while another grader has it."""
    import socket

    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0ipc-lab-kit-uid-{uid}")
    except OSError:
        holder.close()
        return None
    return holder


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
        return True
    except KeyError:
        return False
