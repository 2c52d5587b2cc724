"""What a study cost beside full tuning, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_study import GOOD, MODEST, finalist, record, trial

from search import wording
from search.decision.evidence import FinalistRun
from search.findings.costs import Spent, compared, study_costs, study_metrics, with_co2
from search.records.study_record import StudyRecord
from search.report import render_report
from search.report_sections.costs import cost_notes, cost_rows, cost_sentence
from search.results import PointResult, TrialResult, TrialState
from search.selection import select
from spaces.points import Identity, Interpolation, Member, Point, Soup

METRICS = {
    "cost/train_flops": 3e12,
    "cost/full_train_flops": 9e12,
    "cost/train_seconds": 20.0,
    "cost/eval_seconds": 10.0,
    "cost/gpu_seconds": 0.0,
    "cost/cpu_seconds": 60.0,
    "cost/energy_measured_joules": 0.0,
    "cost/energy_estimated_joules": 240.0,
    "cost/stored_bytes": 1000.0,
    "cost/full_stored_bytes": 8000.0,
    "cost/peak_memory_bytes": 5000.0,
}

EVALUATED = {
    "cost/train_seconds": 0.0,
    "cost/eval_seconds": 2.0,
    "cost/gpu_seconds": 0.0,
    "cost/cpu_seconds": 4.0,
    "cost/energy_measured_joules": 0.0,
    "cost/energy_estimated_joules": 16.0,
}
"""Of a point, which trains nothing."""


def spent(made: TrialResult, **more: float) -> TrialResult:
    """Add costs to a trial's last rung; `cpu_seconds` is `cost/cpu_seconds`."""
    named = {f"cost/{name}": value for name, value in more.items()}
    *earlier, last = made.rungs
    return replace(made, rungs=(*earlier, replace(last, metrics={**last.metrics, **METRICS, **named})))


def made_study() -> StudyRecord:
    """Make a study: full tuning is a trial, another one was stopped half way, a point was evaluated."""
    best = spent(trial(0, [MODEST, GOOD]))
    full = trial(1, [MODEST], state=TrialState.PRUNED)
    full = spent(full, train_flops=5e12, full_train_flops=5e12, stored_bytes=8000, peak_memory_bytes=7000)
    failed = trial(2, state=TrialState.FAILED, error="broke")
    point = Point(trial=0, step=40, transform=Interpolation(alpha=0.5))
    measured = replace(trial(0, [GOOD]).last, metrics=EVALUATED)
    return replace(
        record([best, full, failed]), points=(PointResult(number=0, point=point, trial=best, rung=measured),)
    )


def test_full_tuning_is_scaled_by_flops_but_for_the_evaluation() -> None:
    """Three times the FLOPs: 3 x 20 s + 10 s is 70 s instead of 30, so 7/3 of all that goes with time."""
    found = compared({**METRICS, "cost/gpu_seconds": 30.0, "cost/energy_measured_joules": 60.0})
    assert found.full == Spent(
        flops=9e12,
        seconds=70.0,
        gpu_seconds=pytest.approx(70.0),
        core_seconds=pytest.approx(140.0),
        measured=0.0,
        estimated=pytest.approx(300.0 * 7 / 3),
        stored=8000.0,
    )
    assert found.compute_share == pytest.approx(1 / 3)
    assert found.stored_share == 0.125


