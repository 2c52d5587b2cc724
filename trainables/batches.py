"""Which samples an optimiser step takes, and how they are spread over processes and forward passes."""

from __future__ import annotations

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

    All processes make the same number of passes through the same modules, as collective operations demand:
    one that has no sample left, or none with an image while another has, is given one of another process's
    samples to run along with. Its answer counts nowhere.

    Args:
        samples: The global batch; the same in every process.
        share: This process's share.
        size: Samples per pass and process; None takes the whole share at once.
        pad_token_id: Fills `input_ids` beyond a sample's end.
    """
    shares = [samples[rank :: share.size] for rank in range(share.size)]
    size = size or len(shares[0])
    for start in range(0, len(shares[0]), size):
        passes = [part[start : start + size] for part in shares]
        own = passes[share.rank]
        fillers = _fillers(own, [sample for others in passes for sample in others])
        batch = collate([*own, *fillers], pad_token_id)
        batch.answer_mask[len(own) :] = False
        yield batch


def _fillers(own: Sequence[EncodedSample], everyone: Sequence[EncodedSample]) -> list[EncodedSample]:
    """Return what must be run along with one's own samples, to go through what the others go through."""
    if not any(sample.extras for sample in own):
        with_extras = next((sample for sample in everyone if sample.extras), None)
        if with_extras is not None:
            return [with_extras]
    return [] if own else [everyone[0]]
