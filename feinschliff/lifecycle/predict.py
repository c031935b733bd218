"""The verb ``predict``: labels and scores for texts or for the rows of a file, or what a language model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from feinschliff import registry
from feinschliff.config.data import DataConfig
from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.data.conversations import USER, Conversation, Message
from feinschliff.data.examples import Example, Place
from feinschliff.data.image_rows import examples_of_paths
from feinschliff.data.load import load_examples
from feinschliff.data.number_rows import examples_of_lines
from feinschliff.data.tables import at
from feinschliff.engine.events import Announced
from feinschliff.errors import DataError, Fault, InputError
from feinschliff.lifecycle.evaluate import columns_of
from feinschliff.lifecycle.observing import Observer, counted, tell
from feinschliff.predictor import ModelFacts, Predictor
from feinschliff.results.data import ColumnsFound, DroppedRow
from feinschliff.results.prediction import INPUT, PredictionResult

PLACES_SHOWN = 3
"""Of rows that have no answer; every result says why it has none."""


def predict(
    run: Path,
    texts: Sequence[str] | None,
    sources: Sequence[str] = (),
    *,
    text_columns: Sequence[str] = (),
    reading: DataConfig | None = None,
    sampling: SamplingConfig | None = None,
    precision: WritingPrecision = "auto",
    observers: Sequence[Observer] = (),
) -> list[PredictionResult]:
    """One result a text (for pairs: two texts, or one with a tab between the two), or a row of the sources.

    Of embeddings a text gives its vector, and two with a tab between (or a row with two columns) their similarity.
    Of a language model, rows of sources that cannot be answered get a result that says why, as long as others can be.

    Args:
        text_columns: of the sources, where they are named otherwise than in the run's own data.
        reading: encoding, delimiter and header of the sources, where they are not to be found.
        sampling: how a language model chooses its words; None: always the likeliest.
        precision: what a language model computes in.
        observers: told what was found in the sources, how far it is, how many rows or answers were cut, and which rows
            have no answer.

    Raises:
        RunDirectoryError: there is no finished model.
        InputError: sampling or bf16 is asked of a model that is none.
        DataError: the file cannot be read; texts do not come in pairs where the model takes pairs; texts, or all rows,
            cannot be answered.
    """
    predictor = Predictor(run, precision=precision)
    for note in predictor.notes:
        tell(observers, Announced(note))
    if sources:
        columns = _columns(predictor.facts, text_columns)
        examples, dropped, found = load_examples(
            list(sources),
            reading or DataConfig(),
            columns,
            needs_labels=False,
            why="the run was trained with it (for another column: --text COLUMN)",
        )
        for note in found:
            tell(observers, Announced(note))
    else:
        examples, dropped = _given(list(texts or ()), predictor.facts), []
    if predictor.writes:
        return _written(predictor, examples, dropped, sampling, observers)
    _refuse(dropped)
    if sampling is not None:
        raise InputError(
            "temperature, top-p, max-new-tokens, stop and the like are for language models",
            where="command line",
            why=f"the run's task is {predictor.facts.task['type']}",
            remedy="leave them out",
        )
    scored = predictor.score(examples, counted(observers, "scoring", len(examples)))
    for note in scored.notes:
        tell(observers, Announced(note))
    results: list[PredictionResult] = predictor.task.results(scored.answers, examples)
    return results


def _written(
    predictor: Predictor,
    examples: Sequence[Example],
    dropped: Sequence[DroppedRow],
    sampling: SamplingConfig | None,
    observers: Sequence[Observer],
) -> list[PredictionResult]:
    """What a language model answers, and to which rows it does not.

    Raises:
        DataError: no row can be answered, or one of the texts that were given cannot be.
    """
    are_rows = any(example.place.file != INPUT for example in examples)
    try:
        found = predictor.write(examples, sampling, counted(observers, "writing", len(examples)), leaves_out=are_rows)
    except DataError as error:
        if are_rows or len(examples) == 1:
            raise
        raise DataError([*error.faults, _none_answered(len(examples))]) from error
    results = _in_order(predictor.task.results(found.answers, examples), examples, dropped)
    for note in (*_without_answer(results), *found.notes):
        tell(observers, Announced(note))
    return results


def _none_answered(count: int) -> Fault:
    remedy = "mend these, or put all into a file, one a line, and give it as --file: there the others are answered"
    return Fault(f"none of the {count:,} texts is answered", None, None, remedy)


def _in_order(
    results: Sequence[PredictionResult], examples: Sequence[Example], dropped: Sequence[DroppedRow]
) -> list[PredictionResult]:
    """Results of rows, and of rows that could not be read, as they follow each other in the sources."""
    if not dropped:
        return list(results)
    read = {example.number: result for example, result in zip(examples, results, strict=True)}
    others = iter(dropped)
    return [read[number] if number in read else _unread(next(others)) for number in range(len(examples) + len(dropped))]


def _unread(row: DroppedRow) -> PredictionResult:
    return PredictionResult(text=row.text, error=row.reason, file=row.file, line=row.line)


def _without_answer(results: Sequence[PredictionResult]) -> list[str]:
    """How many rows have none, and the first places."""
    left = [row for row in results if row.error is not None]
    if not left:
        return []
    places = "; ".join(f"{at(row.file, row.line)} ({row.error})" for row in left[:PLACES_SHOWN])
    more = f"; and {len(left) - PLACES_SHOWN:,} more" if len(left) > PLACES_SHOWN else ""
    have = "has" if len(left) == 1 else "have"
    return [f"{len(left):,} of {len(results):,} rows {have} no answer: {places}{more}"]


def _refuse(dropped: Sequence[DroppedRow]) -> None:
    if dropped:
        first = dropped[0]
        raise DataError(
            f"{len(dropped)} rows cannot be predicted",
            where=f"{first.file}:{first.line}",
            why=first.reason,
            remedy="fill them in or remove them, so that every row gets an answer",
        )


def _columns(facts: ModelFacts, text_columns: Sequence[str]) -> ColumnsFound:
    """The text columns to read; where texts are embedded, any number of them."""
    if registry.says("task", facts.task["type"], "EMBEDS_TEXTS"):
        return ColumnsFound(text=list(text_columns) or facts.columns.text[:2], target=None, kind="pairs")
    return columns_of(facts.columns, text_columns).model_copy(update={"target": None, "values": []})


def _to_embed(texts: list[str]) -> list[Example]:
    """Each text by itself, or two with a tab between as a pair."""
    return [
        replace(_examples([text], 2 if "\t" in text else 1)[0], place=Place(INPUT, number))
        for number, text in enumerate(texts, start=1)
    ]


def _given(texts: list[str], facts: ModelFacts) -> list[Example]:
    """Texts as they are, to be embedded or read, lines of numbers, or paths of images."""
    if registry.says("task", facts.task["type"], "EMBEDS_TEXTS"):
        return _to_embed(texts)
    if facts.columns.numbers:
        return examples_of_lines(texts, facts.columns)
    if facts.columns.kind == "conversations":
        return [replace(one, conversation=Conversation((Message(USER, one.texts[0]),))) for one in _examples(texts, 1)]
    if facts.columns.image is None:
        return _examples(texts, facts.context.num_texts)
    examples, dropped = examples_of_paths(texts, facts.columns)
    if dropped:
        raise DataError([_no_image(row) for row in dropped])
    return examples


def _no_image(row: DroppedRow) -> Fault:
    if row.file and Path(row.file).is_dir():
        return Fault("this is a folder, not an image", row.file, None, f"to ask of its images: --file {row.file}")
    return Fault(row.reason, row.file or "an empty path", None, "give paths of image files")


def _examples(texts: list[str], num_texts: int) -> list[Example]:
    if num_texts == 2 and all("\t" in text for text in texts):
        texts = [part for text in texts for part in text.split("\t", 1)]
    empty = [place for place, text in enumerate(texts, start=1) if not text.strip()]
    if empty:
        raise DataError("a text is empty", where=f"text {empty[0]}", remedy="give a text with at least a word")
    if len(texts) % num_texts:
        raise DataError(
            f"{len(texts)} text{'s' if len(texts) > 1 else ''} for a model that takes pairs",
            remedy='give two texts: feinschliff predict RUN "first" "second" (in a pipe: a tab between them)',
        )
    starts = range(0, len(texts), num_texts)
    return [Example(tuple(texts[i : i + num_texts]), (), Place(INPUT, n)) for n, i in enumerate(starts, start=1)]
