"""The verdict of a study in plain words: what was found, how sure it is, and what the numbers do not show."""

from __future__ import annotations

from collections.abc import Iterable

from search import wording
from search.decision.candidates import candidates
from search.decision.evidence import Estimate, Estimates, Finalist
from search.decision.naming import brief_name
from search.findings import study_findings as findings
from search.findings.point_findings import made_then, point_caveat
from search.labels import approach_sentence, group_label
from search.records.study_record import StudyRecord
from search.results import TrialState
from search.selection import Selection

_NAMED = 12
"""Groups that a sentence names."""


def headline(selection: Selection) -> str:
    """Return the verdict as a title."""
    if selection.winner is None:
        return "Keep the base model"
    recipe = selection.winner.recipe
    trained = f"Train {approach_sentence(recipe)} at learning rate {wording.rate(recipe.learning_rate)}"
    return trained + made_then(selection.point)


def paragraph(record: StudyRecord, selection: Selection) -> str:
    """Say in one paragraph what was found."""
    sentences = [
        _what(record, selection),
        _worth(record, selection),
        _regret(selection),
        _ties(record, selection),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def caveats(record: StudyRecord, selection: Selection) -> tuple[str, ...]:
    """Say what the numbers do not show."""
    notes = list(selection.notes)
    complete = len(selection.ranking) + len(selection.infeasible)
    confirmed = sum(finalist.estimates is not None for finalist in record.finalists)
    sure = findings.confirmed(selection) is not None or (selection.winner is None and confirmed > 0)
    if complete and not sure:
        if confirmed == 0:
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
    if scores > 1 and not sure:
        notes.append(
            f"The best of {scores} noisy scores tends to be too high (the winner's curse): "
            "expect somewhat less when the recipe is trained again."
        )
    if confirmed > 1 and findings.confirmed(selection) is not None:
        notes.append(
            f"It was chosen among {confirmed} finalists by what they score on the confirm split, so these "
            "values, too, are a little too high on average: far less than those of the search split, which "
            "chose among all candidates."
        )
    if (caveat := point_caveat(record)) and not sure:
        notes.append(caveat)
    winner = selection.winner
    if winner is not None and (edge := findings.rate_edge(record, winner)):
        notes.append(
            f"The selected learning rate lies at the {edge} end of the interval searched for "
            f"{group_label(winner.recipe)}: a better one may lie beyond it."
        )
    rows = [row for row in findings.group_bests(record, selection) if row.complete < 2]
    if complete and rows and len(record.trials) > 1:
        names = [f"{row.group} ({row.complete})" for row in rows]
        notes.append(
            "Too few trials completed to call a learning rate the best for: "
            f"{wording.listed(names, _NAMED)}. Each of them may be better than it looks here."
        )
    if complete:
        notes.append(_about_intervals(record, selection))
    return tuple(notes)


def regret(finalist: Finalist, searched: float) -> float:
    """Return by how many points a search score lies above what the confirm split confirmed of it.

    Raises:
        ValueError: The finalist was not evaluated on the confirm split.
    """
    if finalist.estimates is None:
        raise ValueError(f"{finalist.candidate} was not evaluated on the confirm split")
    return searched - finalist.estimates.score.value


def tied_names(record: StudyRecord, selection: Selection) -> list[str]:
    """Name what lies within noise of the best, or of the choice taken, but for that and the selected one."""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    return [brief_name(by_key[key]) for key in selection.tied if key not in (selection.key, selection.best)]


def best_name(record: StudyRecord, selection: Selection) -> str | None:
    """Name the best of what the rule chose among; None where that is the selected one."""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    return None if selection.best in (None, selection.key) else brief_name(by_key[selection.best])


def _what(record: StudyRecord, selection: Selection) -> str:
    if selection.winner is None:
        return f"Keep the base model: {selection.reason.removeprefix('keep the base: ')}.{_let_down(record)}"
    recipe = selection.winner.recipe
    return (
        f"Train {approach_sentence(recipe)} with a learning rate of {wording.rate(recipe.learning_rate)} for "
        f"{wording.counted(recipe.steps, 'step')}{made_then(selection.point)}."
    )


def best_confirmed(record: StudyRecord) -> Finalist | None:
    """Return the finalist that scored highest on the confirm split; None where none got there."""
    known = [
        (finalist.estimates.score.value, finalist) for finalist in record.finalists if finalist.estimates
    ]
    return max(known, key=lambda each: each[0])[1] if known else None


def _let_down(record: StudyRecord) -> str:
    """Say of a kept base what the best finalist had promised, and what was left of that."""
    best = best_confirmed(record)
    if best is None or best.estimates is None:
        return ""
    by_key = {each.key: each for each in candidates(record.trials, record.points)}
    candidate = by_key[best.candidate]
    score = best.estimates.score
    name = brief_name(candidate)
    return (
        f" {name[0].upper()}{name[1:]} did best on the confirm split, which the search never saw: a score of "
        f"{findings.with_interval(score.value, score)}. The search had shown "
        f"{wording.points(candidate.rung.score.score)}."
    )


def _worth(record: StudyRecord, selection: Selection) -> str:
    rung = selection.rung
    if rung is None:
        return ""
    targets = "on the target" if len(record.objective.targets) == 1 else "on average over the targets"
    sure = findings.confirmed(selection)
    known = sure or findings.estimates_of(selection, findings.selected(selection))
    gain = known.target_gain.value if known else rung.score.target_gain
    forgetting = known.held_out_forgetting.value if known else rung.score.held_out_forgetting
    score = known.score.value if known else rung.score.score
    base = record.confirm_base if sure else record.base
    counts = {task: evaluation.n for task, evaluation in base.items()}
    changes = known.changes if known else {}
    if not known:
        values = record.objective.base
        changes = {task: _exact(rung.values[task] - values[task]) for task in record.objective.held_out}
    return (
        f"{_where(selection, sure)} it gains "
        f"{findings.with_interval(gain, known.target_gain if known else None)} points {targets} "
        f"({sizes(counts[task] for task in record.objective.targets)}) and "
        f"{_forgetting(record, forgetting, known.held_out_forgetting if known else None)} "
        f"({sizes(counts[task] for task in record.objective.held_out)})"
        f"{_worst({task: changes[task].value for task in record.objective.held_out}, forgetting)}: "
        f"a score of {findings.with_interval(score, known.score if known else None)}."
    )


def _where(selection: Selection, sure: Estimates | None) -> str:
    if sure is None or selection.finalist is None:
        return "On the search split"
    number = sum(run.confirmed is not None for run in selection.finalist.runs)
    again = f"on {wording.counted(number, 'new seed')}"
    return f"Trained again {again} and scored on the confirm split, which the search never saw,"


def _forgetting(record: StudyRecord, value: float, estimate: Estimate | None) -> str:
    tasks = record.objective.held_out
    where = (
        f"on the held-out task {tasks[0]}"
        if len(tasks) == 1
        else f"on average over {len(tasks)} held-out tasks"
    )
    if value > -0.05:
        return f"loses {findings.with_interval(value, estimate, signed=False)} points {where}"
    turned = Estimate(value=-value, low=-estimate.high, high=-estimate.low) if estimate else None
    return f"also gains {findings.with_interval(-value, turned, signed=False)} points {where}"


def _worst(changes: dict[str, float], forgetting: float) -> str:
    worst = min(changes, key=lambda task: changes[task])
    if len(changes) < 2 or changes[worst] > -0.05:
        return ""
    most = "the most on" if forgetting > -0.05 else "but loses most on"
    return f", {most} {worst} ({wording.points(changes[worst])})"


def _regret(selection: Selection) -> str:
    """Compare what the search promised with what was confirmed."""
    rung, finalist = selection.rung, selection.finalist
    if rung is None or finalist is None or finalist.estimates is None:
        return ""
    lost = regret(finalist, rung.score.score)
    promised = f"The search had shown {wording.points(rung.score.score)}"
    if abs(lost) < 0.05:
        return f"{promised}, just that."
    if lost < 0:
        return f"{promised}, {wording.points(-lost, signed=False)} points less."
    return (
        f"{promised}: the difference, {wording.points(lost, signed=False)} points, is the regret of choosing "
        "by noisy scores."
    )


def _ties(record: StudyRecord, selection: Selection) -> str:
    """Say how the selected candidate compares with the others that the rule chose among."""
    chosen = findings.selected(selection)
    if chosen is None:
        return ""
    tied, best = tied_names(record, selection), best_name(record, selection)
    verb, text = "is" if len(tied) == 1 else "are", wording.listed(tied, 3) if tied else ""
    if best is not None:
        also = f", and so {verb} {text}" if tied else ""
        return f"The selected recipe is within noise of the best, {best}{also}."
    if tied:
        return f"{text[0].upper()}{text[1:]} {verb} within noise of it."
    if findings.confirmed(selection) is not None:
        # The rule compared these alone.
        rivals = [each for each in record.finalists if each.candidate != chosen.key]
        return "No other finalist is within noise of it." if rivals else ""
    others = [trial for trial in selection.ranking if trial.number != chosen.trial.number]
    if not others or not selection.estimates:
        return ""
    return "No other candidate is within noise of it."


def _about_intervals(record: StudyRecord, selection: Selection) -> str:
    if not selection.estimates and findings.confirmed(selection) is None:
        return "No intervals are shown: what each recipe scored on each sample is not known here."
    share = f"{100 * record.config.selection.confidence:g} %"
    text = f"Values in brackets are {share} bootstrap intervals over samples, paired with the base's answers."
    if any(finalist.estimates for finalist in record.finalists):
        return (
            f"{text} Those on the confirm split cover new seeds, too; the others leave out training's noise."
        )
    return f"{text} They leave out the noise of training itself."


def sizes(numbers: Iterable[int]) -> str:
    """Write on how many samples tasks were evaluated: `n = 100`, `n = 80 to 120 a task`."""
    found = sorted(set(numbers))
    text = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"n = {text}" + ("" if len(found) == 1 else " a task")


def _exact(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)
