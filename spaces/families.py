"""Role maps of known architectures, put together from a language model, a vision tower and their shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spaces.language_families import LANGUAGE_MODELS, PREFIXES
from spaces.multimodal_families import SHELLS
from spaces.own_roles import form_to_fill
from spaces.parts import Part
from spaces.role_map import RoleMap, UnknownParameters, assign_parts, merged, names_of
from spaces.vision_families import VISION_TOWERS

_HEAD: Final = RoleMap(name="head", roles={"head": ("lm_head.{weight|bias}",)})


class UnknownArchitecture(ValueError):
    """No role map covers a model type."""


def parts_of(
    shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], own: RoleMap | None = None
) -> tuple[str, tuple[Part, ...]]:
    """Divide all elements of a model's parameters among the roles.

    Args:
        shapes: Name -> shape of every parameter of the model.
        config: The model configuration as plain values.
        own: The user's role map. What it doesn't name goes by the architecture's, if there is one.

    Returns:
        What the role map is called, and the parts in the order of `shapes`.

    Raises:
        ValueError: A parameter has no role or several; a template of the user's matches nothing; a fused
            parameter can't be divided as its map says. The message says what to write into a study file.
    """
    owned = names_of(own, shapes) if own is not None else set()
    others = {name: shape for name, shape in shapes.items() if name not in owned}
    numbers = numbers_of(config)
    names: list[str] = []
    parts: tuple[Part, ...] = ()
    try:
        if own is not None:
            names.append(own.name)
            parts += assign_parts({name: shapes[name] for name in shapes if name in owned}, own, numbers)
        if others:
            family = role_map_of(config)
            names.append(family.name)
            parts += assign_parts(others, family, numbers)
    except UnknownArchitecture as error:
        raise ValueError(
            f"{error}, and {len(others)} of its parameters have no role: {form_to_fill(others)}"
        ) from None
    except UnknownParameters as error:
        missing = {name: shapes[name] for name in error.names}
        raise ValueError(f"{error}: {form_to_fill(missing)}") from None
    order = {name: position for position, name in enumerate(shapes)}
    return " and ".join(names), tuple(sorted(parts, key=lambda part: order[part.name]))


def role_map_of(config: Mapping[str, Any]) -> RoleMap:
    """Return the role map of an architecture.

    Args:
        config: The model configuration as plain values.

    Raises:
        UnknownArchitecture: No role map covers it.
    """
    model_type = config["model_type"]
    if (shell := SHELLS.get(model_type)) is None:
        language = _known(LANGUAGE_MODELS, model_type)
        return merged(model_type, (language.under(PREFIXES.get(model_type, "model.")), _HEAD))
    language = _known(LANGUAGE_MODELS, config["text_config"]["model_type"])
    vision = _known(VISION_TOWERS, config["vision_config"]["model_type"])
    projector = RoleMap(name="projector", roles={"projector": shell.projector})
    return merged(model_type, (language.under(shell.language), vision.under(shell.vision), projector, _HEAD))


def numbers_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the language model's configuration, whose numbers a role map may name."""
    return dict(config.get("text_config") or config)


def _known(maps: Mapping[str, RoleMap], model_type: str) -> RoleMap:
    if model_type not in maps:
        raise UnknownArchitecture(f"no role map covers model type {model_type!r}")
    return maps[model_type]
