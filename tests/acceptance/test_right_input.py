"""What a finished run answers, as a person asks it: on its own held-out rows, a file, a pipe, pairs, several labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.walk import Refusal, assert_no_traceback, assert_refused, call, contents, rows, table

Train = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]


def test_evaluate_on_its_own_rows_and_on_a_file(desk: Path, finished: Path, capsys: Capture) -> None:
    (desk / "more rows.csv").write_text(table(rows(30, seed=2), "question,kind"), encoding="utf-8")
    before = contents(finished / "model")
    own = call(capsys, "evaluate", "runs/finished")
    assert own.code == 0, own.err
    assert "12 rows" in own.out
    assert "report: runs/finished/evaluations/held-out/report.html" in own.out
    arguments = ("evaluate", "runs/finished", "more rows.csv", "--text", "question", "--target", "kind", "--json")
    other = call(capsys, *arguments)
    assert other.document["rows"] == 30
    assert other.document["report"] == "runs/finished/evaluations/more-rows.csv/report.html"
    for name in ("held-out", "more-rows.csv"):
        page = finished / "evaluations" / name / "report.html"
        assert "</html>" in page.read_text(encoding="utf-8")
    assert contents(finished / "model") == before


def test_evaluate_a_mere_model_folder_writes_nothing_into_it(desk: Path, finished: Path, capsys: Capture) -> None:
    assert call(capsys, "export", "runs/finished", "--output-dir", "model").code == 0
    assert (desk / "model" / "README.md").read_text(encoding="utf-8").startswith("---\n")
    (desk / "test.csv").write_text(table(rows(30, seed=2)), encoding="utf-8")
    before = contents(desk / "model")
    outcome = call(capsys, "evaluate", "model", "test.csv", "--json")
    assert (outcome.code, outcome.document["report"]) == (0, None)
    assert contents(desk / "model") == before


def test_a_run_is_judged_as_it_was_asked(desk: Path, good: Path, train: Train, capsys: Capture) -> None:
    asked = ["--evaluation.confidence", "0.8", "--evaluation.worst-examples", "1", "--training.learning-rate", "1e-9"]
    assert call(capsys, *train("good.csv"), "--data.test-fraction", "0.5", *asked).code == 0
    judged = call(capsys, "evaluate", "runs/new", "--json").document
    assert judged["confidence"] == 0.8
    assert len(judged["worst"]) <= 1
    assert "80% interval" in call(capsys, "evaluate", "runs/new").out
    report = (desk / "runs" / "new" / "evaluations" / "held-out" / "report.md").read_text(encoding="utf-8")
    assert "| metric | value | 80% interval |" in report
    alone = call(capsys, "evaluate", "runs/new/model", "good.csv", "--json").document
    assert alone["confidence"] == 0.95
    wide, narrow = (one["metrics"]["accuracy"] for one in (
        call(capsys, "evaluate", run, "good.csv", "--json").document for run in ("runs/new/model", "runs/new")
    ))  # fmt: skip
    assert narrow["high"] - narrow["low"] < wide["high"] - wide["low"]
    (desk / "runs" / "new" / "config.json").write_text("{}", encoding="utf-8")
    assert_refused(
        call(capsys, "evaluate", "runs/new", "--json"),
        Refusal("runs/new/config.json does not say how the run is judged", remedy="runs/new/model"),
    )


def test_rows_longer_than_the_limit_are_counted(desk: Path, finished: Path, capsys: Capture) -> None:
    long = [("lost parcel " * 200, "delivery"), ("refund money " * 200, "refund")]
    (desk / "rows.csv").write_text(table([*rows(20, seed=2), *long]), encoding="utf-8")
    said = "2 of 22 rows were longer than 128 tokens and cut"
    assert said in call(capsys, "evaluate", "runs/finished", "rows.csv", "--json").document["notes"]
    assert said in call(capsys, "evaluate", "runs/finished", "rows.csv").out
    report = finished / "evaluations" / "rows.csv" / "report.md"
    assert said in report.read_text(encoding="utf-8")
    answered = call(capsys, "predict", "runs/finished", "--file", "rows.csv", "--json")
    assert len(answered.document) == 22
    assert said in answered.err
    one = call(capsys, "predict", "runs/finished", "lost parcel", "lost parcel " * 200)
    assert "1 of 2 rows was longer than 128 tokens and cut" in one.err
    assert "longer" not in call(capsys, "predict", "runs/finished", "lost parcel").err


def test_a_file_is_read_as_told(desk: Path, finished: Path, capsys: Capture) -> None:
    evaluate, predict = ("evaluate", "runs/finished"), ("predict", "runs/finished", "--file")
    good = table(rows(30, seed=2))
    (desk / "mixed.csv").write_bytes(good.encode() + "größe,delivery\n".encode() + b"lost \xff\xfe\x80,delivery\n")
    (desk / "hash.csv").write_text(good.replace(",", "#"), encoding="utf-8")
    advice = Refusal("bytes that are not utf-8", "mixed.csv:33", remedy="--encoding cp1252")
    for verb in (evaluate, predict):
        assert_refused(call(capsys, *verb, "mixed.csv", "--json"), advice)
        for name, option in (("mixed.csv", ("--encoding", "cp1252")), ("hash.csv", ("--delimiter", "#"))):
            told = call(capsys, *verb, name, *option, "--json")
            assert told.code == 0, told.err
            assert verb == evaluate or not any("#" in answer["text"] for answer in told.document)
        unknown = Refusal("unknown encoding: nonsense", "encoding", remedy="cp1252")
        assert_refused(call(capsys, *verb, "mixed.csv", "--encoding", "nonsense", "--json"), unknown)
    (desk / "texts.csv").write_text("text\nlost parcel\n", encoding="utf-8")
    for option, count in (("--header", 1), ("--no-header", 2)):
        assert len(call(capsys, *predict, "texts.csv", option, "--json").document) == count
    assert_refused(call(capsys, *evaluate, "hash.csv", "--json"), Refusal("no column 'text'", "hash.csv"))
    named = ("--no-header", "--text", "column_1", "--target", "column_2", "--json")
    assert_refused(call(capsys, *evaluate, "hash.csv", "--delimiter", "#", *named), Refusal("unknown label 'label'"))
    separated = Refusal("'|' between labels for a model that gives each row one label", "--label-separator")
    (desk / "good.csv").write_text(good, encoding="utf-8")
    assert_refused(call(capsys, *evaluate, "good.csv", "--label-separator", "|", "--json"), separated)


def test_predict_by_argument_file_and_pipe(
    desk: Path, finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["lost parcel day", "refund money night"]
    (desk / "texts.csv").write_text(table([(text, "?") for text in texts]), encoding="utf-8")
    (desk / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(["", *texts, " "])))
    answers = [
        call(capsys, "predict", "runs/finished", *given, "--json").document
        for given in (texts, ["--file", "texts.csv"], ["--file", "texts.txt"], ["-"])
    ]
    assert [[answer["text"] for answer in several] for several in answers] == [texts] * 4
    assert [several[1]["scores"] for several in answers] == [answers[0][1]["scores"]] * 4
    assert (answers[1][1]["file"], answers[1][1]["line"]) == ("texts.csv", 3)
    plain = call(capsys, "predict", "runs/finished", "--file", "texts.csv")
    assert [line.split(": ")[0] for line in plain.out.splitlines()] == ["texts.csv:2", "texts.csv:3"]
    assert "texts.csv: encoding utf-8, delimiter comma, header text, label" in plain.err


def test_pairs(desk: Path, train: Train, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{text},{' '.join(reversed(text.split()))},{label}" for text, label in rows(40)]
    (desk / "pairs.csv").write_text("\n".join(["premise,hypothesis,label", *lines]) + "\n", encoding="utf-8")
    assert call(capsys, *train("pairs.csv")).code == 0
    assert call(capsys, "evaluate", "runs/new", "--json").document["rows"] == 8
    asked = call(capsys, "predict", "runs/new", "lost parcel", "parcel lost", "--json").document
    monkeypatch.setattr("sys.stdin", io.StringIO("lost parcel\tparcel lost\nnew car\told car\n"))
    piped = call(capsys, "predict", "runs/new", "-", "--json").document
    assert piped[0]["scores"] == pytest.approx(asked[0]["scores"], abs=1e-6)
    assert len(piped) == 2
    one = call(capsys, "predict", "runs/new", "only one", "--json")
    assert one.code == 2
    assert "takes pairs" in one.err
    exported = call(capsys, "export", "runs/new", "--output-dir", "model", "--json")
    assert exported.document["largest_difference"] < 1e-4


def test_several_labels(desk: Path, shared_data: Path, train: Train, capsys: Capture) -> None:
    lines = (shared_data / "goemotions" / "train.tsv").read_text(encoding="utf-8").splitlines()[:240]
    kept = "".join("\t".join(line.split("\t")[:2]) + "\n" for line in lines)
    (desk / "emotions.tsv").write_text(kept, encoding="utf-8")
    trained = call(capsys, *train("emotions.tsv"))
    assert trained.code == 0, trained.err
    assert trained.document["metric"] == "micro_f1"
    judged = call(capsys, "evaluate", "runs/new", "--json")
    assert set(judged.document["metrics"]) >= {"micro_f1", "macro_f1", "subset_accuracy"}
    answers = call(capsys, "predict", "runs/new", "this is great", "--json").document
    assert isinstance(answers[0]["labels"], list)
    exported = call(capsys, "export", "runs/new", "--output-dir", "model")
    assert exported.code == 0, exported.err
    assert_no_traceback(exported)


def test_what_rows_are_for_can_be_told(desk: Path, capsys: Capture) -> None:
    (desk / "stars.csv").write_text(table([(text, str(n % 5)) for n, (text, _) in enumerate(rows(40))]), "utf-8")
    found = call(capsys, "data", "check", "stars.csv", "--model", "none", "--json")
    assert found.document["columns"]["kind"] == "single_label"
    told = call(capsys, "data", "check", "stars.csv", "--rows", "values", "--model", "none", "--json")
    assert told.document["columns"]["kind"] == "values"
    wrong = call(capsys, "data", "check", "stars.csv", "--rows", "stars", "--model", "none", "--json")
    assert_refused(wrong, Refusal("'stars'", "--rows", remedy="give a value within these limits"))
