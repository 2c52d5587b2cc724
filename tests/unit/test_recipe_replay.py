"""Simulated studies on a table: deterministic, counted right, and blind to what has not happened yet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_table import made_rows, made_table, table_of
from optuna.trial import Trial
from rich.console import Console

from benchmarks.recipe_table import proposals, replay
from benchmarks.recipe_table.grid import Grid
from benchmarks.recipe_table.outcomes import Outcomes, of_the_grid, within
from benchmarks.recipe_table.page import BEGIN, END, FIGURES, PAGE, page_with_tables
from benchmarks.recipe_table.simulation import Tried, simulate
from benchmarks.recipe_table.trainings import Trained, TrainingFiles
from benchmarks.recipe_table.variants import Variant, rungs_of, variants
from benchmarks.recipe_table.writing import write_table
from search.sampler import RecipeSampler
from search.settings.search_config import PruningConfig

BLIND = Variant(sampler="random", pruning=None, start="nothing")
HALVING = PruningConfig(first_rung=1, reduction_factor=2)
STEP, EVALUATION = 4 / 3, 0.5
"""Seconds of the made table: see the test of its median speed."""


@pytest.mark.parametrize("variant", [Variant(pruning=HALVING), replace(BLIND, pruning=HALVING, finalists=2)])
def test_a_study_is_the_same_each_time_and_another_with_another_seed(variant: Variant) -> None:
    table = made_table()
    studies = [simulate(table, variant, seed=seed, budget=40, workers=3) for seed in (5, 5, 6)]
    assert studies[0] == studies[1]
    assert studies[0].tried != studies[2].tried


def test_steps_and_seconds_are_counted_as_by_hand() -> None:
    """Without halving, seven steps suffice for three trials of two; the seventh is left.

    A trial takes two steps and an evaluation. One worker does them one after another; of two workers, one
    does two of them.
    """
    each = 2 * STEP + EVALUATION
    for workers, seconds in ((1, 3 * each), (2, 2 * each), (3, each), (9, each)):
        study = simulate(made_table(), BLIND, seed=0, budget=7, workers=workers)
        assert (study.steps, study.trials, len(study.tried)) == (6, 3, 3)
        assert study.seconds == pytest.approx(seconds)


def test_a_trial_that_drifts_is_stopped_and_costs_its_steps_alone() -> None:
    """At any rate the drift is at least 0.1: with a bound below, each trial ends after its first step.

    A trial may begin while two steps are left: with five, after the first, second, third and fourth, of which
    each leaves one fewer, no fifth one may.
    """
    study = simulate(made_table(), replace(BLIND, drift=0.05), seed=0, budget=5)
    assert (study.steps, study.trials, study.tried) == (4, 4, ())
    assert {event.kind for event in study.events} == {"start", "stop"}
    assert study.seconds == pytest.approx(4 * (STEP + EVALUATION))
    assert study.regret == pytest.approx(45), "nothing was trained to its end: the base stays, of score 0"
    assert len(simulate(made_table(), replace(BLIND, drift=10.1), seed=0, budget=5).tried) == 2


def test_halving_stops_what_is_behind_at_the_first_rung() -> None:
    """The first trial always goes on; with the factor 2, what is below the upper half of the rung stops."""
    study = simulate(made_table(), replace(BLIND, pruning=HALVING), seed=1, budget=60)
    stopped = [event for event in study.events if event.kind == "stop"]
    assert stopped
    assert all(event.step == 1 for event in stopped)
    assert study.steps == len(stopped) + 2 * len(study.tried) <= 60
    assert study.trials == len(stopped) + len(study.tried)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_proposal_knows_what_has_happened_and_nothing_else(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a trial is proposed the sampler has been told the rungs that were reached by then, and no other.

    A rung is reached after its steps, and an evaluation at each rung, from the start of its trial on.
    """
    told: list[tuple[str, int]] = []
    known: dict[str, set[tuple[str, int]]] = {}

    class Spied(RecipeSampler):
        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            known[trial_id] = set(told)
            return super().suggest(trial_id)

        def _report(self, trial: Trial, result: Mapping[str, Any]) -> None:
            told.append((f"trial {trial.number}", result["step"]))
            super()._report(trial, result)

        def _tell(self, trial: Trial, result: Mapping[str, Any] | None) -> None:
            assert result is not None
            told.append((f"trial {trial.number}", result["step"]))
            super()._tell(trial, result)

    monkeypatch.setattr(proposals, "RecipeSampler", Spied)
    study = simulate(
        made_table(), Variant(pruning=HALVING, start="nothing"), seed=2, budget=60, workers=workers
    )
    began = {f"trial {each.trial}": each.time for each in study.events if each.kind == "start"}
    reached = {(name, step): began[name] + step * (STEP + EVALUATION) for name, step in told}
    assert len(began) > 15
    for name, time in began.items():
        for rung in known[name]:
            assert reached[rung] <= time + 1e-9
        for rung, at in reached.items():
            if at < time - 1e-9:
                assert rung in known[name]
    running = {0: 0}
    for place, event in enumerate(study.events):
        running[place + 1] = running[place] + {"start": 1, "rung": 0}.get(event.kind, -1)
    assert max(running.values()) == workers


