"""What there is to compute on: the nodes of this machine or a cluster, with the memory of their GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil

DRIVER_RESOURCE: Final = "train_driver"
# More trials than any one machine can run at a time.
LOCAL_DRIVERS: Final = 1000
GIB: Final = 1024**3

# Memory of Ray's accelerator types in 10^9 bytes, as sold; the least where a name stands for several sizes.
_ACCELERATOR_GB: Final[Mapping[str, int]] = {
    "T4": 16,
    "P4": 8,
    "P100": 12,
    "V100": 16,
    "A10G": 24,
    "L4": 24,
    "L40S": 48,
    "RTX-PRO-6000": 96,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "H20": 96,
    "H100": 80,
    "H200": 141,
    "B200": 180,
    "GB200": 186,
    "B300": 270,
    "GB300": 270,
    "AMD-Instinct-MI210": 64,
    "AMD-Instinct-MI250X": 64,
    "AMD-Instinct-MI250X-MI250": 64,
    "AMD-Instinct-MI300A": 128,
    "AMD-Instinct-MI300X-OAM": 192,
    "AMD-Instinct-MI325X-OAM": 256,
}
_TYPE_RESOURCE: Final = "accelerator_type:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine of a cluster.

    Attributes:
        cpus: CPU cores.
        gpus: GPUs.
        drivers: Trials whose drivers may run there, of the resource `train_driver`.
        memory: Main memory in bytes; None if it is not known.
        gpu_memory: Memory of each of its GPUs in bytes; None if it is not known.
        here: Whether the node is there already; otherwise an autoscaler may start it.
    """

    cpus: float
    gpus: float = 0.0
    drivers: float = 0.0
    memory: int | None = None
    gpu_memory: int | None = None
    here: bool = True


def local_node() -> Node:
    """Return what a cluster started on this machine would have."""
    import torch

    gpus = torch.cuda.device_count()
    return Node(
        cpus=float(os.cpu_count() or 1),
        gpus=float(gpus),
        drivers=float(LOCAL_DRIVERS),
        memory=psutil.virtual_memory().total,
        gpu_memory=smallest_gpu_bytes() if gpus else None,
    )


def smallest_gpu_bytes() -> int | None:
    """Return the memory of this machine's smallest NVIDIA GPU, or None if it can't be told.

    The driver's own tool sees all devices, also from a process that was given none of them.
    """
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = [int(line) for line in asked.stdout.split() if line.isdigit()]
    return min(sizes) * 1024**2 if sizes else None


def accelerator_bytes(resources: Mapping[str, float], labels: Mapping[str, str] | None = None) -> int | None:
    """Return the memory of a node's GPUs by the type that Ray found, or None if that is not known."""
    types = [name.removeprefix(_TYPE_RESOURCE) for name in resources if name.startswith(_TYPE_RESOURCE)]
    types += [label for key, label in (labels or {}).items() if key == "ray.io/accelerator-type"]
    known = [_ACCELERATOR_GB[name] * 10**9 for name in types if name in _ACCELERATOR_GB]
    return min(known) if known else None


def living_nodes(alive: Sequence[Mapping[str, Any]]) -> list[Node]:
    """Return the nodes of the connected cluster, with the memory of their GPUs.

    Args:
        alive: The nodes as `ray.nodes()` tells them.
    """
    sizes = _ask_gpu_sizes([node["NodeID"] for node in alive if node["Resources"].get("GPU", 0) >= 1])
    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            drivers=node["Resources"].get(DRIVER_RESOURCE, 0.0),
            memory=int(node["Resources"].get("memory", 0)) or None,
            gpu_memory=sizes.get(node["NodeID"]) or accelerator_bytes(node["Resources"], node.get("Labels")),
        )
        for node in alive
    ]


def _ask_gpu_sizes(nodes: Sequence[str]) -> dict[str, int]:
    """Return node -> memory of its smallest GPU, for those that tell within a minute."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Without a GPU of its own the task starts at once, even where other studies hold all of them.
    ask = ray.remote(num_cpus=0)(smallest_gpu_bytes)
    asked = {
        node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    }
    done, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=60) if asked else ([], [])
    answered = {node: ray.get(answer) for node, answer in asked.items() if answer in done}
    return {node: size for node, size in answered.items() if size is not None}
