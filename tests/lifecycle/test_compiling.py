"""Pieces of layers by torch's compiler: what ours and autograd give, for any number of tokens; when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from feinschliff.engine import loop
from feinschliff.engine.ranks import Ranks
from feinschliff.lifecycle import compiling
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models import compiled, fused
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run, made_splits, weights_of

SFT: dict[str, Any] = {"task": {"type": "sft"}, "method": {"type": "lora", "rank": 4}, "learning_rate": 1e-3}
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
pytestmark = pytest.mark.skipif(
    compiled.why_not(torch.device("cpu")) is not None, reason="torch's compiler needs a C++ compiler"
)


def run_of(folder: Path, path: Path, **options: Any) -> Prepared:
    return made_run(folder, path, made_splits(24, 8, "conversations"), **{**SFT, **options})


def with_gradients(function: Any, *given: Tensor) -> list[Tensor]:
    inputs = [one.clone().requires_grad_() for one in given]
    out = function(*inputs)
    return [out, *torch.autograd.grad(out.float().square().sum(), inputs)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_pieces_give_what_ours_give(dtype: torch.dtype) -> None:
    """One after the other with other numbers of tokens, as batches come."""
    generator = torch.Generator().manual_seed(0)
    for tokens in (1, 7, 64, 129):
        x, up = (torch.randn(tokens, 48, generator=generator).to(dtype) for _ in range(2))
        weight = torch.rand(48, generator=generator).to(dtype) + 0.5
        pairs = [
            (with_gradients(lambda x, w: compiled.rms_norm(x, w, 1e-5), x, weight),
             with_gradients(lambda x, w: fused.rms_norm(x, w, 1e-5), x, weight)),
            (with_gradients(compiled.gated, x, up), with_gradients(lambda a, b: F.silu(a) * b, x, up)),
        ]  # fmt: skip
        for ours, theirs in pairs:
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.dtype == other.dtype
                gap = float((mine - other).float().norm() / other.float().norm())
                assert gap < TOLERANCES[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_the_same(tiny_decoder: Path, tmp_path: Path, method: str) -> None:
    options: dict[str, Any] = {"method": {"type": method}}
    plain, other = (run_of(tiny_decoder, tmp_path / name, **options) for name in ("plain", "compiled"))
    other.network.body.use_compiled(True)
    fits = [made_fit(run, tmp_path / f"{number}") for number, run in enumerate((plain, other))]
    for fit in fits:
        assert list(loop.fit(fit))
    losses = [[point.validation_loss for point in fit.state.curve] for fit in fits]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert 0.0 < largest_difference(weights_of(fits[0]), weights_of(fits[1])) < 2e-2, "rounding alone, and some"


@pytest.mark.slow
def test_asked_for_it_is_measured_and_said(tiny_decoder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = run_of(tiny_decoder, tmp_path, compile="on")
    before = weights_of(made_fit(run, tmp_path))
    share = compiling.decide(run, 1.0, said.append)
    assert share is not None
    assert said[0].startswith("element-wise pieces of layers are compiled (")
    assert run.network.body.layers[0].compiled_pieces
    assert largest_difference(before, weights_of(made_fit(run, tmp_path))) == 0.0
    other = run_of(tiny_decoder, tmp_path / "auto")
    found = compiling.decide(other, 1e9, said.append)
    assert (found is not None) == other.network.body.layers[0].compiled_pieces
    assert "of the time" in said[1]


def test_short_runs_and_those_that_do_not_want_it_are_left_alone(tiny_decoder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert compiling.decide(run_of(tiny_decoder, tmp_path / "short"), 599.0, said.append) is None
    assert compiling.decide(run_of(tiny_decoder, tmp_path / "off", compile="off"), 1e9, said.append) is None
    assert said == []


def test_why_it_cannot_be_is_said_where_it_was_asked_for(
    tiny_decoder: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run = run_of(tiny_decoder, tmp_path / "decoder", compile="on")
    encoder = made_run(tiny_bert, tmp_path / "encoder", compile="on")
    assert compiling.decide(encoder, 1e9, said.append) is None
    run.learner.ranks = Ranks(0, 2)
    assert compiling.decide(run, 1e9, said.append) is None
    run.learner.ranks = Ranks()
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert compiling.decide(run, 1e9, said.append) is None
    compiling.as_begun(run, said.append)
    assert said[:3] == [
        "layers are not compiled: task text_classification has none that are known here",
        "layers are not compiled: several processes train",
        "layers are not compiled: there is no C++ compiler (g++ or clang++)",
    ]
    assert "goes on without, which rounds differently: there is no C++ compiler" in said[3]


def test_a_compiler_that_fails_costs_nothing(
    tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("cc1plus: fatal error\nPython.h: no such file")

    said: list[str] = []
    monkeypatch.setattr(compiled, "_compiled", lambda _: broken)
    run = run_of(tiny_decoder, tmp_path, compile="on")
    assert compiling.decide(run, 1.0, said.append) is None
    assert said == ["layers are not compiled: cc1plus: fatal error"]
    assert not run.network.body.layers[0].compiled_pieces
    assert list(loop.fit(made_fit(run, tmp_path)))


def test_a_resumed_run_does_as_it_was_begun(tiny_decoder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = run_of(tiny_decoder, tmp_path)
    compiling.as_begun(run, said.append)
    assert run.network.body.layers[0].compiled_pieces
    assert said == ["element-wise pieces of layers are compiled, as they were when the run began"]


def test_layers_of_other_kinds_are_not_compiled(tmp_path: Path) -> None:
    from tests.models.tiny_decoders import body_of

    kinds = {family: body_of(family).can_be_compiled for family in ("llama", "qwen3", "gemma2", "gemma3")}
    assert kinds == {"llama": True, "qwen3": True, "gemma2": False, "gemma3": False}
