"""Tasks whose samples come from files and data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from trainables.data.bad_samples import ColumnError, SampleError
from trainables.data.division import part_of, part_of_bad, subject_of
from trainables.data.samples import Sample, Split
from trainables.data.task_spec import Format, TaskSpec
from trainables.formats import detect_format, to_samples
from trainables.metrics import Decoding, MetricSpec
from trainables.sources.row_filter import is_wanted, told_filter, told_values
from trainables.sources.rows import Row, read_rows

_TRIED: Final = 100  # samples that tell whether all lack a column


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTask:
    """A task of files or data sets.

    Attributes:
        spec: Where its rows lie, and what they mean.
        mirror: Folder of copies of hub data sets, `<owner>/<name>/`.
    """

    spec: TaskSpec
    mirror: str | None = None

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.spec.name

    @property
    def metric(self) -> MetricSpec:
        """How an answer is scored."""
        return self.spec.metric

    @property
    def decoding(self) -> Decoding:
        """How answers are written, where the metric needs it."""
        return self.spec.decoding

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that have a source."""
        return tuple(self.spec.origins)

    @property
    def divided(self) -> tuple[Split, ...]:
        """The splits that share their origin with another one."""
        return tuple(split for split in self.spec.origins if len(self._shares(split)) > 1)

    @property
    def format(self) -> Format:
        """How rows are written: that of the first one that can be told, unless the task says it.

        Raises:
            ValueError: No row can be told, or none can be read.
        """
        if self.spec.format != "auto":
            return self.spec.format
        split = next(iter(self.spec.origins))
        for row in self._rows(split):
            if isinstance(row, SampleError) or not is_wanted(row.values, self.spec.only, row.where):
                continue
            try:
                return detect_format(row, self.spec)
            except SampleError:
                continue
        raise ValueError(f"tasks.{self.name}.{split}: no row has a format")

    def load(
        self, split: Split, limit: int | None = None, bad: list[SampleError] | None = None
    ) -> list[Sample]:
        """Read a split's first `limit` samples, or all of them; no row after the last one is read.

        Args:
            split: The split.
            limit: Samples at most, besides the task's own limit.
            bad: Takes the errors of samples that can't be used, which are left out; without it the first
                one is raised.

        Raises:
            SampleError: A sample can't be used.
            ValueError: The split has no origin, which can't be read, or is empty, or none of its first rows
                has the columns that the task names.
        """
        key = f"tasks.{self.name}.{split}"
        if split not in self.spec.origins:
            raise ValueError(f"tasks.{self.name}: no source for the split {split!r}")
        most = min((each for each in (limit, self.spec.limit) if each is not None), default=None)
        samples: list[Sample] = []
        left_out: list[SampleError] = []
        try:
            for item in self._samples(split):
                if isinstance(item, SampleError):
                    error = SampleError(item.label, self._with_needs(item.reason))
                    if bad is None and not samples and self._lacks_columns(split):
                        raise ValueError(str(error))
                    if bad is None:
                        raise error
                    bad.append(error)
                    left_out.append(error)
                else:
                    samples.append(item)
                if len(samples) == most:
                    break
        except SampleError:
            raise
        except ValueError as error:
            raise ValueError(f"{key}: {self._with_needs(str(error))}") from None
        if not samples:
            raise ValueError(f"{key}: {self._emptiness(split, left_out)}")
        return samples

    def _lacks_columns(self, split: Split) -> bool:
        """Tell whether none of the first rows has the columns that the task names."""
        return all(isinstance(item, ColumnError) for item in islice(self._samples(split), _TRIED))

    def _samples(self, split: Split) -> Iterator[Sample | SampleError]:
        """Yield a split's samples, and the errors of those that can't be used."""
        shares, seed = self._shares(split), self.spec.division_seed
        labels: dict[str, str] = {}
        for item in self._undivided(split):
            sample, part = item, split
            if isinstance(sample, Sample) and sample.id in labels:
                twin = labels[sample.id]
                sample = SampleError(sample.label, f"the id {sample.id!r} is also that of {twin}")
            if isinstance(sample, Sample):
                labels[sample.id] = sample.label
                try:
                    part = part_of(sample, shares, seed) if len(shares) > 1 else split
                except SampleError as error:
                    sample = error
            if isinstance(sample, SampleError) and len(shares) > 1:
                part = part_of_bad(sample, shares, seed)
            if part == split:
                yield sample

    def _undivided(self, split: Split) -> Iterator[Sample | SampleError]:
        """Yield all samples of a split's origin, and its errors."""
        spec = self.spec
        known: Format | None = None
        for number, row in enumerate(self._rows(split), start=1):
            if isinstance(row, SampleError):
                yield row
                continue
            try:
                if is_wanted(row.values, spec.only, row.where):
                    known = known or detect_format(row, spec)
                    yield from with_ids(to_samples(row, spec, split, known), f"{split}-{number}")
            except SampleError as error:
                yield error

    def _rows(self, split: Split) -> Iterator[Row | SampleError]:
        mirror = None if self.mirror is None else Path(self.mirror)
        return read_rows(self.spec.origins[split], mirror)

    def _shares(self, split: Split) -> dict[Split, float]:
        """Return the shares of the splits that an origin is divided between."""
        origin = self.spec.origins[split]
        return {
            each: self.spec.shares.get(each, 0.0)
            for each, other in self.spec.origins.items()
            if other == origin
        }

    def _with_needs(self, reason: str) -> str:
        return f"{reason}; the task needs {self.spec.needs}" if self.spec.needs else reason

    def _emptiness(self, split: Split, left_out: Sequence[SampleError]) -> str:
        source = self.spec.origins[split].source
        if left_out:
            return f"{source} holds no sample that can be used; {len(left_out)} can't, such as {left_out[0]}"
        # What follows is read once more, since only who has no sample asks for it.
        if (unwanted := self._unwanted(split)) is not None:
            return f"{source} holds {unwanted}"
        if len(self._shares(split)) > 1:
            return f"{source} holds no sample that falls to this split{self._together(split)}"
        return f"{source} holds no sample"

    def _unwanted(self, split: Split) -> str | None:
        """Say what the first row has where no row is what `only` asks for; None where one is."""
        only, count, first = self.spec.only, 0, ""
        for row in self._rows(split) if only else ():
            if isinstance(row, SampleError):
                continue
            if is_wanted(row.values, only, row.where):
                return None
            count, first = count + 1, first or told_values(row.values, only)
        if not count:
            return None
        return f"no row that `only` takes: none of {count} has {told_filter(only)}; the first has {first}"

    def _together(self, split: Split) -> str:
        """Say which samples can't be parted, where they are all samples of the origin."""
        count, subjects = 0, set()
        for item in self._undivided(split):
            if isinstance(item, Sample):
                count, subjects = count + 1, {*subjects, subject_of(item)}
            if len(subjects) > 1:
                return ""
        what = "image" if subjects and subjects.pop().startswith(b"image:") else "question"
        return f": its {count} samples share one {what}, and such samples stay together" if count > 1 else ""


def with_ids(samples: list[Sample], default: str) -> list[Sample]:
    """Return a row's samples, those without an id with the default one; several are numbered."""
    if len(samples) == 1:
        return [sample if sample.id else replace(sample, id=default) for sample in samples]
    return [
        sample if sample.id else replace(sample, id=f"{default}.{number}")
        for number, sample in enumerate(samples, start=1)
    ]
