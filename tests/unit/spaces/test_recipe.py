"""Recipe: every field is checked, and nothing is lost on the way through plain values."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spaces.recipe import SCHEDULES, Recipe
from spaces.subsets import SUBSETS

RECIPE = Recipe(subset="gate_up", learning_rate=1e-4, steps=100, batch_size=8)

RECIPES = st.builds(
    Recipe,
    subset=st.sampled_from(sorted(SUBSETS)),
    learning_rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    steps=st.integers(min_value=1),
    batch_size=st.integers(min_value=1),
    warmup_ratio=st.floats(min_value=0, max_value=1, exclude_max=True),
    schedule=st.sampled_from(SCHEDULES),
    weight_decay=st.floats(min_value=0, allow_infinity=False),
    max_grad_norm=st.floats(min_value=0, allow_infinity=False),
)


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
    ],
)
def test_a_wrong_field_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^(recipe field|unknown)") as caught:
        dataclasses.replace(RECIPE, **changes)
    assert str(caught.value) == message


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
