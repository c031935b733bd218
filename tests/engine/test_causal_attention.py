"""Packed causal attention against plain softmax attention on one row after the other, forward and backward."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.engine import causal_attention as causal
from feinschliff.engine.batching import Group, group_by_length
from feinschliff.errors import ModelError

WIDTH = 8
LENGTHS = {
    "one token": [1],
    "one row": [5],
    "ones": [1, 1, 1],
    "equal rows": [16, 16, 16],
    "padded": [1, 2, 3, 3, 5, 9],
    "around a block": [63, 64, 65],
    "several blocks": [1, 20, 127, 130, 150],
    "several groups": [2] * 3 + [40] * 2 + [60, 61, 200],
}
LONG = causal.KEPT_BELOW_TOKENS + 27


def inputs(lengths: list[int], heads: tuple[int, int] = (4, 4), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries, keys, values [1, H, T, D]."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, count, sum(lengths), WIDTH) for count in (heads[0], heads[1], heads[1])]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def packed(given: list[Tensor], lengths: list[int] | None, **options: Any) -> Tensor:
    """Ours: [1, T, H, D]."""
    groups = None if lengths is None else group_by_length(lengths)
    q, k, v = given
    return causal.causal_attention(nn.Identity(), q, k, v, None, packed_groups=groups, **options)[0]


def row_by_row(given: list[Tensor], lengths: list[int], window: int | None = None, cap: float | None = None,
               scale: float = WIDTH**-0.5) -> Tensor:  # fmt: skip
    """The formula on each row alone, with every key copied to all its queries: [1, T, H, D]."""
    outs = []
    copies = given[0].shape[1] // given[1].shape[1]
    for q, k, v in zip(*(x[0].split(lengths, 1) for x in given), strict=True):
        k, v = (x.repeat_interleave(copies, 0) for x in (k, v))
        scores = q @ k.transpose(1, 2) * scale
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        distance = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None]
        hidden = (distance < 0) | (distance >= (window or 10**9))
        outs.append(torch.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ v)
    return torch.cat(outs, 1).transpose(0, 1)[None]


def compare(ours: list[Tensor], theirs: list[Tensor], lengths: list[int], options: dict[str, Any],
            plain: dict[str, Any]) -> None:  # fmt: skip
    """Outputs and gradients of both under the same random upstream gradient."""
    out, expected = packed(ours, lengths, **options), row_by_row(theirs, lengths, **plain)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(upstream)
    expected.backward(upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
def test_equals_softmax_attention_row_by_row(lengths: list[int], heads: tuple[int, int]) -> None:
    compare(inputs(lengths, heads), inputs(lengths, heads), lengths, {}, {})


@pytest.mark.parametrize("window", [1, 2, 7, 63, 64, 65, 100, 1000])
@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["several blocks"]], ids=["short", "long"])
def test_a_sliding_window_hides_what_is_further_back(lengths: list[int], window: int) -> None:
    given = inputs(lengths, (4, 2)), inputs(lengths, (4, 2))
    compare(*given, lengths, {"sliding_window": window}, {"window": window})


@pytest.mark.parametrize("cap", [0.3, 50.0])
@pytest.mark.parametrize("window", [None, 9])
def test_capped_scores(cap: float, window: int | None) -> None:
    lengths = LENGTHS["several blocks"]
    given = inputs(lengths, (4, 2)), inputs(lengths, (4, 2))
    compare(*given, lengths, {"softcap": cap, "sliding_window": window}, {"cap": cap, "window": window})


def test_the_scale_that_the_model_gives_is_used() -> None:
    lengths = LENGTHS["padded"]
    compare(inputs(lengths), inputs(lengths), lengths, {"scaling": 0.7}, {"scale": 0.7})


def test_values_may_be_narrower_than_keys() -> None:
    """As in multi-head latent attention."""
    lengths = LENGTHS["several blocks"]
    ours, theirs = inputs(lengths, (4, 2)), inputs(lengths, (4, 2))
    for given in (ours, theirs):
        given[2] = given[2].detach()[..., :5].contiguous().requires_grad_()
    compare(ours, theirs, lengths, {}, {})


@pytest.mark.parametrize("window", [None, 100])
def test_long_rows_are_computed_again_and_give_the_same(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    lengths = [3, LONG]
    again, kept = inputs(lengths, (2, 1)), inputs(lengths, (2, 1))
    upstream = torch.randn(1, sum(lengths), 2, WIDTH, generator=torch.Generator().manual_seed(2))
    outs = [packed(again, lengths, sliding_window=window)]
    outs[0].backward(upstream)
    monkeypatch.setattr(causal, "KEPT_BELOW_TOKENS", 10**6)
    outs.append(packed(kept, lengths, sliding_window=window))
    outs[1].backward(upstream)
    assert torch.equal(*outs)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(again, kept, strict=True))  # type: ignore[arg-type]
    expected = row_by_row(inputs(lengths, (2, 1)), lengths, window)
    torch.testing.assert_close(outs[0], expected, rtol=1e-5, atol=2e-6)


def elements_kept(length: int) -> int:
    """Numbers that one row's backward pass waits with, as autograd knows them: checkpointing drops these alone."""
    numbers: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: numbers.append(x.numel()), lambda _: torch.empty(0)):
        out = packed(inputs([length], (2, 1)), [length])
    node = out.grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    assert not hasattr(node, "kept")
    return sum(numbers)


