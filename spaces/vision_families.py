"""Role maps of vision towers, below the tower's own prefix.

What joins a tower to the language model is the shell's, wherever it lies: see `multimodal_families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spaces.role_map import RoleMap

# SigLIP's pooling head has no part in what a language model sees, but it is in the tower.
_CLIP: Final = RoleMap(
    name="clip",
    roles={
        "vision.embed": (
            "embeddings.class_embedding",
            "embeddings.{patch|position}_embedding.{weight|bias}",
            "head.probe",
        ),
        "vision.attn": (
            "encoder.layers.{layer}.self_attn.{q|k|v|out}_proj.{weight|bias}",
            "head.attention.{in_proj_weight|in_proj_bias|out_proj.weight|out_proj.bias}",
        ),
        "vision.mlp": (
            "encoder.layers.{layer}.mlp.{fc1|fc2}.{weight|bias}",
            "head.mlp.{fc1|fc2}.{weight|bias}",
        ),
        "vision.norm": (
            "encoder.layers.{layer}.{layer_norm1|layer_norm2}.{weight|bias}",
            "{pre_layrnorm|post_layernorm|head.layernorm}.{weight|bias}",
        ),
    },
)
_PIXTRAL: Final = RoleMap(
    name="pixtral",
    roles={
        "vision.embed": ("patch_conv.weight",),
        "vision.attn": ("transformer.layers.{layer}.attention.{q|k|v|o}_proj.weight",),
        "vision.mlp": ("transformer.layers.{layer}.feed_forward.{gate|up|down}_proj.weight",),
        "vision.norm": ("transformer.layers.{layer}.{attention_norm|ffn_norm}.weight", "ln_pre.weight"),
    },
)
_QWEN: Final = RoleMap(
    name="qwen",
    roles={
        "vision.embed": ("patch_embed.proj.{weight|bias}", "pos_embed.weight"),
        "vision.attn": ("blocks.{layer}.attn.{qkv|proj}.{weight|bias}",),
        "vision.mlp": (
            "blocks.{layer}.mlp.{fc1|fc2|linear_fc1|linear_fc2|gate_proj|up_proj|down_proj}.{weight|bias}",
        ),
        "vision.norm": ("blocks.{layer}.{norm1|norm2}.{weight|bias}",),
    },
)
# The layers' scales of its residual branches count as norms.
_INTERNVL: Final = RoleMap(
    name="internvl",
    roles={
        "vision.embed": (
            "embeddings.{cls_token|mask_token|position_embeddings}",
            "embeddings.patch_embeddings.projection.{weight|bias}",
        ),
        "vision.attn": (
            "encoder.layer.{layer}.attention.{q_proj|k_proj|v_proj|projection_layer}.{weight|bias}",
        ),
        "vision.mlp": ("encoder.layer.{layer}.mlp.{fc1|fc2}.{weight|bias}",),
        "vision.norm": (
            "encoder.layer.{layer}.{layernorm_before|layernorm_after}.{weight|bias}",
            "encoder.layer.{layer}.attention.{q_norm|k_norm}.weight",
            "encoder.layer.{layer}.{lambda_1|lambda_2}",
            "layernorm.{weight|bias}",
        ),
    },
)

VISION_TOWERS: Final[Mapping[str, RoleMap]] = {
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model", "idefics3_vision", "smolvlm_vision"), _CLIP),
    **dict.fromkeys(
        ("qwen2_vl_vision", "qwen2_5_vl_vision", "qwen3_vl_vision", "qwen3_vl_moe_vision"), _QWEN
    ),
    "pixtral": _PIXTRAL,
    "internvl_vision": _INTERNVL,
}
"""Value of the vision configuration's `model_type` -> roles of what is below the tower's prefix."""
