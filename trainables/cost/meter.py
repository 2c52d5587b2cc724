"""Meter: what a worker process uses for a job, in core-seconds and joules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from trainables.cost.energy import CpuPackages

# codecarbon's `DEFAULT_POWER_PER_CORE`, for CPUs whose power it does not know.
WATTS_PER_CORE: Final = 4.0


@dataclass(frozen=True, slots=True)
class Used:
    """What one process, or all of a job's, used since the job began.

    Attributes:
        core_seconds: CPU time, over all cores.
        measured: Joules that counters told.
        estimated: Joules that follow from `core_seconds`, where no counter tells the CPU's.
        whole: Whether these are all; a GPU without a counter has taken more.
    """

    core_seconds: float
    measured: float
    estimated: float
    whole: bool = True

    def to_metrics(self) -> dict[str, float]:
        """Return the metrics; without energy where a part of it is not known."""
        joules = {
            "cost/energy_measured_joules": self.measured,
            "cost/energy_estimated_joules": self.estimated,
        }
        return {"cost/cpu_seconds": self.core_seconds, **(joules if self.whole else {})}


def summed(parts: Iterable[Used]) -> Used:
    """Return what several processes used together."""
    found = list(parts)
    return Used(
        sum(part.core_seconds for part in found),
        sum(part.measured for part in found),
        sum(part.estimated for part in found),
        all(part.whole for part in found),
    )


class Meter:
    """Adds up what this process uses.

    Args:
        packages: Counters of the machine's CPUs, if it has any that may be read.
        gpu: Reads the joules of this process's GPU; None where there is none, or no counter.
        gpu_share: Share of the GPU that this process has reserved; 0 without one.
        core_seconds: Reads this process's CPU time.
    """

    def __init__(
        self,
        packages: CpuPackages | None = None,
        gpu: Callable[[], float | None] | None = None,
        gpu_share: float = 0.0,
        core_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._packages = packages
        self._gpu = gpu
        self._gpu_share = gpu_share
        self._clock = core_seconds
        self.restart()

    def restart(self) -> None:
        """Begin a job."""
        self._used = Used(0.0, 0.0, 0.0)
        self._last = self._clock()
        self._gpu_began = self._gpu() if self._gpu else None
        if self._packages:
            self._packages.joules(0.0)

    def used(self) -> Used:
        """Return what was used since the job began."""
        now = self._clock()
        worked, self._last = now - self._last, now
        if self._packages:
            self._cpu(worked, measured=self._packages.joules(worked), estimated=0.0)
        else:
            self._cpu(worked, measured=0.0, estimated=worked * WATTS_PER_CORE)
        return summed([self._used, self._on_gpu()])

    def _on_gpu(self) -> Used:
        joules = self._gpu() if self._gpu else None
        if joules is None or self._gpu_began is None:
            return Used(0.0, 0.0, 0.0, whole=self._gpu_share == 0)
        return Used(0.0, (joules - self._gpu_began) * self._gpu_share, 0.0)

    def _cpu(self, worked: float, *, measured: float, estimated: float) -> None:
        self._used = summed([self._used, Used(worked, measured, estimated)])
