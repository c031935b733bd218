"""Conversations and documents as packed tokens with a target and a weight each, and what must be said or refused.

A row of the table is a conversation, or one of its answers where the template tells earlier turns otherwise later. The
target of a token is the one after it; what stands behind the last target is not computed. Knows no network and no loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from feinschliff.data.conversations import TOOL_CALLS, Conversation
from feinschliff.data.examples import Example
from feinschliff.engine.batching import NO_TARGET, Ints, TokenTable, TokenTargets
from feinschliff.errors import Fault
from feinschliff.models.chat_rows import ChatRenderer, ChatRow, RenderedChats
from feinschliff.models.chat_turns import ChatMessages, Loss, OnMismatch
from feinschliff.tasks._chat_cache import kept
from feinschliff.tasks._task import EncodedSet

MOST_LOST = 0.5
"""A set of which a larger share carries no loss is refused."""
SHOWN = 3
"""Rows that a message names."""


@dataclass(slots=True)
class ChatSet(EncodedSet):
    """Rows of the table belong to examples: ``owner``, in the order of both."""

    owner: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Rules:
    """How rows are made."""

    loss: Loss
    on_mismatch: OnMismatch
    long_rows: str
    max_length_tokens: int
    cache: Path | None = None
    """Where the rows of large sets are kept; None: nowhere."""


def messages_of(conversation: Conversation) -> ChatMessages:
    """As templates read it."""
    messages = conversation.messages
    return ChatMessages(
        [message.as_given() for message in messages],
        list(conversation.tools),
        [message.weight for message in messages],
        [[(span.start, span.end, span.weight) for span in message.spans] for message in messages],
        conversation.completion_start,
    )


def encode(renderer: ChatRenderer, examples: Sequence[Example], rules: Rules) -> tuple[ChatSet, RenderedChats]:
    """All examples as rows, and what their rendering found; ``ChatSet.notes`` and ``faults`` say what matters of it."""
    found_rows = rendered(renderer, examples, rules)
    rows, lost = of_length(found_rows.rows, rules)
    found = ChatSet(*_table(rows), num_cut=lost.total(), examples=examples)
    found.owner = np.array([row.conversation for row in rows], dtype=np.int64)
    found.notes = _notes(found_rows, examples, lost, rules)
    found.faults = _faults(found_rows, examples, rows, lost, rules)
    ends = {*found_rows.end_token_ids, *map(renderer.renderer.id_of, renderer.renderer.ends)}
    if (untaught := _untaught_end(examples, rows, ends)) is not None:
        found.faults.append(untaught)
    return found, found_rows


def rendered(renderer: ChatRenderer, examples: Sequence[Example], rules: Rules) -> RenderedChats:
    """The rows of all examples, however long they are; ``conversation`` is which of the examples."""
    chats = [example.conversation for example in examples]

    def make() -> RenderedChats:
        if not all(chat is not None for chat in chats):
            return renderer.documents([example.texts[0] for example in examples])
        return renderer.rows([messages_of(chat) for chat in chats if chat is not None], rules.loss, rules.on_mismatch)

    if rules.cache is None:
        return make()
    return kept(rules.cache, renderer, examples, (rules.loss, rules.on_mismatch), make)


def _table(rows: Sequence[ChatRow]) -> tuple[TokenTable, TokenTargets]:
    """Ids without what stands behind the last target, and the targets with their weights."""
    last = [int(np.flatnonzero(row.weights)[-1]) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(last, dtype=np.int64)])
    ids = _joined([row.ids[:end] for row, end in zip(rows, last, strict=True)], np.int32)
    weights = _joined([row.weights[1 : end + 1] for row, end in zip(rows, last, strict=True)], np.float32)
    following = _joined([row.ids[1 : end + 1] for row, end in zip(rows, last, strict=True)], np.int64)
    targets = np.where(weights > 0, following, NO_TARGET)
    plain = bool(np.isin(weights, (0.0, 1.0)).all())
    return TokenTable(ids, offsets), TokenTargets(targets, None if plain else weights)


def _joined(parts: Sequence[Any], dtype: Any) -> Any:
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)


def of_length(rows: Sequence[ChatRow], rules: Rules) -> tuple[list[ChatRow], Counter[str]]:
    """Rows within the limit, and what became of the others. A row's last token is only a target."""
    most, out, lost = rules.max_length_tokens + 1, [], Counter[str]()
    for row in rows:
        if len(row.ids) <= most:
            out.append(row)
        elif rules.long_rows == "window":
            lost["read in windows"] += 1
            out += [part for part in _windows(row, most) if part.weights.any()]
        elif rules.long_rows == "cut" and row.weights[:most].any():
            lost["cut"] += 1
            out.append(replace(row, ids=row.ids[:most], weights=row.weights[:most]))
        else:
            lost["dropped"] += 1
    return out, lost


