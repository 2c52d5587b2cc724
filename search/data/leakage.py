"""Leakage: what a study trains on must not be, not even nearly, what it is scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from search.data.signatures import Signature, signatures
from search.data.thumbnails import Thumbnails
from search.data.twins import Splits, Twin, find_twins
from search.wording import counted
from trainables.data.samples import Sample, fingerprint_of
from trainables.workers.jobs import TaskData

_EXAMPLES: Final = 3
_BY_CHANCE: Final = 0.01
"""Share of a confirm split that may be nearly what the search scores: simple pictures come twice."""


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
        where = f"{self.train} in {self.scored}"
        return _found(where, self.samples, self.exact, self.examples)


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Samples of a confirm split that the search scores, too, or nearly.

    Attributes:
        search: The search split, such as `counting/search`.
        confirm: The confirm split.
        places: Their places in it, rising.
        exact: How many of them are the very same; the others nearly.
        of: Samples of the confirm split.
        examples: Labels of the first ones, each with that of its twin in the search split.
    """

    search: str
    confirm: str
    places: tuple[int, ...]
    exact: int
    of: int
    examples: tuple[tuple[str, str], ...]

    @property
    def chance(self) -> bool:
        """Whether these may be there by chance: none is a copy, and they are few."""
        return not self.exact and len(self.places) <= _BY_CHANCE * self.of

    def __str__(self) -> str:
        """Say how many samples of which split are found where, and name the first ones."""
        return _found(f"{self.confirm} in {self.search}", len(self.places), self.exact, self.examples)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a comparison of a study's splits found.

    Attributes:
        leaks: Training samples that are scored ones.
        dropped: These, as their split and their place in it.
        warnings: What is allowed and yet worth a thought, one line each.
        fingerprints: `<task>/<split>` -> content hash, without what is dropped, confirm splits included.
        overlaps: Samples to confirm with that the search scores, too, or nearly.
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
    dropped = frozenset((twin.split, twin.place) for twin in twins)
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
    for (split, other), found in _by_splits(twins).items():
        yield Leak(
            train=split,
            scored=other,
            samples=len(found),
            exact=sum(twin.exact for twin in found),
            examples=_examples(found, train[split], scored[other]),
        )


def _by_splits(twins: Iterable[Twin]) -> dict[tuple[str, str], list[Twin]]:
    pairs: dict[tuple[str, str], list[Twin]] = {}
    for twin in twins:
        pairs.setdefault((twin.split, twin.scored), []).append(twin)
    return pairs


def _examples(
    twins: Sequence[Twin], ones: Sequence[Signature], others: Sequence[Signature]
) -> tuple[tuple[str, str], ...]:
    return tuple((ones[twin.place].label, others[twin.other].label) for twin in twins[:_EXAMPLES])


def _found(where: str, samples: int, exact: int, examples: Sequence[tuple[str, str]]) -> str:
    kinds = {"exact": exact, "nearly the same": samples - exact}
    told = " and ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
    first = ", ".join(f"{one} is {other}" for one, other in examples)
    more = ", ..." if samples > len(examples) else ""
    return f"{counted(samples, 'sample')} of {where} ({told}: {first}{more})"


def _overlaps(search: Splits, confirm: Splits) -> Iterator[Overlap]:
    for (last, other), found in _by_splits(find_twins(confirm, search)).items():
        yield Overlap(
            search=other,
            confirm=last,
            places=tuple(twin.place for twin in found),
            exact=sum(twin.exact for twin in found),
            of=len(confirm[last]),
            examples=_examples(found, confirm[last], search[other]),
        )


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
