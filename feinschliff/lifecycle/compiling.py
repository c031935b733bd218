"""Whether a run's layers compute their element-wise pieces compiled: where that is measured to pay for itself.

Knows no loop. A resumed run does as it was begun: compiled pieces round a little differently.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from feinschliff.engine.devices import device_of
from feinschliff.engine.step import Learner, backward
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models import compiled
from feinschliff.tasks._decoder_network import DecoderNetwork

LEAST_SECONDS = 600.0
"""A run that is forecast to take less is not worth trying it: it saves a twentieth, and takes some ten seconds."""
ROUNDS = 3


def decide(prepared: Prepared, forecast: float, say: Callable[[str], None]) -> float | None:
    """Compile, measure, and go on so if steps take less: their share of the time of others; None: not compiled.

    Changes no weight.

    Args:
        forecast: seconds that the run will take.
    """
    asked, learner = prepared.config.training.compile, prepared.learner
    if asked == "off" or (asked == "auto" and forecast < LEAST_SECONDS):
        return None
    why = _why_not(prepared)
    if why is not None:
        if asked == "on":
            say(f"layers are not compiled: {why}")
        return None
    body, begin = prepared.network.body, time.perf_counter()
    try:
        body.use_compiled(True)
        _seconds(learner)
    except (RuntimeError, OSError) as error:  # a compiler that does not work raises whatever it likes of these
        body.use_compiled(False)
        learner.masters.discard_gradients()
        say(f"layers are not compiled: {next(iter(str(error).strip().splitlines()), type(error).__name__)}")
        return None
    cost = time.perf_counter() - begin
    share = _share(prepared)
    if asked == "auto" and (1.0 - share) * forecast < cost:
        body.use_compiled(False)
        say(f"layers are not compiled: steps take {share:.0%} of the time so, which does not pay here")
        return None
    say(f"element-wise pieces of layers are compiled ({cost:.0f} s): steps take {share:.0%} of the time, measured")
    return share


def as_begun(prepared: Prepared, say: Callable[[str], None]) -> None:
    """Of a resumed run whose pieces were compiled."""
    why = _why_not(prepared)
    if why is not None:
        say(f"this run was begun with compiled layers, and goes on without, which rounds differently: {why}")
        return
    prepared.network.body.use_compiled(True)
    say("element-wise pieces of layers are compiled, as they were when the run began")


def _why_not(prepared: Prepared) -> str | None:
    if prepared.learner.ranks.count > 1:
        return "several processes train"
    if not isinstance(prepared.network, DecoderNetwork):
        return f"task {prepared.config.task.type} has none that are known here"
    if not prepared.network.body.can_be_compiled:
        return "they are not of the kind that is known here"
    return compiled.why_not(device_of(prepared.network))


def _share(prepared: Prepared) -> float:
    """Seconds with compiled pieces over seconds without, medians, one after the other."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for on in (False, True):
            prepared.network.body.use_compiled(on)
            found[on].append(_seconds(prepared.learner))
    return statistics.median(found[True]) / statistics.median(found[False])


def _seconds(learner: Learner) -> float:
    """Of a forward and backward pass over a quarter of the first batch, whose gradients are dropped."""
    learner.network.train()
    rows = learner.order(0, 0)[: max(1, learner.training.global_batch_rows // 4)]
    begin = time.perf_counter()
    backward(learner, rows)
    learner.masters.discard_gradients()
    return time.perf_counter() - begin
