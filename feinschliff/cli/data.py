"""`feinschliff data`: check, clean, split, convert, show. Knows flags and printing, not what makes data good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli import data_convert, data_show
from feinschliff.cli.data_options import Delimiter, Encoding, Header, Separator, data_config
from feinschliff.cli.output import emit
from feinschliff.cli.watching import on_console
from feinschliff.results.data import CleanResult, DataReport, SplitResult

app = typer.Typer(add_completion=False, no_args_is_help=True)
_SHOWN = 70
"""Characters of a row's text."""
_Files = Annotated[list[str], typer.Argument(help="Files, globs, folders, hf:... or pypi:...", metavar="FILE...")]
_Target = Annotated[str | None, typer.Option("--target", help="Label column; found where not given.")]
_Text = Annotated[list[str] | None, typer.Option("--text", help="Text column; twice for sentence pairs.")]
_Rows = Annotated[
    str | None,
    typer.Option(
        "--rows",
        help="labels, values, spans, answers, pairs, images, texts, numbers, conversations or documents; found where "
        "not given.",
    ),
]
_Conversations = Annotated[
    str | None,
    typer.Option("--conversations", help="openai, sharegpt, alpaca or prompt_completion; found where not given."),
]
_Test = Annotated[list[str] | None, typer.Option("--test", help="Own test file.")]
_Validation = Annotated[list[str] | None, typer.Option("--validation", help="Own validation file.")]
_Group = Annotated[str | None, typer.Option("--group", help="Column whose equal values stay on one side.")]
_Time = Annotated[str | None, typer.Option("--time", help="Column to split by: the newest rows are the test set.")]
_Similarity = Annotated[
    float | None, typer.Option("--near-duplicate-similarity", help="Share of words of near duplicates.")
]
_Redact = Annotated[bool, typer.Option("--redact", help="Personal data becomes [EMAIL], [PHONE] ... in every column.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.callback()
def _data() -> None:
    """Check, clean, split, convert and show data."""


@app.command()
def check(
    files: _Files,
    target: _Target = None,
    text: _Text = None,
    rows: _Rows = None,
    conversations: _Conversations = None,
    validation: _Validation = None,
    test: _Test = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    label_separator: Separator = None,
    similarity: _Similarity = None,
    model: Annotated[
        str | None,
        typer.Option(help="Looks at lengths and label errors: a model as for tune, or none; default: the starter."),
    ] = None,
    as_json: _Json = False,
) -> int:
    """Every fault with file and line: empty, duplicate, conflicting, misspelt, leaking rows. Exit code 1 on errors."""
    from feinschliff.lifecycle.data import check as work
    from feinschliff.lifecycle.data import model_hooks

    given: dict[str, Any] = {"train": files, "target": target, "text": text, "validation": validation, "test": test}
    given |= {
        "rows": rows,
        "conversations": conversations,
        "encoding": encoding,
        "delimiter": delimiter,
        "header": header,
        "label_separator": label_separator,
    }
    config = data_config(given | {"near_duplicate_similarity": similarity})
    with on_console() as observers:
        result = work(config, model_hooks(config, model, observers))
    emit(result, as_json, lambda out: _show_report(out, result))
    return int(any(finding.severity == "error" for finding in result.findings))


@app.command()
def clean(
    files: _Files,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The cleaned file; NAME.clean.csv.")] = None,
    target: _Target = None,
    text: _Text = None,
    rows: _Rows = None,
    conversations: _Conversations = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    label_separator: Separator = None,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep exact duplicates.")] = False,
    min_rows_per_class: Annotated[int, typer.Option(min=1, help="Leave out classes with fewer rows.")] = 1,
    redact: _Redact = False,
    overwrite: _Overwrite = False,
    as_json: _Json = False,
) -> None:
    """Write a cleaned file, and a list of what was left out and why."""
    from feinschliff.lifecycle.data import clean as work

    given: dict[str, Any] = {
        "train": files,
        "target": target,
        "text": text,
        "encoding": encoding,
        "delimiter": delimiter,
    }
    given |= {"rows": rows, "conversations": conversations, "header": header, "label_separator": label_separator}
    given |= {"duplicates": "keep" if keep_duplicates else None, "redact": redact}
    result = work(data_config(given), output, min_rows_per_class, overwrite)
    emit(result, as_json, lambda out: _show_clean(out, result))


@app.command()
def split(
    files: _Files,
    output_dir: Annotated[Path, typer.Option("--output-dir", "--output", "-o", help="Folder for the three files.")],
    target: _Target = None,
    text: _Text = None,
    rows: _Rows = None,
    conversations: _Conversations = None,
    group: _Group = None,
    time: _Time = None,
    validation: _Validation = None,
    test: _Test = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Share of validation rows (0.1).")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of test rows (0.2).")] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    label_separator: Separator = None,
    redact: _Redact = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    overwrite: _Overwrite = False,
    as_json: _Json = False,
) -> None:
    """Stratified train, validation and test files; duplicates and groups stay on one side."""
    from feinschliff.lifecycle.data import split as work

    given: dict[str, Any] = {
        "train": files,
        "target": target,
        "text": text,
        "group": group,
        "time": time,
        "encoding": encoding,
        "header": header,
    }
    given |= {"validation": validation, "test": test, "delimiter": delimiter, "label_separator": label_separator}
    given |= {
        "rows": rows,
        "conversations": conversations,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "redact": redact,
    }
    result = work(data_config(given), output_dir, seed, overwrite)
    emit(result, as_json, lambda out: _show_split(out, result))


