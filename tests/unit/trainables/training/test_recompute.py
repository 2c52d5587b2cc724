from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from tiny_models import IDS, encoded, llava
from torch import Tensor, nn

from trainables.collate import collate
from trainables.manifest import build_manifest
from trainables.training.losses import answer_loss_sum
from trainables.training.parallel import layers_of
from trainables.training.recompute import recomputed_activations

BATCH = collate(encoded()[:3], IDS["<pad>"])


@contextmanager
def calls_of(model: nn.Module) -> Iterator[dict[str, int]]:
    """Count how often each layer's attention ran: it is called inside of the layer's forward method."""
    names = {module: name for name, module in model.named_modules()}
    counts = {names[layer]: 0 for layer in layers_of(model)}

    def count(name: str) -> None:
        counts[name] += 1

    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda *_, name=names[layer]: count(name))
        for layer in layers_of(model)
    ]
    yield counts
    for hook in hooks:
        hook.remove()


def step(model: nn.Module, subset: str, *, recompute: bool) -> tuple[dict[str, int], dict[str, Tensor], int]:
    """Return the layers' calls, the gradients, and the bytes kept for the backward pass."""
    names = set(build_manifest(model, subset).names)
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with calls_of(model) as calls, recomputed_activations(model) if recompute else nullcontext():
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = answer_loss_sum(model(**BATCH.inputs, use_cache=False).logits, BATCH)
        size = sum(kept.values())
        loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return calls, gradients, size


# The vision tower's last layer feeds nothing, as in LLaVA: a gradient never reaches it.
VISION = [f"model.vision_tower.encoder.layers.{i}" for i in (0, 1)]
LANGUAGE = [f"model.language_model.layers.{i}" for i in (0, 1)]


@pytest.mark.parametrize(
    ("subset", "twice"),
    [
        ("full", [VISION[0], *LANGUAGE]),
        ("vision", [VISION[0], *LANGUAGE]),
        ("projector", LANGUAGE),
        ("sa_proj", LANGUAGE),
    ],
)
def test_recomputes_only_where_a_gradient_flows(subset: str, twice: list[str]) -> None:
    calls, _, _ = step(llava(), subset, recompute=True)
    assert {name: count for name, count in calls.items() if count > 1} == dict.fromkeys(twice, 2)


def test_a_layer_below_the_lowest_trained_one_runs_once() -> None:
    model = llava()
    with recomputed_activations(model):
        for p in model.model.language_model.layers[1].parameters():
            p.requires_grad_(True)
        with calls_of(model) as calls:
            answer_loss_sum(model(**BATCH.inputs, use_cache=False).logits, BATCH).backward()
    assert {name: count for name, count in calls.items() if count > 1} == {LANGUAGE[1]: 2}


@pytest.mark.parametrize("subset", ["full", "sa_proj", "gate_up", "projector"])
def test_gradients_are_bit_identical_and_less_is_kept(subset: str) -> None:
    _, plain, kept = step(llava(), subset, recompute=False)
    _, recomputed, kept_less = step(llava(), subset, recompute=True)
    assert set(plain) == set(recomputed)
    for name, gradient in plain.items():
        assert torch.equal(recomputed[name], gradient), name
    assert kept_less < 0.6 * kept


def test_evaluation_and_the_layers_afterwards_are_as_before() -> None:
    model = llava()
    with recomputed_activations(model), torch.no_grad(), calls_of(model) as calls:
        model(**BATCH.inputs)
    assert set(calls.values()) == {1}
    assert all("forward" not in vars(layer) for layer in layers_of(model))
