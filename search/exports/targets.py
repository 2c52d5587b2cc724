"""The tools that a recipe can be written for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from search.exports import to_axolotl, to_llama_factory, to_ms_swift, to_peft, to_transformers, to_trl
from search.exports.source import Source
from search.exports.written import Export
from search.user_input import InputError
from spaces.nearest import did_you_mean

TARGETS: Final[Mapping[str, Callable[[Source, Path], Export]]] = {
    "transformers": to_transformers.export,
    "peft": to_peft.export,
    "llama_factory": to_llama_factory.export,
    "ms_swift": to_ms_swift.export,
    "axolotl": to_axolotl.export,
    "trl": to_trl.export,
}


def export_to(target: str, source: Source, folder: Path) -> Export:
    """Write a recipe for a tool.

    Args:
        target: The tool's name; see `check_target`.
        source: The recipe.
        folder: Where the files go: a new or empty folder.

    Raises:
        InputError: The folder holds something, or the tool needs what is not there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: name another folder with --output")
    return TARGETS[target](source, folder)


def check_target(name: str) -> str:
    """Return a tool's name; a hyphen is as good as an underscore.

    Raises:
        InputError: No such tool is known.
    """
    known = name.lower().replace("-", "_")
    if known not in TARGETS:
        raise InputError(f"--to: unknown tool {name!r}: {did_you_mean(known, TARGETS)}")
    return known
