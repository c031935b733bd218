"""Choosing a recipe by validation score within a time budget. Never sees a test row.

Where the budget allows, each candidate is trained in full and the best is kept as it is. Otherwise candidates are
compared on a share of the rows for few epochs, and one is then trained on all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Splits, target_of
from feinschliff.errors import DivergedError
from feinschliff.lifecycle.claims import that_binds
from feinschliff.lifecycle.recipes import Recipe, configured
from feinschliff.lifecycle.train import RunContext, run
from feinschliff.models.sources import ResolvedModel
from feinschliff.results.comparison import CandidateTrial
from feinschliff.results.formats import goodness, is_in_units, is_percentage
from feinschliff.results.training import TrainingResult
from feinschliff.store.run_directory import RunDirectory, read_json, write_json

TRIAL_SHARE = 0.35
"""Share of what is left of the budget that is spent on choosing."""
TRIAL_EPOCHS = 2.0
FULL_SHARE = 0.9
"""All recipes are trained in full where that takes at most this share of what is left."""
FEWEST_ROWS = 256
"""Trials on fewer rows order recipes by chance."""
FEWEST_EVALUATIONS = 3
"""Of the training on all rows: a budget of one epoch gets a curve too, and a choice among its points."""
LEAST_TRAINING = 1.0
"""Epochs that the chosen recipe trains on all rows, also past the budget on a machine that became slower: less would
give a worse model than its own trial."""
EPOCH_PARTS = 4
"""The budget is used to a quarter of an epoch."""


@dataclass(slots=True)
class Search:
    """What choosing needs."""

    config: RunConfig
    given: set[str]
    splits: Splits
    model: ResolvedModel
    context: RunContext
    seconds_per_forward: float
    """Of one average row, measured."""
    seconds_left: float
    metric: str
    """That decides."""


@dataclass(slots=True)
class Choice:
    """The recipe chosen, its training, and all trials."""

    recipe: Recipe
    config: RunConfig
    training: TrainingResult
    trials: list[CandidateTrial]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is trained on all rows, and for how long."""

    recipe: Recipe
    epochs: float
    trials: list[CandidateTrial]


def forecast(search: Search, recipes: Sequence[Recipe], seconds_to_load: float) -> float:
    """Seconds that choosing and training will take, as :func:`choose_and_train` goes about it."""
    rows, per_forward = len(search.splits.train), search.seconds_per_forward
    whole = sum(recipe.forwards for recipe in recipes) * rows * per_forward
    one_epoch = max(recipe.forwards_once + recipe.forwards_per_row for recipe in recipes) * rows * per_forward
    if len(recipes) == 1:
        return min(whole, max(search.seconds_left, one_epoch)) + seconds_to_load
    if whole <= FULL_SHARE * search.seconds_left:
        return whole + len(recipes) * seconds_to_load
    return max(search.seconds_left, one_epoch + (len(recipes) + 1) * seconds_to_load)


def choose_and_train(search: Search, recipes: Sequence[Recipe]) -> Choice:
    """Train the best recipe into the run's directory."""
    earlier = _earlier_decision(search, recipes)
    if earlier is not None:
        return _trained(search, earlier, search.seconds_left)
    if len(recipes) == 1:
        return _train_on_all(search, recipes[0], [], search.seconds_left)
    count = _rows_of_trials(search, recipes)
    return _all_in_full(search, recipes) if count is None else _small_then_full(search, recipes, count)


def _rows_of_trials(search: Search, recipes: Sequence[Recipe]) -> int | None:
    """On how many rows recipes are compared; None: the budget allows to train each in full.

    An earlier start's answer stands: measured anew it comes out otherwise, and the trials already done would be lost.
    """
    rows, file = len(search.splits.train), search.context.directory.trials / "sample.json"
    kept = {"rows": _digest(search.splits), "recipes": [recipe.name for recipe in recipes]}
    earlier = read_json(file) if file.exists() else {}
    if {name: earlier.get(name) for name in kept} == kept:
        found: int | None = earlier["count"]
        return found
    whole = sum(recipe.forwards for recipe in recipes) * rows * search.seconds_per_forward
    if whole <= FULL_SHARE * search.seconds_left:
        search.context.announce(f"{len(recipes)} recipes are trained in full: forecast {whole:.0f} s together")
        count = None
    else:
        per_row = sum(r.forwards_once + _trial_epochs(r) * r.forwards_per_row for r in recipes)
        affordable = TRIAL_SHARE * search.seconds_left / (per_row * search.seconds_per_forward)
        count = int(max(min(FEWEST_ROWS, rows), min(rows, affordable)))
    search.context.directory.trials.mkdir(parents=True, exist_ok=True)
    write_json(file, {**kept, "count": count})
    return count


def _trial_epochs(recipe: Recipe) -> float:
    return min(TRIAL_EPOCHS, recipe.epochs)


