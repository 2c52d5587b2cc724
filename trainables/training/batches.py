"""Which samples an optimiser step takes, and how they are spread over processes and forward passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from spaces.recipe import Recipe
from trainables.collate import Batch, EncodedSample, collate
from trainables.training.parallel import Share

_TARGETS, _REPLAY = (), (1,)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOrder:
    """Which samples each step takes: it depends on the seed and the step alone.

    With replay, a share of each batch is drawn from samples of other tasks (Robins, Connection Science 7(2),
    1995). The order of the targets' samples stays the same, they only come later; a share that is no whole
    number of samples alternates between the two next to it, so that it is exact in the long run.

    Attributes:
        targets: Number of the targets' training samples.
        replayed: Number of samples to draw from besides.
        replay_ratio: Share of each batch that is drawn from these, in [0, 1).
        batch_size: Samples per step, over all workers.
        seed: The trial's seed.
    """

    targets: int
    replayed: int = 0
    replay_ratio: float = 0.0
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        """Check that there is something to draw from."""
        if self.replay_ratio > 0 and not self.replayed:
            raise ValueError(
                f"the recipe has replay_ratio {self.replay_ratio}, and there are no samples for replay"
            )

    @classmethod
    def of(cls, recipe: Recipe, targets: int, replayed: int, seed: int) -> DataOrder:
        """Return the order of a recipe's samples."""
        return cls(
            targets=targets,
            replayed=replayed,
            replay_ratio=recipe.replay_ratio,
            batch_size=recipe.batch_size,
            seed=seed,
        )

    def batch(self, step: int) -> list[int]:
        """Return a step's samples as indices of the targets' samples followed by those for replay.

        Args:
            step: Optimiser step, counted from 0.
        """
        before, after = self._drawn_before(step), self._drawn_before(step + 1)
        own = range(step * self.batch_size - before, (step + 1) * self.batch_size - after)
        drawn = _shuffled(range(before, after), self.replayed, self.seed, _REPLAY)
        return [*_shuffled(own, self.targets, self.seed, _TARGETS), *(self.targets + i for i in drawn)]

    def _drawn_before(self, step: int) -> int:
        # As it is written: the float 0.1 is a little more than a tenth.
        return math.floor(step * self.batch_size * Fraction(str(self.replay_ratio)))


def _shuffled(positions: range, n: int, seed: int, stream: tuple[int, ...]) -> list[int]:
    """Return the samples at some positions of an endless order, each epoch of which is a permutation."""
    epochs = {position // n for position in positions}
    orders = {epoch: np.random.default_rng((seed, epoch, *stream)).permutation(n) for epoch in epochs}
    return [int(orders[position // n][position % n]) for position in positions]


def micro_batches(
    samples: Sequence[EncodedSample], share: Share, size: int | None, pad_token_id: int
) -> Iterator[Batch]:
    """Yield this process's part of a global batch, one forward pass after another.

    Samples with an image and samples without pass apart, and all processes make the same passes, as
    collective operations demand: one that has no sample left runs along with another's, whose answer counts
    nowhere. A pass takes samples of similar length, so that little is padded.

    Args:
        samples: The global batch; the same in every process.
        share: This process's share.
        size: Samples per pass and process; None takes the whole share at once.
        pad_token_id: Fills `input_ids` beyond a sample's end.
    """
    for with_image in (True, False):
        alike = sorted(
            (sample for sample in samples if bool(sample.extras) == with_image), key=lambda each: each.length
        )
        longest = math.ceil(len(alike) / share.size)  # the first process's share
        own = alike[share.rank :: share.size]
        for start in range(0, longest, size or max(longest, 1)):
            chosen = own[start : start + size] if size else own
            batch = collate(chosen or alike[:1], pad_token_id)
            batch.answer_mask[len(chosen) :] = False
            yield batch
