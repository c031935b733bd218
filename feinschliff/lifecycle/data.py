"""The verb ``data``: check, clean, split. Knows no file format; what a model can add to a check is handed in."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.data import clean as cleaning
from feinschliff.data import quality
from feinschliff.data.load import load_splits
from feinschliff.data.quality import ModelHooks
from feinschliff.data.rows_to_examples import count_reasons
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.writers import RowWriter, output_format, write_dropped
from feinschliff.results.data import CleanResult, DataReport, SplitResult

__all__ = ["ModelHooks", "check", "clean", "split"]


def check(config: DataConfig, hooks: ModelHooks | None = None, seed: int = 0) -> DataReport:
    """What is wrong or worth knowing in the files: see ``data.quality.check``. Without hooks no torch is imported.

    Raises:
        DataError: files that cannot be read, or columns that are not found.
    """
    return quality.check(config, hooks, seed)


def clean(
    config: DataConfig, output: Path | None = None, min_rows_per_class: int = 1, overwrite: bool = False
) -> CleanResult:
    """Write a cleaned file and the list of what was left out: see ``data.clean.clean``.

    Raises:
        DataError: files that cannot be read, columns that are not found, or the output exists.
    """
    return cleaning.clean(config, output, min_rows_per_class, overwrite)


def split(config: DataConfig, output_dir: Path, seed: int = 0, overwrite: bool = False) -> SplitResult:
    """Write the training, validation and test rows of a run as files of their own, with all columns as they are.

    Rows that a run would drop are listed in ``dropped.csv``. The same rows and seed give the same files.

    Args:
        output_dir: made where absent; gets ``train``, ``validation`` and ``test`` in the format of the first source.

    Raises:
        DataError: see ``data.load.load_splits``; or a file exists.
    """
    splits = load_splits(config, seed)
    sides = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    side_of = {example.place: name for name, examples in sides.items() for example in examples}
    sources = [*config.train, *config.validation, *config.test]
    tables = open_tables(sources, config)
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    suffix = output_format(tables[0].name)
    dropped_path = output_dir / "dropped.csv"
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(RowWriter(output_dir / f"{name}{suffix}", columns, overwrite)) for name in sides
        }
        for row in read_tables(tables):
            if row.place in side_of:
                writers[side_of[row.place]].write(row.cells)
        write_dropped(dropped_path, splits.dropped, overwrite)
    return SplitResult(
        files={name: str(writer.path) for name, writer in writers.items()},
        rows={name: writer.num_rows for name, writer in writers.items()},
        dropped_output=str(dropped_path),
        dropped=count_reasons(splits.dropped),
        seed=seed,
        announcements=splits.announcements,
    )
