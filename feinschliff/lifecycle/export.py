"""The verb ``export``: a run's model as a folder of its own, compared with the run before it is called done."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from feinschliff.data.examples import Example, Place
from feinschliff.engine.checkpoint import is_full
from feinschliff.errors import FeinschliffError, RunDirectoryError
from feinschliff.lifecycle import added, held_out
from feinschliff.predictor import Predictor, model_folder
from feinschliff.results.prediction import ExportResult
from feinschliff.store.run_directory import RunDirectory, disk_full

PROBE_ROWS = 32
TOLERANCE = 1e-3
"""Largest difference in a probability (or in standard deviations of a number) that rounding explains."""


def export(run: Path, output_dir: Path) -> ExportResult:
    """Copy the model folder and prove that plain transformers (or Keras) gives the run's scores with it.

    Raises:
        RunDirectoryError: there is no finished model, or ``output_dir`` is not empty.
        FeinschliffError: the written folder answers differently; it is removed.
    """
    source = model_folder(run)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise RunDirectoryError(f"{output_dir} is not empty", where="--output-dir", remedy="name a new folder")
    building = output_dir.with_name(f".{output_dir.name}.tmp")
    try:
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(source, building)
        if output_dir.exists():
            output_dir.rmdir()
        building.rename(output_dir)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        if is_full(error):
            raise disk_full(output_dir) from error
        raise RunDirectoryError(
            f"{output_dir} cannot be written",
            where="--output-dir",
            why=str(error.args[0][0][2]) if isinstance(error, shutil.Error) else error.strerror or str(error),
            remedy="name a folder that can be written",
        ) from error
    examples = _probe_rows(run)
    predictor = Predictor(source, exact=True)
    ours = predictor.outputs(examples)
    theirs = predictor.task.plain_outputs(output_dir, examples, added.completing(predictor, output_dir))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        shutil.rmtree(output_dir)
        raise FeinschliffError(
            f"the exported model answers differently: outputs differ by up to {difference:.2g}",
            why="the library that loads it does not compute what the run computed",
            remedy="please report this with the model's name",
        )
    files = sorted(path for path in output_dir.rglob("*") if path.is_file())
    return ExportResult(
        folder=str(output_dir),
        files=[str(path.relative_to(output_dir)) for path in files],
        size_bytes=sum(path.stat().st_size for path in files),
        largest_difference=difference,
        probe_rows=len(examples),
        loading=predictor.method.loading,
    )


def _probe_rows(run: Path) -> list[Example]:
    directory = RunDirectory(run)
    if directory.splits.exists():
        rows = held_out.read(directory)[:PROBE_ROWS]
        if rows:
            return rows
    facts = Predictor(run).facts
    texts = ("a short text", "a somewhat longer text, to see that length does not matter")
    return [Example((text,) * facts.context.num_texts, (), Place("probe", n)) for n, text in enumerate(texts, start=1)]
