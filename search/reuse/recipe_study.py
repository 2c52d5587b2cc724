"""A study file read for a recipe that is chosen: what it says of a search is put in the recipe's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from search.config import StudyConfig
from search.handover.recipe_document import RecipeDocument
from search.settings.selection_config import FinalistsConfig
from search.settings.study_file import load_study, override_value
from search.settings.user_input import InputError
from spaces.points import Member, Point, Soup
from spaces.recipe import Recipe

_RECIPES: Final = "recipe."
SETTINGS: Final = ("steps", "batch_size", "schedule", "weight_decay", "max_grad_norm")
"""Settings of the optimiser for which a study file and a recipe both have a place: the recipe's count."""


def divided(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Divide overrides into the recipe's fields (`recipe.steps=200`) and settings of the study file.

    Raises:
        InputError: A setting is one of the recipe's, or its value is not YAML.
    """
    fields: dict[str, Any] = {}
    rest = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if key.removeprefix("training.") in SETTINGS and key.startswith("training."):
            raise InputError(
                f"override {override!r}: the recipe says that; to change it write "
                f"{_RECIPES}{key.removeprefix('training.')}={text}"
            )
        if not key.startswith(_RECIPES):
            rest.append(override)
            continue
        if not equals:
            raise InputError(f"override {override!r}: expected key=value, such as recipe.steps=200")
        fields[key.removeprefix(_RECIPES)] = override_value(override, text)
    return fields, rest


def changed(document: RecipeDocument, fields: Mapping[str, Any]) -> RecipeDocument:
    """Return a document with other values of its recipe's fields, of each member's if it is a soup.

    Where it has other steps, the point's step moves with them: half of the way stays half of the way.

    Raises:
        InputError: A field is unknown, or a value breaks its rule.
    """
    if not fields:
        return document
    assert document.recipe is not None
    try:
        recipe = _with(document.recipe, fields)
        soup = {trial: _with(member, fields) for trial, member in document.soup_recipes.items()}
        after = soup or {document.made.trial: recipe}
        point = document.point and _moved(document.point, document.recipes, after)
        return dataclasses.replace(document, recipe=recipe, soup_recipes=soup, point=point)
    except ValueError as error:
        raise InputError(f"{_RECIPES}*: {error}") from None


def _with(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe:
    return Recipe.from_dict({**recipe.to_dict(), **fields})


def _moved(point: Point, before: Mapping[int, Recipe], after: Mapping[int, Recipe]) -> Point:
    def step(trial: int, old: int) -> int:
        return max(1, round(old * after[trial].steps / before[trial].steps))

    transform = point.transform
    if isinstance(transform, Soup):
        members = (Member(each.trial, step(each.trial, each.step)) for each in transform.members)
        transform = Soup(tuple(members))
    return Point(point.trial, step(point.trial, point.step), transform)


def load_for_recipes(
    path: Path, overrides: Sequence[str], recipes: Sequence[Recipe], *, seed: int
) -> StudyConfig:
    """Read a study file for what trains recipes; its search, its space and its finalists are not read.

    Args:
        path: The study file. The sections `space` and `search`, and of `training` the settings of the
            optimiser, may be absent.
        overrides: Settings such as `training.samples=100`.
        recipes: What is trained.
        seed: The seed.

    Returns:
        The study of these recipes and no others, called `<name>-applied` unless `name` is overridden. It has
        finalists where all its tasks have a confirm split, so that this is read.

    Raises:
        InputError: The file or an override is wrong, or lacks what a recipe needs.
    """
    named = any(override.startswith("name=") for override in overrides)
    config = load_study(path, overrides, completion(recipes, seed, suffix="" if named else "-applied"))
    return with_confirm(config)


def with_confirm(config: StudyConfig) -> StudyConfig:
    """Return a study with finalists if all its tasks have a confirm split, so that this is read."""
    there = all("confirm" in task.splits for task in config.resolved_tasks().values())
    return config.model_copy(update={"finalists": FinalistsConfig() if there else None})


def completion(
    recipes: Sequence[Recipe], seed: int, *, suffix: str
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what puts recipes in the place of a study file's search."""

    def complete(content: dict[str, Any]) -> dict[str, Any]:
        training = dict(content.get("training") or {})
        evaluation = dict(content.get("evaluation") or {})
        replayed = any(recipe.replay_ratio > 0 for recipe in recipes)
        if replayed and not training.get("replay"):
            raise InputError(
                f"training.replay: the recipe draws {max(recipe.replay_ratio for recipe in recipes):g} of "
                "each batch from its tasks, and there is none; recipe.replay_ratio=0 trains without"
            )
        if not replayed:
            training.pop("replay", None)
        evaluation.pop("rung_samples", None)
        first = recipes[0]
        name = content.get("name")
        return content | {
            **({"name": f"{name}{suffix}"} if isinstance(name, str) else {}),
            "training": training | {key: getattr(first, key) for key in SETTINGS},
            "evaluation": evaluation,
            "space": space_of(recipes),
            "search": {"trials": 1, "seed": seed, "presets": False},
            "points": None,
            "finalists": None,
        }

    return complete


def space_of(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """Return a study file's section `space` that holds these recipes."""

    def values(name: str, of: Sequence[Recipe] = recipes) -> list[Any]:
        return list(dict.fromkeys(getattr(recipe, name) for recipe in of))

    rates = values("learning_rate")
    adapted = [recipe for recipe in recipes if recipe.method == "lora"]
    lora = {name: values(f"lora_{name}", adapted) for name in ("rank", "alpha", "dropout", "variant")}
    distilled = [recipe for recipe in recipes if recipe.lwf_weight > 0]
    lwf = {"weight": values("lwf_weight")}
    lwf |= {"temperature": values("lwf_temperature", distilled)} if distilled else {}
    shared = ("layers", "l2sp_weight", "replay_ratio", "batch_size", "warmup_ratio")
    names = (*shared, "schedule", "weight_decay", "max_grad_norm")
    return {
        "subsets": values("subset"),
        "methods": values("method"),
        "learning_rate": [min(rates), max(rates)],
        **({"lora": lora} if adapted else {}),
        "lwf": lwf,
        **{name: values(name) for name in names},
    }
