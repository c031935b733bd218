"""A task and a method in a package of somebody else's, found through entry points; nothing here knows them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.numerics.tiny_runs import examples

pytestmark = pytest.mark.slow

TASK = '''
"""Ratings: whole numbers, learned as numbers and rounded."""

from typing import Literal

from feinschliff.config.bases import TypedConfig


class RatingConfig(TypedConfig):
    """Whole numbers."""

    type: Literal["rating"] = "rating"
    """`rating`."""
    highest: int = 5
    """The best rating."""


def create(config, context):
    from feinschliff.tasks._regression import Regression

    class Rating(Regression):
        def answers(self, outputs, encoded=None):
            return super().answers(outputs, encoded).round().clip(0, config.highest)

    return Rating(config, context)


CONFIG = RatingConfig
ROWS = "values"
EXAMPLE = {"type": "rating"}
'''
METHOD = '''
"""Train the norms and the head."""

from typing import Literal

from feinschliff.config.bases import TypedConfig
from feinschliff.methods._method import Method


class NormsConfig(TypedConfig):
    """Norms alone."""

    type: Literal["norms_alone"] = "norms_alone"
    """`norms_alone`."""


class Norms(Method):
    def adapt(self, network):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("LayerNorm" in name or name.startswith("head."))
        return network


CONFIG = NormsConfig
create = Norms
EXAMPLE = {"type": "norms_alone"}
'''
ENTRY_POINTS = """
[feinschliff.tasks]
rating = ratings.task

[feinschliff.methods]
norms_alone = ratings.method
"""


def installed(folder: Path) -> Path:
    """The package as pip lays it down."""
    package, info = folder / "ratings", folder / "ratings-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "task.py").write_text(TASK)
    (package / "method.py").write_text(METHOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ratings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def feinschliff(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line with the package beside it."""
    paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "feinschliff", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_both_work_by_being_installed(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = installed(tmp_path / "site")
    with (tmp_path / "rows.csv").open("w", newline="") as out:
        rows = [[f"{row.texts[0]} n{n}", n % 5] for n, row in enumerate(examples(80, 1))]
        csv.writer(out).writerows([["text", "stars"], *rows])
    asked = ["--task", "rating", "--task.highest", "4", "--method.type", "norms_alone", "--target", "stars"]
    run = ["--output-dir", str(tmp_path / "run"), "--model", str(tiny_bert), "--training.epochs", "1", "--json"]
    trained = feinschliff(site, "train", str(tmp_path / "rows.csv"), *asked, *run)
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    assert result["method"] == "norms_alone"
    assert 0 < result["trained_parameters"] < 0.1 * result["all_parameters"]
    answered = feinschliff(site, "predict", str(tmp_path / "run"), "good movie", "--json")
    assert answered.returncode == 0, answered.stderr
    (answer,) = json.loads(answered.stdout)
    assert answer["values"]["stars"] in (0.0, 1.0, 2.0, 3.0, 4.0)
    judged = feinschliff(site, "evaluate", str(tmp_path / "run"), "--json")
    assert judged.returncode == 0, judged.stderr
    assert set(json.loads(judged.stdout)["metrics"]) == {"pearson", "spearman", "r2", "rmse", "mae"}
    helped = feinschliff(site, "train", "--task", "rating", "--help")
    assert "--task.highest" in helped.stdout
    unknown = feinschliff(site, "train", str(tmp_path / "rows.csv"), "--task", "ratings")
    assert unknown.returncode == 2
    assert "did you mean 'rating'" in unknown.stderr
