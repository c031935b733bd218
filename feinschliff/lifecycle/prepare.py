"""From a configuration to everything a run needs in memory: rows, task, network, method, precision, learner.

Shared by ``train`` and ``tune``. Every choice made for the person is announced. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example, Splits
from feinschliff.engine import prefix_cache, seeds
from feinschliff.engine.averaging import AveragedWeights
from feinschliff.engine.batching import FORWARD_TOKENS, TokenTable
from feinschliff.engine.optimizers import GroupedAdamW
from feinschliff.engine.precision import DTYPES, MasterWeights, Precision
from feinschliff.engine.ranks import ALONE, Ranks
from feinschliff.engine.scoring import outputs
from feinschliff.engine.sharding import Shards
from feinschliff.engine.step import Learner
from feinschliff.engine.text_groups import TextGroups
from feinschliff.errors import ConfigError, DataError, ResourceError
from feinschliff.lifecycle import activations, row_notes
from feinschliff.lifecycle.head_start import start_head
from feinschliff.lifecycle.parameters import share
from feinschliff.lifecycle.placing import device_for, precision_of
from feinschliff.lifecycle.regularise import learning_metric, regularise, watched_metric
from feinschliff.models.live_embedding import LiveEmbedding, live_ids
from feinschliff.models.quantised import nf4_made_whole_by
from feinschliff.models.sources import ResolvedModel
from feinschliff.tasks._decoder_network import DecoderNetwork
from feinschliff.tasks._row_network import RowNetwork
from feinschliff.tasks._task import EncodedSet, Floats, TaskContext, encoded

FEWEST_TOKENS = 8
"""Of text in a row."""


@dataclass(slots=True)
class Prepared:
    """A run in memory, ready for its first step."""

    config: RunConfig
    task: Any
    method: Any
    network: Any
    learner: Learner
    validation: EncodedSet
    validation_cache: prefix_cache.PrefixCache | None
    metric: str
    precision: Precision
    max_length_tokens: int
    live_ids: Any
    expected_loss: float | None = None
    """Of the first batch, where the network is divided by now and could not be asked any more."""
    announcements: list[str] = field(default_factory=list)

    def validate(self) -> tuple[float, ...]:
        """(mean loss, deciding metric) on the validation rows, and what early stopping watches if that is a third."""
        found, validation = self.validation_outputs(self.learner.ranks), self.validation
        if validation.targets is None:
            raise DataError("the validation rows have no labels")
        answers = self.task.answers(found, validation)
        watched = watched_metric(self.config, self.metric, self.task.deciding_metrics())
        names = [self.metric] if watched is None else [self.metric, watched]
        loss: float = self.task.validation_loss(found, validation)
        return loss, *(self.task.score(answers, validation.examples, name) for name in names)

    def validation_outputs(self, ranks: Ranks = ALONE) -> Floats:
        """Outputs of the network as it is now, for all validation rows; computed by all of ``ranks``."""
        return outputs(
            self.task,
            self.network,
            self.validation.table,
            max_tokens=min(self.config.training.micro_batch_tokens, FORWARD_TOKENS),
            targets=self.validation.targets,
            cache=self.validation_cache,
            ranks=ranks,
        )

    def close(self) -> None:
        """Remove cache files."""
        for cache in (self.learner.cache, self.validation_cache):
            if cache is not None:
                cache.close()


def task_of(config: RunConfig, splits: Splits) -> Any:
    """The task, told what the data says."""
    return registry.load("task", config.task.type).create(config.task, context_of(config, splits))


def context_of(config: RunConfig, splits: Splits) -> TaskContext:
    """What the rows say about the task; means and scales are those of the training rows."""
    means, scales = moments(splits.train)
    return TaskContext(
        label_names=tuple(splits.label_names),
        multi_label=splits.columns.kind == "multi_label",
        num_texts=max(1, len(splits.columns.text)),
        label_smoothing=config.training.label_smoothing,
        target_names=tuple(splits.columns.values),
        number_names=tuple(splits.columns.numbers),
        target_means=means,
        target_scales=scales,
        global_batch_rows=config.training.global_batch_rows,
    )


def moments(examples: Sequence[Example]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each number to be predicted; a constant one has scale 1."""
    values = np.array([example.values for example in examples], dtype=np.float64).reshape(len(examples), -1)
    if not values.size:
        return (), ()
    means, scales = np.nanmean(values, 0), np.nanstd(values, 0)
    return tuple(means.tolist()), tuple(np.where(scales > 0, scales, 1.0).tolist())