def _all_in_full(search: Search, recipes: Sequence[Recipe]) -> Choice:
    trials, results = [], {}
    for recipe in recipes:
        result, trial = _trial(search, recipe, search.splits, None, search.seconds_left, keep=True)
        trials.append(trial)
        if result is not None:
            results[recipe.name] = result
    best = _best(recipes, trials, search.metric)
    folder = RunDirectory(_trial_folder(search, best))
    directory = search.context.directory
    for made, wanted in ((folder.adapter, directory.adapter), (folder.model, directory.model)):
        if made.exists():
            shutil.rmtree(wanted, ignore_errors=True)
            made.rename(wanted)
    for recipe in recipes:
        folder = RunDirectory(_trial_folder(search, recipe))
        for made in (folder.adapter, folder.model):
            shutil.rmtree(made, ignore_errors=True)
    config = configured(search.config, best, search.given, search.config.output_dir)
    write_json(directory.training, results[best.name].model_dump(mode="json"))
    return Choice(best, config, results[best.name], _marked(trials, best))


def _small_then_full(search: Search, recipes: Sequence[Recipe], count: int) -> Choice:
    begin = time.perf_counter()
    search.context.announce(
        f"{len(recipes)} recipes are compared on {count} of {len(search.splits.train)} training rows, "
        "then one is trained on all"
    )
    sample = _sample(search.splits, count, search.config.seed)
    trials, measured = [], {}
    for recipe in recipes:
        share = TRIAL_SHARE * search.seconds_left
        result, trial = _trial(search, recipe, sample, _trial_epochs(recipe), share, keep=False)
        trials.append(trial)
        if result is not None:
            measured[recipe.name] = 1.0 / result.rows_per_second
    best = _most_able(recipes, trials, search.metric, len(sample.validation))
    if best is not _best(recipes, trials, search.metric):
        search.context.announce(
            f"{best.name}: within a standard error of the best trial, and gains more from more rows than {count}"
        )
    left = search.seconds_left - (time.perf_counter() - begin)
    return _train_on_all(search, best, _marked(trials, best), left, measured[best.name])


def _train_on_all(
    search: Search, recipe: Recipe, trials: list[CandidateTrial], seconds: float, seconds_per_row: float | None = None
) -> Choice:
    """``seconds_per_row`` of one epoch, where a trial measured it."""
    rows = len(search.splits.train)
    per_row = recipe.forwards_per_row * search.seconds_per_forward if seconds_per_row is None else seconds_per_row
    once = recipe.forwards_once * rows * search.seconds_per_forward
    affordable = math.floor(EPOCH_PARTS * (seconds - once) / (per_row * rows)) / EPOCH_PARTS
    epochs = max(_least(search), min(recipe.epochs, affordable))
    if epochs < recipe.epochs and "training.epochs" not in search.given:
        search.context.announce(f"{epochs:g} epochs instead of {recipe.epochs:g}: what the budget allows")
    decision = Decision(recipe, epochs, trials)
    kept = {"rows": _digest(search.splits), "recipe": recipe.name, "epochs": epochs}
    write_json(_decision_file(search), {**kept, "trials": [trial.model_dump(mode="json") for trial in trials]})
    return _trained(search, decision, seconds)


def _trained(search: Search, decision: Decision, seconds: float) -> Choice:
    """Train as decided, or read the result where an earlier start already finished it."""
    directory = search.context.directory
    often = min(20, max(1, math.ceil(FEWEST_EVALUATIONS / decision.epochs)))
    patience = search.config.training.early_stopping_patience
    changes = {"evaluations_per_epoch": often, "early_stopping_patience": patience and patience * often}
    recipe = replace(decision.recipe, training={**decision.recipe.training, **changes})
    config = configured(search.config, recipe, search.given, search.config.output_dir, decision.epochs)
    if directory.training.exists() and directory.model.exists():
        result = TrainingResult.model_validate(read_json(directory.training))
    else:
        context = replace(search.context, max_seconds=max(seconds, 10.0), fewest_epochs=_least(search))
        result = run(config, search.splits, search.model, context)
    return Choice(recipe, config, result, decision.trials)


def _least(search: Search) -> float:
    return registry.number("task", search.config.task.type, "LEAST_EPOCHS", LEAST_TRAINING)


def _decision_file(search: Search) -> Path:
    return search.context.directory.trials / "decision.json"


def _earlier_decision(search: Search, recipes: Sequence[Recipe]) -> Decision | None:
    """What an earlier start decided for these rows: measured anew on a busier machine it could come out otherwise."""
    file = _decision_file(search)
    if not file.exists():
        return None
    kept = read_json(file)
    recipe = next((recipe for recipe in recipes if recipe.name == kept["recipe"]), None)
    if recipe is None or kept["rows"] != _digest(search.splits):
        search.context.directory.training.unlink(missing_ok=True)
        return None
    return Decision(recipe, kept["epochs"], [CandidateTrial.model_validate(trial) for trial in kept["trials"]])


