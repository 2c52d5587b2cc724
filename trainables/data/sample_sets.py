"""Where encoded samples come from: storage, the encoder when they are asked for, or several of these."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, overload

from trainables.collate import EncodedSample, Encoder
from trainables.data.encoded_set import EncodedSet, SetIndex
from trainables.data.samples import Sample

_AHEAD: Final = 2  # batches that are encoded while one is used
_ONE_AT_A_TIME: Final = threading.Lock()  # a tokenizer serves one thread


class StreamedSet(Sequence[EncodedSample]):
    """Samples that are encoded when they are asked for, and kept nowhere.

    Args:
        samples: The samples.
        encoder: Encodes them.
        outlines: The same samples without the float inputs of their images.
    """

    def __init__(
        self, samples: Sequence[Sample], encoder: Encoder, outlines: Sequence[EncodedSample]
    ) -> None:
        assert len(samples) == len(outlines)
        self._samples = samples
        self._encoder = encoder
        self.outlines = outlines

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, index: slice) -> StreamedSet: ...
    def __getitem__(self, index: int | slice) -> EncodedSample | StreamedSet:
        """Encode a sample, or return the set of a slice's samples."""
        if isinstance(index, slice):
            return StreamedSet(self._samples[index], self._encoder, self.outlines[index])
        with _ONE_AT_A_TIME:
            return self._encoder.encode(self._samples[index])


class Chain(Sequence[EncodedSample]):
    """Several sets of samples, one behind the other.

    Args:
        sets: The sets.
    """

    def __init__(self, sets: Iterable[Sequence[EncodedSample]]) -> None:
        self.sets = tuple(sets)
        self._first = [0, *accumulate(map(len, self.sets))]

    def __len__(self) -> int:
        """Return the number of samples in all sets."""
        return self._first[-1]

    @overload
    def __getitem__(self, index: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedSample]: ...
    def __getitem__(self, index: int | slice) -> EncodedSample | list[EncodedSample]:
        """Return a sample, or a slice's samples."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        number = bisect.bisect_right(self._first, index) - 1
        return self.sets[number][index - self._first[number]]


class Picked(Sequence[EncodedSample]):
    """Some samples of a set.

    Args:
        samples: The set.
        rows: Which of them.
    """

    def __init__(self, samples: Sequence[EncodedSample], rows: Sequence[int]) -> None:
        self.samples = samples
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of samples that were picked."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> EncodedSample: ...
    @overload
    def __getitem__(self, index: slice) -> Picked: ...
    def __getitem__(self, index: int | slice) -> EncodedSample | Picked:
        """Return a sample, or a slice's samples."""
        rows = self.rows[index]
        return self.samples[rows] if isinstance(rows, int) else Picked(self.samples, rows)


def outlines_of(samples: Sequence[EncodedSample]) -> Sequence[EncodedSample]:
    """Return the samples for one who asks for their lengths and shapes alone, which is cheap."""
    if isinstance(samples, Chain):
        return Chain(map(outlines_of, samples.sets))
    if isinstance(samples, Picked):
        return Picked(outlines_of(samples.samples), samples.rows)
    return samples.outlines if isinstance(samples, StreamedSet) else samples


def batches_of(
    samples: Sequence[EncodedSample], rows: Iterable[Sequence[int]]
) -> Iterator[list[EncodedSample]]:
    """Yield the samples of some rows after another; a thread encodes the next ones of a set that is streamed.

    Args:
        samples: The samples.
        rows: The rows of each batch.
    """
    if not _streams(samples):
        for batch in rows:
            yield [samples[row] for row in batch]
        return
    coming = iter(rows)
    thread = ThreadPoolExecutor(1, thread_name_prefix="encode-ahead")
    try:
        futures = [thread.submit(_taken, samples, batch) for batch in islice(coming, 1 + _AHEAD)]
        while futures:
            yield futures.pop(0).result()
            futures += [thread.submit(_taken, samples, batch) for batch in islice(coming, 1)]
    finally:
        thread.shutdown(cancel_futures=True)


def load_samples(folder: str | None, samples: Sequence[Sample], encoder: Encoder) -> Sequence[EncodedSample]:
    """Return a split's samples as the model takes them.

    Args:
        folder: Where they lie, encoded; None encodes them here and now.
        samples: The split's samples; not looked at where the encoded ones lie whole.
        encoder: Encodes what is not on storage.

    Raises:
        EncodedSetError: The folder holds no whole set.
        SampleError: A sample can't be encoded.
    """
    if folder is None:
        return [encoder.encode(sample) for sample in samples]
    encoded = EncodedSet.open(Path(folder))
    streamed = SetIndex.read(Path(folder)).streamed
    return StreamedSet(samples, encoder, encoded) if streamed else encoded


def _streams(samples: Sequence[EncodedSample]) -> bool:
    if isinstance(samples, Chain):
        return any(map(_streams, samples.sets))
    if isinstance(samples, Picked):
        return _streams(samples.samples)
    return isinstance(samples, StreamedSet)


def _taken(samples: Sequence[EncodedSample], rows: Sequence[int]) -> list[EncodedSample]:
    return [samples[row] for row in rows]
