"""What a study's record concludes to: finalists on the confirm split, choices, what limits the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_study import BASE, config, estimate, estimates, evaluation, objective, record, trial

from search.decision.conclusion import conclude
from search.decision.evidence import Estimate, Evidence, Finalist, FinalistRun, Measure
from search.findings import verdict
from search.phases import selecting
from search.records.study_folder import StudyFolder
from search.records.study_record import StudyRecord
from search.results import PointResult
from search.selection import Selection, select
from search.settings.selection_config import FinalistsConfig
from spaces.points import Interpolation, Point
from trainables.files import write_atomically
from trainables.scoring.evaluation import Evaluation, evaluations_json, rung_file

FIRST = {"count": 50.0, "clock": 60.0}  # gain 40, score 40
SECOND = {"count": 45.0, "clock": 55.0}  # gain 35


def spread(values: Mapping[str, float], samples: int = 200, seed: int = 0) -> dict[str, Evaluation]:
    """Return evaluations whose right answers lie anywhere, so that two models differ on many samples."""
    generator = np.random.default_rng(seed)
    found = {}
    for task, value in {**BASE, **values}.items():
        scores = np.array(evaluation(task, value, samples).scores)
        generator.shuffle(scores)
        found[task] = Evaluation(task=task, scores=tuple(scores))
    return found


def finalist(candidate: str, *confirmed: Mapping[str, float]) -> Finalist:
    rung = trial(0, [FIRST]).last
    runs = tuple(
        FinalistRun(
            seed=seed,
            rung=rung,
            confirm=spread(values, seed=seed),
            confirmed=None,
            folder=f"finalists/{seed}",
        )
        for seed, values in enumerate(confirmed, start=1)
    )
    return Finalist(candidate=candidate, runs=runs)


def study(*finalists: Finalist, max_forgetting: float | None = None) -> StudyRecord:
    made = config(max_forgetting=max_forgetting)
    trials = [trial(0, [FIRST], study=made), trial(1, [SECOND], study=made)]
    return replace(
        record(trials, study=made), finalists=finalists, confirm_base=spread({}) if finalists else {}
    )


def notes(selection: Selection) -> str:
    return " ".join(selection.notes)


def test_finalists_are_chosen_among_by_what_the_confirm_split_says(tmp_path: Path) -> None:
    """On the confirm split trial 0 gains 20 and trial 1 gains 33, whatever the search said."""
    weak = {"count": 30.0, "clock": 40.0}
    strong = {"count": 43.0, "clock": 53.0}
    found = conclude(study(finalist("trial 0", weak, weak), finalist("trial 1", strong, strong)), tmp_path)
    assert found.key == "trial 1"
    assert found.finalist is not None
    assert found.finalist.estimates is not None
    assert found.finalist.estimates.score.value == pytest.approx(33)
    assert found.run is not None
    assert found.reason.startswith(
        "trial 1 (gate_up at learning rate 0.001) has the highest score of 2 finalists on the confirm split: "
        "+33.0 points (+"
    )
    # What the search says stays where it was.
    assert [each.number for each in found.ranking] == [0, 1]
    assert found.rung is not None
    assert found.rung.score.score == 35.0


def test_the_base_is_kept_where_no_finalist_is_confirmed(tmp_path: Path) -> None:
    """The search shows +40; on the confirm split a gain of 1 lies within noise."""
    found = conclude(study(finalist("trial 0", {"count": 12.0}, {"count": 12.0})), tmp_path)
    assert found.keep_base
    assert (
        "the best of 1 finalist on the confirm split scores +1.0 points, and its interval, -" in found.reason
    )


def test_a_finalist_that_forgets_too_much_when_confirmed_is_no_winner(tmp_path: Path) -> None:
    """Trial 0 forgets 15 on the confirm split; within the bound of 5 there is trial 1."""
    forgetful = {**FIRST, "colour": 75.0, "shape": 65.0}
    made = study(finalist("trial 0", forgetful), finalist("trial 1", SECOND), max_forgetting=5.0)
    found = conclude(made, tmp_path)
    assert found.key == "trial 1"
    assert "intervals hold the noise of samples alone" in notes(found)


def test_the_base_is_kept_where_every_finalist_forgets_too_much(tmp_path: Path) -> None:
    """Nor is trial 1 taken, which was not trained again: what the search said of trial 0 was wrong, too."""
    forgetful = {**FIRST, "colour": 75.0, "shape": 65.0}
    found = conclude(study(finalist("trial 0", forgetful), max_forgetting=5.0), tmp_path)
    assert found.keep_base
    assert found.reason == (
        "keep the base: all 1 finalist on the confirm split forget more than the allowed 5 points; the "
        "nearest, trial 0 (gate_up at learning rate 0.001), forgets 15.0, 10.0 too much"
    )


def test_a_finalist_that_forgot_too_much_in_the_search_may_be_confirmed(tmp_path: Path) -> None:
    """On the search split it forgets 10, on the confirm split nothing: that is what counts."""
    made = config(max_forgetting=5.0)
    trials = [trial(0, [{**FIRST, "colour": 70.0}], study=made), trial(1, [SECOND], study=made)]
    finals = (finalist("trial 0", FIRST), finalist("trial 1", {"count": 20.0}))
    found = conclude(replace(record(trials, study=made), finalists=finals, confirm_base=spread({})), tmp_path)
    assert found.key == "trial 0"
    assert [each.number for each in found.infeasible] == [0]


def test_another_bound_that_no_finalist_keeps_selects_on_the_search_split(tmp_path: Path) -> None:
    made = config(max_forgetting=5.0)
    trials = [trial(0, [{**FIRST, "colour": 70.0}], study=made), trial(1, [SECOND], study=made)]
    again = replace(
        record(trials, study=made),
        finalists=(finalist("trial 0", {**FIRST, "colour": 70.0}),),
        confirm_base=spread({}),
    )
    found = conclude(again, tmp_path, other_rule=True)
    assert (found.key, found.finalist) == ("trial 1", None)
    assert "The selected recipe was not trained again" in notes(found)
    assert "No finalist keeps the allowed 5 points of forgetting on the confirm split." in notes(found)
    # By the study's own bound what was not confirmed is not taken.
    assert conclude(again, tmp_path).keep_base


@pytest.mark.parametrize(("again", "key"), [(SECOND, "trial 1"), ({}, "trial 0")], ids=["sure", "refuted"])
def test_no_tie_break_takes_what_the_confirm_split_refutes(again: Mapping[str, float], key: str) -> None:
    """Trial 0 scores 40 - 4; trial 1, within noise of it with 35, forgets less: it wins if confirmed."""
    rows = [{**FIRST, "colour": 86.0, "shape": 76.0}, SECOND]
    trials = [trial(number, [row]) for number, row in enumerate(rows)]

    def difference(one: str, other: str, measure: Measure, confidence: float) -> Estimate:
        return estimate(1.0, 5.0 if measure == "score" else 0.5)

    searched = {f"trial {number}": estimates(row) for number, row in enumerate(rows)}
    found = select(
        trials,
        objective(config()),
        evidence=Evidence(estimates=searched, difference=difference),
        finalists=[finalist("trial 1", again)],
        confirmation=Evidence(estimates={"trial 1": estimates(again)}),
        other_rule=True,
    )
    assert found.key == key
    assert [each.number for each in found.ranking] == [0, 1]
    # What it says of the finalists is news where none of them was taken.
    assert found.notes == (
        () if again else ("No finalist's score lies above 0 on the confirm split, beyond its noise.",)
    )


def test_finalists_that_failed_are_named_with_what_went_wrong(tmp_path: Path) -> None:
    found = conclude(study(failed("trial 0"), failed("trial 1", "no memory")), tmp_path)
    assert found.key == "trial 0"
    assert "No finalist could be confirmed: trial 0 (loss is nan) and trial 1 (no memory)." in notes(found)
    assert "The selected recipe was not confirmed" in notes(found)
    found = conclude(study(finalist("trial 0", FIRST, FIRST), failed("trial 1", "no memory")), tmp_path)
    assert "Some finalists could not be confirmed: trial 1 (no memory)." in notes(found)
    assert "The selected recipe was not confirmed" not in notes(found)


def test_whom_the_budget_never_let_run_is_told(tmp_path: Path) -> None:
    made = study(finalist("trial 0", FIRST, FIRST))
    assert "was spent" not in notes(conclude(made, tmp_path))
    left_out = replace(made, finalists_left_out=("trial 1", "point 0"))
    said = "finalists.budget was spent before trial 1 and point 0 could be trained again."
    assert said in notes(conclude(left_out, tmp_path))


def test_a_budget_of_less_than_one_run_is_told(tmp_path: Path) -> None:
    """A tenth of 4 trials of 40 steps is 16, a quarter 40."""
    made = study()
    told = "allows 16 optimiser steps, and training the selected recipe again takes 40"
    for budget, expected in ((0.1, True), (0.25, False)):
        changed = made.config.model_copy(update={"finalists": FinalistsConfig(budget=budget)})
        text = notes(conclude(replace(made, config=changed), tmp_path))
        assert (told in text) is expected


def failed(candidate: str, error: str = "loss is nan") -> Finalist:
    run = FinalistRun(seed=1, rung=None, confirm={}, confirmed=None, folder="finalists/1", error=error)
    return Finalist(candidate=candidate, runs=(run,))


def test_a_selected_point_whose_finalist_was_dropped_has_its_weights_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was confirmed, so the best of the search is taken; its runs on new seeds left no weights."""
    made = study()
    point = PointResult(
        number=0,
        point=Point(0, 40, Interpolation(0.5)),
        trial=made.trials[0],
        rung=trial(0, [{**FIRST, "count": 60.0}]).last,
    )
    dropped = replace(finalist("point 0", FIRST), dropped=True)
    dropped = replace(dropped, runs=(replace(dropped.runs[0], confirm={}),))
    made = replace(made, points=(point,), finalists=(dropped, failed("trial 1")), confirm_base=spread({}))

    def written(asked: list[PointResult]) -> Iterator[PointResult]:
        for each in asked:
            yield replace(each, rung=replace(each.measured, weights=str(tmp_path / "weights.safetensors")))

    monkeypatch.setattr(selecting, "point_search", lambda run, record: SimpleNamespace(written=written))
    run: Any = SimpleNamespace(folder=StudyFolder(tmp_path))
    after, selection = selecting.with_selection(run, made)
    assert selection.key == "point 0"
    assert selection.run is None
    assert selection.rung is not None
    assert selection.rung.weights == str(tmp_path / "weights.safetensors")
    assert after.points == (selection.point,)


