"""What a study found: the numbers behind the report's tables, plots and sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search import wording
from search.decision.candidates import Candidate
from search.decision.evidence import Estimate, Estimates
from search.labels import group_label
from search.records.study_record import StudyRecord
from search.results import Rung, TrialResult, TrialState
from search.selection import Selection

_EDGE = 0.1
"""Share of the logarithmic range of learning rates that counts as the edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How one task's value changed, in points; `tuned` and what follows from it are NaN without a trial.

    Attributes:
        task: Name of the task.
        target: Whether it is a target; otherwise it is held out.
        n: Samples it was evaluated on; 0 where not known.
        base: Value of the untouched model.
        tuned: Value after training.
        change: `tuned` - `base`.
        interval: `change` with its interval; None where that is not known.
    """

    task: str
    target: bool
    n: int
    base: float
    tuned: float
    change: float
    interval: Estimate | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves no doubt which way the value changed."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupBest:
    """What one group of recipes reached at its own best learning rate.

    Attributes:
        group: Subset, layer range and method of its recipes; see `labels.group_label`.
        best: Its complete trial with the highest score, feasible ones first; None if none completed.
        feasible: Whether `best` keeps the bound on forgetting.
        complete: Number of its complete trials.
        trials: Number of all its trials.
        edge: `lower` or `upper` where the best rate lies near that end of the searched interval, else None.
    """

    group: str
    best: TrialResult | None
    feasible: bool
    complete: int
    trials: int
    edge: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What the study cost, in seconds, summed over its trials; `wall` is the search's wall-clock time."""

    wall: float
    train: float
    evaluation: float


def changes(record: StudyRecord, rung: Rung | None, estimates: Estimates | None = None) -> tuple[Change, ...]:
    """Return every task's change from the base to a rung, targets first; without a rung, the base alone.

    Args:
        record: The study.
        rung: What was measured on the search split.
        estimates: What is known of the rung's intervals.
    """
    rows = []
    for task in (*record.objective.targets, *record.objective.held_out):
        evaluation = record.base.get(task)
        base = record.objective.base[task]
        tuned = rung.values.get(task, math.nan) if rung else math.nan
        rows.append(
            Change(
                task=task,
                target=task in record.objective.targets,
                n=evaluation.n if evaluation else 0,
                base=base,
                tuned=tuned,
                change=tuned - base,
                interval=estimates.changes.get(task) if estimates else None,
            )
        )
    return tuple(rows)


def selected(selection: Selection) -> Candidate | None:
    """Return the selected candidate; None for "keep the base"."""
    return Candidate(trial=selection.winner, made=selection.point) if selection.winner else None


def shown(selection: Selection) -> Candidate | None:
    """Return what is worth a closer look: the selected, else the best feasible or least infeasible trial."""
    trials = (*selection.ranking[:1], *selection.infeasible[:1])
    return selected(selection) or next((Candidate(trial=trial) for trial in trials), None)


def estimates_of(selection: Selection, candidate: Candidate | None) -> Estimates | None:
    """Return what is known of a candidate's intervals on the search split."""
    return selection.estimates.get(candidate.key) if candidate else None


def confirmed(selection: Selection) -> Estimates | None:
    """Return what the selected candidate is worth on the confirm split; None where that is not known."""
    return selection.finalist.estimates if selection.finalist else None


def with_interval(value: float, estimate: Estimate | None, *, signed: bool = True) -> str:
    """Write points with their interval, where there is one: `+24.0 [19.8, 28.1]`."""
    text = wording.points(value, signed=signed)
    return f"{text} {wording.interval(estimate.low, estimate.high)}" if estimate else text


def group_bests(record: StudyRecord, selection: Selection) -> tuple[GroupBest, ...]:
    """Return each group at its own best rate: feasible ones by score, then infeasible, then unfinished.

    A group is what shares subset, layer range and method; of a subset that no trial tried there is one row.
    """
    feasible = {trial.number for trial in selection.ranking}
    tried: dict[str, list[TrialResult]] = {}
    for trial in record.trials:
        tried.setdefault(group_label(trial.recipe), []).append(trial)
    subsets = {trial.recipe.subset for trial in record.trials}
    untried: dict[str, list[TrialResult]] = {
        subset: [] for subset in record.config.space.subsets if subset not in subsets
    }
    rows = []
    for group, trials in {**tried, **untried}.items():
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        best = max(complete, key=lambda t: (t.number in feasible, t.last.score.score), default=None)
        rows.append(
            GroupBest(
                group=group,
                best=best,
                feasible=best is not None and best.number in feasible,
                complete=len(complete),
                trials=len(trials),
                edge=rate_edge(record, best) if best else None,
            )
        )
    return tuple(sorted(rows, key=_group_order))


def rate_edge(record: StudyRecord, trial: TrialResult) -> str | None:
    """Say near which end of its bounds a trial's learning rate lies: `lower`, `upper` or None."""
    bounds = record.config.recipe_space().bounds(trial.recipe.subset, trial.recipe.method)
    if bounds.low == bounds.high:
        return None
    place = math.log(trial.recipe.learning_rate / bounds.low) / math.log(bounds.high / bounds.low)
    if place < _EDGE:
        return "lower"
    return "upper" if place > 1 - _EDGE else None


def cost(record: StudyRecord) -> Cost:
    """Sum what the trials cost; the cost metrics of a trial's last rung count from its start."""
    last = [trial.rungs[-1].metrics for trial in record.trials if trial.rungs]
    return Cost(
        wall=record.seconds,
        train=math.fsum(metrics.get("cost/train_seconds", 0.0) for metrics in last),
        evaluation=math.fsum(metrics.get("cost/eval_seconds", 0.0) for metrics in last),
    )


def _group_order(row: GroupBest) -> tuple[bool, bool, float, str]:
    score = row.best.last.score.score if row.best else 0.0
    return (row.best is None, not row.feasible, -score, row.group)
