"""Patterns match what they are made for and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.exports.patterns import patterns_of, short_names

LAYERS = [
    f"m.layers.{layer}.{part}.weight"
    for layer in (0, 1, 2)
    for part in ("attn.q", "attn.k", "mlp.up", "mlp.down")
]
NAMES = ["m.embed.weight", *LAYERS, "m.norm.weight", "head.weight"]


def matched(patterns: tuple[str, ...], names: list[str]) -> set[str]:
    return {name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)}


def test_what_is_taken_whole_is_one_pattern() -> None:
    assert patterns_of(NAMES, NAMES) == (".+",)
    below = [name for name in NAMES if name.startswith("m.")]
    assert patterns_of(below, NAMES) == (r"m\..+",)
    attention = [name for name in NAMES if ".attn." in name]
    assert patterns_of(attention, NAMES) == (r"m\.layers\.[0-9]+\.attn\..+",)
    assert patterns_of(attention, NAMES, subtrees=False) == (
        r"m\.layers\.[0-9]+\.attn\.q\.weight",
        r"m\.layers\.[0-9]+\.attn\.k\.weight",
    )


def test_some_layers_are_named() -> None:
    some = [name for name in NAMES if ".up." in name and "layers.1" not in name]
    assert patterns_of(some, NAMES) == (r"m\.layers\.(0|2)\.mlp\.up\.weight",)
    # Layers 0 and 1 of one part and layer 2 of the other have no common start.
    mixed = ["m.layers.0.attn.q.weight", "m.layers.1.attn.q.weight", "m.layers.2.attn.k.weight"]
    assert patterns_of(mixed, NAMES) == (
        r"m\.layers\.(0|1)\.attn\.q\.weight",
        r"m\.layers\.2\.attn\.k\.weight",
    )


def test_what_is_no_box_is_named_one_by_one() -> None:
    names = [f"e.{layer}.x.{expert}.w" for layer in (0, 1) for expert in (0, 1)]
    assert patterns_of(names[:3], names) == (r"e\.0\.x\.0\.w", r"e\.0\.x\.1\.w", r"e\.1\.x\.0\.w")
    with pytest.raises(ValueError, match="'f' is no name of the model"):
        patterns_of(["f"], names)


EXPERTS = [
    f"m.layers.{layer}.experts.{e}.{w}" for layer in (0, 1, 11) for e in (0, 1) for w in ("up", "down")
]
ALL = [*NAMES, *EXPERTS, "m.layers.1.experts.gate"]


@given(st.sets(st.sampled_from(ALL)), st.booleans())
def test_any_choice_is_matched_and_nothing_else(chosen: set[str], subtrees: bool) -> None:
    assert matched(patterns_of(chosen, ALL, subtrees=subtrees), ALL) == chosen


def test_short_names_are_taken_where_they_tell_enough() -> None:
    modules = ["llm.0.q", "llm.0.k", "llm.1.q", "llm.1.k", "tower.0.q"]
    assert short_names(["llm.0.k", "llm.1.k"], modules) == ("k",)
    assert short_names(["llm.0.q", "llm.1.q"], modules) == ("llm.0.q", "llm.1.q")
