"""Adapters come into a model, train, and go without a trace; PEFT agrees with every number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peft
import pytest
import torch
from tiny_families import FAMILIES
from tiny_families import PAD as FAMILY_PAD
from tiny_models import IDS, encoded, llava, recipe
from torch import Tensor, nn

from spaces.recipe import Recipe
from trainables.collate import Batch, collate
from trainables.loop import Progress, fine_tune
from trainables.manifest import TrainableManifest, build_manifest
from trainables.training.losses import answer_loss_sum
from trainables.weights.lora import adapted, adapter_dropout, peft_config
from trainables.weights.merging import merge_adapters, merged_manifest
from trainables.weights.restore import borrowed
from trainables.weights.slices import sliced
from trainables.weights.trained import trained_manifest

PAD = IDS["<pad>"]
VARIANTS = ("lora", "rslora", "dora")


def lora(subset: str = "sa_proj", *, variant: str = "lora", dropout: float = 0.0, **fields: Any) -> Recipe:
    own = {"lora_rank": 2, "lora_alpha": 8.0, "lora_dropout": dropout, "lora_variant": variant}
    return recipe(subset, method="lora", **{**own, **fields})


def batch(n: int = 3) -> Batch:
    return collate(encoded()[:n], PAD)


@torch.no_grad()
def logits(model: nn.Module, of: Batch | None = None) -> Tensor:
    return model(**(of or batch()).inputs, use_cache=False).logits


def tuned(
    model: nn.Module, how: Recipe, **options: Any
) -> tuple[TrainableManifest, dict[str, Tensor], Tensor, Progress]:
    """Train on loan; return what was trained, its values and the tuned model's logits."""
    manifest = trained_manifest(model, how)
    with borrowed(model, manifest, seed=3) as base:
        *_, last = fine_tune(
            model,
            manifest,
            how,
            encoded(),
            **{"seed": 0, "rungs": (how.steps,), "pad_token_id": PAD, "base": base, **options},
        )
        values = {
            key.removeprefix("parameter/"): value.clone()
            for key, value in last.state.items()
            if key.startswith("parameter/")
        }
        return manifest, values, logits(model), last


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_is_the_base_bit_for_bit(variant: str, dtype: torch.dtype) -> None:
    model = llava().to(dtype)
    before = logits(model)
    manifest = trained_manifest(model, lora("full", variant=variant))
    with adapted(model, manifest.adapters, manifest.tensors):
        assert torch.equal(logits(model), before)
        names = dict(model.named_parameters())
        assert all(names[name].dtype == dtype for name in manifest.names)
        assert not any(parameter.requires_grad for parameter in names.values())


def trace(model: nn.Module) -> list[tuple[str, type, list[str]]]:
    """Return all modules with their classes and attributes."""
    return [(name, type(module), sorted(vars(module))) for name, module in model.named_modules()]


def test_adapters_leave_no_trace() -> None:
    model = llava()
    logits(model)  # The library hangs hooks of its own on a model at its first forward pass.
    modules, before = trace(model), [(name, id(p)) for name, p in model.named_parameters()]
    tuned(model, lora(dropout=0.1, variant="dora"), activation_checkpointing=True)
    assert trace(model) == modules
    assert [(name, id(p)) for name, p in model.named_parameters()] == before
    with pytest.raises(ZeroDivisionError), adapted(model, trained_manifest(model, lora()).adapters):
        raise ZeroDivisionError
    assert trace(model) == modules


