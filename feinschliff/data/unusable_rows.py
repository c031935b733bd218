"""Conversations of which most rows cannot be used: refused, because the few others are hardly what was meant.

Knows no format. Rows that are left out for another reason (duplicates, parts of held-out conversations) do not count.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from feinschliff.config.data import DataConfig
from feinschliff.data.redaction import redact_dropped
from feinschliff.data.rows_to_examples import RowReader, one_reason, reason_kind
from feinschliff.data.tables import at
from feinschliff.errors import DataError
from feinschliff.results.data import DroppedRow, Kind

MOST_UNUSABLE = 0.5
"""More rows than this share of all, and a run is refused."""
_PLACES = 3


def are_too_many(num_unusable: int, num_rows: int, kind: Kind) -> bool:
    """Whether so many of the training rows that a run is refused."""
    return kind == "conversations" and num_unusable > MOST_UNUSABLE * num_rows


def refuse_mostly_unusable(reader: RowReader, config: DataConfig) -> None:
    """Look at what a reader of conversations dropped of the training files, which it has read to the end.

    Raises:
        DataError: more than half of the rows; each reason with its count and first places.
    """
    dropped = reader.dropped
    if not are_too_many(len(dropped), reader.num_rows, reader.columns.kind):
        return
    files = " ".join(map(shlex.quote, config.train))
    raise DataError(
        f"{len(dropped):,} of {reader.num_rows:,} rows cannot be learned from",
        where=", ".join(config.train),
        why=f"more than half; {_reasons([redact_dropped(row) for row in dropped] if config.redact else dropped)}",
        remedy=f"see what is wrong: feinschliff data check {files}; if the other rows are what you mean, "
        f"feinschliff data clean {files} writes a file of them, and a list of the rest (.dropped.csv)",
    )


def _reasons(dropped: Sequence[DroppedRow]) -> str:
    """Each reason with the number of its rows and where the first of them stand, the most frequent first."""
    groups: dict[tuple[str, bool], list[DroppedRow]] = {}
    for row in dropped:
        groups.setdefault(reason_kind(row.reason), []).append(row)
    return "; ".join(
        f"{len(rows):,} {one_reason([row.reason for row in rows])}, at {_places(rows)}"
        for rows in sorted(groups.values(), key=len, reverse=True)
    )


def _places(rows: Sequence[DroppedRow]) -> str:
    return ", ".join(at(row.file, row.line) for row in rows[:_PLACES]) + (" ..." if rows[_PLACES:] else "")