def test_a_study_s_costs_are_those_of_trials_points_and_finalists() -> None:
    """The third is a finalist's: 3 + 5 + 3 TFLOPs of 9 + 5 + 9; 60 + 60 + 60 core-seconds, the point's 4."""
    made = replace(made_study(), retraining=(METRICS,))
    costs = study_costs(made, select(made.trials, made.objective))
    assert (costs.study.spent.flops, costs.study.full.flops) == (11e12, 23e12)
    assert costs.study.spent.core_seconds == 184
    # 140 for either of the runs that train a third of the FLOPs; what was full tuning stays as it is.
    assert costs.study.full.core_seconds == pytest.approx(140 + 60 + 140 + 4)
    assert (costs.study.spent.stored, costs.study.full.stored) == (10_000, 24_000)
    assert costs.study.spent.joules == 240 * 3 + 16
    assert (costs.peak_memory, costs.trained) == (7000, 3)
    assert costs.selected is not None
    assert costs.selected.spent.flops == 3e12
    assert study_metrics(costs, 450.0) == {
        "cost/train_flops": 11e12,
        "cost/full_train_flops": 23e12,
        "cost/gpu_seconds": 0.0,
        "cost/cpu_seconds": 184.0,
        "cost/peak_memory_bytes": 7000.0,
        "cost/stored_bytes": 10_000.0,
        "cost/full_stored_bytes": 24_000.0,
        "cost/energy_measured_joules": 0.0,
        "cost/energy_estimated_joules": 736.0,
        "cost/full_energy_estimated_joules": pytest.approx(560 * 2 + 240 + 16),
        # 736 J are 736 / 3.6e6 kWh.
        "cost/co2_estimated_grams": pytest.approx(0.092),
        "cost/full_co2_estimated_grams": pytest.approx(0.172),
    }


def test_a_trial_s_co2_follows_from_all_its_energy() -> None:
    """1.8 MJ measured and as much estimated are a kWh."""
    metrics = {"score": 1.0, "cost/energy_measured_joules": 1.8e6, "cost/energy_estimated_joules": 1.8e6}
    assert with_co2(metrics, 481.0) == {**metrics, "cost/co2_estimated_grams": 481.0}
    assert with_co2({"score": 1.0}, 481.0) == {"score": 1.0}


def test_the_report_and_the_closing_panel_say_what_was_saved() -> None:
    made = made_study()
    selection = select(made.trials, made.objective)
    rows = {row["name"]: row for row in cost_rows(made, selection)}
    assert rows["training compute"]["study"] == ["8.00 TFLOP, 57 % of", "14.0 TFLOP"]
    assert rows["training compute"]["selected"] == ["3.00 TFLOP, 33 % of", "9.00 TFLOP"]
    assert rows["CPU time"]["study"] == ["2m 04s, 61 % of", "3m 24s"]
    # 496 J are 0.138 Wh, and 66 mg at the world's 481 g/kWh.
    assert rows["energy"]["known"] == "estimated; fully tuned: scaled by FLOPs"
    assert rows["energy"]["study"] == ["138 mWh, 61 % of", "227 mWh"]
    assert rows["CO₂ equivalents"]["study"][0] == "66.3 mg, 61 % of"
    assert rows["parameters stored"]["selected"] == ["1000 B, 12 % of", "7.8 KiB"]
    page = render_report(made, selection)
    assert "66.3 mg, 61 % of" in page
    assert "at 481 g/kWh" in page
    assert "2 runs of training" in cost_notes(made, selection)
    assert cost_sentence(study_costs(made, selection)) == (
        "57 % of the compute of tuning everything fully, 56 % of its storage; 138 mWh of energy, estimated"
    )


def test_a_soup_cost_what_all_its_members_did() -> None:
    """3 + 5 TFLOPs of 9 + 5; 60 + 60 core-seconds; the second member's two steps are of one training."""
    first, second = trial(0, [GOOD]), trial(1, [MODEST], subset="full")
    other = spent(second, train_flops=5e12, full_train_flops=5e12, stored_bytes=8000)
    members = (Member(0, 40), Member(1, 40), Member(1, 20))
    best = PointResult(
        number=0,
        point=Point(0, 40, Soup(members)),
        trial=first,
        rung=trial(0, [{**GOOD, "clock": 90.0}]).last,
    )
    made = replace(record([spent(first), other]), points=(best,))
    selection = select(made.trials, made.objective, made.points)
    assert selection.point is best
    found = study_costs(made, selection).selected
    assert found is not None
    assert (found.spent.flops, found.full.flops) == (8e12, 14e12)
    assert (found.spent.core_seconds, found.spent.stored) == (120.0, 9000.0)


def test_a_point_whose_weights_stay_is_stored_beside_its_trial() -> None:
    """9,000 bytes of the trials and 600 of the point's; fully tuned 16,000 and the whole model's 8,000."""
    made = made_study()
    (point,) = made.points
    written = {**EVALUATED, "cost/stored_bytes": 600.0, "cost/full_stored_bytes": 8000.0}
    point = replace(point, rung=replace(point.measured, metrics=written))
    costs = study_costs(replace(made, points=(point,)), select(made.trials, made.objective)).study
    assert (costs.spent.stored, costs.full.stored) == (9600, 24_000)
    assert costs.spent.core_seconds == 60 + 60 + 4


