"""Generation with a decoder of transformers in this process, fast on a CPU too. See ``port.Backend``.

Three ways through a model are tried, the fastest first, and each is compared with the model's own logits before it is
used: lean copies of Llama-like layers (``llama_like``), the model's modules on packed tokens (``forward``), each row
alone (``one_by_one``). ``notes`` say which it is and why no faster one. Knows no file: it is given a model and a
tokenizer.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import Fault, ModelError
from feinschliff.generation.forward import Forward, ModuleForward, check, hides_kinds
from feinschliff.generation.llama_like import LlamaForward, lean_forward
from feinschliff.generation.one_by_one import OneByOne
from feinschliff.generation.port import (
    Generation,
    OnToken,
    Piece,
    Request,
    collect,
    faults_of_form,
    num_samples,
    place_of,
    refuse,
)
from feinschliff.generation.scheduling import Limits, Prompt, Schedule, Writing
from feinschliff.generation.structured import Grammars

Precision = Literal["model", "auto", "fp32", "bf16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
GAIN_NEEDED = 1.2
_MISFITS = (TypeError, AttributeError, KeyError, IndexError, ValueError, RuntimeError, NotImplementedError)
"""What a model raises that does not fit one of the ways."""


class TransformersBackend:
    """``model`` is a causal language model of transformers, ``tokenizer`` its own.

    ``precision``: compute type; `model`: the one its weights have; `auto`: bf16 where small products are faster in it.
    Weights that change afterwards (in training) must be read again: ``refresh``.

    Raises:
        ModelError: the model gives no logits for tokens.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        precision: Precision = "model",
        limits: Limits | None = None,
        lean: bool = True,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.limits = limits or Limits()
        self.notes: list[str] = []
        """What was chosen and why."""
        self.device = next(model.parameters()).device
        self.vocabulary_size: int = model.get_output_embeddings().weight.shape[0]
        self.end_ids = _end_ids(model, tokenizer)
        self.num_computed_tokens = 0
        """Through the model, in all calls so far."""
        self._grammars = Grammars(tokenizer, self.end_ids)
        self._dtype = self._choose_dtype(precision)
        self._forward = self._choose(lean)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingConfig, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See ``port.Backend``.

        Raises:
            InputError: requests that cannot be answered, all of them at once.
            ConfigError: a schema or expression that cannot be followed.
        """
        return collect(self._write(requests, sampling, on_token is not None), on_token)

    def stream(self, requests: Sequence[Request], sampling: SamplingConfig) -> Iterator[Piece]:
        """See ``port.Backend``.

        Raises:
            InputError: as ``generate``.
        """
        return self._write(requests, sampling, True)

    def refresh(self) -> None:
        """Read weights that have changed."""
        if isinstance(self._forward, LlamaForward):
            self._forward.refresh()
        elif isinstance(self._forward, (ModuleForward, OneByOne)) and self._forward.model is not self.model:
            self._forward.model = self._in_dtype()

    def _write(self, requests: Sequence[Request], sampling: SamplingConfig, streams: bool) -> Iterator[Piece]:
        prompts = self._prompts(requests, sampling)
        writing = Writing(
            forward=self._forward,
            sampling=sampling,
            end_ids=self.end_ids,
            decode=self._decode,
            start_grammar=lambda: self._grammars.start(sampling),
            device=self.device,
            limits=self.limits,
            is_streamed=streams or bool(sampling.stop),
            shares=not isinstance(self._forward, OneByOne),
        )
        writing.start_grammar()
        return self._run(Schedule(prompts, writing))

    def _run(self, schedule: Schedule) -> Iterator[Piece]:
        was_training = self.model.training
        self.model.eval()
        try:
            yield from schedule.run()
        finally:
            self.model.train(was_training)
            self.num_computed_tokens += schedule.num_computed_tokens

    def _decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _prompts(self, requests: Sequence[Request], sampling: SamplingConfig) -> list[Prompt]:
        """Prompts in tokens.

        Raises:
            InputError: all faults of all requests.
        """
        refuse(faults_of_form(requests))
        faults: list[Fault] = []
        prompts: list[Prompt] = []
        seen: Counter[tuple[int, ...]] = Counter()
        longest = self.num_positions
        for index, request in enumerate(requests):
            ids = self._ids(request, place_of(index), faults)
            fault = self.why_not(ids)
            if fault is not None:
                faults.append(Fault(fault[0], place_of(index), *fault[1:]))
            if faults:
                continue
            room = sampling.max_new_tokens if longest is None else min(sampling.max_new_tokens, longest - len(ids))
            count = num_samples(request, sampling)
            together = [range(count)] if not isinstance(self._forward, OneByOne) else [[k] for k in range(count)]
            prompts += [Prompt(index, ids, samples, room, seen[tuple(ids)]) for samples in together]
            seen[tuple(ids)] += count
        refuse(faults)
        return prompts

    def _ids(self, request: Request, where: str, faults: list[Fault]) -> list[int]:
        if request.ids is not None:
            return list(request.ids)
        if request.prompt is not None:
            ids: list[int] = self.tokenizer(request.prompt)["input_ids"]
            if not ids:
                faults.append(Fault("there is nothing to continue", where, "the text has no token", "write some text"))
            return ids
        if not self.tokenizer.chat_template:
            why, remedy = "its tokenizer has no chat template", "give a prompt, or a tokenizer with a template"
            faults.append(Fault("messages cannot be put to this model", where, why, remedy))
            return []
        messages = [dict(message) for message in request.messages or ()]
        try:
            found = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        except _template_errors() as error:
            why = str(error) or type(error).__name__
            faults.append(Fault("the chat template refuses these messages", where, why, "change their roles or order"))
            return []
        return list(found)

    @property
    def num_positions(self) -> int | None:
        """Tokens that the model reads, with the answer; None: it does not say."""
        found: int | None = self.model.config.get_text_config().to_dict().get("max_position_embeddings")
        return found

    def why_not(self, ids: Sequence[int]) -> tuple[str, str, str] | None:
        """Of a prompt that cannot be continued: what is wrong with it, why, and what to do."""
        longest = self.num_positions
        outside = [id for id in ids if not 0 <= id < self.vocabulary_size]
        if outside:
            why = f"the model has tokens 0 to {self.vocabulary_size - 1}"
            return f"there is no token {outside[0]}", why, "use the tokenizer that belongs to the model"
        if longest is not None and len(ids) >= longest:
            why = f"it has {len(ids)} tokens, and the model has positions for {longest} with the answer"
            return "the prompt is too long", why, f"shorten it to less than {longest} tokens"
        return None

    def _choose_dtype(self, precision: Precision) -> torch.dtype:
        own: torch.dtype = self.model.get_output_embeddings().weight.dtype
        if precision == "model":
            return own
        if precision != "auto":
            return DTYPES[precision]
        gain = _gain_of_bf16(self.device)
        chosen = "bf16" if gain >= GAIN_NEEDED else "fp32"
        self.notes.append(f"precision {chosen}: products of 16 tokens measured {gain:.1f} times as fast in bf16")
        return DTYPES[chosen]

    def _in_dtype(self) -> Any:
        own = self.model.get_output_embeddings().weight.dtype
        return self.model if own == self._dtype else copy.deepcopy(self.model).to(self._dtype)

    def _choose(self, lean: bool) -> Forward:
        """The fastest way that gives the model's own logits."""
        ways: list[tuple[str, Callable[[], Forward | None]]] = []
        if lean:
            ways.append(("lean layers", lambda: lean_forward(self.model, self._dtype)))
        ways.append(("the model's modules on packed tokens", lambda: ModuleForward(self._in_dtype())))
        ways.append(("each row alone", lambda: OneByOne(self._in_dtype(), keeps_cache=True)))
        ways.append(("each row alone, without a cache", lambda: OneByOne(self._in_dtype(), keeps_cache=False)))
        was_training = self.model.training
        self.model.eval()
        try:
            for name, make in ways:
                forward, why = self._tried(make)
                if forward is not None:
                    self.notes.append(f"generation: {name}")
                    return forward
                self.notes.append(f"generation: not {name}: {why}")
        finally:
            self.model.train(was_training)
        raise ModelError(
            "this model cannot generate", why="; ".join(self.notes), remedy="choose a causal language model"
        )

    def _tried(self, make: Callable[[], Forward | None]) -> tuple[Forward | None, str]:
        try:
            forward = make()
            if forward is None:
                return None, f"{type(self.model).__name__} is not known to it"
            if isinstance(forward, ModuleForward) and hides_kinds(forward.model):
                return None, "it has layers that are not attention over a row"
            why = check(forward, self.model, self.vocabulary_size)
        except _MISFITS as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
        return (forward, "") if why is None else (None, why)


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer, as the model's own settings and the tokenizer say."""
    found = model.generation_config.eos_token_id
    ids = [] if found is None else [found] if isinstance(found, int) else list(found)
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    return sorted(set(ids))


def _template_errors() -> tuple[type[Exception], ...]:
    import jinja2

    return (jinja2.TemplateError, ValueError, TypeError, KeyError)


def _gain_of_bf16(device: torch.device, tokens: int = 16, width: int = 1024) -> float:
    """How many times as fast as in fp32 small products are in bf16. Takes a few hundredths of a second."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(tokens, width, device=device).to(dtype)
        weights = [torch.randn(width, width, device=device).to(dtype) for _ in range(8)]
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            for weight in weights:
                out = torch.nn.functional.linear(x, weight)
            float(out[0, 0])
            times.append(time.perf_counter() - begin)
        seconds[dtype] = statistics.median(times[1:])
    return seconds[torch.float32] / seconds[torch.bfloat16]
