"""Nearly the same images: what counts as such, and that a search finds what a comparison of all would."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from search.data.near_images import SIDE, Thumbnail, alike, near_pairs, thumbnail

PIXELS = (640, 480)


@cache
def scene(seed: int) -> Image.Image:
    """A picture like a photograph: patches of some colours at four scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((PIXELS[1], PIXELS[0], 3), np.float32)
    for cells, weight in ((2, 0.5), (5, 0.3), (12, 0.15), (60, 0.05)):
        grid = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        total += weight * np.asarray(grid.resize(PIXELS, Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


@cache
def page(seed: int) -> Image.Image:
    """Lines of random words on white."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", PIXELS, "white")
    draw = ImageDraw.Draw(image)
    for line in range(18):
        words = ["".join(rng.choice(list("abcdefgh"), int(rng.integers(2, 10)))) for _ in range(9)]
        draw.text((30, 20 + 24 * line), " ".join(words), fill="black", font_size=16)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * 0.9), round(image.height * 0.9)), Image.Resampling.BICUBIC)


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.03)


def of(image: Image.Image | bytes) -> Thumbnail:
    found = thumbnail(image if isinstance(image, bytes) else encoded(image))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "changed",
    [
        encoded,
        lambda image: encoded(image, "JPEG", quality=60),
        lambda image: encoded(smaller(image)),
        lambda image: encoded(brighter(image)),
        lambda image: encoded(smaller(brighter(image)), "JPEG", quality=60),
    ],
    ids=["png", "jpeg", "smaller", "brighter", "all"],
)
@pytest.mark.parametrize("make", [scene, page])
def test_a_copy_is_nearly_the_same(
    make: Callable[[int], Image.Image], changed: Callable[[Image.Image], bytes]
) -> None:
    for seed in range(5):
        original = of(encoded(make(seed), "JPEG", quality=95))
        assert alike(original, of(changed(make(seed))))


@pytest.mark.parametrize("make", [scene, page])
def test_other_pictures_of_a_kind_are_not(make: Callable[[int], Image.Image]) -> None:
    pictures = [of(make(seed)) for seed in range(10)]
    assert not any(alike(one, other) for i, one in enumerate(pictures) for other in pictures[:i])


@pytest.mark.parametrize(
    "changed",
    [
        ImageOps.mirror,
        ImageOps.flip,
        lambda image: image.crop((64, 0, 640, 480)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        lambda image: ImageEnhance.Contrast(image).enhance(0.5),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["mirror", "flip", "crop", "light", "contrast", "colour"],
)
def test_a_picture_that_was_changed_visibly_is_another(changed: Callable[[Image.Image], Image.Image]) -> None:
    for seed in range(3):
        assert not alike(of(scene(seed)), of(changed(scene(seed))))


def test_almost_empty_pictures_must_be_equal() -> None:
    """Their noise says nothing: one level brighter is another empty picture."""
    noise = np.random.default_rng(0).integers(-1, 2, (32, 32, 1))
    one, other = (np.repeat(100 + level + noise, 3, axis=2).astype(np.uint8) for level in (0, 1))
    assert not alike(of(Image.fromarray(one)), of(Image.fromarray(other)))
    pixels = thumbnail(one)
    assert pixels is not None
    assert alike(pixels, of(Image.fromarray(one)))


def test_what_is_no_picture_has_no_thumbnail() -> None:
    whole = encoded(scene(0), "JPEG", quality=60)
    assert thumbnail(whole[:3000]) is None
    assert thumbnail(b"nonsense") is None


def shade(light: list[int]) -> Thumbnail:
    """A thumbnail of 4 x 4 squares."""
    squares = np.repeat(np.repeat(np.array(light, np.uint8).reshape(4, 4), 4, axis=0), 4, axis=1)
    assert squares.shape == (SIDE, SIDE)
    return Thumbnail(squares, np.full((4, 4, 2), 128, np.uint8))


noise = st.lists(st.integers(-4, 4), min_size=16, max_size=16)
lights = st.lists(st.sampled_from([0, 4, 120, 124, 128, 250]), min_size=16, max_size=16)


@given(
    ones=st.lists(st.tuples(lights, st.integers(0, 1)), max_size=6),
    others=st.lists(st.tuples(lights, st.integers(0, 1)), max_size=6),
    copies=st.lists(st.tuples(st.integers(0, 5), noise, st.integers(0, 1)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_the_search_finds_what_a_comparison_of_all_would(
    ones: list[tuple[list[int], int]],
    others: list[tuple[list[int], int]],
    copies: list[tuple[int, list[int], int]],
) -> None:
    for which, change, group in copies:
        if which < len(ones):
            copy = [max(0, level + by) for level, by in zip(ones[which][0], change, strict=True)]
            others = [*others, (copy, group)]
    asked = [(shade(light), group) for light, group in ones]
    known = [(shade(light), group) for light, group in others]
    expected = {
        (i, j)
        for i, (one, group) in enumerate(asked)
        for j, (other, its) in enumerate(known)
        if group == its and alike(one, other)
    }
    found = list(near_pairs(asked, known))
    assert set(found) == expected
    assert [i for i, _ in found] == sorted(i for i, _ in found)