def test_what_is_kept_of_a_long_row_grows_with_its_tokens_only() -> None:
    assert elements_kept(2 * LONG) == 2 * elements_kept(LONG)
    assert elements_kept(8 * LONG) == 8 * elements_kept(LONG)
    assert elements_kept(LONG) == LONG * WIDTH * (2 + 1 + 1)
    assert elements_kept(causal.KEPT_BELOW_TOKENS) > elements_kept(2 * LONG)


def test_keys_behind_a_block_are_never_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of a row take the area of its blocks up to the diagonal, or up to the window."""
    areas: list[int] = []
    scaled = causal._scaled

    def counted(a: Tensor, b: Tensor, scale: float) -> Tensor:
        out = scaled(a, b, scale)
        areas.append(out.shape[1] * out.shape[2])
        return out

    monkeypatch.setattr(causal, "_scaled", counted)
    with torch.no_grad():
        packed(inputs([640], (1, 1)), [640])
        assert sum(areas) == 64 * sum(range(64, 641, 64))
        areas.clear()
        packed(inputs([640], (1, 1)), [640], sliding_window=65)
        assert sum(areas) == 64 * 64 + 9 * 64 * 128


def test_borders_of_blocks_need_no_mask_of_their_own_for_each_length() -> None:
    """Without a window the mask depends on the block alone: nothing is kept a row length."""
    causal._hidden_of_block.cache_clear()
    with torch.inference_mode():
        for length in range(128, 640, 64):
            packed(inputs([length]), [length])
    assert causal._hidden_of_block.cache_info().currsize == 1
    given = inputs([128])
    packed(given, [128]).sum().backward()  # masks made in inference mode serve training too
    assert given[0].grad is not None


def test_groups_with_and_without_padding_both_occur() -> None:
    groups = group_by_length(LENGTHS["several groups"])
    assert {group.index is None for group in groups} == {True, False}
    assert all(before.stop == after.start for before, after in itertools.pairwise(groups))


@pytest.mark.parametrize("lengths", [LENGTHS["padded"], [3, LONG]], ids=["kept", "computed again"])
def test_filling_tokens_give_nothing_and_get_no_gradient(lengths: list[int]) -> None:
    given, filled = inputs(lengths), inputs([*lengths, 7])
    with torch.no_grad():
        for mine, other in zip(filled, given, strict=True):
            mine[:, :, : sum(lengths)] = other
            mine[:, :, sum(lengths) :] = float("nan")
    out = packed(filled, lengths)
    assert torch.equal(out[:, sum(lengths) :], torch.zeros(1, 7, 4, WIDTH))
    assert torch.equal(out[:, : sum(lengths)], packed(given, lengths))
    out.square().sum().backward()
    for x in filled:
        assert x.grad is not None
        assert torch.equal(x.grad[:, :, sum(lengths) :], torch.zeros(1, 4, 7, WIDTH))
        assert bool(torch.isfinite(x.grad).all())


def test_a_token_sees_neither_later_ones_nor_other_rows() -> None:
    lengths = LENGTHS["padded"]
    given = inputs(lengths)
    before = packed(given, lengths).detach().clone()
    with torch.no_grad():
        for x in given:
            x[:, :, -4:] += 100.0  # the last tokens of the last row
    after = packed(given, lengths).detach()
    assert torch.equal(after[:, :-4], before[:, :-4])
    assert not torch.allclose(after[:, -4:], before[:, -4:])


@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["several blocks"], [LONG]], ids=str)
def test_bf16_is_close_to_fp32(lengths: list[int]) -> None:
    halves, whole = inputs(lengths, (4, 2), torch.bfloat16), inputs(lengths, (4, 2))
    out, expected = packed(halves, lengths), row_by_row(whole, lengths)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.0, atol=0.03)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(upstream.bfloat16())
    expected.backward(upstream)
    for mine, other in zip(halves, whole, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert mine.grad.dtype == torch.bfloat16
        assert float((mine.grad.float() - other.grad).norm() / other.grad.norm()) < 0.02


def test_without_groups_all_tokens_are_one_row() -> None:
    given = inputs([70])
    expected = F.scaled_dot_product_attention(*given, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(packed(given, None), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["several groups"]], ids=["one", "several"])
def test_the_fused_kernels_way_is_the_same(lengths: list[int], window: int | None) -> None:
    """What runs on an accelerator, run here."""
    ours, theirs = inputs(lengths, (6, 2)), inputs(lengths, (6, 2))
    form = causal._Form(WIDTH**-0.5, window or 10**6, None)
    q, k, v = (x[0].transpose(0, 1) for x in ours)
    out = torch.cat([causal._fused(q, k, v, form, group) for group in group_by_length(lengths)])[None]
    expected = row_by_row(theirs, lengths, window)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(upstream)
    expected.backward(upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5)


def test_what_it_does_not_know_is_refused() -> None:
    """A sink or a bias that went unheard would be another model."""
    group = [Group(0, 5, 1, 5, None, None)]
    inert = {"position_ids": torch.arange(5), "use_cache": False, "is_causal": True, "s_aux": None}
    causal.causal_attention(nn.Identity(), *inputs([5]), None, packed_groups=group, **inert)
    for name, value in (("s_aux", torch.zeros(4)), ("position_bias", torch.zeros(1)), ("is_causal", False)):
        with pytest.raises(ModelError, match=name):
            causal.causal_attention(nn.Identity(), *inputs([5]), None, packed_groups=group, **{name: value})
