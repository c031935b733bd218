"""Small runs for tests: made-up rows, a configuration, a run in memory, and the loop over it. Knows no test."""

from __future__ import annotations

import random
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from feinschliff.config.run import RunConfig
from feinschliff.data.conversations import Conversation, Message, as_text
from feinschliff.data.examples import Answer, Example, Place, Splits
from feinschliff.data.images import looked_at
from feinschliff.data.number_rows import of_numbers
from feinschliff.data.spans import Span
from feinschliff.engine import loop
from feinschliff.engine.events import Event
from feinschliff.lifecycle.finish import weights_hash
from feinschliff.lifecycle.prepare import Prepared, prepare
from feinschliff.models.sources import ResolvedModel
from feinschliff.results.data import ColumnsFound, Kind
from tests.conftest import TINY_TEXT

KINDS = {
    "delivery": "parcel delivery late lost broken",
    "film": "movie film good bad great",
    "money": "refund money account transfer payment",
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"type": "full"},
    "frozen_layers": {"type": "frozen_layers", "trained_layers": 1},
    "lora": {"type": "lora", "rank": 4},
    "dora": {"type": "lora", "rank": 4, "dora": True},
    "pissa": {"type": "lora", "rank": 4, "pissa": True},
    "ia3": {"type": "ia3"},
    "bitfit": {"type": "bitfit"},
    "gradual_unfreezing": {"type": "gradual_unfreezing", "layers_per_epoch": 1.0},
}


def examples(num_rows: int, seed: int, kind: str = "single", longest: int = 12) -> list[Example]:
    """Rows of kind single, multi (of labels), pair, values, spans, answers, ranked, similar, texts, images, numbers,
    conversations, documents.

    A label's word stands in each text. Values: the number of the label and a tenth of the words. Spans, answers: the
    label's word. Ranked, similar: with the words of the label, or of another.
    """
    rng, filler, rows = random.Random(seed), TINY_TEXT.split()[:30], []
    for row in range(num_rows):
        labels = tuple(sorted(rng.sample(sorted(KINDS), rng.randint(0, 2)))) if kind == "multi" else ()
        labels = labels or (() if kind == "multi" else (sorted(KINDS)[row % len(KINDS)],))
        words = [rng.choice(KINDS[label].split()) for label in labels] + rng.choices(filler, k=rng.randint(1, longest))
        rng.shuffle(words)
        texts = (" ".join(words), " ".join(rng.choices(filler, k=rng.randint(1, 6)))) if kind == "pair" else ()
        example = Example(texts or (" ".join(words),), labels, Place("made-up", row + 1))
        rows.append(TARGETS.get(kind, lambda same: same)(example))
    return rows


def _with_values(example: Example) -> Example:
    values = (sorted(KINDS).index(example.labels[0]) + 0.1 * len(example.texts[0].split()),)
    return replace(example, labels=(), values=values)


def _with_spans(example: Example) -> Example:
    found, place = [], 0
    for word in example.texts[0].split(" "):
        names = [name for name, words in KINDS.items() if word in words.split()]
        found += [Span(place, place + len(word), name) for name in names]
        place += len(word) + 1
    return replace(example, labels=tuple(sorted({span.label for span in found})), spans=tuple(found))


def _with_image(example: Example) -> Example:
    """A picture of noise, brighter in one colour for each label; the same file whenever it is asked for."""
    number = zlib.crc32(" ".join(example.texts).encode())
    pixels = np.random.default_rng(number).integers(0, 160, (20, 24, 3), dtype=np.uint8)
    pixels[..., sorted(KINDS).index(example.labels[0])] += 90
    path = Path(tempfile.gettempdir()) / f"feinschliff-tests-{number}.png"
    if not path.exists():
        PIL.Image.fromarray(pixels).save(path)
    return replace(example, texts=(str(path),), image=looked_at(path).ref)


def _with_numbers(example: Example) -> Example:
    """Four numbers, around another place for each label."""
    number = zlib.crc32(" ".join(example.texts).encode())
    values = np.random.default_rng(number).normal(2 * sorted(KINDS).index(example.labels[0]), 1.0, 4)
    return of_numbers(tuple(values.tolist()), example.labels, example.place)


def _with_answers(example: Example) -> Example:
    """The label's word answers; of every fourth row it is not known."""
    found = tuple(Answer(span.start, span.end) for span in _with_spans(example).spans[:1])
    answers = () if example.place.line % 4 == 0 else found
    return replace(example, texts=("what is this about", *example.texts), labels=(), answers=answers)


def _ranked(example: Example) -> Example:
    """The label's words belong to the text; every third row also has two texts that do not."""
    label = example.labels[0]
    others = [words for name, words in KINDS.items() if name != label] if example.place.line % 3 == 0 else []
    return replace(example, texts=(example.texts[0], f"{KINDS[label]} n{example.place.line}", *others), labels=())


