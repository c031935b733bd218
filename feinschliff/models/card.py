"""The model card: README.md of an exported folder, with the Hub's metadata in front. Knows no task and no run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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


_VERBS: Mapping[Kind, str] = {
    "single_label": "classify",
    "multi_label": "classify",
    "values": "estimate",
    "spans": "find",
    "answers": "answer",
    "pairs": "embed",
    "texts": "write",
}
_LIMITS: Mapping[Kind, str] = {
    "single_label": "Every text gets one of the labels above, also a text that fits none.",
    "multi_label": "A text that fits none of the labels above may get none.",
    "values": "Every text gets numbers, also a text that they do not fit.",
    "pairs": "Vectors of other models cannot be compared with these; what is stored must be embedded anew.",
    "spans": "What looks like one of the labels above in other kinds of text may be missed, or made up.",
    "texts": "What is written reads well also where it is wrong: facts, names and numbers may be made up or left out.",
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
    parts = [f"---\n{matter}---", f"# {facts.name}", facts.verdict, _figures(facts), _usage(facts), _data(facts)]
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


_ANSWERING = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = "path/to/this/folder"
model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
{loading}tokenizer = AutoTokenizer.from_pretrained(folder)
question, text = "your question", "the text that answers it"
row = tokenizer(question, text, truncation="only_second", return_offsets_mapping=True, return_tensors="pt")
inside = torch.tensor([part == 1 for part in row.sequence_ids()])
ranges = row.pop("offset_mapping")[0]
with torch.no_grad():
    out = model(**row)
start, end = out.start_logits[0, -len(inside) :], out.end_logits[0, -len(inside) :]
allowed = (inside[:, None] & inside).triu().tril({most})
scores = (start[:, None] + end).masked_fill(~allowed, -torch.inf)
first, last = divmod(int(scores.argmax()), len(inside))
answer = text[ranges[first, 0] : ranges[last, 1]]"""


def _answer_usage(facts: CardFacts) -> str:
    """transformers 5 has no pipeline for it."""
    needed = "# Needed: without what lies in folder/adapter the weights give other answers.\n"
    lines = "".join(f"{line}\n" for line in facts.loading)
    task = facts.config.get("task", {})
    code = _ANSWERING.format(loading=needed + lines if lines else "", most=int(task.get("max_answer_tokens", 30)) - 1)
    threshold = facts.no_answer_threshold
    none = "Every question gets an answer, also one that the text does not answer."
    if threshold is not None:
        none = f"There is no answer where `start[0] + end[0] - scores.max()` is above {threshold:.4g}."
    return (
        f"## Use\n\n```python\n{code}\n```\n\nThe best piece of the text. {none} A text longer than the limit is cut "
        "here; `feinschliff predict` reads it in windows."
    )


def _usage(facts: CardFacts) -> str:
    if facts.kind == "answers":
        return _answer_usage(facts)
    if facts.kind == "texts":
        return f"## Use\n\n```python\n{_writer(facts)}\n```\n\nOne text for each source."
    if facts.kind == "pairs":
        return f"## Use\n\n```python\n{_embedder(facts)}\n```\n\nVectors have length one: their product is the cosine."
    if facts.numbers:
        return f"## Use\n\n```python\n{_number_usage(facts)}\n```\n\n{_answers(facts)}"
    if facts.reads_images:
        return f"## Use\n\n```python\n{_image_usage(facts)}\n```\n\n{_answers(facts)}"
    given = '{"text": "first text", "text_pair": "second text"}' if facts.sentence_pairs else '"your text"'
    arguments = ["truncation=True"] if facts.kind != "spans" else []
    if facts.max_length_tokens and facts.kind != "spans":
        arguments.append(f"max_length={facts.max_length_tokens}")
    if facts.kind == "multi_label":
        arguments += ["top_k=None", 'function_to_apply="sigmoid"']
    if facts.kind == "values":
        arguments += ["top_k=None", 'function_to_apply="none"']
    return (
        f"## Use\n\n```python\n{_pipeline(facts)}\n"
        f"{_VERBS[facts.kind]}({', '.join([given, *arguments])})\n```\n\n{_answers(facts)}"
    )


def _number_usage(facts: CardFacts) -> str:
    return (
        "# Keras 3, on any of its backends (KERAS_BACKEND=torch needs no TensorFlow).\n"
        "import sys\n\nimport numpy as np\n\n"
        'folder = "path/to/this/folder"\n'
        "sys.path.insert(0, folder)\n"
        "from load_model import labels, load\n\n"
        "model = load(folder)\n"
        f"rows = np.zeros((1, {len(facts.numbers)}))  # in this order: {', '.join(facts.numbers)}\n"
        "dict(zip(labels(folder), model.predict(rows)[0]))"
    )


