"""Roles: what a parameter is for, independent of the architecture that holds it."""

from __future__ import annotations

from typing import Final

ATTENTION: Final = ("attn.q", "attn.k", "attn.v", "attn.o")
MLP: Final = ("mlp.gate", "mlp.up", "mlp.down")
LANGUAGE: Final = (*ATTENTION, *MLP, "norm", "embed", "head")
VISION: Final = ("vision.embed", "vision.attn", "vision.mlp", "vision.norm")

ROLES: Final[tuple[str, ...]] = (*LANGUAGE, "projector", *VISION)
