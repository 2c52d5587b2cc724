"""Families: anchored patterns that map an architecture's parameter names to roles.

A family is data. A pattern must match a whole parameter name, so a language model's `q_proj` can never catch
the vision tower's, and a name that no pattern or more than one pattern matches is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spaces.nearest import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one architecture names its parameters.

    Attributes:
        name: The family's name.
        model_types: Values of the model configuration's `model_type` that this family covers.
        patterns: Role -> regular expressions, each matched against whole parameter names. A pattern may
            capture the layer's index in a group named `layer`.
    """

    name: str
    model_types: frozenset[str]
    patterns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Assignment:
    """The role of one parameter and the layer that it belongs to, if any."""

    role: str
    layer: int | None


def _llama_layers(prefix: str) -> dict[str, tuple[str, ...]]:
    """Return the patterns of a Llama-style decoder (Llama, Mistral, Qwen2) under an escaped name prefix."""
    layer = rf"{prefix}layers\.(?P<layer>\d+)\."
    return {
        "attn.q": (rf"{layer}self_attn\.q_proj\.(weight|bias)",),
        "attn.k": (rf"{layer}self_attn\.k_proj\.(weight|bias)",),
        "attn.v": (rf"{layer}self_attn\.v_proj\.(weight|bias)",),
        "attn.o": (rf"{layer}self_attn\.o_proj\.(weight|bias)",),
        "mlp.gate": (rf"{layer}mlp\.gate_proj\.(weight|bias)",),
        "mlp.up": (rf"{layer}mlp\.up_proj\.(weight|bias)",),
        "mlp.down": (rf"{layer}mlp\.down_proj\.(weight|bias)",),
        "norm": (rf"{layer}(input|post_attention)_layernorm\.weight", rf"{prefix}norm\.weight"),
        "embed": (rf"{prefix}embed_tokens\.weight",),
        "head": (r"lm_head\.weight",),
    }


def _clip_tower(prefix: str) -> dict[str, tuple[str, ...]]:
    """Return the patterns of a CLIP-style vision transformer under an escaped name prefix."""
    layer = rf"{prefix}encoder\.layers\.(?P<layer>\d+)\."
    return {
        "vision.embed": (
            rf"{prefix}embeddings\.class_embedding",
            rf"{prefix}embeddings\.(patch|position)_embedding\.(weight|bias)",
        ),
        "vision.attn": (rf"{layer}self_attn\.(q|k|v|out)_proj\.(weight|bias)",),
        "vision.mlp": (rf"{layer}mlp\.fc[12]\.(weight|bias)",),
        "vision.norm": (
            rf"{layer}layer_norm[12]\.(weight|bias)",
            rf"{prefix}(pre_layrnorm|post_layernorm)\.(weight|bias)",
        ),
    }


_LLAVA = Family(
    name="llava",
    model_types=frozenset({"llava"}),
    patterns={
        **_llama_layers(r"model\.language_model\."),
        "projector": (r"model\.multi_modal_projector\.linear_[12]\.(weight|bias)",),
        **_clip_tower(r"model\.vision_tower\.(vision_model\.)?"),
    },
)
_LLAMA = Family(
    name="llama",
    model_types=frozenset({"llama", "mistral", "qwen2"}),
    patterns=_llama_layers(r"model\."),
)

FAMILIES: dict[str, Family] = {family.name: family for family in (_LLAVA, _LLAMA)}


def family_of(model_type: str) -> Family:
    """Return the family that covers a configuration's `model_type`.

    Raises:
        ValueError: No family covers it.
    """
    by_type = {model_type: family for family in FAMILIES.values() for model_type in family.model_types}
    if model_type not in by_type:
        raise ValueError(f"no family covers model type {model_type!r}: {did_you_mean(model_type, by_type)}")
    return by_type[model_type]


def assign_roles(names: Iterable[str], family: Family) -> dict[str, Assignment]:
    """Give each parameter name its one role.

    Args:
        names: All parameter names of a model.
        family: The family whose patterns apply.

    Returns:
        Name -> assignment, in the order of `names`.

    Raises:
        ValueError: A name matches no pattern, or patterns of two roles.
    """
    compiled = [(role, re.compile(p)) for role, patterns in family.patterns.items() for p in patterns]
    assigned: dict[str, Assignment] = {}
    unknown: list[str] = []
    for name in names:
        found: dict[str, int | None] = {}
        for role, pattern in compiled:
            if match := pattern.fullmatch(name):
                layer = match.groupdict().get("layer")
                found[role] = None if layer is None else int(layer)
        if len(found) > 1:
            raise ValueError(
                f"parameter {name!r} matches several roles of family {family.name!r}: {sorted(found)}"
            )
        if not found:
            unknown.append(name)
            continue
        ((role, layer_index),) = found.items()
        assigned[name] = Assignment(role, layer_index)
    if unknown:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise ValueError(f"family {family.name!r} gives no role to {len(unknown)} parameter(s): {shown}")
    return assigned
