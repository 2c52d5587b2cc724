"""What the processes of a sharded model must do alike when each evaluates samples of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainables.collate import EncodedSample, Encoder
from trainables.data.sample_sets import batches_of, outlines_of
from trainables.data.samples import Sample


@dataclass(frozen=True, slots=True)
class Kind:
    """Samples that go through the same modules.

    Attributes:
        with_image: Whether they have an image.
        passes: Forward passes that every process makes over samples of this kind.
        filler: What a process runs along with that has no such sample left.
    """

    with_image: bool
    passes: int
    filler: EncodedSample


@dataclass(frozen=True, slots=True)
class Lockstep:
    """The passes over a task's samples: in each, a process needs all others to gather the weights.

    Attributes:
        kinds: One after another, samples with an image and samples without.
        several: Whether a sample has several answers that count as right.
        choices: Answers to choose from, of the sample that has most.
    """

    kinds: tuple[Kind, ...]
    several: bool = False
    choices: int = 0

    @classmethod
    def of(cls, samples: Sequence[Sample], size: int, batch_size: int, encoder: Encoder) -> Lockstep:
        """Plan the passes over a task whose samples go to the processes in turn.

        Args:
            samples: All the task's samples.
            size: Number of processes.
            batch_size: Samples per pass and process.
            encoder: Encodes the fillers.
        """
        kinds = []
        for with_image in (True, False):
            counts = [
                sum((bool(sample.images)) == with_image for sample in samples[rank::size])
                for rank in range(size)
            ]
            if any(counts):
                filler = next(sample for sample in samples if (bool(sample.images)) == with_image)
                passes = math.ceil(max(counts) / batch_size)
                kinds.append(Kind(with_image, passes, encoder.encode(filler)))
        several = any(len(set(sample.accepted)) > 1 for sample in samples)
        return cls(tuple(kinds), several, max((len(sample.choices) for sample in samples), default=0))


def passes(
    samples: Sequence[EncodedSample], batch_size: int, lockstep: Lockstep | None
) -> Iterator[tuple[list[int], list[EncodedSample]]]:
    """Yield the rows of each forward pass and their samples; a filler belongs to no row.

    A pass takes samples of similar length, so that little is padded.

    Args:
        samples: This process's samples.
        batch_size: Samples per pass.
        lockstep: What all processes do alike; None where each goes its own way.
    """
    outlines = outlines_of(samples)
    order = sorted(range(len(samples)), key=lambda row: outlines[row].length)
    if lockstep is None:
        rows = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        yield from zip(rows, batches_of(samples, rows), strict=True)
        return
    for kind in lockstep.kinds:
        own = [row for row in order if bool(outlines[row].extras) == kind.with_image]
        rows = [own[number * batch_size : (number + 1) * batch_size] for number in range(kind.passes)]
        for each, chosen in zip(rows, batches_of(samples, rows), strict=True):
            yield each, chosen or [kind.filler]
