"""Options that do not exist or cannot hold are all named at once, with the nearest that does or the limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.walk import Refusal, assert_refused, call, contents

CASES: dict[str, tuple[list[str], list[Refusal]]] = {
    "unknown verb": (["tun", "good.csv"], [Refusal("unknown verb 'tun'", "command line", remedy="feinschliff tune")]),
    "unknown option": (
        ["train", "good.csv", "--training.lerning-rate", "3"],
        [Refusal("--training.lerning-rate", "command line", remedy="--training.learning-rate")],
    ),
    "unknown short option": (
        ["tune", "good.csv", "--modle", "folder"],
        [Refusal("unknown option --modle", "command line", remedy="did you mean --model?")],
    ),
    "unknown option of a plain verb": (
        ["data", "check", "good.csv", "--traget", "label"],
        [Refusal("no such option: --traget", "command line", remedy="feinschliff data --help")],
    ),
    "values out of range, all at once": (
        ["train", "good.csv", "--training.epochs", "-1", "--training.micro-batch-tokens", "x", "--seed", "1"],
        [
            Refusal("training.epochs = -1", "--training.epochs", "greater than 0", "greater than 0"),
            Refusal("training.micro_batch_tokens = x", "--training.micro-batch-tokens", remedy="whole number"),
        ],
    ),
    "unknown method": (
        ["train", "good.csv", "--method.type", "lorra"],
        [Refusal("lorra", "--method.type", remedy="lora")],
    ),
    "a field of another method": (
        ["train", "good.csv", "--method.type", "full", "--method.rank", "8"],
        [Refusal("--method.rank", "command line", remedy="method")],
    ),
    "a share out of range": (
        ["data", "check", "good.csv", "--near-duplicate-similarity", "7"],
        [Refusal("7.0", "--near-duplicate-similarity", remedy="limits")],
    ),
    "not a time": (["tune", "good.csv", "--budget", "soon"], [Refusal("soon", "--budget", remedy="90s, 10m or 1h30m")]),
    "no data": (["train"], [Refusal("no data to train on", "data.train", remedy="feinschliff train tickets.csv")]),
    "no such file": (["train", "god.csv"], [Refusal("no file 'god.csv'", "", "looked in", "did you mean 'good.csv'?")]),
    "no such column": (
        ["train", "good.csv", "--target", "lable"],
        [Refusal("no column 'lable'", "--target", remedy="did you mean --target label?")],
    ),
    "a metric that does not exist": (
        ["train", "good.csv", "--evaluation.metric", "nonsense"],
        [Refusal("'nonsense' cannot decide", "evaluation.metric", remedy="accuracy, macro_f1")],
    ),
    "a metric of several labels": (
        ["tune", "good.csv", "--evaluation.metric", "micro_f1"],
        [Refusal("'micro_f1' cannot decide over rows with one label", "evaluation.metric", remedy="accuracy")],
    ),
    "a metric of which less is better": (
        ["tune", "good.csv", "--evaluation.metric", "hamming_loss"],
        [Refusal("'hamming_loss' cannot decide", "evaluation.metric", "tell better from worse", "accuracy")],
    ),
    "no such run": (["evaluate", "runs/none"], [Refusal("there is no run runs/none", remedy="runs list")]),
    "nothing to predict": (
        ["predict", "runs/finished"],
        [Refusal("nothing to predict", "command line", remedy="--file")],
    ),
    "an empty text": (["predict", "runs/finished", " "], [Refusal("a text is empty", "text 1", remedy="a word")]),
    "a file without the column": (
        ["predict", "runs/finished", "--file", "other.csv"],
        [Refusal("no column 'text'", "other.csv", "trained with it", "its columns: question, answer")],
    ),
    "no such YAML file": (
        ["train", "--config", "run.yaml"],
        [Refusal("run.yaml cannot be read", "--config", "No such file", "a YAML file")],
    ),
    "a YAML file that is none": (
        ["train", "--config", "broken.yaml"],
        [Refusal("not valid YAML", "broken.yaml:3", "expected", "mend the line")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, desk: Path, good: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = CASES[name]
    (desk / "other.csv").write_text("question,answer\nwhere,there\n", encoding="utf-8")
    (desk / "broken.yaml").write_text("training:\n  epochs: [3\nseed: 1\n", encoding="utf-8")
    before = contents(finished), good.read_bytes()
    assert_refused(call(capsys, *arguments, "--json"), *expected)
    assert (contents(finished), good.read_bytes()) == before


def test_a_failed_start_does_not_block_its_own_correction(
    desk: Path, train: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{word} parcel lost {n},{n / 7:.5f},{n % 2}" for n, word in enumerate(["red", "blue"] * 20)]
    (desk / "data.csv").write_text("\n".join(["text,points,subject_of_it", *lines]) + "\n", encoding="utf-8")
    assert call(capsys, *train("data.csv"), "--target", "subject").code == 2
    again = call(capsys, *train("data.csv"), "--target", "subject_of_it")
    assert again.code == 0, again.err
    before = contents(desk / "runs" / "new" / "model")
    expected = Refusal("another configuration", "output_dir", "training.epochs: 1.0 there, 2.0 here", "--output-dir")
    assert_refused(call(capsys, *train("data.csv", epochs=2), "--target", "subject_of_it"), expected)
    assert contents(desk / "runs" / "new" / "model") == before
    (listed,) = [run for run in call(capsys, "runs", "list", "--json").document["runs"] if run["path"] == "runs/new"]
    assert listed["status"] == "finished"
