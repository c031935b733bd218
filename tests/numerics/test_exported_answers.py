"""A trained model answers token for token alike: in training, from its exported folder, and through plain transformers.

Real prompts (24 questions of GSM8K), always the likeliest token. In fp32 all answers are equal. In bf16 adapters beside
rounded weights are not the rounded sum of both, and plain transformers adds up in another order: there only a share is,
and ``pytest -s`` prints it.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.data.conversations import ASSISTANT, USER, Conversation, Message
from feinschliff.data.examples import Example, Place, Splits
from feinschliff.engine import loop
from feinschliff.lifecycle.chat import ChatSession
from feinschliff.lifecycle.export import export
from feinschliff.lifecycle.finish import export_best
from feinschliff.lifecycle.predict import predict
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from tests.models.tiny_decoders import save_tiny_decoder
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

DATA = Path(__file__).parent / "gsm8k"
Ids = list[list[int]]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "rank": 4},
    "dora": {"type": "lora", "rank": 4, "dora": True},
}


def read(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


QUESTIONS = [row["question"] for row in read("questions")]


def conversation(row: dict[str, str], line: int) -> Example:
    """A question, with its answer where there is one."""
    said = [Message(USER, row["question"])]
    said += [Message(ASSISTANT, row["answer"])] if "answer" in row else []
    return Example((row["question"],), (), Place("gsm8k", line), conversation=Conversation(tuple(said)))


def splits() -> Splits:
    rows = [conversation(row, line) for line, row in enumerate(read("train"), start=1)]
    return Splits(rows[:20], rows[20:], [], made_splits(2, 2, "conversations").columns, [])


def ids_of(task: Any, sampling: SamplingConfig) -> Ids:
    """Answers of a task's network as it is now, token by token, an end token included."""
    writer = task.writer()
    requests = [writer.request(conversation({"question": text}, line)) for line, text in enumerate(QUESTIONS, 1)]
    return [list(answer.ids) for answer in writer.backend.generate(requests, sampling)]


def trained(base: Path, run: Path, sampling: SamplingConfig, **changes: Any) -> Ids:
    """Train some steps and write the run's model; what the network of the training code answers, adapters in place."""
    prepared = made_run(base, run, splits(), task={"type": "sft"}, **changes)
    untrained = ids_of(prepared.task, sampling)
    fit = made_fit(prepared, run)
    assert list(loop.fit(fit))
    best = loop.best_file(fit)
    prepared.learner.masters.load(load_file(best))
    prepared.network.eval()
    names = [name for name, _ in prepared.network.named_parameters()]
    assert any("lora_A" in name for name in names), "adapters are in place"
    answers = ids_of(prepared.task, sampling)
    assert answers != untrained, "something was learned"
    export_best(prepared, best, resolved(base), splits(), RunDirectory(run))
    return answers


@torch.inference_mode()
def plain(folder: Path, sampling: SamplingConfig, dtype: torch.dtype = torch.float32) -> Ids:
    """Of transformers alone, one question after the other."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    found = []
    for text in QUESTIONS:
        chat = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(**prompt, do_sample=False, max_new_tokens=sampling.max_new_tokens)
        found.append(written[0, prompt["input_ids"].shape[1] :].tolist())
    return found


def compared(
    base: Path, path: Path, sampling: SamplingConfig, precision: WritingPrecision, **changes: Any
) -> list[Ids]:
    """Answers of the training code, of the exported folder through our predictor, and of plain transformers."""
    in_training = trained(base, path / "run", sampling, precision=precision, **changes)
    exported = path / "out"
    export(path / "run", exported)
    predictor = Predictor(exported, precision=precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return [in_training, ids_of(predictor.task, sampling), plain(exported, sampling, dtype)]


def equal_rows(first: Ids, second: Ids) -> int:
    return sum(one == other for one, other in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder whose answers training changes: with one table for both ends it repeats what it reads."""
    return save_tiny_decoder(tmp_path_factory.mktemp("untied"), "llama")


@torch.inference_mode()
def gaps_where_they_part(folder: Path, first: Ids, second: Ids) -> list[float]:
    """Of each row with two answers, how far apart (in nats) fp32 has the two tokens at which they part."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder).float().eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    gaps = []
    for text, one, other in zip(QUESTIONS, first, second, strict=True):
        if one == other:
            continue
        place = next(at for at, (a, b) in enumerate(zip_longest(one, other)) if a != b)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        logits = model(torch.tensor([[*prompt, *one[:place]]])).logits[0, -1]
        gaps.append(abs(float(logits[one[place]] - logits[other[place]])))
    return gaps


@pytest.mark.parametrize("method", METHODS)
def test_the_same_tokens_in_training_exported_and_in_plain_transformers(
    untied: Path, tmp_path: Path, method: str
) -> None:
    sampling, options = SamplingConfig(max_new_tokens=24), {"epochs": 10.0, "learning_rate": 1e-2}
    answers = compared(untied, tmp_path, sampling, "fp32", method=METHODS[method], **options)
    assert len(answers[0]) == len(QUESTIONS) >= 16
    assert answers[0] == answers[1] == answers[2]
    assert len({tuple(answer) for answer in answers[0]}) > 4, "answers differ from question to question"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers[0]]
    asked = predict(tmp_path / "out", QUESTIONS, sampling=sampling, precision="fp32")
    assert [one.written for one in asked] == texts
    session = ChatSession(tmp_path / "out", sampling, precision="fp32")
    assert session.notes == ("precision fp32: as asked",)
    for text, answer in zip(QUESTIONS, texts, strict=True):
        session.forget()
        assert "".join(session.ask(text)).strip() == answer


@pytest.fixture(scope="module")
def starter() -> Path:
    """The real model, where it lies in the cache."""
    from feinschliff.models.sources import cached_folder

    folder = cached_folder("smollm2-135m-instruct")
    if folder is None:
        pytest.skip("smollm2-135m-instruct is not in the cache: feinschliff models pull smollm2-135m-instruct")
    return folder


LARGEST_ROUNDING = 1.0
"""Nats: bf16 keeps eight bits of each number, and thirty layers of them add up."""
REAL = {"method": {"type": "lora", "rank": 8}, "epochs": 2.0, "learning_rate": 5e-4}


@pytest.mark.slow
def test_the_real_model_in_fp32(starter: Path, tmp_path: Path) -> None:
    answers = compared(starter, tmp_path, SamplingConfig(max_new_tokens=64), "fp32", **REAL)
    print(f"fp32: {equal_rows(*answers[:2])} and {equal_rows(*answers[1:])} of {len(QUESTIONS)} rows")
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.slow
def test_the_real_model_in_bf16(starter: Path, tmp_path: Path) -> None:
    answers = compared(starter, tmp_path, SamplingConfig(max_new_tokens=64), "bf16", **REAL)
    print(f"bf16: {equal_rows(*answers[:2])} and {equal_rows(*answers[1:])} of {len(QUESTIONS)} rows")
    gaps = [gap for pair in (answers[:2], answers[1:]) for gap in gaps_where_they_part(tmp_path / "out", *pair)]
    print(f"where they part, fp32 gives the two tokens log-probabilities at most {max(gaps, default=0.0):.2f} apart")
    assert max(gaps, default=0.0) < LARGEST_ROUNDING, "answers part only where two tokens are about as likely"
