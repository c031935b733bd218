"""Few labelled rows: SST-2 with 8, 16 and 64 rows a class, several draws, beside SetFit and the linear probe.

    scripts/bench few_shot [--data-dir DIR] [--per-class 8 16 64] [--draws 5] [--setfit-python PATH] [--set sst2]

Every draw trains on the same rows for all; accuracy is that of the set's whole test file (`--on dev`: of its dev file,
or of a fifth of its training rows, with other draws; the recipe was chosen on SST-2's). SetFit runs in an interpreter
of its own that has it installed, with the same model and its usual settings (batch 16, one epoch over the pairs).
Nothing is selected on validation rows: there are none, the last weights are kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import sets

FIRST_DRAW = {"test": 0, "dev": 100}
SETFIT = """
import json, sys, tempfile, time
import numpy as np
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
given = json.load(open(sys.argv[1]))
model = SetFitModel.from_pretrained(given["model"], device="cpu")
asked = TrainingArguments(output_dir=tempfile.mkdtemp(), batch_size=16, num_epochs=1, seed=given["seed"],
                          max_steps=given["max_steps"], report_to="none", save_strategy="no", show_progress_bar=False)
rows = Dataset.from_dict({"text": given["train"][0], "label": given["train"][1]})
trainer = Trainer(model=model, args=asked, train_dataset=rows)
begin = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - begin
found = np.array(model.predict(given["test"][0], show_progress_bar=False)).astype(int)
print(json.dumps({"accuracy": float((found == np.array(given["test"][1])).mean()), "seconds": seconds}))
"""


def draws(arguments: argparse.Namespace, per_class: int) -> list[Any]:
    """The splits of each draw: a seed's rows of each class, and all rows of the file that is judged."""
    import numpy as np

    from feinschliff.config.data import DataConfig
    from feinschliff.data.load import load_splits

    found = sets.files(arguments.data_dir, arguments.set)
    names: dict[str, Any] = {"train": found["train"]}
    if arguments.on == "test":
        names["test"] = found["test"]
    elif "validation" in found:
        names["test"] = found["validation"]
    splits = load_splits(DataConfig(**names, held_out_duplicates="keep", validation_fraction=0.0), 0)
    rows = sorted(splits.train, key=lambda example: example.place.line)
    labels = np.array([example.labels[0] for example in rows])
    drawn = []
    for seed in range(FIRST_DRAW[arguments.on], FIRST_DRAW[arguments.on] + arguments.draws):
        rng = np.random.default_rng(seed)
        chosen = [rng.choice(np.flatnonzero(labels == name), per_class, replace=False) for name in sorted(set(labels))]
        train = [rows[row] for row in np.concatenate(chosen)]
        drawn.append((seed, replace(splits, train=train, validation=[])))
    return drawn


def ours(arguments: argparse.Namespace, seed: int, splits: Any) -> dict[str, float]:
    """Train a draw by the recipe that `tune` takes with few rows, and judge it; beside the probe."""
    from feinschliff.config.run import RunConfig
    from feinschliff.lifecycle import few_rows
    from feinschliff.lifecycle.embedding import FrozenEncoder
    from feinschliff.lifecycle.prepare import context_of
    from feinschliff.lifecycle.recipes import configured
    from feinschliff.lifecycle.train import RunContext, run
    from feinschliff.models.sources import resolve_model
    from feinschliff.predictor import Predictor
    from feinschliff.store.run_directory import RunDirectory

    resolved = resolve_model(arguments.model)
    asked = {"num_threads": arguments.threads, **arguments.training}
    given = {f"training.{name}" for name in asked}
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(model={"source": arguments.model}, seed=seed, training=asked)
        config = configured(config, few_rows.recipe(), given, folder)
        begin = time.perf_counter()
        run(config, splits, resolved, RunContext(RunDirectory(folder), save_state=False))
        seconds = time.perf_counter() - begin
        predictor = Predictor(Path(folder))
        task, answers = predictor.task, predictor.score(splits.test).answers
    frozen = FrozenEncoder(config, resolved, context_of(config, splits))
    rival = task.rivals(frozen, splits.train, seed, lambda _: None)[-1]
    return {
        "accuracy": task.score(answers, splits.test, "accuracy"),
        "probe": task.score(rival.answers(splits.test), splits.test, "accuracy"),
        "seconds": seconds,
    }


def setfit(arguments: argparse.Namespace, seed: int, splits: Any) -> dict[str, float]:
    """SetFit on the same rows, in its own interpreter."""
    from feinschliff.models.sources import resolve_model

    numbers = {name: number for number, name in enumerate(splits.label_names)}
    given = {
        "model": str(resolve_model(arguments.model).folder),
        "seed": seed,
        "max_steps": arguments.setfit_max_steps,
        **{
            name: ([e.texts[0] for e in rows], [numbers[e.labels[0]] for e in rows])
            for name, rows in (("train", splits.train), ("test", splits.test))
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        file, script = Path(folder) / "given.json", Path(folder) / "peer.py"
        file.write_text(json.dumps(given), encoding="utf-8")
        script.write_text(SETFIT, encoding="utf-8")
        words = [arguments.setfit_python, str(script), str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a JSON line a draw, then means and spreads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--set", choices=sets.NAMES, default="sst2")
    parser.add_argument("--per-class", nargs="+", type=int, default=[8, 16, 64])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--on", choices=list(FIRST_DRAW), default="test")
    parser.add_argument("--setfit-python", help="an interpreter with setfit installed; left out: not compared")
    parser.add_argument("--setfit-max-steps", type=int, default=-1, help="fewer steps than one epoch over its pairs")
    parser.add_argument("--training", type=json.loads, default={}, help="JSON of fields of training, for trying others")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    for per_class in arguments.per_class:
        rows = []
        for seed, splits in draws(arguments, per_class):
            found = ours(arguments, seed, splits)
            if arguments.setfit_python:
                peer = setfit(arguments, seed, splits)
                found |= {"setfit": peer["accuracy"], "setfit_seconds": peer["seconds"]}
            rows.append(found)
            print(json.dumps({"per_class": per_class, "draw": seed, **found}), flush=True)
        means = {name: round(statistics.mean(row[name] for row in rows), 4) for name in rows[0]}
        spread = {f"{n}_sd": round(statistics.stdev([row[n] for row in rows]), 4) for n in rows[0] if len(rows) > 1}
        print(json.dumps({"per_class": per_class, "draws": len(rows), **means, **spread}), flush=True)


if __name__ == "__main__":
    main()
