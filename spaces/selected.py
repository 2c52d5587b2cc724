"""Which parts of a model a recipe's subset and layer range train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from spaces.layers import layer_indices
from spaces.parts import Part
from spaces.random_control import random_parts
from spaces.roles import LANGUAGE, VISION
from spaces.subsets import Subset, parse_subset

Stack = Literal["language model", "vision tower"]


def selected_parts(parts: Sequence[Part], subset: str, layers: str = "all") -> tuple[Part, ...]:
    """Return the parts that a subset trains, in the order of the model.

    Args:
        parts: All parts of the model.
        subset: The subset; see `spaces.subsets`.
        layers: The layers outside of which nothing is trained; see `spaces.layers`. They are the language
            model's, or the vision tower's where the subset trains nothing in the former's.

    Raises:
        ValueError: The subset or the range is none; a name of the subset matches no part, or none within the
            range though it is added; the subset as a whole doesn't; the range goes beyond the layers.
    """
    wanted = parse_subset(subset)
    _check_names(parts, wanted, subset)
    chosen = tuple(part for part in parts if part.role in wanted.roles)
    if not chosen:
        raise ValueError(f"subset {subset!r} matches no parameter of this model, {_present(parts)}")
    stack = _stack_of(chosen)
    pool = parts
    if layers != "all":
        if stack is None:
            raise ValueError(f"layer range {layers!r}: {subset!r} trains nothing that belongs to a layer")
        count = 1 + max(part.layer for part in parts if _stack(part) == stack and part.layer is not None)
        indices = layer_indices(layers, count, of=f"the {stack}")
        pool = [part for part in parts if _stack(part) == stack and part.layer in indices]
        chosen = tuple(part for part in pool if part.role in wanted.roles)
        _check_added(chosen, wanted, subset, within=f"the layers {layers} of the {stack}")
    if wanted.seed is None:
        return chosen
    if stack is None:
        raise ValueError(f"subset {subset!r}: no control can be drawn for what belongs to no layer")
    pool = [part for part in pool if _stack(part) == stack]
    try:
        return random_parts(pool, sum(part.count for part in chosen), wanted.seed)
    except ValueError as error:
        raise ValueError(f"subset {subset!r}: {error} of the {stack}") from None


def _check_names(parts: Sequence[Part], wanted: Subset, subset: str) -> None:
    """Check that each name of an expression stands for something: else it would do nothing, unnoticed."""
    present = {part.role for part in parts}
    for term in wanted.terms:
        if len(wanted.terms) > 1 and not term.roles & present:
            raise ValueError(
                f"subset {subset!r}: {term.name!r} matches no parameter of this model, {_present(parts)}"
            )


def _check_added(chosen: Sequence[Part], wanted: Subset, subset: str, within: str) -> None:
    """Check that a layer range leaves something of each name that an expression adds."""
    left = {part.role for part in chosen}
    for term in wanted.terms:
        added = term.roles & wanted.roles
        if term.sign == "+" and added and not added & left:
            name = "" if len(wanted.terms) == 1 else f": {term.name!r}"
            raise ValueError(f"subset {subset!r}{name} matches no parameter of {within}")


def _present(parts: Sequence[Part]) -> str:
    return f"whose roles are: {', '.join(sorted({part.role for part in parts}))}"


def _stack(part: Part) -> Stack | None:
    """Return which stack of layers a part lies in, if any."""
    if part.layer is None:
        return None
    return "language model" if part.role in LANGUAGE else "vision tower" if part.role in VISION else None


def _stack_of(chosen: Sequence[Part]) -> Stack | None:
    stacks = {_stack(part) for part in chosen}
    order: tuple[Stack, ...] = ("language model", "vision tower")
    return next((stack for stack in order if stack in stacks), None)
