"""Types of a study file's values, and how they are checked."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Section(BaseModel):
    """A part of the study file: frozen, no unknown keys, no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _number(value: Any) -> Any:
    """Accept `1e-4`, which YAML 1.1 reads as a string, and whole numbers where a real one is meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if type(value) is int else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_Item = TypeVar("_Item", bound=Hashable)


def _distinct(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    twice = [item for item in items if items.count(item) > 1]
    if twice:
        raise ValueError(f"{'null' if twice[0] is None else repr(twice[0])} is listed twice")
    return items


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    return bounds


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"must be letters, digits, '.', '_' and '-', got {name!r}")
    return name


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Interval = Annotated[tuple[Positive, Positive], BeforeValidator(_tuple), AfterValidator(_ordered)]
Distinct = Annotated[tuple[_Item, ...], BeforeValidator(_tuple), AfterValidator(_distinct)]
# What is listed is searched if it is more than one.
Choices = Annotated[
    tuple[_Item, ...], BeforeValidator(_tuple), AfterValidator(_distinct), Field(min_length=1)
]
Names = Choices[str]
# Names become parts of paths and of MLflow's metric names.
Name = Annotated[str, AfterValidator(_plain_name)]