@pytest.mark.parametrize("seed", range(5))
def test_more_workers_end_no_later(seed: int) -> None:
    """Of a study whose proposals do not depend on outcomes; another one may do other trials."""
    rows = made_rows()
    rows.loc[rows.subset == "mlp", "cost/train_flops"] *= 3
    table = table_of(rows)
    studies = [simulate(table, BLIND, seed=seed, budget=60, workers=n) for n in (1, 2, 3, 8, 100)]
    assert len({study.steps for study in studies}) == 1
    assert len({frozenset(map(_key, study.tried)) for study in studies}) == 1
    seconds = [study.seconds for study in studies]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] < seconds[0] / 4


def _key(tried: Tried) -> tuple[object, ...]:
    return *tried.params.values(), tried.score, tried.seed


def test_finalists_are_trained_again_within_the_budget() -> None:
    """Ten steps: two finalists of two steps are set aside, three trials are begun with the other six.

    One of two seeds is left for each finalist, so that their means are the true scores.
    """
    study = simulate(made_table(), replace(BLIND, finalists=2), seed=0, budget=10)
    assert (study.trials, study.steps) == (3, 10)
    assert study.seconds == pytest.approx(5 * (2 * STEP + EVALUATION))
    table = made_table()
    ranked = sorted(study.tried, key=lambda each: -each.score)[:2]
    assert study.regret == pytest.approx(45 - max(table.true_score(**each.params) for each in ranked))


def test_what_was_tried_elsewhere_comes_first() -> None:
    before = [
        Tried({"subset": "mlp", "learning_rate": rate}, score, 0)
        for rate, score in ((2e-3, 1.0), (5e-2, 9.0), (1e-2, 4.0))
    ]
    started = replace(BLIND, start="best elsewhere")
    study = simulate(made_table(), started, seed=0, budget=8, elsewhere=before)
    assert [each.params["learning_rate"] for each in study.tried[:3]] == [5e-2, 1e-2, 2e-3]
    told = replace(BLIND, sampler="tpe", start="results elsewhere")
    with_them, without = (
        simulate(made_table(), told, seed=0, budget=80, elsewhere=known) for known in (before * 5, ())
    )
    assert with_them.tried != without.tried


def test_the_grid_goes_through_its_rates_in_turn() -> None:
    """Twelve steps are six trials: three rates, equally far apart in logs, for each of two subsets."""
    study = simulate(made_table(), replace(BLIND, sampler="grid"), seed=3, budget=12)
    rates = sorted({each.params["learning_rate"] for each in study.tried})
    assert len(rates) == 3
    assert [rates[1] / rates[0], rates[2] / rates[1]] == pytest.approx([100 ** (1 / 3)] * 2)
    found = {(each.params["subset"], each.params["learning_rate"]) for each in study.tried}
    assert found == {(subset, rate) for subset in ("full", "mlp") for rate in rates}
    other = simulate(made_table(), replace(BLIND, sampler="grid"), seed=4, budget=12)
    assert rates[0] not in {each.params["learning_rate"] for each in other.tried}


def test_published_recipes_are_tried_first_at_the_rates_that_were_asked_for() -> None:
    """From 1e-3 to 1e-1, a sixth of the way is 10^(-3 + 1/3), and five sixths 10^(-1 - 1/3)."""
    found = simulate(made_table(), replace(BLIND, start="three rates"), seed=0, budget=12).tried
    assert [each.params["subset"] for each in found] == ["full", "mlp"] * 3
    logs = [math.log10(each.params["learning_rate"]) for each in found]
    assert logs == pytest.approx([-2, -2, -3 + 1 / 3, -3 + 1 / 3, -1 - 1 / 3, -1 - 1 / 3])


def test_with_halving_a_grid_expects_more_trials() -> None:
    """With the factor 2, a trial takes 25, half of the time 25 more and a quarter of the time 50 more: 50."""
    halving = Variant(pruning=PruningConfig(first_rung=25, reduction_factor=2))
    assert halving.trials(43, (25, 50, 100)) == 86
    assert BLIND.trials(43, (100,)) == 43


@pytest.mark.parametrize(
    ("first", "factor", "rungs"),
    [(25, 2, (25, 50, 100)), (25, 3, (25, 100)), (25, 4, (25, 100)), (50, 2, (50, 100)), (50, 4, (50, 100))],
)
def test_rungs_are_those_of_halving_that_the_table_has(
    first: int, factor: int, rungs: tuple[int, ...]
) -> None:
    pruning = PruningConfig(first_rung=first, reduction_factor=factor)
    assert rungs_of(pruning, None, (25, 50, 100)) == rungs


