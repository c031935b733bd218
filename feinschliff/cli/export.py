"""`feinschliff export`: a run's model as a folder for others. Knows flags and printing, not formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from feinschliff.cli.output import emit
from feinschliff.results.prediction import ExportResult

app = typer.Typer(add_completion=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    output_dir: Annotated[Path, typer.Option(help="The folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a folder that transformers (its Auto classes and pipeline), or Keras, loads; with a model card."""
    from feinschliff.lifecycle.export import export as work

    result = work(run, output_dir)
    emit(result, as_json, lambda out: _show(out, result))


def _show(out: Console, result: ExportResult) -> None:
    out.print(f"written: {result.folder} ({len(result.files)} files, {result.size_bytes / 1e6:.1f} MB)", markup=False)
    plain = "Keras" if "model.keras" in result.files else "transformers"
    out.print(
        f"compared with plain {plain} on {result.probe_rows} rows: "
        f"outputs differ by at most {result.largest_difference:.1e}"
    )
    if result.loading:
        out.print("the weights alone would answer differently: load the folder as its README.md says", markup=False)
