"""Shared drawing: a canvas at four times the final size, backgrounds, colours and sensor noise.

Legend: H = W = 32 pixels of a finished picture; drawing happens on 4H x 4W and is averaged down.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trainables.data.samples import Split

SIZE = 32
SCALE = 4
BIG = SIZE * SCALE

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Item = tuple[Pixels | None, str, str]
"""Picture `[H, W, 3]` (None for text only), prompt, answer."""
Draw = Callable[[Split, int, np.random.Generator], Item]
"""Draws sample `index` from the material of a split, with a generator of the sample's own."""

PALETTE: dict[str, Colour] = {
    "red": (215, 35, 35),
    "green": (40, 150, 50),
    "blue": (35, 65, 205),
    "yellow": (235, 205, 30),
    "black": (20, 20, 20),
    "gray": (125, 125, 125),
    "brown": (125, 75, 30),
    "teal": (15, 140, 140),
}


def pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    """Return one of the options, uniformly."""
    return options[int(rng.integers(len(options)))]


def any_colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    """Return a random colour whose three channels lie in `[low, high)`."""
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def shade(rng: np.random.Generator, colour: Colour, spread: int = 18) -> Colour:
    """Return the colour moved by up to `spread` levels in every channel."""
    moved = np.clip(np.asarray(colour) + rng.integers(-spread, spread + 1, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def contrasting(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return a foreground and a background, one dark and one light, in either order."""
    dark, light = any_colour(rng, 0, 90), any_colour(rng, 165, 256)
    return (dark, light) if rng.random() < 0.5 else (light, dark)


def canvas(colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty canvas of 4H x 4W and its pen."""
    image = Image.new("RGB", (BIG, BIG), colour)
    return image, ImageDraw.Draw(image)


def finish(image: Image.Image, rng: np.random.Generator, noise: float = 5.0) -> Pixels:
    """Average the canvas down to `[H, W, 3]` and add Gaussian noise of `noise` grey levels.

    The noise also makes two pictures that were drawn alike differ in content.
    """
    return speckle(np.asarray(image.reduce(image.width // SIZE)), rng, noise)


def speckle(pixels: npt.NDArray[np.generic], rng: np.random.Generator, noise: float = 4.0) -> Pixels:
    """Return the pixels with Gaussian noise of `noise` grey levels, as uint8."""
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(pixels.astype(np.float32) + grain, 0, 255).round().astype(np.uint8)
