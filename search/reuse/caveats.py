"""Caveats: in what a recipe is applied otherwise than it was found, which its learning rate may not bear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.handover.recipe_document import RecipeDocument
from search.wording import listed, rate
from spaces.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a learning rate depends on.

    Attributes:
        architecture: Class of the model, as its configuration names it; empty where it names none.
        model_type: Its `model_type`.
        parameters: Elements of all its parameters.
        trained: Elements that are trained.
        dtype: Type of its weights.
        fingerprint: Content hash of the model.
        train: `<task>/train` -> content hash of what is trained on.
    """

    architecture: str
    model_type: str
    parameters: int
    trained: int
    dtype: str
    fingerprint: str
    train: Mapping[str, str]


def caveats(document: RecipeDocument, recipes: Sequence[Recipe], here: Circumstances) -> tuple[str, ...]:
    """Return in what a recipe is applied otherwise than it was found, one line each.

    Args:
        document: The recipe, as it was found.
        recipes: What is trained: the recipe, or the members of a soup.
        here: What it is trained on.
    """
    assert document.recipe is not None
    # Where the kind of model is another, so are its weights.
    models = tuple(_models(document, here)) or tuple(_weights(document, here))
    return (*_settings(tuple(document.recipes.values()), recipes), *models, *_data(document, here))


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


def _weights(document: RecipeDocument, here: Circumstances) -> Iterator[str]:
    there = document.model
    if there is not None and there.fingerprint and there.fingerprint != here.fingerprint:
        yield f"other weights of the base model than those of {there.path}"


def _data(document: RecipeDocument, here: Circumstances) -> Iterator[str]:
    if not document.data:
        return
    other = [split for split, content in here.train.items() if document.data.get(split) != content]
    targets = [f"{task}/train" for task in (document.evidence or {}).get("targets", {})]
    if gone := [split for split in targets if split not in here.train]:
        yield f"without the training data of {listed(gone)}"
    if other:
        yield f"other training data in {listed(other)}"


def _type(model_type: str, architecture: str) -> str:
    return f"{model_type} ({architecture})" if architecture else model_type


def _listed(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))
