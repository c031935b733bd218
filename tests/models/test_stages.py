"""Networks of many kinds are cut where their computing allows it, and give the same from every cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from feinschliff.models.stages import StagedModule


def images(rows: int, seed: int, side: int = 32) -> Tensor:
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(seed))


SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 3}
PATCHES = {"image_size": 32, "patch_size": 8}


def of_transformers(name: str, **shape: Any) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        config = getattr(transformers, f"{name}Config")(**shape)
        model: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
        classifier = model.classifier
        if isinstance(classifier, nn.Linear):
            model.classifier = nn.Identity()
        else:
            classifier[-1] = nn.Identity()  # type: ignore[index,operator]
        return model

    return made


class Block(nn.Module):
    """A residual block that adds in place, as many do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.convolution(x))
        out += x
        return torch.relu(out)


class SharedParts(nn.Module):
    """One activation for all, functional calls between modules, maps as output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.activation = nn.ReLU6()
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.top = nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x)) * 2.0
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.activation(self.top(x))
        return out


class LongSkip(nn.Module):
    """The input of the first block is needed again at the end: no cut between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.top = nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.top(x + first)
        return out


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (of_transformers("ViT", **SMALL, **PATCHES), 3),
    "deit": (of_transformers("DeiT", **SMALL, **PATCHES), 3),
    "beit": (of_transformers("Beit", **SMALL, **PATCHES), 3),
    "dinov2": (of_transformers("Dinov2", hidden_size=32, num_hidden_layers=3, num_attention_heads=4, **PATCHES), 3),
    "convnext": (of_transformers("ConvNext", hidden_sizes=[8, 16], depths=[2, 2], num_stages=2), 5),
    "resnet": (of_transformers("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2], layer_type="basic"), 4),
    "swin": (
        of_transformers(
            "Swin", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4
        ),
        5,
    ),
    "shared parts": (SharedParts, 3),
    "long skip": (LongSkip, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_from_every_cut_the_same_comes_out(name: str) -> None:
    torch.manual_seed(0)
    make, num_layers = NETWORKS[name]
    body = StagedModule(make(), images)
    assert body.num_layers == num_layers
    given = images(5, 7)
    with torch.no_grad():
        whole = body(given)
        assert whole.shape == (5, body.hidden_width)
        for stage in range(body.num_layers):
            states = body(given, stop=stage)
            assert len(states) == 5
            torch.testing.assert_close(body(torch.zeros(()).expand(given.shape), states, stage), whole)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_depth_and_layers_above_a_cut_alone_get_gradients(name: str) -> None:
    torch.manual_seed(0)
    body = StagedModule(NETWORKS[name][0](), images)
    depths = {name: body.depth_of(name) for name, _ in body.named_parameters()}
    assert set(depths.values()) == set(range(body.num_layers + 1))
    with torch.no_grad():
        states = body(images(3, 1), stop=body.num_layers - 1)
    body(images(3, 1), states, body.num_layers - 1).sum().backward()
    touched = {name for name, parameter in body.named_parameters() if parameter.grad is not None}
    assert touched
    assert {depths[name] for name in touched} == {body.num_layers}


def test_forward_is_left_as_it_was_and_statistics_do_not_move() -> None:
    body = StagedModule(SharedParts(), images)
    before = {name: value.clone() for name, value in body.named_buffers()}
    body.train()
    body(images(4, 0), stop=1)
    assert all("forward" not in vars(module) for module in body.modules())
    assert all(torch.equal(value, before[name]) for name, value in body.named_buffers())


def test_lower_precision_takes_the_norms_along_and_keeps_their_numbers_for_writing() -> None:
    body = StagedModule(SharedParts(), images)
    for parameter in body.parameters():
        parameter.data = parameter.data.bfloat16()
    assert body(images(4, 0).bfloat16()).dtype == torch.bfloat16
    assert all(value.dtype != torch.bfloat16 for value in body.buffers_fp32.values())
