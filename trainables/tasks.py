"""Tasks: named sources of samples, each with a metric and three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from spaces.nearest import did_you_mean
from trainables import tiny
from trainables.bad_samples import SampleError
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec
from trainables.samples import SPLITS, Sample, Split


class Task(Protocol):
    """A source of samples."""

    @property
    def name(self) -> str:
        """Name of the task in study files, metrics and reports."""

    @property
    def metric(self) -> MetricSpec:
        """How an answer is scored."""

    @property
    def decoding(self) -> Decoding:
        """How answers are written, where the metric needs it."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that it has."""

    def load(
        self, split: Split, limit: int | None = None, bad: list[SampleError] | None = None
    ) -> list[Sample]:
        """Return a split's first `limit` samples, or all of them.

        Args:
            split: The split.
            limit: Samples at most.
            bad: Takes the errors of samples that can't be used, which are left out; without it the first
                one is raised.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedTask:
    """A task of the embedded test bed, rendered on the fly."""

    name: str
    metric: MetricSpec = EXACT_MATCH
    decoding: Decoding = DEFAULT_DECODING

    @property
    def splits(self) -> tuple[Split, ...]:
        """All of them."""
        return SPLITS

    def load(
        self, split: Split, limit: int | None = None, bad: list[SampleError] | None = None
    ) -> list[Sample]:
        """Render a split's first `limit` samples, or all of them; none of them is bad."""
        return tiny.load_split(self.name, split, limit)


def resolve_tasks(names: Sequence[str], own: Mapping[str, Task]) -> dict[str, Task]:
    """Return the tasks of these names, the user's own before the embedded ones.

    Raises:
        ValueError: A name is neither the user's nor embedded.
    """
    resolved: dict[str, Task] = {}
    for name in names:
        if name in own:
            resolved[name] = own[name]
        elif name in tiny.TASKS:
            resolved[name] = EmbeddedTask(name=name)
        else:
            raise ValueError(f"unknown task {name!r}: {did_you_mean(name, {*own, *tiny.TASKS})}")
    return resolved
