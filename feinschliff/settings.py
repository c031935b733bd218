"""The only reader of ``os.environ``. Knows the machine's habits (cache, offline), never a run's configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

JUDGE_KEY = "FEINSCHLIFF_JUDGE_API_KEY"
"""Where the key of a judge's endpoint stands; it is never written anywhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Read anew at each call of :func:`read`, so tests can change it."""

    cache_dir: Path
    """Where pulled models and datasets lie (``FEINSCHLIFF_CACHE``, else ``~/.cache/feinschliff``)."""
    offline: bool
    """``FEINSCHLIFF_OFFLINE=1`` or ``HF_HUB_OFFLINE=1``: never ask a network."""
    hub_endpoint: str | None
    """``HF_ENDPOINT``: another Hugging Face Hub."""
    no_color: bool
    """``NO_COLOR``: plain output."""
    rank: int = 0
    """``RANK``: which of several processes this is, where torchrun started it."""
    local_rank: int = 0
    """``LOCAL_RANK``: which it is on this machine."""
    num_ranks: int = 1
    """``WORLD_SIZE``: how many it started."""
    num_local_ranks: int = 1
    """``LOCAL_WORLD_SIZE``: how many of them are on this machine."""
    judge_api_key: str | None = field(default=None, repr=False)
    """``FEINSCHLIFF_JUDGE_API_KEY``: for the endpoint of ``evaluation.judge_url``."""


def read() -> Settings:
    """The settings now in force."""
    env = os.environ
    cache = env.get("FEINSCHLIFF_CACHE") or os.path.join(
        env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "feinschliff"
    )
    truthy = {"1", "true", "yes", "on"}
    return Settings(
        cache_dir=Path(cache),
        offline=any(env.get(name, "").lower() in truthy for name in ("FEINSCHLIFF_OFFLINE", "HF_HUB_OFFLINE")),
        hub_endpoint=env.get("HF_ENDPOINT") or None,
        no_color="NO_COLOR" in env,
        rank=int(env.get("RANK", "0")) if "LOCAL_RANK" in env else 0,
        local_rank=int(env.get("LOCAL_RANK", "0")),
        num_ranks=int(env.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in env else 1,
        num_local_ranks=int(env.get("LOCAL_WORLD_SIZE", "1")) if "LOCAL_RANK" in env else 1,
        judge_api_key=env.get(JUDGE_KEY, "").strip() or None,
    )


def use_torch_for_keras() -> None:
    """Keras computes with torch, and keeps its own habits in our cache (``KERAS_BACKEND``, ``KERAS_HOME``).

    To be called before Keras is imported: it reads both then, and writes a file into its home.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", str(read().cache_dir / "keras-home"))


def child_environment(**changes: str) -> dict[str, str]:
    """A copy of the environment for a child process, with changes."""
    return {**os.environ, **changes}
