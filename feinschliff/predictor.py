"""A finished model folder, answering: rows in, answers out, whatever the task. Knows no training run.

The folder is transformers' own model plus ``feinschliff.json`` with what transformers has no field for.
It runs on packed rows like in training; the scores are those of ``pipeline()`` to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from feinschliff import registry
from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS, TokenTargets
from feinschliff.engine.devices import CPU, DeviceName, chosen, device_of
from feinschliff.engine.precision import DTYPES, Precision, choose
from feinschliff.engine.scoring import outputs
from feinschliff.errors import DataError, Fault, InputError, RunDirectoryError
from feinschliff.methods._method import Method
from feinschliff.results.data import ColumnsFound
from feinschliff.tasks._task import EncodedSet, TaskContext, encoded

FACTS = "feinschliff.json"
ADDED = "adapter"
"""Folder inside a model folder, of what a method trained that plain weights cannot hold."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says of itself beside transformers' configuration."""

    task: dict[str, Any]
    """The task's configuration."""
    context: TaskContext
    columns: ColumnsFound
    """Of the data it was trained on."""
    max_length_tokens: int
    metric: str
    base_model: str
    pooling: str | None
    method: dict[str, Any] | None = None
    """Configuration of the method whose trained part lies beside the weights; None: the weights hold all."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(replace(self, columns=None)) | {"columns": self.columns.model_dump(mode="json")}  # type: ignore[arg-type]

    @classmethod
    def read(cls, folder: Path) -> ModelFacts:
        """Read ``feinschliff.json`` of a model folder.

        Raises:
            RunDirectoryError: there is none, or it is damaged.
        """
        try:
            values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            context: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values["context"].items()
            }
            found = {"context": TaskContext(**context), "columns": ColumnsFound.model_validate(values["columns"])}
            return cls(**{**values, **found})
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


def refuse_empty(rows: EncodedSet) -> None:
    """Say why nothing of a set can be measured.

    Raises:
        DataError: no row is left of it.
    """
    if not len(rows.table):
        raise DataError(rows.faults or [Fault("there are no rows", None, None, "give at least one")])


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers for rows, and what must be said of them."""

    answers: Any
    """In the form of the task: see ``tasks._task.Task.answers``."""
    notes: tuple[str, ...]
    """How many rows or answers were cut; empty where none was."""


def _method_of(facts: ModelFacts) -> Method:
    """The method that attaches what was saved beside the weights; the plainest one where nothing was."""
    if facts.method is None:
        return Method(None)
    module = registry.load("method", facts.method["type"])
    method: Method = module.create(module.CONFIG.model_validate(facts.method))
    return method


class Predictor:
    """Answers for texts or examples.

    Language models compute in the type this machine is fast in, or in the one that is asked for, and ``notes`` say
    which; ``exact`` keeps fp32, as they were saved, on the CPU. All other models compute in fp32.
    ``device``: where a GPU is found, tasks that can use it do; `cpu`: it is left alone.
    """

    def __init__(
        self,
        path: Path,
        num_threads: int | None = None,
        *,
        exact: bool = False,
        precision: WritingPrecision = "auto",
        device: DeviceName = "auto",
    ) -> None:
        self.folder = model_folder(path)
        self.facts = ModelFacts.read(self.folder)
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        module = registry.load("task", self.facts.task["type"])
        self.task = module.create(module.CONFIG.model_validate(self.facts.task), self.facts.context)
        self.network = self.task.load_finished(self.folder, self.facts.pooling)
        self.method = _method_of(self.facts)
        self.method.attach(self.network, self.folder / ADDED)
        self.network.eval()
        self.notes: tuple[str, ...] = () if exact else self._placed(device)
        self.precision: Precision = "fp32"
        if self.writes and not exact:
            self.precision, why = self._precision(precision)
            self.network.body.to(DTYPES[self.precision])
            self.notes = (*self.notes, why)
        elif precision == "bf16":
            raise InputError(
                "this model computes in fp32",
                where="--precision",
                why=f"only language models have a choice, and its task is {self.facts.task['type']}",
                remedy="leave it out",
            )

    def _precision(self, asked: WritingPrecision) -> tuple[Precision, str]:
        if asked == "auto":
            return choose(device_of(self.network), self.network.body.hidden_width)
        return asked, f"precision {asked}: as asked"

    def _placed(self, asked: DeviceName) -> tuple[str, ...]:
        """Put the network where it computes; a sentence where that is not the CPU."""
        if not registry.says("task", self.facts.task["type"], "COMPUTES_ON_GPUS"):
            return ()
        device, why = chosen(asked)
        self.network.to(device)
        return () if device == CPU else (why,)

    def score(
        self,
        examples: Sequence[Example],
        on_rows: Callable[[int], None] = lambda _: None,
        written_rows: int = 0,
        on_written: Callable[[int], None] = lambda _: None,
    ) -> Scored:
        """Answers, and how many rows were longer than the model's limit.

        Of language models these are likelihoods; ``written_rows`` examples are answered in writing too.

        Raises:
            DataError: no row has anything to be judged by.
        """
        rows = encoded(self.task, examples, self.facts.max_length_tokens, self.method.num_virtual_tokens)
        refuse_empty(rows)
        found = outputs(
            self.task,
            self.network,
            rows.table,
            max_tokens=FORWARD_TOKENS,
            targets=rows.targets if isinstance(rows.targets, TokenTargets) else None,
            on_rows=on_rows,
        )
        answers = self.task.answers(found, rows)
        if written_rows and self.writes:
            answers = self.task.in_writing(answers, examples, written_rows, on_written)
        notes = tuple(rows.notes) or self._notes(rows.num_cut, len(examples))
        faults = (": ".join(filter(None, (fault.what, fault.why))) for fault in rows.faults)
        return Scored(answers, (*notes, *faults))

    @property
    def writes(self) -> bool:
        """Whether it is a language model, whose answers are texts of its own."""
        return registry.says("task", self.facts.task["type"], "CONTINUES_TEXTS")

    def write(
        self,
        examples: Sequence[Example],
        sampling: SamplingConfig | None = None,
        on_rows: Callable[[int], None] = lambda _: None,
        *,
        leaves_out: bool = False,
    ) -> Scored:
        """A language model's answers in writing, and how many had not ended.

        Args:
            leaves_out: examples that cannot be asked get no answer but a reason, as long as others can be.

        Raises:
            DataError: examples cannot be asked; all faults at once.
        """
        answers = self.task.written(examples, sampling, on_rows, leaves_out=leaves_out)
        return Scored(answers, tuple(answers.notes))

    def outputs(self, examples: Sequence[Example]) -> npt.NDArray[np.float32]:
        """What the network gives, in the form in which plain transformers can be compared with it."""
        limit, count = self.facts.max_length_tokens, self.method.num_virtual_tokens
        found: npt.NDArray[np.float32] = self.task.own_outputs(self.network, examples, limit, count)
        return found

    def _notes(self, cut: int, rows: int) -> tuple[str, ...]:
        limit = self.facts.max_length_tokens
        said = f"{cut:,} of {rows:,} rows {'was' if cut == 1 else 'were'} longer than {limit} tokens and cut"
        return (said,) if cut else ()
