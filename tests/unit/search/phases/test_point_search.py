"""Which points a study evaluates, and what a report becomes."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_study import BASE, evaluation, objective, trial
from made_study import config as study_config
from rich.console import Console

from search.objective import score_metrics
from search.phases import point_search
from search.phases.point_progress import PointProgress
from search.phases.point_search import PlannedPoint, PointSearch, plan_points
from search.phases.study_failed import WorkersLost
from search.results import PointResult, TrialResult, TrialState, points_csv
from search.settings.points_config import PointsConfig
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup
from trainables.workers.execution import GroupShape
from trainables.workers.jobs import PointJob, Report

# Scores 20, 15 and 5: half of what `count` gains, less half of what `colour` loses.
BEST = trial(4, [{"count": 30.0}, {"count": 50.0}])
SECOND = trial(1, [{"count": 20.0}, {"count": 60.0, "colour": 70.0}])
THIRD = trial(2, [{"count": 10.0}, {"count": 20.0}], preset="paper_mlp")
PRUNED = trial(0, [{"count": 90.0}], state=TrialState.PRUNED)
FAILED = trial(3, state=TrialState.FAILED, error="lost")
TRIALS = (PRUNED, SECOND, THIRD, FAILED, BEST)


def config(**fields: Any) -> PointsConfig:
    nothing = {"alpha": [], "keep": [], "soup": None}
    return PointsConfig.model_validate(nothing | fields)


def planned(
    *trials: TrialResult, presets: bool = False, **fields: Any
) -> list[tuple[Point, TrialResult, str | None]]:
    plan = plan_points(config(**fields), trials or TRIALS, presets=presets)
    assert [each.number for each in plan] == list(range(len(plan)))
    return [(each.point, each.trial, each.preset) for each in plan]


def test_the_best_are_taken_in_turn_by_score_and_by_gain() -> None:
    """The score puts 4 before 1 before 2, the gain 1 (25) before 4 (20) before 2 (5)."""
    greedy = trial(8, [{"count": 90.0, "colour": 0.0}])  # gains 40, loses 45
    points = planned(*TRIALS, greedy, top=3, alpha=[0.5])
    assert [of.number for _, of, _ in points] == [4, 8, 1]


def test_where_the_best_gains_most_too_the_next_by_gain_follows() -> None:
    greedy = trial(8, [{"count": 45.0, "colour": 20.0}])  # gains 17.5, loses 35
    points = planned(BEST, THIRD, greedy, top=2, alpha=[0.5])
    assert [of.number for _, of, _ in points] == [4, 8]


def test_each_transform_of_each_of_the_best() -> None:
    assert planned(top=2, alpha=[0.5, 0.9], keep=[0.1]) == [
        (Point(4, 40, Interpolation(0.5)), BEST, None),
        (Point(4, 40, Interpolation(0.9)), BEST, None),
        (Point(4, 40, Pruning(0.1)), BEST, None),
        (Point(1, 40, Interpolation(0.5)), SECOND, None),
        (Point(1, 40, Interpolation(0.9)), SECOND, None),
        (Point(1, 40, Pruning(0.1)), SECOND, None),
    ]


def test_earlier_rungs_of_the_best_are_points() -> None:
    assert planned(top=1, earlier_rungs=True) == [(Point(4, 20, Identity()), BEST, None)]


def test_a_soup_of_the_best() -> None:
    members = (Member(4, 40), Member(1, 40))
    assert planned(soup=2) == [(Point(4, 40, Soup(members)), BEST, None)]
    assert len(planned(soup=9)[0][0].members) == 3, "as many as there are"
    assert planned(BEST, PRUNED, soup=2) == [], "one alone makes no soup"


def test_wise_ft_is_the_preset_that_tunes_the_mlps_at_alpha_09() -> None:
    wise_ft = (Point(2, 40, Interpolation(0.9)), THIRD, "paper_wise_ft")
    assert planned(presets=True) == [wise_ft]
    assert planned(presets=True, top=3, alpha=[0.9])[-1] == wise_ft, "not evaluated twice"
    assert planned(presets=False) == []
    assert planned(BEST, dataclasses.replace(PRUNED, preset="paper_mlp"), presets=True) == []


def test_nothing_is_made_of_trials_that_did_not_complete() -> None:
    assert planned(PRUNED, FAILED, alpha=[0.5], soup=2) == []


def search(folder: Path) -> PointSearch:
    goal = objective(study_config())
    return PointSearch(
        pool=None,
        executions={},
        at_a_time=1,
        trials=TRIALS,
        trial_folders=folder / "trials",
        folder=folder / "points",
        metrics=lambda evaluations: score_metrics(evaluations, objective=goal),
    )


def test_an_earlier_rung_needs_no_evaluation(tmp_path: Path) -> None:
    (plan,) = plan_points(config(top=1, earlier_rungs=True), TRIALS, presets=False)
    (result,) = search(tmp_path).evaluate([plan])
    assert result.rung is BEST.rungs[0]


PLANNED = PlannedPoint(number=7, point=Point(4, 40, Interpolation(0.5)), trial=BEST, preset=None)


def report(values: Mapping[str, float], **metrics: float) -> Report:
    return Report(
        step=40,
        done=True,
        evaluations={task: evaluation(task, value, 100) for task, value in values.items()},
        metrics={"drift/kl_target": 0.2, "cost/trainable_parameters": 9.0, **metrics},
    )


def test_a_point_is_scored_as_a_trial_is(tmp_path: Path) -> None:
    """Gains 20 and 0, mean 10; drops 0."""
    result = search(tmp_path)._evaluated(PLANNED, report({**BASE, "count": 30.0}))
    assert result.error is None
    assert (result.measured.step, result.measured.progress) == (40, 1.0)
    assert result.measured.score.score == result.measured.metrics["score"] == 10.0
    assert result.measured.values["count"] == result.measured.metrics["target/count"] == 30.0
    assert result.measured.metrics["drift/kl_target"] == 0.2
    assert (tmp_path / "points" / "7" / "evaluations.json").is_file()


@pytest.mark.parametrize(
    ("failed", "error"),
    [
        (Report(step=0, done=True, error="checkpoint x is missing"), "checkpoint x is missing"),
        (report(BASE, **{"drift/kl_target": math.nan}), "metric drift/kl_target is nan"),
        (report({"count": 1.0}), "the tuned model's value of task 'clock' is missing or not finite"),
    ],
)
def test_a_point_without_a_score_says_why(tmp_path: Path, failed: Report, error: str) -> None:
    result = search(tmp_path)._evaluated(PLANNED, failed)
    assert (result.rung, result.error) == (None, error)
    with pytest.raises(ValueError, match="point 7 failed"):
        result.measured  # noqa: B018  the access is what is tested


def test_a_point_that_is_lost_with_its_machines_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Report(step=0, done=True, error="the node died", lost=True)
    monkeypatch.setattr(point_search, "run_jobs", lambda *_, **__: [(PLANNED.number, lost)])
    job = PointJob(point=PLANNED.point, members=())
    monkeypatch.setattr(PointSearch, "job", lambda *_: (GroupShape(), job))
    known = PointResult(number=PLANNED.number, point=PLANNED.point, trial=BEST, rung=BEST.last)
    for results in (search(tmp_path).evaluate([PLANNED]), search(tmp_path).written([known])):
        with pytest.raises(WorkersLost, match="the node died"):
            list(results)


def test_a_point_has_either_a_score_or_an_error() -> None:
    with pytest.raises(ValueError, match="point 1: it was either measured or has an error"):
        PointResult(number=1, point=PLANNED.point, trial=BEST)


SOUP = PointResult(
    number=0, point=Point(4, 40, Soup((Member(4, 40), Member(1, 40)))), trial=BEST, rung=BEST.last
)
LOST = PointResult(number=1, point=PLANNED.point, trial=BEST, preset="p", error="lost, alas")


def test_the_table_has_one_row_each() -> None:
    header, soup, lost = points_csv([SOUP, LOST]).splitlines()
    assert header.startswith(
        "number,trial,step,transform,alpha,keep,members,subset,learning_rate,state,preset,error,"
    )
    assert soup.startswith("0,4,40,soup,,,4@40 1@40,,,COMPLETE,,,20.0,")
    assert lost.startswith('1,4,40,interpolation,0.5,,,gate_up,0.001,FAILED,p,"lost, alas",')


def test_a_line_a_point_off_a_terminal() -> None:
    text = io.StringIO()
    now = iter([0.0, 12.0])
    with PointProgress(2, Console(file=text, width=40), clock=lambda: next(now)) as progress:
        progress.point_ended(SOUP)
        progress.point_ended(LOST)
    assert text.getvalue().splitlines() == [
        "2 points to evaluate without retraining",
        "trials 4, 1  soup of 2  score +20.0  (gain +20.0, forgetting +0.0)  1/2 done",
        "trial 4  gate_up lr 1.0e-3  alpha 0.5  FAILED  lost, alas  2/2 done",
        "2 points in 12s; best: trials 4, 1  soup of 2  score +20.0  (gain +20.0, forgetting +0.0)",
    ]
