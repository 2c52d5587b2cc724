"""Role maps divide the elements of every family's parameters: each element has one role, none is left out."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import CLIP, FAMILIES, LANGUAGE, MULTIMODAL, Family
from torch import nn

from spaces.families import parts_of
from spaces.language_families import LANGUAGE_MODELS
from spaces.multimodal_families import SHELLS
from spaces.parts import Part
from spaces.roles import LANGUAGE as LANGUAGE_ROLES
from spaces.roles import ROLES
from spaces.subsets import SUBSETS, roles_of
from spaces.vision_families import VISION_TOWERS
from trainables.manifest import build_manifest
from trainables.weights.slices import sliced


@cache
def built(name: str) -> Any:
    return FAMILIES[name].build()


def parts(model: Any) -> tuple[Part, ...]:
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return parts_of(shapes, model.config.to_dict())[1]


def marked(model: nn.Module, divided: tuple[Part, ...]) -> dict[str, torch.Tensor]:
    """Return name -> how many roles each element of the parameter has."""
    marks = {name: torch.zeros(parameter.shape) for name, parameter in model.named_parameters()}
    for part in divided:
        sliced(marks[part.name], part.slice).add_(1)
    return marks


def assert_partition(model: nn.Module) -> None:
    divided = parts(model)
    for name, marks in marked(model, divided).items():
        assert (marks == 1).all(), name
    assert sum(part.count for part in divided) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_each_element_has_one_role(name: str) -> None:
    assert_partition(built(name))


def test_every_family_of_the_tables_is_built() -> None:
    configs = [built(name).config.to_dict() for name in FAMILIES]
    texts = {(config.get("text_config") or config)["model_type"] for config in configs}
    towers = {config["vision_config"]["model_type"] for config in configs if config.get("vision_config")}
    assert texts == set(LANGUAGE_MODELS)
    assert towers == set(VISION_TOWERS)
    assert {config["model_type"] for config in configs} >= set(SHELLS)


class TestTiedWeights:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_a_tied_head_is_the_embedding(self, name: str) -> None:
        """One parameter, counted once, with the role of the table of words."""
        model = built(name)
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        heads = [part for part in parts(model) if part.role == "head"]
        assert bool(heads) is not tied
        (table,) = [part for part in parts(model) if part.role == "embed"]
        assert dict(model.named_parameters())[table.name] is model.get_input_embeddings().weight

    def test_both_kinds_are_built(self) -> None:
        tied = {name for name in FAMILIES if built(name).config.get_text_config().tie_word_embeddings}
        assert {"gpt2", "gemma3", "paligemma", "qwen2"} <= tied
        assert {"llama", "phi3", "gpt_neox", "llava"}.isdisjoint(tied)


class TestVisionTower:
    @pytest.mark.parametrize("name", MULTIMODAL)
    def test_a_subset_of_the_language_model_never_reaches_into_it(self, name: str) -> None:
        model = built(name)
        tower = tower_names(model)
        assert [n for n in tower if "attn" in n or "attention" in n]  # the trap is there
        language = [subset for subset in SUBSETS if roles_of(subset) <= set(LANGUAGE_ROLES)]
        assert {"llm", "sa_proj", "qkv", "mlp"} <= set(language)
        for subset in language:
            assert tower.isdisjoint(build_manifest(model, subset).names), subset

    @pytest.mark.parametrize("name", MULTIMODAL)
    def test_it_is_the_subset_vision_and_what_joins_it_the_projector(self, name: str) -> None:
        model = built(name)
        tower = tower_names(model)
        joins = {n for n in tower if "merger" in n}  # Qwen keeps them in the tower's module
        assert set(build_manifest(model, "vision").names) == tower - joins
        text = id(model.get_decoder())
        inside = {
            n for prefix, m in model.named_modules() if id(m) == text for n in names_under(model, prefix)
        }
        rest = {n for n, _ in model.named_parameters()} - tower - inside - {"lm_head.weight"}
        assert set(build_manifest(model, "projector").names) == rest | joins != set()


def tower_names(model: Any) -> set[str]:
    """Return the names under the module that transformers itself takes for the vision tower."""
    tower = next(
        prefix
        for prefix, module in model.named_modules()
        if getattr(module, "config", None).__class__ is model.config.vision_config.__class__
    )
    return names_under(model, tower)


def names_under(model: nn.Module, prefix: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefix + ".")}


@pytest.mark.parametrize("name", sorted(set(LANGUAGE) - {"gpt2"}))  # transformers can't put GPT-2 there
def test_a_shell_takes_any_language_model(name: str) -> None:
    alone, text = LANGUAGE[name].build(device="meta"), LANGUAGE[name].config
    config = hf.LlavaConfig(text_config=text(), vision_config=CLIP, image_token_id=47)
    with torch.device("meta"):
        model = hf.LlavaForConditionalGeneration(config)
    assert_partition(model)
    for subset in ("qkv", "vo", "gate_up", "norm"):
        assert build_manifest(model, subset).count == build_manifest(alone, subset).count


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    heads = kv_heads * per_group
    return {
        "num_hidden_layers": draw(st.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": heads * 2 * draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(1, 20)),
        "tie_word_embeddings": draw(st.booleans()),
    }


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(list(LANGUAGE.values())), size=sizes())
def test_at_any_size(family: Family, size: dict[str, Any]) -> None:
    assert_partition(family.build(device="meta", **size))


@settings(max_examples=15, deadline=None)
@given(
    family=st.sampled_from(list(MULTIMODAL.values())), layers=st.integers(1, 12), words=st.integers(48, 99)
)
def test_of_any_depth_in_a_shell(family: Family, layers: int, words: int) -> None:
    model = family.build(device="meta", num_hidden_layers=layers, vocab_size=words)
    assert_partition(model)
    language = {part.layer for part in parts(model) if part.role == "attn.q"}
    assert language == set(range(layers))
    assert {part.role for part in parts(model)} <= set(ROLES)
