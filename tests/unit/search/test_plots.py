from __future__ import annotations

import math
from typing import Any

import pytest
from made_study import config, record, trial

from search import plot_theme
from search.plot_marks import MARKERS, Outcome, by_outcome, in_lines
from search.plots import study_plots
from search.results import TrialResult, TrialState
from search.selection import select
from search.study_record import StudyRecord
from search.trade_off import pareto_front


def values(gain: float, forgetting: float) -> dict[str, float]:
    """Return values with this gain and this forgetting, on each target and on each held-out task."""
    return {"count": 10 + gain, "clock": 20 + gain, "colour": 90 - forgetting, "shape": 80 - forgetting}


def at(number: int, gain: float, forgetting: float, **fields: Any) -> TrialResult:
    return trial(number, [values(gain, forgetting)], **fields)


def figures(study: StudyRecord) -> dict[str, Any]:
    plots = study_plots(study, select(study.trials, study.objective))
    assert len({plot.name for plot in plots}) == len(plots)
    return {plot.name: plot.figure for plot in plots}


def trace(figure: Any, name: str) -> Any:
    return next(found for found in figure.data if found.name == name)


def test_the_pareto_front_by_hand() -> None:
    """(forgetting, gain): b, c and e stand; a is beaten by b, d by c, f by the base, and g is pruned."""
    a, b, c = at(0, 9, 2), at(1, 10, 2), at(2, 30, 8)
    d, e, f = at(3, 30, 9), at(4, 1, -1), at(5, -1, 1)
    g = trial(6, [values(60, 0)], state=TrialState.PRUNED)
    assert pareto_front([a, b, c, d, e, f, g]) == (e, b, c)


def test_equal_points_are_both_on_the_front() -> None:
    twins = (at(0, 10, 2), at(1, 10, 2))
    assert pareto_front(twins) == twins


def test_a_recipe_that_changes_nothing_ties_with_the_base() -> None:
    same = at(0, 0, 0)
    assert pareto_front([same]) == (same,)


def test_the_front_starts_at_the_base_unless_a_recipe_beats_it() -> None:
    line = trace(figures(record([at(0, 10, 2), at(1, 30, 8)]))["trade_off"], "Pareto front")
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0), (2, 10), (8, 30)]
    line = trace(figures(record([at(0, 10, -2)]))["trade_off"], "Pareto front")
    assert list(zip(line.x, line.y, strict=True)) == [(-2, 10)]


def test_outcomes_exclude_each_other_and_differ_in_colour_and_shape() -> None:
    study = config(max_forgetting=5)
    trials = [
        at(0, 20, 1, study=study),
        at(1, 10, 1, study=study),
        at(2, 30, 9, study=study),
        trial(3, [values(5, 1)], study=study, state=TrialState.PRUNED),
        trial(4, study=study, state=TrialState.FAILED, error="broke"),
    ]
    made = record(trials, study=study)
    groups = by_outcome(made, select(made.trials, made.objective))
    numbers = {outcome: [found.number for found in group] for outcome, group in groups.items()}
    assert numbers == {
        Outcome.SELECTED: [0],
        Outcome.COMPLETE: [1],
        Outcome.INFEASIBLE: [2],
        Outcome.PRUNED: [3],
    }
    for aspect in ("color", "symbol"):
        assert len({MARKERS[outcome][aspect] for outcome in Outcome}) == len(Outcome)


def test_the_trade_off_shows_every_scored_trial_and_the_bound() -> None:
    study = config(max_forgetting=5)
    made = record([at(0, 20, 1, study=study), at(1, 30, 9, study=study)], study=study)
    figure = figures(made)["trade_off"]
    assert (trace(figure, "selected").x, trace(figure, "selected").y) == ((1,), (20,))
    assert (trace(figure, "infeasible").x, trace(figure, "infeasible").y) == ((9,), (30,))
    assert (trace(figure, "base").x, trace(figure, "base").y) == ((0,), (0,))
    assert [shape.x0 for shape in figure.layout.shapes] == [5]
    # Equal scores: gain = score + weight x forgetting, with score 19 and weight 1.
    line = [found for found in figure.data if found.name == "equal score"][-1]
    assert [y - x for x, y in zip(line.x, line.y, strict=True)] == pytest.approx([19, 19])
    assert "gate_up" in trace(figure, "selected").text[0]


