"""The model card of a run, from its result. Knows no weights."""

from __future__ import annotations

import platform
from importlib.metadata import version

from feinschliff import __version__, registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits
from feinschliff.data.sources import sha256_of_sources
from feinschliff.lifecycle import added
from feinschliff.models.card import CardFacts, write_card
from feinschliff.models.catalogue import entries, hub_id
from feinschliff.models.factories import factory_of
from feinschliff.models.keras_files import is_keras
from feinschliff.models.size import weights_sha256
from feinschliff.models.sources import ResolvedModel
from feinschliff.predictor import ModelFacts
from feinschliff.results.comparison import TuneResult
from feinschliff.results.data import ColumnsFound, Kind
from feinschliff.results.formats import format_metric_name, format_value
from feinschliff.results.training import TrainingResult
from feinschliff.store.run_directory import RunDirectory

PIPELINE_TAGS: dict[Kind, str] = {
    "single_label": "text-classification",
    "multi_label": "text-classification",
    "values": "text-classification",
    "spans": "token-classification",
    "answers": "question-answering",
    "pairs": "sentence-similarity",
    "texts": "translation",
    "conversations": "text-generation",
    "documents": "text-generation",
}
IMAGES_TAG = "image-classification"
SUMMARIES_TAG = "summarization"
NUMBERS_TAG = "tabular-classification"
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "scikit-learn", "numpy")


def versions() -> dict[str, str]:
    """What figures depend on: this package, Python and the libraries."""
    own = {"feinschliff": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in LIBRARIES}


def _kind(config: RunConfig, rows: Kind) -> Kind:
    """What the card is about: vectors of texts are used alike, whatever they were learned from."""
    return "pairs" if registry.says("task", config.task.type, "EMBEDS_TEXTS") else rows


def _tag(config: RunConfig, columns: ColumnsFound, metric: str) -> str:
    if columns.kind == "texts" and metric.startswith("rouge"):
        return SUMMARIES_TAG
    if columns.image or columns.numbers:
        return IMAGES_TAG if columns.image else NUMBERS_TAG
    return PIPELINE_TAGS[_kind(config, columns.kind)]


def write_training_card(result: TrainingResult, config: RunConfig, model: ResolvedModel, splits: Splits) -> None:
    """Write ``README.md`` into the model folder of a run that was trained and not compared with anything."""
    listed = entries().get(model.name)
    directory, data = RunDirectory(config.output_dir), config.data
    facts = CardFacts(
        name=directory.path.name,
        base_model=(hub_id(model.name) if listed else None) or model.name,
        base_license=model.license,
        verdict=_training_sentence(result, len(splits.validation)),
        metrics={},
        test_rows=len(splits.test),
        labels=splits.label_names,
        data_sha256=sha256_of_sources([*data.train, *data.validation, *data.test]),
        config=config.model_dump(mode="json"),
        loading=added.loading(config.method),
        languages=tuple(listed.languages) if listed else (),
        base_revision=model.revision,
        base_weights_sha256=model.weights_sha256,
        weights_sha256=weights_sha256(directory.model),
        no_answer_threshold=ModelFacts.read(directory.model).context.no_answer_threshold,
        rows={
            "train": len(splits.train),
            "validation": len(splits.validation),
            "test": len(splits.test),
            "dropped": len(splits.dropped),
        },
        kind=_kind(config, splits.columns.kind),
        pipeline_tag=_tag(config, splits.columns, result.metric),
        factory=factory_of(model.folder),
        of_keras=is_keras(model.folder),
        targets=splits.columns.values,
        numbers=splits.columns.numbers,
        sentence_pairs=len(splits.columns.text) == 2,
        versions=versions(),
    )
    write_card(directory.model, facts)


def _training_sentence(result: TrainingResult, validation_rows: int) -> str:
    said = f"Trained with method {result.method}; not compared with a baseline (`feinschliff tune` does that)."
    if result.best_metric is None:
        return said
    value = f"{format_metric_name(result.metric)} {format_value(result.metric, result.best_metric)}"
    return (
        f"{said} {value} on {validation_rows:,} validation rows: weights or settings were chosen by it, so it flatters."
    )


def write_model_card(result: TuneResult, config: RunConfig, model: ResolvedModel) -> None:
    """Write ``README.md`` into the run's model folder: data hash, configuration, figures, licence."""
    details, rows = result.details, result.rows
    listed = entries().get(model.name)
    facts = CardFacts(
        name=RunDirectory(result.run).path.name,
        base_model=(hub_id(model.name) if listed else None) or model.name,
        base_license=model.license,
        verdict=" ".join(filter(None, (details.verdict.sentence, details.verdict.caution))),
        metrics=result.test,
        test_rows=rows.test,
        labels=details.evaluation.labels,
        data_sha256=details.data.sha256,
        config=config.model_dump(mode="json"),
        loading=added.loading(config.method),
        deciding_metric=result.metric,
        baseline=details.verdict.baseline,
        baseline_metrics=result.baselines[details.verdict.baseline],
        difference=result.difference,
        confidence=details.evaluation.confidence,
        languages=tuple(listed.languages) if listed else (),
        base_revision=model.revision,
        base_weights_sha256=model.weights_sha256,
        weights_sha256=weights_sha256(RunDirectory(result.run).model),
        no_answer_threshold=ModelFacts.read(RunDirectory(result.run).model).context.no_answer_threshold,
        rows={"train": rows.train, "validation": rows.validation, "test": rows.test, "dropped": rows.dropped},
        max_length_tokens=details.data.lengths.limit if details.data.lengths else None,
        kind=_kind(config, details.columns.kind),
        pipeline_tag=_tag(config, details.columns, result.metric),
        factory=factory_of(model.folder),
        of_keras=is_keras(model.folder),
        targets=details.columns.values,
        numbers=details.columns.numbers,
        sentence_pairs=len(details.columns.text) == 2,
        versions=details.versions,
    )
    write_card(RunDirectory(result.run).model, facts)