def deciding_metric(config: RunConfig, splits: Splits) -> tuple[str, str]:
    """The metric that decides, and why.

    Raises:
        ConfigError: there is no such metric for these rows, or one that cannot decide.
    """
    task, asked = task_of(config, splits), config.evaluation.metric
    if not asked:
        found: tuple[str, str] = task.deciding_metric(splits.train)
        watched_metric(config, found[0], task.deciding_metrics())
        return found
    known = task.deciding_metrics()
    if registry.says("task", config.task.type, "CONTINUES_TEXTS"):
        known = (*known, *task.names_of_checks(config.evaluation, splits.test))
    if asked not in known:
        kinds = {"single_label": "one label", "multi_label": "several labels"}
        raise ConfigError(
            f"{asked!r} cannot decide over rows with {kinds.get(splits.columns.kind, splits.columns.kind)}",
            where="evaluation.metric",
            why="only metrics that tell better from worse, known for such rows",
            remedy=f"one of: {', '.join(known)}",
        )
    watched_metric(config, learning_metric(config, asked, splits.columns.kind), task.deciding_metrics())
    return asked, "as asked"


def length_limit(config: RunConfig, task: Any, num_virtual_tokens: int = 0) -> tuple[int, str]:
    """The limit in tokens, and why. Packed rows cost what they are long, so nothing is gained by a lower one.

    Raises:
        ConfigError: the method's virtual tokens leave no room for text.
    """
    if registry.says("task", task.config.type, "READS_IMAGES"):
        return int(task.loaded.max_length_tokens), "images are brought to one size, none is cut"
    if registry.says("task", task.config.type, "READS_NUMBERS"):
        return int(task.loaded.max_length_tokens), "rows of numbers have one length, none is cut"
    most = task.loaded.max_length_tokens - num_virtual_tokens
    if num_virtual_tokens and most < FEWEST_TOKENS:
        raise ConfigError(
            f"{num_virtual_tokens} virtual tokens leave {max(0, most)} for text",
            where="method.num_virtual_tokens",
            why=f"the model takes rows of {task.loaded.max_length_tokens} tokens",
            remedy=f"ask for {task.loaded.max_length_tokens - FEWEST_TOKENS} at most",
        )
    asked = config.model.max_length_tokens
    if asked is None:
        less = f", less {num_virtual_tokens} virtual ones" if num_virtual_tokens else ""
        return most, f"{task.long_rows} {most} tokens: inherited from the model{less}"
    return min(asked, most), f"{task.long_rows} {min(asked, most)} tokens: as asked" + (
        f", at most what the model takes ({most})" if asked > most else ""
    )


