"""Rows without the personal data that was found in them: texts, references and conversations. Knows no file format.

Offsets into a text (spans, answers, weights within a message) move with it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from feinschliff.data.conversations import Conversation, Message, WeightedSpan
from feinschliff.data.examples import Answer, Example, Splits
from feinschliff.data.personal_data import KINDS, Found, find, redact, replaced, said
from feinschliff.data.spans import Span
from feinschliff.results.data import DroppedRow

_Stretch = TypeVar("_Stretch", Span, Answer, WeightedSpan)
_BARE = re.compile(rf"(?<=[\s:,\[])\[(?:{'|'.join(KINDS)})\](?=[\s,\]}}])")


def redacted_examples(examples: Iterable[Example], counts: Counter[str]) -> Iterator[Example]:
    """The rows one by one; ``counts`` grows by what was replaced in each."""
    for example in examples:
        clean, more = redact_example(example)
        counts.update(more)
        yield clean


def redact_splits(pool: list[Example], splits: Splits) -> list[Example]:
    """The training rows redacted; validation, test and dropped rows, and what was said of them, likewise, in place."""
    counts: Counter[str] = Counter()
    changed = 0

    def clean(rows: list[Example]) -> list[Example]:
        nonlocal changed
        found = list(redacted_examples(rows, counts))
        changed += sum(one is not other for one, other in zip(found, rows, strict=True))
        return found

    pool, splits.validation, splits.test = clean(pool), clean(splits.validation), clean(splits.test)
    splits.dropped[:] = map(redact_dropped, splits.dropped)
    told = f"personal data replaced in {changed:,} rows: {said(counts)}" if counts else "no personal data was found"
    splits.announcements = [*(redact(note)[0] for note in splits.announcements), told]
    return pool


def redact_dropped(row: DroppedRow) -> DroppedRow:
    """A row that is not used, as it may be listed."""
    return row.model_copy(update={"text": redact(row.text)[0], "reason": redact(row.reason)[0]})


def redact_example(example: Example) -> tuple[Example, Counter[str]]:
    """A row with each find replaced by its kind in brackets; what has none comes back as it was.

    Of a conversation, ``texts`` and ``references`` repeat what its messages say: they are replaced too, not counted.
    Images and numbers are left alone.
    """
    found = [find(text) for text in example.texts]
    counts: Counter[str] = Counter(place.kind for places in found for place in places)
    references = []
    for text in example.references:
        clean, more = _text(text)
        references.append(clean)
        counts += more
    conversation = example.conversation
    if conversation is not None:
        conversation, counts = redact_conversation(conversation)
    if example.image is not None or example.numbers:
        return example, Counter()
    if not counts:
        return example, counts
    texts = tuple(replaced(text, places) for text, places in zip(example.texts, found, strict=True))
    spans = tuple(_moved(s, found[0]) for s in example.spans)
    answers = example.answers
    if answers:  # in the second text
        answers = tuple(_moved(a, found[1]) for a in answers)
    changed = replace(
        example, texts=texts, references=tuple(references), spans=spans, answers=answers, conversation=conversation
    )
    return changed, counts


def redact_conversation(conversation: Conversation) -> tuple[Conversation, Counter[str]]:
    """Every message's content, and what it says besides (arguments of tool calls stay JSON). Tools stay as they are."""
    counts: Counter[str] = Counter()
    messages = tuple(_message(message, counts) for message in conversation.messages)
    return replace(conversation, messages=messages) if counts else conversation, counts


def _message(message: Message, counts: Counter[str]) -> Message:
    found = find(message.content)
    counts.update(place.kind for place in found)
    spans = tuple(_moved(s, found) for s in message.spans)
    content = replaced(message.content, found) if spans else _as_json(message.content, found)
    return replace(message, content=content, spans=spans, extra=redact_value(message.extra, counts))


def redact_value(value: Any, counts: Counter[str]) -> Any:
    """Every text within a value as JSON has them, also in texts that are JSON; keys and numbers stay. ``counts`` grows.

    A text that is JSON is looked at inside, because escapes hide what stands behind them, and then as it is written.
    """
    if isinstance(value, str):
        found: Counter[str] = Counter()
        inside = redact_value(json.loads(value), found) if is_json(value) else None
        clean, more = _text(json.dumps(inside, ensure_ascii=False) if found else value)
        more += found
        counts += more
        return clean
    if isinstance(value, Mapping):
        return {key: redact_value(item, counts) for key, item in value.items()}
    return [redact_value(item, counts) for item in value] if isinstance(value, list | tuple) else value


def _text(text: str) -> tuple[str, Counter[str]]:
    found = find(text)
    return _as_json(text, found), Counter(place.kind for place in found)


def _as_json(text: str, found: Sequence[Found]) -> str:
    """With the finds replaced; what was JSON stays JSON, where a number of it was replaced too."""
    clean = replaced(text, found)
    if found and is_json(text) and not is_json(clean):
        return _BARE.sub(r'"\g<0>"', clean)
    return clean


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or array."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _moved(stretch: _Stretch, found: Sequence[Found]) -> _Stretch:
    """Where a stretch of a text stands after replacing; one that ends within a find takes in all that replaced it."""
    start, end, shift = stretch.start, stretch.end, 0
    for place in found:
        grown = len(place.kind) + 2 - (place.end - place.start)
        if stretch.start >= place.end:
            start += grown
        elif stretch.start > place.start:
            start = place.start + shift
        if stretch.end >= place.end:
            end += grown
        elif stretch.end > place.start:
            end = place.end + grown + shift
        shift += grown
    return replace(stretch, start=start, end=end)
