"""Paths of images as data files write them."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path
from typing import Final

_LONG: Final = 100  # characters; a name of an image without an ending is shorter


def image_path(text: str, root: Path, *, anywhere: bool = False) -> Path:
    """Return the file that a path in a data file means.

    Args:
        text: As the data file writes it.
        root: Folder that it is relative to, and that it may not leave: what data files say decides which
            files are read, and they may come from anywhere.
        anywhere: Whether it may leave it, where the user trusts what the data files say.

    Raises:
        ValueError: It leaves the folder, there is no such file, or it is no path.
    """
    path = root / text
    try:
        inside = anywhere or Path(os.path.realpath(path)).is_relative_to(extent(root.resolve()))
        found = path.is_file()
    except (OSError, ValueError) as error:
        # A name may be too long for the file system, or hold a NUL.
        inside, found, reason = True, False, getattr(error, "strerror", None) or str(error)
    else:
        reason = ""
    if not inside:
        raise ValueError(
            f"image {text} lies outside of {root}; `images` can name a folder that holds it, and "
            "data.allow_outside: true allows any"
        )
    if not found and len(text) > _LONG and not path.suffix:
        raise ValueError(f"not a path, and base64 of no known kind of image: {reprlib.repr(text)}")
    if reason:
        raise ValueError(f"not the path of an image: {reprlib.repr(text)}: {reason}")
    if not found:
        raise ValueError(f"no such image: {path}")
    return path


def extent(root: Path) -> Path:
    """Return the folder itself; of a snapshot in the hub's cache, whose files are links, all of its cache."""
    for folder in root.parents:
        if folder.name == "snapshots" and (folder.parent / "blobs").is_dir():
            return folder.parent
    return root
