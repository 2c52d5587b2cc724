"""What a study found: the numbers behind the report, and its sentences in plain words.

Standard errors are rough: a trial records its tasks' values, not the points of each sample. For points
between 0 and 100 with mean v, the variance over n samples is at most v (100 - v) n / (n - 1) (Bhatia and
Davis, 2000; equality where every sample scores 0 or 100), and base and tuned model are taken as independent,
which two models that answer the same samples are not: the true error of their difference is usually smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from search import wording
from search.labels import approach_label, approach_sentence, group_label
from search.point_findings import made_then, point_caveat
from search.results import Rung, TrialResult, TrialState
from search.selection import Selection
from search.study_record import StudyRecord

_EDGE = 0.1
"""Share of the logarithmic range of learning rates that counts as the edge."""
_NAMED = 12
"""Groups that a sentence names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How one task's value changed, in points; `tuned` and what follows from it are NaN without a trial.

    Attributes:
        task: Name of the task.
        target: Whether it is a target; otherwise it is held out.
        n: Samples it was evaluated on; 0 where not known.
        base: Value of the untouched model.
        base_stderr: Standard error of `base`; NaN for a single sample.
        tuned: Value after training.
        change: `tuned` - `base`.
        stderr: Rough standard error of `change`; NaN for a single sample.
    """

    task: str
    target: bool
    n: int
    base: float
    base_stderr: float
    tuned: float
    change: float
    stderr: float


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


def stderr_bound(value: float, n: int) -> float:
    """Return the largest standard error that `n` samples with this mean, in points, can have; NaN below 2."""
    return math.sqrt(max(value * (100 - value), 0.0) / (n - 1)) if n > 1 else math.nan


def changes(record: StudyRecord, rung: Rung | None) -> tuple[Change, ...]:
    """Return every task's change from the base to a rung, targets first; without a rung, the base alone."""
    rows = []
    for task in (*record.objective.targets, *record.objective.held_out):
        evaluation = record.base.get(task)
        base = record.objective.base[task]
        n = evaluation.n if evaluation else 0
        base_stderr = evaluation.stderr if evaluation else math.nan
        tuned = rung.values.get(task, math.nan) if rung else math.nan
        stderr = math.hypot(base_stderr, stderr_bound(tuned, n)) if math.isfinite(tuned) else math.nan
        rows.append(
            Change(
                task=task,
                target=task in record.objective.targets,
                n=n,
                base=base,
                base_stderr=base_stderr,
                tuned=tuned,
                change=tuned - base,
                stderr=stderr,
            )
        )
    return tuple(rows)


def gain_stderr(record: StudyRecord, rung: Rung) -> float:
    """Return the rough standard error of a rung's target gain, in points."""
    return _stderr_of_mean(row.stderr for row in changes(record, rung) if row.target)


def forgetting_stderr(record: StudyRecord, rung: Rung) -> float:
    """Return the rough standard error of a rung's held-out forgetting, in points."""
    return _stderr_of_mean(row.stderr for row in changes(record, rung) if not row.target)


def score_stderr(record: StudyRecord, rung: Rung) -> float:
    """Return the rough standard error of a rung's score, in points."""
    weight = record.objective.forgetting_weight
    return math.hypot(gain_stderr(record, rung), weight * forgetting_stderr(record, rung))


def shown_trial(selection: Selection) -> TrialResult | None:
    """Return the trial worth a closer look: the winner, else the best feasible, else the least infeasible."""
    return next(iter((*selection.ranking[:1], *selection.infeasible[:1])), None)


def shown_rung(selection: Selection) -> Rung | None:
    """Return what was measured of the selected trial or point, else of the trial worth a closer look."""
    trial = shown_trial(selection)
    return selection.rung or (trial.last if trial else None)


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


def paragraph(record: StudyRecord, selection: Selection) -> str:
    """Say in plain words what was found."""
    sentences = [_verdict(record, selection), _runner_up(record, selection), _subsets(record, selection)]
    return " ".join(sentence for sentence in sentences if sentence)


def caveats(record: StudyRecord, selection: Selection) -> tuple[str, ...]:
    """Say what the numbers do not show."""
    notes = []
    complete = len(selection.ranking) + len(selection.infeasible)
    if complete:
        notes.append(
            "Every score was measured on the search split, the data that also chose the recipe. "
            "No number here was confirmed on data that the search never saw."
        )
        notes.append(
            f"Each recipe was trained once, with seed {record.config.search.seed}: "
            "another seed gives another score."
        )
    early = record.config.evaluation.rung_samples
    if early is not None and any(trial.state is TrialState.PRUNED for trial in record.trials):
        notes.append(
            f"Pruned trials were scored on the first {wording.counted(early, 'sample')} of each task alone, "
            "beside the base on the same: their scores are noisier than those of complete trials."
        )
    scores = complete + sum(result.rung is not None for result in record.points)
    if scores > 1:
        notes.append(
            f"The best of {scores} noisy scores tends to be too high (the winner's curse): "
            "expect somewhat less when the recipe is trained again."
        )
    if caveat := point_caveat(record):
        notes.append(caveat)
    winner = selection.winner
    if winner is not None and (edge := rate_edge(record, winner)):
        notes.append(
            f"The selected learning rate lies at the {edge} end of the interval searched for "
            f"{group_label(winner.recipe)}: a better one may lie beyond it."
        )
    rows = [row for row in group_bests(record, selection) if row.complete < 2]
    if complete and rows and len(record.trials) > 1:
        names = ", ".join(f"{row.group} ({row.complete})" for row in rows[:_NAMED])
        others = f" and {len(rows) - _NAMED} others" if len(rows) > _NAMED else ""
        notes.append(
            f"Too few trials completed to call a learning rate the best for: {names}{others}. "
            "Each of them may be better than it looks here."
        )
    if complete:
        notes.append(
            "Standard errors are rough upper estimates from the number of samples. "
            "They leave out the noise of training itself."
        )
    return tuple(notes)


