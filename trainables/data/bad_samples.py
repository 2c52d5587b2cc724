"""Samples that can't be used, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.data.samples import Split


class SampleError(ValueError):
    """A sample can't be used; the message names its file and row, or its id, and the reason.

    Args:
        label: See `Sample.label`.
        reason: One line.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.label = label
        self.reason = reason

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str]]:
        """Keep label and reason apart between processes."""
        return type(self), (self.label, self.reason)


class ColumnError(SampleError):
    """A row has not the column that the task names; where no row has it, the task is at fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSample:
    """A sample that was left out.

    Attributes:
        task: Name of its task.
        split: Its split.
        label: File and row, or id.
        reason: Why, one line.
    """

    task: str
    split: Split
    label: str
    reason: str
