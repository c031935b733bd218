"""A decoder language model of transformers run on packed tokens, whole or between two layers.

Shapes: T tokens of all rows end to end, d hidden width, V vocabulary. The projection onto the vocabulary is the model's
own, with the weights it shares; whoever wants logits asks for those of some tokens. Knows no data, no loss and no loop.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from feinschliff.errors import ModelError
from feinschliff.models import decoder_probes
from feinschliff.models.lean_layers import is_compilable, lean
from feinschliff.models.load import load_tokenizer, quiet_transformers
from feinschliff.models.new_tokens import add_tokens

EXAMPLES = "smollm2-135m-instruct, or hf:Qwen/Qwen3-0.6B"
LAYERS = "model.layers"
DEFAULT_LIMIT_TOKENS = 2048
"""Of a row, where the model says none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Names by which :meth:`StagedDecoder.in_layers` knows the last linear maps of layers' parts."""

    attention: str = "self_attn"
    attention_output: str = "self_attn.o_proj"
    feed_forward_output: str = "mlp.down_proj"


class Projection(nn.Module):
    """States to logits. No ``nn.Linear``: its weights are often the embeddings', and adapters must not part them."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, states: Tensor) -> Tensor:
        """[..., d] to [..., V]."""
        return nn.functional.linear(states, self.weight, self.bias)


class StagedDecoder(nn.Module):
    """Layers ``start`` to ``stop`` of a decoder on tokens laid end to end; each row's tokens see their own row only."""

    def __init__(self, model: Any, attention: str) -> None:
        super().__init__()
        self.model = model
        self.family = Parts()
        _refuse_unknown_layout(model)
        model.set_output_embeddings(Projection(model.get_output_embeddings()))
        self.num_layers = len(self.layers)
        self.hidden_width: int = model.config.hidden_size
        self.vocabulary_size: int = len(model.get_output_embeddings().weight)
        self.checkpoint_above: int | None = None
        """Batches of more tokens compute the activations inside layers again in the backward pass; None: never."""
        self.checkpointed = False
        """Whether activations inside layers are computed again in the backward pass, not kept (Chen et al. 2016)."""
        self.attention = attention
        """Name of the registered attention function."""
        self.layer_kinds: list[str] = list(getattr(model.config, "layer_types", None) or [""] * self.num_layers)
        """As transformers calls them: ``sliding_attention`` ...; empty where all are alike."""

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, lowest first."""
        found: nn.ModuleList = self.model.model.layers
        return found

    @property
    def projection(self) -> Projection:
        """What makes logits of states."""
        found: Projection = self.model.get_output_embeddings()
        return found

    @property
    def softcap(self) -> float | None:
        """See ``engine.token_loss.token_loss``."""
        return getattr(self.model.config, "final_logit_softcapping", None)

    @property
    def logit_scale(self) -> float:
        """By which logits are multiplied (Cohere's models) or divided (Granite's): states carry it already."""
        config = self.model.config
        times, parts = (getattr(config, name, None) for name in ("logit_scale", "logits_scaling"))
        return float(times or 1.0) / float(parts or 1.0)

    def depth_of(self, name: str) -> int:
        """0 for the embeddings (and a projection that shares them), i + 1 for layer i, the last layer's for what
        follows it; ``name`` is relative to this module."""
        start = f"model.{LAYERS}."
        if name.startswith(start):
            return int(name.removeprefix(start).split(".", 1)[0]) + 1
        return 0 if "embed_tokens" in name or (self._is_tied and "lm_head" in name) else self.num_layers

    @property
    def _is_tied(self) -> bool:
        return self.projection.weight is self.model.get_input_embeddings().weight

    def in_layers(self, path: str) -> list[str]:
        """Names in ``model`` of the module at ``path`` inside each block, lowest first (``path``: see ``Parts``)."""
        return [f"{LAYERS}.{layer}.{path}" for layer in range(self.num_layers)]

    def make_lean(self) -> bool:
        """Compute layers by ``models.lean_layers`` where that gives the same; False: they keep their own forward.

        Raises:
            ModelError: its layers cannot be run one by one.
        """
        before = decoder_probes.seen(self)
        forwards = [forward for layer in self.layers if (forward := lean(layer)) is not None]
        if len(forwards) < self.num_layers:
            return False
        for layer, forward in zip(self.layers, forwards, strict=True):
            layer.forward = forward
        try:
            if decoder_probes.same(before, decoder_probes.seen(self)):
                return True
        except ModelError:
            pass  # some part has another shape than those we know
        for layer in self.layers:
            del layer.forward
        return False

    @property
    def can_be_compiled(self) -> bool:
        """Whether :meth:`use_compiled` is of use."""
        return all("forward" in vars(layer) and is_compilable(layer) for layer in self.layers)

    def use_compiled(self, on: bool) -> None:
        """Let layers compute their element-wise pieces by ``models.compiled``, from now on, or no longer."""
        layer: Any
        for layer in self.layers:
            layer.compiled_pieces = on

    def forward(
        self,
        ids_T: Tensor,
        positions_T: Tensor,
        packed_groups: Any,
        *,
        hidden_Td: Tensor | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Hidden states [T, d] after block ``stop - 1``, ready for the projection where that is the last block;
        ``hidden_Td`` are the inputs of block ``start`` if > 0."""
        base, stop = self.model.model, self.num_layers if stop is None else stop
        hidden = self._embedded(ids_T)[None] if hidden_Td is None else hidden_Td[None]
        turns = self._rotations(hidden, positions_T[None])
        again = torch.is_grad_enabled() and (
            self.checkpointed or (self.checkpoint_above is not None and len(ids_T) > self.checkpoint_above)
        )
        for layer, kind in list(zip(self.layers, self.layer_kinds, strict=True))[start:stop]:
            given = {"position_embeddings": turns[kind], "packed_groups": packed_groups}
            given |= {"attention_mask": None, "position_ids": positions_T[None], "use_cache": False}
            if again:
                hidden = checkpoint(self._block, layer, hidden, given, use_reentrant=False)
            else:
                hidden = self._block(layer, hidden, given)
        if stop < self.num_layers:
            return hidden[0]
        states: Tensor = base.norm(hidden)[0]
        return states if self.logit_scale == 1.0 else states * self.logit_scale

    def _embedded(self, ids_T: Tensor) -> Tensor:
        base = self.model.model
        found: Tensor = base.embed_tokens(ids_T)
        multiplier = getattr(base, "embedding_multiplier", 1.0)  # Granite
        return found if multiplier == 1.0 else found * multiplier

    def _block(self, layer: Any, hidden: Tensor, given: dict[str, Any]) -> Tensor:
        """Our attention is named here, where a backward pass that computes a block again comes by too."""
        with self._own_attention():
            out = layer(hidden, **given)
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    def _rotations(self, hidden: Tensor, positions: Tensor) -> dict[str, Any]:
        rotary = self.model.model.rotary_emb
        kinds = set(self.layer_kinds)
        by_type = "layer_type" in rotary.forward.__code__.co_varnames or hasattr(rotary, "layer_types")
        return {kind: rotary(hidden, positions, kind) if by_type else rotary(hidden, positions) for kind in kinds}

    @contextmanager
    def _own_attention(self) -> Iterator[None]:
        config = self.model.config
        before = config._attn_implementation
        try:
            config._attn_implementation = self.attention
            yield
        finally:
            config._attn_implementation = before

    def check_packing(self, packed_groups: Any, lengths: Sequence[int]) -> float:
        """Largest difference between made-up rows computed packed and each alone by transformers: about 1e-5.

        Raises:
            ModelError: some layers see other tokens than all before, in a way that short rows would not show.
        """
        return decoder_probes.largest_difference(self, packed_groups, lengths)


