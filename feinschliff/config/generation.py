"""How tokens are chosen when a language model writes. Knows no model, no backend and no prompt."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, field_validator, model_validator

from feinschliff.config.bases import Config

WritingPrecision = Literal["auto", "fp32", "bf16"]
"""What a language model computes in when it writes; auto: bf16 where this machine is faster in it, else fp32."""
LEAST_TEMPERATURE = 1e-3
"""Below it, logits that are divided by it leave the range of numbers, and what is drawn is the likeliest anyway."""


class SamplingConfig(Config):
    """The parameters of sampling, named as elsewhere. The defaults are greedy: the same answer every time."""

    max_new_tokens: int = Field(default=256, ge=1, le=1_000_000)
    """Longest answer."""
    min_new_tokens: int = Field(default=0, ge=0, le=1_000_000)
    """The end token is not chosen before so many tokens."""
    temperature: float = Field(default=0.0, ge=0.0, le=100.0)
    """Logits are divided by it; 0: always the likeliest token; else at least 0.001."""
    top_k: int | None = Field(default=None, ge=1)
    """Choose among this many likeliest tokens; None: among all."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Choose among the likeliest tokens that together have this probability (nucleus, Holtzman et al. 2020)."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Choose among tokens that have at least this share of the likeliest one's probability (Nguyen et al. 2024)."""
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=100.0)
    """Logits of tokens of the prompt and the answer are divided by it where positive, else multiplied (Keskar et al.
    2019)."""
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    """Taken from a token's logit for every time that it is in the answer."""
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    """Taken from a token's logit once if it is in the answer."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    n: int = Field(default=1, ge=1, le=100_000)
    """Answers to each prompt."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """The k-th answer to a prompt follows from seed, prompt and k alone, whatever is computed beside it."""
    logprobs: bool = False
    """Give each chosen token's logarithmic probability as the model itself has it, before temperature and penalties."""
    json_schema: str | None = None
    """A JSON schema, as text: only JSON that fits it can be written, on one line. Needs the extra `structured`."""
    regex: str | None = None
    """Only answers that match this regular expression as a whole can be written. Needs the extra `structured`."""

    @field_validator("temperature")
    @classmethod
    def _can_be_divided_by(cls, temperature: float) -> float:
        if 0.0 < temperature < LEAST_TEMPERATURE:
            why = "logits divided by less become infinite"
            raise ValueError(f"at least {LEAST_TEMPERATURE:g} ({why}), or 0 for always the likeliest token")
        return temperature

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("an empty string would stop every answer before it begins")
        return stop

    @field_validator("json_schema")
    @classmethod
    def _is_json(cls, schema: str | None) -> str | None:
        if schema is not None:
            try:
                json.loads(schema)
            except ValueError as error:
                raise ValueError(f"not JSON: {error}") from None
        return schema

    @model_validator(mode="after")
    def _fits_together(self) -> SamplingConfig:
        if self.json_schema is not None and self.regex is not None:
            raise ValueError("json_schema and regex cannot both say what may be written: keep one")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is more than max_new_tokens {self.max_new_tokens}")
        return self

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0.0

    @property
    def is_structured(self) -> bool:
        """Whether a grammar says what may be written."""
        return self.json_schema is not None or self.regex is not None
