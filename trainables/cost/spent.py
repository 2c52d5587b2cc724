"""Spent: what a job has taken so far, over all its workers and all lives of its trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from trainables.cost.meter import Used, summed


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a job has taken.

    Attributes:
        train_seconds: Time in training.
        eval_seconds: Time in evaluation.
        gpu_seconds: Both, times the GPUs that were reserved.
        core_seconds: CPU time of all workers.
        measured: Joules that counters told.
        estimated: Joules that follow from `core_seconds`, where no counter tells the CPU's.
        whole: 1 if these joules are all, otherwise 0.
        peak_memory_bytes: The largest of the workers' peaks.
    """

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0
    measured: float = 0.0
    estimated: float = 0.0
    whole: float = 1.0
    peak_memory_bytes: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """Return what two lives of a job took together."""
        mine, others = asdict(self), asdict(other)
        total = {name: value + others[name] for name, value in mine.items()}
        total["whole"] = min(self.whole, other.whole)
        total["peak_memory_bytes"] = max(self.peak_memory_bytes, other.peak_memory_bytes)
        return Spent(**total)

    def to_dict(self) -> dict[str, float]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, float]) -> Spent:
        """Return what `to_dict` described; nothing was spent if it is empty."""
        return cls(**fields)

    def to_metrics(self) -> dict[str, float]:
        """Return the metrics."""
        used = Used(self.core_seconds, self.measured, self.estimated, self.whole == 1)
        return {
            "cost/train_seconds": self.train_seconds,
            "cost/eval_seconds": self.eval_seconds,
            "cost/gpu_seconds": self.gpu_seconds,
            "cost/peak_memory_bytes": self.peak_memory_bytes,
            **used.to_metrics(),
        }


def spent_together(
    used: list[Used], peaks: list[int], train_seconds: float, eval_seconds: float, gpus: float
) -> Spent:
    """Return what the workers of a job have spent in one life.

    Args:
        used: What each worker used.
        peaks: Each worker's peak memory.
        train_seconds: Time in training.
        eval_seconds: Time in evaluation.
        gpus: GPUs that all workers together have reserved.
    """
    total = summed(used)
    return Spent(
        train_seconds=train_seconds,
        eval_seconds=eval_seconds,
        gpu_seconds=(train_seconds + eval_seconds) * gpus,
        core_seconds=total.core_seconds,
        measured=total.measured,
        estimated=total.estimated,
        whole=float(total.whole),
        peak_memory_bytes=float(max(peaks)),
    )
