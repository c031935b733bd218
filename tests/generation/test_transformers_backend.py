"""Generation in this process: the answers of ``model.generate``, whatever way leads through the model and whatever lies
beside a row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError, ModelError
from feinschliff.generation.port import Generation, Piece, Request
from feinschliff.generation.scheduling import Limits
from feinschliff.generation.transformers_backend import Precision, TransformersBackend
from tests.generation import tiny

LENGTHS = (3, 17, 40, 9, 120, 1, 60)
LIMITS = {
    "all at once": Limits(),
    "three rows": Limits(num_rows=3),
    "short steps": Limits(step_tokens=13),
    "little room": Limits(num_rows=4, cache_tokens=150),
}
TINY_LEAN = [kind for kind in tiny.KINDS if kind != "gpt2"]


def backend(kind: str = "llama", **options: Any) -> TransformersBackend:
    return TransformersBackend(tiny.model(kind), tiny.tokenizer(), **options)


def ids(answers: list[Generation]) -> list[list[int]]:
    return [list(answer.ids) for answer in answers]


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("lean", [True, False], ids=["lean", "modules"])
def test_greedy_answers_are_those_of_generate(kind: str, lean: bool) -> None:
    made = backend(kind, lean=lean)
    assert made.notes[-1] == f"generation: {'lean layers' if lean and kind != 'gpt2' else MODULES}"
    prompts = tiny.prompts(*LENGTHS)
    answers = made.generate([Request(ids=prompt) for prompt in prompts], SamplingConfig(max_new_tokens=30))
    assert ids(answers) == [tiny.greedy(made.model, prompt, 30) for prompt in prompts]
    assert {answer.finish_reason for answer in answers} <= {"stop", "length"}
    assert all((answer.ids[-1] == tiny.END) == (answer.finish_reason == "stop") for answer in answers)


MODULES = "the model's modules on packed tokens"


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_limits_of_rows_steps_and_room_change_nothing(kind: str, limits: Limits) -> None:
    """Rows come and go while others generate; one ends early."""
    made = backend(kind, limits=limits)
    prompts = tiny.prompts(*LENGTHS)
    answers = made.generate([Request(ids=prompt) for prompt in prompts], SamplingConfig(max_new_tokens=30))
    wanted = [tiny.greedy(made.model, prompt, 30) for prompt in prompts]
    assert ids(answers) == wanted
    assert len({len(answer) for answer in wanted}) > 1


def test_recurrent_models_go_row_by_row() -> None:
    made = backend("mamba", limits=Limits(num_rows=2))
    assert made.notes[-1].startswith("generation: each row alone")
    prompts = tiny.prompts(4, 9, 2)
    requests = [Request(ids=prompt, num_samples=2) for prompt in prompts]
    answers = made.generate(requests, SamplingConfig(max_new_tokens=8))
    assert ids(answers) == [tiny.greedy(made.model, prompt, 8) for prompt in prompts for _ in range(2)]
    assert [(answer.request, answer.sample) for answer in answers] == [(r, s) for r in range(3) for s in range(2)]


class Tampered(torch.nn.Module):
    """A projection that is not what its weights say."""

    def __init__(self, inner: torch.nn.Linear, addend: float) -> None:
        super().__init__()
        self.weight, self.addend = inner.weight, addend
        self.in_features = inner.in_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight) * (1 + self.addend) + self.addend * x.abs()[..., :1]


@pytest.mark.parametrize(("addend", "way"), [(0.0, "lean layers"), (0.5, MODULES)])
def test_a_layer_that_is_not_what_it_seems_is_noticed(addend: float, way: str) -> None:
    model = tiny.model("llama")
    model.model.layers[1].mlp.down_proj = Tampered(model.model.layers[1].mlp.down_proj, addend)
    made = TransformersBackend(model, tiny.tokenizer())
    assert made.notes[-1] == f"generation: {way}"
    prompt = tiny.prompts(12)[0]
    answers = made.generate([Request(ids=prompt)], SamplingConfig(max_new_tokens=12))
    assert ids(answers) == [tiny.greedy(model, prompt, 12)]


def test_adapters_are_part_of_the_lean_copy_and_read_again() -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny.model("llama")
    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    made = TransformersBackend(model, tiny.tokenizer())
    assert made.notes[-1] == "generation: lean layers"
    prompt = tiny.prompts(12)[0]
    request, sampling = [Request(ids=prompt)], SamplingConfig(max_new_tokens=20)
    before = ids(made.generate(request, sampling))
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    made.refresh()
    after = ids(made.generate(request, sampling))
    assert after == [tiny.greedy(model, prompt, 20)]
    assert after != before


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "modules"])
@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_bf16_beside_an_fp32_model(kind: str, lean: bool) -> None:
    made = backend(kind, lean=lean, precision="bf16")
    prompts = tiny.prompts(5, 30)
    answers = made.generate(
        [Request(ids=prompt) for prompt in prompts], SamplingConfig(max_new_tokens=6, logprobs=True)
    )
    assert next(made.model.parameters()).dtype == torch.float32
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.inference_mode():
            logits = made.model(torch.tensor([[*prompt, *answer.ids]])).logits[0, len(prompt) - 1 : -1]
        own = logits.log_softmax(-1).gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert answer.logprobs == pytest.approx(own.tolist(), abs=0.3)
        assert float((own - logits.log_softmax(-1).amax(-1)).min()) > -0.3


@pytest.mark.parametrize("precision", ["model", "auto", "fp32"])
def test_precisions(precision: Precision) -> None:
    made = backend(precision=precision)
    assert any(note.startswith("precision") for note in made.notes) == (precision == "auto")
    assert made.generate([Request(ids=[5, 6])], SamplingConfig(max_new_tokens=3))[0].ids


def test_training_mode_is_left_as_it_was() -> None:
    model = tiny.model("gpt2").train()
    made = TransformersBackend(model, tiny.tokenizer())
    prompt = tiny.prompts(10)[0]
    answers = made.generate([Request(ids=prompt)], SamplingConfig(max_new_tokens=10))
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert ids(answers) == [tiny.greedy(model.eval(), prompt, 10)]


@pytest.mark.parametrize("num_rows", [64, 3, 1])
def test_samples_of_a_prompt_share_its_reading(num_rows: int) -> None:
    made = backend(limits=Limits(num_rows=num_rows))
    prompts = tiny.prompts(50, 20)
    sampling = SamplingConfig(max_new_tokens=10, temperature=1.0, n=5)
    answers = made.generate([Request(ids=prompt) for prompt in prompts], sampling)
    written = sum(len(answer.ids) - 1 for answer in answers)
    assert made.num_computed_tokens == 50 + 20 + written
    assert [(answer.request, answer.sample) for answer in answers] == [(r, s) for r in range(2) for s in range(5)]
    assert len({answer.ids for answer in answers}) == 10
    alone = backend().generate([Request(ids=prompts[0], num_samples=3)], sampling)
    assert ids(alone) == ids(answers)[:3]


def test_a_common_beginning_is_read_once() -> None:
    made = backend()
    begin = tiny.prompts(30)[0]
    prompts = [[*begin, *end] for end in tiny.prompts(4, 9, 17)]
    answers = made.generate([Request(ids=prompt) for prompt in prompts], SamplingConfig(max_new_tokens=12))
    assert ids(answers) == [tiny.greedy(made.model, prompt, 12) for prompt in prompts]
    assert made.num_computed_tokens == 30 + 4 + 9 + 17 + sum(len(answer.ids) - 1 for answer in answers)


def test_equal_prompts_leave_one_token_to_read() -> None:
    made = backend()
    prompt = tiny.prompts(30)[0]
    answers = made.generate([Request(ids=prompt), Request(ids=prompt)], SamplingConfig(max_new_tokens=5))
    assert ids(answers) == [tiny.greedy(made.model, prompt, 5)] * 2
    assert made.num_computed_tokens == 29 + 2 + sum(len(answer.ids) - 1 for answer in answers)


def test_what_is_drawn_follows_from_seed_and_prompt_alone() -> None:
    prompts = tiny.prompts(12, 5, 33)
    sampling = SamplingConfig(max_new_tokens=15, temperature=1.0, seed=4)
    together = backend().generate([Request(ids=prompt) for prompt in prompts], sampling)
    for order in ([2], [1, 2], [0, 2, 1, 1]):
        some = backend(limits=Limits(num_rows=2)).generate([Request(ids=prompts[k]) for k in order], sampling)
        assert ids(some)[: len(set(order))] == [ids(together)[k] for k in dict.fromkeys(order)]
    twice = backend().generate([Request(ids=prompts[0])] * 2, sampling)
    assert ids(twice)[0] == ids(together)[0] != ids(twice)[1]
    assert ids(twice) == ids(backend().generate([Request(ids=prompts[0], num_samples=2)], sampling))
    other = backend().generate([Request(ids=prompts[0])], sampling.model_copy(update={"seed": 5}))
    assert ids(other) != ids(together)[:1]


def test_answers_come_as_often_as_the_model_says() -> None:
    """Two tokens each, against the exact distribution over pairs."""
    made = backend("llama", limits=Limits(num_rows=500))
    prompt, count = tiny.prompts(6)[0], 3000
    sampling = SamplingConfig(max_new_tokens=2, min_new_tokens=2, temperature=1.0, top_k=3, n=count)
    found = Counter(answer.ids for answer in made.generate([Request(ids=prompt)], sampling))
    expected = {(a, b): p * q for a, p in _three(made, prompt) for b, q in _three(made, [*prompt, a])}
    assert set(found) <= set(expected)
    assert chisquare([found[pair] for pair in expected], [count * p for p in expected.values()]).pvalue > 1e-3


def _three(made: TransformersBackend, prompt: list[int]) -> list[tuple[int, float]]:
    with torch.inference_mode():
        logits = made.model(torch.tensor([prompt])).logits[0, -1].double().clone()
        logits[tiny.END] = float("-inf")
    values, best = logits.topk(3)
    return list(zip(best.tolist(), values.softmax(-1).tolist(), strict=True))


def test_stop_strings_end_answers_before_them() -> None:
    made = backend()
    prompts = tiny.prompts(12, 5, 33)
    requests = [Request(ids=prompt) for prompt in prompts]
    free = made.generate(requests, SamplingConfig(max_new_tokens=25))
    stop = free[0].text[4:6]
    stopped = made.generate(requests, SamplingConfig(max_new_tokens=25, stop=(stop,)))
    for before, after in zip(free, stopped, strict=True):
        assert after.text == before.text.partition(stop)[0]
        assert after.ids == before.ids[: len(after.ids)]
    assert stopped[0].finish_reason == "stop"
    assert len(stopped[0].ids) < len(free[0].ids)


def test_pieces_join_to_answers() -> None:
    made = backend()
    requests = [Request(ids=prompt, num_samples=2) for prompt in tiny.prompts(12, 5)]
    sampling = SamplingConfig(max_new_tokens=12, temperature=1.0)
    heard: list[Piece] = []
    answers = made.generate(requests, sampling, heard.append)
    assert heard == list(made.stream(requests, sampling))
    assert made.generate(requests, sampling) == answers
    for answer in answers:
        own = [piece for piece in heard if (piece.request, piece.sample) == (answer.request, answer.sample)]
        assert "".join(piece.text for piece in own) == answer.text
        assert [id for piece in own for id in piece.ids] == list(answer.ids)
        assert [piece.generation is not None for piece in own] == [False] * (len(own) - 1) + [True]


def test_texts_and_chats_are_put_into_tokens() -> None:
    made = backend()
    tokenizer = tiny.tokenizer()
    sampling = SamplingConfig(max_new_tokens=4)
    text, chat = made.generate(
        [Request(prompt="hello"), Request(messages=[{"role": "user", "content": "hi"}])], sampling
    )
    assert list(text.ids) == tiny.greedy(made.model, tokenizer("hello")["input_ids"], 4)
    assert list(chat.ids) == tiny.greedy(made.model, tokenizer("<user>hi<assistant>")["input_ids"], 4)
    assert text.num_prompt_tokens == len(tokenizer("hello")["input_ids"])


def test_no_position_is_used_that_the_model_does_not_have() -> None:
    made = backend()
    prompts = tiny.prompts(199, 190)
    answers = made.generate(
        [Request(ids=prompt) for prompt in prompts], SamplingConfig(max_new_tokens=50, min_new_tokens=50)
    )
    assert [len(answer.ids) for answer in answers] == [1, 10]
    assert {answer.finish_reason for answer in answers} == {"length"}


def test_all_faults_at_once() -> None:
    made = backend()
    given = [
        Request(ids=[5, 6]),
        Request(ids=[5] * 200),
        Request(ids=[5, tiny.VOCABULARY]),
        Request(prompt=""),
        Request(messages=[{"role": "system", "content": "no"}]),
    ]
    with pytest.raises(InputError) as caught:
        made.generate(given, SamplingConfig())
    assert [(fault.where, fault.what) for fault in caught.value.faults] == [
        ("request 2", "the prompt is too long"),
        ("request 3", f"there is no token {tiny.VOCABULARY}"),
        ("request 4", "there is nothing to continue"),
        ("request 5", "the chat template refuses these messages"),
    ]
    assert "200" in str(caught.value.faults[0].why)
    assert caught.value.faults[3].why == "no system turn"


def test_a_stream_refuses_before_its_first_piece() -> None:
    with pytest.raises(InputError, match="too long"):
        backend().stream([Request(ids=[5] * 200)], SamplingConfig())


def test_a_model_without_logits_is_refused_with_every_way_that_was_tried() -> None:
    model = tiny.model("llama")
    model.model.embed_tokens.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="cannot generate") as caught:
        TransformersBackend(model, tiny.tokenizer())
    assert "lean layers" in str(caught.value)
    assert "each row alone, without a cache" in str(caught.value)


@pytest.mark.slow
def test_the_real_model_answers_as_generate(shared_data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from feinschliff.models.sources import cached_folder

    folder = cached_folder("smollm2-135m-instruct")
    if folder is None:
        pytest.skip("smollm2-135m-instruct is not in the cache: feinschliff models pull smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = TransformersBackend(model, tokenizer)
    assert made.notes[-1] == "generation: lean layers"
    with (shared_data / "gsm8k" / "test.jsonl").open(encoding="utf-8") as file:
        questions = [json.loads(next(file))["question"] for _ in range(3)]
    requests = [Request(messages=[{"role": "user", "content": question}]) for question in questions]
    answers = made.generate(requests, SamplingConfig(max_new_tokens=12))
    for question, answer in zip(questions, answers, strict=True):
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert list(answer.ids) == tiny.greedy(model, prompt, 12)
