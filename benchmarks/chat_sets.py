"""Instruction tuning on three sets, from file to verdict: held-out loss before and after, and the answers to be read.

    scripts/bench chat_sets [--data-dir DIR] [--sets gsm8k alpaca_en_demo medquad] [--share 1.0] [--threads 2]
                            [--written-rows 32] [--output-dir DIR]

`feinschliff tune` with its starter model and its own recipe, one pass over some rows of each set, for
which ten minutes a set on two cores were aimed at.
GSM8K is judged on rows of its own test file; of the others a fifth of the rows is held
out (of MedQuAD whole documents). Rows are drawn with a fixed seed; of MedQuAD those with answers of at most 1,200
characters. The base model's answers stand beside the tuned one's in each run's report.html, and some are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from feinschliff.results.comparison import TuneResult
from feinschliff.results.formats import format_metric_name, format_value
from feinschliff.results.measures import Measure
from feinschliff.store.run_directory import RunDirectory, read_json

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChatSet:
    """What of a set is used."""

    train: str
    num_rows: int
    test: str | None = None
    num_test_rows: int = 0
    longest_answer: int | None = None
    """In characters."""
    options: tuple[str, ...] = ()


CHECKS = "after_mark=after:####,last_number=last_number"
"""The mark is a habit of the set that the base model seldom has; the last number of an answer may be right without."""
SETS = {
    "gsm8k": ChatSet("gsm8k/train.jsonl", 530, "gsm8k/test.jsonl", 150, options=("--evaluation.checks", CHECKS)),
    "alpaca_en_demo": ChatSet("llamafactory_demo/alpaca_en_demo.json", 300),
    "medquad": ChatSet("medquad/medquad.jsonl", 300, longest_answer=1200, options=("--data.group", "doc")),
}
SHOWN_METRICS = ("loss", "perplexity", "token_accuracy", "exact_match", "after_mark", "last_number", "rouge_l")
SHOWN_CHARACTERS = 700


def read_rows(file: Path) -> Rows:
    """A JSON list, or JSON lines."""
    text = file.read_text(encoding="utf-8")
    return list(json.loads(text)) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def drawn(rows: Rows, count: int, longest_answer: int | None = None) -> Rows:
    """``count`` rows at random, always the same ones; of those whose answers are not too long."""
    short = [row for row in rows if longest_answer is None or len(row["answer"]) <= longest_answer]
    return random.Random(0).sample(short, min(count, len(short)))


def write_files(one: ChatSet, data: Path, folder: Path) -> list[str]:
    """The rows that are used, as files; what to tell `feinschliff tune` about them."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"train": (one.train, one.num_rows)}
    if one.test is not None:
        wanted["test"] = (one.test, one.num_test_rows)
    for name, (file, count) in wanted.items():
        rows = drawn(read_rows(data / file), count, one.longest_answer)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    held_out = ["--test", str(folder / "test.jsonl")] if one.test is not None else []
    return [str(folder / "train.jsonl"), *held_out, *one.options]


def tuned(name: str, given: argparse.Namespace) -> TuneResult:
    """One set; a second start of the script goes on where the first was.

    Raises:
        RuntimeError: `feinschliff tune` failed.
    """
    folder = Path(given.output_dir) / name
    whole = SETS[name]
    train, test = (int(given.share * count) for count in (whole.num_rows, whole.num_test_rows))
    arguments = write_files(replace(whole, num_rows=train, num_test_rows=test), given.data_dir, folder)
    arguments += ["--output-dir", str(folder / "run"), "--budget", "2h", "--training.num-threads", str(given.threads)]
    arguments += ["--training.epochs", "1", "--evaluation.written-rows", str(given.written_rows)]
    code = subprocess.run([sys.executable, "-m", "feinschliff", "tune", *arguments]).returncode
    if code not in (0, 1):
        raise RuntimeError(f"tune on {name} ended with exit code {code}")
    return TuneResult.model_validate(read_json(RunDirectory(folder / "run").result))


def show(name: str, result: TuneResult, most: int) -> None:
    """Figures before and after, then answers side by side."""
    training, base = result.details.training, next(iter(result.baselines.values()))
    steps = "" if training is None else f", {training.steps} steps, {training.tokens:,} tokens"
    rows = result.rows
    print(f"\n== {name}: {rows.train} training, {rows.validation} validation, {rows.test} test rows{steps}")
    for metric in SHOWN_METRICS:
        if metric in result.test:
            before, after = (_measured(metric, found[metric]) for found in (base, result.test))
            print(f"{format_metric_name(metric):16} base {before:28} tuned {after}")
    print(f"{result.verdict}: {result.details.verdict.sentence}")
    forecast = result.details.forecast_seconds
    print(f"{result.seconds:.0f} s" + ("" if forecast is None else f", forecast {forecast:.0f} s"))
    for answer in result.details.evaluation.written[:most]:
        print(f"\n-- asked: {answer.prompt[-SHOWN_CHARACTERS:]}\n-- right: {answer.reference[:SHOWN_CHARACTERS]}")
        print(f"-- base: {(answer.baseline or '')[:SHOWN_CHARACTERS]}\n-- tuned: {answer.written[:SHOWN_CHARACTERS]}")
    print(f"\nreport: {result.report}", flush=True)


def _measured(metric: str, measure: Measure) -> str:
    """With its interval."""
    value, low, high = (format_value(metric, number) for number in (measure.value, measure.low, measure.high))
    return f"{value} ({low} to {high})"


def main() -> None:
    """All sets, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--sets", nargs="*", choices=tuple(SETS), default=list(SETS))
    parser.add_argument("--share", type=float, default=1.0, help="of the rows that are used by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--written-rows", type=int, default=32)
    parser.add_argument("--show", type=int, default=6, help="answers that are printed, a set")
    parser.add_argument("--output-dir", help="of the runs; default: a new folder for temporary files, which stays")
    given = parser.parse_args()
    given.output_dir = given.output_dir or tempfile.mkdtemp(prefix="chat-sets-")
    for name in given.sets:
        show(name, tuned(name, given), given.show)


if __name__ == "__main__":
    main()
