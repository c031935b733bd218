"""Any task goes with any method: every pair that the registry finds keeps the same promises."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feinschliff import registry
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits
from feinschliff.engine import loop
from feinschliff.engine.events import StepEnded
from feinschliff.errors import Fault
from feinschliff.lifecycle.finish import whole_weights
from feinschliff.lifecycle.prepare import Prepared, prepare
from feinschliff.tasks._task import encoded
from tests.numerics.tiny_runs import made_config, made_fit, made_splits, resolved


def refused(task: str, method: str) -> list[Fault]:
    """By rules, before anything is loaded."""
    examples = {"task": registry.load("task", task).EXAMPLE, "method": registry.load("method", method).EXAMPLE}
    return rules.check(RunConfig.model_validate(examples))


ALL = [(task, method) for task in registry.names("task") for method in registry.names("method")]
PAIRS = [pair for pair in ALL if not refused(*pair)]
ROWS = {
    "text_classification": ("single", "multi", "pair"),
    "regression": ("values",),
    "token_classification": ("spans",),
    "question_answering": ("answers",),
    "embeddings": ("ranked", "similar"),
    "image_classification": ("images",),
    "sequence_to_sequence": ("texts",),
    "tabular_classification": ("numbers",),
    "sft": ("conversations", "documents"),
}
"""Kinds of rows a task is tried with; a new task needs a line here."""
MODELS = {
    "image_classification": "tiny_vit",
    "sequence_to_sequence": "tiny_bart",
    "tabular_classification": "tiny_keras",
    "sft": "tiny_decoder",
}
SWITCHED_OFF = {"lora", "ia3", "bottleneck_adapter", "prefix_tuning", "prompt_tuning"}
"""Methods whose ``reference`` is the base model."""
WRITING = ("sequence_to_sequence", "sft")
"""Tasks of models with a decoder."""
CASES = [(task, method, kind) for task, method in PAIRS for kind in ROWS[task]]


@pytest.fixture
def model(request: pytest.FixtureRequest, task: str) -> Path:
    """A tiny model of what the task reads."""
    folder: Path = request.getfixturevalue(MODELS.get(task, "tiny_bert"))
    return folder


def made(folder: Path, path: Path, task: str, method: str, splits: Splits, **model: Any) -> Prepared:
    """Three steps, each of them an epoch: a method may move other parts in each."""
    asked = made_config(
        folder,
        path,
        method=registry.load("method", method).EXAMPLE,
        model=model,
        global_batch_rows=24,
        epochs=3.0,
        weight_decay=0.1,
    ).model_dump()
    config = RunConfig.model_validate({**asked, "task": registry.load("task", task).EXAMPLE})
    return prepare(config, splits, resolved(folder), path)


def test_members_are_found_and_say_an_example() -> None:
    assert set(registry.names("method")) >= {"full", "frozen_layers", "lora"} | SWITCHED_OFF
    assert set(registry.names("task")) == set(ROWS)
    for kind in ("task", "method"):
        for name in registry.names(kind):  # type: ignore[arg-type]
            module = registry.load(kind, name)  # type: ignore[arg-type]
            assert module.CONFIG.model_validate(module.EXAMPLE).type == name
            assert module.__doc__


def test_pairs_that_make_no_sense_are_refused_with_a_reason() -> None:
    pairs = set(ALL) - set(PAIRS)
    methods = registry.names("method")
    assert pairs == {
        *(("image_classification", name) for name in methods if _says(name, "NEEDS_TOKENS")),
        *(("tabular_classification", name) for name in methods if _says(name, "NEEDS_TOKENS", "NEEDS_LINEAR_LAYERS")),
        *((task, method) for task in WRITING for method in ("prefix_tuning", "prompt_tuning")),
    }
    assert all(fault.why and fault.remedy for pair in pairs for fault in refused(*pair))


def _says(method: str, *facts: str) -> bool:
    return any(registry.says("method", method, fact) for fact in facts)


@pytest.mark.parametrize(("task", "method", "kind"), CASES)
def test_three_steps_move_what_the_method_says_and_nothing_else(
    model: Path, tmp_path: Path, task: str, method: str, kind: str
) -> None:
    prepared = made(model, tmp_path, task, method, made_splits(24, 12, kind))
    network = prepared.network
    groups = prepared.method.parameter_groups(network, prepared.config.training)
    said = [name for group in groups for name in group.names]
    assert len(said) == len(set(said))
    assert set(said) == {name for name, p in network.named_parameters() if p.requires_grad}
    before = {name: value.clone() for name, value in (*network.named_parameters(), *network.named_buffers())}
    steps = [event for event in loop.fit(made_fit(prepared, tmp_path)) if isinstance(event, StepEnded)]
    assert len(steps) == 3
    assert all(math.isfinite(event.loss) for event in steps)
    after = dict((*network.named_parameters(), *network.named_buffers()))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == set(said)
    assert all(bool(torch.isfinite(value).all()) for value in after.values() if value.is_floating_point())


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_merged_weights_have_the_names_of_the_base_and_with_what_was_added_the_same_scores(
    model: Path, tmp_path: Path, task: str, method: str
) -> None:
    prepared = made(model, tmp_path, task, method, made_splits(24, 12, ROWS[task][0]))
    list(loop.fit(made_fit(prepared, tmp_path)))
    batch = prepared.validation.table.collate(np.arange(12))
    with torch.no_grad():
        trained = prepared.network.eval()(batch)
    merged = whole_weights(prepared, prepared.learner.masters.named(), resolved(model))
    plain = prepared.task.load_model(prepared.config.model, model)
    assert merged.keys() == {name for name, _ in plain.named_parameters()}
    assert all(merged[name].shape == value.shape for name, value in plain.named_parameters())
    plain.load_state_dict(merged, strict=False)
    folder = tmp_path / "added"
    folder.mkdir()
    prepared.method.save_added(prepared.network, prepared.learner.masters.named(), folder)
    assert any(folder.iterdir()) is not prepared.method.mergeable
    assert bool(prepared.method.loading) is not prepared.method.mergeable
    registry.load("method", method).create(prepared.config.method).attach(plain, folder)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(batch), trained, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_reference_gives_the_base_where_it_differs_and_comes_back(
    model: Path, tmp_path: Path, task: str, method: str
) -> None:
    prepared = made(model, tmp_path, task, method, made_splits(24, 12, ROWS[task][0]))
    batch = prepared.validation.table.collate(np.arange(12))
    network, plain = prepared.network.eval(), prepared.task.load_model(prepared.config.model, model).eval()
    without = encoded(prepared.task, prepared.validation.examples, 100).table.collate(np.arange(12))
    with torch.no_grad():
        base = plain.features(without)
    list(loop.fit(made_fit(prepared, tmp_path)))
    network.eval()
    with torch.no_grad():
        trained = network.features(batch)
        with prepared.method.reference(network) as reference:
            inside = reference.features(batch)
        after = network.features(batch)
    assert torch.equal(after, trained)
    assert not torch.equal(trained, base)
    assert torch.equal(inside, base if method in SWITCHED_OFF else trained)


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_what_does_not_move_needs_no_gradient_memory(model: Path, tmp_path: Path, task: str, method: str) -> None:
    prepared = made(model, tmp_path, task, method, made_splits(24, 12, ROWS[task][0]))
    list(loop.fit(made_fit(prepared, tmp_path)))
    held = {name.split(".", 1)[1] for name in prepared.learner.optimizer.state()}
    assert held == set(prepared.learner.masters.names)
    assert all(parameter.grad is None for parameter in prepared.network.parameters())
