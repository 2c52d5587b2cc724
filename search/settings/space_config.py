"""SpaceConfig: the study file's section `space`, which says what recipes may be tried."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from search.settings.config_types import Choices, Count, Interval, NonNegative, Positive, Section, Share
from spaces.layers import check_layers
from spaces.nearest import did_you_mean
from spaces.recipe import METHODS, LoraVariant, Method, Schedule, variant_of
from spaces.subsets import parse_subset


def _subset(text: str) -> str:
    """Check an expression; blanks are taken out, so that one subset has one spelling."""
    parse_subset(text)
    return "".join(text.split())


def _layers(text: str) -> str:
    check_layers(text)
    return text


def _text(value: Any) -> Any:
    """Accept the index of a single layer, which YAML reads as a number."""
    return str(value) if type(value) is int else value


def _key_of_rates(text: str) -> str:
    if text == "lora":
        return text
    subset, slash, method = text.rpartition("/")
    if not slash:
        return _subset(text)
    if method != "lora":
        raise ValueError(f"unknown method {method!r}: {did_you_mean(method, METHODS)}")
    return variant_of(_subset(subset), method)


Subset = Annotated[str, AfterValidator(_subset)]
Layers = Annotated[str, BeforeValidator(_text), AfterValidator(_layers)]
KeyOfRates = Annotated[str, AfterValidator(_key_of_rates)]


class LoraConfig(Section):
    """The adapters of the method `lora`."""

    rank: Choices[Count] = Field((16,), description="Ranks of the adapters.")
    alpha: Choices[Positive | None] = Field(
        (None,), description="Numerators of the adapters' scale, alpha / rank; null: twice the rank."
    )
    dropout: Choices[Share] = Field(
        (0.0,), description="Shares of an adapter's inputs that are set to zero in training."
    )
    variant: Choices[LoraVariant] = Field(("lora",), description="Kinds of adapters.")


class LwfConfig(Section):
    """Distillation from the base model on the targets' answers (learning without forgetting)."""

    weight: Choices[NonNegative] = Field((0.0,), description="Weights in the loss; 0 is off.")
    temperature: Choices[Positive] = Field(
        (2.0,), description="Temperatures at which base and tuned model are compared."
    )


class SpaceConfig(Section):
    """Which recipes may be tried; of a list with one value nothing is searched."""

    subsets: Choices[Subset] = Field(description="What is trained, of the model's own parameters.")
    layers: Choices[Layers] = Field(
        ("all",), description="Layer ranges, outside of which nothing is trained, for subsets with layers."
    )
    methods: Choices[Method] = Field(
        ("selective",), description="Whether the subset's own weights are trained, or adapters on them."
    )
    learning_rate: Interval = Field(description="Lowest and highest peak step size, searched on a log scale.")
    learning_rate_of: dict[KeyOfRates, Interval] = Field(
        {}, description="Bounds of their own by <subset>/lora, lora or <subset>; the first of them wins."
    )
    lora: LoraConfig | None = Field(None, description="Adapters of the method lora; null: the defaults.")
    lwf: LwfConfig = LwfConfig()
    l2sp_weight: Choices[NonNegative] = Field(
        (0.0,), description="Strengths of the pull back to the base's weights, selective only; 0 is off."
    )
    replay_ratio: Choices[Share] = Field(
        (0.0,), description="Shares of each batch that are drawn from the samples of training.replay."
    )
    batch_size: Choices[Count] | None = Field(
        None, description="Samples per optimiser step, over all workers; null: training's."
    )
    warmup_ratio: Choices[Share] = Field((0.03,), description="Shares of the steps to warm up over.")
    schedule: Choices[Schedule] | None = Field(
        None, description="Learning rates after the warm-up; null: training's."
    )
    weight_decay: Choices[NonNegative] | None = Field(
        None, description="AdamW's decoupled weight decays; null: training's."
    )
    max_grad_norm: Choices[NonNegative] | None = Field(
        None, description="Global L2 norms for clipping gradients, 0 is off; null: training's."
    )


def check_space(space: SpaceConfig) -> None:
    """Check what no key says alone.

    Raises:
        ValueError: A key contradicts another, or would mean nothing; the message names it.
    """
    for key in space.learning_rate_of:
        subset = key.removesuffix("/lora")
        if subset != key or key == "lora":
            _needs_lora(space, "learning_rate_of", key)
        if key != "lora" and subset not in space.subsets:
            raise ValueError(f"space.learning_rate_of: {subset!r} is not among space.subsets")
    if space.lora is not None:
        _needs_lora(space, "lora")
    if max(space.l2sp_weight) > 0 and "selective" not in space.methods:
        raise ValueError("space.l2sp_weight: adapters start from nothing; it needs the method 'selective'")
    if max(space.lwf.weight) == 0 and space.lwf.temperature != LwfConfig().temperature:
        raise ValueError("space.lwf.temperature: without a space.lwf.weight above 0 it means nothing")
    layered = any(parse_subset(subset).has_layers for subset in space.subsets)
    if space.layers != ("all",) and not layered:
        raise ValueError("space.layers: none of space.subsets has layers")


def _needs_lora(space: SpaceConfig, key: str, value: str = "") -> None:
    if "lora" not in space.methods:
        raise ValueError(f"space.{key}: {f'{value!r} ' if value else ''}needs 'lora' among space.methods")
