"""The tools that a recipe can be written for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from safetensors import SafetensorError

from search.exports import to_axolotl, to_llama_factory, to_ms_swift, to_peft, to_transformers, to_trl
from search.exports.source import Source
from search.exports.written import Export
from search.settings.user_input import InputError
from spaces.nearest import did_you_mean
from trainables.files import sync_folder, sync_tree

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
        InputError: The folder holds something or can't be written, or the tool needs what is not there.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already: name another folder with --output")
        return _written_whole(target, source, folder)
    except (OSError, SafetensorError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{folder} can't be written: {what}") from None


def _written_whole(target: str, source: Source, folder: Path) -> Export:
    """Write all of an export or nothing: what fails on the way leaves no half of it."""
    place = folder.resolve()
    there = place.is_dir()
    if not there:
        place.parent.mkdir(parents=True, exist_ok=True)
    # An empty folder may be a mount point, which can't be renamed onto.
    with tempfile.TemporaryDirectory(prefix=".export-", dir=place if there else place.parent) as home:
        written = Path(home) / "export"
        export = TARGETS[target](source, written)
        sync_tree(written)
        if there:
            for each in written.iterdir():
                each.rename(place / each.name)
        else:
            written.rename(place)
        sync_folder(place.parent)
    return replace(
        export,
        files=tuple(folder / file.relative_to(written) for file in export.files),
        use=export.use.replace(str(written), str(folder)),
    )


def check_target(name: str) -> str:
    """Return a tool's name; a hyphen is as good as an underscore.

    Raises:
        InputError: No such tool is known.
    """
    known = name.lower().replace("-", "_")
    if known not in TARGETS:
        raise InputError(f"--to: unknown tool {name!r}: {did_you_mean(known, TARGETS)}")
    return known
