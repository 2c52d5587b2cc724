"""Samples and splits: the unit of data that training and evaluation share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Split = Literal["train", "search", "confirm"]
SPLITS: tuple[Split, ...] = ("train", "search", "confirm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question about at most one image, with its reference answer.

    Attributes:
        id: Unique within its task, over all splits.
        prompt: The user's turn, without image placeholder or chat markup.
        answer: The reference answer, as the model should write it.
        image: RGB pixels `[H, W, 3]` of dtype uint8, a path to an image file, or None for text only.
    """

    id: str
    prompt: str
    answer: str
    image: npt.NDArray[np.uint8] | Path | None = None

    def content_hash(self) -> str:
        """Return the SHA-256 of what the model sees (image, prompt) and must answer; the id is left out."""
        digest = hashlib.sha256()
        if isinstance(self.image, Path):
            digest.update(self.image.read_bytes())
        elif self.image is not None:
            digest.update(repr(self.image.shape).encode())
            digest.update(np.ascontiguousarray(self.image).tobytes())
        for text in (self.prompt, self.answer):
            content = text.encode()
            digest.update(f"|{len(content)}:".encode() + content)
        return digest.hexdigest()


def fingerprint(samples: Iterable[Sample]) -> str:
    """Return the SHA-256 over the samples' content hashes, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.content_hash().encode())
    return digest.hexdigest()
