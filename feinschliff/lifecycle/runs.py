"""The verb `runs`: what was run, with what result, and what can be resumed. Reads state files only; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feinschliff.errors import RunDirectoryError
from feinschliff.results.comparison import Origin
from feinschliff.results.runs import RunDetails, RunList, RunSummary
from feinschliff.store.index import RunRecord, find_runs, read_run
from feinschliff.store.run_directory import RunDirectory, read_json


def list_runs(folder: Path = Path("runs")) -> RunList:
    """All runs at or below ``folder``, the latest first.

    Raises:
        RunDirectoryError: ``folder`` does not exist.
    """
    if not folder.is_dir():
        raise RunDirectoryError(
            f"there is no folder {folder}", where=str(folder), remedy="name the folder your runs were written to"
        )
    return RunList(folder=str(folder), runs=[_summary(record) for record in find_runs(folder)])


def show_run(run: Path) -> RunDetails:
    """One run: its state, its configuration with the origin of every value, and its files.

    Raises:
        RunDirectoryError: ``run`` is not a run.
    """
    record = read_run(run)
    directory = RunDirectory(run)
    origins = [Origin(**entry) for entry in read_json(directory.origins)] if directory.origins.is_file() else []
    return RunDetails(summary=_summary(record), origins=origins, files=_files(directory))


def _summary(record: RunRecord) -> RunSummary:
    facts = record.facts
    return RunSummary(
        path=str(record.path),
        status=record.status,
        verb=record.verb,
        started=record.started,
        seconds=_number(facts, "seconds"),
        metric=_text(facts, "metric"),
        value=_number(facts, "value"),
        verdict=_text(facts, "verdict"),
        why=_text(facts, "why") or _text(facts, "error"),
    )


def _number(facts: Mapping[str, Any], key: str) -> float | None:
    value = facts.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _text(facts: Mapping[str, Any], key: str) -> str | None:
    value = facts.get(key)
    return value if isinstance(value, str) else None


def _files(directory: RunDirectory) -> dict[str, str]:
    named = {
        "configuration": directory.config,
        "data report": directory.data_report,
        "dropped rows": directory.dropped,
        "events": directory.events,
        "checkpoints": directory.checkpoints,
        "training": directory.training,
        "evaluation": directory.evaluation,
        "result": directory.result,
        "report": directory.report,
        "model": directory.model,
    }
    return {name: str(path) for name, path in named.items() if path.exists()}
