"""Answers in writing: which rows are asked, what they are compared with, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.generation import SamplingConfig
from feinschliff.data.conversations import Conversation, Message
from feinschliff.data.examples import Example
from feinschliff.generation.port import Generation
from feinschliff.tasks._chat_answers import ChatAnswers
from feinschliff.tasks._chat_writing import TIMED_STEPS, ChatWriter
from feinschliff.tasks._sft import Sft
from tests.models.chat_tokenizers import CALL, TOOL, tokenizer_for
from tests.models.tiny_decoders import save_tiny_decoder
from tests.tasks.test_sft import conversation, sft

CHECKED = EvaluationConfig(checks=("number=last_number",), bootstrap_samples=100)


def answerable(*said: str) -> Example:
    """With its last message as the right answer."""
    return replace(conversation(*said), references=(said[-1],))


def of_family(folder: Path, name: str) -> Path:
    """A tiny decoder with the published template of a family."""
    tokenizer = tokenizer_for(name, pattern=None)
    save_tiny_decoder(folder, "llama", vocab_size=len(tokenizer), max_position_embeddings=5000)
    tokenizer.model_max_length = 5000
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template refuses system messages."""
    return of_family(tmp_path_factory.mktemp("gemma"), "gemma2")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its template writes tool calls its own way, and empty reasoning before answers."""
    return of_family(tmp_path_factory.mktemp("qwen"), "qwen3")


def empty(count: int) -> ChatAnswers:
    return ChatAnswers(np.ones((count, 3), np.float32))


def test_rows_that_cannot_be_asked_are_left_out_and_counted(gemma: Path, tmp_path: Path) -> None:
    task = sft(gemma, tmp_path, max_new_tokens=3)
    told = replace(conversation("Be brief", "Hello", "Yes", roles="sua"), references=("Yes",))
    long = [answerable("Hello " * number, "Yes") for number in (6000, 6001, 6002)]
    examples = [told, answerable("Hello", "Yes"), *long, answerable("So", "No"), told]
    found = task.in_writing(empty(7), examples, 7)
    assert sorted(found.texts) == [1, 5]
    long_note, told_note = found.notes[:2]
    assert long_note.startswith("3 rows cannot be asked: the prompt is too long: it has 60")
    assert told_note.startswith("2 rows cannot be asked: the chat template refuses these messages")
    evaluation = task.judge(found, examples, "loss", CHECKED)
    assert evaluation.notes[0].startswith("2 of 7 rows, drawn at random, were answered in writing: exact match")
    assert "number are of these alone" in evaluation.notes[0]
    assert [row.row.text for row in evaluation.written] == ["Hello", "So"]


def test_answers_marked_as_bad_are_no_references(gemma: Path, tmp_path: Path) -> None:
    task = sft(gemma, tmp_path, max_new_tokens=3)
    bad = replace(conversation("Hello", "No", weights={1: 0.0}), references=("No",))
    examples = [bad, answerable("Hello", "Yes")]
    found = task.in_writing(empty(2), examples, 2)
    assert sorted(found.texts) == [1]
    assert found.notes[0].startswith("1 row cannot be asked: their last answer has weight 0")


def test_a_set_of_which_no_row_can_be_asked_keeps_its_likelihoods(gemma: Path, tmp_path: Path) -> None:
    task = sft(gemma, tmp_path, max_new_tokens=3)
    told = replace(conversation("Be brief", "Hello", "Yes", roles="sua"), references=("Yes",))
    found = task.in_writing(empty(1), [told], 4)
    assert found.texts == {}
    evaluation = task.judge(found, [told], "loss", CHECKED)
    assert set(evaluation.metrics) == {"loss", "perplexity", "token_accuracy"}
    assert len(evaluation.notes) == 1


def test_rows_are_drawn_from_the_whole_set_and_always_the_same(tiny_decoder: Path, tmp_path: Path) -> None:
    task = sft(tiny_decoder, tmp_path, max_new_tokens=2)
    examples = [answerable("Hello", "Yes") for _ in range(40)]
    first, second = (sorted(task.in_writing(empty(40), examples, 8).texts) for _ in range(2))
    assert first == second
    assert len(first) == 8
    assert first != list(range(8))
    assert max(first) >= 20


def test_answers_that_had_not_ended_are_counted(tiny_decoder: Path, tmp_path: Path) -> None:
    task = sft(tiny_decoder, tmp_path, max_new_tokens=1)
    examples = [answerable("Hello", "Yes")] * 3
    found = task.in_writing(empty(3), examples, 3)
    assert task.judge(found, examples, "loss", CHECKED).notes[0] == "3 of 3 rows were answered in writing"
    assert found.notes == [
        "3 of 3 answers had not ended after 1 tokens (task.max_new_tokens) and are judged as far as they go"
    ]


def test_answers_for_which_the_model_has_no_room_are_told_apart(tiny_decoder: Path, tmp_path: Path) -> None:
    task = sft(tiny_decoder, tmp_path, max_new_tokens=200)
    writer, longest = task.writer(), 256
    words = next(n for n in range(longest) if len(writer.request(answerable("a " * n, "b")).ids or ()) > longest - 9)
    (note,) = task.in_writing(empty(1), [answerable("a " * words, "b")], 1).notes
    assert note.startswith("1 of 1 answers had not ended where the model has no more positions")


def test_documents_need_no_writer(tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = sft(tiny_decoder, tmp_path)
    monkeypatch.setattr(Sft, "writer", lambda _: pytest.fail("a generator is made for nothing"))
    documents = [replace(answerable("Hello", "Yes"), conversation=None)]
    assert task.in_writing(empty(1), documents, 4).texts == {}
    assert task.can_ask(documents) == (False, [])


def test_the_longest_answer_is_the_tasks_own_unless_one_is_given(tiny_decoder: Path, tmp_path: Path) -> None:
    task = sft(tiny_decoder, tmp_path, max_new_tokens=7)
    assert task.sampling(SamplingConfig(temperature=0.5)).max_new_tokens == 7
    assert task.sampling(SamplingConfig(temperature=0.5)).temperature == 0.5
    assert task.sampling(SamplingConfig(max_new_tokens=9)).max_new_tokens == 9
    assert task.sampling(SamplingConfig(min_new_tokens=8)).max_new_tokens == 8


def as_trained(task: Sft, example: Example) -> str:
    """What a model that learned an answer by heart would write: its learned tokens, read back."""
    ids = [target for target in task.encode([example], 5000).targets.values if target >= 0]  # type: ignore[union-attr]
    text: str = task.loaded.tokenizer.decode(ids, skip_special_tokens=True)  # type: ignore[union-attr]
    return text.strip()


def learned_by_heart(task: Sft, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model write what it was to learn."""

    def write(self: Any, examples: list[Example], *_: Any) -> list[Generation]:
        return [Generation(n, 0, as_trained(task, example), "stop") for n, example in enumerate(examples)]

    monkeypatch.setattr(ChatWriter, "write", write)