def _similar(example: Example) -> Example:
    """Near the label's words, far from those of another."""
    label, near = example.labels[0], example.place.line % 2
    other = KINDS[label] if near else next(words for name, words in KINDS.items() if name != label)
    return replace(example, texts=(example.texts[0], other), labels=(), values=(near + 0.01 * len(example.texts[0]),))


def _with_references(example: Example) -> Example:
    """The label and the text's second half."""
    words = example.texts[0].split()
    return replace(example, labels=(), references=(" ".join([example.labels[0], *words[len(words) // 2 :]]),))


def _as_conversation(example: Example) -> Example:
    """What the text is about, asked once or twice; every fourth row begins with what the system says."""
    (label,), line = example.labels, example.place.line
    said = [("user", example.texts[0]), ("assistant", KINDS[label])]
    said += [("user", "And in one word?"), ("assistant", label)] if line % 3 == 0 else []
    said = [("system", "Be brief."), *said] if line % 4 == 0 else said
    conversation = Conversation(tuple(Message(role, content) for role, content in said))
    asked = (as_text(conversation.prompt),)
    return replace(example, texts=asked, labels=(), references=(said[-1][1],), conversation=conversation)


TARGETS = {
    "conversations": _as_conversation,
    "documents": lambda example: replace(example, labels=()),
    "texts": _with_references,
    "images": _with_image,
    "numbers": _with_numbers,
    "values": _with_values,
    "spans": _with_spans,
    "answers": _with_answers,
    "ranked": _ranked,
    "similar": _similar,
}
COLUMN_KINDS: dict[str, Kind] = {
    "multi": "multi_label",
    "values": "values",
    "spans": "spans",
    "answers": "answers",
    "ranked": "pairs",
    "similar": "values",
    "texts": "texts",
    "conversations": "conversations",
    "documents": "documents",
}
NAMED = ("values", "similar")
"""Kinds with a column of numbers."""
UNNAMED = (*NAMED, "answers", "ranked", "texts", "conversations", "documents")
"""Kinds without classes."""


def made_splits(num_train: int = 48, num_validation: int = 24, kind: str = "single", longest: int = 12) -> Splits:
    """Training and validation rows."""
    columns = ColumnsFound(
        text=["text", "other"] if kind in ("pair", "answers", "ranked", "similar") else ["text"],
        target="label",
        image="text" if kind == "images" else None,
        numbers=list("abcd") if kind == "numbers" else [],
        kind=COLUMN_KINDS.get(kind, "single_label"),
        values=["label"] if kind in NAMED else [],
    )
    sets = (examples(num_train, 1, kind, longest), examples(num_validation, 2, kind, longest))
    return Splits(*sets, [], columns, [] if kind in UNNAMED else sorted(KINDS))


def made_config(folder: Path, output_dir: Path, **changes: Any) -> RunConfig:
    """fp32, one thread, eight rows a step; ``changes`` are fields of the training part, or whole parts."""
    parts = {
        name: changes.pop(name) for name in ("method", "task", "model", "data", "evaluation", "seed") if name in changes
    }
    training = {
        "precision": "fp32",
        "num_threads": 1,
        "global_batch_rows": 8,
        "epochs": 2.0,
        "learning_rate": 1e-3,
        "head_learning_rate_multiplier": 5.0,
        **changes,
    }
    model = {"source": str(folder), **parts.pop("model", {})}
    return RunConfig.model_validate({"model": model, "training": training, "output_dir": str(output_dir), **parts})


def resolved(folder: Path) -> ResolvedModel:
    """A folder taken as it is."""
    return ResolvedModel(folder, folder.name, "folder", None, None, weights_sha256=folder.name)


def made_run(folder: Path, path: Path, splits: Splits | None = None, **changes: Any) -> Prepared:
    """A run in memory, ready for its first step."""
    return prepare(made_config(folder, path, **changes), splits or made_splits(), resolved(folder), path)


def made_fit(prepared: Prepared, path: Path, **controls: Any) -> loop.Fit:
    """The loop's object for a run."""
    return loop.Fit(
        learner=prepared.learner,
        seed=prepared.config.seed,
        metric=prepared.metric,
        validate=prepared.validate,
        checkpoints=path / "checkpoints",
        start_epoch=lambda epoch: prepared.method.start_epoch(prepared.network, epoch),
        **controls,
    )


def train_to_end(folder: Path, path: Path, splits: Splits | None = None, **changes: Any) -> loop.Fit:
    """A whole run without stop."""
    fit = made_fit(made_run(folder, path, splits, **changes), path)
    events: list[Event] = list(loop.fit(fit))
    assert events
    return fit


def weights_of(fit: loop.Fit) -> dict[str, torch.Tensor]:
    """Copies of all trained weights."""
    return {name: value.clone() for name, value in fit.learner.masters.named().items()}


def hash_of(fit: loop.Fit) -> str:
    """Hash of all trained weights as they are now."""
    return weights_hash(fit.learner.masters.named())


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Over all weights; the names must be equal."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)
