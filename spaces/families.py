"""Role maps of known architectures, put together from a language model, a vision tower and their shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spaces.language_families import LANGUAGE_MODELS, PREFIXES
from spaces.multimodal_families import SHELLS
from spaces.nearest import did_you_mean
from spaces.role_map import RoleMap, merged
from spaces.vision_families import VISION_TOWERS

_HEAD: Final = RoleMap(name="head", roles={"head": ("lm_head.{weight|bias}",)})


def role_map_of(config: Mapping[str, Any]) -> RoleMap:
    """Return the role map of an architecture.

    Args:
        config: The model configuration as plain values.

    Raises:
        ValueError: No role map covers it.
    """
    model_type = config["model_type"]
    if (shell := SHELLS.get(model_type)) is None:
        language = _known(LANGUAGE_MODELS, model_type, {**LANGUAGE_MODELS, **SHELLS})
        return merged(model_type, (language.under(PREFIXES.get(model_type, "model.")), _HEAD))
    language = _known(LANGUAGE_MODELS, config["text_config"]["model_type"])
    vision = _known(VISION_TOWERS, config["vision_config"]["model_type"])
    projector = RoleMap(name="projector", roles={"projector": shell.projector})
    return merged(model_type, (language.under(shell.language), vision.under(shell.vision), projector, _HEAD))


def numbers_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the language model's configuration, whose numbers a role map may name."""
    return dict(config.get("text_config") or config)


def _known(maps: Mapping[str, RoleMap], model_type: str, known: Mapping[str, Any] | None = None) -> RoleMap:
    if model_type not in maps:
        nearest = did_you_mean(model_type, known or maps)
        raise ValueError(f"no family covers model type {model_type!r}: {nearest}")
    return maps[model_type]