def prepare(
    config: RunConfig,
    splits: Splits,
    model: ResolvedModel,
    run_path: Path,
    *,
    precision: Precision | None = None,
    ranks: Ranks = ALONE,
    announce: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Load, adapt, encode, cast, start the head, build the cache. Deterministic in configuration, data and precision.

    Raises:
        ModelError: the model cannot be used for the task.
        ConfigError: the method does not fit the model.
    """
    torch.set_num_threads(config.training.num_threads or torch.get_num_threads())
    torch.manual_seed(seeds.derive(config.seed, "head"))
    notes: list[str] = []

    def say(message: str) -> None:
        notes.append(message)
        announce(message)

    device, why = device_for(config.task.type, config.training.device)
    say(why)
    task = task_of(config, splits)
    method = registry.load("method", config.method.type).create(config.method)
    network = task.load_model(config.model, model.folder)
    for message in task.loaded.announcements:
        say(message)
    limit, why = length_limit(config, task, method.num_virtual_tokens)
    say(why)
    train, validation = _encoded(task, splits, limit, method.num_virtual_tokens, say)
    _adapt(config, method, network, device, say)
    live = _restrict_embeddings(network, train, say)
    network.to(device)
    precision = _precision_for_all(config, network, ranks, say) if precision is None else precision
    shards = Shards(ranks, device) if config.training.parallelism == "fsdp" and ranks.count > 1 else None
    expected = None if shards is None else task.expected_first_loss()
    masters = MasterWeights(network, network.body, DTYPES[precision], shards=shards)
    if isinstance(network, DecoderNetwork):
        activations.bound(network, int(max(train.table.lengths, default=0)), config.training, say)
    say(f"{share(config, network, masters)}: {method.describe(network)}")
    cache, judged = (None, None) if shards else _caches(config, network, train, validation, run_path, say)
    if config.model.head_init != "random":
        start_head(task, network, train, config, cache)
    learner = Learner(
        network=network,
        objective=task,
        table=train.table,
        targets=train.targets,
        masters=masters,
        optimizer=_optimizer(config, method, network, masters, say),
        training=config.training,
        cache=cache,
        embeddings=_trained_embeddings(network),
        average=_average(config, masters),
        ranks=ranks,
    )
    regularise(learner, config, task, say)
    deciding, reason = deciding_metric(config, splits)
    say(f"deciding metric {deciding}: {reason}")
    metric = learning_metric(config, deciding, splits.columns.kind, say)
    parts = (config, task, method, network, learner, validation, judged, metric, precision, limit, live)
    return Prepared(*parts, expected, notes)


def _encoded(
    task: Any, splits: Splits, limit: int, num_virtual_tokens: int, say: Callable[[str], None]
) -> tuple[EncodedSet, EncodedSet]:
    """Training and validation rows; what was cut is said, and rows of which nothing can be learned are refused."""
    train, validation = (encoded(task, rows, limit, num_virtual_tokens) for rows in (splits.train, splits.validation))
    row_notes.refuse_unlearnable(train, validation)
    row_notes.say_cut(train, validation, say)
    return train, validation


def _precision_for_all(config: RunConfig, network: Any, ranks: Ranks, say: Callable[[str], None]) -> Precision:
    """What the first of several processes measured: all compute in the same type."""
    precision, why = precision_of(config, network)
    say(why)
    return "bf16" if ranks.told(precision) == "bf16" else "fp32"


def _adapt(config: RunConfig, method: Any, network: Any, device: torch.device, say: Callable[[str], None]) -> None:
    method.quantise_base(network)
    if method.quantised is not None:
        say(method.quantised.sentence)
        if method.quantised.quantization == "nf4":
            say(nf4_made_whole_by(device))
    torch.manual_seed(seeds.derive(config.seed, "method"))
    method.adapt(network)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            f"method {config.method.type} trains nothing as it is set up",
            where="method.type",
            why=f"task {config.task.type} has no head, and all else is frozen",
            remedy="let layers move too (--method.trained-layers 2), or choose another method",
        )


def _restrict_embeddings(network: Any, train: EncodedSet, say: Callable[[str], None]) -> Any:
    tokens = train.table.texts if isinstance(train.table, TextGroups) else train.table
    if not isinstance(tokens, TokenTable) or isinstance(network, DecoderNetwork):
        return None  # what a decoder's table is tied to, or is trained with, is all of the vocabulary
    table = network.body.model.get_input_embeddings()
    if not table.weight.requires_grad:
        return None
    live = live_ids(tokens.ids)
    network.restrict_embeddings(LiveEmbedding(table, live))
    say(f"{len(live)} of {table.num_embeddings} token embeddings occur in the training rows; only they are trained")
    return live


def _trained_embeddings(network: Any) -> str | None:
    """The name of the token embeddings, where there are any and they are trained."""
    if isinstance(network, RowNetwork):
        return None
    table = network.body.model.get_input_embeddings().weight
    return next((name for name, p in network.named_parameters() if p is table and p.requires_grad), None)


def _average(config: RunConfig, masters: MasterWeights) -> AveragedWeights | None:
    width, base_share = config.training.weight_averaging, config.training.base_weights_share
    return AveragedWeights(masters, width, base_share) if width or base_share else None


def _optimizer(
    config: RunConfig, method: Any, network: Any, masters: MasterWeights, say: Callable[[str], None]
) -> GroupedAdamW:
    rate = config.training.learning_rate
    if rate is None:
        factor = registry.number("task", config.task.type, "RATE_FACTOR", 1.0)
        rate = float(method.default_learning_rate) * factor
        less = "" if factor == 1.0 else f", times {factor:g} for task {config.task.type}"
        say(f"learning rate {rate:g}: default of method {config.method.type}{less}")
    named = dict(zip(masters.names, masters.masters, strict=True))
    training = config.training
    if registry.says("task", config.task.type, "WRITES_TEXTS"):  # no head is new
        training = training.model_copy(update={"head_learning_rate_multiplier": 1.0})
    return GroupedAdamW(named, method.parameter_groups(network, training), rate, training)


def _caches(
    config: RunConfig,
    network: Any,
    train: EncodedSet,
    validation: EncodedSet,
    run_path: Path,
    say: Callable[[str], None],
) -> tuple[prefix_cache.PrefixCache | None, prefix_cache.PrefixCache | None]:
    stage = network.frozen_prefix()
    if stage is None or config.training.prefix_cache == "off":
        return None, None
    training = config.training
    try:
        train_cache, validation_cache = (
            prefix_cache.build(
                network,
                encoded.table,
                stage,
                max_tokens=min(training.micro_batch_tokens, FORWARD_TOKENS),
                memory_gib=training.prefix_cache_memory_gib,
                folder=run_path / "prefix-cache",
            )
            if encoded.examples
            else None
            for encoded in (train, validation)
        )
    except ResourceError as error:  # it saves time and nothing else
        say(f"frozen prefix computed in every epoch, not kept: {error.faults[0].what}")
        return None, None
    if train_cache is not None:
        say(f"frozen prefix computed once: {train_cache.description}")
    return train_cache, validation_cache


def texts_of(examples: list[Example]) -> list[str]:
    """All texts of examples, pairs joined, for embedding and measuring lengths."""
    return [" ".join(example.texts) for example in examples]
