"""Points: a trial's weights after a transform that needs no training, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from spaces.nearest import did_you_mean
from spaces.plain_values import whole_number


@dataclass(frozen=True, slots=True)
class Identity:
    """The weights as they were after a rung, an earlier one or the last."""

    name: ClassVar[str] = "identity"

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as plain values."""
        return {"transform": self.name}


@dataclass(frozen=True, slots=True)
class Interpolation:
    """(1 - alpha) x base + alpha x tuned (WiSE-FT, arXiv 2109.01903).

    Attributes:
        alpha: Share of the tuned weights, in [0, 1]: 0 is the base, 1 the tuned model.
    """

    alpha: float
    name: ClassVar[str] = "interpolation"

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as plain values."""
        return {"transform": self.name, "alpha": self.alpha}


@dataclass(frozen=True, slots=True)
class Pruning:
    """Keeps the changes that cost the base least, and takes all others back (FAPM, arXiv 2509.08255).

    In each trained tensor the elements are ranked by |dW| - mean|W| x |dW| / |W|, W the base and dW the
    change: a large change is worth keeping, one that is large beside what it changes is not.

    Attributes:
        keep: Share of each tensor's elements that keep their change, in (0, 1]: 1 is the tuned model.
    """

    keep: float
    name: ClassVar[str] = "pruning"

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {self.keep!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as plain values."""
        return {"transform": self.name, "keep": self.keep}


@dataclass(frozen=True, slots=True)
class Member:
    """One of a soup's ingredients.

    Attributes:
        trial: Number of the trial.
        step: Optimiser steps after which its weights are taken.
    """

    trial: int
    step: int


@dataclass(frozen=True, slots=True)
class Soup:
    """The uniform mean of several trials' weights (model soups, arXiv 2203.05482).

    Attributes:
        members: What is averaged; what a member did not train counts as the base's.
    """

    members: tuple[Member, ...]
    name: ClassVar[str] = "soup"

    def __post_init__(self) -> None:
        """Check that there is something to average."""
        if not self.members:
            raise ValueError("a soup needs at least one member")

    def to_dict(self) -> dict[str, Any]:
        """Return the transform as plain values."""
        return {
            "transform": self.name,
            "members": [{"trial": each.trial, "step": each.step} for each in self.members],
        }


Transform = Identity | Interpolation | Pruning | Soup


@dataclass(frozen=True, slots=True)
class Point:
    """A trial's weights plus a transform.

    Attributes:
        trial: Number of the trial; of a soup, its best member.
        step: Optimiser steps after which its weights are taken.
        transform: What is done to them.
    """

    trial: int
    step: int
    transform: Transform

    @property
    def members(self) -> tuple[Member, ...]:
        """Whose weights the point is made of."""
        return (
            self.transform.members if isinstance(self.transform, Soup) else (Member(self.trial, self.step),)
        )

    @property
    def label(self) -> str:
        """The transform in a word or two: `alpha 0.9`, `keep 0.1`, `soup of 3`, `step 50`."""
        match self.transform:
            case Interpolation(alpha):
                return f"alpha {alpha:g}"
            case Pruning(keep):
                return f"keep {keep:g}"
            case Soup(members):
                return f"soup of {len(members)}"
            case Identity():
                return f"step {self.step}"

    def to_dict(self) -> dict[str, Any]:
        """Return the point as plain values, ready for YAML."""
        return {"trial": self.trial, "step": self.step, **self.transform.to_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Point:
        """Read back what `to_dict` wrote.

        Raises:
            ValueError: A field is unknown, missing or out of range.
        """
        rest = dict(fields)
        trial, step = (whole_number(f"a point's {key}", _taken(rest, key)) for key in ("trial", "step"))
        name = _taken(rest, "transform")
        if not isinstance(name, str) or name not in _READERS:
            raise ValueError(f"unknown transform {name!r}: {did_you_mean(str(name), _READERS)}")
        transform = _READERS[name](rest)
        if rest:
            raise ValueError(f"a point by {name} has no field {next(iter(rest))!r}")
        return cls(trial, step, transform)


def _taken(fields: dict[str, Any], key: str) -> Any:
    if key not in fields:
        raise ValueError(f"a point lacks the field {key!r}")
    return fields.pop(key)


def _number(fields: dict[str, Any], key: str) -> float:
    value = _taken(fields, key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"a point's {key} must be a number, got {value!r}")
    return value


def _members(fields: dict[str, Any]) -> tuple[Member, ...]:
    members = _taken(fields, "members")
    if not isinstance(members, list) or not all(
        isinstance(each, Mapping) and set(each) == {"trial", "step"} for each in members
    ):
        raise ValueError(f"a point's members must be a list of trial and step, got {members!r}")
    return tuple(
        Member(whole_number("a point's trial", each["trial"]), whole_number("a point's step", each["step"]))
        for each in members
    )


_READERS: Final[dict[str, Callable[[dict[str, Any]], Transform]]] = {
    Identity.name: lambda fields: Identity(),
    Interpolation.name: lambda fields: Interpolation(_number(fields, "alpha")),
    Pruning.name: lambda fields: Pruning(_number(fields, "keep")),
    Soup.name: lambda fields: Soup(_members(fields)),
}
