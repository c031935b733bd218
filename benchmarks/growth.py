"""How time and memory of a training run grow with the rows: 1,000 to 100,000 rows of real sentences, one epoch.

    scripts/bench growth [--data-dir DIR] [--sizes 1000 10000 100000]

Rows are SST-2's training rows, repeated with a number in front where there are not enough; each size is a process of
its own. Methods: the head alone (every row passes the frozen encoder once) and, with --full, all weights.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sets


def examples_of(arguments: argparse.Namespace, count: int) -> tuple[list[Any], list[str]]:
    """``count`` training examples."""
    from dataclasses import replace

    from feinschliff.config.data import DataConfig
    from feinschliff.data.load import load_splits

    splits = load_splits(DataConfig(**sets.files(arguments.data_dir, "sst2")), 0)
    rows = [splits.train[row % len(splits.train)] for row in range(count)]
    numbered = [replace(e, texts=(f"{row // len(splits.train)} {e.texts[0]}",)) for row, e in enumerate(rows)]
    return numbered, splits.label_names


def one(arguments: argparse.Namespace, count: int) -> dict[str, Any]:
    """Train once in this process."""
    from feinschliff.config.run import RunConfig
    from feinschliff.data.examples import Splits
    from feinschliff.lifecycle.train import RunContext, run
    from feinschliff.models.sources import resolve_model
    from feinschliff.results.data import ColumnsFound
    from feinschliff.store.run_directory import RunDirectory

    rows, labels = examples_of(arguments, count)
    columns = ColumnsFound(text=["text"], target="label")
    method = {"type": "full"} if arguments.full else {"type": "frozen_layers", "trained_layers": 0}
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(method=method, training={"epochs": 1.0}, output_dir=folder)
        splits = Splits(rows, rows[:200], rows[:2], columns, labels)
        begin = time.perf_counter()
        context = RunContext(RunDirectory(folder), save_state=False, export=False)
        run(config, splits, resolve_model(arguments.model), context)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rows": count, "seconds": round(seconds, 1), "rows_per_second": round(count / seconds), "peak_mib": peak}


def main() -> None:
    """A process per size; a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets.add_arguments(parser)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--full", action="store_true", help="train all weights instead of the head alone")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(one(arguments, arguments.child)))
        return
    for count in arguments.sizes:
        command = [sys.executable, str(Path(__file__)), "--child", str(count), "--data-dir", str(arguments.data_dir)]
        command += ["--model", arguments.model, *(["--full"] if arguments.full else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