def test_without_a_bound_none_is_drawn() -> None:
    assert not figures(record([at(0, 20, 1)]))["trade_off"].layout.shapes


def test_a_panel_a_subset_with_the_others_in_grey() -> None:
    trials = [at(0, 20, 1), at(1, 10, 1, subset="full", learning_rate=1e-4)]
    figure = figures(record(trials))["learning_rates"]
    assert [note.text for note in figure.layout.annotations] == ["gate_up", "full"]
    assert [found.type for found in figure.select_xaxes()] == ["log", "log"]
    grey, own = figure.data[:2]
    assert (grey.x, grey.y) == ((1e-4,), (9,))
    assert (own.x, own.y) == ((1e-3,), (19,))


def test_held_out_changes_at_each_subsets_best_rate() -> None:
    trials = [at(0, 20, 1), at(1, 10, 3), at(2, 10, 4, subset="full")]
    heat = figures(record(trials))["held_out"].data[0]
    assert heat.x == ("colour", "shape")
    assert heat.y == ("gate_up 1.0e-3", "full 1.0e-3")
    assert [list(row) for row in heat.z] == [[-1, -1], [-4, -4]]


def test_rungs_are_drawn_from_the_untouched_model_on() -> None:
    figure = figures(record([trial(0, [values(10, 2), values(20, 1)])]))["over_steps"]
    gain, forgetting = figure.data
    assert (gain.x, gain.y) == ((0, 20, 40), (0, 10, 20))
    assert forgetting.y == (0, 2, 1)


def test_the_plot_of_rungs_says_on_how_many_samples_they_are() -> None:
    study = config()
    early = study.evaluation.model_copy(update={"rung_samples": 50})
    for each, told in ((study, False), (study.model_copy(update={"evaluation": early}), True)):
        made = record([trial(0, [values(10, 2), values(20, 1)])], study=each)
        (plot,) = (
            p for p in study_plots(made, select(made.trials, made.objective)) if p.name == "over_steps"
        )
        assert ("All but those at the last step are of the first 50 samples" in plot.caption) is told


def test_the_lines_of_an_outcome_are_one_trace_with_gaps() -> None:
    """A browser takes seconds over a trace a trial, with a thousand of them."""
    pruned = [trial(number, [values(10, 2)], state=TrialState.PRUNED) for number in (0, 1)]
    complete = trial(2, [values(10, 2), values(20, 1)])
    figure = figures(record([*pruned, complete]))["over_steps"]
    gain, chosen, *_ = figure.data
    assert len(figure.data) == 4
    assert gain.x == (0, 20, None, 0, 20)
    assert gain.y == (0, 10, None, 0, 10)
    assert [text.partition("</b>")[0] for text in gain.text if text] == ["<b>trial 0"] * 2 + [
        "<b>trial 1"
    ] * 2
    assert chosen.x == (0, 20, 40)


def test_a_thousand_trials_stay_few_enough_to_draw() -> None:
    """Every 25th of 1,000 lines is drawn, and of 500 other subsets' trials every 4th stays in grey."""
    trials = [
        trial(number, [values(10, 2)], state=TrialState.PRUNED, subset="full" if number % 2 else "gate_up")
        for number in range(1000)
    ]
    trials.append(trial(1000, [values(10, 2), values(20, 1)]))
    made = figures(record(trials))
    lines = made["over_steps"].data[0]
    assert [text.partition("</b>")[0] for text in lines.text[::3]] == [
        f"<b>trial {n}" for n in range(0, 1000, 25)
    ]
    grey = [found for found in made["learning_rates"].data if found.hoverinfo == "skip"]
    assert [len(found.x) for found in grey] == [125, 126]
    # What stands for a trial itself is never left out.
    assert sum(len(found.x) for found in made["history"].data if found.mode == "markers") == 1001


def test_best_so_far_never_falls_and_ignores_infeasible_trials() -> None:
    study = config(max_forgetting=5)
    scores = [(-5, 0), (10, 1), (60, 30), (5, 0), (20, 2)]
    trials = [at(number, *score, study=study) for number, score in enumerate(scores)]
    line = trace(figures(record(trials, study=study))["history"], "best so far")
    assert line.y == (0, 9, 9, 9, 18)


