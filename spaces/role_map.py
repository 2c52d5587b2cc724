"""RoleMap: which role each of an architecture's parameters has, as data.

A parameter is named by a template that must match its whole name, so a language model's `q_proj` can never
catch the vision tower's. A name that no template or more than one role's matches is an error. In a template,
`{layer}` stands for the layer's index, `{weight|bias}` for one of these words, `*` for anything between two
dots, and all else for itself: `model.layers.{layer}.self_attn.q_proj.{weight|bias}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, chain, pairwise
from typing import Any

from spaces.nearest import did_you_mean
from spaces.parts import Part, Slice
from spaces.roles import ROLES

Number = int | str


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Parameters that hold several roles side by side.

    A number may be given by the name of the model configuration's, such as `num_key_value_heads`.

    Attributes:
        names: Templates of the parameters' names.
        parts: The roles in their order along the axis, each with its share of it in proportion.
        axis: The dimension that they share; negative ones count from the last.
        repeats: How often the order repeats along the axis.
    """

    names: tuple[str, ...]
    parts: tuple[tuple[str, Number], ...]
    axis: int = 0
    repeats: Number = 1

    def slices(self, name: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> dict[str, Slice]:
        """Return role -> slice, for a parameter of this shape.

        Raises:
            ValueError: The axis is not there, or can't be divided so.
        """
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(
                f"fused parameter {name!r} has no dimension {self.axis}: its shape is {list(shape)}"
            )
        axis = self.axis % len(shape)
        repeats = _number(self.repeats, config, name)
        shares = [_number(share, config, name) for _, share in self.parts]
        if shape[axis] % (repeats * sum(shares)):
            raise ValueError(
                f"fused parameter {name!r}: {shape[axis]} elements of dimension {axis} can't be divided "
                f"into {repeats} x {shares} equal ones"
            )
        unit = shape[axis] // (repeats * sum(shares))
        bounds = pairwise(accumulate(shares, initial=0))
        return {
            role: Slice(axis, repeats, start * unit, stop * unit)
            for (role, _), (start, stop) in zip(self.parts, bounds, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class RoleMap:
    """The roles of an architecture's parameters.

    Attributes:
        name: What the map is called.
        roles: Role -> templates of the names of parameters that have this role alone.
        fused: Parameters with several roles.
    """

    name: str
    roles: Mapping[str, tuple[str, ...]]
    fused: tuple[Fused, ...] = ()

    def __post_init__(self) -> None:
        """Check roles and templates."""
        for role in chain(self.roles, (role for fused in self.fused for role, _ in fused.parts)):
            if role not in ROLES:
                raise ValueError(f"unknown role {role!r}: {did_you_mean(role, ROLES)}")
        for template in self.templates:
            _pattern(template)

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates of all names."""
        return (*chain(*self.roles.values()), *chain(*(fused.names for fused in self.fused)))

    def under(self, prefix: str) -> RoleMap:
        """Return the map of the same parameters as part of a larger model.

        Args:
            prefix: What comes before each name; it may be a template.
        """
        return replace(
            self,
            roles={role: tuple(prefix + name for name in names) for role, names in self.roles.items()},
            fused=tuple(
                replace(fused, names=tuple(prefix + name for name in fused.names)) for fused in self.fused
            ),
        )


class UnknownParameters(ValueError):
    """Parameters have no role.

    Attributes:
        names: Their names, in the model's order.
    """

    def __init__(self, role_map: str, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"role map {role_map!r} gives no role to {len(names)} parameter(s)")


def merged(name: str, maps: Iterable[RoleMap]) -> RoleMap:
    """Return one map of what several maps cover."""
    roles: dict[str, tuple[str, ...]] = {}
    fused: tuple[Fused, ...] = ()
    for each in maps:
        for role, names in each.roles.items():
            roles[role] = (*roles.get(role, ()), *names)
        fused += each.fused
    return RoleMap(name=name, roles=roles, fused=fused)


def assign_parts(
    shapes: Mapping[str, tuple[int, ...]], role_map: RoleMap, config: Mapping[str, Any]
) -> tuple[Part, ...]:
    """Divide all elements of a model's parameters among the roles.

    Args:
        shapes: Name -> shape of every parameter of the model.
        role_map: The roles of its architecture.
        config: The numbers that the map may name, such as `num_attention_heads`.

    Returns:
        The parts, in the order of `shapes`; each element belongs to exactly one.

    Raises:
        UnknownParameters: Names match no template.
        ValueError: A name matches the templates of several roles, or a fused parameter can't be divided as
            the map says.
    """
    patterns: list[tuple[str | Fused, re.Pattern[str]]] = [
        *((role, _pattern(name)) for role, names in role_map.roles.items() for name in names),
        *((fused, _pattern(name)) for fused in role_map.fused for name in fused.names),
    ]
    parts: list[Part] = []
    unknown: list[str] = []
    for name, shape in shapes.items():
        matched: dict[str | Fused, re.Match[str]] = {}
        for owner, pattern in patterns:
            if match := pattern.fullmatch(name):
                matched[owner] = match
        if len(matched) > 1:
            found = sorted(owner if isinstance(owner, str) else "a fused one" for owner in matched)
            raise ValueError(f"parameter {name!r} matches several roles of {role_map.name!r}: {found}")
        if not matched:
            unknown.append(name)
            continue
        ((owner, match),) = matched.items()
        index = match.groupdict().get("layer")
        layer = None if index is None else int(index)
        slices = {owner: None} if isinstance(owner, str) else owner.slices(name, shape, config)
        parts += [Part(name, role, layer, shape, each) for role, each in slices.items()]
    if unknown:
        raise UnknownParameters(role_map.name, tuple(unknown))
    return tuple(parts)


def names_of(role_map: RoleMap, shapes: Iterable[str]) -> set[str]:
    """Return the names that a map covers.

    Raises:
        ValueError: One of its templates matches no name.
    """
    names = list(shapes)
    covered: set[str] = set()
    for template in role_map.templates:
        matched = set(filter(_pattern(template).fullmatch, names))
        if not matched:
            raise ValueError(
                f"{role_map.name}: template {template!r} matches no parameter of this model: "
                f"{did_you_mean(template, names)}"
            )
        covered |= matched
    return covered


def _number(value: Number, config: Mapping[str, Any], name: str) -> int:
    found = value if isinstance(value, int) else config.get(value)
    if not isinstance(found, int) or found < 1:
        where = "" if value == found else f" of the model configuration's {value!r}"
        raise ValueError(f"fused parameter {name!r} needs a number of at least 1{where}, got {found!r}")
    return found


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|\*")


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return the regular expression that a template stands for.

    Raises:
        ValueError: A placeholder is neither `{layer}` nor a choice of words, or `{layer}` is there twice.
    """
    if template.count("{layer}") > 1:
        raise ValueError(
            f"template {template!r}: '{{layer}}' may be there once; write '*' for another number"
        )
    pattern, end = "", 0
    for found in _PLACEHOLDER.finditer(template):
        pattern += re.escape(template[end : found.start()])
        end = found.end()
        inside = found.group(1)
        if inside is None:
            pattern += r"[^.]+"
        elif inside == "layer":
            pattern += r"(?P<layer>\d+)"
        elif "|" in inside:
            pattern += "(?:" + "|".join(re.escape(word) for word in inside.split("|")) + ")"
        else:
            raise ValueError(
                f"template {template!r}: {found.group()!r} is neither '{{layer}}' nor a choice such as "
                "'{weight|bias}'"
            )
    return re.compile(pattern + re.escape(template[end:]))
