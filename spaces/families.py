"""Role maps of known architectures, put together from a language model, a vision tower and their shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spaces.nearest import did_you_mean
from spaces.role_map import RoleMap, merged

_LLAMA: Final = RoleMap(
    name="llama",
    roles={
        "attn.q": ("layers.{layer}.self_attn.q_proj.{weight|bias}",),
        "attn.k": ("layers.{layer}.self_attn.k_proj.{weight|bias}",),
        "attn.v": ("layers.{layer}.self_attn.v_proj.{weight|bias}",),
        "attn.o": ("layers.{layer}.self_attn.o_proj.{weight|bias}",),
        "mlp.gate": ("layers.{layer}.mlp.gate_proj.{weight|bias}",),
        "mlp.up": ("layers.{layer}.mlp.up_proj.{weight|bias}",),
        "mlp.down": ("layers.{layer}.mlp.down_proj.{weight|bias}",),
        "norm": ("layers.{layer}.{input|post_attention}_layernorm.weight", "norm.weight"),
        "embed": ("embed_tokens.weight",),
    },
)
_CLIP: Final = RoleMap(
    name="clip",
    roles={
        "vision.embed": (
            "embeddings.class_embedding",
            "embeddings.{patch|position}_embedding.{weight|bias}",
        ),
        "vision.attn": ("encoder.layers.{layer}.self_attn.{q|k|v|out}_proj.{weight|bias}",),
        "vision.mlp": ("encoder.layers.{layer}.mlp.{fc1|fc2}.{weight|bias}",),
        "vision.norm": (
            "encoder.layers.{layer}.{layer_norm1|layer_norm2}.{weight|bias}",
            "{pre_layrnorm|post_layernorm}.{weight|bias}",
        ),
    },
)

# Values of `model_type` -> roles of what is below the decoder's own prefix.
LANGUAGE_MODELS: Final[Mapping[str, RoleMap]] = {"llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA}
VISION_TOWERS: Final[Mapping[str, RoleMap]] = {"clip_vision_model": _CLIP}


def role_map_of(config: Mapping[str, Any]) -> RoleMap:
    """Return the role map of an architecture.

    Args:
        config: The model configuration as plain values.

    Raises:
        ValueError: No role map covers it.
    """
    model_type = config["model_type"]
    head = RoleMap(name="head", roles={"head": ("lm_head.weight",)})
    if model_type == "llava":
        language = _known(LANGUAGE_MODELS, config["text_config"]["model_type"])
        vision = _known(VISION_TOWERS, config["vision_config"]["model_type"])
        projector = RoleMap(
            name="llava", roles={"projector": ("multi_modal_projector.{linear_1|linear_2}.{weight|bias}",)}
        )
        return merged(
            "llava",
            (
                language.under("model.language_model."),
                vision.under("model.vision_tower."),
                vision.under("model.vision_tower.vision_model."),
                projector.under("model."),
                head,
            ),
        )
    language = _known(LANGUAGE_MODELS, model_type)
    return merged(language.name, (language.under("model."), head))


def numbers_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the language model's configuration, whose numbers a role map may name."""
    return dict(config.get("text_config") or config)


def _known(maps: Mapping[str, RoleMap], model_type: str) -> RoleMap:
    if model_type not in maps:
        raise ValueError(f"no family covers model type {model_type!r}: {did_you_mean(model_type, maps)}")
    return maps[model_type]
