"""build/bench.json: medians over the rounds, the note's model, the machine.

bench.schema.json beside this file describes it.  The table and the plot are
made from the document alone.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from grader import build, process, text
from grader.measure.mechanisms import MECHANISMS, SIZES, Mechanism
from grader.measure.runs import Cores, Figures

SCHEMA_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("bench.schema.json")

MEASURED, PARTLY, NOT_WRITTEN, FAILED, NO_LAB = (
    "measured", "partly", "not_written", "failed", "no_lab")


def machine(cores: Cores) -> Dict[str, Any]:
    cc = build.compiler()
    done = process.run([cc, "--version"], timeout_s=10)
    return {
        "host": platform.node(),
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "cores": [cores.client, cores.server],
        "cores_words": cores.words,
        "kernel": f"{platform.system()} {platform.release()}",
        "compiler": (text.clean(done.stdout, 200, 1).splitlines() or [cc])[0],
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return " ".join(value.split())
    except OSError:
        pass
    return platform.machine()


def document(figures: Figures, problems: Mapping[str, str], cores: Cores, origin: str,
             quick: bool) -> Dict[str, Any]:
    """problems: why a lab's mechanisms could not be built, by its base."""
    limits = _limits(figures)
    rows = [_mechanism(m, figures, problems.get(m.base, ""), limits) for m in MECHANISMS]
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "schema_version": SCHEMA_VERSION,
        "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": text.one_line(origin),
        "quick": quick,
        "rounds": figures.rounds,
        "machine": machine(cores),
        "limits": limits,
        "mechanisms": rows,
        "mapping": mapping(rows),
    }


def _median(values: Sequence[float]) -> Optional[float]:
    return float(f"{median(values):.6g}") if values else None


# ------------------------------------------------------------------- limits


def _limits(figures: Figures) -> Dict[str, Any]:
    ps: Dict[Tuple[str, int], List[int]] = {}
    for line in figures.near_limits():
        if line["ps"]:
            ps.setdefault((line["limit"], line["size"]), []).append(line["ps"])

    def ns(name: str, size: int = 0) -> Optional[float]:
        return _median([value / 1000 for value in ps.get((name, size), ())])

    return {
        "system_call_ns": ns("system_call"),
        "clock_ns": ns("clock"),
        "line_round_trip_ns": ns("line"),
        "wake_round_trip_ns": ns("wake"),
        "memcpy": [{"size": size, "ns": ns("memcpy", size)} for size in SIZES],
        "fetch": [{"size": size, "ns": ns("fetch", size)} for size in SIZES],
    }


# --------------------------------------------------------------- mechanisms


def _mechanism(mechanism: Mechanism, figures: Figures, problem: str,
               limits: Dict[str, Any]) -> Dict[str, Any]:
    cells = [_cell(mechanism, size, figures, limits) for size in SIZES]
    measured = sum(cell["round_trip"] is not None for cell in cells)
    problem = problem or figures.broken.get(mechanism.name, "")
    stub = next((line["call"] for (name, _), line in sorted(figures.errors.items())
                 if name == mechanism.name and line["error"] == "call"
                 and line["errno"] == "ENOSYS"), "")
    if problem:
        status = NO_LAB if problem.startswith("no lab") else FAILED
    elif stub and not measured:
        status, problem = NOT_WRITTEN, stub
    elif measured == len(cells):
        status = MEASURED
    else:
        status = PARTLY if measured else FAILED
        problem = next((cell["error"] for cell in cells if cell["error"]), "not measured")
    return {
        "name": mechanism.name, "title": mechanism.title, "lab": mechanism.base,
        "status": status, "message": problem,
        "model": {"crossings": mechanism.crossings, "copies": mechanism.copies},
        "sizes": cells,
    }


