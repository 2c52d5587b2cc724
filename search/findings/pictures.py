"""Small copies of samples' images that a page carries in itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Final

from PIL import Image

from trainables.data.samples import Sample
from trainables.sources.images import open_image

MOST: Final = 3  # images of one sample
LARGEST: Final = 288  # pixels of a copy's longer side
_TINY: Final = 72  # pixels up to which an image is carried as it is, and shown enlarged
_SHOWN: Final = 144  # pixels that the longer side of such an image is enlarged to, at most
_QUALITY: Final = 75  # of JPEG


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A copy of an image.

    Attributes:
        source: A data URI.
        alt: What a reader who can't see it is told.
        width: Pixels that it is shown with.
        height: Pixels that it is shown with.
        crisp: Whether it is enlarged, each of its pixels a square.
    """

    source: str
    alt: str
    width: int
    height: int
    crisp: bool


def pictures(sample: Sample) -> tuple[Picture, ...]:
    """Return copies of a sample's first images.

    Raises:
        ValueError: One of them can't be read.
    """
    count = len(sample.images)
    return tuple(
        _picture(open_image(source), f"Image {number} of {count}" if count > 1 else "Image", sample.label)
        for number, source in enumerate(sample.images[:MOST], start=1)
    )


def _picture(image: Image.Image, which: str, label: str) -> Picture:
    width, height = image.size
    longest = max(width, height)
    alt = f"{which} of {label}, {width} by {height} pixels"
    if longest <= _TINY:
        times = max(1, _SHOWN // longest)
        source = _data_uri(image, "png", optimize=True)
        return Picture(source=source, alt=alt, width=times * width, height=times * height, crisp=True)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    source = _data_uri(image, "jpeg", quality=_QUALITY, optimize=True)
    width, height = image.size
    return Picture(source=source, alt=alt, width=width, height=height, crisp=False)


def _data_uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
