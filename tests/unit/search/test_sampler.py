from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from search.objective import Score
from search.records.open_trials import OpenTrial, trial_id_of
from search.results import Rung, TrialResult
from search.sampler import RecipeSampler
from search.settings.search_config import SamplerName, SearchConfig
from search.stores.optuna_store import open_storage
from spaces.presets import preset_params
from spaces.recipe import Recipe
from spaces.space import Bounds, RecipeSpace

SPACE = RecipeSpace(
    subsets=("full", "sa_proj", "gate_up"),
    learning_rate=Bounds(1e-5, 1e-2),
    learning_rate_of={"full": Bounds(1e-6, 1e-4)},
    steps=100,
    batch_size=(8,),
)
PRESETS = preset_params(SPACE, 1e-3)


def sampler(
    journal: Path,
    *,
    space: RecipeSpace = SPACE,
    presets: Mapping[str, Mapping[str, Any]] = PRESETS,
    seed: int = 0,
    name: SamplerName = "tpe",
    trials: int = 100,
    ended: Sequence[TrialResult] = (),
    left_off: Mapping[int, OpenTrial] | None = None,
) -> RecipeSampler:
    return RecipeSampler(
        space,
        presets=presets,
        violation=lambda forgetting: forgetting - 5.0,
        storage=open_storage(None, journal),
        study_name="made",
        seed=seed,
        startup_trials=3,
        sampler=name,
        trials=trials,
        ended=ended,
        left_off=left_off,
    )


def handed_out_by(search: RecipeSampler, trial: str) -> dict[str, Any]:
    """Return the next trial: what it draws, and what it is to the study."""
    params = search.suggest(trial)
    assert isinstance(params, dict)
    return params


def drawn_by(search: RecipeSampler, trial: str) -> dict[str, Any]:
    """Return what the next trial draws."""
    params = handed_out_by(search, trial)
    return {
        name: value for name, value in params.items() if name not in ("number", "trial_id", "checkpoints")
    }


def told(journal: Path) -> list[FrozenTrial]:
    """Return the study's trials as another process would read them, leaving out what is still queued."""
    study = optuna.load_study(study_name="made", storage=JournalStorage(JournalFileBackend(str(journal))))
    return study.get_trials(deepcopy=False, states=[s for s in TrialState if s is not TrialState.WAITING])


def result(score: float, step: int, forgetting: float = 1.0) -> dict[str, Any]:
    return {"score": score, "step": step, "progress": step / 100, "held_out_forgetting": forgetting}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


def test_tells_the_three_ends_apart(journal: Path) -> None:
    search = sampler(journal)
    for trial in ("complete", "pruned", "failed"):
        search.suggest(trial)
    search.on_trial_result("complete", result(1.0, 25))
    search.on_trial_result("complete", result(2.0, 50))
    search.on_trial_complete("complete", result(3.0, 100))
    search.on_trial_result("pruned", result(-4.0, 25))
    # Tune hands a stopped trial's last rung to this call alone.
    search.on_trial_complete("pruned", result(-2.0, 50))
    search.on_trial_result("failed", result(9.0, 25))
    search.on_trial_complete("failed", None, error=True)
    search.give_up("failed")

    complete, pruned, failed = told(journal)
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 3.0)
    assert complete.intermediate_values == {25: 1.0, 50: 2.0}
    # Optuna gives a pruned trial the value of its last report.
    assert (pruned.state, pruned.value) == (TrialState.PRUNED, -2.0)
    assert pruned.intermediate_values == {25: -4.0, 50: -2.0}
    assert (failed.state, failed.value) == (TrialState.FAIL, None)


@pytest.mark.parametrize(
    "last",
    [result(math.nan, 100), result(math.inf, 100), {"step": 100, "progress": 1.0}, {}, None],
)
def test_without_a_finite_score_a_trial_has_failed(journal: Path, last: dict[str, Any] | None) -> None:
    search = sampler(journal)
    search.suggest("t")
    search.on_trial_complete("t", last)
    (trial,) = told(journal)
    assert (trial.state, trial.value) == (TrialState.FAIL, None)


@pytest.mark.parametrize("last", [result(5.0, 100), None])
def test_with_an_error_nothing_is_told_until_its_cause_is_known(
    journal: Path, last: dict[str, Any] | None
) -> None:
    search = sampler(journal)
    search.suggest("t")
    search.on_trial_complete("t", last, error=True)
    assert [trial.state for trial in told(journal)] == [TrialState.RUNNING]
    search.give_up("t")
    assert [(trial.state, trial.value) for trial in told(journal)] == [(TrialState.FAIL, None)]


