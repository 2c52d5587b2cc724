"""Matched parameters: what a subset catches on the user's model, grouped by role, for a person to check."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from spaces.roles import ROLES

if TYPE_CHECKING:
    from trainables.manifest import TrainableManifest, TrainedParameter


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """The parameters of one role that are trained.

    Attributes:
        role: The role; of an adapter that serves several parts of a fused matrix, all of them joined by `+`.
        layers: Indices of their layers, such as `0-27` or `0-3,8`; empty outside the layers.
        tensors: Number of tensors, or slices of them.
        elements: Number of trained elements.
        shapes: How many of which shape, such as `28 x [3584, 3584]`; of a slice, how much of a dimension:
            `[512 of 1536, 512]`.
    """

    role: str
    layers: str
    tensors: int
    elements: int
    shapes: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def matched(manifest: TrainableManifest) -> list[Matched]:
    """Return what a manifest trains, by role; in the order of `ROLES`, joined roles by their first."""
    by_role: dict[str, list[TrainedParameter]] = {}
    for parameter in manifest.parameters:
        by_role.setdefault(parameter.role, []).append(parameter)
    return [
        Matched(
            role=role,
            layers=as_ranges(p.layer for p in by_role[role] if p.layer is not None),
            tensors=len(by_role[role]),
            elements=sum(p.count for p in by_role[role]),
            shapes=" + ".join(
                shape if number == 1 else f"{number} x {shape}"
                for shape, number in Counter(map(_shape, by_role[role])).items()
            ),
        )
        for role in sorted(by_role, key=lambda role: ROLES.index(role.split("+")[0]))
    ]


def as_ranges(indices: Iterable[int]) -> str:
    """Write whole numbers with neighbours drawn together: `0-3,8`."""
    # Neighbours have the same distance from their position in the order.
    runs = groupby(enumerate(sorted(set(indices))), key=lambda item: item[1] - item[0])
    bounds = [[index for _, index in run] for _, run in runs]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in bounds)


def _shape(parameter: TrainedParameter) -> str:
    sizes = list(map(str, parameter.shape))
    if (part := parameter.slice) is not None:
        own = parameter.count * parameter.shape[part.axis] // math.prod(parameter.shape)
        sizes[part.axis] = f"{own} of {sizes[part.axis]}"
    return f"[{', '.join(sizes)}]"