def test_a_half_finished_study_selects_from_what_is_complete(tmp_path: Path) -> None:
    found = conclude(replace(study(), finished=False), tmp_path)
    assert found.key == "trial 0"
    assert "chosen from 2 complete trials of the 4 planned trials" in notes(found)


def test_unknown_scores_of_samples_are_told_and_not_made_up(tmp_path: Path) -> None:
    made = study()
    home = tmp_path / "trials" / made.trials[0].trial_id
    write_atomically(home / rung_file(made.trials[0].last.step), evaluations_json(spread(FIRST, samples=100)))
    found = conclude(made, tmp_path)
    assert set(found.estimates) == {"trial 0"}
    assert "not known for 1 of 2 candidates" in notes(found)


def test_scores_of_other_samples_are_not_compared(tmp_path: Path) -> None:
    made = study()
    for each in made.trials:
        file = tmp_path / "trials" / each.trial_id / rung_file(each.last.step)
        write_atomically(file, evaluations_json(spread(FIRST, samples=7)))
    assert conclude(made, tmp_path).estimates == {}


def test_recipes_within_noise_are_tied_and_the_milder_wins(tmp_path: Path) -> None:
    """Scores 40 and 39 of 100 samples each; trial 1 keeps 4 points more of what the base can do."""
    first = {**FIRST, "count": 58.0, "colour": 86.0, "shape": 76.0}
    made = config()
    trials = [trial(0, [first], study=made), trial(1, [{**FIRST, "count": 48.0}], study=made)]
    made_study = record(trials, study=made)
    base = spread({}, samples=100)
    made_study = replace(made_study, base=base)
    for each in trials:
        file = tmp_path / "trials" / each.trial_id / rung_file(each.last.step)
        scores = {
            task: Evaluation(task=task, scores=tuple(sorted(base[task].scores, reverse=task == "count")))
            for task in base
        }
        scores |= spread(each.last.values, samples=100, seed=each.number)
        write_atomically(file, evaluations_json(scores))
    found = conclude(made_study, tmp_path)
    assert found.tied == ("trial 0", "trial 1")
    assert found.key == "trial 1"
    assert ("is chosen, by less forgetting, of the 2 whose score lies within noise") in found.reason
    assert found.best == "trial 0"
    assert verdict.paragraph(made_study, found).endswith(
        "The selected recipe is within noise of the best, trial 0 (gate_up 1.0e-3)."
    )


