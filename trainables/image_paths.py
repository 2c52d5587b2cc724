"""Paths of images as data files write them."""

from __future__ import annotations

from pathlib import Path


def image_path(text: str, root: Path) -> Path:
    """Return the file that a path in a data file means.

    Args:
        text: As the data file writes it.
        root: Folder that it is relative to, and that it may not leave: what data files say decides which
            files are read, and they may come from anywhere.

    Raises:
        ValueError: It leaves the folder, or there is no such file.
    """
    path = root / text
    if not path.resolve().is_relative_to(_extent(root.resolve())):
        raise ValueError(f"image {text} lies outside of {root}; `images` can name a folder that holds it")
    if not path.is_file():
        raise ValueError(f"no such image: {path}")
    return path


def _extent(root: Path) -> Path:
    """Return the folder itself; of a snapshot in the hub's cache, whose files are links, all of its cache."""
    for folder in root.parents:
        if folder.name == "snapshots" and (folder.parent / "blobs").is_dir():
            return folder.parent
    return root
