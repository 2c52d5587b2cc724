"""Putting PEFT's adapters into a model and taking them out again.

PEFT's own injection matches names by their ends, changes the model's `requires_grad` flags and leaves its
configuration on the model. Here exactly the named layers are replaced by `peft`'s, and put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as AdaptedLinear
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from trainables.manifest import Adapters, TrainedTensor
from trainables.weights.slices import sliced
from trainables.weights.trained import ADAPTER


@contextmanager
def adapted(
    model: nn.Module, adapters: Adapters | None, tensors: Iterable[TrainedTensor] = ()
) -> Iterator[None]:
    """Put new adapters into a model; on leaving, take them out again.

    They have the model's dtype; the optimiser keeps fp32 masters of them, as of any other parameter. A is
    drawn from torch's default generator on the CPU, so a seed gives the same adapters on any device.

    Args:
        model: The base model, which may lie on the meta device or be sharded.
        adapters: The adapters; None changes nothing.
        tensors: What is trained of them. Of an A of which some columns are trained, the others are zero, so
            that the adapter never touches the other columns of the layer's weight.
    """
    layers: dict[str, nn.Module] = {}
    try:
        for name in adapters.modules if adapters else ():
            layers[name] = model.get_submodule(name)
            _put(model, name, _adapted_linear(layers[name], adapters))
        if layers:
            _clear_outside(model, [tensor for tensor in tensors if ".lora_A." in tensor.name])
        yield
    finally:
        for name, layer in layers.items():
            _put(model, name, layer)


@contextmanager
def adapter_dropout(model: nn.Module) -> Iterator[None]:
    """Switch the adapters' dropout on for a forward pass; all else stays in evaluation mode."""
    switched = [
        module
        for layer in model.modules()
        if isinstance(layer, AdaptedLinear)
        for module in (layer, layer.lora_dropout[ADAPTER])
    ]
    for module in switched:
        module.training = True
    try:
        yield
    finally:
        for module in switched:
            module.training = False


def peft_config(adapters: Adapters) -> LoraConfig:
    """Return the adapters as PEFT describes them."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        lora_dropout=adapters.dropout,
        use_rslora=adapters.variant == "rslora",
        use_dora=adapters.variant == "dora",
        fan_in_fan_out=adapters.transposed,
        target_modules=list(adapters.modules),
    )


def _adapted_linear(layer: nn.Module, adapters: Adapters) -> nn.Module:
    transposed = isinstance(layer, Conv1D)
    config = peft_config(adapters)
    config.fan_in_fan_out = transposed
    weight = layer.weight
    whole = _whole_weight(layer) if adapters.variant == "dora" else nullcontext()
    with whole, torch.device("meta") if weight.is_meta else nullcontext():
        made = AdaptedLinear(
            layer,
            ADAPTER,
            config=config,
            r=adapters.rank,
            lora_alpha=adapters.alpha,
            is_target_conv_1d_layer=transposed,
        )
    for tensors in (made.lora_A, made.lora_B, made.lora_magnitude_vector):
        tensors.to(weight.dtype)
    return made.eval().requires_grad_(False)


@contextmanager
def _whole_weight(layer: nn.Module) -> Iterator[None]:
    """Let a layer whose weight is sharded have it whole, for DoRA to measure its rows; every process must."""
    weight = layer.weight
    if not isinstance(weight, DTensor):
        yield
        return
    layer.weight = nn.Parameter(weight.full_tensor(), requires_grad=False)
    try:
        yield
    finally:
        layer.weight = weight


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _clear_outside(model: nn.Module, tensors: Iterable[TrainedTensor]) -> None:
    """Set to zero what is not trained of tensors that are trained in part."""
    parameters = dict(model.named_parameters())
    inside: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.slice is not None:
            whole = parameters[tensor.name]
            mask = inside.setdefault(tensor.name, torch.zeros_like(whole, dtype=torch.bool))
            sliced(mask, tensor.slice).fill_(True)
    for name, mask in inside.items():
        parameters[name].data.mul_(mask)
