"""Presets: the published recipes as points of a study's own space."""

from __future__ import annotations

from typing import Any

import pytest

from spaces.presets import PRESETS, preset_params
from spaces.space import Bounds, RecipeSpace
from spaces.subsets import SUBSETS


def space(**changes: Any) -> RecipeSpace:
    settings = {
        "subsets": tuple(SUBSETS),
        "learning_rate": Bounds(1e-4, 1e-2),
        "learning_rate_of": {"full": Bounds(1e-6, 1e-4)},
        "steps": 100,
        "batch_size": (8,),
    }
    return RecipeSpace(**settings | changes)


def test_every_preset_is_queued_where_its_subset_is_searched() -> None:
    queued = preset_params(space())
    assert {name: params["subset"] for name, params in queued.items()} == PRESETS


def test_a_preset_outside_the_space_is_left_out() -> None:
    searched = space(subsets=("mlp", "down", "sa_proj"), learning_rate_of={})
    assert list(preset_params(searched)) == ["paper_sa_proj", "paper_mlp"]


def test_the_rate_is_the_middle_of_the_subsets_own_bounds() -> None:
    queued = preset_params(space())
    assert queued["paper_mlp"]["learning_rate"] == pytest.approx(1e-3)
    assert queued["paper_full"]["learning_rate"] == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("rate", "mlp", "full"), [(5e-3, 5e-3, 1e-4), (1e-8, 1e-4, 1e-6), (5e-5, 1e-4, 5e-5)]
)
def test_a_given_rate_is_clipped_to_the_subsets_bounds(rate: float, mlp: float, full: float) -> None:
    queued = preset_params(space(), rate)
    assert queued["paper_mlp"]["learning_rate"] == mlp
    assert queued["paper_full"]["learning_rate"] == full


def test_what_the_space_does_not_offer_is_its_first_value() -> None:
    searched = space(warmup_ratio=(0.1,), schedule=("linear", "cosine"), batch_size=(4, 8))
    params = preset_params(searched)["paper_mlp"]
    assert {key: params[key] for key in ("schedule", "batch_size")} == {"schedule": "linear", "batch_size": 4}
    assert "warmup_ratio" not in params, "nothing is searched there"


@pytest.mark.parametrize("warmup", [(0.03,), (0.0, 0.1)])
def test_every_preset_is_a_recipe(warmup: tuple[float, ...]) -> None:
    searched = space(warmup_ratio=warmup)
    for params in preset_params(searched).values():
        recipe = searched.recipe(params)
        assert (recipe.subset, recipe.warmup_ratio) == (params["subset"], warmup[0])
        # What is queued names exactly what the space searches, or the sampler would draw the rest anew.
        assert set(params) == {"subset", "learning_rate"} | ({"warmup_ratio"} if len(warmup) > 1 else set())
