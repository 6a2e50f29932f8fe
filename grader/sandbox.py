"""Command lines, limits, a user id and a folder for a student's program.

Three kinds of isolation, best first:

    namespaces  bubblewrap: user, PID, IPC, network, UTS and mount namespaces of
                its own; the judge is process 1 there, so that nothing inside
                can end it, and everything inside ends with it.  A root grader
                drops to an unprivileged user id first.
    uid         a root grader without namespaces: an unprivileged user id that
                nobody else uses, held for the run.
    none        an ordinary user without namespaces.

Without namespaces it is Landlock, where the kernel has it, that keeps a
program from the files and the processes that are not its own
(common/confine/confine.c).

No student's program is started here: build.py and run.py do that with the
command lines made here.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import pwd
import re
import shutil
import stat
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from grader import process
from grader.errors import KitError

NAMESPACES, UID, NONE = "namespaces", "uid", "none"
KINDS = (NAMESPACES, UID, NONE)

# Where the run's folder is inside the namespaces.
INSIDE = "/lab"
# The program of common/confine/, in the run's bin/.
CONFINE = "confine"
# The upper end of Debian's range for ordinary accounts; inside of the 65536
# ids that a container has.
_UIDS = range(59000, 60000)

# What programs may read of the system; in /etc what libc reads.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group",
        "nsswitch.conf", "hosts", "localtime")
_WRITABLE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
             "/dev/shm", "/dev/mqueue")

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


# What a run may write, to memory or to the disk.
_MOST_BYTES, _MOST_FILES = 256 << 20, 10_000

COMPILER = Limits(cpu_s=3, memory_bytes=2 << 30)
JUDGE = Limits()  # no memory limit: Valgrind


@dataclass(frozen=True)
class Isolation:
    kind: str
    why: str = ""  # why it is not namespaces
    # Namespaces made by root without a user namespace, where these are refused.
    by_root: bool = False

    @property
    def limits(self) -> str:
        """Why it is no better one, and what that means on this machine."""
        known = "" if self.kind == NAMESPACES else lacking(self.kind)
        return "; ".join(filter(None, (self.why, known)))


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


def lacking(kind: str) -> str:
    """What a program can do here, without namespaces, that it could not with
    all of Landlock; empty where there is nothing."""
    version = _landlock_abi()
    found = []
    if version == 0:
        found.append("this kernel has no Landlock: a program can read what the user of "
                     "its run can read, the kit's tests and solutions as well")
    elif not _hides_files():
        found.append("/dev/mqueue is not mounted, and so Landlock can't hide files: a "
                     "program can read what the user of its run can read "
                     "(mount -t mqueue none /dev/mqueue)")
    if kind == NONE and version < _ABI_OF_SIGNALS:
        found.append("a program can end the grader (Linux 6.12 and later prevent it)")
    return "; ".join(found)


@functools.lru_cache(maxsize=None)
def _landlock_abi() -> int:
    """landlock_create_ruleset(2): the version, 0 where the kernel has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return max(0, libc.syscall(444, None, ctypes.c_size_t(0), 1))


_ABI_OF_SIGNALS = 6


