"""What a study found: changes, the best of each group, rates at an edge and cost, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_study import GOOD, HARMFUL, LORA, MODEST, config, estimates, record, trial

from search.findings import study_findings as findings
from search.results import TrialState
from search.selection import select


def test_changes_by_hand() -> None:
    made = record([trial(0, [GOOD])])
    count, clock, colour, shape = findings.changes(made, made.trials[0].last)
    assert (count.task, count.target, count.n, count.base, count.tuned, count.change) == (
        "count",
        True,
        100,
        10,
        40,
        30,
    )
    assert [(row.task, row.target, row.change) for row in (clock, colour, shape)] == [
        ("clock", True, 20),
        ("colour", False, -2),
        ("shape", False, -4),
    ]
    assert not any(row.sure for row in (count, clock, colour, shape)), "no interval is known"


def test_a_change_is_sure_where_its_interval_leaves_out_zero() -> None:
    """Half an interval of 3 points around +30, +20, -2 and -4: only that of -2 holds 0."""
    made = record([trial(0, [GOOD])])
    rows = findings.changes(made, made.trials[0].last, estimates(GOOD, half=3))
    assert [row.sure for row in rows] == [True, True, False, True]


def test_the_shown_candidate_is_the_selected_one_even_if_another_scores_higher() -> None:
    made = record([trial(0, [GOOD]), trial(1, [MODEST])])
    verdict = select(made.trials, made.objective)
    tied = replace(verdict, winner=made.trials[1])
    kept = replace(verdict, winner=None)
    for found, number in ((verdict, 0), (tied, 1), (kept, 0)):
        shown = findings.shown(found)
        assert shown is not None
        assert shown.trial.number == number
    assert findings.selected(kept) is None


def test_the_rate_of_adapters_is_judged_by_their_own_bounds() -> None:
    study = config()
    bounds = {"gate_up": (1e-5, 1e-3), "lora": (1e-3, 1e-1)}
    space = study.space.model_copy(update={"learning_rate_of": bounds, "methods": ("selective", "lora")})
    study = study.model_copy(update={"space": space})
    made = record([], study=study)
    assert findings.rate_edge(made, trial(0, [GOOD], learning_rate=1e-3)) == "upper"
    assert findings.rate_edge(made, trial(0, [GOOD], learning_rate=1e-3, **LORA)) == "lower"


def test_subsets_are_compared_at_their_own_best_rate() -> None:
    made = record(
        [
            trial(0, [MODEST], learning_rate=1e-3),
            trial(1, [GOOD], learning_rate=8e-2),
            trial(2, [HARMFUL], subset="full"),
            trial(3, [MODEST], subset="full", state=TrialState.PRUNED),
        ]
    )
    rows = findings.group_bests(made, select(made.trials, made.objective))
    assert [row.group for row in rows] == ["gate_up", "full", "projector"]
    assert [row.best.number if row.best else None for row in rows] == [1, 2, None]
    assert [(row.complete, row.trials) for row in rows] == [(2, 2), (1, 2), (0, 0)]


@pytest.mark.parametrize(
    ("rate", "edge"), [(1e-5, "lower"), (2e-5, "lower"), (3e-5, None), (3e-2, None), (5e-2, "upper")]
)
def test_a_rate_within_a_tenth_of_an_end_is_at_the_edge(rate: float, edge: str | None) -> None:
    """The bounds 1e-5 and 1e-1 are four decades apart: a tenth is 0.4, a factor of 2.5."""
    assert findings.rate_edge(record(), trial(0, [GOOD], learning_rate=rate)) == edge


def test_a_feasible_best_comes_before_a_higher_infeasible_score() -> None:
    study = config(max_forgetting=1)
    made = record([trial(0, [GOOD], study=study), trial(1, [MODEST], study=study)], study=study)
    row = findings.group_bests(made, select(made.trials, made.objective))[0]
    assert row.best is not None
    assert (row.best.number, row.feasible) == (1, True)


def test_cost_counts_every_trial_once_up_to_its_last_rung() -> None:
    """10 s for a whole run and 5 s up to half of it; 2 s for each of three evaluations."""
    made = record(
        [
            trial(0, [MODEST, GOOD]),
            trial(1, [MODEST], state=TrialState.PRUNED),
            trial(2, state=TrialState.FAILED, error="broke"),
        ]
    )
    assert findings.cost(made) == findings.Cost(wall=100, train=15, evaluation=6)
