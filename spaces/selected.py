"""Which parts of a model a subset trains."""

from __future__ import annotations

from collections.abc import Sequence

from spaces.parts import Part
from spaces.subsets import roles_of


def selected_parts(parts: Sequence[Part], subset: str, layers: str = "all") -> tuple[Part, ...]:
    """Return the parts that a subset trains, in the order of the model.

    Args:
        parts: All parts of the model.
        subset: Name of the subset.
        layers: The layers that it is limited to.

    Raises:
        ValueError: The subset is unknown or matches no part.
    """
    roles = roles_of(subset)
    chosen = tuple(part for part in parts if part.role in roles)
    if not chosen:
        present = dict.fromkeys(part.role for part in parts)
        raise ValueError(
            f"subset {subset!r} matches no parameter of this model, "
            f"whose roles are: {', '.join(sorted(present))}"
        )
    return chosen
