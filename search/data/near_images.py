"""Nearly the same image: re-encoded, resized, or a little brighter.

Images are compared as thumbnails of 16 x 16 pixels. One is fitted to the other by brightness and contrast,
and what remains is measured against the contrast; colours are compared coarsely, since JPEG keeps them so.
The limits were set on the embedded tasks and on photographs and pages: see `docs/data.md`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE: Final = 16
_BLOCK: Final = 4
_DECODED: Final = 4 * SIDE  # pixels a side that a JPEG file is at least decoded to

_LEAST_SPREAD: Final = 4.0  # levels; what is flatter, almost empty, must be equal
_SHARE: Final = 0.077  # of the spread may remain: a correlation of 0.997
_REMAINS: Final = 2.0  # levels that JPEG at quality 60 may leave, where the spread is well above them
_FIRM_SPREAD: Final = 12.0
_LARGEST_SHIFT: Final = 10.0  # levels of mean brightness
_CONTRAST: Final = (0.8, 1.25)
_LARGEST_COLOUR_SHIFT: Final = 25.0  # levels of chroma in any of 4 x 4 blocks

_LEAST_CORRELATION: Final = (1 - (_REMAINS / _FIRM_SPREAD) ** 2) ** 0.5
_RADIUS: Final = (2 - 2 * _LEAST_CORRELATION) ** 0.5
_NEAREST: Final = 32  # images that one is compared with at most; the same one comes before lookalikes
_AT_A_TIME: Final = 4096


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What is left of an image to compare it by.

    Attributes:
        light: Luma, 0 to 255, `[16, 16]`.
        colour: Mean chroma of its blocks, `[4, 4, 2]`.
    """

    light: npt.NDArray[np.uint8]
    colour: npt.NDArray[np.uint8]


def thumbnail(content: bytes | npt.NDArray[np.uint8]) -> Thumbnail | None:
    """Return an image's thumbnail, from its file's content or its pixels; None if it can't be decoded."""
    try:
        if isinstance(content, np.ndarray):
            return _small(Image.fromarray(content))
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (_DECODED, _DECODED))
            return _small(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None


def _small(image: Image.Image) -> Thumbnail:
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("YCbCr")
    pixels = np.asarray(small)
    blocks = pixels[..., 1:].reshape(SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK, 2)
    return Thumbnail(pixels[..., 0].copy(), blocks.mean((1, 3)).round().astype(np.uint8))


def alike(one: Thumbnail, other: Thumbnail) -> bool:
    """Tell whether two images are nearly the same."""
    return bool(_alike(_Stack.of([one]), _Stack.of([other]))[0])


def near_pairs(
    ones: Sequence[tuple[Thumbnail, int]], others: Sequence[tuple[Thumbnail, int]]
) -> Iterator[tuple[int, int]]:
    """Yield the places of images that are nearly the same and have the same group, in rising order of `ones`.

    Args:
        ones: Images with the number of a group.
        others: Those that they are compared with.
    """
    if not ones or not others:
        return
    from scipy.spatial import cKDTree

    stack = _Stack.of([image for image, _ in others])
    tree = cKDTree(_places(stack, [group for _, group in others]))
    for start in range(0, len(ones), _AT_A_TIME):
        part = ones[start : start + _AT_A_TIME]
        asked = _Stack.of([image for image, _ in part])
        places = _places(asked, [group for _, group in part])
        _, found = tree.query(places, min(_NEAREST, len(others)), distance_upper_bound=_RADIUS, workers=-1)
        found = found.reshape(len(part), -1)
        left, rank = np.nonzero(found < len(others))
        right = found[left, rank]
        for begin in range(0, len(left), _AT_A_TIME):
            a, b = left[begin : begin + _AT_A_TIME], right[begin : begin + _AT_A_TIME]
            same = _alike(asked.at(a), stack.at(b))
            yield from zip((a[same] + start).tolist(), b[same].tolist(), strict=True)


@dataclass(frozen=True, slots=True)
class _Stack:
    """Thumbnails as arrays.

    Attributes:
        light: `[N, 256]`, with mean 0.
        mean: Mean light, `[N]`.
        spread: Standard deviation of the light, `[N]`.
        colour: `[N, 32]`.
    """

    light: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]
    colour: npt.NDArray[np.float32]

    @classmethod
    def of(cls, images: Sequence[Thumbnail]) -> _Stack:
        light = np.stack([image.light.reshape(-1) for image in images]).astype(np.float32)
        mean = light.mean(1)
        light -= mean[:, None]
        colour = np.stack([image.colour.reshape(-1) for image in images]).astype(np.float32)
        return cls(light, mean, light.std(1), colour)

    def at(self, places: npt.NDArray[np.int64]) -> _Stack:
        return _Stack(self.light[places], self.mean[places], self.spread[places], self.colour[places])


def _alike(a: _Stack, b: _Stack) -> npt.NDArray[np.bool_]:
    spread = np.maximum(np.minimum(a.spread, b.spread), 1e-6)
    correlation = np.clip((a.light * b.light).mean(1) / np.maximum(a.spread * b.spread, 1e-6), -1, 1)
    remains = np.where(correlation > 0, spread * np.sqrt(1 - correlation**2), np.inf)
    limit = np.where(spread >= _FIRM_SPREAD, np.maximum(_SHARE * spread, _REMAINS), _SHARE * spread)
    contrast = np.maximum(a.spread, 1e-6) / np.maximum(b.spread, 1e-6)
    equal = (a.light == b.light).all(1)
    same: npt.NDArray[np.bool_] = (
        (equal | (spread >= _LEAST_SPREAD) & (remains <= limit))
        & (np.abs(a.mean - b.mean) <= _LARGEST_SHIFT)
        & (contrast >= _CONTRAST[0])
        & (contrast <= _CONTRAST[1])
        & (np.abs(a.colour - b.colour).max(1) <= _LARGEST_COLOUR_SHIFT)
    )
    return same


def _places(stack: _Stack, groups: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return points of which those of alike images with one group are within `_RADIUS`.

    Thumbnails of length 1 with correlation r are sqrt(2 - 2 r) apart, and their projections no further: the
    means of their blocks, times 4, are such. Groups are 1 apart, more than any alike images.
    """
    unit = stack.light / np.maximum(stack.spread[:, None] * SIDE, 1e-6)
    blocks = unit.reshape(-1, SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK).mean((2, 4)) * _BLOCK
    return np.column_stack([blocks.reshape(len(unit), -1), np.asarray(groups, np.float64)])
