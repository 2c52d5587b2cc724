"""Selection: which recipe won, among the feasible trials and the base itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.labels import approach_label
from search.objective import Objective
from search.results import TrialResult, TrialState


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The verdict of a study.

    Attributes:
        winner: The selected trial, or None for "keep the base".
        ranking: The trials that finished and are feasible, best score first.
        infeasible: The trials that finished but forget more than allowed, least violation first.
        reason: Why, in one plain sentence.
    """

    winner: TrialResult | None
    ranking: tuple[TrialResult, ...]
    infeasible: tuple[TrialResult, ...]
    reason: str

    @property
    def keep_base(self) -> bool:
        """Whether the verdict is to keep the untouched model."""
        return self.winner is None


def select(trials: Sequence[TrialResult], objective: Objective) -> Selection:
    """Select the feasible complete trial with the highest score, if it beats doing nothing.

    The base scores 0 by definition. A tie goes to less forgetting, then to fewer trained parameters, then
    to the trial that was started first. A pruned trial is never selected: it was not trained to its end.
    """
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    feasible = [t for t in finished if objective.violation(t.last.score.held_out_forgetting) <= 0]
    infeasible = [t for t in finished if objective.violation(t.last.score.held_out_forgetting) > 0]
    ranking = sorted(
        feasible,
        key=lambda t: (
            -t.last.score.score,
            t.last.score.held_out_forgetting,
            t.last.metrics["cost/trainable_parameters"],
            t.number,
        ),
    )
    infeasible.sort(key=lambda t: t.last.score.held_out_forgetting)
    winner = ranking[0] if ranking and ranking[0].last.score.score > 0 else None
    return Selection(
        winner=winner,
        ranking=tuple(ranking),
        infeasible=tuple(infeasible),
        reason=_reason(winner, ranking, infeasible, objective),
    )


def _reason(
    winner: TrialResult | None,
    ranking: Sequence[TrialResult],
    infeasible: Sequence[TrialResult],
    objective: Objective,
) -> str:
    if winner is not None:
        score = winner.last.score
        return (
            f"trial {winner.number} ({approach_label(winner.recipe)} at learning rate "
            f"{winner.recipe.learning_rate:.2g}) has the highest score of {len(ranking)} feasible complete "
            f"trials: {score.score:+.1f} points, a gain of {score.target_gain:+.1f} for "
            f"{score.held_out_forgetting:+.1f} of forgetting"
        )
    if ranking:
        best = ranking[0].last.score
        return (
            f"keep the base: the best of {len(ranking)} feasible complete trials scores {best.score:+.1f} "
            "points, and doing nothing scores 0"
        )
    if infeasible:
        nearest = infeasible[0].last.score.held_out_forgetting
        return (
            f"keep the base: all {len(infeasible)} complete trials forget more than the allowed "
            f"{objective.max_forgetting:g} points; the nearest forgets {nearest:.1f}"
        )
    return "keep the base: no trial finished"
