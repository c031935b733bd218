"""What goes over the wire to an endpoint that speaks OpenAI's HTTP, and what comes back. Knows no connection.

Beside OpenAI's own fields those that the common servers share (vLLM, llama.cpp, SGLang) are sent, and only where they
are set: ``top_k``, ``min_p``, ``repetition_penalty``, ``min_tokens``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import Fault, ResourceError
from feinschliff.generation.port import FinishReason, Generation, Request, num_samples

_REASONS: dict[str, FinishReason] = {"length": "length", "content_filter": "filtered"}
_EXTRAS = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "min_new_tokens": "min_tokens",
}
"""Our field to theirs, sent where it is not at its default."""


def path_of(request: Request) -> str:
    """Where a request is posted, below the endpoint's URL."""
    return "chat/completions" if request.messages is not None else "completions"


def faults_of_protocol(sampling: SamplingConfig) -> list[Fault]:
    """What is asked for and the protocol has no words for."""
    if sampling.regex is None:
        return []
    why = "OpenAI's protocol knows JSON schemas only"
    return [
        Fault("an endpoint cannot be held to a regular expression", "regex", why, "use json_schema, or a local model")
    ]


def payload(request: Request, sampling: SamplingConfig, model: str, limit_field: str) -> dict[str, Any]:
    """The body of a request; ``limit_field`` names the longest answer (newer OpenAI models:
    `max_completion_tokens`)."""
    body: dict[str, Any] = {
        "model": model,
        limit_field: sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "n": num_samples(request, sampling),
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    given, fields = sampling.model_dump(), SamplingConfig.model_fields
    body |= {theirs: given[ours] for ours, theirs in _EXTRAS.items() if given[ours] != fields[ours].default}
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logprobs:
        body["logprobs"] = True if request.messages is not None else 1
    if sampling.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": json.loads(sampling.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.messages is not None:
        return body | {"messages": [dict(message) for message in request.messages]}
    return body | {"prompt": request.prompt if request.ids is None else list(request.ids)}


def generations(reply: Any, index: int, wanted: int, where: str) -> list[Generation]:
    """The answers in a whole reply, by sample.

    Raises:
        ResourceError: the reply has another form.
    """
    try:
        choices = sorted(reply["choices"], key=lambda choice: int(choice.get("index", 0)))
        tokens = (reply.get("usage") or {}).get("prompt_tokens")
        found = [
            Generation(
                index,
                sample,
                _text(choice.get("message"), choice),
                reason_of(choice.get("finish_reason")),
                logprobs=logprobs_of(choice),
                num_prompt_tokens=tokens,
            )
            for sample, choice in enumerate(choices)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise other_form(where, f"{type(error).__name__}: {error}") from None
    if len(found) != wanted:
        raise other_form(where, f"{len(found)} answers where {wanted} were asked for")
    return found


def deltas(event: Any, where: str) -> list[tuple[int, str, str | None]]:
    """Sample, new text and finish reason of each choice in one event of a stream.

    Raises:
        ResourceError: the event has another form, or is an error.
    """
    try:
        if "error" in event:
            raise ResourceError("the endpoint broke off", where=where, why=message_of(event), remedy="ask again")
        return [
            (int(choice.get("index", 0)), _text(choice.get("delta"), choice), choice.get("finish_reason"))
            for choice in event["choices"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise other_form(where, f"{type(error).__name__}: {error}") from None


def _text(inner: Mapping[str, Any] | None, choice: Mapping[str, Any]) -> str:
    """Of a chat's choice (null where it only calls tools) or a completion's."""
    return str((choice.get("text") if inner is None else inner.get("content")) or "")


def reason_of(theirs: str | None) -> FinishReason:
    """Their finish reason in our words."""
    return _REASONS.get(theirs or "", "stop")


def logprobs_of(choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Of the chosen tokens, in either endpoint's form."""
    given: Mapping[str, Any] | None = choice.get("logprobs")
    if not given:
        return None
    content: Sequence[Mapping[str, Any]] | None = given.get("content")
    if content is not None:
        return tuple(float(token["logprob"]) for token in content)
    return tuple(float(value) for value in given.get("token_logprobs") or ())


def other_form(where: str, why: str) -> ResourceError:
    """The error for a reply that is none."""
    remedy = "check that the URL is that of an OpenAI-compatible API (it usually ends in /v1)"
    return ResourceError("the endpoint answers in another form", where=where, why=why, remedy=remedy)


def message_of(reply: Any) -> str:
    """What an error reply says, as far as it says anything."""
    if isinstance(reply, Mapping):
        error = reply.get("error", reply.get("message", reply.get("detail", reply)))
        if isinstance(error, Mapping):
            error = error.get("message", error)
        return str(error)
    return str(reply)
