"""Prompt tuning: trained input embeddings in front of every row, and the head. Knows no task.

They are the row's first tokens, before [CLS]: positions count through, pooling takes them in (Lester et al. 2021, and
so does PEFT). A prompt cannot be merged: it is saved beside the base's weights in PEFT's format, which PEFT loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from feinschliff.config.bases import TypedConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.errors import ConfigError
from feinschliff.methods import _added, _peft
from feinschliff.methods._method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup

MARK = ".prompt"
PROMPT = "prompt_embeddings"
"""PEFT's name for it."""
WEIGHTS = "adapter_model.safetensors"
HEAD = "head.linear.weight"


class PromptTuningConfig(TypedConfig):
    """Trained input embeddings before every row."""

    type: Literal["prompt_tuning"] = "prompt_tuning"
    """`prompt_tuning`."""
    num_virtual_tokens: int = Field(default=20, ge=1, le=1024)
    """Trained embeddings; texts may be so many tokens shorter."""
    init_text: str = ""
    """They start at the embeddings of this text, repeated or cut; empty: at those of tokens drawn by chance."""
    learning_rate_multiplier: float = Field(default=30.0, gt=0.0, le=10000.0)
    """The prompt's rate is this many times `training.learning_rate`; the head's follows from that one alone."""


class PromptTuning(Method):
    """Prompt and head move."""

    default_learning_rate = 3e-4
    """Times the multiplier about 1e-2: inputs go farther than weights (Lester et al. take 0.3, with Adafactor)."""
    mergeable = False
    loading = (
        "from peft import PeftModel",
        "",
        'model = PeftModel.from_pretrained(model, f"{folder}/adapter")',
    )

    @property
    def num_virtual_tokens(self) -> int:
        """As asked."""
        return int(self.config.num_virtual_tokens)

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, put the prompt beside the token table, train prompt and head."""
        network.requires_grad_(False)
        network.head.requires_grad_(True)
        table = network.body.model.get_input_embeddings()
        _put(network, table.weight[self._first_ids(network.body.model, table.num_embeddings)])
        adapted: nn.Module = network
        return adapted

    def _first_ids(self, model: Any, num_embeddings: int) -> Any:
        import torch

        from feinschliff.models.load import load_tokenizer

        count = self.num_virtual_tokens
        if not self.config.init_text:
            return torch.randint(num_embeddings, (count,))
        tokenizer = load_tokenizer(Path(model.name_or_path))
        ids = tokenizer(self.config.init_text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ConfigError("the text has no token", where="method.init_text", remedy="give a text with words")
        return torch.tensor((ids * count)[:count])

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """The prompt at its multiple of the rate, the head as ever."""
        groups = super().parameter_groups(network, training)
        return _added.faster(groups, MARK, self.config.learning_rate_multiplier)

    @contextmanager
    def reference(self, network: Any) -> Iterator[nn.Module]:
        """The network on rows without their prompt."""
        from feinschliff.engine.virtual_tokens import WithoutVirtualTokens

        yield WithoutVirtualTokens(network, self.num_virtual_tokens)

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The base's own weights and the head."""
        return {name: value for name, value in weights.items() if not name.endswith(MARK)}

    def save_added(self, network: Any, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the prompt as PEFT does for sequences or tokens, with the classifier, which it asks for; or, of a task
        without head, for feature extraction."""
        peft = _peft.load()
        from safetensors.torch import save_file

        from feinschliff.models.native import classifier_state

        prompt = next(value for name, value in weights.items() if name.endswith(MARK))
        config = network.body.model.config
        peft.PromptTuningConfig(
            task_type=_peft_task(network, weights),
            num_virtual_tokens=self.num_virtual_tokens,
            token_dim=prompt.shape[1],
            num_transformer_submodules=1,
            num_attention_heads=config.num_attention_heads,
            num_layers=config.num_hidden_layers,
            inference_mode=True,
        ).save_pretrained(folder)
        head: dict[str, Tensor] = {}
        if HEAD in weights and network.pooling is None:
            head = {"classifier.weight": weights[HEAD], "classifier.bias": weights["head.linear.bias"]}
        elif HEAD in weights:
            head = classifier_state(config, weights[HEAD], weights["head.linear.bias"])
        whole = {PROMPT: prompt, **{f"base_model.{name}": value for name, value in head.items()}}
        save_file({name: value.contiguous() for name, value in whole.items()}, folder / WEIGHTS)

    def attach(self, network: Any, folder: Path) -> None:
        """Put a saved prompt in."""
        from safetensors.torch import load_file

        _put(network, load_file(folder / WEIGHTS)[PROMPT])

    def complete(self, model: Any, folder: Path) -> Any:
        """Let PEFT put a saved prompt in."""
        import warnings

        peft = _peft.load()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers for an attribute by its old name
            return peft.PeftModel.from_pretrained(model, folder).eval()


def _peft_task(network: Any, weights: dict[str, Tensor]) -> str:
    """PEFT's name for what the network answers."""
    if HEAD not in weights:
        return "FEATURE_EXTRACTION"
    return "TOKEN_CLS" if network.pooling is None else "SEQ_CLS"


def _put(network: Any, prompt_Pd: Tensor) -> None:
    from feinschliff.models.prompted_embedding import PromptedEmbedding

    model = network.body.model
    model.set_input_embeddings(PromptedEmbedding(model.get_input_embeddings(), prompt_Pd))


NEEDS_TOKENS = True
NEEDS_ENCODER_ALONE = True
CONFIG = PromptTuningConfig
create = PromptTuning
EXAMPLE = {"type": "prompt_tuning", "num_virtual_tokens": 3}
