"""A user's own role map, as a study file states it, and the form of one to fill in.

attn.q: ["model.layers.{layer}.attn.wq.weight"]
mlp.down: ["model.layers.{layer}.ffn.w2.{weight|bias}"]
fused:
  - names: ["model.layers.{layer}.ffn.w13.weight"]
    parts: {mlp.gate: 1, mlp.up: 1}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any, Final

from spaces.nearest import did_you_mean
from spaces.role_map import Fused, RoleMap
from spaces.roles import ROLES

_FUSED_KEYS: Final = ("names", "parts", "axis", "repeats")

FORM_START: Final = "model:\n  roles:\n"
"""Where in a message the form begins, the only part of any message that has several lines."""


def own_role_map(values: Mapping[str, Any]) -> RoleMap:
    """Return the role map that a study file's `model.roles` states.

    Args:
        values: Role -> templates, and under `fused` the parameters with several roles.

    Raises:
        ValueError: A role, key or placeholder is unknown, or a value has another type.
    """
    fused = values.get("fused", [])
    if not isinstance(fused, list):
        raise ValueError(f"fused: expected a list of entries with names and parts, got {fused!r}")
    roles = {role: _templates(names, role) for role, names in values.items() if role != "fused"}
    for role in roles:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}: {did_you_mean(role, {*ROLES, 'fused'})}")
    return RoleMap(name="model.roles", roles=roles, fused=tuple(map(_fused, fused)))


def _fused(entry: Any) -> Fused:
    if not isinstance(entry, dict) or not {"names", "parts"} <= set(entry):
        raise ValueError(f"fused: an entry needs names and parts, got {entry!r}")
    for key in entry:
        if key not in _FUSED_KEYS:
            raise ValueError(f"fused: unknown key {key!r}: {did_you_mean(str(key), _FUSED_KEYS)}")
    parts, axis, repeats = entry["parts"], entry.get("axis", 0), entry.get("repeats", 1)
    if not isinstance(parts, dict) or not parts or not all(map(_is_number, parts.values())):
        raise ValueError(
            "fused: parts are roles, each with a whole number from 1 or the name of one in the model's "
            f"configuration, such as {{attn.q: num_attention_heads, attn.k: 2}}, got {parts!r}"
        )
    if type(axis) is not int:
        raise ValueError(f"fused: axis is the number of a dimension, got {axis!r}")
    if not _is_number(repeats):
        raise ValueError(f"fused: repeats is a whole number from 1, or the name of one, got {repeats!r}")
    return Fused(
        names=_templates(entry["names"], "fused: names"),
        parts=tuple(parts.items()),
        axis=axis,
        repeats=repeats,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, str) or (type(value) is int and value >= 1)


def _templates(names: Any, where: str) -> tuple[str, ...]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise ValueError(f"{where}: expected a list of names, got {names!r}")
    return tuple(listed)


def grouped_names(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return parameters' names, each once for all layers, with their numbers and shapes.

    Such as `model.layers.{layer}.attn.wq.{weight|bias}  # 32 x [64, 64] + 32 x [64]`.
    """
    groups: dict[str, Counter[tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        groups.setdefault(_template(name, shapes), Counter())[shape] += 1
    width = max(map(len, groups), default=0)
    return [
        f"{template:{width}}  # {' + '.join(f'{n} x {list(shape)}' for shape, n in counts.items())}"
        for template, counts in groups.items()
    ]


def form_to_fill(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the start of a role map for parameters without a role, to be completed in a study file."""
    names = "\n".join(f"      - {line}" for line in grouped_names(shapes))
    return (
        "give each of them a role in the study file (docs/families.md says how):\n"
        f"{FORM_START}    ROLE:  # one of {' '.join(ROLES)}\n{names}"
    )


def _template(name: str, names: Container[str]) -> str:
    """Return a name with `{layer}` for its first number, `*` for others, and a bias beside its weight."""
    *words, last = name.split(".")
    stem, layers = ".".join(words), 0
    for position, word in enumerate(words):
        if word.isdigit():
            words[position] = "*" if layers else "{layer}"
            layers += 1
    if last in ("weight", "bias") and f"{stem}.weight" in names and f"{stem}.bias" in names:
        last = "{weight|bias}"
    return ".".join((*words, last))
