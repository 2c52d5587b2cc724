"""Division of one set of samples into splits, by what is in a sample and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from trainables.data.bad_samples import SampleError
from trainables.data.plain_text import plain_text
from trainables.data.samples import IMAGE_MARK, SPLITS, Sample, Split, image_content

_RANGE: Final = 2**64


def part_of(sample: Sample, shares: Mapping[Split, float], seed: int) -> Split:
    """Return the split that a sample belongs to.

    Samples about one image, and samples that begin with the same question, share a split. Other samples,
    their order and the machine make no difference.

    Args:
        sample: One of the set.
        shares: Split -> its share, relative to the others.
        seed: Another seed divides otherwise.

    Raises:
        SampleError: The sample's image can't be read.
        ValueError: No share is above 0.
    """
    return _drawn(subject_of(sample), shares, seed)


def part_of_bad(error: SampleError, shares: Mapping[Split, float], seed: int) -> Split:
    """Return the split that a sample counts to which can't be read, by where it stands.

    Args:
        error: What is wrong with it.
        shares: Split -> its share, relative to the others.
        seed: Another seed divides otherwise.
    """
    # The path to a file differs from one machine to another.
    return _drawn(f"bad:{PurePath(error.label).name}".encode(), shares, seed)


def _drawn(subject: bytes, shares: Mapping[Split, float], seed: int) -> Split:
    drawn = {split: shares[split] for split in SPLITS if shares.get(split, 0) > 0}
    if not drawn:
        raise ValueError(f"shares: one of {', '.join(SPLITS)} must be above 0")
    digest = hashlib.sha256(f"{seed}:".encode() + subject).digest()
    place = int.from_bytes(digest[:8], "big") / _RANGE * sum(drawn.values())
    for split, share in drawn.items():
        place -= share
        if place < 0:
            return split
    return split  # The sum of the shares is rounded, and so may leave a crumb.


def subject_of(sample: Sample) -> bytes:
    """Return what all samples of a conversation have in common: its first image, else its first question.

    An image that is shown only later in a conversation says nothing of the samples before it.

    Raises:
        SampleError: The image can't be read.
    """
    texts = [*(turn.text for turn in sample.history), sample.prompt]
    opening = texts[: [*(turn.role for turn in sample.history), "user"].index("user") + 1]
    if sample.images and (_marked(opening) or not _marked(texts)):
        try:
            return b"image:" + image_content(sample.images[0])
        except OSError as error:
            reason = f"its image can't be read: {error.strerror or error}"
            raise SampleError(sample.label, reason) from None
    return "\n".join(["text:", *map(plain_text, opening)]).encode()


def _marked(texts: list[str]) -> bool:
    return any(IMAGE_MARK in text for text in texts)
