"""From a configuration to everything a run needs in memory: rows, task, network, method, precision, learner.

Shared by ``train`` and ``tune``. Every choice made for the person is announced. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
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
from feinschliff.engine.batching import FORWARD_TOKENS, collate, micro_batches
from feinschliff.engine.optimizers import GroupedAdamW
from feinschliff.engine.precision import DTYPES, MasterWeights, Precision, choose
from feinschliff.engine.scoring import mean_loss, probabilities
from feinschliff.engine.step import Learner
from feinschliff.errors import ConfigError, DataError
from feinschliff.lifecycle.regularise import regularise, watched_metric
from feinschliff.models.live_embedding import LiveEmbedding, live_ids
from feinschliff.models.sources import ResolvedModel
from feinschliff.results.classification import DECIDING_METRICS
from feinschliff.tasks._task import EncodedSet, Floats, TaskContext

HEAD_ROWS_PER_CLASS = 10
"""Rows a class whose features start the head; more change a mean of unit vectors little, at a forward pass each."""
HEAD_ROWS = 4096
UNEVEN_CLASSES = 20.0
"""Largest class over smallest from which macro F1 decides instead of accuracy."""


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
    announcements: list[str] = field(default_factory=list)

    def validate(self) -> tuple[float, ...]:
        """(mean loss, deciding metric) on the validation rows, and what early stopping watches if that is a third."""
        scores = self.validation_scores()
        if self.validation.targets is None:
            raise DataError("the validation rows have no labels")
        targets = self.validation.targets
        watched = watched_metric(self.config, self.metric, DECIDING_METRICS[targets.ndim == 2])
        names = [self.metric] if watched is None else [self.metric, watched]
        return mean_loss(scores, targets), *(self.task.score(scores, targets, name) for name in names)

    def validation_scores(self) -> Floats:
        """Probabilities [N, C] of the network as it is now."""
        return probabilities(
            self.task,
            self.network,
            self.validation.table,
            max_tokens=min(self.config.training.micro_batch_tokens, FORWARD_TOKENS),
            cache=self.validation_cache,
        )

    def close(self) -> None:
        """Remove cache files."""
        for cache in (self.learner.cache, self.validation_cache):
            if cache is not None:
                cache.close()


def task_of(config: RunConfig, splits: Splits) -> Any:
    """The task, told what the data says."""
    context = TaskContext(
        label_names=tuple(splits.label_names),
        multi_label=splits.columns.kind == "multi_label",
        num_texts=max(1, len(splits.columns.text)),
        label_smoothing=config.training.label_smoothing,
    )
    return registry.load("task", config.task.type).create(config.task, context)


def deciding_metric(config: RunConfig, splits: Splits) -> tuple[str, str]:
    """The metric that decides, and why: accuracy; macro F1 of very uneven classes; micro F1 of several labels.

    Raises:
        ConfigError: there is no such metric for these rows, or one that cannot decide.
    """
    multi_label = splits.columns.kind == "multi_label"
    if config.evaluation.metric:
        known = DECIDING_METRICS[multi_label]
        if config.evaluation.metric not in known:
            kind = "several labels" if multi_label else "one label"
            raise ConfigError(
                f"{config.evaluation.metric!r} cannot decide over rows with {kind}",
                where="evaluation.metric",
                why="only metrics of which more is better, known for such rows",
                remedy=f"one of: {', '.join(known)}",
            )
        return config.evaluation.metric, "as asked"
    if multi_label:
        return "micro_f1", "rows carry several labels"
    counts: dict[str, int] = {}
    for example in splits.train:
        counts[example.labels[0]] = counts.get(example.labels[0], 0) + 1
    ratio = max(counts.values()) / min(counts.values())
    if ratio > UNEVEN_CLASSES:
        return "macro_f1", f"the largest class has {ratio:.0f} times the rows of the smallest"
    return "accuracy", "classes are of similar size"


def length_limit(config: RunConfig, task: Any) -> tuple[int, str]:
    """The limit in tokens, and why. Packed rows cost what they are long, so nothing is gained by a lower one."""
    most = task.loaded.max_length_tokens
    asked = config.model.max_length_tokens
    if asked is None:
        return most, f"rows are cut at {most} tokens: inherited from the model"
    return min(asked, most), f"rows are cut at {min(asked, most)} tokens: as asked" + (
        f", at most what the model takes ({most})" if asked > most else ""
    )


def prepare(
    config: RunConfig,
    splits: Splits,
    model: ResolvedModel,
    run_path: Path,
    *,
    precision: Precision | None = None,
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

    task = task_of(config, splits)
    method = registry.load("method", config.method.type).create(config.method)
    network = task.load_model(config.model, model.folder)
    for message in task.loaded.announcements:
        say(message)
    limit, why = length_limit(config, task)
    say(why)
    train, validation = task.encode(splits.train, limit), task.encode(splits.validation, limit)
    if train.num_cut or validation.num_cut:
        say(f"{train.num_cut} training and {validation.num_cut} validation rows are longer and were cut")
    torch.manual_seed(seeds.derive(config.seed, "method"))
    method.adapt(network)
    live = _restrict_embeddings(network, train, say)
    if precision is None:
        precision = _precision(config, network, say)
    masters = MasterWeights(network, network.body, DTYPES[precision])
    cache, validation_cache = _caches(config, network, train, validation, run_path, say)
    if config.model.head_init == "class_means":
        start_head(network, train, config, cache)
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
    )
    regularise(learner, config, task, say)
    metric, reason = deciding_metric(config, splits)
    say(f"deciding metric {metric}: {reason}")
    return Prepared(
        config, task, method, network, learner, validation, validation_cache, metric, precision, limit, live, notes
    )


def _restrict_embeddings(network: Any, train: EncodedSet, say: Callable[[str], None]) -> Any:
    table = network.body.model.get_input_embeddings()
    if not table.weight.requires_grad:
        return None
    live = live_ids(train.table.ids)
    network.restrict_embeddings(LiveEmbedding(table, live))
    say(f"{len(live)} of {table.num_embeddings} token embeddings occur in the training rows; only they are trained")
    return live


def _trained_embeddings(network: Any) -> str | None:
    """The name of the token embeddings, where they are trained."""
    table = network.body.model.get_input_embeddings().weight
    return next((name for name, p in network.named_parameters() if p is table and p.requires_grad), None)


def _average(config: RunConfig, masters: MasterWeights) -> AveragedWeights | None:
    width, base_share = config.training.weight_averaging, config.training.base_weights_share
    return AveragedWeights(masters, width, base_share) if width or base_share else None


def _precision(config: RunConfig, network: Any, say: Callable[[str], None]) -> Precision:
    if config.training.precision != "auto":
        return config.training.precision
    chosen, why = choose(torch.device("cpu"), network.body.hidden_width)
    say(why)
    return chosen


def _optimizer(
    config: RunConfig, method: Any, network: Any, masters: MasterWeights, say: Callable[[str], None]
) -> GroupedAdamW:
    rate = config.training.learning_rate
    if rate is None:
        rate = float(method.default_learning_rate)
        say(f"learning rate {rate:g}: default of method {config.method.type}")
    named = dict(zip(masters.names, masters.masters, strict=True))
    return GroupedAdamW(named, method.parameter_groups(network, config.training), rate, config.training)


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
    train_cache, validation_cache = (
        prefix_cache.build(
            network,
            encoded.table,
            stage,
            max_tokens=min(training.micro_batch_tokens, FORWARD_TOKENS),
            memory_gib=training.prefix_cache_memory_gib,
            folder=run_path / "prefix-cache",
        )
        for encoded in (train, validation)
    )
    say(f"frozen prefix computed once: {train_cache.description}")
    return train_cache, validation_cache


@torch.no_grad()
def start_head(network: Any, train: EncodedSet, config: RunConfig, cache: prefix_cache.PrefixCache | None) -> None:
    """Start the head from class means of the frozen network's features, on a sample of each class."""
    if train.targets is None:
        raise DataError("the training rows have no labels")
    rows = _sample_per_class(train.targets, config.seed)
    network.eval()
    features = torch.empty(len(rows), network.body.hidden_width)
    place = {int(row): index for index, row in enumerate(rows)}
    for part in micro_batches(rows, train.table.lengths, min(config.training.micro_batch_tokens, FORWARD_TOKENS)):
        batch = collate(train.table, part)
        if cache is not None:
            cache.attach(batch, train.table)
        features[[place[int(row)] for row in batch.rows]] = network.features(batch)
    network.head.start_from_class_means(features, train.targets[torch.from_numpy(rows)])


def _sample_per_class(targets: torch.Tensor, seed: int) -> Any:
    order = np.random.default_rng([seed, 0x4EAD]).permutation(len(targets))
    goal = targets.numpy()
    member = goal[order][:, None] == np.arange(goal.max() + 1)[None] if goal.ndim == 1 else goal[order] > 0
    keep = (np.cumsum(member, 0) <= HEAD_ROWS_PER_CLASS) & member
    return order[keep.any(1)][:HEAD_ROWS]


def texts_of(examples: list[Example]) -> list[str]:
    """All texts of examples, pairs joined, for embedding and measuring lengths."""
    return [" ".join(example.texts) for example in examples]
