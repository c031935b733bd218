"""`feinschliff chat` as a person and a pipe use it: lines in, answers out, what must be known beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feinschliff.data.conversations import Conversation
from feinschliff.generation.port import Piece
from feinschliff.lifecycle.chat import ChatSession
from feinschliff.tasks._chat_writing import ChatWriter
from tests.acceptance.walk import Outcome, assert_no_traceback, call
from tests.lifecycle.test_precision import finished

Capture = pytest.CaptureFixture[str]
LONG = "Why? " * 80


class Typed(io.StringIO):
    """A terminal at which lines are typed, and then Ctrl-C."""

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        line = super().readline(-1 if size is None else size)
        if not line:
            raise KeyboardInterrupt
        return line


@pytest.fixture(scope="module")
def chats(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model has 256 positions, and a character is a token."""
    return finished(tiny_decoder, tmp_path_factory.mktemp("chats"), "conversations", task={"type": "sft"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The messages that each answer was written to."""
    seen: list[list[str]] = []
    stream = ChatWriter.stream

    def noted(self: Any, chat: Conversation, sampling: Any) -> Iterator[Piece]:
        seen.append([message.content for message in chat.messages])
        return stream(self, chat, sampling)

    monkeypatch.setattr(ChatWriter, "stream", noted)
    return seen


def piped(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, run: str, *lines: str, options: tuple[str, ...] = ()
) -> Outcome:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    outcome = call(capsys, "chat", run, "--precision", "fp32", *options)
    assert_no_traceback(outcome)
    return outcome


def test_every_line_of_a_pipe_is_said_in_turn(
    chats: str, asked: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--max-new-tokens", "5", "--system", "Be brief.")
    outcome = piped(capsys, monkeypatch, chats, "Hello", "", "And?", "/new", "Hello", "/exit", "Never", options=few)
    assert outcome.code == 0
    assert [len(messages) for messages in asked] == [2, 4, 2]
    assert asked[0] == asked[2] == ["Be brief.", "Hello"]
    first, second = asked[1][2], asked[1][3]
    assert second == "And?"
    assert outcome.out.startswith(first)
    assert outcome.err == "(cut after 5 tokens; for longer answers: --max-new-tokens 10)\n" * 3


def test_a_conversation_beyond_the_context_goes_on(
    chats: str, asked: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"Question {number}?" for number in range(5)]
    outcome = piped(capsys, monkeypatch, chats, *lines, options=("--max-new-tokens", "60"))
    assert outcome.code == 0
    assert [messages[-1] for messages in asked] == lines
    assert len(asked[-1]) < 9
    said = [line for line in outcome.err.splitlines() if "no longer fit" in line]
    assert said[0] == "(the first 2 messages no longer fit into 256 tokens and are left out; /new starts afresh)"
    assert "shorten it" not in outcome.err


def test_a_line_that_never_fits_does_not_cost_the_next(
    chats: str, asked: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("--max-new-tokens", "5")
    outcome = piped(capsys, monkeypatch, chats, "Hello", LONG, "And?", options=few)
    assert outcome.code == 2
    assert [messages[-1] for messages in asked] == ["Hello", "And?"]
    assert asked[1][0] == "Hello"
    assert "error: line 2: this message is too long\n" in outcome.err
    assert "do:  say it in fewer words" in outcome.err
    full = piped(capsys, monkeypatch, chats, "a" * 215, options=("--max-new-tokens", "200"))
    assert "tokens: the model reads 256 with the answer)\n" in full.err


def test_ctrl_c_at_the_prompt_promises_nothing(chats: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Typed(f"Hello\n{LONG}\n"))
    outcome = call(capsys, "chat", chats, "--max-new-tokens", "5")
    assert outcome.code == 130
    assert "/new begins anew" in outcome.err
    assert "error: this message is too long" in outcome.err
    assert outcome.err.endswith("\ninterrupted: the conversation is over, and nothing of it is kept\n")


def test_ctrl_c_stops_an_answer_and_keeps_it(
    chats: str, asked: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ChatWriter.stream

    def stopped(self: Any, chat: Conversation, sampling: Any) -> Iterator[Piece]:
        pieces = stream(self, chat, sampling)
        yield next(pieces)
        if len(asked) == 1:
            yield Piece(0, 0, "Well")
            raise KeyboardInterrupt
        yield from pieces

    monkeypatch.setattr(ChatWriter, "stream", stopped)
    outcome = piped(capsys, monkeypatch, chats, "Hello", "And?", options=("--max-new-tokens", "5"))
    assert outcome.code == 0
    assert outcome.err.startswith("(stopped)\n(cut after 5 tokens")
    assert asked[1][1].endswith("Well")


def test_sampling_reaches_the_session(monkeypatch: pytest.MonkeyPatch, capsys: Capture, chats: str) -> None:
    seen = []

    def noted(self: Any, run: Path, sampling: Any, *_: Any) -> None:
        seen.append(sampling)
        raise KeyboardInterrupt

    monkeypatch.setattr(ChatSession, "__init__", noted)
    options = ("--temperature", "0.5", "--top-p", "0.9", "--top-k", "4", "--min-p", "0.1")
    call(capsys, "chat", chats, *options, "--repetition-penalty", "1.2", "--seed", "3")
    (sampling,) = seen
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 4, 0.1)
    assert (sampling.repetition_penalty, sampling.seed) == (1.2, 3)