def _verdict(record: StudyRecord, selection: Selection) -> str:
    trial, rung = selection.winner, selection.rung
    if trial is None or rung is None:
        reason = selection.reason.removeprefix("keep the base: ")
        return f"Keep the base model: {reason}."
    recipe = trial.recipe
    targets = "on the target" if len(record.objective.targets) == 1 else "on average over the targets"
    gain = with_stderr(rung.score.target_gain, gain_stderr(record, rung))
    return (
        f"Train {approach_sentence(recipe)} with a learning rate of {wording.rate(recipe.learning_rate)} for "
        f"{wording.counted(recipe.steps, 'step')}{made_then(selection.point)}. "
        f"Over the base model it gains {gain} points {targets} "
        f"({_sizes(row.n for row in changes(record, rung) if row.target)}) and {_forgetting(record, rung)}, "
        f"a score of {wording.points(rung.score.score)}."
    )


def _forgetting(record: StudyRecord, rung: Rung) -> str:
    forgetting = rung.score.held_out_forgetting
    error = forgetting_stderr(record, rung)
    rows = [row for row in changes(record, rung) if not row.target]
    where = (
        f"on the held-out task {rows[0].task}"
        if len(rows) == 1
        else f"on average over {len(rows)} held-out tasks"
    )
    sizes = _sizes(row.n for row in rows)
    verb = "loses" if forgetting > -0.05 else "also gains"
    text = f"{verb} {with_stderr(abs(forgetting), error, signed=False)} points {where} ({sizes})"
    worst = min(rows, key=lambda row: row.change)
    if len(rows) > 1 and worst.change < -0.05:
        text += f", the most on {worst.task} ({wording.points(worst.change)})"
    return text


def _runner_up(record: StudyRecord, selection: Selection) -> str:
    others = selection.ranking[1:] if selection.point is None else selection.ranking
    if selection.rung is None or not others:
        return ""
    second, who = others[0], "The runner-up" if selection.point is None else "The best trial as trained"
    lead = selection.rung.score.score - second.last.score.score
    error = score_stderr(record, selection.rung)
    text = (
        f"{who}, trial {second.number} ({approach_label(second.recipe)} at "
        f"{wording.rate(second.recipe.learning_rate)}), scored {wording.points(second.last.score.score)}"
    )
    if lead == 0:
        return f"{text}, too: a tie."
    if not math.isfinite(error):
        return f"{text}."
    compared = "less" if lead < error else "more"
    verdict = ", so the two are practically tied" if lead < error else ""
    return (
        f"{text}; the lead of {wording.points(lead, signed=False)} is {compared} than the rough standard "
        f"error of one score, {wording.points(error, signed=False)}{verdict}."
    )


def _subsets(record: StudyRecord, selection: Selection) -> str:
    rows = [row for row in group_bests(record, selection) if row.best is not None]
    if len(rows) < 2:
        return ""
    parts = [
        f"{row.group} {wording.points(row.best.last.score.score)}" + ("" if row.feasible else " (infeasible)")
        for row in rows[:_NAMED]
        if row.best is not None
    ]
    which = "Each subset" if len(rows) <= _NAMED else f"The best {_NAMED} of {len(rows)}, each"
    return f"{which} at the best of its own learning rates: {', '.join(parts)}."


def with_stderr(value: float, stderr: float, *, signed: bool = True) -> str:
    """Write points with their standard error, where there is one: `+24.0 ± 1.9`."""
    text = wording.points(value, signed=signed)
    return f"{text} ± {wording.points(stderr, signed=False)}" if math.isfinite(stderr) else text


def _sizes(sizes: Iterable[int]) -> str:
    found = sorted(set(sizes))
    text = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"n = {text}" + ("" if len(found) == 1 else " a task")


def _stderr_of_mean(stderrs: Iterable[float]) -> float:
    found = list(stderrs)
    return math.hypot(*found) / len(found)


def _group_order(row: GroupBest) -> tuple[bool, bool, float, str]:
    score = row.best.last.score.score if row.best else 0.0
    return (row.best is None, not row.feasible, -score, row.group)
