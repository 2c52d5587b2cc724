"""What every sampler that a study may name keeps to, with one objective and with several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampler import RecipeSampler
from search.sampling.aims import AimName
from search.settings.search_config import SamplerName
from search.stores.optuna_store import open_storage
from spaces.presets import preset_params
from spaces.space import Bounds, RecipeSpace

SPACE = RecipeSpace(
    subsets=("full", "sa_proj", "projector"),
    layers=("all", "last:1/2"),
    methods=("selective", "lora"),
    learning_rate=Bounds(1e-5, 1e-2),
    learning_rate_of={"full": Bounds(1e-6, 1e-4), "lora": Bounds(1e-3, 1e-1)},
    lora_rank=(4, 16),
    l2sp_weight=(0.0, 0.01),
    steps=100,
    batch_size=(8, 16),
)
PRESETS = preset_params(SPACE, 1e-3)
ONE: tuple[AimName, ...] = ("score",)
SEVERAL: tuple[AimName, ...] = ("target_gain", "held_out_forgetting", "cost")

every_sampler = pytest.mark.parametrize("sampler", get_args(SamplerName))
one_and_several = pytest.mark.parametrize("objectives", [ONE, SEVERAL], ids=["one", "several"])


def search(
    journal: Path,
    sampler: SamplerName,
    objectives: Sequence[AimName] = SEVERAL,
    *,
    seed: int = 0,
    presets: bool = False,
) -> RecipeSampler:
    return RecipeSampler(
        SPACE,
        presets=PRESETS if presets else {},
        violation=lambda forgetting: forgetting - 5.0,
        storage=open_storage(None, journal),
        study_name="made",
        seed=seed,
        startup_trials=5,
        trials=1000,
        objectives=objectives,
        sampler=sampler,
    )


def drawn_by(search: RecipeSampler, trial: str) -> dict[str, Any]:
    """Return the next trial: what it draws, and what it is to the study."""
    params = search.suggest(trial)
    assert isinstance(params, dict)
    return params


def study(journal: Path) -> optuna.Study:
    """Return the study as another process would read it."""
    return optuna.load_study(study_name="made", storage=JournalStorage(JournalFileBackend(str(journal))))


def told(journal: Path) -> list[FrozenTrial]:
    return [trial for trial in study(journal).trials if trial.state is not TrialState.WAITING]


def result(gain: float, forgetting: float, flops: float = 1e15, step: int = 100) -> dict[str, Any]:
    """Return a rung's result as Tune hands it over; `flops` are those of the whole run."""
    return {
        "score": gain - forgetting,
        "held_out_forgetting": forgetting,
        "step": step,
        "progress": step / 100,
        "metrics/target_gain": gain,
        "metrics/cost/train_flops": flops * step / 100,
    }


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


