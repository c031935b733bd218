"""Token classification beside transformers' Trainer: entity F1, training speed and peak memory, interleaved.

    scripts/bench ner [--data-dir DIR] [--model M] [--rows 2000] [--epochs 2] [--rounds 2] [--rate 2e-4] [--on dev]

German legal texts (german_ler, Leitner et al. 2020): the dev file trains, the test file tests. Every measurement is a
process of its own; a round runs all settings one after the other. Seconds are those of training: for the Trainer
`trainer.train()`, for us everything between tokenized rows and trained weights. The Trainer is set up as transformers'
own example of token classification is: labels on the first token of a word, rows cut at 256 tokens, padding by batch.
Entity F1 is strict (type and both borders), on the same test rows for all (`--on dev`: on rows of the dev file that are
left over, for choosing a rate).
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

import timed

LIMIT = 256
OURS = "ours"
BATCH_ROWS = 32
TRAINER: dict[str, dict[str, Any]] = {
    "Trainer default (batch 8, fp32)": {},
    "Trainer bf16, batch 16": {"bf16": True, "use_cpu": True, "per_device_train_batch_size": 16},
    "Trainer bf16, batch 16, by length": {
        "bf16": True,
        "use_cpu": True,
        "per_device_train_batch_size": 16,
        "train_sampling_strategy": "group_by_length",
    },
}


def rows_of(arguments: argparse.Namespace) -> Any:
    """Training rows (shuffled, the same for all) and test rows."""
    import numpy as np

    from feinschliff.config.data import DataConfig
    from feinschliff.data.load import load_splits

    folder = arguments.data_dir / "german_ler"
    data = DataConfig(
        train=(str(folder / "ler_dev.conll"),),
        test=(str(folder / "ler_test.conll"),),
        held_out_duplicates="keep",
        duplicates="keep",
        validation_fraction=0.02,
    )
    splits = load_splits(data, 0)
    order = np.random.default_rng(0).permutation(len(splits.train))
    train, left = ([splits.train[row] for row in rows] for rows in np.split(order, [arguments.rows or len(order)]))
    test = splits.test if arguments.on == "test" else left
    return replace(splits, train=train, test=test[: arguments.test_rows or None])


def ours(arguments: argparse.Namespace, rate: float) -> dict[str, Any]:
    """One run of ours in this process."""
    from feinschliff.config.run import RunConfig
    from feinschliff.engine.batching import FORWARD_TOKENS
    from feinschliff.engine.scoring import outputs
    from feinschliff.models.sources import resolve_model

    splits = rows_of(arguments)
    training = {
        "epochs": arguments.epochs,
        "learning_rate": rate,
        "global_batch_rows": arguments.batch_rows,
        "early_stopping_patience": None,
        "keep_weights": "last",
        "label_smoothing": arguments.label_smoothing,
    }
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(task="token_classification", training=training, model={"max_length_tokens": LIMIT})
        run = timed.timed(config, splits, resolve_model(arguments.model), Path(folder))
        task = run.prepared.task
        rows = task.encode(splits.test, run.prepared.max_length_tokens)
        found = outputs(task, run.prepared.network, rows.table, max_tokens=FORWARD_TOKENS, targets=rows.targets)
        score = task.score(task.answers(found, rows), splits.test, "entity_f1")
    return {
        "seconds": run.seconds,
        "rows": len(splits.train) * arguments.epochs,
        "peak_mib": run.peak_mib,
        "f1": score,
    }


def trainer(arguments: argparse.Namespace, setting: str, rate: float) -> dict[str, Any]:
    """One run of transformers' Trainer in this process."""
    from datasets import Dataset
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    from feinschliff.data.tag_schemes import tag_names
    from feinschliff.models.sources import resolve_model

    splits = rows_of(arguments)
    names = tag_names(splits.label_names, "IOB2")
    folder = resolve_model(arguments.model).folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train = Dataset.from_list([_trainer_row(example, tokenizer, names) for example in splits.train])
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(names))
    with tempfile.TemporaryDirectory() as output:
        asked = TrainingArguments(
            output_dir=output,
            num_train_epochs=arguments.epochs,
            learning_rate=rate,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=0,
            **TRAINER[setting],
        )
        work = Trainer(
            model=model, args=asked, train_dataset=train, data_collator=DataCollatorForTokenClassification(tokenizer)
        )
        begin = time.perf_counter()
        work.train()
        seconds, peak = time.perf_counter() - begin, timed.peak_mib()
    score = _trainer_f1(model, tokenizer, splits.test, names)
    return {"seconds": seconds, "rows": len(splits.train) * arguments.epochs, "peak_mib": peak, "f1": score}


