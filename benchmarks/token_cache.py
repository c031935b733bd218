"""Conversations to rows of tokens: made anew, and read from the cache.

    scripts/bench token_cache [--data-dir DIR] [--model smollm2-135m-instruct] [--rows 7473] [--rounds 3]

Questions and answers of GSM8K's training file in the model's chat template. Seconds are medians of interleaved rounds;
in each the cache is emptied, filled and read. Both ways must give the same rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=7473)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    from transformers import AutoTokenizer

    from feinschliff.data.conversations import ASSISTANT, USER, Conversation, Message
    from feinschliff.data.examples import Example, Place
    from feinschliff.models.chat_rows import ChatRenderer
    from feinschliff.models.sources import resolve_model
    from feinschliff.tasks._chat_encoding import Rules, rendered

    renderer = ChatRenderer(AutoTokenizer.from_pretrained(resolve_model(given.model).folder))
    lines = (given.data_dir / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[: given.rows]
    chats = [
        Conversation((Message(USER, row["question"]), Message(ASSISTANT, row["answer"])))
        for row in map(json.loads, lines)
    ]
    examples = [Example((), (), Place("gsm8k", n), conversation=chat) for n, chat in enumerate(chats)]
    seconds: dict[str, list[float]] = {"anew": [], "anew, and kept": [], "read": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for name in seconds:
                rules = Rules("assistant", "report", "drop", 8192, None if name == "anew" else Path(folder))
                begin = time.perf_counter()
                found.append(rendered(renderer, examples, rules))
                seconds[name].append(time.perf_counter() - begin)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*"))
            if not all(
                np.array_equal(one.ids, other.ids) and np.array_equal(one.weights, other.weights)
                for one, other in zip(found[0].rows, found[2].rows, strict=True)
            ):
                raise SystemExit("the cache gave other rows")
    tokens = sum(len(row.ids) for row in found[0].rows)
    print(f"{len(examples):,} conversations, {tokens:,} tokens, {size / 2**20:.1f} MiB in the cache")
    for name, times in seconds.items():
        print(f"{name:16} {statistics.median(times):6.2f} s")


if __name__ == "__main__":
    main()
