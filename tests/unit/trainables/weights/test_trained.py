"""What a LoRA recipe trains: counts by hand, exact names, clear errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_families import FAMILIES
from tiny_models import llama, llava, recipe
from torch import nn

from spaces.parts import Slice
from spaces.recipe import Recipe
from trainables.manifest import Adapters, TrainableManifest, TrainedTensor, build_manifest
from trainables.weights.trained import LINEAR, trained_manifest


def lora(subset: str = "sa_proj", *, rank: int = 3, variant: str = "lora", **fields: Any) -> Recipe:
    own = {"lora_rank": rank, "lora_alpha": 2.0 * rank, "lora_dropout": 0.0, "lora_variant": variant}
    return recipe(subset, method="lora", **own, **fields)


def modules_of(manifest: TrainableManifest) -> tuple[str, ...]:
    assert manifest.adapters is not None
    return manifest.adapters.modules


def test_a_selective_recipe_trains_the_subset_itself() -> None:
    model = llava()
    manifest = trained_manifest(model, recipe("mlp", layers="last:1"))
    assert manifest == build_manifest(model, "mlp", "last:1")


def test_adapters_by_hand() -> None:
    """Two layers of four matrices of 16 x 16, each with A of 3 x 16 and B of 16 x 3."""
    model = llava()
    manifest = trained_manifest(model, lora())
    assert manifest.count == 2 * 4 * (3 * 16 + 16 * 3) == 768
    assert manifest.bytes == 4 * 768
    own = sum(parameter.numel() for parameter in model.parameters())
    assert manifest.total == own
    assert manifest.share == 768 / own
    assert manifest.count_by_role() == dict.fromkeys(("attn.q", "attn.k", "attn.v", "attn.o"), 192)
    assert sorted({parameter.layer for parameter in manifest.parameters}) == [0, 1]
    q = "model.language_model.layers.0.self_attn.q_proj"
    assert [(p.name, p.shape) for p in manifest.parameters if p.name.startswith(q)] == [
        (f"{q}.lora_A.default.weight", (3, 16)),
        (f"{q}.lora_B.default.weight", (16, 3)),
    ]
    assert manifest.adapters == Adapters(
        rank=3, alpha=6.0, dropout=0.0, variant="lora", modules=modules_of(manifest)
    )
    assert len(modules_of(manifest)) == 8


def test_dora_has_the_rows_lengths_too() -> None:
    """Gate is 24 x 16: A 2 x 16, B 24 x 2 and 24 lengths."""
    manifest = trained_manifest(llava(), lora("mlp.gate", rank=2, variant="dora"))
    assert manifest.count == 2 * (32 + 48 + 24)


def test_a_vision_tower_of_the_same_names_is_not_adapted() -> None:
    model = llava()
    queries = {name for name, _ in model.named_modules() if name.endswith("layers.0.self_attn.q_proj")}
    (own,) = (name for name in queries if "language_model" in name)
    (tower,) = queries - {own}
    assert own in modules_of(trained_manifest(model, lora("qkv")))
    assert tower not in modules_of(trained_manifest(model, lora("llm")))
    assert tower in modules_of(trained_manifest(model, lora("vision")))
    assert own not in modules_of(trained_manifest(model, lora("vision_projector")))


def test_of_a_language_model_the_linear_layers_are_adapted() -> None:
    """Seven matrices in each of two layers, and the head; no embedding, no norm."""
    model = llama()
    modules = modules_of(trained_manifest(model, lora("llm")))
    assert len(modules) == 2 * 7 + 1
    assert modules[-1] == "lm_head"
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in modules)


def test_a_head_that_is_the_embedding_is_not_adapted() -> None:
    model = llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    assert "lm_head" not in modules_of(trained_manifest(model, lora("llm")))


@pytest.mark.parametrize("subset", ["norm", "embed"])
def test_a_subset_without_a_linear_layer_is_refused(subset: str) -> None:
    with pytest.raises(ValueError, match=rf"LoRA needs linear layers, and subset '{subset}' holds none"):
        trained_manifest(llama(), lora(subset))


@pytest.mark.parametrize(
    ("family", "subset", "roles", "example", "instead"),
    [
        (
            *("mixtral", "sa_gate_up", "mlp.gate, mlp.up"),
            *("model.layers.0.mlp.experts.gate_up_proj", "sa_gate_up-mlp.gate-mlp.up"),
        ),
        (
            *("gpt_oss", "qkv_gate_up", "mlp.gate, mlp.up"),
            *("model.layers.0.mlp.experts.gate_up_proj", "qkv_gate_up-mlp.gate-mlp.up"),
        ),
        # The shared expert has linear layers of the same roles.
        (
            *("qwen2_moe", "mlp", "mlp.gate, mlp.up, mlp.down"),
            *("model.layers.0.mlp.experts.gate_up_proj", "sa_proj"),
        ),
        (
            *("mixtral", "llm", "mlp.router, mlp.gate, mlp.up, mlp.down"),
            *("model.layers.0.mlp.gate.weight", "llm-mlp.router-mlp.gate-mlp.up-mlp.down"),
        ),
        (
            *("gemma3", "full", "projector"),
            *("model.multi_modal_projector.mm_input_projection_weight", "full-projector"),
        ),
    ],
)
def test_a_matrix_that_can_not_be_adapted_is_no_silent_loss(
    family: str, subset: str, roles: str, example: str, instead: str
) -> None:
    """Experts, routers and some projectors have their matrices in parameters of their own."""
    model = FAMILIES[family].build(device="meta")
    with pytest.raises(ValueError, match=f"would leave out the matrices of {roles} that") as raised:
        trained_manifest(model, lora(subset))
    shape = list(model.get_parameter(example).shape)
    assert f"such as {example!r} of shape {shape}: choose the method 'selective'" in str(raised.value)
    assert str(raised.value).endswith(f"such as {instead!r}")
    assert trained_manifest(model, lora(instead)).count > 0


def test_a_control_that_draws_experts_is_refused() -> None:
    model = FAMILIES["mixtral"].build(device="meta")
    with pytest.raises(ValueError, match=r"would leave out the matrices of .*, such as 'sa_proj'$"):
        trained_manifest(model, lora("random(mlp)"))


def test_layers_without_experts_are_adapted() -> None:
    """The first layer of this model has an MLP as any other, the second has experts."""
    model = FAMILIES["qwen3_moe"].build(device="meta")
    assert len(modules_of(trained_manifest(model, lora("mlp", layers="first:1")))) == 3
    with pytest.raises(ValueError, match="LoRA adapts linear layers"):
        trained_manifest(model, lora("mlp"))


EXPERTS = {"mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "qwen3_vl_moe"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in EXPERTS])
def test_embeddings_positions_and_convolutions_are_no_loss(name: str) -> None:
    """Nor are norms, biases, class tokens, or the pooling head of a tower of SigLIP's kind."""
    whole = "full-projector" if name == "gemma3" else "full"
    model = FAMILIES[name].build(device="meta")
    modules = modules_of(trained_manifest(model, lora(whole)))
    linear = {path for path, module in model.named_modules() if isinstance(module, LINEAR)}
    left = {path for path in linear - set(modules) if path != "lm_head"}
    assert not left, "a tied head is the embedding"


