"""Published material: scikit-learn's handwritten digits and the easy-VQA images and questions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from trainables.data.samples import Split
from trainables.tiny.canvas import SIZE, Item, contrasting, speckle

_DIGIT_RANGES: dict[str, tuple[int, int]] = {
    "train": (0, 1097),
    "search": (1097, 1397),
    "confirm": (1397, 1797),
}
_TEST_IMAGES: dict[str, tuple[int, int]] = {"search": (0, 480), "confirm": (480, 1000)}

_COLOURS = ("red", "green", "blue", "yellow", "black", "gray", "brown", "teal")
_SHAPES = ("circle", "rectangle", "triangle")


def digit(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Paint a real 8 x 8 scan in two colours at a random place and size; train also turns it a little."""
    scans, labels = _digits()
    start, stop = _DIGIT_RANGES[pool]
    number = start + index % (stop - start)
    size = int(rng.integers(24, 32))
    scan = Image.fromarray((scans[number] * 15.9).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    if pool == "train":
        scan = scan.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR)
    x, y = (int(v) for v in rng.integers(0, SIZE - size + 1, 2))
    alpha = np.zeros((SIZE, SIZE, 1), np.float32)
    alpha[y : y + size, x : x + size, 0] = np.asarray(scan, np.float32) / 255
    ink, ground = (np.asarray(colour, np.float32) for colour in contrasting(rng))
    return speckle(ground + alpha * (ink - ground), rng), "which digit is this ?", str(labels[number])


def easy_vqa_color(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Ask for the colour of the shape."""
    return _easy_vqa("color", pool, index, rng)


def easy_vqa_shape(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Ask for the shape."""
    return _easy_vqa("shape", pool, index, rng)


def easy_vqa_yesno(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Ask whether a shape or colour is there; even samples are answered yes, odd ones no."""
    return _easy_vqa(("yes", "no")[index % 2], pool, index // 2, rng)


def _easy_vqa(kind: str, pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Show a published image, averaged down to 32 x 32; train moves, scales and mirrors it first."""
    questions = _questions(kind, pool)
    text, answer, number = questions[index % len(questions)]
    picture = _picture("train" if pool == "train" else "test", number)
    if pool == "train":
        picture = picture.transform(
            picture.size, Image.Transform.EXTENT, _window(rng), fillcolor=picture.getpixel((0, 0))
        )
        if rng.random() < 0.5:
            picture = ImageOps.mirror(picture)
    pixels = np.asarray(picture.reduce(64 // SIZE))
    return speckle(pixels, rng, noise=2) if pool == "train" else pixels, text.replace("?", " ?"), answer


def _window(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return an area of 54 to 72 pixels that reaches over the image's edges by up to 6 pixels."""
    side = rng.uniform(54, 72)
    left, top = (float(rng.uniform(-6, 70 - side)) if side < 70 else -6.0 for _ in range(2))
    return left, top, left + float(side), top + float(side)


@cache
def _digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


@cache
def _questions(kind: str, pool: Split) -> list[tuple[str, str, int]]:
    """Return the split's published questions of a kind as (text, answer, image number), shuffled.

    The order goes through every image once before it asks a second question on any, so that a short split is
    spread over as many images as possible.
    """
    part = "train" if pool == "train" else "test"
    start, stop = _TEST_IMAGES.get(pool, (0, 4000))
    accepted = {"color": _COLOURS, "shape": _SHAPES, "yes": ("yes",), "no": ("no",)}[kind]
    rows = json.loads((_folder() / part / "questions.json").read_text())
    rows = [
        (text, answer, number)
        for text, answer, number in rows
        if start <= number < stop and answer in accepted and " not " not in text and " no " not in text
    ]
    rng = np.random.default_rng(7)
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    seen: dict[int, int] = {}
    rounds = []
    for _, _, number in shuffled:
        rounds.append(seen.get(number, 0))
        seen[number] = rounds[-1] + 1
    return [shuffled[i] for i in np.argsort(rounds, kind="stable")]


@cache
def _picture(part: str, number: int) -> Image.Image:
    """Return a published 64 x 64 image."""
    with Image.open(_folder() / part / "images" / f"{number}.png") as image:
        return image.convert("RGB")


@cache
def _folder() -> Path:
    import easy_vqa

    return Path(easy_vqa.__file__).parent / "data"
