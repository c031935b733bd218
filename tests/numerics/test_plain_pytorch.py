"""Three steps of the engine in fp32 give the weights of plain PyTorch: padded BertModel, own head, torch's AdamW."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, BertModel

from feinschliff.data.examples import Example, Splits
from feinschliff.engine import loop
from feinschliff.engine.batching import epoch_order
from feinschliff.engine.schedules import factor
from feinschliff.engine.step import backward
from feinschliff.lifecycle.prepare import Prepared
from tests.numerics.tiny_runs import KINDS, made_fit, made_run, made_splits

STEPS = 3
SETTINGS = {
    "max_steps": STEPS,
    "adam_epsilon": 1e-4,  # the exact gradient of key biases is zero: a small floor would let AdamW amplify rounding
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "label_smoothing": 0.1,
    "warmup_ratio": 0.34,
}


class Plain(nn.Module):
    """BERT on padded rows, our pooling formula, our head."""

    def __init__(self, folder: Path, head: nn.Linear, pooling: str) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False)
        for module in self.bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.linear = nn.Linear(head.in_features, head.out_features)
        self.linear.load_state_dict(head.state_dict())
        self.pooling = pooling

    def forward(self, encoded: dict[str, Tensor]) -> Tensor:
        states, mask = self.bert(**encoded).last_hidden_state, encoded["attention_mask"][..., None].float()
        features = states[:, 0]
        if self.pooling == "mean":
            mean = (states * mask).sum(1) / mask.sum(1)
            for _ in range(2):
                source = 8.0 * mean + features if _ == 0 else features
                features = (source - source.mean(-1, keepdim=True)) / torch.sqrt(
                    source.var(-1, keepdim=True, unbiased=False) + 1e-12
                )
        logits: Tensor = self.linear(256.0 * torch.tanh(features / 256.0))
        return logits


def encode(folder: Path, rows: list[Example]) -> dict[str, Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(*map(list, zip(*(row.texts for row in rows), strict=True)), padding=True, return_tensors="pt")
    return dict(encoded)


def mean_loss(logits: Tensor, rows: list[Example]) -> Tensor:
    names = sorted(KINDS)
    if len(rows[0].labels) == 1 and all(len(row.labels) == 1 for row in rows):
        goal = torch.tensor([names.index(row.labels[0]) for row in rows])
        smooth = 0.9 * F.one_hot(goal, len(names)) + 0.1 / len(names)
        return -(smooth * torch.log_softmax(logits, -1)).sum(-1).mean()
    goal_BC = torch.tensor([[float(name in row.labels) for name in names] for row in rows])
    return F.binary_cross_entropy(torch.sigmoid(logits), goal_BC)


def run_plain(folder: Path, head: nn.Linear, pooling: str, splits: Splits) -> tuple[Plain, dict[str, Tensor], float]:
    """The network after the steps; gradients and loss of the first step before clipping."""
    plain = Plain(folder, head, pooling)
    decayed = [p for n, p in plain.named_parameters() if p.ndim == 2 and "embeddings" not in n and "linear" not in n]
    rest = [p for n, p in plain.named_parameters() if (p.ndim < 2 or "embeddings" in n) and "linear" not in n]
    groups = [
        {"params": decayed, "weight_decay": 0.1, "peak": 1e-3},
        {"params": rest, "weight_decay": 0.0, "peak": 1e-3},
        {"params": [plain.linear.weight], "weight_decay": 0.1, "peak": 5e-3},
        {"params": [plain.linear.bias], "weight_decay": 0.0, "peak": 5e-3},
    ]
    adam = torch.optim.AdamW(groups, lr=1.0, eps=SETTINGS["adam_epsilon"])
    order, first, first_loss = epoch_order(len(splits.train), 0, 0), {}, 0.0
    for step in range(STEPS):
        rows = [splits.train[row] for row in order[step * 8 : step * 8 + 8]]
        loss = mean_loss(plain(encode(folder, rows)), rows)
        adam.zero_grad()
        loss.backward()
        if step == 0:
            first = {n: p.grad.clone() for n, p in plain.named_parameters() if p.grad is not None}
            first_loss = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(plain.parameters(), SETTINGS["max_grad_norm"])
        for group in adam.param_groups:
            group["lr"] = group["peak"] * factor(step, STEPS, SETTINGS["warmup_ratio"], "linear")
        adam.step()
    return plain, first, first_loss


def whole(prepared: Prepared, ours: dict[str, Tensor], base: Tensor) -> dict[str, Tensor]:
    """Our weights by the plain network's names, with the whole token table."""
    named = {n.replace("body.model.", "bert.").replace("head.linear", "linear"): v for n, v in ours.items()}
    table = "bert.embeddings.word_embeddings.weight"
    named[table] = base.index_copy(0, torch.from_numpy(prepared.live_ids), named[table])
    return named


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["single", "multi", "pair"])
def test_three_steps_equal_plain_pytorch(tiny_bert: Path, tmp_path: Path, kind: str, pooling: str) -> None:
    splits = made_splits(kind=kind)
    prepared = made_run(tiny_bert, tmp_path, splits, model={"pooling": pooling}, **SETTINGS)
    plain, first, first_loss = run_plain(tiny_bert, prepared.network.head.linear, pooling, splits)
    table = torch.zeros_like(plain.bert.embeddings.word_embeddings.weight)
    untouched = BertModel.from_pretrained(tiny_bert).embeddings.word_embeddings.weight.detach()

    prepared.network.train()
    loss = backward(prepared.learner, epoch_order(len(splits.train), 0, 0)[:8])
    masters = prepared.learner.masters
    grads = {n: m.grad / loss.num_targets for n, m in zip(masters.names, masters.masters, strict=True)}
    masters.discard_gradients()
    assert loss.loss_sum / loss.num_targets == pytest.approx(first_loss, rel=1e-6)
    ours = whole(prepared, grads, table)
    assert ours.keys() == first.keys()
    for name, expected in first.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=2e-7, msg=lambda m, n=name: f"{n}: {m}")

    fit = made_fit(prepared, tmp_path)
    list(loop.fit(fit))
    assert fit.state.step == STEPS
    after = whole(prepared, masters.named(), untouched)
    for name, parameter in plain.named_parameters():
        worst = float((after[name] - parameter.detach()).abs().max())
        assert worst < 2e-6, f"{name} differs by {worst:.1e}"


def test_tokens_that_no_training_row_has_keep_their_bits(tiny_bert: Path, tmp_path: Path) -> None:
    """In the reference the whole table is trained by AdamW without decay: absent rows do not move either."""
    splits = made_splits()
    prepared = made_run(tiny_bert, tmp_path, splits, **SETTINGS)
    plain, _, _ = run_plain(tiny_bert, prepared.network.head.linear, "cls", splits)
    base = BertModel.from_pretrained(tiny_bert).embeddings.word_embeddings.weight.detach()
    absent = np.setdiff1d(np.arange(len(base)), prepared.live_ids)
    assert 0 < len(absent) < len(base)
    trained = plain.bert.embeddings.word_embeddings.weight.detach()
    assert torch.equal(trained[absent], base[absent])
    assert not torch.equal(trained[prepared.live_ids], base[prepared.live_ids])
