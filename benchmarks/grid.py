"""Every task with every method: trained parameters, seconds and the metric on a small real set, as a Markdown table.

    scripts/bench grid [--data-dir DIR] [--rows 400] [--epochs 3] [--tasks T ...] [--methods M ...]

SST-2 (labels), STS-B (numbers for pairs; similarity), german_ler (pieces of texts), XQuAD in English (questions) with
MiniLM, CIFAR-10 (images) with EfficientNet-Lite0: some rows are learned, and some test rows judged. Each pair
is a process of its own, with the rate of the method and the defaults of everything else. A pair that is refused
shows the reason. Sequence to sequence is not here: no package index carries a pretrained encoder-decoder.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple


class Job(NamedTuple):
    """What a task is tried with."""

    metric: str
    train: str
    test: str = ""
    """Empty: split off."""
    model: str = "minilm-l6"


JOBS = {
    "text_classification": Job("accuracy", "sst2/train.tsv", "sst2/test.tsv"),
    "regression": Job("pearson", "stsb/stsb-en-train.csv", "stsb/stsb-en-test.csv"),
    "token_classification": Job("entity_f1", "german_ler/ler_dev.conll", "german_ler/ler_test.conll"),
    "question_answering": Job("answer_f1", "xquad/xquad.en.json"),
    "embeddings": Job("spearman", "stsb/stsb-en-train.csv", "stsb/stsb-en-test.csv"),
    "image_classification": Job("accuracy", "cifar10_images/train", "cifar10_images/test", "efficientnet-lite0"),
}


def one(arguments: argparse.Namespace, task: str, method: str) -> dict[str, Any]:
    """Train and judge a pair in this process."""
    from dataclasses import replace

    from feinschliff import registry
    from feinschliff.config import rules
    from feinschliff.config.data import DataConfig
    from feinschliff.config.run import RunConfig
    from feinschliff.data.load import load_splits
    from feinschliff.errors import ConfigError, FeinschliffError
    from feinschliff.lifecycle.train import RunContext, run
    from feinschliff.models.sources import resolve_model
    from feinschliff.predictor import Predictor
    from feinschliff.store.run_directory import RunDirectory

    job = JOBS[task]
    train, test = (tuple(str(arguments.data_dir / name) for name in [file] if name) for file in (job.train, job.test))
    rows = registry.load("task", task).ROWS
    data = DataConfig(train=train, rows=rows, held_out_duplicates="keep", test=test)
    splits = load_splits(data, 0)
    chance = random.Random(0)

    def drawn(rows: list[Any], most: int) -> list[Any]:
        return chance.sample(rows, min(most, len(rows)))

    splits = replace(
        splits,
        train=drawn(splits.train, arguments.rows),
        validation=drawn(splits.validation, 50),
        test=drawn(splits.test, arguments.test_rows),
    )
    kind = {"type": method, **({"trained_layers": 2} if method == "frozen_layers" else {})}
    training = {"epochs": arguments.epochs, "keep_weights": "last", "early_stopping_patience": None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = RunConfig(
                task=task, method=kind, data=data, training=training, output_dir=folder, model={"source": job.model}
            )
            if faults := rules.check(config):
                raise ConfigError(faults)
            model = resolve_model(job.model)
            result = run(config, splits, model, RunContext(RunDirectory(folder), save_state=False))
        except FeinschliffError as error:
            return {"refused": error.faults[0].what}
        predictor = Predictor(Path(folder))
        value = predictor.task.score(predictor.score(splits.test).answers, splits.test, job.metric)
    return {"trained": result.trained_parameters, "seconds": result.seconds, "value": value}


def main() -> None:
    """Run all pairs, or (internally) one of them."""
    from feinschliff import registry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--test-rows", type=int, default=400)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--tasks", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--methods", nargs="+", default=list(registry.names("method")))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments, *arguments.one)))
        return
    head = " | ".join(f"{task.replace('_', ' ')}: {JOBS[task].metric.replace('_', ' ')}, s" for task in arguments.tasks)
    print(f"| method | trained | {head} |\n|---|---|{'---|' * len(arguments.tasks)}", flush=True)
    for method in arguments.methods:
        cells, trained = [], ""
        for task in arguments.tasks:
            done = subprocess.run(
                [sys.executable, *sys.argv, "--one", task, method], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            trained = trained or f"{found['trained']:,}" if "trained" in found else trained
            cells.append(found.get("refused") or f"{found['value']:.3f}, {found['seconds']:.0f}")
        print(f"| `{method}` | {trained} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
