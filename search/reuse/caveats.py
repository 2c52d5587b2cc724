"""Caveats: in what a recipe is applied otherwise than it was found, which its learning rate may not bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.handover.recipe_document import RecipeDocument
from search.wording import rate
from spaces.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a learning rate depends on, besides the data.

    Attributes:
        architecture: Class of the model, as its configuration names it; empty where it names none.
        model_type: Its `model_type`.
        parameters: Elements of all its parameters.
        trained: Elements that are trained.
        dtype: Type of its weights.
    """

    architecture: str
    model_type: str
    parameters: int
    trained: int
    dtype: str


def caveats(document: RecipeDocument, recipes: Sequence[Recipe], here: Circumstances) -> tuple[str, ...]:
    """Return in what a recipe is applied otherwise than it was found, one line each.

    Args:
        document: The recipe, as it was found.
        recipes: What is trained: the recipe, or the members of a soup.
        here: What it is trained on.
    """
    assert document.recipe is not None
    return (*_settings(tuple(document.recipes.values()), recipes), *_models(document, here))


def caveat_sentence(recipe: Recipe, lines: Sequence[str]) -> str:
    """Say what the caveats mean for a recipe; empty without any."""
    if not lines:
        return ""
    return (
        f"the learning rate {rate(recipe.learning_rate)} was found under other circumstances ("
        f"{'; '.join(lines)}), so a search may find a better one here"
    )


def _settings(found: Sequence[Recipe], applied: Sequence[Recipe]) -> Iterator[str]:
    for name, text in (("batch_size", "batch size {}"), ("steps", "{} steps")):
        before, after = (sorted({getattr(recipe, name) for recipe in each}) for each in (found, applied))
        if before != after:
            yield f"{text.format(_listed(after))} instead of {_listed(before)}"


def _models(document: RecipeDocument, here: Circumstances) -> Iterator[str]:
    there, model, trained = document.architecture, document.model, document.trained
    if there is None or model is None:
        yield "on which model it was found is not known"
        return
    if (there.model_type, there.name) != (here.model_type, here.architecture):
        yield (
            f"a model of the type {_type(here.model_type, here.architecture)} instead of "
            f"{_type(there.model_type, there.name)}"
        )
    if there.parameters != here.parameters:
        yield f"a model of {here.parameters:,} parameters instead of {there.parameters:,}"
    if trained is not None and trained.parameters != here.trained:
        yield f"{here.trained:,} trained parameters instead of {trained.parameters:,}"
    if model.dtype != here.dtype:
        yield f"{here.dtype} instead of {model.dtype}"


def _type(model_type: str, architecture: str) -> str:
    return f"{model_type} ({architecture})" if architecture else model_type


def _listed(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))
