"""Images of a row, however it writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trainables.formats.texts import shown
from trainables.image_paths import image_path
from trainables.images import image_size
from trainables.samples import ImageSource
from trainables.stored_images import base64_bytes

# How JPEG, PNG, GIF and WebP files start in base64, and BMP and TIFF files, whose starts say less; a path of
# such letters alone is not to be expected.
_LETTERS: Final = r"[A-Za-z0-9+/\s]"
_BASE64: Final = re.compile(
    rf"(?:(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR){_LETTERS}{{32,}}|(?:Qk|SUkq|TU0AK){_LETTERS}{{256,}})={{0,2}}\s*"
)


def listed(value: Any) -> list[Any]:
    """Return a row's image or images as a list; null and an empty text are none."""
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple)):
        return [item for item in value if item is not None]
    return [value]


def image_source(value: Any, folder: Path | None) -> ImageSource:
    """Return where an image lies, of which the header was read.

    Args:
        value: A path, a data URL, base64, a file's content, a mapping with `bytes` and `path` as data sets
            of Hugging Face have it, or a stored image.
        folder: What paths are relative to.

    Raises:
        ValueError: It is nothing of that, not there, or no image.
    """
    source = _source(value, folder)
    try:
        image_size(source)
    except ValueError as error:
        if isinstance(source, Path):
            raise ValueError(f"not a readable image: {source}") from None
        raise ValueError(str(error)) from None
    return source


def _source(value: Any, folder: Path | None) -> ImageSource:
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return _source(value["bytes"], folder)
        if value.get("path") is not None:
            return _source(value["path"], folder)
    elif isinstance(value, bytes):
        return value
    elif isinstance(value, str):
        if value.startswith("data:") or _BASE64.fullmatch(value):
            return base64_bytes(value)
        if re.match(r"[a-z0-9+]+://", value):
            raise ValueError(f"images are not fetched: put {shown(value)} into a file and name its path")
        return image_path(value, folder or Path.cwd())
    elif hasattr(value, "read"):
        return value
    raise ValueError(f"an image must be a path, a data URL, base64, or a file's content, got {shown(value)}")
