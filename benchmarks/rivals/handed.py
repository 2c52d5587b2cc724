"""What a side hands over: a recipe, or what its search made of several recipes' weights without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.rivals.trace import Recipe2
from spaces.points import Identity, Point
from spaces.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """A recipe with what is done to its weights.

    Attributes:
        recipes: Subset and learning rate of each trial that the point is made of, in its order.
        point: What is done to the trained weights.
    """

    recipes: tuple[Recipe2, ...]
    point: Point

    @classmethod
    def plain(cls, recipe: Recipe2, steps: int) -> Handed:
        """Return a recipe whose weights are taken as they are when it ends."""
        return cls(recipes=(recipe,), point=Point(0, steps, Identity()))

    @classmethod
    def of(cls, recipes: Mapping[int, Recipe], point: Point) -> Handed:
        """Return what a study selected.

        Args:
            recipes: Trial -> its recipe.
            point: What was selected.

        Raises:
            ValueError: It is made of weights from before a trial's end.
        """
        own = [recipes[member.trial] for member in point.members]
        if any(member.step != recipe.steps for member, recipe in zip(point.members, own, strict=True)):
            raise ValueError(f"{point.label} is made of weights from before a trial's end")
        return cls(recipes=tuple((each.subset, each.learning_rate) for each in own), point=point)

    @property
    def label(self) -> str:
        """What files and tables call it."""
        names = " and ".join(f"{subset} {rate:.4g}" for subset, rate in self.recipes)
        return names if self.point.transform == Identity() else f"{names}, {self.point.label}"

    @property
    def key(self) -> str:
        """A name that nothing else has."""
        return f"{self.recipes!r} {self.point.transform.to_dict()!r}"
