from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_families import LANGUAGE
from tiny_models import encoded, llama, llava, recipe
from transformers import LlavaConfig, Qwen2Config

from trainables.cost.memory import (
    CUDA_CONTEXT_BYTES,
    GIB,
    NCCL_BYTES,
    Estimator,
    Load,
    formula_bytes,
    state_bytes,
)
from trainables.cost.sample_shape import SampleShape
from trainables.loop import fine_tune
from trainables.manifest import TrainableManifest, TrainedParameter, build_manifest
from trainables.model import load_skeleton

SAMPLE = SampleShape(tokens=12, answer_tokens=2)


def manifest(*counts: int, total: int = 100, item: int = 4) -> TrainableManifest:
    parameters = tuple(
        TrainedParameter(f"p{i}", "attn.q", 0, (count,), count, count * item)
        for i, count in enumerate(counts)
    )
    return TrainableManifest(
        model_type="llama", family="llama", subset="qkv", parameters=parameters, total=total
    )


def test_what_a_trial_holds_by_hand() -> None:
    """10 of 100 elements are trained."""
    alone = Load(micro_batch=1)
    assert state_bytes(manifest(10), alone) == {
        "weights": 400,
        "saved_base": 40,
        "gradients": 40,
        "optimizer": 80,
    }
    # bf16: a gradient of 2 bytes added up in 4; a master and two moments of 4 bytes each.
    assert state_bytes(manifest(10, item=2), alone) == {
        "weights": 200,
        "saved_base": 20,
        "gradients": 60,
        "optimizer": 120,
    }


def test_replicas_hold_everything_and_shards_their_part() -> None:
    whole = state_bytes(manifest(10, item=2), Load(micro_batch=1))
    assert state_bytes(manifest(10, item=2), Load(workers=3, micro_batch=1)) == whole
    shards = state_bytes(manifest(10, item=2), Load(workers=3, sharded=True, micro_batch=1))
    assert shards == {"weights": 67, "saved_base": 7, "gradients": 20, "optimizer": 40}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("subset", ["full", "vision", "qkv"])
def test_what_the_training_loop_holds_is_what_is_counted(subset: str, dtype: torch.dtype) -> None:
    """After a real step of the loop, and with the gradients of a pass that are about to be added up."""
    model = llava().to(dtype)
    trained = build_manifest(model, subset)
    counted = state_bytes(trained, Load(micro_batch=1))
    gradients = []
    for name, parameter in model.named_parameters():
        if name in trained.names:
            parameter.requires_grad_()
            parameter.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.nbytes))
    run = fine_tune(model, trained, recipe(subset, steps=1), encoded(), seed=0, rungs=(1,), pad_token_id=0)
    state = next(iter(run)).state
    assert sum(tensor.nbytes for tensor in model.parameters()) == counted["weights"]
    held = sum(tensor.nbytes for name, tensor in state.items() if name.startswith(("exp_avg", "master/")))
    # A parameter without a part in the forward pass, such as the tower's last norm, never gets moments.
    unused = sum(p.count for p in trained.parameters if f"exp_avg/{p.name}" not in state)
    assert held + 8 * unused == counted["optimizer"]
    summed = 4 * (trained.count - unused) if dtype is torch.bfloat16 else 0
    item = dtype.itemsize
    assert sum(gradients) == item * (trained.count - unused)
    assert sum(gradients) + summed + (6 if item == 2 else 4) * unused == counted["gradients"]


def test_what_workers_exchange_by_hand() -> None:
    """tiny: 2 layers; of `qkv` each trains 3 x 16 x 16 = 768 elements.

    Replicas average a bucket of at least 25 MiB in fp32: another 25 MiB. Shards gather, in fp32 of 4 bytes,
    what is outside the layers, two layers, and one layer's trained gradients twice.
    """
    model = llama().to("meta")
    estimator = Estimator(model, SAMPLE, "cpu")
    trained = build_manifest(model, "qkv")
    alone, replicas, shards = (
        estimator.least(trained, Load(workers=workers, sharded=sharded, micro_batch=1))
        for workers, sharded in ((1, False), (2, False), (2, True))
    )
    assert replicas - alone == 25 * 1024**2
    total = sum(parameter.numel() for parameter in model.parameters())
    layer = sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    held = 4 * total + 16 * 2 * 768
    gathered = 4 * (total - 2 * layer) + 2 * 4 * layer + 768 * 8
    assert shards - alone == gathered - held // 2


def test_a_device_adds_its_context_and_what_the_allocator_loses() -> None:
    model = llama().to("meta")
    trained = build_manifest(model, "qkv")
    estimator = Estimator(model, SAMPLE, "cuda")
    estimate = estimator.estimate(trained, Load(micro_batch=1))
    held = estimate.resident + estimate.activations
    assert estimate.overhead == pytest.approx(CUDA_CONTEXT_BYTES + 0.05 * held, abs=1)
    assert estimate.total == held + estimate.overhead
    two = estimator.estimate(trained, Load(workers=2, micro_batch=1))
    assert two.overhead == pytest.approx(estimate.overhead + NCCL_BYTES + 25 * 1024**2, abs=1)


