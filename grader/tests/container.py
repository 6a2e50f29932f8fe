"""`python3 container.py docker|no-user-namespaces COMMAND ...`: runs a command
where namespaces are refused, as it is in containers.

    docker              the capabilities that Docker gives, and a seccomp filter
                        that refuses what its default profile does of making
                        namespaces and mounts
    no-user-namespaces  user.max_user_namespaces is 0, for a user namespace of its
                        own that all below it is in; the capabilities as above

Needs root.  For tests: what it can't set up ends it with a traceback.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

# docs.docker.com/engine/security: what is left of root's.
_CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid",
                 "setpcap", "net_bind_service", "net_raw", "sys_chroot", "mknod",
                 "audit_write", "setfcap")
_CLONE_NEWUSER = 0x10000000
_NEW_NAMESPACES = 0x7E020000  # clone(2): CLONE_NEW*

# System call numbers of x86-64.
_X86_64 = 0xC000003E
_CLONE, _CLONE3 = 56, 435
_REFUSED = {
    "mount": 165, "umount2": 166, "pivot_root": 155, "unshare": 272, "setns": 308,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442,
}

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def supported() -> bool:
    return os.geteuid() == 0 and os.uname().machine == "x86_64"


def _filter() -> bytes:
    def line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    refused = line(_RETURN, _ERROR | errno.EPERM)
    program = [
        line(_LOAD, _ARCHITECTURE), line(_EQUAL, _X86_64, 1), line(_RETURN, _ALLOW),
        line(_LOAD, _NUMBER),
        line(_EQUAL, _CLONE3, 0, 1), line(_RETURN, _ERROR | errno.ENOSYS),
    ]
    for number in _REFUSED.values():
        program += [line(_EQUAL, number, 0, 1), refused]
    program += [
        line(_EQUAL, _CLONE, 1), line(_RETURN, _ALLOW),
        line(_LOAD, _FIRST_ARGUMENT), line(_ANY_BIT, _NEW_NAMESPACES, 1),
        line(_RETURN, _ALLOW), refused,
    ]
    return b"".join(program)


def _libc(name: str, *args: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def refuse_namespaces() -> None:
    """seccomp(2), for this process and all that it starts."""
    set_seccomp, mode_filter = 22, 2
    lines = _filter()
    code = ctypes.create_string_buffer(lines, len(lines))
    program = struct.pack("HxxxxxxP", len(lines) // 8, ctypes.addressof(code))
    _libc("prctl", set_seccomp, mode_filter, program, 0, 0)


def enter_user_namespace() -> None:
    """With all user ids as they are; it may hold no other one."""
    ready_out, ready_in = os.pipe()
    done_out, done_in = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:  # outside: may map every id
        os.close(done_out)
        os.close(ready_in)
        os.read(ready_out, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{parent}/{name}", "w", encoding="ascii") as file:
                file.write("0 0 4294967295")
        os.write(done_in, b".")
        os._exit(0)
    _libc("unshare", _CLONE_NEWUSER)
    os.write(ready_in, b".")
    os.close(done_in)
    if os.read(done_out, 1) != b".":
        raise OSError("the user ids could not be mapped")
    os.waitpid(child, 0)
    for descriptor in (ready_out, ready_in, done_out):
        os.close(descriptor)
    with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
        file.write("0")


def main() -> None:
    how, *command = sys.argv[1:]
    if how == "docker":
        refuse_namespaces()
    elif how == "no-user-namespaces":
        enter_user_namespace()
    else:
        sys.exit(f"container.py: {how}?")
    kept = ",".join(["-all", *(f"+{name}" for name in _CAPABILITIES)])
    os.execvp("setpriv", ["setpriv", f"--bounding-set={kept}", "--inh-caps=-all",
                          "--", *command])


if __name__ == "__main__":
    main()
