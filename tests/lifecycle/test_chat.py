"""A conversation that grows longer than what the model reads, and what each answer is drawn with."""

from __future__ import annotations

from pathlib import Path

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.data.conversations import TOOL_CALLS, Message
from feinschliff.errors import DataError
from feinschliff.lifecycle.chat import ChatSession, without_oldest_turn
from tests.lifecycle.test_precision import finished


@pytest.fixture(scope="module")
def chats(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model has 256 positions, and a character is a token."""
    return Path(finished(tiny_decoder, tmp_path_factory.mktemp("chats"), "conversations", task={"type": "sft"}))


def session(run: Path, system: str | None = None, **sampling: object) -> ChatSession:
    return ChatSession(run, SamplingConfig(**sampling), system, "fp32")  # type: ignore[arg-type]


def said(talk: ChatSession, text: str) -> str:
    return "".join(talk.ask(text))


def test_answers_keep_their_room_however_long_the_conversation(chats: Path) -> None:
    talk = session(chats, "Be brief.", max_new_tokens=40, min_new_tokens=40)
    left_out = []
    for number in range(8):
        said(talk, f"Question {number}?")
        assert talk.answer is not None
        assert len(talk.answer.ids) == 40
        assert [one.role for one in talk.messages[:2]] == ["system", "user"]
        assert talk.messages[-2].content == f"Question {number}?"
        left_out.append(talk.num_left_out)
    assert left_out[0] == 0
    assert left_out == sorted(left_out)
    assert left_out[-1] + len(talk.messages) == 1 + 2 * 8
    assert left_out[-1] >= 8
    talk.forget()
    assert (talk.num_left_out, [one.role for one in talk.messages]) == (0, ["system"])


def test_a_quarter_of_the_positions_is_kept_for_long_answers(chats: Path) -> None:
    talk = session(chats, max_new_tokens=250, min_new_tokens=250)
    for number in range(4):
        said(talk, f"Question {number}?")
        assert talk.answer is not None
        assert talk.answer.finish_reason == "length"
        assert len(talk.answer.ids) >= 256 // 4


def test_a_message_that_never_fits_costs_nothing_but_itself(chats: Path) -> None:
    talk = session(chats, max_new_tokens=20)
    said(talk, "Hello")
    before = talk.messages
    with pytest.raises(DataError, match="this message is too long") as caught:
        talk.ask("Why? " * 80)
    assert "the model reads 256 with the answer" in str(caught.value)
    assert (talk.messages, talk.num_left_out) == (before, 0)
    said(talk, "Well")
    assert talk.messages[:2] == before
    nearly = session(chats, "x" * 100, max_new_tokens=20, min_new_tokens=20)
    said(nearly, "y" * 130)
    assert nearly.answer is not None
    assert 1 <= len(nearly.answer.ids) < 20, "what room there is is used"


def test_an_answer_given_up_before_it_begins_changes_nothing(chats: Path) -> None:
    talk = session(chats, max_new_tokens=60, min_new_tokens=60)
    while not talk.num_left_out:
        before = talk.messages
        pieces = talk.ask("Question?")
        if not talk.num_left_out:
            "".join(pieces)
    talk._writer.stream = lambda *_: iter(())
    assert not list(pieces)
    assert (talk.messages, talk.num_left_out) == (before, 0)


def test_turns_go_with_their_calls_and_instructions_stay() -> None:
    call = {TOOL_CALLS: [{"type": "function", "function": {"name": "look", "arguments": {}}}]}
    messages = (
        Message("system", "Be brief."),
        Message("user", "Is it sunny?"),
        Message("assistant", "", extra=call),
        Message("tool", "yes"),
        Message("assistant", "It is."),
        Message("user", "And warm?"),
        Message("assistant", "No."),
    )
    shorter = without_oldest_turn(messages)
    assert shorter == (messages[0], *messages[5:])
    assert without_oldest_turn(shorter) == without_oldest_turn(messages[:1]) == messages[:1]


def test_each_answer_of_a_session_is_drawn_anew_and_each_session_alike(chats: Path) -> None:
    def answers(seed: int) -> list[str]:
        talk, found = session(chats, max_new_tokens=12, temperature=1.5, seed=seed), []
        for _ in range(3):
            talk.forget()
            found.append(said(talk, "Hello"))
        return found

    first = answers(0)
    assert len(set(first)) == 3
    assert answers(0) == first
    assert answers(2**63 - 1)[1:] == first[:2], "the largest seed is followed by the smallest"
