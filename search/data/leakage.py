"""Leakage: what a study trains on must not be, not even nearly, what it is scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from search.data.signatures import signatures
from search.data.thumbnails import Thumbnails
from search.data.twins import Splits, Twin, find_twins
from search.wording import counted
from trainables.data.samples import Sample, fingerprint_of
from trainables.workers.jobs import TaskData

_EXAMPLES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """Training samples of one split that are also, or nearly, samples of a scored one.

    Attributes:
        train: The training split, such as `counting/train`.
        scored: Where they are found, such as `counting/search` or `bars/confirm`.
        samples: Number of these training samples.
        exact: How many of them are the very same; the others nearly.
        examples: Labels of the first ones, each with that of its twin.
    """

    train: str
    scored: str
    samples: int
    exact: int
    examples: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Say how many samples of which split are found where, and name the first ones."""
        kinds = {"exact": self.exact, "nearly the same": self.samples - self.exact}
        told = " and ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        first = ", ".join(f"{one} is {other}" for one, other in self.examples)
        more = ", ..." if self.samples > len(self.examples) else ""
        return f"{counted(self.samples, 'sample')} of {self.train} in {self.scored} ({told}: {first}{more})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Samples of a confirm split that the search scores, too.

    Attributes:
        search: The search split, such as `counting/search`.
        confirm: The confirm split.
        places: Their places in it, rising.
        examples: Labels of the first ones, each with that of its twin in the search split.
    """

    search: str
    confirm: str
    places: tuple[int, ...]
    examples: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Say how many samples of which split are found where, and name the first ones."""
        first = ", ".join(f"{one} is {other}" for one, other in self.examples)
        more = ", ..." if len(self.places) > len(self.examples) else ""
        return f"{counted(len(self.places), 'sample')} of {self.confirm} in {self.search} ({first}{more})"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a comparison of a study's splits found.

    Attributes:
        leaks: Training samples that are scored ones.
        dropped: These, as their split and their place in it.
        warnings: What is allowed and yet worth a thought, one line each.
        fingerprints: `<task>/<split>` -> content hash, without what is dropped, confirm splits included.
        overlaps: Samples to confirm with that the search scores, too.
    """

    leaks: tuple[Leak, ...]
    dropped: frozenset[tuple[str, int]]
    warnings: tuple[str, ...]
    fingerprints: Mapping[str, str]
    overlaps: tuple[Overlap, ...] = ()


def compare_splits(
    tasks: Sequence[TaskData],
    replay: Sequence[TaskData],
    confirm: Mapping[str, Callable[[], Sequence[Sample]]],
    thumbnails: Thumbnails,
) -> Findings:
    """Compare what a study trains on with what it is scored on, by the search and when a result is confirmed.

    Of a confirm split nothing leaves this function but hashes, counts and labels.

    Args:
        tasks: Targets and held-out tasks.
        replay: Tasks of replay.
        confirm: Name of a task -> what reads its confirm split; tasks without one are left out.
        thumbnails: Makes those of the images.

    Raises:
        SampleError: An image can't be read.
    """
    train = {
        f"{task.name}/train": signatures(task.train, thumbnails) for task in (*tasks, *replay) if task.train
    }
    search = {f"{task.name}/search": signatures(task.search, thumbnails) for task in tasks}
    last = {f"{name}/confirm": signatures(read(), thumbnails) for name, read in confirm.items()}
    twins = find_twins(train, {**search, **last})
    dropped = frozenset((twin.train, twin.place) for twin in twins)
    kept = {
        split: [each for place, each in enumerate(samples) if (split, place) not in dropped]
        for split, samples in train.items()
    }
    return Findings(
        leaks=tuple(_leaks(twins, train, {**search, **last})),
        dropped=dropped,
        warnings=tuple(_warnings(kept, search, last)),
        overlaps=tuple(_overlaps(search, last)),
        fingerprints={
            split: fingerprint_of(each.content for each in samples)
            for split, samples in {**kept, **search, **last}.items()
        },
    )


def _leaks(twins: Iterable[Twin], train: Splits, scored: Splits) -> Iterator[Leak]:
    pairs: dict[tuple[str, str], list[Twin]] = {}
    for twin in twins:
        pairs.setdefault((twin.train, twin.scored), []).append(twin)
    for (split, other), found in pairs.items():
        yield Leak(
            train=split,
            scored=other,
            samples=len(found),
            exact=sum(twin.exact for twin in found),
            examples=tuple(
                (train[split][twin.place].label, scored[other][twin.other].label)
                for twin in found[:_EXAMPLES]
            ),
        )


def _overlaps(search: Splits, confirm: Splits) -> Iterator[Overlap]:
    for split, samples in search.items():
        labels = {each.content: each.label for each in samples}
        for other, last in confirm.items():
            if places := tuple(place for place, each in enumerate(last) if each.content in labels):
                examples = tuple(
                    (last[place].label, labels[last[place].content]) for place in places[:_EXAMPLES]
                )
                yield Overlap(search=split, confirm=other, places=places, examples=examples)


def _warnings(train: Splits, search: Splits, confirm: Splits) -> Iterator[str]:
    """Yield what is worth a thought: duplicates and shared images."""
    for split, samples in {**train, **search, **confirm}.items():
        if surplus := len(samples) - len({each.content for each in samples}):
            yield f"{split}: {counted(surplus, 'sample')} of {len(samples)} repeated from the same split"
    images = {
        split: {digest for each in samples for digest in each.digests}
        for split, samples in {**search, **confirm}.items()
    }
    for split, samples in train.items():
        shared = Counter(
            other
            for each in samples
            for other, digests in images.items()
            if not digests.isdisjoint(each.digests)
        )
        for other, number in shared.items():
            of = counted(number, "sample")
            yield f"{split}: {of} about an image of {other}, with another question or answer"
