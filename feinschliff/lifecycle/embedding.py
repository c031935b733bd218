"""A frozen encoder for looking at data: lengths in tokens and features, each text computed once. Knows no training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example, Place
from feinschliff.data.images import ImageRef
from feinschliff.data.number_rows import example_of_text
from feinschliff.data.quality import ModelHooks
from feinschliff.data.scan import Texts
from feinschliff.engine.precision import DTYPES
from feinschliff.lifecycle.decoders import lengths_of_rows
from feinschliff.lifecycle.observing import Observer, counted
from feinschliff.lifecycle.placing import device_for, precision_of
from feinschliff.models.sources import ResolvedModel
from feinschliff.tasks._rivals import frozen_features
from feinschliff.tasks._row_network import RowNetwork
from feinschliff.tasks._task import TaskContext

Floats = npt.NDArray[np.float32]


class FrozenEncoder:
    """The base model as it is, in the precision this machine is fast in."""

    def __init__(
        self, config: RunConfig, model: ResolvedModel, context: TaskContext, observers: Sequence[Observer] = ()
    ) -> None:
        torch.set_num_threads(config.training.num_threads or torch.get_num_threads())
        self.task: Any = registry.load("task", config.task.type).create(config.task, context)
        self.network: Any = self.task.load_model(config.model, model.folder).eval()
        self.max_length_tokens = min(config.model.max_length_tokens or 10**9, self.task.loaded.max_length_tokens)
        self.network.to(device_for(config.task.type, config.training.device)[0])
        self.precision, _ = precision_of(config, self.network)
        self.network.body.to(DTYPES[self.precision])
        self._observers = observers
        self._apart = registry.says("task", config.task.type, "EMBEDS_TEXTS")
        self._continues_texts = registry.says("task", config.task.type, "CONTINUES_TEXTS")
        self._known: dict[tuple[str, ...], Floats] = {}
        self._seconds, self._rows = 0.0, 0

    @property
    def num_layers(self) -> int:
        """Blocks of the encoder."""
        return int(self.network.body.num_layers)

    @property
    def has_linear_layers(self) -> bool:
        """Whether any lies below the head."""
        return any(isinstance(module, torch.nn.Linear) for module in self.network.body.modules())

    def features(self, examples: Sequence[Example]) -> Floats:
        """Normalised features [N, d] (see ``baselines.frozen_features``)."""
        missing = list({example.texts: example for example in examples if example.texts not in self._known}.values())
        if missing:
            on_rows = counted(self._observers, "embedding", len(missing) * self.task.context.num_texts)
            with self.timed(len(missing)):
                computed = frozen_features(self.task, self.network, missing, self.max_length_tokens, on_rows)
            self._known |= {example.texts: computed[row] for row, example in enumerate(missing)}
        return np.stack([self._known[example.texts] for example in examples])

    @contextmanager
    def timed(self, rows: int) -> Iterator[None]:
        """Around a forward pass over so many rows."""
        begin = time.perf_counter()
        yield
        self._seconds, self._rows = self._seconds + time.perf_counter() - begin, self._rows + rows

    @property
    def seconds_per_forward(self) -> float:
        """Of one average row, measured over all that were computed so far."""
        return self._seconds / max(1, self._rows)

    def hooks(self) -> ModelHooks:
        """What a data check can ask of this model."""
        if isinstance(self.network, RowNetwork):
            of_numbers = bool(self.task.context.number_names)
            return ModelHooks(embed=self._embed_numbers if of_numbers else self._embed_images)
        if self._continues_texts:
            return lengths_of_rows(self.task.renderer, self.task.config, self.max_length_tokens)
        return ModelHooks(self._lengths, self.max_length_tokens, self._embed)

    def _lengths(self, examples: Sequence[Example]) -> list[int]:
        rows = [example.texts for example in examples]
        if self._apart or len(set(map(len, rows))) > 1:  # each text is read by itself: the longest is cut first
            ids = self.task.loaded.tokenizer([text for row in rows for text in row], return_attention_mask=False)
            lengths = iter(map(len, ids["input_ids"]))
            return [max(next(lengths) for _ in row) for row in rows]
        sides = [list(side) for side in zip(*rows, strict=True)]  # two sides are tokenised as a pair, as a run does
        encoded = self.task.loaded.tokenizer(*sides, verbose=False, return_attention_mask=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _embed_images(self, rows: Sequence[Texts]) -> Floats:
        return self.features([Example(texts, (), Place("", 0), image=ImageRef(texts[0])) for texts in rows])

    def _embed_numbers(self, rows: Sequence[Texts]) -> Floats:
        return self.features([example_of_text(text) for (text,) in rows])

    def _embed(self, rows: Sequence[Texts]) -> Floats:
        return self.features([Example(texts, (), Place("", 0)) for texts in rows])
