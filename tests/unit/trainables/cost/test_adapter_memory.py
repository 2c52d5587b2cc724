"""What adapters and a teacher hold, by hand and as a real step does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_models import adapters, encoded, llava, recipe

from trainables.collate import collate
from trainables.cost.activations import LiveBytes, _fixed, training_bytes
from trainables.cost.memory import Estimator, Load, state_bytes
from trainables.cost.sample_shape import SampleShape
from trainables.manifest import Adapters, TrainableManifest, TrainedParameter
from trainables.training.losses import answer_logits, answer_loss_sum, distillation_loss_sum
from trainables.weights.lora import adapted, adapter_dropout
from trainables.weights.trained import trained_manifest


def manifest(item: int = 4, *, distilled: bool = False) -> TrainableManifest:
    """A of 2 x 5 and B of 5 x 2, of whose rows three are trained, beside a model of 100 elements."""
    return TrainableManifest(
        model_type="llama",
        family="llama",
        subset="attn.q",
        parameters=(
            TrainedParameter("m.lora_A.default.weight", "attn.q", 0, (2, 5), 10, 10 * item),
            TrainedParameter("m.lora_B.default.weight", "attn.q", 0, (5, 2), 6, 6 * item),
        ),
        total=100,
        adapters=Adapters(rank=2, alpha=4.0, dropout=0.0, variant="lora", modules=("m",)),
        distilled=distilled,
    )


def test_adapters_by_hand() -> None:
    """20 elements beside the weights, 16 of them trained; B has a whole gradient and a master of 6."""
    assert state_bytes(manifest(), Load(micro_batch=1)) == {
        "weights": 400 + 80,
        "saved_base": 64,
        "gradients": 64 + 40,
        "optimizer": 128 + 24,
    }
    assert state_bytes(manifest(item=2), Load(micro_batch=1)) == {
        "weights": 200 + 40,
        "saved_base": 32,
        "gradients": 16 * 6 + 2 * 4,
        "optimizer": 16 * 12,
    }


def test_shards_are_of_the_model_and_not_of_its_adapters() -> None:
    whole = state_bytes(manifest(), Load(workers=4, micro_batch=1))
    shards = state_bytes(manifest(), Load(workers=4, sharded=True, micro_batch=1))
    assert shards == whole | {"weights": 100 + 80}


def test_an_fp32_model_puts_what_it_trains_aside_for_its_teacher() -> None:
    plain, taught = (state_bytes(manifest(distilled=on), Load(micro_batch=1)) for on in (False, True))
    assert taught == plain | {"saved_base": 128}
    half = (state_bytes(manifest(2, distilled=on), Load(micro_batch=1)) for on in (False, True))
    assert len({tuple(parts.items()) for parts in half}) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"subset": "full", **adapters()},
        {"subset": "full", **adapters(), "lora_dropout": 0.5},
        {"subset": "sa_proj", **adapters("dora"), "lwf_weight": 1.0},
        {"subset": "gate_up", "lwf_weight": 1.0},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_meta_device_tells_what_a_real_step_holds(fields: dict[str, Any], dtype: torch.dtype) -> None:
    """To within 2 %; with an adapter beside the head, whose gradients lie otherwise, up to 13 % too much."""
    model, data = llava().to(dtype), [max(encoded("t", 6), key=lambda sample: sample.length)]
    skeleton = copy.deepcopy(model).to("meta")
    shape = SampleShape(
        tokens=data[0].length,
        answer_tokens=data[0].answer_length,
        extras={name: tuple(tensor.shape) for name, tensor in data[0].extras.items()},
    )
    how = trained_manifest(model, recipe(**fields))
    with adapted(skeleton, how.adapters):
        names = frozenset(how.names)
        measured = training_bytes(skeleton, names, shape, 1, distilled=how.distilled, device="cpu")
    with adapted(model, how.adapters):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
            if name in names:
                parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
        live = LiveBytes()
        live.ignore(_fixed(model))
        with live, adapter_dropout(model):
            batch = collate(data, 0)
            if how.distilled:
                with torch.no_grad():
                    taught = answer_logits(model(**batch.inputs, use_cache=False).logits, batch)
            logits = model(**batch.inputs, use_cache=False).logits
            loss = answer_loss_sum(logits, batch)
            if how.distilled:
                loss = loss + distillation_loss_sum(answer_logits(logits, batch), taught, 2.0)
            del logits
            loss.backward()
    assert 0.99 * live.peak <= measured <= 1.13 * live.peak
    if "full" not in fields.values():
        assert measured == pytest.approx(live.peak, rel=0.02)


def test_the_plan_counts_adapters_and_leaves_its_skeleton_alone() -> None:
    skeleton = llava().to("meta")
    before = [(name, type(module)) for name, module in skeleton.named_modules()]
    estimator = Estimator(skeleton, SampleShape(tokens=12, answer_tokens=2), "cpu")
    load = Load(micro_batch=2, eval_batch=1)
    few, many, taught = (
        estimator.estimate(trained_manifest(skeleton, recipe("mlp", **{**adapters(), **fields})), load)
        for fields in ({"lora_rank": 2}, {"lora_rank": 64}, {"lora_rank": 2, "lwf_weight": 1.0})
    )
    assert not any(estimate.by_formula for estimate in (few, many, taught))
    assert few.activations < many.activations
    assert few.activations < taught.activations
    assert few.optimizer * 32 == many.optimizer
    assert [(name, type(module)) for name, module in skeleton.named_modules()] == before
