"""What trained adapters make of the weights of their linear layers.

A layer's weight becomes `W + scale B A`; DoRA then brings each of its rows to the trained length. All is
computed in fp32 and rounded once: in bfloat16 a merged model's logits differ a little from the adapters'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trainables.manifest import Adapters, TrainableManifest, TrainedParameter
from trainables.training.parallel import full_tensor
from trainables.weights.slices import live_tensors, sliced
from trainables.weights.trained import ADAPTER, LINEAR


def merged_manifest(model: nn.Module, manifest: TrainableManifest) -> TrainableManifest:
    """Return what adapters change of a model's own weights: a cut of an adapter is a cut of the weight.

    Args:
        model: The base model, without adapters.
        manifest: The adapters' manifest; any other is returned as it is.
    """
    if manifest.adapters is None:
        return manifest
    entries: dict[str, list[TrainedParameter]] = {}
    for parameter in manifest.parameters:
        entries.setdefault(parameter.name, []).append(parameter)
    weights = []
    for module in manifest.adapters.modules:
        inputs = 0 if isinstance(model.get_submodule(module), Conv1D) else 1
        a, b = (entries[f"{module}.lora_{letter}.{ADAPTER}.weight"] for letter in "AB")
        parts, axis = (a, inputs) if a[0].slice is not None else (b, 1 - inputs)
        shape = tuple(model.get_parameter(f"{module}.weight").shape)
        for part in parts:
            item = part.bytes // part.count
            own = None if part.slice is None else replace(part.slice, axis=axis)
            count = math.prod(shape) if own is None else own.count(shape)
            weights.append(
                TrainedParameter(f"{module}.weight", part.role, part.layer, shape, count, count * item, own)
            )
    return replace(manifest, parameters=tuple(weights), adapters=None)


def shapes_of(model: nn.Module, manifest: TrainableManifest) -> dict[str, torch.Size]:
    """Return key -> shape of what a manifest trains; what does not fit the model is left out.

    Args:
        model: The base model, without adapters.
        manifest: What was trained on it, or on another model.
    """
    if manifest.adapters is None:
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    else:
        shapes = {parameter.name: torch.Size(parameter.shape) for parameter in manifest.parameters}
        modules = dict(model.named_modules())
        for module in manifest.adapters.modules:
            b, a = (f"{module}.lora_{letter}.{ADAPTER}.weight" for letter in "BA")
            layer, size = modules.get(module), (shapes[b][0], shapes[a][1])
            if not isinstance(layer, LINEAR) or tuple(_rows(layer, layer.weight).shape) != size:
                del shapes[a], shapes[b]
    return {
        tensor.key: sliced(torch.empty(shapes[tensor.name], device="meta"), tensor.slice).shape
        for tensor in manifest.tensors
        if tensor.name in shapes
    }


class MergedWeights(Mapping[str, Tensor]):
    """The weights that adapters make, each computed when it is asked for, whole and on the base's device.

    Args:
        model: The base model, without adapters; every process of a sharded one must ask alike.
        manifest: The adapters' manifest.
        values: Key -> trained value, for each of its tensors.
    """

    def __init__(self, model: nn.Module, manifest: TrainableManifest, values: Mapping[str, Tensor]) -> None:
        assert manifest.adapters is not None
        self._model = model
        self._adapters = manifest.adapters
        self._values = values
        self._parts = {tensor.key: tensor for tensor in manifest.tensors}
        self._shapes = {parameter.name: parameter.shape for parameter in manifest.parameters}
        self._weights = {tensor.key: tensor for tensor in merged_manifest(model, manifest).tensors}

    def __getitem__(self, key: str) -> Tensor:
        weight = self._weights[key]
        return sliced(self._merged(weight.name.removesuffix(".weight")), weight.slice)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    @torch.no_grad()
    def _merged(self, module: str) -> Tensor:
        layer = self._model.get_submodule(module)
        base = full_tensor(layer.weight.detach())
        rows = _rows(layer, base).float()
        a, b = (self._whole(f"{module}.lora_{letter}.{ADAPTER}.weight").to(rows) for letter in "AB")
        rows = rows + _scale(self._adapters) * b @ a
        if self._adapters.variant == "dora":
            lengths = self._whole(f"{module}.lora_magnitude_vector.{ADAPTER}.weight").to(rows)
            rows = rows * (lengths / rows.norm(dim=1)).unsqueeze(1)
        return _rows(layer, rows).to(base.dtype)

    def _whole(self, name: str) -> Tensor:
        """Return an adapter's tensor, zero where nothing is trained."""
        whole: Tensor | None = None
        for key, part in self._parts.items():
            if part.name == name:
                value = self._values[key]
                whole = torch.zeros(self._shapes[name], dtype=value.dtype) if whole is None else whole
                sliced(whole, part.slice).copy_(value)
        assert whole is not None
        return whole


def merge_adapters(model: nn.Module, manifest: TrainableManifest, values: Mapping[str, Tensor]) -> None:
    """Change the weights of a base model to what trained adapters make of them, in place.

    Args:
        model: The base model, without adapters.
        manifest: The adapters' manifest.
        values: Key -> trained value, for each of its tensors.
    """
    merged = MergedWeights(model, manifest, values)
    for key, live in live_tensors(model, merged_manifest(model, manifest).tensors).items():
        live.copy_(merged[key])


def _rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight as `[out, in]`, or one of that shape as the layer holds it."""
    return weight.t() if isinstance(layer, Conv1D) else weight


def _scale(adapters: Adapters) -> float:
    return adapters.alpha / (math.sqrt(adapters.rank) if adapters.variant == "rslora" else adapters.rank)
