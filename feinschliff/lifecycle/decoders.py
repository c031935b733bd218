"""A decoder's tokenizer for verbs that look at data: which folder, which limit, lengths of rows. Loads no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example
from feinschliff.data.quality import ModelHooks
from feinschliff.engine.events import Announced
from feinschliff.lifecycle.observing import Observer, tell
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.decoder_folder import DecoderFolder, read_decoder_folder
from feinschliff.models.sources import cached_folder, resolve_model
from feinschliff.tasks._chat_rules import lengths, reading, rules_of


def decoder_of(source: str, new_tokens: Sequence[str] = (), observers: Sequence[Observer] = ()) -> DecoderFolder:
    """The model's folder; of one that lies here already the weights are not looked at.

    Raises:
        ModelError, ResourceError: it cannot be had, or is no decoder.
    """
    folder = cached_folder(source)
    if folder is None:
        tell(observers, Announced(f"fetching {source}"))
        folder = resolve_model(source).folder
    return read_decoder_folder(folder, new_tokens)


def limit_tokens(config: RunConfig, folder: DecoderFolder) -> int:
    """The longest row, as ``prepare.length_limit`` has it."""
    virtual: int = registry.load("method", config.method.type).create(config.method).num_virtual_tokens
    most = folder.max_length_tokens - virtual
    return min(config.model.max_length_tokens or most, most)


def hooks_of(source: str | None, observers: Sequence[Observer] = ()) -> ModelHooks:
    """What a decoder's tokenizer adds to a check of conversations or documents: the lengths of rows as a run has them.

    Args:
        source: None: the model that their task takes by default.

    Raises:
        ModelError, ResourceError: the model cannot be had, or is no decoder.
    """
    task = registry.first("task", "CONTINUES_TEXTS", "BY_DEFAULT")
    source = source or registry.fact("task", task, "DEFAULT_MODEL")
    folder, config = decoder_of(source, (), observers), registry.load("task", task).CONFIG()
    chat = reading(folder.tokenizer, config, folder.end_ids)
    note = f"lengths: those of rows as {source} reads them, with its template and all; `data show` shows them"
    return lengths_of_rows(chat.renderer, config, folder.max_length_tokens, note)


def lengths_of_rows(renderer: ChatRenderer, config: Any, limit: int, note: str = "") -> ModelHooks:
    """Lengths of conversations or documents as the task's options ``config`` make rows of them."""

    def count(examples: Sequence[Example]) -> list[int]:
        documents = any(example.conversation is None for example in examples)
        return lengths(renderer, examples, rules_of(config, limit, documents=documents))

    fates = {"drop": "dropped", "cut": "cut", "window": "read in windows"}
    return ModelHooks(count, limit, long_rows=fates.get(config.long_rows, ""), note=note)