def test_no_variant_is_there_twice() -> None:
    assert rungs_of(None, None, (25, 50, 100)) == (100,)
    assert rungs_of(None, 0.3, (25, 50, 100)) == (25, 100)
    for elsewhere in (False, True):
        names = [variant.name for variant in variants(elsewhere=elsewhere)]
        assert len({*names}) == len(names)
        assert any("elsewhere" in name for name in names) is elsewhere


def test_the_whole_grid_once_is_as_good_as_its_seeds_allow() -> None:
    """Of `mlp` at 1e-1 one seed says 60, more than anything else; the other 30, less than `full`'s 36 or 44.

    So half of the time it is selected, with a regret of 0, and else `full` at 1e-2, with 45 - 40.
    """
    found = of_the_grid(made_table(), 400, 0.5)
    assert {round(regret, 6) for regret in found.regrets} == {0.0, 5.0}
    assert within(found) == pytest.approx(0.5, abs=0.1)
    assert set(found.shares) == {0.5}


def test_figures_count_what_is_within_a_point() -> None:
    outcomes = Outcomes(
        regrets=(0.0, 1.0, 1.1, 5.9), shares=(0.1,) * 4, seconds=(1.0,) * 4, trials=(2.0,) * 4
    )
    figures = outcomes.figures()
    assert (figures["within"], figures["mean_regret"], figures["median_regret"]) == (0.5, 2.0, 1.05)
    assert figures["within_stderr"] == 0.25


def test_a_replay_reports_on_targets_that_it_was_not_chosen_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "variants", lambda elsewhere: (BLIND, replace(BLIND, finalists=1)))
    monkeypatch.setattr(replay, "DEFAULT", BLIND)
    monkeypatch.setattr(replay, "WORKERS", (1, 4))
    screen = io.StringIO()
    console = Console(file=screen, width=120)
    figures = replay.compare(_written(tmp_path), studies=3, processes=1, console=console)
    assert (figures["chosen_on"], figures["reported_on"]) == (["counting"], ["clock"])
    assert {*figures["variants"]} == {BLIND.name, replace(BLIND, finalists=1).name}
    assert figures["chosen"] in figures["variants"]
    for by_target in figures["variants"].values():
        assert {*by_target} == {"counting", "clock"}
        assert all(each["share_of_steps"] <= 0.15 for each in by_target.values())
    assert "the whole grid, once" in screen.getvalue()


def test_without_a_table_there_is_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table with a whole seed"):
        replay.compare(tmp_path / "none.parquet", studies=1, processes=1, console=Console())


def _written(folder: Path) -> Path:
    """Write a table of two targets."""
    grid = Grid(
        model="made",
        study=folder / "study.yaml",
        targets=("counting", "clock"),
        subsets=("full", "projector"),
        learning_rates=(1e-3, 1e-2),
        seeds=(0, 1, 2, 3, 4),
        rungs=(25, 100),
    )
    costs = {"cost/train_flops": 4.0, "cost/train_seconds": 2.0, "cost/eval_seconds": 3.0}
    for target in grid.targets:
        made_from = {"targets": [target], "held_out": ["old"], "versions": {}}
        files = TrainingFiles.begun(folder / "made" / target, made_from)
        files.write_base({f"value/{target}": 0.0, "value/old": 80.0})
        for number, cell in enumerate(grid.cells(target)):
            values = {f"value/{target}": float(number), "value/old": 75.0, "drift/kl_held_out": 0.1}
            files.write(Trained(cell=cell, rungs={step: values | costs for step in grid.rungs}))
    write_table(grid, folder, folder / "made.parquet", early=None)
    return folder / "made.parquet"


def test_the_tables_of_the_page_are_those_of_the_stored_figures() -> None:
    page, figures = PAGE.read_text(encoding="utf-8"), json.loads(FIGURES.read_text(encoding="utf-8"))
    assert page == page_with_tables(page, figures), "run: python -m benchmarks.recipe_table.page"
    assert page_with_tables(page, figures | {"studies": -1}) != page


def test_a_goal_is_reached_only_on_targets_that_had_no_part_in_the_choice() -> None:
    page, figures = f"{BEGIN}{END}", json.loads(FIGURES.read_text(encoding="utf-8"))
    each = next(iter(figures["variants"][figures["chosen"]].values()))
    for share, reported, says in (
        (1.0, [], "not shown yet"),
        (1.0, ["clock"], "It is reached"),
        (0.9, ["clock"], "It is not reached"),
    ):
        variants = {
            figures["chosen"]: {"counting": {**each, "within": 1.0}, "clock": {**each, "within": share}}
        }
        changed = {"variants": variants, "chosen_on": ["counting"], "reported_on": reported}
        assert says in page_with_tables(page, figures | changed)
