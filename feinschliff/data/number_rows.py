"""Rows of numbers with a label: which columns are read, in which order, and the reader. Knows no file format, no model.

A row lacking a number is dropped and counted: what stands for a missing number is for the person to say. Numbers are
taken as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import TARGET_NAMES, cell_labels, check_named, is_missing
from feinschliff.data.examples import Example, Place
from feinschliff.data.numbers import number
from feinschliff.data.rows_to_examples import RowReader, dropped_row, group_and_time
from feinschliff.data.tables import Cell, Row
from feinschliff.errors import DataError, Fault
from feinschliff.results.data import ColumnsFound

NUMERIC_SHARE = 0.9
"""Of the filled cells of a column of numbers, so many are numbers: a few may be typing errors."""
SURE_NAMES = ("label", "labels", "target", "class", "category", "species", "diagnosis", "outcome")
"""Columns called so are labels, numbers or not."""
_COUNTING = re.compile(r"(^|_)(id|idx|index|row|unnamed_*\d*)$")
SEPARATOR = ", "


def find_number_columns(columns: Sequence[str], sample: Sequence[Row], config: DataConfig) -> ColumnsFound:
    """The columns of numbers in their order, and the label column.

    Raises:
        DataError: a column that was named does not exist, or none is found.
    """
    check_named(columns, config, several=True)
    filled = {name: [cell for row in sample if not is_missing(cell := row.cells.get(name))] for name in columns}
    numeric = [name for name, cells in filled.items() if cells and _share(cells) >= NUMERIC_SHARE]
    free = [name for name in columns if name not in (config.group, config.time, *config.text)]
    target, why = (config.target, "as asked") if config.target else _label_column(free, numeric, filled)
    others = [name for name in numeric if name in free and name != target]
    counting = [name for name in others if _counts(name, filled[name])]
    read = list(config.text) or [name for name in others if name not in counting]
    _refuse_nothing(target, read, columns, sample)
    values = len({str(cell) for cell in filled[target or ""]})
    said = [
        f"{len(read)} columns of numbers, read in this order: {', '.join(read)} ({_how(config)})",
        f"label column {target!r} ({why}; {values} distinct values in the first {len(sample):,} rows)",
    ]
    unused = [name for name in free if name not in (*read, target)]
    if unused:
        said.append(f"columns not used: {', '.join(map(repr, unused))}")
    return ColumnsFound(
        text=[],
        numbers=read,
        target=target,
        group=config.group,
        time=config.time,
        label_separator=config.label_separator,
        kind="multi_label" if config.label_separator else "single_label",
        announcements=said,
    )


def _how(config: DataConfig) -> str:
    return "as asked" if config.text else "all that hold numbers; others: --data.text A,B,C in their order"


def _share(cells: Sequence[Cell]) -> float:
    return sum(number(cell) is not None for cell in cells) / len(cells)


def _counts(name: str, cells: Sequence[Cell]) -> bool:
    """Whether a column only numbers the rows."""
    plain = re.sub(r"\W+", "_", name.strip().casefold())
    return (not plain or _COUNTING.search(plain) is not None) and len({str(cell) for cell in cells}) == len(cells)


def _label_column(free: Sequence[str], numeric: Sequence[str], filled: dict[str, list[Cell]]) -> tuple[str | None, str]:
    """By its name; else the only one that holds no numbers and few values; else a less sure name."""
    plain = {name.strip().casefold(): name for name in reversed(free)}
    sure = [plain[name] for name in SURE_NAMES if name in plain]
    if sure:
        return sure[0], "its name"
    few = [name for name in free if len({str(cell) for cell in filled[name]}) <= max(2, len(filled[name]) / 3)]
    words = [name for name in few if name not in numeric]
    if len(words) == 1:
        return words[0], "the only one without numbers that repeats"
    named = [plain[name] for name in TARGET_NAMES if name in plain and plain[name] in few]
    return (named[0], "its name") if len(named) == 1 else (None, "")


def _refuse_nothing(target: str | None, read: Sequence[str], columns: Sequence[str], sample: Sequence[Row]) -> None:
    where, listed = sample[0].place.file, f"columns: {', '.join(columns)}"
    faults = []
    if target is None:
        faults.append(Fault("no label column was found", where, listed, "name it: --target COLUMN"))
    if not read:
        remedy = "name them, in the order of the model's input: --data.text A,B,C"
        faults.append(Fault("no columns of numbers were found", where, listed, remedy))
    if faults:
        raise DataError(faults)


@dataclass(slots=True)
class NumberReader(RowReader):
    """Rows of numbers."""

    def example(self, row: Row) -> Example | None:
        """See ``RowReader``."""
        place, columns = self.num_rows, self.columns
        self.num_rows += 1
        cells = [row.cells.get(name) for name in columns.numbers]
        found = [number(cell) for cell in cells]
        labels = cell_labels(row.cells.get(columns.target), columns.label_separator) if columns.target else ()
        missing = next((n for n, value in enumerate(found) if value is None), None)
        shown = SEPARATOR.join(str(cell).strip() for cell in cells)
        if missing is not None:
            said = "" if is_missing(cells[missing]) else f" (it says {str(cells[missing])[:40]!r})"
            reason = f"no number in column {columns.numbers[missing]!r}{said}"
        elif self.needs_labels and not labels and columns.kind == "single_label":
            reason = f"no label in column {columns.target!r}"
        else:
            values = tuple(math.nan if value is None else value for value in found)
            return of_numbers(values, labels, row.place, (*group_and_time(row, columns), place))
        self.dropped.append(dropped_row(Example((shown,), (), row.place), reason))
        return None


def of_numbers(
    values: tuple[float, ...],
    labels: tuple[str, ...],
    place: Place,
    rest: tuple[str | None, str | None, int] = (None, None, -1),
) -> Example:
    """An example; its text are the numbers as people read them, none of them rounded. ``rest``: group, time, number."""
    group, time, row = rest
    return Example((SEPARATOR.join(f"{v!r}" for v in values),), labels, place, group, time, row, numbers=values)


def examples_of_lines(lines: Sequence[str], columns: ColumnsFound) -> list[Example]:
    """Rows given as numbers with commas, tabs or blanks between.

    Raises:
        DataError: a line holds other things, or other than one number a column.
    """
    examples, faults = [], []
    for place, line in enumerate(lines, start=1):
        found = [number(part) for part in re.split(r"[,;\s]+", line.strip())]
        if len(found) != len(columns.numbers) or None in found:
            what = f"{line!r} does not hold {len(columns.numbers)} numbers"
            faults.append(Fault(what, f"row {place}", None, f"give {', '.join(columns.numbers)}, with commas between"))
        else:
            values = tuple(value for value in found if value is not None)
            examples.append(of_numbers(values, (), Place("input", place)))
    if faults:
        raise DataError(faults)
    return examples


def example_of_text(text: str) -> Example:
    """The example of a text that :func:`of_numbers` wrote."""
    return of_numbers(tuple(float(part) for part in text.split(SEPARATOR)), (), Place("", 0))
