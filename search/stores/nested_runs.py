"""Runs nested in a study's: how they are called, found again and described."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from search.decision.candidates import Candidate
from search.decision.evidence import FinalistRun
from search.labels import approach_label
from search.results import PointResult, members_text
from search.stores.mlflow_store import flatten
from spaces.points import Soup
from spaces.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class NestedRun:
    """A nested run that may have to be made: its key is the tag by which it is found again."""

    name: str
    key: tuple[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    started: int = field(default_factory=lambda: int(time.time() * 1000))


def trial_run(trial_id: str, number: int, recipe: Recipe, preset: str | None) -> NestedRun:
    """Return the run of a trial."""
    return NestedRun(
        name=f"{number:03d} {approach_label(recipe)} lr={recipe.learning_rate:.1e}",
        key=("trial_id", trial_id),
        tags={"kind": "trial", "number": str(number), **({"preset": preset} if preset else {})},
        params=flatten({name: value for name, value in recipe.to_dict().items() if value is not None}),
    )


def point_run(result: PointResult) -> NestedRun:
    """Return the run of a point; a soup has no recipe of its own."""
    soup = isinstance(result.point.transform, Soup)
    numbers = "-".join(f"{member.trial:03d}" for member in result.point.members)
    approach = "" if soup else f" {approach_label(result.trial.recipe)}"
    recipe = {} if soup else result.trial.recipe.to_dict()
    fields = result.point.to_dict() | ({"members": members_text(result.point)} if soup else {})
    tags = {"kind": "point", **({"preset": result.preset} if result.preset else {})}
    return NestedRun(
        name=f"{numbers}{approach} {result.point.label}",
        key=("point", str(result.number)),
        tags=tags,
        params=flatten({name: value for name, value in (recipe | fields).items() if value is not None}),
    )


def finalist_run(candidate: Candidate, result: FinalistRun, *, dropped: bool) -> NestedRun:
    """Return the run of a finalist on one seed, called by its candidate's run.

    Args:
        candidate: The candidate.
        result: Its run.
        dropped: Whether it was dropped from the race.
    """
    made, trial = candidate.made, candidate.trial
    own = (
        trial_run(trial.trial_id, trial.number, trial.recipe, trial.preset)
        if made is None
        else point_run(made)
    )
    return NestedRun(
        name=f"{own.name} seed {result.seed}",
        key=("finalist", f"{candidate.key} seed {result.seed}"),
        tags={"kind": "finalist", "candidate": candidate.key, "dropped": str(dropped).lower()},
        params={**own.params, "seed": str(result.seed)},
    )
