"""Packed attention against torch's own on padded rows, forward and backward, and its dropout."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.engine import attention
from feinschliff.engine.batching import group_by_length

HEADS, WIDTH = 4, 8
LENGTHS = {
    "one row": [5],
    "equal rows": [6, 6, 6],
    "padded": [2, 3, 3, 5, 9],
    "several groups": [2] * 3 + [40] * 2 + [60, 61, 150],
    "long rows": [3, 150, 270, 300],  # the fused kernel's path
}


def make_inputs(lengths: list[int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (1, HEADS, sum(lengths), WIDTH)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def packed(inputs: list[Tensor], lengths: list[int], dropout: float = 0.0) -> Tensor:
    groups = group_by_length(lengths)
    out, _ = attention.packed_attention(nn.Identity(), *inputs, None, dropout=dropout, packed_groups=groups)
    return out


def row_by_row(inputs: list[Tensor], lengths: list[int]) -> Tensor:
    """torch's kernel on one padded batch with a mask, then only the real tokens: [1, T, H, D]."""
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1].tolist()
    padded = [
        torch.stack(
            [F.pad(x[0, :, s : s + n], (0, 0, 0, max(lengths) - n)) for s, n in zip(starts, lengths, strict=True)]
        )
        for x in inputs
    ]
    real = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    out = F.scaled_dot_product_attention(*padded, attn_mask=real[:, None, None])
    return out.transpose(1, 2)[real][None]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
def test_equals_torch_forward_and_backward(lengths: list[int]) -> None:
    ours, theirs = make_inputs(lengths), make_inputs(lengths)
    weight = torch.randn(1, sum(lengths), HEADS, WIDTH, generator=torch.Generator().manual_seed(2))
    out, expected = packed(ours, lengths), row_by_row(theirs, lengths)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_groups_with_and_without_padding_both_occur() -> None:
    groups = group_by_length(LENGTHS["several groups"])
    assert {group.index is None for group in groups} == {True, False}
    assert [groups[0].start, groups[-1].stop] == [0, sum(LENGTHS["several groups"])]
    assert all(before.stop == after.start for before, after in itertools.pairwise(groups))


@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["long rows"]], ids=["written out", "fused"])
def test_filling_tokens_give_nothing_and_get_no_gradient(lengths: list[int]) -> None:
    inputs, filled = make_inputs(lengths), make_inputs([*lengths, 7])
    with torch.no_grad():
        for mine, other in zip(filled, inputs, strict=True):
            mine[:, :, : sum(lengths)] = other
    out = packed(filled, lengths)
    assert torch.equal(out[:, sum(lengths) :], torch.zeros(1, 7, HEADS, WIDTH))
    assert torch.equal(out[:, : sum(lengths)], packed(inputs, lengths))
    out.square().sum().backward()
    for x in filled:
        assert x.grad is not None
        assert torch.equal(x.grad[:, :, sum(lengths) :], torch.zeros(1, HEADS, 7, WIDTH))
        assert float(x.grad[:, :, : sum(lengths)].abs().min()) > 0


def test_a_row_never_sees_another() -> None:
    lengths = LENGTHS["padded"]
    inputs = make_inputs(lengths)
    before = packed(inputs, lengths).detach().clone()
    with torch.no_grad():
        for x in inputs:
            x[:, :, -9:] += 100.0  # the last row
    after = packed(inputs, lengths).detach()
    assert torch.equal(after[:, :-9], before[:, :-9])
    assert not torch.allclose(after[:, -9:], before[:, -9:])


