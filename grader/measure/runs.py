"""Runs every mechanism in turn, round after round, each in a process pair of
its own with a deadline, and keeps the figures as they come.

What is slow for a while (another program, a clock that changes) meets all
mechanisms of a round alike; medians are taken over the rounds later on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from grader import process, run, text
from grader.measure.mechanisms import SIZES, Mechanism
from grader.measure.programs import Program
from grader.sandbox import JUDGE, NONE, Mount

LIMITS = "limits"
# So many times the shortest round trip of a cache line, and the cores are apart.
_APART = 1.5


@dataclass(frozen=True)
class Plan:
    """How long everything may take."""

    rounds: int
    budget_ms: int  # of each timed part
    late_ms: int  # a mechanism that takes longer for one size is ended
    total_s: float  # no further run is begun after that


FULL = Plan(rounds=5, budget_ms=55, late_ms=3000, total_s=48)
QUICK = Plan(rounds=3, budget_ms=10, late_ms=1000, total_s=7)


@dataclass(frozen=True)
class Cores:
    client: int
    server: int
    words: str

    @property
    def one(self) -> bool:
        return self.client == self.server


@dataclass
class Figures:
    """What the programs printed; a failure is kept in place of figures."""

    limits: List[List[Dict[str, Any]]] = field(default_factory=list)  # a list a round
    # by mechanism and size
    sizes: Dict[Tuple[str, int], List[Dict[str, Any]]] = field(default_factory=dict)
    errors: Dict[Tuple[str, int], Dict[str, Any]] = field(default_factory=dict)
    broken: Dict[str, str] = field(default_factory=dict)  # the program itself
    rounds: int = 0

    def enough(self, mechanisms: Sequence[Mechanism]) -> bool:
        """Has every size been measured with the cores as near as they get, in
        half of the rounds?"""
        return all(2 * len(self.near(mechanism.name, size)) >= self.rounds
                   for mechanism in mechanisms for size in SIZES
                   if (mechanism.name, size) in self.sizes)

    def near(self, name: str, size: int) -> List[Dict[str, Any]]:
        """The lines measured while the cores were as near as they get."""
        most = self.most_line_ns()
        return [line for line in self.sizes.get((name, size), ())
                if line["line_ns"] <= most]

    def near_limits(self) -> List[Dict[str, Any]]:
        most = self.most_line_ns()
        near = [lines for lines in self.limits if _line_ns(lines) <= most]
        return [line for lines in near or self.limits for line in lines]

    def most_line_ns(self) -> float:
        """Of a cache line's round trip; what is above it was measured while the
        machine below a virtual one had put its two cores further apart.  (The
        mechanisms between cores were seen to take four times as long then.)"""
        seen = [line["line_ns"] for lines in self.sizes.values() for line in lines]
        return _APART * min(seen, default=0)


def _line_ns(limits: Sequence[Dict[str, Any]]) -> float:
    return next((line["ps"] / 1000 for line in limits if line["limit"] == "line"), 0)


def choose_cores() -> Cores:
    """Two cores that this process may use; not two threads of one core, where
    there is a choice."""
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed if core not in _threads_of(first)]
    if others:
        return Cores(first, others[0], f"two cores ({first} and {others[0]})")
    if len(allowed) > 1:
        return Cores(first, allowed[1],
                     f"two threads ({first} and {allowed[1]}) of one core: there is no other")
    return Cores(first, first, f"one core ({first}) for both processes: there is no other")


def _threads_of(core: int) -> List[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = path.read_text().strip().split(",")
        found: List[int] = []
        for part in parts:
            low, _, high = part.partition("-")
            found += range(int(low), int(high or low) + 1)
        return found
    except (OSError, ValueError):
        return [core]


def measure(programs: Mapping[str, Program], mechanisms: Sequence[Mechanism],
            limits: Program, plan: Plan, cores: Cores,
            step: Callable[[str], None]) -> Figures:
    """programs: by the mechanism's base.  step is called with the name of what
    has been run."""
    figures = Figures()
    end = time.monotonic() + plan.total_s
    while figures.rounds < plan.rounds or (
            figures.rounds < 2 * plan.rounds and not figures.enough(mechanisms)):
        for mechanism in (None, *mechanisms):
            if figures.rounds > 0 and time.monotonic() > end:
                return figures
            if mechanism is None:
                figures.limits.append([])
                _run(limits, plan, cores, (), figures.limits[-1].append)
                step(LIMITS)
            else:
                _measure_one(programs[mechanism.base], mechanism, plan, cores, figures)
                step(mechanism.name)
        figures.rounds += 1
    return figures


def _measure_one(program: Program, mechanism: Mechanism, plan: Plan, cores: Cores,
                 figures: Figures) -> None:
    name = mechanism.name
    sizes = _to_try(name, figures)
    if not sizes:
        return
    seen: List[int] = []

    def keep(line: Dict[str, Any]) -> None:
        size = line["size"]
        seen.append(size)
        if line.get("error"):
            figures.errors[name, size] = line
        else:
            figures.sizes.setdefault((name, size), []).append(line)

    problem = _run(program, plan, cores, (name,), keep, sizes)
    if problem and not seen:
        figures.broken[name] = problem
    elif problem:
        left = [size for size in sizes if size not in seen]
        if left:
            figures.errors[name, left[0]] = {
                "size": left[0], "error": "late", "call": "", "errno": "",
                "detail": problem}


def _to_try(name: str, figures: Figures) -> List[int]:
    """What has failed once is not tried again, nor what is larger than what
    did not end."""
    if name in figures.broken:
        return []
    failed = {size: line for (key, size), line in figures.errors.items() if key == name}
    late = [size for size, line in failed.items() if line["error"] == "late"]
    return [size for size in SIZES
            if size not in failed and (not late or size < min(late))]


def _run(program: Program, plan: Plan, cores: Cores, words: Sequence[str],
         keep: Callable[[Dict[str, Any]], None],
         sizes: Sequence[int] = SIZES) -> str:
    """One run of one program; what is wrong with the run as a whole."""
    place = program.place

    def on_line(_: str, line: bytes) -> None:
        parsed = parse_line(line)
        if parsed is not None:
            keep(parsed)

    def argv(pipes: Dict[str, int]) -> List[str]:
        options = ["--cores", f"{cores.client},{cores.server}",
                   "--ms", str(plan.budget_ms), "--late-ms", str(plan.late_ms),
                   "--out-fd", str(pipes["figures"])]
        command = [program.path, *options, *words, *(str(size) for size in sizes)]
        seen = [Mount("bin"), Mount("out")]
        return place.command(place.confined(command, seen), JUDGE, seen, "out")

    # The program ends what is late, and goes on to nothing else then.
    most_s = 2 + plan.late_ms / 1000 * (len(sizes) if words else 12)
    try:
        if place.isolation.kind == NONE:
            run.adopt_orphans()
        done = process.run(argv, timeout_s=most_s, cwd=place.start_dir("out"),
                           env=place.environment, uid=place.start_as,
                           pipes=("figures",), pipes_of=place.uid, on_line=on_line)
    finally:
        run.sweep(place)
    if done.status == 0:
        return ""
    if done.status is None:
        return f"not done after {most_s:.0f} s"
    return text.one_line(done.stderr.strip() or f"ended with {done.status}".encode(), 160)


_NUMBERS = ("size", "parts", "round_trip_p50_ns", "round_trip_p99_ns", "round_trips",
            "sleeps", "messages", "stream_ns", "line_ns", "ps")
_WORDS = ("mechanism", "limit", "error", "call", "errno", "detail")


def parse_line(line: bytes) -> Optional[Dict[str, Any]]:
    """A program's line; None where it is none of its own (student code may
    have written there)."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("size") not in (0, *SIZES):
        return None
    kept: Dict[str, Any] = {}
    for key, value in data.items():
        if key in _NUMBERS and isinstance(value, int) and 0 <= value < 1 << 63:
            kept[key] = value
        elif key in _WORDS and isinstance(value, str):
            kept[key] = text.one_line(value, 200)
        else:
            return None
    wanted = {"limit", "ps"} if "limit" in kept else (
        {"error"} if "error" in kept else set(_NUMBERS) - {"ps"})
    return kept if wanted <= set(kept) else None
