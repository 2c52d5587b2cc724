"""What a recipe trains on a model: the subset's own parameters, or adapters beside its linear layers.

An adapter computes `scale B A x` beside a linear layer's `W x`: A is `[rank, in]`, B `[out, rank]` (Hu et
al., arXiv 2106.09685). B starts at zero, so a new adapter changes nothing. DoRA has the length of each row of
W as a third tensor, `[out]` (Liu et al., arXiv 2402.09353).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from spaces.parts import Slice
from spaces.recipe import Recipe
from trainables.manifest import Adapters, TrainableManifest, TrainedParameter, build_manifest

ADAPTER: Final = "default"
"""The name that PEFT gives an adapter of no other name; it is a part of its parameters' names."""

LINEAR: Final = (nn.Linear, Conv1D)


def trained_manifest(model: nn.Module, recipe: Recipe) -> TrainableManifest:
    """Return what a recipe trains on a model, which may lie on the meta device and is not changed.

    With the method `lora` these are adapters on the weights of the linear layers (`nn.Linear`, GPT-2's
    `Conv1D`) that the subset holds. What else it holds stays frozen: biases, norms, embeddings, convolutions,
    and experts whose matrices are stacked in one parameter.

    Raises:
        ValueError: As for `build_manifest`; or the method is `lora`, and the subset holds no linear layer.
    """
    own = build_manifest(model, recipe.subset, recipe.layers)
    own = replace(own, distilled=recipe.lwf_weight > 0)
    return own if recipe.method == "selective" else _of_adapters(model, own, recipe)


def _of_adapters(model: nn.Module, own: TrainableManifest, recipe: Recipe) -> TrainableManifest:
    matrices: dict[str, list[TrainedParameter]] = {}
    for parameter in own.parameters:
        module, _, kind = parameter.name.rpartition(".")
        if kind == "weight" and isinstance(model.get_submodule(module), LINEAR):
            matrices.setdefault(module, []).append(parameter)
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
