"""Images are read up to a size; beyond it the reason is told, and nothing is decoded."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables.sources.images import LARGEST, image_size, open_image


def header(width: int, height: int) -> bytes:
    """Return a PNG file that tells of its size and has no pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize("read", [image_size, open_image])
@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (12_000, 12_000, "12000 x 12000 pixels, over 89,478,485"),
        # Pillow itself refuses twice its limit.
        (20_000, 20_000, "over 89,478,485 pixels"),
    ],
)
def test_too_large_an_image_is_refused_with_its_reason(
    read: Callable[[Any], Any], width: int, height: int, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(header(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="too large") as refused:
            read(path)
        assert str(refused.value) == f"image {path} is too large: {told}"
        with pytest.raises(ValueError, match=f"^its image is too large: {told}$"):
            read(header(width, height))


def test_the_largest_image_is_read(tmp_path: Path) -> None:
    """89,478,485 = 5 * 17,895,697."""
    assert image_size(header(17_895_697, 5)) == (17_895_697, 5)
    assert LARGEST == 17_895_697 * 5
