"""`feinschliff predict`: ask a finished run. Knows flags, standard input and printing, not models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from feinschliff.cli.data_options import Delimiter, Encoding, Header, data_config
from feinschliff.cli.output import emit
from feinschliff.cli.sampling import (
    JsonSchema,
    MaxNewTokens,
    MinP,
    Precision,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    given_sampling,
    precision_of,
)
from feinschliff.cli.watching import on_console
from feinschliff.errors import InputError
from feinschliff.results.prediction import INPUT, PredictionResult

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; - reads one a line from standard input (pairs: tab between).")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(help="Data files or sources; labels are not needed.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column of the file; default: the run's own.")] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    stop: Stop = None,
    seed: Seed = None,
    json_schema: JsonSchema = None,
    precision: Precision = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """The labels of texts, with scores; vectors, or the similarity of two; or what is written from or answered to each.

    How words are chosen (temperature and so on) is for language models alone. Of these, rows of a file that cannot be
    answered are counted on standard error, and the others answered.
    """
    asked = _asked(texts or [])
    if bool(asked) == bool(file):
        raise InputError(
            _nothing(texts or []) if not file else "texts and --file are both given",
            where="command line",
            remedy='give texts, or --file rows.csv: feinschliff predict runs/a "where is my parcel?"',
        )
    from feinschliff.lifecycle.predict import predict as work

    reading = data_config({"encoding": encoding, "delimiter": delimiter, "header": header})
    sampling = given_sampling(
        {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "max_new_tokens": max_new_tokens,
            "stop": stop,
            "seed": seed,
            "json_schema": json_schema and _schema(Path(json_schema)),
        }
    )
    with on_console() as observers:
        results = work(
            run,
            asked or None,
            file or (),
            text_columns=text or (),
            reading=reading,
            sampling=sampling,
            precision=precision_of(precision),
            observers=observers,
        )
    emit(results, as_json, lambda out: _show(out, results))


def _schema(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the schema {file} cannot be read", where="--json-schema", why=str(error)) from error


def _asked(texts: list[str]) -> list[str]:
    if texts != ["-"]:
        return texts
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]


def _nothing(texts: list[str]) -> str:
    return "nothing to predict" + (": standard input held no text" if texts == ["-"] else "")


def _show(out: Console, results: list[PredictionResult]) -> None:
    for result in results:
        place = "" if result.file == INPUT else f"{result.file}:{result.line}: "
        out.print(f"{place}{_said(result)}", markup=False)


def _said(result: PredictionResult) -> str:
    """One line: labels with scores, numbers, pieces, a vector, a similarity, what was written, or why nothing is."""
    if result.error is not None:
        return f"(no answer: {result.error})"
    if result.vector is not None:
        return "[" + ", ".join(f"{value:.6g}" for value in result.vector) + "]"
    if result.written is not None:
        return result.written or "(nothing)"
    if result.similarity is not None:
        return f"similarity {result.similarity:.4f}"
    if result.values:
        return ", ".join(f"{name} {value:.6g}" for name, value in result.values.items())
    if result.spans is not None:
        found = [f"{s.label} {s.text!r} ({s.start}-{s.end}, {s.score:.3f})" for s in result.spans]
        return ", ".join(found) or "(nothing found)"
    scores = ", ".join(f"{label} {score:.3f}" for label, score in result.scores.items())
    return f"{', '.join(result.labels) or '(none)'}   [{scores}]"
