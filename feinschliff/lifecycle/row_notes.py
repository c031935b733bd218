"""What is said of rows before a run, and why some cannot be learned from at all. Knows no network."""

from __future__ import annotations

from collections.abc import Callable

from feinschliff.errors import PreflightError
from feinschliff.tasks._task import EncodedSet


def refuse_unlearnable(train: EncodedSet, validation: EncodedSet) -> None:
    """Raises PreflightError with every reason why nothing good can be learned from these rows."""
    faults = [*train.faults, *(fault for fault in validation.faults if fault not in train.faults)]
    if faults:
        raise PreflightError(faults)


def say_cut(train: EncodedSet, validation: EncodedSet, say: Callable[[str], None]) -> None:
    """Tell what was cut, left out or made otherwise."""
    for name, rows in (("training", train), ("validation", validation)):
        for note in rows.notes:
            say(f"{name} rows: {note}")
    if not train.notes and (train.num_cut or validation.num_cut):
        say(f"{train.num_cut} training and {validation.num_cut} validation rows are longer and were cut")
    for name, rows in (("training", train), ("validation", validation)):
        if rows.num_targets_cut:
            say(f"{rows.num_targets_cut} {name} targets are longer than --task.max-target-tokens and were cut")