def _cell(mechanism: Mechanism, size: int, figures: Figures,
          limits: Dict[str, Any]) -> Dict[str, Any]:
    every = figures.sizes.get((mechanism.name, size), [])
    near = figures.near(mechanism.name, size)
    lines = near or every
    error = figures.errors.get((mechanism.name, size))
    parts = lines[0]["parts"] if lines else (error or {}).get("parts", 1)
    cell: Dict[str, Any] = {
        "size": size, "parts": parts,
        "error": error["detail"] if error else "",
        "model_ns": model_ns(mechanism, size, parts, limits),
        "rounds": len(lines), "left_out": len(every) - len(lines),
        "apart": bool(every) and not near,
        "round_trip": None, "stream": None,
    }
    if not lines:
        return cell
    medians = [line["round_trip_p50_ns"] for line in lines]
    late = [line["round_trip_p99_ns"] for line in lines]
    rates = [line["messages"] * 1e9 / max(1, line["stream_ns"]) for line in lines]
    cell["round_trip"] = {
        "median_ns": _median(medians), "p99_ns": _median(late),
        "of_rounds_ns": medians, "samples": sum(line["round_trips"] for line in lines),
        "sleeps": _median([line["sleeps"] / line["round_trips"] for line in lines]),
    }
    cell["stream"] = {
        "messages_per_s": _median(rates), "bytes_per_s": _median([r * size for r in rates]),
        "of_rounds_per_s": [round(rate, 1) for rate in rates],
        "messages": sum(line["messages"] for line in lines),
    }
    return cell


def model_ns(mechanism: Mechanism, size: int, parts: int,
             limits: Dict[str, Any]) -> Optional[float]:
    """What the note's count comes to for one message, one way, with this
    machine's price of a crossing and of a copy."""
    call = limits["system_call_ns"]
    copy = next(entry["ns"] for entry in limits["memcpy"] if entry["size"] == size)
    if call is None or copy is None:
        return None
    # Parts cross one by one; shared memory is not entered at all.
    crossings = mechanism.crossings * parts
    return round(crossings * call + mechanism.copies * copy, 3)


# ------------------------------------------------------------ copy or map


def mapping(rows: Sequence[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Where the mapped ring beats the copied one, and by how much."""
    by_name = {row["name"]: row for row in rows}
    ratios = []
    for copied, mapped in zip(by_name["ring_copied"]["sizes"],
                              by_name["ring_mapped"]["sizes"]):
        if copied["stream"] and mapped["stream"] and copied["apart"] == mapped["apart"]:
            ratios.append({"size": copied["size"], "faster": _median([
                mapped["stream"]["messages_per_s"]
                / max(1e-9, copied["stream"]["messages_per_s"])])})
    if not ratios:
        return None
    return {"ratios": ratios, "wins_from_bytes": crossover(
        [(entry["size"], entry["faster"]) for entry in ratios])}


def crossover(ratios: Sequence[Tuple[int, float]]) -> Optional[int]:
    """The size from which on the ratio stays above 1, between two measured
    sizes on a logarithmic scale; None where it does not at the largest."""
    if ratios[-1][1] <= 1:
        return None
    start = len(ratios) - 1
    while start > 0 and ratios[start - 1][1] > 1:
        start -= 1
    if start == 0:
        return ratios[0][0]
    (low, below), (high, above) = ratios[start - 1], ratios[start]
    return round(on_the_way(low, high, where_it_is_one(below, above)))


def where_it_is_one(left: float, right: float) -> float:
    """How far from one ratio to the other, 0 to 1, a straight line on
    logarithmic scales is at 1; one of them is above 1 and the other is not."""
    return math.log(left) / math.log(left / right)


def on_the_way(left: float, right: float, part: float) -> float:
    """That part of the way from left to right, on a logarithmic scale."""
    return left * (right / left) ** part


def dumps(data: Dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def schema_errors(data: Any) -> List[str]:
    """What is wrong with a document, by the schema (python3-jsonschema)."""
    import jsonschema

    validator = jsonschema.Draft7Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))
    return [f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message}"
            for error in validator.iter_errors(data)]
