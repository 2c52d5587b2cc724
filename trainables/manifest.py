"""TrainableManifest: exactly which parameters a subset trains on a model, with counts and bytes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from spaces.families import parts_of
from spaces.parts import Part, Slice
from spaces.selected import selected_parts

# Attribute of a loaded model: the user's role map, if there is one.
OWN_ROLES = "own_role_map"


@dataclass(frozen=True, slots=True)
class TrainedParameter:
    """One trained parameter, or one role's slice of a fused one.

    Attributes:
        name: The parameter's name in the model.
        role: What it is for.
        layer: Index of its layer, or None outside the layers.
        shape: Shape of the whole parameter.
        count: Number of trained elements.
        bytes: Their size in memory, in the model's dtype.
        slice: Which of the elements are meant; None is all of them.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, ...]
    count: int
    bytes: int
    slice: Slice | None = None

    @property
    def is_pooling(self) -> bool:
        """Whether it is of a vision tower's pooling head, whose result no language model takes."""
        return self.role in {"vision.attn", "vision.mlp"} and self.layer is None


@dataclass(frozen=True, slots=True)
class TrainedTensor:
    """What the optimiser handles as one tensor.

    Attributes:
        key: Its name in checkpoints: the parameter's, or `<parameter>[<role>]` for a slice.
        name: The parameter's name in the model.
        slice: The trained elements; None is all of them.
    """

    key: str
    name: str
    slice: Slice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapters:
    """Low-rank adapters (LoRA) that are trained beside linear layers, which stay as they are.

    Attributes:
        rank: Rank r of each adapter's product B A.
        alpha: The product is scaled by alpha / r, for rsLoRA by alpha / sqrt(r).
        dropout: Share of an adapter's inputs that are set to zero in training.
        variant: `lora`, `rslora` or `dora`.
        modules: Names of the linear layers, in the model's order.
        transposed: Whether the layers hold their weights as `[in, out]`, as GPT-2's do.
    """

    rank: int
    alpha: float
    dropout: float
    variant: str
    modules: tuple[str, ...]
    transposed: bool = False

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Adapters:
        """Read back what `dataclasses.asdict` made, from JSON too."""
        return cls(**{**fields, "modules": tuple(fields["modules"])})


@dataclass(frozen=True, kw_only=True)
class TrainableManifest:
    """What a recipe trains on one model: parameters of its own, or adapters beside them.

    Attributes:
        model_type: The model configuration's `model_type`.
        family: Name of the role map that applied.
        subset: The subset.
        layers: The layers that it is limited to.
        parameters: The trained parameters, in the model's order; of adapters, theirs.
        total: Number of elements of all the model's own parameters.
        adapters: The adapters, if these are trained and nothing else.
        distilled: Whether training asks the base for its output, too (LwF).
    """

    model_type: str
    family: str
    subset: str
    layers: str = "all"
    parameters: tuple[TrainedParameter, ...]
    total: int
    adapters: Adapters | None = None
    distilled: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that are trained, whole or in part."""
        return tuple(dict.fromkeys(parameter.name for parameter in self.parameters))

    @property
    def tensors(self) -> tuple[TrainedTensor, ...]:
        """What the optimiser handles; a parameter of which all slices are trained is one tensor."""
        counts = self.count_by_name()
        tensors = (
            TrainedTensor(p.name, p.name)
            if counts[p.name] == math.prod(p.shape)
            else TrainedTensor(f"{p.name}[{p.role}]", p.name, p.slice)
            for p in self.parameters
        )
        return tuple(dict.fromkeys(tensors))

    @property
    def count(self) -> int:
        """Number of trained elements."""
        return sum(parameter.count for parameter in self.parameters)

    @property
    def tensor_elements(self) -> int:
        """Number of all elements of the tensors that are trained, whole or in part."""
        return sum(math.prod(shape) for shape in {p.name: p.shape for p in self.parameters}.values())

    @property
    def bytes(self) -> int:
        """Size of the trained elements in the model's dtype."""
        return sum(parameter.bytes for parameter in self.parameters)

    @property
    def share(self) -> float:
        """Trained elements over all elements, in [0, 1]."""
        return self.count / self.total

    @property
    def cut(self) -> dict[str, tuple[int, int]]:
        """Name -> trained elements and all elements, of each parameter that is trained in part."""
        counts, sizes = self.count_by_name(), {p.name: math.prod(p.shape) for p in self.parameters}
        return {name: (counts[name], size) for name, size in sizes.items() if counts[name] < size}

    def count_by_role(self) -> dict[str, int]:
        """Return role -> number of trained elements."""
        counts: Counter[str] = Counter()
        for parameter in self.parameters:
            counts[parameter.role] += parameter.count
        return dict(counts)

    def count_by_name(self) -> dict[str, int]:
        """Return parameter's name -> number of trained elements."""
        counts: Counter[str] = Counter()
        for parameter in self.parameters:
            counts[parameter.name] += parameter.count
        return dict(counts)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain values, ready for JSON."""
        return {
            "model_type": self.model_type,
            "family": self.family,
            "subset": self.subset,
            "layers": self.layers,
            "method": "selective" if self.adapters is None else "lora",
            "trained": self.count,
            "total": self.total,
            "share": self.share,
            "bytes": self.bytes,
            "by_role": self.count_by_role(),
            "parameters": [dataclasses.asdict(parameter) for parameter in self.parameters],
            "tensors": [dataclasses.asdict(tensor) for tensor in self.tensors],
            "adapters": None if self.adapters is None else dataclasses.asdict(self.adapters),
            "distilled": self.distilled,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TrainableManifest:
        """Read back what `to_dict` wrote; what follows from the parameters is computed anew."""
        return cls(
            **{name: fields[name] for name in ("model_type", "family", "subset", "layers", "total")},
            parameters=tuple(_parameter(each) for each in fields["parameters"]),
            adapters=None if fields["adapters"] is None else Adapters.from_dict(fields["adapters"]),
            distilled=fields["distilled"],
        )


def build_manifest(model: nn.Module, subset: str, layers: str = "all") -> TrainableManifest:
    """Return what a subset trains on a model, which may lie on the meta device.

    Args:
        model: A transformers model, with a role map of its own if `load_model` was given one; a tied weight
            counts once, under its first name.
        subset: The subset.
        layers: The layers that it is limited to.

    Raises:
        ValueError: The architecture, the subset or the layers are unknown, a parameter has no role, or the
            subset matches no parameter of this model.
    """
    config = model.config.to_dict()
    named = dict(model.named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in named.items()}
    family, parts = parts_of(shapes, config, getattr(model, OWN_ROLES, None))
    return TrainableManifest(
        model_type=config["model_type"],
        family=family,
        subset=subset,
        layers=layers,
        parameters=tuple(
            _trained(part, named[part.name].element_size()) for part in selected_parts(parts, subset, layers)
        ),
        total=sum(parameter.numel() for parameter in named.values()),
    )


def _parameter(fields: Mapping[str, Any]) -> TrainedParameter:
    part = fields["slice"]
    return TrainedParameter(
        **{**fields, "shape": tuple(fields["shape"]), "slice": None if part is None else Slice(**part)}
    )


def _trained(part: Part, item_size: int) -> TrainedParameter:
    return TrainedParameter(
        name=part.name,
        role=part.role,
        layer=part.layer,
        shape=part.shape,
        count=part.count,
        bytes=part.count * item_size,
        slice=part.slice,
    )
