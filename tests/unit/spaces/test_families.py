"""Role maps, on the parameter names of real models built without memory on the meta device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from spaces.families import numbers_of, role_map_of
from spaces.parts import Part
from spaces.role_map import Fused, RoleMap, UnknownParameters, assign_parts
from spaces.roles import ATTENTION, LANGUAGE, MLP, ROLES
from spaces.subsets import SUBSETS, roles_of

TEXT = {"llama": LlamaConfig, "qwen2": Qwen2Config, "mistral": MistralConfig}
CAUSAL = {"llama": LlamaForCausalLM, "qwen2": Qwen2ForCausalLM, "mistral": MistralForCausalLM}


def text_config(kind: str, layers: int, **changes: Any) -> Any:
    return TEXT[kind](
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        **changes,
    )


def language_model(kind: str, layers: int, **changes: Any) -> PreTrainedModel:
    with torch.device("meta"):
        return CAUSAL[kind](text_config(kind, layers, **changes))


def llava(kind: str, layers: int, vision_layers: int = 2, **changes: Any) -> PreTrainedModel:
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=vision_layers,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text_config(kind, layers), image_token_index=31, **changes
    )
    with torch.device("meta"):
        return LlavaForConditionalGeneration(config)


def assigned(model: PreTrainedModel) -> dict[str, Part]:
    config = model.config.to_dict()
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return {part.name: part for part in assign_parts(shapes, role_map_of(config), numbers_of(config))}


def trained(model: PreTrainedModel, subset: str) -> set[str]:
    return {name for name, assignment in assigned(model).items() if assignment.role in roles_of(subset)}


class TestPartition:
    """Every parameter has exactly one role: together the roles' names are the model's, each once."""

    @settings(max_examples=12, deadline=None)
    @given(
        kind=st.sampled_from(sorted(TEXT)),
        layers=st.integers(1, 12),
        tied=st.booleans(),
    )
    def test_of_language_models(self, kind: str, layers: int, tied: bool) -> None:
        model = language_model(kind, layers, tie_word_embeddings=tied)
        roles = assigned(model)
        assert list(roles) == [name for name, _ in model.named_parameters()]
        counts = Counter(assignment.role for assignment in roles.values())
        # Of each projection one weight a layer; Qwen2 adds a bias to q, k and v.
        bias = 2 if kind == "qwen2" else 1
        expected = {
            **{role: bias * layers for role in ("attn.q", "attn.k", "attn.v")},
            **{role: layers for role in ("attn.o", *MLP)},
            "norm": 2 * layers + 1,
            "embed": 1,
            "head": 0 if tied else 1,  # a tied head is the embedding
        }
        assert counts == Counter(expected)

    @settings(max_examples=12, deadline=None)
    @given(
        kind=st.sampled_from(sorted(TEXT)),
        layers=st.integers(1, 11),
        vision_layers=st.integers(1, 11),
        bias=st.booleans(),
    )
    def test_of_llava(self, kind: str, layers: int, vision_layers: int, bias: bool) -> None:
        model = llava(kind, layers, vision_layers, multimodal_projector_bias=bias)
        roles = assigned(model)
        assert list(roles) == [name for name, _ in model.named_parameters()]
        counts = Counter(assignment.role for assignment in roles.values())
        assert counts["projector"] == (4 if bias else 2)
        # CLIP: q, k, v and out with biases; two linear layers with biases; two norms with biases, and two
        # more around the encoder; class, patch and position embeddings.
        assert counts["vision.attn"] == 8 * vision_layers
        assert counts["vision.mlp"] == 4 * vision_layers
        assert counts["vision.norm"] == 4 * vision_layers + 4
        assert counts["vision.embed"] == 3
        assert counts["attn.o"] == layers
        assert counts["head"] == 1
        assert set(counts) == set(ROLES) - {"position", "mlp.router"}

    @pytest.mark.parametrize("attention_bias", [True, False])
    def test_of_llama_with_biases(self, attention_bias: bool) -> None:
        model = language_model("llama", 2, attention_bias=attention_bias, mlp_bias=True)
        counts = Counter(assignment.role for assignment in assigned(model).values())
        assert counts["attn.o"] == (4 if attention_bias else 2)
        assert counts["mlp.down"] == 4

    @pytest.mark.parametrize("kind", sorted(TEXT))
    def test_elements_of_disjoint_subsets_add_up(self, kind: str) -> None:
        model = llava(kind, 3)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        parts = [trained(model, subset) for subset in ("llm", "vision", "projector")]
        assert sum(sizes[name] for part in parts for name in part) == sum(sizes.values())
        assert set.union(*parts) == trained(model, "full") == set(sizes)


class TestWhichParameters:
    @pytest.mark.parametrize("kind", sorted(TEXT))
    def test_language_subsets_never_reach_into_the_vision_tower(self, kind: str) -> None:
        model = llava(kind, 3)
        named_alike = [
            name for name, _ in model.named_parameters() if "vision_tower" in name and "q_proj" in name
        ]
        assert named_alike  # the trap is there
        for subset in SUBSETS:
            if roles_of(subset) <= set(LANGUAGE):
                assert not [name for name in trained(model, subset) if "vision_tower" in name], subset

    def test_sa_proj_is_the_four_projections_of_every_layer(self) -> None:
        expected = {
            f"model.language_model.layers.{layer}.self_attn.{projection}_proj.weight"
            for layer in range(3)
            for projection in "qkvo"
        }
        assert trained(llava("llama", 3), "sa_proj") == expected

    def test_gate_up_of_qwen2(self) -> None:
        assert trained(language_model("qwen2", 1), "gate_up") == {
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
        }

    def test_vision_is_the_tower_alone(self) -> None:
        model = llava("qwen2", 2)
        names = {name for name, _ in model.named_parameters() if name.startswith("model.vision_tower.")}
        assert trained(model, "vision") == names

    def test_layers_are_numbered(self) -> None:
        roles = assigned(llava("llama", 11, vision_layers=2))
        language = {a.layer for a in roles.values() if a.role in ATTENTION}
        vision = {a.layer for a in roles.values() if a.role == "vision.attn"}
        assert (language, vision) == (set(range(11)), {0, 1})
        assert roles["lm_head.weight"] == Part("lm_head.weight", "head", None, (32, 16))
        norm = "model.language_model.norm.weight"
        assert roles[norm] == Part(norm, "norm", None, (16,))


LLAMA = role_map_of({"model_type": "llama"})


class TestWrongNames:
    def test_a_parameter_without_a_role(self) -> None:
        names = ["lm_head.weight", *(f"model.layers.{i}.adapter.weight" for i in range(7))]
        with pytest.raises(UnknownParameters, match=r"'llama' gives no role to 7 parameter\(s\)") as caught:
            assign_parts(dict.fromkeys(names, (2, 2)), LLAMA, {})
        assert caught.value.names == tuple(names[1:])

    @pytest.mark.parametrize(
        "name", ["xlm_head.weight", "lm_head.weights", "model.layers.x.mlp.up_proj.weight", "lm_head_weight"]
    )
    def test_templates_match_whole_names(self, name: str) -> None:
        with pytest.raises(ValueError, match="gives no role to 1 parameter"):
            assign_parts({name: (2, 2)}, LLAMA, {})

    def test_two_roles_for_one_parameter(self) -> None:
        twofold = RoleMap(name="twofold", roles={"embed": ("wte.*",), "head": ("{wte|lm}.weight",)})
        with pytest.raises(ValueError, match=r"'wte.weight' matches several roles of 'twofold'.*embed.*head"):
            assign_parts({"wte.weight": (2, 2)}, twofold, {})

    def test_an_unknown_model_type(self) -> None:
        with pytest.raises(ValueError, match="no role map covers model type 'lama'"):
            role_map_of({"model_type": "lama"})

    def test_an_unknown_role(self) -> None:
        with pytest.raises(ValueError, match=r"unknown role 'attn\.w': did you mean 'attn"):
            RoleMap(name="wrong", roles={"attn.w": ("w",)})

    def test_two_layers_in_one_name(self) -> None:
        with pytest.raises(
            ValueError, match=r"template 'b\.\{layer\}\.\{layer\}': '\{layer\}' may be there once"
        ):
            RoleMap(name="wrong", roles={"attn.q": ("b.{layer}.{layer}",)})

    @pytest.mark.parametrize(
        ("repeats", "told"),
        [
            ("heads", "of the model configuration's 'heads', got 0"),
            (0, "at least 1, got 0"),
            ("no", "got None"),
        ],
    )
    def test_a_number_that_divides_nothing(self, repeats: int | str, told: str) -> None:
        fused = Fused(names=("qkv",), parts=(("attn.q", 1), ("attn.k", 1)), repeats=repeats)
        with pytest.raises(ValueError, match=told):
            assign_parts({"qkv": (4, 2)}, RoleMap(name="wrong", roles={}, fused=(fused,)), {"heads": 0})

    def test_an_unknown_placeholder(self) -> None:
        with pytest.raises(ValueError, match=r"'\{index\}' is neither '\{layer\}' nor a choice"):
            RoleMap(name="wrong", roles={"attn.q": ("layers.{index}.q",)})
