"""RecipeDocument: a selected recipe with what it was found on, as `recipe.yaml` keeps it.

A file of one version of the format is read back strictly: what is misspelt is an error, not a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field

from search.settings.config_types import Section
from search.settings.user_input import InputError, no_such_file, parse_section, read_mapping
from spaces.points import Identity, Point, Soup
from spaces.recipe import Recipe

FORMAT: Final = 1
USE: Final = "use this recipe"
KEEP_THE_BASE: Final = "keep the base"
Verdict = Literal["use this recipe", "keep the base"]

_Whole = Annotated[int, Field(ge=0)]


class BaseModelFacts(Section):
    """The base model that a recipe was found on, by path and content."""

    path: str
    dtype: Literal["float32", "bfloat16"]
    roles: dict[str, Any] | None = None
    fingerprint: str = ""


class Architecture(Section):
    """What kind of model that is; empty texts where it is not known."""

    name: str = Field("", description="Class of the model, such as LlavaForConditionalGeneration.")
    model_type: str
    family: str = Field(description="Name of the role map that applied.")
    parameters: Annotated[int, Field(ge=1, description="Elements of all its parameters.")]


class TrainedFacts(Section):
    """What the recipe trained on that model."""

    roles: dict[str, _Whole] = Field(description="Role -> number of trained elements.")
    parameters: _Whole = Field(description="Their sum.")


class _Compared(Section):
    """What a task scored."""

    base: float
    tuned: float
    n: _Whole


class _Estimated(Section):
    """A measure over seeds, with its interval where that is known."""

    value: float
    low: float | None = None
    high: float | None = None


class _Confirm(Section):
    """What new seeds scored on the confirm split."""

    split: Literal["confirm"] = "confirm"
    seeds: list[_Whole] = Field([])
    handed_over: _Whole | None = None
    score: _Estimated | None = None
    target_gain: _Estimated | None = None
    held_out_forgetting: _Estimated | None = None
    worst_forgetting: _Estimated | None = None
    targets: dict[str, _Compared] = Field({})
    held_out: dict[str, _Compared] = Field({})


class _Selected(Section):
    """What the weights that are handed over scored themselves, by task."""

    seed: _Whole
    search: dict[str, float]
    confirm: dict[str, float]


class EvidenceSection(Section):
    """What the recipe scored."""

    split: Literal["search"] = "search"
    trial: _Whole | None = None
    trial_id: str = ""
    seed: _Whole | None = None
    score: float | None = None
    target_gain: float | None = None
    held_out_forgetting: float | None = None
    worst_forgetting: float | None = None
    targets: dict[str, _Compared] = Field({})
    held_out: dict[str, _Compared] = Field({})
    confirm: _Confirm | None = None
    selected: _Selected | None = None


class _File(Section):
    """The file's keys."""

    format: int
    verdict: Verdict = USE
    reason: str = ""
    recipe: dict[str, Any] | None
    point: dict[str, Any] | None = None
    soup_recipes: dict[int, dict[str, Any]] | None = None
    model: BaseModelFacts | None = None
    architecture: Architecture | None = None
    trained: TrainedFacts | None = None
    evidence: EvidenceSection | None = None
    objective: dict[str, Any] = Field({})
    selection: dict[str, Any] = Field({})
    trials: dict[str, _Whole] = Field({})
    points: _Whole = 0
    data: dict[str, str] = Field({})
    versions: dict[str, str] = Field({})
    applied: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RecipeDocument:
    """A selected recipe with its evidence; the recipe alone is enough.

    Attributes:
        recipe: What is trained and how; None where the base is kept.
        verdict: Whether to use it.
        reason: Why, in one sentence.
        point: What is done to the trained weights; None takes them as they are.
        soup_recipes: Trial -> recipe, of each member of a soup; empty for any other point.
        model: The base model that it was found on.
        architecture: What kind of model that is.
        trained: What was trained of it.
        evidence: What it scored on the search split, by which seed, and under `confirm` what new seeds scored
            on the confirm split.
        objective: What was maximised.
        selection: The rule by which it was chosen.
        trials: State -> number of trials that it was chosen from.
        points: Number of points that it was chosen from.
        data: `<task>/<split>` -> content hash.
        versions: Package -> version.
        applied: Where it was trained without a search: the seed, what differs from the evidence that it was
            chosen by, and that evidence.
    """

    recipe: Recipe | None
    verdict: Verdict = USE
    reason: str = ""
    point: Point | None = None
    soup_recipes: Mapping[int, Recipe] = field(default_factory=dict)
    model: BaseModelFacts | None = None
    architecture: Architecture | None = None
    trained: TrainedFacts | None = None
    evidence: Mapping[str, Any] | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)
    points: int = 0
    data: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    applied: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check that verdict, recipe, point and soup agree.

        Raises:
            ValueError: They don't; the message names the key.
        """
        if (self.recipe is None) != (self.verdict == KEEP_THE_BASE):
            has = "no recipe" if self.recipe is None else "a recipe"
            raise ValueError(f"verdict: {self.verdict!r} with {has}")
        if self.recipe is None:
            return
        recipes = self.recipes
        for member in self.made.members:
            if member.trial not in recipes:
                raise ValueError(f"soup_recipes: the recipe of trial {member.trial}, a member, is missing")
            if not 1 <= member.step <= recipes[member.trial].steps:
                steps = recipes[member.trial].steps
                raise ValueError(
                    f"point: step {member.step} of trial {member.trial} is not one of its {steps} steps"
                )

    @property
    def seed(self) -> int:
        """The seed of the weights that were handed over; 0 where the file tells none."""
        evidence = self.evidence or {}
        own = (evidence.get("selected") or {}).get("seed")
        if own is None:
            own = (evidence.get("confirm") or {}).get("handed_over")
        return int(own if own is not None else evidence.get("seed") or 0)

    @property
    def recipes(self) -> dict[int, Recipe]:
        """Trial -> its recipe: one, or as many as a soup has members."""
        assert self.recipe is not None, "the base is kept"
        if isinstance(self.made.transform, Soup):
            return dict(self.soup_recipes)
        return {self.made.trial: self.recipe}

    @property
    def made(self) -> Point:
        """The point; where the file has none, the recipe's weights as they are when it ends."""
        assert self.recipe is not None, "the base is kept"
        return self.point or Point(0, self.recipe.steps, Identity())

    def to_dict(self) -> dict[str, Any]:
        """Return the document as plain values, ready for YAML."""
        soup = {trial: recipe.to_dict() for trial, recipe in self.soup_recipes.items()}
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "reason": self.reason,
            "recipe": None if self.recipe is None else self.recipe.to_dict(),
            "point": None if self.point is None else self.point.to_dict(),
            **({"soup_recipes": soup} if soup else {}),
            "model": _plain(self.model),
            "architecture": _plain(self.architecture),
            "trained": _plain(self.trained),
            "evidence": None if self.evidence is None else dict(self.evidence),
            "objective": dict(self.objective),
            "selection": dict(self.selection),
            "trials": dict(self.trials),
            "points": self.points,
            "data": dict(self.data),
            "versions": dict(self.versions),
            **({} if self.applied is None else {"applied": dict(self.applied)}),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], source: str) -> RecipeDocument:
        """Read back what `to_dict` wrote.

        Args:
            fields: The plain values.
            source: Where they come from, for messages.

        Raises:
            InputError: A key is unknown or missing, a value breaks a rule, or the format is another.
        """
        version = fields.get("format", FORMAT)
        if version != FORMAT:
            raise InputError(f"{source}: format: this version reads format {FORMAT}, got {version!r}")
        file = parse_section(_File, dict(fields), source)
        try:
            return cls(
                recipe=None if file.recipe is None else Recipe.from_dict(file.recipe),
                verdict=file.verdict,
                reason=file.reason,
                point=None if file.point is None else Point.from_dict(file.point),
                soup_recipes=_soup(file.soup_recipes or {}),
                model=file.model,
                architecture=file.architecture,
                trained=file.trained,
                evidence=None if file.evidence is None else fields["evidence"],
                objective=file.objective,
                selection=file.selection,
                trials=file.trials,
                points=file.points,
                data=file.data,
                versions=file.versions,
                applied=file.applied,
            )
        except ValueError as error:
            raise InputError(f"{source}: {error}") from None


