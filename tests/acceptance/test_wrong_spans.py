"""Files of tokens with tags, and of texts with spans, that are wrong: refused with line and remedy, or counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.each_verb import (
    WORDS,
    Capture,
    Faulty,
    Wrong,
    assert_faulty,
    assert_refused_by_a_run,
    assert_wrong,
    learning,
)
from tests.acceptance.walk import Refusal, call

Rows = list[dict[str, Any]]


def sentences(count: int = 30, seed: int = 0) -> list[tuple[list[str], int]]:
    """Eight tokens each, and which of them is a name."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        place = rng.randrange(7)
        words = rng.choices(WORDS, k=8)
        found.append(([*words[:place], f"anna{number}", *words[place + 1 :]], place))
    return found


def conll(count: int = 30, seed: int = 0) -> str:
    """Nine lines a sentence."""
    lines = [
        "".join(f"{word} {'B-PER' if at == place else 'O'}\n" for at, word in enumerate(words)) + "\n"
        for words, place in sentences(count, seed)
    ]
    return "".join(lines)


def tagged(**fourth: Any) -> Rows:
    """Tokens with tags, the fourth row changed."""
    rows: Rows = [
        {"tokens": words, "ner_tags": ["B-PER" if at == place else "O" for at in range(8)]}
        for words, place in sentences()
    ]
    rows[3] |= fourth
    return rows


def marked(**fourth: Any) -> Rows:
    """Texts with spans, the fourth row changed."""
    rows: Rows = []
    for words, place in sentences():
        start = len(" ".join([*words[:place], ""]))
        rows.append({"text": " ".join(words), "spans": [span(start, start + len(words[place]))]})
    rows[3] |= fourth
    return rows


def span(start: int, end: int, **label: str) -> dict[str, Any]:
    return {"start": start, "end": end, **(label or {"label": "PER"})}


def lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def every(rows: Rows, **changes: Any) -> str:
    return lines([row | changes for row in rows])


GOOD = conll()
"""270 lines: what is appended stands from line 271 on."""
LENGTH = len(marked()[3]["text"])
LONE = Refusal("no tag behind 'lonely'", "data.conll:271", remedy="write O where the token is in no entity")
UNREADABLE = {
    "empty": ("", Refusal("the file is empty", "data.conll", remedy="a file with rows")),
    "documents alone": (
        "-DOCSTART- -X- -X- O\n\n" * 3,
        Refusal("the file holds no tokens", "data.conll", remedy="a token and its tag on each line"),
    ),
    "one column": (
        "the\nday\n\n" * 20,
        Refusal("most lines hold a token and no tag", "data.conll", "such as 'the'", "the tag behind each token"),
    ),
    "a line with one column": (GOOD + "lonely\nthe O\n", LONE),
    "mixed columns": (
        GOOD + "the DT O\nday O\nday NN O x\n",
        Refusal("3 columns instead of 2", "data.conll:271", "the line is 'the DT O'", "write 2 columns with blanks"),
    ),
}
WRONG = [
    Wrong(
        "all_o.conll",
        GOOD.replace("B-PER", "O"),
        Refusal("no row has a span", "all_o.conll", "nothing to find", "--target"),
        check=1,
    ),
    Wrong(
        "outside.jsonl",
        every(marked(), spans=[span(2, 999)]),
        Refusal("0 usable rows", "outside.jsonl", "dropped: 30 a span outside the text", "mend the rows"),
        check=1,
    ),
    Wrong(
        "no_labels.jsonl",
        every(marked(), spans=[{"start": 0, "end": 3}]),
        Refusal("the spans in column 'spans' have no labels", "no_labels.jsonl:1", "label, type", '"label": "PER"'),
    ),
    Wrong(
        "no_lists.jsonl",
        every(marked(), spans="PER"),
        Refusal("no column of spans or tags was found", "no_lists.jsonl", "columns: text, spans", "--target COLUMN"),
        options=("--task", "token_classification"),
    ),
    Wrong(
        "lengths.jsonl",
        every(tagged(), ner_tags=["O", "B-PER", "O"]),
        Refusal("'tokens' and 'ner_tags' differ in length", "lengths.jsonl:1", "8 tokens and 3 tags", "write O"),
    ),
    Wrong(
        "numbers.jsonl",
        every(tagged(), ner_tags=[0, 1, 0, 0, 0, 0, 0, 0]),
        Refusal("tags in column 'ner_tags' are numbers", "numbers.jsonl:1", "the first is 0", "--data.tag-names O,B-P"),
    ),
    Wrong(
        "a_number.jsonl",
        lines(tagged(ner_tags=["O", 1, "O", "O", "O", "O", "O", "O"])),
        Refusal(
            "tags in column 'ner_tags' are numbers", "a_number.jsonl:4", "the first is 1", "write the tags as words"
        ),
    ),
    Wrong(
        "one.conll",
        conll(1),
        Refusal("1 usable row: too few", "one.conll", "rows to train on", "some dozens of rows"),
        check=1,
    ),
]


