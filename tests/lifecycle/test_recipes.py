"""Which recipes are tried where the person asked for something."""

from __future__ import annotations

import pytest

from feinschliff import registry
from feinschliff.config.run import RunConfig
from feinschliff.lifecycle.recipes import candidates, configured, for_language_models, usable


def test_without_wishes_all_are_tried() -> None:
    recipes = candidates(6)
    assert usable(recipes, RunConfig(), set()) == recipes
    assert {str(recipe.method["type"]) for recipe in recipes} == {"frozen_layers", "lora", "full"}


def test_networks_of_convolutions_go_farther_and_without_lora() -> None:
    recipes = {recipe.name: recipe for recipe in candidates(6, has_linear_layers=False)}
    assert "lora" not in recipes
    assert recipes["full, far"].training["learning_rate"] == 10 * recipes["full, strong"].training["learning_rate"]
    assert "full, far" not in {recipe.name for recipe in candidates(6)}


def test_a_named_method_is_the_only_one() -> None:
    config = RunConfig.model_validate({"method": {"type": "lora", "rank": 4}})
    (only,) = usable(candidates(6), config, {"method.type", "method.rank"})
    assert only.method["rank"] == 4


@pytest.mark.parametrize("method", ["bitfit", "ia3", "gradual_unfreezing"])
def test_a_method_without_a_recipe_keeps_its_own_rate(method: str) -> None:
    config = RunConfig.model_validate({"method": {"type": method}})
    (only,) = usable(candidates(6), config, {"method.type"})
    assert only.method["type"] == method
    assert "learning_rate" not in only.training
    assert configured(config, only, {"method.type"}, "run").training.learning_rate is None


@pytest.mark.parametrize("variant", ["rslora", "pissa", "dora"])
def test_a_variant_of_lora_keeps_its_own_rate(variant: str) -> None:
    config = RunConfig.model_validate({"method": {"type": "lora", variant: True}})
    (only,) = usable(candidates(6), config, {"method.type", f"method.{variant}"})
    assert configured(config, only, {"method.type"}, "run").training.learning_rate is None
    rate = registry.load("method", "lora").create(config.method).default_learning_rate
    assert rate == (1e-3 if variant == "dora" else 3e-4)


def test_adversarial_steps_leave_what_trains_the_embeddings_at_twice_the_cost() -> None:
    config = RunConfig.model_validate({"training": {"adversarial_epsilon": 0.5}})
    plain = {recipe.name: recipe for recipe in candidates(6)}
    found = usable(candidates(6), config, {"training.adversarial_epsilon"})
    assert [recipe.name for recipe in found] == ["full, gentle", "full, strong"]
    for recipe in found:
        assert recipe.forwards_per_row == 2 * plain[recipe.name].forwards_per_row


def test_epochs_that_were_asked_for_are_those_that_are_reckoned_with() -> None:
    config = RunConfig.model_validate({"training": {"epochs": 1.0}})
    for recipe, plain in zip(usable(candidates(6), config, {"training.epochs"}), candidates(6), strict=True):
        assert recipe.epochs == 1.0
        assert recipe.forwards == plain.forwards_once + plain.forwards_per_row


def test_l2_sp_leaves_what_trains_pretrained_weights_and_r_drop_doubles_the_cost() -> None:
    options = {"l2_sp": 0.1, "r_drop": 1.0}
    config = RunConfig.model_validate({"model": {"dropout": 0.1}, "training": {"regularisation": options}})
    plain = {recipe.name: recipe for recipe in candidates(6)}
    found = usable(candidates(6), config, {"training.regularisation.l2_sp", "training.regularisation.r_drop"})
    assert {str(recipe.method["type"]) for recipe in found} == {"full", "frozen_layers"}
    for recipe in found:
        assert recipe.forwards_per_row == 2 * plain[recipe.name].forwards_per_row


@pytest.mark.parametrize(
    ("rows", "rank", "epochs"), [(20, 8, 4.0), (499, 8, 4.0), (500, 16, 3.0), (19_999, 16, 3.0), (20_000, 32, 2.0)]
)
def test_a_language_models_adapters_grow_with_the_data(rows: int, rank: int, epochs: float) -> None:
    (recipe,) = for_language_models(rows)
    assert recipe.method == {"type": "lora", "rank": rank, "alpha": 2.0 * rank}
    assert recipe.training["epochs"] == epochs
    assert f"{rows:,} rows" in recipe.why


def test_a_task_may_ask_for_smaller_steps() -> None:
    factor = registry.number("task", "embeddings", "RATE_FACTOR", 1.0)
    assert factor < 1.0 == registry.number("task", "regression", "RATE_FACTOR", 1.0)
    for smaller, usual in zip(candidates(6, rate_factor=factor), candidates(6), strict=True):
        assert smaller.training.get("learning_rate") == usual.training.get("learning_rate", 0.0) * factor or (
            smaller.name == "lora" and "learning_rate" not in smaller.training
        )
