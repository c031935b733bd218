"""4-bit weights made whole by plain torch and by bitsandbytes' kernel: alone, and in a step of QLoRA, interleaved.

    scripts/bench nf4 [--data-dir DIR] [--model NAME] [--rounds 5] [--threads 2]

Alone: one of the model's largest matrices, in fp32 and bf16. A step: eight GSM8K chats forward and backward, LoRA of
rank 16 on all linear layers in bf16, over a base in full precision (`none`), in 4 bits with plain torch, and with the
kernel (extra `qlora`); medians. Both give the same values, to the bit (`tests/models/test_quantised.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from qlora import chats

ROWS = 8


def prepared(arguments: argparse.Namespace, kind: str, folder: Path) -> Any:
    """A run on GSM8K, ready for its first step."""
    from feinschliff.config.run import RunConfig
    from feinschliff.data.load import load_splits
    from feinschliff.lifecycle.prepare import prepare
    from feinschliff.models.sources import resolve_model

    data = Path(arguments.data_dir) / "gsm8k"
    asked: dict[str, Any] = {
        "task": {"type": "sft"},
        "method": {"type": "lora", "quantization": kind},
        "model": {"source": arguments.model},
        "data": {
            "train": [chats(data / "train.jsonl", 4 * ROWS, folder, "train.jsonl")],
            "validation": [chats(data / "test.jsonl", ROWS, folder, "validation.jsonl")],
            "test": [chats(data / "test.jsonl", ROWS, folder, "test.jsonl", ROWS)],
            "rows": "conversations",
        },
        "training": {"precision": "bf16", "global_batch_rows": ROWS, "num_threads": arguments.threads},
        "output_dir": str(folder),
    }
    config = RunConfig.model_validate(asked)
    return prepare(config, load_splits(config.data, 0), resolve_model(config.model.source), folder)


def medians(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each, one after the other in every round; a first round is left out."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            if number:
                found[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def main() -> None:
    """Print one line a comparison."""
    from feinschliff.engine.step import backward
    from feinschliff.models import nf4_kernel, quantised

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kernel = nf4_kernel.kernel("cpu", quantised.plain_nf4)
    print(kernel.sentence)
    if kernel.unpack is None:
        raise SystemExit("pip install 'feinschliff[qlora]'")
    plain, library = nf4_kernel.Kernel(None, ""), kernel
    shape = (1536, 576)
    packed = quantised.pack_nf4(torch.randn(shape))
    for dtype in (torch.float32, torch.bfloat16):
        given: Any = (packed.codes, packed.scales, quantised.BLOCK, shape, dtype)
        seconds = medians(
            {
                "plain": lambda given=given: quantised.plain_nf4(*given),
                "kernel": lambda given=given: library.unpack(*given),
            },
            20 * arguments.rounds,
        )
        print(json.dumps({"matrix": shape, "type": str(dtype), **{name: 1e3 * s for name, s in seconds.items()}}))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        runs = {"none": prepared(arguments, "none", Path(one)), "nf4": prepared(arguments, "nf4", Path(other))}

        def step(run: str, by: Any) -> Callable[[], None]:
            learner = runs[run].learner

            def job() -> None:
                nf4_kernel.kernel = lambda *_: by
                backward(learner, learner.order(0, 0)[:ROWS])
                learner.masters.discard_gradients()

            return job

        jobs = {"none": step("none", plain), "nf4, plain": step("nf4", plain), "nf4, kernel": step("nf4", library)}
        print(json.dumps({"seconds a step": medians(jobs, arguments.rounds)}))


if __name__ == "__main__":
    main()
