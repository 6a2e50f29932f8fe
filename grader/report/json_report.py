"""report.json: the one canonical report, described by report.schema.json."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from grader.errors import KitError
from grader.model import GroupScore, LabScore, Report, TestScore
from grader.report import words

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def as_dict(report: Report) -> Dict[str, Any]:
    return {
        "schema": SCHEMA,
        "total": {"score": report.score, "max": report.max},
        "isolation": report.isolation,
        "isolation_why": report.isolation_why,
        "labs": [_lab(score) for score in report.labs],
    }


def _lab(score: LabScore) -> Dict[str, Any]:
    lab = score.lab
    return {
        "id": lab.id,
        "number": lab.number,
        "title": lab.title,
        "status": score.status,
        "score": score.score,
        "max": lab.points,
        "problem": score.problem,
        "build": {"errors": list(score.build_errors),
                  "warnings": list(score.build_warnings)},
        "groups": [_group(lab, group) for group in score.groups],
        "points": {
            "memory": {"score": score.memory_score, "max": lab.memory_points},
            "cleanup": {"score": score.cleanup_score, "max": lab.cleanup_points},
        },
        "memory": [
            {"kind": fault.kind, "words": fault.words, "what": fault.what,
             "location": fault.location, "count": fault.count,
             "tests": list(fault.tests)}
            for fault in score.memory.errors],
        "memory_not_run": words.memory_not_run(score),
        "leftovers": [
            {"kind": leftover.kind, "text": leftover.text, "test": outcome.test.name}
            for outcome in score.outcomes for leftover in outcome.leftovers],
        "duration_s": round(score.wall_s, 3),
    }


def _group(lab: Any, group: GroupScore) -> Dict[str, Any]:
    return {
        "name": group.group.name,
        "title": group.group.title,
        "score": group.score,
        "max": group.group.points,
        "tests": [_test(lab, test) for test in group.tests],
    }


def _test(lab: Any, test: TestScore) -> Dict[str, Any]:
    outcome = test.outcome
    return {
        "name": outcome.test.name,
        "title": outcome.test.title,
        "status": outcome.status,
        "score": test.score,
        "max": outcome.test.points,
        "message": outcome.message,
        "hint": outcome.test.hint,
        "handout": words.handout(lab, outcome.test),
        "location": outcome.location,
        "duration_s": outcome.duration_s,
        "schedules": outcome.schedules,
        "output": outcome.output,
    }


def dumps(report: Report) -> str:
    return json.dumps(as_dict(report), indent=2, ensure_ascii=False) + "\n"


def write(report: Report, path: Path) -> None:
    """Whole or not at all: a reader never sees half a report."""
    write_text(dumps(report), path)


def write_text(content: str, path: Path) -> None:
    """Writes a file by renaming a new one over it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise KitError(f"can't write {path}: {error.strerror}") from None


def schema_errors(document: Any) -> List[str]:
    """What is wrong with a report, by the schema (python3-jsonschema)."""
    import jsonschema

    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    return [f"{'/'.join(str(p) for p in error.absolute_path)}: {error.message}"
            for error in validator.iter_errors(document)]
