"""`make doctor`: what this machine can and cannot do, and what to do about it.

Exit 0 when grading works here, 2 when something that it needs is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from grader import build, process, run, text
from grader.errors import KitError
from grader.report.style import Style, stdout_style
from grader.sandbox import bubblewrap, lacking

_ISOLATION_MEANS = {
    "namespaces": "a lab sees no file but its own, and all that it leaves ends with it",
    "uid": "a lab runs as a user that nobody else is, with the machine's network, "
           "processes and IPC objects in sight",
    "none": "a lab runs as you, with your IPC objects in reach: grade only your own work",
}


@dataclass(frozen=True)
class Finding:
    name: str
    state: str  # "ok", "missing" (grading does not work), "note"
    text: str


def main() -> int:
    style = stdout_style()
    sections = (("To grade", _needed()), ("Isolation", _isolation()),
                ("For some commands", _useful()), ("Limits on IPC", _limits()))
    for title, findings in sections:
        print(title)
        for finding in findings:
            _show(finding, style)
        print()
    missing = [f for _, findings in sections for f in findings if f.state == "missing"]
    if missing:
        print("Grading does not work here yet: make setup adds what is missing.")
        return 2
    print("Grading works here.")
    return 0


def _show(finding: Finding, style: Style) -> None:
    import textwrap

    mark = {"ok": style.passed, "missing": style.failed, "note": style.not_started}
    lines = textwrap.wrap(finding.text, max(20, style.width - 24)) or [""]
    print(f"  {mark[finding.state]} {finding.name:18} {lines[0]}")
    for line in lines[1:]:
        print(" " * 23 + line)


def _first_line(argv: List[str]) -> Optional[str]:
    """The first line that a program says of itself; None where it is missing."""
    try:
        done = process.run(argv, timeout_s=20)
    except OSError:
        return None
    lines = text.clean(done.stdout or done.stderr, 300, 3).splitlines()
    return lines[0] if done.status == 0 and lines else None


def _program(name: str, package: str, argv: List[str], needed: bool,
             what_for: str = "") -> Finding:
    line = _first_line(argv)
    if line:
        return Finding(name, "ok", line)
    lack = f"not found{': ' + what_for if what_for else ''} (apt-get install {package})"
    return Finding(name, "missing" if needed else "note", lack)


# ------------------------------------------------------------------- needed


def _needed() -> List[Finding]:
    return [
        Finding("system", "ok", _system()),
        Finding("python", "ok", platform.python_version()),
        _module("rich", "python3-rich", True, "the report of make grade"),
        _compiler(),
        _program("objcopy", "binutils", ["objcopy", "--version"], True),
        _check(),
        _valgrind(),
        _program("prlimit", "util-linux", ["prlimit", "--version"], True),
        _program("setpriv", "util-linux", ["setpriv", "--version"], True),
        _localhost(),
    ]


def _system() -> str:
    name = "Linux"
    try:
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("PRETTY_NAME="):
                name = line.partition("=")[2].strip('"')
    except OSError:
        pass
    return f"{name}, kernel {platform.release()}, {len(os.sched_getaffinity(0))} processors"


def _module(name: str, package: str, needed: bool, what_for: str) -> Finding:
    import importlib.util

    if importlib.util.find_spec(name):
        return Finding(name, "ok", f"for {what_for}")
    return Finding(name, "missing" if needed else "note",
                   f"not found, for {what_for} (apt-get install {package})")


def _compiler() -> Finding:
    """Present, and with libc's headers."""
    try:
        cc = build.compiler()
    except KitError as error:
        return Finding("cc", "missing", str(error))
    include = _first_line([cc, "-print-file-name=libc.so"]) or ""
    if not include.startswith("/"):
        return Finding("cc", "missing", "no libc to link with (apt-get install libc6-dev)")
    return Finding("cc", "ok", _first_line([cc, "--version"]) or cc)


def _localhost() -> Finding:
    """Right code for lab 3 would fail where the name has no address."""
    try:
        address = socket.getaddrinfo("localhost", None, socket.AF_INET)[0][4][0]
    except OSError:
        return Finding("localhost", "missing", "no address (lab 3 connects to it by name): "
                       "add the line \"127.0.0.1 localhost\" to /etc/hosts")
    return Finding("localhost", "ok", str(address))


def _check() -> Finding:
    version = _first_line(["pkg-config", "--modversion", "check"])
    if version:
        return Finding("check", "ok", version)
    package = "check" if shutil.which("pkg-config") else "pkg-config check"
    return Finding("check", "missing", f"not found (apt-get install {package})")


def _valgrind() -> Finding:
    version = _first_line(["valgrind", "--version"])
    if not version:
        return Finding("valgrind", "missing",
                       "not found (apt-get install valgrind libc6-dbg)")
    done = process.run(["valgrind", "-q", "true"], timeout_s=60)
    if done.status == 0:
        return Finding("valgrind", "ok", version)
    if b"must-be-redirected" in done.stderr or b"debuginfo" in done.stderr:
        return Finding("valgrind", "missing", f"{version}, but it does not start without "
                       "libc's debug symbols (apt-get install libc6-dbg)")
    return Finding("valgrind", "missing", f"{version}, but it does not start: "
                   + text.one_line(done.stderr, 160))