@functools.lru_cache(maxsize=None)
def _hides_files() -> bool:
    """Landlock allows what lies below a path: to POSIX queues none leads but
    where their file system is mounted."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        mounts = ""
    return _landlock_abi() > 0 and " /dev/mqueue mqueue " in mounts


def bubblewrap() -> Optional[str]:
    return shutil.which("bwrap")


class RunFolder:
    """A run's folder, and a lock on a file beside it that goes with its grader.

    They lie in a folder of this user's own, into which no program of a run can
    write, nor open the locks.  So what a killed grader has left is known for
    that to the next one (`dead_runs`), and nothing else can be taken for it.
    A run with a user id of its own has that for its name: whoever makes the
    lock's file has the id, until the file is removed.
    """

    def __init__(self, own_user: bool = False) -> None:
        # A short path: names of sockets have 108 bytes.
        base = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
        self._lock = -1
        while self._lock == -1:
            try:
                root = _folder_of_runs(Path(base))
                locks = _own_folder(root / ".locks", 0o700)
                self._lock, self._lock_path = (_take_uid if own_user
                                               else _take_name)(locks)
            except FileNotFoundError:  # another run, the last one, has ended
                continue
        self.path = root / self._lock_path.name
        self.path.mkdir(mode=0o700)

    @classmethod
    def of_dead_run(cls, path: Path, lock_path: Path, lock: int) -> "RunFolder":
        folder = cls.__new__(cls)
        folder.path, folder._lock_path, folder._lock = path, lock_path, lock
        return folder

    @property
    def uid(self) -> Optional[int]:
        """The user id of the run; None where it has none of its own."""
        name = self.path.name
        return int(name) if name.isdigit() and int(name) in _UIDS else None

    def remove(self) -> None:
        process.remove_tree(str(self.path))
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)
        try:
            self._lock_path.parent.rmdir()  # if it was the last run
            self.path.parent.rmdir()
        except OSError:
            pass


def _names_of_runs() -> List[str]:
    """What the folder of this user's runs is called; in /tmp anybody may have
    taken the first name."""
    first = f"ipc-lab-kit-{os.geteuid()}"
    return [first, *(f"{first}-{n}" for n in range(1, 10))]


def _folder_of_runs(base: Path) -> Path:
    for name in _names_of_runs():
        root = _own_folder(base / name, 0o711)
        if root:
            return root
    raise KitError(f"{base}/{_names_of_runs()[0]} and nine names like it are somebody "
                   "else's; they have to be removed")


def _own_folder(path: Path, mode: int) -> Optional[Path]:
    """Makes it where it is missing; None where it is not ours alone."""
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)  # whatever the umask
    except FileExistsError:
        pass
    return path if _is_ours_alone(path) else None


def _is_ours_alone(path: Path) -> bool:
    found = os.lstat(path)
    return (stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            and not found.st_mode & 0o022)


def _take_name(locks: Path) -> Tuple[int, Path]:
    """(descriptor with the lock, path) of a file of a new name; -1 as _locked()."""
    descriptor, name = tempfile.mkstemp(prefix="", dir=locks)
    return _locked(Path(name), descriptor), Path(name)


def _take_uid(locks: Path) -> Tuple[int, Path]:
    """(descriptor with the lock, path) of the file of a user id that no account,
    no process and no other run has.  Graders that see another /tmp, and so not
    each other's locks, begin at another one."""
    at = os.stat(locks)
    first = zlib.crc32(f"{at.st_dev}:{at.st_ino}".encode()) % len(_UIDS)
    for uid in (*_UIDS[first:], *_UIDS[:first]):
        path = locks / str(uid)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC,
                                 0o600)
        except FileExistsError:
            continue
        descriptor = _locked(path, descriptor)
        if descriptor == -1:  # taken for a dead run's, and about to be removed
            continue
        if not _has_account(uid) and not processes_of(uid):
            return descriptor, path
        os.unlink(path)  # while it is locked: after that it may be another run's
        os.close(descriptor)
    raise KitError(f"no user id in {_UIDS.start}..{_UIDS.stop - 1} is free for a run")


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
    for base in {Path("/tmp"), Path(tempfile.gettempdir())}:
        for name in _names_of_runs():
            yield from _dead_runs_in(base / name)


def _dead_runs_in(root: Path) -> Iterator[RunFolder]:
    locks = root / ".locks"
    try:
        names = os.listdir(locks) if _is_ours_alone(root) else []
    except OSError:
        return
    for name in names:
        path = locks / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        descriptor = _locked(path, descriptor)
        if descriptor != -1:
            yield RunFolder.of_dead_run(root / name, path, descriptor)


