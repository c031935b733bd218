"""A Keras file tuned on images it never saw: accuracy before and after, and whether the file reloads as it was.

    python benchmarks/keras_emotion.py [--model FILE.keras] [--rows 1797] [--seeds 0] [--budget-seconds 150]

The model is a classifier of faces by emotion (64 x 64 grey, MIT); the data are scikit-learn's digits (8 x 8), brought
to 64 x 64 and written as PNG in a folder a class. Before: the features as they are, under a head of class means, and
under a linear probe. After: `tune`'s choice. All three on the same test rows, which no choice sees. Reloaded: the
exported `model.keras` in Keras itself, by the code that lies beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from feinschliff import api
from feinschliff.data.load import load_splits
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.lifecycle.prepare import prepare
from feinschliff.models.sources import resolve_model

MODEL = Path(__file__).resolve().parents[2] / "shared" / "models" / "fer-emotion-keras" / "emotion_model.keras"
SIDE = 64


def written(folder: Path, rows: int) -> Path:
    """A folder a digit, each image 64 x 64."""
    digits = load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images[:rows], digits.target[:rows], strict=True)):
        target = folder / f"digit_{digit}"
        target.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.rint(pixels / 16 * 255).astype(np.uint8))
        image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(target / f"{number:04}.png")
    return folder


def before(images: Path, source: str, seed: int, folder: Path) -> float:
    """Accuracy on the test rows of a head of class means on the features as they are."""
    fields = {"training": {"num_threads": None}, "task": {"type": "image_classification"}}
    asked, _ = api.configure(images, model=source, seed=seed, output_dir=str(folder), **fields)
    config = asked.model_copy(update={"data": asked.data.model_copy(update={"rows": "images"})})
    splits = load_splits(config.data, seed)
    prepared = prepare(config, splits, resolve_model(source), folder)
    encoded = prepared.task.encode(splits.test, 1)
    found = outputs(prepared.task, prepared.network, encoded.table, max_tokens=FORWARD_TOKENS)
    accuracy: float = prepared.task.score(prepared.task.answers(found), splits.test, "accuracy")
    prepared.close()
    return accuracy


def one(images: Path, source: str, seed: int, budget_seconds: float, folder: Path) -> dict[str, Any]:
    """Tune with one seed."""
    untrained = before(images, source, seed, folder / "before")
    begin = time.perf_counter()
    result = api.tune(images, model=source, seed=seed, output_dir=folder / "run", budget_seconds=budget_seconds)
    seconds = time.perf_counter() - begin
    exported = api.export(folder / "run", folder / "model")
    probe = result.baselines["linear probe"]["accuracy"].value
    return {
        "seed": seed,
        "rows": result.rows.model_dump(),
        "accuracy_class_means": round(untrained, 4),
        "accuracy_probe": round(probe, 4),
        "accuracy_tuned": round(result.test["accuracy"].value, 4),
        "difference_to_probe": result.difference.model_dump(),
        "verdict": result.verdict,
        "recipe": result.recipe,
        "seconds": round(seconds, 1),
        "reloaded_differs_by_at_most": exported.largest_difference,
        "files": exported.files,
    }


def main() -> None:
    """Print one JSON line a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=f"{MODEL}?range=-1..1&license=MIT")
    parser.add_argument("--rows", type=int, default=1797)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget-seconds", type=float, default=150.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = written(Path(folder) / "digits", arguments.rows)
        for seed in arguments.seeds:
            done = one(images, arguments.model, seed, arguments.budget_seconds, Path(folder) / str(seed))
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