def test_an_earlier_rung_cost_what_its_trial_had_until_then() -> None:
    """Taken after half of the steps: 1 TFLOP and 20 core-seconds; the study had the whole trial."""
    whole = spent(trial(0, [GOOD, MODEST]))
    half = {**METRICS, "cost/train_flops": 1e12, "cost/full_train_flops": 3e12, "cost/cpu_seconds": 20.0}
    early = replace(whole.rungs[0], metrics=half)
    whole = replace(whole, rungs=(early, whole.last))
    point = PointResult(number=0, point=Point(0, early.step, Identity()), trial=whole, rung=early)
    made = replace(record([whole]), points=(point,))
    selection = select(made.trials, made.objective, made.points)
    assert selection.point is point
    costs = study_costs(made, selection)
    assert costs.selected is not None
    assert (costs.selected.spent.flops, costs.selected.full.flops) == (1e12, 3e12)
    assert costs.selected.spent.core_seconds == 20
    assert (costs.study.spent.flops, costs.study.spent.core_seconds) == (3e12, 60)


def test_a_finalist_that_is_a_point_is_evaluated_anew_for_each_seed() -> None:
    """60 + 60 core-seconds of the trials, 4 of the point and 4 of each of its runs on two seeds."""
    made = made_study()
    runs = finalist("point 0", GOOD, GOOD)
    runs = replace(runs, runs=tuple(_measured(run) for run in runs.runs))
    of_trial = finalist("trial 0", GOOD)
    of_trial = replace(of_trial, runs=tuple(_measured(run) for run in of_trial.runs))
    # What a trial's own finalist took is told by its training, which is among `retraining`.
    made = replace(made, finalists=(runs, of_trial))
    assert study_costs(made, select(made.trials, made.objective)).study.spent.core_seconds == 132


def _measured(run: FinalistRun) -> FinalistRun:
    assert run.rung is not None
    return replace(run, rung=replace(run.rung, metrics=EVALUATED))


def test_energy_that_is_measured_in_part_says_so() -> None:
    """180 of 240 J on a GPU."""
    run = spent(
        trial(0, [GOOD]), gpu_seconds=30.0, energy_measured_joules=180.0, energy_estimated_joules=60.0
    )
    made = record([run])
    rows = {row["name"]: row for row in cost_rows(made, select(made.trials, made.objective))}
    assert rows["energy"]["known"] == "75 % of it measured; fully tuned: scaled by FLOPs"
    assert rows["GPU time"]["study"] == ["30s, 43 % of", "1m 10s"]


def test_what_is_not_known_is_left_out() -> None:
    """Of a study before costs were counted, and of a GPU whose energy can't be read."""
    old = record([trial(0, [GOOD])])
    selection = select(old.trials, old.objective)
    assert cost_rows(old, selection) == []
    assert cost_sentence(study_costs(old, selection)) == ""
    assert "full tuning would have" not in render_report(old, selection)
    assert study_metrics(study_costs(old, selection), 481.0) == {}
    unread = spent(trial(0, [GOOD]), energy_measured_joules=math.nan, energy_estimated_joules=math.nan)
    made = record([unread])
    assert "energy" not in {row["name"] for row in cost_rows(made, selection)}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.00 g"),
        (0.0314, "31.4 mg"),
        (9.996, "10.0 g"),
        (999.0, "999 g"),
        (2500.0, "2.50 kg"),
        (1e-9, "0.00 µg"),
        (math.nan, wording.UNKNOWN),
    ],
)
def test_quantities_are_written_with_prefixes(value: float, written: str) -> None:
    assert wording.si(value, "g") == written


def test_shares_are_written_with_two_digits_at_least() -> None:
    assert [wording.percent(share) for share in (0.0042, 0.042, 0.42, 1.42)] == [
        "0.42 %",
        "4.2 %",
        "42 %",
        "142 %",
    ]
