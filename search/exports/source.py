"""Source: a recipe that is to be written for another tool, and the model that it is for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from search.config import ModelConfig
from search.handover.recipe_document import RecipeDocument, read_recipe
from search.records.study_folder import StudyFolder
from search.settings.user_input import InputError, parse_section
from spaces.points import Identity
from spaces.recipe import Recipe
from trainables.checkpoint import MANIFEST_FILE
from trainables.manifest import TrainableManifest
from trainables.model import ModelError, load_skeleton, model_source
from trainables.weights.trained import trained_manifest


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recipe, its model, and where it was selected the weights.

    Attributes:
        file: The recipe's file, for messages.
        document: What the file holds.
        recipe: The recipe.
        model: The base model.
        skeleton: The base on the meta device.
        manifest: What the recipe trains on it.
        selected: The folder of the selected weights, if they are there and belong to this model.
    """

    file: Path
    document: RecipeDocument
    recipe: Recipe
    model: ModelConfig
    skeleton: nn.Module
    manifest: TrainableManifest
    selected: Path | None

    @property
    def name(self) -> str:
        """Name of the folder that the recipe lies in."""
        return self.file.absolute().parent.name

    @property
    def base(self) -> str:
        """What other tools load the base by: a hub id, or a folder of this machine."""
        path = model_source(self.model.path)
        return str(Path(path).absolute()) if Path(path).is_dir() else path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all the base's parameters."""
        return tuple(name for name, _ in self.skeleton.named_parameters())

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Names of all the base's modules."""
        return tuple(name for name, _ in self.skeleton.named_modules() if name)

    @property
    def transformed(self) -> bool:
        """Whether the selected weights are not simply those that the recipe's training ends with."""
        made = self.document.made
        return not (isinstance(made.transform, Identity) and made.step == self.recipe.steps)


def read_source(path: Path, model: str | None = None) -> Source:
    """Read a recipe to be written for another tool.

    Args:
        path: A study's folder, or a recipe's file.
        model: Another base model than the recipe's own.

    Raises:
        InputError: There is no recipe, it is damaged, its model can't be read, or it does not fit the model.
    """
    document = read_recipe(path)
    file = StudyFolder(path).recipe if path.is_dir() else path
    if document.recipe is None:
        raise InputError(f"{file}: the verdict is to keep the base, so there is no recipe to export")
    own = document.model
    if model is None and own is None:
        raise InputError(f"{file}: it does not say which model the recipe is for: name one with --model")
    if model is None:
        assert own is not None
        values = {"path": own.path, "dtype": own.dtype, "roles": own.roles}
    else:
        values = {"path": model, "dtype": own.dtype if own else "float32"}
    base = parse_section(ModelConfig, values, f"{file}: model" if model is None else "--model")
    skeleton, manifest = _fitted(file, document.recipe, base)
    selected = StudyFolder(file.parent).selected
    return Source(
        file=file,
        document=document,
        recipe=document.recipe,
        model=base,
        skeleton=skeleton,
        manifest=manifest,
        selected=selected if model is None and (selected / MANIFEST_FILE).is_file() else None,
    )


def adapters_kept(source: Source) -> bool:
    """Return whether the selected weights are adapters, not weights that were made of them."""
    if source.selected is None:
        return False
    described = json.loads((source.selected / MANIFEST_FILE).read_text(encoding="utf-8"))
    return described["adapters"] is not None


def _fitted(file: Path, recipe: Recipe, model: ModelConfig) -> tuple[nn.Module, TrainableManifest]:
    try:
        skeleton = load_skeleton(model.path, dtype=getattr(torch, model.dtype), roles=model.role_map)
    except ModelError as error:
        raise InputError(f"{file}: {error}") from None
    try:
        return skeleton, trained_manifest(skeleton, recipe)
    except ValueError as error:
        raise InputError(f"{file}: the recipe does not fit model {model.path!r}: {error}") from None
