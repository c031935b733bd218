"""QLoRA: bytes of the frozen base and losses with it in full precision, 8 bits and 4, before and after some steps.

    scripts/bench qlora [--data-dir DIR] [--model NAME] [--rows 200] [--steps 6] [--precision fp32|bf16]

GSM8K chats: the first rows to train on, 16 of the test file to validate on. LoRA of rank 16 on all linear layers at the
default rate, 8 rows a step, the same rows in the same order for all. Before: the base model as it is held; after: with
the adapters of the last step; merged: the model folder, whose base is in full precision. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

VALIDATION_ROWS, TEST_ROWS = 16, 10


def chats(file: Path, count: int, folder: Path, name: str, begin: int = 0) -> str:
    """Rows of a file as conversations, in a file of their own."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines()[begin : begin + count]:
        row = json.loads(line)
        said = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
        lines.append(json.dumps({"messages": said}))
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return str(folder / name)


def one(arguments: argparse.Namespace, kind: str, folder: Path) -> dict[str, Any]:
    """Validate, train, merge."""
    from feinschliff.config.run import RunConfig
    from feinschliff.data.load import load_splits
    from feinschliff.lifecycle.prepare import prepare
    from feinschliff.lifecycle.train import RunContext, run
    from feinschliff.models.sources import resolve_model
    from feinschliff.store.run_directory import RunDirectory

    data, path = Path(arguments.data_dir) / "gsm8k", folder / kind
    path.mkdir()
    files = {
        "train": [chats(data / "train.jsonl", arguments.rows, folder, "train.jsonl")],
        "validation": [chats(data / "test.jsonl", VALIDATION_ROWS, folder, "validation.jsonl")],
        "test": [chats(data / "test.jsonl", TEST_ROWS, folder, "test.jsonl", VALIDATION_ROWS)],
    }
    training = {"max_steps": arguments.steps, "precision": arguments.precision, "keep_weights": "last"}
    asked: dict[str, Any] = {
        "task": {"type": "sft"},
        "method": {"type": "lora", "quantization": kind},
        "model": {"source": arguments.model},
        "data": {**files, "rows": "conversations"},
        "training": {
            **training,
            "global_batch_rows": 8,
            "evaluations_per_epoch": 1,
            "label_smoothing": 0.0,
            "weight_averaging": 0.0,
        },
        "output_dir": str(path),
    }
    config = RunConfig.model_validate(asked)
    splits, model = load_splits(config.data, 0), resolve_model(config.model.source)
    before = prepare(config, splits, model, path).validate()[0]
    result = run(config, splits, model, RunContext(RunDirectory(path)))
    held = result.quantised_base
    return {
        "quantization": kind,
        "before": before,
        "after": result.curve[-1].validation_loss,
        "merged": None if held is None else held.merged_validation_loss,
        "weights": None if held is None else held.weights,
        "bytes": None if held is None else held.num_bytes,
        "relative_error": None if held is None else held.relative_error,
    }


def main() -> None:
    """Print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="../shared/data")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    for kind in ("none", "int8", "nf4"):
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(arguments, kind, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