def _refuse_unknown_layout(model: Any) -> None:
    base = getattr(model, "model", None)
    wanted = ("embed_tokens", "layers", "norm", "rotary_emb")
    missing = [name for name in wanted if not hasattr(base, name)]
    if missing or model.get_output_embeddings() is None:
        raise ModelError(
            f"the layers of a {model.config.model_type} model cannot be run one by one",
            where="model.source",
            why=f"it has no {', '.join(missing) or 'projection onto the vocabulary'}",
            remedy=f"choose a decoder of the Llama kind, such as {EXAMPLES}",
        )


@dataclass(slots=True)
class LoadedDecoder:
    """A model in fp32 with its tokenizer."""

    body: StagedDecoder
    tokenizer: Any
    config: Any
    """As it was in the folder."""
    max_length_tokens: int
    """Of a row."""
    announcements: list[str]


def is_decoder(folder: Path) -> bool:
    """Whether the model of a folder writes texts without an encoder, as its configuration says."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return False
    named = " ".join(getattr(config, "architectures", None) or ())
    writes = "CausalLM" in named or "LMHead" in named or "ForConditionalGeneration" in named
    return writes and not config.is_encoder_decoder and config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def row_limit(config: Any, tokenizer: Any) -> int:
    """Tokens of a row at most.

    Some models (Phi 3 128k) turn all tokens otherwise as soon as one stands behind the length they were first trained
    on; rows that lie end to end would then depend on each other, so none is longer than that.
    """
    limit = getattr(config, "max_position_embeddings", None) or DEFAULT_LIMIT_TOKENS
    turns = getattr(config, "rope_parameters", None) or {}
    if turns.get("rope_type") in ("longrope", "dynamic"):
        limit = min(limit, turns.get("original_max_position_embeddings") or limit)
    return int(min(limit, tokenizer.model_max_length, 10**9))


def load_decoder(folder: Path, attention: str, new_tokens: Sequence[str] = ()) -> LoadedDecoder:
    """Load model and tokenizer; ``attention`` names a registered attention function, ``new_tokens`` become tokens.

    Raises:
        ModelError: it is no decoder, or transformers cannot load the folder.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    if not is_decoder(folder):
        raise ModelError(
            f"the model in {folder} is no decoder language model",
            where="model.source",
            why="conversations are learned and written by a model that continues texts",
            remedy=f"name one, such as {EXAMPLES}",
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded",
            where=str(folder),
            why=str(error),
            remedy="see what is wrong with it: feinschliff models verify FOLDER",
        ) from error
    tokenizer = load_tokenizer(folder)
    said = add_tokens(model, tokenizer, new_tokens)
    config.vocab_size = model.config.vocab_size
    body = StagedDecoder(model.eval(), attention)
    if not body.make_lean():
        said = [*said, f"layers of {config.model_type} run as transformers computes them: slower than those we know"]
    return LoadedDecoder(body, tokenizer, config, row_limit(config, tokenizer), said)


