"""Recipe: every field is checked, and nothing is lost on the way through plain values."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spaces.recipe import LORA_VARIANTS, SCHEDULES, Recipe
from spaces.subsets import SUBSETS

RECIPE = Recipe(subset="gate_up", learning_rate=1e-4, steps=100, batch_size=8)

NON_NEGATIVE = st.floats(min_value=0, allow_infinity=False)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
COUNT = st.integers(min_value=1, max_value=2**31 - 1)
SHARE = st.floats(min_value=0, max_value=1, exclude_max=True)
SHARED = {
    "subset": st.sampled_from(sorted(SUBSETS)),
    "layers": st.sampled_from(["all", "first:1", "middle:3", "last:1/2", "0-3,8"]),
    "learning_rate": POSITIVE,
    "steps": COUNT,
    "batch_size": COUNT,
    "warmup_ratio": SHARE,
    "schedule": st.sampled_from(SCHEDULES),
    "weight_decay": NON_NEGATIVE,
    "max_grad_norm": NON_NEGATIVE,
    "lwf_weight": NON_NEGATIVE,
    "lwf_temperature": POSITIVE,
    "replay_ratio": SHARE,
}
ADAPTERS = {
    "method": st.just("lora"),
    "lora_rank": COUNT,
    "lora_alpha": POSITIVE,
    "lora_dropout": SHARE,
    "lora_variant": st.sampled_from(LORA_VARIANTS),
}
RECIPES = st.builds(Recipe, **SHARED, l2sp_weight=NON_NEGATIVE) | st.builds(Recipe, **SHARED, **ADAPTERS)
LORA = {"method": "lora", "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.0, "lora_variant": "lora"}


@given(RECIPES)
def test_plain_values_hold_the_whole_recipe(recipe: Recipe) -> None:
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert set(recipe.to_dict()) == {field.name for field in dataclasses.fields(Recipe)}


@given(RECIPES)
def test_a_yaml_file_holds_the_whole_recipe(recipe: Recipe) -> None:
    assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe


def test_what_is_left_out_takes_its_default() -> None:
    fields = {"subset": "gate_up", "learning_rate": 1e-4, "steps": 100, "batch_size": 8}
    assert Recipe.from_dict(fields) == RECIPE
    assert (RECIPE.warmup_ratio, RECIPE.schedule) == (0.03, "cosine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset": "gateup"}, "unknown subset 'gateup': did you mean 'gate_up'?"),
        ({"learning_rate": 0.0}, "recipe field learning_rate must be above 0, got 0.0"),
        ({"learning_rate": -1.0}, "recipe field learning_rate must be above 0, got -1.0"),
        ({"learning_rate": math.nan}, "recipe field learning_rate must be above 0, got nan"),
        ({"learning_rate": math.inf}, "recipe field learning_rate must be above 0, got inf"),
        ({"steps": 0}, "recipe field steps must be at least 1, got 0"),
        ({"batch_size": 0}, "recipe field batch_size must be at least 1, got 0"),
        ({"warmup_ratio": -0.1}, "recipe field warmup_ratio must be in [0, 1), got -0.1"),
        ({"warmup_ratio": 1.0}, "recipe field warmup_ratio must be in [0, 1), got 1.0"),
        ({"weight_decay": -1.0}, "recipe field weight_decay must be at least 0 and finite, got -1.0"),
        ({"weight_decay": math.nan}, "recipe field weight_decay must be at least 0 and finite, got nan"),
        ({"weight_decay": math.inf}, "recipe field weight_decay must be at least 0 and finite, got inf"),
        ({"max_grad_norm": -1.0}, "recipe field max_grad_norm must be at least 0 and finite, got -1.0"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
        ({"layers": "last:0"}, "layer range 'last:0': last must take at least one layer"),
        ({"method": "laura"}, "unknown method 'laura': did you mean 'lora'?"),
        ({"lwf_weight": -1.0}, "recipe field lwf_weight must be at least 0 and finite, got -1.0"),
        ({"lwf_temperature": 0.0}, "recipe field lwf_temperature must be above 0, got 0.0"),
        ({"l2sp_weight": math.nan}, "recipe field l2sp_weight must be at least 0 and finite, got nan"),
        ({"replay_ratio": 1.0}, "recipe field replay_ratio must be in [0, 1), got 1.0"),
        ({"lora_rank": 8}, "recipe field lora_rank must be left out with the method 'selective', got 8"),
        (
            {"lora_variant": "dora"},
            "recipe field lora_variant must be left out with the method 'selective', got 'dora'",
        ),
        ({"method": "lora"}, "recipe field lora_rank must be at least 1, got None"),
        (LORA | {"lora_rank": 0}, "recipe field lora_rank must be at least 1, got 0"),
        (LORA | {"lora_alpha": 0.0}, "recipe field lora_alpha must be above 0 and finite, got 0.0"),
        (LORA | {"lora_dropout": 1.0}, "recipe field lora_dropout must be in [0, 1), got 1.0"),
        (LORA | {"lora_variant": "dorra"}, "unknown lora_variant 'dorra': did you mean 'dora'?"),
        (LORA | {"l2sp_weight": 0.1}, "recipe field l2sp_weight must be 0 with the method 'lora', got 0.1"),
    ],
)
def test_a_wrong_field_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^(recipe field|unknown|layer range)") as caught:
        dataclasses.replace(RECIPE, **changes)
    assert str(caught.value) == message


def test_the_variant_tells_adapters_from_own_weights() -> None:
    assert RECIPE.variant == "gate_up"
    assert dataclasses.replace(RECIPE, **LORA, layers="last:1").variant == "gate_up/lora"


def test_unknown_field() -> None:
    message = r"unknown recipe field 'learning_rat': did you mean 'learning_rate'\?"
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(RECIPE.to_dict() | {"learning_rat": 1.0})


def test_yaml_reads_1e_minus_4_as_text_and_the_recipe_as_a_number() -> None:
    fields = yaml.safe_load(
        "{subset: gate_up, learning_rate: 1e-4, steps: 100, batch_size: 8, weight_decay: 0}"
    )
    assert fields["learning_rate"] == "1e-4"
    recipe = Recipe.from_dict(fields)
    assert recipe == RECIPE
    assert isinstance(recipe.weight_decay, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": "fast"}, "recipe field learning_rate must be a number, got 'fast'"),
        ({"learning_rate": True}, "recipe field learning_rate must be a number, got True"),
        ({"weight_decay": None}, "recipe field weight_decay must be a number, got None"),
        ({"steps": 1.5}, "recipe field steps must be a whole number, got 1.5"),
        ({"steps": "100"}, "recipe field steps must be a whole number, got '100'"),
        ({"batch_size": True}, "recipe field batch_size must be a whole number, got True"),
        ({"subset": ["gate_up"]}, "recipe field subset must be a text, got ['gate_up']"),
        ({"schedule": None}, "recipe field schedule must be a text, got None"),
        ({"lora_rank": 8.0}, "recipe field lora_rank must be a whole number, got 8.0"),
        ({"lora_alpha": "much"}, "recipe field lora_alpha must be a number, got 'much'"),
        ({"layers": 3}, "recipe field layers must be a text, got 3"),
    ],
)
def test_a_field_of_the_wrong_type(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="recipe field") as caught:
        Recipe.from_dict(RECIPE.to_dict() | changes)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["subset", "learning_rate", "steps", "batch_size"])
def test_missing_field(name: str) -> None:
    fields = RECIPE.to_dict()
    del fields[name]
    with pytest.raises(ValueError, match=f"recipe lacks the field '{name}'"):
        Recipe.from_dict(fields)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPE.steps = 3  # type: ignore[misc]
