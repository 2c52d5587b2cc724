"""What a recipe trains on a model: the subset's own parameters, or adapters beside its linear layers.

An adapter computes `scale B A x` beside a linear layer's `W x`: A is `[rank, in]`, B `[out, rank]` (Hu et
al., arXiv 2106.09685). B starts at zero, so a new adapter changes nothing. DoRA has the length of each row of
W as a third tensor, `[out]` (Liu et al., arXiv 2402.09353).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from spaces.parts import Slice
from spaces.recipe import Recipe
from spaces.subsets import parse_subset
from trainables.manifest import Adapters, TrainableManifest, TrainedParameter, build_manifest

ADAPTER: Final = "default"
"""The name that PEFT gives an adapter of no other name; it is a part of its parameters' names."""

LINEAR: Final = (nn.Linear, Conv1D)
NEVER_ADAPTED: Final = (nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
LOOKED_UP: Final = frozenset({"embed", "position", "vision.embed"})
"""Roles whose parameters are looked up or added, or, of a tower's, take patches by a convolution."""


def trained_manifest(model: nn.Module, recipe: Recipe) -> TrainableManifest:
    """Return what a recipe trains on a model, which may lie on the meta device and is not changed.

    With the method `lora` these are adapters on the weights of the linear layers (`nn.Linear`, GPT-2's
    `Conv1D`) that the subset holds. Its biases, norms, embeddings, positions and convolutions stay frozen.
    Any other matrix that is no linear layer's is an error, in a wide subset such as `llm`, too: experts
    stacked in one parameter, a router. Without them the recipe would be another one than its name says.

    Raises:
        ValueError: As for `build_manifest`; or the method is `lora`, and the subset holds no linear layer, or
            matrices that are none's.
    """
    own = build_manifest(model, recipe.subset, recipe.layers)
    own = replace(own, distilled=recipe.lwf_weight > 0)
    return own if recipe.method == "selective" else _of_adapters(model, own, recipe)


def _of_adapters(model: nn.Module, own: TrainableManifest, recipe: Recipe) -> TrainableManifest:
    matrices: dict[str, list[TrainedParameter]] = {}
    left_out: list[TrainedParameter] = []
    for parameter in own.parameters:
        module, _, kind = parameter.name.rpartition(".")
        layer = model.get_submodule(module)
        if kind == "weight" and isinstance(layer, LINEAR):
            matrices.setdefault(module, []).append(parameter)
        elif _is_matrix(parameter) and not isinstance(layer, NEVER_ADAPTED):
            left_out.append(parameter)
    if left_out:
        raise ValueError(
            _why_not(own, left_out, {part.role for parts in matrices.values() for part in parts})
        )
    if not matrices:
        roles = ", ".join(own.count_by_role())
        raise ValueError(
            f"LoRA needs linear layers, and subset {own.subset!r} holds none on this model, only parameters "
            f"of other kinds, with the roles {roles}: choose a subset such as 'sa_proj', or the method "
            "'selective'"
        )
    assert recipe.lora_rank is not None
    assert recipe.lora_alpha is not None
    assert recipe.lora_dropout is not None
    assert recipe.lora_variant is not None
    transposed = [isinstance(model.get_submodule(module), Conv1D) for module in matrices]
    return replace(
        own,
        parameters=tuple(
            parameter
            for (module, parts), is_transposed in zip(matrices.items(), transposed, strict=True)
            for parameter in _adapter(
                module, parts, recipe.lora_rank, is_transposed, dora=recipe.lora_variant == "dora"
            )
        ),
        adapters=Adapters(
            rank=recipe.lora_rank,
            alpha=recipe.lora_alpha,
            dropout=recipe.lora_dropout,
            variant=recipe.lora_variant,
            modules=tuple(matrices),
            transposed=all(transposed),
        ),
    )


def _is_matrix(parameter: TrainedParameter) -> bool:
    """Return whether it takes part in a product that an adapter could stand beside.

    Experts have biases of two dimensions, and a tower's class token and positions may have three. The result
    of a tower's pooling head, whose attention has its matrices in one parameter, no language model takes.
    """
    return (
        len(parameter.shape) > 1
        and parameter.role not in LOOKED_UP
        and not parameter.name.endswith("bias")
        and not parameter.is_pooling
    )


def _why_not(own: TrainableManifest, left_out: Sequence[TrainedParameter], linear: Collection[str]) -> str:
    """Say why a subset can't be adapted.

    Args:
        own: What the subset holds.
        left_out: What of it would be left out.
        linear: The roles of its linear layers.
    """
    roles = list(dict.fromkeys(parameter.role for parameter in left_out))
    example = left_out[0]
    is_rest = parse_subset(own.subset).seed is None and not set(linear) <= set(roles)
    rest = "-".join((own.subset, *roles)) if is_rest else "sa_proj"
    return (
        f"LoRA adapts linear layers, and of subset {own.subset!r} on this model it would leave out the "
        f"matrices of {', '.join(roles)} that are in none, such as {example.name!r} of shape "
        f"{list(example.shape)}: choose the method 'selective', or a subset without the "
        f"role{'s' * (len(roles) > 1)}, such as {rest!r}"
    )


def _adapter(
    module: str, parts: Sequence[TrainedParameter], rank: int, transposed: bool, *, dora: bool
) -> Iterator[TrainedParameter]:
    """Yield the tensors of one linear layer's adapter.

    Args:
        module: The layer's name.
        parts: What the subset holds of its weight.
        rank: The adapter's rank.
        transposed: Whether the weight is `[in, out]`.
        dora: Whether the rows' lengths are trained, too.
    """
    rows, columns = parts[0].shape[::-1] if transposed else parts[0].shape
    inputs = int(not transposed)
    if dora and any(part.slice is not None and part.slice.axis == inputs for part in parts):
        raise ValueError(
            f"DoRA scales whole rows of a matrix, and of {module!r} only some columns are to be trained; "
            "choose the variant 'lora'"
        )
    yield from _tensors(f"{module}.lora_A.{ADAPTER}.weight", parts, (rank, columns), 1, inputs)
    yield from _tensors(f"{module}.lora_B.{ADAPTER}.weight", parts, (rows, rank), 0, 1 - inputs)
    if dora:
        name = f"{module}.lora_magnitude_vector.{ADAPTER}.weight"
        yield from _tensors(name, parts, (rows,), 0, 1 - inputs)


def _tensors(
    name: str, parts: Sequence[TrainedParameter], shape: tuple[int, ...], axis: int, of_weight: int
) -> Iterator[TrainedParameter]:
    """Yield a tensor's entries: one, or one for each part of the weight that is a slice along its dimension.

    Args:
        name: The tensor's name.
        parts: What the subset holds of the weight.
        shape: The tensor's shape.
        axis: Its dimension that is one of the weight's, too.
        of_weight: That dimension of the weight.
    """
    first = parts[0]
    item = first.bytes // first.count
    if all(part.slice is not None and part.slice.axis == of_weight for part in parts):
        for part in parts:
            assert part.slice is not None
            own = Slice(axis, part.slice.repeats, part.slice.start, part.slice.stop)
            count = own.count(shape)
            yield TrainedParameter(name, part.role, part.layer, shape, count, count * item, own)
        return
    role = "+".join(dict.fromkeys(part.role for part in parts))
    count = math.prod(shape)
    yield TrainedParameter(name, role, first.layer, shape, count, count * item)
