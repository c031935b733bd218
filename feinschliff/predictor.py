"""A finished model folder, answering: texts in, probabilities out. Knows no training run.

The folder is transformers' own sequence classifier plus ``feinschliff.json`` with what transformers has no field for.
It runs on packed rows like in training; the scores are those of ``pipeline()`` to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from feinschliff import registry
from feinschliff.data.examples import Example, Place
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import probabilities
from feinschliff.errors import RunDirectoryError
from feinschliff.methods._method import Method
from feinschliff.tasks._task import TaskContext, encoded

FACTS = "feinschliff.json"
ADDED = "adapter"
"""Folder inside a model folder, of what a method trained that plain weights cannot hold."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says of itself beside transformers' configuration."""

    label_names: tuple[str, ...]
    multi_label: bool
    num_texts: int
    threshold: float
    max_length_tokens: int
    metric: str
    base_model: str
    pooling: str
    text_columns: tuple[str, ...]
    target_column: str | None
    label_separator: str | None
    task: str = "text_classification"
    method: dict[str, Any] | None = None
    """Configuration of the method whose trained part lies beside the weights; None: the weights hold all."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, folder: Path) -> ModelFacts:
        """Read ``feinschliff.json`` of a model folder.

        Raises:
            RunDirectoryError: there is none, or it is damaged.
        """
        try:
            values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            for name in ("label_names", "text_columns"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(
                f"{folder} is not a finished model of ours",
                why=str(error),
                remedy="name a run that `feinschliff runs list` shows as finished",
            ) from error


def model_folder(path: Path) -> Path:
    """The model folder of a run directory, or ``path`` itself if it is one.

    Raises:
        RunDirectoryError: neither.
    """
    for folder in (path, path / "model"):
        if (folder / FACTS).exists():
            return folder
    if not path.exists():
        raise RunDirectoryError(f"there is no run {path}", remedy="`feinschliff runs list` shows what there is")
    raise RunDirectoryError(
        f"{path} holds no finished model", remedy="start its command again to finish it, then ask it"
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers for rows, and what must be said of them."""

    probabilities: npt.NDArray[np.float32]
    """[N, C] in the order of ``facts.label_names``."""
    notes: tuple[str, ...]
    """How many rows were cut; empty where none was."""


def _method_of(facts: ModelFacts) -> Method:
    """The method that attaches what was saved beside the weights; the plainest one where nothing was."""
    if facts.method is None:
        return Method(None)
    module = registry.load("method", facts.method["type"])
    method: Method = module.create(module.CONFIG.model_validate(facts.method))
    return method


class Predictor:
    """Answers for texts or examples."""

    def __init__(self, path: Path, num_threads: int | None = None) -> None:
        self.folder = model_folder(path)
        self.facts = ModelFacts.read(self.folder)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        context = TaskContext(self.facts.label_names, self.facts.multi_label, self.facts.num_texts)
        module = registry.load("task", self.facts.task)
        config = module.CONFIG.model_validate({"type": self.facts.task, "threshold": self.facts.threshold})
        self.task = module.create(config, context)
        self.network = self.task.load_finished(self.folder, self.facts.pooling)
        self.method = _method_of(self.facts)
        self.method.attach(self.network, self.folder / ADDED)
        self.network.eval()

    def probabilities(
        self, examples: Sequence[Example], on_rows: Callable[[int], None] = lambda _: None
    ) -> npt.NDArray[np.float32]:
        """[N, C] in the order of ``facts.label_names``; rows that were cut are not told: see :meth:`score`."""
        return self.score(examples, on_rows).probabilities

    def score(self, examples: Sequence[Example], on_rows: Callable[[int], None] = lambda _: None) -> Scored:
        """Probabilities, and how many rows were longer than the model's limit."""
        limit = self.facts.max_length_tokens
        rows = encoded(self.task, examples, limit, self.method.num_virtual_tokens)
        found = probabilities(self.task, self.network, rows.table, max_tokens=FORWARD_TOKENS, on_rows=on_rows)
        cut = rows.num_cut
        said = f"{cut:,} of {len(examples):,} rows {'was' if cut == 1 else 'were'} longer than {limit} tokens and cut"
        return Scored(found, (said,) if cut else ())

    def decide(self, scores: npt.NDArray[np.float32]) -> Any:
        """Class numbers [N], or indicators [N, C]."""
        return self.task.decide(scores)

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Probabilities [N, C] for single texts."""
        rows = [Example((text,), (), Place("input", line)) for line, text in enumerate(texts, start=1)]
        return self.probabilities(rows)
