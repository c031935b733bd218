"""The options against overfitting, forgetting and uneven classes, put into a learner; what validation rows choose by.

Knows which, not how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.engine.anchoring import Anchor
from feinschliff.engine.class_balance import class_weights, row_chances
from feinschliff.engine.mixup import Mixup
from feinschliff.engine.pair_contrast import PairContrast
from feinschliff.engine.r_drop import RDrop
from feinschliff.engine.step import Learner
from feinschliff.errors import ConfigError, DataError
from feinschliff.results.data import Kind
from feinschliff.results.formats import LIKELIHOOD_METRICS


def regularise(learner: Learner, config: RunConfig, task: Any, say: Callable[[str], None]) -> None:
    """Give a learner what the configuration asks for; nothing by default. Call before the first step and any resume.

    Raises:
        DataError: class weights or balanced draws are asked for rows without labels.
    """
    options, balance = config.training.regularisation, config.training.balance
    if options.r_drop:
        learner.objective = RDrop(task, options.r_drop)
    elif options.mixup:
        learner.objective = Mixup(task, options.mixup)
    elif options.pair_contrast:
        learner.objective = PairContrast(task, options.pair_contrast)
    if options.l2_sp or options.l2_sp_head:
        network = learner.network
        learner.anchor = Anchor(
            learner.masters,
            lambda name: bool(network.depth_of(name) > network.body.num_layers),
            options.l2_sp,
            options.l2_sp_head,
            decoupled=options.l2_sp_form == "decoupled",
        )
    if balance.class_weights == "none" and balance.sampling == "natural":
        return
    if not isinstance(learner.targets, Tensor):
        raise DataError("the training rows have no labels")
    if balance.class_weights != "none":
        weights = class_weights(learner.targets, len(task.context.label_names), balance.class_weights)
        task.class_weights = weights
        say(f"class weights from {float(weights.min()):.2g} to {float(weights.max()):.2g} ({balance.class_weights})")
    if balance.sampling == "balanced":
        learner.chances = row_chances(learner.targets)
        least, most = learner.chances.min(), learner.chances.max()
        say(f"balanced draws: the rarest rows come {most / least:.1f} times as often as the most common ones")


def watched_metric(config: RunConfig, deciding: str, known: tuple[str, ...]) -> str | None:
    """The third number that a validation gives: what early stopping watches, if it is neither deciding nor the loss.

    Raises:
        ConfigError: no such metric for these rows.
    """
    asked = config.training.regularisation.early_stopping_metric
    if asked in (None, "loss", deciding):
        return None
    if asked not in known:
        raise ConfigError(
            f"{asked!r} cannot be watched over these rows",
            where="training.regularisation.early_stopping_metric",
            why="only the loss, and metrics that could decide",
            remedy=f"one of: loss, {', '.join(known)}",
        )
    return asked


def learning_metric(config: RunConfig, deciding: str, rows: Kind, say: Callable[[str], None] = lambda _: None) -> str:
    """What chooses weights and recipes on validation rows: the deciding metric; the loss where that one looks at what a
    language model writes, because nothing is written while it learns.

    Raises:
        ConfigError: it looks at written answers, and the rows are documents, which ask nothing.
    """
    writes = registry.says("task", config.task.type, "CONTINUES_TEXTS")
    if not writes or deciding in LIKELIHOOD_METRICS:
        return deciding
    if rows == "documents":
        raise ConfigError(
            f"{deciding!r} cannot decide over documents",
            where="evaluation.metric",
            why="it looks at written answers, and a document asks nothing",
            remedy=f"one of: {', '.join(LIKELIHOOD_METRICS)}",
        )
    say("weights are chosen by the loss on validation rows: only test rows are answered in writing")
    return "loss"