def test_seconds_are_those_of_training_and_evaluation() -> None:
    found = trace(figures(record([at(0, 20, 1)]))["cost"], "selected")
    assert found.x == (12,)


def test_plots_without_data_are_left_out() -> None:
    assert figures(record()) == {}
    failed = trial(0, state=TrialState.FAILED, error="broke")
    assert figures(record([failed])) == {}
    pruned = trial(0, [values(1, 1)], state=TrialState.PRUNED)
    assert set(figures(record([pruned]))) == {"trade_off", "learning_rates", "cost"}
    without_kl = [at(0, 1, 1, kl=math.nan), at(1, 2, 1, kl=math.nan)]
    assert "drift" not in figures(record(without_kl))
    assert "drift" in figures(record([at(0, 1, 1), at(1, 2, 1)]))


def test_one_trial_and_a_single_subset_are_enough() -> None:
    study = config(subsets=["gate_up"])
    made = figures(record([at(0, 20, 1, study=study)], study=study))
    assert set(made) == {"trade_off", "learning_rates", "held_out", "cost"}


def test_labels_are_escaped() -> None:
    base = {"count": 10.0, "clock": 20.0, "<b>colour</b>": 90.0}
    study = config(held_out=["<b>colour</b>"])
    made = record([trial(0, [{"count": 40.0}], study=study, base=base)], study=study, base=base)
    assert figures(made)["held_out"].data[0].x == ("&lt;b&gt;colour&lt;/b&gt;",)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_colour_scale_is_the_page_at_no_change(mode: plot_theme.Mode) -> None:
    scale = plot_theme.template(mode).layout.coloraxis.colorscale
    colours = dict(scale)
    assert colours[0.0].upper() == plot_theme.VERMILLION.upper()
    assert colours[1.0].upper() == plot_theme.BLUE.upper()
    assert colours[0.5] == plot_theme.template(mode).layout.hoverlabel.bgcolor


def test_labels_that_would_cover_each_other_are_thinned_out() -> None:
    """Gains of 29 and 30 lie within a twenty-fifth of the height; the selected recipe keeps its label."""
    trials = [at(0, 29, 1, learning_rate=1e-4), at(1, 30, 1.5, learning_rate=2e-4), at(2, 10, 0)]
    figure = figures(record(trials))["trade_off"]
    labels = next(found for found in figure.data if found.mode == "text")
    assert [label.strip() for label in labels.text] == ["gate_up 2.0e-4", "gate_up 1.0e-3"]


def test_small_changes_within_the_noise_stay_pale() -> None:
    """With 100 samples the error of a change from 80 to 79 is the root of (1600 + 1659) / 99 = 32.9: 5.74."""
    figure = figures(record([at(0, 20, 1)]))["held_out"]
    assert figure.layout.coloraxis.cmax == pytest.approx(2 * math.sqrt(3259 / 99))
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax


def test_long_names_are_broken_where_a_reader_would() -> None:
    assert in_lines("gate_up 1.0e-3") == "gate_up 1.0e-3"
    assert in_lines("random(sa_proj+gate_up,1) last:1/2") == "random(sa_proj+<br>gate_up,1) last:1/2"
    assert in_lines("sa_proj first:1/3 lora") == "sa_proj first:1/3<br>lora"
    assert in_lines("a_word_without_any_place_to_break") == "a_word_without_any_place_to_break"


def test_a_label_without_room_on_the_left_stands_on_the_right() -> None:
    """The front's two points lie near the left edge and the right one, where there is room for the name."""
    trials = [
        at(0, 10, 0.5, subset="sa_proj+gate_up", layers="last:1/2"),
        at(1, 30, 20, subset="sa_proj+gate_up"),
    ]
    labels = next(t for t in figures(record(trials))["trade_off"].data if t.mode == "text")
    assert dict(zip(labels.text, labels.textposition, strict=True)) == {
        " sa_proj+gate_up last:1/2 1.0e-3": "top right",
        "sa_proj+gate_up 1.0e-3 ": "top left",
    }
