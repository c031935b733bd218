"""The lines of Python on a model card that load the folder and ask it, for each kind of model. Knows no figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from feinschliff.results.data import Kind

if TYPE_CHECKING:
    from feinschliff.models.card import CardFacts

_VERBS: Mapping[Kind, str] = {
    "single_label": "classify",
    "multi_label": "classify",
    "values": "estimate",
    "spans": "find",
    "answers": "answer",
    "pairs": "embed",
    "texts": "write",
    "conversations": "chat",
    "documents": "continue",
}


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


def how_to_use(facts: CardFacts) -> str:
    """The section of a card that holds code."""
    if facts.kind == "answers":
        return _answer_usage(facts)
    if facts.kind == "texts":
        return f"## Use\n\n```python\n{_writer(facts)}\n```\n\nOne text for each source."
    if facts.kind in ("conversations", "documents"):
        said = "The template in this folder is the one it was trained with."
        return f"## Use\n\n```python\n{_chat_usage(facts)}\n```\n\n{said}"
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


def _chat_usage(facts: CardFacts) -> str:
    task = facts.config.get("task", {})
    needed = "# Needed: without what lies in folder/adapter the weights give other answers.\n"
    loading = needed + "".join(f"{line}\n" for line in facts.loading) if facts.loading else ""
    ids = (
        'ids = tokenizer("the beginning of a text", return_tensors="pt")'
        if facts.kind == "documents"
        else 'messages = [{"role": "user", "content": "your question"}]\n'
        'settings = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}\n'
        "ids = tokenizer.apply_chat_template(messages, **settings)"
    )
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'folder = "path/to/this/folder"\n'
        "model = AutoModelForCausalLM.from_pretrained(folder).eval()\n"
        f"{loading}tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f"{ids}\n"
        f"out = model.generate(**ids, max_new_tokens={int(task.get('max_new_tokens', 256))}, do_sample=False)\n"
        'tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)'
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
