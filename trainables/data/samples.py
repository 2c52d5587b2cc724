"""Samples and splits: the unit of data that training and evaluation share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Split = Literal["train", "search", "confirm"]
SPLITS: tuple[Split, ...] = ("train", "search", "confirm")

IMAGE_MARK: Final = "<image>"
"""Stands in a text where an image belongs; images without a mark come before the text."""


class StoredImage(Protocol):
    """An encoded image that lies in a file of many, and is read when it is needed."""

    def read(self) -> bytes:
        """Return the image file's content.

        Raises:
            OSError: It can't be read.
        """


ImageSource = npt.NDArray[np.uint8] | Path | bytes | StoredImage
"""RGB pixels `[H, W, 3]`, a path to an image file, such a file's content, or where that is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one side says in a conversation.

    Attributes:
        role: Who says it.
        text: What is said; an image's place in it is marked by `IMAGE_MARK`.
    """

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question about any number of images, with its reference answer.

    Attributes:
        id: Unique within its split.
        prompt: The user's turn, without chat markup; an image's place in it is marked by `IMAGE_MARK`.
        answer: The reference answer, as the model should write it.
        images: In the order of their marks, those of the history first.
        references: Answers that count as right, `answer` among them; empty where that alone does.
        choices: Answers to choose from, `answer` among them, in their order; empty for a free answer.
        history: What was said before the prompt.
        teaches_history: Whether training learns the assistant's turns of the history, too, as far as they
            come after its last image.
        where: File and row that it comes from, for messages; empty where there is none.
    """

    id: str
    prompt: str
    answer: str
    images: tuple[ImageSource, ...] = ()
    references: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    history: tuple[Turn, ...] = ()
    teaches_history: bool = False
    where: str = ""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The answers that count as right."""
        return self.references or (self.answer,)

    @property
    def label(self) -> str:
        """What messages call the sample: its file and row, or its id."""
        return self.where or f"sample {self.id!r}"

    def label_in(self, task: str) -> str:
        """Return what messages call the sample that don't tell its task: its file and row, or task and id."""
        return self.where or f"task {task!r}: {self.label}"

    def content_hash(self, contents: Sequence[bytes] | None = None) -> str:
        """Return the SHA-256 of what the model sees and must answer; id, file and row are left out.

        Args:
            contents: `image_content` of each image; None reads them.
        """
        digest = hashlib.sha256()
        for pixels in map(image_content, self.images) if contents is None else contents:
            digest.update(f"#{len(pixels)}:".encode() + pixels)
        lists = (self.history, self.references, self.choices)
        if any(lists):
            digest.update(repr([len(each) for each in lists]).encode())
        texts = [text for turn in self.history for text in (turn.role, turn.text)]
        for text in (*texts, self.prompt, self.answer, *self.references, *self.choices):
            content = text.encode()
            digest.update(f"|{len(content)}:".encode() + content)
        return digest.hexdigest()


def fingerprint(samples: Iterable[Sample]) -> str:
    """Return the SHA-256 over the samples' content hashes, in order."""
    return fingerprint_of(sample.content_hash() for sample in samples)


def fingerprint_of(hashes: Iterable[str]) -> str:
    """Return the fingerprint of samples with these content hashes."""
    digest = hashlib.sha256()
    for each in hashes:
        digest.update(each.encode())
    return digest.hexdigest()


def image_content(image: ImageSource) -> bytes:
    """Return an image's file, or its pixels where it has none.

    Raises:
        OSError: The file can't be read.
    """
    if isinstance(image, np.ndarray):
        return repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()
    if isinstance(image, bytes):
        return image
    return image.read_bytes() if isinstance(image, Path) else image.read()
