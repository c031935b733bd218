"""Encoder-decoders of transformers (T5, BART, Marian and their like) on padded batches: layers, states, writing.

Shapes: B rows, S longest source, T target tokens of all rows end to end, d hidden width, V vocabulary. The projection
onto the vocabulary is the model's own, with the weights it shares; it computes real tokens only. Knows no data, no task
and no loop.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from feinschliff.errors import ModelError
from feinschliff.models.load import load_tokenizer, quiet_transformers
from feinschliff.models.new_tokens import add_tokens

BLOCKS = ("block", "layers")
"""What stacks call the list of their layers."""
DROPOUTS = ("dropout_rate", "dropout", "attention_dropout", "activation_dropout", "classifier_dropout")
LAYER_DROPS = ("encoder_layerdrop", "decoder_layerdrop")
POSITIONS = ("max_position_embeddings", "n_positions")
VOCABULARIES = ("vocab_size", "decoder_vocab_size")
KEPT_OF_GENERATION = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
)
"""What a model needs to write at all. Lengths, penalties and beams of its settings are those of its old task."""
OUT_OF_ATTENTION, OUT_OF_FEED_FORWARD = ("o", "out_proj"), ("wo", "fc2")
DEFAULT_LIMIT_TOKENS = 512
"""Of a source, where neither model nor tokenizer says one."""
EXAMPLES = "hf:google-t5/t5-small or hf:facebook/bart-base"


class OutputProjection(nn.Module):
    """States to logits; of a rectangle of tokens only the real ones while :meth:`of_real` is in force.

    No ``nn.Linear``: its weights are often those of the embeddings, and adapters must not part the two.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self._real_BL: Tensor | None = None
        self.seen: list[Tensor] = []
        """The states of the last call under :meth:`of_real`."""

    def forward(self, states: Tensor) -> Tensor:
        """[..., d] to [..., V]; [B, L, d] to [T, V] of the real tokens."""
        if self._real_BL is not None:
            states = states[self._real_BL]
            self.seen = [states]
        return F.linear(states, self.weight, self.bias)

    @contextmanager
    def of_real(self, real_BL: Tensor) -> Iterator[None]:
        """Compute these tokens only."""
        try:
            self._real_BL, self.seen = real_BL, []
            yield
        finally:
            self._real_BL = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Names by which :meth:`StagedEncoderDecoder.in_layers` knows the last linear maps of layers' parts."""

    attention_output: str = "attention"
    feed_forward_output: str = "feed_forward"