def save_decoder(loaded: LoadedDecoder, weights: Mapping[str, Tensor], end_ids: Sequence[int], folder: Path) -> None:
    """Write config, weights, where it stops writing, and tokenizer with its template.

    Args:
        weights: all of a network, in fp32, by its names.
        end_ids: tokens at which ``generate`` of others stops too.
    """
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(loaded.config))
    start = "body.model."
    saved = model.state_dict().keys()
    buffers = {name: value for name, value in loaded.body.model.named_buffers() if name in saved}
    given = {name.removeprefix(start): value.float() for name, value in weights.items() if name.startswith(start)}
    found = model.load_state_dict({**buffers, **given}, strict=False)
    missing = [name for name in found.missing_keys if name not in model.all_tied_weights_keys]
    if found.unexpected_keys or missing:
        names = ", ".join([*found.unexpected_keys, *missing][:5])
        raise ModelError(f"weights that the model has no place for, or that it lacks: {names}", where=str(folder))
    model.tie_weights()
    model.generation_config = _settings(loaded, end_ids)
    model.eval().save_pretrained(folder, safe_serialization=True)
    loaded.tokenizer.save_pretrained(folder)


def _settings(loaded: LoadedDecoder, end_ids: Sequence[int]) -> Any:
    """The model's own settings for writing, with these ends."""
    from transformers import GenerationConfig

    settings = copy.deepcopy(loaded.body.model.generation_config)
    if end_ids:
        settings.eos_token_id = list(end_ids)
    try:
        settings.validate(strict=True)
    except ValueError:  # a temperature without sampling, say: it is ignored where it is read, and refused when written
        said = settings.to_diff_dict()
        settings = GenerationConfig(**{name: said[name] for name in said if name.endswith("_token_id")})
    return settings


def set_end_ids(loaded: LoadedDecoder, ids: Sequence[int]) -> None:
    """Let the model's own settings say where writing stops."""
    if ids:
        loaded.body.model.generation_config.eos_token_id = sorted(ids)


def end_ids(loaded: LoadedDecoder) -> list[int]:
    """Tokens at which writing stops, as the model's settings and its tokenizer say."""
    given = loaded.body.model.generation_config.eos_token_id
    found = [*(given if isinstance(given, list) else [given]), loaded.tokenizer.eos_token_id]
    return sorted({int(one) for one in found if one is not None})


@torch.no_grad()
def plain_token_losses(model: Any, ids: Any, targets: Any) -> Any:
    """Losses [n] of a row's targets (below zero: none) by transformers' own forward pass, fp32."""
    logits = _plain_logits(model, ids)
    goal = torch.from_numpy(targets).to(logits.device)
    at = (goal >= 0).nonzero().squeeze(1)
    return nn.functional.cross_entropy(logits[at], goal[at], reduction="none").cpu().numpy()


@torch.inference_mode()
def plain_token_probabilities(folder: Path, rows: Sequence[tuple[Any, Any]], complete: Any) -> Tensor:
    """Probabilities that plain transformers gives the targets of each row of (ids, targets), end to end."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    model = complete(model.eval())
    found = [torch.from_numpy(plain_token_losses(model, ids, targets)).neg().exp() for ids, targets in rows]
    return torch.cat(found) if found else torch.zeros(0)


def _plain_logits(model: Any, ids: Any) -> Tensor:
    logits: Tensor = model(input_ids=torch.from_numpy(ids)[None].to(model.device), use_cache=False).logits[0].float()
    return logits
