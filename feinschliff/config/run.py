"""``RunConfig``: everything a run is asked, in one object. Knows its parts, not what is done with them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from feinschliff.config.bases import Config, TypedConfig, resolve
from feinschliff.config.data import DataConfig
from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.model import ModelConfig
from feinschliff.config.training import TrainingConfig


def _task(value: Any) -> Any:
    return resolve("task", value)


def _method(value: Any) -> Any:
    return resolve("method", value)


def _launcher(value: Any) -> Any:
    return resolve("launcher", value)


TaskConfig = Annotated[SerializeAsAny[TypedConfig], BeforeValidator(_task)]
MethodConfig = Annotated[SerializeAsAny[TypedConfig], BeforeValidator(_method)]
LauncherConfig = Annotated[SerializeAsAny[TypedConfig], BeforeValidator(_launcher)]


class RunConfig(Config):
    """A run. Unions marked open (`task`, `method`, `launcher`) take any registered module by its `type`."""

    model: ModelConfig = ModelConfig()
    """The base model."""
    data: DataConfig = DataConfig()
    """The rows."""
    task: TaskConfig = Field(default_factory=lambda: _task("text_classification"))
    """What is learned."""
    method: MethodConfig = Field(default_factory=lambda: _method("full"))
    """Which weights move."""
    training: TrainingConfig = TrainingConfig()
    """The loop."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How it is judged."""
    launcher: LauncherConfig = Field(default_factory=lambda: _launcher("local"))
    """Where it runs."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seeds weights, order, dropout and splits."""
    output_dir: str = "runs/run"
    """The run's directory."""
