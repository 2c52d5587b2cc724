"""Regular expressions that match some of a model's names and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_ANY = "[0-9]+"


@dataclass(frozen=True, slots=True)
class _Kind:
    """Names that differ in their numbers alone, such as one weight of all layers.

    Attributes:
        members: All of them.
        own: Those that are to be matched.
        numbers: For each number in the name a pattern of the values that are to be matched.
        complete: For each number whether these are all of its values.
        is_box: Whether all names with such numbers are to be matched, and there are any.
    """

    members: tuple[str, ...]
    own: tuple[str, ...]
    numbers: tuple[str, ...]
    complete: tuple[bool, ...]
    is_box: bool

    @classmethod
    def of(cls, members: Sequence[str], chosen: Collection[str]) -> _Kind:
        own = tuple(name for name in members if name in chosen)
        wanted = [list(dict.fromkeys(column)) for column in zip(*map(_NUMBER.findall, own), strict=True)]
        there = [set(column) for column in zip(*map(_NUMBER.findall, members), strict=True)]
        complete = tuple(set(some) == all_ for some, all_ in zip(wanted, there, strict=False))
        numbers = tuple(
            some[0] if len(some) == 1 else _ANY if whole else f"({'|'.join(some)})"
            for some, whole in zip(wanted, complete, strict=True)
        )
        rows = [_NUMBER.findall(name) for name in members]
        inside = sum(all(n in some for n, some in zip(row, wanted, strict=False)) for row in rows)
        return cls(tuple(members), own, numbers, complete, is_box=bool(own) and inside == len(own))

    def pattern(self, template: str) -> str:
        """Return a pattern of a name, or of its first parts, with its numbers."""
        parts = [re.escape(part) for part in template.split("#")]
        used = self.numbers[: len(parts) - 1]
        return "".join(part + number for part, number in zip(parts, [*used, ""], strict=True))


def patterns_of(chosen: Collection[str], names: Sequence[str], *, subtrees: bool = True) -> tuple[str, ...]:
    """Return regular expressions that together match whole names: the chosen ones and no others.

    Names that differ in their numbers alone share one. A number that takes all the values that it has in the
    model becomes `[0-9]+`, any other the list of its values. Dots are escaped, but for that of `.+`.

    Args:
        chosen: The names to match.
        names: All names, in the model's order.
        subtrees: Whether all names below a common start may become `start.+`.

    Raises:
        ValueError: A chosen name is none of the model's.
    """
    if unknown := set(chosen) - set(names):
        raise ValueError(f"{min(unknown)!r} is no name of the model")
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(_NUMBER.sub("#", name), []).append(name)
    kinds = {template: _Kind.of(own, chosen) for template, own in members.items()}
    found: dict[str, None] = {}
    for template, kind in kinds.items():
        if not kind.own:
            continue
        start = _whole_start(template, kinds) if subtrees else None
        if start is not None:
            found[f"{kind.pattern(start)}.+"] = None
        elif kind.is_box:
            found[kind.pattern(template)] = None
        else:
            # Layers and experts that are no rectangle.
            found |= dict.fromkeys(re.escape(name) for name in kind.own)
    return tuple(found)


def short_names(chosen: Collection[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the chosen names by their last parts, such as `q_proj`, where these name no others.

    Args:
        chosen: Some of the model's modules.
        names: All of them.

    Returns:
        The last parts, or the whole names if a last part is also one of a module that is not chosen.
    """
    ends = {name.rpartition(".")[2] for name in chosen}
    if {name for name in names if name.rpartition(".")[2] in ends} == set(chosen):
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in names if name in chosen))
    return tuple(name for name in names if name in chosen)


def _whole_start(template: str, kinds: dict[str, _Kind]) -> str | None:
    """Return the shortest start of a name below which all names are to be matched in the same layers.

    Args:
        template: The name, with `#` for its numbers.
        kinds: All templates and what is to be matched of them.

    Returns:
        The start with its last dot, empty for the whole model; None if the name stands alone.
    """
    parts = template.split(".")
    numbers = kinds[template].numbers
    for length in range(len(parts)):
        start = "".join(f"{part}." for part in parts[:length])
        below = [kind for other, kind in kinds.items() if other.startswith(start)]
        count = start.count("#")
        if len(below) > 1 and all(
            kind.is_box and kind.numbers[:count] == numbers[:count] and all(kind.complete[count:])
            for kind in below
        ):
            return start
    return None
