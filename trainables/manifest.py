"""TrainableManifest: exactly which parameters a subset trains on a model, with counts and bytes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import nn

from spaces.families import assign_roles, family_of
from spaces.subsets import roles_of


@dataclass(frozen=True, slots=True)
class TrainedParameter:
    """One trained parameter.

    Attributes:
        name: Its name in the model.
        role: What it is for.
        layer: Index of its layer, or None outside the layers.
        shape: Its shape.
        count: Number of elements.
        bytes: Size in memory, in the model's dtype.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, ...]
    count: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class TrainableManifest:
    """What a subset trains on one model.

    Attributes:
        model_type: The model configuration's `model_type`.
        family: Name of the family whose role map applied.
        subset: Name of the subset.
        parameters: The trained parameters, in the model's order.
        total: Number of elements of all the model's parameters.
    """

    model_type: str
    family: str
    subset: str
    parameters: tuple[TrainedParameter, ...]
    total: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trained parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def count(self) -> int:
        """Number of trained elements."""
        return sum(parameter.count for parameter in self.parameters)

    @property
    def bytes(self) -> int:
        """Size of the trained parameters in the model's dtype."""
        return sum(parameter.bytes for parameter in self.parameters)

    @property
    def share(self) -> float:
        """Trained elements over all elements, in [0, 1]."""
        return self.count / self.total

    def count_by_role(self) -> dict[str, int]:
        """Return role -> number of trained elements."""
        counts: Counter[str] = Counter()
        for parameter in self.parameters:
            counts[parameter.role] += parameter.count
        return dict(counts)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values, ready for JSON."""
        return {
            "model_type": self.model_type,
            "family": self.family,
            "subset": self.subset,
            "trained": self.count,
            "total": self.total,
            "share": self.share,
            "bytes": self.bytes,
            "by_role": self.count_by_role(),
            "parameters": [dataclasses.asdict(parameter) for parameter in self.parameters],
        }


def build_manifest(model: nn.Module, subset: str) -> TrainableManifest:
    """Return what a subset trains on a model, which may lie on the meta device.

    Args:
        model: A transformers model; a tied weight counts once, under its first name.
        subset: Name of the subset.

    Raises:
        ValueError: The architecture or the subset is unknown, a parameter has no role, or the subset
            matches no parameter of this model.
    """
    model_type = model.config.model_type
    family = family_of(model_type)
    roles = roles_of(subset)
    named = dict(model.named_parameters())
    assignments = assign_roles(named, family)
    trained = tuple(
        TrainedParameter(
            name=name,
            role=assignments[name].role,
            layer=assignments[name].layer,
            shape=tuple(parameter.shape),
            count=parameter.numel(),
            bytes=parameter.numel() * parameter.element_size(),
        )
        for name, parameter in named.items()
        if assignments[name].role in roles
    )
    if not trained:
        present = sorted({assignment.role for assignment in assignments.values()})
        raise ValueError(
            f"subset {subset!r} matches no parameter of this {model_type!r} model, "
            f"whose roles are: {', '.join(present)}"
        )
    return TrainableManifest(
        model_type=model_type,
        family=family.name,
        subset=subset,
        parameters=trained,
        total=sum(parameter.numel() for parameter in named.values()),
    )
