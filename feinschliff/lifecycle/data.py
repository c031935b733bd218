"""The verb ``data``: check, clean, split. Knows no file format; a model adds to a check where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.config.model import ModelConfig
from feinschliff.config.run import RunConfig
from feinschliff.data import clean as cleaning
from feinschliff.data import quality
from feinschliff.data.image_rows import cells_beside
from feinschliff.data.load import load_splits, open_with_columns
from feinschliff.data.quality import ModelHooks
from feinschliff.data.redacted_cells import CellRedactor
from feinschliff.data.rows_to_examples import count_reasons
from feinschliff.data.sources import open_tables, read_tables
from feinschliff.data.tables import Row
from feinschliff.data.writers import RowWriter, output_format, write_dropped
from feinschliff.engine.events import Announced
from feinschliff.errors import ResourceError
from feinschliff.lifecycle.observing import Observer, tell
from feinschliff.models.sources import cached_folder, resolve_model
from feinschliff.results.data import CleanResult, DataReport, SplitResult

__all__ = ["ModelHooks", "check", "clean", "model_hooks", "split"]

NO_MODEL = "none"


def check(config: DataConfig, hooks: ModelHooks | None = None, seed: int = 0) -> DataReport:
    """What is wrong or worth knowing in the files: see ``data.quality.check``. Without hooks no torch is imported.

    Raises:
        DataError: files that cannot be read, or columns that are not found.
    """
    return quality.check(config, hooks, seed)


def model_hooks(config: DataConfig, model: str | None = None, observers: Sequence[Observer] = ()) -> ModelHooks:
    """What a base model can add to a check: lengths in tokens and suspected label errors.

    Args:
        model: a source as for a run, or ``none``, which imports no torch. None: the model that a run takes by default;
            where it cannot be had the check goes without, and its report says so.
        observers: told of what is slow.

    Raises:
        DataError: the files cannot be opened, or their columns are not found.
        ModelError, ResourceError: the model that was named cannot be used.
    """
    left_out = "lengths in tokens and suspected label errors were left out"
    if model == NO_MODEL:
        return ModelHooks(note=f"{left_out}: no model was wanted")
    columns = open_with_columns(config.train, config)[1]
    if columns.kind in ("conversations", "documents"):
        return _of_decoder(model, observers)
    if columns.image is not None and model is None:
        return ModelHooks(note="suspected label errors were left out: `--model` names an image model")
    wanted = ModelConfig() if model is None else ModelConfig(source=model)
    if cached_folder(wanted.source) is None:
        tell(observers, Announced(f"fetching {wanted.source}"))
    try:
        resolved = resolve_model(wanted.source)
    except ResourceError as error:
        if model is not None:
            raise
        return ModelHooks(note=f"{left_out}: {error.faults[-1].what}; `--model` names another one")
    said = f"looking at lengths and labels with {resolved.name} (without: --model {NO_MODEL})"
    tell(observers, Announced(said))
    from feinschliff.lifecycle.embedding import FrozenEncoder
    from feinschliff.tasks._task import TaskContext

    numbers = tuple(columns.numbers)
    context = TaskContext(("-", "+"), multi_label=False, num_texts=max(1, len(columns.text)), number_names=numbers)
    kind = "image_classification" if columns.image is not None else "tabular_classification" if numbers else ""
    task = {"task": {"type": kind}} if kind else {}
    encoder = FrozenEncoder(RunConfig.model_validate({"model": wanted, **task}), resolved, context, observers)
    return replace(encoder.hooks(), note=f"lengths and suspected label errors: judged with {resolved.name}")


def _of_decoder(model: str | None, observers: Sequence[Observer]) -> ModelHooks:
    from feinschliff.lifecycle.decoders import hooks_of

    try:
        return hooks_of(model, observers)
    except ResourceError as error:
        if model is not None:
            raise
        return ModelHooks(note=f"lengths in tokens were left out: {error.faults[-1].what}; `--model` names a model")


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
        DataError: see ``data.load.load_splits``; or a file exists, or personal data cannot be replaced in such rows.
    """
    splits = load_splits(config, seed)
    redactor = CellRedactor(splits.columns) if config.redact else None
    sides = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    sources = {"train": config.train, "validation": config.validation, "test": config.test}
    # By the order of reading: a place is no key where the same file is given twice.
    side_of = {
        (name if sources[name] else "train", example.number): name
        for name, examples in sides.items()
        for example in examples
    }
    tables = {name: open_tables(files, config) for name, files in sources.items() if files}
    columns = list(dict.fromkeys(name for group in tables.values() for table in group for name in table.columns))
    suffix = output_format(tables["train"][0])
    dropped_path = output_dir / "dropped.csv"
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(RowWriter(output_dir / f"{name}{suffix}", columns, overwrite)) for name in sides
        }
        for given, group in tables.items():
            for number, row in enumerate(read_tables(group)):
                if (given, number) in side_of:
                    clean_row = Row(redactor.clean(row.cells), row.place) if redactor else row
                    cells = cells_beside(clean_row, splits.columns.image, output_dir)
                    writers[side_of[given, number]].write(cells)
        write_dropped(dropped_path, splits.dropped, overwrite)
    return SplitResult(
        files={name: str(writer.path) for name, writer in writers.items()},
        rows={name: writer.num_rows for name, writer in writers.items()},
        dropped_output=str(dropped_path),
        dropped=count_reasons(splits.dropped),
        seed=seed,
        announcements=splits.announcements,
    )
