"""Shells: where a multimodal model keeps its language model and its vision tower, and what joins them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Shell:
    """How a multimodal model is put together.

    Attributes:
        projector: Templates of what joins tower and language model.
        vision: Prefix of the vision tower.
        language: Prefix of the decoder.
    """

    projector: tuple[str, ...]
    vision: str = "model.vision_tower."
    language: str = "model.language_model."


_LINEAR: Final = "model.multi_modal_projector.{linear_1|linear_2}.{weight|bias}"
_LLAVA: Final = Shell(projector=(_LINEAR, "model.image_newline"))
_QWEN: Final = Shell(
    vision="model.visual.",
    projector=(
        "model.visual.merger.{ln_q|norm|linear_fc1|linear_fc2}.{weight|bias}",
        "model.visual.merger.mlp.*.{weight|bias}",
        "model.visual.deepstack_merger_list.*.{norm|linear_fc1|linear_fc2}.{weight|bias}",
    ),
)
_IDEFICS: Final = Shell(
    vision="model.vision_model.",
    language="model.text_model.",
    projector=("model.connector.modality_projection.proj.weight",),
)

SHELLS: Final[Mapping[str, Shell]] = {
    **dict.fromkeys(("llava", "llava_next", "llava_onevision"), _LLAVA),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"), _QWEN),
    **dict.fromkeys(("idefics3", "smolvlm"), _IDEFICS),
    "internvl": Shell(projector=(_LINEAR, "model.multi_modal_projector.layer_norm.{weight|bias}")),
    "paligemma": Shell(projector=("model.multi_modal_projector.linear.{weight|bias}",)),
    "gemma3": Shell(
        projector=(
            "model.multi_modal_projector.mm_input_projection_weight",
            "model.multi_modal_projector.mm_soft_emb_norm.weight",
        )
    ),
}
"""Value of `model_type` of a multimodal model -> its shell."""
