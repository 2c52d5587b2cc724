"""Subsets: named sets of roles, the unit in which a recipe says what is trained."""

from __future__ import annotations

from typing import Final

from spaces.nearest import did_you_mean
from spaces.roles import ATTENTION, LANGUAGE, MLP, ROLES, VISION

SUBSETS: dict[str, frozenset[str]] = {
    "full": frozenset(ROLES),
    "llm": frozenset(LANGUAGE),
    "vision": frozenset(VISION),
    "projector": frozenset({"projector"}),
    "vision_projector": frozenset({*VISION, "projector"}),
    "sa_proj": frozenset(ATTENTION),
    "qkv": frozenset({"attn.q", "attn.k", "attn.v"}),
    "vo": frozenset({"attn.v", "attn.o"}),
    "mlp": frozenset(MLP),
    "gate_up": frozenset({"mlp.gate", "mlp.up"}),
    "down": frozenset({"mlp.down"}),
    "sa_gate_up": frozenset({*ATTENTION, "mlp.gate", "mlp.up"}),
}

_OUTSIDE_OF_LAYERS: Final = frozenset({"embed", "head", "position", "projector", "vision.embed"})


def roles_of(subset: str) -> frozenset[str]:
    """Return the roles that a named subset trains.

    Raises:
        ValueError: No subset has that name.
    """
    if subset not in SUBSETS:
        raise ValueError(f"unknown subset {subset!r}: {did_you_mean(subset, SUBSETS)}")
    return SUBSETS[subset]


def has_layers(subset: str) -> bool:
    """Return whether a subset trains anything that belongs to a layer, so that a layer range can limit it."""
    return not roles_of(subset) <= _OUTSIDE_OF_LAYERS
