"""The small copies of images that a page carries."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from search.findings.example_findings import IN_ALL
from search.findings.pictures import MOST, Picture, pictures
from trainables.data.samples import Sample


def sample(*sizes: tuple[int, int], where: str = "") -> Sample:
    """Make a sample with noise of these widths and heights: what compresses worst."""
    noise = np.random.default_rng(0)
    images = tuple(noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes)
    return Sample(id="a", prompt="?", answer="1", images=images, where=where)


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2])))


def test_a_tiny_image_keeps_its_pixels_and_is_enlarged_by_a_whole_number() -> None:
    made = sample((32, 24))
    (small,) = pictures(made)
    assert small.source.startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(opened(small)), made.images[0])  # type: ignore[arg-type]
    # 4 x 32 is the most that is not beyond 144.
    assert (small.width, small.height, small.crisp) == (128, 96, True)
    assert small.alt == "Image of sample 'a', 32 by 24 pixels"


def test_a_large_image_is_made_smaller_in_proportion() -> None:
    (small,) = pictures(sample((1000, 500)))
    assert small.source.startswith("data:image/jpeg;base64,")
    assert opened(small).size == (small.width, small.height) == (288, 144)
    assert not small.crisp


def test_several_images_are_told_apart_and_named_after_their_row() -> None:
    first, second = pictures(sample((8, 8), (80, 80), where="data.jsonl:3"))
    assert first.alt == "Image 1 of 2 of data.jsonl:3, 8 by 8 pixels"
    assert second.alt == "Image 2 of 2 of data.jsonl:3, 80 by 80 pixels"
    assert (second.width, second.crisp) == (80, False)


def test_the_worst_images_make_a_page_of_less_than_ten_million_bytes() -> None:
    sizes = [len(each.source) for each in pictures(sample(*[(600, 600)] * 5))]
    assert len(sizes) == MOST
    assert IN_ALL * sum(sizes) < 10_000_000
