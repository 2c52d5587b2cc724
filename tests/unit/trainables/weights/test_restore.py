from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import IDS, encoded, llava, recipe
from torch import nn

from spaces.subsets import SUBSETS
from trainables.collate import collate
from trainables.loop import TrialFailed, fine_tune
from trainables.manifest import build_manifest
from trainables.weights.restore import borrowed
from trainables.weights.trained import trained_manifest

MODEL = llava()
"""One model for all examples, as a worker has one for all its jobs."""

# The library hangs hooks of its own on a model at its first forward pass.
with torch.no_grad():
    MODEL(**collate(encoded()[:1], IDS["<pad>"]).inputs)


def everything(model: nn.Module) -> dict[str, Any]:
    """Return all that a job could leave behind, in a form that compares bit for bit."""
    buffers = dict(model.named_buffers())
    tensors = {**model.state_dict(), **buffers}
    return {
        "bits": {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()},
        "modules": [(name, type(module), sorted(vars(module))) for name, module in model.named_modules()],
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": [name for name, p in model.named_parameters() if p.grad is not None],
        "training": [name for name, module in model.named_modules() if module.training],
        "hooks": [
            (name, len(hooks))
            for name, module in model.named_modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        ],
        "addresses": {name: p.data_ptr() for name, p in model.named_parameters()},
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
    }


class Interrupted(Exception):
    pass


LORA = {"method": "lora", "lora_rank": 2, "lora_alpha": 4.0, "lora_dropout": 0.2}
RECIPES = {
    **{subset: {"subset": subset} for subset in SUBSETS},
    "lwf": {"subset": "gate_up", "lwf_weight": 1.0},
    "l2sp": {"subset": "gate_up", "l2sp_weight": 0.1},
    "lora": {**LORA, "subset": "full", "lora_variant": "lora"},
    "dora": {**LORA, "subset": "qkv", "lora_variant": "dora", "lwf_weight": 1.0},
}


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=6, deadline=None)
@given(
    learning_rate=st.sampled_from([1e-6, 1e-2, 1e3, 1e38]),
    seed=st.integers(0, 2**40),
    steps=st.integers(1, 3),
    end=st.sampled_from(["finished", "closed", "raised"]),
)
@example(learning_rate=1e38, seed=0, steps=3, end="finished")
@example(learning_rate=1e-2, seed=0, steps=1, end="raised")
def test_the_base_is_bit_identical_after_any_recipe(
    name: str, learning_rate: float, seed: int, steps: int, end: str
) -> None:
    before = everything(MODEL)
    how = recipe(**RECIPES[name], steps=steps, learning_rate=learning_rate, weight_decay=0.1)
    manifest = trained_manifest(MODEL, how)
    try:
        with (
            borrowed(MODEL, manifest, seed=seed) as base,
            closing(
                fine_tune(
                    MODEL,
                    manifest,
                    how,
                    encoded(),
                    seed=seed,
                    rungs=range(1, steps + 1),
                    pad_token_id=IDS["<pad>"],
                    base=base,
                )
            ) as run,
        ):
            for _ in run:
                MODEL.train()
                torch.rand(1), np.random.rand(), random.random()
                if end == "closed":
                    break
                if end == "raised":
                    # As an error between a step's backward pass and its end leaves them.
                    for parameter in MODEL.parameters():
                        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
                    raise Interrupted
    except (Interrupted, TrialFailed):
        pass
    after = everything(MODEL)
    for kind, value in before.items():
        assert after[kind] == value, kind


def test_the_recipe_did_change_the_model() -> None:
    model = llava()
    before = everything(model)
    manifest = build_manifest(model, "sa_proj")
    with borrowed(model, manifest, seed=0):
        list(
            fine_tune(
                model, manifest, recipe("sa_proj"), encoded(), seed=0, rungs=(4,), pad_token_id=IDS["<pad>"]
            )
        )
        during = everything(model)
    changed = {name for name, bits in during["bits"].items() if bits != before["bits"][name]}
    assert changed == set(manifest.names)
    assert everything(model)["bits"] == before["bits"]


def test_a_loan_is_seeded() -> None:
    manifest = build_manifest(MODEL, "projector")

    def drawn(seed: int) -> tuple[float, float, float]:
        with borrowed(MODEL, manifest, seed=seed):
            return torch.rand(1).item(), float(np.random.rand()), random.random()

    assert drawn(1) == drawn(1)
    assert all(a != b for a, b in zip(drawn(1), drawn(2), strict=True))
