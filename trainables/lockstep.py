"""What the processes of a sharded model must do alike when each evaluates samples of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainables.collate import EncodedSample, Encoder
from trainables.samples import Sample


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
    """

    kinds: tuple[Kind, ...]

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
        return cls(tuple(kinds))
