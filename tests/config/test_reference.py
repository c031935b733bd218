"""The reference of all fields: complete, and true to the classes."""

from __future__ import annotations

from feinschliff import registry
from feinschliff.config import fields
from feinschliff.config.load import load_run_config
from feinschliff.config.reference import json_schema, markdown, parts


def test_every_field_has_help_and_stands_on_the_page() -> None:
    page = markdown()
    for part in parts():
        for field in part.fields:
            assert field.help, f"{field.path} has no docstring"
            assert f"`{field.path}`" in page


def test_every_member_of_every_union_is_there() -> None:
    titles = {part.title for part in parts()}
    for union in fields.UNIONS:
        assert {f"{union}.type {name}" for name in registry.names(union)} <= titles


def test_limits_and_choices_are_shown() -> None:
    found = {field.path: field for part in parts() for field in part.fields}
    assert found["training.epochs"].limits == "> 0.0, <= 1000.0"
    assert found["training.schedule"].kind == "auto | linear | cosine | constant"
    assert found["training.max_grad_norm"].kind == "number or none"
    assert found["training.learning_rate"].option == "--training.learning-rate"


def test_the_schema_lists_sections_and_members() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {"model", "data", "task", "method", "training", "evaluation", "launcher"} | {
        "seed",
        "output_dir",
    }
    assert {"$ref": "#/$defs/method.lora"} in schema["properties"]["method"]["anyOf"]
    assert schema["$defs"]["method.lora"]["properties"]["type"] == {"const": "lora"}


def test_every_default_can_be_typed_as_it_is_shown() -> None:
    own = [
        field
        for part in parts()
        for field in part.fields
        if not part.title.startswith(("task.", "method.", "launcher."))
    ]
    options = [f"{field.option}={field.default}" for field in own if field.default not in ("(empty)", "required")]
    config, _ = load_run_config(None, options)
    assert config == load_run_config()[0]
