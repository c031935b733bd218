"""Answers that fit a JSON schema or a regular expression: which tokens may come next. Computed by llguidance.

llguidance (MIT licence, one wheel of 3 MB without dependencies) is an extra, imported where it is used. Among the
others xgrammar needs triton (hundreds of megabytes) and lm-format-enforcer is written in Python and slow. Knows no
model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import ConfigError, FeinschliffError, ModelError, ResourceError

_SEPARATORS = {"item_separator": ", ", "key_separator": ": "}
"""JSON on one line: where any space may stand, small models write spaces without end."""


class GrammarState:
    """What one answer may still become."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, size: int) -> Tensor:
        """[V] True for tokens that may come next; those behind the tokenizer's own never may."""
        bias = bytearray(self._matcher.compute_logit_bias())
        self._refuse_errors()
        found = torch.frombuffer(bias, dtype=torch.uint8)[:size] != 0
        return torch.nn.functional.pad(found, (0, size - len(found)))

    def accept(self, token: int) -> None:
        """Take the chosen token.

        Raises:
            FeinschliffError: the grammar cannot be followed further.
        """
        self._matcher.consume_token(token)
        self._refuse_errors()

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def _refuse_errors(self) -> None:
        if self._matcher.is_error():
            raise FeinschliffError(
                "the answer cannot be kept to its grammar",
                why=str(self._matcher.get_error()).strip(),
                remedy="use a simpler schema or expression",
            )


class Grammars:
    """Grammars over one tokenizer's tokens. Reading its vocabulary takes a second, so it is done once, when first
    needed."""

    def __init__(self, tokenizer: Any, end_ids: Sequence[int]) -> None:
        self._tokenizer, self._end_ids = tokenizer, list(end_ids)
        self._vocabulary: Any = None
        self._compiled: dict[tuple[str | None, str | None], Any] = {}

    def start(self, sampling: SamplingConfig) -> GrammarState | None:
        """The state before the first token; None where any text may be written.

        Raises:
            ConfigError: the schema or expression is none.
            ModelError: the tokenizer is of a kind whose tokens cannot be read.
            ResourceError: llguidance is not installed.
        """
        if not sampling.is_structured:
            return None
        key = (sampling.json_schema, sampling.regex)
        if key not in self._compiled:
            self._compiled[key] = self._compile(sampling)
        return GrammarState(self._compiled[key].deep_copy())

    def _compile(self, sampling: SamplingConfig) -> Any:
        library = _library()
        if self._vocabulary is None:
            self._vocabulary = self._read_vocabulary()
        field = "json_schema" if sampling.json_schema is not None else "regex"
        try:
            if sampling.json_schema is not None:
                grammar = library.LLMatcher.grammar_from_json_schema(
                    json.loads(sampling.json_schema), overrides={"whitespace_flexible": False, **_SEPARATORS}
                )
            else:
                grammar = library.LLMatcher.grammar_from_regex(sampling.regex)
        except ValueError as error:
            raise ConfigError("it cannot be followed", where=field, why=str(error)) from None
        matcher = library.LLMatcher(self._vocabulary, grammar, log_level=0)
        if matcher.is_error():
            why = str(matcher.get_error()).strip().splitlines()[0]
            raise ConfigError("it cannot be followed", where=field, why=why, remedy="write it in the supported subset")
        return matcher

    def _read_vocabulary(self) -> Any:
        from llguidance.hf import from_tokenizer

        try:
            return from_tokenizer(self._tokenizer, eos_token=self._end_ids or None)
        except ValueError as error:
            raise ModelError("this tokenizer's tokens cannot be read for a grammar", why=str(error)) from None


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise ResourceError(
            "answers that fit a schema or an expression need the package llguidance",
            remedy="pip install 'feinschliff[structured]'",
        ) from None
    return llguidance
