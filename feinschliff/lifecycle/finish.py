"""From the best weights of a run to a folder the ecosystem loads. Knows no loop."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from feinschliff import registry
from feinschliff.data.examples import Splits
from feinschliff.engine.batching import Targets, TokenTargets
from feinschliff.engine.checkpoint import is_full, sync
from feinschliff.errors import RunDirectoryError
from feinschliff.lifecycle import added
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.sources import ResolvedModel
from feinschliff.predictor import FACTS, ModelFacts
from feinschliff.store.run_directory import RunDirectory, disk_full


def weights_hash(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint(prepared: Prepared, model: ResolvedModel) -> str:
    """SHA-256 over everything a run's weights follow from: settings, base weights, tokens and targets of both sets."""
    config = prepared.config
    settings = config.model_dump(mode="json", include={"model", "task", "method", "training", "seed"})
    digest = hashlib.sha256(json.dumps([settings, model.weights_sha256, prepared.precision], sort_keys=True).encode())
    learner, validation = prepared.learner, prepared.validation
    for table, targets in ((learner.table, learner.targets), (validation.table, validation.targets)):
        weights = targets.weights if isinstance(targets, TokenTargets) else None
        for array in (*table.arrays(), _numbers(targets), *([] if weights is None else [weights])):
            digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()


def _numbers(targets: Targets | None) -> Any:
    return targets.numpy() if isinstance(targets, Tensor) else None if targets is None else targets.values


@torch.no_grad()
def over_base(prepared: Prepared, trained: dict[str, Tensor], model: ResolvedModel) -> tuple[Any, dict[str, Tensor]]:
    """The base model from its folder, adapted, and all weights in fp32 by its names, the trained ones in their places.

    The base is read again because the network in memory may hold it in a lower precision.
    """
    config = prepared.config
    base = prepared.task.load_model(config.model, model.folder)
    prepared.method.adapt(base)
    weights = {name: parameter.detach() for name, parameter in base.named_parameters()}
    for name, value in trained.items():
        if prepared.live_ids is not None and weights[name].shape != value.shape:
            weights[name][torch.from_numpy(prepared.live_ids)] = value  # in the base's own table: it can be most of it
        else:
            weights[name] = value
    return base, weights


def whole_weights(prepared: Prepared, trained: dict[str, Tensor], model: ResolvedModel) -> dict[str, Tensor]:
    """All weights in fp32 by the plain network's names, what was trained merged into them."""
    merged: dict[str, Tensor] = prepared.method.merged_weights(*over_base(prepared, trained, model))
    return merged


def calibrated(prepared: Prepared, trained: dict[str, Tensor], say: Callable[[str], None]) -> dict[str, Tensor]:
    """The trained weights with the head divided by the temperature fitted on the validation rows."""
    validation = prepared.validation
    prepared.learner.masters.load(trained)
    if registry.says("task", prepared.config.task.type, "WRITES_TEXTS"):
        return trained  # writing all rows once more would show nothing
    if not validation.examples:
        say("probabilities are not calibrated: there are no validation rows")
        return trained
    temperature = prepared.task.temperature(prepared.validation_outputs(), validation)
    if temperature is None:
        return trained
    rows = len(validation.examples)
    say(f"probabilities calibrated on {rows} validation rows: logits divided by {temperature:.2f}")
    heads = [name for name in trained if name.startswith("head.")]
    return {**trained, **{name: trained[name] / temperature for name in heads}}


def export_best(
    prepared: Prepared,
    best: Path,
    model: ResolvedModel,
    splits: Splits,
    directory: RunDirectory,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Tensor]:
    """Write the run's ``model`` folder, all or nothing, and beside it the adapter in PEFT's format, where there is one.

    Returns:
        the trained weights that are in it, calibrated.

    Raises:
        ResourceError: the disk is full; the checkpoints are intact.
    """
    trained = calibrated(prepared, load_file(best), say)
    base, weights = over_base(prepared, trained, model)
    if not any(registry.says("task", prepared.config.task.type, fact) for fact in ("READS_IMAGES", "READS_NUMBERS")):
        prepared.task.loaded.tokenizer.model_max_length = prepared.max_length_tokens  # `pipeline` cuts as training did
    building, adapter = directory.path / ".model.tmp", directory.path / ".adapter.tmp"
    try:
        for folder in (building, adapter, directory.adapter):
            shutil.rmtree(folder, ignore_errors=True)
        building.mkdir(parents=True)
        if prepared.method.save_adapter(base, weights, adapter, model.name):
            _put_in_place(adapter, directory.adapter)
        prepared.task.save_native(prepared.network, prepared.method.merged_weights(base, weights), building)
        facts = ModelFacts(
            task=prepared.config.task.model_dump(mode="json"),
            context=prepared.task.context,
            columns=splits.columns.model_copy(update={"announcements": []}),
            max_length_tokens=prepared.max_length_tokens,
            metric=prepared.metric,
            base_model=model.name,
            pooling=prepared.network.pooling,
            method=added.save(prepared, trained, building),
        )
        (building / FACTS).write_text(json.dumps(facts.to_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        _put_in_place(building, directory.model)
        return trained
    except (OSError, SafetensorError) as error:
        for folder in (building, adapter):
            shutil.rmtree(folder, ignore_errors=True)
        if is_full(error):
            raise disk_full(directory.path) from error
        raise RunDirectoryError(f"{directory.model} cannot be written", why=str(error)) from error


def _put_in_place(building: Path, folder: Path) -> None:
    """Flush what was built to the disk and give it its name."""
    for file in (*building.iterdir(), building):
        sync(file)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(building, folder)