def calling() -> Example:
    messages = (Message("user", "Is it sunny?"), Message("assistant", "", extra={"tool_calls": [CALL]}))
    chat = Conversation(messages, (TOOL,))
    return replace(conversation("Is it sunny?", "x"), conversation=chat, references=(messages[1].said,))


def test_a_model_that_learned_by_heart_is_right_whatever_the_template_writes(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = sft(qwen, tmp_path)
    examples = [answerable("Hello", "I am fine."), calling()]
    assert as_trained(task, examples[0]).startswith("<think>")
    assert "<tool_call>" in as_trained(task, examples[1])
    learned_by_heart(task, monkeypatch)
    found = task.in_writing(empty(2), examples, 2)
    assert task.score(found, examples, "strict_match") == 1.0
    assert task.score(found, examples, "exact_match") == 1.0
    assert task.score(found, examples, "chrf") == pytest.approx(1.0)
    rows, theirs = task.side_by_side(found, found, examples)
    assert rows[0].answer == theirs[0] == "I am fine."
    assert rows[1].references == (rows[1].answer,)
    shown = task.judge(found, examples, "loss", CHECKED).written
    assert shown[0].written.startswith("<think>")


def test_reasoning_is_not_compared(qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = sft(qwen, tmp_path)
    examples = [answerable("So", "It is 5."), answerable("So", "It is 5.")]
    texts = ["<think>\nhm 4\n</think>\n\nIt is 5.", "<think>\nIt is 5."]
    reached = task.score(ChatAnswers(empty(2).sums_N3, dict(enumerate(texts))), examples, "strict_match")
    assert reached == 0.5

    def write(self: Any, asked: list[Example], *_: Any) -> list[Generation]:
        return [Generation(n, 0, text, "stop") for n, text in enumerate(texts)]

    monkeypatch.setattr(ChatWriter, "write", write)
    found = task.in_writing(empty(2), examples, 2)
    assert task.score(found, examples, "strict_match") == 0.5


def test_other_right_answers_stay_right(qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = sft(qwen, tmp_path)
    examples = [replace(answerable("So", "Paris"), references=("Paris", "City of Paris"))]
    monkeypatch.setattr(ChatWriter, "write", lambda *_: [Generation(0, 0, "City of Paris", "stop")])
    assert task.score(task.in_writing(empty(1), examples, 1), examples, "strict_match") == 1.0


def test_a_plain_template_keeps_the_files_own_answers(tiny_decoder: Path, tmp_path: Path) -> None:
    task = sft(tiny_decoder, tmp_path, max_new_tokens=2)
    examples = [answerable("Hello", "Yes,  no\n"), answerable("So", "No", "And", "Yes")]
    assert task.in_writing(empty(2), examples, 2).references == {}


def test_the_time_for_whole_answers_is_told_from_a_few_steps(tiny_decoder: Path, tmp_path: Path) -> None:
    """Seconds that are measured cannot be asserted, but what is made of them can."""
    task = sft(tiny_decoder, tmp_path)
    writer, examples = task.writer(), [answerable("Hello", "Yes")] * 4
    assert writer.seconds_to_write([], 4, 100) == 0.0
    steps: list[int] = []
    stream = writer.backend.stream

    def counted(requests: Any, sampling: SamplingConfig) -> Any:
        steps.append(sampling.max_new_tokens)
        return stream(requests, sampling)

    writer.backend.stream = counted  # type: ignore[method-assign, assignment]
    assert writer.seconds_to_write(examples, 4, 1000) > 0.0
    assert steps == [TIMED_STEPS]
