"""Recipe: what is trained and how, the portable unit that a search selects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from spaces.nearest import did_you_mean
from spaces.subsets import roles_of

Schedule = Literal["cosine", "linear", "constant"]
SCHEDULES: Final = ("cosine", "linear", "constant")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One way of fine-tuning, complete but for model, data and seed.

    Attributes:
        subset: Name of the subset whose own weights are trained.
        learning_rate: Peak step size of AdamW.
        steps: Optimiser steps.
        batch_size: Samples per optimiser step, over all workers.
        warmup_ratio: Share of `steps` over which the learning rate rises linearly from 0, in [0, 1).
        schedule: What the learning rate does after the warm-up: falls to 0 by a cosine or a line, or stays.
        weight_decay: AdamW's decoupled weight decay.
        max_grad_norm: Gradients are scaled down to this global L2 norm; 0 switches clipping off.
    """

    subset: str
    learning_rate: float
    steps: int
    batch_size: int
    warmup_ratio: float = 0.03
    schedule: Schedule = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        """Check every field; the message names it, the rule and the value."""
        roles_of(self.subset)
        _require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            "learning_rate",
            self.learning_rate,
            "above 0",
        )
        _require(self.steps >= 1, "steps", self.steps, "at least 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(0 <= self.warmup_ratio < 1, "warmup_ratio", self.warmup_ratio, "in [0, 1)")
        for name in ("weight_decay", "max_grad_norm"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, name, value, "at least 0 and finite")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}: {did_you_mean(self.schedule, SCHEDULES)}")

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
        readers = {"int": _whole_number, "float": _number}
        values: dict[str, Any] = {
            name: readers.get(str(known[name].type), _text)(name, value) for name, value in fields.items()
        }
        return cls(**values)


def _number(field: str, value: object) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"recipe field {field} must be a number, got {value!r}")


def _whole_number(field: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"recipe field {field} must be a whole number, got {value!r}")


def _text(field: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"recipe field {field} must be a text, got {value!r}")


def _require(holds: bool, field: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"recipe field {field} must be {rule}, got {value!r}")
