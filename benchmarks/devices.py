"""Peak arithmetic of devices, which utilisation is measured against."""

from __future__ import annotations

from typing import Final

# Dense bfloat16 FLOP/s of the tensor cores by words of the name that torch tells, as NVIDIA's data sheets
# give them (half of the figure with sparsity). The first entry whose words are in a name counts.
PEAK_BFLOAT16: Final = {
    "B200": 2250e12,
    "H200": 989.5e12,
    "H100 PCIe": 756.5e12,
    "H100 NVL": 835.5e12,
    "H100": 989.5e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}


def peak_flops(name: str) -> float | None:
    """Return a device's dense bfloat16 FLOP/s, or None if the table does not have it."""
    words = f" {name.replace('-', ' ')} "
    return next((peak for part, peak in PEAK_BFLOAT16.items() if f" {part} " in words), None)
