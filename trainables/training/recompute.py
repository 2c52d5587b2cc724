"""Activation checkpointing, only where it saves something.

A layer keeps its activations for the backward pass if a gradient flows through it: if it, or anything below
it, is trained. Such a layer can keep its input alone and compute the rest again (Chen et al.,
arXiv 1604.06174). Layers below the lowest trained one keep nothing anyway, so computing them twice would be
a waste.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainables.training.parallel import layers_of


@contextmanager
def recomputed_activations(model: nn.Module) -> Iterator[None]:
    """Let the layers through which a gradient flows compute their activations again in the backward pass.

    Args:
        model: A transformers model, with `requires_grad` set on what is trained.
    """
    layers = layers_of(model)
    for layer in layers:
        # The forward method, not the call, so that the hooks of FSDP2 stay outside and run once.
        layer.forward = _recomputing(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _recomputing(layer: nn.Module) -> Any:
    forward = layer.forward

    @wraps(forward)
    def recomputing(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() or not _gradient_flows(layer, (*args, *kwargs.values())):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputing


def _gradient_flows(layer: nn.Module, inputs: tuple[Any, ...]) -> bool:
    return any(isinstance(value, Tensor) and value.requires_grad for value in inputs) or any(
        parameter.requires_grad for parameter in layer.parameters()
    )
