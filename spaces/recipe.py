"""Recipe: what is trained and how, the portable unit that a search selects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from spaces.layers import check_layers
from spaces.nearest import did_you_mean
from spaces.plain_values import whole_number
from spaces.subsets import parse_subset

Schedule = Literal["cosine", "linear", "constant"]
SCHEDULES: Final[tuple[Schedule, ...]] = ("cosine", "linear", "constant")
Method = Literal["selective", "lora"]
METHODS: Final[tuple[Method, ...]] = ("selective", "lora")
LoraVariant = Literal["lora", "rslora", "dora"]
_TOO_MANY: Final = 2**31  # more than any count of steps, samples or ranks that can be meant
LORA_VARIANTS: Final[tuple[LoraVariant, ...]] = ("lora", "rslora", "dora")


def variant_of(subset: str, method: str) -> str:
    """Return the key by which a recipe's memory is planned; see `Recipe.variant`."""
    return subset if method == "selective" else f"{subset}/{method}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One way of fine-tuning, complete but for model, data and seed.

    Attributes:
        subset: What is trained: a subset, or an expression such as `sa_proj+gate_up`; see `spaces.subsets`.
        layers: The layers outside of which nothing is trained, or `all`; see `spaces.layers`.
        method: Whether the subset's own weights are trained, or low-rank adapters on them (LoRA).
        learning_rate: Peak step size of AdamW.
        steps: Optimiser steps.
        batch_size: Samples per optimiser step, over all workers.
        warmup_ratio: Share of `steps` over which the learning rate rises linearly from 0, in [0, 1).
        schedule: What the learning rate does after the warm-up: falls to 0 by a cosine or a line, or stays.
        weight_decay: AdamW's decoupled weight decay.
        max_grad_norm: Gradients are scaled down to this global L2 norm; 0 switches clipping off.
        lora_rank: Rank of the adapters. This and the other fields of LoRA are None for any other method.
        lora_alpha: An adapter's product is scaled by this over the rank, for rsLoRA over its square root.
        lora_dropout: Share of an adapter's inputs that are set to zero in training, in [0, 1).
        lora_variant: Which adapters: LoRA (arXiv 2106.09685), rsLoRA (2312.03732) or DoRA (2402.09353).
        lwf_weight: Weight of the distillation from the base (LwF, arXiv 1606.09282) in the loss; 0 is off.
        lwf_temperature: Temperature of that distillation.
        l2sp_weight: Strength of the pull back to the base's weights (L2-SP, arXiv 1802.01483); 0 is off.
        replay_ratio: Share of each batch that is drawn from replay samples, in [0, 1).
    """

    subset: str
    layers: str = "all"
    method: Method = "selective"
    learning_rate: float
    steps: int
    batch_size: int
    warmup_ratio: float = 0.03
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float | None = None
    lora_variant: LoraVariant | None = None
    lwf_weight: float = 0.0
    lwf_temperature: float = 2.0
    l2sp_weight: float = 0.0
    replay_ratio: float = 0.0

    def __post_init__(self) -> None:
        """Check every field; the message names it, the rule and the value."""
        parse_subset(self.subset)
        check_layers(self.layers)
        _one_of("method", self.method, METHODS)
        _one_of("schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "lwf_temperature"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value > 0, name, value, "above 0")
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            _require(value >= 1, name, value, "at least 1")
            _require(value < _TOO_MANY, name, value, f"below {_TOO_MANY:,}")
        for name in ("warmup_ratio", "replay_ratio"):
            value = getattr(self, name)
            _require(0 <= value < 1, name, value, "in [0, 1)")
        for name in ("weight_decay", "max_grad_norm", "lwf_weight", "l2sp_weight"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, name, value, "at least 0 and finite")
        self._check_lora()

    def _check_lora(self) -> None:
        rank, alpha, dropout = self.lora_rank, self.lora_alpha, self.lora_dropout
        if self.method != "lora":
            for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_variant"):
                value = getattr(self, name)
                _require(value is None, name, value, f"left out with the method {self.method!r}")
            return
        _require(rank is not None and rank >= 1, "lora_rank", rank, "at least 1")
        _require(rank is not None and rank < _TOO_MANY, "lora_rank", rank, f"below {_TOO_MANY:,}")
        _require(
            alpha is not None and math.isfinite(alpha) and alpha > 0,
            "lora_alpha",
            alpha,
            "above 0 and finite",
        )
        _require(dropout is not None and 0 <= dropout < 1, "lora_dropout", dropout, "in [0, 1)")
        _one_of("lora_variant", self.lora_variant, LORA_VARIANTS)
        _require(self.l2sp_weight == 0, "l2sp_weight", self.l2sp_weight, "0 with the method 'lora'")

    @property
    def variant(self) -> str:
        """The subset, or `<subset>/lora`: the key by which memory and executions are planned."""
        return variant_of(self.subset, self.method)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """Build a recipe from plain values.

        A number may be text, since YAML 1.1 reads `1e-4` as such.

        Raises:
            ValueError: A field is unknown, missing, of the wrong type or out of range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                raise ValueError(f"unknown recipe field {name!r}: {did_you_mean(name, known)}")
        for name, field in known.items():
            if field.default is dataclasses.MISSING and name not in fields:
                raise ValueError(f"recipe lacks the field {name!r}")
        return cls(**{name: _read(name, str(known[name].type), value) for name, value in fields.items()})


def _read(field: str, annotation: str, value: object) -> Any:
    """Return a field's value from a plain one, by the field's annotation, such as `float | None`."""
    if value is None and annotation.endswith("| None"):
        return None
    reader = {"int": whole_number, "float": _number}.get(annotation.removesuffix(" | None"), _text)
    return reader(f"recipe field {field}", value)


def _number(name: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name} must be a number, got {value!r}")


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} must be a text, got {value!r}")


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"recipe field {field} must be {rule}, got {value!r}")


def _one_of(field: str, value: object, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {field} {value!r}: {did_you_mean(str(value), valid)}")