def fourth(name: str, reason: str, content: Rows, predicted: str | None = None, **more: Any) -> Faulty:
    """A file of which only the fourth row is dropped; what stands in a reason behind its colon is not counted."""
    said = f"1 rows dropped: {reason.split(':')[0]}"
    listed = f'{name},4,"{reason}' if "," in reason else f"{name},4,{reason}"
    return Faulty(name, lines(content), said, (listed,), predicted=predicted, **more)


FAULTY = [
    Faulty(
        "bad_tag.conll",
        GOOD + "the O\nanna Q-PER\nday PERSON\n\n",
        "1 rows dropped: a tag that is not IOB2",
        ("bad_tag.conll,271,a tag that is not IOB2: 'Q-PER'",),
        evaluated=30,
    ),
    fourth("outside.jsonl", f"a span outside the text: 2 to 999 of {LENGTH} characters", marked(spans=[span(2, 999)])),
    fourth("before.jsonl", "a span that ends where it starts, or before: 5 to 2", marked(spans=[span(5, 2)])),
    fourth("no_label.jsonl", "a span without a label: 0 to 3", marked(spans=[{"start": 0, "end": 3}])),
    fourth("no_list.jsonl", "column 'spans' is not a list of spans: 'PER'", marked(spans="PER")),
    fourth("no_spans.jsonl", "no spans in column 'spans' (an empty list says", marked(spans=None)),
    fourth("lengths.jsonl", "as many tags as tokens are needed: 8 tokens, 3 tags", tagged(ner_tags=["O"] * 3)),
    fourth("number.jsonl", "a number instead of a text in column 'text'", marked(text=7), predicted="a number instead"),
    Faulty(
        "overlap.jsonl",
        lines(marked(spans=[span(0, 14), span(4, 9)])),
        "1 spans were left out: a longer one covers a part of them",
    ),
]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A finished run of token classification on CoNLL."""
    from feinschliff.cli.main import main

    folder = tmp_path_factory.mktemp("tagger")
    (folder / "good.conll").write_text(conll(40), encoding="utf-8")
    arguments = learning("train", str(folder / "good.conll"), tiny_bert)
    assert main([*arguments, "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(name: str, desk: Path, tiny_bert: Path, tagger: Path, capsys: Capture) -> None:
    content, refusal = UNREADABLE[name]
    assert_wrong(Wrong("data.conll", content, refusal), tiny_bert, capsys)
    assert_refused_by_a_run(tagger, ["data.conll"], refusal, capsys)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_nothing_to_learn(case: Wrong, desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    assert_wrong(case, tiny_bert, capsys)


@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_goes_on_and_says_so(case: Faulty, desk: Path, tiny_bert: Path, capsys: Capture, tagger: Path) -> None:
    assert_faulty(case, tiny_bert, tagger if case.evaluated else Path("runs/train"), capsys)


def test_numbers_with_names_are_tags(desk: Path, tiny_bert: Path, capsys: Capture) -> None:
    """What the refusal advises helps."""
    (desk / "numbers.jsonl").write_text(every(tagged(), ner_tags=[0, 1, 0, 0, 0, 0, 0, 0]), encoding="utf-8")
    trained = call(capsys, *learning("train", "numbers.jsonl", tiny_bert), "--data.tag-names", "O,B-PER,I-PER")
    assert trained.code == 0, trained
    assert "30 entities of 1 types (PER 30)" in trained.err


def test_a_check_counts_faults_of_one_kind_together(desk: Path, capsys: Capture) -> None:
    (desk / "data.jsonl").write_text(every(marked(), spans=[span(2, 999)]), encoding="utf-8")
    findings = call(capsys, "data", "check", "data.jsonl", "--model", "none", "--json").document["findings"]
    assert [(one["severity"], one["kind"], one["count"]) for one in findings] == [
        ("error", "too_few_rows", 0),
        ("warning", "missing_label", 30),
    ]
    assert findings[1]["examples"][3]["note"].endswith(f"2 to 999 of {LENGTH} characters")


def test_types_that_no_training_row_has_count_as_missed(
    desk: Path, tiny_bert: Path, tagger: Path, capsys: Capture
) -> None:
    (desk / "good.conll").write_text(GOOD, encoding="utf-8")
    (desk / "places.conll").write_text(conll(seed=1).replace("B-PER", "B-LOC"), encoding="utf-8")
    said = "30 entities of types that no training row has (LOC 30): they count as missed"
    judged = call(capsys, "evaluate", str(tagger), "places.conll", "--json")
    assert judged.document["metrics"]["entity_recall"]["value"] == 0
    assert said in judged.document["notes"]
    for verb, option in (("train", "--validation"), ("train", "--test"), ("tune", "--test")):
        command = [*learning(verb, "good.conll", tiny_bert), option, "places.conll"]
        outcome = call(capsys, *command, "--output-dir", f"runs/{verb}{option}")
        assert outcome.code in (0, 1), outcome
        assert said in outcome.err
    assert call(capsys, "evaluate", "runs/train--test", "--json").document["rows"] == 30
    checked = call(capsys, "data", "check", "good.conll", "--test", "places.conll", "--model", "none", "--json")
    assert ("warning", "unknown_label") in {(one["severity"], one["kind"]) for one in checked.document["findings"]}