def _windows(row: ChatRow, most: int) -> list[ChatRow]:
    """Parts that follow each other; each begins with the last token of the one before: every target is learned once."""
    parts = []
    for begin in range(0, len(row.ids) - 1, most - 1):
        weights = row.weights[begin : begin + most].copy()
        weights[0] = 0.0
        parts.append(replace(row, ids=row.ids[begin : begin + most], weights=weights))
    return parts


def _notes(rendered: RenderedChats, examples: Sequence[Example], lost: Counter[str], rules: Rules) -> list[str]:
    said = [f"{count:,} rows are longer than {rules.max_length_tokens:,} tokens and were {what}"
            for what, count in sorted(lost.items())]  # fmt: skip
    if rendered.cache_note:
        said.append(rendered.cache_note)
    if rendered.faults:
        said.append(f"{len(_silenced(rendered)):,} rows teach nothing: {_reasons(rendered, examples)}")
    if rendered.num_unrolled:
        said.append(
            f"{rendered.num_unrolled:,} answers are rows of their own: the template tells their history otherwise later"
        )
    if rendered.num_border_repairs:
        said.append(f"{rendered.num_border_repairs:,} answers whose first characters the tokenizer joins with their "
                    "prompt are learned as inference reads them")  # fmt: skip
    if rendered.mismatches and rules.on_mismatch == "inference":
        said.append(f"{len(rendered.mismatches):,} answers are learned behind the prompt that is written at inference")
    if rendered.special_in_content:
        said.append(f"{len(rendered.special_in_content):,} rows hold text that the tokenizer reads as special tokens")
    if rendered.turns_without_prompt:
        said.append(f"{len(rendered.turns_without_prompt):,} answers before which nothing was said carry no loss")
    said += [
        f"{count:,} rows have {name}, which the template does not write" for name, count in rendered.ignored.items()
    ]
    return said


def _silenced(rendered: RenderedChats) -> set[int]:
    """Conversations of which nothing at all is learned, for the template's sake."""
    return {number for number, _ in rendered.faults} - {row.conversation for row in rendered.rows}


def _reasons(rendered: RenderedChats, examples: Sequence[Example]) -> str:
    """The commonest reasons, each with how often it holds and where first."""
    counts = Counter(reason for _, reason in rendered.faults)
    first = {reason: number for number, reason in reversed(rendered.faults)}
    shown = "; ".join(
        f"{reason} ({count:,}, first {_place(examples, first[reason])})" for reason, count in counts.most_common(SHOWN)
    )
    return shown + (" ..." if len(counts) > SHOWN else "")


def _faults(
    rendered: RenderedChats, examples: Sequence[Example], rows: Sequence[ChatRow], lost: Counter[str], rules: Rules
) -> list[Fault]:
    """Why nothing good can be learned from these rows, all reasons at once."""
    found = [
        _silent(rendered, examples, rows, rules),
        _cut(rendered, examples, lost, rules),
        _unwritten_calls(rendered, examples),
        _endless(rendered, examples),
        _mismatched(rendered, examples, rules),
    ]
    return [fault for fault in found if fault is not None]


