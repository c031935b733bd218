"""Whether this process trains alone or with others that torchrun started. Knows no loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from feinschliff import registry, settings
from feinschliff.config.run import RunConfig
from feinschliff.engine.ranks import Ranks, join
from feinschliff.errors import ConfigError, Interrupted

LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
"""In what PyTorch says when another process is gone."""


def joined(config: RunConfig) -> Ranks:
    """The processes that train together.

    Raises:
        ConfigError: several, and the task's loss compares the rows of a whole global batch.
    """
    refuse_unfit(config)
    here = settings.read()
    return join(here.rank, here.num_ranks)


def refuse_unfit(config: RunConfig) -> None:
    """Raises ConfigError where there are several processes, and what one computes needs the rows of all."""
    here = settings.read()
    if here.num_ranks > 1 and config.training.adversarial_epsilon:
        raise ConfigError(
            f"training.adversarial_epsilon = {config.training.adversarial_epsilon:g} is for one process",
            where="training.adversarial_epsilon",
            why="embeddings are moved along the gradient of a whole global batch, and each process has its share of it",
            remedy="leave it at 0, or start without torchrun",
        )
    if here.num_ranks > 1 and registry.says("task", config.task.type, "EMBEDS_TEXTS"):
        raise ConfigError(
            f"task {config.task.type} cannot be trained by {here.num_ranks} processes",
            where="torchrun",
            why="its loss compares all rows of a global batch, and they would be in different processes",
            remedy="start it without torchrun: memory does not grow with the global batch",
        )


@contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """What is told to the person where another process ended, and this one cannot go on without it.

    Raises:
        Interrupted: so it was.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks.count == 1 or not any(part in str(error) for part in LOST):
            raise
        raise Interrupted(
            f"process {ranks.rank} of {ranks.count} stopped: another one ended",
            remedy="see what that one said; the same command goes on from the last checkpoint",
        ) from error


def refuse_several(verb: str) -> None:
    """Raises ConfigError where torchrun started several processes of a verb that works in one."""
    here = settings.read()
    if here.num_ranks > 1:
        raise ConfigError(
            f"{verb} works in one process, and torchrun started {here.num_ranks}",
            where="torchrun",
            remedy="train by several processes: torchrun --nproc-per-node 2 -m feinschliff train ...",
        )
