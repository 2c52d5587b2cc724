"""Signatures: what is kept of samples to find the same ones elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from search.data.near_images import Thumbnail
from search.data.thumbnails import Thumbnails
from trainables.data.bad_samples import SampleError
from trainables.data.plain_text import plain_text
from trainables.data.samples import IMAGE_MARK, Sample, image_content

_AT_A_TIME: Final = 64  # samples


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with its answers.

    Attributes:
        question: In plain text; of a question without images with all that was said before it.
        answers: Those that count as right, in plain text.
    """

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What is kept of a sample.

    Attributes:
        label: See `Sample.label`.
        content: See `Sample.content_hash`.
        digests: SHA-256 of each image's file or pixels.
        thumbnails: Of each image; empty if one can't be decoded.
        exchanges: What is asked; several where training learns the history's answers, too.
    """

    label: str
    content: str
    digests: tuple[bytes, ...]
    thumbnails: tuple[Thumbnail, ...]
    exchanges: tuple[Exchange, ...]


def signatures(samples: Sequence[Sample], thumbnails: Thumbnails) -> list[Signature]:
    """Return the samples' signatures, by several threads.

    Args:
        samples: The samples.
        thumbnails: Makes those of the images.

    Raises:
        SampleError: An image can't be read.
    """

    def sign(sample: Sample) -> Signature:
        try:
            contents = [image_content(image) for image in sample.images]
        except OSError as error:
            reason = f"its image can't be read: {error.strerror or error}"
            raise SampleError(sample.label, reason) from None
        digests = tuple(hashlib.sha256(content).digest() for content in contents)
        made = map(thumbnails.of, digests, sample.images, contents)
        small = [each for each in made if each is not None]
        return Signature(
            label=sample.label,
            content=sample.content_hash(contents),
            digests=digests,
            thumbnails=tuple(small) if len(small) == len(digests) else (),
            exchanges=tuple(_exchanges(sample)),
        )

    if all(isinstance(image, np.ndarray) for sample in samples for image in sample.images):
        return list(map(sign, samples))  # There is nothing to read or decode meanwhile.
    parts = [samples[start : start + _AT_A_TIME] for start in range(0, len(samples), _AT_A_TIME)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [each for part in pool.map(lambda part: list(map(sign, part)), parts) for each in part]


def _exchanges(sample: Sample) -> Iterator[Exchange]:
    """Yield what a sample asks, and each question of its history whose answer training learns, too.

    The same question about the same image is the same, whatever was said before; without an image a question
    such as "Why?" is nothing without it. What the system is told is a template's.
    """
    turns = [turn for turn in sample.history if turn.role != "system"]
    if sample.teaches_history:
        for place, turn in enumerate(turns):
            if turn.role == "assistant" and place:
                yield Exchange(
                    _question(sample, [each.text for each in turns[:place]]), (plain_text(turn.text),)
                )
    said = [*(turn.text for turn in turns), sample.prompt]
    yield Exchange(_question(sample, said), tuple(dict.fromkeys(map(plain_text, sample.accepted))))


def _question(sample: Sample, said: Sequence[str]) -> str:
    text = said[-1] if sample.images else "\n".join(said)
    return plain_text(text.replace(IMAGE_MARK, " "))
