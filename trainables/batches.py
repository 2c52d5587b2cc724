"""Which samples an optimiser step takes, and how they are spread over processes and forward passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from trainables.collate import Batch, EncodedSample, collate
from trainables.parallel import Share


def batch_indices(step: int, batch_size: int, n: int, seed: int) -> list[int]:
    """Return the samples of one optimiser step: each epoch is a permutation that depends on the seed.

    Args:
        step: Optimiser step, counted from 0.
        batch_size: Samples per step, over all workers.
        n: Number of training samples.
        seed: The trial's seed.
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    epochs = {position // n for position in positions}
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(n) for epoch in epochs}
    return [int(orders[position // n][position % n]) for position in positions]


def micro_batches(
    samples: Sequence[EncodedSample], share: Share, size: int | None, pad_token_id: int
) -> Iterator[Batch]:
    """Yield this process's part of a global batch, one forward pass after another.

    Samples with an image and samples without pass apart, and all processes make the same passes, as
    collective operations demand: one that has no sample left runs along with another's, whose answer counts
    nowhere.

    Args:
        samples: The global batch; the same in every process.
        share: This process's share.
        size: Samples per pass and process; None takes the whole share at once.
        pad_token_id: Fills `input_ids` beyond a sample's end.
    """
    for with_image in (True, False):
        alike = [sample for sample in samples if bool(sample.extras) == with_image]
        longest = math.ceil(len(alike) / share.size)  # the first process's share
        own = alike[share.rank :: share.size]
        for start in range(0, longest, size or max(longest, 1)):
            chosen = own[start : start + size] if size else own
            batch = collate(chosen or alike[:1], pad_token_id)
            batch.answer_mask[len(chosen) :] = False
            yield batch