def test_no_trial_is_left_running(journal: Path) -> None:
    search = sampler(journal)
    ends = [result(1.0, 100), result(1.0, 50), result(math.nan, 50), None]
    for number in range(12):
        search.suggest(f"t{number}")
        assert [t.state for t in told(journal)].count(TrialState.RUNNING) == 1
        search.on_trial_complete(f"t{number}", ends[number % 4], error=number % 4 == 3)
        if number % 4 == 3:
            search.give_up(f"t{number}")
    states = [trial.state for trial in told(journal)]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL] * 3


def test_presets_come_first_and_by_name(journal: Path) -> None:
    search = sampler(journal)
    assert list(PRESETS) == ["paper_full", "paper_sa_proj", "paper_gate_up"]
    suggested = [drawn_by(search, f"t{number}") for number in range(5)]
    for params, (name, preset) in zip(suggested, PRESETS.items(), strict=False):
        assert params == {**preset, "preset": name}
    assert [params["preset"] for params in suggested[3:]] == [None, None]
    assert PRESETS["paper_full"]["learning_rate"] == 1e-4, "clipped to the bounds of its subset"
    for params in suggested:
        SPACE.recipe(params)


def test_a_conditional_space_is_searched_without_a_warning(journal: Path) -> None:
    """Optuna warns of a queued value that is out of range, and of one that can't be stored."""
    wide = RecipeSpace(
        subsets=("llm", "mlp", "projector"),
        layers=("all", "first:1/2", "last:2"),
        methods=("selective", "lora"),
        learning_rate=Bounds(1e-5, 1e-2),
        learning_rate_of={"lora": Bounds(1e-3, 1e-1)},
        lora_rank=(4, 256),
        lora_alpha=(None, 32.0),
        lora_dropout=(0.0, 0.05),
        lora_variant=("lora", "dora"),
        lwf_weight=(0.0, 1.0),
        lwf_temperature=(1.0, 2.0),
        l2sp_weight=(0.0, 0.01),
        replay_ratio=(0.0, 0.5),
        batch_size=(8, 16),
        steps=100,
    )
    presets = preset_params(wide, 1e-6)  # below all bounds
    assert list(presets) == [
        *("paper_llm", "paper_mlp", "paper_projector", "paper_last_layers", "paper_freeze_last_layers"),
        *("paper_lora", "paper_lwf"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = sampler(journal, space=wide, presets=presets)
        for number in range(40):
            params = drawn_by(search, f"t{number}")
            drawn = {name: value for name, value in params.items() if name != "preset"}
            if number < len(presets):
                assert drawn == presets[params["preset"]]
            recipe = wide.recipe(drawn)
            bounds = wide.bounds(recipe.subset, recipe.method)
            assert bounds.low <= recipe.learning_rate <= bounds.high
            asked = _Asked(drawn)
            wide.suggest(asked)
            assert asked.names == set(drawn), "exactly what means something for this recipe"
            # Adapters are best: the sampler shall learn it.
            search.on_trial_complete(f"t{number}", result(float(recipe.method == "lora"), 100))
    methods = [trial.params["method"] for trial in told(journal)]
    assert methods[20:].count("lora") >= 15, "by chance it would be 10 of 20"


class _Asked:
    """A trial that gives known values and remembers for which it was asked."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.names: set[str] = set()

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        assert self._values[name] in choices
        self.names.add(name)
        return self._values[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.names.add(name)
        return float(self._values[name])


def test_suggestions_stay_within_the_bounds_of_their_subset(journal: Path) -> None:
    search = sampler(journal, presets={})
    for number in range(30):
        params = drawn_by(search, f"t{number}")
        bounds = SPACE.bounds(params["subset"])
        assert bounds.low <= params["learning_rate"] <= bounds.high
        search.on_trial_complete(f"t{number}", result(float(number), 100 if number % 3 else 50))


def test_the_constraint_is_recorded_whether_complete_or_pruned(journal: Path) -> None:
    search = sampler(journal)
    for trial, step, forgetting in (("feasible", 100, 3.0), ("too much", 100, 7.5), ("pruned", 50, 6.0)):
        search.suggest(trial)
        search.on_trial_complete(trial, result(1.0, step, forgetting))
    assert [dict(trial.constraints) for trial in told(journal)] == [
        {"max_forgetting": -2.0},
        {"max_forgetting": 2.5},
        {"max_forgetting": 1.0},
    ]


def test_an_end_that_is_told_twice_counts_once(journal: Path) -> None:
    search = sampler(journal)
    search.suggest("t")
    search.on_trial_complete("t", result(1.0, 100))
    search.on_trial_complete("t", None, error=True)
    (trial,) = told(journal)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.0)


def ended(number: int, rungs: Sequence[Rung] = (), error: str | None = None) -> TrialResult:
    trial = left_off(number, rungs)
    return trial.ended(error)


def left_off(number: int, rungs: Sequence[Rung] = ()) -> OpenTrial:
    recipe = Recipe(subset="full", learning_rate=1e-4, steps=100, batch_size=8)
    return OpenTrial(
        trial_id=trial_id_of(number), number=number, recipe=recipe, preset=None, started=0.0, rungs=[*rungs]
    )


def rung(value: float, step: int) -> Rung:
    score = Score(target_gain=value + 1, held_out_forgetting=1.0, worst_forgetting=1.0, score=value)
    return Rung(step=step, progress=step / 100, score=score, values={}, metrics={})


def test_the_journal_goes_on_where_it_ended(journal: Path) -> None:
    first = sampler(journal)
    first.suggest("a")
    first.on_trial_complete("a", result(1.0, 100))
    second = sampler(journal, ended=[ended(0, [rung(1.0, 100)])])
    params = drawn_by(second, "b")
    assert params["preset"] == "paper_sa_proj", "the first preset was done, and none is queued twice"
    second.on_trial_complete("b", result(2.0, 100))
    assert [trial.value for trial in told(journal)] == [1.0, 2.0]
    names = [drawn_by(second, f"c{number}")["preset"] for number in range(4)]
    assert names == ["paper_gate_up", None, None, None]


def test_what_was_left_off_is_handed_out_first_with_what_it_drew(journal: Path) -> None:
    first = sampler(journal, presets={})
    handed_out = [handed_out_by(first, f"t{number}") for number in range(3)]
    first.on_trial_complete("t1", result(1.0, 100))
    pointer = {"path": "step_000025.safetensors", "sha256": "0", "step": 25}
    trial = left_off(2, [rung(0.0, 25)])
    trial.checkpoints = [pointer]
    again = sampler(journal, presets={}, ended=[ended(1, [rung(1.0, 100)])], left_off={2: trial}, trials=4)
    assert again.suggest("u0") == handed_out[0], "not even begun"
    assert again.suggest("u1") == {**handed_out[2], "checkpoints": [pointer]}
    new = again.suggest("u2")
    assert isinstance(new, dict)
    assert (new["number"], new["trial_id"], new["checkpoints"]) == (3, "0003", [])
    assert again.suggest("u3") is None, "all four are handed out, and some may come back"
    for tune_id in ("u0", "u1", "u2"):
        again.on_trial_complete(tune_id, result(1.0, 100))
    assert again.suggest("u4") == RecipeSampler.FINISHED
    assert [trial.state for trial in told(journal)] == [TrialState.COMPLETE] * 4


def test_a_trial_that_had_begun_to_draw_nothing_draws_what_it_would_have(
    journal: Path, tmp_path: Path
) -> None:
    whole = sampler(tmp_path / "whole", presets={})
    expected = [handed_out_by(whole, f"t{number}") for number in range(3)]
    first = sampler(journal, presets={})
    for number in range(2):
        handed_out_by(first, f"t{number}")
    first._ot_study.ask()
    again = sampler(journal, presets={})
    assert [handed_out_by(again, f"u{number}") for number in range(3)] == expected


def test_a_trial_whose_driver_died_while_it_drew_keeps_what_it_has_and_draws_the_rest(journal: Path) -> None:
    """Optuna keeps each value as it is drawn."""
    half = sampler(journal, presets={})
    subset = half._ot_study.ask().suggest_categorical("subset", list(SPACE.subsets))
    params = handed_out_by(sampler(journal, presets={}), "t")
    assert (params["number"], params["subset"]) == (0, subset)
    assert SPACE.recipe(params).subset == subset


def test_a_lost_trial_is_handed_out_again_until_it_ends(journal: Path) -> None:
    search = sampler(journal, presets={}, trials=1)
    first = handed_out_by(search, "a")
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") is None
    pointer = {"path": "x", "sha256": "0", "step": 25}
    search.take_up("a", [pointer])
    assert search.suggest("b") == {**first, "checkpoints": [pointer]}
    search.on_trial_result("b", result(0.5, 50))
    search.on_trial_complete("b", result(1.0, 100))
    assert search.suggest("c") == RecipeSampler.FINISHED
    assert [(trial.state, trial.value) for trial in told(journal)] == [(TrialState.COMPLETE, 1.0)]


def test_an_end_that_tune_did_not_take_note_of_is_told(journal: Path) -> None:
    search = sampler(journal, presets={}, trials=1)
    search.suggest("a")
    search.on_trial_complete("a", None, error=True)
    search.end("a", rung(3.0, 100))
    assert search.suggest("b") == RecipeSampler.FINISHED
    assert [(trial.state, trial.value) for trial in told(journal)] == [(TrialState.COMPLETE, 3.0)]


@pytest.mark.parametrize(
    ("end", "state", "value"),
    [
        (ended(0, [rung(1.0, 50), rung(3.0, 100)]), TrialState.COMPLETE, 3.0),
        (ended(0, [rung(1.0, 50)]), TrialState.PRUNED, 1.0),
        (ended(0, [rung(1.0, 50)], "out of memory"), TrialState.FAIL, None),
    ],
)
def test_an_end_that_was_written_but_not_told_is_told(
    journal: Path, end: TrialResult, state: TrialState, value: float | None
) -> None:
    sampler(journal).suggest("a")
    again = sampler(journal, ended=[end])
    assert [(trial.state, trial.value) for trial in told(journal)] == [(state, value)]
    assert drawn_by(again, "b")["preset"] == "paper_sa_proj"


def test_an_end_that_was_told_but_not_written_is_run_again_and_told_once(journal: Path) -> None:
    first = sampler(journal)
    drawn = first.suggest("a")
    first.on_trial_complete("a", result(1.0, 100))
    again = sampler(journal)
    assert again.suggest("b") == drawn
    again.on_trial_result("b", result(0.0, 50))
    again.on_trial_complete("b", result(1.0, 100))
    assert [(trial.state, trial.value) for trial in told(journal)] == [(TrialState.COMPLETE, 1.0)]


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_one_trial_at_a_time_draws_the_same_however_often_the_driver_dies(
    tmp_path: Path, name: SamplerName
) -> None:
    """What a trial scores depends on what it drew, so that one that differs would change those after it."""

    def recipes(journal: Path, lives: Sequence[int]) -> list[dict[str, Any]]:
        drawn: list[dict[str, Any]] = []
        done: list[TrialResult] = []
        for count in lives:
            search = sampler(journal, ended=done, name=name)
            for _ in range(count):
                params = drawn_by(search, f"t{len(drawn)}")
                value = -abs(math.log(params["learning_rate"]) + 7) - len(params["subset"])
                search.on_trial_complete(f"t{len(drawn)}", result(value, 100))
                done.append(ended(len(drawn), [rung(value, 100)]))
                drawn.append(params)
        return drawn

    assert recipes(tmp_path / "one", [20]) == recipes(tmp_path / "many", [1, 4, 2, 7, 6])


def test_the_seed_decides_the_random_trials(tmp_path: Path) -> None:
    def drawn(name: str, seed: int) -> list[dict[str, Any]]:
        search = sampler(tmp_path / name, presets={}, seed=seed)
        return [drawn_by(search, f"t{number}") for number in range(3)]

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


def test_every_seed_that_a_study_may_name_is_taken(tmp_path: Path) -> None:
    largest = SearchConfig(trials=1, seed=2**32 - 1).seed
    assert sampler(tmp_path / "journal", presets={}, seed=largest).suggest("t") is not None
    with pytest.raises(ValidationError, match="less than 4294967296"):
        SearchConfig(trials=1, seed=2**32)


def test_the_model_takes_over_after_the_presets(journal: Path) -> None:
    """With one subset clearly best, most later proposals are of that subset."""
    search = sampler(journal)
    subsets = []
    for number in range(25):
        params = drawn_by(search, f"t{number}")
        subsets.append(params["subset"])
        search.on_trial_complete(f"t{number}", result(50.0 if params["subset"] == "gate_up" else -50.0, 100))
    assert subsets[10:].count("gate_up") >= 9, "by chance it would be 5 of 15"
