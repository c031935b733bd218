"""Rows without personal data: offsets move along, tool calls stay JSON, what has none stays as it was."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from feinschliff.data.conversations import Conversation, Message, WeightedSpan
from feinschliff.data.examples import Answer, Example, Place
from feinschliff.data.redaction import redact_conversation, redact_example, redacted_examples
from feinschliff.data.spans import Span

PLACE = Place("f", 1)
MAIL = "jane@firma.de"


def test_texts_and_references() -> None:
    row = Example((f"I am {MAIL}",), (), PLACE, references=(f"Hello {MAIL}", "Hello"))
    clean, counts = redact_example(row)
    assert clean.texts == ("I am [EMAIL]",)
    assert clean.references == ("Hello [EMAIL]", "Hello")
    assert counts == {"EMAIL": 2}


def test_what_holds_nothing_comes_back_as_it_was() -> None:
    row = Example(("I am Jane",), (), PLACE, references=("Hello",))
    assert redact_example(row)[0] is row
    conversation = Conversation((Message("user", "hi"),))
    assert redact_conversation(conversation)[0] is conversation


def test_labelled_spans_and_answers_move() -> None:
    text = f"Jane ({MAIL}) lives in Köln"
    spans = (Span(0, 4, "PER"), Span(6, 6 + len(MAIL), "MAIL"), Span(text.index("Köln"), len(text), "LOC"))
    clean, _ = redact_example(Example((text,), (), PLACE, spans=spans))
    assert [clean.texts[0][s.start : s.end] for s in clean.spans] == ["Jane", "[EMAIL]", "Köln"]
    answers = (Answer(text.index("Köln"), len(text)),)
    clean, _ = redact_example(Example((f"Where is {MAIL}?", text), (), PLACE, answers=answers))
    assert [clean.texts[1][a.start : a.end] for a in clean.answers or ()] == ["Köln"]


def test_conversations_with_weights_and_tool_calls() -> None:
    content = f"Write to {MAIL} today"
    call = {"type": "function", "function": {"name": "send", "arguments": {"to": MAIL, "times": 2}}}
    conversation = Conversation(
        (
            Message("user", f"mail {MAIL}"),
            Message("assistant", content, spans=(WeightedSpan(content.index("today"), len(content), 0.5),)),
            Message("assistant", "", extra={"tool_calls": [call]}),
        ),
        tools=({"type": "function", "function": {"name": "send"}},),
    )
    row = Example((f"mail {MAIL}",), (), PLACE, references=(content,), conversation=conversation)
    clean, counts = redact_example(row)
    assert counts == {"EMAIL": 3}
    assert clean.conversation is not None
    messages = clean.conversation.messages
    assert messages[1].content == "Write to [EMAIL] today"
    assert [messages[1].content[s.start : s.end] for s in messages[1].spans] == ["today"]
    assert messages[2].extra["tool_calls"][0]["function"]["arguments"] == {"to": "[EMAIL]", "times": 2}
    assert clean.conversation.tools == conversation.tools
    assert (clean.texts, clean.references) == (("mail [EMAIL]",), ("Write to [EMAIL] today",))
    assert call["function"]["arguments"]["to"] == MAIL  # type: ignore[index]


def test_json_stays_json() -> None:
    text = '{"card": 4111111111111111, "list": [4111111111111111], "mail": "jane@firma.de"}'
    clean, _ = redact_conversation(Conversation((Message("tool", text),)))
    assert json.loads(clean.messages[0].content) == {
        "card": "[CREDIT_CARD]", "list": ["[CREDIT_CARD]"], "mail": "[EMAIL]",
    }  # fmt: skip


def test_rows_as_a_stream_add_up() -> None:
    counts: Counter[str] = Counter()
    rows = [Example((f"{i} {MAIL}",), (), Place("f", i)) for i in range(3)]
    assert [row.texts[0] for row in redacted_examples(iter(rows), counts)] == [f"{i} [EMAIL]" for i in range(3)]
    assert counts == {"EMAIL": 3}


pieces = st.lists(st.sampled_from([MAIL, "Köln", "(301) 402-7364", "and"]), min_size=1, max_size=6)


@given(pieces, st.data())
def test_a_span_around_whole_pieces_still_covers_them(words: list[str], data: st.DataObject) -> None:
    text = " ; ".join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    start = sum(len(word) + 3 for word in words[:first])
    span = Span(start, start + len(words[first]), "X")
    clean, _ = redact_example(Example((text,), (), PLACE, spans=(span,)))
    covered = clean.texts[0][clean.spans[0].start : clean.spans[0].end]
    assert covered == {MAIL: "[EMAIL]", "(301) 402-7364": "[PHONE]"}.get(words[first], words[first])