def test_an_evaluation_may_need_more_than_a_step() -> None:
    estimator = Estimator(llama().to("meta"), SAMPLE, "cpu")
    trained = build_manifest(llama().to("meta"), "qkv")
    step, evaluation = (
        estimator.estimate(trained, Load(micro_batch=1, eval_batch=batch)) for batch in (1, 400)
    )
    assert evaluation.activations > 10 * step.activations
    # It is more or less proportional to the samples, and takes the gradients' place.
    double = estimator.estimate(trained, Load(micro_batch=1, eval_batch=800))
    freed = step.gradients
    assert double.activations + freed == pytest.approx(2 * (evaluation.activations + freed), rel=0.02)


def test_an_architecture_that_can_not_be_measured_is_estimated_by_formula() -> None:
    class Peeping(type(llama())):  # type: ignore[misc]
        def forward(self, *args: object, **kwargs: object) -> object:
            return super().forward(*args, **kwargs) if float(self.lm_head.weight[0, 0].detach()) else None

    model = llama().to("meta")
    model.__class__ = Peeping
    trained = build_manifest(model, "full")
    estimate = Estimator(model, SAMPLE, "cuda").estimate(trained, Load(micro_batch=4))
    assert estimate.by_formula
    assert estimate.activations == formula_bytes(model, SAMPLE, 4, checkpointing=False)


def test_the_formula_by_hand() -> None:
    """tiny, fp32: h 16, i 24, 2 layers; 4 x 12 = 48 tokens.

    A layer: 48 (4 (16 x 16 + 4 x 24) + 16 x 16) = 79,872; logits: 48 V (3 x 4 + 4).
    """
    model = llama().to("meta")
    logits = 48 * model.config.vocab_size * 16
    assert formula_bytes(model, SAMPLE, 4, checkpointing=False) == 3 * 79_872 + logits
    recomputed = 2 * 48 * 16 * 4 + 2 * 79_872 + logits
    assert formula_bytes(model, SAMPLE, 4, checkpointing=True) == recomputed


@pytest.mark.parametrize(
    ("family", "width"), [("mixtral", 2 * 24), ("qwen2_moe", 2 * 8 + 12), ("qwen3_moe", 2 * 8)]
)
def test_the_formula_counts_the_experts_that_a_token_takes(family: str, width: int) -> None:
    """As above, with the width of two experts, and of the shared one."""
    model = LANGUAGE[family].build(device="meta")
    layer = 48 * (4 * (16 * 16 + 4 * width) + 16 * 16)
    assert formula_bytes(model, SAMPLE, 4, checkpointing=False) == 3 * layer + 48 * 48 * 16


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Configurations of Qwen2-7B's and LLaVA-1.5-7B's shapes, without weights."""
    folder = tmp_path_factory.mktemp("seven")
    qwen = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        tie_word_embeddings=False,
    )
    llava_15 = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32064,
            "tie_word_embeddings": False,
        },
        image_token_index=32000,
        tie_word_embeddings=False,
    )
    qwen.save_pretrained(folder / "qwen2")
    llava_15.save_pretrained(folder / "llava")
    return {"qwen2": folder / "qwen2", "llava": folder / "llava"}


def test_a_qwen2_of_seven_billion_by_hand(seven: dict[str, Path]) -> None:
    """Elements of a layer, h 3584, 4 key heads of 28 of width 128, MLP 18944:

    q and o: 2 x 3584^2, and 3584 biases; k and v: 2 x (3584 x 512 + 512); MLP: 3 x 3584 x 18944; norms:
    2 x 3584. 28 layers; embeddings and head: 2 x 152064 x 3584; a last norm of 3584.
    """
    attention = 2 * 3584**2 + 3584 + 2 * (3584 * 512 + 512)
    layer = attention + 3 * 3584 * 18944 + 2 * 3584
    total = 28 * layer + 2 * 152064 * 3584 + 3584
    assert total == 7_615_616_512
    skeleton = load_skeleton(str(seven["qwen2"]), dtype=torch.bfloat16)
    trained = build_manifest(skeleton, "sa_proj")
    estimator = Estimator(skeleton, SampleShape(tokens=1024, answer_tokens=128), "cuda")
    estimate = estimator.estimate(trained, Load(micro_batch=1, checkpointing=True))
    assert estimate.weights == 2 * total
    assert estimate.saved_base == 2 * 28 * attention
    assert estimate.gradients == 6 * 28 * attention
    assert estimate.optimizer == 12 * 28 * attention
    assert not estimate.by_formula
    # Inputs of 28 layers, 7.3 MB each, and the logits in bf16, at least; far below what is kept otherwise.
    assert 28 * 1024 * 3584 * 2 + 1024 * 152064 * 2 < estimate.activations < 1.5 * GIB


def test_a_llava_of_seven_billion_is_measured_with_its_tower(seven: dict[str, Path]) -> None:
    skeleton = load_skeleton(str(seven["llava"]), dtype=torch.bfloat16)
    sample = SampleShape(tokens=640, answer_tokens=32, extras={"pixel_values": (1, 3, 336, 336)})
    estimator = Estimator(skeleton, sample, "cuda")
    estimates = {
        subset: estimator.estimate(build_manifest(skeleton, subset), Load(micro_batch=1))
        for subset in ("vision", "projector")
    }
    assert estimates["vision"].weights == 2 * 7_063_427_072
    assert not any(estimate.by_formula for estimate in estimates.values())
    # What a projector's gradient passes through, a tower's passes through too, and then the tower.
    assert estimates["vision"].activations > estimates["projector"].activations
    bound = formula_bytes(skeleton, sample, 1, checkpointing=False)
    assert estimates["projector"].activations < bound
