"""What a reader is told of points: sentences, the report's table and the marks in the trade-off plot."""

from __future__ import annotations

import dataclasses
import html

import yaml
from made_study import BASE, finalist, record, trial

from search.findings import verdict
from search.findings.point_findings import made_then, point_caveat, point_rows
from search.handover.recipe_document import RecipeDocument
from search.plots.trade_off import trade_off
from search.records.study_record import StudyRecord
from search.report import render_report
from search.report_sections.again import recipe_yaml
from search.results import PointResult, Rung
from search.selection import Selection, select
from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup, Transform

# Scores: 20 - 5 = 15, and 10 - 0 = 10.
FIRST = trial(2, [{"count": 50.0, "colour": 80.0}])
SECOND = trial(1, [{"count": 30.0}], subset="full")


def measured(**values: float) -> Rung:
    return trial(0, [{**BASE, **values}]).last


def point(number: int, transform: Transform, rung: Rung | None, error: str | None = None) -> PointResult:
    return PointResult(number=number, point=Point(2, 40, transform), trial=FIRST, rung=rung, error=error)


# Scores 18 - 1 = 17, then 5, then 19 - 10 = 9 which forgets too much, then none.
HALF = point(0, Interpolation(0.5), measured(count=46.0, colour=88.0))
SOUP = point(1, Soup((Member(2, 40), Member(1, 40))), measured(count=20.0))
GREEDY = point(2, Pruning(0.1), measured(count=48.0, colour=70.0))
LOST = point(3, Interpolation(0.9), None, error="<checkpoint> is missing")


def study(*points: PointResult, max_forgetting: float | None = 6.0) -> tuple[StudyRecord, Selection]:
    made = dataclasses.replace(record([FIRST, SECOND]), points=points, points_seconds=12.0)
    goal = dataclasses.replace(made.objective, max_forgetting=max_forgetting)
    made = dataclasses.replace(made, objective=goal)
    return made, select(made.trials, goal, points)


def test_the_best_point_comes_first_and_what_can_not_be_selected_last() -> None:
    made, selection = study(LOST, SOUP, GREEDY, HALF)
    rows = point_rows(made, selection)
    assert [(row["made"], row["state"], row["score"], row["beside"]) for row in rows] == [
        ("alpha 0.5", "selected", "+17.0", "+2.0"),
        ("soup of 2", "feasible", "+5.0", "-10.0"),
        ("keep 0.1", "infeasible", "+9.0", "-6.0"),
        ("alpha 0.9", "failed", "–", "–"),  # noqa: RUF001  an en dash, read as "no value"
    ]
    assert (rows[0]["trials"], rows[1]["trials"]) == ("2", "2, 1")
    assert (rows[0]["recipe"], rows[1]["recipe"]) == ("gate_up", "")


def test_what_to_do_with_the_trained_weights() -> None:
    assert made_then(None) == ""
    assert made_then(HALF) == ", then interpolate its weights with the base's at alpha 0.5"
    assert made_then(GREEDY) == ", then keep the changes of 10 % of each tensor's elements"
    assert made_then(SOUP) == ", then average its weights with those of trial 1"
    assert made_then(point(9, Identity(), HALF.rung)) == ", and take its weights after 40 steps"


def test_the_paragraph_speaks_of_the_point() -> None:
    text = verdict.paragraph(*study(HALF, SOUP))
    assert "for 40 steps, then interpolate its weights with the base's at alpha 0.5. On the search" in text
    assert "a score of +17.0." in text


def test_the_caveats_count_the_points() -> None:
    notes = verdict.caveats(*study(HALF, SOUP, LOST))
    assert any("The best of 4 noisy scores" in note for note in notes)
    assert any(note.startswith("2 of these scores are of points") for note in notes)
    assert point_caveat(study(LOST)[0]) == ""
    assert point_caveat(study(HALF)[0]).startswith("1 of these scores is of a point")
    assert point_caveat(study(HALF)[0]).endswith("would confirm one.")
    confirmed = dataclasses.replace(study(HALF)[0], finalists=(finalist("trial 2", {}),))
    assert point_caveat(confirmed).endswith(
        "What finalists scored on data that the search never saw does not."
    )


def test_the_report_shows_them() -> None:
    page = render_report(*study(LOST, SOUP, GREEDY, HALF))
    assert "Without retraining: what interpolation, pruning and soups gave" in page
    assert "&lt;checkpoint&gt; is missing" in page
    assert "the selected recipe (trial 2, alpha 0.5)" in page
    assert "alpha: 0.5" in page
    assert "4 points in 12s" in page
    without = render_report(*study())
    assert "Without retraining" not in without


def test_the_report_s_recipe_is_one_that_apply_takes() -> None:
    made, selection = study(SOUP)
    chosen = dataclasses.replace(selection, point=SOUP)
    text = recipe_yaml(made, chosen)
    assert text in html.unescape(render_report(made, chosen))
    document = RecipeDocument.from_dict(yaml.safe_load(text), "recipe.yaml")
    assert document.made == SOUP.point
    assert document.recipes == {2: FIRST.recipe, 1: SECOND.recipe}
    assert document.seed == made.config.search.seed


def test_the_selected_point_is_the_star() -> None:
    plot = trade_off(*study(LOST, SOUP, GREEDY, HALF))
    assert plot is not None
    marks = {trace.name: (trace.x, trace.y) for trace in plot.figure.data if trace.mode == "markers"}
    assert marks["selected"] == ((1.0,), (18.0,))
    assert marks["without retraining"] == ((0.0,), (5.0,))
    assert marks["without retraining, infeasible"] == ((10.0,), (19.0,))
    assert len(marks["complete"][0]) == 2, "no trial is selected as it was trained"


def test_a_path_leads_from_the_base_over_the_interpolations_to_the_trial() -> None:
    plot = trade_off(*study(point(5, Interpolation(0.9), measured(count=48.0, colour=82.0)), HALF))
    assert plot is not None
    (path,) = (trace for trace in plot.figure.data if trace.name is None and trace.mode == "lines")
    assert list(path.x)[:4] == [0.0, 1.0, 4.0, 5.0]
    assert list(path.y)[:4] == [0.0, 18.0, 19.0, 20.0]


def test_without_points_a_trial_is_the_star() -> None:
    plot = trade_off(*study())
    assert plot is not None
    marks = {trace.name: trace.x for trace in plot.figure.data if trace.mode == "markers"}
    assert marks["selected"] == (5.0,)
    assert "without retraining" not in marks
