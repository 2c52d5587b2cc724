from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from made_study import GOOD, LORA, config, estimates, finalist, record, trial

from search.decision.choices import Choice
from search.plots import plot_theme
from search.plots.held_out_plot import held_out_changes
from search.plots.importance import FEWEST, importance, in_memory, too_few, varied
from search.plots.marker_sizes import cost_sizes
from search.plots.plot_marks import MARKERS, Outcome, by_outcome, in_lines
from search.plots.rate_plots import learning_rates, rate_curve
from search.plots.study_plots import study_plots
from search.plots.trade_off import trade_off
from search.records.study_record import StudyRecord
from search.results import TrialResult, TrialState
from search.selection import select

GAP = "\u2002\u2002"


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
    grey, gain, forgetting, own = figure.data[:4]
    assert (grey.x, grey.y) == ((1e-4,), (9,))
    assert (own.x, own.y) == ((1e-3,), (19,))
    assert (gain.name, gain.x, gain.y) == ("gain", (1e-3,), (20,))
    assert (forgetting.name, forgetting.x, forgetting.y) == ("forgetting", (1e-3,), (1,))
    assert [shape.x0 for shape in figure.layout.shapes] == [1e-3, 1e-4], "each panel's best rate"


def test_on_a_phone_the_panels_stand_below_each_other() -> None:
    trials = [at(0, 20, 1), at(1, 10, 1, subset="full", learning_rate=1e-4)]
    study = record(trials)
    plot = learning_rates(study, select(study.trials, study.objective))
    assert plot is not None
    assert plot.narrow is not None
    assert [axis.domain for axis in plot.narrow.select_xaxes()] == [(0, 1), (0, 1)]
    wide = list(plot.figure.select_xaxes())
    assert wide[0].domain[1] < wide[1].domain[0]
    # The same traces on the same axes: only the layout differs.
    assert [(t.xaxis, t.yaxis) for t in plot.narrow.data] == [(t.xaxis, t.yaxis) for t in plot.figure.data]


