"""From the best weights of a run to a folder the ecosystem loads. Knows no loop."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from feinschliff.data.examples import Splits
from feinschliff.engine.calibration import fit_temperature
from feinschliff.engine.checkpoint import is_full, sync
from feinschliff.errors import RunDirectoryError
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.live_embedding import LiveEmbedding
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
        for array in (table.ids, table.offsets, table.segments, None if targets is None else targets.numpy()):
            digest.update(b"-" if array is None else array.tobytes())
    return digest.hexdigest()


def count_parameters(network: Any) -> int:
    """All parameters of a network; embedding rows that are trained stand in the whole table too and count once."""
    total = sum(parameter.numel() for parameter in network.parameters())
    for module in network.modules():
        if isinstance(module, LiveEmbedding):
            total -= module.weight.numel()
    return int(total)


@torch.no_grad()
def whole_weights(prepared: Prepared, trained: dict[str, Tensor], model: ResolvedModel) -> dict[str, Tensor]:
    """All weights in fp32 by the plain network's names: the base's from its folder, the trained ones over them, merged.

    The base is read again because the network in memory may hold it in a lower precision.
    """
    config = prepared.config
    base = prepared.task.load_model(config.model, model.folder)
    prepared.method.adapt(base)
    weights = {name: parameter.detach() for name, parameter in base.named_parameters()}
    for name, value in trained.items():
        if prepared.live_ids is not None and weights[name].shape != value.shape:
            table = weights[name].clone()
            table[torch.from_numpy(prepared.live_ids)] = value
            weights[name] = table
        else:
            weights[name] = value
    merged: dict[str, Tensor] = prepared.method.merged_weights(base, weights)
    return merged


def calibrated(prepared: Prepared, trained: dict[str, Tensor], say: Callable[[str], None]) -> dict[str, Tensor]:
    """The trained weights with the head divided by the temperature fitted on the validation rows."""
    targets = prepared.validation.targets
    if targets is None or targets.ndim != 1:
        return trained
    prepared.learner.masters.load(trained)
    temperature = fit_temperature(prepared.validation_scores(), targets.numpy())
    if temperature is None:
        return trained
    say(f"probabilities calibrated on {len(targets)} validation rows: logits divided by {temperature:.2f}")
    heads = [name for name in trained if name.startswith("head.")]
    return {**trained, **{name: trained[name] / temperature for name in heads}}


def export_best(
    prepared: Prepared,
    best: dict[str, Tensor],
    model: ResolvedModel,
    splits: Splits,
    directory: RunDirectory,
) -> None:
    """Write the run's ``model`` folder from its kept weights, all or nothing.

    Raises:
        ResourceError: the disk is full; the checkpoints are intact.
    """
    weights = whole_weights(prepared, best, model)
    prepared.task.loaded.tokenizer.model_max_length = prepared.max_length_tokens  # `pipeline` cuts where training did
    building = directory.path / ".model.tmp"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        prepared.task.save_native(prepared.network, weights, building)
        facts = ModelFacts(
            label_names=tuple(splits.label_names),
            multi_label=splits.columns.kind == "multi_label",
            num_texts=max(1, len(splits.columns.text)),
            threshold=prepared.config.task.model_dump().get("threshold", 0.5),
            max_length_tokens=prepared.max_length_tokens,
            metric=prepared.metric,
            base_model=model.name,
            pooling=prepared.network.pooling,
            text_columns=tuple(splits.columns.text),
            target_column=splits.columns.target,
            label_separator=splits.columns.label_separator,
        )
        (building / FACTS).write_text(json.dumps(facts.to_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        for file in (*building.iterdir(), building):
            sync(file)
        if directory.model.exists():
            shutil.rmtree(directory.model)
        os.replace(building, directory.model)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(building, ignore_errors=True)
        if is_full(error):
            raise disk_full(directory.path) from error
        raise RunDirectoryError(f"{directory.model} cannot be written", why=str(error)) from error