@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["long rows"]], ids=["written out", "fused"])
def test_dropout_follows_the_seed(lengths: list[int]) -> None:
    inputs, outs = make_inputs(lengths), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(packed(inputs, lengths, dropout=0.5).detach())
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_dropout_keeps_the_mean_and_has_the_gradient_of_what_it_computed() -> None:
    lengths = [2, 3, 5]
    inputs = make_inputs(lengths)
    torch.manual_seed(0)
    mean = torch.stack([packed(inputs, lengths, dropout=0.3).detach() for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, packed(inputs, lengths).detach(), rtol=0.0, atol=0.08)

    def seeded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(5)
        return packed([q, k, v], lengths, dropout=0.3)

    direction = [torch.randn(x.shape, generator=torch.Generator().manual_seed(7)) for x in inputs]
    seeded(*inputs).sum().backward()
    analytic = sum(float((x.grad * d).sum()) for x, d in zip(inputs, direction, strict=True) if x.grad is not None)
    with torch.no_grad():
        up, down = (seeded(*(x + e * d for x, d in zip(inputs, direction, strict=True))).sum() for e in (1e-2, -1e-2))
    assert analytic == pytest.approx(float(up - down) / 2e-2, rel=1e-2)


@pytest.mark.parametrize(
    "lengths", [LENGTHS["padded"], [5, 9, 40, 70, 90, 130], [6, 30, 100, 280, 300], [300]], ids=str
)
def test_bf16_is_close_to_fp32_on_each_way_and_on_all_in_one_batch(lengths: list[int]) -> None:
    halves, whole = make_inputs(lengths, torch.bfloat16), make_inputs(lengths)
    out, expected = packed(halves, lengths), row_by_row(whole, lengths)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.0, atol=0.03)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for mine, other in zip(halves, whole, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert mine.grad.dtype == torch.bfloat16
        assert float((mine.grad.float() - other.grad).norm() / other.grad.norm()) < 0.02


def test_without_groups_it_is_plain_attention() -> None:
    inputs = make_inputs([7])
    out, _ = attention.packed_attention(nn.Identity(), *inputs, None)
    torch.testing.assert_close(out, F.scaled_dot_product_attention(*inputs).transpose(1, 2))


PREFIX = 3


def make_prefix(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(2, HEADS, PREFIX, WIDTH, generator=generator).to(dtype).requires_grad_()


def behind(inputs: list[Tensor], prefix: Tensor, lengths: list[int]) -> Tensor:
    """One row after the other by the formula, the prefix put before its own keys and values: [1, T, H, D]."""
    outs = []
    for q, k, v in zip(*(x[0].split(lengths, 1) for x in inputs), strict=True):
        keys, values = torch.cat([prefix[0], k], 1), torch.cat([prefix[1], v], 1)
        outs.append(torch.softmax(q @ keys.transpose(1, 2) / WIDTH**0.5, -1) @ values)
    return torch.cat(outs, 1).transpose(0, 1)[None]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
def test_a_prefix_equals_keys_and_values_of_every_row_forward_and_backward(lengths: list[int]) -> None:
    ours, theirs = [*make_inputs(lengths), make_prefix()], [*make_inputs(lengths), make_prefix()]
    weight = torch.randn(1, sum(lengths), HEADS, WIDTH, generator=torch.Generator().manual_seed(2))
    groups = group_by_length(lengths)
    out, _ = attention.packed_attention(nn.Identity(), *ours[:3], None, packed_groups=groups, prefix_2HPD=ours[3])
    expected = behind(theirs[:3], theirs[3], lengths)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", [None, torch.bool, torch.float32], ids=str)
def test_a_prefix_without_groups(mask: torch.dtype | None) -> None:
    inputs, prefix = make_inputs([7]), make_prefix()
    seen = torch.tensor([True] * 5 + [False] * 2)
    given = None if mask is None else seen[None, None, None].expand(1, 1, 7, 7)
    if mask is torch.float32 and given is not None:
        given = torch.zeros(1, 1, 7, 7).masked_fill(~given, float("-inf"))
    out, _ = attention.packed_attention(nn.Identity(), *inputs, given, prefix_2HPD=prefix)
    length = 7 if mask is None else 5
    expected = behind([x[:, :, :length] for x in inputs], prefix, [length])
    torch.testing.assert_close(out[:, :length], expected, rtol=1e-5, atol=1e-6)


def test_a_prefix_in_bf16_is_close_and_gets_a_gradient_of_its_own_type() -> None:
    lengths = LENGTHS["padded"]
    inputs, prefix = make_inputs(lengths, torch.bfloat16), make_prefix(torch.bfloat16)
    groups = group_by_length(lengths)
    out, _ = attention.packed_attention(nn.Identity(), *inputs, None, packed_groups=groups, prefix_2HPD=prefix)
    expected = behind(make_inputs(lengths), make_prefix(), lengths)
    torch.testing.assert_close(out.float(), expected, rtol=0.0, atol=0.03)
    out.sum().backward()
    assert prefix.grad is not None
    assert prefix.grad.dtype == torch.bfloat16


def test_a_prefix_with_dropout_has_the_gradient_of_what_it_computed() -> None:
    lengths, inputs, prefix = [2, 3, 5], make_inputs([2, 3, 5]), make_prefix()

    def seeded(states: Tensor) -> Tensor:
        torch.manual_seed(5)
        groups = group_by_length(lengths)
        given = {"dropout": 0.3, "packed_groups": groups, "prefix_2HPD": states}
        return attention.packed_attention(nn.Identity(), *inputs, None, **given)[0].square().sum()

    direction = torch.randn(prefix.shape, generator=torch.Generator().manual_seed(7))
    (analytic,) = torch.autograd.grad(seeded(prefix), prefix)
    with torch.no_grad():
        up, down = (seeded(prefix + e * direction) for e in (1e-2, -1e-2))
    assert float((analytic * direction).sum()) == pytest.approx(float(up - down) / 2e-2, rel=1e-2)
