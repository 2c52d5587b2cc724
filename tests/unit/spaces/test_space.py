"""RecipeSpace under the sampler that studies use."""

from __future__ import annotations

import math
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.recipe import Recipe
from spaces.space import Bounds, RecipeSpace
from spaces.subsets import SUBSETS

POSITIVE = st.floats(1e-8, 1.0)
BOUNDS = st.tuples(POSITIVE, POSITIVE).map(lambda pair: Bounds(min(pair), max(pair)))


def space(**changes: Any) -> RecipeSpace:
    settings = {
        "subsets": ("gate_up", "full"),
        "learning_rate": Bounds(1e-5, 1e-2),
        "steps": 100,
        "batch_size": (8,),
    }
    return RecipeSpace(**settings | changes)


def sampled(searched: RecipeSpace, trials: int, seed: int) -> list[optuna.trial.FrozenTrial]:
    """Run a study whose score falls with the rate, so that the sampler moves to the lower bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed, n_startup_trials=5)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(trials):
        trial = study.ask()
        searched.suggest(trial)
        study.tell(trial, -math.log(trial.params["learning_rate"]) - 3 * (trial.params["subset"] == "full"))
    return study.trials


class TestSampling:
    @settings(max_examples=8, deadline=None)
    @given(
        subsets=st.lists(st.sampled_from(sorted(SUBSETS)), min_size=1, max_size=5, unique=True),
        default=BOUNDS,
        own=st.lists(BOUNDS, max_size=5),
        warmup=st.sampled_from([(0.03,), (0.0, 0.1)]),
        seed=st.integers(0, 2**31),
    )
    def test_every_rate_is_in_its_subsets_bounds(
        self, subsets: list[str], default: Bounds, own: list[Bounds], warmup: tuple[float, ...], seed: int
    ) -> None:
        searched = space(
            subsets=tuple(subsets),
            learning_rate=default,
            learning_rate_of=dict(zip(subsets, own, strict=False)),
            warmup_ratio=warmup,
        )
        for trial in sampled(searched, 20, seed):
            recipe = searched.recipe(trial.params)
            bounds = searched.bounds(recipe.subset)
            assert recipe.subset in subsets
            # Optuna draws a logarithm, which bounds that all but meet don't survive.
            assert bounds.low * (1 - 1e-12) <= recipe.learning_rate <= bounds.high * (1 + 1e-12)
            assert recipe.warmup_ratio in warmup

    def test_bounds_that_do_not_meet(self) -> None:
        # After the sampler has learnt that low rates are good, a rate of `full` must still be high.
        searched = space(
            learning_rate=Bounds(1e-6, 1e-5),
            learning_rate_of={"full": Bounds(1e-2, 1e-1)},
            subsets=("mlp", "full"),
        )
        trials = sampled(searched, 40, 1)
        seen = {trial.params["subset"] for trial in trials}
        assert seen == {"mlp", "full"}
        for trial in trials:
            low = 1e-6 if trial.params["subset"] == "mlp" else 1e-2
            assert low <= trial.params["learning_rate"] <= 10 * low * (1 + 1e-12)

    def test_there_is_one_rate_whatever_the_subset(self) -> None:
        names = {frozenset(trial.params) for trial in sampled(space(), 12, 2)}
        assert names == {frozenset({"subset", "learning_rate"})}

    def test_rates_are_drawn_on_a_log_scale(self) -> None:
        searched = space(learning_rate=Bounds(1e-6, 1.0))
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
        rates = []
        for _ in range(200):
            trial = study.ask()
            searched.suggest(trial)
            rates.append(trial.params["learning_rate"])
        # The geometric middle is 1e-3: about half of the draws lie below; on a linear scale 0.1 % would.
        assert 70 < sum(rate < 1e-3 for rate in rates) < 130

    def test_the_same_seed_draws_the_same(self) -> None:
        first, second, other = ([trial.params for trial in sampled(space(), 12, seed)] for seed in (4, 4, 5))
        assert first == second != other

    def test_bounds_of_one_number(self) -> None:
        searched = space(learning_rate=Bounds(1e-4, 1e-4))
        assert {trial.params["learning_rate"] for trial in sampled(searched, 12, 6)} == {1e-4}


WIDE = {
    "subsets": ("gate_up", "projector"),
    "layers": ("all", "last:1/2"),
    "methods": ("selective", "lora"),
    "lora_rank": (4, 16),
    "lora_alpha": (None, 32.0),
    "lora_dropout": (0.0, 0.1),
    "lora_variant": ("lora", "dora"),
    "lwf_weight": (0.0, 1.0),
    "lwf_temperature": (1.0, 2.0),
    "l2sp_weight": (0.0, 0.01),
    "replay_ratio": (0.0, 0.5),
    "batch_size": (8, 16),
    "warmup_ratio": (0.0, 0.1),
    "schedule": ("cosine", "linear"),
    "weight_decay": (0.0, 0.1),
    "max_grad_norm": (0.0, 1.0),
}
SHARED = {"lwf_weight", "replay_ratio", "batch_size", "warmup_ratio", "schedule", "weight_decay"}
SHARED |= {"subset", "method", "learning_rate", "max_grad_norm"}


class TestConditions:
    """What means nothing for a recipe is not drawn for it."""

    def test_each_recipe_draws_what_it_has(self) -> None:
        searched, seen = space(**WIDE), set()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
        for _ in range(80):
            trial = study.ask()
            searched.suggest(trial)
            params = trial.params
            expected = set(SHARED)
            if params["subset"] == "gate_up":
                expected.add("layers")  # a projector has none
            if params["method"] == "lora":
                expected |= {"lora_rank", "lora_alpha", "lora_dropout", "lora_variant"}
            else:
                expected.add("l2sp_weight")
            if params["lwf_weight"] > 0:
                expected.add("lwf_temperature")
            assert set(params) == expected
            seen.add((params["subset"], params["method"], params["lwf_weight"]))
        assert len(seen) == 8, "every combination came up"

    def test_a_recipe_says_what_was_drawn(self) -> None:
        searched = space(**WIDE)
        for trial in sampled(searched, 20, 8):
            fields = searched.recipe(trial.params).to_dict()
            alpha = trial.params.get("lora_alpha")
            if fields["method"] == "lora" and alpha is None:
                alpha = 2 * trial.params["lora_rank"]
            assert fields == fields | trial.params | {"lora_alpha": alpha}

    def test_of_single_values_nothing_is_drawn(self) -> None:
        single = {name: values[-1:] for name, values in WIDE.items()}
        searched = space(**single, learning_rate_of={"lora": Bounds(1e-3, 1e-1)})
        (trial,) = sampled(searched, 1, 9)
        assert set(trial.params) == {"subset", "learning_rate"}
        assert searched.recipe({"subset": "projector", "learning_rate": 1e-2}) == Recipe(
            subset="projector",
            method="lora",
            learning_rate=1e-2,
            steps=100,
            batch_size=16,
            warmup_ratio=0.1,
            schedule="linear",
            weight_decay=0.1,
            max_grad_norm=1.0,
            lora_rank=16,
            lora_alpha=32.0,
            lora_dropout=0.1,
            lora_variant="dora",
            lwf_weight=1.0,
            lwf_temperature=2.0,
            replay_ratio=0.5,
        )

    def test_no_temperature_without_distillation(self) -> None:
        searched = space(lwf_weight=(0.0, 1.0), lwf_temperature=(4.0,))
        drawn = {"subset": "full", "learning_rate": 1e-4}
        assert searched.recipe({**drawn, "lwf_weight": 1.0}).lwf_temperature == 4.0
        # Else two recipes that do the same would differ.
        assert searched.recipe({**drawn, "lwf_weight": 0.0}) == space().recipe(drawn)

    @pytest.mark.parametrize(
        ("named", "subset", "method", "low"),
        [
            ({}, "gate_up", "lora", 1e-5),
            ({"gate_up": 1e-4}, "gate_up", "selective", 1e-4),
            ({"gate_up": 1e-4}, "gate_up", "lora", 1e-4),
            ({"gate_up": 1e-4, "lora": 1e-3}, "gate_up", "lora", 1e-3),
            ({"gate_up": 1e-4, "lora": 1e-3}, "gate_up", "selective", 1e-4),
            ({"gate_up": 1e-4, "lora": 1e-3, "gate_up/lora": 2e-3}, "gate_up", "lora", 2e-3),
            ({"gate_up": 1e-4, "lora": 1e-3, "gate_up/lora": 2e-3}, "full", "lora", 1e-3),
            ({"gate_up": 1e-4, "lora": 1e-3, "gate_up/lora": 2e-3}, "full", "selective", 1e-5),
        ],
    )
    def test_the_most_specific_bounds_win(
        self, named: dict[str, float], subset: str, method: str, low: float
    ) -> None:
        bounds = {key: Bounds(low, 1e-2) for key, low in named.items()}
        searched = space(learning_rate_of=bounds, methods=("selective", "lora"))
        assert searched.bounds(subset, method).low == low

    def test_variants(self) -> None:
        searched = space(methods=("selective", "lora"))
        assert searched.variants == ("gate_up", "gate_up/lora", "full", "full/lora")


class TestRecipe:
    def test_takes_what_was_drawn_and_what_is_shared(self) -> None:
        searched = space(
            schedule=("linear",), weight_decay=(0.1,), max_grad_norm=(0.5,), warmup_ratio=(0.0, 0.1)
        )
        drawn = {"subset": "full", "learning_rate": 2e-4, "warmup_ratio": 0.1}
        assert searched.recipe(drawn) == Recipe(
            subset="full",
            learning_rate=2e-4,
            steps=100,
            batch_size=8,
            warmup_ratio=0.1,
            schedule="linear",
            weight_decay=0.1,
            max_grad_norm=0.5,
        )

    def test_a_single_warm_up_is_fixed(self) -> None:
        searched = space(warmup_ratio=(0.2,))
        assert searched.recipe({"subset": "full", "learning_rate": 1e-4}).warmup_ratio == 0.2


class TestWrongSpaces:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"subsets": ()}, "a space needs at least one value of subsets"),
            ({"warmup_ratio": ()}, "a space needs at least one value of warmup_ratio"),
            ({"layers": ("last:0",)}, "layer range 'last:0': last must take at least one layer"),
            ({"methods": ("lor",)}, "unknown method 'lor': did you mean 'lora'?"),
            (
                {"methods": ("lora",), "lora_rank": (8, 0)},
                "recipe field lora_rank must be at least 1, got 0",
            ),
            (
                {"lwf_weight": (1.0,), "lwf_temperature": (0.0,)},
                "recipe field lwf_temperature must be above 0, got 0.0",
            ),
            ({"replay_ratio": (1.0,)}, "recipe field replay_ratio must be in [0, 1), got 1.0"),
            (
                {"learning_rate_of": {"full/lora": Bounds(1e-4, 1e-3)}},
                "learning_rate_of: 'full/lora' is no part of the space: did you mean 'full'?",
            ),
            ({"subsets": ("ful",)}, "unknown subset 'ful': did you mean 'full'?"),
            (
                {"learning_rate_of": {"gate_upp": Bounds(1e-4, 1e-3)}},
                "learning_rate_of: 'gate_upp' is no part of the space: did you mean 'gate_up'?",
            ),
        ],
    )
    def test_message(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=r"subset|space|recipe|layer|method") as caught:
            space(**changes)
        assert str(caught.value) == message


class TestBounds:
    @pytest.mark.parametrize(
        ("low", "high"),
        [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (1.0, math.nan)],
    )
    def test_wrong(self, low: float, high: float) -> None:
        with pytest.raises(ValueError, match="bounds must satisfy 0 < low <= high, got low="):
            Bounds(low, high)

    @given(BOUNDS)
    def test_the_middle_is_as_far_from_both_ends(self, bounds: Bounds) -> None:
        assert bounds.middle / bounds.low == pytest.approx(bounds.high / bounds.middle)

    def test_the_middle_of_two_decades(self) -> None:
        assert Bounds(1e-4, 1e-2).middle == pytest.approx(1e-3)
