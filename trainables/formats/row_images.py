"""Images of a row, however it writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.data.samples import ImageSource
from trainables.formats.texts import nested, shown
from trainables.sources.image_paths import image_path
from trainables.sources.images import image_size
from trainables.sources.stored_images import base64_bytes, is_base64_image


def listed(value: Any) -> list[Any]:
    """Return a row's image or images as a list, which tables of text write as JSON; null and "" are none."""
    value = nested(value)
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple)):
        return [item for item in value if item is not None]
    return [value]


def image_source(value: Any, folder: Path | None, *, anywhere: bool = False) -> ImageSource:
    """Return where an image lies, of which the header was read.

    Args:
        value: A path, a data URL, base64, a file's content, a mapping with `bytes` and `path` as data sets
            of Hugging Face have it, or a stored image.
        folder: What paths are relative to.
        anywhere: Whether they may lead out of it.

    Raises:
        ValueError: It is nothing of that, not there, or no image.
    """
    source = _source(value, folder, anywhere)
    image_size(source)
    return source


def _source(value: Any, folder: Path | None, anywhere: bool) -> ImageSource:
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return _source(value["bytes"], folder, anywhere)
        if value.get("path") is not None:
            return _source(value["path"], folder, anywhere)
    elif isinstance(value, bytes):
        return value
    elif isinstance(value, str):
        if value.startswith("data:") or is_base64_image(value):
            return base64_bytes(value)
        if re.match(r"[a-z0-9+.-]+://", value, re.IGNORECASE):
            raise ValueError(f"images are not fetched: put {shown(value)} into a file and name its path")
        return image_path(value, folder or Path.cwd(), anywhere=anywhere)
    elif hasattr(value, "read"):
        return value
    raise ValueError(f"an image must be a path, a data URL, base64, or a file's content, got {shown(value)}")