class StagedEncoderDecoder(nn.Module):
    """A model with its layers numbered from below: the encoder's, then the decoder's."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.family = Parts()
        _hold_constants(model)
        model.set_output_embeddings(OutputProjection(model.get_output_embeddings()))
        self._stacks = [_stack(model, part) for part in (model.get_encoder(), model.get_decoder())]
        self.num_encoder_layers = self._stacks[0][1]
        self.num_layers = sum(count for _, count, _ in self._stacks)
        self.hidden_width: int = model.get_input_embeddings().weight.shape[1]
        self.vocabulary_size: int = len(model.get_output_embeddings().weight)

    def depth_of(self, name: str) -> int:
        """0 for embeddings and positions, then the encoder's layers, then the decoder's; ``name`` is relative to this
        module. The projection, where it has weights of its own, and last norms count to the layer below them."""
        below = 0
        for stack, count, blocks in self._stacks:
            if name.startswith(f"model.{blocks}."):
                return below + 1 + int(name.removeprefix(f"model.{blocks}.").split(".", 1)[0])
            below += count
            if name.startswith(f"model.{stack}."):
                return 0 if "embed" in name or "relative" in name else below
        return below if name.startswith("model.lm_head.") else 0

    def in_layers(self, path: str) -> list[str]:
        """Names in ``model`` of all linear maps that lead out of attention or out of feed-forward parts."""
        ends = OUT_OF_ATTENTION if path == self.family.attention_output else OUT_OF_FEED_FORWARD
        blocks = tuple(f"{blocks}." for _, _, blocks in self._stacks)
        names = [name for name, part in self.model.named_modules() if isinstance(part, nn.Linear)]
        return [name for name in names if name.startswith(blocks) and name.rpartition(".")[2] in ends]

    def read(self, ids_BS: Tensor, real_BS: Tensor) -> Tensor:
        """States of the encoder [B, S, d]."""
        states: Tensor = self.model.get_encoder()(input_ids=ids_BS, attention_mask=real_BS.long()).last_hidden_state
        return states

    def logits(self, states_BSd: Tensor, real_BS: Tensor, targets_BL: Tensor, real_BL: Tensor) -> tuple[Tensor, Tensor]:
        """States [T, d] and logits [T, V] of the real target tokens, each seen all before it and no more."""
        from transformers.modeling_outputs import BaseModelOutput

        projection = self.model.get_output_embeddings()
        with projection.of_real(real_BL):
            out = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states_BSd),
                attention_mask=real_BS.long(),
                decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(targets_BL),
                use_cache=False,
            )
        return projection.seen.pop(), out.logits

    def write(self, states_BSd: Tensor, real_BS: Tensor, num_beams: int, max_new_tokens: int) -> Tensor:
        """Token ids [B, at most max_new_tokens] that the model writes, by beam search, or greedily with one beam."""
        from transformers.modeling_outputs import BaseModelOutput

        out: Tensor = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states_BSd),
            attention_mask=real_BS.long(),
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        return out[:, 1:]

    @torch.no_grad()
    def check_padding(self, lengths: Sequence[int]) -> float:
        """Largest difference of logits between made-up rows in one padded batch and each alone: about 1e-6."""
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randint(5, self.vocabulary_size, (length,), generator=generator) for length in lengths]
        real_BL = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
        ids_BL = torch.zeros(real_BL.shape, dtype=torch.int64)
        ids_BL[real_BL] = torch.cat(rows)
        targets_BL = ids_BL.masked_fill(~real_BL, -100)
        together = self.logits(self.read(ids_BL, real_BL), real_BL, targets_BL, real_BL)[1]
        alone = []
        for row in rows:
            out = self.model(input_ids=row[None], labels=row[None])
            alone.append(out.logits[0])
        return float((together - torch.cat(alone)).abs().max())


def _stack(model: Any, part: nn.Module) -> tuple[str, int, str]:
    """Name of an encoder or decoder in its model, how many layers it has, and the name of their list."""
    name = next(name for name, module in model.named_modules() if module is part)
    blocks = next((block for block in BLOCKS if isinstance(getattr(part, block, None), nn.ModuleList)), None)
    if blocks is None:
        raise ModelError(
            f"the layers of a {model.config.model_type} model are not found",
            where="model.source",
            remedy=f"choose a model such as {EXAMPLES}",
        )
    return name, len(getattr(part, blocks)), f"{name}.{blocks}"


def _hold_constants(model: Any) -> None:
    """Make tables that are computed and never trained (Marian's positions) buffers, in the precision of the rest."""
    unsaved = {name.removesuffix(".weight") for name in getattr(model, "_keys_to_ignore_on_save", None) or ()}
    for name, module in list(model.named_modules()):
        if name in unsaved and isinstance(module, nn.Embedding):
            table = module.weight.detach()
            del module.weight
            module.register_buffer("weight", table, persistent=False)
            module.register_forward_hook(lambda _, __, out: out.to(model.dtype))


@dataclass(slots=True)
class LoadedEncoderDecoder:
    """A model in fp32 with its tokenizer."""

    body: StagedEncoderDecoder
    tokenizer: Any
    config: Any
    """As it was in the folder."""
    max_length_tokens: int
    """Of a source."""
    announcements: list[str]


def is_encoder_decoder(folder: Path) -> bool:
    """Whether the model of a folder has an encoder and a decoder, as its configuration says."""
    from transformers import AutoConfig

    try:
        return bool(AutoConfig.from_pretrained(folder, local_files_only=True).is_encoder_decoder)
    except (OSError, ValueError, KeyError):
        return False


def load_encoder_decoder(folder: Path, dropout: float, new_tokens: Sequence[str] = ()) -> LoadedEncoderDecoder:
    """Load model and tokenizer; ``new_tokens`` become tokens of their own (see ``models.new_tokens``).

    Raises:
        ModelError: it is no encoder-decoder, or transformers cannot load the folder.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    quiet_transformers()
    if not is_encoder_decoder(folder):
        raise ModelError(
            f"the model in {folder} is not an encoder-decoder",
            where="model.source",
            why="texts are written by a decoder that reads what an encoder made of the source",
            remedy=f"name one, such as {EXAMPLES}",
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        quieter = copy.deepcopy(config)
        for name in (*DROPOUTS, *LAYER_DROPS):
            if hasattr(quieter, name):
                setattr(quieter, name, dropout if name in DROPOUTS else 0.0)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            folder,
            config=quieter,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded",
            where=str(folder),
            why=str(error),
            remedy="see what is wrong with it: feinschliff models verify FOLDER",
        ) from error
    model.generation_config = settings_of(model.generation_config, 1, DEFAULT_LIMIT_TOKENS)
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer in {folder} has no token that ends a text (eos_token)",
            where="model.source",
            why="the model would never learn where to stop",
            remedy=f"choose another model, such as {EXAMPLES}",
        )
    said = add_tokens(model, tokenizer, new_tokens)
    for name in VOCABULARIES:
        if hasattr(config, name):
            setattr(config, name, getattr(model.config, name))
    positions = min((getattr(config, name, None) or 10**9 for name in POSITIONS), default=10**9)
    limit = min(positions, int(min(tokenizer.model_max_length, 10**9)))
    limit = DEFAULT_LIMIT_TOKENS if limit == 10**9 else limit
    return LoadedEncoderDecoder(StagedEncoderDecoder(model.eval()), tokenizer, config, limit, said)


def settings_of(given: Any, num_beams: int, max_new_tokens: int) -> Any:
    """How a model writes: the tokens it needs for that, and what was asked for."""
    from transformers import GenerationConfig

    kept = {name: getattr(given, name, None) for name in KEPT_OF_GENERATION}
    return GenerationConfig(**kept, num_beams=num_beams, max_new_tokens=max_new_tokens)


def save_encoder_decoder(
    loaded: LoadedEncoderDecoder, weights: Mapping[str, Tensor], num_beams: int, max_new_tokens: int, folder: Path
) -> None:
    """Write config, weights, how it writes, and tokenizer; ``weights`` are all of a network, in fp32, by its names."""
    from transformers import AutoModelForSeq2SeqLM

    with torch.random.fork_rng():
        model = AutoModelForSeq2SeqLM.from_config(copy.deepcopy(loaded.config))
    start, own = "body.model.", loaded.body.model
    state = {name.removeprefix(start): value.float() for name, value in weights.items() if name.startswith(start)}
    state |= {name: value for name, value in own.state_dict().items() if name in dict(own.named_buffers())}
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise ModelError(f"weights that the model has no place for: {', '.join(unknown[:5])}", where=str(folder))
    model.tie_weights()
    model.generation_config = settings_of(own.generation_config, num_beams, max_new_tokens)
    model.eval().save_pretrained(folder, safe_serialization=True)
    loaded.tokenizer.save_pretrained(folder)
