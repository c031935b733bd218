"""Long rows: peak memory of training on one row of 1,024 to 8,192 tokens a step, with and without checkpointing.

    scripts/bench long_rows [--data-dir DIR] [--model NAME] [--lengths 1024 2048 4096 8192] [--steps 1] [--threads 2]

LoRA of rank 16 on all linear layers of SmolLM2-135M, WikiText-2 read as one document in windows of that length. Every
length is a process of its own, once with all activations kept and once with each layer computed again in the backward
pass (gradient checkpointing, which a run takes by itself for batches that would not fit: `lifecycle/activations.py`).
Peak memory is resident memory above what is there once model, adapters and rows are loaded. `a token more` is the slope
from the length before: where it stays the same, memory grows with the tokens and not with their square. `announced` is
what `lifecycle/activations.py` counts on for kept activations when it decides. Linux only (/proc/self).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHARACTERS_PER_TOKEN = 6
"""More than there are, so that the text is long enough."""


def main() -> None:
    """A line for each length and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--activations", nargs="*", choices=("kept", "again"), default=["kept", "again"])
    parser.add_argument("--one", nargs=2, metavar=("LENGTH", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given, int(given.one[0]), given.one[1] == "again")))
        return
    heads = ("tokens", "activations", "loaded MiB", "peak above, MiB", "KiB a token", "a token more", "announced", "s")
    print("{:>7} {:>12} {:>11} {:>16} {:>12} {:>13} {:>10} {:>6}".format(*heads))
    for way in given.activations:
        before = (0, 0.0)
        for length in given.lengths:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", str(length), way]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            before = show(way, length, json.loads(done.stdout.splitlines()[-1]), before)


def show(way: str, length: int, found: dict[str, float], before: tuple[int, float]) -> tuple[int, float]:
    """One line; the length and its peak, for the line after it."""
    peak = found["peak"] / 1024
    more = "" if not before[0] else f"{(peak - before[1]) / (length - before[0]):.0f} KiB"
    announced = f"{found['announced'] / 1024:.0f} KiB" if way == "kept" else ""
    print(
        f"{length:7,} {way:>12} {found['loaded'] / 2**20:11,.0f} {peak / 1024:16,.0f} {peak / length:12.0f} "
        f"{more:>13} {announced:>10} {found['seconds']:6.1f}",
        flush=True,
    )
    return length, peak


def measured(given: argparse.Namespace, length: int, again: bool) -> dict[str, float]:
    """Steps of one row of ``length`` tokens in this process; bytes, and seconds of the last step."""
    import numpy as np

    from feinschliff.engine.step import train_step
    from feinschliff.lifecycle.activations import bytes_per_token

    prepared = prepared_run(given, length)
    learner, body = prepared.learner, prepared.network.body
    if set(learner.table.lengths[: given.steps]) != {length}:
        raise RuntimeError(f"the text has no {given.steps} windows of {length} tokens")
    body.checkpoint_above = 0 if again else None
    learner.network.train()
    free_unused()
    loaded = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew from here
    for step in range(given.steps):
        begin = time.perf_counter()
        loss = train_step(learner, np.array([step]), 1.0)
        seconds = time.perf_counter() - begin
        if not math.isfinite(loss.loss_sum):
            raise RuntimeError(f"the loss of step {step + 1} is {loss.loss_sum}")
    return {
        "loaded": loaded,
        "peak": resident("VmHWM") - loaded,
        "announced": bytes_per_token(prepared.network),
        "seconds": seconds,
    }


def prepared_run(given: argparse.Namespace, length: int) -> Any:
    """One document in windows of ``length`` tokens, ready to train."""
    from dataclasses import replace

    from feinschliff.config.data import DataConfig
    from feinschliff.config.run import RunConfig
    from feinschliff.data.load import load_splits
    from feinschliff.lifecycle.prepare import prepare
    from feinschliff.models.sources import resolve_model

    text = (given.data_dir / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    text = text[: CHARACTERS_PER_TOKEN * length * (given.steps + 1)]
    others = [f"Row {number}." for number in range(40)]  # a file of one row is refused
    work = Path(tempfile.mkdtemp())
    file = work / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": part}) + "\n" for part in (text, *others)), encoding="utf-8")
    data = {"train": (str(file),), "rows": "documents", "duplicates": "keep", "held_out_duplicates": "keep"}
    splits = load_splits(DataConfig.model_validate(data), 0)
    rows = sorted([*splits.train, *splits.validation, *splits.test], key=lambda row: row.place.line)
    splits = replace(splits, train=rows[:1], validation=[], test=[])
    config = RunConfig.model_validate(
        {
            "model": {"max_length_tokens": length},
            "task": {"type": "sft", "long_rows": "window"},
            "method": {"type": "lora", "rank": 16},
            "training": {
                "global_batch_rows": 1,
                "micro_batch_tokens": length,
                "label_smoothing": 0.0,
                "weight_averaging": 0.0,
                "precision": given.precision,
                "num_threads": given.threads,
            },
        }
    )
    return prepare(config, splits, resolve_model(given.model), work)


def free_unused() -> None:
    """Give back what loading left behind."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def resident(name: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (the peak) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
