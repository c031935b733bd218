"""The summed loss of tokens against torch's cross-entropy in double precision: value, gradients, chunks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.engine import token_loss as own
from feinschliff.engine.token_loss import token_loss, token_scores

TOKENS, WIDTH, VOCABULARY = 53, 12, 40


@dataclass
class Given:
    """States, projection, targets and weights of a few tokens."""

    states: Tensor
    projection: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, dtype: torch.dtype) -> Given:
        """Copies with gradients of their own."""
        states, projection = (x.detach().to(dtype).requires_grad_() for x in (self.states, self.projection))
        return Given(states, projection, self.targets, self.weights.to(torch.float64))


@pytest.fixture
def given() -> Given:
    generator = torch.Generator().manual_seed(3)
    states, projection = (torch.randn(rows, WIDTH, generator=generator) for rows in (TOKENS, VOCABULARY))
    weights = torch.rand(TOKENS, generator=generator)
    weights[::7] = 1.0
    targets = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    return Given(states.requires_grad_(), projection.requires_grad_(), targets, weights)


def by_torch(given: Given, weighted: bool, softcap: float | None) -> Tensor:
    """Cross-entropy of each token, times its weight, summed."""
    logits = given.states @ given.projection.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    losses = F.cross_entropy(logits, given.targets, reduction="none")
    return (losses * given.weights if weighted else losses).sum()


def check(given: Given, weighted: bool, softcap: float | None, upstream: float = 1.0) -> None:
    loss = token_loss(given.states, given.projection, given.targets, given.weights if weighted else None, softcap)
    (upstream * loss).backward()
    exact = given.to(torch.float64)
    expected = by_torch(exact, weighted, softcap)
    (upstream * expected).backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0.0)
    for mine, other in ((given.states, exact.states), (given.projection, exact.projection)):
        assert mine.grad is not None
        assert other.grad is not None
        scale = abs(upstream)
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_cross_entropy_with_its_gradients(given: Given, weighted: bool, softcap: float | None) -> None:
    check(given, weighted, softcap)


@pytest.mark.parametrize("upstream", [0.25, -3.0])
def test_the_gradient_from_above_scales_both(given: Given, upstream: float) -> None:
    check(given, True, 5.0, upstream)


@pytest.mark.parametrize("tokens", [16, 17, 53, 54])
def test_chunks_change_nothing(given: Given, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Chunks of 16 and 17 tokens leave a rest; 53 is one that fits just."""
    monkeypatch.setattr(own, "CHUNK_ELEMENTS", tokens * VOCABULARY)
    assert own.chunk_tokens(VOCABULARY) == tokens
    check(given, True, 5.0)


def test_logits_never_exceed_a_chunk(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "CHUNK_ELEMENTS", 20 * VOCABULARY)
    sizes, made = [], own._logits

    def watched(states: Tensor, weight: Tensor, softcap: float | None) -> Tensor:
        sizes.append(len(states))
        return made(states, weight, softcap)

    monkeypatch.setattr(own, "_logits", watched)
    token_loss(given.states, given.projection, given.targets).backward()
    token_scores(given.states, given.projection, given.targets)
    assert sizes == [20, 20, 13, 20, 20, 13]


def test_large_vocabularies_still_take_some_tokens_at_once() -> None:
    assert own.chunk_tokens(49_152) == 341
    assert own.chunk_tokens(10**9) == 16


@pytest.mark.parametrize("trained", ["states", "projection"])
def test_what_needs_no_gradient_gets_none(given: Given, trained: str) -> None:
    frozen = given.projection if trained == "states" else given.states
    frozen.requires_grad_(False)
    token_loss(given.states, given.projection, given.targets).backward()
    exact = given.to(torch.float64)
    by_torch(exact, False, None).backward()
    mine, other = getattr(given, trained).grad, getattr(exact, trained).grad
    torch.testing.assert_close(mine.double(), other, rtol=1e-5, atol=2e-6)
    assert frozen.grad is None


def test_without_gradients_none_is_computed(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = token_loss(given.states, given.projection, given.targets).detach()
    monkeypatch.setattr(own, "_gradient", None)
    with torch.no_grad():
        assert torch.equal(token_loss(given.states, given.projection, given.targets), expected)


def test_a_projection_that_is_the_embeddings_gets_both_gradients(given: Given) -> None:
    """Tied weights: what flows through the states adds up with what the projection gets itself."""
    ids = torch.arange(TOKENS) % VOCABULARY
    token_loss(given.projection[ids] * 2.0, given.projection, given.targets).backward()
    exact = given.to(torch.float64)
    F.cross_entropy(exact.projection[ids] * 2.0 @ exact.projection.T, exact.targets, reduction="sum").backward()
    assert given.projection.grad is not None
    torch.testing.assert_close(given.projection.grad.double(), exact.projection.grad, rtol=1e-5, atol=5e-6)


def test_bf16_is_close_and_keeps_types(given: Given) -> None:
    half = Given(given.states.detach().bfloat16().requires_grad_(), given.projection.detach().bfloat16(),
                 given.targets, given.weights)  # fmt: skip
    half.projection.requires_grad_()
    loss = token_loss(half.states, half.projection, half.targets, half.weights)
    loss.backward()
    exact = half.to(torch.float64)
    expected = by_torch(exact, True, None)
    expected.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=3e-3)
    for mine, other in ((half.states, exact.states), (half.projection, exact.projection)):
        assert mine.grad is not None
        assert other.grad is not None
        assert mine.grad.dtype == torch.bfloat16
        assert float((mine.grad.double() - other.grad).norm() / other.grad.norm()) < 0.02


def test_no_tokens_lose_nothing(given: Given) -> None:
    none = torch.zeros(0, WIDTH, requires_grad=True)
    loss = token_loss(none, given.projection, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert given.projection.grad is not None
    assert not given.projection.grad.any()
    scores = token_scores(none, given.projection, torch.zeros(0, dtype=torch.int64))
    assert (scores.losses_n.shape, scores.correct_n.dtype) == ((0,), torch.bool)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("tokens", [16, 1000])
def test_scores_are_each_tokens_loss_and_whether_it_was_the_likeliest(
    given: Given, monkeypatch: pytest.MonkeyPatch, tokens: int, softcap: float | None
) -> None:
    monkeypatch.setattr(own, "CHUNK_ELEMENTS", tokens * VOCABULARY)
    logits = (given.states @ given.projection.T).detach()
    given.targets[::2] = logits.argmax(1)[::2]
    scores = token_scores(given.states, given.projection, given.targets, softcap)
    capped = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    torch.testing.assert_close(scores.losses_n, F.cross_entropy(capped, given.targets, reduction="none"))
    assert torch.equal(scores.correct_n, logits.argmax(1) == given.targets)
    assert not scores.losses_n.requires_grad
    assert 0 < int(scores.correct_n.sum()) < TOKENS
