"""The verdict in words, with intervals, confirmation, regret and ties, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_study import BASE, GOOD, HARMFUL, MODEST, config, estimates, finalist, record, trial

from search.findings import verdict
from search.records.study_record import StudyRecord
from search.results import TrialState
from search.selection import Selection, select

# Gain (20 + 20) / 2 = 20, forgetting (4 + 0) / 2 = 2, score 18: 4 points less than GOOD's 22.
LESS = {"count": 30.0, "clock": 40.0, "colour": 86.0}


def found(study: StudyRecord, **known: Any) -> Selection:
    return replace(select(study.trials, study.objective), **known)


def two() -> StudyRecord:
    return record([trial(0, [GOOD]), trial(1, [MODEST], subset="full", learning_rate=2e-4)])


def test_without_intervals_values_stand_alone() -> None:
    study = two()
    assert verdict.paragraph(study, found(study)) == (
        "Train gate_up with a learning rate of 1.0e-3 for 40 steps. On the search split it gains +25.0 "
        "points on average over the targets (n = 100) and loses 3.0 points on average over 2 held-out tasks "
        "(n = 100), the most on shape (-4.0): a score of +22.0."
    )
    assert "No intervals are shown" in verdict.caveats(study, found(study))[-1]


def test_values_have_their_intervals() -> None:
    study = two()
    known = {"trial 0": estimates(GOOD, half=2), "trial 1": estimates(MODEST, half=2)}
    text = verdict.paragraph(study, found(study, estimates=known, tied=("trial 0",)))
    assert "it gains +25.0 [23.0, 27.0] points" in text
    assert "loses 3.0 [1.0, 5.0] points on average over 2 held-out tasks" in text
    assert text.endswith("a score of +22.0 [20.0, 24.0]. No other candidate is within noise of it.")


def test_what_lies_within_noise_is_named() -> None:
    study = two()
    known = {"trial 0": estimates(GOOD), "trial 1": estimates(MODEST)}
    text = verdict.paragraph(study, found(study, estimates=known, tied=("trial 0", "trial 1")))
    assert text.endswith("Trial 1 (full 2.0e-4) is within noise of it.")


def test_what_was_compared_with_the_best_is_not_said_of_the_selected_one() -> None:
    """Trial 0 has the highest score, 22; trial 1 was chosen of those within noise of it."""
    study = record([*two().trials, trial(2, [MODEST], subset="projector")])
    known = {f"trial {number}": estimates(MODEST) for number in range(3)}
    tied = ("trial 0", "trial 1", "trial 2")
    chosen = found(study, winner=study.trials[1], estimates=known, tied=tied)
    best = "The selected recipe is within noise of the best, trial 0 (gate_up 1.0e-3)"
    assert verdict.paragraph(study, chosen).endswith(f"{best}, and so is trial 2 (projector 1.0e-3).")
    alone = replace(chosen, tied=tied[:2])
    assert verdict.paragraph(study, alone).endswith(f"{best}.")


@pytest.mark.parametrize(
    ("confirmed", "sentence"),
    [
        (LESS, "The search had shown +22.0: the difference, 4.0 points, is the regret of choosing by noisy"),
        (GOOD, "The search had shown +22.0, just that."),
        # Gain (40 + 20) / 2 = 30, forgetting 3, score 27.
        ({**GOOD, "count": 50.0}, "The search had shown +22.0, 5.0 points less."),
    ],
    ids=["regret", "the same", "better"],
)
def test_the_search_score_is_compared_with_the_confirmed_one(
    confirmed: dict[str, float], sentence: str
) -> None:
    study = two()
    last = finalist("trial 0", confirmed, confirmed, half=3)
    study = replace(study, finalists=(last,), confirm_base=study.base)
    assert sentence in verdict.paragraph(study, found(study, finalist=last))


def test_the_verdict_tells_what_was_confirmed() -> None:
    """Over two seeds: LESS and GOOD have scores 18 and 22, mean 20, gains 20 and 25, forgetting 2 and 3."""
    study = two()
    last = finalist("trial 0", LESS, GOOD, half=3)
    study = replace(study, finalists=(last,), confirm_base=study.base)
    selection = found(study, finalist=last, estimates={"trial 0": estimates(GOOD)}, tied=("trial 0",))
    text = verdict.paragraph(study, selection)
    assert (
        "Trained again on 2 new seeds and scored on the confirm split, which the search never saw, it gains "
        "+22.5 [19.5, 25.5] points"
    ) in text
    assert "a score of +20.0 [17.0, 23.0]. The search had shown +22.0" in text
    notes = " ".join(verdict.caveats(study, selection))
    assert "winner's curse" not in notes
    assert "another seed" not in notes
    assert "cover new seeds, too" in notes


def test_with_finalists_the_others_are_finalists() -> None:
    """The rule compared these alone, so of what was not trained again nothing is said."""
    study = two()
    first, second = finalist("trial 0", GOOD, GOOD), finalist("trial 1", MODEST, MODEST)
    for known, told in (((first, second), True), ((first,), False)):
        study = replace(study, finalists=known, confirm_base=study.base)
        selection = found(study, finalist=first, estimates={"trial 0": estimates(GOOD)}, tied=("trial 0",))
        text = verdict.paragraph(study, selection)
        assert text.endswith("No other finalist is within noise of it.") is told
        assert "No other candidate" not in text
        notes = " ".join(verdict.caveats(study, selection))
        assert ("chosen among 2 finalists by what they score on the confirm split" in notes) is told


def test_what_no_finalist_confirmed_is_told_as_such() -> None:
    """A finalist got to the confirm split, but the recipe that a later rule selects did not."""
    study = replace(two(), finalists=(finalist("trial 1", GOOD, GOOD),), confirm_base=two().base)
    notes = " ".join(verdict.caveats(study, found(study)))
    assert "No number here was confirmed" not in notes, "another finalist's were"
    assert "another seed gives another score" in notes
    assert "winner's curse" in notes


def test_a_recipe_that_improves_held_out_tasks() -> None:
    """Forgetting is -2: the interval of the improvement is turned round, from [-5, 1] to [-1, 5]."""
    values = {"count": 40.0, "colour": 94.0}
    study = record([trial(0, [values])])
    selection = found(study, estimates={"trial 0": estimates(values, half=3)})
    assert "and also gains 2.0 [-1.0, 5.0] points" in verdict.paragraph(study, selection)


def test_what_is_lost_beside_an_improvement_is_told_apart() -> None:
    """Colour gains 4 points and shape loses 2: forgetting is -1."""
    study = record([trial(0, [{"count": 40.0, "colour": 94.0, "shape": 78.0}])])
    text = verdict.paragraph(study, found(study))
    assert "also gains 1.0 points on average over 2 held-out tasks" in text
    assert "but loses most on shape (-2.0): a score of" in text


def test_keeping_the_base_says_why() -> None:
    study = record([trial(0, [HARMFUL])])
    text = verdict.paragraph(study, found(study))
    assert text.startswith("Keep the base model: the best of 1 feasible complete trial scores -20.0")
    assert verdict.headline(found(study)) == "Keep the base model"


def test_keeping_the_base_tells_what_the_search_had_promised() -> None:
    """Two finalists: gains of 1 and 0.5 on average, nothing forgotten; the search had shown 22 and 10."""
    study = two()
    better, other = finalist("trial 1", {"count": 12.0}), finalist("trial 0", {"count": 11.0})
    study = replace(study, finalists=(other, better), confirm_base=study.base)
    selection = found(study, winner=None, reason="keep the base: none is beyond the noise")
    assert verdict.paragraph(study, selection) == (
        "Keep the base model: none is beyond the noise. Trial 1 (full 2.0e-4) did best on the confirm split, "
        "which the search never saw: a score of +1.0 [-2.0, 4.0]. The search had shown +10.0."
    )
    assert "No number here was confirmed" not in " ".join(verdict.caveats(study, selection))


def test_what_limits_the_verdict_comes_first() -> None:
    study = two()
    notes = verdict.caveats(study, found(study, notes=("The study did not reach its end.",)))
    assert notes[0] == "The study did not reach its end."


def test_the_caveats_are_those_that_apply() -> None:
    made = record([trial(0, [GOOD], learning_rate=1e-1), trial(1, [MODEST], learning_rate=1e-1)])
    notes = " ".join(verdict.caveats(made, found(made)))
    assert "search split" in notes
    assert "seed 5" in notes
    assert "The best of 2 noisy scores" in notes
    assert "at the upper end of the interval searched for gate_up" in notes
    assert "full (0) and projector (0)" in notes
    assert "Pruned" not in notes
    alone = record([trial(0, [GOOD])])
    assert "winner's curse" not in " ".join(verdict.caveats(alone, found(alone)))
    assert verdict.caveats(record(), found(record())) == ()


def test_scores_of_pruned_trials_on_some_samples_are_told_apart() -> None:
    study = config()
    early = study.evaluation.model_copy(update={"rung_samples": 50})
    study = study.model_copy(update={"evaluation": early})
    trials = [trial(0, [MODEST, GOOD]), trial(1, [MODEST], state=TrialState.PRUNED)]
    for ended, of, told in ((trials, study, True), (trials[:1], study, False), (trials, config(), False)):
        made = record(ended, study=of)
        notes = " ".join(verdict.caveats(made, found(made)))
        assert ("Pruned trials were scored on the first 50 samples of each task alone" in notes) is told


def test_one_held_out_task_is_named() -> None:
    study = config(subsets=["gate_up"], held_out=["colour"])
    base = {task: BASE[task] for task in ("count", "clock", "colour")}
    made = record([trial(0, [GOOD], study=study, base=base)], study=study, base=base)
    text = verdict.paragraph(made, found(made))
    assert "loses 2.0 points on the held-out task colour (n = 100): a score" in text


def test_a_pruned_trial_alone_is_no_verdict() -> None:
    made = record([trial(0, [MODEST], state=TrialState.PRUNED)])
    assert verdict.paragraph(made, found(made)) == "Keep the base model: no trial finished."
