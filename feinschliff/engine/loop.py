"""The training loop: a generator of events. What controls training stands here by name; observers cannot act.

Knows no task, no method and no file but the checkpoint folder it is given.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from feinschliff.engine import checkpoint
from feinschliff.engine.checkpoint import TrainState
from feinschliff.engine.events import Announced, CheckpointSaved, Evaluated, Event, RunEnded, StepEnded
from feinschliff.engine.ranks import ALONE
from feinschliff.engine.schedules import factor
from feinschliff.engine.seeds import seed_step
from feinschliff.engine.soup import Weights, greedy_soup, ingredients
from feinschliff.engine.step import Learner, StepLoss, train_step
from feinschliff.errors import DivergedError, Interrupted, RunDirectoryError
from feinschliff.results.formats import goodness
from feinschliff.results.training import CurvePoint

CURVE_POINTS = 40
"""Of the training loss, at least; a run of fewer steps has one a step."""
CHECKPOINT_SECONDS = 60.0
"""Work that may be lost, where no step interval is given; a slow disk lengthens it (see ``_checkpoint_due``)."""


@dataclass(slots=True)
class Fit:
    """A learner with its controls and its state."""

    learner: Learner
    seed: int
    metric: str
    validate: Callable[[], tuple[float, ...]] | None
    """(mean loss, metric) on the validation rows, and the metric that early stopping watches where that is a third; see
    ``results.formats.goodness`` for which is better. All processes call it together. None: there are no validation
    rows, the last weights are kept."""
    checkpoints: Path
    state: TrainState = field(default_factory=TrainState)
    start_epoch: Callable[[int], None] = lambda _: None
    stop_requested: Callable[[], bool] = lambda: False
    save_state: bool = True
    """False for short trials that are cheaper to repeat than to resume."""
    max_seconds: float | None = None
    """Stop in good order after so many seconds in the loop (a trial's share of a budget)."""
    fewest_epochs: float = 0.0
    """The clock stops nothing before so many passes."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass."""
        return math.ceil(len(self.learner.table) / self.learner.training.global_batch_rows)

    @property
    def out_of_time(self) -> bool:
        """Whether the seconds are spent, and the fewest epochs are done."""
        if self.max_seconds is None or self.state.step < self.fewest_epochs * self.steps_per_epoch:
            return False
        return self.state.seconds > self.max_seconds

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all."""
        steps = math.ceil(self.steps_per_epoch * self.learner.training.epochs)
        return min(steps, self.learner.training.max_steps or steps)

    @property
    def curve_steps(self) -> int:
        """Steps between two points of the training loss."""
        return max(1, self.total_steps // CURVE_POINTS)

    @property
    def evaluation_steps(self) -> int:
        """Steps between two validations."""
        return max(1, self.steps_per_epoch // self.learner.training.evaluations_per_epoch)


def fit(run: Fit) -> Iterator[Event]:
    """Train to the end, yielding what happened. Starts from ``run.state``, so a resumed run goes on in mid-epoch.

    Raises:
        Interrupted: ``stop_requested`` said so; a checkpoint was written.
        DivergedError: the loss became infinite or not a number.
        ResourceError: the disk is full.
    """
    learner, state, training = run.learner, run.state, run.learner.training
    learner.network.train()
    order, order_epoch = None, -1
    begin, saved_at, save_seconds = time.perf_counter() - state.seconds, time.perf_counter(), 0.0
    steps_here = rows_here = 0
    first = time.perf_counter()
    while state.step < run.total_steps and not state.stopped_early:
        epoch, place = divmod(state.step, run.steps_per_epoch)
        if order is None or epoch != order_epoch:
            order, order_epoch = learner.order(run.seed, epoch), epoch
            run.start_epoch(epoch)
        rows = order[place * training.global_batch_rows : (place + 1) * training.global_batch_rows]
        rate = factor(state.step, run.total_steps, training.warmup_ratio, training.resolved_schedule)
        seed_step(run.seed, state.step, learner.ranks.rank)
        loss = train_step(learner, rows, rate)
        _count(run, loss)
        if learner.average is not None and learner.average.due(state.step, state.averaged_step):
            _average(run)
        state.seconds = time.perf_counter() - begin
        steps_here, rows_here = steps_here + 1, rows_here + len(rows)
        spent = time.perf_counter() - first
        yield StepEnded(
            step=state.step,
            total_steps=run.total_steps,
            epoch=state.step / run.steps_per_epoch,
            loss=loss.loss_sum / loss.num_targets,
            learning_rate=learner.optimizer.learning_rate * rate,
            rows=len(rows),
            tokens=loss.num_tokens,
            rows_per_second=rows_here / spent,
            seconds_left=(run.total_steps - state.step) * spent / steps_here,
        )
        yield from _looked_at(run)
        # Asked once: a signal between two questions must not end a run unsaved.
        stop = learner.ranks.any(run.stop_requested())
        due = run.save_state and (stop or _checkpoint_due(run, saved_at, save_seconds))
        if learner.masters.shards is not None:  # every process has a piece to save; the first one's clock counts
            due = learner.ranks.any(due)
        if due:
            saved_at = time.perf_counter()
            yield CheckpointSaved(step=state.step, path=str(save(run)))
            save_seconds = time.perf_counter() - saved_at
        if stop:
            raise Interrupted("stopped", remedy="start the same command again: it goes on where it was")
    if training.regularisation.soup and run.validate is not None:
        yield _make_soup(run, run.validate)
    yield RunEnded(step=state.step, seconds=state.seconds)


def _count(run: Fit, loss: StepLoss) -> None:
    """Add a step to the state.

    Raises:
        DivergedError: its loss is infinite or not a number; what was saved before is intact.
    """
    state = run.state
    if not math.isfinite(loss.loss_sum):
        raise DivergedError(
            f"the loss is {loss.loss_sum} at step {state.step + 1}",
            why=f"the learning rate {run.learner.optimizer.learning_rate:g} is too high for this model and data",
            remedy="start anew with a lower --training.learning-rate",
        )
    state.step += 1
    state.loss_sum += loss.loss_sum
    state.loss_targets += loss.num_targets
    state.tokens += loss.num_tokens


def _average(run: Fit) -> None:
    """Take the weights into their average, where one is wanted."""
    if run.learner.average is not None:
        run.learner.average.update(run.state.step, run.state.averaged_step)
        run.state.averaged_step = run.state.step


def _looked_at(run: Fit) -> Iterator[Evaluated]:
    """Validate where it is time to, or add a point to the curve; whether the run has to end here is noted."""
    state, out_of_time = run.state, run.learner.ranks.any(run.out_of_time)
    at_end = state.step == run.total_steps or out_of_time
    if run.validate is None and at_end:
        _keep(run)
        state.stopped_early = out_of_time
    elif run.validate is not None and (at_end or state.step % run.evaluation_steps == 0):
        yield _evaluate(run, run.validate)
        state.stopped_early = out_of_time or _patience_spent(run)
    elif state.step % run.curve_steps == 0:
        _add_point(run)


def _keep(run: Fit) -> None:
    """Keep the weights as they are now, without having judged them."""
    _average(run)
    _add_point(run)
    run.state.best_step = run.state.step
    _save_kept(run)


def _save_kept(run: Fit) -> None:
    masters = run.learner.masters
    kept = masters.whole((run.learner.average or masters).named())
    if run.learner.ranks.leads:
        checkpoint.save_tensors(_kept_file(run, run.state.step), kept)
        _remove_unreferenced(run)


def _evaluate(run: Fit, validate: Callable[[], tuple[float, ...]]) -> Evaluated:
    """Score the validation rows; keep the weights if they are the best so far, or if the last are wanted."""
    state, average = run.state, run.learner.average
    _average(run)
    with nullcontext() if average is None else average.in_place():
        validation_loss, metric, *watched = run.learner.ranks.agreed(validate())
    run.learner.network.train()
    good = goodness(run.metric, metric)
    earlier = (point.validation_metric for point in state.curve)
    best = all(value is None or good > goodness(run.metric, value) for value in earlier)
    _watch(run, validation_loss, watched[0] if watched else metric)
    point = _add_point(run, validation_loss, metric)
    if best or run.learner.training.keep_weights == "last":
        state.best_metric, state.best_step = metric, state.step
    if state.step in _kept_steps(run, state):
        _save_kept(run)
    return Evaluated(
        step=state.step, epoch=point.epoch, loss=validation_loss, metric_name=run.metric, metric=metric, best=best
    )


def _watch(run: Fit, loss: float, metric: float) -> None:
    """Count the validations since the best of what early stopping watches: the loss, or a metric."""
    state, name = run.state, run.learner.training.regularisation.early_stopping_metric or run.metric
    value = goodness(name, loss if name == "loss" else metric)
    if state.best_watched is None or value > state.best_watched:
        state.best_watched, state.evaluations_since_best = value, 0
    else:
        state.evaluations_since_best += 1


def _make_soup(run: Fit, validate: Callable[[], tuple[float, ...]]) -> Announced:
    """Average the best validations' weights as long as validation agrees; a soup that helps is what is kept."""
    state, masters = run.state, run.learner.masters

    def score(weights: Weights) -> tuple[float, float]:
        with masters.lent([weights[name] for name in masters.names]):
            loss, metric, *_ = run.learner.ranks.agreed(validate())
        return loss, metric

    points = ingredients(state.curve, run.learner.training.regularisation.soup, run.metric)
    soup = greedy_soup(points, lambda step: _kept_file(run, step), score, run.metric)
    if len(soup.steps) == 1:
        return Announced(f"none of the {len(points)} best validations' weights improve the best by being averaged in")
    before, state.best_metric = state.best_metric or 0.0, soup.metric
    state.soup_steps = list(soup.steps)
    if run.learner.ranks.leads:
        checkpoint.save_tensors(best_file(run), soup.weights)
    said = ", ".join(map(str, soup.steps))
    return Announced(
        f"kept: the average of the weights after steps {said} (greedy soup): validation {run.metric} "
        f"{soup.metric:.4f}, of the best of them alone {before:.4f}"
    )


def _add_point(run: Fit, validation_loss: float | None = None, metric: float | None = None) -> CurvePoint:
    """A point of the curves; its training loss is the mean since the last one."""
    state = run.state
    point = CurvePoint(
        step=state.step,
        epoch=state.step / run.steps_per_epoch,
        train_loss=state.loss_sum / max(1, state.loss_targets),
        validation_loss=validation_loss,
        validation_metric=metric,
    )
    state.curve.append(point)
    state.loss_sum, state.loss_targets = 0.0, 0
    return point


def _patience_spent(run: Fit) -> bool:
    patience = run.learner.training.early_stopping_patience
    return (
        run.learner.training.keep_weights == "best"
        and patience is not None
        and run.state.evaluations_since_best >= patience
    )


def _checkpoint_due(run: Fit, saved_at: float, save_seconds: float) -> bool:
    every = run.learner.training.checkpoint_every_steps
    if every is not None:
        return run.state.step % every == 0
    return time.perf_counter() - saved_at > max(CHECKPOINT_SECONDS, 20 * save_seconds)


def best_file(run: Fit) -> Path:
    """Where the weights to be kept lie. A file a step, so a checkpoint never refers to newer weights than its own."""
    return run.checkpoints / "soup.safetensors" if run.state.soup_steps else _kept_file(run, run.state.best_step)


def _kept_file(run: Fit, step: int) -> Path:
    return run.checkpoints / f"best-{step:08d}.safetensors"


def _kept_steps(run: Fit, state: TrainState) -> set[int]:
    """Validations whose weights a state refers to: the one that is kept, and those that may be averaged at the end."""
    most = run.learner.training.regularisation.soup
    return {state.best_step, *(point.step for point in ingredients(state.curve, most, run.metric))}


def save(run: Fit) -> Path:
    """Write a checkpoint: masters, moments, average and state."""
    tensors: dict[str, Tensor] = {f"weight:{name}": value for name, value in run.learner.masters.named().items()}
    tensors |= {f"adam:{name}": value for name, value in run.learner.optimizer.state().items()}
    if run.learner.average is not None:
        tensors |= {f"average:{name}": value for name, value in run.learner.average.state().items()}
    masters, divided = run.learner.masters, None
    if masters.shards is not None:
        divided = checkpoint.Divided(masters.shards, {key: masters.shapes[_parameter(key)] for key in tensors})
    path = checkpoint.save(run.checkpoints, run.state, tensors, run.learner.training.keep_checkpoints, divided)
    if run.learner.ranks.leads:
        _remove_unreferenced(run)
    return path


def _parameter(key: str) -> str:
    """Whose weight, average or moment a checkpoint's tensor is: ``adam:exp_avg.NAME`` and the like."""
    kind, name = key.split(":", 1)
    return name.split(".", 1)[1] if kind == "adam" else name


def _remove_unreferenced(run: Fit) -> None:
    """Remove kept weights of earlier validations that neither the run nor a checkpoint of it refers to."""
    wanted = _kept_steps(run, run.state)
    for kept in checkpoint.complete(run.checkpoints):
        wanted |= _kept_steps(run, checkpoint.load_state(kept))
    for file in run.checkpoints.glob("best-*.safetensors"):
        if int(file.stem.split("-")[1]) not in wanted:
            file.unlink(missing_ok=True)


def resume(run: Fit) -> int | None:
    """Load the newest readable checkpoint into ``run``; its step, or None where there is none.

    Damaged ones are removed, or the next save would count them among the newest and remove good ones. Where weights are
    divided all processes call this together: what one of them cannot read none of them takes.
    """
    shards, ranks = run.learner.masters.shards, run.learner.ranks
    together = ranks if shards is not None else ALONE
    together.wait()
    if ranks.leads:
        checkpoint.remove_unfinished(run.checkpoints)
    for folder in reversed(checkpoint.complete(run.checkpoints)):
        try:
            found = checkpoint.load(folder, shards)
        except RunDirectoryError:
            found = None
        if together.any(found is None) or found is None:
            if ranks.leads:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        run.state, tensors = found
        run.learner.masters.load(_part(tensors, "weight:"))
        run.learner.optimizer.load(_part(tensors, "adam:"))
        if run.learner.average is not None:
            run.learner.average.load(_part(tensors, "average:"))
        return run.state.step
    return None


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
