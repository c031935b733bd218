"""What is worth knowing of questions and their answers: how many have none. Knows no file format."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from feinschliff.data.findings import MAX_SHOWN, Draft
from feinschliff.data.scan import Scan


def answer_drafts(scanned: Scan) -> Iterator[Draft]:
    """All that is to be said of the answers as such; training rows only."""
    rows = np.flatnonzero(scanned.set_of == 0)
    none = np.array([not answers for answers in scanned.label_sets], dtype=bool)
    without = rows[none[scanned.label_of[rows]]]
    if len(without) == len(rows):
        yield Draft("no_answer", "error", len(rows), "no question has an answer", "check --target")
    elif len(without):
        shown = tuple((row, "no answer in the text") for row in without[:MAX_SHOWN].tolist())
        message = f"{len(without):,} of {len(rows):,} questions have no answer in their text"
        remedy = "a model learns to say so; the threshold is chosen on validation rows"
        yield Draft("no_answer", "info", len(without), message, remedy, shown)
