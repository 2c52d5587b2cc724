"""Thumbnails of images by their content, kept between commands, since files are slow to decode."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from search.data.near_images import SIDE, Thumbnail, thumbnail
from trainables.data.samples import ImageSource
from trainables.files import write_atomically

FILE: Final = "thumbnails-1.npz"
"""Name of the file that keeps them; another number once they are made otherwise."""
WORTH_KEEPING: Final = 1000
"""Image files to decode, about a second's work, from which on the file is written."""
_LIGHT: Final = SIDE * SIDE


class Thumbnails:
    """Makes thumbnails, of equal images once.

    Args:
        folder: Where those of image files are kept; what is there may be deleted. None keeps them nowhere.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / FILE
        self._known: dict[bytes, Thumbnail | None] = {}
        self._files: dict[bytes, Thumbnail] = {}
        if self._file is not None and self._file.is_file():
            with np.load(self._file) as stored:
                for digest, row in zip(stored["digests"], stored["thumbnails"], strict=True):
                    light, colour = row[:_LIGHT].reshape(SIDE, SIDE), row[_LIGHT:].reshape(4, 4, 2)
                    self._files[digest.tobytes()] = Thumbnail(light, colour)
        self._stored = len(self._files)

    def of(self, digest: bytes, image: ImageSource, content: bytes) -> Thumbnail | None:
        """Return an image's thumbnail, or None if it can't be decoded; several threads may ask.

        Args:
            digest: SHA-256 of its content.
            image: The image.
            content: See `trainables.data.samples.image_content`.
        """
        if (kept := self._files.get(digest)) is not None:
            return kept
        if digest not in self._known:
            made = self._known[digest] = thumbnail(image if isinstance(image, np.ndarray) else content)
            if made is not None and not isinstance(image, np.ndarray):
                self._files[digest] = made
        return self._known[digest]

    def keep(self) -> None:
        """Write the thumbnails of image files for the next command, if enough were made."""
        if self._file is None or len(self._files) - self._stored < WORTH_KEEPING:
            return
        digests = np.frombuffer(b"".join(self._files), np.uint8).reshape(-1, 32)
        rows = [np.concatenate([each.light.ravel(), each.colour.ravel()]) for each in self._files.values()]
        content = io.BytesIO()
        np.savez(content, digests=digests, thumbnails=np.stack(rows))
        # What is only planned may be planned where nothing can be written.
        with suppress(OSError):
            write_atomically(self._file, content.getvalue())