def _image_usage(facts: CardFacts) -> str:
    if facts.of_keras:
        return (
            "# Keras 3, on any of its backends (KERAS_BACKEND=torch needs no TensorFlow).\n"
            "import sys\n\nfrom PIL import Image\n\n"
            'folder = "path/to/this/folder"\n'
            "sys.path.insert(0, folder)\n"
            "from load_model import labels, load, preprocess\n\n"
            "model = load(folder)\n"
            'scores = model.predict(preprocess(Image.open("picture.jpg"), folder)[None])[0]\n'
            "dict(zip(labels(folder), scores))"
        )
    if not facts.factory:
        return (
            "from transformers import pipeline\n\n"
            'classify = pipeline("image-classification", model="path/to/this/folder")\n'
            'classify("picture.jpg")'
        )
    return (
        "# The network is made by Python code that must be installed:\n"
        f"#   {facts.factory.split('&weights=')[0].split('?weights=')[0]}\n"
        "import sys\n\nfrom PIL import Image\n\n"
        'folder = "path/to/this/folder"\n'
        "sys.path.insert(0, folder)\n"
        "from load_model import load, preprocess\n\n"
        "model = load(folder)\n"
        'model(preprocess(Image.open("picture.jpg"), folder)[None]).softmax(-1)'
    )


def _pipeline(facts: CardFacts) -> str:
    task, asked = facts.pipeline_tag, ', aggregation_strategy="first"' if facts.kind == "spans" else ""
    verb = _VERBS[facts.kind]
    if not facts.loading:
        return f'from transformers import pipeline\n\n{verb} = pipeline("{task}", model="path/to/this/folder"{asked})'
    auto = "AutoModelForTokenClassification" if facts.kind == "spans" else "AutoModelForSequenceClassification"
    lines = (
        f"from transformers import {auto}, AutoTokenizer, pipeline",
        "",
        'folder = "path/to/this/folder"',
        f"model = {auto}.from_pretrained(folder)",
        "# Needed: without what lies in folder/adapter the weights give other answers.",
        *facts.loading,
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f'{verb} = pipeline("{task}", model=model, tokenizer=tokenizer{asked})',
    )
    return "\n".join(lines)


def _embedder(facts: CardFacts) -> str:
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        'folder = "path/to/this/folder"',
        "embedder = SentenceTransformer(folder)",
    ]
    if facts.loading:
        lines += [
            "# Needed: without what lies in folder/adapter the weights give other vectors.",
            "model = embedder[0].model",
            *facts.loading,
            "embedder[0].model = model",
            "# One text at a time: a padded batch has no place in its mask for tokens that a prompt adds.",
        ]
    asked = ", batch_size=1" if facts.loading else ""
    return "\n".join([*lines, f'vectors = embedder.encode(["a text", "another text"]{asked})'])


def _writer(facts: CardFacts) -> str:
    """transformers 5 has no pipeline for it either. How it writes stands in ``generation_config.json``."""
    lines = [
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        "",
        'folder = "path/to/this/folder"',
        "model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()",
    ]
    if facts.loading:
        lines += ["# Needed: without what lies in folder/adapter the weights write other texts.", *facts.loading]
    prefix = str(facts.config.get("task", {}).get("prefix", ""))
    sources = f"[{prefix!r} + text for text in texts]" if prefix else "texts"
    return "\n".join(
        [
            *lines,
            "tokenizer = AutoTokenizer.from_pretrained(folder)",
            'texts = ["a text", "another text"]',
            f'rows = tokenizer({sources}, padding=True, truncation=True, return_tensors="pt")',
            'ids = model.generate(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])',
            "written = tokenizer.batch_decode(ids, skip_special_tokens=True)",
        ]
    )


def _answers(facts: CardFacts) -> str:
    """What comes out."""
    if facts.kind == "spans":
        return f"Pieces of the text, each with one of: {', '.join(f'`{label}`' for label in facts.labels)}."
    if facts.kind == "values":
        return f"A number for each of: {', '.join(f'`{name}`' for name in facts.targets)} (in the units of the data)."
    labels = ", ".join(f"`{label}`" for label in facts.labels)
    choice = "Any number of these labels" if facts.kind == "multi_label" else "One of these labels"
    return f"{choice} ({len(facts.labels)}): {labels}."


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
