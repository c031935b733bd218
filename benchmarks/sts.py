"""STS-B (English): correlations on the test file, several seeds, beside the frozen cosine, with each seed's verdict.

    python benchmarks/sts.py [--data-dir DIR] [--model MODEL] [--seeds 0 1 2]

The recipe was chosen on the dev file; the last weights are kept, so the dev file selects nothing here. Training rows
that repeat test rows are kept, so that the figures compare with published ones; the frozen cosine learns from none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from feinschliff.config.data import DataConfig
from feinschliff.config.run import RunConfig
from feinschliff.data.load import load_splits
from feinschliff.lifecycle.embedding import FrozenEncoder
from feinschliff.lifecycle.prepare import context_of
from feinschliff.lifecycle.train import RunContext, run
from feinschliff.models.sources import resolve_model
from feinschliff.predictor import Predictor
from feinschliff.results.verdicts import verdict
from feinschliff.store.run_directory import RunDirectory

RECIPE: dict[str, Any] = {"epochs": 2.0, "learning_rate": 2e-5, "weight_averaging": 0.0, "base_weights_share": 0.3}
METHOD: dict[str, Any] = {"type": "full"}
COMMON: dict[str, Any] = {"early_stopping_patience": None, "keep_weights": "last"}
METRICS = ("pearson", "spearman")


def one(data_dir: Path, model: str, seed: int, threads: int | None) -> dict[str, Any]:
    """Train one seed and judge it beside the frozen cosine on the test file."""
    files = {name: (str(data_dir / "stsb" / f"stsb-en-{file}.csv"),) for name, file in
             (("train", "train"), ("validation", "dev"), ("test", "test"))}  # fmt: skip
    data = DataConfig.model_validate({**files, "rows": "pairs", "held_out_duplicates": "keep"})
    resolved, splits = resolve_model(model), load_splits(data, seed)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.model_validate(
            {
                "data": data.model_dump(),
                "model": {"source": model, "dropout": 0.1},
                "task": {"type": "embeddings"},
                "method": METHOD,
                "training": {**COMMON, **RECIPE, "num_threads": threads},
                "seed": seed,
                "output_dir": folder,
            }
        )
        begin = time.perf_counter()
        run(config, splits, resolved, RunContext(RunDirectory(folder), save_state=False))
        seconds = time.perf_counter() - begin
        predictor = Predictor(Path(folder))
        task, ours = predictor.task, predictor.score(splits.test).answers
    frozen = FrozenEncoder(config, resolved, context_of(config, splits))
    rival = task.rivals(frozen, splits.train, seed, lambda _: None)[-1]
    theirs = rival.answers(splits.test)
    said = verdict(task.compare("pearson", rival.name, splits.test, ours, theirs, config.evaluation))
    return {
        "seed": seed,
        **{name: round(task.score(ours, splits.test, name), 4) for name in METRICS},
        **{f"frozen_{name}": round(task.score(theirs, splits.test, name), 4) for name in METRICS},
        "difference": said.difference.model_dump(),
        "verdict": said.sentence,
        "train_rows": len(splits.train),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Print one JSON line a run, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        rows.append(one(arguments.data_dir, arguments.model, seed, arguments.threads))
        print(json.dumps(rows[-1]), flush=True)
    means = {f"mean_{name}": round(statistics.mean(row[name] for row in rows), 4) for name in METRICS}
    print(json.dumps({"set": "stsb", "seeds": len(rows), **means}))


if __name__ == "__main__":
    main()
