"""Selection: which recipe won, among the feasible trials, their points and the base itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.choices import Choice
from search.evidence import Estimates, Finalist
from search.labels import approach_label
from search.objective import Objective
from search.results import PointResult, Rung, TrialResult, TrialState
from search.wording import counted
from spaces.points import Identity, Interpolation, Point, Pruning, Soup


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The verdict of a study.

    Attributes:
        winner: The selected trial, or None for "keep the base".
        point: What is done to the winner's weights; None takes them as they are.
        ranking: The trials that finished and are feasible, best score first.
        infeasible: The trials that finished but forget more than allowed, least violation first.
        points: The points that were measured and are feasible, best score first.
        reason: Why, in one plain sentence.
        estimates: Key of a candidate -> what it is worth on the search split, with intervals; only where its
            per-sample scores are known. See `search.candidates` for the keys.
        tied: Keys of the candidates whose difference to the best lies within noise, best score first; the
            best is among them.
        finalist: What was trained again of the winner; None where nothing was.
        choices: Recipes of the front of gain and forgetting, by name.
        notes: What limits the verdict, one sentence each.
    """

    winner: TrialResult | None
    point: PointResult | None = None
    ranking: tuple[TrialResult, ...]
    infeasible: tuple[TrialResult, ...]
    points: tuple[PointResult, ...] = ()
    reason: str
    estimates: Mapping[str, Estimates] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    finalist: Finalist | None = None
    choices: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keep_base(self) -> bool:
        """Whether the verdict is to keep the untouched model."""
        return self.winner is None

    @property
    def made(self) -> Point | None:
        """What is made of the winner's weights; None for "keep the base"."""
        if self.winner is None:
            return None
        if self.point is not None:
            return self.point.point
        return Point(self.winner.number, self.winner.last.step, Identity())

    @property
    def rung(self) -> Rung | None:
        """What was measured of the selected trial or point; None for "keep the base"."""
        if self.point is not None:
            return self.point.rung
        return self.winner.last if self.winner else None


def select(
    trials: Sequence[TrialResult], objective: Objective, points: Sequence[PointResult] = ()
) -> Selection:
    """Select the feasible complete trial or point with the highest score, if it beats doing nothing.

    The base scores 0 by definition. A tie goes to less forgetting, then to fewer trained parameters, then
    to a trial before a point, then to what was started first. A pruned trial is never selected: it was not
    trained to its end.
    """

    def feasible(rung: Rung) -> bool:
        return objective.violation(rung.score.held_out_forgetting) <= 0

    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    ranking = sorted((trial for trial in finished if feasible(trial.last)), key=_order)
    infeasible = [trial for trial in finished if not feasible(trial.last)]
    infeasible.sort(key=lambda trial: trial.last.score.held_out_forgetting)
    measured = [point for point in points if point.rung is not None]
    ranked = sorted((point for point in measured if feasible(point.measured)), key=_order)
    best = _first(ranking, ranked)
    first = best if best is not None and _rung(best).score.score > 0 else None
    point = first if isinstance(first, PointResult) else None
    winner = first.trial if isinstance(first, PointResult) else first
    if winner is not None:
        reason = _win(winner, point, len(ranking), len(ranked))
    elif best is not None:
        reason = _nothing_gained(best, len(ranking), len(ranked))
    elif finished:
        reason = _all_infeasible(infeasible, measured, objective)
    else:
        reason = "keep the base: no trial finished"
    return Selection(
        winner=winner,
        point=point,
        ranking=tuple(ranking),
        infeasible=tuple(infeasible),
        points=tuple(ranked),
        reason=reason,
    )


def done_to(point: Point, *, whose: str) -> str:
    """Say in words what a point is: `trial 3, interpolated with the base at alpha 0.9`.

    Args:
        point: The point.
        whose: What its trial is called.
    """
    match point.transform:
        case Identity():
            return f"{whose}, as it was after {counted(point.step, 'step')}"
        case Interpolation(alpha):
            return f"{whose}, interpolated with the base at alpha {alpha:g}"
        case Pruning(keep):
            return f"{whose}, with {100 * keep:g} % of each tensor's changes kept"
        case Soup(members):
            *numbers, last = (str(member.trial) for member in members)
            return f"the mean of trials {', '.join(numbers)} and {last}" if numbers else f"trial {last}"


def _rung(candidate: TrialResult | PointResult) -> Rung:
    return candidate.measured if isinstance(candidate, PointResult) else candidate.last


def _order(candidate: TrialResult | PointResult) -> tuple[float, float, float, bool, int]:
    rung = _rung(candidate)
    return (
        -rung.score.score,
        rung.score.held_out_forgetting,
        rung.metrics["cost/trainable_parameters"],
        isinstance(candidate, PointResult),
        candidate.number,
    )


def _first(ranking: Sequence[TrialResult], points: Sequence[PointResult]) -> TrialResult | PointResult | None:
    firsts: list[TrialResult | PointResult] = [*ranking[:1], *points[:1]]
    return min(firsts, key=_order, default=None)


def _tried(trials: int, points: int, kind: str) -> str:
    text = f"{trials} {kind} trials"
    # "Points" alone are also what a score is counted in.
    return f"{text} and {counted(points, 'point')} made from their weights" if points else text


def _win(winner: TrialResult, point: PointResult | None, trials: int, points: int) -> str:
    recipe, rung = winner.recipe, point.measured if point else winner.last
    trial = f"trial {winner.number} ({approach_label(recipe)} at learning rate {recipe.learning_rate:.2g})"
    who = done_to(point.point, whose=trial) if point else trial
    comma = "," if point and not isinstance(point.point.transform, Soup) else ""
    return (
        f"{who}{comma} has the highest score of {_tried(trials, points, 'feasible complete')}: "
        f"{rung.score.score:+.1f} points, a gain of {rung.score.target_gain:+.1f} for "
        f"{rung.score.held_out_forgetting:+.1f} of forgetting"
    )


def _nothing_gained(best: TrialResult | PointResult, trials: int, points: int) -> str:
    return (
        f"keep the base: the best of {_tried(trials, points, 'feasible complete')} scores "
        f"{_rung(best).score.score:+.1f} points, and doing nothing scores 0"
    )


def _all_infeasible(
    trials: Sequence[TrialResult], points: Sequence[PointResult], objective: Objective
) -> str:
    rungs = [*(trial.last for trial in trials), *(point.measured for point in points)]
    nearest = min(rung.score.held_out_forgetting for rung in rungs)
    return (
        f"keep the base: all {_tried(len(trials), len(points), 'complete')} forget more than the allowed "
        f"{objective.max_forgetting:g} points; the nearest forgets {nearest:.1f}"
    )
