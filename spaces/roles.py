"""Roles: what a parameter is for, independent of the architecture that holds it."""

from __future__ import annotations

from typing import Final

ATTENTION: Final = ("attn.q", "attn.k", "attn.v", "attn.o")
MLP: Final = ("mlp.gate", "mlp.up", "mlp.down")
# What chooses the experts of a sparse model, and learned positions.
LANGUAGE: Final = (*ATTENTION, *MLP, "mlp.router", "norm", "embed", "position", "head")
VISION: Final = ("vision.embed", "vision.attn", "vision.mlp", "vision.norm")

ROLES: Final[tuple[str, ...]] = (*LANGUAGE, "projector", *VISION)