class Place:
    """A folder, and a user id when the grader is root, for one lab's run.

    Of the folder's own folders, the ones that commands write to (`make`) are
    the run's user's; what is copied in (`add`, `write`) he can read only.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self._run = RunFolder(is_root() and isolation.kind != NONE)
        self.uid: Optional[int] = self._run.uid
        self.folder = self._run.path
        self._readable(self.folder, 0o750)

    def close(self) -> None:
        self._run.remove()

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
        in_namespaces = self.isolation.kind == NAMESPACES
        # The kernel counts all processes of the user, ours too where it is the
        # same; but those of a user namespace each by itself.
        alone = self.uid is not None or (in_namespaces and _counts_by_namespace())
        limited = [*_prlimit(limits, 0 if alone else _tasks_of(os.getuid())), *argv]
        if in_namespaces:
            return self._bwrap(mounts, cwd) + limited
        # Without a PID namespace: die when the grader does.
        return ["setpriv", "--pdeathsig", "KILL", "--no-new-privs", *limited]

    def confined(self, argv: Sequence[str], mounts: Sequence[Mount]) -> List[str]:
        """A student's program, or what reads his source, with no more of the
        machine than namespaces would show it, and of no more harm to processes
        of its user."""
        if self.isolation.kind == NAMESPACES or not _hides_files():
            return [self.path(f"bin/{CONFINE}"), "--", *argv]
        reads = ["/usr", *(f"/{name}" for name in _SYSTEM),
                 *(f"/etc/{name}" for name in _ETC), "/proc", "/dev"]
        writes = [*_WRITABLE, self.path("tmp")]
        for mount in mounts:
            reads.append(self.path(mount.folder))
            if mount.writable:
                writes.append(self.path(mount.folder))
        return [self.path(f"bin/{CONFINE}"),
                *(word for path in reads for word in ("--read", path)),
                *(word for path in writes for word in ("--write", path)), "--", *argv]

    def start_dir(self, cwd: str) -> str:
        """The folder to start command() in."""
        return "/" if self.isolation.kind == NAMESPACES else self.path(cwd)

    def overfull(self) -> str:
        """Why a run has to be stopped: it has filled what it may write to.  (In
        namespaces most of that is a file system of a limited size.)"""
        files = size = 0
        for name in ("tmp", "vg"):
            for folder, folders, names in os.walk(self.folder / name):
                files += len(folders) + len(names)
                for file in names if files <= _MOST_FILES else ():
                    try:
                        size += os.lstat(f"{folder}/{file}").st_blocks * 512
                    except OSError:
                        continue
                if files > _MOST_FILES:
                    return (f"the program has made more than {_MOST_FILES} files and "
                            "was stopped")
        if size > _MOST_BYTES:
            return (f"the program's files took more than {_MOST_BYTES >> 20} MB and it "
                    "was stopped")
        return ""

    def clear(self, is_kept: Callable[[str], bool]) -> None:
        """Removes what a run has left in the folders that it may write to."""
        for name in ("tmp", "vg"):
            folder = self.folder / name
            for entry in list(os.scandir(folder)) if folder.is_dir() else ():
                if entry.is_dir(follow_symlinks=False):
                    process.remove_tree(entry.path)
                elif not is_kept(entry.path):
                    os.unlink(entry.path)

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
    for name in _SYSTEM:
        path = f"/{name}"
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            argv += ["--ro-bind", path, path]
    argv += ["--perms", "0755", "--dir", "/etc"]
    for name in _ETC:
        argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    size = ["--size", str(_MOST_BYTES)] if _knows_size() else []
    return argv + ["--proc", "/proc", "--dev", "/dev", "--mqueue", "/dev/mqueue",
                   "--perms", "1777", *size, "--tmpfs", "/tmp",
                   "--perms", "1777", *size, "--tmpfs", "/dev/shm"]


@functools.lru_cache(maxsize=None)
def _knows_size() -> bool:
    """bubblewrap does from 0.8 on; before, half of the memory is the limit."""
    return b"--size BYTES" in process.run([bubblewrap() or "bwrap", "--help"],
                                          timeout_s=10).stdout


@functools.lru_cache(maxsize=None)
def _counts_by_namespace() -> bool:
    """user_namespaces(7): Linux does from 5.14 on, against the limit inside."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and tuple(map(int, version.groups())) >= (5, 14)


def _prlimit(limits: Limits, others: int) -> List[str]:
    """`others`: processes that count against the limit and are not the run's."""
    argv = ["prlimit", f"--nproc={limits.processes + others}", "--core=0",
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


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
        return True
    except KeyError:
        return False
