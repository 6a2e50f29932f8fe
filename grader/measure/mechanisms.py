"""What is measured, and what the lecture note counts for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

SIZES = (64, 1024, 64 << 10, 1 << 20)
SIZE_NAMES = {64: "64 B", 1024: "1 KiB", 64 << 10: "64 KiB", 1 << 20: "1 MiB"}


@dataclass(frozen=True)
class Mechanism:
    name: str  # as the driver in common/bench/ calls it
    title: str
    base: str  # the lab's file without .c, and the driver's: drive_BASE.c
    # For one message, one way: entries into the kernel and copies of its bytes.
    crossings: int
    copies: int

    @property
    def by_kernel(self) -> bool:
        return self.crossings > 0


# The sender's call and the receiver's are two crossings, each with a copy; in
# shared memory there is no call, and what is made and used in its place is not
# copied either.
MECHANISMS: Tuple[Mechanism, ...] = (
    Mechanism("pipe", "pipe", "pipes", 2, 2),
    Mechanism("sysv_queue", "SysV queue", "msgq", 2, 2),
    Mechanism("posix_queue", "POSIX queue", "msgq", 2, 2),
    Mechanism("unix_socket", "Unix socket", "sockets", 2, 2),
    Mechanism("tcp", "TCP loopback", "sockets", 2, 2),
    Mechanism("rounds", "shm, rounds", "design", 0, 2),
    Mechanism("ring_copied", "ring, copied", "design", 0, 2),
    Mechanism("ring_mapped", "ring, mapped", "design", 0, 0),
)
