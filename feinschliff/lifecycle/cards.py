"""The model card of a tuned run, from its result. Knows no weights."""

from __future__ import annotations

from feinschliff.config.run import RunConfig
from feinschliff.models.card import CardFacts, write_card
from feinschliff.models.catalogue import entries, hub_id
from feinschliff.models.sources import ResolvedModel
from feinschliff.results.comparison import TuneResult
from feinschliff.store.run_directory import RunDirectory


def write_model_card(result: TuneResult, config: RunConfig, model: ResolvedModel) -> None:
    """Write ``README.md`` into the run's model folder: data hash, configuration, figures, licence."""
    details, rows = result.details, result.rows
    listed = entries().get(model.name)
    facts = CardFacts(
        name=RunDirectory(result.run).path.name,
        base_model=(hub_id(model.name) if listed else None) or model.name,
        base_license=model.license,
        verdict=details.verdict.sentence,
        metrics=result.test,
        test_rows=rows.test,
        labels=details.evaluation.labels,
        data_sha256=details.data.sha256,
        config=config.model_dump(mode="json"),
        deciding_metric=result.metric,
        baseline=details.verdict.baseline,
        baseline_metrics=result.baselines[details.verdict.baseline],
        difference=result.difference,
        languages=tuple(listed.languages) if listed else (),
        base_revision=model.revision,
        base_weights_sha256=model.weights_sha256,
        weights_sha256=details.training.weights_sha256 if details.training else "",
        rows={"train": rows.train, "validation": rows.validation, "test": rows.test, "dropped": rows.dropped},
        max_length_tokens=details.data.lengths.limit if details.data.lengths else None,
        multi_label=details.columns.kind == "multi_label",
        sentence_pairs=len(details.columns.text) == 2,
        versions=details.versions,
    )
    write_card(RunDirectory(result.run).model, facts)
