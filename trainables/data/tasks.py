"""Tasks: named sources of samples, each with a metric and three splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trainables import tiny
from trainables.data.bad_samples import SampleError
from trainables.data.samples import SPLITS, Sample, Split
from trainables.metrics import DEFAULT_DECODING, EXACT_MATCH, Decoding, MetricSpec


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
