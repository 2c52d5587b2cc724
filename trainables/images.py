"""Images of samples, wherever they lie."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainables.samples import ImageSource


def open_image(source: ImageSource) -> Image.Image:
    """Read an image whole, as RGB.

    Raises:
        ValueError: It can't be read; the message names its file where it has one.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    try:
        with Image.open(_file(source)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{_name(source)} can't be read: {_reason(error)}") from None


def image_size(source: ImageSource) -> tuple[int, int]:
    """Return an image's width and height; of a file the header alone is read.

    Raises:
        ValueError: It is no readable image.
    """
    if isinstance(source, np.ndarray):
        return source.shape[1], source.shape[0]
    try:
        with Image.open(_file(source)) as image:
            return image.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{_name(source)} can't be read: {_reason(error)}") from None


def _file(source: ImageSource) -> Path | io.BytesIO:
    assert not isinstance(source, np.ndarray)
    if isinstance(source, Path):
        return source
    return io.BytesIO(source if isinstance(source, bytes) else source.read())


def _name(source: ImageSource) -> str:
    return f"image {source}" if isinstance(source, Path) else "its image"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    return str(error)