app.add_typer(data_convert.app)
app.add_typer(data_show.app)


def _show_report(out: Console, report: DataReport) -> None:
    out.print(f"{report.rows:,} rows in {', '.join(report.files)}", markup=False)
    for note in report.columns.announcements:
        out.print(f"  {note}", markup=False)
    counts = report.label_counts
    shown = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:8])
    if counts:
        out.print(f"{len(counts):,} classes: {shown}{' ...' if len(counts) > 8 else ''}", markup=False)
    if report.lengths:
        lengths = report.lengths
        cut = ", ".join(f"{limit}: {share:.1%}" for limit, share in lengths.cut_at.items())
        out.print(f"tokens a row: median {lengths.median:.0f}, 95% {lengths.p95:.0f}, longest {lengths.longest}")
        out.print(f"share that a limit would cut: {cut}")
    for finding in report.findings:
        style = {"error": "bold red", "warning": "yellow", "info": "cyan"}[finding.severity]
        out.print(f"[{style}]{finding.severity}[/] ", end="")
        out.print(f"{finding.kind}: {finding.message}", markup=False)
        if finding.remedy:
            out.print(f"  do: {finding.remedy}", markup=False)
        for row in finding.examples[:3]:
            text, note = (" ".join(said.split()) for said in (row.text, row.note))
            text = text[-_SHOWN:] if text.startswith("…") else text[:_SHOWN]  # of some rows the end is what matters
            out.print(f"  {row.file}:{row.line}: {text}  ({note})", markup=False)
    if not report.findings:
        out.print("nothing to complain of")


def _show_clean(out: Console, result: CleanResult) -> None:
    out.print(f"{result.rows_written:,} of {result.rows_read:,} rows written to {result.output}", markup=False)
    _show_dropped(out, result.dropped, result.dropped_output)
    if result.num_changed_labels:
        changes = ", ".join(f"{old!r} to {new!r}" for old, new in list(result.changed_labels.items())[:8])
        out.print(f"{result.num_changed_labels:,} labels respelled: {changes}", markup=False)

    if result.redacted is not None:
        out.print(f"personal data replaced in {result.redacted_rows:,} rows: {_kinds(result.redacted)}", markup=False)
    for column, kinds in result.redacted_beside.items():
        out.print(f"  of these in column {column!r}, which is not learned: {_kinds(kinds)}", markup=False)


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} [{kind}]" for kind, count in counts.items()) or "none was found"


def _show_split(out: Console, result: SplitResult) -> None:
    for note in result.announcements:
        out.print(note, markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("set", "rows", "file"):
        table.add_column(column, justify="right" if column == "rows" else "left")
    for name, path in result.files.items():
        table.add_row(name, f"{result.rows[name]:,}", path)
    out.print(table)
    _show_dropped(out, result.dropped, result.dropped_output)


def _show_dropped(out: Console, dropped: Mapping[str, int], path: str) -> None:
    for reason, count in dropped.items():
        out.print(f"  {count:,} rows left out: {reason}", markup=False)
    out.print(f"  list of rows left out: {path}", markup=False)
