"""RecipeSpace: the recipes a study may try, as a conditional define-by-run search space."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spaces.nearest import did_you_mean
from spaces.recipe import LoraVariant, Method, Recipe, Schedule, variant_of
from spaces.subsets import parse_subset


class SuggestingTrial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of `choices`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Choose a number in [low, high]."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A closed interval of positive numbers, searched on a logarithmic scale."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the order of the bounds."""
        if not (math.isfinite(self.high) and 0 < self.low <= self.high):
            raise ValueError(f"bounds must satisfy 0 < low <= high, got low={self.low!r} high={self.high!r}")

    @property
    def middle(self) -> float:
        """The geometric mean of the bounds."""
        return math.sqrt(self.low * self.high)


_BY_METHOD: Final[Mapping[str, tuple[str, ...]]] = {
    "selective": ("l2sp_weight",),
    "lora": ("lora_rank", "lora_alpha", "lora_dropout", "lora_variant"),
}
_SHARED: Final = (
    "lwf_weight",
    "replay_ratio",
    "batch_size",
    "warmup_ratio",
    "schedule",
    "weight_decay",
    "max_grad_norm",
)


@dataclass(frozen=True, kw_only=True)
class RecipeSpace:
    """Everything that the recipes of a study choose from, and what all of them share.

    Of a dimension with one value nothing is drawn: the value is fixed. A dimension that means nothing for a
    recipe is not drawn either: a layer range for what has no layers, adapters without LoRA, a temperature
    without distillation, L2-SP without weights of the base to pull back to.

    There is one parameter named `learning_rate`, whose bounds depend on subset and method: with one name
    each a model-based sampler would learn nothing across them.

    Attributes:
        subsets: The subsets to choose from.
        learning_rate: Bounds for whatever `learning_rate_of` does not name.
        learning_rate_of: `<subset>/lora`, `lora` or `<subset>` -> bounds of its own; the first of them wins.
        steps: Optimiser steps of every recipe.
        layers: The layer ranges.
        methods: The methods.
        lora_rank: Ranks of LoRA's adapters.
        lora_alpha: Numerators of the adapters' scale; None stands for twice the rank.
        lora_dropout: Shares of an adapter's inputs set to zero in training.
        lora_variant: LoRA, rsLoRA, DoRA.
        lwf_weight: Weights of the distillation from the base; 0 is none.
        lwf_temperature: Its temperatures.
        l2sp_weight: Strengths of the pull back to the base's weights; 0 is none.
        replay_ratio: Shares of a batch that are drawn from replay samples; 0 is none.
        batch_size: Samples per optimiser step, over all workers.
        warmup_ratio: Shares of the steps to warm up over.
        schedule: Shapes of the learning rate after the warm-up.
        weight_decay: AdamW's decoupled weight decays.
        max_grad_norm: Global L2 norms for clipping; 0 is off.
    """

    subsets: tuple[str, ...]
    learning_rate: Bounds
    steps: int
    batch_size: tuple[int, ...]
    learning_rate_of: Mapping[str, Bounds] = field(default_factory=dict)
    layers: tuple[str, ...] = ("all",)
    methods: tuple[Method, ...] = ("selective",)
    lora_rank: tuple[int, ...] = (16,)
    lora_alpha: tuple[float | None, ...] = (None,)
    lora_dropout: tuple[float, ...] = (0.0,)
    lora_variant: tuple[LoraVariant, ...] = ("lora",)
    lwf_weight: tuple[float, ...] = (0.0,)
    lwf_temperature: tuple[float, ...] = (2.0,)
    l2sp_weight: tuple[float, ...] = (0.0,)
    replay_ratio: tuple[float, ...] = (0.0,)
    warmup_ratio: tuple[float, ...] = (0.03,)
    schedule: tuple[Schedule, ...] = ("cosine",)
    weight_decay: tuple[float, ...] = (0.0,)
    max_grad_norm: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Check that there is something to choose from, and that every recipe of the space is one."""
        for dimension in dataclasses.fields(self):
            values = getattr(self, dimension.name)
            if isinstance(values, tuple) and not values:
                raise ValueError(f"a space needs at least one value of {dimension.name}")
        known = {*self.subsets, *self.variants, *({"lora"} & {*self.methods})}
        for key in self.learning_rate_of:
            if key not in known:
                raise ValueError(
                    f"learning_rate_of: {key!r} is no part of the space: {did_you_mean(key, known)}"
                )
        for params in self._one_by_one():
            self.recipe({"learning_rate": self.learning_rate.low, **params})

    def bounds(self, subset: str, method: str = "selective") -> Bounds:
        """Return the learning-rate bounds of a subset under a method, the most specific ones."""
        for key in (variant_of(subset, method), method, subset):
            if key in self.learning_rate_of:
                return self.learning_rate_of[key]
        return self.learning_rate

    @property
    def variants(self) -> tuple[str, ...]:
        """Every `Recipe.variant` of the space, by subset."""
        return tuple(variant_of(subset, method) for subset in self.subsets for method in self.methods)

    def layers_of(self, subset: str) -> tuple[str, ...]:
        """Return the layer ranges that a subset may be limited to; one without layers takes none."""
        return self.layers if parse_subset(subset).has_layers else ("all",)

    def largest(self) -> Iterator[Recipe]:
        """Yield a recipe for each variant and layer range, of those the one that takes most memory."""
        for subset in self.subsets:
            for method in self.methods:
                for layers in self.layers_of(subset):
                    yield self.recipe(
                        {
                            "subset": subset,
                            "layers": layers,
                            "method": method,
                            "learning_rate": self.bounds(subset, method).low,
                            "lora_rank": max(self.lora_rank),
                            "lora_dropout": max(self.lora_dropout),
                            "lora_variant": max(self.lora_variant, key=lambda variant: variant == "dora"),
                            "lwf_weight": max(self.lwf_weight),
                            "batch_size": max(self.batch_size),
                        }
                    )

    def suggest(self, trial: SuggestingTrial) -> None:
        """Draw one point; the trial records the values that `recipe` reads back."""
        subset = trial.suggest_categorical("subset", list(self.subsets))
        _choose(trial, "layers", self.layers_of(subset))
        method = _choose(trial, "method", self.methods)
        bounds = self.bounds(subset, method)
        trial.suggest_float("learning_rate", bounds.low, bounds.high, log=True)
        drawn = {name: _choose(trial, name, getattr(self, name)) for name in (*_BY_METHOD[method], *_SHARED)}
        if drawn["lwf_weight"] > 0:
            _choose(trial, "lwf_temperature", self.lwf_temperature)

    def recipe(self, params: Mapping[str, Any]) -> Recipe:
        """Turn the values that a trial drew into the recipe that they stand for."""
        subset = params["subset"]
        method = params.get("method", self.methods[0])
        names = [*_SHARED, *_BY_METHOD.get(method, ())]
        fields = {name: params.get(name, getattr(self, name)[0]) for name in names}
        if method == "lora" and fields["lora_alpha"] is None:
            fields["lora_alpha"] = 2.0 * fields["lora_rank"]
        if fields["lwf_weight"] > 0:
            fields["lwf_temperature"] = params.get("lwf_temperature", self.lwf_temperature[0])
        return Recipe(
            subset=subset,
            layers=params.get("layers", self.layers_of(subset)[0]),
            method=method,
            learning_rate=params["learning_rate"],
            steps=self.steps,
            **fields,
        )

    def _one_by_one(self) -> Iterator[dict[str, Any]]:
        """Yield parameter values in which each value of each dimension occurs."""
        yield from ({"subset": subset} for subset in self.subsets)
        subset = next((subset for subset in self.subsets if parse_subset(subset).has_layers), self.subsets[0])
        yield from ({"subset": subset, "layers": layers} for layers in self.layers)
        for method in self.methods:
            for name in (*_SHARED, *_BY_METHOD.get(method, ())):
                yield from ({"subset": subset, "method": method, name: v} for v in getattr(self, name))
        for temperature in self.lwf_temperature:
            yield {"subset": subset, "lwf_weight": 1.0, "lwf_temperature": temperature}


def _choose(trial: SuggestingTrial, name: str, choices: Sequence[Any]) -> Any:
    """Draw one of several values; a single one is fixed."""
    return trial.suggest_categorical(name, list(choices)) if len(choices) > 1 else choices[0]
