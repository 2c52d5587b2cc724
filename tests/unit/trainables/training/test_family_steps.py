"""A step of training with a subset changes exactly its elements, on every family, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from tiny_families import FAMILIES, MULTIMODAL, PAD
from tiny_models import recipe
from torch import Tensor, nn

from spaces.subsets import SUBSETS
from trainables.collate import collate
from trainables.loop import fine_tune
from trainables.manifest import TrainableManifest, build_manifest
from trainables.training.losses import answer_loss_sum
from trainables.weights.restore import borrowed
from trainables.weights.slices import sliced

# Beside the named ones: an expression, a layer range, and a control that cuts a matrix by rows.
CHOICES = [*((subset, "all") for subset in SUBSETS), ("mlp-down", "last:1"), ("random(vo)", "all")]
# What a family has and its forward pass does without: what comes after the features that are taken from a
# tower, SigLIP's pooling head, and the token that stands for masked patches.
WITHOUT_PART = {
    "llava": r"post_layernorm\..*",
    "llava (phi3, siglip)": r"(post_layernorm|head)\..*",
    "llava_next": r"(post_layernorm|encoder\.layers\.1)\..*",
    "llava_onevision": r"(post_layernorm|head)\..*",
    "internvl": r"embeddings\.mask_token",
}


@cache
def built(name: str) -> Any:
    return FAMILIES[name].build()


@cache
def data(name: str) -> tuple[Any, ...]:
    # Of two lengths, so that one is padded.
    return tuple(FAMILIES[name].sample(seed, text=7 + seed) for seed in range(2))


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def step(model: nn.Module, manifest: TrainableManifest, name: str) -> None:
    how = recipe(manifest.subset, steps=1, batch_size=2, weight_decay=0.1, max_grad_norm=1.0)
    list(fine_tune(model, manifest, how, data(name), seed=0, rungs=(1,), pad_token_id=PAD))


def taking_part(model: nn.Module, name: str) -> set[str]:
    """Return the parameters that autograd finds in the forward pass, asked without any manifest."""
    model.requires_grad_(True)
    batch = collate(data(name), PAD)
    answer_loss_sum(model(**batch.inputs, use_cache=False).logits, batch).backward()
    found = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    model.requires_grad_(False)
    return found


def to_change(manifest: TrainableManifest, before: Mapping[str, Tensor], used: set[str]) -> dict[str, Tensor]:
    """Return name -> which elements a step changes: of weight decay alone each does, none being zero."""
    masks = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in before.items()}
    for parameter in manifest.parameters:
        if parameter.name in used:
            sliced(masks[parameter.name], parameter.slice).fill_(True)
    return masks


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_changes_the_subset_and_nothing_else(name: str) -> None:
    model = built(name)
    before, used = bits(model), taking_part(model, name)
    assert all(value.all() for value in before.values())  # no element is zero
    for subset, layers in CHOICES:
        if name not in MULTIMODAL and re.match("vision|projector", subset):
            with pytest.raises(ValueError, match="matches no parameter"):
                build_manifest(model, subset, layers)
            continue
        manifest = build_manifest(model, subset, layers)
        with borrowed(model, manifest, seed=0):
            step(model, manifest, name)
            after = bits(model)
        for key, expected in to_change(manifest, before, used).items():
            assert torch.equal(after[key] != before[key], expected), (subset, layers, key)
        for key, value in bits(model).items():
            assert torch.equal(value, before[key]), (subset, layers, key, "is not the base again")


@pytest.mark.parametrize("name", FAMILIES)
def test_all_of_the_model_takes_part_but_for_what_is_known(name: str) -> None:
    idle = set(bits(built(name))) - taking_part(built(name), name)
    known = re.compile(r"model\.vision_tower\." + WITHOUT_PART.get(name, "nothing"))
    assert all(known.fullmatch(parameter) for parameter in idle), idle
    assert bool(idle) == (name in WITHOUT_PART)