def test_a_curve_of_few_trials_joins_them_and_of_many_their_medians() -> None:
    """Of 16 trials each is a place. 24 rates over 8 bins from 1 to 1e-8: the first bin has 3 gains."""
    few = [at(n, gain, 0, learning_rate=10.0**-n) for n, gain in enumerate((4, 3, 8))]
    assert rate_curve(few, lambda t: t.last.score.target_gain) == [(0.01, 8), (0.1, 3), (1.0, 4)]
    gains = (5.0, 1.0, 3.0)
    many = [at(n, gains[n % 3], 0, learning_rate=10 ** (-8 + n // 3 + (n % 3) / 10)) for n in range(24)]
    curve = rate_curve(many, lambda t: t.last.score.target_gain)
    assert len(curve) == 8
    # The first bin holds 10^-8, 10^-7.9 and 10^-7.8, with gains 5, 1 and 3.
    assert curve[0] == (pytest.approx(10**-7.9), 3.0)


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
    """Every 25th of 1,000 lines is drawn, and of 501 other subsets' trials every 4th stays in grey."""
    trials = [
        trial(number, [values(10, 2)], state=TrialState.PRUNED, subset="full" if number % 2 else "gate_up")
        for number in range(1000)
    ]
    trials += [
        trial(1000 + place, [values(5, 1), values(10, 2)], subset=name)
        for place, name in enumerate(("gate_up", "full"))
    ]
    made = figures(record(trials))
    lines = made["over_steps"].data[0]
    assert [text.partition("</b>")[0] for text in lines.text[::3]] == [
        f"<b>trial {n}" for n in range(0, 1000, 25)
    ]
    grey = [found for found in made["learning_rates"].data if found.mode == "markers" and not found.text]
    assert [len(found.x) for found in grey] == [126, 126]
    # What stands for a trial itself is never left out.
    assert sum(len(found.x) for found in made["history"].data if found.mode == "markers") == 1002


def test_best_so_far_never_falls_and_ignores_infeasible_trials() -> None:
    study = config(max_forgetting=5)
    scores = [(-5, 0), (10, 1), (60, 30), (5, 0), (20, 2)]
    trials = [at(number, *score, study=study) for number, score in enumerate(scores)]
    line = trace(figures(record(trials, study=study))["history"], "best so far")
    assert line.y == (0, 9, 9, 9, 18)


def test_seconds_are_those_of_training_and_evaluation() -> None:
    found = trace(figures(record([at(0, 20, 1)]))["cost"], "selected")
    assert found.x == (12,)


def spent(number: int, seconds: float) -> TrialResult:
    """Return a trial whose training took this long."""
    made = at(number, 20, 1)
    (rung,) = made.rungs
    return replace(made, rungs=(replace(rung, metrics={**rung.metrics, "cost/train_seconds": seconds}),))


def test_the_area_of_a_mark_is_its_cost() -> None:
    """The dearest has 22 pixels; a quarter of its cost has half of them, a hundredth the least, 7."""
    sizes, unit = cost_sizes([spent(0, 100), spent(1, 25), spent(2, 1)])
    assert sizes == {0: 22.0, 1: 11.0, 2: 7.0}
    assert unit == "seconds of training"
    many = [spent(0, 100), *(spent(number, 25) for number in range(1, 400))]
    # Four times as many as there is room for: half the diameter.
    assert cost_sizes(many)[0] == {0: 11.0} | dict.fromkeys(range(1, 400), 7.0)
    assert cost_sizes([spent(0, 10), spent(1, 11)]) == (None, ""), "costs that are alike say nothing"
    assert cost_sizes([spent(0, 10), spent(1, math.nan)]) == (None, "")


def test_the_trade_off_shows_what_was_confirmed_and_the_named_choices() -> None:
    """The search saw GOOD: gain 25, forgetting 3. Confirmed were gain (20 + 10) / 2 and forgetting 1."""
    confirmed = {"count": 30.0, "clock": 30.0, "colour": 89.0, "shape": 79.0}
    study = record([trial(0, [GOOD]), at(1, 10, 0)])
    last = finalist("trial 0", confirmed, half=3)
    found = replace(
        select(study.trials, study.objective),
        estimates={"trial 0": estimates(GOOD, half=2)},
        finalist=last,
        choices=(
            Choice(name="cautious", candidate="trial 1", title="", sentence=""),
            Choice(name="balanced", candidate="trial 0", title="", sentence=""),
            Choice(name="bold", candidate="trial 0", title="", sentence=""),
        ),
    )
    plot = trade_off(replace(study, finalists=(last,)), found)
    assert plot is not None
    star, sure, ring = (trace(plot.figure, n) for n in ("selected", "selected, confirmed", "named choice"))
    assert (star.x, star.y, star.error_y.array, star.error_y.arrayminus) == ((3,), (25,), (2,), (2,))
    assert (sure.x, sure.y, sure.error_x.array) == ((1,), (15,), (3,))
    assert "score +14.0 [11.0, 17.0]" in sure.text[0]
    assert dict(zip(zip(ring.x, ring.y, strict=True), ring.text, strict=True)) == {
        (0, 10): "<b>\u2002cautious</b>",
        (3, 25): "<b>\u2002balanced, bold</b>",
    }
    assert "score +22.0 [20.0, 24.0]" in star.text[0]
    assert "trains 1 K parameters in 10s" in star.text[0]


def test_the_timeline_begins_with_the_first_trial() -> None:
    """Starts 100 and 130 s after an epoch, for 30 and 15 s; one that failed after 6; one without a start."""
    trials = [
        at(0, 20, 1, started=1000.0, seconds=30.0),
        trial(1, [values(5, 1)], state=TrialState.PRUNED, started=1030.0, seconds=15.0),
        trial(2, state=TrialState.FAILED, error="broke", started=1040.0, seconds=6.0),
        at(3, 10, 1),
    ]
    figure = figures(record(trials))["timeline"]
    bars = {bar.name: (bar.base, bar.x, bar.y) for bar in figure.data}
    assert bars == {
        "selected": ((0,), (30,), (0,)),
        "pruned": ((30,), (15,), (1,)),
        "failed": ((40,), (6,), (2,)),
    }
    assert figure.layout.xaxis.title.text == "seconds since the first trial's start"
    assert "timeline" not in figures(record(trials[3:]))


def searched(number: int, rank: int | None = None) -> TrialResult:
    """Return a trial whose gain hangs on its learning rate alone: 1 to 40 points."""
    adapters = {} if rank is None else {**LORA, "lora_rank": rank}
    rate = 10 ** (-5 + number / 10)
    return at(number, number, 1, learning_rate=rate, subset=("full", "gate_up")[number % 2], **adapters)


def test_importance_finds_the_setting_that_decides() -> None:
    study = record([searched(number) for number in range(40)])
    figure = figures(study)["importance"]
    shares = {name: dict(zip(bars.y, bars.x, strict=True)) for bars in figure.data for name in [bars.name]}
    assert set(shares) == {"for a high score", "for a high gain", "for little forgetting"}
    assert shares["for a high gain"]["learning rate"] > 0.9
    assert sum(shares["for a high gain"].values()) == pytest.approx(1)


def test_too_few_trials_for_importance_are_told() -> None:
    few = record([searched(number) for number in range(FEWEST - 1)])
    assert importance(few, select(few.trials, few.objective)) is None
    assert too_few(few) == ("With 29 complete trials that can't be told from chance; it takes 30 at least.")
    alike = record([at(number, number, 1, learning_rate=1e-4 * (1 + number)) for number in range(FEWEST)])
    assert too_few(alike).startswith("Fewer than two settings")


def test_an_absent_setting_is_no_value() -> None:
    trials = [searched(number, rank=(4, 8)[number % 2] if number < 10 else None) for number in range(40)]
    fields = varied(trials)
    assert set(fields) == {"learning_rate", "subset", "method", "lora_rank"}
    study = in_memory(trials)
    assert study.trials[0].params["lora_rank"] == 4
    assert "lora_rank" not in study.trials[20].params
    # To be lowered: score and gain with their signs turned.
    assert study.trials[20].values == [-19, -20, 1]


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
    trials = [at(0, 29, 1, learning_rate=1e-4), at(1, 30, 1.2, learning_rate=2e-4), at(2, 10, 0)]
    figure = figures(record(trials))["trade_off"]
    labels = next(found for found in figure.data if found.mode == "text")
    assert [label.strip() for label in labels.text] == ["gate_up 2.0e-4", "gate_up 1.0e-3"]


def test_small_changes_within_the_noise_stay_pale() -> None:
    """A change of 1 point: the scale ends at half its interval, 5.5, or at 3 where none is known."""
    study = record([at(0, 20, 1)])
    found = select(study.trials, study.objective)
    assert held_out_changes(study, found).figure.layout.coloraxis.cmax == 3
    known = replace(found, estimates={"trial 0": estimates(values(20, 1), half=5.5)})
    axis = held_out_changes(study, known).figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-5.5, 5.5)


def test_what_is_surely_forgotten_is_bold() -> None:
    """Half an interval of 2 points around -1 and -6."""
    study = record([trial(0, [{"count": 40.0, "colour": 89.0, "shape": 74.0}])])
    found = select(study.trials, study.objective)
    known = replace(
        found, estimates={"trial 0": estimates({"count": 40.0, "colour": 89.0, "shape": 74.0}, half=2)}
    )
    heat = held_out_changes(study, known).figure.data[0]
    assert [list(row) for row in heat.text] == [["-1.0", "<b>-6.0</b>"]]
    assert "80.0 to 74.0, -6.0 [-8.0, -4.0], n = 100" in heat.customdata[0][1]


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
        f"{GAP}sa_proj+gate_up last:1/2 1.0e-3": "top right",
        f"sa_proj+gate_up 1.0e-3{GAP}": "top left",
    }