def read_recipe(path: Path) -> RecipeDocument:
    """Read a recipe.

    Args:
        path: A `recipe.yaml`, or the folder that it lies in.

    Raises:
        InputError: There is none, or it is wrong; one line that names the file, the key and the rule.
    """
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        missing = no_such_file(file, "recipe")
        if not file.exists() and (file.parent / "study.yaml").is_file():
            raise InputError(f"{missing}: recipe-search select {file.parent} writes it anew")
        raise missing
    return RecipeDocument.from_dict(read_mapping(file, "recipe"), str(file))


def recipe_yaml(document: RecipeDocument) -> str:
    """Return a document as the text of its file."""
    return yaml.safe_dump(document.to_dict(), sort_keys=False, allow_unicode=True)


def _soup(recipes: Mapping[int, Mapping[str, Any]]) -> dict[int, Recipe]:
    found = {}
    for trial, fields in recipes.items():
        try:
            found[trial] = Recipe.from_dict(fields)
        except ValueError as error:
            raise ValueError(f"soup_recipes.{trial}: {error}") from None
    return found


def _plain(section: Section | None) -> dict[str, Any] | None:
    if section is None:
        return None
    values = section.model_dump(mode="json")
    # A model without roles of its own has no such key.
    return {key: value for key, value in values.items() if value is not None}
