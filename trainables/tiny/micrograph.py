"""Questions on a real micrograph: tissue whose target protein is stained brown, its nuclei blue."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.samples import Split
from trainables.tiny.canvas import SIZE, Item, speckle
from trainables.tiny.photos import skimage_file

SIDES = ("left", "right", "up", "down")
_COLUMNS: dict[str, tuple[int, int]] = {"train": (0, 256), "search": (256, 384), "confirm": (384, 512)}
_STAIN_LEVEL = 0.05
_ATTEMPTS = 300


def pathology(pool: Split, index: int, rng: np.random.Generator) -> Item:
    """Ask whether a crop is mostly stained (even samples) or where the stain is strongest (odd ones)."""
    if index % 2 == 0:
        answer, prompt = ("yes", "no")[index // 2 % 2], "is the tissue mostly stained ?"
    else:
        answer, prompt = SIDES[index // 2 % 4], "where is the stain strongest ?"
    photo, stained = _tissue()
    start, stop = _COLUMNS[pool]
    for _ in range(_ATTEMPTS):
        side = int(rng.integers(48, 97))
        x, y = int(rng.integers(start, stop - side + 1)), int(rng.integers(0, 512 - side + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)
        if _matches(answer, _oriented(stained[y : y + side, x : x + side], turns, mirrored)):
            break
    else:
        raise AssertionError(f"no crop of the {pool} area answers {answer!r}")
    crop = Image.fromarray(_oriented(photo[y : y + side, x : x + side], turns, mirrored))
    return (
        speckle(np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)), rng, noise=3),
        prompt,
        answer,
    )


def _matches(answer: str, stained: npt.NDArray[np.bool_]) -> bool:
    """Tell whether the stained area `[h, w]` clearly has this answer; unclear crops match none."""
    share = float(stained.mean())
    if answer == "yes":
        return share > 0.55
    if answer == "no":
        return share < 0.30
    half = stained.shape[0] // 2
    rows, columns = stained.mean(axis=1), stained.mean(axis=0)
    down = float(rows[-half:].mean() - rows[:half].mean())
    right = float(columns[-half:].mean() - columns[:half].mean())
    strength = {"left": -right, "right": right, "up": -down, "down": down}
    best = strength.pop(answer)
    return best > 0.15 and best > max(strength.values()) + 0.12


def _oriented(pixels: npt.NDArray[np.generic], turns: int, mirrored: bool) -> npt.NDArray[np.generic]:
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)


@cache
def _tissue() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return the photograph `[512, 512, 3]` and where the brown stain lies `[512, 512]`."""
    from skimage.color import rgb2hed

    with Image.open(skimage_file("ihc.png")) as image:
        photo = np.asarray(image.convert("RGB"))
    return photo, rgb2hed(photo)[:, :, 2] > _STAIN_LEVEL