# ---------------------------------------------------------------- isolation


def _isolation() -> List[Finding]:
    findings = []
    try:
        isolation = run.choose_isolation("auto")
    except KitError as error:
        return [Finding("in force", "missing", str(error))]
    state = "ok" if isolation.kind == "namespaces" else "note"
    findings.append(Finding("in force", state,
                            f"{isolation.kind}: {_ISOLATION_MEANS[isolation.kind]}"))
    if isolation.by_root:
        findings.append(Finding("", "note", "made by root, since user namespaces are "
                                "refused here"))
    if isolation.kind != "namespaces":
        findings.append(Finding("bubblewrap", "note", isolation.why))
        missing = lacking(isolation.kind)
        findings.append(Finding("Landlock", "note" if missing else "ok", missing or
                                "keeps programs from files and processes of others"))
    elif bubblewrap():
        findings.append(Finding("bubblewrap", "ok",
                                _first_line(["bwrap", "--version"]) or "works"))
    if isolation.kind != "namespaces" or isolation.by_root:
        findings += [Finding("why", "note", why) for why in _refusals()]
    return findings


def _refusals() -> List[str]:
    """Known reasons why a machine refuses user namespaces."""
    reasons = []
    if _value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        reasons.append("AppArmor lets only listed programs make user namespaces "
                       "(kernel.apparmor_restrict_unprivileged_userns is 1, Ubuntu's "
                       "default since 23.10): run as root, or have the administrator "
                       "allow bwrap")
    if _value("/proc/sys/user/max_user_namespaces") == "0":
        reasons.append("user.max_user_namespaces is 0: no user namespace is allowed")
    if _value("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        reasons.append("kernel.unprivileged_userns_clone is 0: only root may make "
                       "user namespaces")
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        reasons.append("this is a container: its seccomp filter refuses namespaces "
                       "(EPERM) unless it was started with --security-opt "
                       "seccomp=unconfined or --privileged")
    return reasons


# ------------------------------------------------------------------- useful


def _useful() -> List[Finding]:
    return [
        _program("gdb", "gdb", ["gdb", "--version"], False, "make debug"),
        _program("eu-stack", "elfutils", ["eu-stack", "--version"], False,
                 "the source lines of a hang"),
        _ptrace(),
        _program("clang", "clang", ["clang", "--version"], False, "make test"),
        _program("dot", "graphviz", ["sh", "-c", "dot -V 2>&1"], False, "make figures"),
        _program("gnuplot", "gnuplot-nox", ["gnuplot", "--version"], False,
                 "the plot of make bench"),
        _program("patch", "patch", ["patch", "--version"], False, "make check-kit"),
        _module("pytest", "python3-pytest", False, "make test"),
        _module("jsonschema", "python3-jsonschema", False, "make check-kit"),
    ]


def _ptrace() -> Finding:
    scope = _value("/proc/sys/kernel/yama/ptrace_scope")
    if scope in (None, "0"):
        return Finding("ptrace", "ok", "any process of yours may be looked into")
    if scope == "1":
        return Finding("ptrace", "ok", "only processes below the one that looks "
                       "(kernel.yama.ptrace_scope is 1): enough for the judge and gdb")
    return Finding("ptrace", "note", f"kernel.yama.ptrace_scope is {scope}: only root may "
                   "look into processes; a hang is explained without source lines, and "
                   "make debug needs root")


# ------------------------------------------------------------------- limits


_LIMITS: Tuple[Tuple[str, str, int, Callable[[str], int]], ...] = (
    ("kernel/shmmax", "bytes of one System V segment", 1 << 20, int),
    ("kernel/shmall", "pages of all System V segments", 1 << 10, int),
    ("kernel/shmmni", "System V segments", 64, int),
    ("kernel/msgmax", "bytes of one System V message", 8192, int),
    ("kernel/msgmnb", "bytes in one System V queue", 16384, int),
    ("kernel/msgmni", "System V queues", 32, int),
    ("kernel/sem", "semaphores: a set, in all, calls an operation, sets", 32,
     lambda value: int(value.split()[-1])),
    ("fs/mqueue/msg_max", "messages in one POSIX queue", 10, int),
    ("fs/mqueue/msgsize_max", "bytes of one POSIX message", 8192, int),
    ("fs/mqueue/queues_max", "POSIX queues", 16, int),
)


def _limits() -> List[Finding]:
    findings = []
    for name, what, least, read in _LIMITS:
        value = _value(f"/proc/sys/{name}")
        shown = name.replace("/", ".").replace("kernel.", "").replace("fs.", "")
        if value is None:
            findings.append(Finding(shown, "note", f"({what}) not to be seen here"))
            continue
        words = " ".join(value.split())
        if read(value) < least:
            findings.append(Finding(shown, "note", f"{words} ({what}): less than the "
                                    f"{least} that the labs may use"))
        else:
            findings.append(Finding(shown, "ok", f"{words} ({what})"))
    return findings


def _value(path: str) -> Optional[str]:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
