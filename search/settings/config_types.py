"""Types of a study file's values, and how they are checked."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Hashable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from search.terminal import is_plain

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 100  # characters; file systems take 255, and names get endings
_LONGEST_PART = 255  # bytes between two slashes, and below of a whole path that further names are put behind
_LONGEST_PATH = 3000
_MOST = 2**31 - 1


class Section(BaseModel):
    """A part of the study file: frozen, no unknown keys, no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _number(value: Any) -> Any:
    """Accept `1e-4`, which YAML 1.1 reads as a string, and whole numbers where a real one is meant."""
    if isinstance(value, str) or type(value) is int:
        try:
            return float(value)
        except ValueError:
            return value
        except OverflowError:
            return math.inf
    return value


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
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"must have at most {_LONGEST_NAME} characters, got {len(name)}")
    return name


def _path(text: str) -> str:
    if not text or not is_plain(text):
        raise ValueError(f"must be a path or a name, got {reprlib.repr(text)}")
    if len(text.encode()) > _LONGEST_PATH or any(
        len(part.encode()) > _LONGEST_PART for part in text.split("/")
    ):
        raise ValueError(
            f"must be a path of at most {_LONGEST_PATH} bytes, and {_LONGEST_PART} between slashes, "
            f"got {reprlib.repr(text)}"
        )
    return text


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=_MOST)]
Interval = Annotated[tuple[Positive, Positive], BeforeValidator(_tuple), AfterValidator(_ordered)]
Distinct = Annotated[tuple[_Item, ...], BeforeValidator(_tuple), AfterValidator(_distinct)]
# What is listed is searched if it is more than one.
Choices = Annotated[
    tuple[_Item, ...], BeforeValidator(_tuple), AfterValidator(_distinct), Field(min_length=1)
]
Names = Choices[str]
# Names become parts of paths and of MLflow's metric names.
Name = Annotated[str, AfterValidator(_plain_name)]
PathText = Annotated[str, AfterValidator(_path)]