class TestFused:
    def test_rows_of_a_linear_layer(self) -> None:
        """phi3: 16 rows of q, 8 of k and 8 of v; a cut of them is a cut of B, and A is shared."""
        manifest = trained_manifest(FAMILIES["phi3"].build(device="meta"), lora("attn.k", layers="first:1"))
        a, b = manifest.parameters
        assert (a.shape, a.slice, a.role) == ((3, 16), None, "attn.k")
        assert (b.shape, b.slice, b.count) == ((32, 3), Slice(0, 1, 16, 24), 24)
        assert manifest.tensors[1] == TrainedTensor(f"{b.name}[attn.k]", b.name, b.slice)

    def test_all_roles_of_a_layer_are_one_tensor(self) -> None:
        manifest = trained_manifest(FAMILIES["phi3"].build(device="meta"), lora("qkv", layers="first:1"))
        assert [tensor.slice for tensor in manifest.tensors] == [None, None]
        assert manifest.count == 3 * 16 + 32 * 3
        assert manifest.count_by_role() == {
            "attn.q+attn.k+attn.v": 48,
            "attn.q": 48,
            "attn.k": 24,
            "attn.v": 24,
        }

    def test_columns_of_a_transposed_layer(self) -> None:
        """gpt2's c_attn is [16, 48], columns of q, k and v; they are rows of B."""
        manifest = trained_manifest(FAMILIES["gpt2"].build(device="meta"), lora("attn.v", layers="first:1"))
        a, b = manifest.parameters
        assert manifest.adapters is not None
        assert manifest.adapters.transposed
        assert (a.shape, a.slice) == ((3, 16), None)
        assert (b.shape, b.slice) == ((48, 3), Slice(0, 1, 32, 48))

    def test_inputs_of_a_transposed_layer(self) -> None:
        """This control takes one of gpt2's c_fc's 16 rows, which are its inputs: a cut of A."""
        model = FAMILIES["gpt2"].build(device="meta")
        manifest = trained_manifest(model, lora("random(mlp.down,1)"))
        a, b = (p for p in manifest.parameters if "h.0.mlp.c_fc" in p.name)
        assert (a.shape, a.slice, a.count) == ((3, 16), Slice(1, 1, 0, 1), 3)
        assert (b.shape, b.slice, b.count) == ((24, 3), None, 72)
        with pytest.raises(ValueError, match="DoRA scales whole rows of a matrix"):
            trained_manifest(model, lora("random(mlp.down,1)", variant="dora"))


@pytest.mark.parametrize("name", ["phi3", "gpt2", "qwen2_vl"])
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_the_meta_device_gives_the_same_and_is_left_alone(name: str, variant: str) -> None:
    real, skeleton = (FAMILIES[name].build(device=device) for device in ("cpu", "meta"))
    before = [(path, type(module)) for path, module in skeleton.named_modules()]
    how = lora("sa_proj", variant=variant)
    assert trained_manifest(skeleton, how) == trained_manifest(real, how)
    assert [(path, type(module)) for path, module in skeleton.named_modules()] == before


def test_as_plain_values() -> None:
    manifest = trained_manifest(llava(), lora(lwf_weight=1.0))
    plain = manifest.to_dict()
    assert (plain["method"], plain["trained"]) == ("lora", 768)
    assert TrainableManifest.from_dict(plain) == manifest


def test_bfloat16_adapters_have_the_model_s_type() -> None:
    assert trained_manifest(llava().to(torch.bfloat16), lora()).bytes == 2 * 768
