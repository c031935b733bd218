"""The recipes that ``tune`` tries, why, and what each costs. Knows no data but its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from feinschliff import registry
from feinschliff.config.model import ModelConfig
from feinschliff.config.run import RunConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.results.comparison import Origin

STEP_COST = 3.5
"""A training step over all layers costs about this many forward passes (MiniLM on two cores: some 650 rows a second
forward, 190 trained)."""

DECODER_STEP_COST = 2.6
"""Of a decoder with adapters: the backward pass needs no gradients by frozen weights (SmolLM2 on two cores)."""
FEW_ROWS, MANY_ROWS = 500, 20_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """A method with the settings it is known to work with."""

    name: str
    why: str
    method: Mapping[str, Any]
    training: Mapping[str, Any]
    forwards_per_row: float
    """Cost of one epoch, in forward passes over a row."""
    forwards_once: float = 0.0
    """Cost before the first epoch: filling the prefix cache."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Of how the head is put on."""

    @property
    def epochs(self) -> float:
        """Passes over the training rows."""
        return float(self.training["epochs"])

    @property
    def forwards(self) -> float:
        """Whole cost, in forward passes over a row."""
        return self.forwards_once + self.epochs * self.forwards_per_row


def candidates(num_layers: int, has_linear_layers: bool = True, rate_factor: float = 1.0) -> list[Recipe]:
    """The recipes, cheapest first; of equal cost, those that stay nearer to the base first.

    LoRA needs linear layers: networks of convolutions go without. Small ones bear ten times the rate: a Keras net of
    50,000 weights, made for faces, reached 97.8% on digits at 3e-3 (6 epochs), and 95% by what suits encoders.

    Args:
        rate_factor: the task's, on all learning rates (LoRA's default follows it by itself).
    """
    top = max(1, num_layers // 3)
    share = top / num_layers
    found = [
        Recipe(
            f"last {top} layers",
            "cheap: the layers below are computed once",
            {"type": "frozen_layers", "trained_layers": top},
            {"epochs": 4.0, "learning_rate": 3e-4 * rate_factor},
            STEP_COST * share,
            1.0,
        ),
        Recipe(
            "lora",
            "few trained weights, little to forget",
            {"type": "lora"},
            {"epochs": 4.0},
            3.5,
        ),
        Recipe(
            "full, gentle",
            "all weights, close to the base",
            {"type": "full"},
            {"epochs": 3.0, "learning_rate": 5e-5 * rate_factor},
            STEP_COST,
        ),
        Recipe(
            "full, strong",
            "all weights, far from the base",
            {"type": "full"},
            {"epochs": 6.0, "learning_rate": 2e-4 * rate_factor},
            STEP_COST,
        ),
    ]
    if has_linear_layers:
        return found
    far = {"epochs": 6.0, "learning_rate": 2e-3}
    found.append(Recipe("full, far", "a small network has far to go", {"type": "full"}, far, STEP_COST))
    return [recipe for recipe in found if recipe.method["type"] != "lora"]


def for_language_models(num_rows: int) -> list[Recipe]:
    """The one recipe for a decoder, by the size of the data: trials of generative models cost as much as training.

    Few rows are learned by heart sooner, so they get a smaller rank and more passes.
    """
    rank, epochs = (8, 4.0) if num_rows < FEW_ROWS else (16, 3.0) if num_rows < MANY_ROWS else (32, 2.0)
    why = f"adapters on all linear layers, rank {rank} for {num_rows:,} rows: little to forget"
    return [
        Recipe(
            f"lora, rank {rank}",
            why,
            {"type": "lora", "rank": rank, "alpha": 2.0 * rank},
            {"epochs": epochs},
            DECODER_STEP_COST,
        )
    ]


def given_fields(origins: Sequence[Origin]) -> set[str]:
    """Fields that the person set: they hold for every recipe."""
    return {origin.field for origin in origins if origin.origin != "default"}


def usable(recipes: Sequence[Recipe], config: RunConfig, given: set[str]) -> list[Recipe]:
    """The recipes that respect what the person asked for: a method that was named is the only one, epochs are theirs.

    Adversarial steps leave those that train the embeddings, at twice the cost; L2-SP those that train pretrained
    weights; R-Drop doubles the cost.
    """
    options = config.training.regularisation
    if "training.epochs" in given:
        asked_epochs = {"epochs": config.training.epochs}
        recipes = [replace(recipe, training={**recipe.training, **asked_epochs}) for recipe in recipes]
    if config.training.adversarial_epsilon:
        able = [r for r in recipes if registry.says("method", str(r.method["type"]), "TRAINS_EMBEDDINGS")]
        recipes = [replace(recipe, forwards_per_row=2 * recipe.forwards_per_row) for recipe in able]
    if options.l2_sp:
        recipes = [r for r in recipes if registry.says("method", str(r.method["type"]), "TRAINS_BASE_WEIGHTS")]
    if options.r_drop:
        recipes = [replace(recipe, forwards_per_row=2 * recipe.forwards_per_row) for recipe in recipes]
    if not any(name == "method" or name.startswith("method.") for name in given):
        return list(recipes)
    own = [recipe for recipe in recipes if recipe.method["type"] == config.method.type] or [_of_no_recipe(recipes[-1])]
    asked = config.method.model_dump()
    kept: dict[str, Recipe] = {}
    for recipe in own:
        name = recipe.name if len(own) > 1 else config.method.type
        key = str(recipe.training) if config.method.type == "full" else ""
        kept.setdefault(key, replace(recipe, name=name, why="as asked", method=asked))
    return list(kept.values())


def _of_no_recipe(recipe: Recipe) -> Recipe:
    """What a method without a recipe takes from one: the epochs; its rate is its own default."""
    return replace(recipe, training={name: value for name, value in recipe.training.items() if name != "learning_rate"})


def configured(
    config: RunConfig, recipe: Recipe, given: set[str], output_dir: str, epochs: float | None = None
) -> RunConfig:
    """The run of a recipe: its settings wherever the person gave none."""
    changes = {name: value for name, value in recipe.training.items() if f"training.{name}" not in given}
    if epochs is not None and "training.epochs" not in given:
        changes["epochs"] = epochs
    training = TrainingConfig.model_validate({**config.training.model_dump(), **changes})
    method = registry.load("method", str(recipe.method["type"])).CONFIG.model_validate(dict(recipe.method))
    head = {name: value for name, value in recipe.model.items() if f"model.{name}" not in given}
    model = ModelConfig.model_validate({**config.model.model_dump(), **head})
    return config.model_copy(update={"training": training, "method": method, "model": model, "output_dir": output_dir})


def origins_of(origins: Sequence[Origin], recipe: Recipe, config: RunConfig, given: set[str]) -> list[Origin]:
    """Where each value of the chosen run came from: the recipe's values say so."""
    out, settings = [], {"training": recipe.training, "model": recipe.model}
    for origin in origins:
        part, _, name = origin.field.partition(".")
        if origin.field not in given and name in settings.get(part, ()):
            value = config.model_dump()[part][name]
            out.append(Origin(field=origin.field, value=str(value), origin=f"recipe {recipe.name!r}: {recipe.why}"))
        elif origin.field == "method.type" or (part == "method" and origin.field not in given):
            continue
        else:
            out.append(origin)
    asked = any(name.startswith("method") for name in given)
    why = "command line" if asked else f"recipe {recipe.name!r}: {recipe.why}"
    for name, value in config.method.model_dump().items():
        if f"method.{name}" not in {origin.field for origin in out}:
            out.append(Origin(field=f"method.{name}", value=str(value), origin=why))
    return sorted(out, key=lambda origin: origin.field)
