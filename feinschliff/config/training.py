"""How the loop runs: epochs, batches, learning rates, stopping, precision, checkpoints. Knows no task and no method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.config.bases import Config
from feinschliff.config.regularisation import BalanceConfig, RegularisationConfig


class TrainingConfig(Config):
    """The loop. Fields left at None take the method's default, which is announced."""

    epochs: float = Field(default=6.0, gt=0.0, le=1000.0)
    """Passes over the training rows."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    global_batch_rows: int = Field(default=32, ge=1, le=65536)
    """Rows per optimizer step, over all micro batches."""
    micro_batch_tokens: int = Field(default=8192, ge=16)
    """Tokens computed at once; a larger global batch is accumulated. Bounds memory, does not change the result."""
    learning_rate: float | None = Field(default=None, gt=0.0, le=10.0)
    """Peak learning rate of the body. None: the method's default."""
    head_learning_rate_multiplier: float = Field(default=20.0, gt=0.0, le=10000.0)
    """The head's rate is this many times the body's (discriminative learning rates, Howard and Ruder 2018)."""
    layer_learning_rate_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Each layer below the top learns at this factor of the one above (layer-wise decay, Clark et al. 2020)."""
    schedule: Literal["auto", "linear", "cosine", "constant"] = "auto"
    """After the warm-up: stay, or decay to zero. auto: constant where weights are averaged, which does what decay is
    for; linear where they are not."""
    warmup_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the steps in which the rate rises from zero."""
    weight_decay: float = Field(default=0.01, ge=0.0, le=1.0)
    """AdamW's decoupled decay (Loshchilov and Hutter 2019); not on biases, norms and embeddings."""
    adam_beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """First-moment decay of AdamW."""
    adam_beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Second-moment decay of AdamW."""
    adam_epsilon: float = Field(default=1e-8, gt=0.0)
    """Denominator floor of AdamW."""
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this global norm; None: not clipped."""
    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the target spread over all classes (Szegedy et al. 2016)."""
    adversarial_epsilon: float = Field(default=0.0, ge=0.0, le=100.0)
    """Learn each batch again with its token embeddings moved this far (L2 norm) along their gradient (Miyato et al.
    2017): steadier on few rows, at twice the time. 0: off. For methods that train the embeddings."""
    evaluations_per_epoch: int = Field(default=1, ge=1, le=100)
    """How often the validation rows are scored."""
    weight_averaging: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Score and keep a running average over about this share of the steps so far (Karras et al. 2024); 0: none."""
    base_weights_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the weights before training in those that are scored and kept: steadier on other data (WiSE-FT, Wortsman
    et al. 2022), where the head starts at class means. Of LoRA, a share of each factor. 0: none."""
    keep_weights: Literal["best", "last"] = "best"
    """The result: the best weights by validation, or the last ones (few validation rows tell epochs apart badly)."""
    early_stopping_patience: int | None = Field(default=3, ge=1)
    """Stop after this many validations without a better one; None: never. Not where the last weights are kept."""
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Save the whole state every so many steps; None: every minute or so of work, measured."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Older checkpoints are removed after a newer one is safely on disk."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where weights and batches are computed with. auto: a GPU of NVIDIA where torch finds one and the task can use it,
    else the CPU. Of several processes each takes a GPU of its own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Compute type of weights and activations; masters and optimizer stay fp32. auto: the faster one, measured."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute layers of language models twice instead of keeping what the backward pass needs. auto: batches that would
    take more than two fifths of the memory that is free when the run begins."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch's compiler make the element-wise pieces of language models' layers, on CPUs. auto: where the run is
    forecast to take ten minutes and more, and it is measured to pay for itself."""
    prefix_cache: Literal["auto", "off"] = "auto"
    """Keep the outputs of frozen lowest layers instead of computing them every epoch."""
    prefix_cache_memory_gib: float = Field(default=1.0, gt=0.0)
    """Past this size the prefix cache is a memory-mapped file."""
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes that torchrun started: each holds all weights (ddp), or its part of them and of gradients
    and moments (fsdp; Zhao et al. 2023), which are gathered a layer at a time: less memory, more messages."""
    num_threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: all cores."""
    regularisation: RegularisationConfig = RegularisationConfig()
    """Against overfitting and forgetting."""
    balance: BalanceConfig = BalanceConfig()
    """Against uneven classes."""

    @property
    def resolved_schedule(self) -> Literal["linear", "cosine", "constant"]:
        """The schedule, ``auto`` resolved."""
        if self.schedule != "auto":
            return self.schedule
        return "constant" if self.weight_averaging else "linear"
