"""Lending a base model to one recipe after another: afterwards it is the base again, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from trainables.manifest import TrainableManifest
from trainables.slices import live_tensors


@contextmanager
def borrowed(model: nn.Module, manifest: TrainableManifest, *, seed: int) -> Iterator[nn.Module]:
    """Lend a model for training; on leaving, copy the trained elements back and reset all flags.

    Only the trained elements are copied, so the cost follows the recipe and not the model. Evaluation
    mode, `requires_grad`, gradients and the random generators' states come back too.

    Args:
        model: The base model, frozen and in evaluation mode.
        manifest: What will be trained.
        seed: Seeds torch, numpy and Python for the time of the loan.
    """
    trained = live_tensors(model, manifest.tensors).values()
    saved = [(live, live.value.clone()) for live in trained]
    random_states = (random.getstate(), np.random.get_state())
    cuda_devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=cuda_devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield model
        finally:
            for live, original in saved:
                live.copy_(original)
            for parameter in model.parameters():
                parameter.grad = None
                parameter.requires_grad_(False)
            model.eval()
            random.setstate(random_states[0])
            np.random.set_state(random_states[1])
