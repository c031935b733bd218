"""The model card: README.md of an exported folder, with the Hub's metadata in front. Knows no task and no run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from feinschliff.models.card_usage import how_to_use
from feinschliff.models.licence import hub_identifier, is_open
from feinschliff.results.data import Kind
from feinschliff.results.measures import Difference, Measure
from feinschliff.store.run_directory import write_bytes

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # only what the Hub can link


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything a card says. Empty is what is not known; the card then says so or leaves it out."""

    name: str
    base_model: str
    """``owner/name`` of the Hub where it has one, else catalogue name, source or folder name."""
    base_license: str | None
    """SPDX; None: unknown."""
    verdict: str
    """The verdict in one sentence."""
    metrics: Mapping[str, Measure]
    """Metric -> value with interval, on the test rows."""
    test_rows: int
    labels: Sequence[str]
    data_sha256: Mapping[str, str]
    """File -> hash of its bytes."""
    config: Mapping[str, Any]
    """The resolved configuration of the run."""
    deciding_metric: str = ""
    baseline: str = ""
    """The strongest baseline."""
    baseline_metrics: Mapping[str, Measure] = field(default_factory=dict)
    """Its metrics on the same rows."""
    difference: Difference | None = None
    """Tuned minus baseline, deciding metric."""
    confidence: float | None = None
    """Coverage of every interval here; None: the card does not state it."""
    languages: Sequence[str] = ()
    base_revision: str | None = None
    base_weights_sha256: str = ""
    weights_sha256: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Side (train, validation, test, dropped) -> rows."""
    max_length_tokens: int | None = None
    kind: Kind = "single_label"
    """What a row's target is."""
    targets: Sequence[str] = ()
    """Names of the numbers that are predicted."""
    numbers: Sequence[str] = ()
    """Names of the numbers that are read, in their order."""
    sentence_pairs: bool = False
    loading: Sequence[str] = ()
    """Lines of Python that make the plain ``model`` of ``folder`` the trained one, where its weights alone are not."""
    versions: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    """Sentences on what this model cannot do or was not tested for, beyond those every card has."""
    pipeline_tag: str = "text-classification"
    no_answer_threshold: float | None = None
    """Questions: by how much no answer must beat the best one; None: there always is one."""
    factory: str = ""
    """The Python function that makes the network, where transformers has no class for it."""
    of_keras: bool = False
    """Whether the folder holds a Keras file."""

    @property
    def reads_images(self) -> bool:
        """Whether a row is an image."""
        return self.pipeline_tag == "image-classification"


_LIMITS: Mapping[Kind, str] = {
    "single_label": "Every text gets one of the labels above, also a text that fits none.",
    "multi_label": "A text that fits none of the labels above may get none.",
    "values": "Every text gets numbers, also a text that they do not fit.",
    "pairs": "Vectors of other models cannot be compared with these; what is stored must be embedded anew.",
    "spans": "What looks like one of the labels above in other kinds of text may be missed, or made up.",
    "texts": "What is written reads well also where it is wrong: facts, names and numbers may be made up or left out.",
    "conversations": "It answers with confidence also what it does not know: facts, names and numbers may be made up.",
    "documents": "It continues any text, also with made-up facts, names and numbers.",
    "answers": "An answer is a piece of the text, right or wrong; what the text says is not checked.",
}


def write_card(folder: Path, facts: CardFacts) -> Path:
    """Write ``README.md`` into the model folder; its path.

    Raises:
        ResourceError: the disk is full.
        RunDirectoryError: the folder cannot be written.
    """
    file = folder / "README.md"
    write_bytes(file, render_card(facts).encode())
    return file


