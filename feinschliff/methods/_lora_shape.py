"""Which layers get LoRA adapters, of which rank and scale: as asked, or as a folder has them. Changes no network."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from feinschliff.errors import ConfigError
from feinschliff.methods._names import expression, found
from feinschliff.methods._peft_folder import FIELD, PeftFolder
from feinschliff.methods._peft_layers import linear_layers, with_ends

UNLIKE_OURS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
"""PEFT's options under which the same tensors mean something else, or there are others."""
BASE_IS_KNOWN = (True, False, "gaussian", "orthogonal", "eva", "pissa")
"""PEFT's ways to start after which the base weights are known: unchanged, or without their leading singular values."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Ranks and alphas by layer of the body, and the variant."""

    ranks: dict[str, int]
    alphas: dict[str, float]
    rslora: bool = False
    dora: bool = False
    pissa: bool = False

    def __str__(self) -> str:
        low, high = min(self.ranks.values()), max(self.ranks.values())
        ranks = f"rank {low}" if low == high else f"rank {low} to {high}"
        variants = [name for name, on in zip(VARIANTS, (self.rslora, self.dora, self.pissa), strict=True) if on]
        said = f" ({', '.join(variants)})" if variants else ""
        return f"adapters of {ranks}{said} on {len(self.ranks)} linear layers"

    def plain(self, times: int = 1) -> Shape:
        """The same scales said as alpha / rank, of ``times`` the ranks."""
        ranks = {name: times * rank for name, rank in self.ranks.items()}
        root = {name: math.sqrt(rank) if self.rslora else float(rank) for name, rank in self.ranks.items()}
        alphas = {name: alpha / root[name] * ranks[name] for name, alpha in self.alphas.items()}
        return replace(self, ranks=ranks, alphas=alphas, rslora=False)

    def as_peft(self, name_of: Callable[[str], str]) -> dict[str, Any]:
        """PEFT's own options for it; ``name_of`` gives a layer its name there."""
        rank, alpha = _commonest(self.ranks.values()), _commonest(self.alphas.values())
        return {
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": [name_of(name) for name in self.ranks],
            "rank_pattern": {name_of(name): own for name, own in self.ranks.items() if own != rank},
            "alpha_pattern": {name_of(name): own for name, own in self.alphas.items() if own != alpha},
            "use_rslora": self.rslora,
            "use_dora": self.dora,
        }

    def check(self, body: Any) -> None:
        """Raises ConfigError where PiSSA is to take more singular values than a layer has."""
        linear = linear_layers(body)
        for name, rank in self.ranks.items():
            most = min(linear[name].weight.shape)
            if self.pissa and rank > most:
                raise ConfigError(
                    f"rank {rank} is more than the {most} singular values of {name}",
                    where="method.rank",
                    remedy=f"give a rank of at most {most}, or leave out --method.pissa",
                )


VARIANTS = ("rslora", "dora", "pissa")


def _commonest(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def expression_and_number(text: str, kind: type[int] | type[float]) -> tuple[str, Any]:
    """``EXPRESSION=NUMBER`` in its parts.

    Raises:
        ValueError: it is not that.
    """
    pattern, equals, number = text.rpartition("=")
    try:
        value = kind(number)
    except ValueError:
        value = kind(0)
    if not equals or not 0 < value < math.inf:
        raise ValueError(f"{text!r} is not EXPRESSION=NUMBER, as in query=8")
    return expression(pattern), value


def as_asked(config: Any, body: Any) -> Shape:
    """The layers and sizes of a configuration.

    Raises:
        ConfigError: a name or an expression is found in no layer.
    """
    names = with_ends(linear_layers(body), config.target_modules, "method.target_modules")
    return Shape(
        ranks=_by_layer(config.ranks, int, names, config.rank, "method.ranks"),
        alphas=_by_layer(config.alphas, float, names, config.alpha, "method.alphas"),
        rslora=config.rslora,
        dora=config.dora,
        pissa=config.pissa,
    )


def _by_layer(
    asked: Sequence[str], kind: type[int] | type[float], names: list[str], default: Any, where: str
) -> dict[str, Any]:
    values = dict.fromkeys(names, default)
    for text in reversed(asked):
        pattern, number = expression_and_number(text, kind)
        values |= dict.fromkeys(found(pattern, names, where), number)
    return values


def of_folder(config: Any, start: PeftFolder) -> Shape:
    """The layers and sizes of an adapter that was read.

    Raises:
        ConfigError: it is of a kind that is not known here, or something else was asked for beside it.
    """
    theirs = start.config
    _check_kind(start)
    alphas = {
        name: float(_first(theirs.get("alpha_pattern") or {}, own, theirs.get("lora_alpha", 8)))
        for name, own in start.own_names.items()
    }
    shape = Shape(
        ranks={name: len(parts["lora_A.weight"]) for name, parts in start.tensors.items()},
        alphas={name: alphas[name] for name in start.tensors},
        rslora=bool(theirs.get("use_rslora")),
        dora=bool(theirs.get("use_dora")),
        pissa=theirs.get("init_lora_weights") == "pissa",
    )
    has = {"rank": theirs.get("r"), "alpha": theirs.get("lora_alpha"), "target_modules": (), "ranks": (), "alphas": ()}
    has |= dict(zip(VARIANTS, (shape.rslora, shape.dora, shape.pissa), strict=True))
    asked, fields = config.model_dump(), type(config).model_fields
    for field, value in has.items():
        if asked[field] not in (fields[field].default, value):
            said = f"is {value}" if value != () else "are its own"
            raise ConfigError(
                f"method.{field} = {asked[field]} contradicts the adapter in {start.path}, where it {said}",
                where=f"method.{field}",
                remedy=f"leave out method.{field}: it comes with method.init_from",
            )
    return shape


def _first(patterns: dict[str, Any], name: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the end of a layer's name."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _check_kind(start: PeftFolder) -> None:
    theirs = start.config
    unlike = [key for key in UNLIKE_OURS if theirs.get(key)]
    unlike += ["bias"] if theirs.get("bias", "none") != "none" else []
    unlike += ["init_lora_weights"] if theirs.get("init_lora_weights", True) not in BASE_IS_KNOWN else []
    if unlike:
        raise ConfigError(
            f"the adapter in {start.path} is of a kind that is not known here",
            where=FIELD,
            why="; ".join(f"its {key} is {theirs[key]!r}" for key in unlike),
            remedy="convert it with PEFT: `save_pretrained(folder, path_initial_model_for_weight_conversion=...)`",
        )
    lacking = [name for name, parts in start.tensors.items() if "lora_A.weight" not in parts]
    if lacking:
        raise ConfigError(f"the adapter in {start.path} has no lora_A for {lacking[0]}", where=FIELD)
