"""CIFAR-10 images with EfficientNet-Lite0: the last blocks with the prefix cache and without it, and the linear probe.

    scripts/bench cifar [--data-dir DIR] [--model M] [--layers 4] [--rows 0] [--epochs 3] [--rounds 2] [--rate 3e-4]

2,000 images train, 600 test (`cifar10_images`, a folder a class). Every measurement is a process of its own; a round
runs both. Seconds are those between pixels in a table and trained weights: what the cache costs to fill is in them. The
bound is what the arithmetic allows: with P seconds for the frozen layers' pass over the rows and U for the rest of an
epoch, E epochs take E(P + U) without the cache and P + EU with it. The probe is a logistic regression on the frozen
features of the same rows, judged on the same test images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import timed

SETTINGS = {"with cache": "auto", "without": "off"}


def splits_of(arguments: argparse.Namespace) -> Any:
    """Training images (shuffled, the same for all) and test images."""
    import numpy as np

    from feinschliff.config.data import DataConfig
    from feinschliff.data.load import load_splits

    folder = arguments.data_dir / "cifar10_images"
    names = {"train": (str(folder / "train"),), "test": (str(folder / arguments.on),)}
    if arguments.on == "train":
        names = {"train": names["train"], "test_fraction": 0.2}  # type: ignore[dict-item]
    data = DataConfig(**names, rows="images", duplicates="keep", held_out_duplicates="keep", validation_fraction=0.001)
    splits = load_splits(data, 0)
    rows = [*splits.train, *splits.validation]
    order = np.random.default_rng(0).permutation(len(rows))[: arguments.rows or None]
    return replace(splits, train=[rows[row] for row in order])


def one(arguments: argparse.Namespace, cache: str) -> dict[str, Any]:
    """Train in this process."""
    from feinschliff.config.run import RunConfig
    from feinschliff.engine.batching import FORWARD_TOKENS
    from feinschliff.engine.scoring import outputs
    from feinschliff.models.sources import resolve_model

    splits = splits_of(arguments)
    training = {
        "epochs": arguments.epochs,
        "learning_rate": arguments.rate,
        "early_stopping_patience": None,
        "keep_weights": "last",
        "prefix_cache": cache,
    }
    method = {"type": "frozen_layers", "trained_layers": arguments.layers}
    with tempfile.TemporaryDirectory() as folder:
        fields = {"method": method, "training": {**training, **arguments.training}, "seed": arguments.seed}
        config = RunConfig(task="image_classification", model={"source": arguments.model}, **fields)
        run = timed.timed(config, splits, resolve_model(arguments.model), Path(folder))
        task = run.prepared.task
        encoded = task.encode(splits.test, 1)
        found = outputs(task, run.prepared.network, encoded.table, max_tokens=FORWARD_TOKENS)
        accuracy = task.score(task.answers(found, encoded), splits.test, "accuracy")
    return {
        "seconds": run.seconds,
        "step_seconds": run.step_seconds,
        "rows": len(splits.train),
        "peak_mib": run.peak_mib,
        "accuracy": accuracy,
    }


def probe(arguments: argparse.Namespace) -> dict[str, Any]:
    """Logistic regression on frozen features."""
    from feinschliff.config.run import RunConfig
    from feinschliff.lifecycle.embedding import FrozenEncoder
    from feinschliff.lifecycle.prepare import context_of
    from feinschliff.models.sources import resolve_model

    splits, resolved = splits_of(arguments), resolve_model(arguments.model)
    config = RunConfig(task="image_classification", model={"source": arguments.model})
    frozen = FrozenEncoder(config, resolved, context_of(config, splits))
    rival = frozen.task.rivals(frozen, splits.train, 0, lambda _: None)[-1]
    return {"accuracy": frozen.task.score(rival.answers(splits.test), splits.test, "accuracy")}


def main() -> None:
    """Run all settings, or (internally) one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--layers", type=int, default=4, help="layers that learn, of those below the head")
    parser.add_argument("--rows", type=int, default=0, help="training images; 0: all")
    parser.add_argument("--on", choices=["test", "train"], default="test", help="train: a fifth of the training images")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--training", type=json.loads, default={}, help="JSON of further fields of training")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(probe(arguments) if arguments.one == "probe" else one(arguments, SETTINGS[arguments.one])))
        return
    found: dict[str, list[dict[str, Any]]] = {setting: [] for setting in arguments.settings}
    print(f"probe: {_apart('probe')}", flush=True)
    for number in range(arguments.rounds):
        for setting in arguments.settings:
            found[setting].append(_apart(setting))
            print(f"round {number + 1}: {setting}: {found[setting][-1]}", flush=True)
    if len(arguments.settings) == len(SETTINGS):
        pairs = list(zip(*found.values(), strict=True))
        ratio = statistics.median(off["seconds"] / on["seconds"] for on, off in pairs)
        upper = statistics.median(on["step_seconds"] / arguments.epochs for on, _ in pairs)
        frozen = statistics.median(off["seconds"] / arguments.epochs for _, off in pairs) - upper
        bound = arguments.epochs * (frozen + upper) / (frozen + arguments.epochs * upper)
        print(f"with the cache {ratio:.2f} times as fast; the arithmetic allows {bound:.2f}")


def _apart(setting: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *sys.argv, "--one", setting], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
