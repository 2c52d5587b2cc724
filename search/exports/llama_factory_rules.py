"""Which parameters LLaMA-Factory trains under which settings, and the settings that come nearest to a recipe.

Its `full` trains all parameters but those whose names hold a forbidden part; its `freeze` those of whole
blocks, such as `self_attn` or `mlp`, of the first or last layers, and of named modules outside the layers.
Both go by parts of names: see `model/adapter.py` and `model/model_utils/visual.py` of version 0.9.5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class _Parts:
    """Parts of names by which a multimodal model's parameters are told apart."""

    projector: tuple[str, ...] = ("multi_modal_projector",)
    vision: tuple[str, ...] = ("vision_tower",)
    language: tuple[str, ...] = ("language_model", "lm_head")


_QWEN2 = _Parts(projector=("visual.merger",), vision=("visual.patch_embed", "visual.blocks"))
_QWEN3 = _Parts(
    projector=("visual.merger",),
    vision=("visual.pos_embed", "visual.patch_embed", "visual.blocks", "visual.deepstack_merger_list"),
)
PARTS: Final[Mapping[str, _Parts]] = {
    **dict.fromkeys(("llava", "llava_next", "internvl", "paligemma", "gemma3"), _Parts()),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), _QWEN2),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe"), _QWEN3),
}
"""Value of `model_type` -> the parts, of the multimodal models that both projects know."""


def nearest_settings(
    chosen: Collection[str], sizes: Mapping[str, int], model_type: str, layers: int
) -> tuple[dict[str, Any], set[str]]:
    """Return settings under which LLaMA-Factory trains what a recipe trains, or what comes nearest.

    Nearest is first what leaves out least of the recipe, then what trains least beyond it.

    Args:
        chosen: Names of the parameters that the recipe trains.
        sizes: Name -> number of elements, of all the model's parameters.
        model_type: The model configuration's `model_type`.
        layers: Number of the language model's layers.

    Returns:
        The settings, and the names of what LLaMA-Factory trains under them.
    """

    def distance(trained: Collection[str]) -> tuple[int, int]:
        missing = sum(sizes[name] for name in chosen if name not in trained)
        return missing, sum(sizes[name] for name in trained if name not in chosen)

    candidates = [
        (settings, trained_by(settings, list(sizes), model_type, layers))
        for settings in _candidates(chosen, list(sizes), model_type, layers)
    ]
    return min(candidates, key=lambda each: distance(each[1]))


def trained_by(settings: Mapping[str, Any], names: Sequence[str], model_type: str, layers: int) -> set[str]:
    """Return the parameters that LLaMA-Factory trains under settings of full or freeze tuning."""
    forbidden = forbidden_parts(settings, model_type)
    allowed = [name for name in names if not any(part in name for part in forbidden)]
    if settings["finetuning_type"] == "full":
        return set(allowed)
    count = settings["freeze_trainable_layers"]
    indices = range(layers - count, layers) if count > 0 else range(-count)
    wanted = [
        f".{index}.{'' if module == 'all' else module}"
        for module in settings["freeze_trainable_modules"].split(",")
        for index in indices
    ]
    wanted += [part for part in settings.get("freeze_extra_modules", "").split(",") if part]
    if model_type in PARTS and not settings["freeze_multi_modal_projector"]:
        wanted += PARTS[model_type].projector
    return {name for name in allowed if any(part in name for part in wanted)}


def forbidden_parts(settings: Mapping[str, Any], model_type: str) -> tuple[str, ...]:
    """Return the parts of names that settings freeze; none of a model that is not multimodal."""
    if model_type not in PARTS:
        return ()
    parts = PARTS[model_type]
    return (
        *(parts.vision if settings["freeze_vision_tower"] else ()),
        *(parts.projector if settings["freeze_multi_modal_projector"] else ()),
        *(parts.language if settings["freeze_language_model"] else ()),
    )


def freezing(chosen: Collection[str], model_type: str) -> dict[str, bool]:
    """Return which parts of a multimodal model are frozen whole; nothing for any other model.

    Args:
        chosen: Names of what is trained, parameters or modules.
        model_type: The model configuration's `model_type`.
    """
    if model_type not in PARTS:
        return {}
    parts = PARTS[model_type]

    def untouched(keys: Sequence[str]) -> bool:
        return not any(key in name for name in chosen for key in keys)

    return {
        "freeze_vision_tower": untouched(parts.vision),
        "freeze_multi_modal_projector": untouched(parts.projector),
        "freeze_language_model": untouched(parts.language),
    }


def _candidates(
    chosen: Collection[str], names: Sequence[str], model_type: str, layers: int
) -> Iterator[dict[str, Any]]:
    frozen = freezing(chosen, model_type)
    yield {"finetuning_type": "full", **frozen}
    blocks = {block for name in names if (block := _block(name))}
    own_blocks = sorted({block for name in chosen if (block := _block(name))})
    indices = {int(found[1]) for name in chosen if (found := re.search(r"\.(\d+)\.", name))}
    if not indices:
        return
    outside = {name.split(".")[-2] for name in names if not re.search(r"\.\d+\.", name) and "." in name}
    extra = sorted(
        {name.split(".")[-2] for name in chosen if not re.search(r"\.\d+\.", name) and "." in name} & outside
    )
    for count in {layers - min(indices), -(max(indices) + 1)}:
        for modules in (own_blocks, ["all"]):
            if modules == ["all"] or set(modules) <= blocks:
                for extras in (extra, []):
                    yield {
                        "finetuning_type": "freeze",
                        "freeze_trainable_layers": count,
                        "freeze_trainable_modules": ",".join(modules),
                        **({"freeze_extra_modules": ",".join(extras)} if extras else {}),
                        **frozen,
                    }


def _block(name: str) -> str | None:
    """Return the block of a layer that holds a parameter: what its name has behind the layer's number."""
    found = re.search(r"\.\d+\.(?!.*\.\d+\.)(\w+)", name)
    return found[1] if found else None
