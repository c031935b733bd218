"""The verbs as Python functions: `feinschliff.tune("tickets.csv", target="label")`.

Each turns what was given into a configuration and calls the verb of the same name. Knows no verb's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feinschliff.config.fields import SHORT_NAMES
from feinschliff.config.load import load_run_config
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.results.comparison import Origin

if TYPE_CHECKING:
    from feinschliff.results.comparison import TuneResult
    from feinschliff.results.evaluation import EvaluationResult
    from feinschliff.results.training import TrainingResult

Source = str | Path


def tune(
    *sources: Source, budget_seconds: float | None = None, config: Path | None = None, **fields: Any
) -> TuneResult:
    """From data to a verdict: check, split, compare recipes, train, judge once on the test rows.

    Args:
        sources: data files or sources.
        budget_seconds: time for the whole work.
        config: a YAML file under the other arguments.
        fields: short names (``target="label"``, ``test="held_out.csv"``, ``model=...``, ``method="lora"``, ``seed=3``,
            ``output_dir=...``) or parts (``training={"epochs": 3}``).

    Raises:
        ConfigError: every field that does not hold.
        InputError: the data or the model cannot be used.
    """
    from feinschliff.lifecycle.tune import tune as work

    run, origins = configure(*sources, config=config, **fields)
    return work(run, origins, budget_seconds=budget_seconds)


def train(*sources: Source, config: Path | None = None, **fields: Any) -> TrainingResult:
    """One run with the recipe that was asked for; the same call again resumes. Arguments as for :func:`tune`."""
    from feinschliff.lifecycle.train import train as work

    run, origins = configure(*sources, config=config, **fields)
    return work(run, origins)


def evaluate(run: Source, *sources: Source, **changes: Any) -> EvaluationResult:
    """A finished run on labelled rows; ``changes`` are fields of ``evaluation``, such as ``judge_url="http://..."``."""
    from feinschliff.lifecycle.evaluate import evaluate as work

    return work(Path(run), [str(source) for source in sources], changes=changes)


def predict(run: Source, texts: str | Sequence[str]) -> Any:
    """The labels of texts, with scores: a list with one result a text."""
    from feinschliff.lifecycle.predict import predict as work

    return work(Path(run), [texts] if isinstance(texts, str) else list(texts))


def export(run: Source, output_dir: Source) -> Any:
    """Write the run's model as a folder that Hugging Face's classes load."""
    from feinschliff.lifecycle.export import export as work

    return work(Path(run), Path(output_dir))


def configure(*sources: Source, config: Path | None = None, **fields: Any) -> tuple[RunConfig, list[Origin]]:
    """The configuration that :func:`tune` and :func:`train` would run, with the origin of every value.

    Raises:
        ConfigError: every field that does not hold.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        short = name in SHORT_NAMES and not isinstance(value, Mapping)
        values[SHORT_NAMES[name] if short else name] = str(value) if isinstance(value, Path) else value
    if sources:
        values["data.train"] = tuple(str(source) for source in sources)
    run, origins = load_run_config(config, values)
    if not run.data.train:
        raise ConfigError("no data to train on", where="data.train", remedy='feinschliff.tune("tickets.csv")')
    return run, origins
