"""What a study file says for a recipe that is chosen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_study import LORA

from search.handover.recipe_document import RecipeDocument
from search.reuse.recipe_study import changed, divided, load_for_recipes
from search.settings.user_input import InputError
from spaces.points import Identity, Interpolation, Member, Point, Soup
from spaces.recipe import Recipe

RECIPE = Recipe(subset="sa_proj", learning_rate=1e-4, steps=40, batch_size=8, warmup_ratio=0.1)
STUDY: dict[str, Any] = {
    "name": "made",
    "model": {"path": "tiny-llava"},
    "targets": ["counting"],
    "held_out": ["digits"],
}


def written(folder: Path, **sections: Any) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | sections))
    return folder / "study.yaml"


def test_the_file_needs_no_space_search_or_training(tmp_path: Path) -> None:
    config = load_for_recipes(written(tmp_path), [], [RECIPE], seed=7)
    assert (config.name, config.search.seed, config.points) == ("made-applied", 7, None)
    (only,) = config.recipe_space().largest()
    assert only == RECIPE


def test_what_the_file_says_of_its_search_does_not_count(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        space={"subsets": ["full"], "learning_rate": [1, 1], "replay_ratio": [0.5]},
        training={"steps": 3, "batch_size": 2, "samples": 9, "replay": ["digits"]},
        search={"trials": 99, "seed": 3, "pruning": {"first_rung": 1}},
        points={"earlier_rungs": True},
        evaluation={"samples": 30},
    )
    config = load_for_recipes(file, ["name=other", "evaluation.samples=20"], [RECIPE], seed=0)
    assert (config.name, config.training.samples, config.evaluation.samples) == ("other", 9, 20)
    assert list(config.recipe_space().largest()) == [RECIPE]
    assert config.training.replay is None


def test_the_confirm_split_is_read_where_all_tasks_have_one(tmp_path: Path) -> None:
    """The embedded tasks have one; a task of one's own needs none."""
    assert load_for_recipes(written(tmp_path), [], [RECIPE], seed=0).finalists is not None
    rows = tmp_path / "kept.jsonl"
    rows.write_text('{"prompt": "a", "answer": "b"}\n')
    file = written(tmp_path, held_out=["kept"], tasks={"kept": {"search": "kept.jsonl"}})
    assert load_for_recipes(file, [], [RECIPE], seed=0).finalists is None


SOUPS = [
    Recipe(subset="sa_proj", learning_rate=1e-4, steps=40, batch_size=8),
    Recipe(subset="mlp", learning_rate=1e-5, steps=40, batch_size=16, layers="last:1/2", **LORA),
    Recipe(subset="llm", learning_rate=1e-3, steps=40, batch_size=8, lwf_weight=0.5, lwf_temperature=3.0),
]


def test_a_soup_s_space_holds_each_member(tmp_path: Path) -> None:
    config = load_for_recipes(written(tmp_path), [], SOUPS, seed=0)
    variants = {recipe.variant for recipe in config.recipe_space().largest()}
    assert {recipe.variant for recipe in SOUPS} <= variants
    assert config.recipe_space().batch_size == (8, 16)


def test_replay_needs_tasks_to_draw_from(tmp_path: Path) -> None:
    replayed = dataclasses.replace(RECIPE, replay_ratio=0.2)
    with pytest.raises(InputError, match=r"training\.replay: the recipe draws 0\.2 of each batch"):
        load_for_recipes(written(tmp_path), [], [replayed], seed=0)
    file = written(tmp_path, training={"replay": ["digits"]})
    assert load_for_recipes(file, [], [replayed], seed=0).training.replay == ("digits",)


def test_overrides_are_the_recipe_s_or_the_study_s() -> None:
    fields, rest = divided(["recipe.steps=80", "evaluation.samples=3", "recipe.learning_rate=1e-3"])
    assert fields == {"steps": 80, "learning_rate": "1e-3"}
    assert rest == ["evaluation.samples=3"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps=9", "the recipe says that; to change it write recipe.steps=9"),
        ("recipe.steps", "expected key=value, such as recipe.steps=200"),
        ("recipe.steps=[", "the value is not valid YAML"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        divided([override])
    assert str(caught.value) == f"override {override!r}: {message}"


def test_changed_fields_are_checked_as_a_recipe_s() -> None:
    document = RecipeDocument(recipe=RECIPE)
    assert changed(document, {}) is document
    assert changed(document, {"learning_rate": "1e-3"}).recipe == dataclasses.replace(
        RECIPE, learning_rate=1e-3
    )
    with pytest.raises(InputError, match=r"^recipe\.\*: unknown recipe field 'step': did you mean 'steps'"):
        changed(document, {"step": 80})
    with pytest.raises(InputError, match="lora_rank must be left out with the method 'selective', got 8"):
        changed(document, {"lora_rank": 8})


def test_a_point_moves_with_the_steps() -> None:
    """Half of 40 steps is half of 10; the end stays the end; a soup's members move each by its own."""
    early = RecipeDocument(recipe=RECIPE, point=Point(3, 20, Identity()))
    assert changed(early, {"steps": 10}).point == Point(3, 5, Identity())
    end = RecipeDocument(recipe=RECIPE, point=Point(3, 40, Interpolation(0.5)))
    assert changed(end, {"steps": 100}).point == Point(3, 100, Interpolation(0.5))
    soup = RecipeDocument(
        recipe=SOUPS[0],
        soup_recipes={3: SOUPS[0], 5: SOUPS[1]},
        point=Point(3, 40, Soup((Member(3, 40), Member(5, 20)))),
    )
    moved = changed(soup, {"steps": 80})
    assert moved.point == Point(3, 80, Soup((Member(3, 80), Member(5, 40))))
    assert [recipe.steps for recipe in moved.recipes.values()] == [80, 80]
