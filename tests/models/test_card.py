"""The model card is read by the Hub's own code, and says what a person must know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from feinschliff.models.card import CardFacts, front_matter, render_card, write_card
from feinschliff.models.licence import is_open, read_front_matter, read_license
from feinschliff.results.measures import Difference, Measure


def facts(**changes: Any) -> CardFacts:
    given: dict[str, Any] = {
        "name": "tickets",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "base_license": "Apache-2.0",
        "verdict": "Ship: accuracy is 2.1 points above the linear probe (95% interval 0.9 to 3.3).",
        "metrics": {"accuracy": Measure(value=0.942, low=0.934, high=0.949)},
        "test_rows": 3080,
        "labels": ["refund", "lost | card"],
        "data_sha256": {"/home/me/tickets.csv": "a" * 64},
        "config": {"training": {"epochs": 6.0}, "seed": 3},
        "baseline": "linear_probe",
        "baseline_metrics": {"accuracy": Measure(value=0.921, low=0.911, high=0.93)},
        "difference": Difference(value=0.021, low=0.009, high=0.033, p=0.0004),
        "deciding_metric": "accuracy",
        "languages": ["en"],
        "max_length_tokens": 64,
    }
    return CardFacts(**{**given, **changes})


def test_the_hub_reads_the_metadata(tmp_path: Path) -> None:
    card = ModelCard.load(write_card(tmp_path, facts()))
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert card.data.pipeline_tag == "text-classification"
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.942, "tickets.csv")
    assert read_license(tmp_path) == "Apache-2.0"


def test_what_a_person_reads() -> None:
    text = render_card(facts())
    for expected in (
        "Ship: accuracy is 2.1 points above",
        "| accuracy | 0.9420 (0.9340 to 0.9490) | 0.9210 (0.9110 to 0.9300) |",
        "Paired difference in accuracy to linear_probe: +0.0210 (+0.0090 to +0.0330), p = 0.0004.",
        f"| tickets.csv | `{'a' * 64}` |",
        'pipeline("text-classification", model="path/to/this/folder")',
        "max_length=64",
        "The base model's licence is Apache-2.0; its terms hold for this model too.",
        "Texts longer than 64 tokens are cut",
        '"epochs": 6.0',
    ):
        assert expected in text
    assert "/home/me" not in text, "paths of the person's machine stay private"


@pytest.mark.parametrize(("confidence", "said"), [(0.8, "with 80% intervals"), (None, "with intervals")])
def test_intervals_are_called_what_they_are(confidence: float | None, said: str) -> None:
    card = facts(confidence=confidence, verdict="Ship.")
    assert said in render_card(card)
    assert "95%" not in render_card(card)
    (result,) = front_matter(card)["model-index"][0]["results"]
    assert result["metrics"][0]["args"].get("confidence") == confidence


def test_several_labels_and_pairs() -> None:
    text = render_card(facts(kind="multi_label", sentence_pairs=True))
    assert 'function_to_apply="sigmoid"' in text
    assert '"text_pair"' in text
    assert "may get none" in text


@pytest.mark.parametrize(
    ("license_name", "said"),
    [(None, "names no licence"), ("gemma", "not known to be open"), ("MIT", "is MIT; its terms")],
)
def test_licence_of_the_base(license_name: str | None, said: str, tmp_path: Path) -> None:
    write_card(tmp_path, facts(base_license=license_name, base_model="/models/minilm"))
    assert said in (tmp_path / "README.md").read_text()
    assert read_license(tmp_path) == license_name
    assert "base_model" not in read_front_matter(tmp_path / "README.md")


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlicense: mit\n---\n", "MIT"),
        ("---\nlicense: [apache-2.0, mit]\n---\n", "Apache-2.0"),
        ("---\nlicense: other\nlicense_name: own-terms\n---\n", "own-terms"),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("# no front matter\n", None),
        ("", None),
    ],
)
def test_read_license(readme: str, expected: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(readme)
    assert read_license(tmp_path) == expected
    assert is_open(expected) == (expected in ("MIT", "Apache-2.0"))
