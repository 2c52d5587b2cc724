"""Layer ranges: which of a model's layers a recipe may train.

A range is text: `all`, `first:N`, `middle:N` or `last:N` with N a number of layers or a fraction such as
`1/2`, or the layers' indices from 0: `0-3,8`.
"""

from __future__ import annotations

import re

from spaces.nearest import did_you_mean

_PLACES = ("first", "middle", "last")
_PART = re.compile(r"(?P<place>[^:]*):(?P<size>\d+)(?:/(?P<over>\d+))?")
_INDICES = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def check_layers(layers: str) -> None:
    """Check all of a layer range that needs no model.

    Raises:
        ValueError: It is not one.
    """
    _read(layers)


def layer_indices(layers: str, count: int, *, of: str = "the model") -> frozenset[int]:
    """Return the layers that a range takes.

    A fraction is rounded to the nearest number of layers, a half upwards, and takes at least one. `middle`
    leaves as many layers before as after it, or one fewer before.

    Args:
        layers: The range.
        count: How many layers there are.
        of: Whose layers they are, for the message.

    Raises:
        ValueError: The text is no layer range, or the range goes beyond the layers.
    """
    range_ = _read(layers)
    if range_ is None:
        return frozenset(range(count))
    if isinstance(range_, frozenset):
        if max(range_) >= count:
            raise ValueError(
                f"layer range {layers!r} goes beyond the {count} layers of {of}, which are 0 to {count - 1}"
            )
        return range_
    place, size, over = range_
    taken = size if over is None else max(1, (2 * size * count + over) // (2 * over))
    if taken > count:
        raise ValueError(f"layer range {layers!r} goes beyond the {count} layers of {of}")
    start = {"first": 0, "middle": (count - taken) // 2, "last": count - taken}[place]
    return frozenset(range(start, start + taken))


def _read(layers: str) -> frozenset[int] | tuple[str, int, int | None] | None:
    """Return None for all layers, a set of indices, or (place, number of layers, divisor of a fraction)."""
    if layers == "all":
        return None
    if match := _PART.fullmatch(layers):
        place, size = match["place"], int(match["size"])
        over = None if match["over"] is None else int(match["over"])
        if place not in _PLACES:
            raise ValueError(
                f"layer range {layers!r}: unknown place {place!r}: {did_you_mean(place, _PLACES)}"
            )
        if size < 1 or (over is not None and size > over):
            rule = "at least one layer" if over is None else "a fraction above 0 and up to 1"
            raise ValueError(f"layer range {layers!r}: {place} must take {rule}")
        return place, size, over
    return _read_indices(layers)


def _read_indices(layers: str) -> frozenset[int]:
    indices: set[int] = set()
    for part in layers.split(","):
        match = _INDICES.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"{layers!r} is no layer range: expected all, first:N, middle:N or last:N with N a number of "
                "layers or a fraction such as 1/2, or indices such as 0-3,8"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"layer range {layers!r}: {part.strip()!r} runs backwards")
        own = set(range(first, last + 1))
        if twice := sorted(own & indices):
            raise ValueError(f"layer range {layers!r} names layer {twice[0]} twice")
        indices |= own
    return frozenset(indices)
