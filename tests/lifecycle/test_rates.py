"""The verb `rates`: a suggestion and a page beside the run's directory, which itself is left alone."""

from __future__ import annotations

from pathlib import Path

from feinschliff.cli.main import main
from feinschliff.results.training import RateSearch
from feinschliff.store.run_directory import read_json
from tests.numerics.tiny_runs import examples


def test_the_verb_writes_a_page_beside_the_run_and_a_run_can_follow(tiny_bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    rows = [f"{row.texts[0]} n{number},{row.labels[0]}" for number, row in enumerate(examples(90, 3))]
    file.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    options = ["--training.precision", "fp32", "--training.num-threads", "1", "--model", str(tiny_bert)]
    command = [str(file), "--output-dir", str(tmp_path / "run"), *options]
    assert main(["rates", *command, "--steps", "20"]) == 0
    found = RateSearch.model_validate(read_json(tmp_path / "run-rates" / "result.json"))
    assert found.steps == 20
    assert 6 < len(found.points) <= 20
    assert found.default == 1e-4
    assert "Loss over growing learning rates" in (tmp_path / "run-rates" / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "run").exists()
    assert main(["train", *command, "--training.max-steps", "2"]) == 0
    assert main(["rates", *command, "--steps", "20"]) == 0
    again = RateSearch.model_validate(read_json(tmp_path / "run-rates" / "result.json"))
    assert again.points == found.points