@every_sampler
@one_and_several
def test_every_proposal_is_a_recipe_of_the_space(
    journal: Path, sampler: SamplerName, objectives: Sequence[AimName]
) -> None:
    """Through presets, chance and what the sampler makes of what it was told, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Tune's, on a busy machine.
        warnings.filterwarnings("ignore", message="Define-by-run function passed")
        made = search(journal, sampler, objectives, presets=True)
        for number in range(30):
            params = drawn_by(made, f"t{number}")
            assert params is not None
            recipe = SPACE.recipe(params)
            bounds = SPACE.bounds(recipe.subset, recipe.method)
            assert bounds.low <= recipe.learning_rate <= bounds.high
            assert ("lora_rank" in params) == (recipe.method == "lora")
            assert params["preset"] == (list(PRESETS)[number] if number < len(PRESETS) else None)
            gain = 3.0 * number % 7
            step = 50 if number % 3 == 1 else 100
            made.on_trial_complete(f"t{number}", result(gain, 2.0 * number % 9, step=step))
    assert {trial.state for trial in told(journal)} == {TrialState.COMPLETE, TrialState.PRUNED}


@every_sampler
def test_the_three_ends_with_several_objectives(journal: Path, sampler: SamplerName) -> None:
    made = search(journal, sampler)
    for trial in ("complete", "pruned", "failed", "unfinite"):
        drawn_by(made, trial)
    made.on_trial_result("complete", result(1.0, 0.5, 4e15, step=25))
    made.on_trial_complete("complete", result(3.0, 2.0, 4e15))
    made.on_trial_result("pruned", result(0.0, 6.0, step=25))
    # Tune hands a stopped trial's last rung to this call alone.
    made.on_trial_complete("pruned", result(-1.0, 7.5, step=50))
    made.on_trial_complete("failed", result(9.0, 0.0), error=True)
    made.give_up("failed")
    made.on_trial_complete("unfinite", result(9.0, 0.0, math.nan))

    complete, pruned, failed, unfinite = told(journal)
    assert (complete.state, complete.values) == (TrialState.COMPLETE, [3.0, 2.0, 4e15])
    assert dict(complete.constraints) == {"max_forgetting": -3.0}
    # A rung's cost is what the whole run would cost.
    assert complete.user_attrs == {"rung 25": {"target_gain": 1.0, "held_out_forgetting": 0.5, "cost": 4e15}}
    assert (pruned.state, pruned.values) == (TrialState.PRUNED, None)
    assert dict(pruned.constraints) == {"max_forgetting": 2.5}
    assert pruned.user_attrs == {
        "rung 25": {"target_gain": 0.0, "held_out_forgetting": 6.0, "cost": 1e15},
        "rung 50": {"target_gain": -1.0, "held_out_forgetting": 7.5, "cost": 1e15},
    }
    assert [(trial.state, trial.values) for trial in (failed, unfinite)] == [(TrialState.FAIL, None)] * 2


@every_sampler
def test_optuna_s_best_trials_are_the_front_of_what_is_complete_and_feasible(
    journal: Path, sampler: SamplerName
) -> None:
    made = search(journal, sampler)
    ends = [
        result(10.0, 2.0, 4e15),
        result(9.0, 3.0, 4e15),  # dominated by the first
        result(30.0, 6.0, 4e15),  # beyond the bound of 5
        result(5.0, 0.0, 2e15),
        result(50.0, 0.0, 1e15, step=50),  # stopped
        result(10.0, 2.0, 3e15),  # dominates the first by its cost
    ]
    for number, end in enumerate(ends):
        drawn_by(made, f"t{number}")
        made.on_trial_complete(f"t{number}", end)
    done = study(journal)
    assert [trial.number for trial in done.best_trials] == [3, 5]
    assert done.metric_names == ["target_gain", "held_out_forgetting", "cost"]
    assert done.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]


@every_sampler
def test_the_seed_decides_the_proposals(tmp_path: Path, sampler: SamplerName) -> None:
    def drawn(name: str, seed: int) -> list[dict[str, Any] | None]:
        made, params = search(tmp_path / name, sampler, seed=seed), []
        for number in range(12):
            params.append(drawn_by(made, f"t{number}"))
            made.on_trial_complete(f"t{number}", result(number % 5, number % 3))
        return params

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_learns_what_is_better_in_every_aim(journal: Path, sampler: SamplerName) -> None:
    """Of three subsets one is better in all aims, and a rate near its lower bound."""
    made = search(journal, sampler)
    for number in range(60):
        params = drawn_by(made, f"t{number}")
        assert params is not None
        recipe = SPACE.recipe(params)
        bounds = SPACE.bounds(recipe.subset, recipe.method)
        high = math.log(recipe.learning_rate / bounds.low) / math.log(bounds.high / bounds.low)
        good = recipe.subset == "sa_proj"
        made.on_trial_complete(f"t{number}", result(20.0 * good - 10 * high, 4.0 - 3 * good + high))
    late = told(journal)[30:]
    assert sum(trial.params["subset"] == "sa_proj" for trial in late) >= 16, "by chance it would be 10 of 30"


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_a_child_s_learning_rate_comes_from_its_parents_where_bounds_differ(
    journal: Path, sampler: SamplerName
) -> None:
    """Optuna's own breeding leaves out a parameter whose bounds depend on another one.

    All parents, five trials, have rates of 1e-5 to 2e-5. By chance a rate of `sa_proj`, with bounds of 1e-5
    and 1e-2, is below 1e-4 in one case of three.
    """
    made = search(journal, sampler)
    low = {"layers": "all", "method": "selective", "l2sp_weight": 0.0, "batch_size": 8}
    for number in range(5):
        subset = ("full", "sa_proj")[number % 2]
        queued = {"subset": subset, **low, "learning_rate": (1.0 + number / 5) * 1e-5}
        made._ot_study.enqueue_trial(queued)
    for number in range(5):
        drawn_by(made, f"t{number}")
        made.on_trial_complete(f"t{number}", result(number, number))
    rates = [
        trial["learning_rate"]
        for trial in (drawn_by(made, f"child{number}") for number in range(40))
        if trial is not None and trial["method"] == "selective"
    ]
    assert len(rates) >= 25
    assert sum(rate < 1e-4 for rate in rates) >= 0.7 * len(rates)


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_a_generation_without_a_complete_trial_waits_for_its_parents(
    journal: Path, sampler: SamplerName
) -> None:
    """A generation is five trials, all of them pruned; a sixth is asked for, and it is complete."""
    made = search(journal, sampler)
    for number in range(5):
        drawn_by(made, f"t{number}")
        made.on_trial_complete(f"t{number}", result(1.0, 1.0, step=50))
    parent = drawn_by(made, "t5")
    assert parent is not None
    made.on_trial_complete("t5", result(1.0, 1.0, step=100))
    children = [drawn_by(made, f"child{number}") for number in range(20)]
    same = [child for child in children if child is not None and child["subset"] == parent["subset"]]
    assert len(same) >= 15


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
def test_pruned_trials_count_for_a_generation_and_are_no_parents(journal: Path, sampler: SamplerName) -> None:
    made = search(journal, sampler)
    for number in range(5):
        params = drawn_by(made, f"t{number}")
        assert params is not None
        made.on_trial_complete(f"t{number}", result(1.0, 1.0, step=100 if number == 3 else 50))
    parent = told(journal)[3].params
    children = [drawn_by(made, f"child{number}") for number in range(20)]
    # With one parent a child is that parent, each of its parameters changed once in so many cases.
    same = [child for child in children if child is not None and child["subset"] == parent["subset"]]
    assert len(same) >= 15
