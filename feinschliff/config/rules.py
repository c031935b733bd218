"""Rules across the parts of a configuration; a rule about one field stands at that field.

Each rule is a function from the configuration to the faults it finds, named in the list below. A pair of task and
method that makes no sense is one more rule here.
"""

from __future__ import annotations

from collections.abc import Callable

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.errors import Fault

Rule = Callable[[RunConfig], list[Fault]]


def splits_leave_training_rows(config: RunConfig) -> list[Fault]:
    """Validation and test together may not take everything."""
    data = config.data
    share = (0.0 if data.validation else data.validation_fraction) + (0.0 if data.test else data.test_fraction)
    if share < 0.95:
        return []
    return [
        Fault(
            f"data.validation_fraction + data.test_fraction = {share:g} leaves nothing to train on",
            where="data.test_fraction",
            remedy="keep the two below 0.95 together",
        )
    ]


def text_is_one_or_two_columns(config: RunConfig) -> list[Fault]:
    """One text, or a pair of sentences."""
    text = config.data.text
    if len(text) <= 2 and len(set(text)) == len(text):
        return []
    return [
        Fault(
            f"data.text names {len(text)} columns ({', '.join(text)})",
            where="data.text",
            why="a row is one text, or a pair of two different columns",
            remedy="name one column, or two",
        )
    ]


def columns_have_one_role(config: RunConfig) -> list[Fault]:
    """The label is not an input, and neither is what splits are made by."""
    data = config.data
    roles = {"data.target": data.target, "data.group": data.group, "data.time": data.time}
    faults = [
        Fault(
            f"{role} = {column!r} is a text column too",
            where=role,
            why="the model would read what it is to be judged by",
            remedy="name another column",
        )
        for role, column in roles.items()
        if column is not None and column in data.text and role != "data.group"
    ]
    if data.target is not None and data.target in (data.group, data.time):
        faults.append(
            Fault(
                f"column {data.target!r} is both label and {'group' if data.target == data.group else 'time'}",
                "data.target",
            )
        )
    return faults


def time_split_has_no_own_test(config: RunConfig) -> list[Fault]:
    """A split by time makes the test set; an own test file already is one."""
    if config.data.time is None or not config.data.test:
        return []
    return [
        Fault(
            "data.time and data.test are both given",
            where="data.time",
            why="splitting by time makes the newest rows the test set, but a test file is there already",
            remedy="leave one of them out",
        )
    ]


def adversarial_steps_have_embeddings_to_move(config: RunConfig) -> list[Fault]:
    """They act through the gradient of the token embeddings."""
    epsilon, method = config.training.adversarial_epsilon, config.method.type
    if not epsilon or registry.says("method", method, "TRAINS_EMBEDDINGS"):
        return []
    return [
        Fault(
            f"training.adversarial_epsilon = {epsilon:g} needs trained token embeddings",
            where="training.adversarial_epsilon",
            why=f"method {method} leaves them as they are",
            remedy="leave it at 0, or train with method full",
        )
    ]


def tokens_are_there_for_methods_that_need_them(config: RunConfig) -> list[Fault]:
    """Some methods put something before tokens, or between the parts of text encoders."""
    task, method = config.task.type, config.method.type
    if not (registry.says("task", task, "READS_IMAGES") and registry.says("method", method, "NEEDS_TOKENS")):
        return []
    return [
        Fault(
            f"method {method} does not go with task {task}",
            where="method.type",
            why="it changes what stands between layers of text encoders; image models have no such places in common",
            remedy="choose full, frozen_layers, gradual_unfreezing, bitfit or lora",
        )
    ]


RULES: tuple[Rule, ...] = (
    splits_leave_training_rows,
    text_is_one_or_two_columns,
    columns_have_one_role,
    time_split_has_no_own_test,
    adversarial_steps_have_embeddings_to_move,
    tokens_are_there_for_methods_that_need_them,
)


def check(config: RunConfig) -> list[Fault]:
    """The faults of all rules."""
    return [fault for rule in RULES for fault in rule(config)]
