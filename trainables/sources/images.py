"""Images of samples, wherever they lie."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainables.data.samples import ImageSource

LARGEST: Final = 89_478_485
"""Pixels that an image may have: 256 MiB as RGB, from which on Pillow warns of decompression bombs."""


def open_image(source: ImageSource) -> Image.Image:
    """Read an image whole, as RGB.

    Raises:
        ValueError: It can't be read, or is too large; the message names its file where it has one.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    with _opened(source) as image:
        return image.convert("RGB")


def image_size(source: ImageSource) -> tuple[int, int]:
    """Return an image's width and height; of a file the header alone is read.

    Raises:
        ValueError: It is no readable image, or too large.
    """
    if isinstance(source, np.ndarray):
        return source.shape[1], source.shape[0]
    with _opened(source) as image:
        return image.size


@contextmanager
def _opened(source: ImageSource) -> Iterator[Image.Image]:
    """Open an image file whose header tells of no more than `LARGEST` pixels.

    Raises:
        ValueError: It is no readable image, or larger; also where reading it shows that.
    """
    try:
        with warnings.catch_warnings():
            # What it warns of is refused below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(_file(source))
        with opened as image:
            width, height = image.size
            if width * height > LARGEST:
                raise ValueError(f"{_name(source)} is too large: {width} x {height} pixels, over {LARGEST:,}")
            yield image
    except Image.DecompressionBombError:
        raise ValueError(f"{_name(source)} is too large: over {LARGEST:,} pixels") from None
    except (OSError, SyntaxError) as error:
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
