"""What a study found: errors, the best of each group, rates at an edge, cost and caveats, by hand."""

from __future__ import annotations

import math

import pytest
from made_study import GOOD, HARMFUL, LORA, MODEST, config, record, trial

from search import findings
from search.results import TrialState
from search.selection import select


def test_standard_errors_by_hand() -> None:
    """With n = 100 samples of 0 or 100 points, a mean v has a variance of v (100 - v) / 99.

    count: 10 x 90 = 900 at the base and 40 x 60 = 2400 tuned; clock: 1600 and 2400; colour: 900 and 1056;
    shape: 1600 and 1824.
    """
    made = record([trial(0, [GOOD])])
    rung = made.trials[0].last
    count = findings.changes(made, rung)[0]
    assert (count.task, count.target, count.n, count.base, count.tuned, count.change) == (
        "count",
        True,
        100,
        10,
        40,
        30,
    )
    assert count.base_stderr == pytest.approx(math.sqrt(900 / 99))
    assert count.stderr == pytest.approx(math.sqrt(3300 / 99))
    gain = math.sqrt((3300 + 4000) / 99) / 2
    forgetting = math.sqrt((1956 + 3424) / 99) / 2
    assert findings.gain_stderr(made, rung) == pytest.approx(gain)
    assert findings.forgetting_stderr(made, rung) == pytest.approx(forgetting)
    assert findings.score_stderr(made, rung) == pytest.approx(math.sqrt(gain**2 + forgetting**2))


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


def test_the_caveats_are_those_that_apply() -> None:
    made = record([trial(0, [GOOD], learning_rate=1e-1), trial(1, [MODEST], learning_rate=1e-1)])
    notes = " ".join(findings.caveats(made, select(made.trials, made.objective)))
    assert "search split" in notes
    assert "seed 5" in notes
    assert "The best of 2 noisy scores" in notes
    assert "at the upper end of the interval searched for gate_up" in notes
    assert "full (0), projector (0)" in notes
    assert "Pruned" not in notes
    alone = record([trial(0, [GOOD])])
    assert "winner's curse" not in " ".join(findings.caveats(alone, select(alone.trials, alone.objective)))
    assert findings.caveats(record(), select([], record().objective)) == ()


def test_scores_of_pruned_trials_on_some_samples_are_told_apart() -> None:
    study = config()
    early = study.evaluation.model_copy(update={"rung_samples": 50})
    study = study.model_copy(update={"evaluation": early})
    trials = [trial(0, [MODEST, GOOD]), trial(1, [MODEST], state=TrialState.PRUNED)]
    for ended, of, told in ((trials, study, True), (trials[:1], study, False), (trials, config(), False)):
        made = record(ended, study=of)
        notes = " ".join(findings.caveats(made, select(made.trials, made.objective)))
        assert ("Pruned trials were scored on the first 50 samples of each task alone" in notes) is told