def test_choices_run_from_less_forgetting_to_more_gain(tmp_path: Path) -> None:
    """By gain - 4, 1 and 1/4 x forgetting: of (20, 1), (35, 10), (50, 20) the best are each another."""
    made = config()
    rows = [
        {"count": 30.0, "clock": 40.0, "shape": 78.0},
        {"count": 48.0, "clock": 58.0, "colour": 80.0, "shape": 70.0},
        {"count": 60.0, "clock": 70.0, "colour": 65.0, "shape": 55.0},
    ]
    trials = [trial(number, [row], study=made) for number, row in enumerate(rows)]
    found = conclude(record(trials, study=made), tmp_path)
    assert [(each.name, each.candidate) for each in found.choices] == [
        ("cautious", "trial 0"),
        ("balanced", "trial 1"),
        ("bold", "trial 2"),
    ]
    assert found.choices[0].sentence == (
        "Trial 0 (gate_up at learning rate 0.001) gains +20.0 points and forgets +1.0."
    )
    taken = conclude(record(trials, study=made), tmp_path, choice="cautious")
    assert taken.key == "trial 0"
    harmful = record([trial(0, [{"count": 5.0}], study=made)], study=made)
    assert conclude(harmful, tmp_path).choices == ()
    with pytest.raises(ValueError, match="there is no bold choice: no feasible recipe gains anything"):
        conclude(harmful, tmp_path, choice="bold")