def render_card(facts: CardFacts) -> str:
    """The whole card as Markdown with YAML front matter."""
    matter = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=120)
    parts = [f"---\n{matter}---", f"# {facts.name}", facts.verdict, _figures(facts), how_to_use(facts), _data(facts)]
    parts += [_base(facts), _limits(facts), _configuration(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: CardFacts) -> dict[str, Any]:
    """The metadata that the Hugging Face Hub reads from a card."""
    library = "sentence-transformers" if facts.kind == "pairs" else "pytorch" if facts.factory else "transformers"
    library = "keras" if facts.of_keras else library
    matter: dict[str, Any] = {"library_name": library, "pipeline_tag": facts.pipeline_tag}
    if facts.base_license:
        identifier = hub_identifier(facts.base_license)
        matter["license"] = identifier
        if identifier == "other":
            matter["license_name"] = facts.base_license
    if _HUB_ID.fullmatch(facts.base_model):
        matter |= {"base_model": facts.base_model, "base_model_relation": "finetune"}
    if facts.languages:
        matter["language"] = list(facts.languages)
    matter["tags"] = ["feinschliff", facts.pipeline_tag]
    if facts.metrics:
        matter["model-index"] = [{"name": facts.name, "results": [_index_entry(facts)]}]
    return matter


def _index_entry(facts: CardFacts) -> dict[str, Any]:
    coverage = {} if facts.confidence is None else {"confidence": facts.confidence}
    metrics = [
        {
            "type": name,
            "name": name,
            "value": round(measure.value, 6),
            "args": {"low": measure.low, "high": measure.high, **coverage},
        }
        for name, measure in facts.metrics.items()
    ]
    dataset = {"name": ", ".join(Path(file).name for file in facts.data_sha256) or "own data", "type": "custom"}
    task = {"type": facts.pipeline_tag, "name": facts.pipeline_tag.replace("-", " ").capitalize()}
    return {"task": task, "dataset": {**dataset, "split": "test"}, "metrics": metrics}


def _figures(facts: CardFacts) -> str:
    if not facts.metrics:
        return ""
    coverage = "" if facts.confidence is None else f"{100 * facts.confidence:.10g}% "
    lines = [f"## Figures\n\nOn {facts.test_rows:,} held-out rows, with {coverage}intervals.\n"]
    with_baseline = bool(facts.baseline_metrics)
    lines.append("| metric | this model |" + (f" {_cell(facts.baseline)} |" if with_baseline else ""))
    lines.append("|---|---|" + ("---|" if with_baseline else ""))
    for name, measure in facts.metrics.items():
        other = facts.baseline_metrics.get(name)
        lines.append(f"| {_cell(name)} | {_interval(measure)} |" + (f" {_interval(other)} |" if with_baseline else ""))
    if facts.difference is not None:
        gap = facts.difference
        name = facts.deciding_metric or "difference"
        lines.append(
            f"\nPaired difference in {name} to {facts.baseline or 'the baseline'}: {gap.value:+.4f} "
            f"({gap.low:+.4f} to {gap.high:+.4f}), p = {gap.p:.2g}."
        )
    return "\n".join(lines)


def _interval(measure: Measure | None) -> str:
    return f"{measure.value:.4f} ({measure.low:.4f} to {measure.high:.4f})" if measure else "not measured"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _data(facts: CardFacts) -> str:
    lines = ["## Data\n"]
    if facts.rows:
        lines.append("Rows: " + ", ".join(f"{count:,} {side}" for side, count in facts.rows.items()) + ".\n")
    lines += ["| file | sha256 |", "|---|---|"] if facts.data_sha256 else []
    lines += [f"| {_cell(Path(file).name)} | `{sha256}` |" for file, sha256 in facts.data_sha256.items()]
    return "\n".join(lines)


def _base(facts: CardFacts) -> str:
    lines = [f"## Base model and licence\n\nTuned from {facts.base_model}"]
    if facts.base_revision:
        lines[0] += f", revision `{facts.base_revision}`"
    if facts.base_weights_sha256:
        lines[0] += f", weights sha256 `{facts.base_weights_sha256}`"
    lines[0] += "."
    if facts.weights_sha256:
        lines.append(f"sha256 of the weights in this folder: `{facts.weights_sha256}`.")
    if not facts.base_license:
        lines.append("The base model names no licence: find out what you may do before you pass this model on.")
    elif is_open(facts.base_license):
        lines.append(f"The base model's licence is {facts.base_license}; its terms hold for this model too.")
    else:
        lines.append(f"The base model's licence is {facts.base_license}, not known to be open: read its terms first.")
    return "\n".join(lines)


def _limits(facts: CardFacts) -> str:
    rows = "images" if facts.reads_images else "rows" if facts.numbers else "texts"
    kind = _LIMITS[facts.kind].replace("text", rows.removesuffix("s"))
    limits = [f"The figures hold for {rows} like the test rows; on other {rows} measure again.", kind]
    if facts.max_length_tokens and rows == "texts" and facts.kind not in ("spans", "answers"):
        limits.append(f"Texts longer than {facts.max_length_tokens} tokens are cut; the rest is not read.")
    limits.append("Bias of the base model and of the data was not audited.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in (*limits, *facts.limits))


def _configuration(facts: CardFacts) -> str:
    text = json.dumps(dict(facts.config), indent=2, ensure_ascii=False, default=str)
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    made = f"\n\nMade with {versions}." if versions else ""
    return f"## Configuration\n\n```json\n{text}\n```{made}"
