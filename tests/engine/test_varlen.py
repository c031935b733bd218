"""What is told to the kernel for rows laid end to end, and when. The kernel is CUDA's: a formula stands in its place
that takes its arguments as PyTorch documents them; ``tests/gpu`` meets the kernel itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from feinschliff.engine import attention, causal_attention, varlen
from feinschliff.engine.batching import Group, GroupsElsewhere, group_by_length
from tests.engine.test_causal_attention import LENGTHS, inputs, row_by_row


def elsewhere(lengths: list[int]) -> GroupsElsewhere:
    borders = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return GroupsElsewhere(group_by_length(lengths), borders, max(lengths))


def formula(q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor, *_: int, scale: float,
            window_size: tuple[int, int], enable_gqa: bool) -> Tensor:  # fmt: skip
    """``varlen_attn``: ``window_size`` are tokens to the left and to the right that are seen too, -1 for all."""
    assert enable_gqa == (q.shape[1] != k.shape[1])
    assert starts_q.dtype == starts_k.dtype == torch.int32
    outs, borders = [], starts_q.tolist()
    for begin, end in pairwise(borders):
        copies = q.shape[1] // k.shape[1]
        own_q, own_k, own_v = (x[begin:end].transpose(0, 1) for x in (q, k, v))
        own_k, own_v = (x.repeat_interleave(copies, 0) for x in (own_k, own_v))
        places = torch.arange(end - begin)
        back = places[:, None] - places[None]
        left, right = (10**9 if side < 0 else side for side in window_size)
        scores = (own_q @ own_k.transpose(1, 2) * scale).masked_fill((back > left) | (-back > right), -torch.inf)
        outs.append((torch.softmax(scores, -1) @ own_v).transpose(0, 1))
    return torch.cat(outs)


@pytest.fixture
def stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", formula)


@pytest.mark.usefixtures("stood_in")
@pytest.mark.parametrize("window", [None, 1, 7, 64, 1000])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2)], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS["padded"], LENGTHS["several groups"]], ids=["short", "long"])
def test_causal_rows(lengths: list[int], heads: tuple[int, int], window: int | None) -> None:
    given = inputs([*lengths, 3], heads)  # the last three tokens are filling
    q, k, v = (x[0].transpose(0, 1) for x in given)
    groups = elsewhere(lengths)
    out = varlen.attend(q, k, v, groups, q.shape[2] ** -0.5, varlen.causal_window(window or 10**6, groups.longest))
    expected = row_by_row([x[:, :, :-3] for x in given], lengths, window)[0]
    torch.testing.assert_close(out[:-3], expected, rtol=1e-5, atol=2e-6)
    assert not out[-3:].any()


@pytest.mark.usefixtures("stood_in")
def test_rows_whose_tokens_see_each_other() -> None:
    lengths = LENGTHS["several groups"]
    given = inputs(lengths)
    q, k, v = (x[0].transpose(0, 1) for x in given)
    out = varlen.attend(q, k, v, elsewhere(lengths), q.shape[2] ** -0.5, varlen.ALL)
    expected, _ = attention.packed_attention(nn.Identity(), *given, None, packed_groups=group_by_length(lengths))
    torch.testing.assert_close(out, expected[0], rtol=1e-5, atol=2e-6)


class OnCuda:
    """What ``takes`` asks of a tensor, where there is none on a GPU."""

    def __init__(self, *shape: int, dtype: torch.dtype = torch.bfloat16, device: str = "cuda") -> None:
        self.shape, self.dtype, self.device = shape, dtype, torch.device(device)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"dtype": torch.float16}, True),
        ({"dtype": torch.float32}, False),
        ({"device": "cpu"}, False),
        ({"width": 256}, True),
        ({"width": 264}, False),
        ({"width": 20}, False),
        ({"value_width": 32}, False),
        ({"capability": (7, 5)}, False),
        ({"groups": [Group(0, 5, 1, 5, None, None)]}, False),
    ],
    ids=str,
)
def test_the_kernel_is_asked_for_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], taken: bool
) -> None:
    given = dict(change)
    capability = given.pop("capability", (9, 0))
    monkeypatch.setattr(varlen, "_capability", lambda _: capability)
    width, groups = given.pop("width", 64), given.pop("groups", elsewhere([5]))
    value_width = given.pop("value_width", width)
    q, k, v = (OnCuda(5, heads, wide, **given) for heads, wide in ((6, width), (2, width), (2, value_width)))
    assert varlen.takes(groups, q, k, v) is taken  # type: ignore[arg-type]


@pytest.mark.parametrize("cap", [0.3, 50.0])
@pytest.mark.parametrize("window", [None, 9])
def test_capped_scores_in_padded_groups(cap: float, window: int | None) -> None:
    """The way of every device but the CPU for what the kernel does not know, run here, with gradients."""
    lengths = LENGTHS["several blocks"]
    ours, theirs = inputs(lengths, (4, 2)), inputs(lengths, (4, 2))
    form = causal_attention._Form(ours[0].shape[3] ** -0.5, window or 10**6, cap)
    q, k, v = (x[0].transpose(0, 1) for x in ours)
    out = causal_attention.padded(q, k, v, form, group_by_length(lengths))[None]
    expected = row_by_row(theirs, lengths, window, cap)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(upstream)
    expected.backward(upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-5)


def test_padded_groups_leave_filling_zero() -> None:
    q, k, v = (x[0].transpose(0, 1) for x in inputs([2, 5, 9, 3], (4, 2)))
    form = causal_attention._Form(1.0, 10**6, None)
    out = causal_attention.padded(q, k, v, form, group_by_length([2, 5, 9]))
    assert out.shape == q.shape
    assert not out[16:].any()
    assert out[:16].any(2).all()