def test_the_seed_draws_the_adapters() -> None:
    model = llava()
    manifest = trained_manifest(model, lora())

    def drawn(seed: int) -> Mapping[str, Tensor]:
        with borrowed(model, manifest, seed=seed) as base:
            return base

    first, again, other = drawn(1), drawn(1), drawn(2)
    for key in manifest.names:
        assert torch.equal(first[key], again[key])
        assert torch.equal(first[key], other[key]) == (".lora_B." in key)


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_equal_peft_s_own_model_under_adamw(variant: str) -> None:
    """The same adapters in `peft.get_peft_model`, stepped by `torch.optim.AdamW` by hand."""
    how = lora("mlp", variant=variant, steps=3, batch_size=3, warmup_ratio=0.0, schedule="constant")
    manifest = trained_manifest(llava(), how)
    assert manifest.adapters is not None
    data = encoded(n=3)  # All of them in each batch, so their order is of no account.
    theirs = peft.get_peft_model(llava(), peft_config(manifest.adapters))
    own = {
        name.removeprefix("base_model.model."): parameter
        for name, parameter in theirs.named_parameters()
        if parameter.requires_grad
    }
    assert set(own) == set(manifest.names)
    model = llava()
    with borrowed(model, manifest, seed=3) as base:
        for name, parameter in own.items():
            parameter.data.copy_(base[name])
        *_, last = fine_tune(model, manifest, how, data, seed=0, rungs=(3,), pad_token_id=PAD)
        expected = logits(model)
        values = {name: last.state[f"parameter/{name}"].clone() for name in own}
    optimizer = torch.optim.AdamW(own.values(), lr=how.learning_rate, weight_decay=0.0)
    theirs.eval()
    for _ in range(3):
        whole = collate(data, PAD)
        loss = answer_loss_sum(theirs(**whole.inputs).logits, whole) / whole.answer_mask.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(own.values(), how.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in own.items():
        torch.testing.assert_close(parameter.data, values[name], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits(theirs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_merged_adapters_are_the_tuned_model(variant: str) -> None:
    model = llava()
    base = logits(model)
    manifest, values, expected, _ = tuned(model, lora("sa_gate_up", variant=variant))
    assert manifest.adapters is not None
    merge_adapters(model, manifest, values)
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    assert (expected - base).abs().max() > 1e-3
    frozen = set(build_manifest(model, "full").names) - {f"{m}.weight" for m in manifest.adapters.modules}
    before = dict(llava().named_parameters())
    for name in frozen:
        assert torch.equal(model.get_parameter(name), before[name]), name


# Of fused and of plain layers; the last is a control that trains one input of a transposed layer.
CUTS = [
    *((name, "attn.v+mlp.up") for name in ("phi3", "gpt_neox", "gpt2", "qwen2_vl", "gemma3")),
    ("mixtral", "attn.v"),
    ("phi3", "attn.q"),
    ("gpt_neox", "attn.k"),
    ("gpt2", "attn.q"),
    ("gpt2", "random(mlp.down,1)"),
]


@pytest.mark.parametrize(("name", "subset"), CUTS)
def test_a_step_changes_weights_of_the_subset_and_no_others(name: str, subset: str) -> None:
    """Merged after two steps with weight decay, all but the subset is the base, bit for bit."""
    model = FAMILIES[name].build()
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    how = lora(subset, steps=2, batch_size=2, weight_decay=0.1)
    manifest = trained_manifest(model, how)
    assert manifest.adapters is not None
    data = [FAMILIES[name].sample(seed, text=7 + seed) for seed in range(2)]
    with borrowed(model, manifest, seed=0):
        (last,) = fine_tune(model, manifest, how, data, seed=0, rungs=(2,), pad_token_id=FAMILY_PAD)
        values = {tensor.key: last.state[f"parameter/{tensor.key}"].clone() for tensor in manifest.tensors}
        tuned_logits = logits(model, collate(data, FAMILY_PAD))
    merge_adapters(model, manifest, values)
    # What is handed over is what was evaluated: nothing else of an adapter is in effect.
    torch.testing.assert_close(logits(model, collate(data, FAMILY_PAD)), tuned_logits, rtol=1e-4, atol=1e-5)
    own = {key: torch.zeros_like(parameter, dtype=torch.bool) for key, parameter in before.items()}
    modules = {f"{module}.weight" for module in manifest.adapters.modules}
    plain = [tensor for tensor in build_manifest(model, subset).tensors if tensor.name in modules]
    assert list(merged_manifest(model, manifest).tensors) == plain
    for tensor in plain:
        sliced(own[tensor.name], tensor.slice).fill_(True)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter[~own[key]], before[key][~own[key]]), key
        if key in modules:
            assert not torch.equal(parameter[own[key]], before[key][own[key]]), key


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    model = llava()
    manifest = trained_manifest(model, lora(dropout=0.5))
    with adapted(model, manifest.adapters):
        for name in manifest.names:
            model.get_parameter(name).data.normal_()
        still = logits(model)
        assert torch.equal(logits(model), still)
        with adapter_dropout(model):
            assert not torch.equal(logits(model), still)
            assert not any(
                module.training
                for name, module in model.named_modules()
                if "lora_" not in name and not name.endswith("_proj")
            )
        assert torch.equal(logits(model), still)
        assert not any(module.training for module in model.modules())


def test_training_with_dropout_differs_and_is_repeatable() -> None:
    losses = [tuned(llava(), lora(dropout=rate))[3].losses for rate in (0.0, 0.5, 0.5)]
    # B is zero in the first step, whatever A sees.
    assert losses[0][0] == losses[1][0]
    assert losses[0] != losses[1] == losses[2]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rung", [1, 3])
def test_going_on_equals_an_undisturbed_run(variant: str, rung: int) -> None:
    how = lora("gate_up", variant=variant, dropout=0.2, steps=5, weight_decay=0.1, lwf_weight=0.5)
    _, values, expected, last = tuned(llava(), how, rungs=(rung, 5))
    model = llava()
    manifest = trained_manifest(model, how)
    with borrowed(model, manifest, seed=3) as base:
        half = fine_tune(
            model, manifest, how, encoded(), seed=0, rungs=(rung, 5), pad_token_id=PAD, base=base
        )
        state = {name: tensor.clone() for name, tensor in next(half).state.items()}
        half.close()
    _, again, found, progress = tuned(model, how, rungs=(rung, 5), resume=state)
    assert progress.losses == last.losses
    assert torch.equal(found, expected)
    assert all(torch.equal(again[key], values[key]) for key in values)


def test_recomputed_activations_change_nothing() -> None:
    how = lora(dropout=0.3)
    (_, one, *_), (_, two, *_) = (tuned(llava(), how, activation_checkpointing=on) for on in (False, True))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_bfloat16_steps_add_up_in_masters() -> None:
    """At a rate below bfloat16's resolution A moves in its fp32 master and not in the model."""
    how = lora(learning_rate=1e-6, steps=4, schedule="constant", warmup_ratio=0.0)
    _, values, _, last = tuned(llava().to(torch.bfloat16), how)
    key = next(key for key in values if ".lora_A." in key)
    assert values[key].dtype == torch.bfloat16
    assert last.state[f"master/{key}"].dtype == torch.float32
    assert not torch.equal(last.state[f"master/{key}"], values[key].float())


def test_merging_by_hand() -> None:
    """W + alpha / rank B A, alpha 8 and rank 2."""
    manifest, values, _, _ = tuned(llava(), lora())
    assert manifest.adapters is not None
    merged, base = llava(), llava()
    merge_adapters(merged, manifest, values)
    for module in manifest.adapters.modules:
        a, b = (values[f"{module}.lora_{letter}.default.weight"] for letter in "AB")
        expected = base.get_parameter(f"{module}.weight") + 4 * b @ a
        torch.testing.assert_close(merged.get_parameter(f"{module}.weight"), expected)