def _words(example: Any) -> tuple[list[str], list[tuple[int, int]]]:
    """The tokens of the CoNLL file, and their characters."""
    words, ranges, place = example.texts[0].split(" "), [], 0
    for word in words:
        ranges.append((place, place + len(word)))
        place += len(word) + 1
    return words, ranges


def _trainer_row(example: Any, tokenizer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Labels on the first token of each word, as in transformers' own example."""
    words, ranges = _words(example)
    tags = ["O"] * len(words)
    for span in example.spans:
        inside = [place for place, (start, end) in enumerate(ranges) if start >= span.start and end <= span.end]
        for number, place in enumerate(inside):
            tags[place] = f"{'I' if number else 'B'}-{span.label}"
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=LIMIT)
    labels, before = [], None
    for word in encoded.word_ids():
        labels.append(-100 if word is None or word == before else names.index(tags[word]))
        before = word
    return {**encoded, "labels": labels}


def _trainer_f1(model: Any, tokenizer: Any, rows: Any, names: tuple[str, ...]) -> float:
    import torch

    from feinschliff.data.tag_schemes import entities
    from feinschliff.results.spans import entity_statistic

    model.eval()
    found, order = [None] * len(rows), sorted(range(len(rows)), key=lambda row: len(rows[row].texts[0]))
    for begin in range(0, len(rows), 16):
        part = order[begin : begin + 16]
        words = [_words(rows[row]) for row in part]
        asked = {"is_split_into_words": True, "truncation": True, "max_length": LIMIT, "padding": True}
        encoded = tokenizer([one for one, _ in words], return_tensors="pt", **asked)
        with torch.inference_mode():
            best = model(**encoded).logits.argmax(-1)
        for place, row in enumerate(part):
            tags, before = ["O"] * len(words[place][0]), None
            for token, word in enumerate(encoded.word_ids(place)):
                if word is not None and word != before:
                    tags[word] = names[int(best[place, token])]
                before = word
            ranges = words[place][1]
            found[row] = [(ranges[s.start][0], ranges[s.end - 1][1], s.label) for s in entities(tags, "IOB2")]
    given = [[(span.start, span.end, span.label) for span in row.spans] for row in rows]
    return float(entity_statistic("entity_f1")(given, found))


def main() -> None:
    """Run all settings, or (internally) one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--rows", type=int, default=2000, help="training rows; 0: all")
    parser.add_argument("--test-rows", type=int, default=0, help="test rows; 0: all")
    parser.add_argument("--on", choices=["test", "dev"], default="test", help="dev: rows of its file left to train on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-rows", type=int, default=BATCH_ROWS, help="of ours")
    parser.add_argument("--label-smoothing", type=float, default=0.1, help="of ours")
    parser.add_argument("--rate", type=float, default=2e-4, help="our learning rate")
    parser.add_argument("--trainer-rate", type=float, default=1e-4, help="the Trainer's (its own default is 5e-5)")
    parser.add_argument("--settings", nargs="+", default=[OURS, *TRAINER])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        mine = arguments.one == OURS
        result = ours(arguments, arguments.rate) if mine else trainer(arguments, arguments.one, arguments.trainer_rate)
        print(json.dumps(result))
        return
    found: dict[str, list[dict[str, Any]]] = {setting: [] for setting in arguments.settings}
    for number in range(arguments.rounds):
        for setting in arguments.settings:
            command = [sys.executable, *sys.argv, "--one", setting]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            found[setting].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1}: {setting}: {found[setting][-1]}", flush=True)
    own = [run["rows"] / run["seconds"] for run in found.get(OURS, [])]
    print(f"\n{'setting':36}{'rows/s':>9}{'ours is':>9}{'peak MiB':>10}{'entity F1':>11}")
    for setting, runs in found.items():
        speeds = [run["rows"] / run["seconds"] for run in runs]
        ratio = statistics.median(a / b for a, b in zip(own, speeds, strict=True)) if own else float("nan")
        peak, f1 = (statistics.median(run[key] for run in runs) for key in ("peak_mib", "f1"))
        print(f"{setting:36}{statistics.median(speeds):9.1f}{ratio:8.2f}x{peak:10.0f}{f1:11.1%}")


if __name__ == "__main__":
    main()
