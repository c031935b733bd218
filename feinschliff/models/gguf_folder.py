"""Writes what a GGUF file holds as a Hugging Face folder: a decoder in fp32, its tokenizer with its chat template.

Knows no cache and no source. Weights go from the file to the folder in parts, so that a model need not fit in memory.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from feinschliff.models import gguf_file, gguf_model, gguf_tokenizer, safetensors_file
from feinschliff.models.gguf_file import GgufFile
from feinschliff.models.size import WEIGHTS

VERSION = 1
"""Of the conversion: folders of an older one are made again."""
_EXACT = {"F32", "F16", "BF16"}
_README = """---
{facts}library_name: transformers
pipeline_tag: text-generation
---
# {name}

Feinschliff made this folder from `{file}`. {exactness} Tokenizer, chat template and special tokens
are those that the file names.
"""
_QUANTISED = """Its weights ({kinds}) are here in fp32: the numbers that the
file stands for, near to those of the model before it was quantised, **not equal to them**."""
_PLAIN = "Its weights ({kinds}) are here in fp32, to the bit."


def write(file: Path, folder: Path) -> None:
    """Convert ``file`` into the empty ``folder``.

    Raises:
        ModelError: see ``gguf_file.read``; or an architecture, a tokenizer or a property that is not converted.
    """
    content = gguf_file.read(file)
    config = gguf_model.configuration(content, _special_ids(content))
    weights = gguf_model.weights(content, config)
    gguf_tokenizer.tokenizer(content).save_pretrained(folder)
    config.save_pretrained(folder)
    _generation(content).save_pretrained(folder)
    safetensors_file.write(folder / WEIGHTS, weights)
    (folder / "README.md").write_text(_readme(content), encoding="utf-8")


def _special_ids(content: GgufFile) -> dict[str, int | None]:
    """For ``config.json``; what the file does not name is none, and not what transformers would take."""
    ids = gguf_tokenizer.special_ids(content)
    return {f"{name}_token_id": ids.get(name) for name in ("bos", "eos", "pad")}


def _generation(content: GgufFile) -> Any:
    from transformers import GenerationConfig

    ends = gguf_tokenizer.end_ids(content)
    ids: dict[str, Any] = _special_ids(content)
    ids["eos_token_id"] = ends if len(ends) > 1 else next(iter(ends), None)
    return GenerationConfig(**ids)


def _readme(content: GgufFile) -> str:
    said = content.metadata
    kinds = Counter(stored.type_name for stored in content.tensors.values())
    exactness = _PLAIN if kinds.keys() <= _EXACT else _QUANTISED
    facts = {"license": said.get("general.license"), "language": said.get("general.languages")}
    return _README.format(
        facts="".join(f"{key}: {json.dumps(value)}\n" for key, value in facts.items() if value),  # JSON is YAML too
        name=said.get("general.name", content.path.stem),
        file=content.path.name,
        exactness=exactness.format(kinds=", ".join(name for name, _ in kinds.most_common())),
    )
