"""How a trial is carried out: what decides its time and memory, and never its result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupShape:
    """What one worker group takes from the cluster, and how it holds the model.

    Attributes:
        workers: Ray Train workers that train one trial together.
        cpus: CPU cores per worker.
        gpus: GPUs per worker; below 1 several workers share one.
        sharded: Whether the workers hold a shard of the model each (FSDP2) instead of a replica (DDP).
    """

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    sharded: bool = False


def largest_shape(shapes: Iterable[GroupShape]) -> GroupShape:
    """Return the shape that takes the most GPUs; of equal ones, or without any, the most CPU cores."""
    return max(shapes, key=lambda each: (each.workers * each.gpus, each.workers * each.cpus))


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How the trials of a subset are carried out.

    Attributes:
        shape: The worker group that such a trial needs.
        micro_batch_size: Samples per forward pass and worker; gradients are accumulated over the passes of an
            optimiser step. None takes a worker's whole share at once.
        activation_checkpointing: Whether activations are computed again in the backward pass instead of kept.
    """

    shape: GroupShape
    micro_batch_size: int | None = None
    activation_checkpointing: bool = False
