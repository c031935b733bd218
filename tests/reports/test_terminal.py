"""The summary on the terminal fits one screen and leaves nothing out."""

import io
from typing import Any

import pytest

from feinschliff.reports.terminal import print_tune_summary
from feinschliff.results.comparison import TuneResult
from tests.reports.sample_results import tune_result


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def summary(result: TuneResult, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    print_tune_summary(result, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("given", "heading", "follows"),
    [
        ({}, "Ship it", 'feinschliff predict runs/tickets "a text to sort"'),
        ({"num_classes": 2, "test_rows": 80}, "Cannot tell yet", "feinschliff evaluate runs/tickets more_rows.csv"),
        ({"num_classes": 7, "test_rows": 2000, "ours": 0.92, "theirs": 0.96}, "Keep the linear probe",
         "feinschliff data check data/tickets.csv"),
    ],
)  # fmt: skip
def test_one_screen_with_everything(given: dict[str, int], heading: str, follows: str) -> None:
    result = tune_result(**given)  # type: ignore[arg-type]
    lines = summary(result).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == heading
    assert lines[-1].startswith("Next: ")
    assert lines[-1].endswith(follows)
    text = "\n".join(lines)
    for part in (
        "tuned model",
        "linear probe",
        "majority class",
        "difference",
        "95% interval",
        "8,502 train",
        "57 not used",
        "full fine-tuning, 6 epochs",
        "6 min 52 s (forecast 6 min 20 s)",
        "runs/tickets/report.html",
        "runs/tickets/model",
    ):
        assert part in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("data/court.conll", "more_rows.conll"),
        ("data/court.jsonl.gz", "more_rows.jsonl"),
        ("hf:people/court-v1.5", "more_rows.csv"),
        ("photos", "more_rows"),
    ],
)
def test_what_follows_speaks_of_rows_as_they_were_given(source: str, more: str) -> None:
    result = tune_result(2, 80)
    result.details.data.files[0] = source
    assert summary(result).splitlines()[-1].endswith(f"feinschliff evaluate runs/tickets {more}")


def test_what_follows_a_shipped_model_of_pairs_is_a_file() -> None:
    pairs = tune_result()
    pairs.details.columns.text.append("answer")
    assert summary(pairs).splitlines()[-1].endswith("feinschliff predict runs/tickets --file more_rows.csv")


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("conversations", {}, "feinschliff chat runs/tickets"),
        ("documents", {}, 'feinschliff predict runs/tickets "how a text begins"'),
        (
            "conversations",
            {"num_classes": 2, "test_rows": 80},
            "gather more test rows; feinschliff evaluate runs/tickets more_rows.csv",
        ),
    ],
)
def test_what_follows_a_language_model(kind: Any, given: dict[str, Any], expected: str) -> None:
    result = tune_result(**given)
    result.details.columns.kind = kind
    assert summary(result).splitlines()[-1].endswith(f"Next: {expected}")


def test_many_baselines_still_fit() -> None:
    result = tune_result(2, 80)
    probe = result.baselines["linear probe"]
    crowd = {f"baseline {n}": probe for n in range(20)}
    lines = summary(result.model_copy(update={"baselines": crowd})).splitlines()
    assert len(lines) <= 24
    assert "  and 15 weaker baselines, see the report" in lines


def test_paths_are_never_broken() -> None:
    path = "runs/" + "a" * 120 + "/report.html"
    assert path in summary(tune_result(2, 80).model_copy(update={"report": path}))


def test_colour_on_a_terminal_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    result = tune_result(2, 80)
    assert "\x1b[1;34m" in summary(result, Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;34m" not in summary(result, Terminal())
