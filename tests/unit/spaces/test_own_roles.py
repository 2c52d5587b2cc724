"""A user's own role map: how it is written, checked and joined with a known architecture's."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from spaces.families import parts_of
from spaces.own_roles import form_to_fill, grouped_names, own_role_map
from spaces.parts import Part, Slice
from spaces.role_map import Fused

LAYERS = 2
SHAPES: dict[str, tuple[int, ...]] = {
    "tok.weight": (9, 4),
    **{f"blocks.{i}.wqkv.weight": (12, 4) for i in range(LAYERS)},
    **{f"blocks.{i}.wqkv.bias": (12,) for i in range(LAYERS)},
    **{f"blocks.{i}.experts.{j}.w2": (4, 8) for i in range(LAYERS) for j in range(3)},
}
ROLES: dict[str, Any] = {
    "embed": "tok.weight",
    "mlp.down": ["blocks.{layer}.experts.*.w2"],
    "fused": [
        {
            "names": ["blocks.{layer}.wqkv.{weight|bias}"],
            "parts": {"attn.q": "heads", "attn.k": 1, "attn.v": 1},
        }
    ],
}
UNKNOWN = {"model_type": "mine", "heads": 2}


def test_it_is_a_role_map() -> None:
    made = own_role_map(ROLES)
    assert made.roles == {"embed": ("tok.weight",), "mlp.down": ("blocks.{layer}.experts.*.w2",)}
    parts = (("attn.q", "heads"), ("attn.k", 1), ("attn.v", 1))
    assert made.fused == (Fused(names=("blocks.{layer}.wqkv.{weight|bias}",), parts=parts),)


def test_it_divides_an_unknown_model() -> None:
    name, parts = parts_of(SHAPES, UNKNOWN, own_role_map(ROLES))
    assert name == "model.roles"
    assert parts[0] == Part("tok.weight", "embed", None, (9, 4))
    # Two of four equal shares of 12 rows are queries.
    assert parts[1] == Part("blocks.0.wqkv.weight", "attn.q", 0, (12, 4), Slice(0, 1, 0, 6))
    assert sum(part.count for part in parts) == 9 * 4 + 2 * (12 * 4 + 12 + 3 * 4 * 8)
    assert list(dict.fromkeys(part.name for part in parts)) == list(SHAPES)


def test_it_adds_to_a_known_architecture_and_goes_before_it() -> None:
    shapes = {"model.embed_tokens.weight": (9, 4), "model.gain": (1,), "lm_head.weight": (9, 4)}
    own = own_role_map({"norm": "model.gain", "projector": "lm_head.weight"})
    name, parts = parts_of(shapes, {"model_type": "llama"}, own)
    assert name == "model.roles and llama"
    assert [part.role for part in parts] == ["embed", "norm", "projector"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn.w": ["w"]}, r"unknown role 'attn\.w': did you mean 'attn\.[qkvo]'"),
        ({"fuse": ["w"]}, "unknown role 'fuse': did you mean 'fused'"),
        ({"head": []}, r"head: expected a list of names, got \[\]"),
        ({"head": [1]}, r"head: expected a list of names, got \[1\]"),
        ({"head": {"a": "b"}}, "head: expected a list of names"),
        ({"head": ["{word}"]}, r"'\{word\}' is neither '\{layer\}' nor a choice"),
        ({"fused": {"names": ["w"]}}, "fused: expected a list of entries"),
        ({"fused": [{"names": ["w"]}]}, "fused: an entry needs names and parts"),
        (
            {"fused": [{"names": ["w"], "parts": {"attn.q": 1}, "axes": 1}]},
            "fused: unknown key 'axes': did you mean 'axis'",
        ),
        ({"fused": [{"names": ["w"], "parts": {"attn.q": 0}}]}, "fused: parts are roles, each with a whole"),
        ({"fused": [{"names": ["w"], "parts": ["attn.q"]}]}, "fused: parts are roles, each with a whole"),
        ({"fused": [{"names": ["w"], "parts": {"q": 1}}]}, "unknown role 'q'"),
        ({"fused": [{"names": ["w"], "parts": {"attn.q": 1}, "axis": "0"}]}, "fused: axis is the number"),
        ({"fused": [{"names": ["w"], "parts": {"attn.q": 1}, "repeats": 0}]}, "fused: repeats is a whole"),
    ],
)
def test_what_is_wrong_in_itself(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own_role_map({**ROLES, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"head": ["tok.weigth"]},
            r"template 'tok\.weigth' matches no parameter of this model: did you mean 'tok\.weight'",
        ),
        (
            {"head": ["{tok|tik}.weight"]},
            r"'tok\.weight' matches several roles of 'model\.roles'.*embed.*head",
        ),
        (
            {"attn.q": ["blocks.{layer}.wqkv.weight"]},
            r"'blocks\.0\.wqkv\.weight' matches several roles.*a fused one.*attn\.q",
        ),
        (
            {"fused": [{"names": ["blocks.{layer}.wqkv.{weight|bias}"], "parts": {"attn.q": "num_heads"}}]},
            "needs a number of at least 1 of the model configuration's 'num_heads', got None",
        ),
        (
            {"fused": [{"names": ["blocks.{layer}.wqkv.{weight|bias}"], "parts": {"attn.q": 5}}]},
            r"12 elements of dimension 0 can't be divided into 1 x \[5\] equal ones",
        ),
    ],
)
def test_what_is_wrong_on_this_model(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts_of(SHAPES, UNKNOWN, own_role_map({**ROLES, **change}))


def test_names_are_listed_once_for_all_layers() -> None:
    lines = [" ".join(line.split()) for line in grouped_names(SHAPES)]
    assert lines == [
        "tok.weight # 1 x [9, 4]",
        "blocks.{layer}.wqkv.{weight|bias} # 2 x [12, 4] + 2 x [12]",
        "blocks.{layer}.experts.*.w2 # 6 x [4, 8]",
    ]


def test_names_of_different_shapes_are_told_apart() -> None:
    lines = [" ".join(line.split()) for line in grouped_names({"a.0.w": (2,), "a.1.w": (3,), "a.2.w": (2,)})]
    assert lines == ["a.{layer}.w # 2 x [2] + 1 x [3]"]


def test_the_form_is_the_start_of_a_study_file() -> None:
    """Read as YAML it is a map whose templates cover the model; the role is still to be written."""
    _, _, form = form_to_fill(SHAPES).partition("\n")
    roles = yaml.safe_load(form)["model"]["roles"]
    assert list(roles) == ["ROLE"]
    with pytest.raises(ValueError, match="unknown role 'ROLE'"):
        own_role_map(roles)
    _, parts = parts_of(SHAPES, UNKNOWN, own_role_map({"norm": roles["ROLE"]}))
    assert {part.name for part in parts} == set(SHAPES)


@pytest.mark.parametrize("roles", [None, {"embed": ["tok.weight"]}])
def test_parameters_without_a_role_are_listed_in_the_form(roles: dict[str, Any] | None) -> None:
    with pytest.raises(ValueError, match="no role map covers model type 'mine'") as caught:
        parts_of(SHAPES, UNKNOWN, None if roles is None else own_role_map(roles))
    assert "docs/families.md" in str(caught.value)
    assert "- blocks.{layer}.wqkv.{weight|bias}  # 2 x [12, 4] + 2 x [12]" in str(caught.value)
    assert ("tok.weight" in str(caught.value)) == (roles is None)
