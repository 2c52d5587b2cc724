"""Account: what this process and its peers spend on a job."""

from __future__ import annotations

import resource
import sys

import torch

from trainables.cost.energy import CpuPackages, gpu_joules
from trainables.cost.meter import Meter
from trainables.cost.spent import Spent, spent_together
from trainables.training.parallel import Share


class Account:
    """Measures what a job takes.

    Args:
        device: Where the model lives.
        share: This process's share of the work.
        gpus: GPUs that all processes together have reserved.
    """

    def __init__(self, device: torch.device, share: Share, gpus: float) -> None:
        self._device = device
        self._share = share
        self._gpus = gpus
        on_gpu = device.type == "cuda"
        self._meter = Meter(
            CpuPackages.find(),
            gpu_joules(device) if on_gpu else None,
            min(1.0, gpus / share.size) if on_gpu else 0.0,
        )

    def restart(self) -> None:
        """Begin a job."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._meter.restart()

    def spent(self, train_seconds: float, eval_seconds: float) -> Spent:
        """Return what all processes have spent since the job began; all of them must call this."""
        on_gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else _peak_resident_bytes()
        parts = self._share.from_all((peak, self._meter.used()))
        return spent_together(
            [used for _, used in parts],
            [peak for peak, _ in parts],
            train_seconds,
            eval_seconds,
            self._gpus,
        )


def _peak_resident_bytes() -> int:
    """Return the peak resident set of this process since its start; macOS counts bytes, Linux KiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
