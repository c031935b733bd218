"""The check finds what was planted, with file and line; label noise is found by cross-validation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from feinschliff.config.data import DataConfig
from feinschliff.data.examples import Example
from feinschliff.data.label_noise import suspected
from feinschliff.data.label_quality import spellings
from feinschliff.data.quality import ModelHooks, check
from feinschliff.results.data import DataReport, Finding
from tests.data.test_load import rows, write


def by_kind(report: DataReport) -> dict[str, Finding]:
    return {finding.kind: finding for finding in report.findings}


def places(finding: Finding) -> list[int]:
    return [row.line for row in finding.examples]


@pytest.fixture
def report(tmp_path: Path) -> DataReport:
    data = [
        *rows(60),  # lines 2 to 61
        (rows()[4][0], "a"),  # 62: exact duplicate of line 6
        (rows()[4][0].upper(), "a"),  # 63: near
        (rows()[7][0], "a"),  # 64: conflict with line 9
        (rows()[12][0].replace("since", "for"), "a"),  # 65: near, line 14
        ("", "a"),  # 66
        ("a text without a label", ""),  # 67
        ("another one", "NaN"),  # 68
        ("fresh words stand here", "A "),  # 69: spelling
        ("x" * 200_000, "b"),  # 70
        ("the only one of its kind", "solo"),  # 71
    ]
    test = write(tmp_path / "test.csv", [(rows()[20][0] + "!!", "a"), ("all new here", "zzz")])
    config = DataConfig(train=(write(tmp_path / "rows.csv", data),))
    with_test = DataConfig(train=config.train, test=(test,))
    alone, together = check(config), check(with_test)
    alone.findings += [finding for finding in together.findings if finding.kind in ("overlap", "unknown_label")]
    return alone


def test_findings_with_their_lines(report: DataReport) -> None:
    found = by_kind(report)
    assert places(found["duplicate"]) == [62]
    assert places(found["near_duplicate"]) == [63, 65]
    assert places(found["conflicting_labels"]) == [64]
    assert "'a' here, 'b' in" in found["conflicting_labels"].examples[0].note
    assert places(found["empty"]) == [66]
    assert places(found["missing_label"]) == [67]
    assert places(found["nan_cells"]) == [68]
    assert found["label_spelling"].count == 1
    assert places(found["cell_size"]) == [70]
    assert 71 in places(found["single_row_class"])
    assert places(found["overlap"]) == [22]
    assert places(found["unknown_label"]) == [3]
    assert report.rows == 70
    assert report.label_counts["a"] == 34


def test_errors_first_and_texts_shown(report: DataReport) -> None:
    alone = [finding.severity for finding in report.findings[:-2]]
    assert alone == sorted(alone, key=["error", "warning", "info"].index)
    assert by_kind(report)["duplicate"].examples[0].text == rows()[4][0]
    assert any("delimiter comma" in note for note in report.columns.announcements)


def test_lengths_and_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [("word " * n, "ab"[n % 2]) for n in range(1, 101)])
    hooks = ModelHooks(count_tokens=lambda rows: [len(row.texts[0].split()) for row in rows], limit_tokens=90)
    report = check(DataConfig(train=(path,)), hooks)
    assert report.lengths is not None
    assert (report.lengths.longest, report.lengths.median) == (100, 50.5)
    assert report.lengths.cut_at == {32: 0.68, 64: 0.36, 90: 0.1}
    assert by_kind(report)["length"].count == 10
    assert by_kind(report)["length"].examples[0].note == "100 tokens"


def test_imbalance_and_one_class(tmp_path: Path) -> None:
    data = [(text, "rare" if n in (5, 6) else "usual") for n, (text, _) in enumerate(rows())]
    found = by_kind(check(DataConfig(train=(write(tmp_path / "rows.csv", data),))))
    assert "'usual' has 58 rows, 'rare' 2" in found["imbalance"].message
    one = by_kind(check(DataConfig(train=(write(tmp_path / "one.csv", [(text, "a") for text, _ in rows()]),))))
    assert one["one_class"].severity == "error"


def test_clean_data_has_no_findings(tmp_path: Path) -> None:
    assert check(DataConfig(train=(write(tmp_path / "rows.csv", rows()),))).findings == []


def test_label_errors_in_a_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    data = [(f"row {n} {draw.integers(10**9)} about {'cats' if n % 2 else 'dogs'}", "ab"[n % 2]) for n in range(200)]
    data[10] = (data[10][0], "b")

    def embed(rows: list[tuple[str, ...]]) -> np.ndarray:
        cats = np.array([[1.0, 0.0] if "cats" in text else [0.0, 1.0] for (text,) in rows])
        return np.asarray(cats + np.random.default_rng(1).normal(0, 0.1, cats.shape))

    finding = by_kind(check(DataConfig(train=(write(tmp_path / "rows.csv", data),)), ModelHooks(embed=embed)))[
        "label_error"
    ]
    assert places(finding)[0] == 12
    assert "'b', but 'a'" in finding.examples[0].note


def test_few_rows_do_not_judge_each_others_labels(tmp_path: Path) -> None:
    hooks = ModelHooks(embed=lambda rows: np.random.default_rng(0).normal(size=(len(rows), 4)))
    finding = by_kind(check(DataConfig(train=(write(tmp_path / "rows.csv", rows(40)),)), hooks))["label_error"]
    assert (finding.severity, finding.count) == ("info", 0)
    assert "too few" in finding.message


def test_a_pair_whose_first_text_holds_a_line_break_is_handed_over_as_that_pair(tmp_path: Path) -> None:
    data = [{"question": f"subject {n}\n{text}", "answer": "yes it is", "label": label} for n, (text, label) in
            enumerate(rows(80))]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, data)))
    measured: list[tuple[str, ...]] = []
    embedded: list[tuple[str, ...]] = []

    def count_tokens(pairs: Sequence[Example]) -> list[int]:
        measured.extend(pair.texts for pair in pairs)
        return [1] * len(pairs)

    def embed(pairs: list[tuple[str, ...]]) -> np.ndarray:
        embedded.extend(pairs)
        return np.eye(len(pairs), 4)

    check(DataConfig(train=(str(tmp_path / "pairs.jsonl"),)), ModelHooks(count_tokens=count_tokens, embed=embed))
    assert measured == embedded == [(row["question"], row["answer"]) for row in data]


def test_validation_rows_that_stand_in_the_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", rows(30))
    held_out = [write(tmp_path / f"{name}.csv", rows()[30:]) for name in ("dev", "test")]
    report = check(DataConfig(train=(train,), validation=(held_out[0],), test=(held_out[1],)))
    (overlap,) = [finding for finding in report.findings if finding.kind == "overlap"]
    assert (overlap.severity, overlap.count) == ("warning", 30)
    assert overlap.message == "30 validation rows stand in the test file too, exactly or nearly"
    assert overlap.examples[0].note == f"same words as {held_out[1]}:2"


def test_rows_on_one_line_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in [*rows(), rows()[7]]]))
    duplicate = by_kind(check(DataConfig(train=(str(path),))))["duplicate"]
    assert [(row.line, row.note) for row in duplicate.examples] == [(61, f"same as {path}:8")]


def test_planted_label_noise_is_found() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 4, 1000)
    centres = draw.normal(0, 1, (4, 16))
    embeddings = (centres[true] + draw.normal(0, 0.4, (1000, 16))).astype(np.float32)
    given = true.copy()
    wrong = draw.choice(1000, 50, replace=False)
    given[wrong] = (given[wrong] + draw.integers(1, 4, 50)) % 4
    found = suspected(embeddings, [str(label) for label in given], ["0", "1", "2", "3"])
    rows_found = {one.row for one in found}
    assert len(rows_found & set(wrong.tolist())) >= 42
    assert len(rows_found & set(wrong.tolist())) >= 0.95 * len(rows_found)
    assert all(one.suggested == str(true[one.row]) for one in found[:20])
    assert found == suspected(embeddings, [str(label) for label in given], ["0", "1", "2", "3"])


def test_spellings() -> None:
    counts = Counter({"Card lost": 5, "card lost": 2, "card  lost ": 1, "Other": 1, " alone": 2})
    assert spellings(counts) == {"card lost": "Card lost", "card  lost ": "Card lost", " alone": "alone"}


def talks(*answers: str, first: int = 0) -> str:
    lines = [{"prompt": f"what is number {n} of {n * 7}?", "completion": text} for n, text in enumerate(answers, first)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_answers_of_training_rows_are_looked_at(tmp_path: Path) -> None:
    usual = [f"It is the number {n}, which stands between two others." for n in range(30)]
    (tmp_path / "train.jsonl").write_text(talks(*usual, "I'm sorry, but I can't help with that."))
    (tmp_path / "test.jsonl").write_text(talks("I cannot help with that.", "As an AI, I don't know.", first=50))
    train, test = str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl")
    for config in (DataConfig(train=(train,)), DataConfig(train=(train,), test=(test,))):
        report = check(config)
        refusal = by_kind(report)["refusal"]
        assert (refusal.severity, refusal.count, places(refusal)) == ("warning", 1, [31])
        assert refusal.examples[0].file == train
        severities = [finding.severity for finding in report.findings]
        assert severities == sorted(severities, key=["error", "warning", "info"].index)


def test_labelled_texts_have_no_answers_to_look_at(tmp_path: Path) -> None:
    data = [(f"I cannot help you with {text}", label) for text, label in rows()]
    assert "refusal" not in by_kind(check(DataConfig(train=(write(tmp_path / "rows.csv", data),))))


@pytest.mark.parametrize(("fate", "words"), [("", "would be dropped"), ("cut", "would be cut")])
def test_lengths_of_conversations(tmp_path: Path, fate: str, words: str) -> None:
    (tmp_path / "talks.jsonl").write_text(talks(*("word " * n for n in range(1, 21))))
    seen: list[Example] = []

    def count_tokens(examples: Sequence[Example]) -> list[int]:
        seen.extend(examples)
        return [0 if number == 0 else len(example.references[0].split()) for number, example in enumerate(examples)]

    report = check(DataConfig(train=(str(tmp_path / "talks.jsonl"),)), ModelHooks(count_tokens, 15, long_rows=fate))
    assert all(example.conversation is not None for example in seen)
    assert report.lengths is not None
    assert (report.lengths.mean, report.lengths.longest) == (11.0, 20)
    finding = by_kind(report)["length"]
    assert finding.count == 5
    assert words in finding.message


@pytest.mark.parametrize(("kind", "fate"), [("documents", ""), ("conversations", "read in windows")])
def test_rows_that_are_read_in_windows_are_not_too_long(tmp_path: Path, kind: str, fate: str) -> None:
    text = "".join(json.dumps({"text": f"{n} " * 200}) + "\n" for n in range(8))
    (tmp_path / "rows.jsonl").write_text(text if kind == "documents" else talks(*(f"{n} " * 200 for n in range(8))))
    hooks = ModelHooks(lambda rows: [200] * len(rows), 15, long_rows=fate)
    report = check(DataConfig(train=(str(tmp_path / "rows.jsonl"),)), hooks)
    assert report.columns.kind == kind
    assert report.lengths is not None
    assert "length" not in by_kind(report)
