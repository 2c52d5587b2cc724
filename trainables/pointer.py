"""Pointers to checkpoints, which travel and are stored in place of the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

CHECKPOINTS: Final = 2
"""How many of a run's rungs stay whole, and may be gone on from: the last, and one where that is damaged."""

TENSORS: Final = "*.safetensors"
"""The files of checkpoints and of trained parameters, as a folder's `glob` takes it."""

_FIELDS: Final[Mapping[str, tuple[Any, str]]] = {
    "path": (str, "text"),
    "sha256": (str, "text"),
    "step": (int, "a whole number"),
    "optimizer": (str | None, "text or null"),
    "optimizer_sha256": (str | None, "text or null"),
    "micro_batch_size": (int | None, "a whole number or null"),
    "spent": (Mapping, "an object of numbers"),
}
_FILES: Final = ("path", "optimizer")


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a rung's tensors lie; Tune's checkpoints hold this instead of the tensors.

    What was trained lies in a file of its own, so that the rest can go without it being written again.

    Attributes:
        path: The safetensors file of what was trained.
        sha256: Checksum of that file.
        step: Optimiser steps done.
        optimizer: The safetensors file of what a run needs besides to go on; None if none can.
        optimizer_sha256: Checksum of that file.
        micro_batch_size: Samples per forward pass and worker that the run had come down to; None if it makes
            each step in one pass.
        spent: What the run had spent until then: see `Spent.to_dict`.
    """

    path: str
    sha256: str
    step: int
    optimizer: str | None = None
    optimizer_sha256: str | None = None
    micro_batch_size: int | None = None
    spent: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Pointer:
        """Return the pointer that `to_dict` described.

        Raises:
            ValueError: The fields describe none.
        """
        if absent := [name for name in ("path", "sha256", "step") if name not in fields]:
            raise ValueError(f"checkpoint: {absent[0]} is missing")
        for name, value in fields.items():
            if name not in _FIELDS:
                raise ValueError(f"checkpoint: expected one of {', '.join(_FIELDS)}, got {name!r}")
            expected, what = _FIELDS[name]
            if isinstance(value, bool) or not isinstance(value, expected):
                raise ValueError(f"checkpoint: {name} must be {what}, got {value!r}")
        for name, value in fields.get("spent", {}).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"checkpoint: {name} spent must be a number, got {value!r}")
        size = fields.get("micro_batch_size")
        if fields["step"] < 0 or (size is not None and size < 1):
            raise ValueError(
                f"checkpoint: step must not be below 0 nor micro_batch_size below 1, got {fields}"
            )
        return cls(**fields)


def pointer_to_dict(pointer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pointer to a checkpoint with its files by their names: they lie beside what is written."""
    return {**pointer, **{name: Path(pointer[name]).name for name in _FILES if pointer.get(name)}}


def pointer_from_dict(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read back what `pointer_to_dict` wrote.

    Args:
        fields: The plain values.
        folder: The folder that the files lie in, where it is now.

    Raises:
        ValueError: They describe no pointer, or a file would lie elsewhere.
    """
    found = Pointer.from_dict(fields).to_dict()
    for name in _FILES:
        if found[name] is not None:
            if Path(found[name]).name != found[name] or found[name] == "..":
                raise ValueError(f"checkpoint: expected the name of a file in {folder}, got {found[name]!r}")
            found[name] = str(folder.absolute() / found[name])
    return found
