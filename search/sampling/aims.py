"""Aims: what `search.objectives` may name, and how a trial's results say how far each is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from search.results import Rung

AimName = Literal["score", "target_gain", "held_out_forgetting", "cost"]
Mode = Literal["max", "min"]


@dataclass(frozen=True, slots=True)
class Aim:
    """One thing that the search improves.

    Attributes:
        key: Where a result has it, in Tune's flat form.
        mode: Whether more of it is better.
        grows: Whether it adds up in proportion to the steps done, so that an early rung's value is projected
            to the whole run: a trial's cost is what it would take to its end.
    """

    key: str
    mode: Mode
    grows: bool = False

    def value(self, result: Mapping[str, Any]) -> float:
        """Return its value in a result, NaN where there is none; in points, the cost in FLOPs."""
        value = float(result.get(self.key, math.nan))
        return value / float(result["progress"]) if self.grows else value


AIMS: Final[Mapping[AimName, Aim]] = {
    "score": Aim("score", "max"),
    "target_gain": Aim("metrics/target_gain", "max"),
    "held_out_forgetting": Aim("held_out_forgetting", "min"),
    "cost": Aim("metrics/cost/train_flops", "min", grows=True),
}


def aims_of(names: Sequence[AimName]) -> tuple[Aim, ...]:
    """Return the aims by their names."""
    return tuple(AIMS[name] for name in names)


def losses(aims: Sequence[Aim], result: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a result's values with signs such that smaller is better."""
    return tuple(-aim.value(result) if aim.mode == "max" else aim.value(result) for aim in aims)


def as_result(rung: Rung) -> dict[str, Any]:
    """Return a rung as the result, in Tune's flat form, that it was reported with."""
    return {
        "score": rung.score.score,
        "held_out_forgetting": rung.score.held_out_forgetting,
        "step": rung.step,
        "progress": rung.progress,
        **{f"metrics/{name}": value for name, value in rung.metrics.items()},
    }


def check_objectives(names: tuple[AimName, ...]) -> tuple[AimName, ...]:
    """Check that aims make sense together.

    Raises:
        ValueError: Doing nothing is best, or one is made of the others.
    """
    if not {"score", "target_gain"} & {*names}:
        raise ValueError(
            f"{' and '.join(names)} alone: training nothing is best; add 'target_gain' or 'score'"
        )
    if {"score", "target_gain", "held_out_forgetting"} <= {*names}:
        raise ValueError(
            "'score' is made of target_gain and held_out_forgetting, and adds nothing to both: leave it out"
        )
    return names
