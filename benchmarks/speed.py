"""Training speed and peak memory beside transformers' Trainer: same model, rows, epochs and AdamW, interleaved.

    scripts/bench speed [--data-dir DIR] [--rows 2000] [--rounds 2] [--jobs full frozen head] [--sets banking77 sst2]

Every measurement is a process of its own; a round runs all settings one after the other, so that a machine that drifts
drifts for all. Seconds are those of training: for the Trainer `trainer.train()`, for us everything between tokenized
rows and trained weights (precision measurement, start of the head, prefix cache, training). Accuracy is on at most
1,000 rows of the set's test file. Jobs: `full`, 1 epoch; `frozen`, head and top third, 3 epochs; `head`, 3 epochs. With
frozen layers we are measured without the cache too: with n layers of which k are trained, a pass over all costs n + 2k,
one over the trained ones 3k, so E epochs cost at least (n - k + 3kE) / (E (n + 2k)) of those without it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sets

TEST_ROWS = 1000
EPOCHS = {"full": 1, "frozen": 3, "head": 3}
BATCH_ROWS = {
    "full": {"banking77": 128, "sst2": 64},
    "frozen": {"banking77": 64, "sst2": 48},
    "head": {"banking77": 128, "sst2": 64},
}
"""Of ours: about 1,700 tokens a step in both sets; fewer beside a cache, which takes memory of its own."""
OURS: dict[str, dict[str, Any]] = {
    "full": {"method": {"type": "full"}, "learning_rate": 2e-4},
    "frozen": {"method": {"type": "frozen_layers", "trained_layers": 2}, "learning_rate": 3e-4},
    "head": {"method": {"type": "frozen_layers", "trained_layers": 0}, "learning_rate": 2e-4},
}
PLAIN = {"schedule": "linear", "weight_averaging": 0.0, "early_stopping_patience": None, "keep_weights": "last"}
"""What the Trainer does too: a rate that falls to zero, no averaging, the last weights."""
NO_CACHE = "ours without the cache"
TRAINER = {
    "Trainer default (batch 8, fp32)": {},
    "Trainer bf16, batch 32": {"bf16": True, "per_device_train_batch_size": 32},
    "Trainer bf16, batch 32, by length": {
        "bf16": True,
        "per_device_train_batch_size": 32,
        "train_sampling_strategy": "group_by_length",
    },
}


def rows_of(arguments: argparse.Namespace, name: str) -> tuple[Any, Any, list[str]]:
    """Training examples (shuffled, the same for all), test examples and label names."""
    import numpy as np

    from feinschliff.config.data import DataConfig
    from feinschliff.data.load import load_splits

    files = sets.files(arguments.data_dir, name)
    splits = load_splits(DataConfig(**files, held_out_duplicates="keep", validation_fraction=0.01), 0)
    order = np.random.default_rng(0).permutation(len(splits.train))[: arguments.rows or None]
    return [splits.train[row] for row in order], splits, splits.label_names


def ours(arguments: argparse.Namespace, name: str, job: str, setting: str) -> dict[str, Any]:
    """One run of ours in this process."""
    from dataclasses import replace

    from feinschliff.config.run import RunConfig
    from feinschliff.engine import loop
    from feinschliff.lifecycle import prepare as preparing
    from feinschliff.models.sources import resolve_model
    from feinschliff.tasks._text_classification import TextClassification

    train, splits, _ = rows_of(arguments, name)
    splits = replace(splits, train=train, validation=splits.validation[:32])
    settings = {**OURS[job], **PLAIN, "global_batch_rows": BATCH_ROWS[job][name], "epochs": EPOCHS[job]}
    if setting == NO_CACHE:
        settings["prefix_cache"] = "off"
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(method=settings.pop("method"), training=settings)
        marks: dict[str, float] = {}
        whole_encode = TextClassification.encode

        def encode(self: Any, *rows: Any) -> Any:
            out = whole_encode(self, *rows)
            marks["encoded"] = time.perf_counter()
            return out

        TextClassification.encode = encode
        prepared = preparing.prepare(config, splits, resolve_model(arguments.model), Path(folder))
        run = loop.Fit(
            learner=prepared.learner,
            seed=0,
            metric=prepared.metric,
            validate=prepared.validate,
            checkpoints=Path(folder),
            save_state=False,
        )
        for _ in loop.fit(run):
            pass
        seconds = time.perf_counter() - marks["encoded"]
        peak = _peak_mib()
        accuracy = _our_accuracy(prepared, splits)
    return {"seconds": seconds, "rows": len(train), "peak_mib": peak, "accuracy": accuracy}


def _our_accuracy(prepared: Any, splits: Any) -> float:
    from feinschliff.engine.scoring import outputs

    encoded = prepared.task.encode(splits.test[:TEST_ROWS], prepared.max_length_tokens)
    found = outputs(prepared.task, prepared.network, encoded.table, max_tokens=4096)
    return float(prepared.task.score(prepared.task.answers(found, encoded), encoded.examples, "accuracy"))


def trainer(arguments: argparse.Namespace, name: str, job: str, setting: str) -> dict[str, Any]:
    """One run of transformers' Trainer in this process."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from feinschliff.models.load import quiet_transformers
    from feinschliff.models.sources import resolve_model

    quiet_transformers()
    train, splits, labels = rows_of(arguments, name)
    folder = resolve_model(arguments.model).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    index = {label: place for place, label in enumerate(labels)}

    def dataset(rows: Any) -> Any:
        encoded = tokenizer([row.texts[0] for row in rows], truncation=True, max_length=512)
        columns = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        return Dataset.from_dict({**columns, "labels": [index[row.labels[0]] for row in rows]})

    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(labels), dtype=torch.float32)
    if job != "full":
        layers = model.config.num_hidden_layers
        trained = [f"encoder.layer.{layer}." for layer in range(layers - 2, layers)] if job == "frozen" else []
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(any(key in parameter_name for key in [*trained, "classifier", "pooler"]))
    data = dataset(train)
    with tempfile.TemporaryDirectory() as out:
        options = TrainingArguments(
            out,
            num_train_epochs=EPOCHS[job],
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            per_device_eval_batch_size=64,
            **TRAINER[setting],
        )
        loop = Trainer(model, options, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer))
        begin = time.perf_counter()
        loop.train()
        seconds, peak = time.perf_counter() - begin, _peak_mib()
        predicted = loop.predict(dataset(splits.test[:TEST_ROWS]))
    accuracy = float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())
    return {"seconds": seconds, "rows": len(train), "peak_mib": peak, "accuracy": accuracy}


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(arguments: argparse.Namespace) -> None:
    """All settings, round by round; a table of medians at the end."""
    settings = {job: ["ours", *TRAINER] if job == "full" else ["ours", NO_CACHE, next(iter(TRAINER))] for job in EPOCHS}
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for _ in range(arguments.rounds):
        for name in arguments.sets:
            for job in arguments.jobs:
                for setting in settings[job]:
                    command = [sys.executable, __file__, "--child", name, job, setting, "--rows", str(arguments.rows)]
                    command += ["--data-dir", str(arguments.data_dir), "--model", arguments.model]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        raise SystemExit(done.stderr)
                    result = json.loads(done.stdout.splitlines()[-1])
                    found.setdefault((name, job, setting), []).append(result)
                    print(json.dumps({"set": name, "job": job, "setting": setting, **result}), flush=True)
    print(f"\n{'set':10} {'job':7} {'setting':34} {'rows/s':>8} {'ours is':>9} {'accuracy':>9} {'peak MiB':>9}")
    for (name, job, setting), runs in found.items():
        ratio = statistics.median(
            other["seconds"] / mine["seconds"] for other, mine in zip(runs, found[name, job, "ours"], strict=True)
        )
        rate = statistics.median(run["rows"] * EPOCHS[job] / run["seconds"] for run in runs)
        accuracy, peak = (statistics.median(run[key] for run in runs) for key in ("accuracy", "peak_mib"))
        print(f"{name:10} {job:7} {setting:34} {rate:8.1f} {ratio:8.2f}x {accuracy:9.3f} {peak:9.0f}")


def main() -> None:
    """Parent: rounds of children. Child: one measurement, as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets.add_arguments(parser)
    parser.add_argument("--rows", type=int, default=2000, help="training rows; 0: all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", nargs="+", choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--child", nargs=3, metavar=("SET", "JOB", "SETTING"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is None:
        measure(arguments)
        return
    name, job, setting = arguments.child
    run = ours if setting.startswith("ours") else trainer
    result = run(arguments, name, job, setting)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
