"""Energy counters of a machine: NVML's of a GPU, RAPL's of its CPUs; docs/cost.md tells their limits."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

POWERCAP: Final = Path("/sys/class/powercap")
PROC_STAT: Final = Path("/proc/stat")
# Columns of /proc/stat's first line in which a core works: user, nice, system, irq, softirq; guests' time is
# within user's.
_BUSY: Final = (0, 1, 2, 5, 6)


class CpuPackages:
    """RAPL's counters of a machine's CPU packages, and how long its cores have worked.

    Args:
        zones: The packages' folders below `POWERCAP`.
        stat: The kernel's count of what the cores did.
    """

    def __init__(self, zones: list[Path], stat: Path) -> None:
        self._zones = zones
        self._stat = stat
        self._ranges = [_integer(zone / "max_energy_range_uj") for zone in zones]
        self._last = self._counters()
        self._busy = _busy_seconds(stat)

    @classmethod
    def find(cls, root: Path = POWERCAP, stat: Path = PROC_STAT) -> CpuPackages | None:
        """Return the packages of this machine; None where it has no counters, or they may not be read."""
        zones = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if (zone / "name").is_file() and (zone / "name").read_text("utf-8").startswith("package")
        ]
        readable = all(os.access(zone / "energy_uj", os.R_OK) for zone in zones)
        return cls(zones, stat) if zones and readable and os.access(stat, os.R_OK) else None

    def joules(self, core_seconds: float) -> float:
        """Return a process's share of what the packages have taken since the last call.

        Args:
            core_seconds: How long the process has worked since then, over all cores.
        """
        counters, busy = self._counters(), _busy_seconds(self._stat)
        taken = 0
        for now, before, largest in zip(counters, self._last, self._ranges, strict=True):
            # The counter starts again at 0 beyond its range.
            taken += now - before if now >= before else now - before + largest
        worked = busy - self._busy
        self._last, self._busy = counters, busy
        share = min(1.0, core_seconds / worked) if worked > 0 else 1.0
        return taken / 1e6 * share

    def _counters(self) -> list[int]:
        return [_integer(zone / "energy_uj") for zone in self._zones]


def gpu_joules(device: torch.device) -> Callable[[], float | None] | None:
    """Return what reads how many joules a GPU has taken since its driver was loaded.

    None where NVIDIA's library is not there or the GPU has no such counter, as before Volta or in MIG mode;
    what reads it returns None where that fails.
    """
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
        return None
    millijoules = ctypes.c_ulonglong()

    def read() -> float | None:
        status = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return millijoules.value / 1000 if status == 0 else None

    return None if read() is None else read


def _integer(file: Path) -> int:
    return int(file.read_text("utf-8"))


def _busy_seconds(stat: Path) -> float:
    """Return how long a machine's cores have worked since it was started, all added up."""
    with stat.open(encoding="utf-8") as lines:
        columns = lines.readline().split()[1:]
    return sum(int(columns[index]) for index in _BUSY) / os.sysconf("SC_CLK_TCK")
