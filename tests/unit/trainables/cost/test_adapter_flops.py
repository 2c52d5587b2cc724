"""The FLOPs of adapters and of a teacher, as torch counts them and by hand."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_families import FAMILIES
from tiny_models import adapters, encoded, llama, llava, recipe
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spaces.recipe import Recipe
from trainables.collate import EncodedSample, collate
from trainables.cost.flops import TrainingFlops, flops_of_steps
from trainables.cost.vision_layout import Positions
from trainables.manifest import build_manifest
from trainables.training.batches import DataOrder
from trainables.training.losses import answer_loss_sum
from trainables.training.recompute import recomputed_activations
from trainables.weights.lora import adapted
from trainables.weights.trained import trained_manifest


def flops_of(model: nn.Module, how: Recipe, recomputed: bool = False) -> TrainingFlops:
    everything, trained = build_manifest(model, "full"), trained_manifest(model, how)
    return TrainingFlops(everything, trained, model.config.to_dict(), recomputed=recomputed)


def counted(model: nn.Module, how: Recipe, sample: EncodedSample, recomputed: bool = False) -> int:
    """Return what torch counts of the passes over one sample."""
    model.set_attn_implementation("eager")
    manifest, batch = trained_manifest(model, how), collate([sample], 0)
    with adapted(model, manifest.adapters):
        names = set(manifest.names)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        again = recomputed_activations(model) if recomputed else nullcontext()
        with FlopCounterMode(display=False) as counter, again:
            if manifest.distilled:
                with torch.no_grad():
                    model(**batch.inputs, use_cache=False)
            answer_loss_sum(model(**batch.inputs, use_cache=False).logits, batch).backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("subset", ["full", "sa_proj", "qkv", "mlp", "down", "projector", "vision_mlp"])
def test_torch_counts_the_same(subset: str, recomputed: bool) -> None:
    model = llava()
    model.config.vision_feature_layer = -1
    for how in (recipe(subset, **adapters()), recipe(subset, **adapters(), lwf_weight=1.0)):
        sample = encoded()[0]
        expected = counted(model, how, sample, recomputed)
        assert flops_of(model, how, recomputed).per_sample(sample) == expected


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("subset", ["full", "sa_proj", "mlp", "down", "projector", "vision_mlp"])
def test_torch_counts_the_same_for_dora(subset: str, recomputed: bool) -> None:
    model = llava()
    model.config.vision_feature_layer = -1
    for how in (recipe(subset, **adapters("dora")), recipe(subset, **adapters("dora"), lwf_weight=1.0)):
        sample = encoded()[0]
        flops = flops_of(model, how, recomputed)
        assert flops.per_sample(sample) + flops.per_step == counted(model, how, sample, recomputed)


def test_the_rows_of_dora_are_measured_once_a_step() -> None:
    """Of rank 4 beside `down` of two layers, 16 x 24: A and B by a unit matrix of 24 columns."""
    model, data = llava(), encoded()
    own = 2 * 2 * 24 * (4 * 24 + 16 * 4)
    flops = flops_of(model, recipe("down", **adapters("dora")))
    assert flops.per_step == own
    assert flops_of(model, recipe("down", **adapters())).per_step == 0
    order = DataOrder(targets=10, batch_size=5, seed=1)
    assert flops_of_steps(flops, range(2), data, order) == sum(map(flops.per_sample, data)) + 2 * own


@pytest.mark.parametrize("name", ["gpt2", "phi3", "gpt_neox"])
def test_torch_counts_the_same_for_other_layers(name: str) -> None:
    """Of a cut layer the whole adapter runs, for its other rows are zero and no shorter."""
    model, how = FAMILIES[name].build(), recipe("attn.q", **adapters())
    sample = FAMILIES[name].sample()
    assert flops_of(model, how).per_sample(sample) == counted(model, how, sample)


def test_by_hand() -> None:
    """Adapters of rank 4 on `down` of two layers, 5 tokens; A is 4 x 24, B 16 x 4.

    Every A and B: forward and own gradient; B, and A but for the lower layer's, pass a gradient on. So do the
    head, and all of the upper layer.
    """
    model = llama()
    head, attention, adapter = 16 * model.config.vocab_size, 4 * 16 * 5**2, 4 * 24 + 16 * 4
    projections, feed_forward = 4 * 16 * 16, 3 * 16 * 24
    forward = 2 * 5 * (2 * (projections + feed_forward + adapter) + head) + 2 * attention
    own = 2 * 5 * 2 * adapter
    through = 2 * 5 * (head + projections + feed_forward + 2 * adapter - 4 * 24) + 2 * attention
    flops = flops_of(model, recipe("down", **adapters())).per_positions(Positions(text=5))
    assert flops == forward + own + through
    taught = flops_of(model, recipe("down", **adapters(), lwf_weight=1.0)).per_positions(Positions(text=5))
    assert taught == flops + forward
