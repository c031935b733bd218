"""Which token comes next: the likeliest, or one drawn as often as its probability says; penalties as elsewhere."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from feinschliff.config.generation import LEAST_TEMPERATURE, SamplingConfig
from feinschliff.generation import choosing
from feinschliff.generation.choosing import Chooser, choose, draws_of, likeliest

LOGITS = torch.tensor([2.0, -1.0, 0.5, 1.5, -3.0, 0.0, 1.0])


def rows(count: int, prompt: tuple[int, ...] = (1, 2)) -> list[Chooser]:
    return [Chooser(prompt, draws_of(5, prompt, sample)) for sample in range(count)]


def drawn(sampling: SamplingConfig, count: int = 4000, logits_V: Tensor = LOGITS) -> Counter[int]:
    ids, _ = choose(logits_V.expand(count, -1), rows(count), sampling, [])
    return Counter(ids)


def wanted(sampling: SamplingConfig, logits_V: Tensor = LOGITS) -> Tensor:
    """Probabilities as transformers' own processors make them."""
    steps = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k is not None:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        steps.append(MinPLogitsWarper(sampling.min_p))
    changed: Tensor = steps(torch.zeros(1, 1, dtype=torch.long), logits_V[None].clone())
    return changed[0].double().softmax(-1)


SAMPLINGS = [
    SamplingConfig(temperature=1.0),
    SamplingConfig(temperature=0.5),
    SamplingConfig(temperature=2.0, top_k=3),
    SamplingConfig(temperature=1.0, top_p=0.8),
    SamplingConfig(temperature=1.3, top_k=5, top_p=0.7),
    SamplingConfig(temperature=1.0, min_p=0.2),
    SamplingConfig(temperature=1.5, top_k=6, top_p=0.95, min_p=0.3),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"{s.temperature}-{s.top_k}-{s.top_p}-{s.min_p}")
@pytest.mark.parametrize("few", [2, 512])
def test_tokens_are_drawn_as_often_as_transformers_processors_say(
    sampling: SamplingConfig, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "FEW_CANDIDATES", few)
    probabilities = wanted(sampling)
    found = drawn(sampling)
    possible = [id for id in range(len(LOGITS)) if probabilities[id] > 0]
    assert set(found) <= set(possible)
    if len(possible) > 1:
        expected = [float(probabilities[id]) * found.total() for id in possible]
        assert chisquare([found[id] for id in possible], expected).pvalue > 1e-3


def test_the_chi_square_would_see_another_temperature() -> None:
    expected = wanted(SamplingConfig(temperature=1.15)).double() * 4000
    found = drawn(SamplingConfig(temperature=1.0))
    assert chisquare([found[id] for id in range(len(LOGITS))], expected.tolist()).pvalue < 1e-3


@pytest.mark.parametrize("size", [7, 256, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_likeliest_is_the_first_of_the_largest(size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(20, (40, size), generator=generator).to(dtype)
    assert likeliest(logits).tolist() == [row.index(max(row)) for row in logits.tolist()]
    logits[3] = float("-inf")
    logits[3, -1] = 0.0
    assert likeliest(logits)[3] == size - 1


def test_an_answer_draws_from_its_own_stream_whatever_lies_beside_it() -> None:
    sampling = SamplingConfig(temperature=1.0)
    alone = [choose(LOGITS[None], [row], sampling, [])[0][0] for row in rows(20)]
    together, _ = choose(LOGITS.expand(20, -1), rows(20), sampling, [])
    backwards, _ = choose(LOGITS.expand(20, -1), rows(20)[::-1], sampling, [])
    assert alone == together == backwards[::-1]
    assert len(set(together)) > 1


def test_streams_differ_by_seed_prompt_and_sample() -> None:
    first = [draws_of(*key).random() for key in [(0, (1, 2), 0), (1, (1, 2), 0), (0, (2, 1), 0), (0, (1, 2), 1)]]
    assert len(set(first)) == 4
    assert draws_of(0, (1, 2), 0).random() == first[0]


def test_repetition_penalty_as_transformers() -> None:
    row = Chooser((0, 1), draws_of(0, (0, 1), 0))
    row.written[4] += 1
    processor = RepetitionPenaltyLogitsProcessor(2.5)
    expected = processor(torch.tensor([[0, 1, 4]]), LOGITS[None].clone()).argmax(-1).tolist()
    assert choose(LOGITS[None], [row], SamplingConfig(repetition_penalty=2.5), [])[0] == expected == [3]


def test_frequency_and_presence_count_the_answer_and_not_the_prompt() -> None:
    frequency = SamplingConfig(frequency_penalty=0.3)
    row = Chooser((0, 0, 0), draws_of(0, (0,), 0))
    ids = [choose(LOGITS[None], [row], frequency, [])[0][0] for _ in range(5)]
    assert ids == [0, 0, 3, 0, 3]  # 2.0, 1.7, then 1.4 < 1.5, then 1.4 > 1.2, then 1.1 < 1.2
    row = Chooser((0, 0, 0), draws_of(0, (0,), 0))
    presence = SamplingConfig(presence_penalty=0.6)
    assert [choose(LOGITS[None], [row], presence, [])[0][0] for _ in range(4)] == [0, 3, 0, 0]


def test_the_end_token_waits_for_the_fewest_tokens() -> None:
    row = Chooser((1,), draws_of(0, (1,), 0))
    sampling = SamplingConfig(min_new_tokens=2)
    assert [choose(LOGITS[None], [row], sampling, [0, 3])[0][0] for _ in range(3)] == [6, 6, 0]


def test_logprobs_are_those_of_the_model_itself() -> None:
    sampling = SamplingConfig(temperature=0.2, top_k=2, repetition_penalty=3.0, logprobs=True)
    ids, logprobs = choose(LOGITS.expand(3, -1), rows(3), sampling, [])
    assert logprobs == pytest.approx([float(LOGITS.log_softmax(-1)[id]) for id in ids])
    assert choose(LOGITS[None], rows(1), SamplingConfig(), [])[1] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_least_temperature_and_penalty_leave_numbers(dtype: torch.dtype) -> None:
    """Logits larger than models have; the likeliest token is drawn, and no other."""
    sampling = SamplingConfig(temperature=LEAST_TEMPERATURE, repetition_penalty=0.01, top_p=0.9, min_p=0.1)
    ids, _ = choose((1e6 * LOGITS).to(dtype).expand(20, -1), rows(20, (0,)), sampling, [])
    assert ids == [0] * 20


def test_given_logits_are_not_changed() -> None:
    logits = LOGITS[None].clone()
    choose(logits, rows(1), SamplingConfig(repetition_penalty=2.0, temperature=1.0, top_p=0.5, min_new_tokens=1), [0])
    assert torch.equal(logits, LOGITS[None])
