"""Random controls on every family are as large as their subset, and of matrices alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers as hf
from tiny_families import FAMILIES

from spaces.families import parts_of
from spaces.parts import Part
from spaces.roles import VISION
from spaces.selected import selected_parts

SUBSETS = ("sa_proj", "qkv", "vo", "down", "mlp.up", "norm", "attn.q+norm")


def parts_of_model(model: Any) -> tuple[Part, ...]:
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return parts_of(shapes, model.config.to_dict())[1]


def row(part: Part) -> int:
    """Return the elements of a row; of one for each head or expert that shares the parameter.

    Derived from the shape: a slice's row takes one index of its axis in each repeat, a matrix's one index of
    the last dimension but one.
    """
    if part.slice is None:
        return math.prod(part.shape) // part.shape[-2]
    return math.prod(part.shape) // part.shape[part.slice.axis] * part.slice.repeats


def assert_controls(parts: tuple[Part, ...], subset: str, layers: str, seeds: int) -> None:
    whole = {(part.name, part.role): part for part in parts}
    wanted = sum(part.count for part in selected_parts(parts, subset, layers))
    for seed in range(seeds):
        control = selected_parts(parts, f"random({subset},{seed})", layers)
        cut = [part for part in control if part != whole[part.name, part.role]]
        assert len(cut) <= 1
        # Uncut, it differs by less than half of some matrix's row; never by one whose columns take turns.
        rows = [row(part) for part in parts if len(part.shape) > 1 and row(part) < part.count]
        bound = row(cut[0]) if cut else max(rows)
        assert abs(sum(part.count for part in control) - wanted) <= bound / 2, (subset, seed)
        for part in control:
            assert part.role.partition(".")[0] in ("attn", "mlp", "vision"), part
            assert part.role not in ("vision.norm", "vision.embed"), part
            assert (part.role in VISION) == subset.startswith("vision"), part
            assert "bias" not in part.name, part
            assert len(part.shape) > 1, part


@pytest.mark.parametrize("name", FAMILIES)
def test_are_as_large_as_their_subset(name: str) -> None:
    parts = parts_of_model(FAMILIES[name].build(device="meta"))
    roles = {part.role for part in parts}
    vision = ["vision_attn", "vision_mlp"] if roles & set(VISION) else []
    for subset in (*SUBSETS, *vision):
        for layers in ("all", "last:1"):
            assert_controls(parts, subset, layers, seeds=10)


@pytest.mark.parametrize("subset", ["sa_proj", "gate_up", "mlp.gate", "down", "norm"])
def test_of_gpt_oss_at_its_real_size(subset: str) -> None:
    """One layer's gate, whose columns take turns with up's, is larger than the attention of all layers."""
    with torch.device("meta"):
        parts = parts_of_model(hf.GptOssForCausalLM(hf.GptOssConfig()))
    gates = [part for part in parts if part.role == "mlp.gate" and len(part.shape) == 3]
    attention = sum(part.count for part in parts if part.role.startswith("attn."))
    assert all(part.count > attention for part in gates)
    assert_controls(parts, subset, "all", seeds=10)
    assert_controls(parts, subset, "last:1", seeds=10)
