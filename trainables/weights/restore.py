"""Lending a base model to one recipe after another: afterwards it is the base again, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from trainables.manifest import TrainableManifest
from trainables.weights.lora import adapted
from trainables.weights.slices import live_tensors


@contextmanager
def borrowed(model: nn.Module, manifest: TrainableManifest, *, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Lend a model for training; on leaving, copy the trained elements back and reset all flags.

    Only the trained elements are copied, so the cost follows the recipe and not the model. Evaluation
    mode, `requires_grad`, gradients and the random generators' states come back too. Adapters that the
    manifest asks for are in the model for the time of the loan.

    Args:
        model: The base model, frozen and in evaluation mode.
        manifest: What will be trained.
        seed: Seeds torch, numpy and Python for the time of the loan, the adapters included.

    Yields:
        Key -> copy of the trained elements as the base has them (a new adapter is the base, too).
    """
    random_states = (random.getstate(), np.random.get_state())
    cuda_devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=cuda_devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            with adapted(model, manifest.adapters, manifest.tensors):
                trained = live_tensors(model, manifest.tensors)
                saved = {key: live.value.clone() for key, live in trained.items()}
                try:
                    yield saved
                finally:
                    for key, live in trained.items():
                        live.copy_(saved[key])
        finally:
            for parameter in model.parameters():
                parameter.grad = None
                parameter.requires_grad_(False)
            model.eval()
            random.setstate(random_states[0])
            np.random.set_state(random_states[1])
