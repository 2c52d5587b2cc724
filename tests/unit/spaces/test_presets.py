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


# What each needs beside its subset.
NEEDS: dict[str, dict[str, Any]] = {
    "paper_last_layers": {"layers": ("all", "first:2", "last:1/2")},
    "paper_freeze_last_layers": {"layers": ("all", "last:1/2", "first:2")},
    "paper_lora": {
        "methods": ("selective", "lora"),
        "lora_rank": (8, 256),
        "lora_alpha": (None, 32.0),
        "lora_dropout": (0.0, 0.05),
    },
    "paper_lwf": {"lwf_weight": (0.0, 0.5, 1.0), "lwf_temperature": (4.0, 2.0)},
}


def test_with_subsets_alone_there_are_the_presets_that_need_no_more() -> None:
    queued = preset_params(space())
    assert set(queued) == set(PRESETS) - set(NEEDS)
    assert {name: params["subset"] for name, params in queued.items()} == {
        name: preset.subset for name, preset in PRESETS.items() if name not in NEEDS
    }


def test_every_published_subset_has_a_preset() -> None:
    combined_here_alone = {"vision_projector"}
    assert {preset.subset for preset in PRESETS.values()} == set(SUBSETS) - combined_here_alone


def test_a_preset_outside_the_space_is_left_out() -> None:
    searched = space(subsets=("mlp", "projector", "sa_proj"), learning_rate_of={})
    assert list(preset_params(searched)) == ["paper_sa_proj", "paper_mlp", "paper_projector"]
    alone = {**NEEDS["paper_lora"], "methods": ("lora",)}
    lora_alone = space(subsets=("mlp", "sa_proj"), learning_rate_of={}, **alone)
    assert list(preset_params(lora_alone)) == ["paper_lora"]
    layers_alone = space(subsets=("mlp", "projector", "llm"), learning_rate_of={}, layers=("last:1", "0-1"))
    assert list(preset_params(layers_alone)) == ["paper_projector", "paper_last_layers"]
    distilled_alone = space(lwf_weight=(1.0,))
    assert list(preset_params(distilled_alone)) == ["paper_lwf"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper_last_layers", {"subset": "llm", "layers": "last:1/2", "method": "selective"}),
        ("paper_freeze_last_layers", {"subset": "llm", "layers": "first:2", "method": "selective"}),
        (
            "paper_lora",
            {"subset": "mlp", "method": "lora", "lora_rank": 256, "lora_alpha": 32.0, "lora_dropout": 0.05},
        ),
        ("paper_lwf", {"subset": "llm", "lwf_weight": 1.0, "lwf_temperature": 2.0, "layers": "all"}),
    ],
)
def test_a_preset_with_its_own_dimension(name: str, expected: dict[str, Any]) -> None:
    assert name not in preset_params(space())
    searched = space(**NEEDS[name])
    recipe = searched.recipe(preset_params(searched)[name]).to_dict()
    assert recipe == recipe | expected


def test_the_published_settings_are_taken_where_they_are_offered() -> None:
    """Of `paper_lora`: r = 256, alpha = 32, dropout = 0.05, on the MLPs' linear layers."""
    offered: dict[str, Any] = {
        "methods": ("lora", "selective"),
        "lora_rank": (8, 256),
        "lora_alpha": (None, 32.0),
        "lora_dropout": (0.0, 0.05),
        "lora_variant": ("dora", "lora"),
        "l2sp_weight": (0.1, 0.0),
        "replay_ratio": (0.5, 0.0),
        "lwf_weight": (1.0, 0.0),
    }
    searched = space(**offered)
    queued = {name: searched.recipe(params) for name, params in preset_params(searched).items()}
    lora = queued["paper_lora"]
    assert (lora.lora_rank, lora.lora_alpha, lora.lora_dropout, lora.lora_variant) == (
        256,
        32.0,
        0.05,
        "lora",
    )
    plain = queued["paper_mlp"]
    assert (plain.method, plain.l2sp_weight, plain.replay_ratio, plain.lwf_weight) == ("selective", 0, 0, 0)
    assert queued["paper_lwf"].lwf_weight == 1.0


@pytest.mark.parametrize(
    ("name", "changes", "got"),
    [
        ("paper_lora", {"lora_rank": (8, 16)}, {"lora_rank": 8, "lora_alpha": 32.0, "lora_dropout": 0.05}),
        # No alpha is twice the rank.
        ("paper_lora", {"lora_alpha": (None,)}, {"lora_rank": 256, "lora_alpha": 512.0}),
        ("paper_lora", {"lora_dropout": (0.0,)}, {"lora_rank": 256, "lora_dropout": 0.0}),
        ("paper_lwf", {"lwf_weight": (0.0, 0.5)}, {"lwf_weight": 0.5, "lwf_temperature": 2.0}),
        ("paper_lwf", {"lwf_temperature": (4.0,)}, {"lwf_weight": 1.0, "lwf_temperature": 4.0}),
        ("paper_mlp", {"l2sp_weight": (0.1,)}, {"l2sp_weight": 0.1}),
        ("paper_mlp", {"replay_ratio": (0.5,)}, {"replay_ratio": 0.5}),
    ],
)
def test_what_is_not_as_published_has_another_name(
    name: str, changes: dict[str, Any], got: dict[str, Any]
) -> None:
    needs = NEEDS.get(name, {})
    assert name in preset_params(space(**needs))
    searched = space(**needs | changes)
    queued = preset_params(searched)
    assert name not in queued
    recipe = searched.recipe(queued[f"{name}_adapted"]).to_dict()
    assert recipe == recipe | got


def test_the_rate_of_lora_is_within_lora_s_bounds() -> None:
    bounds = {"lora": Bounds(1e-3, 1e-1), "mlp": Bounds(1e-5, 1e-3)}
    queued = preset_params(space(learning_rate_of=bounds, **NEEDS["paper_lora"]))
    assert queued["paper_lora"]["learning_rate"] == pytest.approx(1e-2)
    assert queued["paper_mlp"]["learning_rate"] == pytest.approx(1e-4)


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
