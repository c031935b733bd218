"""Start and end of an answer as a softmax over the tokens of each window. Knows no text and no tokenizer.

Windows of a batch lie end to end; each begins at the token whose value has ``FIRST`` (see ``_answer_windows``).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from feinschliff.engine.batching import NO_TARGET
from feinschliff.tasks._answer_windows import END, FIRST, INSIDE, START

FIT_STEPS = 30
FIT_PENALTY = 3e-3
"""On the squared weights of states of length 1, per window."""


def real_tokens(logits_T2: Tensor, values_T: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and values of tokens that are neither filling nor virtual."""
    real = values_T != NO_TARGET
    return logits_T2[real], values_T[real]


def windows_of(values_T: Tensor) -> Tensor:
    """[T] number of the window of each token."""
    return torch.cumsum((values_T & FIRST) > 0, 0) - 1


def pointer_losses(logits_T2: Tensor, values_T: Tensor, smoothing: float = 0.0) -> Tensor:
    """[W] mean of the cross-entropies of start and end over all tokens of a window, in nats.

    ``smoothing`` is the part of the target that is spread over all tokens alike.
    """
    rows = windows_of(values_T)
    count = int(rows[-1]) + 1
    spread = rows[:, None].expand_as(logits_T2)
    peak = logits_T2.detach().new_full((count, 2), -torch.inf)
    peak = peak.scatter_reduce(0, spread, logits_T2.detach(), "amax")
    sums = torch.zeros_like(peak).index_add(0, rows, torch.exp(logits_T2 - peak[rows]))
    wanted = torch.stack([(values_T & START) > 0, (values_T & END) > 0], 1).to(logits_T2.dtype)
    if smoothing:
        lengths = torch.bincount(rows, minlength=count)
        wanted = (1.0 - smoothing) * wanted + smoothing / lengths[rows][:, None]
    hit = torch.zeros_like(peak).index_add(0, rows, logits_T2 * wanted)
    return (peak + torch.log(sums) - hit).mean(1)


def best_spans(logits_T2: Tensor, values_T: Tensor, most_tokens: int, num_best: int) -> Tensor:
    """[W, 1 + 3 * num_best]: the score of no answer, then score, first and last token (in the window) of the best.

    Scores are sums of two logits; no answer's is that of the first token. Spans that a window has not are -inf.
    """
    borders = [*torch.nonzero(values_T & FIRST).squeeze(1).tolist(), len(values_T)]
    out = torch.full((len(borders) - 1, 1 + 3 * num_best), -torch.inf)
    out[:, 2::3] = out[:, 3::3] = 0.0
    for row, (begin, end) in enumerate(pairwise(borders)):
        logits = logits_T2[begin:end]
        out[row, 0] = logits[0].sum()
        inside = torch.nonzero(values_T[begin:end] & INSIDE).squeeze(1)
        if not len(inside):
            continue
        width = min(most_tokens, len(inside))
        ends = torch.nn.functional.pad(logits[inside, 1], (0, width - 1), value=-torch.inf).unfold(0, width, 1)
        scores, places = (logits[inside, 0][:, None] + ends).flatten().topk(min(num_best, len(inside)))
        first = places // width
        last = (first + places % width).clamp_max(len(inside) - 1)
        found = len(scores)
        out[row, 1 : 1 + 3 * found] = torch.stack([scores, inside[first], inside[last]], 1).flatten()
    return out


@torch.enable_grad()
def fit_pointers(states_Td: Tensor, values_T: Tensor) -> Tensor:
    """[2, d] weights of the best linear start and end for states as they are (L-BFGS on penalised mean loss)."""
    length = float(states_Td.norm(dim=1).mean())
    unit = (states_Td / length).detach()
    weight = torch.zeros(2, states_Td.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=FIT_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = pointer_losses(unit @ weight.T, values_T).mean() + FIT_PENALTY * weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach() / length