def _silent(
    rendered: RenderedChats, examples: Sequence[Example], rows: Sequence[ChatRow], rules: Rules
) -> Fault | None:
    taught = {row.conversation for row in rows}
    silent = len(examples) - len(taught)
    if silent <= MOST_LOST * len(examples):
        return None
    lost = silent - len({number for number, _ in rendered.faults} - taught)
    why = [_reasons(rendered, examples)] if rendered.faults else []
    why += [f"{lost:,} are longer than {rules.max_length_tokens:,} tokens"] if lost > 0 else []
    return Fault(
        f"{silent:,} of {len(examples):,} rows have no token that carries loss",
        _place(examples, next(number for number in range(len(examples)) if number not in taught)),
        "; ".join(why),
        "see what carries loss: feinschliff data show FILE --model MODEL; for longer rows raise "
        "--model.max-length-tokens, or take --task.long-rows window",
    )


def _untaught_end(examples: Sequence[Example], rows: Sequence[ChatRow], ends: set[int]) -> Fault | None:
    """Of conversations. Documents may be parts of one that never ends."""
    if not rows or examples[0].conversation is None:
        return None
    if any(np.isin(row.ids[row.weights > 0], list(ends)).any() for row in rows):
        return None
    return Fault(
        f"none of {len(rows):,} rows trains the token that ends an answer",
        _place(examples, rows[0].conversation),
        "the weights of messages or of their parts leave it out everywhere, or rows are cut before it: the model would "
        "never learn where to stop",
        "let some answers carry loss as a whole (message weight 1: their end token has it), or cut fewer rows "
        "(--model.max-length-tokens)",
    )


def _cut(rendered: RenderedChats, examples: Sequence[Example], lost: Counter[str], rules: Rules) -> Fault | None:
    if lost["cut"] <= MOST_LOST * len(rendered.rows) or examples[0].conversation is None:
        return None
    return Fault(
        f"{lost['cut']:,} of {len(rendered.rows):,} rows are cut before their answers end",
        None,
        f"they are longer than {rules.max_length_tokens:,} tokens, and where answers end is not learned from them",
        "raise --model.max-length-tokens, or take --task.long-rows drop or window",
    )


def _unwritten_calls(rendered: RenderedChats, examples: Sequence[Example]) -> Fault | None:
    if not rendered.ignored["tool_calls"]:
        return None
    return Fault(
        f"{rendered.ignored['tool_calls']:,} rows have tool calls, which the chat template does not write",
        _place(examples, next(number for number, one in enumerate(examples) if _calls(one))),
        "the model would learn to answer with nothing where it should call a tool",
        "take a template that knows tools (a Jinja file: --task.chat-template FILE), or leave these rows out",
    )


def _calls(example: Example) -> bool:
    return example.conversation is not None and any(TOOL_CALLS in one.extra for one in example.conversation.messages)


def _endless(rendered: RenderedChats, examples: Sequence[Example]) -> Fault | None:
    if not rendered.turns_without_end:
        return None
    conversation, message = rendered.turns_without_end[0]
    return Fault(
        f"{len(rendered.turns_without_end):,} answers end with no special token",
        f"{_place(examples, conversation)}, message {message + 1}",
        "the model would never learn where to stop",
        "take a template that writes the tokenizer's end token behind answers (--task.chat-template plain)",
    )


def _mismatched(rendered: RenderedChats, examples: Sequence[Example], rules: Rules) -> Fault | None:
    if not rendered.mismatches or rules.on_mismatch != "report":
        return None
    first = rendered.mismatches[0]
    return Fault(
        f"{len(rendered.mismatches):,} answers have another prompt at inference than in training",
        f"{_place(examples, first.conversation)}, message {first.message + 1}",
        f"at inference {first.at_inference!r}, in training {first.in_training!r}",
        "set what the template asks for (--task.template-arguments enable_thinking=false), or learn them as "
        "inference asks: --task.on-mismatch inference",
    )


def _place(examples: Sequence[Example], number: int) -> str:
    place = examples[number].place
    return f"{place.file}:{place.line}"
