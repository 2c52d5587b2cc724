"""What a recipe holds that another tool has no setting for."""

from __future__ import annotations

from typing import Final

from search.exports.source import Source
from spaces.points import Interpolation, Pruning, Soup

LONGEST: Final = 2048
"""Tokens that a sample has at most, for tools that must be told."""

# transformers' Trainer spares these.
_NOT_ALONE = "the trained weights alone are not the model that was selected, and may forget far more"
_WITHOUT_DECAY = ("bias", "norm")


def limits_of(source: Source, tool: str) -> tuple[str, ...]:
    """Return what none of the other tools can express of a recipe, one sentence each.

    Args:
        source: The recipe.
        tool: What the tool is called.
    """
    recipe = source.recipe
    found: list[str] = []
    if recipe.lwf_weight:
        found.append(
            f"distillation from the base (LwF, weight {recipe.lwf_weight:g}, temperature "
            f"{recipe.lwf_temperature:g}): {tool} trains without it"
        )
    if recipe.l2sp_weight:
        found.append(
            f"the pull back to the base's weights (L2-SP, weight {recipe.l2sp_weight:g}): {tool} trains "
            "without it"
        )
    if recipe.replay_ratio:
        found.append(
            f"replay: {100 * recipe.replay_ratio:g} % of each batch came from other tasks' samples; mix such "
            "samples into the training data in that proportion"
        )
    if recipe.weight_decay and recipe.method == "selective" and (spared := _spared(source)):
        found.append(
            f"weight decay of {spared}: the recipe decays all that it trains, {tool} spares biases and norms"
        )
    return (*found, *_of_the_point(source))


def of_slices(source: Source, tool: str) -> tuple[str, ...]:
    """Say which parameters a tool trains whole, though the recipe trains a part of them."""
    cut = source.manifest.cut
    if not cut:
        return ()
    name, (own, whole) = next(iter(cut.items()))
    return (
        f"a part of a fused weight: of {len(cut)} tensors, such as {name}, the recipe trains some rows or "
        f"columns ({own:,} of {whole:,} elements there), {tool} the whole",
    )


def of_long_samples(tool: str, key: str) -> str:
    """Say that a tool trains no sample whole that is longer than a setting of it."""
    return (
        f"samples of more than {LONGEST:,} tokens ({key}), images' tokens included: {tool} cuts them or "
        "leaves them out, the recipe was trained on whole samples; set it to the longest of yours"
    )


def _spared(source: Source) -> str:
    names = [
        name
        for name in source.manifest.names
        if name.endswith(_WITHOUT_DECAY[0]) or _WITHOUT_DECAY[1] in name.lower()
    ]
    return "" if not names else f"{len(names)} tensors, such as {names[0]}"


def _of_the_point(source: Source) -> tuple[str, ...]:
    if not source.transformed:
        return ()
    point = source.document.made
    ready = "`--to transformers` writes the weights as they were measured"
    match point.transform:
        case Soup(members):
            return (f"the mean of {len(members)} trainings: this is its best member's recipe alone; {ready}",)
        case Interpolation(alpha):
            return (
                f"what follows the training, {alpha:g} x tuned + {1 - alpha:g} x base (WiSE-FT); "
                f"{_NOT_ALONE}; {ready}",
            )
        case Pruning(keep):
            return (
                f"what follows the training, {100 * keep:g} % of the changes kept; {_NOT_ALONE}; {ready}",
            )
        case _:
            return (
                f"the weights are those after {point.step} of {source.recipe.steps} steps: stop there, but "
                f"keep the schedule of {source.recipe.steps}; {ready}",
            )
