"""Files of numbers to be predicted that are wrong: refused with the column and what it says, or counted and listed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.each_verb import WORDS, Capture, Faulty, Wrong, assert_faulty, assert_wrong, learning
from tests.acceptance.walk import Refusal, assert_refused, call

REGRESSION = ("--task", "regression")


def rows(count: int = 60) -> list[tuple[str, str]]:
    """Texts with a number for each."""
    rng = random.Random(0)
    texts = [rng.choices(WORDS, k=9) for _ in range(count)]
    return [(" ".join(words), f"{1.5 * words.count('car') + rng.random():.3f}") for words in texts]


def table(content: list[tuple[str, str]], header: str = "text,amount") -> str:
    return "".join(f"{line}\n" for line in (header, *(f"{text},{number}" for text, number in content)))


def amounts(changed: Mapping[int, str]) -> str:
    """The table with other amounts in some lines; the first row is line 2."""
    return table([(text, changed.get(line, number)) for line, (text, number) in enumerate(rows(), 2)])


def every(amount: str) -> str:
    return table([(text, amount) for text, _ in rows()])


COMMAS = table([(text, '"' + number.replace(".", ",") + '"') for text, number in rows()])
WRONG = [
    Wrong(
        "same.csv",
        every("2.5"),
        Refusal("column 'amount' holds one number in all rows", "same.csv", "nothing to predict", "--target COLUMN"),
        options=REGRESSION,
    ),
    Wrong(
        "commas.csv",
        COMMAS,
        Refusal(
            "no column of numbers", "commas.csv", "amount holds numbers with a decimal comma", "with a point (3.5)"
        ),
        options=REGRESSION,
    ),
    Wrong(
        "named_commas.csv",
        COMMAS,
        Refusal("0 usable rows", "named_commas.csv", "60 no number in column 'amount' (it says '", "mend the rows"),
        options=(*REGRESSION, "--data.target", "amount"),
    ),
    Wrong(
        "words.csv",
        every("much"),
        Refusal("no column of numbers to be predicted", "words.csv", "amount (1 distinct", "--target COLUMN"),
        options=REGRESSION,
    ),
    Wrong(
        "empty.csv",
        every(""),
        Refusal("no column of numbers to be predicted", "empty.csv", "amount (0 distinct", "--target COLUMN"),
        options=REGRESSION,
    ),
    Wrong(
        "labels.csv",
        table([(text, "ab"[line % 2]) for line, (text, _) in enumerate(rows())], "text,label"),
        Refusal("0 usable rows", "labels.csv", "60 no number in column 'label' (it says 'a', 'b')", "mend the rows"),
        check=0,
        options=REGRESSION,
    ),
    Wrong(
        "two_targets.csv",
        table(rows()),
        Refusal("there is no column 'wieght'", "--target", remedy="columns: text, amount"),
        check=0,
        options=(*REGRESSION, "--data.target", "amount,wieght"),
    ),
    Wrong(
        "second_empty.csv",
        table([(text, f"{number},") for text, number in rows()], "text,amount,weight"),
        Refusal("column 'weight' holds one number in all rows, or none", "second_empty.csv", "nothing", "--target"),
        check=0,
        options=(*REGRESSION, "--data.target", "amount,weight"),
    ),
    Wrong(
        "few.csv",
        table(rows(3)),
        Refusal("3 usable rows: too few", "few.csv", "rows to test on", "some dozens of rows"),
        check=1,
        options=REGRESSION,
    ),
    Wrong(
        "much_infinite.csv",
        amounts({5: "inf", 6: "-inf"}),
        Refusal("no label column was found", "much_infinite.csv", "amount (60", "--target amount"),
    ),
]


def says(name: str, line: int, cell: str) -> Faulty:
    """A file with one amount that is none."""
    reason = f"no number in column 'amount' (it says {cell!r})"
    quoted = f'"{reason}"' if "," in reason else reason
    content = amounts({line: f'"{cell}"'})
    return Faulty(name, content, f"1 rows dropped: {reason}", (f"{name},{line},{quoted}",), evaluated=59)


FAULTY = [
    says("words.csv", 5, "much"),
    says("nan.csv", 6, "nan"),
    says("infinite.csv", 7, "-Infinity"),
    says("comma.csv", 8, "3,5"),
    says("share.csv", 9, "12%"),
    says("huge.csv", 10, "1e300"),
    Faulty(
        "empty.csv",
        amounts({4: "", 9: ""}),
        "2 rows dropped: no number in column 'amount'",
        ("empty.csv,4,no number in column 'amount'", "empty.csv,9,no number"),
        evaluated=58,
    ),
    Faulty(
        "several.csv",
        amounts({4: "much", 9: "more", 11: "less", 13: "little"}),
        "4 rows dropped: no number in column 'amount' (it says 'much', 'more', 'less' ...)",
        tuple(f"several.csv,{line},no number in column 'amount' (it says" for line in (4, 9, 11, 13)),
        evaluated=56,
        options=REGRESSION,
        check=2,
    ),
    Faulty(
        "no_text.csv",
        table([("" if line == 5 else text, number) for line, (text, number) in enumerate(rows(), 2)]),
        "1 rows dropped: no text in column 'text'",
        ("no_text.csv,5,no text in column 'text'",),
        evaluated=59,
        predicted="no text in column 'text'",
    ),
]


@pytest.fixture(scope="module")
def judge_of_amounts(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A finished run of regression."""
    from feinschliff.cli.main import main

    folder = tmp_path_factory.mktemp("amounts")
    (folder / "good.csv").write_text(table(rows()), encoding="utf-8")
    assert main([*learning("train", str(folder / "good.csv"), tiny_bert), "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_nothing_to_learn(case: Wrong, desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    assert_wrong(case, tiny_bert, capsys)


@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_goes_on_and_says_so(
    case: Faulty, desk: Path, tiny_bert: Path, judge_of_amounts: Path, capsys: Capture
) -> None:
    assert_faulty(case, tiny_bert, judge_of_amounts, capsys)


def test_a_run_cannot_be_judged_without_numbers(desk: Path, judge_of_amounts: Path, capsys: Capture) -> None:
    """To be answered the same files will do: their numbers are not looked at."""
    (desk / "commas.csv").write_text(COMMAS, encoding="utf-8")
    expected = Refusal("no row can be used", "commas.csv", "60 rows dropped: no number in column 'amount'", "mend")
    assert_refused(call(capsys, "evaluate", str(judge_of_amounts), "commas.csv", "--json"), expected)
    (desk / "labels.csv").write_text(table(rows(), "text,label"), encoding="utf-8")
    missing = Refusal("there is no column 'amount'", "labels.csv", "was trained with it", "text, label")
    assert_refused(call(capsys, "evaluate", str(judge_of_amounts), "labels.csv", "--json"), missing)
    for file in ("commas.csv", "labels.csv"):
        assert len(call(capsys, "predict", str(judge_of_amounts), "--file", file, "--json").document) == 60
