"""Real photographs that ship with scikit-image: textures and faces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from trainables.data.samples import Split
from trainables.tiny.canvas import SIZE, Item, speckle

Box = tuple[int, int, int, int]

_PHOTOS: dict[str, tuple[str, Box]] = {
    "brick": ("brick.png", (0, 0, 512, 512)),
    "gravel": ("gravel.png", (0, 0, 512, 512)),
    "fur": ("chelsea.png", (35, 0, 345, 230)),
    "stars": ("hubble_deep_field.jpg", (0, 0, 1000, 872)),
    "coins": ("coins.png", (8, 20, 384, 300)),
    "page": ("page.png", (0, 0, 384, 191)),
    "moon": ("moon.png", (0, 0, 512, 512)),
}
MATERIALS = tuple(_PHOTOS)
_COLUMNS: dict[str, tuple[float, float]] = {
    "train": (0.0, 0.56),
    "search": (0.56, 0.78),
    "confirm": (0.78, 1.0),
}
_FACE_RANGES: dict[str, tuple[int, int]] = {"train": (0, 40), "search": (40, 70), "confirm": (70, 100)}


def texture(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Crop 44 to 68 pixels from the split's columns of a photograph, in grey, at random exposure."""
    answer = MATERIALS[index % len(MATERIALS)]
    area = _area(answer, pool)
    side = int(rng.integers(44, 69))
    x = int(rng.integers(0, area.width - side + 1))
    y = int(rng.integers(0, area.height - side + 1))
    crop = area.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return _exposed(crop, rng), "what is this texture ?", answer


def face(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Show a real crop of 25 x 25 pixels, even samples faces, odd ones not; train shifts and mirrors it."""
    start, stop = _FACE_RANGES[pool]
    number = start + index // 2 % (stop - start)
    patch = Image.fromarray(_faces()[number + 100 * (index % 2)])
    if pool == "train":
        edge = rng.uniform(0, 4, 2)
        side = 25 - float(edge.max()) + rng.uniform(0, 1)
        patch = patch.transform(
            (SIZE, SIZE),
            Image.Transform.EXTENT,
            (edge[0] / 2, edge[1] / 2, edge[0] / 2 + side, edge[1] / 2 + side),
            Image.Resampling.BILINEAR,
        )
        if rng.random() < 0.5:
            patch = ImageOps.mirror(patch)
    patch = patch.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return _exposed(patch, rng), "is this a face ?", ("yes", "no")[index % 2]


def skimage_file(name: str) -> Path:
    """Return a data file of the scikit-image package."""
    import skimage

    return Path(skimage.__file__).parent / "data" / name


def _exposed(image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the grey image as RGB with a random gain and offset, away from pure black and white.

    There the noise would be clipped, and two black crops would be the same picture.
    """
    grey = np.asarray(image, np.float32)
    grey = (grey - grey.mean()) * rng.uniform(0.75, 1.25) + grey.mean() + rng.uniform(-25, 25)
    grey = np.clip(grey, 12, 243)
    return speckle(np.repeat(grey[:, :, None], 3, axis=2), rng, noise=3)


@cache
def _area(material: str, pool: Split) -> Image.Image:
    name, (left, top, right, bottom) = _PHOTOS[material]
    start, stop = _COLUMNS[pool]
    width = right - left
    with Image.open(skimage_file(name)) as photo:
        return photo.convert("L").crop((left + int(start * width), top, left + int(stop * width), bottom))


@cache
def _faces() -> npt.NDArray[np.uint8]:
    """Return LFW crops `[200, 25, 25]`: one hundred faces, then one hundred others."""
    return (np.load(skimage_file("lfw_subset.npy")) * 255).astype(np.uint8)