def _digest(splits: Splits) -> str:
    """SHA-256 over texts and labels of the training and validation rows."""
    rows = [[row.texts, target_of(row)] for row in (*splits.train, *splits.validation)]
    return hashlib.sha256(json.dumps([rows, len(splits.train)]).encode()).hexdigest()


def _trial_folder(search: Search, recipe: Recipe) -> Path:
    return search.context.directory.trials / recipe.name.replace(",", "").replace(" ", "-")


def _trial(
    search: Search, recipe: Recipe, splits: Splits, epochs: float | None, seconds: float, *, keep: bool
) -> tuple[TrainingResult | None, CandidateTrial]:
    """Train one candidate, or read its result where an earlier start already finished it; None: it diverged."""
    directory = RunDirectory(_trial_folder(search, recipe))
    config = configured(search.config, recipe, search.given, str(directory.path), epochs)
    key = {"config": that_binds(config), "rows": _digest(splits)}
    done = directory.path / "trial.json"
    if done.exists() and read_json(done)["key"] == key:
        result = TrainingResult.model_validate(read_json(done)["result"])
    else:
        search.context.announce(f"trial: {recipe.name} ({recipe.why})")
        directory.path.mkdir(parents=True, exist_ok=True)
        context = RunContext(
            directory, search.context.observers, max_seconds=seconds, save_state=keep, export=keep, start_over=True
        )
        try:
            result = run(config, splits, search.model, context)
        except DivergedError as error:
            search.context.announce(f"trial {recipe.name} is out: {error.faults[0].what}")
            return None, CandidateTrial(
                recipe=recipe.name, validation_metric=None, seconds=0.0, note=error.faults[0].what
            )
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
        write_json(done, {"key": key, "result": result.model_dump(mode="json")})
    note = f"{result.rows} rows, {result.epochs:.1f} epochs"
    trial = CandidateTrial(recipe=recipe.name, validation_metric=result.best_metric, seconds=result.seconds, note=note)
    return result, trial


def _best(recipes: Sequence[Recipe], trials: Sequence[CandidateTrial], metric: str) -> Recipe:
    """The recipe with the best validation score.

    Raises:
        DivergedError: all of them diverged.
    """
    if all(trial.validation_metric is None for trial in trials):
        raise DivergedError("every recipe diverged", remedy="give a lower --training.learning-rate")
    return recipes[int(np.argmax([_goodness(metric, trial) for trial in trials]))]


def _goodness(metric: str, trial: CandidateTrial) -> float:
    """More is better; a trial that diverged is the worst."""
    return -math.inf if trial.validation_metric is None else goodness(metric, trial.validation_metric)


def _standard_error(metric: str, value: float, rows: int) -> float:
    """Roughly: of a share sqrt(p (1 - p) / N); of what is explained (1 - v) / sqrt(N); of an error v / sqrt(2 N)."""
    if is_in_units(metric):
        return abs(value) / math.sqrt(2.0 * rows)
    if is_percentage(metric):
        return math.sqrt(max(0.0, value * (1.0 - value)) / rows)
    return abs(1.0 - value) / math.sqrt(rows)


def _most_able(
    recipes: Sequence[Recipe], trials: Sequence[CandidateTrial], metric: str, validation_rows: int
) -> Recipe:
    """After trials on few rows: of the recipes within a standard error of the best that cost no more, the last one.

    They are listed by how far they leave the base, and what leaves it farther gains more from the rows still to come.
    The error is that of the metric on the validation rows.

    Raises:
        DivergedError: all of them diverged.
    """
    best = _best(recipes, trials, metric)
    values = {trial.recipe: trial.validation_metric for trial in trials}
    scores = {trial.recipe: _goodness(metric, trial) for trial in trials}
    least = scores[best.name] - _standard_error(metric, values[best.name] or 0.0, validation_rows)
    able = [
        recipe
        for recipe in recipes
        if scores[recipe.name] >= least and recipe.forwards_per_row <= best.forwards_per_row
    ]
    return able[-1]


def _marked(trials: list[CandidateTrial], best: Recipe) -> list[CandidateTrial]:
    return [trial.model_copy(update={"chosen": trial.recipe == best.name}) for trial in trials]


def _sample(splits: Splits, count: int, seed: int) -> Splits:
    """``count`` training rows that still hold every class."""
    order = np.random.default_rng([seed, 0x7A1A]).permutation(len(splits.train))
    seen: set[str] = set()
    first: list[int] = []
    rest: list[int] = []
    for row in order.tolist():
        labels = set(splits.train[row].labels)
        (rest if labels <= seen else first).append(row)
        seen |= labels
    rows = (first + rest)[: max(count, len(first))]
    return replace(splits, train=[splits.train[row] for row in sorted(rows)])
