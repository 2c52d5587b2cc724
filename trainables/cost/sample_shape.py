"""SampleShape: how large the samples are that a model will meet, on which memory depends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import torch

from trainables.collate import EncodedSample, Encoder
from trainables.data.bad_samples import SampleError
from trainables.data.samples import Sample
from trainables.sources.images import image_size
from trainables.workers.jobs import TaskData

# Of each split, so many samples with the longest texts are encoded, as many with the largest images, as many
# spread over the proportions of images, and as many spread over the others.
EACH: Final = 8
# Longer than the longest encoded sample, where not all were encoded.
MARGIN: Final = 1.1

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class SampleShape:
    """The shape of the largest sample that a model will meet.

    Attributes:
        tokens: Tokens T, image placeholders included.
        answer_tokens: Tokens of them that the loss is taken over.
        extras: Inputs besides tokens (`pixel_values`, ...) -> their shape for one sample.
        grids: Those of them that say how an image is laid out (`image_grid_thw`, ...) -> their values.
        masked: Whether attention takes a written mask even of one sample, since a token may see a later one.
        found: How it is known, for a person to read.
    """

    tokens: int
    answer_tokens: int
    extras: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    grids: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = False
    found: str = ""

    def encoded(self) -> EncodedSample:
        """Return a sample of this shape on the meta device; only the grids have values."""
        tokens = {"input_ids": torch.empty(self.tokens, dtype=torch.long, device="meta")}
        extras = {name: torch.empty(shape, device="meta") for name, shape in self.extras.items()}
        extras |= {name: torch.as_tensor(values) for name, values in self.grids.items()}
        return EncodedSample(tokens, extras, self.tokens - self.answer_tokens)


def largest_sample(tasks: Iterable[TaskData], encoder: Encoder, *, skip_bad: bool = False) -> SampleShape:
    """Encode the samples of each split that are likely to be the largest; return the largest in each respect.

    Args:
        tasks: The study's tasks.
        encoder: The model's.
        skip_bad: Whether the next largest stands in for a sample that can't be encoded.

    Raises:
        SampleError: A task's sample can't be encoded; the message names both.
        ValueError: None of a task's samples can be.
    """
    shapes: list[EncodedSample] = []
    total = 0
    for task in tasks:
        for split in (task.train, task.search):
            encoded: dict[str, EncodedSample | SampleError] = {}
            for samples in _likely_largest(split):
                _encode_first(samples, encoder, encoded, task.name, skip_bad=skip_bad)
            shapes += [each for each in encoded.values() if isinstance(each, EncodedSample)]
            bad = [each for each in encoded.values() if isinstance(each, SampleError)]
            if bad and len(bad) == len(split):
                raise ValueError(f"task {task.name!r}: no sample can be used, such as {bad[0]}")
            total += len(split) - len(bad)
    tokens = max(sample.length for sample in shapes)
    answer = max(sample.taught_length for sample in shapes)
    # Of one image, so that what says how it is laid out is true of it.
    image = max(shapes, key=lambda sample: sum(tensor.numel() for tensor in sample.extras.values())).extras
    encoded = len(shapes)
    if encoded == total:
        found = f"the longest of {total} samples"
    else:
        tokens, answer = math.ceil(MARGIN * tokens), math.ceil(MARGIN * answer)
        found = f"{MARGIN - 1:.0%} more than the longest of {encoded} encoded samples of {total}"
    return SampleShape(
        tokens=tokens,
        answer_tokens=min(answer, tokens),
        extras={name: tuple(tensor.shape) for name, tensor in image.items()},
        grids={name: tensor.tolist() for name, tensor in image.items() if not tensor.is_floating_point()},
        masked=any("token_type_ids" in sample.tokens for sample in shapes),
        found=found,
    )


def _encode_first(
    samples: Iterable[Sample],
    encoder: Encoder,
    encoded: dict[str, EncodedSample | SampleError],
    task: str,
    *,
    skip_bad: bool,
) -> None:
    """Encode the first `EACH` samples of a task that can be; keep what came of each under its id."""
    left = EACH
    for sample in samples:
        if left == 0:
            return
        if sample.id not in encoded:
            try:
                encoded[sample.id] = encoder.encode(sample)
            except SampleError as error:
                if not skip_bad:
                    raise SampleError(sample.label_in(task), error.reason) from None
                encoded[sample.id] = error
        left -= isinstance(encoded[sample.id], EncodedSample)


def _likely_largest(samples: Sequence[Sample]) -> Iterator[Iterable[Sample]]:
    """Yield orders of samples, of each of which the first are to be encoded."""
    by_text = sorted(samples, key=text_length, reverse=True)
    yield by_text
    yield _spread(by_text[EACH:])
    sizes = {sample.id: [image_size(image) for image in sample.images] for sample in samples if sample.images}
    yield sorted(
        (sample for sample in samples if len(sample.images) > 1),
        key=lambda sample: sum(map(math.prod, sizes[sample.id])),
        reverse=True,
    )
    # Of equally large images one is enough. How many crops a model makes may depend on their proportions.
    by_size = {max(sizes[s.id], key=math.prod): s for s in reversed(samples) if s.images}
    largest = sorted(by_size, key=math.prod, reverse=True)
    yield (by_size[size] for size in largest)
    yield [by_size[size] for size in _spread(sorted(largest, key=lambda size: size[0] / size[1]))]


def _spread(items: Sequence[_Item]) -> Sequence[_Item]:
    return items[:: max(1, math.ceil(len(items) / EACH))]


def largest_image(sample: Sample) -> tuple[int, int]:
    """Return the width and height of a sample's largest image."""
    return max(map(image_size, sample.images), key=math.prod)


def text_length(sample: Sample) -> int:
    """Return the number of characters of all that is said."""
    return sum(len(turn.text) for turn in sample.history) + len(sample.prompt) + len(sample.answer)
