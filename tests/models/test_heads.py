"""Pooling by its formula, the squashed head, and its start from class means."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from feinschliff.models.heads import MEAN_WEIGHT, SQUASH, Head, pool

LENGTHS = torch.tensor([1, 4, 2])


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(0))


def test_cls_takes_the_first_state(states: torch.Tensor) -> None:
    assert torch.equal(pool(states, LENGTHS, "cls", 1e-12), states[[0, 1, 5]])


def test_mean_follows_its_formula(states: torch.Tensor) -> None:
    rows = states.split(LENGTHS.tolist())
    expected = torch.stack([F.layer_norm(MEAN_WEIGHT * row.mean(0) + row[0], (6,), eps=1e-12) for row in rows])
    torch.testing.assert_close(pool(states, LENGTHS, "mean", 1e-12), expected, rtol=1e-5, atol=1e-6)


def test_filling_after_the_last_row_is_left_out(states: torch.Tensor) -> None:
    filled = torch.cat([states, torch.full((3, 6), 1e6)])
    for pooling in ("mean", "cls"):
        assert torch.equal(pool(filled, LENGTHS, pooling, 1e-12), pool(states, LENGTHS, pooling, 1e-12))  # type: ignore[arg-type]


def test_pooling_is_fp32_whatever_the_states_are(states: torch.Tensor) -> None:
    for pooling in ("mean", "cls"):
        assert pool(states.bfloat16(), LENGTHS, pooling, 1e-12).dtype == torch.float32  # type: ignore[arg-type]


def test_the_squash_hardly_bends() -> None:
    features = torch.linspace(-6, 6, 101)
    squashed = torch.tanh(features * SQUASH) / SQUASH
    assert float((squashed - features).abs().max()) < 2e-3
    head = Head(101, 2, 0.0)
    torch.testing.assert_close(head(features[None]), head.linear(squashed[None]))


def test_class_means_classify_what_they_were_made_from() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(4, 16, generator=generator)
    targets = torch.arange(80) % 4
    features = centres[targets] + 0.1 * torch.randn(80, 16, generator=generator)
    head = Head(16, 4, 0.0)
    head.start_from_class_means(features, targets)
    assert bool((head(features).argmax(1) == targets).all())
    assert float(F.cross_entropy(head(features), targets).detach()) < 1.386


def test_a_class_without_rows_starts_at_nothing_and_breaks_nothing() -> None:
    head = Head(8, 3, 0.0)
    head.start_from_class_means(torch.randn(6, 8), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert bool(torch.isfinite(head.linear.weight).all())


def test_several_labels_start_at_their_shares() -> None:
    targets = torch.zeros(100, 2)
    targets[:20, 0] = 1.0
    targets[:, 1] = 1.0
    head = Head(8, 2, 0.0)
    head.start_from_class_means(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), targets)
    assert torch.sigmoid(head.linear.bias).tolist() == pytest.approx([0.2, 0.999], abs=1e-4)
